"""ThreadPool: where blocking application code runs, and how it reports to the loop.

A fixed number of threads takes work from one queue (`core.kernels.queue`); the loop's thread is the only one that puts
work there. What the threads have to say comes back through an executor (`core.wsgi.executor`), which the loop empties.

The threads are daemons: an application stuck in a system call must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from logging import Logger
from typing import Any

from ..backend import Backend


class ThreadPool:
    """`threads` threads and a queue of at most `limit` waiting tasks (0: no limit).

    `executor` is what a handler submits tasks to. `loop` is where they make their steps; `log` gets what a task
    raises although it must not. `switch_interval`: seconds after which a thread lets others have the interpreter,
    while the pool is there and for all of the process; 0 leaves it as it is. Raises ValueError for less than one
    thread.
    """

    def __init__(
        self,
        backend: Backend,
        loop: asyncio.AbstractEventLoop,
        threads: int,
        limit: int = 0,
        *,
        switch_interval: float = 0.0,
        log: Logger,
    ) -> None:
        self.loop = loop
        self.size = threads
        self.log = log
        self._work: Any = backend.module("kernels.queue").WorkQueue(threads, limit)
        self.executor: Any = backend.module("wsgi.executor").ThreadExecutor(self._work, self._wake, log)
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._switch_interval = switch_interval
        self._switched_from = 0.0
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
        for number in range(self.size):
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"gateway-thread-{number + 1}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def drain(self) -> None:
        """On the loop: make the steps that tasks have asked for."""
        self.executor.drain()

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self.executor.drain, context=self._context)
        except RuntimeError:
            # The loop is closed, and with it every connection a task could report to.
            self.executor.woken = False

    def _serve(self, number: int) -> None:
        self._work.serve(number, self.log)
        try:
            self.loop.call_soon_threadsafe(self._left)
        except RuntimeError:
            pass

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

    size = threads = busy = queued = 0

    def __init__(self, backend: Backend, *, log: Logger) -> None:
        self.executor: Any = backend.module("wsgi.executor").InlineExecutor(log)

    def start(self) -> None:
        """Nothing to start."""

    def drain(self) -> None:
        """Nothing is ever left to do."""

    async def stop(self, timeout: float) -> bool:
        """Nothing to stop."""
        return True
