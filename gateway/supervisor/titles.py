"""What processes are called in `ps` and `top`.

With the package setproctitle, the whole command line; without it, on Linux, the short name (`ps -o comm`, `top`).
"""

from __future__ import annotations

import sys
from typing import Any

from gateway.config.settings import Config

PR_SET_NAME = 15

SHORT = 15
"""Bytes of a short name (TASK_COMM_LEN, proc_pid_comm(5))."""


def name_of(config: Config) -> str:
    """What processes are called that serve by `config`."""
    return config.proc_name or config.application.name


class Titles:
    """Made in the master, so that no worker has to load anything; `name` is what is served."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._set: Any = None
        self._libc: Any = None
        try:
            from setproctitle import setproctitle

            self._set = setproctitle
        except ImportError:
            if sys.platform == "linux":
                try:
                    import ctypes

                    self._libc = ctypes.CDLL(None)
                except (ImportError, OSError):
                    pass

    def be(self, role: str) -> None:
        """Call this process "gateway: master [app]", or "gateway: worker [app]"."""
        if self._set is not None:
            self._set(f"gateway: {role} [{self.name}]")
        elif self._libc is not None:
            self._libc.prctl(PR_SET_NAME, f"gateway: {role}".encode()[:SHORT], 0, 0, 0)
