"""The demo application, which is the first that anyone sees of gateway."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from gateway import demo

from .chromium import Browser
from .harness import Server, chunked, request
from .wsclient import SERVICE_RESTART, close, connect, frame, text

FORMS = {"both": "gateway.demo:app", "asgi": "gateway.demo:asgi", "wsgi": "gateway.demo:wsgi"}


@pytest.fixture(scope="module", params=sorted(FORMS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(FORMS[request.param], app_dir=None) as server:
        yield server


@pytest.fixture(scope="module")
def both() -> Iterator[Server]:
    with Server(FORMS["both"], app_dir=None) as server:
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


def test_page_calls_what_is_there(both: Server) -> None:
    page = both.get("/").body.decode()
    targets = re.findall(r'(?:data-(?:get|stream|events|chat|live)=|fetch\()"([^"]+)"', page)
    assert set(targets) == set(demo.ROUTES) - {"/"} | {"/chat"}


def test_asgi_route(server: Server) -> None:
    if "demo:wsgi" in " ".join(server.command):
        assert server.get("/asgi").status == 404
        return
    facts = server.facts("/asgi?a=%41", "X-Demo: yes")
    assert facts["interface"] == "ASGI"
    assert (facts["scope"]["root_path"], facts["scope"]["path"]) == ("", "/asgi")
    assert facts["scope"]["headers"]["x-demo"] == "yes"


def test_wsgi_route(server: Server) -> None:
    if "demo:asgi" in " ".join(server.command):
        assert server.get("/wsgi").status == 404
        return
    facts = server.facts("/wsgi?a=%41", "X-Demo: yes")
    assert facts["interface"] == "WSGI"
    assert facts["environ"]["SCRIPT_NAME"] + facts["environ"]["PATH_INFO"] == "/wsgi"
    assert facts["environ"]["QUERY_STRING"] == "a=%41"
    assert facts["environ"]["HTTP_X_DEMO"] == "yes"


def test_the_wsgi_application_has_its_own_place(both: Server) -> None:
    assert both.facts("/wsgi")["environ"]["SCRIPT_NAME"] == "/wsgi"
    assert both.exchange(request("POST", "/wsgi/echo", "Content-Length: 3", body=b"abc")).json()["bytes"] == 3
    assert both.get("/wsgi/").body == both.get("/").body
    assert both.get("/wsgi/asgi").status == 404


def live(chunks: Iterator[bytes]) -> dict[str, Any]:
    """The next of the events that /live sends."""
    event = next(chunks)
    (data,) = [line for line in event.decode().splitlines() if line.startswith("data: ")]
    facts: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return facts


def test_live_counts(both: Server) -> None:
    with both.connect() as client, connect(both, "/chat") as chat:
        client.send(request("GET", "/live"))
        assert client.response_head().get("content-type") == "text/event-stream"
        chunks = client.read_chunks()
        before = live(chunks)["counts"]
        for target in ("/asgi", "/wsgi", "/wsgi"):
            assert both.get(target).status == 200
        chat.send(text("x"))
        chat.json()
        expected = {"asgi": before["asgi"] + 1, "wsgi": before["wsgi"] + 2, "websocket": before["websocket"] + 1}
        facts = live(chunks)
        while facts["counts"] != expected:
            facts = live(chunks)
        assert facts["process"] == both.worker_pid
        assert facts["places"] == {"asgi": "MainThread", "websocket": "MainThread", "wsgi": facts["places"]["wsgi"]}
        assert facts["places"]["wsgi"].startswith("gateway-thread-")


def test_live_ends_with_the_server() -> None:
    with Server(FORMS["both"], app_dir=None) as server, server.connect() as client:
        client.send(request("GET", "/live"))
        client.response_head()
        chunks = client.read_chunks()
        live(chunks)
        server.signal(signal.SIGTERM)
        list(chunks)
        assert server.wait() == 0
        assert "cut off" not in server.log


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


@pytest.mark.parametrize(("form", "target"), [("wsgi", "/asgi"), ("asgi", "/wsgi")])
def test_one_alone_has_no_route_of_the_other(form: str, target: str) -> None:
    with Server(FORMS[form], app_dir=None) as server:
        response = server.get(target)
        assert response.status == 404
        assert b"gateway.demo:app" in response.body


def test_streams_end_well_inside_the_grace_period() -> None:
    """A browser that shows the page must not keep a server from stopping."""
    assert demo.STEP * demo.COUNT <= 10


# The WebSocket


def test_chat_reaches_everyone(both: Server) -> None:
    with connect(both, "/chat") as one, connect(both, "/chat") as two:
        numbers = [client.json()["you"] for client in (one, two)]
        assert len(set(numbers)) == 2
        one.send(text("Gr\u00fc\u00dfe") + frame(2, b"12345"))
        for client in (one, two):
            messages = [client.json(), client.json()]
            assert [message["text"] for message in messages] == ["Gr\u00fc\u00dfe", "5 bytes"]
            assert {message["sender"] for message in messages} == {numbers[0]}
        two.finish()
        one.send(text("alone again"))
        assert one.json()["text"] == "alone again"
        one.finish()


def test_chat_cuts_what_is_long(both: Server) -> None:
    with connect(both, "/chat") as client:
        client.json()
        client.send(text("x" * 100_000))
        assert client.json()["text"] == "x" * demo.LONGEST


def test_who_does_not_read_holds_up_nobody(both: Server) -> None:
    """It misses messages, and the server doesn't keep them."""
    with connect(both, "/chat") as deaf, connect(both, "/chat") as client:
        deaf.json()
        client.json()
        before = both.reset_peak()
        for _ in range(200):
            client.send(text("y" * 500) * 50)
            for _ in range(50):
                client.json()
        assert both.memory()[1] - before < 8 << 20


