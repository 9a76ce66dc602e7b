"""gateway.testing: httpx over a server in memory, for WSGI and ASGI applications."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from gateway import Mount, Mounts, testing
from gateway.errors import AppLoadError, ClientDisconnected, ConfigError
from gateway.testing import AsyncTransport, Transport
from gateway.testing.process import arguments, environment
from tests.apps import wsgi_apps
from tests.fakes import run

BASE = "http://testserver"
TIMEOUT = 30.0


def client(app: Any, **options: Any) -> httpx.Client:
    return httpx.Client(transport=Transport(app, **options), base_url=BASE, timeout=TIMEOUT)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await respond(send, b"hello")


async def respond(send: Any, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        body += message.get("body", b"")
    await respond(send, body)


@pytest.mark.parametrize("app", [hello, wsgi_apps.hello])
def test_sync(app: Any) -> None:
    with client(app) as http:
        for _ in range(3):
            answer = http.get("/path?q=1")
            assert (answer.status_code, answer.text) == (200, "hello")
            # The protocol's own fields: it went all the way.
            assert answer.headers["server"] == "gateway"
            assert "date" in answer.headers
        assert answer.extensions["http_version"] == b"HTTP/1.1"
        assert http.head("/").text == ""


@pytest.mark.parametrize("app", [hello, wsgi_apps.hello])
def test_async(app: Any) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(transport=AsyncTransport(app), base_url=BASE, timeout=TIMEOUT) as http:
            answers = await asyncio.gather(*(http.get("/") for _ in range(20)))
            assert {answer.text for answer in answers} == {"hello"}

    run(main)


def test_target_and_interface() -> None:
    with client("tests.apps.wsgi_apps:hello", interface="wsgi") as http:
        assert http.get("/").text == "hello"
    with pytest.raises(ConfigError):
        client(hello, threads="many").get("/")


def test_mounts() -> None:
    app = App()
    mounts = Mounts([Mount("/old", wsgi_apps.hello), Mount("/new", app)])
    with client(mounts) as http:
        assert http.get("/old/path").text == "hello"
        assert http.get("/new").text == "value"
        assert http.get("/elsewhere").status_code == 404
    assert app.record == ["startup", "shutdown"]
    with httpx.Client(transport=Transport(mounts=list(mounts)), base_url=BASE, timeout=TIMEOUT) as http:
        assert http.get("/old/path").text == "hello"


def test_without_a_context() -> None:
    transport = Transport(wsgi_apps.hello)
    http = httpx.Client(transport=transport, base_url=BASE, timeout=TIMEOUT)
    assert http.get("/").text == "hello"
    thread = transport._thread
    assert thread is not None and thread.is_alive()
    http.close()
    http.close()
    assert not thread.is_alive()


def test_large_bodies_both_ways() -> None:
    body = bytes(range(256)) * 8192
    for app in (echo, wsgi_apps.echo):
        with client(app) as http:
            assert http.post("/", content=body).content == body
            assert http.post("/", content=iter([body[:1000], body[1000:]])).content == body


def test_the_protocol_is_the_servers() -> None:
    with client(hello, limit_request_line=100) as http:
        assert http.get("/" + "x" * 200).status_code == 414


def test_scope() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await hello(scope, receive, send)

    with client(app, client=("192.0.2.7", 7000), root_path="/root", lifespan="off") as http:
        http.get("https://example.org/a%20b?q")
        http.get("http://example.org:8080/")
    first, second = seen
    assert (first["scheme"], first["path"], first["root_path"]) == ("https", "/a b", "/root")
    assert first["client"] == ("192.0.2.7", 7000)
    assert first["server"] == ("example.org", 443)
    assert (second["scheme"], second["server"]) == ("http", ("example.org", 8080))


def test_streamed_response() -> None:
    """Each part is there before the next one is made."""
    taken = threading.Event()

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"one"
        assert taken.wait(TIMEOUT)
        yield b"two"

    with client(app) as http, http.stream("GET", "/") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"one"
        taken.set()
        assert b"".join(parts) == b"two"


def test_streamed_request() -> None:
    """The application answers to the first half before the second is sent."""

    async def main() -> None:
        answered = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            await asyncio.wait_for(answered.wait(), TIMEOUT)
            yield b"two"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                assert (await receive())["body"] == b"one"
                answered.set()
                assert (await receive())["body"] == b"two"
                await respond(send, b"both")

        async with httpx.AsyncClient(transport=AsyncTransport(app), base_url=BASE, timeout=TIMEOUT) as http:
            assert (await http.post("/", content=body())).text == "both"

    run(main)


def test_slow_client_makes_the_application_wait() -> None:
    made: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(100):
            made.append(number)
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        transport = AsyncTransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=TIMEOUT) as http:
            async with http.stream("GET", "/") as answer:
                for _ in range(50):
                    await asyncio.sleep(0)
                assert len(made) < 10
                size = 0
                async for part in answer.aiter_raw():
                    size += len(part)
                assert size == 100 * 65536

    run(main)


def test_client_that_leaves() -> None:
    left = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    with client(app) as http:
        with http.stream("GET", "/") as answer:
            assert next(answer.iter_raw()) == b"one"
        assert left.wait(TIMEOUT)


def test_wsgi_client_that_leaves() -> None:
    raised: list[BaseException] = []
    closed = threading.Event()

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield b"x" * 65536
        except (GeneratorExit, ClientDisconnected) as error:
            raised.append(error)
            raise
        finally:
            closed.set()

    with client(app) as http:
        with http.stream("GET", "/") as answer:
            next(answer.iter_raw())
        assert closed.wait(TIMEOUT)


def test_timeout() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receive()
            await receive()

    with client(app) as http, pytest.raises(httpx.ReadTimeout):
        http.get("/", timeout=0.1)


class App:
    def __init__(self, failing: str = "") -> None:
        self.record: list[str] = []
        self.failing = failing

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await respond(send, scope["state"]["name"])
            return
        await receive()
        if self.failing:
            await send({"type": "lifespan.startup.failed", "message": self.failing})
            return
        scope["state"]["name"] = b"value"
        self.record.append("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.record.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})


def test_lifespan() -> None:
    app = App()
    http = client(app)
    assert app.record == []
    for _ in range(2):
        app.record.clear()
        with Transport(app) as transport:
            assert app.record == ["startup"]
            with httpx.Client(transport=transport, base_url=BASE, timeout=TIMEOUT) as http:
                assert http.get("/").text == "value"
        assert app.record == ["startup", "shutdown"]
    with pytest.raises(AppLoadError, match="no database"):
        Transport(App("no database")).__enter__()


def test_lifespan_async() -> None:
    app = App()

    async def main() -> None:
        async with httpx.AsyncClient(transport=AsyncTransport(app), base_url=BASE, timeout=TIMEOUT) as http:
            assert (await http.get("/")).text == "value"
        assert app.record == ["startup", "shutdown"]
        with pytest.raises(AppLoadError, match="no database"):
            await AsyncTransport(App("no database")).__aenter__()

    run(main)


async def raising(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
        elif scope["path"] == "/after":
            await respond(send, b"whole")
        elif scope["path"] == "/fine":
            await respond(send, b"fine")
            return
        raise ZeroDivisionError("in the application")


def raising_wsgi(environ: Any, start: Any) -> Iterator[bytes]:
    path = environ["PATH_INFO"]
    if path != "/":
        start("200 OK", [])
        yield b"one" if path == "/late" else b""
    if path != "/fine":
        raise ZeroDivisionError("in the application")


@pytest.mark.parametrize("app", [raising, raising_wsgi])
def test_exceptions_are_raised(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with client(app) as http:
        with pytest.raises(ZeroDivisionError, match="in the application"):
            http.get("/")
        with pytest.raises(ZeroDivisionError, match="in the application"):
            http.get("/late")
        assert http.get("/fine").status_code == 200
    assert "in the application" in caplog.text


@pytest.mark.parametrize("app", [raising, raising_wsgi])
def test_exceptions_as_a_client_sees_them(app: Any) -> None:
    with client(app, raise_app_exceptions=False) as http:
        assert http.get("/").status_code == 500
        with pytest.raises(httpx.TransportError):
            http.get("/late")
        assert http.get("/fine").status_code == 200


def test_exception_after_the_response_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    with client(raising) as http:
        assert http.get("/fine").text == "fine"
        with caplog.at_level(logging.ERROR):
            try:
                assert http.get("/after").text == "whole"
            except ZeroDivisionError:
                # It came before the response was looked at.
                pass
        assert http.get("/fine").text == "fine"


def test_exceptions_async() -> None:
    async def main() -> None:
        async with httpx.AsyncClient(transport=AsyncTransport(raising), base_url=BASE, timeout=TIMEOUT) as http:
            with pytest.raises(ZeroDivisionError):
                await http.get("/")
            with pytest.raises(ZeroDivisionError):
                await http.get("/late")
            assert (await http.get("/fine")).text == "fine"

    run(main)


def test_file() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 300000)
        file.flush()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.pathsend", "path": file.name})

        with client(app) as http:
            assert http.get("/").content == b"x" * 300000


def test_connection_closed_by_the_server() -> None:
    """httpcore notices, and makes another one."""
    with client(hello, limit_connection_requests=1) as http:
        assert [http.get("/").headers.get("connection") for _ in range(3)] == ["close"] * 3


def test_upgrade() -> None:
    """WebSockets, by the connection that httpx hands out: the bytes are the server's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "hi"})
            await receive()

    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with client(app) as http, http.stream("GET", "/", headers=headers) as answer:
        assert answer.status_code == 101
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        stream = answer.extensions["network_stream"]
        data = b""
        while len(data) < 4:
            data += stream.read(100, TIMEOUT)
        assert data == b"\x81\x02hi"


