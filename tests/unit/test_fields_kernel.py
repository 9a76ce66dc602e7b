"""FieldBlock and encode_head: what an application may give as fields, and what becomes of it."""

from __future__ import annotations

import array
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def fields(build: Any) -> ModuleType:
    return build.module("kernels.fields")


def encode(fields: ModuleType, given: object, drop: int = 0) -> tuple[int, Any]:
    block = fields.FieldBlock()
    return block.encode(given, drop), block


class Bytes(bytes):
    def __bytes__(self) -> bytes:
        return b"forged: yes\r\n"

    def strip(self, *_: object) -> bytes:
        return b"forged\r\n"


class Text(str):
    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        return b"forged\r\n"


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ([], b""),
        ((), b""),
        ([(b"content-type", b"text/plain")], b"content-type: text/plain\r\n"),
        ([("Content-Type", "text/plain")], b"Content-Type: text/plain\r\n"),
        ([[b"a", "b"], ("c", b"d")], b"a: b\r\nc: d\r\n"),
        ({b"a": b"b"}.items(), b"a: b\r\n"),
        ([(bytearray(b"a"), memoryview(b"b"))], b"a: b\r\n"),
        ([(b"a", memoryview(b"bxcx")[::2])], b"a: bc\r\n"),
        ([(b"a", b"")], b"a: \r\n"),
        ([(b"a", b" \t b\t c \t")], b"a: b\t c\r\n"),
        ([("a", "\xe9\xff")], b"a: \xe9\xff\r\n"),
        ([(b"a", "é".encode())], b"a: \xc3\xa9\r\n"),
        ([(b"!#$%&'*+-.^_`|~09azAZ", b"x")], b"!#$%&'*+-.^_`|~09azAZ: x\r\n"),
        ([(b"a", b"x" * 5000)], b"a: " + b"x" * 5000 + b"\r\n"),
        ([(b"n" * 400, b"x" * 700)] * 50, (b"n" * 400 + b": " + b"x" * 700 + b"\r\n") * 50),
        # A subclass can't show one thing to the check and send another.
        ([(Bytes(b"a"), Bytes(b"b"))], b"a: b\r\n"),
        ([(Text("a"), Text("b"))], b"a: b\r\n"),
    ],
)
def test_encoded(fields: ModuleType, given: object, data: bytes) -> None:
    code, block = encode(fields, given)
    assert code == fields.FIELDS_OK
    assert block.data == data
    assert type(block.data) is bytes
    assert block.count == data.count(b"\r\n")
    assert block.error_name == b""


def test_iterators(fields: ModuleType) -> None:
    for given in (iter([]), iter([(b"a", b"b")]), ((b"a", b"b") for _ in range(2)), [iter([b"a", "b"])]):
        code, block = encode(fields, given)
        assert (code, block.data) == (fields.FIELDS_OK, b"a: b\r\n" * block.count)


@pytest.mark.parametrize(
    ("given", "code", "name"),
    [
        (None, "FIELD_NOT_PAIR", b""),
        (5, "FIELD_NOT_PAIR", b""),
        ([None], "FIELD_NOT_PAIR", b""),
        ([(b"a",)], "FIELD_NOT_PAIR", b""),
        ([(b"a", b"b", b"c")], "FIELD_NOT_PAIR", b""),
        ([[b"a"]], "FIELD_NOT_PAIR", b""),
        (["ab"], "FIELD_NOT_PAIR", b""),
        ([b"ab"], "FIELD_NOT_PAIR", b""),
        ({"ab": "cd"}, "FIELD_NOT_PAIR", b""),
        (b"ab", "FIELD_NOT_PAIR", b""),
        ([(1, b"b")], "FIELD_BAD_TYPE", b""),
        ([(None, None)], "FIELD_BAD_TYPE", b""),
        ([(b"content-length", 5)], "FIELD_BAD_TYPE", b"content-length"),
        ([("Set-Cookie", None)], "FIELD_BAD_TYPE", b"Set-Cookie"),
        ([(b"a", array.array("B", b"b"))], "FIELD_BAD_TYPE", b"a"),
        ([(b"", b"b")], "FIELD_BAD_NAME", b""),
        ([(b"a b", b"b")], "FIELD_BAD_NAME", b""),
        ([(b"a:", b"b")], "FIELD_BAD_NAME", b""),
        ([(b"a\r\nb", b"b")], "FIELD_BAD_NAME", b""),
        ([(b" a", b"b")], "FIELD_BAD_NAME", b""),
        ([("\xe9", "b")], "FIELD_BAD_NAME", b""),
        ([("\u20ac", "b")], "FIELD_BAD_NAME", b""),
        ([(b"x-a", b"b\r\nset-cookie: c")], "FIELD_BAD_VALUE", b"x-a"),
        ([("x-a", "\u20ac")], "FIELD_BAD_VALUE", b"x-a"),
        ([("x-a", "a\u010a")], "FIELD_BAD_VALUE", b"x-a"),
        ([(b"ok", b"ok"), (b"x-a", b"\0")], "FIELD_BAD_VALUE", b"x-a"),
        # Only space and tab are trimmed: a line break at the end is one.
        ([(b"x-a", b"b\r\n")], "FIELD_BAD_VALUE", b"x-a"),
        ([(b"x-a", b"\nb")], "FIELD_BAD_VALUE", b"x-a"),
    ],
)
def test_refused(fields: ModuleType, given: object, code: str, name: bytes) -> None:
    result, block = encode(fields, given)
    assert result == getattr(fields, code)
    assert block.error_name == name
    assert block.data == b""
    assert block.count == 0


