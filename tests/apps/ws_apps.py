"""A raw ASGI application that exercises every corner of the WebSocket half of the interface.

`probe` answers each path below in its own way; plain HTTP goes to `asgi_apps.probe`. What it sees it reports on stderr
(report.py), under the `name` of the connection's query where a test must tell connections apart.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import asgi_apps
from report import report

Message = dict[str, Any]

gates: dict[str, asyncio.Event] = {}
connection_number: contextvars.ContextVar[int] = contextvars.ContextVar("connection_number", default=0)


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


class Socket:
    """One connection: its query, and short ways to receive and send."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        self.name = self.query.get("name", "")

    def number(self, name: str, default: int = 0) -> int:
        return int(self.query.get(name, default))

    def report(self, event: str, **facts: Any) -> None:
        report(event, name=self.name, **facts)

    async def accept(self, **more: Any) -> None:
        message = await self.receive()
        assert message == {"type": "websocket.connect"}, message
        await self.send({"type": "websocket.accept", **more})

    async def text(self, content: str) -> None:
        await self.send({"type": "websocket.send", "text": content})

    async def json(self, value: Any) -> None:
        await self.text(json.dumps(value))

    async def messages(self) -> Any:
        """What comes until the connection ends, which is reported; str or bytes."""
        while True:
            message = await self.receive()
            if message["type"] == "websocket.disconnect":
                self.disconnected(message)
                return
            yield content_of(message)

    def disconnected(self, message: Message) -> None:
        assert set(message) <= {"type", "code", "reason"}, message
        self.report("disconnect", code=message["code"], reason=message.get("reason"))

    async def until_disconnect(self) -> None:
        async for _ in self.messages():
            pass


def content_of(message: Message) -> str | bytes:
    """The one content of a websocket.receive: the other key is absent or None (ASGI spec, "Receive")."""
    assert message["type"] == "websocket.receive", message
    found = [message[key] for key in ("text", "bytes") if message.get(key) is not None]
    assert len(found) == 1, message
    kind = str if message.get("text") is not None else bytes
    assert type(found[0]) is kind, message
    return found[0]