def test_without_httpx() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "import gateway.testing, gateway.testing.plugin\n"
        "try:\n gateway.testing.Transport\nexcept ImportError as e: print(e)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "gateway.testing needs httpx" in result.stdout, result.stderr


def test_names() -> None:
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError):
        testing.nothing  # noqa: B018


def test_arguments() -> None:
    switches = {"proxy_headers": False, "factory": True, "use_colors": None}
    assert arguments({"threads": 4, **switches}) == ["--threads=4", "--no-proxy-headers", "--factory"]
    assert arguments({"bind": "127.0.0.1:0"}) == ["--bind=127.0.0.1:0"]
    assert arguments({"bind": ["127.0.0.1:0", "[::1]:0"]}) == ["--bind", "127.0.0.1:0", "--bind", "[::1]:0"]
    assert arguments({"keep_alive": 5, "timeout": None}) == ["--keep-alive=5"]
    with pytest.raises(TypeError, match="thread"):
        arguments({"thread": 4})


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_THREADS", "3")
    monkeypatch.setenv("PORT", "80")
    monkeypatch.setenv("GATEWAY_NO_EXTENSIONS", "1")
    made = environment({"MORE": "1"})
    assert "GATEWAY_THREADS" not in made and "PORT" not in made
    assert (made["GATEWAY_NO_EXTENSIONS"], made["MORE"]) == ("1", "1")


