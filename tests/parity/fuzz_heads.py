"""Do the two head kernels agree? Runs both over seeded cases and reports the first that they see differently.

    python -m tests.parity.fuzz_heads --seconds 60 [--seed N]

A case is the bytes of a head, limits near its sizes, and a few changes made to the parsed head. It is fed whole, cut
up, and (short ones) byte by byte; results, facts, fields, scope, environ and what is left in the buffer are compared.
Some are also parsed in a row with others that have a few lines in common, as the heads of one connection.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from tests.parity import mutate

FACTS = (
    "method", "target", "raw_path", "query", "form", "authority", "major", "minor", "http_version", "field_count",
    "host_count", "host", "host_valid", "content_length_count", "content_length", "transfer_encoding_count", "coding_count",
    "chunked_count", "last_is_chunked", "coding_malformed", "connection_options", "expect", "has_upgrade", "te_trailers",
    "underscore_count", "forwarded_count",
)  # fmt: skip

NEED_DATA = 0
DONE = 1

Outcome = dict[str, Any]


def kernels(build: str) -> SimpleNamespace:
    """The classes of one build: "core" or "_speedups"."""
    head = importlib.import_module(f"gateway.{build}.kernels.head")
    fieldlines = importlib.import_module(f"gateway.{build}.kernels.fieldlines")
    buffer = importlib.import_module(f"gateway.{build}.kernels.buffer")
    return SimpleNamespace(
        RequestHead=head.RequestHead,
        TrailerSection=fieldlines.TrailerSection,
        PreviousFields=fieldlines.PreviousFields,
        InputBuffer=buffer.InputBuffer,
    )


def limits_for(rng: random.Random, raw: bytes) -> tuple[int, int, int, int]:
    """max_line, max_fields, max_field, max_section: usually generous, else just about what `raw` needs."""
    line, _, rest = raw.partition(b"\n")
    fields = rest.split(b"\n")
    longest = max(len(field) for field in fields)
    result = [
        rng.choice((0, 8190, 8190, max(1, len(line) - rng.randrange(4)))),
        rng.choice((0, 100, 100, max(1, len(fields) - rng.randrange(5)))),
        rng.choice((0, 8190, 8190, max(1, longest - rng.randrange(4)))),
        rng.choice((0, 65536, 65536, max(1, rest.find(b"\r\n\r\n") + 2 - rng.randrange(-1, 4)))),
    ]
    return result[0], result[1], result[2], result[3]


def state(head: Any) -> Outcome:
    """Everything a head says about itself."""
    found = {name: getattr(head, name) for name in FACTS}
    found["types"] = [type(found[name]) for name in FACTS]
    found["fields"] = list(head.fields())
    found["same list"] = head.fields() is head.fields()
    found["scope"] = head.scope({"type": "http", "path": "?"})
    found["environ"] = head.environ({"wsgi.version": (1, 0), "PATH_INFO": "?"})
    found["order"] = list(found["environ"])
    found["get"] = [head.get(name) for name in (b"host", b"cookie", b"x-custom", b"x_custom", b"", b"n" * 49)]
    found["get_all"] = [head.get_all(name) for name in (b"host", b"cookie", b"x-custom", b"transfer-encoding")]
    return found


def changes(head: Any, seed: int) -> list[Outcome]:
    """Change the head in ways drawn from `seed`, and say what it looks like after each."""
    rng = random.Random(seed)
    names = [name for name, _ in head.fields()]
    seen = []
    for _ in range(rng.randrange(4)):
        kind = rng.randrange(3)
        if kind == 0:
            chosen = frozenset(rng.sample(names, min(len(names), rng.randrange(3)))) | {b"cookie"}
            result = head.remove(chosen)
        elif kind == 1:
            result = head.drop_underscored()
        else:
            result = head.set_host(rng.choice((b"a.example:80", b"", b"[::1]")))
        seen.append({"result": result, **state(head)})
    return seen


def run_head(
    twin: SimpleNamespace, pieces: Sequence[bytes], limits: tuple[int, int, int, int], seed: int, previous: Any = None
) -> Outcome:
    """Feed a head in pieces until it is complete or refused. `previous`: the connection's `PreviousFields`."""
    buffer = twin.InputBuffer()
    head = twin.RequestHead()
    head.reuse(previous)
    code = NEED_DATA
    used = 0
    for piece in pieces:
        buffer.feed(piece)
        used += 1
        code = head.parse(buffer, *limits)
        if code != NEED_DATA:
            break
    # A copy: what the head says may not depend on the buffer any more.
    left = buffer.peek(0, buffer.available())
    buffer.clear()
    outcome = {"code": code, "pieces": used, "left": left, **state(head)}
    if code == DONE:
        outcome["changes"] = changes(head, seed)
    return outcome


