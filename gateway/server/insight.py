"""What a process tells about itself when it is asked: the requests it has in flight, and what its code is doing."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import Server

REQUESTS = 200
"""Requests that are told of at most: the oldest."""

PATH_SIZE = 200
"""Characters of a path that are told."""

DEPTH = 100
"""Frames of a stack, and awaitables that wait for each other, at most."""


def report(server: Server) -> dict[str, Any]:
    """Threads, queue, and requests in flight, the oldest first; on the server's loop."""
    pool = server.pool
    requests = sorted(in_flight(server), key=lambda request: -(request["age"] or 0.0))
    return {
        "threads": pool.size if pool is not None else 0,
        "busy": pool.busy if pool is not None else 0,
        "queued": pool.queued if pool is not None else 0,
        "in_flight": len(requests),
        "requests": requests[:REQUESTS],
    }


def in_flight(server: Server) -> Iterator[dict[str, Any]]:
    """Each request, or WebSocket: method, path without the query, client, and age in seconds, None for a WebSocket."""
    if server.acceptor is None:
        return
    now = time.monotonic()
    for protocol in tuple(server.acceptor.protocols):
        connection = protocol.connection
        what, _, client = connection.describe().rpartition(" of ")
        if not what:
            continue
        started = getattr(getattr(connection, "stream", None), "started", 0.0)
        age = round(max(0.0, now - started), 3) if started else None
        method, _, path = what.partition(" ")
        yield {"method": method, "path": path[:PATH_SIZE], "client": client, "age": age}


def stacks() -> str:
    """What each thread does, and each task of the running loop waits for."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for number, frame in sys._current_frames().items():  # noqa: SLF001 (there is no other way)
        parts.append(f"Thread {names.get(number, '?')!r}:\n" + describe(traceback.walk_stack(frame), backwards=True))
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        parts.append(f"Task {task.get_name()!r}:\n" + describe(frames_of(task.get_coro()), backwards=False))
    return "\n".join(parts)


def frames_of(awaitable: Any) -> Iterator[tuple[FrameType, int]]:
    """Where a coroutine stands, and what it awaits, and so on."""
    for _ in range(DEPTH):
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        frame = frame or getattr(awaitable, "ag_frame", None)
        if not isinstance(frame, FrameType):
            return
        yield frame, frame.f_lineno
        awaitable = (
            getattr(awaitable, "cr_await", None)
            or getattr(awaitable, "gi_yieldfrom", None)
            or getattr(awaitable, "ag_await", None)
        )


def describe(frames: Iterator[tuple[FrameType, int]], backwards: bool) -> str:
    """The lines of a traceback, the most recent call last; `frames` may come `backwards`."""
    summary = traceback.StackSummary.extract(frames, limit=DEPTH)
    if backwards:
        summary.reverse()
    return "".join(summary.format()) or "  (no Python code)\n"
