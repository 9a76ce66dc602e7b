"""`python -m benchmarks.core`: the request path alone, in this process, without a socket.

A connection gets the bytes of a request and writes to a transport that does nothing, so that what is measured
is gateway's own work and the application's: parsing, the task, the application's coroutine or call, encoding.
The kernels are measured one by one as well. Times are nanoseconds per operation: the best of several repeats
and their median. With `--callgrind`, also instructions per operation, which other load does not change.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gateway.backend import Backend

from .environment import APPS, CHECKOUT
from .websocket import BINARY, TEXT, frame
from .workloads import BROWSER, ECHO, UPGRADE, Workload

SMALL = Workload("", "", "asgi", "").request()
LARGE_HEAD = Workload("", "", "asgi", "", fields=BROWSER).request()
HANDSHAKE = Workload("", "", "asgi", "", fields=UPGRADE).request()
POST = Workload("", "", "asgi", "", method="POST", content=ECHO).request()
RESPONSE_FIELDS = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"13")]
CLIENT = ("127.0.0.1", 50000)
SERVER = ("127.0.0.1", 8000)

LOG = logging.getLogger("gateway.error")

Operation = Callable[[int], Awaitable[None]]
"""Does its work as many times as it is told."""


def head(backend: Backend, request: bytes) -> Operation:
    """One head through the input buffer and the parser."""
    buffer = backend.module("kernels.buffer").InputBuffer()
    head, grammar = backend.module("kernels.head"), backend.module("kernels.grammar")

    async def operate(number: int) -> None:
        create, feed, done = head.RequestHead, buffer.feed, grammar.DONE
        for _ in range(number):
            feed(request)
            parsed = create()
            if parsed.parse(buffer, 8190, 100, 8190, 65536) != done:
                raise AssertionError("the request was refused")

    return operate


def head_fact(backend: Backend, request: bytes, method: str) -> Operation:
    """`RequestHead.scope` or `.environ`, of one and the same head."""
    buffer = backend.module("kernels.buffer").InputBuffer()
    parsed = backend.module("kernels.head").RequestHead()
    buffer.feed(request)
    parsed.parse(buffer, 8190, 100, 8190, 65536)
    base = {
        "scope": lambda: backend.module("asgi.scope").base_scope(True),
        "environ": lambda: backend.module("wsgi.environ").base_environ(
            errors=None, multithread=True, multiprocess=False, server_software="gateway"
        ),
    }[method]()

    async def operate(number: int) -> None:
        build = getattr(parsed, method)
        for _ in range(number):
            build(base)

    return operate


def encode(backend: Backend) -> Operation:
    """The response's field lines, and head and body in one piece."""
    kernel = backend.module("kernels.fields")

    async def operate(number: int) -> None:
        create, encode_head = kernel.FieldBlock, kernel.encode_head
        date = b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: gateway\r\n"
        for _ in range(number):
            block = create()
            if block.encode(RESPONSE_FIELDS, 0):
                raise AssertionError("the fields were refused")
            encode_head(b"HTTP/1.1 200 OK\r\n", date, block.data, b"", b"Hello, World!")

    return operate


def chunks(backend: Backend) -> Operation:
    """A chunk of 1 KiB encoded, and decoded again."""
    kernel = backend.module("kernels.chunked")
    create_buffer = backend.module("kernels.buffer").InputBuffer

    async def operate(number: int) -> None:
        # The end of the last chunk stays behind in the buffer, so it can't be used by another decoder.
        decoder, buffer = kernel.ChunkedDecoder(), create_buffer()
        for _ in range(number):
            buffer.feed(kernel.encode_chunk(ECHO))
            if decoder.decode(buffer, 4096) != kernel.CHUNK_DATA:
                raise AssertionError("the chunk was refused")

    return operate


