"""ASGIToWSGI beyond the table of cases (test_adapter_cases.py): its options, its threads, its end."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import pytest

from gateway import ASGIToWSGI, backend
from gateway.adapters import loop as loops
from gateway.adapters.scope import environ_scope
from gateway.backend import Backend
from gateway.errors import AppLoadError, ClientDisconnected, LocalProtocolError
from tests.apps.adapter_cases import Answer, body_message, echo_asgi, environ, hello_asgi, sends, start_message

TIMEOUT = 30.0


@pytest.fixture(autouse=True)
def _build(build: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs on both builds."""
    monkeypatch.setattr(backend, "current", build)


def test_scope() -> None:
    request = environ(
        "POST",
        "/caf\xc3\xa9/x",
        b"abc",
        SCRIPT_NAME="/app",
        QUERY_STRING="q=%20",
        CONTENT_TYPE="text/plain",
        REQUEST_URI="/app/caf%C3%A9%2Fx?q=%20",
        HTTP_COOKIE="a=1; b=2",
    )
    assert environ_scope(request, {"name": 1}) == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/app/caf\xe9/x",
        "raw_path": b"/app/caf%C3%A9%2Fx",
        "query_string": b"q=%20",
        "root_path": "/app",
        "headers": [
            (b"host", b"example.org"),
            (b"content-length", b"3"),
            (b"content-type", b"text/plain"),
            (b"cookie", b"a=1; b=2"),
        ],
        "client": ("192.0.2.1", 40000),
        "server": ("192.0.2.2", 80),
        "extensions": {},
        "state": {"name": 1},
        "wsgi_environ": request,
    }


@pytest.mark.parametrize(
    ("target", "path", "raw"),
    [
        ("/a%20b", "/a b", b"/a%20b"),
        ("/a%2520b", "/a%20b", b"/a%2520b"),
        ("http://example.org/x%2Fy?q", "/x/y", b"/x%2Fy"),
        ("/moved/by/middleware", "/a b%", b"/a%20b%25"),
        ("", "/caf\xc3\xa9", b"/caf%C3%A9"),
        ("*", "*", b"*"),
    ],
)
def test_raw_path(target: str, path: str, raw: bytes) -> None:
    assert environ_scope(environ(path=path, REQUEST_URI=target), None)["raw_path"] == raw


def test_scope_of_a_bare_environ() -> None:
    scope = environ_scope({"REQUEST_METHOD": "get"}, None)
    assert (scope["method"], scope["path"], scope["headers"]) == ("GET", "", [])
    assert scope["client"] is scope["server"] is None
    assert "state" not in scope


def test_small_response_is_one_part_with_its_length() -> None:
    answer = Answer(ASGIToWSGI(sends(start_message(), body_message(b"one", True), body_message(b"two"))), environ())
    assert (answer.parts, answer.header("content-length")) == ([b"onetwo"], ["6"])
    answer = Answer(ASGIToWSGI(sends(start_message(), body_message(b"one"))), environ("HEAD"))
    assert (answer.body, answer.header("content-length")) == (b"", ["3"])
    answer = Answer(ASGIToWSGI(sends(start_message(304), body_message())), environ())
    assert (answer.body, answer.header("content-length")) == (b"", [])


def path_message(path: Path) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


