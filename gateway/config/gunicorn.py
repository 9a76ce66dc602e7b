"""gunicorn's settings, and what gateway makes of them.

`SETTINGS` has every setting of gunicorn 27, by its name in a configuration file. A setting goes to the option of
gateway that has its name, or the name of one of its flags: when gateway gets another such option, the setting is taken
from then on. A few mean something else here and have a function in TAKEN. What no option takes is named in a warning,
once, and only where it asks for something: `spew = False` does not. Names that are no settings are ignored, as gunicorn
does.

The same table reads GUNICORN_CMD_ARGS, the command line that gunicorn takes from the environment.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, cast

from ..errors import ConfigError
from .options import BY_NAME, Option, find
from .python import first_line
from .rules import Source
from .usage import Parser
from .values import suggest
from .worker_classes import worker_interface

Given = dict[str, tuple[Any, Source]]
Hook = Callable[..., Any]

NOT_YET = "gateway has no such option yet"
STRICT = "gateway refuses such requests, always"
ONE_PARSER = "gateway has one parser"
NO_UWSGI = "gateway speaks HTTP"
NO_DIRTY = "gateway has no such workers"
NO_DEBUG = "gateway can't do that"
TLS_HOOK = "the TLS options say how connections are encrypted"
COMMAND_LINE = "it belongs on the command line"


class Setting(NamedTuple):
    """One of gunicorn's settings."""

    flags: str = ""
    """Its flags, separated by spaces."""
    default: Any = None
    """gunicorn's default, or whatever else asks for nothing that gateway doesn't do anyway."""
    instead: str = NOT_YET
    """Why no option takes it, if so."""
    form: Literal["value", "switch", "off", "several"] = "value"
    """On a command line: with a value; alone, for true; alone, for false; with a value each time."""


def switch(flags: str = "", instead: str = NOT_YET, default: Any = False) -> Setting:
    """A setting that is true or false."""
    return Setting(flags, default, instead, "switch")


