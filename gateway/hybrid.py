"""Hybrid Django: for each request, which of a project's two entry points runs it.

A synchronous view is at home behind WSGI: one thread runs the middleware, the view and its queries, without a
hand-over. Behind ASGI each request would pay for several. An asynchronous view is at home behind ASGI, on the event
loop. One project has both, so the server loads both entry points and asks `Split` for every request.

What is certain: Django answers a request the same behind either entry point, since it adapts a view of one kind to the
other. So whatever `Split` says, the response is right, and only its cost is at stake. What it says is what Django will
find: the view that the project's URLconf resolves the path to, and whether that is a coroutine function.

Two things are known only when the request runs, and are then learned for the next ones: a URLconf that middleware sets
for a request (`request.urlconf`), and an asynchronous iterator that a synchronous view returns as its content.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from .errors import AppLoadError, ClientDisconnected

INTERFACES = ("wsgi", "asgi")

PATHS = 4096
"""Paths whose answer is remembered, at most; a longer one than"""

PATH_LENGTH = 512
"""characters is never."""

HOSTS = 256
"""Hosts whose URLconf is remembered, at most."""

LOOK_TIME = 1.0
"""Seconds between two looks at whether the client is still there, while its next part is awaited."""

MARK = "gateway_interface"
"""The attribute of a view that says where it runs, whatever it is."""


class Split:
    """Decides by a request's path (and its Host, where the URLconf depends on that) which entry point runs it.

    `SplitHandler` (core/http/split.py) looks at `everywhere`, `urlconfs` and `paths`, in this order, and calls `decide`
    for what is in none of them.

    `wsgi` and `asgi` are path prefixes, on segment borders, that override what the view is; the longest one wins. Must
    be made after Django is set up. Raises AppLoadError: the URLconf can't be imported.
    """

    def __init__(self, *, wsgi: Iterable[str] = (), asgi: Iterable[str] = ()) -> None:
        from django.conf import settings
        from django.urls import get_resolver

        overrides = [(prefix, "wsgi") for prefix in wsgi] + [(prefix, "asgi") for prefix in asgi]
        self._overrides = sorted(overrides, key=lambda override: len(override[0]), reverse=True)
        self.paths: dict[tuple[bytes, str, str], bool] = {}
        """Whether the ASGI entry point runs a request, by path as received, root and URLconf."""
        self.urlconfs: dict[str, str] = {}
        """The URLconf of hosts for which middleware has set one; then it is "" in `paths` for all others."""
        self._streaming: set[str] = set()
        """Routes of synchronous views that return asynchronous content."""
        self.root = settings.ROOT_URLCONF
        self._language = settings.LANGUAGE_CODE
        try:
            self._kinds = kinds_of(get_resolver(self.root))
        except Exception as error:
            raise AppLoadError(
                f"the URLconf {self.root} can't be loaded: {type(error).__name__}: {error}", show_traceback=True
            ) from error
        self.all_asynchronous = async_only_middleware()
        """The middleware that can't run behind WSGI, by name: then everything goes behind ASGI. Empty for none."""
        self.everywhere: bool | None = None
        """Whether the ASGI entry point runs all requests (True) or none (False); None if that depends on the path."""
        self._settle()

    @property
    def description(self) -> str:
        """For people: how the project is split."""
        if self.all_asynchronous:
            return f"all requests run behind ASGI, since {self.all_asynchronous} can't run synchronously"
        if self._kinds == {False} and not self._overrides:
            return "all views are synchronous; they run in threads, WebSockets on the event loop"
        if self._kinds == {True} and not self._overrides:
            return "all views are asynchronous and run on the event loop"
        return "synchronous views run in threads, asynchronous ones on the event loop"

    def decide(self, path: bytes, root: str, urlconf: str) -> bool:
        """Whether the ASGI entry point runs a request for `path`, as received, which is not in `paths`.

        `root` is what the project is reached under (SCRIPT_NAME), `urlconf` empty for the project's own.
        """
        asynchronous = self._find(below(path, root), urlconf or self.root)
        if len(path) <= PATH_LENGTH:
            if len(self.paths) >= PATHS:
                self.paths.clear()
            self.paths[path, root, urlconf] = asynchronous
        return asynchronous

    def learn_urlconf(self, host: str, urlconf: object) -> None:
        """Middleware has chosen `urlconf` for a request to `host`."""
        if not isinstance(urlconf, str) or self.urlconfs.get(host) == urlconf:
            return
        if urlconf == self.root and not self.urlconfs:
            return
        if len(self.urlconfs) >= HOSTS:
            self.urlconfs.clear()
        self.urlconfs[host] = urlconf
        self._settle()

    def learn_streaming(self, path: str, host: str = "") -> None:
        """The synchronous view that `path` leads to has returned asynchronous content."""
        match = resolve(path, self.urlconfs.get(host, self.root), self._language)
        if match is not None and match.route not in self._streaming:
            self._streaming.add(match.route)
            self.paths.clear()
            self._settle()

    def _settle(self) -> None:
        """See whether all paths have the same answer, so that none needs to be looked at."""
        if self.all_asynchronous:
            self.everywhere = True
        elif self.urlconfs or self._overrides or self._streaming or len(self._kinds) == 2:
            self.everywhere = None
        else:
            self.everywhere = True in self._kinds

    def _find(self, path: str, urlconf: str) -> bool:
        for prefix, interface in self._overrides:
            if path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/"):
                return interface == "asgi"
        match = resolve(path, urlconf, self._language)
        # What nothing matches is answered by middleware, or by the view of status 404: synchronous, both.
        return match is not None and (is_asynchronous(match.func) or match.route in self._streaming)


