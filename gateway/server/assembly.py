"""From options to the objects of the request path: the application, its handler, and the service they work for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gateway import loader, log
from gateway._version import __version__
from gateway.backend import Backend, choose
from gateway.config.addresses import Address
from gateway.config.mounts import Mount
from gateway.config.sections import ForwardedSettings, LogSettings
from gateway.config.settings import Config
from gateway.errors import ConfigError

from .threads import NoThreads, ThreadPool

if TYPE_CHECKING:
    import ssl


def load_app(app: Any, config: Config) -> loader.Loaded:
    """The application or applications, loaded as the options say. Raises ConfigError and AppLoadError."""
    if isinstance(app, (loader.LoadedApp, loader.LoadedProject, loader.LoadedMounts)):
        return app
    settings = config.application
    if app is None:
        app = settings.app
    loaded: loader.Loaded
    if app is None and settings.mount:
        loaded = loader.load_mounts(settings.mount, app_dir=settings.app_dir, pythonpath=settings.pythonpath)
    elif app is None:
        raise ConfigError("no application given; say which, as in: Server('app:app')")
    else:
        loaded = loader.load(
            app,
            factory=settings.factory,
            app_dir=settings.app_dir,
            interface=settings.interface,
            pythonpath=settings.pythonpath,
        )
    if settings.django_wsgi or settings.django_asgi:
        if not any(isinstance(place, loader.LoadedProject) for _, place in places(loaded)):
            raise ConfigError(
                f"{'--django-wsgi' if settings.django_wsgi else '--django-asgi'}: chooses between the entry points of a"
                " Django project, and none is served by both; name the project's package, as in mysite"
            )
    return loaded


def places(loaded: loader.Loaded) -> Sequence[tuple[Mount | None, loader.LoadedApp | loader.LoadedProject]]:
    """The applications with their mounts; a single one has none."""
    return loaded.mounts if isinstance(loaded, loader.LoadedMounts) else ((None, loaded),)


def choose_backend(config: Config, loaded: loader.Loaded, loggers: log.Loggers) -> Backend:
    """The build of the request path, for what this server uses of it; the rest is not even loaded."""
    modules = ["http1.connection", "io.poller"]
    interfaces = {app.interface for app in loaded.applications}
    if "asgi" in interfaces:
        modules.append("asgi.cycle")
        if config.websocket.enabled:
            modules.append("websocket.upgrade")
    if "wsgi" in interfaces:
        modules += ["wsgi.task", "wsgi.errors", "wsgi.executor"]
        if config.wsgi.threads:
            modules.append("kernels.queue")
    if isinstance(loaded, loader.LoadedMounts):
        modules.append("http.mounts")
    if any(isinstance(place, loader.LoadedProject) for _, place in places(loaded)):
        modules.append("http.split")
    if forwarding(config.forwarded):
        modules.append("http.forwarded")
    if loggers.access is not None:
        modules.append("http.accesslog")
    return choose(*modules)


def make_tls(config: Config) -> ssl.SSLContext | None:
    """What TLS connections are made with, or None without TLS. Raises ConfigError."""
    if config.tls is None:
        return None
    from gateway.tls import make_ssl_context

    return make_ssl_context(config.tls)


def addresses_of(config: Config, has_sockets: bool) -> Sequence[Address]:
    """Where to listen; with sockets of the caller's, not at the default address."""
    told = any(config.source(name).rank for name in ("bind", "host", "port", "uds", "fd"))
    return () if has_sockets and not told else config.listen.addresses


def program_loggers(settings: LogSettings) -> log.Loggers:
    """The logs of a server inside a program, which has its own idea of logging: only what it asks for is set up."""
    error = logging.getLogger(log.ERROR_LOGGER)
    if settings.access_logfile is not None:
        try:
            file = log.AccessFile(settings.access_logfile, error.error, settings.access_log_flush)
        except OSError as problem:
            raise ConfigError(f"access_logfile: can't open {settings.access_logfile}: {problem.strerror}")
        return log.Loggers(error, file.write, None, file)
    access = logging.getLogger(log.ACCESS_LOGGER)
    if access.handlers:
        return log.Loggers(error, lambda data: access.info("%s", log.text_of(data)))
    return log.Loggers(error, None)


def make_pool(
    backend: Backend,
    config: Config,
    loop: asyncio.AbstractEventLoop,
    logger: logging.Logger,
    worn: Callable[[str], object] | None = None,
    part_time: bool = False,
) -> ThreadPool | NoThreads:
    """The threads for a WSGI application, not started. `worn` and `part_time`: see `ThreadPool`."""
    settings = config.wsgi
    if not settings.threads:
        return NoThreads(backend, log=logger)
    return ThreadPool(
        backend,
        loop,
        settings.threads,
        settings.limit_thread_queue,
        switch_interval=settings.thread_switch_interval,
        part_time=part_time,
        worn=worn,
        log=logger,
    )


