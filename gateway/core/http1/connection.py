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

from gateway.errors import LocalProtocolError, RemoteProtocolError

from ..http.codes import FRAMING_CLOSE
from ..http.fields import check_request, head_error, response_block
from ..http.framing import request_framing
from ..http.output import total
from ..http.service import Service, peer_name
from ..http.status import error_text, status_line
from ..http.stream import HTTPStream, has_no_end
from ..kernels.base import Connection, Stream, Transport, monotonic
from ..kernels.buffer import InputBuffer
from ..kernels.fieldlines import PreviousFields
from ..kernels.fields import F_DATE, F_SERVER, encode_head
from ..kernels.grammar import DONE, NEED_DATA
from ..kernels.head import EXPECT_CONTINUE, OPTION_CLOSE, OPTION_KEEP_ALIVE, RequestHead
from .content import RequestContent
from .output import ResponseOutput
from .state import CLOSED, DRAIN, EXCHANGE, HEAD, IDLE, LINGER, SWITCHED, allowed

# Bytes of content up to which a thread sends it in one piece with its head, without giving up the GIL.
SEND_NOW_SIZE = 32768
# Bytes of an unfinished line that arrive before the head is looked at again.
PARSE_STEP = 1024
# Seconds after which a client that has sent nothing yet, or nothing more, is not expected to do so any minute.
FRESH = 1.0


