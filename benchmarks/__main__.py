"""`python -m benchmarks`: measure gateway and its peers side by side, print a table, write JSON."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import chart, check, environment, load, peers, process, report, workloads
from .environment import Environment
from .peers import Peer
from .workloads import Workload


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--servers", default="", metavar="NAME,…", help="names or their beginnings; NAME@N: N threads")
    add("--workloads", default="", metavar="KEY,…", help='W3 is W3w and W3a; "all"')
    add("--rounds", type=int, default=3, help="how often each pair is measured (default 3)")
    add("--seconds", type=float, default=2.0, help="length of a measured run (default 2)")
    add("--warm-up", type=float, default=1.0, metavar="SECONDS", help="load before that (default 1)")
    add("--server-core", type=int, default=0, help="where servers run (default 0)")
    add("--client-core", type=int, default=1, help="where wrk and this program run (default 1)")
    add("--retries", type=int, default=1, help="more runs when others used 10 %% of a core (default 1)")
    add("--python", default=sys.executable, help="interpreter for the servers (default: this one)")
    add("--in-place", action="store_true", help="import gateway from the checkout instead of installing it")
    add("--check-only", action="store_true", help="check the answers and measure nothing")
    add("--json", type=Path, metavar="FILE", help="write everything measured")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as well as printing them")
    add("--chart", type=Path, metavar="FILE", help="draw the figures as SVG")
    add("--report", type=Path, metavar="FILE", help="print the tables of an earlier run's JSON and stop")
    add("--list", action="store_true", help="show servers and workloads and stop")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the command; returns the exit code."""
    options = parse()
    if options.list:
        print(listing())
        return 0
    if options.report:
        show(json.loads(options.report.read_text()), options)
        return 0
    try:
        servers = peers.select([word for word in options.servers.split(",") if word])
        loads = workloads.select([word for word in options.workloads.split(",") if word])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if missing := load.available():
        print(missing, file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {options.client_core})
    made = environment.prepare(options.python, in_place=options.in_place)
    _make_file(made.scratch / "file.bin")
    with alone(made.scratch):
        result = measure(made, servers, loads, options)
    if options.check_only:
        return 1 if result["failures"] else 0
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    show(result, options)
    return 0


