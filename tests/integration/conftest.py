"""Servers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .harness import Server

PROBES = {"asgi": "asgi_apps:probe", "wsgi": "wsgi_probe:probe"}
"""The two applications that answer the same targets (tests/apps/asgi_apps.py says which)."""


@pytest.fixture(scope="module", params=sorted(PROBES))
def probe(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with default options, once with the ASGI and once with the WSGI probe application."""
    with Server(PROBES[request.param], "--threads", "8") as server:
        yield server


@pytest.fixture(scope="module")
def asgi() -> Iterator[Server]:
    with Server(PROBES["asgi"]) as server:
        yield server


@pytest.fixture(scope="module")
def wsgi() -> Iterator[Server]:
    with Server(PROBES["wsgi"], "--threads", "8") as server:
        yield server


@pytest.fixture(scope="module")
def ws() -> Iterator[Server]:
    with Server("ws_apps:probe") as server:
        yield server
