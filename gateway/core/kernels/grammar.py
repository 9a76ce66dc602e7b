"""What the grammar of HTTP/1.1 uses throughout: tokens, numbers and lists (RFC 9110 5.6); and what can be wrong.

The rules of one thing stand with it: `host`, `target`, `names`, `fieldlines`, and the request line in `head`. The
result codes are here because a head and a trailer section have them in common. Compiled, `grammar.pxd` has a table of
the properties of every byte, in place of the regular expressions.
"""

import re

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

MAX_CONTENT_LENGTH = 2**63 - 1

# RFC 9110 5.6.2: token = 1*tchar.
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list (RFC 9110 5.6.1), empty ones included, in lower case."""
    return [member.strip(b" \t").lower() for member in value.split(b",")]


def content_length(value: bytes) -> int:
    """RFC 9110 8.6: Content-Length = 1*DIGIT. -2 if it is not, or is more than any content can have."""
    if re.fullmatch(rb"[0-9]+", value) is None:
        return -2
    digits = value.lstrip(b"0")
    if len(digits) > 19:
        return -2
    length = int(digits or b"0")
    return length if length <= MAX_CONTENT_LENGTH else -2
