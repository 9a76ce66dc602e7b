"""From addresses to listeners: TCP, Unix sockets, and sockets that were opened by somebody else."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import Iterable, Sequence

from gateway.config.addresses import Address
from gateway.errors import BindError

from .listener import Listener


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


def own_listener(listener: Listener) -> Listener:
    """A socket of this process's own in place of one that is only bound; itself for any other. Raises OSError.

    To be called before a change of user: the system lets only one user share an address (socket(7), SO_REUSEPORT).
    """
    if listener.backlog is None:
        return listener
    sock = listener.sock
    dual = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    mine = Listener(tcp_socket(sock.family, sock.getsockname(), None, True, dual), backlog=listener.backlog)
    mine.alone = True
    sock.close()
    return mine


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
