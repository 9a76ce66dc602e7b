"""Every limit of a WebSocket, hit from outside, with the close code read; and memory, which nobody can make grow."""

from __future__ import annotations

import time
import uuid
import zlib
from collections.abc import Iterator

import pytest

from .harness import WAIT, Server
from .wsclient import (
    ABNORMAL,
    BINARY,
    CONTINUATION,
    INTERNAL_ERROR,
    INVALID_DATA,
    NORMAL,
    PING,
    PONG,
    RSV1,
    TEXT,
    TOO_BIG,
    close,
    connect,
    deflate,
    fragments,
    frame,
    text,
)

OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
MIB = 1 << 20


def unique() -> str:
    return uuid.uuid4().hex


# Sizes


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A server with low limits, so that a little is enough to hit them."""
    options = {
        "--ws-max-size": "10000",
        "--ws-max-frame-size": "4000",
        "--ws-max-fragments": "20",
        "--ws-ping-interval": "0",
    }
    with Server("ws_apps:probe", *[word for pair in options.items() for word in pair]) as server:
        yield server


def test_message_of_the_largest_size(small: Server) -> None:
    with connect(small) as client:
        client.send(b"".join(fragments(TEXT, b"x" * 4000, b"y" * 4000, b"z" * 2000)))
        assert client.message() == "x" * 4000 + "y" * 4000 + "z" * 2000
        client.finish()


def test_message_too_large(small: Server) -> None:
    name = unique()
    with connect(small, f"/echo?name={name}") as client:
        client.send(b"".join(fragments(BINARY, b"x" * 4000, b"y" * 4000, b"z" * 2001)))
        client.fails_with(TOO_BIG)
    assert small.wait_event("disconnect", name=name)["code"] in (TOO_BIG, ABNORMAL)


def test_frame_of_the_largest_size(small: Server) -> None:
    with connect(small) as client:
        client.send(frame(BINARY, b"x" * 4000))
        assert client.message() == b"x" * 4000
        client.finish()


def test_frame_too_large(small: Server) -> None:
    """Refused from the head: what is too large need not arrive."""
    for first in (b"", frame(TEXT, b"begun", fin=False)):
        with connect(small) as client:
            client.send(first + frame(CONTINUATION if first else BINARY, length=4001))
            client.fails_with(TOO_BIG)


def test_frame_above_the_message_limit() -> None:
    """Without a limit for frames the message's holds, also from the head alone and counting earlier fragments."""
    with Server("ws_apps:probe", "--ws-max-size", "10000") as server:
        with connect(server) as client:
            client.send(frame(TEXT, length=10_001))
            client.fails_with(TOO_BIG)
        with connect(server) as client:
            client.send(frame(BINARY, b"x" * 9000, fin=False) + frame(CONTINUATION, length=1001))
            client.fails_with(TOO_BIG)
        with connect(server) as client:
            client.send(frame(BINARY, length=1 << 40))
            client.fails_with(TOO_BIG)


def test_default_limit() -> None:
    """16 MiB is a message, and one byte more is not."""
    with Server("ws_apps:probe") as server:
        with connect(server, "/digest") as client:
            client.send(frame(BINARY, b"x" * (16 * MIB), key=b"\0\0\0\0"))
            assert client.json()[:2] == ["bytes", 16 * MIB]
            client.finish()
        with connect(server) as client:
            client.send(frame(BINARY, length=16 * MIB + 1))
            client.fails_with(TOO_BIG)


def test_as_many_fragments_as_allowed(small: Server) -> None:
    with connect(small) as client:
        client.send(b"".join(fragments(TEXT, *[b"x"] * 20)))
        assert client.message() == "x" * 20
        client.finish()


@pytest.mark.parametrize("part", [b"", b"x"], ids=["empty", "small"])
def test_too_many_fragments(small: Server, part: bytes) -> None:
    """Frames cost more than their bytes, and empty ones would never come to an end."""
    with connect(small) as client:
        client.send(b"".join(fragments(TEXT, *[part] * 21)))
        client.fails_with(TOO_BIG)


