"""Modules with a fault put into them, to see whether a comparison notices."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gateway.core


def faulty_kernel(name: str, right: str, wrong: str) -> types.ModuleType:
    """A copy of gateway.core.kernels.`name` whose source has `wrong` in the place of `right`."""
    spec = importlib.util.find_spec(f"gateway.core.kernels.{name}")
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        source = file.read()
    assert source.count(right) == 1, f"{right!r} occurs {source.count(right)} times"
    module = types.ModuleType(f"gateway.core.kernels.faulty_{name}")
    module.__package__ = "gateway.core.kernels"
    exec(compile(source.replace(right, wrong), f"faulty {name}", "exec"), vars(module))
    return module


class FaultyBackend:
    """The modules of a copy of `core`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def module(self, name: str) -> types.ModuleType:
        return importlib.import_module(f"{self.name}.{name}")


@contextmanager
def faulty_core(folder: Path, name: str, file: str, right: str, wrong: str) -> Iterator[Any]:
    """A build named `name` that is a copy of `core`, but for `wrong` in the place of `right` in `file`.

    `folder`: where the copy is put, on the path already.
    """
    shutil.copytree(Path(gateway.core.__path__[0]), folder / name)
    path = folder / name / file
    source = path.read_text()
    assert source.count(right) == 1, f"{file} has {right!r} {source.count(right)} times"
    path.write_text(source.replace(right, wrong))
    try:
        yield FaultyBackend(name)
    finally:
        for module in [module for module in sys.modules if module.startswith(name)]:
            del sys.modules[module]
