"""Defaults < file < environment < command line, and where each value says it comes from."""

from __future__ import annotations

import json
import os
import sys
import tomllib

import pytest

from gateway.config import Config, sources
from gateway.config.options import BY_NAME, OPTIONS
from gateway.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*argv: str, **environ: str) -> Config:
    return sources.load(argv, environ)[0]


def listening(config: Config) -> list[str]:
    return [str(address) for address in config.listen.addresses]


def error(*argv: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*argv, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_flag_may_name_several_as_the_environment_does():
    assert load("--forwarded-allow-ips", "10.0.0.0/8,127.0.0.1").forwarded_allow_ips == ("10.0.0.0/8", "127.0.0.1")
    both = load("--forwarded-allow-ips", "10.0.0.0/8", "--forwarded-allow-ips", "unix,::1")
    assert both.forwarded_allow_ips == ("10.0.0.0/8", "unix", "::1")
    assert load("--forwarded-allow-ips=").forwarded_allow_ips == ()


# -- Precedence


def test_precedence(folder):
    assert load().keep_alive == 5.0
    assert load().source("keep_alive").text == "default"
    (folder / "gateway.toml").write_text("keep-alive = 10")
    assert load().keep_alive == 10.0
    assert load().source("keep_alive").text == "gateway.toml: keep-alive"
    config = load(GATEWAY_KEEP_ALIVE="20")
    assert config.keep_alive == 20.0
    assert config.source("keep_alive").text == "environment variable GATEWAY_KEEP_ALIVE"
    config = load("--timeout-keep-alive", "30", GATEWAY_KEEP_ALIVE="20")
    assert config.keep_alive == 30.0
    assert config.source("keep_alive").text == "--keep-alive"


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_its_variable_and_its_key(option, folder):
    """Whatever an option's value is, a variable and a file bring it as they should."""
    if option.name in ("config", "env_file"):
        pytest.skip("name files")
    samples = {
        "app": "x:y",
        "interface": "wsgi",
        "root_path": "/x",
        "app_dir": str(folder),
        "bind": ":5",
        "host": "::1",
        "port": "5",
        "fd": "5",
        "ws_deflate_memory": "1M",
        "worker_class": "sync",
        "workers": "1",
        "health_bind": "127.0.0.1:5",
        "forwarded_allow_ips": "10.0.0.1",
        "header": "A:b",
        "use_colors": "true",
        "keyfile_password": "p",
        "env": "SOME=thing",
        "mount": "/x=some:thing",
    }
    if option.name in samples:
        text = samples[option.name]
    elif option.choices:
        text = option.choices[-1]
    elif isinstance(option.default, bool):
        text = str(not option.default).lower()
    elif option.kind.metavar in ("N", "SIZE", "TIME", "MODE"):
        text = "7"
    else:
        text = "/some/thing"
    needs = {"certfile": "c", "keyfile": "k", "ca_certs": "c"} if option.group == "TLS" else {}
    needs.pop(option.name, None)
    base = {f"GATEWAY_{name.upper()}": value for name, value in needs.items()}
    expected = option.read(text, "")
    if option.name != "env":
        assert load(**base, **{option.variable: text}).values[option.name] == expected
    native = json.loads(text) if text in ("true", "false") else option._replace(secret=False).show(expected)
    (folder / "gateway.toml").write_text(f"{option.name} = {sources.toml_value(native)}\n")
    assert load(**base).values[option.name] == expected
    (folder / "gateway.toml").unlink()
    if option.name != "app":
        flags = ["--no-" + option.flag[2:]] if text == "false" else [option.flag]
        assert load(*flags, *([] if option.is_switch else [text]), **base).values[option.name] == expected


def test_aliases_are_variables_too():
    assert load(GATEWAY_TIMEOUT_KEEP_ALIVE="7").keep_alive == 7.0
    assert load(GATEWAY_TIMEOUT_KEEP_ALIVE="7", GATEWAY_KEEP_ALIVE="8").keep_alive == 8.0


def test_shared_variables():
    assert load(FORWARDED_ALLOW_IPS="10.0.0.0/8,unix").forwarded_allow_ips == ("10.0.0.0/8", "unix")
    assert load(SCRIPT_NAME="/x/").root_path == "/x"
    assert load(SENDFILE="no").sendfile is False
    assert load(WEB_CONCURRENCY="3").workers == 3
    assert load(SCRIPT_NAME="/x", GATEWAY_ROOT_PATH="/y").root_path == "/y"
    assert error(WEB_CONCURRENCY="0").startswith("environment variable WEB_CONCURRENCY: 0 is too small")


def test_empty_variables():
    # Container tools pass on variables that are not set as empty ones.
    assert load(GATEWAY_THREADS="", PORT="", GATEWAY_LOOP=" ", GATEWAY_BIND="").threads == 8
    # Where nothing is something that can be meant, it is.
    assert load(GATEWAY_FORWARDED_ALLOW_IPS="").forwarded_allow_ips == ()


def test_variables_that_kubernetes_sets_for_a_service_called_gateway():
    config = load(
        GATEWAY_PORT="tcp://10.0.0.1:80",
        GATEWAY_PORT_80_TCP="tcp://10.0.0.1:80",
        GATEWAY_SERVICE_HOST="10.0.0.1",
    )
    assert listening(config) == ["127.0.0.1:8000"]


def test_repeated_flags_replace_the_file(folder):
    (folder / "gateway.toml").write_text('bind = [":1", ":2"]')
    assert listening(load()) == ["0.0.0.0:1", "0.0.0.0:2"]
    assert listening(load("-b", ":3", "-b", ":4")) == ["0.0.0.0:3", "0.0.0.0:4"]


# -- Where to listen


def test_port_of_a_platform():
    assert listening(load(PORT="5000")) == ["0.0.0.0:5000"]
    assert listening(load("-b", ":1", PORT="5000")) == ["0.0.0.0:1"]
    assert listening(load("--uds", "/a", PORT="5000")) == ["unix:/a"]
    assert listening(load("--port", "1", PORT="5000")) == ["127.0.0.1:1"]
    assert listening(load("--host", "::", PORT="5000")) == ["[::]:5000"]
    assert listening(load(PORT="5000", GATEWAY_PORT="6000")) == ["127.0.0.1:6000"]
    assert error(PORT="x").startswith("environment variable PORT: expected a whole number")


def test_a_stronger_source_says_where_to_listen(folder):
    (folder / "gateway.toml").write_text('bind = ":1"')
    assert listening(load("--port", "5")) == ["127.0.0.1:5"]
    assert listening(load(GATEWAY_UDS="/a")) == ["unix:/a"]
    assert listening(load("--fd", "3", GATEWAY_UDS="/a")) == ["fd://3"]
    assert listening(load("--port", "5", GATEWAY_HOST="::1")) == ["[::1]:5"]
    assert error("--port", "5", "--uds", "/a").startswith("--port and --uds both say where to listen")
    assert error("--fd", "3", "-b", ":1").startswith("--bind and --fd both say where to listen")


# -- Files


def test_pyproject(folder):
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.gateway]\nthreads = 3\napp = "x:y"\n')
    config = load()
    assert config.threads == 3
    assert config.application.app == "x:y"
    assert config.source("threads").text == "pyproject.toml [tool.gateway]: threads"
    assert load("z:app").application.app == "z:app"


