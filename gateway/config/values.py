"""The types an option can have: how a value is read from text, checked, and shown.

Text comes from the command line and the environment; Python and TOML bring values that have a type already. Either way
`read` gives the one form that the rest of gateway sees, and what it can't read is a ValueError that says what was
expected. `show` is the way back: what it gives, `read` takes.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .addresses import Address, check_host, parse_address, unix_address

# Values cross into C as 64-bit signed integers.
MAX_INTEGER = 2**63 - 1

UNITS_OF_TIME = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
UNITS_OF_SIZE = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "kb": 10**3,
    "m": 1 << 20,
    "mib": 1 << 20,
    "mb": 10**6,
    "g": 1 << 30,
    "gib": 1 << 30,
    "gb": 10**9,
}

NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
SIZE_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

TRUE_WORDS = frozenset(("1", "true", "t", "yes", "y", "on"))
FALSE_WORDS = frozenset(("0", "false", "f", "no", "n", "off"))
CERT_REQS_WORDS = ("none", "optional", "required")


class Kind(NamedTuple):
    """A type of value."""

    expected: str
    """What an error message says was expected."""
    metavar: str
    """What the help shows in place of a value; empty for switches."""
    read: Callable[[object], Any]
    """The value, from text, TOML or Python. Raises ValueError; its message may be empty (`expected` says it all)."""
    show: Callable[[Any], object] = lambda value: value
    """The value as TOML and JSON write it: a string, number, bool, or a list of such."""
    separator: str = ""
    """What separates several values in one text, for options that can be repeated."""
    takes_empty: bool = False
    """An empty environment variable is a value, not the lack of one."""


def suggest(word: str, candidates: Any) -> str:
    """What to append to a message when one of `candidates` is close to `word`: "; did you mean X?", or nothing."""
    import difflib

    close = difflib.get_close_matches(word, list(candidates), 1, 0.7)
    return f"; did you mean {close[0]}?" if close else ""


def read_text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise ValueError
    if "\0" in value:
        raise ValueError("a text can't contain NUL")
    return value


def read_path(value: object) -> str:
    """A path: a string or an `os.PathLike`."""
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    return read_text(value)


def read_integer(value: object) -> int:
    """A whole number, not negative."""
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit()):
            raise ValueError
        value = int(text[:40])
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    if not 0 <= value <= MAX_INTEGER:
        raise ValueError
    return value


def read_duration(value: object) -> float:
    """Seconds: a number, or text such as "30", "30s", "1m30s", "500ms"."""
    if isinstance(value, str):
        text = value.strip().lower()
        if NUMBER.fullmatch(text):
            value = float(text)
        else:
            parts = DURATION_PART.findall(text)
            if not parts or "".join(number + unit for number, unit in parts) != text:
                raise ValueError
            value = sum(float(number) * UNITS_OF_TIME[unit] for number, unit in parts)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    # A year: longer is a mistake, and somewhere below a timer would overflow.
    if not math.isfinite(value) or not 0 <= value <= 366 * 86400:
        raise ValueError
    return float(value)


def show_duration(value: float) -> object:
    """The shortest way to write so many seconds: "30s", "1m30s", "500ms"."""
    if value == 0:
        return 0
    milliseconds = round(value * 1000)
    if milliseconds != value * 1000:
        return value
    if milliseconds < 1000 or milliseconds % 1000:
        return f"{milliseconds}ms" if milliseconds < 10_000 else value
    seconds = milliseconds // 1000
    text = ""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        # 60 s and 90 s read better than 1m and 1m30s.
        if seconds >= size and (size == 1 or seconds > 120):
            text += f"{seconds // size}{unit}"
            seconds %= size
    return text


def read_size(value: object) -> int:
    """Bytes: a whole number, or text such as "64K" and "1MiB" (powers of 1024), "1MB" (a million)."""
    if isinstance(value, str):
        match = SIZE_TEXT.fullmatch(value.strip())
        unit = UNITS_OF_SIZE.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError
        number = float(match[1]) * unit if "." in match[1] else int(match[1][:40]) * unit
        if number != int(number):
            raise ValueError
        value = int(number)
    return read_integer(value)


def show_size(value: int) -> object:
    """So many bytes, with a unit when that is exact."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size and value % size == 0:
            return f"{value // size}{unit}"
    return value


def read_switch(value: object) -> bool:
    """True or false."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
    if not isinstance(value, bool):
        raise ValueError
    return value


def read_auto_switch(value: object) -> bool | None:
    """True, false, or None for "auto"."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "auto"):
        return None
    return read_switch(value)


def show_auto_switch(value: bool | None) -> object:
    """True, false or "auto"."""
    return "auto" if value is None else value


def read_mode(value: object) -> int:
    """Permission bits: octal text such as "660" or "0o660", or an integer (TOML: 0o660)."""
    if isinstance(value, str):
        text = value.strip().lower().removeprefix("0o")
        if not re.fullmatch(r"[0-7]{1,5}", text):
            raise ValueError
        value = int(text, 8)
    value = read_integer(value)
    if value > 0o777:
        raise ValueError("permission bits go up to 777; in TOML and Python write 0o660 or '660'")
    return value


