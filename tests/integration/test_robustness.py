"""Clients that misbehave at random, many at once: afterwards nothing is left of them, and the log has no error of ours.

Seeds are fixed; what the tests look for (a descriptor, a thread or a place that is not given back, a loop that spins, an
exception in the server's own code) shows whatever the order of events.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random
import re
import time
from pathlib import Path

import pytest

from .conftest import PROBES
from .harness import WAIT, Client, Incomplete, Malformed, Server, chunked, request

LINUX = Path("/proc/self/fd").exists()

MESSAGES = [
    request("GET", "/hello"),
    request("GET", "/hello") * 20,
    request("POST", "/echo", body=b"x" * 1000),
    request("POST", "/echo", body=b"x" * 200_000),
    request("POST", "/echo", "Transfer-Encoding: chunked", body=chunked(b"x" * 50_000, b"y" * 50_000)),
    request("POST", "/unread", body=b"x" * 300_000),
    request("POST", "/echo", "Expect: 100-continue", body=b"x" * 5000),
    request("POST", "/head-then-read", body=b"x" * 100_000),
    request("GET", "/big?size=3000000"),
    request("HEAD", "/big?size=3000000"),
    request("GET", "/parts?n=50"),
    request("GET", "/fail?when=before"),
    request("GET", "/fail?when=body"),
    request("GET", "/length?declared=50&sent=10"),
    request("GET", "/length?declared=10&sent=50"),
    request("GET", "/hello", version="1.0"),
    request("GET", "/hints?n=3"),
    request("GET", "/bad-field?case=crlf-value"),
    b"GET / HTTP/1.1\r\nbad line\r\n\r\n",
    request("POST", "/echo", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\nxyz\r\n"),
    bytes(range(256)),
]


def misbehave(server: Server, seed: int) -> None:
    """One client: some message, up to some point, in some pieces, and some way to leave."""
    random_ = random.Random(seed)
    with contextlib.suppress(OSError, Incomplete, Malformed), server.connect() as client:
        data = b"".join(random_.choice(MESSAGES) for _ in range(random_.randrange(1, 4)))
        data = data[: random_.choice([len(data), random_.randrange(1, len(data) + 1)])]
        pieces = random_.choice([1, 1, 2, 5])
        step = max(1, len(data) // pieces)
        for start in range(0, len(data), step):
            client.send(data[start : start + step])
            if random_.random() < 0.3:
                client.socket.settimeout(0.01)
                with contextlib.suppress(TimeoutError):
                    client.fill()
                client.socket.settimeout(client.timeout)
        ending = random_.randrange(5)
        if ending == 0:
            client.reset()
        elif ending == 1:
            client.half_close()
            client.rest()
        elif ending == 2:
            client.take(random_.randrange(1, 5000))
        elif ending == 3:
            client.half_close()


@pytest.mark.skipif(not LINUX, reason="/proc is needed")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("interface", sorted(PROBES))
def test_misbehaving_clients_leave_nothing_behind(interface: str, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    options = ["--timeout-head=1", "--timeout-body=1", "--timeout-write=1", "--keep-alive=1", "--timeout-linger=1"]
    with Server(PROBES[interface], "--threads=4", f"--loop={loop}", *options) as server:
        assert server.alive()
        # Threads and files that are opened once are open now.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda seed: misbehave(server, seed), range(40)))
        before = settled(server)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda seed: misbehave(server, seed), range(1000, 1240)))
        after = settled(server)
        assert after <= before + 2, f"{before} descriptors before, {after} after"
        for _ in range(12):
            assert server.alive()
        start = server.cpu_time()
        time.sleep(0.5)
        assert server.cpu_time() - start < 0.2, "the server spins"
        assert server.terminate() == 0
    ours = [line for line in server.log.splitlines() if re.search("(?i)internal error|never retrieved|was destroyed|raised exception", line)]
    assert not ours, "\n".join(ours[:20])
    # Tracebacks are of the applications' making: each of them ends in what an application raised on purpose.
    for block in re.findall(r"Traceback.*?\n(?=\[\d|\Z)", server.log + "\n", re.DOTALL):
        assert re.search("on purpose|Content-Length|field|OSError|Disconnected|left before", block), block


def settled(server: Server) -> int:
    """Open descriptors once the connections that were left are gone."""
    end = time.monotonic() + WAIT
    count, same = -1, 0
    while same < 3:
        assert server.alive()
        now = len(os.listdir(f"/proc/{server.worker_pid}/fd"))
        same = same + 1 if now == count else 0
        count = now
        time.sleep(0.2)
        if time.monotonic() > end:
            break
    return count


@pytest.mark.skipif(not LINUX, reason="/proc is needed")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("interface", sorted(PROBES))
def test_waiting_costs_nothing(interface: str, loop: str) -> None:
    """Connections in every state of waiting, and no processor time."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    patience = [f"--{name}=1h" for name in ("keep-alive", "timeout-head", "timeout-body", "timeout-write")]
    with Server(PROBES[interface], f"--loop={loop}", *patience) as server, contextlib.ExitStack() as stack:

        def connect() -> Client:
            return stack.enter_context(server.connect(receive_buffer=16384))

        connect()
        idle = connect()
        idle.send(request("GET", "/hello"))
        assert idle.response().body == b"hello"
        connect().send(b"GET / HT")
        connect().send(request("POST", "/echo", "Content-Length: 10", body=b"half"))
        half = connect()
        half.send(request("GET", "/gate/wait?name=a"))
        server.wait_event("waiting", name="a")
        half.half_close()
        unread = connect()
        unread.send(request("POST", "/size?name=b", "Content-Length: 10000000"))
        unread.send_until_stuck(b"x" * 65536, 10_000_000, 0.1)
        server.wait_event("waiting", name="b")
        stuck = connect()
        stuck.send(request("GET", "/big?size=50000000"))
        server.wait_event("blocked")
        refused = connect()
        refused.send(b"GET / HTTP/1.1\r\nbad line\r\n\r\n")
        assert refused.response().status == 400
        start = server.cpu_time()
        idle.expect_silence(1.0)
        assert server.cpu_time() - start < 0.15, "the server spins"


