"""Kernels with a fault put into them, to see whether a comparison notices."""

from __future__ import annotations

import importlib.util
import types


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
