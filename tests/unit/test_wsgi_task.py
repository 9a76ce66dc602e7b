"""WSGI from the connection's bytes to the application and back: real threads, no sockets, both builds."""

from __future__ import annotations

import io
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.validate import validator

import h11
import pytest

from gateway.backend import Backend
from gateway.errors import ClientDisconnected
from tests.apps import wsgi_apps
from tests.fakes import DATE, START, transport_class

TIMEOUT = 30.0
# Seconds in which a thread that does not wait, as it should, would show it. On a busy machine it may not: such a test
# passes too easily then, and never fails for it.
QUIET = 0.05
# Seconds between two looks at what threads do without telling the loop.
LOOK = 0.002

GET = b"GET /path HTTP/1.1\r\nHost: example.org\r\n\r\n"


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> str:
        formatter = logging.Formatter()
        return "\n".join(formatter.format(record) for record in self.records)


@pytest.fixture(autouse=True, params=["posted", "direct"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How responses leave: by the loop alone, or from the threads themselves."""
    monkeypatch.setattr(Lane, "direct", request.param == "direct")
    return str(request.param)


class Lane:
    """One connection to one application. The test is the loop: `settle` makes the steps that threads post."""

    direct = False

    def __init__(
        self,
        build: Backend,
        app: Any,
        *,
        limits: dict[str, int] | None = None,
        client: Any = ("192.0.2.1", 40000),
        server: Any = ("192.0.2.2", 8080),
        scheme: str = "http",
        full: bool = False,
        held: bool = False,
        service: dict[str, Any] | None = None,
        **handler: Any,
    ) -> None:
        base = build.module("kernels.base")
        self.posted: queue.Queue[Any] = queue.Queue()
        self.active = 0
        self.woken = 0
        self.deferred = 0
        self.crowded = False
        self.queued: list[Any] = []
        self.held = held
        self.log = logging.Logger("tests.wsgi")
        self.records = Records()
        self.log.addHandler(self.records)
        lane = self

        class Executor(base.Executor):  # type: ignore[misc, name-defined]
            def submit(self, task: Any) -> bool:
                if full:
                    return False
                lane.queued.append(task)
                if not lane.held:
                    lane.start_queued()
                return True

            def withdraw(self, task: Any) -> int:
                # As in the pool: a void task stays where it is.
                assert not full
                return 0

            def post(self, task: Any) -> int:
                lane.woken += 1
                lane.posted.put(task)
                return 0

            def defer(self, task: Any) -> int:
                lane.deferred += 1
                lane.posted.put(task)
                return 0

            def crowded(self) -> bool:
                return lane.crowded

        self.handler = build.module("wsgi.task").WSGIHandler(
            app, Executor(), errors=build.module("wsgi.errors").ErrorStream(self.log.error), **handler
        )
        limits_module = build.module("http.limits")
        self.clock = base.Clock(START)
        self.service = build.module("http.service").Service(
            limits=limits_module.Limits(**(limits or {})),
            timeouts=limits_module.Timeouts(),
            clock=self.clock,
            handler=self.handler,
            log=self.log,
            **(service or {}),
        )
        self.service.refresh(START, DATE)
        self.transport = transport_class(build)()
        self.transport.threadsafe = self.direct
        self.connection = build.module("http1.connection").HTTP1Connection(
            self.service, self.transport, client, server, scheme
        )
        self.connection.opened()

    def start_queued(self) -> None:
        """Give every queued task a thread."""
        tasks, self.queued = self.queued, []
        for task in tasks:
            self.active += 1
            threading.Thread(target=self.work, args=(task,), daemon=True).start()

    def work(self, task: Any) -> None:
        try:
            task.run()
        finally:
            self.posted.put(None)

    def turn(self, timeout: float) -> bool:
        """One message from a thread. False if none comes."""
        try:
            task = self.posted.get(timeout=timeout)
        except queue.Empty:
            return False
        if task is None:
            self.active -= 1
        else:
            task.step()
        scheduled, self.transport.scheduled = self.transport.scheduled, []
        for connection in scheduled:
            connection.resume()
        return True

    def settle(self) -> None:
        """Until all threads have ended."""
        deadline = time.monotonic() + TIMEOUT
        while self.active or not self.posted.empty():
            assert self.turn(deadline - time.monotonic()), "a thread hangs"

    def until(self, condition: Callable[[], Any]) -> None:
        """Until it is true, by what the threads posted or did by themselves."""
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, "nothing happens"
            self.turn(LOOK)

    def idle(self) -> None:
        """Give threads that should be waiting the chance to go on; they run still."""
        while self.turn(QUIET):
            pass
        assert self.active, "no thread runs"

    def feed(self, data: bytes) -> None:
        self.connection.feed(data)

    def request(self, data: bytes = GET) -> bytes:
        """Everything written in answer to a request, when its thread has ended and files are sent."""
        self.feed(data)
        self.settle()
        self.send_files()
        return self.output

    def send_files(self) -> None:
        if self.transport.file is not None:
            descriptor, offset, count = self.transport.file
            self.transport.file = None
            self.transport.output += os.pread(descriptor, count, offset)
            self.connection.file_sent(None)

    @property
    def output(self) -> bytes:
        return bytes(self.transport.output)

    @property
    def closed(self) -> bool:
        return bool({"close", "abort", "shutdown_write"} & set(self.transport.events))


class Response:
    """A response, read by h11."""

    def __init__(self, data: bytes, request: bytes = GET, *, lost: bool = False) -> None:
        client = h11.Connection(h11.CLIENT)
        method = request.split(b" ", 1)[0]
        client.send(h11.Request(method=method, target="/", headers=[("Host", "example.org")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        if lost:
            client.receive_data(b"")
        self.hints: list[h11.InformationalResponse] = []
        self.status = 0
        self.reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.trailers: list[tuple[bytes, bytes]] = []
        self.complete = False
        while True:
            event = client.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                break
            if isinstance(event, h11.InformationalResponse):
                self.hints.append(event)
            elif isinstance(event, h11.Response):
                self.status = event.status_code
                self.reason = bytes(event.reason)
                self.fields = list(event.headers)
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.complete = True
                self.trailers = list(event.headers)
                break

    def __getitem__(self, name: bytes) -> bytes | None:
        return dict(self.fields).get(name)


def post(body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST /path HTTP/1.1", b"Host: example.org", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class TestResponses:
    @pytest.mark.parametrize("name", wsgi_apps.CASES)
    def test_case(self, build: Backend, name: str) -> None:
        case = wsgi_apps.CASES[name]
        lane = Lane(build, case.app)
        data = lane.request()
        if case.status is None:
            response = Response(data)
            assert response.status == 200
            assert not response.complete
            assert lane.closed
            assert lane.records.records
            return
        response = Response(data)
        assert (response.status, response.complete) == (case.status, True)
        if case.status == 500:
            assert lane.records.records[0].getMessage() == "Error handling request GET /path"
            assert "Traceback" in lane.records.text
            return
        assert response.body == case.body
        if case.length is not None:
            assert response[b"content-length"] == b"%d" % case.length
        elif case.status == 200:
            assert response[b"transfer-encoding"] == b"chunked"
        if name != "too_long":
            assert not lane.records.records

    @pytest.mark.parametrize("name", wsgi_apps.CASES)
    def test_head(self, build: Backend, name: str) -> None:
        case = wsgi_apps.CASES[name]
        lane = Lane(build, case.app)
        request = GET.replace(b"GET", b"HEAD")
        data = lane.request(request)
        response = Response(data, request)
        assert response.complete
        assert data.endswith(b"\r\n\r\n")
        if case.status not in (None, 500):
            assert response.status == case.status
            if case.length:
                assert response[b"content-length"] == b"%d" % case.length

    def test_values_are_kept_out_of_the_log(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.bad_value)
        data = lane.request()
        assert b"Forged" not in data
        assert b"secret" not in data
        message = lane.records.records[0]
        assert message.exc_info is not None
        assert "secret" not in str(message.exc_info[1])
        assert "X-Bad" in str(message.exc_info[1])

    def test_keeps_the_reason(self, build: Backend) -> None:
        assert Response(Lane(build, wsgi_apps.teapot).request()).reason == b"Short and stout"

    def test_drops_old_fields_when_replaced(self, build: Backend) -> None:
        response = Response(Lane(build, wsgi_apps.replaced).request())
        assert response.reason == b"Sorry"
        assert response[b"x-old"] is None
        assert response[b"x-new"] == b"1"

    def test_drops_connection_fields(self, build: Backend) -> None:
        response = Response(Lane(build, wsgi_apps.own_connection).request())
        assert response[b"transfer-encoding"] is None
        assert response[b"keep-alive"] is None
        assert response[b"te"] is None

    def test_one_post_for_a_simple_response(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello)
        lane.feed(GET)
        messages = []
        while lane.active:
            task = lane.posted.get(timeout=TIMEOUT)
            messages.append(task)
            if task is None:
                lane.active -= 1
            else:
                task.step()
        assert [message is None for message in messages] == [False, True]
        assert Response(lane.output).body == b"hello"

    def test_parts_are_sent_as_they_are_made(self, build: Backend) -> None:
        gate = threading.Event()

        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            yield b"first"
            assert gate.wait(TIMEOUT)
            yield b"second"

        lane = Lane(build, app)
        lane.feed(GET)
        lane.until(lambda: b"first" in lane.output)
        assert b"second" not in lane.output
        gate.set()
        lane.settle()
        assert Response(lane.output).body == b"firstsecond"

    def test_head_waits_for_content(self, build: Backend) -> None:
        gate = threading.Event()
        ready = threading.Event()

        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            yield b""
            ready.set()
            assert gate.wait(TIMEOUT)
            yield b"content"

        lane = Lane(build, app)
        lane.feed(GET)
        assert ready.wait(TIMEOUT)
        assert lane.posted.empty()
        gate.set()
        lane.settle()
        assert Response(lane.output).body == b"content"

    def test_http_1_0(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.generator)
        data = lane.request(b"GET / HTTP/1.0\r\n\r\n")
        assert b"chunked" not in data
        assert data.endswith(b"\r\n\r\none two")
        assert lane.closed

    def test_write_after_the_end(self, build: Backend) -> None:
        kept: list[Any] = []

        def app(environ: Any, start: Any) -> list[bytes]:
            kept.append(start("200 OK", []))
            return [b"done"]

        lane = Lane(build, app)
        assert Response(lane.request()).body == b"done"
        with pytest.raises(Exception, match="after the end"):
            kept[0](b"more")
        with pytest.raises(TypeError):
            kept[0]("text")

    def test_write_beyond_the_length_raises(self, build: Backend) -> None:
        raised: list[Exception] = []

        def app(environ: Any, start: Any) -> list[bytes]:
            writer = start("200 OK", [("Content-Length", "3")])
            try:
                writer(b"12345")
            except Exception as error:
                raised.append(error)
            return []

        assert Response(Lane(build, app).request()).body == b"123"
        assert "Content-Length" in str(raised[0])

    def test_large_single_part_in_pieces(self, build: Backend) -> None:
        body = os.urandom(1000) * 1000

        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [])
            return [body]

        lane = Lane(build, app, limits={"response_buffer": 65536})
        response = Response(lane.request())
        assert response.body == body
        assert response[b"content-length"] == b"1000000"

    def test_pipelined(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello)
        lane.request(GET * 3)
        assert lane.output.count(b"HTTP/1.1 200 OK") == 3


class Closing:
    """An iterable that counts its closes."""

    def __init__(self, parts: list[Any], error: Exception | None = None) -> None:
        self.parts = iter(parts)
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        part = next(self.parts)
        if isinstance(part, Exception):
            raise part
        return part

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


class ClosingList(list[bytes]):
    closed = 0

    def close(self) -> None:
        self.closed += 1


class TestClose:
    @pytest.mark.parametrize("method", [b"GET", b"HEAD"])
    @pytest.mark.parametrize(
        "parts", [[], [b""], [b"a"], [b"a", b"b"], [RuntimeError()], [b"a", RuntimeError()], ["text"]]
    )
    def test_once(self, build: Backend, method: bytes, parts: list[Any]) -> None:
        result = Closing(parts)

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return result

        Lane(build, app).request(GET.replace(b"GET", method))
        assert result.closed == 1

    def test_list_subclass(self, build: Backend) -> None:
        result = ClosingList([b"a"])

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return result

        assert Response(Lane(build, app).request()).body == b"a"
        assert result.closed == 1

    def test_without_start_response(self, build: Backend) -> None:
        result = Closing([b"a"])
        assert Response(Lane(build, lambda environ, start: result).request()).status == 500
        assert result.closed == 1

    def test_error_in_close_after_the_response(self, build: Backend) -> None:
        result = Closing([b"a"], RuntimeError("in close"))

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return result

        lane = Lane(build, app)
        response = Response(lane.request())
        assert (response.body, response.complete) == (b"a", True)
        assert "in close" in lane.records.text

    def test_client_gone_while_iterating(self, build: Backend) -> None:
        gate = threading.Event()
        seen: list[bool] = []

        class Result(Closing):
            def __next__(self) -> bytes:
                if seen:
                    assert gate.wait(TIMEOUT)
                seen.append(True)
                return b"part"

        result = Result([])

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return result

        lane = Lane(build, app)
        lane.feed(GET)
        lane.until(lambda: b"part" in lane.output)
        lane.connection.lost(None)
        gate.set()
        lane.settle()
        assert result.closed == 1
        assert len(seen) == 2
        assert not lane.records.records

    def test_client_gone_while_writing(self, build: Backend) -> None:
        gate = threading.Event()
        raised: list[BaseException] = []
        result = Closing([])

        def app(environ: Any, start: Any) -> Any:
            writer = start("200 OK", [])
            writer(b"first")
            assert gate.wait(TIMEOUT)
            assert environ["gateway.client_disconnected"]()
            try:
                writer(b"second")
            except OSError as error:
                raised.append(error)
                raise

        lane = Lane(build, app)
        lane.feed(GET)
        lane.until(lambda: b"first" in lane.output)
        lane.connection.lost(None)
        gate.set()
        lane.settle()
        assert isinstance(raised[0], ClientDisconnected)
        assert not lane.records.records
        assert result.closed == 0

    def test_half_closed_client_is_reported_and_served(self, build: Backend) -> None:
        gate = threading.Event()
        seen: list[bool] = []

        def app(environ: Any, start: Any) -> list[bytes]:
            seen.append(environ["gateway.client_disconnected"]())
            lane.posted.put(environ)
            assert gate.wait(TIMEOUT)
            seen.append(environ["gateway.client_disconnected"]())
            return wsgi_apps.hello(environ, start)

        lane = Lane(build, app)
        lane.feed(GET)
        lane.posted.get(timeout=TIMEOUT)
        lane.connection.eof()
        lane.connection.tick(START + 1.0)
        gate.set()
        lane.settle()
        assert seen == [False, True]
        assert Response(lane.output).body == b"hello"

    def test_client_gone_before_a_thread_is_free(self, build: Backend) -> None:
        calls: list[int] = []
        lane = Lane(build, lambda environ, start: calls.append(1), held=True)
        lane.feed(GET)
        lane.connection.lost(None)
        lane.start_queued()
        lane.settle()
        assert calls == []


class TestBackpressure:
    def test_thread_waits_for_a_slow_client(self, build: Backend) -> None:
        made: list[int] = []
        part = b"x" * 10000

        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            for number in range(100):
                made.append(number)
                yield part

        lane = Lane(build, app, limits={"response_buffer": 50000})
        lane.transport.room = 0
        lane.feed(GET)
        lane.connection.pause_writing()
        # A thread that sends counts the head, too.
        expected = 5 if lane.direct else 6
        lane.until(lambda: len(made) >= expected)
        lane.idle()
        assert len(made) == expected
        assert len(lane.output) < 60000
        lane.transport.room = None
        lane.connection.resume_writing()
        lane.settle()
        assert Response(lane.output).body == part * 100

    def test_fitting_response_frees_the_thread(self, build: Backend) -> None:
        body = b"x" * 200000

        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [])
            return [body]

        lane = Lane(build, app)
        lane.feed(GET)
        lane.connection.pause_writing()
        lane.settle()
        assert Response(lane.output).body == body

    def test_large_response_does_not(self, build: Backend) -> None:
        body = b"x" * 600000

        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [])
            return [body]

        lane = Lane(build, app)
        lane.transport.connection = lane.connection
        lane.transport.room = 0
        lane.transport.pauses_above = 10_000
        lane.feed(GET)
        # What is in the application's hands anyway need not be cut into pieces; the thread stays with it.
        lane.until(lambda: len(lane.output) > len(body))
        lane.idle()
        assert lane.active == 1
        assert lane.connection.stream is not None
        lane.transport.pauses_above = lane.transport.room = None
        lane.connection.resume_writing()
        lane.settle()
        assert Response(lane.output).body == body

    def test_disconnect_wakes_the_thread(self, build: Backend) -> None:
        result = Closing([b"x" * 100000] * 100)
        paused = threading.Event()

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            assert paused.wait(TIMEOUT)
            return result

        lane = Lane(build, app)
        lane.feed(GET)
        lane.connection.pause_writing()
        paused.set()
        lane.until(lambda: lane.output)
        lane.idle()
        lane.connection.lost(None)
        lane.settle()
        assert result.closed == 1
        assert not lane.records.records

    def test_what_a_thread_is_sending_counts_when_the_client_leaves(self, build: Backend) -> None:
        sending, go_on = threading.Event(), threading.Event()
        logged: list[int] = []

        class Log(build.module("kernels.base").AccessLog):  # type: ignore[misc]
            def log(self, stream: Any, now: float) -> int:
                logged.append(stream.body_sent)
                go_on.set()
                return 0

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return [b"x" * 1000]

        lane = Lane(build, app, service={"access_log": Log()})
        if not lane.direct:
            pytest.skip("the loop sends")
        send_now = lane.transport.send_now

        def slow(data: bytes) -> int:
            sending.set()
            assert go_on.wait(TIMEOUT)
            return send_now(data)  # type: ignore[no-any-return]

        lane.transport.send_now = slow
        lane.feed(GET)
        assert sending.wait(TIMEOUT)
        # The loop waits for the send; whoever logs before that lets it go on, too late.
        timer = threading.Timer(QUIET, go_on.set)
        timer.start()
        lane.connection.lost(None)
        lane.settle()
        timer.join()
        assert logged == [1000]

    def test_end_of_grace_wakes_the_thread(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.echo)
        lane.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        lane.until(lambda: lane.output)
        lane.idle()
        lane.connection.abort_requests()
        lane.settle()
        assert not lane.records.records


class TestContent:
    def test_small_content_is_read_before_a_thread_is_spent(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.echo)
        request = post(b"0123456789")
        for index in range(len(request) - 1):
            lane.feed(request[index : index + 1])
            assert lane.active == 0
        lane.feed(request[-1:])
        assert lane.active == 1
        lane.settle()
        assert Response(lane.output).body == b"0123456789"

    def test_large_content_is_streamed(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.echo)
        request = post(b"x" * 200000)
        lane.feed(request[:70000])
        assert lane.active == 1
        position = 70000
        while position < len(request):
            lane.until(lambda: lane.transport.events[-1:] != ["pause_reading"])
            lane.feed(request[position : position + 16384])
            position += 16384
        lane.settle()
        assert Response(lane.output).body == b"x" * 200000
        assert "pause_reading" in lane.transport.events

    def test_unread_content_pauses_the_client(self, build: Backend) -> None:
        gate = threading.Event()

        def app(environ: Any, start: Any) -> list[bytes]:
            assert gate.wait(TIMEOUT)
            return wsgi_apps.echo(environ, start)

        lane = Lane(build, app, limits={"body_buffer": 1000})
        request = post(b"x" * 5000)
        lane.feed(request[:2000])
        assert lane.transport.events == ["pause_reading"]
        gate.set()
        lane.until(lambda: lane.transport.events[-1] == "resume_reading")
        lane.feed(request[2000:])
        lane.settle()
        assert Response(lane.output).body == b"x" * 5000

    def test_the_loop_is_woken_for_content_only_where_it_receives_none(self, build: Backend) -> None:
        sizes: queue.Queue[int] = queue.Queue()

        def app(environ: Any, start: Any) -> list[bytes]:
            source = environ["wsgi.input"]
            for size in (100, 50, 60):
                sizes.put(len(source.read(size)))
            return wsgi_apps.echo(environ, start)

        lane = Lane(build, app, limits={"body_buffer": 100})
        request = post(b"x" * 500)
        head = len(request) - 500
        lane.feed(request[: head + 100])
        assert sizes.get(timeout=TIMEOUT) == 100
        assert (lane.woken, lane.deferred) == (1, 0)
        assert lane.turn(TIMEOUT)
        lane.feed(request[head + 100 : head + 150])
        assert sizes.get(timeout=TIMEOUT) == 50
        assert (lane.woken, lane.deferred) == (1, 1)
        # What was deferred has woken nobody yet: with the buffer full, this has to.
        lane.feed(request[head + 150 : head + 210])
        assert lane.transport.events[-1] == "pause_reading"
        assert sizes.get(timeout=TIMEOUT) == 60
        assert (lane.woken, lane.deferred) == (2, 1)
        lane.until(lambda: lane.transport.events[-1] == "resume_reading")
        lane.feed(request[head + 210 :])
        lane.settle()
        assert Response(lane.output).body == b"x" * 290

    @pytest.mark.parametrize("step", [1, 7, 100000])
    def test_chunked(self, build: Backend, step: int) -> None:
        lane = Lane(build, wsgi_apps.echo_lines)
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = head + b"4\r\none\n\r\n3\r\ntwo\r\n1\r\n\n\r\n5\r\nthree\r\n0\r\n\r\n"
        for index in range(0, len(request), step):
            lane.feed(request[index : index + step])
        lane.settle()
        assert Response(lane.output).body == b"ONE\nTWO\nTHREE"

    def test_streams_both_ways(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.echo_lines, limits={"body_buffer": 4})
        lane.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            lane.feed(b"6\r\nline%d\n\r\n" % number)
            lane.until(lambda number=number: b"LINE%d\n" % number in lane.output)  # type: ignore[misc]
        lane.feed(b"0\r\n\r\n")
        lane.settle()
        assert Response(lane.output).complete

    def test_continue_on_first_read(self, build: Backend) -> None:
        gate = threading.Event()
        running = threading.Event()

        def app(environ: Any, start: Any) -> list[bytes]:
            running.set()
            assert gate.wait(TIMEOUT)
            return wsgi_apps.echo(environ, start)

        lane = Lane(build, app)
        lane.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert running.wait(TIMEOUT)
        assert lane.output == b""
        gate.set()
        lane.until(lambda: lane.output)
        assert lane.output == b"HTTP/1.1 100 Continue\r\n\r\n"
        lane.feed(b"hello")
        lane.settle()
        assert Response(lane.output).body == b"hello"

    def test_no_continue_without_a_read(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello)
        data = lane.request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert data.startswith(b"HTTP/1.1 200 OK")

    @pytest.mark.parametrize("how", ["lost", "eof"])
    @pytest.mark.parametrize("call", ["read", "readline", "readlines", "list"])
    def test_truncated(self, build: Backend, how: str, call: str) -> None:
        calls: list[str] = []
        raised: list[BaseException] = []

        def app(environ: Any, start: Any) -> list[bytes]:
            source = environ["wsgi.input"]
            calls.append(call)
            try:
                list(source) if call == "list" else getattr(source, call)()
            except OSError as error:
                raised.append(error)
                # And again: the end must never look like the end of the content.
                with pytest.raises(OSError):
                    source.read()
                raise
            start("200 OK", [])
            return [b"complete"]

        lane = Lane(build, app, limits={"body_buffer": 10})
        lane.feed(post(b"x" * 1000)[:-500])
        lane.until(lambda: calls)
        lane.idle()
        if how == "lost":
            lane.connection.lost(None)
        else:
            lane.connection.eof()
        lane.settle()
        assert isinstance(raised[0], ClientDisconnected)
        assert b"complete" not in lane.output
        assert not any(record.exc_info for record in lane.records.records)

    def test_truncated_before_a_thread_was_spent(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.echo)
        lane.feed(post(b"x" * 10)[:-1])
        lane.connection.eof()
        assert lane.active == 0
        assert b"HTTP/1.1 400" in lane.output

    def test_unread(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello)
        lane.request(post(b"x" * 100) + GET)
        assert lane.output.count(b"HTTP/1.1 200 OK") == 2

    def test_reading_on_after_the_response(self, build: Backend) -> None:
        """An application may echo a declared length and only then look for the end of the content."""
        ends: list[bytes] = []

        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [("Content-Length", environ["CONTENT_LENGTH"])])
            source = environ["wsgi.input"]
            while data := source.read(10):
                yield data
            ends.append(source.read(10))

        lane = Lane(build, app, limits={"body_buffer": 10})
        lane.feed(post(b"x" * 100)[:-90])
        for _ in range(9):
            lane.until(lambda: lane.transport.events[-1:] != ["pause_reading"])
            lane.feed(b"x" * 10)
        lane.settle()
        assert Response(lane.output).body == b"x" * 100
        assert ends == [b""]
        assert not lane.records.records


class TestQueue:
    def test_full(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello, full=True)
        response = Response(lane.request())
        assert response.status == 503
        assert response[b"retry-after"] is not None

    def test_log_is_told_but_not_flooded(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello, full=True)
        for _ in range(3):
            lane.request()
        lane.clock.time += 11
        lane.request()
        messages = [record.getMessage() for record in lane.records.records]
        assert [message.rpartition(": ")[2] for message in messages] == [
            "1 answered with 503",
            "3 answered with 503",
        ]

    def test_full_after_content(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello, full=True)
        request = post(b"x" * 10)
        lane.feed(request[:-1])
        lane.feed(request[-1:])
        assert Response(lane.output).status == 503

    def test_timeout(self, build: Backend) -> None:
        calls: list[int] = []
        lane = Lane(build, lambda environ, start: calls.append(1), held=True, queue_timeout=3.0)
        lane.feed(GET)
        lane.connection.tick(START + 2.9)
        assert lane.output == b""
        lane.connection.tick(START + 3.1)
        response = Response(lane.output)
        assert response.status == 503
        assert response[b"retry-after"] is not None
        lane.start_queued()
        lane.settle()
        assert calls == []

    def test_no_timeout_once_it_runs(self, build: Backend) -> None:
        gate = threading.Event()

        def app(environ: Any, start: Any) -> list[bytes]:
            assert gate.wait(TIMEOUT)
            return wsgi_apps.hello(environ, start)

        lane = Lane(build, app, queue_timeout=3.0)
        lane.feed(GET)
        lane.until(lambda: lane.handler is not None)
        # The thread may not have got to run yet: only a running application must be spared.
        gate.set()
        lane.settle()
        lane.connection.tick(START + 100)
        assert Response(lane.output).status == 200


class TestHintsAndTrailers:
    def test_early_hints(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
            start("200 OK", [])
            environ["wsgi.early_hints"]([("Link", "</b.css>; rel=preload")])
            return [b"body"]

        response = Response(Lane(build, app).request())
        assert [hint.status_code for hint in response.hints] == [103, 103]
        assert response.hints[0].headers == [(b"link", b"</a.css>; rel=preload")]
        assert response.body == b"body"

    def test_what_the_thread_leaves_while_the_loop_sends_is_sent_once(self, build: Backend) -> None:
        gate = threading.Event()

        def app(environ: Any, start: Any) -> list[bytes]:
            environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
            assert gate.wait(TIMEOUT)
            start("200 OK", [])
            return [b"body"]

        class Slow:
            """In the middle of sending the hint, which lasts until the thread has left the body."""

            def pause_writing(self) -> None:
                lane.transport.pauses_above = None
                gate.set()
                deadline = time.monotonic() + TIMEOUT
                while lane.woken < 2:
                    assert time.monotonic() < deadline
                    time.sleep(LOOK)

        lane = Lane(build, app)
        lane.transport.connection = Slow()
        lane.transport.room = lane.transport.pauses_above = 0
        lane.feed(GET)
        lane.settle()
        lane.transport.room = None
        response = Response(lane.output)
        assert [hint.status_code for hint in response.hints] == [103]
        assert response.body == b"body"
        assert response[b"content-length"] == b"4"

    def test_early_hints_too_late(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            yield b"body"
            environ["wsgi.early_hints"]([("Link", "</a.css>")])

        response = Response(Lane(build, app).request())
        assert response.hints == []
        assert response.complete

    def test_no_early_hints_in_http_1_0(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            environ["wsgi.early_hints"]([("Link", "</a.css>")])
            start("200 OK", [])
            return [b"body"]

        assert Lane(build, app).request(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")

    @pytest.mark.parametrize("key", ["wsgi.early_hints", "gateway.send_trailers"])
    def test_bad_fields(self, build: Backend, key: str) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            environ[key]([("X-Bad", "secret\r\nX-Forged: 1")])
            return wsgi_apps.hello(environ, start)

        lane = Lane(build, app)
        data = lane.request()
        assert Response(data).status == 500
        assert b"secret" not in data

    def trailing(self, environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"body"
        environ["gateway.send_trailers"]([("X-Sum", "1"), ("Content-Length", "9")])

    def test_trailers(self, build: Backend) -> None:
        request = GET[:-2] + b"TE: trailers\r\nConnection: TE\r\n\r\n"
        response = Response(Lane(build, self.trailing).request(request))
        assert response.body == b"body"
        assert response.trailers == [(b"x-sum", b"1")]

    def test_trailers_of_a_single_part(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [])
            environ["gateway.send_trailers"]([("X-Sum", "1")])
            return [b"body"]

        request = GET[:-2] + b"TE: trailers\r\nConnection: TE\r\n\r\n"
        response = Response(Lane(build, app).request(request))
        assert (response.body, response.trailers) == (b"body", [(b"x-sum", b"1")])

    def test_no_trailers_unless_asked(self, build: Backend) -> None:
        response = Response(Lane(build, self.trailing).request())
        assert (response.complete, response.trailers) == (True, [])

    def test_te_changes_nothing_without_trailers(self, build: Backend) -> None:
        request = GET[:-2] + b"TE: trailers\r\nConnection: TE\r\n\r\n"
        for name in ("hello", "generator", "declared", "empty_list", "no_content"):
            case = wsgi_apps.CASES[name]
            response = Response(Lane(build, case.app).request(request))
            assert (response.status, response.body, response.complete) == (case.status, case.body, True)
            if case.length is not None:
                assert response[b"content-length"] == b"%d" % case.length


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class TestFiles:
    @pytest.fixture
    def file(self) -> Iterator[Any]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"0123456789" * 10)
            file.flush()
            file.seek(0)
            yield file

    def serve(self, file: Any, *fields: tuple[str, str], status: str = "200 OK", size: int = 8192) -> Any:
        def app(environ: Any, start: Any) -> Any:
            start(status, list(fields))
            return environ["wsgi.file_wrapper"](file, size)

        return app

    @pytest.mark.parametrize("mode", ["named", "buffered", "raw", "random"])
    def test_sendfile(self, build: Backend, file: Any, mode: str) -> None:
        if mode == "buffered":
            file = open(file.name, "rb")
        elif mode == "raw":
            file = open(file.name, "rb", buffering=0)
        elif mode == "random":
            file = open(file.name, "r+b")
        file.read(3)
        lane = Lane(build, self.serve(file))
        lane.feed(GET)
        lane.settle()
        assert lane.transport.events == ["send_file 3 97"]
        # The thread is free and the application's file closed, while ours is still to be sent.
        assert file.closed
        before = descriptors()
        lane.send_files()
        assert len(before) - len(descriptors()) == 1
        response = Response(lane.output)
        assert response.body == (b"0123456789" * 10)[3:]
        assert response[b"content-length"] == b"97"

    def test_switched_off(self, build: Backend, file: Any) -> None:
        lane = Lane(build, self.serve(file), sendfile=False)
        response = Response(lane.request())
        assert lane.transport.events == []
        assert response.body == b"0123456789" * 10
        assert response[b"content-length"] == b"100"

    @pytest.mark.parametrize("sendfile", [True, False])
    def test_no_more_than_declared_is_read(self, build: Backend, sendfile: bool) -> None:
        app = self.serve(io.BytesIO(b"0123456789"), ("Content-Length", "7"), size=4)
        lane = Lane(build, app, sendfile=sendfile)
        assert Response(lane.request()).body == b"0123456"
        assert not lane.records.records

    def test_app_s_length(self, build: Backend, file: Any) -> None:
        lane = Lane(build, self.serve(file, ("Content-Length", "7")))
        response = Response(lane.request())
        assert lane.transport.events == ["send_file 0 7"]
        assert response.body == b"0123456"

    def test_shorter_than_promised(self, build: Backend, file: Any) -> None:
        lane = Lane(build, self.serve(file, ("Content-Length", "700")))
        response = Response(lane.request())
        assert (response.status, response.body, response.complete) == (200, b"0123456789" * 10, False)
        assert lane.closed
        assert "shorter" in lane.records.text

    def test_at_the_end(self, build: Backend, file: Any) -> None:
        file.seek(200)
        response = Response(Lane(build, self.serve(file)).request())
        assert (response.body, response.complete, response[b"content-length"]) == (b"", True, b"0")

    def test_after_write(self, build: Backend, file: Any) -> None:
        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [("Content-Length", "8")])(b"head")
            return environ["wsgi.file_wrapper"](file)

        lane = Lane(build, app)
        assert Response(lane.request()).body == b"head0123"
        assert lane.transport.events == ["send_file 0 4"]

    def test_after_write_chunked(self, build: Backend, file: Any) -> None:
        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])(b"head")
            return environ["wsgi.file_wrapper"](file)

        assert Response(Lane(build, app).request()).body == b"head" + b"0123456789" * 10

    def test_head(self, build: Backend, file: Any) -> None:
        before = descriptors()
        request = GET.replace(b"GET", b"HEAD")
        lane = Lane(build, self.serve(file))
        response = Response(lane.request(request), request)
        assert response[b"content-length"] == b"100"
        assert lane.transport.events == []
        assert len(descriptors()) < len(before)  # the application's file was closed, none of ours is open

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_no_content(self, build: Backend, file: Any, status: str) -> None:
        response = Response(Lane(build, self.serve(file, status=status)).request())
        assert (response.complete, response.body, response[b"content-length"]) == (True, b"", None)

    def test_gzip_is_read(self, build: Backend, file: Any) -> None:
        import gzip

        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb") as writer:
            writer.write(b"unpacked")
        with tempfile.NamedTemporaryFile() as raw:
            raw.write(packed.getvalue())
            raw.flush()
            lane = Lane(build, self.serve(gzip.open(raw.name)))
            assert Response(lane.request()).body == b"unpacked"
            assert lane.transport.events == []

    def test_subclass_is_read(self, build: Backend, file: Any) -> None:
        class Upper(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                return bytes(super().read(size) or b"").replace(b"0", b"o")

        response = Response(Lane(build, self.serve(Upper(file.name))).request())
        assert response.body == b"o123456789" * 10

    def test_subclass_that_reads_as_a_file(self, build: Backend, file: Any) -> None:
        closed: list[bool] = []

        class Noted(io.FileIO):
            def close(self) -> None:
                closed.append(True)
                super().close()

        lane = Lane(build, self.serve(Noted(file.name)))
        assert Response(lane.request()).body == b"0123456789" * 10
        assert lane.transport.events == ["send_file 0 100"]
        assert closed

    def test_patched_object_is_read(self, build: Backend, file: Any) -> None:
        opened = open(file.name, "rb")
        parts = [b"patched", b""]
        opened.read = lambda size=-1: parts.pop(0)  # type: ignore[method-assign]
        lane = Lane(build, self.serve(opened))
        assert Response(lane.request()).body.startswith(b"patched")
        assert lane.transport.events == []

    def test_pipe_is_read(self, build: Backend) -> None:
        reading, writing = os.pipe()
        os.write(writing, b"through a pipe")
        os.close(writing)
        response = Response(Lane(build, self.serve(open(reading, "rb"))).request())
        assert response.body == b"through a pipe"

    def test_closed_file(self, build: Backend, file: Any) -> None:
        closed = open(file.name, "rb")
        closed.close()
        assert Response(Lane(build, self.serve(closed)).request()).status == 500

    def test_client_gone(self, build: Backend, file: Any) -> None:
        lane = Lane(build, self.serve(open(file.name, "rb")))
        lane.feed(GET)
        lane.settle()
        before = descriptors()
        lane.connection.lost(None)
        assert len(before) - len(descriptors()) == 1

    def test_sending_fails(self, build: Backend, file: Any) -> None:
        lane = Lane(build, self.serve(open(file.name, "rb")))
        lane.feed(GET)
        lane.settle()
        before = descriptors()
        lane.connection.file_sent(OSError("disk"))
        assert len(before) - len(descriptors()) == 1
        assert lane.closed

    def test_wrapped_is_iterated(self, build: Backend, file: Any) -> None:
        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            wrapper = environ["wsgi.file_wrapper"](file, 30)
            return (part for part in wrapper)

        lane = Lane(build, app)
        assert Response(lane.request()).body == b"0123456789" * 10
        assert lane.transport.events == []


class TestEnviron:
    def seen(self, build: Backend, request: bytes = GET, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def app(environ: Any, start: Any) -> list[bytes]:
            found.update(environ)
            assert type(environ) is dict
            return wsgi_apps.hello(environ, start)

        lane = Lane(build, app, **options)
        assert Response(lane.request(request), request).status == 200
        return found

    def test_values(self, build: Backend) -> None:
        environ = self.seen(
            build,
            b"GET /a%20b/%C3%A9%2F?q=1%20 HTTP/1.1\r\nHost: example.org:81\r\nCookie: a=1\r\nCookie: b=2\r\n"
            b"X-Two: 1\r\nX-Two: 2\r\nX_Under: 1\r\nContent-Type: text/plain\r\nX-Latin: \xe9\r\n\r\n",
            server_software="gateway/1.2",
        )
        expected = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b/\xc3\xa9/",
            "QUERY_STRING": "q=1%20",
            "RAW_URI": "/a%20b/%C3%A9%2F?q=1%20",
            "REQUEST_URI": "/a%20b/%C3%A9%2F?q=1%20",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "192.0.2.2",
            "SERVER_PORT": "8080",
            "REMOTE_ADDR": "192.0.2.1",
            "REMOTE_PORT": "40000",
            "SERVER_SOFTWARE": "gateway/1.2",
            "CONTENT_TYPE": "text/plain",
            "HTTP_HOST": "example.org:81",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_X_TWO": "1,2",
            "HTTP_X_LATIN": "\xe9",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }
        assert {key: environ.get(key) for key in expected} == expected
        assert "HTTP_X_UNDER" not in environ
        assert {key for key in os.environ if key in environ} <= {"SERVER_SOFTWARE"}
        assert all(type(value) is str for key, value in environ.items() if key.isupper())

    def test_flags(self, build: Backend) -> None:
        environ = self.seen(build, multithread=False, multiprocess=True)
        assert environ["wsgi.multithread"] is False
        assert environ["wsgi.multiprocess"] is True

    @pytest.mark.parametrize(
        ("host", "scheme", "expected"),
        [
            (b"example.org", "http", ("example.org", "80")),
            (b"example.org", "https", ("example.org", "443")),
            (b"example.org:", "http", ("example.org", "80")),
            (b"example.org:81", "https", ("example.org", "81")),
            (b"[::1]", "http", ("[::1]", "80")),
            (b"[::1]:81", "http", ("[::1]", "81")),
        ],
    )
    def test_unix_socket(self, build: Backend, host: bytes, scheme: str, expected: tuple[str, str]) -> None:
        request = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        environ = self.seen(build, request, client=None, server=None, scheme=scheme)
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == expected
        assert environ["REMOTE_ADDR"] == ""
        assert "REMOTE_PORT" not in environ
        assert environ["wsgi.url_scheme"] == scheme

    def test_unix_socket_without_host(self, build: Backend) -> None:
        environ = self.seen(build, b"GET / HTTP/1.0\r\n\r\n", client=None, server=None)
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")

    @pytest.mark.parametrize(
        ("root", "path", "expected"),
        [
            ("/app", b"/app/view", ("/app", "/view")),
            ("/app", b"/app", ("/app", "")),
            ("/app", b"/app/", ("/app", "/")),
            ("/app/", b"/app/view", ("/app", "/view")),
            ("/app", b"/view", ("/app", "/view")),
            ("/app", b"/application", ("/app", "/application")),
            ("/", b"/view", ("", "/view")),
            ("/caf\xe9", b"/caf%C3%A9/view", ("/caf\xc3\xa9", "/view")),
        ],
    )
    def test_root_path(self, build: Backend, root: str, path: bytes, expected: tuple[str, str]) -> None:
        request = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        environ = self.seen(build, request, service={"root_path": root})
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected

    def test_access_log_gets_the_environ(self, build: Backend) -> None:
        paths: list[str | None] = []

        class Log(build.module("kernels.base").AccessLog):  # type: ignore[misc]
            def log(self, stream: Any, now: float) -> int:
                paths.append(stream.environ and stream.environ["PATH_INFO"])
                return 0

        log = Log()
        log.keeps_environ = True
        self.seen(build, service={"access_log": log})
        # One that does not ask for it, does not get it: the environ may hold much.
        log.keeps_environ = False
        self.seen(build, service={"access_log": log})
        assert paths == ["/path", None]

    def test_errors(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            print("a", "line", file=environ["wsgi.errors"])
            environ["wsgi.errors"].write("without end")
            return wsgi_apps.hello(environ, start)

        lane = Lane(build, app)
        lane.request()
        assert [record.getMessage() for record in lane.records.records] == ["a line", "without end"]


class TestValidator:
    """`wsgiref.validate` watches both sides for breaches of PEP 3333."""

    @pytest.mark.parametrize("name", ["hello", "several", "generator", "empty_list", "write", "replaced"])
    @pytest.mark.parametrize("method", [b"GET", b"HEAD"])
    def test_responses(self, build: Backend, name: str, method: bytes) -> None:
        case = wsgi_apps.CASES[name]

        def app(environ: Any, start: Any) -> Any:
            return case.app(environ, start)

        lane = Lane(build, validator(app))
        request = GET.replace(b"GET", method)
        response = Response(lane.request(request), request)
        if name == "replaced":  # has no Content-Type in its first head, which the validator insists on
            return
        assert lane.records.text == ""
        assert response.status == case.status

    def test_content(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            source = environ["wsgi.input"]
            parts = [source.read(2), source.readline(), source.readline(3), *source.readlines(), source.read(5)]
            start("200 OK", [("Content-Type", "text/plain")])
            environ["wsgi.errors"].write("to the log\n")
            environ["wsgi.errors"].flush()
            return [b"|".join(parts)]

        lane = Lane(build, validator(app))
        response = Response(lane.request(post(b"ab\nlonger\nlast\nend")))
        assert lane.records.text == "to the log"
        assert response.body == b"ab|\n|lon|ger\n|last\n|end|"

    @pytest.mark.parametrize("options", [{}, {"client": None, "server": None}, {"service": {"root_path": "/path"}}])
    def test_environ(self, build: Backend, options: dict[str, Any]) -> None:
        lane = Lane(build, validator(wsgi_apps.hello), **options)
        assert Response(lane.request()).status == 200
        assert lane.records.text == ""


def partial(chunks: list[bytes]) -> Any:
    def app(environ: Any, start: Any) -> Iterator[bytes]:
        start("200 OK", [])
        yield from chunks

    return app


@pytest.mark.parametrize("way", ["direct"], indirect=True)
class TestSendingFromThreads:
    """What a thread sends past the loop, and what it leaves to the loop."""

    def test_a_response_leaves_before_the_loop_hears_of_it(self, build: Backend) -> None:
        lane = Lane(build, wsgi_apps.hello)
        lane.feed(GET)
        task = lane.posted.get(timeout=TIMEOUT)
        assert Response(lane.output).body
        assert lane.connection.stream is not None
        assert lane.deferred == 1
        task.step()
        assert lane.connection.stream is None
        lane.settle()

    @pytest.mark.parametrize("crowded", [False, True])
    def test_what_took_long_is_left_to_the_loop_while_others_wait(self, build: Backend, crowded: bool) -> None:
        def app(environ: Any, start: Any) -> Any:
            time.sleep(0.001)
            return wsgi_apps.hello(environ, start)

        lane = Lane(build, app)
        lane.crowded = crowded
        lane.feed(GET)
        task = lane.posted.get(timeout=TIMEOUT)
        assert bool(lane.output) is not crowded
        assert (lane.woken, lane.deferred) == (int(crowded), int(not crowded))
        task.step()
        assert Response(lane.output).body
        assert lane.connection.stream is None

    @pytest.mark.parametrize("room", [0, 1, 50, 150, 20_000])
    def test_what_the_client_does_not_take_goes_to_the_loop(self, build: Backend, room: int) -> None:
        chunks = [bytes([97 + number]) * 5000 for number in range(8)]
        lane = Lane(build, partial(chunks))
        lane.transport.room = room
        lane.feed(GET)
        lane.settle()
        lane.transport.room = None
        assert Response(lane.output).body == b"".join(chunks)

    @pytest.mark.parametrize("room", [None, 0, 1, 50, 150, 40_000, 600_000])
    @pytest.mark.parametrize("size", [32_769, 65_537, 600_000])
    @pytest.mark.parametrize("framing", ["length", "chunked", "head"])
    def test_large_content_takes_the_same_way(self, build: Backend, room: int | None, size: int, framing: str) -> None:
        parts = [b"a" * size, b"b" * size, b"c"]
        length = [("Content-Length", str(2 * size + 1))] if framing != "chunked" else []

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", length)
            return iter(parts)

        lane = Lane(build, app)
        lane.transport.room = room
        request = GET.replace(b"GET", b"HEAD") if framing == "head" else GET
        lane.feed(request)
        lane.settle()
        lane.transport.room = None
        response = Response(lane.output, request)
        assert response.body == (b"" if framing == "head" else b"".join(parts))
        if room is None and framing != "head":
            # What there is to be told of can wait until the loop comes by.
            assert (lane.woken, lane.deferred) == (0, 1)

    def test_parts_keep_their_order_when_a_slow_client_catches_up(self, build: Backend) -> None:
        chunks = [b"%05d" % number * 100 for number in range(200)]
        lane = Lane(build, partial(chunks))
        lane.transport.room = 700
        lane.feed(GET)
        while lane.active or not lane.posted.empty():
            assert lane.turn(TIMEOUT)
            lane.transport.room += 3000
        lane.transport.room = None
        assert Response(lane.output).body == b"".join(chunks)

    def test_nothing_is_sent_once_the_client_is_gone(self, build: Backend) -> None:
        go = threading.Event()

        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [])
            go.wait(TIMEOUT)
            return [b"late"]

        lane = Lane(build, app)
        lane.feed(GET)
        lane.connection.lost(None)
        go.set()
        lane.settle()
        assert lane.output == b""
        assert not lane.records.records

    def test_nothing_is_sent_behind_an_error_of_ours(self, build: Backend) -> None:
        go = threading.Event()

        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [])
            go.wait(TIMEOUT)
            return [b"late"]

        lane = Lane(build, app)
        lane.feed(GET)
        lane.connection.stream.fail(504)
        go.set()
        lane.settle()
        assert lane.output.startswith(b"HTTP/1.1 504 ")
        assert lane.output.count(b"HTTP/1.1") == 1
        assert not lane.records.records

    def test_the_end_is_urgent_when_the_loop_has_to_act(self, build: Backend) -> None:
        for request in (GET + GET, GET[:-2] + b"Connection: close\r\n\r\n"):
            lane = Lane(build, wsgi_apps.hello)
            lane.feed(request)
            lane.until(lambda lane=lane: lane.output)
            lane.settle()
            assert lane.deferred < lane.output.count(b"HTTP/1.1")

    def test_content_that_is_too_short_is_noticed(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            start("200 OK", [("Content-Length", "10")])
            return [b"short"]

        lane = Lane(build, app)
        lane.feed(GET)
        lane.settle()
        assert lane.closed
        assert "Content-Length" in lane.records.text


class InlineLane(Lane):
    """The same with `--threads 0`: the test's thread is the loop's, and the only one."""

    def __init__(self, build: Backend, app: Any, **options: Any) -> None:
        super().__init__(build, app, **options)
        handler = build.module("wsgi.task").WSGIHandler(
            app,
            build.module("wsgi.executor").InlineExecutor(self.log),
            errors=build.module("wsgi.errors").ErrorStream(self.log.error),
            multithread=False,
            inline=True,
        )
        self.service.handler = self.handler = handler


@pytest.mark.parametrize("way", ["posted"], indirect=True)
class TestInline:
    def test_the_response_is_there_at_once(self, build: Backend) -> None:
        lane = InlineLane(build, wsgi_apps.hello)
        lane.feed(GET + GET)
        assert lane.output.count(b"HTTP/1.1 200 OK") == 2

    def test_wsgi_multithread_is_false(self, build: Backend) -> None:
        seen: list[Any] = []

        def app(environ: Any, start: Any) -> list[bytes]:
            seen.append((environ["wsgi.multithread"], threading.current_thread()))
            start("200 OK", [])
            return [b"x"]

        InlineLane(build, app).feed(GET)
        assert seen == [(False, threading.current_thread())]

    def test_the_application_starts_when_the_content_is_complete(self, build: Backend) -> None:
        body = bytes(range(256)) * 2000
        lane = InlineLane(build, wsgi_apps.echo)
        request = post(body)
        for start in range(0, len(request), 50_000):
            assert lane.output == b""
            lane.feed(request[start : start + 50_000])
        assert Response(lane.output).body == body

    def test_a_client_that_waits_for_100_gets_it(self, build: Backend) -> None:
        lane = InlineLane(build, wsgi_apps.echo)
        lane.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert lane.output == b"HTTP/1.1 100 Continue\r\n\r\n"
        lane.feed(b"12345")
        assert Response(lane.output).body == b"12345"

    def test_a_full_disk_is_an_error_of_ours(self, build: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*arguments: Any, **options: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
        lane = InlineLane(build, wsgi_apps.echo)
        lane.feed(post(b"x" * 100_000)[:-1])
        assert lane.output.startswith(b"HTTP/1.1 500 ")
        assert "No space left" in lane.records.text

    def test_a_slow_client_leaves_the_iterable_half_read(self, build: Backend) -> None:
        made: list[int] = []

        class Parts:
            closed = 0

            def __iter__(self) -> Iterator[bytes]:
                for number in range(50):
                    made.append(number)
                    yield b"%03d" % number * 1000

            def close(self) -> None:
                Parts.closed += 1

        def app(environ: Any, start: Any) -> Any:
            start("200 OK", [])
            return Parts()

        lane = InlineLane(build, app)
        lane.transport.connection = lane.connection
        lane.transport.room = 0
        lane.transport.pauses_above = 10_000
        lane.feed(GET)
        assert 2 < len(made) < 10
        assert Parts.closed == 0
        lane.transport.pauses_above = lane.transport.room = None
        lane.connection.resume_writing()
        assert Parts.closed == 1
        assert Response(lane.output).body == b"".join(b"%03d" % number * 1000 for number in range(50))

    def test_an_iterable_that_was_left_is_closed_when_the_client_goes(self, build: Backend) -> None:
        closed: list[bool] = []

        def app(environ: Any, start: Any) -> Iterator[bytes]:
            start("200 OK", [])
            try:
                while True:
                    yield b"x" * 1000
            finally:
                closed.append(True)

        lane = InlineLane(build, app)
        lane.transport.connection = lane.connection
        lane.transport.room = 0
        lane.transport.pauses_above = 10_000
        lane.feed(GET)
        assert not closed
        lane.connection.lost(None)
        assert closed == [True]
        assert not lane.records.records

    def test_errors(self, build: Backend) -> None:
        def app(environ: Any, start: Any) -> list[bytes]:
            raise ValueError("inline")

        lane = InlineLane(build, app)
        lane.feed(GET)
        assert lane.output.startswith(b"HTTP/1.1 500 ")
        assert "ValueError: inline" in lane.records.text
