"""Bell: one of the processes that wait at a listening socket is woken for a connection, not all of them.

epoll(7) has EPOLLEXCLUSIVE for this, but only where somebody waits at the epoll descriptor itself: through one that is
watched by another (core/io), or registered by a loop that does not know the flag, every process is woken, finds that
another was faster, and has spent as much as on a small request. So the listening socket is put where the loop itself
waits, with the loop's own epoll descriptor, under the number of a descriptor that the loop knows: an eventfd(2) that
nobody ever writes to. To the loop it is this one that is readable.

Who is woken has to see to the connections: others do not know of them. So each has a look of its own now and then,
which bounds how long one waits when it does not.

Which descriptor the loop's is tells the kernel (proc_pid_fdinfo(5)): the one that watches the eventfd. Where there is
no such thing, the listening socket is watched as any other.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

EPOLL_CTL_ADD, EPOLL_CTL_DEL = 1, 2
EPOLLIN, EPOLLEXCLUSIVE = 1, 1 << 28


class Event(ctypes.Structure):
    """struct epoll_event; the kernel's is packed on x86-64 only."""

    if sys.platform == "linux" and os.uname().machine == "x86_64":
        _pack_ = 1
    _fields_ = (("events", ctypes.c_uint32), ("number", ctypes.c_int), ("rest", ctypes.c_int))


class Bell:
    """Calls `ring` on `loop` when connections wait at the listening socket `number`, while it is hung up.

    Raises NotImplementedError where there is no such thing, OSError when there is no descriptor left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int, ring: Callable[[], object]) -> None:
        if sys.platform != "linux":
            raise NotImplementedError
        self._loop = loop
        self._number = number
        self._epoll = -1
        self._hung = False
        self._call = ctypes.CDLL(None, use_errno=True).epoll_ctl
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            loop.add_reader(self._event, ring)
        except BaseException:
            os.close(self._event)
            raise

    def found(self) -> bool:
        """Whether it is known where the loop waits; that may take a turn of the loop from when the bell was made."""
        if self._epoll < 0:
            self._epoll = watcher_of(self._event)
        return self._epoll >= 0

    def hang(self, alone: bool) -> bool:
        """Ring from now on: if `alone`, for connections that no other process is woken for. False when that fails."""
        self.take_down()
        event = Event(EPOLLIN | EPOLLEXCLUSIVE if alone else EPOLLIN, self._event, 0)
        self._hung = self._call(self._epoll, EPOLL_CTL_ADD, self._number, ctypes.byref(event)) == 0
        return self._hung

    def take_down(self) -> None:
        """Ring no more."""
        if self._hung:
            self._hung = False
            self._call(self._epoll, EPOLL_CTL_DEL, self._number, ctypes.byref(Event()))

    def close(self) -> None:
        """Give everything back."""
        self.take_down()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._event)
        os.close(self._event)


def watcher_of(number: int) -> int:
    """The epoll descriptor of this process that watches descriptor `number`, below 0 for none."""
    wanted = str(number)
    try:
        for entry in os.listdir("/proc/self/fd"):
            try:
                if "eventpoll" not in os.readlink(f"/proc/self/fd/{entry}"):
                    continue
                with open(f"/proc/self/fdinfo/{entry}", encoding="ascii") as file:
                    for line in file:
                        # "tfd:       17 events:       19 data:               11 ..."
                        words = line.split()
                        if words[:1] == ["tfd:"] and words[1] == wanted:
                            return int(entry)
            except FileNotFoundError:
                # The one that the folder was read with.
                continue
    except OSError:
        pass
    return -1
