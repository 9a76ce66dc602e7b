"""Lane: a share of the threads. No more than that at a time, nothing lost, and others get their turns."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gateway.backend import Backend

from .aio import WAIT, eventually, run
from .test_threads import make_pool, task_class


def lane(build: Backend, pool: Any, width: int, limit: int = 0) -> Any:
    return build.module("wsgi.executor").LaneExecutor(pool.executor, width, limit)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_no_more_threads_than_its_share(build: Backend, width: int) -> None:
    async def main() -> None:
        pool = make_pool(build, 4)
        fake, narrow = task_class(build), lane(build, pool, width)
        release = threading.Event()
        lock = threading.Lock()
        seen = {"now": 0, "most": 0, "over": 0}

        def work(task: Any) -> None:
            with lock:
                seen["now"] += 1
                seen["most"] = max(seen["most"], seen["now"])
            assert release.wait(WAIT)
            with lock:
                seen["now"] -= 1
                seen["over"] += 1

        for _ in range(50):
            assert narrow.submit(fake(work))
        await eventually(lambda: seen["now"] == width)
        # The other threads are there for others.
        done = threading.Event()
        pool.executor.submit(fake(lambda task: done.set()))
        assert await asyncio.to_thread(done.wait, WAIT)
        assert (seen["now"], narrow.lane.running) == (width, width)
        release.set()
        await eventually(lambda: seen["over"] == 50)
        assert seen["most"] == width
        await eventually(lambda: narrow.lane.running == 0)
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_in_their_order_and_none_is_lost(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 3)
        fake, narrow = task_class(build), lane(build, pool, 1)
        seen: list[int] = []
        for number in range(5000):
            assert narrow.submit(fake(lambda task, number=number: seen.append(number)))
            if number % 100 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: len(seen) == 5000)
        assert seen == sorted(seen)
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_others_get_their_turns(build: Backend) -> None:
    """With one thread for all: what was submitted behind a full lane does not wait until the lane is empty."""

    async def main() -> None:
        pool = make_pool(build, 1)
        fake, narrow = task_class(build), lane(build, pool, 1)
        begin = threading.Event()
        seen: list[str] = []
        pool.executor.submit(fake(lambda task: begin.wait(WAIT)))
        for _ in range(10):
            narrow.submit(fake(lambda task: seen.append("lane")))
        pool.executor.submit(fake(lambda task: seen.append("other")))
        begin.set()
        await eventually(lambda: len(seen) == 11)
        assert seen.index("other") == 1
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_withdrawing(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 2)
        fake, narrow = task_class(build), lane(build, pool, 1)
        begin = threading.Event()
        seen: list[int] = []
        narrow.submit(fake(lambda task: begin.wait(WAIT)))
        await eventually(lambda: narrow.lane.running == 1)
        tasks = [fake(lambda task, number=number: seen.append(number)) for number in range(4)]
        for task in tasks:
            assert narrow.submit(task)
        for task in tasks[1:3]:
            assert narrow.withdraw(task) == 0
        begin.set()
        await eventually(lambda: seen == [0, 3])
        # Withdrawn to the last one: the lane is as good as new.
        for _ in range(3):
            task = fake(lambda task: seen.append(9))
            narrow.submit(task)
            narrow.withdraw(task)
        narrow.submit(fake(lambda task: seen.append(4)))
        await eventually(lambda: seen[-1] == 4)
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_limit_of_those_that_wait(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 4)
        fake, narrow = task_class(build), lane(build, pool, 2, 3)
        begin = threading.Event()
        # A free thread has room for one more each, whether it has begun or not.
        outcomes = [narrow.submit(fake(lambda task: begin.wait(WAIT))) for _ in range(8)]
        assert outcomes == [True] * 5 + [False] * 3
        await eventually(lambda: narrow.lane.running == 2)
        assert not narrow.submit(fake())
        begin.set()
        await eventually(lambda: narrow.lane.running == 0)
        assert narrow.submit(fake())
        assert await pool.stop(WAIT)
        assert not narrow.submit(fake())

    run("asyncio", main)


def test_what_waits_runs_before_the_threads_end(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 2)
        fake, narrow = task_class(build), lane(build, pool, 1)
        begin = threading.Event()
        seen: list[int] = []
        narrow.submit(fake(lambda task: begin.wait(WAIT)))
        for number in range(5):
            narrow.submit(fake(lambda task, number=number: seen.append(number)))
        stopping = asyncio.ensure_future(pool.stop(WAIT))
        await asyncio.sleep(0)
        begin.set()
        assert await stopping
        assert seen == [0, 1, 2, 3, 4]

    run("asyncio", main)


def test_a_full_queue_does_not_stop_a_lane(build: Backend) -> None:
    """Where it can't be queued again, its thread goes on."""

    async def main() -> None:
        pool = make_pool(build, 1, limit=1)
        fake, narrow = task_class(build), lane(build, pool, 1)
        begin = threading.Event()
        seen: list[str] = []
        narrow.submit(fake(lambda task: begin.wait(WAIT)))
        for _ in range(3):
            narrow.submit(fake(lambda task: seen.append("lane")))
        await eventually(lambda: narrow.lane.running == 1)
        assert pool.executor.submit(fake(lambda task: seen.append("other")))
        assert not pool.executor.submit(fake())
        begin.set()
        await eventually(lambda: len(seen) == 4)
        assert await pool.stop(WAIT)

    run("asyncio", main)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_what_a_task_raises_costs_nothing(
    build: Backend, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        pool = make_pool(build, 1)
        fake, narrow = task_class(build), lane(build, pool, 1)
        done = threading.Event()

        def fail(task: Any) -> None:
            raise error

        narrow.submit(fake(fail))
        narrow.submit(fake(lambda task: done.set()))
        assert await asyncio.to_thread(done.wait, WAIT)
        assert await pool.stop(WAIT)
        assert pool.threads == 0

    run("asyncio", main)
    assert "failed in its thread" in caplog.text


def test_messages_go_past_it(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 2)
        fake, narrow = task_class(build), lane(build, pool, 1)
        stepped: list[Any] = []
        for send in (narrow.post, narrow.defer):
            narrow.submit(fake(lambda task, send=send: send(task), stepped.append))
        # What is deferred wakes nobody.
        await eventually(lambda: narrow.drain() or len(stepped) == 2)
        assert not narrow.crowded()
        assert await pool.stop(WAIT)

    run("asyncio", main)


@pytest.mark.parametrize("waiting", [0, 3])
def test_a_thread_that_is_lost_leaves_its_place(build: Backend, waiting: int) -> None:
    """Another one works on, and the lost one ends when it comes back."""

    async def main() -> None:
        pool = make_pool(build, 2)
        fake, narrow = task_class(build), lane(build, pool, 1)
        gate = threading.Event()
        seen: list[int] = []
        stuck = fake(lambda task: gate.wait(WAIT))
        stuck.since, stuck.time_limit, stuck.stream = 100.0, 30.0, None
        assert narrow.submit(stuck)
        await eventually(lambda: pool.number_of(stuck) is not None)
        for number in range(waiting):
            assert narrow.submit(fake(lambda task, number=number: seen.append(number)))
        (lost,) = pool.look_for_lost(1000.0)
        assert lost.task is stuck
        assert "wait" in lost.stack
        assert narrow.submit(fake(lambda task: seen.append(9)))
        await eventually(lambda: seen == [*range(waiting), 9])
        assert pool.lost == 1
        gate.set()
        await eventually(lambda: pool.lost == 0)
        assert narrow.submit(fake(lambda task: seen.append(10)))
        await eventually(lambda: seen[-1] == 10)
        await eventually(lambda: narrow.lane.running == 0)
        assert not narrow.lane.give_up(threading.get_ident(), stuck)
        assert await pool.stop(WAIT)

    run("asyncio", main)
