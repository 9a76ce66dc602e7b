"""`Config`: the options of one server, checked, and cut into the sections that its parts take.

Each part of the server is handed one frozen section and knows no options. A section's fields carry the names of their
options, so that cutting needs no list of its own; what a part needs in another form is a property here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import ConfigError
from .addresses import DEFAULT_HOST, DEFAULT_PORT, Address, unix_address
from .mounts import Mount, check_mounts, is_mounts
from .options import BY_NAME, NAMES, OPTIONS, Option, find
from .values import suggest
from .worker_classes import ONE_AT_A_TIME, WORKER_CLASSES, worker_interface

if TYPE_CHECKING:
    from ..tls import TLSSettings

T = TypeVar("T")

TRACE = 5
"""The number of the log level "trace", below logging.DEBUG."""

LOG_LEVELS = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10, "trace": TRACE}

# The ways to say where to listen, and the options of each. The one from the strongest source counts.
LISTENING = {"bind": ("bind",), "host": ("host", "port"), "uds": ("uds",), "fd": ("fd",)}


# With --reload: what has to be so,
RELOAD_NEEDS = {"workers": 1, "preload": False}
# and what is so unless something else was said. Who develops wants no stream or browser tab to hold up a reload, may
# stop the event loop in a debugger for as long as it takes, and likes to see the requests.
RELOAD_DEFAULTS = {
    "graceful_timeout": 3.0,
    "lifespan_shutdown_timeout": 5.0,
    "timeout": 0.0,
    "access_logfile": "-",
    "access_log_format": "short",
}


class Source(NamedTuple):
    """Where a value comes from. A larger `rank` wins."""

    rank: int
    text: str
    """For people: "default", "gateway.toml", "environment variable GATEWAY_PORT", "--port"."""


DEFAULT = Source(0, "default")
KEYWORD = Source(5, "keyword")


class Extras(NamedTuple):
    """What a configuration file brings beside values of options."""

    hooks: Mapping[str, Callable[..., Any]] = {}
    """By gunicorn's names for them."""
    warnings: tuple[str, ...] = ()
    """What has no effect: one line each."""
    notices: tuple[str, ...] = ()
    """What the user should be told when the server starts: one line each."""


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


