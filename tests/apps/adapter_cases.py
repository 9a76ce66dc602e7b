"""What an adapter between WSGI and ASGI has to get right: one table for each direction.

A case is a function that gets the adapter, a class or function that takes the application, and fails with an
AssertionError. The tests run them over ours, `python -m benchmarks.adapters cases` over ours and those of others.
Nothing here needs more than the two specifications: what only ours has is in tests/unit.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple
from wsgiref.validate import validator

TIMEOUT = 20.0
"""Seconds for anything that does not come at all when it goes wrong."""

Adapt = Callable[[Any], Any]


class Case(NamedTuple):
    what: str
    run: Callable[[Adapt], None]


TO_WSGI: dict[str, Case] = {}
TO_ASGI: dict[str, Case] = {}


def case(table: dict[str, Case], what: str) -> Callable[[Callable[[Adapt], None]], Callable[[Adapt], None]]:
    def register(function: Callable[[Adapt], None]) -> Callable[[Adapt], None]:
        table[function.__name__.removeprefix("wsgi_").removeprefix("asgi_")] = Case(what, function)
        return function

    return register


# ASGI applications on a WSGI server.


def environ(method: str = "GET", path: str = "/path", body: bytes | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "192.0.2.2",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "40000",
        "HTTP_HOST": "example.org",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body or b""),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if body is not None:
        made["CONTENT_LENGTH"] = str(len(body))
    return made | more


class Answer:
    """What a WSGI application gave; `raised` from the call or the iterable."""

    def __init__(self, app: Any, request: dict[str, Any]) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.parts: list[bytes] = []
        self.raised: BaseException | None = None
        self.starts = 0
        try:
            result = app(request, self.start)
            try:
                for part in result:
                    self.parts.append(part)
            finally:
                if hasattr(result, "close"):
                    result.close()
        except Exception as error:
            self.raised = error

    def start(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info and any(self.parts):
            raise exc_info[1]
        assert exc_info or not self.starts
        self.starts += 1
        self.status = status
        self.headers = headers
        return self.parts.append

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def failed(self) -> bool:
        """Raised, or answered with an error, as the server would do."""
        return self.raised is not None or self.status.startswith("500")


def start_message(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body_message(body: Any = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def hello_asgi(scope: Any, receive: Any, send: Any) -> None:
    await send(start_message(200, (b"content-type", b"text/plain"), (b"content-length", b"5")))
    await send(body_message(b"hello"))


def sends(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def scope_of(adapt: Adapt, request: dict[str, Any]) -> dict[str, Any]:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(scope)
        await hello_asgi(scope, receive, send)

    answer = Answer(adapt(app), request)
    assert answer.raised is None, f"raised {answer.raised!r}"
    assert answer.body == b"hello"
    return seen[0]  # type: ignore[no-any-return]


@case(TO_WSGI, "status, fields and content")
def wsgi_hello(adapt: Adapt) -> None:
    answer = Answer(adapt(hello_asgi), environ())
    assert answer.status == "200 OK"
    assert answer.header("content-type") == ["text/plain"]
    assert answer.header("content-length") == ["5"]
    assert answer.body == b"hello"
    assert all(type(text) is str for pair in answer.headers for text in pair)


@case(TO_WSGI, "a path whose characters stand for bytes (PEP 3333)")
def wsgi_path(adapt: Adapt) -> None:
    scope = scope_of(adapt, environ(path="/caf\xc3\xa9"))
    assert scope["path"] == "/caf\xe9"


@case(TO_WSGI, "a path that is not UTF-8")
def wsgi_path_not_utf_8(adapt: Adapt) -> None:
    assert scope_of(adapt, environ(path="/\xe9"))["path"].startswith("/")


@case(TO_WSGI, "SCRIPT_NAME is root_path, and in front of the path (ASGI 2.5)")
def wsgi_root_path(adapt: Adapt) -> None:
    scope = scope_of(adapt, environ(SCRIPT_NAME="/app"))
    assert (scope["root_path"], scope["path"]) == ("/app", "/app/path")


@case(TO_WSGI, "raw_path as it was sent")
def wsgi_raw_path(adapt: Adapt) -> None:
    scope = scope_of(adapt, environ(path="/a/b", REQUEST_URI="/a%2Fb?q=1", RAW_URI="/a%2Fb?q=1"))
    assert scope["raw_path"] == b"/a%2Fb"


@case(TO_WSGI, "a query string that is not ASCII")
def wsgi_query(adapt: Adapt) -> None:
    assert scope_of(adapt, environ(QUERY_STRING="q=\xe9"))["query_string"] == b"q=\xe9"


@case(TO_WSGI, "request fields, and the two that have names of their own, once")
def wsgi_request_fields(adapt: Adapt) -> None:
    more = {"CONTENT_TYPE": "text/plain", "HTTP_CONTENT_TYPE": "text/plain", "HTTP_X_A_B": "\xe9"}
    fields = scope_of(adapt, environ("POST", body=b"", **more))["headers"]
    assert sorted((bytes(name), bytes(value)) for name, value in fields) == [
        (b"content-length", b"0"),
        (b"content-type", b"text/plain"),
        (b"host", b"example.org"),
        (b"x-a-b", b"\xe9"),
    ]


@case(TO_WSGI, "no Content-Type where the variable is empty")
def wsgi_empty_content_type(adapt: Adapt) -> None:
    fields = scope_of(adapt, environ(CONTENT_TYPE="", CONTENT_LENGTH=""))["headers"]
    assert [name for name, _ in fields] == [b"host"]


@case(TO_WSGI, "a client without a port, and a server on a Unix socket")
def wsgi_addresses(adapt: Adapt) -> None:
    request = environ(SERVER_PORT="")
    del request["REMOTE_PORT"]
    scope = scope_of(adapt, request)
    assert scope["client"][0] == "192.0.2.1"


@case(TO_WSGI, "http_version of HTTP/2")
def wsgi_http_2(adapt: Adapt) -> None:
    assert scope_of(adapt, environ(SERVER_PROTOCOL="HTTP/2.0"))["http_version"] == "2"


@case(TO_WSGI, "a field that comes several times, in order")
def wsgi_duplicate_fields(adapt: Adapt) -> None:
    cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    answer = Answer(adapt(sends(start_message(200, *cookies), body_message())), environ())
    assert answer.header("set-cookie") == ["a=1", "b=2"]


@case(TO_WSGI, "a status without a registered reason")
def wsgi_unknown_status(adapt: Adapt) -> None:
    answer = Answer(adapt(sends(start_message(299), body_message(b"x"))), environ())
    code, _, reason = answer.status.partition(" ")
    assert code == "299" and reason


@case(TO_WSGI, "connection options are the server's (PEP 3333)")
def wsgi_hop_by_hop(adapt: Adapt) -> None:
    fields = [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"x-kept", b"1")]
    answer = Answer(adapt(sends(start_message(200, *fields), body_message(b"x"))), environ())
    assert not answer.header("connection") and not answer.header("transfer-encoding")
    assert answer.header("x-kept") == ["1"]


@case(TO_WSGI, "a line break in a field is refused")
def wsgi_bad_field(adapt: Adapt) -> None:
    answer = Answer(adapt(sends(start_message(200, (b"x-bad", b"1\r\nx-more: 2")), body_message(b"x"))), environ())
    assert answer.failed


@case(TO_WSGI, "HEAD: fields of GET, no content")
def wsgi_head(adapt: Adapt) -> None:
    answer = Answer(adapt(hello_asgi), environ("HEAD"))
    assert answer.header("content-length") == ["5"]
    assert answer.body == b""


@case(TO_WSGI, "204 has no content")
def wsgi_no_content(adapt: Adapt) -> None:
    answer = Answer(adapt(sends(start_message(204), body_message(b"dropped"))), environ())
    assert (answer.status[:3], answer.body) == ("204", b"")


@case(TO_WSGI, "content as bytearray and memoryview")
def wsgi_bytes_like(adapt: Adapt) -> None:
    messages = [body_message(bytearray(b"one"), True), body_message(memoryview(b"two"))]
    answer = Answer(adapt(sends(start_message(), *messages)), environ())
    assert all(type(part) is bytes for part in answer.parts)
    assert answer.body == b"onetwo"


async def echo_asgi(scope: Any, receive: Any, send: Any) -> None:
    await send(start_message())
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        await send(body_message(message.get("body", b""), more))
        if not more:
            return


@case(TO_WSGI, "content of a request")
def wsgi_content(adapt: Adapt) -> None:
    assert Answer(adapt(echo_asgi), environ("POST", body=b"content")).body == b"content"


@case(TO_WSGI, "a megabyte of content, in parts")
def wsgi_large_content(adapt: Adapt) -> None:
    body = bytes(range(256)) * 4096
    assert Answer(adapt(echo_asgi), environ("POST", body=body)).body == body


@case(TO_WSGI, "chunked content, where the server ends the input (wsgi.input_terminated)")
def wsgi_chunked_content(adapt: Adapt) -> None:
    request = environ("POST", HTTP_TRANSFER_ENCODING="chunked")
    request |= {"wsgi.input": io.BytesIO(b"x" * 100000), "wsgi.input_terminated": True}
    assert Answer(adapt(echo_asgi), request).body == b"x" * 100000


@case(TO_WSGI, "no byte is read beyond the content")
def wsgi_reads_no_further(adapt: Adapt) -> None:
    request = environ("POST", CONTENT_LENGTH="3")
    request["wsgi.input"] = io.BytesIO(b"onetwo")
    assert Answer(adapt(echo_asgi), request).body == b"one"
    assert request["wsgi.input"].read() == b"two"


@case(
    TO_WSGI, "nothing is read of content that the client sends after 100 (Continue), and the application does not want"
)
def wsgi_continue(adapt: Adapt) -> None:
    request = environ("POST", body=b"content", HTTP_EXPECT="100-continue")
    assert Answer(adapt(hello_asgi), request).body == b"hello"
    assert request["wsgi.input"].tell() == 0


@case(TO_WSGI, "content that breaks off: http.disconnect")
def wsgi_truncated_content(adapt: Adapt) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http":
            message = await asyncio.wait_for(receive(), TIMEOUT)
            seen.append(message["type"])
            if message["type"] == "http.disconnect" or len(seen) > 10:
                return

    request = environ("POST", body=b"half")
    request["CONTENT_LENGTH"] = "100"
    Answer(adapt(app), request)
    assert seen[-1:] == ["http.disconnect"]


@case(TO_WSGI, "each part is there before the next one is made")
def wsgi_streams(adapt: Adapt) -> None:
    taken = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_message())
        await send(body_message(b"one", True))
        await asyncio.wait_for(asyncio.to_thread(taken.wait, TIMEOUT), TIMEOUT)
        await send(body_message(b"two"))

    result = adapt(app)(environ(), lambda status, headers, exc_info=None: None)
    found = b""
    for part in result:
        found += part
        if found == b"one":
            taken.set()
    assert found == b"onetwo"


@case(TO_WSGI, "an application that sends faster than the client takes is made to wait")
def wsgi_slow_client(adapt: Adapt) -> None:
    made: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_message())
        for number in range(200):
            made.append(number)
            await send(body_message(b"x" * 65536, True))
        await send(body_message())

    result = adapt(app)(environ(), lambda status, headers, exc_info=None: None)
    iterator = iter(result)
    first = next(iterator)
    until_quiet(made)
    assert len(made) < 50, "more than 3 MiB are held"
    assert len(first) + sum(map(len, iterator)) == 200 * 65536


def until_quiet(made: list[int]) -> None:
    """Until the list has not grown for a fifth of a second."""
    count = -1
    while count != len(made):
        count = len(made)
        time.sleep(0.2)


@case(TO_WSGI, "an iterable that is closed early: http.disconnect, and send raises or does nothing")
def wsgi_closed_early(adapt: Adapt) -> None:
    gone = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start_message())
        await send(body_message(b"one", True))
        message = await receive()
        assert message["type"] == "http.disconnect"
        with contextlib.suppress(OSError):
            await send(body_message(b"two", True))
        gone.set()

    result = adapt(app)(environ(), lambda status, headers, exc_info=None: None)
    assert next(iter(result)) == b"one"
    in_thread(result.close)
    assert gone.wait(5)


def in_thread(function: Callable[[], object]) -> None:
    """Call something that may not come back."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(5)