async def echo(s: Socket) -> None:
    await s.accept()
    async for content in s.messages():
        await s.send({"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content})


async def digest(s: Socket) -> None:
    """Length and SHA-256 of each message."""
    await s.accept()
    async for content in s.messages():
        data = content.encode() if isinstance(content, str) else content
        await s.json([type(content).__name__, len(data), hashlib.sha256(data).hexdigest()])


async def scope(s: Socket) -> None:
    """The scope, readable as JSON, as the first message."""
    await s.accept()
    facts = {key: value for key, value in s.scope.items() if isinstance(value, (str, list, tuple, type(None)))}
    facts["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in s.scope["headers"]]
    facts["raw_path"] = s.scope["raw_path"].decode("latin-1")
    facts["query_string"] = s.scope["query_string"].decode("latin-1")
    facts["asgi"] = dict(s.scope["asgi"])
    facts["extensions"] = sorted(s.scope.get("extensions") or ())
    facts["state"] = s.scope.get("state")
    facts["types"] = {key: type(value).__name__ for key, value in s.scope.items()}
    facts["keys"] = sorted(s.scope)
    await s.json(facts)
    await s.until_disconnect()


async def accept(s: Socket) -> None:
    """Accept with a subprotocol and headers out of the query."""
    more: dict[str, Any] = {}
    if "subprotocol" in s.query:
        more["subprotocol"] = s.query["subprotocol"] or None
    if "header" in s.query:
        more["headers"] = [tuple(pair.encode().split(b":", 1)) for pair in s.query["header"].split(",")]
    try:
        await s.accept(**more)
    except Exception as error:
        s.report("accept-refused", error=type(error).__name__, text=str(error))
        raise
    await s.until_disconnect()


async def slow_accept(s: Socket) -> None:
    """Accept when the gate is opened."""
    assert (await s.receive())["type"] == "websocket.connect"
    s.report("waiting")
    opened = asyncio.ensure_future(gate(s.name).wait())
    left = asyncio.ensure_future(s.receive())
    await asyncio.wait({opened, left}, return_when=asyncio.FIRST_COMPLETED)
    if left.done():
        opened.cancel()
        s.disconnected(left.result())
        return
    await s.send({"type": "websocket.accept"})
    message = await left
    while message["type"] == "websocket.receive":
        await s.text(f"late {content_of(message)!r}")
        message = await s.receive()
    s.disconnected(message)


async def reject(s: Socket) -> None:
    assert (await s.receive())["type"] == "websocket.connect"
    message: Message = {"type": "websocket.close"}
    if "code" in s.query:
        message |= {"code": s.number("code"), "reason": "not for you"}
    await s.send(message)
    await after_end(s)


async def reject_response(s: Socket) -> None:
    """websocket.http.response: a status and `parts` parts, each but the first when a gate is opened, if there is a name."""
    assert (await s.receive())["type"] == "websocket.connect"
    parts = s.number("parts", 1)
    headers = [(b"content-type", b"text/plain"), (b"x-reason", b"denied")]
    if "length" in s.query:
        headers.append((b"content-length", s.query["length"].encode()))
    await s.send({"type": "websocket.http.response.start", "status": s.number("status", 401), "headers": headers})
    for number in range(parts):
        if number and s.name:
            await gate(f"{s.name}-{number}").wait()
        body = b"part %d;" % number
        await s.send({"type": "websocket.http.response.body", "body": body, "more_body": number < parts - 1})
    await after_end(s)


async def after_end(s: Socket) -> None:
    """What `receive` and `send` do once the application has ended the exchange itself."""
    message = await s.receive()
    s.report("after-end", type=message["type"], code=message.get("code"))
    await attempt(s, {"type": "websocket.send", "text": "too late"})


async def attempt(s: Socket, message: Any) -> None:
    """Send what must not be sent, and report the error."""
    try:
        await s.send(message)
    except Exception as error:
        s.report("raised", error=type(error).__name__, os_error=isinstance(error, OSError), text=str(error))
    else:
        s.report("silent")


async def fail(s: Socket) -> None:
    """Raise, or return, at different moments."""
    when = s.query["when"]
    if when == "at-once":
        raise RuntimeError("failed on purpose")
    if when == "return-at-once":
        return
    if when == "before":
        await s.receive()
        raise RuntimeError("failed on purpose")
    if when == "return-before":
        await s.receive()
        return
    await s.accept()
    if when == "return-after":
        return
    if when == "return-after-send":
        await s.text("the last word")
        return
    if when == "message":
        await s.receive()
    raise RuntimeError("failed on purpose")


async def close(s: Socket) -> None:
    """Close from here, and look what happens then."""
    await s.accept()
    if "first" in s.query:
        await s.text(s.query["first"])
    message: Message = {"type": "websocket.close"}
    if "code" in s.query:
        message["code"] = s.number("code")
    if "reason" in s.query:
        message["reason"] = s.query["reason"]
    await s.send(message)
    await after_end(s)


async def send_after_disconnect(s: Socket) -> None:
    await s.accept()
    await s.until_disconnect()
    await attempt(s, {"type": "websocket.send", "text": "anyone there?"})
    message = await s.receive()
    s.report("again", type=message["type"])


async def burst(s: Socket) -> None:
    """Many messages in a row."""
    await s.accept()
    for number in range(s.number("n", 10)):
        await s.text(f"{number}".ljust(s.number("size", 1), "."))
    await s.until_disconnect()


async def flood(s: Socket) -> None:
    """Send until the client is gone; tell when `send` has to wait."""
    await s.accept()
    piece = b"x" * s.number("piece", 65536)
    sent = 0
    try:
        while True:
            sending = asyncio.ensure_future(s.send({"type": "websocket.send", "bytes": piece}))
            done, _ = await asyncio.wait({sending}, timeout=0.5)
            if not done:
                s.report("stuck", sent=sent)
            await sending
            sent += len(piece)
    except OSError as error:
        s.report("flood-ended", error=type(error).__name__, sent=sent)


async def deaf(s: Socket) -> None:
    """Receive nothing until the gate is opened, then count what is there."""
    await s.accept()
    await s.text("accepted")
    await gate(s.name).wait()
    count = total = 0
    async for content in s.messages():
        count += 1
        total += len(content)
        if content in ("end", b"end"):
            await s.json([count, total])


async def open_gate(s: Socket) -> None:
    gate(s.name).set()
    await s.accept()
    await s.text("opened")
    await s.until_disconnect()


async def both_ways(s: Socket) -> None:
    """A task that sends and one that receives, at once: what broadcasting applications do."""
    await s.accept()

    async def ticks() -> None:
        for number in range(s.number("n", 20)):
            await s.text(f"tick {number}")
            await asyncio.sleep(0)

    ticking = asyncio.ensure_future(ticks())
    async for content in s.messages():
        await s.text(f"heard {content}")
    await ticking


async def context(s: Socket) -> None:
    """A context variable that only this connection may see, message after message."""
    first = connection_number.get()
    connection_number.set(first + 1)
    await s.accept()
    await s.json([first, connection_number.get()])
    async for _ in s.messages():
        connection_number.set(connection_number.get() + 1)
        await s.json([first, connection_number.get()])


async def task(s: Socket) -> None:
    """asyncio's own ways work inside."""
    await s.accept()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        child = group.create_task(asyncio.sleep(0, "child"))
    await s.json({"task": asyncio.current_task() is not None, "child": child.result()})
    await s.until_disconnect()


async def starving(s: Socket) -> None:
    """Echo without ever having to wait, while another task counts its turns."""
    await s.accept()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    received = 0
    async for content in s.messages():
        received += 1
        if content == "end":
            await s.json([received, turns])
    counting.cancel()


MISUSES: dict[str, list[Any]] = {
    "send-before-accept": [{"type": "websocket.send", "text": "x"}],
    "accept-twice": [{"type": "websocket.accept"}, {"type": "websocket.accept"}],
    "http-start": [{"type": "http.response.start", "status": 200, "headers": []}],
    "response-after-accept": [
        {"type": "websocket.accept"},
        {"type": "websocket.http.response.start", "status": 400, "headers": []},
    ],
    "body-before-start": [{"type": "websocket.http.response.body", "body": b"x"}],
    "accept-after-start": [
        {"type": "websocket.http.response.start", "status": 400, "headers": []},
        {"type": "websocket.accept"},
    ],
    "unknown-type": [{"type": "websocket.accept"}, {"type": "websocket.nothing"}],
    "no-type": [{"type": "websocket.accept"}, {"text": "x"}],
    "none": [None],
    "send-nothing": [{"type": "websocket.accept"}, {"type": "websocket.send"}],
    "send-nones": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": None, "bytes": None}],
    "text-is-bytes": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": b"x"}],
    "bytes-is-text": [{"type": "websocket.accept"}, {"type": "websocket.send", "bytes": "x"}],
    "text-surrogate": [{"type": "websocket.accept"}, {"type": "websocket.send", "text": "\ud800"}],
    "close-code-999": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 999}],
    "close-code-1004": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1004}],
    "close-code-1006": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1006}],
    "close-code-1015": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1015}],
    "close-code-5000": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 5000}],
    "close-code-text": [{"type": "websocket.accept"}, {"type": "websocket.close", "code": "1000"}],
    "close-reason-long": [{"type": "websocket.accept"}, {"type": "websocket.close", "reason": "\u20ac" * 42}],
    "subprotocol-injection": [{"type": "websocket.accept", "subprotocol": "a\r\nX-Injected: 1"}],
    "subprotocol-not-offered": [{"type": "websocket.accept", "subprotocol": "never-offered"}],
    "header-injection": [{"type": "websocket.accept", "headers": [(b"x-a", b"b\r\nx-injected: 1")]}],
    "header-is-ours": [{"type": "websocket.accept", "headers": [(b"Sec-WebSocket-Accept", b"x")]}],
}
"""Case -> messages of which the last must be refused."""