def show(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the tables; write them, and the chart, where that was asked for."""
    text = report.markdown(result)
    if options.markdown:
        options.markdown.write_text(text)
    if options.chart:
        options.chart.write_text(chart.svg(result))
    print(text, end="")


@contextlib.contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Wait until no other run of this program measures on this machine, and keep others waiting."""
    with open(scratch / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def listing() -> str:
    """Servers and workloads; a star marks those measured when none are named."""
    lines = ["Servers"]
    for peer in peers.PEERS:
        lines.append(f"  {'*' if peer.default else ' '} {peer.name:20} {peer.interface or '-':5} {peer.command}")
    lines.append("Workloads")
    for one in workloads.WORKLOADS:
        lines.append(f"  {'*' if one.default else ' '} {one.key:6} {one.title}, c={one.connections}")
    return "\n".join(lines)


def pairs(servers: list[Peer], loads: list[Workload], turn: int) -> Iterator[tuple[Workload, Peer]]:
    """One round: every workload with every server that can do it; every other round in reverse order."""
    for workload in loads:
        interfaces = [workload.interface, None] if workload.constant else [workload.interface]
        able = [peer for peer in servers if peer.interface in interfaces]
        for peer in able if turn % 2 == 0 else reversed(able):
            yield workload, peers.for_threads(peer, workload.threads)


def measure(
    made: Environment, servers: list[Peer], loads: list[Workload], options: argparse.Namespace
) -> dict[str, Any]:
    """All rounds. A pair that failed is not tried again."""
    result: dict[str, Any] = {
        "machine": machine(),
        "options": {
            name: getattr(options, name)
            for name in ("rounds", "seconds", "warm_up", "server_core", "client_core", "in_place")
        },
        "versions": made.versions(),
        "gateway": made.gateway(),
        "missing": made.missing,
        "commands": {},
        "workloads": {workload.key: workload.title for workload in loads},
        "servers": {peer.name: {"role": peer.role, "note": peer.note} for peer in servers},
        "runs": [],
        "failures": [],
    }
    print(result["gateway"], file=sys.stderr)
    failed: set[tuple[str, str]] = set()
    try:
        for turn in range(1 if options.check_only else options.rounds):
            for workload, peer in pairs(servers, loads, turn):
                if (workload.key, peer.name) in failed:
                    continue
                for attempt in range(1 + options.retries):
                    try:
                        run = run_once(made, peer, workload, options, result["commands"])
                    except (process.StartError, check.CheckError, load.LoadError) as error:
                        failed.add((workload.key, peer.name))
                        failure = {"workload": workload.key, "server": peer.name, "reason": str(error)}
                        result["failures"].append(failure)
                        print(f"{workload.key:6} {peer.name:20} FAIL {error}", file=sys.stderr)
                        break
                    if run is None:
                        break
                    run["round"], run["attempt"] = turn + 1, attempt
                    result["runs"].append(run)
                    if run["foreign"] <= report.DISTURBED:
                        break
    except KeyboardInterrupt:
        print("interrupted: reporting what there is", file=sys.stderr)
    return result


def run_once(
    made: Environment, peer: Peer, workload: Workload, options: argparse.Namespace, commands: dict[str, str]
) -> dict[str, Any] | None:
    """Start, check, warm up, measure, check again, stop. None when only the check was asked for."""
    port = process.free_port()
    values = {
        "bin": made.bin,
        "python": made.python,
        "launch": environment.HERE / "launch.py",
        "limit": made.scratch / "limit",
        "app": workload.app,
    }
    command = peer.arguments(port=port, **values)
    shown = {"bin": "BIN", "python": "BIN/python", "launch": "launch.py", "limit": "limit", "app": "APP"}
    commands[peer.name] = " ".join(peer.arguments(port="PORT", **shown))
    variables = {**made.variables(ours=peer.role == "ours"), **peer.environment}
    log = made.scratch / "server.log"
    with process.ServerProcess(command, variables, environment.APPS, log, options.server_core) as server:
        start = server.wait_until(lambda: check.ready(port, workload))
        rss_start, _ = server.memory()
        findings = check.check(port, peer, workload)
        if options.check_only:
            segments = [f"in {findings.segments} segments"] if findings.segments else []
            remarks = "; ".join(segments + findings.notes)
            print(f"{workload.key:6} {peer.name:20} right  {remarks}", file=sys.stderr)
            return None
        if options.warm_up:
            load.run(port, workload, options.warm_up, options.client_core, made.scratch)
        cores = (options.server_core, options.client_core)
        busy = [process.busy_seconds(core) for core in cores]
        user, system = server.cpu()
        began = time.monotonic()
        seen = load.run(port, workload, options.seconds, options.client_core, made.scratch)
        took = time.monotonic() - began
        user, system = (now - then for now, then in zip(server.cpu(), (user, system), strict=True))
        busy = [process.busy_seconds(core) - then for core, then in zip(cores, busy, strict=True)]
        rss, pss = server.memory()
        if not server.alive:
            raise check.CheckError(f"ended under load: {server.tail()}")
        check.answers(port, workload)
    if not seen.requests:
        raise load.LoadError(f"no request completed: {seen.errors}")
    if seen.errors.get("status"):
        raise check.CheckError(f"{seen.errors['status']} responses with an error status")
    notes = list(findings.notes)
    if seen.errors:
        notes.append("socket errors: " + ", ".join(f"{kind} {count}" for kind, count in seen.errors.items()))
    own = (user + system, seen.client_cpu * seen.seconds)
    run = {
        "workload": workload.key,
        "server": peer.name,
        "requests_per_second": seen.requests / seen.seconds,
        "requests": seen.requests,
        "seconds": seen.seconds,
        "bytes_per_second": seen.bytes / seen.seconds,
        "p50_ms": seen.p50_ms,
        "p99_ms": seen.p99_ms,
        "cpu_us": (user + system) / seen.requests * 1e6,
        "cpu_user_us": user / seen.requests * 1e6,
        "server_cpu": (user + system) / took,
        "client_cpu": seen.client_cpu,
        "foreign": max(0.0, *((used - mine) / took for used, mine in zip(busy, own, strict=True))),
        "rss_mib": rss,
        "rss_start_mib": rss_start,
        "pss_mib": pss,
        "start_ms": start * 1000,
        "errors": seen.errors,
        "counts": findings.streamed is not False,
        "segments": findings.segments,
        "notes": notes,
    }
    print(
        f"{workload.key:6} {peer.name:20} {run['requests_per_second']:>10,.0f} req/s {run['cpu_us']:8.2f} us "
        f"p99 {run['p99_ms']:7.2f} ms  others {run['foreign']:4.0%}  {'; '.join(notes)}",
        file=sys.stderr,
    )
    return run


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}


def _make_file(path: Path) -> None:
    if not path.exists() or path.stat().st_size != workloads.FILE_SIZE:
        path.write_bytes(workloads.FILE_BYTE * workloads.FILE_SIZE)


if __name__ == "__main__":
    sys.exit(main())