def run_trailers(twin: SimpleNamespace, pieces: Sequence[bytes], limits: tuple[int, int, int, int]) -> Outcome:
    """The same for a trailer section."""
    buffer = twin.InputBuffer()
    trailers = twin.TrailerSection()
    code = NEED_DATA
    for piece in pieces:
        buffer.feed(piece)
        code = trailers.parse(buffer, *limits[1:])
        if code != NEED_DATA:
            break
    return {"code": code, "fields": list(trailers.fields()), "left": buffer.take(buffer.available())}


def relatives(rng: random.Random, raw: bytes) -> list[bytes]:
    """Heads as they may follow one another on a connection: `raw`, and others that have most lines in common with it."""
    row = []
    for _ in range(4):
        lines = raw.split(b"\r\n")
        for _ in range(rng.randrange(3)):
            at = rng.randrange(len(lines))
            kind = rng.randrange(4)
            if kind == 0:
                del lines[at]
                lines = lines or [b""]
            elif kind == 1:
                lines.insert(at, rng.choice((lines[at], b"X-Custom: 1", b"x-custom: 1", b"Cookie: a=1")))
            elif kind == 2:
                lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
            elif lines[at]:
                place = rng.randrange(len(lines[at]))
                lines[at] = lines[at][:place] + bytes([rng.choice(b"aA1 ,;:\t_-\n\xe4")]) + lines[at][place + 1 :]
        row += [b"\r\n".join(lines), raw]
    return row


def run_connection(one: SimpleNamespace, other: SimpleNamespace, raw: bytes, seed: int) -> str:
    """Parse relatives of `raw` one after the other on `other`, each of them alone on `one`; and say where they differ."""
    rng = random.Random(seed)
    previous = other.PreviousFields()
    for head in relatives(rng, raw):
        limits = limits_for(rng, head)
        found = differing(run_head(one, [head], limits, seed), run_head(other, [head], limits, seed, previous))
        if found:
            return f"{head!r} behind others, limits {limits}: {found}"
        if rng.random() < 0.1:
            previous.clear()
    return ""


def differing(one: Outcome, other: Outcome) -> str:
    """Where two outcomes differ, in words; empty where they don't."""
    lines = [f"{key}: {one[key]!r} != {other.get(key)!r}" for key in one if one[key] != other.get(key)]
    return "\n".join(lines)


def compare(one: SimpleNamespace, other: SimpleNamespace, raw: bytes, seed: int) -> str:
    """Run one case on two kernels. Returns how they differ, or an empty string."""
    rng = random.Random(seed)
    limits = limits_for(rng, raw)
    ways = {"whole": [raw], "cut": mutate.cuts(rng, raw)}
    if len(raw) <= 200 and rng.random() < 0.3:
        ways["bytes"] = [raw[index : index + 1] for index in range(len(raw))]
    whole: Outcome = {}
    for way, pieces in ways.items():
        outcome = run_head(one, pieces, limits, seed)
        found = differing(outcome, run_head(other, pieces, limits, seed))
        if found:
            return f"fed {way}, limits {limits}: {found}"
        # However it is cut up, a head is the same head.
        facts = {key: value for key, value in outcome.items() if key not in ("pieces", "left")}
        whole = whole or facts
        found = differing(whole, facts)
        if found:
            return f"fed {way} and not whole, limits {limits}: {found}"
    if rng.random() < 0.2:
        found = run_connection(one, other, raw, seed)
        if found:
            return found
    rest = raw[raw.find(b"\n") + 1 :]
    for pieces in ([rest], mutate.cuts(rng, rest)):
        found = differing(run_trailers(one, pieces, limits), run_trailers(other, pieces, limits))
        if found:
            return f"trailer section, limits {limits}: {found}"
    return ""


def fuzz(one: SimpleNamespace, other: SimpleNamespace, seed: int, count: int) -> str:
    """Compare two kernels over `count` cases. Returns the first difference with its case, or an empty string."""
    for number, raw in enumerate(mutate.heads(seed, count)):
        found = compare(one, other, raw, seed + number)
        if found:
            return f"seed {seed}, case {number}: {raw!r}\n{found}"
    return ""


def main() -> int:
    """The command line. Returns 1 when a difference was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to run (60)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="where to begin (the time)")
    options = parser.parse_args()
    core, compiled = kernels("core"), kernels("_speedups")
    end = time.monotonic() + options.seconds
    seed, batch = options.seed, 1000
    count = 0
    while time.monotonic() < end:
        found = fuzz(core, compiled, seed, batch)
        if found:
            print(found)
            return 1
        count += batch
        seed += batch
    print(f"{count} heads, seeds {options.seed} to {seed - 1}: no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
