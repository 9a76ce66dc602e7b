"""What the Autobahn command makes of a result of the suite; the suite itself runs by `python -m tests.autobahn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.autobahn import __main__ as command
from tests.autobahn import wstest
from tests.autobahn.wstest import Case, Result


def index(**verdicts: tuple[str, str]) -> dict[str, Any]:
    """An index.json; names are written with underscores."""
    cases = {
        name.strip("_").replace("_", "."): {"behavior": behavior, "behaviorClose": close, "duration": 1}
        for name, (behavior, close) in verdicts.items()
    }
    return {"gateway": cases}


@pytest.mark.parametrize(
    ("behavior", "close", "passed", "verdict"),
    [
        ("OK", "OK", True, "OK"),
        ("INFORMATIONAL", "INFORMATIONAL", True, "INFORMATIONAL"),
        ("OK", "INFORMATIONAL", True, "INFORMATIONAL"),
        ("NON-STRICT", "OK", False, "NON-STRICT"),
        ("FAILED", "OK", False, "FAILED"),
        ("OK", "UNCLEAN", False, "UNCLEAN"),
        ("NON-STRICT", "WRONG CODE", False, "WRONG CODE"),
        ("UNIMPLEMENTED", "OK", False, "UNIMPLEMENTED"),
    ],
)
def test_verdicts(behavior: str, close: str, passed: bool, verdict: str) -> None:
    case = Case("1.1.1", behavior, close)
    assert (case.passed, case.verdict) == (passed, verdict)


def test_index_is_read_in_order() -> None:
    cases = wstest.read_index(index(_2_10=("OK", "OK"), _2_9=("OK", "OK"), _2_1=("FAILED", "OK")))
    assert [case.name for case in cases] == ["2.1", "2.9", "2.10"]


def test_cases_that_were_not_run_are_no_success() -> None:
    good = tuple(Case(f"2.{number}", "OK", "OK") for number in range(1, 12))
    assert Result(2, good).passed
    assert not Result(2, good[1:]).passed
    assert Result(2, good[1:]).missing == 1
    assert not Result(2, ()).passed


def test_groups_by_words() -> None:
    assert wstest.select([]) == list(wstest.GROUPS)
    assert wstest.select(["1-7", "10"]) == [1, 2, 3, 4, 5, 6, 7, 10]
    for wrong in ("8", "x", "7-1", "14-20"):
        with pytest.raises(ValueError):
            wstest.select([wrong])
    assert sum(cases for _, cases in wstest.GROUPS.values()) == 517


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Case, ...]]:
    """The command with a suite that says what is put into this dict, part by part."""
    found: dict[str, tuple[Case, ...]] = {}
    monkeypatch.setattr(wstest, "python2", lambda path: "python2.7")
    monkeypatch.setattr(wstest, "prepare", lambda python: Path())
    monkeypatch.setattr(wstest, "run", lambda python, home, url, part, out: found[part])
    return found


def test_exit_code_and_table(
    suite: dict[str, tuple[Case, ...]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = tuple(Case(f"2.{number}", "OK", "OK") for number in range(1, 12))
    suite["2"] = good
    document = tmp_path / "README.md"
    document.write_text(f"before\n{command.BEGIN}old\n{command.END}after\n")
    arguments = ["2", "--url", "ws://nowhere", "--report", str(document)]
    assert command.main(arguments) == 0
    text = document.read_text()
    assert text.startswith(f"before\n{command.BEGIN}| Group |") and text.endswith(f"{command.END}after\n")
    assert "| 2 pings and pongs | 11 | 11 | 0 | 0 | 0 |" in text
    suite["2"] = (*good[1:], Case("2.12", "NON-STRICT", "OK"))
    assert command.main(arguments) == 1
    assert "2.12: NON-STRICT, close OK" in capsys.readouterr().out
    suite["2"] = good[1:]
    assert command.main(arguments) == 1
    assert "group 2: 1 cases were not run" in capsys.readouterr().out


def test_parts_make_up_a_group(suite: dict[str, tuple[Case, ...]]) -> None:
    suite.update({f"12.{n}": tuple(Case(f"12.{n}.{case}", "OK", "OK") for case in range(18)) for n in range(1, 6)})
    assert command.main(["12", "--url", "ws://nowhere"]) == 0


def test_without_the_suite(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PYENV_ROOT", "/nowhere")
    assert command.main(["1"]) == 2
    assert "Python 2.7" in capsys.readouterr().err
