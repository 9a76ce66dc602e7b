"""gunicorn's hooks in the process that serves: what they are handed, and when the ones for requests are called.

Hooks get objects with the attributes and names that they know of gunicorn's. They may put attributes of their own on
them, for other hooks to find.

pre_request and post_request are called on the loop, whatever runs the application: before it is started, and when the
exchange is over. They come in pairs, for each request that reaches the application over HTTP; not for WebSockets, nor
for what is refused before. The request path knows nothing of them: they stand in the places of the handler and of the
access log, where there are any.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any

from gateway.backend import Backend
from gateway.config.settings import Config

REQUEST_HOOKS = ("pre_request", "post_request")

HERE = (*REQUEST_HOOKS, "worker_int")
"""The hooks that a server calls by itself; the others are the master's."""


def tell(log: logging.Logger, hooks: Mapping[str, Callable[..., Any]], name: str, *arguments: Any) -> None:
    """Call the hook `name`, if there is one. What it raises goes to the log, and harms nobody."""
    hook = hooks.get(name)
    if hook is None:
        return
    try:
        hook(*arguments)
    except (Exception, SystemExit):
        log.exception("Exception in %s hook", name)


class HookSettings:
    """What hooks know as `cfg`: the options, by gunicorn's names for them."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        from gateway.config import gunicorn

        if name in gunicorn.SETTINGS:
            option = gunicorn.option_for(name)
            if option is None:
                return gunicorn.SETTINGS[name].default
            value = self._config.values[option.name]
            return [str(address) for address in value] if name == "bind" else value
        if name in gunicorn.HOOKS:
            return self._config.hooks.get(name)
        raise AttributeError(f"gunicorn has no setting {name!r}")

    @property
    def address(self) -> list[Any]:
        """Where to listen: (host, port), or the path of a Unix socket."""
        return [
            (address.host, address.port) if address.kind == "tcp" else address.path or str(address)
            for address in self._config.listen.addresses
        ]

    @property
    def is_ssl(self) -> bool:
        """Whether connections are encrypted."""
        return self._config.tls is not None

    @property
    def env(self) -> dict[str, str]:
        """What --env sets."""
        return dict(text.partition("=")[::2] for text in self._config.env)


class HookWorker:
    """What hooks know as `worker`. `age` counts workers, from 1; `pid` is None until there is a process."""

    def __init__(self, config: Config, log: logging.Logger, age: int = 1, pid: int | None = None) -> None:
        self.age = age
        self.pid = pid
        self.ppid = os.getpid() if pid is None else os.getppid()
        self.cfg = HookSettings(config)
        self.log = log
        self.timeout = config.timeout
        self.max_requests = config.max_requests
        self.alive = True
        self.booted = False
        self.aborted = False
        self.wsgi: Any = None
        """The application, once it is loaded."""
        self.requests: Callable[[], int] = lambda: 0

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    @property
    def nr(self) -> int:
        """How many requests it has had."""
        return self.requests()

    def notify(self) -> None:
        """gunicorn's sign of life. Workers give theirs by themselves."""


class HookRequest:
    """What hooks know as `req`: the request as it came, no copy of which the application gets."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        head = stream.head
        self.method: str = head.method
        self.version = (head.major, head.minor)
        self.scheme: str = stream.scheme
        self.remote_addr = self.peer_addr = stream.client

    @cached_property
    def uri(self) -> str:
        """The request target, as sent."""
        target: bytes = self._stream.head.target
        return target.decode("latin-1")

    @cached_property
    def path(self) -> str:
        """The path, as sent."""
        path: bytes = self._stream.head.raw_path
        return path.decode("latin-1")

    @cached_property
    def query(self) -> str:
        """The query, without the question mark."""
        query: bytes = self._stream.head.query
        return query.decode("latin-1")

    fragment = ""

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """Names in capitals, and values."""
        return [(name.decode("latin-1").upper(), value.decode("latin-1")) for name, value in self._stream.head.fields()]


class HookResponse:
    """What hooks know as `resp`: the response as it was sent, or as far."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.status_code: int = stream.status
        self.headers_sent: bool = stream.head_sent
        self.sent: int = stream.body_sent
        length: int = stream.response_length
        self.response_length = length if length >= 0 else None

    @cached_property
    def status(self) -> str:
        """As in "200 OK"."""
        reason: str = self._stream.reason.decode("latin-1")
        if not reason:
            try:
                reason = HTTPStatus(self.status_code).phrase
            except ValueError:
                pass
        return f"{self.status_code} {reason}".rstrip()

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """The application's, less what the server sets."""
        block = self._stream.block
        lines = block.data.decode("latin-1").split("\r\n")[:-1] if block is not None else []
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


class RequestHooks:
    """Calls pre_request and post_request of `hooks`, with `worker`."""

    def __init__(self, hooks: Mapping[str, Callable[..., Any]], worker: HookWorker, log: logging.Logger) -> None:
        self.hooks = hooks
        self.worker = worker
        self.log = log
        self._requests: dict[Any, HookRequest] = {}
        self._opening: Any = None

    @classmethod
    def of(cls, config: Config, worker: HookWorker, log: logging.Logger) -> RequestHooks | None:
        """Those of `config`; None where there are none."""
        return cls(config.hooks, worker, log) if any(name in config.hooks for name in REQUEST_HOOKS) else None

    def begin(self, stream: Any) -> bool:
        """A request is there. Returns False when the hook has failed, and with it the request, as under gunicorn."""
        request = HookRequest(stream)
        hook = self.hooks.get("pre_request")
        if hook is not None:
            try:
                hook(self.worker, request)
            except (Exception, SystemExit):
                self.log.exception("Exception in pre_request hook")
                stream.fail(500)
                return False
        self._requests[stream] = request
        self._opening = stream
        return True

    def end(self, stream: Any) -> None:
        """The exchange is over."""
        request = self._requests.pop(stream, None)
        if request is not None:
            response = HookResponse(stream) if stream.status else None
            tell(self.log, self.hooks, "post_request", self.worker, request, stream.environ or {}, response)

    def recording(self, app: Callable[..., Any]) -> Callable[..., Any]:
        """An ASGI application of which post_request gets to see the scope."""

        def application(scope: Any, *more: Any) -> Any:
            if self._opening is not None:
                self._opening.environ = scope
                self._opening = None
            return app(scope, *more)

        return application

    def around_handler(self, backend: Backend, handler: Any) -> Any:
        """What to put in the place of `handler`."""
        base: Any = backend.module("kernels.base")
        hooks = self

        class HookedHandler(base.Handler):  # type: ignore[misc]
            """Has the hook called first."""

            def open(self, stream: Any) -> Any:
                return handler.open(stream) if hooks.begin(stream) else None

            def open_websocket(self, stream: Any) -> Any:
                hooks._opening = None
                return handler.open_websocket(stream)

        return HookedHandler()

    def around_log(self, backend: Backend, access_log: Any) -> Any:
        """What to put in the place of `access_log`, which may be None."""
        base: Any = backend.module("kernels.base")
        hooks = self

        class HookedLog(base.AccessLog):  # type: ignore[misc]
            """Has the hook called afterwards."""

            def log(self, stream: Any, now: float) -> int:
                try:
                    if access_log is not None:
                        access_log.log(stream, now)
                finally:
                    hooks.end(stream)
                return 0

            def log_refusal(self, client: object, status: int, request_line: object, size: int = 0) -> int:
                return 0 if access_log is None else int(access_log.log_refusal(client, status, request_line, size))

        hooked = HookedLog()
        # The hook gets it, too.
        hooked.keeps_environ = True
        return hooked
