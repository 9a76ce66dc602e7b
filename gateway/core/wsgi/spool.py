"""Spool: the content of a request that has to be complete before the application is called."""

from typing import Any

# Bytes read at a time.
READ_SIZE = 262144


class Spool:
    """Content, in memory up to `limit` bytes (0: always) and in a temporary file beyond."""

    __slots__ = ("file", "written")

    def __init__(self, limit: int) -> None:
        # Few servers need it, and it takes its time to load.
        from tempfile import SpooledTemporaryFile

        self.file: Any = SpooledTemporaryFile(max_size=limit)
        self.written = True

    def write(self, data: bytes) -> int:
        """Put `data` behind what is there. Returns 0. Raises OSError when the disk is full."""
        self.file.write(data)
        return 0

    def read(self) -> bytes:
        """The next piece, b"" at the end. Nothing is written any more."""
        if self.written:
            self.written = False
            self.file.seek(0)
        data: bytes = self.file.read(READ_SIZE)
        return data

    def close(self) -> int:
        """Give it up. Returns 0."""
        self.file.close()
        return 0
