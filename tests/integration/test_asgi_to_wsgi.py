"""ASGIToWSGI on WSGI servers that are not ours: wsgiref's, and gunicorn's workers with threads and without."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import httpx
import pytest

from gateway import ASGIToWSGI

from .harness import WAIT, environment

APP = """
import asyncio, os
from gateway import ASGIToWSGI

events = []

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["pid"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan ended in", os.getpid(), flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    size = 0
    more = True
    while more and path != "/early":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/stream":
        for number in range(3):
            await send({"type": "http.response.body", "body": b"%d " % number, "more_body": True})
            await asyncio.sleep(0.01)
    if path == "/file":
        assert "http.response.pathsend" in scope["extensions"]
        await send({"type": "http.response.pathsend", "path": os.path.abspath(os.__file__)})
        return
    if path == "/endless":
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except OSError:
            print("the client has left", flush=True)
            raise
    body = f"{size} {os.getpid()} {scope['state']['pid']} {scope['method']} {scope['path']}".encode()
    await send({"type": "http.response.body", "body": body})

application = ASGIToWSGI(asgi)
"""


def check(url: str, *, same_process: bool = False) -> None:
    """What every server must be able to do with it."""
    with httpx.Client(base_url=url, timeout=WAIT) as client:
        size, pid, state, *rest = client.get("/a%20b").text.split(" ", 3)
        assert (size, rest) == ("0", ["GET /a b"])
        # The lifespan ran where the requests do.
        assert pid == state
        assert (pid == str(os.getpid())) == same_process
        assert client.post("/", content=b"x" * 1_000_000).text.startswith("1000000 ")
        assert client.get("/stream").text.startswith("0 1 2 0 ")
        assert client.get("/file").content == Path(os.__file__).read_bytes()
        answer = client.head("/")
        assert (answer.status_code, answer.content) == (200, b"")
        assert client.post("/early", content=b"x" * 10).text.startswith("0 ")


class ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def test_wsgiref() -> None:
    scope: dict[str, Any] = {}
    exec(APP, scope)
    adapter: ASGIToWSGI = scope["application"]
    with ThreadingServer(("127.0.0.1", 0), QuietHandler) as server:
        server.set_app(adapter)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            check(f"http://127.0.0.1:{server.server_port}", same_process=True)
        finally:
            server.shutdown()
            thread.join(WAIT)
            adapter.close()


class Gunicorn:
    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "adapted.py").write_text(APP)
        self.output = folder / "output.log"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", "127.0.0.1:0", *options, "adapted"],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + WAIT
        while (found := re.search(pattern, self.output.read_text())) is None:
            assert self.process.poll() is None and time.monotonic() < end, self.output.read_text()
            time.sleep(0.05)
        return found


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Any]:
    started: list[Gunicorn] = []

    def start(*options: str) -> Gunicorn:
        started.append(Gunicorn(tmp_path, *options))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(WAIT)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        print(server.output.read_text())


@pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None or sys.platform == "win32", reason="gunicorn is not installed"
)
@pytest.mark.parametrize("options", [(), ("--threads", "4"), ("--preload", "--workers", "2")])
def test_gunicorn(gunicorn: Any, options: tuple[str, ...]) -> None:
    server = gunicorn(*options)
    url = server.wait_for(r"Listening at: (http://\S+)")[1]
    check(url)
    with httpx.stream("GET", url + "/endless", timeout=WAIT) as answer:
        next(answer.iter_raw())
    server.wait_for("the client has left")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(WAIT) == 0
    # The end of the process ends the lifespan.
    assert "lifespan ended in" in server.output.read_text()
    assert "Traceback" not in server.output.read_text()