SETTINGS: dict[str, Setting] = {
    # -- Config file
    "config": Setting("-c --config"),
    "wsgi_app": Setting(),
    # -- Control
    "control_socket": Setting("--control-socket"),
    "control_socket_disable": switch("--no-control-socket", default=True),
    "control_socket_mode": Setting("--control-socket-mode", 0o600),
    # -- Debugging
    "reload": switch("--reload"),
    "reload_engine": Setting("--reload-engine", "auto"),
    "reload_extra_files": Setting("--reload-extra-file", form="several"),
    "spew": switch("--spew", NO_DEBUG),
    "check_config": switch("--check-config", COMMAND_LINE),
    "print_config": switch("--print-config", COMMAND_LINE),
    # -- Worker processes
    "workers": Setting("-w --workers"),
    "worker_class": Setting("-k --worker-class"),
    "threads": Setting("--threads"),
    "worker_connections": Setting("--worker-connections"),
    "max_requests": Setting("--max-requests", 0),
    "max_requests_jitter": Setting("--max-requests-jitter", 0),
    "timeout": Setting("-t --timeout", 30),
    "graceful_timeout": Setting("--graceful-timeout"),
    "keepalive": Setting("--keep-alive"),
    # -- ASGI
    "asgi_loop": Setting("--asgi-loop"),
    "asgi_lifespan": Setting("--asgi-lifespan"),
    "asgi_disconnect_grace_period": Setting("--asgi-disconnect-grace-period", 3),
    "websocket_max_message_size": Setting("--websocket-max-message-size"),
    "http_parser": Setting("--http-parser", "auto", ONE_PARSER),
    "root_path": Setting("--root-path"),
    # -- Server socket
    "bind": Setting("-b --bind", form="several"),
    "backlog": Setting("--backlog"),
    "reuse_port": switch("--reuse-port"),
    # -- Security
    "limit_request_line": Setting("--limit-request-line"),
    "limit_request_fields": Setting("--limit-request-fields"),
    "limit_request_field_size": Setting("--limit-request-field_size"),
    "permit_obsolete_folding": switch("--permit-obsolete-folding", STRICT),
    "strip_header_spaces": switch("--strip-header-spaces", STRICT),
    "permit_unconventional_http_method": switch("--permit-unconventional-http-method", STRICT),
    "permit_unconventional_http_version": switch("--permit-unconventional-http-version", STRICT),
    "casefold_http_method": switch("--casefold-http-method", "methods have the case they come with"),
    "forwarder_headers": Setting(
        "--forwarder-headers", "SCRIPT_NAME,PATH_INFO", "request fields with an underscore are judged by --header-map"
    ),
    "header_map": Setting("--header-map"),
    # -- HTTP/2
    "http_protocols": Setting("--http-protocols", "h1"),
    "http2_cleartext": Setting("--http2-cleartext", "off"),
    "http2_max_concurrent_streams": Setting("--http2-max-concurrent-streams", 100),
    "http2_initial_window_size": Setting("--http2-initial-window-size", 65535),
    "http2_max_frame_size": Setting("--http2-max-frame-size", 16384),
    "http2_max_header_list_size": Setting("--http2-max-header-list-size", 65536),
    # -- Logging
    "accesslog": Setting("--access-logfile"),
    "access_log_format": Setting("--access-logformat"),
    "errorlog": Setting("--error-logfile --log-file"),
    "loglevel": Setting("--log-level"),
    "capture_output": switch("--capture-output"),
    "logger_class": Setting("--logger-class", "gunicorn.glogging.Logger"),
    "logconfig": Setting("--log-config"),
    "logconfig_dict": Setting("", {}),
    "logconfig_json": Setting("--log-config-json"),
    "syslog": switch("--log-syslog"),
    "syslog_addr": Setting("--log-syslog-to"),
    "syslog_prefix": Setting("--log-syslog-prefix"),
    "syslog_facility": Setting("--log-syslog-facility", "user"),
    "disable_redirect_access_to_syslog": switch("--disable-redirect-access-to-syslog"),
    "enable_stdio_inheritance": switch("-R --enable-stdio-inheritance"),
    "statsd_host": Setting("--statsd-host"),
    "statsd_prefix": Setting("--statsd-prefix", ""),
    "dogstatsd_tags": Setting("--dogstatsd-tags", ""),
    "enable_backlog_metric": switch("--enable-backlog-metric"),
    # -- Server mechanics
    "preload_app": switch("--preload"),
    "sendfile": Setting("--no-sendfile", form="off"),
    "chdir": Setting("--chdir"),
    "daemon": switch("-D --daemon"),
    "raw_env": Setting("-e --env", form="several"),
    "pidfile": Setting("-p --pid"),
    "worker_tmp_dir": Setting("--worker-tmp-dir", None, "workers show that they are alive without a file"),
    "user": Setting("-u --user"),
    "group": Setting("-g --group"),
    "umask": Setting("-m --umask", 0),
    "initgroups": switch("--initgroups"),
    "tmp_upload_dir": Setting("", None, "gunicorn makes no use of it either"),
    "pythonpath": Setting("--pythonpath"),
    "paste": Setting("--paste --paster", None, "name the application, or write a module that loads the file"),
    "raw_paste_global_conf": Setting("--paste-global", None, "there is no --paste", "several"),
    "proc_name": Setting("-n --name"),
    "default_proc_name": Setting("", "gunicorn"),
    # -- Behind a proxy
    "secure_scheme_headers": Setting(),
    "forwarded_allow_ips": Setting("--forwarded-allow-ips"),
    "proxy_protocol": Setting("--proxy-protocol", "off"),
    "proxy_allow_ips": Setting("--proxy-allow-from"),
    "protocol": Setting("--protocol", "http", NO_UWSGI),
    "uwsgi_allow_ips": Setting("--uwsgi-allow-from", None, NO_UWSGI),
    # -- TLS
    "keyfile": Setting("--keyfile"),
    "certfile": Setting("--certfile"),
    "ca_certs": Setting("--ca-certs"),
    "cert_reqs": Setting("--cert-reqs"),
    "ciphers": Setting("--ciphers"),
    "ssl_version": Setting("--ssl-version", 2, "gunicorn ignores it too; --ssl-min-version says the lowest version"),
    "suppress_ragged_eofs": switch("--suppress-ragged-eofs", "a connection that ends without notice is closed", True),
    "do_handshake_on_connect": switch("--do-handshake-on-connect", "a handshake never holds others up"),
    # -- Dirty arbiters
    "dirty_apps": Setting("--dirty-app", [], NO_DIRTY, "several"),
    "dirty_workers": Setting("--dirty-workers", 0, NO_DIRTY),
    "dirty_timeout": Setting("--dirty-timeout", 300, NO_DIRTY),
    "dirty_threads": Setting("--dirty-threads", 1, NO_DIRTY),
    "dirty_graceful_timeout": Setting("--dirty-graceful-timeout", 30, NO_DIRTY),
    # -- Functions that HOOKS lacks
    "ssl_context": Setting("", None, TLS_HOOK),
    "on_dirty_starting": Setting("", None, NO_DIRTY),
    "dirty_post_fork": Setting("", None, NO_DIRTY),
    "dirty_worker_init": Setting("", None, NO_DIRTY),
    "dirty_worker_exit": Setting("", None, NO_DIRTY),
}

