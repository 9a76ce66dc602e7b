"""From a target to an application: imports it (`targets`), and finds out what it speaks (`interfaces`).

Targets: ``module:attribute`` (dots allowed on both sides), ``module:factory()`` and ``module:factory("x", debug=True)``
with literal arguments, and a bare ``module``, which means its ``application`` or ``app``. `load` also takes the
application itself. Either may also be several applications in their places, a list of `Mount` or a `Mounts`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import ModuleType

from ..config.mounts import Mount, is_mounts
from ..errors import EXIT_USAGE, AppLoadError, ConfigError
from .interfaces import choose
from .loaded import Loaded, LoadedApp, LoadedMount, LoadedMounts, LoadedProject
from .projects import check_package, is_project, load_project
from .targets import call_factory, find_target
from .words import describe, object_name

__all__ = [
    "Loaded",
    "LoadedApp",
    "LoadedMount",
    "LoadedMounts",
    "LoadedProject",
    "extend_path",
    "load",
    "load_mounts",
]


def load(
    target: str | object,
    *,
    factory: bool = False,
    app_dir: str | None = None,
    interface: str = "auto",
    pythonpath: tuple[str, ...] = (),
) -> Loaded:
    """The application that `target` names, or is; or the applications.

    `factory`: the target is called without arguments to get it. `app_dir` (default: the current directory) goes first
    on the import path, `pythonpath` after it; neither matters for an object. `interface` is auto, wsgi, asgi, asgi3,
    asgi2 or django, for which the target names a project; a package with wsgi.py and asgi.py is one by itself.

    Raises AppLoadError; where the application's own code raised, that is its cause, and `show_traceback` is set. Raises
    ConfigError when `app_dir` is no directory, `interface` is given for several applications, or the target is half a
    project.
    """
    if isinstance(target, str):
        extend_path(app_dir, pythonpath)
        if interface == "django" or (interface == "auto" and not factory and is_project(target.strip())):
            return load_project(target.strip())
        try:
            found, name = find_target(target.strip())
        except AppLoadError as error:
            if error.__cause__ is None:
                check_package(target.strip())
            raise
    else:
        if interface == "django":
            raise ConfigError("--interface django takes the name of a project's package, as in mysite, not an object")
        found, name = target, object_name(target)
    if factory:
        found = call_factory(found, name)
    if isinstance(found, (list, tuple)) and is_mounts(found):
        if interface != "auto":
            raise ConfigError(
                f"--interface: {name} holds mounts, each of which has its own; leave it (and the worker class) out"
            )
        return load_mounts(found, app_dir=app_dir, pythonpath=pythonpath)
    if isinstance(found, ModuleType):
        raise AppLoadError(f"{name} is a module, not an application; name the attribute: {name}:app")
    if not callable(found):
        raise AppLoadError(f"{name} is {describe(found)}, which can't be called; an application can")
    kind = choose(found, name, interface, factory)
    return LoadedApp(found, "wsgi" if kind == "wsgi" else "asgi", kind, name)


def load_mounts(
    mounts: Iterable[Mount], *, app_dir: str | None = None, pythonpath: tuple[str, ...] = ()
) -> LoadedMounts:
    """The applications of `mounts`. Raises as `load`, with the mount's path in the message.

    A target that is not there or is no application makes the mounts a wrong configuration: its exit code is EXIT_USAGE.
    """
    loaded = []
    for mount in mounts:
        try:
            app = load(
                mount.app, factory=mount.factory, app_dir=app_dir, interface=mount.interface, pythonpath=pythonpath
            )
        except ConfigError as error:
            raise ConfigError(f"mount {mount.path}: {error}") from None
        except AppLoadError as error:
            code = EXIT_USAGE if error.__cause__ is None else error.exit_code
            raise AppLoadError(
                f"mount {mount.path}: {error}", exit_code=code, show_traceback=error.show_traceback
            ) from error.__cause__
        if isinstance(app, LoadedMounts):
            raise ConfigError(f"mount {mount.path}: {mount.app} holds mounts, which can't stand inside of mounts")
        if mount.threads and app.interface == "asgi":
            raise ConfigError(
                f"mount {mount.path}: threads: {app.name} speaks ASGI and runs on the event loop; leave it out"
            )
        loaded.append(LoadedMount(mount, app))
    return LoadedMounts(tuple(loaded))


def extend_path(app_dir: str | None, pythonpath: tuple[str, ...] = ()) -> None:
    """Put `app_dir` (default: the current directory) and `pythonpath` first on the import path.

    Raises ConfigError: `app_dir` is no directory.
    """
    folder = os.path.abspath(app_dir or os.curdir)
    if not os.path.isdir(folder):
        raise ConfigError(f"--app-dir: {folder} does not exist or is no directory")
    folders = [folder, *map(os.path.abspath, pythonpath)]
    sys.path[:] = folders + [entry for entry in sys.path if entry not in folders]
    # Modules that came since the folder was last looked at. `importlib.invalidate_caches` loads importlib.metadata.
    for entry in folders:
        sys.path_importer_cache.pop(entry, None)
