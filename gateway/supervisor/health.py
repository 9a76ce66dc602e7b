"""/livez and /readyz, answered by the master, however busy the workers are.

`/livez` is 200 as long as the master turns. `/readyz` is 200 while somebody serves, and 503 with the reason before
that, and from the moment a stop begins. One request per connection; nothing else is understood.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from logging import Logger
from typing import NamedTuple

from gateway.config.addresses import Address
from gateway.server.binding import open_listeners
from gateway.server.listener import Listener

HEAD_SIZE = 8192
"""Bytes a request may have."""

TIME = 5.0
"""Seconds a client has for its request, and for taking the answer."""

CLIENTS = 64
"""Clients at a time; others wait in the queue."""

PHRASES = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class State(NamedTuple):
    """How the server is: `ready`, and why, in one line."""

    ready: bool
    reason: str


class Health:
    """Listens at `address`, or where the `handed` listeners do, with the selector of whoever turns it.

    Raises BindError.
    """

    def __init__(
        self,
        address: Address,
        selector: selectors.BaseSelector,
        state: Callable[[], State],
        handed: Sequence[Listener] = (),
    ) -> None:
        self.address = address
        self.selector = selector
        self.state = state
        self.clients: dict[socket.socket, float] = {}
        self.listeners = list(handed) or open_listeners(
            [address], backlog=CLIENTS, unix_mode=0o666, option="--health-bind"
        )
        for listener in self.listeners:
            selector.register(listener.sock, selectors.EVENT_READ, lambda listener=listener: self._accept(listener))

    def announce(self, log: Logger) -> None:
        """Say where it is."""
        for listener in self.listeners:
            log.info("Health at: %s", listener.url("http"))

    def tick(self, now: float) -> None:
        """Close connections of clients that take too long; `now` is of `time.monotonic`."""
        for sock, since in tuple(self.clients.items()):
            if now - since > TIME:
                self._close(sock)

    def end(self) -> None:
        """As `close`, where the selector goes on."""
        for listener in self.listeners:
            self.selector.unregister(listener.sock)
        for sock in tuple(self.clients):
            self._close(sock)
        self.close()

    def close(self) -> None:
        """Close everything, and remove the socket's file."""
        self.leave()
        for listener in self.listeners:
            listener.close()

    def retire(self) -> None:
        """Answer no more; another program does, at the same sockets."""
        for listener in self.listeners:
            listener.unlink = None
        self.end()

    def leave(self) -> None:
        """In a worker: close our copies of everything; the file stays."""
        for sock in tuple(self.clients):
            sock.close()
        self.clients.clear()
        for listener in self.listeners:
            listener.sock.close()

    def _accept(self, listener: Listener) -> None:
        if len(self.clients) >= CLIENTS:
            # The one that has had the most time.
            self._close(min(self.clients, key=self.clients.__getitem__))
        try:
            sock, _ = listener.sock.accept()
        except OSError:
            return
        sock.setblocking(False)
        self.clients[sock] = time.monotonic()
        received = bytearray()
        self.selector.register(sock, selectors.EVENT_READ, lambda: self._read(sock, received))

    def _read(self, sock: socket.socket, received: bytearray) -> None:
        if sock not in self.clients:
            # It had to make room for another, within this turn of the selector.
            return
        try:
            data = sock.recv(HEAD_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        received += data
        if b"\r\n\r\n" in received:
            try:
                # Small enough for any socket's buffer.
                sock.send(answer(bytes(received), self.state))
            except OSError:
                pass
            self._close(sock)
        elif not data or len(received) > HEAD_SIZE:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self.clients.pop(sock, None)
        self.selector.unregister(sock)
        sock.close()


def answer(request: bytes, state: Callable[[], State]) -> bytes:
    """The response to a request for one of the two pages."""
    method, _, rest = request.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    fields = ""
    if path not in (b"/livez", b"/readyz"):
        status, text = 404, "there are /livez and /readyz"
    elif method not in (b"GET", b"HEAD"):
        status, text, fields = 405, "GET and HEAD only", "Allow: GET, HEAD\r\n"
    else:
        ready, reason = state()
        status, text = (200 if ready or path == b"/livez" else 503), reason
    from email.utils import formatdate

    body = text + "\n"
    date = formatdate(usegmt=True)
    head = (
        f"HTTP/1.1 {status} {PHRASES[status]}\r\nDate: {date}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n{fields}"
        f"Content-Length: {len(body.encode())}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return (head + ("" if method == b"HEAD" else body)).encode()
