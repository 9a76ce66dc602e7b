"""WebSocketConnection and WebSocketCycle over a fake transport and a virtual clock, in both builds."""

from __future__ import annotations

import asyncio
import enum
import gc
from typing import Any

import pytest

from gateway.errors import ClientDisconnected, LocalProtocolError
from tests.fakes import Wire, recording_logger, run, websocket_wire

KEY = b"\x01\x02\x03\x04"
REQUEST = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes | None = KEY) -> bytes:
    """A frame of a client."""
    size = len(payload)
    masked = 0 if key is None else 0x80
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 65536:
        head += bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + size.to_bytes(8, "big")
    if key is None:
        return head + payload
    return head + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """What a server has sent: (first byte, payload) of each frame."""
    found = []
    while data:
        size = data[1]
        start = 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        assert len(data) >= start + size
        found.append((data[0], data[start : start + size]))
        data = data[start + size :]
    return found


def close_frame(code: int, reason: bytes = b"") -> tuple[int, bytes]:
    return 0x80 | CLOSE, code.to_bytes(2, "big") + reason


class App:
    """Accepts, then echoes; keeps what it was given."""

    def __init__(self, *, accept: dict[str, Any] | None = None, reads: bool = True) -> None:
        self.accept = accept or {}
        self.reads = asyncio.Event()
        if reads:
            self.reads.set()
        self.scope: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        try:
            self.events.append(await receive())
            await send({"type": "websocket.accept", **self.accept})
            while True:
                await self.reads.wait()
                event = await receive()
                self.events.append(event)
                if event["type"] == "websocket.disconnect":
                    return
                key = "text" if "text" in event else "bytes"
                await send({"type": "websocket.send", key: event[key]})
        except BaseException as error:
            self.errors.append(error)
            raise

    def received(self) -> list[Any]:
        return [event.get("text", event.get("bytes")) for event in self.events[1:] if event["type"].endswith("receive")]


async def opened(build: Any, app: Any, fields: bytes = b"", **options: Any) -> Wire:
    wire = websocket_wire(build, app, **options)
    await wire.arrive(REQUEST % fields)
    assert wire.take().startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    return wire


