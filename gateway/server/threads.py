"""ThreadPool: where blocking application code runs, and how it reports to the loop.

A fixed number of threads takes work from one queue; the loop's thread is the only one that puts work there. What the
threads have to say comes back through `post`: a deque that the loop empties. However many threads post at once, the
loop is woken once per emptying, not once per message.

The threads are daemons: an application stuck in a system call must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import queue
import threading
from collections import deque
from logging import Logger
from typing import Any

STEPS_PER_TURN = 128
"""Messages handled in one turn of the loop, so that sockets and timers get theirs."""


@functools.cache
def thread_pool_class(base: Any) -> Any:
    """The `ThreadPool` class for one build of the request path; `base` is its module `kernels.base`."""

    class ThreadPool(base.Executor):  # type: ignore[misc]
        """`threads` threads and a queue of at most `limit` waiting tasks (0: no limit).

        `loop` is where tasks make their steps; `log` gets what a task raises although it must not.
        """

        def __init__(self, loop: asyncio.AbstractEventLoop, threads: int, limit: int = 0, *, log: Logger) -> None:
            if threads < 1:
                raise ValueError("a pool needs at least one thread")
            self.loop = loop
            self.size = threads
            self.limit = limit
            self.log = log
            self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
            # Those in the queue that are void. A client that left must not cost the next one its place.
            self._withdrawn: set[Any] = set()
            self._threads: list[threading.Thread] = []
            self._running = 0
            # One element per thread, written by that thread alone, so that counting needs no lock.
            self._busy = bytearray(threads)
            self._stopping = False
            self._stopped = asyncio.Event()
            self._posted: deque[Any] = deque()
            self._woken = False
            # Not the context of whoever posts, which is some request's.
            self._context = contextvars.copy_context()

        def start(self) -> None:
            """Start the threads."""
            self._running = self.size
            for number in range(self.size):
                thread = threading.Thread(
                    target=self._serve, args=(number,), name=f"gateway-thread-{number + 1}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

        def submit(self, task: Any) -> bool:
            """Queue `task` for a thread. False when the queue is full, or when the pool stops."""
            if self._stopping:
                return False
            limit = self.limit
            # A task that an idle thread is about to take does not wait: it is no part of the limit.
            if limit and self.queued >= limit and self.queued >= limit + self.size - self.busy:
                return False
            self._work.put(task)
            return True

        def withdraw(self, task: Any) -> int:
            """A queued task is void. Returns 0."""
            self._withdrawn.add(task)
            return 0

        def post(self, task: Any) -> int:
            """From any thread: have `task.step()` called on the loop, soon. Returns 0."""
            self._posted.append(task)
            # Read after the append, and cleared by the loop before it takes: a task is seen by the emptying that
            # runs, or wakes the next one. Two threads that both see False wake the loop twice, which is harmless.
            if not self._woken:
                self._woken = True
                try:
                    self.loop.call_soon_threadsafe(self._step_posted, context=self._context)
                except RuntimeError:
                    # The loop is closed, and with it every connection the task could report to.
                    self._woken = False
            return 0

        def _step_posted(self) -> None:
            self._woken = False
            posted = self._posted
            for _ in range(STEPS_PER_TURN):
                try:
                    task = posted.popleft()
                except IndexError:
                    return
                try:
                    task.step()
                except Exception:
                    self.log.exception("Internal error: a step of %r failed", task)
            if posted and not self._woken:
                self._woken = True
                self.loop.call_soon(self._step_posted, context=self._context)

        def _serve(self, number: int) -> None:
            work = self._work
            busy = self._busy
            withdrawn = self._withdrawn
            while True:
                task = work.get()
                if task is None:
                    break
                busy[number] = 1
                try:
                    task.run()
                except BaseException:
                    # Even SystemExit: what ends a thread here would silently shrink the pool.
                    self.log.exception("Internal error: %r failed in its thread", task)
                # After `run`, which waits for whoever is withdrawing it right now.
                withdrawn.discard(task)
                # An idle thread must not keep the last request alive.
                task = None
                busy[number] = 0
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
                for _ in self._threads:
                    self._work.put(None)
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
            return True

        @property
        def threads(self) -> int:
            """Threads that are running."""
            return self._running

        @property
        def busy(self) -> int:
            """Threads that are executing a task."""
            return sum(self._busy)

        @property
        def queued(self) -> int:
            """Tasks that no thread has taken yet, void ones aside."""
            return max(self._work.qsize() - len(self._withdrawn), 0)

    return ThreadPool
