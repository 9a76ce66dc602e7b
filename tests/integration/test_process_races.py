"""Master and workers when things happen at once, or run out: what must not leak, get lost, or take the master down."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import Client, Server, children, request
from .test_processes import (
    TIME,
    Manager,
    answer,
    ask,
    count,
    gone,
    health_of,
    reloaded,
    start,
    state,
    successor,
    until,
    workers,
    write_app,
)

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


def descriptors(pid: int) -> list[str]:
    """What a process has open, for a comparison."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        # Some may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.append(re.sub(r"\d+", "", os.readlink(entry)))
    return sorted(found)


def settled(pid: int) -> list[str]:
    """The same, once it stays as it is."""
    looks: list[list[str]] = []

    def stays() -> bool:
        looks.append(descriptors(pid))
        return len(looks) >= 20 and all(look == looks[-1] for look in looks[-20:])

    until(stays)
    return looks[-1]


# What runs out, or is not there


def test_descriptors_stay_as_many(folder: Path) -> None:
    with start(folder, "--health-bind=127.0.0.1:0", f"--access-logfile={folder}/access.log") as server:
        master, worker = settled(server.pid), settled(server.worker_pid)
        for turn in range(1, 21):
            server.signal(signal.SIGHUP)
            reloaded(server, turn)
        until(lambda: descriptors(server.pid) == master)
        until(lambda: descriptors(server.worker_pid) == worker)


def test_descriptors_stay_as_many_over_upgrades(folder: Path) -> None:
    with start(folder, "--health-bind=127.0.0.1:0", f"--access-logfile={folder}/access.log") as server:
        pid = server.pid
        master, worker = settled(pid), settled(server.worker_pid)
        try:
            for turn in range(1, 4):
                os.kill(pid, signal.SIGUSR2)
                line = server.wait_for_lines(r"Upgrade complete: process (\d+) serves", turn, TIME)[-1]
                until(lambda: gone(pid))
                pid = int(line[1])
                until(lambda: descriptors(pid) == master)
                until(lambda: descriptors(server.worker_pid) == worker)
            assert answer(server)[1] in children(pid)
        finally:
            os.kill(pid, signal.SIGTERM)
        until(lambda: gone(pid))


def test_a_worker_that_can_not_be_forked_is_tried_again(folder: Path) -> None:
    with start(folder) as server:
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (len(descriptors(server.pid)), limits[1]))
        for pid in workers(server):
            os.kill(pid, signal.SIGKILL)
        server.wait_for_line("Can't start a worker: Too many open files; trying again in")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: len(workers(server)) == 2)
        assert answer(server)
        assert server.terminate(TIME) == 0


def test_without_standard_streams(folder: Path) -> None:
    log = folder / "error.log"
    script = "import os, sys; os.close(0); os.close(1); os.close(2); os.execv(sys.argv[1], sys.argv[1:])"
    with start(
        folder,
        f"--error-logfile={log}",
        wrapper=[sys.executable, "-c", script],
        listeners=0,
        binds=[f"unix:{folder}/s"],
    ) as server:
        until(lambda: log.exists() and "Listening at" in log.read_text())
        with Client(f"{folder}/s") as client:
            client.send(request("GET", "/"))
            assert client.response().status == 200
        server.signal(signal.SIGTERM)
        assert server.process is not None
        assert server.process.wait(TIME) == 0


def test_health_clients_that_make_room_for_others(folder: Path) -> None:
    """Several things may be true of a client within one turn: that it has sent something, and that it is gone."""
    with start(folder, "--health-bind=127.0.0.1:0") as server:
        address = health_of(server)
        silent = [Client(address) for _ in range(64)]
        assert ask(address, "/livez")[0] == 200
        silent += [Client(address)]
        assert ask(address, "/livez")[0] == 200
        os.kill(server.pid, signal.SIGSTOP)
        more = [Client(address) for _ in range(5)]
        for client in silent:
            client.send(b"GET /livez HTTP/1.1\r\n")
        os.kill(server.pid, signal.SIGCONT)
        assert ask(address, "/livez")[0] == 200
        for client in silent + more:
            client.close()
        assert server.terminate(TIME) == 0


# Reloads that overtake each other


