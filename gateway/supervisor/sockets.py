"""The listening sockets of all workers: bound once, by the master, which keeps them over every worker's end.

What waits in a socket's queue therefore waits for the next worker; nothing is reset when one is replaced.
"""

from __future__ import annotations

from gateway.config.addresses import Address
from gateway.config.settings import ListenSettings
from gateway.server.listener import Listener, open_listeners

Key = tuple[Address, int]
"""An address, and how many times it was named before: port 0 is another port each time."""


class Sockets:
    """The sockets that `settings` ask for. Raises BindError."""

    def __init__(self, settings: ListenSettings, previous: Sockets | None = None) -> None:
        self.settings = settings
        self.groups: dict[Key, list[Listener]] = {}
        """The listeners of each address: a name may stand for several."""
        kept = previous.groups if previous is not None and previous.same_kind(settings) else {}
        opened: list[Listener] = []
        try:
            for key in keys(settings.addresses):
                if key not in kept:
                    found = open_listeners(
                        [key[0]],
                        backlog=settings.backlog,
                        reuse_port=settings.reuse_port,
                        unix_mode=settings.uds_mode,
                    )
                    opened += found
                    self.groups[key] = found
                else:
                    self.groups[key] = kept[key]
        except BaseException:
            for listener in opened:
                listener.close()
            raise

    def same_kind(self, settings: ListenSettings) -> bool:
        """Whether sockets opened for these settings are like ours, wherever they listen."""
        return settings._replace(addresses=()) == self.settings._replace(addresses=())

    @property
    def listeners(self) -> list[Listener]:
        """All of them, in the order of their addresses."""
        return [listener for group in self.groups.values() for listener in group]

    def close(self, other: Sockets | None = None) -> None:
        """Close the sockets, except for those that `other` has too, and remove their files."""
        kept = set(map(id, other.listeners)) if other is not None else ()
        for listener in self.listeners:
            if id(listener) not in kept:
                listener.close()

    def leave(self) -> list[Listener]:
        """In a worker: the sockets to accept at. Their files stay the master's."""
        for listener in self.listeners:
            listener.unlink = None
        return self.listeners


def keys(addresses: tuple[Address, ...]) -> list[Key]:
    """What each address is known by."""
    return [(address, addresses[:index].count(address)) for index, address in enumerate(addresses)]
