"""Generations: which workers serve, and which are to take over.

A reload makes a new generation beside the one that serves::

              begin(plan)                  complete()
    current ---------------> current ------------------> the new one is current, all others go
                             coming  ------------------> the new one goes, nothing has changed
                                           abandon()

Rule 1: a generation is complete when all the workers it should have are ready, and only then is any other told to go.
Rule 2: whatever goes wrong before that ends the new generation, never the one that serves.
Rule 3: the first generation has none to fall back on: its failure is the server's.
"""

from __future__ import annotations

import os

from gateway.config.settings import Config

from .failure import Failure
from .sockets import Sockets


class Generation:
    """What workers of one generation are made of: configuration, sockets, and environment (None: the master's).

    With a `failure` they serve that, in place of the application.
    """

    def __init__(
        self,
        config: Config,
        sockets: Sockets,
        environ: dict[str, str] | None = None,
        failure: Failure | None = None,
    ) -> None:
        self.config = config
        self.sockets = sockets
        self.environ = environ
        self.failure = failure
        self.number = 0
        """The first is 1."""
        self.wanted = config.processes.workers
        """How many workers it should have."""


class Generations:
    """The generation that serves, None at first, and the one that is coming, or None."""

    def __init__(self) -> None:
        self.current: Generation | None = None
        self.coming: Generation | None = None
        self._begun = 0

    def begin(self, generation: Generation) -> None:
        """Have `generation` take over; one that was coming is to be abandoned before."""
        self._begun += 1
        generation.number = self._begun
        self.coming = generation

    def complete(self) -> Generation | None:
        """The coming generation serves. Returns the one before."""
        previous, self.current, self.coming = self.current, self.coming, None
        return previous

    def abandon(self) -> Generation | None:
        """The coming generation does not come. Returns it."""
        abandoned, self.coming = self.coming, None
        return abandoned

    @property
    def growing(self) -> tuple[Generation, ...]:
        """Those that should have workers."""
        return tuple(generation for generation in (self.current, self.coming) if generation is not None)


def boots_at_once(wanted: int, generations: Generations, coming_ready: int) -> int:
    """How many workers of the coming generation may boot at a time.

    At first all of them. In a reload one, to see whether it can at all; then half of the processors are left to those
    that serve.
    """
    if generations.current is None:
        return wanted
    return 1 if coming_ready == 0 else max(1, (os.cpu_count() or 1) // 2)
