"""RequestContent: the content of one request on its way in, decoded and bounded (RFC 9112 6, 7).

It moves bytes from the connection's input to the stream, or nowhere when nobody wants them. It changes no state but
its own: what an error or the end means for the connection is the connection's business.
"""

from gateway.errors import RemoteProtocolError

from ..http.codes import FRAMING_CHUNKED, FRAMING_LENGTH
from ..http.fields import head_error
from ..http.limits import Limits
from ..http.stream import HTTPStream
from ..kernels.buffer import InputBuffer
from ..kernels.chunked import (
    BAD_CHUNK_EXTENSION,
    BAD_CHUNK_SIZE,
    BAD_CHUNK_TERMINATOR,
    CHUNK_DATA,
    CHUNK_END,
    CHUNK_LINE_TOO_LONG,
    CHUNK_NEED_DATA,
    CHUNK_SIZE_OVERFLOW,
    ChunkedDecoder,
)
from ..kernels.fieldlines import TrailerSection
from ..kernels.grammar import DONE, NEED_DATA

CHUNK_ERRORS = {
    BAD_CHUNK_SIZE: "malformed chunk size",
    CHUNK_SIZE_OVERFLOW: "chunk size too large",
    CHUNK_LINE_TOO_LONG: "chunk line too long",
    BAD_CHUNK_EXTENSION: "malformed chunk extension",
    BAD_CHUNK_TERMINATOR: "chunk does not end in CRLF",
}


class RequestContent:
    """What is still to come of a request's content.

    `most` is the size it may have in bytes, 0 for any; for the connection to change. `remaining` is the number of bytes
    to come, -1 while that is not known; `received` counts those that came. `receive_time` is for the connection: the
    seconds it was ready to receive.
    """

    __slots__ = ("decoder", "framing", "limits", "most", "receive_time", "received", "remaining", "trailers")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.framing = FRAMING_LENGTH
        self.most = limits.request_body
        self.remaining = 0
        self.received = 0
        self.receive_time = 0.0
        self.decoder = None
        self.trailers = None

    def expect(self, framing: int, length: int) -> int:
        """Start with a new request. `length` is its Content-Length, below 0 for none. Returns 0."""
        self.framing = framing
        self.received = 0
        self.receive_time = 0.0
        if framing == FRAMING_CHUNKED:
            self.remaining = -1
            self.decoder = ChunkedDecoder()
        else:
            self.remaining = length if length > 0 else 0
        return 0

    def complete(self) -> bool:
        """Whether all of it has arrived."""
        return self.remaining == 0

    def full(self, stream: HTTPStream) -> bool:
        """Whether the application holds, or has been left, as much content as it may."""
        limit = self.limits.body_buffer
        return limit > 0 and stream.unconsumed >= limit

    def read(self, source: InputBuffer, stream: HTTPStream) -> int:
        """Move what there is from `source` to `stream`, or away if that is None. Returns 0.

        Raises RemoteProtocolError when the framing is broken or the content larger than it may be.
        """
        if self.framing == FRAMING_CHUNKED:
            return self.read_chunks(source, stream)
        size = source.available()
        if size > self.remaining:
            size = self.remaining
        if size:
            self.remaining -= size
            self.received += size
            if stream is None:
                source.discard(size)
            else:
                stream.feed_body(source.take(size))
        return 0

    def read_chunks(self, source: InputBuffer, stream: HTTPStream) -> int:
        """The same for the chunked transfer coding (RFC 9112 7.1). Returns 0."""
        limits = self.limits
        decoder = self.decoder
        while self.trailers is None:
            code = decoder.decode(source, limits.chunk_line)
            if limits.chunk_excess and decoder.excess > limits.chunk_excess:
                raise RemoteProtocolError("chunk framing too large", 400)
            if code == CHUNK_DATA:
                data = decoder.data
                self.received += len(data)
                if self.most and self.received > self.most:
                    # RFC 9110 15.5.14
                    raise RemoteProtocolError("content too large", 413)
                if stream is not None:
                    stream.feed_body(data)
                    if stream.response_complete or stream.disconnected or self.full(stream):
                        return 0
            elif code == CHUNK_END:
                self.trailers = TrailerSection()
            elif code == CHUNK_NEED_DATA:
                return 0
            else:
                raise RemoteProtocolError(CHUNK_ERRORS[code], 400)
        # RFC 9112 7.1.2: the trailer section is checked like a head, and then dropped: neither WSGI nor ASGI has a
        # place for it, and merging it into the head is what RFC 9110 6.5.1 warns of.
        code = self.trailers.parse(
            source, limits.request_fields, limits.request_field_size, limits.request_fields_size
        )
        if code == DONE:
            self.trailers = None
            self.decoder = None
            self.remaining = 0
        elif code != NEED_DATA:
            raise head_error(code)
        return 0
