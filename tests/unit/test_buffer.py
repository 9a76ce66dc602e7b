"""InputBuffer: what was fed comes out again, in order, however it is cut up."""

from __future__ import annotations

import random

import pytest

from gateway.backend import Backend


def test_take_and_discard(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    assert buffer.feed(b"hello world") == 0
    assert buffer.available() == 11
    assert buffer.take(5) == b"hello"
    assert buffer.discard(1) == 1
    assert buffer.take(100) == b"world"
    assert buffer.available() == 0
    assert buffer.take(1) == b""
    assert buffer.discard(1) == 0


@pytest.mark.parametrize("size", [0, -1, -(2**40)])
def test_sizes_that_are_not_positive_consume_nothing(build: Backend, size: int) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    buffer.feed(b"abc")
    assert buffer.take(size) == b""
    assert buffer.discard(size) == 0
    assert buffer.available() == 3


def test_what_is_fed_is_not_copied_when_nothing_is_left_over(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    for data in (b"first" * 100, b"second" * 100):
        buffer.feed(data)
        assert buffer.take(len(data)) is data


def test_feeding_joins_what_is_left_over(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    buffer.feed(b"abc")
    buffer.discard(1)
    buffer.feed(b"def")
    buffer.feed(b"")
    buffer.feed(b"ghi")
    assert buffer.peek(0, 100) == b"bcdefghi"
    assert buffer.take(4) == b"bcde"
    buffer.feed(b"jkl")
    assert buffer.take(100) == b"fghijkl"


def test_feeding_nothing(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    buffer.feed(b"")
    assert buffer.available() == 0
    assert buffer.starts_with_line_end() == 2


def test_clear(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    for pieces in ([b"abc"], [b"abc", b"def"]):
        for piece in pieces:
            buffer.feed(piece)
        assert buffer.clear() == 0
        assert buffer.available() == 0
        assert buffer.take(1) == b""
    buffer.feed(b"x")
    assert buffer.take(1) == b"x"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 2),
        (b"\r", 2),
        (b"\r\n", 1),
        (b"\r\nGET", 1),
        (b"\n", 0),
        (b"\r\r", 0),
        (b"G", 0),
        (b"G\r\n", 0),
        (b"\n\r", 0),
    ],
)
def test_starts_with_line_end(build: Backend, data: bytes, expected: int) -> None:
    whole, bytewise, behind = (build.module("kernels.buffer").InputBuffer() for _ in range(3))
    whole.feed(data)
    for index in range(len(data)):
        bytewise.feed(data[index : index + 1])
    behind.feed(b"xyz" + data)
    behind.discard(3)
    assert [buffer.starts_with_line_end() for buffer in (whole, bytewise, behind)] == [expected] * 3
    assert whole.available() == len(data)


def test_find_and_peek_count_from_the_front(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    buffer.feed(b"..a\nb\nc")
    buffer.discard(2)
    assert buffer.find(b"\n", 0) == 1
    assert buffer.find(b"\n", 2) == 3
    assert buffer.find(b"\n", 4) == -1
    assert buffer.find(b"\n", 100) == -1
    assert buffer.peek(2, 3) == b"b"
    assert buffer.peek(2, 100) == b"b\nc"
    assert buffer.peek(100, 200) == b""
    assert buffer.available() == 5


def test_random_use_against_a_plain_bytearray(build: Backend) -> None:
    rng = random.Random(7)
    for _ in range(100):
        buffer = build.module("kernels.buffer").InputBuffer()
        model = bytearray()
        for _ in range(60):
            size = rng.choice((0, 1, 2, 3, 10, 200, 3000))
            action = rng.randrange(4)
            if action < 2:
                data = rng.randbytes(size)
                buffer.feed(data)
                model += data
            elif action == 2:
                assert buffer.take(size) == model[:size]
                del model[:size]
            else:
                assert buffer.discard(size) == min(size, len(model))
                del model[:size]
            assert buffer.available() == len(model)
        assert buffer.peek(0, len(model)) == model


def test_many_small_feeds_are_not_quadratic(build: Backend) -> None:
    """A megabyte byte by byte: copying it all at each feed would move half a terabyte, and time out."""
    buffer = build.module("kernels.buffer").InputBuffer()
    for _ in range(1_000_000):
        buffer.feed(b"x")
    assert buffer.available() == 1_000_000
    # A queue that never runs empty, fed and consumed at the same rate.
    for _ in range(100_000):
        buffer.feed(b"y")
        buffer.discard(1)
    assert buffer.available() == 1_000_000
    assert buffer.take(1_000_000) == b"x" * 900_000 + b"y" * 100_000


def test_only_bytes_are_fed_to_the_compiled_buffer(build: Backend) -> None:
    if build.name == "core":
        pytest.skip("checked by the compiler only")
    with pytest.raises(TypeError):
        build.module("kernels.buffer").InputBuffer().feed(bytearray(b"x"))
