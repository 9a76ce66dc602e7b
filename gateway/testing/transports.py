"""httpx transports that hand requests to an application through gateway's own protocol code, without a socket.

`Transport` is for `httpx.Client`: its server runs on a loop in a thread. `AsyncTransport` is for `httpx.AsyncClient`,
in the loop of the test. Each starts the application's lifespan when the client is entered (or with its first request)
and ends it when the client is closed. Between httpx and the server stand httpcore's connections, as ever; only what is
below them is not the network.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from .memory import CLIENT, MemoryConnection, MemoryServer

try:
    import httpcore
    import httpx
except ImportError as error:
    raise ImportError("gateway.testing needs httpx: pip install httpx") from error

T = TypeVar("T")


class _Application:
    """What both transports have: the options, the server once it runs, and the exceptions it has met."""

    def __init__(
        self,
        app: Any = None,
        *,
        interface: str = "auto",
        raise_app_exceptions: bool = True,
        client: tuple[str, int] | None = CLIENT,
        **options: Any,
    ) -> None:
        self.app = app
        self.raise_app_exceptions = raise_app_exceptions
        self.client = client
        self.options = options if interface == "auto" else {"interface": interface, **options}
        self.server: MemoryServer | None = None
        """The running server."""
        self._running = 0

    def _make_server(self) -> MemoryServer:
        return MemoryServer(self.app, **self.options)

    def _begin(self) -> _Request:
        # What was raised after a response that nobody was waiting for any more.
        if self.server is not None and not self._running:
            self.server.failures.clear()
        self._running += 1
        request = _Request()
        _REQUEST.set(request)
        return request

    def _raise_failure(self, request: _Request) -> None:
        """Raise what the application has raised for `request`, if the test wants it."""
        if not self.raise_app_exceptions:
            return
        made = None if request.end is None else request.end.made
        if made is not None and made.failures:
            raise made.failures.popleft()
        if self.server is not None and self.server.failures:
            raise self.server.failures.popleft()


class _Request:
    """A request on its way. `end` is the client's end of the connection that it is on, once it is on one."""

    def __init__(self) -> None:
        self.end: _End | None = None

    def use(self, end: _End) -> None:
        """It is on this one."""
        if end is not self.end:
            self.end = end
            if end.made is not None:
                # What was raised after the response before.
                end.made.failures.clear()


_REQUEST: contextvars.ContextVar[_Request | None] = contextvars.ContextVar("request", default=None)
"""That of the running thread or task: between a transport and its connections stands httpcore."""


class Transport(_Application, httpx.BaseTransport):
    """For `httpx.Client(transport=Transport(app))`: `app` is a WSGI or ASGI application, a target "module:app", or
    `gateway.Mounts`; or None, and `mounts` are among the options.

    `interface` is as on the command line, and further keywords are the options of `gateway.Config`: `threads`,
    `root_path`, `lifespan`, limits and timeouts. `client` is the address that the application sees, None for a Unix
    socket. With `raise_app_exceptions` what the application raises is raised from the request; without, the client gets
    what a real one would: a 500, or a response that breaks off.

    Raises ConfigError and AppLoadError when it is entered, or with the first request.
    """

    def __init__(self, app: Any = None, **options: Any) -> None:
        super().__init__(app, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._pool: httpcore.ConnectionPool | None = None

    def __enter__(self) -> Transport:
        self._start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def _start(self) -> httpcore.ConnectionPool:
        with self._starting:
            if self._pool is not None:
                return self._pool
            server = self._make_server()
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run_loop, args=(loop,), name="gateway-testing", daemon=True)
            self._thread.start()
            try:
                self._call(server.start())
            except BaseException:
                self._stop_loop()
                raise
            self.server = server
            self._pool = httpcore.ConnectionPool(
                max_connections=None, network_backend=_Network(self), ssl_context=_no_tls()
            )
            return self._pool

    def _call(self, coroutine: Any, timeout: float | None = None) -> Any:
        """Run `coroutine` on the server's loop. Raises TimeoutError."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimeoutError from None

    def _stop_loop(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def close(self) -> None:
        """Close the connections and stop the server, with the application's lifespan."""
        with self._starting:
            pool, self._pool = self._pool, None
            server, self.server = self.server, None
            if pool is not None and server is not None:
                pool.close()
                self._call(server.shutdown())
                self._stop_loop()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """What httpx calls."""
        pool = self._start()
        assert isinstance(request.stream, httpx.SyncByteStream)
        current = self._begin()
        try:
            with _errors():
                answer = pool.handle_request(_core_request(request))
            self._raise_failure(current)
        except BaseException as error:
            self._running -= 1
            if isinstance(error, httpx.TransportError):
                self._raise_failure(current)
            raise
        finally:
            # What reads the content may be on its way with another request by then.
            _REQUEST.set(None)
        assert isinstance(answer.stream, Iterable)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Stream(self, current, answer.stream),
            extensions=answer.extensions,
        )


