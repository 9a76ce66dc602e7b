"""What stands in two places is the same in both, and what the files say is so."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def between(content: str, name: str) -> str:
    """What stands between the markers `<!-- name:begin -->` and `<!-- name:end -->`."""
    found = re.search(rf"<!-- {name}:begin[^>]*-->\n(.*?)<!-- {name}:end -->", content, re.DOTALL)
    assert found, f"no markers {name!r}"
    return found[1]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads(text("pyproject.toml"))


def test_workflow_is_a_copy() -> None:
    assert text("wheels.yml") == text(".github/workflows/wheels.yml")


def test_version_is_in_one_place(project: dict) -> None:
    from gateway._version import __version__

    assert project["project"]["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    try:
        installed = importlib.metadata.version("gateway")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gateway is not installed here, only imported")
    assert installed == __version__


def test_declared_pythons_are_built(project: dict) -> None:
    prefix = "Programming Language :: Python :: 3."
    declared = [entry.removeprefix(prefix) for entry in project["project"]["classifiers"] if entry.startswith(prefix)]
    assert project["project"]["requires-python"] == f">=3.{declared[0]}"
    assert project["tool"]["cibuildwheel"]["build"] == [f"cp3{minor}-*" for minor in declared]


def test_setup_is_short() -> None:
    assert len(text("setup.py").splitlines()) < 100


def test_no_generated_code_in_the_tree() -> None:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no git here")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in files if name.endswith((".so", ".pyd", ".pyc"))] == []
    assert [name for name in files if name.startswith("gateway/") and name.endswith((".c", ".cpp", ".html"))] == []


def test_option_table_is_up_to_date() -> None:
    """`python -m gateway.config` prints what the README shows."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    printed = subprocess.run(
        [sys.executable, "-m", "gateway.config"],
        cwd=ROOT, env={**env, "PYTHONUTF8": "1"}, capture_output=True, text=True, timeout=50, check=True,
        encoding="utf-8",
    ).stdout  # fmt: skip
    assert "`--bind" in printed
    assert between(text("README.md"), "options").strip() == printed.strip()


def commands(name: str) -> list[str]:
    """The lines of the one code block between markers."""
    found = re.search(r"```sh\n(.*?)```", between(text("README.md"), name), re.DOTALL)
    assert found
    return [line for line in found[1].splitlines() if line and not line.startswith("#")]


def test_readme_has_two_commands() -> None:
    run, test = commands("run"), commands("test")
    assert len(run) == len(test) == 1
    assert "gateway.demo:app" in run[0]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """It reads the command from the README, and leaves no part of it as it was: interpreter and folder are its own."""
    function = re.search(r"^readme_test_command\(\) \{.*?^\}", text(".ci/run"), re.DOTALL | re.MULTILINE)
    assert function
    done = subprocess.run(
        ["bash", "-c", f"{function[0]}; readme_test_command PYTHON FOLDER"],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    expected = commands("test")[0].replace("python3 -m venv .venv", "'PYTHON' -m venv 'FOLDER'")
    assert done.stdout.strip() == expected.replace(".venv/bin/", "'FOLDER'/bin/")
    assert ".venv" not in done.stdout


def test_embedding_example_of_the_readme_runs() -> None:
    examples = re.findall(r"```python\n(.*?)```", text("README.md"), re.DOTALL)
    [example] = [code for code in examples if "run_in_thread" in code]
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"serving at \[\('127\.0\.0\.1', \d+\)\]\n200\n", done.stdout)


def test_ci_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert text(".ci/run").startswith("#!/usr/bin/env bash\n")


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    broken = []
    for document in [README, ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8")):
            if "://" not in target and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert broken == []


@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
def test_cibuildwheel_understands_its_configuration(platform: str) -> None:
    pytest.importorskip("cibuildwheel")
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform],
        cwd=ROOT, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    identifiers = done.stdout.split()
    assert {name.split("-")[0] for name in identifiers} == {"cp311", "cp312", "cp313", "cp314"}
    if platform == "linux":
        assert {name.split("-")[1].split("_")[0] for name in identifiers} == {"manylinux", "musllinux"}
