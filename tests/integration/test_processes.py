"""Master and workers, from outside: who is there, who replaces whom, and how all of it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import PROBES
from .harness import Client, Server, children, environment, request, run_gateway
from .load import Load

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(120),
]

TIME = 30.0
"""Seconds that booting may take on a machine that is busy with other things."""

APP = """\
{before}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
{within}
    body = {answer}
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}})
    await send({{"type": "http.response.body", "body": body}})
"""


def write_app(folder: Path, name: str = "one", before: str = "", within: str = "") -> None:
    """A module `served` whose application answers its name and process; with code `before` it, and `within`."""
    new = folder / "new"
    answer = f'b"{name} %d" % os.getpid()'
    before = f"import os\n{before}"
    new.write_text(APP.format(answer=answer, before=before, within=textwrap.indent(within, "    ")))
    new.rename(folder / "served.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


def start(folder: Path, *options: str, workers: int = 2, **more: Any) -> Server:
    more.setdefault("env", {"PYTHONDONTWRITEBYTECODE": "1"})
    return Server("served:app", f"--workers={workers}", *options, app_dir=folder, **more)


def workers(server: Server) -> set[int]:
    """The master's children that are alive."""
    return {pid for pid in children(server.pid) if not gone(pid)}


def state(pid: int) -> str:
    """One letter (proc_pid_stat(5)); X: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def name_of(pid: int) -> str:
    """What `ps` shows."""
    return Path(f"/proc/{pid}/comm").read_text() + Path(f"/proc/{pid}/cmdline").read_text()


def gone(pid: int) -> bool:
    return state(pid) in "ZX"


def until(condition: Callable[[], Any], timeout: float = TIME) -> Any:
    end = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
    return result


def answer(server: Server) -> tuple[str, int]:
    """What a fresh connection gets: the application's name, and the process."""
    name, pid = server.get("/").body.decode().split()
    return name, int(pid)


def count(server: Server, pattern: str) -> int:
    return len(re.findall(pattern, server.log))


BLOCK = "if scope['path'] == '/block':\n    import time\n    os.write(2, b'blocks\\n')\n    time.sleep(600)"
"""What has an application stand still, `within` it."""


@contextlib.contextmanager
def one_blocked(server: Server) -> Iterator[set[int]]:
    """The workers, one of which hears of nothing any more: it is only the kernel that can end it."""
    with server.connect() as client:
        client.send(request("GET", "/block"))
        server.wait_for_line("^blocks$")
        yield workers(server)


# Starting


def test_workers_serve_and_are_named(folder: Path) -> None:
    with start(folder, workers=3) as server:
        pids = workers(server)
        assert len(pids) == 3
        assert {int(match[1]) for match in server.wait_for_lines(r"Booting worker with pid: (\d+)", 3)} == pids
        assert answer(server)[1] in pids
        assert "master" in name_of(server.pid)
        assert all("worker" in name_of(pid) for pid in pids)
        assert count(server, "Starting gateway") == count(server, "Using interface") == 1
        assert f"Listening at: {server.url} ({server.pid})" in server.log
        assert server.terminate(TIME) == 0
        assert all(map(gone, pids))
        assert count(server, r"Worker exiting \(pid: \d+\)") == 3
        assert "Shutting down: Master" in server.log


def test_a_single_worker_has_a_master_too(folder: Path) -> None:
    with start(folder, workers=1) as server:
        assert {answer(server)[1]} == workers(server)


def test_without_a_supervisor_there_is_one_process(folder: Path) -> None:
    with start(folder, "--no-supervisor", workers=1) as server:
        assert answer(server)[1] == server.pid
        assert workers(server) == set()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_what_only_a_master_can_do_ends_nothing(folder: Path, number: int) -> None:
    with start(folder, "--no-supervisor", workers=1) as server:
        server.signal(number)
        server.wait_for_line("Neither reload nor upgrade without a master")
        assert answer(server)[1] == server.pid
        assert server.terminate(TIME) == 0


def test_web_concurrency(folder: Path) -> None:
    env = {"WEB_CONCURRENCY": "2", "PYTHONDONTWRITEBYTECODE": "1"}
    with Server("served:app", app_dir=folder, env=env) as server:
        assert len(workers(server)) == 2


def test_wsgi_is_told_of_the_other_processes() -> None:
    for options, expected in (("--workers=2", True), ("--workers=1", False)):
        with Server(PROBES["wsgi"], options) as server:
            assert server.facts("/threads")["multiprocess"] is expected


