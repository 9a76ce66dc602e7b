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
from typing import Any, BinaryIO

from gateway.server.hooks import HookWorker
from gateway.server.server import EXIT_TIME
from gateway.server.share import Silence

from .channel import Channel
from .recycle import Lifetime
from .reload import Generation
from .watching import Watching

BOOTING, READY, LEAVING = "booting", "ready", "leaving"

DUMP_TIME = 2.0
"""Seconds a child that is late gets to dump its stacks."""


STACKS_SIZE = 256 * 1024
"""Bytes that are read of its stacks."""

MARGIN = 2.0
"""Seconds a child gets beyond the time in which it ends itself."""

QUICK = EXIT_TIME + MARGIN
"""Seconds for a child that has nothing to finish."""


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
        self.questions = 0
        """How many it was asked since its last answer."""
        self.stacks: BinaryIO | None = None
        """Where it writes its stacks when it is asked by a signal."""
        self.outgoing = False
        """Leaves as soon as there are enough others."""
        self.failure: dict[str, Any] | None = None
        """Why it can't boot, as it said itself."""
        self._grace_end = 0.0
        """When it must have finished what it had, once it leaves."""
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

    def retire(self, seconds: float | None = None) -> None:
        """Have it finish what it has and end, in `seconds`; what waits to be accepted is left to the others.

        None: in the time after which it has ended by itself, or never will.
        """
        if self.state == READY:
            # Where that does not get through, it is ending already.
            self.channel.send(retire=True)
            self._leave(seconds)
        else:
            self.stop(signal.SIGTERM, seconds)

    def make_way(self) -> None:
        """As `retire`, but without a last answer on idle connections: whoever comes next is to have them all."""
        if self.state == READY:
            self.channel.send(make_way=True)
            self._leave(None)
        else:
            self.stop(signal.SIGTERM, QUICK)

    def stop(self, number: int, seconds: float | None = None) -> None:
        """Have it end by the signal `number`; `seconds` as for `retire`."""
        self.signal(number)
        self._leave(seconds)

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

    def check_life(self, silence: Silence, now: float) -> None:
        """Have it end when its loop has not turned for too long; `silence` is for how long nothing was heard of it."""
        if self.state == READY and self.deadline is None:
            late = self.watching.look(silence, now)
            if late:
                self.deadline = now
                self._late = late
        elif self.state == LEAVING and now >= self._grace_end and not self._dumped:
            # Longer than the end of a process may take: whatever was to follow, nothing of it goes on.
            if silence.interpreter is not None and silence.interpreter >= QUICK:
                self.deadline = now
                self._late = f"did not stop in time, and has run no Python code for {silence.interpreter:.1f} s"

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

    def _leave(self, seconds: float | None) -> None:
        if seconds is None:
            config = self.generation.config
            seconds = config.processes.graceful_timeout + config.asgi.lifespan_shutdown_timeout + QUICK
        self.state = LEAVING
        self._grace_end = time.monotonic() + self.generation.config.processes.graceful_timeout
        self._late = "did not stop in time"
        end = time.monotonic() + seconds
        self.deadline = end if self.deadline is None else min(self.deadline, end)
