"""permessage-deflate on a whole connection: a client of another make, and one that means harm."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.uri import parse_uri

from tests.fakes import Wire, run, websocket_wire

OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + OFFER + b"\r\n"
)


class Echo:
    """Accepts, then echoes; keeps what it was given."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            self.events.append(event)
            await send({**event, "type": "websocket.send"})
        self.events.append(event)


async def answers(wire: Wire, client: ClientProtocol) -> list[Any]:
    """Pass on what the client has to say, and return the events that come of the answer."""
    for data in client.data_to_send():
        await wire.arrive(data)
    client.receive_data(wire.take())
    return client.events_received()


@pytest.mark.parametrize("memory", [24576, 65536, 320 << 10])
@pytest.mark.parametrize(
    "parameters",
    [
        {"client_max_window_bits": True},
        {"client_max_window_bits": 10, "server_max_window_bits": 9},
        {"client_max_window_bits": True, "server_no_context_takeover": True},
        {"client_max_window_bits": True, "client_no_context_takeover": True},
        {"client_max_window_bits": 9, "client_no_context_takeover": True, "server_no_context_takeover": True},
    ],
    ids=lambda parameters: ",".join(parameters),
)
def test_a_client_of_another_make(build: Any, parameters: dict[str, Any], memory: int) -> None:
    async def main() -> None:
        app = Echo()
        wire = websocket_wire(build, app, deflate={"memory": memory, "min_size": 100})
        factory = ClientPerMessageDeflateFactory(**parameters)
        client = ClientProtocol(parse_uri("ws://a/"), extensions=[factory], max_size=None)
        client.send_request(client.connect())
        await answers(wire, client)
        assert client.handshake_exc is None
        assert [extension.name for extension in client.extensions] == ["permessage-deflate"]
        rng = random.Random(memory)
        for size in (0, 5, 99, 100, 101, 3000, 3000, 70_000, 5, 3000):
            text = "".join(rng.choices(("alpha", "béta", "12", " ", "€"), k=size))[:size]
            client.send_text(text.encode())
            [frame] = await answers(wire, client)
            assert (frame.opcode, bytes(frame.data).decode()) == (Opcode.TEXT, text)
            data = rng.randbytes(size // 2) + bytes(size // 2)
            client.send_binary(data[:1], fin=False)
            client.send_continuation(data[1:-1], fin=False)
            client.send_ping(b"between")
            client.send_continuation(data[-1:] if size > 1 else b"", fin=True)
            pong, frame = await answers(wire, client)
            assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"between")
            assert (frame.opcode, bytes(frame.data)) == (Opcode.BINARY, data)
        client.send_close(1000)
        [frame] = await answers(wire, client)
        assert frame.opcode == Opcode.CLOSE
        assert client.parser_exc is None
        assert app.events[-1] == {"type": "websocket.disconnect", "code": 1000, "reason": ""}

    run(main)


def compressed(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -9)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True, rsv1: bool = True) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    # A mask of zeros changes nothing.
    return bytes((fin << 7 | rsv1 << 6 | opcode,)) + length + bytes(4) + payload


def halves(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    middle = len(payload) // 2
    return frame(payload[:middle], opcode, fin=False) + frame(payload[middle:], Opcode.CONT, rsv1=False)


def close_code(sent: bytes) -> int:
    """The code in a Close frame, which is all there is."""
    assert sent[0] == 0x80 | Opcode.CLOSE
    assert len(sent) == 2 + sent[1]
    return int.from_bytes(sent[2:4], "big")


LIMIT = 100_000


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(compressed(bytes(LIMIT + 1))), 1009),
        (halves(compressed(bytes(LIMIT + 1))), 1009),
        (frame((compressed(bytes(1 << 20)) + b"\0\0\xff\xff") * 63 + compressed(bytes(1 << 20))), 1009),
        # It need not be complete to be too much.
        (frame(compressed(bytes(1 << 20)), fin=False), 1009),
        (frame(b"\xff\xff\xff"), 1007),
        (halves(compressed(b"a" * 1000)[:-1] + b"\xff\xff\xff"), 1007),
        (frame(b"\x03\x00" * 1000), 1007),
        (frame(compressed(b"caf\xe9"), Opcode.TEXT), 1007),
        (halves(compressed("café €".encode() * 50 + b"\xc3"), Opcode.TEXT), 1007),
        # RFC 7692 6.1: the bit is the message's, not the frame's.
        (frame(b"\x00", fin=False) + frame(b"\x00", Opcode.CONT), 1002),
        (frame(b"", Opcode.PING), 1002),
    ],
)
def test_what_must_not_be_taken(build: Any, sent: bytes, code: int) -> None:
    async def main() -> None:
        app = Echo()
        wire = websocket_wire(build, app, deflate={}, limits={"websocket_message": LIMIT})
        await wire.arrive(REQUEST)
        assert b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12" in wire.take()
        # As large as may be.
        await wire.arrive(frame(compressed(bytes(LIMIT))))
        assert len(app.events) == 1
        wire.take()
        await wire.arrive(sent)
        assert close_code(wire.take()) == code
        [event] = app.events[1:]
        assert event["type"] == "websocket.disconnect"

    run(main)


def test_small_messages_are_left_alone(build: Any) -> None:
    async def main() -> None:
        wire = websocket_wire(build, Echo(), deflate={})
        await wire.arrive(REQUEST)
        wire.take()
        for size, compresses in ((127, False), (128, True), (0, False)):
            await wire.arrive(frame(b"a" * size, rsv1=False))
            assert bool(wire.take()[0] & 0x40) is compresses

    run(main)


def test_nobody_offered(build: Any) -> None:
    async def main() -> None:
        wire = websocket_wire(build, Echo(), deflate={})
        await wire.arrive(REQUEST.replace(OFFER, b""))
        assert b"Extensions" not in wire.take()
        await wire.arrive(frame(compressed(b"a" * 1000)))
        assert close_code(wire.take()) == 1002

    run(main)
