"""What the tests of the driver share."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def driver(build: Any) -> types.ModuleType:
    return build.module("kernels.driver")


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "asyncio":
        return asyncio.new_event_loop
    return pytest.importorskip("uvloop").new_event_loop  # type: ignore[no-any-return]


@pytest.fixture(params=[False, True], ids=["plain", "eager"])
def eager(request: pytest.FixtureRequest) -> bool:
    return request.param  # type: ignore[no-any-return]