def test_empty_frames_without_an_end() -> None:
    """No matter how long a client goes on, the server doesn't grow."""
    with Server("ws_apps:probe") as server, connect(server) as client:
        client.send(frame(TEXT, b"x", fin=False))
        before = server.reset_peak()
        try:
            client.send(frame(CONTINUATION, b"", fin=False) * 200_000)
        except OSError:
            pass
        else:
            client.fails_with(TOO_BIG)
        assert server.memory()[1] - before < 24 * MIB
        assert server.alive()


# Compression


def test_bomb(small: Server) -> None:
    """100 MB in 100 KB: the size that counts is the one after decompression."""
    with connect(small, "/echo", OFFER) as client:
        assert client.extensions
        data = deflate(bytes(100_000_000), level=9)
        before = small.reset_peak()
        client.send(b"".join(fragments(BINARY, *[data[i : i + 4000] for i in range(0, 60_000, 4000)], rsv=RSV1)))
        client.fails_with(TOO_BIG)
        assert small.memory()[1] - before < 8 * MIB
    assert small.alive()


def test_bomb_in_one_frame() -> None:
    with Server("ws_apps:probe", "--ws-max-size", "1MiB") as server, connect(server, "/echo", OFFER) as client:
        data = deflate(bytes(100_000_000), level=9)
        before = server.reset_peak()
        client.send(frame(BINARY, data, rsv=RSV1))
        client.fails_with(TOO_BIG)
        assert server.memory()[1] - before < 16 * MIB
        assert server.alive()


def test_compressed_message_of_the_largest_size(small: Server) -> None:
    with connect(small, "/digest", OFFER) as client:
        client.send(frame(BINARY, deflate(bytes(10_000)), rsv=RSV1))
        assert client.json()[:2] == ["bytes", 10_000]
        client.send(frame(BINARY, deflate(bytes(10_001)), rsv=RSV1))
        client.fails_with(TOO_BIG)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", b"\x00\x05\x00\x00\x00hello\x00", b"\x07", deflate(bytes(range(256)))[10:]],
    ids=["garbage", "stored-block-length", "reserved-block", "beginning-cut"],
)
def test_message_that_can_not_be_decompressed(ws: Server, data: bytes) -> None:
    """RFC 7692 leaves the code open; 1007 is for data that do not fit their type (RFC 6455 7.4.1)."""
    with connect(ws, "/digest", OFFER) as client:
        client.send(frame(BINARY, data, rsv=RSV1))
        client.fails_with(INVALID_DATA)


