"""Tracebacks as the application's author wants them: from the first frame on that is theirs."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

PACKAGE = os.path.dirname(os.path.abspath(__file__))


def describe_cause(error: BaseException) -> str:
    """The traceback of what the application raised, as text."""
    trace = skip_frames(error.__traceback__)
    # A syntax error names its place itself. Anything else without a frame of the application's is ours to explain.
    if trace is not None or isinstance(error, SyntaxError):
        error.__traceback__ = trace
    return "".join(traceback.format_exception(error))


def skip_frames(trace: TracebackType | None) -> TracebackType | None:
    """`trace` from the first frame on that is the application's; None if there is none."""
    while trace is not None and is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def is_ours(filename: str) -> bool:
    """Whether code in this file only loads or starts the application."""
    return (
        filename.startswith(("<frozen importlib", PACKAGE + os.sep))
        or f"{os.sep}importlib{os.sep}" in filename
        or f"{os.sep}asyncio{os.sep}" in filename
    )
