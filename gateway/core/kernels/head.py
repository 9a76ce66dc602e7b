"""Request heads and trailer sections of HTTP/1.1: bytes in, facts out.

This is the specification; `gateway/_speedups/kernels/head.pyx` does the same with pointers. The parser is strict where
leniency lets two implementations read one message in two ways: every line ends in CRLF, nothing is unfolded, repaired
or guessed. What the facts mean for the message (its framing, whether it is acceptable) is decided in `core/http`.

Lines are examined in order and the first error counts, so that a head gives the same result code however its bytes
were cut up on the way. Of a line that has not ended yet only the length is judged.
"""

import re
from urllib.parse import unquote_to_bytes

from .buffer import InputBuffer

# Result codes of `parse`.
NEED_DATA = 0
DONE = 1
BAD_REQUEST_LINE = 2
BAD_METHOD = 3
BAD_TARGET = 4
BAD_VERSION = 5
UNSUPPORTED_VERSION = 6
REQUEST_LINE_TOO_LONG = 7
BARE_LF = 8
OBSOLETE_FOLDING = 9
NO_COLON = 10
SPACE_BEFORE_COLON = 11
BAD_FIELD_NAME = 12
BAD_FIELD_VALUE = 13
FIELD_TOO_LARGE = 14
TOO_MANY_FIELDS = 15

# Forms of the request target (RFC 9112 3.2).
ORIGIN_FORM = 0
ABSOLUTE_FORM = 1
AUTHORITY_FORM = 2
ASTERISK_FORM = 3

# What an Expect field asks for (RFC 9110 10.1.1).
EXPECT_NONE = 0
EXPECT_CONTINUE = 1
EXPECT_OTHER = 2

# Connection options that mean something here (RFC 9110 7.6.1); bits.
OPTION_CLOSE = 1
OPTION_KEEP_ALIVE = 2
OPTION_UPGRADE = 4

MAX_CONTENT_LENGTH = 2**63 - 1

# RFC 9110 5.6.2: token = 1*tchar.
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# RFC 9110 5.5: field-content is VCHAR, obs-text, SP and HTAB; every other control character is refused, not only the
# CR, LF and NUL that the section calls dangerous.
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

# RFC 9112 2.3: HTTP-version = HTTP-name "/" DIGIT "." DIGIT; case-sensitive.
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")

# RFC 9112 3.2: a target is one visible word. A fragment is never part of it (RFC 9110 7.1), so "#" is refused. The
# other characters that RFC 3986 would have encoded (such as "|") are harmless, and sent by browsers.
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")

# RFC 9112 3.2.2: absolute-form = absolute-URI, of the schemes this server answers for (RFC 9110 4.2).
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)([^?]*)(?:\?(.*))?")

# RFC 3986 2.1: pct-encoded = "%" HEXDIG HEXDIG.
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# RFC 3986 3.2.2: IPv4address, each part a decimal octet without leading zeros.
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rb"(?:" + _OCTET + rb"\.){3}" + _OCTET

# RFC 3986 3.2.2: IPv6address. Line n of its nine says how many groups may stand on either side of the "::".
_H16 = rb"[0-9A-Fa-f]{1,4}"
_LS32 = rb"(?:" + _H16 + rb":" + _H16 + rb"|" + _IPV4 + rb")"
_IPV6 = (
    rb"(?:"
    + rb"|".join(
        [
            rb"(?:" + _H16 + rb":){6}" + _LS32,
            rb"::(?:" + _H16 + rb":){5}" + _LS32,
            rb"(?:" + _H16 + rb")?::(?:" + _H16 + rb":){4}" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,1}" + _H16 + rb")?::(?:" + _H16 + rb":){3}" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,2}" + _H16 + rb")?::(?:" + _H16 + rb":){2}" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,3}" + _H16 + rb")?::" + _H16 + rb":" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,4}" + _H16 + rb")?::" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,5}" + _H16 + rb")?::" + _H16,
            rb"(?:(?:" + _H16 + rb":){0,6}" + _H16 + rb")?::",
        ]
    )
    + rb")"
)

# RFC 3986 3.2.2: IPvFuture, and reg-name with at least one character (RFC 9110 4.2.1: an empty host is invalid).
_IPVFUTURE = rb"[Vv][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+"
_REG_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"

