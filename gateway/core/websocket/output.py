"""FrameOutput: frames on their way out; those that are sent while more are to be expected leave in one write."""

from ..http.output import Output
from ..kernels.base import Transport

# Bytes of frames that are held back, to leave in one write, while the frames that came with one receive are handled.
CORK_SIZE = 65536


class FrameOutput(Output):
    """One connection's output. While it is `corked`, frames are held back until `flush`."""

    __slots__ = ("corked", "held", "held_size")

    def __init__(self, transport: Transport) -> None:
        self.assign(transport)
        # The response to the opening handshake may be.
        self.pending = True
        self.corked = False
        self.held: list | None = None
        self.held_size = 0

    def send(self, frame: bytes) -> int:
        """Send a frame, or hold it back. Returns 0."""
        if self.corked:
            if self.held is None:
                self.held = [frame]
            else:
                self.held.append(frame)
            self.held_size += len(frame)
            if self.held_size >= CORK_SIZE:
                self.flush()
        elif self.held is not None:
            self.held.append(frame)
            self.flush()
        else:
            self.write(frame)
        return 0

    def send_parts(self, parts: list) -> int:
        """Send a large frame, in parts. Returns 0."""
        self.flush()
        return self.write_parts(parts)

    def flush(self) -> int:
        """Send what was held back. Returns 0."""
        held = self.held
        if held is not None:
            self.drop()
            self.write(b"".join(held))
        return 0

    def uncork(self) -> int:
        """Send what was held back, and hold back nothing more. Returns 0."""
        self.corked = False
        return self.flush()

    def drop(self) -> int:
        """Forget what was held back. Returns 0."""
        self.held = None
        self.held_size = 0
        return 0
