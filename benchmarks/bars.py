"""What gateway has to reach: each bar compares one of our servers with peers, or with a figure, in one run.

A run without --servers and --workloads measures exactly what the bars need. Where requests per second can't be trusted
(others used the machine, rounds disagree by over 10 %, the load generator was the limit), CPU per request decides.
A peer counts only for work it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import peers, report, workloads
from .report import Row

Pairs = set[tuple[str, str]]
"""(workload, server)."""
Rows = Mapping[tuple[str, str], Row]

NOISY = 0.10
"""Spread of the rounds, as a part of their median, from which requests per second are not compared."""


@dataclass(frozen=True)
class Verdict:
    """One line of the table, in words; `met` is None where something was not measured."""

    title: str
    server: str
    bar: str
    ours: str = ""
    peer: str = ""
    speed: float | None = None
    """Our requests per second as a multiple of the peer's."""
    cpu: float | None = None
    """The peer's CPU per request as a multiple of ours."""
    met: bool | None = None
    remark: str = ""


@dataclass(frozen=True)
class Faster:
    """At least `bar` times what the best of `against` does, in requests per second."""

    workload: str
    ours: str
    against: tuple[str, ...]
    """Servers, or the beginnings of their names."""
    bar: float
    cpu_alone: bool = False
    """Only CPU per request is compared: theirs must be `bar` times ours."""

    def pairs(self) -> Pairs:
        """What must be measured."""
        return {(self.workload, name) for name in (self.ours, *_names(self.against))}

    def judge(self, rows: Rows) -> Verdict:
        """Compare with each peer; the one that comes off best is named."""
        verdict = Verdict(_title(self.workload), self.ours, f"{'CPU ' * self.cpu_alone}>= {self.bar:g}x")
        ours = rows.get((self.workload, self.ours))
        if ours is None or ours.failure:
            return replace(verdict, remark=_absence(self.ours, ours))
        found: list[tuple[float, bool, Row]] = []
        absent = []
        for name in _names(self.against):
            row = rows.get((self.workload, name))
            if row is None or row.failure or not row.counts:
                absent.append(_absence(name, row))
                continue
            found.append((*compare(ours, row, cpu_alone=self.cpu_alone), row))
        if not found:
            return replace(verdict, ours=_figures(ours), remark="; ".join(absent))
        decisive, _, row = min(found, key=lambda one: one[0])
        return replace(
            verdict,
            ours=_figures(ours),
            peer=f"{row.server} {_figures(row)}",
            speed=ours.requests / row.requests,
            cpu=row.cpu / ours.cpu,
            met=decisive >= self.bar,
            remark="; ".join([*([] if self.cpu_alone else _reasons(ours, row)), *_segments(row), *absent]),
        )


@dataclass(frozen=True)
class Alike:
    """Two of our own measurements are equal: the first is at least `bar` times the second."""

    title: str
    first: tuple[str, str]
    """(workload, server)."""
    second: tuple[str, str]
    bar: float

    def pairs(self) -> Pairs:
        """What must be measured."""
        return {self.first, self.second}

    def judge(self, rows: Rows) -> Verdict:
        """Compare the two."""
        verdict = Verdict(self.title, self.first[1], f">= {self.bar:g}x")
        one, other = rows.get(self.first), rows.get(self.second)
        if one is None or one.failure or other is None or other.failure:
            return replace(verdict, remark=_absence(self.first[1], one))
        decisive, _ = compare(one, other)
        return replace(
            verdict,
            ours=_figures(one),
            peer=f"{self.second[1]} {_figures(other)}" if self.first[1] != self.second[1] else _figures(other),
            speed=one.requests / other.requests,
            cpu=other.cpu / one.cpu,
            met=decisive >= self.bar,
            remark="; ".join(_reasons(one, other)),
        )


