"""Workers share a listening socket: how each gets its share of the connections.

The kernel wakes one of those that wait for a connection (see `bell`; all of them where that can't be had), and with
keep-alive one worker may so end up with most of the clients while another idles. Therefore each shows on a `Board`, in
memory they share, how many connections it has. One that has clearly more than another is only woken along with another,
and leaves new ones alone for a moment; what is still there then, because the other is busy, it takes after all. Nobody
waits for longer than that moment.

On the same board each shows its signs of life, for the master: one that its loop gives, one that needs the interpreter
only (`watching.LoopWatch`), and one that needs neither (`core.kernels.watch`).
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import NamedTuple

ROWS = 4096
"""Workers there can be at a time."""

SLACK = 2
"""Connections a worker may have more than the one with the least: so many, or"""

SLACK_PART = 4
"""that one's by this number. Where connections come and go fast, a closer look costs more than it gives."""

STALE = 1.0
"""Seconds without a sign of life after which a worker does not count: its loop is blocked, or it is gone."""

PASS_TIME = 0.001
"""Seconds for which connections are left to others."""

PASS_ACCEPTS = 8
"""Connections that are taken at once after that, though others have fewer."""

EMPTY = -1

FINISHED = -2
"""In place of a number of connections: EMPTY, and none is left nor runs anything for one."""

CELLS = 5

INTERPRETER, PROCESS = 3, 4
"""Where in its row a worker's interpreter and its process show that they live; the loop does with each `write`."""


class Silence(NamedTuple):
    """Seconds since a worker's last signs of life; None: it gives no such sign."""

    loop: float
    interpreter: float | None
    process: float | None


class Board:
    """A row per worker: connections, when that was written (milliseconds of `time.monotonic`), requests so far, signs
    of life (the same).

    Made before any worker is forked, and written by each in its own row only, so that there is nothing to lock.
    """

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, ROWS * CELLS * 8)
        self._rows = memoryview(self.memory).cast("q")
        self._top = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def take(self) -> int:
        """A row for a new worker, in the process that starts workers. Raises RuntimeError when all are taken."""
        rows = self._rows
        for row in range(ROWS):
            if row >= self._top[0]:
                self._top[0] = row + 1
                break
            if rows[CELLS * row + 1] == 0:
                break
        else:
            raise RuntimeError(f"no more than {ROWS} workers")
        rows[CELLS * row] = EMPTY
        rows[CELLS * row + 1] = 1
        rows[CELLS * row + 2] = 0
        rows[CELLS * row + INTERPRETER] = 0
        rows[CELLS * row + PROCESS] = 0
        return row

    def free(self, row: int) -> None:
        """The worker that had this row is gone."""
        self._rows[CELLS * row] = EMPTY
        self._rows[CELLS * row + 1] = 0

    def write(self, row: int, connections: int) -> None:
        """Show that this worker has so many connections; EMPTY or FINISHED: that it accepts none."""
        self._rows[CELLS * row] = connections
        self._rows[CELLS * row + 1] = int(time.monotonic() * 1000)

    def count(self, row: int, requests: int) -> None:
        """Show how many requests this worker has had."""
        self._rows[CELLS * row + 2] = requests

    def requests(self, row: int) -> int:
        """How many requests that worker has had."""
        return self._rows[CELLS * row + 2]

    def connections(self, row: int) -> int:
        """How many connections that worker has; EMPTY or FINISHED: it accepts none."""
        return self._rows[CELLS * row]

    def left(self, row: int) -> bool:
        """Whether that worker accepts no connections any more."""
        return self._rows[CELLS * row] <= EMPTY

    def finished(self, row: int) -> bool:
        """Whether that worker has taken leave of all its clients: what follows is its end."""
        return self._rows[CELLS * row] == FINISHED

    def place(self, row: int) -> int:
        """Where in `memory`, in bytes, that worker's process shows that it lives."""
        return (CELLS * row + PROCESS) * 8

    def breathe(self, row: int) -> None:
        """Show that this worker's interpreter runs Python code."""
        self._rows[CELLS * row + INTERPRETER] = int(time.monotonic() * 1000)

    def silence(self, row: int) -> Silence:
        """For how long nothing was heard of that worker."""
        now = time.monotonic()
        first = CELLS * row
        interpreter, process = self._rows[first + INTERPRETER], self._rows[first + PROCESS]
        return Silence(
            now - self._rows[first + 1] / 1000,
            now - interpreter / 1000 if interpreter else None,
            now - process / 1000 if process else None,
        )

    def least(self, row: int) -> int:
        """The fewest connections any other worker has; EMPTY when there is no other."""
        oldest = int((time.monotonic() - STALE) * 1000)
        cells = self._rows[: CELLS * self._top[0]].tolist()
        least = EMPTY
        for other in range(len(cells) // CELLS):
            connections = cells[CELLS * other]
            if connections > EMPTY and other != row and cells[CELLS * other + 1] >= oldest:
                least = connections if least == EMPTY else min(least, connections)
        return least


class Share:
    """One worker's own view. `connections` tells how many it has, `requests` how many it has had."""

    def __init__(self, board: Board, row: int) -> None:
        self.board = board
        self.row = row
        self.connections: Callable[[], int] = lambda: 0
        self.requests: Callable[[], int] = lambda: 0
        self._left = EMPTY

    def show(self) -> None:
        """Write down how many there are."""
        self.board.write(self.row, self.connections())
        self.board.count(self.row, self.requests())

    def breathe(self) -> None:
        """Show that the interpreter runs; from any thread."""
        self.board.breathe(self.row)

    def allowance(self, most: int) -> int:
        """How many of up to `most` connections to accept now; 0: leave them to others."""
        own = self.connections()
        self.board.write(self.row, own)
        least = self.board.least(self.row)
        return most if least == EMPTY else max(0, min(most, least + max(SLACK, least // SLACK_PART) - own))

    def leave(self) -> None:
        """No longer accept any."""
        self.board.write(self.row, self._left)

    def finish(self) -> None:
        """No longer have any, either."""
        self._left = FINISHED
        self.leave()
