"""The opening handshake of WebSocket, on both builds: RFC 6455 4.1, 4.2, 9.1, 11.3, and a client of another make."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import parse_extension, parse_subprotocol
from websockets.uri import parse_uri

from gateway.backend import Backend
from gateway.core.kernels import grammar as codes
from gateway.errors import LocalProtocolError, RemoteProtocolError

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

# RFC 6455 1.2, with the version that the example on the wire has.
EXAMPLE = {
    b"Host": [b"server.example.com"],
    b"Upgrade": [b"websocket"],
    b"Connection": [b"Upgrade"],
    b"Sec-WebSocket-Key": [KEY],
    b"Origin": [b"http://example.com"],
    b"Sec-WebSocket-Protocol": [b"chat, superchat"],
    b"Sec-WebSocket-Version": [b"13"],
}


def head_of(build: Backend, raw: bytes) -> Any:
    buffer = build.module("kernels.buffer").InputBuffer()
    head = build.module("kernels.head").RequestHead()
    buffer.feed(raw)
    assert head.parse(buffer, 8190, 100, 8190, 65536) == codes.DONE
    return head


def head(build: Backend, line: bytes = b"GET /chat HTTP/1.1", **changes: list[bytes] | bytes | None) -> Any:
    """The example's head with fields replaced: `Sec_WebSocket_Key=b"x"`, a list for several lines, None for none."""
    fields = dict(EXAMPLE)
    for name, values in changes.items():
        key = name.replace("_", "-").encode()
        fields[key] = [] if values is None else values if isinstance(values, list) else [values]
    lines = [name + b": " + value for name, values in fields.items() for value in values]
    return head_of(build, b"\r\n".join((line, *lines)) + b"\r\n\r\n")


def check(build: Backend, *args: Any, **changes: Any) -> Any:
    return build.module("websocket.handshake").check_handshake(head(build, *args, **changes))


def refused(build: Backend, *args: Any, **changes: Any) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        check(build, *args, **changes)
    return caught.value


# -- What asks for a WebSocket connection


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Upgrade": b"WebSocket"},
        {"Upgrade": b"WEBSOCKET"},
        {"Upgrade": b"h2c, websocket"},
        {"Upgrade": b"websocket\t, h2c"},
        {"Upgrade": [b"h2c", b"websocket"]},
        {"Upgrade": b",, websocket"},
        {"Connection": b"keep-alive, Upgrade"},
        {"Connection": [b"keep-alive", b"upgrade"]},
        # RFC 6455 4.2.1: wrong handshakes, but handshakes.
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Version": b"8"},
        {"line": b"POST / HTTP/1.1"},
        {"line": b"GET / HTTP/1.9"},
    ],
)
def test_a_handshake(build: Backend, changes: dict[str, Any]) -> None:
    assert build.module("websocket.handshake").is_websocket(head(build, **changes)) is True


@pytest.mark.parametrize(
    "changes",
    [
        # RFC 9110 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
        {"line": b"GET / HTTP/1.0"},
        # Without the connection option it is some other hop's.
        {"Connection": None},
        {"Connection": b"keep-alive"},
        {"Connection": b"Upgrades"},
        {"Upgrade": None},
        {"Upgrade": b"h2c"},
        {"Upgrade": b"websockets"},
        {"Upgrade": b"websocket/13"},
        {"Upgrade": b"web socket"},
        {"Upgrade": b'"websocket"'},
        {"Upgrade": b""},
    ],
)
def test_an_ordinary_request(build: Backend, changes: dict[str, Any]) -> None:
    assert build.module("websocket.handshake").is_websocket(head(build, **changes)) is False


# -- What a handshake must say


def test_the_example(build: Backend) -> None:
    handshake = check(build)
    assert handshake.key == KEY
    assert handshake.subprotocols == ["chat", "superchat"]
    assert handshake.extensions == []
    kernel = build.module("websocket.handshake")
    assert kernel.accept_key(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert kernel.switching_fields(KEY) == (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    )


@pytest.mark.parametrize("method", [b"POST", b"HEAD", b"OPTIONS", b"get", b"PATCH"])
def test_only_get(build: Backend, method: bytes) -> None:
    error = refused(build, method + b" / HTTP/1.1")
    assert error.status == 405
    assert error.fields == ((b"Allow", b"GET"),)


@pytest.mark.parametrize(("name", "value"), [("Content_Length", b"5"), ("Transfer_Encoding", b"chunked")])
def test_no_content(build: Backend, name: str, value: bytes) -> None:
    assert refused(build, **{name: value}).status == 400


def test_no_content_said(build: Backend) -> None:
    assert check(build, Content_Length=b"0").key == KEY


@pytest.mark.parametrize("version", [None, b"8", b"7", b"0", b"14", b"13, 8", b"013", b"+13", b"13.0", b"", b"abc"])
def test_another_version(build: Backend, version: bytes | None) -> None:
    """RFC 6455 4.2.2 and 4.4; RFC 9110 15.5.22 and 7.8."""
    error = refused(build, Sec_WebSocket_Version=version)
    assert error.status == 426
    assert dict(error.fields) == {
        b"Sec-WebSocket-Version": b"13",
        b"Upgrade": b"websocket",
        b"Connection": b"Upgrade",
    }


def test_an_old_client_learns_the_version_first(build: Backend) -> None:
    assert refused(build, Sec_WebSocket_Version=b"8", Sec_WebSocket_Key=None).status == 426


def test_repeated_version(build: Backend) -> None:
    assert refused(build, Sec_WebSocket_Version=[b"13", b"13"]).status == 400


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        [KEY, KEY],
        KEY[:-1],
        KEY[:-2],
        KEY + b"=",
        KEY + b", " + KEY,
        b" ".join((KEY[:12], KEY[12:])),
        KEY.replace(b"=", b"A"),
        KEY.replace(b"d", b"-"),
        KEY.replace(b"d", b"_"),
        b"A" * 20 + b"====",
        b"AAAAAAAAAAAAAAAAAAAAAB==",  # bits beyond the 16 bytes
        base64.b64encode(b"x" * 15),
        base64.b64encode(b"x" * 17),
        b"SGVsbG8sIHdvcmxkIQ==",
    ],
)
def test_bad_key(build: Backend, key: Any) -> None:
    assert refused(build, Sec_WebSocket_Key=key).status == 400