@dataclass(frozen=True)
class AtMost:
    """A figure of one server, made from its rows and those of `others`, in `unit`, is at most `bar`."""

    title: str
    ours: tuple[str, str]
    figure: Callable[[Row, list[Row]], float]
    bar: float
    unit: str = ""
    others: tuple[tuple[str, str], ...] = ()
    at_least: bool = False
    """The bar is a floor instead."""

    def pairs(self) -> Pairs:
        """What must be measured."""
        return {self.ours, *self.others}

    def judge(self, rows: Rows) -> Verdict:
        """Work the figure out."""
        verdict = Verdict(
            self.title, self.ours[1], f"{'>=' if self.at_least else '<='} {self.bar:g} {self.unit}".strip()
        )
        ours = rows.get(self.ours)
        others = [rows.get(pair) for pair in self.others]
        if ours is None or ours.failure:
            return replace(verdict, remark=_absence(self.ours[1], ours))
        there = [row for row in others if row is not None and not row.failure]
        if len(there) < len(others):
            return replace(verdict, remark="not all of what it is compared with was measured")
        value = self.figure(ours, there)
        met = value >= self.bar if self.at_least else value <= self.bar
        return replace(verdict, ours=f"{value:.4g} {self.unit}".strip(), met=met)


@dataclass(frozen=True)
class Below:
    """A figure of ours is at most `bar` times the least of the same figure of `against`."""

    title: str
    workload: str
    ours: str
    against: tuple[str, ...]
    figure: Callable[[Row], float]
    unit: str
    bar: float = 1.0
    disturbed: Callable[[Row], float] | None = None
    """What is compared instead, in the same unit, where others used the machine."""

    def pairs(self) -> Pairs:
        """What must be measured."""
        return {(self.workload, name) for name in (self.ours, *_names(self.against))}

    def judge(self, rows: Rows) -> Verdict:
        """Compare with the best."""
        verdict = Verdict(self.title, self.ours, f"<= {self.bar:g}x")
        ours = rows.get((self.workload, self.ours))
        if ours is None or ours.failure:
            return replace(verdict, remark=_absence(self.ours, ours))
        found, absent = [], []
        for name in _names(self.against):
            row = rows.get((self.workload, name))
            if row is None or row.failure or not row.counts:
                absent.append(_absence(name, row))
            else:
                found.append(row)
        disturbed = any(row.disturbed for row in (ours, *found))
        figure = self.disturbed if disturbed and self.disturbed else self.figure
        value = figure(ours)
        shown = f"{value:.3g} {self.unit}"
        if not found:
            return replace(verdict, ours=shown, remark="; ".join(absent))
        row = min(found, key=figure)
        least = figure(row)
        reason = ["disturbed, so its CPU time" if self.disturbed else "disturbed"] * disturbed
        remarks = [f"{value / least:.2f}x", *absent, *reason]
        return replace(
            verdict,
            ours=shown,
            peer=f"{row.server} {least:.3g} {self.unit}",
            met=value <= self.bar * least,
            remark="; ".join(remarks),
        )


Bar = Faster | Alike | AtMost | Below


def compare(ours: Row, other: Row, *, cpu_alone: bool = False) -> tuple[float, bool]:
    """How many times better ours is, and whether that is by CPU per request, not by requests per second."""
    if cpu_alone or _reasons(ours, other):
        return other.cpu / ours.cpu, True
    return ours.requests / other.requests, False


def noisy(row: Row) -> str:
    """Why requests per second of `row` are not to be compared with those of others; empty where they are."""
    if row.disturbed:
        return "disturbed"
    if row.client_bound:
        return "client-bound"
    return "rounds differ" if row.high - row.low > NOISY * row.requests else ""


def _reasons(ours: Row, other: Row) -> list[str]:
    """What makes CPU per request decide, if it does."""
    return [f"by CPU: {reason}"] if (reason := noisy(ours) or noisy(other)) else []


def _segments(row: Row) -> list[str]:
    """How a streamed body arrived."""
    return [f"its {note}" for note in row.notes if note.startswith("content in ")]


def _names(against: Iterable[str]) -> list[str]:
    return [peer.name for word in against for peer in peers.matching(word)]


def _title(key: str) -> str:
    (workload,) = workloads.select([key])
    return f"{key} {workload.title}"


def _figures(row: Row) -> str:
    return f"{row.requests:,.0f}/s {row.cpu:.1f} us"


def _absence(name: str, row: Row | None) -> str:
    if row is None:
        return f"{name} not measured"
    return f"{name} fails: {row.failure[:60]}" if row.failure else f"{name} does not do the work"


C_WSGI = ("fastpysgi-wsgi", "bjoern")
THREADED = ("granian-wsgi", "gunicorn-gthread")
WEBSOCKET = ("socketify-asgi", "uvicorn", "gunicorn-asgi", "granian-asgi")
DEFLATE = ("socketify-asgi", "uvicorn", "hypercorn")


