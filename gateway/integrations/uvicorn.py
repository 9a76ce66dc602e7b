"""`uvicorn.run`, `uvicorn.Config` and `uvicorn.Server`, with gateway behind them.

For launchers and programs that were made for uvicorn; the import is what changes::

    import gateway.integrations.uvicorn as uvicorn

    uvicorn.run("main:app", host="0.0.0.0", port=8000, workers=4)

    server = uvicorn.Server(uvicorn.Config(app, port=0))
    await server.serve()  # until server.should_exit = True, or a signal

Signatures, attributes and exit codes are uvicorn's. What gateway has no equivalent for is named in a warning. Where
uvicorn has no limit, None stands for gateway's own: `timeout_graceful_shutdown` is 30 s, so that every stop comes to an
end. Log lines are gateway's, but for the access log; a `log_config` says where they go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from gateway import log
from gateway.config import rules, settings, sources
from gateway.config.uvicorn import KEYWORDS, Translation, differing, translate
from gateway.errors import AppLoadError, BindError, ConfigError, GatewayError
from gateway.server import server as engine
from gateway.server.assembly import load_app
from gateway.server.binding import open_listeners
from gateway.server.worker import loop_factory
from gateway.supervisor.recycle import last_request
from gateway.tracebacks import describe_cause

from . import uvicorn_logging

__all__ = ["Config", "Server", "run"]

STARTUP_FAILURE = 3
"""uvicorn's exit code where nothing could be served."""

HANDLED_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))

POLL = 0.1
"""Seconds between two ticks of the main loop."""

TICKS_A_DAY = 864_000

LOGGING_CONFIG: dict[str, Any] = {"version": 1, "disable_existing_loggers": False}
"""Stands for logs as gateway writes them; None leaves the loggers to the program."""


