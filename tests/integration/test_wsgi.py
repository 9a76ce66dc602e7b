"""PEP 3333, through the real server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import Incomplete, Server, chunked, request

HELLO = request("GET", "/hello")
CHUNKED = "Transfer-Encoding: chunked"


def unique() -> str:
    return uuid.uuid4().hex


def post(server: Server, target: str, body: bytes, chunks: bool = False) -> Any:
    """POST by either framing; the answer's JSON."""
    if chunks:
        message = request("POST", target, CHUNKED, body=chunked(*[body[i : i + 7] for i in range(0, len(body), 7)]))
    else:
        message = request("POST", target, f"Content-Length: {len(body)}", body=body)
    response = server.exchange(message)
    assert response.status == 200, response
    return response.json()


# The environ


def test_environ(wsgi: Server) -> None:
    with wsgi.connect() as client:
        client.send(request("GET", "/environ?a=1&b=%20", "X-Custom: value", "Accept: a", "Accept: b"))
        facts = client.response().json()
        host, port = client.socket.getsockname()
    values, types = facts["values"], facts["types"]
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "a=1&b=%20",
        "RAW_URI": "/environ?a=1&b=%20",
        "REQUEST_URI": "/environ?a=1&b=%20",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(wsgi.port),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "HTTP_HOST": "test.example",
        "HTTP_X_CUSTOM": "value",
        "HTTP_ACCEPT": "a,b",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.version": [1, 0],
    }
    assert {key: values.get(key) for key in expected} == expected
    assert facts["is_dict"], "PEP 3333: a builtin dict, not a subclass"
    assert all(name == "str" for key, name in types.items() if key.isupper()), types
    assert types["wsgi.version"] == "tuple"
    assert types["wsgi.input_terminated"] == types["wsgi.multithread"] == "bool"
    for key in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"):
        assert key in types
    assert "gateway" in values["SERVER_SOFTWARE"]
    assert "CONTENT_LENGTH" not in values or values["CONTENT_LENGTH"] == ""
    assert facts["leaked"] == [], "the process environment is nobody's business"
    assert not any(key.startswith("HTTP_CONTENT_") for key in values)


def test_environ_of_a_post(wsgi: Server) -> None:
    values = post(wsgi, "/environ", b"hello")["values"]
    assert values["CONTENT_LENGTH"] == "5"
    assert "CONTENT_TYPE" not in values or values["CONTENT_TYPE"] == ""
    message = request("PATCH", "/environ", "Content-Type: text/x-odd; a=b", CHUNKED, body=chunked(b"hello"))
    values = wsgi.exchange(message).json()["values"]
    assert values["REQUEST_METHOD"] == "PATCH"
    assert values["CONTENT_TYPE"] == "text/x-odd; a=b"
    assert "CONTENT_LENGTH" not in values or values["CONTENT_LENGTH"] == ""
    assert "HTTP_CONTENT_TYPE" not in values


def test_latin_1_round_trip(wsgi: Server) -> None:
    """PEP 3333: bytes as latin-1 text, in both directions."""
    values = wsgi.facts("/environ/%E4%C3%A4%FF/\x7e", "X-Bytes: \xe4\xff")["values"]
    assert values["PATH_INFO"] == "/environ/\xe4\xc3\xa4\xff/~"
    assert values["RAW_URI"] == "/environ/%E4%C3%A4%FF/~"
    assert values["HTTP_X_BYTES"] == "\xe4\xff"


def test_path_keeps_its_slashes_and_dots(wsgi: Server) -> None:
    assert wsgi.facts("/environ//a/../b/%2F%25/")["values"]["PATH_INFO"] == "/environ//a/../b//%/"


def test_cookies_are_joined_by_semicolons(wsgi: Server) -> None:
    """RFC 9113 8.2.3, RFC 6265: with a comma, the second one becomes part of the first."""
    values = wsgi.facts("/environ", "Cookie: a=1", "Cookie: b=2", "X-A: 1", "X-A: 2")["values"]
    assert values["HTTP_COOKIE"] == "a=1; b=2"
    assert values["HTTP_X_A"] == "1,2"


