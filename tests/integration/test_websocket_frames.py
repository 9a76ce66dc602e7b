"""RFC 6455, frame by frame: what a server must take, what it must refuse, and with which close code."""

from __future__ import annotations

import os
import random

import pytest

from .harness import Server
from .wsclient import (
    ABNORMAL,
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_DATA,
    NO_CODE,
    NORMAL,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    close,
    connect,
    fragments,
    frame,
    text,
)

EURO = "\u20ac".encode()

# Messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1_000_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_echo_of_every_length(ws: Server, opcode: int, size: int) -> None:
    """At the edges of the three ways to write a length (RFC 6455 5.2)."""
    data = random.Random(size).randbytes(size)
    if opcode == TEXT:
        data = data.hex().encode()[:size]
    with connect(ws) as client:
        client.send(frame(opcode, data))
        message = client.message()
        assert message == (data.decode() if opcode == TEXT else data)
        client.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 127, 1000])
def test_masking(ws: Server, size: int) -> None:
    """Every key is as good as any other (RFC 6455 5.3), wherever the payload begins in memory."""
    with connect(ws) as client:
        for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4", os.urandom(4), os.urandom(4)):
            data = os.urandom(size)
            client.send(frame(BINARY, data, key=key))
            assert client.message() == data


def test_several_messages_in_one_segment(ws: Server) -> None:
    with connect(ws) as client:
        client.send(b"".join(text(f"message {number}") for number in range(500)))
        assert [client.message() for _ in range(500)] == [f"message {number}" for number in range(500)]
        client.finish()


def test_messages_with_the_handshake(ws: Server) -> None:
    """A client should wait for the answer, but what it sent already is not lost."""
    with connect(ws, None) as client:
        client.open("/echo", after=text("early") + frame(PING, b"bird"))
        received = {(found.opcode, found.payload) for found in (client.frame(), client.frame())}
        assert received == {(TEXT, b"early"), (PONG, b"bird")}
        client.finish()


def test_byte_by_byte(ws: Server) -> None:
    with connect(ws) as client:
        stream = (
            text("one") + frame(BINARY, b"\0" * 130) + b"".join(fragments(TEXT, b"a", b"", EURO)) + text("x", width=64)
        )
        client.send_each(stream[i : i + 1] for i in range(len(stream) - 4))
        client.send(stream[-4:])
        assert [client.message() for _ in range(2)] == ["one", b"\0" * 130]
        assert client.message() == "a\u20ac"


def test_every_split_of_a_message(ws: Server) -> None:
    stream = text("split " * 30)
    with connect(ws) as client:
        for at in range(1, len(stream)):
            client.send_each([stream[:at], stream[at:]])
            assert client.message() == "split " * 30


# Fragments


@pytest.mark.parametrize(
    "parts",
    [
        [b"Hel", b"lo"],
        [b"", b""],
        [b"", b"x", b""],
        [b"a"] * 300,
        [EURO[:1], EURO[1:2], EURO[2:]],
        [b"x" * 70_000, b"y" * 70_000],
    ],
    ids=["two", "empty", "empty-ends", "many", "character-cut", "large"],
)
@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
def test_fragments(ws: Server, parts: list[bytes], together: bool) -> None:
    with connect(ws) as client:
        frames = fragments(TEXT, *parts)
        client.send_each([b"".join(frames)] if together else frames)
        assert client.message() == b"".join(parts).decode()
        client.finish()


def test_control_frames_between_fragments(ws: Server) -> None:
    """RFC 6455 5.4: they may be, and a Ping is answered before the message is complete."""
    with connect(ws) as client:
        first, second, third = fragments(TEXT, b"one ", b"two ", b"three")
        client.send(first + frame(PING, b"now") + frame(PONG, b"unasked"))
        answer = client.frame()
        assert (answer.opcode, answer.payload) == (PONG, b"now")
        client.send(second + frame(PING) + third)
        answer = client.frame()
        assert (answer.opcode, answer.payload) == (PONG, b"")
        assert client.message() == "one two three"
        client.finish()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_new_message_inside_a_message(ws: Server, opcode: int) -> None:
    with connect(ws) as client:
        client.send(frame(TEXT, b"begun", fin=False) + frame(opcode, b"new"))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize("fin", [True, False])
def test_continuation_of_nothing(ws: Server, fin: bool) -> None:
    with connect(ws) as client:
        client.send(frame(CONTINUATION, b"of what?", fin=fin))
        client.fails_with(PROTOCOL_ERROR)
    with connect(ws) as client:
        client.echo()
        client.send(frame(CONTINUATION, b"", fin=fin))
        client.fails_with(PROTOCOL_ERROR)


# Control frames


