"""WebSocketStream: one WebSocket, whatever carries its frames.

It begins as an HTTP exchange, of which nobody has answered the request. Then it is either accepted, and messages go
both ways until one side closes it; or refused, which is an HTTP response. The connection puts messages in, the
responder takes them out and sends its own.

Rule: `disconnected` is final. It comes with a close code (RFC 6455 7.4) and a reason, after every message that was
received before; what the application sends afterwards raises ClientDisconnected.
"""

from gateway.errors import ClientDisconnected, LocalProtocolError

from ..kernels.base import Connection, Responder, Stream
from .stream import HTTPStream

# What a message in the queue counts for, beside its bytes or characters.
MESSAGE_COST = 64


class WebSocketStream(Stream):
    """One WebSocket.

    For the responder to read: `exchange` (the HTTP exchange of the opening handshake; None once it is accepted),
    `subprotocols` (what the client offers, list of str), `accepted`, `closed` (the application has closed it),
    `disconnected` with `code` and `reason`, `writable` (False while the client's queue is above its high-water mark).
    """

    __slots__ = (
        "accepted",
        "closed",
        "code",
        "connection",
        "disconnected",
        "exchange",
        "messages",
        "queued",
        "reason",
        "responder",
        "subprotocols",
        "writable",
    )

    def __init__(self, connection: Connection, exchange: HTTPStream, subprotocols: list) -> None:
        self.connection: Connection | None = connection
        self.exchange: HTTPStream | None = exchange
        self.subprotocols = subprotocols
        self.responder: Responder | None = None
        # Messages that were received and not taken yet, or None, and what they count for.
        self.messages: list | None = None
        self.queued = 0
        self.accepted = False
        self.closed = False
        self.disconnected = False
        self.code = 0
        self.reason = ""
        self.writable = True

    # The connection's side.

    def feed_message(self, message: object) -> int:
        """A message arrived, str or bytes. Returns 0."""
        if self.messages is None:
            self.messages = [message]
        else:
            self.messages.append(message)
        self.queued += len(message) + MESSAGE_COST
        if self.responder is not None:
            self.responder.body_available()
        return 0

    def disconnect(self, code: int, reason: str) -> int:
        """Nothing more comes and nothing more is sent: tell the application, once. Returns 0."""
        if not self.disconnected:
            self.disconnected = True
            self.writable = True
            self.code = code
            self.reason = reason
            # The two refer to each other; without this every WebSocket would be left to the garbage collector.
            self.connection = None
            if self.responder is not None:
                self.responder.disconnected()
        return 0

    # The application's side.

    def take_message(self) -> object:
        """The next message, str or bytes; None if there is none."""
        messages = self.messages
        if messages is None:
            return None
        message = messages[0]
        if len(messages) == 1:
            self.messages = None
        else:
            del messages[0]
        self.queued -= len(message) + MESSAGE_COST
        if not self.disconnected:
            self.connection.messages_taken(self)
        return message

    def accept(self, subprotocol: object, fields: object) -> int:
        """Complete the opening handshake. Returns 0.

        `subprotocol` is one of those offered, or None; `fields` are (name, value) byte pairs for the response. Raises
        LocalProtocolError, and ClientDisconnected when the client is gone.
        """
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        self.connection.accept_websocket(self, subprotocol, fields)
        self.accepted = True
        self.exchange = None
        return 0

    def send_message(self, message: object) -> int:
        """Send a text message (str) or a binary one (bytes). Returns 0.

        Raises ClientDisconnected, LocalProtocolError once the application has closed it, and UnicodeEncodeError for
        text that has no UTF-8 form.
        """
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if self.closed:
            raise LocalProtocolError("a message after the WebSocket was closed")
        self.connection.send_message(self, message)
        return 0

    def close(self, code: int, reason: str) -> int:
        """Begin the closing handshake (RFC 6455 7.1.2). Returns 0. Raises as `send_message`.

        `disconnected` follows, when the client has answered or the wait for that is over.
        """
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if self.closed:
            raise LocalProtocolError("the WebSocket is already closed")
        self.connection.close_websocket(self, code, reason)
        self.closed = True
        return 0
