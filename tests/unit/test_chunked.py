"""The chunked transfer coding: every stream is fed whole, byte by byte, and in two parts at every split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.core.kernels.chunked import (
    BAD_CHUNK_EXTENSION,
    BAD_CHUNK_SIZE,
    BAD_CHUNK_TERMINATOR,
    CHUNK_DATA,
    CHUNK_END,
    CHUNK_LINE_TOO_LONG,
    CHUNK_NEED_DATA,
    CHUNK_SIZE_OVERFLOW,
)


class Reader:
    """Feeds a decoder and keeps what comes out of it."""

    def __init__(self, build: Any, max_line: int) -> None:
        self.input = build.module("kernels.buffer").InputBuffer()
        self.decoder = build.module("kernels.chunked").ChunkedDecoder()
        self.max_line = max_line
        self.content = b""
        self.code = CHUNK_NEED_DATA

    def feed(self, data: bytes) -> int:
        self.input.feed(data)
        while True:
            self.code = self.decoder.decode(self.input, self.max_line)
            if self.code != CHUNK_DATA:
                assert self.decoder.data == b""
                return self.code
            assert self.decoder.data
            self.content += self.decoder.data


def splits(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


def check(build: Any, data: bytes, code: int, content: bytes, rest: bytes = b"", max_line: int = 64) -> None:
    """`data` gives `code` and `content`, and leaves `rest` unread, however it is cut up."""
    for pieces in splits(data):
        reader = Reader(build, max_line)
        for piece in pieces:
            # A connection reads no further after an error; what it does with more is to give the same error again.
            if reader.feed(piece) > CHUNK_END:
                assert reader.feed(b"") == reader.code
        assert (reader.code, reader.content) == (code, content), pieces
        if code == CHUNK_END:
            assert reader.input.peek(0, len(data)) == rest


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"0\r\n", b""),
        (b"5\r\nhello\r\n0\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n000\r\n", b"hello world"),
        (b"A\r\n0123456789\r\n0\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n", b"0123456789"),
        (b"0000000000000005\r\nhello\r\n0000000000000000\r\n", b"hello"),
        (b"4\r\n\r\n\r\n\r\n0\r\n", b"\r\n\r\n"),
        (b"2\r\n0\r\r\n1\r\n\n\r\n0\r\n", b"0\r\n"),
        (b"1;a\r\nx\r\n0;b=c\r\n", b"x"),
        (b'1;a="q\\"\\\\;\r"\r\n'.replace(b"\r", b"", 1) + b"x\r\n0\r\n", b"x"),
        (b'1;a="";b\r\nx\r\n0\r\n', b"x"),
        (b'1 ;\ta = "\t \xff" ; b=c\r\nx\r\n0\r\n', b"x"),
        (b"1;a;b;c=d;e\r\nx\r\n0\r\n", b"x"),
    ],
)
def test_decoded(build: Any, data: bytes, content: bytes) -> None:
    check(build, data, CHUNK_END, content)
    for rest in (b"\r\n", b"a: b\r\n\r\n", b"\r\nGET / HTTP/1.1\r\n"):
        check(build, data + rest, CHUNK_END, content, rest)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", BAD_CHUNK_SIZE),
        (b";a", BAD_CHUNK_SIZE),
        (b" 5", BAD_CHUNK_SIZE),
        (b"5 ", BAD_CHUNK_SIZE),
        (b"5\t", BAD_CHUNK_SIZE),
        (b"-5", BAD_CHUNK_SIZE),
        (b"+5", BAD_CHUNK_SIZE),
        (b"0x5", BAD_CHUNK_SIZE),
        (b"5_0", BAD_CHUNK_SIZE),
        (b"5g", BAD_CHUNK_SIZE),
        (b"5 5", BAD_CHUNK_SIZE),
        (b"5,a", BAD_CHUNK_SIZE),
        (b"5\r", BAD_CHUNK_SIZE),
        (b"5\0", BAD_CHUNK_SIZE),
        (b"\xb2", BAD_CHUNK_SIZE),
        (b"8000000000000000", CHUNK_SIZE_OVERFLOW),
        (b"ffffffffffffffff", CHUNK_SIZE_OVERFLOW),
        (b"10000000000000005", CHUNK_SIZE_OVERFLOW),
        (b"00000000000000005", CHUNK_SIZE_OVERFLOW),
        (b"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5;\0", CHUNK_SIZE_OVERFLOW),
        (b"5;", BAD_CHUNK_EXTENSION),
        (b"5 ; ", BAD_CHUNK_EXTENSION),
        (b"5;;a", BAD_CHUNK_EXTENSION),
        (b"5;a;", BAD_CHUNK_EXTENSION),
        (b"5;a ", BAD_CHUNK_EXTENSION),
        (b"5;a=", BAD_CHUNK_EXTENSION),
        (b"5;=b", BAD_CHUNK_EXTENSION),
        (b"5;a=b ", BAD_CHUNK_EXTENSION),
        (b"5;a=b=c", BAD_CHUNK_EXTENSION),
        (b"5;a b", BAD_CHUNK_EXTENSION),
        (b'5;"a"', BAD_CHUNK_EXTENSION),
        (b'5;a="', BAD_CHUNK_EXTENSION),
        (b'5;a="b', BAD_CHUNK_EXTENSION),
        (b'5;a="b\\"', BAD_CHUNK_EXTENSION),
        (b'5;a="b\\', BAD_CHUNK_EXTENSION),
        (b'5;a="b"c', BAD_CHUNK_EXTENSION),
        (b'5;a=b"c"', BAD_CHUNK_EXTENSION),
        (b'5;a="\x7f"', BAD_CHUNK_EXTENSION),
        (b'5;a="\\\x00"', BAD_CHUNK_EXTENSION),
        (b"5;a\r", BAD_CHUNK_EXTENSION),
        (b"5;a\0", BAD_CHUNK_EXTENSION),
        (b"5;a=\xe9", BAD_CHUNK_EXTENSION),
    ],
)
def test_bad_lines(build: Any, line: bytes, code: int) -> None:
    check(build, line + b"\r\n", code, b"")
    check(build, b"1\r\nx\r\n" + line + b"\r\nhello\r\n0\r\n\r\n", code, b"x")


def test_every_byte_in_a_quoted_extension(build: Any) -> None:
    """RFC 9110 5.6.4, and no control characters anywhere."""
    for byte in [bytes([number]) for number in range(256)]:
        for quoted, plain in ((byte, b'"\\\n'), (b"\\" + byte, b"\n")):
            allowed = (byte == b"\t" or byte >= b" ") and byte != b"\x7f" and byte not in plain
            reader = Reader(build, 0)
            code = reader.feed(b'1;a="' + quoted + b'"\r\nx\r\n0\r\n')
            if byte == b"\n":
                assert code == BAD_CHUNK_SIZE  # a bare LF
            elif quoted != b'"':
                assert code == (CHUNK_END if allowed else BAD_CHUNK_EXTENSION), quoted


@pytest.mark.parametrize("line", [b"\n", b"5\n", b"5;a\n", b'5;a="b\n"'])
def test_bare_line_feed(build: Any, line: bytes) -> None:
    check(build, line + b"hello\r\n0\r\n\r\n", BAD_CHUNK_SIZE, b"")


@pytest.mark.parametrize("after", [b"\n", b"\n\r", b"\r\r", b"\rx", b"x\r\n", b"0\r\n", b"\r\0", b" \r\n"])
def test_bad_terminator(build: Any, after: bytes) -> None:
    check(build, b"5\r\nhello" + after, BAD_CHUNK_TERMINATOR, b"hello")


def test_a_bad_terminator_is_seen_at_once(build: Any) -> None:
    reader = Reader(build, 64)
    assert reader.feed(b"5\r\nhello") == CHUNK_NEED_DATA
    assert reader.feed(b"\r") == CHUNK_NEED_DATA
    assert reader.feed(b"x") == BAD_CHUNK_TERMINATOR


@pytest.mark.parametrize("data", [b"", b"5", b"5\r", b"5\r\n", b"5\r\nhell", b"5\r\nhello", b"5\r\nhello\r", b"zz"])
def test_incomplete(build: Any, data: bytes) -> None:
    """Of an incomplete line only the length is judged."""
    content = data.partition(b"\r\n")[2][:5]
    check(build, data, CHUNK_NEED_DATA, content)


def test_line_limit(build: Any) -> None:
    """The limit does not count the CRLF, and a line that can't become short enough is refused before it ends."""
    line = b"5;a=" + b"b" * 12
    assert len(line) == 16
    check(build, line + b"\r\nhello\r\n0\r\n", CHUNK_END, b"hello", max_line=16)
    check(build, line + b"b\r\nhello\r\n0\r\n", CHUNK_LINE_TOO_LONG, b"", max_line=16)
    check(build, line + b"\r", CHUNK_NEED_DATA, b"", max_line=16)
    check(build, line + b"\rb", CHUNK_LINE_TOO_LONG, b"", max_line=16)
    # A line too long by its CR alone has no room for one: it is wrong for another reason.
    check(build, line + b"b\n", BAD_CHUNK_SIZE, b"", max_line=16)
    check(build, b"5;a=" + b"b" * 2000 + b"\r\nhello\r\n0\r\n", CHUNK_END, b"hello", max_line=0)