@pytest.mark.parametrize(
    ("before", "code", "message"),
    [
        ("raise ValueError('broken at import')", 4, "broken at import"),
        ("import os; os._exit(7)", 3, "a worker exited with code 7 before it was ready"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 3, "a worker was sent SIGKILL"),
    ],
)
def test_what_can_not_boot_at_first_stops_the_server(folder: Path, before: str, code: int, message: str) -> None:
    write_app(folder, before=before)
    done = run_gateway("served:app", "--app-dir", str(folder), "-w", "2", "--bind=127.0.0.1:0", timeout=TIME)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.count("gateway: error:") == 1
    assert done.stderr.count("Traceback") == (code == 4)
    assert "Listening at" not in done.stderr


def test_a_wrong_certificate_is_an_error_of_the_configuration(folder: Path) -> None:
    (folder / "c.pem").write_text("-----BEGIN PRIVATE KEY-----\nnonsense")
    done = run_gateway("served:app", "--app-dir", str(folder), "--certfile", str(folder / "c.pem"), timeout=TIME)
    assert done.returncode == 2, done.stderr


def test_boot_has_a_limit(folder: Path) -> None:
    write_app(folder, before="import time; time.sleep(60)")
    # Enough to get to where it hangs.
    done = run_gateway("served:app", "--app-dir", str(folder), "--bind=127.0.0.1:0", "--timeout-boot=4", timeout=TIME)
    assert done.returncode == 3, done.stderr
    assert "was not ready within 4 s (--timeout-boot)" in done.stderr
    assert 'served.py", line' in done.stderr, "the stack of what hangs"


