"""Into the background (--daemon): who starts the server gets the prompt back when it is up, or is told why it isn't.

::

    the command --fork--> leader of a new session --fork--> the master
       waits  <------------  waits  <------------------------ up, or its exit code

The two that wait are gone then. The master has no terminal, and can't get one, as it leads no session; until it is up
it can still write to the one it was started from. Workers never do: what keeps one from booting the master says.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import NoReturn

from gateway.errors import EXIT_ERROR, EXIT_OK

from .logs import flush_streams

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""What is sent to the command while it waits is meant for the server that it starts."""


class Daemon:
    """In the process that is to be the master; `report` is where somebody waits to hear that it is up."""

    def __init__(self, report: int) -> None:
        self._report = report

    def up(self) -> None:
        """The server is up: let go of whoever has started it, and of its terminal. Later calls do nothing."""
        if self._report < 0:
            return
        detach_streams()
        os.write(self._report, b"\n")
        os.close(self._report)
        self._report = -1

    def leave(self) -> None:
        """In a worker: only the master reports, and only it still knows the terminal."""
        if self._report >= 0:
            os.close(self._report)
            self._report = -1
            detach_streams()


def daemonize() -> Daemon:
    """Go on in the background. Ends the process that calls this, once the server is up or has failed."""
    flush_streams()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        os.close(writer)
        wait_for(pid, mask, lambda: None)
    os.setsid()
    pid = os.fork()
    if pid:
        os.close(writer)
        wait_for(pid, mask, lambda: os.read(reader, 1))
    os.close(reader)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return Daemon(writer)


def wait_for(pid: int, mask: Iterable[int], report: Callable[[], bytes | None]) -> NoReturn:
    """End as process `pid` does, or well as soon as `report` has something to tell. `mask` is that of its signals."""
    for number in FORWARDED:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if report():
        os._exit(EXIT_OK)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else EXIT_ERROR)


def detach_streams() -> None:
    """Have the standard streams lead nowhere."""
    flush_streams()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    if nowhere > 2:
        os.close(nowhere)
