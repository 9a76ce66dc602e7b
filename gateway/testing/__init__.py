"""For tests of applications: clients that need no socket, and a real server on a free port.

::

    import httpx
    from gateway.testing import AsyncTransport, Transport

    with httpx.Client(transport=Transport(app), base_url="http://testserver") as client:
        assert client.get("/").status_code == 200

    def test_over_the_network(gateway_server):          # a fixture of the pytest plugin
        server = gateway_server("main:app")
        assert httpx.get(server.url).status_code == 200

Nothing is loaded before it is used: pytest imports this package at its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .process import RunningServer, ServerFailed, ServerProcess, ServerThread
    from .transports import AsyncTransport, Transport

__all__ = ["AsyncTransport", "RunningServer", "ServerFailed", "ServerProcess", "ServerThread", "Transport"]

_PLACES = {
    "AsyncTransport": "transports",
    "RunningServer": "process",
    "ServerFailed": "process",
    "ServerProcess": "process",
    "ServerThread": "process",
    "Transport": "transports",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{place}"), name)
