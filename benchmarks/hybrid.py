"""One Django project behind each entry point, behind both at once, and behind uvicorn: `python -m benchmarks.hybrid`.

The servers take turns on one core, wrk on another; medians, and ratios to those of the hybrid in the same rounds.
Needs Django, uvicorn, uvloop and httptools in the environment it runs in.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path

from . import load
from .process import ServerProcess, free_port
from .workloads import HELLO, Workload

APPS = Path(__file__).parent / "apps"
VARIABLES = {**os.environ, "PYTHONPATH": f"{APPS.parent.parent}{os.pathsep}{APPS}"}

_GATEWAY = (
    "-m gateway {target} --no-supervisor -b 127.0.0.1:{port} --log-level error --keep-alive 75 --threads {threads}"
)
SERVERS = {
    "hybrid": _GATEWAY.replace("{target}", "hybridsite --interface django"),
    "wsgi alone": _GATEWAY.replace("{target}", "hybridsite.wsgi"),
    "asgi alone": _GATEWAY.replace("{target}", "hybridsite.asgi"),
    "uvicorn": "-m uvicorn hybridsite.asgi:application --host 127.0.0.1 --port {port} --loop uvloop --http httptools"
    " --no-access-log --log-level error --timeout-keep-alive 75 --backlog 4096 --lifespan off",
}
LOADS = (
    ("sync", "/sync", 8, ("wsgi alone", "uvicorn")),
    ("sync, 10 ms", "/sync/sleep", 64, ("wsgi alone", "uvicorn")),
    ("async", "/async", 8, ("asgi alone", "uvicorn")),
    ("async, 10 ms", "/async/sleep", 8, ("asgi alone", "uvicorn")),
)
"""What it is called, the path, threads, and whom the hybrid is compared with."""


def main() -> int:
    """Measure, and print one line for each comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hybrid", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", action="append", help="one of " + ", ".join(name for name, *_ in LOADS))
    arguments = parser.parse_args()
    for name, path, threads, others in LOADS:
        if arguments.only and name not in arguments.only:
            continue
        workload = Workload(key="hybrid", title=name, interface="wsgi", app="hybridsite", path=path)
        rates: dict[str, list[float]] = {"hybrid": [], **{other: [] for other in others}}
        for number in range(arguments.rounds):
            names = list(rates)
            for server in names if number % 2 == 0 else reversed(names):
                rates[server].append(measure(server, workload, threads, arguments.seconds))
        best = statistics.median(rates["hybrid"])
        for server, values in rates.items():
            median = statistics.median(values)
            print(f"{name:13} {server:11} {median:9,.0f}/s   hybrid {best / median:5.2f}x", flush=True)
    return 0


def measure(server: str, workload: Workload, threads: int, seconds: float) -> float:
    """Responses per second."""
    port = free_port()
    command = [sys.executable, *SERVERS[server].format(port=port, threads=threads).split()]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with ServerProcess(command, VARIABLES, APPS, scratch / "log", 0) as process:
            process.wait_until(lambda: answers(port, workload.path), 30.0)
            load.run(port, workload, 1.0, 1, scratch)
            result = load.run(port, workload, seconds, 1, scratch)
            if result.errors:
                raise SystemExit(f"{server}: {result.errors}; {process.tail()}")
            return result.requests / result.seconds


def answers(port: int, path: str) -> bool:
    """Whether the server gives the right answer by now."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return bool(response.read() == HELLO)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
