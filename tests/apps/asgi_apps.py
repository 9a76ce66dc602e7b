"""Raw ASGI applications that exercise every corner of the interface.

`probe` answers the same targets as `wsgi_probe:probe`, so that one test can be run against both interfaces; the targets
under "ASGI only" have no such twin. The small applications at the end are about the lifespan protocol and about ASGI 2.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import http
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from cases import BAD_FIELDS, PART
from report import report

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8")]

calls: Counter[str] = Counter()
gates: dict[str, asyncio.Event] = {}
request_number: contextvars.ContextVar[int] = contextvars.ContextVar("request_number", default=0)


class Exchange:
    """One request: its query, and short ways to read and answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1")))

    def number(self, name: str, default: int = 0) -> int:
        return int(self.query.get(name, default))

    async def start(self, status: int = 200, headers: Headers | None = None, **more: Any) -> None:
        await self.send(
            {"type": "http.response.start", "status": status, "headers": TEXT if headers is None else headers, **more}
        )

    async def part(self, body: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, body: bytes, status: int = 200, headers: Headers | None = None) -> None:
        await self.start(status, headers)
        await self.part(body, more=False)

    async def answer_json(self, value: Any) -> None:
        await self.answer(json.dumps(value).encode(), headers=[(b"content-type", b"application/json")])

    async def body(self) -> bytes:
        """The whole content; a request cut short is a ConnectionError."""
        parts = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                report("disconnect", path=self.scope["path"])
                raise ConnectionError("the client left before its request was complete")
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    async def disconnect(self) -> None:
        """Wait for http.disconnect."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


# The targets that the WSGI probe has too


async def hello(x: Exchange) -> None:
    await x.answer(b"hello")


async def echo(x: Exchange) -> None:
    await x.answer(await x.body())


async def size(x: Exchange) -> None:
    """Size and digest of the content, which is not kept. With `name`, waits at that gate before reading."""
    if "name" in x.query:
        report("waiting", name=x.query["name"])
        await gate(x.query["name"]).wait()
    total, digest = 0, hashlib.sha256()
    while True:
        message = await x.receive()
        if message["type"] == "http.disconnect":
            report("cut", total=total)
            return
        total += len(message.get("body", b""))
        digest.update(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await x.answer_json({"size": total, "sha256": digest.hexdigest()})


async def unread(x: Exchange) -> None:
    await x.answer(b"unread")


async def parts(x: Exchange) -> None:
    await x.start()
    for i in range(x.number("n", 3)):
        await x.part(b"part%d;" % i)
    await x.part(b"", more=False)


async def status(x: Exchange) -> None:
    """A status with content (and its length, with `length`), which the server must leave out where HTTP has none."""
    headers = [*TEXT, (b"content-length", b"4")] if "length" in x.query else TEXT
    await x.answer(b"body", x.number("code", 200), headers)


async def length(x: Exchange) -> None:
    """Content-Length says `declared`, the body has `sent` bytes, in two parts."""
    declared, count = x.number("declared"), x.number("sent")
    await x.start(headers=[*TEXT, (b"content-length", str(declared).encode())])
    await x.part(b"x" * (count // 2))
    await x.part(b"x" * (count - count // 2), more=False)


async def request(x: Exchange) -> None:
    await x.answer_json(
        {
            "method": x.scope["method"],
            "path": x.scope["path"],
            "query": x.scope["query_string"].decode("latin-1"),
            "version": x.scope["http_version"],
            "scheme": x.scope["scheme"],
            "client": x.scope["client"],
            "server": x.scope["server"],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in x.scope["headers"]],
            "content": (await x.body()).decode("latin-1"),
        }
    )


async def gate_wait(x: Exchange) -> None:
    report("waiting", name=x.query["name"])
    await gate(x.query["name"]).wait()
    await x.answer(b"opened")


async def gate_open(x: Exchange) -> None:
    gate(x.query["name"]).set()
    await x.answer(b"ok")


async def file_wait(x: Exchange) -> None:
    """Wait until the file `path` exists: a gate that needs no second request to be opened."""
    report("waiting", name=x.query["path"])
    for _ in range(3000):
        if os.path.exists(x.query["path"]):
            await x.answer(b"opened")
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("nobody made the file")


async def stream_gate(x: Exchange) -> None:
    """One part, then the gate, then the rest."""
    await x.start()
    await x.part(b"first;")
    report("waiting", name=x.query["name"])
    await gate(x.query["name"]).wait()
    await x.part(b"second;", more=False)


async def head_then_read(x: Exchange) -> None:
    await x.start()
    await x.part(b"head;")
    await x.part(await x.body(), more=False)


async def bad_field(x: Exchange) -> None:
    await x.answer(b"never", headers=[*TEXT, BAD_FIELDS[x.query["case"]]])


async def hints(x: Exchange) -> None:
    for i in range(x.number("n", 1)):
        link = b"</%d.css>; rel=preload; as=style" % i
        await x.send({"type": "http.response.early_hint", "links": [link]})
    await x.answer(b"hinted")


async def bad_hint(x: Exchange) -> None:
    await x.send({"type": "http.response.early_hint", "links": [BAD_FIELDS[x.query["case"]][1]]})
    await x.answer(b"never")


async def fail(x: Exchange) -> None:
    """Raise before the head, after it, or after a part of the body."""
    when = x.query["when"]
    if when != "before":
        await x.start()
    if when == "body":
        await x.part(b"part;")
    raise RuntimeError("the application failed on purpose")


async def closing(x: Exchange) -> None:
    await x.answer(b"closing", headers=[*TEXT, (b"connection", b"close")])


async def own_fields(x: Exchange) -> None:
    await x.answer(b"own", headers=[*TEXT, (b"Date", b"Mon, 05 Jan 2026 10:00:00 GMT"), (b"Server", b"mine")])


async def own_framing(x: Exchange) -> None:
    """Hop-by-hop fields, which are the server's business."""
    await x.answer(b"framed", headers=[*TEXT, (b"transfer-encoding", b"chunked"), (b"keep-alive", b"timeout=99")])


