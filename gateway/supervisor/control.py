"""The control socket: a Unix socket at which operators, and their programs, talk to the master.

Lines of JSON, one for each request and one for each answer; `commands` says which there are. The file's mode is 0600:
whoever may open it may do all of it. Nobody can hold the master up: clients, bytes and times are bounded.
"""

from __future__ import annotations

import functools
import json
import os
import selectors
import socket
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from gateway.config.addresses import Address
from gateway.server.binding import open_listeners
from gateway.server.listener import Listener

from .commands import Commands, failed

if TYPE_CHECKING:
    from .master import Master

MODE = 0o600

CLIENTS = 16
"""Clients at a time; one more is told so, and closed."""

LINE_SIZE = 4096
"""Bytes a request may have."""

READ_SIZE = 65536

IDLE_TIME = 60.0
"""Seconds from an answer, or the beginning, to the next request."""

WRITE_TIME = 10.0
"""Seconds a client has to take an answer."""


class Client:
    """One connection. While `busy`, a request is being seen to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.input = b""
        self.output = b""
        self.busy = False
        self.closing = False
        """To be closed when the output is out."""
        self.deadline: float | None = time.monotonic() + IDLE_TIME


class Control:
    """Listens at `address`, or where the `handed` listeners do, once `start` is called. Raises BindError."""

    def __init__(self, address: Address, master: Master, handed: Sequence[Listener] = ()) -> None:
        self.address: Address | None = address
        """Where it is; None: nowhere any more."""
        self.master = master
        self.selector = master.selector
        self.commands = Commands(master)
        self.clients: set[Client] = set()
        self.started = False
        self.listeners = list(handed) or listen(address)
        # What was handed over is not ours before the other program is gone.
        self._files = [listener.unlink for listener in self.listeners]
        for listener in handed:
            listener.unlink = None

    def start(self) -> None:
        """Accept clients."""
        self.started = True
        for listener, file in zip(self.listeners, self._files, strict=True):
            listener.unlink = file
            self._register(listener)

    def _register(self, listener: Listener) -> None:
        listener.sock.setblocking(False)
        self.selector.register(listener.sock, selectors.EVENT_READ, functools.partial(self._accept, listener))

    def move(self, address: Address | None) -> None:
        """Accept clients at `address` from now on, or nowhere. Raises BindError, and then stays where it is."""
        listeners = [] if address is None else listen(address)
        for listener in self.listeners:
            self.selector.unregister(listener.sock)
            listener.close()
        self.address = address
        self.listeners = listeners
        for listener in listeners:
            self._register(listener)

    def open_stacks(self) -> BinaryIO | None:
        """A file without a name for a worker to write its stacks to, at its end; None: there is no room for one."""
        import fcntl

        try:
            file = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))
        except OSError:
            return None
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
        return file

    def tick(self, now: float) -> None:
        """See to what is due; `now` is of `time.monotonic`."""
        self.commands.tick(now)
        for client in tuple(self.clients):
            # Whoever has asked the server to stop may wait for the end.
            waits = self.master.stopping and not client.output
            if client.deadline is not None and now >= client.deadline and not waits:
                self._close(client)

    def retire(self) -> None:
        """Another program listens here now; clients get what they are waiting for."""
        for listener in self.listeners:
            listener.unlink = None
            if self.started:
                self.selector.unregister(listener.sock)
            listener.close()
        self.listeners = []

    def leave(self) -> None:
        """In a worker: close our copies of everything."""
        for client in self.clients:
            client.sock.close()
        for listener in self.listeners:
            listener.sock.close()

    def close(self) -> None:
        """Close everything, and remove the socket's file."""
        for client in tuple(self.clients):
            self._close(client)
        for listener in self.listeners:
            listener.close()

    def _accept(self, listener: Listener) -> None:
        try:
            sock, _ = listener.sock.accept()
        except OSError:
            return
        sock.setblocking(False)
        client = Client(sock)
        self.clients.add(client)
        self.selector.register(sock, selectors.EVENT_READ, lambda: self._ready(client))
        if len(self.clients) > CLIENTS:
            client.closing = True
            self._reply(client, failed(f"there are {CLIENTS} clients already"))

    def _ready(self, client: Client) -> None:
        """A client has sent something, or makes room for an answer."""
        if client.output:
            self._write(client)
            return
        try:
            data = client.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(client)
            return
        client.input += data
        self._next(client)

    def _next(self, client: Client) -> None:
        """Take the next request, one at a time."""
        line, end, rest = client.input.partition(b"\n")
        if len(line) > LINE_SIZE or len(client.input) > READ_SIZE + LINE_SIZE:
            client.closing = True
            self._reply(client, failed(f"a request has more than {LINE_SIZE} bytes"))
            return
        if not end or client.busy:
            return
        client.input = rest
        client.busy = True
        client.deadline = None
        try:
            request: Any = json.loads(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            client.closing = True
            self._reply(client, failed("expected a line with an object in JSON"))
            return
        self.commands.handle(request, lambda answer: self._reply(client, answer))

    def _reply(self, client: Client, answer: dict[str, Any]) -> None:
        if client not in self.clients:
            return
        client.output += json.dumps(answer).encode("ascii") + b"\n"
        client.deadline = time.monotonic() + WRITE_TIME
        self._write(client)

    def _write(self, client: Client) -> None:
        try:
            sent = client.sock.send(client.output)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(client)
            return
        client.output = client.output[sent:]
        self.selector.modify(
            client.sock, selectors.EVENT_WRITE if client.output else selectors.EVENT_READ, lambda: self._ready(client)
        )
        if client.output:
            return
        if client.closing:
            self._close(client)
            return
        client.busy = False
        client.deadline = time.monotonic() + IDLE_TIME
        self._next(client)

    def _close(self, client: Client) -> None:
        if client in self.clients:
            self.clients.discard(client)
            self.selector.unregister(client.sock)
            client.sock.close()


def listen(address: Address) -> list[Listener]:
    """The socket at `address`. Raises BindError."""
    return open_listeners([address], backlog=CLIENTS, unix_mode=MODE, option="--control-socket")
