"""What the soak asks a WSGI application; soak_asgi.py answers the same targets alike."""

import gc
import sys
import zlib
from urllib.parse import parse_qsl

TEXT = ("Content-Type", "text/plain")


class Deliberate(Exception):
    """Raised because the client asked for it."""


def app(environ, start_response):
    path, query = environ["PATH_INFO"], dict(parse_qsl(environ["QUERY_STRING"]))
    count = int(query.get("n", 0))
    if path == "/error":
        raise Deliberate
    if path == "/parts":
        start_response("200 OK", [TEXT])
        return parts(count, query.get("then") == "error")
    if path == "/echo":
        body = b"".join(content(environ))
    elif path == "/sum":
        size = check = 0
        for data in content(environ):
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
    start_response("200 OK", [TEXT, ("Content-Length", str(len(body)))])
    return [body]


def parts(count, fail):
    for number in range(count):
        yield b"%05d" % number * 200
    if fail:
        raise Deliberate


def content(environ):
    while data := environ["wsgi.input"].read(65536):
        yield data
