"""The two head kernels agree; and if they did not, this would be noticed."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType, SimpleNamespace
from unittest import mock

import pytest

from gateway import backend
from tests.parity import fuzz_heads, mutate

SEED = 20240229
CASES = 2500
# Cases in which a seeded fault must show.
FAULT_CASES = 6000


@pytest.fixture(scope="module")
def core() -> SimpleNamespace:
    return fuzz_heads.kernels("core")


@pytest.fixture(scope="module")
def compiled() -> SimpleNamespace:
    if "kernels.head" not in backend.compiled_names():
        pytest.skip("the head kernel is not compiled here")
    return fuzz_heads.kernels("_speedups")


def test_corpus(core: SimpleNamespace, compiled: SimpleNamespace) -> None:
    for number, raw in enumerate(mutate.corpus()):
        assert fuzz_heads.compare(core, compiled, raw, SEED + number) == ""


def test_seeded(core: SimpleNamespace, compiled: SimpleNamespace) -> None:
    assert fuzz_heads.fuzz(core, compiled, SEED, CASES) == ""


# The kernels a head is read with, each after those that it imports.
SOURCES = ("grammar", "host", "names", "target", "fieldlines", "head")

# What a twin could get wrong: a piece of the specification, and a faulty version of it.
FAULTS = {
    "bare LF ends a field line": (
        'line[-1:] != b"\\r":\n            return BARE_LF, [], 0',
        'line[-1:] != b"\\r" and line:\n            return BARE_LF, [], 0',
    ),
    "bare LF ends a request line": ('if line[-1:] != b"\\r":\n            return BARE_LF\n', "line += b'\\r'\n"),
    "field limit off by one": ("end - position > max_field + 1", "end - position > max_field + 2"),
    "field limit counts the CR": ("end - position > max_field + 1", "end - position > max_field"),
    "section limit off by one": ("size > max_section:", "size >= max_section:"),
    "section limit counts the empty line": ('line not in (b"", b"\\r")', "True"),
    "field count off by one": ("len(fields) >= max_fields", "len(fields) > max_fields"),
    "line limit off by one": ("end > max_line + 1", "end >= max_line + 1"),
    "length judged only at the line end": ("if max_line and end >", "if max_line and line_feed >= 0 and end >"),
    "DEL in values": ("\\x20-\\x7e\\x80-\\xff]*", "\\x20-\\xff]*"),
    "HTAB not in values": ('_FIELD_VALUE = re.compile(rb"[\\t', '_FIELD_VALUE = re.compile(rb"['),
    "values stripped of all whitespace": ('value = value.strip(b" \\t")', "value = value.strip()"),
    "names keep their case": ("return DONE, name.lower(), value", "return DONE, name, value"),
    "space before the colon": ("return SPACE_BEFORE_COLON", "return BAD_FIELD_NAME"),
    "folding seen too late": ("return OBSOLETE_FOLDING", "return BAD_FIELD_NAME"),
    "fragment in a target": ("\\x21\\x22\\x24-\\x7e", "\\x21-\\x7e"),
    "last question mark": ('target.partition(b"?")', 'target.rpartition(b"?")'),
    "bad encoding in a path": ("if _BAD_PERCENT.search(path) is None else None\n", "\n"),
    "empty path of an absolute target": ('match[2] or b"/"', "match[2]"),
    "upper-case scheme": ("[Hh][Tt]", "[h][t]"),
    "largest port": ("<= 65535", "<= 65536"),
    "empty port of an authority": ("return not port_required", "return True"),
    "empty host": ("|%[0-9A-Fa-f]{2})+", "|%[0-9A-Fa-f]{2})*"),
    "IPv6 with eight groups and a gap": ("{0,6}", "{0,7}"),
    "IPv4 with leading zeros": ("[1-9]?[0-9])", "[0-9]?[0-9])"),
    "largest length": ("length <= MAX_CONTENT_LENGTH", "length < MAX_CONTENT_LENGTH"),
    "last Content-Length": ("if self.content_length_count == 0:", "if True:"),
    "last Host": ("if self.host is None:", "if True:"),
    "chunked anywhere": ('self.last_is_chunked = coding == b"chunked"', 'self.last_is_chunked |= coding == b"chunked"'),
    "empty coding": ("if TOKEN.fullmatch(coding) is None:", "if coding and TOKEN.fullmatch(coding) is None:"),
    "expectations may repeat": ('expectations == [b"100-continue"]', 'expectations[0] == b"100-continue"'),
    "keep-alive not understood": ('b"keep-alive" in options', 'b"keepalive" in options'),
    "underscores not counted": ("self.underscore_count += 1", "pass"),
    "forwarded by prefix only": ('name == b"forwarded" or ', ""),
    "minor version not capped": ("min(int(match[2]), 1)", "int(match[2])"),
    "cookies joined by commas": ('"; " if name == b"cookie" else ","', '","'),
    "path read as latin-1": ('("utf-8", "replace") if utf8', '("latin-1",) if utf8'),
    "Host removed is forgotten": ("self._fields = fields\n        self._cached = None", "self._fields = fields"),
    "Host appended": ('fields.insert(0, (b"host", value))', 'fields.append((b"host", value))'),
    "consumed one byte too few": (
        "input.discard(end)\n        return DONE",
        "input.discard(end - 1)\n        return DONE",
    ),
}


def faulty(old: str, new: str) -> SimpleNamespace:
    """The pure kernels with `old` replaced by `new` in the source that has it."""
    names = [f"gateway.core.kernels.{name}" for name in SOURCES]
    sources = {name: inspect.getsource(importlib.import_module(name)) for name in names}
    found = [name for name in names if old in sources[name]]
    assert len(found) == 1, f"in {found}: the specification has changed, adapt the fault"
    # They are made anew, all of them, to import each other and not the right ones.
    with mock.patch.dict(sys.modules):
        for name in names:
            module = sys.modules[name] = ModuleType(name)
            module.__package__ = "gateway.core.kernels"
            exec(compile(sources[name].replace(old, new), f"faulty {name}", "exec"), vars(module))
        return fuzz_heads.kernels("core")


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_noticed(core: SimpleNamespace, name: str) -> None:
    assert fuzz_heads.fuzz(core, faulty(*FAULTS[name]), SEED, FAULT_CASES) != ""


def test_no_fault_no_difference(core: SimpleNamespace) -> None:
    """The copy itself makes no difference."""
    assert fuzz_heads.fuzz(core, faulty("NEED_DATA = 0", "NEED_DATA = 0"), SEED, 100) == ""


def test_command_line(
    monkeypatch: pytest.MonkeyPatch, compiled: SimpleNamespace, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz_heads", "--seconds", "0.01", "--seed", "1"])
    assert fuzz_heads.main() == 0
    assert "1000 heads" in capsys.readouterr().out
