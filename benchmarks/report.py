"""From runs to tables: medians, spread and ratios. Knows nothing of how a run is made.

A result is what `python -m benchmarks` writes as JSON: {"machine": …, "options": …, "versions": …,
"commands": {server: line}, "workloads": {key: title}, "servers": {name: {"role": …, "note": …}},
"runs": [run, …], "failures": [failure, …]}.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

CLIENT_BOUND = 0.97
"""Share of its core above which the load generator, not the server, set the figure."""
DISTURBED = 0.10
"""Share of a core that others may use during a run."""
MEASURED = (
    "bjoern",
    "daphne",
    "fastpysgi",
    "granian",
    "gunicorn",
    "gunicorn_h1c",
    "httptools",
    "hypercorn",
    "socketify",
    "uvicorn",
    "uvloop",
    "websockets",
)
"""Distributions whose versions the report names."""
HEADINGS = (
    *("server", "req/s", "min-max", "x best peer", "CPU us per request (user + system)", "p50 ms", "p99 ms"),
    *("RSS MiB", "runs", "notes"),
)


@dataclass
class Row:
    """One server under one workload, over all rounds."""

    server: str
    role: str
    requests: float = 0.0
    """Requests per second: median of the rounds."""
    low: float = 0.0
    high: float = 0.0
    cpu: float = 0.0
    """Server CPU, user and system, microseconds per request: median."""
    cpu_user: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    """Milliseconds: medians of the rounds' percentiles."""
    rss: float = 0.0
    """MiB after the load, whole process tree: median. After a start: the biggest process."""
    growth: float = 0.0
    """MiB gained during the load: median."""
    idle: float = 0.0
    """KiB for each idle connection or WebSocket: median."""
    runs: int = 0
    counts: bool = True
    """False where the server does not do the work (a streamed body sent in one)."""
    client_bound: bool = False
    """The load generator set the figure."""
    disturbed: bool = False
    """Others used the cores in every run: only the CPU per request can be compared."""
    failure: str = ""
    notes: list[str] = field(default_factory=list)


def rows(result: dict[str, Any], workload: str) -> list[Row]:
    """The rows of one workload, fastest first, failures last."""
    found = []
    for name, server in result["servers"].items():
        runs = [run for run in result["runs"] if (run["workload"], run["server"]) == (workload, name)]
        failures = [f for f in result["failures"] if (f["workload"], f["server"]) == (workload, name)]
        if runs:
            found.append(summary(name, server["role"], runs, server.get("note", "")))
            found[-1].notes += sorted({"failed in a round: " + f["reason"] for f in failures})
        elif failures:
            found.append(Row(name, server["role"], counts=False, failure=failures[0]["reason"]))
    return sorted(found, key=lambda row: (bool(row.failure), -row.requests))


def summary(server: str, role: str, runs: list[dict[str, Any]], note: str = "") -> Row:
    """Medians and spread of `runs`; disturbed ones are left out while others are left."""
    calm = [run for run in runs if run["foreign"] <= DISTURBED]
    used = calm or runs
    rates = [run["requests_per_second"] for run in used]

    def middle(key: str) -> float:
        return float(median(run.get(key, 0.0) for run in used))

    notes = [note] if note else []
    notes += dict.fromkeys(text for run in used for text in run["notes"])
    if segments := [run["segments"] for run in used if run.get("segments")]:
        spread = f"{min(segments)}-{max(segments)}" if min(segments) < max(segments) else f"{segments[0]}"
        notes.append(f"content in {spread} segments")
    if not calm:
        notes.append("disturbed by other load")
    client_bound = any(run["client_cpu"] > CLIENT_BOUND for run in used)
    if client_bound:
        notes.append("client-bound")
    return Row(
        server=server,
        role=role,
        requests=median(rates),
        low=min(rates),
        high=max(rates),
        cpu=middle("cpu_us"),
        cpu_user=middle("cpu_user_us"),
        p50=middle("p50_ms"),
        p99=middle("p99_ms"),
        rss=middle("rss_mib"),
        growth=middle("rss_growth_mib"),
        idle=middle("idle_kib"),
        runs=len(used),
        counts=all(run["counts"] for run in used),
        client_bound=client_bound,
        disturbed=not calm,
        notes=notes,
    )


