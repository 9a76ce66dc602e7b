"""What an application may say to `start_response` (PEP 3333), and what is refused.

Refused at the call, so that the traceback points at the application's line. No message contains a value: it
may be a secret, and is where an attacker's line breaks would be.
"""

from gateway.errors import LocalProtocolError

from ..http.fields import response_block, trailer_block
from ..http.status import status_line
from ..kernels.fields import FieldBlock

# Status strings with the phrase that the encoder has ready status lines for: "HTTP/1.1 200 OK" without its version.
STATUSES = {status_line(code, b"")[9:-2].decode("ascii"): code for code in range(200, 600)}


def status_code(status: object) -> int:
    """The code of a status string "DDD reason". Raises TypeError or LocalProtocolError."""
    if not isinstance(status, str):
        raise TypeError(f"start_response() wants the status as a str, not {type(status).__name__}")
    code = STATUSES.get(status, 0)
    if code:
        return code
    digits = status[:3]
    if len(status) < 4 or status[3] != " " or not (digits.isascii() and digits.isdigit()):
        raise LocalProtocolError("start_response() wants a status like '200 OK': three digits, a space, a reason")
    code = int(digits)
    # RFC 9110 15.2: 1xx are interim responses; this is the final one. RFC 9110 15: codes end at 599, but
    # clients have to accept others, by their first digit.
    if code < 200:
        raise LocalProtocolError("the status of a final response must not be below 200")
    return code


def reason_phrase(status: str) -> bytes:
    """The reason of a status string; empty where it is the registered one. Raises LocalProtocolError."""
    if status in STATUSES:
        return b""
    reason = status[4:]
    # RFC 9112 4: reason-phrase = 1*( HTAB / SP / VCHAR / obs-text ).
    for character in reason:
        if (character < " " and character != "\t") or character == "\x7f" or character > "\xff":
            raise LocalProtocolError("the reason phrase has a character in it that HTTP does not allow")
    return reason.encode("latin-1")


def check_headers(headers: object) -> list:
    """Require a list of (str, str) tuples, as PEP 3333 says. Raises TypeError. Returns it."""
    if not isinstance(headers, list):
        raise TypeError(f"response headers must be a list, not {type(headers).__name__}")
    fields: list = headers
    for item in fields:
        if not isinstance(item, tuple):
            raise TypeError(f"a response header must be a tuple, not {type(item).__name__}")
        pair: tuple = item
        if len(pair) != 2:
            raise TypeError(f"a response header must have a name and a value, not {len(pair)} items")
        if not isinstance(pair[0], str) or not isinstance(pair[1], str):
            raise TypeError(
                "the name and the value of a response header must be str, not "
                f"{type(pair[0]).__name__} and {type(pair[1]).__name__}"
            )
    return fields


def header_block(headers: object) -> FieldBlock:
    """The encoded fields of a response head, final or interim. Raises TypeError or LocalProtocolError.

    Fields about the connection are left out: PEP 3333, "Other HTTP Features", forbids them to the
    application, but applications moved here from a plain CGI set them all the same.
    """
    return response_block(check_headers(headers))


def trailers_block(headers: object) -> FieldBlock:
    """The encoded fields of a trailer section. Raises TypeError or LocalProtocolError."""
    return trailer_block(check_headers(headers))
