"""What a frame is (RFC 6455 5.2)."""

CONTINUATION = 0
TEXT = 1
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10

# The first reserved bit: a compressed message (RFC 7692 6).
RSV1 = 4