def test_run_with_workers_in_a_program(folder: Path) -> None:
    script = """
    import gateway, os, sys

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    gateway.run(app, port=0, workers=2)
    print("after", os.getpid(), flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "Listening at" in line)
        port = int(line.partition("127.0.0.1:")[2].split()[0])
        with Client(("127.0.0.1", port)) as client:
            client.send(request("GET", "/"))
            assert client.response().body == b"hello"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=TIME)
        assert process.returncode == 0
        assert output.split() == ["after", str(process.pid)], "only the master goes on"
    finally:
        process.kill()
        process.wait()


# Watching


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_ends_is_replaced(folder: Path, number: signal.Signals) -> None:
    with start(folder) as server:
        before = workers(server)
        victim = min(before)
        os.kill(victim, number)
        after = until(lambda: len(now := workers(server) - {victim}) == 2 and now)
        assert len(after - before) == 1
        if number == signal.SIGTERM:
            server.wait_for_line(rf"\(pid:{victim}\)(:| exited with code 0;).*(replacing it|stopping by itself)")
        else:
            server.wait_for_line(rf"Worker \(pid:{victim}\) was sent {number.name}")
        server.wait_for_lines("Application startup complete", 3, TIME)
        assert answer(server)[1] in after
        assert server.terminate(TIME) == 0


def test_a_worker_that_is_told_to_stop_is_replaced_while_it_does(folder: Path) -> None:
    write_app(
        folder,
        within="if scope['path'] == '/wait':\n    import asyncio\n    os.write(2, b'waiting\\n')\n    await asyncio.sleep(5)",
    )
    with start(folder, "--timeout=2.5", workers=1) as server, server.connect(TIME) as client:
        client.send(request("GET", "/wait"))
        server.wait_for_line("waiting")
        (victim,) = workers(server)
        os.kill(victim, signal.SIGTERM)
        server.wait_for_line(rf"Replacing worker \(pid:{victim}\): it is stopping by itself")
        server.wait_for_lines("Application startup complete", 2, TIME)
        assert answer(server)[1] != victim
        assert client.response().status == 200
        until(lambda: gone(victim))
        assert "timeout" not in server.log


def test_replacements_that_can_not_boot_are_tried_again(folder: Path) -> None:
    with start(folder, workers=1) as server:
        write_app(folder, before="raise ValueError('broken meanwhile')")
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_for_lines("can't start: .*broken meanwhile.*; trying again in", 2, TIME)
        write_app(folder, name="mended")
        assert until(lambda: server.get("/").body.startswith(b"mended"))
        assert server.terminate(TIME) == 0


def test_a_blocked_loop_is_ended_with_its_stacks_in_the_log(folder: Path) -> None:
    write_app(folder, within=BLOCK)
    with start(folder, "--timeout=2.5") as server, server.connect(TIME) as client:
        before = workers(server)
        client.send(request("GET", "/block"))
        server.wait_for_line(r"Worker \(pid:\d+\) timeout: its event loop has not turned for \d", TIME)
        server.wait_for_lines("Application startup complete", 3, TIME)
        assert len(workers(server) & before) == 1
        assert 'served.py", line' in server.log
        assert answer(server)
        assert server.terminate(TIME) == 0


def test_abrt_shows_what_the_master_does(folder: Path) -> None:
    with start(folder) as server:
        pids = workers(server)
        server.signal(signal.SIGABRT)
        assert server.wait(TIME) == -signal.SIGABRT
        server.wait_for_line("Fatal Python error: Aborted")
        assert 'master.py", line' in server.log
        until(lambda: all(map(gone, pids)))


def test_a_worker_whose_first_request_blocks_it_is_ended_too(folder: Path) -> None:
    """It is waiting when the worker begins to accept, which the master must have heard of by then."""
    write_app(folder, within=BLOCK)
    with start(folder, "--timeout=2.5", workers=1) as server, contextlib.ExitStack() as clients:
        clients.enter_context(server.connect(TIME)).send(request("GET", "/block"))
        server.wait_for_line("blocks")
        # So that the worker, which accepts several at a time, has not this one, too.
        clients.enter_context(server.connect(TIME)).send(request("GET", "/block"))
        server.wait_for_lines(r"Worker \(pid:\d+\) timeout: its event loop has not turned", 2, TIME)
        until(lambda: answer(server))
        assert server.terminate(TIME) == 0


def test_no_worker_outlives_a_master_that_was_killed(folder: Path) -> None:
    write_app(folder, within=BLOCK)
    with start(folder) as server, one_blocked(server) as pids:
        server.kill()
        until(lambda: all(map(gone, pids)))

        def refused() -> bool:
            try:
                server.connect().close()
            except ConnectionRefusedError:
                return True
            return False

        # A process that has ended has its sockets for as long as one of its threads is still ending.
        until(refused)


def test_the_end_of_the_channel_tells_of_the_masters_end(folder: Path) -> None:
    """Where the kernel does not: the same, by the worker itself."""
    code = "import sys, gateway.cli, gateway.supervisor.parent as p; p.ParentDeath.follow = lambda self: None; "
    code += "sys.exit(gateway.cli.main())"
    with start(folder) as server:
        command = [sys.executable, "-c", code, *server.command[3:]]
    server = start(folder)
    server.command = command
    with server:
        pids = workers(server)
        server.kill()
        try:
            until(lambda: all(map(gone, pids)))
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--max-requests=1"], r"it has had \d+ requests \(--max-requests\)"),
        (["--max-worker-age=200ms"], r"it is \d+ s old \(--max-worker-age\)"),
        (["--max-worker-memory=1K"], r"it has \d+ MiB of its own \(--max-worker-memory\)"),
        (["--max-worker-memory-hard=1K"], r"Killing worker .*it has \d+ MiB of its own \(--max-worker-memory-hard\)"),
    ],
)
def test_workers_are_replaced_after_a_while(folder: Path, options: list[str], reason: str) -> None:
    with start(folder, *options, workers=1) as server:
        # It may have been replaced already, except by the number of its requests.
        before = int(server.wait_for_line(r"Booting worker with pid: (\d+)")[1])
        if "requests" in options[0]:
            server.get("/")
        server.wait_for_line(reason)
        until(lambda: gone(before))
        if "hard" not in options[0]:
            # The one that replaces it was ready before.
            leaves = server.wait_for_line(rf"\[{before}\] \[INFO\] Shutting down$")[0]
            assert server.log.partition(leaves)[0].count("startup complete") >= 2
            assert count(server, "replacing it") == 0
        assert server.terminate(TIME) == 0


def test_the_last_request_has_a_worker_replaced(folder: Path) -> None:
    """Not a look at it later: whoever is in full swing would have thousands by then."""
    with start(folder, "--max-requests=5", workers=1) as server, server.connect() as client:
        for _ in range(20):
            client.send(request("GET", "/"))
            if "close" in client.response().connection:
                break
        server.wait_for_line(r"Replacing worker .*: it has had 5 requests \(--max-requests\)")
        assert server.terminate(TIME) == 0


# Signals


def test_more_and_fewer_workers(folder: Path) -> None:
    with start(folder, workers=1) as server:
        for number, expected in ((signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
            server.signal(number)
            until(lambda: len(workers(server)) == expected)
        for _ in range(4):
            server.signal(signal.SIGTTOU)
        until(lambda: len(workers(server)) == 1)
        assert answer(server)[1] in workers(server)
        assert server.terminate(TIME) == 0


def test_workers_stop_and_come_back(folder: Path) -> None:
    with start(folder) as server:
        server.signal(signal.SIGWINCH)
        until(lambda: not workers(server))
        # Who connects now waits.
        with server.connect(TIME) as client:
            client.send(request("GET", "/"))
            server.signal(signal.SIGHUP)
            assert client.response().status == 200
        assert server.terminate(TIME) == 0


def test_usr1_reaches_master_and_workers(folder: Path) -> None:
    error, access = folder / "error.log", folder / "access.log"
    options = ("--access-log-flush=0", "--access-log-format=served by %(p)s")
    with start(folder, f"--error-logfile={error}", f"--access-logfile={access}", *options, listeners=0) as server:
        until(lambda: error.exists() and "Listening at" in error.read_text())
        port = int(re.findall(r"127\.0\.0\.1:(\d+)", error.read_text())[0])
        error.rename(folder / "old.log")
        access.rename(folder / "old-access.log")
        server.signal(signal.SIGUSR1)
        until(lambda: error.exists() and access.exists())

        def both_write_there() -> bool:
            with Client(("127.0.0.1", port)) as client:
                client.send(request("GET", "/"))
                assert client.response().status == 200
            return set(map(int, re.findall(r"served by <(\d+)>", access.read_text()))) == workers(server)

        until(both_write_there)
        assert server.terminate(TIME) == 0
        assert "Shutting down: Master" in error.read_text()


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGQUIT)])
def test_the_second_time_at_once(folder: Path, numbers: tuple[signal.Signals, ...]) -> None:
    write_app(folder, within="import asyncio; os.write(2, b'waiting\\n'); await asyncio.sleep(600)")
    with start(folder, "--graceful-timeout=600") as server, server.connect() as client:
        client.send(request("GET", "/"))
        server.wait_for_line("waiting")
        pids = workers(server)
        for number in numbers:
            server.signal(number)
            server.wait_for_line(f"Handling signal: {number.name[3:].lower()}")
        assert server.wait(TIME) == 0
        assert all(map(gone, pids))


def test_what_does_not_stop_is_ended_with_its_stacks_in_the_log(folder: Path) -> None:
    """A worker whose interpreter is held by calls into C."""
    lines = ("import ctypes", "os.write(2, b'held\\n')", "while True: ctypes.pythonapi.sleep(600)")
    write_app(folder, within="\n".join(lines))
    with start(folder, "--graceful-timeout=0.1") as server, server.connect() as client:
        client.send(request("GET", "/"))
        server.wait_for_line("held")
        assert server.terminate(TIME) == 0
        assert re.search(r"did not stop in time[^;]*; ending it", server.log)
        assert 'served.py", line' in server.log


def test_term_while_workers_boot(folder: Path) -> None:
    write_app(folder, before="import time; os.write(2, b'importing\\n'); time.sleep(60)")
    with start(folder, listeners=0) as server:
        server.wait_for_lines("importing", 2, TIME)
        pids = workers(server)
        assert server.terminate(TIME) == 0
        assert all(map(gone, pids))


def test_a_storm_of_signals(folder: Path) -> None:
    """None is lost, nobody is left behind, and the last word counts."""
    with start(folder) as server:
        seen = workers(server)
        for turn in range(30):
            server.signal((signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP, signal.SIGUSR1)[turn % 4])
            seen |= workers(server)
            if turn % 7 == 0:
                # It may be leaving by itself already.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(max(seen & workers(server) or {server.worker_pid}), signal.SIGKILL)
        # The kernel tells in which order they came only of those it has delivered.
        until(lambda: "ShdPnd:\t0000000000000000" in Path(f"/proc/{server.pid}/status").read_text())
        # The master has read all of them once it has read this one, and then there is nobody left.
        server.signal(signal.SIGWINCH)
        server.wait_for_line("Handling signal: winch", TIME)
        until(lambda: not workers(server))
        # HUP sets back to two how many there are.
        server.signal(signal.SIGHUP)
        until(lambda: len(workers(server)) == 2)
        seen |= workers(server)
        assert answer(server)[1] in workers(server)
        assert server.terminate(60) == 0
        assert all(map(gone, seen))


def test_signals_that_arrive_together(folder: Path) -> None:
    """As many as there are, while the master could not run: their handlers are nested in each other."""
    with start(folder) as server:
        server.signal(signal.SIGSTOP)
        until(lambda: "State:\tT" in Path(f"/proc/{server.pid}/status").read_text())
        for name in ("HUP", "USR1", "TTIN", "TTOU", "WINCH", "CHLD", "QUIT", "INT", "TERM"):
            server.signal(getattr(signal, f"SIG{name}"))
        server.signal(signal.SIGCONT)
        assert server.wait(60) == 0


def test_hup_and_term_while_booting(folder: Path) -> None:
    write_app(folder, before="import time; time.sleep(0.5)")
    with start(folder, listeners=0) as server:
        server.wait_for_lines("Booting worker", 2, TIME)
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reloading")
        server.wait_for_line("Listening at", TIME)
        until(lambda: len(workers(server)) == 2)
        server.signal(signal.SIGHUP)
        server.wait_for_lines("Reloading", 2)
        pids = workers(server)
        assert server.terminate(TIME) == 0
        assert all(map(gone, pids))


# Reloading


def reloaded(server: Server, times: int = 1) -> None:
    server.wait_for_lines("Reload complete", times, TIME)


def test_reload_serves_new_code_and_configuration(folder: Path) -> None:
    (folder / "gateway.toml").write_text("workers = 1\nheader = ['X-Version:1']\n")
    (folder / ".env").write_text("COLOUR=red\n")
    write_app(folder, name="one", before="assert os.environ['COLOUR'] == 'red'")
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    with Server("served:app", f"--env-file={folder}/.env", app_dir=folder, env=env) as server:
        assert server.get("/").get("x-version") == "1"
        (folder / "gateway.toml").write_text("workers = 2\nheader = ['X-Version:2']\n")
        (folder / ".env").write_text("COLOUR=blue\n")
        write_app(folder, name="two", before="assert os.environ['COLOUR'] == 'blue'")
        server.signal(signal.SIGHUP)
        reloaded(server)
        response = until(lambda: (found := server.get("/")).body.startswith(b"two") and found)
        assert response.get("x-version") == "2"
        until(lambda: len(workers(server)) == 2)
        assert server.terminate(TIME) == 0


@pytest.mark.parametrize("what", ["import", "startup", "config", "death"])
def test_a_reload_that_fails_changes_nothing(folder: Path, what: str) -> None:
    (folder / "gateway.toml").write_text("")
    with start(folder) as server:
        before = workers(server)
        if what == "config":
            (folder / "gateway.toml").write_text("threads = 'many'\n")
        elif what == "startup":
            write_app(folder, name="broken")
            text = (folder / "served.py").read_text()
            (folder / "served.py").write_text(
                text.replace(
                    '"type": message["type"] + ".complete"',
                    '"type": "lifespan.startup.failed", "message": "no database"',
                )
            )
        else:
            write_app(folder, before="raise ValueError('broken code')" if what == "import" else "os._exit(9)")
        server.signal(signal.SIGHUP)
        message = {
            "config": "threads",
            "startup": "no database",
            "import": "broken code",
            "death": "exited with code 9",
        }
        server.wait_for_line(f"Reload failed, the workers there are go on serving: .*{message[what]}", TIME)
        if what == "import":
            server.wait_for_line("ValueError: broken code")
        assert answer(server)[0] == "one"
        until(lambda: workers(server) == before)
        (folder / "gateway.toml").write_text("")
        write_app(folder, name="mended")
        server.signal(signal.SIGHUP)
        reloaded(server)
        until(lambda: answer(server)[0] == "mended")
        until(lambda: not workers(server) & before)
        assert server.terminate(TIME) == 0


def test_reload_moves_to_other_addresses(folder: Path) -> None:
    one, two, three = (str(folder / name) for name in ("1", "2", "3"))
    (folder / "gateway.toml").write_text(f"bind = ['unix:{one}', 'unix:{two}']\n")
    with Server("served:app", app_dir=folder, binds=(), listeners=2) as server:
        inode = os.stat(two).st_ino
        (folder / "gateway.toml").write_text(f"bind = ['unix:{two}', 'unix:{three}']\n")
        server.signal(signal.SIGHUP)
        reloaded(server)
        assert not os.path.exists(one)
        assert os.stat(two).st_ino == inode, "the same socket"
        for path in (two, three):
            with Client(path) as client:
                client.send(request("GET", "/"))
                assert client.response().status == 200
        assert server.terminate(TIME) == 0
        assert not os.path.exists(two)


# Under load: nothing fails


def test_broken_and_mended_code_under_load(folder: Path, load_of: Callable[..., Load]) -> None:
    with start(folder) as server:
        load = load_of(server)
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload failed", TIME)
        write_app(folder, name="two")
        server.signal(signal.SIGHUP)
        reloaded(server)
        until(lambda: answer(server)[0] == "two")
        result = load.stop()
        assert result["failed"] == {}, result


def test_killed_workers_under_load(folder: Path, load_of: Callable[..., Load]) -> None:
    times = 8
    with start(folder) as server:
        load = load_of(server, rate=500)
        for turn in range(times):
            before = workers(server)
            os.kill(min(before), signal.SIGKILL)
            until(lambda: len(workers(server) - {min(before)}) == 2)
            server.wait_for_lines("Application startup complete", 3 + turn, TIME)
        result = load.stop()
        # What was on its way in that worker: at most what it had connections for.
        assert sum(result["failed"].values()) <= times * 40, result
        assert set(result["failed"]) <= {"reset", "closed"}, result
        assert server.terminate(TIME) == 0


def test_recycling_under_load(folder: Path, load_of: Callable[..., Load]) -> None:
    with start(folder, "--max-requests=500", "--max-requests-jitter=100") as server:
        load = load_of(server, rate=800)
        server.wait_for_lines("Replacing worker", 6, TIME)
        result = load.stop()
        assert result["failed"] == {}, result
        assert len(result["bodies"]) >= 6, result
        assert server.terminate(TIME) == 0


def test_term_under_load_with_slow_requests(folder: Path, load_of: Callable[..., Load]) -> None:
    write_app(folder, within="import asyncio; await asyncio.sleep(2.5)")
    with start(folder) as server:
        load = load_of(server, rate=40, share=1.0)
        until(lambda: sum(map(sockets, workers(server))) > 80)
        assert server.terminate(TIME) == 0
        result = load.stop()
        assert set(result["failed"]) <= {"refused"}, result
        assert sum(result["bodies"].values()) >= 60


def sockets(pid: int) -> int:
    """How many sockets a process has."""
    try:
        return sum(os.readlink(entry).startswith("socket:") for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


# What the world around it is told


def ask(address: Any, target: str) -> tuple[int, str]:
    with Client(address) as client:
        client.send(request("GET", target))
        response = client.response()
        return response.status, response.body.decode().strip()


def health_of(server: Server) -> tuple[str, int]:
    return "127.0.0.1", int(server.wait_for_line(r"Health at: http://127\.0\.0\.1:(\d+)")[1])


def test_health(folder: Path) -> None:
    gate = folder / "gate"
    write_app(folder, before=f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)")
    with start(folder, "--health-bind=127.0.0.1:0", "--drain-delay=60", listeners=0) as server:
        address = health_of(server)
        assert ask(address, "/livez") == (200, "starting: not all workers are ready yet")
        assert ask(address, "/readyz")[0] == 503
        gate.touch()
        server.wait_for_line("Listening at", TIME)
        assert ask(address, "/readyz?verbose") == (200, "2 workers ready")
        assert ask(address, "/")[0] == 404
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload failed", TIME)
        assert ask(address, "/readyz")[1].endswith(
            "the last reload failed: importing served failed: ValueError: broken code"
        )
        server.signal(signal.SIGTERM)
        server.wait_for_line("Not ready any more; stopping in 60 s")
        assert ask(address, "/readyz") == (503, "stopping")
        assert ask(address, "/livez")[0] == 200
        port = int(server.wait_for_line(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])

        def announced() -> bool:
            # It is still served, and told to go.
            with Client(("127.0.0.1", port)) as client:
                client.send(request("GET", "/"))
                response = client.response()
                assert response.status == 200
                return "close" in response.connection

        until(announced)
        server.signal(signal.SIGINT)
        assert server.wait(TIME) == 0


def test_health_while_every_worker_is_busy(folder: Path) -> None:
    write_app(folder, within="import time; os.write(2, b'busy\\n'); time.sleep(60)")
    path = folder / "health"
    with start(folder, f"--health-bind=unix:{path}", workers=1) as server, server.connect() as client:
        client.send(request("GET", "/"))
        server.wait_for_line("busy")
        assert ask(str(path), "/readyz") == (200, "1 workers ready")
        server.signal(signal.SIGQUIT)
        server.wait(TIME)
        assert not path.exists()


def test_health_is_not_held_up_by_silent_clients(folder: Path) -> None:
    with start(folder, "--health-bind=127.0.0.1:0") as server:
        address = health_of(server)
        silent = [Client(address) for _ in range(80)]
        assert ask(address, "/readyz")[0] == 200
        silent[-1].send(b"x" * 9000)
        silent[-1].expect_end()
        for client in silent:
            client.close()
        assert server.terminate(TIME) == 0


def test_pid_file(folder: Path) -> None:
    path = folder / "gateway.pid"
    path.write_text("99999999\n")
    with start(folder, "-p", str(path)) as server:
        assert path.read_text() == f"{server.pid}\n"
        done = run_gateway("served:app", "--app-dir", str(folder), "--bind=127.0.0.1:0", f"--pid={path}", timeout=TIME)
        assert done.returncode == 2
        assert f"belongs to process {server.pid}, which runs" in done.stderr
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_for_lines("Application startup complete", 3, TIME)
        assert path.exists(), "it is the master's"
        assert server.terminate(TIME) == 0
    assert not path.exists()


class Manager:
    """What systemd is to a service that notifies."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(TIME)

    def expect(self, **fields: str) -> dict[str, str]:
        """The next message with these fields."""
        while True:
            message = dict(line.split("=", 1) for line in self.sock.recv(4096).decode().splitlines())
            if fields.items() <= message.items():
                return message


