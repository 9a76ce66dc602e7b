"""A plain WebSocket client (RFC 6455, RFC 7692), for checks and for sockets that stay idle: blocking, one at a time."""

from __future__ import annotations

import socket
import zlib
from typing import NamedTuple

from .workloads import ACCEPT, Workload

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
RSV1 = 0x40
"""The message is compressed (RFC 7692 6)."""
TAIL = b"\0\0\xff\xff"
"""What a compressed message leaves out at its end (RFC 7692 7.2.1)."""
KEY = b"\x37\xfa\x21\x3d"


class WebSocketError(Exception):
    """The server did something that it may not do."""


class Frame(NamedTuple):
    """What the server sent."""

    first: int
    """The first byte: FIN, reserved bits, opcode."""
    payload: bytes


class WebSocket:
    """One connection, open. Raises WebSocketError or OSError when that can't be had."""

    def __init__(self, port: int, workload: Workload, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._file = self._socket.makefile("rb")
            self._answers = self._handshake(workload)
        except BaseException:
            self._socket.close()
            raise

    def _handshake(self, workload: Workload) -> zlib._Decompress | None:
        """Open the WebSocket; returns what decompresses answers, if that was agreed."""
        self._socket.sendall(workload.request())
        status = self._file.readline()
        fields: dict[bytes, bytes] = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if status[8:12] != b" 101":
            raise WebSocketError(f"handshake answered with {status.decode('latin-1').strip()!r}")
        if fields.get(b"sec-websocket-accept") != ACCEPT.encode("ascii"):
            raise WebSocketError("the wrong Sec-WebSocket-Accept")
        agreed = b"permessage-deflate" in fields.get(b"sec-websocket-extensions", b"")
        if agreed != workload.deflate:
            raise WebSocketError(f"permessage-deflate was {'not asked for' if agreed else 'not agreed to'}")
        return zlib.decompressobj(-15) if agreed else None

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.abort()

    def abort(self) -> None:
        """Close the connection without a word."""
        self._file.close()
        self._socket.close()

    def send(self, opcode: int, payload: bytes) -> None:
        """Send a message, or a control frame, in one frame."""
        first = 0x80 | opcode
        if self._answers is not None and opcode in (TEXT, BINARY):
            # By itself and with the smallest window, which every agreement allows.
            packer = zlib.compressobj(wbits=-9)
            payload = (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
            first |= RSV1
        self._socket.sendall(frame(first, payload))

    def receive(self) -> Frame:
        """The next frame, decompressed."""
        first, second = self._read(2)
        if second & 0x80:
            raise WebSocketError("a masked frame")
        length = second if second < 126 else int.from_bytes(self._read(2 if second == 126 else 8), "big")
        payload = self._read(length)
        if first & RSV1:
            if self._answers is None:
                raise WebSocketError("a compressed message that was not agreed to")
            payload = self._answers.decompress(payload + TAIL)
        return Frame(first & ~RSV1, payload)

    def message(self) -> Frame:
        """The next message, pings answered. Raises WebSocketError for one in several frames."""
        while (found := self.receive()).first != 0x80 | TEXT and found.first != 0x80 | BINARY:
            if found.first == 0x80 | PING:
                self.send(PONG, found.payload)
            elif found.first != 0x80 | PONG:
                raise WebSocketError(f"a frame that begins with 0x{found.first:02x} instead of a message")
        return found

    def close(self) -> str:
        """The closing handshake; what is to be said about it, if anything."""
        self._socket.settimeout(1.0)
        try:
            self.send(CLOSE, b"\x03\xe8")
            while (found := self.receive()).first != 0x80 | CLOSE:
                pass
            if found.payload[:2] != b"\x03\xe8":
                return f"answers Close 1000 with {int.from_bytes(found.payload[:2], 'big')}"
            return "bytes after Close" if self._file.read(1) else ""
        except TimeoutError:
            return "does not close the connection"
        except ConnectionError:
            return "resets the connection"
        finally:
            self.abort()

    def open(self) -> bool:
        """Whether the server has neither said goodbye nor closed."""
        self._socket.settimeout(0)
        try:
            return self._socket.recv(1) not in (b"", bytes([0x80 | CLOSE]))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise ConnectionResetError("the server closed the connection")
        return data


def frame(first: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455 5.2)."""
    length = len(payload)
    if length < 126:
        head = bytes([first, 0x80 | length])
    elif length < 1 << 16:
        head = bytes([first, 0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, 0x80 | 127]) + length.to_bytes(8, "big")
    key = int.from_bytes((KEY * (length // 4 + 1))[:length], "big")
    return head + KEY + (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
