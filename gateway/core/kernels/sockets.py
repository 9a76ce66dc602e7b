"""The system calls of own I/O on Linux: epoll(7), accepting, receiving, sending.

Nothing here decides: what an event means and what follows from a result stands in `core/io`. Results are counts, or
errno values below zero; only what is made raises OSError when the system has no room for it. Nothing blocks.

The compiled twin makes the calls itself, and lets go of the GIL for sends of more than RELEASE_SIZE
bytes: below that, taking it again costs more than the call, and may take as long as another thread's whole turn.
"""

import errno
import os
import select
from typing import Any

from .buffer import InputBuffer

# Events taken at once.
BATCH = 256
# Bytes of the receive buffer that connections share.
READ_SIZE = 65536
# Bytes received at once where there is much.
READ_MAX = 262144
# Bytes up to which a call is made without letting go of the GIL.
RELEASE_SIZE = 65536
# Parts given to one sendmsg(2). Linux takes 1024 at most.
PARTS = 64
# Whether any thread may send. Here, a call to the socket lets other threads run in the middle.
THREADS_SEND = False

# epoll(7); `select` has these names on Linux only.
EPOLLIN = 0x001
EPOLLOUT = 0x004
EPOLLERR = 0x008
EPOLLHUP = 0x010
# Of several processes that wait for one socket, not all are woken.
EPOLLEXCLUSIVE = 1 << 28

SOL_SOCKET = 1
SO_ERROR = 4
SHUT_WR = 1


