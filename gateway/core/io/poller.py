"""Own I/O on Linux: all connections on one epoll descriptor, which is itself watched by the running event loop.

Theory of operation. An asyncio transport costs a handle, a run of its context and a Python object for every event of
every connection. Here the loop sees one descriptor, a `Poller`'s, with `add_reader`; when it is ready, one call takes
a batch of events and goes through receive, parse, application and send for each connection. It works on every loop
that has readers, and makes the stock one as fast as uvloop.

Rule 1: everything is level-triggered and bounded (events per turn, one receive per event, accepts, parts of a file).
What is left over is reported again in the next turn; other callbacks and timers get theirs in between.
Rule 2: connections are told of their end, and of the end of a file, when a batch was handled or in a turn of their
own; only then are descriptors closed.
Rule 3: responses that are complete wait for those of the rest of the batch, but not for longer than HOLD and the
application that runs then. A client that waits has gone to sleep, and what costs is to wake it: a client of many
connections is woken once for sends in a row.

The compiled build makes the system calls itself (`kernels/sockets`), and lets go of the GIL for large ones only.
"""

from errno import EAGAIN
from typing import Any

from ..kernels.base import monotonic
from ..kernels.sockets import EPOLLEXCLUSIVE, EPOLLIN, AcceptQueue, Socket
from .hub import Hub, failure
from .transport import SocketTransport

# Seconds after which held output is sent before another connection is served.
HOLD = 0.0005


class Poller(Hub):
    """Watches the sockets of one server; `transports` are those of the open connections.

    `loop` is the running event loop; its `add_reader` may raise NotImplementedError. `context` is the
    `contextvars.Context` of callbacks, `log` the logger that internal errors go to. `high_water` is the number of
    queued bytes above which a connection is told to pause. `sendfile` lets the system send files. `executor` is None,
    or what has its posted steps done in each turn.

    Raises OSError where there is no epoll, or no descriptor left.
    """

    __slots__ = ()

    def __init__(self, loop: Any, context: Any, log: Any, high_water: int, sendfile: bool) -> None:
        Hub.__init__(self, loop, context, log, high_water, sendfile)
        try:
            loop.add_reader(self.events.descriptor(), self._ready)
        except BaseException:
            self.events.close()
            raise

    def listen(
        self, sock: Any, server: object, opened: Any, failed: Any, limit: int, share: Any = None
    ) -> "ListeningSocket":
        """Accept connections of a listening, non-blocking socket, up to `limit` in a turn.

        `server` is the address they come in at, as (host, port) or (path, None); None asks each of them.
        `opened(transport, client, server)` makes a connection and attaches it to the transport. `failed(error)` gets
        an OSError of accept(2) and tells whether to go on with the next one at once. `share()`, where others accept
        at the same socket, tells how many to take in this turn.
        """
        return ListeningSocket(self, sock, server, opened, failed, limit, share)

    def adopt(self, sock: Any) -> SocketTransport:
        """A transport for a connected, non-blocking socket, which is the transport's from now on."""
        return SocketTransport(self, Socket(sock))

    def tick(self, now: float) -> int:
        """Have all connections check their deadlines against `now`, in monotonic seconds. Returns 0."""
        # None of them joins or leaves meanwhile: that happens in turns of their own.
        for transport in self.transports:
            transport.tick(now)
        return self.buffer.tick()

    def close(self) -> int:
        """Abort all connections, tell them so, and watch nothing any more. Returns 0.

        Not to be called from within a connection's methods.
        """
        if self.closed:
            return 0
        for listening in tuple(self.listening):
            listening.stop()
        for transport in tuple(self.transports):
            transport.abort()
        self.scheduled = []
        while self.unsettled:
            self._settle()
        self.closed = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self.events.descriptor())
        self.events.close()
        self.executor = None
        return 0

    def _ready(self) -> None:
        """Handle a batch of events."""
        # A loop that was made to run within one of its own callbacks would receive into the buffer that is in use.
        if self.closed or self.busy:
            return
        self.busy = True
        try:
            if self.executor is not None:
                self.executor.drain()
            self._handle()
            if self.executor is not None:
                self.executor.drain()
        finally:
            self.holding = False
            self._send_held()
            self.busy = False
            self.events.done()
            self._settle()

    def visit(self, listening: "ListeningSocket") -> int:
        """Handle connections that wait at a listening socket, as a batch of their own. Returns 0."""
        if self.closed or self.busy:
            return 0
        self.busy = True
        try:
            # Before a request is judged by how many there are: a client may have its response, and be back already.
            if self.executor is not None:
                self.executor.drain()
            listening.accept_some()
            if self.executor is not None:
                self.executor.drain()
        finally:
            self.busy = False
            self._settle()
        return 0

    def _handle(self) -> int:
        queue = self.events
        count = queue.wait()
        if count < 0:
            raise failure(-count)
        for index in range(count):
            self.holding = index + 1 < count
            if self.held and monotonic() - self.held_since > HOLD:
                self._send_held()
            source = queue.source(index)
            if isinstance(source, SocketTransport):
                transport = source
                transport.handle(queue.events(index))
            else:
                listening = source
                listening.handle(queue.events(index))
        return 0

    def _send_held(self) -> int:
        """Send what is held. Returns 0."""
        batch = self.held
        if batch:
            self.held = []
            for transport in batch:
                transport.send_held()
        return 0

    def later(self) -> int:
        """The turn that was asked for. Returns 0."""
        self.woken = False
        batch = self.scheduled
        self.scheduled = []
        done = 0
        try:
            for entry in batch:
                done += 1
                transport, connection = entry
                transport.step(connection)
        finally:
            if done < len(batch):
                self.scheduled[:0] = batch[done:]
            if self.scheduled:
                self.wake()
            self._settle()
        return 0

    def _settle(self) -> int:
        """Tell connections what they have to be told. What is told next of that is told in another turn. Returns 0."""
        batch = self.unsettled
        if not batch:
            return 0
        self.unsettled = []
        done = 0
        try:
            for transport in batch:
                done += 1
                transport.settle()
        finally:
            if done < len(batch):
                self.unsettled[:0] = batch[done:]
            if self.unsettled:
                self.wake()
        return 0