class Config:
    """The options of one server. Can't be changed; `replace` makes another.

    `app` is a target such as "module:attribute", or the application itself, or several of them (`Mounts`). `options`
    are the names of `config/options`; texts are read as on the command line (`keep_alive="75s"`). Nothing is read
    from files or the environment: `config.sources.load` does that.

    Every option's value is also an attribute of its own name: `config.threads`.

    Raises ConfigError: an option that doesn't exist, a value it can't have, or options that contradict each other.
    """

    __slots__ = ("_extras", "_sources", "_values", "application", "listen", "notices")

    _values: Mapping[str, Any]
    _sources: Mapping[str, Source]
    _extras: Extras
    application: ApplicationSettings
    listen: ListenSettings
    notices: tuple[str, ...]
    """What the user should be told when the server starts: one line each."""

    def __init__(self, app: Any = None, **options: Any) -> None:
        given: dict[str, tuple[Any, Source]] = {}
        if app is not None:
            given["app"] = (app, KEYWORD)
        for name, value in options.items():
            option = keyword(name)
            if option.name in given:
                raise ConfigError(f"{name} and another name for it are both given")
            given[option.name] = (value, Source(KEYWORD.rank, f"keyword {name}"))
        self._set(given, Extras())

    @classmethod
    def from_sources(cls, given: Mapping[str, tuple[Any, Source]], extras: Extras | None = None) -> Config:
        """A config from values, by option name, of which each comes with its source. Raises ConfigError."""
        config = cls.__new__(cls)
        config._set(given, extras or Extras())  # noqa: SLF001 (a constructor)
        return config

    def _set(self, given: Mapping[str, tuple[Any, Source]], extras: Extras) -> None:
        values: dict[str, Any] = {}
        sources: dict[str, Source] = {}
        for option in OPTIONS:
            value, source = given.get(option.name, (option.default, DEFAULT))
            if option.name == "app" and is_mounts(value):
                if "mount" in given:
                    raise ConfigError(f"{source.text} and {given['mount'][1].text} both hold mounts; keep one")
                given = {**given, "mount": (value, source)}
                value, source = None, DEFAULT
            elif source is not DEFAULT and not (option.name == "app" and not isinstance(value, str)):
                value = option.read(value, source.text)
            values[option.name] = value
            sources[option.name] = source
        put = object.__setattr__
        put(self, "_values", MappingProxyType(values))
        put(self, "_sources", MappingProxyType(sources))
        put(self, "_extras", extras)
        self._take_mounts(values, sources)
        notices = (*self._take_worker_class(values, sources), *self._take_reload(values, sources))
        put(self, "notices", (*notices, *extras.notices))
        addresses = self._addresses(values, sources)
        put(self, "application", self._cut(ApplicationSettings))
        put(self, "listen", self._cut(ListenSettings, addresses=addresses))
        self._check()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Config can't be changed; config.replace({name}=...) makes another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Config can't be changed")

    def __getattr__(self, name: str) -> Any:
        # Also reached for slots that are not set yet, while being copied: `_values` is one of them.
        if name in BY_NAME:
            return self._values[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.values == other.values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        changed = [
            f"{name}={BY_NAME[name].show(value)!r}" if BY_NAME[name].secret else f"{name}={value!r}"
            for name, value in self._values.items()
            if self._sources[name].rank > DEFAULT.rank
        ]
        return f"Config({', '.join(changed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Config.from_sources, (self._given(), self._extras)

    @property
    def values(self) -> Mapping[str, Any]:
        """Every option's value, by name."""
        return self._values

    @property
    def hooks(self) -> Mapping[str, Callable[..., Any]]:
        """Functions of a gunicorn.conf.py that want to be called, by gunicorn's names for them.

        Each takes the parameters that `config.gunicorn.HOOKS` lists.
        """
        return MappingProxyType(self._extras.hooks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was asked for and has no effect: one line each."""
        return self._extras.warnings

    def source(self, name: str) -> Source:
        """Where the value of the option `name` comes from."""
        return self._sources[name]

    def replace(self, **options: Any) -> Config:
        """The same with some options changed. Raises ConfigError."""
        given = self._given()
        # Stronger than all there is: `replace(uds=...)` takes the place of an earlier `bind`.
        rank = 1 + max((source.rank for _, source in given.values()), default=KEYWORD.rank)
        for name, value in options.items():
            option = keyword(name)
            given[option.name] = (value, Source(rank, f"keyword {name}"))
        return Config.from_sources(given, self._extras)

    def without_hooks(self) -> Config:
        """The same, with no functions to call."""
        return Config.from_sources(self._given(), self._extras._replace(hooks={}))

    @property
    def needs_master(self) -> bool:
        """Whether there is more to do than serving in one process for as long as it lasts."""
        limits = ("max_requests", "max_worker_age", "max_worker_memory", "max_worker_memory_hard")
        names = ("control_socket", "reload", *limits)
        return bool(self._values["workers"] > 1 or any(self._values[name] for name in names))

    @property
    def processes(self) -> ProcessSettings:
        """Master and workers."""
        return self._cut(ProcessSettings)

    @property
    def development(self) -> DevelopmentSettings:
        """Reload on changes."""
        return self._cut(DevelopmentSettings)

    @property
    def wsgi(self) -> WSGISettings:
        """Threads for WSGI."""
        return self._cut(WSGISettings)

    @property
    def asgi(self) -> ASGISettings:
        """Event loop and lifespan."""
        return self._cut(ASGISettings)

    @property
    def websocket(self) -> WebSocketSettings:
        """WebSocket connections."""
        return self._cut(WebSocketSettings)

    @property
    def response(self) -> ResponseSettings:
        """Fields of every response."""
        return self._cut(ResponseSettings)

    @property
    def forwarded(self) -> ForwardedSettings:
        """What proxies are believed."""
        return self._cut(ForwardedSettings)

    @property
    def tls(self) -> TLSSettings | None:
        """TLS, or None when there is no certificate."""
        values = self._values
        if values["certfile"] is None:
            return None
        from ..tls import TLSSettings

        return TLSSettings(
            certfile=values["certfile"],
            keyfile=values["keyfile"],
            password=values["keyfile_password"],
            ca_certs=values["ca_certs"],
            cert_reqs=values["cert_reqs"],
            ciphers=values["ciphers"],
            minimum_version=values["ssl_min_version"],
            handshake_timeout=values["timeout_handshake"],
        )

    @property
    def log(self) -> LogSettings:
        """Error log and access log."""
        return self._cut(LogSettings)

    def limits(self, limits_class: Callable[..., T]) -> T:
        """`limits_class`, the `Limits` of the build in use, with the values of the options."""
        return limits_class(**self._part("limits"))

    def timeouts(self, timeouts_class: Callable[..., T]) -> T:
        """`timeouts_class`, the `Timeouts` of the build in use, with the values of the options."""
        return timeouts_class(**self._part("timeouts"))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Every option: its value as TOML or JSON writes it, and where it comes from. Secrets are masked."""
        result = {}
        for option in OPTIONS:
            value = self._values[option.name]
            is_object = option.name == "app" and not (value is None or isinstance(value, str))
            shown = repr(value) if is_object else option.show(value)
            result[option.name] = {"value": shown, "source": self._sources[option.name].text}
        return result

    def _given(self) -> dict[str, tuple[Any, Source]]:
        return {
            name: (value, self._sources[name])
            for name, value in self._values.items()
            if self._sources[name].rank > DEFAULT.rank
        }

    def _cut(self, section: type[T], **more: Any) -> T:
        names: tuple[str, ...] = section._fields  # type: ignore[attr-defined]
        return section(**{name: self._values[name] for name in names if name not in more}, **more)

    def _part(self, part: str) -> dict[str, Any]:
        result = {}
        for option in OPTIONS:
            owner, _, attribute = option.part.partition(".")
            if owner == part:
                result[attribute] = self._values[option.name]
        return result

    def _text(self, name: str) -> str:
        """The option `name` as the user wrote it, for messages."""
        source = self._sources[name]
        return BY_NAME[name].flag if source is DEFAULT else source.text

    def _take_mounts(self, values: dict[str, Any], sources: dict[str, Source]) -> None:
        """One application or several: from the stronger of the sources that say so; the other is forgotten."""
        if values["app"] is None or not values["mount"]:
            return
        app, mount = sources["app"], sources["mount"]
        if app.rank == mount.rank:
            what = repr(values["app"]) if isinstance(values["app"], str) else "an application"
            raise ConfigError(
                f"{app.text} and {mount.text} both say what to serve; keep one ({what} beside mounts is a mount too,"
                " at / for what is left)"
            )
        weaker = "mount" if app.rank > mount.rank else "app"
        values[weaker], sources[weaker] = BY_NAME[weaker].default, DEFAULT

    def _take_worker_class(self, values: dict[str, Any], sources: dict[str, Source]) -> tuple[str, ...]:
        """Set what the worker class stands for. Returns what to tell about it."""
        name = values["worker_class"]
        if name is None:
            return ()
        interface = worker_interface(name)
        if interface is None:
            known = ", ".join(sorted(WORKER_CLASSES))
            raise ConfigError(
                f"{self._text('worker_class')}: gateway has no worker classes; leave {name!r} out, or say --interface"
                f" wsgi or asgi (names it understands: {known})"
            )
        if values["interface"] != "auto":
            return (f"worker class {name}: has no effect beside --interface {values['interface']}",)
        if values["mount"]:
            # What runs one request at a time still does.
            if name.lower() in ONE_AT_A_TIME and sources["threads"] is DEFAULT:
                values["threads"], sources["threads"] = 1, Source(DEFAULT.rank, sources["worker_class"].text)
                return (f"worker class {name}: taken as --threads 1",)
            return (f"worker class {name}: has no effect on mounts, each of which has its own interface",)
        # As weak as a default, so that `replace` decides anew.
        source = Source(DEFAULT.rank, sources["worker_class"].text)
        values["interface"], sources["interface"] = interface, source
        if name.lower() not in ONE_AT_A_TIME or sources["threads"] is not DEFAULT:
            return (f"worker class {name}: taken as --interface {interface}",)
        values["threads"], sources["threads"] = 1, source
        return (f"worker class {name}: taken as --interface {interface} --threads 1",)

    def _take_reload(self, values: dict[str, Any], sources: dict[str, Source]) -> tuple[str, ...]:
        """Set what development with --reload asks for. Returns what to tell about it."""
        if not values["reload"]:
            return ()
        notices = []
        for name, needed in RELOAD_NEEDS.items():
            if values[name] != needed:
                text = self._text(name)
                notices.append(f"{text}: has no effect with --reload, which is for one worker that loads all anew")
            # As weak as a default, so that `replace` decides anew.
            values[name], sources[name] = needed, Source(DEFAULT.rank, "--reload")
        for name, value in RELOAD_DEFAULTS.items():
            if sources[name] is DEFAULT:
                values[name], sources[name] = value, Source(DEFAULT.rank, "--reload")
        return tuple(notices)

    def _addresses(self, values: dict[str, Any], sources: dict[str, Source]) -> tuple[Address, ...]:
        """Where to listen, from the strongest of the sources that say something about it; others are forgotten."""
        ranks = {
            name: max(sources[member].rank for member in members if values[member] not in (None, ()))
            for name, members in LISTENING.items()
            if any(values[member] not in (None, ()) for member in members)
        }
        strongest = max(ranks.values(), default=0)
        chosen = [name for name, rank in ranks.items() if rank == strongest]
        if len(chosen) > 1:
            texts = [self._text("port" if name == "host" and values["host"] is None else name) for name in chosen]
            raise ConfigError(f"{' and '.join(texts)} both say where to listen; keep one (--bind can be repeated)")
        for name, members in LISTENING.items():
            for member in members:
                if name not in chosen:
                    values[member], sources[member] = BY_NAME[member].default, DEFAULT
        match chosen:
            case ["host"]:
                port = values["port"]
                return (Address("tcp", values["host"] or DEFAULT_HOST, DEFAULT_PORT if port is None else port),)
            case ["uds"]:
                return (unix_address(values["uds"]),)
            case ["fd"]:
                return (Address("fd", fd=values["fd"]),)
            case ["bind"]:
                # The same address twice is one listener, but port 0 is another port each time.
                binds = values["bind"]
                return tuple(
                    address
                    for index, address in enumerate(binds)
                    if address not in binds[:index] or (address.kind == "tcp" and address.port == 0)
                )
        values["bind"] = (Address("tcp", DEFAULT_HOST, DEFAULT_PORT),)
        return tuple(values["bind"])

    def _check(self) -> None:
        """What options ask of each other. Raises ConfigError."""
        values, text = self._values, self._text
        if values["mount"]:
            self._check_mounts()
        if values["workers"] > 1 and not values["supervisor"]:
            raise ConfigError(
                f"{text('workers')}: {values['workers']} processes can't be had with --no-supervisor, which is one"
                " process; say --workers 1, or leave it out"
            )
        if values["reload"] and not values["supervisor"]:
            raise ConfigError(f"{text('reload')}: is done by the master, and with --no-supervisor there is none")
        for folder in values["reload_dir"] if values["reload"] else ():
            if not os.path.isdir(folder):
                raise ConfigError(f"{text('reload_dir')}: {folder} does not exist or is no directory")
        apps = [values["app"], *(mount.app for mount in values["mount"])]
        if values["reload"] and any(app is not None and not isinstance(app, str) for app in apps):
            raise ConfigError(
                f"{text('reload')}: an application that is loaded already can't be loaded anew; name it,"
                ' as in gateway.run("main:app", reload=True)'
            )
        if not values["supervisor"]:
            for name in (
                "pid",
                "health_bind",
                "control_socket",
                "daemon",
                "drain_delay",
                "preload",
                "user",
                "group",
                "umask",
            ):
                if values[name] not in (None, False, 0.0):
                    raise ConfigError(f"{text(name)}: is the master's, and with --no-supervisor there is none")
            for name in ("max_requests", "max_worker_age", "max_worker_memory", "max_worker_memory_hard"):
                if values[name]:
                    raise ConfigError(
                        f"{text(name)}: with --no-supervisor nobody would replace the worker; leave it out"
                    )
        if (values["control_socket"] or "").startswith("@"):
            raise ConfigError(f"{text('control_socket')}: anybody may connect to an abstract socket; name a path")
        if values["certfile"] is None:
            for name in ("keyfile", "keyfile_password", "ca_certs", "ciphers"):
                if values[name] is not None:
                    raise ConfigError(f"{text(name)}: TLS needs a certificate; give --certfile as well")
            if values["cert_reqs"] != "none":
                raise ConfigError(f"{text('cert_reqs')}: TLS needs a certificate; give --certfile as well")
        elif values["keyfile"] is None and not holds_key(values["certfile"]):
            raise ConfigError(f"{text('certfile')}: {values['certfile']} holds no private key; give --keyfile as well")
        if values["cert_reqs"] != "none" and values["ca_certs"] is None:
            raise ConfigError(
                f"{text('cert_reqs')}: client certificates are checked against those in --ca-certs; give it as well"
            )
        if values["factory"] and isinstance(values["app"], str) and values["app"].endswith(")"):
            raise ConfigError(f"{text('factory')}: {values['app']!r} is called already; leave --factory out")
        whole, field = values["limit_request_fields_size"], values["limit_request_field_size"]
        if whole and field > whole and self._sources["limit_request_field_size"] is not DEFAULT:
            raise ConfigError(
                f"{text('limit_request_field_size')}: one field may have {field} bytes but all of them only {whole};"
                " raise --limit-request-fields-size too"
            )

    def _check_mounts(self) -> None:
        """What mounts ask of each other and of other options. Raises ConfigError."""
        text = self._text
        try:
            check_mounts(self._values["mount"])
        except ValueError as error:
            raise ConfigError(f"{text('mount')}: {error}") from None
        if self._sources["interface"].rank > DEFAULT.rank and self._values["interface"] != "auto":
            raise ConfigError(
                f"{text('interface')}: each mount has its own; say it there, as interface = ... in [[mount]]"
            )
        if self._values["factory"]:
            raise ConfigError(f"{text('factory')}: each mount has its own; say it there, as in --mount /=module:make()")


def keyword(name: str) -> Option:
    """The option a keyword names. Raises ConfigError with a suggestion."""
    option = find(name)
    if option is None:
        raise ConfigError(f"there is no option {name!r}{suggest(name, NAMES)}")
    return option


def target_name(app: Any) -> str:
    """A target, or the type of an application that was given as an object."""
    return app if isinstance(app, str) else type(app).__name__


def holds_key(path: str) -> bool:
    """Whether the PEM file at `path` holds a private key; also when it can't be read, which is reported elsewhere."""
    try:
        with open(path, "rb") as file:
            return b"PRIVATE KEY-----" in file.read()
    except OSError:
        return True
