"""What `start_response` accepts, and what the error log gets from `wsgi.errors`."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from gateway.backend import Backend
from gateway.core.http.status import REASONS
from gateway.errors import LocalProtocolError


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("200 OK", 200, b""),
        ("404 Not Found", 404, b""),
        ("404 Gone Fishing", 404, b"Gone Fishing"),
        ("200 ", 200, b""),
        ("299 Mine", 299, b"Mine"),
        ("999 Odd", 999, b"Odd"),
        ("413 Request Entity Too Large", 413, b"Request Entity Too Large"),
        ("200 caf\xe9\ttab", 200, b"caf\xe9\ttab"),
    ],
)
def test_status(build: Backend, status: str, code: int, reason: bytes) -> None:
    module = build.module("wsgi.start")
    assert module.status_code(status) == code
    assert module.reason_phrase(status) == reason


def test_registered_phrases(build: Backend) -> None:
    module = build.module("wsgi.start")
    for code, phrase in REASONS.items():
        if code >= 200:
            assert module.status_code(f"{code} {phrase}") == code
            assert module.reason_phrase(f"{code} {phrase}") == b""


@pytest.mark.parametrize(
    "status",
    [
        "",
        "200",
        "20 OK",
        "2000 OK",
        "OK",
        "abc OK",
        " 200 OK",
        "-20 OK",
        "2\u00b20 OK",
        "100 Continue",
        "101 S",
        "199 ",
    ],
)
def test_bad_status(build: Backend, status: str) -> None:
    with pytest.raises(LocalProtocolError):
        build.module("wsgi.start").status_code(status)


@pytest.mark.parametrize("status", [None, 200, b"200 OK", ("200", "OK")])
def test_status_of_a_wrong_type(build: Backend, status: Any) -> None:
    with pytest.raises(TypeError):
        build.module("wsgi.start").status_code(status)


@pytest.mark.parametrize("reason", ["a\r\nb", "a\nb", "a\rb", "a\0b", "a\x7fb", "\u20ac", "\x1b[0m"])
def test_bad_reason(build: Backend, reason: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        build.module("wsgi.start").reason_phrase(f"200 {reason}")
    assert reason not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        (),
        {"A": "b"},
        iter([("A", "b")]),
        "A: b",
        [["A", "b"]],
        [("A",)],
        [("A", "b", "c")],
        ["Ab"],
        [("A", b"b")],
        [(b"A", "b")],
        [("A", 1)],
        [("A", None)],
        [None],
    ],
)
def test_headers_of_a_wrong_type(build: Backend, headers: Any) -> None:
    with pytest.raises(TypeError):
        build.module("wsgi.start").header_block(headers)


class Name(str):
    __slots__ = ()


def test_headers(build: Backend) -> None:
    block = build.module("wsgi.start").header_block(
        [("X-One", "1"), (Name("x-two"), Name(" 2 ")), ("Connection", "close"), ("X-Latin", "\xe9")]
    )
    assert block.data == b"X-One: 1\r\nx-two: 2\r\nX-Latin: \xe9\r\n"


@pytest.mark.parametrize(
    ("name", "value"), [("A", "b\r\nC: d"), ("A", "\0"), ("A", "\u20ac"), ("A b", "c"), ("", "c"), ("A:", "c")]
)
@pytest.mark.parametrize("function", ["header_block", "trailers_block"])
def test_bad_headers(build: Backend, function: str, name: str, value: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        getattr(build.module("wsgi.start"), function)([(name, value)])
    assert repr(value) not in str(caught.value)
    assert len(str(caught.value)) < 100


class TestErrorStream:
    def make(self, build: Backend) -> tuple[Any, list[str]]:
        lines: list[str] = []
        return build.module("wsgi.errors").ErrorStream(lines.append), lines

    def test_lines(self, build: Backend) -> None:
        stream, lines = self.make(build)
        assert stream.write("one\ntwo\r\nth") == 11
        assert lines == ["one", "two"]
        stream.write("ree")
        stream.writelines(["\n", "four\n", "\n"])
        assert lines == ["one", "two", "three", "four"]

    def test_flush(self, build: Backend) -> None:
        stream, lines = self.make(build)
        stream.write("partial")
        assert stream.held
        stream.flush()
        stream.flush()
        assert lines == ["partial"]

    def test_close_keeps_it_open(self, build: Backend) -> None:
        stream, lines = self.make(build)
        stream.write("partial")
        stream.close()
        stream.write("more\n")
        assert lines == ["partial", "more"]
        assert not stream.closed

    def test_bounded(self, build: Backend) -> None:
        stream, lines = self.make(build)
        for _ in range(100):
            stream.write("x" * 1000)
        assert len(lines) > 9
        assert max(map(len, lines)) < 20000

    def test_text_only(self, build: Backend) -> None:
        stream, _ = self.make(build)
        with pytest.raises(TypeError):
            stream.write(b"bytes")

    def test_threads_do_not_mix(self, build: Backend) -> None:
        stream, lines = self.make(build)
        barrier = threading.Barrier(4, timeout=10)

        def work(letter: str) -> None:
            for _ in range(20):
                barrier.wait()
                stream.write(letter * 5)
                stream.write(letter * 5 + "\n")

        threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(lines) == sorted([letter * 10 for letter in "abcd"] * 20)

    def test_is_a_text_stream(self, build: Backend) -> None:
        stream, _ = self.make(build)
        assert isinstance(stream, io.TextIOBase)
        assert stream.writable()
        assert not stream.readable()
        assert not stream.isatty()
        assert stream.encoding == "utf-8"