# Whose exception it is


class Named(Exception):
    """Says by which request it was raised."""


class Naming:
    """Applications whose requests raise: /begun in the middle of its response, once `let_go` is set."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            while not self.let_go.is_set():
                await asyncio.sleep(0.01)
        elif path.startswith("/wait"):
            await asyncio.sleep(0.01)
        raise Named(path)

    def wsgi(self, environ: Any, start: Any) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        if path == "/begun":
            start("200 OK", [])
            yield b"one"
            self.let_go.wait(TIMEOUT)
        raise Named(path)


def only(path: str) -> Any:
    return pytest.raises(Named, match=rf"^{path}$")


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_each_request_has_its_own_exception(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Naming()
    with client(getattr(app, kind)) as http, http.stream("GET", "/begun") as begun:
        app.let_go.set()
        end = time.monotonic() + TIMEOUT
        while not any(record.exc_info for record in caplog.records):
            assert time.monotonic() < end
            time.sleep(0.01)
        # It has raised, and nobody has looked at it.
        with only("/other"):
            http.get("/other")
        with only("/begun"):
            begun.read()


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_each_request_has_its_own_exception_async(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = Naming()
        transport = AsyncTransport(getattr(app, kind))
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=TIMEOUT) as http:
            async with http.stream("GET", "/begun") as begun:
                app.let_go.set()
                while not any(record.exc_info for record in caplog.records):
                    await asyncio.sleep(0.01)
                with only("/other"):
                    await http.get("/other")
                with only("/begun"):
                    await begun.aread()

    run(main)


@pytest.mark.parametrize(("kind", "options"), [("asgi", {}), ("wsgi", {}), ("wsgi", {"threads": 0})])
def test_exceptions_of_many_at_once(kind: str, options: Any) -> None:
    async def main() -> None:
        transport = AsyncTransport(getattr(Naming(), kind), **options)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=TIMEOUT) as http:
            paths = [f"/{kind}{number}" for kind in ("wait", "now") for number in range(10)]
            results = await asyncio.gather(*(http.get(path) for path in paths), return_exceptions=True)
            assert [(type(each), str(each)) for each in results] == [(Named, path) for path in paths]
            assert transport.server is not None and not transport.server.failures

    run(main)