def _hello(key: str, browser: bool) -> list[Bar]:
    """The bars of one hello workload."""
    if key.endswith("a") or key == "W2":
        found: list[Bar] = [
            Faster(key, "gateway-asgi", (peer,), bar)
            for peer, bar in (("fastpysgi-asgi", 1.8), ("granian-asgi", 2.4), ("uvicorn", 3.0))
        ]
        return found
    return [
        Faster(key, "gateway-wsgi", C_WSGI, 1.0),
        Faster(key, "gateway-wsgi", ("granian-wsgi",), 1.6),
        Faster(key, "gateway-wsgi", ("gunicorn-gthread",), 15.0),
        Faster(key, "gateway-wsgi-inline", C_WSGI, 1.4 if browser else 1.15),
    ]


def _above(key: str, ours: str, bar: float) -> Bar:
    return AtMost(
        f"{key} CPU above a C epoll server",
        (key, ours),
        lambda row, others: row.cpu - others[0].cpu,
        bar,
        "us",
        ((key, "limit-c"),),
    )


def _latency(key: str, ours: str, against: tuple[str, ...]) -> list[Bar]:
    return [
        Below(f"{_title(key)}, {name}", key, ours, against, figure, "ms")
        for name, figure in (("p50", lambda row: row.p50), ("p99", lambda row: row.p99))
    ]


def _frameworks() -> list[Bar]:
    found: list[Bar] = []
    for key, ours, hello, against in (
        ("W10dw", "gateway-wsgi", "W1", ("fastpysgi-wsgi", "granian-wsgi")),
        ("W10fl", "gateway-wsgi", "W1", ("fastpysgi-wsgi", "granian-wsgi", "bjoern")),
        ("W10da", "gateway-asgi", "W2", ("fastpysgi-asgi", "granian-asgi")),
        ("W10fa", "gateway-asgi", "W2", ("fastpysgi-asgi", "granian-asgi")),
    ):
        found.append(Faster(key, ours, against, 1.0))
        found.append(
            # The plain hello's application costs next to nothing: what it takes is the server's, the kernel's included.
            AtMost(
                f"{key} server's share of the CPU",
                (key, ours),
                lambda row, others: 100 * others[0].cpu / row.cpu,
                15.0,
                "%",
                ((hello, ours),),
            )
        )
    return found


