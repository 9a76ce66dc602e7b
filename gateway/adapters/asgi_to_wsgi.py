"""ASGIToWSGI: an ASGI application as a WSGI application, on any WSGI server that runs requests in threads.

Theory of operation. The application runs in a task on an event loop in another thread (`loop.py`). The server's
thread, in which the adapter is called, is the only one that touches `wsgi.input` and `start_response`: it sleeps until
there is something to do for it, which is to read content that the application waits for, or to hand on what it has
sent. A response that is complete by then crosses between the threads once, in each direction. What is under way is
bounded in bytes both ways: content is read when it is asked for, and `send` waits for the server to take the rest.

Rule 1: `start_response` is called with the first part of the body, so that an error before it can still become a
proper response: it is raised to the server. After it, an error breaks the iterable off.
Rule 2: when the iterable is closed the client is gone: `receive` gives http.disconnect and `send` raises an OSError, as
under an ASGI server. The application is cancelled only when its time is up, or the process ends.
Rule 3: the response ends with its last part. What the application does after it, as background tasks, goes on without
the server's thread, and what it raises then is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, Literal

from .. import backend
from ..errors import ClientDisconnected, LocalProtocolError, caused_by_disconnect
from ..server.lifespan import Lifespan
from .loop import Home, LoopThread, shared_loop
from .scope import environ_scope

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]
StartResponse = Callable[..., Any]

logger = logging.getLogger("gateway.error")

MAX_JOIN = 65536
"""Bytes. A response of several parts that is complete and no larger is given to the server as one."""

BURST = 65536
"""Bytes that an application sends or receives, each message counted for MESSAGE_COST more, until others' turn."""
MESSAGE_COST = 512

FILE_BLOCK = 65536
"""Bytes of a file that a server reads at a time, if it does not leave that to the system."""

_NOT_STARTED = object()