def test_content_is_given_as_it_comes(build: Any) -> None:
    reader = Reader(build, 64)
    assert reader.feed(b"ffff\r\n") == CHUNK_NEED_DATA
    reader.input.feed(b"abc")
    assert reader.decoder.decode(reader.input, 64) == CHUNK_DATA
    assert reader.decoder.data == b"abc"
    assert reader.decoder.decode(reader.input, 64) == CHUNK_NEED_DATA
    assert reader.decoder.data == b""


def test_end_is_final(build: Any) -> None:
    reader = Reader(build, 64)
    assert reader.feed(b"0\r\n5\r\nhello\r\n") == CHUNK_END
    assert reader.feed(b"") == CHUNK_END
    assert reader.input.available() == len(b"5\r\nhello\r\n")


def test_excess(build: Any) -> None:
    def excess(data: bytes) -> int:
        reader = Reader(build, 0)
        reader.feed(data)
        return reader.decoder.excess

    assert excess(b"5\r\nhello\r\n0\r\n") == 0
    # One byte in the smallest chunk: 3 + 2 - 16 - 2.
    assert excess(b"1\r\nx\r\n" * 1000) == 0
    # A line of 40 bytes and its CRLF: 42 + 2 - 16 - 2 each.
    line = b"1;a=" + b"b" * 36 + b"\r\n"
    assert excess(line + b"x\r\n") == 26
    assert excess((line + b"x\r\n") * 100) == 2600
    # Chunks of a reasonable size earn it back.
    assert excess((line + b"x\r\n") * 100 + b"200\r\n" + b"y" * 512 + b"\r\n") == 2600 + 7 - 16 - 1024
    assert excess((line + b"x\r\n") * 10 + b"200\r\n" + b"y" * 512 + b"\r\n") == 0
    # The largest size does not overflow what it is counted in.
    assert excess((line + b"x\r\n") * 10 + b"7fffffffffffffff\r\n") == 0
    assert excess((line + b"x\r\n") * 10 + b"4000000000000000\r\n") == 0
    # The last chunk's line costs as any other.
    assert excess(b"0;a=" + b"b" * 96 + b"\r\n") == 102 + 2 - 16


