"""The joints of the request path: what the rooms of `core` know of each other.

A protocol (HTTP/1.1 now, HTTP/2 later) is a `Connection` that makes `Stream` objects. A `Handler` (WSGI or ASGI)
opens one `Responder` per stream. Neither side imports the other; both see only the classes below. The server gives
a connection a `Transport` to write to, and WSGI an `Executor` to run in.

Everything here is called on the event loop's thread, unless its docstring says otherwise.
"""

import time
from types import MethodType
from typing import Any

from .buffer import InputBuffer


def bind(function: Any, instance: object) -> Any:
    """`function`, out of the class of `instance`, as a method of it. Raises TypeError for what can't be one."""
    return MethodType(function, instance)


def monotonic() -> float:
    """What `time.monotonic` returns, without a call through the interpreter."""
    return time.monotonic()


def wall() -> float:
    """What `time.time` returns, without a call through the interpreter."""
    return time.time()


class Clock:
    """Coarse time, set by one timer of the process and read for nothing on the request path."""

    __slots__ = ("time",)

    def __init__(self, time: float = 0.0) -> None:
        self.time = time
        """Monotonic seconds, as of the last tick."""


class Transport:
    """Where a connection writes, and the brake it has on its peer.

    All methods but `send_now` and `send_parts_now` are the loop's. `threadsafe`: whether these are to be tried at all.
    """

    __slots__ = ()

    threadsafe = False

    def write(self, data: bytes) -> int:
        """Queue `data` for sending; never blocks. Returns 0."""
        raise NotImplementedError

    def write_soon(self, data: bytes) -> int:
        """Queue `data`, to be sent together with what is written to others in this turn of the loop. Returns 0."""
        return self.write(data)

    def write_parts(self, parts: list) -> int:
        """Queue several byte strings, in order, without joining large ones. Returns 0."""
        raise NotImplementedError

    def send_now(self, data: bytes) -> int:
        """What the socket takes of `data` at once, in bytes; a failed send takes 0, and the loop finds the error.

        -1 when it may not be sent this way: something is queued, the transport is closing, shut, doomed or sending a
        file, `data` is so large that the GIL has to be released for it, or a thread may not send at all.

        May be called from any thread: where `threadsafe`, it runs under the GIL from the check to the end of the send,
        without a Python call in between, so that it can't interleave with the loop.
        """
        return -1

    def send_parts_now(self, parts: list) -> int:
        """The same for several, of any size, during which the GIL may be released.

        The caller sees to it that the loop writes nothing meanwhile. It may abort, but `Connection.lost`, which is
        told before the descriptor is closed, has to wait for the end of this call.
        """
        return -1

    def write_rest(self, parts: list, taken: int) -> int:
        """Queue what is left of `parts` when the first `taken` bytes of them are out. Returns 0."""
        raise NotImplementedError

    def buffered(self) -> int:
        """Bytes queued here that the operating system has not taken yet."""
        raise NotImplementedError

    def pause_reading(self) -> int:
        """Stop receiving, so that the peer is slowed down by its own full buffers. Returns 0."""
        raise NotImplementedError

    def resume_reading(self) -> int:
        """Receive again. Returns 0."""
        raise NotImplementedError

    def shutdown_write(self) -> bool:
        """Close the sending half once the queue is flushed (RFC 9112 9.6). False where that can't be done (TLS)."""
        raise NotImplementedError

    def close(self) -> int:
        """Close once the queue is flushed; `Connection.lost` follows. Returns 0."""
        raise NotImplementedError

    def abort(self) -> int:
        """Close now and drop what is queued; `Connection.lost` follows. Returns 0."""
        raise NotImplementedError

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send `count` bytes of a file from `offset`, after what is queued; `Connection.file_sent` follows.

        The descriptor stays the caller's and must stay open until then. Nothing may be written meanwhile.
        """
        raise NotImplementedError

    def file_progress(self) -> int:
        """Bytes of the current file sent so far: what tells a slow client from a dead one."""
        raise NotImplementedError

    def schedule(self, connection: "Connection") -> int:
        """Have `connection.resume()` called in a later turn of the loop. Returns 0."""
        raise NotImplementedError

    def switch(self, connection: "Connection") -> int:
        """From now on `connection` has what is received, and hears of all that becomes of the transport. Returns 0."""
        raise NotImplementedError


class Connection:
    """One peer, speaking one version of HTTP, or WebSocket.

    The upper half is called by whoever owns the socket, the lower half by `Stream` on behalf of the application.
    `input` is what has arrived and was not consumed yet.
    """

    __slots__ = ("input",)

    input: InputBuffer

    def opened(self) -> int:
        """The transport is ready. Returns 0."""
        raise NotImplementedError

    def feed(self, data: bytes) -> int:
        """Bytes arrived. Returns 0."""
        self.input.feed(data)
        return self.received(len(data))

    def received(self, size: int) -> int:
        """The last `size` bytes of `input` are new. Returns 0."""
        raise NotImplementedError

    def eof(self) -> int:
        """The peer has closed its sending half. Returns 0."""
        raise NotImplementedError

    def lost(self, error: object) -> int:
        """The transport is gone; `error` is an exception or None. Returns 0."""
        raise NotImplementedError

    def pause_writing(self) -> int:
        """The transport's queue is above its high-water mark. Returns 0."""
        raise NotImplementedError

    def resume_writing(self) -> int:
        """The transport's queue is below its low-water mark again. Returns 0."""
        raise NotImplementedError

    def file_sent(self, error: object) -> int:
        """The file given to `Transport.send_file` is out, or failed with `error`. Returns 0."""
        raise NotImplementedError

    def resume(self) -> int:
        """A later turn of the loop, asked for with `Transport.schedule`. Returns 0."""
        raise NotImplementedError

    def tick(self, now: float) -> int:
        """Check deadlines against `now` (monotonic seconds). Returns 0."""
        raise NotImplementedError

    def shutdown(self) -> int:
        """Graceful end: close now when idle, else after the exchanges that are running. Returns 0."""
        raise NotImplementedError

    def abort_requests(self) -> int:
        """The grace period is over: end what is still running. Returns 0."""
        raise NotImplementedError

    def fresh(self) -> bool:
        """Whether a request may well be on its way."""
        raise NotImplementedError

    def lingering(self) -> bool:
        """Whether its last byte is on its way, and it only waits for the peer to close."""
        raise NotImplementedError

    def describe(self) -> str:
        """What it is busy with, for the log, or an empty string. No query: that may hold secrets."""
        raise NotImplementedError

    def send_informational(self, stream: "Stream", status: int, block: object) -> int:
        """Send a 1xx head with the fields of `block`. Returns 0."""
        raise NotImplementedError

    def send_body(self, stream: "Stream", data: bytes, more: bool) -> int:
        """Send a part of the body; `more` False ends the response. Returns 0."""
        raise NotImplementedError

    def send_now(self, stream: "Stream", data: bytes, more: bool) -> int:
        """From a worker thread: send a part of the body, which may leave at once, past the loop.

        Returns how many bytes, encoded, the peer did not take, or -1 if nothing was done. The caller sees to it that
        the stream's disconnecting waits meanwhile. `complete_send` has to follow: before anything else is sent if
        bytes are left, and at the latest after the last part.
        """
        return -1

    def complete_send(self, stream: "Stream", ended: bool) -> int:
        """Send what is left of what `send_now` was given; with `ended` that was the last part. Returns 0."""
        raise NotImplementedError

    def send_file(self, stream: "Stream", descriptor: int, offset: int, count: int, more: bool) -> int:
        """Send a part of a file as a part of the body; `Responder.writable` follows. Returns 0."""
        raise NotImplementedError

    def send_trailers(self, stream: "Stream", block: object) -> int:
        """End a response with a trailer section (None: without one). Returns 0."""
        raise NotImplementedError

    def read_body(self, stream: "Stream") -> int:
        """The application waits for the request's content: let the peer send it. Returns 0."""
        raise NotImplementedError

    def body_consumed(self, stream: "Stream") -> int:
        """The application took content: reading may go on. Returns 0."""
        raise NotImplementedError

    def abort_stream(self, stream: "Stream") -> int:
        """The response can't be completed: end it so that the peer sees that. Returns 0."""
        raise NotImplementedError

    def switch_protocols(self, stream: "Stream", lines: bytes, block: object, successor: "Connection") -> int:
        """Answer with 101; `successor` has the transport afterwards, and the input that is not consumed. Returns 0.

        The response's fields are those of `block`, and `lines`: encoded field lines, Upgrade and Connection included.
        """
        raise NotImplementedError

    def take_over(self, transport: Transport) -> int:
        """As the `successor`: `transport` is this connection's from now on. Returns 0."""
        raise NotImplementedError

    def accept_websocket(self, stream: "Stream", subprotocol: object, fields: object) -> int:
        """Complete the opening handshake. Returns 0."""
        raise NotImplementedError

    def send_message(self, stream: "Stream", message: object) -> int:
        """Send a text message (str) or a binary one (bytes). Returns 0."""
        raise NotImplementedError

    def close_websocket(self, stream: "Stream", code: int, reason: str) -> int:
        """Begin the closing handshake. Returns 0."""
        raise NotImplementedError

    def messages_taken(self, stream: "Stream") -> int:
        """The application took messages: reading may go on. Returns 0."""
        raise NotImplementedError