class ASGIToWSGI:
    """A WSGI application that runs the ASGI 3 application `app`.

    `lifespan`: "auto" and "on" start the application's lifespan with the first request, unless `startup` was called
    before, and end it in `close` or with the process; "on" makes it an error that the application has none. The
    timeouts of both are in seconds, 0 for none. `timeout` is for a response to begin, and between two of its parts; an
    application that takes longer is cancelled, and TimeoutError is raised. `body_buffer` and `response_buffer` are in
    bytes: how much of a request's content is read at a time, and how much of a response may wait for the server.
    `loop` is an event loop that runs in another thread, for applications that share it with others; by default the
    process has one for all adapters.

    What the application raises before its response has begun is raised from the call. Context variables of the calling
    thread reach the application. Without a thread that may wait, as under gevent, this does not work.
    """

    def __init__(
        self,
        app: ASGIApplication,
        *,
        lifespan: Literal["auto", "on", "off"] = "auto",
        lifespan_startup_timeout: float = 60.0,
        lifespan_shutdown_timeout: float = 30.0,
        timeout: float | None = None,
        body_buffer: int = 65536,
        response_buffer: int = 262144,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError("an ASGI application must be callable")
        if lifespan not in ("auto", "on", "off"):
            raise ValueError(f"lifespan must be auto, on or off, not {lifespan!r}")
        if body_buffer < 1:
            raise ValueError("body_buffer must be at least 1")
        self.app = app
        self.lifespan = lifespan
        self.lifespan_startup_timeout = lifespan_startup_timeout
        self.lifespan_shutdown_timeout = lifespan_shutdown_timeout
        self.timeout = timeout
        self.body_buffer = body_buffer
        self.response_buffer = response_buffer
        self.running: set[Any] = set()
        """Requests whose application has not returned, of this process."""
        self._given = None if loop is None else Home(loop)
        # Where the application lives; another one after a fork.
        self._home: Home | None = None
        self._options: dict[str, Any] = {}
        self._exchange_class: Any = None
        self._lifespan: Lifespan | None = None
        self._state: dict[str, Any] | None = None
        self._starting = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        home = self._given or shared_loop()
        if home is not self._home:
            self.startup()
        exchange = self._exchange_class(self, home, environ)
        try:
            exchange.open()
            status, fields = exchange.head()
            start_response(status, fields)
            parts = exchange.whole()
        except BaseException:
            exchange.leave()
            exchange.close_file()
            raise
        if exchange.file is not None:
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](exchange.file, FILE_BLOCK)
            return wrapped
        return _Body(exchange) if parts is None else parts

    def startup(self) -> None:
        """Start the application's lifespan, where it is wanted and has not been started in this process.

        Raises AppLoadError when it fails; the next request tries again.
        """
        with self._starting:
            home = self._given or shared_loop()
            if home is self._home:
                return
            self.running = set()
            self._lifespan = self._state = None
            driver = backend.current.module("kernels.driver")
            self._options = driver.task_options(home.loop, True)
            self._exchange_class = _exchange_class(backend.current)
            if isinstance(home, LoopThread):
                home.adapters.add(self)
            if self.lifespan != "off":
                state: dict[str, Any] = {}
                lifespan = asyncio.run_coroutine_threadsafe(self._start(state), home.loop).result()
                self._lifespan = lifespan
                self._state = state if lifespan.supported else None
            self._home = home

    def forget_lock(self) -> None:
        """In a child process: whoever was starting the application was in the parent."""
        self._starting = threading.Lock()

    async def _start(self, state: dict[str, Any]) -> Lifespan:
        lifespan = Lifespan(
            self.app,
            state,
            mode=self.lifespan,
            startup_timeout=self.lifespan_startup_timeout,
            shutdown_timeout=self.lifespan_shutdown_timeout,
            log=logger,
        )
        await lifespan.startup()
        return lifespan

    def close(self, grace: float = 5.0) -> None:
        """Wait up to `grace` seconds for what applications do after their responses, cancel the rest, end the lifespan.

        Done when the process ends, if not before. A request that comes later starts the application again.
        """
        with self._starting:
            home, self._home = self._home, None
            if home is None or home is not (self._given or shared_loop()) or home.loop.is_closed():
                return
            asyncio.run_coroutine_threadsafe(self._finish(grace), home.loop).result()

    async def _finish(self, grace: float) -> None:
        tasks = [exchange.task for exchange in self.running if exchange.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.shutdown()


class _Body:
    """The rest of a response, waited for part by part: what the server iterates over, and closes."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            data: bytes | None = self._exchange.more()
        except BaseException:
            self._exchange.leave()
            raise
        if data is None:
            raise StopIteration
        return data

    def close(self) -> None:
        """The server is done with it, with or without the end."""
        self._exchange.leave()

    def __del__(self) -> None:
        # A server that broke off without `close`.
        self._exchange.leave()


@functools.cache
def _exchange_class(build: backend.Backend) -> Any:
    """The class of a request under way, for one build of the request path."""
    driver = build.module("kernels.driver")
    ready = driver.ready
    done = ready(None)
    response_block = build.module("http.fields").response_block
    response_length = build.module("http.framing").response_length
    lacks_content = build.module("http.framing").lacks_content
    status_line = build.module("http.status").status_line

    @functools.lru_cache(64)
    def status_text(status: int) -> str:
        """What `start_response` wants, which has to have a reason phrase."""
        code, _, reason = status_line(status, b"").decode("ascii")[9:-2].partition(" ")
        return f"{code} {reason or 'Unknown'}"

    class Exchange(driver.Driver):  # type: ignore[misc, name-defined]
        """One request. `lock` guards what stands below it in `__init__`."""

        __slots__ = (
            "adapter", "begun", "block", "burst", "closed", "content", "content_done", "content_ended", "context",
            "ended", "environ", "error", "file", "flush", "input", "is_head", "left", "length", "lock", "loop",
            "no_content", "over", "parts", "pending", "sent", "size", "sleeping", "status", "submit", "taken",
            "timeout", "turn", "waiters", "wanted",
        )  # fmt: skip

        def __init__(self, adapter: ASGIToWSGI, home: Home, environ: dict[str, Any]) -> None:
            self.adapter = adapter
            self.loop = home.loop
            self.submit = home.submit
            self.timeout = -1 if adapter.timeout is None else adapter.timeout
            self.environ = environ
            self.context = contextvars.copy_context()
            self.is_head = environ["REQUEST_METHOD"] == "HEAD"
            # The server's thread's own: content that is left to read (bytes; -1: to the end of the input).
            self.input: Any = environ.get("wsgi.input")
            self.size = content_size(environ)
            # The loop's own: the head as the application sent it, and what of its content.
            self.status = 0
            self.block: Any = _NOT_STARTED
            self.length = -1
            self.sent = 0
            self.no_content = False
            self.begun = False
            self.content_done = False
            self.burst = 0
            # In place of content: what the server is to send.
            self.file: Any = None
            self.waiters: list[asyncio.Future[None]] | None = None
            self.lock = threading.Lock()
            # What the server's thread sleeps on: held, but for the moment of its waking.
            self.turn: Any = None
            self.sleeping = False
            self.wanted = False
            self.content: deque[bytes] = deque()
            self.content_ended = self.size == 0
            self.parts: list[bytes] = []
            self.pending = 0
            # There is something, if only the head, that the server shall send without waiting for more.
            self.flush = False
            # The application has sent the end, it has returned; the server has taken the end, it is not interested any
            # more; the client has left, as far as the application is told.
            self.ended = False
            self.over = False
            self.taken = False
            self.closed = False
            self.left = False
            self.error: BaseException | None = None

        # In the server's thread.

        def open(self) -> None:
            """Have the application started."""
            if 0 < self.size <= self.adapter.body_buffer and not expects_continue(self.environ):
                # A small body is read first: the threads take fewer turns. In the other cases the client may be
                # waiting for something from the application.
                self.feed()
                while self.size > 0 and not self.left:
                    self.feed()
            self.submit(self)

        def wait(self) -> None:
            """Until there is something for the server. Reads content meanwhile, when the application asks for it.

            Raises what the application raised, if it is over without a complete response.
            """
            while True:
                with self.lock:
                    if self.flush or self.ended:
                        return
                    if self.over:
                        break
                    wanted = self.wanted
                    self.wanted = False
                    self.sleeping = not wanted
                    if self.turn is None:
                        self.turn = threading.Lock()
                        self.turn.acquire()
                if wanted:
                    self.feed()
                    self.call(self.wake)
                elif not self.turn.acquire(timeout=self.timeout):
                    self.call(self.cancel)
                    raise TimeoutError(f"the ASGI application has sent nothing for {self.timeout:g} s")
            self.fail()

        def fail(self) -> None:
            """Raise for an application that is over without a complete response."""
            error, self.error = self.error, None
            try:
                if self.left and (error is None or caused_by_disconnect(error)):
                    raise ClientDisconnected("the client left before the content of its request was complete")
                if isinstance(error, Exception):
                    raise error
                if error is not None:
                    # Cancelled; or SystemExit, which would end the server.
                    raise RuntimeError(f"the ASGI application raised {type(error).__name__}") from error
            finally:
                # The traceback holds this frame, too.
                error = None
            what = "starting" if self.block is _NOT_STARTED else "completing"
            raise LocalProtocolError(f"ASGI callable returned without {what} response.")

        def head(self) -> tuple[str, list[tuple[str, str]]]:
            """Wait for the response to begin; its status and fields, as `start_response` wants them."""
            self.wait()
            fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.block.fields]
            if self.ended and self.length < 0 and not lacks_content(False, self.status):
                # RFC 9110 8.6: also to HEAD, where it tells what GET would get.
                fields.append(("content-length", str(self.sent)))
            return status_text(self.status), fields

        def whole(self) -> list[bytes] | None:
            """All of the content, if it is there and not too much to be copied together."""
            if not self.ended:
                return None
            parts = self.parts
            if len(parts) > 1 and self.pending <= MAX_JOIN:
                parts = [b"".join(parts)]
            self.parts = []
            self.taken = True
            return parts

        def more(self) -> bytes | None:
            """What has been sent since the last time, waited for; None at the end."""
            if self.taken:
                return None
            self.wait()
            with self.lock:
                parts = self.parts
                self.parts = []
                held = self.pending > self.adapter.response_buffer
                self.pending = 0
                self.flush = False
                self.taken = self.ended
            if held:
                self.call(self.wake)
            if not parts and self.taken:
                return None
            return parts[0] if len(parts) == 1 else b"".join(parts)

        def feed(self) -> None:
            """Read some content. Raises what the input raises."""
            size = self.adapter.body_buffer
            if 0 < self.size < size:
                size = self.size
            # PEP 3333 has only `read`, which waits for as much as was asked for.
            read = getattr(self.input, "read1", None) or self.input.read
            data = read(size)
            with self.lock:
                if data:
                    self.content.append(data)
                    if self.size > 0:
                        self.size -= len(data)
                        self.content_ended = self.size == 0
                elif self.size < 0:
                    self.content_ended = True
                else:
                    # Less than was declared: the client has left.
                    self.left = True

        def leave(self) -> None:
            """The server is not interested any more."""
            with self.lock:
                if self.closed or self.over:
                    return
                self.closed = self.left = True
            self.call(self.wake)

        def close_file(self) -> None:
            """The server does not get to send it."""
            if self.file is not None:
                self.file.close()

        def call(self, function: Callable[[], object]) -> None:
            # A closed loop has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(function)

        # On the loop.

        def begin(self) -> None:
            """Call the application; it runs up to its first wait before this returns, where Python can do that."""
            adapter = self.adapter
            adapter.running.add(self)
            try:
                scope = environ_scope(self.environ, adapter._state)  # noqa: SLF001
                awaitable = self.context.run(adapter.app, scope, self.receive_event, self.send_event)
            except (Exception, SystemExit) as error:
                self.finished(error)
                return
            self.start(awaitable, self.context, adapter._options)  # noqa: SLF001

        def cancel(self) -> None:
            """End the application."""
            if self.task is not None:
                self.task.cancel()

        def finished(self, error: BaseException | None) -> int:
            """The application has returned or raised. Returns 0."""
            self.adapter.running.discard(self)
            with self.lock:
                heard = not (self.ended or self.closed)
                self.over = True
                if heard:
                    self.error = error
                    self.rouse()
            if not heard and isinstance(error, (Exception, SystemExit)):
                if not (self.left and caused_by_disconnect(error)):
                    logger.error("Exception in ASGI application", exc_info=error)
            self.wake()
            return 0

        def rouse(self) -> None:
            """Wake the server's thread. With the lock."""
            if self.sleeping:
                self.sleeping = False
                self.turn.release()

        def wake(self) -> None:
            """Let everybody who waits on the loop look again."""
            waiters = self.waiters
            if waiters is not None:
                self.waiters = None
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)

        def change(self) -> asyncio.Future[None]:
            """A future that the next change resolves."""
            self.burst = 0
            waiter = self.loop.create_future()
            # Less those that were cancelled: an application may ask again and again whether the client is there.
            self.waiters = [other for other in self.waiters or () if not other.done()]
            self.waiters.append(waiter)
            return waiter

        # The application's callables.

        def receive_event(self) -> Awaitable[Message]:
            """The next event (ASGI HTTP specification, "Request" and "Disconnect")."""
            if self.burst > BURST:
                return self.receive_later()
            message = self.next_message()
            if message is None:
                return self.receive_change()
            return ready(message)  # type: ignore[no-any-return]

        def next_message(self) -> Message | None:
            """The next event if there is one, else None."""
            if self.ended:
                return {"type": "http.disconnect"}
            if not self.content_done:
                with self.lock:
                    data = self.content.popleft() if self.content else b""
                    last = self.content_ended and not self.content
                    if not data and not last and not self.left:
                        self.wanted = True
                        self.rouse()
                if data or last:
                    self.content_done = last
                    self.burst += len(data) + MESSAGE_COST
                    return {"type": "http.request", "body": data, "more_body": not last}
            if self.left:
                return {"type": "http.disconnect"}
            return None

        async def receive_change(self) -> Message:
            """Wait for the next event. Looks first: what `receive` gave may be awaited later than it was called."""
            while True:
                message = self.next_message()
                if message is not None:
                    return message
                await self.change()

        async def receive_later(self) -> Message:
            self.burst = 0
            await asyncio.sleep(0)
            return await self.receive_change()

        def send_event(self, message: Message) -> Awaitable[None]:
            """Send an event. Raises LocalProtocolError, TypeError and ClientDisconnected."""
            kind = message["type"]
            if kind == "http.response.body":
                return self.send_body(message)
            if kind == "http.response.start":
                if self.block is not _NOT_STARTED:
                    raise LocalProtocolError(
                        "Expected ASGI message 'http.response.body', but got 'http.response.start'."
                    )
                status = message["status"]
                if not isinstance(status, int):
                    raise TypeError("the status of 'http.response.start' must be an integer")
                if not 200 <= status <= 999:
                    raise LocalProtocolError(f"{status} is not the status of a final response")
                block = response_block(message.get("headers", ()))
                self.length = response_length(block)
                self.status = int(status)
                self.no_content = lacks_content(self.is_head, status)
                self.block = block
                return done  # type: ignore[no-any-return]
            if kind == "http.response.pathsend" and "wsgi.file_wrapper" in self.environ:
                return self.send_path(message)
            raise LocalProtocolError(f"Unexpected ASGI message type {kind!r}.")

        def send_path(self, message: Message) -> Awaitable[None]:
            """http.response.pathsend (extension "Path Send"): all of the content. Raises OSError, too."""
            if self.begun:
                raise LocalProtocolError("'http.response.pathsend' after a part of the response's content")
            # The server closes it.
            file = open(message["path"], "rb")
            size = os.fstat(file.fileno()).st_size
            try:
                # As one part, for what is to be checked of it.
                self.check_part(size, more=False)
            except BaseException:
                file.close()
                raise
            if self.no_content:
                file.close()
            else:
                self.file = file
            return self.send_checked(b"", more=False)

        def send_body(self, message: Message) -> Awaitable[None]:
            """http.response.body"""
            data = message.get("body", b"")
            if type(data) is not bytes:
                if not isinstance(data, (bytes, bytearray, memoryview)):
                    raise TypeError(f"the body of 'http.response.body' must be bytes, not {type(data).__name__}")
                data = bytes(data)
            more = bool(message.get("more_body", False))
            self.check_part(len(data), more)
            return self.send_checked(data, more)

        def check_part(self, size: int, more: bool) -> None:
            """Count so many bytes of content. Raises LocalProtocolError and ClientDisconnected."""
            if self.left:
                raise ClientDisconnected("the client has disconnected")
            if self.ended:
                raise LocalProtocolError(
                    "Unexpected ASGI message 'http.response.body' sent, after response already completed."
                )
            if self.block is _NOT_STARTED:
                raise LocalProtocolError("Expected ASGI message 'http.response.start', but got 'http.response.body'.")
            self.sent += size
            if 0 <= self.length and not self.no_content:
                if self.sent > self.length:
                    raise LocalProtocolError("the response's content is longer than its Content-Length")
                if not more and self.sent < self.length:
                    raise LocalProtocolError("the response's content is shorter than its Content-Length")

        def send_checked(self, data: bytes, more: bool) -> Awaitable[None]:
            """Have the server send this."""
            self.begun = True
            with self.lock:
                if data and not self.no_content:
                    self.parts.append(data)
                    self.pending += len(data)
                self.flush = True
                self.ended = not more
                full = self.pending > self.adapter.response_buffer
                self.rouse()
            if not more:
                self.wake()
            elif full:
                return self.send_change()
            self.burst += len(data) + MESSAGE_COST
            if self.burst > BURST:
                self.burst = 0
                return driver.Yield()  # type: ignore[no-any-return]
            return done  # type: ignore[no-any-return]

        async def send_change(self) -> None:
            """Wait until the server has taken enough."""
            while self.pending > self.adapter.response_buffer and not self.left:
                await self.change()
            if self.left:
                raise ClientDisconnected("the client has disconnected")

    return Exchange


def content_size(environ: dict[str, Any]) -> int:
    """Bytes of content in a request; -1 where it ends with its input."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        return int(length)
    # Only a server that says so ends the input with the content; with any other, reading may wait for ever.
    return -1 if environ.get("wsgi.input_terminated") and "HTTP_TRANSFER_ENCODING" in environ else 0


def expects_continue(environ: dict[str, Any]) -> bool:
    """Whether the client waits for 100 (Continue), which servers send with the first read."""
    return "100-continue" in environ.get("HTTP_EXPECT", "").lower()
