"""The command line: targets, addresses, messages and exit codes (0 stopped, 1 ours, 2 usage, 3 boot, 4 application)."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

import pytest

from .harness import APPS, WAIT, Client, Server, environment, request, run_gateway

HERE = ("--app-dir", str(APPS), "-b", "127.0.0.1:0")
HELLO = request("GET", "/hello")


def failed(result: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with that code, and one message that has these words (regular expressions, in any case)."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    for word in words:
        assert re.search(word, result.stderr, re.IGNORECASE), (word, result.stderr)


def one_message(result: subprocess.CompletedProcess[str]) -> None:
    assert "Traceback" not in result.stderr, result.stderr
    # Not counted: that the master starts and ends.
    lines = [line for line in result.stderr.splitlines() if line.strip() and "[INFO]" not in line]
    assert 1 <= len(lines) <= 2, result.stderr


# Information


def test_version() -> None:
    result = run_gateway("--version")
    assert result.returncode == 0
    import gateway

    assert gateway.__version__ in result.stdout
    assert "Python" in result.stdout
    expected = "pure" if os.environ.get("GATEWAY_NO_EXTENSIONS") else "(compiled|pure)"
    assert re.search(expected, result.stdout), result.stdout


def test_version_names_the_pure_build() -> None:
    result = run_gateway("--version", env={"GATEWAY_NO_EXTENSIONS": "1"})
    assert "pure" in result.stdout


def test_help() -> None:
    result = run_gateway("--help")
    assert result.returncode == 0
    for flag in ("--bind", "--threads", "--keep-alive", "--limit-request-body", "--graceful-timeout", "--uds"):
        assert flag in result.stdout


def test_console_script() -> None:
    script = Path(sys.executable).with_name("gateway")
    if not script.exists():
        pytest.skip("gateway is run from the checkout")
    result = subprocess.run([str(script), "--version"], env=environment(), capture_output=True, text=True, timeout=WAIT)
    assert result.returncode == 0, result.stderr


def test_check_config() -> None:
    result = run_gateway("asgi_apps:probe", *HERE, "--check-config")
    assert result.returncode == 0, result.stderr
    assert "ok" in (result.stdout + result.stderr).lower()
    failed(run_gateway("no_such_module:app", *HERE, "--check-config"), 4, "no_such_module")
    failed(run_gateway("asgi_apps:probe", *HERE, "--check-config", "--threads=none"), 2, "threads")


def test_check_config_opens_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "-b", f"127.0.0.1:{port}", "--check-config")
        assert result.returncode == 0, result.stderr


def test_print_config() -> None:
    as_json = json.loads(run_gateway("asgi_apps:probe", "--print-config=json", "--keep-alive=7").stdout)
    assert "7" in json.dumps(as_json)
    as_toml = tomllib.loads(run_gateway("asgi_apps:probe", "--print-config=toml", "--keep-alive=7").stdout)
    assert "7" in json.dumps(as_toml, default=str)


def test_printed_config_can_be_read(tmp_path: Path) -> None:
    printed = run_gateway("asgi_apps:probe", "--print-config=toml", "--keep-alive=7", "--threads=3").stdout
    path = tmp_path / "printed.toml"
    path.write_text(printed)
    again = run_gateway("--config", str(path), "--print-config=json")
    assert again.returncode == 0, again.stderr
    assert re.search(r'"threads":[^,}]*3', again.stdout), again.stdout


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["application|target"]),
        (("--no-such-option",), ["no-such-option"]),
        (("asgi_apps:probe", "--keep-alive=soon"), ["keep.alive", "soon"]),
        (("asgi_apps:probe", "--threads=-1"), ["threads"]),
        (("asgi_apps:probe", "--threads=-3"), ["threads"]),
        (("asgi_apps:probe", "--port=70000"), ["port"]),
        (("asgi_apps:probe", "--bind=nonsense:port"), ["bind"]),
        (("asgi_apps:probe", "--interface=cgi"), ["interface", "wsgi"]),
        (("asgi_apps:probe", "--log-level=loud"), ["log.level", "debug"]),
        (("asgi_apps:probe", "--forwarded-allow-ips=everyone"), ["forwarded"]),
        (("asgi_apps:probe", "--config=/no/such/file.toml"), ["/no/such/file.toml"]),
        (("asgi_apps:probe", "--app-dir=/no/such/folder"), ["/no/such/folder"]),
        (("asgi_apps:probe", *HERE, "--certfile=/no/such/cert.pem"), ["/no/such/cert.pem"]),
        (("asgi_apps:probe", "second_target:app"), ["second_target"]),
        (("asgi_apps:probe", "--keep-alve=3"), ["keep-alive|keep-alve"]),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], words: list[str]) -> None:
    result = run_gateway(*arguments)
    failed(result, 2, *words)
    one_message(result)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module:app", ["no_such_module"]),
        ("asgi_apps:no_such_attribute", ["no_such_attribute"]),
        ("asgi_apps:prob", ["prob", "probe"]),
        ("asgi_apps:TEXT", ["TEXT", "call"]),
        ("cases", ["application|app"]),
        ("no.such.package:app", ["no"]),
        ("asgi_apps:no_such_factory()", ["no_such_factory"]),
    ],
)
def test_wrong_target(target: str, words: list[str]) -> None:
    """The name is wrong: a traceback of ours would only hide the message."""
    result = run_gateway(target, *HERE)
    failed(result, 4, *words)
    one_message(result)


@pytest.mark.parametrize("target", [":app", "module:", "a:b:c", "asgi_apps:create(", "asgi_apps:os.system('x')", "", "a/b.py"])
def test_malformed_target(target: str) -> None:
    result = run_gateway(target, *HERE)
    assert result.returncode in (2, 4), result.stderr
    one_message(result)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_dependency\n", ["no_such_dependency", "Traceback", "broken_app"]),
        ("app = 1 / 0\n", ["ZeroDivisionError", "Traceback"]),
        ("def app(:\n", ["SyntaxError", "broken_app"]),
        ("raise SystemExit(0)\n", ["SystemExit|exit"]),
    ],
)
def test_application_that_cannot_be_imported(tmp_path: Path, source: str, words: list[str]) -> None:
    """The application's own traceback is what helps here, and nothing of gateway's."""
    (tmp_path / "broken_app.py").write_text(source)
    result = run_gateway("broken_app:app", "-b", "127.0.0.1:0", "--app-dir", str(tmp_path))
    failed(result, 4, *words)
    assert "gateway/loader/" not in result.stderr.replace(os.sep, "/"), result.stderr
    assert "importlib" not in result.stderr, result.stderr


def test_factory_that_fails(tmp_path: Path) -> None:
    (tmp_path / "factory.py").write_text("def create():\n    raise RuntimeError('no settings')\n")
    result = run_gateway("factory:create", "--factory", "-b", "127.0.0.1:0", "--app-dir", str(tmp_path))
    failed(result, 4, "no settings", "Traceback")


def test_factory_that_makes_no_application(tmp_path: Path) -> None:
    (tmp_path / "factory.py").write_text("def create():\n    return 5\n")
    result = run_gateway("factory:create", "--factory", "-b", "127.0.0.1:0", "--app-dir", str(tmp_path))
    failed(result, 4, "call")
    one_message(result)


def test_busy_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "-b", f"127.0.0.1:{port}")
        failed(result, 1, str(port), "in use")
        assert "Traceback" not in result.stderr


def test_forbidden_and_unknown_addresses(tmp_path: Path) -> None:
    result = run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "-b", "192.0.2.1:0")
    failed(result, 1, "192.0.2.1")
    assert "Traceback" not in result.stderr
    result = run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "-b", f"unix:{tmp_path}/no/such/dir.sock")
    failed(result, 1, "dir.sock")
    assert "Traceback" not in result.stderr


def test_busy_unix_socket() -> None:
    """A socket that somebody listens on isn't taken away; one that is left over is replaced."""
    path = Path("/tmp") / f"gw-{uuid.uuid4().hex[:12]}.sock"
    try:
        with Server("asgi_apps:probe", binds=[f"unix:{path}"]) as server:
            result = run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "-b", f"unix:{path}")
            failed(result, 1, path.name)
            assert server.alive()
            server.kill()
        assert path.exists()
        with Server("asgi_apps:probe", binds=[f"unix:{path}"]) as server:
            assert server.alive()
            assert server.terminate() == 0
        assert not path.exists()
    finally:
        path.unlink(missing_ok=True)


