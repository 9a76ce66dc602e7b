"""A server without sockets: connections that live in memory, behind them everything that a real server has.

Theory of operation. `MemoryServer` is the `Server` as it is, with lifespan, threads, limits and timeouts; only that it
listens nowhere. `connect` makes a `MemoryConnection`, which is two things: for the server's `Protocol` it is an asyncio
transport, and for a client it has `send`, `receive` and `close`. What is on its way from one to the other is bounded
as the buffers of sockets are, so that slow readers are slow here, too.

Everything here happens on the server's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..config.settings import Config
from ..log import ERROR_LOGGER, Loggers
from ..server.assembly import program_loggers
from ..server.protocol import Acceptor, Protocol
from ..server.server import Server

BUFFER = 65536
"""Bytes that are on their way before the sender has to wait."""

CLIENT = ("127.0.0.1", 123)
"""The client's address, where the test does not say."""


MOST = 100
"""Exceptions that are kept."""


class MemoryConnection(asyncio.Transport):
    """One connection: the server's transport, and the client's end of it.

    `send`, `receive` and `close` are the client's. A client that closes while something is under way is a client that
    left: the server is not asked to wait for it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, acceptor: Acceptor, client: Any, server: Any, failures: Failures
    ) -> None:
        super().__init__()
        self.failures: deque[BaseException] = deque(maxlen=MOST)
        """The exceptions of the application that were logged while it answered here, oldest first."""
        self._collected = failures
        self._loop = loop
        self._protocol: Any = Protocol(acceptor, client, server)
        # The latest exchange, and who answers it: either may let go of the other before an exception is logged.
        self._stream: Any = None
        self._responder: Any = None
        # To the server: what has not been delivered.
        self._input: deque[bytes] = deque()
        self._input_size = 0
        self._reading = True
        self._delivering = False
        # To the client: what it has not taken.
        self._output: deque[bytes] = deque()
        self._output_size = 0
        self._high = BUFFER
        self._writing_paused = False
        self._ended = False
        self._closing = False
        self._reset = False
        self._waiters: list[asyncio.Future[None]] = []
        self._protocol.connection_made(self)
        failures.connections.add(self)

    def answers(self, stream: Any, responder: Any) -> bool:
        """Whether that exchange, or what answers one, is the latest here; from any thread."""
        current = getattr(self._protocol.connection, "stream", None)
        if stream is not None and (stream is self._stream or stream is current):
            return True
        return responder is not None and (
            responder is self._responder or responder is getattr(current, "responder", None)
        )

    # The client's end

    @property
    def readable(self) -> bool:
        """Whether `receive` would return at once."""
        return bool(self._output) or self._ended or self._closing

    async def send(self, data: bytes) -> None:
        """Send, and wait until the server has taken most of it. Raises BrokenPipeError when it has closed."""
        if self._closing:
            raise BrokenPipeError("the server has closed the connection")
        self._input.append(data)
        self._input_size += len(data)
        self._deliver_soon()
        while self._input_size > BUFFER and not self._closing:
            await self._change()

    async def receive(self, size: int) -> bytes:
        """At most `size` bytes of what the server has sent; b"" at the end. Raises ConnectionResetError."""
        while not self.readable:
            await self._change()
        if not self._output:
            if self._reset:
                raise ConnectionResetError("the server has reset the connection")
            return b""
        data = self._output.popleft()
        if len(data) > size:
            self._output.appendleft(data[size:])
            data = data[:size]
        self._output_size -= len(data)
        if self._writing_paused and self._output_size <= self._high // 4:
            self._writing_paused = False
            with self._collected.belong_to(self):
                self._protocol.resume_writing()
        return data

    def hang_up(self) -> None:
        """The client closes its end."""
        if not self._closing:
            self._closing = True
            self._output.clear()
            self._output_size = 0
            self._loop.call_soon(self._lose, None)

    async def _change(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _deliver_soon(self) -> None:
        # From a callback, as from a selector: no task is running then.
        if not self._delivering and self._reading:
            self._delivering = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        if self._input and self._reading and not self._closing:
            data = self._input.popleft()
            if len(data) > BUFFER:
                self._input.appendleft(data[BUFFER:])
                data = data[:BUFFER]
            self._input_size -= len(data)
            with self._collected.belong_to(self):
                self._protocol.data_received(data)
            stream = getattr(self._protocol.connection, "stream", None)
            if stream is not None:
                self._stream, self._responder = stream, getattr(stream, "responder", None)
            self._changed()
            if self._input:
                self._deliver_soon()

    def _lose(self, error: Exception | None) -> None:
        self._changed()
        with self._collected.belong_to(self):
            self._protocol.connection_lost(error)

    # What the server's protocol asks of a transport

    def write(self, data: Any) -> None:
        """Queue `data` for the client."""
        if self._closing or self._ended:
            return
        if data:
            self._output.append(bytes(data))
            self._output_size += len(data)
            self._changed()
            if self._output_size > self._high and not self._writing_paused:
                self._writing_paused = True
                self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes the client has not taken, less what sockets would hold for it."""
        return max(0, self._output_size - BUFFER)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Above `high` bytes the writer is paused."""
        self._high = BUFFER if high is None else high
        if self._writing_paused and not self.get_write_buffer_size():
            self._writing_paused = False
            self._loop.call_soon(self._protocol.resume_writing)

    def pause_reading(self) -> None:
        """Deliver nothing more."""
        self._reading = False

    def resume_reading(self) -> None:
        """Deliver again."""
        self._reading = True
        if self._input:
            self._deliver_soon()

    def is_reading(self) -> bool:
        """Whether input is delivered."""
        return self._reading

    def can_write_eof(self) -> bool:
        """It can: the client reads to the end, and may still send."""
        return True

    def write_eof(self) -> None:
        """The server sends no more."""
        self._ended = True
        self._changed()

    def is_closing(self) -> bool:
        """Whether it is closed, by either end."""
        return self._closing

    def close(self) -> None:
        """Close; the client still gets what was written."""
        if not self._closing:
            self._closing = self._ended = True
            self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        """Close, as with a reset."""
        if not self._closing:
            self._closing = True
            # After the end, an abort is how the server stops waiting for the client to close.
            self._reset = not self._ended
            self._loop.call_soon(self._lose, None)

    def get_protocol(self) -> Any:
        """Whom it delivers to."""
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to `protocol` from now on."""
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket to know about."""
        return default


class MemoryServer(Server):
    """A Server that listens nowhere. `options` are those of `Config`.

    `failures`: the exceptions of the application that were logged, and whose connection can't be told, oldest first.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        # Transports of our own are no sockets; and what is asked of the system is asked by the real server.
        config = Config(**({"io": "asyncio", "sendfile": False} | options))
        loggers = program_loggers(config.log)
        self._collected = Failures()
        self.failures = self._collected.unclaimed
        # One of its own: other servers' failures are not this one's.
        logger = logging.Logger(ERROR_LOGGER)  # noqa: LOG001
        # For whatever the test has set up: pytest's caplog, for one.
        logger.parent = loggers.error
        logger.addHandler(self._collected)
        super().__init__(app, config, loggers=Loggers(logger, loggers.access, None, loggers.access_file))
        self._collected.server = self
        # No addresses to be opened, and none to be told.
        self.supervised = True

    def connect(self, scheme: str, client: Any, server: Any) -> MemoryConnection:
        """A new connection, of a client at `client` to `server`: (host, port), or None. On the server's loop."""
        assert self.acceptor is not None
        acceptor = self.acceptor
        if acceptor.scheme != scheme:
            # Its connections are the other's.
            acceptor = copy.copy(acceptor)
            acceptor.scheme = scheme
        return MemoryConnection(acceptor.loop, acceptor, client, server, self._collected)


