"""Workers end with their master, however it ends.

On Linux the kernel sees to it (prctl(2), PR_SET_PDEATHSIG): even a worker that holds the interpreter for minutes is
gone at once, and with it the port, so that a new master can bind. Elsewhere the worker notices the end of its channel.
"""

from __future__ import annotations

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


class ParentDeath:
    """Made in the parent, so that no worker has to load the library; `follow` is called in the worker."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._libc = None
        if sys.platform == "linux":
            try:
                import ctypes

                self._libc = ctypes.CDLL(None)
            except (ImportError, OSError):
                pass

    def follow(self) -> None:
        """Have this process killed when its parent ends. To be called after a change of user, which undoes it."""
        if self._libc is not None:
            self._libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._parent:
            # It ended in between.
            os._exit(1)
