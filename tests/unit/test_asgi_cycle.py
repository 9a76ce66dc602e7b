"""ASGICycle over a fake transport, in both builds: the specification's events, one by one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

from tests.fakes import Wire, recording_logger, run

GET = b"GET /p%20q?a=%20b HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\nx-a: 2\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"done"}


def test_scope(build: Any) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send(START)
        await send(END)

    async def main() -> None:
        wire = Wire(build, app, root_path="/root")
        await wire.feed(GET)

    run(main)
    scope = scopes[0]
    assert scope.pop("extensions") == {
        "http.response.early_hint": {},
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.zerocopysend": {},
    }
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/p q",
        "raw_path": b"/p%20q",
        "query_string": b"a=%20b",
        "root_path": "/root",
        "headers": [(b"host", b"example.org"), (b"x-a", b"1"), (b"x-a", b"2")],
        "client": ("192.0.2.1", 40000),
        "server": ("192.0.2.2", 80),
    }
    assert type(scope["headers"]) is list


def test_state_is_copied_for_each_request(build: Any) -> None:
    state = {"shared": [], "name": "lifespan"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["shared"].append(scope["state"]["name"])
        scope["state"]["name"] = "request"
        await send(START)
        await send(END)

    async def main() -> None:
        log, _ = recording_logger()
        handler = build.module("asgi.cycle").ASGIHandler(app, asyncio.get_running_loop(), log, state)
        wire = Wire(build, app, handler=handler)
        await wire.feed(GET + GET)

    run(main)
    assert state == {"shared": ["lifespan", "lifespan"], "name": "lifespan"}


def test_receive_and_send_can_be_tasks(build: Any) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await asyncio.create_task(receive()))
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await asyncio.create_task(send(START))
        await asyncio.ensure_future(send(END))
        seen.append(await waiting)

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        await wire.turns(8)
        assert wire.take().endswith(b"\r\n\r\ndone")

    run(main)
    assert [event["type"] for event in seen] == ["http.request", "http.disconnect"]


def test_each_request_has_a_context_of_its_own(build: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set("used")
        await send(START)
        await send(END)

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET + GET)
        await wire.feed(GET)

    run(main)
    assert seen == ["fresh"] * 3


def test_code_before_the_coroutine_has_the_requests_context(build: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    seen: list[str] = []

    def app(scope: Any, receive: Any, send: Any) -> Any:
        seen.append(variable.get())
        variable.set("set")

        async def inner() -> None:
            seen.append(variable.get())
            await send(START)
            await send(END)

        return inner()

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET + GET)

    run(main)
    assert seen == ["fresh", "set"] * 2


def test_the_clients_leaving_is_not_logged_however_it_is_wrapped(build: Any) -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await left.wait()
            try:
                await send(END)
            except OSError as error:
                try:
                    raise RuntimeError("the framework's own")
                except RuntimeError as wrapped:
                    raise ExceptionGroup("a task group's", [wrapped]) from error

        log, logged = recording_logger()
        wire = Wire(build, app, log=log)
        await wire.feed(GET)
        await wire.lose(ConnectionResetError())
        left.set()
        await wire.turns()
        assert wire.handler.active() == 0 and logged == []

    run(main)


def test_an_application_that_exits_is_an_error(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise SystemExit(3)

    async def main() -> None:
        log, logged = recording_logger()
        wire = Wire(build, app, log=log)
        await wire.feed(GET + GET)
        assert wire.take().count(b"HTTP/1.1 500 ") == 2
        assert logged == ["Exception in ASGI application"] * 2

    run(main)


def test_zerocopysend_without_offset_follows_on(build: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        with path.open("rb", buffering=0) as file:
            for more in (True, False):
                await send({"type": "http.response.zerocopysend", "file": file, "count": 4, "more_body": more})

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        wire.connection.file_sent(None)
        await wire.turns()
        assert wire.events == ["send_file 0 4", "send_file 4 4"]

    run(main)


def test_a_file_counts_for_what_was_sent_of_it(build: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    logged: list[int] = []

    class AccessLog(build.module("kernels.base").AccessLog):  # type: ignore[misc]
        def log(self, stream: Any, now: float) -> int:
            logged.append(stream.body_sent)
            return 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(path)})

    async def main() -> None:
        for end in ("lose", "abort", "finish"):
            wire = Wire(build, app, access_log=AccessLog())
            await wire.feed(GET)
            wire.transport.progress = 300
            if end == "lose":
                await wire.lose()
            elif end == "abort":
                wire.connection.abort_requests()
            else:
                wire.connection.file_sent(None)
            await wire.turns()

    run(main)
    assert logged == [300, 300, 1000]


def test_asgi2(build: Any) -> None:
    class App:
        def __init__(self, scope: Any) -> None:
            self.path = scope["path"]

        async def __call__(self, receive: Any, send: Any) -> None:
            await send(START)
            await send({"type": "http.response.body", "body": self.path.encode()})

    async def main() -> None:
        log, _ = recording_logger()
        handler = build.module("asgi.cycle").ASGIHandler(App, asyncio.get_running_loop(), log, None, True)
        wire = Wire(build, App, handler=handler)
        await wire.feed(GET)
        assert wire.take().endswith(b"/p q")

    run(main)


CASES: dict[str, tuple[list[Any], str, int | None]] = {
    "body first": ([END], "Expected ASGI message 'http.response.start'", 500),
    "start twice": ([START, START], "Expected ASGI message 'http.response.body'", 500),
    "after the end": ([START, END, END], "after response already completed", 200),
    "start after the end": ([START, END, START], "Expected ASGI message 'http.response.body'", 200),
    "unknown": ([{"type": "http.nonsense"}], "Unexpected ASGI message type 'http.nonsense'", 500),
    "no type": ([{}], "KeyError", 500),
    "no status": ([{"type": "http.response.start"}], "KeyError", 500),
    "status of another type": ([{"type": "http.response.start", "status": "200"}], "must be an integer", 500),
    "status too small": ([{"type": "http.response.start", "status": 101}], "between 200 and 999", 500),
    "text body": ([START, {"type": "http.response.body", "body": "text"}], "must be bytes", 500),
    "field injection": (
        [{"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1\r\nset-cookie: secret")]}, END],
        "control character",
        500,
    ),
    "trailers unannounced": (
        [START, END, {"type": "http.response.trailers", "headers": []}],
        "trailers were not announced",
        200,
    ),
    "trailer injection": (
        [
            {**START, "trailers": True},
            END,
            {"type": "http.response.trailers", "headers": [(b"x-a", b"1\nsecret")]},
        ],
        "control character",
        200,
    ),
    "hint injection": (
        [{"type": "http.response.early_hint", "links": [b"</a>\r\nset-cookie: secret"]}],
        "control character",
        500,
    ),
    "two lengths": (
        [{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")] * 2}, END],
        "Content-Length is repeated",
        500,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_an_application_must_not_do(build: Any, case: str) -> None:
    messages, text, status = CASES[case]
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            for message in messages:
                await send(message)
        except Exception as error:
            errors.append(error)
            raise

    async def main() -> None:
        log, logged = recording_logger()
        wire = Wire(build, app, log=log)
        await wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        assert wire.take().startswith(b"HTTP/1.1 %d " % status)
        assert logged == ["Exception in ASGI application"]

    run(main)
    shown = f"{type(errors[0]).__name__}: {errors[0]}"
    assert text in shown and "secret" not in shown


@pytest.mark.parametrize(
    ("begun", "text"),
    [(False, "without starting response"), (True, "without completing response")],
)
def test_returning_early(build: Any, begun: bool, text: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send(START)

    async def main() -> None:
        log, logged = recording_logger()
        wire = Wire(build, app, log=log)
        await wire.feed(GET)
        assert wire.take().startswith(b"HTTP/1.1 500 ")
        assert text in logged[0]

    run(main)


def test_an_error_after_the_head_breaks_the_response_off(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError

    async def main() -> None:
        log, logged = recording_logger()
        wire = Wire(build, app, log=log)
        await wire.feed(GET)
        assert wire.take().endswith(b"\r\n\r\n4\r\npart\r\n")
        assert wire.events == ["shutdown_write"] and logged == ["Exception in ASGI application"]

    run(main)


def test_an_application_that_never_waits_gives_way(build: Any) -> None:
    """Other tasks get their turn, at least once per megabyte."""
    turns = 0
    seen: list[int] = []

    async def counter() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        before = turns
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        seen.append(turns - before)
        before = turns
        for _ in range(4000):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        seen.append(turns - before)
        await send(END)

    async def main() -> None:
        task = asyncio.create_task(counter())
        wire = Wire(build, app)
        wire.connection.feed(GET)
        for _ in range(200):
            await asyncio.sleep(0)
        task.cancel()
        assert wire.take().endswith(b"4\r\ndone\r\n0\r\n\r\n")

    run(main)
    assert all(4 <= count <= 100 for count in seen), seen


def test_reading_in_a_loop_gives_way(build: Any) -> None:
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asyncio.get_running_loop().call_soon(order.append, "callback")
        more = True
        while more:
            more = (await receive()).get("more_body", False)
        order.append("read")
        await send(START)
        await send(END)

    async def main() -> None:
        wire = Wire(build, app, limits={"body_buffer": 1 << 20})
        wire.connection.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 300000)
        while not wire.take():
            wire.connection.feed(b"x" * 300000)
            await asyncio.sleep(0)

    run(main)
    assert order == ["callback", "read"]


def test_hearing_of_the_disconnect_for_ever_gives_way(build: Any) -> None:
    turns = 0

    async def counter() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(END)
        for _ in range(3000):
            assert (await receive())["type"] == "http.disconnect"

    async def main() -> None:
        task = asyncio.create_task(counter())
        wire = Wire(build, app)
        wire.connection.feed(GET)
        while wire.handler.active():
            await asyncio.sleep(0)
        task.cancel()

    run(main)
    assert 10 <= turns <= 100


@pytest.mark.parametrize("status", [204, 205, 304])
def test_responses_without_content(build: Any, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"4")]})
        await send(END)

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        output = wire.take().lower()
        assert output.endswith(b"\r\n\r\n")
        lengths = {204: b"", 205: b"content-length: 0\r\n", 304: b"content-length: 4\r\n"}
        assert output.count(b"content-length") == (status != 204) and lengths[status] in output

    run(main)


def test_a_method_is_in_capitals(build: Any) -> None:
    methods: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        methods.append(scope["method"])
        await send(START)
        await send(END)

    async def main() -> None:
        wire = Wire(build, app)
        for method in (b"get", b"M-SEARCH", b"Patch"):
            await wire.feed(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")

    run(main)
    assert methods == ["GET", "M-SEARCH", "PATCH"]


def test_send_waits_for_a_slow_client(build: Any) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(START)
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent += 1
        await send(END)

    async def main() -> None:
        wire = Wire(build, app)
        wire.connection.pause_writing()
        await wire.feed(GET)
        assert sent == 0
        wire.connection.resume_writing()
        await wire.turns()
        assert sent == 3
        assert wire.take().endswith(b"0\r\n\r\n")

    run(main)


def test_the_last_send_does_not_wait_for_a_slow_client(build: Any) -> None:
    """The exchange is over then, and nobody would tell the application that the client has read on."""
    returned = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal returned
        await send(START)
        await send({"type": "http.response.body", "body": b"x" * 100})
        returned = True

    async def main() -> None:
        wire = Wire(build, app)
        wire.transport.room = 0
        wire.transport.pauses_above = 50
        await wire.feed(GET)
        assert returned and wire.handler.active() == 0

    run(main)


def test_the_last_file_does_not_wait_for_a_slow_client(build: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(path)})

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        wire.connection.pause_writing()
        wire.connection.file_sent(None)
        await wire.turns()
        assert wire.handler.active() == 0

    run(main)


@pytest.mark.parametrize(("offset", "count", "expected"), [(None, None, (4, 6)), (2, 3, (2, 3)), (8, None, (8, 2))])
def test_zerocopysend(build: Any, tmp_path: Any, offset: Any, count: Any, expected: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        with path.open("rb", buffering=0) as file:
            file.seek(4)
            message: dict[str, Any] = {"type": "http.response.zerocopysend", "file": file}
            if offset is not None:
                message["offset"] = offset
            if count is not None:
                message["count"] = count
            await send(message)

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        assert wire.events == ["send_file %d %d" % expected]
        assert b"Content-Length: %d\r\n" % expected[1] in wire.take()

    run(main)


def test_trailers_go_only_to_clients_that_ask(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"4")], "trailers": True})
        await send(END)
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")
        output = wire.take()
        assert output.endswith(b"\r\n\r\n4\r\ndone\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n")
        assert b"content-length" not in output.lower()
        await wire.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        output = wire.take()
        assert b"content-length: 4\r\n" in output and output.endswith(b"\r\n\r\ndone")

    run(main)


def test_early_hints(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload", b"</b>; rel=preload"]})
        await send(START)
        await send(END)

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        hints, _, rest = wire.take().partition(b"\r\n\r\n")
        assert hints == b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>; rel=preload"
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
        await wire.feed(b"GET / HTTP/1.0\r\n\r\n")
        assert wire.take().startswith(b"HTTP/1.1 200 OK\r\n")

    run(main)


def test_background_work_after_the_response_does_not_hold_the_connection(build: Any) -> None:
    gate = asyncio.Event
    done: list[str] = []

    async def main() -> None:
        event = gate()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send(END)
            await event.wait()
            done.append(scope["path"])

        wire = Wire(build, app)
        await wire.feed(GET + GET)
        assert wire.take().count(b"HTTP/1.1 200 OK") == 2
        assert wire.handler.active() == 2 and done == []
        event.set()
        await wire.turns()
        assert wire.handler.active() == 0 and len(done) == 2

    run(main)


def test_an_exchange_leaves_no_garbage(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(END)

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        gc.collect()
        gc.disable()
        try:
            await wire.feed(GET * 3)
            assert gc.collect() == 0
        finally:
            gc.enable()

    run(main)


def test_content_is_not_lost_with_a_receive_that_gives_way(build: Any) -> None:
    received: list[bytes] = []
    cancelled: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while len(received) < 300:
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            if task.done():
                received.append(task.result()["body"])
                wire.connection.feed(b"1\r\n%c\r\n" % (48 + len(received) % 10))
                continue
            task.cancel()
            await asyncio.wait([task])
            cancelled.append(len(received))

    async def main() -> None:
        nonlocal wire
        wire = Wire(build, app)
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n")
        await wire.turns(2000)

    wire: Any = None
    run(main)
    assert len(received) == 300 and cancelled
    assert b"".join(received) == b"0123456789" * 30


def test_asking_again_and_again_whether_the_client_is_there_takes_no_memory(build: Any) -> None:
    counts: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for _ in range(100):
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        gc.collect()
        # Not `isinstance`, which asks lazy objects of other tests' frameworks what they are.
        counts.append(sum(issubclass(type(thing), asyncio.Future) for thing in gc.get_objects()))

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        await wire.turns(1000)

    run(main)
    assert len(counts) == 1 and counts[0] < 20
