"""The requests that are running: named for the log, with what their application does, and judged by --request-timeout.

That a request has had its time is seen by its connection, which takes the response back (`HTTP1Connection.take_back`).
What is done about the application is seen to here: a coroutine is cancelled, and one that does not end is told of; a
thread can't be ended, so the `ThreadPool` counts it as lost and has another one in its place.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from logging import Logger
from typing import Any

from .protocol import Acceptor
from .stacks import task_stack
from .threads import LostThread

IGNORED_TIME = 5.0
"""Seconds a cancelled application gets to end, before the log is told that it does not."""

STACK_INTERVAL = 1.0
"""Seconds from one request's stack in the log to the next: an overload must not fill the disk."""

NAMED = 5
"""Requests that are named in one line."""

SHOWN = 20
"""Requests that are cut off with their stacks in the log, those that have run for longest; the others are named."""


class InFlight:
    """The requests of one server. `limited`: some of them may only take so long.

    `pool` runs those of WSGI applications, None where there are none; `handlers` those of ASGI applications.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        pool: Any,
        handlers: Sequence[Any],
        loop: asyncio.AbstractEventLoop,
        limited: bool,
        log: Logger,
    ) -> None:
        self.acceptor = acceptor
        self.pool = pool
        self.handlers = handlers
        self.loop = loop
        self.limited = limited
        self.log = log
        self._stack_at = 0.0
        # Coroutines that were cancelled: when, what for.
        self._cancelled: dict[Any, tuple[float, str]] = {}

    # For --request-timeout

    def overdue(self, stream: Any) -> None:
        """On the loop: the request of `stream` has had its time. Its response is taken back after this."""
        now = time.monotonic()
        responder = stream.responder
        what = describe(stream, now)
        stack = ""
        if now >= self._stack_at:
            stack = self.stack_of(responder)
            if stack:
                self._stack_at = now + STACK_INTERVAL
        # What has no task is for a thread.
        waits = self.pool is not None and not hasattr(responder, "task") and self.pool.number_of(responder) is None
        self.log.error(
            "Request timeout: %s has taken longer than %g s (%s, pid:%d)%s; %s%s",
            what,
            stream.time_limit(),
            "--request-timeout" if stream.mount is None else f"request_timeout of {stream.mount.name}",
            os.getpid(),
            ", waiting for a thread" if waits and self.pool.busy >= self.pool.size > 0 else "",
            "its response had begun, so the connection is closed" if stream.head_sent else "answered with 504",
            f". What it does:\n{stack}" if stack else "",
        )
        if getattr(responder, "task", None) is not None:
            self._cancelled[responder] = (now, what)

    def tick(self, now: float) -> None:
        """On the loop, now and then: look after what has not heard that its time is over."""
        if not self.limited:
            return
        if self.pool is not None:
            for lost in self.pool.look_for_lost(now):
                self._tell_lost(lost)
        for driver, (since, what) in tuple(self._cancelled.items()):
            task = driver.task
            if task is None:
                del self._cancelled[driver]
            elif now - since >= IGNORED_TIME:
                del self._cancelled[driver]
                self.log.error(
                    "%s was cancelled %.1f s ago and still runs: it catches CancelledError, or waits in `finally`; "
                    "only the end of its worker ends it (pid:%d). What it does:\n%s",
                    what,
                    now - since,
                    os.getpid(),
                    task_stack(task).rstrip("\n"),
                )

    def _tell_lost(self, lost: LostThread) -> None:
        self.log.error(
            "Thread %s is lost: %s %s (%.1f s) was taken back (--request-timeout), and the thread has not noticed. "
            "Another one takes its place; %d are lost (pid:%d). Give what it waits for a timeout of its own. "
            "What it does:\n%s",
            lost.name,
            lost.task.head.method,
            lost.task.head.raw_path.decode("latin-1"),
            lost.age,
            self.pool.lost,
            os.getpid(),
            lost.stack.rstrip("\n"),
        )

    # For the log

    def blocking(self) -> str:
        """What the loop is at work on while it does not turn; from another thread."""
        now = time.monotonic()
        task = asyncio.current_task(self.loop)
        own = getattr(None if task is None else task.get_coro(), "stream", None)
        running = self._connections(now)
        for connection in running:
            if connection.stream is own:
                return named(connection, now)
        if not running:
            return "code of no request" if task is None else f"{task.get_name()}, which serves no request"
        names = ", ".join(named(connection, now) for connection in running[:NAMED])
        more = f" and {len(running) - NAMED} more" if len(running) > NAMED else ""
        return f"one of the requests in flight: {names}{more}" if len(running) > 1 else names

    def _connections(self, now: float) -> list[Any]:
        """Those that serve a request or a WebSocket, the oldest request first."""
        found = [protocol.connection for protocol in tuple(self.acceptor.protocols)]
        found = [connection for connection in found if connection.stream is not None]
        return sorted(found, key=lambda connection: since(connection) or now)

    def stack_of(self, responder: Any) -> str:
        """What the application does for this responder; empty where that can't be seen."""
        number = None if self.pool is None else self.pool.number_of(responder)
        if number is not None:
            return str(self.pool.stack(number)).rstrip("\n")
        task = getattr(responder, "task", None)
        return "" if task is None else task_stack(task).rstrip("\n")

    def report(self, text: str) -> None:
        """Tell the log of every request that runs, each with its stack: nobody waits for them any longer."""
        now = time.monotonic()
        seen = set()
        lines: list[tuple[str, str]] = []
        for connection in self._connections(now):
            responder = connection.stream.responder
            seen.add(responder)
            lines.append((named(connection, now), self.stack_of(responder) if len(lines) < SHOWN else ""))
        for what, stack in self._without_client(seen):
            lines.append((f"{what}, whose client has gone or has its response", stack if len(lines) < SHOWN else ""))
        for what, stack in lines:
            self.log.warning("%s: %s%s", text, what, f". What it does:\n{stack}" if stack else "")

    def _without_client(self, seen: set[Any]) -> list[tuple[str, str]]:
        """Name and stack of what runs on although nobody reads its response."""
        found = []
        for number, task in () if self.pool is None else self.pool.running():
            if task not in seen:
                found.append((f"{task.head.method} {task.head.raw_path.decode('latin-1')}", self.pool.stack(number)))
        for driver in [driver for handler in self.handlers for driver in tuple(handler.cycles)]:
            if driver not in seen and driver.task is not None:
                head = getattr(driver.stream, "head", None)
                what = f"{head.method} {head.raw_path.decode('latin-1')}" if head is not None else "a WebSocket"
                found.append((what, task_stack(driver.task)))
        return [(what, stack.rstrip("\n")) for what, stack in found]


def describe(stream: Any, now: float) -> str:
    """A request for the log: method, path, client, age. Without the query, which may hold secrets."""
    client = "a Unix socket" if stream.client is None else f"{stream.client[0]}:{stream.client[1]}"
    head = stream.head
    return f"{head.method} {head.raw_path.decode('latin-1')} of {client} ({max(0.0, now - stream.started):.1f} s)"


def named(connection: Any, now: float) -> str:
    """The same for what a connection serves, a WebSocket included."""
    stream = connection.stream
    if hasattr(stream, "started"):
        return describe(stream, now)
    return f"{connection.describe()} ({max(0.0, now - since(connection)):.1f} s)"


def since(connection: Any) -> float:
    """When what a connection serves has begun, a request or a WebSocket, by `time.monotonic`; 0: it serves nothing."""
    serving = connection if hasattr(connection, "started") else connection.stream
    return float(getattr(serving, "started", 0.0))
