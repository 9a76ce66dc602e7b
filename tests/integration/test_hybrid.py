"""A Django project behind both of its entry points: which of them runs what.

That it answers as behind either alone is shown by test_frameworks.py, which has all its clients visit it so, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import WAIT, Client, Server, request, run_gateway

pytest.importorskip("django")


@pytest.fixture(scope="module")
def env(django_home: Path) -> dict[str, str]:
    return {"DJANGOSITE_HOME": str(django_home)}


@pytest.fixture(scope="module")
def site(env: dict[str, str]) -> Iterator[Server]:
    with Server("djangosite", env=env) as server:
        yield server


def kind(server: Server, path: str) -> str:
    return str(server.facts(path)["kind"])


def lines_until(client: Client, last: bytes) -> list[bytes]:
    """The lines that the view has written, up to the one that begins with `last`; nothing comes after it."""
    received = b""
    while last not in received or not received.endswith(b"\n\r\n"):
        received += client.take(1)
    return re.findall(rb"line \d of \w+", received)


def test_it_says_how_it_is_split(site: Server) -> None:
    site.wait_for_line(
        r"Using interface: django \(auto-detected; synchronous views run in threads, asynchronous ones on the event loop\)"
    )


def test_each_view_where_it_is_at_home(site: Server) -> None:
    for _ in range(2):
        assert kind(site, "/about") == "WSGIRequest"
        assert kind(site, "/about/and/more") == "WSGIRequest"
        assert kind(site, "/async/about") == "ASGIRequest"


def test_content_of_unknown_length_goes_where_it_is_read(site: Server) -> None:
    with site.connect() as client:
        client.send(
            b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        assert b'"size": 11' in client.response().body


def test_asynchronous_content_of_a_synchronous_view(site: Server) -> None:
    """The first time from a thread, then on the loop, where it belongs; in parts either way."""
    for number, where in ((1, "WSGIRequest"), (2, "ASGIRequest"), (3, "ASGIRequest")):
        with site.connect() as client:
            client.send(request("GET", f"/stream/mixed/{number}?n=3&endless=1"))
            assert lines_until(client, b"line 2") == [b"line %d of %s" % (n, where.encode()) for n in range(3)]


def test_signals_and_connections(env: dict[str, str]) -> None:
    with Server("djangosite", env=env) as server:
        for _ in range(10):
            for path in ("/database", "/notes", "/async/notes", "/async"):
                assert server.get(path).status == 200
        # A request is finished after its response was sent; this one counts as started.
        asked = 0
        counts = {}
        while counts.get("started", 0) - counts.get("finished", 0) != 1:
            asked += 1
            counts = server.facts("/signals")
        assert counts == {"started": 40 + asked, "finished": 39 + asked}
        # CONN_MAX_AGE is 0: the end of a request closes its connections, whichever thread they belong to.
        folder = f"/proc/{server.worker_pid}/fd"
        if os.path.isdir(folder):
            files = [os.path.realpath(f"{folder}/{name}") for name in os.listdir(folder)]
            assert [name for name in files if name.endswith("db.sqlite3")] == []


def test_overrides(env: dict[str, str]) -> None:
    options = ("--interface=django", "--django-asgi=/about", "--django-wsgi=/async,/stream")
    with Server("djangosite.asgi:application", *options, env=env) as server:
        assert kind(server, "/about") == "ASGIRequest"
        assert kind(server, "/async/about") == "WSGIRequest"
        assert server.get("/async/notes").status == 200


def test_under_a_prefix(env: dict[str, str]) -> None:
    with Server("djangosite", "--root-path=/site", env=env) as server:
        for path, expected in (("/site/about", "WSGIRequest"), ("/site/async/about", "ASGIRequest")):
            facts = server.facts(path)
            assert (facts["kind"], facts["path"], facts["path_info"]) == (expected, path, path.removeprefix("/site"))


def test_mounted(env: dict[str, str]) -> None:
    with Server("--mount=/site=djangosite", "--mount=/=wsgi_apps:hello", env=env) as server:
        for path, expected in (("/site/about", "WSGIRequest"), ("/site/async/about", "ASGIRequest")):
            facts = server.facts(path)
            assert (facts["kind"], facts["path"], facts["path_info"]) == (expected, path, path.removeprefix("/site"))
        assert server.get("/").status == 200


def test_websockets(env: dict[str, str]) -> None:
    pytest.importorskip("channels")
    client = pytest.importorskip("websockets.sync.client")
    with Server("channelsite", env=env) as server:
        with client.connect(server.url.replace("http", "ws") + "/ws/echo", proxy=None, open_timeout=WAIT) as socket:
            socket.send("hello")
            assert socket.recv(WAIT) == "hello"
        assert kind(server, "/about") == "WSGIRequest"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("half", "--interface django: the project half has no asgi.py; "),
        ("wsgi_apps:hello", "--interface django: the project wsgi_apps has no wsgi.py; "),
        ("plain", "--interface django: plain.wsgi:application does not set up Django"),
    ],
)
def test_what_is_no_project(tmp_path: Path, target: str, message: str) -> None:
    app = "def application(environ, start_response): pass\n"
    asgi = "async def application(scope, receive, send): pass\n"
    for name, content in (("half/wsgi.py", app), ("plain/wsgi.py", app), ("plain/asgi.py", asgi)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "wsgi_apps.py").write_text("hello = None\n")
    done = run_gateway(target, "--interface=django", "--app-dir", str(tmp_path), "--bind=127.0.0.1:0")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_client_of_the_first_stream_that_leaves(env: dict[str, str]) -> None:
    """Its thread is free again: with one thread, the next synchronous view would wait for ever."""
    with Server("djangosite", "--threads=1", env=env) as server:
        with Client(server.addresses[0]) as client:
            client.send(request("GET", "/stream/mixed/1?n=1&endless=1"))
            assert lines_until(client, b"line 0") == [b"line 0 of WSGIRequest"]
        assert server.get("/about").status == 200