def test_underscored_names_are_dropped(wsgi: Server) -> None:
    values = wsgi.facts("/environ", "X_User: mallory", "X-Other: 1", "Content_Type: x", "REMOTE_USER: x")["values"]
    assert "HTTP_X_USER" not in values
    assert "HTTP_REMOTE_USER" not in values
    assert "HTTP_CONTENT_TYPE" not in values


def test_proxy_header_is_not_proxy_variable(wsgi: Server) -> None:
    """httpoxy: HTTP_PROXY in the environ is this field, which must not become the process's variable."""
    assert wsgi.facts("/environ", "Proxy: http://evil")["leaked"] == []


def test_http_1_0_environ(wsgi: Server) -> None:
    values = wsgi.exchange(request("GET", "/environ", version="1.0", host=None)).json()["values"]
    assert values["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in values
    assert values["SERVER_NAME"]
    assert values["SERVER_PORT"] == str(wsgi.port)


@pytest.mark.parametrize(
    ("path", "script_name", "path_info"),
    [
        ("/app/environ", "/app", "/environ"),
        ("/app/environ/x", "/app", "/environ/x"),
    ],
)
def test_root_path(path: str, script_name: str, path_info: str) -> None:
    with Server("wsgi_probe:probe", "--root-path=/app") as server:
        values = server.facts(path)["values"]
        assert (values["SCRIPT_NAME"], values["PATH_INFO"]) == (script_name, path_info)


def test_root_path_with_a_proxy_that_strips_it() -> None:
    """The proxy has taken the prefix off: the path is not cut twice."""
    with Server("wsgi_probe:probe", "--root-path=/app") as server:
        values = server.facts("/environ")["values"]
        assert (values["SCRIPT_NAME"], values["PATH_INFO"]) == ("/app", "/environ")


def test_requests_run_in_threads(wsgi: Server) -> None:
    facts = wsgi.facts("/threads")
    assert not facts["main"]
    assert (facts["multithread"], facts["multiprocess"], facts["run_once"]) == (True, False, False)


def test_one_thread_is_not_multithreaded() -> None:
    with Server("wsgi_probe:probe", "--threads=1") as server:
        facts = server.facts("/threads")
        assert facts["multithread"] is False
        assert not facts["main"]


# wsgiref.validate


@pytest.fixture(scope="module")
def validated() -> Iterator[Server]:
    """The validator stands between server and application, and asserts."""
    with Server("wsgi_probe:validated", "--interface=wsgi") as server:
        yield server


@pytest.mark.parametrize("fields", [(), ("Connection: close",), ("X-A: 1", "X-B: \xe4", "Cookie: a=b")])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("method", "body"),
    [("GET", b""), ("HEAD", b""), ("POST", b""), ("POST", b"line 1\nline 2\n\nrest"), ("PUT", b"x" * 100_000)],
)
def test_validator(validated: Server, method: str, body: bytes, version: str, fields: tuple[str, ...]) -> None:
    if method == "POST" and not body:
        fields = (*fields, "Content-Length: 0")
    message = request(method, "/a%20b?c=d", "Content-Type: text/plain", *fields, body=body, version=version)
    response = validated.exchange(message, method)
    assert response.status == 200, validated.log
    if method != "HEAD":
        assert response.body == body + b"|end"
    assert "AssertionError" not in validated.log


def test_validator_with_chunks(validated: Server) -> None:
    response = validated.exchange(request("POST", "/", "Content-Type: x/y", CHUNKED, body=chunked(b"a\nb", b"c\n" * 99)))
    assert response.body == b"a\nb" + b"c\n" * 99 + b"|end", validated.log


# wsgi.input

BODY = b"first\nsecond\n\nfourth is longer\nlast without end"


