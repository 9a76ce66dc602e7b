"""Differential fuzzing of whole connections: the same bytes, applications and times into both builds.

Invariant: for every scenario the two builds write the same bytes, make the same calls on their transport, start the
same applications with the same scopes and hand them the same events, and end with nothing counted as open.

`python -m tests.parity.connections --seconds 60 --seed 7` runs it for longer than the suite does.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass, field
from typing import Any

from gateway.backend import Backend
from tests.fakes import Wire, quiet
from tests.parity.campaigns import command, search

BIG = b"0123456789abcdef" * 5000

Step = tuple[Any, ...]


@dataclass
class Scenario:
    """What is done to a connection, in order."""

    limits: dict[str, int]
    timeouts: dict[str, float]
    steps: list[Step] = field(default_factory=list)
    wsgi: bool = False
    direct: bool = False
    """Whether WSGI tasks send what they produce themselves, as threads do."""


# Applications, by the first letter of the request's path. Each is a script over (receive, send).

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def start(status: int = 200, *headers: tuple[bytes, bytes], **extra: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **extra}


async def read_all(receive: Any) -> bytes:
    data = b""
    while True:
        event = await receive()
        data += event.get("body", b"")
        if not event.get("more_body"):
            return data


async def hello(receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"hello"))


async def echo(receive: Any, send: Any) -> None:
    data = await read_all(receive)
    await send(start(200, (b"content-length", b"%d" % len(data))))
    await send(body(data))


async def echo_stream(receive: Any, send: Any) -> None:
    await send(START)
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        await send(body(event["body"], event["more_body"]))
        if not event["more_body"]:
            return


async def streamed(receive: Any, send: Any) -> None:
    await send(START)
    for part in (b"a", b"", b"bb", BIG, b"ccc"):
        await send(body(part, True))
        await asyncio.sleep(0)
    await send(body())


async def events(receive: Any, send: Any) -> None:
    await send(start(200, (b"Content-Type", b"text/event-stream")))
    await send(body(b"data: x\n\n", True))
    while (await receive())["type"] != "http.disconnect":
        pass


async def declared(receive: Any, send: Any) -> None:
    await send(start(200, (b"Content-Length", b"6")))
    await send(body(b"abc", True))
    await send(body(b"def"))


async def too_long(receive: Any, send: Any) -> None:
    await send(start(200, (b"content-length", b"4")))
    await send(body(b"abc", True))
    await send(body(b"def"))


async def too_short(receive: Any, send: Any) -> None:
    await send(start(200, (b"content-length", b"40")))
    await send(body(b"abc", True))
    await send(body(b"def"))


async def raises_early(receive: Any, send: Any) -> None:
    raise RuntimeError("on purpose")


async def raises_late(receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"begun", True))
    raise RuntimeError("on purpose")


async def raises_held(receive: Any, send: Any) -> None:
    await send(START)
    raise RuntimeError("on purpose")


async def returns_early(receive: Any, send: Any) -> None:
    return


async def returns_late(receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"begun", True))


async def answers_then_reads(receive: Any, send: Any) -> None:
    await send(START)
    await send(body(b"first"))
    await receive()


async def waits(receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    await send(START)


async def hints(receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await send(START)
    await send(body(b"hinted"))


async def trailers(receive: Any, send: Any) -> None:
    await send(start(200, trailers=True))
    await send(body(b"content"))
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1"), (b"content-length", b"9")]})


async def no_content(receive: Any, send: Any) -> None:
    await send(start(204, (b"content-length", b"3")))
    await send(body(b"abc"))


async def not_modified(receive: Any, send: Any) -> None:
    await send(start(304, (b"etag", b'"x"')))
    await send(body(b"abc"))


async def splits(receive: Any, send: Any) -> None:
    await send(start(200, (b"x-bad", b"a\r\nset-cookie: b")))
    await send(body(b"never"))


async def own_fields(receive: Any, send: Any) -> None:
    await send(
        start(
            200,
            (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (b"server", b"mine"),
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"close"),
        )
    )
    await send(body(b"own"))


async def wrong_order(receive: Any, send: Any) -> None:
    await send(body(b"body first"))


async def twice(receive: Any, send: Any) -> None:
    await send(START)
    await send(START)


async def unknown(receive: Any, send: Any) -> None:
    await send({"type": "http.response.nonsense"})


async def large(receive: Any, send: Any) -> None:
    await send(start(200, (b"content-length", b"%d" % len(BIG))))
    await send(body(BIG))


async def floods(receive: Any, send: Any) -> None:
    await send(START)
    for _ in range(40):
        await send(body(BIG, True))
    await send(body())


async def bad_status(receive: Any, send: Any) -> None:
    await send(start(99))


APPS = [
    hello,
    echo,
    echo_stream,
    streamed,
    declared,
    too_long,
    too_short,
    raises_early,
    raises_late,
    raises_held,
    returns_early,
    returns_late,
    answers_then_reads,
    waits,
    hints,
    trailers,
    no_content,
    not_modified,
    splits,
    own_fields,
    wrong_order,
    twice,
    unknown,
    large,
    floods,
    bad_status,
    events,
]


# WSGI applications, by the same number.


def wsgi_hello(environ: Any, start_response: Any) -> Any:
    start_response("200 Fine", [("X-App", "1")])
    return [b"hello"]


def wsgi_echo(environ: Any, start_response: Any) -> Any:
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]


def wsgi_lines(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return list(environ["wsgi.input"])


def wsgi_generator(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b""
    yield b"one"
    yield b"two"


def wsgi_write(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", [])
    write(b"written")
    return [b"returned"]


def wsgi_too_long(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "4")])
    return [b"abc", b"def"]


def wsgi_too_short(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "40")])
    return [b"abc"]


def wsgi_raises(environ: Any, start_response: Any) -> Any:
    raise RuntimeError("on purpose")


def wsgi_raises_late(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"begun"
    raise RuntimeError("on purpose")


def wsgi_replaces(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("X-Old", "1")])
    try:
        raise ValueError
    except ValueError:
        start_response("500 Replaced", [("X-New", "1")], sys.exc_info())
    return [b"error page"]


def wsgi_empty(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return []


def wsgi_no_content(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [("Content-Length", "3")])
    return [b"abc"]


def wsgi_no_start(environ: Any, start_response: Any) -> Any:
    return [b"abc"]


def wsgi_text(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return ["text"]


def wsgi_splits(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("X-Bad", "a\r\nb: c")])
    return [b"never"]


def wsgi_hints(environ: Any, start_response: Any) -> Any:
    environ["wsgi.early_hints"]([("Link", "</a>")])
    start_response("200 OK", [])
    environ["gateway.send_trailers"]([("X-Sum", "1")])
    yield b"hinted"


def wsgi_large(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [BIG, b"x", BIG]


def wsgi_parts(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [b"a", b"b", b"c"]


WSGI_APPS = [
    wsgi_parts,
    wsgi_hello,
    wsgi_echo,
    wsgi_lines,
    wsgi_generator,
    wsgi_write,
    wsgi_too_long,
    wsgi_too_short,
    wsgi_raises,
    wsgi_raises_late,
    wsgi_replaces,
    wsgi_empty,
    wsgi_no_content,
    wsgi_no_start,
    wsgi_text,
    wsgi_splits,
    wsgi_hints,
    wsgi_large,
]


def executor_class(build: Any) -> type:
    """An executor that runs a task at once, and its steps in the order in which they were posted."""

    class Inline(build.module("kernels.base").Executor):  # type: ignore[misc, name-defined]
        def submit(self, task: Any) -> bool:
            self.posted: list[Any] = []
            task.run()
            while self.posted:
                self.posted.pop(0).step()
            return True

        def withdraw(self, task: Any) -> int:
            return 0

        def post(self, task: Any) -> int:
            self.posted.append(task)
            return 0

        def defer(self, task: Any) -> int:
            return self.post(task)

        def crowded(self) -> bool:
            # Else the clock would decide who sends.
            return False

    return Inline


def wsgi_handler(build: Any, observed: Observed) -> Any:
    """A WSGI handler whose applications run on the loop: one order of events, the same in both builds."""
    errors = build.module("wsgi.errors").ErrorStream(quiet.error)
    return build.module("wsgi.task").WSGIHandler(observed.wsgi, executor_class(build)(), errors=errors)


class Observed:
    """An ASGI application that picks its script by the path and keeps what it was given."""

    def __init__(self) -> None:
        self.trace: list[Any] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        trace = self.trace
        trace.append({key: value for key, value in scope.items() if key != "asgi"})
        number = scope["path"].lstrip("/").split("/")[0]
        script = APPS[int(number) % len(APPS)] if number.isdecimal() else hello

        async def receive_traced() -> Any:
            event = await receive()
            trace.append(event)
            return event

        async def send_traced(message: Any) -> None:
            try:
                await send(message)
            except Exception as error:
                trace.append(f"{type(error).__name__}: {error}")
                raise

        try:
            await script(receive_traced, send_traced)
        finally:
            trace.append(f"end of {script.__name__}")


    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The same for WSGI."""
        plain = {key: value for key, value in environ.items() if isinstance(value, (str, bool, tuple))}
        self.trace.append(plain)
        number = environ["PATH_INFO"].lstrip("/").split("/")[0]
        script = WSGI_APPS[int(number) % len(WSGI_APPS)] if number.isdecimal() else wsgi_hello

        def start_traced(*arguments: Any) -> Any:
            try:
                return start_response(*arguments)
            except Exception as error:
                self.trace.append(f"{type(error).__name__}: {error}")
                raise

        result = script(environ, start_traced)
        return result if type(result) is list else Closing(result, self.trace)


