"""The twins of kernels/chunked agree; and a twin with a fault in it would be noticed."""

from __future__ import annotations

import pytest

from gateway import backend
from tests.parity.faults import faulty_kernel
from tests.parity.fuzz_kernels import compare_chunked, kernel

CASES = 1500


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if not {"kernels.chunked", "kernels.buffer"} <= backend.compiled_names():
        pytest.skip("not compiled here")


def test_twins_agree() -> None:
    core, speedups = kernel("core", "chunked"), kernel("_speedups", "chunked")
    for seed in range(CASES):
        assert compare_chunked(core, speedups, seed) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("measured > max_line + 1", "measured > max_line + 2"),
        ("measured > max_line + 1", "end >= 0 and measured > max_line + 1"),
        ('if line[-1:] != b"\\r"', 'if line[-1:] == b"x"'),
        ("_MAX_SIZE_DIGITS = 16", "_MAX_SIZE_DIGITS = 17"),
        ("> _MAX_CHUNK_SIZE", "> 2**64"),
        ('rb"[0-9A-Fa-f]+"', 'rb"[0-9a-f]+"'),
        (r"\x23-\x5b", r"\x23-\x5c"),
        (r"\\[\t\x20", r"\\[\x00\t\x20"),
        ('if extensions.lstrip(b" \\t")[:1] != b";"', "if False"),
        ("(end + 1) + 2 - 16", "(end + 1) - 16"),
        ("- 2 * size)", "- size)"),
        ("max(0, self.excess", "max(0, 0 * self.excess"),
        ("return BAD_CHUNK_TERMINATOR", "pass"),
        ("elif self._state == _END:\n                return CHUNK_END", "elif False:\n                pass"),
        ('self.data = b""\n        while', "while"),
    ],
)
def test_faults_are_noticed(right: str, wrong: str) -> None:
    faulty, speedups = faulty_kernel("chunked", right, wrong), kernel("_speedups", "chunked")
    assert any(compare_chunked(faulty, speedups, seed) for seed in range(CASES))