def test_systemd_is_notified(folder: Path) -> None:
    manager = Manager(folder / "notify")
    env = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "2000000", "PYTHONDONTWRITEBYTECODE": "1"}
    with manager.sock, start(folder, env=env) as server:
        manager.expect(READY="1", STATUS="2 workers ready")
        manager.expect(WATCHDOG="1")
        manager.expect(WATCHDOG="1")
        before = time.monotonic_ns() // 1000
        server.signal(signal.SIGHUP)
        assert int(manager.expect(RELOADING="1")["MONOTONIC_USEC"]) >= before
        manager.expect(READY="1")
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGHUP)
        manager.expect(RELOADING="1")
        assert "broken code" in manager.expect(READY="1")["STATUS"]
        server.signal(signal.SIGTERM)
        manager.expect(STOPPING="1")
        assert server.wait(TIME) == 0


def test_the_application_is_not_mistaken_for_the_service(folder: Path) -> None:
    write_app(folder, before="assert 'NOTIFY_SOCKET' not in os.environ")
    with start(folder, env={"NOTIFY_SOCKET": "@nobody", "PYTHONDONTWRITEBYTECODE": "1"}) as server:
        assert answer(server)


def test_systemd_passes_sockets(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        script = f"import os, sys; os.dup2({sock.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        script += "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.argv[1], sys.argv[1:])"
        with start(
            folder, wrapper=[sys.executable, "-c", script], pass_fds=[sock.fileno()], binds=(), listeners=1
        ) as server:
            assert server.addresses == [sock.getsockname()]
            server.signal(signal.SIGHUP)
            reloaded(server)
            assert answer(server)
            assert server.terminate(TIME) == 0


