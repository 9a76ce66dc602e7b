"""WebSocketConnection: frames in, messages out, and the other way round (RFC 6455).

Theory of operation. It exists from the opening handshake on; once the application accepts, the HTTP connection hands
over the transport and what has arrived. Then `run` is the one loop that consumes input: a frame's payload is taken as
it comes, unmasked, decompressed and checked at once; a complete message goes to the stream, whose application may be
resumed there and then, and may answer before `run` goes on. What it sends while more frames wait leaves in one write.

States only go up::

    OPENING ----> OPEN ----> CLOSING ----> LINGER ----> CLOSED

Rule 1: whatever the client sends, what is held of it has a bound: a message's bytes and fragments, messages that the
application has not taken (reading pauses), one answer to its pings.
Rule 2: after the first error of the client its input is discarded (RFC 6455 7.1.7).
Rule 3: every wait has a deadline, kept as a stamp and checked by `tick`.
"""

from random import random

from gateway.errors import RemoteProtocolError

from ..http.codes import ABNORMAL_CLOSURE, DROP_SWITCHING, INTERNAL_ERROR, SERVICE_RESTART
from ..http.fields import encode_fields
from ..http.limits import Limits, Timeouts
from ..http.service import Service, peer_name
from ..http.stream import HTTPStream
from ..http.websocket import WebSocketStream
from ..kernels.base import Connection, Stream, Transport, monotonic
from ..kernels.buffer import InputBuffer
from ..kernels.grammar import DONE
from ..kernels.masking import FrameHead, encode_frame, encode_text, frame_head, take_payload
from .deflate import Deflate
from .frames import check_control, check_frame, close_payload, read_close
from .handshake import Handshake, agreed_fields, check_accept_fields, switching_fields
from .message import IncomingMessage
from .opcodes import BINARY, CLOSE, PING, PONG, TEXT
from .output import FrameOutput

# The opening handshake is not complete; the transport is the HTTP connection's.
OPENING = 0
OPEN = 1
# Our Close is sent, the client's is not here.
CLOSING = 2
# Our last byte is sent; input is discarded until the client closes.
LINGER = 3
# The transport is gone, or going.
CLOSED = 4

# Bytes of a message up to which it is copied behind the head of its frame.
JOIN_SIZE = 65536
# Frames, or pieces of them, that are handled before other connections get their turn.
BURST = 256
# Seconds over which the sockets of a process are closed when it stops, so that not all clients come back at once.
RESTART_SPREAD = 1.0


