"""Differential fuzzing of whole WebSocket connections: the same bytes, applications and times into both builds.

Invariant: for every scenario the two builds write the same bytes in the same calls, make the same other calls on their
transport and hand the application the same events; nothing raises into the transport; what is written after the 101 is
whole frames; and in the end nothing is counted as open.

`python -m tests.parity.websockets --seconds 60 --seed 7` runs it for longer than the suite does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import zlib
from dataclasses import dataclass, field
from typing import Any

from gateway.backend import Backend
from gateway.errors import ClientDisconnected
from tests.fakes import Wire, websocket_wire
from tests.parity.campaigns import command, search
from tests.parity.connections import Step, difference, mutate

REQUEST = (
    b"GET /%d HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
WORDS = "some words that come again and again, é and € and 😀 among them; ".encode()


# Making records of what the applications raise takes longer than all the rest.
SILENT = logging.Logger("silent", logging.CRITICAL + 1)


@dataclass
class Scenario:
    """What is done to a connection, in order. `deflate`: what the server is ready for, None for no compression."""

    limits: dict[str, int]
    timeouts: dict[str, float]
    deflate: dict[str, int] | None
    half_close: bool
    steps: list[Step] = field(default_factory=list)


# Applications, by the number in the request's path.

ACCEPT: dict[str, Any] = {"type": "websocket.accept"}


def message(data: str | bytes) -> dict[str, Any]:
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


async def echo(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] != "websocket.disconnect":
        await send({**event, "type": "websocket.send"})


async def echoes_late(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] != "websocket.disconnect":
        for _ in range(7):
            await asyncio.sleep(0)
        await send({**event, "type": "websocket.send"})


async def accepts_late(receive: Any, send: Any) -> None:
    for _ in range(9):
        await asyncio.sleep(0)
    await echo(receive, send)


async def never_receives(receive: Any, send: Any) -> None:
    await send(ACCEPT)
    await asyncio.Event().wait()


async def sends_much(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    for size in (1, 0, 125, 126, 300, 65535, 65536, 70_000, 200_000):
        await send(message(bytes(size)))
        await send(message(WORDS.decode() * (size // 70)))
    await receive()


async def sends_for_ever(receive: Any, send: Any) -> None:
    await send(ACCEPT)
    while True:
        await send(message(WORDS * 5))
        await asyncio.sleep(0)


async def answers_many_times(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    while (await receive())["type"] == "websocket.receive":
        for number in range(5):
            await send(message(str(number) * 30_000))


async def closes(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    while (await receive())["type"] == "websocket.receive":
        pass


async def closes_on_the_second(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    await receive()
    await receive()
    await send(message("bye"))
    await send({"type": "websocket.close"})
    await send(message("late"))


async def closes_without_a_code(receive: Any, send: Any) -> None:
    await echo_one(receive, send)
    await send({"type": "websocket.close", "code": 1005})


async def echo_one(receive: Any, send: Any) -> None:
    await receive()
    await send({**ACCEPT, "headers": [(b"x-app", b"1"), (b"content-length", b"3"), (b"date", b"today")]})
    event = await receive()
    if event["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def raises(receive: Any, send: Any) -> None:
    await echo_one(receive, send)
    raise RuntimeError("on purpose")


async def raises_early(receive: Any, send: Any) -> None:
    raise RuntimeError("on purpose")


async def returns_early(receive: Any, send: Any) -> None:
    await receive()


async def refuses(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})
    await receive()
    await send(ACCEPT)


async def denies(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"login")]})
    for _ in range(3):
        await send({"type": "websocket.http.response.body", "body": b"a part", "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "websocket.http.response.body"})
    await receive()


async def denies_by_halves(receive: Any, send: Any) -> None:
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-length", b"9")]})
    await send({"type": "websocket.http.response.body", "body": b"a part", "more_body": True})


async def chooses(receive: Any, send: Any) -> None:
    await receive()
    await send({**ACCEPT, "subprotocol": "chat"})
    await receive()


async def in_tasks(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)

    async def reader() -> None:
        while (event := await receive())["type"] != "websocket.disconnect":
            await send({**event, "type": "websocket.send"})

    async def writer() -> None:
        for number in range(20):
            await send(message(str(number)))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(reader())
        group.create_task(reader())
        group.create_task(writer())


async def leaves_a_task(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    left.append(task)


async def gives_up_receiving(receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    while True:
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            event = task.result()
            if event["type"] == "websocket.disconnect":
                return
            await send({**event, "type": "websocket.send"})
        else:
            await asyncio.sleep(0)


async def sends_nonsense(receive: Any, send: Any) -> None:
    await receive()
    for event in (
        message("before"),
        {"type": "websocket.http.response.body"},
        {**ACCEPT, "headers": [(b"sec-websocket-protocol", b"x")]},
        {**ACCEPT, "headers": [(b":status", b"200")]},
        {**ACCEPT, "headers": None},
        ACCEPT,
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": b"x"},
        {"type": "websocket.send", "bytes": "x"},
        message("\ud800"),
        {"type": "websocket.close", "code": 1006},
        {"type": "websocket.close", "code": "1000"},
        {"type": "websocket.close", "code": 2**40},
        {"type": "websocket.close", "reason": "long" * 50},
        {"type": "websocket.close", "reason": b"bytes"},
        {"type": "websocket.http.response.start", "status": 200},
        {"type": "nonsense"},
        message("good"),
    ):
        try:
            await send(event)
        except ClientDisconnected:
            return
        except Exception:
            continue
    await receive()


APPS = [
    echo,
    echo,
    echo,
    echo,
    echoes_late,
    echoes_late,
    accepts_late,
    never_receives,
    sends_much,
    sends_for_ever,
    answers_many_times,
    closes,
    closes_on_the_second,
    closes_without_a_code,
    raises,
    raises_early,
    returns_early,
    refuses,
    denies,
    denies_by_halves,
    chooses,
    in_tasks,
    leaves_a_task,
    gives_up_receiving,
    sends_nonsense,
]

# Tasks that outlive their application, for the length of a scenario.
left: list[asyncio.Task[Any]] = []


class Observed:
    """Picks its script by the path and keeps what it was given."""

    def __init__(self) -> None:
        self.trace: list[Any] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        trace = self.trace
        trace.append({key: value for key, value in scope.items() if key != "asgi"})
        script = APPS[int(scope["path"].strip("/") or 0) % len(APPS)]

        async def receive_traced() -> Any:
            event = await receive()
            trace.append(event)
            return event

        async def send_traced(event: Any) -> None:
            try:
                await send(event)
            except Exception as error:
                trace.append(f"{type(error).__name__}: {error}")
                raise

        try:
            await script(receive_traced, send_traced)
        except BaseException as error:
            trace.append(f"{script.__name__}: {type(error).__name__}")
            raise
        trace.append(f"end of {script.__name__}")


async def play(build: Backend, scenario: Scenario) -> list[Any]:
    """Everything that can be seen of `scenario` on `build`; its last element is what must not be there."""
    problems: list[str] = []

    def unexpected(loop: Any, context: dict[str, Any]) -> None:
        problems.append(f"{context['message']}: {context.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(unexpected)
    # Over what time sockets are closed at a shutdown is random.
    random.seed(1)
    app = Observed()
    wire = websocket_wire(
        build, app, deflate=scenario.deflate, limits=scenario.limits, timeouts=scenario.timeouts, log=SILENT
    )
    wire.transport.half_close = scenario.half_close
    output = bytearray()
    seen: list[Any] = []
    for step in scenario.steps:
        if wire.gone:
            break
        try:
            await take_step(wire, step)
        except Exception as error:
            problems.append(f"{step[0]} raised {error!r}")
        output += b"".join(wire.transport.writes)
        events = list(wire.events)
        seen.append((step[0], list(wire.transport.writes), events, wire.connection.state, wire.service.requests))
        wire.transport.writes.clear()
        wire.events.clear()
        if "abort" in events or ("close" in events and not wire.transport.buffered()):
            await wire.lose()
    await wire.lose()
    for task in left:
        task.cancel()
    left.clear()
    wire.handler.cancel_all()
    await wire.turns(20)
    seen.append([len(data) for data in wire.transport.writes])
    seen.append(app.trace)
    open_things = (wire.service.connections, wire.service.requests, wire.handler.active())
    if open_things != (0, 0, 0):
        problems.append(f"left open: {open_things}")
    if not whole_frames(bytes(output)):
        problems.append("something else than whole frames was written")
    seen.append(problems)
    return seen


async def take_step(wire: Wire, step: Step) -> None:
    """Do one thing to a connection."""
    transport = wire.transport
    match step:
        case ("feed", data):
            await wire.feed(data)
        case ("arrive", data):
            await wire.arrive(data)
        case ("together", parts):
            # Several reads in one turn of the loop.
            for part in parts:
                asyncio.get_running_loop().call_soon(wire.connection.feed, part)
            await wire.turns()
        case ("bytewise", data):
            await wire.feed_bytewise(data)
        case ("eof",):
            await wire.eof()
        case ("advance", seconds):
            for _ in range(round(seconds / 0.5)):
                await wire.advance(0.5, step=0.5)
                if "abort" in wire.events:
                    # The transport would be gone by now.
                    break
        case ("turns",):
            await wire.turns(40)
        case ("slow",):
            if transport.room is None:
                transport.room = len(transport.output)
                transport.pauses_above = 0
        case ("full",):
            if transport.room is None:
                transport.room = len(transport.output)
                transport.pauses_above = 0
                wire.connection.pause_writing()
        case ("fast",):
            transport.room = None
            transport.pauses_above = None
            wire.connection.resume_writing()
            await wire.turns()
        case ("shutdown",):
            wire.service.draining = True
            wire.connection.shutdown()
            await wire.turns()
        case ("abort_requests",):
            wire.connection.abort_requests()
            await wire.turns()
        case ("lost",):
            await wire.lose()


def whole_frames(data: bytes) -> bool:
    """Whether what was written is a response, and after a 101 unmasked frames that end where it ends."""
    if not data.startswith(b"HTTP/1.1 101 "):
        return True
    data = data[data.index(b"\r\n\r\n") + 4 :]
    closed = False
    while data:
        if len(data) < 2 or closed or data[1] >= 0x80 or data[0] & 0x30:
            return False
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        if len(data) < start + size or data[0] & 15 not in (TEXT, BINARY, CLOSE, PING, PONG):
            return False
        closed = data[0] & 15 == CLOSE
        data = data[start + size :]
    return True


# Scenarios.


def frame(rng: random.Random, opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame of a client, nearly always masked."""
    size = len(payload)
    masked = 0x80 if rng.random() < 0.995 else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    wide = rng.random() < 0.003
    if size < 126 and not wide:
        head += bytes([masked | size])
    elif size < 65536:
        head += bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = rng.randbytes(4)
    pad = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


