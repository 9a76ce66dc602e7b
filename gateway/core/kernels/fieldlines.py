"""Field lines: the section between a request line and the empty line, and the same behind the last chunk.

One line is `name ":" value` and ends in CRLF (RFC 9112 5); nothing is unfolded, repaired or guessed. Lines are examined
in order and the first error counts. Of a line that has not ended yet only the length is judged.
"""

import re

from .buffer import InputBuffer
from .grammar import (
    BAD_FIELD_NAME,
    BAD_FIELD_VALUE,
    BARE_LF,
    DONE,
    FIELD_TOO_LARGE,
    NEED_DATA,
    NO_COLON,
    OBSOLETE_FOLDING,
    SPACE_BEFORE_COLON,
    TOKEN,
    TOO_MANY_FIELDS,
)

# RFC 9110 5.5: field-content is VCHAR, obs-text, SP and HTAB; every other control character is refused, not only the
# CR, LF and NUL that the section calls dangerous.
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


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
    if TOKEN.fullmatch(name) is None:
        return BAD_FIELD_NAME, b"", b""
    # RFC 9112 5.1: OWS around the value is no part of it.
    value = value.strip(b" \t")
    if _FIELD_VALUE.fullmatch(value) is None:
        return BAD_FIELD_VALUE, b"", b""
    return DONE, name.lower(), value


def parse_fields(
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


class TrailerSection:
    """The fields after the last chunk (RFC 9112 7.1.2), by the rules of a head."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []

    def parse(self, input: InputBuffer, max_fields: int, max_field: int, max_section: int) -> int:
        """Read a trailer section with its final empty line from the front of `input`, and consume it if complete.

        Limits and results are those of `parse_fields`.
        """
        code, self._fields, end = parse_fields(input, 0, max_fields, max_field, max_section)
        if code == DONE:
            input.discard(end)
        return code

    def fields(self) -> list[tuple[bytes, bytes]]:
        """All fields in order, names in lower case."""
        return self._fields