def test_largest_size(build: Any) -> None:
    reader = Reader(build, 64)
    assert reader.feed(b"7fffffffffffffff\r\nabc") == CHUNK_NEED_DATA
    assert reader.content == b"abc"


def test_encode(build: Any) -> None:
    chunked = build.module("kernels.chunked")
    assert chunked.LAST_CHUNK == b"0\r\n\r\n"
    assert chunked.encode_chunk(b"") == b""
    for size in (1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65536, 100000):
        data = b"x" * size
        assert chunked.encode_chunk(data) == b"%x\r\n" % size + data + b"\r\n"
        assert chunked.chunk_head(size) == b"%x\r\n" % size
    assert chunked.chunk_head(0x400) == b"400\r\n"
    assert chunked.chunk_head(2**63 - 1) == b"7fffffffffffffff\r\n"


def test_constants(build: Any) -> None:
    chunked = build.module("kernels.chunked")
    assert (chunked.CHUNK_NEED_DATA, chunked.CHUNK_DATA, chunked.CHUNK_END) == (0, 1, 2)
    assert (chunked.BAD_CHUNK_SIZE, chunked.CHUNK_SIZE_OVERFLOW, chunked.CHUNK_LINE_TOO_LONG) == (3, 4, 5)
    assert (chunked.BAD_CHUNK_EXTENSION, chunked.BAD_CHUNK_TERMINATOR) == (6, 7)
