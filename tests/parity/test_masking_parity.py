"""The twins of kernels/masking agree; and a twin with a fault in it would be noticed."""

from __future__ import annotations

import pytest

from gateway import backend
from tests.parity.faults import faulty_kernel
from tests.parity.fuzz_kernels import compare_masking, kernel

CASES = 1500


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if not {"kernels.masking", "kernels.buffer"} <= backend.compiled_names():
        pytest.skip("not compiled here")


def test_twins_agree() -> None:
    core, speedups = kernel("core", "masking"), kernel("_speedups", "masking")
    for seed in range(CASES):
        assert compare_masking(core, speedups, seed) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("_MAX_LENGTH = 2**63 - 1", "_MAX_LENGTH = 2**64"),
        ("_MAX_SHORT = 125", "_MAX_SHORT = 124"),
        ("_MAX_16_BITS = 65535", "_MAX_16_BITS = 32767"),
        ("if len(front) < size", "if len(front) <= size"),
        ("if len(front) < 2:", "if len(front) < 3:"),
        ("minimal = length > (", "minimal = length >= ("),
        ("_MAX_SHORT if extended == 2 else _MAX_16_BITS)", "_MAX_SHORT)"),
        ("self.rsv = front[0] >> 4 & 7", "self.rsv = front[0] >> 5 & 3"),
        ("self.opcode = front[0] & 15", "self.opcode = front[0] & 7"),
        ("self.fin = front[0] >= 0x80", "self.fin = front[0] > 0x80"),
        ("front[size - _KEY_SIZE : size] if masked else bytes(_KEY_SIZE)", "front[size - _KEY_SIZE : size]"),
        ("mask(data, head.key, offset) if", "mask(data, head.key, 0) if"),
        (".decode()\n    except", ".decode(errors='surrogatepass')\n    except"),
        ("return self._valid and not self._decoder.getstate()[0]", "return self._valid"),
        ("return self._valid and not self._decoder.getstate()[0]", "return not self._decoder.getstate()[0]"),
        ('if pending[:1] == b"\\xed"', "if False"),
        ("        self._decoder.reset()\n", ""),
        ("        self._valid = True\n        return 0", "        return 0"),
        ("rsv1 << 6", "rsv1 << 5"),
        ("str.encode(text)", 'str.encode(text, errors="replace")'),
        ("start = offset % _KEY_SIZE", "start = offset % 3"),
        ("key[start:] + key[:start]", "key[: 4 - start] + key[4 - start :]"),
    ],
)
def test_faults_are_noticed(right: str, wrong: str) -> None:
    faulty, speedups = faulty_kernel("masking", right, wrong), kernel("_speedups", "masking")
    assert any(compare_masking(faulty, speedups, seed) for seed in range(CASES))
