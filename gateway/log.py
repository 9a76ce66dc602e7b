"""The error log and the access log: where they go and how a line looks.

Error log: the logger `gateway.error`, lines as gunicorn writes them, on stderr unless a file is named. Access log: the
request path makes the lines itself, without the `logging` module; what is here takes a finished line to a file or to
stdout. The root logger is never touched. A program that embeds gateway and has put handlers of its own on
`gateway.error` or `gateway.access` keeps them, and gets the lines there.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

from .config.settings import TRACE, LogSettings
from .errors import ConfigError

ERROR_LOGGER = "gateway.error"
ACCESS_LOGGER = "gateway.access"

LINE_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
TIME_FORMAT = "%Y-%m-%d %H:%M:%S %z"

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
        fresh = self._open()
        self.acquire()
        try:
            old, self.stream = self.stream, fresh
        finally:
            self.release()
        if old is not None:
            old.close()


class AccessFile:
    """Takes finished lines to a file, each with one write in append mode: lines of many processes do not mix.

    A line that can't be written (disk full, reader of the pipe gone) is lost and counted, and the first one of a
    series is reported to `report`: no request fails over its log line.
    """

    def __init__(self, path: str, report: Callable[[str], object]) -> None:
        self.path = path
        self.report = report
        self.lost = 0
        self._failing = False
        self._fd = self._open()

    def write(self, line: str | bytes) -> int:
        """Write one line; its end is added when it lacks one. Returns 0."""
        data = line.encode("utf-8", "backslashreplace") if isinstance(line, str) else line
        if not data.endswith(b"\n"):
            data += b"\n"
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            self.lost += 1
            if not self._failing:
                self._failing = True
                self.report(f"Access log {self.path}: can't write, lines are lost: {error.strerror}")
        else:
            self._failing = False
        return 0

    def reopen(self) -> None:
        """Open the file that has the name now, and close the old one. Raises OSError, and then keeps the old one."""
        if self.path == "-":
            return
        old, self._fd = self._fd, self._open()
        os.close(old)

    def close(self) -> None:
        """Close the file; later lines are lost."""
        if self.path != "-" and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        if self.path != "-":
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            sys.stdout.flush()
            return sys.stdout.fileno()
        except (AttributeError, OSError, ValueError):  # replaced by something that is no file
            return 1


@dataclass(slots=True)
class Loggers:
    """What `configure` made."""

    error: logging.Logger
    access: Callable[[str | bytes], object] | None
    """Takes a finished access line; None when there is no access log."""
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
            file = AccessFile(path, error.error)
        except OSError as problem:
            raise ConfigError(f"--access-logfile: can't open {path}: {problem.strerror}") from None
        return Loggers(error, file.write, handler, file)
    access = logging.getLogger(ACCESS_LOGGER)
    if access.handlers:
        return Loggers(error, lambda line: access.info("%s", text_of(line)), handler)
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


def text_of(line: str | bytes) -> str:
    """An access line as text without its end."""
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    return text.rstrip("\n")
