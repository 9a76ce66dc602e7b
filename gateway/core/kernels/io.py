"""Own I/O on Linux: all connections on one epoll descriptor, which is itself watched by the running event loop.

Theory of operation. An asyncio transport costs a handle, a run of its context and a Python object for every event of
every connection. Here the loop sees one descriptor, a `Poller`'s, with `add_reader`; when it is ready, one call takes
a batch of events and goes through receive, parse, application and send for each connection. It works on every loop
that has readers, and makes the stock one as fast as uvloop.

Rule 1: everything is level-triggered and bounded (events per turn, one receive per event, accepts, parts of a file).
What is left over is reported again in the next turn; other callbacks and timers get theirs in between.
Rule 2: every event leads to progress or to a smaller set of events that are asked for. That set is otherwise left
alone: a pause that is over before more data comes costs no system call.
Rule 3: `Connection.lost` and `file_sent` are called by the poller, when it has handled a batch or in a turn of their
own, and never from within a method of the transport. Only then is the descriptor closed, once.
Rule 4: the sources of a batch are looked up before the first of them is handled. A descriptor that is closed and
comes back as another connection's within the batch gets none of the old one's events.
Rule 5: what a connection raises is logged, and ends that connection only.

The compiled twin does the same with system calls of its own. It lets go of the GIL for large sends only.
"""

import errno
import os
import select
from collections import deque
from typing import Any

from .base import Connection, Transport

# Events handled in one turn of the loop.
BATCH = 256
# Bytes received at once; as many as READ_MAX by a connection whose last receive filled its buffer.
READ_SIZE = 65536
READ_MAX = 262144
# Bytes of one file sent in one turn of the loop.
FILE_TURN = 1048576
# Queued parts given to one sendmsg(2). Linux takes 1024 at most.
PARTS = 64

# epoll(7); `select` has these names on Linux only.
EPOLLIN = 0x001
EPOLLOUT = 0x004
EPOLLERR = 0x008
EPOLLHUP = 0x010

SOL_SOCKET = 1
SO_ERROR = 4
SHUT_WR = 1

# Where the socket or the file is of a kind that sendfile(2) does not do.
NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.ESPIPE)


