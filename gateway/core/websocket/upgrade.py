"""WebSocketUpgrade: the opening handshake, from the request that asks for it to the application (RFC 6455 4.2)."""

from gateway.errors import RemoteProtocolError

from ..http.fields import encode_fields
from ..http.service import Service, peer_name
from ..http.status import error_text
from ..http.stream import HTTPStream
from ..kernels.base import Stream, Upgrade
from .connection import WebSocketConnection
from .deflate import DeflateSettings, negotiate
from .handshake import check_handshake, is_websocket


class WebSocketUpgrade(Upgrade):
    """Answers requests for a WebSocket connection.

    `service` has the handler that starts applications; `deflate` is what the server is ready to agree on about
    compression, None for none.
    """

    __slots__ = ("deflate", "service")

    def __init__(self, service: Service, deflate: DeflateSettings | None) -> None:
        self.service = service
        self.deflate = deflate

    def wanted(self, stream: Stream) -> bool:
        """Whether the request of `stream` asks for a WebSocket connection."""
        exchange: HTTPStream = stream
        return is_websocket(exchange.head)

    def open(self, stream: Stream) -> int:
        """Refuse the handshake, or start the application. Returns 0."""
        exchange: HTTPStream = stream
        try:
            handshake = check_handshake(exchange.head)
        except RemoteProtocolError as error:
            self.refuse(exchange, error.status, str(error), error.fields)
            return 0
        deflate = None
        extension = b""
        if self.deflate is not None:
            agreed = negotiate(handshake.extensions, self.deflate)
            if agreed is not None:
                deflate, extension = agreed
        connection = WebSocketConnection(self.service, exchange, handshake, deflate, extension)
        handler = self.service.handler if exchange.mount is None else exchange.mount.handler
        handler.open_websocket(connection.stream)
        return 0

    def refuse(self, exchange: HTTPStream, status: int, message: str, fields: tuple) -> int:
        """Answer a handshake that is not in order. Returns 0."""
        self.service.log.warning("Invalid WebSocket handshake received. %s (%s)", message, peer_name(exchange.client))
        own = ((b"Content-Type", b"text/plain; charset=utf-8"), *fields)
        exchange.send_head(status, b"", encode_fields(own, 0), False)
        exchange.send_body(error_text(status, message), False)
        return 0
