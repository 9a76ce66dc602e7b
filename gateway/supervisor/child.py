"""Child: one worker, seen from the master.

::

    BOOTING ---> READY ---> LEAVING ---> (gone)
       |                       ^
       +-----------------------+

A child that is late, in booting or in leaving, is made to dump its stacks (ABRT, `faulthandler`), and then killed.
"""

from __future__ import annotations

import os
import signal
import time
from logging import Logger
from typing import Any

from gateway.server.share import Silence

from .channel import Channel
from .recycle import Lifetime
from .reload import Generation
from .watching import Watching

BOOTING, READY, LEAVING = "booting", "ready", "leaving"

DUMP_TIME = 2.0
"""Seconds a child that is late gets to dump its stacks."""


class Child:
    """One worker. `row` is its place on the board, `generation` what it was made of, `channel` our end of it.

    Times are of `time.monotonic`.
    """

    def __init__(self, pid: int, row: int, generation: Generation, channel: Channel, log: Logger) -> None:
        self.pid = pid
        self.row = row
        self.generation = generation
        self.channel = channel
        self.log = log
        self.state = BOOTING
        self.since = time.monotonic()
        self.outgoing = False
        """Leaves as soon as there are enough others."""
        self.failure: dict[str, Any] | None = None
        """Why it can't boot, as it said itself."""
        self.deadline: float | None = None
        """When it must have got out of its state; None: it may take any time."""
        self.killed = False
        self._dumped = False
        self.lifetime: Lifetime | None = None
        """From when it is ready."""
        self.watching = Watching(pid, generation.config.processes.timeout, log, self.since)
        limit = generation.config.processes.timeout_boot
        self._late = f"was not ready within {limit:g} s (--timeout-boot)"
        if limit:
            self.deadline = self.since + limit

    @property
    def serving(self) -> bool:
        """Whether it counts as one of those that should be there."""
        return self.state != LEAVING and not self.outgoing

    def booted(self) -> None:
        """It said that it is ready."""
        if self.state == BOOTING:
            self.state = READY
            self.deadline = None
            self.lifetime = Lifetime(self.generation.config.processes, time.monotonic())

    def retire(self, seconds: float) -> None:
        """Have it finish what it has and end, within `seconds`; what waits to be accepted is left to the others."""
        if self.state == READY:
            # Where that does not get through, it is ending already.
            self.channel.send(retire=True)
            self._leave(seconds)
        else:
            self.stop(signal.SIGTERM, seconds)

    def stop(self, number: int, seconds: float) -> None:
        """Have it end by the signal `number`, within `seconds`."""
        self.signal(number)
        self._leave(seconds)

    def signal(self, number: int) -> None:
        """Send a signal. A child that is gone is not reaped yet, so its number is nobody else's."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def check_life(self, silence: Silence, now: float) -> None:
        """Have it end when its loop has not turned for too long; `silence` is for how long nothing was heard of it."""
        if self.state == READY and self.deadline is None:
            late = self.watching.look(silence, now)
            if late:
                self.deadline = now
                self._late = late

    def check(self, now: float) -> None:
        """See to it that it ends when it is late."""
        if self.deadline is None or now < self.deadline:
            return
        if self._dumped:
            self.killed = True
            self.deadline = None
            self.signal(signal.SIGKILL)
            return
        self._dumped = True
        self.deadline = now + DUMP_TIME
        self.log.error(
            "Worker (pid:%d) %s; ending it. What each of its threads does follows.",
            self.pid,
            self._late,
        )
        self.signal(signal.SIGABRT)

    def _leave(self, seconds: float) -> None:
        self.state = LEAVING
        self._late = "did not stop in time"
        end = time.monotonic() + seconds
        self.deadline = end if self.deadline is None else min(self.deadline, end)
