"""HTTP1Connection: bytes in, streams out, bytes out (RFC 9112).

Theory of operation. `feed` appends to the input buffer and runs `run`, the one loop that consumes it: a head opens
a stream, content goes to that stream, and when both halves of the exchange are complete the next head is read. The
application may complete the response inside `Handler.open`, in a later turn of the loop, or never; so `finish` only
changes the state, and whoever is in `run` goes on, or a later turn is asked for. The application's code never runs
inside another request's `send`.

Rule 1: one exchange at a time; what a client pipelines waits in the input buffer, which has a bound.
Rule 2: every state has a deadline, kept as a stamp and checked by `tick`; output has one of its own, which moves
only when the peer takes bytes.
Rule 3: nothing raises out of the methods that the transport calls.
"""

from time import monotonic

from gateway.errors import LocalProtocolError, RemoteProtocolError

from ..http.fields import DROP_RESPONSE, check_request, encode_fields, head_error, response_block
from ..http.framing import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    request_framing,
    response_framing,
)
from ..http.service import Service
from ..http.status import error_text, status_line
from ..http.stream import HTTPStream
from ..kernels.base import Connection, Stream, Transport
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
    LAST_CHUNK,
    ChunkedDecoder,
    chunk_head,
    encode_chunk,
)
from ..kernels.fields import F_CONTENT_LENGTH, F_DATE, F_SERVER, encode_head
from ..kernels.head import (
    DONE,
    EXPECT_CONTINUE,
    NEED_DATA,
    OPTION_CLOSE,
    OPTION_KEEP_ALIVE,
    RequestHead,
    TrailerSection,
)
from .state import CLOSED, DRAIN, EXCHANGE, HEAD, IDLE, LINGER, allowed

# Bytes of an unfinished line that arrive before the head is looked at again.
PARSE_STEP = 1024

# Content up to this size is copied behind its head or into its chunk, so that it leaves in one write; above it the
# copy costs more than a second element of a gathered write.
JOIN_SIZE = 65536

CHUNK_ERRORS = {
    BAD_CHUNK_SIZE: "malformed chunk size",
    CHUNK_SIZE_OVERFLOW: "chunk size too large",
    CHUNK_LINE_TOO_LONG: "chunk line too long",
    BAD_CHUNK_EXTENSION: "malformed chunk extension",
    BAD_CHUNK_TERMINATOR: "chunk does not end in CRLF",
}


