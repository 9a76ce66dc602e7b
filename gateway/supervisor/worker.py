"""The worker process: what happens between the fork and its exit code.

It is born with the master's logs and listening sockets, loads the application itself, and says over its channel when it
is ready, or why it can't be. From then on it is a `Server` like any other, that stops when a signal or the master says
so, or when the master is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from gateway import log
from gateway.config.settings import Config
from gateway.errors import EXIT_APP_LOAD, EXIT_BOOT, EXIT_ERROR, EXIT_OK, EXIT_USAGE, AppLoadError, ConfigError
from gateway.loader import Loaded
from gateway.server import insight
from gateway.server.hooks import HookWorker, tell
from gateway.server.listener import Listener
from gateway.server.server import Server, Stopped, exit_time
from gateway.server.share import Share
from gateway.server.stacks import enable_stack_dumps
from gateway.server.worker import STOP_SIGNALS, Terminated, Watchdog, loop_factory
from gateway.tracebacks import describe_cause

from .changes import MESSAGE_FILES, Selection, Stamp
from .channel import Channel, cut, fit
from .daemon import silence
from .failure import Failure, FailurePage
from .hooks import Arbiter, call
from .modules import LoadedFiles, files_in, forget
from .recycle import last_request
from .signals import ignore

LOOK = 1.0
"""Seconds between two looks at what has been loaded, with --reload."""

ORPHAN_TIME = 1.0
"""Seconds for what is running to finish when the master is gone."""


class WorkerProcess(BaseException):
    """Carries a worker's exit code out of the frames that it has inherited from the master."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """One worker, in its own process. Signals must be blocked until `run`.

    `loggers` are the master's, or None where the configuration wants others. `app` is the application, where the master
    has loaded it. `arbiter` and `hook_worker` are what hooks know the master and this process as. With a `failure`
    that is served, in place of the application.
    """

    def __init__(
        self,
        config: Config,
        listeners: Sequence[Listener],
        share: Share,
        channel: Channel,
        loggers: log.Loggers | None,
        app: Loaded | None,
        arbiter: Arbiter,
        hook_worker: HookWorker,
        failure: Failure | None = None,
    ) -> None:
        self.page = FailurePage(failure) if failure is not None else None
        if self.page is not None:
            app = self.page.loaded
        self.config = config
        self.listeners = listeners
        self.share = share
        self.app = app
        self.arbiter = arbiter
        self.hook_worker = hook_worker
        self.channel = channel
        self.ready = False
        self.silent = False
        """Its output goes nowhere once it is ready (--daemon)."""
        self.server: Server | None = None
        self.loaded: LoadedFiles | None = None
        self._given_loggers = loggers
        self.log = logging.getLogger(log.ERROR_LOGGER)

    def run(self, begin: Callable[[], object]) -> int:
        """Call `begin`, and serve until told to stop. Returns the exit code."""
        try:
            begin()
            self.loggers = self._given_loggers or log.configure(self.config.log)
        except (AppLoadError, ConfigError, OSError) as error:
            self._tell("worker_exit", self.arbiter, self.hook_worker)
            return self._fail(error)
        try:
            code = self._run()
            for number in STOP_SIGNALS:
                # It has ended already; what the master says twice must not disturb that.
                signal.signal(number, ignore)
            self.log.info("Worker exiting (pid: %d)", os.getpid())
        finally:
            self._tell("worker_exit", self.arbiter, self.hook_worker)
        self.loggers.close()
        return code

    def _run(self) -> int:
        watchdog = Watchdog(self.log)
        if "worker_abort" in self.config.hooks:
            signal.signal(signal.SIGABRT, self._abort)
        enable_stack_dumps(self.log)
        try:
            self._take_signals()
            if self.config.development.reload:
                forget(Selection.of(self.config.development))
                self.loaded = LoadedFiles()
            factory = loop_factory(self.config.asgi.loop)
            limit = last_request(self.config.processes)
            self.server = Server(
                self.app,
                self.config,
                listeners=self.listeners,
                share=self.share,
                handle_signals=True,
                loggers=self.loggers,
                watchdog=watchdog,
                recycle=lambda reason: self.channel.send(recycle=reason),
                last_request=limit,
                served=lambda: self.channel.send(served=limit),
                accepting=self._tell_ready,
                hook_worker=self.hook_worker,
            )
            call(self.config.hooks, "post_worker_init", self.hook_worker)
            with asyncio.Runner(loop_factory=factory) as runner:
                try:
                    runner.run(self._serve(self.server))
                finally:
                    watchdog.arm(exit_time(self.config.graceful_timeout))
            return EXIT_OK
        except (Terminated, Stopped):
            return EXIT_OK
        except Exception as error:
            return self._fail(error)

    def _take_signals(self) -> None:
        """Until the server has its own handlers, those that stop it raise Terminated."""
        for number in STOP_SIGNALS:
            signal.signal(number, terminate)
        signal.signal(signal.SIGUSR1, self._reopen_logs)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    async def _serve(self, server: Server) -> None:
        asyncio.get_running_loop().add_reader(self.channel, self._listen)
        await server.serve()

    def _tell_ready(self) -> None:
        assert self.server is not None
        self.hook_worker.booted = True
        self.ready = self.channel.send(ready=self.server.describe())
        if self.silent:
            silence()
        self._tell_files(asyncio.get_running_loop())

    def _listen(self) -> None:
        """Something has come from the master, or it is gone."""
        server = self.server
        assert server is not None
        messages = self.channel.receive()
        if messages is None:
            asyncio.get_running_loop().remove_reader(self.channel)
            self.log.critical("The master is gone, stopping.")
            server.ask_shutdown(ORPHAN_TIME)
            return
        for message in messages:
            if message.get("leave"):
                server.announce_end()
            if message.get("retire"):
                server.retire()
            if message.get("make_way"):
                if self.page is not None:
                    self.page.superseded.set()
                server.retire(keep_idle=False)
            match message:
                case {"ask": {"number": int(number), "what": str(what)}}:
                    self.channel.send(answer={"number": number, **self._answer(server, what)})

    def _tell_files(self, loop: asyncio.AbstractEventLoop) -> None:
        """With --reload: have files watched that modules were loaded from, now and later."""
        if self.loaded is None:
            return
        self._send_files(self.loaded.fresh())
        loop.call_later(LOOK, self._tell_files, loop)

    def _send_files(self, files: dict[str, Stamp | None]) -> None:
        paths = sorted(files)
        for index in range(0, len(paths), MESSAGE_FILES):
            self.channel.send(files={path: files[path] for path in paths[index : index + MESSAGE_FILES]})

    def _answer(self, server: Server, question: str) -> dict[str, Any]:
        """What the control socket's clients want to know."""
        if question == "stacks":
            text = insight.stacks()
            self.log.info("What each thread and task does, as asked:\n%s", text.rstrip())
            return {"stacks": fit(text)}
        return insight.report(server)

    def _fail(self, error: Exception) -> int:
        """Say why there is no worker. Returns its exit code."""
        if self.ready:
            self.log.critical("Internal error: the worker failed", exc_info=error)
            return EXIT_ERROR
        trace = ""
        match error:
            case AppLoadError():
                code = error.exit_code
                if error.show_traceback and error.__cause__ is not None:
                    trace = describe_cause(error.__cause__)
            case ConfigError():
                code = EXIT_USAGE
            case _:
                code = EXIT_BOOT
                trace = describe_cause(error)
        if self.loaded is not None:
            self._send_files({**self.loaded.fresh(), **files_in(error.__cause__ or error)})
        self.channel.send(failed={"code": code, "message": cut(str(error)), "traceback": cut(trace)})
        return code if code in (EXIT_USAGE, EXIT_APP_LOAD) else EXIT_BOOT

    def _tell(self, name: str, *arguments: object) -> None:
        """Call a hook that can't change anything any more."""
        self.hook_worker.alive = False
        tell(self.log, self.config.hooks, name, *arguments)

    def _abort(self, number: int, frame: FrameType | None) -> None:
        """ABRT, after the stacks were written; the process would have ended there."""
        self.hook_worker.aborted = True
        self._tell("worker_abort", self.hook_worker)
        self._tell("worker_exit", self.arbiter, self.hook_worker)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _reopen_logs(self, number: int, frame: FrameType | None) -> None:
        self.loggers.reopen()


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Stopped while booting: an import may take long."""
    raise Terminated
