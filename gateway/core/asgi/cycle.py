"""ASGICycle: one HTTP exchange as an ASGI application sees it.

Theory of operation. The cycle is the coroutine that the task runs: it drives the application's coroutine and hears
of its end itself. The application's `receive` and `send` are `receive_event` and `send_event` here (a coroutine
has a `send` of its own). They do their work when they are called and hand back an awaitable that is ready, unless
the content is not there yet or the client is slow; only then is there something to wait for.

An application that never waits would keep the loop to itself, so both give way once per BURST bytes.
"""

import asyncio
import contextvars
import inspect
import os
import stat

from gateway.errors import ClientDisconnected, LocalProtocolError, caused_by_disconnect

from ..http.fields import response_block, trailer_block
from ..http.stream import HTTPStream, has_no_end
from ..http.websocket import WebSocketStream
from ..kernels.base import Handler, Responder, Stream, bind
from ..kernels.driver import READY, YIELD, Driver, Yield, copy_context, ready, task_options
from .scope import base_scope, http_extensions, http_scope
from .turns import BURST, MESSAGE_COST
from .websocket import WebSocketCycle, websocket_scope


class ASGIHandler(Handler):
    """Starts an ASGI application for each stream.

    `app` is the application, `asgi2` tells the double callable of ASGI 2 from the single one of ASGI 3. `loop` is
    the running event loop, `state` the lifespan's state or None, `log` a `logging.Logger`.
    """

    __slots__ = ("app", "asgi2", "base", "context", "cycles", "extensions", "log", "loop", "options", "plain", "state")

    def __init__(
        self, app: object, loop: object, log: object, state: dict | None = None, asgi2: bool = False
    ) -> None:
        self.app = app
        self.loop = loop
        self.log = log
        self.state = state
        self.asgi2 = asgi2
        # Calling a coroutine function runs none of its code; of anything else, code runs before there is a task, and
        # has to find the request's context all the same.
        self.plain = not (
            inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))
        )
        self.base = base_scope(state is not None)
        self.extensions = http_extensions()
        self.context = contextvars.copy_context()
        self.options = task_options(loop, True)
        # Applications may go on after their response; the loop itself holds tasks only weakly.
        self.cycles = set()

    def open(self, stream: Stream) -> Responder:
        """Start the application. With eager tasks it runs up to its first wait before this returns."""
        exchange = stream
        cycle = ASGICycle.__new__(ASGICycle)
        cycle.prepare(self, exchange)
        exchange.responder = cycle
        scope = http_scope(exchange, self.base, self.extensions, self.state)
        context = copy_context(self.context)
        self.cycles.add(cycle)
        try:
            if self.asgi2:
                awaitable = context.run(call_app, self.app, True, scope, cycle.receive_event, cycle.send_event)
            elif self.plain:
                awaitable = context.run(self.app, scope, cycle.receive_event, cycle.send_event)
            else:
                awaitable = self.app(scope, bind(RECEIVE, cycle), bind(SEND, cycle))
        except (Exception, SystemExit) as error:
            cycle.finished(error)
            return cycle
        cycle.start(awaitable, context, self.options)
        return cycle

    def open_websocket(self, stream: Stream) -> Responder:
        """The same for a WebSocket."""
        socket: WebSocketStream = stream
        cycle = WebSocketCycle(self.loop, self.log, self.cycles, socket)
        socket.responder = cycle
        socket.exchange.responder = cycle
        scope = websocket_scope(socket, self.base, self.state)
        context = copy_context(self.context)
        self.cycles.add(cycle)
        receive = bind(WEBSOCKET_RECEIVE, cycle)
        send = bind(WEBSOCKET_SEND, cycle)
        try:
            awaitable = context.run(call_app, self.app, self.asgi2, scope, receive, send)
        except (Exception, SystemExit) as error:
            cycle.finished(error)
            return cycle
        cycle.start(awaitable, context, self.options)
        return cycle

    def active(self) -> int:
        """Applications that have not returned yet, whether their response is complete or not."""
        return len(self.cycles)

    def cancel_all(self) -> int:
        """Cancel every application that still runs. Returns 0."""
        for cycle in list(self.cycles):
            cycle.cancel()
        return 0