class Failures(logging.Handler):
    """Keeps the exceptions that are logged, each with the connection whose request has raised it.

    That is the one that the loop is busy with, or the one of the running task, or of the thread that logs.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unclaimed: deque[BaseException] = deque(maxlen=MOST)
        self.connections: weakref.WeakSet[MemoryConnection] = weakref.WeakSet()
        self.server: MemoryServer | None = None
        # Set and looked at on the loop, the thread of which is known by then.
        self._busy_with: MemoryConnection | None = None
        self._thread = 0

    @contextlib.contextmanager
    def belong_to(self, connection: MemoryConnection) -> Iterator[None]:
        """What is logged here belongs to `connection`; on the loop."""
        previous, self._busy_with = self._busy_with, connection
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._busy_with = previous

    def emit(self, record: logging.LogRecord) -> None:
        """Called with each line of the log."""
        if record.exc_info and record.exc_info[1] is not None:
            connection = self._connection()
            (self.unclaimed if connection is None else connection.failures).append(record.exc_info[1])

    def _connection(self) -> MemoryConnection | None:
        stream = responder = None
        if threading.get_ident() == self._thread:
            if self._busy_with is not None:
                return self._busy_with
            task = asyncio.current_task()
            stream = getattr(None if task is None else task.get_coro(), "stream", None)
        elif self.server is not None and self.server.pool is not None:
            responder = self.server.pool.current()
            stream = getattr(responder, "stream", None)
        return next((each for each in tuple(self.connections) if each.answers(stream, responder)), None)
