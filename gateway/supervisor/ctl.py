"""``gateway ctl``: commands for a server that runs, over its control socket."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from gateway.errors import EXIT_ERROR, EXIT_OK, ConfigError

from .client import ControlClient

VARIABLE = "GATEWAY_CONTROL_SOCKET"

COLUMNS = ("PID", "GEN", "STATE", "AGE", "CONNS", "REQUESTS", "IN FLIGHT", "THREADS", "QUEUE", "MEMORY")
"""Of the table of workers."""

SHOWN = 50
"""Requests in flight that are shown."""


class Parser(argparse.ArgumentParser):
    """One that raises ConfigError."""

    def error(self, message: str) -> NoReturn:
        """What is wrong with the arguments."""
        raise ConfigError(f"{self.prog.removeprefix('gateway ')}: {message}")


def add_socket(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """The option that says where the server is; `defaults` go before its own."""
    parser.add_argument(
        "--socket",
        metavar="PATH",
        **{"default": os.environ.get(VARIABLE), **defaults},
        help=f"the server's --control-socket; default: {VARIABLE} of the environment",
    )


def socket_path(options: argparse.Namespace) -> str:
    """Where the server is. Raises ConfigError: nothing says it."""
    if not options.socket:
        raise ConfigError(f"say where the server is: --socket PATH, or {VARIABLE} in the environment")
    return str(options.socket)


def parser() -> Parser:
    """The arguments of ``gateway ctl``."""
    result = Parser(prog="gateway ctl", description="Commands for a server that runs with --control-socket.")
    add_options(result)
    # After the command they mean the same; there they must not undo what was said before it.
    after = Parser(add_help=False)
    add_options(after, default=argparse.SUPPRESS)
    commands = result.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, parents=[after])

    add("status", "the master, its workers, and the requests in flight")
    add("reload", "read configuration and application anew; waits until they serve, or fail to")
    scale = add("scale", "have so many workers")
    scale.add_argument("workers", metavar="N", type=int)
    add("reopen", "open log files anew")
    stop = add("stop", "stop the server; waits for its end")
    stop.add_argument("--now", action="store_true", help="do not let requests finish")
    add("dump", "what each thread and task of each worker does, here and in the log")
    return result


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """The options of all commands; `defaults` go before their own."""
    add_socket(parser, **defaults)
    parser.add_argument("--json", action="store_true", help="print the server's answer as it is", **defaults)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="how long to wait for the end of what is asked; default: for ever",
        **defaults,
    )


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand. Returns the exit code: 1 where the server could not do it.

    Raises ConfigError and ControlError.
    """
    options = parser().parse_args(arguments)
    parameters = {name: getattr(options, name) for name in ("workers", "now") if hasattr(options, name)}
    with ControlClient(socket_path(options), options.timeout) as client:
        answer = client.ask(options.command, **parameters)
        if options.json:
            print(json.dumps(answer, indent=2))
        elif answer["ok"]:
            print("\n".join(show(options.command, answer)))
        if answer["ok"] and options.command == "stop":
            sys.stdout.flush()
            client.wait_closed()
    if not answer["ok"] and not options.json:
        print(answer.get("traceback", ""), end="", file=sys.stderr)
        print(f"gateway: error: {options.command} failed: {answer.get('error')}", file=sys.stderr)
    return EXIT_OK if answer["ok"] else EXIT_ERROR


def show(command: str, answer: dict[str, Any]) -> Iterable[str]:
    """An answer for people, in lines."""
    match command:
        case "status":
            yield from show_status(answer)
        case "reload":
            yield "Reload complete" if "generation" in answer else f"Upgrade complete: process {answer['pid']} serves"
        case "scale":
            yield f"Workers wanted: {answer['workers']} (there were {answer['before']})"
        case "reopen":
            yield "Log files opened anew"
        case "stop":
            yield "Stopping"
        case "dump":
            for worker in answer["workers"]:
                yield f"--- worker {worker['pid']}{' (its event loop is blocked)' if worker['blocked'] else ''}"
                yield printable(worker["stacks"].rstrip())


def show_status(status: dict[str, Any]) -> Iterable[str]:
    """The lines of `gateway ctl status`."""
    yield headline(status)
    yield from map(printable, status["listeners"])
    yield counts(status)
    if status["reload_error"]:
        yield f"The last reload failed: {printable(status['reload_error']['error'])}"
        yield printable(status["reload_error"]["traceback"].rstrip())
    yield ""
    yield from table(COLUMNS, map(worker_row, status["workers"]))
    requests = request_rows(status)
    if requests:
        yield ""
        yield from table(("PID", "AGE", "METHOD", "PATH", "CLIENT"), requests[:SHOWN])
        if len(requests) > SHOWN:
            yield f"... and {len(requests) - SHOWN} more"


def headline(status: dict[str, Any]) -> str:
    """Who it is, and how."""
    who = f"gateway {status['version']} (pid {status['pid']}) {printable(status['application'])}"
    return f"{who}, up {duration(status['uptime'])}: {printable(status['state'])}"


def counts(status: dict[str, Any]) -> str:
    """What has happened to the workers."""
    text = (
        f"{status['wanted']} workers wanted, {status['restarts']} replaced after they died, {status['reloads']} reloads"
    )
    if status["upgrade"]:
        text += f", an upgrade in progress (pid {status['upgrade']})"
    return text


def worker_row(worker: dict[str, Any]) -> list[str]:
    """A worker's line of the table."""
    state = worker["state"]
    if worker["silence"]:
        state = f"{state} {duration(worker['silence'])}"
    threads = "" if not worker["threads"] else f"{worker['busy']}/{worker['threads']}"
    cells = (worker["queued"] if worker["threads"] else "", size(worker["memory"]))
    flight = worker["in_flight"]
    return [
        *map(str, (worker["pid"], worker["generation"], state, duration(worker["age"]), worker["connections"])),
        *map(str, (worker["total"], "?" if flight is None else flight, threads, *cells)),
    ]


def request_rows(status: dict[str, Any]) -> list[list[str]]:
    """The lines of the table of requests in flight, the oldest first."""
    requests = [(worker["pid"], request) for worker in status["workers"] for request in worker["requests"] or ()]
    requests.sort(key=lambda entry: -(entry[1]["age"] or 0.0))
    return [
        [
            str(pid),
            "" if request["age"] is None else duration(request["age"]),
            *(printable(request[name]) for name in ("method", "path", "client")),
        ]
        for pid, request in requests
    ]


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Columns as wide as they need to be; numbers to the right."""
    lines = [list(names), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        cells = zip(line, widths, names, strict=True)
        yield "  ".join(
            cell.ljust(width) if name in TEXTS else cell.rjust(width) for cell, width, name in cells
        ).rstrip()


TEXTS = frozenset(("STATE", "METHOD", "PATH", "CLIENT"))
"""Columns that are no numbers."""


def duration(seconds: float) -> str:
    """As in 0.2s, 35s, 3m12s, 5h02m, 3d04h."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(number: int | None) -> str:
    """Bytes, as in 35M."""
    return "" if number is None else f"{number / 1048576:.0f}M"


def printable(text: str) -> str:
    """`text`, which a client may have made up, without what a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