@pytest.mark.parametrize("chunks", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("read", [BODY]),
        ("read:-1", [BODY]),
        ("read:None", [BODY]),
        ("read:0,read", [b"", BODY]),
        ("read:5,read:1,read", [b"first", b"\n", BODY[6:]]),
        ("read:1000,read:1000", [BODY, b""]),
        ("read,read,read:5,readline,readlines,iterate", [BODY, b"", b"", b"", [], []]),
        ("readline,readline,readline,readline,readline,readline", [*BODY.splitlines(True), b""]),
        ("readline:-1,readline:None", [b"first\n", b"second\n"]),
        ("readline:3,readline:3,readline:3,readline:100", [b"fir", b"st\n", b"sec", b"ond\n"]),
        ("readline:6,readline", [b"first\n", b"second\n"]),
        ("readline:5,readline:1,readline", [b"first", b"\n", b"second\n"]),
        ("readline:0,readline", [b"", b"first\n"]),
        ("readlines", [BODY.splitlines(True)]),
        ("readlines:-1", [BODY.splitlines(True)]),
        ("readlines:1,readline", [[b"first\n"], b"second\n"]),
        ("readlines:8,read:4", [[b"first\n", b"second\n"], b"\nfou"]),
        ("iterate", [BODY.splitlines(True)]),
        ("next,next,read:3,readline,iterate", [b"first\n", b"second\n", b"\nfo", b"urth is longer\n", [b"last without end"]]),
        ("read:3,readline,readlines", [b"fir", b"st\n", BODY.splitlines(True)[1:]]),
        ("readline,read:7,readline:100,read", [b"first\n", b"second\n", b"\n", b"fourth is longer\nlast without end"]),
    ],
)
def test_reading(wsgi: Server, calls: str, expected: list[Any], chunks: bool) -> None:
    seen = post(wsgi, f"/read?calls={calls}", BODY, chunks)
    assert seen == json.loads(json.dumps(expected, default=lambda value: value.decode()))


@pytest.mark.parametrize("calls", ["read", "read:5", "readline", "readline:5", "readlines", "iterate", "next", "read:-1"])
def test_reading_nothing(wsgi: Server, calls: str) -> None:
    """No content: the end at once, never a wait."""
    for message in (request("GET", f"/read?calls={calls}"), request("POST", f"/read?calls={calls}", "Content-Length: 0")):
        seen = wsgi.exchange(message).json()
        assert seen in ([""], [[]])


def test_reading_as_it_comes(wsgi: Server) -> None:
    """`read(n)` may wait for n bytes, `readline` for a line; neither may wait for more."""
    with wsgi.connect() as client:
        client.send(request("POST", "/read?calls=readline,read:3,readline", CHUNKED, "Expect: 100-continue"))
        assert client.head().status == 100
        for byte in b"3\r\na\nb\r\n2\r\ncd\r\n1\r\n\n\r\n":
            client.send(bytes([byte]))
        response = client.response_head()
        assert response.status == 200
        client.take(int(response.get("content-length") or 0))


def test_random_reading(wsgi: Server) -> None:
    """Any mixture of calls gives the bytes in order, each once."""
    random_ = random.Random(3333)
    for _ in range(25):
        body = bytes(random_.choice(b"abc\n") for _ in range(random_.randrange(0, 400)))
        calls = [
            random_.choice(["read:%d", "readline:%d", "readline", "next", "readlines:%d"]).replace(
                "%d", str(random_.randrange(1, 60))
            )
            for _ in range(random_.randrange(1, 12))
        ]
        seen = post(wsgi, f"/read?calls={','.join([*calls, 'read'])}", body, random_.random() < 0.5)
        assert "".join("".join(part) for part in seen) == body.decode()
        for call, part in zip(calls, seen, strict=False):
            if call.startswith("readline") and not call.startswith("readlines") and part:
                assert "\n" not in part[:-1], (call, part)


