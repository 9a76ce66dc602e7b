"""Upgrade in place (USR2): the program is started anew, and takes the sockets over.

::

    old master --- exec, with the sockets ---> new master
        |                                          | its workers boot
        | <--------------- "ready" ----------------+
        | retires its workers, ends                | serves

What is new may be everything: gateway, Python, the options of the environment. Until it is ready the old program serves
as before; if the new one ends, or is not ready in time, the old one goes on. What waits in the sockets' queues is
never lost, since one of the two always holds them.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import AppLoadError
from gateway.server.listener import Listener

from .channel import Channel
from .child import MARGIN
from .death import describe
from .hooks import call

if TYPE_CHECKING:
    from .master import Master

VARIABLE = "GATEWAY_UPGRADE"
"""Says in the new program's environment what it is handed."""


class Handover(NamedTuple):
    """What a new program is handed: descriptors by what they are for, and where to say that it is ready."""

    channel: Channel
    sockets: dict[str, list[int]]

    @classmethod
    def take(cls, environ: Mapping[str, str]) -> Handover | None:
        """What this process was handed, None when it was started by anybody else."""
        try:
            told = json.loads(environ[VARIABLE])
            if told["parent"] != os.getppid():
                return None
            channel = Channel(socket.socket(fileno=told["channel"]))
        except (KeyError, ValueError, OSError):
            return None
        channel.sock.set_inheritable(False)
        for numbers in told["sockets"].values():
            for number in numbers:
                os.set_inheritable(number, False)
        return cls(channel, told["sockets"])


