"""What a silent worker is doing, told from which of its signs of life are missing.

====================  ====================  ==================  =====================================
loop                  interpreter           process             so
====================  ====================  ==================  =====================================
late                  well                                      the event loop is blocked
late                  late                  well                the GIL is held by a call into C
late                  late                  late                the process is dead or stopped
late                  late                  never gave one      one of the last two (pure Python)
====================  ====================  ==================  =====================================

None of them is a reason to end a worker before its --timeout: most go on by themselves. The log says what it is, and
what to do about it; who holds the GIL shows its stacks by a signal, whose handler needs no interpreter.
"""

from __future__ import annotations

import os
from logging import Logger

from gateway.backend import SPEEDUPS, Backend
from gateway.server.share import Silence
from gateway.server.stacks import STACKS_SIGNAL

LATE = 2.0
"""Seconds after which a sign of life is missing."""

NOTICE_INTERVAL = 10.0
"""Seconds between two lines of the log about the same silence."""

LOOK = 1.0
"""Seconds between two looks, as a rule (the master's TICK)."""

WELL, BLOCKED, HELD, DEAD, UNKNOWN = "well", "blocked", "held", "dead", "unknown"

WORDS = {
    BLOCKED: "event loop blocked by application code",
    HELD: "GIL held by application code",
    DEAD: "process dead or stopped",
    UNKNOWN: "GIL held by application code, or process dead or stopped",
}

ADVICE = {
    BLOCKED: "no other request of this worker goes on; let it await, or run in a thread (asyncio.to_thread)",
    HELD: "nothing else runs in this worker; a call into C does not release the GIL, so run it in another process",
    DEAD: "not even its threads in C run; it was stopped (SIGSTOP, debugger, container) or waits for memory or a disk",
    UNKNOWN: "the pure Python build can't tell which",
}


def notice(backend: Backend) -> str:
    """What there is to say at the start about what can be told apart; an empty string for nothing."""
    if backend.name == SPEEDUPS:
        return ""
    return "Pure Python build: a worker whose application holds the GIL can't be told from a dead or stopped one"


class Watching:
    """Judges one worker. `limit` is its --timeout in seconds, 0 for none; times are of `time.monotonic`.

    `quiet`: the log is told of nothing but the end.
    """

    def __init__(self, pid: int, limit: float, log: Logger, now: float, *, quiet: bool = False) -> None:
        self.pid = pid
        self.limit = limit
        self.log = log
        self.quiet = quiet
        self.late = min(LATE, limit / 2) if limit else LATE
        # Seconds between two looks after which it was the master that got no turn, and can't judge anybody.
        self.asleep = LOOK + self.late
        self._looked = now
        # No silence is older than this.
        self._awake = now
        self._state = WELL
        # When the loop last turned before it was late.
        self._since = 0.0
        self._notice_at = 0.0

    @property
    def shown(self) -> str:
        """A word for the state of a worker that gives no answer."""
        return {HELD: "GIL held", DEAD: "stopped"}.get(self._state, "blocked")

    def look(self, silence: Silence, now: float) -> str:
        """See to it that the log tells of a silence. Returns why the worker has to be ended, empty if it need not."""
        if now - self._looked >= self.asleep:
            self._awake = now
        self._looked = now
        silence = self._since_awake(silence, now)
        state = self._judge(silence)
        if state == WELL:
            if self._state != WELL and not self.quiet:
                self.log.warning("Worker (pid:%d) goes on after %.1f s", self.pid, now - silence.loop - self._since)
            self._state = WELL
            return ""
        if self._state == WELL:
            self._since = now - silence.loop
        if self.limit and silence.loop >= self.limit:
            return f"timeout: its event loop has not turned for {silence.loop:.1f} s: {WORDS[state]} (--timeout)"
        if not self.quiet and (state != self._state or now >= self._notice_at):
            self._notice_at = now + NOTICE_INTERVAL
            self._tell(state, silence, first=state != self._state)
        self._state = state
        return ""

    def _since_awake(self, silence: Silence, now: float) -> Silence:
        most = now - self._awake
        interpreter, process = (None if seconds is None else min(seconds, most) for seconds in silence[1:])
        return Silence(min(silence.loop, most), interpreter, process)

    def _judge(self, silence: Silence) -> str:
        if silence.loop < self.late:
            return WELL
        if silence.interpreter is None or silence.interpreter < self.late:
            return BLOCKED
        if silence.process is None:
            return UNKNOWN
        return HELD if silence.process < self.late else DEAD

    def _tell(self, state: str, silence: Silence, *, first: bool) -> None:
        seconds = {BLOCKED: silence.loop, DEAD: silence.process}.get(state, silence.interpreter)
        end = f"it is ended after {self.limit:g} s (--timeout)" if self.limit else "it is never ended (--timeout 0)"
        stacks = first and state in (HELD, UNKNOWN) and STACKS_SIGNAL is not None
        self.log.error(
            "Worker (pid:%d): %s for %.1f s; %s; %s%s",
            self.pid,
            WORDS[state],
            seconds,
            ADVICE[state],
            end,
            ". What each of its threads does follows." if stacks else "",
        )
        if stacks and STACKS_SIGNAL is not None:
            try:
                os.kill(self.pid, STACKS_SIGNAL)
            except ProcessLookupError:
                pass
