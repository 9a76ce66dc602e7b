"""Applications: what one server serves, be it one application or several, each under its path.

It makes of each application what starts it for a request (a handler), and of several the table that tells which one a
path belongs to. They share the process's loop and its threads.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from gateway.backend import Backend
from gateway.config.mounts import Mount
from gateway.config.settings import Config
from gateway.hybrid import Split, SynchronousSide, observe
from gateway.loader import Loaded, LoadedApp, LoadedProject

from .assembly import make_wsgi_handler, places
from .hooks import RequestHooks
from .lifespan import Lifespan, Lifespans


class Applications:
    """The applications of a server, in the order they were given. Needs no running loop until `start`.

    After `start`, `handler` is that of a single application, or None, and `table` that of several, or None; `on_loop`
    are the handlers that run applications on the loop.
    """

    def __init__(self, loaded: Loaded, config: Config, log: logging.Logger) -> None:
        self.config = config
        self.log = log
        self.places = places(loaded)
        interfaces = {app.interface for app in loaded.applications}
        self.splits = {
            index: make_split(config, app.asgi)
            for index, (_, app) in enumerate(self.places)
            if isinstance(app, LoadedProject)
        }
        """What decides for a Django project, by its place's number."""
        self.has_asgi = "asgi" in interfaces
        self.has_wsgi = "wsgi" in interfaces
        self.handler: Any = None
        self.table: Any = None
        self.on_loop: list[Any] = []
        self._lifespans: dict[int, Lifespan] = {}

    def lifespans(self) -> Lifespans:
        """The lifespans, new ones. An application that is mounted twice has one all the same."""
        settings = self.config.asgi
        paths: dict[int, list[str]] = {}
        asynchronous = [(mount, app) for mount, loaded in self.places if (app := asgi_side(loaded)) is not None]
        for mount, loaded in asynchronous:
            paths.setdefault(id(loaded.app), []).extend([mount.path] if mount else [])
        self._lifespans = {
            id(loaded.app): Lifespan(
                asgi3(loaded),
                {},
                mode=settings.lifespan,  # type: ignore[arg-type]
                startup_timeout=settings.lifespan_startup_timeout,
                shutdown_timeout=settings.lifespan_shutdown_timeout,
                where=f" at {' and '.join(paths[id(loaded.app)])}" if mount else "",
                log=self.log,
            )
            for mount, loaded in reversed(asynchronous)
        }
        # Made from the end, so that of an application with two places the first one counts.
        return Lifespans(tuple(reversed(self._lifespans.values())))

    def start(
        self, backend: Backend, loop: asyncio.AbstractEventLoop, pool: Any, hooks: RequestHooks | None = None
    ) -> None:
        """Make the handlers. `pool` is what WSGI applications run in, or None if there are none."""
        if not self.config.wsgi.threads:
            self._tell_no_effect()
        handlers = []
        for index, (mount, loaded) in enumerate(self.places):
            threads = 0 if mount is None else mount.threads
            if isinstance(loaded, LoadedProject):
                split = self.splits[index]
                synchronous = SynchronousSide(loaded.wsgi.app, split, loop)
                handler = backend.module("http.split").SplitHandler(
                    split,
                    make_wsgi_handler(backend, self.config, synchronous, pool, self.log, threads),
                    self._make_asgi_handler(backend, loop, loaded.asgi, hooks),
                )
            elif loaded.interface == "wsgi":
                handler = make_wsgi_handler(backend, self.config, loaded.app, pool, self.log, threads)
            else:
                handler = self._make_asgi_handler(backend, loop, loaded, hooks)
            handlers.append(handler if hooks is None else hooks.around_handler(backend, handler))
        if self.places[0][0] is None:
            self.handler = handlers[0]
            return
        mounts = backend.module("http.mounts")
        body = self.config.limit_request_body
        self.table = mounts.MountTable(
            [
                mounts.Mount(
                    mount.prefix,
                    handler,
                    websockets=asgi_side(loaded) is not None,
                    request_body=body if mount.limit_request_body is None else mount.limit_request_body,
                    concurrency=mount.limit_concurrency,
                    timeout=self._time_limit(mount),
                )
                for (mount, loaded), handler in zip(self.places, handlers, strict=True)
                if mount is not None
            ]
        )

    def _make_asgi_handler(
        self, backend: Backend, loop: asyncio.AbstractEventLoop, loaded: LoadedApp, hooks: RequestHooks | None
    ) -> Any:
        # "state" is in the scope when the application supports lifespan (ASGI lifespan, "Lifespan State").
        lifespan = self._lifespans.get(id(loaded.app))
        state = lifespan.state if lifespan is not None and lifespan.supported else None
        make = backend.module("asgi.cycle").ASGIHandler
        app = loaded.app if hooks is None else hooks.recording(loaded.app)
        handler = make(app, loop, self.log, state, loaded.kind == "asgi2")
        self.on_loop.append(handler)
        return handler

    def _time_limit(self, mount: Mount | None) -> float:
        own = None if mount is None else mount.request_timeout
        limit: float = self.config.request_timeout if own is None else own
        return limit

    def _tell_no_effect(self) -> None:
        """Warn of limits that need threads."""
        limits: dict[str, None] = {}
        for mount, loaded in self.places:
            if self._time_limit(mount) and (isinstance(loaded, LoadedProject) or loaded.interface == "wsgi"):
                own = mount is not None and mount.request_timeout is not None
                limits[f"request_timeout of {mount.path}" if own and mount is not None else "--request-timeout"] = None
        if limits:
            self.log.warning(
                "%s has no effect on a WSGI application with --threads 0: it runs on the event loop, which can't take "
                "its response back meanwhile",
                ", ".join(limits),
            )

    def limits_time(self) -> bool:
        """Whether there is an application whose requests may only take so long."""
        return any(self._time_limit(mount) for mount, _ in self.places)

    def describe(self) -> str:
        """What they speak, for people."""
        if self.places[0][0] is None:
            how = "auto-detected" if self.config.application.interface == "auto" else "as told"
            return f"Using interface: {self.places[0][1].kind} ({how}{self._how_split(0)})"
        kinds = [
            f"{loaded.kind} at {mount.path} ({'auto-detected' if mount.interface == 'auto' else 'as told'}"
            f"{self._how_split(index)})"
            for index, (mount, loaded) in enumerate(self.places)
            if mount is not None
        ]
        return f"Using interfaces: {', '.join(kinds)}"

    def _how_split(self, index: int) -> str:
        split = self.splits.get(index)
        return "" if split is None else f"; {split.description}"

    def shutdown_time(self) -> float:
        """Seconds that the lifespans may take to shut down, at most."""
        sides = [asgi_side(loaded) for _, loaded in self.places]
        count = len({id(loaded.app) for loaded in sides if loaded is not None})
        return count * self.config.asgi.lifespan_shutdown_timeout


def asgi_side(loaded: LoadedApp | LoadedProject) -> LoadedApp | None:
    """What of it speaks ASGI, if anything."""
    if isinstance(loaded, LoadedProject):
        return loaded.asgi
    return loaded if loaded.interface == "asgi" else None


def make_split(config: Config, asgi: LoadedApp) -> Split:
    """What decides which entry point of a Django project runs a request. Raises AppLoadError."""
    split = Split(wsgi=config.application.django_wsgi, asgi=config.application.django_asgi, entry=asgi.app)
    observe(split)
    return split


def asgi3(loaded: LoadedApp) -> Any:
    """The application as a single callable."""
    if loaded.kind != "asgi2":
        return loaded.app

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await loaded.app(scope)(receive, send)

    return call
