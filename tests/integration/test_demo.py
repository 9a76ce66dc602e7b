"""The demo application, which is the first that anyone sees of gateway."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import islice

import pytest

from gateway import demo

from .harness import Server, chunked, request

FORMS = {"asgi": "gateway.demo:app", "wsgi": "gateway.demo:wsgi"}


@pytest.fixture(scope="module", params=sorted(FORMS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(FORMS[request.param], app_dir=None) as server:
        yield server


@pytest.fixture(scope="module")
def asgi() -> Iterator[Server]:
    with Server(FORMS["asgi"], app_dir=None) as server:
        yield server


def test_page(server: Server) -> None:
    response = server.get("/")
    assert (response.status, response.get("content-type")) == (200, "text/html; charset=utf-8")
    page = response.body.decode()
    assert "<h1>gateway is running</h1>" in page
    assert not re.search("VERSION|BUILD|PYTHON", page)


def test_page_loads_nothing_from_elsewhere(server: Server) -> None:
    page = server.get("/").body.decode()
    assert set(re.findall(r"https?://[^'\"\s]+", page)) == {"http://www.w3.org/2000/svg"}  # a namespace
    assert "@import" not in page
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", page)[0].startswith("data:image/svg+xml")
    assert len(re.findall(r"\s(?:src|href)=", page)) == 1


def test_page_calls_what_is_there(asgi: Server) -> None:
    page = asgi.get("/").body.decode()
    targets = re.findall(r'(?:data-(?:get|stream|events)=|fetch\()"([^"]+)"', page)
    assert set(targets) == set(demo.ROUTES) - {"/"}


def test_asgi_route(asgi: Server) -> None:
    facts = asgi.facts("/asgi?a=%41", "X-Demo: yes")
    assert facts["interface"] == "ASGI"
    assert facts["scope"]["path"] == "/asgi"
    assert facts["scope"]["headers"]["x-demo"] == "yes"


def test_wsgi_route(server: Server) -> None:
    facts = server.facts("/wsgi?a=%41", "X-Demo: yes")
    assert facts["interface"] == "WSGI"
    assert facts["environ"]["QUERY_STRING"] == "a=%41"
    assert facts["environ"]["HTTP_X_DEMO"] == "yes"


@pytest.mark.parametrize(
    ("target", "kind", "first"),
    [("/stream", "text/plain; charset=utf-8", b"line 1 of"), ("/events", "text/event-stream", b"event 1 of")],
)
def test_parts_arrive_one_by_one(server: Server, target: str, kind: str, first: bytes) -> None:
    with server.connect() as client:
        client.send(request("GET", target))
        head = client.response_head()
        assert (head.status, head.get("content-type")) == (200, kind)
        assert head.get("transfer-encoding") == "chunked"
        parts = list(islice(client.read_chunks(), 3))
        assert first in parts[0]
        assert [part.count(b" of ") for part in parts] == [1, 1, 1]
        assert client.buffer in (b"", b"\r\n")  # the end of that chunk, and nothing after it


@pytest.mark.parametrize("size", [0, 5, 300_000])
def test_upload(server: Server, size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    for sent in (
        request("POST", "/echo", "Content-Length: " + str(size), body=body),
        request("POST", "/echo", "Transfer-Encoding: chunked", body=chunked(*filter(None, [body[:2], body[2:]]))),
    ):
        report = server.exchange(sent).json()
        assert (report["bytes"], report["sha256"]) == (size, hashlib.sha256(body).hexdigest())
        assert report["beginning"] == body[: demo.EXCERPT].decode("utf-8", "replace")


def test_what_is_not_there(server: Server) -> None:
    assert server.get("/nothing").status == 404
    refused = server.exchange(request("POST", "/stream", body=b"x"))
    assert (refused.status, refused.get("allow")) == (405, "GET")
    assert server.exchange(request("GET", "/echo")).get("allow") == "POST"


def test_head(server: Server) -> None:
    response = server.exchange(request("HEAD", "/"), "HEAD")
    assert (response.status, response.get("content-length")) == (200, str(len(demo.PAGE)))


def test_wsgi_alone_has_no_asgi_route() -> None:
    with Server(FORMS["wsgi"], app_dir=None) as server:
        response = server.get("/asgi")
        assert response.status == 404
        assert b"gateway.demo:app" in response.body


def test_streams_end_well_inside_the_grace_period() -> None:
    """A browser that shows the page must not keep a server from stopping."""
    assert demo.STEP * demo.COUNT <= 10
