"""The system calls of own I/O, both twins: what they return, and whose descriptors are whose."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gateway.backend import Backend

if sys.platform != "linux":
    pytest.skip("Linux only", allow_module_level=True)


@pytest.fixture
def kernel(build: Backend) -> ModuleType:
    return build.module("kernels.sockets")


@pytest.fixture
def pair(kernel: ModuleType) -> Iterator[tuple[object, socket.socket]]:
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    own = kernel.Socket(ours)
    yield own, peer
    own.close()
    own.close()
    assert own.number == -1
    peer.close()


def test_sending(kernel: ModuleType, pair: tuple[object, socket.socket]) -> None:
    own, peer = pair
    assert own.send(b"xabc", 1) == 3
    assert own.send_parts([b"no", b"xde", b"", b"f"], 1, 1) == 3
    assert peer.recv(10) == b"abcdef"
    parts = [b"%d," % number for number in range(100)]
    assert own.send_parts(parts, 0, 0) == len(b"".join(parts[: kernel.PARTS]))
    while (count := own.send(bytes(kernel.RELEASE_SIZE + 1), 0)) > 0:
        assert not own.sending
    assert count == -errno.EAGAIN
    assert own.error() == 0
    assert own.shut_down() == 0
    assert own.send(b"x", 0) == -errno.EPIPE
    assert own.shut_down() == 0


def test_parts_are_bytes(build: Backend, pair: tuple[object, socket.socket]) -> None:
    own, _ = pair
    with pytest.raises(TypeError):
        own.send_parts([b"x", "y"], 0, 0)


def test_receiving(build: Backend, kernel: ModuleType, pair: tuple[object, socket.socket]) -> None:
    own, peer = pair
    buffer = kernel.ReceiveBuffer()
    target = build.module("kernels.buffer").InputBuffer()
    assert buffer.receive(own, 10) == -errno.EAGAIN
    for size in (5, kernel.READ_SIZE, kernel.READ_SIZE + 1):
        peer.send(b"hello")
        assert buffer.receive(own, size) == 5
        buffer.lend(target)
        assert target.peek(0, 9) == b"hello"
        # What is left over stays what it is when the memory is used again.
        assert target.discard(2) == 2
        target.keep()
        peer.send(b"HELLO")
        assert buffer.receive(own, size) == 5
        assert target.peek(0, 9) == b"llo"
        buffer.lend(target)
        target.keep()
        assert target.take(9) == b"lloHELLO"
    peer.close()
    assert buffer.receive(own, 10) == 0
    assert buffer.receive(own, kernel.READ_SIZE + 1) == 0


def test_events(kernel: ModuleType, pair: tuple[object, socket.socket]) -> None:
    own, peer = pair
    queue = kernel.EventQueue()
    source = object()
    assert queue.descriptor() >= 0
    assert queue.wait() == 0
    assert queue.watch(source, own.number, 0, kernel.EPOLLIN) == 0
    assert queue.watch(source, own.number, 0, kernel.EPOLLIN) == -errno.EEXIST
    peer.send(b"x")
    assert queue.wait() == 1
    assert queue.source(0) is source
    assert queue.events(0) == kernel.EPOLLIN
    # Still the batch's, though nobody watches it any more.
    assert queue.watch(source, own.number, kernel.EPOLLIN, 0) == 0
    assert queue.source(0) is source
    with pytest.raises(IndexError):
        queue.source(1)
    queue.done()
    with pytest.raises(IndexError):
        queue.events(0)
    assert queue.wait() == 0
    assert queue.watch(source, 12345, 0, kernel.EPOLLIN) == -errno.EBADF
    queue.close()
    assert queue.descriptor() < 0


def test_sources_are_held_as_long_as_they_are_watched(kernel: ModuleType, pair: tuple[object, socket.socket]) -> None:
    own, _ = pair
    queue = kernel.EventQueue()
    source = object()
    count = sys.getrefcount(source)
    queue.watch(source, own.number, 0, kernel.EPOLLIN | kernel.EPOLLOUT)
    assert queue.wait() == 1
    queue.done()
    assert sys.getrefcount(source) == count + 1
    queue.watch(source, own.number, kernel.EPOLLIN | kernel.EPOLLOUT, 0)
    assert sys.getrefcount(source) == count
    queue.close()


def test_files(kernel: ModuleType, pair: tuple[object, socket.socket], tmp_path: Path) -> None:
    own, peer = pair
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        duplicate = kernel.File(file.fileno())
    assert not os.get_inheritable(duplicate.number)
    assert own.send_file(duplicate, 2, 3) == 3
    assert own.send_file(duplicate, 8, 100000) == 2
    assert own.send_file(duplicate, 10, 1) == 0
    assert peer.recv(10) == b"23489"
    assert duplicate.read(3, 1) == b"123"
    number = duplicate.number
    del duplicate
    with pytest.raises(OSError):
        os.fstat(number)
    with pytest.raises(OSError) as caught:
        kernel.File(number)
    assert caught.value.errno == errno.EBADF


def test_accepting(kernel: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        queue = kernel.AcceptQueue(server)
        assert queue.accept() is None
        assert queue.code == errno.EAGAIN
        clients = [socket.create_connection(server.getsockname()) for _ in range(2)]
        for client in clients:
            accepted = queue.accept()
            assert not os.get_blocking(accepted.number)
            assert queue.peer == client.getsockname()
            assert queue.local_address(accepted) == server.getsockname()
            accepted.close()
            client.close()
