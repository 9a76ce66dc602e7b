"""The control socket, and `gateway ctl` and `gateway top` as those who use it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import environment, request, run_gateway
from .test_processes import TIME, answer, gone, start, until, workers, write_app
from .wsclient import WebSocket

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(180),
]

WITHIN = """\
if scope["path"] == "/wait":
    import asyncio
    os.write(2, b"waiting\\n")
    await asyncio.sleep(600)
if scope["path"] == "/block":
    import time
    os.write(2, b"blocking\\n")
    time.sleep(600)
"""

SOCKET = """\
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path, within=WITHIN)
    return tmp_path


@pytest.fixture
def path() -> Iterator[str]:
    """A short one: there is not much room in an address."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gw", dir="/tmp") as name:
        yield f"{name}/control"


def ctl(path: str, *arguments: str, timeout: float = TIME) -> subprocess.CompletedProcess[str]:
    return run_gateway("ctl", "--socket", path, *arguments, timeout=timeout)


def status(path: str) -> dict[str, Any]:
    done = ctl(path, "--json", "status")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def answered(path: str) -> dict[str, Any]:
    """The status, once no worker has been too slow to say what it does."""

    def facts() -> dict[str, Any] | None:
        found = status(path)
        return found if all(worker["requests"] is not None for worker in found["workers"]) else None

    result: dict[str, Any] = until(facts)
    return result


def shown_by(path: str, command: str, *patterns: str) -> str:
    """What a command of `gateway ctl` shows, once all of that is in it: who is slow to answer is shown as blocked."""

    def text() -> str:
        found = ctl(path, command).stdout
        return found if all(re.search(pattern, found, re.MULTILINE) for pattern in patterns) else ""

    return str(until(text))


def ask(path: str, data: bytes) -> bytes:
    """What the socket itself says to `data`, up to the end of a line, or of the connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIME)
        sock.connect(path)
        sock.sendall(data)
        received = b""
        while b"\n" not in received and (more := sock.recv(65536)):
            received += more
    return received


def test_status(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path, "--access-logfile=/dev/null", "--graceful-timeout=1") as server:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with server.connect() as client:
            client.send(request("GET", "/wait?secret=1"))
            server.wait_for_line("waiting")
            facts = answered(path)
            assert (facts["pid"], facts["wanted"], facts["ready"]) == (server.pid, 2, True)
            assert (facts["restarts"], facts["reloads"], facts["reload_error"]) == (0, 0, None)
            assert facts["listeners"] == [server.url]
            assert facts["uptime"] > 0
            assert {worker["pid"] for worker in facts["workers"]} == workers(server)
            for worker in facts["workers"]:
                assert (worker["state"], worker["generation"]) == ("ready", 1)
                assert worker["memory"] > 1_000_000
            (busy,) = [worker for worker in facts["workers"] if worker["in_flight"]]
            (found,) = busy["requests"]
            assert (found["method"], found["path"]) == ("GET", "/wait")
            assert found["client"].startswith("127.0.0.1:")
            assert 0 <= found["age"] < TIME
            until(lambda: sum(worker["connections"] for worker in status(path)["workers"]) == 1)
            row = rf"^ *{busy['pid']} +1 +ready .* 1 "
            request_row = rf"^ *{busy['pid']} +\S+s +GET +/wait +127.0.0.1:\d+$"
            shown = shown_by(path, "status", row, request_row)
            assert f"(pid {server.pid}) served:app, up " in shown
            assert "secret" not in shown
        environ = {"GATEWAY_CONTROL_SOCKET": path}
        assert run_gateway("ctl", "status", env=environ).stdout.startswith("gateway ")
        assert server.terminate(TIME) == 0
        assert not Path(path).exists()


def test_a_websocket_has_path_and_age(folder: Path, path: str) -> None:
    (folder / "served.py").write_text(SOCKET)
    with start(folder, "--control-socket", path, "--graceful-timeout=0", workers=1) as server:
        with WebSocket(server.addresses[0]) as client:
            client.open("/chat?secret=1")
            (worker,) = until(lambda: [each for each in status(path)["workers"] if each["in_flight"]])
            (found,) = worker["requests"]
            assert (found["method"], found["path"]) == ("WebSocket", "/chat")
            assert 0 < found["age"] < 3600
            shown = ctl(path, "status").stdout
            assert re.search(r"^ *\d+ +\S+s +WebSocket +/chat +127.0.0.1:\d+$", shown, re.MULTILINE)
            assert server.terminate(TIME) == 0
            server.wait_for_line(r"Cut off: WebSocket /chat of 127.0.0.1:\d+ \(\d+\.\d s\)")


