"""From the master's child to a process of its own: letting go of what is the master's."""

from __future__ import annotations

import faulthandler
import os
import signal
import traceback
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from gateway.errors import EXIT_ERROR, EXIT_OK
from gateway.server.binding import own_listener
from gateway.server.hooks import HookSettings, HookWorker
from gateway.server.share import Share
from gateway.server.worker import Terminated

from .channel import Channel
from .hooks import call
from .reload import Generation
from .systemd import VARIABLES
from .titles import name_of
from .upgrade import VARIABLE
from .worker import Worker, WorkerProcess

if TYPE_CHECKING:
    from .master import Master


def become_worker(
    master: Master,
    generation: Generation,
    row: int,
    channel: Channel,
    hook_worker: HookWorker,
    stacks: BinaryIO | None,
) -> NoReturn:
    """In the new process: serve, with `row` on the board and this end of the `channel`. Raises WorkerProcess.

    `hook_worker` is what hooks know it as, `stacks` where to write what each thread does when the master asks by a
    signal.
    """
    code = EXIT_ERROR
    try:
        master.titles.name = name_of(generation.config)
        master.titles.be("worker")
        hook_worker.pid = os.getpid()
        let_go(master, generation)
        listeners = [own_listener(listener) for listener in generation.sockets.listeners]
        if generation.environ is not None:
            os.environ.clear()
            os.environ.update(generation.environ)
        for name in (*VARIABLES, VARIABLE):
            os.environ.pop(name, None)
        loggers = master.logs.loggers if generation.config.log == master.logs.settings else None
        share = Share(master.board, row)
        arbiter = master.arbiter
        arbiter.cfg = HookSettings(generation.config)

        def begin() -> None:
            if generation.config.chdir is not None:
                os.chdir(generation.config.chdir)
            if stacks is not None:
                faulthandler.register(signal.SIGUSR2, stacks)
            call(generation.config.hooks, "post_fork", arbiter, hook_worker)
            master.identity.take()
            master.parent_death.follow()

        worker = Worker(
            generation.config,
            listeners,
            share,
            channel,
            loggers,
            master.loaded,
            arbiter,
            hook_worker,
            generation.failure,
        )
        worker.silent = master.detached is not None and not master.detached.keeps_output
        code = worker.run(begin)
    except Terminated:
        code = EXIT_OK
    except SystemExit as end:
        # The application's own, from the loop's thread.
        code = end.code if isinstance(end.code, int) else EXIT_OK if end.code is None else EXIT_ERROR
    except BaseException:
        traceback.print_exc()
    raise WorkerProcess(code)


def let_go(master: Master, generation: Generation | None = None) -> None:
    """In a new process: close what is the master's, but for the sockets of `generation`."""
    master.signals.leave()
    master.selector.close()
    for part in master.parts:
        part.leave()
    if master.detached is not None:
        master.detached.leave()
    master.succession.leave()
    for child in master.children.values():
        child.leave()
    for other in master.generations.growing:
        other.sockets.leave()
        if other is not generation:
            other.sockets.close(*([generation.sockets] if generation is not None else ()))
