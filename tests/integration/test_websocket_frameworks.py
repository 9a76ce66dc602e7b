"""WebSockets of real frameworks behind the real server: one suite of tests against each."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .harness import WAIT, Server

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

FRAMEWORKS = {
    "starlette": ("starlette", "starlette_app:app"),
    "fastapi": ("fastapi", "fastapi_app:app"),
    "litestar": ("litestar", "litestar_app:app"),
    "channels": ("channels", "djangosite.channels_asgi:application"),
}
"""Name -> the module it needs, and the application in tests/apps."""


def unique() -> str:
    return uuid.uuid4().hex


@contextlib.contextmanager
def serving(name: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    module, target = FRAMEWORKS[name]
    pytest.importorskip(module)
    env = {"DJANGOSITE_HOME": str(request.getfixturevalue("django_home"))} if name == "channels" else {}
    with Server(target, env=env) as server:
        yield server


@pytest.fixture(scope="module", params=sorted(FRAMEWORKS))
def framework(request: pytest.FixtureRequest) -> Iterator[tuple[str, Server]]:
    with serving(request.param, request) as server:
        yield request.param, server


@pytest.fixture(scope="module")
def channels(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving("channels", request) as server:
        yield server


def open_at(server: Server, target: str, **options: Any) -> ClientConnection:
    return connect(server.url.replace("http", "ws", 1) + target, proxy=None, open_timeout=WAIT, **options)


def test_echo(framework: tuple[str, Server]) -> None:
    _, server = framework
    with open_at(server, "/ws/echo", max_size=None) as client:
        for message in ("text", b"bytes", "\u20ac" * 1000, b"\0" * 100_000, "x" * 1_000_000):
            client.send(message)
            assert client.recv(WAIT) == message


@pytest.mark.parametrize("code", [1000, 1001, 4321])
def test_disconnect(framework: tuple[str, Server], code: int) -> None:
    _, server = framework
    name = unique()
    with open_at(server, f"/ws/echo?name={name}") as client:
        client.close(code, "going")
    assert server.wait_event("ws-left", name=name)["code"] == code


def test_client_that_vanishes(framework: tuple[str, Server]) -> None:
    _, server = framework
    name = unique()
    with open_at(server, f"/ws/echo?name={name}") as client:
        client.send("x")
        client.recv(WAIT)
        client.socket.shutdown(2)
    assert server.wait_event("ws-left", name=name)["code"] == 1006


def test_json(framework: tuple[str, Server]) -> None:
    name, server = framework
    with open_at(server, "/ws/json?a=%C3%A9") as client:
        for value in ({"nested": [1, None, "\u20ac"]}, [], "text", 1.5):
            client.send(json.dumps(value))
            assert json.loads(client.recv(WAIT)) == {"got": value, "path": "/ws/json", "query": {"a": "\u00e9"}}
        if name in ("starlette", "fastapi"):
            assert client.response is not None and client.response.headers["x-framework"] == name


@pytest.mark.parametrize("offered", [["chat"], ["other", "chat"], None])
def test_subprotocol_and_close(framework: tuple[str, Server], offered: Any) -> None:
    _, server = framework
    with open_at(server, "/ws/chat", subprotocols=offered) as client:
        expected = "chat" if offered else None
        assert client.subprotocol == expected
        assert client.recv(WAIT) == str(expected)
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(WAIT)
    assert ended.value.rcvd is not None
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4000, "enough")


def test_rejected(framework: tuple[str, Server]) -> None:
    _, server = framework
    with pytest.raises(InvalidStatus) as refused, open_at(server, "/ws/private"):
        pass
    assert refused.value.response.status_code == 403
    with open_at(server, "/ws/private?token=secret") as client:
        assert client.recv(WAIT) == "welcome"


def test_denied_with_a_response(framework: tuple[str, Server]) -> None:
    """websocket.http.response."""
    name, server = framework
    if name not in ("starlette", "fastapi"):
        pytest.skip(f"{name} has no such response")
    with pytest.raises(InvalidStatus) as refused, open_at(server, "/ws/denied"):
        pass
    response = refused.value.response
    assert (response.status_code, response.body, response.headers["x-price"]) == (402, b"pay first", "1")


def test_room(framework: tuple[str, Server]) -> None:
    """What one says, all in the room hear, and nobody else."""
    _, server = framework
    room, other = unique(), unique()
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(open_at(server, f"/ws/room/{room}")) for _ in range(10)]
        stranger = stack.enter_context(open_at(server, f"/ws/room/{other}"))
        for client in (*members, stranger):
            assert client.recv(WAIT) == "joined"
        for number, member in enumerate(members):
            member.send(f"from {number}")
            assert [client.recv(WAIT) for client in members] == [f"from {number}"] * 10
        stranger.send("alone")
        assert stranger.recv(WAIT) == "alone"
        # Who left is not missed.
        members[0].close()
        members[1].send("still here")
        assert [client.recv(WAIT) for client in members[1:]] == ["still here"] * 9


def test_many_at_once(framework: tuple[str, Server]) -> None:
    _, server = framework

    def converse(number: int) -> None:
        with open_at(server, "/ws/echo") as client:
            for turn in range(5):
                client.send(f"{number} {turn}")
                assert client.recv(WAIT) == f"{number} {turn}"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(converse, range(24)))


def test_failure(framework: tuple[str, Server]) -> None:
    """1011 from the server, unless the framework has closed in its own way."""
    name, server = framework
    with open_at(server, "/ws/fails") as client:
        with contextlib.suppress(ConnectionClosed):
            client.send("trigger")
        with pytest.raises(ConnectionClosed) as ended:
            client.recv(WAIT)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == (4500 if name == "litestar" else 1011)
    if name != "litestar":
        server.wait_for_line("failed on purpose")
    with open_at(server, "/ws/echo") as client:
        client.send("alive")
        assert client.recv(WAIT) == "alive"


def test_unknown_path(framework: tuple[str, Server]) -> None:
    """Starlette's routers close before they accept; Channels raises; Litestar closes."""
    name, server = framework
    with pytest.raises(InvalidStatus) as refused, open_at(server, "/ws/nowhere"):
        pass
    assert refused.value.response.status_code == (500 if name == "channels" else 403)


@pytest.mark.parametrize("target", ["/ws/users", "/ws/async-users"])
def test_channels_with_the_database(channels: Server, target: str) -> None:
    with open_at(channels, target) as client:
        client.send("{}")
        assert json.loads(client.recv(WAIT)) == {"users": 1, "anonymous": True}


def test_channels_in_a_thread(channels: Server) -> None:
    with open_at(channels, "/ws/sync-echo") as client:
        for message in ("text", b"bytes"):
            client.send(message)
            assert client.recv(WAIT) == message


def test_channels_beside_django(channels: Server) -> None:
    assert channels.get("/").body == b"Hello, world!"
