"""The access log: one line for one exchange.

A format is what gunicorn takes: text with atoms in it, as `%(h)s` (and `%(D)d`, `%(h)-15s`; `%%` is a percent sign)::

    h  client's address, "-" on a Unix socket       b  bytes of content sent, "-" for none
    l  "-"                                          B  bytes of content sent
    u  user name of Basic authentication            f  Referer
    t  time, [21/Nov/2026:12:00:00 +0000]           a  User-Agent
    r  request line, as sent                        T  duration in seconds
    s  status code                                  M  duration in milliseconds
    m  method                                       D  duration in microseconds
    U  path, decoded                                L  duration in seconds, with six decimals
    q  query, as sent                               p  process id, <123>
    H  protocol, HTTP/1.1                           client  address:port, "-" on a Unix socket
    {name}i  a request field, {name}o  a response field of the application, {name}e  a WSGI environ variable

or the name of one: `combined` (gunicorn's default), `common`, `short` (also called `uvicorn`), or `json`. What is not
known is "-". Bytes are those handed to the connection, not those that Content-Length promised; durations run from
the end of the request's head to the end of the response.

`json` writes one object with the attribute names of OpenTelemetry's semantic conventions, leaving out what is not
known: timestamp (UTC), client.address, client.port, user.name, http.request.method, url.scheme, url.path, url.query,
network.protocol.version, http.response.status_code, http.response.body.size (bytes), http.server.request.duration
(seconds), user_agent.original, http.request.header.referer, process.pid. A request that could not be read has
http.request.line instead of method and url.

A line must stay one line, and a quoted value in its quotes, whatever a client sends (CWE-117): in text formats every
byte of it but printable ASCII is written as \\xNN, and so are quotes and backslashes.
"""

import base64
import binascii
import json
import os
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

NAMED_FORMATS = {
    "combined": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "common": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s',
    "short": '%(client)s - "%(r)s" %(s)s',
    "uvicorn": '%(client)s - "%(r)s" %(s)s',
}

# What an atom asks for.
_REQUEST_LINE = 0
_STATUS = 1
_SIZE = 2
_HOST = 3
_NOTHING = 4
_USER = 5
_TIME = 6
_REQUEST_FIELD = 7
_RESPONSE_FIELD = 8
_ENVIRON = 9
_SIZE_NUMBER = 10
_STATUS_NUMBER = 11
_CLIENT = 12
_METHOD = 13
_PATH = 14
_QUERY = 15
_PROTOCOL = 16
_SECONDS = 17
_MILLISECONDS = 18
_MICROSECONDS = 19
_DECIMAL_SECONDS = 20
_PROCESS = 21

# The atoms without an argument.
_ATOMS = {
    "h": _HOST,
    "l": _NOTHING,
    "u": _USER,
    "t": _TIME,
    "r": _REQUEST_LINE,
    "s": _STATUS,
    "m": _METHOD,
    "U": _PATH,
    "q": _QUERY,
    "H": _PROTOCOL,
    "b": _SIZE,
    "B": _SIZE_NUMBER,
    "T": _SECONDS,
    "M": _MILLISECONDS,
    "D": _MICROSECONDS,
    "L": _DECIMAL_SECONDS,
    "p": _PROCESS,
    "client": _CLIENT,
}

# The atoms that stand for one field.
_FIELDS = {"f": b"referer", "a": b"user-agent"}

# Those that are numbers, for %(...)d.
_NUMBERS = {
    "B": _SIZE_NUMBER,
    "b": _SIZE_NUMBER,
    "D": _MICROSECONDS,
    "M": _MILLISECONDS,
    "s": _STATUS_NUMBER,
    "T": _SECONDS,
}

# An atom with its flags and conversion, or a percent sign.
_ATOM = re.compile(r"%(?:%|\((\{[^{}]*\}[ioe]|[^(){}]*)\)([-+ 0]*\d*(?:\.\d+)?)([A-Za-z]?))?")

# RFC 9110 5.6.2: token = 1*tchar.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_UNSAFE = re.compile(r"[^ !#-\[\]-~]")

# Not those of the process's locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_json = json.JSONEncoder(separators=(",", ":")).encode


