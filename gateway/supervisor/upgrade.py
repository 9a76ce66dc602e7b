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
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from .channel import Channel

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
    """The new program, seen from the old one. Raises OSError: it can't be started."""

    def __init__(self, sockets: dict[str, list[int]], environ: Mapping[str, str], seconds: float) -> None:
        self.channel, theirs = Channel.pair()
        numbers = [number for group in sockets.values() for number in group]
        told: dict[str, Any] = {"parent": os.getpid(), "channel": theirs.fileno(), "sockets": sockets}
        self.deadline = time.monotonic() + seconds if seconds else None
        try:
            process = subprocess.Popen(
                command(),
                env={**environ, VARIABLE: json.dumps(told)},
                pass_fds=[theirs.fileno(), *numbers],
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