class EventQueue:
    """An epoll descriptor, the sources it watches, and the last batch of their events.

    Sources are held, and found by descriptor number when a batch is taken: a descriptor that is closed and comes back
    as another source's within the batch gets none of the old one's events.

    Raises OSError where there is no epoll, or no descriptor left.
    """

    __slots__ = ("_batch", "_epoll", "_sources")

    def __init__(self) -> None:
        if not hasattr(select, "epoll"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._epoll = select.epoll()
        self._sources: dict[int, object] = {}
        self._batch: list[tuple[Any, int]] = []

    def descriptor(self) -> int:
        """The epoll descriptor itself, which is ready when there are events. Below 0 once closed."""
        return self._epoll.fileno() if not self._epoll.closed else -1

    def watch(self, source: object, number: int, old: int, new: int) -> int:
        """Have the events `new` of descriptor `number` reported for `source`, where it was `old`; 0 for none.

        Returns 0, or an errno below 0.
        """
        try:
            if old == 0:
                self._epoll.register(number, new)
                self._sources[number] = source
            elif new:
                self._epoll.modify(number, new)
            else:
                self._sources.pop(number, None)
                self._epoll.unregister(number)
        except OSError as error:
            return failed(error)
        return 0

    def wait(self) -> int:
        """Take a batch of what is ready now. Returns how many there are, or an errno below 0."""
        try:
            ready = self._epoll.poll(0, BATCH)
        except OSError as error:
            return failed(error)
        sources = self._sources
        self._batch = [(sources[number], events) for number, events in ready if number in sources]
        return len(self._batch)

    def events(self, index: int) -> int:
        """The events of the batch's element `index`."""
        return self._batch[index][1]

    def source(self, index: int) -> Any:
        """The source of the batch's element `index`."""
        return self._batch[index][0]

    def done(self) -> int:
        """Let go of the batch. Returns 0."""
        self._batch = []
        return 0

    def close(self) -> int:
        """Watch nothing any more. Returns 0."""
        self._epoll.close()
        self._sources = {}
        return self.done()


class Socket:
    """One connected, non-blocking socket, which is ours from now on.

    `number` is its descriptor, below 0 once closed. `sending` tells other threads that a send is under way.
    """

    __slots__ = ("_sock", "number")

    sending = False

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.number: int = sock.fileno()

    def send(self, data: bytes, offset: int) -> int:
        """Send `data` from `offset`. Returns how many bytes were taken, or an errno below 0."""
        try:
            count: int = self._sock.send(memoryview(data)[offset:] if offset else data)
        except OSError as error:
            return failed(error)
        return count

    def send_parts(self, parts: list, first: int, offset: int) -> int:
        """The same for up to PARTS elements of `parts` from index `first`, that one from `offset`."""
        group: list[Any] = parts[first : first + PARTS]
        if offset:
            group[0] = memoryview(group[0])[offset:]
        try:
            count: int = self._sock.sendmsg(group)
        except OSError as error:
            return failed(error)
        return count

    def send_file(self, file: "File", offset: int, size: int) -> int:
        """The same for `size` bytes of a file from `offset` (sendfile(2)); 0 at its end."""
        try:
            return os.sendfile(self.number, file.number, offset, size)
        except OSError as error:
            return failed(error)

    def shut_down(self) -> int:
        """Close the sending half. Returns 0, or an errno below 0."""
        try:
            self._sock.shutdown(SHUT_WR)
        except OSError as error:
            return failed(error)
        return 0

    def error(self) -> int:
        """The pending error (SO_ERROR), an errno; 0 for none."""
        code: int = self._sock.getsockopt(SOL_SOCKET, SO_ERROR)
        return code

    def close(self) -> int:
        """Close it. Returns 0."""
        self._sock.close()
        self.number = -1
        return 0


class ReceiveBuffer:
    """Where the connections of one thread receive, one after the other."""

    __slots__ = ("_data", "_memory")

    def __init__(self) -> None:
        self._memory = bytearray(READ_SIZE)
        self._data = b""

    def receive(self, source: Socket, size: int) -> int:
        """Receive up to `size` bytes, in memory of their own if these are more than READ_SIZE.

        Returns how many there were, 0 at the end of input, or an errno below 0.
        """
        try:
            if size > READ_SIZE:
                self._data = source._sock.recv(size)  # noqa: SLF001
                return len(self._data)
            count: int = source._sock.recv_into(self._memory, size)  # noqa: SLF001
        except OSError as error:
            return failed(error)
        self._data = bytes(memoryview(self._memory)[:count])
        return count

    def lend(self, target: InputBuffer) -> int:
        """Feed what was received to `target`, whose `keep` has to be called before the next `receive`. Returns 0."""
        data, self._data = self._data, b""
        return target.feed(data)

    def tick(self) -> int:
        """Keep no memory for large receives that nobody has made since the last tick. Returns 0."""
        return 0


class AcceptQueue:
    """The connections that wait at a listening, non-blocking socket, which stays the caller's.

    After `accept`: `peer` is where the connection comes from, as (host, port), None for a Unix socket. `code` is the
    errno when there was none.
    """

    __slots__ = ("_sock", "code", "number", "peer")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.number: int = sock.fileno()
        self.code = 0
        self.peer: object = None

    def accept(self) -> Socket | None:
        """The next connection, made non-blocking. None when that failed; EAGAIN says that none waits."""
        try:
            sock, peer = self._sock.accept()
        except OSError as error:
            self.code = -failed(error)
            return None
        sock.setblocking(False)
        self.peer = plain_address(peer)
        return Socket(sock)

    def local_address(self, accepted: Socket) -> object:
        """Where a connection came in, as (host, port), None for a Unix socket. Raises OSError."""
        return plain_address(accepted._sock.getsockname())  # noqa: SLF001


class File:
    """A duplicate of a file's descriptor that is ours alone. Raises OSError when there is no descriptor left."""

    __slots__ = ("number",)

    def __init__(self, descriptor: int) -> None:
        self.number = -1
        self.number = os.dup(descriptor)

    def __del__(self) -> None:
        self.close()

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes from `offset`. Raises OSError."""
        return os.pread(self.number, size, offset)

    def close(self) -> int:
        """Close it. Returns 0."""
        if self.number >= 0:
            os.close(self.number)
            self.number = -1
        return 0


def failed(error: OSError) -> int:
    """The result of a call that raised."""
    return -(error.errno or errno.EIO)


def plain_address(name: object) -> object:
    """(host, port) of a socket's address, None for a Unix socket's.

    A dual-stack socket shows IPv4 addresses in a form of their own (RFC 4291 2.5.5.2), which is undone.
    """
    if not isinstance(name, tuple):
        return None
    host, port = name[:2]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return host, port
