"""Both kinds of transport over real sockets: writing, braking, files, half-closed and lost connections, TLS.

Every test runs with asyncio's transports and with a poller's, except where it says otherwise; what only concerns
pollers is in test_io.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import logging
import os
import random
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.backend import Backend
from gateway.server import protocol as protocol_module
from gateway.server import transport as transport_module
from gateway.server.binding import open_listeners
from gateway.server.protocol import Acceptor
from gateway.tls import TLSSettings, make_ssl_context

from .aio import LOOPS, eventually, run

CERTS = Path(__file__).parent.parent / "certs"
log = logging.getLogger("tests.transport")

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@pytest.fixture(autouse=True, params=["asyncio", pytest.param("epoll", marks=linux)])
def io(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What moves the bytes."""
    monkeypatch.setattr(Wire, "io", request.param)
    return request.param  # type: ignore[no-any-return]


def needs_asyncio(io: str) -> None:
    if io != "asyncio":
        pytest.skip("concerns asyncio transports only")


DATA = random.Random(1).randbytes(3 * 1048576 + 17)
BUFFER = 262144
"""Bytes a client's socket may hold: unless it is told, Linux lets that grow to more than a test here sends."""


def connection_class(build: Backend) -> Any:
    class FakeConnection(build.module("kernels.base").Connection):  # type: ignore[misc, name-defined]
        """Records what it is told."""

        def __init__(self, service: Any, transport: Any, client: Any, server: Any, scheme: str) -> None:
            self.transport = transport
            self.client = client
            self.server = server
            self.scheme = scheme
            self.calls: list[str] = []
            self.input = build.module("kernels.buffer").InputBuffer()
            self.data = b""
            self.error: Any = None
            self.on_feed: Callable[[bytes], Any] | None = None
            service.connections.append(self)

        def opened(self) -> int:
            self.calls.append("opened")
            return 0

        def received(self, size: int) -> int:
            data = self.input.take(size)
            self.data += data
            if self.on_feed is not None:
                self.on_feed(data)
            return 0

        def eof(self) -> int:
            self.calls.append("eof")
            return 0

        def lost(self, error: Any) -> int:
            self.calls.append("lost")
            self.error = error
            return 0

        def pause_writing(self) -> int:
            self.calls.append("pause")
            return 0

        def resume_writing(self) -> int:
            self.calls.append("resume")
            return 0

        def file_sent(self, error: Any) -> int:
            self.calls.append("file_sent")
            self.error = error
            return 0

        def resume(self) -> int:
            self.calls.append("later")
            return 0

        def tick(self, now: float) -> int:
            self.calls.append("tick")
            return 0

    return FakeConnection


class Wire:
    """A listener, an acceptor with recording connections, and clients as asyncio streams."""

    io = "asyncio"

    def __init__(self, build: Backend, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self.connections: list[Any] = []
        service = SimpleNamespace(
            clock=SimpleNamespace(time=0.0),
            timeouts=SimpleNamespace(linger=1.0),
            limits=SimpleNamespace(write_buffer=65536, connections=options.pop("limit", 0)),
            connections=self.connections,
        )
        loop = asyncio.get_running_loop()
        self.poller: Any = None
        if self.io == "epoll":
            if tls is not None:
                pytest.skip("pollers know no TLS")
            context = contextvars.copy_context()
            self.poller = build.module("io.poller").Poller(
                loop, context, log, service.limits.write_buffer, options.get("sendfile", True)
            )
        make = connection_class(build)
        self.acceptor = Acceptor(loop, build, service, make, tls=tls, poller=self.poller, log=log, **options)
        (self.listener,) = open_listeners([address()])
        if self.poller is None:
            self.listener.start(loop, self.acceptor.accepted, log)
        else:
            self.listener.start_polling(self.poller, self.acceptor.accepted_by_poller, log)
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, small: bool = False, **options: Any) -> tuple[Any, Any, Any]:
        """(reader, writer, connection); `small` keeps the client's receive buffer small."""
        count = len(self.connections)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096 if small else BUFFER)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.listener.address)
        limit = 2**12 if small else 2**16
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit, **options)
        self.writers.append(writer)
        connection = await eventually(lambda: self.connections[count:])
        await eventually(lambda: "opened" in connection[0].calls)
        return reader, writer, connection[0]

    async def close(self) -> None:
        self.listener.stop()
        self.listener.close()
        for writer in self.writers:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass
        self.acceptor.close()
        await eventually(lambda: not self.acceptor.protocols and not self.acceptor.handshakes)
        if self.poller is not None:
            self.poller.close()


def address() -> Any:
    from gateway.config.addresses import Address

    return Address("tcp", "127.0.0.1", 0)


