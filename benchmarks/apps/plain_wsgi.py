"""The WSGI applications of the plain workloads: one callable each, so that no routing is measured."""

import os
import time

PART = b"p" * 1023 + b"\n"
LARGE = b"l" * (1 << 20)
HELLO = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "13")]


def hello(environ, start_response):
    start_response("200 OK", HELLO)
    return [b"Hello, World!"]


def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return _parts(0.02 if environ.get("QUERY_STRING") == "slow" else 0.0)


def _parts(pause):
    for _ in range(20):
        yield PART
        if pause:
            time.sleep(pause)


def large(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(LARGE)))])
    return [LARGE]


def file(environ, start_response):
    opened = open(os.environ["BENCHMARK_FILE"], "rb")
    size = os.fstat(opened.fileno()).st_size
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(opened, 65536) if wrapper else _pieces(opened)


def _pieces(opened):
    with opened:
        while data := opened.read(65536):
            yield data


def upload(environ, start_response):
    read = environ["wsgi.input"].read
    left = int(environ["CONTENT_LENGTH"])
    total = 0
    while left:
        data = read(min(65536, left))
        if not data:
            break
        left -= len(data)
        total += len(data)
    body = b"%d" % total
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def sleep(environ, start_response):
    time.sleep(0.01)
    start_response("200 OK", HELLO)
    return [b"Hello, World!"]


def mixed(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.01)
    start_response("200 OK", HELLO)
    return [b"Hello, World!"]