def test_large_upload(wsgi: Server) -> None:
    body = random.Random(1).randbytes(3_000_000)
    for chunks in (False, True):
        target = "/size"
        framing = [CHUNKED] if chunks else []
        content = chunked(*[body[i : i + 99991] for i in range(0, len(body), 99991)]) if chunks else body
        answer = wsgi.exchange(request("POST", target, *framing, body=content)).json()
        assert answer == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def test_body_ends_where_it_ends(wsgi: Server) -> None:
    """`read()` past the end never touches the next request."""
    with wsgi.connect() as client:
        client.send(request("POST", "/read?calls=read:1000,read:1000,readline,read", body=b"body") + HELLO)
        assert client.response().json() == ["body", "", "", ""]
        assert client.response().body == b"hello"


@pytest.mark.parametrize("how", ["parts", "lines", "all"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("ending", ["close", "half", "reset"])
def test_truncated_upload_raises(wsgi: Server, how: str, framing: str, ending: str) -> None:
    """OSError, so that half a file isn't taken for a whole one. With Expect, the application runs before the content."""
    name = unique()
    with wsgi.connect() as client:
        fields = [CHUNKED] if framing == "chunked" else ["Content-Length: 100"]
        client.send(request("POST", f"/cut?name={name}&how={how}", *fields, "Expect: 100-continue"))
        assert client.head().status == 100
        client.send(b"a\r\none two 34\r\n" if framing == "chunked" else b"one two 34")
        if ending == "half":
            client.half_close()
            data = client.rest()
            assert not data.startswith(b"HTTP/1.1 2"), data
        elif ending == "reset":
            client.reset()
    event = wsgi.wait_event("cut", name=name)
    assert "one two 34".startswith(event["got"])
    assert not wsgi.events("complete", name=name)


def test_truncated_small_upload_never_runs_or_raises(wsgi: Server) -> None:
    """A small body is read before a thread is spent: the application may not even be called."""
    name = unique()
    with wsgi.connect() as client:
        client.send(request("POST", f"/cut?name={name}", "Content-Length: 100", body=b"short"))
        client.half_close()
        assert not client.rest().startswith(b"HTTP/1.1 2")
    assert not wsgi.events("complete", name=name)


# start_response, write() and the iterable


def test_generator_application(wsgi: Server) -> None:
    response = wsgi.get("/generator")
    assert (response.status, response.reason, response.get("x-late")) == (202, "Late", "yes")
    assert response.body == b"generated"


def test_write(wsgi: Server) -> None:
    assert wsgi.get("/write").body == b"written1;written2;returned;"
    assert wsgi.get("/write-only").body == b"written;"


@pytest.mark.parametrize("target", ["/empty", "/empty-parts"])
def test_empty_bodies(wsgi: Server, target: str) -> None:
    with wsgi.connect() as client:
        client.send(request("GET", target) + HELLO)
        response = client.response()
        assert response.body == (b"" if target == "/empty" else b"one;two;")
        assert client.response().body == b"hello"
        if target == "/empty":
            assert response.get("content-length") == "0"


@pytest.mark.parametrize("status", ["200 OK", "200 My own words", "404 N\xf6t F\xf6und", "299 x"])
def test_reason_phrases(wsgi: Server, status: str) -> None:
    target = "/status-forms?status=" + status.replace(" ", "%20").replace("\xf6", "%C3%B6")
    response = wsgi.get(target)
    assert response.status == int(status[:3])
    assert response.reason in (status[4:], status[4:].encode().decode("latin-1"))


def test_single_part_has_a_length(wsgi: Server) -> None:
    assert wsgi.get("/hello").get("content-length") == "5"


def test_head_can_be_replaced_until_it_is_sent(wsgi: Server) -> None:
    """PEP 3333: exc_info before the first non-empty string replaces status and fields."""
    response = wsgi.get("/delayed-head")
    assert (response.status, response.reason, response.body) == (500, "Replaced", b"replaced")
    assert response.get("x-second") == "yes"
    assert response.get("x-first") is None


def test_head_cannot_be_replaced_once_it_is_sent(wsgi: Server) -> None:
    with wsgi.connect() as client:
        client.send(request("GET", "/replace-after-body") + HELLO)
        with pytest.raises((Incomplete, ConnectionResetError)):
            client.response()
    wsgi.wait_event("reraised")
    assert not wsgi.events("not-reraised")


def test_start_response_twice(wsgi: Server) -> None:
    assert wsgi.get("/start-twice").status == 500
    wsgi.wait_event("refused", case="start_twice")


@pytest.mark.parametrize("target", ["/no-start", "/no-start-empty", "/text-body", "/write-text", "/not-iterable"])
def test_broken_applications(wsgi: Server, target: str) -> None:
    """500, and the connection or at least the server goes on."""
    with wsgi.connect() as client:
        client.send(request("GET", target))
        response = client.response()
        assert response.status == 500
        assert b"Traceback" not in response.body
    assert wsgi.alive()


@pytest.mark.parametrize(
    "case",
    [
        "status-bytes",
        "status-number",
        "status-short",
        "status-interim",
        "status-crlf",
        "status-letters",
        "status-empty",
        "fields-none",
        "field-bytes",
        "field-single",
        "field-number",
        "field-wide",
    ],
)
def test_bad_arguments(wsgi: Server, case: str) -> None:
    response = wsgi.get(f"/bad-start?case={case}")
    assert response.status == 500, response
    assert response.get("x-injected") is None


@pytest.mark.parametrize("when", ["before", "after", "body"])
def test_application_that_raises(wsgi: Server, when: str) -> None:
    with wsgi.connect() as client:
        client.send(request("GET", f"/fail?when={when}"))
        if when == "body":
            with pytest.raises((Incomplete, ConnectionResetError)):
                client.response()
        else:
            # Nothing was sent yet, also when start_response had been called.
            response = client.response()
            assert response.status == 500
            assert b"on purpose" not in response.body
    wsgi.wait_for_line("failed on purpose")
    assert "Traceback (most recent call last)" in wsgi.log
    assert wsgi.alive()


def test_system_exit_in_an_application(wsgi: Server) -> None:
    assert wsgi.get("/interrupt").status == 500
    assert wsgi.alive()


# close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "how",
    [
        "list",
        "single",
        "parts",
        "no-start",
        "fail-first",
        "fail-later",
        "text",
        "too-many",
        "too-few",
        "body-of-none",
    ],
)
def test_close_is_called_once(wsgi: Server, how: str, method: str) -> None:
    name = unique()
    with wsgi.connect() as client:
        client.send(request(method, f"/close?name={name}&how={how}", "Connection: close"))
        client.rest()
    assert wsgi.wait_event("closed", name=name)["times"] == 1
    assert wsgi.alive()
    assert len(wsgi.events("closed", name=name)) == 1


def test_head_of_an_endless_body(wsgi: Server) -> None:
    """Nobody wants the content of a HEAD: it isn't worth being produced for ever."""
    name = unique()
    with wsgi.connect() as client:
        client.send(request("HEAD", f"/close?name={name}&how=endless"))
        assert client.response("HEAD").status == 200
    assert wsgi.wait_event("closed", name=name)["times"] == 1


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_close_when_the_client_leaves(wsgi: Server, ending: str) -> None:
    name = unique()
    with wsgi.connect() as client:
        client.send(request("GET", f"/close?name={name}&how=endless"))
        assert client.response_head().status == 200
        client.take(300_000)
        if ending == "reset":
            client.reset()
    assert wsgi.wait_event("closed", name=name)["times"] == 1
    assert wsgi.alive()


def test_close_that_fails(wsgi: Server) -> None:
    """The response is complete by then: the client gets it, the log the error."""
    name = unique()
    with wsgi.connect() as client:
        client.send(request("GET", f"/close-fails?name={name}"))
        with contextlib.suppress(Incomplete, ConnectionResetError):
            response = client.response()
            assert response.status in (200, 500)
    wsgi.wait_for_line("close failed on purpose")
    assert len(wsgi.events("closed", name=name)) == 1
    assert wsgi.alive()


# wsgi.file_wrapper

SIZES = [0, 1, 8192, 100_000, 3_000_000]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("files")
    result = {}
    for size in SIZES:
        result[size] = folder / f"{size}.bin"
        result[size].write_bytes(random.Random(size).randbytes(size))
    return result


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [False, True], ids=["unknown", "length"])
@pytest.mark.parametrize("how", ["raw", "buffered", "subclass", "memory", "late"])
@pytest.mark.parametrize("size", SIZES)
def test_file(wsgi: Server, files: dict[int, Path], size: int, how: str, length: bool, version: str) -> None:
    path = files[size]
    target = f"/file?path={path}&how={how}" + (f"&length={size}" if length else "")
    with wsgi.connect() as client:
        client.send(request("GET", target, version=version))
        response = client.response()
        assert response.status == 200
        assert response.body == path.read_bytes()
        if version == "1.1":
            client.send(HELLO)
            assert client.response().body == b"hello"
    if how in ("subclass", "memory"):
        wsgi.wait_event("file-closed", path=str(path))
    assert wsgi.facts("/raw-files-open") == 0