class Poller:
    """Watches the sockets of one server; `transports` are those of the open connections.

    `loop` is the running event loop; its `add_reader` may raise NotImplementedError. `context` is the
    `contextvars.Context` of callbacks, `log` the logger that internal errors go to. `high_water` is the number of
    queued bytes above which a connection is told to pause. `sendfile` lets the system send files.

    Raises OSError where there is no epoll, or no descriptor left.
    """

    __slots__ = (
        "_busy",
        "_closed",
        "_epoll",
        "_sources",
        "_unsettled",
        "_woken",
        "buffer",
        "context",
        "executor",
        "high_water",
        "listening",
        "log",
        "loop",
        "scheduled",
        "sendfile",
        "transports",
        "view",
    )

    def __init__(self, loop: Any, context: Any, log: Any, high_water: int, sendfile: bool) -> None:
        if not hasattr(select, "epoll"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self.loop = loop
        self.context = context
        self.log = log
        self.high_water = high_water
        self.sendfile = sendfile
        # Of whom steps are asked for by threads, or None.
        self.executor: Any = None
        self.transports: set[SocketTransport] = set()
        self._epoll = select.epoll()
        # What is watched, by descriptor. It is what keeps a source alive.
        self._sources: dict[int, SocketTransport | ListeningSocket] = {}
        self.listening: set[ListeningSocket] = set()
        self.buffer = bytearray(READ_MAX)
        self.view = memoryview(self.buffer)
        # Transports whose connection has to be told something, and (transport, connection) pairs to resume.
        self._unsettled: deque[SocketTransport] = deque()
        self.scheduled: deque[tuple[SocketTransport, Connection]] = deque()
        # Whether a batch is being handled, whose end settles; and whether a later turn was asked for.
        self._busy = False
        self._woken = False
        self._closed = False
        try:
            loop.add_reader(self._epoll.fileno(), self._ready)
        except BaseException:
            self._epoll.close()
            raise

    def listen(self, sock: Any, server: object, opened: Any, failed: Any, limit: int) -> "ListeningSocket":
        """Accept connections of a listening, non-blocking socket, up to `limit` in a turn.

        `server` is the address they come in at, as (host, port) or (path, None); None asks each of them.
        `opened(transport, client, server)` makes a connection and attaches it to the transport. `failed(error)` gets
        an OSError of accept(2) and tells whether to go on with the next one at once.
        """
        return ListeningSocket(self, sock, server, opened, failed, limit)

    def close(self) -> int:
        """Abort all connections, tell them so, and watch nothing any more. Returns 0.

        Not to be called from within a connection's methods.
        """
        if self._closed:
            return 0
        for listening in tuple(self.listening):
            listening.stop()
        for transport in tuple(self.transports):
            transport.abort()
        self.scheduled.clear()
        while self._unsettled:
            self._settle()
        self._closed = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        return 0

    def _ready(self) -> None:
        """Handle a batch of events."""
        if self._closed:
            return
        sources = self._sources
        batch = [(sources[number], events) for number, events in self._epoll.poll(0, BATCH) if number in sources]
        self._busy = True
        try:
            if self.executor is not None:
                self.executor.drain()
            for source, events in batch:
                source.handle(events)
        finally:
            if self.executor is not None:
                self.executor.drain()
            self._busy = False
            self._settle()

    def watch(self, source: Any, number: int, old: int, new: int) -> int:
        """Have `source` told of the events `new`, where it was of `old`; 0 for not at all. Returns 0."""
        if old == 0:
            # Before the system is asked, so that no event can come of a source that is not known.
            self._sources[number] = source
            try:
                self._epoll.register(number, new)
            except BaseException:
                del self._sources[number]
                raise
        elif new:
            self._epoll.modify(number, new)
        else:
            del self._sources[number]
            try:
                self._epoll.unregister(number)
            except OSError:
                # Somebody has closed the descriptor under our feet; that it is watched no more is what was asked for.
                pass
        return 0

    def unsettle(self, transport: "SocketTransport") -> int:
        """Have `transport` settled soon. Returns 0."""
        self._unsettled.append(transport)
        if not self._busy:
            self.wake()
        return 0

    def wake(self) -> int:
        """Ask for a turn of the loop. Returns 0."""
        if not self._woken and not self._closed:
            self._woken = True
            self.loop.call_soon(self._later, context=self.context)
        return 0

    def _later(self) -> None:
        """The turn that was asked for."""
        self._woken = False
        try:
            for _ in range(len(self.scheduled)):
                transport, connection = self.scheduled.popleft()
                transport.step(connection)
        finally:
            if self.scheduled:
                self.wake()
            self._settle()

    def _settle(self) -> int:
        """Tell connections what could not be told before. Returns 0."""
        try:
            # No more than there are: what comes up meanwhile waits for another turn.
            for _ in range(len(self._unsettled)):
                self._unsettled.popleft().settle()
        finally:
            if self._unsettled:
                self.wake()
        return 0


class ListeningSocket:
    """A listening socket; see `Poller.listen`. The socket stays the caller's to close, after `stop`."""

    __slots__ = ("_failed", "_limit", "_number", "_opened", "_poller", "_server", "_sock", "_watched")

    def __init__(self, poller: Poller, sock: Any, server: object, opened: Any, failed: Any, limit: int) -> None:
        self._poller = poller
        self._sock = sock
        self._number = sock.fileno()
        self._server = server
        self._opened = opened
        self._failed = failed
        self._limit = limit
        self._watched = 0
        poller.listening.add(self)
        self.resume()

    def pause(self) -> int:
        """Accept nothing for a while. Returns 0."""
        if self._watched:
            self._poller.watch(self, self._number, self._watched, 0)
            self._watched = 0
        return 0

    def resume(self) -> int:
        """Accept again. Returns 0."""
        if not self._watched:
            self._poller.watch(self, self._number, 0, EPOLLIN)
            self._watched = EPOLLIN
        return 0

    def stop(self) -> int:
        """Accept no more, for good. Returns 0."""
        self.pause()
        self._poller.listening.discard(self)
        return 0

    def accept(self, count: int) -> bool:
        """Accept up to `count` connections now. False when there was an end to them."""
        for _ in range(count):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if self._failed(error):
                    continue
                return False
            # TCP_NODELAY is inherited from the listening socket.
            sock.setblocking(False)
            transport = SocketTransport(self._poller, sock)
            try:
                server = self._server
                if server is None:
                    server = plain_address(sock.getsockname())
                self._opened(transport, plain_address(peer), server)
            except OSError as error:
                transport.abort()
                if not self._failed(error):
                    return False
            except Exception:
                self._poller.log.exception("Internal error: opening a connection failed")
                transport.abort()
        return True

    def handle(self, events: int) -> None:
        if self._watched:
            try:
                self.accept(self._limit)
            except Exception:
                self._poller.log.exception("Internal error: accepting connections failed")


class SocketTransport(Transport):
    """One connected, non-blocking socket, which is the transport's from now on.

    `connection` is set by `attach`, and None again once it was told that it is lost. `since` is for the server: when
    the connection was opened, in monotonic seconds.
    """

    __slots__ = (
        "_closing",
        "_doomed",
        "_ended",
        "_error",
        "_file",
        "_file_copied",
        "_file_error",
        "_file_left",
        "_file_offset",
        "_file_over",
        "_file_sent",
        "_number",
        "_offset",
        "_paused",
        "_poller",
        "_queue",
        "_read_size",
        "_shut",
        "_size",
        "_sock",
        "_unsettled",
        "_watched",
        "_writing_paused",
        "connection",
        "since",
    )

    def __init__(self, poller: Poller, sock: Any) -> None:
        self.connection: Connection | None = None
        self.since = 0.0
        self._poller = poller
        self._sock = sock
        self._number = sock.fileno()
        # The events that are asked for.
        self._watched = 0
        self._read_size = READ_SIZE
        # Input: paused by the connection; at its end.
        self._paused = False
        self._ended = False
        # Output: what is queued, the offset of what is left of its first part, and how many bytes that is.
        self._queue: deque[bytes] = deque()
        self._offset = 0
        self._size = 0
        self._writing_paused = False
        # Asked for, and done once the queue is empty: to close the sending half, or all of it.
        self._shut = False
        self._closing = False
        # It is over, with `_error` or None; `lost` follows.
        self._doomed = False
        self._error: object = None
        self._unsettled = False
        # A duplicate of the file's descriptor that is ours alone, or -1; what is done and left to do.
        self._file = -1
        self._file_offset = 0
        self._file_left = 0
        self._file_sent = 0
        self._file_copied = False
        # It is over, with `_file_error` or None; `file_sent` follows.
        self._file_over = False
        self._file_error: object = None

    @property
    def transport(self) -> "SocketTransport":
        """Itself: where a server that keeps a protocol beside each transport looks for it."""
        return self

    def attach(self, connection: Connection) -> int:
        """Receive for `connection` from now on. Returns 0. Raises OSError when the system has no room for it."""
        self._poller.watch(self, self._number, 0, EPOLLIN | EPOLLERR)
        self._watched = EPOLLIN | EPOLLERR
        self.connection = connection
        self._poller.transports.add(self)
        return 0

    # Output.

    def write(self, data: bytes) -> int:
        if self._doomed or self._closing or self._shut:
            return 0
        sent = 0
        if self._size == 0 and self._file < 0:
            sent = self._send(data)
            if sent < 0 or sent == len(data):
                return 0
        self._push(data, sent)
        return self._brake()

    def write_parts(self, parts: list) -> int:
        if self._doomed or self._closing or self._shut:
            return 0
        sent = 0
        if self._size == 0 and self._file < 0:
            sent = self._send_parts(parts[:PARTS])
            if sent < 0:
                return 0
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
            else:
                self._push(part, sent)
                sent = 0
        return self._brake() if self._size else 0

    def buffered(self) -> int:
        return self._size

    def shutdown_write(self) -> bool:
        if self._doomed or self._closing:
            return False
        if not self._shut:
            self._shut = True
            if self._size == 0 and self._file < 0:
                return self._shut_down()
        return True

    def close(self) -> int:
        if not self._closing:
            self._closing = True
            if self._size == 0 and self._file < 0:
                self._doom(None)
        return 0

    def abort(self) -> int:
        self._doom(None)
        return 0

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        if self._doomed or self._closing or self._shut:
            return 0
        self._file_offset = offset
        self._file_left = count
        self._file_sent = 0
        self._file_copied = not self._poller.sendfile
        try:
            self._file = os.dup(descriptor)
        except OSError as error:
            self._end_file(error)
            return 0
        if self._size == 0:
            self._send_file()
        self._ask()
        return 0

    def file_progress(self) -> int:
        return self._file_sent

    # Input.

    def pause_reading(self) -> int:
        # An event that comes meanwhile is what removes the interest.
        self._paused = True
        return 0

    def resume_reading(self) -> int:
        if self._paused:
            self._paused = False
            self._ask()
        return 0

    def schedule(self, connection: Connection) -> int:
        self._poller.scheduled.append((self, connection))
        return self._poller.wake()

    # Called by the poller.

    def handle(self, events: int) -> None:
        """Handle events of the socket."""
        try:
            self._dispatch(events)
        except Exception as error:
            self._fail(error)

    def _dispatch(self, events: int) -> int:
        if self._doomed:
            return 0
        reading = not (self._paused or self._ended or self._closing)
        if not reading:
            if events & (EPOLLERR | EPOLLHUP):
                # Both are reported whether asked for or not, and nothing else will tell.
                return self._doom(self._reason())
            if events & EPOLLIN:
                self._ask()
        if events & EPOLLOUT:
            self._drain()
        if reading and events & (EPOLLIN | EPOLLERR | EPOLLHUP) and not self._doomed:
            self._receive(events)
        return 0

    def step(self, connection: Connection) -> None:
        """Make the call that `schedule` asked for."""
        if self.connection is None:
            return
        try:
            connection.resume()
        except Exception as error:
            self._fail(error)

    def settle(self) -> None:
        """Tell the connection that the file is out, or that all is over."""
        self._unsettled = False
        if not self._doomed:
            if self._file_over:
                self._file_over = False
                error, self._file_error = self._file_error, None
                try:
                    self.connection.file_sent(error)
                except Exception as error:
                    self._fail(error)
            return
        if self._sock is None:
            return
        if self._watched:
            self._poller.watch(self, self._number, self._watched, 0)
            self._watched = 0
        self._sock.close()
        self._sock = None
        self._poller.transports.discard(self)
        connection, self.connection = self.connection, None
        error, self._error = self._error, None
        if connection is not None:
            try:
                connection.lost(error)
            except Exception:
                self._poller.log.exception("Internal error: ending a connection failed")

    def _fail(self, error: Exception) -> None:
        """The connection raised."""
        self._poller.log.error("Internal error: a connection failed", exc_info=error)
        self._doom(None)

    # Parts of the above.

    def _receive(self, events: int) -> int:
        size = self._read_size
        try:
            count = self._sock.recv_into(self._poller.buffer, size)
        except (BlockingIOError, InterruptedError):
            if events & EPOLLERR:
                return self._doom(self._reason())
            return 0
        except OSError as error:
            return self._doom(error)
        if count == 0:
            self._ended = True
            return self.connection.eof()
        self._read_size = READ_MAX if count == size else READ_SIZE
        return self.connection.feed(bytes(self._poller.view[:count]))

    def _drain(self) -> int:
        """The socket takes output: send what is queued, then of the file, then do what was waiting for that."""
        if self._size:
            self._flush()
            if self._doomed:
                return 0
            if self._writing_paused and self._size <= self._poller.high_water // 4:
                self._writing_paused = False
                self.connection.resume_writing()
                if self._doomed:
                    return 0
        elif self._file < 0:
            # Asked for until now, in case that there would be more.
            return self._ask()
        if self._size == 0:
            if self._file >= 0:
                self._send_file()
            if self._file < 0 and self._size == 0 and not self._doomed:
                if self._shut:
                    self._shut_down()
                if self._closing:
                    self._doom(None)
        return 0

    def _flush(self) -> int:
        """Send what is queued, once."""
        if len(self._queue) == 1:
            first = self._queue[0]
            sent = self._send(memoryview(first)[self._offset :] if self._offset else first)
        else:
            parts: list[Any] = [self._queue[index] for index in range(min(len(self._queue), PARTS))]
            if self._offset:
                parts[0] = memoryview(parts[0])[self._offset :]
            sent = self._send_parts(parts)
        if sent <= 0:
            return 0
        self._size -= sent
        sent += self._offset
        while self._queue and sent >= len(self._queue[0]):
            sent -= len(self._queue.popleft())
        self._offset = sent
        return 0

    def _send(self, data: Any) -> int:
        """Bytes that the system took; below 0 when it is over."""
        try:
            sent: int = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._doom(error)
            return -2
        return sent

    def _send_parts(self, parts: list) -> int:
        """The same for up to PARTS parts."""
        try:
            sent: int = self._sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._doom(error)
            return -2
        return sent

    def _push(self, data: bytes, sent: int) -> int:
        """Queue what is left of `data`. Only the first of the queue may have been sent in part."""
        if len(data) > sent:
            self._queue.append(data)
            self._size += len(data) - sent
            if sent:
                self._offset = sent
        return 0

    def _brake(self) -> int:
        """Something was queued."""
        self._ask()
        if self._size > self._poller.high_water and not self._writing_paused:
            self._writing_paused = True
            self.connection.pause_writing()
        return 0

    def _send_file(self) -> int:
        """Send a part of the file. The queue is empty."""
        if not self._file_copied:
            try:
                count = os.sendfile(self._number, self._file, self._file_offset, min(self._file_left, FILE_TURN))
            except (BlockingIOError, InterruptedError):
                return 0
            except ConnectionError as error:
                return self._doom(error)
            except OSError as error:
                if error.errno not in NO_SENDFILE:
                    return self._end_file(error)
                self._file_copied = True
        if self._file_copied:
            try:
                data = os.pread(self._file, min(self._file_left, READ_MAX), self._file_offset)
            except OSError as error:
                return self._end_file(error)
            count = len(data)
            if count:
                sent = self._send(data)
                if sent < 0:
                    return 0
                self._push(data, sent)
        if count == 0:
            return self._end_file(OSError(errno.EIO, "the file is shorter than was promised"))
        self._file_offset += count
        self._file_sent += count
        self._file_left -= count
        if self._file_left == 0:
            self._end_file(None)
        return 0

    def _end_file(self, error: object) -> int:
        """Nothing more of the file is sent; `file_sent` follows."""
        self._close_file()
        self._file_over = True
        self._file_error = error
        return self._unsettle()

    def _close_file(self) -> int:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        return 0

    def _shut_down(self) -> bool:
        """Close the sending half. False when the peer has reset the connection, which an event will tell."""
        try:
            self._sock.shutdown(SHUT_WR)
        except OSError:
            return False
        return True

    def _ask(self) -> int:
        """Ask for the events that are of use now."""
        # Errors are reported whether asked for or not. Named here, they tell this from not being watched at all.
        wanted = EPOLLERR
        if not (self._paused or self._ended or self._closing):
            wanted |= EPOLLIN
        if self._size or self._file >= 0:
            wanted |= EPOLLOUT
        if wanted != self._watched and not self._doomed:
            self._poller.watch(self, self._number, self._watched, wanted)
            self._watched = wanted
        return 0

    def _reason(self) -> object:
        """What an event that tells of an error means: an exception, or None when both halves were closed in order."""
        code = self._sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if code == 0:
            if self._shut and self._size == 0:
                return None
            code = errno.ECONNRESET
        return OSError(code, os.strerror(code))

    def _doom(self, error: object) -> int:
        """It is over: drop what is queued; `lost` follows."""
        if not self._doomed:
            self._doomed = True
            self._error = error
            self._queue.clear()
            self._offset = 0
            self._size = 0
            self._close_file()
            self._unsettle()
        return 0

    def _unsettle(self) -> int:
        if not self._unsettled:
            self._unsettled = True
            self._poller.unsettle(self)
        return 0


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