def frames(backend: Backend, size: int) -> Operation:
    """A WebSocket message of `size` bytes of text from a client, and the frame that sends it back."""
    kernel, done = backend.module("kernels.masking"), backend.module("kernels.grammar").DONE
    key = bytes.fromhex("37fa213d")
    head = bytearray(kernel.frame_head(1, size, True, False))
    head[1] |= 0x80
    frame = bytes(head) + key + kernel.mask(b"x" * size, key, 0)
    buffer, parsed = backend.module("kernels.buffer").InputBuffer(), kernel.FrameHead()

    async def operate(number: int) -> None:
        parse, take_text, encode_text = parsed.parse, kernel.take_text, kernel.encode_text
        for _ in range(number):
            buffer.feed(frame)
            if parse(buffer) != done:
                raise AssertionError("the head was refused")
            encode_text(take_text(buffer, parsed, parsed.length))

    return operate


def service(backend: Backend, handler: Any, mounts: Sequence[str] = ()) -> Any:
    """What a server's connections share, with defaults but for the limit of requests per connection.

    `mounts`: prefixes, each with that handler.
    """
    limits = backend.module("http.limits")
    places = backend.module("http.mounts")
    made = backend.module("http.service").Service(
        limits=limits.Limits(connection_requests=0),
        timeouts=limits.Timeouts(),
        clock=backend.module("kernels.base").Clock(),
        handler=None if mounts else handler,
        mounts=places.MountTable([places.Mount(prefix, handler) for prefix in mounts]) if mounts else None,
        log=LOG,
    )
    made.upgrade = backend.module("websocket.upgrade").WebSocketUpgrade(made, None)
    made.refresh(time.monotonic(), time.time())
    return made


def connect(backend: Backend, handler: Any, mounts: Sequence[str] = ()) -> tuple[Any, Any]:
    """An open connection and its transport."""
    transport = null_transport(backend)
    create = backend.module("http1.connection").HTTP1Connection
    connection = create(service(backend, handler, mounts), transport, CLIENT, SERVER, "http")
    connection.opened()
    return connection, transport


def null_transport(backend: Backend) -> Any:
    """A transport of `backend` that takes everything at once; `last` is what was written last.

    `connection` is the one that it was handed over to.
    """
    base = backend.module("kernels.base").Transport

    class NullTransport(base):  # type: ignore[misc, valid-type]
        __slots__ = ("connection", "last")

        def __init__(self) -> None:
            self.last = b""
            self.connection: Any = None

        def switch(self, connection: Any) -> int:
            self.connection = connection
            return 0

        def write(self, data: bytes) -> int:
            self.last = data
            return 0

        def write_parts(self, parts: list[bytes]) -> int:
            self.last = parts[-1]
            return 0

        def buffered(self) -> int:
            return 0

        def pause_reading(self) -> int:
            return 0

        def resume_reading(self) -> int:
            return 0

        def shutdown_write(self) -> bool:
            raise AssertionError("the connection was closed")

        def close(self) -> int:
            raise AssertionError("the connection was closed")

        def abort(self) -> int:
            raise AssertionError("the connection was closed")

        def schedule(self, connection: Any) -> int:
            asyncio.get_running_loop().call_soon(connection.resume)
            return 0

    return NullTransport()


def asgi(backend: Backend, name: str, request: bytes, end: bytes = b"", mounts: Sequence[str] = ()) -> Operation:
    """A whole exchange of the ASGI application `name`, under each of the prefixes `mounts` if there are any.

    `end`: what the last write of a response ends with.
    """

    async def operate(number: int) -> None:
        app = getattr(_apps("plain_asgi"), name)
        handler = backend.module("asgi.cycle").ASGIHandler(app, asyncio.get_running_loop(), LOG, {})
        connection, transport = connect(backend, handler, mounts)
        feed = connection.feed
        for _ in range(number):
            transport.last = b""
            feed(request)
            # Eager tasks have answered already; others run in the loop's next turns.
            while not transport.last or (end and not transport.last.endswith(end)):
                await asyncio.sleep(0)

    return operate


