"""The pages in docs/ are true: their files are written, their commands run, their output compared.

What follows the language on a fence says what a block is:

- ``file=NAME``: the content of a file. Absolute names are below the test's own folder, as are all paths in commands.
- ``serve``: a command that serves, until the next one or the end of the page; it must then stop with exit code 0.
- ``nginx``: what an operator does to nginx. Here it is started with the page's file.
- ``sh`` alone: commands that end, with exit code 0. A ``text`` block right after it is what they print; ``...`` stands
  for anything.

Ports in the pages are exchanged for free ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .harness import START, WAIT, environment, free_port
from .test_nginx import NGINX

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))

FENCE = re.compile(r"^```(\S+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"(?<=[:= ])8\d{3}\b")
FOLDER = re.compile(r"(?<![\w.])/(?:srv|run|etc)/")
COMMANDS = {"curl", "nginx", "systemd-socket-activate"}

NEEDS = {
    "django.md": "django",
    "fastapi.md": "fastapi",
    "flask.md": "flask",
}

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="the pages are written for a POSIX shell"),
    pytest.mark.skipif(not PAGES, reason="docs/ is not there"),
]


class Block(NamedTuple):
    language: str
    info: str
    content: str

    @property
    def file(self) -> str:
        return self.info.removeprefix("file=") if self.info.startswith("file=") else ""


def blocks(page: str) -> list[Block]:
    return [Block(*match.groups(default="")) for match in FENCE.finditer((DOCS / page).read_text("utf-8"))]


class Stage:
    """Where one page is played: a folder for its files, its ports, and the server that runs now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.server: subprocess.Popen[bytes] | None = None
        self.log: list[str] = []
        self.news = threading.Condition()
        self.nginx: subprocess.Popen[bytes] | None = None
        for name in ("run/gateway", "run/shop", "srv/shop", "bin"):
            (folder / name).mkdir(parents=True)
        self.env = environment()
        self.env["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}:/usr/sbin"
        self.env["PORT"] = self.here(":8000").removeprefix(":")
        # In the commands themselves, since not all that start a server pass their environment on.
        search = shlex.quote(f"{self.env['PYTHONPATH']}:{folder}")
        python = f"PYTHONPATH={search} exec {shlex.quote(sys.executable)}"
        self.shim("python", f'{python} "$@"')
        self.shim("gateway", f'{python} -m gateway "$@"')

    def shim(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def here(self, text: str) -> str:
        """`text` with this stage's ports and folders."""

        def port(match: re.Match[str]) -> str:
            number = match[0]
            return str(self.ports.setdefault(number, free_port()))

        return FOLDER.sub(lambda match: f"{self.folder}{match[0]}", PORT.sub(port, text))

    def write(self, name: str, content: str) -> None:
        path = self.folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(content))

    def run(self, commands: str) -> str:
        result = subprocess.run(
            ["sh", "-ec", self.here(commands)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START,
        )
        shown = f"{commands}\n{result.stdout}\n{result.stderr}\nthe server's log:\n{''.join(self.log)}"
        assert result.returncode == 0, shown
        return result.stdout

    def serve(self, commands: str) -> None:
        self.stop()
        *before, last = commands.rstrip("\n").split("\n")
        if before:
            self.run("\n".join(before))
        self.log.clear()
        # `exec` follows variables that are set for the command.
        settings, command = re.fullmatch(r"((?:[A-Z_]+=\S+ )*)(.*)", self.here(last)).groups()  # type: ignore[union-attr]
        self.server = subprocess.Popen(
            ["sh", "-c", f"{settings and 'export ' + settings + ';'} exec {command}"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        threading.Thread(target=self._read, args=(self.server,), daemon=True).start()
        if command.startswith("systemd-socket-activate"):
            # It starts the server at the first connection.
            self.wait_for("Listening on")
        else:
            self.wait_for("Listening at: ")

    def wait_for(self, text: str) -> None:
        assert self.server is not None
        deadline = time.monotonic() + START
        with self.news:
            while not any(text in line for line in self.log):
                ended = self.server.poll() is not None and not self.news.wait(0.5)
                assert not ended and time.monotonic() < deadline, f"no {text!r} in:\n{''.join(self.log)}"
                self.news.wait(0.5)

    def _read(self, server: subprocess.Popen[bytes]) -> None:
        assert server.stderr is not None
        with server.stderr:
            for line in server.stderr:
                with self.news:
                    self.log.append(line.decode("utf-8", "replace"))
                    self.news.notify_all()

    def stop(self) -> None:
        server, self.server = self.server, None
        if server is None:
            return
        server.send_signal(signal.SIGTERM)
        code = server.wait(START)
        # A server that systemd's tool was to start, and never did, ends as that does.
        assert code in (0, -signal.SIGTERM), "".join(self.log)

    def start_nginx(self, configuration: str) -> None:
        folder = self.folder / "nginx"
        folder.mkdir()
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
            f"http {{ access_log off; {paths} {configuration} }}\n"
        )
        command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=WAIT)
        self.nginx = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = int(re.search(r"listen 127\.0\.0\.1:(\d+)", configuration)[1])  # type: ignore[index]
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), WAIT):
                return
            assert self.nginx.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            for process in (self.nginx, self.server):
                if process is not None and process.poll() is None:
                    process.terminate()
                    process.wait(WAIT)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, stage: Stage) -> None:
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    played = blocks(page)
    for command in COMMANDS & {word for block in played if block.language == "sh" for word in block.content.split()}:
        if shutil.which(command, path=stage.env["PATH"]) is None:
            pytest.skip(f"{command} is not installed")
    printed = ""
    for block in played:
        if block.file:
            stage.write(block.file, block.content)
        elif block.language == "sh" and block.info == "serve":
            stage.serve(block.content)
        elif block.language == "sh" and block.info == "nginx":
            stage.start_nginx((stage.folder / "gateway.conf").read_text())
        elif block.language == "sh":
            printed = stage.run(block.content)
        elif block.language == "text":
            pattern = re.escape(stage.here(block.content.strip())).replace(r"\.\.\.", ".*")
            assert re.fullmatch(pattern, printed.strip(), re.DOTALL), printed
        else:
            pytest.fail(f"{page}: a block of {block.language!r} that is neither file nor command")
    stage.close()


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", (DOCS / page).read_text("utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (DOCS / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_options_named_in_the_text_exist(page: str) -> None:
    from gateway.config.options import OPTIONS

    known = {flag for option in OPTIONS for flag in option.all_flags}
    known |= {f"--no-{option.name.replace('_', '-')}" for option in OPTIONS if option.is_switch}
    known |= {"--help", "--version", "--print-config", "--check-config"}
    text = (DOCS / page).read_text("utf-8")
    # In the tables of the other servers' options, ours are in the second column.
    own = re.sub(r"^\| [^|]* \|", "", text, flags=re.MULTILINE)
    for flag in set(re.findall(r"`(--[a-z0-9-]+)", own)):
        assert flag in known, flag


def test_the_tables_have_all_of_the_others_options() -> None:
    from gateway.config.gunicorn import HOOKS, SETTINGS
    from gateway.config.uvicorn import KEYWORDS

    page = (DOCS / "from-gunicorn.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)", " ".join(re.findall(r"^\| [^|]* \|.*", page, re.MULTILINE))))
    assert set(SETTINGS) | set(HOOKS) <= named
    page = (DOCS / "from-uvicorn.md").read_text("utf-8")
    named = {flag.replace("-", "_") for flag in re.findall(r"`--([a-z0-9-]+)", page)}
    # On its command line these have other names, or none.
    others = {"headers", "reload_dirs", "reload_includes", "reload_excludes", "timeout_notify", "callback_notify"}
    assert set(KEYWORDS) - others - {"ssl_context_factory"} <= named


