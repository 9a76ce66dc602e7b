"""ResponseOutput: responses in their framing, on their way out (RFC 9112 6, 7)."""

from ..http.codes import DROP_RESPONSE, FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE
from ..http.fields import encode_fields
from ..http.framing import response_framing
from ..http.output import Output, total
from ..http.service import Service
from ..http.status import status_line
from ..http.stream import HTTPStream
from ..kernels.base import Transport
from ..kernels.chunked import LAST_CHUNK, chunk_head, encode_chunk
from ..kernels.fields import F_CONTENT_LENGTH, F_DATE, F_SERVER, FieldBlock, encode_head
from ..kernels.head import OPTION_CLOSE

# Content up to this size is copied behind its head or into its chunk, so that it leaves in one write; above it the
# copy costs more than a second element of a gathered write.
JOIN_SIZE = 65536


class ResponseOutput(Output):
    """One connection's output.

    `framing` is that of the current response. `file_active` tells that the transport is sending a file, during which
    nothing else can be sent. `left` is what a thread has sent in part: the parts, of which the first `left_from` bytes
    are out.
    """

    __slots__ = (
        "closes",
        "file_active",
        "file_size",
        "framing",
        "joined",
        "left",
        "left_from",
    )

    def __init__(self, transport: Transport) -> None:
        self.assign(transport)
        self.framing = FRAMING_LENGTH
        self.closes = False
        self.joined = False
        self.file_active = False
        self.file_size = 0
        self.left: list | None = None
        self.left_from = 0

    def begin(
        self, stream: HTTPStream, service: Service, data: bytes, complete: bool, file_size: int, close: bool
    ) -> bool:
        """Send the head, with `data` as the first part of the content.

        `complete`: the response ends with `data`. `file_size`: bytes of a file that is all of the content, or -1.
        `close`: the connection ends with this response. Returns whether it does, for this may have been decided here.
        """
        if len(data) <= JOIN_SIZE:
            text = self.compose(stream, service, data, complete, file_size, close)
            stream.head_sent = True
            if not complete:
                self.write(text)
            else:
                # Nothing follows that would be late with it, as the parts of a stream would.
                self.written += len(text)
                self.pending = True
                self.transport.write_soon(text)
            return self.closes
        text = self.encode(stream, service, data, complete, file_size, close)
        stream.head_sent = True
        if self.joined:
            self.write(text)
        else:
            self.frame(text, data, False)
        return self.closes

    def compose(
        self, stream: HTTPStream, service: Service, data: bytes, complete: bool, file_size: int, close: bool
    ) -> bytes:
        """The head and `data`, which is not large, as they go over the wire; see `begin`."""
        text = self.encode(stream, service, data, complete, file_size, close)
        return text if self.joined else text + encode_chunk(data)

    def framed(self, data: bytes, last: bool) -> bytes:
        """A part of the content behind the head, not large, as it goes over the wire; `last` ends it."""
        if self.framing == FRAMING_NONE:
            return b""
        if self.framing != FRAMING_CHUNKED:
            return data
        if last:
            return b"".join((encode_chunk(data), LAST_CHUNK)) if data else LAST_CHUNK
        return encode_chunk(data) if data else b""

    def encode(
        self, stream: HTTPStream, service: Service, data: bytes, complete: bool, file_size: int, close: bool
    ) -> bytes:
        """Decide on the framing, and encode the head for it; see `begin`.

        Sets `framing`, `closes` (the connection ends with this response) and `joined`: the result has what there is to
        send of `data`. Changes nothing else.
        """
        head = stream.head
        block = stream.block
        length = stream.response_length
        suffix = b""
        known = (complete and not stream.expect_trailers) or file_size >= 0
        if stream.expect_trailers and head.te_trailers and head.minor == 1 and length >= 0 and not stream.no_content:
            # RFC 9112 6.2: a trailer section needs chunked, which excludes Content-Length.
            block = encode_fields(block.fields, DROP_RESPONSE | F_CONTENT_LENGTH)
            length = -1
        framing = response_framing(stream.no_content, head.minor, length, known)
        self.framing = framing
        if framing == FRAMING_LENGTH:
            if length < 0:
                suffix = b"Content-Length: %d\r\n" % (file_size if file_size >= 0 else len(data))
        elif framing == FRAMING_CHUNKED:
            suffix = b"Transfer-Encoding: chunked\r\n"
        elif framing == FRAMING_CLOSE:
            close = True
        else:
            if (stream.status == 204 or stream.status == 205) and length >= 0:
                # RFC 9110 8.6: no Content-Length in a 204.
                block = encode_fields(block.fields, DROP_RESPONSE | F_CONTENT_LENGTH)
            if stream.status == 205:
                # RFC 9110 15.3.6: here, the client has to be told that there is none.
                suffix = b"Content-Length: 0\r\n"
            elif stream.is_head and length < 0 and data and stream.status != 204 and stream.status != 304:
                # RFC 9110 9.3.2: the fields a GET would have got, as far as they are known.
                suffix = b"Content-Length: %d\r\n" % len(data)
            data = b""
        # RFC 9112 9.6, 9.3: say that the connection ends, or to an HTTP/1.0 client that it stays.
        if close or block.connection_options & OPTION_CLOSE:
            close = True
            suffix += b"Connection: close\r\n"
        elif head.minor == 0:
            suffix += b"Connection: keep-alive\r\n"
        prefix = service.prefix
        if block.seen & (F_DATE | F_SERVER):
            prefix = service.own_fields(block.seen)
        self.closes = close
        line = status_line(stream.status, stream.reason)
        self.joined = len(data) <= JOIN_SIZE and (framing != FRAMING_CHUNKED or not data)
        return encode_head(line, prefix, block.data, suffix, data if self.joined else None)

    def content(self, data: bytes, last: bool) -> int:
        """Send a part of the content behind the head; `last` ends it. Returns 0."""
        if len(data) <= JOIN_SIZE:
            text = self.framed(data, last)
            if text:
                self.write(text)
        elif self.framing != FRAMING_NONE:
            self.frame(b"", data, last)
        return 0

    def frame(self, before: bytes, data: bytes, last: bool) -> int:
        """Write `before`, then `data`, which is large, in the response's framing; `last` ends it. Returns 0."""
        return self.write_parts(self.parts(before, data, last))

    def parts(self, before: bytes, data: bytes, last: bool) -> list:
        """`before`, then `data`, which is large, in the response's framing; `last` ends it."""
        if self.framing != FRAMING_CHUNKED:
            return [before, data]
        return [before + chunk_head(len(data)), data, b"\r\n" + LAST_CHUNK if last else b"\r\n"]

    def send_left(self) -> int:
        """On the loop: go on with what a thread has sent in part. Returns 0."""
        parts = self.left
        if parts is not None:
            self.left = None
            self.written += total(parts) - self.left_from
            self.pending = True
            self.transport.write_rest(parts, self.left_from)
        return 0

    def end(self, trailers: FieldBlock) -> int:
        """End a response that announced trailers, with those of `trailers` if it is not None. Returns 0."""
        if self.framing == FRAMING_CHUNKED:
            if trailers is None:
                self.write(LAST_CHUNK)
            else:
                self.write(b"0\r\n" + trailers.data + b"\r\n")
        return 0

    def file(self, descriptor: int, offset: int, count: int) -> int:
        """Send a part of a file as a part of the content; `file_sent` has to follow. Returns 0."""
        if self.framing == FRAMING_CHUNKED:
            self.write(chunk_head(count))
        self.file_active = True
        self.file_size = count
        self.pending = True
        self.written += count
        self.transport.send_file(descriptor, offset, count)
        return 0

    def file_sent(self, last: bool) -> int:
        """The file is out; `last` ends the response. Returns 0."""
        if self.framing == FRAMING_CHUNKED:
            self.write(b"\r\n0\r\n\r\n" if last else b"\r\n")
        return 0

    def waiting(self) -> bool:
        """Whether the peer has output to take."""
        return self.pending and (self.file_active or self.transport.buffered() > 0)

    def stalled(self, now: float, timeout: float) -> bool:
        """Whether the peer has taken nothing for `timeout` seconds (0: for ever) although there is something."""
        if self.file_active:
            # What is left of the file is not in the transport's queue.
            return self.late(self.transport.file_progress() - self.transport.buffered(), now, timeout)
        return Output.stalled(self, now, timeout)

    def stop(self, stream: HTTPStream) -> int:
        """The transport is gone, or going, with the response of `stream` (or None) incomplete. Returns 0."""
        if self.file_active and stream is not None:
            # What was counted when the file was handed over, less what left.
            stream.body_sent -= self.file_size - self.transport.file_progress()
        self.pending = False
        self.file_active = False
        self.left = None
        return 0
