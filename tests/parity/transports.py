"""Differential fuzzing of own I/O: the same scripts over socket pairs, in both builds.

Invariant: for every script the peers see the same bytes, connections are told the same in the same order, and the
transports answer the same, step by step. The loop is a fake whose turns are steps of the script, and Unix sockets
take and give bytes without delay, so that nothing depends on time.

`python -m tests.parity.transports --seconds 60 --seed 7` runs it for longer than the suite does.
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from tests.fakes import quiet
from tests.parity.campaigns import command, search

DATA = random.Random(3).randbytes(1 << 20)
FILE_SIZE = 600_000
HIGH_WATER = 10_000

Step = tuple[Any, ...]
# What a connection does when it is told something: any of these, in the middle of it.
REACTIONS = ("received", "eof", "resume_writing", "file_sent", "resume")


class Loop:
    """Turns are made by `turn`."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], Any]] = deque()
        self.ready: Callable[[], Any] = lambda: None

    def add_reader(self, descriptor: int, callback: Callable[[], Any]) -> None:
        self.ready = callback

    def remove_reader(self, descriptor: int) -> None:
        self.ready = lambda: None

    def call_soon(self, callback: Callable[[], Any], *, context: object) -> None:
        self.soon.append(callback)

    def is_closed(self) -> bool:
        return False

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()
        self.ready()


_classes: dict[str, Any] = {}


def connection_class(build: Any) -> Any:
    """A recording subclass of the build's `Connection`."""
    if build.name not in _classes:

        class Recording(build.module("kernels.base").Connection):  # type: ignore[misc]
            """`reactions` are the steps it makes when it is told something: one list each time."""

            def __init__(self, play: Play, index: int) -> None:
                self.input = build.module("kernels.buffer").InputBuffer()
                self.play = play
                self.index = index
                self.transport: Any = None
                self.reactions: list[list[Step]] = []
                self.sending_file = False
                self.sent = 0

            def told(self, name: str, *facts: object) -> int:
                self.play.seen.append((self.index, name, *facts))
                if name in REACTIONS and self.reactions:
                    for step in self.reactions.pop(0):
                        self.play.do(self, step)
                return 0

            def received(self, size: int) -> int:
                # Some is left over: what was lent has to be kept.
                left = self.input.available()
                data = self.input.take(left - left % 7 if size % 3 else left)
                return self.told("received", size, left, data)

            def eof(self) -> int:
                return self.told("eof", self.input.take(1 << 30))

            def lost(self, error: object) -> int:
                return self.told("lost", type(error).__name__, self.input.available())

            def pause_writing(self) -> int:
                return self.told("pause_writing")

            def resume_writing(self) -> int:
                return self.told("resume_writing")

            def file_sent(self, error: object) -> int:
                self.sending_file = False
                return self.told("file_sent", str(error), self.transport.file_progress())

            def resume(self) -> int:
                return self.told("resume")

            def tick(self, now: float) -> int:
                return self.told("tick", now)

        _classes[build.name] = Recording
    return _classes[build.name]


