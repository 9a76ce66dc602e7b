"""WSGIToASGI on a scripted ASGI server, and the cases that the server's own WSGI path passes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.validate import validator

import httpx
import pytest

from gateway import backend
from gateway.adapters import WSGIToASGI
from gateway.adapters.environ import scope_environ
from gateway.adapters.wsgi_to_asgi import THREADS
from gateway.backend import Backend
from gateway.errors import ClientDisconnected
from tests.apps import wsgi_apps
from tests.apps.adapter_cases import scope
from tests.fakes import run

TIMEOUT = 30.0


@pytest.fixture(autouse=True)
def _build(build: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs on both builds."""
    monkeypatch.setattr(backend, "current", build)


class Server:
    """The server's side of one exchange: a queue of events, and what was sent."""

    def __init__(self, *bodies: bytes, ends: bool = True) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[Any] = []
        self.received = 0
        self.pause: asyncio.Event | None = None
        self.arrived = asyncio.Event()
        for index, body in enumerate(bodies):
            self.push(body, more=not (ends and index == len(bodies) - 1))
        if not bodies and ends:
            self.push(b"", more=False)

    def push(self, body: bytes, *, more: bool = True) -> None:
        self.events.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def disconnect(self) -> None:
        self.events.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Any:
        event = await self.events.get()
        self.received += 1
        return event

    async def send(self, message: Any) -> None:
        if self.pause is not None:
            await self.pause.wait()
        self.sent.append(message)
        self.arrived.set()

    async def until(self, condition: Any) -> None:
        while not condition():
            self.arrived.clear()
            await self.arrived.wait()

    @property
    def status(self) -> int:
        return int(next(m["status"] for m in self.sent if m["type"] == "http.response.start"))

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(next(m["headers"] for m in self.sent if m["type"] == "http.response.start"))

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.sent if m["type"] == "http.response.body")

    @property
    def complete(self) -> bool:
        return any(m["type"] == "http.response.body" and not m["more_body"] for m in self.sent)


def serve(app: Any, request: dict[str, Any], *bodies: bytes, **options: Any) -> Server:
    async def main() -> Server:
        server = Server(*bodies)
        await WSGIToASGI(app, **options)(request, server.receive, server.send)
        return server

    return run(main)  # type: ignore[no-any-return]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", wsgi_apps.CASES)
def test_case(name: str, method: str) -> None:
    case = wsgi_apps.CASES[name]
    servers: list[Server] = []

    async def main() -> None:
        servers.append(Server())
        await WSGIToASGI(case.app)(scope(method), servers[0].receive, servers[0].send)

    if case.status is None and method == "HEAD":
        # What goes wrong in the content does not happen without content.
        run(main)
        assert servers[0].complete
        return
    if case.status in (None, 500) or (name == "too_long" and method == "GET"):
        with pytest.raises(Exception):  # noqa: B017
            run(main)
        if case.status == 500:
            assert servers[0].sent == []
        elif case.status is None:
            assert not servers[0].complete
        else:
            assert servers[0].body == case.body
        return
    run(main)
    server = servers[0]
    assert server.complete
    assert server.status == case.status
    assert server.body == (b"" if method == "HEAD" else case.body)
    if case.length is not None and (case.length or method == "GET"):
        assert server.headers[b"content-length"] == b"%d" % case.length


def test_environ() -> None:
    environ = scope_environ(
        scope(
            "POST",
            "/app/caf\xe9/x",
            (b"content-type", b"text/plain"),
            (b"content-length", b"3"),
            (b"x-two", b"1"),
            (b"x-two", b"2"),
            (b"x_two", b"3"),
            (b"cookie", b"a=1"),
            (b"cookie", b"b=2"),
            raw_path=b"/app/caf%C3%A9%2Fx",
            query_string=b"q=%20",
            root_path="/app",
        )
        | {"path": "/app/caf\xe9/x"},
        {"SCRIPT_NAME": ""},
    )
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/caf\xc3\xa9/x",
        "QUERY_STRING": "q=%20",
        "RAW_URI": "/app/caf%C3%A9%2Fx?q=%20",
        "REQUEST_URI": "/app/caf%C3%A9%2Fx?q=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "192.0.2.2",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "40000",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "3",
        "HTTP_HOST": "example.org",
        "HTTP_X_TWO": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "wsgi.url_scheme": "http",
    }


def test_environ_of_a_bare_scope() -> None:
    bare = {"type": "http", "http_version": "1.0", "method": "GET", "path": "/a b/\xe9", "headers": []}
    environ = scope_environ(bare, {})
    assert environ["PATH_INFO"] == "/a b/\xc3\xa9"
    assert environ["REQUEST_URI"] == "/a%20b/%C3%A9"
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert environ["REMOTE_ADDR"] == ""


def test_path_that_is_no_utf_8() -> None:
    request = scope(path="/\ufffd", raw_path=b"/%E9")
    assert scope_environ(request, {})["PATH_INFO"] == "/\xe9"


