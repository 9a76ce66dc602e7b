"""The opening handshake and the WebSocket half of ASGI (specification 2.5), through the real server."""

from __future__ import annotations

import itertools
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from .harness import WAIT, Server, request
from .wsclient import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    KEY,
    NO_CODE,
    NORMAL,
    PING,
    POLICY,
    PONG,
    SERVICE_RESTART,
    close,
    connect,
    frame,
    text,
)


def unique() -> str:
    return uuid.uuid4().hex


def upgrade(*changed: str, method: str = "GET", version: str = "1.1", without: tuple[str, ...] = ()) -> bytes:
    """An opening handshake with some fields replaced, or left out."""
    fields = {
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
    }
    for name in [line.split(":")[0].lower() for line in changed] + list(without):
        fields.pop(name, None)
    return request(method, "/echo", *fields.values(), *changed, version=version)


# The opening handshake (RFC 6455 4.2)


@pytest.mark.parametrize(
    "fields",
    [
        ["Upgrade: WebSocket", "Connection: upgrade"],
        ["Upgrade: WEBSOCKET", "Connection: UPGRADE"],
        ["Connection: keep-alive, Upgrade"],
        ["Connection: keep-alive", "Connection: Upgrade"],
        ["Upgrade: h2c, websocket"],
        ["Origin: http://somewhere.example"],
        ["X-Other: 1"],
        ["Sec-WebSocket-Extensions: unknown-extension; with=parameters"],
    ],
)
def test_handshake(ws: Server, fields: list[str]) -> None:
    with connect(ws, None) as client:
        client.send(upgrade(*fields))
        response = client.opened()
        assert response.reason == "Switching Protocols"
        assert client.extensions is None
        assert client.subprotocol is None
        client.echo()
        client.finish()


