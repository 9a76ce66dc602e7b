"""WebSocketCycle: one WebSocket as an ASGI application sees it (ASGI HTTP & WebSocket specification 2.5).

As with ASGICycle, the cycle is the coroutine that the task runs. What it adds: an application that waits in `receive`
is resumed from where its message arrives, without a turn of the loop in between.
"""

import asyncio

from gateway.errors import ClientDisconnected, LocalProtocolError, caused_by_disconnect

from ..http.codes import ABNORMAL_CLOSURE, INTERNAL_ERROR, NORMAL_CLOSURE
from ..http.fields import response_block
from ..http.websocket import WebSocketStream
from ..kernels.driver import READY, YIELD, Driver, Receive, Waiter, Yield, receive, waiter
from .scope import set_root_path
from .turns import BURST, MESSAGE_COST


class WebSocketCycle(Driver):
    """One WebSocket's `receive` and `send`.

    Until the opening handshake is complete it is the responder of the HTTP exchange too. `cycles` is the set of what
    still runs.
    """

    __slots__ = (
        "burst",
        "connected",
        "cycles",
        "denied",
        "log",
        "loop",
        "receiver",
        "receivers",
        "receiving",
        "senders",
        "stream",
    )

    def __init__(self, loop: object, log: object, cycles: set, stream: WebSocketStream) -> None:
        self.loop = loop
        self.log = log
        self.cycles = cycles
        self.stream = stream
        # Whether the application has had its "connect"; whether it has begun to refuse with a response of its own.
        self.connected = False
        self.denied = False
        self.burst = 0
        # What `receive` gives, used again and again.
        self.receiving: Receive | None = None
        # Who waits, or None: the first, and a list of others; a list of Waiters.
        self.receiver: Waiter | None = None
        self.receivers: list | None = None
        self.senders: list | None = None

    # The application's callables.

    def receive_event(self):
        """The next event."""
        if self.burst > BURST:
            return self.later()
        # Not with an event that is here already: it would be lost with what is never awaited.
        receiving = self.receiving
        if receiving is None or not receiving.idle:
            receiving = self.receiving = receive(self, self.loop)
        receiving.idle = False
        return receiving

    def send_event(self, message):
        """Send an event.

        Raises LocalProtocolError for an event that is unknown or out of order, TypeError for one of the wrong
        shape, and ClientDisconnected (an OSError, as the specification asks since 2.4) when the client is gone.
        """
        stream = self.stream
        event: dict = message if type(message) is dict else dict(message)
        kind = event["type"]
        if kind == "websocket.send":
            data = event.get("text")
            if data is None:
                data = event.get("bytes")
                if type(data) is not bytes:
                    data = as_bytes(data)
            elif type(data) is not str:
                data = as_text(data, kind)
            self.check_open(kind)
            self.burst += len(data) + MESSAGE_COST
            stream.send_message(data)
        elif kind == "websocket.accept":
            self.accept(event)
        elif kind == "websocket.close":
            self.close_websocket(event)
        elif kind == "websocket.http.response.start" or kind == "websocket.http.response.body":
            self.deny(kind, event)
        else:
            raise LocalProtocolError(f"Unexpected ASGI message type {kind!r}.")
        if not self.can_send():
            return self.wait_writable()
        if self.burst > BURST:
            self.burst = 0
            return Yield()
        return READY

    # Called by the stream, and before the handshake is complete by that of the exchange.

    def body_available(self) -> int:
        """A message arrived, or a part of a request's content, which nobody gets. Returns 0."""
        self.wake_receivers()
        return 0

    def disconnected(self) -> int:
        """It is over. Returns 0."""
        stream = self.stream
        if not stream.disconnected:
            # The exchange has ended without a WebSocket; this is called again, by the stream.
            stream.disconnect(ABNORMAL_CLOSURE, "")
        else:
            self.wake_senders()
            self.wake_receivers()
        return 0

    def peer_closed(self) -> int:
        """The client has closed its sending half, before the handshake was complete. Returns 0."""
        return self.disconnected()

    def writable(self) -> int:
        """Output was taken. Returns 0."""
        self.wake_senders()
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
        self.cycles.discard(self)
        cancelled = isinstance(error, asyncio.CancelledError)
        code = NORMAL_CLOSURE if error is None else INTERNAL_ERROR
        if error is not None and not cancelled and not (stream.disconnected and caused_by_disconnect(error)):
            self.log.error("Exception in ASGI application", exc_info=error)
        if not stream.accepted:
            self.unanswered(error)
        elif not stream.disconnected and not stream.closed:
            stream.close(code, "")
        self.wake_senders()
        self.wake_receivers()
        # They refer to each other; without this every WebSocket would be left to the garbage collector.
        stream.responder = None
        self.receiving = None
        return 0

    def unanswered(self, error: object) -> int:
        """The application has ended without an answer to the handshake, or not with a whole one. Returns 0."""
        stream = self.stream
        exchange = stream.exchange
        if not exchange.response_complete:
            if error is None and not stream.disconnected:
                what = "completing response" if exchange.response_started else "completing handshake"
                self.log.error("ASGI callable returned without %s.", what)
            # A client that has closed its sending half counts as gone, and may be there all the same.
            exchange.fail(500)
        exchange.responder = None
        # What the application has left running gets nowhere any more.
        stream.disconnect(ABNORMAL_CLOSURE, "")
        return 0

    # Receiving.

    def next_event(self):
        """The next event if there is one, else None."""
        stream = self.stream
        self.burst += MESSAGE_COST
        if not self.connected:
            self.connected = True
            return {"type": "websocket.connect"}
        message = stream.take_message()
        if message is not None:
            self.burst += len(message)
            if type(message) is str:
                return {"type": "websocket.receive", "text": message}
            return {"type": "websocket.receive", "bytes": message}
        if stream.disconnected:
            return {"type": "websocket.disconnect", "code": stream.code, "reason": stream.reason}
        if self._ended or (self.denied and stream.exchange.response_complete):
            return {"type": "websocket.disconnect", "code": ABNORMAL_CLOSURE, "reason": ""}
        return None

    def await_event(self, one: Waiter) -> int:
        """Wake `one` when there is an event. Returns 0."""
        self.burst = 0
        if self.receiver is None:
            self.receiver = one
        elif self.receivers is None:
            self.receivers = [one]
        else:
            self.receivers.append(one)
        return 0

    def forget_waiter(self, one: Waiter) -> int:
        """It does not wait any longer. Returns 0."""
        if self.receiver is one:
            self.receiver = None
        elif self.receivers is not None and one in self.receivers:
            self.receivers.remove(one)
        return 0

    async def later(self):
        """The next event, after others had their turn."""
        self.burst = 0
        await YIELD
        return await receive(self, self.loop)

    def wake_receivers(self) -> int:
        """Let everybody who waits in `receive` look again, at once. Returns 0."""
        first = self.receiver
        waiters = self.receivers
        self.receiver = None
        self.receivers = None
        if first is not None:
            self.drive(first)
        if waiters is not None:
            for one in waiters:
                one.wake_now()
        return 0

    # Sending.

    def accept(self, event: dict) -> int:
        """websocket.accept. Returns 0."""
        stream = self.stream
        if stream.accepted or self.denied:
            raise LocalProtocolError("Unexpected ASGI message 'websocket.accept': the handshake was answered before.")
        stream.accept(event.get("subprotocol"), event.get("headers") or ())
        return 0

    def close_websocket(self, event: dict) -> int:
        """websocket.close. Returns 0."""
        stream = self.stream
        if stream.accepted:
            self.check_open("websocket.close")
            stream.close(as_code(event.get("code")), as_text(event.get("reason") or "", "websocket.close"))
        else:
            # "If this is sent before the socket is accepted, the server must close with a HTTP 403 error code".
            self.deny("websocket.http.response.start", {"status": 403, "headers": FORBIDDEN_FIELDS})
            self.deny("websocket.http.response.body", {"body": b"403 Forbidden\n"})
        return 0

    def deny(self, kind: str, event: dict) -> int:
        """A response instead of a WebSocket (extension "WebSocket Denial Response"). Returns 0."""
        stream = self.stream
        if stream.accepted:
            raise LocalProtocolError(f"Unexpected ASGI message {kind!r}: the WebSocket was accepted.")
        if stream.disconnected:
            raise ClientDisconnected("the client has disconnected")
        exchange = stream.exchange
        if kind == "websocket.http.response.start":
            if self.denied:
                raise LocalProtocolError(f"Unexpected ASGI message {kind!r}: the response has already begun.")
            status = event["status"]
            if not isinstance(status, int):
                raise TypeError(f"the status of {kind!r} must be an integer")
            exchange.send_head(status, b"", response_block(event.get("headers") or ()), False)
            self.denied = True
        else:
            if not self.denied:
                raise LocalProtocolError(f"Expected ASGI message 'websocket.http.response.start', but got {kind!r}.")
            body = bytes(memoryview(event.get("body", b"")))
            self.burst += len(body) + MESSAGE_COST
            exchange.send_body(body, bool(event.get("more_body", False)))
            if exchange.response_complete:
                self.wake_receivers()
        return 0

    def check_open(self, kind: str) -> int:
        """Raise unless messages may be sent now. Returns 0."""
        stream = self.stream
        if stream.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if not stream.accepted:
            raise LocalProtocolError(f"Expected ASGI message 'websocket.accept', but got {kind!r}.")
        if stream.closed:
            raise LocalProtocolError(f"Unexpected ASGI message {kind!r}, after sending 'websocket.close'.")
        return 0

    def can_send(self) -> bool:
        """Whether there is nothing that `send` has to wait for."""
        stream = self.stream
        if stream.disconnected:
            return True
        if stream.accepted:
            return stream.writable or stream.closed
        exchange = stream.exchange
        return exchange.writable or exchange.response_complete

    async def wait_writable(self) -> None:
        """Wait until the client has taken enough of the output."""
        while not self.can_send():
            self.burst = 0
            one = waiter(self.loop)
            self.senders = with_waiter(self.senders, one)
            await one
        stream = self.stream
        if stream.disconnected and not stream.closed:
            raise ClientDisconnected("the client has disconnected")

    def wake_senders(self) -> int:
        """Let everybody who waits in `send` look again. Returns 0."""
        waiters = self.senders
        if waiters is not None:
            self.senders = None
            for one in waiters:
                one.wake()
        return 0


