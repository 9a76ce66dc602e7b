"""No hot path may cost over 5 % more instructions per request than is committed in instructions.json.

Runs where GATEWAY_BUDGET is set, as in `.ci/run`, since counting takes half a minute of two cores:

    GATEWAY_BUDGET=1 python -m pytest tests/budget
"""

from __future__ import annotations

import os

import pytest

from . import instructions


@pytest.fixture(scope="module")
def budget() -> dict[str, int]:
    """The committed figures for this interpreter and compiler."""
    if not os.environ.get("GATEWAY_BUDGET"):
        pytest.skip("GATEWAY_BUDGET=1 counts instructions, with valgrind")
    if reason := instructions.obstacle():
        pytest.fail(f"nothing can be counted: {reason}")
    figures, key = instructions.committed(), instructions.key()
    if key in figures:
        return figures[key]
    message = f"no figures for {key}: `{instructions.COMMAND}` adds them"
    interpreter, _, rest = key.partition(" ")
    if any(known.startswith(interpreter + " ") and known.endswith(rest.split()[-1]) for known in figures):
        # An interpreter that is held to a budget does not escape it by another compiler.
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def counted(budget: dict[str, int]) -> dict[str, int]:
    """What the cases cost now."""
    return instructions.counted()


# All cases are counted when the first is asked for.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", instructions.CASES)
def test_a_request_costs_no_more_than_is_committed(
    case: str, budget: dict[str, int], counted: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    figure, allowed = counted[case], budget[case]
    change = f"{case}: {figure:,} instructions, {allowed:,} are committed ({figure / allowed - 1:+.1%})"
    assert figure <= allowed * (1 + instructions.ALLOWED), (
        f"{change}. Find out what costs them (benchmarks/README.md); if it is worth it, `{instructions.COMMAND}`"
    )
    if figure < allowed * (1 - instructions.ALLOWED):
        with capsys.disabled():
            print(f"\n{change}. Keep the gain: `{instructions.COMMAND}`")


def test_the_compiler_is_read_from_what_it_made(tmp_path) -> None:
    made = tmp_path / "extension.so"
    for mark, name in (
        (b"\0GCC: (Debian 12.2.0-14) 12.2.0\0", "gcc-12"),
        (b"\0GCC: (GNU) 15.1.0\0clang version 19.1.7 (abc)\0", "clang-19"),
        (b"\0", "unknown"),
    ):
        made.write_bytes(b"\x7fELF" + mark)
        assert instructions.compiler(made) == name
