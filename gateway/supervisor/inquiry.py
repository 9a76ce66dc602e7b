"""Asking the workers: all of them at once, and whoever does not answer in time is not waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .child import READY, Child

QUESTIONS = 8
"""Questions that a worker may leave open before it is asked no more: it does not even read them."""

ANSWER_TIME = 1.0
"""Seconds a worker has. One that takes longer is blocked, or so busy that it may as well be."""

Answers = dict[int, dict[str, Any]]
"""By process; those that did not answer are missing."""


class Inquiry:
    """One question to several workers. `done` is called once, with the answers that there are."""

    def __init__(
        self, number: int, question: str, children: Iterable[Child], done: Callable[[Answers], object]
    ) -> None:
        self.number = number
        self.deadline = time.monotonic() + ANSWER_TIME
        self.answers: Answers = {}
        self._done = done
        self._over = False
        self._missing: set[int] = set()
        for child in children:
            if child.state == READY and child.questions < QUESTIONS:
                if child.channel.offer(ask={"number": number, "what": question}):
                    child.questions += 1
                    self._missing.add(child.pid)

    def answered(self, pid: int, answer: dict[str, Any]) -> None:
        """A worker has answered."""
        if pid in self._missing:
            self._missing.discard(pid)
            self.answers[pid] = answer

    def gone(self, pid: int) -> None:
        """A worker has ended."""
        self._missing.discard(pid)

    def over(self, now: float) -> bool:
        """Whether all have answered, or had their time; then `done` has been called."""
        if not self._over and (not self._missing or now >= self.deadline):
            self._over = True
            self._done(self.answers)
        return self._over