@pytest.mark.parametrize(
    ("changed", "statuses"),
    [
        (["Sec-WebSocket-Version: 8"], {426}),
        (["Sec-WebSocket-Version: 0"], {426}),
        (["Sec-WebSocket-Version: 14"], {426}),
        (["Sec-WebSocket-Version: 013"], {400, 426}),
        (["Sec-WebSocket-Version: x"], {400, 426}),
        (["Sec-WebSocket-Version:"], {400, 426}),
        (["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"], {400, 426}),
        (["Sec-WebSocket-Key:"], {400}),
        (["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"], {400}),
        (["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZS4="], {400}),
        (["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"], {400}),
        (["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!=="], {400}),
        ([f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Key: {KEY}"], {400}),
        (["Sec-WebSocket-Protocol: a b"], {400}),
        (["Sec-WebSocket-Protocol: a, @"], {400}),
        (["Sec-WebSocket-Extensions: permessage-deflate; =1"], {400}),
        (["Host: other.example"], {400}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_handshake_that_is_refused(ws: Server, changed: list[str], statuses: set[int]) -> None:
    with connect(ws, None) as client:
        client.send(upgrade(*changed))
        response = client.response()
        assert response.status in statuses, response
        if response.status == 426:
            # RFC 6455 4.4, RFC 9110 15.5.22.
            assert response.get("sec-websocket-version") == "13"
            assert (response.get("upgrade") or "").lower() == "websocket"
            assert "upgrade" in response.connection
    assert ws.alive()


@pytest.mark.parametrize("name", ["sec-websocket-key", "sec-websocket-version"])
def test_handshake_without_a_field(ws: Server, name: str) -> None:
    with connect(ws, None) as client:
        client.send(upgrade(without=(name,)))
        assert client.response().status == (426 if name.endswith("version") else 400)


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
def test_handshake_by_another_method(ws: Server, method: str) -> None:
    """RFC 6455 4.1 says GET; 405 names it."""
    with connect(ws, None) as client:
        client.send(upgrade(method=method))
        response = client.response(method)
        assert response.status in (400, 405), response
        if response.status == 405:
            assert response.get("allow") == "GET"


def test_handshake_with_content(ws: Server) -> None:
    """Content would be taken for frames by one party and for content by another."""
    for framing in ("Content-Length: 5", "Transfer-Encoding: chunked"):
        with connect(ws, None) as client:
            client.send(upgrade(framing) + b"hello")
            assert client.response().status == 400


def test_empty_content_is_none(ws: Server) -> None:
    with connect(ws, None) as client:
        client.send(upgrade("Content-Length: 0"))
        response = client.head()
        assert response.status in (101, 400)


@pytest.mark.parametrize(
    "message",
    [
        upgrade(without=("connection",)),
        upgrade("Connection: keep-alive"),
        upgrade(without=("upgrade",)),
        upgrade("Upgrade: h2c"),
        upgrade(version="1.0"),
    ],
    ids=["no-connection", "connection-without-upgrade", "no-upgrade", "another-upgrade", "http/1.0"],
)
def test_what_is_no_handshake(ws: Server, message: bytes) -> None:
    """An ordinary request (RFC 9110 7.8), to the application too."""
    with connect(ws, None) as client:
        client.send(message.replace(b"/echo", b"/hello"))
        response = client.response()
        assert (response.status, response.body) == (200, b"hello")


def test_request_before_the_handshake(ws: Server) -> None:
    """A connection may serve requests first, pipelined ones included."""
    with connect(ws, None) as client:
        client.send(request("GET", "/hello") + upgrade() + text("x"))
        assert client.response().body == b"hello"
        client.opened()
        assert client.message() == "x"
        client.finish()


def test_no_websockets_by_option() -> None:
    """--ws none: the handshake is an ordinary request."""
    with Server("ws_apps:probe", "--ws", "none") as server, connect(server, None) as client:
        client.send(client.handshake("/hello"))
        assert client.response().body == b"hello"


def test_wsgi_application_gets_an_ordinary_request() -> None:
    """RFC 9110 7.8: a server may ignore Upgrade; the connection goes on in HTTP."""
    with Server("wsgi_probe:probe") as server, connect(server, None) as client:
        for _ in range(2):
            client.send(client.handshake("/hello"))
            response = client.response()
            assert (response.status, response.body) == (200, b"hello")
            assert response.get("upgrade") is None


# The scope


def test_scope(ws: Server) -> None:
    with connect(ws, None) as client:
        client.open("/a%20b/%C3%A9?c=d%20e&f", "Origin: http://o.example", "X-One: 1", "x-ONE: 2",
                    "Sec-WebSocket-Protocol: chat, superchat")  # fmt: skip
        facts = client.json()
        here = list(client.socket.getsockname())
        client.finish()
    assert facts["type"] == "websocket"
    assert facts["asgi"]["version"] == "3.0"
    assert facts["asgi"]["spec_version"] in ("2.4", "2.5")
    assert facts["http_version"] == "1.1"
    assert facts["scheme"] == "ws"
    assert facts["path"] == "/a b/\u00e9"
    assert facts["raw_path"] == "/a%20b/%C3%A9"
    assert facts["query_string"] == "c=d%20e&f"
    assert facts["root_path"] == ""
    assert facts["subprotocols"] == ["chat", "superchat"]
    assert facts["client"] == here
    assert facts["server"] == ["127.0.0.1", ws.port]
    assert facts["state"] == {"from": "lifespan"}
    assert "websocket.http.response" in facts["extensions"]
    names = [name for name, _ in facts["headers"]]
    assert names == [name.lower() for name in names]
    assert [value for name, value in facts["headers"] if name == "x-one"] == ["1", "2"]
    assert dict(facts["headers"])["origin"] == "http://o.example"
    assert "method" not in facts["keys"]
    assert (facts["types"]["headers"], facts["types"]["state"]) == ("list", "dict")


def test_root_path_and_subprotocols_of_scope() -> None:
    with Server("ws_apps:probe", "--root-path=/api") as server, connect(server, "/scope") as client:
        facts = client.json()
        assert facts["root_path"] == "/api"
        assert facts["subprotocols"] == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["a,b ,  c"], ["a", "b", "c"]),
        (["a", "b, c"], ["a", "b", "c"]),
        ([", a,,"], ["a"]),
    ],
)
def test_subprotocols_offered(ws: Server, fields: list[str], expected: list[str]) -> None:
    """RFC 6455 11.3.4: one list, also over several fields."""
    with connect(ws, "/scope", *[f"Sec-WebSocket-Protocol: {value}" for value in fields]) as client:
        assert client.json()["subprotocols"] == expected
        client.finish()


def test_behind_a_proxy() -> None:
    """X-Forwarded-Proto of a proxy that is believed: wss."""
    with Server("ws_apps:probe") as server:
        for proto in ("https", "wss"):
            with connect(server, "/scope", f"X-Forwarded-Proto: {proto}", "X-Forwarded-For: 192.0.2.7") as client:
                facts = client.json()
                assert facts["scheme"] == "wss"
                assert facts["client"][0] == "192.0.2.7"


# Accepting


def test_accept_with_subprotocol_and_headers(ws: Server) -> None:
    with connect(ws, None) as client:
        response = client.open(
            "/accept?subprotocol=superchat&header=X-Token:abc,set-cookie:a=1,Set-Cookie:b=2",
            "Sec-WebSocket-Protocol: chat, superchat",
        )
        assert client.subprotocol == "superchat"
        assert response.get("x-token") == "abc"
        assert response.all("set-cookie") == ["a=1", "b=2"]
        client.finish()


def test_accept_without_subprotocol(ws: Server) -> None:
    with connect(ws, "/accept?subprotocol=", "Sec-WebSocket-Protocol: chat") as client:
        assert client.subprotocol is None
        client.finish()


def test_accept_takes_its_time(ws: Server) -> None:
    """What a hasty client sends before is there afterwards."""
    name = unique()
    with connect(ws, None) as client:
        client.send(client.handshake(f"/slow-accept?name={name}") + text("one") + text("two"))
        ws.wait_event("waiting", name=name)
        client.expect_silence(0.1)
        open_gate(ws, name)
        client.opened()
        assert [client.message(), client.message()] == ["late 'one'", "late 'two'"]
        client.finish()


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_client_leaves_before_accept(ws: Server, ending: str) -> None:
    name = unique()
    with connect(ws, None) as client:
        client.send(client.handshake(f"/slow-accept?name={name}"))
        ws.wait_event("waiting", name=name)
        if ending == "reset":
            client.reset()
    assert ws.wait_event("disconnect", name=name)["code"] == ABNORMAL


def open_gate(server: Server, name: str) -> None:
    with connect(server, f"/open-gate?name={name}") as client:
        assert client.message() == "opened"
        client.finish()


# Rejecting


def test_reject(ws: Server) -> None:
    """ASGI spec, "Close": before the handshake is complete it is 403."""
    name = unique()
    with connect(ws, None) as client:
        response = client.try_open(f"/reject?name={name}")
        assert response.status == 403
        assert response.get("upgrade") is None
        assert response.get("sec-websocket-accept") is None
    assert ws.wait_event("after-end", name=name)["type"] == "websocket.disconnect"
    assert ws.wait_event("raised", name=name)["text"]


def test_reject_with_a_code(ws: Server) -> None:
    """Nobody can be told the code; still 403."""
    with connect(ws, None) as client:
        assert client.try_open("/reject?code=4003").status == 403


@pytest.mark.parametrize("status", [200, 401, 403, 404, 418, 503])
def test_reject_with_a_response(ws: Server, status: int) -> None:
    name = unique()
    with connect(ws, None) as client:
        response = client.try_open(f"/reject-response?status={status}&name={name}")
        assert (response.status, response.body) == (status, b"part 0;")
        assert response.get("x-reason") == "denied"
        assert response.get("content-type") == "text/plain"
        assert response.get("sec-websocket-accept") is None
    assert ws.wait_event("after-end", name=name)["type"] == "websocket.disconnect"


def test_reject_with_a_streamed_response(ws: Server) -> None:
    """Each part leaves when it is sent."""
    name = unique()
    with connect(ws, None) as client:
        client.send(client.handshake(f"/reject-response?parts=3&name={name}"))
        response = client.response_head()
        assert response.status == 401
        chunks = client.read_chunks()
        assert next(chunks) == b"part 0;"
        for number in (1, 2):
            open_gate(ws, f"{name}-{number}")
            assert next(chunks) == b"part %d;" % number
        assert list(chunks) == []


def test_reject_with_a_length(ws: Server) -> None:
    with connect(ws, None) as client:
        response = client.try_open("/reject-response?parts=2&length=14")
        assert response.get("content-length") == "14"
        assert response.body == b"part 0;part 1;"


# Messages


def test_text_and_bytes_keep_their_kind(ws: Server) -> None:
    with connect(ws) as client:
        client.send(text("x") + frame(2, b"x") + text("") + frame(2))
        assert [client.message() for _ in range(4)] == ["x", b"x", "", b""]
        client.finish()


def test_kinds_of_values(ws: Server) -> None:
    """What real applications send: None beside the other key, bytearray, memoryview, nothing at all."""
    with connect(ws, "/kinds") as client:
        received = [client.message() for _ in range(6)]
        assert received == ["text", b"bytes", b"bytearray", b"memoryview", "", b""]
        client.send(close())
        assert client.closed().code == NORMAL


def test_many_messages_from_the_application(ws: Server) -> None:
    with connect(ws, "/burst?n=5000&size=100") as client:
        for number in range(5000):
            assert client.message() == f"{number}".ljust(100, ".")
        client.finish()


def test_sending_and_receiving_at_once(ws: Server) -> None:
    with connect(ws, "/both-ways?n=200") as client:
        client.send(b"".join(text(str(number)) for number in range(200)))
        received = [client.message() for _ in range(400)]
        assert [m for m in received if m.startswith("tick")] == [f"tick {n}" for n in range(200)]
        assert [m for m in received if m.startswith("heard")] == [f"heard {n}" for n in range(200)]
        client.finish()


def test_receive_awaited_later(ws: Server) -> None:
    """Calling it and awaiting it may lie apart (a task made of it begins a turn later); what came meanwhile counts."""
    name = unique()
    with connect(ws, f"/awaited-later?name={name}") as client:
        assert client.message() == "begun"
        client.send(text("meanwhile") + frame(PING, b"arrived"))
        assert client.frame().payload == b"arrived"
        open_gate(ws, name)
        assert client.message() == "heard 'meanwhile'"
        client.finish()


def test_cancelled_waits_lose_nothing(ws: Server) -> None:
    """An application that asks with a timeout, whose waits are cancelled."""
    with connect(ws, "/polling?n=500") as client:
        assert client.message() == "begun"
        client.send_each(text(str(number)) for number in range(500))
        assert client.message() == "heard 500"
        client.finish()


def test_messages_do_not_starve_the_loop(ws: Server) -> None:
    """However many there are already: other tasks get their turns in between."""
    with connect(ws, "/starving") as client:
        sender = threading.Thread(target=client.send, args=(text("x") * 20_000 + text("end"),))
        sender.start()
        received, turns = client.json()
        sender.join(WAIT)
        assert received == 20_001
        assert turns >= 10
        client.finish()


def test_many_connections_at_once(ws: Server) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: converse(ws, number), range(60)))


