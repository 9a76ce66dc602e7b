"""From a target to an application: imports it, and finds out what it speaks.

Targets: ``module:attribute`` (dots allowed on both sides), ``module:factory()`` and ``module:factory("x", debug=True)``
with literal arguments, and a bare ``module``, which means its ``application`` or ``app``. `load` also takes the
application itself. Either may also be several applications in their places, a list of `Mount` or a `Mounts`.

What an application speaks is read from its signature; it is never called to find out:

==================  ==========================================================================
ASGI 3              ``async def app(scope, receive, send)``, or an object whose call is that
ASGI 2              called with ``scope`` alone, gives what is called with ``receive, send``
WSGI                ``def app(environ, start_response)``
==================  ==========================================================================

Wrapping hides the `async`: so three parameters mean ASGI 3 also where nothing else says so, as in
``def app(scope, receive, send): return inner(scope, receive, send)``. What remains unclear is an error that asks for
--interface: to guess wrong would mean a server that answers every request with an error.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Literal, NamedTuple

from .config.mounts import Mount, is_mounts
from .errors import EXIT_USAGE, AppLoadError, ConfigError

Interface = Literal["wsgi", "asgi"]
AppKind = Literal["wsgi", "asgi3", "asgi2"]

DEFAULT_ATTRIBUTES = ("application", "app")

# The modules by which a Django project is served.
ENTRY_POINTS = ("wsgi", "asgi")

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

# What the first parameter is called by convention tells interfaces apart that have the same number of parameters.
WSGI_NAMES = frozenset(("environ", "env", "wsgi_environ"))
ASGI_NAMES = frozenset(("scope",))


class LoadedApp(NamedTuple):
    """An application, and what it speaks."""

    app: Callable[..., Any]
    interface: Interface
    kind: AppKind
    name: str
    """For people: the target, or the object's own name."""

    @property
    def applications(self) -> tuple[LoadedApp, ...]:
        """Itself: as `LoadedMounts` has it."""
        return (self,)


class LoadedProject(NamedTuple):
    """A Django project, by both of its entry points."""

    wsgi: LoadedApp
    asgi: LoadedApp
    name: str

    @property
    def interface(self) -> Literal["django"]:
        """As `LoadedApp` has it."""
        return "django"

    @property
    def kind(self) -> Literal["django"]:
        """As `LoadedApp` has it."""
        return "django"

    @property
    def app(self) -> Callable[..., Any]:
        """The WSGI entry point."""
        return self.wsgi.app

    @property
    def applications(self) -> tuple[LoadedApp, ...]:
        """Both."""
        return (self.wsgi, self.asgi)


class LoadedMount(NamedTuple):
    """A mount, and its application."""

    mount: Mount
    app: LoadedApp | LoadedProject


class LoadedMounts(NamedTuple):
    """Several applications in their places."""

    mounts: tuple[LoadedMount, ...]

    @property
    def app(self) -> dict[str, Any]:
        """The applications themselves, by their paths."""
        return {mount.path: loaded.app for mount, loaded in self.mounts}

    @property
    def applications(self) -> tuple[LoadedApp, ...]:
        """The applications, in the order they were given."""
        return tuple(app for _, loaded in self.mounts for app in loaded.applications)