class ASGICycle(Driver):
    """One exchange's `receive` and `send`."""

    __slots__ = ("body_done", "burst", "handler", "stream", "trailers", "waiters")

    def prepare(self, handler: ASGIHandler, stream: HTTPStream) -> int:
        """What `__init__` would do, but for the cost of a call through the interpreter. Returns 0."""
        self.handler = handler
        self.stream = stream
        self.body_done = False
        self.burst = 0
        self.waiters = None
        self.trailers = None
        return 0

    # The application's callables.

    def receive_event(self):
        """The next event (ASGI HTTP specification, "Request" and "Disconnect")."""
        if self.burst > BURST:
            return self.later()
        message = self.next_event()
        if message is None:
            return self.wait_event()
        self.burst += MESSAGE_COST
        return ready(message)

    def send_event(self, message):
        """Send an event.

        Raises LocalProtocolError for an event that is unknown or out of order, TypeError for one of the wrong
        shape, and ClientDisconnected (an OSError, as the specification asks since 2.4) when the client is gone.
        """
        stream = self.stream
        event: dict = message if type(message) is dict else dict(message)
        kind = event["type"]
        if kind == "http.response.body":
            body = event.get("body", b"")
            if type(body) is not bytes:
                body = as_bytes(body)
            self.check_complete(kind)
            self.burst += len(body) + MESSAGE_COST
            stream.send_body(body, bool(event.get("more_body", False)))
        elif kind == "http.response.start":
            self.start_response(event)
        elif kind == "http.response.trailers":
            self.send_trailers(event)
        elif kind == "http.response.early_hint":
            self.early_hint(event)
        elif kind == "http.response.pathsend":
            self.check_complete(kind)
            return self.send_path(event)
        elif kind == "http.response.zerocopysend":
            self.check_complete(kind)
            return self.send_zero_copy(event)
        else:
            raise LocalProtocolError(f"Unexpected ASGI message type {kind!r}.")
        if stream.response_complete:
            # The connection owns the rest: nobody waits for a client to take the end of its response.
            self.wake()
        elif not stream.writable:
            return self.wait_writable()
        if self.burst > BURST:
            self.burst = 0
            return Yield()
        return READY

    # Called by the stream and the connection.

    def body_available(self) -> int:
        """Content arrived. Returns 0."""
        self.wake()
        return 0

    def disconnected(self) -> int:
        """Nobody reads the response any more. Returns 0."""
        self.wake()
        return 0

    def peer_closed(self) -> int:
        """The client closed its sending half for a while. Returns 0."""
        self.wake()
        return 0

    def writable(self) -> int:
        """Output was taken. Returns 0."""
        self.wake()
        return 0

    def cancel(self) -> int:
        """Cancel the application. Returns 0."""
        task = self.task
        if task is not None:
            task.cancel()
        return 0

    def finished(self, error: object) -> int:
        """The application has returned or raised. Returns 0."""
        stream = self.stream
        self.handler.cycles.discard(self)
        log = self.handler.log
        if error is None:
            if stream.peer_closed and not stream.disconnected and has_no_end(stream) and not stream.expect_trailers:
                # It was asked to come to an end.
                stream.send_body(b"", False)
            elif not stream.disconnected and not stream.response_complete:
                if stream.response_started:
                    log.error("ASGI callable returned without completing response.")
                else:
                    log.error("ASGI callable returned without starting response.")
                stream.fail(500)
        elif isinstance(error, asyncio.CancelledError):
            if not stream.disconnected and not stream.response_complete:
                log.error("ASGI application was cancelled, or raised CancelledError, before its response was complete.")
            stream.fail(500)
        elif not (stream.disconnected and caused_by_disconnect(error)):
            log.error("Exception in ASGI application", exc_info=error)
            stream.fail(500)
        self.wake()
        # The two refer to each other; without this every request would be left to the garbage collector.
        stream.responder = None
        return 0

    # Receiving.

    def next_event(self):
        """The next event if there is one, else None."""
        stream = self.stream
        if stream.disconnected or stream.response_complete:
            return {"type": "http.disconnect"}
        if not self.body_done:
            complete = stream.body_complete
            data = stream.take_body()
            if data or complete:
                self.body_done = complete
                if data:
                    self.burst += len(data)
                    stream.consumed(len(data))
                return {"type": "http.request", "body": data, "more_body": not complete}
            stream.want_body()
            return None
        if stream.peer_closed:
            return {"type": "http.disconnect"}
        return None

    async def wait_event(self):
        """Wait for the next event. Looks first: what `receive` gave may be awaited later than it was called."""
        while True:
            message = self.next_event()
            if message is not None:
                return message
            await self.wait()

    async def later(self):
        """The next event, after others had their turn: taken only then, so that none is lost with a cancelled wait."""
        self.burst = 0
        await YIELD
        return await self.wait_event()

    def wait(self):
        """A future that the next change of the exchange resolves."""
        self.burst = 0
        waiter = self.handler.loop.create_future()
        if self.waiters is None:
            self.waiters = [waiter]
        else:
            # Less those that were cancelled: an application may ask again and again whether the client is there.
            self.waiters = [other for other in self.waiters if not other.done()]
            self.waiters.append(waiter)
        return waiter

    def wake(self) -> int:
        """Let everybody who waits look again. Returns 0."""
        waiters = self.waiters
        if waiters is not None:
            self.waiters = None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return 0

    # Sending.

    def check_complete(self, kind: str) -> int:
        """Raise if the response's content has ended. Returns 0."""
        stream = self.stream
        if stream.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if stream.content_done:
            raise LocalProtocolError(f"Unexpected ASGI message {kind!r} sent, after response already completed.")
        if not stream.response_started:
            raise LocalProtocolError(f"Expected ASGI message 'http.response.start', but got {kind!r}.")
        return 0

    def start_response(self, message: dict) -> int:
        """http.response.start. Returns 0."""
        stream = self.stream
        if stream.response_started and not stream.disconnected:
            raise LocalProtocolError("Expected ASGI message 'http.response.body', but got 'http.response.start'.")
        status = message["status"]
        if not isinstance(status, int):
            raise TypeError("the status of 'http.response.start' must be an integer")
        block = response_block(message.get("headers", ()))
        stream.send_head(status, b"", block, bool(message.get("trailers", False)))
        return 0

    def send_trailers(self, message: dict) -> int:
        """http.response.trailers (extension "HTTP Trailers"). Returns 0."""
        if self.trailers is None:
            self.trailers = []
        self.trailers.extend(message.get("headers", ()))
        if not message.get("more_trailers", False):
            self.stream.send_trailers(trailer_block(self.trailers))
        return 0

    def early_hint(self, message: dict) -> int:
        """http.response.early_hint (extension "Early Hints"; RFC 8297). Returns 0."""
        fields = [(b"Link", link) for link in message.get("links", ())]
        self.stream.send_informational(103, response_block(fields))
        return 0

    def send_path(self, message: dict):
        """http.response.pathsend (extension "Path Send")."""
        descriptor = os.open(message["path"], os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise LocalProtocolError("'http.response.pathsend' needs the path of a regular file")
            self.stream.send_file(descriptor, 0, status.st_size, False)
        except BaseException:
            os.close(descriptor)
            raise
        return self.wait_file(descriptor)

    def send_zero_copy(self, message: dict):
        """http.response.zerocopysend (extension "Zero Copy Send")."""
        file = message["file"]
        descriptor = os.dup(file if isinstance(file, int) else file.fileno())
        try:
            offset = message.get("offset")
            follows = offset is None
            if follows:
                offset = os.lseek(descriptor, 0, os.SEEK_CUR)
            count = message.get("count")
            if count is None:
                count = max(os.fstat(descriptor).st_size - offset, 0)
            self.stream.send_file(descriptor, offset, count, bool(message.get("more_body", False)))
            if follows:
                # As os.sendfile does: without an offset, what is sent next follows on. A duplicate shares the position.
                os.lseek(descriptor, offset + count, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return self.wait_file(descriptor)

    async def wait_file(self, descriptor: int) -> None:
        """Wait until the file is out."""
        try:
            await self.wait_writable()
        finally:
            os.close(descriptor)

    async def wait_writable(self) -> None:
        """Wait until the client has taken enough of the output."""
        stream = self.stream
        while not (stream.writable or stream.disconnected or stream.response_complete):
            await self.wait()
        if stream.response_complete:
            self.wake()
        elif stream.disconnected:
            raise ClientDisconnected("the client has disconnected")


# As attributes of a cycle they would be looked up for every request.
RECEIVE = vars(ASGICycle)["receive_event"]
SEND = vars(ASGICycle)["send_event"]
WEBSOCKET_RECEIVE = vars(WebSocketCycle)["receive_event"]
WEBSOCKET_SEND = vars(WebSocketCycle)["send_event"]


def call_app(app, asgi2: bool, scope: dict, receive, send):
    """Call the application: the single callable of ASGI 3, or the double one of ASGI 2."""
    return app(scope)(receive, send) if asgi2 else app(scope, receive, send)


def as_bytes(body: object) -> bytes:
    """A body that is bytes-like but no `bytes`. Raises TypeError for anything else."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError(f"the body of 'http.response.body' must be bytes, not {type(body).__name__}")
