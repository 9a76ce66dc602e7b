"""What an application speaks: WSGI, ASGI 3 or ASGI 2.

It is read from the application's signature; the application is never called to find out:

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

import functools
import inspect

from ..errors import AppLoadError
from .loaded import AppKind
from .words import describe

# What the first parameter is called by convention tells interfaces apart that have the same number of parameters.
WSGI_NAMES = frozenset(("environ", "env", "wsgi_environ"))
ASGI_NAMES = frozenset(("scope",))


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
