"""What setup.py builds: the switches, all extensions or none, and what goes into an sdist and a wheel.

The switches are tried on a project of two small modules with this project's setup.py, so that it takes seconds. No
network: setuptools and Cython are what is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytest.importorskip("setuptools", "77")
pytest.importorskip("Cython", "3.1")

COMPILER = shutil.which(os.environ.get("CC", "cc").split()[0]) is not None
needs_compiler = pytest.mark.skipif(not COMPILER, reason="no C compiler here")

# Seconds: compiling takes a few, on a busy machine minutes.
LONG = 250
pytestmark = pytest.mark.timeout(LONG * 2)

PROJECT = {
    "gateway/__init__.py": "",
    "gateway/_version.py": '__version__ = "0.1.0"\n',
    "gateway/py.typed": "",
    "gateway/core/__init__.py": "",
    "gateway/core/kernels/__init__.py": "",
    "gateway/core/kernels/count.py": "class Counter:\n    def next(self) -> int:\n        return 1\n",
    "gateway/core/http/__init__.py": "",
    "gateway/core/http/use.py": (
        "from ..kernels.count import Counter\n\n\n"
        "def twice(counter: Counter) -> int:\n    return counter.next() + counter.next()\n"
    ),
    "gateway/_speedups/__init__.py": "",
    "gateway/_speedups/kernels/__init__.py": "",
    "gateway/_speedups/kernels/count.pxd": "cdef class Counter:\n    cpdef int next(self) except -1\n",
    "gateway/_speedups/kernels/count.pyx": (
        "cdef class Counter:\n    cpdef int next(self) except -1:\n        return 1\n"
    ),
    "gateway/_speedups/http/__init__.py": "",
    "gateway/_speedups/http/use.pxd": (
        "from gateway._speedups.kernels.count cimport Counter\n\ncpdef twice(Counter counter)\n"
    ),
    "README.md": "",
    "LICENSE": "",
}
EXTENSIONS = {"gateway/_speedups/http/use", "gateway/_speedups/kernels/count"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name, content in PROJECT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def run(folder: Path, *arguments: str, succeed: bool = True, **environment: str) -> str:
    """Run Python in `folder`. Returns all that it printed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**env, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.returncode == 0) == succeed, done.stdout
    return done.stdout


