"""Listener: a listening socket, and the connections it accepts.

The accept loop is our own, a reader on the non-blocking socket or a poller's, because of three things that
`loop.create_server` leaves to chance: a bound on the connections accepted in one turn, what happens when the process
is out of descriptors, and that connections the kernel has already accepted for us are served before the socket is
closed, where a plain close resets them. Loops without readers (Windows' proactor) get `loop.create_server`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Callable
from logging import Logger
from typing import TYPE_CHECKING, Any

from .share import PASS_ACCEPTS, PASS_TIME, Share

if TYPE_CHECKING:
    from .bell import Bell

ACCEPTS_PER_TURN = 64
"""Connections accepted in one turn of the loop."""

ACCEPTS_AT_DRAIN = 65536
"""Connections taken from the queue before closing: the kernel's own upper bound for a backlog is below."""

ACCEPT_PAUSE = 0.5
"""Seconds without accepting when descriptors or memory ran out."""

TURNS = 3
"""Turns of the loop after which a bell is hung up, or never."""

TIMES_ALONE = 16
"""Turns with connections after which a process goes to the end of the queue in which the kernel looks for one."""

LOG_INTERVAL = 30.0
"""Seconds between two log lines about that."""

OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# accept(2): errors of the connection that is being accepted, not of the listener; the next one may be fine.
CONNECTION_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENONET",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EPERM",
        "EPROTO",
    )
    if hasattr(errno, name)
)

Peer = tuple[str, int | None] | None
"""One end of a connection as scope and environ show it: (host, port), (path, None), or None when unknown."""

Accepted = Callable[[socket.socket, Peer, Peer], None]
"""Called with a new, non-blocking socket, the client's address and ours."""