@case(TO_WSGI, "an exception before the response")
def wsgi_raises(adapt: Adapt) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    assert Answer(adapt(app), environ()).failed


@case(TO_WSGI, "an exception between the head and the content")
def wsgi_raises_after_start(adapt: Adapt) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_message())
        raise ZeroDivisionError

    assert Answer(adapt(app), environ()).failed


@case(TO_WSGI, "an exception in the middle of the content breaks it off")
def wsgi_raises_late(adapt: Adapt) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_message())
        await send(body_message(b"one", True))
        await asyncio.sleep(0.05)
        raise ZeroDivisionError

    answer = Answer(adapt(app), environ())
    assert isinstance(answer.raised, ZeroDivisionError)
    assert answer.body == b"one"


@case(TO_WSGI, "SystemExit in a request is an error of that request")
def wsgi_exits(adapt: Adapt) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/exit":
            raise SystemExit(3)
        await hello_asgi(scope, receive, send)

    adapter = adapt(app)
    assert Answer(adapter, environ(path="/exit")).failed
    assert Answer(adapter, environ()).body == b"hello"


@case(TO_WSGI, "an application that returns without a response")
def wsgi_no_response(adapt: Adapt) -> None:
    assert Answer(adapt(sends()), environ()).failed


@case(TO_WSGI, "an application that returns in the middle of the content")
def wsgi_incomplete(adapt: Adapt) -> None:
    answer = Answer(adapt(sends(start_message(), body_message(b"one", True))), environ())
    assert answer.raised is not None


