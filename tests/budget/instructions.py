"""Instructions per request on the hot paths, and the figures they are held to.

`python -m tests.budget.instructions` counts them and shows what is committed; with `--update` it writes what it counted
into instructions.json, for the interpreter and compiler at hand, and leaves the figures of others as they are.

A request goes through the compiled connection, an application and a transport that does nothing, under callgrind
(benchmarks/core.py). The count does not depend on the clock or on other load, but on what the code was compiled with and on
the interpreter, which spends most of it: so there is one set of figures for each minor version and compiler.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import core
from gateway import backend

FIGURES = Path(__file__).with_name("instructions.json")
COMMAND = "python -m tests.budget.instructions --update"

CASES = (
    "asgi hello small",
    "asgi hello browser",
    "asgi echo",
    "asgi 20 parts",
    "wsgi hello small",
    "wsgi hello browser",
    "wsgi echo",
    "wsgi 20 parts",
)
"""Names in benchmarks.core.CASES."""

ALLOWED = 0.05
"""How far above the committed figure a count may be, as a part of it."""


def obstacle() -> str | None:
    """Why nothing can be counted here, or None."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if missing := set(backend.module_names()) - backend.compiled_names():
        return f"the request path is not compiled: {len(missing)} modules are missing"
    return None


def key() -> str:
    """The interpreter and the compiler of the extensions, as the figures are filed: "cpython-3.13 gcc-12 x86_64"."""
    major, minor = sys.version_info[:2]
    words = [f"{sys.implementation.name}-{major}.{minor}", compiler(_extension()), platform.machine()]
    # What profile-guided optimisation saves is more than any change of ours.
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        words.append("optimised")
    return " ".join(words)


def compiler(extension: Path | None) -> str:
    """Name and major version of what compiled `extension`, as the compiler left it there; "unknown" without one."""
    content = extension.read_bytes() if extension else b""
    if found := re.search(rb"clang version (\d+)", content):
        return f"clang-{found[1].decode()}"
    if found := re.search(rb"GCC: \([^)]*\) (\d+)", content):
        return f"gcc-{found[1].decode()}"
    return "unknown"


def committed() -> dict[str, dict[str, int]]:
    """Key -> case -> instructions per request."""
    figures: dict[str, dict[str, int]] = json.loads(FIGURES.read_text())
    return figures


def counted(cases: Sequence[str] = CASES) -> dict[str, int]:
    """Case -> instructions per request, in two processes at a time. Raises RuntimeError when valgrind fails."""
    halves = [part for part in (cases[::2], cases[1::2]) if part]
    with ThreadPoolExecutor(2) as pool:
        found: dict[str, float] = {}
        for figures in pool.map(lambda part: core.instructions("_speedups", part, "asyncio"), halves):
            found.update(figures)
    return {case: round(found[case]) for case in cases}


def _extension() -> Path | None:
    spec = importlib.util.find_spec("gateway._speedups.kernels.head")
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.suffix in (".so", ".pyd") else None


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.budget.instructions", description=__doc__)
    parser.add_argument("--update", action="store_true", help=f"write {FIGURES.name}")
    options = parser.parse_args()
    if reason := obstacle():
        print(reason, file=sys.stderr)
        return 1
    figures = committed()
    before = figures.get(key(), {})
    now = counted()
    print(f"{key():36}{'counted':>10}{'committed':>12}")
    for case, figure in now.items():
        old = f"{before[case]:12,} {figure / before[case] - 1:+7.1%}" if case in before else ""
        print(f"{case:36}{figure:10,}{old}")
    if options.update:
        figures[key()] = now
        FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
