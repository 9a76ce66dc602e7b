"""The error log and the access log: where they go and how a line looks.

Error log: the logger `gateway.error`, lines as gunicorn writes them, on stderr unless a file is named. Access log: the
request path makes and collects the lines itself, without the `logging` module; what is here takes them to a file or to
stdout. The root logger is never touched. A program that embeds gateway and has put handlers of its own on
`gateway.error` or `gateway.access` keeps them, and gets the lines there.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import select
import stat
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple, TextIO

from .config.sections import TRACE, LogSettings
from .errors import ConfigError

ERROR_LOGGER = "gateway.error"
ACCESS_LOGGER = "gateway.access"

LINE_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
TIME_FORMAT = "%Y-%m-%d %H:%M:%S %z"

# Bytes of access log lines that are collected at most before they are written,
COLLECTED = 64 * 1024
# and that wait for a pipe to take them.
WAITING = 1024 * 1024
# Seconds from one report of lost lines to the next.
REPORT_INTERVAL = 60.0

TOO_SLOW = "the reader is too slow"

# SGR numbers (ECMA-48 8.3.117) for the name of the level.
COLORS = {
    TRACE: "34",
    logging.DEBUG: "36",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


class Formatter(logging.Formatter):
    """One line per record, and the traceback below it; with `colors`, the level stands out."""

    def __init__(self, colors: bool = False) -> None:
        super().__init__(LINE_FORMAT, TIME_FORMAT)
        self.colors = colors

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name is logging's)
        """The line, without traceback."""
        color = COLORS.get(record.levelno) if self.colors else None
        if color is None:
            return super().formatMessage(record)
        plain = record.levelname
        record.levelname = f"\033[{color}m{plain}\033[0m"
        try:
            return super().formatMessage(record)
        finally:
            record.levelname = plain  # other handlers get the same record


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The standard error stream."""
        return sys.stderr


class ErrorFileHandler(logging.FileHandler):
    """Appends to a file that can be opened anew after it was moved away."""

    def reopen(self) -> None:
        """Close the file and open the one that has its name now. Raises OSError, and then keeps the old one."""
        with self._open() as fresh:
            self.acquire()
            try:
                if self.stream is not None:
                    # Under the same number: `faulthandler` knows the file by nothing else.
                    os.dup2(fresh.fileno(), self.stream.fileno(), inheritable=False)
            finally:
                self.release()


class AccessFile:
    """Takes lines of the access log to a file, appending: lines of many processes do not mix, and none is torn.

    `write` takes what was collected, as it is. Who collects lines calls `attach`, and does so for at most `interval`
    seconds and `limit` bytes; with a limit of 0, as on a terminal, not at all.

    Lines that can't be written (disk full, reader of the pipe gone or stuck) are lost and counted; that is said to
    `report` at once, and then at most once in REPORT_INTERVAL. No request fails over its log line.
    """

    def __init__(self, path: str, report: Callable[[str], object], interval: float = 0.0) -> None:
        self.path = path
        self.report = report
        self.lost = 0
        """Lines."""
        self._unreported = 0
        self._reported = -math.inf
        self._reason = ""
        # The latest line lacks its end.
        self._torn = False
        # What a pipe that is full (and is not waited for) still has to take: whole lines.
        self._waiting = b""
        # Who collects lines, with the process it does so in.
        self._collectors: list[tuple[int, Callable[[], object]]] = []
        self._fd = self._open()
        self.interval = 0.0 if os.isatty(self._fd) else interval
        self.limit = COLLECTED if self.interval else 0
        self._piece = self._piece_size()

    @property
    def waiting(self) -> bool:
        """Whether there is something for `flush` to write that `write` could not."""
        return bool(self._waiting)

    def attach(self, flush: Callable[[], object]) -> None:
        """Have `flush` called before the file is opened anew or closed, and when the process ends."""
        if not self._collectors:
            atexit.register(self.flush)
        self._collectors.append((os.getpid(), flush))

    def detach(self, flush: Callable[[], object]) -> None:
        """End what `attach` began, after a last flush."""
        self.flush()
        self._collectors = [collector for collector in self._collectors if collector[1] != flush]
        if not self._collectors:
            atexit.unregister(self.flush)

    def flush(self) -> None:
        """Write what was collected, and what could not be written before."""
        for process, flush in self._collectors:
            # After a fork the same lines are in both processes; they are the parent's.
            if process != os.getpid():
                return
            flush()
        self.write(b"")

    def write(self, data: bytes) -> int:
        """Write whole lines, each with its end. Returns 0."""
        if self._waiting:
            data, self._waiting = self._waiting + data, b""
        at = 0
        try:
            if self._torn and data:
                os.write(self._fd, b"\n")
                self._torn = False
            while at < len(data):
                at += os.write(self._fd, data[at : self._cut(data, at)] if self._piece else memoryview(data)[at:])
        except BlockingIOError:
            self._keep(data, at)
        except OSError as error:
            self._lose(data, at, error.strerror or type(error).__name__)
        if self._unreported:
            self._say_lost()
        return 0

    def reopen(self) -> None:
        """Open the file that has the name now, and close the old one. Raises OSError, and then keeps the old one."""
        self.flush()
        if self.path == "-":
            return
        fresh = self._open()
        self._give_up()
        old, self._fd, self._torn = self._fd, fresh, False
        self._piece = self._piece_size()
        os.close(old)

    def close(self) -> None:
        """Write what was collected, and close the file; later lines are lost."""
        self.flush()
        self._give_up()
        self._reported = -math.inf
        if self._unreported:
            self._say_lost()
        self._collectors.clear()
        atexit.unregister(self.flush)
        if self.path != "-" and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _cut(self, data: bytes, at: int) -> int:
        """Where to end a write that begins at `at`, for what is only promised not to be torn up to a size."""
        end = data.rfind(b"\n", at, at + self._piece) + 1
        # A line that is longer goes alone.
        return end or data.find(b"\n", at) + 1 or len(data)

    def _keep(self, data: bytes, at: int) -> None:
        """The pipe is full: what comes after `at` has to wait, as far as there is room."""
        end = len(data)
        if end - at > WAITING:
            end = data.rfind(b"\n", at, at + WAITING) + 1 or at
            self._lose(data, end, TOO_SLOW)
        self._waiting = data[at:end]

    def _give_up(self) -> None:
        """Wait no longer for a full pipe."""
        data, self._waiting = self._waiting, b""
        if data:
            self._lose(data, 0, TOO_SLOW)

    def _lose(self, data: bytes, at: int, reason: str) -> None:
        """Count the lines of `data` that end after `at`."""
        lines = data.count(b"\n", at)
        self.lost += lines
        self._unreported += lines
        self._reason = reason
        if at and data[at - 1] != 10:
            self._torn = True

    def _say_lost(self) -> None:
        now = monotonic()
        if now - self._reported >= REPORT_INTERVAL:
            self._reported = now
            lines, self._unreported = self._unreported, 0
            self.report(f"Access log {self.path}: can't write: {self._reason}; lines lost: {lines}")

    def _piece_size(self) -> int:
        """The most bytes a write may have, 0 for any number."""
        # POSIX write(): others' data may come between the bytes of a write to a pipe when there are more.
        return 0 if stat.S_ISREG(os.fstat(self._fd).st_mode) else getattr(select, "PIPE_BUF", 512)

    def _open(self) -> int:
        if self.path != "-":
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            sys.stdout.flush()
            return sys.stdout.fileno()
        except (AttributeError, OSError, ValueError):  # replaced by something that is no file
            return 1


