"""Neither side can make the server hold more than its buffers, however much it sends or how little it reads."""

from __future__ import annotations

import hashlib
import threading
import uuid

import pytest

from .harness import WAIT, Client, Server, request

MIB = 1024 * 1024

VOLUME = 128 * MIB
"""Bytes of a transfer: far beyond every buffer, and still a matter of a second."""

ROOM = 32 * MIB
"""Bytes by which the server's memory may grow: buffers, and what the allocator keeps."""

IN_FLIGHT = 32 * MIB
"""Bytes that may be on their way when nobody reads: the sockets' buffers, which the kernel sizes as it likes."""

PART = bytes(range(256)) * 1024
"""256 KiB."""


def unique() -> str:
    return uuid.uuid4().hex


def digest(size: int) -> str:
    whole, rest = divmod(size, len(PART))
    result = hashlib.sha256()
    for _ in range(whole):
        result.update(PART)
    result.update(PART[:rest])
    return result.hexdigest()


@pytest.mark.parametrize("chunks", [False, True], ids=["length", "chunked"])
def test_upload_to_an_application_that_does_not_read(probe: Server, chunks: bool) -> None:
    name = unique()
    before = probe.reset_peak()
    with probe.connect() as client:
        if chunks:
            client.send(request("POST", f"/size?name={name}", "Transfer-Encoding: chunked"))
            data = b"%x\r\n%b\r\n" % (len(PART), PART)
            total = VOLUME // len(PART) * len(data)
        else:
            client.send(request("POST", f"/size?name={name}", f"Content-Length: {VOLUME}"))
            data, total = PART, VOLUME
        sent = client.send_until_stuck(data, total, patience=0.5)
        assert sent < IN_FLIGHT, f"{sent} bytes were accepted for an application that reads nothing"
        probe.wait_event("waiting", name=name)
        assert probe.get(f"/gate/open?name={name}").body == b"ok"
        view = memoryview(data)
        while sent < total:
            start = sent % len(data)
            client.send(view[start:])
            sent += len(data) - start
        if chunks:
            client.send(b"0\r\n\r\n")
        answer = client.response().json()
    assert answer == {"size": VOLUME, "sha256": digest(VOLUME)}
    _, peak = probe.memory()
    assert peak - before < ROOM, f"{(peak - before) // MIB} MiB more"


@pytest.mark.parametrize("framing", ["", "&length=1"], ids=["chunked", "length"])
def test_response_that_is_not_read(probe: Server, framing: str) -> None:
    before = probe.reset_peak()
    size = VOLUME + (1 if framing else 2)
    with probe.connect() as client:
        client.send(request("GET", f"/big?size={size}{framing}", "Connection: close"))
        event = probe.wait_event("blocked", size=size)
        assert event["sent"] < IN_FLIGHT, f"the application could send {event['sent']} bytes"
        response = client.response_head()
        assert response.status == 200
        got = 0
        if framing:
            assert response.get("content-length") == str(size)
            got = drain(client)
        else:
            for chunk in client.read_chunks():
                got += len(chunk)
            client.fields()
        assert got == size
    _, peak = probe.memory()
    assert peak - before < ROOM, f"{(peak - before) // MIB} MiB more"


def drain(client: Client) -> int:
    """Read to the end, keeping nothing."""
    got = len(client.buffer)
    client.buffer.clear()
    while data := client.socket.recv(1 << 20):
        got += len(data)
    return got


def test_client_that_leaves_in_the_middle(probe: Server) -> None:
    """The application is stopped, and what was buffered for the client is freed."""
    size = VOLUME + 77
    with probe.connect() as client:
        client.send(request("GET", f"/big?size={size}"))
        probe.wait_event("blocked", size=size)
        client.reset()
    probe.wait_event("stopped", timeout=WAIT)
    assert probe.alive()


def test_pipelined_requests_are_not_hoarded(probe: Server) -> None:
    """Requests behind one that runs are read up to a bound only."""
    name = unique()
    before = probe.reset_peak()
    with probe.connect() as client:
        client.send(request("GET", f"/gate/wait?name={name}"))
        probe.wait_event("waiting", name=name)
        pipeline = request("GET", "/hello", "X-Padding: " + "x" * 4000) * 64
        sent = client.send_until_stuck(pipeline, VOLUME, patience=0.5)
        assert sent < IN_FLIGHT, f"{sent} bytes of requests were accepted"
    probe.get(f"/gate/open?name={name}")
    _, peak = probe.memory()
    assert peak - before < ROOM


def test_pipelined_responses_are_not_hoarded(probe: Server) -> None:
    """A client that sends requests and reads no response: serving stops when its buffers are full."""
    before = probe.reset_peak()
    with probe.connect(receive_buffer=16384) as client:
        one = request("POST", "/echo", body=b"x" * 60000)
        sent = client.send_until_stuck(one, VOLUME, patience=0.7)
        assert sent < IN_FLIGHT, f"{sent} bytes of requests were served for a client that does not read"
    _, peak = probe.memory()
    assert peak - before < ROOM
    assert probe.alive()


def test_echo_of_a_large_body_both_ways(asgi: Server) -> None:
    """Request and response stream at once, with bounded memory."""
    before = asgi.reset_peak()
    with asgi.connect() as client:
        client.send(request("POST", "/streaming-echo", f"Content-Length: {VOLUME}"))

        def upload() -> None:
            for _ in range(VOLUME // len(PART)):
                client.send(PART)

        sender = threading.Thread(target=upload)
        sender.start()
        response = client.response_head()
        seen = hashlib.sha256()
        for chunk in client.read_chunks():
            seen.update(chunk)
        sender.join(WAIT)
        assert response.status == 200
        assert seen.hexdigest() == digest(VOLUME)
    _, peak = asgi.memory()
    assert peak - before < ROOM
