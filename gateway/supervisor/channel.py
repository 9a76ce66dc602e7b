"""What master and worker say to each other: lines of JSON over a pair of sockets.

A message is an object with one key, its kind::

    worker -> master   {"ready": "Using interface: ..."}
                       {"failed": {"code": 4, "message": "...", "traceback": "..."}}
                       {"recycle": "too many threads are lost"}    replace me
                       {"files": {"...": stamp}}    loaded, and to be watched (--reload)
                       {"answer": {"number": 1, ...}}
    master -> worker   {"retire": true}    finish, and leave what waits in the queue to others
                       {"make_way": true}  the same, and close idle connections at once
                       {"leave": true}     the end is near: responses say that the connection closes
                       {"ask": {"number": 1, "what": "report"}}

The end of input tells either side that the other one is gone.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

READ_SIZE = 65536

MESSAGE_SIZE = 256 * 1024
"""Bytes a message may have; a longer text in it is cut."""

SEND_TIME = 2.0
"""Seconds the other side gets to make room for a message."""


class Channel:
    """One end. The sockets do not block, so that nobody waits for a process that does not answer."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._input = b""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends."""
        ours, theirs = socket.socketpair()
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self.sock.fileno()

    def send(self, **message: Any) -> bool:
        """Send a message, waiting for at most SEND_TIME. Returns False when it did not get through."""
        data = json.dumps(message).encode("ascii") + b"\n"
        end = time.monotonic() + SEND_TIME
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                if not select.select((), (self.sock,), (), max(0.0, end - time.monotonic()))[1]:
                    return False
            except OSError:
                return False
        return True

    def offer(self, **message: Any) -> bool:
        """Send a small message if there is room for it at once. Returns whether there was."""
        data = json.dumps(message).encode("ascii") + b"\n"
        try:
            return self.sock.send(data) == len(data)
        except OSError:
            return False

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived; None when the other side is gone and all of them were received.

        Whoever says what is no message is gone as well: nothing it might say can be trusted.
        """
        while True:
            try:
                data = self.sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                if b"\n" not in self._input:
                    return None
                break
            self._input += data
            if len(self._input) > 2 * MESSAGE_SIZE:
                # Nobody of ours says so much.
                return None
        *lines, self._input = self._input.split(b"\n")
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(message, dict) for message in messages) else None

    def close(self) -> None:
        """Close this end, which is how the other side learns of it."""
        self.sock.close()


def fit(text: str) -> str:
    """`text`, or what of it fits in a message: its beginning."""
    whole = text
    while len(json.dumps(text)) > MESSAGE_SIZE // 2:
        text = text[: len(text) * 3 // 4]
    return text if len(text) == len(whole) else text + "\n[...]\n"


def cut(text: str) -> str:
    """`text`, or what of it fits in a message: its end, where a traceback says what happened."""
    size = MESSAGE_SIZE // 8  # a character takes up to six bytes in JSON
    return text if len(text) <= size else "[...]\n" + text[-size:]
