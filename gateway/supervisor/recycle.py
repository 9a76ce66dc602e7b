"""When a worker has served for long enough: after so many requests, so much time, or with so much memory.

The requests it counts itself, and says so with the last one; the others are looked at from outside.
It is replaced before it leaves. Only one beyond the hard limit of memory is killed, and then replaced.
"""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

from gateway.config.sections import ProcessSettings

AGE_JITTER = 0.1
"""Part of the age by which workers may become older: those of one start are not to leave together."""

MEMORY_INTERVAL = 5.0
"""Seconds between two looks at a worker's memory, which cost the kernel a walk through all of its pages."""


class Verdict(NamedTuple):
    """What is to become of a worker, and why."""

    action: Literal["replace", "kill"]
    reason: str


class Lifetime:
    """The other limits of one worker. Times are of `time.monotonic`."""

    def __init__(self, settings: ProcessSettings, now: float) -> None:
        self.age = settings.max_worker_age * (1 + random.random() * AGE_JITTER)
        self.soft = settings.max_worker_memory
        self.hard = settings.max_worker_memory_hard
        self._since = now
        self._look = now + MEMORY_INTERVAL

    def judge(self, pid: int, now: float) -> Verdict | None:
        """Whether the worker `pid` has to go; None: not yet."""
        if self.age and now - self._since >= self.age:
            return Verdict("replace", f"it is {now - self._since:.0f} s old (--max-worker-age)")
        if (self.soft or self.hard) and now >= self._look:
            self._look = now + MEMORY_INTERVAL
            size = private_memory(pid)
            shown = f"{size / 1048576:.0f} MiB"
            if self.hard and size >= self.hard:
                return Verdict("kill", f"it has {shown} of its own (--max-worker-memory-hard)")
            if self.soft and size >= self.soft:
                return Verdict("replace", f"it has {shown} of its own (--max-worker-memory)")
        return None


def last_request(settings: ProcessSettings) -> int:
    """How many requests a worker may have; 0: any number."""
    most = settings.max_requests
    return most + random.randint(0, settings.max_requests_jitter) if most else 0


def private_memory(pid: int) -> int:
    """Bytes that would be free without this process: what it shares with others is not its own. 0: unknown."""
    size = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith(("Private_Clean:", "Private_Dirty:", "Swap:")):
                    size += int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return size
