"""IncomingMessage: a message on its way in, put together from its frames, decompressed, checked and bounded.

RFC 6455 5.4, 5.6 and 8.1. Whatever the client sends, what is held of a message has a bound: its bytes, before and after
decompression, and the number of its frames.
"""

from gateway.errors import RemoteProtocolError

from ..http.codes import INVALID_DATA, TOO_BIG
from ..http.limits import Limits
from ..kernels.buffer import InputBuffer
from ..kernels.masking import FrameHead, TextCheck, take_payload, take_text
from .deflate import Deflate
from .opcodes import CONTINUATION, RSV1, TEXT

# Bytes of a piece below which it is not worth an object of its own.
SMALL_PIECE = 4096


class IncomingMessage:
    """The message that arrives: `opcode` is its kind, 0 between two. `deflate` is the connection's, or None."""

    __slots__ = ("check", "compressed", "deflate", "fragments", "limits", "opcode", "parts", "raw_size", "size")

    def __init__(self, limits: Limits, deflate: Deflate | None) -> None:
        self.limits = limits
        self.deflate = deflate
        self.clear()

    def clear(self) -> int:
        """Be ready for the next message. Returns 0."""
        self.opcode = 0
        self.compressed = False
        # The payload so far, and its bytes before and after decompression; how many frames; a check of its text.
        self.parts: list | None = None
        self.raw_size = 0
        self.size = 0
        self.fragments = 0
        self.check: TextCheck | None = None
        return 0

    def begin_frame(self, head: FrameHead) -> int:
        """A data frame begins: hold it against the limits. Returns 0. Raises RemoteProtocolError."""
        limits = self.limits
        if head.opcode != CONTINUATION:
            self.opcode = head.opcode
            self.compressed = (head.rsv & RSV1) != 0
        if limits.websocket_frame and head.length > limits.websocket_frame:
            raise RemoteProtocolError("frame too big", TOO_BIG)
        self.raw_size += head.length
        limit = limits.websocket_message
        # Compressed, a message can be a little longer; how long it really is, shows.
        if limit and self.raw_size > limit + ((limit >> 4) + 1024 if self.compressed else 0):
            raise RemoteProtocolError("message too big", TOO_BIG)
        self.fragments += 1
        if limits.websocket_fragments and self.fragments > limits.websocket_fragments:
            raise RemoteProtocolError("too many fragments", TOO_BIG)
        return 0

    def plain(self) -> bool:
        """Whether nothing of it has arrived in pieces, or has to be decompressed."""
        return self.parts is None and not self.compressed

    def whole(self, source: InputBuffer, head: FrameHead, size: int) -> object:
        """Take a message that is one frame, and in `source` as a whole. Raises RemoteProtocolError."""
        if self.opcode != TEXT:
            return take_payload(source, head, 0, size)
        text = take_text(source, head, size)
        if text is None:
            raise RemoteProtocolError("text is not UTF-8", INVALID_DATA)
        return text

    def add(self, piece: bytes, last: bool) -> object:
        """Take a piece of the payload. Returns the message if this is the `last` one, or None.

        Raises RemoteProtocolError.
        """
        if self.compressed:
            limit = self.limits.websocket_message
            piece = self.deflate.decompress(piece, last, limit - self.size if limit else -1)
        self.size += len(piece)
        if self.opcode == TEXT:
            if self.check is None:
                self.check = TextCheck()
            # RFC 6455 8.1: as early as it shows.
            if not self.check.feed(piece) or (last and not self.check.complete()):
                raise RemoteProtocolError("text is not UTF-8", INVALID_DATA)
        parts = self.parts
        if parts is None:
            if last:
                return piece.decode() if self.opcode == TEXT else piece
            parts = self.parts = []
        if len(piece) >= SMALL_PIECE:
            parts.append(piece)
        elif parts and type(parts[-1]) is bytearray:
            # Bytes that come one by one must not cost fifty each.
            parts[-1] += piece
        else:
            parts.append(bytearray(piece))
        if not last:
            return None
        message = b"".join(parts)
        return message.decode() if self.opcode == TEXT else message
