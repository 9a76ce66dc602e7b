"""Request heads of HTTP/1.1: bytes in, facts out.

This is the specification; `gateway/_speedups/kernels/head.pyx` does the same with pointers, and so do the kernels that
a head is read with: `target`, `host`, `fieldlines`, `names`, `grammar`. The parser is strict where leniency lets two
implementations read one message in two ways: every line ends in CRLF, nothing is unfolded, repaired or guessed. What
the facts mean for the message (its framing, whether it is acceptable) is decided in `core/http`.

The request line is examined first, then the field lines in their order, and the first error counts, so that a head
gives the same result code however its bytes were cut up on the way. Of a line that has not ended yet only the length is
judged.
"""

import re

from .buffer import InputBuffer
from .fieldlines import PreviousFields, parse_fields
from .grammar import (
    BAD_METHOD,
    BAD_REQUEST_LINE,
    BAD_TARGET,
    BAD_VERSION,
    BARE_LF,
    DONE,
    NEED_DATA,
    REQUEST_LINE_TOO_LONG,
    TOKEN,
    UNSUPPORTED_VERSION,
    content_length,
    members,
)
from .host import valid_host
from .names import variable
from .target import ORIGIN_FORM, decoded, parse_target

# What an Expect field asks for (RFC 9110 10.1.1).
EXPECT_NONE = 0
EXPECT_CONTINUE = 1
EXPECT_OTHER = 2

# Connection options that mean something here (RFC 9110 7.6.1); bits.
OPTION_CLOSE = 1
OPTION_KEEP_ALIVE = 2
OPTION_UPGRADE = 4

# RFC 9112 2.3: HTTP-version = HTTP-name "/" DIGIT "." DIGIT; case-sensitive.
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")

# What most requests have in the ASGI scope, and in the WSGI environ. It is not stored again for each.
USUAL_HEAD = {"http_version": "1.1", "method": "GET", "query_string": b""}
USUAL_VARIABLES = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}

_METHODS = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY")
}


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
        # The request target as sent, and its parts as `parse_target` says.
        self.target: bytes = b""
        self.raw_path: bytes = b""
        self.query: bytes = b""
        self.form: int = ORIGIN_FORM
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
            code, fields, end = parse_fields(input, line_feed + 1, max_fields, max_field, max_section)
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
        words = line.split(b" ")
        if len(words) != 3:
            return BAD_REQUEST_LINE
        method, target, version = words
        # RFC 9110 9.1: method = token.
        if TOKEN.fullmatch(method) is None:
            return BAD_METHOD
        match = _VERSION.fullmatch(version)
        if match is None:
            return BAD_VERSION
        if match[1] != b"1":
            return UNSUPPORTED_VERSION
        parts = parse_target(target)
        if parts is None:
            return BAD_TARGET
        self.target = target
        self.form, self.raw_path, self.query, self.authority = parts
        self.method = _METHODS.get(method) or method.decode("ascii")
        self.minor = min(int(match[2]), 1)
        self.http_version = "1.1" if self.minor else "1.0"
        return DONE

    def _read_fields(self) -> None:
        """Set the facts that come from fields."""
        expectations = []
        for name, value in self._fields:
            if name == b"host":
                if self.host is None:
                    self.host = value
                    self.host_valid = valid_host(value, False)
                self.host_count += 1
            elif name == b"content-length":
                if self.content_length_count == 0:
                    self.content_length = content_length(value)
                self.content_length_count += 1
            elif name == b"transfer-encoding":
                self.transfer_encoding_count += 1
                self._read_codings(value)
            elif name == b"connection":
                # RFC 9110 7.6.1: options are case-insensitive; unknown ones only name fields.
                options = members(value)
                self.connection_options |= (
                    (OPTION_CLOSE if b"close" in options else 0)
                    | (OPTION_KEEP_ALIVE if b"keep-alive" in options else 0)
                    | (OPTION_UPGRADE if b"upgrade" in options else 0)
                )
            elif name == b"expect":
                expectations.append(value.lower())
            elif name == b"upgrade":
                self.has_upgrade = True
            elif name == b"te":
                if b"trailers" in members(value):
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
        for coding in members(value):
            if coding:
                self.coding_count += 1
                self.last_is_chunked = coding == b"chunked"
                self.chunked_count += self.last_is_chunked
            if TOKEN.fullmatch(coding) is None:
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
        scope["path"] = decoded(self.raw_path, True)
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
        environ["PATH_INFO"] = decoded(self.raw_path, False)
        if self.query:
            environ["QUERY_STRING"] = self.query.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = self.target.decode("latin-1")
        if self.minor == 0:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        for name, value in self._fields:
            text = value.decode("latin-1")
            key = variable(name)
            if key in environ:
                if name in (b"content-type", b"content-length"):
                    continue
                # RFC 9110 5.3; RFC 9113 8.2.3 for Cookie, whose value is no comma-separated list.
                text = environ[key] + ("; " if name == b"cookie" else ",") + text
            environ[key] = text
        return environ
