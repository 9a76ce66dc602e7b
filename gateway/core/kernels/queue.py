"""WorkQueue: tasks on their way from the loop to threads. Mailbox: their messages on the way back. Mutex: their lock.

Theory of operation. Every thread has a lock of its own to sleep on, so that a push wakes one thread and no other.
At most one woken thread is on its way at a time; when it takes a task and leaves others behind, it wakes the next one
before it begins. So a batch of short tasks is done by a thread or two, one after the other, while tasks that block
get as many threads as there are.

A thread that does not come back from its task can be replaced: another one takes its number, and it ends when it does
come back.

The compiled twin needs no lock around its own state: it runs under the GIL, and gives that up only where a thread
sleeps. A thread that finds a task takes it without having let go of the GIL since the task before.
"""

from collections import deque
from threading import Lock

from .base import Task


class Mutex:
    """A lock, not reentrant. The compiled twin is without a Python call around it."""

    __slots__ = ("_lock",)

    def __new__(cls) -> "Mutex":
        self = object.__new__(cls)
        self._lock = Lock()
        return self

    def acquire(self) -> int:
        """Wait for the lock and take it. Returns 0."""
        self._lock.acquire()
        return 0

    def release(self) -> int:
        """Give the lock back. Returns 0. Raises RuntimeError if it is not held."""
        self._lock.release()
        return 0

    def open(self) -> int:
        """The same for a lock that a thread waits for, which gets the GIL with it. Returns 0."""
        return self.release()

    def __enter__(self) -> "Mutex":
        self._lock.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


class Mailbox:
    """Tasks that any thread puts in and the loop's thread takes out, first in, first out; no limit of its own."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    def __len__(self) -> int:
        return len(self._tasks)

    def put(self, task: Task) -> int:
        """Put `task` in. Returns 0."""
        self._tasks.append(task)
        return 0

    def take(self) -> Task | None:
        """The one that has been there longest, None if there is none."""
        return self._tasks.popleft() if self._tasks else None

    def remove(self, task: Task) -> bool:
        """Take `task` out, wherever it stands. False if it is not there."""
        try:
            self._tasks.remove(task)
        except ValueError:
            return False
        return True


class WorkQueue:
    """At most `limit` tasks (0: no limit) that wait for one of `threads` threads, first come first served.

    Only the loop's thread calls `push`, `remove` and `close`; a task may call `push` where it runs. `queued` is the
    number of tasks that no thread has taken, `busy` that of the threads that are running one. Raises ValueError for
    less than one thread.
    """

    __slots__ = (
        "_closed",
        "_idle",
        "_lock",
        "_running",
        "_sleep",
        "_tasks",
        "_turns",
        "_waking",
        "_woken",
        "busy",
        "limit",
        "threads",
    )

    def __init__(self, threads: int, limit: int) -> None:
        if threads < 1:
            raise ValueError("a queue needs at least one thread")
        self.threads = threads
        self.limit = limit
        self.busy = 0
        self._tasks = Mailbox()
        self._closed = False
        # Guards what is below and the above.
        self._lock = Lock()
        # What each thread sleeps on: held, but for the moment of its waking.
        self._sleep = [Lock() for _ in range(threads)]
        for lock in self._sleep:
            lock.acquire()
        # Threads that sleep; the last to fall asleep is woken first, its memory is still in the cache.
        self._idle: list[int] = []
        # The number of threads that were woken and have not looked yet, and which they are.
        self._waking = 0
        self._woken = [False] * threads
        # What each thread runs, and how often it was replaced.
        self._running: list[Task | None] = [None] * threads
        self._turns = [0] * threads

    @property
    def queued(self) -> int:
        return len(self._tasks)

    def waiting(self) -> bool:
        """Whether there are tasks that no thread has taken."""
        return bool(self._tasks)

    def push(self, task: Task) -> bool:
        """Queue `task`. False when the queue is closed, or full with no thread left that would take it at once."""
        with self._lock:
            waiting = len(self._tasks)
            full = self.limit and waiting >= self.limit and waiting >= self.limit + self.threads - self.busy
            if self._closed or full:
                return False
            self._tasks.put(task)
            self._wake_one()
        return True

    def remove(self, task: Task) -> bool:
        """Take `task` out again. False when a thread has it already."""
        with self._lock:
            return self._tasks.remove(task)

    def close(self) -> int:
        """Take no more tasks, and let each thread end once the queue is empty. Returns 0."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._wake()
        return 0

    def serve(self, number: int, log: object) -> int:
        """Run tasks in the calling thread, number `number` of those from 0, until the queue is closed.

        Returns 0, or 1 when another thread was given the number. What a task raises goes to `log`, a `logging.Logger`:
        even SystemExit, which would silently cost a thread.
        """
        turn = self._turns[number]
        while True:
            task = self._take(number)
            if task is None:
                return 0
            try:
                task.run()
            except BaseException:
                log.exception("Internal error: %r failed in its thread", task)
            # A thread that sleeps must not keep the last request alive.
            task = None
            with self._lock:
                if self._turns[number] != turn:
                    return 1
                self._running[number] = None
                self.busy -= 1

    def running(self, number: int) -> Task | None:
        """The task that thread `number` runs, None if it runs none."""
        return self._running[number]

    def replace(self, number: int) -> bool:
        """Let another thread call `serve` with this number, in place of one that runs a task. False if it runs none."""
        with self._lock:
            if self._running[number] is None:
                return False
            self._running[number] = None
            self._turns[number] += 1
            self.busy -= 1
        return True

    def _take(self, number: int) -> Task | None:
        while True:
            with self._lock:
                if self._woken[number]:
                    self._woken[number] = False
                    self._waking -= 1
                task = self._tasks.take()
                if task is not None:
                    self.busy += 1
                    self._running[number] = task
                    if self._tasks:
                        self._wake_one()
                    return task
                if self._closed:
                    return None
                self._idle.append(number)
            self._sleep[number].acquire()

    def _wake_one(self) -> None:
        if self._idle and not self._waking:
            self._wake()

    def _wake(self) -> None:
        number = self._idle.pop()
        self._woken[number] = True
        self._waking += 1
        self._sleep[number].release()