Loaded = LoadedApp | LoadedProject | LoadedMounts


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
    ConfigError when `app_dir` is no directory, or `interface` is given for several applications.
    """
    if isinstance(target, str):
        extend_path(app_dir, pythonpath)
        if interface == "django" or (interface == "auto" and not factory and is_project(target.strip())):
            return load_project(target.strip())
        found, name = find_target(target.strip())
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


# -- Django projects


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


# -- Finding


def find_target(target: str) -> tuple[object, str]:
    """What `target` names, and a name for people. Raises AppLoadError."""
    module_name, colon, expression = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name or "\\" in module_name:
        raise AppLoadError(f"{target!r} looks like a file; {file_hint(module_name, expression)}")
    if not MODULE.fullmatch(module_name):
        raise AppLoadError(f"{target!r} names no application; write module:attribute, as in app:app")
    if colon and not expression:
        raise AppLoadError(f"{target!r} lacks what comes after the colon; write {module_name}:app")
    if not colon:
        return default_attribute(import_module(module_name))
    attribute, arguments, keywords, called = parse_expression(expression, target)
    found = get_attribute(import_module(module_name), attribute)
    if called:
        found = call_factory(found, target, arguments, keywords)
    return found, target


def file_hint(path: str, expression: str) -> str:
    """How to write a path as a target."""
    folder, file = os.path.split(path.replace("\\", "/"))
    module = file.removesuffix(".py") or "module"
    place = f" with --app-dir {folder}" if folder else ""
    return f"name the module: {module}:{expression or 'app'}{place}"


def parse_expression(text: str, target: str) -> tuple[list[str], list[Any], dict[str, Any], bool]:
    """``a.b`` or ``a.b("x", y=1)``: the attribute's path, the literal arguments, and whether it is a call.

    Raises AppLoadError.
    """
    usage = "write module:attribute or module:factory(...) with literal arguments"
    try:
        node: ast.AST = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise AppLoadError(f"{target!r} can't be read: {text!r} is no name; {usage}") from None
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    called = isinstance(node, ast.Call)
    if isinstance(node, ast.Call):
        try:
            arguments = [ast.literal_eval(argument) for argument in node.args]
            for keyword in node.keywords:
                if keyword.arg is None:
                    raise ValueError
                keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, SyntaxError):
            raise AppLoadError(f"{target!r} can't be read: an argument is no literal; {usage}") from None
        node = node.func
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise AppLoadError(f"{target!r} can't be read: {text!r} is more than a name or a call; {usage}")
    path.append(node.id)
    return path[::-1], arguments, keywords, called


def import_module(name: str) -> ModuleType:
    """The module `name`. Raises AppLoadError, telling a module that isn't there from one that fails to import."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # `name` itself, or a package it is in; anything else is an import inside the application.
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise AppLoadError(missing_module(name, error.name)) from None
        raise AppLoadError(
            f"importing {name} failed: it needs the module {error.name}, which is not installed here"
            if error.name
            else f"importing {name} failed: {error}",
            show_traceback=True,
        ) from error
    except SystemExit as error:
        # A script without the `if __name__ == "__main__"` guard.
        raise AppLoadError(
            f"importing {name} ended the process with sys.exit({error.code!r}); "
            'keep what only a script does under if __name__ == "__main__"',
            show_traceback=True,
        ) from error
    except Exception as error:
        raise AppLoadError(f"importing {name} failed: {summary(error)}", show_traceback=True) from error


def missing_module(name: str, missing: str) -> str:
    """The message for a module that isn't there."""
    parent, _, last = missing.rpartition(".")
    if parent:
        package = sys.modules.get(parent)
        if package is not None and not hasattr(package, "__path__"):
            return f"no module {name}: {parent} is a module, not a package; did you mean {parent}:{last}?"
    folder = sys.path[0] if sys.path and sys.path[0] else os.getcwd()
    close = close_match(last, modules_in(folder), 0.7) if not parent else ""
    hint = f"; did you mean {close}?" if close else "; say --app-dir if it is in another directory"
    return f"no module {missing} in {folder} or on the import path{hint}"