@pytest.mark.parametrize("how", ["raw", "buffered", "subclass"])
def test_file_from_its_position(wsgi: Server, files: dict[int, Path], how: str) -> None:
    """PEP 3333: from where the file stands, also where the descriptor stands elsewhere."""
    path = files[100_000]
    assert wsgi.get(f"/file?path={path}&how={how}&offset=777").body == path.read_bytes()[777:]
    assert wsgi.get(f"/file?path={path}&how={how}&offset=200000").body == b""


def test_file_is_cut_to_its_length(wsgi: Server, files: dict[int, Path]) -> None:
    """A range: the file goes on, the response ends, the connection lives."""
    path = files[100_000]
    with wsgi.connect() as client:
        client.send(request("GET", f"/file?path={path}&offset=100&length=500") + HELLO)
        assert client.response().body == path.read_bytes()[100:600]
        assert client.response().body == b"hello"


def test_file_shorter_than_its_length(wsgi: Server, files: dict[int, Path]) -> None:
    with wsgi.connect() as client:
        client.send(request("GET", f"/file?path={files[8192]}&length=9000") + HELLO)
        with pytest.raises((Incomplete, ConnectionResetError)):
            client.response()


def test_file_head(wsgi: Server, files: dict[int, Path]) -> None:
    path = files[100_000]
    with wsgi.connect() as client:
        client.send(request("HEAD", f"/file?path={path}&length=100000") + HELLO)
        assert client.response("HEAD").get("content-length") == "100000"
        assert client.response().body == b"hello"


