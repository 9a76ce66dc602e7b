"""gunicorn's configuration: its files, GUNICORN_CMD_ARGS, and what becomes of each setting."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.config import Config, gunicorn, options, python, sources, values
from gateway.config.gunicorn import HOOKS, SETTINGS
from gateway.config.migrate import migrate
from gateway.config.options import BY_NAME, Option
from gateway.errors import ConfigError

FILES = Path(__file__).parent.parent / "gunicorn"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current directory, and an import path that is as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name == "__config__" or name.partition(".")[0] == "project"]:
        del sys.modules[name]


def load(*argv: str, **environ: str) -> Config:
    return sources.load(argv, environ)[0]


def configure(text: str, *argv: str, **environ: str) -> Config:
    """The config of a gunicorn.conf.py with this text."""
    Path("gunicorn.conf.py").write_text(text)
    return load("-c", "gunicorn.conf.py", *argv, **environ)


def refused(text: str, *argv: str, **environ: str) -> str:
    """What is wrong with a gunicorn.conf.py with this text."""
    with pytest.raises(ConfigError) as caught:
        configure(text, *argv, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def found_in(text: str) -> gunicorn.Translation:
    """What a gunicorn.conf.py with this text comes to, before other sources and checks."""
    Path("gunicorn.conf.py").write_text(text)
    return sources.read_file(("gunicorn.conf.py", sources.Source(5, "--config")), None)


def listening(config: Config) -> list[str]:
    return [str(address) for address in config.listen.addresses]


# -- Against gunicorn itself


def test_every_setting_is_known():
    real = pytest.importorskip("gunicorn.config").make_settings()
    assert set(real) == set(SETTINGS) | set(HOOKS)
    for name, setting in SETTINGS.items():
        assert setting.flags.split() == list(real[name].cli or ()), name
    for name, parameters in HOOKS.items():
        assert ", ".join(inspect.signature(real[name].default).parameters) == parameters


def test_its_own_defaults_ask_for_nothing():
    """What it does without a file needs no warning."""
    real = pytest.importorskip("gunicorn.config").make_settings()
    defaults = {name: setting.default for name, setting in real.items() if name in SETTINGS and name != "chdir"}
    translation = gunicorn.Translation("x", 2)
    translation.take({name: value for name, value in defaults.items() if not callable(value)})
    # Those that say where it makes a control socket, and whom it runs as.
    assert set(translation.left_out) <= {"control_socket", "control_socket_disable", "user", "group", "syslog_addr",
                                         "proxy_allow_ips", "uwsgi_allow_ips"}  # fmt: skip


# -- Settings


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bind = ':1'", {"bind": "0.0.0.0:1"}),
        ("bind = ['unix:/a', 'fd://3', 'localhost']", {"bind": ["unix:/a", "fd://3", "localhost:8000"]}),
        ("backlog = '64'", {"backlog": 64}),
        ("reuse_port = True", {"reuse_port": True}),
        ("workers = 3", {"workers": 3}),
        ("worker_class = 'gthread'", {"worker_class": "gthread"}),
        ("worker_class = ' uvicorn.workers.UvicornWorker'", {"worker_class": "uvicorn.workers.UvicornWorker"}),
        ("worker_class = lambda: 'gthread'", {"worker_class": "gthread"}),
        ("threads = 4", {"threads": 4}),
        ("threads = 0", {"threads": 1}),
        ("worker_connections = 7", {"limit_connections": 7}),
        ("graceful_timeout = 7", {"graceful_timeout": 7.0}),
        ("keepalive = 0", {"keep_alive": 0.0}),
        ("limit_request_line = 0", {"limit_request_line": 0}),
        ("limit_request_fields = 7", {"limit_request_fields": 7}),
        ("limit_request_field_size = 70", {"limit_request_field_size": 70}),
        ("asgi_loop = 'uvloop'", {"loop": "uvloop"}),
        ("asgi_lifespan = 'off'", {"lifespan": "off"}),
        ("websocket_max_message_size = 7", {"ws_max_size": 7}),
        ("root_path = '/x/'", {"root_path": "/x"}),
        ("wsgi_app = 'a:b'", {"app": "a:b"}),
        ("pythonpath = '/a,/b'", {"pythonpath": ("/a", "/b")}),
        ("raw_env = ['A=b=c', 'D=']", {"env": ("A=b=c", "D=")}),
        ("raw_env = 'A=b'", {"env": ("A=b",)}),
        ("sendfile = False", {"sendfile": False}),
        ("sendfile = None", {}),
        ("accesslog = '-'", {"access_logfile": "-"}),
        ("errorlog = '/e'", {"error_logfile": "/e"}),
        ("loglevel = 'DEBUG'", {"log_level": "debug"}),
        ("access_log_format = '%(h)s'", {"access_log_format": "%(h)s"}),
        ("forwarded_allow_ips = '10.0.0.0/8, ::1'", {"forwarded_allow_ips": ("10.0.0.0/8", "::1", "unix")}),
        ("forwarded_allow_ips = '*'", {"forwarded_allow_ips": ("*",)}),
        ("forwarded_allow_ips = ''", {"forwarded_allow_ips": ("unix",)}),
        ("header_map = 'refuse'", {"header_map": "refuse"}),
        ("certfile = 'c'\nkeyfile = 'k'", {"certfile": "c", "keyfile": "k"}),
        ("import ssl\ncert_reqs = ssl.CERT_OPTIONAL", {"cert_reqs": "optional"}),
        ("ca_certs = 'a'\nciphers = 'b'", {"ca_certs": "a", "ciphers": "b"}),
        ("umask = 0", {}),
        ("umask = 0o027", {"uds_mode": 0o640}),
        ("umask = '0077'", {"uds_mode": 0o600}),
        ("umask = '0o77'", {"uds_mode": 0o600}),
        ("pidfile = None\nuser = None\ncertfile = ''", {"certfile": None}),
        ("Workers = 3\nWORKERS = 3\nlimit_request_body = 7\nhost = 'x'\nport = 1", {}),
        ("gateway = {'limit_request_body': '1M', 'timeout-head': 3}", {"limit_request_body": "1M", "timeout_head": 3}),
        ("gateway = {'threads': 2}\nthreads = 3", {"threads": 2}),
    ],
)
def test_settings_become_options(line, expected):
    # Without it, `threads` is given too.
    extra = "" if "threads" in line or "worker_class" in line else "\nthreads = 8"
    result = {name: value for name, (value, _) in found_in(line + extra).given.items()}
    if extra:
        assert result.pop("threads") == 8
    for name, value in expected.items():
        if name == "bind":
            assert result.pop(name) == BY_NAME[name].read(value, "")
        else:
            assert result.pop(name) == value
    if line != "umask = 0":
        result.pop("umask", None)
    assert result == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("workers = 'four'", "workers: expected a whole number, not 'four'"),
        ("workers = 2.5", "workers: expected a whole number, not 2.5"),
        ("def workers(): pass", "workers: expected a whole number, not <function workers"),
        ("bind = 8000", "bind: expected an address, as in"),
        ("bind = ':99999'", "bind: '99999' is no port"),
        ("keepalive = 'long'", "keepalive: expected seconds, as in"),
        ("graceful_timeout = -1", "graceful_timeout: expected seconds"),
        ("reuse_port = 'maybe'", "reuse_port: expected true or false, not 'maybe'"),
        ("loglevel = 20", "loglevel: expected a text, not 20"),
        ("raw_env = ['A']", "raw_env: expected an environment variable, as in NAME=VALUE"),
        ("raw_env = {'A': 'b'}", "raw_env: expected an environment variable, as in NAME=VALUE"),
        ("forwarded_allow_ips = '10.0.0.1/8'", "forwarded_allow_ips: 10.0.0.1/8 is an address inside a network"),
        ("header_map = 'keep'", "header_map: 'keep' is not one of drop, refuse, dangerous"),
        ("cert_reqs = 9", "cert_reqs: expected none (0), optional (1) or required (2), not 9"),
        ("worker_class = 3", "worker_class: expected the name of a worker class, not 3"),
        ("def worker_class(): return 1 / 0", "worker_class: ZeroDivisionError: division by zero"),
        ("umask = 'rw'", "umask: expected a umask, as in 0o022, not 'rw'"),
        ("umask = 0o1777", "umask: expected a umask, as in 0o022, not 1023"),
        ("secure_scheme_headers = 'x'", "secure_scheme_headers: expected a dict of field names and values, not 'x'"),
        ("wsgi_app = print", "wsgi_app: expected a text, not <built-in"),
        ("gateway = {'thread': 1}", "gateway: there is no option 'thread'; did you mean threads?"),
        ("gateway = {1: 1}", "gateway: there is no option '1'"),
        ("gateway = {'sendfile': 'yes'}", "gateway: sendfile: expected true or false, not 'yes'"),
    ],
)
def test_wrong_values_name_file_and_key(line, message):
    assert refused(line).startswith(f"gunicorn.conf.py: {message}")


@pytest.mark.parametrize(
    ("line", "name", "reason"),
    [
        ("spew = True", "spew", "gateway can't do that"),
        ("check_config = True", "check_config", "it belongs on the command line"),
        ("worker_tmp_dir = '/dev/shm'", "worker_tmp_dir", "workers show that they are alive without a file"),
        ("strip_header_spaces = True", "strip_header_spaces", "gateway refuses such requests, always"),
        ("forwarder_headers = 'REMOTE_USER'", "forwarder_headers", "request fields with an underscore"),
        ("secure_scheme_headers = {'X-SCHEME': 'https'}", "secure_scheme_headers", "gateway takes the scheme from"),
        ("secure_scheme_headers = {'X-FORWARDED-PROTO': 'tls'}", "secure_scheme_headers", "gateway takes the scheme"),
        ("worker_class = 'aiohttp.GunicornWebWorker'", "worker_class", "gateway doesn't know 'aiohttp.Gun"),
        ("class W: pass\nworker_class = W", "worker_class", "gateway doesn't know '__config__.W'"),
        ("statsd_host = 'x:1'", "statsd_host", "gateway has no such option yet"),
        ("logconfig_dict = {'version': 1}", "logconfig_dict", "gateway has no such option yet"),
        ("dirty_apps = ['a:B']", "dirty_apps", "gateway has no such workers"),
        ("protocol = 'uwsgi'", "protocol", "gateway speaks HTTP"),
        ("def ssl_context(config, factory): pass", "ssl_context", "the TLS options say"),
        ("import ssl\nssl_version = ssl.PROTOCOL_TLS_CLIENT", "ssl_version", "gunicorn ignores it too"),
        (
            "loglevel = 'warn'",
            "loglevel",
            "'warn' is not one of critical, error, warning, info, debug, trace; gunicorn",
        ),
        ("ciphers = 'x'", "ciphers", "there is no certfile"),
        ("ca_certs = 'x'", "ca_certs", "there is no certfile"),
    ],
)
def test_what_has_no_effect_is_named_once(line, name, reason):
    config = configure(line + ("" if "worker_class" in line else "\nthreads = 8"))
    assert len(config.warnings) == 1
    assert config.warnings[0].startswith(f"gunicorn.conf.py: {name} has no effect: {reason}")
    assert config.notices in ((), ("gunicorn.conf.py sets no threads: a worker runs one WSGI request at a time, as under gunicorn",))  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "spew = False",
        "permit_obsolete_folding = 0",
        "reload_engine = 'auto'",
        "control_socket_disable = True",
        "statsd_prefix = ''",
        "logconfig_dict = {}",
        "max_requests = 0",
        "proxy_protocol = False",
        "protocol = 'HTTP '",
        "http_protocols = 'h1'",
        "secure_scheme_headers = {'x-forwarded-proto': 'https', 'X-FORWARDED-SSL': 'on'}",
        "import ssl\nssl_version = ssl.PROTOCOL_TLS",
        "suppress_ragged_eofs = True",
        "config = object()",
        "default_proc_name = 'gunicorn'",
        "debug = True\nx_forwarded_for_header = 'X'",
    ],
)
def test_what_asks_for_nothing_needs_no_words(line):
    config = configure(f"threads = 8\n{line}")
    assert config.warnings == config.notices == ()


@pytest.mark.parametrize(
    ("name", "option", "line", "expected"),
    [
        ("max_requests", "max_requests", "max_requests = 500", 500),
        ("pidfile", "pid", "pidfile = '/run/x.pid'", "/run/x.pid"),
        ("preload_app", "preload", "preload_app = True", True),
        ("proc_name", "name", "proc_name = 'web'", "web"),
        ("proxy_protocol", "proxy_protocol", "proxy_protocol = 'v1'", "v1"),
        ("chdir", "chdir", "chdir = '/tmp'", "/tmp"),
        ("umask", "umask", "umask = 0o22", 0o22),
        ("user", "user", "user = 'www-data'", "www-data"),
        ("user", "user", "user = 33", "33"),
        ("group", "group", "group = 0", "0"),
    ],
)
def test_settings_are_taken_when_there_is_an_option(name, option, line, expected, monkeypatch):
    """By the name of the setting or of its flag; until then there is a warning."""
    for candidate in (name, *(flag[2:] for flag in SETTINGS[name].flags.split())):
        monkeypatch.delitem(options.NAMES, candidate, raising=False)
    assert any(name in warning for warning in found_in(line).warnings)
    kind = {int: values.INTEGER, str: values.TEXT, bool: values.SWITCH}[type(expected)]
    new = Option(option, kind, None, "", "Running")
    monkeypatch.setitem(options.NAMES, option, new)
    monkeypatch.setitem(BY_NAME, option, new)
    found = found_in(line)
    assert found.given[option][0] == expected
    assert found.warnings == []
    if name == "umask":
        # 0 is for sockets only, never for all files.
        assert option not in found_in("umask = 0").given


def test_reload_is_taken():
    lines = ("threads = 8", "reload = True", "reload_engine = 'inotify'", "reload_extra_files = ['a.yml', 'templates/*.html']")
    config = configure("\n".join(lines))
    assert config.warnings == config.notices == ()
    assert (config.reload, config.reload_engine) == (True, "inotify")
    assert config.reload_include == ("a.yml", "templates/*.html")


def test_one_large_field():
    config = configure("limit_request_field_size = 131072")
    assert (config.limit_request_field_size, config.limit_request_fields_size) == (131072, 131072)
    assert config.source("limit_request_fields_size").text == "gunicorn.conf.py: limit_request_field_size"


def test_tls_settings_wait_for_a_certificate_from_elsewhere(folder):
    (folder / "c.pem").write_text("-----BEGIN PRIVATE KEY-----")
    config = configure("ciphers = 'x'\ncert_reqs = 2\nca_certs = 'a'", "--certfile", "c.pem")
    assert (config.ciphers, config.cert_reqs, config.ca_certs) == ("x", "required", "a")
    assert config.warnings == ()


def test_chdir_is_taken():
    config = configure("chdir = '/tmp'")
    assert config.chdir == "/tmp"
    assert config.warnings == ()


# -- Threads


def test_sync_workers_keep_their_one_thread():
    config = configure("worker_class = 'sync'")
    assert (config.application.interface, config.threads) == ("wsgi", 1)
    assert config.notices == ("worker class sync: taken as --interface wsgi --threads 1",)
    assert config.source("threads").text == "gunicorn.conf.py: worker_class"
    assert configure("worker_class = 'sync'\nthreads = 3").threads == 3
    assert configure("worker_class = 'sync'", "--threads", "3").threads == 3
    assert configure("worker_class = 'gthread'").threads == 8


def test_a_file_without_threads_means_gunicorns_default():
    config = configure("")
    assert (config.application.interface, config.threads) == ("auto", 1)
    notice = "gunicorn.conf.py sets no threads: a worker runs one WSGI request at a time, as under gunicorn"
    assert config.notices == (notice,)
    assert config.source("threads").text == "gunicorn.conf.py: neither worker_class nor threads"
    for other in (configure("", "--threads", "3"), configure("", GATEWAY_THREADS="3")):
        assert (other.threads, other.notices) == (3, ())
    own = configure("gateway = {'threads': 3}")
    assert (own.threads, own.notices) == (3, ())


def test_a_stronger_worker_class():
    config = configure("worker_class = 'sync'", "-k", "uvicorn.workers.UvicornWorker")
    assert config.application.interface == "asgi"
    assert config.notices == ("worker class uvicorn.workers.UvicornWorker: taken as --interface asgi",)


# -- Hooks


def test_hooks_are_collected():
    text = "".join(f"def {name}({parameters}): return {name!r}\n" for name, parameters in HOOKS.items())
    config = configure(text + "def other(): pass\ndef when_ready_(): pass")
    assert set(config.hooks) == set(HOOKS)
    for name, parameters in HOOKS.items():
        assert config.hooks[name](*parameters.split(",")) == name
    with pytest.raises(TypeError):
        config.hooks["on_exit"] = print
    assert config.replace(threads=2).hooks == config.hooks
    assert load().hooks == {}


@pytest.mark.parametrize(
    "hook",
    [
        "def pre_fork(server, worker, more=1): pass",
        "def pre_fork(*arguments): pass",
        "pre_fork = lambda s, w: None",
        "class Hook:\n    def __call__(self, server, worker): pass\npre_fork = Hook()",
        "import functools\npre_fork = functools.partial(print, 'forking')",
        "pre_fork = print",
        "pre_fork = 'operator.eq'",
    ],
)
def test_whatever_can_be_called_so_is_a_hook(hook):
    assert configure(hook).hooks["pre_fork"](1, 2) in (None, False)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("def pre_fork(server): pass", "pre_fork: is called with (server, worker), but takes (server)"),
        ("def on_exit(server, *, now): pass", "on_exit: is called with (server), but takes (server, *, now)"),
        ("pre_fork = 3", "pre_fork: expected a function (server, worker), not 3"),
        ("pre_fork = 'nowhere.at_all'", "pre_fork: can't import 'nowhere.at_all': No module named 'nowhere'"),
        ("pre_fork = 'hook'", "pre_fork: can't import 'hook': "),
        ("pre_fork = 'os.nothing'", "pre_fork: can't import 'os.nothing': module 'os' has no attribute 'nothing'"),
    ],
)
def test_wrong_hooks(hook, message):
    assert refused(hook).startswith(f"gunicorn.conf.py: {message}")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_post_request_as_it_once_was(count):
    names = ["worker", "req", "environ", "resp"][:count]
    config = configure(f"def post_request({', '.join(names)}): return [{', '.join(names)}]")
    assert config.hooks["post_request"](1, 2, 3, 4) == [1, 2, 3, 4][:count]
    assert "is called with (worker, req, environ, resp), but takes (worker)" in refused(
        "def post_request(worker): pass"
    )


def test_copies_keep_hooks_and_warnings():
    config = configure("spew = True\ndef on_exit(server): pass")
    for twin in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        assert twin.hooks == config.hooks
        assert twin.warnings == config.warnings
        assert twin.notices == config.notices


# -- The file


def test_a_file_lying_about_is_not_read(folder):
    (folder / "gunicorn.conf.py").write_text("raise SystemExit('read')")
    assert load() == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = = 3", "line 1: SyntaxError: invalid syntax"),
        ("\n\ndef f(:\n  pass", "line 3: SyntaxError: invalid syntax"),
        ("\nimport no_such_module_at_all", "line 2: ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("import os\n\nkey = os.environ['NO SUCH']", "line 3: KeyError: 'NO SUCH'"),
        ("def f():\n    return 1 / 0\n\nf()", "line 2: ZeroDivisionError: division by zero"),
        ("raise ValueError('first\\nsecond')", "line 1: ValueError: first"),
        ("raise ValueError", "line 1: ValueError"),
        ("import sys\nsys.exit('stop')", "line 2: SystemExit: stop"),
        ("import json\njson.loads('{')", "line 2: JSONDecodeError: Expecting property name"),
        ("exec('1 +')", "line 1: SyntaxError: invalid syntax"),
    ],
)
def test_errors_in_the_file(text, message):
    assert refused(text).startswith(f"gunicorn.conf.py: {message}")


@pytest.mark.parametrize("data", [b"x = '\xff'", b"x = 1\0"])
def test_what_is_no_python(folder, data):
    (folder / "c.py").write_bytes(data)
    with pytest.raises(ConfigError, match=r"^c\.py: .*SyntaxError: ") as caught:
        load("-c", "c.py")
    assert "\n" not in str(caught.value)


def test_an_error_in_a_module_it_imports(folder):
    (folder / "inner_of_test.py").write_text("\n\n\nx = 1 / 0")
    assert refused("import os\nimport inner_of_test").startswith("gunicorn.conf.py: line 2: ZeroDivisionError")


def test_a_file_is_run_anew_each_time():
    """A reload sees what it says then, also when size and time stayed."""
    assert configure("keepalive = 3").keep_alive == 3.0
    assert configure("keepalive = 4").keep_alive == 4.0
    assert not Path("__pycache__").exists()


def test_a_module_is_run_anew_each_time(folder):
    (folder / "conf_of_test.py").write_text("keepalive = 3")
    assert load("-c", "python:conf_of_test").keep_alive == 3.0
    (folder / "conf_of_test.py").write_text("keepalive = 4")
    assert load("-c", "python:conf_of_test").keep_alive == 4.0


def test_a_broken_file_leaves_the_one_before():
    configure("threads = 8\nmark = 1")
    before = sys.modules["__config__"]
    refused("mark = 2\n1 / 0")
    assert sys.modules["__config__"] is before


def test_where_it_imports_from(folder):
    (folder / "src").mkdir()
    (folder / "conf").mkdir()
    (folder / "src" / "beside_of_test.py").write_text("value = 7")
    (folder / "conf" / "g.conf.py").write_text("import beside_of_test\nkeepalive = beside_of_test.value")
    assert load("-c", "conf/g.conf.py", "--app-dir", "src").keep_alive == 7.0
    assert str(folder / "src") in sys.path


def test_its_own_place():
    config = configure("import os\nerrorlog = os.path.join(os.path.dirname(__file__), 'e.log')")
    assert config.error_logfile == str(Path.cwd() / "e.log")


@pytest.mark.parametrize("name", ["gunicorn.conf.py", "file:gunicorn.conf.py", "./gunicorn.conf.py", "file:plain.conf"])
def test_names_of_python_files(folder, name):
    for file in ("gunicorn.conf.py", "plain.conf"):
        (folder / file).write_text("keepalive = int(7)")
    config = load("-c", name)
    assert config.keep_alive == 7.0
    assert config.source("keep_alive").text == f"{name.removeprefix('file:')}: keepalive"
    assert load(GATEWAY_CONFIG=name).keep_alive == 7.0


def test_names_of_toml_files(folder):
    (folder / "x.toml").write_text("keepalive = 7")
    (folder / "x.conf").write_text("keepalive = 7")
    for name in ("x.toml", "file:x.toml", "x.conf"):
        assert load("-c", name).keep_alive == 7.0
    (folder / "x.conf").write_text("keepalive = int(7)")
    with pytest.raises(ConfigError, match=r"x\.conf: is no TOML: .*; a file of Python is called NAME\.py"):
        load("-c", "x.conf")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:no_such_module_at_all", "--config: there is no module no_such_module_at_all"),
        (
            "python:no_such.module",
            "--config: can't import no_such.module: ModuleNotFoundError: No module named 'no_such'",
        ),
        ("python:sys", "--config: sys is no Python file"),
        ("python:", "--config: python: lacks a module, as in python:project.settings"),
        ("file:", "--config: can't read : No such file or directory"),
        (".py", "--config: can't read .py: No such file or directory"),
    ],
)
def test_files_that_can_not_be_had(name, message):
    with pytest.raises(ConfigError) as caught:
        load("-c", name)
    assert str(caught.value) == message


# -- Precedence


def test_precedence():
    text = "keepalive = 1\nthreads = 1"
    assert configure(text).keep_alive == 1.0
    assert configure(text, GATEWAY_KEEP_ALIVE="2").keep_alive == 2.0
    assert configure(text, "--keep-alive", "3", GATEWAY_KEEP_ALIVE="2").keep_alive == 3.0
    config = configure("keepalive = 1\nworkers = 1", WEB_CONCURRENCY="1")
    assert config.source("keep_alive").text == "gunicorn.conf.py: keepalive"
    assert config.source("workers").text == "environment variable WEB_CONCURRENCY"
    assert 'keep_alive = "1s"  # gunicorn.conf.py: keepalive' in sources.to_toml(config)


def test_the_target_of_the_file():
    assert configure("wsgi_app = 'a:b'").application.app == "a:b"
    assert configure("wsgi_app = 'a:b'", "c:d").application.app == "c:d"


def test_listening():
    assert listening(configure("bind = ':1'", PORT="5")) == ["0.0.0.0:1"]
    assert listening(configure("bind = ':1'", "--uds", "/a")) == ["unix:/a"]
    assert listening(configure("bind = ':1'", GATEWAY_PORT="3")) == ["127.0.0.1:3"]


def test_variables_for_the_application(folder):
    (folder / "gunicorn.conf.py").write_text("raw_env = ['A=new', 'GATEWAY_THREADS=3']")
    environ = {"A": "old"}
    config, _ = sources.load(["-c", "gunicorn.conf.py"], environ)
    assert environ == {"A": "new", "GATEWAY_THREADS": "3"}
    assert config.threads == 3


# -- GUNICORN_CMD_ARGS


def arguments(text: str, *argv: str, **environ: str) -> Config:
    return load("--gunicorn-cmd-args", *argv, GUNICORN_CMD_ARGS=text, **environ)


def test_gunicorn_arguments():
    config = arguments("--bind=:1 -b unix:/a --threads 3 -k gthread --access-logfile=- --no-sendfile -e 'A=b c'")
    assert listening(config) == ["0.0.0.0:1", "unix:/a"]
    assert (config.threads, config.worker_class, config.access_logfile, config.sendfile) == (3, "gthread", "-", False)
    assert config.env == ("A=b c",)
    assert config.source("threads").text == "environment variable GUNICORN_CMD_ARGS: --threads"
    assert config.warnings == ()
    # As gunicorn takes them: shortened, and with a target that doesn't count.
    config = arguments("--thr=3 --keep 7 a:b")
    assert (config.threads, config.keep_alive, config.application.app) == (3, 7.0, None)


def test_gunicorn_arguments_are_read_on_request(folder):
    assert load(GUNICORN_CMD_ARGS="--threads=3").threads == 8
    assert load(GUNICORN_CMD_ARGS="--threads=3", GATEWAY_GUNICORN_CMD_ARGS="1").threads == 3
    assert load("--no-gunicorn-cmd-args", GUNICORN_CMD_ARGS="--threads=3", GATEWAY_GUNICORN_CMD_ARGS="1").threads == 8
    assert load("--gunicorn-cmd-args").threads == 8
    (folder / "gateway.toml").write_text("gunicorn_cmd_args = true")
    assert load(GUNICORN_CMD_ARGS="--threads=3").threads == 3
    assert load("--no-gunicorn-cmd-args", GUNICORN_CMD_ARGS="--threads=3").threads == 8
    # One who has brought a file of gunicorn's might miss it.
    config = configure("threads = 3", GUNICORN_CMD_ARGS="--threads=4")
    assert config.threads == 3
    assert config.warnings == ("environment variable GUNICORN_CMD_ARGS has no effect without --gunicorn-cmd-args",)
    assert configure("threads = 3", "--no-gunicorn-cmd-args", GUNICORN_CMD_ARGS="--threads=4").warnings == ()


def test_precedence_of_gunicorn_arguments(folder):
    Path("gunicorn.conf.py").write_text("threads = 2\nkeepalive = 2")
    config = arguments("--threads=3", "-c", "gunicorn.conf.py")
    assert (config.threads, config.keep_alive) == (3, 2.0)
    assert arguments("--threads=3", GATEWAY_THREADS="4").threads == 4
    assert arguments("--threads=3", "--threads=5", GATEWAY_THREADS="4").threads == 5
    assert arguments("--forwarded-allow-ips=10.0.0.1", FORWARDED_ALLOW_IPS="*").forwarded_allow_ips == (
        "10.0.0.1",
        "unix",
    )
    assert listening(arguments("--bind=:1", GATEWAY_PORT="2")) == ["127.0.0.1:2"]
    assert listening(arguments("--bind=:1", PORT="2")) == ["0.0.0.0:1"]


def test_gunicorn_arguments_may_name_the_file(folder):
    (folder / "a.py").write_text("keepalive = 2")
    (folder / "b.py").write_text("keepalive = 3")
    config = arguments("-c a.py")
    assert config.keep_alive == 2.0
    assert config.config == "a.py"
    assert arguments("-c a.py", "-c", "b.py").keep_alive == 3.0
    with pytest.raises(ConfigError, match=r"GUNICORN_CMD_ARGS: --config: can't read c\.py"):
        arguments("--config c.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--thread-s=3", "gunicorn has no option --thread-s; did you mean --threads?"),
        ("--keepalive 3", "gunicorn has no option --keepalive; did you mean --keep-alive?"),
        ("--threads", "argument --threads: expected one argument"),
        ("--bind 'x", "No closing quotation"),
        ("--wor 3", "ambiguous option: --wor could match"),
    ],
)
def test_wrong_gunicorn_arguments(text, message):
    with pytest.raises(ConfigError) as caught:
        arguments(text)
    assert str(caught.value).startswith(f"environment variable GUNICORN_CMD_ARGS: {message}")


def test_wrong_values_of_gunicorn_arguments():
    with pytest.raises(ConfigError, match=r"^environment variable GUNICORN_CMD_ARGS: --threads: expected a"):
        arguments("--threads=many")


def test_gunicorn_arguments_without_effect():
    config = arguments("--statsd-host=x:1 --spew --proxy-protocol")
    where = "environment variable GUNICORN_CMD_ARGS"
    assert [warning.partition(" has no effect")[0] for warning in config.warnings if "proxy" not in warning] == [
        f"{where}: --spew",
        f"{where}: --statsd-host",
    ]


# -- Files as they are


@pytest.mark.parametrize(
    "name", ["everyday.conf.py", "container.conf.py", "logging.conf.py", "python:project.production"]
)
def test_real_files_migrate(name, folder, monkeypatch):
    """The printed TOML gives the same options, from gateway.toml."""
    monkeypatch.syspath_prepend(FILES)
    where = name if name.startswith("python:") else str(FILES / name)
    environ: dict[str, str] = {}
    before, _ = sources.load(["-c", where], environ)
    text = migrate(where)
    tomllib.loads(text)
    (folder / "gateway.toml").write_text(text)
    again: dict[str, str] = {}
    after, _ = sources.load([], again)
    assert {**after.values, "config": where} == before.values
    assert after.listen == before.listen
    assert again == environ
    assert after.warnings == ()
    for warning in before.warnings:
        setting, _, reason = warning.removeprefix(f"{where}: ").partition(" has no effect: ")
        if setting in before.hooks:
            assert f"Functions can't stand in TOML: {', '.join(before.hooks)}." in text
        elif reason and setting != "cert_reqs":
            assert f"\n# {setting} = " in text
            assert f"\n#   {reason}\n" in text


def test_an_everyday_file():
    config = load("-c", str(FILES / "everyday.conf.py"))
    assert listening(config) == ["127.0.0.1:8000"]
    assert (config.threads, config.keep_alive, config.limit_connections, config.backlog) == (1, 3.0, 500, 1024)
    assert config.log.access_logfile == "-"
    assert config.env == ("DJANGO_SETTINGS_MODULE=site.settings", "FLAVOUR=sweet and sour")
    assert set(config.hooks) == {"post_fork", "pre_fork", "pre_exec", "when_ready", "worker_int", "worker_abort"}
    assert config.warnings == ()


def test_a_file_of_a_container():
    config = load("-c", str(FILES / "container.conf.py"))
    assert listening(config) == ["0.0.0.0:8080"]
    assert config.application.app is None
    assert config.application.interface == "asgi"
    assert (config.loop, config.header, config.graceful_timeout) == ("auto", (), 120.0)
    assert config.notices == ("worker class uvicorn.workers.UvicornWorker: taken as --interface asgi",)
    assert any("worker_tmp_dir" in warning for warning in config.warnings)


def test_a_file_with_logging_and_a_class():
    config = load("-c", str(FILES / "logging.conf.py"))
    assert config.application.interface == "asgi"
    assert listening(config) == ["0.0.0.0:8000", "fd://3"]
    config.hooks["post_request"](1, 2, 3, 4)
    assert config.hooks["post_request"].requests == 1
    assert set(config.hooks) == {"post_request", "pre_request", "nworkers_changed", "child_exit"}
    assert any("logconfig_dict has no effect" in warning for warning in config.warnings) == (
        gunicorn.option_for("logconfig_dict") is None
    )


def test_a_package(monkeypatch):
    monkeypatch.syspath_prepend(FILES)
    config = load("-c", "python:project.production")
    assert config.application.app == "wsgi_probe:probe"
    assert config.application.pythonpath == ("lib", "more")
    assert (config.threads, config.uds_mode, config.header_map) == (4, 0o660, "refuse")
    assert config.limit_request_fields_size == 131072
    assert set(config.hooks) == {"worker_exit"}
    assert config.source("threads").text == "python:project.production: threads"


# -- migrate


def test_migrated_computed_values(folder):
    (folder / "gunicorn.conf.py").write_text(
        "import multiprocessing\n"
        "workers: int = multiprocessing.cpu_count() * 2 + 1\n"
        "bind = ':1'\n"
        "keepalive = 2\n"
        "loglevel = 'debug' if workers > 2 else (\n    'info'\n)\n"
        "limit_request_line = 60 * 60\n"
        "limit_request_line = 4094\n"
    )
    lines = migrate("gunicorn.conf.py").splitlines()
    index = lines.index(f"workers = {multiprocessing.cpu_count() * 2 + 1}")
    assert lines[index - 1] == "# computed: workers = multiprocessing.cpu_count() * 2 + 1"
    index = lines.index('log_level = "debug"')
    assert lines[index - 1] == "# computed: loglevel = 'debug' if workers > 2 else 'info'"
    assert 'keep_alive = "2s"  # keepalive' in lines
    assert 'bind = ["0.0.0.0:1"]' in lines
    assert "limit_request_line = 4094" in lines
    assert "threads = 1  # neither worker_class nor threads" in lines


def test_migrated_odd_values(folder):
    (folder / "gunicorn.conf.py").write_text(
        "threads = 8\n"
        "raw_env = ['A=\"quoted\" \\\\ \\t\\x07 \\u20ac']\n"
        "logconfig_dict = {'a\\nb': ['x' * 500]}\n"
        "gateway = {'keyfile_password': 'hush', 'use_colors': True}\n"
        "certfile = keyfile = 'x'\n"
    )
    (folder / "gateway.toml").write_text(migrate("gunicorn.conf.py"), encoding="utf-8")
    config = load()
    assert config.env == ('A="quoted" \\ \t\x07 \u20ac',)
    assert (config.keyfile_password, config.use_colors) == ("hush", True)
    assert {**config.values, "config": "gunicorn.conf.py"} == load("-c", "gunicorn.conf.py").values


def test_migrating_changes_nothing(monkeypatch):
    """The environment stays as it is, and nothing but the file is in it."""
    monkeypatch.setenv("GATEWAY_THREADS", "5")
    monkeypatch.delenv("MIGRATED", raising=False)
    Path("gunicorn.conf.py").write_text("raw_env = ['MIGRATED=1']\nthreads = 2")
    text = migrate("gunicorn.conf.py")
    assert tomllib.loads(text) == {"env": ["MIGRATED=1"], "threads": 2}
    assert "MIGRATED" not in python.os.environ


@pytest.mark.parametrize("name", ["gateway.toml", "x", "file:x.toml"])
def test_only_python_is_migrated(name):
    with pytest.raises(ConfigError, match="a configuration of gunicorn is Python"):
        migrate(name)
