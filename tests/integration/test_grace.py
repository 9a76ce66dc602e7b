"""How long a stop takes at most, whatever stands in its way: the grace period, and a few seconds.

The applications here never end what they do. What is asserted leaves a busy machine several times what is needed; how
long each part may take is told by tests/unit/test_supervisor.py.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from .harness import Client, Program, Server, package_path, request

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(180),
]

TIME = 60.0
"""Seconds that booting may take on a machine that is busy with other things."""

MOST = 15.0
"""Seconds from TERM to the end, with a grace period of one second."""

APP = """\
import asyncio, ctypes, os, threading, time

def hold():
    # With the GIL, and whatever signal comes.
    libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and os.environ.get("AT_SHUTDOWN") == "stop":
                os.kill(os.getpid(), 19)
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    os.write(2, b"has it\\n")
    match scope["path"]:
        case "/block":
            time.sleep(600)
        case "/hold":
            hold()
        case "/thread":
            threading.Thread(target=time.sleep, args=(600,)).start()
        case "/stubborn":
            while True:
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""

BOOT = """\
import ctypes, os, signal
# Until it is stuck, too.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.write(2, b"importing\\n")
libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(128)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "graceful.py").write_text(APP)
    (tmp_path / "stuck.py").write_text(BOOT)
    return tmp_path


def stop_time(server: Server) -> float:
    """Seconds from TERM to the end of the process."""
    begin = time.monotonic()
    server.signal(signal.SIGTERM)
    server.wait(TIME)
    return time.monotonic() - begin


@pytest.mark.parametrize("kept", [(), ("--preload",)], ids=["", "preload"])
def test_a_worker_that_is_stopped(folder: Path, kept: tuple[str, ...]) -> None:
    with Server("graceful:app", "--graceful-timeout=1", *kept, app_dir=folder) as server:
        assert server.get("/").status == 200
        os.kill(server.worker_pid, signal.SIGSTOP)
        assert stop_time(server) < MOST
        silent = re.search(r"did not stop in time, and has run no Python code for ([\d.]+) s", server.log)
        assert silent is not None and float(silent[1]) < 7, server.log


@pytest.mark.parametrize("path", ["/block", "/hold", "/thread", "/stubborn"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_application_that_never_ends(folder: Path, path: str, workers: int) -> None:
    options = (f"--workers={workers}", "--graceful-timeout=1")
    with Server("graceful:app", *options, app_dir=folder) as server, Client(server.addresses[0]) as client:
        client.send(request("GET", path))
        server.wait_for_line("has it", TIME)
        if path == "/thread":
            assert client.response().status == 200
        assert stop_time(server) < MOST


@pytest.mark.parametrize("path", ["/block", "/thread"])
def test_without_a_master(folder: Path, path: str) -> None:
    options = ("--no-supervisor", "--graceful-timeout=1")
    with Server("graceful:app", *options, app_dir=folder) as server, Client(server.addresses[0]) as client:
        client.send(request("GET", path))
        server.wait_for_line("has it", TIME)
        if path == "/thread":
            assert client.response().status == 200
        assert stop_time(server) < MOST
        assert "Not stopped in time" in server.log


def test_a_worker_that_is_stopped_in_its_shutdown(folder: Path) -> None:
    options = ("--graceful-timeout=1", "--lifespan-shutdown-timeout=60")
    with Server("graceful:app", *options, app_dir=folder, env={"AT_SHUTDOWN": "stop"}) as server:
        assert stop_time(server) < MOST


def test_an_import_that_is_stuck_in_c(folder: Path) -> None:
    with Server("stuck:app", "--graceful-timeout=1", app_dir=folder, listeners=0) as server:
        server.wait_for_line("importing", TIME)
        assert stop_time(server) < MOST
        assert "did not stop in time" in server.log


def gateway_that_is_imported(folder: Path, *arguments: str) -> Program:
    """The command, in the middle of importing itself."""
    (folder / "argparse.py").write_text("import os, time\nos.write(2, b'importing\\n')\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "gateway", *arguments]
    program = Program(command, folder, {"PYTHONPATH": f"{folder}:{package_path()}"})
    program.wait_for("importing")
    return program


@pytest.mark.parametrize("options", [(), ("--no-supervisor",)])
def test_the_command_before_it_is_imported(folder: Path, options: tuple[str, ...]) -> None:
    assert gateway_that_is_imported(folder, "graceful:app", "--bind=127.0.0.1:0", *options).end() == 0


def test_a_command_that_serves_nothing_has_failed(folder: Path) -> None:
    assert gateway_that_is_imported(folder, "graceful:app", "--check-config").end() == -signal.SIGTERM