class Loggers(NamedTuple):
    """What `configure` made."""

    error: logging.Logger
    access: Callable[[bytes], object] | None
    """Takes finished access lines, each with its end; None when there is no access log."""
    error_handler: logging.Handler | None = None
    access_file: AccessFile | None = None

    def reopen(self) -> None:
        """Open log files anew, after they were moved away. What can't be opened stays as it is and is reported."""
        for log in (self.error_handler, self.access_file):
            if isinstance(log, (ErrorFileHandler, AccessFile)):
                try:
                    log.reopen()
                except OSError as error:
                    path = log.path if isinstance(log, AccessFile) else log.baseFilename
                    self.error.error("Log file %s: can't be opened anew: %s", path, error.strerror)

    def close(self) -> None:
        """Close log files. The error log of a terminal stays, for what is said last."""
        if self.access_file is not None:
            self.access_file.close()
        if isinstance(self.error_handler, ErrorFileHandler):
            self.error.removeHandler(self.error_handler)
            self.error_handler.close()


def configure(settings: LogSettings) -> Loggers:
    """Set up both logs. Doing it again replaces what was set up before. Raises ConfigError: a file can't be opened."""
    if logging.getLevelName(TRACE) != "TRACE":
        logging.addLevelName(TRACE, "TRACE")
    error, handler = configure_error_log(settings)
    path = settings.access_logfile
    if path is not None:
        try:
            file = AccessFile(path, error.error, settings.access_log_flush)
        except OSError as problem:
            raise ConfigError(f"--access-logfile: can't open {path}: {problem.strerror}") from None
        return Loggers(error, file.write, handler, file)
    access = logging.getLogger(ACCESS_LOGGER)
    if access.handlers:
        return Loggers(error, lambda data: access.info("%s", text_of(data)), handler)
    return Loggers(error, None, handler)


def configure_error_log(settings: LogSettings) -> tuple[logging.Logger, logging.Handler | None]:
    """The logger `gateway.error` and the handler it was given: none if it has handlers of someone else's."""
    logger = logging.getLogger(ERROR_LOGGER)
    ours = [handler for handler in logger.handlers if isinstance(handler, (StderrHandler, ErrorFileHandler))]
    if len(ours) < len(logger.handlers):
        if logger.level == logging.NOTSET:
            logger.setLevel(settings.level)
        return logger, None
    handler: logging.Handler
    if settings.error_logfile == "-":
        handler = StderrHandler()
        handler.setFormatter(Formatter(wants_colors(settings.use_colors, sys.stderr)))
    else:
        try:
            handler = ErrorFileHandler(settings.error_logfile, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            path = settings.error_logfile
            raise ConfigError(f"--error-logfile: can't open {path}: {error.strerror}") from None
        handler.setFormatter(Formatter(bool(settings.use_colors)))
    for old in ours:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.setLevel(settings.level)
    # A program with a handler on the root logger would have every line twice.
    logger.propagate = False
    return logger, handler


def wants_colors(use_colors: bool | None, stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: as told; else NO_COLOR (no-color.org), FORCE_COLOR, and what `stream` is, in that order."""
    if use_colors is not None:
        return use_colors
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and environ.get("TERM") != "dumb"


def text_of(line: bytes) -> str:
    """An access line as text without its end."""
    return line.decode("utf-8", "backslashreplace").rstrip("\n")