class HTTP1Connection(Connection):
    """One client that speaks HTTP/1.0 or HTTP/1.1.

    `client` and `server` are (host, port) tuples, or None on a Unix socket; `scheme` is "http" or "https".
    """

    __slots__ = (
        "acked",
        "clock",
        "client",
        "close_after",
        "deadline",
        "decoder",
        "draining_left",
        "empty_lines",
        "file_active",
        "file_ends",
        "framing",
        "half_close_at",
        "head",
        "input",
        "last_tick",
        "limits",
        "linger_left",
        "parse_at",
        "peer_eof",
        "reading_paused",
        "receive_time",
        "received",
        "remaining",
        "requests",
        "response_framing",
        "running",
        "scheduled",
        "scheme",
        "server",
        "service",
        "state",
        "stream",
        "timeouts",
        "trailers",
        "transport",
        "write_deadline",
        "write_pending",
        "writing_paused",
        "written",
    )

    def __init__(
        self, service: Service, transport: Transport, client: object, server: object, scheme: str
    ) -> None:
        self.service = service
        self.limits = service.limits
        self.timeouts = service.timeouts
        self.clock = service.clock
        self.transport = transport
        self.client = client
        self.server = server
        self.scheme = scheme
        self.state = IDLE
        self.input = InputBuffer()
        self.head = None
        self.stream = None
        self.requests = 0
        self.empty_lines = 0
        self.parse_at = 0
        # The request's content: its framing, bytes to come (LENGTH), bytes received, and the time spent receiving.
        self.framing = FRAMING_LENGTH
        self.remaining = 0
        self.received = 0
        self.receive_time = 0.0
        self.decoder = None
        self.trailers = None
        self.draining_left = 0
        # The response's framing, and whether the connection ends with it.
        self.response_framing = FRAMING_LENGTH
        self.close_after = False
        # Monotonic seconds at which the peer must have got further; 0 for never.
        self.deadline = 0.0
        self.last_tick = service.clock.time
        self.half_close_at = 0.0
        self.peer_eof = False
        self.linger_left = 0
        # Output: what was handed to the transport, and how much of it the peer is known to have taken.
        self.written = 0
        self.acked = 0
        self.write_pending = False
        self.write_deadline = 0.0
        self.writing_paused = False
        self.reading_paused = False
        self.file_active = False
        self.file_ends = False
        self.running = False
        self.scheduled = False

    # Called by the transport.

    def opened(self) -> int:
        """The transport is ready. Returns 0."""
        self.service.connections += 1
        self.last_tick = self.clock.time
        self.set_deadline(self.timeouts.head)
        limit = self.limits.connections
        if limit and self.service.connections > limit:
            self.refuse(503, "", None)
        return 0

    def feed(self, data: bytes) -> int:
        """Bytes arrived. Returns 0."""
        if self.state >= LINGER:
            self.discard(len(data))
            return 0
        self.input.feed(data)
        if self.parse_at:
            # Lines are examined when they are complete. A head that comes in tiny pieces is not read again for each.
            if b"\n" not in data and self.input.available() < self.parse_at:
                return 0
            self.parse_at = 0
        if not self.running:
            self.run()
        return 0

    def eof(self) -> int:
        """The peer has closed its sending half. Returns 0."""
        self.peer_eof = True
        if self.state == LINGER or self.state == CLOSED:
            self.close()
        elif self.state == IDLE and self.input.available() == 0:
            self.close()
        elif self.state == EXCHANGE and self.content_complete():
            self.start_half_close()
        elif not self.running:
            self.run()
        return 0

    def lost(self, error: object) -> int:
        """The transport is gone. Returns 0."""
        if self.state != CLOSED:
            self.enter(CLOSED)
        self.service.connections -= 1
        self.deadline = 0.0
        self.write_pending = False
        self.file_active = False
        self.input.clear()
        stream = self.stream
        if stream is not None:
            self.stream = None
            self.leave(stream)
            stream.disconnect()
        return 0

    def pause_writing(self) -> int:
        """The transport's queue is full. Returns 0."""
        self.writing_paused = True
        if self.stream is not None:
            self.stream.writable = False
        return 0

    def resume_writing(self) -> int:
        """The transport's queue has room again. Returns 0."""
        self.writing_paused = False
        stream = self.stream
        if stream is None:
            if self.state <= HEAD and self.input.available():
                self.schedule()
        elif not self.file_active and not stream.disconnected:
            stream.writable = True
            if stream.responder is not None:
                stream.responder.writable()
        return 0

    def file_sent(self, error: object) -> int:
        """The file given to the transport is out, or failed. Returns 0."""
        self.file_active = False
        stream = self.stream
        if stream is None or self.state == CLOSED:
            return 0
        if error is not None:
            self.service.log.error("Sending a file to %s failed: %s", self.peer(), error)
            self.abort_stream(stream)
            return 0
        ends = self.file_ends and not stream.expect_trailers
        if self.response_framing == FRAMING_CHUNKED:
            self.write(b"\r\n0\r\n\r\n" if ends else b"\r\n")
        stream.writable = not self.writing_paused
        if ends:
            stream.response_complete = True
            self.response_done(stream)
        if stream.writable and stream.responder is not None:
            stream.responder.writable()
        return 0

    def resume(self) -> int:
        """A later turn of the loop. Returns 0."""
        self.scheduled = False
        if not self.running and self.state < LINGER:
            self.run()
        return 0

    def tick(self, now: float) -> int:
        """Check every deadline against `now`. Returns 0."""
        elapsed = now - self.last_tick
        self.last_tick = now
        if self.write_pending:
            self.check_output(now)
        if self.state == EXCHANGE or self.state == DRAIN:
            if self.receiving():
                self.check_upload(elapsed)
            if self.half_close_at and now >= self.half_close_at:
                self.half_close_at = 0.0
                stream = self.stream
                if stream is not None:
                    stream.peer_closed = True
                    if stream.responder is not None:
                        stream.responder.peer_closed()
            if self.stream is not None and self.stream.responder is not None:
                self.stream.responder.tick(now)
        if self.deadline and now >= self.deadline:
            self.expire()
        return 0

    def shutdown(self) -> int:
        """End gracefully: an idle connection at once, a busy one with its exchange. Returns 0."""
        self.close_after = True
        if self.state == IDLE and self.input.available() == 0:
            # Not in stages: no response is on its way that the client could lose.
            self.close()
        return 0

    def abort_requests(self) -> int:
        """The grace period is over. Returns 0."""
        stream = self.stream
        if stream is not None and stream.responder is not None:
            stream.responder.cancel()
        self.abort()
        return 0

    # Input.

    def run(self) -> int:
        """Consume input until more is needed, or the application has to act first. Returns 0."""
        self.running = True
        burst = 0
        while True:
            if self.state <= HEAD:
                if self.input.available() == 0:
                    if self.peer_eof:
                        self.close()
                    break
                if self.writing_paused:
                    # A client that sends requests but reads no responses gets no further ones made.
                    break
                if burst == self.limits.pipeline_burst and burst:
                    self.schedule()
                    break
                if not self.read_head():
                    break
                burst += 1
            elif self.state <= DRAIN:
                if self.content_complete() or not self.read_content():
                    break
            else:
                break
        self.running = False
        self.brake()
        return 0

    def content_complete(self) -> bool:
        """Whether the request's content has arrived in full."""
        return self.framing == FRAMING_LENGTH and self.remaining == 0

    def read_head(self) -> bool:
        """Read one head and open its stream. False when there is nothing more to do now."""
        if self.state == IDLE and not self.skip_empty_lines():
            return False
        head = self.head
        if head is None:
            head = RequestHead()
        limits = self.limits
        code = head.parse(
            self.input,
            limits.request_line,
            limits.request_fields,
            limits.request_field_size,
            limits.request_fields_size,
        )
        if code == NEED_DATA:
            self.head = head
            self.parse_at = self.input.available() + PARSE_STEP
            if self.peer_eof:
                # RFC 9112 8: an incomplete head; the peer may still read.
                self.refuse(400, "incomplete request", None)
                return False
            if self.state == IDLE:
                self.enter(HEAD)
                # An idle connection's first byte starts the clock; a new connection's opening has.
                if self.requests:
                    self.set_deadline(self.timeouts.head)
            return False
        self.head = None
        try:
            if code != DONE:
                raise head_error(code)
            check_request(head, self.service.header_map)
            self.framing = request_framing(head)
        except RemoteProtocolError as error:
            self.refuse(error.status, str(error), head if code == DONE else None)
            return False
        return self.open_stream(head)

    def skip_empty_lines(self) -> bool:
        """Skip CRLF before a request line (RFC 9112 2.2), up to a bound. False when more input is needed."""
        while True:
            kind = self.input.starts_with_line_end()
            if kind == 0:
                return True
            if kind == 1:
                self.input.discard(2)
                self.empty_lines += 1
                if self.empty_lines > self.limits.empty_lines:
                    self.refuse(400, "too many empty lines", None)
                    return False
                continue
            if self.input.available() == 0:
                return False
            # A lone CR: the rest of the line end may still come, unless the peer has closed.
            if self.peer_eof:
                self.close()
            return False

    def open_stream(self, head: RequestHead) -> bool:
        """Start the exchange for an accepted head. False when there is nothing more to do now."""
        service = self.service
        limits = self.limits
        self.enter(EXCHANGE)
        self.empty_lines = 0
        self.deadline = 0.0
        self.requests += 1
        service.total_requests += 1
        service.requests += 1
        stream = HTTPStream(service, self, head, self.client, self.server, self.scheme)
        self.stream = stream
        stream.writable = not self.writing_paused
        if service.access_log is not None:
            stream.started = monotonic()
        # RFC 9112 9.3: persistence, by version and connection options.
        if head.connection_options & OPTION_CLOSE:
            self.close_after = True
        elif head.minor == 0 and not (head.connection_options & OPTION_KEEP_ALIVE):
            self.close_after = True
        elif not self.timeouts.keep_alive:
            self.close_after = True
        elif limits.connection_requests and self.requests >= limits.connection_requests:
            self.close_after = True
        self.received = 0
        self.receive_time = 0.0
        if self.framing == FRAMING_CHUNKED:
            self.remaining = -1
            self.decoder = ChunkedDecoder()
            stream.request_length = -1
            stream.body_complete = False
        elif head.content_length > 0:
            self.remaining = head.content_length
            stream.request_length = head.content_length
            stream.body_complete = False
        else:
            self.remaining = 0
        if service.forwarded is not None:
            service.forwarded.apply(stream)
        if limits.concurrency and service.requests > limits.concurrency:
            stream.fail(503)
            return self.state <= DRAIN
        if not stream.body_complete:
            # RFC 9110 15.5.14: refused before a byte of content is asked for.
            if limits.request_body and head.content_length > limits.request_body:
                self.fail_stream(stream, 413)
                return False
            # RFC 9110 10.1.1: the expectation of an HTTP/1.0 client is ignored.
            stream.expect_continue = head.expect == EXPECT_CONTINUE and head.minor == 1
            self.read_content()
            if self.state != EXCHANGE or self.stream is not stream:
                return False
            self.set_body_deadline()
        try:
            service.handler.open(stream)
        except Exception:
            service.log.exception("Starting the application failed")
            stream.fail(500)
        if self.peer_eof and self.state == EXCHANGE:
            self.start_half_close()
        return True

    def read_content(self) -> bool:
        """Move content from the input to the stream, or away. False when more input is needed."""
        stream = self.stream
        discarding = stream is None or stream.response_complete or stream.disconnected
        if not discarding and self.body_full(stream):
            return False
        before = self.received
        if self.framing == FRAMING_CHUNKED:
            if not self.read_chunks(stream, discarding):
                return False
        else:
            size = self.input.available()
            if size > self.remaining:
                size = self.remaining
            if size:
                self.remaining -= size
                self.received += size
                if discarding:
                    self.input.discard(size)
                else:
                    stream.feed_body(self.input.take(size))
        if self.state > DRAIN:
            return False
        if self.content_complete():
            self.deadline = 0.0
            if self.state == DRAIN:
                self.finish()
                return True
            if stream is not None:
                stream.end_body()
            return self.state <= HEAD
        if self.state == DRAIN:
            self.draining_left -= self.received - before
            if self.draining_left < 0:
                self.begin_close()
                return False
        if self.peer_eof:
            self.truncated()
            return False
        if self.received != before:
            self.set_body_deadline()
        return False

    def read_chunks(self, stream: HTTPStream, discarding: bool) -> bool:
        """Decode chunked content (RFC 9112 7.1). False after an error, which is answered."""
        limits = self.limits
        decoder = self.decoder
        while True:
            if self.trailers is None:
                code = decoder.decode(self.input, limits.chunk_line)
                if limits.chunk_excess and decoder.excess > limits.chunk_excess:
                    self.content_error(400, "chunk framing too large")
                    return False
                if code == CHUNK_DATA:
                    data = decoder.data
                    self.received += len(data)
                    if limits.request_body and self.received > limits.request_body:
                        self.content_error(413, "content too large")
                        return False
                    if not discarding:
                        stream.feed_body(data)
                        if self.state != EXCHANGE or self.stream is not stream:
                            return self.state <= DRAIN
                        if self.body_full(stream):
                            return True
                    continue
                if code == CHUNK_NEED_DATA:
                    return True
                if code != CHUNK_END:
                    self.content_error(400, CHUNK_ERRORS[code])
                    return False
                self.trailers = TrailerSection()
            # RFC 9112 7.1.2: the trailer section is checked like a head, and then dropped: neither WSGI nor ASGI
            # has a place for it, and merging it into the head is what RFC 9110 6.5.1 warns of.
            code = self.trailers.parse(
                self.input, limits.request_fields, limits.request_field_size, limits.request_fields_size
            )
            if code == NEED_DATA:
                self.parse_at = self.input.available() + PARSE_STEP
                return True
            if code != DONE:
                error = head_error(code)
                self.content_error(error.status, str(error))
                return False
            self.trailers = None
            self.decoder = None
            self.framing = FRAMING_LENGTH
            self.remaining = 0
            return True

    def content_error(self, status: int, message: str) -> int:
        """The content's framing is broken: answer if that is still possible, then close. Returns 0."""
        stream = self.stream
        if stream is None or stream.response_complete:
            self.begin_close()
            return 0
        self.service.log.warning("Invalid HTTP request received. %s (%s)", message, self.peer())
        self.fail_stream(stream, status)
        return 0

    def truncated(self) -> int:
        """The peer closed its sending half before its content was complete (RFC 9112 8). Returns 0."""
        stream = self.stream
        if stream is None or stream.response_complete:
            self.begin_close()
        else:
            self.fail_stream(stream, 400)
        return 0

    def discard(self, size: int) -> int:
        """Bytes arrived after our last response. Returns 0."""
        if self.state == LINGER and not self.reading_paused:
            self.linger_left -= size
            if self.linger_left < 0:
                if self.transport.buffered():
                    # Our response is still on its way: hear no more, but let it arrive.
                    self.reading_paused = True
                    self.transport.pause_reading()
                else:
                    self.abort()
        return 0

    def brake(self) -> int:
        """Pause or resume reading, by what is held for the application. Returns 0."""
        full = False
        if self.state == EXCHANGE or self.state == DRAIN:
            stream = self.stream
            if self.content_complete():
                full = self.input_full()
            elif stream is not None and not stream.response_complete and not stream.disconnected:
                full = self.body_full(stream)
        elif self.state <= HEAD and (self.scheduled or self.writing_paused):
            full = self.input_full()
        if full != self.reading_paused:
            self.reading_paused = full
            if full:
                self.deadline = 0.0
                self.transport.pause_reading()
            elif self.state != CLOSED:
                self.transport.resume_reading()
        return 0

    def body_full(self, stream: HTTPStream) -> bool:
        """Whether the application holds, or has been left, as much content as it may."""
        limit = self.limits.body_buffer
        return limit > 0 and stream.unconsumed >= limit

    def input_full(self) -> bool:
        """Whether as many bytes of later requests wait as may."""
        limit = self.limits.pipeline_buffer
        return limit > 0 and self.input.available() >= limit

    def receiving(self) -> bool:
        """Whether the peer has content to send and we are ready for it."""
        if self.reading_paused or self.content_complete():
            return False
        return self.stream is None or not self.stream.expect_continue

    def set_body_deadline(self) -> int:
        """Start the wait for more content. Returns 0."""
        if self.receiving():
            self.set_deadline(self.timeouts.body)
        return 0

    def check_upload(self, elapsed: float) -> int:
        """Judge the rate at which content arrives, once the grace period is over. Returns 0."""
        self.receive_time += elapsed
        rate = self.limits.upload_rate
        if rate and self.receive_time > self.timeouts.upload_grace and self.received < rate * self.receive_time:
            self.expire()
        return 0

    # Output, called by the stream.

    def send_informational(self, stream: Stream, status: int, block: object) -> int:
        """Send a 1xx head (RFC 9110 15.2). Returns 0."""
        fields = block
        self.write(encode_head(status_line(status, b""), b"", fields.data, b"", None))
        return 0

    def send_body(self, stream: Stream, data: bytes, more: bool) -> int:
        """Send a part of the content, behind the head if that is still held. Returns 0."""
        current = self.stream
        if not current.head_sent:
            self.start_response(current, data, more, -1)
        elif self.response_framing == FRAMING_CHUNKED:
            if data:
                self.write_content(b"", data, not more)
            elif not more:
                self.write(LAST_CHUNK)
        elif data and self.response_framing != FRAMING_NONE:
            self.write_content(b"", data, False)
        if not more:
            self.response_done(current)
        return 0

    def send_file(self, stream: Stream, descriptor: int, offset: int, count: int, more: bool) -> int:
        """Send a part of a file. Returns 0."""
        current = self.stream
        if not current.head_sent:
            self.start_response(current, b"", True, -1 if more else count)
        if self.response_framing == FRAMING_CHUNKED:
            self.write(chunk_head(count))
        self.file_ends = not more
        self.file_active = True
        self.write_pending = True
        self.written += count
        self.transport.send_file(descriptor, offset, count)
        return 0

    def send_trailers(self, stream: Stream, block: object) -> int:
        """End the response with a trailer section, if the client wants one (RFC 9110 6.5.1). Returns 0."""
        current = self.stream
        if self.response_framing == FRAMING_CHUNKED:
            if block is not None and current.head.te_trailers:
                fields = block
                self.write(b"0\r\n" + fields.data + b"\r\n")
            else:
                self.write(LAST_CHUNK)
        self.response_done(current)
        return 0

    def read_body(self, stream: Stream) -> int:
        """The application waits for content that the client holds back: RFC 9110 10.1.1. Returns 0."""
        current = self.stream
        if not current.head_sent and self.state == EXCHANGE and not self.content_complete():
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.set_body_deadline()
        return 0

    def body_consumed(self, stream: Stream) -> int:
        """There is room for more content. Returns 0."""
        if stream is self.stream and self.state == EXCHANGE and not self.running:
            if self.input.available() or self.peer_eof:
                # Not here: the application's code is on the stack, and content may start more of it.
                self.schedule()
            elif self.reading_paused:
                self.brake()
                self.set_body_deadline()
        return 0

    def abort_stream(self, stream: Stream) -> int:
        """The response can't be completed. Returns 0."""
        current = self.stream
        if current is None or stream is not current:
            return 0
        if not current.head_sent or self.file_active or self.transport.buffered():
            self.abort()
        elif self.response_framing == FRAMING_CLOSE:
            # Content that ends with the connection would look complete after an orderly close.
            self.abort()
        else:
            self.end_exchange(current)
            current.disconnect()
            self.begin_close()
        return 0

    def start_response(self, stream: HTTPStream, data: bytes, more: bool, file_size: int) -> int:
        """Encode the head, decide the framing, and send both with the first part of the content.

        `file_size` is the size of a file that is all of the content, or -1. Returns 0.
        """
        head = stream.head
        block = stream.block
        length = stream.response_length
        suffix = b""
        complete = not more and not stream.expect_trailers
        trailers = stream.expect_trailers and head.te_trailers and head.minor == 1 and not stream.no_content
        if trailers and length >= 0:
            # RFC 9112 6.2: a trailer section needs chunked, which excludes Content-Length.
            block = encode_fields(block.fields, DROP_RESPONSE | F_CONTENT_LENGTH)
            length = -1
        framing = response_framing(stream.no_content, head.minor, length, complete or file_size >= 0)
        self.response_framing = framing
        if framing == FRAMING_LENGTH:
            if length < 0:
                suffix = b"Content-Length: %d\r\n" % (file_size if file_size >= 0 else len(data))
        elif framing == FRAMING_CHUNKED:
            suffix = b"Transfer-Encoding: chunked\r\n"
        elif framing == FRAMING_CLOSE:
            self.close_after = True
        else:
            if stream.status == 204 and length >= 0:
                # RFC 9110 8.6: no Content-Length in a 204.
                block = encode_fields(block.fields, DROP_RESPONSE | F_CONTENT_LENGTH)
            elif stream.is_head and length < 0 and stream.status != 204 and stream.status != 304:
                # RFC 9110 9.3.2: the fields a GET would have got, as far as they are known.
                if file_size >= 0:
                    suffix = b"Content-Length: %d\r\n" % file_size
                elif data:
                    suffix = b"Content-Length: %d\r\n" % len(data)
            data = b""
        if block.connection_options & OPTION_CLOSE or self.service.draining:
            self.close_after = True
        if not more and not self.close_after and not self.content_complete():
            # RFC 9112 9.3: content the application left unread is read to keep the connection, within reason.
            if stream.expect_continue or self.remaining > self.limits.unread_body:
                self.close_after = True
        # RFC 9112 9.6, 9.3: say that the connection ends, or to an HTTP/1.0 client that it stays.
        if self.close_after:
            suffix += b"Connection: close\r\n"
        elif head.minor == 0:
            suffix += b"Connection: keep-alive\r\n"
        prefix = self.service.prefix
        if block.seen & (F_DATE | F_SERVER):
            prefix = self.service.own_fields(block.seen)
        stream.head_sent = True
        line = status_line(stream.status, stream.reason)
        if framing == FRAMING_CHUNKED or len(data) > JOIN_SIZE:
            text = encode_head(line, prefix, block.data, suffix, None)
            if data:
                self.write_content(text, data, False)
            else:
                self.write(text)
        else:
            self.write(encode_head(line, prefix, block.data, suffix, data))
        return 0

    def write_content(self, before: bytes, data: bytes, last: bool) -> int:
        """Write `before`, then `data` in the response's framing; `last` ends a chunked response. Returns 0."""
        size = len(data)
        after = b""
        if self.response_framing == FRAMING_CHUNKED:
            if size <= JOIN_SIZE and not before and not last:
                self.write(encode_chunk(data))
                return 0
            before += chunk_head(size)
            after = b"\r\n0\r\n\r\n" if last else b"\r\n"
        if size <= JOIN_SIZE:
            self.write(before + data + after if before else data)
        else:
            self.written += len(before) + size + len(after)
            self.write_pending = True
            self.transport.write_parts([before, data, after])
        return 0

    def write(self, data: bytes) -> int:
        """Hand `data` to the transport. Returns 0."""
        self.written += len(data)
        self.write_pending = True
        self.transport.write(data)
        return 0

    def check_output(self, now: float) -> int:
        """See how far the peer has got with our output; give up on one that takes nothing. Returns 0."""
        left = self.transport.buffered()
        if self.file_active:
            # `written` counts the whole file: what is left of it is not in the transport's queue.
            acked = self.transport.file_progress() - left
        else:
            if left == 0:
                self.write_pending = False
                self.write_deadline = 0.0
                return 0
            acked = self.written - left
        if acked != self.acked or self.write_deadline == 0.0:
            self.acked = acked
            self.write_deadline = now + self.timeouts.write
        elif self.timeouts.write and now >= self.write_deadline:
            self.abort()
        return 0

    # The end of an exchange, and of the connection.

    def response_done(self, stream: HTTPStream) -> int:
        """The response is complete. Returns 0."""
        if self.content_complete():
            self.finish()
            return 0
        # Content is still to come: the stream is over, the connection discards what it can afford to. A client that
        # waits for a 100 may send content or not: only the connection's end makes that clear (RFC 9110 10.1.1).
        self.end_exchange(stream)
        if self.close_after or stream.expect_continue:
            self.begin_close()
            return 0
        self.enter(DRAIN)
        self.draining_left = self.limits.unread_body
        self.set_body_deadline()
        if not self.running:
            if self.input.available():
                self.schedule()
            else:
                self.brake()
        return 0

    def end_exchange(self, stream: HTTPStream) -> int:
        """Take leave of the stream. Returns 0."""
        self.stream = None
        self.half_close_at = 0.0
        self.leave(stream)
        return 0

    def leave(self, stream: HTTPStream) -> int:
        """Count and log a stream that is over. Returns 0."""
        service = self.service
        service.requests -= 1
        if service.access_log is not None and stream.started:
            try:
                service.access_log.log(stream, monotonic())
            except Exception:
                service.log.exception("Writing the access log failed")
        return 0

    def finish(self) -> int:
        """Both halves of the exchange are complete. Returns 0."""
        if self.stream is not None:
            self.end_exchange(self.stream)
        if self.close_after or (self.peer_eof and self.input.available() == 0):
            self.begin_close()
            return 0
        self.enter(IDLE)
        self.decoder = None
        self.set_deadline(self.timeouts.keep_alive)
        if not self.running:
            if self.input.available():
                self.schedule()
            elif self.reading_paused:
                self.brake()
        return 0

    def fail_stream(self, stream: HTTPStream, status: int) -> int:
        """Answer the peer's fault in an exchange that has begun, and close. Returns 0."""
        self.close_after = True
        if stream.head_sent or stream.response_complete:
            self.abort_stream(stream)
        else:
            stream.fail(status)
        return 0

    def refuse(self, status: int, message: str, head: RequestHead) -> int:
        """Answer a request that can't be served, and close in stages. Returns 0.

        `head` is the request's head if it could be read at all.
        """
        service = self.service
        if message:
            service.log.warning("Invalid HTTP request received. %s (%s)", message, self.peer())
        if service.access_log is not None:
            line = None if head is None else f"{head.method} {head.target.decode('latin-1')} HTTP/{head.http_version}"
            service.access_log.log_refusal(self.client, status, line)
        fields = [(b"Content-Type", b"text/plain; charset=utf-8")]
        if status == 503:
            fields.append((b"Retry-After", b"1"))
        text = error_text(status, message)
        suffix = b"Content-Length: %d\r\nConnection: close\r\n" % len(text)
        if head is not None and head.method == "HEAD":
            text = b""
        block = response_block(fields)
        self.write(encode_head(status_line(status, b""), service.prefix, block.data, suffix, text))
        self.begin_close()
        return 0

    def begin_close(self) -> int:
        """Close in stages, so that the peer can read our last response (RFC 9112 9.6). Returns 0."""
        if self.state >= LINGER:
            return 0
        self.enter(LINGER)
        self.input.clear()
        self.half_close_at = 0.0
        if self.peer_eof or not self.transport.shutdown_write():
            self.close()
            return 0
        self.linger_left = self.limits.linger
        self.set_deadline(self.timeouts.linger)
        if self.reading_paused:
            self.reading_paused = False
            self.transport.resume_reading()
        return 0

    def close(self) -> int:
        """Close once the output is flushed. Returns 0."""
        if self.state != CLOSED:
            self.enter(CLOSED)
            self.deadline = 0.0
            self.input.clear()
            self.transport.close()
        return 0

    def abort(self) -> int:
        """Close now. Returns 0."""
        if self.state != CLOSED:
            self.enter(CLOSED)
        self.deadline = 0.0
        self.write_pending = False
        self.transport.abort()
        stream = self.stream
        if stream is not None:
            self.end_exchange(stream)
            stream.disconnect()
        return 0

    def expire(self) -> int:
        """A deadline has passed. Returns 0."""
        self.deadline = 0.0
        if self.state == HEAD:
            # RFC 9110 15.5.9
            self.refuse(408, "request head not received in time", None)
        elif self.state == IDLE:
            if self.writing_paused and self.input.available():
                # The next request is here and waits for its predecessor's response to leave.
                self.set_deadline(self.timeouts.keep_alive)
            else:
                self.begin_close()
        elif self.state == LINGER:
            if self.write_pending and self.transport.buffered():
                # The wait is for a peer that has our response; `check_output` judges one that takes nothing.
                self.set_deadline(self.timeouts.linger)
            else:
                self.abort()
        elif self.stream is not None:
            self.service.log.warning("Request content from %s stalled", self.peer())
            self.fail_stream(self.stream, 408)
        else:
            self.begin_close()
        return 0

    def start_half_close(self) -> int:
        """The peer closed its sending half with its request complete: it may still read. Returns 0."""
        if self.timeouts.half_close:
            self.half_close_at = self.clock.time + self.timeouts.half_close
        return 0

    def set_deadline(self, seconds: float) -> int:
        """Let the current wait end in `seconds` from now; 0 for never. Returns 0."""
        self.deadline = self.clock.time + seconds if seconds else 0.0
        return 0

    def schedule(self) -> int:
        """Have `run` go on in a later turn of the loop. Returns 0."""
        if not self.scheduled:
            self.scheduled = True
            self.transport.schedule(self)
        return 0

    def enter(self, state: int) -> int:
        """Change the state. Returns 0."""
        if not allowed(self.state, state):
            raise LocalProtocolError(f"connection state {self.state} can't become {state}")
        self.state = state
        return 0

    def peer(self) -> str:
        """The client's address, for the log."""
        client = self.client
        if client is None:
            return "a Unix socket"
        return f"{client[0]}:{client[1]}"
