"""The twins of kernels/fields agree; and a twin with a fault in it would be noticed."""

from __future__ import annotations

import pytest

from gateway import backend
from tests.parity.faults import faulty_kernel
from tests.parity.fuzz_kernels import compare_fields, kernel

CASES = 3000


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if "kernels.fields" not in backend.compiled_names():
        pytest.skip("not compiled here")


def test_twins_agree() -> None:
    core, speedups = kernel("core", "fields"), kernel("_speedups", "fields")
    for seed in range(CASES):
        assert compare_fields(core, speedups, seed) == ""


def test_same_names() -> None:
    core, speedups = kernel("core", "fields"), kernel("_speedups", "fields")
    for name in vars(core):
        if name.startswith(("F_", "FIELD")):
            value = getattr(core, name)
            assert isinstance(value, type) or getattr(speedups, name) == value
    # The compiled twin has these as numbers of its own.
    head = kernel("core", "head")
    assert (head.OPTION_CLOSE, head.OPTION_KEEP_ALIVE, head.OPTION_UPGRADE) == (1, 2, 4)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (r'_FIELD_VALUE = re.compile(rb"[\t', r'_FIELD_VALUE = re.compile(rb"[\t\n'),
        (r"\x20-\x7e\x80-\xff]*", r"\x20-\xff]*"),
        (r"~0-9A-Za-z]+", r"~0-9A-Za-z:]+"),
        ('value.strip(b" \\t")', "value.strip()"),
        ('b"te": F_TE', 'b"te": 0'),
        ('member.strip(b" \\t")', "member"),
        ("if len(digits) > 19", "if len(digits) > 18"),
        ("if self.content_length_count == 0", "if True"),
        ("if not known & drop", "if True"),
        ("self.seen |= known", "self.seen |= known & ~drop"),
        (
            "(str, bytes, bytearray, memoryview)):\n            return FIELD_NOT_PAIR",
            "str):\n            return FIELD_NOT_PAIR",
        ),
        ("return FIELD_BAD_NAME if name == FIELD_BAD_VALUE else name", "return name"),
        ("str.encode(value, ", "value.encode("),
        ("memoryview(value).tobytes()", "bytes(value)"),
        ("body or b", "b"),
    ],
)
def test_faults_are_noticed(right: str, wrong: str) -> None:
    faulty, speedups = faulty_kernel("fields", right, wrong), kernel("_speedups", "fields")
    assert any(compare_fields(faulty, speedups, seed) for seed in range(CASES))
