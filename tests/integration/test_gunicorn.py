"""Moving from gunicorn: its configuration file, its variable, and `gateway migrate`, through the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from .harness import APPS, Server, run_gateway

FILES = APPS.parent / "gunicorn"

CONF = """
import multiprocessing

bind = "127.0.0.1:0"
workers = min(1, multiprocessing.cpu_count() * 2 + 1)
worker_class = "sync"
limit_request_line = 50
raw_env = ["MOVED_FROM=gunicorn's own file"]
statsd_host = "localhost:8125"


def on_exit(server):
    server.log.info("bye")
"""

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("MOVED_FROM", "nowhere").encode()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that gunicorn served."""
    (tmp_path / "gunicorn.conf.py").write_text(CONF)
    (tmp_path / "moved.py").write_text(APP)
    return tmp_path


def test_serving_with_a_file_of_gunicorn(folder: Path) -> None:
    with Server("moved:app", "-c", "gunicorn.conf.py", app_dir=None, binds=None, listeners=1, cwd=folder) as server:
        assert server.get("/").body == b"gunicorn's own file"
        assert server.get("/" + "x" * 60).status == 414
        assert "worker class sync: taken as --interface wsgi --threads 1" in server.log
        warning = "gateway: warning: gunicorn.conf.py: statsd_host has no effect: gateway has no such option yet\n"
        assert server.log.count(warning) == 1
        assert server.terminate() == 0


def test_a_file_lying_about_is_not_read(folder: Path) -> None:
    with Server("moved:app", app_dir=None, cwd=folder) as server:
        assert server.get("/").body == b"nowhere"
        assert server.get("/" + "x" * 60).status == 200
        assert "statsd_host" not in server.log


def test_serving_with_what_migrate_prints(folder: Path) -> None:
    result = run_gateway("migrate", "gunicorn.conf.py", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert tomllib.loads(result.stdout)["limit_request_line"] == 50
    (folder / "gateway.toml").write_text(result.stdout)
    with Server("moved:app", app_dir=None, binds=None, listeners=1, cwd=folder) as server:
        assert server.get("/").body == b"gunicorn's own file"
        assert server.get("/" + "x" * 60).status == 414
        assert "worker class sync: taken as --interface wsgi --threads 1" in server.log


def test_gunicorns_variable(folder: Path) -> None:
    env = {"GUNICORN_CMD_ARGS": "--limit-request-line=50 -e MOVED_FROM=arguments", "GATEWAY_GUNICORN_CMD_ARGS": "1"}
    with Server("moved:app", app_dir=None, cwd=folder, env=env) as server:
        assert server.get("/").body == b"arguments"
        assert server.get("/" + "x" * 60).status == 414


@pytest.mark.parametrize(
    "name", ["everyday.conf.py", "container.conf.py", "logging.conf.py", "python:project.production"]
)
def test_real_files(name: str) -> None:
    """They are taken as they stand; what has no effect is told once, on stderr."""
    app = "wsgi_probe:probe" if "production" in name or "everyday" in name else "asgi_apps:probe"
    result = run_gateway(app, "-c", name, "--pythonpath", str(APPS), "--check-config", cwd=FILES)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert all(line.startswith("gateway: warning: ") for line in lines), lines
    assert len(set(lines)) == len(lines)
    assert "\nOK: " in "\n" + result.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = = 3\n", "gunicorn.conf.py: line 1: SyntaxError: invalid syntax"),
        ("import os\nbind = os.environ['NO_SUCH_NAME']\n", "gunicorn.conf.py: line 2: KeyError: 'NO_SUCH_NAME'"),
        ("import sys\nsys.exit(3)\n", "gunicorn.conf.py: line 2: SystemExit: 3"),
        ("keepalive = 'long'\n", "gunicorn.conf.py: keepalive: expected seconds, as in 30, 30s, 1m30s or 500ms, not 'long'"),
        ("def on_exit(): pass\n", "gunicorn.conf.py: on_exit: is called with (server), but takes ()"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("arguments", [("moved:app", "-c"), ("migrate",)])
def test_mistakes_in_the_file(folder: Path, text: str, message: str, arguments: tuple[str, ...]) -> None:
    (folder / "gunicorn.conf.py").write_text(text)
    result = run_gateway(*arguments, "gunicorn.conf.py", cwd=folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"gateway: error: {message}\n"


def test_help_of_migrate() -> None:
    result = run_gateway("migrate", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: gateway migrate FILE")


@pytest.mark.parametrize("arguments", [(), ("a.py", "b.py"), ("--fast", "a.py"), ("--fast",)])
def test_usage_of_migrate(arguments: tuple[str, ...]) -> None:
    result = run_gateway("migrate", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("gateway: error: migrate takes one argument, a configuration file of gunicorn")
    assert result.stderr.count("\n") == 1


def test_printed_config_says_which_setting(folder: Path) -> None:
    result = run_gateway("moved:app", "-c", "gunicorn.conf.py", "--print-config", cwd=folder)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert "limit_request_line = 50  # gunicorn.conf.py: limit_request_line" in lines
    assert "threads = 1  # gunicorn.conf.py: worker_class" in lines
    assert "statsd_host" in result.stderr
    assert "gunicorn's own file" not in result.stdout


def test_what_the_file_prints_is_not_in_the_way() -> None:
    printed = '{"loglevel": "warning", "workers": 1, '
    result = run_gateway("migrate", "container.conf.py", cwd=FILES)
    assert tomllib.loads(result.stdout)["log_level"] == "warning"
    assert printed in result.stderr
    result = run_gateway("-c", "container.conf.py", "--print-config=json", cwd=FILES)
    assert json.loads(result.stdout)["log_level"] == {"value": "warning", "source": "container.conf.py: loglevel"}
    assert printed in result.stderr
    result = run_gateway(
        "asgi_apps:probe", "--pythonpath", str(APPS), "-c", "container.conf.py", "--check-config", cwd=FILES
    )
    assert printed in result.stdout