def test_every_key_of_sixteen_bytes(build: Backend) -> None:
    rng = random.Random(6455)
    for _ in range(300):
        key = base64.b64encode(rng.randbytes(16))
        assert build.module("websocket.handshake").check_key([key]) == key


# -- Subprotocols


@pytest.mark.parametrize(
    ("values", "subprotocols"),
    [
        (None, []),
        ([b"chat"], ["chat"]),
        ([b"chat,superchat"], ["chat", "superchat"]),
        ([b"chat\t ,  superchat"], ["chat", "superchat"]),
        # RFC 6455 11.3.4: may stand in several lines.
        ([b"chat", b"v2.chat, Chat"], ["chat", "v2.chat", "Chat"]),
        ([b", chat,,", b""], ["chat"]),
        ([b""], []),
        ([b",", b""], []),
        ([b"base64url.bearer.authorization.k8s.io.eyJh~"], ["base64url.bearer.authorization.k8s.io.eyJh~"]),
    ],
)
def test_subprotocols(build: Backend, values: Any, subprotocols: list[str]) -> None:
    assert check(build, Sec_WebSocket_Protocol=values).subprotocols == subprotocols


@pytest.mark.parametrize(
    "values",
    [[b"a b"], [b'"chat"'], [b"chat/2"], [b"chat;x=1"], [b"a,b,a"], [b"a", b"a"], [b"caf\xe9"]],
)
def test_bad_subprotocols(build: Backend, values: list[bytes]) -> None:
    assert refused(build, Sec_WebSocket_Protocol=values).status == 400


def test_the_application_chooses(build: Backend) -> None:
    kernel = build.module("websocket.handshake")
    handshake = check(build)
    assert kernel.agreed_fields(handshake, None, b"") == b""
    assert kernel.agreed_fields(handshake, "superchat", b"") == b"Sec-WebSocket-Protocol: superchat\r\n"
    assert kernel.agreed_fields(handshake, "chat", b"permessage-deflate") == (
        b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    )


@pytest.mark.parametrize("choice", ["", "Chat", "other", "chat, superchat", "chat\r\nX: y", b"chat", 5])
def test_the_application_chooses_wrong(build: Backend, choice: Any) -> None:
    with pytest.raises(LocalProtocolError, match="has not offered"):
        build.module("websocket.handshake").agreed_fields(check(build), choice, b"")


@pytest.mark.parametrize("name", [b"sec-websocket-accept", b"Sec-WebSocket-Extensions", b"SEC-WEBSOCKET-PROTOCOL"])
def test_fields_that_are_not_the_applications(build: Backend, name: bytes) -> None:
    kernel = build.module("websocket.handshake")
    encode = build.module("http.fields").response_block
    assert kernel.check_accept_fields(encode([(b"set-cookie", b"a=b")])) == 0
    with pytest.raises(LocalProtocolError, match="sec-websocket-"):
        kernel.check_accept_fields(encode([(b"set-cookie", b"a=b"), (name, b"x")]))


# -- Extensions

DEFLATE = b"permessage-deflate"


