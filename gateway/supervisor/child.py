"""Child: one worker, seen from the master.

::

    BOOTING ---> READY ---> LEAVING ---> (gone)
       |                       ^
       +-----------------------+

A child that is late, in booting or in leaving, is made to dump its stacks (ABRT, `faulthandler`), and then killed.

Leaving has two parts: what it had at most until the grace period is over, and, once it says so on the board, its own
end, lifespans first. Who has not said so shortly after that period is late; and at once, if it shows no sign of life.
"""

from __future__ import annotations

import os
import signal
import time
from logging import Logger
from typing import Any, BinaryIO

from gateway.server.hooks import HookWorker
from gateway.server.server import exit_time
from gateway.server.share import Silence
from gateway.server.stopping import CLEANUP

from .channel import Channel
from .recycle import Lifetime
from .reload import Generation
from .watching import LATE, LOOK, Watching

BOOTING, READY, LEAVING = "booting", "ready", "leaving"

DUMP_TIME = 1.0
"""Seconds a child that is late gets to dump its stacks."""

STACKS_SIZE = 256 * 1024
"""Bytes that are read of its stacks."""

ASLEEP = 0.5
"""Seconds beyond a look's time after which it was the master that got no turn."""

MARGIN = 2.0
"""Seconds a child gets beyond the time in which it ends itself."""


class Child:
    """One worker. `row` is its place on the board, `generation` what it was made of, `channel` our end of it.

    `hook_worker` is what hooks know it as.
    Times are of `time.monotonic`.
    """

    def __init__(
        self, pid: int, row: int, generation: Generation, channel: Channel, hook_worker: HookWorker, log: Logger
    ) -> None:
        self.pid = pid
        self.row = row
        self.generation = generation
        self.channel = channel
        self.hook_worker = hook_worker
        self.log = log
        self.state = BOOTING
        self.since = time.monotonic()
        self._looked = self._awake = self.since
        """When it was last looked at, and since when it can be judged."""
        self.questions = 0
        """How many it was asked since its last answer."""
        self.stacks: BinaryIO | None = None
        """Where it writes its stacks when it is asked by a signal."""
        self.outgoing = False
        """Leaves as soon as there are enough others."""
        self.failure: dict[str, Any] | None = None
        """Why it can't boot, as it said itself."""
        grace = generation.config.processes.graceful_timeout
        self._grace = grace + CLEANUP
        """Seconds in which it must have finished what it had, once it leaves."""
        self._quick = exit_time(grace) + MARGIN
        """Seconds for its end, when there is nothing to finish."""
        self.late_from: float | None = None
        """From when it is late if it shows no sign of life, once it leaves."""
        self._at_once = False
        self._finished = False
        self.deadline: float | None = None
        """When it must have got out of its state; None: it may take any time."""
        self.killed = False
        self._dumped = False
        self.lifetime: Lifetime | None = None
        """From when it is ready."""
        # Who develops stops the loop with a debugger now and then.
        quiet = generation.config.development.reload
        self.watching = Watching(pid, generation.config.processes.timeout, log, self.since, quiet=quiet)
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

    def retire(self, *, at_once: bool = False) -> None:
        """Have it finish what it has and end; what waits to be accepted is left to the others.

        `at_once`: it has nothing that it should be given time for.
        """
        if self.state == READY:
            # Where that does not get through, it is ending already.
            self.channel.send(retire=True)
            self._leave(at_once)
        else:
            self.stop(signal.SIGTERM, at_once=at_once)

    def make_way(self) -> None:
        """As `retire`, but without a last answer on idle connections: whoever comes next is to have them all."""
        if self.state == READY:
            self.channel.send(make_way=True)
            self._leave(at_once=False)
        else:
            self.stop(signal.SIGTERM, at_once=True)

    def stop(self, number: int, *, at_once: bool = False) -> None:
        """Have it end by the signal `number`; `at_once` as for `retire`."""
        self.signal(number)
        self._leave(at_once)

    def signal(self, number: int) -> None:
        """Send a signal. A child that is gone is not reaped yet, so its number is nobody else's."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def ask_stacks(self) -> None:
        """Have it write what its threads do, which works while its loop is blocked too."""
        if self.stacks is not None and not self.stacks.closed:
            self.stacks.truncate(0)
            self.signal(signal.SIGUSR2)

    def read_stacks(self) -> str:
        """What it has written since."""
        if self.stacks is None or self.stacks.closed:
            return ""
        self.stacks.seek(0)
        return self.stacks.read(STACKS_SIZE).decode("utf-8", "replace")

    def leave(self) -> None:
        """In another worker: close our copies; and in the master once it is gone."""
        self.channel.close()
        if self.stacks is not None:
            self.stacks.close()

    def check_life(self, silence: Silence, finished: bool, now: float) -> None:
        """Have it end when its loop has not turned for too long; `silence` is for how long nothing was heard of it.

        `finished`: it has said that it has no clients any more.
        """
        slept, self._looked = now - self._looked - LOOK, now
        if slept >= ASLEEP:
            self._sleep(slept, now)
        if self.state == READY and self.deadline is None:
            late = self.watching.look(silence, now)
            if late:
                self.deadline = now
                self._late = late
        elif self.state == LEAVING and not self._dumped:
            if finished and not self._finished:
                self._finished = True
                if not self._at_once:
                    self.deadline = now + self._shutdown_time() + self._quick
            if self.late_from is not None and now >= self.late_from:
                self._check_end(silence, now)

    def _sleep(self, seconds: float, now: float) -> None:
        """The master got no turn for so long: nor, most probably, did the child, and it gets that time once more."""
        self._awake = now
        if self.deadline is not None:
            self.deadline += seconds
        if self.late_from is not None:
            self.late_from += seconds

    def _check_end(self, silence: Silence, now: float) -> None:
        """Its grace period is over: have it end if it is not about to."""
        # Longer than the end of a process may take: whatever was to follow, nothing of it goes on.
        limit = self._quick if self._finished else LATE
        if silence.interpreter is None or min(silence.interpreter, now - self._awake) < limit:
            return
        self.deadline = now
        self._late = f"did not stop in time, and has run no Python code for {silence.interpreter:.1f} s"
        if not self._finished and silence.process is not None and silence.process >= limit:
            self.log.error("Worker (pid:%d) %s: process dead or stopped; killing it.", self.pid, self._late)
            self._dumped = True

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

    def _shutdown_time(self) -> float:
        """Seconds that its lifespans may take."""
        config = self.generation.config
        return max(1, len(config.application.mount)) * config.asgi.lifespan_shutdown_timeout

    def _leave(self, at_once: bool) -> None:
        now = time.monotonic()
        booted = self.state != BOOTING
        self.state = LEAVING
        self._at_once |= at_once
        self._late = "did not stop in time"
        if booted and not at_once:
            self.late_from = now + self._grace if self.late_from is None else min(self.late_from, now + self._grace)
        end = now + self._quick + (0.0 if at_once else self._grace)
        self.deadline = end if self.deadline is None else min(self.deadline, end)