@case(TO_WSGI, "content before the head is refused")
def wsgi_out_of_order(adapt: Adapt) -> None:
    assert Answer(adapt(sends(body_message(b"x"))), environ()).failed


@case(TO_WSGI, "more content than declared is refused")
def wsgi_too_long(adapt: Adapt) -> None:
    answer = Answer(adapt(sends(start_message(200, (b"content-length", b"2")), body_message(b"three"))), environ())
    assert answer.failed or len(answer.body) <= 2


@case(TO_WSGI, "the response ends before the application's background work")
def wsgi_background(adapt: Adapt) -> None:
    go_on = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello_asgi(scope, receive, send)
        await asyncio.to_thread(go_on.wait, TIMEOUT)

    answers: list[Answer] = []
    in_thread(lambda: answers.append(Answer(adapt(app), environ())))
    try:
        assert answers and answers[0].body == b"hello"
    finally:
        go_on.set()


@case(TO_WSGI, "background work is done in full")
def wsgi_background_ends(adapt: Adapt) -> None:
    finished = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello_asgi(scope, receive, send)
        await asyncio.sleep(0.1)
        finished.set()

    Answer(adapt(app), environ())
    assert finished.wait(5)


@case(TO_WSGI, "http.disconnect after the response")
def wsgi_receive_after_response(adapt: Adapt) -> None:
    seen: list[str] = []
    finished = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await hello_asgi(scope, receive, send)
        seen.append((await receive())["type"])
        finished.set()

    adapter = adapt(app)
    in_thread(lambda: Answer(adapter, environ()))
    assert finished.wait(5)
    assert seen == ["http.disconnect"]


