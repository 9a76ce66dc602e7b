"""Field policy, for every version of HTTP: what a request's fields must be, what a response's may be.

Kernels report what they found; here stands what follows from it, with the section that says so.
"""

from gateway.errors import LocalProtocolError, RemoteProtocolError

from ..kernels.fields import FIELD_BAD_NAME, FIELD_BAD_TYPE, FIELD_BAD_VALUE, FIELDS_OK, FieldBlock
from ..kernels.grammar import (
    BAD_FIELD_NAME,
    BAD_FIELD_VALUE,
    BAD_METHOD,
    BAD_REQUEST_LINE,
    BAD_TARGET,
    BAD_VERSION,
    BARE_LF,
    FIELD_TOO_LARGE,
    NO_COLON,
    OBSOLETE_FOLDING,
    REQUEST_LINE_TOO_LONG,
    SPACE_BEFORE_COLON,
    TOO_MANY_FIELDS,
    UNSUPPORTED_VERSION,
)
from ..kernels.head import EXPECT_OTHER, RequestHead
from ..kernels.target import ABSOLUTE_FORM, ASTERISK_FORM, AUTHORITY_FORM
from .codes import DROP_RESPONSE, DROP_TRAILERS
from .service import HEADER_MAP_DROP, HEADER_MAP_REFUSE

# What answers each error code of the head kernel: the status, and the words for the client and the log.
HEAD_ERRORS = {
    BAD_REQUEST_LINE: (400, "malformed request line"),  # RFC 9112 3
    BAD_METHOD: (400, "malformed method"),  # RFC 9110 9.1: a token
    BAD_TARGET: (400, "malformed request target"),  # RFC 9112 3.2
    BAD_VERSION: (400, "malformed HTTP version"),  # RFC 9112 2.3
    UNSUPPORTED_VERSION: (505, "only HTTP/1.0 and HTTP/1.1 are spoken here"),  # RFC 9110 15.6.6
    REQUEST_LINE_TOO_LONG: (414, "request line too long"),  # RFC 9112 3
    BARE_LF: (400, "line does not end in CRLF"),  # RFC 9112 2.2
    OBSOLETE_FOLDING: (400, "folded field line"),  # RFC 9112 5.2
    NO_COLON: (400, "field line without a colon"),  # RFC 9112 5
    SPACE_BEFORE_COLON: (400, "space between field name and colon"),  # RFC 9112 5.1
    BAD_FIELD_NAME: (400, "malformed field name"),  # RFC 9110 5.1
    BAD_FIELD_VALUE: (400, "control character in a field value"),  # RFC 9110 5.5
    FIELD_TOO_LARGE: (431, "fields too large"),  # RFC 6585 5
    TOO_MANY_FIELDS: (431, "too many fields"),
}

FIELD_ERRORS = {
    FIELD_BAD_TYPE: "a response field's name and value must be bytes in ASGI, str in WSGI",
    FIELD_BAD_NAME: "a response field's name is not a token",
    FIELD_BAD_VALUE: "a response field's value has a control character in it",
}


def head_error(code: int) -> RemoteProtocolError:
    """The error that an error code of the head kernel stands for."""
    status, message = HEAD_ERRORS[code]
    return RemoteProtocolError(message, status)


def check_request(head: RequestHead, header_map: int) -> int:
    """Judge a request's fields. Raises RemoteProtocolError with the status that answers it. Returns 0."""
    # RFC 9112 3.2.3: the authority form is only for CONNECT; this is no proxy (RFC 9110 9.3.6).
    if head.method == "CONNECT":
        raise RemoteProtocolError("CONNECT is not implemented", 501)
    if head.form == AUTHORITY_FORM:
        raise RemoteProtocolError("malformed request target", 400)
    # RFC 9112 3.2.4: the asterisk form is only for OPTIONS.
    if head.form == ASTERISK_FORM and head.method != "OPTIONS":
        raise RemoteProtocolError("malformed request target", 400)
    # RFC 9112 3.2: no Host in HTTP/1.1, more than one, or an invalid one is answered with 400.
    if head.host_count != 1:
        if head.host_count > 1:
            raise RemoteProtocolError("repeated Host", 400)
        if head.minor:
            raise RemoteProtocolError("missing Host", 400)
    elif not head.host_valid:
        raise RemoteProtocolError("malformed Host", 400)
    # RFC 9112 3.2.2: the target's authority replaces whatever Host says.
    if head.form == ABSOLUTE_FORM:
        head.set_host(head.authority)
    # RFC 9110 10.1.1
    if head.expect == EXPECT_OTHER:
        raise RemoteProtocolError("unknown expectation", 417)
    if head.underscore_count:
        if header_map == HEADER_MAP_REFUSE:
            raise RemoteProtocolError("underscore in a field name", 400)
        if header_map == HEADER_MAP_DROP:
            head.drop_underscored()
    return 0


def encode_fields(fields: object, drop: int) -> FieldBlock:
    """Validate and encode what the application gave as response fields, less the known names in `drop` (F_ bits).

    Raises LocalProtocolError, TypeError or ValueError; the message never holds a field's value, which may be a
    secret, and is where an attacker's line breaks would be (RFC 9110 5.5).
    """
    block = FieldBlock.__new__(FieldBlock)
    code = block.encode(fields, drop)
    if code != FIELDS_OK:
        name = block.error_name.decode("latin-1")
        message = FIELD_ERRORS.get(code, "response fields must be (name, value) pairs")
        raise LocalProtocolError(f"{message}: {name}" if name else message)
    return block


def response_block(fields: object) -> FieldBlock:
    """The fields of a response head, final or informational. Raises as `encode_fields`."""
    return encode_fields(fields, DROP_RESPONSE)


def trailer_block(fields: object) -> FieldBlock:
    """The fields of a trailer section. Raises as `encode_fields`."""
    return encode_fields(fields, DROP_TRAILERS)
