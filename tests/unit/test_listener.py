"""Listener: every kind of address, what is refused and how it is said, accepting, running out, draining."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.addresses import Address, parse_address
from gateway.errors import BindError
from gateway.server import listener as module
from gateway.server.binding import open_listeners
from gateway.server.listener import Listener
from gateway.server.share import Board, Share

from .aio import LOOPS, eventually, run

log = logging.getLogger("tests.listener")

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@contextmanager
def listening(*texts: str, **options: Any) -> Iterator[list[Listener]]:
    listeners = open_listeners([parse_address(text) for text in texts], **options)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def tcp(listener: Listener) -> tuple[str, int]:
    assert isinstance(listener.address, tuple)
    return listener.address


# Addresses


def test_tcp_with_a_port_the_system_chooses() -> None:
    with listening("127.0.0.1:0") as (listener,):
        host, port = tcp(listener)
        assert host == "127.0.0.1"
        assert port > 0
        assert listener.url("http") == f"http://127.0.0.1:{port}"
        assert not listener.sock.getblocking()
        socket.create_connection((host, port), 5).close()


def test_all_ipv4_addresses() -> None:
    with listening(":0") as (listener,):
        assert tcp(listener)[0] == "0.0.0.0"
        assert listener.wildcard


@ipv6
def test_ipv6() -> None:
    with listening("[::1]:0") as (listener,):
        host, port = tcp(listener)
        assert listener.url("https") == f"https://[::1]:{port}"
        socket.create_connection((host, port), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


@ipv6
def test_ipv6_wildcard_takes_ipv4_too_and_shows_it_as_such() -> None:
    async def main() -> None:
        seen: list[Any] = []

        def accepted(sock: socket.socket, client: Any, server: Any) -> None:
            seen.append((client, server))
            sock.close()

        with listening("[::]:0") as (listener,):
            listener.start(asyncio.get_running_loop(), accepted, log)
            port = tcp(listener)[1]
            socket.create_connection(("127.0.0.1", port), 5).close()
            socket.create_connection(("::1", port), 5).close()
            await eventually(lambda: len(seen) == 2)
            listener.stop()
        assert sorted((client[0], server) for client, server in seen) == [
            ("127.0.0.1", ("127.0.0.1", port)),
            ("::1", ("::1", port)),
        ]

    run("asyncio", main)


@ipv6
def test_both_wildcards_on_one_port() -> None:
    with listening("0.0.0.0:0") as (first,):
        port = tcp(first)[1]
    with listening(f"[::]:{port}", f"0.0.0.0:{port}") as listeners:
        assert [tcp(listener)[0] for listener in listeners] == ["::", "0.0.0.0"]


def test_a_name_with_several_addresses_gets_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        # An address this machine does not have is left out as long as others work (RFC 5737).
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
    ]
    if sys.platform != "linux":
        del found[1]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *arguments, **options: found)
    with listening("several.example:0") as listeners:
        assert len(listeners) == len({host for *_, (host, _) in found}) - 1
        assert len({tcp(listener)[1] for listener in listeners}) == 1


def test_several_binds() -> None:
    with listening("127.0.0.1:0", "127.0.0.1:0") as listeners:
        assert len({tcp(listener)[1] for listener in listeners}) == 2


@linux
def test_reuse_port() -> None:
    with listening("127.0.0.1:0", reuse_port=True) as (first,):
        with listening(f"127.0.0.1:{tcp(first)[1]}", reuse_port=True):
            pass


def test_accepted_sockets_do_not_delay() -> None:
    with listening("127.0.0.1:0") as (listener,):
        with socket.create_connection(tcp(listener), 5):
            listener.sock.setblocking(True)
            accepted, _ = listener.sock.accept()
            with accepted:
                if sys.platform == "linux":
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# Mistakes: one line, with the address, the cause, and what to do


def refused(*texts: str, **options: Any) -> str:
    with pytest.raises(BindError) as caught, listening(*texts, **options):
        pass
    assert isinstance(caught.value, OSError)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_busy_port() -> None:
    with listening("127.0.0.1:0") as (listener,):
        address = f"127.0.0.1:{tcp(listener)[1]}"
        message = refused(address)
        assert address in message
        assert "address already in use" in message
        assert "--bind" in message


def test_failure_of_one_closes_the_others() -> None:
    with listening("127.0.0.1:0", "127.0.0.1:0") as (first, second):
        free, busy = tcp(first)[1], tcp(second)[1]
        first.close()
        refused(f"127.0.0.1:{free}", f"127.0.0.1:{busy}")
        with listening(f"127.0.0.1:{free}"):
            pass


def test_address_of_another_machine() -> None:
    assert "does not have that address" in refused("192.0.2.1:0")


def test_name_that_does_not_resolve() -> None:
    assert "can't be resolved" in refused("does-not-exist.invalid:0")


@unix
def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert "create the folder first" in refused(f"unix:{tmp_path}/none/s")


# Unix sockets


@unix
def test_unix_socket_has_its_mode_and_goes_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(f"unix:{path}", unix_mode=0o600) as (listener,):
        assert listener.address == str(path)
        assert listener.url("http") == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


@unix
def test_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
    with listening(f"unix:{path}"):
        pass


@unix
def test_socket_file_of_a_live_server_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen(0)
        # Live, even when its queue is full.
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            for _ in range(2):
                assert "address already in use" in refused(f"unix:{path}")
    assert path.exists()


@unix
def test_other_files_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    assert "is no socket" in refused(f"unix:{path}")
    assert path.read_text() == "precious"


@unix
def test_socket_file_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(f"unix:{path}") as (first,):
        path.unlink()
        with listening(f"unix:{path}"):
            first.close()
            assert path.exists()
    assert not path.exists()


@linux
def test_abstract_socket() -> None:
    name = f"gateway-test-{os.getpid()}"
    with listening(f"unix:@{name}") as (listener,):
        assert listener.address == f"@{name}"
        assert listener.url("http") == f"unix:@{name}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + name)
        assert "address already in use" in refused(f"unix:@{name}")


# Sockets from elsewhere


def test_inherited_descriptor() -> None:
    given = socket.create_server(("127.0.0.1", 0))
    port = given.getsockname()[1]
    with listening(f"fd://{given.detach()}") as (listener,):
        assert tcp(listener) == ("127.0.0.1", port)
        assert not listener.sock.get_inheritable()


def test_bound_descriptor_is_made_to_listen() -> None:
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    with listening(f"fd://{given.detach()}") as (listener,):
        socket.create_connection(tcp(listener), 5).close()


def test_descriptor_that_is_none_of_ours() -> None:
    with open(os.devnull) as file:
        assert "it is no socket" in refused(f"fd://{file.fileno()}")
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert "it is not open" in refused(f"fd://{reader}")


def test_datagram_socket() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert "no stream socket" in refused(sockets=[sock])


def test_the_callers_sockets_stay_the_callers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with listening(sockets=[sock]) as (listener,):
            assert tcp(listener) == sock.getsockname()
        socket.create_connection(sock.getsockname(), 5).close()


# Accepting


class Accepted:
    """Keeps accepted sockets, and closes them."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.peers: list[Any] = []

    def __call__(self, sock: socket.socket, client: Any, server: Any) -> None:
        self.sockets.append(sock)
        self.peers.append((client, server))

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_accepting_with_addresses(loop: str) -> None:
    async def main() -> None:
        accepted = Accepted()
        with listening("127.0.0.1:0") as (listener,):
            listener.start(asyncio.get_running_loop(), accepted, log)
            with socket.create_connection(tcp(listener), 5) as client:
                await eventually(lambda: accepted.sockets)
                assert accepted.peers == [(client.getsockname(), tcp(listener))]
                assert not accepted.sockets[0].getblocking()
            listener.stop()
        accepted.close()

    run(loop, main)