def test_pyproject_without_our_table(folder):
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert load() == Config()
    assert error("-c", "pyproject.toml") == "--config: pyproject.toml has no [tool.gateway]"


def test_gateway_toml_comes_before_pyproject(folder):
    (folder / "pyproject.toml").write_text("[tool.gateway]\nthreads = 3\nkeep_alive = 9")
    (folder / "gateway.toml").write_text("threads = 4")
    config = load()
    assert (config.threads, config.keep_alive) == (4, 5.0)


def test_the_file_is_looked_for_in_the_app_dir(folder):
    inner = folder / "src"
    inner.mkdir()
    (folder / "gateway.toml").write_text("threads = 4")
    (inner / "gateway.toml").write_text("threads = 5")
    assert load().threads == 4
    assert load("--app-dir", "src").threads == 5
    assert load(GATEWAY_APP_DIR="src").threads == 5


def test_a_named_file(folder):
    (folder / "gateway.toml").write_text("threads = 4\nkeep-alive = 9")
    (folder / "other.toml").write_text("threads = 5")
    config = load("-c", "other.toml")
    assert (config.threads, config.keep_alive) == (5, 5.0)
    assert load(GATEWAY_CONFIG="other.toml").threads == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread = 3", "gateway.toml: there is no option 'thread'; did you mean threads?"),
        ("threads = '3x'", "gateway.toml: threads: expected a whole number, not '3x'"),
        ("threads = true", "gateway.toml: threads: expected a whole number, not True"),
        ("threads = [1]", "gateway.toml: threads: expected a whole number, not [1]"),
        ("sendfile = 'yes'", "gateway.toml: sendfile: expected true or false, not 'yes'"),
        ("sendfile = 1", "gateway.toml: sendfile: expected true or false, not 1"),
        ("[threads]\nx = 1", "gateway.toml: threads: expected a whole number, not a table"),
        (
            "bind = [1]",
            "gateway.toml: bind: expected an address, as in 127.0.0.1:8000 or unix:/run/gateway.sock, not 1",
        ),
        ("keep-alive = 1\nkeep_alive = 2", "gateway.toml: keep_alive and another name for it are both there; keep one"),
        ("config = 'x'", "gateway.toml: config can't stand in a file"),
    ],
)
def test_wrong_files(folder, text, message):
    (folder / "gateway.toml").write_text(text)
    assert error() == message