def test_threads_and_queue(folder: Path, path: str) -> None:
    (folder / "served.py").write_text("def app(environ, start_response):\n    import time\n    time.sleep(600)\n")
    with start(folder, "--control-socket", path, "--threads=1", workers=1) as server:
        clients = [server.connect() for _ in range(3)]
        try:
            for client in clients:
                client.send(request("GET", "/"))

            def busy() -> Any:
                (worker,) = status(path)["workers"]
                return worker if worker["in_flight"] == 3 else None

            worker = until(busy)
            assert (worker["threads"], worker["busy"], worker["queued"]) == (1, 1, 2)
            assert shown_by(path, "status", "1/1")
        finally:
            for client in clients:
                client.close()


def test_a_blocked_worker_is_told_from_the_others(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path) as server, server.connect() as client:
        client.send(request("GET", "/block"))
        server.wait_for_line("blocking")
        states = {worker["state"]: worker for worker in until(lambda: blocked_and_ready(path))}
        assert states["blocked"]["requests"] is None
        assert states["blocked"]["silence"] > 0
        assert states["ready"]["requests"] == []
        pid = states["blocked"]["pid"]
        assert re.search(rf"{pid} +1 +blocked \S+s ", ctl(path, "status").stdout)
        rows = (rf"^--- worker {pid} \(its event loop is blocked\)", rf"^--- worker {states['ready']['pid']}$")
        shown = shown_by(path, "dump", *rows, 'served.py", line')
        server.wait_for_line(rf"What the threads of worker \(pid:{pid}\) do, as asked")
        server.wait_for_line(r'File ".*served.py", line')
        again = shown_by(path, "dump", *rows, 'served.py", line')
        assert again.count('served.py", line') == shown.count('served.py", line'), "the stacks of now only"
        assert workers(server) == {pid, states["ready"]["pid"]}


def blocked_and_ready(path: str) -> Any:
    found = status(path)["workers"]
    return found if {worker["state"] for worker in found} == {"blocked", "ready"} else None


def test_dump(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path, workers=1) as server, server.connect() as client:
        client.send(request("GET", "/wait"))
        server.wait_for_line("waiting")
        shown = shown_by(path, "dump", r'File ".*served.py", line \d+, in app\n +await asyncio.sleep\(600\)')
        assert "Thread 'MainThread':" in shown
        assert "Task 'Task-" in shown
        assert "in sleep" in shown, "the whole chain of what waits for what"
        server.wait_for_line("What each thread and task does, as asked")
        server.wait_for_line("await asyncio.sleep")
        assert answer(server)[1] in workers(server)


def test_reload(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path) as server:
        before = workers(server)
        write_app(folder, "two")
        done = ctl(path, "reload")
        assert (done.returncode, done.stdout, done.stderr) == (0, "Reload complete\n", "")
        assert answer(server)[0] == "two"
        until(lambda: all(map(gone, before)))
        assert {worker["generation"] for worker in status(path)["workers"]} == {2}
        write_app(folder, before="raise ValueError('broken at import')")
        done = ctl(path, "reload")
        assert (done.returncode, done.stdout) == (1, "")
        assert 'served.py", line 2' in done.stderr
        assert re.search(r"^gateway: error: reload failed: .*broken at import$", done.stderr, re.MULTILINE)
        facts = status(path)
        assert (facts["reloads"], facts["ready"]) == (1, True)
        assert "broken at import" in facts["reload_error"]["error"]
        assert "Traceback" in facts["reload_error"]["traceback"]
        shown = ctl(path, "status").stdout
        assert "The last reload failed: " in shown
        assert 'served.py", line 2' in shown
        assert answer(server)[0] == "two"
        write_app(folder, "three")
        assert ctl(path, "--json", "reload").stdout == json.dumps({"ok": True, "generation": 4}, indent=2) + "\n"
        assert status(path)["reload_error"] is None
        assert answer(server)[0] == "three"