class Stream:
    """One exchange: a request and its response, whatever the version of HTTP."""

    __slots__ = ()


class Responder:
    """The application's side of one exchange."""

    __slots__ = ()

    def body_available(self) -> int:
        """Content arrived on the stream, or it is complete. Returns 0."""
        raise NotImplementedError

    def disconnected(self) -> int:
        """Nobody will read this response: the peer left, or the exchange was taken back. Returns 0."""
        raise NotImplementedError

    def peer_closed(self) -> int:
        """The peer has closed its sending half for a while. It may be gone, or wait for the response. Returns 0."""
        return 0

    def writable(self) -> int:
        """Earlier output has been taken; more may be produced. Returns 0."""
        raise NotImplementedError

    def tick(self, now: float) -> int:
        """Check the responder's own deadlines against `now` (monotonic seconds). Returns 0."""
        return 0

    def cancel(self) -> int:
        """The grace period is over: stop the application as well as can be. Returns 0."""
        raise NotImplementedError


class AccessLog:
    """Gets each exchange when it is over. `keeps_environ`: it wants to see the WSGI environ of one."""

    __slots__ = ("keeps_environ",)

    def __init__(self) -> None:
        self.keeps_environ = False

    def log(self, stream: Stream, now: float) -> int:
        """The exchange has ended at `now` (monotonic seconds). Returns 0."""
        raise NotImplementedError

    def log_refusal(self, client: object, status: int, request_line: object, size: int = 0) -> int:
        """A request that never became a stream was answered with `status` and `size` bytes of content. Returns 0.

        `client` is a (host, port) tuple or None, `request_line` what could be read of it (str or bytes) or None.
        """
        raise NotImplementedError


