"""InlineExecutor: tasks on the caller's thread. ThreadExecutor is tested with its pool, in test_threads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway.backend import Backend

log = logging.getLogger("tests.executor")


def make_task(build: Backend, run: Callable[[], object], step: Callable[[], object]) -> Any:
    class Work(build.module("kernels.base").Task):  # type: ignore[misc, name-defined]
        def run(self) -> int:
            run()
            return 0

        def step(self) -> int:
            step()
            return 0

    return Work()


def test_everything_happens_at_once(build: Backend) -> None:
    executor = build.module("wsgi.executor").InlineExecutor(log)
    seen: list[str] = []
    task = make_task(build, lambda: seen.append("run"), lambda: seen.append("step"))
    assert executor.submit(task) is True
    executor.post(task)
    executor.defer(task)
    assert (executor.drain(), executor.withdraw(task), executor.crowded()) == (0, 0, False)
    assert seen == ["run", "step", "step"]


def test_what_a_task_raises_is_logged(build: Backend, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("on purpose")

    executor = build.module("wsgi.executor").InlineExecutor(log)
    task = make_task(build, fail, fail)
    assert executor.submit(task) is True
    assert executor.post(task) == 0
    assert caplog.text.count("ValueError: on purpose") == 2
