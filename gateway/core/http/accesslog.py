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
byte of it but printable ASCII is written as \\xNN, and so are quotes and backslashes; JSON has its own escapes.
"""

import base64
import binascii
import os
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from ..kernels.lines import LineBuffer
from .stream import HTTPStream

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

# Not those of the process's locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class AccessLogger:
    """Formats lines by `format` and gives them to `write`: bytes, whole lines, each with its line end.

    They are collected until there are `limit` bytes or `flush` is called; with 0 each line is written at once.
    `waiting` is called when a line is the first to be kept, for someone to see to it that it is flushed. `clock` gives
    the time, in seconds since 1970. All of it belongs to one thread.

    Raises ValueError, with a message for the user, when `format` is not one.
    """

    __slots__ = (
        "_atoms",
        "_clock",
        "_end",
        "_is_json",
        "_limit",
        "_lines",
        "_process",
        "_record",
        "_second",
        "_time",
        "_waiting",
        "_write",
    )

    def __init__(
        self,
        format: str,
        write: Callable[[bytes], object],
        limit: int = 0,
        waiting: Callable[[], object] = int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._write = write
        self._waiting = waiting
        self._limit = limit
        self._lines = LineBuffer()
        self._record = _Record()
        # What changes once a second at most, as of the latest line.
        self._second = -1
        self._time = ""
        self._process = 0
        self._is_json = format == "json"
        self._atoms: list = []
        # The text after the last of them.
        self._end = b""
        if not self._is_json:
            self._compile(NAMED_FORMATS.get(format, format))

    def log(self, stream: HTTPStream, now: float) -> int:
        """Write the line of an exchange that has ended at `now` (monotonic seconds). Returns 0.

        What `write` raises is passed on.
        """
        record = self._record
        record.client = stream.client
        record.scheme = stream.scheme
        record.head = stream.head
        record.line = None
        record.status = stream.status
        record.block = stream.block
        record.body_sent = stream.body_sent
        record.environ = stream.environ
        return self._log(now - stream.started)

    def log_refusal(self, client: Any, status: int, request_line: str | bytes | None, size: int = 0) -> int:
        """Write the line of a request that never became a stream. Returns 0.

        `client` is a (host, port) tuple or None, `request_line` what could be read of it or None, `size` the bytes of
        content it was answered with.
        """
        record = self._record
        if isinstance(request_line, str):
            request_line = request_line.encode("latin-1", "backslashreplace")
        record.client = client
        record.scheme = ""
        record.head = None
        record.line = request_line
        record.status = status
        record.block = None
        record.body_sent = size
        record.environ = None
        return self._log(0.0)

    def flush(self) -> int:
        """Write what is collected. Returns 0."""
        data = self._lines.take()
        if data:
            self._write(data)
        return 0

    def _compile(self, format: str) -> int:
        text = ""
        position = 0
        nothing = False
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
                if atom == _NOTHING and specification is None:
                    text += "-"
                    nothing = True
                    continue
                self._atoms.append(_Atom(_encode(text), atom, argument, specification))
                text = ""
        self._end = _encode(text + format[position:]) + b"\n"
        if not self._atoms and not nothing:
            names = ", ".join((*NAMED_FORMATS, "json"))
            raise ValueError(f"{format!r} is none of {names}, and has no atom such as %(h)s in it")
        return 0

    def _log(self, duration: float) -> int:
        lines = self._lines
        record = self._record
        wall = self._clock()
        second = int(wall)
        if second != self._second:
            self._second = second
            self._time = _format_utc(second) if self._is_json else _format_time(second)
            self._process = os.getpid()
        # The clock that durations are taken from does not go back, but its readings may be older than the line.
        microseconds = max(0, int(duration * 1e6))
        start = lines.size()
        try:
            if self._is_json:
                self._put_json(record, int((wall - second) * 1000), microseconds)
            else:
                self._put_text(record, microseconds)
        except BaseException:
            lines.cut(start)
            raise
        finally:
            # These hold memory.
            record.head = None
            record.block = None
            record.environ = None
        if lines.size() >= self._limit:
            self.flush()
        elif start == 0:
            self._waiting()
        return 0

    def _put_text(self, record: "_Record", microseconds: int) -> int:
        lines = self._lines
        for atom in self._atoms:
            lines.put(atom.text)
            if atom.specification is None:
                self._put_atom(record, atom, microseconds)
            else:
                start = lines.size()
                self._put_atom(record, atom, microseconds)
                value = lines.cut(start).decode("ascii")
                lines.put(atom.specification % (int(value) if atom.specification.endswith("d") else value))
        lines.put(self._end)
        return 0

    def _put_atom(self, record: "_Record", atom: "_Atom", microseconds: int) -> int:
        """Put what stands for an atom."""
        lines = self._lines
        head = record.head
        kind = atom.kind
        if kind == _REQUEST_FIELD:
            _put_quoted(lines, None if head is None else head.get(atom.argument))
        elif kind == _REQUEST_LINE:
            if head is None:
                _put_quoted(lines, record.line)
            else:
                lines.put(head.method)
                lines.put(b" ")
                lines.put_escaped(head.target)
                lines.put(b" HTTP/")
                lines.put(head.http_version)
        elif kind == _HOST:
            _put_host(lines, record.client)
        elif kind == _TIME:
            lines.put(self._time)
        elif kind == _USER:
            name = _user_name(head)
            if name:
                # It stands in the line without quotes: a space in it would end it.
                lines.put_word(name)
            else:
                lines.put(b"-")
        elif kind == _STATUS:
            # 0: the exchange has ended before there was a response.
            _put_count(lines, record.status)
        elif kind == _SIZE:
            _put_count(lines, record.body_sent)
        else:
            self._put_seldom(record, atom, microseconds)
        return 0

    def _put_seldom(self, record: "_Record", atom: "_Atom", microseconds: int) -> int:
        """Put what stands for an atom that the usual formats have not."""
        lines = self._lines
        head = record.head
        kind = atom.kind
        if kind == _STATUS_NUMBER:
            lines.put_number(record.status, 1)
        elif kind == _SIZE_NUMBER:
            lines.put_number(record.body_sent, 1)
        elif kind == _CLIENT:
            client = record.client
            _put_host(lines, client)
            # An address that a proxy has reported may come without a port.
            if client is not None and client[1]:
                lines.put(b":")
                lines.put_number(client[1], 1)
        elif kind == _SECONDS:
            lines.put_number(microseconds // 1000000, 1)
        elif kind == _MILLISECONDS:
            lines.put_number(microseconds // 1000, 1)
        elif kind == _MICROSECONDS:
            lines.put_number(microseconds, 1)
        elif kind == _DECIMAL_SECONDS:
            _put_seconds(lines, microseconds)
        elif kind == _PROCESS:
            lines.put(b"<")
            lines.put_number(self._process, 1)
            lines.put(b">")
        elif kind == _RESPONSE_FIELD:
            block = record.block
            _put_quoted(lines, None if block is None else block.get(atom.argument))
        elif kind == _ENVIRON:
            environ = record.environ
            # gunicorn takes a name in either case.
            value = None if environ is None else environ.get(atom.argument, environ.get(atom.argument.upper()))
            if value is None:
                lines.put(b"-")
            else:
                lines.put_escaped(str(value))
        elif head is None or kind == _NOTHING:
            lines.put(b"-")
        elif kind == _METHOD:
            lines.put(head.method)
        elif kind == _PATH:
            _put_quoted(lines, unquote_to_bytes(head.raw_path))
        elif kind == _QUERY:
            _put_quoted(lines, head.query)
        else:
            lines.put(b"HTTP/")
            lines.put(head.http_version)
        return 0

    def _put_json(self, record: "_Record", milliseconds: int, microseconds: int) -> int:
        """Put one object; `milliseconds` are those of the time."""
        lines = self._lines
        lines.put(b'{"timestamp":"')
        lines.put(self._time)
        lines.put(b".")
        lines.put_number(milliseconds, 3)
        lines.put(b'Z"')
        client = record.client
        if client is not None:
            lines.put(b',"client.address":')
            lines.put_json(client[0])
            if client[1]:
                lines.put(b',"client.port":')
                lines.put_number(client[1], 1)
        head = record.head
        if head is None:
            if record.line:
                _put_member(lines, b',"http.request.line":', record.line)
        else:
            user = _user_name(head)
            if user:
                _put_member(lines, b',"user.name":', user)
            _put_member(lines, b',"http.request.method":', head.method)
            _put_member(lines, b',"url.scheme":', record.scheme)
            _put_member(lines, b',"url.path":', head.raw_path)
            query = head.query
            if query:
                _put_member(lines, b',"url.query":', query)
            _put_member(lines, b',"network.protocol.version":', head.http_version)
        if record.status:
            lines.put(b',"http.response.status_code":')
            lines.put_number(record.status, 1)
        lines.put(b',"http.response.body.size":')
        lines.put_number(record.body_sent, 1)
        if head is not None:
            lines.put(b',"http.server.request.duration":')
            _put_seconds(lines, microseconds)
            _put_member(lines, b',"user_agent.original":', head.get(b"user-agent"))
            _put_member(lines, b',"http.request.header.referer":', head.get(b"referer"))
        lines.put(b',"process.pid":')
        lines.put_number(self._process, 1)
        lines.put(b"}\n")
        return 0


class _Atom:
    """One atom of a format.

    The text before it, what it asks for, the name of a field (bytes) or of an environ variable (str), and how it is
    formatted, None for as it is.
    """

    __slots__ = ("argument", "kind", "specification", "text")

    def __init__(self, text: bytes, kind: int, argument: Any, specification: str | None) -> None:
        self.text = text
        self.kind = kind
        self.argument = argument
        self.specification = specification


class _Record:
    """What a line is made from: an exchange, or a request that never became one.

    `client` is a (host, port) tuple or None; `head` is None where only `line` (bytes or None) could be read; `status`
    is 0 when there was no response; `block` (the application's fields), `environ` may be None; `body_sent` is bytes.
    """

    __slots__ = ("block", "body_sent", "client", "environ", "head", "line", "scheme", "status")

    def __init__(self) -> None:
        self.client: Any = None
        self.scheme = ""
        self.head: Any = None
        self.line: bytes | None = None
        self.status = 0
        self.block: Any = None
        self.body_sent = 0
        self.environ: Any = None


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


def _user_name(head: Any) -> bytes:
    """The user name of Basic credentials (RFC 7617 2); b"" without one. The password is never looked at."""
    authorization = None if head is None else head.get(b"authorization")
    if authorization is None or authorization[:6].lower() != b"basic ":
        return b""
    try:
        credentials = base64.b64decode(authorization[6:].strip(), validate=True)
    except binascii.Error:
        return b""
    name, colon, _ = credentials.partition(b":")
    # Without a colon it may be a password that was put in the wrong place.
    return name if colon else b""


def _put_host(lines: LineBuffer, client: Any) -> int:
    """The address of a client, which may be what a proxy has reported; "-" for None, a Unix socket."""
    return lines.put(b"-") if client is None else lines.put_word(client[0])


def _put_quoted(lines: LineBuffer, data: bytes | None) -> int:
    """`data`, escaped; "-" for None and for nothing."""
    return lines.put_escaped(data) if data else lines.put(b"-")


def _put_count(lines: LineBuffer, number: int) -> int:
    """`number`; "-" for 0."""
    return lines.put_number(number, 1) if number else lines.put(b"-")


def _put_seconds(lines: LineBuffer, microseconds: int) -> int:
    lines.put_number(microseconds // 1000000, 1)
    lines.put(b".")
    return lines.put_number(microseconds % 1000000, 6)


def _put_member(lines: LineBuffer, key: bytes, value: bytes | str | None) -> int:
    """A member of a JSON object, with `key` as it is written: with comma, quotes and colon. Nothing for None."""
    if value is not None:
        lines.put(key)
        lines.put_json(value)
    return 0


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
