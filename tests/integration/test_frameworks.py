"""Real frameworks behind the real server, driven by real clients: httpx, requests and curl.

Django is served through both of its entry points, and one suite of tests is run against either.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import random
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import WAIT, Server, request

httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")

CURL = shutil.which("curl")


def unique() -> str:
    return uuid.uuid4().hex


def curl(*arguments: str, data: bytes = b"") -> bytes:
    """Run curl; it must succeed."""
    if CURL is None:
        pytest.skip("curl is not installed")
    command = [CURL, "--silent", "--show-error", "--max-time", str(int(WAIT)), *arguments]
    result = subprocess.run(command, input=data, capture_output=True, timeout=WAIT * 2)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


def client_for(server: Server) -> Any:
    return httpx.Client(base_url=server.url, timeout=WAIT, trust_env=False)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Django


@pytest.fixture(scope="module", params=["djangosite.wsgi:application", "djangosite.asgi:application", "djangosite"])
def django(request: pytest.FixtureRequest, django_home: Path) -> Iterator[Server]:
    """Each entry point alone, and both at once."""
    env = {"DJANGOSITE_HOME": str(django_home)}
    with Server(request.param, env=env) as server:
        yield server


@pytest.fixture
def site(django: Server) -> Iterator[Any]:
    with client_for(django) as client:
        yield client


@pytest.mark.parametrize("prefix", ["/", "/async"])
def test_django_view(site: Any, prefix: str) -> None:
    assert site.get(prefix).text == "Hello, world!"
    assert site.get(prefix, params={"name": "J\u00fcrgen & co"}).text == "Hello, J\u00fcrgen & co!"
    assert site.head(prefix).status_code == 200


def test_django_request(site: Any, django: Server) -> None:
    response = site.get(
        "/about/a b/\u00e9/%2F?x=1&y=%C3%BC", headers={"X-Custom": "value", "Cookie": "one=1; two=2"}
    )
    facts = response.json()
    assert facts["path"] == "/about/a b/\u00e9//"
    assert facts["query"] == {"x": "1", "y": "\u00fc"}
    assert facts["header"] == "value"
    assert facts["cookies"] == {"one": "1", "two": "2"}
    assert facts["host"] == f"127.0.0.1:{django.port}"
    assert facts["port"] == str(django.port)
    assert facts["remote"] == "127.0.0.1"
    assert not facts["secure"]
    assert facts["uri"].startswith(django.url + "/about/a%20b/%C3%A9/")


@pytest.mark.parametrize("path", ["/notes", "/async/notes"])
def test_django_orm(site: Any, path: str) -> None:
    texts = [unique() for _ in range(3)]
    for text in texts:
        assert site.post(path, data={"text": text}).status_code == 201
    notes = site.get(path).json()["notes"]
    assert [note for note in notes if note in texts] == texts


def test_django_login(site: Any) -> None:
    """CSRF, session cookie, session in the database."""
    assert site.get("/private").status_code == 302
    token = site.get("/login").text
    assert site.post("/login", data={"username": "ada", "password": "lovelace"}).status_code == 403, "no CSRF token"
    headers = {"X-CSRFToken": token}
    assert site.post("/login", data={"username": "ada", "password": "x"}, headers=headers).text == "wrong"
    response = site.post("/login", data={"username": "ada", "password": "lovelace", "csrfmiddlewaretoken": token})
    assert response.text == "welcome ada"
    assert "sessionid" in site.cookies
    assert [site.get("/private").json()["visits"] for _ in range(3)] == [1, 2, 3]
    assert site.get("/logout").text == "bye"
    assert site.get("/private").status_code == 302


@pytest.mark.parametrize("size", [0, 1000, 60_000, 3_000_000])
def test_django_upload(site: Any, size: int) -> None:
    data = random.Random(size).randbytes(size)
    response = site.post("/upload", files={"file": ("n\u00e4me.bin", data)}, data={"note": "\u20ac"})
    facts = response.json()
    assert facts["fields"] == {"note": "\u20ac"}
    if size:
        file = facts["files"]["file"]
        assert (file["name"], file["size"], file["sha256"]) == ("n\u00e4me.bin", size, sha256(data))
        assert file["kind"] == ("TemporaryUploadedFile" if size > 65536 else "InMemoryUploadedFile")


@pytest.mark.parametrize("chunks", [False, True])
def test_django_raw_body(site: Any, django: Server, chunks: bool) -> None:
    if chunks and "djangosite.wsgi:application" in django.command:
        pytest.skip("Django's WSGIRequest reads as much as CONTENT_LENGTH says, and so nothing of a chunked request")
    data = random.Random(5).randbytes(500_000)
    content = (data[i : i + 7000] for i in range(0, len(data), 7000)) if chunks else data
    response = site.post("/body", content=content, headers={"Content-Type": "application/octet-stream"})
    assert response.json() == {"size": len(data), "sha256": sha256(data)}


@pytest.mark.parametrize("path", ["/stream", "/async/stream"])
def test_django_streaming(site: Any, path: str) -> None:
    with site.stream("GET", path, params={"n": 200}) as response:
        lines = list(response.iter_lines())
    assert lines == [f"line {number}" for number in range(200)]
    assert site.head(path).text == ""


def test_django_file(site: Any, django_home: Path) -> None:
    response = site.get("/file")
    assert response.content == (django_home / "file.bin").read_bytes()
    assert response.headers["content-length"] == "300000"
    assert site.head("/file").headers["content-length"] == "300000"


def test_django_other_responses(site: Any) -> None:
    response = site.get("/redirect")
    assert (response.status_code, response.headers["location"]) == (302, "/about")
    assert len(response.headers.get_list("set-cookie")) == 2
    assert (site.get("/nothing").status_code, site.get("/nothing").content) == (204, b"")
    assert site.get("/missing").status_code == 404
    assert site.get("/database").json() == {"sum": 2}


@pytest.mark.parametrize("path", ["/fails", "/async/fails"])
def test_django_errors(site: Any, django: Server, path: str) -> None:
    assert site.get(path).status_code == 500
    django.wait_for_line("the view failed on purpose")
    assert site.get("/").status_code == 200


def test_django_under_load(django: Server) -> None:
    """Several clients at once, with database and sessions: every answer belongs to its question."""

    def visit(number: int) -> bool:
        with client_for(django) as client:
            names = [f"{number}-{i}" for i in range(10)]
            texts = [client.get("/", params={"name": name}).text for name in names]
            client.get("/database")
            return texts == [f"Hello, {name}!" for name in names]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(visit, range(16)))


def test_django_with_requests(django: Server) -> None:
    with requests.Session() as session:
        session.trust_env = False
        token = session.get(f"{django.url}/login", timeout=WAIT).text
        form = {"username": "ada", "password": "lovelace", "csrfmiddlewaretoken": token}
        assert session.post(f"{django.url}/login", data=form, timeout=WAIT).text == "welcome ada"
        assert session.get(f"{django.url}/private", timeout=WAIT).json()["user"] == "ada"
        data = random.Random(6).randbytes(100_000)
        answer = session.post(f"{django.url}/upload", files={"file": io.BytesIO(data)}, timeout=WAIT).json()
        assert answer["files"]["file"]["sha256"] == sha256(data)


def test_django_with_curl(django: Server, tmp_path: Path) -> None:
    assert curl(f"{django.url}/?name=curl") == b"Hello, curl!"
    data = random.Random(7).randbytes(2_000_000)
    (tmp_path / "data").write_bytes(data)
    # curl asks for 100-continue by itself with a body of this size.
    answer = json.loads(curl("--form", f"file=@{tmp_path / 'data'}", f"{django.url}/upload"))
    assert answer["files"]["file"]["sha256"] == sha256(data)
    answer = json.loads(curl("--data-binary", "@-", f"{django.url}/body", data=data))
    assert answer == {"size": len(data), "sha256": sha256(data)}
    assert curl("--http1.0", f"{django.url}/stream?n=2") == b"line 0\nline 1\n"
    assert curl("--head", "--write-out", "%{http_code}", f"{django.url}/").endswith(b"200")


def test_django_under_a_prefix(django_home: Path) -> None:
    """--root-path is SCRIPT_NAME to Django: it comes back in the URLs that Django makes."""
    for entry in ("wsgi", "asgi"):
        env = {"DJANGOSITE_HOME": str(django_home)}
        with Server(f"djangosite.{entry}:application", "--root-path=/app", env=env) as server:
            facts = server.facts("/app/about")
            assert (facts["path"], facts["path_info"]) == ("/app/about", "/about")


# Flask


@pytest.fixture(scope="module")
def flask() -> Iterator[Server]:
    pytest.importorskip("flask")
    with Server("flask_app:app") as server:
        yield server


@pytest.fixture
def flask_client(flask: Server) -> Iterator[Any]:
    with client_for(flask) as client:
        yield client


def test_flask(flask_client: Any, flask: Server) -> None:
    assert flask_client.get("/").text == "Hello, world!"
    facts = flask_client.patch("/about?a=%C3%A9", headers={"X-Custom": "v", "Cookie": "a=1; b=2"}).json()
    assert facts["method"] == "PATCH"
    assert facts["query"] == {"a": "\u00e9"}
    assert facts["cookies"] == {"a": "1", "b": "2"}
    assert facts["url"].startswith(flask.url)
    assert facts["remote"] == "127.0.0.1"
    assert flask_client.get("/about/x y/%C3%A9").json()["rest"] == "x y/\u00e9"
    assert flask_client.post("/json", json={"a": [1, "\u20ac"]}).json() == {"a": [1, "\u20ac"]}
    assert flask_client.post("/form", data={"a": "\u20ac", "b": "x y"}).json() == {"a": "\u20ac", "b": "x y"}
    assert [flask_client.get("/visits").json()["visits"] for _ in range(3)] == [1, 2, 3]
    assert flask_client.get("/nothing").status_code == 204
    assert len(flask_client.get("/redirect").headers.get_list("set-cookie")) == 2


def test_flask_upload(flask_client: Any) -> None:
    data = random.Random(8).randbytes(1_500_000)
    facts = flask_client.post("/upload", files={"file": ("x.bin", data)}, data={"note": "n"}).json()
    assert facts == {"files": {"file": {"name": "x.bin", "size": len(data), "sha256": sha256(data)}}, "fields": {"note": "n"}}


@pytest.mark.parametrize("chunks", [False, True])
def test_flask_body(flask_client: Any, chunks: bool) -> None:
    """Werkzeug believes chunked requests only from servers that say `wsgi.input_terminated`."""
    data = random.Random(9).randbytes(300_000)
    content = (data[i : i + 9000] for i in range(0, len(data), 9000)) if chunks else data
    assert flask_client.post("/body", content=content).json() == {"size": len(data), "sha256": sha256(data)}


def test_flask_body_with_curl(flask: Server) -> None:
    data = random.Random(14).randbytes(1_000_000)
    arguments = ["--data-binary", "@-", "--header", "Transfer-Encoding: chunked", f"{flask.url}/body"]
    assert json.loads(curl(*arguments, data=data)) == {"size": len(data), "sha256": sha256(data)}


def test_flask_streaming(flask_client: Any) -> None:
    with flask_client.stream("GET", "/stream", params={"n": 50}) as response:
        assert list(response.iter_lines()) == [f"line {number}" for number in range(50)]


def test_flask_files(flask_client: Any, tmp_path: Path) -> None:
    data = random.Random(10).randbytes(500_000)
    path = tmp_path / "file.bin"
    path.write_bytes(data)
    response = flask_client.get("/file", params={"path": str(path)})
    assert response.content == data
    assert response.headers["content-length"] == "500000"
    partial = flask_client.get("/file", params={"path": str(path)}, headers={"Range": "bytes=1000-250999"})
    assert (partial.status_code, partial.content) == (206, data[1000:251000])
    unchanged = flask_client.get("/file", params={"path": str(path)}, headers={"If-None-Match": response.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert flask_client.get("/memory").content == bytes(range(256)) * 1000


def test_flask_errors(flask_client: Any, flask: Server) -> None:
    assert flask_client.get("/fails").status_code == 500
    assert flask_client.get("/missing").status_code == 404
    flask.wait_for_line("the view failed on purpose")
    assert flask_client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("target", "options", "text"),
    [
        ("flask_app:create_app()", (), b"created"),
        ("flask_app:create_app('by name')", (), b"by name"),
        ("flask_app:create_app", ("--factory",), b"created"),
        ("flask_app", (), b"Hello, world!"),
    ],
)
def test_flask_targets(target: str, options: tuple[str, ...], text: bytes) -> None:
    with Server(target, *options) as server:
        assert server.get("/").body == text


# Starlette


@pytest.fixture(scope="module")
def starlette() -> Iterator[Server]:
    pytest.importorskip("starlette")
    with Server("starlette_app:app") as server:
        yield server


@pytest.fixture
def starlette_client(starlette: Server) -> Iterator[Any]:
    with client_for(starlette) as client:
        yield client


def test_starlette(starlette_client: Any, starlette: Server) -> None:
    assert starlette_client.get("/").text == "Hello, world!"
    facts = starlette_client.delete("/about?a=%C3%A9", headers={"X-Custom": "v", "Cookie": "a=1"}).json()
    assert facts["method"] == "DELETE"
    assert facts["query"] == {"a": "\u00e9"}
    assert facts["cookies"] == {"a": "1"}
    assert facts["url"].startswith(starlette.url)
    assert facts["client"][0] == "127.0.0.1"
    assert starlette_client.get("/sub/about").json()["path"] == "/sub/about"
    assert starlette_client.get("/thread").text == "from a thread"
    assert starlette_client.get("/nothing").status_code == 204
    response = starlette_client.get("/zip/text")
    assert response.headers["content-encoding"] == "gzip"
    assert response.text == "compress me " * 1000


@pytest.mark.parametrize("chunks", [False, True])
def test_starlette_body(starlette_client: Any, chunks: bool) -> None:
    data = random.Random(11).randbytes(2_000_000)
    content = (data[i : i + 30000] for i in range(0, len(data), 30000)) if chunks else data
    assert starlette_client.post("/body", content=content).json() == {"size": len(data), "sha256": sha256(data)}


def test_starlette_upload(starlette_client: Any) -> None:
    pytest.importorskip("python_multipart")
    data = random.Random(12).randbytes(1_500_000)
    facts = starlette_client.post("/upload", files={"file": ("x.bin", data)}, data={"note": "n"}).json()
    assert facts == {"files": {"file": {"name": "x.bin", "size": len(data), "sha256": sha256(data)}}, "fields": {"note": "n"}}


def test_starlette_streaming(starlette_client: Any) -> None:
    with starlette_client.stream("GET", "/stream", params={"n": 100}) as response:
        assert list(response.iter_lines()) == [f"line {number}" for number in range(100)]


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_starlette_file(starlette_client: Any, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(random.Random(size).randbytes(size))
    response = starlette_client.get("/file", params={"path": str(path)})
    assert response.content == path.read_bytes()
    assert response.headers["content-length"] == str(size)
    if size > 100:
        partial = starlette_client.get("/file", params={"path": str(path)}, headers={"Range": "bytes=10-99"})
        assert (partial.status_code, partial.content) == (206, path.read_bytes()[10:100])


def test_starlette_endless_stream(starlette: Server) -> None:
    """The client leaves: the generator is ended."""
    name = unique()
    with client_for(starlette) as client, client.stream("GET", "/endless", params={"name": name}) as response:
        lines = response.iter_lines()
        assert next(lines) == "data: 0"
    starlette.wait_event("stream-ended", name=name)


def test_starlette_client_disconnect(starlette: Server) -> None:
    with starlette.connect() as client:
        client.send(request("POST", "/body", "Content-Length: 1000", body=b"half"))
    starlette.wait_event("disconnect")


def test_starlette_background(starlette_client: Any, starlette: Server) -> None:
    name = unique()
    assert starlette_client.get("/background", params={"name": name}).text == "accepted"
    starlette.wait_event("background", name=name)


def test_starlette_errors(starlette_client: Any, starlette: Server) -> None:
    response = starlette_client.get("/fails")
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    starlette.wait_for_line("the view failed on purpose")
    assert starlette_client.get("/").status_code == 200


def test_starlette_lifespan() -> None:
    with Server("starlette_app:app") as server:
        server.wait_event("startup")
        assert server.get("/").body == b"Hello, world!"
        assert server.terminate() == 0
        assert server.events("shutdown")


# FastAPI


@pytest.fixture(scope="module")
def fastapi() -> Iterator[Server]:
    pytest.importorskip("fastapi")
    with Server("fastapi_app:app") as server:
        yield server


@pytest.fixture
def fastapi_client(fastapi: Server) -> Iterator[Any]:
    with client_for(fastapi) as client:
        yield client


def test_fastapi(fastapi_client: Any, fastapi: Server) -> None:
    response = fastapi_client.get("/", params={"name": "\u00e9"})
    assert response.json() == {"message": "Hello, \u00e9!"}
    assert float(response.headers["x-process-time"]) >= 0
    assert fastapi_client.get("/items/1").json() == {"name": "first"}
    assert fastapi_client.get("/items/2").status_code == 404
    assert fastapi_client.get("/items/x").status_code == 422
    item = {"name": "n", "price": 1.5, "tags": ["a"]}
    response = fastapi_client.post("/items", json=item)
    assert (response.status_code, response.json()) == (201, item)
    assert fastapi_client.post("/items", content=b"{not json").status_code == 422
    assert fastapi_client.get("/about").json()["url"].startswith(fastapi.url)
    numbers = [fastapi_client.get("/sync").json()["served"] for _ in range(3)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    assert fastapi_client.get("/openapi.json").json()["openapi"].startswith("3.")
    assert "swagger" in fastapi_client.get("/docs").text.lower()


def test_fastapi_cors(fastapi_client: Any) -> None:
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    response = fastapi_client.options("/items", headers=headers)
    assert response.headers["access-control-allow-origin"] == "https://page.example"


def test_fastapi_events(fastapi: Server) -> None:
    with client_for(fastapi) as client, client.stream("GET", "/events", params={"n": 20}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    assert data == [f"event {number}" for number in range(20)]


def test_fastapi_events_with_curl(fastapi: Server) -> None:
    text = curl("--no-buffer", f"{fastapi.url}/events?n=3").decode()
    assert text == "".join(f"id: {number}\ndata: event {number}\n\n" for number in range(3))


def test_fastapi_endless_stream(fastapi: Server) -> None:
    """Through a BaseHTTPMiddleware, which puts itself between the client's leaving and the application."""
    name = unique()
    with client_for(fastapi) as client, client.stream("GET", "/endless", params={"name": name}) as response:
        assert next(response.iter_lines()) == "data: tick"
    fastapi.wait_event("stream-ended", name=name)


def test_fastapi_upload(fastapi_client: Any) -> None:
    pytest.importorskip("python_multipart")
    data = random.Random(13).randbytes(2_500_000)
    response = fastapi_client.post("/upload", files={"file": ("\u00e4.bin", data)}, data={"note": "n"})
    assert response.json() == {"name": "\u00e4.bin", "size": len(data), "sha256": sha256(data), "note": "n"}


def test_fastapi_background(fastapi_client: Any, fastapi: Server) -> None:
    name = unique()
    assert fastapi_client.post("/background", params={"name": name}).json() == {"status": "accepted"}
    fastapi.wait_event("background", name=name)


def test_fastapi_errors(fastapi_client: Any, fastapi: Server) -> None:
    assert fastapi_client.get("/fails").status_code == 500
    fastapi.wait_for_line("the view failed on purpose")
    assert fastapi_client.get("/").status_code == 200


def test_fastapi_concurrent_clients(fastapi: Server) -> None:
    def visit(number: int) -> bool:
        with client_for(fastapi) as client:
            return all(
                client.get("/", params={"name": f"{number}-{i}"}).json() == {"message": f"Hello, {number}-{i}!"}
                for i in range(20)
            )

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(visit, range(16)))