async def cookies(x: Exchange) -> None:
    await x.answer(b"", headers=[*TEXT, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])


async def count(x: Exchange) -> None:
    await x.answer_json(calls[x.query["path"]])


async def big(x: Exchange) -> None:
    """`size` bytes in parts of 64 KiB. Reports when a part is not taken for a while, and what it had sent then."""
    total, sent = x.number("size"), 0
    await x.start(headers=[*TEXT, (b"content-length", str(total).encode())] if "length" in x.query else TEXT)
    told = False
    try:
        while sent < total:
            piece = PART[: total - sent]
            sending = asyncio.ensure_future(x.part(piece))
            done, _ = await asyncio.wait({sending}, timeout=0.4)
            if not done and not told:
                told = True
                report("blocked", sent=sent, size=total)
            await sending
            sent += len(piece)
    except OSError as error:
        report("stopped", error=type(error).__name__, sent=sent)
        raise
    await x.part(b"", more=False)


# ASGI only


async def scope_json(x: Exchange) -> None:
    """The scope with the types of what is in it."""
    scope = x.scope
    await x.answer_json(
        {
            "keys": sorted(scope),
            "types": {key: type(value).__name__ for key, value in scope.items()},
            "type": scope["type"],
            "asgi": scope["asgi"],
            "http_version": scope["http_version"],
            "method": scope["method"],
            "scheme": scope["scheme"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "query_string": scope["query_string"].decode("latin-1"),
            "root_path": scope["root_path"],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "header_types": sorted({type(part).__name__ for pair in scope["headers"] for part in pair}),
            "client": scope["client"],
            "server": scope["server"],
            "extensions": scope.get("extensions"),
            "state": scope.get("state"),
        }
    )


async def first_receive(x: Exchange) -> None:
    message = await x.receive()
    await x.answer_json({**message, "body": message["body"].decode("latin-1")})


async def until_disconnect(x: Exchange) -> None:
    """Never answers."""
    await x.body()
    report("waiting", name=x.query["name"])
    await x.disconnect()
    second = await x.receive()
    report("left", name=x.query["name"], again=second["type"])


async def send_after_disconnect(x: Exchange) -> None:
    await x.body()
    await x.start()
    await x.part(b"first;")
    report("waiting", name=x.query["name"])
    await x.disconnect()
    try:
        for _ in range(100):
            await x.part(PART)
    except OSError as error:
        report("send-raised", name=x.query["name"], error=type(error).__name__)
        raise
    report("send-silent", name=x.query["name"])


async def early(x: Exchange) -> None:
    """Return before the head, after it, or after a part of the body."""
    if x.query["when"] == "before":
        return
    await x.start()
    if x.query["when"] == "body":
        await x.part(b"part;")


async def receive_after_end(x: Exchange) -> None:
    await x.body()
    await x.answer(b"done")
    message = await x.receive()
    report("after-end", name=x.query["name"], type=message["type"])


async def cancel_self(x: Exchange) -> None:
    raise asyncio.CancelledError


async def context(x: Exchange) -> None:
    """What the context variable holds at the start of this request."""
    before = request_number.get()
    request_number.set(before + 1)
    await x.answer_json(before)


async def task(x: Exchange) -> None:
    """Tools that need a current task."""
    current = asyncio.current_task()
    timed_out = False
    try:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
    except TimeoutError:
        timed_out = True
    async with asyncio.TaskGroup() as group:
        child = group.create_task(asyncio.sleep(0, "child"))
    await x.answer_json({"task": current is not None, "timeout": timed_out, "child": child.result()})


async def spin(x: Exchange) -> None:
    """Send without a pause; a timer that is due right away must get its turn meanwhile."""
    loop = asyncio.get_running_loop()
    turns = 0

    def tick() -> None:
        nonlocal turns
        turns += 1
        if running:
            loop.call_soon(tick)

    running = True
    loop.call_soon(tick)
    await x.start()
    total = x.number("n", 2000)
    piece = b"x" * x.number("piece", 1024)
    for _ in range(total):
        await x.part(piece)
    report("spun", turns=turns, name=x.query.get("name", ""))
    running = False
    await x.part(b"", more=False)


async def spin_receive(x: Exchange) -> None:
    """Receive without a pause, also long after the end of the content."""
    loop = asyncio.get_running_loop()
    turns = 0

    def tick() -> None:
        nonlocal turns
        turns += 1
        if running:
            loop.call_soon(tick)

    running = True
    await x.body()
    await x.answer(b"spinning")
    loop.call_soon(tick)
    for _ in range(x.number("n", 20000)):
        message = await x.receive()
        if message["type"] != "http.disconnect":
            report("unexpected", type=message["type"])
    running = False
    report("spun", turns=turns, name=x.query.get("name", ""))


async def trailers(x: Exchange) -> None:
    """A response with trailers, whether or not the scope offers them."""
    offered = "http.response.trailers" in x.scope.get("extensions", {})
    await x.start(headers=[*TEXT, (b"x-offered", b"yes" if offered else b"no")], trailers=offered)
    await x.part(b"content", more=False)
    if offered:
        await x.send(
            {"type": "http.response.trailers", "headers": [(b"x-checksum", b"abc")], "more_trailers": True}
        )
        await x.send({"type": "http.response.trailers", "headers": [(b"x-last", b"1")], "more_trailers": False})


async def bad_trailer(x: Exchange) -> None:
    await x.start(trailers=True)
    await x.part(b"content", more=False)
    try:
        await x.send({"type": "http.response.trailers", "headers": [BAD_FIELDS[x.query["case"]]]})
    except Exception as error:
        report("trailer-refused", error=type(error).__name__)
        raise


async def pathsend(x: Exchange) -> None:
    path = x.query["path"]
    headers = list(TEXT)
    if "length" in x.query:
        headers.append((b"content-length", str(os.stat(path).st_size).encode()))
    await x.start(headers=headers)
    await x.send({"type": "http.response.pathsend", "path": path})


async def zerocopysend(x: Exchange) -> None:
    """Parts of a file between parts of bytes."""
    descriptor = os.open(x.query["path"], os.O_RDONLY)
    try:
        await x.start()
        await x.part(b"<")
        message: dict[str, Any] = {"type": "http.response.zerocopysend", "file": descriptor, "more_body": True}
        for key in ("offset", "count"):
            if key in x.query:
                message[key] = int(x.query[key])
        await x.send(message)
        await x.part(b">", more=False)
    finally:
        os.close(descriptor)


async def background(x: Exchange) -> None:
    """Work after the end of the response."""
    await x.answer(b"accepted")
    await gate(x.query["name"]).wait()
    report("background", name=x.query["name"])


async def streaming_echo(x: Exchange) -> None:
    """Answer while the request is still coming: each part as it arrives."""
    await x.start()
    while True:
        message = await x.receive()
        if message["type"] == "http.disconnect":
            report("disconnect", path=x.scope["path"])
            return
        await x.part(message.get("body", b""), more=message.get("more_body", False))
        if not message.get("more_body", False):
            return


async def awaited_later(x: Exchange) -> None:
    """What `receive` gives is awaited when the content has long been there: as a task made of it would."""
    await x.start()
    await x.part(b"begun;")
    waiting = x.receive()
    await gate(x.query["name"]).wait()
    message = await waiting
    await x.part(message.get("body", b""), more=False)


async def events(x: Exchange) -> None:
    """An event stream that says farewell when it is told to end."""
    await x.body()
    await x.start(headers=[(b"content-type", b"text/event-stream")])
    await x.part(b"data: hello\n\n")
    report("waiting")
    await x.disconnect()
    await x.part(b"data: bye\n\n")


async def concurrent_receive(x: Exchange) -> None:
    """A second task watches for the client while the first one sends: what Starlette does."""
    await x.body()
    watcher = asyncio.ensure_future(x.disconnect())
    await x.start()
    report("waiting", name=x.query["name"])
    sent = 0
    try:
        while not watcher.done():
            await x.part(b"tick;")
            sent += 1
            await asyncio.wait({watcher}, timeout=0.02)
    except OSError:
        await watcher
    report("watched", name=x.query["name"], sent=sent > 0)


MISUSES: dict[str, list[Any]] = {
    "body-before-start": [{"type": "http.response.body", "body": b"x"}],
    "start-twice": [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.start", "status": 200, "headers": []},
    ],
    "unknown-type": [{"type": "http.response.nothing"}],
    "websocket-type": [{"type": "websocket.accept"}],
    "no-type": [{"status": 200}],
    "not-a-dict": ["http.response.start"],
    "none": [None],
    "status-missing": [{"type": "http.response.start", "headers": []}],
    "status-text": [{"type": "http.response.start", "status": "200", "headers": []}],
    "status-small": [{"type": "http.response.start", "status": 99, "headers": []}],
    "status-interim": [{"type": "http.response.start", "status": 103, "headers": []}],
    "status-large": [{"type": "http.response.start", "status": 1000, "headers": []}],
    "headers-number": [{"type": "http.response.start", "status": 200, "headers": 5}],
    "headers-flat": [{"type": "http.response.start", "status": 200, "headers": [b"x"]}],
    "headers-triple": [{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b", b"c")]}],
    "header-number": [{"type": "http.response.start", "status": 200, "headers": [(b"a", 1)]}],
    "trailers-unannounced": [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.trailers", "headers": []},
    ],
    "body-text": [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": "text"},
    ],
    "length-twice": [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"1"), (b"content-length", b"2")],
        },
        {"type": "http.response.body", "body": b"x"},
    ],
    "length-text": [
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"many")]},
        {"type": "http.response.body", "body": b"x"},
    ],
}


