"""Listener: a listening socket, from its address to the connections it accepts.

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
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from logging import Logger
from typing import TYPE_CHECKING, Any

from gateway.config.addresses import Address
from gateway.errors import BindError

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
    bound, and listens from when it is started: then the address can have a socket in each process, see `own`.
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

    def own(self) -> Listener:
        """A socket of this process's own in place of one that is only bound; itself for any other. Raises OSError.

        To be called before a change of user: the system lets only one user share an address (socket(7),
        SO_REUSEPORT).
        """
        if self.backlog is None:
            return self
        sock = self.sock
        dual = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        listener = Listener(tcp_socket(sock.family, sock.getsockname(), None, True, dual), backlog=self.backlog)
        listener.alone = True
        sock.close()
        return listener

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


def open_listeners(
    addresses: Iterable[Address],
    *,
    backlog: int = 2048,
    reuse_port: bool = False,
    unix_mode: int | None = None,
    sockets: Sequence[socket.socket] = (),
    reserve: bool = False,
    option: str = "--bind",
) -> list[Listener]:
    """Listen at all `addresses`, and with duplicates of the caller's `sockets`, which stay the caller's to close.

    `backlog` is how many connections the kernel may queue, `unix_mode` the mode of a new socket file (None: as the
    umask says). With `reserve` and `reuse_port`, TCP addresses are only bound; see `Listener`. `option` is where the
    addresses are from, for messages. Raises BindError, and then listens at none of them.
    """
    addresses = list(addresses)
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise BindError("SO_REUSEPORT does not exist on this platform; leave --reuse-port out.")
    if not hasattr(socket, "AF_UNIX") and any(address.kind in ("unix", "abstract") for address in addresses):
        raise BindError(f"Unix sockets do not exist on this platform; choose a TCP address with {option}.")
    listeners: list[Listener] = []
    # "[::]" takes the IPv4 addresses of its port too, unless they are asked for on their own.
    ipv4_ports = {a.port for a in addresses if a.kind == "tcp" and a.host == "0.0.0.0" and a.port}
    name = ""
    try:
        for address in addresses:
            name = str(address)
            if address.kind == "tcp":
                dual = address.host == "::" and address.port not in ipv4_ports
                listeners += bind_tcp(address, backlog, reuse_port, dual, reserve)
            elif address.kind == "unix":
                listeners.append(bind_unix(address, backlog, unix_mode))
            elif address.kind == "abstract":
                listeners.append(bind_abstract(address, backlog))
            else:
                listeners.append(adopt(inherited(address), name, backlog))
        for sock in sockets:
            name = "the given socket"
            listeners.append(adopt(sock.dup(), name, backlog))
    except BaseException as error:
        for listener in listeners:
            listener.close()
        if isinstance(error, OSError) and not isinstance(error, BindError):
            raise bind_error(name, error, option) from None
        raise
    return listeners


def bind_tcp(address: Address, backlog: int, reuse_port: bool, dual: bool, reserve: bool = False) -> list[Listener]:
    """Listen at a TCP address: at each one of them, if a name has several. Raises OSError, BindError too."""
    try:
        # As bytes: for a str, Python loads its IDNA codec with a megabyte of tables.
        found = socket.getaddrinfo(
            os.fsencode(address.host),
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV,
        )
    except OSError as error:
        raise BindError(f"Cannot listen at {address}: the host name can't be resolved ({error.strerror or error}).")
    listeners: list[Listener] = []
    failure: OSError | None = None
    port = address.port
    for family, target in dict.fromkeys((entry[0], entry[4]) for entry in found):
        if port and not address.port:
            # One port for all addresses of a name, though the system chose it.
            target = (target[0], port, *target[2:])
        try:
            if reserve and reuse_port:
                listener = Listener(tcp_socket(family, target, None, reuse_port, dual), backlog=backlog)
            else:
                listener = Listener(tcp_socket(family, target, backlog, reuse_port, dual))
        except OSError as error:
            # "localhost" names ::1 on hosts that have no IPv6: the others do.
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                failure = error
                continue
            for listener in listeners:
                listener.close()
            raise
        listeners.append(listener)
        if listener.server is not None and listener.server[1] is not None:
            port = listener.server[1]
    if not listeners:
        assert failure is not None
        raise failure
    return listeners


def tcp_socket(family: int, target: object, backlog: int | None, reuse_port: bool, dual: bool) -> socket.socket:
    """A listening TCP socket; without a `backlog` only a bound one. Raises OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # Restarts need not wait for old connections in TIME_WAIT. (On Windows this would allow hijacking.)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        set_nodelay(sock)
        sock.bind(target)  # type: ignore[arg-type]
        if backlog is not None:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def set_nodelay(sock: socket.socket) -> None:
    """Send small segments at once. Accepted sockets inherit this from the listening one."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def bind_unix(address: Address, backlog: int, mode: int | None) -> Listener:
    """Listen at a Unix socket in the file system, in place of one nobody listens at. Raises OSError, BindError too."""
    path = address.path
    remove_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if mode is None:
            sock.bind(path)
        else:
            # The file must at no time be more accessible than asked for.
            old = os.umask(0o777 & ~mode)
            try:
                sock.bind(path)
            finally:
                os.umask(old)
            os.chmod(path, mode)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return Listener(sock, unlink=os.path.abspath(path))


def remove_stale(address: Address) -> None:
    """Remove the socket file of a server that is gone. Raises OSError when it isn't, BindError for another file."""
    path = address.path
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(f"Cannot listen at {address}: this file exists and is no socket; choose another path.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A server with a full queue must not hold us up: it is there.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def bind_abstract(address: Address, backlog: int) -> Listener:
    """Listen at an abstract Unix socket (unix(7)). Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind("\0" + address.path)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return Listener(sock)


def inherited(address: Address) -> socket.socket:
    """The socket that is this process's descriptor `address.fd`. Raises BindError."""
    try:
        sock = socket.socket(fileno=address.fd)
    except OSError as error:
        cause = "it is not open" if error.errno == errno.EBADF else f"it is no socket ({error.strerror})"
        raise BindError(
            f"Cannot listen at {address}: {cause}; the process that starts this one has to open it and pass it on."
        )
    sock.set_inheritable(False)
    return sock


def adopt(sock: socket.socket, name: str, backlog: int) -> Listener:
    """A listener for a socket that exists; one that does not listen yet is made to. Raises OSError, BindError too."""
    try:
        if sock.type != socket.SOCK_STREAM:
            raise BindError(f"Cannot listen at {name}: it is no stream socket.")
        if not listening(sock):
            sock.listen(backlog)
        set_nodelay(sock)
        return Listener(sock)
    except OSError:
        sock.close()
        raise


def listening(sock: socket.socket) -> bool:
    """Whether a socket is listening already: another `listen` would change its queue."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except (AttributeError, OSError):
        return False


def bind_error(name: str, error: OSError, option: str) -> BindError:
    """One line for an address that can't be listened at: cause, and what to do."""
    cause = (error.strerror or str(error)).lower()
    code = error.errno
    if code == errno.EADDRINUSE:
        advice = f"another program listens there; stop it, or choose another address with {option}"
    elif code == errno.EACCES:
        advice = f"ports below 1024 and other users' folders need more rights; choose another address with {option}"
    elif code == errno.EADDRNOTAVAIL:
        advice = "this machine does not have that address; 0.0.0.0 is all IPv4 addresses, [::] is all addresses"
    elif code == errno.ENOENT:
        advice = "create the folder first"
    else:
        advice = f"choose another address with {option}"
    return BindError(f"Cannot listen at {name}: {cause}; {advice}.")