def test_the_handshake_of_rfc_6455(build: Any) -> None:
    async def main() -> None:
        app = App(accept={"subprotocol": "chat", "headers": [(b"x-app", b"1")]})
        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"Sec-WebSocket-Protocol: superchat, chat\r\nOrigin: http://b\r\n")
        assert wire.take() == (
            b"HTTP/1.1 101 Switching Protocols\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nServer: gateway\r\n"
            b"x-app: 1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        )
        scope = dict(app.scope)
        headers = dict(scope.pop("headers"))
        assert headers[b"origin"] == b"http://b"
        assert scope == {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/chat",
            "raw_path": b"/chat",
            "query_string": b"room=1",
            "root_path": "",
            "client": ("192.0.2.1", 40000),
            "server": ("192.0.2.2", 80),
            "subprotocols": ["superchat", "chat"],
            "extensions": {"websocket.http.response": {}},
        }
        assert app.events == [{"type": "websocket.connect"}]
        assert wire.service.requests == 0 and wire.service.connections == 1

    run(main)


@pytest.mark.parametrize(
    "message", ["", "text", "Größe €", b"", b"binary\x00\xff", "x" * 125, "x" * 126, b"y" * 65536, "z" * 200_000]
)
@pytest.mark.parametrize("how", ["whole", "bytewise", "fragments"])
def test_messages_are_echoed(build: Any, message: str | bytes, how: str) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        sent = message[:1000] if how == "bytewise" else message
        opcode = TEXT if isinstance(sent, str) else BINARY
        payload = sent.encode() if isinstance(sent, str) else sent
        echo = [(0x80 | opcode, payload)]
        if how == "whole":
            await wire.arrive(frame(opcode, payload))
        elif how == "bytewise":
            await wire.feed_bytewise(frame(opcode, payload))
        else:
            # In the middle of characters too.
            third = len(payload) // 3
            await wire.arrive(frame(opcode, payload[:third], fin=False))
            await wire.arrive(frame(PING, b"between") + frame(0, payload[third : 2 * third], fin=False))
            assert frames(wire.take()) == [(0x80 | PONG, b"between")]
            await wire.arrive(frame(0, payload[2 * third :]))
        assert frames(wire.take()) == echo
        assert app.received() == [sent]
        assert not app.errors

    run(main)


def test_frames_of_one_read_are_answered_in_one_write(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        wire.transport.writes.clear()
        texts = [b"%d" % number for number in range(10)]
        await wire.arrive(b"".join(frame(TEXT, text) + frame(PING, text) for text in texts))
        expected = [(0x80 | opcode, text) for text in texts for opcode in (TEXT, PONG)]
        assert [frames(data) for data in wire.transport.writes] == [expected]
        assert app.received() == [text.decode() for text in texts]

        # Pings alone; a frame that is not complete yet holds nothing back; nor does what ends it all.
        wire.transport.writes.clear()
        await wire.arrive(3 * frame(PING, b"p") + frame(TEXT, b"rest")[:-1])
        assert [frames(data) for data in wire.transport.writes] == [3 * [(0x80 | PONG, b"p")]]
        wire.transport.writes.clear()
        await wire.arrive(frame(TEXT, b"rest")[-1:] + frame(TEXT, b"last") + frame(CLOSE))
        assert [frames(data) for data in wire.transport.writes] == [
            [(0x80 | TEXT, b"rest"), (0x80 | TEXT, b"last"), (0x80 | CLOSE, b"")]
        ]

    run(main)


def test_what_is_held_back_has_a_bound_and_keeps_its_order(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app, limits={"websocket_queue": 0})
        wire.transport.writes.clear()
        sizes = [20_000, 20_000, 20_000, 20_000, 70_000, 10]
        await wire.arrive(b"".join(frame(BINARY, bytes(size)) for size in sizes))
        assert [len(payload) for _, payload in frames(wire.take())] == sizes
        # Four make the bound; the large one is not copied, so that its head is a piece of its own.
        assert [len(data) for data in wire.transport.writes] == [4 * 20_004, 10, 70_000, 12]

    run(main)


PROTOCOL_ERRORS = {
    "unmasked": (frame(TEXT, b"a", key=None), 1002),
    "rsv1 without compression": (frame(TEXT, b"a", rsv=4), 1002),
    "rsv2": (frame(TEXT, b"a", rsv=2), 1002),
    "rsv3": (frame(BINARY, b"a", rsv=1), 1002),
    "opcode 3": (frame(3), 1002),
    "opcode 11": (frame(11), 1002),
    "continuation of nothing": (frame(0, b"a"), 1002),
    "message inside another": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "fragmented ping": (frame(PING, b"a", fin=False), 1002),
    "long ping": (frame(PING, b"a" * 126), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close code 1005": (frame(CLOSE, b"\x03\xed"), 1002),
    "close code 2999": (frame(CLOSE, b"\x0b\xb7"), 1002),
    "close reason no UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "text no UTF-8": (frame(TEXT, b"a\xff"), 1007),
    "text cut off": (frame(TEXT, b"a\xe2\x82"), 1007),
    "fragment no UTF-8": (frame(TEXT, b"a\xe2", fin=False) + frame(0, b"a", fin=False), 1007),
    "length not minimal": (b"\x81\xfe\x00\x05" + KEY + b"aaaaa", 1002),
    "length beyond 63 bits": (b"\x82\xff\x80" + bytes(7) + KEY, 1002),
}


@pytest.mark.parametrize("name", PROTOCOL_ERRORS)
def test_what_breaks_a_rule_fails_the_connection(build: Any, name: str) -> None:
    async def main() -> None:
        data, code = PROTOCOL_ERRORS[name]
        app = App()
        wire = await opened(build, app)
        await wire.arrive(data + frame(TEXT, b"never"))
        [(first, payload)] = frames(wire.take())
        assert first == 0x80 | CLOSE and int.from_bytes(payload[:2], "big") == code
        assert app.received() == []
        assert app.events[-1]["type"] == "websocket.disconnect" and app.events[-1]["code"] == code
        assert wire.events == ["switch", "shutdown_write"]
        await wire.arrive(frame(TEXT, b"neither"))
        assert wire.take() == b"" and app.received() == []
        await wire.eof()
        assert wire.events[-1] == "close"

    run(main)


def test_text_fails_as_early_as_it_shows(build: Any) -> None:
    async def main() -> None:
        wire = await opened(build, App())
        await wire.arrive(frame(TEXT, b"a" * 1000 + b"\xff" + b"a" * 1000)[:1100])
        assert frames(wire.take())[0][1][:2] == (1007).to_bytes(2, "big")

    run(main)


@pytest.mark.parametrize(
    ("payload", "answer", "event"),
    [
        (b"", (0x80 | CLOSE, b""), (1005, "")),
        (b"\x03\xe8", close_frame(1000), (1000, "")),
        (b"\x03\xe9going away", close_frame(1001), (1001, "going away")),
        (b"\x0f\xa0own", close_frame(4000), (4000, "own")),
        (b"\x03\xf2extension", close_frame(1010), (1010, "extension")),
    ],
)
def test_the_client_closes(build: Any, payload: bytes, answer: tuple[int, bytes], event: tuple[int, str]) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        await wire.arrive(frame(TEXT, b"last") + frame(CLOSE, payload))
        assert frames(wire.take()) == [(0x80 | TEXT, b"last"), answer]
        assert (app.events[-1]["code"], app.events[-1]["reason"]) == event
        assert wire.events == ["switch", "close"] and not app.errors
        await wire.lose()
        assert wire.service.connections == 0

    run(main)


def test_what_follows_a_close_is_discarded(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        await wire.arrive(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late"))
        assert frames(wire.take()) == [close_frame(1000)]
        assert wire.events == ["switch", "shutdown_write"] and app.received() == []
        await wire.eof()
        assert wire.events[-1] == "close"

    run(main)


def test_the_application_closes_and_the_client_answers(build: Any) -> None:
    async def main() -> None:
        events: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
            with pytest.raises(Exception, match=r"websocket\.close"):
                await send({"type": "websocket.send", "text": "late"})
            events.append(await receive())

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        head, _, rest = wire.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and frames(rest) == [close_frame(4001, b"enough")]
        await wire.arrive(frame(TEXT, b"ignored") + frame(CLOSE, b"\x0f\xa1"))
        assert events == [{"type": "websocket.disconnect", "code": 4001, "reason": ""}]
        assert wire.events == ["switch", "close"]

    run(main)


def test_a_client_that_does_not_answer_a_close_is_cut_off(build: Any) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})

        wire = await opened(build, app, timeouts={"websocket_close": 5.0})
        await wire.advance(4.5)
        assert wire.events == ["switch"]
        await wire.advance(1.0)
        assert wire.events == ["switch", "abort"]

    run(main)


def test_an_application_that_returns_closes_with_1000_one_that_raises_with_1011(build: Any) -> None:
    async def main() -> None:
        async def returns(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()

        async def raises(scope: Any, receive: Any, send: Any) -> None:
            await returns(scope, receive, send)
            raise RuntimeError("on purpose")

        for app, code in ((returns, 1000), (raises, 1011)):
            wire = await opened(build, app)
            await wire.arrive(frame(TEXT, b"now"))
            assert frames(wire.take()) == [close_frame(code)]

    run(main)


def test_a_client_that_vanishes_is_1006(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        await wire.eof()
        assert app.events[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        app = App()
        wire = await opened(build, app)
        await wire.lose(ConnectionResetError())
        assert app.events[-1]["code"] == 1006

    run(main)


def test_refusal_is_403_and_ends_the_connection(build: Any) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.close"})
            assert (await receive())["type"] == "websocket.disconnect"

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"" + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        data = wire.take()
        assert data.startswith(b"HTTP/1.1 403 Forbidden\r\n") and b"\r\nConnection: close\r\n" in data
        assert data.count(b"HTTP/1.1") == 1
        assert wire.service.requests == 0

    run(main)


def test_a_response_instead_of_a_websocket(build: Any) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            headers = [(b"x-why", b"login")]
            await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"one", "more_body": True})
            await send({"type": "websocket.http.response.body", "body": b"two"})

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        data = wire.take()
        assert data.startswith(b"HTTP/1.1 401 Unauthorized\r\n") and b"x-why: login" in data
        assert data.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")

    run(main)


def test_an_application_that_fails_before_the_handshake_is_complete_gives_500(build: Any) -> None:
    async def main() -> None:
        async def raises(scope: Any, receive: Any, send: Any) -> None:
            raise RuntimeError("on purpose")

        async def returns(scope: Any, receive: Any, send: Any) -> None:
            await receive()

        for app, message in ((raises, "Exception in ASGI application"), (returns, "ASGI callable returned without")):
            log, messages = recording_logger()
            wire = websocket_wire(build, app, log=log)
            await wire.arrive(REQUEST % b"")
            assert wire.take().startswith(b"HTTP/1.1 500 ")
            assert any(text.startswith(message) for text in messages)

    run(main)


@pytest.mark.parametrize(
    ("limits", "data", "code"),
    [
        ({"websocket_message": 1000}, frame(TEXT, b"a" * 1001), 1009),
        ({"websocket_message": 1000}, frame(TEXT, b"a" * 600, fin=False) + frame(0, b"a" * 600), 1009),
        ({"websocket_frame": 100}, frame(BINARY, b"a" * 101), 1009),
        ({"websocket_fragments": 3}, frame(TEXT, b"", fin=False) + 3 * frame(0, b"", fin=False), 1009),
    ],
)
def test_limits(build: Any, limits: dict[str, int], data: bytes, code: int) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app, limits=limits)
        await wire.arrive(frame(TEXT, b"a" * 50) + data)
        *_, (first, payload) = frames(wire.take())
        assert first == 0x80 | CLOSE and int.from_bytes(payload[:2], "big") == code
        assert len(app.received()) == 1

    run(main)


def test_reading_pauses_while_the_application_takes_nothing(build: Any) -> None:
    async def main() -> None:
        app = App(reads=False)
        wire = await opened(build, app, limits={"websocket_queue": 1000})
        await wire.arrive(frame(TEXT, b"a" * 900) + frame(TEXT, b"b" * 900) + frame(TEXT, b"c" * 900))
        assert wire.events == ["switch", "pause_reading"]
        app.reads.set()
        await wire.turns(8)
        assert wire.events == ["switch", "pause_reading", "resume_reading"]
        assert [text[0] for text in app.received()] == ["a", "b", "c"]

    run(main)


def test_send_waits_for_a_client_that_does_not_read(build: Any) -> None:
    async def main() -> None:
        sent: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            for number in range(100):
                await send({"type": "websocket.send", "bytes": bytes(1000)})
                sent.append(number)

        wire = await opened(build, app, limits={}, timeouts={"write": 0.0})
        wire.transport.room = len(wire.transport.output)
        assert len(sent) == 100
        sent.clear()
        wire = websocket_wire(build, app)
        wire.transport.room = 5000
        wire.transport.pauses_above = 10_000
        await wire.arrive(REQUEST % b"")
        assert 5 < len(sent) < 20
        wire.transport.room = None
        wire.transport.pauses_above = None
        wire.connection.resume_writing()
        await wire.turns()
        assert len(sent) == 100

    run(main)


def test_a_client_that_takes_nothing_is_cut_off(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app, timeouts={"write": 10.0, "websocket_ping": 0.0})
        wire.transport.room = 0
        await wire.arrive(frame(TEXT, b"echo"))
        await wire.advance(9.5)
        assert "abort" not in wire.events
        await wire.advance(1.5)
        assert wire.events[-1] == "abort"
        assert app.events[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    run(main)


def test_pings_and_what_becomes_of_a_client_that_does_not_answer(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app, timeouts={"websocket_ping": 20.0, "websocket_pong": 10.0})
        await wire.advance(20.0)
        [(first, payload)] = frames(wire.take())
        assert first == 0x80 | PING
        await wire.arrive(frame(PONG, payload))
        await wire.advance(20.0)
        assert [first for first, _ in frames(wire.take())] == [0x80 | PING]
        await wire.advance(11.0)
        assert frames(wire.take()) == [close_frame(1011, b"keepalive ping timeout")]
        assert app.events[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        await wire.advance(6.0)
        assert wire.events[-1] == "abort"

    run(main)


def test_at_shutdown_the_client_is_told_to_come_back(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        wire.connection.shutdown()
        await wire.advance(1.25)
        assert frames(wire.take()) == [close_frame(1012)]
        assert app.events[-1]["type"] == "websocket.disconnect" and app.events[-1]["code"] == 1012
        await wire.arrive(frame(CLOSE, b"\x03\xf4"))
        assert wire.events == ["switch", "close"]

    run(main)


def test_cancelling_a_receive_leaves_the_next_message_to_the_next_one(build: Any) -> None:
    async def main() -> None:
        events: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await receive()
            events.append(await receive())

        wire = await opened(build, app)
        await asyncio.sleep(0.05)
        await wire.arrive(frame(TEXT, b"after"))
        assert events == [{"type": "websocket.receive", "text": "after"}]

    run(main)


def test_each_connection_has_its_own_context(build: Any) -> None:
    import contextvars

    number = contextvars.ContextVar("number", default=0)

    async def main() -> None:
        seen: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            number.set(number.get() + 1)
            for _ in range(2):
                await receive()
                seen.append(number.get())

        wires = [await opened(build, app) for _ in range(2)]
        for _ in range(2):
            for wire in wires:
                await wire.arrive(frame(TEXT, b"x"))
        assert seen == [1, 1, 1, 1] and number.get() == 0

    run(main)


def test_a_client_that_reads_nothing_is_cut_off_after_its_close_too(build: Any) -> None:
    async def main() -> None:
        for end in (frame(CLOSE, b"\x03\xe8"), b""):
            wire = await opened(build, App(), timeouts={"write": 10.0, "websocket_ping": 0.0})
            wire.transport.room = 0
            await wire.arrive(frame(TEXT, b"echo") + end)
            if not end:
                await wire.eof()
            assert wire.events == ["switch", "close"]
            await wire.advance(9.5)
            assert wire.events == ["switch", "close"]
            await wire.advance(1.5)
            assert wire.events[:3] == ["switch", "close", "abort"]
            await wire.lose()
            await wire.advance(1.0)

    run(main)


def test_when_the_grace_period_is_over_what_waits_for_its_output_ends_too(build: Any) -> None:
    async def main() -> None:
        wire = await opened(build, App())
        wire.transport.room = 0
        await wire.arrive(frame(CLOSE, b"\x03\xe8"))
        wire.connection.abort_requests()
        assert wire.events == ["switch", "close", "abort"]

    run(main)


@pytest.mark.parametrize("how", ["closes", "fails"])
def test_a_slow_client_gets_what_was_sent_before_the_close(build: Any, how: str) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            await (send({"type": "websocket.close"}) if how == "closes" else receive())

        timeouts = {"write": 30.0, "websocket_close": 5.0, "linger": 5.0}
        wire = websocket_wire(build, app, timeouts=timeouts)
        wire.transport.room = 1000
        await wire.arrive(REQUEST % b"")
        if how == "fails":
            await wire.arrive(frame(3))
        for _ in range(10):
            await wire.advance(4.0)
            wire.transport.room += 10_000
        assert "abort" not in wire.events
        wire.transport.room = None
        await wire.advance(11.0)
        assert wire.events[-1] == "abort"

    run(main)


def test_a_client_that_leaves_during_the_handshake_is_answered_all_the_same(build: Any) -> None:
    async def main() -> None:
        async def returns(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "websocket.connect"
            assert await receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

        async def accepts(scope: Any, receive: Any, send: Any) -> None:
            await returns(scope, receive, send)
            await send({"type": "websocket.accept"})

        for app in (returns, accepts):
            log, messages = recording_logger()
            wire = websocket_wire(build, app, log=log, timeouts={"half_close": 0.5})
            await wire.arrive(REQUEST % b"")
            await wire.eof()
            await wire.advance(1.0)
            # It may have closed its sending half only; and until something is sent nobody knows.
            assert wire.take().startswith(b"HTTP/1.1 500 ")
            assert wire.events == ["close"] and messages == []
            assert wire.service.requests == 0 and wire.handler.active() == 0

    run(main)


def test_the_answer_to_the_handshake_may_be_what_fills_the_queue(build: Any) -> None:
    async def main() -> None:
        sent: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            # Told once, as transports do.
            wire.transport.pauses_above = None
            for number in range(3):
                await send({"type": "websocket.send", "bytes": b""})
                sent.append(number)

        wire = websocket_wire(build, app)
        wire.transport.room = 0
        wire.transport.pauses_above = 0
        await wire.arrive(REQUEST % b"")
        assert sent == []
        wire.connection.resume_writing()
        await wire.turns()
        assert sent == [0, 1, 2]

    run(main)


def test_what_waits_when_the_application_returns_goes_on(build: Any) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            tasks.append(asyncio.create_task(receive()))
            await asyncio.sleep(0)

        wire = await opened(build, app)
        await wire.turns()
        assert tasks[0].done() and tasks[0].result() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    run(main)


def test_a_message_is_not_lost_with_a_receive_that_gives_way(build: Any) -> None:
    async def main() -> None:
        events: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await started.wait()
            while len(events) < 400:
                task = asyncio.ensure_future(receive())
                await asyncio.sleep(0)
                if not task.done():
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    cancelled.append(len(events))
                else:
                    events.append(task.result()["text"])

        started = asyncio.Event()
        cancelled: list[int] = []
        wire = await opened(build, app, limits={"websocket_queue": 0})
        await wire.arrive(b"".join(frame(TEXT, b"%d" % number) for number in range(400)))
        started.set()
        await wire.turns(1000)
        assert cancelled
        assert events == [str(number) for number in range(400)]

    run(main)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "websocket.send"}, TypeError),
        ({"type": "websocket.send", "text": None, "bytes": None}, TypeError),
        ({"type": "websocket.send", "text": b"bytes"}, TypeError),
        ({"type": "websocket.send", "bytes": "text"}, TypeError),
        ({"type": "websocket.send", "text": 1}, TypeError),
        ({"type": "websocket.send", "text": "\ud800"}, UnicodeEncodeError),
        ({"type": "websocket.close", "code": "1000"}, TypeError),
        ({"type": "websocket.close", "code": 1000.0}, TypeError),
        ({"type": "websocket.close", "code": 1006}, LocalProtocolError),
        ({"type": "websocket.close", "code": 10**30}, LocalProtocolError),
        ({"type": "websocket.close", "code": -(10**30)}, LocalProtocolError),
        ({"type": "websocket.close", "reason": b"bytes"}, TypeError),
        ({"type": "websocket.close", "reason": "a" * 124}, LocalProtocolError),
        ({"type": "websocket.close", "reason": "\ud800"}, UnicodeEncodeError),
        ({"type": "websocket.accept"}, LocalProtocolError),
        ({"type": "websocket.http.response.start", "status": 403}, LocalProtocolError),
        ({"type": "websocket.http.response.body"}, LocalProtocolError),
        ({"type": "http.response.start", "status": 200}, LocalProtocolError),
        ({}, KeyError),
    ],
)
def test_an_event_that_can_not_be_sent_raises_and_changes_nothing(
    build: Any, event: dict[str, Any], error: type[Exception]
) -> None:
    async def main() -> None:
        raised: list[BaseException] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            try:
                await send(event)
            except Exception as problem:
                raised.append(problem)
            await send({"type": "websocket.close", "code": 4000})

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        assert [type(problem) for problem in raised] == [error]
        assert frames(wire.take().partition(b"\r\n\r\n")[2]) == [close_frame(4000)]

    run(main)


def test_what_is_as_good_as_text_and_bytes_is_sent(build: Any) -> None:
    class Word(str, enum.Enum):  # noqa: UP042 (a StrEnum says what it holds)
        HELLO = "hello"

    class Code(enum.IntEnum):
        OWN = 4001

    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": Word.HELLO, "bytes": None})
            for data in (b"a", bytearray(b"b"), memoryview(b"xcx")[1:2]):
                await send({"type": "websocket.send", "bytes": data, "text": None})
            await send({"type": "websocket.close", "code": Code.OWN, "reason": Word.HELLO})

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        assert frames(wire.take().partition(b"\r\n\r\n")[2]) == [
            (0x80 | TEXT, b"hello"),
            *((0x80 | BINARY, bytes([byte])) for byte in b"abc"),
            close_frame(4001, b"hello"),
        ]

    run(main)


@pytest.mark.parametrize(
    ("event", "code"),
    [({}, 1000), ({"code": None, "reason": None}, 1000), ({"code": 1005}, None), ({"code": 3000, "reason": ""}, 3000)],
)
def test_what_a_close_says_when_the_application_says_little(
    build: Any, event: dict[str, Any], code: int | None
) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", **event})

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        expected = (0x80 | CLOSE, b"") if code is None else close_frame(code)
        assert frames(wire.take().partition(b"\r\n\r\n")[2]) == [expected]

    run(main)


@pytest.mark.parametrize("field", [b":status", b"sec-websocket-protocol", b"Sec-WebSocket-Accept", b"a b", b""])
def test_fields_that_are_not_the_applications_are_refused(build: Any, field: bytes) -> None:
    async def main() -> None:
        raised: list[BaseException] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            try:
                await send({"type": "websocket.accept", "headers": [(field, b"1")]})
            except Exception as problem:
                raised.append(problem)
                raise

        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        assert wire.take().startswith(b"HTTP/1.1 500 ")
        assert [type(problem) for problem in raised] == [LocalProtocolError]

    run(main)


def test_a_101_has_no_content_length(build: Any) -> None:
    async def main() -> None:
        headers = [(b"Content-Length", b"0"), (b"transfer-encoding", b"chunked"), (b"connection", b"close")]
        wire = websocket_wire(build, App(accept={"headers": headers}))
        await wire.arrive(REQUEST % b"")
        head = wire.take().lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"content-length" not in head and b"transfer-encoding" not in head and b"close" not in head

    run(main)


def test_what_comes_in_one_read_is_handled_in_turns(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app)
        for opcode in (TEXT, PING):
            data = b"".join(frame(opcode, b"x") for _ in range(1000))
            asyncio.get_running_loop().call_soon(wire.connection.feed, data)
            await asyncio.sleep(0)
            assert 0 < len(frames(bytes(wire.transport.output))) < 500
            await wire.turns(30)
            assert len(frames(wire.take())) == 1000
        assert len(app.received()) == 1000
        assert wire.events[1:] == 2 * ["pause_reading", "resume_reading"]

    run(main)


def test_waiting_again_and_again_takes_no_memory(build: Any) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            for what in (receive, lambda: send({"type": "websocket.send", "text": "x"})):
                for _ in range(100):
                    task = asyncio.ensure_future(what())
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])
                gc.collect()
                kinds = [type(thing).__name__ for thing in gc.get_objects()]
                counts.append(kinds.count("Waiter"))

        counts: list[int] = []
        wire = websocket_wire(build, app)
        wire.transport.room = 0
        wire.transport.pauses_above = 300
        await wire.arrive(REQUEST % b"")
        await wire.turns(1500)
        assert len(counts) == 2 and max(counts) < 10

    run(main)


def test_two_tasks_receive_each_message_once(build: Any) -> None:
    async def main() -> None:
        texts: list[tuple[int, str]] = []
        ends: list[dict[str, Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})

            async def reader(number: int) -> None:
                while (event := await receive())["type"] == "websocket.receive":
                    texts.append((number, event["text"]))
                ends.append(event)

            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(reader(number))

        wire = await opened(build, app)
        for number in range(5):
            await wire.arrive(frame(TEXT, b"%d" % number))
        await wire.arrive(frame(TEXT, b"5") + frame(TEXT, b"6"))
        await wire.arrive(frame(TEXT, b"7") + frame(CLOSE, b"\x03\xe8"))
        assert sorted(text for _, text in texts) == list("01234567")
        assert ends == 3 * [{"type": "websocket.disconnect", "code": 1000, "reason": ""}]
        await wire.turns()
        assert wire.handler.active() == 0

    run(main)


def test_after_the_end_receive_says_so_again_and_send_raises(build: Any) -> None:
    async def main() -> None:
        events: list[Any] = []
        errors: list[BaseException] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            events.extend([await receive(), await receive()])
            for event in (
                {"type": "websocket.send", "text": "late"},
                {"type": "websocket.close"},
                {"type": "websocket.http.response.start", "status": 403},
            ):
                try:
                    await send(event)
                except Exception as error:
                    errors.append(error)
            await send({"type": "websocket.send", "text": "late"})

        log, messages = recording_logger()
        wire = await opened(build, app, log=log)
        await wire.arrive(frame(CLOSE, b"\x03\xe9bye"))
        assert events == 2 * [{"type": "websocket.disconnect", "code": 1001, "reason": "bye"}]
        assert [type(error) for error in errors] == [ClientDisconnected, ClientDisconnected, LocalProtocolError]
        assert isinstance(errors[0], OSError)
        # What comes of the client's leaving is no error.
        assert messages == []

    run(main)


def test_whoever_waits_in_send_hears_of_the_end(build: Any) -> None:
    async def main() -> None:
        ends: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})

            async def writer() -> None:
                try:
                    while True:
                        await send({"type": "websocket.send", "bytes": bytes(100)})
                except OSError as error:
                    ends.append(error)

            await asyncio.gather(writer(), writer())

        for how in ("lost", "close"):
            ends.clear()
            wire = websocket_wire(build, app)
            wire.transport.room = 0
            wire.transport.pauses_above = 1000
            await wire.arrive(REQUEST % b"")
            assert wire.handler.active() == 1
            await (wire.lose() if how == "lost" else wire.arrive(frame(CLOSE)))
            assert [type(error) for error in ends] == 2 * [ClientDisconnected]
            await wire.turns()
            assert wire.handler.active() == 0

    run(main)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("debug", [False, True])
