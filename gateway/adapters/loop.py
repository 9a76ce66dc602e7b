"""The event loop that ASGI applications run on under WSGI servers: one per process, in a thread of its own.

It is started when it is first needed. A child process gets another one: of the parent's, a fork leaves the object but
not the thread. Before the interpreter ends, and while other threads still run, adapters are closed and the loop stops.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections import deque
from typing import Any, Protocol

logger = logging.getLogger("gateway.error")


class Job(Protocol):
    """What can be begun on the loop."""

    def begin(self) -> object:
        """Called on the loop's thread."""


class Home:
    """An event loop that runs in some other thread, and the way there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._jobs: deque[Job] = deque()
        self._woken = False

    def submit(self, job: Job) -> None:
        """Have `job.begin` called on the loop, soon; from any thread. Raises RuntimeError when the loop is closed."""
        self._jobs.append(job)
        # Read after the append, and cleared by the loop before it takes: a job is seen by the emptying that runs, or
        # wakes the next one. Two threads that both see False wake the loop twice, which is harmless.
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._woken = False
                self._jobs.clear()
                raise

    def _drain(self) -> None:
        self._woken = False
        jobs = self._jobs
        # Those that are there now; who comes later has woken the loop, and timers get their turn in between.
        for _ in range(len(jobs)):
            try:
                jobs.popleft().begin()
            except Exception:
                logger.exception("Internal error: a request could not be begun")


class LoopThread(Home):
    """An event loop of our own in a daemon thread. `adapters` are closed before it stops."""

    def __init__(self) -> None:
        super().__init__(asyncio.new_event_loop())
        self.adapters: weakref.WeakSet[Any] = weakref.WeakSet()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gateway-asgi", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopping:
            try:
                self.loop.run_forever()
            except BaseException:
                # Only an application can do that, with a KeyboardInterrupt of its own; the others live on.
                logger.exception("An application has interrupted the event loop")

    def stop(self) -> None:
        """Close the adapters, then the loop."""
        for adapter in list(self.adapters):
            try:
                adapter.close()
            except Exception:
                logger.exception("Exception at the end of an ASGI application")
        self._stopping = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self.loop.close()


_lock = threading.Lock()
_shared: LoopThread | None = None


def shared_loop() -> LoopThread:
    """The process's loop, running."""
    global _shared
    thread = _shared
    if thread is None:
        with _lock:
            if _shared is None:
                _shared = LoopThread()
            thread = _shared
    return thread


def _forget() -> None:
    global _shared, _lock
    # Locks may have been held in the parent, by threads that are not here.
    _lock = threading.Lock()
    if _shared is not None:
        for adapter in list(_shared.adapters):
            adapter.forget_lock()
    _shared = None


def _stop() -> None:
    if _shared is not None:
        _shared.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_stop)
