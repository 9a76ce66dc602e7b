"""permessage-deflate (RFC 7692): what is agreed on, and the two contexts of a connection.

Rule 1: memory is bounded before anything is agreed. A context is as large as its window, so the windows of both
directions follow from the bytes that a connection may take; an offer they can't be had with is declined. A context is
made for the first compressed message of its direction: a connection on which nothing large enough is said has none.
Rule 2: a message is never decompressed further than its limit. What is left of it is not looked at.
"""

from zlib import DEFLATED, Z_SYNC_FLUSH, compressobj, decompressobj
from zlib import error as ZlibError  # noqa: N812 (a class)

from gateway.errors import RemoteProtocolError

from ..http.codes import INVALID_DATA, TOO_BIG

EXTENSION = b"permessage-deflate"

# RFC 7692 7.1.2: base-2 logarithms of LZ77 windows, in bytes, without leading zeros. zlib can read a raw stream with a
# window of 8 bits, and makes none: asked for one it takes 9.
WINDOW_BITS = {b"%d" % bits: bits for bits in range(8, 16)}
MIN_BITS = 9
MAX_BITS = 15

# Bytes that zlib takes beside windows and tables: 6 KiB to compress, 7 KiB to decompress, measured with zlib 1.2.13 and
# Python's objects; and what it has grown by since.
STATE_SIZE = 8192

# zlib's level. With a window of 4 KiB the higher ones have little to find: on JSON and on prose of 256 bytes to 16 KiB
# level 6 takes 1.3 to 1.9 times the time of 2 for 7 to 18 % fewer bytes, and level 1 saves next to no time.
LEVEL = 2

# RFC 7692 7.2.1: every compressed message would end in this empty block, so that it is left out.
TAIL = b"\x00\x00\xff\xff"
# An empty block that is the last of its stream.
LAST_BLOCK = b"\x01\x00\x00\xff\xff"

# Last blocks of DEFLATE streams in one piece of a message. Who makes any (RFC 7692 7.2.3.4) makes one for a message or
# a frame; each costs a new decompressor, and takes two bytes.
MAX_STREAMS = 16


class DeflateSettings:
    """What the server is ready for.

    `memory` is the most bytes that the contexts of one connection may take together. Messages of fewer than `min_size`
    bytes are not worth compressing: below the default less is saved than the headers of a packet take, and a connection
    on which nothing longer is said goes without the larger one of its contexts.
    """

    __slots__ = ("memory", "min_size")

    def __init__(self, *, memory: int = 65536, min_size: int = 128) -> None:
        self.memory = memory
        self.min_size = min_size


class Offer:
    """One offer of permessage-deflate by a client, or what is left of it after its parameters were found in order.

    Window bits are upper bounds; `client_bits` is 0 where the client can't be told to have a smaller window than the
    largest (RFC 7692 7.1.2.2).
    """

    __slots__ = ("client_bits", "client_no_context_takeover", "server_bits", "server_no_context_takeover")

    def __init__(self) -> None:
        self.server_no_context_takeover = False
        self.client_no_context_takeover = False
        self.server_bits = MAX_BITS
        self.client_bits = 0


class Deflate:
    """Compression on one connection, as agreed; both contexts are made when they are needed first.

    `server_bits` and `client_bits` are the window sizes of what the server and the client send. Without context
    takeover a direction's context is dropped after each message.
    """

    __slots__ = (
        "_compressor",
        "_decompressor",
        "client_bits",
        "client_no_context_takeover",
        "min_size",
        "server_bits",
        "server_no_context_takeover",
    )

    def __init__(
        self,
        server_bits: int,
        client_bits: int,
        server_no_context_takeover: bool,
        client_no_context_takeover: bool,
        min_size: int,
    ) -> None:
        self.server_bits = server_bits
        self.client_bits = client_bits
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.min_size = min_size
        self._compressor: object = None
        self._decompressor: object = None

    def compress(self, data: bytes) -> bytes:
        """The payload of the compressed message that `data`, a whole message, makes."""
        # RFC 7692 7.2.3.6. zlib versions differ in what they say to nothing.
        if not data:
            return b"\x00"
        compressor = self._compressor
        if compressor is None:
            compressor = compressobj(LEVEL, DEFLATED, -self.server_bits, memory_level(self.server_bits))
            if not self.server_no_context_takeover:
                self._compressor = compressor
        # Small messages come out as a whole when they are flushed.
        first: bytes = compressor.compress(data)
        rest: bytes = compressor.flush(Z_SYNC_FLUSH)
        return first + rest[:-4] if first else rest[:-4]

    def decompress(self, data: bytes, final: bool, limit: int) -> bytes:
        """What a piece of a message's payload decompresses to; `final` for the last piece, which may be empty.

        `limit` is the most bytes it may be, -1 for any number. Raises RemoteProtocolError with the close code for it;
        the context is lost then.
        """
        tail = b""
        if final:
            tail = TAIL + LAST_BLOCK if self.client_no_context_takeover else TAIL
        try:
            result = self._inflate(data + tail, tail, limit)
            # A message that was cut off has swallowed the last block.
            if final and self.client_no_context_takeover and self._decompressor is not None:
                raise RemoteProtocolError("incomplete compressed message", INVALID_DATA)
        except ZlibError:
            self._decompressor = None
            raise RemoteProtocolError("corrupt compressed message", INVALID_DATA)
        except RemoteProtocolError:
            self._decompressor = None
            raise
        return result

    def _inflate(self, data: bytes, tail: bytes, limit: int) -> bytes:
        """Take `data`, whose end `tail` is ours, through the context, which is None afterwards if it ended a stream."""
        result = b""
        streams = 0
        # RFC 7692 7.2.3.4: a client that ends a message with the last block of a stream should add a zero byte, which
        # makes an empty block of the tail. Where it did not, the tail is alone, and there is nothing to read in it.
        while self._decompressor is not None or (data and data != tail):
            decompressor = self._decompressor
            if decompressor is None:
                # RFC 7692 7.2.3.4: the rest after a last block. It starts anew: zlib, which has no other way to make
                # such a block, does not look back beyond it.
                streams += 1
                if streams > MAX_STREAMS:
                    raise RemoteProtocolError("too many streams in a compressed message", INVALID_DATA)
                decompressor = self._decompressor = decompressobj(-self.client_bits)
            # One byte more than there may be: it tells that there is more. 0 is no limit.
            part: bytes = decompressor.decompress(data, limit + 1 - len(result) if limit >= 0 else 0)
            result = result + part if result else part
            if limit >= 0 and len(result) > limit:
                raise RemoteProtocolError("compressed message too large", TOO_BIG)
            if not decompressor.eof:
                break
            self._decompressor = None
            data = decompressor.unused_data
        return result


