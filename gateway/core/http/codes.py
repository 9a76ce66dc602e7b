"""Numbers that the modules for HTTP tell one another."""

from ..kernels.fields import (
    F_CONNECTION,
    F_CONTENT_LENGTH,
    F_HOST,
    F_KEEP_ALIVE,
    F_PROXY_CONNECTION,
    F_TE,
    F_TRAILER,
    F_TRANSFER_ENCODING,
    F_UPGRADE,
)

# How content is delimited.
# No content, or content of a known length (RFC 9112 6.2).
FRAMING_LENGTH = 0
# The chunked transfer coding (RFC 9112 7.1).
FRAMING_CHUNKED = 1
# Content ends with the connection: only for responses to HTTP/1.0 (RFC 9112 6.3, rule 8).
FRAMING_CLOSE = 2
# A response that has no content, whatever its fields say: to HEAD, 1xx, 204, 304 (RFC 9112 6.3, rule 1).
FRAMING_NONE = 3

# Known response fields (F_ bits) that are left out of what the application gives.
# Fields about the connection are ours to write: PEP 3333 "Other HTTP Features", RFC 9110 7.6.1, 7.8.
DROP_RESPONSE = F_CONNECTION | F_KEEP_ALIVE | F_PROXY_CONNECTION | F_TRANSFER_ENCODING | F_UPGRADE | F_TE
# RFC 9110 8.6: and a response that switches protocols has no length.
DROP_SWITCHING = DROP_RESPONSE | F_CONTENT_LENGTH
# RFC 9110 6.5.1: framing, routing and the like must not stand in a trailer section.
DROP_TRAILERS = DROP_RESPONSE | F_CONTENT_LENGTH | F_HOST | F_TRAILER

# Close codes of WebSocket (RFC 6455 7.4.1; 1012 in IANA's registry).
NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
NO_STATUS = 1005
ABNORMAL_CLOSURE = 1006
INVALID_DATA = 1007
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
