"""The real gunicorn with gateway's worker: its settings, its signals, its reload, its timeout."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .harness import WAIT, Client, Program, request
from .wsclient import WebSocket

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gunicorn") is None or sys.platform == "win32", reason="gunicorn is not installed"
)

CERTS = Path(__file__).resolve().parent.parent / "certs"
WORKER = "gateway.integrations.gunicorn.GatewayWorker"

APP = """
import os, threading, time
VERSION = "one"

def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep/"):
        os.write(2, b"asleep\\n")
        time.sleep(float(path[7:]))
    if path == "/error":
        raise ZeroDivisionError("the application's own")
    start_response("200 OK", [("Content-Type", "text/plain")])
    known = ("wsgi.multiprocess", "wsgi.multithread", "wsgi.url_scheme", "REMOTE_ADDR", "SCRIPT_NAME")
    return [f"{VERSION} wsgi {os.getpid()} {[environ.get(name) for name in known]}".encode()]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("FAIL"):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan ended", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hi"})
        return
    if scope["path"] == "/block":
        while True:
            time.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{VERSION} asgi {os.getpid()} {scope['scheme']}".encode()})
"""


class Gunicorn(Program):
    """One gunicorn with gateway's worker."""

    def __init__(self, folder: Path, target: str, *options: str, worker: str = WORKER, **env: str) -> None:
        (folder / "application.py").touch()
        if not (folder / "application.py").read_text():
            (folder / "application.py").write_text(APP)
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:0", "-k", worker]
        super().__init__([*command, *options, target], folder, env)

    def ready(self, workers: int = 1) -> Gunicorn:
        self.wait_for("Using interface", workers)
        return self

    @property
    def port(self) -> int:
        return int(self.wait_for(r"Listening at: https?://127\.0\.0\.1:(\d+)")[0][1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str = "/", **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=WAIT, **options)


@pytest.fixture
def gunicorn(tmp_path: Path) -> Iterator[Any]:
    started: list[Gunicorn] = []

    def start(target: str = "application:wsgi", *options: str, **more: str) -> Gunicorn:
        server = Gunicorn(tmp_path, target, *options, **more)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGQUIT)
            try:
                server.process.wait(10)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        server.reader.join(WAIT)
        print(server.log)


def test_wsgi(gunicorn: Any) -> None:
    server = gunicorn("application:wsgi", "--workers", "2", "--threads", "3").ready(2)
    answer = server.get()
    assert answer.headers["server"] == "gateway"
    assert "one wsgi" in answer.text and answer.text.endswith("[True, True, 'http', '127.0.0.1', '']")
    assert "threads 3" in server.log
    assert "has no effect" not in server.log
    assert server.get("/error").status_code == 500
    assert server.end() == 0
    # By gunicorn's log, in its format.
    assert re.search(r"\[\d+\] \[ERROR\] .*\n(.*\n)*ZeroDivisionError: the application's own", server.log)
    assert server.log.count("Shutdown complete") == 2


def test_asgi(gunicorn: Any) -> None:
    server = gunicorn("application:asgi").ready()
    assert "one asgi" in server.get().text
    with WebSocket(("127.0.0.1", server.port)) as client:
        client.open("/")
        assert client.message() == "hi"
    assert server.end() == 0
    assert "lifespan ended" in server.log


@pytest.mark.parametrize(("kind", "interface"), [("ASGI", "asgi"), ("WSGI", "wsgi")])
def test_interface_by_class(gunicorn: Any, kind: str, interface: str) -> None:
    server = gunicorn(f"application:{interface}", worker=f"gateway.integrations.gunicorn.Gateway{kind}Worker").ready()
    assert f"one {interface}" in server.get().text
    assert "as told" in server.log


def test_settings(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        'limit_request_line = 100\nkeepalive = 7\nforwarded_allow_ips = "127.0.0.1"\n'
        'permit_obsolete_folding = True\nraw_env = ["SCRIPT_NAME=/root"]\n'
    )
    server = gunicorn(GATEWAY_HEADER="X-Own: 1", GATEWAY_BIND="127.0.0.1:1", GATEWAY_WORKERS="7").ready()
    assert "permit_obsolete_folding has no effect" in server.log
    assert server.get("/" + "x" * 200).status_code == 414
    answer = server.get("/", headers={"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https"})
    assert answer.headers["x-own"] == "1"
    assert "'https', '192.0.2.9', '/root'" in answer.text
    assert server.log.count("Booting worker") == 1