HOOKS: dict[str, str] = {
    "on_starting": "server",
    "on_reload": "server",
    "when_ready": "server",
    "pre_fork": "server, worker",
    "post_fork": "server, worker",
    "post_worker_init": "worker",
    "worker_int": "worker",
    "worker_abort": "worker",
    "pre_exec": "server",
    "pre_request": "worker, req",
    "post_request": "worker, req, environ, resp",
    "child_exit": "server, worker",
    "worker_exit": "server, worker",
    "nworkers_changed": "server, new_value, old_value",
    "on_exit": "server",
}
"""gunicorn's hooks, and what each is called with."""

# What gateway takes the scheme from by itself, of what gunicorn is told with `secure_scheme_headers`.
SCHEME_FIELDS = {
    "X-FORWARDED-PROTO": "https",
    "X-FORWARDED-PROTOCOL": "ssl",
    "X-FORWARDED-SSL": "on",
}


class Translation:
    """Options from gunicorn's settings, all of one source.

    `where` names the source in messages ("gunicorn.conf.py"), `rank` is its strength. `names` says how a setting is
    written there.
    """

    def __init__(self, where: str, rank: int, names: Callable[[str], str] = str) -> None:
        self.where = where
        self.rank = rank
        self.names = names
        self.settings: Mapping[str, Any] = {}
        """All names and their values, as they were."""
        self.given: Given = {}
        self.hooks: dict[str, Hook] = {}
        self.warnings: list[str] = []
        """What has no effect, a line each."""
        self.notices: list[tuple[str, Source, str]] = []
        """Options, their sources, and what to tell if the value from there is the one that counts."""
        self.left_out: dict[str, str] = {}
        """Settings without an effect, and why."""
        self.needs_certificate: list[str] = []
        """Options given that gunicorn ignores without TLS."""
        self.is_gunicorn = False
        """A gunicorn.conf.py is where this comes from."""

    def take(self, settings: Mapping[str, Any]) -> None:
        """Translate `settings`, in the order of the table. Raises ConfigError: a value of the wrong type."""
        self.settings = settings
        for name, setting in SETTINGS.items():
            value = settings.get(name)
            if value is None or name == "config":
                continue
            taken = TAKEN.get(name)
            if taken is not None:
                taken(self, name, value)
            elif (option := option_for(name)) is not None:
                self.give(option.name, value, name)
            elif not asks_nothing(value, setting.default):
                self.leave_out(name, setting.instead)

    def take_hooks(self, settings: Mapping[str, Any]) -> None:
        """Collect the functions among `settings` that are hooks. Raises ConfigError: one that can't be called so."""
        for name, parameters in HOOKS.items():
            value = settings.get(name)
            if value is not None:
                self.hooks[name] = read_hook(name, value, parameters, self.text(name))

    def give(self, option: str, value: Any, name: str) -> None:
        """Set `option` to the value that the setting `name` asks for. Raises ConfigError."""
        source = Source(self.rank, self.text(name))
        # Now, where the message can name the setting.
        self.given[option] = (BY_NAME[option].read(value, source.text), source)

    def leave_out(self, name: str, reason: str) -> None:
        """Warn that the setting `name` has no effect."""
        self.left_out[name] = reason
        self.warnings.append(f"{self.text(name)} has no effect: {reason}")

    def text(self, name: str) -> str:
        """Where the setting `name` stands, for messages."""
        return f"{self.where}: {self.names(name)}"


def option_for(name: str) -> Option | None:
    """The option that takes the setting `name`: one that has its name, or that of a long flag; or None."""
    flags = SETTINGS[name].flags.split()
    for candidate in (name, *(flag[2:] for flag in flags if flag.startswith("--"))):
        option = find(candidate)
        if option is not None:
            return option
    return None


def asks_nothing(value: Any, default: Any) -> bool:
    """Whether `value` is what happens anyway. False, 0 and "" are not told apart: all of them switch off."""
    if isinstance(value, str) and isinstance(default, str):
        return value.strip().lower() == default.lower()
    return bool(value == default) or (not value and not default)


# -- Settings that mean something else here