class Listener:
    """One listening socket.

    `unlink` is the path of the socket file this listener has created, or None. With a `backlog` the socket is only
    bound, and listens from when it is started: then the address can have a socket in each process, see
    `binding.own_listener`.
    """

    def __init__(self, sock: socket.socket, *, unlink: str | None = None, backlog: int | None = None) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.backlog = backlog
        self.alone = False
        """Nobody else accepts what is queued here."""
        self.unlink = unlink
        self.inode = file_identity(unlink) if unlink else None
        self.server = own_address(sock)
        # Of a wildcard address only the connection itself knows which one it came in at.
        self.wildcard = self.server is not None and self.server[0] in ("0.0.0.0", "::")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepted: Accepted | None = None
        self._log: Logger | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._logged = -LOG_INTERVAL
        self._server: asyncio.Server | None = None
        self._share: Share | None = None
        # The poller's hold on the socket, where a poller accepts.
        self._polled: Any = None
        # Where others accept too: what this process is woken by, once it is hung up, and whether no other is woken.
        self._bell: Bell | None = None
        self._hung = False
        self._woken_alone = False
        self._times = 0

    @property
    def address(self) -> tuple[str, int] | str:
        """(host, port) with the port the system chose, or a path; an abstract socket's starts with "@"."""
        if self.server is None:
            return ""
        host, port = self.server
        return host if port is None else (host, port)

    def url(self, scheme: str) -> str:
        """For people: "http://127.0.0.1:8000", or "unix:/run/app.sock"."""
        address = self.address
        if isinstance(address, str):
            return f"unix:{address}"
        host, port = address
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def _listen(self) -> None:
        if self.backlog is not None:
            self.sock.listen(self.backlog)

    def start(
        self, loop: asyncio.AbstractEventLoop, accepted: Accepted, log: Logger, share: Share | None = None
    ) -> None:
        """Accept connections; with a `share`, no more than that while others do so too.

        Raises NotImplementedError on a loop without readers; then use `start_server`.
        """
        self._loop = loop
        self._share = None if self.alone else share
        self._accepted = accepted
        self._log = log
        self._listen()
        loop.add_reader(self.sock.fileno(), self._accept)
        self._make_bell(self._accept)

    def start_polling(
        self, poller: Any, opened: Callable[[Any, Peer, Peer], None], log: Logger, share: Share | None = None
    ) -> None:
        """Accept connections with a poller (core/io), which calls `opened(transport, client, server)`.

        `share` is as for `start`.
        """
        self._loop = poller.loop
        self._log = log
        self._share = share = None if self.alone else share
        self._listen()
        self._polled = poller.listen(
            self.sock,
            None if self.wildcard else self.server,
            opened,
            self._accept_failed,
            ACCEPTS_PER_TURN,
            None if share is None else self._allowance,
        )
        self._make_bell(self._polled.ring)

    def _make_bell(self, ring: Callable[[], object]) -> None:
        """Where others accept as well, be woken for connections that they are not woken for."""
        if self._share is None:
            return
        assert self._loop is not None
        from .bell import Bell

        try:
            self._bell = Bell(self._loop, self.sock.fileno(), ring)
        except (NotImplementedError, AttributeError, OSError):
            # All are woken, then.
            return
        self._loop.call_soon(self._hang_bell, TURNS)

    def _hang_bell(self, turns: int) -> None:
        if self._bell is None or self._loop is None:
            return
        if self._pause is None and self._bell.found():
            self._unwatch()
            self._hung = self._woken_alone = True
            self._watch()
        elif turns:
            self._loop.call_soon(self._hang_bell, turns - 1)
        else:
            self._drop_bell()

    def _drop_bell(self) -> None:
        self._hung = False
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    async def start_server(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        handshake_timeout: float | None = None,
    ) -> None:
        """Accept connections with the loop's own means, where `start` can't. `handshake_timeout` is seconds."""
        self._server = await loop.create_server(
            factory, sock=self.sock, ssl=tls, ssl_handshake_timeout=handshake_timeout if tls is not None else None
        )

    def _accept(self) -> None:
        self._accept_some(ACCEPTS_PER_TURN if self._share is None else self._allowance())

    def _allowance(self) -> int:
        """How many connections to accept in this turn; with 0, others get the time to take them.

        They are woken for these only if all are; so who has more than its share is woken along with another from then
        on, and who has not, alone.
        """
        assert self._share is not None
        count = self._share.allowance(ACCEPTS_PER_TURN)
        if self._hung:
            alone, self._woken_alone = self._woken_alone, count > 0
            self._times += 1
            if alone != self._woken_alone or self._times % TIMES_ALONE == 0:
                self._watch()
            if alone:
                return max(1, count)
        if count == 0 and self._loop is not None and self._pause is None:
            self._unwatch()
            self._pause = self._loop.call_later(PASS_TIME, self._take_what_is_left)
        return count

    def _take_what_is_left(self) -> None:
        self._pause = None
        self._watch()
        self._accept_some(PASS_ACCEPTS)

    def _accept_some(self, count: int) -> bool:
        """Accept up to `count` connections. False when there was an end to them."""
        if self._polled is not None:
            return bool(self._polled.accept(count))
        accepted = self._accepted
        assert accepted is not None
        for _ in range(count):
            try:
                sock, peer = self.sock.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if self._accept_failed(error):
                    continue
                return False
            sock.setblocking(False)
            accepted(sock, client_address(peer), own_address(sock) if self.wildcard else self.server)
        return True

    def _accept_failed(self, error: OSError) -> bool:
        """An accept failed. Returns whether the next one may be tried at once."""
        if error.errno in CONNECTION_ERRORS:
            return True
        self._suspend(error)
        return False

    def _suspend(self, error: OSError) -> None:
        """Stop accepting for a while: the kernel would report the socket ready at once, again and again."""
        loop = self._loop
        if loop is None or self._pause is not None:
            return
        assert self._log is not None
        self._unwatch()
        self._pause = loop.call_later(ACCEPT_PAUSE, self._resume)
        now = time.monotonic()
        if now - self._logged >= LOG_INTERVAL:
            self._logged = now
            what = "Can't accept connections at"
            if error.errno in OUT_OF_RESOURCES:
                what = "Out of file descriptors or memory, can't accept connections at"
            self._log.error(
                "%s %s: %s. Trying again every %g s; raise the limit (ulimit -n) or lower the number of connections.",
                what,
                self.url("tcp"),
                error.strerror,
                ACCEPT_PAUSE,
            )

    def _resume(self) -> None:
        self._pause = None
        self._watch()

    def _watch(self) -> None:
        if self._hung and self._bell is not None:
            if self._bell.hang(self._woken_alone):
                return
            self._drop_bell()
        if self._polled is not None:
            self._polled.resume()
        elif self._loop is not None:
            self._loop.add_reader(self.sock.fileno(), self._accept)

    def _unwatch(self) -> None:
        if self._hung and self._bell is not None:
            self._bell.take_down()
        elif self._polled is not None:
            self._polled.pause()
        elif self._loop is not None:
            self._loop.remove_reader(self.sock.fileno())

    def look(self) -> None:
        """See whether connections wait that nobody has been woken for; to be called now and then.

        The one that was woken for them may have ended instead, or be busy with what came at the same time.
        """
        if self._hung and self._pause is None:
            # The kernel looks when the socket is put where it waits.
            self._watch()

    def stop(self, *, leave_queue: bool = False) -> None:
        """Accept what the kernel has queued, unless others shall and can (`leave_queue`), and then no more.

        The socket stays open until `close`. A connection that arrives in between waits in the queue; between the
        last accept and `close` nothing may be awaited.
        """
        if self._server is not None:
            self._server.close()
            return
        if self._loop is None:
            return
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        else:
            self._unwatch()
        woken_alone = self._hung and self._woken_alone
        self._drop_bell()
        if self.alone or not leave_queue:
            self._accept_some(ACCEPTS_AT_DRAIN)
        elif woken_alone:
            # No other process may know of these.
            self._accept_some(ACCEPTS_PER_TURN)
        if self._pause is not None:
            # Out of descriptors: what is queued now can't be served.
            self._pause.cancel()
            self._pause = None
        if self._polled is not None:
            self._polled.stop()
            self._polled = None
        self._loop = None

    def close(self) -> None:
        """Close the socket, and remove its file if that is still the one we created."""
        self.sock.close()
        if self.unlink is not None:
            if self.inode is not None and file_identity(self.unlink) == self.inode:
                try:
                    os.unlink(self.unlink)
                except OSError:
                    pass
            self.unlink = None


def file_identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a file, None without one."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def client_address(peer: object) -> Peer:
    """What accept(2) reports as the client's address."""
    if isinstance(peer, tuple):
        return plain_host(peer[0]), peer[1]
    # Unix sockets: clients hardly ever have a name.
    return None


def own_address(sock: socket.socket) -> Peer:
    """The local address of a socket; a Unix socket's is (path, None), an abstract one's ("@name", None)."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        return plain_host(name[0]), name[1]
    if isinstance(name, bytes):
        return "@" + name[1:].decode("utf-8", "replace"), None
    return name or "", None


def plain_host(host: str) -> str:
    """`host` without the form in which a dual-stack socket shows IPv4 addresses (RFC 4291 2.5.5.2)."""
    if host.startswith("::ffff:") and "." in host:
        return host[7:]
    return host
