"""From an accepted socket to a connection that speaks HTTP.

With asyncio transports, each connection is three objects: the asyncio transport, a `Protocol` that the transport
calls, and the core's `HTTP1Connection`. The protocol adds as little as it can: data goes from the transport straight
to `HTTP1Connection.feed`, which by its own rules raises nothing; if it does, the loop logs that and closes the
connection. With a poller (core/io) it is two, since its transport is the protocol as well.

On a TLS listener the first byte is looked at before the handshake: a client that speaks plain HTTP there is told so,
in a way it understands, where a handshake would only fail.
"""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from logging import Logger
from typing import Any

from gateway.backend import Backend

from .listener import Peer
from .transport import transport_class

TLS_HANDSHAKE = 0x16
"""The first byte of a TLS connection: the content type of a handshake record (RFC 8446 5.1)."""

PLAIN_ON_TLS = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"Date: %b\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 66\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"400 Bad Request: this port speaks HTTPS, use https:// to reach it\n"
)

LINGER_SIZE = 65536
"""Bytes discarded from a client that gets PLAIN_ON_TLS."""

LINGER_TIME = 2.0
"""Seconds it has to read that and close."""


class Acceptor:
    """Makes connections of accepted sockets, and knows those that are open.

    `make_connection` is called as (service, transport, client, server, scheme). `tls` is the context of a TLS
    listener or None; `handshake_timeout` is seconds, 0 for the loop's own default. `sendfile` lets the system send
    files where it can. `poller` is what accepts and moves bytes in place of asyncio, or None.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        service: Any,
        make_connection: Callable[..., Any],
        *,
        tls: ssl.SSLContext | None = None,
        handshake_timeout: float = 10.0,
        sendfile: bool = True,
        poller: Any = None,
        log: Logger,
    ) -> None:
        self.loop = loop
        self.service = service
        self.make_connection = make_connection
        self.tls = tls
        self.scheme = "https" if tls is not None else "http"
        self.handshake_timeout = handshake_timeout
        self.sendfile = sendfile
        self.poller = poller
        self.log = log
        self.context = contextvars.copy_context()
        self.high_water = service.limits.write_buffer or sys.maxsize
        self.make_transport = transport_class(backend.module("kernels.base"))
        # Open connections: what has a `connection` and its `transport`.
        self.protocols: set[Any] = set() if poller is None else poller.transports
        # TLS connections of which nothing, or not the whole handshake, has arrived.
        self.handshakes: set[Handshake] = set()
        # Sockets that are being made transports: with TLS, for as long as the handshake takes.
        self.opening = 0
        self.closed = False

    def accepted(self, sock: socket.socket, client: Peer, server: Peer) -> None:
        """Take over a new, non-blocking socket."""
        if self.tls is not None:
            limit = self.service.limits.connections
            if limit and len(self.handshakes) + len(self.protocols) + self.opening >= limit:
                # Nothing can be said to it: a handshake is what there is no room for.
                sock.close()
                return
            Handshake(self, sock, client, server)
            return
        protocol = Protocol(self, client, server)
        self.open(self.loop.connect_accepted_socket(lambda: protocol, sock))

    def accepted_by_poller(self, transport: Any, client: Peer, server: Peer) -> None:
        """Make a connection of a poller's new transport."""
        connection = self.make_connection(self.service, transport, client, server, self.scheme)
        transport.open(connection)

    def open(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run `loop.connect_accepted_socket(...)`."""
        self.opening += 1
        drive(coroutine, self.opened)

    def opened(self, error: BaseException | None) -> None:
        """A socket was made a transport, or not: it is gone already, or the handshake failed."""
        self.opening -= 1
        if error is not None:
            self.log.debug("Connection failed before its first request: %s", error or type(error).__name__)

    def late_protocol(self) -> asyncio.Protocol:
        """For `loop.create_server`, where addresses are only known once the transport is there."""
        return LateProtocol(self)

    def tick(self, now: float) -> None:
        """Check the deadlines of all connections; `now` is monotonic seconds."""
        if self.poller is not None:
            self.poller.tick(now)
            return
        for protocol in tuple(self.protocols):
            try:
                protocol.connection.tick(now)
            except Exception:
                self.log.exception("Internal error: checking the deadlines of a connection failed")
                protocol.transport.abort()

    def close_handshakes(self) -> None:
        """Close connections whose handshake has not begun."""
        for handshake in tuple(self.handshakes):
            handshake.close()

    def close(self) -> None:
        """Close all connections. One in the middle of its handshake is closed when that ends."""
        self.closed = True
        self.close_handshakes()
        for protocol in tuple(self.protocols):
            protocol.transport.abort()


class Protocol(asyncio.Protocol):
    """What the asyncio transport calls. `data_received` is the connection's own method."""

    __slots__ = ("acceptor", "connection", "data_received", "transport")

    def __init__(self, acceptor: Acceptor, client: Peer, server: Peer) -> None:
        self.acceptor = acceptor
        self.transport = acceptor.make_transport(
            acceptor.loop, acceptor.context, acceptor.high_water, acceptor.sendfile
        )
        self.connection = acceptor.make_connection(acceptor.service, self.transport, client, server, acceptor.scheme)
        # Before the asyncio transport sees this protocol: uvloop's looks the method up once.
        self.data_received = self.connection.feed  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport.attach(transport, self)
        self.acceptor.protocols.add(self)
        self.connection.opened()
        if self.acceptor.closed:
            # A handshake that came to its end after everything else.
            self.transport.abort()

    def switch(self, connection: Any) -> None:
        """Everything goes to `connection` from now on."""
        self.connection = connection
        self.data_received = connection.feed  # type: ignore[method-assign]

    def eof_received(self) -> bool:
        self.transport.ended = True
        self.connection.eof()
        # A client that has only closed its sending half still gets its response; TLS has no such half.
        return self.acceptor.tls is None

    def pause_writing(self) -> None:
        self.transport.writing_paused = True
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.transport.writing_paused = False
        self.connection.resume_writing()
        if self.transport.file is not None:
            self.transport.file.resumed()

    def connection_lost(self, error: Exception | None) -> None:
        self.acceptor.protocols.discard(self)
        self.connection.lost(error)
        self.transport.detach()


class LateProtocol(asyncio.Protocol):
    """Stands in until the addresses are known, then makes way for a `Protocol`."""

    def __init__(self, acceptor: Acceptor) -> None:
        self.acceptor = acceptor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        own = transport.get_extra_info("sockname")
        protocol = Protocol(self.acceptor, peer[:2] if peer else None, own[:2] if own else None)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class Handshake:
    """A connection on a TLS listener, until its first byte tells what it speaks."""

    __slots__ = ("acceptor", "client", "server", "sock", "timer", "watched")

    def __init__(self, acceptor: Acceptor, sock: socket.socket, client: Peer, server: Peer) -> None:
        self.acceptor = acceptor
        self.sock = sock
        self.client = client
        self.server = server
        self.watched = False
        self.timer: asyncio.TimerHandle | None = None
        acceptor.handshakes.add(self)
        self.peek()

    def peek(self) -> None:
        """Look at the first byte, or wait for it."""
        loop = self.acceptor.loop
        try:
            first = self.sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            if not self.watched:
                self.watched = True
                loop.add_reader(self.sock.fileno(), self.peek)
                if self.acceptor.handshake_timeout:
                    self.timer = loop.call_later(self.acceptor.handshake_timeout, self.close)
            return
        except OSError:
            first = b""
        if not first:
            self.close()
            return
        timeout = self.acceptor.handshake_timeout or None
        if self.timer is not None and timeout is not None:
            timeout = max(self.timer.when() - loop.time(), 0.001)
        self.leave()
        if first[0] != TLS_HANDSHAKE:
            self.acceptor.open(loop.connect_accepted_socket(PlainOnTLS, self.sock))
            return
        protocol = Protocol(self.acceptor, self.client, self.server)
        self.acceptor.open(
            loop.connect_accepted_socket(
                lambda: protocol,
                self.sock,
                ssl=self.acceptor.tls,
                ssl_handshake_timeout=timeout,
                # How long the client may take to answer our close_notify (RFC 8446 6.1).
                ssl_shutdown_timeout=self.acceptor.service.timeouts.linger or None,
            )
        )

    def leave(self) -> None:
        """The socket goes to somebody else."""
        self.acceptor.handshakes.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.watched:
            self.acceptor.loop.remove_reader(self.sock.fileno())

    def close(self) -> None:
        """Give up."""
        self.leave()
        self.sock.close()


class PlainOnTLS(asyncio.Protocol):
    """Tells a plain HTTP client that this port is for TLS, and closes in stages (RFC 9112 9.6)."""

    def __init__(self) -> None:
        self.left = LINGER_SIZE
        self.transport: Any = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        from email.utils import formatdate

        self.transport = transport
        self.timer = asyncio.get_running_loop().call_later(LINGER_TIME, self.transport.abort)
        self.transport.write(PLAIN_ON_TLS % formatdate(usegmt=True).encode("ascii"))
        self.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()


def drive(coroutine: Coroutine[Any, Any, Any], finished: Callable[[BaseException | None], None]) -> None:
    """Run `loop.connect_accepted_socket(...)` to its end without a task, which costs a turn and more than it gives.

    Such a coroutine waits for one future, so a callback can do what a task would. `finished` gets its exception or
    None.
    """

    def step(done: object = None) -> None:
        try:
            future = coroutine.send(None)
        except StopIteration:
            finished(None)
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            finished(error)
            return
        # What a task does with a future that it is handed (asyncio.Future.__await__).
        future._asyncio_future_blocking = False  # noqa: SLF001
        future.add_done_callback(step)

    step()