# Upgrade in place


def successor(server: Server) -> int:
    """The new master, which is waited for."""
    return int(server.wait_for_line(r"Upgrading: started the new program with pid: (\d+)", TIME)[1])


def test_upgrade_under_load(folder: Path, load_of: Callable[..., Load]) -> None:
    pid_file, health = folder / "pid", folder / "health"
    options = (f"--pid={pid_file}", f"--health-bind=unix:{health}")
    with start(folder, *options) as server:
        load = load_of(server, rate=500)
        old = workers(server)
        write_app(folder, name="two", before="import time; time.sleep(1)")
        server.signal(signal.SIGUSR2)
        new = successor(server)
        try:
            server.wait_for_line("Upgrade complete", TIME)
            until(lambda: pid_file.read_text() == f"{new}\n")
            assert ask(str(health), "/readyz") == (200, "2 workers ready")
            assert server.process is not None
            # It goes when its workers have gone.
            assert server.process.wait(TIME) == 0
            assert all(map(gone, old))
            assert not gone(new)
            assert answer(server)[0] == "two"
            result = load.stop()
            assert result["failed"] == {}, result
        finally:
            os.kill(new, signal.SIGTERM)
        until(lambda: gone(new))
        assert not pid_file.exists()
        assert not health.exists()
        server.wait(TIME)