def converse(server: Server, number: int) -> None:
    with connect(server) as client:
        for turn in range(10):
            client.echo(f"{number} {turn}")
        client.finish()


def test_a_connection_is_not_limited_by_http_timeouts() -> None:
    """Neither the wait for a request nor the one for a body concerns a WebSocket."""
    options = ("--keep-alive", "2", "--timeout-head", "2", "--timeout-body", "2", "--ws-ping-interval", "0")
    with Server("ws_apps:probe", *options) as server, connect(server) as client:
        client.expect_silence(3.0)
        client.echo()
        client.finish()


# Context and the loop


def test_context_of_a_connection(ws: Server) -> None:
    """One for each connection, the same from its first message to its last."""
    with connect(ws, "/context") as one, connect(ws, "/context") as two:
        assert one.json() == [0, 1]
        assert two.json() == [0, 1]
        for number in range(2, 5):
            for client in (one, two):
                client.send(text("next"))
                assert client.json() == [0, number]
        one.finish()
        two.finish()


def test_asyncio_works_inside(ws: Server) -> None:
    with connect(ws, "/task") as client:
        assert client.json() == {"task": True, "child": "child"}
        client.finish()


def test_nothing_is_kept(ws: Server) -> None:
    """Connections that are over are freed."""
    for _ in range(30):
        with connect(ws) as client:
            client.echo()
            client.finish()
    for _ in range(100):
        with connect(ws, "/alive") as client:
            alive = client.json()
            client.finish()
        if alive <= 15:
            return
    pytest.fail(f"{alive} connections are still in memory")