# RFC 9110 7.2: Host = uri-host [ ":" port ]. RFC 3986 3.2.3 lets the port be empty.
_HOST = re.compile(rb"(?:\[(?:" + _IPV6 + rb"|" + _IPVFUTURE + rb")\]|" + _REG_NAME + rb")(?::([0-9]*))?")

# What most requests have in the ASGI scope, and in the WSGI environ. It is not stored again for each.
USUAL_HEAD = {"http_version": "1.1", "method": "GET", "query_string": b""}
USUAL_VARIABLES = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}

_METHODS = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY")
}


def _valid_host(value: bytes, port_required: bool) -> bool:
    """Whether `value` is a non-empty host, optionally with a port, that is at most 65535."""
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    port = match[1]
    if not port:
        # RFC 9110 9.3.6: a CONNECT to an empty port is rejected.
        return not port_required
    digits = port.lstrip(b"0")
    return len(digits) <= 5 and int(digits or b"0") <= 65535


def _members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list (RFC 9110 5.6.1), empty ones included, in lower case."""
    return [member.strip(b" \t").lower() for member in value.split(b",")]


def _parse_field_line(line: bytes) -> tuple[int, bytes, bytes]:
    """Split one field line without its CRLF. Returns DONE or an error, the name in lower case, and the value."""
    # RFC 9112 5.2: obs-fold is refused; 2.2: so is whitespace between the request line and the first field.
    if line[:1] in (b" ", b"\t"):
        return OBSOLETE_FOLDING, b"", b""
    name, colon, value = line.partition(b":")
    if not colon:
        return NO_COLON, b"", b""
    # RFC 9112 5.1: whitespace before the colon must be refused; it has hidden fields from proxies.
    if name[-1:] in (b" ", b"\t"):
        return SPACE_BEFORE_COLON, b"", b""
    # RFC 9110 5.1: field-name = token.
    if _TOKEN.fullmatch(name) is None:
        return BAD_FIELD_NAME, b"", b""
    # RFC 9112 5.1: OWS around the value is no part of it.
    value = value.strip(b" \t")
    if _FIELD_VALUE.fullmatch(value) is None:
        return BAD_FIELD_VALUE, b"", b""
    return DONE, name.lower(), value


def _parse_fields(
    input: InputBuffer, start: int, max_fields: int, max_field: int, max_section: int
) -> tuple[int, list[tuple[bytes, bytes]], int]:
    """Field lines from offset `start` up to and including the empty line that ends them.

    Returns DONE, NEED_DATA or an error, the fields, and the offset after the empty line.
    """
    fields: list[tuple[bytes, bytes]] = []
    position = start
    while True:
        line_feed = input.find(b"\n", position)
        end = line_feed if line_feed >= 0 else input.available()
        # The length counts the CR, or what may become it; hence the 1.
        if max_field and end - position > max_field + 1:
            return FIELD_TOO_LARGE, [], 0
        line = input.peek(position, end)
        # The empty line is no field line, and a lone CR may be its beginning.
        if max_section and line not in (b"", b"\r"):
            size = end - start + (1 if line_feed >= 0 else 0)
            if size > max_section:
                return FIELD_TOO_LARGE, [], 0
        if line_feed < 0:
            return NEED_DATA, [], 0
        # RFC 9112 2.2 allows a lone LF as a line end; it is refused, because not every peer allows it.
        if line[-1:] != b"\r":
            return BARE_LF, [], 0
        position = line_feed + 1
        if line == b"\r":
            return DONE, fields, position
        if max_fields and len(fields) >= max_fields:
            return TOO_MANY_FIELDS, [], 0
        code, name, value = _parse_field_line(line[:-1])
        if code != DONE:
            return code, [], 0
        fields.append((name, value))


class PreviousFields:
    """The field lines of a connection's last head, of which the next one is likely to repeat most.

    A line that stands in the same place, byte for byte, need not be examined again, and the objects made of it (they
    never change) can be shared. Bounded. What a head says does not depend on it, and here it does nothing.
    """

    __slots__ = ()

    def clear(self) -> int:
        """Let go of everything. Returns 0."""
        return 0


class RequestHead:
    """One request line and its fields. The facts are set by a `parse` that returns DONE, and tell what was received.

    `remove`, `drop_underscored` and `set_host` change what the methods return afterwards; of the facts only `host`
    follows.
    """

    __slots__ = (
        "_fields",
        "_cached",
        "method",
        "target",
        "raw_path",
        "query",
        "form",
        "authority",
        "major",
        "minor",
        "http_version",
        "field_count",
        "host_count",
        "host",
        "host_valid",
        "content_length_count",
        "content_length",
        "transfer_encoding_count",
        "coding_count",
        "chunked_count",
        "last_is_chunked",
        "coding_malformed",
        "connection_options",
        "expect",
        "has_upgrade",
        "te_trailers",
        "underscore_count",
        "forwarded_count",
    )

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        self._cached: list[tuple[bytes, bytes]] | None = None
        self.method: str = ""
        # The request target as sent, and its parts: path without query, query without "?". The path of an
        # absolute-form without one is "/" (RFC 9110 4.2.3), of an asterisk-form "*", of an authority-form empty.
        self.target: bytes = b""
        self.raw_path: bytes = b""
        self.query: bytes = b""
        self.form: int = ORIGIN_FORM
        # host[:port] of an absolute- or authority-form.
        self.authority: bytes | None = None
        # The version this message is to be read by: RFC 9110 2.5 has a higher minor version treated as 1.1.
        self.major: int = 1
        self.minor: int = 1
        self.http_version: str = "1.1"
        # Field lines.
        self.field_count: int = 0
        # Host: how many lines; the first value; whether that is a non-empty host with a usable port.
        self.host_count: int = 0
        self.host: bytes | None = None
        self.host_valid: bool = False
        # Content-Length: how many lines; the first value, -1 absent, -2 not a number or more than 2**63-1.
        self.content_length_count: int = 0
        self.content_length: int = -1
        # Transfer-Encoding: how many lines; and over all of them, how many codings, how many of these are chunked,
        # whether the last one is, and whether something is no list of plain coding names.
        self.transfer_encoding_count: int = 0
        self.coding_count: int = 0
        self.chunked_count: int = 0
        self.last_is_chunked: bool = False
        self.coding_malformed: bool = False
        # OPTION_* bits over all Connection lines.
        self.connection_options: int = 0
        # EXPECT_*.
        self.expect: int = EXPECT_NONE
        # An Upgrade field is there.
        self.has_upgrade: bool = False
        # TE lists "trailers" (RFC 9110 10.1.4).
        self.te_trailers: bool = False
        # Fields with "_" in their name: in a WSGI environ they can't be told from those with "-".
        self.underscore_count: int = 0
        # Fields "Forwarded" and "X-Forwarded-*".
        self.forwarded_count: int = 0

    def reuse(self, previous: PreviousFields | None) -> int:
        """Let `parse` look at the connection's last head, and leave this one there. Returns 0."""
        return 0

    def parse(self, input: InputBuffer, max_line: int, max_fields: int, max_field: int, max_section: int) -> int:
        """Read a head from the front of `input`, and consume it if it is complete and without error.

        Limits: bytes of the request line, field lines, bytes of one field line, bytes of all field lines with their
        CRLFs; lines are counted without their CRLF, 0 is no limit. Returns DONE, NEED_DATA or an error code.
        """
        self._reset()
        line_feed = input.find(b"\n", 0)
        end = line_feed if line_feed >= 0 else input.available()
        # RFC 9112 3: a request line longer than the server wishes to parse is answered with 414 or 400.
        if max_line and end > max_line + 1:
            return REQUEST_LINE_TOO_LONG
        if line_feed < 0:
            return NEED_DATA
        line = input.peek(0, end)
        if line[-1:] != b"\r":
            return BARE_LF
        code = self._parse_request_line(line[:-1])
        if code == DONE:
            code, fields, end = _parse_fields(input, line_feed + 1, max_fields, max_field, max_section)
        if code != DONE:
            self._reset()
            return code
        self._fields = fields
        self._read_fields()
        input.discard(end)
        return DONE

    def _parse_request_line(self, line: bytes) -> int:
        """RFC 9112 3: request-line = method SP request-target SP HTTP-version."""
        # RFC 9112 3 lets a recipient split on any whitespace; single spaces are all that honest peers send.
        parts = line.split(b" ")
        if len(parts) != 3:
            return BAD_REQUEST_LINE
        method, target, version = parts
        # RFC 9110 9.1: method = token.
        if _TOKEN.fullmatch(method) is None:
            return BAD_METHOD
        match = _VERSION.fullmatch(version)
        if match is None:
            return BAD_VERSION
        if match[1] != b"1":
            return UNSUPPORTED_VERSION
        if not self._parse_target(target):
            return BAD_TARGET
        self.method = _METHODS.get(method) or method.decode("ascii")
        self.minor = min(int(match[2]), 1)
        self.http_version = "1.1" if self.minor else "1.0"
        return DONE

    def _parse_target(self, target: bytes) -> bool:
        """RFC 9112 3.2: request-target in one of its four forms. False if it is none of them."""
        if _TARGET.fullmatch(target) is None:
            return False
        self.target = target
        # RFC 9112 3.2.4: asterisk-form.
        if target == b"*":
            self.form = ASTERISK_FORM
            self.raw_path = target
            return True
        # RFC 9112 3.2.1: origin-form = absolute-path [ "?" query ].
        if target[:1] == b"/":
            self.form = ORIGIN_FORM
            self.raw_path, _, self.query = target.partition(b"?")
            return _BAD_PERCENT.search(self.raw_path) is None
        # RFC 9112 3.2.2: absolute-form. RFC 9110 4.2.4: userinfo, which _HOST does not know, is treated as an error.
        match = _ABSOLUTE.fullmatch(target)
        if match is not None:
            self.form = ABSOLUTE_FORM
            self.authority = match[1]
            self.raw_path = match[2] or b"/"
            self.query = match[3] or b""
            return _valid_host(match[1], False) and _BAD_PERCENT.search(self.raw_path) is None
        # RFC 9112 3.2.3: authority-form = uri-host ":" port.
        self.form = AUTHORITY_FORM
        self.authority = target
        return _valid_host(target, True)

    def _read_fields(self) -> None:
        """Set the facts that come from fields."""
        expectations = []
        for name, value in self._fields:
            if name == b"host":
                if self.host is None:
                    self.host = value
                    self.host_valid = _valid_host(value, False)
                self.host_count += 1
            elif name == b"content-length":
                if self.content_length_count == 0:
                    self.content_length = _parse_content_length(value)
                self.content_length_count += 1
            elif name == b"transfer-encoding":
                self.transfer_encoding_count += 1
                self._read_codings(value)
            elif name == b"connection":
                # RFC 9110 7.6.1: options are case-insensitive; unknown ones only name fields.
                members = _members(value)
                self.connection_options |= (
                    (OPTION_CLOSE if b"close" in members else 0)
                    | (OPTION_KEEP_ALIVE if b"keep-alive" in members else 0)
                    | (OPTION_UPGRADE if b"upgrade" in members else 0)
                )
            elif name == b"expect":
                expectations.append(value.lower())
            elif name == b"upgrade":
                self.has_upgrade = True
            elif name == b"te":
                if b"trailers" in _members(value):
                    self.te_trailers = True
            elif name == b"forwarded" or name.startswith(b"x-forwarded-"):
                self.forwarded_count += 1
            if b"_" in name:
                self.underscore_count += 1
        self.field_count = len(self._fields)
        # RFC 9110 10.1.1: "100-continue" is the only expectation that is defined; compared without case.
        if expectations:
            self.expect = EXPECT_CONTINUE if expectations == [b"100-continue"] else EXPECT_OTHER

    def _read_codings(self, value: bytes) -> None:
        """RFC 9112 6.1: the transfer codings of one field line."""
        # RFC 9110 5.6.1.2 has empty list members ignored. Not in the field that delimits the content: peers that
        # read it in two ways make two messages of one.
        for coding in _members(value):
            if coding:
                self.coding_count += 1
                self.last_is_chunked = coding == b"chunked"
                self.chunked_count += self.last_is_chunked
            if _TOKEN.fullmatch(coding) is None:
                self.coding_malformed = True

    def get(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower case), or None."""
        for candidate, value in self._fields:
            if candidate == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case), in order."""
        return [value for candidate, value in self._fields if candidate == name]

    def fields(self) -> list[tuple[bytes, bytes]]:
        """All fields in order, names in lower case. The same list every time: not to be changed."""
        if self._cached is None:
            self._cached = list(self._fields)
        return self._cached

    def remove(self, names: frozenset[bytes]) -> int:
        """Drop the fields with these names (lower case). Returns how many they were."""
        return self._keep([field for field in self._fields if field[0] not in names])

    def drop_underscored(self) -> int:
        """Drop the fields with "_" in their name. Returns how many they were."""
        return self._keep([field for field in self._fields if b"_" not in field[0]])

    def set_host(self, value: bytes) -> int:
        """Make `value` the only Host field, in place of the first one or else before all others. Returns 0.

        RFC 9112 3.2.2: the host of an absolute-form target overrides the field.
        """
        fields = []
        found = False
        for field in self._fields:
            if field[0] != b"host":
                fields.append(field)
            elif not found:
                found = True
                fields.append((b"host", value))
        if not found:
            fields.insert(0, (b"host", value))
        self._keep(fields)
        self.host = value
        return 0

    def _keep(self, fields: list[tuple[bytes, bytes]]) -> int:
        removed = len(self._fields) - len(fields)
        self._fields = fields
        self._cached = None
        return removed

    def scope(self, base: dict) -> dict:
        """A copy of `base`, which includes USUAL_HEAD, with what the ASGI HTTP connection scope takes from the head.

        The path is percent-decoded and read as UTF-8; what is no UTF-8 becomes U+FFFD. The list of fields is the
        application's own.
        """
        scope = base.copy()
        if self.minor == 0:
            scope["http_version"] = self.http_version
        if self.method != "GET":
            scope["method"] = self.method
        scope["path"] = unquote_to_bytes(self.raw_path).decode("utf-8", "replace")
        scope["raw_path"] = self.raw_path
        if self.query:
            scope["query_string"] = self.query
        scope["headers"] = list(self._fields)
        return scope

    def environ(self, base: dict) -> dict:
        """A copy of `base` with the CGI variables (RFC 3875 4.1, PEP 3333) of the head. It includes USUAL_VARIABLES.

        `base` must not contain HTTP_* keys. Bytes become str as latin-1. Values of repeated fields are joined by ","
        (Cookie: "; "); of Content-Type and Content-Length the first counts.
        """
        environ = base.copy()
        if self.method != "GET":
            environ["REQUEST_METHOD"] = self.method
        environ["PATH_INFO"] = unquote_to_bytes(self.raw_path).decode("latin-1")
        if self.query:
            environ["QUERY_STRING"] = self.query.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = self.target.decode("latin-1")
        if self.minor == 0:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        for name, value in self._fields:
            text = value.decode("latin-1")
            if name == b"content-type":
                environ.setdefault("CONTENT_TYPE", text)
            elif name == b"content-length":
                environ.setdefault("CONTENT_LENGTH", text)
            else:
                key = "HTTP_" + name.decode("ascii").upper().replace("-", "_")
                if key in environ:
                    # RFC 9110 5.3; RFC 9113 8.2.3 for Cookie, whose value is no comma-separated list.
                    text = environ[key] + ("; " if name == b"cookie" else ",") + text
                environ[key] = text
        return environ


def _parse_content_length(value: bytes) -> int:
    """RFC 9110 8.6: Content-Length = 1*DIGIT. -2 if it is not, or is more than any content can have."""
    if re.fullmatch(rb"[0-9]+", value) is None:
        return -2
    digits = value.lstrip(b"0")
    if len(digits) > 19:
        return -2
    length = int(digits or b"0")
    return length if length <= MAX_CONTENT_LENGTH else -2


class TrailerSection:
    """The fields after the last chunk (RFC 9112 7.1.2), by the rules of a head."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []

    def parse(self, input: InputBuffer, max_fields: int, max_field: int, max_section: int) -> int:
        """Read a trailer section with its final empty line from the front of `input`, and consume it if complete.

        Limits and results are those of `RequestHead.parse`.
        """
        code, self._fields, end = _parse_fields(input, 0, max_fields, max_field, max_section)
        if code == DONE:
            input.discard(end)
        return code

    def fields(self) -> list[tuple[bytes, bytes]]:
        """All fields in order, names in lower case."""
        return self._fields
