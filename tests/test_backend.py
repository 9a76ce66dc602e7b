"""The build in use is the one that was promised, and never a mix."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import backend

EXPECTED = os.environ.get("GATEWAY_EXPECT_BACKEND")
PACKAGE = Path(backend.__file__).parent


def compiled(names: set[str] | None = None) -> bool:
    return (backend.compiled_names() if names is None else names) == set(backend.module_names())


@pytest.mark.skipif(not EXPECTED, reason="GATEWAY_EXPECT_BACKEND does not say which build was made")
def test_the_promised_build_is_in_use() -> None:
    assert backend.current.name == EXPECTED


def test_all_or_nothing() -> None:
    """A build that left modules out must not pass."""
    there = backend.compiled_names()
    assert there == set() or there == set(backend.module_names())


def test_compiled_is_really_compiled(build: backend.Backend) -> None:
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    for name in backend.module_names():
        module = build.module(name)
        assert module.__file__ is not None
        assert module.__file__.endswith(suffixes) == (build.name == backend.SPEEDUPS), name


def test_same_public_names_in_both_builds() -> None:
    """What a module of core offers, its compiled form offers too."""
    if not compiled():
        pytest.skip("not compiled here")
    pure, speedups = backend.load(backend.CORE), backend.load(backend.SPEEDUPS)
    missing = {}
    for name in backend.module_names():
        source = pure.module(name)
        classes = {
            key
            for key, value in vars(source).items()
            if isinstance(value, type) and value.__module__ == source.__name__ and not key.startswith("_")
        }
        if absent := classes - set(vars(speedups.module(name))):
            missing[name] = absent
    assert missing == {}


def test_rooms_hold_modules_and_classes(build: backend.Backend) -> None:
    assert build.kernels.base is build.module("kernels.base")
    assert build.kernels.Connection is build.module("kernels.base").Connection
    assert build.http.Limits.__module__ == f"gateway.{build.name}.http.limits"
    with pytest.raises(AttributeError, match="no room 'attic'"):
        _ = build.attic


def test_descriptions() -> None:
    assert backend.Backend("core").describe() == "pure Python"
    assert backend.Backend("_speedups").describe() == "compiled"
    with pytest.raises(ValueError, match="no such backend"):
        backend.Backend("fast")


STARTED = """
import asyncio, sys
from gateway import Server

async def app(scope, receive, send): ...

async def main():
    async with Server(app, bind="127.0.0.1:0", lifespan="off") as server:
        return server.backend.name

name = asyncio.run(main())
unused = {f"gateway.{name}.{module}" for module in ("wsgi.task", "http.accesslog", "kernels.queue")}
unused |= {"dataclasses", "email", "gateway.tls", "importlib.metadata", "stringprep", "tempfile", "tomllib"}
print(*sorted(unused & set(sys.modules)))
"""


def test_a_server_loads_nothing_it_has_no_use_for() -> None:
    """Each of these was loaded once for something small, and took time and memory of every start."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.split() == []


# Choosing, in a process of its own and on a copy of the package in which things are missing


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "gateway", ignore=shutil.ignore_patterns("__pycache__", "*.html", "*.c"))
    return tmp_path


def choice(folder: Path, **environment: str) -> tuple[str, str]:
    """What a fresh process chooses, and what it warns of."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "PYTHON"))}
    code = "import gateway.backend as b, sys; assert b.__file__.startswith(sys.argv[1]); print(b.current.name)"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, str(folder)],
        cwd=folder,
        env={**env, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def extension_files(folder: Path) -> list[Path]:
    # Those of this interpreter; others' may lie beside them.
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    return sorted(path for path in (folder / "gateway" / "_speedups").rglob("*") if path.name.endswith(suffix))


def test_nothing_compiled_is_core_without_a_word(copy: Path) -> None:
    for path in extension_files(copy):
        path.unlink()
    assert choice(copy) == ("core", "")


@pytest.mark.skipif(not compiled(), reason="not compiled here")
class TestCompiled:
    def test_complete_is_speedups(self, copy: Path) -> None:
        assert choice(copy) == ("_speedups", "")

    def test_switched_off_is_core_without_a_word(self, copy: Path) -> None:
        assert choice(copy, GATEWAY_NO_EXTENSIONS="1") == ("core", "")

    def test_one_missing_is_core_and_said(self, copy: Path) -> None:
        extension_files(copy)[0].unlink()
        name, warning = choice(copy)
        assert name == "core"
        assert "RuntimeWarning: the compiled part of gateway is incomplete (not there: " in warning

    def test_one_broken_is_core_and_said(self, copy: Path) -> None:
        extension_files(copy)[0].write_bytes(b"not a library")
        name, warning = choice(copy)
        assert name == "core"
        assert "RuntimeWarning: the compiled part of gateway can't be imported" in warning
