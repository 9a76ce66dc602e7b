"""HTTP1Connection over a fake transport and a virtual clock, in both builds."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import pytest

from tests.fakes import Wire, recording_logger, run

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def start(status: int = 200, *headers: tuple[bytes, bytes], **extra: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **extra}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(scope["path"].encode()))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    data = b""
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        data += event["body"]
        more = event["more_body"]
    await send(start())
    await send(body(data))


class Held:
    """An application that waits until it is let go, and counts its runs."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.runs = 0
        self.events: list[Any] = []
        self.errors: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        try:
            await self.go.wait()
            await send(start())
            await send(body(b"held"))
        except BaseException as error:
            self.errors.append(error)
            raise


class Reader:
    """An application that reads one event per permission."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(0)
        self.received: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            await self.permits.acquire()
            event = await receive()
            self.received.append(event)
            if not event.get("more_body"):
                break
        if event["type"] == "http.request":
            await send(start())
            await send(body(b"read"))


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


def test_answers_in_one_write_with_date_and_server(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello)
        await wire.feed(GET)
        assert wire.take() == (
            b"HTTP/1.1 200 OK\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nServer: gateway\r\nContent-Length: 1\r\n\r\n/"
        )
        assert wire.events == []

    run(main)


def test_pipelined_requests_are_answered_in_order(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello)
        await wire.feed(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5)))
        await wire.turns(12)
        parts = wire.take().split(b"\r\n\r\n")
        assert [part[:2] for part in parts[1:]] == [b"/0", b"/1", b"/2", b"/3", b"/4"]

    run(main)


def test_a_later_request_waits_for_the_earlier_response(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app)
        await wire.feed(GET + GET)
        assert app.runs == 1 and wire.take() == b""
        app.go.set()
        await wire.turns(8)
        assert app.runs == 2 and statuses(wire.take()) == [200, 200]

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="without eager tasks every request waits for a turn anyway")
def test_a_burst_of_pipelined_requests_leaves_turns_to_others(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"pipeline_burst": 2})
        wire.connection.feed(GET * 5)
        assert len(statuses(wire.take())) == 2
        await wire.turns(1)
        assert len(statuses(wire.take())) == 2
        await wire.turns(1)
        assert len(statuses(wire.take())) == 1

    run(main)


def test_a_client_that_reads_nothing_gets_no_further_responses_made(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"pipeline_buffer": 50})
        wire.connection.pause_writing()
        await wire.feed(GET * 3)
        assert wire.take() == b"" and wire.events == ["pause_reading"]
        await wire.advance(8)
        wire.connection.resume_writing()
        await wire.turns()
        assert len(statuses(wire.take())) == 3
        assert wire.events == ["pause_reading", "resume_reading"]

    run(main)


def test_pipelined_input_is_bounded(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app, limits={"pipeline_buffer": 50})
        await wire.feed(GET)
        await wire.feed(GET)
        assert wire.events == []
        await wire.feed(GET)
        assert wire.events == ["pause_reading"]
        app.go.set()
        await wire.turns(12)
        assert wire.events == ["pause_reading", "resume_reading"]
        assert len(statuses(wire.take())) == 3

    run(main)


def test_error_is_final(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello)
        await wire.feed(b"GET / HTTP/1.1\r\n\r\n" + GET)
        assert statuses(wire.take()) == [400]
        assert wire.events == ["shutdown_write"]
        await wire.feed(GET)
        assert wire.take() == b""
        await wire.eof()
        assert wire.events == ["shutdown_write", "close"]

    run(main)


def test_lingering_is_bounded_in_bytes(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"linger": 100})
        await wire.feed(b"nonsense\r\n\r\n")
        await wire.feed(b"x" * 100)
        assert wire.events == ["shutdown_write"]
        await wire.feed(b"x")
        assert wire.events == ["shutdown_write", "abort"]

    run(main)


def test_lingering_is_bounded_in_time_once_the_output_is_out(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"linger": 2.0, "write": 60.0})
        wire.transport.room = 10
        await wire.feed(b"nonsense\r\n\r\n")
        await wire.advance(3)
        assert wire.events == ["shutdown_write"]
        wire.transport.room = None
        await wire.advance(3)
        assert wire.events == ["shutdown_write", "abort"]

    run(main)


@pytest.mark.parametrize(("received", "expected"), [(b"", []), (b"GET / HT", [408])])
def test_head_timeout(build: Any, received: bytes, expected: list[int]) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"head": 10.0})
        if received:
            await wire.feed(received)
        await wire.advance(9.5)
        assert wire.events == []
        await wire.advance(1)
        assert statuses(wire.take()) == expected
        assert wire.events == ["shutdown_write"]

    run(main)


def test_head_timeout_is_not_extended_by_dripping(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"head": 10.0})
        for byte in b"GET / HTTP/1.1\r\nHost":
            await wire.feed(bytes([byte]))
            await wire.advance(1)
            if wire.events:
                break
        assert statuses(wire.take()) == [408]

    run(main)


def test_keep_alive_timeout(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"keep_alive": 5.0})
        await wire.feed(GET)
        await wire.advance(4.5)
        assert wire.events == []
        wire.take()
        await wire.advance(1)
        assert wire.events == ["shutdown_write"] and wire.take() == b""

    run(main)


def test_without_keep_alive_each_response_closes(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"keep_alive": 0.0})
        await wire.feed(GET + GET)
        output = wire.take()
        assert output.count(b"Connection: close\r\n") == 1 and statuses(output) == [200]

    run(main)


def test_body_stall(build: Any) -> None:
    async def main() -> None:
        log, messages = recording_logger()
        wire = Wire(build, echo, timeouts={"body": 5.0}, limits={"upload_rate": 0}, log=log)
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        await wire.advance(4)
        await wire.feed(b"d")
        await wire.advance(4)
        assert wire.events == []
        await wire.advance(2)
        assert statuses(wire.take()) == [408]
        assert wire.events == ["shutdown_write"]
        assert any("stalled" in message for message in messages)

    run(main)


def test_upload_rate(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, echo, limits={"upload_rate": 100}, timeouts={"upload_grace": 5.0, "body": 30.0})
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(4):
            await wire.feed(b"x" * 10)
            await wire.advance(1)
        assert wire.events == []
        for _ in range(3):
            await wire.feed(b"x" * 10)
            await wire.advance(1)
        assert statuses(wire.take()) == [408]

    run(main)


def test_a_slow_application_is_not_the_clients_fault(build: Any) -> None:
    async def main() -> None:
        app = Reader()
        wire = Wire(build, app, limits={"body_buffer": 10}, timeouts={"body": 2.0, "upload_grace": 1.0})
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" + b"x" * 12)
        assert wire.events == ["pause_reading"]
        await wire.advance(60)
        assert wire.take() == b""
        app.permits.release()
        await wire.turns()
        assert wire.events == ["pause_reading", "resume_reading"]
        await wire.feed(b"y" * 8)
        app.permits.release()
        await wire.turns()
        assert statuses(wire.take()) == [200]
        assert [event["body"] for event in app.received] == [b"x" * 12, b"y" * 8]

    run(main)


def test_write_stall(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"write": 5.0, "keep_alive": 100.0})
        wire.transport.room = 10
        await wire.feed(GET)
        await wire.advance(4)
        wire.transport.room = 20
        await wire.advance(5)
        assert wire.events == []
        await wire.advance(2)
        assert wire.events == ["abort"]

    run(main)


def test_expect_continue_is_answered_when_the_application_reads(build: Any) -> None:
    async def main() -> None:
        app = Reader()
        wire = Wire(build, app)
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert wire.take() == b""
        app.permits.release()
        await wire.turns()
        assert wire.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.feed(b"abc")
        assert statuses(wire.take()) == [200]
        assert app.received[0]["body"] == b"abc"

    run(main)


def test_expect_continue_is_not_answered_after_the_final_head(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"no", True))
        await send(body(b"body", False))
        await receive()

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        output = wire.take()
        assert statuses(output) == [200]
        # Whether the client now sends its content can't be known: RFC 9110 10.1.1.
        assert wire.events == ["shutdown_write"]

    run(main)


def test_expect_is_ignored_in_http_1_0(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, echo)
        await wire.feed(b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert wire.take() == b""
        await wire.feed(b"abc")
        assert statuses(wire.take()) == [200]

    run(main)


def test_unread_content_is_drained_to_keep_the_connection(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"unread_body": 100})
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
        assert b"Connection: close" not in wire.take()
        await wire.feed(b"x" * 50 + GET)
        assert statuses(wire.take()) == [200] and wire.events == []

    run(main)


def test_too_much_unread_content_closes(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"unread_body": 100})
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n")
        assert b"Connection: close" in wire.take()
        assert wire.events == ["shutdown_write"]

    run(main)


def test_unread_chunked_content_is_bounded(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"unread_body": 100})
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.feed(b"64\r\n" + b"x" * 100 + b"\r\n")
        assert wire.events == []
        await wire.feed(b"1\r\nx\r\n")
        assert wire.events == ["shutdown_write"]

    run(main)


def test_half_closed_client_gets_its_response(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app)
        await wire.feed(GET)
        await wire.eof()
        await wire.advance(3)
        assert wire.events == []
        app.go.set()
        await wire.turns()
        assert statuses(wire.take()) == [200]
        assert wire.events == ["close"]

    run(main)


def test_disconnect_is_told_after_the_end_of_input(build: Any) -> None:
    async def main() -> None:
        app = Reader()
        wire = Wire(build, app, timeouts={"half_close": 0.5})
        await wire.feed(GET)
        app.permits.release()
        await wire.turns()
        app.permits.release()
        await wire.turns()
        assert [event["type"] for event in app.received] == ["http.request"]

    run(main)


class Events:
    """An application with an event stream that goes on until it is told to end; `late` begins it only then."""

    def __init__(self, media: bytes = b"text/event-stream; charset=utf-8", late: bool = False) -> None:
        self.media = media
        self.late = asyncio.Event()
        if not late:
            self.late.set()
        self.told = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await self.late.wait()
        await send(start(200, (b"content-type", self.media)))
        await send(body(b"data: 1\n\n", more=True))
        assert (await receive())["type"] == "http.disconnect"
        self.told = True
        await send(body(b"data: bye\n\n", more=True))


@pytest.mark.parametrize("late", [False, True])
def test_event_stream_is_told_to_end_when_the_server_leaves(build: Any, late: bool) -> None:
    async def main() -> None:
        app = Events(late=late)
        log, lines = recording_logger()
        wire = Wire(build, app, log=log)
        await wire.feed(GET)
        await wire.advance(3)
        assert not app.told
        wire.connection.shutdown()
        if late:
            app.late.set()
            await wire.turns()
            await wire.advance(0.5)
        await wire.turns()
        assert app.told
        # It says farewell, and its end is the response's.
        assert wire.take().endswith(b"data: bye\n\n\r\n0\r\n\r\n")
        assert "shutdown_write" in wire.events or "close" in wire.events
        assert lines == []

    run(main)


def test_other_streams_are_not_told_when_the_server_leaves(build: Any) -> None:
    async def main() -> None:
        app = Events(media=b"text/html")
        wire = Wire(build, app)
        await wire.feed(GET)
        wire.connection.shutdown()
        await wire.advance(3)
        assert not app.told
        assert wire.events == []

    run(main)


def test_truncated_upload_reaches_the_application_as_a_disconnect(build: Any) -> None:
    async def main() -> None:
        app = Reader()
        wire = Wire(build, app)
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        app.permits.release()
        await wire.turns()
        await wire.eof()
        app.permits.release()
        await wire.turns()
        assert [event["type"] for event in app.received] == ["http.request", "http.disconnect"]
        assert statuses(wire.take()) == [400]
        assert wire.events == ["close"]

    run(main)


def test_send_raises_oserror_when_the_client_is_gone(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app)
        await wire.feed(GET)
        await wire.lose(ConnectionResetError())
        app.go.set()
        await wire.turns()
        assert len(app.errors) == 1 and isinstance(app.errors[0], OSError)
        assert (wire.service.connections, wire.service.requests) == (0, 0)

    run(main)


def test_too_many_connections(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"connections": 1})
        wire.open()
        output = wire.take()
        assert statuses(output) == [503] and b"Retry-After: 1\r\n" in output
        assert wire.events == ["shutdown_write"]

    run(main)


def test_too_many_requests(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app, limits={"concurrency": 1})
        await wire.feed(GET)
        wire.open()
        await wire.feed(GET)
        output = wire.take()
        assert statuses(output) == [503] and b"Retry-After: 1\r\n" in output
        assert app.runs == 1 and wire.events == []

    run(main)


def test_requests_per_connection(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits={"connection_requests": 2})
        await wire.feed(GET)
        assert b"Connection" not in wire.take()
        await wire.feed(GET)
        assert b"Connection: close\r\n" in wire.take()
        assert wire.events == ["shutdown_write"]

    run(main)


def test_graceful_shutdown(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app)
        wire.connection.shutdown()
        assert wire.events == ["close"]
        await wire.lose()
        wire.open()
        await wire.feed(GET)
        wire.service.draining = True
        wire.connection.shutdown()
        assert wire.events == []
        app.go.set()
        await wire.turns()
        assert b"Connection: close\r\n" in wire.take()
        assert wire.events == ["shutdown_write"]

    run(main)


def test_a_request_has_its_time(build: Any) -> None:
    async def main() -> None:
        app, overdue = Held(), []
        wire = Wire(build, app, timeouts={"request": 2.0, "keep_alive": 0.0})
        wire.service.overdue = lambda stream: overdue.append((stream.head.raw_path, stream.head_sent, wire.take()))
        await wire.feed(GET)
        await wire.advance(1.75)
        assert app.errors == overdue == []
        await wire.advance(0.75)
        # Told before anything is done about it.
        assert overdue == [(b"/", False, b"")]
        assert statuses(wire.take()) == [504]
        assert isinstance(app.errors[0], asyncio.CancelledError)
        assert wire.service.requests == 0
        await wire.advance(9.0)
        assert len(overdue) == 1

    run(main)


@pytest.mark.parametrize("complaint", [None, RuntimeError("on purpose")])
def test_a_response_that_has_begun_is_broken_off(build: Any, complaint: Exception | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"begun", True))
        await asyncio.sleep(60)

    def overdue(stream: Any) -> None:
        if complaint is not None:
            raise complaint

    async def main() -> None:
        wire = Wire(build, app, timeouts={"request": 1.0})
        wire.service.overdue = overdue
        await wire.feed(GET)
        await wire.advance(2.0)
        assert not wire.take().endswith(b"0\r\n\r\n")
        assert wire.events == ["shutdown_write"]
        assert wire.service.requests == 0

    run(main)


def test_what_may_go_on(build: Any, tmp_path: Any) -> None:
    """A stream of events, a file that a client takes slowly, and what follows on the same connection."""
    path = tmp_path / "file"
    path.write_bytes(b"content")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/file":
            await send(start(200, (b"content-length", b"7")))
            await send({"type": "http.response.pathsend", "path": str(path)})
            return
        await send(start(200, (b"Content-Type", b"Text/Event-Stream; charset=utf-8")))
        await send(body(b"data: x\n\n", True))
        while (await receive())["type"] != "http.disconnect":
            pass

    async def main() -> None:
        for target in (b"/file", b"/events"):
            wire = Wire(build, app, timeouts={"request": 1.0, "write": 0.0})
            await wire.feed(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            await wire.advance(5.0)
            assert wire.events in ([], ["send_file 0 7"])
            assert wire.service.requests == 1
            await wire.lose()

    run(main)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stream_of_events_ends_with_the_server(build: Any, when: str) -> None:
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start(200, (b"content-type", b"text/event-stream")))
        await send(body(b"data: x\n\n", True))
        messages.append(await receive())

    async def main() -> None:
        log, lines = recording_logger()
        wire = Wire(build, app, log=log)
        if when == "before":
            await wire.feed(GET[:-2])
            wire.connection.shutdown()
            await wire.feed(GET[-2:])
            await wire.advance(0.5)
        else:
            await wire.feed(GET)
            wire.connection.shutdown()
            await wire.turns()
        assert messages == [{"type": "http.disconnect"}]
        assert wire.take().endswith(b"9\r\ndata: x\n\n\r\n0\r\n\r\n")
        assert wire.events == ["shutdown_write"]
        assert lines == []

    run(main)


def test_other_streams_go_on_when_the_server_stops(build: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start(200, (b"content-type", b"text/plain")))
        await send(body(b"begun", True))
        assert (await receive())["type"] == "http.disconnect"

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET)
        wire.connection.shutdown()
        await wire.advance(5.0)
        assert wire.service.requests == 1
        await wire.lose()

    run(main)


def test_grace_over(build: Any) -> None:
    async def main() -> None:
        app = Held()
        wire = Wire(build, app)
        await wire.feed(GET)
        wire.connection.abort_requests()
        await wire.turns()
        assert wire.events == ["abort"]
        assert isinstance(app.errors[0], asyncio.CancelledError)
        assert wire.service.requests == 0

    run(main)


@pytest.mark.parametrize("expectation", [b"content too large", b"chunked"])
def test_content_limit(build: Any, expectation: bytes) -> None:
    async def main() -> None:
        wire = Wire(build, echo, limits={"request_body": 4})
        if expectation == b"chunked":
            await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            assert wire.take() == b""
            await wire.feed(b"2\r\nde\r\n")
        else:
            await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert statuses(wire.take()) == [413]
        assert wire.events == ["shutdown_write"]

    run(main)


def test_chunk_overhead_is_bounded(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, echo, limits={"chunk_excess": 2000})
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            await wire.feed(b"1;" + b"a" * 100 + b"\r\nx\r\n")
        assert statuses(wire.take()) == [400]

    run(main)


def test_file_is_sent_by_the_transport(build: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(path)})

    async def main() -> None:
        wire = Wire(build, app)
        await wire.feed(GET + GET)
        assert wire.events == ["send_file 0 1000"]
        assert wire.take().endswith(b"Content-Length: 1000\r\n\r\n")
        wire.connection.file_sent(None)
        await wire.turns(8)
        assert wire.events == ["send_file 0 1000"] * 2

    run(main)


def test_a_stalled_file_is_given_up(build: Any, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(path)})

    async def main() -> None:
        wire = Wire(build, app, timeouts={"write": 5.0})
        await wire.feed(GET)
        for progress in range(1, 5):
            wire.transport.progress = progress * 10
            await wire.advance(4)
        assert wire.events == ["send_file 0 1000"]
        await wire.advance(6)
        assert wire.events == ["send_file 0 1000", "abort"]

    run(main)


def test_tls_closes_without_half_close(build: Any) -> None:
    async def main() -> None:
        wire = Wire(build, hello)
        wire.transport.half_close = False
        await wire.feed(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
        assert wire.events == ["shutdown_write", "close"]

    run(main)


CLOSING = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "limits", "events"),
    [
        (CLOSING, {}, ["close"]),
        (b"GET / HTTP/1.0\r\n\r\n", {}, ["close"]),
        # The server's decision, of which the client does not know yet.
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", {"connection_requests": 1}, ["shutdown_write"]),
        # Clients that do send more: against the rule, after some content, while it goes on.
        (CLOSING + b"\r\n", {}, ["shutdown_write"]),
        (b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", {}, ["shutdown_write"]),
        (b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nx", {}, ["shutdown_write"]),
    ],
)
def test_closes_in_stages_unless_the_client_has_sent_all(
    build: Any, data: bytes, limits: dict[str, int], events: list[str]
) -> None:
    async def main() -> None:
        wire = Wire(build, hello, limits=limits)
        await wire.feed(data)
        assert wire.events == events

    run(main)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n"]
)
def test_tls_lets_a_client_that_still_sends_read_the_answer(build: Any, data: bytes) -> None:
    async def main() -> None:
        wire = Wire(build, hello, timeouts={"linger": 5.0})
        wire.transport.half_close = False
        await wire.feed(data)
        assert b"Connection: close\r\n" in wire.take()
        await wire.feed(b"x" * 1000)
        assert wire.events == ["shutdown_write"]
        await wire.eof()
        assert wire.events == ["shutdown_write", "close"]

    run(main)


def test_bytewise_input_gives_the_same_output(build: Any) -> None:
    data = (
        b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"
        b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n"
        b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwxyz"
        b"GET /d HTTP/1.0\r\n\r\n"
    )

    async def main() -> None:
        whole = Wire(build, echo)
        await whole.feed(data)
        expected = whole.take()
        assert statuses(expected) == [200] * 4
        pieces = Wire(build, echo)
        await pieces.feed_bytewise(data)
        assert pieces.take() == expected
        for split in range(1, len(data)):
            two = Wire(build, echo)
            await two.feed(data[:split])
            await two.feed(data[split:])
            assert two.take() == expected, split

    run(main)


def test_dripping_a_head_does_not_cost_more_than_reading_it(build: Any) -> None:
    """A large head in small pieces is parsed when a line ends, not for every piece."""

    async def main() -> None:
        wire = Wire(build, hello)
        head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(
            b"X-%d: %b\r\n" % (n, random.Random(n).randbytes(300).hex().encode()) for n in range(90)
        )
        await wire.feed_bytewise(head + b"\r\n")
        assert statuses(wire.take()) == [200]

    run(main, timeout=10.0)


def test_field_objects_are_let_go_when_the_connection_is_idle(build: Any) -> None:
    """Equal lines of consecutive requests are the same objects, until the connection waits for a while."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        wire = Wire(build, app)
        request = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: %d\r\n\r\n"
        for number in (1, 1, 1, 2):
            await wire.feed(request % number)
        await wire.advance(1.0)
        await wire.feed(request % 2)
        other = Wire(build, app)
        for _ in range(2):
            await other.feed(request % 2)

    run(main)
    assert [fields[1][1] for fields in seen] == [b"1", b"1", b"1", b"2", b"2", b"2", b"2"]
    if build.name == "_speedups":
        assert seen[1][1] is seen[2][1]
        assert seen[2][0] is seen[3][0]
        assert seen[3][0] is not seen[4][0]
        assert seen[5][0] is not seen[4][0]
