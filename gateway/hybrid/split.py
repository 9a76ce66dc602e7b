"""Split: what decides which entry point runs a request."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.errors import AppLoadError

from .routes import Route, Tree, is_asynchronous, override_route, routes_of, tree_of

PATHS = 4096
"""Paths whose answer is remembered, at most; a longer one than"""

PATH_LENGTH = 512
"""characters is never."""

HOSTS = 256
"""Hosts whose URLconf is remembered, at most."""


class Split:
    """Decides by a request's path (and its Host, where the URLconf depends on that) which entry point runs it.

    `SplitHandler` (core/http/split.py) looks at `urlconfs`, `tree` and `paths`, in this order, and calls `decide` for
    what none of them tells.

    `wsgi` and `asgi` are path prefixes, on segment borders, that override what the view is; the longest one wins.
    `entry` is the ASGI entry point: if there is more to it than Django, as a router that has other applications beside
    it, only that knows who answers a request, and gets all of them but for those of `wsgi`. Must be made after Django
    is set up. Raises AppLoadError: the URLconf can't be imported.
    """

    def __init__(self, *, wsgi: Iterable[str] = (), asgi: Iterable[str] = (), entry: object = None) -> None:
        from django.conf import settings
        from django.urls import get_resolver

        overrides = [(prefix, False) for prefix in wsgi] + [(prefix, True) for prefix in asgi]
        self._overrides = sorted(overrides, key=lambda override: len(override[0]), reverse=True)
        self.paths: dict[tuple[bytes, str, str], bool] = {}
        """Whether the ASGI entry point runs a request, by path as received, root and URLconf."""
        self.urlconfs: dict[str, str] = {}
        """The URLconf of hosts for which middleware has set one; that of all others is ""."""
        self._streaming: set[str] = set()
        """Routes of synchronous views that return asynchronous content."""
        self.root = settings.ROOT_URLCONF
        self._language = settings.LANGUAGE_CODE
        try:
            self._routes = tuple(routes_of(get_resolver(self.root)))
        except Exception as error:
            raise AppLoadError(
                f"the URLconf {self.root} can't be loaded: {type(error).__name__}: {error}", show_traceback=True
            ) from error
        self._entry = in_front(entry)
        """What stands in front of Django behind ASGI, by name; empty for nothing."""
        if self._entry:
            self._routes = (Route((), False, True, ""),)
        self.all_asynchronous = async_only_middleware()
        """The middleware that can't run behind WSGI, by name: then everything goes behind ASGI. Empty for none."""
        self.tree: Tree | bool = True
        """Whether the ASGI entry point runs a request, by its path, where the URLconf is the project's own."""
        self._grow()

    @property
    def description(self) -> str:
        """For people: how the project is split."""
        if self.all_asynchronous:
            return f"all requests run behind ASGI, since {self.all_asynchronous} can't run synchronously"
        if self._entry:
            but = "" if self.tree is True else " but for --django-wsgi"
            return f"all requests{but} run behind ASGI, since {self._entry} stands there in front of Django"
        if self.tree is False:
            return "all views are synchronous; they run in threads, WebSockets on the event loop"
        if self.tree is True:
            return "all views are asynchronous and run on the event loop"
        return "synchronous views run in threads, asynchronous ones on the event loop"

    def decide(self, path: bytes, root: str, urlconf: str) -> bool:
        """Whether the ASGI entry point runs a request for `path`, as received, which neither `tree` nor `paths` tells.

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
        if not isinstance(urlconf, str) or self.urlconfs.get(host) == urlconf or self.all_asynchronous:
            return
        if urlconf == self.root and not self.urlconfs:
            return
        if len(self.urlconfs) >= HOSTS:
            self.urlconfs.clear()
        self.urlconfs[host] = urlconf

    def learn_streaming(self, path: str, host: str = "") -> None:
        """The synchronous view that `path` leads to has returned asynchronous content."""
        match = resolve(path, self.urlconfs.get(host, self.root), self._language)
        if match is not None and match.route not in self._streaming:
            self._streaming.add(match.route)
            self.paths.clear()
            self._grow()

    def _grow(self) -> None:
        if self.all_asynchronous:
            return
        routes = [override_route(prefix, asynchronous) for prefix, asynchronous in self._overrides]
        routes += [
            route._replace(asynchronous=route.asynchronous or route.name in self._streaming) for route in self._routes
        ]
        # Those in other languages may be anywhere.
        elsewhere = self._streaming.difference(route.name for route in routes)
        self.tree = tree_of([*routes, *(Route((), False, True, name) for name in elsewhere)])

    def _find(self, path: str, urlconf: str) -> bool:
        for prefix, asynchronous in self._overrides:
            if path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/"):
                return asynchronous
        if self._entry:
            return True
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


def in_front(entry: Any) -> str:
    """What stands in front of Django in the ASGI entry point `entry`, where HTTP is concerned, by name; or empty."""
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.core.handlers.asgi import ASGIHandler

    while isinstance(entry, ASGIStaticFilesHandler):
        entry = entry.application
    channels = sys.modules.get("channels.routing")
    if channels is not None and isinstance(entry, channels.ProtocolTypeRouter):
        entry = entry.application_mapping.get("http")
    # Without HTTP in it, all that is answered at all is answered behind WSGI.
    if entry is None or isinstance(entry, ASGIHandler):
        return ""
    named: Any = entry if hasattr(entry, "__qualname__") else type(entry)
    return f"{named.__module__}.{named.__qualname__}"


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