class Client:
    """Makes frames, with the compression of a client that has agreed on it, or thinks so."""

    def __init__(self, rng: random.Random, compresses: bool) -> None:
        self.rng = rng
        self.bits = -rng.choice((9, 9, 12, 15)) if compresses else 0
        self.takeover = rng.random() < 0.7
        self.compressor: Any = None

    def control(self) -> bytes:
        rng = self.rng
        kind = rng.random()
        if kind < 0.6:
            return frame(rng, PING, rng.randbytes(rng.choice((0, 1, 125))))
        if kind < 0.95:
            return frame(rng, PONG, rng.choice((b"", b"unasked", rng.choice((1, 2, 3)).to_bytes(8, "big"))))
        return frame(rng, rng.choice((PING, PONG, 3, 11)), bytes(126), fin=rng.random() < 0.5)

    def close(self) -> bytes:
        rng = self.rng
        payload = rng.choice(
            [b"", b"\x03\xe8", b"\x03\xe8", b"\x03\xe9going away", b"\x0f\xa0own", b"\x03\xe8" + "é".encode() * 61]
            + [b"\x03", b"\x03\xed", b"\x03\xe8\xff", b"\x00\x00", bytes(126)] * (rng.random() < 0.3)
        )
        return frame(rng, CLOSE, payload)

    def payload(self, text: bool) -> bytes:
        rng = self.rng
        size = rng.choice((0, 1, 5, 5, 30, 125, 126, 127, 200, 1000, 5000, 65535, 65536, 90_000))
        if text and rng.random() < 0.05:
            return rng.choice(
                (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")
            ) + b"b" * rng.choice((0, 9))
        data = (WORDS * (size // len(WORDS) + 1))[:size]
        if text:
            return data.decode(errors="ignore").encode()
        return data if rng.random() < 0.5 else rng.randbytes(size)

    def compress(self, data: bytes) -> bytes:
        if self.compressor is None or not self.takeover:
            self.compressor = zlib.compressobj(self.rng.choice((1, 9)), zlib.DEFLATED, self.bits)
        result = self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return result[:-4]

    def message(self) -> bytes:
        """A message in one frame or several, with control frames in between."""
        rng = self.rng
        opcode = rng.choice((TEXT, TEXT, BINARY))
        data = self.payload(opcode == TEXT)
        rsv = 0
        if self.bits and rng.random() < 0.6:
            data = self.compress(data)
            if rng.random() < 0.05:
                data = mutate(rng, data)
            rsv = 4
        elif rng.random() < 0.005:
            rsv = rng.choice((1, 2, 4))
        if rng.random() < 0.6:
            return frame(rng, opcode, data, rsv=rsv)
        result = b""
        count = rng.choice((2, 2, 3, 8))
        for number in range(count):
            size = rng.choice((0, len(data) // 2, rng.randrange(len(data) + 1)))
            last = number == count - 1
            result += frame(rng, opcode, data if last else data[:size], fin=last, rsv=rsv)
            data = data[size:]
            opcode = CONTINUATION
            rsv = 4 if rng.random() < 0.003 else 0
            if rng.random() < 0.4:
                result += self.control()
        return result

    def stream(self) -> bytes:
        """Some messages and other frames, and perhaps a Close and more after it."""
        rng = self.rng
        result = b""
        if rng.random() < 0.05:
            # More than one turn's worth of small ones.
            result = b"".join(frame(rng, rng.choice((TEXT, PING)), b"x") for _ in range(600))
        for _ in range(rng.choice((0, 1, 2, 4, 10))):
            result += self.control() if rng.random() < 0.2 else self.message()
        if rng.random() < 0.4:
            result += self.close()
            if rng.random() < 0.2:
                result += self.message()
        return mutate(rng, result) if rng.random() < 0.12 else result


def scenario(rng: random.Random) -> Scenario:
    """A random scenario."""
    limits: dict[str, int] = {}
    timeouts: dict[str, float] = {}
    if rng.random() < 0.4:
        limits = {
            "websocket_message": rng.choice((0, 100, 5000, 70_000)),
            "websocket_frame": rng.choice((0, 0, 100, 65535)),
            "websocket_fragments": rng.choice((0, 2, 5)),
            "websocket_queue": rng.choice((0, 1, 200, 65536)),
            "linger": rng.choice((0, 100, 1048576)),
        }
    if rng.random() < 0.4:
        timeouts = {
            "websocket_ping": rng.choice((0.0, 1.0, 20.0)),
            "websocket_pong": rng.choice((0.0, 1.0, 20.0)),
            "websocket_close": rng.choice((0.0, 1.0, 5.0)),
            "write": rng.choice((0.0, 1.0, 30.0)),
            "linger": rng.choice((0.0, 1.0, 5.0)),
            "half_close": rng.choice((0.0, 0.5)),
        }
    fields = b""
    if rng.random() < 0.3:
        fields += rng.choice((b"Sec-WebSocket-Protocol: superchat, chat\r\n", b"Sec-WebSocket-Protocol: other\r\n"))
    offers = rng.random() < 0.5
    if offers:
        fields += b"Sec-WebSocket-Extensions: permessage-deflate" + rng.choice(
            (
                b"",
                b"; client_max_window_bits",
                b"; server_no_context_takeover",
                b"; client_no_context_takeover; server_max_window_bits=10",
                b"; nonsense",
            )
        )
        fields += b"\r\n"
    if rng.random() < 0.03:
        fields += rng.choice((b"Content-Length: 3\r\n", b"Sec-WebSocket-Key: twice\r\n", b"Connection: close\r\n"))
    deflate = None
    if rng.random() < 0.8:
        deflate = {"min_size": rng.choice((0, 16, 128)), "memory": rng.choice((40_000, 65_536, 400_000))}
    client = Client(rng, offers and (deflate is not None or rng.random() < 0.1))
    request = REQUEST % (rng.randrange(len(APPS)), fields)
    if rng.random() < 0.02:
        request = mutate(rng, request)
    stream = client.stream()
    steps: list[Step] = []
    disturbances: list[Step] = [("advance", 0.5), ("advance", 2.0), ("advance", 12.0), ("turns",)]
    disturbances += [("slow",), ("full",), ("full",), ("fast",)]
    if rng.random() < 0.15:
        steps.append(("slow",))
    if rng.random() < 0.8:
        steps.append((rng.choice(("feed", "arrive")), request))
    else:
        size = rng.randrange(len(stream) + 1)
        steps.append((rng.choice(("feed", "arrive")), request + stream[:size]))
        stream = stream[size:]
    if rng.random() < 0.1:
        steps.append(rng.choice((("eof",), ("shutdown",), ("lost",), ("advance", 3.0), ("slow",))))
    if len(stream) < 600 and rng.random() < 0.3:
        steps.append(("bytewise", stream))
        stream = b""
    while stream:
        size = rng.choice((len(stream), rng.randrange(1, len(stream) + 1), min(len(stream), rng.randrange(1, 20))))
        part = stream[:size]
        stream = stream[size:]
        kind = rng.random()
        if kind < 0.5:
            steps.append(("arrive", part))
        elif kind < 0.75:
            steps.append(("feed", part))
        else:
            cut = rng.randrange(size + 1)
            steps.append(("together", [part[:cut], part[cut:]] if 0 < cut < size else [part]))
        if rng.random() < 0.25:
            steps.append(rng.choice(disturbances))
    tail: list[Step] = [
        ("advance", 1.0),
        ("advance", 6.0),
        ("advance", 45.0),
        ("eof",),
        ("shutdown",),
        ("abort_requests",),
        ("lost",),
        ("fast",),
        ("slow",),
        ("turns",),
        ("arrive", client.close()),
        ("feed", client.message()),
    ]
    if rng.random() < 0.5:
        steps.append(("fast",))
    for _ in range(rng.choice((0, 1, 2, 4))):
        steps.append(rng.choice(tail))
    return Scenario(limits, timeouts, deflate, rng.random() < 0.8, steps)


async def compare(one: Backend, other: Backend, case: Scenario) -> str | None:
    """The difference between two builds on `case`, or what is wrong in both; None where all is well."""
    first = await play(one, case)
    second = await play(other, case)
    return difference(first, second) or "; ".join(first[-1]) or None


def campaign(
    one: Backend, other: Backend, seed: int, count: int, seconds: float = 1e9, findings: int = 10
) -> tuple[int, list[str]]:
    """Compare on `count` scenarios, or for `seconds`, up to so many findings. How many were tried, and the findings."""
    with asyncio.Runner() as runner:
        return search(
            lambda case: runner.run(compare(one, other, scenario(random.Random(case)))), seed, count, seconds, findings
        )


if __name__ == "__main__":
    sys.exit(command(__doc__, campaign, "connections"))
