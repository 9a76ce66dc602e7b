"""The small parts of the supervisor; how they work together is tests/integration/test_processes.py."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("POSIX processes", allow_module_level=True)

from gateway.config.addresses import Address
from gateway.config.settings import Config
from gateway.errors import ConfigError
from gateway.server.hooks import HookWorker
from gateway.server.server import exit_time
from gateway.server.share import Silence
from gateway.supervisor import backoff, channel, health, recycle
from gateway.supervisor import child as child_module
from gateway.supervisor.backoff import Backoff
from gateway.supervisor.channel import Channel, cut
from gateway.supervisor.child import Child
from gateway.supervisor.death import describe
from gateway.supervisor.health import State, answer
from gateway.supervisor.pidfile import PidFile
from gateway.supervisor.recycle import Lifetime, last_request, private_memory
from gateway.supervisor.reload import Generation
from gateway.supervisor.signals import SignalQueue
from gateway.supervisor.sockets import Sockets
from gateway.supervisor.systemd import listening_descriptors
from tests.fakes import recording_logger

# Channel


def test_messages_arrive_whole_and_in_order() -> None:
    one, two = Channel.pair()
    assert two.receive() == []
    assert one.send(ready="yes")
    assert one.send(failed={"message": "ü\n"})
    assert two.receive() == [{"ready": "yes"}, {"failed": {"message": "ü\n"}}]
    data = b'{"retire": true}\n'
    for index in range(len(data)):
        one.sock.send(data[index : index + 1])
        assert two.receive() == ([{"retire": True}] if index == len(data) - 1 else [])
    one.send(ready="last")
    one.close()
    assert two.receive() == [{"ready": "last"}]
    assert two.receive() is None
    assert not two.send(ready="nobody is there")
    two.close()


@pytest.mark.parametrize("data", [b"nonsense\n", b"[1]\n", b"\xff\n", b"x" * (2 * channel.MESSAGE_SIZE + 1)])
def test_what_is_no_message_ends_the_channel(data: bytes) -> None:
    one, two = Channel.pair()
    one.sock.setblocking(False)
    messages: object = []
    while data and messages is not None:
        data = data[one.sock.send(data[: 64 * 1024]) :]
        messages = two.receive()
    assert messages is None
    one.close()
    two.close()


def test_nobody_waits_for_long_for_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "SEND_TIME", 0.05)
    one, two = Channel.pair()
    while one.send(ready="x" * 10000):
        pass
    one.close()
    two.close()


def test_a_long_text_fits_in_a_message() -> None:
    assert cut("short") == "short"
    text = cut("x" * 1_000_000 + "the end")
    assert text.startswith("[...]\n")
    assert text.endswith("the end")
    assert len(text) < channel.MESSAGE_SIZE / 6


# Signals


def test_signals_are_counted_where_each_counts() -> None:
    previous = {number: signal.getsignal(number) for number in signal.valid_signals() if number not in (9, 19)}
    queue = SignalQueue()

    def send(name: str) -> None:
        # To this thread: another one, of some other test, would take it in its own time.
        signal.pthread_kill(threading.get_ident(), getattr(signal, f"SIG{name}"))

    try:
        queue.install()
        for name in ("TTIN", "HUP", "TTIN", "HUP", "INT", "INT"):
            send(name)
        assert queue.take() == ["ttin", "ttin", "hup", "int", "int"]
        assert queue.take() == []
        with queue.held():
            send("USR1")
            assert queue.take() == []
        assert queue.take() == ["usr1"]
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            if handler is not None:
                signal.signal(number, handler)
        queue.close()


# Waiting, and ends


def test_pauses_grow_and_have_an_end() -> None:
    pause = Backoff()
    assert [pause.failed(100.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pause.until == 100.0 + backoff.MOST
    pause.succeeded()
    assert pause.until == 0
    assert pause.failed(1.0) == backoff.FIRST


@pytest.mark.parametrize(
    ("status", "out_of_memory", "text"),
    [
        (0, False, "exited with code 0"),
        (3 << 8, False, "exited with code 3"),
        (signal.SIGTERM, False, "was sent SIGTERM"),
        (signal.SIGKILL, False, "was sent SIGKILL! Perhaps out of memory?"),
        (signal.SIGKILL, True, "was sent SIGKILL: out of memory, the kernel ended it."),
        (signal.SIGSEGV | 0x80, False, "was sent SIGSEGV (core dumped)"),
        (40, False, "was sent "),
    ],
)
def test_deaths_are_described(status: int, out_of_memory: bool, text: str) -> None:
    assert describe(status, out_of_memory).startswith(text)


def test_a_machine_that_stood_still_ends_nobody_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    signals: list[int] = []
    monkeypatch.setattr(child_module.time, "monotonic", lambda: now)
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append(number))
    generation: Any = SimpleNamespace(config=Config("app:app", graceful_timeout=1, timeout_boot=10))
    log, lines = recording_logger()
    channel: Any = None
    worker: Any = None
    one = Child(4711, 0, generation, channel, worker, log)

    def look(seconds: float, silence: float) -> None:
        nonlocal now
        now += seconds
        one.check_life(Silence(silence, silence, silence), False, now)
        one.check(now)

    look(9.0, 9.0)
    look(30.0, 39.0)
    assert signals == [], "it may boot for another second"
    one.booted()
    one.stop(signal.SIGTERM)
    look(1.0, 0.2)
    for seconds in (1.6, 10.0):
        look(seconds, seconds + 0.2)
        look(0.1, 0.1)
    assert (signals, lines) == ([signal.SIGTERM], [])
    for _ in range(40):
        look(0.1, 3.0)
    assert signals[1:] == [signal.SIGKILL]
    assert "did not stop in time, and has run no Python code" in lines[0]


# Lifetimes


def lifetime(now: float = 0.0, **options: object) -> Lifetime:
    return Lifetime(Config("app:app", **options).processes, now)


def test_nothing_ends_a_worker_by_default() -> None:
    assert lifetime().judge(os.getpid(), 10.0**9) is None


def test_requests_and_their_jitter() -> None:
    settings = Config("app:app", max_requests=10, max_requests_jitter=2).processes
    assert {last_request(settings) for _ in range(200)} == {10, 11, 12}
    assert last_request(Config("app:app").processes) == 0


def test_age_has_some_play() -> None:
    life = lifetime(max_worker_age=100)
    assert life.judge(1, 99.9) is None
    assert life.judge(1, 110.1) is not None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux")
def test_memory_soft_and_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    assert private_memory(os.getpid()) > 1024 * 1024
    assert private_memory(2**22 + 1) == 0
    life = lifetime(max_worker_memory=100, max_worker_memory_hard=200)
    for size, action in ((99, None), (100, "replace"), (200, "kill")):
        monkeypatch.setattr(recycle, "private_memory", lambda pid, size=size: size)
        life._look = 0.0
        verdict = life.judge(1, 1.0)
        assert (verdict and verdict.action) == action
    assert life.judge(1, 1.1) is None, "not so soon again"


# How long a worker may take to end


class Clock:
    """Children with a graceful_timeout, the time, and the signals that they were sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.sent: list[tuple[float, int]] = []
        self.channels: list[Channel] = []
        monkeypatch.setattr(child_module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(child_module.os, "kill", lambda pid, number: self.sent.append((self.now - 1000, number)))

    def child(self, grace: float, *, booted: bool = True, **options: object) -> Child:
        config = Config("app:app", graceful_timeout=grace, **options)
        generation = Generation(config, Sockets(config.listen._replace(addresses=())))
        log = logging.getLogger("test")
        self.channels += (ends := Channel.pair())
        child = Child(2**22, 0, generation, ends[0], HookWorker(config, log), log)
        if booted:
            child.booted()
        return child

    def run(self, child: Child, seconds: float, silence: float | None = 0.0, *, finished: bool = False) -> None:
        """Let it have `silence`, of its interpreter and its process, for so long; a None grows with the time."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            quiet = self.now - 1000 if silence is None else silence
            child.check_life(Silence(quiet, quiet, quiet), finished, self.now)
            child.check(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock(monkeypatch)
    yield made
    for end in made.channels:
        end.close()


@pytest.mark.parametrize(("grace", "exits"), [(0, 2), (1, 2), (3, 3), (30, 5)])
def test_the_time_to_end(clock: Clock, grace: float, exits: float) -> None:
    assert exit_time(grace) == exits
    for options, end in (({}, grace + 1 + exits + 2), ({"at_once": True}, exits + 2)):
        child = clock.child(grace)
        child.stop(signal.SIGTERM, **options)
        assert child.deadline == clock.now + end
    # One that boots, in C, hears of nothing.
    child = clock.child(grace, booted=False)
    child.stop(signal.SIGTERM, at_once=True)
    assert child.deadline == clock.now + exits + 2


def test_a_child_that_is_stopped_is_killed_once_its_time_is_over(clock: Clock) -> None:
    child = clock.child(1)
    child.stop(signal.SIGTERM)
    clock.run(child, 10, None)
    assert clock.sent == [(0.0, signal.SIGTERM), (2.0, signal.SIGKILL)]


def test_a_child_that_works_on_is_made_to_say_at_what(clock: Clock) -> None:
    child = clock.child(1)
    child.stop(signal.SIGTERM)
    clock.run(child, 10)
    assert clock.sent == [(0.0, signal.SIGTERM), (6.0, signal.SIGABRT), (7.0, signal.SIGKILL)]


def test_a_child_that_has_finished_has_its_lifespans_time(clock: Clock) -> None:
    child = clock.child(1, lifespan_shutdown_timeout=10)
    child.stop(signal.SIGTERM)
    clock.run(child, 1)
    clock.run(child, 30, finished=True)
    assert clock.sent[1:] == [(1.25 + 10 + 2 + 2, signal.SIGABRT), (1.25 + 10 + 2 + 2 + 1, signal.SIGKILL)]


def test_a_child_that_is_stopped_after_that_is_not_waited_for(clock: Clock) -> None:
    child = clock.child(1, lifespan_shutdown_timeout=60)
    child.stop(signal.SIGTERM)
    clock.run(child, 30, None, finished=True)
    assert clock.sent[1:] == [(4.0, signal.SIGABRT), (5.0, signal.SIGKILL)]


# Health


@pytest.mark.parametrize(
    ("request_line", "ready", "status"),
    [
        ("GET /livez HTTP/1.1", True, 200),
        ("GET /livez HTTP/1.1", False, 200),
        ("GET /readyz HTTP/1.1", True, 200),
        ("GET /readyz?x=y HTTP/1.1", False, 503),
        ("HEAD /readyz HTTP/1.0", False, 503),
        ("POST /readyz HTTP/1.1", True, 405),
        ("GET / HTTP/1.1", True, 404),
        ("nonsense", True, 404),
    ],
)
def test_health_answers(request_line: str, ready: bool, status: int) -> None:
    response = answer(f"{request_line}\r\nHost: x\r\n\r\n".encode(), lambda: State(ready, "because"))
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} {health.PHRASES[status]}\r\n".encode())
    assert (b"Allow: GET, HEAD" in head) == (status == 405)
    assert (body == b"") == request_line.startswith("HEAD")


# Files, sockets, systemd


def test_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(str(path))
    for stale in ("", "nonsense", "99999999", "-1", str(os.getpid())):
        path.write_text(stale)
        file.write()
        assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["pid"]
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(ConfigError, match=f"belongs to process {os.getppid()}"):
        file.write()
    file.remove()
    assert path.exists(), "another's"
    file.write(force=True)
    file.remove()
    assert not path.exists()


def test_pid_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't write .*No such file"):
        PidFile(f"{tmp_path}/no/pid").write()


def test_sockets_are_kept_by_address(tmp_path: Path) -> None:
    one, two, three = (f"unix:{tmp_path}/{name}" for name in "123")
    first = Sockets(Config("app:app", bind=[one, two]).listen)
    second = Sockets(Config("app:app", bind=[two, three]).listen, [first])
    assert second.listeners[0] is first.listeners[1]
    first.close(second)
    assert sorted(os.listdir(tmp_path)) == ["2", "3"]
    assert list(second.descriptors()) == [f"{two} 0", f"{three} 0"]
    second.leave()
    second.close()
    assert sorted(os.listdir(tmp_path)) == ["2", "3"], "another process's"


def test_the_same_port_zero_twice() -> None:
    sockets = Sockets(Config("app:app", bind=["127.0.0.1:0", "127.0.0.1:0"]).listen)
    again = Sockets(Config("app:app", bind=["127.0.0.1:0", "127.0.0.1:0"]).listen, [sockets])
    assert again.listeners == sockets.listeners
    assert len({listener.address for listener in sockets.listeners}) == 2
    assert Address("tcp", "127.0.0.1", 0) in {address for address, _ in sockets.groups}
    sockets.close()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, (3, 4)),
        ({"LISTEN_PID": "8", "LISTEN_FDS": "2"}, ()),
        ({"LISTEN_PID": "7"}, ()),
        ({"LISTEN_PID": "7", "LISTEN_FDS": "x"}, ()),
    ],
)
def test_sockets_of_systemd(variables: dict[str, str], expected: tuple[int, ...]) -> None:
    assert listening_descriptors(variables, 7) == expected
