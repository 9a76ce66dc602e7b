"""ThreadPool: where blocking application code runs, and how it reports to the loop.

A fixed number of threads takes work from one queue (`core.kernels.queue`); the loop's thread is the only one that puts
work there. What the threads have to say comes back through an executor (`core.wsgi.executor`), which the loop empties.

The threads are daemons: an application stuck in a system call must not keep the process from ending.

A thread can't be ended from outside. One that works on for a request whose response was taken back is *lost*: it is
counted, another one takes its place in the queue, and it ends when it comes back.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from logging import Logger
from typing import Any, NamedTuple

from ..backend import Backend
from .stacks import thread_stack

LOST_TIME = 1.0
"""Seconds a thread gets to notice that its request was taken back, before it counts as lost."""

LOST_PART = 2
"""With one thread lost out of so many, the process wants to be replaced."""

MOST_LOST = 4
"""For each thread there is, so many may be lost; more are not given a successor."""


class LostThread(NamedTuple):
    """A thread that was given up: its name, what it runs, the age of that request in seconds, its stack."""

    name: str
    task: Any
    age: float
    stack: str


class ThreadPool:
    """`threads` threads and a queue of at most `limit` waiting tasks (0: no limit).

    `executor` is what a handler submits tasks to. `loop` is where they make their steps; `log` gets what a task
    raises although it must not. `switch_interval`: seconds after which a thread lets others have the interpreter,
    while the pool is there and for all of the process; 0 leaves it as it is. `part_time`: only while the pool has work,
    since there are other applications in the process, whose threads would pay for it. `worn` is called once, on the
    loop, with the reason why the process should be replaced: too many threads are lost. Raises ValueError for less than
    one thread.
    """

    def __init__(
        self,
        backend: Backend,
        loop: asyncio.AbstractEventLoop,
        threads: int,
        limit: int = 0,
        *,
        switch_interval: float = 0.0,
        part_time: bool = False,
        worn: Callable[[str], object] | None = None,
        log: Logger,
    ) -> None:
        self.loop = loop
        self.size = threads
        self.log = log
        self.lost = 0
        """Threads that work on for requests that were taken back."""
        self._worn = worn
        self._work: Any = backend.module("kernels.queue").WorkQueue(threads, limit)
        self.executor: Any = backend.module("wsgi.executor").ThreadExecutor(self._work, self._wake, log)
        self._lane_class: Any = backend.module("wsgi.executor").Lane
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._switch_interval = switch_interval
        self._switched_from = 0.0
        self._switched = False
        self._part_time = part_time
        self._submitted = 0
        self._stopping = False
        self._stopped = asyncio.Event()
        # Not the context of whoever posts, which is some request's.
        self._context = contextvars.copy_context()

    def start(self) -> None:
        """Start the threads."""
        self._running = self.size
        if self._switch_interval:
            self._switched_from = sys.getswitchinterval()
            sys.setswitchinterval(self._switch_interval)
            self._switched = True
        for number in range(self.size):
            self._threads.append(self._thread(number))
            self._threads[number].start()

    def _thread(self, number: int) -> threading.Thread:
        return threading.Thread(target=self._serve, args=(number,), name=f"gateway-thread-{number + 1}", daemon=True)

    def drain(self) -> None:
        """On the loop: make the steps that tasks have asked for."""
        self.executor.drain()

    def tick(self) -> None:
        """On the loop, now and then: what can wait."""
        self.drain()
        if self._part_time and self._switched_from and not self._stopping:
            submitted = self.executor.submitted
            works = submitted != self._submitted or self.busy > 0
            self._submitted = submitted
            if works != self._switched:
                self._switched = works
                sys.setswitchinterval(self._switch_interval if works else self._switched_from)

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self.executor.drain, context=self._context)
        except RuntimeError:
            # The loop is closed, and with it every connection a task could report to.
            self.executor.woken = False

    def _serve(self, number: int) -> None:
        replaced = self._work.serve(number, self.log)
        try:
            self.loop.call_soon_threadsafe(self._found if replaced else self._left)
        except RuntimeError:
            pass

    def _found(self) -> None:
        self.lost -= 1
        self.log.info("A thread that was lost has come back, and ended; %d are lost", self.lost)

    # Threads that are stuck

    def running(self) -> list[tuple[int, Any]]:
        """The number of each thread that runs a task, and the task."""
        numbered = ((number, self._task_of(number)) for number in range(self.size))
        return [(number, task) for number, task in numbered if task is not None]

    def current(self) -> Any:
        """The task that the calling thread runs, or None."""
        ident = threading.get_ident()
        numbers = (number for number in range(self.size) if self._threads[number].ident == ident)
        return next((self._task_of(number) for number in numbers), None)

    def _task_of(self, number: int) -> Any:
        task = self._work.running(number)
        return task.task_of(self._threads[number].ident) if isinstance(task, self._lane_class) else task

    def number_of(self, task: Any) -> int | None:
        """The number of the thread that runs `task`, or None."""
        return next((number for number, other in self.running() if other is task), None)

    def stack(self, number: int) -> str:
        """What that thread does, as lines of a traceback."""
        return thread_stack(self._threads[number].ident)

    def look_for_lost(self, now: float) -> list[LostThread]:
        """Replace the threads that run a task whose response was taken back, or is out, and whose request has had its
        time; `now` is monotonic. Returns them.
        """
        found = []
        for number, task in self.running():
            age = now - task.since
            if not task.time_limit or task.stream is not None or age < task.time_limit + LOST_TIME:
                continue
            if self.lost >= MOST_LOST * self.size:
                continue
            thread = self._threads[number]
            stack = self.stack(number)
            lane = self._work.running(number)
            if isinstance(lane, self._lane_class) and not lane.give_up(thread.ident, task):
                continue
            if not self._work.replace(number):
                continue
            self.lost += 1
            found.append(LostThread(thread.name, task, age, stack))
            thread.name += " (lost)"
            self._threads[number] = self._thread(number)
            self._threads[number].start()
        if found and self.lost * LOST_PART >= self.size and self._worn is not None:
            worn, self._worn = self._worn, None
            worn(f"{self.lost} threads are lost to requests that do not end (--request-timeout), of {self.size}")
        return found

    def _left(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._stopped.set()

    async def stop(self, timeout: float) -> bool:
        """Let the threads end after the work that is queued, for at most `timeout` seconds.

        Returns whether all of them did. The loop goes on meanwhile, since tasks may need its help to finish.
        """
        if not self._stopping:
            self._stopping = True
            self._work.close()
            if self._switched_from:
                sys.setswitchinterval(self._switched_from)
        if self._running == 0:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._stopped.wait()
        except TimeoutError:
            return False
        # They are past their last step: this takes no time, and nobody sees a thread that is still ending.
        for thread in self._threads:
            thread.join()
        self.drain()
        return True

    @property
    def threads(self) -> int:
        """Threads that are running."""
        return self._running

    @property
    def busy(self) -> int:
        """Threads that are executing a task."""
        return int(self._work.busy)

    @property
    def queued(self) -> int:
        """Tasks that no thread has taken yet."""
        return int(self._work.queued)


class NoThreads:
    """What stands in for a ThreadPool where the application runs on the loop's thread."""

    size = threads = busy = queued = lost = 0

    def __init__(self, backend: Backend, *, log: Logger) -> None:
        self.executor: Any = backend.module("wsgi.executor").InlineExecutor(log)

    def start(self) -> None:
        """Nothing to start."""

    def drain(self) -> None:
        """Nothing is ever left to do."""

    def tick(self) -> None:
        """Nothing can wait."""

    def running(self) -> list[tuple[int, Any]]:
        """There is no thread that could run anything."""
        return []

    def current(self) -> Any:
        """None."""
        return None

    def number_of(self, task: Any) -> int | None:
        """None."""
        return None

    def stack(self, number: int) -> str:
        """Nothing."""
        return ""

    def look_for_lost(self, now: float) -> list[LostThread]:
        """Nothing can be lost."""
        return []

    async def stop(self, timeout: float) -> bool:
        """Nothing to stop."""
        return True
