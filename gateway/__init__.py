"""gateway: a fast, strict HTTP server for WSGI and ASGI applications.

::

    import gateway

    gateway.run(app)                        # until a signal says stop
    gateway.run(mounts=[gateway.Mount("/legacy", old), gateway.Mount("/", new)])
    await gateway.serve(app)                # in a running loop
    async with gateway.Server(app) as server:
        print(server.addresses)

Importing the package costs next to nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .adapters import ASGIToWSGI, WSGIToASGI
    from .config.mounts import Mount, Mounts
    from .config.settings import Config
    from .server.program import serve
    from .server.server import Server

__all__ = ["ASGIToWSGI", "Config", "Mount", "Mounts", "Server", "WSGIToASGI", "__version__", "run", "serve"]

_PLACES = {
    "ASGIToWSGI": "adapters.asgi_to_wsgi",
    "Config": "config.settings",
    "Mount": "config.mounts",
    "Mounts": "config.mounts",
    "Server": "server.server",
    "WSGIToASGI": "adapters.wsgi_to_asgi",
    "serve": "server.program",
}


def run(app: Any = None, **options: Any) -> None:
    """Serve `app`, an application, a target such as "module:app" or `Mounts`, until a signal says stop.

    `options` are those of `Config`, or keywords of `uvicorn.run`; what gateway has no equivalent for is named in a
    warning. With more than one worker, `reload`, or a limit after which a worker is to be replaced, these are forked
    here, with the application as it is, and each ends here with SystemExit.

    Raises ConfigError, BindError and AppLoadError, see `gateway.errors`; TypeError for a keyword that is none of these.
    """
    import os
    import warnings

    from .config.folder import enter
    from .config.settings import Config
    from .config.sources import apply_environment
    from .config.uvicorn import translate
    from .errors import ConfigError

    translation = translate(options)
    for text in translation.warnings:
        warnings.warn(text, stacklevel=2)
    options = translation.options
    config = app.replace(**options) if isinstance(app, Config) else Config(app, **options)
    if config.daemon:
        raise ConfigError("daemon: a program goes into the background by itself, or `gateway --daemon` does")
    apply_environment(config, os.environ)
    config = enter(config)
    if config.needs_master:
        from .supervisor.master import run as supervise

        supervise(config)
    else:
        from .server.program import run

        run(config, ends_process=False)


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
