"""What becomes of a worker that stands still, and of a request that does not end: from outside, with real processes.

Nothing here relies on how long something takes: applications stand still until they are let go, by a byte in a pipe
that has a name.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import Client, Incomplete, Program, Server, request

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo") or not hasattr(os, "fork"), reason="needs fork and named pipes"),
    pytest.mark.timeout(180),
]

TIME = 60.0
"""Seconds that anything may take on a machine that is busy with other things."""

COMMON = """\
import asyncio, ctypes, os, time

def say(text):
    os.write(2, text.encode() + b"\\n")

def gate():
    return os.open(os.environ["GATE"], os.O_RDWR)

def stand():
    os.read(gate(), 1)

def hold():
    say("holding")
    # Unlike anything of Python's own, with the GIL.
    ctypes.PyDLL(None).read(gate(), ctypes.create_string_buffer(1), 1)
"""

ASGI = """
async def opened():
    loop, file, ready = asyncio.get_running_loop(), gate(), asyncio.Event()
    loop.add_reader(file, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    start = {"type": "http.response.start", "status": 200}
    if path == "/block":
        stand()
    elif path == "/hold":
        hold()
    elif path == "/wait":
        say("ran " + path)
        try:
            await opened()
        except asyncio.CancelledError:
            say("cancelled")
            raise
    elif path == "/stubborn":
        while True:
            try:
                await opened()
                break
            except asyncio.CancelledError:
                pass
    elif path in ("/stream", "/events"):
        kind = b"text/event-stream" if path == "/events" else b"text/plain"
        await send(start | {"headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b"data: first\\n\\n", "more_body": True})
        await receive()
        left = asyncio.ensure_future(receive())
        await asyncio.wait([left, asyncio.ensure_future(opened())], return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            say("heard " + left.result()["type"])
            return
        await send({"type": "http.response.body", "body": b"data: last\\n\\n"})
        return
    body = b"%d" % os.getpid()
    await send(start | {"headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""

WSGI = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    say("ran " + path)
    body = b"%d" % os.getpid()
    if path == "/stream":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"first")
        stand()
        try:
            write(b"last")
        except OSError as error:
            say("raised " + type(error).__name__)
            raise
        return []
    if path.startswith("/stand"):
        stand()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Lets so many that stand still go on."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    file = os.open(path, os.O_RDWR)
    yield lambda count: os.write(file, b"x" * count) and None
    os.close(file)


def start(folder: Path, source: str, *options: str, **more: Any) -> Server:
    (folder / "served.py").write_text(COMMON + source)
    env = {"PYTHONDONTWRITEBYTECODE": "1", "GATE": str(folder / "gate")} | more.pop("env", {})
    return Server("served:app", *options, app_dir=folder, env=env, **more)


def ask(server: Server, target: str) -> Client:
    client = server.connect(TIME)
    client.send(request("GET", target))
    return client


def begun(client: Client) -> None:
    """Wait for the first part of a stream."""
    while b"first" not in client.buffer:
        assert client.fill(), "closed"


def answer(server: Server, target: str = "/") -> bytes:
    with ask(server, target) as client:
        return client.response().body


def booted(server: Server) -> list[int]:
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", server.log)]


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + TIME
    while not (result := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return result


# A worker that stands still


def test_a_blocked_loop_is_shown_and_goes_on(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--timeout=120") as server, ask(server, "/block?secret=1") as client:
        line = server.wait_for_line(
            r"Event loop blocked for (\d+\.\d) s \(pid:(\d+)\) by GET /block of 127\.0\.0\.1:", TIME
        )
        assert float(line[1]) >= 0.5
        server.wait_for_line('served.py", line [0-9]+, in stand', TIME)
        assert "secret" not in server.log
        # Not how the process got there.
        assert "runners.py" not in server.log
        server.wait_for_line(r"Worker \(pid:\d+\): event loop blocked by application code for \d", TIME)
        gate(1)
        assert client.response().body == line[2].encode()
        server.wait_for_line("The event loop turns again after", TIME)
        server.wait_for_line(r"Worker \(pid:\d+\) goes on after \d", TIME)
        assert len(re.findall("Event loop blocked for .* by GET /block", server.log)) == 1
        assert len(booted(server)) == 1
        assert server.terminate(TIME) == 0


def test_a_blocked_loop_can_be_left_alone(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--timeout=120", "--blocked-loop-time=0") as server, ask(server, "/block") as client:
        server.wait_for_line(r"Worker \(pid:\d+\): event loop blocked by application code for \d", TIME)
        gate(1)
        assert client.response().status == 200
        assert "Event loop blocked" not in server.log


def test_without_a_supervisor_it_is_shown_too(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--no-supervisor") as server:
        with ask(server, "/block") as client:
            server.wait_for_line("Event loop blocked for .* by GET /block of", TIME)
            gate(1)
            assert client.response().status == 200
        with ask(server, "/hold") as client:
            server.wait_for_line("holding", TIME)
            # For as long as is worth a line.
            time.sleep(3.0)
            gate(1)
            assert client.response().status == 200
        server.wait_for_line(r"No Python code got a turn for \d", TIME)


def test_a_held_gil_is_shown_and_goes_on(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--timeout=120") as server, ask(server, "/hold") as client:
        if "backend compiled" in server.log:
            server.wait_for_line(r"Worker \(pid:\d+\): GIL held by application code for \d", TIME)
        else:
            assert "Pure Python build: a worker whose application holds the GIL can't be told from" in server.log
            server.wait_for_line(r"GIL held by application code, or process dead or stopped for \d", TIME)
        server.wait_for_line('served.py", line [0-9]+ in hold', TIME)
        gate(1)
        assert client.response().body == b"%d" % server.worker_pid
        server.wait_for_line(r"No Python code got a turn for \d.*At work now: ", TIME)
        server.wait_for_line(r"Worker \(pid:\d+\) goes on after \d", TIME)
        assert len(booted(server)) == 1
        # The stack is that of somebody who was let go.
        assert "Event loop blocked" not in server.log
        assert server.terminate(TIME) == 0


def test_a_held_gil_has_an_end_too(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--timeout=4", "--workers=2") as server, ask(server, "/hold"):
        line = server.wait_for_line(
            r"Worker \(pid:(\d+)\) timeout: its event loop has not turned for .*: GIL held", TIME
        )
        until(lambda: len(booted(server)) >= 3)
        until(lambda: answer(server) != line[1].encode())
        assert "in hold" in server.log
        assert server.terminate(TIME) == 0


def test_a_stopped_worker_is_replaced(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--timeout=4", "--workers=2") as server:
        server.wait_for_lines("Application startup complete", 2, TIME)
        stopped = booted(server)[0]
        os.kill(stopped, signal.SIGSTOP)
        dead = "process dead or stopped"
        server.wait_for_line(rf"Worker \(pid:{stopped}\): .*{dead} for \d", TIME)
        server.wait_for_line(rf"Worker \(pid:{stopped}\) timeout: its event loop has not turned for .*{dead}", TIME)
        server.wait_for_lines("Application startup complete", 3, TIME)
        assert {answer(server) for _ in range(4)} <= {b"%d" % pid for pid in booted(server)[1:]}
        assert server.terminate(TIME) == 0


# A request that does not end


def test_a_coroutine_is_cancelled(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--request-timeout=1") as server, ask(server, "/wait?secret=1") as client:
        response = client.response()
        assert response.status == 504
        assert response.body == b"Gateway Timeout"
        server.wait_for_line("cancelled", TIME)
        line = server.wait_for_line(
            r"Request timeout: GET /wait of 127\.0\.0\.1:\d+ \((\d+\.\d) s\).*answered with 504", TIME
        )
        assert float(line[1]) >= 1.0
        assert 'served.py", line' in server.log and "in opened" in server.log
        assert "secret" not in server.log
        # The connection is as good as before.
        client.send(request("GET", "/"))
        assert client.response().status == 200
        # Nor was it an error of the application.
        assert "Exception in ASGI" not in server.log and "was cancelled, or raised" not in server.log


def test_a_response_that_has_begun_is_broken_off(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--request-timeout=1") as server, ask(server, "/stream") as client:
        with pytest.raises(Incomplete):
            client.response()
        server.wait_for_line("Request timeout: GET /stream of .*had begun, so the connection is closed", TIME)


def test_a_stream_of_events_may_go_on(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--request-timeout=1") as server, ask(server, "/events") as client:
        for _ in range(2):
            with ask(server, "/wait") as other:
                assert other.response().status == 504
        gate(1)
        assert client.response().body.endswith(b"last\n\n")


def test_who_ignores_that_it_was_cancelled_is_told_of(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--request-timeout=1") as server, ask(server, "/stubborn") as client:
        assert client.response().status == 504
        server.wait_for_line(r"GET /stubborn of .* was cancelled \d+\.\d s ago and still runs", TIME)
        gate(1)
        assert answer(server)


def test_a_stuck_thread_is_replaced(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, WSGI, "--request-timeout=1", "--threads=4") as server:
        with ask(server, "/stream") as client:
            assert answer(server)
            with pytest.raises(Incomplete):
                client.response()
        server.wait_for_line("Request timeout: GET /stream of .*had begun, so the connection is closed", TIME)
        server.wait_for_line(
            r"Thread gateway-thread-\d is lost: GET /stream \(\d+\.\d s\) was taken back.*; 1 are lost", TIME
        )
        assert 'served.py", line' in server.log and "in stand" in server.log
        gate(1)
        server.wait_for_line("raised ClientDisconnected", TIME)
        server.wait_for_line("A thread that was lost has come back, and ended; 0 are lost", TIME)
        assert answer(server)
        assert len(booted(server)) == 1
        assert server.terminate(TIME) == 0


def test_a_worker_with_too_many_lost_threads_is_replaced(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, WSGI, "--request-timeout=1", "--threads=3") as server:
        for number in range(2):
            with ask(server, f"/stand{number}") as client:
                assert client.response().status == 504
                # A thread more, a thread less: there is always one.
                assert answer(server)
        line = server.wait_for_line(
            r"Replacing worker \(pid:(\d+)\): 2 threads are lost to requests that do not end", TIME
        )
        assert int(line[1]) == booted(server)[0]
        until(lambda: answer(server) == b"%d" % booted(server)[-1] and len(booted(server)) == 2)
        server.wait_for_line("2 lost threads still run application code", TIME)
        assert server.terminate(TIME) == 0


def test_without_a_supervisor_there_is_a_line(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, WSGI, "--request-timeout=1", "--threads=1", "--no-supervisor") as server:
        with ask(server, "/stand") as client:
            assert client.response().status == 504
        server.wait_for_line("1 threads are lost to requests .* No supervisor replaces this process", TIME)
        assert answer(server)


def test_waiting_for_a_thread_counts(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, WSGI, "--request-timeout=2", "--threads=1") as server, ask(server, "/stand") as first:
        server.wait_for_line("ran /stand", TIME)
        with ask(server, "/queued") as second:
            assert first.response().status == 504
            if second.response().status == 504:
                server.wait_for_line("GET /queued of .*, waiting for a thread; answered with 504", TIME)
                assert "ran /queued" not in server.log


def test_threads_are_needed(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, WSGI, "--request-timeout=1", "--threads=0") as server:
        server.wait_for_line("--request-timeout has no effect on a WSGI application with --threads 0", TIME)


@pytest.mark.parametrize(
    ("options", "mounts", "found"),
    [
        (["--request-timeout=1"], {"/own": 5, "/none": 0, "/": None}, "request_timeout of /own, --request-timeout"),
        (["--request-timeout=1"], {"/own": 5, "/none": 0}, "request_timeout of /own"),
        ([], {"/own": 5, "/as-it-is": None}, "request_timeout of /own"),
        (["--request-timeout=1"], {"/none": 0}, None),
    ],
)
def test_threads_are_needed_by_mounts(
    tmp_path: Path, options: list[str], mounts: dict[str, int | None], found: str | None
) -> None:
    lines = []
    for path, limit in mounts.items():
        lines += ["[[mount]]", f'path = "{path}"', 'app = "watched:app"']
        lines += [] if limit is None else [f"request_timeout = {limit}"]
    (tmp_path / "gateway.toml").write_text("\n".join(["threads = 0", *lines]))
    (tmp_path / "watched.py").write_text(COMMON + WSGI)
    command = ("--no-supervisor", "--bind=127.0.0.1:0", "--app-dir", str(tmp_path), *options)
    program = Program([sys.executable, "-m", "gateway", *command], tmp_path)
    program.wait_for("Listening at")
    assert program.end() == 0
    told = re.findall(r"WARNING\] (.*) has no effect on a WSGI application", program.log)
    assert told == ([] if found is None else [found])


# Stopping


def test_streams_of_events_end_when_the_stop_begins(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--graceful-timeout=100") as server, ask(server, "/events") as client:
        begun(client)
        server.signal(signal.SIGTERM)
        response = client.response()
        assert response.body == b"data: first\n\n"
        server.wait_for_line("heard http.disconnect", TIME)
        assert server.wait(TIME) == 0
        assert "without completing" not in server.log


def test_other_streams_go_on_until_the_grace_period_ends(tmp_path: Path, gate: Callable[[int], None]) -> None:
    with start(tmp_path, ASGI, "--graceful-timeout=100") as server, ask(server, "/stream") as client:
        begun(client)
        server.signal(signal.SIGTERM)
        server.wait_for_line("Shutting down", TIME)
        gate(1)
        assert client.response().body.endswith(b"last\n\n")
        assert server.wait(TIME) == 0


@pytest.mark.parametrize(("source", "path"), [(ASGI, "/stubborn"), (WSGI, "/stand")])
def test_what_nobody_waits_for_is_shown_too(
    tmp_path: Path, gate: Callable[[int], None], source: str, path: str
) -> None:
    with start(tmp_path, source, "--graceful-timeout=0.5", "--request-timeout=1") as server:
        with ask(server, path) as client:
            assert client.response().status == 504
        server.signal(signal.SIGTERM)
        server.wait(TIME)
        # A thread that counts as lost by then has been shown before, and is no longer one of the pool's.
        cut_off = rf"Cut off: GET {path}, whose client has gone or has its response\. What it does:"
        lost = rf"is lost: GET {path} .* What it does:"
        assert re.search(f"{cut_off}|{lost}", server.log)


@pytest.mark.parametrize(("source", "path", "where"), [(ASGI, "/wait", "opened"), (WSGI, "/stand", "stand")])
def test_what_does_not_end_is_shown(
    tmp_path: Path, gate: Callable[[int], None], source: str, path: str, where: str
) -> None:
    with start(tmp_path, source, "--graceful-timeout=0.5") as server, ask(server, path + "?secret=1"):
        server.wait_for_line(f"^ran {path}$", TIME)
        server.signal(signal.SIGTERM)
        assert server.wait(TIME) == 0
        assert re.search(rf"Cut off: GET {path} of 127\.0\.0\.1:\d+ \(\d+\.\d s\)\. What it does:", server.log)
        assert f"in {where}" in server.log
        assert "secret" not in server.log
