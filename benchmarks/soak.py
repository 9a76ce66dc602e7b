"""`python -m benchmarks.soak`: hours of rude clients in a minute, and nothing may leak, break or be logged.

Starts the server, keeps some dozens of clients at it, and checks every response byte by byte: pipelined requests, slow
senders and readers, uploads with and without a length, HEAD, errors, idle connections, clients that leave in the middle
of a request or of a response, politely or with a reset. Fails when a response is wrong, when memory, descriptors or
threads grow, when a descriptor is left once all clients are gone, when the log has an internal error or a traceback
other than the application's own, and when SIGTERM does not end the server with 0.

    python -m benchmarks.soak --seconds 60
    python -m benchmarks.soak --interface wsgi --io asyncio
    PYTHONMALLOC=malloc python -m benchmarks.soak --wrapper "valgrind --error-exitcode=99" --seconds 20 --clients 6
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from .environment import APPS, CHECKOUT
from .process import free_port

WAIT = 30.0
"""Seconds that any response may take, or the end of the server, or of its last connection once its client is gone."""
HELLO = b"Hello, World!"
GROWTH = 0.02
GROWTH_MIB = 1.0
"""What the last third of the samples may have more than the second third: part of it, and MiB on top."""
BLOCKS = 1000
"""How many more of the interpreter's blocks of memory there may be once all clients are gone."""
ROUNDS = 3
"""How often a soak is repeated while something grows; what grows in the last one is a leak."""
SETTLED = 30.0
"""Seconds below which a soak is too short to tell growth from warming up."""
FIELDS = {
    b"HTTP/1.1 200 OK": {b"server", b"date", b"content-type"},
    b"HTTP/1.1 400 Bad Request": {b"server", b"date", b"content-type", b"content-length", b"connection"},
    b"HTTP/1.1 500 Internal Server Error": {b"server", b"date", b"content-type", b"content-length", b"connection"},
}
"""Status line -> fields a response always has; 200 has its framing besides, and any may have Connection."""


class Wrong(Exception):
    """A response, or the lack of one, that is the server's fault."""


@dataclass(frozen=True)
class Expected:
    """A request and what must come back."""

    request: bytes
    body: bytes
    status: bytes = b"HTTP/1.1 200 OK"
    head_only: bool = False
    chunked: bool = False
    closes: bool = False


@dataclass
class Connection:
    """A client's end; a context manager by `connect`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Send each piece, with a pause after it."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)

    async def expect(self, expected: Expected, *, slowly: bool = False) -> None:
        """Read one response and compare all of it. Raises Wrong."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head[:-4].split(b"\r\n")
        if status != expected.status:
            raise Wrong(f"{status!r} for {expected.request[:60]!r}")
        fields = {}
        for line in lines:
            name, separator, value = line.partition(b": ")
            if not separator or name.lower() in fields:
                raise Wrong(f"field line {line!r}")
            fields[name.lower()] = value
        framing = {b"transfer-encoding"} if expected.chunked else {b"content-length"}
        if set(fields) - {b"connection"} != FIELDS[status] - {b"connection"} | framing:
            raise Wrong(f"fields {sorted(fields)}")
        if (fields.get(b"connection", b"").lower() == b"close") != expected.closes:
            raise Wrong(f"Connection: {fields.get(b'connection')!r} for {expected.request[:60]!r}")
        if expected.head_only:
            body = b""
        elif expected.chunked:
            body = await self._chunks()
        else:
            body = await self._exactly(int(fields[b"content-length"]), slowly)
        if expected.status == b"HTTP/1.1 200 OK" and body != (b"" if expected.head_only else expected.body):
            raise Wrong(f"{len(body)} bytes, not the {len(expected.body)} wanted, for {expected.request[:60]!r}")

    async def end(self) -> None:
        """The server closes, with nothing before that. Raises Wrong."""
        if data := await self.reader.read(1):
            raise Wrong(f"{data!r} after the last response")

    async def _exactly(self, length: int, slowly: bool) -> bytes:
        if not slowly:
            return await self.reader.readexactly(length)
        pieces = []
        while length:
            pieces.append(await self.reader.readexactly(min(length, 65536)))
            length -= len(pieces[-1])
            await asyncio.sleep(0.005)
        return b"".join(pieces)

    async def _chunks(self) -> bytes:
        pieces = []
        while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
            pieces.append(await self.reader.readexactly(size))
            if await self.reader.readexactly(2) != b"\r\n":
                raise Wrong("a chunk without its end")
        if await self.reader.readexactly(2) != b"\r\n":
            raise Wrong("no end after the last chunk")
        return b"".join(pieces)


