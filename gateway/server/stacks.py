"""Stacks for the log: of threads, of asyncio's tasks, and, without the interpreter's help, of all threads at once."""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import os
import signal
import sys
import traceback
from logging import Logger
from types import FrameType
from typing import Any

from gateway.tracebacks import is_ours

STACKS_SIGNAL: int | None = getattr(signal, "SIGRTMIN", None) or getattr(signal, "SIGINFO", None)
"""Has a worker write what each of its threads does, and go on; None where there is no such signal."""

DEPTH = 50
"""Frames shown of one stack, the innermost."""

STARTERS = tuple(
    os.path.join(*path)
    for path in (("asyncio", "runners.py"), ("asyncio", "base_events.py"), ("gateway", "server", "threads.py"))
)
"""Whose code runs a loop or a thread."""


def stack_file(log: Logger) -> Any:
    """The file that `log` goes to, for what is written without it; None if there is none."""
    for handler in log.handlers:
        stream = getattr(handler, "stream", None)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.fileno()  # type: ignore[union-attr]
            return stream
    return sys.__stderr__


def enable_stack_dumps(log: Logger) -> None:
    """Have ABRT and crashes write what each thread does to the error log before they end the process, and
    STACKS_SIGNAL without an end.

    None of them needs the GIL.
    """
    file = stack_file(log)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        faulthandler.enable(file)
    if STACKS_SIGNAL is not None:
        # First of all it must not do what it does by default: end the process.
        signal.signal(STACKS_SIGNAL, signal.SIG_IGN)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            faulthandler.register(STACKS_SIGNAL, file, all_threads=True)


def thread_stack(ident: int | None) -> str:
    """What the thread with this identifier does now, as lines of a traceback; empty if it is gone."""
    frame = sys._current_frames().get(ident) if ident is not None else None  # noqa: SLF001
    try:
        return "" if frame is None else "".join(traceback.format_list(_own_part(traceback.extract_stack(frame))))
    finally:
        # A frame that is kept keeps what its function has.
        del frame


def _own_part(stack: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """The innermost frames, without those that lead from the start of the process or thread to the application."""
    begin = next((index for index, frame in enumerate(stack) if frame.filename.endswith(STARTERS)), len(stack))
    while begin < len(stack) and is_ours(stack[begin].filename):
        begin += 1
    return stack[begin:][-DEPTH:] or stack[-DEPTH:]


def task_stack(task: Any) -> str:
    """Where an asyncio task waits, or is: from its coroutine to the innermost one that it awaits."""
    lines: list[str] = []
    awaitable = task.get_coro()
    while awaitable is not None and len(lines) < DEPTH:
        frame = _attribute(awaitable, "frame")
        if isinstance(frame, FrameType):
            lines.append(_line(frame))
        inner = _attribute(awaitable, "await")
        awaitable = None if inner is awaitable else inner
    return "".join(lines)


def _attribute(awaitable: Any, name: str) -> Any:
    """`cr_frame`, `gi_frame` or `ag_frame`; `cr_await`, `gi_yieldfrom` or `ag_await`."""
    for prefix in ("cr", "gi", "ag"):
        attribute = f"{prefix}_{'yieldfrom' if (prefix, name) == ('gi', 'await') else name}"
        found = getattr(awaitable, attribute, None)
        if found is not None:
            return found
    return None


def _line(frame: FrameType) -> str:
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip()
    text = f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}\n'
    return text + (f"    {source}\n" if source else "")
