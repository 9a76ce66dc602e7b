"""Drain: how a server takes leave of its clients.

What the kernel has queued is accepted and the listeners are closed; idle connections are closed; exchanges finish with
"Connection: close" until the grace period is over; the rest is cut off, and the log says what it was. Applications are
told to end event streams (`http.disconnect`), and WebSockets close with 1012. Nothing here waits without a bound.

A request that has reached us is answered: no connection is closed on which anything has arrived. One that was opened,
or had its last response, a moment ago is not idle: a client in full swing sends the next request any minute, and is
told with the answer to it. (RFC 9112 9.5 leaves it to clients to try again what crosses a close.)

Where other processes accept at the same sockets (`leave_queue`), what is queued is theirs. With `keep_idle`, idle
connections are not closed at once: a client may just be sending its next request on one. It is answered, with
"Connection: close". With `make_way` nothing is answered that has not arrived yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import time
from collections.abc import Callable, Sequence
from typing import Any

from .listener import Listener
from .protocol import Acceptor, Protocol

POLL = 0.02
"""Seconds between two looks at what is still running, while stopping."""

HANDSHAKE = 1.0
"""Seconds in which a TLS handshake may be on its way when we stop."""

POLLED = 256
"""Connections that are looked at, and then told to end, at a time: little time passes in between."""

LINGER = 1.0
"""Seconds that connections which only wait for the client to close get, while stopping."""

CLEANUP = 1.0
"""Seconds for what was cut off to clean up."""


class Drain:
    """The end of everything that runs on `listeners` and `acceptor`, for `run` once.

    `pool` is None without threads, `handlers` are those that run applications on the loop. `report` tells the log of
    each request that still runs, with the text it is given. `at_once`, when set, cuts the waiting short.
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
        report: Callable[[str], object],
        leave_queue: bool = False,
        keep_idle: bool = False,
        make_way: bool = False,
        log: logging.Logger,
    ) -> None:
        self.listeners = listeners
        self.acceptor = acceptor
        self.service = service
        self.pool = pool
        self.handlers = handlers
        self.at_once = at_once
        self.report = report
        self.leave_queue = leave_queue
        self.keep_idle = keep_idle
        self.make_way = make_way
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
            self._tell_connections(over)
            if now >= begin + HANDSHAKE:
                self.acceptor.close_handshakes()
            if over or not self._running():
                break
            if self._only_lingering():
                lingering = lingering or now + LINGER
                if now >= lingering:
                    break
            await self._pause(POLL)
        await self._cut_off(grace)

    def _tell_connections(self, all_of_them: bool) -> None:
        """Tell connections to end, each once; those from which a request is expected are given the time."""
        waiting = []
        for protocol in tuple(self.acceptor.protocols):
            connection = protocol.connection
            if protocol in self._told:
                continue
            if all_of_them or connection.describe() or connection.lingering():
                self._tell(protocol)
            elif not self.keep_idle and (self.make_way or not connection.fresh()):
                waiting.append(protocol)
        for index in range(0, len(waiting), POLLED):
            some = waiting[index : index + POLLED]
            arrived = with_input([protocol.transport.descriptor() for protocol in some])
            for protocol in some:
                if protocol.transport.descriptor() not in arrived:
                    self._tell(protocol)

    def _tell(self, protocol: Protocol) -> None:
        self._told.add(protocol)
        protocol.connection.shutdown()

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
            self.report("Cut off")
        for protocol in tuple(self.acceptor.protocols):
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


def with_input(descriptors: Sequence[int]) -> set[int]:
    """Those of some sockets at which something has arrived that was not received yet."""
    if not hasattr(select, "poll"):
        return set()
    poll = select.poll()
    for number in descriptors:
        if number >= 0:
            poll.register(number, select.POLLIN)
    return {number for number, events in poll.poll(0) if events & select.POLLIN}
