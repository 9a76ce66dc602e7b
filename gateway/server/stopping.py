"""Drain: how a server takes leave of its clients.

What the kernel has queued is accepted and the listeners are closed; idle connections are closed; exchanges finish with
"Connection: close" until the grace period is over; the rest is cut off, and the log says what it was. Nothing here
waits without a bound.

Where other processes accept at the same sockets (`leave_queue`), what is queued is theirs, and idle connections are
not closed at once: a client may just be sending its next request on one. It is answered, with "Connection: close".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

from .listener import Listener
from .protocol import Acceptor, Protocol

POLL = 0.02
"""Seconds between two looks at what is still running, while stopping."""

FRESH = 1.0
"""Seconds in which a new connection's first request may be on its way when we stop: it is still served."""

LINGER = 1.0
"""Seconds that connections which only wait for the client to close get, while stopping."""

CLEANUP = 1.0
"""Seconds for what was cut off to clean up."""


class Drain:
    """The end of everything that runs on `listeners` and `acceptor`, for `run` once.

    `pool` is None without threads, `handlers` are those that run applications on the loop. `at_once`, when set, cuts
    the waiting short.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        acceptor: Acceptor,
        service: Any,
        pool: Any,
        handlers: Sequence[Any],
        at_once: asyncio.Event,
        *,
        leave_queue: bool = False,
        log: logging.Logger,
    ) -> None:
        self.listeners = listeners
        self.acceptor = acceptor
        self.service = service
        self.pool = pool
        self.handlers = handlers
        self.at_once = at_once
        self.leave_queue = leave_queue
        self.log = log
        self._told: set[Protocol] = set()

    async def run(self, grace: float) -> None:
        """Let what is running finish for at most `grace` seconds. All that is left of it then has been cut off."""
        begin = time.monotonic()
        end = begin + grace
        for listener in self.listeners:
            listener.stop(leave_queue=self.leave_queue)
            listener.close()
        self.service.draining = True
        if self.pool is not None:
            self.pool.drain()
        lingering = 0.0
        # New sockets become connections and read what has arrived in the next turns.
        for _ in range(3):
            await asyncio.sleep(0)
        while True:
            now = time.monotonic()
            over = now >= end or self.at_once.is_set()
            self._tell_connections(now, over)
            if now >= begin + FRESH:
                self.acceptor.close_handshakes()
            if over or not self._running():
                break
            if self._only_lingering():
                lingering = lingering or now + LINGER
                if now >= lingering:
                    break
            await self._pause(POLL)
        await self._cut_off(grace)

    def _tell_connections(self, now: float, all_of_them: bool) -> None:
        """Tell connections to end, each once; those from which a request is expected are given the time."""
        for protocol in tuple(self.acceptor.protocols):
            connection = protocol.connection
            fresh = now - protocol.since < FRESH and connection.fresh()
            # Between two requests: the next one may be on its way.
            idle = self.leave_queue and not connection.describe() and not connection.lingering()
            if protocol in self._told or ((fresh or idle) and not all_of_them):
                continue
            self._told.add(protocol)
            connection.shutdown()

    def _running(self) -> bool:
        """Whether there is anything to wait for."""
        return bool(self.acceptor.protocols or self._starting() or self._applications())

    def _starting(self) -> bool:
        """Whether there are connections that are not ready yet."""
        return bool(self.acceptor.handshakes or self.acceptor.opening)

    def _applications(self) -> int:
        """Calls of the application that have not returned, whether or not anybody waits for their response."""
        running = sum(int(handler.active()) for handler in self.handlers)
        if self.pool is not None:
            running += int(self.pool.busy + self.pool.queued)
        return running

    def _only_lingering(self) -> bool:
        """Whether all that is left are connections whose last response is out."""
        return (
            not (self._starting() or self._applications())
            and bool(self.acceptor.protocols)
            and all(
                protocol.connection.lingering() and not protocol.transport.buffered()
                for protocol in self.acceptor.protocols
            )
        )

    async def _cut_off(self, grace: float) -> None:
        """End what is still running, and say what it was."""
        cut = self.service.requests
        applications = self._applications()
        if cut or applications:
            why = "at once" if self.at_once.is_set() else f"after the graceful timeout of {grace:g} s"
            self.log.warning(
                "Stopping %s: %d requests cut off, %d calls of the application still running", why, cut, applications
            )
        for protocol in tuple(self.acceptor.protocols):
            what = protocol.connection.describe()
            if what:
                self.log.warning("Cut off: %s", what)
            try:
                protocol.connection.abort_requests()
            except Exception:
                self.log.exception("Internal error: cutting off a request failed")
        for handler in self.handlers:
            handler.cancel_all()
        self.acceptor.close()
        end = time.monotonic() + CLEANUP
        while self._running() and time.monotonic() < end:  # noqa: ASYNC110 (many things, none with an event)
            await asyncio.sleep(POLL)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once it has to go fast."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.at_once.wait()
