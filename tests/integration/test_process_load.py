"""What operators do to a server under load, with a client that counts: nothing fails, and nobody waits for long.

What those marked bars measure is shown, and judged where GATEWAY_BARS=1 says that the machine has nothing else to do;
that nothing fails is always judged.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .load import Load
from .test_processes import TIME, gone, reloaded, sockets, start, until, workers, write_app

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(240),
]

BARS = os.environ.get("GATEWAY_BARS") == "1"

SLEEPS = "import time; time.sleep(2)"
COMPUTES = "import time\nbegin = time.process_time()\nwhile time.process_time() - begin < 2: pass"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


@pytest.mark.bars
@pytest.mark.parametrize(("before", "bar"), [(SLEEPS, 50.0), (COMPUTES, 500.0)], ids=["sleeps", "computes"])
def test_ten_reloads(
    folder: Path, load_of: Callable[..., Load], before: str, bar: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """2,000 requests per second, on kept and fresh connections; milliseconds."""
    with start(folder) as server:
        quiet = load_of(server, rate=2000, seconds=5).wait()
        write_app(folder, name="two", before=before)
        load = load_of(server, rate=2000, seconds=200)
        for turn in range(1, 11):
            server.signal(signal.SIGHUP)
            reloaded(server, turn)
        result = load.stop()
        show(capsys, "quiet", quiet)
        show(capsys, "ten reloads", result)
        assert result["failed"] == {}, result
        assert not BARS or result["p99.9"] < bar, (quiet, result)
        assert {body.split()[0] for body in result["bodies"]} == {"one", "two"}
        assert server.terminate(60) == 0


@pytest.mark.bars
def test_a_worker_killed_every_second(
    folder: Path, load_of: Callable[..., Load], capsys: pytest.CaptureFixture[str]
) -> None:
    with start(folder, "--log-level=debug") as server:
        load = load_of(server, rate=1000)
        times = []
        for turn in range(20):
            begin = time.monotonic()
            os.kill((min, max)[turn % 2](workers(server)), signal.SIGKILL)
            server.wait_for_lines(r"Worker \(pid:\d+\) ready after", 3 + turn, TIME)
            times.append(time.monotonic() - begin)
            time.sleep(max(0.0, begin + 1.0 - time.monotonic()))
        result = load.stop()
        show(capsys, f"back after {max(times):.3f} s at most, {sum(times) / 20:.3f} s on average", result)
        # What was on its way in that worker: never more than what it had connections for.
        assert set(result["failed"]) <= {"reset", "closed"}, result
        assert sum(result["failed"].values()) <= 20 * 20, result
        assert not BARS or sorted(times)[15] < 0.5, times
        assert server.terminate(TIME) == 0


def test_load_spreads_over_workers(
    folder: Path, load_of: Callable[..., Load], capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept connections only: who has them once, has them for good."""
    with start(folder, workers=4) as server:
        result = load_of(server, seconds=3, rate=500, share=0.0, connections=64).wait()
        show(capsys, "four workers", result)
        assert result["failed"] == {}
        shares = sorted(count / result["requests"] for count in result["bodies"].values())
        assert len(shares) == 4
        # Who is kept from running leaves its part to others, and that is right.
        assert shares[-1] < 0.75, result
        assert not BARS or (shares[0] > 0.1 and shares[-1] < 0.5), result