def test_waits_can_be_given_up_in_every_way(build: Any, loop: str, debug: bool) -> None:
    anyio = pytest.importorskip("anyio")
    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    texts: list[str] = []
    given_up: list[str] = []
    ready = ""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal ready
        await receive()
        await send({"type": "websocket.accept"})
        for way in WAYS:
            try:
                await way(receive)
            except TimeoutError:
                given_up.append(way.__name__)
            ready = way.__name__
            texts.append((await receive())["text"])
            ready = ""

    async def wait_for(receive: Any) -> None:
        await asyncio.wait_for(receive(), 0.001)

    async def timeout(receive: Any) -> None:
        async with asyncio.timeout(0.001):
            await receive()

    async def no_time(receive: Any) -> None:
        async with asyncio.timeout(0):
            await receive()

    async def fail_after(receive: Any) -> None:
        with anyio.fail_after(0.001):
            await receive()

    async def cancelled_before(receive: Any) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await receive()
        if scope.cancelled_caught:
            raise TimeoutError

    async def task(receive: Any) -> None:
        waiting = asyncio.ensure_future(receive())
        await asyncio.wait([waiting], timeout=0.001)
        waiting.cancel()
        await asyncio.wait([waiting])
        raise TimeoutError

    WAYS = [wait_for, timeout, no_time, fail_after, cancelled_before, task]

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        wire = await opened(build, app)
        for number, way in enumerate(WAYS):
            async with asyncio.timeout(5):
                while ready != way.__name__:
                    await asyncio.sleep(0.001)
            # Driven by a callback, and by a task.
            await (wire.arrive if number % 2 else wire.feed)(frame(TEXT, b"%d" % number))
        await wire.turns()
        assert wire.service.connections == 1 and wire.handler.active() == 0

    problems: list[Any] = []
    with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
        runner.run(asyncio.wait_for(main(), 20))
    assert given_up == [way.__name__ for way in WAYS]
    assert texts == [str(number) for number in range(len(WAYS))]
    assert problems == []


