"""ASGI 3.0 and its HTTP and lifespan specifications, through the real server."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from pathlib import Path

import pytest

from .harness import WAIT, Client, Incomplete, Server, chunked, request, run_gateway

HELLO = request("GET", "/hello")
CHUNKED = "Transfer-Encoding: chunked"


def unique() -> str:
    return uuid.uuid4().hex


# The scope


def test_scope(asgi: Server) -> None:
    with asgi.connect() as client:
        target = "/scope/a%20b/%C3%A9/%2F?c=d%20e&f"
        client.send(request("GET", target, "X-One: 1", "x-ONE: 2", "X-Empty:", "X-High: \xe4"))
        facts = client.response().json()
        here = list(client.socket.getsockname())
    assert facts["type"] == "http"
    assert facts["asgi"]["version"] == "3.0"
    assert facts["asgi"]["spec_version"] in ("2.4", "2.5")
    assert facts["http_version"] == "1.1"
    assert facts["method"] == "GET"
    assert facts["scheme"] == "http"
    assert facts["path"] == "/scope/a b/\u00e9//"
    assert facts["raw_path"] == "/scope/a%20b/%C3%A9/%2F"
    assert facts["query_string"] == "c=d%20e&f"
    assert facts["root_path"] == ""
    assert facts["headers"] == [
        ["host", "test.example"],
        ["x-one", "1"],
        ["x-one", "2"],
        ["x-empty", ""],
        ["x-high", "\xe4"],
    ]
    assert facts["header_types"] == ["bytes"]
    assert facts["client"] == here
    assert facts["server"] == ["127.0.0.1", asgi.port]
    types = facts["types"]
    assert {key: types[key] for key in ("method", "path", "raw_path", "query_string", "root_path", "http_version")} == {
        "method": "str",
        "path": "str",
        "raw_path": "bytes",
        "query_string": "bytes",
        "root_path": "str",
        "http_version": "str",
    }
    assert types["state"] == "dict"
    assert set(facts["keys"]) <= {
        *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"),
        *("headers", "client", "server", "state", "extensions"),
    }


def test_scope_of_other_requests(asgi: Server) -> None:
    assert asgi.exchange(request("GET", "/scope", version="1.0", host=None)).json()["http_version"] == "1.0"
    assert asgi.exchange(request("PROPFIND", "/scope")).json()["method"] == "PROPFIND"
    assert asgi.exchange(request("get", "/scope")).json()["method"] == "GET"
    assert asgi.facts("/scope/%ff%fe")["path"] == "/scope/\ufffd\ufffd"
    assert asgi.facts("/scope?")["query_string"] == ""
    assert asgi.facts("http://other.example/scope/x?y")["raw_path"] == "/scope/x"


def test_extensions(asgi: Server) -> None:
    extensions = asgi.facts("/scope", "TE: trailers", "Connection: TE")["extensions"]
    for name in ("trailers", "early_hint", "pathsend", "zerocopysend"):
        assert f"http.response.{name}" in extensions


def test_root_path() -> None:
    """ASGI HTTP spec: `path` is the whole path, `root_path` included."""
    with Server("asgi_apps:probe", "--root-path=/api") as server:
        facts = server.facts("/scope/x")
        assert facts["root_path"] == "/api"


def test_every_request_has_its_own_scope(asgi: Server) -> None:
    """What an application puts into the headers list or the scope must not show up in the next request."""
    with asgi.connect() as client:
        for i in range(3):
            client.send(request("GET", "/scope", f"X-Number: {i}"))
            facts = client.response().json()
            assert facts["headers"] == [["host", "test.example"], ["x-number", str(i)]]


# receive


def test_receive_without_content(asgi: Server) -> None:
    assert asgi.facts("/first-receive") == {"type": "http.request", "body": "", "more_body": False}


def test_receive_small_content_at_once(asgi: Server) -> None:
    message = asgi.exchange(request("POST", "/first-receive", body=b"hello")).json()
    assert message["type"] == "http.request"
    assert message["body"] == "hello"
    assert message["more_body"] is False


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 2_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_echo(asgi: Server, size: int, framing: str) -> None:
    body = random.Random(size).randbytes(size)
    if framing == "chunked":
        content = chunked(*[body[i : i + 40_000] for i in range(0, size, 40_000)])
        message = request("POST", "/echo", CHUNKED, body=content)
    else:
        message = request("POST", "/echo", f"Content-Length: {size}", body=body)
    with asgi.connect() as client:
        client.send(message + HELLO)
        assert client.response().body == body
        assert client.response().body == b"hello"


def test_receive_as_it_comes(asgi: Server) -> None:
    """Each part is there before the next is sent: no waiting for more."""
    with asgi.connect() as client:
        # The head leaves with the first part of the body (ASGI HTTP spec, "Response Start").
        client.send(request("POST", "/streaming-echo", CHUNKED, body=b"4\r\nzero\r\n"))
        response = client.response_head()
        assert response.status == 200
        chunks = client.read_chunks()
        assert next(chunks) == b"zero"
        for part in (b"one", b"two", b"three"):
            client.send(b"%x\r\n%b\r\n" % (len(part), part))
            assert next(chunks) == part
        client.send(b"0\r\n\r\n")
        assert b"".join(chunks) == b""


def test_receive_awaited_later(asgi: Server) -> None:
    """Calling it and awaiting it may lie apart (a task made of it begins a turn later); what came meanwhile counts."""
    name = unique()
    with asgi.connect() as client:
        client.send(request("POST", f"/awaited-later?name={name}", "Content-Length: 5"))
        client.response_head()
        chunks = client.read_chunks()
        assert next(chunks) == b"begun;"
        client.send(b"later")
        # Answered after the content has been received, as it was sent before.
        asgi.get(f"/gate/open?name={name}")
        assert next(chunks) == b"later"


def test_disconnect_instead_of_content(asgi: Server) -> None:
    """A request that was cut short isn't a complete one."""
    with asgi.connect() as client:
        client.send(request("POST", "/size?x=1", "Content-Length: 10", body=b"12345"))
    assert asgi.wait_event("cut")["total"] <= 5


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_disconnect_while_the_application_works(asgi: Server, ending: str) -> None:
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/until-disconnect?name={name}"))
        asgi.wait_event("waiting", name=name)
        if ending == "reset":
            client.reset()
    assert asgi.wait_event("left", name=name)["again"] == "http.disconnect"