# Disconnecting


@pytest.mark.parametrize("ending", ["close", "reset", "half-close"])
def test_client_vanishes(ws: Server, ending: str) -> None:
    """Without a Close it is 1006, which never stands on the wire (RFC 6455 7.1.5)."""
    name = unique()
    with connect(ws, f"/echo?name={name}") as client:
        client.echo()
        if ending == "reset":
            client.reset()
        elif ending == "half-close":
            client.half_close()
            ws.wait_event("disconnect", name=name)
            client.rest()
    event = ws.wait_event("disconnect", name=name)
    assert (event["code"], event["reason"] or "") == (ABNORMAL, "")


def test_client_vanishes_inside_a_frame(ws: Server) -> None:
    name = unique()
    with connect(ws, f"/echo?name={name}") as client:
        client.send(text("cut short")[:-3])
    assert ws.wait_event("disconnect", name=name)["code"] == ABNORMAL


def test_send_after_disconnect(ws: Server) -> None:
    """ASGI spec 2.4: an OSError; and `receive` says again that it is over."""
    name = unique()
    with connect(ws, f"/send-after-disconnect?name={name}") as client:
        client.finish()
    ws.wait_event("again", name=name, type="websocket.disconnect")
    assert [event["os_error"] for event in ws.events("raised", name=name)] == [True]
    assert not ws.events("silent", name=name)


