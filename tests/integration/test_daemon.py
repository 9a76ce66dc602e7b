"""In the background (--daemon), and in another directory (--chdir)."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import Client as Connection
from .harness import Server, children, environment, parse_url, request, run_gateway
from .test_processes import TIME, gone, state, until, write_app

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(180),
]

NO_CACHE = {"PYTHONDONTWRITEBYTECODE": "1"}

Daemonize = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


@pytest.fixture
def daemonize(folder: Path) -> Iterator[Daemonize]:
    """Runs `gateway --daemon`; whatever is left in the background is ended."""

    def run(*options: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = ("served:app", "--daemon", "--bind=127.0.0.1:0", "--pid=pid", "--workers=2", *options)
        return run_gateway(*command, cwd=folder, env=NO_CACHE, timeout=TIME, **more)

    yield run
    for pid in map(int, re.findall(r"\[(\d+)\] \[INFO\] Starting gateway", log(folder))):
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


def log(folder: Path) -> str:
    path = folder / "log"
    return path.read_text() if path.exists() else ""


def pid_of(folder: Path) -> int:
    return int((folder / "pid").read_text())


def ask(folder: Path, target: str = "/") -> bytes:
    """What the server that logs in `folder` answers."""
    address = parse_url(re.findall(r"Listening at: (\S+)", log(folder))[-1])
    with Connection(address) as client:
        client.send(request("GET", target))
        return client.response().body


def stat_of(pid: int) -> list[str]:
    """State, parent, process group, session, terminal and so on (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def test_a_daemon(folder: Path, daemonize: Daemonize) -> None:
    done = daemonize("--error-logfile=log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = pid_of(folder)
    assert ask(folder).startswith(b"one "), "it serves before the command returns"
    _, _, _, session, terminal, *_ = stat_of(pid)
    assert int(session) not in (os.getsid(0), pid)
    assert terminal == "0"
    assert f"In the background (pid:{pid})" in log(folder)
    for each in (pid, *children(pid)):
        # A moment after it has said that it serves.
        until(lambda each=each: {os.readlink(f"/proc/{each}/fd/{number}") for number in range(3)} == {"/dev/null"})
    # Reloads and upgrades work as ever.
    write_app(folder, "two")
    os.kill(pid, signal.SIGHUP)
    until(lambda: "Reload complete" in log(folder))
    until(lambda: ask(folder).startswith(b"two "))
    write_app(folder, "three")
    os.kill(pid, signal.SIGUSR2)
    until(lambda: pid_of(folder) != pid)
    until(lambda: gone(pid))
    pid = pid_of(folder)
    until(lambda: ask(folder).startswith(b"three "))
    os.kill(pid, signal.SIGTERM)
    until(lambda: gone(pid))
    assert not (folder / "pid").exists()


@pytest.mark.parametrize(
    ("before", "code", "message"),
    [
        ("raise ValueError('broken at import')", 4, "broken at import"),
        ("import os; os._exit(7)", 3, "a worker exited with code 7 before it was ready"),
    ],
)
def test_a_daemon_that_can_not_boot(folder: Path, daemonize: Daemonize, before: str, code: int, message: str) -> None:
    write_app(folder, before=before)
    done = daemonize("--error-logfile=log")
    assert done.returncode == code
    assert re.search(f"^gateway: error: .*{message}", done.stderr, re.MULTILINE), done.stderr
    (pid,) = map(int, re.findall(r"\[(\d+)\] \[INFO\] Starting gateway", log(folder)))
    until(lambda: gone(pid))
    assert not (folder / "pid").exists()


def test_a_daemon_whose_port_is_taken(daemonize: Daemonize) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = daemonize("--error-logfile=log", f"--bind=127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "in use" in done.stderr


def test_what_it_logs_until_it_serves_is_seen(folder: Path, daemonize: Daemonize) -> None:
    done = daemonize()
    pid = pid_of(folder)
    try:
        assert done.returncode == 0
        assert "Listening at: http://127.0.0.1:" in done.stderr
        assert f"In the background (pid:{pid}), where nothing is logged without --error-logfile" in done.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: gone(pid))


def test_output_that_is_kept(folder: Path) -> None:
    command = [sys.executable, "-m", "gateway", "served:app", "-D", "-R", "--pid=pid", "--bind=127.0.0.1:0"]
    with (folder / "log").open("w") as output:
        assert (
            subprocess.run(
                command, cwd=folder, env=environment(), stdout=output, stderr=output, timeout=TIME
            ).returncode
            == 0
        )
    pid = pid_of(folder)
    os.kill(pid, signal.SIGTERM)
    until(lambda: gone(pid))
    assert "Shutting down: Master" in log(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start(folder: Path, number: signal.Signals) -> None:
    write_app(folder, before="import time; os.write(2, b'importing\\n'); time.sleep(600)")
    command = [sys.executable, "-m", "gateway", "served:app", "-D", "--bind=127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        seen = ""
        while "importing" not in seen:
            line = process.stderr.readline()
            assert line, seen
            seen += line
        (pid,) = map(int, re.findall(r"\[(\d+)\] \[INFO\] Starting gateway", seen))
        process.send_signal(number)
        assert process.wait(TIME) == 1
        until(lambda: gone(pid))
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_an_interrupt_that_finds_the_daemon_gone() -> None:
    script = """
import os, signal, threading
from gateway.supervisor.daemon import end_with
reader, writer = os.pipe()
gone = os.fork() or os._exit(0)
os.waitpid(gone, 0)
os.write(writer, b"%d\\n" % gone)
leader = os.fork() or os._exit(0)
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    os.close(writer)
threading.Timer(0.2, interrupt).start()
end_with(leader, reader)
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=TIME)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_daemon_has_a_master(folder: Path) -> None:
    done = run_gateway("served:app", "-D", "--no-supervisor", cwd=folder)
    assert done.returncode == 2
    assert "--daemon" in done.stderr


# --chdir


def test_another_directory(folder: Path) -> None:
    site = folder / "site"
    site.mkdir()
    write_app(site, "{os.getcwd()}")
    text = (site / "served.py").read_text().replace('b"{os.getcwd()} %d" % os.getpid()', "os.getcwd().encode()")
    (site / "served.py").write_text(text)
    (folder / "conf.py").write_text("pidfile = 'pid'\nerrorlog = 'log'\nworkers = 1\n")
    with Server("served:app", "-c", "conf.py", "--chdir", "site", app_dir=None, cwd=folder, listeners=0) as server:
        until(lambda: "Listening at" in log(site))
        assert pid_of(site) == server.pid
        assert ask(site) == str(site).encode()
        (folder / "conf.py").write_text("pidfile = 'pid'\nerrorlog = 'log'\nworkers = 2\n")
        server.signal(signal.SIGHUP)
        until(lambda: "Reload complete: 2 new workers serve" in log(site))
        assert ask(site) == str(site).encode()
        server.signal(signal.SIGUSR2)
        until(lambda: pid_of(site) != server.pid)
        new = pid_of(site)
        try:
            assert server.process is not None
            assert server.process.wait(TIME) == 0
            assert ask(site) == str(site).encode()
        finally:
            os.kill(new, signal.SIGTERM)
            until(lambda: state(new) in "ZX")


def test_a_link_is_followed_anew_at_a_reload(folder: Path) -> None:
    for name in ("first", "second"):
        (folder / name).mkdir()
        write_app(folder / name, name)
    current = folder / "current"
    current.symlink_to("first")
    with Server("served:app", "--chdir", str(current), "--workers=2", app_dir=None, env=NO_CACHE) as server:
        assert server.get("/").body.startswith(b"first ")
        new = folder / "new"
        new.symlink_to("second")
        new.rename(current)
        for pid in {int(server.get("/").body.split()[1]) for _ in range(4)}:
            os.kill(pid, signal.SIGKILL)
        server.wait_for_lines("Application startup complete", 3, TIME)
        assert server.get("/").body.startswith(b"first "), "whoever takes a dead one's place is as that was"
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload complete", TIME)
        until(lambda: server.get("/").body.startswith(b"second "))
        current.unlink()
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload failed, .* --chdir: .* is no directory", TIME)
        assert server.get("/").body.startswith(b"second ")


def test_a_directory_that_is_none(folder: Path) -> None:
    for action in ((), ("--check-config",)):
        done = run_gateway("served:app", "--chdir=nowhere", *action, cwd=folder)
        assert (done.returncode, done.stderr) == (2, "gateway: error: --chdir: nowhere is no directory\n")
    done = run_gateway("served:app", "--chdir", str(folder), "--check-config", cwd="/")
    assert done.returncode == 0, done.stderr


def test_options_are_looked_for_there(folder: Path) -> None:
    (folder / "gateway.toml").write_text("app = 'served:app'\n")
    done = run_gateway("--chdir", str(folder), "--check-config", cwd="/")
    assert done.returncode == 0, done.stderr
