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
    mount  where the application is mounted, "-" where there is only one, or none was found
    {name}i  a request field, {name}o  a response field of the application, {name}e  a WSGI environ variable

or the name of one: `combined` (gunicorn's default), `common`, `short` (also called `uvicorn`), or `json`; where several
applications are mounted, these end with `mount`. What is not known is "-". Bytes are those handed to the connection,
not those that Content-Length promised; durations run from the end of the request's head to the end of the response.

`json` writes one object with the attribute names of OpenTelemetry's semantic conventions, leaving out what is not
known: timestamp (UTC), client.address, client.port, user.name, http.request.method, url.scheme, url.path, url.query,
network.protocol.version, http.response.status_code, http.response.body.size (bytes), http.server.request.duration
(seconds), user_agent.original, http.request.header.referer, gateway.mount, process.pid. A request that could not be
read has http.request.line instead of method and url.

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

from ..kernels.base import AccessLog, Stream, wall
from ..kernels.head import RequestHead
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
_MOUNT = 22
# Another atom, with flags.
_FORMATTED = 23

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
    "mount": _MOUNT,
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


class AccessLogger(AccessLog):
    """Formats lines by `format` and gives them to `write`: bytes, whole lines, each with its line end.

    They are collected until there are `limit` bytes or `flush` is called; with 0 each line is written at once.
    `waiting` is called when a line is the first to be kept, for someone to see to it that it is flushed. `clock` gives
    the time, in seconds since 1970, None is the system's. All of it belongs to one thread.

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
        clock: Callable[[], float] | None = None,
        mounted: bool = False,
    ) -> None:
        self._clock = clock
        self._write = write
        self._waiting = waiting
        self._limit = limit
        self._lines = LineBuffer()
        # What changes once a second at most, as of the latest line. In JSON `_time` and `_end` are the beginning of the
        # object, up to the milliseconds, and its end.
        self._second = -1
        self._time = b""
        self._process = 0
        self._is_json = format == "json"
        self._atoms: list = []
        # The text after the last of them.
        self._end = b""
        self.keeps_environ = False
        if not self._is_json:
            named = NAMED_FORMATS.get(format)
            self._compile(format if named is None else f"{named} %(mount)s" if mounted else named)

    def log(self, stream: Stream, now: float) -> int:
        """Write the line of an exchange that has ended at `now` (monotonic seconds). Returns 0.

        What `write` raises is passed on.
        """
        exchange: HTTPStream = stream
        return self._log(exchange, None, now - exchange.started)

    def log_refusal(self, client: object, status: int, request_line: object, size: int = 0) -> int:
        """Write the line of a request that never became a stream. Returns 0."""
        stream = HTTPStream.__new__(HTTPStream)
        stream.client = client
        stream.scheme = ""
        stream.head = None
        stream.mount = None
        stream.status = status
        stream.block = None
        stream.body_sent = size
        stream.environ = None
        if isinstance(request_line, str):
            request_line = request_line.encode("latin-1", "backslashreplace")
        return self._log(stream, request_line, 0.0)

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
                if atom == _ENVIRON:
                    self.keeps_environ = True
                if specification is not None:
                    argument = ([_Atom(b"", atom, argument)], specification)
                    atom = _FORMATTED
                self._atoms.append(_Atom(_encode(text), atom, argument))
                text = ""
        self._end = _encode(text + format[position:]) + b"\n"
        if not self._atoms and not nothing:
            names = ", ".join((*NAMED_FORMATS, "json"))
            raise ValueError(f"{format!r} is none of {names}, and has no atom such as %(h)s in it")
        return 0

    def _log(self, stream: HTTPStream, line: bytes | None, duration: float) -> int:
        """Put a line, and write what is collected when that is enough.

        A stream without head is a request that could not be read but for `line`, which may be None.
        """
        lines = self._lines
        now: float = wall() if self._clock is None else self._clock()
        second = int(now)
        if second != self._second:
            self._turn(second)
        # The clock that durations are taken from does not go back, but its readings may be older than the line.
        microseconds = int(duration * 1e6)
        if microseconds < 0:
            microseconds = 0
        start = lines.size()
        try:
            if self._is_json:
                milliseconds = int((now - second) * 1000)
                self._put_json(stream, line, milliseconds, microseconds)
            else:
                self._put_atoms(self._atoms, stream, line, microseconds)
                lines.put(self._end)
        except BaseException:
            lines.cut(start)
            raise
        if lines.size() >= self._limit:
            self.flush()
        elif start == 0:
            self._waiting()
        return 0

    def _turn(self, second: int) -> int:
        """Another second has come. Returns 0."""
        self._second = second
        self._process = os.getpid()
        if self._is_json:
            self._time = f'{{"timestamp":"{_format_utc(second)}.'.encode("ascii")
            self._end = f',"process.pid":{self._process}}}\n'.encode("ascii")
        else:
            self._time = _format_time(second).encode("ascii")
        return 0

    def _put_atoms(self, atoms: list, stream: HTTPStream, line: bytes | None, microseconds: int) -> int:
        """Put the text before each atom, and what stands for it."""
        lines = self._lines
        head = stream.head
        for atom in atoms:
            kind = atom.kind
            if kind == _REQUEST_FIELD:
                lines.put_field(atom.text, head, atom.argument)
            elif kind == _REQUEST_LINE:
                if head is None:
                    lines.put_escaped(atom.text, line)
                else:
                    lines.put_request_line(atom.text, head)
            elif kind == _STATUS:
                # 0: the exchange has ended before there was a response.
                lines.put_count(atom.text, stream.status)
            elif kind == _SIZE:
                lines.put_count(atom.text, stream.body_sent)
            elif kind == _HOST:
                lines.put_word(atom.text, _host(stream.client))
            elif kind == _USER:
                # It stands in the line without quotes: a space in it would end it.
                lines.put_word(atom.text, _user_name(head))
            elif kind == _TIME:
                lines.put(atom.text)
                lines.put(self._time)
            else:
                self._put_seldom(atom, stream, line, microseconds)
        return 0

    def _put_seldom(self, atom: "_Atom", stream: HTTPStream, line: bytes | None, microseconds: int) -> int:
        """As `_put_atoms`, one that the usual formats have not."""
        lines = self._lines
        head = stream.head
        text = atom.text
        kind = atom.kind
        if kind == _FORMATTED:
            lines.put(text)
            plain, specification = atom.argument
            start = lines.size()
            self._put_atoms(plain, stream, line, microseconds)
            value = lines.cut(start).decode("ascii")
            lines.put(specification % (int(value) if specification.endswith("d") else value))
        elif kind == _STATUS_NUMBER:
            lines.put_number(text, stream.status, 1)
        elif kind == _SIZE_NUMBER:
            lines.put_number(text, stream.body_sent, 1)
        elif kind == _CLIENT:
            client = stream.client
            lines.put_word(text, _host(client))
            # An address that a proxy has reported may come without a port.
            if client is not None and client[1]:
                lines.put_number(b":", client[1], 1)
        elif kind == _SECONDS:
            lines.put_number(text, microseconds // 1000000, 1)
        elif kind == _MILLISECONDS:
            lines.put_number(text, microseconds // 1000, 1)
        elif kind == _MICROSECONDS:
            lines.put_number(text, microseconds, 1)
        elif kind == _DECIMAL_SECONDS:
            _put_seconds(lines, text, microseconds)
        elif kind == _PROCESS:
            lines.put(text)
            lines.put_number(b"<", self._process, 1)
            lines.put(b">")
        elif kind == _RESPONSE_FIELD:
            lines.put_escaped(text, None if stream.block is None else stream.block.get(atom.argument))
        elif kind == _ENVIRON:
            environ = stream.environ
            # gunicorn takes a name in either case.
            value = None if environ is None else environ.get(atom.argument, environ.get(atom.argument.upper()))
            if value is not None:
                value = str(value)
            if value == "":
                lines.put(text)
            else:
                lines.put_escaped(text, value)
        elif kind == _MOUNT:
            lines.put_escaped(text, None if stream.mount is None else stream.mount.path or b"/")
        elif head is None or kind == _NOTHING:
            lines.put_escaped(text, None)
        elif kind == _METHOD:
            lines.put_escaped(text, head.method)
        elif kind == _PATH:
            lines.put_escaped(text, unquote_to_bytes(head.raw_path))
        elif kind == _QUERY:
            lines.put_escaped(text, head.query)
        else:
            lines.put(text)
            lines.put_escaped(b"HTTP/", head.http_version)
        return 0

    def _put_json(self, stream: HTTPStream, line: bytes | None, milliseconds: int, microseconds: int) -> int:
        """Put one object; `milliseconds` are those of the time."""
        lines = self._lines
        head = stream.head
        client = stream.client
        lines.put_number(self._time, milliseconds, 3)
        if client is None:
            lines.put(b'Z"')
        else:
            lines.put_json(b'Z","client.address":', client[0])
            if client[1]:
                lines.put_number(b',"client.port":', client[1], 1)
        if head is None:
            lines.put_json(b',"http.request.line":', line or None)
        else:
            lines.put_json(b',"user.name":', _user_name(head))
            lines.put_json(b',"http.request.method":', head.method)
            lines.put_json(b',"url.scheme":', stream.scheme)
            lines.put_json_path(b',"url.path":', head)
            lines.put_json_query(b',"url.query":', head)
            lines.put_json(b',"network.protocol.version":', head.http_version)
        if stream.status:
            lines.put_number(b',"http.response.status_code":', stream.status, 1)
        lines.put_number(b',"http.response.body.size":', stream.body_sent, 1)
        if head is not None:
            _put_seconds(lines, b',"http.server.request.duration":', microseconds)
            lines.put_json_field(b',"user_agent.original":', head, b"user-agent")
            lines.put_json_field(b',"http.request.header.referer":', head, b"referer")
            if stream.mount is not None:
                lines.put_json(b',"gateway.mount":', stream.mount.name)
        lines.put(self._end)
        return 0


class _Atom:
    """One atom of a format.

    The text before it, what it asks for, and an argument: the name of a field (bytes) or of an environ variable (str);
    for _FORMATTED a list of the atom without text and flags, and its specification.
    """

    __slots__ = ("argument", "kind", "text")

    def __init__(self, text: bytes, kind: int, argument: Any) -> None:
        self.text = text
        self.kind = kind
        self.argument = argument


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


def _host(client: Any) -> Any:
    """The address of a client, which may be what a proxy has reported; None for a Unix socket."""
    return None if client is None else client[0]


def _user_name(head: RequestHead | None) -> bytes | None:
    """The user name of Basic credentials (RFC 7617 2), or None. The password is never looked at."""
    authorization = None if head is None else head.get(b"authorization")
    if authorization is None or authorization[:6].lower() != b"basic ":
        return None
    try:
        credentials = base64.b64decode(authorization[6:].strip(), validate=True)
    except binascii.Error:
        return None
    name, colon, _ = credentials.partition(b":")
    # Without a colon it may be a password that was put in the wrong place.
    return name if colon and name else None


def _put_seconds(lines: LineBuffer, text: bytes, microseconds: int) -> int:
    lines.put_number(text, microseconds // 1000000, 1)
    return lines.put_number(b".", microseconds % 1000000, 6)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