async def misuse(s: Socket) -> None:
    """The last message must raise here, in the application; it lets the error pass through."""
    case = s.query["case"]
    await s.receive()
    try:
        for message in MISUSES[case]:
            await s.send(message)
    except Exception as error:
        s.report("refused", case=case, error=type(error).__name__, text=str(error))
        raise
    s.report("accepted", case=case)


async def recover(s: Socket) -> None:
    """An error of `send` is the application's to handle: the connection goes on."""
    await s.accept()
    await attempt(s, {"type": "websocket.nothing"})
    await s.text("recovered")
    await s.until_disconnect()


async def kinds(s: Socket) -> None:
    """Types that applications send besides str and bytes, and keys with None."""
    await s.accept(headers=None, subprotocol=None)
    await s.send({"type": "websocket.send", "text": "text", "bytes": None})
    await s.send({"type": "websocket.send", "text": None, "bytes": b"bytes"})
    await s.send({"type": "websocket.send", "bytes": bytearray(b"bytearray")})
    await s.send({"type": "websocket.send", "bytes": memoryview(b"memoryview")})
    await s.send({"type": "websocket.send", "text": ""})
    await s.send({"type": "websocket.send", "bytes": b""})
    await s.send({"type": "websocket.close", "code": 1000, "reason": None})


async def alive(s: Socket) -> None:
    """How many connections are still in memory, this one included."""
    await s.accept()
    gc.collect()
    await s.json(sum(1 for thing in gc.get_objects() if isinstance(thing, Socket)))
    await s.until_disconnect()


TARGETS: dict[str, Callable[[Socket], Awaitable[None]]] = {
    "/echo": echo,
    "/digest": digest,
    "/accept": accept,
    "/slow-accept": slow_accept,
    "/reject": reject,
    "/reject-response": reject_response,
    "/fail": fail,
    "/close": close,
    "/send-after-disconnect": send_after_disconnect,
    "/burst": burst,
    "/flood": flood,
    "/deaf": deaf,
    "/open-gate": open_gate,
    "/both-ways": both_ways,
    "/context": context,
    "/task": task,
    "/starving": starving,
    "/misuse": misuse,
    "/recover": recover,
    "/kinds": kinds,
    "/alive": alive,
}


async def probe(scope_: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """The targets above; any other path tells its scope."""
    if scope_["type"] == "lifespan":
        await receive()
        scope_["state"]["from"] = "lifespan"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        report("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope_["type"] == "websocket":
        await TARGETS.get(scope_["path"], scope)(Socket(scope_, receive, send))
    else:
        await asgi_apps.probe(scope_, receive, send)
