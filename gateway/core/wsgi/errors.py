"""`wsgi.errors` (PEP 3333, "Input and Error Streams"): a text stream into the error log, line by line."""

import io
import threading
from collections.abc import Callable, Iterable

# Characters of a line without end that are held back; then they are logged as they are.
MAX_LINE = 8192


class ErrorStream(io.TextIOBase):
    """Writes whole lines to `sink`, such as the `error` method of a logger.

    One object serves all threads. Each thread has a line of its own, so that what two requests print with
    several calls of `write` is not mixed.
    """

    def __init__(self, sink: Callable[[str], object]) -> None:
        self._sink = sink
        self._local = threading.local()
        # Whether any thread may hold a line that has not ended.
        self.held = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Log the lines that `text` completes; keep the rest. Returns the number of characters."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        line = getattr(self._local, "line", "") + text
        if "\n" in line:
            *lines, line = line.split("\n")
            for complete in lines:
                self._log(complete)
        if len(line) > MAX_LINE:
            self._log(line)
            line = ""
        self._local.line = line
        if line:
            self.held = True
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log the line this thread has begun."""
        line = getattr(self._local, "line", "")
        if line:
            self._local.line = ""
            self._log(line)

    def close(self) -> None:
        """Only flushes: the stream outlives every request (PEP 3333: applications must not close it)."""
        self.flush()

    def _log(self, line: str) -> None:
        line = line.rstrip("\r")
        if line:
            self._sink(line)
