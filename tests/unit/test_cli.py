"""The command line from outside: what it prints, where, and the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

import gateway
from gateway import cli
from gateway.config import Config
from gateway.errors import (
    EXIT_APP_LOAD,
    EXIT_BOOT,
    EXIT_ERROR,
    EXIT_OK,
    EXIT_USAGE,
    AppLoadError,
    ConfigError,
    GatewayError,
)

ROOT = Path(gateway.__file__).parent.parent
APP = "def app(environ, start_response):\n    raise SystemExit('called')\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web.py").write_text(APP)
    return tmp_path


def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m gateway` in the current directory, with nothing of ours in its environment."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "SYSTEMROOT")}
    # A tree in which something is being compiled warns, and that is not what is tested here.
    kept |= {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "GATEWAY_NO_EXTENSIONS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *argv], env={**kept, **environ}, capture_output=True, text=True, timeout=50
    )


def refused(*argv: str, code: int = EXIT_USAGE, **environ: str) -> str:
    """Run, expect nothing but one line of error, and return what it says."""
    result = run(*argv, **environ)
    assert result.returncode == code, result
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("gateway: error: ")
    return lines[0].removeprefix("gateway: error: ")


# -- Information


def test_version():
    result = run("--version")
    assert result.returncode == EXIT_OK
    assert result.stdout.startswith("gateway ")
    assert "(pure Python)" in result.stdout
    assert f"CPython {sys.version.split()[0]}" in result.stdout or "PyPy" in result.stdout
    assert "uvloop" in result.stdout or "asyncio" in result.stdout
    assert result.stdout.count("\n") == 1


def test_help():
    result = run("--help")
    assert result.returncode == EXIT_OK
    assert "usage: gateway [options] TARGET" in result.stdout
    assert "-b, --bind ADDRESS" in result.stdout


def test_print_config(folder):
    (folder / "gateway.toml").write_text("threads = 3\n")
    result = run("--print-config", "web:app", "--keep-alive", "1m", PORT="5000")
    assert result.returncode == EXIT_OK, result
    assert 'app = "web:app"  # TARGET' in result.stdout
    assert 'keep_alive = "60s"  # --keep-alive' in result.stdout
    assert "threads = 3  # gateway.toml: threads" in result.stdout
    assert "port = 5000  # environment variable PORT" in result.stdout
    assert tomllib.loads(result.stdout)["limit_request_fields"] == 100


def test_print_config_as_json():
    result = run("--print-config=json", "--no-sendfile")
    assert result.returncode == EXIT_OK
    described = json.loads(result.stdout)
    assert described["sendfile"] == {"value": False, "source": "--sendfile"}
    assert described["keep_alive"] == {"value": "5s", "source": "default"}


def test_check_config():
    result = run("--check-config", "web:app", "-b", ":1", "-k", "gthread")
    assert result.returncode == EXIT_OK, result
    assert result.stdout.splitlines() == [
        "worker class gthread: taken as --interface wsgi",
        "OK: web:app speaks WSGI; would listen at 0.0.0.0:1",
    ]


def test_check_config_of_a_project(folder):
    (folder / "src").mkdir()
    (folder / "src" / "inner.py").write_text("async def app(scope, receive, send): pass\n")
    (folder / "pyproject.toml").write_text("[tool.gateway]\napp = 'inner'\napp-dir = 'src'\n")
    result = run("--check-config")
    assert result.stdout == "OK: inner:app speaks ASGI 3; would listen at 127.0.0.1:8000\n", result


def test_an_env_file_reaches_the_application(folder):
    (folder / ".env").write_text("NEEDED=yes\nGATEWAY_BIND=:7\n")
    (folder / "web.py").write_text("import os\nassert os.environ['NEEDED'] == 'yes'\n" + APP)
    result = run("--check-config", "web:app", "--env-file", ".env")
    assert "0.0.0.0:7" in result.stdout, result


# -- Wrong usage


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "no application given; say which, as in: gateway app:app"),
        (["web:app", "--bnd", ":1"], "there is no option --bnd; did you mean --bind?"),
        (["web:app", "x"], "'x' is one argument too many; there is one TARGET"),
        (["web:app", "--keep-alive", "5x"], "--keep-alive: expected seconds, as in 30, 30s, 1m30s or 500ms, not '5x'"),
        (["web:app", "--threads"], "argument --threads/--blocking-threads: expected one argument"),
        (["web:app", "-b", "/tmp/x"], "--bind: '/tmp/x' looks like a path; write unix:/tmp/x for a Unix socket"),
        (
            ["web:app", "--uds", "/a", "--host", "b"],
            "--host and --uds both say where to listen; keep one (--bind can be repeated)",
        ),
        (["web:app", "-c", "x.toml"], "--config: can't read x.toml: No such file or directory"),
        (
            ["web:app", "--log-level", "inof"],
            "--log-level: 'inof' is not one of critical, error, warning, info, debug, trace; did you mean info?",
        ),
        (["web:app", "--keyfile", "k"], "--keyfile: TLS needs a certificate; give --certfile as well"),
        (["--print-config=xml"], "argument --print-config: invalid choice: 'xml' (choose from toml, json)"),
    ],
)
def test_wrong_usage(argv, message):
    # Python 3.11 quotes the choices.
    assert refused(*argv).replace("'toml', 'json'", "toml, json") == message


@pytest.mark.parametrize("word", ["check", "ctl", "migrate", "top"])
def test_reserved_words(word, folder):
    message = refused("--threads=1", word)
    assert f"{word!r} is the name of a subcommand, or kept for one" in message
    assert f"{word}:app" in message
    (folder / f"{word}.py").write_text(APP)
    assert run(f"{word}:app", "--check-config").returncode == EXIT_OK


def test_more_than_one_worker_without_a_supervisor():
    message = refused("web:app", "--no-supervisor", WEB_CONCURRENCY="4")
    assert message.startswith("environment variable WEB_CONCURRENCY: 4 processes can't be had with --no-supervisor")


def test_a_wrong_variable():
    assert refused("web:app", GATEWAY_THREADS="x") == (
        "environment variable GATEWAY_THREADS: expected a whole number, not 'x'"
    )


def test_wrong_certificate(folder):
    (folder / "c.pem").write_text("-----BEGIN PRIVATE KEY-----\nnonsense")
    assert "c.pem" in refused("--check-config", "web:app", "--certfile", "c.pem")


def test_wrong_log_format():
    assert refused("--check-config", "web:app", "--access-log-format", "%(nonsense").startswith("--access-log-format: ")


# -- Applications that don't load


def test_missing_module(folder):
    message = refused("webb:app", "--check-config", code=EXIT_APP_LOAD)
    assert message == f"no module webb in {folder} or on the import path; did you mean web?"


def test_missing_attribute():
    message = refused("web:application", "--check-config", code=EXIT_APP_LOAD)
    assert message.startswith("module web has no attribute 'application'")


def test_interface_that_does_not_fit():
    message = refused("web:app", "--check-config", "--interface", "asgi", code=EXIT_APP_LOAD)
    assert message.startswith("web:app is a WSGI application")


def test_the_applications_traceback_is_shown_without_ours(folder):
    (folder / "inner.py").write_text("def f():\n    raise LookupError('deep')\nf()\n")
    (folder / "web.py").write_text("import inner\n")
    result = run("web:app", "--check-config")
    assert result.returncode == EXIT_APP_LOAD
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{folder / "web.py"}", line 1, in <module>'
    assert lines[-2] == "LookupError: deep"
    assert lines[-1] == "gateway: error: importing web failed: LookupError: deep"
    assert f"loader{os.sep}" not in result.stderr
    assert 'inner.py", line 2, in f' in result.stderr


def test_a_syntax_error_shows_its_line(folder):
    (folder / "web.py").write_text("def app(:\n")
    result = run("web:app", "--check-config")
    assert result.returncode == EXIT_APP_LOAD
    assert 'web.py", line 1' in result.stderr
    assert "def app(:" in result.stderr
    assert "importlib" not in result.stderr


# -- What becomes of the server


def serve_with(monkeypatch, run_server) -> None:
    for name in ("gateway.server.program", "gateway.supervisor.master"):
        module = types.ModuleType(name)
        module.run = lambda config, *more: run_server(config)
        monkeypatch.setitem(sys.modules, name, module)


def test_the_config_reaches_the_server(monkeypatch):
    seen: list[Config] = []
    serve_with(monkeypatch, lambda config: seen.append(config) or EXIT_OK)
    for more in ([], ["--no-supervisor"]):
        assert cli.main(["web:app", "--threads", "3", "-b", ":1", *more]) == EXIT_OK
    assert [config.application.app for config in seen] == ["web:app"] * 2
    assert [config.threads for config in seen] == [3, 3]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatewayError("127.0.0.1:80: address in use"), EXIT_ERROR),
        (ConfigError("wrong"), EXIT_USAGE),
        (AppLoadError("not found"), EXIT_APP_LOAD),
        (AppLoadError("startup failed", exit_code=EXIT_BOOT), EXIT_BOOT),
    ],
)
def test_exit_codes(monkeypatch, capsys, error, code):
    def run_server(config):
        raise error

    serve_with(monkeypatch, run_server)
    assert cli.main(["web:app"]) == code
    assert capsys.readouterr().err == f"gateway: error: {error}\n"


def test_ctrl_c_while_loading(monkeypatch, capsys):
    def run_server(config):
        raise KeyboardInterrupt

    serve_with(monkeypatch, run_server)
    assert cli.main(["web:app"]) == EXIT_ERROR
    assert "Traceback" not in capsys.readouterr().err


def test_the_console_script_is_main():
    with open(ROOT / "pyproject.toml", "rb") as file:
        assert tomllib.load(file)["project"]["scripts"] == {"gateway": "gateway.__main__:main"}


def test_the_readme_table_can_be_printed():
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "GATEWAY_NO_EXTENSIONS": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "gateway.config"], env=environ, capture_output=True, text=True, timeout=50, check=True
    )
    assert "`--keep-alive`" in result.stdout
    assert result.stderr == ""
