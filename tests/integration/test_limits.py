"""Every limit and every timeout, each with a small value.

Timeouts are checked from both sides: not much too late, and never while the peer keeps its part. The server looks at its
deadlines a few times per second, so "not much" is generous (`LATE`).
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PROBES
from .harness import WAIT, Client, Incomplete, Response, Server, chunked, request

HELLO = request("GET", "/hello")
CHUNKED = "Transfer-Encoding: chunked"

LATE = 8.0
"""Seconds that a deadline may be late: less than it takes where the option is not given."""

LATE_OF_FIVE = 4.0
"""The same where that is 5 s."""

SHORT = 0.6
"""Seconds of the timeouts below that are to pass."""

LONG = 6.0
"""Seconds of those that are not, as the peer keeps its part; on a busy machine it may be late itself."""


def unique() -> str:
    return uuid.uuid4().hex


# Sizes and counts


@pytest.fixture(scope="module", params=sorted(PROBES))
def small(request: pytest.FixtureRequest) -> Iterator[Server]:
    options = [
        "--limit-request-line=100",
        "--limit-request-fields=5",
        "--limit-request-field-size=60",
        "--limit-request-fields-size=200",
        "--limit-request-body=1000",
        "--limit-empty-lines=3",
        "--limit-chunk-line=20",
    ]
    with Server(PROBES[request.param], *options) as server:
        yield server


def refused(server: Server, message: bytes, status: int) -> Response:
    with server.connect() as client:
        client.send(message + HELLO)
        response = client.response()
        assert response.status == status, response
        assert "close" in response.connection
        client.expect_end()
        return response


def accepted(server: Server, message: bytes) -> Response:
    with server.connect() as client:
        client.send(message + HELLO)
        response = client.response()
        assert response.status == 200, response
        assert client.response().body == b"hello"
        return response


def line_of(size: int) -> bytes:
    """A request whose line has `size` bytes without its CRLF."""
    around = len("GET / HTTP/1.1")
    return request("GET", "/" + "x" * (size - around), host="h")


def test_request_line(small: Server) -> None:
    """RFC 9110 15.5.15."""
    accepted(small, line_of(100))
    refused(small, line_of(101), 414)
    refused(small, line_of(5000), 414)


def test_request_fields(small: Server) -> None:
    """RFC 6585 5."""
    accepted(small, request("GET", "/x", "A: 1", "B: 2", "C: 3", "D: 4", host="h"))
    refused(small, request("GET", "/x", "A: 1", "B: 2", "C: 3", "D: 4", "E: 5", host="h"), 431)


def test_request_field_size(small: Server) -> None:
    accepted(small, request("GET", "/x", "A: " + "x" * 57, host="h"))
    refused(small, request("GET", "/x", "A: " + "x" * 58, host="h"), 431)
    refused(small, request("GET", "/x", "A" * 58 + ": x", host="h"), 431)


def test_request_fields_size(small: Server) -> None:
    """The sum counts too."""
    accepted(small, request("GET", "/x", "A: " + "x" * 55, "B: " + "x" * 55, host="h"))
    refused(small, request("GET", "/x", *[f"{name}: {'x' * 55}" for name in "ABCD"], host="h"), 431)


def test_empty_lines(small: Server) -> None:
    accepted(small, b"\r\n" * 3 + request("GET", "/x", host="h"))
    refused(small, b"\r\n" * 4 + request("GET", "/x", host="h"), 400)


def test_body_by_content_length(small: Server) -> None:
    """RFC 9110 15.5.14: before anything of it is read, and without the application."""
    assert accepted(small, request("POST", "/echo", host="h", body=b"x" * 1000)).body == b"x" * 1000
    refused(small, request("POST", "/too-large", "Content-Length: 1001", host="h"), 413)
    refused(small, request("POST", "/too-large", host="h", body=b"x" * 1001), 413)
    assert small.facts("/count?path=/too-large") == 0


def test_body_announced_with_an_expectation(small: Server) -> None:
    """What a client asks for first: it never sends the content."""
    response = refused(small, request("POST", "/echo", "Expect: 100-continue", "Content-Length: 1001", host="h"), 413)
    assert not response.informational


def test_chunked_body(small: Server) -> None:
    """Its size is known only when it has come."""
    message = request("POST", "/echo", CHUNKED, host="h", body=chunked(b"x" * 600, b"x" * 400))
    assert accepted(small, message).body == b"x" * 1000
    refused(small, request("POST", "/echo", CHUNKED, host="h", body=chunked(b"x" * 600, b"x" * 401)), 413)
    refused(small, request("POST", "/echo", CHUNKED, host="h", body=b"fffffff\r\n" + b"x" * 2000), 413)


def test_chunk_line(small: Server) -> None:
    accepted(small, request("POST", "/echo", CHUNKED, host="h", body=b"1;a=" + b"x" * 16 + b"\r\nx\r\n0\r\n\r\n"))
    body = b"1;a=" + b"x" * 17 + b"\r\nx\r\n0\r\n\r\n"
    with small.connect() as client:
        client.send(request("POST", "/echo", CHUNKED, host="h", body=body) + HELLO)
        assert client.response().status in (400, 413, 431)
        client.expect_end()


def test_trailer_limits(small: Server) -> None:
    """The same as for fields."""
    good = chunked(b"x", trailers=b"A: 1\r\nB: 2\r\n")
    accepted(small, request("POST", "/echo", CHUNKED, host="h", body=good))
    for trailers in (b"".join(b"%c: 1\r\n" % (65 + i) for i in range(6)), b"A: " + b"x" * 58 + b"\r\n"):
        with small.connect() as client:
            client.send(request("POST", "/echo", CHUNKED, host="h", body=chunked(b"x", trailers=trailers)) + HELLO)
            assert client.response().status in (400, 431)
            client.expect_end()


def test_no_body_limit_by_default(probe: Server) -> None:
    body = b"x" * 5_000_000
    assert probe.exchange(request("POST", "/size", body=body)).json()["size"] == len(body)


def test_limits_can_be_switched_off() -> None:
    options = [
        "--limit-request-line=0",
        "--limit-request-fields=0",
        "--limit-request-field-size=0",
        "--limit-request-fields-size=0",
    ]
    with Server(PROBES["asgi"], *options) as server:
        fields = [f"X-{i}: {'y' * 500}" for i in range(300)]
        message = request("GET", "/" + "x" * 20000, *fields, "X-Large: " + "z" * 50000)
        assert accepted(server, message).status == 200


@pytest.mark.parametrize("interface", sorted(PROBES))
def test_requests_per_connection(interface: str) -> None:
    with Server(PROBES[interface], "--limit-connection-requests=3") as server, server.connect() as client:
        client.send(HELLO * 4)
        for last in (False, False, True):
            response = client.response()
            assert response.body == b"hello"
            assert ("close" in response.connection) == last
        client.expect_end()


def test_requests_per_connection_off() -> None:
    with Server(PROBES["asgi"], "--limit-connection-requests=0") as server, server.connect() as client:
        for _ in range(30):
            client.send(HELLO * 50)
            for _ in range(50):
                assert "close" not in client.response().connection


# Load


def unavailable(response: Response) -> None:
    """RFC 9110 15.6.4 and 10.2.3."""
    assert response.status == 503, response
    assert re.fullmatch("[0-9]+", response.get("retry-after") or ""), response


def until_served(server: Server) -> None:
    """A place becomes free when the server notices that another client left, which takes it a moment."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if server.get("/hello").status == 200:
            return
    raise AssertionError("no place became free")