class HTTP1Connection(Connection):
    """One client that speaks HTTP/1.0 or HTTP/1.1.

    `client` and `server` are (host, port) tuples, or None on a Unix socket; `scheme` is "http" or "https".
    """

    __slots__ = (
        "client",
        "clock",
        "close_after",
        "content",
        "deadline",
        "draining_left",
        "empty_lines",
        "ending",
        "file_ends",
        "half_close_at",
        "head",
        "idle_since",
        "last_request",
        "last_tick",
        "limits",
        "linger_left",
        "output",
        "parse_at",
        "peer_eof",
        "previous",
        "reading_paused",
        "refused",
        "requests",
        "running",
        "scheduled",
        "scheme",
        "server",
        "service",
        "state",
        "stream",
        "timeouts",
        "transport",
        "writing_paused",
    )

    def __init__(self, service: Service, transport: Transport, client: object, server: object, scheme: str) -> None:
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
        self.previous = PreviousFields()
        self.content = RequestContent(service.limits)
        self.output = ResponseOutput(transport)
        self.stream = None
        self.requests = 0
        self.empty_lines = 0
        self.parse_at = 0
        self.draining_left = 0
        # Whether the connection ends with the current exchange; whether it ends with a request we did not understand.
        self.close_after = False
        self.refused = False
        # Whether the server is leaving.
        self.ending = False
        # Whether the client has said that it sends nothing after the current request.
        self.last_request = False
        # Monotonic seconds at which the peer must have got further; 0 for never.
        self.deadline = 0.0
        self.idle_since = 0.0
        self.last_tick = service.clock.time
        self.half_close_at = 0.0
        self.peer_eof = False
        self.linger_left = 0
        self.reading_paused = False
        self.writing_paused = False
        self.file_ends = False
        # Whether `run` is on the stack, or asked for.
        self.running = False
        self.scheduled = False

    # Called by the transport.

    def opened(self) -> int:
        """The transport is ready. Returns 0."""
        self.service.connections += 1
        self.last_tick = self.clock.time
        self.idle_since = self.clock.time
        self.set_deadline(self.timeouts.head)
        limit = self.limits.connections
        if limit and self.service.connections > limit:
            self.refuse(503, "", None)
        return 0

    def received(self, size: int) -> int:
        """The last `size` bytes of `input` are new. Returns 0."""
        if self.state >= LINGER:
            self.input.clear()
            self.discard(size)
            return 0
        if self.parse_at:
            # Lines are examined when they are complete. A head that comes in tiny pieces is not read again for each.
            available = self.input.available()
            if available < self.parse_at and self.input.find(b"\n", available - size) < 0:
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
        elif self.state == EXCHANGE and self.content.complete():
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
        self.output.stop(self.stream)
        self.input.clear()
        self.revoke()
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
        elif not self.output.file_active and not stream.disconnected:
            stream.writable = True
            if stream.responder is not None:
                stream.responder.writable()
        return 0

    def file_sent(self, error: object) -> int:
        """The file given to the transport is out, or failed. Returns 0."""
        self.output.file_active = False
        stream = self.stream
        if stream is None or self.state == CLOSED:
            return 0
        if error is not None:
            self.service.log.error("Sending a file to %s failed: %s", self.peer(), error)
            self.abort_stream(stream)
            return 0
        ends = self.file_ends and not stream.expect_trailers
        self.output.file_sent(ends)
        stream.writable = not self.writing_paused
        if ends:
            stream.response_complete = True
            self.response_done(stream)
        if (stream.writable or ends) and stream.responder is not None:
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
        if self.state == IDLE:
            # Connections that wait are many, and must be small.
            self.previous.clear()
        if self.output.pending and self.output.stalled(now, self.timeouts.write):
            self.abort()
        if self.state == EXCHANGE or self.state == DRAIN:
            if self.receiving():
                self.check_upload(elapsed)
            if self.half_close_at and now >= self.half_close_at:
                self.half_close_at = 0.0
                self.tell_peer_closed()
            elif self.ending:
                self.end_endless()
            if self.stream is not None:
                self.check_stream(now)
        if self.deadline and now >= self.deadline:
            self.expire()
        return 0

    def check_stream(self, now: float) -> int:
        """Check the deadlines of the exchange that is running. Returns 0."""
        stream = self.stream
        limit = stream.time_limit()
        if limit and not stream.due:
            # From here on: when the head was there, the clock may have been late.
            stream.due = now + limit
        # Whose content has ended, be it in a thread that the loop has yet to hear of, is done.
        elif limit and now >= stream.due and not stream.content_done and not has_no_end(stream):
            return self.take_back(stream)
        if stream.responder is not None:
            stream.responder.tick(now)
        return 0

    def take_back(self, stream: HTTPStream) -> int:
        """The application has had its time for this request: answer in its place, or break off. Returns 0."""
        responder = stream.responder
        if self.service.overdue is not None:
            try:
                self.service.overdue(stream)
            except Exception:
                self.service.log.exception("Internal error: reporting a request timeout failed")
        stream.fail(504)
        if responder is not None:
            responder.cancel()
        return 0

    def shutdown(self) -> int:
        """End gracefully: an idle connection at once, a busy one with its exchange. Returns 0."""
        self.close_after = True
        self.ending = True
        self.end_endless()
        if self.state == IDLE and self.input.available() == 0:
            # Not in stages: no response is on its way that the client could lose.
            self.close()
        return 0

    def end_endless(self) -> int:
        """Tell the application to end a response that has no end of its own; it may go on sending. Returns 0."""
        stream = self.stream
        if stream is not None and not stream.peer_closed and has_no_end(stream):
            self.tell_peer_closed()
        return 0

    def tell_peer_closed(self) -> int:
        """Tell the application that nobody may be waiting for what it does. Returns 0."""
        stream = self.stream
        if stream is not None:
            stream.peer_closed = True
            if stream.responder is not None:
                stream.responder.peer_closed()
        return 0

    def abort_requests(self) -> int:
        """The grace period is over. Returns 0."""
        stream = self.stream
        if stream is not None and stream.responder is not None:
            stream.responder.cancel()
        self.abort()
        return 0

    def fresh(self) -> bool:
        """Whether a request may well be on its way: it was opened, or has had its last response, a moment ago."""
        return self.state <= HEAD and self.clock.time - self.idle_since < FRESH

    def lingering(self) -> bool:
        """Whether its last byte is on its way, and it only waits for the peer to close."""
        return self.state >= LINGER

    def describe(self) -> str:
        """The request it serves, for the log, or an empty string."""
        stream = self.stream
        if stream is None:
            return ""
        return f"{stream.head.method} {stream.head.raw_path.decode('latin-1')} of {peer_name(stream.client)}"

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
                if self.content.complete() or not self.read_content():
                    break
            else:
                break
        self.running = False
        self.brake()
        return 0

    def read_head(self) -> bool:
        """Read one head and open its stream. False when there is nothing more to do now."""
        if self.state == IDLE and not self.skip_empty_lines():
            return False
        head = self.head
        if head is None:
            head = RequestHead.__new__(RequestHead)
            if self.requests:
                # Not for a connection's first head, which may be its only one.
                head.reuse(self.previous)
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
            framing = request_framing(head)
        except RemoteProtocolError as error:
            self.refuse(error.status, str(error), head if code == DONE else None)
            return False
        return self.open_stream(head, framing)

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

    def open_stream(self, head: RequestHead, framing: int) -> bool:
        """Start the exchange for an accepted head. False when there is nothing more to do now."""
        service = self.service
        limits = self.limits
        self.enter(EXCHANGE)
        self.empty_lines = 0
        self.deadline = 0.0
        self.requests += 1
        service.total_requests += 1
        if service.total_requests == service.last_request:
            service.reached()
        service.requests += 1
        stream = HTTPStream.__new__(HTTPStream)
        stream.prepare(service, self, head, self.client, self.server, self.scheme)
        self.stream = stream
        stream.writable = not self.writing_paused
        stream.threadsafe = self.transport.threadsafe
        stream.started = self.clock.time if service.access_log is None else monotonic()
        # RFC 9112 9.3: persistence, by version and connection options.
        if head.connection_options & OPTION_CLOSE:
            self.close_after = True
            self.last_request = True
        elif head.minor == 0 and not (head.connection_options & OPTION_KEEP_ALIVE):
            self.close_after = True
            self.last_request = True
        elif not self.timeouts.keep_alive:
            self.close_after = True
        elif limits.connection_requests and self.requests >= limits.connection_requests:
            self.close_after = True
        self.content.expect(framing, head.content_length)
        if not self.content.complete():
            stream.request_length = self.content.remaining
            stream.body_complete = False
        if head.forwarded_count and service.forwarded is not None:
            service.forwarded.apply(stream)
        if service.mounts is not None:
            if not stream.enter_mount():
                return self.state <= DRAIN
            self.content.most = stream.mount.request_body
        if limits.concurrency and service.requests > limits.concurrency:
            stream.fail(503)
            return self.state <= DRAIN
        if not stream.body_complete:
            # RFC 9110 15.5.14: refused before a byte of content is asked for.
            if self.content.most and head.content_length > self.content.most:
                self.fail_stream(stream, 413)
                return False
            # RFC 9110 10.1.1: the expectation of an HTTP/1.0 client is ignored.
            stream.expect_continue = head.expect == EXPECT_CONTINUE and head.minor == 1
            self.read_content()
            if self.state != EXCHANGE or self.stream is not stream:
                return False
            self.set_body_deadline()
        mount = stream.mount
        try:
            if (
                head.has_upgrade
                and service.upgrade is not None
                and (mount is None or mount.websockets)
                and service.upgrade.wanted(stream)
            ):
                # What follows is not to be read as a request, whatever becomes of this one.
                self.close_after = True
                service.upgrade.open(stream)
            elif mount is None:
                service.handler.open(stream)
            else:
                mount.handler.open(stream)
        except Exception:
            service.log.exception("Starting the application failed")
            stream.fail(500)
        if self.peer_eof and self.state == EXCHANGE:
            self.start_half_close()
        return True

    def read_content(self) -> bool:
        """Move content from the input to the stream, or away. False when more input is needed."""
        stream = self.stream
        content = self.content
        taker = stream
        if stream is not None:
            if stream.response_complete or stream.disconnected:
                taker = None
            elif content.full(stream):
                return False
        before = content.received
        try:
            content.read(self.input, taker)
        except RemoteProtocolError as error:
            self.content_error(error.status, str(error))
            return False
        if self.state > DRAIN:
            return False
        if content.trailers is not None:
            self.parse_at = self.input.available() + PARSE_STEP
        if content.complete():
            self.deadline = 0.0
            if self.state == DRAIN:
                self.finish()
                return True
            if stream is not None:
                stream.end_body()
            return self.state <= HEAD
        if self.state == DRAIN:
            self.draining_left -= content.received - before
            if self.draining_left < 0:
                self.begin_close()
                return False
        if self.peer_eof:
            self.truncated()
        elif content.received != before:
            self.set_body_deadline()
        return False

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
            if self.content.complete():
                full = self.input_full()
            elif stream is not None and not stream.response_complete and not stream.disconnected:
                full = self.content.full(stream)
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

    def input_full(self) -> bool:
        """Whether as many bytes of later requests wait as may."""
        limit = self.limits.pipeline_buffer
        return limit > 0 and self.input.available() >= limit

    def receiving(self) -> bool:
        """Whether the peer has content to send and we are ready for it."""
        if self.reading_paused or self.content.complete():
            return False
        return self.stream is None or not self.stream.expect_continue

    def set_body_deadline(self) -> int:
        """Start the wait for more content. Returns 0."""
        if self.receiving():
            self.set_deadline(self.timeouts.body)
        return 0

    def check_upload(self, elapsed: float) -> int:
        """Judge the rate at which content arrives, once the grace period is over. Returns 0."""
        content = self.content
        content.receive_time += elapsed
        spent = content.receive_time
        rate = self.limits.upload_rate
        if rate and spent > self.timeouts.upload_grace and content.received < rate * spent:
            self.expire()
        return 0

    # Output, called by the stream.

    def send_informational(self, stream: Stream, status: int, block: object) -> int:
        """Send a 1xx head (RFC 9110 15.2). Returns 0."""
        fields = block
        self.output.write(encode_head(status_line(status, b""), b"", fields.data, b"", None))
        return 0

    def send_body(self, stream: Stream, data: bytes, more: bool) -> int:
        """Send a part of the content, behind the head if that is still held. Returns 0."""
        current = self.stream
        if current.head_sent:
            self.output.content(data, not more)
        else:
            self.begin_response(current, data, not more, -1)
        if not more:
            self.response_done(current)
        return 0

    def send_now(self, stream: Stream, data: bytes, more: bool) -> int:
        """From a worker thread: send a part of the content, behind the head if that is still held.

        Returns how many bytes the peer did not take, or -1 if it has to be done on the loop. Until `complete_send`
        nothing of the connection's state is changed but what keeps it from sending something else: with the request
        complete and its response begun, the loop sends nothing of its own.
        """
        current = self.stream
        transport = self.transport
        if stream is not current or transport.buffered() or self.writing_paused or not self.content.complete():
            return -1
        output = self.output
        large = len(data) > SEND_NOW_SIZE
        first = not current.head_sent
        text = b""
        parts = None
        if first:
            close = self.close_after or self.service.draining
            if large:
                text = output.encode(current, self.service, data, not more, -1, close)
            else:
                text = output.compose(current, self.service, data, not more, -1, close)
            # Before the GIL is given up.
            current.head_sent = True
        elif not large:
            text = output.framed(data, not more)
        size = len(text)
        taken = 0
        if large:
            parts = [text] if first and output.joined else output.parts(text, data, not more)
            size = total(parts)
            taken = transport.send_parts_now(parts)
        elif size:
            taken = transport.send_now(text)
        if taken < 0:
            if first:
                current.head_sent = False
            return -1
        output.written += taken
        if first and output.closes:
            self.close_after = True
        if not more and self.service.access_log is not None:
            current.finished = monotonic()
        current.urgent = self.close_after or self.peer_eof or self.input.available() > 0
        if taken < size:
            output.left = [text] if parts is None else parts
            output.left_from = taken
        return size - taken

    def complete_send(self, stream: Stream, ended: bool) -> int:
        """On the loop: go on where `send_now` has stopped. Returns 0."""
        self.output.send_left()
        if ended:
            self.response_done(self.stream)
        return 0

    def send_file(self, stream: Stream, descriptor: int, offset: int, count: int, more: bool) -> int:
        """Send a part of a file. Returns 0."""
        current = self.stream
        if not current.head_sent:
            self.begin_response(current, b"", False, -1 if more else count)
        self.file_ends = not more
        self.output.file(descriptor, offset, count)
        return 0

    def send_trailers(self, stream: Stream, block: object) -> int:
        """End the response with a trailer section, if the client wants one (RFC 9110 6.5.1). Returns 0."""
        current = self.stream
        self.output.end(block if current.head.te_trailers else None)
        self.response_done(current)
        return 0

    def read_body(self, stream: Stream) -> int:
        """The application waits for content that the client holds back: RFC 9110 10.1.1. Returns 0."""
        current = self.stream
        if not current.head_sent and self.state == EXCHANGE and not self.content.complete():
            self.output.write(b"HTTP/1.1 100 Continue\r\n\r\n")
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
        if not current.head_sent or self.output.waiting():
            self.abort()
        elif self.output.framing == FRAMING_CLOSE:
            # Content that ends with the connection would look complete after an orderly close.
            self.abort()
        else:
            self.end_exchange(current)
            current.disconnect()
            self.begin_close()
        return 0

    def switch_protocols(self, stream: Stream, lines: bytes, block: object, successor: Connection) -> int:
        """Answer with 101 (RFC 9110 15.2.2) and hand over: the transport, and what has arrived behind the request.

        Returns 0. Raises LocalProtocolError while the request's content is incomplete.
        """
        current = self.stream
        if stream is not current or not self.content.complete():
            raise LocalProtocolError("another protocol can only follow a complete request")
        fields = block
        service = self.service
        prefix = service.own_fields(fields.seen) if fields.seen & (F_DATE | F_SERVER) else service.prefix
        self.output.write(encode_head(status_line(101, b""), prefix, fields.data, lines, None))
        current.switched(fields)
        self.end_exchange(current)
        self.enter(SWITCHED)
        self.deadline = 0.0
        successor.input = self.input
        self.input = InputBuffer()
        self.transport.switch(successor)
        if self.reading_paused:
            self.reading_paused = False
            self.transport.resume_reading()
        successor.take_over(self.transport)
        if self.peer_eof:
            successor.eof()
        return 0

    def begin_response(self, stream: HTTPStream, data: bytes, complete: bool, file_size: int) -> int:
        """Send the head and the first part of the content, which is all of it if `complete`. Returns 0.

        `file_size` is the size of a file that is all of the content, or -1.
        """
        close = self.close_after or self.service.draining
        if not self.content.complete():
            # RFC 9110 10.1.1: a client that waits for a 100 is told with the final head that there will be none. RFC
            # 9112 9.3: content the application left unread is read to keep the connection, within reason.
            too_much = complete and self.content.remaining > self.limits.unread_body
            close = close or stream.expect_continue or too_much
        self.close_after = self.output.begin(stream, self.service, data, complete, file_size, close)
        return 0

    # The end of an exchange, and of the connection.

    def response_done(self, stream: HTTPStream) -> int:
        """The response is complete. Returns 0."""
        if self.content.complete():
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

    def revoke(self) -> int:
        """End the exchange that is running, if there is one: nobody gets what is left of its response. Returns 0."""
        stream = self.stream
        if stream is not None:
            self.stream = None
            self.half_close_at = 0.0
            # First of all: a thread may be sending, and what it sends counts.
            stream.disconnect()
            self.leave(stream)
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
        if stream.mount is not None:
            stream.mount.requests -= 1
        if service.access_log is not None and stream.started:
            try:
                service.access_log.log(stream, stream.finished or monotonic())
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
        self.idle_since = self.clock.time
        self.enter(IDLE)
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
        self.refused = True
        if message:
            service.log.warning("Invalid HTTP request received. %s (%s)", message, self.peer())
        fields = [(b"Content-Type", b"text/plain; charset=utf-8")]
        if status == 503:
            fields.append((b"Retry-After", b"1"))
        text = error_text(status, message)
        suffix = b"Content-Length: %d\r\nConnection: close\r\n" % len(text)
        if head is not None and head.method == "HEAD":
            text = b""
        block = response_block(fields)
        self.output.write(encode_head(status_line(status, b""), service.prefix, block.data, suffix, text))
        if service.access_log is not None:
            line = None if head is None else f"{head.method} {head.target.decode('latin-1')} HTTP/{head.http_version}"
            service.access_log.log_refusal(self.client, status, line, len(text))
        self.begin_close()
        return 0

    def begin_close(self) -> int:
        """Close in stages, so that the peer can read our last response (RFC 9112 9.6). Returns 0."""
        if self.state >= LINGER:
            return 0
        # After a request that was said to be the last, and had no content that a stray line end could follow (RFC 9112
        # 2.2), the peer sends nothing that our close would answer with a reset.
        content = self.content
        over = self.last_request and content.received == 0 and content.complete() and self.input.available() == 0
        self.enter(LINGER)
        self.input.clear()
        self.half_close_at = 0.0
        if self.peer_eof or over:
            return self.close()
        if not self.transport.shutdown_write():
            # TLS has no half to close. A client that is still sending gets to read the answer all the same, which says
            # where it ends; any other is waiting for the close.
            sending = self.refused or not self.content.complete()
            if not sending or self.output.framing == FRAMING_CLOSE:
                return self.close()
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
        self.output.stop(self.stream)
        self.transport.abort()
        self.revoke()
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
            if self.output.waiting():
                # The wait is for a peer that has our response; `tick` gives up on one that takes nothing.
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
        return peer_name(self.client)
