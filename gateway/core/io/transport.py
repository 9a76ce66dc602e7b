"""SocketTransport: one connected socket of a poller, from its events to the connection's methods and back.

Rule 1: every event leads to progress or to a smaller set of events that are asked for. That set is otherwise left
alone: a pause that is over before more data comes costs no system call.
Rule 2: `Connection.lost` and `file_sent` are called by `settle`, and never from within a method of the transport.
Only then is the descriptor closed, once.
Rule 3: what a connection raises is logged, and ends that connection only.

What is received is parsed where it was received: the connection's input borrows the poller's buffer, and copies what
it could not consume. Where much arrives at once, it is received into memory of its own, which is never copied.

Only the loop's thread changes anything here. `send_now` and `send_parts_now` are for the others: they look, send, and
leave the rest to it. The latter gives up the GIL. Then the loop may do all but write, and find out that the connection
is over: `lost`, which waits for the thread, comes before the descriptor is closed.
"""

from errno import EAGAIN, ECONNRESET, EINVAL, EIO, ENOSYS, ENOTSOCK, EOPNOTSUPP, EOVERFLOW, ESPIPE

from ..kernels.base import Connection, Transport, monotonic
from ..kernels.sockets import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    READ_MAX,
    READ_SIZE,
    RELEASE_SIZE,
    THREADS_SEND,
    File,
    Socket,
)
from .hub import Hub, failure

# Bytes of one file sent in one turn of the loop.
FILE_TURN = 1048576
# Sent elements at the front of a queue before they are removed from the list.
QUEUE_SLACK = 1024

# Where the socket or the file is of a kind that sendfile(2) does not do.
NO_SENDFILE = (EINVAL, ENOSYS, ENOTSOCK, EOPNOTSUPP, EOVERFLOW, ESPIPE)


class FileOutput:
    """One file on its way into one connection: `left` bytes from `offset`, after `sent` bytes that are out.

    `copied`: the system does not send it, so that it is read. `over`: nothing more of it is sent, because of `error`
    or None.
    """

    __slots__ = ("copied", "error", "file", "left", "offset", "over", "sent")

    def __init__(self, offset: int, count: int, copied: bool) -> None:
        self.file: File | None = None
        self.offset = offset
        self.left = count
        self.sent = 0
        self.copied = copied
        self.over = False
        self.error: object = None

    def close(self) -> int:
        """Close our descriptor of the file. Returns 0."""
        if self.file is not None:
            self.file.close()
            self.file = None
        return 0


