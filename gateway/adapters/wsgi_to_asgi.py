"""WSGIToASGI: a WSGI application as an ASGI application, on any ASGI server that runs on asyncio.

Theory of operation. `__call__` lives on the loop and is the only one that calls `receive` and `send`; the application
runs in a thread of the adapter's own, through the same `ApplicationCall` as on the server's own WSGI path, so that
PEP 3333 is implemented once. Between the two stand a queue of ASGI messages and one of content, both bounded in bytes,
under one lock. As on the server's own path a thread is not spent before the content has arrived, unless it is large or
the client waits for 100 (Continue).

A hand-over between two threads costs more than all else here. So there is one in each direction for a response that
the application returns as a list, and a task that hears when the client leaves is started only for a request that takes
longer than WATCH_AFTER, or whose content is not there yet.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from .. import backend
from .._version import __version__
from ..errors import ClientDisconnected, LocalProtocolError, caused_by_disconnect
from .environ import scope_environ, takes_trailers

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

THREADS = 8
"""Threads of one adapter, where the caller does not say."""

WATCH_AFTER = 0.05
"""Seconds. A client that leaves a request that is there in full is not heard of any sooner."""

logger = logging.getLogger("gateway.error")


class WSGIToASGI:
    """An ASGI 3 application that runs the WSGI application `app` in threads.

    `threads` of them at most, so that many requests at a time; more wait. `body_buffer` and `response_buffer` are in
    bytes: how much of a request's content is read ahead of the application, and how much of a response may be waiting
    for a slow client while the application goes on. `errors` is the text stream for `wsgi.errors`, by default the
    logger "gateway.error". `multiprocess` is what the application is told by `wsgi.multiprocess`; an adapter can't
    know how many processes its server runs.

    What the application raises is raised from here, for the server and for ASGI middleware to deal with. The lifespan
    protocol is answered; a WebSocket is closed.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        threads: int | None = None,
        body_buffer: int = 65536,
        response_buffer: int = 262144,
        errors: Any = None,
        multiprocess: bool = True,
    ) -> None:
        if not callable(app):
            raise TypeError("a WSGI application must be callable")
        self.app = app
        self.threads = THREADS if threads is None else threads
        if self.threads < 1:
            raise ValueError("threads must be at least 1")
        self.body_buffer = body_buffer
        self.response_buffer = response_buffer
        if errors is None:
            stream_class = backend.current.module("wsgi.errors").ErrorStream
            errors = stream_class(logger.error)
        self.base: dict[str, Any] = backend.current.module("wsgi.environ").base_environ(
            errors=errors,
            multithread=self.threads > 1,
            multiprocess=multiprocess,
            server_software=f"gateway/{__version__}",
        )
        self._queue: Any = None
        self._starting = threading.Lock()
        self._stop_threads: Callable[[], object] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        elif kind == "websocket":
            # Closed before it was accepted: the client sees 403.
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"WSGIToASGI does not know the scope type {kind!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        call = _call_class(backend.current)(self, scope, loop)
        failure: Any = None
        try:
            if not call.lazy:
                await call.read(receive, ahead=True)
            if call.left:
                return
            call.watch_soon(receive)
            self._submit(call)
            await call.send_all(send)
        finally:
            # Whatever ended this, the thread must not wait for us.
            call.leave()
            failure = await call.stop_watching()
        if isinstance(failure, Exception):
            raise failure
        if call.error is not None:
            if isinstance(call.error, Exception):
                raise call.error
            # SystemExit would end the server, which a request's thread can't do on the server's own path either.
            raise RuntimeError(f"the WSGI application raised {type(call.error).__name__}") from call.error

    def _submit(self, call: Any) -> None:
        # A queue has one that pushes at a time; the adapter may be in use on several loops.
        with self._starting:
            queue = self._queue
            if queue is None:
                queue = self._queue = backend.current.module("kernels.queue").WorkQueue(self.threads, 0)
                # An adapter that is forgotten without a lifespan.shutdown leaves no threads behind.
                self._stop_threads = weakref.finalize(self, queue.close)
                for number in range(self.threads):
                    # Daemons: an application stuck in a system call must not keep the process from ending.
                    threading.Thread(
                        target=queue.serve, args=(number, logger), name=f"gateway-wsgi-{number + 1}", daemon=True
                    ).start()
            queue.push(call)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                with self._starting:
                    self._queue = None
                    if self._stop_threads is not None:
                        self._stop_threads()
                await send({"type": "lifespan.shutdown.complete"})
                return