BARS: tuple[Bar, ...] = (
    *_hello("W1", browser=False),
    *_hello("W3w", browser=True),
    *_hello("W2", browser=False),
    *_hello("W3a", browser=True),
    Alike("W2 asyncio's loop beside uvloop", ("W2", "gateway-asgi-stock"), ("W2", "gateway-asgi"), 0.95),
    Faster("W4w", "gateway-wsgi", ("fastpysgi-wsgi",), 1.0),
    Faster("W4a", "gateway-asgi", ("fastpysgi-asgi",), 1.8),
    *(Faster("W5w", "gateway-wsgi", (peer,), 1.5) for peer in ("socketify-wsgi", "granian-wsgi")),
    *(Faster("W5a", "gateway-asgi", (peer,), 1.5) for peer in ("socketify-asgi", "granian-asgi", "uvicorn")),
    Faster("W6w", "gateway-wsgi", ("fastpysgi-wsgi",), 1.0),
    Faster("W6a", "gateway-asgi", ("fastpysgi-asgi",), 1.0),
    Faster("W6fw", "gateway-wsgi", ("granian-wsgi",), 1.2),
    Faster("W6fw", "gateway-wsgi", ("granian-wsgi",), 2.0, cpu_alone=True),
    Faster("W6fa", "gateway-asgi", ("granian-asgi",), 1.2),
    Faster("W6fa", "gateway-asgi", ("granian-asgi",), 2.0, cpu_alone=True),
    Faster("W8w", "gateway-wsgi", ("granian-wsgi",), 1.0),
    Faster("W8a", "gateway-asgi", ("gunicorn-asgi",), 1.3),
    # Half of one body, while four at a time arrive.
    AtMost("W8w memory gained", ("W8w", "gateway-wsgi"), lambda row, others: row.growth, 5.0, "MiB"),
    AtMost("W8a memory gained", ("W8a", "gateway-asgi"), lambda row, others: row.growth, 5.0, "MiB"),
    Faster("W7w", "gateway-wsgi", ("fastpysgi-wsgi",), 1.0),
    Faster("W7a", "gateway-asgi", ("granian-asgi",), 1.2),
    *_frameworks(),
    AtMost(
        "W11w of 1,600 a second", ("W11w", "gateway-wsgi"), lambda row, others: row.requests, 1520, "/s", at_least=True
    ),
    Faster("W11a", "gateway-asgi", ("uvicorn",), 1.05),
    AtMost("W16w fast requests, p99", ("W16w", "gateway-wsgi"), lambda row, others: row.p99, 1.0, "ms"),
    _above("W2", "gateway-asgi", 2.6),
    _above("W3a", "gateway-asgi", 3.8),
    _above("W1", "gateway-wsgi", 2.4),
    AtMost("W12w per idle connection", ("W12w", "gateway-wsgi"), lambda row, others: row.idle, 1.5, "KiB"),
    AtMost("W12a per idle connection", ("W12a", "gateway-asgi"), lambda row, others: row.idle, 1.5, "KiB"),
    Alike("W12w beside none", ("W12w", "gateway-wsgi"), ("W1", "gateway-wsgi"), 0.95),
    Alike("W12a beside none", ("W12a", "gateway-asgi"), ("W2", "gateway-asgi"), 0.95),
    Below(
        "W13a exec to first response",
        "W13a",
        "gateway-asgi",
        ("uvicorn",),
        lambda row: row.p50,
        "ms",
        0.7,
        disturbed=lambda row: row.cpu / 1000,
    ),
    Below("W13a memory then", "W13a", "gateway-asgi", ("uvicorn", "granian-asgi"), lambda row: row.rss, "MiB"),
    *_latency("W14w", "gateway-wsgi", THREADED),
    *_latency("W14w", "gateway-wsgi-inline", (*C_WSGI, *THREADED)),
    *_latency("W14a", "gateway-asgi", ("fastpysgi-asgi", "granian-asgi", "gunicorn-asgi", "uvicorn")),
    *_latency("W15w", "gateway-wsgi", THREADED),
    *_latency("W15w", "gateway-wsgi-inline", (*C_WSGI, *THREADED)),
    *_latency("W15a", "gateway-asgi", ("fastpysgi-asgi", "granian-asgi", "gunicorn-asgi", "uvicorn")),
    Faster("W9t", "gateway-asgi", WEBSOCKET, 1.5),
    Faster("W9b", "gateway-asgi", WEBSOCKET, 1.2),
    Faster("W9zt", "gateway-asgi", DEFLATE, 1.5),
    Faster("W9zb", "gateway-asgi", DEFLATE, 1.2),
    AtMost("W9i per idle WebSocket", ("W9i", "gateway-asgi"), lambda row, others: row.idle, 6.0, "KiB"),
    Alike("W1 access log to a file", ("W1", "gateway-wsgi-log"), ("W1", "gateway-wsgi"), 0.9),
    Alike("W2 access log to a file", ("W2", "gateway-asgi-log"), ("W2", "gateway-asgi"), 0.9),
)


def pairs() -> Pairs:
    """All that the bars need."""
    return set().union(*(bar.pairs() for bar in BARS))


def verdicts(result: dict[str, Any]) -> list[Verdict]:
    """The bars that the run has something to say about."""
    rows = {(key, row.server): row for key in result["workloads"] for row in report.rows(result, key)}
    return [bar.judge(rows) for bar in BARS if any(pair in rows for pair in bar.pairs())]


def markdown(result: dict[str, Any]) -> str:
    """The table of verdicts, or nothing."""
    found = verdicts(result)
    lines = [
        "| row | ours | | best peer | req/s | CPU | bar | met? | |",
        "|---|---|---|---|---:|---:|---|---|---|",
    ]
    for one in found:
        met = "-" if one.met is None else "yes" if one.met else "**no**"
        cells = (
            one.title,
            one.server,
            one.ours,
            one.peer,
            _ratio(one.speed),
            _ratio(one.cpu),
            one.bar,
            met,
            one.remark,
        )
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    if not found:
        return ""
    met = sum(one.met is True for one in found)
    title = (
        f"Bars: {met} of {len(found)} met. req/s: ours as a multiple of the peer's. "
        "CPU: its CPU per request as a multiple of ours."
    )
    return "\n".join([title, "", *lines, ""])


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
