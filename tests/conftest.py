"""Fixtures of the whole suite: both builds of the request path in one process."""

from __future__ import annotations

import os

import pytest

from gateway import backend

PURE_ONLY = os.environ.get("GATEWAY_NO_EXTENSIONS") == "1"


def pytest_report_header() -> str:
    return f"gateway: {backend.current.describe()}"


BUILDS = [pytest.param(name, marks=pytest.mark.each_build) for name in (backend.CORE, backend.SPEEDUPS)]


@pytest.fixture(scope="session", params=BUILDS)
def build(request: pytest.FixtureRequest) -> backend.Backend:
    """Each build in turn: `build.module("kernels.head").RequestHead`, or `build.kernels.RequestHead`."""
    if request.param == backend.SPEEDUPS:
        if PURE_ONLY:
            pytest.skip("GATEWAY_NO_EXTENSIONS=1")
        if not backend.compiled_names():
            pytest.skip("nothing is compiled here")
    return backend.Backend(request.param)


@pytest.fixture(scope="session")
def compiled() -> backend.Backend:
    """The compiled build, for tests that hold it against the other one."""
    if PURE_ONLY:
        pytest.skip("GATEWAY_NO_EXTENSIONS=1")
    if not backend.compiled_names():
        pytest.skip("nothing is compiled here")
    return backend.Backend(backend.SPEEDUPS)