def modules_in(folder: str) -> list[str]:
    """Names of the modules and packages in `folder`."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    return [entry.name.removesuffix(".py") for entry in entries if entry.name.endswith(".py") or entry.is_dir()]


def default_attribute(module: ModuleType) -> tuple[object, str]:
    """What a bare module means. Raises AppLoadError, and ConfigError for a project that lacks an entry point."""
    for attribute in DEFAULT_ATTRIBUTES:
        if hasattr(module, attribute):
            return getattr(module, attribute), f"{module.__name__}:{attribute}"
    factories = [name for name in ("create_app", "make_app", "get_app", "create_application") if hasattr(module, name)]
    hint = f"; did you mean {module.__name__}:{factories[0]}()?" if factories else ""
    if not factories and hasattr(module, "__path__"):
        points = [f"{module.__name__}.{name}" for name in ENTRY_POINTS if has_module(module.__name__, name)]
        if len(points) == 1:
            raise ConfigError(
                f"{module.__name__}: has {points[0]}, and of the two entry points of a Django project not the other;"
                f" add that, or write {points[0]} to serve the one"
            )
        if points:
            hint = f"; did you mean {' or '.join(points)}?"
    raise AppLoadError(
        f"module {module.__name__} has neither `application` nor `app`; name its attribute,"
        f" as in {module.__name__}:attribute{hint}"
    )


def get_attribute(module: ModuleType, path: list[str]) -> object:
    """The attribute of `module` at `path`. Raises AppLoadError."""
    found: object = module
    where = f"module {module.__name__}"
    for name in path:
        try:
            found = getattr(found, name)
        except AttributeError:
            close = close_match(name, [item for item in dir(found) if item[:1] != "_"], 0.6)
            hint = f"; did you mean {close}?" if close else likely(found)
            raise AppLoadError(f"{where} has no attribute {name!r}{hint}") from None
        except Exception as error:
            raise AppLoadError(f"getting {name!r} of {where} failed: {summary(error)}", show_traceback=True) from error
        where = f"{where.removeprefix('module ')}{':' if where.startswith('module ') else '.'}{name}"
    return found


def close_match(word: str, candidates: list[str], cutoff: float) -> str:
    """The one of `candidates` that is most like `word`, by at least `cutoff` (0 to 1); empty for none."""
    import difflib

    return next(iter(difflib.get_close_matches(word, candidates, 1, cutoff)), "")


def likely(holder: object) -> str:
    """A hint when `holder` has an application by the usual name."""
    for name in DEFAULT_ATTRIBUTES:
        if hasattr(holder, name):
            return f"; it has {name!r}"
    return ""


def call_factory(
    factory: object, name: str, arguments: list[Any] | None = None, keywords: dict[str, Any] | None = None
) -> object:
    """What `factory` returns for these arguments. Raises AppLoadError."""
    if not callable(factory):
        raise AppLoadError(f"{name} is {describe(factory)}, which can't be called, so it is no factory")
    arguments, keywords = arguments or [], keywords or {}
    signature = signature_of(factory)
    if signature is not None:
        try:
            signature.bind(*arguments, **keywords)
        except TypeError as error:
            hint = "" if arguments or keywords else "; if it is the application, leave --factory or () out"
            raise AppLoadError(f"the factory {name} can't be called like this: {error}{hint}") from None
    try:
        result: object = factory(*arguments, **keywords)
    except Exception as error:
        raise AppLoadError(f"the factory {name} failed: {summary(error)}", show_traceback=True) from error
    if inspect.iscoroutine(result):
        result.close()
        raise AppLoadError(f"the factory {name} is a coroutine function; a factory is called without a running loop")
    return result


# -- Telling what it is


def choose(app: object, name: str, interface: str, was_factory: bool) -> AppKind:
    """The kind of `app` under the option `interface`. Raises AppLoadError when the two don't go together."""
    kind = detect(app)
    if interface == "asgi":
        if kind is None:
            return "asgi3"
        if kind == "wsgi":
            raise AppLoadError(mismatch(name, interface, kind))
        return kind
    if interface in ("wsgi", "asgi3", "asgi2"):
        if kind is not None and kind != interface:
            raise AppLoadError(mismatch(name, interface, kind))
        return interface  # type: ignore[return-value]
    if interface != "auto":
        raise AppLoadError(f"no such interface: {interface!r}; it is one of auto, wsgi, asgi, asgi3, asgi2")
    if kind is not None:
        return kind
    problem = f"can't tell what {name} ({describe(app)}) speaks from its signature; say --interface wsgi or asgi"
    if not was_factory and accepts(app, 0):
        problem += ", or --factory if it makes the application"
    raise AppLoadError(problem)


def mismatch(name: str, interface: str, kind: AppKind) -> str:
    """The message when the option contradicts what the application clearly is."""
    words = {"wsgi": "a WSGI application", "asgi3": "an ASGI application", "asgi2": "an ASGI 2 application"}
    right = "asgi" if kind == "asgi3" and interface == "wsgi" else kind
    return f"{name} is {words[kind]}, but --interface {interface} was given; say --interface {right} or leave it out"


def detect(app: object) -> AppKind | None:
    """What `app` speaks, or None when its signature leaves that open. Never calls it."""
    if isinstance(app, type):
        return detect_class(app)
    kind = detect_callable(app)
    if kind is None and not inspect.isroutine(app):
        # A `__call__(self, *args, **kwargs)` that some wrapper put over a framework's own: what is below still tells.
        for base in type(app).__mro__[1:]:
            call = base.__dict__.get("__call__")
            if kind is None and inspect.isfunction(call):
                kind = detect_callable(call.__get__(app))
    return kind


