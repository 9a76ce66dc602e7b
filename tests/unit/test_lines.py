"""LineBuffer: nothing that is put in can end its line or its quotes."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture
def lines(build: Any) -> Any:
    return build.module("kernels.lines").LineBuffer()


def test_pieces(lines: Any) -> None:
    assert lines.size() == 0
    assert lines.take() == b""
    assert lines.put(b"a\n\xff") == 0
    assert lines.put("b\u20ac\udcff") == 0
    assert lines.size() == 13
    assert lines.cut(3) == b"b\xe2\x82\xac\\udcff"
    assert lines.take() == b"a\n\xff"
    assert lines.take() == b""


@pytest.mark.parametrize(
    ("number", "width", "expected"),
    [(0, 1, b"0"), (0, 3, b"000"), (7, 3, b"007"), (1234, 3, b"1234"), (2**63 - 1, 1, b"9223372036854775807")],
)
def test_numbers(lines: Any, number: int, width: int, expected: bytes) -> None:
    assert lines.put_number(number, width) == 0
    assert lines.take() == expected


def test_every_byte(lines: Any) -> None:
    """At every place of the words that are looked at together."""
    for byte in range(256):
        harmless = 0x20 <= byte < 0x7F and byte not in b'"\\'
        escaped = bytes([byte]) if harmless else b"\\x%02x" % byte
        for before in range(9):
            value = b"a" * before + bytes([byte]) + b"bcdefghi"
            expected = b"a" * before + escaped + b"bcdefghi"
            for given in (value, value.decode("latin-1")):
                assert lines.put_escaped(given) == 0
                assert lines.take() == expected
                assert lines.put_word(given) == 0
                assert lines.take() == expected.replace(b" ", b"\\x20")
            assert lines.put_json(value.decode("latin-1")) == 0
            text = lines.take()
            assert text.isascii()
            assert json.loads(text) == value.decode("latin-1")
            assert lines.put_json(value) == 0
            assert json.loads(lines.take()) == value.decode("utf-8", "backslashreplace")


def test_characters_above_latin_1(lines: Any) -> None:
    assert lines.put_escaped("\xe9\u20ac\udcff\U0001f600") == 0
    assert lines.take() == rb"\xe9\xe2\x82\xac\xed\xb3\xbf\xf0\x9f\x98\x80"
    assert lines.put_json("\u20ac\udcff\U0001f600") == 0
    assert lines.take() == rb'"\u20ac\udcff\ud83d\ude00"'


def test_much(lines: Any) -> None:
    for _ in range(3):
        for _ in range(100):
            lines.put_escaped(b"x" * 5000 + b"\n")
        assert lines.take() == (b"x" * 5000 + b"\\x0a") * 100


def test_subclasses(lines: Any) -> None:
    class Text(str):
        __slots__ = ()

    lines.put_escaped(Text("a\n"))
    lines.put_word(Text("a b"))
    lines.put_json(Text("a\n"))
    lines.put(Text("a"))
    assert lines.take() == b'a\\x0aa\\x20b"a\\n"a'


@pytest.mark.parametrize("method", ["put", "put_escaped", "put_word", "put_json"])
@pytest.mark.parametrize("value", [5, None])
def test_what_is_neither_bytes_nor_str(lines: Any, method: str, value: object) -> None:
    with pytest.raises((TypeError, AttributeError)):
        getattr(lines, method)(value)
    assert lines.size() == 0