def websocket(backend: Backend, opcode: int, size: int) -> Operation:
    """A message received, the application resumed, and the message sent back."""
    payload = b"m" * size
    sent, expected = frame(0x80 | opcode, payload), payload[-32:]

    async def operate(number: int) -> None:
        handler = backend.module("asgi.cycle").ASGIHandler(
            _apps("plain_asgi").websocket, asyncio.get_running_loop(), LOG, {}
        )
        connection, transport = connect(backend, handler)
        connection.feed(HANDSHAKE)
        while transport.connection is None:
            await asyncio.sleep(0)
        # The application waits in `receive` now.
        await asyncio.sleep(0)
        feed = transport.connection.feed
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def turn() -> None:
            # As from a poller: what is received outside of tasks resumes the application at once.
            for _ in range(number):
                transport.last = b""
                feed(sent)
                if not transport.last.endswith(expected):
                    done.set_exception(AssertionError("the message was not answered at once"))
                    return
            done.set_result(None)

        loop.call_soon(turn)
        await done
        transport.connection.lost(None)
        await asyncio.sleep(0)

    return operate


def wsgi(backend: Backend, name: str, request: bytes) -> Operation:
    """A whole exchange of the WSGI application `name`, with the pool's work done at once on this thread."""
    base = backend.module("kernels.base").Executor

    class InlineExecutor(base):  # type: ignore[misc, valid-type]
        __slots__ = ("posted", "tasks")

        def __init__(self) -> None:
            self.tasks: list[Any] = []
            self.posted: list[Any] = []

        def submit(self, task: Any) -> bool:
            self.tasks.append(task)
            return True

        def post(self, task: Any) -> int:
            self.posted.append(task)
            return 0

    async def operate(number: int) -> None:
        app = getattr(_apps("plain_wsgi"), name)
        executor = InlineExecutor()
        errors = backend.module("wsgi.errors").ErrorStream(LOG.error)
        handler = backend.module("wsgi.task").WSGIHandler(app, executor, errors=errors)
        connection, transport = connect(backend, handler)
        feed, tasks, posted = connection.feed, executor.tasks, executor.posted
        for _ in range(number):
            transport.last = b""
            feed(request)
            tasks.pop().run()
            while posted:
                posted.pop().step()
            if not transport.last:
                raise AssertionError("no response")

    return operate


def _apps(module: str) -> Any:
    if str(APPS) not in sys.path:
        sys.path.insert(0, str(APPS))
    return importlib.import_module(module)


CASES: dict[str, Callable[[Backend], Operation]] = {
    "asgi hello small": lambda backend: asgi(backend, "hello", SMALL),
    "asgi hello mounted": lambda backend: asgi(backend, "hello", SMALL, mounts=("", "/legacy", "/admin/old")),
    "asgi hello browser": lambda backend: asgi(backend, "hello", LARGE_HEAD),
    "asgi echo": lambda backend: asgi(backend, "echo", POST),
    "asgi 20 parts": lambda backend: asgi(backend, "stream", SMALL, b"0\r\n\r\n"),
    "websocket 32 B": lambda backend: websocket(backend, TEXT, 32),
    "websocket 16 KiB": lambda backend: websocket(backend, BINARY, 16384),
    "wsgi hello small": lambda backend: wsgi(backend, "hello", SMALL),
    "wsgi hello browser": lambda backend: wsgi(backend, "hello", LARGE_HEAD),
    "wsgi echo": lambda backend: wsgi(backend, "echo", POST),
    "wsgi 20 parts": lambda backend: wsgi(backend, "stream", SMALL),
    "head small": lambda backend: head(backend, SMALL),
    "head browser": lambda backend: head(backend, LARGE_HEAD),
    "scope small": lambda backend: head_fact(backend, SMALL, "scope"),
    "scope browser": lambda backend: head_fact(backend, LARGE_HEAD, "scope"),
    "environ small": lambda backend: head_fact(backend, SMALL, "environ"),
    "environ browser": lambda backend: head_fact(backend, LARGE_HEAD, "environ"),
    "response head": encode,
    "chunk 1 KiB": chunks,
    "frame 32 B": lambda backend: frames(backend, 32),
    "frame 16 KiB": lambda backend: frames(backend, 16384),
}


async def measure(operation: Operation, seconds: float, repeat: int) -> list[float]:
    """Nanoseconds per operation of `repeat` runs that take about `seconds` together."""
    number = 1
    while True:
        began = time.perf_counter()
        await operation(number)
        took = time.perf_counter() - began
        if took > 0.01:
            break
        number *= 4
    number = max(1, int(number * seconds / repeat / took))
    times = []
    for _ in range(repeat):
        began = time.perf_counter_ns()
        await operation(number)
        times.append((time.perf_counter_ns() - began) / number)
    return times