def test_ping(ws: Server) -> None:
    """RFC 6455 5.5.3: a Pong with the same data, whatever that is."""
    with connect(ws) as client:
        for data in (b"", b"x", b"\0\xff" * 62, b"z" * 125):
            client.send(frame(PING, data))
            answer = client.frame()
            assert (answer.opcode, answer.payload) == (PONG, data)
        client.send(frame(PING, b"chopped")[:-3])
        client.send(frame(PING, b"chopped")[-3:])
        assert client.frame().payload == b"chopped"
        client.finish()


def test_pong_unasked(ws: Server) -> None:
    with connect(ws) as client:
        client.send(frame(PONG, b"hello") + frame(PONG))
        client.echo()


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frame_in_fragments(ws: Server, opcode: int) -> None:
    with connect(ws) as client:
        client.send(frame(opcode, b"\x03\xe8", fin=False))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 65536])
def test_control_frame_too_long(ws: Server, opcode: int, size: int) -> None:
    """Refused from the head alone: the payload need not come."""
    with connect(ws) as client:
        client.send(frame(opcode, length=size))
        client.fails_with(PROTOCOL_ERROR)


# What no frame may be


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_unmasked(ws: Server, opcode: int) -> None:
    """RFC 6455 5.1."""
    with connect(ws) as client:
        client.send(frame(opcode, b"\x03\xe8", key=None))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize("rsv", [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_reserved_bits(ws: Server, opcode: int, rsv: int) -> None:
    with connect(ws) as client:
        client.send(frame(opcode, b"\x03\xe8", rsv=rsv))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(ws: Server, opcode: int) -> None:
    with connect(ws) as client:
        client.send(frame(opcode, b"x"))
        client.fails_with(PROTOCOL_ERROR)
    with connect(ws) as client:
        client.send(frame(TEXT, b"begun", fin=False) + frame(opcode))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize(("size", "width"), [(5, 16), (125, 16), (5, 64), (126, 64), (65535, 64)])
def test_length_in_more_bytes_than_needed(ws: Server, size: int, width: int) -> None:
    """RFC 6455 5.2: "the minimal number of bytes MUST be used"."""
    with connect(ws) as client:
        client.send(frame(BINARY, b"x" * size, width=width))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1])
def test_length_with_the_top_bit(ws: Server, length: int) -> None:
    with connect(ws) as client:
        client.send(frame(BINARY, length=length))
        client.fails_with(PROTOCOL_ERROR)


def test_good_messages_before_a_bad_frame_are_answered(ws: Server) -> None:
    """What came before the fault was right, and arrived in time; also in one segment."""
    with connect(ws) as client:
        client.send(text("one") + text("two") + frame(TEXT, b"bad", rsv=RSV2) + text("never"))
        assert [client.message(), client.message()] == ["one", "two"]
        client.fails_with(PROTOCOL_ERROR)


def test_nothing_is_read_after_a_fault(ws: Server) -> None:
    """The application gets 1006 or the code sent, and none of what follows the fault."""
    with connect(ws, "/digest?name=after-fault") as client:
        client.send(frame(3, b"x") + text("never") * 100)
        client.fails_with(PROTOCOL_ERROR)
    assert ws.wait_event("disconnect", name="after-fault")["code"] in (PROTOCOL_ERROR, ABNORMAL)


# UTF-8

BAD_TEXT = {
    "lone-continuation": b"\x80",
    "overlong-2": b"\xc0\xaf",
    "overlong-3": b"\xe0\x80\xaf",
    "overlong-4": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "above-10ffff": b"\xf4\x90\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "fe": b"\xfe",
    "cut-in-the-middle": b"\xe2\x82A",
}


@pytest.mark.parametrize("bad", BAD_TEXT.values(), ids=list(BAD_TEXT))
@pytest.mark.parametrize("way", ["alone", "inside", "at-the-end", "fragments", "byte-fragments", "long"])
def test_text_that_is_not_utf8(ws: Server, bad: bytes, way: str) -> None:
    """RFC 6455 8.1; overlong forms, surrogates and more than U+10FFFF are no UTF-8 (RFC 3629 3)."""
    around = EURO * 50_000 if way == "long" else EURO * 3
    data = {"alone": bad, "at-the-end": around + bad}.get(way, around + bad + around)
    if way == "fragments":
        sent = b"".join(fragments(TEXT, data[:9], data[9:10], data[10:]))
    elif way == "byte-fragments":
        sent = b"".join(fragments(TEXT, *[data[i : i + 1] for i in range(len(data))]))
    else:
        sent = frame(TEXT, data)
    with connect(ws) as client:
        client.send(sent)
        client.fails_with(INVALID_DATA)


