"""Whether a server gives the right answers: asked before it is measured, and once more after."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import time
from dataclasses import dataclass, field

from . import websocket
from .peers import Peer
from .websocket import WebSocket, WebSocketError
from .workloads import Workload

TIMEOUT = 5.0
"""Seconds to wait for any one answer."""
DATA_SEGMENTS_IN = 152
"""Offset of tcpi_data_segs_in in struct tcp_info."""


class CheckError(Exception):
    """A wrong answer."""


@dataclass
class Findings:
    """What is true of a server under one workload, beyond its answers being right."""

    streamed: bool | None = None
    """The first part arrived well before the last was produced; None: the workload doesn't stream."""
    segments: int | None = None
    """TCP segments of content in which the parts of a fast producer arrived."""
    notes: list[str] = field(default_factory=list)


def ready(port: int, workload: Workload) -> bool:
    """Whether the server answers. Raises CheckError when it takes a request and never answers it fully."""
    try:
        if workload.websocket:
            with WebSocket(port, workload, TIMEOUT) as opened:
                _echo(opened, workload, 1)
            return True
        with _connect(port) as client:
            return _exchange(client, workload).status > 0
    except TimeoutError as error:
        raise CheckError(f"no complete answer within {TIMEOUT:g} s") from error
    except WebSocketError as error:
        raise CheckError(str(error)) from error
    except (OSError, http.client.HTTPException):
        return False


def answers(port: int, workload: Workload) -> None:
    """Ask once and compare status and body, or three WebSocket messages, exactly. Raises CheckError."""
    try:
        if workload.websocket:
            with WebSocket(port, workload, TIMEOUT) as opened:
                _echo(opened, workload)
            return
        with _connect(port) as client:
            _compare(_exchange(client, workload), workload)
    except (OSError, http.client.HTTPException, WebSocketError) as error:
        raise CheckError(f"{type(error).__name__}: {error}") from error


def check(port: int, peer: Peer, workload: Workload) -> Findings:
    """All checks. Raises CheckError for a wrong answer; lesser faults are notes in the findings."""
    findings = Findings()
    try:
        if workload.websocket:
            _websocket(port, workload, findings)
            return findings
        with _connect(port) as client:
            _compare(_exchange(client, workload), workload)
            if workload.persistent:
                _keep_alive(client, workload, findings)
        if workload.parts:
            _streaming(port, workload, findings)
        if peer.close_probe or not workload.persistent:
            _close(port, workload, findings)
        else:
            findings.notes.append("Connection: close not asked: breaks it")
    except (OSError, http.client.HTTPException, WebSocketError) as error:
        raise CheckError(f"{type(error).__name__}: {error}") from error
    return findings


def _echo(opened: WebSocket, workload: Workload, count: int = 3) -> None:
    """Messages come back as they are, and of the same type."""
    opcode = websocket.BINARY if workload.binary else websocket.TEXT
    messages = workload.messages()
    for start in range(0, count * workload.size, workload.size):
        sent = messages[start : start + workload.size]
        opened.send(opcode, sent)
        found = opened.message()
        if found != (0x80 | opcode, sent):
            raise CheckError(
                f"wrong message: 0x{found.first:02x} and {len(found.payload)} bytes, beginning {found.payload[:40]!r}"
            )


def _websocket(port: int, workload: Workload, findings: Findings) -> None:
    """Messages, a ping, and the closing handshake (RFC 6455 5.5.1, 5.5.2, 7.1)."""
    opened = WebSocket(port, workload, TIMEOUT)
    with opened:
        _echo(opened, workload)
        opened.send(websocket.PING, b"are you there?")
        if opened.receive() != (0x80 | websocket.PONG, b"are you there?"):
            raise CheckError("a ping is not answered")
        if note := opened.close():
            findings.notes.append(note)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    will_close: bool
    spread: float
    """Seconds between the first and the last piece of the body."""


def _connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _exchange(client: socket.socket, workload: Workload, *, close: bool = False, query: str = "") -> _Answer:
    client.sendall(workload.request(close=close, query=query))
    response = http.client.HTTPResponse(client, method=workload.method)
    response.begin()
    pieces = []
    first = last = 0.0
    while piece := response.read1(1 << 20):
        last = time.monotonic()
        first = first or last
        pieces.append(piece)
    will_close = response.will_close
    response.close()
    return _Answer(response.status, b"".join(pieces), will_close, last - first)


def _compare(answer: _Answer, workload: Workload) -> None:
    if answer.status != 200:
        raise CheckError(f"status {answer.status}")
    if answer.body != workload.body:
        raise CheckError(f"wrong body: {len(answer.body)} bytes, beginning {answer.body[:40]!r}")


def _keep_alive(client: socket.socket, workload: Workload, findings: Findings) -> None:
    """Two more requests on the same connection."""
    for _ in range(2):
        try:
            answer = _exchange(client, workload)
        except (ConnectionError, http.client.RemoteDisconnected):
            findings.notes.append("no keep-alive")
            return
        _compare(answer, workload)


def _close(port: int, workload: Workload, findings: Findings) -> None:
    """A request with `Connection: close` must be answered, and the connection then closed (RFC 9112 9.6)."""
    with _connect(port) as client:
        answer = _exchange(client, workload, close=True)
        _compare(answer, workload)
        if not answer.will_close:
            findings.notes.append("does not say Connection: close")
        client.settimeout(1.0)
        try:
            if client.recv(1):
                raise CheckError("bytes after the last response")
        except TimeoutError:
            findings.notes.append("does not close the connection")
        except ConnectionError:
            findings.notes.append("resets the connection")


def _streaming(port: int, workload: Workload, findings: Findings) -> None:
    """Each part is sent when produced: seen in time from a slow producer, in segments from a fast one."""
    with _connect(port) as client:
        answer = _exchange(client, workload, query="?slow")
        _compare(answer, workload)
        # The application pauses 20 ms after each part.
        findings.streamed = answer.spread > 0.01 * workload.parts
    if not findings.streamed:
        findings.notes.append("NOT STREAMED: holds the parts back")
        return
    with _connect(port) as client:
        _compare(_exchange(client, workload), workload)
        with contextlib.suppress(OSError, struct.error):
            info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (findings.segments,) = struct.unpack_from("I", info, DATA_SEGMENTS_IN)