def test_a_file_is_the_servers_to_send(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    wrapped: list[Any] = []

    def wrapper(file: Any, size: int) -> FileWrapper:
        wrapped.append(file)
        return FileWrapper(file, size)

    request = {"wsgi.file_wrapper": wrapper}
    assert environ_scope(environ(**request), None)["extensions"] == {"http.response.pathsend": {}}
    app = ASGIToWSGI(sends(start_message(), path_message(tmp_path / "file")), lifespan="off")
    answer = Answer(app, environ(**request))
    assert answer.raised is None
    assert (answer.status, answer.body, answer.header("content-length")) == ("200 OK", b"content", ["7"])
    (file,) = wrapped
    assert file.name == str(tmp_path / "file") and file.closed
    answer = Answer(app, environ("HEAD", **request))
    assert (answer.body, answer.header("content-length"), len(wrapped)) == (b"", ["7"], 1)

    def refuse(*arguments: Any) -> None:
        raise OSError("the server has no time")

    before = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    with pytest.raises(OSError, match="no time"):
        app(environ(**request), refuse)
    assert before is None or set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("more", "messages", "error"),
    [
        ({}, [start_message()], "Unexpected ASGI message type 'http.response.pathsend'"),
        ({"wsgi.file_wrapper": FileWrapper}, [], "Expected ASGI message 'http.response.start'"),
        (
            {"wsgi.file_wrapper": FileWrapper},
            [start_message(200, (b"content-length", b"8"))],
            "shorter than its Content-Length",
        ),
        ({"wsgi.file_wrapper": FileWrapper}, [start_message(), body_message(b"", True)], "after a part"),
    ],
)
def test_a_file_where_none_can_be_sent(tmp_path: Path, more: Any, messages: list[Any], error: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    app = ASGIToWSGI(sends(*messages, path_message(tmp_path / "file")), lifespan="off")
    answer = Answer(app, environ(**more))
    assert isinstance(answer.raised, LocalProtocolError) and error in str(answer.raised)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    app = ASGIToWSGI(sends(start_message(), path_message(tmp_path / "none")), lifespan="off")
    answer = Answer(app, environ(**{"wsgi.file_wrapper": FileWrapper}))
    assert isinstance(answer.raised, FileNotFoundError)


def test_head_can_be_sent_before_content() -> None:
    """An empty part tells the server to send the head, if it can."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_message())
        await send(body_message(b"", True))
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"

    started: list[str] = []
    result = ASGIToWSGI(app, lifespan="off")(environ(), lambda status, headers: started.append(status))
    assert next(iter(result)) == b""
    assert started == ["200 OK"]
    result.close()  # type: ignore[attr-defined]


def test_content_is_read_as_it_comes() -> None:
    """`read1`, where the input has it: a client that waits for an answer to the first half gets it."""

    class Input:
        def __init__(self) -> None:
            self.parts = [b"one", b"two", b""]

        def read1(self, size: int) -> bytes:
            return self.parts.pop(0)

        def read(self, size: int) -> bytes:
            raise AssertionError("waits for more than is there")

    request = environ("POST", HTTP_TRANSFER_ENCODING="chunked")
    request |= {"wsgi.input": Input(), "wsgi.input_terminated": True}
    assert Answer(ASGIToWSGI(echo_asgi, lifespan="off"), request).body == b"onetwo"


def test_content_waits_for_the_application() -> None:
    reads: list[int] = []

    class Input(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            reads.append(size or 0)
            return super().read1(size)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        await hello_asgi(scope, receive, send)

    request = environ("POST", CONTENT_LENGTH="100000")
    request["wsgi.input"] = Input(b"x" * 100000)
    assert Answer(ASGIToWSGI(app, lifespan="off", body_buffer=1000), request).body == b"hello"
    assert reads == [1000, 1000]


def test_what_the_input_raises_is_raised() -> None:
    seen: list[str] = []
    over = threading.Event()

    class Input:
        def read(self, size: int) -> bytes:
            raise ConnectionResetError("the client has left")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        with pytest.raises(ClientDisconnected):
            await hello_asgi(scope, receive, send)
        over.set()

    request = environ("POST", HTTP_TRANSFER_ENCODING="chunked")
    request |= {"wsgi.input": Input(), "wsgi.input_terminated": True}
    answer = Answer(ASGIToWSGI(app, lifespan="off"), request)
    assert isinstance(answer.raised, ConnectionResetError)
    assert over.wait(TIMEOUT)
    assert seen == ["http.disconnect"]


def test_content_that_breaks_off() -> None:
    """The application is told, and may go; the server is told why there is no response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["body"] == b"half"
        assert (await receive())["type"] == "http.disconnect"

    for size in ("10", "100000"):
        request = environ("POST", body=b"half") | {"CONTENT_LENGTH": size}
        assert isinstance(Answer(ASGIToWSGI(app, lifespan="off"), request).raised, ClientDisconnected)


def test_forgotten_iterable_is_a_client_that_left() -> None:
    left = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start_message())
        await send(body_message(b"one", True))
        await receive()
        left.set()

    result = ASGIToWSGI(app, lifespan="off")(environ(), lambda status, headers: None)
    del result
    gc.collect()
    assert left.wait(TIMEOUT)


def test_messages_in_the_wrong_order() -> None:
    for messages in (
        [start_message(), start_message()],
        [start_message(), body_message(b"x", True), start_message()],
        [start_message(100)],
        [{"type": "http.response.mystery"}],
        [start_message(200, (b"content-length", b"2")), body_message(b"1")],
        [start_message(200, (b"content-length", b"x")), body_message(b"1")],
    ):
        answer = Answer(ASGIToWSGI(sends(*messages), lifespan="off"), environ())
        assert isinstance(answer.raised, LocalProtocolError), messages
    answer = Answer(ASGIToWSGI(sends(start_message(), body_message("text")), lifespan="off"), environ())
    assert isinstance(answer.raised, TypeError)


def test_error_after_the_response_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello_asgi(scope, receive, send)
        raise ZeroDivisionError("in the background")

    adapter = ASGIToWSGI(app, lifespan="off")
    assert Answer(adapter, environ()).raised is None
    adapter.close()
    assert "in the background" in caplog.text


