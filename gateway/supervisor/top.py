"""``gateway top``: a server that runs, watched in a terminal over its control socket."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from gateway.errors import EXIT_OK, ConfigError

from .client import ControlClient, ControlError
from .ctl import (
    COLUMNS,
    TEXTS,
    Parser,
    add_socket,
    counts,
    headline,
    printable,
    request_rows,
    socket_path,
    worker_row,
)

ANSWER_TIME = 5.0
"""Seconds the server has for an answer."""

RETURN_TIME = 5.0
"""Seconds for another program to take the socket over, when one has closed it."""

OLD = 5.0
"""Seconds after which a request in flight stands out."""

STATES = {"ready": "green", "booting": "yellow", "leaving": "yellow"}


def parser() -> Parser:
    """The arguments of ``gateway top``."""
    result = Parser(prog="gateway top", description="Watch a server that runs with --control-socket.")
    add_socket(result)
    result.add_argument("--once", action="store_true", help="print what there is now, and end")
    result.add_argument(
        "--interval", metavar="SECONDS", type=float, default=1.0, help="from one look to the next; default: 1"
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand, until Ctrl-C. Returns the exit code. Raises ConfigError and ControlError."""
    options = parser().parse_args(arguments)
    if not 0.1 <= options.interval <= 3600:
        raise ConfigError("top: --interval takes 0.1 to 3600 seconds")
    path = socket_path(options)
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise ConfigError("top: rich is not installed; pip install 'gateway[top]'") from None
    console = Console()
    source = Source(path)
    view = View()
    try:
        first = source.status()
        if options.once:
            console.print(view.frame(first, None))
            return EXIT_OK
        with Live(view.frame(first, console.height), console=console, screen=console.is_terminal) as live:
            while True:
                time.sleep(options.interval)
                live.update(view.frame(source.status(), console.height), refresh=True)
    except KeyboardInterrupt:
        return EXIT_OK
    finally:
        source.close()


class Source:
    """Asks the server at `path`, and whoever takes its place. Raises ControlError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._client = ControlClient(path, ANSWER_TIME)

    def status(self) -> dict[str, Any]:
        """How the server is now. Raises ControlError."""
        end = time.monotonic() + RETURN_TIME
        while True:
            try:
                answer = self._client.ask("status")
                break
            except ControlError:
                self._client.close()
                if time.monotonic() >= end:
                    raise
                self._connect(end)
        if not answer["ok"]:
            raise ControlError(printable(str(answer.get("error"))))
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _connect(self, end: float) -> None:
        while True:
            try:
                self._client = ControlClient(self.path, ANSWER_TIME)
                return
            except ControlError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.1)


class View:
    """Makes frames, and knows from the one before how many requests there were since."""

    def __init__(self) -> None:
        self._totals: dict[int, int] = {}
        self._moment = 0.0

    def frame(self, status: dict[str, Any], height: int | None) -> Any:
        """What to show of `status`, in `height` lines, or as many as it takes."""
        from rich.console import Group
        from rich.text import Text

        head = Text(headline(status), style="bold" if status["ready"] else "bold red")
        line = counts(status)
        rate = self.rate(status, time.monotonic())
        if rate is not None:
            line = f"{rate:.0f} requests/s, {line}"
        parts: list[Any] = [head, Text("  ".join(map(printable, status["listeners"]))), Text(line)]
        if status["reload_error"]:
            parts.append(Text(f"The last reload failed: {printable(status['reload_error']['error'])}", style="red"))
        rows = [worker_row(worker) for worker in status["workers"]]
        states = [STATES.get(worker["state"], "bold red") for worker in status["workers"]]
        parts += [Text(""), columns(COLUMNS, rows, states)]
        requests = request_rows(status)
        ages = [request["age"] or 0.0 for worker in status["workers"] for request in worker["requests"] or ()]
        styles = ["red" if age >= OLD else "" for age in sorted(ages, reverse=True)]
        shown = len(requests)
        if height is not None:
            # Two heads of tables with a blank line each, and a line for those that are left out.
            shown = max(0, min(shown, height - len(parts) - len(rows) - 4))
        if requests:
            names = ("PID", "AGE", "METHOD", "PATH", "CLIENT")
            parts += [Text(""), columns(names, requests[:shown], styles)]
            if shown < len(requests):
                parts.append(Text(f"... and {len(requests) - shown} more", style="dim"))
        return Group(*parts)

    def rate(self, status: dict[str, Any], now: float) -> float | None:
        """Requests per second since the last call; None the first time. `now` is of `time.monotonic`."""
        totals: dict[int, int] = {worker["pid"]: worker["total"] for worker in status["workers"]}
        before, self._totals = self._totals, totals
        elapsed, self._moment = now - self._moment, now
        if not before or elapsed <= 0:
            return None
        # What a worker that is gone had at the end is not known; one that is new began at 0.
        return sum(max(0, total - before.get(pid, 0)) for pid, total in totals.items()) / elapsed


def columns(names: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Any:
    """A table without lines, cut at the terminal's edge; the styles are those of the rows."""
    from rich.table import Table
    from rich.text import Text

    result = Table(box=None, pad_edge=False, header_style="reverse", padding=(0, 2, 0, 0))
    for name in names:
        # Where there is no room, paths give way.
        width = None if name == "PATH" else max(len(name), *(len(row[names.index(name)]) for row in rows), 0)
        result.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=True, min_width=width)
    for row, style in zip(rows, styles, strict=False):
        result.add_row(*(Text(cell) for cell in row), style=style)
    return result