def test_a_reload_overtakes_another_that_has_opened_sockets(folder: Path) -> None:
    one, two = folder / "1", folder / "2"
    config = folder / "gateway.toml"
    config.write_text(f"bind = ['unix:{one}']\n")
    with Server("served:app", f"--config={config}", app_dir=folder, binds=(), listeners=1) as server:
        write_app(folder, before="import time; time.sleep(60)")
        config.write_text(f"bind = ['unix:{one}', 'unix:{two}']\n")
        server.signal(signal.SIGHUP)
        server.wait_for_lines("Booting worker", 2)
        inode = two.stat().st_ino
        write_app(folder, name="two")
        server.signal(signal.SIGHUP)
        reloaded(server)
        assert two.stat().st_ino == inode, "the same socket"
        for path in (one, two):
            assert ask(str(path), "/")[0] == 200
        assert server.terminate(TIME) == 0


def test_a_reload_that_was_overtaken_takes_no_socket_along(folder: Path) -> None:
    one, two = folder / "1", folder / "2"
    config = folder / "gateway.toml"
    config.write_text(f"bind = ['unix:{one}']\n")
    with Server("served:app", f"--config={config}", app_dir=folder, binds=(), listeners=1) as server:
        write_app(folder, before="import time; time.sleep(60)")
        server.signal(signal.SIGHUP)
        server.wait_for_lines("Booting worker", 2)
        config.write_text(f"bind = ['unix:{two}']\n")
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload failed", TIME)
        assert not two.exists()
        write_app(folder, name="one")
        (serving,) = until(lambda: len(workers(server)) == 1 and workers(server))
        os.kill(serving, signal.SIGKILL)
        until(lambda: workers(server) and not workers(server) & {serving})
        assert ask(str(one), "/")[0] == 200
        assert server.terminate(TIME) == 0


# Ends


def test_a_stopped_worker_does_not_prolong_the_grace_period(folder: Path) -> None:
    """What it would be given for its lifespan shutdown is of no use to it."""
    with start(folder, "--graceful-timeout=1", "--lifespan-shutdown-timeout=600") as server:
        os.kill(min(workers(server)), signal.SIGSTOP)
        assert server.terminate(TIME) == 0
        assert "did not stop in time, and has run no Python code for" in server.log


def test_term_after_a_reload_does_not_wait_for_idle_clients(folder: Path) -> None:
    with start(folder, "--keep-alive=60", "--graceful-timeout=60") as server, server.connect(TIME) as idle:
        idle.send(request("GET", "/"))
        idle.response()
        old = workers(server)
        server.signal(signal.SIGHUP)
        reloaded(server)
        server.wait_for_lines("Shutting down$", 2)
        assert workers(server) & old, "it waits for its client"
        assert server.terminate(TIME) == 0
        idle.expect_end()


@pytest.mark.parametrize("times", [2, 3])
def test_interrupts_that_come_together(folder: Path, times: int) -> None:
    """The second one counts, though the master has not even seen the first."""
    write_app(folder, within="import asyncio; os.write(2, b'waiting\\n'); await asyncio.sleep(60)")
    with start(folder, "--graceful-timeout=60") as server, server.connect() as client:
        client.send(request("GET", "/"))
        server.wait_for_line("waiting")
        os.kill(server.pid, signal.SIGSTOP)
        for _ in range(times):
            server.signal(signal.SIGINT)
            until(lambda: not pending(server.pid, signal.SIGINT) or state(server.pid) == "T")
            server.signal(signal.SIGCONT)
            until(lambda: not pending(server.pid, signal.SIGINT) or gone(server.pid))
        assert server.wait(TIME) == 0
        assert "Shutting down: Master" in server.log


def test_a_worker_that_comes_during_the_delay_announces_the_end_too(folder: Path) -> None:
    with start(folder, "--drain-delay=60", workers=1) as server:
        server.signal(signal.SIGTERM)
        server.wait_for_line("Not ready any more; stopping in 60 s")
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_for_lines("Application startup complete", 2, TIME)
        until(lambda: "close" in server.get("/", "Connection: keep-alive").connection)
        server.signal(signal.SIGINT)
        assert server.wait(TIME) == 0