def test_disconnect_after_the_response(asgi: Server) -> None:
    """ASGI HTTP spec: also when the response has been sent, and the connection is kept alive."""
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/receive-after-end?name={name}"))
        assert client.response().body == b"done"
        assert asgi.wait_event("after-end", name=name)["type"] == "http.disconnect"
        client.send(HELLO)
        assert client.response().body == b"hello"


def test_watching_for_the_client_while_sending(asgi: Server) -> None:
    """Starlette's StreamingResponse does this: one task receives, the other sends."""
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/concurrent-receive?name={name}"))
        assert client.response_head().status == 200
        chunks = client.read_chunks()
        for _ in range(3):
            assert next(chunks) == b"tick;"
    assert asgi.wait_event("watched", name=name)["sent"]


# send


def test_send_after_the_client_left(asgi: Server) -> None:
    """ASGI HTTP spec 2.4: an OSError."""
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/send-after-disconnect?name={name}"))
        assert client.response_head().status == 200
        asgi.wait_event("waiting", name=name)
    asgi.wait_event("send-raised", name=name)
    assert not asgi.events("send-silent", name=name)
    assert asgi.alive()


def test_client_that_leaves_is_no_error(asgi: Server) -> None:
    """The application let that OSError pass through; there is nothing in it that an operator could do."""
    assert "ClientDisconnected" not in asgi.log


def test_endless_response_ends_with_its_client(asgi: Server) -> None:
    size = 10**12 + random.randrange(10**9)
    with asgi.connect() as client:
        client.send(request("GET", f"/big?size={size}"))
        client.response_head()
        client.take(500_000)
    asgi.wait_event("stopped")
    assert asgi.alive()


@pytest.mark.parametrize("when", ["before", "head", "body"])
def test_application_that_raises(asgi: Server, when: str) -> None:
    with asgi.connect() as client:
        client.send(request("GET", f"/fail?when={when}"))
        cut(client, sent_something=when == "body", may_be_500=when != "body")
    asgi.wait_for_line("failed on purpose")
    assert "Traceback (most recent call last)" in asgi.log
    assert asgi.alive()


@pytest.mark.parametrize("when", ["before", "head", "body"])
def test_application_that_returns_early(asgi: Server, when: str) -> None:
    """Without an answer: 500; in the middle of one: visibly cut. And a line in the log either way."""
    lines = len(asgi.log.splitlines())
    with asgi.connect() as client:
        client.send(request("GET", f"/early?when={when}"))
        cut(client, sent_something=when == "body", may_be_500=when != "body")
    asgi._wait(lambda: True if len(asgi.log.splitlines()) > lines else None, "a line in the log", WAIT)
    assert asgi.alive()


