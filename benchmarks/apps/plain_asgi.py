"""The ASGI applications of the plain workloads: one callable each, so that no routing is measured."""

import asyncio
import os
import sys

PART = b"p" * 1023 + b"\n"
LARGE = b"l" * (1 << 20)
HELLO = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"13")]


async def lifespan(receive, send):
    """Answer the lifespan protocol, which some servers insist on."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def hello(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HELLO})
    await send({"type": "http.response.body", "body": b"Hello, World!"})


async def echo(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    # socketify's still has the question mark.
    pause = 0.02 if scope["query_string"].endswith(b"slow") else 0.0
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(20):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
        if pause:
            await asyncio.sleep(pause)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def large(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(LARGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": LARGE})


async def file(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = os.environ["BENCHMARK_FILE"]
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % os.stat(path).st_size),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "http.response.pathsend" in (scope.get("extensions") or {}):
        await send({"type": "http.response.pathsend", "path": path})
        return
    with open(path, "rb") as opened:
        while data := opened.read(65536):
            await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def upload(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    total = 0
    more = True
    while more:
        message = await receive()
        total += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"%d" % total
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def sleep(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": HELLO})
    await send({"type": "http.response.body", "body": b"Hello, World!"})


async def websocket(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        else:
            await send({"type": "websocket.send", "text": text})


SCOPES = []
"""The scope of the first WebSocket, which tells what later ones share with it."""


async def websocket_idle(scope, receive, send):
    """Say nothing, unless "weigh" is asked: the bytes that this scope and this coroutine take. Echoes anything else."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if not SCOPES:
        SCOPES.append(scope)
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        await send({"type": "websocket.send", "text": str(weight(scope)) if text == "weigh" else text})


def weight(scope):
    """Bytes of a scope, without what all connections share, and of a waiting `websocket_idle`."""
    found = {}
    everything(SCOPES[0], shared := {})
    everything(scope, found)
    coroutine = websocket_idle(scope, None, None)
    sizes = [sys.getsizeof(coroutine), *(sys.getsizeof(value) for key, value in found.items() if key not in shared)]
    coroutine.close()
    # The allocator's steps.
    return sum(-(-size // 16) * 16 for size in sizes)


def everything(value, found):
    """Put `value`, and all it is made of, into `found`, by identity."""
    if id(value) in found:
        return
    found[id(value)] = value
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        for part in value:
            everything(part, found)
