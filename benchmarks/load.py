"""The load generator: wrk, on a core of its own, with the request given byte for byte."""

from __future__ import annotations

import json
import math
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

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


def available() -> str | None:
    """What is missing for a run, or None."""
    for program in ("wrk", "taskset"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


def run(port: int, workload: Workload, seconds: float, core: int, scratch: Path) -> LoadResult:
    """Load the server at `port` for `seconds`. Raises LoadError."""
    content = scratch / "request.bin"
    content.write_bytes(workload.request())
    script = scratch / "load.lua"
    script.write_text(_SCRIPT.format(content=content))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        *("taskset", "-c", str(core), "wrk", "-t1", f"-c{workload.connections}"),
        *(f"-d{math.ceil(seconds)}", "--timeout", "5s", "-s", str(script), f"http://127.0.0.1:{port}/"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            if seconds != math.ceil(seconds):
                # wrk knows whole seconds only, and stops as if these were over when interrupted.
                time.sleep(seconds)
                process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=seconds + 15)
        except BaseException:
            process.kill()
            raise
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if process.returncode or not lines:
        raise LoadError(f"wrk ended with {process.returncode}: {output.strip()[-300:]}")
    result = json.loads(lines[0].removeprefix("RESULT "))
    duration = result["microseconds"] / 1e6
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return LoadResult(
        requests=result["requests"],
        seconds=duration,
        bytes=result["bytes"],
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
        errors={kind: count for kind, count in result["errors"].items() if count},
        client_cpu=used / duration,
    )