def test_bad_environment(gunicorn: Any) -> None:
    server = gunicorn(GATEWAY_TIMEOUT_HEAD="soon")
    assert server.code() == 1
    assert "GATEWAY_TIMEOUT_HEAD" in server.log
    assert "Traceback" not in server.log


def in_background(function: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def call() -> None:
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, results


def wait_until_busy(server: Gunicorn, path: str) -> tuple[threading.Thread, list[Any]]:
    """Send a request in the background; the application has it when this returns."""
    client = socket.create_connection(("127.0.0.1", server.port), 2 * WAIT)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    server.wait_for("asleep\n")

    def read() -> bytes:
        with client, client.makefile("rb") as stream:
            return stream.read()

    return in_background(read)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_stop(gunicorn: Any, number: int) -> None:
    """TERM finishes what is running, QUIT does not."""
    server = gunicorn("application:wsgi", "--threads", "2").ready()
    thread, results = wait_until_busy(server, "/sleep/3")
    began = time.monotonic()
    assert server.end(number) == 0
    thread.join(WAIT)
    if number == signal.SIGTERM:
        assert b"one wsgi" in results[0]
    else:
        assert b"one wsgi" not in results[0]
        assert time.monotonic() - began < 20


def test_quit_ends_a_graceful_stop(gunicorn: Any) -> None:
    server = gunicorn("application:wsgi", "--threads", "2", "--graceful-timeout", "100").ready()
    thread, _ = wait_until_busy(server, "/sleep/60")
    worker = int(server.wait_for(r"Booting worker with pid: (\d+)")[0][1])
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("Shutting down\n")
    os.kill(worker, signal.SIGQUIT)
    server.wait_for(rf"Worker exiting \(pid: {worker}\)")
    assert server.code() == 0
    thread.join(WAIT)


def test_reload_by_signal(gunicorn: Any, tmp_path: Path) -> None:
    server = gunicorn("application:wsgi", "--threads", "2").ready()
    assert "one wsgi" in server.get().text
    thread, results = wait_until_busy(server, "/sleep/2")
    (tmp_path / "application.py").write_text(APP.replace('VERSION = "one"', 'VERSION = "two!"'))
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("Using interface", 2)
    end = time.monotonic() + WAIT
    while "two!" not in (text := server.get().text):
        assert "one wsgi" in text
        assert time.monotonic() < end
    thread.join(WAIT)
    assert b"one wsgi" in results[0]


def test_reload_on_change(gunicorn: Any, tmp_path: Path) -> None:
    server = gunicorn("application:asgi", "--reload", "--reload-engine", "poll").ready()
    assert "one asgi" in server.get().text
    # The reloader compares times of modification.
    source = tmp_path / "application.py"
    source.write_text(APP.replace('VERSION = "one"', 'VERSION = "two!"'))
    os.utime(source, (time.time() + 10, time.time() + 10))
    server.wait_for("Worker reloading")
    server.wait_for("Using interface", 2)
    assert "two! asgi" in server.get().text


def test_reload_of_what_does_not_compile(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text("def asgi(")
    server = gunicorn("application:asgi", "--reload", worker="gateway.integrations.gunicorn.GatewayASGIWorker").ready()
    answer = server.get()
    assert answer.status_code == 500
    assert "SyntaxError" in answer.text


def test_max_requests(gunicorn: Any) -> None:
    server = gunicorn("application:wsgi", "--max-requests", "3", "--workers", "1").ready()
    pids = set()
    for _ in range(30):
        answer = server.get()
        assert answer.status_code == 200
        pids.add(answer.text.split()[2])
        time.sleep(0.05)
    server.wait_for("Autorestarting worker after current request.")
    assert len(pids) > 1


@pytest.mark.parametrize("target", ["application:wsgi", "application:asgi"])
def test_max_requests_is_no_fewer_and_hardly_more(gunicorn: Any, target: str) -> None:
    server = gunicorn(target, "--max-requests", "5", "--workers", "1", "--keep-alive", "60").ready()
    answers = 0
    with Client(("127.0.0.1", server.port)) as client:
        closing = False
        while not closing:
            client.send(request("GET", "/"))
            closing = "close" in client.response().connection
            answers += 1
    # One that was on its way before the last answer said so.
    assert 5 <= answers <= 7


def test_timeout(gunicorn: Any) -> None:
    """A loop that is blocked: the master notices, the log says where, and there is another worker."""
    server = gunicorn("application:asgi", "--timeout", "4").ready()
    with socket.create_connection(("127.0.0.1", server.port), WAIT) as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for(r"WORKER TIMEOUT")
        server.wait_for("Using interface", 2)
    assert "one asgi" in server.get().text
    assert "It was here" in server.log
    assert "time.sleep(0.1)" in server.log


def test_long_request_is_no_timeout(gunicorn: Any) -> None:
    server = gunicorn("application:wsgi", "--timeout", "4", "--threads", "2").ready()
    assert "one wsgi" in server.get("/sleep/7").text
    assert "WORKER TIMEOUT" not in server.log


def test_tls(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "import ssl\n"
        "def ssl_context(conf, default_ssl_context_factory):\n"
        "    context = default_ssl_context_factory()\n"
        "    context.maximum_version = ssl.TLSVersion.TLSv1_2\n"
        "    return context\n"
    )
    certfile, keyfile = CERTS / "server.pem", CERTS / "server.key"
    server = gunicorn("application:asgi", "--certfile", str(certfile), "--keyfile", str(keyfile)).ready()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", server.port), WAIT) as plain:
        with context.wrap_socket(plain) as client:
            assert client.version() == "TLSv1.2"
            assert client.selected_alpn_protocol() == "http/1.1"
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b""
            while data := client.recv(10000):
                received += data
    assert received.startswith(b"HTTP/1.1 200 ") and b" https" in received


def test_a_key_of_another_certificate(gunicorn: Any) -> None:
    """The first worker says so, and gunicorn ends; it would start one after the other."""
    certfile, keyfile = CERTS / "server.pem", CERTS / "other.key"
    server = gunicorn("application:wsgi", "--certfile", str(certfile), "--keyfile", str(keyfile))
    assert server.code() == 3
    assert f"TLS with certfile {certfile} and keyfile {keyfile}: " in server.log
    assert "Exception in worker process" not in server.log


def test_access_log(gunicorn: Any, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = gunicorn(
        "application:wsgi", "--access-logfile", str(log), "--access-logformat", "%(m)s %(U)s %(s)s %({x-id}i)s"
    ).ready()
    server.get("/one?q", headers={"X-Id": "7"})
    wait_for_text(log, "GET /one 200 7\n")
    log.rename(tmp_path / "access.old")
    server.process.send_signal(signal.SIGUSR1)
    end = time.monotonic() + WAIT
    while not log.exists() or "GET /two" not in log.read_text():
        server.get("/two")
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (tmp_path / "access.old").read_text().startswith("GET /one 200 7\n")


def wait_for_text(file: Path, text: str) -> None:
    end = time.monotonic() + WAIT
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < end, file.read_text() if file.exists() else "there is no file"
        time.sleep(0.02)


def test_hooks(gunicorn: Any, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "def pre_request(worker, req):\n"
        "    worker.log.info('before %s %s, age %d', req.method, req.path, worker.age)\n"
        "def post_request(worker, req, environ, resp):\n"
        "    worker.log.info('after %s: %s', environ['PATH_INFO'], resp.status)\n"
        "def post_worker_init(worker):\n"
        "    worker.log.info('initialised')\n"
        "def worker_exit(server, worker):\n"
        "    server.log.info('left after %d', worker.nr)\n"
    )
    server = gunicorn().ready()
    server.get("/x")
    server.wait_for("after /x: 200 OK")
    assert "before GET /x, age 1" in server.log
    assert server.end() == 0
    assert "initialised" in server.log and "left after" in server.log


def test_logger_class(gunicorn: Any, tmp_path: Path) -> None:
    """One with an `access` of its own, as statsd's, gets to call it."""
    (tmp_path / "logger.py").write_text(
        "from gunicorn.glogging import Logger\n"
        "class Own(Logger):\n"
        "    def access(self, resp, req, environ, request_time):\n"
        "        atoms = self.atoms(resp, req, environ, request_time)\n"
        "        self.info('own: %s %s %s', atoms['m'], atoms['U'], atoms['s'])\n"
    )
    for target in ("application:wsgi", "application:asgi"):
        server = gunicorn(target, "--logger-class", "logger.Own").ready()
        server.get("/path")
        server.wait_for("own: GET /path 200")
        server.end()


def test_failures_at_the_start(gunicorn: Any) -> None:
    server = gunicorn("application:asgi", FAIL="1")
    assert server.code() == 3
    assert "no database" in server.log
    server = gunicorn("application:missing")
    assert server.code() == 4