def test_sending_to_a_client_that_left(ws: Server) -> None:
    """`send` raises OSError, which is how an application that only sends comes to its end."""
    name = unique()
    with connect(ws, f"/flood?name={name}") as client:
        client.message()
        client.reset()
    ws.wait_event("flood-ended", name=name)
    assert "ClientDisconnected" not in ws.log


# Closing from the application


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1008, 1011, 1013, 3000, 4999])
def test_application_closes(ws: Server, code: int) -> None:
    name = unique()
    with connect(ws, f"/close?code={code}&reason=gr%C3%BCn&name={name}") as client:
        found = client.closed()
        assert (found.code, found.reason) == (code, "gr\u00fcn")
        client.send(close(code))
        client.expect_end()
    assert ws.wait_event("after-end", name=name)["type"] == "websocket.disconnect"
    event = ws.wait_event("raised", name=name)
    assert event["text"], "an error without words helps nobody"


def test_application_closes_without_words(ws: Server) -> None:
    """1000 by default (ASGI spec, "Close"), after what was sent before."""
    with connect(ws, "/close?first=goodbye") as client:
        assert client.message() == "goodbye"
        found = client.closed()
        assert (found.code, found.reason) == (NORMAL, "")
        client.send(close())
        client.expect_end()


def test_client_that_goes_on_after_our_close(ws: Server) -> None:
    """Its messages and Pings were on their way; its Close still counts. A Ping may be answered all the same."""
    with connect(ws, "/close") as client:
        assert client.closed().code == NORMAL
        client.send(text("on its way") + frame(PING, b"and this") + close())
        assert client.rest() in (b"", frame(PONG, b"and this", key=None))


def test_client_that_does_not_answer_our_close() -> None:
    """RFC 6455 7.1.1: the server ends the connection itself, after --ws-close-timeout."""
    with (
        Server("ws_apps:probe", "--ws-close-timeout", "0.5") as server,
        connect(server, "/close?name=unanswered") as client,
    ):
        assert client.closed().code == NORMAL
        client.expect_end()
        server.wait_event("after-end", name="unanswered")


def test_client_that_ends_without_answering_our_close(ws: Server) -> None:
    with connect(ws, "/close") as client:
        assert client.closed().code == NORMAL
        client.half_close()
        client.expect_end()


# Errors of the application


@pytest.mark.parametrize("when", ["at-once", "before", "return-at-once", "return-before"])
def test_failure_before_accept(ws: Server, when: str) -> None:
    with connect(ws, None) as client:
        response = client.try_open(f"/fail?when={when}")
        assert response.status == 500
        assert b"purpose" not in response.body
    assert ws.alive()


@pytest.mark.parametrize("when", ["after", "message"])
def test_failure_after_accept(ws: Server, when: str) -> None:
    """1011 (RFC 6455 7.4.1), and a traceback in the log."""
    with connect(ws, f"/fail?when={when}") as client:
        client.send(text("trigger"))
        found = client.closed()
        assert found.code == INTERNAL_ERROR
        assert "purpose" not in found.reason
        client.send(close(INTERNAL_ERROR))
        client.expect_end()
    ws.wait_for_line("failed on purpose")
    assert ws.alive()


@pytest.mark.parametrize("when", ["return-after", "return-after-send"])
def test_application_that_returns(ws: Server, when: str) -> None:
    """The connection has no one left; that is an ordinary end, after what was sent."""
    with connect(ws, f"/fail?when={when}") as client:
        if when == "return-after-send":
            assert client.message() == "the last word"
        assert client.closed().code in (NORMAL, INTERNAL_ERROR)
        client.send(close())
        client.expect_end()


