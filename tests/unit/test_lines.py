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
    assert lines.put_number(b"", number, width) == 0
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
                assert lines.put_escaped(b"", given) == 0
                assert lines.take() == expected
                assert lines.put_word(b"", given) == 0
                assert lines.take() == expected.replace(b" ", b"\\x20")
            assert lines.put_json(b"", value.decode("latin-1")) == 0
            text = lines.take()
            assert text.isascii()
            assert json.loads(text) == value.decode("latin-1")
            assert lines.put_json(b"", value) == 0
            assert json.loads(lines.take()) == value.decode("utf-8", "backslashreplace")


def test_characters_above_latin_1(lines: Any) -> None:
    assert lines.put_escaped(b"", "\xe9\u20ac\udcff\U0001f600") == 0
    assert lines.take() == rb"\xe9\xe2\x82\xac\xed\xb3\xbf\xf0\x9f\x98\x80"
    assert lines.put_json(b"", "\u20ac\udcff\U0001f600") == 0
    assert lines.take() == rb'"\u20ac\udcff\ud83d\ude00"'


def test_much(lines: Any) -> None:
    for _ in range(3):
        for _ in range(100):
            lines.put_escaped(b"", b"x" * 5000 + b"\n")
        assert lines.take() == (b"x" * 5000 + b"\\x0a") * 100


def test_subclasses(lines: Any) -> None:
    class Text(str):
        __slots__ = ()

    lines.put_escaped(b"", Text("a\n"))
    lines.put_word(b"", Text("a b"))
    lines.put_json(b"", Text("a\n"))
    lines.put(Text("a"))
    assert lines.take() == b'a\\x0aa\\x20b"a\\n"a'


@pytest.mark.parametrize("method", ["put_escaped", "put_word", "put_json"])
def test_what_is_neither_bytes_nor_str(lines: Any, method: str) -> None:
    with pytest.raises((TypeError, AttributeError)):
        getattr(lines, method)(b"", 5)
    for value in (5, None):
        with pytest.raises((TypeError, AttributeError)):
            lines.put(value)
    with pytest.raises(TypeError):
        getattr(lines, method)(None, b"a")
    assert lines.size() == 0


def test_text_before_a_value(lines: Any) -> None:
    """It is appended as it is."""
    text = b'\x00"\\\xff'
    for method, value, expected in (
        ("put_escaped", b"a b", b"a b"),
        ("put_word", b"a b", rb"a\x20b"),
        ("put_json", b"a b", b'"a b"'),
        ("put_json", b'"', rb'"\""'),
        ("put_count", 17, b"17"),
    ):
        getattr(lines, method)(text, value)
        assert lines.take() == text + expected
    lines.put_number(text, 17, 3)
    assert lines.take() == text + b"017"


def test_nothing(lines: Any) -> None:
    for value in (None, b"", ""):
        lines.put_escaped(b" ", value)
        lines.put_word(b" ", value)
    lines.put_count(b" ", 0)
    assert lines.take() == b" -" * 7
    lines.put_json(b"text", None)
    assert lines.take() == b""
    lines.put_json(b"text", b"")
    assert lines.take() == b'text""'


def parsed(build: Any, request: bytes) -> Any:
    head = build.module("kernels.head").RequestHead()
    received = build.module("kernels.buffer").InputBuffer()
    received.feed(request)
    assert head.parse(received, 0, 0, 0, 0) == 1
    return head


@pytest.mark.parametrize(
    ("request_line", "line", "path", "query"),
    [
        (b"GET /a?b=1 HTTP/1.1", b"GET /a?b=1 HTTP/1.1", b'"/a"', b'"b=1"'),
        (b"A|B /a HTTP/1.0", b"A|B /a HTTP/1.0", b'"/a"', None),
        (b"GET /? HTTP/1.9", b"GET /? HTTP/1.1", b'"/"', None),
        (b'GET /"\\?" HTTP/1.1', rb"GET /\x22\x5c?\x22 HTTP/1.1", rb'"/\"\\"', rb'"\""'),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1", b'"*"', None),
        (b"GET http://a HTTP/1.1", b"GET http://a HTTP/1.1", b'"/"', None),
        (b"GET http://a?b HTTP/1.1", b"GET http://a?b HTTP/1.1", b'"/"', b'"b"'),
        (b"CONNECT a:1 HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b'""', None),
    ],
)
def test_request_lines(build: Any, lines: Any, request_line: bytes, line: bytes, path: bytes, query: bytes) -> None:
    head = parsed(build, request_line + b"\r\nHost: a\r\n\r\n")
    lines.put_request_line(b"text ", head)
    assert lines.take() == b"text " + line
    lines.put_json_path(b"text ", head)
    assert lines.take() == b"text " + path
    lines.put_json_query(b"text ", head)
    assert lines.take() == (b"" if query is None else b"text " + query)


def test_fields_of_a_head(build: Any, lines: Any) -> None:
    fields = b'Host: a\r\nUser-Agent: "\xe9"\r\nX-Odd: 1\r\nX-Odd: 2\r\nReferer:\r\n'
    head = parsed(build, b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
    for name, escaped, string in (
        (b"host", b"a", b' "a"'),
        (b"user-agent", rb"\x22\xe9\x22", rb' "\"\\xe9\""'),
        (b"x-odd", b"1", b' "1"'),
        (b"referer", b"-", b' ""'),
        (b"cookie", b"-", b""),
        (b"x-none", b"-", b""),
    ):
        lines.put_field(b" ", head, name)
        assert lines.take() == b" " + escaped
        lines.put_json_field(b" ", head, name)
        assert lines.take() == string
    lines.put_field(b" ", None, b"host")
    assert lines.take() == b" -"
    with pytest.raises((TypeError, AttributeError)):
        lines.put_json_field(b"", None, b"host")
    for method in ("put_request_line", "put_json_path", "put_json_query"):
        with pytest.raises((TypeError, AttributeError)):
            getattr(lines, method)(b"", None)
    lines.take()
    head.set_host(b"other")
    lines.put_field(b" ", head, b"host")
    assert lines.take() == b" other"
    head.remove(frozenset([b"user-agent"]))
    lines.put_field(b" ", head, b"user-agent")
    assert lines.take() == b" -"