def test_file_after_write(wsgi: Server, files: dict[int, Path]) -> None:
    path = files[100_000]
    assert wsgi.get(f"/file-after-write?path={path}").body == b"before;" + path.read_bytes()


def test_file_without_sendfile(files: dict[int, Path]) -> None:
    path = files[3_000_000]
    with Server("wsgi_probe:probe", "--no-sendfile") as server:
        assert server.get(f"/file?path={path}&length=3000000").body == path.read_bytes()


@pytest.mark.parametrize("how", ["raw", "subclass"])
def test_file_to_a_client_that_leaves(wsgi: Server, tmp_path: Path, how: str) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with wsgi.connect(receive_buffer=16384) as client:
        client.send(request("GET", f"/file?path={path}&how={how}"))
        assert client.response_head().status == 200
        client.take(1000)
        client.reset()
    if how == "subclass":
        wsgi.wait_event("file-closed", path=str(path))
    assert wsgi.facts("/raw-files-open") == 0
    assert wsgi.alive()


def test_slow_file_clients_hold_no_thread(tmp_path: Path) -> None:
    """More clients than threads, none of which reads its file: the threads are free all the same."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(20_000_000)
    with Server("wsgi_probe:probe", "--threads=2") as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect(receive_buffer=16384)) for _ in range(6)]
        for client in clients:
            client.send(request("GET", f"/file?path={path}&length=20000000"))
            assert client.response_head().status == 200
        assert server.alive()


def test_responses_that_fit_the_buffer_hold_no_thread() -> None:
    options = ["--threads=2", "--limit-response-buffer=8000000"]
    with Server("wsgi_probe:probe", *options) as server, contextlib.ExitStack() as stack:
        names = [unique() for _ in range(6)]
        for name in names:
            client = stack.enter_context(server.connect(receive_buffer=16384))
            client.send(request("GET", f"/spool?size=6000000&name={name}"))
            assert client.response_head().status == 200
            server.wait_event("produced", name=name)
        assert server.alive()


def test_heads_and_small_bodies_are_read_without_a_thread() -> None:
    """Slow clients, more than there are threads, take none (and so nobody is kept out)."""
    with Server("wsgi_probe:probe", "--threads=2") as server, contextlib.ExitStack() as stack:
        for i in range(6):
            client = stack.enter_context(server.connect())
            client.send(request("POST", "/echo", "Content-Length: 100", body=b"x" * 99) if i % 2 else HELLO[:-3])
        assert server.alive()


# The rest


def test_wsgi_errors_go_to_the_error_log(wsgi: Server) -> None:
    assert wsgi.get("/errors").body == b"told"
    wsgi.wait_for_line("by print")
    assert "first line" in wsgi.log
    assert "second line" in wsgi.log
    assert "unfinished" in wsgi.log


def test_early_hints_after_the_head_do_no_harm(wsgi: Server) -> None:
    response = wsgi.get("/hints?n=3")
    assert len(response.informational) == 3


def test_client_gone(wsgi: Server) -> None:
    """A long computation can ask whether anybody still waits for it."""
    name = unique()
    with wsgi.connect() as client:
        client.send(request("GET", f"/gone?name={name}"))
        wsgi.wait_event("waiting", name=name)
    wsgi.get(f"/gate/open?name={name}")
    event = wsgi.wait_event("gone", name=name)
    assert (event["before"], event["after"]) == (False, True)


@pytest.mark.parametrize("target", ["wsgi_probe:instance", "wsgi_probe:create()", "wsgi_probe"])
def test_kinds_of_applications(target: str) -> None:
    if target == "wsgi_probe":
        pytest.skip("the module has neither `application` nor `app`")
    with Server(target) as server:
        assert server.alive()
        assert "wsgi" in server.log.lower()


def test_class_as_application() -> None:
    """PEP 3333's AppClass: instances are the iterable."""
    with Server("wsgi_probe:ClassApplication", "--interface=wsgi") as server:
        assert server.get("/").body == b"class application"


def test_requests_run_at_the_same_time(wsgi: Server) -> None:
    """Eight threads, eight requests at their gates, one after the other opened from the last to the first."""
    names = [unique() for _ in range(7)]
    with contextlib.ExitStack() as stack:
        clients = []
        for name in names:
            client = stack.enter_context(wsgi.connect())
            client.send(request("GET", f"/gate/wait?name={name}"))
            wsgi.wait_event("waiting", name=name)
            clients.append(client)
        for name, client in reversed(list(zip(names, clients, strict=True))):
            assert wsgi.get(f"/gate/open?name={name}").body == b"ok"
            assert client.response().body == b"opened"


def test_no_descriptor_is_leaked(wsgi: Server, files: dict[int, Path]) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{wsgi.worker_pid}/fd"))

    wsgi.get("/hello")
    before = descriptors()
    for _ in range(30):
        wsgi.get(f"/file?path={files[8192]}", "Connection: close")
        with wsgi.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nbad\r\n\r\n")
            client.response()
    for _ in range(200):
        wsgi.get("/hello", "Connection: close")
        if descriptors() <= before + 2:
            return
    raise AssertionError(f"{before} descriptors before, {descriptors()} after")