class Play:
    """One script in one build. `seen` is what there is to compare."""

    def __init__(self, build: Any, seed: str, file: IO[bytes]) -> None:
        self.seen: list[Any] = []
        self.file = file
        self.loop = Loop()
        rng = random.Random(seed)
        self.poller = build.module("io.poller").Poller(self.loop, None, quiet, HIGH_WATER, rng.random() < 0.7)
        self.connections: list[Any] = []
        self.peers: list[socket.socket] = []
        for index in range(rng.choice((1, 1, 2, 3))):
            sock, peer = socket.socketpair()
            if rng.random() < 0.7:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setblocking(False)
            peer.setblocking(False)
            connection = connection_class(build)(self, index)
            connection.reactions = [reaction(rng) for _ in range(rng.choice((0, 2, 6)))]
            connection.transport = self.poller.adopt(sock)
            connection.transport.attach(connection)
            self.connections.append(connection)
            self.peers.append(peer)
        try:
            self.run(rng)
        except Exception as error:
            self.seen.append(("broke off", repr(error)))
            self.poller.close()
        finally:
            for peer in self.peers:
                peer.close()

    def run(self, rng: random.Random) -> None:
        for _ in range(rng.choice((5, 15, 40))):
            index = rng.randrange(len(self.connections))
            if rng.random() < 0.5:
                self.do(self.connections[index], reach(rng))
            else:
                self.peer(index, rng)
            if rng.random() < 0.5:
                self.loop.turn()
        # Let everything that can still arrive do so.
        for _ in range(60):
            for index in range(len(self.peers)):
                self.receive(index, 1 << 20)
            self.loop.turn()
        self.seen.append("end")
        start = len(self.seen)
        self.poller.close()
        self.seen[start:] = sorted(self.seen[start:], key=repr)

    def do(self, connection: Any, step: Step) -> None:
        """What a connection, or its owner, does with the transport."""
        transport = connection.transport
        name, *arguments = step
        result: object = 0
        if name in ("write", "soon", "parts", "offer", "file") and connection.sending_file:
            # Nothing may be written meanwhile.
            return
        if name == "write":
            result = transport.write(self.data(connection, arguments[0]))
        elif name == "soon":
            result = transport.write_soon(self.data(connection, arguments[0]))
        elif name == "parts":
            result = transport.write_parts([self.data(connection, size) for size in arguments[0]])
        elif name == "offer":
            # What a thread would do, and the loop with what is left.
            data = self.data(connection, arguments[0])
            parts = [data[:1000], data[1000:]]
            taken = transport.send_now(data) if len(data) < 3000 else transport.send_parts_now(parts)
            if taken <= 0:
                transport.write_parts(parts)
            elif taken < len(data):
                transport.write_rest(parts, taken)
        elif name == "file":
            offset, count = arguments
            # A transport that is over takes no file, and tells nothing of it.
            connection.sending_file = True
            result = transport.send_file(self.file.fileno(), offset, count)
        elif name == "raise":
            raise RuntimeError("on purpose")
        elif name == "schedule":
            result = transport.schedule(connection)
        elif name == "tick":
            start = len(self.seen)
            self.poller.tick(7.0)
            # A set of transports has no order.
            self.seen[start:] = sorted(self.seen[start:])
            return
        else:
            result = getattr(transport, name)()
        self.seen.append((connection.index, step, result, transport.buffered(), transport.file_progress()))

    def data(self, connection: Any, size: int) -> bytes:
        """`size` bytes that tell where they belong."""
        start = connection.sent % 65521
        connection.sent += size
        return DATA[start : start + size]

    def peer(self, index: int, rng: random.Random) -> None:
        """What the other end does."""
        peer = self.peers[index]
        what = rng.random()
        try:
            if what < 0.45:
                sent = peer.send(DATA[: rng.choice((1, 20, 1000, 70_000, 300_000))])
                self.seen.append((index, "peer sent", sent))
            elif what < 0.85:
                self.receive(index, rng.choice((1, 500, 5000, 300_000)))
            elif what < 0.93:
                peer.shutdown(socket.SHUT_WR)
            else:
                # With bytes that it did not read, the other end sees a reset.
                peer.close()
        except OSError as error:
            self.seen.append((index, "peer", error.errno))

    def receive(self, index: int, size: int) -> None:
        peer = self.peers[index]
        if peer.fileno() < 0:
            return
        try:
            data = peer.recv(size)
        except OSError as error:
            self.seen.append((index, "peer", error.errno))
        else:
            self.seen.append((index, "peer received", data))


def reach(rng: random.Random) -> Step:
    """One thing to do with a transport."""
    kind = rng.random()
    if kind < 0.3:
        return (rng.choice(("write", "soon")), rng.choice((0, 1, 300, 5000, 40_000, 200_000)))
    if kind < 0.4:
        return ("offer", rng.choice((1, 300, 5000, 70_000)))
    if kind < 0.55:
        sizes = rng.choice(((1, 2, 3), (0, 100, 0), (10, 90_000, 2), tuple(range(200)), (2000,) * 90, (3,) * 1500))
        return ("parts", sizes)
    if kind < 0.65:
        offset = rng.choice((0, 1, FILE_SIZE - 100))
        return ("file", offset, rng.choice((1, 99, 20_000, FILE_SIZE - 1)))
    if kind < 0.8:
        return (rng.choice(("pause_reading", "resume_reading", "resume_reading")),)
    if kind < 0.9:
        return (rng.choice(("schedule", "tick")),)
    return (rng.choice(("close", "abort", "shutdown_write", "shutdown_write")),)


def reaction(rng: random.Random) -> list[Step]:
    steps = [reach(rng) for _ in range(rng.choice((0, 1, 1, 2)))]
    if rng.random() < 0.05:
        steps.append(("raise",))
    return steps


def difference(first: list[Any], second: list[Any]) -> str | None:
    """Where two observations part, for people; None where they don't."""
    for index, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return f"step {index}: {repr(left)[:300]}\n  against: {repr(right)[:300]}"
    if len(first) != len(second):
        return "one has seen more than the other"
    return None


def campaign(one: Any, other: Any, seed: int, count: int, seconds: float = 1e9) -> tuple[int, list[str]]:
    """Compare two builds on `count` scripts, or for `seconds`. How many were tried, and what differed."""
    with tempfile.TemporaryFile() as file:
        file.write(DATA[:FILE_SIZE])
        file.flush()
        return search(
            lambda case: difference(*(Play(build, case, file).seen for build in (one, other))), seed, count, seconds
        )


if __name__ == "__main__":
    sys.exit(command(__doc__, campaign, "scripts"))
