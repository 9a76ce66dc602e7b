"""`Config`: the options of one server, checked (`rules`), and cut into the sections that its parts take (`sections`).

Each part of the server is handed one frozen section and knows no options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import ConfigError
from .options import BY_NAME, NAMES, OPTIONS, Option, find
from .rules import DEFAULT, KEYWORD, Draft, Source
from .sections import (
    ApplicationSettings,
    ASGISettings,
    DevelopmentSettings,
    ForwardedSettings,
    ListenSettings,
    LogSettings,
    ProcessSettings,
    ResponseSettings,
    WebSocketSettings,
    WSGISettings,
)
from .values import suggest

if TYPE_CHECKING:
    from ..tls import TLSSettings

T = TypeVar("T")


class Extras(NamedTuple):
    """What a configuration file brings beside values of options."""

    hooks: Mapping[str, Callable[..., Any]] = {}
    """By gunicorn's names for them."""
    warnings: tuple[str, ...] = ()
    """What has no effect: one line each."""
    notices: tuple[str, ...] = ()
    """What the user should be told when the server starts: one line each."""


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
            given["app"] = (app, Source(KEYWORD.rank, "the application"))
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
        draft = Draft(given)
        put = object.__setattr__
        put(self, "_values", MappingProxyType(draft.values))
        put(self, "_sources", MappingProxyType(draft.sources))
        put(self, "_extras", extras)
        put(self, "notices", (*draft.notices, *extras.notices))
        put(self, "application", self._cut(ApplicationSettings))
        put(self, "listen", self._cut(ListenSettings, addresses=draft.addresses))

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


def keyword(name: str) -> Option:
    """The option a keyword names. Raises ConfigError with a suggestion."""
    option = find(name)
    if option is None:
        raise ConfigError(f"there is no option {name!r}{suggest(name, NAMES)}")
    return option
