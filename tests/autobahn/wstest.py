"""Autobahn|Testsuite's program `wstest`, in its own Python 2.7, and what it found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"

GROUPS = {
    1: ("framing", 16),
    2: ("pings and pongs", 11),
    3: ("reserved bits", 7),
    4: ("opcodes", 10),
    5: ("fragmentation", 20),
    6: ("UTF-8", 145),
    7: ("closing", 37),
    9: ("sizes and rates", 54),
    10: ("automatic fragmentation", 1),
    12: ("permessage-deflate", 90),
    13: ("permessage-deflate, parameters", 126),
}
"""Group -> what it is about, and how many cases it has. The suite has no 8 and no 11."""

PARTS = {12: 5, 13: 7}
"""Groups that are run in so many parts, since each of these takes as long as another group."""

PATIENCE = 1800.0
"""Seconds that one part may take; the longest take a minute or two."""

OK = "OK"
NON_STRICT = "NON-STRICT"
INFORMATIONAL = "INFORMATIONAL"


class Unavailable(Exception):
    """The suite can't be run here; the message says what is missing."""


@dataclass(frozen=True)
class Case:
    """What the suite says of one case: how the server behaved, and how it closed."""

    name: str
    behavior: str
    close: str

    @property
    def passed(self) -> bool:
        """NON-STRICT isn't enough: it is for servers that answer what the RFC lets pass, but later than they could."""
        return {self.behavior, self.close} <= {OK, INFORMATIONAL}

    @property
    def verdict(self) -> str:
        """OK, INFORMATIONAL, NON-STRICT, or the worse of both words of the suite, such as FAILED or UNCLEAN."""
        known = (OK, INFORMATIONAL, NON_STRICT)
        words = [word for word in (self.behavior, self.close) if word not in known]
        return words[0] if words else max(self.behavior, self.close, key=known.index)


@dataclass(frozen=True)
class Result:
    """One group, run."""

    group: int
    cases: tuple[Case, ...]

    @property
    def missing(self) -> int:
        """Cases that the suite has and did not get to."""
        return max(GROUPS[self.group][1] - len(self.cases), 0)

    @property
    def failed(self) -> list[Case]:
        return [case for case in self.cases if case.verdict not in (OK, INFORMATIONAL, NON_STRICT)]

    @property
    def passed(self) -> bool:
        return not self.missing and all(case.passed for case in self.cases)

    def count(self, verdict: str) -> int:
        return sum(case.verdict == verdict for case in self.cases)


def python2(path: str | None = None) -> str:
    """A Python 2.7 with pip: `path`, or the one on the search path or under pyenv. Raises Unavailable."""
    root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    here = sorted(str(file) for file in Path(root, "versions").glob("2.7.*/bin/python2.7"))
    found = [path] if path else [shutil.which("python2.7"), *here]
    for candidate in found:
        if candidate and _run([candidate, "-c", "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))"]) is None:
            return candidate
    raise Unavailable("Autobahn|Testsuite needs Python 2.7 with pip (for example `pyenv install 2.7.18`)")


def _run(command: list[str], **options: object) -> str | None:
    """None when it succeeds, else the end of what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else "\n".join(done.stderr.splitlines()[-10:]) or f"exit code {done.returncode}"


def prepare(python: str) -> Path:
    """A folder with the suite for that interpreter, installed once into the cache. Raises Unavailable."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + python.encode()).hexdigest()[:12]
    home = cache / "gateway-autobahn" / digest
    done = home / "installed"
    if not done.exists():
        print(f"installing Autobahn|Testsuite into {home}", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        # --no-deps: requirements.txt has everything, and nothing that 2.7 can't have.
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        failure = _run([*pip, "--target", str(home), "-r", str(REQUIREMENTS)], env=environment)
        if failure:
            raise Unavailable(f"Autobahn|Testsuite could not be installed:\n{failure}")
        done.touch()
    return home


START = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite import wstest; wstest.run()"
"""addsitedir reads the .pth files by which zope is one package; a folder on PYTHONPATH would not do."""


def parts(group: int) -> list[str]:
    """What is run by itself: the group, as `1`, or its parts, as `12.1`."""
    return [f"{group}.{part}" for part in range(1, PARTS[group] + 1)] if group in PARTS else [str(group)]


def run(python: str, home: Path, url: str, part: str, out: Path) -> tuple[Case, ...]:
    """Run one part against the server at `url` (ws://host:port); its reports are written into the folder `out`.

    Raises Unavailable when the suite itself fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    spec = {"outdir": str(out), "servers": [{"url": url}], "cases": [f"{part}.*"], "exclude-cases": [],
            "exclude-agent-cases": {}}  # fmt: skip
    spec_file = out / "spec.json"
    spec_file.write_text(json.dumps(spec))
    log = out / "wstest.log"
    command = [python, "-c", START, str(home), "--mode", "fuzzingclient", "--spec", str(spec_file)]
    with open(log, "wb") as said:
        try:
            code = subprocess.run(command, cwd=out, stdout=said, stderr=subprocess.STDOUT, timeout=PATIENCE).returncode
        except subprocess.TimeoutExpired:
            code = None
    index = out / "index.json"
    if not index.exists():
        words = "\n".join(log.read_text("utf-8", "replace").splitlines()[-10:])
        how = f"took more than {PATIENCE:.0f} s" if code is None else f"ended with {code} and without a result"
        raise Unavailable(f"wstest {how}:\n{words}")
    return read_index(json.loads(index.read_text("utf-8")))


def read_index(index: dict[str, dict[str, dict[str, object]]]) -> tuple[Case, ...]:
    """The cases in an index.json of the suite: server -> case -> facts."""
    cases = [
        Case(name, str(facts["behavior"]), str(facts["behaviorClose"]))
        for server in index.values()
        for name, facts in server.items()
    ]
    return tuple(sorted(cases, key=lambda case: [int(part) for part in case.name.split(".")]))


def select(words: Iterable[str]) -> list[int]:
    """Groups by number, or ranges as `1-7`; all for no words. Raises ValueError."""
    chosen = set()
    for word in words:
        first, _, last = word.partition("-")
        numbers = [group for group in GROUPS if int(first) <= group <= int(last or first)]
        if not numbers:
            raise ValueError(f"no such group: {word}")
        chosen.update(numbers)
    return sorted(chosen) or list(GROUPS)