def cut(client: Client, sent_something: bool, may_be_500: bool) -> None:
    """A response that was not completed."""
    try:
        response = client.response()
    except (Incomplete, ConnectionResetError):
        return
    assert may_be_500, response
    assert not sent_something, response
    assert response.status == 500, response
    assert b"purpose" not in response.body


@pytest.mark.parametrize(
    "case",
    [
        "body-before-start",
        "start-twice",
        "unknown-type",
        "websocket-type",
        "no-type",
        "not-a-dict",
        "none",
        "status-missing",
        "status-text",
        "status-small",
        "status-interim",
        "status-large",
        "headers-number",
        "headers-flat",
        "headers-triple",
        "header-number",
        "trailers-unannounced",
        "body-text",
        "length-twice",
        "length-text",
    ],
)
def test_misuse(asgi: Server, case: str) -> None:
    """A clear error where it is made, and 500 while nothing has been sent."""
    with asgi.connect() as client:
        client.send(request("GET", f"/misuse?case={case}"))
        with contextlib.suppress(Incomplete, ConnectionResetError):
            response = client.response()
            assert response.status == 500, response
    event = asgi.wait_event("refused", case=case)
    assert event["text"], "an error without words helps nobody"
    assert not asgi.events("accepted", case=case)
    assert asgi.alive()


@pytest.mark.parametrize("case", ["generator", "lists", "defaults", "status", "memoryview", "bytearray"])
def test_kinds_of_values(asgi: Server, case: str) -> None:
    """What real applications send, though the specification names bytes and pairs."""
    response = asgi.get(f"/kinds?case={case}")
    assert (response.status, response.body) == (200, b"body")
    assert response.get("x-a") == (None if case == "defaults" else "1")


def test_errors_of_send_can_be_handled(asgi: Server) -> None:
    assert asgi.get("/recover").body == b"recovered"


def test_send_after_the_end(asgi: Server) -> None:
    with asgi.connect() as client:
        client.send(request("GET", "/send-after-end") + HELLO)
        assert client.response().body == b"done"
        assert client.response().body == b"hello"
    asgi.wait_event("after-end-raised")


def test_cancelled_application(asgi: Server) -> None:
    """An application may end by CancelledError; the server must not end with it."""
    with asgi.connect() as client:
        client.send(request("GET", "/cancel-self"))
        cut(client, sent_something=False, may_be_500=True)
    assert asgi.alive()


def test_background_work_goes_on(asgi: Server) -> None:
    """After the response is complete the connection serves on, and the application may go on too."""
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/background?name={name}") + HELLO)
        assert client.response().body == b"accepted"
        assert client.response().body == b"hello"
    asgi.get(f"/gate/open?name={name}")
    asgi.wait_event("background", name=name)


# Context and the loop


def test_fresh_context_per_request(asgi: Server) -> None:
    with asgi.connect() as client:
        client.send(request("GET", "/context") * 5)
        for _ in range(5):
            assert client.response().json() == 0
        client.send(request("GET", "/context"))
        assert client.response().json() == 0
    assert asgi.facts("/context") == 0


def test_asyncio_works_inside(asgi: Server) -> None:
    assert asgi.facts("/task") == {"task": True, "timeout": True, "child": "child"}


def test_a_sending_loop_yields(asgi: Server) -> None:
    """Sends that never have to wait must not starve the loop: once per bounded amount of data, others get their turn."""
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/spin?name={name}&n=3000&piece=1024"))
        assert len(client.response().body) == 3000 * 1024
    assert asgi.wait_event("spun", name=name)["turns"] >= 5


def test_a_receiving_loop_yields(asgi: Server) -> None:
    name = unique()
    with asgi.connect() as client:
        client.send(request("GET", f"/spin-receive?name={name}&n=50000"))
        assert client.response().body == b"spinning"
    assert asgi.wait_event("spun", name=name)["turns"] >= 5
    assert not asgi.events("unexpected")


def test_nothing_is_kept(asgi: Server) -> None:
    """Exchanges that are over are freed."""
    for _ in range(50):
        asgi.get("/hello")
    end = time.monotonic() + WAIT
    while (alive := asgi.facts("/alive")) > 20:
        assert time.monotonic() < end, f"{alive} exchanges are still in memory"