def build(folder: Path, what: str, succeed: bool = True, **environment: str) -> tuple[Path | None, str]:
    """Build a "wheel", an "sdist" or an "editable" wheel as pip does. Returns the file, and what was printed."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    code = f"import sys; from setuptools import build_meta; build_meta.build_{what}({str(out)!r})"
    printed = run(folder, "-c", code, succeed=succeed, **environment)
    return next(out.iterdir(), None), printed


def compiled(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}


def wheel_names(path: Path | None) -> list[str]:
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def in_place(folder: Path) -> set[str]:
    return compiled([path.relative_to(folder).as_posix() for path in (folder / "gateway").rglob("*")])


@needs_compiler
def test_required_extensions_are_built(project: Path) -> None:
    wheel, _ = build(project, "wheel", GATEWAY_EXTENSIONS="require", GATEWAY_WERROR="1")
    assert wheel is not None
    assert compiled(wheel_names(wheel)) == EXTENSIONS
    assert "none-any" not in wheel.name
    assert "gateway/py.typed" in wheel_names(wheel)
    assert [name for name in wheel_names(wheel) if name.endswith((".c", ".pyx", ".pxd", ".html"))] == []


@needs_compiler
def test_one_source_becomes_both_builds(project: Path) -> None:
    run(project, "setup.py", "build_ext", "--inplace", GATEWAY_EXTENSIONS="require")
    code = (
        "import gateway._speedups.http.use as use, gateway._speedups.kernels.count as count;"
        "print(use.__file__, use.twice(count.Counter()))"
    )
    file, result = run(project, "-c", code).split()
    assert not file.endswith(".py")
    assert result == "2"


def test_required_extensions_without_a_compiler_fail(project: Path) -> None:
    wheel, printed = build(project, "wheel", succeed=False, GATEWAY_EXTENSIONS="require", CC="/bin/false")
    assert wheel is None
    assert "GATEWAY_EXTENSIONS=require, but the extensions could not be built" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="CC does not choose the compiler")
def test_no_compiler_gives_a_pure_install_and_a_notice(project: Path) -> None:
    wheel, printed = build(project, "wheel", CC="/bin/false")
    assert wheel is not None
    assert wheel.name == "gateway-0.1.0-py3-none-any.whl"
    assert compiled(wheel_names(wheel)) == set()
    assert "gateway/core/http/use.py" in wheel_names(wheel)
    assert "installed as pure Python" in printed


@needs_compiler
def test_one_failing_extension_means_none(project: Path) -> None:
    """Also none that an earlier build left behind."""
    run(project, "setup.py", "build_ext", "--inplace")
    assert in_place(project) == EXTENSIONS
    (project / "gateway/_speedups/kernels/count.pyx").write_text("#error\nthis is no Cython\n")
    wheel, printed = build(project, "wheel")
    assert compiled(wheel_names(wheel)) == set()
    assert "installed as pure Python" in printed
    build(project, "editable")
    assert in_place(project) == set()


@needs_compiler
def test_editable_builds_in_place(project: Path) -> None:
    build(project, "editable")
    assert in_place(project) == EXTENSIONS


@needs_compiler
def test_warnings_are_errors_where_extensions_are_required(project: Path) -> None:
    source = project / "gateway/_speedups/kernels/count.pyx"
    source.write_text(source.read_text() + "\n\ndef unused():\n    value = 1\n    return 2\n")
    _, printed = build(project, "wheel", succeed=False, GATEWAY_EXTENSIONS="require")
    assert "Unused entry 'value'" in printed
    wheel, _ = build(project, "wheel")
    assert compiled(wheel_names(wheel)) == EXTENSIONS


@needs_compiler
def test_annotated_pages_and_tracing(project: Path) -> None:
    _, printed = build(project, "wheel", GATEWAY_ANNOTATE="1", GATEWAY_TRACE="1")
    assert (project / "build/cython/gateway/core/http/use.html").exists()
    assert "CYTHON_TRACE" in printed


def test_switched_off_is_a_pure_wheel(project: Path) -> None:
    wheel, printed = build(project, "wheel", GATEWAY_EXTENSIONS="off")
    assert wheel is not None
    assert wheel.name == "gateway-0.1.0-py3-none-any.whl"
    assert "build_ext" not in printed


def test_unknown_switch_is_refused(project: Path) -> None:
    _, printed = build(project, "wheel", succeed=False, GATEWAY_EXTENSIONS="perhaps")
    assert "GATEWAY_EXTENSIONS must be auto, require or off, not 'perhaps'" in printed


# The project itself


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, since a build writes into it."""
    folder = tmp_path_factory.mktemp("tree") / "gateway"
    unwanted = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=unwanted, symlinks=True)
    return folder


def test_sdist_has_all_it_takes_to_build_and_test(tree: Path) -> None:
    (tree / "gateway/_speedups/kernels/leftover.c").write_text("/* by hand */\n")
    sdist, _ = build(tree, "sdist")
    assert sdist is not None
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = [
        path.relative_to(tree).as_posix()
        for folder in ("gateway", "tests", "benchmarks", "docs")
        for suffix in ("py", "pyx", "pxd", "typed", "http", "toml", "md")
        for path in (tree / folder).rglob(f"*.{suffix}")
    ]
    top = ["CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "setup.py", "wheels.yml", ".ci/run"]
    assert [name for name in [*needed, *top, ".github/workflows/wheels.yml"] if name not in names] == []
    assert [name for name in names if name.endswith((".so", ".pyd", ".pyc"))] == []
    assert [name for name in names if name.startswith("gateway/") and name.endswith((".c", ".html"))] == []


def test_wheel_has_the_package_and_nothing_else(tree: Path) -> None:
    wheel, _ = build(tree, "wheel", GATEWAY_EXTENSIONS="off")
    names = wheel_names(wheel)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"gateway"}
    sources = {path.relative_to(tree).as_posix() for path in (tree / "gateway").rglob("*.py")}
    assert sources - set(names) == set()
    [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
    assert wheel is not None
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(metadata).decode()
    required = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Requires-Dist: ")]
    assert [name for name in required if "extra ==" not in name] == ["python-dotenv>=1.0"]


def test_metadata_needs_no_cython(tree: Path) -> None:
    """Resolvers ask for metadata often; it must be cheap."""
    out = tree / "metadata"
    out.mkdir()
    code = (
        "import sys; sys.modules['Cython.Build'] = None; from setuptools import build_meta;"
        f"print(build_meta.prepare_metadata_for_build_wheel({str(out)!r}))"
    )
    assert run(tree, "-c", code).splitlines()[-1] == "gateway-0.1.0.dist-info"
