"""Our adapters between WSGI and ASGI beside those of a2wsgi and asgiref: what they get right, and how fast they are.

    python -m benchmarks.adapters cases     # the tables of tests/apps/adapter_cases.py, over each
    python -m benchmarks.adapters speed     # in one process, and under a server; medians of interleaved rounds

asgiref has a WsgiToAsgi and nothing for the other direction. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.apps import adapter_cases
from tests.apps.adapter_cases import TO_ASGI, TO_WSGI, environ, hello_asgi, hello_wsgi, scope

TO_WSGI_ADAPTERS = {"gateway": "gateway:ASGIToWSGI", "a2wsgi": "a2wsgi:ASGIMiddleware"}
TO_ASGI_ADAPTERS = {
    "gateway": "gateway:WSGIToASGI",
    "a2wsgi": "a2wsgi:WSGIMiddleware",
    "asgiref": "asgiref.wsgi:WsgiToAsgi",
}

CASE_TIMEOUT = 15
"""Seconds, after which a case counts as hung."""


def adapters(targets: dict[str, str]) -> dict[str, Any]:
    """Those that are installed, by name."""
    found = {}
    for name, target in targets.items():
        module, _, attribute = target.partition(":")
        with contextlib.suppress(ImportError):
            found[name] = getattr(importlib.import_module(module), attribute)
    return found


def judge(run: Callable[[Any], None], adapter: Any) -> str:
    """ "yes", or in a few words what is wrong. In a process of its own: an adapter that hangs spoils the next case."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # What a careless adapter says on the way is no part of the table.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        try:
            run(adapter)
            verdict = "yes"
        except AssertionError as error:
            verdict = f"no: {error}".splitlines()[0].removesuffix(": ")
        except BaseException as error:
            verdict = f"no: {type(error).__name__}"
        os.write(writer, verdict.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], CASE_TIMEOUT)
        verdict = pipe.read().decode() if ready else "hangs"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return verdict or "no: crashes"


def cases() -> int:
    """Print one table for each direction. Returns how many cases ours fails."""
    adapter_cases.TIMEOUT = 5.0
    failures = 0
    for title, table, targets in (
        ("an ASGI application under WSGI", TO_WSGI, TO_WSGI_ADAPTERS),
        ("a WSGI application under ASGI", TO_ASGI, TO_ASGI_ADAPTERS),
    ):
        found = adapters(targets)
        print(f"\n| {title} | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
        passed = dict.fromkeys(found, 0)
        for case in table.values():
            verdicts = {name: judge(case.run, adapter) for name, adapter in found.items()}
            for name, verdict in verdicts.items():
                passed[name] += verdict == "yes"
            print(f"| {case.what} | " + " | ".join(verdicts.values()) + " |", flush=True)
        print(f"| of {len(table)} | " + " | ".join(map(str, passed.values())) + " |")
        failures += len(table) - passed["gateway"]
    return failures


def speed(rounds: int, seconds: float) -> None:
    """Print requests per second: in one process, then under a server."""
    print("\n| requests per second | " + " | ".join(TO_ASGI_ADAPTERS) + " | gateway / best |\n|---|---|---|---|---|")
    found = adapters(TO_WSGI_ADAPTERS)
    for threads in (1, 8):
        made = {name: adapter(hello_asgi) for name, adapter in found.items()}
        row(
            f"ASGI under WSGI, called by {threads}",
            made,
            lambda app, n=threads: call_wsgi(app, n, seconds),
            rounds,
            here=True,
        )
    found = adapters(TO_ASGI_ADAPTERS)
    for tasks in (1, 8):
        made = {name: adapter(hello_wsgi) for name, adapter in found.items()}

        def measure(app: Any, count: int = tasks) -> float:
            return asyncio.run(call_asgi(app, count, seconds))

        row(f"WSGI under ASGI, called by {tasks}", made, measure, rounds, here=True)
    ours = ["-m", "gateway", "--interface", "wsgi", "--no-supervisor", "--limit-connection-requests", "1000000"]
    for title, targets, command in (
        ("ASGI under WSGI, gateway --threads 8", TO_WSGI_ADAPTERS, ours),
        ("WSGI under ASGI, uvicorn", TO_ASGI_ADAPTERS, ["-m", "uvicorn", "--log-level", "error"]),
    ):
        with contextlib.ExitStack() as stack:
            kind = "wsgi" if targets is TO_WSGI_ADAPTERS else "asgi"
            ports = {name: stack.enter_context(served(command, f"{kind}_{name}")) for name in adapters(targets)}
            row(title, ports, lambda port: load(port, seconds), rounds)


def row(title: str, what: dict[str, Any], measure: Callable[[Any], float], rounds: int, *, here: bool = False) -> None:
    """Measure in turns, so that what else the machine does hits all alike.

    `here`: in this process, whose CPU per request is shown as well. It does not depend on how soon a thread is run that
    has been woken, which on a busy machine is most of the time.
    """
    results: dict[str, list[float]] = {name: [] for name in what}
    costs: dict[str, list[float]] = {name: [] for name in what}
    for number in range(rounds + 1):
        for name, subject in what.items():
            began, used = time.perf_counter(), time.process_time()
            try:
                result = measure(subject)
            except ConnectionError:
                # A wrong answer; it may be one to this many requests at a time.
                result = 0.0
            if number:
                # The first round warms up.
                results[name].append(result)
                count = result * (time.perf_counter() - began)
                costs[name].append((time.process_time() - used) / count * 1e6 if count else 0.0)
    show(title, {name: statistics.median(values) for name, values in results.items()}, lambda ours, best: ours / best)
    if here:
        cost = {name: statistics.median(values) for name, values in costs.items()}
        show(f"{title}: µs of CPU per request", cost, lambda ours, best: best / ours, best=min)


def show(
    title: str,
    medians: dict[str, float],
    compare: Callable[[float, float], float],
    best: Callable[..., float] = max,
) -> None:
    """Print one row of the table."""
    others = [value for name, value in medians.items() if name != "gateway" and value]
    cells = [f"{medians[name]:,.0f}" if name in medians else "-" for name in TO_ASGI_ADAPTERS]
    cells.append(f"{compare(medians['gateway'], best(others)):.1f}" if others else "-")
    print(f"| {title} | " + " | ".join("fails" if cell == "0" else cell for cell in cells) + " |", flush=True)


def call_wsgi(app: Any, threads: int, seconds: float) -> float:
    """Calls per second by `threads` threads."""
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        return None

    def work(number: int) -> None:
        while time.perf_counter() < end:
            result = app(environ(), start)
            assert b"".join(result) == b"hello"
            if hasattr(result, "close"):
                result.close()
            counts[number] += 1

    began = time.perf_counter()
    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)


