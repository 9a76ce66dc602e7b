"""The house as it was drawn: imports go down only, siblings don't know each other, nothing goes in a circle.

Syntax trees are read, nothing is imported. Declarations of the compiled mirror (`cimport`) follow the same rules.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gateway"

# From the top down; what shares a line are siblings. The package itself (`gateway/__init__.py`) only hands out
# public names and stands above all.
HOUSE = [
    ["__main__"],
    ["cli", "integrations"],
    ["supervisor"],
    ["demo", "testing"],
    ["adapters"],
    ["server"],
    ["hybrid", "loader", "log", "metrics", "tracebacks"],
    ["config"],
    ["tls"],
    ["backend"],
    ["core", "_speedups"],
    ["errors", "_version"],
]
CORE = [
    ["asgi", "wsgi", "http1", "http2", "websocket"],
    ["http", "io"],
    ["kernels"],
]
# What a process has once, and `core` is handed.
NOT_IN_CORE = {
    "argparse", "logging.config", "logging.handlers", "multiprocessing", "selectors", "signal", "socket",
    "socketserver", "ssl", "subprocess", "warnings",
}  # fmt: skip
ASYNCIO_IN_CORE = ("gateway.core.asgi.", "gateway.core.kernels.driver")


@dataclass(frozen=True)
class Import:
    """Module `source` imports `target`, in line `line`."""

    source: str
    target: str
    line: int = 0
    typing_only: bool = False

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(name: str, path: Path, known: Iterable[str]) -> Iterator[Import]:
    """The imports of one file; `from a import b` is an import of `a.b` where that is a module."""
    known = set(known)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"), str(path))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, id(node) in typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")
                base = ".".join([*anchor[: len(anchor) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                target = deeper if deeper in known else base
                yield Import(name, target, node.lineno, id(node) in typing_only)


def all_imports() -> list[Import]:
    files = sources()
    return [found for name, path in files.items() for found in imports_of(name, path, files)]


def all_cimports() -> list[Import]:
    pattern = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport|cimport\s+([\w.]+))", re.MULTILINE)
    found = []
    for path in sorted((PACKAGE / "_speedups").rglob("*.p[xy][dx]")):
        text = path.read_text("utf-8")
        for match in pattern.finditer(text):
            target = match[1] or match[2]
            line = text.count("\n", 0, match.start()) + 1
            if target != module_name(path):  # a kernel may name its own declarations
                found.append(Import(module_name(path), target, line))
    return found


def room(module: str, depth: int) -> str:
    parts = module.split(".")
    return parts[depth] if len(parts) > depth else ""


def climbs(imports: Iterable[Import], layers: list[list[str]], depth: int) -> list[str]:
    """What goes up or sideways between rooms; `depth` is where in a dotted name the room stands."""
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    problems = []
    for found in imports:
        source, target = room(found.source, depth), room(found.target, depth)
        if not source or source == target:
            continue
        if source not in rank:
            problems.append(f"{found.source}: no place for {source!r} in the drawing")
        elif not target:
            problems.append(f"{found}: take it from the module that defines it")
        elif target not in rank:
            problems.append(f"{found}: no place for {target!r} in the drawing")
        elif rank[target] < rank[source]:
            problems.append(f"{found}: a climb")
        elif rank[target] == rank[source]:
            problems.append(f"{found}: siblings")
    return problems


def circle(imports: Iterable[Import]) -> list[str]:
    """One circle of modules, or nothing."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if found.source != found.target:
            graph.setdefault(found.source, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def inside(imports: Iterable[Import], prefix: str) -> list[Import]:
    return [found for found in imports if (found.target + ".").startswith(prefix + ".")]


def test_imports_go_down() -> None:
    assert climbs(inside(all_imports(), "gateway"), HOUSE, 1) == []


def test_core_is_layered() -> None:
    imports = [found for found in all_imports() if found.source.startswith("gateway.core.")]
    assert climbs(inside(imports, "gateway.core"), CORE, 2) == []


def test_declarations_are_layered() -> None:
    cimports = inside(all_cimports(), "gateway")
    assert [str(found) for found in cimports if room(found.target, 1) != "_speedups"] == []
    assert climbs(cimports, CORE, 2) == []


def test_declarations_cimport_what_is_there() -> None:
    there = {module_name(path) for path in (PACKAGE / "_speedups").rglob("*.pxd")}
    assert [str(found) for found in inside(all_cimports(), "gateway") if found.target not in there] == []


def test_no_circles() -> None:
    imports = [found for found in inside(all_imports(), "gateway") if not found.typing_only]
    # A package imports its parts on behalf of others, which is no dependency of theirs.
    packages = {name for name, path in sources().items() if path.name == "__init__.py"}
    assert circle(found for found in imports if found.source not in packages) == []


def test_no_circles_among_declarations() -> None:
    assert circle(inside(all_cimports(), "gateway")) == []


def test_only_backend_picks_a_build() -> None:
    """Everyone else goes through `gateway.backend`, or there would be a mix of two builds in one process."""
    problems = [
        str(found)
        for found in inside(all_imports(), "gateway")
        if room(found.target, 1) in ("core", "_speedups")
        and room(found.source, 1) not in ("core", "backend")
        and not found.typing_only
    ]
    assert problems == []


def test_core_imports_itself_relatively() -> None:
    """A relative import stays inside the build it runs in; gateway.errors is one for both."""
    problems = []
    for name, path in sources().items():
        if not name.startswith("gateway.core."):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                absolute = [] if node.level else [node.module or ""]
                if node.level > 2:
                    problems.append(f"{name}:{node.lineno} leaves core relatively")
            elif isinstance(node, ast.Import):
                absolute = [alias.name for alias in node.names]
            else:
                continue
            problems += [
                f"{name}:{node.lineno} imports {target}"
                for target in absolute
                if room(target, 0) == "gateway" and target != "gateway.errors"
            ]
    assert problems == []


def test_core_is_handed_what_it_needs() -> None:
    """No configuration, no environment, no sockets, no set-up of logs; asyncio only where coroutines are driven."""
    problems = []
    for found in all_imports():
        if not found.source.startswith("gateway.core."):
            continue
        if found.target in NOT_IN_CORE or room(found.target, 0) in NOT_IN_CORE:
            problems.append(str(found))
        if room(found.target, 0) == "asyncio" and not found.source.startswith(ASYNCIO_IN_CORE):
            problems.append(str(found))
        if found.target == "__future__":
            problems.append(f"{found}: annotations are read when it is compiled")
    for name, path in sources().items():
        if name.startswith("gateway.core."):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Attribute) and node.attr in (
                    "environ", "getenv", "basicConfig", "dictConfig", "addHandler", "setLevel",
                ) and ast.unparse(node.value) in ("os", "logging", "logging.config", "self.log"):  # fmt: skip
                    problems.append(f"{name}:{node.lineno} uses {ast.unparse(node)}")
    assert problems == []