def request(target: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request with `lines` as further fields."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: soak", *lines, "", ""]).encode() + body


def some(chance: random.Random) -> Expected:
    """A request that any connection takes, with its answer."""
    match chance.randrange(7):
        case 0:
            body = chance.randbytes(chance.randrange(1, 3000))
            return Expected(request("/echo", f"Content-Length: {len(body)}", method="POST", body=body), body)
        case 1:
            body = chance.randbytes(chance.randrange(1, 3000))
            content = chunked(body, chance)
            return Expected(request("/echo", "Transfer-Encoding: chunked", method="POST", body=content), body)
        case 2:
            return Expected(request("/hello", method="HEAD"), b"", head_only=True)
        case 3:
            count = chance.randrange(1, 30)
            parts = b"".join(b"%05d" % number * 200 for number in range(count))
            return Expected(request(f"/parts?n={count}"), parts, chunked=True)
        case 4:
            size = chance.randrange(100_000)
            return Expected(request(f"/bytes?n={size}"), b"b" * size)
        case _:
            return Expected(request("/hello", "Accept: */*", f"X-Number: {chance.random()}"), HELLO)


def chunked(body: bytes, chance: random.Random) -> bytes:
    """`body` in chunks of any size."""
    pieces = []
    at = 0
    while at < len(body):
        size = chance.randrange(1, max(2, len(body) // 2))
        piece = body[at : at + size]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    return b"".join(pieces) + b"0\r\n\r\n"


def cut(data: bytes, chance: random.Random, count: int) -> list[bytes]:
    """`data` in `count` pieces or fewer."""
    places = sorted({chance.randrange(1, len(data)) for _ in range(count - 1)})
    return [data[start:stop] for start, stop in zip([0, *places], [*places, None], strict=True)]


@dataclass
class Clients:
    """All that the server is treated to."""

    port: int
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    """Visit -> how often it was made."""
    wrong: list[str] = field(default_factory=list)
    responses: int = 0

    @contextlib.asynccontextmanager
    async def connect(self, *, small: bool = False) -> Iterator[Connection]:  # type: ignore[misc]
        """A connection; `small`: with buffers that fill soon."""
        client = socket.socket()
        if small:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        except BaseException:
            client.close()
            raise
        reader, writer = await asyncio.open_connection(sock=client, limit=1 << 16)
        try:
            yield Connection(reader, writer)
        finally:
            # Not waited for: the server's side is what is tested.
            writer.transport.abort()

    async def blocks(self) -> int:
        """How many blocks of memory the server's interpreter has given out."""
        async with asyncio.timeout(WAIT), self.connect() as connection:
            await connection.send(request("/blocks", "Connection: close"))
            return int((await connection.reader.read()).rpartition(b"\r\n")[2])

    async def run(self, seconds: float, clients: int) -> None:
        """Visit until the time is over."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._visit(end))

    async def _visit(self, end: float) -> None:
        visits = VISITS
        while time.monotonic() < end and not self.wrong:
            visit = self.chance.choice(visits)
            try:
                async with asyncio.timeout(WAIT):
                    await visit(self)
            except (Wrong, asyncio.IncompleteReadError, TimeoutError, OSError) as error:
                self.wrong.append(f"{visit.__name__}: {type(error).__name__}: {error}")
            self.done[visit.__name__] += 1

    async def _ask(self, connection: Connection, expected: Expected, *, slowly: bool = False) -> None:
        await connection.expect(expected, slowly=slowly)
        self.responses += 1

    # Those that behave

    async def pipelined(self) -> None:
        """Requests in one piece, then the responses in their order."""
        wanted = [some(self.chance) for _ in range(self.chance.randrange(2, 20))]
        async with self.connect() as connection:
            sending = asyncio.ensure_future(connection.send(b"".join(one.request for one in wanted)))
            for one in wanted:
                await self._ask(connection, one)
            await sending

    async def kept_alive(self) -> None:
        """Requests one after the other, with pauses."""
        async with self.connect() as connection:
            for _ in range(self.chance.randrange(1, 12)):
                one = some(self.chance)
                await connection.send(one.request)
                await self._ask(connection, one)
                await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.01, 0.3)))

    async def slow_sender(self) -> None:
        """A request in small pieces."""
        async with self.connect() as connection:
            one = some(self.chance)
            await connection.send(*cut(one.request, self.chance, 8), pause=0.01)
            await self._ask(connection, one)

    async def upload(self) -> None:
        """Up to 2 MiB, with a length or in chunks."""
        body = self.chance.randbytes(self.chance.randrange(1, 2 << 20))
        wanted = b"%d %d" % (len(body), zlib.crc32(body))
        if self.chance.random() < 0.5:
            sent = request("/sum", f"Content-Length: {len(body)}", method="PUT", body=body)
        else:
            sent = request("/sum", "Transfer-Encoding: chunked", method="PUT", body=chunked(body, self.chance))
        async with self.connect() as connection:
            await connection.send(*cut(sent, self.chance, 5), pause=self.chance.choice((0.0, 0.01)))
            await self._ask(connection, Expected(sent, wanted))

    async def expecting(self) -> None:
        """An upload that waits for 100 Continue."""
        head = request("/echo", "Content-Length: 5", "Expect: 100-continue", method="PUT")
        async with self.connect() as connection:
            await connection.send(head)
            if (interim := await connection.reader.readuntil(b"\r\n\r\n")) != b"HTTP/1.1 100 Continue\r\n\r\n":
                raise Wrong(f"{interim!r} instead of 100 Continue")
            await connection.send(b"12345")
            await self._ask(connection, Expected(head, b"12345"))

    async def slow_reader(self) -> None:
        """A big response, taken in sips."""
        size = self.chance.randrange(1 << 20, 3 << 20)
        one = Expected(request(f"/bytes?n={size}"), b"b" * size)
        async with self.connect(small=True) as connection:
            await connection.send(one.request)
            await self._ask(connection, one, slowly=True)

    async def closing(self) -> None:
        """`Connection: close`, and whoever has said all that it wants to say."""
        sent = request("/hello", "Connection: close")
        async with self.connect() as connection:
            await connection.send(sent)
            await self._ask(connection, Expected(sent, HELLO, closes=True))
            await connection.end()
        async with self.connect() as connection:
            one = some(self.chance)
            await connection.send(one.request)
            connection.writer.write_eof()
            await connection.reader.readuntil(b"\r\n\r\n")

    async def idle(self) -> None:
        """Nothing, and then goodbye."""
        async with self.connect():
            await asyncio.sleep(self.chance.random())

    # Those that do not

    async def malformed(self) -> None:
        """400, and the end of the connection."""
        sent = self.chance.choice(
            (
                b"GET / HTTP/1.1\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost : soak\r\n\r\n",
                b"POST /echo HTTP/1.1\r\nHost: soak\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            )
        )
        async with self.connect() as connection:
            await connection.send(sent)
            await self._ask(connection, Expected(sent, b"", b"HTTP/1.1 400 Bad Request", closes=True))
            await connection.end()

    async def failing(self) -> None:
        """500 from an application that raises, before its response or in the middle of it."""
        sent = request("/error")
        async with self.connect() as connection:
            await connection.send(sent)
            head = await connection.reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 500 "):
                raise Wrong(f"{head[:40]!r} instead of 500")
        async with self.connect() as connection:
            await connection.send(request("/parts?n=3&then=error"))
            if (await connection.reader.read()).endswith(b"0\r\n\r\n"):
                raise Wrong("a response cut short looks complete")

    async def leaving(self) -> None:
        """Goes in the middle of a request, of a response or of several."""
        kind = self.chance.randrange(4)
        async with self.connect(small=kind == 2) as connection:
            if kind == 0:
                sent = some(self.chance).request
                await connection.send(sent[: self.chance.randrange(1, len(sent))])
            elif kind == 1:
                await connection.send(request("/sum", "Content-Length: 1000000", method="PUT", body=b"u" * 100_000))
            elif kind == 2:
                await connection.send(request(self.chance.choice(("/bytes?n=3000000", "/parts?n=3000"))))
                await connection.reader.read(1000)
            else:
                await connection.send(b"".join(some(self.chance).request for _ in range(10)))
            if self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.random() / 20)
            if self.chance.random() < 0.5:
                # With a reset instead of a FIN.
                client = connection.writer.get_extra_info("socket")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Visit = Callable[[Clients], Awaitable[None]]
VISITS: list[Visit] = [
    *[Clients.pipelined] * 3,
    *[Clients.kept_alive] * 3,
    Clients.slow_sender,
    *[Clients.upload] * 2,
    Clients.expecting,
    Clients.slow_reader,
    Clients.closing,
    Clients.idle,
    Clients.malformed,
    Clients.failing,
    *[Clients.leaving] * 4,
]


@dataclass(frozen=True)
class Sample:
    """The server at one moment."""

    rss: float
    """MiB."""
    descriptors: int
    threads: int


def sample(process: int) -> Sample:
    """What /proc tells."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    rss = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return Sample(rss, len(os.listdir(f"/proc/{process}/fd")), len(os.listdir(f"/proc/{process}/task")))


def growth(samples: list[Sample]) -> list[str]:
    """What has grown from the second third of the samples to the last, more than noise does."""
    third = len(samples) // 3
    if not third:
        return []
    before, after = samples[third : 2 * third], samples[-third:]
    found = []
    for name, slack in (("rss", GROWTH_MIB), ("descriptors", 20.0), ("threads", 0.0)):
        old, new = (median(getattr(one, name) for one in part) for part in (before, after))
        if new > old * (1 + GROWTH) + slack:
            found.append(f"{name} grew from {old:.1f} to {new:.1f}")
    return found


def complaints(log: str) -> list[str]:
    """Internal errors in a log, and tracebacks that do not end in the application's own exception."""
    found = re.findall(r".*(?:Internal error|Starting the application failed|returned without).*", log)
    for trace in log.split("Traceback (most recent call last):\n")[1:]:
        # The exception is the first line that is not indented.
        last = next((line for line in trace.splitlines() if line and not line.startswith(" ")), "")
        if not last.endswith("Deliberate"):
            found.append(f"traceback: {last}")
    return found


async def watch(process: int, samples: list[Sample]) -> None:
    """A sample each second, for ever."""
    while True:
        await asyncio.sleep(1)
        samples.append(sample(process))


def descriptors(process: int) -> list[str]:
    """What they lead to; for a TCP connection its state as well (net/tcp_states.h)."""
    states = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        states[f"socket:[{fields[9]}]"] = f"TCP from port {int(fields[2].rpartition(':')[2], 16)}, state {fields[3]}"
    found = []
    for entry in os.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{process}/fd/{entry}")
            found.append(f"{link} {states.get(link, '')}".strip())
    return found


async def soak(port: int, process: int, options: argparse.Namespace) -> tuple[Clients, list[Sample], list[str]]:
    """Visit, see whether anything grows, and wait for the server to let go of every descriptor."""
    clients = Clients(port, random.Random(options.seed))
    samples: list[Sample] = []
    problems: list[str] = []
    # The first requests make what stays: threads, their descriptors, what the interpreter keeps.
    await clients.run(min(2.0, options.seconds / 5), options.clients)
    await _until(lambda: not _connections(process))
    before = Counter(descriptors(process))
    blocks = await clients.blocks()
    for _ in range(ROUNDS):
        samples.clear()
        watching = asyncio.ensure_future(watch(process, samples))
        await clients.run(options.seconds, options.clients)
        watching.cancel()
        await asyncio.wait([watching])
        # malloc needs a while to settle; a leak goes on.
        problems = growth(samples) if options.seconds >= SETTLED and not options.wrapper else []
        if not problems or clients.wrong:
            break
        print(f"  once more: {'; '.join(problems)}")
    more = await clients.blocks() - blocks
    print(f"  {more:+,} blocks of the interpreter's memory since the first requests")
    if more > BLOCKS:
        problems.append(f"{more:,} more objects than after the first requests, for {clients.responses:,} responses")
    if not await _until(lambda: not Counter(descriptors(process)) - before):
        problems += [f"left: {name}" for name in Counter(descriptors(process)) - before]
    return clients, samples, problems


def _connections(process: int) -> list[str]:
    return [name for name in descriptors(process) if "TCP" in name and not name.endswith("state 0A")]


async def _until(true: Callable[[], bool]) -> bool:
    """Whether `true` becomes true within WAIT."""
    end = time.monotonic() + WAIT
    while not true():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


def run(options: argparse.Namespace, interface: str, scratch: Path) -> list[str]:
    """One soak; returns what went wrong."""
    port = free_port()
    command = [
        *shlex.split(options.wrapper),
        *(sys.executable, "-m", "gateway", f"soak_{interface}:app", "--interface", interface),
        *("-b", f"127.0.0.1:{port}", "--log-level", "warning", "--io", options.io, "--loop", options.loop),
        *("--access-logfile", str(scratch / "access.log"), "--app-dir", str(APPS), "--graceful-timeout", "10"),
        # What is measured is the process that serves.
        "--no-supervisor",
    ]
    if interface == "wsgi":
        command += ["--threads", str(options.threads)]
    paths = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # One arena: otherwise each thread's keeps what it has freed, which looks like a leak for minutes.
    variables["MALLOC_ARENA_MAX"] = "1"
    if options.pure:
        variables["GATEWAY_NO_EXTENSIONS"] = "1"
    log = scratch / "server.log"
    with open(log, "wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=variables)
    try:
        _wait_for(port, server)
        clients, samples, problems = asyncio.run(soak(port, server.pid, options))
        problems += clients.wrong
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        code = server.wait(WAIT)
    finally:
        server.kill()
        server.wait()
    text = log.read_text(errors="replace")
    if code:
        problems.append(f"the server ended with {code}: {text[-1500:]}")
    problems += complaints(text)
    visits = ", ".join(f"{name} {count}" for name, count in sorted(clients.done.items()))
    print(f"{interface}: {clients.responses:,} responses compared; {visits}")
    if samples:
        shown = " ".join(f"{one.rss:.1f}" for one in samples[:: max(1, len(samples) // 12)])
        print(f"  memory in MiB, from the beginning to the end: {shown}; {samples[-1].threads} threads")
    for problem in problems:
        print(f"  WRONG: {problem}")
    return problems


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + WAIT
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {server.poll()}")


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="length of the soak of each interface (default 60)")
    add("--interface", choices=("asgi", "wsgi", "both"), default="both")
    add("--clients", type=int, default=40, help="how many at a time (default 40)")
    add("--io", default="auto", help="the server's --io")
    add("--loop", default="auto", help="the server's --loop")
    add("--threads", type=int, default=8, help="the server's --threads (default 8)")
    add("--pure", action="store_true", help="the pure Python build")
    add("--wrapper", default="", metavar="COMMAND", help="run the server under this; memory is not judged then")
    add("--seed", type=int, default=time.time_ns() % 1_000_000, help="what chance begins with (default: the time)")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    failed = []
    for interface in ("asgi", "wsgi") if options.interface == "both" else (options.interface,):
        with tempfile.TemporaryDirectory() as scratch:
            failed += run(options, interface, Path(scratch))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