@case(TO_WSGI, "waiting for http.disconnect while sending, as Starlette does")
def wsgi_waits_and_sends(adapt: Adapt) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def stream() -> None:
            await send(start_message())
            for number in range(3):
                await send(body_message(b"%d" % number, True))
                await asyncio.sleep(0)
            await send(body_message())

        waiting = asyncio.create_task(listen())
        await asyncio.create_task(stream())
        waiting.cancel()

    answers: list[Answer] = []
    in_thread(lambda: answers.append(Answer(adapt(app), environ())))
    assert answers and answers[0].body == b"012"


@case(TO_WSGI, "context variables of the calling thread")
def wsgi_context(adapt: Adapt) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start_message())
        await send(body_message(variable.get().encode()))

    adapter = adapt(app)
    context = contextvars.copy_context()
    context.run(variable.set, "set")
    assert context.run(Answer, adapter, environ()).body == b"set"


@case(TO_WSGI, "lifespan: startup before the first request, and its state")
def wsgi_lifespan(adapt: Adapt) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["name"] = b"value"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send(start_message())
        await send(body_message(scope.get("state", {}).get("name", b"no state")))

    assert Answer(adapt(app), environ()).body == b"value"


@case(TO_WSGI, "many requests at a time")
def wsgi_concurrent(adapt: Adapt) -> None:
    meeting: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if not meeting:
            meeting.append(asyncio.Barrier(4))
        await asyncio.wait_for(meeting[0].wait(), TIMEOUT)
        await hello_asgi(scope, receive, send)

    adapter = adapt(app)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(Answer(adapter, environ())), daemon=True) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert [answer.body for answer in answers] == [b"hello"] * 4


