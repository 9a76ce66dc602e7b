"""uvicorn's keywords, and what gateway makes of them.

`KEYWORDS` has every parameter of `uvicorn.run` and `uvicorn.Config` (0.54), with uvicorn's default. Most have an option
of that name, a few mean something else and have a function in TAKEN. What no option takes is named in a warning, once,
and only where it asks for something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .options import BY_NAME, NAMES, find
from .sections import LOG_LEVELS
from .values import suggest

ONE_HTTP = "gateway has one implementation of HTTP/1.1"
ONE_WEBSOCKET = "gateway has one implementation of WebSocket"
NOT_YET = "gateway has no such option yet"

ABOVE_INFO = tuple(word for word, number in LOG_LEVELS.items() if number > LOG_LEVELS["info"])


class Keyword(NamedTuple):
    """One of uvicorn's parameters."""

    default: Any
    instead: str = ""
    """Why no option takes it, if so."""


KEYWORDS: dict[str, Keyword] = {
    "host": Keyword("127.0.0.1"),
    "port": Keyword(8000),
    "uds": Keyword(None),
    "fd": Keyword(None),
    "loop": Keyword("auto"),
    "http": Keyword("auto", ONE_HTTP),
    "http2": Keyword(False, NOT_YET),
    "ws": Keyword("auto"),
    "ws_max_size": Keyword(16 * 1024 * 1024),
    "ws_max_queue": Keyword(32, "ws_max_queue_size is the limit, in bytes"),
    "ws_ping_interval": Keyword(20.0),
    "ws_ping_timeout": Keyword(20.0),
    "ws_per_message_deflate": Keyword(True),
    "lifespan": Keyword("auto"),
    "interface": Keyword("auto"),
    "reload": Keyword(False),
    "reload_dirs": Keyword(None),
    "reload_includes": Keyword(None),
    "reload_excludes": Keyword(None),
    "reload_delay": Keyword(0.25),
    "workers": Keyword(None),
    "env_file": Keyword(None),
    "log_config": Keyword(None, "gateway.integrations.uvicorn.run applies it; set the logger gateway.error up instead"),
    "log_level": Keyword(None),
    "access_log": Keyword(True),
    "proxy_headers": Keyword(True),
    "server_header": Keyword(True),
    "date_header": Keyword(True),
    "forwarded_allow_ips": Keyword(None),
    "root_path": Keyword(""),
    "limit_concurrency": Keyword(None),
    "backlog": Keyword(2048),
    "limit_max_requests": Keyword(None),
    "limit_max_requests_jitter": Keyword(0),
    "timeout_keep_alive": Keyword(5),
    "timeout_graceful_shutdown": Keyword(None),
    "timeout_worker_healthcheck": Keyword(5),
    "ssl_keyfile": Keyword(None),
    "ssl_certfile": Keyword(None),
    "ssl_keyfile_password": Keyword(None),
    "ssl_version": Keyword(17, "ssl_min_version says the lowest version"),
    "ssl_cert_reqs": Keyword(0),
    "ssl_ca_certs": Keyword(None),
    "ssl_ciphers": Keyword(None),
    "ssl_context_factory": Keyword(None, NOT_YET),
    "headers": Keyword(None),
    "use_colors": Keyword(None),
    "app_dir": Keyword(None),
    "factory": Keyword(False),
    "h11_max_incomplete_event_size": Keyword(None, "limit_request_line and limit_request_fields_size are the limits"),
    "reset_contextvars": Keyword(False),
    # Of Config alone.
    "timeout_notify": Keyword(30),
    "callback_notify": Keyword(None, NOT_YET),
}


class Translation:
    """Options for `Config`, and what has no effect, a line each."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.warnings: list[str] = []

    def leave_out(self, name: str, value: Any, reason: str) -> None:
        """Warn that a keyword has no effect."""
        shown = f"={value!r}" if isinstance(value, (str, int, float)) else ""
        self.warnings.append(f"{name}{shown} has no effect: {reason}")


def translate(values: Mapping[str, Any], function: str = "run") -> Translation:
    """Options from keywords, which may be uvicorn's or gateway's own.

    Raises TypeError for one that is neither, as `function` would if it had them in its signature.
    """
    result = Translation()
    for name, value in values.items():
        keyword = KEYWORDS.get(name)
        taken = TAKEN.get(name)
        if keyword is None and find(name) is None:
            hint = suggest(name, {**NAMES, **KEYWORDS})
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")
        if taken is not None:
            taken(result, value)
        elif keyword is None:
            result.options[name] = value
        elif keyword.instead:
            if value is not None and value != keyword.default:
                result.leave_out(name, value, keyword.instead)
        elif value is not None:
            result.options[name] = value
    if "access_log" in values and str(result.options.get("log_level")).lower() in ABOVE_INFO:
        # The level holds for uvicorn's access log too, whose lines are of level info.
        result.options["access_logfile"] = None
    return result


def differing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are not uvicorn's defaults; `access_log` in any case, as gateway has another default."""
    return {
        name: value
        for name, value in values.items()
        if name == "access_log" or (value is not KEYWORDS[name].default and value != KEYWORDS[name].default)
    }


# -- Keywords that mean something else here


def take_loop(into: Translation, value: Any) -> None:
    """none is uvicorn's word for asyncio's default."""
    if value == "none":
        into.options["loop"] = "asyncio"
    elif value in BY_NAME["loop"].choices:
        into.options["loop"] = value
    else:
        into.leave_out("loop", value, "gateway has auto, asyncio and uvloop")


def take_ws(into: Translation, value: Any) -> None:
    """The name of an implementation, or none."""
    if value in BY_NAME["ws"].choices:
        into.options["ws"] = value
    else:
        into.leave_out("ws", value, ONE_WEBSOCKET)


def take_or_off(name: str) -> Callable[[Translation, Any], None]:
    """A time; None is never."""

    def take(into: Translation, value: Any) -> None:
        into.options[name] = 0 if value is None else value

    return take


def take_log_level(into: Translation, value: Any) -> None:
    """A word, or a number of the `logging` module."""
    if isinstance(value, int):
        value = next((word for word, number in LOG_LEVELS.items() if number <= value), "trace")
    if value is not None:
        into.options["log_level"] = value


def take_access_log(into: Translation, value: Any) -> None:
    """Lines as uvicorn writes them, on standard output."""
    if value:
        into.options.update(access_logfile="-", access_log_format="short")
    else:
        into.options["access_logfile"] = None


def take_ssl_version(into: Translation, value: Any) -> None:
    """A protocol of the `ssl` module; those that leave the version open ask for nothing."""
    if value not in (None, 2, 17):
        into.leave_out("ssl_version", int(value), KEYWORDS["ssl_version"].instead)


def take_nothing(into: Translation, value: Any) -> None:
    """What is so anyway: each request has a context of its own; nobody is to be notified."""


TAKEN: dict[str, Callable[[Translation, Any], None]] = {
    "loop": take_loop,
    "ws": take_ws,
    "ws_ping_interval": take_or_off("ws_ping_interval"),
    "ws_ping_timeout": take_or_off("ws_ping_timeout"),
    "log_level": take_log_level,
    "access_log": take_access_log,
    "ssl_version": take_ssl_version,
    "reset_contextvars": take_nothing,
    "timeout_notify": take_nothing,
}