def test_no_other_websocket(both: Server) -> None:
    with connect(both, None) as client:
        assert client.try_open("/asgi").status == 403


def test_chat_without_a_websocket(server: Server) -> None:
    response = server.get("/chat")
    assert response.status == 404
    assert b"WebSocket" in response.body


def test_chat_ends_with_the_server() -> None:
    with Server(FORMS["both"], app_dir=None) as server, connect(server, "/chat") as client:
        client.json()
        server.signal(signal.SIGTERM)
        assert client.closed().code == SERVICE_RESTART
        client.send(close(SERVICE_RESTART))
        assert server.wait() == 0


# In a browser

COUNT = "(kind => Number(document.querySelector(`[data-kind=${kind}] .count`).textContent))"
CHAT = "document.querySelector('#chat pre').textContent"
STATUS = "document.querySelector('[data-chat]').closest('section').querySelector('.status').textContent"


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("width", [1200, 390], ids=["desktop", "phone"])
def test_page_in_a_browser(both: Server, tmp_path: Path, width: int) -> None:
    """Everything on the page works, nothing is reported in the console, and it fits into its width."""
    with Browser(tmp_path) as browser:
        browser.open(both.url + "/", width=width, height=900)
        for target in ("/asgi", "/wsgi"):
            output = (
                f"document.querySelector('[data-get=\"{target}\"]').closest('section').querySelector('pre').textContent"
            )
            assert "gateway" in browser.wait_for(output) or "127.0.0.1" in browser.evaluate(output)
        browser.wait_for("document.querySelector('#upload pre').textContent.includes('sha256')")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")

        browser.wait_for(f"{COUNT}('asgi') > 0 && {COUNT}('wsgi') > 0")
        counts = {kind: browser.evaluate(f"{COUNT}('{kind}')") for kind in ("asgi", "wsgi")}
        browser.evaluate("document.querySelector('[data-live]').click()")
        browser.wait_for(" && ".join(f"{COUNT}('{kind}') >= {count + 20}" for kind, count in counts.items()))
        assert "on the event loop" in browser.evaluate("document.querySelector('[data-kind=asgi]').textContent")
        assert "gateway-thread-" in browser.evaluate("document.querySelector('[data-kind=wsgi]').textContent")

        browser.wait_for(f"{STATUS}.includes('connected as visitor')")
        with connect(both, "/chat") as other:
            you = other.json()["you"]
            browser.evaluate("document.getElementById('chat').requestSubmit()")
            browser.wait_for(f"{CHAT}.includes('you: Hello!')")
            assert other.json()["text"] == "Hello!"
            other.send(text("<b>from elsewhere</b>"))
            assert other.json()["sender"] == you
            browser.wait_for(f"{CHAT}.includes('visitor {you}: <b>from elsewhere</b>')")
            other.finish()
        browser.evaluate("document.querySelector('[data-chat]').click()")
        browser.wait_for(f"{STATUS}.includes('connected as visitor') && {CHAT} === ''")
        browser.evaluate("document.querySelector('#chat [name=text]').value = 'Grüße 🎉'")
        browser.evaluate("document.getElementById('chat').requestSubmit()")
        browser.wait_for(f"{CHAT}.includes('you: Grüße 🎉') && {STATUS}.includes('came back after')")
        assert browser.problems == []


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_browser_is_told_of_a_restart(tmp_path: Path) -> None:
    with Server(FORMS["both"], app_dir=None) as server, Browser(tmp_path) as browser:
        browser.open(server.url + "/")
        browser.wait_for(f"{STATUS}.includes('connected')")
        server.signal(signal.SIGTERM)
        browser.wait_for(f"{STATUS}.includes('closed with 1012')")
        assert server.wait() == 0
