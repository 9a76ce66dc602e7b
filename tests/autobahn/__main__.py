"""`python -m tests.autobahn`: the server, an echo application, and every case of Autobahn|Testsuite against them.

Exit code 0 when every case is OK or, where the suite doesn't judge, INFORMATIONAL; 1 when one is not; 2 when the
suite can't be run here. README.md beside this file says what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.autobahn import wstest
from tests.autobahn.wstest import INFORMATIONAL, NON_STRICT, OK, Case, Result, Unavailable
from tests.integration.harness import Server

BEGIN, END = "<!-- autobahn:begin -->\n", "<!-- autobahn:end -->"
"""What the result stands between in a document that has more than the result."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="numbers, or ranges as 1-7; all, when none is named")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the result there, as Markdown; into a document with "
                        "the marks for it, between them")  # fmt: skip
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="keep the suite's own reports, a page for each case, there"
    )
    parser.add_argument("--url", help="test the server that listens there, as ws://127.0.0.1:9001, in place of gateway")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="parts at once (default: a processor each)"
    )
    parser.add_argument("--python2", metavar="FILE", help="the Python 2.7 that runs the suite")
    options = parser.parse_args(arguments)
    try:
        groups = wstest.select(options.groups)
    except ValueError as error:
        parser.error(str(error))
    try:
        python = wstest.python2(options.python2)
        home = wstest.prepare(python)
        with server(options.url) as url, folder(options.out) as out:

            def one(part: str) -> tuple[Case, ...]:
                start = time.monotonic()
                cases = wstest.run(python, home, url, part, out / part)
                print(line(part, cases, time.monotonic() - start), flush=True)
                return cases

            # The longest first. Client and server take turns, so that one pair keeps one processor busy.
            with ThreadPoolExecutor(options.jobs) as pool:
                running = {
                    group: [pool.submit(one, part) for part in wstest.parts(group)] for group in reversed(groups)
                }
                results = [
                    Result(group, tuple(case for future in running[group] for case in future.result()))
                    for group in groups
                ]
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{table(results)}\n{details(results)}", end="")
    if options.report:
        write(options.report, table(results))
    return 0 if all(result.passed for result in results) else 1


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The URL of a server with the echo application; ours unless there is one already."""
    if url is not None:
        yield url
        return
    with Server("tests.autobahn.echo:app", app_dir=Path(__file__).parents[2]) as ours:
        yield ours.url.replace("http:", "ws:")
        assert ours.process is not None
        if ours.process.poll() is not None:
            raise Unavailable(f"the server ended by itself:\n{ours.log}")
        if "Traceback" in ours.log:
            print(ours.log, file=sys.stderr)


@contextlib.contextmanager
def folder(path: Path | None) -> Iterator[Path]:
    """Where the suite writes its reports: `path`, or a folder for the time being."""
    if path is not None:
        yield path.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="autobahn-") as name:
        yield Path(name)


def line(part: str, cases: Sequence[Case], seconds: float) -> str:
    """How one part went, in a line."""
    title = wstest.GROUPS[int(part.split(".")[0])][0]
    return f"{part} {title}: {sum(case.passed for case in cases)} of {len(cases)} passed ({seconds:.0f} s)"


def table(results: Sequence[Result]) -> str:
    """All groups, as Markdown."""
    lines = [
        "| Group | Cases | OK | NON-STRICT | INFORMATIONAL | Failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    total = [0] * 5
    for result in results:
        numbers = [
            wstest.GROUPS[result.group][1],
            result.count(OK),
            result.count(NON_STRICT),
            result.count(INFORMATIONAL),
            len(result.failed) + result.missing,
        ]
        total = [sum(pair) for pair in zip(total, numbers, strict=True)]
        lines.append(row(f"{result.group} {wstest.GROUPS[result.group][0]}", numbers))
    lines.append(row("all", total))
    return "\n".join(lines) + "\n"


def row(title: str, numbers: Sequence[int]) -> str:
    return f"| {title} | " + " | ".join(map(str, numbers)) + " |"


def details(results: Sequence[Result]) -> str:
    """The cases that did not pass, one a line."""
    lines = [
        f"{case.name}: {case.behavior}, close {case.close}"
        for result in results
        for case in result.cases
        if not case.passed
    ]
    lines += [f"group {result.group}: {result.missing} cases were not run" for result in results if result.missing]
    return "".join(f"{line}\n" for line in lines)


def write(path: Path, text: str) -> None:
    """Write `text` between the marks in that document, or as the whole of it when it has none."""
    old = path.read_text("utf-8") if path.exists() else ""
    if BEGIN in old and END in old:
        before, rest = old.split(BEGIN, 1)
        text = f"{before}{BEGIN}{text}{END}{rest.split(END, 1)[1]}"
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
