"""WSGI on the event loop (`--threads 0`), through the real server: nothing may wait there."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from .harness import Server, chunked, request

HELLO = request("GET", "/hello")


@pytest.fixture(scope="module", params=["epoll", "asyncio"])
def inline(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server("wsgi_probe:probe", "--threads=0", f"--io={request.param}") as server:
        yield server


def test_requests_run_on_the_loop(inline: Server) -> None:
    facts = inline.facts("/threads")
    assert facts["main"]
    assert facts["multithread"] is False


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("size", [0, 10, 60_000, 3_000_000])
def test_uploads(inline: Server, size: int, chunks: bool) -> None:
    body = random.Random(size).randbytes(size)
    if chunks:
        parts = [body[i : i + 99_991] for i in range(0, size, 99_991)]
        message = request("POST", "/size", "Transfer-Encoding: chunked", body=chunked(*parts))
    else:
        message = request("POST", "/size", body=body)
    assert inline.exchange(message).json() == {"size": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_a_slow_upload_keeps_nobody_waiting(inline: Server) -> None:
    with inline.connect() as slow, inline.connect() as other:
        slow.send(request("POST", "/echo", "Content-Length: 200000") + b"x" * 100_000)
        for _ in range(3):
            other.send(HELLO)
            assert other.response().body == b"hello"
        slow.send(b"x" * 100_000)
        assert slow.response().body == b"x" * 200_000


def test_expect_100(inline: Server) -> None:
    with inline.connect() as client:
        client.send(request("POST", "/echo", "Content-Length: 5", "Expect: 100-continue"))
        assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"12345")
        assert client.response().body == b"12345"


def test_a_slow_reader_keeps_nobody_waiting(inline: Server) -> None:
    with inline.connect() as slow, inline.connect() as other:
        # More than the sockets hold between them.
        slow.send(request("GET", f"/big?size={32 * 2**20}"))
        for _ in range(3):
            other.send(HELLO)
            assert other.response().body == b"hello"
        assert len(slow.response().body) == 32 * 2**20


def test_errors_end_with_their_request(inline: Server) -> None:
    assert inline.exchange(request("GET", "/fail?when=before")).status == 500
    assert inline.exchange(HELLO).body == b"hello"
