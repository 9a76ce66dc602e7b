"""Several applications in one server: `Mount`, one of them in its place, and `Mounts`, all of them.

A place is a prefix of paths, written decoded, as in "/legacy" or "/grüße". The longest one of whole segments wins; "/"
takes what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import ConfigError
from . import values

INTERFACES = ("auto", "wsgi", "asgi", "asgi3", "asgi2", "django")

# Controls, and what would end the path in a URL (RFC 3986 3).
NOT_IN_A_PATH = re.compile(r"[\x00-\x20\x7f?#]")


class Mount:
    """One application under a path. Can't be changed.

    `path` is "/", or "/" and more; a slash at its end is dropped. `app` is a target such as "module:attribute" or the
    application itself. `interface` and `factory` are as the options of these names.

    What it may have of the server, 0 for no limit of its own: `threads`, how many of the threads at a time (WSGI), and
    `limit_concurrency`, requests running or waiting; above it 503. In place of the server's limits, if they are given:
    `limit_request_body`, bytes of a request's content, above which it is answered with 413, and `request_timeout`,
    seconds.

    Raises ConfigError.
    """

    __slots__ = (
        "app",
        "factory",
        "interface",
        "limit_concurrency",
        "limit_request_body",
        "path",
        "request_timeout",
        "threads",
    )

    path: str
    app: Any
    interface: str
    factory: bool
    threads: int
    limit_request_body: int | None
    limit_concurrency: int
    request_timeout: float | None

    def __init__(
        self,
        path: str,
        app: Any,
        *,
        interface: str = "auto",
        factory: bool = False,
        threads: int = 0,
        limit_request_body: int | str | None = None,
        limit_concurrency: int = 0,
        request_timeout: float | str | None = None,
    ) -> None:
        given = {
            "path": path,
            "app": app,
            "interface": interface,
            "factory": factory,
            "threads": threads,
            "limit_request_body": limit_request_body,
            "limit_concurrency": limit_concurrency,
            "request_timeout": request_timeout,
        }
        try:
            read = read_fields(given)
        except ValueError as error:
            raise ConfigError(f"Mount: {error}") from None
        for name, value in read.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Mount can't be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Mount can't be changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mount) and all(getattr(self, name) == getattr(other, name) for name in READERS)

    def __hash__(self) -> int:
        return hash((self.path, self.interface, self.factory, self.threads))

    def __repr__(self) -> str:
        more = "".join(f", {name}={value!r}" for name, value in self.changed().items())
        return f"Mount({self.path!r}, {self.app!r}{more})"

    def __reduce__(self) -> tuple[Any, ...]:
        return make_mount, ({"path": self.path, "app": self.app, **self.changed()},)

    def changed(self) -> dict[str, Any]:
        """What is not the default, beside path and application."""
        return {name: getattr(self, name) for name, default in DEFAULTS.items() if getattr(self, name) != default}

    @property
    def prefix(self) -> str:
        """What a path begins with: empty for "/"."""
        return "" if self.path == "/" else self.path

    def show(self) -> dict[str, Any]:
        """What is not the default, as TOML and JSON write it."""
        shown: dict[str, Any] = {"path": self.path, "app": self.app if isinstance(self.app, str) else repr(self.app)}
        for name, value in self.changed().items():
            show = SHOWN.get(name)
            shown[name] = value if show is None else show(value)
        return shown


class Mounts(tuple[Mount, ...]):
    """The mounts of one server: can stand wherever an application can. Raises ConfigError."""

    __slots__ = ()

    def __new__(cls, mounts: Iterable[Mount]) -> Mounts:
        try:
            return super().__new__(cls, check_mounts(map(read_mount, mounts)))
        except ValueError as error:
            raise ConfigError(f"Mounts: {error}") from None

    def __repr__(self) -> str:
        return f"Mounts({list(self)!r})"


def is_mounts(value: object) -> bool:
    """Whether `value`, given where an application is expected, is several of them in their places."""
    return isinstance(value, Mounts) or (
        isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mount) for item in value)
    )


def check_mounts(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """`mounts`, which go together. Raises ValueError: no two have the same place, and there is at least one."""
    result = tuple(mounts)
    if not result:
        raise ValueError("there are none; at least one application is needed")
    seen = set()
    for mount in result:
        if mount.path in seen:
            raise ValueError(f"{mount.path} is given twice")
        seen.add(mount.path)
    return result


def read_mount(value: object) -> Mount:
    """A mount: itself, text such as "/legacy=legacy.wsgi:app", or a table. Raises ValueError."""
    if isinstance(value, Mount):
        return value
    if isinstance(value, str):
        path, equals, app = value.partition("=")
        if not equals or not path.strip() or not app.strip():
            raise ValueError
        value = {"path": path, "app": app.strip()}
    if not isinstance(value, Mapping):
        raise ValueError
    return make_mount(read_table(value))


def make_mount(given: Mapping[str, Any]) -> Mount:
    """A mount of its fields by name."""
    return Mount(**given)


def show_mount(mount: Mount) -> dict[str, Any]:
    """A mount as TOML and JSON write it."""
    return mount.show()


def read_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Mount from a table, whose keys may have dashes. Raises ValueError."""
    given: dict[str, Any] = {}
    for key, value in table.items():
        name = str(key).replace("-", "_")
        if name not in READERS:
            raise ValueError(f"there is no {key!r} in a mount{values.suggest(name, READERS)}")
        if name in given:
            raise ValueError(f"{key} and another spelling of it are both there; keep one")
        given[name] = value
    for name in ("path", "app"):
        if name not in given:
            raise ValueError(f"a mount lacks {name!r}; it takes a path and an app")
    return read_fields(given)


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a Mount's fields as gateway uses them. Raises ValueError, with a message for the user."""
    path = read_path(given["path"])
    result: dict[str, Any] = {"path": path}
    for name, value in given.items():
        if name == "path":
            continue
        read, expected = READERS[name]
        try:
            result[name] = read(value)
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {str(error) or f'expected {expected}, not {value!r}'}") from None
    if result.get("factory") and isinstance(result["app"], str) and result["app"].endswith(")"):
        raise ValueError(f"{path}: factory: {result['app']!r} is called already; leave factory out")
    return result


