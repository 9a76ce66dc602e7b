"""How a worker ended, in words that people search for."""

from __future__ import annotations

import os
import signal


class MemoryEvents:
    """Counts what the kernel's out-of-memory killer has ended in this process's control group (Linux, cgroup v2)."""

    def __init__(self) -> None:
        self._path = events_path()
        self._count = self._read()

    def killed(self) -> bool:
        """Whether the count has grown since this was last asked."""
        count = self._read()
        grown = count > self._count
        self._count = count
        return grown

    def _read(self) -> int:
        try:
            with open(self._path, encoding="ascii") as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        except (OSError, ValueError):
            pass
        return 0


def events_path() -> str:
    """Where the kernel counts for the control group this process is in; a path that isn't there, without one."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                if line.startswith("0::"):
                    return f"/sys/fs/cgroup{line[3:].rstrip()}/memory.events"
    except OSError:
        pass
    return ""


def describe(status: int, out_of_memory: bool = False) -> str:
    """What happened to a process with the wait status `status`: "exited with code 1", "was sent SIGSEGV"."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        text = f"was sent {signal_name(number)}"
        if number == signal.SIGKILL:
            text += (
                ": out of memory, the kernel ended it. Raise the memory limit, or lower --workers"
                if out_of_memory
                else "! Perhaps out of memory?"
            )
        elif os.WCOREDUMP(status):
            text += " (core dumped)"
        return text
    return f"exited with code {os.waitstatus_to_exitcode(status)}"


def signal_name(number: int) -> str:
    """ "SIGTERM"; realtime signals have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
