"""Hub: what the transports of one poller share, and what they leave to be done at the end of a turn."""

import os
from typing import Any

from ..kernels.base import Executor
from ..kernels.sockets import EventQueue, ReceiveBuffer


class Hub:
    """See `Poller`, which is made of this.

    `events` watches descriptors, `buffer` is where all receive. `unsettled` are transports whose connection has to
    be told something, `scheduled` (transport, connection) pairs to resume. `busy`: a batch is being handled, whose
    end settles. `holding`: there is more of it, so that output may be `held`, the transports that have some, the first
    since `held_since` (monotonic seconds). `woken`: a later turn was asked for.
    """

    __slots__ = (
        "buffer",
        "busy",
        "closed",
        "context",
        "events",
        "executor",
        "held",
        "held_since",
        "high_water",
        "holding",
        "listening",
        "log",
        "loop",
        "scheduled",
        "sendfile",
        "transports",
        "unsettled",
        "woken",
    )

    def __init__(self, loop: Any, context: Any, log: Any, high_water: int, sendfile: bool) -> None:
        self.loop = loop
        self.context = context
        self.log = log
        self.high_water = high_water
        self.sendfile = sendfile
        self.executor: Executor | None = None
        self.events = EventQueue()
        self.buffer = ReceiveBuffer()
        self.transports: set[Any] = set()
        self.listening: set[Any] = set()
        self.unsettled: list[Any] = []
        self.scheduled: list[Any] = []
        self.held: list[Any] = []
        self.held_since = 0.0
        self.busy = False
        self.holding = False
        self.woken = False
        self.closed = False

    def watch(self, source: object, number: int, old: int, new: int) -> int:
        """Have the events `new` of descriptor `number` reported, where it was `old`; 0 for none. Returns 0.

        Raises OSError when the system has no room for it.
        """
        code = self.events.watch(source, number, old, new)
        # That somebody has closed the descriptor under our feet does not matter once it is to be watched no more.
        if code < 0 and new:
            raise failure(-code)
        return 0

    def unsettle(self, transport: object) -> int:
        """Have `transport` settled soon. Returns 0."""
        self.unsettled.append(transport)
        if not self.busy:
            self.wake()
        return 0

    def schedule(self, transport: object, connection: object) -> int:
        """Have `connection` resumed in a later turn, if it still has its transport then. Returns 0."""
        self.scheduled.append((transport, connection))
        return self.wake()

    def wake(self) -> int:
        """Ask for a later turn of the loop. Returns 0."""
        if not self.woken and not self.closed:
            self.woken = True
            self.loop.call_soon(self.later, context=self.context)
        return 0

    def later(self) -> int:
        """The turn that was asked for. Returns 0."""
        raise NotImplementedError


def failure(code: int) -> OSError:
    """The exception for an errno: ConnectionResetError and its like, where there is one."""
    return OSError(code, os.strerror(code))