def make_wsgi_handler(
    backend: Backend, config: Config, app: Any, pool: Any, logger: logging.Logger, threads: int = 0
) -> Any:
    """What starts a WSGI application for each stream. `threads`: how many of the pool's it may take, 0 for all."""
    settings = config.wsgi
    executor = pool.executor
    shared = 0 < threads < settings.threads
    if shared:
        executor = backend.module("wsgi.executor").LaneExecutor(executor, threads, settings.limit_thread_queue)
    return backend.module("wsgi.task").WSGIHandler(
        app,
        executor,
        errors=backend.module("wsgi.errors").ErrorStream(logger.error),
        multithread=(threads if shared else settings.threads) > 1,
        multiprocess=config.workers > 1,
        server_software=f"gateway/{__version__}",
        queue_timeout=settings.timeout_thread_queue,
        sendfile=settings.sendfile,
        inline=settings.threads == 0,
    )


def make_service(
    backend: Backend, config: Config, handler: Any, mounts: Any, logger: logging.Logger, access_log: Any
) -> Any:
    """What all connections share: a handler, or a table of mounts. `access_log` is an AccessLogger, or None.

    Raises ConfigError.
    """
    limits = backend.module("http.limits")
    service = backend.module("http.service")
    response = config.response
    return service.Service(
        limits=config.limits(limits.Limits),
        timeouts=config.timeouts(limits.Timeouts),
        clock=backend.module("kernels.base").Clock(time.monotonic()),
        handler=handler,
        log=logger,
        access_log=access_log,
        forwarded=make_forwarded(backend, config),
        server_header=b"gateway" if response.server_header else b"",
        date_header=response.date_header,
        extra_fields=response.extra_fields,
        header_map=getattr(service, f"HEADER_MAP_{response.header_map.upper()}"),
        root_path=config.application.root_path,
        mounts=mounts,
    )


def make_upgrade(backend: Backend, config: Config, service: Any) -> Any:
    """What answers WebSocket handshakes, or None: then they are ordinary requests."""
    settings = config.websocket
    if not settings.enabled:
        return None
    deflate = None
    if settings.ws_per_message_deflate:
        make = backend.module("websocket.deflate").DeflateSettings
        deflate = make(memory=settings.ws_deflate_memory, min_size=settings.ws_deflate_min_size)
    return backend.module("websocket.upgrade").WebSocketUpgrade(service, deflate)


def make_poller(
    backend: Backend, config: Config, loop: asyncio.AbstractEventLoop, service: Any, logger: logging.Logger
) -> Any:
    """Our own I/O, or None where asyncio's transports are used. Raises ConfigError: it is asked for and not there."""
    if config.io == "asyncio" or config.tls is not None:
        return None
    problem = "needs Linux"
    if sys.platform == "linux":
        high_water = service.limits.write_buffer or sys.maxsize
        make = backend.module("io.poller").Poller
        try:
            return make(loop, contextvars.copy_context(), logger, high_water, config.wsgi.sendfile)
        except (NotImplementedError, OSError) as error:
            problem = str(error) or "this event loop has no readers"
    if config.io == "epoll":
        raise ConfigError(f"--io epoll: {problem}; say --io auto")
    return None


class AccessLog:
    """Makes access lines, and has them written in time.

    `logger` is an AccessLogger, or None when there is no access log. Raises ConfigError: the format is not one.
    """

    def __init__(
        self, backend: Backend, settings: LogSettings, loggers: log.Loggers, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.logger: Any = None
        self._loop = loop
        self._file = loggers.access_file
        self._timer: asyncio.TimerHandle | None = None
        if loggers.access is None:
            return
        limit = 0 if self._file is None else self._file.limit
        make = backend.module("http.accesslog").AccessLogger
        try:
            self.logger = make(settings.access_log_format, loggers.access, limit, self._wait)
        except ValueError as error:
            raise ConfigError(f"--access-log-format: {error}")
        if self._file is not None:
            self._file.attach(self.logger.flush)

    def close(self) -> None:
        """Write what is collected; later lines are not looked after."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is not None and self.logger is not None:
            self._file.detach(self.logger.flush)

    def _wait(self) -> None:
        """There is a line to write."""
        if self._timer is None and self._file is not None:
            self._timer = self._loop.call_later(self._file.interval, self._flush)

    def _flush(self) -> None:
        self._timer = None
        assert self._file is not None
        self._file.flush()
        if self._file.waiting:
            self._wait()


def forwarding(settings: ForwardedSettings) -> bool:
    """Whether there is anything to do with the fields that proxies set."""
    return bool(settings.trusted or settings.forwarded_clear)


def make_forwarded(backend: Backend, config: Config) -> Any:
    """What judges the fields that proxies set; None where they are left alone. Raises ConfigError."""
    settings = config.forwarded
    if not forwarding(settings):
        return None
    try:
        return backend.module("http.forwarded").ForwardedPolicy(
            settings.trusted,
            host=settings.forwarded_host,
            port=settings.forwarded_port,
            prefix=settings.forwarded_prefix,
            clear=settings.forwarded_clear,
            forwarded=settings.forwarded_style == "forwarded",
        )
    except ValueError as error:
        raise ConfigError(f"--forwarded-allow-ips: {error}")
