"""permessage-deflate (RFC 7692): what is agreed, and that both sides then keep to it."""

from __future__ import annotations

import random
import zlib

import pytest

from .harness import Server
from .wsclient import (
    BINARY,
    CONTINUATION,
    EMPTY_TAIL,
    INVALID_DATA,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    RSV2,
    TEXT,
    close,
    connect,
    deflate,
    fragments,
    frame,
    text,
)

EXTENSIONS = "Sec-WebSocket-Extensions: "
OFFER = EXTENSIONS + "permessage-deflate"
TEXTS = [f"A sentence that comes again and again, number {number}. " * 20 for number in range(10)]

# Negotiation (RFC 7692 5 and 7.1)


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_no_context_takeover",
        'permessage-deflate; client_max_window_bits="12"',
        "permessage-deflate;client_max_window_bits ; client_no_context_takeover",
        "unknown, permessage-deflate",
        "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
        "permessage-deflate; unknown_parameter, permessage-deflate",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
    ],
)
def test_offers_that_are_accepted(ws: Server, offer: str) -> None:
    with connect(ws, "/echo", EXTENSIONS + offer) as client:
        parameters = client.parameters()
        # RFC 7692 7.1.2.2: only where the client says that it knows the parameter, and no more than it says.
        if "client_max_window_bits" in parameters:
            assert "client_max_window_bits" in offer
            assert 8 <= int(parameters["client_max_window_bits"]) <= 15
        assert set(parameters) <= {
            *("server_no_context_takeover", "client_no_context_takeover"),
            *("server_max_window_bits", "client_max_window_bits"),
        }
        client.echo("compressed " * 100)
        client.finish()


@pytest.mark.parametrize("bits", range(9, 16))
def test_window_of_the_server(ws: Server, bits: int) -> None:
    """What was asked for must be answered (7.1.2.1), and kept: a decoder with that window reads everything."""
    with connect(ws, "/echo", OFFER + f"; server_max_window_bits={bits}") as client:
        assert 9 <= int(client.parameters()["server_max_window_bits"]) <= bits
        words = random.Random(bits).randbytes(30_000).hex()
        for content in (words + words[::-1] + words, words, words):
            client.echo(content)
        client.finish()


def test_no_context_takeover_of_the_server(ws: Server) -> None:
    """Answered (7.1.1.1), and kept: each message can be read by itself."""
    with connect(ws, "/echo", OFFER + "; server_no_context_takeover") as client:
        assert client.parameters()["server_no_context_takeover"] == ""
        for content in TEXTS:
            client.send(text(content))
            found = client.frame()
            assert found.rsv == RSV1, "not compressed"
            assert zlib.decompressobj(-15).decompress(found.payload + EMPTY_TAIL).decode() == content
        client.finish()


@pytest.mark.parametrize(
    "offer",
    [
        "unknown",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=ten",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=012",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; unknown_parameter",
    ],
)
def test_offers_that_are_declined(ws: Server, offer: str) -> None:
    """7.1: an offer that can't be kept or understood is as if it had not been made."""
    with connect(ws, "/echo", EXTENSIONS + offer) as client:
        assert client.extensions is None
        client.echo("not compressed " * 100)
        client.send(frame(TEXT, deflate(b"x"), rsv=RSV1))
        client.fails_with(PROTOCOL_ERROR)


def test_offers_in_several_fields(ws: Server) -> None:
    with connect(ws, "/echo", EXTENSIONS + "unknown", OFFER + "; server_no_context_takeover") as client:
        assert "server_no_context_takeover" in client.parameters()


def test_off_by_option() -> None:
    with Server("ws_apps:probe", "--no-ws-per-message-deflate") as server, connect(server, "/echo", OFFER) as client:
        assert client.extensions is None
        client.echo("not compressed " * 100)


# Messages from the client


@pytest.mark.parametrize(
    "data",
    [
        "f2 48 cd c9 c9 07 00",
        "00 05 00 fa ff 48 65 6c 6c 6f 00",
        "f3 48 cd c9 c9 07 00 00",
        "f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
    ],
    ids=["one-block", "stored", "bfinal", "two-blocks"],
)
def test_examples_of_the_rfc(ws: Server, data: str) -> None:
    """RFC 7692 7.2.3."""
    with connect(ws, "/echo", OFFER) as client:
        client.send(frame(TEXT, bytes.fromhex(data), rsv=RSV1))
        assert client.message() == "Hello"
        client.finish()


def test_example_of_shared_context(ws: Server) -> None:
    """RFC 7692 7.2.3.2: the second message refers to the first."""
    with connect(ws, "/echo", OFFER) as client:
        client.send(frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1))
        client.send(frame(TEXT, bytes.fromhex("f200110000"), rsv=RSV1))
        assert [client.message(), client.message()] == ["Hello", "Hello"]
        client.finish()


def test_messages_after_a_final_block(ws: Server) -> None:
    """A block with BFINAL ends neither the message nor the connection (7.2.3.4)."""
    with connect(ws, "/echo", OFFER) as client:
        for _ in range(3):
            client.send(frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=RSV1))
            assert client.message() == "Hello"