def negotiate(extensions: list, settings: DeflateSettings) -> tuple | None:
    """Take the first offer of permessage-deflate that can be had among `extensions`, which `parse_extensions` returns.

    Returns a Deflate, and the value of the Sec-WebSocket-Extensions field that accepts the offer; or None.
    """
    for name, parameters in extensions:
        if name == EXTENSION:
            offer = read_offer(parameters)
            if offer is not None:
                agreed = accept(offer, settings)
                if agreed is not None:
                    return agreed
    return None


def read_offer(parameters: tuple) -> Offer | None:
    """What an offer's parameters ask for. None if it is to be declined.

    RFC 7692 7: it is for parameters that are unknown, there twice or have a value they can't have.
    """
    offer = Offer()
    seen = set()
    for name, value in parameters:
        if name in seen:
            return None
        seen.add(name)
        if name == b"server_no_context_takeover" and not value:
            offer.server_no_context_takeover = True
        elif name == b"client_no_context_takeover" and not value:
            offer.client_no_context_takeover = True
        elif name == b"server_max_window_bits" and WINDOW_BITS.get(value, 0) >= MIN_BITS:
            offer.server_bits = WINDOW_BITS[value]
        elif name == b"client_max_window_bits" and (not value or value in WINDOW_BITS):
            offer.client_bits = WINDOW_BITS.get(value, MAX_BITS)
        else:
            return None
    return offer


def accept(offer: Offer, settings: DeflateSettings) -> tuple | None:
    """What `negotiate` returns, with the largest windows that an offer and the memory leave room for, or None."""
    for bits in range(MAX_BITS, MIN_BITS - 1, -1):
        server_bits = min(bits, offer.server_bits)
        client_bits = min(bits, offer.client_bits) if offer.client_bits else MAX_BITS
        if memory_needed(server_bits, client_bits) <= settings.memory:
            deflate = Deflate(
                server_bits,
                client_bits,
                offer.server_no_context_takeover,
                offer.client_no_context_takeover,
                settings.min_size,
            )
            return deflate, response_value(deflate, offer.client_bits != 0)
    return None


def response_value(deflate: Deflate, client_bits_offered: bool) -> bytes:
    """The value of the Sec-WebSocket-Extensions field that tells what was agreed (RFC 7692 7.1)."""
    value = EXTENSION
    if deflate.server_no_context_takeover:
        value += b"; server_no_context_takeover"
    if deflate.client_no_context_takeover:
        value += b"; client_no_context_takeover"
    # Said although it may not have been asked for, so that the client may have a smaller window too.
    value += b"; server_max_window_bits=%d" % deflate.server_bits
    # RFC 7692 7.1.2.2: only for a client that has offered it.
    if client_bits_offered:
        value += b"; client_max_window_bits=%d" % deflate.client_bits
    return value


def memory_level(bits: int) -> int:
    """zlib's memLevel for a window: tables of twice the window's size, as in zlib's own defaults."""
    return bits - 7


def memory_needed(server_bits: int, client_bits: int) -> int:
    """Bytes that the two contexts take (zconf.h): 8 times the server's window, the client's once, and their states."""
    return (8 << server_bits) + (1 << client_bits) + 2 * STATE_SIZE