class SocketTransport(Transport):
    """One connected, non-blocking socket, which is the transport's from now on.

    `connection` is set by `attach`, and None again once it was told that it is lost.
    """

    __slots__ = (
        "_closing",
        "_doomed",
        "_ended",
        "_error",
        "_file",
        "_first",
        "_hub",
        "_much",
        "_offset",
        "_paused",
        "_queue",
        "_shut",
        "_size",
        "_socket",
        "_unsettled",
        "_watched",
        "_writing_paused",
        "connection",
    )

    def __init__(self, hub: Hub, socket: Socket) -> None:
        self.connection: Connection | None = None
        if THREADS_SEND:
            self.threadsafe = True
        self._hub = hub
        self._socket: Socket | None = socket
        # The events that are asked for.
        self._watched = 0
        # Input: the last receive filled its buffer; paused by the connection; at its end.
        self._much = False
        self._paused = False
        self._ended = False
        # Output: a list whose elements before `_first` are sent, or None; the bytes sent of its first element that is
        # not; and how many bytes that leaves.
        self._queue: list | None = None
        self._first = 0
        self._offset = 0
        self._size = 0
        self._writing_paused = False
        self._file: FileOutput | None = None
        # Asked for, and done once everything is sent: to close the sending half, or all of it.
        self._shut = False
        self._closing = False
        # It is over, with `_error` or None; `lost` follows.
        self._doomed = False
        self._error: object = None
        self._unsettled = False

    @property
    def transport(self) -> "SocketTransport":
        """Itself: where a server that keeps a protocol beside each transport looks for it."""
        return self

    def descriptor(self) -> int:
        """The socket's descriptor, below 0 once closed."""
        return -1 if self._socket is None else self._socket.number

    def attach(self, connection: Connection) -> int:
        """Receive for `connection` from now on. Returns 0. Raises OSError when the system has no room for it."""
        self._hub.watch(self, self._socket.number, 0, EPOLLIN | EPOLLERR)
        self._watched = EPOLLIN | EPOLLERR
        self.connection = connection
        self._hub.transports.add(self)
        return 0

    def open(self, connection: Connection) -> int:
        """The same for a new `connection`, which is told of its opening, and of what is here already. Returns 0.

        Most clients send their request as soon as they may, and some want no more than one: those are served before
        the system is asked to watch for anything. Raises OSError as `attach` does.
        """
        self.connection = connection
        self._hub.transports.add(self)
        connection.opened()
        # Elsewhere than in a batch, the application could run the loop while the shared buffer is in use.
        if self._hub.busy:
            self.handle(EPOLLIN)
        return self._ask()

    # Output.

    def write(self, data: bytes) -> int:
        """Send `data`, or queue what the system does not take. Returns 0."""
        if self._doomed or self._closing or self._shut:
            return 0
        sent = 0
        if self._size == 0 and self._idle():
            sent = self._send(data, 0)
            if sent < 0 or sent == len(data):
                return 0
        self._push(data, sent)
        return self._brake()

    def write_soon(self, data: bytes) -> int:
        """The same, at the end of the batch that is being handled, or a little later than now. Returns 0."""
        hub = self._hub
        if not hub.holding or self._doomed or self._closing or self._shut or self._size or not self._idle():
            return self.write(data)
        if not hub.held:
            hub.held_since = monotonic()
        hub.held.append(self)
        return self._push(data, 0)

    def send_held(self) -> int:
        """Send what `write_soon` has queued, and what came after it. Returns 0."""
        if not self._doomed:
            try:
                self._drain()
                if self._size and not self._doomed:
                    self._brake()
            except Exception as error:
                self._fail(error)
        return 0

    def write_parts(self, parts: list) -> int:
        """The same for several. Returns 0."""
        if self._doomed or self._closing or self._shut:
            return 0
        sent = 0
        if self._size == 0 and self._idle():
            sent = self._sent(self._socket.send_parts(parts, 0, 0))
            if sent < 0:
                return 0
        return self.write_rest(parts, sent)

    def write_rest(self, parts: list, taken: int) -> int:
        """Queue what is left of `parts` when the first `taken` bytes of them are out. Returns 0."""
        if self._doomed or self._closing or self._shut:
            return 0
        for part in parts:
            size = len(part)
            if taken >= size:
                taken -= size
            else:
                self._push(part, taken)
                taken = 0
        return self._brake() if self._size else 0

    def send_now(self, data: bytes) -> int:
        """What the socket takes of `data` at once; -1 when it may not be sent this way."""
        if not self.threadsafe or self._size or self._doomed or self._closing or self._shut or not self._idle():
            return -1
        socket = self._socket
        if socket is None or socket.sending or len(data) > RELEASE_SIZE:
            return -1
        sent = socket.send(data, 0)
        return sent if sent > 0 else 0

    def send_parts_now(self, parts: list) -> int:
        """The same for several, of any size."""
        if not self.threadsafe or self._size or self._doomed or self._closing or self._shut or not self._idle():
            return -1
        socket = self._socket
        if socket is None or socket.sending:
            return -1
        sent = socket.send_parts(parts, 0, 0)
        return sent if sent > 0 else 0

    def buffered(self) -> int:
        """Bytes queued."""
        return self._size

    def shutdown_write(self) -> bool:
        """Close the sending half once everything is sent. False when the connection is over."""
        if self._doomed or self._closing:
            return False
        if not self._shut:
            self._shut = True
            if self._size == 0 and self._idle():
                # It fails when the peer has reset the connection, which an event will tell.
                return self._socket.shut_down() >= 0
        return True

    def close(self) -> int:
        """Close once everything is sent. Returns 0."""
        if not self._closing:
            self._closing = True
            if self._size == 0 and self._idle():
                self._doom(None)
        return 0

    def abort(self) -> int:
        """Close now. Returns 0."""
        return self._doom(None)

    def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send a part of a file after what is queued. Returns 0."""
        if self._doomed or self._closing or self._shut:
            return 0
        self._file = FileOutput(offset, count, not self._hub.sendfile)
        try:
            self._file.file = File(descriptor)
        except OSError as error:
            return self._end_file(error)
        if self._size == 0:
            self._send_file()
        return self._ask()

    def file_progress(self) -> int:
        """Bytes of the current file that are out, or queued where it is copied."""
        return 0 if self._file is None else self._file.sent

    # Input.

    def pause_reading(self) -> int:
        """Receive nothing. Returns 0."""
        # An event that comes meanwhile is what removes the interest.
        self._paused = True
        return 0

    def resume_reading(self) -> int:
        """Receive again. Returns 0."""
        if self._paused:
            self._paused = False
            self._ask()
        return 0

    def schedule(self, connection: Connection) -> int:
        """Have `connection` resumed in a later turn. Returns 0."""
        return self._hub.schedule(self, connection)

    def switch(self, connection: Connection) -> int:
        """Everything goes to `connection` from now on. Returns 0."""
        self.connection = connection
        return 0

    # Called by the poller.

    def handle(self, events: int) -> int:
        """Handle events of the socket. Returns 0."""
        try:
            self._dispatch(events)
        except Exception as error:
            self._fail(error)
        return 0

    def step(self, connection: Connection) -> int:
        """Make the call that `schedule` asked for. Returns 0."""
        if self.connection is not None:
            try:
                connection.resume()
            except Exception as error:
                self._fail(error)
        return 0

    def tick(self, now: float) -> int:
        """Have the connection check its deadlines against `now`, in monotonic seconds. Returns 0."""
        connection = self.connection
        if connection is not None:
            try:
                connection.tick(now)
            except Exception as error:
                self._fail(error)
        return 0

    def settle(self) -> int:
        """Tell the connection that the file is out, or that all is over. Returns 0."""
        self._unsettled = False
        if not self._doomed:
            file = self._file
            if file is not None and file.over:
                try:
                    self.connection.file_sent(file.error)
                except Exception as error:
                    self._fail(error)
                if self._file is file:
                    self._file = None
            return 0
        socket = self._socket
        if socket is None:
            return 0
        self._socket = None
        if self._watched:
            self._hub.watch(self, socket.number, self._watched, 0)
            self._watched = 0
        self._hub.transports.discard(self)
        connection = self.connection
        self.connection = None
        reason = self._error
        self._error = None
        if connection is not None:
            try:
                connection.lost(reason)
            except Exception:
                self._hub.log.exception("Internal error: ending a connection failed")
        # Not before a thread that was sending is through.
        socket.close()
        return 0

    # Parts of the above.

    def _idle(self) -> bool:
        """Whether no file is being sent."""
        return self._file is None or self._file.over

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

    def _receive(self, events: int) -> int:
        """Receive once, and hand it to the connection. Returns 0."""
        size = READ_MAX if self._much else READ_SIZE
        buffer = self._hub.buffer
        count = buffer.receive(self._socket, size)
        if count > 0:
            if count == size:
                self._much = True
            elif count < READ_SIZE:
                self._much = False
            connection = self.connection
            source = connection.input
            buffer.lend(source)
            try:
                connection.received(count)
            finally:
                source.keep()
            return 0
        if count == 0:
            self._ended = True
            return self.connection.eof()
        if count != -EAGAIN:
            return self._doom(failure(-count))
        if events & EPOLLERR:
            return self._doom(self._reason())
        return 0

    def _drain(self) -> int:
        """The socket takes output: send what is queued, then of the file, then do what was waiting for that."""
        if self._size:
            self._flush()
            if self._doomed:
                return 0
            if self._writing_paused and self._size <= self._hub.high_water // 4:
                self._writing_paused = False
                self.connection.resume_writing()
                if self._doomed:
                    return 0
        elif self._idle():
            # Asked for until now, in case that there would be more.
            return self._ask()
        if self._size == 0:
            if not self._idle():
                self._send_file()
            if self._size == 0 and not self._doomed and self._idle():
                if self._shut:
                    self._socket.shut_down()
                if self._closing:
                    self._doom(None)
        return 0

    def _flush(self) -> int:
        """Send what is queued, once. Returns 0."""
        queue = self._queue
        if len(queue) - self._first == 1:
            sent = self._send(queue[self._first], self._offset)
        else:
            sent = self._sent(self._socket.send_parts(queue, self._first, self._offset))
        if sent <= 0:
            return 0
        self._size -= sent
        sent += self._offset
        while self._first < len(queue):
            size = len(queue[self._first])
            if sent < size:
                break
            sent -= size
            queue[self._first] = b""
            self._first += 1
        self._offset = sent
        if self._first == len(queue):
            self._queue = None
            self._first = 0
        elif self._first >= QUEUE_SLACK and self._first * 2 > len(queue):
            # Moving less than was sent since the last move: amortised.
            del queue[: self._first]
            self._first = 0
        return 0

    def _send(self, data: bytes, offset: int) -> int:
        """Send `data` from `offset`. Returns the bytes that the system took, -2 when it is over."""
        return self._sent(self._socket.send(data, offset))

    def _sent(self, count: int) -> int:
        """What came of a send: the bytes that the system took, -2 when it is over."""
        if count >= 0:
            return count
        if count == -EAGAIN:
            return 0
        self._doom(failure(-count))
        return -2

    def _push(self, data: bytes, sent: int) -> int:
        """Queue what is left of `data`. Only the first of the queue may have been sent in part. Returns 0."""
        if len(data) > sent:
            if self._queue is None:
                self._queue = []
            self._queue.append(data)
            self._size += len(data) - sent
            if sent:
                self._offset = sent
        return 0

    def _brake(self) -> int:
        """Something was queued. Returns 0."""
        self._ask()
        if self._size > self._hub.high_water and not self._writing_paused:
            self._writing_paused = True
            self.connection.pause_writing()
        return 0

    def _send_file(self) -> int:
        """Send a part of the file. The queue is empty. Returns 0."""
        file = self._file
        count = 0
        if not file.copied:
            count = self._socket.send_file(file.file, file.offset, min(file.left, FILE_TURN))
            if count == -EAGAIN:
                return 0
            if count < 0:
                error = failure(-count)
                if isinstance(error, ConnectionError):
                    return self._doom(error)
                if -count not in NO_SENDFILE:
                    return self._end_file(error)
                file.copied = True
        if file.copied:
            try:
                data = file.file.read(min(file.left, READ_MAX), file.offset)
            except OSError as problem:
                return self._end_file(problem)
            count = len(data)
            if count:
                sent = self._send(data, 0)
                if sent < 0:
                    return 0
                self._push(data, sent)
        if count == 0:
            return self._end_file(OSError(EIO, "the file is shorter than was promised"))
        file.offset += count
        file.sent += count
        file.left -= count
        if file.left == 0:
            self._end_file(None)
        return 0

    def _end_file(self, error: object) -> int:
        """Nothing more of the file is sent; `file_sent` follows. Returns 0."""
        file = self._file
        file.over = True
        file.error = error
        file.close()
        return self._unsettle()

    def _ask(self) -> int:
        """Ask for the events that are of use now. Returns 0."""
        # Errors are reported whether asked for or not. Named here, they tell this from not being watched at all.
        wanted = EPOLLERR
        if not (self._paused or self._ended or self._closing):
            wanted |= EPOLLIN
        if self._size or not self._idle():
            wanted |= EPOLLOUT
        if wanted != self._watched and not self._doomed:
            self._hub.watch(self, self._socket.number, self._watched, wanted)
            self._watched = wanted
        return 0

    def _reason(self) -> object:
        """What an event that tells of an error means: an exception, or None when both halves were closed in order."""
        code = self._socket.error()
        if code == 0:
            if self._shut and self._size == 0:
                return None
            code = ECONNRESET
        return failure(code)

    def _fail(self, error: object) -> int:
        """The connection raised. Returns 0."""
        self._hub.log.error("Internal error: a connection failed", exc_info=error)
        return self._doom(None)

    def _doom(self, error: object) -> int:
        """It is over: drop what is queued; `lost` follows. Returns 0."""
        if not self._doomed:
            self._doomed = True
            self._error = error
            self._queue = None
            self._first = 0
            self._offset = 0
            self._size = 0
            if self._file is not None:
                # Kept: how much of it was sent is still asked for.
                self._file.close()
            self._unsettle()
        return 0

    def _unsettle(self) -> int:
        if not self._unsettled:
            self._unsettled = True
            self._hub.unsettle(self)
        return 0
