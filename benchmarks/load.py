"""The load generators, on a core of their own, with the request given byte for byte.

wrk sends on each connection as soon as it has the answer, and so does echo.c over WebSockets; pace.c sends at a rate.
Idle connections are opened here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .websocket import WebSocket, WebSocketError
from .workloads import Workload

_SCRIPT = """\
local file = assert(io.open("{content}", "rb"))
local content = file:read("*a")
file:close()
-- Without a global `request`, wrk asks this once and sends the same bytes for ever.
wrk.init = function(args) wrk.request = function() return content end end
function done(summary, latency, requests)
  local e = summary.errors
  io.stdout:write(string.format(
    '\\nRESULT {{"requests":%d,"microseconds":%d,"bytes":%d,"p50":%.1f,"p99":%.1f,' ..
    '"errors":{{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}}}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""


class LoadError(Exception):
    """wrk could not be run, or failed."""


@dataclass(frozen=True)
class LoadResult:
    """What the client saw in one run."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]
    """Kind -> count; kinds that did not happen are left out."""
    client_cpu: float
    """Share of the client's core that was used: near 1, the client was the limit."""
    client_busy: float
    """The same, without what a client that polls spends on waiting."""
    compressed: float = 0.0
    """Share of WebSocket answers that were compressed."""


def available() -> str | None:
    """What is missing for a run, or None."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


def run(
    port: int, workload: Workload, seconds: float, core: int, scratch: Path, *, path: str = "", connections: int = 0
) -> LoadResult:
    """Load the server at `port`, with another path or number of connections where given. Raises LoadError."""
    name = path.strip("/") or "request"
    content = scratch / f"{name}.bin"
    content.write_bytes(workload.request(path=path))
    script = scratch / f"{name}.lua"
    script.write_text(_SCRIPT.format(content=content))
    command = [
        *("wrk", "-t1", f"-c{connections or workload.connections}"),
        *(f"-d{math.ceil(seconds)}", "--timeout", "5s", "-s", str(script), f"http://127.0.0.1:{port}/"),
    ]
    # wrk knows whole seconds only, and stops as if these were over when interrupted.
    result, used = _generate(command, core, seconds, interrupt=seconds != math.ceil(seconds))
    duration = result["microseconds"] / 1e6
    return LoadResult(
        requests=result["requests"],
        seconds=duration,
        bytes=result["bytes"],
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
        errors={kind: count for kind, count in result["errors"].items() if count},
        client_cpu=used / duration,
        client_busy=used / duration,
    )


def pace(port: int, workload: Workload, rate: float, seconds: float, core: int, scratch: Path) -> LoadResult:
    """Load the server at `port` with `rate` requests per second. Raises LoadError."""
    content = scratch / "request.bin"
    content.write_bytes(workload.request())
    command = [str(scratch / "pace"), str(port), str(content), str(workload.connections), str(rate), str(seconds)]
    result, used = _generate(command, core, seconds)
    duration = result["microseconds"] / 1e6
    return LoadResult(
        requests=result["requests"],
        seconds=duration,
        bytes=0,
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
        errors={},
        client_cpu=used / duration,
        client_busy=result["busy"],
    )


def echo(port: int, workload: Workload, seconds: float, core: int, scratch: Path) -> LoadResult:
    """Load the server at `port` with WebSocket messages. Raises LoadError."""
    request, messages = scratch / "request.bin", scratch / "messages.bin"
    request.write_bytes(workload.request())
    messages.write_bytes(workload.messages())
    kind = "binary" if workload.binary else "text"
    words = (port, request, messages, workload.size, kind, workload.connections, seconds)
    result, used = _generate([str(scratch / "echo"), *map(str, words)], core, seconds)
    duration = result["microseconds"] / 1e6
    return LoadResult(
        requests=result["requests"],
        seconds=duration,
        bytes=result["bytes"],
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
        errors={},
        client_cpu=used / duration,
        client_busy=used / duration,
        compressed=result["compressed"],
    )


def _generate(
    command: list[str], core: int, seconds: float, *, interrupt: bool = False
) -> tuple[dict[str, Any], float]:
    """The RESULT line of a load generator, and the seconds of CPU it used. Raises LoadError."""
    try:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise LoadError(str(error)) from error
    late = threading.Timer(seconds + 15, process.kill)
    late.start()
    with process:
        try:
            if interrupt:
                time.sleep(seconds)
                process.send_signal(signal.SIGINT)
            output = process.stdout.read() if process.stdout else ""
            # Unlike `wait`, this tells what that one process used, whatever others end meanwhile.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
        finally:
            late.cancel()
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if process.returncode or not lines:
        name = Path(command[0]).name
        raise LoadError(f"{name} ended with {process.returncode}: {output.strip()[-300:]}")
    return json.loads(lines[0].removeprefix("RESULT ")), usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def idle(port: int, workload: Workload, count: int) -> Iterator[list[socket.socket]]:
    """`count` connections that have had one request answered and stay open. Raises LoadError."""
    request = workload.request()
    with contextlib.ExitStack() as stack:
        clients = []
        try:
            for _ in range(count):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                client.sendall(request)
                received = b""
                while not received.endswith(workload.body):
                    data = client.recv(65536)
                    if not data:
                        raise LoadError("the server closed a connection that was to stay open")
                    received += data
                clients.append(client)
        except OSError as error:
            raise LoadError(f"with {len(clients)} connections open: {error}") from error
        yield clients


def allow_connections() -> None:
    """Let this process, and the servers it starts, have as many descriptors as the system allows them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def sockets(port: int, workload: Workload, count: int) -> Iterator[tuple[list[WebSocket], list[float]]]:
    """`count` WebSockets that stay open, and how many seconds each took to open. Raises LoadError."""
    with contextlib.ExitStack() as stack:
        opened: list[WebSocket] = []
        times = []
        try:
            for _ in range(count):
                began = time.monotonic()
                opened.append(stack.enter_context(WebSocket(port, workload)))
                times.append(time.monotonic() - began)
        except (OSError, WebSocketError) as error:
            raise LoadError(f"with {len(opened)} WebSockets open: {error}") from error
        yield opened, times


def closed(clients: list[socket.socket]) -> int:
    """How many of the connections the server has closed."""
    count = 0
    for client in clients:
        client.setblocking(False)
        try:
            client.recv(1)
            count += 1
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count