def test_a_message_is_not_lost_with_a_receive_that_never_began(build: Any) -> None:
    async def main() -> None:
        events: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await reads.wait()
            task = asyncio.ensure_future(receive())
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            # Called, and never waited for.
            receive()
            events.append(await receive())

        reads = asyncio.Event()
        wire = await opened(build, app)
        await wire.arrive(frame(TEXT, b"first") + frame(TEXT, b"second"))
        reads.set()
        await wire.turns()
        assert events == [{"type": "websocket.receive", "text": "first"}]

    run(main)


def test_a_server_that_stops_during_the_handshake(build: Any) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await go.wait()
            await send({"type": "websocket.accept"})
            events.append(await receive())

        events: list[Any] = []
        wire = websocket_wire(build, app)
        await wire.arrive(REQUEST % b"")
        wire.service.draining = True
        wire.connection.shutdown()
        go.set()
        await wire.turns()
        assert wire.take().startswith(b"HTTP/1.1 101 ")
        await wire.advance(1.25)
        assert frames(wire.take()) == [close_frame(1012)]
        assert events == [{"type": "websocket.disconnect", "code": 1012, "reason": ""}]

    run(main)


def test_at_the_end_of_the_grace_period_the_application_is_cancelled(build: Any) -> None:
    async def main() -> None:
        ends: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            try:
                if scope["path"] == "/chat":
                    await send({"type": "websocket.accept"})
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        for request in (REQUEST, REQUEST.replace(b"/chat", b"/other")):
            wire = websocket_wire(build, app)
            await wire.arrive(request % b"")
            wire.connection.abort_requests()
            await wire.turns()
            assert wire.events[-1] == "abort" and wire.handler.active() == 0 and wire.service.requests == 0
            await wire.lose()
            assert wire.service.connections == 0
        assert ends == ["cancelled", "cancelled"]

    run(main)