def test_timeout() -> None:
    cancelled = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["path"] == "/late":
                await send(start_message())
                await send(body_message(b"one", True))
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    adapter = ASGIToWSGI(app, lifespan="off", timeout=1.0)
    answer = Answer(adapter, environ())
    assert (type(answer.raised), answer.status) == (TimeoutError, "")
    assert cancelled.wait(TIMEOUT)
    cancelled.clear()
    answer = Answer(adapter, environ(path="/late"))
    assert (type(answer.raised), answer.body) == (TimeoutError, b"one")
    assert cancelled.wait(TIMEOUT)


class App:
    """With a lifespan that keeps a record, and fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.record: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.record.append("request")
            await hello_asgi(scope, receive, send)
            return
        await receive()
        if self.failures:
            self.failures -= 1
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        self.record.append("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.record.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})


def test_lifespan() -> None:
    app = App()
    adapter = ASGIToWSGI(app)
    Answer(adapter, environ())
    Answer(adapter, environ())
    adapter.close()
    adapter.close()
    assert app.record == ["startup", "request", "request", "shutdown"]
    adapter.startup()
    adapter.startup()
    assert app.record[4:] == ["startup"]
    adapter.close()


def test_lifespan_that_fails_is_tried_again() -> None:
    app = App(failures=1)
    adapter = ASGIToWSGI(app)
    answer = Answer(adapter, environ())
    assert isinstance(answer.raised, AppLoadError)
    assert "no database" in str(answer.raised)
    assert Answer(adapter, environ()).body == b"hello"
    assert app.record == ["startup", "request"]
    adapter.close()


def test_lifespan_is_wanted() -> None:
    async def without(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("not me")
        await hello_asgi(scope, receive, send)

    assert Answer(ASGIToWSGI(without), environ()).body == b"hello"
    with pytest.raises(AppLoadError):
        ASGIToWSGI(without, lifespan="on").startup()
    app = App()
    assert Answer(ASGIToWSGI(app, lifespan="off"), environ()).body == b"hello"
    assert app.record == ["request"]


def test_loop_of_ones_own() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(asyncio.get_running_loop())
            await hello_asgi(scope, receive, send)

        adapter = ASGIToWSGI(app, loop=loop, lifespan="off")
        assert Answer(adapter, environ()).body == b"hello"
        assert seen == [loop]
        adapter.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT)
        loop.close()
    assert isinstance(Answer(adapter, environ()).raised, RuntimeError)


def test_one_loop_for_all() -> None:
    seen: set[Any] = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.add(asyncio.get_running_loop())
        await hello_asgi(scope, receive, send)

    for _ in range(2):
        Answer(ASGIToWSGI(app, lifespan="off"), environ())
    assert seen == {loops.shared_loop().loop}


def test_close_cancels_what_does_not_end() -> None:
    cancelled: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello_asgi(scope, receive, send)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append("cancelled")
            raise

    adapter = ASGIToWSGI(app, lifespan="off")
    Answer(adapter, environ())
    adapter.close(grace=0.05)
    assert cancelled == ["cancelled"]
    assert adapter.running == set()


def test_nothing_is_left_behind() -> None:
    adapter = ASGIToWSGI(echo_asgi, lifespan="off")
    gc.collect()
    gc.disable()
    try:
        kinds = [type(each) for each in gc.get_objects() if type(each).__name__ == "Exchange"]
        for _ in range(5):
            assert Answer(adapter, environ("POST", body=b"x")).body == b"x"
        until = time.monotonic() + TIMEOUT
        while adapter.running and time.monotonic() < until:
            time.sleep(0.001)
        left = [type(each) for each in gc.get_objects() if type(each).__name__ == "Exchange"]
        assert len(left) <= len(kinds) + 1
    finally:
        gc.enable()


PROGRAM = """
import os, sys
from gateway import ASGIToWSGI
from tests.apps.adapter_cases import Answer, environ, hello_asgi

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await hello_asgi(scope, receive, send)

adapter = ASGIToWSGI(app)
print(Answer(adapter, environ()).body.decode(), flush=True)
if "fork" in sys.argv:
    # Some other thread may be about to start it.
    adapter._starting.acquire()
    child = os.fork()
    if child:
        adapter._starting.release()
    print(Answer(adapter, environ()).body.decode(), flush=True)
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize(
    "argument", ["", pytest.param("fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"))]
)
def test_processes(argument: str) -> None:
    """A child has a loop and a lifespan of its own, and each process ends its lifespan."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument], capture_output=True, text=True, timeout=60, check=False
    )
    lines = result.stdout.split()
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    if argument:
        assert sorted(lines) == ["hello"] * 3 + ["shutdown"] * 2
    else:
        assert lines == ["hello", "shutdown"]


def test_arguments() -> None:
    with pytest.raises(TypeError):
        ASGIToWSGI("app")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lifespan"):
        ASGIToWSGI(hello_asgi, lifespan="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="body_buffer"):
        ASGIToWSGI(hello_asgi, body_buffer=0)