@case(TO_WSGI, "what wsgiref.validate finds fault with")
def wsgi_validator(adapt: Adapt) -> None:
    answer = Answer(validator(adapt(echo_asgi)), environ("POST", body=b"content", CONTENT_TYPE="text/plain"))
    # The validator wants a Content-Type, of which an application that sets none knows nothing.
    assert answer.raised is None or "Content-Type" in str(answer.raised)
    answer = Answer(validator(adapt(hello_asgi)), environ())
    assert answer.raised is None, f"{answer.raised!r}"
    assert answer.body == b"hello"


# WSGI applications on an ASGI server.


def scope(method: str = "GET", path: str = "/path", *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.org"), *headers],
        "client": ("192.0.2.1", 40000),
        "server": ("192.0.2.2", 80),
        **more,
    }


class Exchange:
    """One exchange on a scripted ASGI server."""

    def __init__(self, *bodies: bytes, ends: bool = True) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.raised: BaseException | None = None
        self.held: asyncio.Event | None = None
        self.news = asyncio.Event()
        for index, body in enumerate(bodies or (b"",)):
            more = not (ends and index == max(len(bodies) - 1, 0))
            self.events.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def receive(self) -> Any:
        return await self.events.get()

    async def send(self, message: Any) -> None:
        if self.held is not None:
            await self.held.wait()
        self.sent.append(message)
        self.news.set()

    async def run(self, app: Any, request: dict[str, Any]) -> Exchange:
        try:
            await asyncio.wait_for(app(request, self.receive, self.send), TIMEOUT)
        except Exception as error:
            self.raised = error
        return self

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self.news.clear()
                await self.news.wait()

    @property
    def status(self) -> int:
        return next((m["status"] for m in self.sent if m["type"] == "http.response.start"), 0)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [(bytes(n), bytes(v)) for m in self.sent if m["type"] == "http.response.start" for n, v in m["headers"]]

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent if m["type"] == "http.response.body")

    @property
    def complete(self) -> bool:
        return any(m["type"] == "http.response.body" and not m.get("more_body", False) for m in self.sent)

    @property
    def failed(self) -> bool:
        return self.raised is not None or self.status == 500