async def misuse(x: Exchange) -> None:
    """Send messages the interface has no place for. The last one must raise; the application lets it pass through."""
    messages = MISUSES[x.query["case"]]
    try:
        for message in messages:
            await x.send(message)
    except Exception as error:
        report("refused", case=x.query["case"], error=type(error).__name__, text=str(error))
        raise
    report("accepted", case=x.query["case"])


async def send_after_end(x: Exchange) -> None:
    await x.answer(b"done")
    try:
        await x.part(b"more")
    except Exception as error:
        report("after-end-raised", error=type(error).__name__)
    else:
        report("after-end-silent")


async def recover(x: Exchange) -> None:
    """An error of `send` is the application's to handle: it may still answer."""
    try:
        await x.send({"type": "http.response.nothing"})
    except Exception:
        await x.answer(b"recovered")


async def alive(x: Exchange) -> None:
    """How many exchanges are still in memory, this one included."""
    gc.collect()
    await x.answer_json(sum(1 for thing in gc.get_objects() if isinstance(thing, Exchange)))


async def kinds(x: Exchange) -> None:
    """Types that applications send besides lists of tuples of bytes."""
    case = x.query["case"]
    body: Any = b"body"
    message: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
    if case == "generator":
        message["headers"] = (pair for pair in [(b"x-a", b"1")])
    elif case == "lists":
        message["headers"] = ([b"x-a", b"1"],)
    elif case == "defaults":
        del message["headers"]
    elif case == "status":
        message["status"] = http.HTTPStatus.OK
    elif case == "memoryview":
        body = memoryview(b"body")
    elif case == "bytearray":
        body = bytearray(b"body")
    await x.send(message)
    await x.send({"type": "http.response.body", "body": body, "more_body": True})
    await x.send({"type": "http.response.body"})


