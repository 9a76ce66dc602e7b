"""The sections into which a `Config` is cut, one for each part of the server.

A section's fields carry the names of their options, so that cutting needs no list of its own; what a part needs in
another form is a property here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .addresses import Address
from .mounts import Mount

TRACE = 5
"""The number of the log level "trace", below logging.DEBUG."""

LOG_LEVELS = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10, "trace": TRACE}


class ApplicationSettings(NamedTuple):
    """What to load, and how."""

    app: Any
    """A target as text, or the application object itself; None where there are mounts."""
    mount: tuple[Mount, ...]
    interface: str
    """auto, wsgi, asgi, asgi3, asgi2 or django."""
    django_wsgi: tuple[str, ...]
    django_asgi: tuple[str, ...]
    factory: bool
    chdir: str | None
    app_dir: str | None
    pythonpath: tuple[str, ...]
    root_path: str
    """Empty, or starting with a slash and not ending with one."""

    @property
    def name(self) -> str:
        """What is served, for people."""
        if self.mount:
            return ", ".join(f"{mount.path} {target_name(mount.app)}" for mount in self.mount)
        return target_name(self.app)


class ListenSettings(NamedTuple):
    """Where to listen."""

    addresses: tuple[Address, ...]
    backlog: int
    reuse_port: bool
    uds_mode: int


class ProcessSettings(NamedTuple):
    """How many processes, and how they are looked after."""

    workers: int
    supervisor: bool
    timeout_boot: float
    """Seconds; 0 = no limit."""
    graceful_timeout: float
    """Seconds."""
    preload: bool
    user: str | None
    group: str | None
    initgroups: bool
    umask: int | None
    proc_name: str | None
    daemon: bool
    enable_stdio_inheritance: bool
    pid: str | None
    """A path."""
    health_bind: Address | None
    control_socket: str | None
    """A path."""
    drain_delay: float
    """Seconds."""
    timeout: float
    """Seconds; 0 = no limit."""
    blocked_loop_time: float
    """Seconds; 0 = any."""
    max_requests: int
    """0 = no limit."""
    max_requests_jitter: int
    max_worker_age: float
    """Seconds; 0 = no limit."""
    max_worker_memory: int
    """Bytes; 0 = no limit."""
    max_worker_memory_hard: int
    """Bytes; 0 = no limit."""


class DevelopmentSettings(NamedTuple):
    """Which changes have the application loaded anew, and how they are noticed."""

    reload: bool
    reload_dir: tuple[str, ...]
    reload_include: tuple[str, ...]
    reload_exclude: tuple[str, ...]
    reload_delay: float
    """Seconds."""
    reload_engine: str
    """auto, watchfiles, inotify or poll."""
    app_dir: str | None
    config: str | None
    """A path."""
    env_file: tuple[str, ...]


class WSGISettings(NamedTuple):
    """How WSGI requests get their threads."""

    threads: int
    """0 = none: they run on the event loop."""
    thread_switch_interval: float
    """Seconds; 0 = as it is."""
    limit_thread_queue: int
    """Requests; 0 = no limit."""
    timeout_thread_queue: float
    """Seconds; 0 = no limit."""
    sendfile: bool


class ASGISettings(NamedTuple):
    """The event loop and the lifespan protocol."""

    loop: str
    """auto, asyncio or uvloop."""
    lifespan: str
    """auto, on or off."""
    lifespan_startup_timeout: float
    """Seconds; 0 = no limit."""
    lifespan_shutdown_timeout: float
    """Seconds; 0 = no limit."""
    sendfile: bool


class WebSocketSettings(NamedTuple):
    """Whether there are WebSocket connections, and how they compress."""

    ws: str
    """auto or none."""
    ws_per_message_deflate: bool
    ws_deflate_memory: int
    """Bytes for one connection."""
    ws_deflate_min_size: int
    """Bytes of a message."""

    @property
    def enabled(self) -> bool:
        """Whether an ASGI application gets WebSocket connections."""
        return self.ws != "none"


class ResponseSettings(NamedTuple):
    """What every response gets, and what becomes of ambiguous request fields."""

    server_header: bool
    date_header: bool
    header: tuple[tuple[str, str], ...]
    header_map: str
    """drop, refuse or dangerous."""

    @property
    def extra_fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """`header` as bytes."""
        return tuple((name.encode("ascii"), value.encode("latin-1")) for name, value in self.header)


class ForwardedSettings(NamedTuple):
    """Whom to believe about the client, and in what."""

    proxy_headers: bool
    forwarded_allow_ips: tuple[str, ...]
    """IP addresses, networks, "unix", "*"."""
    forwarded_style: str
    """x-forwarded or forwarded."""
    forwarded_host: bool
    forwarded_port: bool
    forwarded_prefix: bool
    forwarded_clear: bool

    @property
    def trusted(self) -> tuple[str, ...]:
        """`forwarded_allow_ips`, or nobody when `proxy_headers` is off."""
        return self.forwarded_allow_ips if self.proxy_headers else ()


class LogSettings(NamedTuple):
    """Where logs go, and what they hold."""

    log_level: str
    error_logfile: str
    """A path, or "-" for stderr."""
    access_logfile: str | None
    """A path, "-" for stdout, or None for no access log."""
    access_log_format: str
    """The name of a format or a format."""
    access_log_flush: float
    """Seconds that lines are collected for at most, 0 to write each at once."""
    use_colors: bool | None
    """None: as the terminal and NO_COLOR want."""

    @property
    def level(self) -> int:
        """`log_level` as the `logging` module has it."""
        return LOG_LEVELS[self.log_level]


def target_name(app: Any) -> str:
    """A target, or the type of an application that was given as an object."""
    return app if isinstance(app, str) else type(app).__name__
