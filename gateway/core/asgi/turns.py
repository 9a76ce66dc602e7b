"""How much an application may do before other tasks get their turn."""

# Bytes it may send or receive without waiting.
BURST = 262144
# What one message counts for, beside its bytes.
MESSAGE_COST = 2048