TARGETS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "/kinds": kinds,
    "/hello": hello,
    "/echo": echo,
    "/size": size,
    "/unread": unread,
    "/parts": parts,
    "/status": status,
    "/length": length,
    "/gate/wait": gate_wait,
    "/gate/open": gate_open,
    "/gate/stream": stream_gate,
    "/file-wait": file_wait,
    "/head-then-read": head_then_read,
    "/bad-field": bad_field,
    "/hints": hints,
    "/bad-hint": bad_hint,
    "/fail": fail,
    "/closing": closing,
    "/own-fields": own_fields,
    "/own-framing": own_framing,
    "/cookies": cookies,
    "/count": count,
    "/big": big,
    "/scope": scope_json,
    "/first-receive": first_receive,
    "/events": events,
    "/until-disconnect": until_disconnect,
    "/send-after-disconnect": send_after_disconnect,
    "/early": early,
    "/receive-after-end": receive_after_end,
    "/cancel-self": cancel_self,
    "/context": context,
    "/task": task,
    "/spin": spin,
    "/spin-receive": spin_receive,
    "/trailers": trailers,
    "/bad-trailer": bad_trailer,
    "/pathsend": pathsend,
    "/zerocopysend": zerocopysend,
    "/background": background,
    "/streaming-echo": streaming_echo,
    "/awaited-later": awaited_later,
    "/concurrent-receive": concurrent_receive,
    "/misuse": misuse,
    "/send-after-end": send_after_end,
    "/recover": recover,
    "/alive": alive,
}