def test_broken_toml(folder):
    (folder / "gateway.toml").write_text("threads = \n")
    assert error().startswith("gateway.toml: is no TOML: ")
    assert "line 1" in error()
    (folder / "gateway.toml").write_bytes(b"x = '\xff'")
    assert error() == "gateway.toml: is not UTF-8, as TOML must be"


def test_a_named_file_that_can_not_be_used(folder):
    assert error("-c", "nowhere.toml") == "--config: can't read nowhere.toml: No such file or directory"
    assert error(GATEWAY_CONFIG="x.toml").startswith("environment variable GATEWAY_CONFIG: can't read x.toml")
    assert error("-c", "gunicorn.conf.py") == "--config: can't read gunicorn.conf.py: No such file or directory"


def test_tool_gateway_must_be_a_table(folder):
    (folder / "pyproject.toml").write_text("[tool]\ngateway = 1")
    assert error() == "pyproject.toml: tool.gateway must be a table, written [tool.gateway]"


# -- Env files


def test_env_files(folder):
    (folder / ".env").write_text("GATEWAY_THREADS=3\nexport SECRET='a b'\nSET=new\n# comment\nBARE\n")
    environ = {"SET": "old"}
    config, _ = sources.load(["--env-file", ".env"], environ)
    assert config.threads == 3
    assert config.source("threads").text == "environment variable GATEWAY_THREADS"
    assert environ == {"SET": "old", "GATEWAY_THREADS": "3", "SECRET": "a b"}
    assert load("--env-file", ".env", GATEWAY_THREADS="4").threads == 4


def test_of_several_env_files_the_last_wins(folder):
    (folder / "a").write_text("GATEWAY_THREADS=3\nGATEWAY_KEEP_ALIVE=9")
    (folder / "b").write_text("GATEWAY_THREADS=4")
    config = load("--env-file", "a", "--env-file", "b")
    assert (config.threads, config.keep_alive) == (4, 9.0)
    assert load(GATEWAY_ENV_FILE="b,a").threads == 3


def test_an_env_file_named_in_the_file(folder):
    (folder / ".env").write_text("GATEWAY_THREADS=3")
    (folder / "gateway.toml").write_text("env-file = '.env'\nthreads = 9")
    assert load().threads == 3


def test_an_env_file_may_name_the_file(folder):
    (folder / ".env").write_text("GATEWAY_CONFIG=x.toml")
    (folder / "x.toml").write_text("threads = 3")
    assert load("--env-file", ".env").threads == 3


def test_env_file_errors(folder):
    assert error("--env-file", "no") == "--env-file: can't read no: No such file or directory"
    (folder / "bad").write_bytes(b"A=\xff")
    assert error("--env-file", "bad") == "--env-file: can't read bad: it is not UTF-8"


