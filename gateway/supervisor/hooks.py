"""gunicorn's hooks, as the master and its workers call them: by their names, and at gunicorn's moments.

::

    master    on_starting, (bind), when_ready, nworkers_changed
              pre_fork ------------------------> worker    post_fork, (user and group), (application loaded),
                                                           post_worker_init, (serve), worker_int, worker_abort,
              child_exit <--- (reaped) --------------------worker_exit
              on_reload, nworkers_changed: HUP, when the configuration was read anew
              pre_exec: USR2, in the process that becomes the new program
              on_exit

A hook that raises on the way to serving (on_starting, when_ready, pre_fork, post_fork, post_worker_init, on_reload,
pre_exec) makes that fail as any other fault in the configuration would: the first boot ends, a reload or an upgrade is
given up, a worker is tried again later. What the others raise goes to the log, and that is all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.errors import EXIT_BOOT, AppLoadError
from gateway.server.hooks import HookSettings, HookWorker

if TYPE_CHECKING:
    from .master import Master


def call(hooks: Mapping[str, Callable[..., Any]], name: str, *arguments: Any) -> None:
    """Call the hook `name`, if there is one. Raises AppLoadError, caused by what it raises."""
    hook = hooks.get(name)
    if hook is None:
        return
    try:
        hook(*arguments)
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise AppLoadError(f"{name} hook: {what}", exit_code=EXIT_BOOT, show_traceback=True) from error


class Arbiter:
    """What hooks know as `server`: gunicorn's master, with the attributes that hooks use."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self.pid = os.getpid()
        self.log = master.log
        self.cfg = HookSettings(master.config)
        self.proc_name = master.titles.name
        self.worker_age = 0
        self.WORKERS: dict[int, HookWorker] = {}
        """By process."""
        self.num_workers: int | None = None
        """How many there should be."""
        self.master_name = "Master"

    @property
    def address(self) -> list[Any]:
        """Where it was told to listen."""
        return self.cfg.address

    @property
    def LISTENERS(self) -> list[Any]:  # noqa: N802 (the name is gunicorn's)
        """The listening sockets."""
        generations = self._master.generations.growing
        return [listener.sock for listener in generations[-1].sockets.listeners] if generations else []

    @property
    def timeout(self) -> float:
        """Seconds."""
        return float(self.cfg.timeout)

    @property
    def reexec_pid(self) -> int:
        """The new program's process, while there is one; else 0."""
        upgrade = self._master.succession.upgrade
        return upgrade.pid if upgrade is not None else 0

    @property
    def master_pid(self) -> int:
        """The process of the program before this one, until this one is ready; else 0."""
        return os.getppid() if self._master.succession.handover is not None else 0