def test_unix_socket_path_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    failed(run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "-b", f"unix:{path}"), 1, "precious")
    assert path.read_text() == "data"


# Targets and where they are found


@pytest.mark.parametrize(
    ("target", "interface"),
    [
        ("asgi_apps:probe", "ASGI"),
        ("asgi_apps:instance", "ASGI"),
        ("asgi_apps:ASGI2", "ASGI ?2"),
        ("wsgi_probe:probe", "WSGI"),
        ("wsgi_probe:instance", "WSGI"),
        ("flask_app", "WSGI"),
        ("starlette_app:app", "ASGI"),
    ],
)
def test_interface_is_found_and_told(target: str, interface: str) -> None:
    module = target.split("_app")[0]
    if module in ("flask", "starlette"):
        pytest.importorskip(module)
    with Server(target) as server:
        assert re.search(interface, server.log, re.IGNORECASE), server.log
        assert server.get("/hello").status in (200, 404)


def test_target_from_the_current_directory(tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text(
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'here'})\n"
    )
    with Server("here", "--lifespan=off", app_dir=None, cwd=tmp_path) as server:
        assert server.get("/").body == b"here"


def test_dotted_targets(tmp_path: Path) -> None:
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    (package / "module.py").write_text(
        "class holder:\n"
        "    @staticmethod\n"
        "    def app(environ, start_response):\n"
        "        start_response('200 OK', [])\n"
        "        return [b'dotted']\n"
    )
    with Server("package.inner.module:holder.app", app_dir=tmp_path) as server:
        assert server.get("/").body == b"dotted"