def wired(build: Backend, loop: str, test: Callable[[Wire], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        wire = Wire(build, **options)
        try:
            await test(wire)
        finally:
            await wire.close()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_life_of_a_connection(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        reader, writer, connection = await wire.connect()
        assert connection.client == writer.get_extra_info("sockname")
        assert connection.server == wire.listener.address
        assert connection.scheme == "http"
        writer.write(b"hello")
        await eventually(lambda: connection.data == b"hello")
        connection.transport.write(b"one ")
        connection.transport.write_parts([b"two ", b"three"])
        assert await reader.readexactly(13) == b"one two three"
        assert connection.transport.buffered() == 0
        wire.acceptor.tick(1.0)
        connection.transport.schedule(connection)
        assert "later" not in connection.calls
        await eventually(lambda: "later" in connection.calls)
        connection.transport.close()
        assert await reader.read() == b""
        await eventually(lambda: connection.calls == ["opened", "tick", "later", "lost"])
        assert connection.error is None
        assert not wire.acceptor.protocols

    wired(build, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_large_parts_arrive_in_order(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect(small=True)
        connection.transport.write_parts([b"head", DATA, b"tail"])
        assert connection.transport.buffered() > 0
        assert "pause" in connection.calls
        assert await reader.readexactly(len(DATA) + 8) == b"head" + DATA + b"tail"
        await eventually(lambda: "resume" in connection.calls)

    wired(build, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_half_closed_client_still_gets_its_response(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        reader, writer, connection = await wire.connect()
        writer.write_eof()
        await eventually(lambda: "eof" in connection.calls)
        # Neither may bring the end of input a second time.
        connection.transport.pause_reading()
        connection.transport.resume_reading()
        connection.transport.write(b"response")
        assert await reader.readexactly(8) == b"response"
        assert connection.calls == ["opened", "eof"]
        connection.transport.close()
        assert await reader.read() == b""

    wired(build, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_shutting_down_the_sending_half(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        reader, writer, connection = await wire.connect()
        connection.transport.write(b"last")
        assert connection.transport.shutdown_write() is True
        assert await reader.read() == b"last"
        writer.write(b"still here")
        await eventually(lambda: connection.data == b"still here")
        connection.transport.abort()
        await eventually(lambda: "lost" in connection.calls)
        assert connection.transport.shutdown_write() is False

    wired(build, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_reading_is_paused_and_resumed(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        _, writer, connection = await wire.connect()
        for _ in range(2):
            connection.transport.pause_reading()
        writer.write(b"x")
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert connection.data == b""
        for _ in range(2):
            connection.transport.resume_reading()
        await eventually(lambda: connection.data == b"x")

    wired(build, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_reset_by_the_client(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        _, writer, connection = await wire.connect()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await eventually(lambda: "lost" in connection.calls)
        assert isinstance(connection.error, ConnectionResetError)

    wired(build, loop, test)


def test_an_exception_in_feed_closes_that_connection_only(
    build: Backend, io: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        wire = Wire(build)

        def fail(data: bytes) -> None:
            raise ValueError("internal")

        reader, writer, connection = await wire.connect()
        other_reader, _, other = await wire.connect()
        connection.on_feed = fail
        writer.write(b"x")
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        await eventually(lambda: "lost" in connection.calls)
        if io == "asyncio":
            assert isinstance(problems[0]["exception"], ValueError)
        else:
            assert not problems
            assert "ValueError: internal" in caplog.text
        other.transport.write(b"fine")
        assert await other_reader.readexactly(4) == b"fine"
        await wire.close()

    run("asyncio", main)


def test_an_exception_in_tick_closes_that_connection_only(
    build: Backend, io: str, caplog: pytest.LogCaptureFixture
) -> None:
    needs_asyncio(io)

    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect()
        _, _, other = await wire.connect()

        class Failing:
            def tick(self, now: float) -> int:
                raise ValueError("internal")

        for protocol in wire.acceptor.protocols:
            if protocol.connection is connection:
                protocol.connection = Failing()  # type: ignore[assignment]
        wire.acceptor.tick(1.0)
        assert "tick" in other.calls
        assert "checking the deadlines" in caplog.text
        for protocol in wire.acceptor.protocols:
            if isinstance(protocol.connection, Failing):
                protocol.connection = connection
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass

    wired(build, "asyncio", test)


# Files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


PLAIN_AND_COPIED = [pytest.param(True, id="sendfile"), pytest.param(False, id="copied")]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sendfile", PLAIN_AND_COPIED)
@pytest.mark.parametrize("small", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize("queued", [0, 300000], ids=["empty", "queued"])
def test_file(build: Backend, loop: str, sendfile: bool, small: bool, queued: int, file: Path) -> None:
    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect(small)
        with file.open("rb") as opened:
            head = b"h" * queued
            connection.transport.write(head + b"head")
            connection.transport.send_file(opened.fileno(), 3, len(DATA) - 3)
            assert "file_sent" not in connection.calls
            assert await reader.readexactly(queued + 4) == head + b"head"
            assert await reader.readexactly(len(DATA) - 3) == DATA[3:]
            await eventually(lambda: "file_sent" in connection.calls)
        assert connection.error is None
        connection.transport.write(b"next")
        assert await reader.readexactly(4) == b"next"
        # The brake works as before: pauses and resumes come in pairs.
        await eventually(lambda: connection.calls.count("pause") == connection.calls.count("resume"))
        connection.calls.clear()
        connection.transport.write(b"x" * 8_000_000)
        assert connection.calls == ["pause"]
        await reader.readexactly(8_000_000)
        await eventually(lambda: connection.calls == ["pause", "resume"])

    wired(build, loop, test, sendfile=sendfile)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sendfile", PLAIN_AND_COPIED)
def test_a_file_leaves_others_their_turns(build: Backend, loop: str, sendfile: bool, file: Path) -> None:
    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect()
        # More than all buffers on the way hold, so that it can't be sent before it is read.
        size = len(DATA) * 3
        file.write_bytes(DATA * 3)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(count())
        progress: set[int] = set()
        with file.open("rb") as opened:
            connection.transport.send_file(opened.fileno(), 0, size)
            rest = size
            while rest:
                progress.add(connection.transport.file_progress())
                rest -= len(await reader.read(65536))
            await eventually(lambda: "file_sent" in connection.calls)
        counter.cancel()
        assert turns > 5
        assert any(0 < sent < size for sent in progress)

    wired(build, loop, test, sendfile=sendfile)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sendfile", PLAIN_AND_COPIED)
def test_file_that_is_shorter_than_promised(build: Backend, loop: str, sendfile: bool, file: Path) -> None:
    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect()
        with file.open("rb") as opened:
            connection.transport.send_file(opened.fileno(), len(DATA) - 10, 20)
            await eventually(lambda: "file_sent" in connection.calls)
        assert connection.error.errno == errno.EIO
        assert await reader.readexactly(10) == DATA[-10:]

    wired(build, loop, test, sendfile=sendfile)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_sendfile_cannot_do_is_copied(
    build: Backend, loop: str, io: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if io == "epoll" and build.name != "core":
        pytest.skip("sends with system calls of its own")

    def cannot(*arguments: Any) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(transport_module.os, "sendfile", cannot, raising=False)

    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect()
        with file.open("rb") as opened:
            connection.transport.send_file(opened.fileno(), 0, len(DATA))
            assert await reader.readexactly(len(DATA)) == DATA
            await eventually(lambda: "file_sent" in connection.calls)
        assert connection.error is None

    wired(build, loop, test)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sendfile", PLAIN_AND_COPIED)
def test_client_leaves_during_a_file(build: Backend, loop: str, sendfile: bool, file: Path) -> None:
    async def test(wire: Wire) -> None:
        # libuv opens a spare descriptor of its own with the first connection.
        await wire.connect()
        before = open_descriptors()
        reader, writer, connection = await wire.connect(small=True)
        with file.open("rb") as opened:
            connection.transport.send_file(opened.fileno(), 0, len(DATA))
            await reader.readexactly(1000)
            writer.transport.abort()
            await eventually(lambda: "lost" in connection.calls)
        assert "file_sent" not in connection.calls
        await eventually(lambda: open_descriptors() <= before)

    wired(build, loop, test, sendfile=sendfile)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("sendfile", PLAIN_AND_COPIED)
def test_abort_during_a_file(build: Backend, loop: str, sendfile: bool, file: Path) -> None:
    async def test(wire: Wire) -> None:
        # libuv opens a spare descriptor of its own with the first connection.
        await wire.connect()
        before = open_descriptors()
        reader, writer, connection = await wire.connect(small=True)
        with file.open("rb") as opened:
            connection.transport.send_file(opened.fileno(), 0, len(DATA))
            await reader.readexactly(1000)
            connection.transport.abort()
            await eventually(lambda: "lost" in connection.calls)
        writer.transport.abort()
        assert "file_sent" not in connection.calls
        await eventually(lambda: open_descriptors() <= before)

    wired(build, loop, test, sendfile=sendfile)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_becomes_of_the_callers_descriptor_does_not_matter(build: Backend, loop: str, file: Path) -> None:
    async def test(wire: Wire) -> None:
        reader, _, connection = await wire.connect(small=True)
        opened = file.open("rb")
        number = opened.fileno()
        connection.transport.send_file(number, 0, len(DATA))
        opened.close()
        with open(os.devnull) as other:
            assert other.fileno() == number
            assert await reader.readexactly(len(DATA)) == DATA

    wired(build, loop, test)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


# TLS


def server_context() -> ssl.SSLContext:
    return make_ssl_context(TLSSettings(certfile=str(CERTS / "server.pem"), keyfile=str(CERTS / "server.key")))


def client_options() -> dict[str, Any]:
    return {"ssl": ssl.create_default_context(cafile=str(CERTS / "ca.pem")), "server_hostname": "localhost"}


@pytest.mark.parametrize("loop", LOOPS)
def test_tls(build: Backend, loop: str, file: Path) -> None:
    async def test(wire: Wire) -> None:
        reader, writer, connection = await wire.connect(**client_options())
        assert connection.scheme == "https"
        writer.write(b"hello")
        await eventually(lambda: connection.data == b"hello")
        connection.transport.write(b"head")
        with file.open("rb") as opened:
            connection.transport.send_file(opened.fileno(), 0, len(DATA))
            assert await reader.readexactly(4 + len(DATA)) == b"head" + DATA
            await eventually(lambda: "file_sent" in connection.calls)
        assert connection.transport.shutdown_write() is False
        connection.transport.close()
        assert await reader.read() == b""
        await eventually(lambda: "lost" in connection.calls)

    wired(build, loop, test, tls=server_context())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("early", [True, False])
def test_plain_request_on_a_tls_port(build: Backend, loop: str, early: bool) -> None:
    async def test(wire: Wire) -> None:
        reader, writer = await asyncio.open_connection(*wire.listener.address)
        if not early:
            await eventually(lambda: wire.acceptor.handshakes)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"content-length: %d" % len(body) in head.lower()
        assert b"this port speaks HTTPS" in body
        writer.close()
        await writer.wait_closed()
        assert not wire.connections

    wired(build, loop, test, tls=server_context())


@pytest.mark.parametrize("loop", LOOPS)
def test_silence_on_a_tls_port(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        reader, writer = await asyncio.open_connection(*wire.listener.address)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert not wire.acceptor.handshakes

    wired(build, loop, test, tls=server_context(), handshake_timeout=0.05)


@pytest.mark.parametrize("loop", LOOPS)
def test_handshake_that_stalls_or_fails(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        for hello in (b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x00\x05hello"):
            reader, writer = await asyncio.open_connection(*wire.listener.address)
            writer.write(hello)
            try:
                await reader.read()
            except ConnectionResetError:
                pass
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionResetError:
                pass
        assert not any(connection.calls for connection in wire.connections)
        assert not wire.acceptor.protocols

    wired(build, loop, test, tls=server_context(), handshake_timeout=0.2)


@pytest.mark.parametrize("loop", LOOPS)
def test_connections_without_a_handshake_are_limited(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        first = await asyncio.open_connection(*wire.listener.address)
        await eventually(lambda: wire.acceptor.handshakes)
        second = await asyncio.open_connection(*wire.listener.address)
        assert await second[0].read() == b""
        for _, writer in (first, second):
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: not wire.acceptor.handshakes)

    wired(build, loop, test, tls=server_context(), limit=1)


@pytest.mark.parametrize("loop", LOOPS)
def test_end_of_a_tls_connection(build: Backend, loop: str) -> None:
    async def test(wire: Wire) -> None:
        _, writer, connection = await wire.connect(**client_options())
        writer.close()
        await eventually(lambda: connection.calls[-1] == "lost")
        assert connection.calls == ["opened", "eof", "lost"]

    wired(build, loop, test, tls=server_context())


# Loops without readers


def test_the_loops_own_server(build: Backend, io: str) -> None:
    needs_asyncio(io)

    async def main() -> None:
        connections: list[Any] = []
        service = SimpleNamespace(
            clock=SimpleNamespace(time=0.0),
            timeouts=SimpleNamespace(linger=1.0),
            limits=SimpleNamespace(write_buffer=0, connections=0),
            connections=connections,
        )
        loop = asyncio.get_running_loop()
        acceptor = Acceptor(loop, build, service, connection_class(build), log=log)
        (listener,) = open_listeners([address()])
        await listener.start_server(loop, acceptor.late_protocol)
        reader, writer = await asyncio.open_connection(*listener.address)
        await eventually(lambda: connections)
        writer.write(b"hello")
        await eventually(lambda: connections[0].data == b"hello")
        assert connections[0].client == writer.get_extra_info("sockname")
        connections[0].transport.write(b"bye")
        assert await reader.readexactly(3) == b"bye"
        connections[0].transport.close()
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: not acceptor.protocols)
        listener.stop()
        listener.close()

    run("asyncio", main)


def test_the_answer_to_plain_requests_is_well_formed() -> None:
    head, _, body = protocol_module.PLAIN_ON_TLS.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