def show_mode(value: int) -> str:
    """Permission bits as octal text."""
    return f"{value:03o}"


def read_address(value: object) -> Address:
    """An address to listen at."""
    return value if isinstance(value, Address) else parse_address(read_text(value))


def read_uds(value: object) -> str:
    """The path of a Unix socket, or "@name" for an abstract one; "unix:" may stand before it."""
    text = read_path(value).removeprefix("unix:")
    unix_address(text)
    return text


def read_host(value: object) -> str:
    """A host to listen at: a name, or an IP address with or without brackets."""
    text = read_text(value).strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return check_host(text)


def read_cert_reqs(value: object) -> str:
    """One of CERT_REQS_WORDS, or its number: 0 to 2, as `ssl` counts them."""
    if isinstance(value, str) and value.strip().lower() in CERT_REQS_WORDS:
        return value.strip().lower()
    number = read_integer(value)
    if number >= len(CERT_REQS_WORDS):
        raise ValueError
    return CERT_REQS_WORDS[number]


def read_header(value: object) -> tuple[str, str]:
    """A response field: "NAME:VALUE", or a pair of the two. RFC 9110 5.1 and 5.5 say what can be one."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        name, text = (part.decode("latin-1") if isinstance(part, bytes) else read_text(part) for part in value)
    else:
        name, colon, text = read_text(value).partition(":")
        if not colon:
            raise ValueError
    text = text.strip(" \t")
    if not TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} can't be the name of a field")
    if not all(character == "\t" or " " <= character <= "~" or "\x80" <= character <= "\xff" for character in text):
        raise ValueError(f"the value of {name} has characters that a field can't have")
    return name, text


def show_header(value: tuple[str, str]) -> str:
    """A response field as NAME:VALUE."""
    return f"{value[0]}:{value[1]}"


def read_assignment(value: object) -> str:
    """An environment variable and its value: "NAME=VALUE"."""
    text = read_text(value)
    if not text.partition("=")[0].strip() or "=" not in text:
        raise ValueError
    return text


def read_trusted(value: object) -> str:
    """A peer that may be trusted: an IP address, a network, "unix" (any Unix socket) or "*" (anyone)."""
    text = read_text(value).strip()
    if text.lower() in ("*", "unix"):
        return text.lower()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError from None
    raise ValueError(f"{text} is an address inside a network; write {network} for all of it")


def read_root_path(value: object) -> str:
    """A path prefix: empty, or "/" and more; a slash at its end is dropped."""
    text = read_text(value).rstrip("/")
    if text and not text.startswith("/"):
        raise ValueError(f"a path prefix starts with a slash; write /{text}")
    if re.search(r"[\x00-\x20\x7f?#]", text):
        raise ValueError("a path prefix has no spaces, ? or #")
    return text


TEXT = Kind("a text", "TEXT", read_text)
PATH = Kind("a path", "FILE", read_path)
FOLDER = Kind("a path", "DIR", read_path)
FOLDERS = Kind("a path", "DIR", read_path, separator=",")
PATHS = Kind("a path", "FILE", read_path, separator=",")
PATTERNS = Kind("a name or pattern, as in *.html", "GLOB", read_path, separator=",")
INTEGER = Kind("a whole number", "N", read_integer)
DURATION = Kind("seconds, as in 30, 30s, 1m30s or 500ms", "TIME", read_duration, show_duration)
SIZE = Kind("bytes, as in 65536, 64K or 1MiB", "SIZE", read_size, show_size)
SWITCH = Kind("true or false", "", read_switch)
AUTO_SWITCH = Kind("auto, true or false", "", read_auto_switch, show_auto_switch)
MODE = Kind("permission bits in octal, as in 660", "MODE", read_mode, show_mode)
ADDRESSES = Kind("an address, as in 127.0.0.1:8000 or unix:/run/gateway.sock", "ADDRESS", read_address, str, ",")
ADDRESS = Kind("an address, as in 127.0.0.1:8001 or unix:/run/health.sock", "ADDRESS", read_address, str)
UDS = Kind("the path of a Unix socket", "PATH", read_uds)
HOST = Kind("a host name or IP address", "HOST", read_host)
CERT_REQS = Kind("none (0), optional (1) or required (2)", "WORD", read_cert_reqs)
HEADERS = Kind("a field, as in NAME:VALUE", "NAME:VALUE", read_header, show_header, "\n")
ASSIGNMENTS = Kind("an environment variable, as in NAME=VALUE", "NAME=VALUE", read_assignment)
TRUSTED = Kind(
    "an IP address, a network such as 10.0.0.0/8, unix or *", "PEERS", read_trusted, separator=",", takes_empty=True
)
ROOT_PATH = Kind("a path prefix, as in /app", "PATH", read_root_path)
PATH_PREFIXES = Kind("a path prefix, as in /api", "PATH", read_root_path, separator=",")