def test_a_reload_that_another_takes_the_place_of(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path) as server:
        write_app(folder, before="import time; os.write(2, b'importing\\n'); time.sleep(600)")
        first = subprocess.Popen(
            [sys.executable, "-m", "gateway", "ctl", "--socket", path, "reload"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            server.wait_for_line("importing", TIME)
            assert status(path)["reloading"] is True
            write_app(folder, "two")
            assert ctl(path, "reload").returncode == 0
            _, error = first.communicate(timeout=TIME)
            assert first.returncode == 1
            assert error == "gateway: error: reload failed: another reload has taken its place\n"
        finally:
            first.kill()
            first.wait()


@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_who_waits_for_a_reload_meets_new_code_only(folder: Path, path: str, options: tuple[str, ...]) -> None:
    """It is not complete for them while a worker that has not heard of it may still accept."""
    gate = folder / "gate"
    wait = f"    os.write(2, b'blocking\\n')\n    while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    write_app(folder, before="import time", within=f"if scope['path'] == '/block':\n{wait}")
    server = start(folder, "--control-socket", path, *options, workers=1)
    patience = "import sys, gateway.cli, gateway.supervisor.commands as c; c.ACCEPT_TIME = 60.0; "
    server.command = [sys.executable, "-c", patience + "sys.exit(gateway.cli.main())", *server.command[3:]]
    with server, server.connect() as client:
        client.send(request("GET", "/block"))
        server.wait_for_line("blocking")
        write_app(folder, "two")
        command = [sys.executable, "-m", "gateway", "ctl", "--socket", path, "reload"]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL) as reload:
            try:
                server.wait_for_line("(Reload|Upgrade) complete", TIME)
                with pytest.raises(subprocess.TimeoutExpired):
                    reload.wait(0.5)
                gate.touch()
                assert reload.wait(TIME) == 0
                assert answer(server)[0] == "two"
            finally:
                reload.kill()
                ctl(path, "stop")


def test_a_preloaded_application_is_reloaded_by_an_upgrade(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path, "--preload") as server:
        write_app(folder, "two")
        done = ctl(path, "reload")
        assert done.returncode == 0, done.stderr
        new = int(re.fullmatch(r"Upgrade complete: process (\d+) serves\n", done.stdout)[1])  # type: ignore[index]
        try:
            assert answer(server)[0] == "two"
            assert server.process is not None
            assert server.process.wait(TIME) == 0
            assert status(path)["pid"] == new
            write_app(folder, before="raise ValueError('broken at import')")
            done = ctl(path, "reload")
            assert done.returncode == 1
            assert "reload failed: the new program failed to start" in done.stderr
            assert status(path)["pid"] == new
            assert ctl(path, "stop").returncode == 0
            until(lambda: gone(new))
            assert not Path(path).exists()
        finally:
            if not gone(new):
                os.kill(new, signal.SIGKILL)


def test_scale_and_reopen(folder: Path, path: str) -> None:
    log = folder / "access.log"
    with start(folder, "--control-socket", path, "--access-logfile", str(log), workers=1) as server:
        assert ctl(path, "scale", "3").stdout == "Workers wanted: 3 (there were 1)\n"
        until(lambda: len(workers(server)) == 3)
        assert ctl(path, "scale", "1").returncode == 0
        until(lambda: len(workers(server)) == 1)
        for number in ("0", "-1", "99999"):
            done = ctl(path, "scale", "--", number)
            assert done.returncode == 1
            assert "scale failed: expected a number of workers from 1 to " in done.stderr
        log.rename(folder / "moved.log")
        assert ctl(path, "reopen").returncode == 0
        assert log.exists()


@pytest.mark.parametrize("options", [(), ("--now",)])
def test_stop_waits_for_the_end(folder: Path, path: str, options: tuple[str, ...]) -> None:
    with start(folder, "--control-socket", path) as server:
        done = ctl(path, "stop", *options)
        assert (done.returncode, done.stdout) == (0, "Stopping\n")
        assert server.wait(TIME) == 0
        server.wait_for_line("Handling command: stop")


def test_the_path(folder: Path, path: str) -> None:
    options = ("served:app", "--app-dir", str(folder), "--bind=127.0.0.1:0")
    with start(folder, "--control-socket", path) as server:
        done = run_gateway(*options, "--control-socket", path, timeout=TIME)
        assert done.returncode == 1
        assert re.search(r"^gateway: error: .*control.* in use", done.stderr, re.MULTILINE), done.stderr
        assert status(path)["pid"] == server.pid
        server.kill()
        assert Path(path).exists()
        done = ctl(path, "status")
        assert (done.returncode, done.stderr) == (1, f"gateway: error: no server answers at {path}\n")
    with start(folder, "--control-socket", path) as server:
        assert status(path)["pid"] == server.pid, "a stale one is replaced"
        assert server.terminate(TIME) == 0
    Path(path).write_text("mine")
    done = run_gateway(*options, "--control-socket", path, timeout=TIME)
    assert done.returncode == 1
    assert "this file exists and is no socket" in done.stderr
    assert Path(path).read_text() == "mine"
    done = run_gateway(*options, "--control-socket=@name", timeout=TIME)
    assert done.returncode == 2
    assert "anybody may connect to an abstract socket" in done.stderr
    done = run_gateway(*options, "--control-socket", path, "--no-supervisor", timeout=TIME)
    assert done.returncode == 2


def test_an_upgrade_takes_the_socket_over(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path) as server:
        server.signal(signal.SIGUSR2)
        server.wait_for_line("Upgrade complete", TIME)
        assert server.process is not None
        assert server.process.wait(TIME) == 0
        new = until(lambda: status(path)["pid"])
        assert new != server.pid
        write_app(folder, before="raise ValueError('broken at import')")
        os.kill(new, signal.SIGUSR2)
        server.wait_for_line("Upgrade failed", TIME)
        assert status(path)["pid"] == new, "the file is still there"
        assert ctl(path, "stop").returncode == 0


def test_options_may_come_after_the_command(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path):
        done = run_gateway("ctl", "status", "--json", "--timeout=20", "--socket", path)
        assert json.loads(done.stdout)["ok"], done.stderr
        # And what came before it still counts.
        done = run_gateway("ctl", "--json", "--socket", path, "scale", "1", "--timeout=20")
        assert json.loads(done.stdout)["workers"] == 1, done.stderr


def test_what_ctl_says_when_it_can_not(folder: Path, path: str) -> None:
    for arguments, code, message in [
        (("status",), 2, "say where the server is: --socket PATH, or GATEWAY_CONTROL_SOCKET in the environment"),
        (("--socket", "/nowhere/at/all", "status"), 2, "can't connect to /nowhere/at/all: No such file or directory"),
        (("--socket", "/" + "long/" * 50, "status"), 2, ": the path is too long"),
        (("--socket", path, "grow"), 2, "invalid choice: 'grow'"),
        (("--socket", path), 2, "the following arguments are required: COMMAND"),
        (("--socket", path, "scale", "some"), 2, "invalid int value: 'some'"),
    ]:
        done = run_gateway("ctl", *arguments)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("gateway: error: "), done.stderr
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert run_gateway("ctl", "--help").stdout.startswith("usage: gateway ctl ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="has to become another user")
def test_others_may_not_connect(folder: Path, path: str) -> None:
    os.chmod(Path(path).parent, 0o755)
    with start(folder, "--control-socket", path):
        # What this user may not even import has to be there before.
        script = "import os, sys; from gateway.cli import main; main(['ctl', 'status']); os.setuid(65534); "
        script += "print('now', file=sys.stderr); sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", script, "ctl", "--socket", path, "status"],
            env=environment(), capture_output=True, text=True, timeout=TIME,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.partition("now\n")[2] == f"gateway: error: can't connect to {path}: Permission denied\n"


def test_the_socket_bears_what_it_is_sent(folder: Path, path: str) -> None:
    with start(folder, "--control-socket", path, workers=1) as server:
        for data, error in [
            (b"nonsense\n", "expected a line with an object in JSON"),
            (b"[1]\n", "expected a line with an object in JSON"),
            (b"{}\n", "expected a command: status, reload, scale, reopen, stop or dump"),
            (b'{"command": ["stop"]}\n', "expected a command: "),
            (b'{"command": "scale", "workers": "3"}\n', "expected a number of workers"),
            (b'{"command": "scale", "workers": true}\n', "expected a number of workers"),
            (b"x" * 5000, "a request has more than 4096 bytes"),
        ]:
            reply = json.loads(ask(path, data))
            assert reply["ok"] is False
            assert error in reply["error"]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIME)
            sock.connect(path)
            sock.sendall(b'{"command": "status"}\n' * 3)
            file = sock.makefile("rb")
            assert all(json.loads(file.readline())["ok"] for _ in range(3)), "one after the other"
        many = [socket.socket(socket.AF_UNIX) for _ in range(17)]
        try:
            for sock in many:
                sock.settimeout(TIME)
                sock.connect(path)
            assert json.loads(many[-1].recv(4096)) == {"ok": False, "error": "there are 16 clients already"}
            assert many[-1].recv(4096) == b""
        finally:
            for sock in many:
                sock.close()

        def served() -> bool:
            # Refused for as long as the others are counted, perhaps before it has said anything.
            with contextlib.suppress(ConnectionError):
                return b'"ok": true' in ask(path, b'{"command": "status"}\n')
            return False

        until(served)
        assert workers(server)


