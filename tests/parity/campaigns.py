"""A campaign: one case after the other, each known by its seed, and what is found in them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from gateway.backend import CORE, SPEEDUPS, Backend


def search(
    look: Callable[[str], str | None], seed: int, count: int, seconds: float, findings: int = 10
) -> tuple[int, list[str]]:
    """Have `look` at `count` cases, or for `seconds`, up to so many `findings`. How many cases were tried, and those.

    `look` is given what the case is drawn with, and returns what it found, or None.
    """
    found: list[str] = []
    deadline = time.monotonic() + seconds
    tried = 0
    while tried < count and time.monotonic() < deadline and len(found) < findings:
        case = f"{seed}:{tried}"
        text = look(case)
        if text is not None:
            found.append(f"seed {case}\n  {text}")
        tried += 1
    return tried, found


def command(about: str | None, campaign: Callable[..., tuple[int, list[str]]], what: str) -> int:
    """A program that compares the two builds on cases called `what`. Returns the exit code."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0] if about else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    tried, found = campaign(Backend(CORE), Backend(SPEEDUPS), options.seed, sys.maxsize, options.seconds)
    for text in found:
        print(text)
    print(f"seed {options.seed}: {tried} {what} compared, {len(found)} with findings")
    return 1 if found else 0