class Closing:
    """A WSGI body that tells when it is closed."""

    def __init__(self, body: Any, trace: list[Any]) -> None:
        self.body = body
        self.trace = trace

    def __iter__(self) -> Any:
        return iter(self.body)

    def close(self) -> None:
        self.trace.append("close")


async def play(build: Backend, scenario: Scenario) -> list[Any]:
    """Everything that can be seen of `scenario` on `build`."""
    app = Observed()
    handler = wsgi_handler(build, app) if scenario.wsgi else None
    wire = Wire(build, app, limits=scenario.limits, timeouts=scenario.timeouts, handler=handler)
    wire.transport.threadsafe = scenario.direct
    seen: list[Any] = []
    for step in scenario.steps:
        match step:
            case ("feed", data):
                if not wire.gone:
                    await wire.feed(data)
            case ("bytewise", data):
                if not wire.gone:
                    await wire.feed_bytewise(data)
            case ("eof",):
                if not wire.gone:
                    await wire.eof()
            case ("advance", seconds):
                if not wire.gone:
                    await wire.advance(seconds, step=1.0)
            case ("slow",):
                wire.transport.room = len(wire.transport.output)
                wire.transport.pauses_above = 0
                wire.connection.pause_writing()
            case ("fast",):
                wire.transport.room = None
                wire.transport.pauses_above = None
                wire.connection.resume_writing()
                await wire.turns()
            case ("shutdown",):
                wire.service.draining = True
                wire.connection.shutdown()
                await wire.turns()
            case ("lost",):
                await wire.lose()
        if wire.transport.events and wire.transport.events[-1] in ("close", "abort"):
            await wire.lose()
        seen.append((step[0], wire.take(), list(wire.events), wire.connection.state))
        wire.events.clear()
    await wire.lose()
    active = 0
    if not scenario.wsgi:
        wire.handler.cancel_all()
        await wire.turns(8)
        active = wire.handler.active()
    seen.append((wire.service.connections, wire.service.requests, active))
    seen.append(app.trace)
    return seen