def test_container_command_and_probes(stage: Stage) -> None:
    """The command of the image and that of the deployment serve, where the probes ask."""
    yaml = pytest.importorskip("yaml")
    page = {block.file: block.content for block in blocks("containers.md")}
    image = json.loads(re.search(r"^CMD (.*)$", page["Dockerfile"], re.MULTILINE)[1])  # type: ignore[index]
    pod = yaml.safe_load(page["deployment.yaml"])["spec"]["template"]["spec"]
    [container] = pod["containers"]
    stage.write("main.py", page["main.py"])
    for command in (image, container["args"]):
        stage.serve(shlex.join(command).replace("5s", "0.2s"))
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            where = container[probe]["httpGet"]
            stage.run(f"curl -sf http://127.0.0.1:{where['port']}{where['path']}")
        stage.run("curl -sf http://127.0.0.1:8000/")


def test_unit_command_serves(stage: Stage) -> None:
    page = {block.file: block.content for block in blocks("systemd.md")}
    command = re.search(r"^ExecStart=(.*)$", page["shop.service"], re.MULTILINE)[1]  # type: ignore[index]
    stage.write("/srv/shop/shop.py", page["/srv/shop/shop.py"])
    stage.serve(command.replace("/srv/shop/.venv/bin/gateway", "gateway --app-dir /srv/shop"))
    assert stage.run("curl -s --unix-socket /run/shop/shop.sock http://localhost/") == "Hello\n"
    if shutil.which("systemd-analyze"):
        folder = stage.folder / "units"
        folder.mkdir()
        for name in ("shop.service", "shop.socket"):
            text = page[name].replace("/srv/shop/.venv/bin/gateway", "/bin/true").replace("User=shop\n", "")
            # Older ones don't know this type.
            text = text.replace("notify-reload", "notify")
            (folder / name).write_text(text)
        result = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(folder / "shop.service"), str(folder / "shop.socket")],
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert "Unknown" not in result.stderr and "Failed to parse" not in result.stderr, result.stderr
