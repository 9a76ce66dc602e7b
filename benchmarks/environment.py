"""What the servers run in: a virtual environment of their own, with the peers and this checkout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
REQUIREMENTS = HERE / "requirements-peers.txt"
APPS = HERE / "apps"


@dataclass(frozen=True)
class Environment:
    """Where the servers' programs are, and what could not be installed."""

    bin: Path
    missing: dict[str, str]
    """Requirement -> the last words of its failed installation."""
    in_place: bool
    """gateway is imported from the checkout, not installed."""
    scratch: Path

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.bin / "python"

    def variables(self, *, ours: bool) -> dict[str, str]:
        """A server's environment variables: nothing of the caller's own that could configure it."""
        paths = [str(APPS)] + ([str(CHECKOUT)] if ours and self.in_place else [])
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        return {
            **kept,
            "PATH": f"{self.bin}{os.pathsep}{os.defpath}",
            "PYTHONPATH": os.pathsep.join(paths),
            "BENCHMARK_FILE": str(self.scratch / "file.bin"),
        }

    def gateway(self) -> str:
        """What `gateway --version` says: version, build of the request path, interpreter."""
        command = [str(self.python), "-m", "gateway", "--version"]
        result = subprocess.run(
            command, env=self.variables(ours=True), cwd=APPS, capture_output=True, text=True, timeout=60
        )
        return " ".join(result.stdout.split()) or f"does not start: {result.stderr.strip()[-200:]}"

    def versions(self) -> dict[str, str]:
        """Installed distribution -> version, and that of the interpreter."""
        code = (
            "import importlib.metadata as m, json, platform;"
            "v = {d.name: d.version for d in m.distributions()};"
            "v['python'] = platform.python_version();"
            "print(json.dumps(v))"
        )
        found: dict[str, str] = json.loads(subprocess.check_output([self.python, "-c", code], timeout=60))
        return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def prepare(python: str = sys.executable, *, in_place: bool = False, root: Path | None = None) -> Environment:
    """The environment for `python`, made or brought up to date; `root` is where environments are kept.

    Raises subprocess.CalledProcessError when gateway itself can't be installed, or no environment made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = root or cache / "gateway-benchmarks"
    version = subprocess.check_output([python, "-c", "import sys; print(sys.version)"], text=True, timeout=60)
    home = root / f"{version.split()[0]}-{_digest([REQUIREMENTS], version)}"
    programs = home / "bin"
    missing = _peers(python, home, programs)
    if not in_place:
        _gateway(home, programs)
    scratch = home / "scratch"
    scratch.mkdir(exist_ok=True)
    for name in ("limit", "pace", "echo"):
        _compile(name, scratch)
    return Environment(programs, missing, in_place, scratch)


def _peers(python: str, home: Path, programs: Path) -> dict[str, str]:
    """Install the pinned peers once; what fails is left out and named, with its reason."""
    done = home / "peers-installed"
    if done.exists():
        return dict(line.split("\t", 1) for line in done.read_text().splitlines())
    print(f"installing the peers into {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([python, "-m", "venv", home], check=True, timeout=120)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    missing = {}
    if subprocess.run([*pip, "-r", str(REQUIREMENTS)], capture_output=True, timeout=900).returncode:
        for line in REQUIREMENTS.read_text().splitlines():
            if not line or line.startswith("#"):
                continue
            result = subprocess.run([*pip, line], capture_output=True, text=True, timeout=600)
            if result.returncode:
                reason = result.stderr.strip().splitlines() or ["no reason given"]
                missing[line] = reason[-1].replace("\t", " ")
                print(f"left out: {line}: {missing[line]}", file=sys.stderr)
    done.write_text("".join(f"{name}\t{reason}\n" for name, reason in missing.items()))
    return missing


def _gateway(home: Path, programs: Path) -> None:
    """Install the checkout, compiled, unless what is installed was made from the same files."""
    tree = sorted((CHECKOUT / "gateway").rglob("*"))
    sources = [path for path in tree if path.suffix in (".py", ".pyx", ".pxd")]
    sources += [CHECKOUT / name for name in ("setup.py", "pyproject.toml")]
    digest = _digest(sources)
    stamp = home / "gateway-installed"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print("installing gateway from the checkout", file=sys.stderr)
    stamp.unlink(missing_ok=True)
    # A copy, since a build leaves its products beside the sources, and finds those of other builds there.
    copy = home / "source"
    shutil.rmtree(copy, ignore_errors=True)
    unwanted = shutil.ignore_patterns("*.so", "*.c", "*.html", "__pycache__", "*.egg-info", ".*", "build", "dist")
    shutil.copytree(CHECKOUT / "gateway", copy / "gateway", ignore=unwanted)
    for path in CHECKOUT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
    command = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*command, "--force-reinstall", str(copy)],
        check=True,
        timeout=1800,
        env={**os.environ, "GATEWAY_EXTENSIONS": "require"},
    )
    stamp.write_text(digest)


def _compile(name: str, scratch: Path) -> None:
    """Compile one of the C programs here; what needs it fails, and says so, where that can't be done."""
    source, program = HERE / f"{name}.c", scratch / name
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler and (not program.exists() or program.stat().st_mtime < source.stat().st_mtime):
        libraries = ["-lz"] if name == "echo" else ["-lm"]
        command = [compiler, "-O2", "-D_GNU_SOURCE", str(source), "-o", str(program), *libraries]
        if subprocess.run(command, timeout=60).returncode:
            print(f"left out: {source.name}", file=sys.stderr)


def _digest(files: list[Path], *words: str) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode())
    for path in files:
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
