"""Configuration written in Python: runs it, and says in one line what went wrong.

It is compiled anew each time, so that a reload sees what the file says then: Python's own cache of compiled modules
tells files apart by size and time, and a changed digit has neither.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import CodeType, ModuleType
from typing import Any

from ..errors import ConfigError

# gunicorn's name for the module; classes and functions of the file carry it.
MODULE_NAME = "__config__"


def run_file(path: str, where: str, folder: str | None = None) -> dict[str, Any]:
    """The names that the Python file at `path` defines.

    `where` is what named it, `folder` (default: the current directory) what it imports from. Raises ConfigError.
    """
    add_folder(folder)
    source = read_source(path, where)
    module = ModuleType(MODULE_NAME)
    module.__file__ = os.path.abspath(path)
    return run(source, module, path)


def run_module(name: str, where: str, folder: str | None = None) -> dict[str, Any]:
    """The names that the module `name` defines; see `run_file`."""
    add_folder(folder)
    if not name:
        raise ConfigError(f"{where}: python: lacks a module, as in python:project.settings")
    try:
        spec = importlib.util.find_spec(name)
    except Exception as error:
        # Packages above it are imported to find it.
        raise ConfigError(f"{where}: can't import {name}: {first_line(error)}") from None
    if spec is None or spec.loader is None:
        raise ConfigError(f"{where}: there is no module {name}")
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise ConfigError(f"{where}: {name} is no Python file")
    source = read_source(spec.origin, where)
    return run(source, importlib.util.module_from_spec(spec), f"python:{name}")


def add_folder(folder: str | None) -> None:
    """Let the configuration import what stands beside the application."""
    path = os.path.abspath(folder or os.curdir)
    if path not in sys.path:
        sys.path.insert(0, path)
    # What was made there since the folder was last looked at.
    sys.path_importer_cache.pop(path, None)


def read_source(path: str, where: str) -> bytes:
    """The contents of the file at `path`. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{where}: can't read {path}: {error.strerror}") from None


def run(source: bytes, module: ModuleType, label: str) -> dict[str, Any]:
    """Run `source` as `module`, called `label` in messages. Raises ConfigError."""
    filename = module.__file__ or label
    name = module.__name__
    before = sys.modules.get(name)
    # Some code finds its own module by name, that of dataclasses for one.
    sys.modules[name] = module
    try:
        exec(compile_source(source, filename), module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if before is not None:
            sys.modules[name] = before
        else:
            sys.modules.pop(name, None)
        # sys.exit() included: here it would end the server on a reload.
        line = line_of(error, filename)
        place = f"line {line}: " if line else ""
        raise ConfigError(f"{label}: {place}{first_line(error)}") from None
    return vars(module)


def compile_source(source: bytes, filename: str) -> CodeType:
    """`source` compiled. Raises SyntaxError, also for what is no text."""
    try:
        return compile(source, filename, "exec", dont_inherit=True)
    except ValueError as error:
        raise SyntaxError(str(error)) from None


def line_of(error: BaseException, filename: str) -> int:
    """The line of the file that raised `error`, or that called what did; 0 if there is none."""
    line = 0
    if isinstance(error, SyntaxError) and error.filename == filename:
        line = error.lineno or 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def first_line(error: BaseException) -> str:
    """The error's type, and its message as far as a line goes."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    kind = type(error).__name__
    return f"{kind}: {text.splitlines()[0]}" if text and text.strip() else kind