def test_clients_go_unnoticed_by_the_workers(folder: Path, path: str) -> None:
    """A worker has none of the master's descriptors: the end of the master is the end of the connection."""
    with start(folder, "--control-socket", path, workers=1) as server:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIME)
            sock.connect(path)
            sock.sendall(b'{"command": "scale", "workers": 3}\n')
            assert b"true" in sock.recv(4096)
            until(lambda: len(workers(server)) == 3)
            server.signal(signal.SIGTERM)
            assert sock.recv(4096) == b""
        assert server.wait(TIME) == 0


# top


def top(path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_gateway("top", "--socket", path, *arguments, env={"COLUMNS": "120"}, timeout=TIME)


def test_top_once(folder: Path, path: str) -> None:
    pytest.importorskip("rich")
    with start(folder, "--control-socket", path, "--access-logfile=/dev/null", "--graceful-timeout=1") as server:
        with server.connect() as client:
            client.send(request("GET", "/wait?secret=1"))
            server.wait_for_line("waiting")
            rows = [rf"^ *{pid} +1 +ready " for pid in workers(server)]
            rows.append(r"^ *\d+ +\S+s +GET +/wait +127.0.0.1:\d+ *$")

            def once() -> Any:
                done = top(path, "--once")
                return done if all(re.search(row, done.stdout, re.MULTILINE) for row in rows) else None

            # Who is slow to answer is shown as blocked.
            done = until(once)
            assert (done.returncode, done.stderr) == (0, "")
            assert f"(pid {server.pid}) served:app, up " in done.stdout
            assert "secret" not in done.stdout
            assert "\x1b" not in done.stdout
        assert ctl(path, "stop").returncode == 0
        assert server.wait(TIME) == 0
    done = top(path, "--once")
    assert (done.returncode, done.stderr) == (
        2,
        f"gateway: error: can't connect to {path}: No such file or directory\n",
    )


def test_top_in_a_terminal(folder: Path, path: str) -> None:
    pytest.importorskip("rich")
    import pty

    with start(folder, "--control-socket", path) as server:
        outside, inside = pty.openpty()
        command = [sys.executable, "-m", "gateway", "top", "--interval=0.1"]
        env = environment({"GATEWAY_CONTROL_SOCKET": path, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"})
        process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=subprocess.PIPE, env=env, text=True)
        os.close(inside)
        try:
            seen = read_until(outside, b"requests/s")
            assert all(str(pid).encode() in seen for pid in workers(server))
            write_app(folder, "two")
            assert ctl(path, "reload").returncode == 0
            read_until(outside, b"1 reloads")
            server.signal(signal.SIGUSR2)
            server.wait_for_line("Upgrade complete", TIME)
            new = status(path)["pid"]
            read_until(outside, f"(pid {new})".encode())
            process.send_signal(signal.SIGINT)
            read_until(outside, b"")
            _, error = process.communicate(timeout=TIME)
            assert (process.returncode, error) == (0, "")
        finally:
            process.kill()
            process.wait()
            os.close(outside)
            ctl(path, "stop")


def read_until(terminal: int, text: bytes) -> bytes:
    """What appears on a terminal until there is `text`; all of it when that is empty."""
    seen = b""
    end = time.monotonic() + TIME
    while not text or text not in seen:
        assert select.select([terminal], (), (), max(0.0, end - time.monotonic()))[0], seen
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            # The other end is closed.
            assert not text, seen
            break
    return seen


def test_top_without_its_library(path: str) -> None:
    script = "import sys; sys.modules['rich'] = None; from gateway.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "top", "--socket", path]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIME)
    assert done.returncode == 2
    assert done.stderr == "gateway: error: top: rich is not installed; pip install 'gateway[top]'\n"


def test_without_the_option_there_is_none(folder: Path) -> None:
    with start(folder) as server:
        links = [os.readlink(f"/proc/{server.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.pid}/fd")]
        assert not any("(deleted)" in link for link in links)
