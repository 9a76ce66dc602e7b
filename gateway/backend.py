"""Which of the two builds of the request path is in use: `core` as it stands, or `_speedups`, compiled.

The choice is made for all modules that a server uses together, never a mix:

- GATEWAY_NO_EXTENSIONS=1, PyPy, or nothing compiled: `core`.
- Every module of `core` has its compiled twin: `_speedups`.
- Some have, or one can't be imported: `core`, with a RuntimeWarning that says what is wrong. It works, slower.

Modules that a server has no use for are not loaded. `current` is chosen by all there are, when it is first used.

Everything above the request path takes its classes from here::

    from gateway import backend

    backend.current.http1.HTTP1Connection      # a room holds the classes its modules define
    backend.current.http1.connection           # and the modules
    backend.current.module("http1.connection") # the same, by name

`load("core")` and `load("_speedups")` give either one; both can be in use side by side, as the tests do.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

current: Backend

CORE = "core"
SPEEDUPS = "_speedups"


@functools.cache
def module_names() -> tuple[str, ...]:
    """All modules of the request path, as "http1.connection"; `core` is what both builds are measured by."""
    return _modules_in(CORE)


def compiled_names() -> set[str]:
    """Those of `module_names` that have a compiled module here, whether or not it can be imported."""
    return set(module_names()).intersection(_modules_in(SPEEDUPS))


class Backend:
    """One build of the request path. Its attributes are its rooms: `asgi`, `http`, `http1`, `kernels` and so on."""

    def __init__(self, name: str) -> None:
        if name not in (CORE, SPEEDUPS):
            raise ValueError(f"no such backend: {name!r}")
        self.name = name
        """ "core" or "_speedups"."""

    def __repr__(self) -> str:
        return f"<Backend {self.name}>"

    def describe(self) -> str:
        """For people: "compiled" or "pure Python"."""
        return "compiled" if self.name == SPEEDUPS else "pure Python"

    def module(self, name: str) -> ModuleType:
        """The module `name`, for example "http1.connection", of this build. Raises ImportError."""
        return importlib.import_module(f"{__package__}.{self.name}.{name}")

    def __getattr__(self, room: str) -> Any:
        modules = {name: self.module(name) for name in module_names() if name.startswith(f"{room}.")}
        if not modules:
            raise AttributeError(f"{self!r} has no room {room!r}")
        contents = SimpleNamespace()
        for name, module in modules.items():
            for attribute, value in vars(module).items():
                if isinstance(value, type) and value.__module__ == module.__name__:
                    setattr(contents, attribute, value)
            setattr(contents, name.partition(".")[2], module)
        self.__dict__[room] = contents
        return contents


def load(name: str, modules: Iterable[str] = ()) -> Backend:
    """One build by its name, with `modules` imported (none named: all of them). Raises ImportError."""
    backend = Backend(name)
    for module in tuple(modules) or module_names():
        backend.module(module)
    return backend


def choose(*modules: str) -> Backend:
    """The build for a user of `modules` (none named: all of them); see the module's docstring for the rule."""
    if os.environ.get("GATEWAY_NO_EXTENSIONS") == "1" or sys.implementation.name != "cpython":
        return load(CORE, modules)
    compiled = compiled_names()
    missing = sorted(set(module_names()) - compiled)
    if compiled and not missing:
        try:
            return load(SPEEDUPS, modules)
        except ImportError as error:
            _warn(f"can't be imported ({error})")
    elif compiled:
        _warn(f"is incomplete (not there: {', '.join(missing)})")
    return load(CORE, modules)


def __getattr__(name: str) -> Any:
    if name != "current":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    backend = globals()["current"] = choose()
    return backend


def _modules_in(build: str) -> tuple[str, ...]:
    """The modules in the rooms of `build`; looked up, not imported."""
    folder = os.path.join(os.path.dirname(__file__), build)
    return tuple(
        f"{room.name}.{module.name}"
        for room in pkgutil.iter_modules([folder])
        for module in pkgutil.iter_modules([os.path.join(folder, room.name)])
    )


def _warn(problem: str) -> None:
    warnings.warn(
        f"the compiled part of gateway {problem}; running as pure Python, which is slower. Install gateway again, "
        "or set GATEWAY_NO_EXTENSIONS=1 if this is meant",
        RuntimeWarning,
        stacklevel=4,
    )