def test_env_files_without_dotenv(folder, monkeypatch):
    (folder / ".env").write_text("A=b")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    assert error("--env-file", ".env").endswith("pip install python-dotenv")
    assert load().env_file == ()


# -- Variables that options set


def test_variables_for_the_application(folder):
    environ = {"A": "old", "B": "old"}
    config, _ = sources.load(["-e", "A=1", "--env", "C=a=b", "-e", "D="], environ)
    assert environ == {"A": "1", "B": "old", "C": "a=b", "D": ""}
    assert config.env == ("A=1", "C=a=b", "D=")
    (folder / "gateway.toml").write_text('env = ["GATEWAY_THREADS=3", "A=x, y"]')
    environ = {"A": "old"}
    config, _ = sources.load([], environ)
    assert environ == {"A": "x, y", "GATEWAY_THREADS": "3"}
    assert config.threads == 3
    # Stronger than env files, and of several sources the strongest counts.
    (folder / ".env").write_text("A=file\nB=file")
    environ = {}
    sources.load(["--env-file", ".env", "-e", "A=1"], environ)
    assert environ == {"A": "1", "B": "file"}


def test_variables_that_are_none():
    assert error("-e", "A").startswith("--env: expected an environment variable, as in NAME=VALUE")
    assert error("-e", "=A").startswith("--env: expected")
    # Other programs' name for what a machine is there for.
    assert load(GATEWAY_ENV="production").env == ()


def test_variables_are_not_shown(folder):
    config = load("-e", "PASSWORD=hush")
    assert "hush" not in sources.to_toml(config) + repr(config) + json.dumps(config.describe())


def test_the_process_environment_is_the_default(folder, monkeypatch):
    for name in list(os.environ):
        if name.startswith("GATEWAY_") or name in ("PORT", "WEB_CONCURRENCY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_THREADS", "6")
    assert sources.load([])[0].threads == 6


# -- Command line


def test_unknown_flags():
    assert error("--thread", "3") == "there is no option --thread; did you mean --threads?"
    assert error("--xyzzy=1") == "there is no option --xyzzy"
    assert error("a:b", "c:d") == "'c:d' is one argument too many; there is one TARGET"


def test_a_flag_without_its_value():
    assert "expected one argument" in error("--threads")


def test_wrong_values_name_the_flag():
    assert error("--keep-alive", "x").startswith("--keep-alive: expected seconds")


def test_actions():
    config, actions = sources.load(["--print-config", "a:b"], {})
    assert actions == {"print_config": "toml"}
    assert config.application.app == "a:b"
    assert sources.load(["--print-config=json"], {})[1] == {"print_config": "json"}
    assert sources.load(["--check-config", "-v"], {})[1] == {"check_config": True, "version": True}


# -- Showing it


def test_printed_config_makes_the_same_config(folder):
    header = 'X-A: "quoted" \\ back'
    config = load(
        "a:b", "-b", ":1", "-b", "unix:/a", "--header", header, "--no-sendfile", "--keep-alive", "90", SENDFILE="1"
    )
    text = sources.to_toml(config)
    assert 'bind = ["0.0.0.0:1", "unix:/a"]  # --bind' in text
    assert "sendfile = false  # --sendfile" in text
    assert "threads = 8  # default" in text
    (folder / "gateway.toml").write_text(text)
    assert load() == config


def test_printed_config_of_a_platform(folder):
    (folder / "gateway.toml").write_text(sources.to_toml(load(PORT="5000")))
    assert listening(load()) == ["0.0.0.0:5000"]


def test_printed_config_keeps_secrets(folder):
    config = load("--certfile", "c", "--keyfile", "k", GATEWAY_KEYFILE_PASSWORD="hush")
    assert "hush" not in sources.to_toml(config)
    assert "hush" not in json.dumps(config.describe())
    assert set(config.describe()) == set(BY_NAME)


@pytest.mark.parametrize("value", [True, False, 3, 2.5, "", 'a"b\\c\n\t\x00\x7f\u20ac', ["a", "b"], []])
def test_toml_values(value):
    assert tomllib.loads(f"x = {sources.toml_value(value)}")["x"] == value
