"""Own I/O, both twins on both loops, over real sockets: batches, lost connections, files, accepting, fairness, leaks.

What pollers' transports have in common with asyncio's is tested in test_transport.py, for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import fcntl
import gc
import logging
import os
import random
import select
import socket
import struct
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.backend import Backend
from gateway.config.addresses import parse_address
from gateway.server import listener as listener_module
from gateway.server.binding import open_listeners

from .aio import LOOPS, eventually, run

if sys.platform != "linux":
    pytest.skip("Linux only", allow_module_level=True)

import resource

log = logging.getLogger("tests.io")
DATA = random.Random(2).randbytes(4 * 1048576 + 5)
HIGH_WATER = 65536
BATCH = 256
READ_MAX = 262144


class RecordingLoop:
    """The running loop, as a poller sees it: counts what the poller asks of it, and the turns it gets."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.turns = 0
        self.wakes = 0
        self.ready: Callable[[], None] = lambda: None

    def add_reader(self, descriptor: int, callback: Callable[[], None]) -> None:
        def counted() -> None:
            self.turns += 1
            callback()

        self.ready = callback
        self.loop.add_reader(descriptor, counted)

    def call_soon(self, callback: Any, *, context: Any) -> None:
        self.wakes += 1
        self.loop.call_soon(callback, context=context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


def connection_class(build: Backend) -> Any:
    class FakeConnection(build.module("kernels.base").Connection):  # type: ignore[misc, name-defined]
        """Records what it is told; `on` holds what to do in one of its methods, by name."""

        def __init__(self) -> None:
            self.calls: list[str] = []
            self.input = build.module("kernels.buffer").InputBuffer()
            self.data = bytearray()
            self.error: Any = None
            self.transport: Any = None
            self.inside = False
            self.on: dict[str, Callable[..., Any]] = {}

        def told(self, name: str, *arguments: Any) -> int:
            assert not self.inside, f"{name} from within one of the transport's methods"
            self.calls.append(name)
            if name in self.on:
                self.on[name](*arguments)
            return 0

        def do(self, name: str, *arguments: Any) -> Any:
            """Call the transport, which may tell us to pause, but nothing else."""
            self.inside = True
            try:
                return getattr(self.transport, name)(*arguments)
            finally:
                self.inside = False

        def opened(self) -> int:
            return 0

        def received(self, size: int) -> int:
            assert size == self.input.available()
            data = self.input.take(size)
            assert type(data) is bytes
            self.data += data
            return self.told("feed", data)

        def eof(self) -> int:
            return self.told("eof")

        def lost(self, error: Any) -> int:
            self.error = error
            return self.told("lost")

        def pause_writing(self) -> int:
            self.calls.append("pause")
            if "pause" in self.on:
                self.on["pause"]()
            return 0

        def resume_writing(self) -> int:
            return self.told("resume")

        def file_sent(self, error: Any) -> int:
            self.error = error
            return self.told("file_sent")

        def resume(self) -> int:
            return self.told("later")

        def tick(self, now: float) -> int:
            self.now = now
            return self.told("tick")

    return FakeConnection


class Bench:
    """A poller, and connections whose other end is a plain socket of ours."""

    def __init__(self, build: Backend, sendfile: bool = True) -> None:
        self.module = build.module("io.poller")
        self.make_connection = connection_class(build)
        self.loop = RecordingLoop()
        self.poller = self.module.Poller(self.loop, contextvars.copy_context(), log, HIGH_WATER, sendfile)
        self.peers: list[socket.socket] = []

    def pair(self, *, tcp: bool = False, small: bool = False) -> tuple[Any, socket.socket]:
        """(connection, peer); `small` keeps the buffers between them small."""
        if tcp:
            with socket.create_server(("127.0.0.1", 0)) as server:
                peer = socket.socket()
                if small:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peer.connect(server.getsockname())
                sock, _ = server.accept()
        else:
            sock, peer = socket.socketpair()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setblocking(False)
        peer.setblocking(False)
        self.peers.append(peer)
        return self.adopt(sock), peer

    def adopt(self, sock: socket.socket) -> Any:
        connection = self.make_connection()
        connection.transport = self.poller.adopt(sock)
        connection.transport.attach(connection)
        return connection

    async def quiet(self) -> None:
        """Nothing is to happen any more: a source that is ready for ever would show."""
        await asyncio.sleep(0.01)
        before = self.loop.turns
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert self.loop.turns - before <= 1

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.poller.close()


async def read(peer: socket.socket, size: int) -> bytes:
    """`size` bytes, or what there is before the end."""
    loop = asyncio.get_running_loop()
    parts = []
    while size and (data := await loop.sock_recv(peer, min(size, 262144))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def open_descriptors() -> set[int]:
    result = set()
    for name in os.listdir("/proc/self/fd"):
        # The listing's own is closed again.
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            result.add(int(name))
    return result


def descriptors() -> int:
    return len(open_descriptors())


def on_bench(build: Backend, loop: str, test: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        # libuv opens a spare descriptor of its own with its first pipe.
        bench = Bench(build, **options)
        try:
            await test(bench)
        finally:
            bench.close()
        assert not bench.poller.transports

    run(loop, main)


loops = pytest.mark.parametrize("loop", LOOPS)


# Input


@loops
def test_data_and_the_end_of_it(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        peer.send(b"hello")
        await eventually(lambda: connection.data == b"hello")
        peer.shutdown(socket.SHUT_WR)
        await eventually(lambda: "eof" in connection.calls)
        await bench.quiet()
        assert connection.calls == ["feed", "eof"]
        connection.do("write", b"response")
        assert await read(peer, 8) == b"response"
        connection.do("close")
        assert await read(peer, 1) == b""
        await eventually(lambda: connection.calls == ["feed", "eof", "lost"])
        assert connection.error is None
        assert connection.transport.connection is None

    on_bench(build, loop, test)


@loops
@pytest.mark.parametrize("batch", [True, False])
def test_what_arrived_with_a_connection_is_received_at_once_in_a_batch(build: Backend, loop: str, batch: bool) -> None:
    async def test(bench: Bench) -> None:
        made: list[Any] = []

        def opened(transport: Any, client: Any, server: Any) -> None:
            connection = bench.make_connection()
            connection.transport = transport
            connection.on["feed"] = lambda data: connection.do("close") if batch else None
            transport.open(connection)
            assert connection.calls == (["feed"] if batch else [])
            made.append(connection)

        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
            server.setblocking(False)
            listening = bench.poller.listen(server, None, opened, lambda error: False, 10)
            peer.connect(server.getsockname())
            peer.send(b"hello")
            peer.setblocking(False)
            if not batch:
                listening.accept(1)
            await eventually(lambda: made and made[0].data == b"hello")
            if batch:
                assert await read(peer, 1) == b""
                await eventually(lambda: made[0].calls == ["feed", "lost"])
            listening.stop()
            await bench.quiet()

    on_bench(build, loop, test)


@loops
def test_much_data_comes_in_order_and_in_pieces(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=True)
        sizes: list[int] = []
        connection.on["feed"] = lambda data: sizes.append(len(data))
        await asyncio.get_running_loop().sock_sendall(peer, DATA)
        await eventually(lambda: len(connection.data) == len(DATA))
        assert connection.data == DATA
        assert max(sizes) <= READ_MAX

    on_bench(build, loop, test)


@loops
def test_pieces_that_are_kept_do_not_change(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=True)
        kept: list[bytes] = []
        connection.on["feed"] = kept.append
        await asyncio.get_running_loop().sock_sendall(peer, DATA)
        await eventually(lambda: sum(map(len, kept)) == len(DATA))
        assert b"".join(kept) == DATA
        # Some of them are of use again, and a dictionary still tells what they hold from what they held.
        known = {piece: index for index, piece in enumerate(kept)}
        del kept[::2], known
        half = b"".join(kept)
        size = len(half)
        await asyncio.get_running_loop().sock_sendall(peer, DATA)
        await eventually(lambda: sum(map(len, kept)) == size + len(DATA))
        assert b"".join(kept) == half + DATA
        assert all(hash(piece) == hash(bytes(bytearray(piece))) for piece in kept)

    on_bench(build, loop, test)


@loops
def test_a_paused_connection_costs_nothing(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        connection.do("pause_reading")
        connection.do("pause_reading")
        peer.send(b"one")
        peer.shutdown(socket.SHUT_WR)
        await bench.quiet()
        assert connection.calls == []
        connection.do("resume_reading")
        connection.do("resume_reading")
        await eventually(lambda: connection.calls == ["feed", "eof"])
        connection.do("pause_reading")
        connection.do("resume_reading")
        await bench.quiet()
        assert connection.calls == ["feed", "eof"]

    on_bench(build, loop, test)


@loops
def test_pause_inside_feed(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        connection.on["feed"] = lambda data: connection.do("pause_reading")
        peer.send(b"one")
        await eventually(lambda: connection.data == b"one")
        peer.send(b"two")
        await bench.quiet()
        assert connection.data == b"one"
        connection.do("resume_reading")
        await eventually(lambda: connection.data == b"onetwo")

    on_bench(build, loop, test)


# The end of connections


@loops
@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_inside_feed(build: Backend, loop: str, how: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()

        def end(data: bytes) -> None:
            connection.do("write", b"bye")
            connection.do(how)
            connection.do(how)
            connection.do("write", b"too late")
            assert connection.do("shutdown_write") is False
            assert connection.do("buffered") == 0

        connection.on["feed"] = end
        peer.send(b"one")
        await eventually(lambda: "lost" in connection.calls)
        assert await read(peer, 10) == b"bye"
        assert connection.calls == ["feed", "lost"]
        # What comes after the end is ignored.
        connection.do("write", b"x")
        connection.do("write_parts", [b"x"])
        connection.do("send_file", 0, 0, 1)
        connection.do("resume_reading")
        connection.do("schedule", connection)
        connection.do("close")
        connection.do("abort")
        await bench.quiet()
        assert connection.calls == ["feed", "lost"]

    on_bench(build, loop, test)


@loops
@pytest.mark.parametrize("paused", [False, True])
def test_reset_is_noticed(build: Backend, loop: str, paused: bool) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=True)
        if paused:
            connection.do("pause_reading")
        reset(peer)
        await eventually(lambda: connection.calls == ["lost"])
        assert isinstance(connection.error, ConnectionResetError)

    on_bench(build, loop, test)


@loops
def test_reset_is_noticed_after_the_end_of_input(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=True)
        peer.shutdown(socket.SHUT_WR)
        await eventually(lambda: connection.calls == ["eof"])
        reset(peer)
        await eventually(lambda: connection.calls == ["eof", "lost"])
        assert isinstance(connection.error, ConnectionError)

    on_bench(build, loop, test)


@loops
def test_reset_during_output(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=True, small=True)
        connection.do("write", DATA)
        assert connection.do("buffered") > 0
        connection.do("pause_reading")
        reset(peer)
        await eventually(lambda: "lost" in connection.calls)
        assert connection.do("buffered") == 0
        assert isinstance(connection.error, ConnectionError)

    on_bench(build, loop, test)


@loops
def test_writing_to_a_peer_that_left(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        peer.close()
        connection.do("write", b"x")
        connection.do("write_parts", [b"x", b"y"])
        assert connection.calls == []
        await eventually(lambda: connection.calls == ["lost"])
        assert isinstance(connection.error, BrokenPipeError)

    on_bench(build, loop, test)


@loops
def test_both_halves_closed_while_not_reading(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=True)
        connection.do("pause_reading")
        assert connection.do("shutdown_write") is True
        assert await read(peer, 1) == b""
        peer.close()
        await eventually(lambda: connection.calls == ["lost"])
        assert connection.error is None

    on_bench(build, loop, test)


# Batches


@loops
@pytest.mark.parametrize("how", ["close", "abort"])
def test_an_event_ends_another_connection_of_the_batch(build: Backend, loop: str, how: str) -> None:
    async def test(bench: Bench) -> None:
        pairs = [bench.pair() for _ in range(10)]
        first: list[Any] = []

        def end_the_others(data: bytes) -> None:
            first.append(data)
            for connection, _ in pairs:
                if not connection.calls:
                    connection.do(how)

        for connection, peer in pairs:
            connection.on["feed"] = end_the_others
            peer.send(b"x")
        await eventually(lambda: all(connection.calls for connection, _ in pairs))
        assert len(first) == 1
        assert sorted(connection.calls for connection, _ in pairs) == [["feed"]] + [["lost"]] * 9

    on_bench(build, loop, test)


@loops
def test_a_descriptor_that_comes_back(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        before = open_descriptors()
        peer.send(b"old")
        connection.do("abort")
        await eventually(lambda: connection.calls == ["lost"])
        (number,) = before - open_descriptors()
        ours, theirs = socket.socketpair()
        bench.peers.append(theirs)
        ours.setblocking(False)
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
            ours.close()
            ours = socket.socket(fileno=number)
            ours.setblocking(False)
        successor = bench.adopt(ours)
        theirs.send(b"new")
        await eventually(lambda: successor.data == b"new")
        assert connection.calls == ["lost"]

    on_bench(build, loop, test)


@loops
def test_a_batch_is_bounded(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        batch = BATCH
        pairs = [bench.pair() for _ in range(batch + 20)]
        for _, peer in pairs:
            peer.send(b"x")
        counts = []
        bench.loop.ready()
        counts.append(sum(len(connection.calls) for connection, _ in pairs))
        bench.loop.ready()
        counts.append(sum(len(connection.calls) for connection, _ in pairs))
        assert counts == [batch, batch + 20]

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 2048), hard), hard))
    try:
        on_bench(build, loop, test)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@loops
def test_timers_run_under_load(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        def again(connection: Any, peer: socket.socket) -> Callable[[bytes], None]:
            def step(data: bytes) -> None:
                connection.do("write", data)
                peer.recv(10)
                peer.send(b"x")

            return step

        for _ in range(50):
            connection, peer = bench.pair()
            connection.on["feed"] = again(connection, peer)
            peer.send(b"x")
        start = time.monotonic()
        turns = bench.loop.turns
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert bench.loop.turns - turns > 20
        assert time.monotonic() - start < 5
        for connection in [transport.connection for transport in bench.poller.transports]:
            connection.on.clear()

    on_bench(build, loop, test)


# Exceptions


@loops
@pytest.mark.parametrize("name", ["feed", "eof", "pause", "resume", "file_sent", "later", "lost"])
def test_what_a_connection_raises_ends_it_alone(
    build: Backend, loop: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True)
        other, other_peer = bench.pair()

        def fail(*arguments: Any) -> None:
            connection.on.clear()
            raise ValueError("internal")

        connection.on[name] = fail
        other_peer.send(b"x")
        peer.send(b"x")
        await eventually(lambda: other.data)
        if name == "eof":
            peer.shutdown(socket.SHUT_WR)
        elif name == "pause":
            with pytest.raises(ValueError):
                connection.do("write", DATA)
            connection.do("abort")
        elif name == "resume":
            connection.do("write", DATA)
            await read(peer, len(DATA) - HIGH_WATER // 8)
        elif name == "file_sent":
            with open(os.devnull) as file:
                connection.do("send_file", file.fileno(), 0, 10)
        elif name == "later":
            connection.do("schedule", connection)
        elif name == "lost":
            connection.do("abort")
        await eventually(lambda: "lost" in connection.calls)
        other.do("write", b"fine")
        assert await read(other_peer, 4) == b"fine"

    on_bench(build, loop, test)
    assert ("ValueError: internal" in caplog.text) == (name != "pause")


def test_system_exit_is_not_held_up(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        pairs = [bench.pair() for _ in range(3)]
        aborted, _ = bench.pair()

        def leave(data: bytes) -> None:
            aborted.do("abort")
            for connection, _ in pairs:
                connection.on.clear()
            raise SystemExit(3)

        for connection, peer in pairs:
            connection.on["feed"] = leave
            peer.send(b"x")
        with pytest.raises(SystemExit):
            bench.loop.ready()
        await eventually(lambda: all(connection.data == b"x" for connection, _ in pairs))
        assert aborted.calls == ["lost"]

    on_bench(build, "asyncio", test)


# Output


@loops
@pytest.mark.parametrize("tcp", [False, True])
def test_partial_writes(build: Backend, loop: str, tcp: bool) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(tcp=tcp, small=True)
        pieces = [DATA[index : index + size] for index, size in ((0, 100), (100, 70000), (70100, 1), (70101, 3000000))]
        for piece in pieces:
            connection.do("write", piece)
        connection.do("write_parts", [b"", DATA[3070101:3070201], b"", DATA[3070201:]])
        assert connection.calls == ["pause"]
        assert 0 < connection.do("buffered") < len(DATA)
        assert await read(peer, len(DATA)) == DATA
        await eventually(lambda: connection.calls == ["pause", "resume"])
        assert connection.do("buffered") == 0
        await bench.quiet()

    on_bench(build, loop, test)


@loops
def test_very_many_small_parts(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True)
        expected = bytearray()
        for number in range(5000):
            part = b"%d " % number
            expected += part
            connection.do("write", part)
        parts = [b"%d," % number for number in range(5000)]
        connection.do("write_parts", parts)
        expected += b"".join(parts)
        assert await read(peer, len(expected)) == expected
        parts = [b"%d;" % number for number in range(200)]
        connection.do("write_parts", parts)
        assert await read(peer, len(b"".join(parts))) == b"".join(parts)

    on_bench(build, loop, test)


@loops
def test_the_writer_goes_on_inside_resume(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True)
        left = [DATA[index : index + 100000] for index in range(0, len(DATA), 100000)]

        def more() -> None:
            while left and connection.transport.buffered() <= HIGH_WATER:
                connection.do("write", left.pop(0))

        connection.on["resume"] = more
        more()
        assert await read(peer, len(DATA)) == DATA
        await eventually(lambda: connection.calls.count("pause") == connection.calls.count("resume") > 5)

    on_bench(build, loop, test)


@loops
def test_half_close_and_close_wait_for_the_queue(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True)
        connection.do("write", DATA)
        assert connection.do("shutdown_write") is True
        assert connection.do("shutdown_write") is True
        connection.do("write", b"too late")
        assert await read(peer, len(DATA) + 1) == DATA
        peer.send(b"heard")
        await eventually(lambda: connection.data == b"heard")
        connection.do("close")
        await eventually(lambda: "lost" in connection.calls)

        connection, peer = bench.pair(small=True)
        connection.do("write", DATA)
        connection.do("close")
        assert connection.do("shutdown_write") is False
        assert await read(peer, len(DATA) + 1) == DATA
        await eventually(lambda: "lost" in connection.calls)
        assert connection.error is None
        assert connection.calls == ["pause", "resume", "lost"]

        # While it closes, nothing is heard.
        connection, peer = bench.pair(small=True)
        connection.do("write", DATA)
        connection.do("close")
        peer.send(b"x")
        await bench.quiet()
        assert connection.calls == ["pause"]

    on_bench(build, loop, test)


@loops
def test_abort_drops_the_queue(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True)
        connection.do("write", DATA)
        connection.do("abort")
        assert connection.do("buffered") == 0
        assert len(await read(peer, len(DATA))) < len(DATA)
        await eventually(lambda: "lost" in connection.calls)

    on_bench(build, loop, test)


# Files


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened


files = pytest.mark.parametrize("sendfile", [True, False], ids=["sendfile", "copied"])


@loops
@files
@pytest.mark.parametrize("queued", [0, 200000])
def test_a_file_for_a_slow_reader(build: Backend, loop: str, sendfile: bool, queued: int, file: Any) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True, tcp=True)
        head = b"h" * queued
        progress: list[int] = []
        connection.on["file_sent"] = lambda: progress.append(connection.do("file_progress"))
        connection.do("write", head)
        connection.do("send_file", file.fileno(), 1, len(DATA) - 1)
        assert connection.do("file_progress") < len(DATA) - 1
        assert await read(peer, queued + len(DATA) - 1) == head + DATA[1:]
        await eventually(lambda: "file_sent" in connection.calls)
        assert connection.error is None
        assert progress == [len(DATA) - 1]
        connection.do("write", b"next")
        assert await read(peer, 4) == b"next"
        await bench.quiet()

    on_bench(build, loop, test, sendfile=sendfile)


@loops
@files
def test_a_small_file_is_out_at_once_and_reported_later(build: Backend, loop: str, sendfile: bool, file: Any) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        connection.do("send_file", file.fileno(), 0, 10)
        assert peer.recv(100) == DATA[:10]
        assert connection.calls == []
        await eventually(lambda: connection.calls == ["file_sent"])

        # One after the other, out of the report of the one before.
        connection.on["file_sent"] = lambda: connection.on.clear() or connection.do("send_file", file.fileno(), 5, 10)
        connection.do("send_file", file.fileno(), 0, 5)
        await eventually(lambda: connection.calls == ["file_sent"] * 3)
        assert await read(peer, 15) == DATA[:15]
        await bench.quiet()

    on_bench(build, loop, test, sendfile=sendfile)


@loops
@files
def test_files_that_can_not_be_sent_as_promised(build: Backend, loop: str, sendfile: bool, file: Any) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        connection.do("send_file", file.fileno(), len(DATA) - 7, 8)
        await eventually(lambda: connection.calls == ["file_sent"])
        assert connection.error.errno == errno.EIO
        assert await read(peer, 7) == DATA[-7:]
        with open("/proc/self/mem", "rb") as unreadable:
            connection.do("send_file", unreadable.fileno(), 0, 10)
            await eventually(lambda: connection.calls == ["file_sent"] * 2)
        assert isinstance(connection.error, OSError)
        connection.do("send_file", 1_000_000, 0, 10)
        await eventually(lambda: connection.calls == ["file_sent"] * 3)
        assert connection.error.errno == errno.EBADF

    on_bench(build, loop, test, sendfile=sendfile)


@loops
def test_a_file_that_sendfile_does_not_take(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        with open("/proc/self/status", "rb") as odd:
            with pytest.raises(OSError):
                os.sendfile(peer.fileno(), odd.fileno(), 0, 5)
            connection.do("send_file", odd.fileno(), 0, 5)
            assert await read(peer, 5) == b"Name:"
            await eventually(lambda: connection.calls == ["file_sent"])
        assert connection.error is None

    on_bench(build, loop, test)


@loops
@files
@pytest.mark.parametrize("how", ["abort", "reset", "close", "half-close"])
def test_the_end_during_a_file(build: Backend, loop: str, sendfile: bool, how: str, file: Any) -> None:
    async def test(bench: Bench) -> None:
        before = descriptors()
        connection, peer = bench.pair(small=True, tcp=True)
        connection.do("send_file", file.fileno(), 0, len(DATA))
        await read(peer, 1000)
        if how == "reset":
            reset(peer)
        elif how == "half-close":
            connection.do("shutdown_write")
            assert len(await read(peer, len(DATA))) == len(DATA) - 1000
            connection.do("abort")
        else:
            connection.do(how)
        if how == "close":
            assert len(await read(peer, len(DATA))) == len(DATA) - 1000
        await eventually(lambda: "lost" in connection.calls)
        peer.close()
        if how != "close":
            # There the socket decides: whether the last that is read of the file is all sent at once.
            assert ("file_sent" in connection.calls) == (how == "half-close")
        assert descriptors() == before

    on_bench(build, loop, test, sendfile=sendfile)


# Later turns


@loops
def test_later_turns_are_coalesced(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        pairs = [bench.pair() for _ in range(5)]
        for connection, _ in pairs:
            connection.do("schedule", connection)
        assert bench.loop.wakes == 1
        # The end of one comes before its turn, another asks for one more.
        pairs[0][0].on["later"] = lambda: pairs[0][0].on.clear() or pairs[0][0].do("schedule", pairs[0][0])
        pairs[4][0].do("abort")
        await eventually(lambda: pairs[0][0].calls == ["later", "later"])
        assert [connection.calls for connection, _ in pairs[1:4]] == [["later"]] * 3
        assert pairs[4][0].calls in (["later", "lost"], ["lost"])

    on_bench(build, loop, test)


# Accepting


@contextlib.contextmanager
def listening(bench: Bench, text: str, opened: Any) -> Iterator[Any]:
    (listener,) = open_listeners([parse_address(text)])
    listener.start_polling(bench.poller, opened, log)
    try:
        yield listener
    finally:
        listener.stop()
        listener.close()


class Opened:
    """Takes new transports, and attaches connections to them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.addresses: list[Any] = []
        self.connections: list[Any] = []

    def __call__(self, transport: Any, client: Any, server: Any) -> None:
        connection = self.bench.make_connection()
        connection.transport = transport
        transport.attach(connection)
        self.addresses.append((client, server))
        self.connections.append(connection)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@loops
@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.2"),
        pytest.param("[::1]:0", "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
        pytest.param("[::]:0", "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
        pytest.param("[::]:0", "127.0.0.1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
    ],
)
def test_addresses(build: Backend, loop: str, text: str, target: str) -> None:
    async def test(bench: Bench) -> None:
        opened = Opened(bench)
        with listening(bench, text, opened) as listener:
            before = open_descriptors()
            with socket.create_connection((target, listener.address[1]), 5) as client:
                await eventually(lambda: opened.addresses)
                assert opened.addresses == [(client.getsockname()[:2], (target, listener.address[1]))]
                (number,) = open_descriptors() - before - {client.fileno()}
                with socket.socket(fileno=os.dup(number)) as accepted:
                    assert accepted.getpeername()[1] == client.getsockname()[1]
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    assert not os.get_inheritable(number)
                    assert fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK

    on_bench(build, loop, test)


def test_unix_addresses(build: Backend, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        opened = Opened(bench)
        with listening(bench, f"unix:{tmp_path}/s", opened), socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/s")
            await eventually(lambda: opened.addresses)
        assert opened.addresses == [(None, (f"{tmp_path}/s", None))]

    on_bench(build, "asyncio", test)


@loops
def test_one_turn_accepts_a_bounded_number(build: Backend, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "ACCEPTS_PER_TURN", 3)

    async def test(bench: Bench) -> None:
        opened = Opened(bench)
        with listening(bench, "127.0.0.1:0", opened) as listener:
            clients = [socket.create_connection(listener.address, 5) for _ in range(8)]
            counts = []
            for _ in range(4):
                bench.loop.ready()
                counts.append(len(opened.connections))
            assert counts == [3, 6, 8, 8]
            for client in clients:
                client.close()

    on_bench(build, loop, test)


@loops
def test_stopping_takes_what_is_queued(build: Backend, loop: str) -> None:
    async def test(bench: Bench) -> None:
        opened = Opened(bench)
        with listening(bench, "127.0.0.1:0", opened) as listener:
            clients = [socket.create_connection(listener.address, 5) for _ in range(5)]
            listener.stop()
            assert len(opened.connections) == 5
            address = listener.address
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
        for client in clients:
            client.send(b"x")
        await eventually(lambda: all(connection.data == b"x" for connection in opened.connections))
        for client in clients:
            client.close()

    on_bench(build, loop, test)


@loops
def test_out_of_descriptors(
    build: Backend, loop: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "ACCEPT_PAUSE", 0.02)

    async def test(bench: Bench) -> None:
        opened = Opened(bench)
        with listening(bench, "127.0.0.1:0", opened) as listener:
            client = socket.create_connection(listener.address, 5)
            fill = []
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 5, hard))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        fill.append(os.dup(0))
                turns = bench.loop.turns
                await asyncio.sleep(0.1)
                # Not once per turn of the loop: a few attempts with pauses between them.
                assert 0 < bench.loop.turns - turns < 10
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for number in fill:
                    os.close(number)
            assert not opened.connections
            client.send(b"x")
            await eventually(lambda: opened.connections and opened.connections[0].data == b"x")
            client.close()

    on_bench(build, loop, test)
    assert len(caplog.records) == 1
    assert "can't accept connections" in caplog.text


@loops
def test_connections_that_can_not_be_made(build: Backend, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        before = descriptors()
        made = Opened(bench)

        def opened(transport: Any, client: Any, server: Any) -> None:
            if not bench.poller.transports:
                made(transport, client, server)
            raise ValueError("internal")

        with listening(bench, "127.0.0.1:0", opened) as listener:
            for _ in range(2):
                with socket.create_connection(listener.address, 5) as client:
                    client.setblocking(False)
                    assert await read(client, 1) == b""
        assert made.connections[0].calls == ["lost"]
        assert descriptors() == before

    on_bench(build, loop, test)
    assert caplog.text.count("ValueError: internal") == 2


# Nothing is left


@loops
def test_nothing_leaks(build: Backend, loop: str, file: Any) -> None:
    async def test(bench: Bench) -> None:
        gone: list[Any] = []

        async def live() -> None:
            connection, peer = bench.pair(small=True)
            connection.on["feed"] = lambda data: None
            peer.send(b"x" * 1000)
            connection.do("write_parts", [b"y" * 100, DATA[:100000]])
            connection.do("schedule", connection)
            await read(peer, 100100)
            connection.do("send_file", file.fileno(), 0, 100000)
            await read(peer, 100000)
            await eventually(lambda: "file_sent" in connection.calls)
            connection.do("close")
            await eventually(lambda: "lost" in connection.calls)
            connection.on.clear()
            bench.peers.remove(peer)
            peer.close()
            gone.append(weakref.ref(connection))

        await live()
        gc.collect()
        gc.disable()
        try:
            before = descriptors(), sys.getrefcount(bench.poller)
            for _ in range(10):
                await live()
            await asyncio.sleep(0)
            assert (descriptors(), sys.getrefcount(bench.poller)) == before
        finally:
            gc.enable()
        # Without the help of the collector.
        assert [reference() for reference in gone] == [None] * 11

    on_bench(build, loop, test)


@loops
def test_closing_the_poller(build: Backend, loop: str) -> None:
    async def main() -> None:
        before = descriptors()
        bench = Bench(build)
        opened = Opened(bench)
        with listening(bench, "127.0.0.1:0", opened):
            pairs = [bench.pair(small=True) for _ in range(3)]
            for connection, peer in pairs:
                connection.do("write", DATA)
                connection.do("schedule", connection)
                peer.send(b"x")
            bench.poller.close()
            assert all(connection.calls[-1] == "lost" for connection, _ in pairs)
            bench.poller.close()
            bench.loop.ready()
            await asyncio.sleep(0.01)
            assert all(connection.calls[-1] == "lost" for connection, _ in pairs)
            assert all("later" not in connection.calls for connection, _ in pairs)
        bench.close()
        assert descriptors() == before

    run(loop, main)


def test_a_poller_that_is_dropped(build: Backend) -> None:
    """A loop that is closed under a server: nothing is called any more, nothing stays open."""
    gc.collect()
    before = descriptors()

    async def main() -> socket.socket:
        connection, peer = Bench(build).pair()
        connection.do("write", b"x")
        return peer

    with pytest.warns(ResourceWarning) if build.name == "core" else contextlib.nullcontext():
        asyncio.run(main()).close()
        gc.collect()
    assert descriptors() == before


def test_where_there_are_no_readers(build: Backend) -> None:
    class Proactor:
        def add_reader(self, descriptor: int, callback: object) -> None:
            raise NotImplementedError

    before = descriptors()
    with pytest.raises(NotImplementedError):
        build.module("io.poller").Poller(Proactor(), None, log, 0, True)
    gc.collect()
    assert descriptors() == before


def test_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.core.io.poller import Poller

    monkeypatch.delattr(select, "epoll")
    with pytest.raises(OSError) as caught:
        Poller(None, None, log, 0, True)
    assert caught.value.errno == errno.ENOSYS


# Output that is held until the end of a batch


def arrived(peer: socket.socket) -> int:
    """Bytes that wait to be read."""
    try:
        return len(peer.recv(1048576, socket.MSG_PEEK))
    except BlockingIOError:
        return 0


def batch(bench: Bench, count: int, act: Callable[[Any], None]) -> tuple[list[Any], list[list[int]]]:
    """`count` connections with input in one batch, each of which calls `act` with itself.

    Also returns how much had arrived at each client when that was done, for each time; it grows in the batch.
    """
    pairs = [bench.pair() for _ in range(count)]
    seen: list[list[int]] = []

    def on_feed(connection: Any) -> None:
        act(connection)
        seen.append(sorted(arrived(peer) for _, peer in pairs))

    for connection, peer in pairs:
        connection.on["feed"] = lambda data, connection=connection: on_feed(connection)
        peer.send(b"request")
    return pairs, seen


def test_output_of_a_batch_leaves_at_its_end(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        pairs, seen = batch(bench, 3, lambda connection: connection.transport.write_soon(b"reply"))
        await eventually(lambda: all(arrived(peer) == 5 for _, peer in pairs))
        # The last one has nothing to wait for. Where the others stand then is a matter of time.
        assert seen[0] == [0, 0, 0]
        assert seen[2][2] == 5
        assert all(connection.do("buffered") == 0 for connection, _ in pairs)
        await bench.quiet()

    on_bench(build, "asyncio", test)


def test_output_is_not_held_for_long(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        def act(connection: Any) -> None:
            connection.transport.write_soon(b"reply")
            time.sleep(0.001)

        pairs, seen = batch(bench, 3, act)
        await eventually(lambda: len(seen) == 3)
        assert seen == [[0, 0, 0], [0, 0, 5], [5, 5, 5]]
        assert await read(pairs[0][1], 5) == b"reply"

    on_bench(build, "asyncio", test)


@pytest.mark.parametrize("after", ["close", "shutdown_write", "abort", "write", "fail"])
def test_what_comes_after_held_output(build: Backend, after: str) -> None:
    async def test(bench: Bench) -> None:
        def act(connection: Any) -> None:
            connection.transport.write_soon(b"reply")
            if after == "write":
                connection.transport.write(b" and more")
            elif after == "fail":
                raise RuntimeError("on purpose")
            else:
                getattr(connection.transport, after)()

        pairs, seen = batch(bench, 3, act)
        await eventually(lambda: len(seen) == (0 if after == "fail" else 3))
        if after in ("abort", "fail"):
            await eventually(lambda: all("lost" in connection.calls for connection, _ in pairs))
            return
        expected = b"reply and more" if after == "write" else b"reply"
        for _, peer in pairs:
            assert await read(peer, len(expected)) == expected
        if after == "close":
            await eventually(lambda: all("lost" in connection.calls for connection, _ in pairs))
        elif after == "shutdown_write":
            for _, peer in pairs:
                assert await read(peer, 1) == b""
        else:
            await bench.quiet()

    on_bench(build, "asyncio", test)


def test_held_output_that_does_not_fit(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        pairs, _ = batch(bench, 2, lambda connection: connection.transport.write_soon(DATA))
        for _, peer in pairs:
            assert await read(peer, len(DATA)) == DATA
        await eventually(lambda: all(connection.do("buffered") == 0 for connection, _ in pairs))
        assert all(connection.calls[1:] == ["pause", "resume"] for connection, _ in pairs)
        await bench.quiet()

    on_bench(build, "asyncio", test)


# Sending from other threads


def test_send_now(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair(small=True)
        transport = connection.transport
        assert transport.threadsafe is (build.name == "_speedups")
        if not transport.threadsafe:
            assert transport.send_now(b"x") == -1
            assert transport.send_parts_now([b"x"]) == -1
            return
        assert transport.send_now(b"") == 0
        assert transport.send_now(b"one") == 3
        assert await read(peer, 3) == b"one"
        assert transport.send_now(b"x" * 65537) == -1
        # What the socket does not take is the caller's business.
        sent = transport.send_now(b"x" * 65536)
        assert 0 < sent < 65536
        assert transport.send_now(b"y") == 0
        assert connection.do("buffered") == 0
        await bench.quiet()
        # Behind what is queued it must not go out.
        connection.do("write", b"queued")
        assert transport.send_now(b"z") == -1
        assert transport.send_parts_now([b"z"]) == -1
        assert await read(peer, sent + 6) == b"x" * sent + b"queued"
        await eventually(lambda: connection.do("buffered") == 0)
        assert transport.send_now(b"z") == 1
        assert await read(peer, 1) == b"z"
        assert connection.calls == []

    on_bench(build, "asyncio", test)


@pytest.mark.parametrize("how", ["close", "abort", "shutdown_write", "file", "lost"])
def test_send_now_to_a_transport_that_is_busy_or_over(compiled: Backend, how: str, file: Any) -> None:
    async def test(bench: Bench) -> None:
        connection, _ = bench.pair(small=True)
        if how == "file":
            connection.do("send_file", file.fileno(), 0, len(DATA))
        elif how == "lost":
            connection.do("abort")
            await eventually(lambda: "lost" in connection.calls)
        else:
            connection.do(how)
        assert connection.transport.send_now(b"x") == -1
        assert connection.transport.send_parts_now([b"x"]) == -1

    on_bench(compiled, "asyncio", test)


@pytest.mark.parametrize("parts", [[b"head", DATA, b"tail"], [DATA] * 9, [b"small"]])
def test_send_parts_now(compiled: Backend, parts: list[bytes]) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        whole = b"".join(parts)
        taken = connection.transport.send_parts_now(parts)
        assert 0 < taken <= len(whole)
        assert connection.do("buffered") == 0
        connection.do("write_rest", parts, taken)
        assert connection.do("buffered") == len(whole) - taken
        assert await read(peer, len(whole)) == whole

    on_bench(compiled, "asyncio", test)


def test_a_connection_is_told_of_its_end_before_the_descriptor_is_closed(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        sock, peer = socket.socketpair()
        bench.peers.append(peer)
        sock.setblocking(False)
        number = sock.fileno()
        connection = bench.adopt(sock)
        # A thread may be sending, until this has told it not to.
        connection.on["lost"] = lambda: os.fstat(number)
        connection.do("abort")
        await eventually(lambda: "lost" in connection.calls)
        assert connection.transport.send_now(b"x") == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)

    on_bench(build, "asyncio", test)


def test_send_now_leaves_errors_to_the_loop(compiled: Backend) -> None:
    async def test(bench: Bench) -> None:
        connection, peer = bench.pair()
        peer.close()
        assert connection.transport.send_now(b"x") == 0
        assert connection.transport.send_parts_now([b"x"]) == 0
        assert connection.calls == []
        await eventually(lambda: connection.calls == ["eof", "lost"])

    on_bench(compiled, "asyncio", test)


# What the executor has to say


def test_posted_steps_are_done_around_a_batch(build: Backend) -> None:
    async def test(bench: Bench) -> None:
        calls: list[str] = []

        class Executor(build.module("kernels.base").Executor):  # type: ignore[misc, name-defined]
            def drain(self) -> int:
                calls.append("drain")
                return 0

        bench.poller.executor = Executor()
        connection, peer = bench.pair()
        connection.on["feed"] = lambda data: calls.append("feed")
        peer.send(b"x")
        await eventually(lambda: len(calls) >= 3)
        assert calls[:3] == ["drain", "feed", "drain"]
        bench.poller.executor = None

    on_bench(build, "asyncio", test)


# Deadlines


def test_tick_reaches_all_and_survives_one_that_raises(build: Backend, caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        pairs = [bench.pair() for _ in range(5)]
        for connection, _ in pairs:
            connection.on["tick"] = connection.transport.abort if connection is pairs[1][0] else lambda: None
        pairs[2][0].on["tick"] = lambda: 1 // 0
        assert bench.poller.tick(5.0) == 0
        assert [connection.calls for connection, _ in pairs] == [["tick"]] * 5
        assert all(connection.now == 5.0 for connection, _ in pairs)
        await eventually(lambda: [len(connection.calls) for connection, _ in pairs] == [1, 2, 2, 1, 1])
        bench.poller.tick(6.0)
        assert [connection.calls.count("tick") for connection, _ in pairs] == [2, 1, 1, 2, 2]

    on_bench(build, "asyncio", test)
    assert caplog.text.count("Internal error: a connection failed") == 1