def run(function: Callable[..., Any], loop: str, *arguments: object) -> Any:
    """Run `function(*arguments)`, a coroutine, on a loop of that kind."""
    if loop == "uvloop":
        return importlib.import_module("uvloop").run(function(*arguments))
    return asyncio.run(function(*arguments))


async def count(operation: Operation, number: int) -> None:
    """Do an operation `number` times, and six times as often; callgrind divides its counts at calls of getppid."""
    await operation(50)
    gc.collect()
    gc.disable()
    for times in (number, 6 * number):
        os.getppid()
        await operation(times)
    os.getppid()


def instructions(backend: str, cases: Sequence[str], loop: str, number: int = 100) -> dict[str, float]:
    """Instructions per operation of each case, by callgrind: what a longer run has more than a short one.

    Raises RuntimeError when valgrind fails, FileNotFoundError when it is not there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *("valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={scratch}/out"),
            *(sys.executable, "-m", "benchmarks.core", "--backend", backend, "--cases", ",".join(cases)),
            *("--loop", loop, "--count", str(number)),
        ]
        # With a fixed seed, dictionaries are laid out alike in every run.
        variables = {**os.environ, "PYTHONHASHSEED": "0"}
        result = subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, timeout=600)
        # Each case makes three dumps: what was before it, the short run and the long one.
        dumps = sorted(Path(scratch).glob("out.*"), key=lambda path: int(path.suffix[1:]))[-3 * len(cases) :]
        if result.returncode or len(dumps) < 3 * len(cases):
            raise RuntimeError(f"valgrind ended with {result.returncode}: {result.stderr[-300:]}")
        totals = [_total(dump) for dump in dumps]
    # The command does the cases in its own order.
    ordered = [case for case in CASES if case in cases]
    return {case: (totals[3 * at + 2] - totals[3 * at + 1]) / (5 * number) for at, case in enumerate(ordered)}


def _total(dump: Path) -> int:
    """Instructions in one of callgrind's dumps."""
    return next(int(line.split()[1]) for line in dump.read_text().splitlines() if line.startswith("totals:"))


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.core", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--backend", choices=("core", "_speedups", "both"), default="both")
    add("--cases", default="", metavar="WORD,…", help="cases of these names, or with one of the words in it")
    add("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    add("--seconds", type=float, default=0.5, help="time for each case (default 0.5)")
    add("--repeat", type=int, default=5, help="runs it is divided into (default 5)")
    add("--callgrind", action="store_true", help="count instructions too (needs valgrind)")
    add("--number", type=int, help="do each case that many times and print nothing")
    add("--count", type=int, help=argparse.SUPPRESS)
    add("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    words = [word for word in options.cases.split(",") if word]
    cases = {name: make for name, make in CASES.items() if not words or any(word in name for word in words)}
    if words and all(word in CASES for word in words):
        cases = {name: make for name, make in CASES.items() if name in words}
    backends = ("core", "_speedups") if options.backend == "both" else (options.backend,)
    results: dict[str, dict[str, dict[str, float]]] = {}
    if not options.number and not options.count:
        print(f"{'':22}{'backend':11}{'best ns':>10}{'median ns':>11}" + "   instructions" * options.callgrind)
    for name, make in cases.items():
        for label in backends:
            try:
                operation = make(Backend(label))
                if options.count:
                    run(count, options.loop, operation, options.count)
                    continue
                if options.number:
                    run(operation, options.loop, options.number)
                    continue
                times = run(measure, options.loop, operation, options.seconds, options.repeat)
            except ImportError as error:
                print(f"{name:22}{label:11}not there: {error}")
                continue
            figures = {"best_ns": min(times), "median_ns": median(times)}
            line = f"{name:22}{label:11}{figures['best_ns']:10,.0f}{figures['median_ns']:11,.0f}"
            if options.callgrind:
                figures["instructions"] = instructions(label, [name], options.loop)[name]
                line += f"{figures['instructions']:15,.0f}"
            print(line)
            results.setdefault(name, {})[label] = figures
    if options.json:
        options.json.write_text(json.dumps({"python": sys.version, "cases": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
