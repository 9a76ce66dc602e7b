"""Event loops for tests of the server: the stock one and, where installed, uvloop."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

LOOPS = [
    "asyncio",
    pytest.param(
        "uvloop", marks=pytest.mark.skipif(not importlib.util.find_spec("uvloop"), reason="uvloop is not installed")
    ),
]

WAIT = 30.0
"""Seconds any test here may take; only failing ones do."""


def run(loop: str, main: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run `main(*arguments)` on a loop of this kind, and fail on what the loop itself reports."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    problems: list[dict[str, Any]] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(WAIT):
            return await main(*arguments)

    with asyncio.Runner(loop_factory=factory) as runner:
        result = runner.run(watched())
    assert not problems
    return result


async def eventually(condition: Callable[[], Any]) -> Any:
    """Wait, turn by turn, until `condition()` is true; the timeout of `run` is the bound."""
    while not (result := condition()):
        await asyncio.sleep(0.001)
    return result