def test_messages_that_refer_to_nothing(ws: Server) -> None:
    """A distance beyond the beginning of the first message."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=b"a common past " * 10)
    data = compressor.compress(b"a common past " * 5) + compressor.flush(zlib.Z_SYNC_FLUSH)
    with connect(ws, "/digest", OFFER) as client:
        client.send(frame(TEXT, data[:-4], rsv=RSV1))
        client.fails_with(INVALID_DATA)


# Time


def test_pings() -> None:
    """One every --ws-ping-interval; a client that answers stays."""
    with Server("ws_apps:probe", "--ws-ping-interval", "0.2", "--ws-ping-timeout", "20") as server:
        with connect(server) as client:
            payloads = set()
            for _ in range(3):
                ping = client.frame()
                assert ping.opcode == PING
                payloads.add(ping.payload)
                client.send(frame(PONG, ping.payload))
            assert len(payloads) == 3, "a Pong must tell which Ping it answers"
            client.finish()


def test_ping_without_an_answer() -> None:
    """1011, as it is with everyone else, and then the end, whatever the client does."""
    with Server(
        "ws_apps:probe", "--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.3", "--ws-close-timeout", "0.3"
    ) as server:
        with connect(server, "/echo?name=mute") as client:
            start = time.monotonic()
            assert client.closed().code == INTERNAL_ERROR
            client.expect_end()
            assert time.monotonic() - start < WAIT / 2
        assert server.wait_event("disconnect", name="mute")["code"] in (ABNORMAL, INTERNAL_ERROR)


def test_pong_to_another_ping_is_no_answer() -> None:
    """RFC 6455 5.5.3: a Pong of its own accord says nothing about our Ping."""
    with Server(
        "ws_apps:probe", "--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.5", "--ws-close-timeout", "0.3"
    ) as server:
        with connect(server) as client:
            assert client.frame().opcode == PING
            client.send(frame(PONG, b"not what you asked"))
            assert client.closed().code == INTERNAL_ERROR


def test_messages_do_not_replace_pongs_of_a_busy_client() -> None:
    """Pings go on between messages, and a client that sends and answers stays."""
    with Server("ws_apps:probe", "--ws-ping-interval", "0.1", "--ws-ping-timeout", "20") as server:
        with connect(server) as client:
            pings = 0
            end = time.monotonic() + WAIT
            while pings < 5:
                assert time.monotonic() < end
                client.send(text("busy"))
                found = client.frame()
                while found.opcode == PING:
                    pings += 1
                    client.send(frame(PONG, found.payload))
                    found = client.frame()
                assert found.payload == b"busy"
            client.finish()


def test_no_pings_by_option() -> None:
    with Server("ws_apps:probe", "--ws-ping-interval", "0") as server, connect(server) as client:
        client.expect_silence(0.5)
        client.finish()


def test_half_open_client() -> None:
    """A client whose machine is gone neither answers nor resets: the Ping finds out."""
    with Server(
        "ws_apps:probe", "--ws-ping-interval", "2", "--ws-ping-timeout", "0.2", "--ws-close-timeout", "0.2"
    ) as server:
        with connect(server, "/echo?name=gone") as client:
            client.echo()
            server.wait_event("disconnect", name="gone")


def test_closing_without_end() -> None:
    """After both Closes it is the server that ends the connection (RFC 6455 7.1.1)."""
    with Server("ws_apps:probe", "--ws-close-timeout", "0.5") as server, connect(server) as client:
        client.send(close())
        client.fails_with(NORMAL)


# Memory


def test_application_that_does_not_receive(ws: Server) -> None:
    """Reading pauses, and goes on when it does receive; nothing is lost."""
    name = unique()
    with connect(ws, f"/deaf?name={name}", send_buffer=65536) as client:
        assert client.message() == "accepted"
        before = ws.reset_peak()
        message = frame(BINARY, b"x" * 1000)
        sent = client.send_until_stuck(message, 64 * MIB)
        assert sent < 64 * MIB, "the server took all of it"
        assert ws.memory()[1] - before < 4 * MIB
        assert ws.alive()
        open_gate(ws, name)
        # The rest of the message in which it got stuck, and the last.
        client.send(message[sent % len(message) :] * bool(sent % len(message)) + text("end"))
        count, total = client.json()
        complete = -(-sent // len(message))
        assert (count, total) == (complete + 1, complete * 1000 + 3)
        client.finish()


def test_many_small_messages_unread(ws: Server) -> None:
    """Empty messages cost memory too."""
    name = unique()
    with connect(ws, f"/deaf?name={name}", send_buffer=65536) as client:
        assert client.message() == "accepted"
        before = ws.reset_peak()
        sent = client.send_until_stuck(frame(BINARY, b"", key=b"\0\0\0\0") * 1000, 16 * MIB)
        assert sent < 16 * MIB, "the server took all of it"
        assert ws.memory()[1] - before < 8 * MIB
        open_gate(ws, name)
    assert ws.alive()


def test_one_large_message_is_always_taken() -> None:
    """A queue smaller than a message must not keep the message out."""
    name = unique()
    with Server("ws_apps:probe", "--ws-max-queue-size", "1KiB") as server:
        with connect(server, f"/deaf?name={name}") as client:
            assert client.message() == "accepted"
            client.send(frame(BINARY, b"x" * 5000) + text("end"))
            open_gate(server, name)
            assert client.json() == [2, 5003]
            client.finish()


def test_control_frames_are_answered_while_nothing_is_received(ws: Server) -> None:
    """An application that is busy must not make its clients believe that the server is gone."""
    name = unique()
    with connect(ws, f"/deaf?name={name}") as client:
        assert client.message() == "accepted"
        client.send(text("unread") + frame(PING, b"there?"))
        found = client.frame()
        assert (found.opcode, found.payload) == (PONG, b"there?")
        open_gate(ws, name)
        client.finish()


def test_client_that_does_not_read(ws: Server) -> None:
    """`send` waits; the server keeps no more than its buffer."""
    name = unique()
    with connect(ws, None, receive_buffer=65536) as client:
        before = ws.reset_peak()
        client.open(f"/flood?name={name}")
        stuck = ws.wait_event("stuck", name=name)
        assert stuck["sent"] < 16 * MIB
        assert ws.memory()[1] - before < 4 * MIB
        assert ws.alive()
        # It goes on as soon as the client reads.
        received = 0
        while received < stuck["sent"] + MIB:
            received += len(client.message())
        client.reset()
    ws.wait_event("flood-ended", name=name)


def test_client_that_pings_and_does_not_read() -> None:
    """Pongs are owed, but not without bound: at most what a buffer holds, then reading pauses, or only the last is owed."""
    with Server("ws_apps:probe") as server, connect(server, None, receive_buffer=65536, send_buffer=65536) as client:
        client.open()
        before = server.reset_peak()
        client.send_until_stuck(frame(PING, b"p" * 125) * 100, 64 * MIB)
        assert server.memory()[1] - before < 8 * MIB
        assert server.alive()


def test_echo_to_a_client_that_does_not_read(ws: Server) -> None:
    """The application waits in `send`, so it doesn't receive, so the server doesn't read."""
    with connect(ws, None, receive_buffer=65536, send_buffer=65536) as client:
        before = ws.reset_peak()
        client.open()
        sent = client.send_until_stuck(frame(BINARY, b"e" * 10_000), 64 * MIB)
        assert sent < 64 * MIB, "the server took all of it"
        assert ws.memory()[1] - before < 6 * MIB
        assert ws.alive()


def test_client_that_does_not_read_is_dropped() -> None:
    """--timeout-write holds for WebSockets too."""
    options = ("--timeout-write", "0.5", "--ws-ping-interval", "0", "--ws-close-timeout", "0.5")
    with Server("ws_apps:probe", *options) as server, connect(server, None, receive_buffer=65536) as client:
        client.open("/flood?name=slow")
        server.wait_event("flood-ended", name="slow")


def test_announced_size_costs_nothing(ws: Server) -> None:
    """A head that promises 16 MiB must not make the server take that much before it comes."""
    before = ws.reset_peak()
    clients = []
    try:
        for _ in range(20):
            clients.append(connect(ws))
            clients[-1].send(frame(BINARY, b"x", length=16 * MIB))
        for client in clients:
            client.expect_silence(0.05)
        assert ws.memory()[1] - before < 8 * MIB
    finally:
        for client in clients:
            client.close()
    assert ws.alive()


def test_incomplete_fragments_count() -> None:
    """What is held for a message that never ends is bounded by the largest message."""
    with Server("ws_apps:probe", "--ws-max-size", "1MiB") as server, connect(server) as client:
        before = server.reset_peak()
        client.send(frame(BINARY, b"x" * 1000, fin=False))
        for _ in range(1040):
            client.send(frame(CONTINUATION, b"y" * 1000, fin=False))
        client.send(frame(CONTINUATION, b"z" * 9000, fin=False))
        client.fails_with(TOO_BIG)
        assert server.memory()[1] - before < 8 * MIB


def test_handshake_counts_as_a_connection() -> None:
    """--limit-connections holds for WebSockets, which keep theirs."""
    with Server("ws_apps:probe", "--limit-connections", "3") as server:
        clients = [connect(server) for _ in range(3)]
        try:
            with server.connect() as refused:
                refused.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
                assert refused.response().status == 503
            clients[-1].finish()
        finally:
            for client in clients:
                client.close()


def open_gate(server: Server, name: str) -> None:
    with connect(server, f"/open-gate?name={name}") as client:
        assert client.message() == "opened"
        client.finish()