def test_upgrade_to_a_broken_program(folder: Path, load_of: Callable[..., Load]) -> None:
    with start(folder) as server:
        load = load_of(server, rate=500)
        write_app(folder, before="raise ValueError('broken code')")
        server.signal(signal.SIGUSR2)
        new = successor(server)
        server.wait_for_line("Upgrade failed, this program goes on: the new one exited with code 4", TIME)
        assert gone(new)
        assert answer(server)[0] == "one"
        result = load.stop()
        assert result["failed"] == {}, result
        # And all else goes on as before.
        write_app(folder, name="mended")
        server.signal(signal.SIGHUP)
        reloaded(server)
        assert server.terminate(TIME) == 0


def test_upgrade_that_is_stopped_or_overtaken(folder: Path) -> None:
    gate = folder / "gate"
    write_app(folder, before=f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)")
    gate.touch()
    with start(folder) as server:
        gate.unlink()
        server.signal(signal.SIGUSR2)
        new = successor(server)
        server.signal(signal.SIGUSR2)
        server.wait_for_line("Not upgrading")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Not reloading")
        server.signal(signal.SIGTERM)
        assert server.process is not None
        assert server.process.wait(TIME) == 0
        until(lambda: gone(new))
        server.wait(TIME)


# Memory, users, groups


