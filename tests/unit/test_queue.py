"""WorkQueue and Mutex: order, the limit, sleeping and waking, nothing lost under load."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway.backend import Backend

TIMEOUT = 30.0

log = logging.getLogger("tests.queue")


def task_class(build: Backend) -> Any:
    class Work(build.module("kernels.base").Task):  # type: ignore[misc, name-defined]
        def __init__(self, work: Callable[[], object] = lambda: None) -> None:
            self.work = work

        def run(self) -> int:
            self.work()
            return 0

    return Work


class Crew:
    """The threads of one queue. Leaving the block closes the queue and waits for them."""

    def __init__(self, build: Backend, threads: int, limit: int = 0) -> None:
        self.queue = build.module("kernels.queue").WorkQueue(threads, limit)
        self.threads = [
            threading.Thread(target=self.queue.serve, args=(number, log), daemon=True) for number in range(threads)
        ]

    def __enter__(self) -> Any:
        for thread in self.threads:
            thread.start()
        return self.queue

    def __exit__(self, *exception: object) -> None:
        self.queue.close()
        for thread in self.threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), "a thread sleeps on"


def test_a_thread_that_does_not_come_back_is_replaced(build: Backend) -> None:
    work = task_class(build)
    gate, inside, done = threading.Event(), threading.Event(), threading.Event()
    codes: list[int] = []

    def stand() -> None:
        inside.set()
        gate.wait(TIMEOUT)

    with Crew(build, 1) as queue:
        assert queue.running(0) is None
        assert not queue.replace(0), "it waits for work"
        stuck = work(stand)
        assert queue.push(stuck)
        assert inside.wait(TIMEOUT)
        assert queue.running(0) is stuck
        assert queue.busy == 1
        assert queue.replace(0)
        assert (queue.busy, queue.running(0)) == (0, None)
        assert not queue.replace(0)
        other = threading.Thread(target=lambda: codes.append(queue.serve(0, log)), daemon=True)
        other.start()
        # The first one comes back and touches nothing of the second's.
        again = threading.Event()
        assert queue.push(work(lambda: done.set() and again.wait(TIMEOUT)))
        assert done.wait(TIMEOUT)
        gate.set()
        again.set()
        finished = threading.Event()
        assert queue.push(work(finished.set))
        assert finished.wait(TIMEOUT)
    other.join(TIMEOUT)
    assert codes == [0]
    assert queue.busy == 0


def test_who_was_replaced_is_told(build: Backend) -> None:
    work = task_class(build)
    gate, inside = threading.Event(), threading.Event()
    codes: list[int] = []
    queue = build.module("kernels.queue").WorkQueue(2, 0)
    thread = threading.Thread(target=lambda: codes.append(queue.serve(1, log)), daemon=True)
    thread.start()
    assert queue.push(work(lambda: inside.set() or gate.wait(TIMEOUT)))
    assert inside.wait(TIMEOUT)
    assert queue.replace(1)
    gate.set()
    thread.join(TIMEOUT)
    assert codes == [1]
    assert queue.busy == 0
    queue.close()


@pytest.mark.parametrize("number", [-1, 2])
def test_there_is_no_such_thread(compiled: Backend, number: int) -> None:
    queue = compiled.module("kernels.queue").WorkQueue(2, 0)
    for call in (queue.running, queue.replace, lambda number: queue.serve(number, log)):
        with pytest.raises(ValueError, match="no such thread"):
            call(number)


def test_one_thread_keeps_the_order(build: Backend) -> None:
    done: list[int] = []
    work = task_class(build)
    with Crew(build, 1) as queue:
        for number in range(200):
            assert queue.push(work(lambda number=number: done.append(number)))
    assert done == list(range(200))


def test_tasks_that_wait_for_each_other_get_a_thread_each(build: Backend) -> None:
    barrier = threading.Barrier(4)
    work = task_class(build)
    with Crew(build, 4) as queue:
        for _ in range(4):
            queue.push(work(lambda: barrier.wait(TIMEOUT)))
    assert not barrier.broken


def test_nothing_is_lost_and_nobody_sleeps_on(build: Backend) -> None:
    count = 20_000
    work = task_class(build)
    done: list[None] = []
    every = work(lambda: done.append(None))
    with Crew(build, 4) as queue:
        for number in range(count):
            assert queue.push(every)
            if number % 100 == 0:
                # So that threads fall asleep now and then.
                reached = threading.Event()
                queue.push(work(reached.set))
                assert reached.wait(TIMEOUT)
    assert len(done) == count
    assert queue.queued == 0
    assert queue.busy == 0


def test_the_limit_counts_what_no_idle_thread_will_take(build: Backend) -> None:
    go = threading.Event()
    began = threading.Semaphore(0)
    work = task_class(build)

    def block() -> None:
        began.release()
        go.wait(TIMEOUT)

    with Crew(build, 2, limit=2) as queue:
        for _ in range(2):
            assert queue.push(work(block))
        for _ in range(2):
            assert began.acquire(timeout=TIMEOUT)
        assert (queue.busy, queue.queued, queue.waiting()) == (2, 0, False)
        waiting = [work(), work()]
        assert [queue.push(task) for task in waiting] == [True, True]
        assert queue.waiting()
        assert not queue.push(work())
        assert queue.remove(waiting[0])
        assert not queue.remove(waiting[0])
        assert queue.push(work())
        go.set()
    assert not queue.push(work()), "a closed queue takes nothing"


def test_exceptions_are_logged_and_cost_no_thread(build: Backend, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    work = task_class(build)

    def fail() -> None:
        raise SystemExit("out of a task")

    with Crew(build, 1) as queue:
        queue.push(work(fail))
        queue.push(work(done.set))
        assert done.wait(TIMEOUT)
    assert "out of a task" in caplog.text


def test_what_was_queued_is_done_before_the_end(build: Backend) -> None:
    done: list[int] = []
    work = task_class(build)
    crew = Crew(build, 2)
    for number in range(50):
        crew.queue.push(work(lambda number=number: done.append(number)))
    with crew:
        pass
    assert sorted(done) == list(range(50))


def test_a_queue_has_threads(build: Backend) -> None:
    make = build.module("kernels.queue").WorkQueue
    with pytest.raises(ValueError, match="at least one"):
        make(0, 0)


class TestMutex:
    def test_one_at_a_time(self, build: Backend) -> None:
        mutex = build.module("kernels.queue").Mutex()
        total = 0

        def add() -> None:
            nonlocal total
            for _ in range(2000):
                with mutex:
                    now = total
                    # A call, where another thread may get its turn.
                    str(now)
                    total = now + 1

        threads = [threading.Thread(target=add, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert total == 8000

    def test_a_second_taker_waits(self, build: Backend) -> None:
        mutex = build.module("kernels.queue").Mutex()
        taken = threading.Event()
        mutex.acquire()

        def take() -> None:
            mutex.acquire()
            taken.set()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        assert not taken.wait(0.05)
        mutex.release()
        assert taken.wait(TIMEOUT)
        mutex.release()

    def test_releasing_what_is_not_held(self, build: Backend) -> None:
        mutex = build.module("kernels.queue").Mutex()
        with pytest.raises(RuntimeError):
            mutex.release()


class TestMailbox:
    def test_first_in_first_out_while_it_grows(self, build: Backend) -> None:
        box = build.module("kernels.queue").Mailbox()
        work = task_class(build)
        waiting: list[Any] = []
        for number in range(1000):
            task = work()
            box.put(task)
            waiting.append(task)
            if number % 3 == 0:
                assert box.take() is waiting.pop(0)
        assert len(box) == len(waiting)
        while waiting:
            assert box.take() is waiting.pop(0)
        assert box.take() is None

    def test_one_can_be_taken_out_of_the_middle(self, build: Backend) -> None:
        box = build.module("kernels.queue").Mailbox()
        work = task_class(build)
        for _ in range(60):
            box.put(work())
        for _ in range(60):
            box.take()
        # Over the end of the ring.
        tasks = [work() for _ in range(20)]
        for task in tasks:
            box.put(task)
        for index in (10, 0, -1):
            assert box.remove(tasks[index])
            assert not box.remove(tasks.pop(index))
        assert len(box) == 17
        assert [box.take() for _ in range(17)] == tasks

    def test_what_is_left_in_it_is_freed(self, build: Backend) -> None:
        freed: list[bool] = []

        class Mark:
            def __del__(self) -> None:
                freed.append(True)

        box = build.module("kernels.queue").Mailbox()
        mark = Mark()
        box.put(task_class(build)(lambda mark=mark: None))
        del mark, box
        assert freed == [True]
