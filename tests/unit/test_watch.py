"""The heartbeat, who looks at it, and who looks at the loop."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.backend import CORE, Backend
from gateway.server import stacks
from gateway.server.share import Board, Share, Silence
from gateway.server.watching import LoopWatch
from gateway.supervisor.watching import NOTICE_INTERVAL, Watching, notice
from tests.fakes import recording_logger

TIMEOUT = 30.0


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + TIMEOUT
    while not (result := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)
    return result


# The heartbeat


def test_heartbeat(build: Backend) -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    cells = memoryview(memory).cast("q")
    beat = build.module("kernels.watch").Heartbeat(memory, 16, 0.01)
    if not beat.start():
        assert build.name == CORE
        assert cells[2] == 0
        beat.stop()
        return
    first = cells[2]
    # Milliseconds of the same clock.
    assert abs(first - time.monotonic() * 1000) < TIMEOUT * 1000
    until(lambda: cells[2] > first)
    assert beat.start(), "once is enough"
    beat.stop()
    last = cells[2]
    time.sleep(0.05)
    assert cells[2] == last
    assert list(cells[:2]) == [0, 0] and cells[3] == 0
    beat.stop()
    assert beat.start(), "and again"
    until(lambda: cells[2] > last)


@pytest.mark.parametrize(
    ("offset", "interval"), [(-8, 1.0), (4, 1.0), (mmap.PAGESIZE, 1.0), (mmap.PAGESIZE - 4, 1.0), (0, 0.0), (0, -1.0)]
)
def test_heartbeat_has_a_place(build: Backend, offset: int, interval: float) -> None:
    with pytest.raises(ValueError, match="a heartbeat needs"):
        build.module("kernels.watch").Heartbeat(mmap.mmap(-1, mmap.PAGESIZE), offset, interval)


def test_heartbeat_needs_writable_memory(compiled: Backend) -> None:
    with pytest.raises(BufferError):
        compiled.module("kernels.watch").Heartbeat(bytes(8), 0, 1.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_heartbeat_does_not_follow_into_a_fork(compiled: Backend) -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    beat = compiled.module("kernels.watch").Heartbeat(memory, 0, 0.01)
    assert beat.start()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        # Neither waits for a thread that is not here.
        beat.stop()
        del beat
        os._exit(7)
    # Nor does what it has inherited keep ours from ending; nor its own end, ours from going on.
    beat.stop()
    assert beat.start()
    os.write(writer, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    cells = memoryview(memory).cast("q")
    now = cells[0]
    until(lambda: cells[0] > now)
    beat.stop()
    os.close(reader)
    os.close(writer)


def test_heartbeat_survives_the_end_of_the_interpreter(compiled: Backend) -> None:
    """Its thread goes on while modules and memory are torn down."""
    script = """
import mmap, sys
from gateway._speedups.kernels.watch import Heartbeat
kept = [Heartbeat(mmap.mmap(-1, 4096), 0, 0.001) for _ in range(8)]
assert all(beat.start() for beat in kept)
kept.append(kept)
for beat in kept[:4]:
    sys.modules[repr(beat)] = beat
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT)
        assert (done.returncode, done.stderr) == (0, "")


# The board


