"""LoopWatch: a thread that sees when the event loop does not turn, and says what blocks it.

The loop says in every tick that it turns. The thread looks at that from outside; it needs the interpreter, which is why
it can also show, on the board of the workers, that this process's interpreter runs Python code. Where even the thread
got no turn, it was not the loop that was blocked.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from logging import Logger

from .share import Share
from .stacks import thread_stack

INTERVAL = 0.25
"""Seconds between two looks, and between two signs of life."""

DEBUGGER = os.sep + "bdb.py"
"""In a stack: a debugger waits for its user."""

REPORT_INTERVAL = 10.0
"""Seconds from one stack in the log to the next."""

JOIN_TIME = 1.0
"""Seconds for the thread to end."""

HELD_TIME = 1.5
"""Seconds without a turn for this thread that are worth a line; less than the master takes to notice."""


class LoopWatch:
    """Watches the loop of the thread that calls `start`.

    `limit`: seconds the loop may be late, 0 for any; `turns`: seconds between two calls of `turned`. `describe` tells
    what the loop is busy with; it is called in the watching thread, while the loop stands still. `share`, where there
    is a master, is where life is shown.
    """

    def __init__(
        self, limit: float, turns: float, describe: Callable[[], str], log: Logger, share: Share | None = None
    ) -> None:
        self.limit = limit
        self.turns = turns
        self.describe = describe
        self.log = log
        self.share = share
        self._turned = 0.0
        self._ident = 0
        # Since when the loop is blocked, and when its stack may be shown next.
        self._incident = 0.0
        self._told = False
        self._report_at = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gateway-watch", daemon=True)

    def start(self) -> None:
        """Begin. To be called on the loop's thread."""
        self._ident = threading.get_ident()
        self._turned = time.monotonic()
        self._thread.start()

    def turned(self, now: float) -> None:
        """The loop turns; `now` is monotonic seconds."""
        self._turned = now

    def stop(self) -> None:
        """End. May be called more than once, and before `start`."""
        self._end.set()
        if self._thread.is_alive():
            # It is at most in the middle of a line of the log.
            self._thread.join(JOIN_TIME)

    def _watch(self) -> None:
        looked = awake = time.monotonic()
        while True:
            if self.share is not None:
                self.share.breathe()
            if self._end.wait(INTERVAL):
                return
            now = time.monotonic()
            gap = now - looked - INTERVAL
            looked = now
            if gap > INTERVAL:
                # What the loop has missed meanwhile, it has missed as we did.
                awake = now
                if gap >= HELD_TIME:
                    # Whoever it was may just have ended; most probably it is still there.
                    self.log.error(
                        "No Python code got a turn for %.1f s (pid:%d): the GIL was held by a call into C, or the "
                        "process was stopped. At work now: %s",
                        gap,
                        os.getpid(),
                        self._what(),
                    )
            if self.limit:
                self._judge(now, awake)

    def _judge(self, now: float, awake: float) -> None:
        turned = self._turned
        late = now - max(turned + self.turns, awake)
        if late < self.limit:
            if self._incident and turned > self._incident:
                if self._told:
                    self.log.warning("The event loop turns again after %.1f s", turned - self._incident)
                self._incident = 0.0
                self._told = False
            return
        if self._incident:
            return
        self._incident = turned
        if now < self._report_at:
            return
        self._report_at = now + REPORT_INTERVAL
        self._told = True
        stack = thread_stack(self._ident)
        if self._turned != turned:
            # It has just gone on: this is the stack of something else.
            return
        if DEBUGGER in stack:
            # Who sits there knows.
            self._told = False
            return
        self.log.error(
            "Event loop blocked for %.1f s (pid:%d) by %s. No other request goes on meanwhile: let it await, or run it "
            "in a thread (asyncio.to_thread). Its stack (--blocked-loop-time):\n%s",
            late,
            os.getpid(),
            self._what(),
            stack.rstrip("\n"),
        )

    def _what(self) -> str:
        try:
            return self.describe()
        except Exception:
            # A look at what others are changing; the line is worth more than the name in it.
            self.log.debug("Can't tell what blocks the event loop", exc_info=sys.exc_info())
            return "something unknown"