class AccessLogger:
    """Formats lines by `format` and gives them to `write`, as str without a line end.

    Raises ValueError, with a message for the user, when `format` is not one.
    """

    __slots__ = ("_atoms", "_end", "_is_json", "_second", "_time", "_write")

    def __init__(self, format: str, write: Callable[[str], object]) -> None:
        self._write = write
        # Of the latest line; formatted once a second.
        self._second = -1
        self._time = ""
        self._is_json = format == "json"
        # For each atom the text before it, what it asks for, the argument, and how it is formatted if not by str();
        # then the text after the last one.
        self._atoms: list = []
        self._end = ""
        if not self._is_json:
            self._compile(NAMED_FORMATS.get(format, format))

    def log(self, stream: Any, now: float) -> int:
        """Write the line of an exchange that has ended at `now` (monotonic seconds). Returns 0.

        `stream` is an HTTPStream. What `write` raises is passed on.
        """
        self._write(self._line(stream, now - stream.started))
        return 0

    def log_refusal(self, client: Any, status: int, request_line: str | bytes | None, size: int = 0) -> int:
        """Write the line of a request that never became a stream. Returns 0.

        `client` is a (host, port) tuple or None, `request_line` what could be read of it or None, `size` the bytes of
        content it was answered with.
        """
        self._write(self._line(_Refusal(client, status, request_line, size), 0.0))
        return 0

    def _compile(self, format: str) -> int:
        text = ""
        position = 0
        for match in _ATOM.finditer(format):
            text += format[position : match.start()]
            position = match.end()
            if match[0] == "%%":
                text += "%"
            elif match[1] is None:
                raise ValueError(f"stray % in {format!r} (a percent sign is written %%)")
            else:
                atom, argument = _find_atom(match[1], match[3])
                specification = f"%{match[2]}{match[3]}" if match[2] else None
                self._atoms.append((text, atom, argument, specification))
                text = ""
        self._end = text + format[position:]
        if not self._atoms:
            names = ", ".join((*NAMED_FORMATS, "json"))
            raise ValueError(f"{format!r} is none of {names}, and has no atom such as %(h)s in it")
        return 0

    def _line(self, record: Any, duration: float) -> str:
        wall = time.time()
        second = int(wall)
        if second != self._second:
            self._second = second
            self._time = _format_utc(second) if self._is_json else _format_time(second)
        # The clock that durations are taken from does not go back, but its readings may be older than the line.
        microseconds = max(0, int(duration * 1e6))
        if self._is_json:
            return _json(_attributes(record, f"{self._time}.{int((wall - second) * 1000):03d}Z", microseconds))
        parts = []
        for text, atom, argument, specification in self._atoms:
            value = self._value(record, atom, argument, microseconds)
            parts.append(text)
            parts.append(str(value) if specification is None else specification % value)
        parts.append(self._end)
        return "".join(parts)

    def _value(self, record: Any, atom: int, argument: Any, microseconds: int) -> Any:
        """What stands for an atom. `argument` is the name of a field (bytes) or of an environ variable (str)."""
        if atom == _TIME:
            return self._time
        if atom == _STATUS:
            # 0: the exchange has ended before there was a response.
            return record.status or "-"
        if atom == _STATUS_NUMBER:
            return record.status
        if atom == _SIZE:
            return record.body_sent or "-"
        if atom == _SIZE_NUMBER:
            return record.body_sent
        if atom == _HOST:
            return _host(record.client)
        if atom == _CLIENT:
            client = record.client
            # An address that a proxy has reported may come without a port.
            return f"{_host(client)}:{client[1]}" if client is not None and client[1] else _host(client)
        if atom == _SECONDS:
            return microseconds // 1000000
        if atom == _MILLISECONDS:
            return microseconds // 1000
        if atom == _MICROSECONDS:
            return microseconds
        if atom == _DECIMAL_SECONDS:
            return f"{microseconds // 1000000}.{microseconds % 1000000:06d}"
        if atom == _PROCESS:
            return f"<{os.getpid()}>"
        if atom == _RESPONSE_FIELD:
            block = record.block
            return "-" if block is None else _escape_bytes(block.get(argument))
        if atom == _ENVIRON:
            environ = record.environ
            # gunicorn takes a name in either case.
            value = None if environ is None else environ.get(argument, environ.get(argument.upper()))
            return "-" if value is None else _escape(str(value))
        head = record.head
        if head is None:
            return _escape_bytes(record.line) if atom == _REQUEST_LINE else "-"
        if atom == _REQUEST_LINE:
            return f"{head.method} {_escape_bytes(head.target)} HTTP/{head.http_version}"
        if atom == _REQUEST_FIELD:
            return _escape_bytes(head.get(argument))
        if atom == _USER:
            # It stands in the line without quotes: a space in it would end it.
            name = _user_name(head.get(b"authorization"))
            return _escape_bytes(name).replace(" ", "\\x20") if name else "-"
        if atom == _METHOD:
            return head.method
        if atom == _PATH:
            return _escape_bytes(unquote_to_bytes(head.raw_path))
        if atom == _QUERY:
            return _escape_bytes(head.query)
        if atom == _PROTOCOL:
            return f"HTTP/{head.http_version}"
        return "-"