def best_peer(found: Iterable[Row]) -> Row | None:
    """The fastest row that is neither ours nor a limit and does the work."""
    peers = [row for row in found if row.role == "peer" and row.counts and not row.failure]
    return max(peers, key=lambda row: row.requests, default=None)


def ratio(value: float, reference: float) -> float | None:
    """value / reference, None without a reference."""
    return value / reference if reference else None


def speed_ratio(row: Row, reference: Row) -> float | None:
    """Requests per second of `row` as a multiple of those of `reference`; None where they can't be compared."""
    if row.disturbed or reference.disturbed:
        return None
    return ratio(row.requests, reference.requests)


def markdown(result: dict[str, Any]) -> str:
    """The whole report."""
    parts = [machine(result), _comparison(result)]
    for key, title in result["workloads"].items():
        found = rows(result, key)
        if found:
            parts.append(f"### {key}  {title}\n\n{_table(found)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def machine(result: dict[str, Any]) -> str:
    """What was measured, where and how, in a paragraph."""
    where = result["machine"]
    options = result["options"]
    versions = result["versions"]
    rounds = f"{options['rounds']} interleaved rounds" if options["rounds"] > 1 else "one round"
    measured = [f"{name} {versions[name]}" for name in MEASURED if name in versions]
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['system']}; CPython {versions['python']}; "
        f"one worker pinned to core {options['server_core']}, wrk -t1 to core {options['client_core']}; "
        f"{options['warm_up']:g} s warm-up, {options['seconds']:g} s measured, "
        f"{rounds}, medians. Versions: {', '.join(measured)}. Ours: {result['gateway']}."
    )


def _table(found: list[Row]) -> str:
    best = best_peer(found)
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        f"|---|{'---:|' * (len(HEADINGS) - 2)}---|",
    ]
    for row in found:
        if row.failure:
            lines.append(f"| {row.server} | FAIL | | | | | | | | {_cell(row.failure)} |")
            continue
        share = speed_ratio(row, best) if best else None
        name = f"**{row.server}**" if row.role == "ours" else row.server
        lines.append(
            f"| {name} | {row.requests:,.0f} | {row.low:,.0f}-{row.high:,.0f} | {_number(share)} "
            f"| {row.cpu:.2f} ({row.cpu_user:.2f} + {row.cpu - row.cpu_user:.2f}) | {row.p50:.2f} "
            f"| {row.p99:.2f} | {row.rss:.1f} | {row.runs} | {_cell('; '.join(row.notes))} |"
        )
    return "\n".join(lines)


def _comparison(result: dict[str, Any]) -> str:
    """Ours against each peer: requests per second, and in brackets how many times less CPU."""
    tables = {key: rows(result, key) for key in result["workloads"]}
    peers = [
        name
        for name, server in result["servers"].items()
        if server["role"] == "peer" and any(row.server == name for found in tables.values() for row in found)
    ]
    lines = []
    for key, found in tables.items():
        for row in found:
            if row.role != "ours" or row.failure:
                continue
            cells = []
            for name in peers:
                other = next((o for o in found if o.server == name), None)
                if other is None or other.failure or not other.counts:
                    cells.append("fails" if other and other.failure else "not the work" if other else "")
                else:
                    speed, cpu = speed_ratio(row, other), ratio(other.cpu, row.cpu)
                    cells.append(f"{_number(speed)} ({_number(cpu)})")
            lines.append(f"| {key} {result['workloads'][key]} | {row.server} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = [f"| workload | ours | {' | '.join(peers)} |", "|---|---|" + "---:|" * len(peers)]
    title = "Our requests per second as a multiple of a peer's; in brackets, its CPU per request as one of ours:"
    return "\n".join([title, "", *head, *lines])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
