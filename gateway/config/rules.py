"""What options mean for each other: which one wins, what one stands for, and what can't be together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError
from .addresses import DEFAULT_HOST, DEFAULT_PORT, Address, unix_address
from .mounts import check_mounts, is_mounts
from .options import BY_NAME, OPTIONS
from .worker_classes import ONE_AT_A_TIME, WORKER_CLASSES, worker_interface

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


class Draft:
    """The values of all options, read from those `given` and put in agreement, each with its source.

    Raises ConfigError: a value that an option can't have, or options that contradict each other.
    """

    def __init__(self, given: Mapping[str, tuple[Any, Source]]) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, Source] = {}
        self._read(given)
        self._take_mounts()
        self.notices = (*self._take_worker_class(), *self._take_reload())
        """What the user should be told: one line each."""
        self.addresses = self._choose_addresses()
        self._check()

    def _read(self, given: Mapping[str, tuple[Any, Source]]) -> None:
        for option in OPTIONS:
            value, source = given.get(option.name, (option.default, DEFAULT))
            if option.name == "app" and is_mounts(value):
                if "mount" in given:
                    raise ConfigError(f"{source.text} and {given['mount'][1].text} both hold mounts; keep one")
                given = {**given, "mount": (value, source)}
                value, source = None, DEFAULT
            elif source is not DEFAULT and not (option.name == "app" and not isinstance(value, str)):
                value = option.read(value, source.text)
            self.values[option.name] = value
            self.sources[option.name] = source

    def _text(self, name: str) -> str:
        """The option `name` as the user wrote it, for messages."""
        source = self.sources[name]
        return BY_NAME[name].flag if source is DEFAULT else source.text

    def _take_mounts(self) -> None:
        """One application or several: from the stronger of the sources that say so; the other is forgotten."""
        values, sources = self.values, self.sources
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

    def _take_worker_class(self) -> tuple[str, ...]:
        """Set what the worker class stands for. Returns what to tell about it."""
        values, sources = self.values, self.sources
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

    def _take_reload(self) -> tuple[str, ...]:
        """Set what development with --reload asks for. Returns what to tell about it."""
        values, sources = self.values, self.sources
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

    def _choose_addresses(self) -> tuple[Address, ...]:
        """Where to listen, from the strongest of the sources that say something about it; others are forgotten."""
        values, sources = self.values, self.sources
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
        self._check_mounts()
        self._check_reload()
        self._check_master()
        self._check_tls()
        values, text = self.values, self._text
        if values["factory"] and isinstance(values["app"], str) and values["app"].endswith(")"):
            raise ConfigError(f"{text('factory')}: {values['app']!r} is called already; leave --factory out")
        if both := set(values["django_wsgi"]) & set(values["django_asgi"]):
            raise ConfigError(f"{text('django_wsgi')}, {text('django_asgi')}: {min(both)} can't be both; keep one")
        whole, field = values["limit_request_fields_size"], values["limit_request_field_size"]
        if whole and field > whole and self.sources["limit_request_field_size"] is not DEFAULT:
            raise ConfigError(
                f"{text('limit_request_field_size')}: one field may have {field} bytes but all of them only {whole};"
                " raise --limit-request-fields-size too"
            )

    def _check_mounts(self) -> None:
        """What mounts ask of each other and of other options. Raises ConfigError."""
        values, text = self.values, self._text
        if not values["mount"]:
            return
        try:
            check_mounts(values["mount"])
        except ValueError as error:
            raise ConfigError(f"{text('mount')}: {error}") from None
        if self.sources["interface"].rank > DEFAULT.rank and values["interface"] != "auto":
            raise ConfigError(
                f"{text('interface')}: each mount has its own; say it there, as interface = ... in [[mount]]"
            )
        if values["factory"]:
            raise ConfigError(f"{text('factory')}: each mount has its own; say it there, as in --mount /=module:make()")

    def _check_reload(self) -> None:
        """Whether what is to be loaded anew can be. Raises ConfigError."""
        values, text = self.values, self._text
        if not values["reload"]:
            return
        if not values["supervisor"]:
            raise ConfigError(f"{text('reload')}: is done by the master, and with --no-supervisor there is none")
        for folder in values["reload_dir"]:
            if not os.path.isdir(folder):
                raise ConfigError(f"{text('reload_dir')}: {folder} does not exist or is no directory")
        apps = [values["app"], *(mount.app for mount in values["mount"])]
        if any(app is not None and not isinstance(app, str) for app in apps):
            raise ConfigError(
                f"{text('reload')}: an application that is loaded already can't be loaded anew; name it,"
                ' as in gateway.run("main:app", reload=True)'
            )

    def _check_master(self) -> None:
        """Whether there is a master to do what is asked of one. Raises ConfigError."""
        values, text = self.values, self._text
        if (values["control_socket"] or "").startswith("@"):
            raise ConfigError(f"{text('control_socket')}: anybody may connect to an abstract socket; name a path")
        if values["supervisor"]:
            return
        if values["workers"] > 1:
            raise ConfigError(
                f"{text('workers')}: {values['workers']} processes can't be had with --no-supervisor, which is one"
                " process; say --workers 1, or leave it out"
            )
        masters = ("pid", "health_bind", "control_socket", "daemon", "drain_delay", "preload", "user", "group", "umask")
        for name in masters:
            if values[name] not in (None, False, 0.0):
                raise ConfigError(f"{text(name)}: is the master's, and with --no-supervisor there is none")
        for name in ("max_requests", "max_worker_age", "max_worker_memory", "max_worker_memory_hard"):
            if values[name]:
                raise ConfigError(f"{text(name)}: with --no-supervisor nobody would replace the worker; leave it out")

    def _check_tls(self) -> None:
        """Whether TLS has all that it needs. Raises ConfigError."""
        values, text = self.values, self._text
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


def holds_key(path: str) -> bool:
    """Whether the PEM file at `path` holds a private key; also when it can't be read, which is reported elsewhere."""
    try:
        with open(path, "rb") as file:
            return b"PRIVATE KEY-----" in file.read()
    except OSError:
        return True
