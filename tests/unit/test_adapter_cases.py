"""Both adapters over the table of cases that benchmarks/adapters.py runs over those of others, too."""

from __future__ import annotations

import pytest

from gateway import ASGIToWSGI, WSGIToASGI, backend
from gateway.backend import Backend
from tests.apps.adapter_cases import TO_ASGI, TO_WSGI


@pytest.fixture(autouse=True)
def _build(build: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs on both builds."""
    monkeypatch.setattr(backend, "current", build)


@pytest.mark.parametrize("name", TO_WSGI)
def test_asgi_to_wsgi(name: str) -> None:
    TO_WSGI[name].run(ASGIToWSGI)


@pytest.mark.parametrize("name", TO_ASGI)
def test_wsgi_to_asgi(name: str) -> None:
    TO_ASGI[name].run(WSGIToASGI)
