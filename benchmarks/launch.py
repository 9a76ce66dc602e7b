"""Starts a server that has no command line of its own: `launch.py KIND MODULE:ATTRIBUTE PORT`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\nHello, World!"


def main() -> None:
    """Serve until killed."""
    kind, target, port = sys.argv[1:]
    if kind == "uvloop":
        constant(int(port))
        return
    sys.path.insert(0, "")
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    if kind == "bjoern":
        bjoern: Any = importlib.import_module("bjoern")
        bjoern.run(app, "127.0.0.1", int(port), listen_backlog=4096)
    else:
        fastpysgi: Any = importlib.import_module("fastpysgi")
        fastpysgi.server.backlog = 4096
        fastpysgi.server.max_content_length = 1 << 26
        fastpysgi.run(app, "127.0.0.1", int(port))


def constant(port: int) -> None:
    """A bare protocol on uvloop that answers whatever arrives: what the loop itself allows."""
    import asyncio

    uvloop: Any = importlib.import_module("uvloop")

    class Constant(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(ANSWER)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
