"""uvicorn's `log_config`: what gateway logs goes where the configuration sends the loggers of uvicorn.

The configuration is applied as uvicorn does it. Records of "gateway.error" then go on as records of "uvicorn.error",
and lines of the access log as records of "uvicorn.access" with uvicorn's arguments, for formatters that look at these.
A logger for which nobody has a handler gets nothing: its lines are written as without a configuration.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import re
from typing import Any

from gateway.config.sections import LOG_LEVELS, TRACE
from gateway.log import ACCESS_LOGGER, ERROR_LOGGER

ERROR, ACCESS = "uvicorn.error", "uvicorn.access"

ACCESS_MESSAGE = '%s - "%s %s HTTP/%s" %d'
"""Client, method, target, version of HTTP, status."""

# A line of the access log, in the format "short".
ACCESS_LINE = re.compile(r'(?P<client>\S+) - "(?P<request>.*)" (?P<status>\d{3})\b')
REQUEST_LINE = re.compile(r"(?P<method>\S+) (?P<target>.*) HTTP/(?P<version>[\d.]+)")


class Forward(logging.Handler):
    """Hands records on to the logger `name`, as its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.target = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        """Called with each record."""
        if self.target.isEnabledFor(record.levelno):
            passed = logging.makeLogRecord(record.__dict__)
            passed.name = self.target.name
            self.target.handle(self.translate(passed))

    def translate(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as it is to be."""
        return record


class ForwardAccess(Forward):
    """The same for lines of the access log, taken apart; one that is no answer to a request stays as it is."""

    def translate(self, record: logging.LogRecord) -> logging.LogRecord:
        """With what uvicorn's formatters want to know."""
        line = ACCESS_LINE.match(record.getMessage())
        request = REQUEST_LINE.fullmatch(line["request"]) if line is not None else None
        if line is not None and request is not None:
            record.msg = ACCESS_MESSAGE
            record.args = (line["client"], *request.group("method", "target", "version"), int(line["status"]))
        return record


def configure(
    log_config: Any, log_level: str | int | None = None, access_log: bool = True, use_colors: bool | None = None
) -> bool:
    """Apply a configuration: a dictionary, or a file in JSON, YAML or the format of `logging.config.fileConfig`.

    Returns whether the access log goes where it says. Raises what reading and applying it raises.
    """
    if logging.getLevelName(TRACE) != "TRACE":
        logging.addLevelName(TRACE, "TRACE")
    restore()
    apply(log_config, use_colors)
    if log_level is not None:
        number = LOG_LEVELS[log_level.lower()] if isinstance(log_level, str) else log_level
        for name in (ERROR, ACCESS):
            logging.getLogger(name).setLevel(number)
    forward(ERROR_LOGGER, Forward(ERROR))
    return access_log and forward(ACCESS_LOGGER, ForwardAccess(ACCESS))


def apply(log_config: Any, use_colors: bool | None) -> None:
    """Have `logging` do what the configuration says."""
    if isinstance(log_config, os.PathLike):
        log_config = os.fspath(log_config)
    if isinstance(log_config, str) and log_config.endswith(".json"):
        with open(log_config, encoding="utf-8") as file:
            log_config = json.load(file)
    elif isinstance(log_config, str) and log_config.endswith((".yaml", ".yml")):
        try:
            import yaml  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise ImportError(f"log_config: {log_config} needs PyYAML: pip install pyyaml") from None
        with open(log_config, encoding="utf-8") as file:
            log_config = yaml.safe_load(file)
    elif isinstance(log_config, dict) and use_colors is not None:
        for name in ("default", "access"):
            if name in log_config.get("formatters", {}):
                log_config["formatters"][name]["use_colors"] = use_colors
    if isinstance(log_config, dict):
        logging.config.dictConfig(log_config)
    else:
        logging.config.fileConfig(log_config, disable_existing_loggers=False)


def forward(name: str, handler: Forward) -> bool:
    """Have the logger `name` hand on what it gets, if anybody there listens, and nobody here."""
    logger = logging.getLogger(name)
    # A configuration that does not know a logger disables it, unless told otherwise.
    logger.disabled = handler.target.disabled = False
    if logger.handlers and not ours(logger):
        return True
    if not handler.target.hasHandlers():
        return False
    for old in tuple(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(handler.target.getEffectiveLevel())
    logger.propagate = False
    return True


def ours(logger: logging.Logger) -> bool:
    """Whether all of its handlers are gateway's own."""
    return all(type(handler).__module__ in (__name__, "gateway.log") for handler in logger.handlers)


def restore() -> None:
    """Undo what `forward` has done."""
    for name in (ERROR_LOGGER, ACCESS_LOGGER):
        logger = logging.getLogger(name)
        for handler in tuple(logger.handlers):
            if isinstance(handler, Forward):
                logger.removeHandler(handler)
                logger.setLevel(logging.NOTSET)
                logger.propagate = True