def test_connections() -> None:
    with Server(PROBES["asgi"], "--limit-connections=3") as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in held:
            client.send(HELLO)
            assert client.response().body == b"hello"
        with server.connect() as client:
            client.send(HELLO)
            unavailable(client.response())
            client.expect_end()
        held[0].close()
        until_served(server)
        held[1].send(HELLO)
        assert held[1].response().body == b"hello"


@pytest.mark.parametrize("interface", sorted(PROBES))
def test_concurrency(interface: str, tmp_path: Path) -> None:
    opener = tmp_path / "opener"
    with Server(PROBES[interface], "--limit-concurrency=2") as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(5)]
        for client in idle:
            client.send(HELLO)
            assert client.response().body == b"hello", "idle connections are no load"
        busy = [stack.enter_context(server.connect()) for _ in range(2)]
        for client in busy:
            client.send(request("GET", f"/file-wait?path={opener}"))
        server.wait_for_lines("@event .*waiting", 2)
        for _ in range(3):
            unavailable(server.get("/hello"))
        idle[0].send(HELLO)
        unavailable(idle[0].response())
        opener.touch()
        for client in busy:
            assert client.response().body == b"opened"
        until_served(server)


def test_thread_queue(tmp_path: Path) -> None:
    """One thread, one place in the queue: the third gets 503 at once, the second when it waited too long."""
    opener = tmp_path / "opener"
    queue_time = 5.0
    options = ["--threads=1", "--limit-thread-queue=1", f"--timeout-thread-queue={queue_time}"]
    with Server(PROBES["wsgi"], *options) as server, contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(server.connect()) for _ in range(3))
        first.send(request("GET", f"/file-wait?path={opener}"))
        server.wait_event("waiting", name=str(opener))
        start = time.monotonic()
        second.send(HELLO)
        second.expect_silence(0.05)
        third.send(HELLO)
        unavailable(third.response())
        assert time.monotonic() - start < queue_time
        unavailable(second.response())
        assert queue_time * 0.8 < time.monotonic() - start < queue_time + LATE
        opener.touch()
        assert first.response().body == b"opened"
        assert server.alive()