def test_path_changed_by_middleware() -> None:
    request = scope(path="/changed", raw_path=b"/original")
    assert scope_environ(request, {})["PATH_INFO"] == "/changed"


def test_validator() -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        data = environ["wsgi.input"].read(3) + environ["wsgi.input"].readline()
        start("200 OK", [("Content-Type", "text/plain")])
        return [data]

    server = serve(validator(app), scope("POST", "/", (b"content-length", b"9")), b"one\n", b"two\n", b"3")
    assert server.body == b"one\n"


def test_httpx() -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(WSGIToASGI(wsgi_apps.echo_lines))
        async with httpx.AsyncClient(transport=transport, base_url="http://example.org") as client:
            answers = await asyncio.gather(*(client.post("/", content=b"one\ntwo %d" % number) for number in range(20)))
        assert [answer.content for answer in answers] == [b"ONE\nTWO %d" % number for number in range(20)]

    run(main)


def test_concurrent() -> None:
    """Two requests meet in their threads."""
    barrier = threading.Barrier(2, timeout=TIMEOUT)

    def app(environ: Any, start: Any) -> list[bytes]:
        barrier.wait()
        return wsgi_apps.hello(environ, start)

    async def main() -> None:
        adapter = WSGIToASGI(app, threads=2)
        servers = [Server(), Server()]
        await asyncio.gather(*(adapter(scope(), server.receive, server.send) for server in servers))
        assert [server.body for server in servers] == [b"hello", b"hello"]

    run(main)


def test_streams_both_ways() -> None:
    async def main() -> None:
        server = Server(ends=False)
        adapter = WSGIToASGI(wsgi_apps.echo_lines, body_buffer=4)
        task = asyncio.create_task(adapter(scope("POST"), server.receive, server.send))
        for number in range(5):
            server.push(b"line%d\n" % number)
            await server.until(lambda number=number: b"LINE%d\n" % number in server.body)  # type: ignore[misc]
        server.push(b"", more=False)
        await task
        assert server.complete

    run(main)


def test_content_is_read_ahead_within_bounds() -> None:
    gate = threading.Event()
    running = threading.Event()

    def app(environ: Any, start: Any) -> list[bytes]:
        running.set()
        assert gate.wait(TIMEOUT)
        return wsgi_apps.echo(environ, start)

    async def main() -> None:
        server = Server(*[b"x" * 100] * 50)
        adapter = WSGIToASGI(app, body_buffer=1000)
        task = asyncio.create_task(adapter(scope("POST"), server.receive, server.send))
        await asyncio.to_thread(running.wait, TIMEOUT)
        assert server.received == 10
        gate.set()
        await task
        assert server.body == b"x" * 5000

    run(main)


def test_no_thread_before_small_content_is_there() -> None:
    calls: list[int] = []

    def app(environ: Any, start: Any) -> list[bytes]:
        calls.append(1)
        return wsgi_apps.echo(environ, start)

    async def main() -> None:
        server = Server(b"part", ends=False)
        task = asyncio.create_task(WSGIToASGI(app)(scope("POST"), server.receive, server.send))
        while server.received < 1:
            await asyncio.sleep(0)
        assert calls == []
        server.push(b"end", more=False)
        await task
        assert server.body == b"partend"

    run(main)


def test_continue_is_left_to_the_first_read() -> None:
    read = threading.Event()

    def app(environ: Any, start: Any) -> list[bytes]:
        assert read.wait(TIMEOUT)
        return wsgi_apps.echo(environ, start)

    async def main() -> None:
        server = Server(b"body")
        request = scope("POST", "/", (b"expect", b"100-Continue"))
        task = asyncio.create_task(WSGIToASGI(app)(request, server.receive, server.send))
        while threading.active_count() < 2:
            await asyncio.sleep(0)
        assert server.received == 0
        read.set()
        await task
        assert server.body == b"body"

    run(main)


def test_response_waits_for_a_slow_client() -> None:
    made: list[int] = []

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        for number in range(50):
            made.append(number)
            yield b"x" * 100

    async def main() -> None:
        server = Server()
        server.pause = asyncio.Event()
        adapter = WSGIToASGI(app, response_buffer=500)
        task = asyncio.create_task(adapter(scope(), server.receive, server.send))
        while len(made) < 6:
            await asyncio.sleep(0.001)
        # The thread is in its sixth part now, or about to be; give it the chance to be wrong.
        await asyncio.sleep(0.05)
        assert len(made) == 6
        server.pause.set()
        await task
        assert server.body == b"x" * 5000

    run(main)