class ListeningSocket:
    """A listening socket of a poller; see `Poller.listen`. The socket stays the caller's."""

    __slots__ = ("_failed", "_limit", "_opened", "_poller", "_queue", "_server", "_share", "_watched")

    def __init__(
        self, poller: Poller, sock: Any, server: object, opened: Any, failed: Any, limit: int, share: Any = None
    ) -> None:
        self._poller = poller
        self._queue = AcceptQueue(sock)
        self._server = server
        self._opened = opened
        self._failed = failed
        self._limit = limit
        self._share = share
        self._watched = 0
        self._poller.listening.add(self)
        self.resume()

    def pause(self) -> int:
        """Accept nothing for a while. Returns 0."""
        if self._watched:
            self._poller.watch(self, self._queue.number, self._watched, 0)
            self._watched = 0
        return 0

    def resume(self) -> int:
        """Accept again. Returns 0."""
        if not self._watched:
            self._poller.watch(self, self._queue.number, 0, EPOLLIN | EPOLLEXCLUSIVE)
            self._watched = EPOLLIN | EPOLLEXCLUSIVE
        return 0

    def stop(self) -> int:
        """Accept no more, for good. Returns 0."""
        self.pause()
        self._poller.listening.discard(self)
        return 0

    def accept(self, count: int) -> bool:
        """Accept up to `count` connections now. False when there was an end to them."""
        queue = self._queue
        for _ in range(count):
            accepted = queue.accept()
            if accepted is None:
                if queue.code == EAGAIN:
                    return False
                if self._failed(failure(queue.code)):
                    continue
                return False
            # TCP_NODELAY is inherited from the listening socket.
            transport = SocketTransport(self._poller, accepted)
            try:
                server = self._server
                client = queue.peer
                if server is None:
                    server = queue.local_address(accepted)
                self._opened(transport, client, server)
            except OSError as error:
                transport.abort()
                if not self._failed(error):
                    return False
            except Exception:
                self._poller.log.exception("Internal error: opening a connection failed")
                transport.abort()
        return True

    def handle(self, events: int) -> int:
        """Connections wait. Returns 0."""
        if self._watched:
            self.accept_some()
        return 0

    def ring(self) -> None:
        """Connections wait, as another than the poller has found."""
        self._poller.visit(self)

    def accept_some(self) -> int:
        """Accept as many as is this turn's share. Returns 0."""
        try:
            self.accept(self._limit if self._share is None else self._share())
        except Exception:
            self._poller.log.exception("Internal error: accepting connections failed")
        return 0
