"""What a process has once, whatever it serves: its event loop's kind, its descriptors, its signals, and its end.

A signal handler only enqueues: for the loop, and for the `Watchdog`, a thread that ends the process when nothing else
does, be it that the loop is blocked by application code or that a thread never returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from logging import Logger
from types import FrameType
from typing import Any

from gateway.errors import EXIT_ERROR, ConfigError

from .stacks import stack_file

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name))


def loop_factory(name: str) -> LoopFactory | None:
    """What makes the event loop `name`: auto (uvloop when it is installed), asyncio or uvloop.

    None stands for asyncio's default. Raises ConfigError: uvloop is asked for and not there.
    """
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if name == "auto":
            return None
        raise ConfigError("--loop uvloop: uvloop is not installed; pip install 'gateway[uvloop]', or say --loop auto")
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def loop_name(loop: asyncio.AbstractEventLoop) -> str:
    """For people: "asyncio", "uvloop"."""
    return type(loop).__module__.partition(".")[0]


def raise_descriptor_limit(log: Logger) -> None:
    """Raise the soft limit of open descriptors to the hard one: each connection takes one."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # macOS names a hard limit beyond what its kernel allows.
        log.debug("The limit of open descriptors stays at %d: %s", soft, error)


class Signals:
    """TERM, INT and QUIT, and others that are given, for as long as a server runs.

    `handle` is called on the loop with the signal's number, `early` at once, between two bytecodes of the main
    thread, wherever that is. Does nothing outside the main thread, where Python has no signals.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handle: Callable[[int], object],
        *,
        early: Callable[[int], object] | None = None,
        more: tuple[int, ...] = (),
    ) -> None:
        self.loop = loop
        self.handle = handle
        self.early = early
        self.numbers = (*STOP_SIGNALS, *more)
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                # Not `loop.add_signal_handler`: it needs the loop to turn, which is what may have gone wrong.
                self._previous[number] = signal.signal(number, self._received)

    def remove(self) -> None:
        """Give them back, unless somebody else has taken them since."""
        for number, previous in self._previous.items():
            # Bound methods are equal, never identical.
            if signal.getsignal(number) == self._received:
                signal.signal(number, signal.SIG_DFL if previous is None else previous)
        self._previous.clear()

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.early is not None:
            self.early(number)
        try:
            self.loop.call_soon_threadsafe(self.handle, number)
        except RuntimeError:
            # The loop is closed: we are on our way out.
            pass


class Terminated(BaseException):
    """TERM, while the application was being imported."""


@contextlib.contextmanager
def terminated_by_signal() -> Iterator[None]:
    """Have TERM raise Terminated: an import may take long, and stopping as asked is exit code 0 then too."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return

    def raise_terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated

    previous: Callable[..., Any] | int | None = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Watchdog:
    """Ends the process when it has not ended by itself in the time it was given."""

    def __init__(self, log: Logger) -> None:
        self.log = log
        # The only queue that may be used in a signal handler: its `put` is reentrant.
        self._times: queue.SimpleQueue[tuple[float, bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="gateway-watchdog", daemon=True)
        self._thread.start()

    def arm(self, seconds: float) -> None:
        """The process must have ended in `seconds` from now. A later end than set before is ignored."""
        self._times.put((seconds, False))

    def prolong(self, seconds: float) -> None:
        """What it was given the time for is done: what follows may take `seconds` from now, whatever was set before."""
        self._times.put((seconds, True))

    def close(self) -> None:
        """The process lives on."""
        self._times.put(None)
        self._thread.join()

    def _watch(self) -> None:
        deadline: float | None = None
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                told = self._times.get(timeout=left)
            except queue.Empty:
                self._expire()
                return
            if told is None:
                return
            seconds, anew = told
            end = time.monotonic() + seconds
            deadline = end if deadline is None or anew else min(deadline, end)

    def _expire(self) -> None:
        names = [thread.name for thread in threading.enumerate() if not thread.daemon]
        self.log.critical(
            "Not stopped in time, ending the process. Application code is still running (threads: %s); "
            "what each thread does follows.",
            ", ".join(names),
        )
        file = stack_file(self.log)
        if file is not None:
            faulthandler.dump_traceback(file)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        os._exit(EXIT_ERROR)
