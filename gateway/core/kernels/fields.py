"""Response fields: what the application gives, validated and encoded as field lines.

This is the specification; `gateway/_speedups/kernels/fields.pyx` does the same in one pass over one buffer.
The kernel says what it has seen and whether the bytes are safe to send; which fields an application may set,
and what follows from them, is decided in `core/http`.

Nothing that could end a line early leaves here: one CR or LF let through would let whoever controls a field's
value write fields, or a whole response, of his own (RFC 9110 5.5).
"""

import re
from typing import Any

from .head import OPTION_CLOSE, OPTION_KEEP_ALIVE, OPTION_UPGRADE

# Result codes of `FieldBlock.encode`.
FIELDS_OK = 0
FIELD_NOT_PAIR = 1
FIELD_BAD_TYPE = 2
FIELD_BAD_NAME = 3
FIELD_BAD_VALUE = 4

# Names that mean something to the server; bits of `FieldBlock.seen` and of the argument `drop`.
F_CONTENT_LENGTH = 1
F_TRANSFER_ENCODING = 2
F_CONNECTION = 4
F_DATE = 8
F_SERVER = 16
F_KEEP_ALIVE = 32
F_UPGRADE = 64
F_TRAILER = 128
F_CONTENT_TYPE = 256
F_PROXY_CONNECTION = 512
F_TE = 1024
F_HOST = 2048

_KNOWN = {
    b"content-length": F_CONTENT_LENGTH,
    b"transfer-encoding": F_TRANSFER_ENCODING,
    b"connection": F_CONNECTION,
    b"date": F_DATE,
    b"server": F_SERVER,
    b"keep-alive": F_KEEP_ALIVE,
    b"upgrade": F_UPGRADE,
    b"trailer": F_TRAILER,
    b"content-type": F_CONTENT_TYPE,
    b"proxy-connection": F_PROXY_CONNECTION,
    b"te": F_TE,
    b"host": F_HOST,
}

# Connection options that are acted on (RFC 9110 7.6.1).
_OPTIONS = {b"close": OPTION_CLOSE, b"keep-alive": OPTION_KEEP_ALIVE, b"upgrade": OPTION_UPGRADE}

# RFC 9110 5.1 and 5.6.2: field-name = token = 1*tchar.
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# RFC 9110 5.5: field-content is VCHAR, obs-text, SP and HTAB. Every other control character is refused, not
# only the CR, LF and NUL that the section calls dangerous.
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

# RFC 9110 8.6: Content-Length = 1*DIGIT.
_DIGITS = re.compile(rb"[0-9]+")

_MAX_CONTENT_LENGTH = 2**63 - 1


