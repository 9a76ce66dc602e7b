"""A connection without sockets: a transport that records, a clock that is set, applications that are scripts.

`Wire` drives one `HTTP1Connection` of either build: bytes in, bytes out, and every call the connection makes on its
transport in between. Nothing here waits for real time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.backend import Backend

START = 1000.0
DATE = 1_000_000_000

quiet = logging.getLogger("tests.quiet")
quiet.propagate = False
quiet.addHandler(logging.NullHandler())


class Recorder(logging.Handler):
    """Keeps the messages that were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def recording_logger() -> tuple[logging.Logger, list[str]]:
    """A logger of its own and the list of what it is told."""
    logger = logging.Logger("tests.recorded")
    handler = Recorder()
    logger.addHandler(handler)
    return logger, handler.messages


_transports: dict[str, type] = {}


def transport_class(build: Backend) -> type:
    """A recording subclass of the build's `Transport`."""
    if build.name not in _transports:

        class FakeTransport(build.module("kernels.base").Transport):  # type: ignore[misc, name-defined]
            """Takes everything at once, or up to `room` bytes."""

            def __init__(self) -> None:
                self.output = bytearray()
                # The same, call by call.
                self.writes: list[bytes] = []
                self.events: list[str] = []
                self.room: int | None = None
                self.half_close = True
                self.scheduled: list[Any] = []
                self.file: tuple[int, int, int] | None = None
                self.progress = 0
                # As an asyncio transport does: the connection is told in the middle of its own write.
                self.connection: Any = None
                self.pauses_above: int | None = None

            def write(self, data: bytes) -> int:
                assert type(data) is bytes
                self.output += data
                self.writes.append(data)
                if self.pauses_above is not None and self.buffered() > self.pauses_above:
                    self.connection.pause_writing()
                return 0

            def write_parts(self, parts: list[bytes]) -> int:
                for part in parts:
                    self.write(part)
                return 0

            def send_now(self, data: bytes) -> int:
                assert type(data) is bytes
                if self.buffered() or self.file is not None or {"close", "abort", "shutdown_write"} & set(self.events):
                    return -1
                taken = len(data) if self.room is None else min(len(data), max(0, self.room - len(self.output)))
                self.output += data[:taken]
                return taken

            def send_parts_now(self, parts: list[bytes]) -> int:
                return self.send_now(b"".join(parts))

            def write_rest(self, parts: list[bytes], taken: int) -> int:
                return self.write(b"".join(parts)[taken:])

            def buffered(self) -> int:
                return 0 if self.room is None else max(0, len(self.output) - self.room)

            def pause_reading(self) -> int:
                self.events.append("pause_reading")
                return 0

            def resume_reading(self) -> int:
                self.events.append("resume_reading")
                return 0

            def shutdown_write(self) -> bool:
                self.events.append("shutdown_write")
                return self.half_close

            def close(self) -> int:
                self.events.append("close")
                return 0

            def abort(self) -> int:
                self.events.append("abort")
                return 0

            def send_file(self, descriptor: int, offset: int, count: int) -> int:
                self.events.append(f"send_file {offset} {count}")
                self.file = (descriptor, offset, count)
                self.progress = 0
                return 0

            def file_progress(self) -> int:
                return self.progress

            def schedule(self, connection: Any) -> int:
                self.scheduled.append(connection)
                return 0

            def switch(self, connection: Any) -> int:
                self.events.append("switch")
                self.connection = connection
                return 0

        _transports[build.name] = FakeTransport
    return _transports[build.name]


class Wire:
    """One connection of `build` with `app` (ASGI) behind it. Use it inside a running event loop."""

    def __init__(
        self,
        build: Backend,
        app: Callable[..., Awaitable[None]],
        *,
        limits: dict[str, int] | None = None,
        timeouts: dict[str, float] | None = None,
        client: tuple[str, int] | None = ("192.0.2.1", 40000),
        log: logging.Logger = quiet,
        handler: Any = None,
        **service: Any,
    ) -> None:
        base = build.module("kernels.base")
        limits_module = build.module("http.limits")
        self.build = build
        self.now = START
        self.clock = base.Clock(START)
        if handler is None:
            handler = build.module("asgi.cycle").ASGIHandler(app, asyncio.get_running_loop(), log)
        self.handler = handler
        self.service = build.module("http.service").Service(
            limits=limits_module.Limits(**(limits or {})),
            timeouts=limits_module.Timeouts(**(timeouts or {})),
            clock=self.clock,
            handler=handler,
            log=log,
            **service,
        )
        self.service.refresh(START, DATE)
        self.client = client
        self.gone = False
        self.open()

    def open(self) -> None:
        """A further connection to the same service; the earlier one must be gone."""
        self.transport = transport_class(self.build)()
        connection_class = self.build.module("http1.connection").HTTP1Connection
        self.transport.connection = connection_class(
            self.service, self.transport, self.client, ("192.0.2.2", 80), "http"
        )
        self.gone = False
        self.connection.opened()

    @property
    def connection(self) -> Any:
        """What the transport has for a connection: another one after a switch of protocols."""
        return self.transport.connection

    async def turns(self, count: int = 4) -> None:
        """Let the loop go round, with the turns the connection asked for."""
        for _ in range(count):
            scheduled, self.transport.scheduled = self.transport.scheduled, []
            for connection in scheduled:
                connection.resume()
            await asyncio.sleep(0)

    async def feed(self, data: bytes) -> None:
        self.connection.feed(data)
        await self.turns()

    async def arrive(self, data: bytes) -> None:
        """As `feed`, from a callback of the loop, as transports do: no task is running then."""
        asyncio.get_running_loop().call_soon(self.connection.feed, data)
        await self.turns()

    async def feed_bytewise(self, data: bytes) -> None:
        for index in range(len(data)):
            self.connection.feed(data[index : index + 1])
        await self.turns()

    async def eof(self) -> None:
        self.connection.eof()
        await self.turns()

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let virtual time pass, with the ticks the server's timer would make."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + step, end)
            self.service.refresh(self.now, DATE + (self.now - START))
            self.connection.tick(self.now)
            await self.turns(2)

    async def lose(self, error: Exception | None = None) -> None:
        """The transport is gone."""
        if not self.gone:
            self.gone = True
            self.connection.lost(error)
        await self.turns()

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self.transport.output)
        del self.transport.output[:]
        return data

    @property
    def events(self) -> list[str]:
        return self.transport.events  # type: ignore[no-any-return]


def websocket_wire(
    build: Backend, app: Callable[..., Awaitable[None]], *, deflate: dict[str, int] | None = None, **options: Any
) -> Wire:
    """A `Wire` on which requests for a WebSocket are taken as such. `deflate`: what DeflateSettings has, None for none."""
    wire = Wire(build, app, **options)
    settings = None if deflate is None else build.module("websocket.deflate").DeflateSettings(**deflate)
    wire.service.upgrade = build.module("websocket.upgrade").WebSocketUpgrade(wire.service, settings)
    return wire


def run(main: Callable[[], Awaitable[Any]], timeout: float = 20.0) -> Any:
    """Run a coroutine function to its end on a loop of its own, within `timeout` seconds."""

    async def bounded() -> Any:
        async with asyncio.timeout(timeout):
            return await main()

    return asyncio.run(bounded())