# Scenarios.

METHODS = [b"GET", b"GET", b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"get", b"G T", b""]
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/11", b"http/1.1"]
FIELDS = [
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Keep-Alive, Upgrade",
    b"TE: trailers",
    b"Expect: 100-continue",
    b"Expect: something",
    b"X-Under_Score: 1",
    b"Cookie: a=1",
    b"Cookie: b=2",
    b"Host: other",
    b"X-Forwarded-For: 10.0.0.1",
    b"Accept: */*",
    b"X-Latin: caf\xe9",
    b"Bad Name: 1",
    b"X-Ctl: a\x01b",
    b"X-Space : 1",
    b" folded",
    b"NoColon",
    b"Upgrade: websocket",
    b"X-Long: " + b"v" * 300,
]


def request(rng: random.Random) -> bytes:
    """One request, mostly right."""
    path = b"/%d" % rng.randrange(len(APPS))
    target = rng.choice([path] * 8 + [path + b"/%C3%A9?q=1", b"http://h:80" + path, b"*", b"h:80", path + b"%zz", b"/#"])
    lines = [b" ".join((rng.choice(METHODS), target, rng.choice(VERSIONS)))]
    if rng.random() < 0.93:
        lines.append(rng.choice([b"Host: example.org", b"Host: [::1]:80", b"hOsT:a"]))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        lines.append(rng.choice(FIELDS))
    content = rng.choice((b"", b"x", b"content", b"c" * 3000, BIG))
    kind = rng.random()
    if kind < 0.35:
        payload = b""
    elif kind < 0.6:
        lines.append(b"Content-Length: %d" % (len(content) + (rng.random() < 0.05)))
        payload = content
    elif kind < 0.9:
        lines.append(b"Transfer-Encoding: chunked")
        payload = b""
        while content:
            size = rng.randrange(1, len(content) + 1)
            extension = rng.choice((b"",) * 8 + (b";a=b", b' ; n="q"', b";bad=\x01"))
            payload += b"%x%b\r\n%b\r\n" % (size, extension, content[:size])
            content = content[size:]
        payload += b"0\r\n" + rng.choice((b"", b"", b"", b"X-T: 1\r\n", b"Bad\r\n")) + b"\r\n"
    else:
        lines.append(rng.choice((b"Content-Length: 5", b"Content-Length: +5", b"Transfer-Encoding: gzip")))
        lines.append(rng.choice((b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, x")))
        payload = b"hello"
    end = b"\n" if rng.random() < 0.02 else b"\r\n"
    return rng.choice((b"",) * 9 + (b"\r\n",)) + end.join(lines) + end + end + payload


def mutate(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, removed or doubled."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not changed:
            break
        index = rng.randrange(min(len(changed), 600))
        match rng.randrange(4):
            case 0:
                changed[index] = rng.choice(b"\x00\n\r :;,/\t\x7f\x80aZ0")
            case 1:
                del changed[index]
            case 2:
                changed[index:index] = bytes((rng.choice(b"\r\n :0a\t"),))
            case 3:
                end = index + rng.randrange(1, 20)
                changed[index:index] = changed[index:end]
    return bytes(changed)


def scenario(rng: random.Random) -> Scenario:
    """A random scenario."""
    limits: dict[str, int] = {}
    timeouts: dict[str, float] = {}
    if rng.random() < 0.3:
        limits = {
            "request_line": rng.choice((20, 8190)),
            "request_fields": rng.choice((2, 100)),
            "request_field_size": rng.choice((64, 8190)),
            "request_fields_size": rng.choice((128, 65536)),
            "request_body": rng.choice((0, 4, 3000)),
            "body_buffer": rng.choice((1, 1000, 65536)),
            "unread_body": rng.choice((0, 10, 65536)),
            "linger": rng.choice((10, 1048576)),
            "pipeline_buffer": rng.choice((100, 65536)),
            "pipeline_burst": rng.choice((1, 32)),
            "connection_requests": rng.choice((0, 1, 2)),
            "concurrency": rng.choice((0, 1)),
            "chunk_excess": rng.choice((10, 16384)),
        }
    if rng.random() < 0.3:
        timeouts = {
            "keep_alive": rng.choice((0.0, 1.0, 5.0)),
            "head": rng.choice((1.0, 10.0)),
            "body": rng.choice((1.0, 30.0)),
            "write": rng.choice((1.0, 30.0)),
            "half_close": rng.choice((0.0, 0.5)),
        }
    if rng.random() < 0.3:
        timeouts["request"] = rng.choice((1.0, 5.0))
    stream = b"".join(request(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 6))))
    if rng.random() < 0.25:
        stream = mutate(rng, stream)
    steps: list[Step] = []
    if len(stream) < 800 and rng.random() < 0.25:
        steps.append(("bytewise", stream))
        stream = b""
    while stream:
        size = rng.choice((len(stream), rng.randrange(1, len(stream) + 1)))
        steps.append(("feed", stream[:size]))
        stream = stream[size:]
        if rng.random() < 0.2:
            steps.append(rng.choice((("advance", 0.5), ("advance", 2.0), ("slow",), ("fast",), ("advance", 12.0))))
    tail = [("advance", 1.0), ("advance", 6.0), ("advance", 40.0), ("eof",), ("shutdown",), ("lost",), ("fast",), ("feed", b"x")]
    for _ in range(rng.choice((0, 1, 2, 3))):
        steps.append(rng.choice(tail))
    wsgi = rng.random() < 0.3
    if wsgi:
        # The application starts when its content is complete, and so never waits.
        limits["body_buffer"] = 0
        for index, step in enumerate(steps):
            if step[0] in ("feed", "bytewise"):
                steps[index] = (step[0], step[1].replace(b"100-continue", b"100-continues"))
    return Scenario(limits, timeouts, steps, wsgi, wsgi and rng.random() < 0.6)


def difference(first: list[Any], second: list[Any]) -> str | None:
    """Where two observations part, for people; None where they don't."""
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            if isinstance(left, list):
                for ours, theirs in zip(left, right, strict=False):
                    if ours != theirs:
                        return f"application: {str(ours)[:400]}\n  against: {str(theirs)[:400]}"
            return f"step {index}: {str(left)[:600]}\n  against: {str(right)[:600]}"
    if len(first) != len(second):
        return "one has seen more than the other"
    return None


async def compare(one: Backend, other: Backend, case: Scenario) -> str | None:
    """The difference between two builds on `case`, or None."""
    return difference(await play(one, case), await play(other, case))


def campaign(one: Backend, other: Backend, seed: int, count: int, seconds: float = 1e9) -> tuple[int, list[str]]:
    """Compare on `count` scenarios, or for `seconds`. How many were tried, and what differed."""
    with asyncio.Runner() as runner:
        return search(
            lambda case: runner.run(compare(one, other, scenario(random.Random(case)))), seed, count, seconds
        )


if __name__ == "__main__":
    sys.exit(command(__doc__, campaign, "connections"))