@pytest.mark.parametrize(
    ("values", "extensions"),
    [
        (None, []),
        # RFC 6455 9.1
        ([b"foo", b"bar; baz=2"], [(b"foo", ()), (b"bar", ((b"baz", b"2"),))]),
        ([b"foo, bar; baz=2"], [(b"foo", ()), (b"bar", ((b"baz", b"2"),))]),
        ([b"deflate-stream"], [(b"deflate-stream", ())]),
        (
            [b"mux; max-channels=4; flow-control, deflate-stream"],
            [(b"mux", ((b"max-channels", b"4"), (b"flow-control", b""))), (b"deflate-stream", ())],
        ),
        ([b"private-extension"], [(b"private-extension", ())]),
        # RFC 7692 7.1
        ([DEFLATE], [(DEFLATE, ())]),
        (
            [DEFLATE + b"; client_max_window_bits; server_max_window_bits=10"],
            [(DEFLATE, ((b"client_max_window_bits", b""), (b"server_max_window_bits", b"10")))],
        ),
        (
            [DEFLATE + b'; client_max_window_bits="10", ' + DEFLATE],
            [(DEFLATE, ((b"client_max_window_bits", b"10"),)), (DEFLATE, ())],
        ),
        ([b'x; a="b\\c\\1"'], [(b"x", ((b"a", b"bc1"),))]),
        ([b"x;a;a=1 ; a\t=\t2"], [(b"x", ((b"a", b""), (b"a", b"1"), (b"a", b"2")))]),
        ([b", x ,,y;z,", b""], [(b"x", ()), (b"y", ((b"z", b""),))]),
        ([b""], []),
        ([b", ,", b""], []),
        ([b"X;Y=Z"], [(b"X", ((b"Y", b"Z"),))]),
    ],
)
def test_extensions(build: Backend, values: Any, extensions: list[Any]) -> None:
    assert check(build, Sec_WebSocket_Extensions=values).extensions == extensions


@pytest.mark.parametrize(
    "values",
    [
        [b";"],
        [b"x;"],
        [b"x;,y"],
        [b"x y"],
        [b"x;a b"],
        [b"x;a="],
        [b"x;a=;b"],
        [b'x;a=""'],
        [b'x;a="b'],
        [b'x;a="b\\"'],
        [b'x;a="b c"'],
        [b'x;a="b,c"'],
        [b'x;a="b\\"c"'],
        [b'x;a="b"c'],
        [b'"x"'],
        [b"x;=a"],
        [b"x=1"],
        [b"x;a=b=c"],
        [b"x;a=caf\xe9"],
        [b"x/1"],
        # What is quoted does not go on in the next line.
        [b'x;a="b', b'c"'],
        [b"x", b";a"],
    ],
)
def test_bad_extensions(build: Backend, values: list[bytes]) -> None:
    """RFC 6455 9.1: what does not follow the grammar fails the connection."""
    assert refused(build, Sec_WebSocket_Extensions=values).status == 400


def test_lists_are_read_as_by_others(build: Backend) -> None:
    """Random lists: `websockets` reads the same from them, or finds the same of them wrong."""
    kernel = build.module("websocket.handshake")
    rng = random.Random(69)
    words = [b"a", b"b2", b"permessage-deflate", b";", b";", b",", b"=", b'"c"', b'"d', b"\\", b" ", b"\t", b"10"]
    agreed = 0
    for _ in range(6000):
        line = b"".join(rng.choices(words, k=rng.randrange(1, 9))).strip(b" \t")
        try:
            ours = [
                (name.decode(), [(key.decode(), value.decode() or None) for key, value in parameters])
                for name, parameters in kernel.parse_extensions([line])
            ]
        except RemoteProtocolError:
            ours = None
        try:
            theirs = parse_extension(line.decode())
        except Exception:
            theirs = None
        # Which wants one at least.
        assert (ours or None) == theirs, line
        agreed += ours is not None
        try:
            ours = kernel.parse_subprotocols([line])
        except RemoteProtocolError:
            ours = None
        try:
            theirs = parse_subprotocol(line.decode())
            # Which lets a name stand twice.
            theirs = theirs if len(set(theirs)) == len(theirs) else None
        except Exception:
            theirs = None
        assert (ours or None) == theirs, line
    assert agreed > 500


def test_hostile_lists_take_no_time(build: Backend) -> None:
    """Nothing here goes back over what it has read; a list as long as a field may be is read at once."""
    kernel = build.module("websocket.handshake")
    for line in (
        b"x;a=" + b'"' + b"\\b" * 4000,
        b"x" + b" " * 8000 + b"y",
        b"x;" + b"a" * 8000 + b"=",
        b"," * 8000 + b";",
        b"x;a" * 2600 + b";",
    ):
        with pytest.raises(RemoteProtocolError):
            kernel.parse_extensions([line])


# -- A client of another make


@pytest.mark.parametrize("compressed", [False, True])
def test_a_client_is_content(build: Backend, compressed: bool) -> None:
    kernel = build.module("websocket.handshake")
    extensions = [ClientPerMessageDeflateFactory(client_max_window_bits=True)] if compressed else []
    client = ClientProtocol(parse_uri("ws://x/chat"), subprotocols=["v1", "v2"], extensions=extensions)
    client.send_request(client.connect())
    request = head_of(build, b"".join(client.data_to_send()))
    assert kernel.is_websocket(request)
    handshake = kernel.check_handshake(request)
    assert handshake.subprotocols == ["v1", "v2"]
    chosen = kernel.agreed_fields(handshake, "v2", DEFLATE if compressed else b"")
    client.receive_data(
        b"HTTP/1.1 101 Switching Protocols\r\n" + kernel.switching_fields(handshake.key) + chosen + b"\r\n"
    )
    [_] = client.events_received()
    assert client.handshake_exc is None
    assert client.subprotocol == "v2"
    assert len(client.extensions) == compressed
