"""The listening sockets of all workers: bound once, by the master, which keeps them over every worker's end.

What waits in a socket's queue therefore waits for the next worker; nothing is reset when one is replaced.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gateway.config.addresses import Address
from gateway.config.sections import ListenSettings
from gateway.server.binding import open_listeners
from gateway.server.listener import Listener

Key = tuple[Address, int]
"""An address, and how many times it was named before: port 0 is another port each time."""


class Sockets:
    """The sockets that `settings` ask for. Raises BindError.

    Those that any of `previous` has at the same addresses are taken over as they are, with its backlog and file mode;
    and so are descriptors that were `handed` over for one.
    """

    def __init__(
        self,
        settings: ListenSettings,
        previous: Sequence[Sockets] = (),
        handed: Mapping[str, Sequence[int]] = MappingProxyType({}),
    ) -> None:
        self.groups: dict[Key, list[Listener]] = {}
        """The listeners of each address: a name may stand for several."""
        self.adopted: list[Listener] = []
        """Those of them that were handed over."""
        kept = {key: group for sockets in previous for key, group in sockets.groups.items()}
        opened: list[Listener] = []
        try:
            for key in keys(settings.addresses):
                if key in kept:
                    self.groups[key] = kept[key]
                elif name_of(key) in handed:
                    self.groups[key] = [adopted(number, key[0], settings.backlog) for number in handed[name_of(key)]]
                    self.adopted += self.groups[key]
                else:
                    found = open_listeners(
                        [key[0]],
                        backlog=settings.backlog,
                        reuse_port=settings.reuse_port,
                        unix_mode=settings.uds_mode,
                        reserve=True,
                    )
                    opened += found
                    self.groups[key] = found
        except BaseException:
            for listener in opened:
                listener.close()
            raise

    @property
    def listeners(self) -> list[Listener]:
        """All of them, in the order of their addresses."""
        return [listener for group in self.groups.values() for listener in group]

    def close(self, *others: Sockets) -> None:
        """Close the sockets, except for those that any of `others` has too, and remove their files."""
        kept = {id(listener) for other in others for listener in other.listeners}
        for listener in self.listeners:
            if id(listener) not in kept:
                listener.close()

    def descriptors(self) -> dict[str, list[int]]:
        """What to hand over, by the addresses' names."""
        return {name_of(key): [each.sock.fileno() for each in group] for key, group in self.groups.items()}

    def leave(self) -> list[Listener]:
        """The sockets to accept at, whose files are another process's to remove: the master's, or the next one's."""
        for listener in self.listeners:
            listener.unlink = None
        return self.listeners


def name_of(key: Key) -> str:
    """A key as text."""
    return f"{key[0]} {key[1]}"


def adopted(number: int, address: Address, backlog: int = 0) -> Listener:
    """The listener that another process has opened, and hands over together with its file."""
    sock = socket.socket(fileno=number)
    return Listener(
        sock,
        unlink=os.path.abspath(address.path) if address.kind == "unix" else None,
        backlog=None if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else backlog,
    )


def keys(addresses: tuple[Address, ...]) -> list[Key]:
    """What each address is known by."""
    return [(address, addresses[:index].count(address)) for index, address in enumerate(addresses)]
