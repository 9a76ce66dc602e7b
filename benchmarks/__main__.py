"""`python -m benchmarks`: measure gateway and its peers side by side, print a table, write JSON."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import socket
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from . import bars, chart, check, environment, load, peers, process, report, websocket, workloads
from .environment import Environment
from .peers import Peer
from .workloads import Workload

README = environment.CHECKOUT / "README.md"
CHART = "benchmarks/chart.svg"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--servers", default="", metavar="NAME,…", help="names or their beginnings; NAME@N: N threads")
    add("--workloads", default="", metavar="KEY,…", help="W3 is W3w and W3a; websocket, all")
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
    add(
        "--readme", action="store_true", help=f"put chart and bars into {README.name}, as {CHART} and between its marks"
    )
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
    wanted = None
    try:
        if options.servers or options.workloads:
            servers = peers.select([word for word in options.servers.split(",") if word])
            loads = workloads.select([word for word in options.workloads.split(",") if word])
        else:
            servers, loads, wanted = list(peers.PEERS), list(workloads.WORKLOADS), bars.pairs()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if missing := load.available():
        print(missing, file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {options.client_core})
    load.allow_connections()
    made = environment.prepare(options.python, in_place=options.in_place)
    _make_file(made.scratch / "file.bin")
    with alone(made.scratch):
        result = measure(made, servers, loads, options, wanted)
    if options.check_only:
        return 1 if result["failures"] else 0
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    show(result, options)
    return 0


def show(result: dict[str, Any], options: argparse.Namespace) -> None:
    """Print the tables; write them, and the chart, where that was asked for."""
    text = "\n".join(part for part in (bars.markdown(result), report.markdown(result)) if part)
    if options.markdown:
        options.markdown.write_text(text)
    if options.chart:
        options.chart.write_text(chart.svg(result))
    if options.readme:
        (environment.CHECKOUT / CHART).write_text(chart.svg(result))
        README.write_text(readme(README.read_text(), result))
    print(text, end="")


def readme(text: str, result: dict[str, Any]) -> str:
    """`text` with what lies between its marks made anew. Raises ValueError where there are no marks."""
    begin, end = "<!-- benchmarks:begin -->\n", "<!-- benchmarks:end -->"
    before, (_, after) = text[: text.index(begin)], text.split(end, 1)
    made = [
        f"![Our speed as a multiple of the best peer's, by workload]({CHART})",
        textwrap.fill(report.machine(result), 118, break_long_words=False, break_on_hyphens=False),
        f"<details><summary>What was to be reached, and what was</summary>\n\n{bars.markdown(result)}\n</details>",
    ]
    return f"{before}{begin}" + "\n\n".join(made) + f"\n{end}{after}"


@contextlib.contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Wait until no other run of this program measures on this machine, and keep others waiting."""
    with open(scratch / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def listing() -> str:
    """Servers and workloads; a star marks those measured when only the others are named."""
    lines = ["Servers"]
    for peer in peers.PEERS:
        lines.append(f"  {'*' if peer.default else ' '} {peer.name:20} {peer.interface or '-':5} {peer.command}")
    lines.append("Workloads")
    for one in workloads.WORKLOADS:
        lines.append(f"  {'*' if one.default else ' '} {one.key:6} {one.title}, c={one.connections}")
    return "\n".join(lines)


def pairs(
    servers: list[Peer], loads: list[Workload], turn: int, wanted: bars.Pairs | None
) -> Iterator[tuple[Workload, Peer]]:
    """One round: every workload with every server that can do it; every other round in reverse order.

    Only those of `wanted`, if given.
    """
    for workload in loads:
        interfaces = [workload.interface, None] if workload.constant else [workload.interface]
        able = []
        for peer in servers:
            words = peer.words(websocket=workload.websocket, deflate=workload.deflate)
            if words is None or peer.interface not in interfaces:
                continue
            if wanted is None or (workload.key, peer.name) in wanted:
                able.append(peers.configured(peer, words, workload.threads))
        for peer in able if turn % 2 == 0 else reversed(able):
            yield workload, peer


def measure(
    made: Environment,
    servers: list[Peer],
    loads: list[Workload],
    options: argparse.Namespace,
    wanted: bars.Pairs | None = None,
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
            for workload, peer in pairs(servers, loads, turn, wanted):
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
    """One measurement of a pair. None when only the check was asked for."""
    commands[peer.name + " WebSocket" * workload.websocket] = _command(made, peer, None, workload)
    if options.check_only:
        run = _load(made, peer, workload, options)
    else:
        run = {"start": _starts, "sockets": _sockets}.get(workload.kind, _load)(made, peer, workload, options)
    if run is None:
        return None
    run = {"workload": workload.key, "server": peer.name, **run}
    print(
        f"{workload.key:6} {peer.name:20} {run['requests_per_second']:>10,.0f} req/s {run['cpu_us']:8.2f} us "
        f"p99 {run['p99_ms']:7.2f} ms  others {run['foreign']:4.0%}  {'; '.join(run['notes'])}",
        file=sys.stderr,
    )
    return run


def _command(made: Environment, peer: Peer, port: int | None, workload: Workload) -> Any:
    """The server's command line: its words, or, without a port, how to show it."""
    values: dict[str, object] = {
        "bin": made.bin,
        "python": made.python,
        "launch": environment.HERE / "launch.py",
        "limit": made.scratch / "limit",
        "scratch": made.scratch,
        "app": workload.app,
    }
    if port is not None:
        return peer.arguments(port=port, **values)
    shown = {name: name for name in values} | {
        "bin": "BIN",
        "python": "BIN/python",
        "launch": "launch.py",
        "app": "APP",
    }
    return " ".join(peer.arguments(port="PORT", **shown))


def _server(
    made: Environment, peer: Peer, workload: Workload, options: argparse.Namespace
) -> tuple[process.ServerProcess, int]:
    """A server, starting, and its port."""
    port = process.free_port()
    variables = {**made.variables(ours=peer.role == "ours"), **peer.environment}
    (made.scratch / "access.log").unlink(missing_ok=True)
    command = _command(made, peer, port, workload)
    log = made.scratch / "server.log"
    return process.ServerProcess(command, variables, environment.APPS, log, options.server_core), port


class Accounts:
    """What a server, and others, use of the processor between two moments."""

    def __init__(self, server: process.ServerProcess, options: argparse.Namespace) -> None:
        self._server = server
        self._cores = (options.server_core, options.client_core)
        self._busy = [process.busy_seconds(core) for core in self._cores]
        self._cpu = server.cpu()
        self._own = time.process_time()
        self._began = time.monotonic()

    def close(self, client: float) -> dict[str, float]:
        """Seconds since then; `client`: what the load generators have used of the second core."""
        client += time.process_time() - self._own
        took = time.monotonic() - self._began
        user, system = (now - then for now, then in zip(self._server.cpu(), self._cpu, strict=True))
        busy = [process.busy_seconds(core) - then for core, then in zip(self._cores, self._busy, strict=True)]
        foreign = max(0.0, *((used - mine) / took for used, mine in zip(busy, (user + system, client), strict=True)))
        return {"took": took, "user": user, "system": system, "foreign": foreign}


def _load(made: Environment, peer: Peer, workload: Workload, options: argparse.Namespace) -> dict[str, Any] | None:
    """Start, check, warm up, measure, check again, stop. None when only the check was asked for."""
    starting, port = _server(made, peer, workload, options)
    extra: dict[str, Any] = {}
    with starting as server, contextlib.ExitStack() as stack:
        start = server.wait_until(lambda: check.ready(port, workload))
        rss_start, _ = server.memory()
        findings = check.check(port, peer, workload)
        notes = list(findings.notes)
        if options.check_only:
            segments = [f"in {findings.segments} segments"] if findings.segments else []
            print(f"{workload.key:6} {peer.name:20} right  {'; '.join(segments + notes)}", file=sys.stderr)
            return None

        def generate(seconds: float, **values: Any) -> load.LoadResult:
            if workload.kind == "echo":
                return load.echo(port, workload, seconds, options.client_core, made.scratch)
            return load.run(port, workload, seconds, options.client_core, made.scratch, **values)

        # Half of the peak can't be asked for before the peak is known.
        warm_up = options.warm_up or (1.0 if workload.kind == "half" else 0.0)
        warm = generate(warm_up) if warm_up else None
        rss_warm, _ = server.memory()
        idle: list[socket.socket] = []
        if workload.kind == "idle":
            idle = stack.enter_context(load.idle(port, workload, workloads.IDLE))
            extra["idle_kib"] = (server.memory()[0] - rss_warm) * 1024 / workloads.IDLE
            notes.append(f"{extra['idle_kib']:.1f} KiB per idle connection")
        accounts = Accounts(server, options)
        others: list[load.LoadResult] = []
        if workload.kind == "half" and warm:
            rate = extra["rate"] = warm.requests / warm.seconds / 2
            seen = load.pace(port, workload, rate, options.seconds, options.client_core, made.scratch)
            notes.append(f"asked for {rate:,.0f} a second")
        elif workload.kind == "beside":
            seen, slow = _together(
                generate, options.seconds, {"path": workloads.SLOW_PATH, "connections": workloads.SLOW_CONNECTIONS}
            )
            others.append(slow)
            notes.append(f"slow ones: {slow.requests / slow.seconds:,.0f} req/s, p99 {slow.p99_ms:.1f} ms")
        else:
            seen = generate(options.seconds)
        used = accounts.close(sum(one.client_cpu * one.seconds for one in (seen, *others)))
        rss, pss = server.memory()
        if not server.alive:
            raise check.CheckError(f"ended under load: {server.tail()}")
        if gone := load.closed(idle):
            notes.append(f"closed {gone} of the idle connections")
        check.answers(port, workload)
    if not seen.requests:
        raise load.LoadError(f"no request completed: {seen.errors}")
    if seen.errors.get("status"):
        raise check.CheckError(f"{seen.errors['status']} responses with an error status")
    if workload.deflate:
        notes.append(f"{seen.compressed:.0%} of the answers compressed")
    if seen.errors:
        notes.append("socket errors: " + ", ".join(f"{kind} {count}" for kind, count in seen.errors.items()))
    # Slow requests beside the fast ones are the server's work too.
    requests = seen.requests + sum(one.requests for one in others)
    return {
        "requests_per_second": seen.requests / seen.seconds,
        "requests": seen.requests,
        "seconds": seen.seconds,
        "bytes_per_second": seen.bytes / seen.seconds,
        "p50_ms": seen.p50_ms,
        "p99_ms": seen.p99_ms,
        "cpu_us": (used["user"] + used["system"]) / requests * 1e6,
        "cpu_user_us": used["user"] / requests * 1e6,
        "server_cpu": (used["user"] + used["system"]) / used["took"],
        "client_cpu": seen.client_busy,
        "foreign": used["foreign"],
        "rss_mib": rss,
        "rss_start_mib": rss_start,
        "rss_growth_mib": rss - rss_warm,
        "pss_mib": pss,
        "start_ms": start * 1000,
        "errors": seen.errors,
        "counts": findings.streamed is not False,
        "segments": findings.segments,
        "notes": notes,
        **extra,
    }


def _together(
    generate: Callable[..., load.LoadResult], seconds: float, slow: dict[str, Any]
) -> tuple[load.LoadResult, load.LoadResult]:
    """Fast requests, and slow ones that begin before them and end after them."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(generate, seconds + 1, **slow)
        time.sleep(0.5)
        return generate(seconds), waiting.result()


def _starts(made: Environment, peer: Peer, workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Several starts, one after the other: time from exec to the first answer, memory then; medians."""
    found: list[dict[str, float]] = []
    for _ in range(workloads.STARTS):
        starting, port = _server(made, peer, workload, options)
        with starting as server:
            accounts = Accounts(server, options)
            start = server.wait_until(lambda port=port: check.ready(port, workload))
            used = accounts.close(0.0)
            found.append(
                {
                    "start_ms": start * 1000,
                    "cpu_us": (used["user"] + used["system"]) * 1e6,
                    "cpu_user_us": used["user"] * 1e6,
                    "foreign": used["foreign"],
                    "rss_mib": server.largest(),
                }
            )
            check.answers(port, workload)
    middle = {name: median(one[name] for one in found) for name in found[0]}
    milliseconds = sorted(one["start_ms"] for one in found)
    return {
        **middle,
        "requests_per_second": 1000 / middle["start_ms"],
        "p50_ms": middle["start_ms"],
        "p99_ms": milliseconds[-1],
        "client_cpu": 0.0,
        "counts": True,
        "notes": [f"{len(found)} starts, {milliseconds[0]:.0f}-{milliseconds[-1]:.0f} ms"],
    }


def _sockets(made: Environment, peer: Peer, workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """WebSockets that say nothing: the server's memory for each, without the application's, and what opening costs."""
    starting, port = _server(made, peer, workload, options)
    with starting as server:
        start = server.wait_until(lambda: check.ready(port, workload))
        notes = check.check(port, peer, workload).notes
        with load.sockets(port, workload, workloads.SOCKETS_BEFORE):
            pass
        rss_before, pss_before = server.memory()
        accounts = Accounts(server, options)
        with load.sockets(port, workload, workload.connections) as (opened, times):
            used = accounts.close(0.0)
            rss, pss = server.memory()
            opened[-1].send(websocket.TEXT, b"weigh")
            own = int(opened[-1].message().payload)
            if gone := sum(not one.open() for one in opened):
                notes.append(f"closed {gone} of the idle WebSockets")
    gained = (rss - rss_before) * 1024 / len(opened)
    idle = gained - own / 1024
    notes.append(f"{idle:.1f} KiB per idle WebSocket ({gained:.1f} with its scope and coroutine)")
    times.sort()
    return {
        "requests_per_second": len(opened) / used["took"],
        "requests": len(opened),
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[-1 - len(times) // 100] * 1000,
        "cpu_us": (used["user"] + used["system"]) / len(opened) * 1e6,
        "cpu_user_us": used["user"] / len(opened) * 1e6,
        "client_cpu": 0.0,
        "foreign": used["foreign"],
        "rss_mib": rss,
        "rss_growth_mib": rss - rss_before,
        "pss_mib": pss,
        "pss_growth_mib": pss - pss_before,
        "idle_kib": idle,
        "start_ms": start * 1000,
        "counts": not gone,
        "notes": notes,
    }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return {"cpu": cpu, "cores": os.cpu_count(), "system": system}


def _make_file(path: Path) -> None:
    if not path.exists() or path.stat().st_size != workloads.FILE_SIZE:
        path.write_bytes(workloads.FILE_BYTE * workloads.FILE_SIZE)


if __name__ == "__main__":
    sys.exit(main())
