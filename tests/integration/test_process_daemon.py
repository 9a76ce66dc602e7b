"""The server in the background."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import Client, environment, request
from .test_process_races import children
from .test_processes import TIME, gone, until, write_app

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


def command(folder: Path, *options: str) -> list[str]:
    own = [f"--bind=unix:{folder}/s", f"--pid={folder}/pid", f"--error-logfile={folder}/log", "--daemon"]
    return [sys.executable, "-m", "gateway", "served:app", f"--app-dir={folder}", "--workers=2", *own, *options]


def daemon(folder: Path, *options: str) -> tuple[int, str, int]:
    """Start the server. Returns the command's exit code, what it has said, and the master's process."""
    done = subprocess.run(
        command(folder, *options), env=environment(), timeout=TIME, check=False, capture_output=True, text=True
    )
    path = folder / "pid"
    return done.returncode, done.stderr, int(path.read_text()) if path.exists() else 0


def status(folder: Path) -> int:
    with Client(f"{folder}/s") as client:
        client.send(request("GET", "/"))
        return client.response().status


def test_the_command_ends_when_the_server_is_up(folder: Path) -> None:
    code, said, master = daemon(folder)
    try:
        # It could not have returned if anybody still had its streams: they are pipes, and it was read to their end.
        assert (code, said) == (0, "")
        assert status(folder) == 200
        for pid in {master} | children(master):
            assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            assert fields[4] == "0", "no terminal"
            assert int(fields[3]) not in (pid, os.getsid(0)), "in a session that it does not lead"
        os.kill(master, signal.SIGHUP)
        until(lambda: "Reload complete" in (folder / "log").read_text())
        os.kill(master, signal.SIGUSR2)
        until(lambda: gone(master))
        new = int((folder / "pid").read_text())
        assert new != master
        master = new
        assert status(folder) == 200
    finally:
        os.kill(master, signal.SIGTERM)
    until(lambda: gone(master))
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"log", "served.py"}


@pytest.mark.parametrize(
    ("before", "expected"), [("raise ValueError('broken code')", 4), ("import os; os._exit(9)", 3)]
)
def test_what_can_not_start_is_said(folder: Path, before: str, expected: int) -> None:
    write_app(folder, before=before)
    code, said, _ = daemon(folder)
    assert code == expected
    assert re.search(r"^gateway: error: .*(broken code|exited with code 9)", said, re.MULTILINE), said
    assert not (folder / "pid").exists()


def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said, _ = daemon(folder, f"--bind=127.0.0.1:{taken.getsockname()[1]}")
    assert code == 1
    assert "address already in use" in said


def test_a_command_that_is_interrupted_starts_nothing(folder: Path) -> None:
    write_app(folder, before="import time; open('importing', 'w').close(); time.sleep(60)")
    process = subprocess.Popen(command(folder), env=environment(), cwd=folder, stderr=subprocess.PIPE)
    until(lambda: (folder / "importing").exists())
    master = int((folder / "pid").read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=TIME)
    assert process.returncode == 0, said
    assert gone(master)
    assert not (folder / "s").exists()


def test_no_background_without_a_master(folder: Path) -> None:
    code, said, _ = daemon(folder, "--no-supervisor", "--workers=1")
    assert code == 2
    assert "daemon" in said
