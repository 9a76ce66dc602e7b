"""WebSockets with the clients that people use: `websockets`, aiohttp, and Node's `ws`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
from typing import Any

import pytest

from .harness import WAIT, Server
from .test_tls import PAIR, trusting

MESSAGES: list[str | bytes] = [
    "text",
    b"bytes",
    "",
    b"",
    "\u20ac \U0001f600 " * 1000,
    random.Random(1).randbytes(100_000),
    "x" * 1_000_000,
]


def url(server: Server, target: str) -> str:
    return server.url.replace("http", "ws", 1) + target


# websockets

websockets = pytest.importorskip("websockets")


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_websockets(ws: Server, compression: str | None) -> None:
    from websockets.sync.client import connect

    with connect(url(ws, "/echo"), compression=compression, max_size=None, proxy=None, open_timeout=WAIT) as client:
        for message in MESSAGES:
            client.send(message)
            assert client.recv(WAIT) == message
        client.send(iter(["in ", "three ", "fragments"]))
        assert client.recv(WAIT) == "in three fragments"
        client.ping(b"payload").wait(WAIT)
        extensions = client.response.headers.get_all("Sec-WebSocket-Extensions")
        assert bool(extensions) is (compression is not None)


def test_websockets_asyncio(ws: Server) -> None:
    """Many at once, with its own keepalive pings."""
    from websockets.asyncio.client import connect

    async def converse(number: int) -> None:
        async with connect(url(ws, "/echo"), proxy=None, ping_interval=0.1, open_timeout=WAIT) as client:
            for turn in range(20):
                await client.send(f"{number} {turn}")
                assert await client.recv() == f"{number} {turn}"
            assert await (await client.ping()) >= 0

    async def all_of_them() -> None:
        async with asyncio.timeout(WAIT * 2):
            await asyncio.gather(*map(converse, range(30)))

    asyncio.run(all_of_them())


def test_websockets_subprotocol_headers_and_close(ws: Server) -> None:
    from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
    from websockets.sync.client import connect

    options: dict[str, Any] = {"proxy": None, "open_timeout": WAIT}
    with connect(url(ws, "/accept?subprotocol=two&header=X-A:b"), subprotocols=["one", "two"], **options) as client:  # type: ignore[list-item]
        assert client.subprotocol == "two"
        assert client.response.headers["X-A"] == "b"
    with (
        connect(url(ws, "/close?code=1000&reason=done"), **options) as client,
        pytest.raises(ConnectionClosedOK) as ended,
    ):
        client.recv(WAIT)
    assert ended.value.rcvd.code == 1000 and ended.value.rcvd.reason == "done"
    with connect(url(ws, "/close?code=4001"), **options) as client, pytest.raises(ConnectionClosedError) as failed:
        client.recv(WAIT)
    assert failed.value.rcvd.code == 4001
    with pytest.raises(InvalidStatus) as refused, connect(url(ws, "/reject-response?status=401"), **options):
        pass
    assert (refused.value.response.status_code, refused.value.response.body) == (401, b"part 0;")
    with pytest.raises(InvalidStatus) as forbidden, connect(url(ws, "/reject"), **options):
        pass
    assert forbidden.value.response.status_code == 403


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True},
        {"server_max_window_bits": 9},
        {"client_max_window_bits": 9},
        {"server_no_context_takeover": True, "client_no_context_takeover": True, "server_max_window_bits": 12},
    ],
    ids=lambda parameters: ",".join(parameters) or "none",
)
def test_websockets_deflate_parameters(ws: Server, parameters: dict[str, Any]) -> None:
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    from websockets.sync.client import connect

    factory = ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **parameters})
    with connect(
        url(ws, "/echo"), extensions=[factory], compression=None, max_size=None, proxy=None, open_timeout=WAIT
    ) as client:
        assert client.protocol.extensions
        for message in MESSAGES * 2:
            client.send(message)
            assert client.recv(WAIT) == message


# aiohttp


@pytest.mark.parametrize("compress", [0, 15, 9])
def test_aiohttp(ws: Server, compress: int) -> None:
    aiohttp = pytest.importorskip("aiohttp")

    async def converse() -> None:
        async with (
            asyncio.timeout(WAIT * 2),
            aiohttp.ClientSession() as session,
            session.ws_connect(url(ws, "/echo"), compress=compress, max_msg_size=0, heartbeat=5) as client,
        ):
            for message in MESSAGES:
                if isinstance(message, str):
                    await client.send_str(message)
                    assert await client.receive_str() == message
                else:
                    await client.send_bytes(message)
                    assert await client.receive_bytes() == message
            assert bool(client.compress) is bool(compress)
            await client.close(code=4000, message=b"enough")
            assert client.close_code == 4000

    asyncio.run(converse())


def test_aiohttp_subprotocol_and_refusal(ws: Server) -> None:
    aiohttp = pytest.importorskip("aiohttp")

    async def converse() -> None:
        async with asyncio.timeout(WAIT), aiohttp.ClientSession() as session:
            async with session.ws_connect(url(ws, "/accept?subprotocol=two"), protocols=["one", "two"]) as client:
                assert client.protocol == "two"
            async with session.ws_connect(url(ws, "/close?code=4002")) as client:
                assert (await client.receive()).type == aiohttp.WSMsgType.CLOSE
                assert client.close_code == 4002
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url(ws, "/reject"))
            assert refused.value.status == 403
            # The same pool of connections serves requests.
            async with session.get(ws.url + "/hello") as response:
                assert await response.text() == "hello"

    asyncio.run(converse())


# Node's ws

NODE = shutil.which("node")
NODE_PATH = os.pathsep.join(filter(None, [os.environ.get("NODE_PATH"), "/usr/share/nodejs", "/usr/lib/node_modules"]))

SCRIPT = """
const WebSocket = require("ws");
const [url, options, messages] = JSON.parse(process.argv[1]);
const client = new WebSocket(url, options.protocols || [], options);
const seen = { messages: [], protocol: null, extensions: null, pongs: 0 };
client.on("open", () => {
  seen.protocol = client.protocol;
  seen.extensions = client.extensions;
  client.ping("hello");
  for (const size of messages) client.send("x".repeat(size));
  if (messages.length == 0 && options.leave) client.close(options.leave, "gone");
});
client.on("pong", data => { seen.pongs += data.toString() == "hello"; });
client.on("message", (data, binary) => {
  seen.messages.push([data.length, binary]);
  if (seen.messages.length == messages.length) client.close(options.leave || 1000, "done");
});
const tell = () => { console.log(JSON.stringify(seen)); process.exit(); };
client.on("unexpected-response", (request, response) => { seen.status = response.statusCode; tell(); });
client.on("error", error => { seen.error = String(error); });
client.on("close", (code, reason) => { seen.close = [code, reason.toString()]; tell(); });
"""


def node(server: Server, target: str, messages: list[int], **options: Any) -> Any:
    """Run a Node client that sends texts of these lengths, and return what it saw."""
    if NODE is None:
        pytest.skip("node is not installed")
    env = {**os.environ, "NODE_PATH": NODE_PATH}
    there = subprocess.run([NODE, "-e", "require('ws')"], env=env, capture_output=True, timeout=WAIT * 2)
    if there.returncode:
        pytest.skip("Node's ws is not installed (Debian: node-ws)")
    argument = json.dumps([url(server, target), options, messages])
    done = subprocess.run([NODE, "-e", SCRIPT, argument], env=env, capture_output=True, text=True, timeout=WAIT * 2)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("deflate", [False, True])
def test_node(ws: Server, deflate: bool) -> None:
    sizes = [0, 1, 125, 126, 65535, 65536, 300_000]
    seen = node(ws, "/echo", sizes, perMessageDeflate=deflate, leave=4321)
    assert seen["messages"] == [[size, False] for size in sizes]
    assert bool(seen["extensions"]) is deflate
    assert seen["pongs"] == 1
    assert seen["close"][0] == 4321


@pytest.mark.parametrize(
    "parameters",
    [
        {"serverNoContextTakeover": True},
        {"clientNoContextTakeover": True},
        {"serverMaxWindowBits": 10},
        {"clientMaxWindowBits": 10},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_node_deflate_parameters(ws: Server, parameters: dict[str, Any]) -> None:
    sizes = [200, 2000, 200_000, 200_000, 0]
    seen = node(ws, "/echo", sizes, perMessageDeflate={"threshold": 0, **parameters})
    assert [size for size, _ in seen["messages"]] == sizes
    assert "permessage-deflate" in seen["extensions"]


def test_node_subprotocol_and_refusal(ws: Server) -> None:
    seen = node(ws, "/accept?subprotocol=two", [], protocols=["one", "two"], leave=3000)
    assert seen["protocol"] == "two"
    assert seen["close"][0] == 3000
    assert node(ws, "/reject", [])["status"] == 403
    assert node(ws, "/close?code=4003&reason=bye", [])["close"] == [4003, "bye"]
    assert node(ws, "/fail?when=after", [])["close"][0] == 1011


# TLS


def test_over_tls() -> None:
    """wss, which is asyncio's transport: the same protocol over another output."""
    from websockets.sync.client import connect

    with Server("ws_apps:probe", *PAIR) as server:
        context = trusting()
        target = url(server, "/echo").replace("127.0.0.1", "localhost")
        with connect(target, ssl=context, max_size=None, proxy=None, open_timeout=WAIT) as client:
            for message in MESSAGES:
                client.send(message)
                assert client.recv(WAIT) == message
        with connect(target.replace("/echo", "/scope"), ssl=context, proxy=None, open_timeout=WAIT) as client:
            assert json.loads(client.recv(WAIT))["scheme"] == "wss"