@pytest.mark.parametrize(
    "case",
    [
        "send-before-accept",
        "accept-twice",
        "http-start",
        "response-after-accept",
        "body-before-start",
        "accept-after-start",
        "unknown-type",
        "no-type",
        "none",
        "send-nothing",
        "send-nones",
        "text-is-bytes",
        "bytes-is-text",
        "text-surrogate",
        "close-code-999",
        "close-code-1004",
        "close-code-1006",
        "close-code-1015",
        "close-code-5000",
        "close-code-text",
        "close-reason-long",
        "subprotocol-injection",
        "subprotocol-not-offered",
        "header-injection",
        "header-is-ours",
    ],
)
def test_misuse(ws: Server, case: str) -> None:
    """A clear error where it is made; the client gets 500 before accept and 1011 after it."""
    with connect(ws, None) as client:
        client.send(client.handshake(f"/misuse?case={case}", "Sec-WebSocket-Protocol: offered"))
        response = client.head()
        if response.status == 101:
            assert response.get("x-injected") is None
            assert client.closed().code == INTERNAL_ERROR
        elif case != "accept-after-start":
            assert response.status == 500, response
            assert response.get("x-injected") is None
    event = ws.wait_event("refused", case=case)
    assert event["text"], "an error without words helps nobody"
    assert not ws.events("accepted", case=case)
    assert ws.alive()


def test_errors_of_send_can_be_handled(ws: Server) -> None:
    with connect(ws, "/recover") as client:
        assert client.message() == "recovered"
        client.finish()


# Stopping


def test_stopping() -> None:
    """Every client gets 1012 (service restart), every application its disconnect; then the lifespan ends."""
    with Server("ws_apps:probe") as server:
        clients = [connect(server, f"/echo?name=stop-{number}") for number in range(5)]
        try:
            for client in clients:
                client.echo()
            server.signal(signal.SIGTERM)
            for client in clients:
                assert client.closed().code == SERVICE_RESTART
                client.send(close(SERVICE_RESTART))
                client.expect_end()
        finally:
            for client in clients:
                client.close()
        assert server.wait() == 0
        for number in range(5):
            event = server.wait_event("disconnect", name=f"stop-{number}")
            assert event["code"] in (SERVICE_RESTART, GOING_AWAY)
        assert server.events("shutdown")


def test_stopping_beside_a_client_that_does_not_answer() -> None:
    """It costs --ws-close-timeout, not the grace period."""
    options = ("--ws-close-timeout", "0.5", "--graceful-timeout", "600")
    with Server("ws_apps:probe", *options) as server, connect(server, "/echo?name=mute") as client:
        client.echo()
        server.signal(signal.SIGTERM)
        assert client.closed().code == SERVICE_RESTART
        assert server.wait() == 0
        server.wait_event("disconnect", name="mute")


def test_stopping_before_accept() -> None:
    """A handshake that waits for its application is not cut at once: it may be answered within the grace period."""
    with Server("ws_apps:probe", "--graceful-timeout", "1") as server, connect(server, None) as client:
        client.send(client.handshake("/slow-accept?name=caught"))
        server.wait_event("waiting", name="caught")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


# The log


def test_access_log() -> None:
    """One line for each connection, with 101, or the status it was refused with."""
    with Server("ws_apps:probe", "--access-logfile", "/dev/stderr", "--access-log-flush", "0") as server:
        with connect(server, "/echo?in=log") as client:
            client.finish()
        with connect(server, None) as client:
            client.try_open("/reject?in=log")
        server.wait_for_line(r'"GET /echo\?in=log HTTP/1\.1" 101 ')
        server.wait_for_line(r'"GET /reject\?in=log HTTP/1\.1" 403 ')


def test_faults_of_clients_are_no_errors(ws: Server) -> None:
    """Nothing that a client does wrong is worth a traceback."""
    before = ws.log.count("Traceback")
    for wrong in (frame(3), frame(1, key=None), frame(1, b"\xff"), close(999), frame(8, b"x")):
        with connect(ws) as client:
            client.send(wrong)
            client.closed()
            client.expect_end()
    for _ in range(5):
        with connect(ws) as client:
            client.reset()
    assert ws.alive()
    assert ws.log.count("Traceback") == before


def test_policy_codes_reach_both_sides(ws: Server) -> None:
    """Every combination of who closes with which code."""
    for code, here in itertools.product((POLICY, 4400), (True, False)):
        name = unique()
        with connect(ws, f"/echo?name={name}" if here else f"/close?code={code}&name={name}") as client:
            if here:
                client.finish(code)
                assert ws.wait_event("disconnect", name=name)["code"] == code
            else:
                assert client.closed().code == code
                client.send(close(code))
                client.expect_end()
                assert ws.wait_event("after-end", name=name)["code"] in (code, NO_CODE, ABNORMAL, NORMAL)
