"""Development: what --reload makes of the master.

A change has the application loaded anew, and three things are other than in a reload of a server in production:

Rule 1: those who ask after a save get what was saved. The worker before stops to accept at once, and requests wait in
the sockets' queue until the next worker takes them.
Rule 2: the worker before ends first, as what it holds (a port, a lock, a scheduler) may be needed by the next one. But
that is not waited for for long.
Rule 3: what can't start is shown, in place of the application, until the next save.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from gateway.config.sections import DevelopmentSettings
from gateway.server.worker import STOP_SIGNALS

from .birth import let_go
from .changes import Selection, Stamp, watch
from .channel import Channel
from .child import LEAVING
from .failure import Failure
from .reload import Generation

if TYPE_CHECKING:
    from .master import Master

PATIENCE = 1.0
"""Seconds the worker before gets to end; then the next one starts beside it."""

ACCEPTING = 5.0
"""Seconds it gets to accept no more, if it is just slow and not stuck: what it still accepts, old code answers."""

STUCK = 1.0
"""Seconds without a turn of its loop after which it is stuck."""

LOOK = 0.05
"""Seconds between two looks at it."""

ASLEEP = 0.5
"""Seconds between two looks after which it was the master that got no turn."""

SHOWN = 3
"""Files that the log names."""


class Development:
    """The master's part of it; `start` begins to watch."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.log = master.log
        self.settings = master.config.development
        self.since = time.time()
        self.pid = 0
        """The process that watches."""
        self.channel: Channel | None = None
        self.name = ""
        self.files: dict[str, Stamp | None] = {}
        """What workers have loaded, and how it looked."""
        self._asked = 0.0
        """When the worker before was last told to make way."""
        self._looked = self._awake = 0.0
        """When it was last looked at, and since when it can be judged."""

    def start(self) -> None:
        """Begin to watch."""
        folders = sorted(Selection.of(self.settings).folders)
        self.log.info("Will watch for changes in these directories: %s", folders)
        self._start_watcher()

    def close(self) -> None:
        """End the process that watches."""
        if self.channel is None:
            return
        if self.channel in self.master.selector.get_map():
            self.master.selector.unregister(self.channel)
        self.channel.close()
        self.channel = None
        with contextlib.suppress(ChildProcessError):  # the master has reaped it
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                os.kill(self.pid, signal.SIGKILL)
                # Its end is a signal, too, which nobody may be there for any more.
                os.waitpid(self.pid, 0)

    def leave(self) -> None:
        """In another process: close our copy of the channel."""
        if self.channel is not None:
            self.channel.close()

    def follow(self, settings: DevelopmentSettings) -> None:
        """Watch as a configuration wants that was read anew."""
        if settings == self.settings:
            return
        if not settings.reload:
            self.log.warning("--reload: was switched on when the server was started, and stays on until it ends")
            settings = settings._replace(reload=True)
        self.settings = settings
        self.since = time.time()
        self.close()
        self.start()

    def watch(self, files: dict[str, Stamp | None]) -> None:
        """Watch files, too, that a worker has loaded."""
        self.files.update(files)
        if self.channel is not None:
            self.channel.send(files=files)

    # Reloading

    def make_way(self) -> None:
        """Have the workers there are leave for those of the coming generation."""
        current = self.master.generations.current
        if current is not None:
            # Nobody is to take the place of those who leave.
            current.wanted = 0
        for child in self.master.children.values():
            if child.generation is current and child.state != LEAVING:
                child.make_way()
        self._asked = self._looked = self._awake = time.monotonic()

    def holds(self, now: float) -> bool:
        """Whether the next worker waits for one before it."""
        gap, self._looked = now - self._looked, now
        if gap >= ASLEEP:
            # So, most probably, did the worker before.
            self._asked += gap
            self._awake = now
        if now >= self._asked + ACCEPTING:
            return False
        board = self.master.board
        leaving = [child for child in self.master.children.values() if child.state == LEAVING]
        if now < self._asked + PATIENCE:
            return bool(leaving)
        if now < self._awake + STUCK:
            return any(not board.left(child.row) for child in leaving)
        return any(not board.left(child.row) and board.silence(child.row).loop < STUCK for child in leaving)

    def next_look(self, now: float) -> float | None:
        """When to ask anew whether it waits, or None."""
        return now + LOOK if self.master.generations.coming is not None and self.holds(now) else None

    def failed(self, message: str, trace: str) -> None:
        """Serve what is wrong, until the next save."""
        master = self.master
        place = master.generations.coming or master.generations.current
        assert place is not None
        master.reload_problem, master.reload_trace = message, trace
        self.log.error("The application can't start: %s", message)
        master.logs.show(trace)
        self.log.error("Waiting for the next save; until then every request is answered with this error")
        config = place.config.replace(lifespan="off").without_hooks()
        master.replace_coming(Generation(config, place.sockets, place.environ, Failure(message, trace)))

    # The process that watches

    def _start_watcher(self) -> None:
        master = self.master
        ours, theirs = Channel.pair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with master.signals.held():
            self.pid = os.fork()
            if self.pid == 0:
                ours.close()
                self._be_watcher(theirs)
        theirs.close()
        self.channel = ours
        master.selector.register(ours, selectors.EVENT_READ, self._hear)
        for path, stamp in self.files.items():
            ours.send(files={path: stamp})

    def _be_watcher(self, channel: Channel) -> NoReturn:
        """In the new process: tell of changes until the master is gone."""
        code = 1
        try:
            self.master.titles.be("watcher")
            self.master.parent_death.follow()
            let_go(self.master)
            # What is sent to all processes at once is meant for the master; it ends this one.
            for number in (*STOP_SIGNALS, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            watch(self.settings, channel, self.since)
            code = 0
        except Exception:
            self.log.exception("Internal error: watching for changes failed")
        finally:
            os._exit(code)

    def _hear(self) -> None:
        """The process that watches says something."""
        channel = self.channel
        assert channel is not None
        messages = channel.receive()
        if messages is None:
            self.close()
            self.log.error("Nothing watches for changes any more; HUP reloads")
            return
        for message in messages:
            match message:
                case {"watching": {"name": str(name), "problem": str(problem)}}:
                    self.name = name
                    if problem:
                        self.log.warning("%s; polling instead", problem)
                    self.log.info("Started reloader process [%d] using %s", self.pid, self.name)
                case {"changed": list(paths)}:
                    self.log.warning("%s detected changes in %s. Reloading...", self.name, shown(paths))
                    self.master.reload()


def shown(paths: list[str]) -> str:
    """Some of the files, as seen from the current directory."""
    home = os.getcwd() + os.sep
    names = [repr(path.removeprefix(home)) for path in paths[:SHOWN]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