def below(path: bytes, root: str) -> str:
    """What Django finds in `path_info`: decoded, and without the root, if it begins with that."""
    decoded = unquote_to_bytes(path).decode("utf-8", "replace")
    root = root.rstrip("/")
    if root and decoded.startswith(root) and decoded[len(root) : len(root) + 1] in ("", "/"):
        decoded = decoded[len(root) :]
    # As Django has it, at the root of a project with a script name.
    return decoded or "/"


def resolve(path: str, urlconf: str, language: str) -> Any:
    """Django's ResolverMatch for `path`, or None where there is none."""
    from django.conf.urls.i18n import is_language_prefix_patterns_used
    from django.urls import Resolver404, get_resolver
    from django.utils import translation

    try:
        resolver = get_resolver(urlconf)
        if not is_language_prefix_patterns_used(urlconf)[0]:
            return resolver.resolve(path)
        # What LocaleMiddleware does first. Another language than the path's matches no prefix anyway.
        with translation.override(translation.get_language_from_path(path) or language):
            return resolver.resolve(path)
    except Resolver404:
        return None
    except Exception:
        # A broken URLconf, or a converter that fails: Django is to say so, in its own answer.
        return None


def is_asynchronous(view: Callable[..., Any]) -> bool:
    """Whether `view` runs on the event loop: what it is marked as, else what Django would take it for."""
    from asgiref.sync import iscoroutinefunction

    marked = getattr(view, MARK, None)
    if marked in INTERFACES:
        return bool(marked == "asgi")
    return bool(iscoroutinefunction(view))


def kinds_of(resolver: Any) -> set[bool]:
    """Which kinds of views there are below `resolver`: asynchronous (True), synchronous (False)."""
    kinds = set()
    waiting = list(resolver.url_patterns)
    while waiting:
        pattern = waiting.pop()
        if hasattr(pattern, "url_patterns"):
            waiting += pattern.url_patterns
        else:
            kinds.add(is_asynchronous(pattern.callback))
    return kinds


def middleware_classes() -> Iterable[tuple[str, Any]]:
    """The project's middleware: name, and the class or function. What can't be imported is left out."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    for name in settings.MIDDLEWARE:
        try:
            yield name, import_string(name)
        except ImportError:
            continue


def async_only_middleware() -> str:
    """The name of middleware that can't run synchronously, empty for none."""
    for name, middleware in middleware_classes():
        if not getattr(middleware, "sync_capable", True):
            return name
    return ""


def observe(split: Split) -> None:
    """Have `split` learn of the URLconf that middleware sets for a request.

    Django tells nobody of it but `BaseHandler.resolve_request`. Middleware of Django's own sets none.
    """
    from django.core.handlers.base import BaseHandler

    if all(name.startswith("django.") for name, _ in middleware_classes()):
        return
    original = BaseHandler.resolve_request

    @functools.wraps(original)
    def resolve_request(handler: Any, request: Any) -> Any:
        if hasattr(request, "urlconf"):
            split.learn_urlconf(request.META.get("HTTP_HOST", ""), request.urlconf or split.root)
        return original(handler, request)

    BaseHandler.resolve_request = resolve_request


class SynchronousSide:
    """The project's WSGI entry point, whose responses may turn out to have asynchronous content.

    Behind WSGI alone, Django would collect all of that before the first byte is sent, an endless stream for ever. Here
    there is an event loop to produce it on, part by part.
    """

    def __init__(self, app: Callable[..., Any], split: Split, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.split = split
        self.loop = loop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        response = self.app(environ, start_response)
        if not (getattr(response, "streaming", False) and getattr(response, "is_async", False)):
            return response
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        self.split.learn_streaming(path, environ.get("HTTP_HOST", ""))
        return AsynchronousContent(response, self.loop, environ.get("gateway.client_disconnected"))


class AsynchronousContent:
    """A response's asynchronous content, as the iterable that WSGI wants: each part is produced on `loop`.

    `disconnected` tells whether the client has gone, where that is known. Called by a thread other than the loop's.
    """

    def __init__(
        self, response: Any, loop: asyncio.AbstractEventLoop, disconnected: Callable[[], bool] | None = None
    ) -> None:
        self._response = response
        self._loop = loop
        self._disconnected = disconnected
        self._context = contextvars.copy_context()
        self._parts: AsyncIterator[bytes] = aiter(response)

    def __iter__(self) -> AsynchronousContent:
        return self

    def __next__(self) -> bytes:
        try:
            return bytes(self._run(anext_of(self._parts)))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """End the content where it is, then the response: as Django's own behind WSGI, in the thread."""
        try:
            close = getattr(self._parts, "aclose", None)
            if close is not None:
                self._run(close())
        finally:
            self._response.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        future = self._context.run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)
        while not concurrent.futures.wait((future,), LOOK_TIME).done:
            if self._disconnected is not None and self._disconnected():
                future.cancel()
                raise ClientDisconnected("the client left while the next part was awaited")
        return future.result()


async def anext_of(parts: AsyncIterator[bytes]) -> bytes:
    """`anext` as a coroutine. StopAsyncIteration passes through a future, as StopIteration would not."""
    return await anext(parts)