class Config:
    """What to serve, and how. Raises gateway.errors.ConfigError: a value that an option can't have.

    The parameters are attributes, and may be changed until the application is served.
    """

    app: Any
    uds: str | None
    fd: int | None
    reload: bool
    log_config: Any
    log_level: str | int | None
    access_log: bool
    use_colors: bool | None
    forwarded_allow_ips: list[str] | str | None
    timeout_notify: int
    callback_notify: Callable[..., Any] | None

    def __init__(
        self,
        app: Any,
        host: str = "127.0.0.1",
        port: int = 8000,
        uds: str | None = None,
        fd: int | None = None,
        loop: Any = "auto",
        http: Any = "auto",
        http2: bool = False,
        ws: Any = "auto",
        ws_max_size: int = 16 * 1024 * 1024,
        ws_max_queue: int = 32,
        ws_ping_interval: float | None = 20.0,
        ws_ping_timeout: float | None = 20.0,
        ws_per_message_deflate: bool = True,
        lifespan: str = "auto",
        env_file: str | os.PathLike[str] | None = None,
        log_config: Any = LOGGING_CONFIG,
        log_level: str | int | None = None,
        access_log: bool = True,
        use_colors: bool | None = None,
        interface: str = "auto",
        reload: bool = False,
        reload_dirs: list[str] | str | None = None,
        reload_delay: float = 0.25,
        reload_includes: list[str] | str | None = None,
        reload_excludes: list[str] | str | None = None,
        workers: int | None = None,
        proxy_headers: bool = True,
        server_header: bool = True,
        date_header: bool = True,
        forwarded_allow_ips: list[str] | str | None = None,
        root_path: str = "",
        limit_concurrency: int | None = None,
        limit_max_requests: int | None = None,
        limit_max_requests_jitter: int = 0,
        backlog: int = 2048,
        timeout_keep_alive: int = 5,
        timeout_notify: int = 30,
        timeout_graceful_shutdown: int | None = None,
        timeout_worker_healthcheck: int = 5,
        callback_notify: Callable[..., Any] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile_password: str | None = None,
        ssl_version: int = 17,
        ssl_cert_reqs: int = 0,
        ssl_ca_certs: str | os.PathLike[str] | None = None,
        ssl_ciphers: str | None = None,
        ssl_context_factory: Callable[..., Any] | None = None,
        headers: list[tuple[str, str]] | None = None,
        factory: bool = False,
        h11_max_incomplete_event_size: int | None = None,
        reset_contextvars: bool = False,
    ) -> None:
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})
        self.workers = int(os.environ.get("WEB_CONCURRENCY", "1")) if workers is None else workers or 1
        if forwarded_allow_ips is None:
            self.forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS")
        self.app_dir: str | None = None
        """Of `run` alone."""
        self.loaded = False
        self.loaded_app: Any = None
        """The application, from `load` on; another one may take its place until it is served."""
        self._loaded: Any = None
        for text in self._translate().warnings:
            warnings.warn(text, stacklevel=2)
        self.access_forwarded = False
        """Whether lines of the access log go where `log_config` says."""
        self.configure_logging()
        sources.apply_environment(self.options, os.environ)

    def configure_logging(self) -> None:
        """Have gateway log where `log_config` says. Raises what its being wrong raises, as uvicorn's does."""
        if self.log_config is LOGGING_CONFIG:
            uvicorn_logging.restore()
        elif self.log_config is not None:
            self.access_forwarded = uvicorn_logging.configure(
                self.log_config, self.log_level, self.access_log, self.use_colors
            )

    @property
    def options(self) -> settings.Config:
        """The same for gateway, as the attributes are now. Raises ConfigError."""
        options = self._translate().options
        if self.access_forwarded:
            options["access_logfile"] = None
        return settings.Config(self.app, **options)

    def _translate(self) -> Translation:
        values = {name: getattr(self, name) for name in KEYWORDS}
        if self.uds is not None or self.fd is not None:
            # As if they were not given. Of these two, too, uvicorn takes one.
            values.update(host="127.0.0.1", port=8000, fd=None if self.uds is not None else self.fd)
        if not self.should_reload:
            for name in ("reload", "reload_dirs", "reload_includes", "reload_excludes", "reload_delay"):
                del values[name]
        del values["log_config"]
        # The server sees to it.
        del values["callback_notify"]
        return translate(differing(values), "Config")

    @property
    def is_ssl(self) -> bool:
        """Whether connections are encrypted."""
        return self.options.tls is not None

    @property
    def should_reload(self) -> bool:
        """Whether changes have the application loaded anew."""
        return isinstance(self.app, str) and bool(self.reload)

    @property
    def use_subprocess(self) -> bool:
        """Whether `run` starts other processes."""
        return bool(self.reload or self.workers > 1)

    def load(self) -> None:
        """Load the application. Raises what importing it raises; exits where there is no such application."""
        try:
            self._loaded = load_app(None, self.options)
        except AppLoadError as error:
            if error.show_traceback and error.__cause__ is not None:
                raise error.__cause__ from None
            fail(error)
        self.loaded_app = self._loaded.app
        self.loaded = True

    def load_app(self) -> Any:
        """The application, loaded."""
        self.load()
        return self.loaded_app

    def application(self) -> Any:
        """What to serve: the application that was loaded, or that has taken its place."""
        return self._loaded if self._loaded is not None and self.loaded_app is self._loaded.app else self.loaded_app

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop; None for asyncio's default."""
        return loop_factory(self.options.asgi.loop)

    def bind_socket(self) -> socket.socket:
        """A socket at the address of the configuration, which other processes may inherit; exits without one."""
        listen = self.options.listen
        try:
            first, *others = open_listeners(
                listen.addresses, backlog=listen.backlog, reuse_port=listen.reuse_port, unix_mode=listen.uds_mode
            )
        except BindError as error:
            fail(error)
        # A name may stand for several addresses; uvicorn takes the first.
        for listener in others:
            listener.close()
        first.sock.set_inheritable(True)
        return first.sock