class Upgrade:
    """The new program, seen from the old one. `prepare`, if given, is called in its process, `folder` where it starts.

    Raises OSError: it can't be started, and SubprocessError: `prepare` has failed.
    """

    def __init__(
        self,
        sockets: dict[str, list[int]],
        environ: Mapping[str, str],
        seconds: float,
        prepare: Callable[[], object] | None = None,
        folder: str | None = None,
    ) -> None:
        self.channel, theirs = Channel.pair()
        numbers = [number for group in sockets.values() for number in group]
        told: dict[str, Any] = {"parent": os.getpid(), "channel": theirs.fileno(), "sockets": sockets}
        self.deadline = time.monotonic() + seconds if seconds else None
        try:
            process = subprocess.Popen(
                command(),
                env={**environ, VARIABLE: json.dumps(told)},
                cwd=folder,
                pass_fds=[theirs.fileno(), *numbers],
                # As risky as every hook in a master that has threads; ours has none.
                preexec_fn=prepare,  # noqa: PLW1509
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self.pid = process.pid
        # The master reaps whoever ends.
        process.returncode = 0

    def ready(self) -> bool:
        """Whether it has said that it is ready."""
        return any("ready" in message for message in self.channel.receive() or ())


def command() -> list[str]:
    """How this program was started: `python -m gateway ...`, or a script."""
    return [sys.executable, *sys.orig_argv[1:]]


class Succession:
    """Which program follows which, as the master sees it."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.log = master.log
        self.handover = Handover.take(os.environ)
        """From the program that this one is to replace."""
        self.upgrade: Upgrade | None = None
        """The program that is to replace this one."""
        self.complete = False
        """It serves; this one only ends."""
        self._borrowed: list[tuple[Listener, str]] = []
        """Listeners whose files are still the other program's, and the files."""

    def begin(self) -> None:
        """Start the program anew, to take over."""
        master = self.master
        current = master.generations.current
        if self.upgrade is not None or master.stopping or current is None or master.generations.coming:
            self.log.warning("Not upgrading: a start, a reload, another upgrade or a stop is on its way")
            return
        if os.getpid() == 1:
            self.log.error("Not upgrading: process 1 of a container can't hand over; replace the container instead")
            return
        sockets = current.sockets.descriptors()
        if master.health is not None:
            name = f"health {master.health.address}"
            sockets[name] = [listener.sock.fileno() for listener in master.health.listeners]
        if master.control is not None and master.control.address is not None:
            name = f"control {master.control.address.path}"
            sockets[name] = [listener.sock.fileno() for listener in master.control.listeners]
        # With --preload this is what a reload is, and systemd waits for its end (Type=notify-reload).
        master.notifier.reloading()
        try:
            limit = master.config.processes.timeout_boot
            prepare = self._prepare if "pre_exec" in master.config.hooks else None
            self.upgrade = Upgrade(sockets, master.environ, limit + MARGIN if limit else 0.0, prepare, master.folder)
        except OSError as error:
            self._failed(error.strerror or str(error))
            return
        except subprocess.SubprocessError:
            self._failed("the pre_exec hook failed")
            return
        master.selector.register(self.upgrade.channel, selectors.EVENT_READ, self._hear)
        self.log.info("Upgrading: started the new program with pid: %d", self.upgrade.pid)

    def _prepare(self) -> None:
        """In the new program's process, before it is that program."""
        try:
            call(self.master.config.hooks, "pre_exec", self.master.arbiter)
        except AppLoadError as error:
            self.log.error("%s", error, exc_info=error.__cause__)
            raise

    def check(self, now: float) -> None:
        """End a new program that is not ready in time; `now` is of `time.monotonic`."""
        upgrade = self.upgrade
        if upgrade is None or self.complete or upgrade.deadline is None or now < upgrade.deadline:
            return
        self.log.error("The new program (pid:%d) is not ready in time; ending it", upgrade.pid)
        os.kill(upgrade.pid, signal.SIGKILL)
        upgrade.deadline = None

    def ended(self, pid: int, status: int) -> bool:
        """A process has ended. Returns whether it was the new program."""
        upgrade = self.upgrade
        if upgrade is None or upgrade.pid != pid:
            return False
        self.upgrade = None
        if upgrade.channel in self.master.selector.get_map():
            self.master.selector.unregister(upgrade.channel)
        upgrade.channel.close()
        if not self.complete:
            self._failed(f"the new one {describe(status)}")
        return True

    def _failed(self, reason: str) -> None:
        self.log.error("Upgrade failed, this program goes on: %s", reason)
        if not self.master.stopping:
            self.master.notifier.ready(self.master.state().reason)

    def borrow(self, listeners: Iterable[Listener]) -> None:
        """Take it that the files of `listeners`, which were handed over, are the other program's until it goes.

        It goes on with them if this one fails.
        """
        for listener in listeners:
            if listener.unlink is not None:
                self._borrowed.append((listener, listener.unlink))
                listener.unlink = None

    def take_over(self) -> None:
        """Tell the program before this one, if there is one, that it may go."""
        if self.handover is None:
            return
        self.handover.channel.send(ready="")
        self.handover.channel.close()
        self.handover = None
        self.master.notifier.silent = False
        for listener, file in self._borrowed:
            listener.unlink = file
            if listener.sock.fileno() < 0:
                # A reload has done without it meanwhile.
                listener.close()
        self._borrowed.clear()
        if self.master.pid_file is not None:
            self.master.pid_file.write(force=True)
        if self.master.control is not None:
            self.master.control.start()

    def stop(self) -> None:
        """This program was told to stop: so is the new one."""
        if self.upgrade is not None:
            os.kill(self.upgrade.pid, signal.SIGTERM)

    def leave(self) -> None:
        """In a worker: close our copies of the channels."""
        if self.upgrade is not None:
            self.upgrade.channel.close()
        if self.handover is not None:
            self.handover.channel.close()

    def _hear(self) -> None:
        """The new program is ready, or about to end."""
        upgrade = self.upgrade
        assert upgrade is not None
        if not upgrade.ready():
            self.master.selector.unregister(upgrade.channel)
            return
        self.log.info("Upgrade complete: process %d serves, this one finishes what it has", upgrade.pid)
        self.master.notifier.succeeded_by(upgrade.pid)
        self.complete = True
        self.master.leave_to_successor()
