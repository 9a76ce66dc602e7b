"""A server process: started on one core, accounted for with all its children, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

TICKS = os.sysconf("SC_CLK_TCK")


class StartError(Exception):
    """The server ended, or did not answer in time; the text has the last lines of its output."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def busy_seconds(core: int) -> float:
    """Seconds for which tasks have kept `core` busy since boot, interrupts and stolen time left out."""
    with open("/proc/stat") as stat:
        for line in stat:
            name, *values = line.split()
            if name == f"cpu{core}":
                user, nice, system = (int(value) for value in values[:3])
                return (user + nice + system) / TICKS
    return 0.0


class ServerProcess:
    """A server, from its exec to its end. Use it in a `with` statement."""

    def __init__(self, command: list[str], variables: dict[str, str], directory: Path, log: Path, core: int) -> None:
        self.log = log
        with open(log, "wb") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=variables,
                start_new_session=True,
            )

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until(self, ready: Callable[[], bool], timeout: float = 15.0) -> float:
        """Seconds from exec until `ready()`. Raises StartError when the server ends first, or late."""
        while not ready():
            if self._process.poll() is not None:
                raise StartError(f"ended with {self._process.returncode}: {self.tail()}")
            if time.monotonic() - self._started > timeout:
                raise StartError(f"no answer within {timeout:g} s: {self.tail()}")
            time.sleep(0.002)
        return time.monotonic() - self._started

    def tail(self) -> str:
        """The last lines the server printed, on one line."""
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-4:])[-600:]

    @property
    def alive(self) -> bool:
        """The process that was started has not ended."""
        return self._process.poll() is None

    def tree(self) -> list[int]:
        """Process ids of the server and of all that descend from it."""
        parents: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    fields = _stat(int(entry))
                    parents.setdefault(int(fields[1]), []).append(int(entry))
        found = [self._process.pid]
        for process in found:
            found += parents.get(process, [])
        return found

    def cpu(self) -> tuple[float, float]:
        """User and system seconds spent so far by the whole tree."""
        user = system = 0
        for process in self.tree():
            with contextlib.suppress(OSError):
                fields = _stat(process)
                user += int(fields[11])
                system += int(fields[12])
        return user / TICKS, system / TICKS

    def memory(self) -> tuple[float, float]:
        """Resident MiB of the whole tree, and the same with each shared page split between its users."""
        resident = shared = 0
        for process in self.tree():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                    name, _, value = line.partition(":")
                    if name == "Rss":
                        resident += int(value.split()[0])
                    elif name == "Pss":
                        shared += int(value.split()[0])
        return resident / 1024, shared / 1024

    def largest(self) -> float:
        """Resident MiB of the biggest process, which is the one that serves."""
        pages = 0
        for process in self.tree():
            with contextlib.suppress(OSError):
                pages = max(pages, int(Path(f"/proc/{process}/statm").read_text().split()[1]))
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def stop(self) -> None:
        """End the server and all that it started: first politely, after 3 s without asking."""
        tree = self.tree()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        for process in tree[1:]:
            # An id may have been given to somebody else since: only one still in our session is ours.
            with contextlib.suppress(OSError):
                if os.getsid(process) == self._process.pid:
                    os.kill(process, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(5)


def _stat(process: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (the second may hold spaces and parentheses)."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
