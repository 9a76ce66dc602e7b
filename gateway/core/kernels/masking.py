"""Frames of the WebSocket protocol (RFC 6455 5): their heads, masked payloads, and UTF-8.

::

      0                   1                   2                   3
     |F|R|R|R| opcode|M| Payload len |  Extended payload length      |
     |I|S|S|S|  (4)  |A|     (7)     |   (16 bits if the length is   |
     |N|V|V|V|       |S|             |   126, 64 bits if it is 127)  |
     | |1|2|3|       |K|             |                               |
     |           Masking key, 32 bits, if MASK is set                |
     |                      Payload                                  |

This is the specification; `gateway/_speedups/kernels/masking.pyx` does the same with pointers. What a head may say at
its place, and what follows if it says something else, is decided in `websocket`.

A payload need not be there as a whole: it can be taken in pieces, each with the offset at which it begins, and text
can be checked piece by piece as it comes.
"""

import codecs

from .buffer import InputBuffer
from .grammar import DONE, NEED_DATA

# RFC 6455 5.2: two bytes, up to eight of extended length, four of masking key.
_MAX_HEAD = 14
_KEY_SIZE = 4

# RFC 6455 5.2: "the most significant bit MUST be 0".
_MAX_LENGTH = 2**63 - 1

# RFC 6455 5.2: "the minimal number of bytes MUST be used to encode the length". The greatest lengths that fit in the
# first two bytes of a head, and in 16 bits.
_MAX_SHORT = 125
_MAX_16_BITS = 65535


class FrameHead:
    """What the head of a frame says (RFC 6455 5.2). One object does for all frames of a connection, in turn.

    `fin`: the last frame of its message. `rsv`: the three reserved bits, 4 being RSV1. `opcode`: 0 to 15. `masked`:
    the payload is masked, with `key`: four bytes, zeros without. `length`: bytes of payload; -1 if its 64 bits begin
    with a one. `minimal`: the length is given in as few bytes as can be.
    """

    __slots__ = ("fin", "key", "length", "masked", "minimal", "opcode", "rsv")

    def __init__(self) -> None:
        self.fin = False
        self.rsv = 0
        self.opcode = 0
        self.masked = False
        self.length = 0
        self.minimal = False
        self.key = bytes(_KEY_SIZE)

    def parse(self, buffer: InputBuffer) -> int:
        """Take the head of the next frame out of `buffer`.

        Returns DONE; or NEED_DATA, with nothing taken and nothing changed here.
        """
        front = buffer.peek(0, _MAX_HEAD)
        if len(front) < 2:
            return NEED_DATA
        length = front[1] & 0x7F
        extended = 2 if length == 126 else 8 if length == 127 else 0
        masked = front[1] >= 0x80
        size = 2 + extended + (_KEY_SIZE if masked else 0)
        if len(front) < size:
            return NEED_DATA
        minimal = True
        if extended:
            length = int.from_bytes(front[2 : 2 + extended], "big")
            minimal = length > (_MAX_SHORT if extended == 2 else _MAX_16_BITS)
        self.fin = front[0] >= 0x80
        self.rsv = front[0] >> 4 & 7
        self.opcode = front[0] & 15
        self.masked = masked
        self.length = length if length <= _MAX_LENGTH else -1
        self.minimal = minimal
        self.key = front[size - _KEY_SIZE : size] if masked else bytes(_KEY_SIZE)
        buffer.discard(size)
        return DONE


def take_payload(buffer: InputBuffer, head: FrameHead, offset: int, size: int) -> bytes:
    """Take the next `size` bytes, or what there is of them, of the payload of `head`, unmasked.

    `offset`: bytes taken of this payload before. There is nothing to take if `size` is not positive.
    """
    data = buffer.take(size)
    return mask(data, head.key, offset) if head.masked else data


def take_text(buffer: InputBuffer, head: FrameHead, size: int) -> str | None:
    """Take a whole payload of `size` bytes, or what there is of them, as text. None if it is not UTF-8.

    RFC 3629: no surrogates, nothing longer than need be, nothing above U+10FFFF, and no character cut off.
    """
    try:
        return take_payload(buffer, head, 0, size).decode()
    except UnicodeDecodeError:
        return None


class TextCheck:
    """Whether bytes that come in pieces are UTF-8 (RFC 3629), found out as early as that can be."""

    __slots__ = ("_decoder", "_valid")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._valid = True

    def feed(self, data: bytes) -> bool:
        """Go on with `data`. False once a byte was there with which no text can go on."""
        if self._valid:
            try:
                self._decoder.decode(data)
            except UnicodeDecodeError:
                self._valid = False
            # A surrogate is let pass by this decoder until it is complete.
            pending = self._decoder.getstate()[0]
            if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":
                self._valid = False
        return self._valid

    def complete(self) -> bool:
        """Whether all that came is UTF-8, and may end here: no character is cut off."""
        return self._valid and not self._decoder.getstate()[0]

    def reset(self) -> int:
        """Begin anew. Returns 0."""
        self._decoder.reset()
        self._valid = True
        return 0


def frame_head(opcode: int, length: int, fin: bool, rsv1: bool) -> bytes:
    """The head of an unmasked frame, for a payload of `length` bytes. `opcode`: 0 to 15."""
    if length < 0:
        raise ValueError("negative payload length")
    first = fin << 7 | rsv1 << 6 | opcode & 15
    if length <= _MAX_SHORT:
        return bytes((first, length))
    if length <= _MAX_16_BITS:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def encode_frame(opcode: int, data: bytes, fin: bool, rsv1: bool) -> bytes:
    """An unmasked frame with the payload `data`."""
    return frame_head(opcode, len(data), fin, rsv1) + data


def encode_text(text: str) -> bytes:
    """A whole text message as one unmasked frame. Raises UnicodeEncodeError for surrogates."""
    # A subclass may have its own idea of encoding.
    return encode_frame(1, str.encode(text), True, False)


def mask(data: bytes, key: bytes, offset: int) -> bytes:
    """`data` masked, or unmasked, with the four bytes of `key` (RFC 6455 5.3).

    `offset`: where in its payload `data` begins.
    """
    if len(key) != _KEY_SIZE:
        raise ValueError("a masking key has four bytes")
    start = offset % _KEY_SIZE
    size = len(data)
    repeated = (key[start:] + key[:start]) * (size // _KEY_SIZE + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated[:size], "big")).to_bytes(size, "big")