FORBIDDEN_FIELDS = ((b"content-type", b"text/plain; charset=utf-8"),)


def websocket_scope(stream: WebSocketStream, base: dict, state: dict | None) -> dict:
    """The scope for `stream` ("WebSocket Connection Scope"). `base` is that of HTTP; `state` as there."""
    exchange = stream.exchange
    scope = exchange.head.scope(base)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if exchange.scheme == "https" else "ws"
    if exchange.root_path:
        set_root_path(scope, exchange)
    scope["client"] = exchange.client
    scope["server"] = exchange.server
    scope["subprotocols"] = list(stream.subprotocols)
    scope["extensions"] = {"websocket.http.response": {}}
    if state is not None:
        scope["state"] = state.copy()
    return scope


def with_waiter(waiters: list | None, one: Waiter) -> list:
    """`waiters` and `one`, less those that nobody waits for any more: of one that is cancelled nobody else hears."""
    if waiters is None:
        return [one]
    left = [other for other in waiters if not other.done()]
    left.append(one)
    return left


def as_bytes(data: object) -> bytes:
    """The bytes of a message, given as something else than `bytes`. Raises TypeError for what has none."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"'websocket.send' needs a 'text' of type str, or 'bytes', not {type(data).__name__}")


def as_text(data: object, kind: str) -> str:
    """A str, or an instance of a subclass, as the former: what it holds, not what it says it is. Raises TypeError."""
    if isinstance(data, str):
        return str.__str__(data)
    raise TypeError(f"the text of {kind!r} must be a str, not {type(data).__name__}")


def as_code(code: object) -> int:
    """A close code, 1000 where there is none; 0, which is refused, for what no Close frame has room for."""
    if code is None:
        return NORMAL_CLOSURE
    if not isinstance(code, int):
        raise TypeError(f"the code of 'websocket.close' must be an integer, not {type(code).__name__}")
    return int(code) if 0 <= code <= 65535 else 0