def test_env_file(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("GATEWAY_TEST_WORD=from-the-file\nGATEWAY_KEEP_ALIVE=9\n")
    (tmp_path / "words.py").write_text(
        "import os\n"
        "word = os.environ['GATEWAY_TEST_WORD'].encode()\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [word]\n"
    )
    with Server("words:app", "--env-file", str(tmp_path / "settings.env"), app_dir=tmp_path) as server:
        assert server.get("/").body == b"from-the-file"


def test_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text('app = "wsgi_probe:probe"\nlimit-request-line = 50\n')
    with Server("wsgi_probe:probe", "--pythonpath", str(APPS), app_dir=tmp_path) as server:
        assert server.get("/" + "x" * 60).status == 414


def test_environment_variables() -> None:
    env = {"GATEWAY_LIMIT_REQUEST_LINE": "50"}
    with Server("asgi_apps:probe", env=env) as server:
        assert server.get("/" + "x" * 60).status == 414
    with Server("asgi_apps:probe", "--limit-request-line=100", env=env) as server:
        assert server.get("/" + "x" * 60).status == 200, "the command line is stronger than the environment"


# Addresses


def test_several_binds() -> None:
    paths = [Path("/tmp") / f"gw-{uuid.uuid4().hex[:12]}.sock" for _ in range(2)]
    try:
        with Server("asgi_apps:probe", binds=["127.0.0.1:0", *(f"unix:{path}" for path in paths)]) as server:
            assert len(set(server.addresses)) == 3
            for address in server.addresses:
                with Client(address) as client:
                    client.send(HELLO)
                    assert client.response().body == b"hello"
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def test_ipv6() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    with Server("asgi_apps:probe", binds=["[::1]:0"]) as server, server.connect() as client:
        client.send(request("GET", "/scope"))
        facts = client.response().json()
        assert facts["server"] == ["::1", server.port]
        assert facts["client"] == list(client.socket.getsockname()[:2])
        assert "[::1]" in server.url


@pytest.mark.parametrize("app", ["asgi_apps:probe", "wsgi_probe:probe"])
def test_unix_socket(app: str) -> None:
    path = Path("/tmp") / f"gw-{uuid.uuid4().hex[:12]}.sock"
    try:
        with Server(app, "--uds", str(path), binds=None, listeners=1) as server:
            assert server.alive()
            if app.startswith("asgi"):
                facts = server.facts("/scope")
                assert facts["client"] is None
                assert facts["server"] == [str(path), None]
            else:
                values = server.facts("/environ")["values"]
                # PEP 3333: SERVER_NAME and SERVER_PORT can never be empty.
                assert values["SERVER_NAME"]
                assert values["SERVER_PORT"]
                assert isinstance(values.get("REMOTE_ADDR", ""), str)
            assert path.stat().st_mode & 0o777 == 0o666
            assert server.terminate() == 0
        assert not path.exists()
    finally:
        path.unlink(missing_ok=True)


def test_unix_socket_mode() -> None:
    path = Path("/tmp") / f"gw-{uuid.uuid4().hex[:12]}.sock"
    try:
        with Server("asgi_apps:probe", "--uds-mode=600", binds=[f"unix:{path}"]) as server:
            assert path.stat().st_mode & 0o777 == 0o600
            assert server.alive()
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_socket() -> None:
    name = f"gateway-{uuid.uuid4().hex}"
    with Server("asgi_apps:probe", binds=[f"unix:@{name}"]) as server:
        assert server.address == "\0" + name
        assert server.alive()


@pytest.mark.parametrize("how", ["--fd", "fd://"])
def test_inherited_socket(how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        port = listener.getsockname()[1]
        if how == "--fd":
            server = Server("asgi_apps:probe", "--fd", str(number), binds=None, listeners=1, pass_fds=[number])
        else:
            server = Server("asgi_apps:probe", binds=[f"fd://{number}"], pass_fds=[number])
        with server:
            assert server.port == port
            assert server.alive()


def test_host_and_port() -> None:
    with Server("asgi_apps:probe", "--host=127.0.0.1", "--port=0", binds=None, listeners=1) as server:
        assert server.alive()


def test_fd_that_is_no_socket(tmp_path: Path) -> None:
    result = run_gateway("asgi_apps:probe", "--app-dir", str(APPS), "--fd", "0")
    assert result.returncode in (1, 2), result.stderr
    one_message(result)


# Logs


def test_access_log(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with Server("asgi_apps:probe", "--access-logfile", str(path)) as server:
        server.get("/hello?x=1", "User-Agent: tester/1.0 \"quoted\"", "Referer: http://from.example/")
        server.get("/status?code=404")
        server.exchange(request("HEAD", "/hello"), "HEAD")
        with server.connect() as client:
            client.send(b"GET /bad HTTP/1.1\r\nno colon\r\n\r\n")
            assert client.response().status == 400
        assert server.terminate() == 0
    lines = path.read_text().splitlines()
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /hello\?x=1 HTTP/1\.1" 200 5 '
        r'"http://from\.example/" "tester/1\.0 \\+(x22|")quoted\\+(x22|")"',
        lines[0],
    ), lines[0]
    assert '"GET /status?code=404 HTTP/1.1" 404 4 ' in lines[1]
    assert '"HEAD /hello HTTP/1.1" 200 ' in lines[2]


@pytest.mark.parametrize("app", ["asgi_apps:probe", "wsgi_probe:probe"])
def test_access_log_counts_what_was_sent(app: str, tmp_path: Path) -> None:
    """The client left early: the line has the bytes that were really sent, not those the application had."""
    path = tmp_path / "access.log"
    size = 100_000_000
    with Server(app, "--access-logfile", str(path), "--access-log-format=%(U)s %(s)s %(B)s") as server:
        server.get("/big?size=100000")
        with server.connect(receive_buffer=16384) as client:
            client.send(request("GET", f"/big?size={size}"))
            client.response_head()
            client.take(50_000)
            client.reset()
        server.wait_event("stopped")
        assert server.terminate() == 0
    lines = path.read_text().splitlines()
    assert lines[0] == "/big 200 100000"
    sent = int(lines[1].split()[2])
    assert 50_000 <= sent < size


def test_access_log_is_off_by_default(asgi: Server) -> None:
    asgi.get("/hello")
    assert "GET /hello" not in asgi.log


def test_access_log_formats(tmp_path: Path) -> None:
    """gunicorn's atoms, uvicorn's short form, JSON."""
    expected = {
        "%(h)s %(m)s %(U)s %(q)s %(H)s %(s)s %(b)s %({x-in}i)s %({content-type}o)s": (
            r"127\.0\.0\.1 GET /hello a=1 HTTP/1\.1 200 5 inside text/plain; charset=utf-8"
        ),
        "short": r'127\.0\.0\.1:\d+ - "GET /hello\?a=1 HTTP/1\.1" 200.*',
        "%(D)s %(M)s %(L)s %(p)s": r"\d+ \d+ \d+\.\d+ <?\d+>?",
    }
    for number, (form, pattern) in enumerate(expected.items()):
        path = tmp_path / str(number)
        with Server("asgi_apps:probe", "--access-logfile", str(path), "--access-log-format", form) as server:
            server.get("/hello?a=1", "X-In: inside")
            assert server.terminate() == 0
        assert re.fullmatch(pattern, path.read_text().rstrip("\n")), (form, path.read_text())


@pytest.mark.parametrize("app", ["asgi_apps:probe", "wsgi_probe:probe"])
def test_access_log_as_json(app: str, tmp_path: Path) -> None:
    """By a real encoder: whatever a client sends, a line is one object."""
    path = tmp_path / "access.json"
    with Server(app, "--access-logfile", str(path), "--access-log-format=json") as server:
        server.get('/hello?a="b"', 'User-Agent: "}\\ \xff')
        server.get("/parts")
        assert server.terminate() == 0
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(entries) == 2
    assert any("hello" in str(value) for value in entries[0].values())


def test_log_injection(tmp_path: Path) -> None:
    """Neither log can be forged through a request."""
    path = tmp_path / "access.log"
    with Server("asgi_apps:probe", "--access-logfile", str(path)) as server:
        server.get("/x%0aforged", "User-Agent: \xff\x80 \x9b31m")
        with server.connect() as client:
            client.send(b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n")
            client.rest()
        assert server.terminate() == 0
    text = path.read_bytes()
    assert b"\nforged" not in text
    assert b"\x1b" not in text
    assert b"\x9b" not in text
    assert "\x1b" not in server.log


def test_log_level() -> None:
    with Server("asgi_apps:probe", "--log-level=debug") as server:
        assert server.alive()
    assert re.search(r"^\[[^]]+\] \[\d+\] \[INFO\] ", server.log, re.MULTILINE), server.log


def test_start_up_lines(asgi: Server) -> None:
    """What it runs, on what, and with which build."""
    assert re.search(r"(?i)start", asgi.log)
    assert re.search(r"compiled|pure", asgi.log)
    assert re.search(rf"Listening at: http://127\.0\.0\.1:{asgi.port} \({asgi.pid}\)", asgi.log)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, by openssl."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(path) + ".key", "-out", str(path), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return path


def test_tls(certificate: Path) -> None:
    import ssl

    context = ssl.create_default_context(cafile=str(certificate))
    options = [f"--certfile={certificate}", f"--keyfile={certificate}.key"]
    for app in ("asgi_apps:probe", "wsgi_probe:probe"):
        with Server(app, *options) as server:
            assert server.url.startswith("https://")
            with server.connect(tls=context) as client:
                client.send(HELLO + request("GET", "/x"))
                assert client.response().body == b"hello"
                assert client.response().json()["scheme"] == "https"
                body = os.urandom(300_000)
                client.send(request("POST", "/echo", body=body))
                assert client.response().body == body
            # Plain HTTP on a TLS port: a clear answer instead of silence.
            with server.connect() as client:
                client.send(HELLO)
                assert client.rest().startswith(b"HTTP/1.1 400 ")
            assert server.terminate() == 0


def test_tls_handshake_timeout(certificate: Path) -> None:
    options = [f"--ssl-certfile={certificate}", f"--ssl-keyfile={certificate}.key", "--timeout-handshake=0.5"]
    with Server("asgi_apps:probe", *options) as server, server.connect() as client:
        assert client.rest() == b""


def test_tls_old_versions_are_refused(certificate: Path) -> None:
    import ssl

    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Server(
        "asgi_apps:probe", f"--certfile={certificate}", f"--keyfile={certificate}.key", "--ssl-min-version=1.3"
    ) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.connect(tls=context)