@pytest.mark.parametrize("padding", [0, 1, 7, 8, 9, 16])
def test_every_byte_of_a_value(fields: ModuleType, padding: int) -> None:
    """RFC 9110 5.5, with the byte at every place of a machine word."""
    for byte in range(256):
        value = b"x" * padding + bytes([byte]) + b"y" * 9
        code, block = encode(fields, [(b"n", value)])
        if byte == 9 or 0x20 <= byte <= 0x7E or byte >= 0x80:
            assert (code, block.data) == (fields.FIELDS_OK, b"n: " + value.lstrip(b" \t") + b"\r\n")
        else:
            assert (code, block.error_name) == (fields.FIELD_BAD_VALUE, b"n")
        assert encode(fields, [("n", value.decode("latin-1"))])[1].data == block.data


def test_every_byte_of_a_name(fields: ModuleType) -> None:
    """RFC 9110 5.6.2."""
    tchar = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in range(256):
        code, _ = encode(fields, [(b"n" + bytes([byte]), b"v")])
        assert code == (fields.FIELDS_OK if byte in tchar else fields.FIELD_BAD_NAME)


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        (b"content-length", "F_CONTENT_LENGTH"),
        (b"transfer-encoding", "F_TRANSFER_ENCODING"),
        (b"connection", "F_CONNECTION"),
        (b"date", "F_DATE"),
        (b"server", "F_SERVER"),
        (b"keep-alive", "F_KEEP_ALIVE"),
        (b"upgrade", "F_UPGRADE"),
        (b"trailer", "F_TRAILER"),
        (b"content-type", "F_CONTENT_TYPE"),
        (b"proxy-connection", "F_PROXY_CONNECTION"),
        (b"te", "F_TE"),
        (b"host", "F_HOST"),
    ],
)
def test_known_names(fields: ModuleType, name: bytes, bit: str) -> None:
    flag = getattr(fields, bit)
    for spelling in (name, name.upper(), name.title()):
        code, block = encode(fields, [(spelling, b"7")])
        assert (code, block.seen, block.count) == (fields.FIELDS_OK, flag, 1)
        code, block = encode(fields, [(b"a", b"b"), (spelling, b"7"), (b"c", b"d")], flag)
        assert (code, block.seen, block.count) == (fields.FIELDS_OK, flag, 2)
        assert block.data == b"a: b\r\nc: d\r\n"
        assert block.get(name) is None
    # One bit of one byte away is another name.
    for index in range(len(name)):
        other = bytearray(name)
        other[index] ^= 1
        _, block = encode(fields, [(bytes(other), b"7")])
        assert not block.seen & flag
    # What is left out is validated nevertheless.
    assert encode(fields, [(name, b"\n")], flag)[0] == fields.FIELD_BAD_VALUE


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([], -1),
        ([b"0"], 0),
        ([b" 17 "], 17),
        ([b"0" * 30 + b"5"], 5),
        ([b"9223372036854775807"], 2**63 - 1),
        ([b"9223372036854775808"], -2),
        ([b"18446744073709551617"], -2),
        ([b"9" * 5000], -2),
        ([b""], -2),
        ([b"-1"], -2),
        ([b"+1"], -2),
        ([b"1_0"], -2),
        ([b"1 0"], -2),
        ([b"0x10"], -2),
        ([b"\xb2"], -2),
        (["\u00b2"], -2),
        ([b"5, 5"], -2),
        ([b"5", b"6"], 5),
        ([b"x", b"6"], -2),
    ],
)
def test_content_length(fields: ModuleType, values: list[bytes], length: int) -> None:
    code, block = encode(fields, [(b"Content-Length", value) for value in values])
    assert code == fields.FIELDS_OK
    assert block.content_length == length
    assert block.content_length_count == len(values)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([], 0),
        ([b""], 0),
        ([b"close"], 1),
        ([b"Keep-Alive"], 2),
        ([b"UPGRADE"], 4),
        ([b"keep-alive,\tClose ,x"], 3),
        ([b", ,close"], 1),
        ([b"closed, aclose, clos"], 0),
        ([b"close", b"upgrade"], 5),
        ([b"keep\ralive"], None),
        ([b"keep\xadalive"], 0),
    ],
)
def test_connection_options(fields: ModuleType, values: list[bytes], options: int | None) -> None:
    code, block = encode(fields, [(b"connection", value) for value in values])
    if options is None:
        assert code == fields.FIELD_BAD_VALUE
    else:
        assert (code, block.connection_options) == (fields.FIELDS_OK, options)


