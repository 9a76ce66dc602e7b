"""Heartbeat: a stamp in memory that is renewed as long as the process gets to run at all.

The compiled twin starts a thread of the operating system's that never needs the interpreter. So it tells an
application that holds the GIL in a call into C from a process that is dead, stopped or swapped out. Here there is no
such thread: who has no stamp to look at can't tell these apart.
"""

from typing import Any


class Heartbeat:
    """Writes the time into `memory`, a writable buffer, at byte `offset`, every `interval` seconds while it is started.

    The time is milliseconds of `time.monotonic`, a signed integer of 64 bits in the machine's order; `offset` is a
    multiple of 8. Nothing of it follows into a process that is forked. Raises ValueError when the place is not within
    the memory or not aligned, or `interval` is not positive.
    """

    __slots__ = ("_memory",)

    def __init__(self, memory: Any, offset: int, interval: float) -> None:
        size = memoryview(memory).nbytes
        if offset < 0 or offset % 8 or offset + 8 > size or not interval > 0:
            raise ValueError("a heartbeat needs eight bytes of the memory, aligned, and an interval")
        self._memory = memory

    def start(self) -> bool:
        """Begin, with a first stamp. False where there is no thread that can do it; in pure Python, always."""
        return False

    def stop(self) -> int:
        """End, and wait for the end of the thread, which takes no time; if it is started at all. Returns 0."""
        return 0
