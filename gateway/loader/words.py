"""Applications and exceptions in words, for messages."""

from __future__ import annotations

import functools
import inspect
from types import ModuleType


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