# Extensions


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("files")
    result = {}
    for size in (0, 1, 100_000, 3_000_000):
        result[size] = folder / f"{size}.bin"
        result[size].write_bytes(random.Random(size).randbytes(size))
    return result


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", ["", "&length=1"])
@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_pathsend(asgi: Server, files: dict[int, Path], size: int, length: str, version: str) -> None:
    with asgi.connect() as client:
        client.send(request("GET", f"/pathsend?path={files[size]}{length}", version=version))
        response = client.response()
        assert response.status == 200
        assert response.body == files[size].read_bytes()
        if version == "1.1":
            client.send(HELLO)
            assert client.response().body == b"hello"


def test_pathsend_head(asgi: Server, files: dict[int, Path]) -> None:
    with asgi.connect() as client:
        client.send(request("HEAD", f"/pathsend?path={files[100_000]}&length=1") + HELLO)
        assert client.response("HEAD").get("content-length") == "100000"
        assert client.response().body == b"hello"


def test_pathsend_of_a_missing_file(asgi: Server, tmp_path: Path) -> None:
    with asgi.connect() as client:
        client.send(request("GET", f"/pathsend?path={tmp_path / 'missing'}"))
        cut(client, sent_something=False, may_be_500=True)
    assert asgi.alive()


@pytest.mark.parametrize(
    ("extra", "start", "end"),
    [("", 0, None), ("&offset=10", 10, None), ("&count=20", 0, 20), ("&offset=1000&count=50000", 1000, 51000)],
)
def test_zerocopysend(asgi: Server, files: dict[int, Path], extra: str, start: int, end: int | None) -> None:
    with asgi.connect() as client:
        client.send(request("GET", f"/zerocopysend?path={files[100_000]}{extra}") + HELLO)
        assert client.response().body == b"<" + files[100_000].read_bytes()[start:end] + b">"
        assert client.response().body == b"hello"


def test_pathsend_to_a_client_that_leaves(asgi: Server, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    with asgi.connect(receive_buffer=16384) as client:
        client.send(request("GET", f"/pathsend?path={path}"))
        assert client.response_head().status == 200
        client.take(1000)
        client.reset()
    assert asgi.alive()


# Kinds of applications


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("asgi_apps:probe", ()),
        ("asgi_apps:instance", ()),
        ("asgi_apps:create", ("--factory",)),
        ("asgi_apps:create()", ()),
    ],
)
def test_kinds_of_applications(target: str, options: tuple[str, ...]) -> None:
    with Server(target, *options) as server:
        assert server.alive()
        assert "asgi" in server.log.lower()


def test_factory_with_arguments() -> None:
    with Server('asgi_apps:create_named("x", number=5)', "--interface=asgi") as server:
        assert server.get("/").body == b"x 5"


@pytest.mark.parametrize("options", [(), ("--interface=asgi2",)])
def test_asgi_2(options: tuple[str, ...]) -> None:
    with Server("asgi_apps:ASGI2", *options) as server:
        assert server.get("/path").body == b"asgi2 /path"


# Lifespan


def test_lifespan_state() -> None:
    """Each request has a shallow copy of what the lifespan left there."""
    with Server("asgi_apps:lifespan_state") as server:
        server.wait_event("startup")
        for number in (1, 2, 3):
            assert server.facts("/") == {"name": "from the lifespan", "before": False, "shared": number}
        assert server.terminate() == 0
        assert server.events("shutdown") == [{"event": "shutdown", "shared": 3, "leaked": False}]
        assert "Application startup complete" in server.log


@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize("app", ["lifespan_unsupported", "lifespan_returns"])
def test_applications_without_lifespan(app: str, mode: str) -> None:
    with Server(f"asgi_apps:{app}", f"--lifespan={mode}") as server:
        assert server.get("/hello").body.startswith(b"hello")
        assert "Traceback" not in server.log
        assert server.terminate() == 0


@pytest.mark.parametrize("app", ["lifespan_unsupported"])
def test_lifespan_on_demands_it(app: str) -> None:
    result = run_gateway(f"asgi_apps:{app}", "-b", "127.0.0.1:0", "--lifespan=on", "--app-dir", str(apps()))
    assert result.returncode == 3, result.stderr
    assert "lifespan" in result.stderr.lower()


def apps() -> Path:
    return Path(__file__).resolve().parent.parent / "apps"


def test_startup_that_raises_is_excused_in_auto() -> None:
    """ASGI lifespan spec: the server must go on without it. But whoever looks for a bug must find it in the log."""
    with Server("asgi_apps:lifespan_raises") as server:
        assert server.alive()
        assert "the startup broke" in server.log


def test_lifespan_off_never_asks() -> None:
    with Server("asgi_apps:lifespan_silent", "--lifespan=off") as server:
        assert server.alive()
        assert server.terminate() == 0
        assert not server.events("lifespan-called")
