"""Request targets: which of the four forms it has, and its parts (RFC 9112 3.2).

Nothing is repaired or normalised: a path stays as it was sent, with its dots, double slashes and encoded characters.
"""

import re
from urllib.parse import unquote_to_bytes

from .host import valid_host

# Forms of the request target (RFC 9112 3.2).
ORIGIN_FORM = 0
ABSOLUTE_FORM = 1
AUTHORITY_FORM = 2
ASTERISK_FORM = 3

# RFC 9112 3.2: a target is one visible word. A fragment is never part of it (RFC 9110 7.1), so "#" is refused. The
# other characters that RFC 3986 would have encoded (such as "|") are harmless, and sent by browsers.
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")

# RFC 9112 3.2.2: absolute-form = absolute-URI, of the schemes this server answers for (RFC 9110 4.2).
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)([^?]*)(?:\?(.*))?")

# RFC 3986 2.1: pct-encoded = "%" HEXDIG HEXDIG.
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def parse_target(target: bytes) -> tuple[int, bytes, bytes, bytes | None] | None:
    """Split a request target: form, path without query, query without "?", and authority. None if it is no target.

    The path of an absolute-form without one is "/" (RFC 9110 4.2.3), of an asterisk-form "*", of an authority-form
    empty. The authority is host[:port] of an absolute- or authority-form, else None.
    """
    if _TARGET.fullmatch(target) is None:
        return None
    # RFC 9112 3.2.4: asterisk-form.
    if target == b"*":
        return ASTERISK_FORM, target, b"", None
    # RFC 9112 3.2.1: origin-form = absolute-path [ "?" query ].
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
        return (ORIGIN_FORM, path, query, None) if _BAD_PERCENT.search(path) is None else None
    # RFC 9112 3.2.2: absolute-form. RFC 9110 4.2.4: userinfo, which no host has, is treated as an error.
    match = _ABSOLUTE.fullmatch(target)
    if match is not None:
        authority, path, query = match[1], match[2] or b"/", match[3] or b""
        if not valid_host(authority, False) or _BAD_PERCENT.search(path) is not None:
            return None
        return ABSOLUTE_FORM, path, query, authority
    # RFC 9112 3.2.3: authority-form = uri-host ":" port.
    return (AUTHORITY_FORM, b"", b"", target) if valid_host(target, True) else None


def decoded(path: bytes, utf8: bool) -> str:
    """The percent-decoded path (RFC 3986 2.1), read as latin-1 or as UTF-8: what is no UTF-8 becomes U+FFFD."""
    return unquote_to_bytes(path).decode(*(("utf-8", "replace") if utf8 else ("latin-1",)))