def test_a_socket_for_each_worker(folder: Path, load_of: Callable[..., Load]) -> None:
    """The system spreads connections by their addresses; one process more or less, and nearly none is lost by that."""
    with start(folder, "--reuse-port") as server:
        load = load_of(server, rate=500, share=0.5, connections=64)
        for turn in range(1, 3):
            server.signal(signal.SIGHUP)
            reloaded(server, turn)
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_for_lines("Application startup complete", 7, TIME)
        until(lambda: len(workers(server)) == 2)
        result = load.stop()
        assert set(result["failed"]) <= {"reset", "closed"}, result
        # What was in the queue of the one that was killed, and arrived as others closed theirs: it depends on how long
        # they were kept from running.
        assert sum(result["failed"].values()) <= (10 if BARS else result["requests"] // 10), result
        assert len(result["bodies"]) > 3, result
        pids = workers(server)
        inodes = [listening(pid, server.port) for pid in pids]
        assert all(len(found) == 1 for found in inodes)
        assert len(set.union(*inodes)) == 2, "one for each"
        assert listening(server.pid, server.port) == set(), "the master has the address, and no queue"
        server.signal(signal.SIGUSR2)
        new = int(server.wait_for_line(r"Upgrade complete: process (\d+) serves", TIME)[1])
        try:
            until(lambda: gone(server.pid))
            assert server.get("/").status == 200
        finally:
            os.kill(new, signal.SIGTERM)
        until(lambda: gone(new))


def listening(pid: int, port: int) -> set[str]:
    """The inodes of a process's sockets that listen at a port (proc_net_tcp(5))."""
    have = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            have.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}") and row[9] in have}


def test_term(folder: Path, load_of: Callable[..., Load]) -> None:
    """Clients in full swing are answered, and told to go; then they are refused."""
    with start(folder) as server:
        load = load_of(server, rate=1000)
        until(lambda: sum(map(sockets, workers(server))) > 40)
        assert server.terminate(TIME) == 0
        result = load.stop()
        assert set(result["failed"]) <= {"refused"}, result
        assert sum(result["bodies"].values()) > 20


def switches(pid: int) -> int:
    """How often a process has gone to sleep (proc_pid_status(5))."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_term_during_a_reload(folder: Path, load_of: Callable[..., Load]) -> None:
    with start(folder) as server:
        load = load_of(server, rate=500)
        write_app(folder, before="import time; os.write(2, b'importing\\n'); time.sleep(60)")
        server.signal(signal.SIGHUP)
        server.wait_for_line("importing", TIME)
        seen = workers(server)
        assert server.terminate(TIME) == 0
        result = load.stop()
        assert set(result["failed"]) <= {"refused"}, result
        assert all(map(gone, seen))


def test_scaling(folder: Path, load_of: Callable[..., Load]) -> None:
    """One more, one less, again and again: those that leave finish what they have."""
    with start(folder) as server:
        load = load_of(server, rate=500)
        for turn in range(1, 6):
            server.signal(signal.SIGTTIN)
            server.wait_for_lines("Application startup complete", 2 + turn, TIME)
            server.signal(signal.SIGTTOU)
            until(lambda: len(workers(server)) == 2)
        result = load.stop()
        assert result["failed"] == {}, result
        assert server.terminate(TIME) == 0


def show(capsys: pytest.CaptureFixture[str], what: str, result: dict[str, Any]) -> None:
    """Print figures, past pytest, which keeps those of passing tests to itself."""
    with capsys.disabled():
        shares = [round(count / result["requests"], 3) for count in sorted(result["bodies"].values())]
        print(f"\n{what}: {result['requests']} requests in {result['seconds']} s, failed: {result['failed']};", end=" ")
        print(", ".join(f"p{share} {result[f'p{share}']} ms" for share in (50, 99, 99.9, 100)), end="")
        print(f"; shares of the processes: {shares}" if len(shares) < 10 else "")


@pytest.mark.skipif(sys.platform != "linux", reason="EPOLLEXCLUSIVE is Linux's")
@pytest.mark.parametrize("options", [[], ["--loop=asyncio"], ["--io=asyncio"]])
def test_one_worker_is_woken_for_a_connection(folder: Path, options: list[str]) -> None:
    """One after the other, so that all eight wait for each."""
    with start(folder, *options, workers=8) as server:
        pids = workers(server)
        server.get("/")
        seen = set()
        before = sum(map(switches, pids))
        begin = time.monotonic()
        for _ in range(300):
            seen.add(server.get("/").body)
        ticks = len(pids) * (time.monotonic() - begin) / 0.25
        # Less than two turns for each: to accept, and to find that there is no more. All of them would be 2,400.
        assert sum(map(switches, pids)) - before - ticks < 1200
        assert len(seen) > 4, "and not always the same"
        assert server.terminate(TIME) == 0
