"""What the soak asks an ASGI application; soak_wsgi.py answers the same targets alike."""

import gc
import sys
import zlib
from urllib.parse import parse_qsl

from plain_asgi import lifespan

TEXT = (b"content-type", b"text/plain")


class Deliberate(Exception):
    """Raised because the client asked for it."""


class Gone(Exception):
    """The client left before its request was complete."""


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    try:
        await answer(scope, receive, send)
    except Gone:
        pass


async def answer(scope, receive, send):
    path, query = scope["path"], dict(parse_qsl(scope["query_string"].decode()))
    count = int(query.get("n", 0))
    if path == "/error":
        raise Deliberate
    if path == "/parts":
        await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
        for number in range(count):
            await send({"type": "http.response.body", "body": b"%05d" % number * 200, "more_body": True})
        if query.get("then") == "error":
            raise Deliberate
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/echo":
        body = b"".join([data async for data in content(receive)])
    elif path == "/sum":
        size = check = 0
        async for data in content(receive):
            size += len(data)
            check = zlib.crc32(data, check)
        body = b"%d %d" % (size, check)
    elif path == "/blocks":
        gc.collect()
        body = b"%d" % sys.getallocatedblocks()
    elif path == "/bytes":
        body = b"b" * count
    else:
        body = b"Hello, World!"
    headers = [TEXT, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def content(receive):
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        yield message["body"]
        more = message["more_body"]