@pytest.mark.skipif(not LINUX, reason="/proc is needed")
@pytest.mark.parametrize("interface", sorted(PROBES))
def test_memory_does_not_grow(interface: str) -> None:
    """Thousands of exchanges of every kind, successful or not."""
    kinds = [
        (request("GET", "/hello") * 50, 50),
        (request("POST", "/echo", body=b"x" * 2000) * 10, 10),
        (request("POST", "/echo", "Transfer-Encoding: chunked", body=chunked(b"x" * 500, b"y" * 500)) * 10, 10),
        (request("GET", "/parts") * 10, 10),
        (request("GET", "/hints") * 10, 10),
    ]
    failing = [
        request("GET", "/bad-field?case=crlf-value"),
        b"GET / HTTP/1.1\r\nbad line\r\n\r\n",
        request("POST", "/echo", "Content-Length: 10", body=b"half"),
        request("GET", "/length?declared=50&sent=10"),
    ]

    def round_(server: Server) -> None:
        for message, count in kinds:
            with server.connect() as client:
                for _ in range(4):
                    client.send(message)
                    for _ in range(count):
                        assert client.response().status == 200
        for message in failing:
            with server.connect() as client:
                client.send(message)
                client.half_close()
                client.rest()

    with Server(PROBES[interface], "--threads=2") as server:
        for _ in range(8):
            round_(server)
        before, _ = server.memory()
        for _ in range(16):
            round_(server)
        after, _ = server.memory()
        assert after - before < 1_500_000, f"{after - before} bytes more after {16 * 361} exchanges"