@unix
def test_unix_peers(tmp_path: Path) -> None:
    async def main() -> None:
        accepted = Accepted()
        with listening(f"unix:{tmp_path}/s") as (listener,):
            listener.start(asyncio.get_running_loop(), accepted, log)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{tmp_path}/s")
                await eventually(lambda: accepted.sockets)
            listener.stop()
        assert accepted.peers == [(None, (f"{tmp_path}/s", None))]
        accepted.close()

    run("asyncio", main)


@pytest.mark.parametrize("loop", LOOPS)
def test_one_turn_accepts_a_bounded_number(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPTS_PER_TURN", 3)

    async def main() -> None:
        accepted = Accepted()
        with listening("127.0.0.1:0") as (listener,):
            clients = [socket.create_connection(tcp(listener), 5) for _ in range(8)]
            listener.start(asyncio.get_running_loop(), accepted, log)
            counts = [0]
            while counts[-1] < 8:
                await asyncio.sleep(0)
                counts.append(len(accepted.sockets))
            assert max(after - before for before, after in itertools.pairwise(counts)) <= 3
            listener.stop()
            for client in clients:
                client.close()
        accepted.close()

    run(loop, main)


class ScriptedSocket:
    """A listening socket whose `accept` fails as told."""

    def __init__(self, real: socket.socket, errors: list[int]) -> None:
        self.real = real
        self.errors = errors
        self.calls = 0

    def accept(self) -> Any:
        self.calls += 1
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        return self.real.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EINVAL])
def test_out_of_descriptors_pauses_logs_once_and_resumes(
    loop: str, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ACCEPT_PAUSE", 0.02)

    async def main() -> None:
        accepted = Accepted()
        with listening("127.0.0.1:0") as (listener,):
            script = ScriptedSocket(listener.sock, [code] * 3)
            listener.sock = script  # type: ignore[assignment]
            listener.start(asyncio.get_running_loop(), accepted, log)
            with socket.create_connection(tcp(listener), 5):
                await eventually(lambda: accepted.sockets)
            # Three failures, the connection, and "no more": it did not spin.
            assert script.calls <= 6
            listener.stop()
        accepted.close()

    run(loop, main)
    assert len(caplog.records) == 1
    assert "can't accept connections" in caplog.text.lower()


def test_a_connection_that_failed_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        accepted = Accepted()
        with listening("127.0.0.1:0") as (listener,):
            listener.sock = ScriptedSocket(listener.sock, [errno.ECONNABORTED])  # type: ignore[assignment]
            listener.start(asyncio.get_running_loop(), accepted, log)
            with socket.create_connection(tcp(listener), 5):
                await eventually(lambda: accepted.sockets)
            listener.stop()
        accepted.close()

    run("asyncio", main)
    assert not caplog.records


@linux
@pytest.mark.parametrize("loop", LOOPS)
def test_who_was_woken_alone_leaves_nothing_to_others(loop: str) -> None:
    """They do not know of it: with nobody else coming, it would wait for ever."""

    async def main() -> None:
        accepted: list[socket.socket] = []
        board = Board()
        with listening("127.0.0.1:0") as (listener,):
            listener.start(
                asyncio.get_running_loop(),
                lambda sock, client, server: accepted.append(sock),
                log,
                Share(board, board.take()),
            )
            with socket.create_connection(tcp(listener)):
                await eventually(lambda: len(accepted) == 1)
            for _ in range(5):
                await asyncio.sleep(0.001)
            clients = [socket.create_connection(tcp(listener)) for _ in range(2)]
            listener.stop(leave_queue=True)
            assert len(accepted) == 3
            for sock in clients + accepted:
                sock.close()

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_takes_what_is_queued(loop: str) -> None:
    async def main() -> None:
        accepted = Accepted()
        with listening("127.0.0.1:0") as (listener,):
            listener.start(asyncio.get_running_loop(), accepted, log)
            clients = [socket.create_connection(tcp(listener), 5) for _ in range(5)]
            listener.stop()
            assert len(accepted.sockets) == 5
            address = tcp(listener)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
        for client in clients:
            client.close()
        accepted.close()

    run(loop, main)


def test_addresses_are_checked_types() -> None:
    with pytest.raises(BindError):
        open_listeners([Address("fd", fd=2**20)])