def test_a_client_that_is_gone_before_the_handshake_is_complete(build: Any) -> None:
    async def main() -> None:
        go = asyncio.Event()
        events: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            events.extend([await receive(), await receive()])
            with pytest.raises(ClientDisconnected):
                await send({"type": "websocket.http.response.start", "status": 403})
            await send({"type": "websocket.accept"})

        log, messages = recording_logger()
        wire = websocket_wire(build, app, log=log)
        await wire.arrive(REQUEST % b"")
        await wire.lose(ConnectionResetError())
        go.set()
        await wire.turns()
        assert [event["type"] for event in events] == ["websocket.connect", "websocket.disconnect"]
        assert events[1]["code"] == 1006 and messages == []
        assert wire.service.requests == wire.service.connections == wire.handler.active() == 0

    run(main)


def test_what_came_with_the_handshake_and_the_end_of_input(build: Any) -> None:
    async def main() -> None:
        go = asyncio.Event()
        app = App()

        async def late(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await app(scope, receive, send)

        wire = websocket_wire(build, late, timeouts={"half_close": 5.0})
        await wire.arrive(REQUEST % b"" + frame(TEXT, b"early") + frame(PING, b"p"))
        await wire.eof()
        go.set()
        await wire.turns()
        assert frames(wire.take().partition(b"\r\n\r\n")[2]) == [(0x80 | PONG, b"p")]
        assert app.received() == ["early"] and [type(error) for error in app.errors] == [ClientDisconnected]
        assert wire.events == ["switch", "close"] and wire.handler.active() == 0

    run(main)


def test_without_pings_a_silent_client_stays(build: Any) -> None:
    async def main() -> None:
        for timeouts in ({"websocket_ping": 0.0}, {"websocket_ping": 20.0, "websocket_pong": 0.0}):
            wire = await opened(build, App(), timeouts=timeouts)
            await wire.advance(300.0, step=10.0)
            sent = frames(wire.take())
            assert wire.events == ["switch"]
            assert len({payload for _, payload in sent}) == len(sent) == (15 if timeouts["websocket_ping"] else 0)

    run(main)


def test_a_pong_must_be_the_one_that_was_asked_for(build: Any) -> None:
    async def main() -> None:
        app = App()
        wire = await opened(build, app, timeouts={"websocket_ping": 60.0, "websocket_pong": 10.0})
        await wire.arrive(frame(PONG, bytes(7) + b"\x01"))
        await wire.advance(60.0)
        [(_, payload)] = frames(wire.take())
        # It shows that there is somebody, once.
        await wire.arrive(frame(PONG, b"another"))
        await wire.advance(10.0)
        assert wire.take() == b""
        await wire.advance(10.0)
        assert frames(wire.take()) == [close_frame(1011, b"keepalive ping timeout")]
        # Too late.
        await wire.arrive(frame(PONG, payload))
        assert wire.take() == b"" and app.events[-1]["code"] == 1006

    run(main)


def test_while_a_client_reads_nothing_it_gets_the_last_pong_only_and_no_ping(build: Any) -> None:
    async def main() -> None:
        wire = await opened(build, App(), timeouts={"websocket_ping": 20.0, "write": 0.0})
        wire.connection.pause_writing()
        for number in range(100):
            await wire.arrive(frame(PING, b"%d" % number))
        await wire.advance(25.0)
        assert wire.take() == b""
        wire.connection.resume_writing()
        assert frames(wire.take()) == [(0x80 | PONG, b"99")]
        wire.connection.resume_writing()
        assert wire.take() == b""
        await wire.advance(20.0)
        assert [first for first, _ in frames(wire.take())] == [0x80 | PING]

    run(main)


@pytest.mark.parametrize(
    ("data", "code", "calls"),
    [
        # Whatever code it answers with.
        (frame(CLOSE, b"\x0f\xa0"), 4000, ["close"]),
        (frame(CLOSE), 1005, ["close"]),
        (frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(0, b"b") + frame(CLOSE), 1005, ["close"]),
        # What breaks the rules now is not answered, but ends it all the same.
        (frame(CLOSE, b"\x03"), 1002, ["shutdown_write"]),
        (frame(PING, bytes(126)), 1002, ["shutdown_write"]),
        (frame(3), 1002, ["shutdown_write"]),
        # Text is not looked at any more.
        (frame(TEXT, b"\xff") + frame(CLOSE), 1005, ["close"]),
    ],
)
def test_what_the_client_may_send_after_our_close(build: Any, data: bytes, code: int, calls: list[str]) -> None:
    async def main() -> None:
        events: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            await send({"type": "websocket.close"})
            events.append(await receive())

        wire = await opened(build, app)
        # In the middle of a message.
        await wire.arrive(frame(TEXT, b"go") + frame(BINARY, b"begun")[:-2])
        assert frames(wire.take()) == [close_frame(1000)]
        await wire.arrive(frame(BINARY, b"begun")[-2:] + data)
        assert wire.take() == b""
        assert [event["code"] for event in events] == [code] and wire.events == ["switch", *calls]

    run(main)


def test_the_end_of_input_answers_our_close(build: Any) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 3000})
            events.append(await receive())

        events: list[Any] = []
        wire = await opened(build, app, timeouts={"websocket_close": 0.0})
        await wire.advance(100.0, step=5.0)
        assert wire.events == ["switch"]
        await wire.eof()
        assert wire.events == ["switch", "close"] and events[0]["code"] == 1006

    run(main)


