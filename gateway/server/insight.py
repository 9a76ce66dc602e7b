"""What a process tells about itself when it is asked: the requests it has in flight, and what its code is doing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .inflight import since
from .stacks import task_stack, thread_stack

if TYPE_CHECKING:
    from .server import Server

REQUESTS = 200
"""Requests that are told of at most: the oldest."""

PATH_SIZE = 200
"""Characters of a path that are told."""

NOTHING = "  (no Python code)\n"


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
    """Each request and WebSocket: method (or "WebSocket"), path without the query, client, and age in seconds."""
    if server.acceptor is None:
        return
    now = time.monotonic()
    for protocol in tuple(server.acceptor.protocols):
        connection = protocol.connection
        what, _, client = connection.describe().rpartition(" of ")
        if not what:
            continue
        started = since(connection)
        age = round(max(0.0, now - started), 3) if started else None
        method, _, path = what.partition(" ")
        yield {"method": method, "path": path[:PATH_SIZE], "client": client, "age": age}


def stacks() -> str:
    """What each thread does, and each task of the running loop waits for."""
    parts = []
    for thread in threading.enumerate():
        parts.append(f"Thread {thread.name!r}:\n{thread_stack(thread.ident) or NOTHING}")
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        parts.append(f"Task {task.get_name()!r}:\n{task_stack(task) or NOTHING}")
    return "\n".join(parts)