def read_path(value: object) -> str:
    """The path of a mount. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"path: expected a path, as in /legacy, not {value!r}")
    if not value.startswith("/"):
        raise ValueError(f"{value!r}: the path of a mount starts with a slash; write /{value}")
    if NOT_IN_A_PATH.search(value):
        raise ValueError(f"{value!r}: the path of a mount has no spaces, ? or #")
    if "%" in value:
        raise ValueError(f"{value!r}: the path of a mount is written decoded, without %")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{value!r}: the path of a mount is text that UTF-8 can hold") from None
    path = value.removesuffix("/")
    segments = path.split("/")[1:]
    if "" in segments:
        raise ValueError(f"{value!r}: the path of a mount has no empty segments")
    if "." in segments or ".." in segments:
        raise ValueError(f"{value!r}: the path of a mount has no segments . and ..")
    return path or "/"


def read_app(value: object) -> object:
    """A target as text, or an application."""
    if isinstance(value, str) and not value.strip():
        raise ValueError
    if value is None or isinstance(value, (bool, int, float, bytes, Mapping)):
        raise ValueError
    if is_mounts(value) or isinstance(value, (list, tuple, Mount)):
        raise ValueError("mounts can't stand inside of mounts; give each its whole path")
    return value.strip() if isinstance(value, str) else value


def read_interface(value: object) -> str:
    """One of INTERFACES."""
    if not isinstance(value, str) or value.lower() not in INTERFACES:
        raise ValueError
    return value.lower()


def read_switch(value: object) -> bool:
    """True or false, as TOML and Python have it."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def or_none(read: Callable[[object], Any]) -> Callable[[object], Any]:
    """`read`, for a field that need not be set."""
    return lambda value: None if value is None else read(value)


READERS: dict[str, tuple[Callable[[object], Any], str]] = {
    "path": (read_path, "a path"),
    "app": (read_app, "a target, as in module:attribute, or an application"),
    "interface": (read_interface, f"one of {', '.join(INTERFACES)}"),
    "factory": (read_switch, "true or false"),
    "threads": (values.read_integer, values.INTEGER.expected),
    "limit_request_body": (or_none(values.read_size), values.SIZE.expected),
    "limit_concurrency": (values.read_integer, values.INTEGER.expected),
    "request_timeout": (or_none(values.read_duration), values.DURATION.expected),
}
"""What reads each field of a Mount, and what it expects."""

DEFAULTS: dict[str, Any] = {
    "interface": "auto",
    "factory": False,
    "threads": 0,
    "limit_request_body": None,
    "limit_concurrency": 0,
    "request_timeout": None,
}

SHOWN: dict[str, Callable[[Any], object]] = {
    "limit_request_body": values.show_size,
    "request_timeout": values.show_duration,
}

MOUNTS = values.Kind("a mount, as in /legacy=legacy.wsgi:app", "PATH=TARGET", read_mount, show_mount, "\n")
