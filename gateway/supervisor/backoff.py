"""How long to wait before a worker that can't start is tried again."""

from __future__ import annotations

FIRST = 0.5
"""Seconds after the first failure; twice as many after each further one."""

MOST = 30.0
"""Seconds at most."""


class Backoff:
    """Counts failures in a row. Times are seconds of `time.monotonic`."""

    def __init__(self) -> None:
        self.until = 0.0
        """Before this time nothing is tried."""
        self._failures = 0

    def failed(self, now: float) -> float:
        """One more failure. Returns the seconds until the next attempt."""
        delay = min(FIRST * 2.0 ** min(self._failures, 16), MOST)
        self._failures += 1
        self.until = now + delay
        return delay

    def succeeded(self) -> None:
        """All is well again."""
        self._failures = 0
        self.until = 0.0