async def call_asgi(app: Any, tasks: int, seconds: float) -> float:
    """Calls per second by `tasks` tasks."""
    loop = asyncio.get_running_loop()
    end = time.perf_counter() + seconds

    async def work() -> int:
        count = 0
        while time.perf_counter() < end:
            events: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]
            sent: list[Any] = []
            over = loop.create_future()

            async def receive(events: list[Any] = events, over: Any = over) -> Any:
                return events.pop() if events else await over

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            await app(scope(), receive, send)
            assert sent[0]["status"] == 200
            count += 1
        return count

    began = time.perf_counter()
    counts = await asyncio.gather(*(work() for _ in range(tasks)))
    return sum(counts) / (time.perf_counter() - began)


@contextlib.contextmanager
def served(command: list[str], name: str) -> Iterator[int]:
    """A server of the application `name` of this module, in a process of its own; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port), f"benchmarks.adapters:{name}"],
        cwd=Path(__file__).resolve().parent.parent,
        env=os.environ | {"GATEWAY_LOG_LEVEL": "error"},
        stderr=subprocess.DEVNULL,
    )
    try:
        connect(port).close()
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load(port: int, seconds: float, connections: int = 8) -> float:
    """Requests per second over as many connections, from one thread, which costs each server the same."""
    request = b"GET /path HTTP/1.1\r\nHost: example.org\r\n\r\n"
    clients = []
    count = 0
    try:
        for _ in range(connections):
            client = connect(port)
            client.sendall(request)
            clients.append(client)
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            for client in clients:
                data = client.recv(65536)
                while not data.endswith(b"hello"):
                    more = client.recv(65536)
                    if not more:
                        raise ConnectionError(f"the server has closed a connection after {data!r}")
                    data += more
                client.sendall(request)
                count += 1
        return count / (time.perf_counter() - began)
    finally:
        for client in clients:
            client.close()


def connect(port: int, patience: float = 20.0) -> socket.socket:
    """A connection to a server that may be starting still."""
    end = time.monotonic() + patience
    while True:
        try:
            client = socket.create_connection(("127.0.0.1", port), 10)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
            continue
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


def __getattr__(name: str) -> Any:
    """The applications that `served` serves: "wsgi_gateway", "asgi_a2wsgi" and so on."""
    kind, _, adapter = name.partition("_")
    if kind == "wsgi" and adapter in TO_WSGI_ADAPTERS:
        return adapters(TO_WSGI_ADAPTERS)[adapter](hello_asgi)
    if kind == "asgi" and adapter in TO_ASGI_ADAPTERS:
        return adapters(TO_ASGI_ADAPTERS)[adapter](hello_wsgi)
    raise AttributeError(name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["cases", "speed"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.25, help="of each measurement")
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.rounds, options.seconds)
        return
    sys.exit(1 if cases() else 0)


if __name__ == "__main__":
    main()
