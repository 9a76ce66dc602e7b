"""The twins of kernels/lines agree; and a twin with a fault in it would be noticed."""

from __future__ import annotations

import json
import random
from types import ModuleType

import pytest

from gateway import backend
from tests.parity.faults import faulty_kernel
from tests.parity.fuzz_kernels import SPECIAL, kernel

CASES = 3000
METHODS = ["put", "put_escaped", "put_word", "put_json", "put_number", "put_count", "cut", "take", "size"]
PIECES = [*SPECIAL, "\u20ac", "\ud800", "\U0001f600", "\xe9", "a", "bcdefgh", "Mozilla/5.0 (X11)", "/", "\\x0a", "%s"]


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if "kernels.lines" not in backend.compiled_names():
        pytest.skip("not compiled here")


def value_of(chance: random.Random) -> bytes | str:
    text = "".join(chance.choices(PIECES, k=chance.randrange(20)))
    if chance.random() < 0.5:
        return text
    return text.encode(chance.choice(["latin-1", "utf-8"]), "replace")


def compare(core: ModuleType, speedups: ModuleType, seed: int) -> str:
    """Do the same things to both; says what differed."""
    chance = random.Random(seed)
    one, other = core.LineBuffer(), speedups.LineBuffer()
    for _ in range(chance.randrange(1, 12)):
        method = chance.choice(METHODS)
        arguments: tuple = ()
        text = chance.choice([b"", b' "'])
        if method == "put_number":
            arguments = (text, chance.choice([0, 9, 10, chance.randrange(2**63)]), chance.randrange(1, 20))
        elif method == "put_count":
            arguments = (text, chance.choice([0, 9, 10, chance.randrange(2**63)]))
        elif method == "cut":
            arguments = (chance.randint(0, one.size()),)
        elif method == "put":
            arguments = (value_of(chance),)
        elif method.startswith("put"):
            arguments = (text, value_of(chance))
        start = one.size()
        results = [getattr(lines, method)(*arguments) for lines in (one, other)]
        if results[0] != results[1]:
            return f"{method}{arguments}: {results}"
        if method == "put_json":
            piece = speedups.LineBuffer()
            _, value = arguments
            piece.put_json(b"", value)
            string = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
            # A pair of surrogates is one character to JSON.
            wanted = string.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            if json.loads(piece.take()) != wanted:
                return f"{method}{arguments} is not what JSON reads"
        if one.size() < start and method not in ("cut", "take"):
            return f"{method}{arguments} took something away"
    left, right = one.take(), other.take()
    return "" if left == right else f"{left!r} {right!r}"


def test_twins_agree() -> None:
    core, speedups = kernel("core", "lines"), kernel("_speedups", "lines")
    for seed in range(CASES):
        assert compare(core, speedups, seed) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r"[^ !#-\[\]-~]", r"[^ -\[\]-~]"),
        (r"[^ !#-\[\]-~]", r"[^ !#-~]"),
        (r"[^ !#-\[\]-~]", r"[^ !#-\[\]-\x7f]"),
        (r"[^ !#-\[\]-~]", r"[^\x1f !#-\[\]-~]"),
        (r"\x%02x", r"\x%x"),
        ('.replace(b" ", b"\\\\x20")', ""),
        ('encode_basestring_ascii(string).encode("ascii")', "json.dumps(string, ensure_ascii=False).encode()"),
        ('value.decode("utf-8", "backslashreplace")', 'value.decode("utf-8", "replace")'),
        ('if character < "\\u0100"', "if False"),
        ("%0*d", "%*d"),
        ("del self._data[start:]", "pass"),
    ],
)
def test_faults_are_noticed(right: str, wrong: str) -> None:
    faulty, speedups = faulty_kernel("lines", right, wrong), kernel("_speedups", "lines")
    assert any(differs(faulty, speedups, seed) for seed in range(CASES))


def differs(one: ModuleType, other: ModuleType, seed: int) -> bool:
    try:
        return compare(one, other, seed) != ""
    except (ValueError, NameError, UnicodeError):
        return True
