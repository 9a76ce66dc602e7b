"""WSGIToASGI: a WSGI application as an ASGI application, on any ASGI server that runs on asyncio.

Theory of operation. `__call__` lives on the loop and is the only one that calls `receive` and `send`; the application
runs in a thread of the adapter's own pool, through the same `ApplicationCall` as on the server's own WSGI path, so
that PEP 3333 is implemented once. Between the two stand a queue of ASGI messages and one of content, both bounded
in bytes, under one lock. As on the server's own path a thread is not spent before the content has arrived, unless it
is large or the client waits for 100 (Continue).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from . import backend
from ._version import __version__
from .errors import ClientDisconnected, LocalProtocolError, caused_by_disconnect

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

THREADS = 8
"""Threads of one adapter, where the caller does not say."""


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
            errors = stream_class(logging.getLogger("gateway.error").error)
        self.base: dict[str, Any] = backend.current.module("wsgi.environ").base_environ(
            errors=errors,
            multithread=self.threads > 1,
            multiprocess=multiprocess,
            server_software=f"gateway/{__version__}",
        )
        self._pool: ThreadPoolExecutor | None = None

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
        reader = loop.create_task(call.read(receive))
        failure: Any = None
        try:
            await call.enough.wait()
            if not call.gone:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="gateway-wsgi")
                context = contextvars.copy_context()
                thread = loop.run_in_executor(self._pool, context.run, call.run)
                await call.send_all(send)
                await thread
        finally:
            # Whatever ended this, the thread must not wait for us.
            call.leave()
            reader.cancel()
            [failure] = await asyncio.gather(reader, return_exceptions=True)
        if isinstance(failure, Exception):
            raise failure
        if call.error is not None:
            if isinstance(call.error, Exception):
                raise call.error
            # SystemExit would end the server, which a request's thread can't do on the server's own path either.
            raise RuntimeError(f"the WSGI application raised {type(call.error).__name__}") from call.error

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                pool, self._pool = self._pool, None
                if pool is not None:
                    pool.shutdown(wait=False)
                await send({"type": "lifespan.shutdown.complete"})
                return


@functools.cache
def _call_class(build: backend.Backend) -> Any:
    """The class of a running call, for one build of the request path."""
    call_module = build.module("wsgi.call")
    input_class = build.module("wsgi.input").WSGIInput

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
            # Set on the loop: the thread may start; the thread wants content; it has left messages.
            self.enough = asyncio.Event()
            self.room = asyncio.Event()
            self.output = asyncio.Event()
            if self.lazy:
                self.enough.set()
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

        async def read(self, receive: Receive) -> None:
            """Move content from the server to the thread, and notice that the client leaves."""
            try:
                if self.lazy:
                    await self.wait_for_room(lambda: self.wanted)
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        break
                    with self.lock:
                        body = message.get("body", b"")
                        if body:
                            self.content.append(bytes(body))
                            self.content_size += len(body)
                        if not message.get("more_body", False):
                            self.content_ended = True
                        full = self.content_size >= self.body_buffer
                        self.changed.notify_all()
                    if full or self.content_ended:
                        self.enough.set()
                    if full and not self.content_ended:
                        await self.wait_for_room(lambda: self.content_size < self.body_buffer)
            finally:
                # Disconnected, or the server's `receive` failed.
                self.leave()
                self.enough.set()

        async def wait_for_room(self, condition: Callable[[], bool]) -> None:
            while not condition():
                self.room.clear()
                if not condition():
                    await self.room.wait()

        async def send_all(self, send: Send) -> None:
            """Send what the thread leaves, until it has left everything or is over."""
            while True:
                self.output.clear()
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
                if self.done or (self.ended and not self.messages):
                    return
                await self.output.wait()

        def leave(self) -> None:
            """Nobody reads the response any more."""
            with self.lock:
                if not (self.ended and not self.messages):
                    self.gone = True
                self.left = True
                self.changed.notify_all()
            self.output.set()

        # In the thread.

        def signal(self, event: asyncio.Event) -> None:
            # Both events are cleared before what they announce is looked at: one that is set will be noticed.
            if event.is_set():
                return
            try:
                self.loop.call_soon_threadsafe(event.set)
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
            self.signal(self.output)
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
                self.signal(self.output)
            return 0

        def receive(self) -> bytes:
            with self.lock:
                if not self.content and not self.content_ended:
                    self.wanted = True
                    self.signal(self.room)
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
                self.signal(self.room)
            return data

        def failed(self, error: BaseException) -> int:
            if not (self.left and caused_by_disconnect(error)):
                self.error = error
            return 0

        def over(self) -> int:
            self.done = True
            self.signal(self.output)
            return 0

    return Call


def scope_environ(scope: Scope, base: dict[str, Any]) -> dict[str, Any]:
    """The environ (PEP 3333, "environ Variables") of an ASGI HTTP scope, without what belongs to the call."""
    environ = base.copy()
    environ["REQUEST_METHOD"] = scope["method"]
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    data = b"" if raw is None else unquote_to_bytes(raw.partition(b"?")[0])
    if data.decode("utf-8", "replace") != path:
        # Some server has no raw path, or some middleware has changed the path.
        data = path.encode("utf-8", "surrogateescape")
    environ["PATH_INFO"] = data.decode("latin-1")
    root = scope.get("root_path") or ""
    if root:
        backend.current.module("wsgi.environ").set_script_name(environ, root)
    query = (scope.get("query_string") or b"").decode("latin-1")
    environ["QUERY_STRING"] = query
    target = path_text(raw, data) + ("?" + query if query else "")
    environ["RAW_URI"] = environ["REQUEST_URI"] = target
    environ["SERVER_PROTOCOL"] = "HTTP/" + scope.get("http_version", "1.1")
    scheme = scope.get("scheme", "http")
    environ["wsgi.url_scheme"] = scheme
    host = None
    for name, value in scope["headers"]:
        # In an environ names with "_" can't be told from those with "-", which is how a client forges a field that
        # its proxy has set.
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        if key == "HOST" and host is None:
            host = value
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            environ.setdefault(key, text)
            continue
        key = "HTTP_" + key
        if key in environ:
            # RFC 9110 5.3; RFC 9113 8.2.3 for Cookie, whose value is no comma-separated list.
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    server = scope.get("server")
    if server is None or server[1] is None:
        host_and_port = backend.current.module("wsgi.environ").host_and_port
        environ["SERVER_NAME"], environ["SERVER_PORT"] = host_and_port(host, scheme)
    else:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
    client = scope.get("client")
    environ["REMOTE_ADDR"] = client[0] if client else ""
    if client and client[1]:
        environ["REMOTE_PORT"] = str(client[1])
    return environ


def path_text(raw: bytes | None, data: bytes) -> str:
    """The path as it stood in the request target, as far as that is known."""
    if raw is not None:
        return raw.partition(b"?")[0].decode("latin-1")
    return quote(data)


def takes_trailers(environ: dict[str, Any]) -> bool:
    """Whether the client said that it reads trailers (RFC 9110 10.1.4)."""
    options = environ.get("HTTP_TE", "").lower().split(",")
    return environ["SERVER_PROTOCOL"] != "HTTP/1.0" and "trailers" in [option.strip() for option in options]