class Handler:
    """How a connection starts the application without knowing its interface."""

    __slots__ = ()

    def open(self, stream: Stream) -> Responder:
        """Start the application for `stream`, with `stream.responder` set before its first line runs.

        It may complete the response before this returns.
        """
        raise NotImplementedError

    def open_websocket(self, stream: Stream) -> Responder:
        """The same for a WebSocket, before its opening handshake is complete."""
        raise NotImplementedError


class Upgrade:
    """How a connection hands over to another protocol without knowing it (RFC 9110 7.8)."""

    __slots__ = ()

    def wanted(self, stream: Stream) -> bool:
        """Whether the request of `stream` asks for what we upgrade to, so that `open` is to be called for it."""
        raise NotImplementedError

    def open(self, stream: Stream) -> int:
        """Answer the request, or start an application that does. Returns 0."""
        raise NotImplementedError


class Task(Responder):
    """A responder whose work is done in a thread and reported to the loop."""

    __slots__ = ()

    def run(self) -> int:
        """Called once, in a worker thread. Must not raise. Returns 0."""
        raise NotImplementedError

    def step(self) -> int:
        """Called on the loop, soon after `Executor.post`. Must not raise. Returns 0."""
        raise NotImplementedError


class Executor:
    """A bounded pool of threads."""

    __slots__ = ()

    def submit(self, task: Task) -> bool:
        """Queue `task` for a thread. False when the queue is full."""
        raise NotImplementedError

    def withdraw(self, task: Task) -> int:
        """A queued task has become void, and takes no place in the queue any more. Returns 0.

        Called with a lock held that `task.run` needs before it does anything.
        """
        raise NotImplementedError

    def post(self, task: Task) -> int:
        """From any thread: have `task.step()` called on the loop, soon. Returns 0."""
        raise NotImplementedError

    def defer(self, task: Task) -> int:
        """From any thread: have `task.step()` called when the loop next comes by, without waking it. Returns 0."""
        raise NotImplementedError

    def crowded(self) -> bool:
        """From any thread: whether tasks wait for a thread, or the loop has been woken and has yet to come."""
        raise NotImplementedError

    def drain(self) -> int:
        """On the loop: make the steps that were asked for. Returns 0."""
        raise NotImplementedError
