"""From a target, as text, to the object that it names; and what is wrong with it when it names none."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from types import ModuleType
from typing import Any

from ..errors import AppLoadError
from .interfaces import signature_of
from .words import describe, summary

DEFAULT_ATTRIBUTES = ("application", "app")

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


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
    """What a bare module means. Raises AppLoadError."""
    for attribute in DEFAULT_ATTRIBUTES:
        if hasattr(module, attribute):
            return getattr(module, attribute), f"{module.__name__}:{attribute}"
    factories = [name for name in ("create_app", "make_app", "get_app", "create_application") if hasattr(module, name)]
    hint = f"; did you mean {module.__name__}:{factories[0]}()?" if factories else ""
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
