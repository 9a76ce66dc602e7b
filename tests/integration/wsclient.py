"""A WebSocket client that sends what it is told, however wrong, and accepts nothing but correct frames (RFC 6455).

Client libraries refuse to send what a server must refuse to take; this one builds frames bit by bit. What it reads must
be a frame that a server may send: unmasked, in the fewest bytes, control frames whole and short, Close with a code
that may stand on the wire.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .harness import Client, Response, Server

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
RSV1, RSV2, RSV3 = 4, 2, 1

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED = 1000, 1001, 1002, 1003
NO_CODE, ABNORMAL = 1005, 1006
INVALID_DATA, POLICY, TOO_BIG, MANDATORY_EXTENSION, INTERNAL_ERROR, SERVICE_RESTART = 1007, 1008, 1009, 1010, 1011, 1012

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The Sec-WebSocket-Key of RFC 6455 1.3."""

EMPTY_TAIL = b"\0\0\xff\xff"
"""What RFC 7692 7.2.1 takes off the end of a message, and 7.2.2 puts back."""


def mask(data: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 5.3)."""
    if not any(key):
        return data
    stretched = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")).to_bytes(len(data), "big")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = b"\x37\xfa\x21\x3d",
    width: int | None = None,
    length: int | None = None,
) -> bytes:
    """A frame (RFC 6455 5.2); without a `key` it is not masked.

    `width` is the number of bits the length is written in (7, 16 or 64) when not the fewest; `length` what is written
    there when not the truth.
    """
    size = len(payload) if length is None else length
    if width is None:
        width = 7 if size < 126 else 16 if size < 65536 else 64
    second = {7: size, 16: 126, 64: 127}[width] | (0x80 if key is not None else 0)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode, second])
    if width > 7:
        head += struct.pack("!H" if width == 16 else "!Q", size)
    return head + (payload if key is None else key + mask(payload, key))


def text(content: str, **how: Any) -> bytes:
    return frame(TEXT, content.encode(), **how)


def close(code: int | None = NORMAL, reason: bytes = b"") -> bytes:
    """A Close frame (RFC 6455 5.5.1)."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def fragments(opcode: int, *parts: bytes, rsv: int = 0) -> list[bytes]:
    """One message in a frame for each part (RFC 6455 5.4)."""
    last = len(parts) - 1
    return [
        frame(CONTINUATION if i else opcode, part, fin=i == last, rsv=0 if i else rsv) for i, part in enumerate(parts)
    ]


def deflate(data: bytes, *, window: int = 15, level: int = 6) -> bytes:
    """One message as permessage-deflate sends it, with a context of its own (RFC 7692 7.2.1)."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(EMPTY_TAIL)


@dataclass(frozen=True)
class Frame:
    """A frame as it was received."""

    fin: bool
    rsv: int
    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a Close frame; 1005 when it has none."""
        assert self.opcode == CLOSE, self
        return struct.unpack_from("!H", self.payload)[0] if self.payload else NO_CODE

    @property
    def reason(self) -> str:
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