@pytest.mark.parametrize("cut", [EURO[:1], EURO[:2], b"\xf0\x9f\x98"])
def test_text_that_ends_inside_a_character(ws: Server, cut: bytes) -> None:
    for sent in (text("x") + frame(TEXT, b"ok " + cut), b"".join(fragments(TEXT, b"ok ", cut))):
        with connect(ws) as client:
            client.send(sent)
            if sent.startswith(text("x")):
                assert client.message() == "x"
            client.fails_with(INVALID_DATA)


def test_bad_text_fails_before_the_message_is_complete(ws: Server) -> None:
    """RFC 6455 8.1 asks for it as soon as it is known: a fragment is enough, and a part of a frame."""
    with connect(ws) as client:
        client.send(frame(TEXT, b"fine \xed\xa0", fin=False))
        client.fails_with(INVALID_DATA)
    with connect(ws) as client:
        client.send(frame(TEXT, b"fine " * 10 + b"\xff" + b" more" * 1000)[:100])
        client.fails_with(INVALID_DATA)


def test_binary_may_be_anything(ws: Server) -> None:
    with connect(ws) as client:
        for bad in BAD_TEXT.values():
            client.send(b"".join(fragments(BINARY, bad, bad)))
            assert client.message() == bad + bad


def test_text_of_all_kinds_of_characters(ws: Server) -> None:
    content = "\0 a \x7f \x80 \u07ff \u0800 \ud7ff \ue000 \ufffe \uffff \U00010000 \U0001f600 \U0010ffff"
    with connect(ws) as client:
        client.echo(content)
        data = content.encode()
        client.send(b"".join(fragments(TEXT, *[data[i : i + 1] for i in range(len(data))])))
        assert client.message() == content


# Closing


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])  # fmt: skip
def test_close_is_answered(ws: Server, code: int) -> None:
    """With the same code (RFC 6455 5.5.1), and the application is told (ASGI spec, "Disconnect")."""
    name = f"close-{code}"
    with connect(ws, f"/echo?name={name}") as client:
        client.send(close(code, "w\u00e4rum".encode()))
        client.fails_with(code)
    event = ws.wait_event("disconnect", name=name)
    assert (event["code"], event["reason"]) == (code, "w\u00e4rum")


def test_close_without_code(ws: Server) -> None:
    """The answer has none either, and to the application it is 1005 (RFC 6455 7.1.5)."""
    with connect(ws, "/echo?name=no-code") as client:
        client.send(close(None))
        assert client.closed().code in (NO_CODE, NORMAL)
        client.expect_end()
    event = ws.wait_event("disconnect", name="no-code")
    assert (event["code"], event["reason"] or "") == (NO_CODE, "")


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_with_a_code_that_must_not_be(ws: Server, code: int) -> None:
    """RFC 6455 7.4."""
    with connect(ws) as client:
        client.send(close(code))
        client.fails_with(PROTOCOL_ERROR)


def test_close_with_one_byte(ws: Server) -> None:
    with connect(ws) as client:
        client.send(frame(CLOSE, b"\x03"))
        client.fails_with(PROTOCOL_ERROR)


@pytest.mark.parametrize("reason", [b"\xff", EURO[:2], b"ok \xed\xa0\x80"])
def test_close_with_a_reason_that_is_not_utf8(ws: Server, reason: bytes) -> None:
    with connect(ws) as client:
        client.send(close(1000, reason))
        client.fails_with(INVALID_DATA)


def test_close_with_the_longest_reason(ws: Server) -> None:
    reason = "\u00e9" * 61 + "."
    with connect(ws, "/echo?name=long-reason") as client:
        client.send(close(1000, reason.encode()))
        client.fails_with(NORMAL)
    assert ws.wait_event("disconnect", name="long-reason")["reason"] == reason


def test_close_byte_by_byte(ws: Server) -> None:
    with connect(ws) as client:
        client.send_each(bytes([byte]) for byte in close(1001, b"going"))
        client.fails_with(1001)


def test_close_between_fragments(ws: Server) -> None:
    with connect(ws) as client:
        client.send(frame(TEXT, b"begun", fin=False) + close())
        client.fails_with(NORMAL)


def test_messages_before_close_are_answered(ws: Server) -> None:
    with connect(ws) as client:
        client.send(text("one") + text("two") + close())
        assert [client.message(), client.message()] == ["one", "two"]
        client.fails_with(NORMAL)


def test_nothing_is_read_after_close(ws: Server) -> None:
    """RFC 6455 1.4: what follows a Close is no concern of ours, not even when it is wrong."""
    with connect(ws) as client:
        client.send(close() + text("late") + frame(PING, b"late") + frame(3, key=None))
        client.fails_with(NORMAL)


def test_ping_before_close(ws: Server) -> None:
    with connect(ws) as client:
        client.send(frame(PING, b"last") + close())
        answer = client.frame()
        assert (answer.opcode, answer.payload) == (PONG, b"last")
        client.fails_with(NORMAL)