class FieldBlock:
    """The fields of one response head, informational response or trailer section.

    Facts, after `encode` has returned FIELDS_OK:

    - `data`: the encoded field lines, each with its CRLF; b"" for none;
    - `count`: how many lines `data` has;
    - `seen`: F_ bits of the known names that occurred, those left out of `data` included;
    - `content_length`: of the first Content-Length field; -1 without one, -2 if it is no number below 2**63;
    - `content_length_count`: how many Content-Length fields there were;
    - `connection_options`: OPTION_ bits of all Connection fields.

    After any other result `error_name` is the name of the field at fault if that is a token, else b"", and
    `data` is b"". (A name that is no token may be anything, and is not fit for a log.)
    """

    __slots__ = (
        "connection_options",
        "content_length",
        "content_length_count",
        "count",
        "data",
        "error_name",
        "seen",
    )

    def __init__(self) -> None:
        self._reset()

    def encode(self, fields: Any, drop: int) -> int:
        """Validate `fields` and encode them, less the known names in `drop` (F_ bits).

        `fields` is any iterable of pairs, a pair any iterable of two, a name or value either bytes-like or a
        str of latin-1 characters. Returns FIELDS_OK, or the code of the first thing wrong. What iterating
        raises is passed on.
        """
        self._reset()
        try:
            iterator = iter(fields)
        except TypeError:
            return FIELD_NOT_PAIR
        lines: list[bytes] = []
        for item in iterator:
            code = self._encode_field(item, drop, lines)
            if code != FIELDS_OK:
                return code
        self.data = b"".join(lines)
        self.count = len(lines)
        return FIELDS_OK

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields in `data` as (name, value) pairs, names in lower case (RFC 9113 8.2 wants them so)."""
        pairs = []
        for line in self.data.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b": ")
            pairs.append((name.lower(), value))
        return pairs

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field called `name` (lower case) in `data`, or None."""
        for field, value in self.fields:
            if field == name:
                return value
        return None

    def _reset(self) -> None:
        self.data = b""
        self.error_name = b""
        self.count = 0
        self.seen = 0
        self.content_length = -1
        self.content_length_count = 0
        self.connection_options = 0

    def _encode_field(self, item: Any, drop: int, lines: list[bytes]) -> int:
        # A string has items too, but is no pair: ["ab"] is a mistake, and so is a dict given for its items.
        if isinstance(item, (str, bytes, bytearray, memoryview)):
            return FIELD_NOT_PAIR
        try:
            pair = tuple(item)
        except TypeError:
            return FIELD_NOT_PAIR
        if len(pair) != 2:
            return FIELD_NOT_PAIR

        name = _to_bytes(pair[0])
        if isinstance(name, int):
            return FIELD_BAD_NAME if name == FIELD_BAD_VALUE else name
        if _TOKEN.fullmatch(name) is None:
            return FIELD_BAD_NAME
        value = _to_bytes(pair[1])
        if isinstance(value, int):
            self.error_name = name
            return value
        # RFC 9112 5.1: whitespace around a value is no part of it.
        value = value.strip(b" \t")
        if _FIELD_VALUE.fullmatch(value) is None:
            self.error_name = name
            return FIELD_BAD_VALUE

        known = _KNOWN.get(name.lower(), 0)
        self.seen |= known
        if known == F_CONTENT_LENGTH:
            if self.content_length_count == 0:
                self.content_length = _parse_length(value)
            self.content_length_count += 1
        elif known == F_CONNECTION:
            # RFC 9110 7.6.1: Connection = #connection-option, case-insensitive.
            for member in value.lower().split(b","):
                self.connection_options |= _OPTIONS.get(member.strip(b" \t"), 0)
        if not known & drop:
            lines.append(name + b": " + value + b"\r\n")
        return FIELDS_OK


def encode_head(status_line: bytes, prefix: bytes, data: bytes, suffix: bytes, body: bytes | None) -> bytes:
    """One bytes object of a whole response head, and of the content that leaves with it.

    `status_line`, and the field lines of `prefix` (the server's), `data` (the application's) and `suffix`
    (the framing's), all end in CRLF. The empty line is added here (RFC 9112 2.1), then `body` if there is
    one.
    """
    return b"".join((status_line, prefix, data, suffix, b"\r\n", body or b""))


def _to_bytes(value: object) -> bytes | int:
    """`value` as bytes, or the code of what is wrong with it."""
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        # The base class's own method: a subclass must not show one thing to the check, another to the wire.
        try:
            return str.encode(value, "latin-1")
        except UnicodeEncodeError:
            return FIELD_BAD_VALUE
    if isinstance(value, (bytes, bytearray, memoryview)):
        return memoryview(value).tobytes()
    return FIELD_BAD_TYPE


def _parse_length(value: bytes) -> int:
    """Content-Length as a number; -2 when it is not 1*DIGIT or too large (RFC 9110 8.6)."""
    if _DIGITS.fullmatch(value) is None:
        return -2
    # Python refuses to convert more than some thousand digits; leading zeros are allowed.
    digits = value.lstrip(b"0")
    if len(digits) > 19:
        return -2
    length = int(digits or b"0")
    return length if length <= _MAX_CONTENT_LENGTH else -2