class WebSocket(Client):
    """A connection that becomes a WebSocket by `open`, from where on it reads frames."""

    extensions: str | None = None
    """Sec-WebSocket-Extensions as the server answered it."""
    subprotocol: str | None = None
    inflater: Any = None
    """The context of the server's messages (RFC 7692 7.2.2)."""

    def handshake(self, target: str, *fields: str, key: str = KEY) -> bytes:
        """The request of a correct opening handshake, with more fields."""
        lines = [
            f"GET {target} HTTP/1.1",
            "Host: test.example",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *fields,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def open(self, target: str = "/echo", *fields: str, after: bytes = b"") -> Response:
        """The opening handshake (RFC 6455 4.1), which must succeed; `after` leaves together with the request."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(self.handshake(target, *fields, key=key) + after)
        return self.opened(key)

    def opened(self, key: str = KEY) -> Response:
        """The server's half of the handshake (RFC 6455 4.2.2)."""
        response = self.head()
        assert response.status == 101, self.refused(response)
        assert (response.get("upgrade") or "").lower() == "websocket", response
        assert response.connection == {"upgrade"}, response
        expected = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        assert response.get("sec-websocket-accept") == expected, response
        # RFC 9110 8.6 and RFC 9112 6.1: no framing in 1xx.
        assert not response.all("content-length") and not response.all("transfer-encoding"), response
        self.extensions = response.get("sec-websocket-extensions")
        self.subprotocol = response.get("sec-websocket-protocol")
        return response

    def refused(self, response: Response) -> Response:
        self.read_content(response, "GET")
        return response

    def try_open(self, target: str = "/echo", *fields: str, **how: Any) -> Response:
        """The opening handshake, which may be refused: the whole response."""
        self.send(self.handshake(target, *fields, **how))
        response = self.head()
        return response if response.status == 101 else self.refused(response)

    # Frames

    def frame(self) -> Frame:
        """The next frame."""
        first, second = self.take(2)
        fin, rsv, opcode = bool(first & 0x80), first >> 4 & 7, first & 15
        assert not second & 0x80, "a server must not mask (RFC 6455 5.1)"
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2))
            assert length > 125, "not the fewest bytes (RFC 6455 5.2)"
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8))
            assert 65535 < length < 1 << 63, "not the fewest bytes, or too many (RFC 6455 5.2)"
        found = Frame(fin, rsv, opcode, self.take(length))
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"reserved opcode: {found}"
        compressed = RSV1 if self.extensions and opcode in (TEXT, BINARY) else 0
        assert not rsv & ~compressed, f"reserved bits: {found}"
        if opcode >= CLOSE:
            assert fin and length <= 125, f"control frame (RFC 6455 5.5): {found}"
        if opcode == CLOSE and found.payload:
            # RFC 6455 7.4: what may stand on the wire.
            assert found.code in range(1000, 5000) and found.code not in (1004, NO_CODE, ABNORMAL, 1015), found
            assert found.reason is not None
        return found

    def frames(self) -> Iterator[Frame]:
        """Frames up to and with Close."""
        while True:
            found = self.frame()
            yield found
            if found.opcode == CLOSE:
                return

    def message(self) -> str | bytes:
        """The next message, decompressed where it is; Pings before it are left unanswered."""
        found = self.frame()
        while found.opcode in (PING, PONG):
            found = self.frame()
        assert found.opcode in (TEXT, BINARY), found
        first, parts = found, [found.payload]
        while not found.fin:
            found = self.frame()
            assert found.opcode == CONTINUATION, found
            parts.append(found.payload)
        data = b"".join(parts)
        if first.rsv:
            data = self.inflate(data)
        return data.decode() if first.opcode == TEXT else data

    def inflate(self, data: bytes) -> bytes:
        """Undo permessage-deflate, with the window and the context that were agreed."""
        if self.inflater is None or "server_no_context_takeover" in self.parameters():
            self.inflater = zlib.decompressobj(-int(self.parameters().get("server_max_window_bits", 15)))
        return self.inflater.decompress(data) + self.inflater.decompress(EMPTY_TAIL)

    def parameters(self) -> dict[str, str]:
        """What was agreed of permessage-deflate."""
        name, *pairs = (self.extensions or "").split(";")
        assert name.strip() == "permessage-deflate", self.extensions
        parameters: dict[str, str] = {}
        for pair in pairs:
            key, _, value = pair.strip().partition("=")
            assert key not in parameters, self.extensions
            parameters[key] = value
        return parameters

    def json(self) -> Any:
        return json.loads(self.message())

    def closed(self) -> Frame:
        """The server's Close, as the next frame but for Pings, and then its end of the connection."""
        found = next(found for found in self.frames() if found.opcode != PING)
        assert found.opcode == CLOSE, found
        return found

    def fails_with(self, code: int) -> Frame:
        """The server fails the connection: Close with `code`, and no more from it (RFC 6455 7.1.7)."""
        found = self.closed()
        assert found.code == code, found
        self.expect_end()
        return found

    def finish(self, code: int = NORMAL) -> None:
        """A closing handshake begun here (RFC 6455 7.1.2): the same code comes back, then the end of the connection."""
        self.send(close(code))
        assert self.closed().code == code
        self.expect_end()

    def echo(self, content: str = "still here") -> None:
        """Whether the echo application still gets messages through."""
        self.send(text(content))
        assert self.message() == content


def connect(server: Server, target: str | None = "/echo", *fields: str, **options: Any) -> WebSocket:
    """A WebSocket to that server, open unless `target` is None; a context manager."""
    client = WebSocket(server.address, **options)
    if target is not None:
        try:
            client.open(target, *fields)
        except BaseException:
            client.close()
            raise
    return client
