"""The master's logs: opened once, given to whom the workers become, and moved when the configuration is."""

from __future__ import annotations

import sys

from gateway import log
from gateway.config.sections import LogSettings
from gateway.errors import ConfigError

from .identity import Identity


class Logs:
    """`loggers` are what `gateway.log.configure` gives for `settings`. Raises ConfigError."""

    def __init__(self, settings: LogSettings, identity: Identity) -> None:
        self.settings = settings
        self.identity = identity
        self.loggers = log.configure(settings)

    def give(self) -> None:
        """Have the files belong to the workers' user."""
        for path in (self.settings.error_logfile, self.settings.access_logfile):
            self.identity.give(path)

    def reopen(self) -> None:
        """Open the files anew, where others have moved them away."""
        self.loggers.reopen()
        self.give()

    def move(self, settings: LogSettings) -> None:
        """After a reload: log where the configuration now says."""
        if settings == self.settings:
            return
        access = self.loggers.access_file
        try:
            self.loggers = log.configure(settings)
        except ConfigError as error:
            self.loggers.error.error("%s; the master's log stays where it is", error)
            return
        self.settings = settings
        if access is not None:
            access.close()

    def show(self, trace: str) -> None:
        """Write the application's traceback where the error log goes."""
        if not trace:
            return
        if self.settings.error_logfile != "-" or self.loggers.error_handler is None:
            self.loggers.error.error("Traceback of the application:\n%s", trace.rstrip("\n"))
        else:
            sys.stderr.write(trace)
            sys.stderr.flush()


def flush_streams() -> None:
    """Write what waits to be written: a new process would write it once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            # There is none, or nobody reads it any more.
            pass