def detect_callable(app: object) -> AppKind | None:
    """What a function, method or object speaks, by its own call."""
    signature = signature_of(app)
    if signature is None:
        return None
    first = first_parameter(signature)
    call = callable_of(app)
    if inspect.iscoroutinefunction(call):
        # It returns no iterable, so it can't be WSGI, and no callable, so it can't be ASGI 2. What it takes is its own
        # affair even when functools.wraps makes it look like what it wraps.
        own = signature_of(app, follow_wrapped=False)
        return "asgi3" if binds(signature, 3) or (own is not None and binds(own, 3)) else None
    if inspect.isasyncgenfunction(call):
        return None
    three, two, one = binds(signature, 3), binds(signature, 2), binds(signature, 1)
    if three and (not two or first in ASGI_NAMES):
        return "asgi3"
    if two and (not (one or three) or first in WSGI_NAMES):
        return None if first in ASGI_NAMES else "wsgi"
    if one and not two and first in ASGI_NAMES:
        return "asgi2"
    return None


def detect_class(app: type) -> AppKind | None:
    """What a class speaks that is itself the application: an object of it is made for each request."""
    signature = signature_of(app)
    if signature is None:
        return None
    if binds(signature, 2) and not binds(signature, 3) and hasattr(app, "__iter__"):
        return "wsgi"  # app(environ, start_response) is the iterable, as PEP 3333 shows
    if binds(signature, 3) and hasattr(app, "__await__"):
        return "asgi3"
    if binds(signature, 1) and inspect.iscoroutinefunction(class_call(app)):
        return "asgi2"  # app(scope) is called with receive and send
    return None


def callable_of(app: object) -> object:
    """What decides whether calling `app` makes a coroutine: a function under partials, methods and instances."""
    for _ in range(32):  # wrappers can be made to contain themselves
        if isinstance(app, functools.partial):
            app = app.func
        elif inspect.ismethod(app):
            app = app.__func__
        elif inspect.isfunction(app):
            # A plain wrapper hands on what it wraps gives it, perhaps a coroutine; an async one makes its own.
            wrapped = getattr(app, "__wrapped__", None)
            if inspect.iscoroutinefunction(app) or wrapped is None:
                return app
            app = wrapped
        elif inspect.isbuiltin(app) or isinstance(app, type) or inspect.iscoroutinefunction(app):
            return app
        else:
            # The class's own, since that is what a call uses.
            call = class_call(type(app))
            if isinstance(call, staticmethod):
                call = call.__func__
            if not inspect.isfunction(call):
                return app
            app = call
    return app


def class_call(cls: type) -> object:
    """The `__call__` that objects of `cls` have, as it was defined; None for none."""
    return next((base.__dict__["__call__"] for base in cls.__mro__ if "__call__" in base.__dict__), None)


def signature_of(app: object, *, follow_wrapped: bool = True) -> inspect.Signature | None:
    """The signature, or None when there is none to see (callables written in C)."""
    if not callable(app):
        return None
    # Before Python 3.13, `inspect` takes a static `__call__` for one with self.
    call = class_call(type(app))
    if isinstance(call, staticmethod):
        app = call.__func__
    try:
        return inspect.signature(app, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError):
        return None


def binds(signature: inspect.Signature, count: int) -> bool:
    """Whether a call with `count` positional arguments fits."""
    try:
        signature.bind(*(None,) * count)
    except TypeError:
        return False
    return True


def accepts(app: object, count: int) -> bool:
    """Whether `app` can be called with `count` positional arguments, as far as its signature tells."""
    signature = signature_of(app)
    return signature is not None and binds(signature, count)


def first_parameter(signature: inspect.Signature) -> str:
    """The name of the first positional parameter, or an empty string."""
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return parameter.name
    return ""


# -- Words for people


def object_name(app: object) -> str:
    """A name for an application that was given as an object."""
    named = app.func if isinstance(app, functools.partial) else app
    name = getattr(named, "__qualname__", None)
    if isinstance(name, str):
        return f"{getattr(named, '__module__', None) or '?'}:{name}"
    return f"{type(app).__module__}:{type(app).__qualname__} object"


def describe(value: object) -> str:
    """What sort of thing `value` is."""
    if value is None:
        return "None"
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if inspect.isroutine(value):
        return "a function"
    name = type(value).__qualname__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def summary(error: BaseException) -> str:
    """An exception in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
