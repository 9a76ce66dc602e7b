"""Output: what a connection hands to its transport, and a watch over the peer that has to take it.

Everything a connection sends goes through here, so that here alone is known how much was handed over and how much of
it the peer has taken.
"""

from ..kernels.base import Transport


class Output:
    """One connection's output. `pending` tells that some of it may still be on its way."""

    __slots__ = ("acked", "deadline", "pending", "transport", "written")

    def assign(self, transport: Transport) -> int:
        """Set all attributes. Returns 0."""
        self.transport = transport
        # Bytes handed to the transport, and those that the peer was last seen to have taken.
        self.written = 0
        self.acked = 0
        self.pending = False
        # Monotonic seconds at which the peer must have taken more; 0 for never.
        self.deadline = 0.0
        return 0

    def write(self, data: bytes) -> int:
        """Hand `data` to the transport. Returns 0."""
        self.written += len(data)
        self.pending = True
        self.transport.write(data)
        return 0

    def write_parts(self, parts: list) -> int:
        """Hand `parts` to the transport, to leave in one write. Returns 0."""
        self.written += total(parts)
        self.pending = True
        self.transport.write_parts(parts)
        return 0

    def waiting(self) -> bool:
        """Whether the peer has output to take."""
        return self.pending and self.transport.buffered() > 0

    def stalled(self, now: float, timeout: float) -> bool:
        """Whether the peer has taken nothing for `timeout` seconds (0: for ever) although there is something."""
        left = self.transport.buffered()
        if left == 0:
            self.pending = False
            self.deadline = 0.0
            return False
        return self.late(self.written - left, now, timeout)

    def late(self, acked: int, now: float, timeout: float) -> bool:
        """Whether the peer, which now has taken `acked` bytes, had done so `timeout` seconds ago (0: for ever)."""
        if acked != self.acked or self.deadline == 0.0:
            self.acked = acked
            self.deadline = now + timeout
            return False
        return timeout > 0 and now >= self.deadline


def total(parts: list) -> int:
    """Bytes in all elements of `parts`."""
    size = 0
    for part in parts:
        size += len(part)
    return size
