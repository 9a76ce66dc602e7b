"""Bytes received and not yet consumed.

A head, a chunk-size line or a piece of content rarely ends where a read from the socket ends. `InputBuffer` keeps
what is left over, in front of what comes next, without copying in the usual case: everything fed is consumed before
the next feed.
"""


class InputBuffer:
    """A queue of bytes: fed at one end, consumed at the other. Sizes and offsets are bytes."""

    __slots__ = ("_data", "_start")

    def __init__(self) -> None:
        # A bytes object while it is one that was fed, untouched; a bytearray once something had to be joined.
        self._data: bytes | bytearray = b""
        self._start = 0

    def feed(self, data: bytes) -> int:
        """Append `data`. It is kept, not copied, when nothing is left over. Returns 0."""
        if self._start == len(self._data):
            self._data = data
        elif isinstance(self._data, bytearray):
            # Deleting at the front of a bytearray moves a pointer, and growth is amortised: never quadratic.
            del self._data[: self._start]
            self._data += data
        else:
            self._data = bytearray(memoryview(self._data)[self._start :])
            self._data += data
        self._start = 0
        return 0

    def available(self) -> int:
        """How many bytes wait to be consumed."""
        return len(self._data) - self._start

    def take(self, n: int) -> bytes:
        """Consume and return the first `n` bytes, or what there is of them; nothing if `n` is not positive."""
        size = min(n, len(self._data) - self._start)
        if size <= 0:
            return b""
        taken = bytes(self._data[self._start : self._start + size])
        self._advance(size)
        return taken

    def discard(self, n: int) -> int:
        """Consume the first `n` bytes, or what there is of them. Returns how many they were."""
        size = min(n, len(self._data) - self._start)
        if size <= 0:
            return 0
        self._advance(size)
        return size

    def clear(self) -> int:
        """Drop everything. Returns 0."""
        self._data = b""
        self._start = 0
        return 0

    def starts_with_line_end(self) -> int:
        """Whether CRLF is at the front: 0 no, 1 yes, 2 cannot tell yet (empty, or only its CR is there)."""
        front = self.peek(0, 2)
        if front == b"\r\n":
            return 1
        return 2 if front in (b"", b"\r") else 0

    def keep(self) -> int:
        """The memory that was fed from is about to be used again. Returns 0.

        Here, nothing follows from that. The compiled twin can be fed with memory that a transport only lends
        (`kernels/sockets`), and copies what is left over of it now.
        """
        return 0

    # For the other kernels. The compiled twin lends them its pointer instead.

    def find(self, byte: bytes, start: int) -> int:
        """Offset of the first `byte` at or after offset `start`, both counted from the front; -1 if there is none."""
        index = self._data.find(byte, self._start + start)
        return index if index < 0 else index - self._start

    def peek(self, start: int, stop: int) -> bytes:
        """The bytes between two offsets counted from the front, as far as they are there, without consuming them."""
        return bytes(self._data[self._start + start : self._start + stop])

    def _advance(self, size: int) -> None:
        self._start += size
        if self._start == len(self._data):
            self._data = b""
            self._start = 0