def on_loop(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(2 * TIMEOUT):
            return await main()

    return asyncio.run(bounded())


def exchange(adapt: Adapt, app: Any, request: dict[str, Any] | None = None, *bodies: bytes) -> Exchange:
    async def main() -> Exchange:
        return await Exchange(*bodies).run(adapt(app), request or scope())

    return on_loop(main)  # type: ignore[no-any-return]


def hello_wsgi(environ: Any, start: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def environ_of(adapt: Adapt, request: dict[str, Any]) -> dict[str, Any]:
    seen: list[Any] = []

    def app(environ: Any, start: Any) -> list[bytes]:
        seen.append(environ)
        return hello_wsgi(environ, start)

    found = exchange(adapt, app, request)
    assert found.raised is None, f"raised {found.raised!r}"
    return seen[0]  # type: ignore[no-any-return]


@case(TO_ASGI, "status, fields and content")
def asgi_hello(adapt: Adapt) -> None:
    found = exchange(adapt, hello_wsgi)
    assert (found.status, found.body, found.complete) == (200, b"hello", True)
    assert sorted(found.headers) == [(b"content-length", b"5"), (b"content-type", b"text/plain")]


@case(TO_ASGI, "a path as bytes in characters (PEP 3333)")
def asgi_path(adapt: Adapt) -> None:
    made = environ_of(adapt, scope(path="/caf\xe9", raw_path=b"/caf%C3%A9"))
    assert made["PATH_INFO"] == "/caf\xc3\xa9"


@case(TO_ASGI, "a path that is not UTF-8, out of raw_path")
def asgi_path_not_utf_8(adapt: Adapt) -> None:
    assert environ_of(adapt, scope(path="/\ufffd", raw_path=b"/%E9"))["PATH_INFO"] == "/\xe9"


@case(TO_ASGI, "root_path is SCRIPT_NAME, and not in PATH_INFO")
def asgi_root_path(adapt: Adapt) -> None:
    made = environ_of(adapt, scope(path="/app/path", root_path="/app"))
    assert (made["SCRIPT_NAME"], made["PATH_INFO"]) == ("/app", "/path")


@case(TO_ASGI, "a path that only begins like root_path")
def asgi_root_path_border(adapt: Adapt) -> None:
    assert environ_of(adapt, scope(path="/apple", root_path="/app"))["PATH_INFO"] == "/apple"


@case(TO_ASGI, "fields of one name are joined, cookies with a semicolon")
def asgi_joined_fields(adapt: Adapt) -> None:
    fields = [(b"x-two", b"1"), (b"x-two", b"2"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    made = environ_of(adapt, scope("GET", "/", *fields))
    assert made["HTTP_X_TWO"].replace(" ", "") == "1,2"
    assert made["HTTP_COOKIE"] == "a=1; b=2"


@case(TO_ASGI, "a field with an underscore does not pass for one that the proxy has set")
def asgi_underscore(adapt: Adapt) -> None:
    made = environ_of(adapt, scope("GET", "/", (b"x-forwarded-user", b"proxy"), (b"x_forwarded_user", b"forged")))
    assert made["HTTP_X_FORWARDED_USER"] == "proxy"


@case(TO_ASGI, "all variables that PEP 3333 requires, of a bare scope")
def asgi_bare_scope(adapt: Adapt) -> None:
    bare = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    made = environ_of(adapt, bare)
    for name in ("SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "wsgi.url_scheme", "wsgi.input", "wsgi.errors"):
        assert made[name], name


@case(TO_ASGI, "a server on a Unix socket")
def asgi_unix_socket(adapt: Adapt) -> None:
    made = environ_of(adapt, scope(server=("/run/app.sock", None), client=None))
    assert made["SERVER_PORT"].isdigit() and made["SERVER_PORT"] != "0"


@case(TO_ASGI, "a query string that is not ASCII")
def asgi_query(adapt: Adapt) -> None:
    assert environ_of(adapt, scope(query_string=b"q=\xe9"))["QUERY_STRING"] == "q=\xe9"


@case(TO_ASGI, "content of a request, in parts: read, readline, iteration")
def asgi_content(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        source = environ["wsgi.input"]
        found = [source.read(2), source.readline(), *source]
        start("200 OK", [])
        return [b"|".join(found)]

    found = exchange(adapt, app, scope("POST", "/", (b"content-length", b"15")), b"one\ntw", b"o\nthree", b"\n4")
    assert found.body == b"on|e\n|two\n|three\n|4"


@case(TO_ASGI, "readlines, with nothing to read and with something")
def asgi_readlines(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        lines = environ["wsgi.input"].readlines()
        start("200 OK", [])
        return [b"|".join(lines)]

    assert exchange(adapt, app).body == b""
    assert exchange(adapt, app, scope("POST"), b"one\ntwo").body == b"one\n|two"


@case(TO_ASGI, "content is streamed: a part before the next one is sent")
def asgi_streams_content(adapt: Adapt) -> None:
    async def main() -> None:
        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            yield environ["wsgi.input"].readline()
            yield environ["wsgi.input"].readline()

        served = Exchange(b"x" * 100000 + b"\n", ends=False)
        task = asyncio.create_task(served.run(adapt(app), scope("POST")))
        await served.until(lambda: b"\n" in served.body)
        served.events.put_nowait({"type": "http.request", "body": b"two", "more_body": False})
        await task
        assert served.body == b"x" * 100000 + b"\ntwo"

    on_loop(main)


@case(TO_ASGI, "content that breaks off is an error for who reads it")
def asgi_truncated_content(adapt: Adapt) -> None:
    read: list[bytes] = []

    def app(environ: Any, start: Any) -> list[bytes]:
        read.append(environ["wsgi.input"].read())
        return hello_wsgi(environ, start)

    async def main() -> None:
        served = Exchange(b"half", ends=False)
        served.events.put_nowait({"type": "http.disconnect"})
        await served.run(adapt(app), scope("POST", "/", (b"content-length", b"100")))

    on_loop(main)
    assert read == [], "a half upload was taken for a whole one"


@case(TO_ASGI, "each part is sent before the next one is made")
def asgi_streams(adapt: Adapt) -> None:
    taken = threading.Event()

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"one"
        assert taken.wait(TIMEOUT)
        yield b"two"

    async def main() -> None:
        served = Exchange()
        task = asyncio.create_task(served.run(adapt(app), scope()))
        await served.until(lambda: served.body == b"one")
        taken.set()
        await task
        assert served.body == b"onetwo"

    on_loop(main)


@case(TO_ASGI, "an application that is faster than its client is made to wait")
def asgi_slow_client(adapt: Adapt) -> None:
    made: list[int] = []

    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        for number in range(200):
            made.append(number)
            yield b"x" * 65536

    async def main() -> None:
        served = Exchange()
        served.held = asyncio.Event()
        task = asyncio.create_task(served.run(adapt(app), scope()))
        while not made:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(until_quiet, made)
        count = len(made)
        served.held.set()
        await task
        assert count < 50, "more than 3 MiB are held"
        assert len(served.body) == 200 * 65536

    on_loop(main)


class Closing:
    """An endless response that counts how often it is closed."""

    def __init__(self, parts: int = 0) -> None:
        self.closed = 0
        self.parts = parts

    def __call__(self, environ: Any, start: Any) -> Closing:
        start("200 OK", [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        number = 0
        while not self.parts or number < self.parts:
            number += 1
            yield b"x" * 1000

    def close(self) -> None:
        self.closed += 1


@case(TO_ASGI, "close() of the iterable, once")
def asgi_closes(adapt: Adapt) -> None:
    app = Closing(3)
    assert exchange(adapt, app).body == b"x" * 3000
    assert app.closed == 1


@case(TO_ASGI, "a client that leaves ends an endless response, closed")
def asgi_client_leaves(adapt: Adapt) -> None:
    app = Closing()

    async def main() -> None:
        served = Exchange()
        task = asyncio.create_task(served.run(adapt(app), scope()))
        await served.until(lambda: len(served.body) > 0)
        served.events.put_nowait({"type": "http.disconnect"})
        await asyncio.wait([task], timeout=5)
        ended = task.done()
        if not ended:
            # Whoever did not hear of it has to be stopped some other way.
            app.parts = 1
            await asyncio.wait([task], timeout=5)
        assert ended, "it went on"

    on_loop(main)
    assert app.closed == 1


@case(TO_ASGI, "send that raises (ASGI 2.4) ends the response, closed, without an error")
def asgi_send_raises(adapt: Adapt) -> None:
    app = Closing(1000)

    async def main() -> Exchange:
        served = Exchange()

        async def send(message: Any) -> None:
            if len(served.sent) > 2:
                raise ConnectionResetError
            served.sent.append(message)

        served.send = send  # type: ignore[method-assign]
        return await served.run(adapt(app), scope())

    found = on_loop(main)
    until = time.monotonic() + 5
    while not app.closed and time.monotonic() < until:
        time.sleep(0.01)
    assert app.closed == 1
    assert found.raised is None or isinstance(found.raised, OSError)


@case(TO_ASGI, "write()")
def asgi_write(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        write = start("200 OK", [])
        write(b"one ")
        write(b"two ")
        return [b"three"]

    assert exchange(adapt, app).body == b"one two three"


@case(TO_ASGI, "start_response again with exc_info replaces the head")
def asgi_replaced(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            start("503 Service Unavailable", [], sys.exc_info())
        return [b"replaced"]

    found = exchange(adapt, app)
    assert (found.status, found.body, found.raised) == (503, b"replaced", None)


@case(TO_ASGI, "start_response again with exc_info after content raises it")
def asgi_replaced_too_late(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"one"
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start("503 Service Unavailable", [], sys.exc_info())
        yield b"two"

    found = exchange(adapt, app)
    assert isinstance(found.raised, ZeroDivisionError)
    assert not found.complete


@case(TO_ASGI, "start_response twice is an error")
def asgi_start_twice(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        start("200 OK", [])
        return [b"x"]

    assert exchange(adapt, app).failed


@case(TO_ASGI, "no start_response is an error")
def asgi_no_start(adapt: Adapt) -> None:
    assert exchange(adapt, lambda environ, start: [b"x"]).failed


@case(TO_ASGI, "start_response in the generator, at its first part")
def asgi_late_start(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> Iterator[bytes]:
        yield b""
        start("201 Created", [])
        yield b"made"

    found = exchange(adapt, app)
    assert (found.status, found.body) == (201, b"made")


@case(TO_ASGI, "an exception before the response")
def asgi_raises(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        raise ZeroDivisionError

    found = exchange(adapt, app)
    assert isinstance(found.raised, ZeroDivisionError)
    assert found.sent == []


@case(TO_ASGI, "an exception after start_response, before content: nothing was sent")
def asgi_raises_after_start(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        raise ZeroDivisionError

    found = exchange(adapt, app)
    assert isinstance(found.raised, ZeroDivisionError)
    assert found.sent == []


@case(TO_ASGI, "an exception in the middle of the content breaks it off")
def asgi_raises_late(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"one"
        raise ZeroDivisionError

    found = exchange(adapt, app)
    assert isinstance(found.raised, ZeroDivisionError)
    assert (found.body, found.complete) == (b"one", False)


@case(TO_ASGI, "content that is no bytes is an error")
def asgi_text(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        return ["text"]

    assert exchange(adapt, app).failed


@case(TO_ASGI, "more content than declared is cut or refused")
def asgi_too_long(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Length", "2")])
        return [b"three"]

    found = exchange(adapt, app)
    assert len(found.body) <= 2


@case(TO_ASGI, "HEAD: no content")
def asgi_head(adapt: Adapt) -> None:
    found = exchange(adapt, hello_wsgi, scope("HEAD"))
    assert (b"content-length", b"5") in found.headers
    assert found.body == b""


@case(TO_ASGI, "the length of a list of one part is declared")
def asgi_length(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    assert (b"content-length", b"5") in exchange(adapt, app).headers


@case(TO_ASGI, "names of fields in lower case (ASGI)")
def asgi_lower_case(adapt: Adapt) -> None:
    assert all(name == name.lower() for name, _ in exchange(adapt, hello_wsgi).headers)


@case(TO_ASGI, "a line break in a field is refused")
def asgi_bad_field(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [("X-Bad", "1\r\nX-More: 2")])
        return [b"x"]

    assert exchange(adapt, app).failed


@case(TO_ASGI, "wsgi.errors takes text")
def asgi_errors(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        environ["wsgi.errors"].write("caf\xe9\n")
        environ["wsgi.errors"].flush()
        return hello_wsgi(environ, start)

    assert exchange(adapt, app).body == b"hello"


@case(TO_ASGI, "wsgi.file_wrapper, if there is one")
def asgi_file_wrapper(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        wrapper = environ.get("wsgi.file_wrapper")
        return wrapper(io.BytesIO(b"in memory"), 4) if wrapper else [b"in memory"]

    assert exchange(adapt, app).body == b"in memory"


@case(TO_ASGI, "several requests at a time")
def asgi_concurrent(adapt: Adapt) -> None:
    meeting = threading.Barrier(4, timeout=5)

    def app(environ: Any, start: Any) -> list[bytes]:
        meeting.wait()
        return hello_wsgi(environ, start)

    async def main() -> None:
        adapter = adapt(app)
        found = await asyncio.gather(*(Exchange().run(adapter, scope()) for _ in range(4)))
        assert [each.body for each in found] == [b"hello"] * 4

    on_loop(main)


@case(TO_ASGI, "context variables reach the thread")
def asgi_context(adapt: Adapt) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return [variable.get().encode()]

    async def main() -> None:
        variable.set("set")
        assert (await Exchange().run(adapt(app), scope())).body == b"set"

    on_loop(main)


@case(TO_ASGI, "lifespan is answered")
def asgi_lifespan(adapt: Adapt) -> None:
    async def main() -> None:
        served = Exchange()
        served.events = asyncio.Queue()
        served.events.put_nowait({"type": "lifespan.startup"})
        served.events.put_nowait({"type": "lifespan.shutdown"})
        await served.run(adapt(hello_wsgi), {"type": "lifespan", "asgi": {"version": "3.0"}})
        assert served.raised is None, f"raised {served.raised!r}"
        assert [m["type"] for m in served.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    on_loop(main)


@case(TO_ASGI, "a WebSocket is refused")
def asgi_websocket(adapt: Adapt) -> None:
    async def main() -> None:
        served = Exchange()
        served.events = asyncio.Queue()
        served.events.put_nowait({"type": "websocket.connect"})
        await served.run(adapt(hello_wsgi), scope() | {"type": "websocket"})
        assert [m["type"] for m in served.sent] == ["websocket.close"]

    on_loop(main)


@case(TO_ASGI, "what wsgiref.validate finds fault with")
def asgi_validator(adapt: Adapt) -> None:
    def app(environ: Any, start: Any) -> list[bytes]:
        data = environ["wsgi.input"].read(3) + environ["wsgi.input"].readline()
        start("200 OK", [("Content-Type", "text/plain")])
        return [data]

    found = exchange(adapt, validator(app), scope("POST", "/", (b"content-length", b"9")), b"one\n", b"two\n", b"3")
    assert found.raised is None, f"{found.raised!r}"
    assert found.body == b"one\n"