class Listening(NamedTuple):
    """What `asyncio.Server` has in uvicorn's `servers`: the sockets."""

    sockets: Sequence[socket.socket]


class Server:
    """Serves once; in a running loop with `serve`, or with a loop of its own with `run`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.started = False
        self.last_notified = 0.0
        """When `callback_notify` was called last, by `time.time`."""
        self.servers: list[Listening] = []
        """Where it listens, from `startup` on."""
        self._engine: engine.Server | None = None
        self._limit = 0
        """After how many requests it stops by itself; 0: never."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit = asyncio.Event()
        self._should_exit = False
        self._force_exit = False
        self._captured: list[int] = []
        self._previous: dict[int, Any] = {}
        self._loggers: log.Loggers | None = None

    @property
    def should_exit(self) -> bool:
        """Set it, from any thread, to have the server stop."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._exit.set)
            if self._engine is not None and not self.started:
                # An application may take long to start.
                self._engine.ask_shutdown()

    @property
    def force_exit(self) -> bool:
        """Set it beside `should_exit` to stop without waiting for what is running."""
        return self._force_exit

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        self._force_exit = value
        if value and self._engine is not None:
            self._engine.hurry()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop, in a loop of its own. A signal that stops it is raised again, see `serve`."""
        with asyncio.Runner(loop_factory=self.config.get_loop_factory()) as runner:
            runner.run(self.serve(sockets))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop; `sockets` in place of the configured address.

        In the main thread signals are taken meanwhile: TERM and INT stop gracefully, a second INT at once. When all
        is stopped the signal is raised again, for whoever had it before: if nobody had, TERM ends the process, and who
        has started it sees that it was ended by that signal.
        """
        with self.capture_signals():
            try:
                await self.startup(sockets)
                if not self.should_exit:
                    await self.main_loop()
            except asyncio.CancelledError:
                self.force_exit = True
                raise
            finally:
                if self.started:
                    await self.shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the application, start it, and accept connections. Exits where that fails, as uvicorn does."""
        config = self.config
        if not config.loaded:
            config.load()
        self._loop = asyncio.get_running_loop()
        options = config.options if sockets is None else without_address(config.options)
        self._limit = last_request(options.processes)
        if config.log_config is not None:
            self._loggers = log.configure(options.log)
        self._engine = engine.Server(
            config.application(),
            options,
            sockets=sockets or (),
            loggers=self._loggers,
            last_request=self._limit,
            served=self._served,
        )
        try:
            await self._engine.start()
        except engine.Stopped:
            return
        except (AppLoadError, BindError) as error:
            fail(error)
        self.servers = [Listening((listener.sock,)) for listener in self._engine.listeners]
        self.started = True

    async def main_loop(self) -> None:
        """Wait until it is time to stop."""
        # Nobody waits for a tick that does nothing.
        ticks = type(self).on_tick is not Server.on_tick or self.config.callback_notify is not None
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % TICKS_A_DAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL if ticks else None):
                    await self._exit.wait()

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to stop; asked every POLL seconds. `counter` has come from 0, where it begins each day."""
        notify = self.config.callback_notify
        if notify is not None and time.time() - self.last_notified > self.config.timeout_notify:
            self.last_notified = time.time()
            await notify()
        # It may have been told to before there was a loop to tell.
        return self.should_exit or self._exit.is_set()

    def _served(self) -> None:
        """With the last request that it may have."""
        if not self.should_exit and self._engine is not None:
            self._engine.log.info("Maximum request limit of %d exceeded. Terminating process.", self._limit)
            self._exit.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and wait until all is stopped. `sockets` are closed."""
        assert self._engine is not None
        if self.force_exit:
            self._engine.hurry()
        await self._engine.shutdown()
        for sock in sockets or ():
            sock.close()
        if self._loggers is not None:
            self._loggers.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has arrived."""
        if self._engine is not None and self._engine.state == engine.STOPPED:
            # Another server took the signals after this one, and gave them back to us when we had ended already.
            previous = self._previous.get(sig)
            if callable(previous):
                previous(sig, frame)
            return
        self._captured.append(sig)
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        else:
            self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Have `handle_exit` called for signals, and raise them again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._previous = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, previous in self._previous.items():
                # Bound methods are equal, never identical.
                if signal.getsignal(number) == self.handle_exit:
                    signal.signal(number, signal.SIG_DFL if previous is None else previous)
            for number in reversed(self._captured):
                signal.raise_signal(number)


def without_address(options: settings.Config) -> settings.Config:
    """The same, not told where to listen."""
    given = {name: options.values[name] for name in options.values if options.source(name) is not rules.DEFAULT}
    for members in rules.LISTENING.values():
        for name in members:
            given.pop(name, None)
    return settings.Config(**given)


def fail(error: GatewayError) -> NoReturn:
    """Say what went wrong, and exit."""
    if isinstance(error, AppLoadError) and error.show_traceback and error.__cause__ is not None:
        sys.stderr.write(describe_cause(error.__cause__))
    sys.stderr.write(f"gateway: error: {error}\n")
    sys.exit(STARTUP_FAILURE)


def run(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | None = None,
    loop: Any = "auto",
    http: Any = "auto",
    http2: bool = False,
    ws: Any = "auto",
    ws_max_size: int = 16 * 1024 * 1024,
    ws_max_queue: int = 32,
    ws_ping_interval: float | None = 20.0,
    ws_ping_timeout: float | None = 20.0,
    ws_per_message_deflate: bool = True,
    lifespan: str = "auto",
    interface: str = "auto",
    reload: bool = False,
    reload_dirs: list[str] | str | None = None,
    reload_includes: list[str] | str | None = None,
    reload_excludes: list[str] | str | None = None,
    reload_delay: float = 0.25,
    workers: int | None = None,
    env_file: str | os.PathLike[str] | None = None,
    log_config: Any = LOGGING_CONFIG,
    log_level: str | int | None = None,
    access_log: bool = True,
    proxy_headers: bool = True,
    server_header: bool = True,
    date_header: bool = True,
    forwarded_allow_ips: list[str] | str | None = None,
    root_path: str = "",
    limit_concurrency: int | None = None,
    backlog: int = 2048,
    limit_max_requests: int | None = None,
    limit_max_requests_jitter: int = 0,
    timeout_keep_alive: int = 5,
    timeout_graceful_shutdown: int | None = None,
    timeout_worker_healthcheck: int = 5,
    ssl_keyfile: str | os.PathLike[str] | None = None,
    ssl_certfile: str | os.PathLike[str] | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int = 17,
    ssl_cert_reqs: int = 0,
    ssl_ca_certs: str | os.PathLike[str] | None = None,
    ssl_ciphers: str | None = None,
    ssl_context_factory: Callable[..., Any] | None = None,
    headers: list[tuple[str, str]] | None = None,
    use_colors: bool | None = None,
    app_dir: str | None = None,
    factory: bool = False,
    h11_max_incomplete_event_size: int | None = None,
    reset_contextvars: bool = False,
) -> None:
    """Serve until a signal says stop; with `reload` or several workers, under gateway's master."""
    values = {name: value for name, value in locals().items() if name not in ("app", "app_dir")}
    try:
        config = Config(app, **values)
        config.app_dir = app_dir
    except ConfigError as error:
        fail(error)
    if reload and not config.should_reload:
        sys.stderr.write("You must pass the application as an import string to enable 'reload'.\n")
        sys.exit(STARTUP_FAILURE)
    if not config.use_subprocess:
        config.load()
        with contextlib.suppress(KeyboardInterrupt):
            Server(config).run()
        return
    from gateway.supervisor import master

    try:
        master.run(config.options)
    except GatewayError as error:
        fail(error)