class WebSocketConnection(Connection):
    """One client that speaks WebSocket, version 13.

    `exchange` is the HTTP exchange of the opening handshake, `handshake` what the client asked for, `deflate` the
    compression to be agreed on or None, `extension` how the response says that (b"" for none).
    """

    __slots__ = (
        "braked",
        "client",
        "clock",
        "close_at",
        "deadline",
        "deflate",
        "extension",
        "handshake",
        "head",
        "heard",
        "in_payload",
        "limits",
        "linger_left",
        "message",
        "output",
        "path",
        "peer_eof",
        "ping_at",
        "ping_number",
        "ping_sent",
        "pong",
        "pong_deadline",
        "reading_paused",
        "running",
        "scheduled",
        "service",
        "started",
        "state",
        "stream",
        "taken",
        "timeouts",
        "transport",
        "writing_paused",
    )

    def __init__(
        self,
        service: Service,
        exchange: HTTPStream,
        handshake: Handshake,
        deflate: Deflate | None,
        extension: bytes,
    ) -> None:
        self.service = service
        self.limits: Limits = service.limits
        self.timeouts: Timeouts = service.timeouts
        self.clock = service.clock
        self.transport: Transport | None = None
        self.output: FrameOutput | None = None
        self.input = InputBuffer()
        self.handshake: Handshake | None = handshake
        self.deflate = deflate
        self.extension = extension
        self.stream = WebSocketStream(self, exchange, handshake.subprotocols)
        self.client = exchange.client
        self.path = exchange.head.raw_path
        self.started = exchange.started
        self.state = OPENING
        # The frame at the front of the input: its head; whether that has been taken, and how much of the payload.
        self.head = FrameHead()
        self.in_payload = False
        self.taken = 0
        self.message: IncomingMessage | None = IncomingMessage(service.limits, deflate)
        # Whether `run` is on the stack, or asked for; whether it stopped because the application takes no messages.
        self.running = False
        self.scheduled = False
        self.braked = False
        self.reading_paused = False
        self.peer_eof = False
        self.linger_left = 0
        # The answer to a ping that is waiting for the client to read.
        self.pong: bytes | None = None
        self.writing_paused = False
        # Monotonic seconds; 0 for never. The end of the current wait; when to ping, when that was, and when there must
        # be a sign of life; when to close because the server stops.
        self.deadline = 0.0
        self.ping_at = 0.0
        self.ping_sent = 0.0
        self.ping_number = 0
        self.pong_deadline = 0.0
        self.heard = False
        self.close_at = 0.0

    # The opening handshake.

    def accept_websocket(self, stream: Stream, subprotocol: object, fields: object) -> int:
        """Complete the opening handshake (RFC 6455 4.2.2). Returns 0."""
        handshake = self.handshake
        block = encode_fields(fields, DROP_SWITCHING)
        check_accept_fields(block)
        lines = switching_fields(handshake.key) + agreed_fields(handshake, subprotocol, self.extension)
        exchange = self.stream.exchange
        exchange.connection.switch_protocols(exchange, lines, block, self)
        self.handshake = None
        return 0

    def take_over(self, transport: Transport) -> int:
        """The opening handshake is complete, and the transport ours. Returns 0."""
        self.transport = transport
        self.output = FrameOutput(transport)
        # Only now: the response to the handshake may have been what filled the queue.
        self.stream.writable = self.stream.exchange.writable
        self.writing_paused = not self.stream.writable
        self.state = OPEN
        interval = self.timeouts.websocket_ping
        if interval:
            self.ping_at = self.clock.time + interval
        if self.input.available():
            self.schedule()
        if self.service.draining:
            self.shutdown()
        return 0

    # Called by the transport.

    def received(self, size: int) -> int:
        """The last `size` bytes of `input` are new. Returns 0."""
        self.heard = True
        if self.state >= LINGER:
            self.input.clear()
            self.linger_left -= size
            if self.linger_left < 0:
                self.abort()
        elif not self.running:
            self.run()
        return 0

    def eof(self) -> int:
        """The peer has closed its sending half. Returns 0."""
        self.peer_eof = True
        if self.state >= LINGER:
            self.close()
        elif not self.running:
            self.run()
        return 0

    def lost(self, error: object) -> int:
        """The transport is gone. Returns 0."""
        self.state = CLOSED
        self.service.connections -= 1
        self.forget()
        self.input.clear()
        self.transport = None
        self.output.transport = None
        self.stream.disconnect(ABNORMAL_CLOSURE, "")
        return 0

    def pause_writing(self) -> int:
        """The transport's queue is full. Returns 0."""
        self.writing_paused = True
        self.stream.writable = False
        return 0

    def resume_writing(self) -> int:
        """The transport's queue has room again. Returns 0."""
        self.writing_paused = False
        if self.pong is not None and self.state == OPEN:
            pong = self.pong
            self.pong = None
            self.output.send(encode_frame(PONG, pong, True, False))
        stream = self.stream
        if not self.writing_paused and not stream.disconnected:
            stream.writable = True
            if stream.responder is not None:
                stream.responder.writable()
        return 0

    def file_sent(self, error: object) -> int:
        """Not ours. Returns 0."""
        return 0

    def resume(self) -> int:
        """A later turn of the loop. Returns 0."""
        self.scheduled = False
        if not self.running and self.state < LINGER:
            self.run()
        return 0

    def tick(self, now: float) -> int:
        """Check every deadline against `now`. Returns 0."""
        if self.transport is None:
            return 0
        # When it is CLOSED too: the transport closes once its output is taken.
        if self.output.pending and self.output.stalled(now, self.timeouts.write):
            self.abort()
            return 0
        if self.state == OPEN:
            if self.close_at and now >= self.close_at:
                self.close_at = 0.0
                self.end(SERVICE_RESTART, "")
            elif self.pong_deadline and now >= self.pong_deadline:
                self.miss_pong(now)
            elif self.ping_at and now >= self.ping_at:
                self.ping(now)
        if self.deadline and now >= self.deadline:
            if self.output.waiting():
                # The client has yet to get our last frame; `stalled` gives up on one that takes nothing.
                self.set_deadline(self.timeouts.websocket_close if self.state == CLOSING else self.timeouts.linger)
            else:
                self.abort()
        return 0

    def shutdown(self) -> int:
        """End gracefully: with 1012, service restart, within RESTART_SPREAD seconds. Returns 0."""
        if self.state == OPEN and not self.close_at:
            self.close_at = self.clock.time + random() * RESTART_SPREAD
        return 0

    def abort_requests(self) -> int:
        """The grace period is over. Returns 0."""
        if self.stream.responder is not None:
            self.stream.responder.cancel()
        self.abort()
        return 0

    def fresh(self) -> bool:
        """No other request follows that of the opening handshake."""
        return False

    def lingering(self) -> bool:
        """Whether its last byte is on its way, and it only waits for the peer to close."""
        return self.state >= LINGER

    def describe(self) -> str:
        """What it is, for the log."""
        return f"WebSocket {self.path.decode('latin-1')} of {peer_name(self.client)}"

    # Input.

    def run(self) -> int:
        """Consume input until more is needed, or the application has to act first. Returns 0."""
        self.running = True
        self.braked = False
        burst = 0
        try:
            while self.state <= CLOSING:
                if self.full():
                    self.braked = True
                    break
                if burst == BURST:
                    self.braked = True
                    self.schedule()
                    break
                if not self.read_frame():
                    break
                burst += 1
        except RemoteProtocolError as error:
            self.fail(error.status, str(error))
        self.running = False
        self.output.uncork()
        if self.peer_eof and not self.braked and self.state < LINGER:
            # RFC 6455 7.1.5: no Close frame came, or not all of it.
            self.close()
            self.stream.disconnect(ABNORMAL_CLOSURE, "")
        self.brake()
        return 0

    def full(self) -> bool:
        """Whether as much waits for the application as may."""
        limit = self.limits.websocket_queue
        return limit > 0 and self.stream.queued >= limit and self.state == OPEN

    def brake(self) -> int:
        """Pause or resume reading. Returns 0."""
        if self.braked != self.reading_paused and self.state < CLOSED:
            self.reading_paused = self.braked
            if self.braked:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()
        return 0

    def read_frame(self) -> bool:
        """Consume a frame, or as much of it as is here. False when more input is needed."""
        head = self.head
        if not self.in_payload:
            if head.parse(self.input) != DONE:
                return False
            self.in_payload = True
            self.taken = 0
            if self.state == OPEN:
                check_frame(head, self.message.opcode != 0, self.deflate is not None)
                if head.opcode <= BINARY:
                    self.message.begin_frame(head)
            elif head.opcode > BINARY or head.length < 0:
                check_control(head)
        left = head.length - self.taken
        available = self.input.available()
        if head.opcode > BINARY:
            # At most 125 bytes.
            if available < left:
                return False
            self.in_payload = False
            self.control(head.opcode, take_payload(self.input, head, 0, left))
            return True
        if available == 0 and left > 0:
            return False
        if self.state != OPEN:
            # RFC 6455 5.5.1: after our Close, data is of no use.
            self.taken += self.input.discard(left if left < available else available)
            self.in_payload = self.taken < head.length
            return True
        message = self.message
        if head.fin and available >= left and not self.taken and message.plain():
            self.in_payload = False
            self.deliver(message.whole(self.input, head, left))
            return True
        size = left if left < available else available
        piece = take_payload(self.input, head, self.taken, size)
        self.taken += size
        self.in_payload = self.taken < head.length
        complete = message.add(piece, head.fin and not self.in_payload)
        if complete is not None:
            self.deliver(complete)
        return True

    def deliver(self, message: object) -> int:
        """A message is complete: give it to the application, which may be resumed at once. Returns 0."""
        self.message.clear()
        self.output.corked = self.input.available() > 0
        self.stream.feed_message(message)
        return 0

    def control(self, opcode: int, payload: bytes) -> int:
        """A control frame has arrived (RFC 6455 5.5). Returns 0."""
        if opcode == PING:
            if self.state == OPEN:
                if self.writing_paused:
                    # RFC 6455 5.5.3: the most recent one is all that has to be answered.
                    self.pong = payload
                else:
                    self.output.corked = self.input.available() > 0
                    self.output.send(encode_frame(PONG, payload, True, False))
        elif opcode == PONG:
            if self.pong_deadline and payload == self.ping_payload():
                self.pong_deadline = 0.0
                self.service.log.debug("WebSocket pong after %.1f ms", (monotonic() - self.ping_sent) * 1000)
        else:
            code, reason = read_close(payload)
            if self.state == OPEN:
                self.output.send(encode_frame(CLOSE, payload[:2], True, False))
            self.output.flush()
            # RFC 6455 7.1.1: the server closes first, so that the client is spared the TIME_WAIT.
            if self.input.available():
                # What comes after a Close is of no use, but unread it would have our own Close reset away.
                self.linger()
            else:
                self.close()
            self.stream.disconnect(code, reason)
        return 0

    def messages_taken(self, stream: Stream) -> int:
        """The application took a message: reading may go on. Returns 0."""
        if self.braked and not self.running and not self.full():
            # Not here: the application's code is on the stack.
            self.schedule()
        return 0

    # Output.

    def send_message(self, stream: Stream, message: object) -> int:
        """Send a text message (str) or a binary one (bytes). Returns 0."""
        if self.state != OPEN:
            return 0
        text = type(message) is str
        opcode = TEXT if text else BINARY
        if self.deflate is not None:
            data = message.encode() if text else message
            compress = len(data) >= self.deflate.min_size
            self.output.send(encode_frame(opcode, self.deflate.compress(data) if compress else data, True, compress))
        elif len(message) <= JOIN_SIZE:
            self.output.send(encode_text(message) if text else encode_frame(BINARY, message, True, False))
        else:
            data = message.encode() if text else message
            self.output.send_parts([frame_head(opcode, len(data), True, False), data])
        return 0

    def close_websocket(self, stream: Stream, code: int, reason: str) -> int:
        """The application closes it (RFC 6455 7.1.2). Returns 0."""
        payload = close_payload(code, reason)
        if self.state == OPEN:
            self.send_close(payload)
        return 0

    def send_close(self, payload: bytes) -> int:
        """Begin the closing handshake. Returns 0."""
        self.output.send(encode_frame(CLOSE, payload, True, False))
        self.output.flush()
        self.forget()
        self.state = CLOSING
        self.set_deadline(self.timeouts.websocket_close)
        if self.braked and not self.running:
            # The client's answer may be behind messages that nobody takes any more.
            self.schedule()
        return 0

    def end(self, code: int, reason: str) -> int:
        """Begin the closing handshake, of our own accord: the application hears of it now. Returns 0."""
        self.send_close(close_payload(code, reason))
        self.stream.disconnect(code, reason)
        return 0

    def fail(self, code: int, reason: str) -> int:
        """Fail the connection (RFC 6455 7.1.7): say why, and read nothing more. Returns 0."""
        if self.state >= LINGER:
            return 0
        self.service.log.info("WebSocket failed with %d: %s (%s)", code, reason, peer_name(self.client))
        if self.state == OPEN:
            self.output.send(encode_frame(CLOSE, close_payload(code, reason), True, False))
        self.output.flush()
        self.linger()
        self.stream.disconnect(code, reason)
        return 0

    # Signs of life (RFC 6455 5.5.2).

    def ping(self, now: float) -> int:
        """Send a ping; there must be a sign of life in time. Returns 0."""
        self.ping_at = now + self.timeouts.websocket_ping
        if self.writing_paused:
            # The wait for a client that does not read has a deadline of its own.
            return 0
        self.ping_number += 1
        self.ping_sent = monotonic()
        self.heard = False
        self.output.send(encode_frame(PING, self.ping_payload(), True, False))
        if self.timeouts.websocket_pong and not self.pong_deadline:
            self.pong_deadline = now + self.timeouts.websocket_pong
        return 0

    def ping_payload(self) -> bytes:
        """What the current ping says, and the pong to it."""
        return self.ping_number.to_bytes(8, "big")

    def miss_pong(self, now: float) -> int:
        """There was no pong in time. Returns 0."""
        if self.heard or self.reading_paused:
            # It may be behind a long message, or behind those that the application does not take.
            self.heard = False
            self.pong_deadline = now + self.timeouts.websocket_pong
            return 0
        self.pong_deadline = 0.0
        # RFC 6455 7.1.5: to the application, nothing was received that tells how it ended.
        self.stream.disconnect(ABNORMAL_CLOSURE, "")
        self.fail(INTERNAL_ERROR, "keepalive ping timeout")
        return 0

    # The end.

    def forget(self) -> int:
        """Drop what belongs to an open WebSocket only. Returns 0."""
        self.message = None
        self.deflate = None
        self.output.drop()
        self.pong = None
        self.ping_at = 0.0
        self.pong_deadline = 0.0
        self.close_at = 0.0
        return 0

    def linger(self) -> int:
        """Close in stages, so that the client can read our last frame (as in RFC 9112 9.6). Returns 0."""
        self.forget()
        self.state = LINGER
        sending = self.input.available() > 0 or (self.in_payload and self.taken != self.head.length)
        self.input.clear()
        # TLS has no half to close. A client that is still sending gets to read why; any other waits for the close.
        if self.peer_eof or not (self.transport.shutdown_write() or sending):
            self.close()
        else:
            self.linger_left = self.limits.linger
            self.set_deadline(self.timeouts.linger)
        return 0

    def close(self) -> int:
        """Close once the output is flushed. Returns 0."""
        if self.state != CLOSED:
            self.forget()
            self.state = CLOSED
            self.deadline = 0.0
            self.input.clear()
            self.transport.close()
        return 0

    def abort(self) -> int:
        """Close now. Returns 0."""
        self.forget()
        self.state = CLOSED
        self.deadline = 0.0
        self.input.clear()
        self.transport.abort()
        self.stream.disconnect(ABNORMAL_CLOSURE, "")
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
