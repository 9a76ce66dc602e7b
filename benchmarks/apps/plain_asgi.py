"""The ASGI applications of the plain workloads: one callable each, so that no routing is measured."""

import asyncio
import os

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
