"""Servers that the tests of a module share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import APPS, Server, environment
from .load import Load

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


@pytest.fixture
def load_of() -> Iterator[Callable[..., Load]]:
    """Puts a server under a `Load` of these options, until the test is over."""
    made: list[Load] = []

    def make(server: Server, **options: Any) -> Load:
        made.append(Load(server.port, **options))
        return made[-1].__enter__()

    yield make
    for load in made:
        load.__exit__(None, None, None)


@pytest.fixture(scope="module")
def django_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of tests/apps/djangosite in it."""
    pytest.importorskip("django")
    home = tmp_path_factory.mktemp("django")
    env = environment({"DJANGOSITE_HOME": str(home)})
    result = subprocess.run(
        [sys.executable, "-m", "djangosite.prepare"], env=env, cwd=APPS, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return home
