"""Going into the background (--daemon), without hiding what goes wrong on the way.

::

    started process --- fork ---> (session leader) --- fork ---> daemon: the master
        |                          ends at once                    | first boot
        | <------------------- its number, then the exit code -----+
        | ends with it                                             | output to /dev/null; serves

Until the first boot is over, what the daemon and its workers say appears where the started process writes to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from gateway.errors import EXIT_ERROR, EXIT_OK

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
"""What is sent to the process that was started is meant for the daemon."""


class Detached:
    """The way back from the daemon to the process that was started. `keeps_output`: it stays where it was."""

    def __init__(self, pipe: int, keeps_output: bool) -> None:
        self.keeps_output = keeps_output
        self._pipe = pipe

    def ready(self) -> None:
        """The first boot has succeeded."""
        self.report(EXIT_OK)
        if not self.keeps_output:
            silence()

    def report(self, code: int) -> None:
        """Have the process that was started end, with exit code `code`; does nothing the second time."""
        if self._pipe >= 0:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            try:
                os.write(self._pipe, b"%d\n" % code)
            except OSError:
                # It was ended by somebody else.
                pass
            self.leave()

    def leave(self) -> None:
        """Close our copy of the way back."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def detach(keeps_output: bool) -> Detached:
    """Go on in a daemon. In the process that was started, this ends it once the daemon has reported."""
    reader, writer = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    leader = os.fork()
    if leader:
        os.close(writer)
        end_with(leader, reader)
    os.close(reader)
    os.setsid()
    # Not being a session's leader, the daemon can't come to have a terminal.
    if os.fork():
        os._exit(EXIT_OK)
    os.write(writer, b"%d\n" % os.getpid())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return Detached(writer, keeps_output)


def silence() -> None:
    """From now on nobody sees what this process writes to its output."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def end_with(leader: int, reader: int) -> NoReturn:
    """Wait for the daemon's report, and end with its exit code; what would end us ends the daemon."""
    numbers: list[int] = []
    signals: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if numbers:
            tell(number)

    def tell(number: int) -> None:
        # It may just have ended.
        with contextlib.suppress(ProcessLookupError):
            os.kill(numbers[0], number)

    for number in FORWARDED:
        signal.signal(number, forward)
    received = b""
    while len(numbers) < 2 and (data := os.read(reader, 64)):
        received += data
        known = bool(numbers)
        numbers += [int(line) for line in received.split(b"\n")[:-1]][len(numbers) :]
        if signals and numbers and not known:
            tell(signals[-1])
    os.waitpid(leader, 0)
    # No report: it was killed.
    code = numbers[1] if len(numbers) == 2 else EXIT_ERROR
    os._exit(EXIT_ERROR if signals else code)
