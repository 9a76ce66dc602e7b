"""What operators order by signals, and what that has the master do."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from .signals import in_foreground

if TYPE_CHECKING:
    from .master import Master


class Orders:
    """Each method is what a signal of its name means. They return at once: the master's turns do the rest."""

    def __init__(self, master: Master) -> None:
        self.master = master

    def take(self) -> None:
        """Obey the signals that have arrived."""
        master = self.master
        for name in master.signals.take():
            # Whoever has ended is reaped in every turn.
            if name != "chld":
                master.log.info("Handling signal: %s", name)
                getattr(self, name)()

    def term(self) -> None:
        """Stop gracefully."""
        self.master.announce_stop()

    def int(self) -> None:
        """Stop gracefully, the second time at once."""
        master = self.master
        if master.stopping or master.stop_at is not None:
            master.stop(signal.SIGQUIT)
        else:
            master.announce_stop()

    def quit(self) -> None:
        """Stop at once."""
        self.master.stop(signal.SIGQUIT)

    def hup(self) -> None:
        """Read configuration and application anew."""
        master = self.master
        if master.loaded is not None:
            # Only a new process can load it anew.
            master.succession.begin()
        else:
            master.reload()

    def ttin(self) -> None:
        """One worker more."""
        self.master.scale(1)

    def ttou(self) -> None:
        """One worker less."""
        self.master.scale(-1)

    def usr1(self) -> None:
        """Open log files anew."""
        master = self.master
        master.logs.reopen()
        for child in master.children.values():
            child.signal(signal.SIGUSR1)

    def usr2(self) -> None:
        """Start the whole program anew, to take over."""
        self.master.succession.begin()

    def winch(self) -> None:
        """Stop the workers."""
        master = self.master
        if in_foreground():
            master.log.debug("A window has changed its size; not taken for the signal to stop the workers")
            return
        master.paused = True
