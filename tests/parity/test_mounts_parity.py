"""Both builds take a path to the same mount, and to one that it really is under."""

from __future__ import annotations

import random
from urllib.parse import unquote_to_bytes

from gateway import backend
from gateway.backend import Backend

PREFIXES = ("", "/a", "/a/b", "/ab", "/\u00fc")
PIECES = ("/", "/", "a", "b", "ab", ".", "..", "%2F", "%2f", "%2e", "%61", "%C3%BC", "%", "%25", "x", "%00")
ROUNDS = 20_000


def paths(seed: int) -> list[bytes]:
    chosen = random.Random(seed)
    found = []
    for _ in range(ROUNDS):
        path = "/" + "".join(chosen.choices(PIECES, k=chosen.randrange(8)))
        found.append(path.encode("ascii"))
    return found


def table(build: Backend) -> object:
    module = build.module("http.mounts")
    return module.MountTable([module.Mount(prefix, None) for prefix in PREFIXES])


def under(path: bytes, prefix: bytes) -> bool:
    return (path + b"/").startswith(prefix + b"/")


def test_mounts(compiled: Backend) -> None:
    tables = [table(backend.Backend(backend.CORE)), table(compiled)]
    outcomes = set()
    for root in ("", "/a", "/\u00fc"):
        for path in paths(len(root)):
            first, second = (one.find(path, root) for one in tables)  # type: ignore[attr-defined]
            assert (first is None) == (second is None), path
            outcomes.add(None if first is None else first.prefix)
            if first is None:
                continue
            assert first.prefix == second.prefix, path
            seen = unquote_to_bytes(path)
            outer = root.encode()
            if outer and under(seen, outer):
                seen = seen[len(outer) :]
            longest = max((prefix.encode() for prefix in PREFIXES if under(seen, prefix.encode())), key=len)
            assert first.path == longest, path
    assert outcomes == {None, *PREFIXES}