def test_truncated_upload() -> None:
    raised: list[BaseException] = []

    def app(environ: Any, start: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            raised.append(error)
            raise
        return wsgi_apps.hello(environ, start)

    async def main() -> None:
        server = Server(b"x" * 100, ends=False)
        server.disconnect()
        await WSGIToASGI(app, body_buffer=10)(scope("POST"), server.receive, server.send)
        assert server.sent == []

    run(main)
    assert isinstance(raised[0], ClientDisconnected)


def test_disconnect_before_the_content_is_there() -> None:
    calls: list[int] = []

    async def main() -> None:
        server = Server(b"part", ends=False)
        server.disconnect()
        await WSGIToASGI(lambda environ, start: calls.append(1))(scope("POST"), server.receive, server.send)  # type: ignore[arg-type,func-returns-value]

    run(main)
    assert calls == []


class Endless:
    def __init__(self) -> None:
        self.closed = 0
        self.gone: Any = None

    def __call__(self, environ: Any, start: Any) -> Endless:
        start("200 OK", [])
        self.gone = environ["gateway.client_disconnected"]
        return self

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("how", ["receive", "send", "cancel"])
def test_client_gone_while_sending(how: str) -> None:
    app = Endless()

    async def main() -> None:
        server = Server()
        sent = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                if how == "send" and sent.is_set():
                    raise ConnectionResetError
                sent.set()

        adapter = WSGIToASGI(app, response_buffer=5000)
        task = asyncio.create_task(adapter(scope(), server.receive, send))
        await sent.wait()
        if how == "receive":
            server.disconnect()
        elif how == "cancel":
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert how == "cancel"
        while not app.closed:
            await asyncio.sleep(0.001)

    run(main)
    assert app.closed == 1
    assert app.gone()


def test_error_of_the_server_is_passed_on() -> None:
    app = Endless()

    async def main() -> None:
        server = Server()

        async def send(message: Any) -> None:
            raise RuntimeError("the server's own")

        await WSGIToASGI(app)(scope(), server.receive, send)

    with pytest.raises(RuntimeError, match="the server's own"):
        run(main)


def test_error_of_receive_is_passed_on() -> None:
    async def main() -> None:
        async def receive() -> Any:
            raise RuntimeError("the server's own")

        await WSGIToASGI(wsgi_apps.echo)(scope("POST"), receive, Server().send)

    with pytest.raises(RuntimeError, match="the server's own"):
        run(main)


def test_error_in_close_is_raised_after_the_response() -> None:
    class Result(list[bytes]):
        def close(self) -> None:
            raise RuntimeError("in close")

    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        return Result([b"body"])

    server: list[Server] = []

    async def main() -> None:
        server.append(Server())
        await WSGIToASGI(app)(scope(), server[0].receive, server[0].send)

    with pytest.raises(RuntimeError, match="in close"):
        run(main)
    assert (server[0].body, server[0].complete) == (b"body", True)


def test_context_variables_reach_the_thread() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [variable.get().encode()]

    async def main() -> None:
        server = Server()
        variable.set("from middleware")
        await WSGIToASGI(app)(scope(), server.receive, server.send)
        assert server.body == b"from middleware"

    run(main)


def test_early_hints_and_trailers() -> None:
    def app(environ: Any, start: Any) -> Iterator[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("X-Other", "1")])
        start("200 OK", [])
        yield b"body"
        environ["gateway.send_trailers"]([("X-Sum", "1")])

    extensions = {"http.response.early_hint": {}, "http.response.trailers": {}}
    server = serve(app, scope("GET", "/", (b"te", b"trailers"), extensions=extensions))
    assert server.sent[0] == {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    assert server.sent[1]["trailers"] is True
    assert server.sent[-1] == {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    # A server without the extensions is not bothered with them.
    server = serve(app, scope("GET", "/", (b"te", b"trailers")))
    assert [m["type"] for m in server.sent] == ["http.response.start", *["http.response.body"] * 2]
    assert "trailers" not in server.sent[0]


def test_lifespan() -> None:
    async def main() -> None:
        adapter = WSGIToASGI(wsgi_apps.hello)
        for _ in range(2):
            server = Server()
            await adapter(scope(), server.receive, server.send)
            assert server.body == b"hello"
            server = Server(ends=False)
            server.events.put_nowait({"type": "lifespan.startup"})
            server.events.put_nowait({"type": "lifespan.shutdown"})
            await adapter({"type": "lifespan"}, server.receive, server.send)
            assert [m["type"] for m in server.sent] == [
                "lifespan.startup.complete",
                "lifespan.shutdown.complete",
            ]

    run(main)


def test_websocket_is_closed() -> None:
    async def main() -> None:
        server = Server(ends=False)
        server.events.put_nowait({"type": "websocket.connect"})
        await WSGIToASGI(wsgi_apps.hello)({"type": "websocket"}, server.receive, server.send)
        assert server.sent == [{"type": "websocket.close", "code": 1000}]

    run(main)


def test_unknown_scope() -> None:
    with pytest.raises(ValueError, match="mystery"):
        run(lambda: WSGIToASGI(wsgi_apps.hello)({"type": "mystery"}, None, None))  # type: ignore[arg-type]


def test_arguments() -> None:
    with pytest.raises(TypeError):
        WSGIToASGI("app")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads"):
        WSGIToASGI(wsgi_apps.hello, threads=0)
    assert WSGIToASGI(wsgi_apps.hello).threads == THREADS
