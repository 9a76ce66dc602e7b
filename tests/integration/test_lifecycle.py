"""From start to stop of the real process: what it refuses to start with, signals, draining, and that it always ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .conftest import PROBES
from .harness import WAIT, Client, Server, environment, request, run_gateway

HELLO = request("GET", "/hello")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(params=sorted(PROBES))
def target(request: pytest.FixtureRequest) -> str:
    return PROBES[request.param]


@pytest.fixture
def opened(tmp_path: Path) -> tuple[Path, bytes]:
    """A file that does not exist, and a request that is answered once it does."""
    path = tmp_path / "gate"
    return path, request("GET", f"/file-wait?path={path}")


def running(server: Server, stack: ExitStack, message: bytes) -> Client:
    """A connection whose request the application is working on."""
    client = stack.enter_context(server.connect())
    client.send(message)
    server.wait_event("waiting")
    return client


def refused(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def until(condition: Callable[[], bool], timeout: float = WAIT) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


MOMENT = 0.7
"""Seconds a connection surely counts as in use: a second by a clock that ticks four times per second."""


def in_a_moment(begin: float) -> None:
    """What was sent since `begin` came while the connection was in use, or there is nothing to be seen here."""
    if time.monotonic() - begin > MOMENT:
        pytest.skip("this machine has been too slow to send in time")


# Stopping


@pytest.mark.parametrize("loop", ["auto", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_finish_idle_connections_close(
    target: str, number: int, loop: str, opened: tuple[Path, bytes]
) -> None:
    path, slow = opened
    with Server(target, f"--loop={loop}") as server, ExitStack() as stack:
        idle = stack.enter_context(server.connect())
        idle.send(HELLO)
        assert idle.response().status == 200
        busy = running(server, stack, slow)
        server.signal(number)
        server.wait_for_line("Shutting down")
        idle.expect_end()
        until(lambda: refused(server))
        path.touch()
        response = busy.response()
        assert response.status == 200
        assert response.body == b"opened"
        assert "close" in response.connection
        busy.expect_end()
        assert server.wait() == 0
        name = signal.Signals(number).name.removeprefix("SIG").lower()
        assert f"Handling signal: {name}" in server.log
        assert "Worker exiting" in server.log
        assert "Traceback" not in server.log


def test_nothing_to_wait_for_takes_no_time(target: str) -> None:
    with Server(target, "--keep-alive=600", "--graceful-timeout=600") as server, server.connect() as idle:
        idle.send(HELLO)
        idle.response()
        assert server.terminate() == 0


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGQUIT,)]
)
def test_a_second_interrupt_or_quit_stops_at_once(
    target: str, numbers: tuple[int, ...], opened: tuple[Path, bytes]
) -> None:
    with Server(target, "--graceful-timeout=60") as server, ExitStack() as stack:
        running(server, stack, opened[1])
        for number in numbers:
            server.signal(number)
            server.wait_for_line(f"Handling signal: {signal.Signals(number).name.removeprefix('SIG').lower()}")
        begin = time.monotonic()
        if "wsgi" in target:
            # Its thread goes on until the file is there, or the process ends.
            server.wait_for_line("threads still run application code")
        assert server.wait() == 0
        assert time.monotonic() - begin < 8.0
        assert "1 requests cut off" in server.log


def test_grace_period_has_an_end(target: str, opened: tuple[Path, bytes]) -> None:
    with Server(target, "--graceful-timeout=0.5") as server, ExitStack() as stack:
        running(server, stack, opened[1])
        begin = time.monotonic()
        assert server.terminate() == 0
        assert 0.4 < time.monotonic() - begin < 8.0
        assert "1 requests cut off" in server.log
        assert "Cut off: GET /file-wait of 127.0.0.1:" in server.log
        # A query may hold secrets.
        assert str(opened[0]) not in server.log


def test_endless_stream_is_cut_at_the_end_of_the_grace_period() -> None:
    with Server(PROBES["asgi"], "--graceful-timeout=0.3") as server, ExitStack() as stack:
        client = running(server, stack, request("GET", "/gate/stream?name=never"))
        assert server.terminate() == 0
        assert b"second" not in client.buffer
        assert "Application shutdown complete." in server.log


@pytest.mark.parametrize("loop", ["auto", "asyncio"])
def test_connections_the_kernel_has_accepted_are_served(target: str, loop: str) -> None:
    with Server(target, f"--loop={loop}") as server, ExitStack() as stack:
        server.get("/hello")
        # While the process is stopped, the kernel accepts for it.
        os.kill(server.worker_pid, signal.SIGSTOP)
        clients = [stack.enter_context(server.connect()) for _ in range(20)]
        for client in clients:
            client.send(HELLO)
        server.signal(signal.SIGTERM)
        os.kill(server.worker_pid, signal.SIGCONT)
        for client in clients:
            response = client.response()
            assert response.status == 200
            # Without "Connection: close" where the request was read before the signal was.
            client.expect_end()
        assert server.wait() == 0


def test_request_that_follows_its_connection_late_is_served(target: str) -> None:
    with Server(target) as server, ExitStack() as stack:
        server.get("/hello")
        os.kill(server.worker_pid, signal.SIGSTOP)
        client = stack.enter_context(server.connect())
        server.signal(signal.SIGTERM)
        begin = time.monotonic()
        os.kill(server.worker_pid, signal.SIGCONT)
        server.wait_for_line("Shutting down$")
        client.send(HELLO)
        in_a_moment(begin)
        assert client.response().status == 200
        assert server.wait() == 0


@pytest.mark.parametrize("options", [[], ["--io=asyncio"]])
def test_connection_in_use_gets_one_more_response(target: str, options: list[str]) -> None:
    with Server(target, *options) as server, server.connect() as client:
        begin = time.monotonic()
        client.send(HELLO)
        assert "close" not in client.response().connection
        server.signal(signal.SIGTERM)
        server.wait_for_line("Shutting down$")
        client.send(HELLO)
        in_a_moment(begin)
        response = client.response()
        assert response.status == 200
        assert "close" in response.connection
        client.expect_end()
        assert server.wait() == 0


@pytest.mark.parametrize("options", [[], ["--io=asyncio"]])
def test_requests_that_have_arrived_are_answered(target: str, options: list[str]) -> None:
    """On connections that were idle for a while, which close when there is nothing on them."""
    with Server(target, "--keep-alive=60", *options) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(300)]
        for client in clients:
            client.send(HELLO)
        for client in clients:
            client.response()
        time.sleep(1.5)
        os.kill(server.worker_pid, signal.SIGSTOP)
        server.signal(signal.SIGTERM)
        for client in clients[:200]:
            client.send(HELLO)
        os.kill(server.worker_pid, signal.SIGCONT)
        for client in clients[:200]:
            assert client.response().status == 200
        for client in clients:
            client.expect_end()
        assert server.wait() == 0


def test_event_stream_is_told_to_end() -> None:
    with Server("asgi_apps:probe", "--graceful-timeout=60") as server, ExitStack() as stack:
        client = running(server, stack, request("GET", "/events"))
        begin = time.monotonic()
        server.signal(signal.SIGTERM)
        response = client.response()
        assert response.body.endswith(b"data: bye\n\n")
        assert server.wait() == 0
        assert time.monotonic() - begin < 30
        assert "Cut off" not in server.log


def test_work_after_the_response_finishes_too() -> None:
    with Server(PROBES["asgi"]) as server:
        assert server.get("/background?name=work").body == b"accepted"
        assert server.get("/gate/open?name=work").status == 200
        assert server.terminate() == 0
        assert server.events("background")


def test_unfinished_work_after_the_response_is_cancelled() -> None:
    with Server(PROBES["asgi"], "--graceful-timeout=0.3") as server:
        assert server.get("/background?name=work").body == b"accepted"
        assert server.terminate() == 0
        assert "1 calls of the application still running" in server.log


def test_lifespan_shutdown_runs_once_after_the_last_request(opened: tuple[Path, bytes]) -> None:
    with Server("asgi_apps:lifespan_state") as server:
        assert server.get("/").status == 200
        assert server.terminate() == 0
        assert len(server.events("shutdown")) == 1
        assert "Waiting for application shutdown." in server.log


@pytest.mark.parametrize(
    ("app", "line"),
    [
        ("shutdown_hangs", "Application shutdown did not complete within 0.3 s"),
        ("shutdown_fails", "Application shutdown failed: the cache was not written"),
    ],
)
def test_lifespan_shutdown_that_goes_wrong(app: str, line: str) -> None:
    with Server(f"asgi_apps:{app}", "--lifespan-shutdown-timeout=0.3") as server:
        assert server.terminate() == 0
        assert line in server.log


def test_interrupt_during_lifespan_shutdown() -> None:
    with Server("asgi_apps:shutdown_hangs") as server:
        server.signal(signal.SIGTERM)
        server.wait_event("stopping")
        server.signal(signal.SIGINT)
        assert server.wait() == 0


def test_term_during_lifespan_startup() -> None:
    with Server("asgi_apps:lifespan_hangs", listeners=0) as server:
        server.wait_event("starting")
        assert server.terminate() == 0


def test_term_during_import(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text('import os, time\nos.write(2, b"importing\\n")\ntime.sleep(60)\n')
    with Server("slow:app", app_dir=tmp_path, listeners=0) as server:
        server.wait_for_line("importing")
        assert server.terminate() == 0


def test_a_connection_in_the_middle_of_a_head_does_not_hold_up_the_stop(target: str) -> None:
    with Server(target, "--graceful-timeout=0.5") as server, server.connect() as client:
        client.send(b"GET /hello HTTP/1.1\r\n")
        server.get("/hello")
        assert server.terminate() == 0


# The end that always comes


def run_script(script: str, timeout: float = WAIT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_blocked_loop_does_not_outlive_its_signal() -> None:
    done = run_script(
        """
        import os, signal, socket, threading, time
        from gateway import Config
        from gateway.server import program, server

        server.EXIT_TIME = 0.3

        async def app(scope, receive, send):
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            while True:
                time.sleep(0.05)

        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        config = Config(app, fd=listener.detach(), graceful_timeout=0, lifespan="off", lifespan_shutdown_timeout=0.1)
        program.run(config)
        """
    )
    assert done.returncode == 1, done.stderr
    assert "Not stopped in time" in done.stderr
    assert "in app" in done.stderr, "the traceback of what hangs"


def test_thread_that_never_ends_does_not_keep_the_process() -> None:
    done = run_script(
        """
        import os, signal, threading
        from gateway import Config
        from gateway.server import program

        program.EXIT_TIME = 0.3

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                threading.Thread(target=threading.Event().wait, name="never-ends").start()
                await receive()
                await send({"type": "lifespan.startup.complete"})
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
                await receive()
                await send({"type": "lifespan.shutdown.complete"})

        raise SystemExit(program.run(Config(app, port=0)))
        """
    )
    assert done.returncode == 1, done.stderr
    assert "never-ends" in done.stderr


# Starting


def test_start_up_lines(target: str) -> None:
    with Server(target) as server:
        interface = "wsgi" if "wsgi" in target else "asgi3"
        server.wait_for_line(r"Starting gateway \d")
        line = server.wait_for_line(
            rf"Using interface: {interface} \(auto-detected\), backend (compiled|pure Python), "
        )
        assert line is not None
        server.wait_for_line(rf"Listening at: http://127\.0\.0\.1:{server.port} \({server.pid}\)")


def test_every_bind_is_served_and_named(tmp_path: Path) -> None:
    binds = ["127.0.0.1:0", f"unix:{tmp_path}/s"]
    if sys.platform == "linux":
        binds += ["127.0.0.2:0", f"unix:@gateway-{os.getpid()}"]
    with Server(PROBES["asgi"], binds=binds) as server:
        assert len(server.addresses) == len(binds)
        for address in server.addresses:
            with Client(address) as client:
                client.send(HELLO)
                assert client.response().body == b"hello"
        assert server.terminate() == 0
    assert not (tmp_path / "s").exists()


def test_inherited_descriptor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        options = {"binds": [f"fd://{sock.fileno()}"], "pass_fds": [sock.fileno()]}
        with Server(PROBES["asgi"], **options) as server:  # type: ignore[arg-type]
            assert server.addresses == [sock.getsockname()]
            assert server.get("/hello").body == b"hello"


def one_line(*arguments: str, code: int) -> str:
    """What is said when it does not start: one line, nothing of ours in between."""
    done = run_gateway(*arguments)
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if "gateway: error:" in line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


APPS = ("--app-dir", str(Path(__file__).parent.parent / "apps"))


def test_busy_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        line = one_line(PROBES["asgi"], *APPS, "--bind", address, code=1)
    assert address in line
    assert "address already in use" in line


def test_unix_socket_in_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{tmp_path}/s")
        sock.listen()
        line = one_line(PROBES["asgi"], *APPS, "--bind", f"unix:{tmp_path}/s", code=1)
    assert "address already in use" in line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="these are the master's")
@pytest.mark.parametrize("option", ["--health-bind", "--control-socket"])
def test_the_option_that_names_an_address_in_use(tmp_path: Path, option: str) -> None:
    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        value = path if option == "--control-socket" else f"unix:{path}"
        done = run_gateway(PROBES["asgi"], *APPS, "--bind=127.0.0.1:0", option, value)
    assert done.returncode == 1
    assert re.search(rf"gateway: error: .*{path}: address already in use; .* with {option}\.$", done.stderr, re.M)


@pytest.mark.parametrize(
    ("app", "options", "text"),
    [
        ("lifespan_fails", [], "no database at this address"),
        ("lifespan_raises", ["--lifespan=on"], "Application startup failed"),
        ("lifespan_hangs", ["--lifespan-startup-timeout=0.3"], "within 0.3 s"),
    ],
)
def test_startup_that_fails(app: str, options: list[str], text: str) -> None:
    done = run_gateway(f"asgi_apps:{app}", *APPS, "--bind=127.0.0.1:0", *options)
    assert done.returncode == 3, done.stderr
    assert text in done.stderr
    assert "Listening at" not in done.stderr
    assert ("RuntimeError: the startup broke" in done.stderr) == (app == "lifespan_raises")


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A soft limit that is lower than the hard one, which is given; children inherit it."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in (256, resource.RLIM_INFINITY):
        pytest.skip("the hard limit leaves no room")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="/proc is needed")
def test_descriptor_limit_is_raised(few_descriptors: int) -> None:
    with Server(PROBES["asgi"]) as server:
        limits = Path(f"/proc/{server.worker_pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3] == str(few_descriptors)


def test_usr1_opens_log_files_anew(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with Server(PROBES["asgi"], "--access-logfile", str(path)) as server:
        server.get("/hello?before")
        until(lambda: "before" in path.read_text())
        path.rename(tmp_path / "moved")
        server.signal(signal.SIGUSR1)
        server.wait_for_line("Handling signal: usr1")
        until(path.exists)
        # It is the master that has made the file; the worker follows.
        until(lambda: (server.get("/hello?after"), "after" in path.read_text())[1])


def test_usr1_loses_no_access_line(tmp_path: Path) -> None:
    """What was collected before the signal is in the old file, even if that was moved away."""
    path, moved = tmp_path / "access.log", tmp_path / "moved"
    options = ("--access-logfile", str(path), "--access-log-flush=1h", "--access-log-format=%(q)s")
    with Server(PROBES["asgi"], *options) as server:
        server.get("/hello?before")
        path.rename(moved)
        assert moved.read_text() == ""
        server.signal(signal.SIGUSR1)
        until(path.exists)
        until(lambda: moved.read_text() == "before\n")
        server.get("/hello?after")
        assert server.terminate() == 0
    assert path.read_text() == "after\n"
    assert moved.read_text() == "before\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_collected_access_lines_are_written_at_the_end(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    options = ("--access-logfile", str(path), "--access-log-flush=1h", "--access-log-format=%(q)s")
    with Server(PROBES["asgi"], *options) as server:
        for _ in range(3):
            server.get("/hello?x")
        assert path.read_text() == ""
        server.signal(number)
        assert server.wait() == 0
    assert path.read_text() == "x\n" * 3


def test_access_lines_are_written_after_a_while_or_at_once(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    options = ("--access-logfile", str(path), "--access-log-format=%(q)s")
    with Server(PROBES["asgi"], *options, "--access-log-flush=50ms") as server:
        for number in range(1, 4):
            server.get("/hello?x")
            until(lambda count=number: path.read_text() == "x\n" * count)  # type: ignore[misc]
    with Server(PROBES["asgi"], *options, "--access-log-flush=0") as server:
        for number in range(4, 7):
            # The line is there before the connection takes its next request.
            with server.connect() as client:
                client.send(request("GET", "/hello?x") + request("GET", "/hello?y"))
                client.response()
                client.response()
            assert path.read_text().startswith("x\n" * 3 + "x\ny\n" * (number - 4) + "x\n")
            until(lambda count=number: path.read_text() == "x\n" * 3 + "x\ny\n" * (count - 3))  # type: ignore[misc]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_stops_only_the_access_log() -> None:
    with Server(PROBES["asgi"], "--access-logfile=/dev/full", "--access-log-flush=10ms") as server:
        for _ in range(20):
            assert server.get("/hello").status == 200
        server.wait_for_line("Access log /dev/full: can't write: No space left on device; lines lost: ")
        assert server.terminate() == 0
    reports = [line for line in server.log.splitlines() if "lines lost" in line]
    assert len(reports) <= 2
    assert sum(int(line.rpartition(" ")[2]) for line in reports) == 20
