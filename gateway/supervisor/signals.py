"""Signals of the master: handlers only enqueue.

Not even in Python: the interpreter's own handler writes each signal's number into a pipe (`signal.set_wakeup_fd`), and
the master reads that when its selector says so. Nothing is lost while the master is busy, and nothing of the master
runs where it does not expect to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

NAMES = ("hup", "int", "quit", "term", "ttin", "ttou", "usr1", "usr2", "winch", "chld")

COUNTED = frozenset(("int", "ttin", "ttou"))
"""Each of these counts; of the others, several that wait together are one."""

READ_SIZE = 4096

SS_DISABLE = 2


class SignalQueue:
    """The signals of NAMES that have arrived. `fileno` is what a selector watches."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._numbers = {int(getattr(signal, f"SIG{name.upper()}")): name for name in NAMES}

    def install(self) -> None:
        """Take over the signals, for as long as the process is the master."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._numbers:
            signal.signal(number, ignore)

    def fileno(self) -> int:
        """The descriptor that is readable when a signal has arrived."""
        return self._reader

    def take(self) -> list[str]:
        """The names of the signals that have arrived, in order; each once, unless it is one of COUNTED.

        What came several times stands where it came last: that is what it was sent after.
        """
        names: list[str] = []
        while True:
            try:
                data = os.read(self._reader, READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return names
            for number in data:
                name = self._numbers.get(number)
                if name is None:
                    continue
                if name in names and name not in COUNTED:
                    names.remove(name)
                names.append(name)
            if len(data) < READ_SIZE:
                return names

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Around a fork: what arrives waits until both processes have the handlers that are theirs."""
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    def leave(self) -> None:
        """In a new process: the pipe is the master's. Handlers stay, and do nothing."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.close()

    def close(self) -> None:
        """Give the descriptors back."""
        if self._reader >= 0:
            with contextlib.suppress(ValueError):  # in another thread than the main one nothing was installed
                signal.set_wakeup_fd(-1)
            os.close(self._reader)
            os.close(self._writer)
            self._reader = self._writer = -1


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN, which a program that is started would inherit."""


def in_foreground() -> bool:
    """Whether a terminal's own signals may come to this process: it runs in the foreground of one."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def leave_signal_stack() -> None:
    """Have signals handled on the stack that the thread has, on Linux.

    `faulthandler` gives it another one of a few kilobytes (sigaltstack(2)), which the handlers of some signals that
    arrive together overflow: the kernel ends the process then.
    """
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError):
            import ctypes

            class Stack(ctypes.Structure):
                _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))

            ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(None, SS_DISABLE, 0)), None)