class AsyncTransport(_Application, httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient(transport=AsyncTransport(app))`. The arguments are those of `Transport`.

    Everything runs in the loop of the test, threads of WSGI applications aside.
    """

    def __init__(self, app: Any = None, **options: Any) -> None:
        super().__init__(app, **options)
        self._starting: asyncio.Lock | None = None
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def __aenter__(self) -> AsyncTransport:
        await self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def _start(self) -> httpcore.AsyncConnectionPool:
        if self._pool is not None:
            return self._pool
        if self._starting is None:
            self._starting = asyncio.Lock()
        async with self._starting:
            if self._pool is None:
                server = self._make_server()
                await server.start()
                self.server = server
                self._pool = httpcore.AsyncConnectionPool(
                    max_connections=None, network_backend=_AsyncNetwork(self), ssl_context=_no_tls()
                )
            return self._pool

    async def aclose(self) -> None:
        """Close the connections and stop the server, with the application's lifespan."""
        pool, self._pool = self._pool, None
        server, self.server = self.server, None
        self._starting = None
        if pool is not None and server is not None:
            await pool.aclose()
            await server.shutdown()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What httpx calls."""
        pool = await self._start()
        assert isinstance(request.stream, httpx.AsyncByteStream)
        current = self._begin()
        try:
            with _errors():
                answer = await pool.handle_async_request(_core_request(request))
            self._raise_failure(current)
        except BaseException as error:
            self._running -= 1
            if isinstance(error, httpx.TransportError):
                self._raise_failure(current)
            raise
        finally:
            # What reads the content may be on its way with another request by then.
            _REQUEST.set(None)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_AsyncStream(self, current, answer.stream),
            extensions=answer.extensions,
        )


def _core_request(request: httpx.Request) -> httpcore.Request:
    return httpcore.Request(
        method=request.method,
        url=httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        ),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """httpcore's exceptions as httpx's, which have the same names."""
    try:
        yield
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.TimeoutException,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error


class _Stream(httpx.SyncByteStream):
    """The content of a response."""

    def __init__(self, transport: Transport, request: _Request, stream: Any) -> None:
        self._transport = transport
        self._request = request
        self._stream = stream
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        try:
            with _errors():
                yield from self._stream
        except httpx.TransportError:
            self._transport._raise_failure(self._request)  # noqa: SLF001
            raise

    def close(self) -> None:
        """Done, or a client that leaves early."""
        if self._open:
            self._open = False
            self._transport._running -= 1  # noqa: SLF001
            self._stream.close()


class _AsyncStream(httpx.AsyncByteStream):
    """The content of a response."""

    def __init__(self, transport: AsyncTransport, request: _Request, stream: Any) -> None:
        self._transport = transport
        self._request = request
        self._stream = stream
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            with _errors():
                async for part in self._stream:
                    yield part
        except httpx.TransportError:
            self._transport._raise_failure(self._request)  # noqa: SLF001
            raise

    async def aclose(self) -> None:
        """Done, or a client that leaves early."""
        if self._open:
            self._open = False
            self._transport._running -= 1  # noqa: SLF001
            await self._stream.aclose()


class _End:
    """A client's end of a connection, which is made when it is first used: only then it is known whether with TLS."""

    def __init__(self, transport: Transport | AsyncTransport, host: str, port: int) -> None:
        self.transport = transport
        self.address = (host, port)
        self.scheme = "http"
        self.made: MemoryConnection | None = None

    def used(self) -> None:
        """By the request that is running here."""
        request = _REQUEST.get()
        if request is not None:
            request.use(self)

    def connection(self) -> MemoryConnection:
        """On the server's loop."""
        if self.made is None:
            server = self.transport.server
            if server is None:
                raise BrokenPipeError("the transport is closed")
            self.made = server.connect(self.scheme, self.transport.client, self.address)
        return self.made

    async def send(self, data: bytes) -> None:
        """On the server's loop."""
        await self.connection().send(data)

    async def receive(self, size: int) -> bytes:
        """On the server's loop."""
        return await self.connection().receive(size)

    async def hang_up(self) -> None:
        """On the server's loop."""
        if self.made is not None:
            self.made.hang_up()

    def info(self, name: str) -> Any:
        """What httpcore asks: whether an idle connection was closed by the server, above all."""
        if name == "is_readable":
            return self.made is not None and self.made.readable
        if name == "client_addr":
            return self.transport.client
        if name == "server_addr":
            return self.address
        return None


@contextlib.contextmanager
def _told_as(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """What httpcore's users know for a wait that took too long, and for a connection that broke."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


class _SyncEnd(httpcore.NetworkStream):
    def __init__(self, end: _End) -> None:
        self._end = end

    def _call(self, coroutine: Any, timeout: float | None, late: type[Exception], broken: type[Exception]) -> Any:
        transport = self._end.transport
        assert isinstance(transport, Transport)
        with _told_as(late, broken):
            return transport._call(coroutine, timeout)  # noqa: SLF001

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most `max_bytes`."""
        self._end.used()
        data: bytes = self._call(self._end.receive(max_bytes), timeout, httpcore.ReadTimeout, httpcore.ReadError)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of `buffer`."""
        self._end.used()
        self._call(self._end.send(buffer), timeout, httpcore.WriteTimeout, httpcore.WriteError)

    def close(self) -> None:
        """The client leaves."""
        self._call(self._end.hang_up(), None, httpcore.ReadTimeout, httpcore.ReadError)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """There is nobody to hide from: the application is told that it is https."""
        self._end.scheme = "https"
        return self

    def get_extra_info(self, info: str) -> Any:
        """See `_End.info`."""
        return self._end.info(info)


class _AsyncEnd(httpcore.AsyncNetworkStream):
    def __init__(self, end: _End) -> None:
        self._end = end

    async def _call(
        self, made: Awaitable[T], timeout: float | None, late: type[Exception], broken: type[Exception]
    ) -> T:
        with _told_as(late, broken):
            async with asyncio.timeout(timeout):
                return await made

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At most `max_bytes`."""
        self._end.used()
        return await self._call(self._end.receive(max_bytes), timeout, httpcore.ReadTimeout, httpcore.ReadError)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of `buffer`."""
        self._end.used()
        await self._call(self._end.send(buffer), timeout, httpcore.WriteTimeout, httpcore.WriteError)

    async def aclose(self) -> None:
        """The client leaves."""
        await self._end.hang_up()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """There is nobody to hide from: the application is told that it is https."""
        self._end.scheme = "https"
        return self

    def get_extra_info(self, info: str) -> Any:
        """See `_End.info`."""
        return self._end.info(info)


class _Network(httpcore.NetworkBackend):
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def connect_tcp(self, host: str, port: int, *arguments: Any, **options: Any) -> httpcore.NetworkStream:
        """Every address leads to the application."""
        return _SyncEnd(_End(self._transport, host, port))

    def sleep(self, seconds: float) -> None:
        """Between attempts to connect."""
        time.sleep(seconds)


class _AsyncNetwork(httpcore.AsyncNetworkBackend):
    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def connect_tcp(self, host: str, port: int, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """Every address leads to the application."""
        return _AsyncEnd(_End(self._transport, host, port))

    async def sleep(self, seconds: float) -> None:
        """Between attempts to connect."""
        await asyncio.sleep(seconds)


def _no_tls() -> ssl.SSLContext:
    """A context that is never used: reading the system's certificates for one would take its time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