class _Refusal:
    """In place of a stream, for a request that never became one."""

    __slots__ = ("block", "body_sent", "client", "environ", "head", "line", "status")

    def __init__(self, client: Any, status: int, line: str | bytes | None, size: int) -> None:
        self.client = client
        self.status = status
        self.line = line.encode("latin-1", "backslashreplace") if isinstance(line, str) else line
        self.head = None
        self.block = None
        self.environ = None
        self.body_sent = size


def _find_atom(name: str, conversion: str) -> tuple:
    """What an atom asks for, and its argument. Raises ValueError."""
    if name[:1] == "{":
        kind = name[-1]
        field = name[1:-2]
        if kind == "e":
            found = (_ENVIRON, field)
        elif _TOKEN.fullmatch(field) is None:
            raise ValueError(f"%({name}){conversion}: {field!r} is no field name")
        else:
            found = (_REQUEST_FIELD if kind == "i" else _RESPONSE_FIELD, field.lower().encode("ascii"))
    elif name in _FIELDS:
        found = (_REQUEST_FIELD, _FIELDS[name])
    elif name in _ATOMS:
        found = (_ATOMS[name], None)
    else:
        known = " ".join((*sorted((*_ATOMS, *_FIELDS), key=str.lower), "{name}i", "{name}o", "{name}e"))
        raise ValueError(f"unknown atom %({name}){conversion or 's'}; there are: {known}")
    if conversion == "d":
        if name not in _NUMBERS:
            raise ValueError(f"%({name})d is not a number: write %({name})s")
        found = (_NUMBERS[name], None)
    elif conversion != "s":
        raise ValueError(f"%({name}){conversion} must end in s: %({name})s")
    return found


def _attributes(record: Any, timestamp: str, microseconds: int) -> dict:
    """The attributes of a JSON line."""
    found: dict = {"timestamp": timestamp}
    client = record.client
    if client is not None:
        found["client.address"] = client[0]
        if client[1]:
            found["client.port"] = client[1]
    head = record.head
    if head is None:
        if record.line:
            found["http.request.line"] = _decode(record.line)
    else:
        user = _user_name(head.get(b"authorization"))
        if user:
            found["user.name"] = _decode(user)
        found["http.request.method"] = head.method
        found["url.scheme"] = record.scheme
        found["url.path"] = _decode(head.raw_path)
        if head.query:
            found["url.query"] = _decode(head.query)
        found["network.protocol.version"] = head.http_version
    if record.status:
        found["http.response.status_code"] = record.status
    found["http.response.body.size"] = record.body_sent
    if head is not None:
        found["http.server.request.duration"] = microseconds / 1e6
        user_agent = head.get(b"user-agent")
        if user_agent is not None:
            found["user_agent.original"] = _decode(user_agent)
        referer = head.get(b"referer")
        if referer is not None:
            found["http.request.header.referer"] = _decode(referer)
    found["process.pid"] = os.getpid()
    return found


def _format_time(second: int) -> str:
    """Local time as Apache writes it."""
    local = time.localtime(second)
    offset = local.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset), 60)
    date = f"{local.tm_mday:02d}/{_MONTHS[local.tm_mon - 1]}/{local.tm_year}"
    clock = f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
    return f"[{date}:{clock} {sign}{hours:02d}{minutes:02d}]"


def _format_utc(second: int) -> str:
    """RFC 3339, without fraction and zone."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _user_name(authorization: bytes | None) -> bytes:
    """The user name of Basic credentials (RFC 7617 2); b"" without one. The password is never looked at."""
    if authorization is None or authorization[:6].lower() != b"basic ":
        return b""
    try:
        credentials = base64.b64decode(authorization[6:].strip(), validate=True)
    except binascii.Error:
        return b""
    name, colon, _ = credentials.partition(b":")
    # Without a colon it may be a password that was put in the wrong place.
    return name if colon else b""


def _host(client: Any) -> str:
    """The address of a client, which may be what a proxy has reported; "-" for None, a Unix socket."""
    return "-" if client is None else _escape(client[0]).replace(" ", "\\x20")


def _escape_bytes(data: bytes | None) -> str:
    """`data` by `_escape`; "-" for None and for nothing."""
    return _escape(data.decode("latin-1")) if data else "-"


def _escape(text: str) -> str:
    """`text`, bytes as latin-1 characters (PEP 3333), as printable ASCII that no quotes can end."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _UNSAFE.sub(_escape_character, text)


def _escape_character(match: re.Match) -> str:
    code = ord(match[0])
    if code < 256:
        return f"\\x{code:02x}"
    return "".join([f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogatepass")])


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