def take_worker_class(into: Translation, name: str, value: Any) -> None:
    """A class, its name, or a function that gives one of these."""
    if inspect.isroutine(value):
        try:
            value = value()
        except Exception as error:
            raise ConfigError(f"{into.text(name)}: {first_line(error)}") from None
    if isinstance(value, type):
        # A class of the user's own is what it inherits from.
        known = (f"{base.__module__}.{base.__qualname__}" for base in value.__mro__)
        value = next(filter(worker_interface, known), f"{value.__module__}.{value.__qualname__}")
    if not isinstance(value, str):
        raise ConfigError(f"{into.text(name)}: expected the name of a worker class, not {value!r}")
    value = value.strip()
    if worker_interface(value) is None:
        into.leave_out(name, f"gateway doesn't know {value!r}, and finds out by itself what the application speaks")
    else:
        into.give("worker_class", value, name)


def take_threads(into: Translation, name: str, value: Any) -> None:
    """0 is 1 to gunicorn; to gateway it means no threads at all."""
    into.give("threads", 1 if value in (0, "0") else value, name)


def take_log_level(into: Translation, name: str, value: Any) -> None:
    """gunicorn takes info for any word it doesn't know, such as "warn"."""
    level = BY_NAME["log_level"]
    if isinstance(value, str) and value.strip().lower() not in level.choices:
        into.leave_out(name, f"{value!r} is not one of {', '.join(level.choices)}; gunicorn takes info for it")
    else:
        into.give(level.name, value, name)


def take_field_size(into: Translation, name: str, value: Any) -> None:
    """gunicorn knows no limit for all fields together, so the one here must not be in the way."""
    into.give("limit_request_field_size", value, name)
    whole = "limit_request_fields_size"
    size = into.given["limit_request_field_size"][0]
    if size > BY_NAME[whole].default:
        into.give(whole, size, name)


def take_allowed(into: Translation, name: str, value: Any) -> None:
    """gunicorn always believes what comes through a Unix socket."""
    into.give("forwarded_allow_ips", value, name)
    peers, source = into.given["forwarded_allow_ips"]
    if not {"*", "unix"} & set(peers):
        into.given["forwarded_allow_ips"] = ((*peers, "unix"), source)


def take_scheme_fields(into: Translation, name: str, value: Any) -> None:
    """Fields that say https: gateway reads X-Forwarded-Proto."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{into.text(name)}: expected a dict of field names and values, not {value!r}")
    if any(SCHEME_FIELDS.get(str(field).upper()) != text for field, text in value.items()):
        into.leave_out(name, "gateway takes the scheme from X-Forwarded-Proto; have the proxy set it")


def take_umask(into: Translation, name: str, value: Any) -> None:
    """gunicorn's way to say who may use a Unix socket. Text is octal when it begins with 0, decimal otherwise."""
    if isinstance(value, str):
        text = re.sub(r"^0(?=\d)", "0o", value.strip())
        try:
            value = int(text, 0)
        except ValueError:
            raise ConfigError(f"{into.text(name)}: expected a umask, as in 0o022, not {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
        raise ConfigError(f"{into.text(name)}: expected a umask, as in 0o022, not {value!r}")
    if not value:
        # gunicorn's default, which it applies to its sockets only: for all files of a process it would be too open.
        return
    into.give("uds_mode", 0o666 & ~value, name)
    option = option_for(name)
    if option is not None:
        into.give(option.name, value, name)
    else:
        into.warnings.append(f"{into.text(name)} has an effect on Unix sockets only: {NOT_YET}")


def take_account(into: Translation, name: str, value: Any) -> None:
    """A user or group, by name or number."""
    option = option_for(name)
    if option is None:
        into.leave_out(name, NOT_YET)
    elif isinstance(value, int) and not isinstance(value, bool):
        into.give(option.name, str(value), name)
    elif value:
        into.give(option.name, value, name)


def take_proxy_protocol(into: Translation, name: str, value: Any) -> None:
    """off, v1, v2, auto, or as of old a bool."""
    option = option_for(name)
    if option is not None:
        into.give(option.name, value, name)
    elif str(value).strip().lower() not in ("off", "false"):
        into.leave_out(name, NOT_YET)


def take_tls(into: Translation, name: str, value: Any) -> None:
    """What counts where there is a certificate only; it may be named elsewhere."""
    into.give(name, value, name)
    into.needs_certificate.append(name)


def take_directly(option: str) -> Callable[[Translation, str, Any], None]:
    """A setting whose option has another name."""

    def take(into: Translation, name: str, value: Any) -> None:
        into.give(option, value, name)

    return take


TAKEN: dict[str, Callable[[Translation, str, Any], None]] = {
    "wsgi_app": take_directly("app"),
    "worker_class": take_worker_class,
    "threads": take_threads,
    "loglevel": take_log_level,
    "websocket_max_message_size": take_directly("ws_max_size"),
    "limit_request_field_size": take_field_size,
    "forwarded_allow_ips": take_allowed,
    "secure_scheme_headers": take_scheme_fields,
    "umask": take_umask,
    "user": take_account,
    "group": take_account,
    "proxy_protocol": take_proxy_protocol,
    "ca_certs": take_tls,
    "cert_reqs": take_tls,
    "ciphers": take_tls,
}


# -- Hooks


def read_hook(name: str, value: Any, parameters: str, where: str) -> Hook:
    """The hook `value`, a function or "module.function", to be called with `parameters`. Raises ConfigError."""
    hook: Any = import_hook(value, where) if isinstance(value, str) else value
    if not callable(hook):
        raise ConfigError(f"{where}: expected a function ({parameters}), not {value!r}")
    count = len(parameters.split(","))
    if takes(hook, count):
        return cast(Hook, hook)
    # As gunicorn grew, post_request got more to know: older ones are called as they always were.
    if name == "post_request":
        for fewer in (3, 2):
            if takes(hook, fewer):
                return first_arguments(hook, fewer)
    raise ConfigError(f"{where}: is called with ({parameters}), but takes {inspect.signature(hook)}")


def import_hook(path: str, where: str) -> Any:
    """What "module.function" names. Raises ConfigError."""
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}: can't import {path!r}: {error}") from None


