"""TrailerSection and PreviousFields, on both builds. What a field line may be is in the corpus of test_head.py."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.backend import Backend
from gateway.core.kernels import grammar as codes

# The defaults of core/http/limits.py.
LIMITS = (8190, 100, 8190, 65536)


# Trailer sections.


def trailers(build: Backend, raw: bytes, limits: tuple[int, int, int] = LIMITS[1:]) -> tuple[int, list, bytes]:
    buffer = build.module("kernels.buffer").InputBuffer()
    section = build.module("kernels.fieldlines").TrailerSection()
    buffer.feed(raw)
    code = section.parse(buffer, *limits)
    return code, section.fields(), buffer.take(buffer.available())


def test_trailer_section(build: Backend) -> None:
    assert trailers(build, b"\r\nGET") == (codes.DONE, [], b"GET")
    raw = b"Expires: never\r\nX-Checksum:  \tabc \r\n\r\nGET"
    assert trailers(build, raw) == (codes.DONE, [(b"expires", b"never"), (b"x-checksum", b"abc")], b"GET")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", codes.NEED_DATA),
        (b"\r", codes.NEED_DATA),
        (b"X: y\r\n", codes.NEED_DATA),
        (b"\n", codes.BARE_LF),
        (b"X: y\n\r\n", codes.BARE_LF),
        (b" X: y\r\n\r\n", codes.OBSOLETE_FOLDING),
        (b"X\r\n\r\n", codes.NO_COLON),
        (b"X : y\r\n\r\n", codes.SPACE_BEFORE_COLON),
        (b": y\r\n\r\n", codes.BAD_FIELD_NAME),
        (b"X: \0\r\n\r\n", codes.BAD_FIELD_VALUE),
        (b"X: yyyyyyyyyyyyyyyy\r\n\r\n", codes.FIELD_TOO_LARGE),
        (b"A: b\r\n" * 4 + b"\r\n", codes.TOO_MANY_FIELDS),
        (b"A: 45678\r\n" * 3 + b"\r\n", codes.FIELD_TOO_LARGE),
    ],
)
def test_trailer_section_errors(build: Backend, raw: bytes, expected: int) -> None:
    assert trailers(build, raw, (3, 16, 25)) == (expected, [], raw)


# The next head of a connection.


def in_a_row(build: Backend, previous: Any, *lines: bytes) -> Any:
    """The next head of a connection."""
    buffer = build.module("kernels.buffer").InputBuffer()
    head = build.module("kernels.head").RequestHead()
    buffer.feed(b"GET / HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    head.reuse(previous)
    assert head.parse(buffer, *LIMITS) == codes.DONE
    return head


def test_a_changed_line_is_seen(build: Backend) -> None:
    previous = build.module("kernels.fieldlines").PreviousFields()
    first = in_a_row(build, previous, b"Host: a", b"X-Key: one", b"Cookie: a=1")
    assert first.scope({})["headers"] == [(b"host", b"a"), (b"x-key", b"one"), (b"cookie", b"a=1")]
    for lines, fields in [
        ((b"Host: a", b"X-Key: two", b"Cookie: a=1"), [(b"host", b"a"), (b"x-key", b"two"), (b"cookie", b"a=1")]),
        ((b"Host: a", b"X-Kez: two", b"Cookie: a=1"), [(b"host", b"a"), (b"x-kez", b"two"), (b"cookie", b"a=1")]),
        ((b"Host: a", b"X-Kez: two"), [(b"host", b"a"), (b"x-kez", b"two")]),
        ((b"Host: a", b"X-Kez: two", b"Cookie: a=2"), [(b"host", b"a"), (b"x-kez", b"two"), (b"cookie", b"a=2")]),
        ((b"Cookie: a=2", b"Host: a"), [(b"cookie", b"a=2"), (b"host", b"a")]),
        ((), []),
        ((b"Host: b",), [(b"host", b"b")]),
    ]:
        head = in_a_row(build, previous, *lines)
        environ = {"HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in fields}
        for _ in range(2):
            assert head.scope({})["headers"] == fields
            found = head.environ({})
            assert {key: found[key] for key in found if key.startswith("HTTP_")} == environ
    # A head stands for itself, whatever came after it.
    assert first.scope({})["headers"] == [(b"host", b"a"), (b"x-key", b"one"), (b"cookie", b"a=1")]


def test_equal_lines_are_made_once(compiled: Backend) -> None:
    previous = compiled.module("kernels.fieldlines").PreviousFields()
    lines = [b"Host: a", b"X-Key: one", b"Cookie: a=%032d" % 1]
    one = in_a_row(compiled, previous, *lines)
    pairs, values = one.scope({})["headers"], one.environ({})
    lines[1] = b"X-Key: two"
    other = in_a_row(compiled, previous, *lines)
    again, later = other.scope({})["headers"], other.environ({})
    assert [new is old for new, old in zip(again, pairs, strict=True)] == [True, False, True]
    assert later["HTTP_COOKIE"] is values["HTTP_COOKIE"]
    assert later["HTTP_X_KEY"] == "two"
    previous.clear()
    third = in_a_row(compiled, previous, *lines)
    assert third.scope({})["headers"] == again
    assert third.scope({})["headers"][2] is not again[2]


@pytest.mark.parametrize("lines", [[b"X-%d: 1" % number for number in range(33)], [b"X-A: %04097d" % 1]])
def test_what_is_kept_has_a_bound(compiled: Backend, lines: list[bytes]) -> None:
    previous = compiled.module("kernels.fieldlines").PreviousFields()
    one = in_a_row(compiled, previous, *lines)
    other = in_a_row(compiled, previous, *lines)
    assert one.scope({})["headers"] == other.scope({})["headers"]
    assert one.scope({})["headers"][0] is not other.scope({})["headers"][0]
