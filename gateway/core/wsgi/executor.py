"""Where tasks run, and how they come back to the loop: in threads, in a share of the threads, or at once.

What a thread has to say is posted, and said on the loop by `drain`. Most of it is urgent, so the loop is woken,
once however many threads post. That a response is complete which the thread has sent itself is not: it is deferred
until the loop comes by, which it does with the next bytes from any client, and at the latest with the next tick.
"""

from threading import get_ident
from typing import Any

from ..kernels.base import Executor, Task
from ..kernels.queue import Mailbox, Mutex, WorkQueue

# Messages handled in one turn of the loop, so that sockets and timers get theirs.
STEPS_PER_TURN = 128


class ThreadExecutor(Executor):
    """Runs tasks in the threads that serve `queue`. `submitted` counts them.

    `wake()` is called from any thread, and has `drain` called on the loop's thread soon. `log` is a
    `logging.Logger`.
    """

    __slots__ = ("log", "posted", "queue", "submitted", "wake", "woken")

    def __init__(self, queue: WorkQueue, wake: Any, log: Any) -> None:
        self.queue = queue
        self.wake = wake
        self.log = log
        self.posted = Mailbox()
        self.submitted = 0
        self.woken = False

    def submit(self, task: Task) -> bool:
        self.submitted += 1
        return self.queue.push(task)

    def withdraw(self, task: Task) -> int:
        self.queue.remove(task)
        return 0

    def post(self, task: Task) -> int:
        self.posted.put(task)
        # Read after the put, and cleared by the loop before it takes: a task is seen by the emptying that runs, or
        # wakes the next one. Two threads that both see False wake the loop twice, which is harmless.
        if not self.woken:
            self.woken = True
            self.wake()
        return 0

    def defer(self, task: Task) -> int:
        self.posted.put(task)
        return 0

    def crowded(self) -> bool:
        return self.woken or self.queue.waiting()

    def drain(self) -> int:
        self.woken = False
        posted = self.posted
        for _ in range(STEPS_PER_TURN):
            task = posted.take()
            if task is None:
                return 0
            try:
                task.step()
            except Exception:
                self.log.exception("Internal error: a step of %r failed", task)
        if not self.woken:
            self.woken = True
            self.wake()
        return 0


class Lane(Task):
    """Tasks that get at most `width` of the threads of `queue`; here up to `limit` (0: any number) wait for them.

    Theory of operation. The lane itself is what is queued, once for each thread that it may have and has use for. A
    thread that takes it runs the first of its tasks, then queues it again if there are more: so the tasks of others,
    which came in between, are not kept waiting.
    """

    __slots__ = ("_current", "_lock", "_taken", "_tasks", "limit", "log", "queue", "running", "width")

    def __init__(self, queue: WorkQueue, width: int, limit: int, log: Any) -> None:
        self.queue = queue
        self.width = width
        self.limit = limit
        self.log = log
        # Threads that run a task of this lane.
        self.running = 0
        self._tasks = Mailbox()
        # What they run, by the numbers that Python has for threads.
        self._current: dict = {}
        # How often the lane is in the queue, and in a thread.
        self._taken = 0
        # Guards what is above.
        self._lock = Mutex()

    def push(self, task: Task) -> bool:
        """On the loop: have `task` run. False when too many are waiting, or the threads are no more."""
        with self._lock:
            waiting = len(self._tasks)
            if self.limit and waiting >= self.limit and waiting >= self.limit + self.width - self.running:
                return False
            if self._taken < self.width:
                if not self.queue.push(self):
                    return False
                self._taken += 1
            self._tasks.put(task)
        return True

    def remove(self, task: Task) -> bool:
        """On the loop: take `task` out again. False when a thread has it already."""
        with self._lock:
            return self._tasks.remove(task)

    def task_of(self, thread: object) -> Task | None:
        """The task that a thread runs, which has this lane for its task; None between two."""
        task: Task | None = self._current.get(thread)
        return task

    def give_up(self, thread: object, task: Task) -> bool:
        """On the loop: another thread is to have the place of one that runs `task`. False if that is over."""
        with self._lock:
            if self._current.get(thread) is not task:
                return False
            del self._current[thread]
            self.running -= 1
            if len(self._tasks) == 0 or not self.queue.push(self):
                self._taken -= 1
        return True

    def run(self) -> int:
        while self._run_one():
            with self._lock:
                # Where it can't be queued this thread goes on: what waits here has a right to one.
                if self.queue.push(self):
                    return 0
        return 0

    def _run_one(self) -> bool:
        """Run the first task. False when the thread has nothing more to do here."""
        task = None
        more = False
        thread = get_ident()
        with self._lock:
            task = self._tasks.take()
            if task is None:
                self._taken -= 1
                return False
            self._current[thread] = task
            self.running += 1
        try:
            task.run()
        except BaseException:
            self.log.exception("Internal error: %r failed in its thread", task)
        with self._lock:
            if self._current.get(thread) is not task:
                # It was given up.
                return False
            del self._current[thread]
            self.running -= 1
            more = len(self._tasks) > 0
            if not more:
                self._taken -= 1
        return more


class LaneExecutor(Executor):
    """Runs tasks in the threads of `executor`, but no more than `width` at a time; `limit` may wait for that."""

    __slots__ = ("executor", "lane")

    def __init__(self, executor: ThreadExecutor, width: int, limit: int) -> None:
        self.executor = executor
        self.lane = Lane(executor.queue, width, limit, executor.log)

    def submit(self, task: Task) -> bool:
        self.executor.submitted += 1
        return self.lane.push(task)

    def withdraw(self, task: Task) -> int:
        self.lane.remove(task)
        return 0

    def post(self, task: Task) -> int:
        return self.executor.post(task)

    def defer(self, task: Task) -> int:
        return self.executor.defer(task)

    def crowded(self) -> bool:
        return self.executor.crowded()

    def drain(self) -> int:
        return self.executor.drain()


class InlineExecutor(Executor):
    """Runs tasks on the loop's thread, as soon as they are submitted."""

    __slots__ = ("log",)

    def __init__(self, log: Any) -> None:
        self.log = log

    def submit(self, task: Task) -> bool:
        try:
            task.run()
        except Exception:
            self.log.exception("Internal error: %r failed", task)
        return True

    def withdraw(self, task: Task) -> int:
        return 0

    def post(self, task: Task) -> int:
        try:
            task.step()
        except Exception:
            self.log.exception("Internal error: a step of %r failed", task)
        return 0

    def defer(self, task: Task) -> int:
        return self.post(task)

    def crowded(self) -> bool:
        return False

    def drain(self) -> int:
        return 0