def test_preload(folder: Path) -> None:
    write_app(folder, before="parent = os.getpid()\nos.write(2, b'loaded\\n')", within="assert parent == os.getppid()")
    with start(folder, "--preload") as server:
        assert server.lines.count("loaded") == 1
        assert answer(server)[1] in workers(server)
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_for_lines("Application startup complete", 3, TIME)
        assert server.lines.count("loaded") == 1
        write_app(folder, name="two")
        server.signal(signal.SIGHUP)
        new = successor(server)
        try:
            server.wait_for_line("Upgrade complete", TIME)
            until(lambda: answer(server)[0] == "two")
        finally:
            os.kill(new, signal.SIGTERM)
        assert server.wait(TIME) == 0


@pytest.mark.parametrize(("before", "code"), [("raise ValueError('broken')", 4), ("import sys; sys.exit(1)", 4)])
def test_preload_that_fails(folder: Path, before: str, code: int) -> None:
    write_app(folder, before=before)
    done = run_gateway("served:app", "--app-dir", str(folder), "--preload", "--bind=127.0.0.1:0", timeout=TIME)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("gateway: error:") == 1


def test_term_during_preload(folder: Path) -> None:
    write_app(folder, before="import time; os.write(2, b'importing\\n'); time.sleep(60)")
    with start(folder, "--preload", listeners=0) as server:
        server.wait_for_line("importing")
        assert server.terminate(TIME) == 0