def takes(function: Hook, count: int) -> bool:
    """Whether `function` can be called with so many arguments. True for what doesn't tell."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def first_arguments(function: Hook, count: int) -> Hook:
    """`function`, called with no more than the first `count` arguments."""

    @functools.wraps(function)
    def shortened(*arguments: Any) -> Any:
        return function(*arguments[:count])

    return shortened


# -- Sources


def from_file(settings: Mapping[str, Any], where: str, rank: int) -> Translation:
    """What the names in a gunicorn.conf.py ask for. Raises ConfigError."""
    result = Translation(where, rank)
    result.is_gunicorn = True
    result.take(settings)
    result.take_hooks(settings)
    if settings.get("threads") is None and settings.get("worker_class") is None:
        # An application that has never seen two requests at a time may not be made for it.
        source = Source(rank, f"{where}: neither worker_class nor threads")
        result.given["threads"] = (1, source)
        text = f"{where} sets no threads: a worker runs one WSGI request at a time, as under gunicorn"
        result.notices.append(("threads", source, text))
    return result


ARGUMENTS = "GUNICORN_CMD_ARGS"


def from_arguments(text: str, rank: int) -> tuple[Translation, tuple[str, Source] | None]:
    """What `text`, the value of GUNICORN_CMD_ARGS, asks for, and the configuration file it names.

    Raises ConfigError.
    """
    try:
        namespace, unknown = argument_parser().parse_known_args(shlex.split(text))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"environment variable {ARGUMENTS}: {error}") from None
    for word in unknown:
        if word.startswith("-"):
            flag = word.partition("=")[0]
            hint = suggest(flag, all_flags())
            raise ConfigError(f"environment variable {ARGUMENTS}: gunicorn has no option {flag}{hint}")
    result = Translation(f"environment variable {ARGUMENTS}", rank, lambda name: SETTINGS[name].flags.split()[-1])
    arguments = vars(namespace)
    result.take(arguments)
    file = arguments.get("config")
    return result, None if file is None else (file, Source(rank, result.text("config")))


def all_flags() -> Iterable[str]:
    """gunicorn's flags."""
    return (flag for setting in SETTINGS.values() for flag in setting.flags.split())


def argument_parser() -> Parser:
    """gunicorn's command line. As there, a flag may be shortened, and the application is not read from it."""
    parser = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for name, setting in SETTINGS.items():
        flags = setting.flags.split()
        if not flags:
            continue
        if setting.form in ("switch", "off"):
            parser.add_argument(*flags, dest=name, action="store_const", const=setting.form == "switch")
        elif name == "proxy_protocol":
            parser.add_argument(*flags, dest=name, nargs="?", const="auto")
        else:
            parser.add_argument(*flags, dest=name, action="append" if setting.form == "several" else "store")
    return parser
