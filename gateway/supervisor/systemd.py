"""What systemd passes to a service and wants to hear of it: sd_listen_fds(3) and sd_notify(3), without its library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""

VARIABLES = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
"""For this process only: no other that it starts may take them for its own."""


def listening_descriptors(environ: Mapping[str, str], *pids: int) -> tuple[int, ...]:
    """The listening sockets that systemd has opened for one of the processes `pids`: us, or who hands them on to us."""
    if environ.get("LISTEN_PID") not in [str(pid) for pid in pids]:
        return ()
    count = environ.get("LISTEN_FDS", "")
    return tuple(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))) if count.isdigit() else ()


class Notifier:
    """Tells systemd how the service is doing; does nothing where nobody listens."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._sent: dict[str, str] = {}
        self.watchdog_interval = 0.0
        """Seconds between two signs of life, 0 for none."""
        self._next = 0.0
        self.silent = False
        """Nothing is sent: another process speaks for the service."""
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            period = environ.get("WATCHDOG_USEC", "")
            if period.isdigit():
                self.watchdog_interval = int(period) / 1e6 / 2

    def ready(self, status: str) -> None:
        """The service, or its reload, is up."""
        self._send(READY="1", STATUS=status)

    def reloading(self) -> None:
        """A reload has begun; systemd takes it for one by the time stamp (Type=notify-reload)."""
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self) -> None:
        """The end has begun."""
        self._send(STOPPING="1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`, sent when it has changed."""
        if self._sent.get("STATUS") != text:
            self._send(STATUS=text)

    def succeeded_by(self, pid: int) -> None:
        """From now on `pid` is the service's main process, and ready: it could not say so before it was that."""
        self._send(MAINPID=str(pid), READY="1")

    def alive(self, now: float) -> None:
        """A sign of life, when it is time for one; `now` is of `time.monotonic`."""
        if self.watchdog_interval and now >= self._next:
            self._next = now + self.watchdog_interval
            self._send(WATCHDOG="1")

    def _send(self, **fields: str) -> None:
        if self.silent:
            return
        self._sent.update(fields)
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        data = "\n".join(f"{name}={value}" for name, value in fields.items()).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(data, address)
        except OSError:
            # Nobody listens, or not now: no reason to do anything else.
            pass