def test_threads_of_a_preloaded_application_are_named(folder: Path) -> None:
    write_app(
        folder,
        before="import threading; threading.Thread(target=threading.Event().wait, name='mine', daemon=True).start()",
    )
    with start(folder, "--preload") as server:
        server.wait_for_line(r"started threads while it was loaded \(mine\)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change")
def test_workers_change_their_group_and_files_their_owner(folder: Path) -> None:
    write_app(folder, within=BLOCK)
    path, access = folder / "s", folder / "access.log"
    options = ("--group=12345", "--umask=027", f"--access-logfile={access}", "--access-log-flush=0")
    with start(folder, *options, binds=[f"unix:{path}"]) as server:
        for pid in workers(server):
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(r"^Gid:\s+12345\s+12345", status, re.MULTILINE)
            assert re.search(r"^Groups:\s+12345\s*$", status, re.MULTILINE)
            assert re.search(r"^Umask:\s+0027", status, re.MULTILINE)
        assert path.stat().st_gid == access.stat().st_gid == 12345
        access.unlink()
        server.signal(signal.SIGUSR1)
        until(lambda: access.exists() and access.stat().st_gid == 12345)
        with one_blocked(server) as pids:
            server.kill()
            until(lambda: all(map(gone, pids)))


def test_unknown_users_and_groups(folder: Path) -> None:
    for option in ("--user=nobody-of-this-name", "--group=nobody-of-this-name"):
        done = run_gateway("served:app", "--app-dir", str(folder), "--bind=127.0.0.1:0", option, timeout=TIME)
        assert done.returncode == 2, done.stderr
        assert "nobody-of-this-name" in done.stderr