def test_fields_and_get(fields: ModuleType) -> None:
    _, block = encode(
        fields,
        [(b"X-A", b"1: 2"), ("Date", "now"), (b"x-a", b"3"), (b"x-empty", b""), (b"close", b"z")],
        fields.F_DATE,
    )
    assert block.fields == [(b"x-a", b"1: 2"), (b"x-a", b"3"), (b"x-empty", b""), (b"close", b"z")]
    assert block.get(b"x-a") == b"1: 2"
    assert block.get(b"x-empty") == b""
    assert block.get(b"close") == b"z"
    assert block.get(b"date") is None
    assert block.get(b"x") is None
    assert block.get(b"") is None
    assert block.get(b"x-empty-and-much-longer-than-any-line") is None
    assert fields.FieldBlock().fields == []
    assert fields.FieldBlock().get(b"a") is None


def test_used_again(fields: ModuleType) -> None:
    block = fields.FieldBlock()
    assert block.encode([(b"content-length", b"5"), (b"connection", b"close")], 0) == fields.FIELDS_OK
    assert block.encode([(b"a", b"\n")], 0) == fields.FIELD_BAD_VALUE
    assert block.encode([(b"a", b"b")], 0) == fields.FIELDS_OK
    assert (block.data, block.count, block.seen, block.error_name) == (b"a: b\r\n", 1, 0, b"")
    assert (block.content_length, block.content_length_count, block.connection_options) == (-1, 0, 0)


def test_an_error_while_iterating_is_passed_on(fields: ModuleType) -> None:
    def broken() -> Any:
        yield (b"a", b"b")
        raise RuntimeError("from the application")

    block = fields.FieldBlock()
    with pytest.raises(RuntimeError, match="from the application"):
        block.encode(broken(), 0)
    assert (block.data, block.count) == (b"", 0)


def test_a_list_changed_while_it_is_read(fields: ModuleType) -> None:
    given: list[Any] = []

    class Pair:
        def __iter__(self) -> Any:
            given.clear()
            return iter([b"a", b"b"])

    given += [Pair(), (b"c", b"d")]
    code, block = encode(fields, given)
    assert (code, block.data) == (fields.FIELDS_OK, b"a: b\r\n")


@pytest.mark.parametrize("body", [None, b"", b"content"])
def test_encode_head(fields: ModuleType, body: bytes | None) -> None:
    head = fields.encode_head(b"HTTP/1.1 200 OK\r\n", b"Date: x\r\n", b"a: b\r\n", b"Connection: close\r\n", body)
    expected = b"HTTP/1.1 200 OK\r\nDate: x\r\na: b\r\nConnection: close\r\n\r\n" + (body or b"")
    assert head == expected
    assert fields.encode_head(b"HTTP/1.1 200 OK\r\n", b"", b"", b"", body) == b"HTTP/1.1 200 OK\r\n\r\n" + (body or b"")
    with pytest.raises(TypeError):
        fields.encode_head(None, b"", b"", b"", body)
