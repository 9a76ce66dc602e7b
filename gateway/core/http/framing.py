"""How content is delimited: the only place that decides, for requests and for responses.

Rule 1: what could be read two ways is refused. A request whose length two parties can disagree on is how one
client's bytes become another client's request (RFC 9112 11.2).
Rule 2: kernels count and recognise; the meaning of their counts is stated here.
"""

from gateway.errors import LocalProtocolError, RemoteProtocolError

from ..kernels.fields import FieldBlock
from ..kernels.head import RequestHead
from .codes import FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE


def request_framing(head: RequestHead) -> int:
    """FRAMING_CHUNKED, or FRAMING_LENGTH with `head.content_length` (-1: no content).

    Raises RemoteProtocolError for every head whose length is in doubt.
    """
    if head.transfer_encoding_count:
        # RFC 9112 6.1: a message with both "ought to be handled as an error".
        if head.content_length_count:
            raise RemoteProtocolError("Content-Length with Transfer-Encoding", 400)
        # RFC 9112 6.1: Transfer-Encoding in HTTP/1.0 "MUST be treated as if the framing is faulty".
        if head.minor == 0:
            raise RemoteProtocolError("Transfer-Encoding in HTTP/1.0", 400)
        if head.coding_malformed or head.coding_count == 0:
            raise RemoteProtocolError("malformed Transfer-Encoding", 400)
        # RFC 9112 7: "A sender MUST NOT apply the chunked transfer coding more than once".
        if head.chunked_count > 1:
            raise RemoteProtocolError("chunked more than once", 400)
        # RFC 9112 6.3, rule 4: chunked in a request, but not final: the length can't be told.
        if head.chunked_count and not head.last_is_chunked:
            raise RemoteProtocolError("chunked is not the final transfer coding", 400)
        # RFC 9112 6.1: a transfer coding the server does not understand is answered with 501.
        if head.coding_count > 1 or not head.last_is_chunked:
            raise RemoteProtocolError("unknown transfer coding", 501)
        return FRAMING_CHUNKED
    if head.content_length_count:
        # RFC 9110 8.6 allows merging equal values; two parties that merge differently is what smuggling needs.
        if head.content_length_count > 1:
            raise RemoteProtocolError("repeated Content-Length", 400)
        if head.content_length < 0:
            raise RemoteProtocolError("malformed Content-Length", 400)
    return FRAMING_LENGTH


def response_length(block: FieldBlock) -> int:
    """The Content-Length that the application has set, or -1. Raises LocalProtocolError when it is not one."""
    if block.content_length_count == 0:
        return -1
    if block.content_length_count > 1 or block.content_length < 0:
        raise LocalProtocolError("the application's Content-Length is repeated or not a number")
    return block.content_length


def lacks_content(is_head: bool, status: int) -> bool:
    """Whether a final response has no content, whatever its fields say (RFC 9110 6.4.1, 15.3.6)."""
    return is_head or status == 204 or status == 205 or status == 304


def response_framing(no_content: bool, minor: int, length: int, complete: bool) -> int:
    """How a response is delimited (RFC 9112 6.3).

    `no_content` is what `lacks_content` says, `minor` the client's HTTP/1 minor version, `length` the Content-Length
    or -1; `complete` tells whether all content is at hand, so that its length can be declared.
    """
    if no_content:
        return FRAMING_NONE
    if length >= 0 or complete:
        return FRAMING_LENGTH
    # RFC 9112 7.1: a client of HTTP/1.0 does not know chunked.
    if minor == 0:
        return FRAMING_CLOSE
    return FRAMING_CHUNKED
