"""A server as a program, or as all that a program does: from its configuration to the exit code."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from gateway import log
from gateway.config.settings import Config
from gateway.errors import EXIT_OK, AppLoadError

from .hooks import HERE
from .server import Server, exit_time
from .worker import Terminated, Watchdog, loop_factory, terminated_by_signal


async def serve(app: Any = None, config: Config | None = None, **options: Any) -> None:
    """Serve `app` in the running loop until cancelled; signals stay the program's. See `Server`."""
    await Server(app, config, **options).serve()


def run(config: Config | Any = None, /, *, ends_process: bool = True, **options: Any) -> int:
    """Serve until a signal says stop. Returns the exit code.

    `config` is a `Config`, or an application. The program's loop, logs and signals are set up as the options say.
    `ends_process`: nothing but the process's end follows; should that not come, for threads of the application's
    that do not end, it is brought about.

    Raises ConfigError, BindError and AppLoadError.
    """
    if not isinstance(config, Config):
        config = Config(config, **options)
    elif options:
        config = config.replace(**options)
    factory = loop_factory(config.asgi.loop)
    loggers = log.configure(config.log)
    unheard = [name for name in config.hooks if name not in HERE]
    if unheard:
        loggers.error.warning("Hooks that are the master's are not called, there is none: %s", ", ".join(unheard))
    watchdog = Watchdog(loggers.error)
    try:
        with terminated_by_signal():
            server = Server(None, config, loggers=loggers, handle_signals=True, watchdog=watchdog)
        with asyncio.Runner(loop_factory=factory) as runner:
            try:
                runner.run(server.serve())
            finally:
                if ends_process:
                    watchdog.arm(exit_time(config.graceful_timeout))
        loggers.error.info("Worker exiting (pid: %d)", os.getpid())
    except Terminated:
        loggers.error.info("Handling signal: term")
    except (AppLoadError, OSError) as error:
        if config.log.error_logfile != "-":
            # Who starts us reads stderr; who looks for the reason later reads the file.
            loggers.error.critical("%s", error)
        raise
    finally:
        if not ends_process:
            watchdog.close()
        loggers.close()
    return EXIT_OK
