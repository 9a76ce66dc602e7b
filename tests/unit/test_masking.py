"""Frames of the WebSocket protocol: heads at every split, payloads in every piece, text, and what is written."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from gateway.core.kernels.grammar import DONE, NEED_DATA

KEY = bytes.fromhex("37fa213d")
LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 71, 127, 128, 129, 200, 255, 256, 257, 1000, 70001]  # fmt: skip
# Frames that RFC 6455 5.7 gives as examples.
HELLO = b"\x81\x05Hello"
MASKED_HELLO = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"

VALID = [
    "", "a", "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U00010000", "\U0010ffff",
    "\u03ba\u1f79\u03c3\u03bc\u03b5", "Hello-\xb5@\xdf\xf6\xe4\xfc\xe0\xe1-UTF-8!!", "a\xe9\u20ac\U0001f600" * 3,
]  # fmt: skip

# Bytes that are no text, and how many of them could still have become some.
INVALID = [
    (b"\x80", 0), (b"\xbf", 0), (b"abc\x80", 3), (b"\xc0\x80", 0), (b"\xc0\xaf", 0), (b"\xc1\xbf", 0), (b"\xc2a", 1), (b"\xc2\x7f", 1),
    (b"\xc2\xc0", 1), (b"\xe0\x80\x80", 1), (b"\xe0\x9f\xbf", 1), (b"\xe0\xa0a", 2), (b"\xe1\x7f", 1), (b"\xe1\xc0", 1),
    (b"\xed\xa0\x80", 1), (b"\xed\xbf\xbf", 1), (b"\xef\xbf\xc0", 2), (b"\xf0\x80\x80\x80", 1), (b"\xf0\x8f\xbf\xbf", 1),
    (b"\xf0\x90a", 2), (b"\xf0\x90\x80a", 3), (b"\xf0\x90\x80\xc0", 3), (b"\xf1\x7f", 1), (b"\xf1\xc0", 1), (b"\xf4\x90\x80\x80", 1),
    (b"\xf5\x80\x80\x80", 0), (b"\xf8\x88\x80\x80\x80", 0), (b"\xfe", 0), (b"\xff", 0), (b"0123456789\xff", 10),
    ("\u03ba\u1f79\u03c3\u03bc\u03b5".encode() + b"\xed\xa0\x80edited", 12),
]  # fmt: skip

CUT_OFF = [b"\xc2", b"\xdf", b"\xe0", b"\xe0\xa0", b"\xed\x9f", b"\xef\xbf", b"\xf0", b"\xf0\x90", b"\xf4\x8f\xbf", b"abcdefghi\xe2\x82"]  # fmt: skip


def plain_mask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """RFC 6455 5.3, word for word."""
    return bytes(byte ^ key[(offset + index) % 4] for index, byte in enumerate(data))


def head_of(build: Any, data: bytes) -> tuple[Any, Any]:
    """A buffer fed with `data`, and the head taken out of it."""
    buffer, head = build.module("kernels.buffer").InputBuffer(), build.module("kernels.masking").FrameHead()
    buffer.feed(data)
    assert head.parse(buffer) == DONE
    return buffer, head


def facts(head: Any) -> tuple[Any, ...]:
    return (head.fin, head.rsv, head.opcode, head.masked, head.length, head.minimal, head.key)


def masked_frame(payload: bytes, first: int = 0x81, key: bytes = KEY) -> bytes:
    size = len(payload)
    if size <= 125:
        length = bytes([size | 128])
    elif size <= 65535:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first]) + length + key + plain_mask(payload, key)


# Heads.


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("8100", (True, 0, 1, False, 0, True)),
        ("0105", (False, 0, 1, False, 5, True)),
        ("ff7d", (True, 7, 15, False, 125, True)),
        ("c280", (True, 4, 2, True, 0, True)),
        ("a07d", (True, 2, 0, False, 125, True)),
        ("9aff7fffffffffffffff", (True, 1, 10, True, 2**63 - 1, True)),
        ("827e007e", (True, 0, 2, False, 126, True)),
        ("827e007d", (True, 0, 2, False, 125, False)),
        ("827e0000", (True, 0, 2, False, 0, False)),
        ("82fe0100", (True, 0, 2, True, 256, True)),
        ("827effff", (True, 0, 2, False, 65535, True)),
        ("827f0000000000010000", (True, 0, 2, False, 65536, True)),
        ("827f000000000000ffff", (True, 0, 2, False, 65535, False)),
        ("827f0000000000000000", (True, 0, 2, False, 0, False)),
        ("82ff0102030405060708", (True, 0, 2, True, 0x0102030405060708, True)),
        ("827f8000000000000000", (True, 0, 2, False, -1, True)),
        ("827fffffffffffffffff", (True, 0, 2, False, -1, True)),
    ],
)
def test_head(build: Any, raw: str, expected: tuple[Any, ...]) -> None:
    """However it is cut up; what follows stays where it is."""
    masked = expected[3]
    data = bytes.fromhex(raw) + (KEY if masked else b"")
    expected = (*expected, KEY if masked else bytes(4))
    for splits in range(len(data)):
        buffer, head = build.module("kernels.buffer").InputBuffer(), build.module("kernels.masking").FrameHead()
        before = facts(head)
        for end in range(splits):
            buffer.feed(data[end : end + 1])
            assert head.parse(buffer) == NEED_DATA
            assert facts(head) == before
            assert buffer.available() == end + 1
        buffer.feed(data[splits:] + b"rest")
        assert head.parse(buffer) == DONE
        assert facts(head) == expected
        assert [type(fact) for fact in facts(head)] == [bool, int, int, bool, int, bool, bytes]
        assert buffer.take(99) == b"rest"


def test_an_object_for_all_heads(build: Any) -> None:
    """Nothing of a head is left in the next one, and an incomplete one changes nothing."""
    buffer, head = head_of(build, bytes.fromhex("f1fe0001") + KEY + bytes.fromhex("02") + bytes.fromhex("7e00"))
    assert facts(head) == (True, 7, 1, True, 1, False, KEY)
    assert head.parse(buffer) == NEED_DATA
    assert facts(head) == (True, 7, 1, True, 1, False, KEY)
    buffer.feed(b"\x80")
    assert head.parse(buffer) == DONE
    assert facts(head) == (False, 0, 2, False, 128, True, bytes(4))


def test_nothing_there(build: Any) -> None:
    buffer, head = build.module("kernels.buffer").InputBuffer(), build.module("kernels.masking").FrameHead()
    assert head.parse(buffer) == NEED_DATA
    assert facts(head) == (False, 0, 0, False, 0, False, bytes(4))


def test_first_two_bytes(build: Any) -> None:
    """All 65,536 of them."""
    rest = bytes(range(1, 13))
    for first, second in itertools.product(range(256), range(256)):
        buffer, head = head_of(build, bytes((first, second)) + rest)
        short = second & 127
        extended = {126: 2, 127: 8}.get(short, 0)
        length = int.from_bytes(rest[:extended], "big") if extended else short
        key = rest[extended : extended + 4] if second & 128 else bytes(4)
        assert facts(head) == (first > 127, first >> 4 & 7, first & 15, second > 127, length, True, key)
        assert buffer.available() == 12 - extended - (4 if second & 128 else 0)


# Masking.


def test_mask(build: Any) -> None:
    rng = random.Random(1)
    mask = build.module("kernels.masking").mask
    for size, offset in itertools.product(LENGTHS, [0, 1, 2, 3, 4, 2**63 - 1]):
        data, key = rng.randbytes(size), rng.randbytes(4)
        masked = mask(data, key, offset)
        assert type(masked) is bytes
        assert masked == plain_mask(data, key, offset)
        assert mask(masked, key, offset) == data
    for key in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError):
            mask(b"data", key, 0)


def test_payload_whole(build: Any) -> None:
    take_payload = build.module("kernels.masking").take_payload
    for size in LENGTHS:
        payload = random.Random(size).randbytes(size)
        for frame in (masked_frame(payload), build.module("kernels.masking").encode_frame(2, payload, True, False)):
            buffer, head = head_of(build, frame + b"rest")
            taken = take_payload(buffer, head, 0, head.length)
            assert type(taken) is bytes
            assert taken == payload
            assert buffer.take(99) == b"rest"


def test_payload_in_pieces(build: Any) -> None:
    """Every piece begins where the one before ended, whatever the key is at then."""
    masking = build.module("kernels.masking")
    payload = bytes(range(256)) * 2
    for step in (1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 509):
        buffer, head = head_of(build, masked_frame(payload) + b"rest")
        pieces: list[bytes] = []
        while (offset := sum(map(len, pieces))) < len(payload):
            pieces.append(masking.take_payload(buffer, head, offset, min(step, len(payload) - offset)))
        assert b"".join(pieces) == payload
        assert buffer.take(99) == b"rest"


def test_payload_as_it_comes(build: Any) -> None:
    """No more than there is; and nothing is asked for by no size, or one below zero."""
    masking = build.module("kernels.masking")
    payload = b"0123456789"
    for frame in (masked_frame(payload), masking.encode_frame(2, payload, True, False)):
        buffer, head = head_of(build, frame[:-4])
        assert masking.take_payload(buffer, head, 0, 0) == b""
        assert masking.take_payload(buffer, head, 0, -1) == b""
        assert masking.take_payload(buffer, head, 0, 10) == b"012345"
        assert masking.take_payload(buffer, head, 6, 4) == b""
        buffer.feed(frame[-4:])
        # A length is as large as the peer says; what is there is what counts.
        assert masking.take_payload(buffer, head, 6, 2**63 - 1) == b"6789"


def test_payload_far_into_a_frame(build: Any) -> None:
    masking = build.module("kernels.masking")
    data = b"\x82\xff\x7f" + b"\xff" * 7 + KEY
    for offset in (2**31 - 1, 2**32 + 1, 2**63 - 5, 2**63 - 4, 2**63 - 3):
        buffer, head = head_of(build, data + plain_mask(b"abcdefgh", KEY, offset))
        assert masking.take_payload(buffer, head, offset, 8) == b"abcdefgh"


def test_frames_in_one_buffer(build: Any) -> None:
    masking = build.module("kernels.masking")
    payloads = [b"", b"a", b"", b"x" * 125, b"y" * 126, b"z" * 65536, b"end"]
    buffer, head = build.module("kernels.buffer").InputBuffer(), masking.FrameHead()
    buffer.feed(b"".join(masked_frame(payload, key=bytes([number] * 4)) for number, payload in enumerate(payloads)))
    for number, payload in enumerate(payloads):
        assert head.parse(buffer) == DONE
        assert (head.length, head.key) == (len(payload), bytes([number] * 4))
        if number % 2:
            assert masking.take_text(buffer, head, head.length) == payload.decode()
        else:
            assert masking.take_payload(buffer, head, 0, head.length) == payload
    assert head.parse(buffer) == NEED_DATA
    assert buffer.available() == 0


# Text.


def texts(build: Any, payload: bytes) -> list[str | None]:
    """`payload` through `take_text`, masked and not, with something after it that must stay."""
    masking = build.module("kernels.masking")
    found = []
    for frame in (masked_frame(payload), masking.encode_frame(1, payload, True, False)):
        buffer, head = head_of(build, frame + b"\x80rest")
        found.append(masking.take_text(buffer, head, head.length))
        assert buffer.take(99) == b"\x80rest"
    return found


def test_examples(build: Any) -> None:
    masking = build.module("kernels.masking")
    for frame in (HELLO, MASKED_HELLO):
        buffer, head = head_of(build, frame)
        assert masking.take_text(buffer, head, 5) == "Hello"
    assert masking.encode_text("Hello") == HELLO


@pytest.mark.parametrize("text", VALID)
def test_text(build: Any, text: str) -> None:
    for times in (1, 10, 1000):
        assert texts(build, text.encode() * times) == [text * times] * 2


def test_text_of_every_size(build: Any) -> None:
    for size in LENGTHS:
        ascii_text = "".join(chr(97 + index % 26) for index in range(size))
        assert texts(build, ascii_text.encode()) == [ascii_text] * 2
        # One character that is not ASCII, at every place where vectors, words and bytes meet.
        for index in {0, 1, size // 2, size - 9, size - 8, size - 5, size - 4, size - 2, size - 1} & set(range(size)):
            text = ascii_text[:index] + "\xe9" + ascii_text[index + 1 :]
            assert texts(build, text.encode()) == [text] * 2
            wrong = ascii_text[:index].encode() + b"\xe9" + ascii_text[index + 1 :].encode()
            assert texts(build, wrong) == [None] * 2


@pytest.mark.parametrize("data", [data for data, _ in INVALID] + CUT_OFF)
def test_no_text(build: Any, data: bytes) -> None:
    for before in (b"", b"a" * 8, b"\xe2\x82\xac" * 100):
        assert texts(build, before + data) == [None] * 2


def test_text_that_is_not_all_there(build: Any) -> None:
    buffer, head = head_of(build, masked_frame(b"abcdef")[:-2])
    assert build.module("kernels.masking").take_text(buffer, head, 0) == ""
    assert build.module("kernels.masking").take_text(buffer, head, -5) == ""
    assert build.module("kernels.masking").take_text(buffer, head, 6) == "abcd"
    assert buffer.available() == 0


@pytest.mark.parametrize("text", VALID)
def test_check_accepts(build: Any, text: str) -> None:
    check = build.module("kernels.masking").TextCheck()
    data = text.encode() + b"a" * 20 + text.encode()
    assert check.complete() is True
    for cut in range(len(data) + 1):
        assert check.feed(data[:cut]) is True
        try:
            data[:cut].decode()
        except UnicodeDecodeError:
            assert check.complete() is False
        else:
            assert check.complete() is True
        assert check.feed(b"") is True
        assert check.feed(data[cut:]) is True
        assert check.complete() is True
    assert all(check.feed(data[index : index + 1]) for index in range(len(data)))
    assert check.complete() is True


@pytest.mark.parametrize(("data", "good"), INVALID)
def test_check_refuses_early(build: Any, data: bytes, good: int) -> None:
    """At the first wrong byte, alone or with all before it, and for good."""
    check = build.module("kernels.masking").TextCheck()
    for before in (b"", b"a" * 9, "\u20ac\U0001f600".encode()):
        for cut in range(good + 1):
            assert check.feed(before + data[:cut]) is True
            assert check.feed(data[cut:good]) is True
            assert check.feed(data[good : good + 1]) is False
            assert check.complete() is False
            assert check.feed(b"text") is False
            assert check.feed(b"") is False
            assert check.complete() is False
            assert check.reset() == 0
            assert check.feed(b"text") is True
            assert check.complete() is True
            assert check.feed(before + data) is False
            check.reset()


@pytest.mark.parametrize("data", CUT_OFF)
def test_check_knows_what_is_cut_off(build: Any, data: bytes) -> None:
    check = build.module("kernels.masking").TextCheck()
    assert check.feed(data) is True
    assert check.complete() is False
    assert check.reset() == 0
    assert check.complete() is True
    # What was cut off is not continued after a reset.
    assert check.feed(b"\xbf") is False


def test_check_of_all_pairs(build: Any) -> None:
    """What may follow each first byte."""
    check = build.module("kernels.masking").TextCheck()
    for first, second in itertools.product(range(256), range(256)):
        data = bytes((first, second))
        # One of these completes every character that can be.
        rests = (b"", b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\xa0\x80", b"\x90\x80\x80")
        possible = any(decodes(data + rest) for rest in rests)
        assert check.feed(data) is possible, data
        check.reset()


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# What is written.


def test_frame_head(build: Any) -> None:
    frame_head = build.module("kernels.masking").frame_head
    assert frame_head(1, 0, True, False) == b"\x81\0"
    assert frame_head(0, 125, False, False) == b"\0\x7d"
    assert frame_head(2, 126, True, True) == b"\xc2\x7e\0\x7e"
    assert frame_head(10, 65535, False, True) == b"\x4a\x7e\xff\xff"
    assert frame_head(15, 65536, True, False) == b"\x8f\x7f\0\0\0\0\0\1\0\0"
    assert frame_head(2, 0x0102030405060708, True, False) == b"\x82\x7f\1\2\3\4\5\6\7\x08"
    assert frame_head(2, 2**63 - 1, True, False) == b"\x82\x7f\x7f" + b"\xff" * 7
    with pytest.raises(ValueError):
        frame_head(2, -1, True, False)


def test_frames(build: Any) -> None:
    masking = build.module("kernels.masking")
    for size in [*LENGTHS, 124, 125, 126, 65534, 65535, 65536]:
        payload = bytes(index & 127 for index in range(size))
        for opcode, fin, rsv1 in ((0, False, False), (1, True, False), (2, True, True), (9, False, True)):
            frame = masking.frame_head(opcode, size, fin, rsv1) + payload
            assert masking.encode_frame(opcode, payload, fin, rsv1) == frame
            buffer, head = head_of(build, frame)
            assert facts(head) == (fin, 4 * rsv1, opcode, False, size, True, bytes(4))
            assert masking.take_payload(buffer, head, 0, size) == payload
        assert masking.encode_text(payload.decode()) == masking.frame_head(1, size, True, False) + payload


@pytest.mark.parametrize("text", VALID)
def test_encode_text(build: Any, text: str) -> None:
    masking = build.module("kernels.masking")
    for times in (1, 30, 1000):
        # Twice: a str may keep what it was encoded to.
        for _ in range(2):
            assert masking.encode_text(text * times) == masking.encode_frame(1, (text * times).encode(), True, False)


class Text(str):
    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        return b"something else"


def test_encode_text_of_a_subclass(build: Any) -> None:
    """Templates give strings that are marked as safe: text as any other."""
    assert build.module("kernels.masking").encode_text(Text("Hello")) == HELLO


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\U0001f600\udc00" * 200])
def test_surrogates_are_no_text(build: Any, text: str) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        build.module("kernels.masking").encode_text(text)


@pytest.mark.parametrize("text", [None, b"Hello", 5])
def test_encode_text_takes_text(build: Any, text: Any) -> None:
    with pytest.raises(TypeError):
        build.module("kernels.masking").encode_text(text)


def test_no_data(build: Any) -> None:
    """ASGI messages have None where there is nothing; it must not get this far, and does no harm if it does."""
    masking = build.module("kernels.masking")
    for call in (
        lambda: masking.encode_frame(2, None, True, False),
        lambda: masking.TextCheck().feed(None),
        lambda: masking.mask(None, KEY, 0),
        lambda: masking.mask(b"", None, 0),
    ):
        with pytest.raises(TypeError):
            call()
