"""ThreadPool: the queue and its limit, messages to the loop in order and in batches, nothing lost, stopping."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import pytest

from gateway.backend import Backend
from gateway.core.wsgi.executor import STEPS_PER_TURN
from gateway.server.threads import LOST_TIME, MOST_LOST, ThreadPool

from .aio import LOOPS, WAIT, eventually, run

log = logging.getLogger("tests.threads")


def task_class(build: Backend) -> Any:
    base = build.module("kernels.base")

    class FakeTask(base.Task):  # type: ignore[misc, name-defined]
        def __init__(self, work: Any = None, report: Any = None) -> None:
            self.work = work
            self.report = report

        def run(self) -> int:
            if self.work is not None:
                self.work(self)
            return 0

        def step(self) -> int:
            if self.report is not None:
                self.report(self)
            return 0

    return FakeTask


def make_pool(build: Backend, threads: int, limit: int = 0, **options: Any) -> Any:
    pool = ThreadPool(build, asyncio.get_running_loop(), threads, limit, log=log, **options)
    pool.start()
    return pool


@pytest.mark.parametrize("loop", LOOPS)
def test_work_runs_in_named_threads_and_reports_on_the_loop(build: Backend, loop: str) -> None:
    async def main() -> None:
        pool = make_pool(build, 2)
        fake = task_class(build)
        here = threading.current_thread()
        ran: list[threading.Thread] = []
        stepped: list[threading.Thread] = []

        def work(task: Any) -> None:
            ran.append(threading.current_thread())
            pool.executor.post(task)

        for _ in range(20):
            assert pool.executor.submit(fake(work, lambda task: stepped.append(threading.current_thread())))
        await eventually(lambda: len(stepped) == 20)
        assert set(stepped) == {here}
        assert {thread.name for thread in ran} <= {"gateway-thread-1", "gateway-thread-2"}
        assert all(thread.daemon for thread in ran)
        assert await pool.stop(WAIT)
        assert pool.threads == 0

    run(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_posts_keep_their_order_and_none_is_lost(build: Backend, loop: str) -> None:
    async def main() -> None:
        pool = make_pool(build, 4)
        fake = task_class(build)
        count = 5000
        seen: dict[int, list[int]] = {number: [] for number in range(4)}

        class Numbered:
            def __init__(self, thread: int, number: int) -> None:
                self.task = fake(None, lambda task: seen[thread].append(number))

        def poster(thread: int) -> Any:
            def work(task: Any) -> None:
                for number in range(count):
                    pool.executor.post(Numbered(thread, number).task)

            return work

        for thread in range(4):
            pool.executor.submit(fake(poster(thread)))
        await eventually(lambda: all(len(numbers) == count for numbers in seen.values()))
        assert all(numbers == list(range(count)) for numbers in seen.values())
        await pool.stop(WAIT)

    run(loop, main)


def test_a_flood_of_posts_leaves_the_loop_its_turns(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 1)
        steps = 0
        between: list[int] = []

        def report(task: Any) -> None:
            nonlocal steps
            steps += 1

        task = task_class(build)(None, report)
        for _ in range(STEPS_PER_TURN * 3):
            pool.executor.post(task)
        while steps < STEPS_PER_TURN * 3:
            await asyncio.sleep(0)
            between.append(steps)
        assert between.count(STEPS_PER_TURN) == 1
        assert STEPS_PER_TURN * 2 in between
        await pool.stop(WAIT)

    run("asyncio", main)


def test_a_withdrawn_task_takes_no_place(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 1, limit=2)
        fake = task_class(build)
        go = threading.Event()
        assert pool.executor.submit(fake(lambda task: go.wait(WAIT)))
        await eventually(lambda: pool.busy == 1)
        waiting = [fake(), fake()]
        assert [pool.executor.submit(task) for task in waiting] == [True, True]
        assert not pool.executor.submit(fake())
        pool.executor.withdraw(waiting[0])
        assert pool.queued == 1
        assert pool.executor.submit(fake())
        go.set()
        await eventually(lambda: pool.queued == 0 and pool.busy == 0)
        assert [pool.executor.submit(fake()) for _ in range(2)] == [True, True]
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_the_limit_counts_what_no_idle_thread_will_take(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 2, limit=3)
        fake = task_class(build)
        go = threading.Event()
        accepted = [pool.executor.submit(fake(lambda task: go.wait(WAIT))) for _ in range(2)]
        await eventually(lambda: pool.busy == 2)
        accepted += [pool.executor.submit(fake()) for _ in range(3)]
        assert accepted == [True] * 5
        assert pool.queued == 3
        assert not pool.executor.submit(fake())
        go.set()
        await eventually(lambda: pool.queued == 0)
        assert pool.executor.submit(fake())
        assert await pool.stop(WAIT)
        assert not pool.executor.submit(fake()), "a pool that stops takes nothing"

    run("asyncio", main)


def test_exceptions_are_logged_and_cost_no_thread(build: Backend, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = make_pool(build, 1)
        fake = task_class(build)
        done: list[bool] = []

        def fails(task: Any) -> None:
            raise SystemExit("out of run")

        def report_fails(task: Any) -> None:
            raise ValueError("out of step")

        pool.executor.submit(fake(fails))
        pool.executor.post(fake(None, report_fails))
        pool.executor.post(fake(None, lambda task: done.append(True)))
        pool.executor.submit(fake(lambda task: done.append(True)))
        await eventually(lambda: len(done) == 2)
        assert pool.threads == 1
        assert await pool.stop(WAIT)

    run("asyncio", main)
    assert "out of run" in caplog.text
    assert "out of step" in caplog.text


def test_lost_threads_are_replaced_and_counted(build: Backend) -> None:
    async def main() -> None:
        reasons: list[str] = []
        pool = make_pool(build, 2, worn=reasons.append)
        fake = task_class(build)
        gate = threading.Event()

        def stuck(since: float, stream: Any = None) -> Any:
            task = fake(lambda task: gate.wait(30))
            task.since, task.time_limit, task.stream = since, 30.0, stream
            assert pool.executor.submit(task)
            return task

        # One within its time, one whose response may still come.
        stuck(100.0)
        stuck(10.0, object())
        await eventually(lambda: pool.busy == 2)
        assert pool.look_for_lost(130.0 + LOST_TIME - 0.1) == []
        (lost,) = pool.look_for_lost(130.0 + LOST_TIME)
        assert lost.name.startswith("gateway-thread-") and lost.age == 30.0 + LOST_TIME and "wait" in lost.stack
        assert (pool.lost, pool.busy, pool.threads) == (1, 1, 2)
        assert reasons == ["1 threads are lost to requests that do not end (--request-timeout), of 2"]
        done: list[bool] = []
        assert pool.executor.submit(fake(lambda task: done.append(True)))
        await eventually(lambda: done)
        # There is an end to it.
        for number in range(MOST_LOST * 2 - 1):
            stuck(10.0)
            await eventually(lambda: pool.busy == 2)
            assert len(pool.look_for_lost(1000.0)) == 1
            assert pool.lost == number + 2
        stuck(10.0)
        await eventually(lambda: pool.busy == 2)
        assert pool.look_for_lost(1000.0) == []
        assert len(reasons) == 1
        gate.set()
        await eventually(lambda: pool.lost == 0)
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_stopping_does_not_wait_for_ever(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 1)
        go = threading.Event()
        stepped: list[bool] = []
        fake = task_class(build)

        def work(task: Any) -> None:
            go.wait(WAIT)
            pool.executor.post(task)

        pool.executor.submit(fake(work, lambda task: stepped.append(True)))
        assert not await pool.stop(0.05)
        go.set()
        await eventually(lambda: stepped)
        assert await pool.stop(WAIT)

    run("asyncio", main)


def test_posting_after_the_loop_has_closed_is_no_error(build: Backend) -> None:
    pools: list[Any] = []

    async def main() -> None:
        pools.append(make_pool(build, 1))
        await pools[0].stop(WAIT)

    run("asyncio", main)
    assert pools[0].executor.post(task_class(build)()) == 0


def test_what_is_deferred_wakes_nobody_and_is_not_lost(build: Backend) -> None:
    async def main() -> None:
        pool = make_pool(build, 1)
        fake = task_class(build)
        stepped: list[str] = []
        done = threading.Event()

        def work(task: Any) -> None:
            pool.executor.defer(task)
            done.set()

        pool.executor.submit(fake(work, lambda task: stepped.append("deferred")))
        assert await asyncio.get_running_loop().run_in_executor(None, done.wait, WAIT)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not stepped
        assert not pool.executor.crowded()
        # In order, with the first that wakes the loop.
        pool.executor.post(fake(None, lambda task: stepped.append("posted")))
        assert pool.executor.crowded()
        await eventually(lambda: stepped == ["deferred", "posted"])
        assert not pool.executor.crowded()
        pool.executor.defer(fake(None, lambda task: stepped.append("by hand")))
        pool.drain()
        assert stepped[-1] == "by hand"
        pool.executor.defer(fake(None, lambda task: stepped.append("at the end")))
        assert await pool.stop(WAIT)
        assert stepped[-1] == "at the end"

    run("asyncio", main)


def test_the_switch_interval_beside_other_applications(build: Backend) -> None:
    async def main() -> None:
        before = sys.getswitchinterval()
        pool = make_pool(build, 1, switch_interval=0.001, part_time=True)
        pool.tick()
        assert sys.getswitchinterval() == pytest.approx(before)
        started, finish = threading.Event(), threading.Event()

        def work(task: Any) -> None:
            started.set()
            finish.wait(WAIT)

        assert pool.executor.submit(task_class(build)(work))
        pool.tick()
        assert sys.getswitchinterval() == pytest.approx(0.001), "it has come since the last time"
        assert started.wait(WAIT)
        pool.tick()
        assert sys.getswitchinterval() == pytest.approx(0.001), "it runs"
        finish.set()
        await eventually(lambda: not pool.busy)
        pool.tick()
        assert sys.getswitchinterval() == pytest.approx(before)
        assert pool.executor.submit(task_class(build)())
        pool.tick()
        assert await pool.stop(WAIT)
        pool.tick()
        assert sys.getswitchinterval() == pytest.approx(before)

    run("asyncio", main)


def test_the_switch_interval_is_the_pool_s_while_it_runs(build: Backend) -> None:
    async def main() -> None:
        before = sys.getswitchinterval()
        pool = make_pool(build, 1, switch_interval=0.001)
        assert sys.getswitchinterval() == pytest.approx(0.001)
        assert await pool.stop(WAIT)
        assert sys.getswitchinterval() == pytest.approx(before)

    run("asyncio", main)


def test_a_pool_needs_a_thread(build: Backend) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="at least one"):
            make_pool(build, 0)

    run("asyncio", main)