# Timeouts


@pytest.fixture(scope="module", params=sorted(PROBES))
def hasty(request: pytest.FixtureRequest) -> Iterator[Server]:
    options = [
        f"--timeout-head={SHORT}",
        f"--timeout-body={SHORT}",
        f"--timeout-write={SHORT}",
        f"--keep-alive={SHORT}",
        f"--timeout-linger={SHORT}",
        "--limit-upload-rate=1000",
        f"--timeout-upload-grace={SHORT}",
    ]
    with Server(PROBES[request.param], *options) as server:
        yield server


@pytest.fixture(scope="module", params=sorted(PROBES))
def patient(request: pytest.FixtureRequest) -> Iterator[Server]:
    options = [
        f"--timeout-body={LONG}",
        f"--timeout-write={LONG}",
        f"--keep-alive={LONG}",
        "--limit-upload-rate=1000",
        f"--timeout-upload-grace={LONG}",
    ]
    with Server(PROBES[request.param], *options) as server:
        yield server


@contextlib.contextmanager
def takes(least: float, most: float = SHORT + LATE) -> Iterator[None]:
    """The block takes that long, in seconds."""
    start = time.monotonic()
    yield
    spent = time.monotonic() - start
    # The server's clock ticks coarsely, four times per second: so much it may be early.
    assert least - 0.3 <= spent <= most, spent


def test_silent_connection(hasty: Server) -> None:
    """Connects and says nothing."""
    with hasty.connect() as client, takes(SHORT):
        data = client.rest()
        assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data