def pending(pid: int, number: int) -> bool:
    """Whether a signal waits for a process (proc_pid_status(5))."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    match = re.search(r"^ShdPnd:\s+([0-9a-f]+)", text, re.MULTILINE)
    return bool(match and int(match[1], 16) >> (number - 1) & 1)


def test_no_worker_that_boots_outlives_a_master_that_was_killed(folder: Path) -> None:
    with start(folder) as server:
        before = workers(server)
        write_app(folder, before="import time\nwhile True: pass")
        server.signal(signal.SIGHUP)
        booting = until(lambda: workers(server) - before)
        server.kill()
        until(lambda: all(map(gone, before | booting)))


def test_all_workers_at_once_again_and_again(folder: Path) -> None:
    with start(folder, workers=4) as server:
        seen: set[int] = set()
        for turn in range(1, 7):
            server.wait_for_lines("Application startup complete", 4 * turn, TIME)
            seen |= workers(server)
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)
        until(lambda: len(workers(server) - seen) == 4)
        assert all(state(pid) == "X" for pid in seen), "no zombies"
        assert server.terminate(TIME) == 0


# Upgrades


def test_upgrade_that_is_not_ready_in_time(folder: Path) -> None:
    with start(folder, "--preload", "--timeout-boot=4") as server:
        # Nobody but the old program can tell: the new one is loading it in its master.
        write_app(folder, before="import time; time.sleep(60)")
        server.signal(signal.SIGUSR2)
        new = successor(server)
        server.wait_for_line(rf"The new program \(pid:{new}\) is not ready in time; ending it", TIME)
        server.wait_for_line("Upgrade failed, this program goes on", TIME)
        assert gone(new)
        assert answer(server)[1] in workers(server)
        # And the next one may be tried, which has to be as quick.
        server.signal(signal.SIGUSR2)
        pid = int(server.wait_for_lines(r"Upgrading: started the new program with pid: (\d+)", 2, TIME)[-1][1])
        server.signal(signal.SIGTERM)
        assert server.process is not None
        assert server.process.wait(TIME) == 0
        until(lambda: gone(pid))


@pytest.mark.parametrize("relative", [False, True])
def test_upgrade_of_a_console_script(folder: Path, relative: bool) -> None:
    """What pip makes of an entry point; `python -m gateway` is what all other tests start."""
    script = folder / "bin" / "gateway"
    script.parent.mkdir()
    script.write_text("import sys\nfrom gateway.cli import main\nsys.exit(main())\n")
    server = start(folder, cwd=folder)
    server.command = [sys.executable, "bin/gateway" if relative else str(script), *server.command[3:]]
    with server:
        server.signal(signal.SIGUSR2)
        new = successor(server)
        try:
            server.wait_for_line("Upgrade complete", TIME)
            until(lambda: answer(server)[1] in children(new))
        finally:
            if not gone(new):
                os.kill(new, signal.SIGTERM)
        until(lambda: gone(new))


def test_systemd_is_told_of_the_new_program(folder: Path) -> None:
    manager = Manager(folder / "notify")
    env = {"NOTIFY_SOCKET": str(folder / "notify"), "PYTHONDONTWRITEBYTECODE": "1"}
    with manager.sock, start(folder, env=env) as server:
        manager.expect(READY="1")
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGUSR2)
        manager.expect(RELOADING="1")
        # Not a word of the new program's, least of all that it stops.
        assert manager.expect() == {"READY": "1", "STATUS": "2 workers ready"}
        write_app(folder)
        server.signal(signal.SIGUSR2)
        new = int(server.wait_for_lines(r"Upgrading: started the new program with pid: (\d+)", 2, TIME)[1][1])
        try:
            # Of the two, the service's main process is the one that may speak (NotifyAccess=main).
            manager.expect(MAINPID=str(new))
            until(lambda: gone(server.pid))
            write_app(folder, name="two")
            os.kill(new, signal.SIGHUP)
            manager.expect(RELOADING="1")
            manager.expect(READY="1")
            until(lambda: answer(server)[0] == "two")
        finally:
            os.kill(new, signal.SIGTERM)
        manager.expect(STOPPING="1")
        until(lambda: gone(new))


def test_systemd_is_told_of_a_reload_that_is_an_upgrade(folder: Path) -> None:
    manager = Manager(folder / "notify")
    env = {"NOTIFY_SOCKET": str(folder / "notify"), "PYTHONDONTWRITEBYTECODE": "1"}
    with manager.sock, start(folder, "--preload", env=env) as server:
        manager.expect(READY="1")
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGHUP)
        assert int(manager.expect(RELOADING="1")["MONOTONIC_USEC"])
        manager.expect(READY="1", STATUS="2 workers ready")
        write_app(folder, name="two")
        server.signal(signal.SIGHUP)
        manager.expect(RELOADING="1")
        new = int(server.wait_for_lines(r"Upgrading: started the new program with pid: (\d+)", 2, TIME)[1][1])
        try:
            # Nothing is heard of the new program before it is the main process (NotifyAccess=main).
            manager.expect(MAINPID=str(new), READY="1")
            until(lambda: gone(server.pid))
        finally:
            os.kill(new, signal.SIGTERM)
        until(lambda: gone(new))


def test_a_program_that_fails_leaves_the_files_of_the_sockets(folder: Path) -> None:
    files = [folder / name for name in ("socket", "health", "control")]
    options = (f"--bind=unix:{files[0]}", f"--health-bind=unix:{files[1]}", f"--control-socket={files[2]}")
    with Server("served:app", *options, "--workers=2", app_dir=folder, binds=(), listeners=1) as server:
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGUSR2)
        server.wait_for_line("Upgrade failed", TIME)
        assert all(path.exists() for path in files)
        assert ask(str(files[0]), "/")[0] == ask(str(files[1]), "/readyz")[0] == 200
        write_app(folder, name="mended")
        server.signal(signal.SIGUSR2)
        new = int(server.wait_for_lines(r"Upgrading: started the new program with pid: (\d+)", 2, TIME)[1][1])
        try:
            until(lambda: gone(server.pid))
            assert all(path.exists() for path in files)
            assert ask(str(files[0]), "/")[0] == 200
        finally:
            os.kill(new, signal.SIGTERM)
        until(lambda: gone(new))
        assert not any(path.exists() for path in files)


# Where there is less


def test_one_process_where_there_is_no_fork(folder: Path) -> None:
    server = start(folder)
    code = "import os, sys; del os.fork; from gateway.cli import main; sys.exit(main())"
    server.command = [sys.executable, "-c", code, *server.command[3:]]
    with server:
        assert "one process serves: this platform can't fork, --workers has no effect" in server.log
        assert answer(server)[1] == server.pid
        assert server.terminate(TIME) == 0


# Containers


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs a PID namespace")
def test_process_1_of_a_container(folder: Path) -> None:
    """It reaps what others leave behind, says no to an upgrade, and ends as any other."""
    wrapper = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no PID namespaces here")
    orphan = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import os; os.fork() or os._exit(0)'])"
    write_app(folder, within=f"if scope['path'] == '/orphan':\n    {orphan.replace(chr(10), chr(10) + '    ')}")
    with start(folder, wrapper=wrapper) as server:
        (master,) = children(server.pid)
        assert server.get("/orphan").status == 200
        until(lambda: len(children(master)) == 2)
        os.kill(master, signal.SIGUSR2)
        server.wait_for_line("Not upgrading: process 1 of a container")
        os.kill(max(children(master)), signal.SIGKILL)
        server.wait_for_lines("Application startup complete", 3, TIME)
        os.kill(master, signal.SIGHUP)
        reloaded(server)
        assert server.get("/").status == 200
        os.kill(master, signal.SIGTERM)
        assert server.wait(TIME) == 0
        assert count(server, "Shutdown complete: Master") == 1


def test_a_port_that_is_taken_at_a_reload(folder: Path) -> None:
    config = folder / "gateway.toml"
    config.write_text("bind = ['127.0.0.1:0']\n")
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Server("served:app", f"--config={config}", app_dir=folder, binds=(), listeners=1) as server,
    ):
        before = settled(server.pid)
        config.write_text(f"bind = ['127.0.0.1:0', '127.0.0.1:{taken.getsockname()[1]}']\n")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload failed.*address already in use", TIME)
        assert answer(server)
        until(lambda: descriptors(server.pid) == before)