def test_silence() -> None:
    board = Board()
    share = Share(board, board.take())
    share.show()
    silence = board.silence(share.row)
    assert 0 <= silence.loop < TIMEOUT
    assert silence.interpreter is None and silence.process is None
    share.breathe()
    assert board.silence(share.row).interpreter is not None
    memoryview(board.memory).cast("q")[board.place(share.row) // 8] = int(time.monotonic() * 1000)
    process = board.silence(share.row).process
    assert process is not None and -0.01 < process < TIMEOUT
    # Who has the row next has given no sign yet.
    board.free(share.row)
    assert board.take() == share.row
    assert board.silence(share.row)[1:] == (None, None)


# The master's judgement


class Watched:
    """A worker whose signs of life are those that a test gives. Signals are kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
        self.log, self.lines = recording_logger()
        self.now = 1000.0
        self.watching = Watching(4711, limit, self.log, self.now)
        self.signals: list[int] = []
        monkeypatch.setattr(os, "kill", lambda pid, number: self.signals.append(number))

    def look(self, loop: float, interpreter: float | None = 0.1, process: float | None = 0.1) -> str:
        return self.watching.look(Silence(loop, interpreter, process), self.now)

    def wait(self, seconds: float) -> None:
        """Look now and then, as a master does; nothing is wrong."""
        for _ in range(int(seconds)):
            self.now += 1.0
            self.look(0.1)


@pytest.mark.parametrize(
    ("silence", "words"),
    [
        ((3.0, 0.2, 0.2), "event loop blocked by application code for 3.0 s"),
        ((3.5, 3.0, 0.2), "GIL held by application code for 3.0 s"),
        ((3.6, 3.5, 3.0), "process dead or stopped for 3.0 s"),
        ((3.5, 3.0, None), "GIL held by application code, or process dead or stopped for 3.0 s"),
        ((3.0, None, None), "event loop blocked by application code for 3.0 s"),
    ],
)
def test_what_a_silence_means(
    monkeypatch: pytest.MonkeyPatch, silence: tuple[float, float | None, float | None], words: str
) -> None:
    watched = Watched(monkeypatch, 30.0)
    watched.wait(10)
    assert watched.look(*silence) == ""
    (line,) = watched.lines
    assert line.startswith(f"Worker (pid:4711): {words}; ")
    assert "it is ended after 30 s (--timeout)" in line
    asked = "GIL held" in words and stacks.STACKS_SIGNAL is not None
    assert watched.signals == ([stacks.STACKS_SIGNAL] if asked else [])
    assert line.endswith("What each of its threads does follows.") == asked
    # Later ones are told of seldom.
    watched.now += 1.0
    watched.look(*silence)
    assert len(watched.lines) == 1
    for _ in range(int(NOTICE_INTERVAL)):
        watched.now += 1.0
        watched.look(*silence)
    assert len(watched.lines) == 2
    assert len(watched.signals) == asked
    shown = {"event loop": "blocked", "GIL held by application code for": "GIL held", "process dead": "stopped"}
    assert watched.watching.shown == next((word for text, word in shown.items() if words.startswith(text)), "blocked")
    watched.look(0.1)
    assert "goes on after" in watched.lines[-1]


def test_what_ends_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, 30.0)
    watched.wait(100)
    assert watched.look(29.9, 29.9, 0.1) == ""
    end = watched.look(30.1, 30.0, 0.1)
    assert end == "timeout: its event loop has not turned for 30.1 s: GIL held by application code (--timeout)"
    assert watched.look(1.9) == ""


def test_without_a_limit_nothing_does(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, 0.0)
    watched.wait(100)
    assert watched.look(90.0) == ""
    assert "it is never ended (--timeout 0)" in watched.lines[0]


def test_nothing_is_said_to_who_develops(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, 30.0)
    watched.watching.quiet = True
    watched.wait(10)
    assert watched.look(20.0, 20.0, 0.1) == ""
    assert watched.look(0.1) == ""
    assert (watched.lines, watched.signals) == ([], [])
    watched.wait(60)
    assert watched.look(31.0) != ""


def test_a_master_that_slept_judges_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the machine, or the container, stood still."""
    watched = Watched(monkeypatch, 30.0)
    watched.wait(10)
    watched.now += 100.0
    assert watched.look(100.0, 100.0, 100.0) == ""
    assert watched.lines == []
    for _ in range(29):
        watched.now += 1.0
        assert watched.look(200.0, 200.0, 200.0) == ""
    assert "dead or stopped" in watched.lines[0]
    watched.now += 1.0
    assert watched.look(200.0, 200.0, 200.0)


@pytest.mark.parametrize("limit", [2.5, 4.0, 30.0])
def test_a_machine_that_stood_still_ends_nobody(monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    """However long it did, and whenever it began."""
    watched = Watched(monkeypatch, limit)
    for tenths in range(1, int(limit * 15)):
        watched.wait(3)
        # The last sign of life came a moment before.
        watched.now += max(1.0, tenths / 10)
        assert watched.look(tenths / 10 + 0.24, tenths / 10 + 0.24, tenths / 10 + 0.24) == "", tenths


def test_the_pure_build_says_what_it_can_not_tell(build: Backend) -> None:
    assert bool(notice(build)) == (build.name == CORE)


# Who looks at the loop


def watch(limit: float, **options: Any) -> tuple[LoopWatch, list[str]]:
    log, lines = recording_logger()
    # Of a machine that stands still, which is another matter, there would be lines as well.
    log.addFilter(lambda record: "No Python code" not in record.msg)
    return LoopWatch(limit, 0.0, lambda: "GET /slow", log, **options), lines


def test_a_loop_that_turns_is_well() -> None:
    one, lines = watch(60.0)
    one.start()
    one.turned(time.monotonic())
    one.stop()
    assert lines == []


def test_a_loop_that_does_not_turn_is_shown_once() -> None:
    one, lines = watch(0.01)
    one.start()
    until(lambda: lines)
    assert "blocked for" in lines[0] and "by GET /slow" in lines[0]
    assert "in test_a_loop_that_does_not_turn_is_shown_once" in lines[0]
    one.limit = 60.0
    one.turned(time.monotonic())
    until(lambda: len(lines) > 1)
    assert "turns again after" in lines[1]
    one.limit = 0.01
    # Not so soon again.
    share_of_time = 3 * 0.25
    time.sleep(share_of_time)
    assert len(lines) == 2
    one.stop()


def test_a_name_that_can_not_be_told_costs_no_line() -> None:
    one, lines = watch(0.01)
    one.describe = lambda: str(1 // 0)
    one.start()
    until(lambda: [line for line in lines if "something unknown" in line])
    one.stop()


def test_the_interpreter_shows_that_it_runs() -> None:
    board = Board()
    share = Share(board, board.take())
    one, _ = watch(0.0, share=share)
    one.start()
    until(lambda: board.silence(share.row).interpreter is not None)
    one.stop()


# Stacks


def test_stack_of_a_thread() -> None:
    gate, inside = threading.Event(), threading.Event()

    def stand_here() -> None:
        inside.set()
        gate.wait()

    thread = threading.Thread(target=stand_here)
    thread.start()
    assert inside.wait(TIMEOUT)
    assert "in stand_here" in stacks.thread_stack(thread.ident)
    gate.set()
    thread.join(TIMEOUT)
    assert stacks.thread_stack(None) == ""


@pytest.mark.skipif(stacks.STACKS_SIGNAL is None, reason="no signal for it")
def test_the_signal_for_stacks_ends_nothing(tmp_path: Any) -> None:
    script = """
import logging, os, signal, sys
from gateway.server import stacks
log = logging.getLogger("one")
log.addHandler(logging.FileHandler(sys.argv[1]))
stacks.enable_stack_dumps(log)
def standing_here():
    os.kill(os.getpid(), stacks.STACKS_SIGNAL)
standing_here()
log.handlers[0].stream = None
sys.__stderr__ = None
stacks.enable_stack_dumps(log)
os.kill(os.getpid(), stacks.STACKS_SIGNAL)
print("alive")
"""
    path = tmp_path / "log"
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
    assert "in standing_here" in path.read_text()