@functools.cache
def _call_class(build: backend.Backend) -> Any:
    """The class of a running call, for one build of the request path."""
    call_module = build.module("wsgi.call")
    input_class = build.module("wsgi.input").WSGIInput
    run = call_module.ApplicationCall.run

    class Call(call_module.ApplicationCall):  # type: ignore[misc, name-defined]
        """One request. `lock` guards what stands below it in `__init__`."""

        gone: bool
        ended: bool
        delivered: bool

        def __init__(self, adapter: WSGIToASGI, scope: Scope, loop: asyncio.AbstractEventLoop) -> None:
            extensions = scope.get("extensions") or {}
            environ = scope_environ(scope, adapter.base)
            self.prepare(
                adapter.app,
                environ,
                scope["method"] == "HEAD",
                "http.response.trailers" in extensions and takes_trailers(environ),
                False,
            )
            environ["wsgi.input"] = input_class(self)
            environ["wsgi.early_hints"] = self.early_hints
            environ["gateway.send_trailers"] = self.send_trailers
            environ["gateway.client_disconnected"] = self.client_disconnected
            self.loop = loop
            self.body_buffer = adapter.body_buffer
            self.response_buffer = adapter.response_buffer
            self.hints_open = "http.response.early_hint" in extensions
            # RFC 9110 10.1.1: the server sends 100 (Continue) when content is asked for, and only then.
            self.lazy = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
            self.context = contextvars.copy_context()
            # The loop's own: what hears of a client that leaves; what is waited for, by whom.
            self.watching: asyncio.TimerHandle | None = None
            self.watcher: asyncio.Task[None] | None = None
            self.room: asyncio.Future[None] | None = None
            self.output: asyncio.Future[None] | None = None
            # Whether the loop was told that there is output, and has not looked since.
            self.told = False
            self.lock = threading.Lock()
            self.changed = threading.Condition(self.lock)
            self.content: deque[bytes] = deque()
            self.content_size = 0
            self.content_ended = False
            self.wanted = False
            self.messages: deque[tuple[Message, int]] = deque()
            self.pending = 0
            self.done = False
            self.left = False
            self.error: BaseException | None = None

        # On the loop.

        async def read(self, receive: Receive, ahead: bool) -> None:
            """Move content from the server to the thread, and notice that the client leaves.

            `ahead`: only as much as is read before the application starts.
            """
            complete = False
            try:
                if self.lazy:
                    await self.wait_for_room(lambda: self.wanted)
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    body = message.get("body", b"")
                    with self.lock:
                        if body:
                            self.content.append(bytes(body))
                            self.content_size += len(body)
                        if not message.get("more_body", False):
                            self.content_ended = True
                        full = self.content_size >= self.body_buffer
                        self.changed.notify_all()
                    if ahead and (full or self.content_ended):
                        complete = True
                        return
                    if full and not self.content_ended:
                        await self.wait_for_room(lambda: self.content_size < self.body_buffer)
            finally:
                # Disconnected, or the server's `receive` failed.
                if not complete:
                    self.leave()

        async def wait_for_room(self, condition: Callable[[], bool]) -> None:
            while True:
                self.room = self.loop.create_future()
                if condition():
                    return
                await self.room

        def watch_soon(self, receive: Receive) -> None:
            """Go on with `read`: now, if there is content to come, or if this takes its time."""
            if self.content_ended:
                self.watching = self.loop.call_later(WATCH_AFTER, self.watch, receive)
            else:
                self.watch(receive)

        def watch(self, receive: Receive) -> None:
            self.watcher = self.loop.create_task(self.go_on_reading(receive))

        async def go_on_reading(self, receive: Receive) -> None:
            if not self.lazy and not self.content_ended:
                await self.wait_for_room(lambda: self.content_size < self.body_buffer)
            await self.read(receive, ahead=False)

        async def stop_watching(self) -> BaseException | None:
            """End what `watch_soon` has begun; what the server's `receive` raised, if anything."""
            if self.watching is not None:
                self.watching.cancel()
            if self.watcher is None:
                return None
            self.watcher.cancel()
            [failure] = await asyncio.gather(self.watcher, return_exceptions=True)
            return failure

        async def send_all(self, send: Send) -> None:
            """Send what the thread leaves, until it is over."""
            while True:
                self.told = False
                done = self.done
                while self.messages and not self.gone:
                    message, size = self.messages.popleft()
                    try:
                        await send(message)
                    except OSError:
                        # ASGI 2.4: the client is gone.
                        self.leave()
                    with self.lock:
                        self.pending -= size
                        self.changed.notify_all()
                if done:
                    return
                self.output = self.loop.create_future()
                if not self.told:
                    await self.output

        def leave(self) -> None:
            """Nobody reads the response any more."""
            with self.lock:
                if not (self.ended and not self.messages):
                    self.gone = True
                self.left = True
                self.changed.notify_all()

        def notice_output(self) -> None:
            if self.output is not None and not self.output.done():
                self.output.set_result(None)

        def notice_room(self) -> None:
            if self.room is not None and not self.room.done():
                self.room.set_result(None)

        # In the thread.

        def run(self) -> int:
            return self.context.run(run, self)  # type: ignore[no-any-return]

        def tell(self) -> None:
            """There is output. `told` is cleared before the output is looked at: what is set will be noticed."""
            if not self.told:
                self.told = True
                self.call(self.notice_output)

        def call(self, function: Callable[[], object]) -> None:
            try:
                self.loop.call_soon_threadsafe(function)
            except RuntimeError:
                # The loop is closed: nobody is there to hear it.
                self.gone = True

        def deliver(self, data: bytes, last: bool) -> int:
            if last and not self.no_content and self.length >= 0 and self.sent < self.length:
                raise LocalProtocolError("the response's content is shorter than its Content-Length")
            first = not self.delivered
            if first and last and (data or not self.no_content):
                self.declare_length(len(data))
            if self.no_content:
                data = b""
            size = len(data)
            with self.lock:
                while self.pending and self.pending + size > self.response_buffer and not self.gone:
                    self.changed.wait()
                if self.gone:
                    raise ClientDisconnected("the client has disconnected")
                if first:
                    self.messages.append((self.head(last), 0))
                    self.delivered = True
                self.messages.append(({"type": "http.response.body", "body": data, "more_body": not last}, size))
                self.pending += size
                if last and self.trailing:
                    fields = [] if self.trailers is None else list(self.trailers.fields)
                    self.messages.append(({"type": "http.response.trailers", "headers": fields}, 0))
                if last:
                    self.ended = True
            # A list has no `close` that could take its time: the loop hears of the end in a moment.
            if not (last and type(self.result) is list):
                self.tell()
            return 0

        def head(self, last: bool) -> Message:
            message = {
                "type": "http.response.start",
                "status": self.status,
                "headers": list(self.block.fields),
            }
            # Trailers must be announced; while the application may still think of some, they are.
            self.trailing = (
                self.trailers_open
                and self.length < 0
                and not self.no_content
                and (not last or self.trailers is not None)
            )
            if self.trailing:
                message["trailers"] = True
            return message

        def deliver_hints(self, block: Any) -> int:
            links = [value for name, value in block.fields if name == b"link"]
            if self.hints_open and links:
                with self.lock:
                    self.messages.append(({"type": "http.response.early_hint", "links": links}, 0))
                self.tell()
            return 0

        def receive(self) -> bytes:
            with self.lock:
                if not self.content and not self.content_ended:
                    self.wanted = True
                    self.call(self.notice_room)
                while not self.content and not self.content_ended and not self.left:
                    self.changed.wait()
                if self.content:
                    data = self.content.popleft()
                    self.content_size -= len(data)
                elif self.content_ended:
                    return b""
                else:
                    raise ClientDisconnected("the client left before the content of its request was complete")
            if not self.content_ended:
                self.call(self.notice_room)
            return data

        def failed(self, error: BaseException) -> int:
            if not (self.left and caused_by_disconnect(error)):
                self.error = error
            return 0

        def over(self) -> int:
            self.done = True
            self.tell()
            return 0

    return Call