def test_the_mirror_is_complete() -> None:
    """Every module of core is compiled, from a kernel or from itself, and nothing else is."""

    def modules(folder: Path, *patterns: str) -> set[str]:
        paths = (path for pattern in patterns for path in folder.rglob(pattern))
        return {path.relative_to(folder).with_suffix("").as_posix() for path in paths if path.stem != "__init__"}

    plain = modules(PACKAGE / "core", "*.py")
    compiled = modules(PACKAGE / "_speedups", "*.pyx", "*.pxd")
    assert {"not compiled": plain - compiled, "without a source": compiled - plain} == {
        "not compiled": set(),
        "without a source": set(),
    }


def test_the_mirror_has_no_python() -> None:
    """A .py beside the compiled modules would be a third copy."""
    names = [path.relative_to(ROOT).as_posix() for path in (PACKAGE / "_speedups").rglob("*.py")]
    assert [name for name in names if not name.endswith("__init__.py")] == []


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        ("gateway.server.server", "gateway.cli", "a climb"),
        ("gateway.core.http.stream", "gateway.log", "a climb"),
        ("gateway.log", "gateway.loader", "siblings"),
        ("gateway.attic", "gateway.errors", "no place"),
        ("gateway.server.server", "gateway.attic", "no place"),
        ("gateway.server.server", "gateway", "take it from"),
        ("gateway.server.server", "gateway.backend", None),
        ("gateway.server.server", "gateway.server.listener", None),
    ],
)
def test_a_climb_is_noticed(source: str, target: str, problem: str | None) -> None:
    problems = climbs([Import(source, target)], HOUSE, 1)
    assert problems == [] if problem is None else problem in problems[0]


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        ("gateway.core.asgi.cycle", "gateway.core.http1.connection", "siblings"),
        ("gateway.core.http.stream", "gateway.core.http1.connection", "a climb"),
        ("gateway.core.kernels.head", "gateway.core.http.fields", "a climb"),
        ("gateway.core.http1.connection", "gateway.core.kernels.head", None),
    ],
)
def test_a_climb_inside_core_is_noticed(source: str, target: str, problem: str | None) -> None:
    problems = climbs([Import(source, target)], CORE, 2)
    assert problems == [] if problem is None else problem in problems[0]


def test_a_circle_is_noticed() -> None:
    imports = [Import("a", "b"), Import("b", "c"), Import("c", "a")]
    assert set(circle(imports)) == {"a", "b", "c"}
    assert circle(imports[:2]) == []


def test_imports_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "connection.py"
    file.write_text(
        "import os\n"
        "from ..kernels.head import RequestHead\n"
        "from ..kernels import base\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from .state import State\n"
        "def late():\n"
        "    from gateway.errors import ConfigError\n"
    )
    found = list(imports_of("gateway.core.http1.connection", file, {"gateway.core.kernels.base"}))
    assert [(each.target, each.line, each.typing_only) for each in found] == [
        ("os", 1, False),
        ("gateway.core.kernels.head", 2, False),
        ("gateway.core.kernels.base", 3, False),
        ("typing", 4, False),
        ("gateway.core.http1.state", 6, True),
        ("gateway.errors", 8, False),
    ]
