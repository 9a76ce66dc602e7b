"""Several applications on one port: real frameworks side by side, each in its place; limits, lifespans, stopping."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import gateway
from gateway import Mount, Mounts

from .harness import APPS, WAIT, Server, ServerFailed, chunked, request, run_gateway
from .test_processes import until
from .wsclient import connect

httpx = pytest.importorskip("httpx")


def mounted(*mounts: str, options: tuple[str, ...] = (), **more: Any) -> Server:
    """A server with these --mount."""
    arguments = [f"--mount={mount}" for mount in mounts]
    return Server(arguments[0], *arguments[1:], *options, **more)


# Frameworks

FRAMEWORKS = ("starlette", "fastapi", "litestar", "flask")


@pytest.fixture(scope="module")
def frameworks(django_home: Path) -> Iterator[Server]:
    """Flask has two places, Django one for each of its entry points and one for both, and FastAPI the rest."""
    for name in FRAMEWORKS:
        pytest.importorskip(name)
    with mounted(
        *(f"/{name}=mounted_apps:{name}()" for name in FRAMEWORKS),
        "/flask/gr\u00fc\u00dfe=mounted_apps:flask()",
        "/django=djangosite.wsgi:application",
        "/django/async=djangosite.asgi:application",
        "/django/both=djangosite",
        "/=mounted_apps:fastapi()",
        env={"DJANGOSITE_HOME": str(django_home), "PYTHONUTF8": "1"},
    ) as server:
        yield server


def client_for(server: Server) -> Any:
    return httpx.Client(base_url=server.url, timeout=WAIT, trust_env=False)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_routing_and_reversing(frameworks: Server, name: str) -> None:
    """A framework finds its routes below its place, and makes URLs that lead back there."""
    with client_for(frameworks) as client:
        facts = client.get(f"/{name}/where").json()
        assert facts["where"] == f"{frameworks.url}/{name}/where"
        assert facts["path"] == f"/{name}/where"
        assert facts["base"].rstrip("/") == f"{frameworks.url}/{name}"
        assert client.get(facts["where"]).json() == facts
        assert client.get(f"/{name}/{name}/where").status_code == 404


def test_routing_in_frameworks_own_mounts(frameworks: Server) -> None:
    with client_for(frameworks) as client:
        facts = client.get("/starlette/sub/where").json()
        assert facts["path"] == "/starlette/sub/where"
        outer = client.get("/starlette/where").json()
        assert outer["sub:where"] == f"{frameworks.url}/starlette/sub/where"
        # A redirect to the URL with a slash keeps the prefix.
        redirect = client.get("/starlette/dir")
        assert redirect.headers["location"] == f"{frameworks.url}/starlette/dir/"


def test_the_root_mount_and_its_documents(frameworks: Server) -> None:
    with client_for(frameworks) as client:
        assert client.get("/where").json()["where"] == f"{frameworks.url}/where"
        assert client.get("/openapi.json").json().get("servers") is None
        assert client.get("/fastapi/openapi.json").json()["servers"] == [{"url": "/fastapi"}]
        assert "/fastapi/openapi.json" in client.get("/fastapi/docs").text
        # Not a segment of that name.
        assert client.get("/flaskx/where").status_code == 404


def test_non_ascii_prefix(frameworks: Server) -> None:
    with client_for(frameworks) as client:
        facts = client.get("/flask/gr\u00fc\u00dfe/where").json()
        assert facts["path"] == "/flask/gr\u00fc\u00dfe/where"
        assert unquote(facts["where"]) == f"{frameworks.url}/flask/gr\u00fc\u00dfe/where"
        assert client.get(facts["where"]).json() == facts


@pytest.mark.parametrize("prefix", ["/django", "/django/async", "/django/both"])
def test_django_both_entry_points(frameworks: Server, prefix: str) -> None:
    with client_for(frameworks) as client:
        assert client.get(f"{prefix}/").text == "Hello, world!"
        # Without the slash, PATH_INFO is empty, which Django takes for "/" in WSGI and leads to "/" in ASGI.
        assert client.get(prefix, follow_redirects=True).text == "Hello, world!"
        facts = client.get(f"{prefix}/about/a b/\u00e9?x=1").json()
        assert facts["path"] == f"{prefix}/about/a b/\u00e9"
        assert facts["uri"].startswith(f"{frameworks.url}{prefix}/about/a%20b/%C3%A9")
        # Login, session and database are the project's, whichever way it is entered.
        token = client.get(f"{prefix}/login").text
        form = {"username": "ada", "password": "lovelace", "csrfmiddlewaretoken": token}
        assert client.post(f"{prefix}/login", data=form).text == "welcome ada"
        assert client.get(f"{prefix}/private").json()["visits"] == 1


def test_all_at_the_same_time(frameworks: Server) -> None:
    """Requests of both interfaces on the same connections, one after the other."""
    with frameworks.connect() as client:
        targets = ["/flask/where", "/fastapi/where", "/django", "/where", "/starlette/where", "/django/async/"] * 20
        for target in targets:
            client.send(request("GET", target))
            assert client.response().status == 200


def test_websocket(frameworks: Server) -> None:
    for prefix in ("", "/fastapi"):
        with connect(frameworks, f"{prefix}/echo") as client:
            assert client.json() == {"url": f"ws://test.example{prefix}/echo", "root": prefix}
            client.finish()
    # Where WSGI is, it is a request like any other.
    with connect(frameworks, None) as client:
        assert client.try_open("/django").status == 200


@pytest.mark.parametrize("passed_on", ["", "/outer"], ids=["removed", "passed on"])
def test_below_a_root_path(passed_on: str) -> None:
    """--root-path in front of the prefix, whether the proxy has removed it or not."""
    for name in FRAMEWORKS:
        pytest.importorskip(name)
    mounts = [f"/{name}=mounted_apps:{name}()" for name in FRAMEWORKS]
    with mounted(*mounts, options=("--root-path", "/outer")) as server, client_for(server) as client:
        for name in FRAMEWORKS:
            facts = client.get(f"{passed_on}/{name}/where").json()
            assert facts["where"] == f"{server.url}/outer/{name}/where"
            assert facts["path"] == f"/outer/{name}/where"
        assert client.get(f"{passed_on}/nothing").status_code == 404


@pytest.mark.parametrize("passed_on", ["", "/outer"], ids=["removed", "passed on"])
def test_django_below_a_root_path(passed_on: str, django_home: Path) -> None:
    """Which entry point runs a request is decided by the path below both."""
    with (
        mounted(
            "/site=djangosite", options=("--root-path", "/outer"), env={"DJANGOSITE_HOME": str(django_home)}
        ) as server,
        client_for(server) as client,
    ):
        for path in ("/", "/async"):
            assert client.get(f"{passed_on}/site{path}").text == "Hello, world!"
        facts = client.get(f"{passed_on}/site/about/x").json()
        assert facts["path"] == "/outer/site/about/x"


# Which mount


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with Server("mounted_apps:app") as server:
        yield server


def test_places(plain: Server) -> None:
    for target, body in {
        "/one": b"one one /one /one",
        "/one/x": b"one one /one /one/x",
        "/two/": b"two two /two /two/",
        "/onex": b" /onex True 0",
        "/": b" / True 0",
        "/o%6ee/x": b"one one /one /one/x",
        "/two/a%2Fb/../c": b"two two /two /two/a/b/../c",
    }.items():
        assert plain.get(target).body == body
    for target in ("/one%2Fx", "/one/../two", "/x/%2e%2e/one"):
        assert plain.get(target).status == 404
    assert plain.exchange(request("OPTIONS", "*")).status == 204


def test_nothing_there() -> None:
    with mounted("/one=mounted_apps:one", "/old=mounted_apps:blocking") as server, server.connect() as client:
        for target in ("/", "/onex"):
            client.send(request("POST", target, "Content-Length: 5", body=b"12345"))
            response = client.response()
            assert (response.status, response.body) == (404, b"Not Found")
        client.send(request("GET", "/old"))
        assert client.response().status == 200


def test_start_up_line(plain: Server) -> None:
    plain.wait_for_line(
        r"Using interfaces: asgi3 at /one \(auto-detected\), asgi3 at /two \(auto-detected\), wsgi at / "
    )


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("%(mount)s %(s)s %(U)s", ["/one 200 /one/x", "/ 200 /x", "/two 200 /two"]),
        ("json", ["/one", "/", "/two"]),
        ("", ["/one", "/", "/two"]),
        ("short", ["/one", "/", "/two"]),
    ],
)
def test_access_log_names_the_mount(tmp_path: Path, form: str, lines: list[str]) -> None:
    log = tmp_path / "access.log"
    asked = ("--access-log-format", form) if form else ()
    with Server("mounted_apps:app", "--access-logfile", str(log), *asked) as server:
        for target in ("/one/x", "/x", "/two"):
            assert server.get(target).status == 200
        server.terminate()
    written = log.read_text().splitlines()
    if form == "json":
        written = [json.loads(line)["gateway.mount"] for line in written]
    elif form in ("", "short"):
        written = [line.split()[-1] for line in written]
    assert written == lines


# Lifespans


def test_lifespans() -> None:
    with Server("mounted_apps:app") as server:
        assert server.terminate() == 0
        found = [(event, name) for event in ("startup", "shutdown") for name in names(server, event)]
        assert found == [("startup", "one"), ("startup", "two"), ("shutdown", "two"), ("shutdown", "one")]
        server.wait_for_line("Application startup at /one complete")
        server.wait_for_line("Application shutdown at /two complete")


def names(server: Server, event: str) -> list[str]:
    return [facts["name"] for facts in server.events(event)]


def test_a_lifespan_that_fails() -> None:
    """It is named, and those that have started shut down."""
    server = Server("mounted_apps:failing")
    with pytest.raises(ServerFailed), server:
        pass
    assert server.process is not None
    assert server.process.returncode == 3
    assert "Application startup at /broken failed: no database" in server.log
    assert (names(server, "startup"), names(server, "shutdown")) == (["one", "broken"], ["one"])


# Limits


def test_threads_of_one_mount() -> None:
    """One that takes long has the threads it may have, and the others have the rest."""
    with Server("mounted_apps:limited", "--threads", "4") as server:
        waiting = [server.connect() for _ in range(5)]
        for client in waiting:
            client.send(request("GET", "/narrow/slow"))
        server.wait_event("running", name="blocking")
        for target in ("/x", "/few/x", "/any"):
            assert server.get(target).status == 200
        assert len(server.events("running")) == 1
        assert server.get("/open").body == b" /open True 0"
        for client in waiting:
            # PEP 3333: whether another thread may be in the application at the same time.
            assert client.response().body == b"/narrow /slow False 0"
            client.close()


def test_concurrency_of_one_mount() -> None:
    with Server("mounted_apps:limited") as server, server.connect() as client:
        client.send(request("GET", "/few/slow"))
        server.wait_event("running")
        response = server.get("/few/x")
        assert (response.status, response.get("retry-after")) == (503, "1")
        assert server.get("/open").status == 200
        assert client.response().status == 200
        # Its place is free a moment after its response is there.
        until(lambda: server.get("/few/x").status == 200)


@pytest.mark.parametrize("form", ["length", "chunked"])
def test_body_limit_of_one_mount(form: str) -> None:
    def post(target: str, size: int) -> bytes:
        body = b"x" * size
        if form == "length":
            return request("POST", target, f"Content-Length: {size}", body=body)
        return request("POST", target, "Transfer-Encoding: chunked", body=chunked(body[:5], body[5:]))

    with Server("mounted_apps:limited", "--limit-request-body", "20") as server:
        for target, size, status in (
            ("/small", 10, 200),
            ("/small", 11, 413),
            ("/x", 20, 200),
            ("/x", 21, 413),
            ("/any", 100_000, 200),
        ):
            assert server.exchange(post(target, size)).status == status


@pytest.mark.parametrize("options", [(), ("--request-timeout", "60")], ids=["alone", "shorter"])
@pytest.mark.parametrize(("target", "name"), [("/quick/slow", "blocking"), ("/quick/one/slow", "one")])
def test_request_timeout_of_one_mount(options: tuple[str, ...], target: str, name: str) -> None:
    with Server("mounted_apps:limited", *options) as server, server.connect() as other:
        other.send(request("GET", "/patient/slow"))
        server.wait_event("running", name="blocking")
        assert server.get(target).status == 504
        server.wait_for_line(r"longer than 0.5 s \(request_timeout of /quick(/one)?, pid:\d+\)")
        if name == "blocking":
            # Another thread takes over, and with it the place among the few that the mount may have.
            server.wait_for_line("Thread gateway-thread-. is lost: GET /quick/slow")
        assert server.get("/quick/x").body == b"/quick /x False 0"
        assert server.get("/open").status == 200
        assert other.response().status == 200


def test_a_mount_without_the_request_timeout_of_the_server() -> None:
    with Server("mounted_apps:limited", "--request-timeout", "500ms") as server, server.connect() as client:
        client.send(request("GET", "/patient/slow"))
        server.wait_event("running", name="blocking")
        assert server.get("/slow").status == 504
        assert server.get("/open").status == 200
        assert client.response().status == 200


# Stopping, reloading


@pytest.mark.parametrize("options", [(), ("--no-supervisor",)], ids=["master", "alone"])
def test_requests_of_all_mounts_finish(options: tuple[str, ...], tmp_path: Path) -> None:
    """One drain: what runs is finished, of either interface, and only then do the lifespans end."""
    gate = tmp_path / "gate"
    with Server("mounted_apps:app", *options, env={"GATE": str(gate)}) as server:
        clients = []
        for name, target in (("blocking", "/slow"), ("one", "/one/slow"), ("two", "/two/slow")):
            client = server.connect()
            client.send(request("GET", target))
            clients.append(client)
            server.wait_event("running", name=name)
        server.signal(signal.SIGTERM)
        server.wait_for_line("Shutting down")
        assert not server.events("shutdown")
        gate.touch()
        for client, body in zip(
            clients, (b" /slow True 0", b"one one /one /one/slow", b"two two /two /two/slow"), strict=True
        ):
            response = client.response()
            assert (response.status, response.body) == (200, body)
            client.close()
        assert server.wait() == 0
        assert names(server, "shutdown") == ["two", "one"]


def test_reload_reads_mounts_anew(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[[mount]]\npath = "/one"\napp = "mounted_apps:one"\n')
    with Server(f"--config={file}", cwd=tmp_path) as server:
        assert (server.get("/one").status, server.get("/two").status) == (200, 404)
        file.write_text('[[mount]]\npath = "/two"\napp = "mounted_apps:two"\n')
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload complete")
        server.wait_for_line("Shutdown complete")
        assert (server.get("/one").status, server.get("/two").status) == (404, 200)
        # What is wrong now leaves alone what serves.
        file.write_text('[[mount]]\npath = "two"\napp = "mounted_apps:two"\n')
        server.signal(signal.SIGHUP)
        server.wait_for_line("the path of a mount starts with a slash")
        assert server.get("/two").status == 200


def test_preload() -> None:
    with Server("mounted_apps:app", "--preload", "--workers", "2") as server:
        for target in ("/one", "/two", "/x"):
            assert server.get(target).status == 200


# The command line


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--mount", "/x"], 2, "--mount: expected a mount, as in /legacy=legacy.wsgi:app, not '/x'"),
        (["--mount", "/one=mounted_apps:one", "--mount", "/one/=mounted_apps:two"], 2, "--mount: /one is given twice"),
        (["mounted_apps:app", "--interface", "wsgi"], 2, "--interface: mounted_apps:app holds mounts"),
        (["--mount", "/x=mounted_apps:app"], 2, "mount /x: mounted_apps:app holds mounts, which can't stand inside"),
        (
            ["--mount", "/=mounted_apps:one", "--mount", "/x=mounted_apps:non"],
            2,
            "mount /x: module mounted_apps has no",
        ),
        (["--mount", "/x=mounted_apps:hold"], 2, "mount /x: mounted_apps:hold is a Hold, which can't be called"),
        (["--mount", "/x=no_such:app"], 2, "mount /x: no module no_such"),
    ],
)
@pytest.mark.parametrize("action", ["serve", "check"])
def test_wrong_mounts(action: str, arguments: list[str], code: int, line: str) -> None:
    """One clear line, and the exit code that says whose fault it is."""
    more = ["--check-config"] if action == "check" else ["--bind", "127.0.0.1:0"]
    result = run_gateway(*arguments, *more, "--app-dir", str(APPS), timeout=3 * WAIT)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    (said,) = [text for text in result.stderr.splitlines() if text.startswith("gateway: error: ")]
    assert said.startswith(f"gateway: error: {line}")


def test_check_config() -> None:
    result = run_gateway("mounted_apps:app", "--check-config", "--app-dir", str(APPS), timeout=3 * WAIT)
    assert result.returncode == 0
    assert "speaks ASGI 3 at /one" in result.stdout
    assert "speaks WSGI at /;" in result.stdout


# In Python


def old(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "3")])
    return [b"old"]


async def new(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"new"})


@pytest.mark.parametrize("io", ["auto", "asyncio"])
@pytest.mark.parametrize("threads", [4, 0])
def test_embedded(io: str, threads: int) -> None:
    mounts = [Mount("/old", old), Mount("/", new)]
    for given in ({"mounts": mounts}, {"app": Mounts(mounts)}, {"app": mounts}):
        options: dict[str, Any] = {"bind": "127.0.0.1:0", "io": io, "threads": threads, "log_level": "warning"}
        with gateway.Server(**given, **options).run_in_thread() as server:
            host, port = server.addresses[0]
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=WAIT, trust_env=False) as client:
                assert [client.get(path).text for path in ("/", "/old", "/old/x", "/older")] == [
                    *("new", "old", "old", "new")
                ]


def test_environment_variable(tmp_path: Path) -> None:
    env = {"GATEWAY_MOUNT": "/one=mounted_apps:one\n/old=mounted_apps:blocking"}
    with Server(f"--app-dir={APPS}", app_dir=None, env=env, cwd=tmp_path) as server:
        assert (server.get("/one").status, server.get("/old").status) == (200, 200)