@pytest.mark.parametrize(
    "start", [b"G", b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n"]
)
def test_unfinished_head(hasty: Server, start: bytes) -> None:
    """RFC 9110 15.5.9."""
    with hasty.connect() as client, takes(SHORT):
        client.send(start)
        data = client.rest()
        assert data.startswith(b"HTTP/1.1 408 ") or (start == b"\r\n" and not data), data


def test_dripping_head(hasty: Server) -> None:
    """A byte now and then doesn't extend the time."""
    with hasty.connect() as client, takes(SHORT):
        client.send(b"GET / HTTP/1.1\r\nX: ")
        client.socket.settimeout(0.05)
        end = time.monotonic() + SHORT + LATE
        data = b"nothing"
        while time.monotonic() < end:
            try:
                client.send(b"x")
                data = client.socket.recv(1000)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                # Who is late to read, by more than the server lingers, finds the connection gone and no answer.
                return
        assert data.startswith(b"HTTP/1.1 408 "), data


def test_idle_keep_alive(hasty: Server) -> None:
    """Nobody asked for anything: no status, just the end (RFC 9112 9.5)."""
    with hasty.connect() as client:
        client.send(HELLO)
        assert client.response().body == b"hello"
        with takes(SHORT, SHORT + LATE_OF_FIVE):
            client.expect_end()


def test_keep_alive_is_measured_from_the_last_response(patient: Server) -> None:
    with patient.connect() as client:
        for _ in range(4):
            client.send(HELLO)
            assert client.response().body == b"hello"
            client.expect_silence(LONG * 0.27)
        client.send(HELLO)
        assert client.response().body == b"hello"


def test_half_a_second_request(hasty: Server) -> None:
    with hasty.connect() as client:
        client.send(HELLO + b"GET /x HT")
        assert client.response().body == b"hello"
        with takes(SHORT):
            assert client.rest().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("framing", ["Content-Length: 100", CHUNKED])
def test_stalled_body(hasty: Server, framing: str) -> None:
    with hasty.connect() as client, takes(SHORT):
        client.send(request("POST", "/echo", framing) + (b"5\r\nhello\r\n" if framing == CHUNKED else b"hello"))
        data = client.rest()
        assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data


def test_slow_application_is_not_a_stalled_client(hasty: Server) -> None:
    """None of these timeouts is about the application."""
    name = unique()
    with hasty.connect() as client:
        client.send(request("POST", f"/size?name={name}", body=b"x" * 30000))
        hasty.wait_event("waiting", name=name)
        client.expect_silence(SHORT * 3)
        hasty.get(f"/gate/open?name={name}")
        assert client.response().json()["size"] == 30000


def test_application_that_does_not_read_is_not_a_stalled_client(patient: Server) -> None:
    """The client can't send: the server's buffer is full, because the application does not read."""
    name = unique()
    body = b"x" * 65536
    with patient.connect(send_buffer=65536) as client:
        client.send(request("POST", f"/size?name={name}", f"Content-Length: {len(body) * 400}"))
        sent = client.send_until_stuck(body, len(body) * 400, patience=LONG * 1.2)
        assert sent < len(body) * 400
        patient.wait_event("waiting", name=name)
        patient.get(f"/gate/open?name={name}")
        left = len(body) * 400 - sent
        client.send(b"x" * left)
        assert client.response().json()["size"] == len(body) * 400


def test_minimum_upload_rate(hasty: Server) -> None:
    """Bytes keep coming, so the body never stalls, but far too slowly."""
    with hasty.connect() as client, takes(SHORT, SHORT * 2 + LATE_OF_FIVE):
        client.send(request("POST", "/size", "Content-Length: 100000"))
        client.socket.settimeout(0.05)
        end = time.monotonic() + 20
        data = b"nothing"
        while time.monotonic() < end:
            try:
                client.send(b"x")
                data = client.socket.recv(1000)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                data = b""
                break
        assert data == b"" or data.startswith(b"HTTP/1.1 408 "), data


def test_fast_enough_upload(patient: Server) -> None:
    with patient.connect() as client:
        client.send(request("POST", "/size", "Content-Length: 20000"))
        for _ in range(9):
            client.send(b"x" * 2000)
            client.expect_silence(LONG / 8)
        client.send(b"x" * 2000)
        assert client.response().json()["size"] == 20000


def test_stalled_reader(hasty: Server) -> None:
    """The client doesn't take the response: connection and application are released."""
    size = 64 * 1024 * 1024 + len(hasty.lines)
    with hasty.connect(receive_buffer=16384) as client:
        client.send(request("GET", f"/big?size={size}"))
        hasty.wait_event("blocked", size=size)
        hasty.wait_event("stopped", timeout=SHORT * 2 + LATE)
        with contextlib.suppress(ConnectionResetError, Incomplete):
            assert len(client.rest()) < size
    assert hasty.alive()


def test_slow_reader_is_not_stalled(patient: Server) -> None:
    """Whoever takes a little now and then is served to the end."""
    size = 3_000_000
    with patient.connect(receive_buffer=65536) as client:
        client.send(request("GET", f"/big?size={size}&length=1", "Connection: close"))
        response = client.response_head()
        assert response.get("content-length") == str(size)
        got = 0
        for _ in range(8):
            got += len(client.take(20000))
            pause(client, LONG / 7)
        assert got + len(client.rest()) == size


def pause(client: Client, seconds: float) -> None:
    """Let time pass without reading: what a slow client does."""
    client.socket.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        # Wait for more bytes than will come into a window that is full: MSG_PEEK takes none of them.
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            client.socket.recv(1 << 30, socket.MSG_PEEK | socket.MSG_WAITALL)
    client.socket.settimeout(client.timeout)


def test_lingering_is_bounded(hasty: Server) -> None:
    """After a refusal, the client sends on and never closes: the server doesn't wait for it longer than it said."""
    with hasty.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nbad line\r\n\r\n")
        assert client.response().status == 400
        client.expect_end()
        start = time.monotonic()
        client.socket.settimeout(0.05)
        try:
            while time.monotonic() - start < SHORT + LATE_OF_FIVE:
                client.send(b"x")
                hold(0.05)
        except (BrokenPipeError, ConnectionResetError):
            return
        raise AssertionError("the connection is still open")


def hold(seconds: float) -> None:
    """Pace a sending loop; nothing is waited for."""
    first, second = socket.socketpair()
    with first, second:
        first.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            first.recv(1)


# Descriptors


def test_out_of_descriptors() -> None:
    """EMFILE in accept: no spinning, one line in the log, and service when descriptors are free again."""
    wrapper = ["sh", "-c", 'ulimit -n 48; exec "$@"', "sh"]
    with Server(PROBES["asgi"], wrapper=wrapper) as server:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(80)]
            served = 0
            for client in clients:
                client.send(HELLO)
            for client in clients:
                client.socket.settimeout(3 if served > 5 else WAIT)
                try:
                    assert client.response().body == b"hello"
                    served += 1
                except TimeoutError:
                    break
            assert 5 < served < 48
            waiting = clients[served]
            before = server.cpu_time()
            waiting.expect_silence(1.0)
            assert server.cpu_time() - before < 0.5, "the server spins"
        end = time.monotonic() + WAIT
        while True:
            try:
                with server.connect(timeout=1.0) as client:
                    client.send(HELLO)
                    assert client.response().body == b"hello"
                    break
            except (TimeoutError, Incomplete, ConnectionResetError):
                assert time.monotonic() < end, "service did not resume"
        assert 1 <= len(re.findall("(?i)descriptor|EMFILE|too many open files", server.log)) <= 4, server.log