def test_an_application_that_closes_lets_reading_go_on(build: Any) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await go.wait()
            await send({"type": "websocket.close"})

        wire = await opened(build, app, limits={"websocket_queue": 1})
        await wire.arrive(10 * frame(TEXT, b"unread") + frame(CLOSE))
        assert wire.events == ["switch", "pause_reading"]
        go.set()
        await wire.turns()
        assert wire.events == ["switch", "pause_reading", "close"]
        assert frames(wire.take()) == [close_frame(1000)]

    run(main)


def test_limits_that_are_off(build: Any) -> None:
    async def main() -> None:
        names = ("websocket_message", "websocket_frame", "websocket_fragments", "websocket_queue")
        app = App(reads=False)
        wire = await opened(build, app, limits=dict.fromkeys(names, 0))
        await wire.arrive(frame(BINARY, bytes(300_000)) + frame(TEXT, b"", fin=False) + 200 * frame(0, b"", fin=False))
        await wire.arrive(frame(0, b"end") + 50 * frame(TEXT, bytes(10_000)))
        assert wire.events == ["switch"]
        app.reads.set()
        await wire.turns(10)
        assert [len(text) for text in app.received()] == [300_000, 3] + 50 * [10_000]

    run(main)


def test_after_a_failure_input_is_discarded_within_reason(build: Any) -> None:
    async def main() -> None:
        wire = await opened(build, App(), limits={"linger": 100}, timeouts={"linger": 5.0})
        await wire.arrive(frame(3))
        await wire.arrive(bytes(100))
        assert wire.events == ["switch", "shutdown_write"]
        await wire.arrive(b"x")
        assert wire.events[-1] == "abort"

    run(main)


