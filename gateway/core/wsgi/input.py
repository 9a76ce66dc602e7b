"""`wsgi.input` (PEP 3333, "Input and Error Streams"): the request's content as a blocking binary file."""

from operator import index
from typing import Any

from .call import ApplicationCall

# Bytes. More than any content has, and less than what a C integer holds.
MANY = 2**62


class WSGIInput:
    """Reads what `source.receive()` returns: bytes, then b"" at the end.

    Every method blocks until it has what it was asked for or the content ends, and raises ClientDisconnected,
    which is an OSError, if the client leaves before: no application takes a truncated upload for a whole one.
    Content is never copied more than once on its way into the result, whatever the call pattern.
    """

    __slots__ = ("buffer", "ended", "position", "source")

    def __init__(self, source: ApplicationCall) -> None:
        self.assign(source)

    def assign(self, source: ApplicationCall) -> int:
        """Set all attributes. Returns 0."""
        self.source = source
        self.buffer = b""
        self.position = 0
        self.ended = False
        return 0

    def read(self, size: object = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end; all that is left if it is negative or None."""
        left = byte_count(size)
        if left == 0:
            return b""
        available = len(self.buffer) - self.position
        if available == 0:
            if not self.fill():
                return b""
            available = len(self.buffer)
        if left <= available:
            return self.cut(left)
        parts = [self.cut(available)]
        left -= available
        while left > 0 and self.fill():
            available = len(self.buffer)
            if available > left:
                available = left
            parts.append(self.cut(available))
            left -= available
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, target: Any) -> int:
        """Fill a writable buffer. Returns the number of bytes, fewer than its size only at the end."""
        view = memoryview(target).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readline(self, size: object = -1) -> bytes:
        """The next line with its "\\n", no more than `size` bytes of it; without "\\n" only at the end."""
        left = byte_count(size)
        parts = []
        while left > 0 and (self.position < len(self.buffer) or self.fill()):
            stop = len(self.buffer)
            if stop - self.position > left:
                stop = self.position + left
            found = self.buffer.find(b"\n", self.position, stop)
            if found >= 0:
                stop = found + 1
            left -= stop - self.position
            parts.append(self.cut(stop - self.position))
            if found >= 0:
                break
        if not parts:
            return b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint: object = -1) -> list:
        """Lines up to the end, or until they make up `hint` bytes if that is positive."""
        left = byte_count(hint)
        if left == 0:
            left = MANY
        lines = []
        while left > 0:
            line = self.readline()
            if not line:
                break
            lines.append(line)
            left -= len(line)
        return lines

    def __iter__(self) -> "WSGIInput":
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if line:
            return line
        raise StopIteration

    def fill(self) -> bool:
        """Replace the buffer, which is used up, with the next content. False at the end."""
        if self.ended:
            return False
        data = self.source.receive()
        if not data:
            self.ended = True
            return False
        self.buffer = data
        self.position = 0
        return True

    def cut(self, size: int) -> bytes:
        """Take `size` bytes, which are there, from the buffer."""
        start = self.position
        data = self.buffer
        if start + size == len(data):
            self.buffer = b""
            self.position = 0
            return data if start == 0 else data[start:]
        self.position = start + size
        return data[start : start + size]


def byte_count(size: Any) -> int:
    """How many bytes a size argument stands for; None and negative ones mean no limit."""
    if size is None:
        return MANY
    count = index(size)
    if count < 0 or count > MANY:
        return MANY
    return count