async def probe(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the targets above; what is not among them is answered with the request as JSON."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] != "http":
        raise ValueError(f"no such protocol here: {scope['type']}")
    calls[scope["path"]] += 1
    target = TARGETS.get(scope["path"])
    if target is None and scope["path"].startswith("/scope/"):
        target = scope_json
    await (target or request)(Exchange(scope, receive, send))


# ASGI 2 (a callable that takes the scope and returns the application instance)


class ASGI2:
    """The class is the application."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, receive: Receive, send: Send) -> None:
        if self.scope["type"] != "http":
            raise ValueError("http only")
        await Exchange(self.scope, receive, send).answer(b"asgi2 " + self.scope["path"].encode())


class Instance:
    """An instance with an async __call__ is the application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await probe(scope, receive, send)


instance = Instance()


def create() -> Instance:
    """A factory, for --factory and for `module:create()`."""
    return Instance()


def create_named(name: str, number: int = 0) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """A factory with arguments, for `module:create_named("x", number=1)`."""

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError("http only")
        await Exchange(scope, receive, send).answer(f"{name} {number}".encode())

    return named


# Lifespan


async def lifespan_state(scope: Scope, receive: Receive, send: Send) -> None:
    """State that requests see, each in a shallow copy."""
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["name"] = "from the lifespan"
        scope["state"]["shared"] = []
        report("startup")
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        report("shutdown", shared=len(scope["state"]["shared"]), leaked="request" in scope["state"])
        await send({"type": "lifespan.shutdown.complete"})
        return
    x = Exchange(scope, receive, send)
    before = "request" in scope["state"]
    scope["state"]["request"] = True
    scope["state"]["shared"].append(1)
    await x.answer_json(
        {"name": scope["state"]["name"], "before": before, "shared": len(scope["state"]["shared"])}
    )


async def lifespan_unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises for lifespan before it receives anything: the interface's way to say "not supported"."""
    if scope["type"] != "http":
        raise ValueError("http only")
    await Exchange(scope, receive, send).answer(b"hello" if "state" not in scope else b"hello with state")


async def lifespan_fails(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database at this address"})


async def lifespan_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """Raises in the middle of its startup."""
    if scope["type"] == "lifespan":
        await receive()
        raise RuntimeError("the startup broke")
    await Exchange(scope, receive, send).answer(b"hello")


async def lifespan_hangs(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        report("starting")
        await asyncio.Event().wait()


async def lifespan_returns(scope: Scope, receive: Receive, send: Send) -> None:
    """Returns from lifespan without a word."""
    if scope["type"] == "http":
        await Exchange(scope, receive, send).answer(b"hello")


async def shutdown_fails(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "the cache was not written"})
        return
    await Exchange(scope, receive, send).answer(b"hello")


async def shutdown_hangs(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        report("stopping")
        await asyncio.Event().wait()
    await Exchange(scope, receive, send).answer(b"hello")


async def lifespan_silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Must not be called for lifespan at all (--lifespan off)."""
    if scope["type"] == "lifespan":
        report("lifespan-called")
        return
    await Exchange(scope, receive, send).answer(b"hello")
