"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling")."""

import io
import os
import stat
from typing import Any


class FileWrapper:
    """An iterable over `filelike.read(block_size)`, which the server may replace with sendfile(2).

    `block_size` is in bytes. `offset` and `count` are set by `locate`.
    """

    __slots__ = ("block_size", "count", "filelike", "offset")

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        self.offset = 0
        self.count = 0

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.block_size)
        if data:
            return data
        raise StopIteration

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()

    def locate(self) -> int:
        """Find out what is left to read of a regular file, from its current position.

        Sets `offset` and `count` (bytes) and returns the file's descriptor; -2 if only `read` can tell what
        the content is.
        """
        # Not at the top: it brings compression and hashing into every process.
        from tempfile import _TemporaryFileWrapper

        file = self.filelike
        # What NamedTemporaryFile returns: a proxy that only adds deletion.
        if type(file) is _TemporaryFileWrapper:
            file = file.file
        try:
            if reads_as(file, io.BufferedReader) or reads_as(file, io.BufferedRandom):
                if not reads_as(file.raw, io.FileIO):
                    return -2
                if file.writable():
                    file.flush()
            elif not reads_as(file, io.FileIO):
                return -2
            descriptor: int = file.fileno()
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return -2
            self.offset = file.tell()
        except (OSError, ValueError):
            # Closed, or not seekable: read() will say what is wrong.
            return -2
        self.count = max(status.st_size - self.offset, 0)
        return descriptor


def reads_as(file: object, kind: type) -> bool:
    """Whether `file` is a `kind` that reads as such: from its descriptor, what is there, from where it stands.

    A descriptor alone proves nothing: gzip.GzipFile has one, with other bytes behind it.
    """
    if not isinstance(file, kind):
        return False
    own = type(file)
    for name in ("read", "fileno", "tell"):
        if getattr(own, name) is not getattr(kind, name) or name in getattr(file, "__dict__", ()):
            return False
    return True
