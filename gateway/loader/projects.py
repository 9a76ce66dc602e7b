"""Django projects: a package with two entry points, wsgi.py and asgi.py, both of which are loaded."""

from __future__ import annotations

import importlib.util
import sys

from ..errors import ConfigError
from .interfaces import choose
from .loaded import LoadedApp, LoadedProject
from .targets import DEFAULT_ATTRIBUTES, MODULE, find_target

# The modules by which a Django project is served.
ENTRY_POINTS = ("wsgi", "asgi")


def entry_points(target: str) -> tuple[str, str]:
    """The targets of both entry points of the project that `target` names: by its package, or by one of them.

    Raises ConfigError: there is no such project, or it lacks one.
    """
    module, _, attribute = target.strip().partition(":")
    package, _, last = module.rpartition(".")
    if last not in ENTRY_POINTS:
        package, attribute = module, ""
    if not MODULE.fullmatch(package):
        raise ConfigError(f"--interface django: {target!r} names no project; write its package, as in mysite")
    suffix = f":{attribute}" if attribute else ""
    for name in ENTRY_POINTS:
        if not has_module(package, name):
            other = ENTRY_POINTS[name == "wsgi"]
            hint = f", or serve {package}.{other} alone" if has_module(package, other) else ""
            raise ConfigError(
                f"--interface django: the project {package} has no {name}.py; "
                f"add the one that `django-admin startproject` writes{hint}"
            )
    return f"{package}.wsgi{suffix}", f"{package}.asgi{suffix}"


def is_project(target: object) -> bool:
    """Whether `target` is the name of a package with both entry points, and is no application itself."""
    return (
        isinstance(target, str)
        and MODULE.fullmatch(target) is not None
        and all(has_module(target, name) for name in ENTRY_POINTS)
        and not any(hasattr(sys.modules.get(target), name) for name in DEFAULT_ATTRIBUTES)
    )


def check_package(target: str) -> None:
    """Raise ConfigError where `target`, which is no application, names a package with an entry point of a project."""
    if MODULE.fullmatch(target) is None:
        return
    points = [name for name in ENTRY_POINTS if has_module(target, name)]
    if len(points) == 1:
        raise ConfigError(
            f"the package {target} has {points[0]}.py, and of the two entry points of a Django project not the other;"
            f" add that, or write {target}.{points[0]} to serve the one"
        )
    if points:
        raise ConfigError(f"{target} names both entry points of a Django project; write {target}.wsgi or {target}.asgi")


def load_project(target: str) -> LoadedProject:
    """Both entry points of the project that `target` names. Raises ConfigError and AppLoadError."""
    points = []
    for interface, name in zip(ENTRY_POINTS, entry_points(target), strict=True):
        found, name = find_target(name)
        kind = choose(found, name, interface, False)
        points.append(LoadedApp(found, interface, kind, name))  # type: ignore[arg-type]
    settings = sys.modules.get("django.conf")
    if settings is None or not settings.settings.configured:
        raise ConfigError(f"--interface django: {points[0].name} does not set up Django; say --interface wsgi or asgi")
    return LoadedProject(points[0], points[1], target)


def has_module(package: str, name: str) -> bool:
    """Whether there is a module `name` in `package`, which is imported to find out."""
    try:
        return importlib.util.find_spec(f"{package}.{name}") is not None
    except (Exception, SystemExit):
        # Whoever imports it next says what is wrong with it.
        return False
