"""Where tasks run, and how they come back to the loop: in threads, or at once.

What a thread has to say is posted, and said on the loop by `drain`. Most of it is urgent, so the loop is woken,
once however many threads post. That a response is complete which the thread has sent itself is not: it is deferred
until the loop comes by, which it does with the next bytes from any client, and at the latest with the next tick.
"""

from typing import Any

from ..kernels.base import Executor, Task
from ..kernels.queue import Mailbox, WorkQueue

# Messages handled in one turn of the loop, so that sockets and timers get theirs.
STEPS_PER_TURN = 128


class ThreadExecutor(Executor):
    """Runs tasks in the threads that serve `queue`.

    `wake()` is called from any thread, and has `drain` called on the loop's thread soon. `log` is a
    `logging.Logger`.
    """

    __slots__ = ("log", "posted", "queue", "wake", "woken")

    def __init__(self, queue: WorkQueue, wake: Any, log: Any) -> None:
        self.queue = queue
        self.wake = wake
        self.log = log
        self.posted = Mailbox()
        self.woken = False

    def submit(self, task: Task) -> bool:
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