def test_where_no_half_can_be_closed_a_client_is_waited_for_that_is_sending(build: Any) -> None:
    async def main() -> None:
        whole = (frame(3), frame(TEXT, b"\xff"), frame(CLOSE, b"\x03"))
        part = (
            frame(TEXT, b"\xff" + b"a" * 10)[:-1],
            frame(PING, bytes(126)),
            frame(3) + frame(TEXT),
            frame(CLOSE) + b"x",
        )
        for data in (*whole, *part):
            wire = await opened(build, App(), timeouts={"linger": 5.0})
            wire.transport.half_close = False
            await wire.arrive(data)
            if data in whole:
                # As in TLS, where it waits for our end.
                assert wire.events == ["switch", "shutdown_write", "close"]
                continue
            await wire.advance(4.5)
            assert wire.events == ["switch", "shutdown_write"]
            await wire.advance(1.0)
            assert wire.events[-1] == "abort"

    run(main)


def test_what_is_over_leaves_nothing_to_the_garbage_collector(build: Any) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass

        wire = websocket_wire(build, app)
        gc.collect()
        for _ in range(20):
            await wire.arrive(REQUEST % b"")
            await wire.arrive(frame(TEXT, b"message") + frame(CLOSE))
            await wire.lose()
            wire.open()
        assert gc.collect() < 20

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


def test_a_handshake_has_its_time_and_a_connection_all_there_is(build: Any) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        timeouts = {"request": 1.0, "websocket_ping": 0.0}
        wire = websocket_wire(build, never, timeouts=timeouts)
        await wire.feed(REQUEST % b"")
        await wire.advance(2.0)
        assert wire.take().startswith(b"HTTP/1.1 504 ")
        assert wire.service.requests == 0
        assert wire.handler.active() == 0
        app = App()
        wire = websocket_wire(build, app, timeouts=timeouts)
        await wire.feed(REQUEST % b"")
        await wire.advance(9.0)
        assert wire.take().startswith(b"HTTP/1.1 101 ")
        await wire.feed(frame(TEXT, b"still there"))
        assert frames(wire.take()) == [(0x81, b"still there")]
        await wire.lose()

    run(main)