def test_context_of_the_client(ws: Server) -> None:
    """One compressor for all messages, as clients have it, or one for each."""
    with connect(ws, "/echo", OFFER) as client:
        compressor = zlib.compressobj(9, zlib.DEFLATED, -int(client.parameters().get("client_max_window_bits", 15)))
        for content in TEXTS:
            data = compressor.compress(content.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
            client.send(frame(TEXT, data.removesuffix(EMPTY_TAIL), rsv=RSV1))
            assert client.message() == content
        for content in TEXTS:
            client.send(frame(TEXT, deflate(content.encode()), rsv=RSV1))
            assert client.message() == content
        client.finish()


@pytest.mark.parametrize("bits", range(9, 16))
def test_window_of_the_client(ws: Server, bits: int) -> None:
    """Whatever the server answers, a smaller window is always right."""
    with connect(ws, "/echo", OFFER + "; client_max_window_bits") as client:
        agreed = int(client.parameters().get("client_max_window_bits", 15))
        words = random.Random(bits).randbytes(30_000).hex().encode()
        client.send(frame(TEXT, deflate(words * 2, window=min(bits, agreed)), rsv=RSV1))
        assert client.message() == words.decode() * 2


def test_empty_messages(ws: Server) -> None:
    """RFC 7692 7.2.3.6."""
    with connect(ws, "/echo", OFFER) as client:
        for data in (b"\0", b"\x02\x00", deflate(b"")):
            client.send(frame(TEXT, data, rsv=RSV1))
            assert client.message() == ""


def test_fragments_of_a_compressed_message(ws: Server) -> None:
    """Cut anywhere; RSV1 stands on the first alone (6.1)."""
    content = TEXTS[0]
    data = deflate(content.encode())
    with connect(ws, "/echo", OFFER) as client:
        for cuts in ([data[:1], data[1:]], [data[i : i + 1] for i in range(len(data))], [b"", data, b""]):
            client.send(b"".join(fragments(TEXT, *cuts, rsv=RSV1)))
            assert client.message() == content
        first, second = fragments(TEXT, data[:10], data[10:], rsv=RSV1)
        client.send(first + frame(PING, b"between") + second)
        found = client.frame()
        assert (found.opcode, found.payload) == (PONG, b"between")
        assert client.message() == content
        client.finish()


def test_messages_that_are_not_compressed(ws: Server) -> None:
    """A sender chooses, message by message (6)."""
    with connect(ws, "/echo", OFFER) as client:
        for content in TEXTS[:5]:
            client.send(text(content))
            assert client.message() == content
            client.send(frame(TEXT, deflate(content.encode()), rsv=RSV1))
            assert client.message() == content


@pytest.mark.parametrize(
    "wrong",
    [
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, deflate(b"b"), rsv=RSV1),
        frame(TEXT, deflate(b"a"), fin=False, rsv=RSV1) + frame(CONTINUATION, b"b", rsv=RSV1),
        frame(PING, b"x", rsv=RSV1),
        frame(8, b"\x03\xe8", rsv=RSV1),
        frame(TEXT, deflate(b"x"), rsv=RSV1 | RSV2),
    ],
    ids=["continuation", "continuation-again", "ping", "close", "rsv2"],
)
def test_rsv1_where_it_must_not_be(ws: Server, wrong: bytes) -> None:
    with connect(ws, "/echo", OFFER) as client:
        client.send(wrong)
        client.fails_with(PROTOCOL_ERROR)


def test_compressed_text_that_is_not_utf8(ws: Server) -> None:
    with connect(ws, "/echo", OFFER) as client:
        client.send(frame(TEXT, deflate(b"fine \xed\xa0\x80"), rsv=RSV1))
        client.fails_with(INVALID_DATA)
    with connect(ws, "/echo", OFFER) as client:
        client.send(frame(TEXT, deflate(b"fine \xff" * 100)[:-5], fin=False, rsv=RSV1))
        client.fails_with(INVALID_DATA)
    with connect(ws, "/echo", OFFER) as client:
        client.send(frame(BINARY, deflate(b"\xff\xfe"), rsv=RSV1))
        assert client.message() == b"\xff\xfe"


# Messages from the server


def test_server_compresses(ws: Server) -> None:
    """It does, where it pays, and later messages gain from earlier ones."""
    with connect(ws, "/echo", OFFER) as client:
        sizes = []
        for _ in range(2):
            client.send(text(TEXTS[0]))
            found = client.frame()
            assert found.rsv == RSV1
            assert client.inflate(found.payload).decode() == TEXTS[0]
            sizes.append(len(found.payload))
        assert sizes[1] < sizes[0] < len(TEXTS[0]) / 5


def test_small_messages_are_left_alone() -> None:
    """--ws-deflate-min-size: below it compression costs more than it brings."""
    with Server("ws_apps:probe", "--ws-deflate-min-size", "200") as server, connect(server, "/echo", OFFER) as client:
        for size, compressed in ((199, False), (200, True), (0, False)):
            client.send(text("x" * size))
            found = client.frame()
            assert bool(found.rsv) is compressed
            if not compressed:
                assert found.payload == b"x" * size


def test_large_messages(ws: Server) -> None:
    data = random.Random(1).randbytes(2_000_000)
    with connect(ws, "/echo", OFFER) as client:
        for content in (data, bytes(5_000_000), data * 2):
            client.send(frame(BINARY, deflate(content, level=1), rsv=RSV1))
            assert client.message() == content
        client.send(close())
        client.closed()


@pytest.mark.parametrize("memory", ["24KiB", "64KiB", "1MiB"])
def test_memory_budget(memory: str) -> None:
    """--ws-deflate-memory: the windows follow from it, and both sides still understand each other."""
    with Server("ws_apps:probe", "--ws-deflate-memory", memory) as server:
        for offer in (OFFER, OFFER + "; client_max_window_bits"):
            with connect(server, "/echo", offer) as client:
                words = random.Random(7).randbytes(20_000).hex()
                agreed = int(client.parameters().get("client_max_window_bits", 15))
                for _ in range(3):
                    client.send(frame(TEXT, deflate(words.encode(), window=max(agreed, 9)), rsv=RSV1))
                    assert client.message() == words
