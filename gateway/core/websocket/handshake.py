"""The opening handshake of WebSocket (RFC 6455 4): which request asks for one, what it must say, what answers it.

Rule 1: a request that asks for no WebSocket connection, or does so in a way that must not count, is an ordinary request
(RFC 9110 7.8: a server may ignore Upgrade). One that asks must be right in everything, or it is refused: RFC 6455 4.2.1
has a server stop where a handshake does not match its description.
Rule 2: what HTTP/1.1 alone has (Upgrade, Connection, the key) stands apart from what every version of HTTP has: the
protocol's version, subprotocols and extensions, which are taken as the values of a field (RFC 8441 5).
"""

import re
from base64 import b64encode
from hashlib import sha1

from gateway.errors import LocalProtocolError, RemoteProtocolError

from ..kernels.fields import FieldBlock
from ..kernels.head import OPTION_UPGRADE, RequestHead

# RFC 6455 4.2.2: what a key is hashed with.
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# RFC 6455 4.1: 16 bytes in base64 (RFC 4648 4). Of the last letter two bits are data, and the others are zero.
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")

# RFC 6455 4.3: Sec-WebSocket-Protocol = 1#token.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SUBPROTOCOL = re.compile(_TOKEN)

# RFC 6455 9.1: extension = extension-token *( ";" extension-param ), extension-param = token [ "=" (token |
# quoted-string) ], where what is quoted must be a token too. RFC 2616 2.1, which that grammar builds on, allows white
# space between any two words; and a list may have empty members.
_NEXT_MEMBER = re.compile(rb"[ \t,]*")
_EXTENSION = re.compile(rb"(" + _TOKEN + rb")[ \t]*")
_PARAMETER = re.compile(
    rb";[ \t]*(" + _TOKEN + rb")[ \t]*"
    rb"(?:=[ \t]*(?:(" + _TOKEN + rb')|"((?:\\?[!#$%&\'*+\-.^_`|~0-9A-Za-z])+)")[ \t]*)?'
)

# Fields of a response that are the server's to write: they say what was agreed.
_RESERVED = frozenset((b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"))

# RFC 6455 4.2.2, 4.4: what tells a client of another version which one is spoken here; RFC 9110 15.5.22 wants the
# Upgrade field in a 426, and 7.8 the connection option beside it.
UPGRADE_REQUIRED = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Version", b"13"))


class Handshake:
    """What a client asks for, found in order.

    `key` is HTTP/1.1's Sec-WebSocket-Key, `subprotocols` are the client's in its order of preference, `extensions` its
    offers as `parse_extensions` returns them.
    """

    __slots__ = ("extensions", "key", "subprotocols")

    def __init__(self, key: bytes, subprotocols: list, extensions: list) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.extensions = extensions


def is_websocket(head: RequestHead) -> bool:
    """Whether a request of HTTP/1 asks for a WebSocket connection, rightly or wrongly; else it is an ordinary one.

    RFC 9110 7.8: Upgrade counts with the connection option beside it, without which it may be another hop's, and not in
    HTTP/1.0. It may list other protocols too, of which "websocket" is the one known here; and a method other than GET
    does not make it an ordinary request, `check_handshake` refuses that.
    """
    if not head.has_upgrade or not head.minor or not head.connection_options & OPTION_UPGRADE:
        return False
    for value in head.get_all(b"upgrade"):
        for protocol in value.split(b","):
            if protocol.strip(b" \t").lower() == b"websocket":
                return True
    return False


def check_handshake(head: RequestHead) -> Handshake:
    """Judge a request of HTTP/1.1 that `is_websocket`, and whose fields and framing were judged already.

    Raises RemoteProtocolError with the status that answers it, and the fields that must go with that.
    """
    if head.method != "GET":
        raise RemoteProtocolError("WebSocket handshake that is no GET", 405, ((b"Allow", b"GET"),))
    # What follows the head is taken for frames; a peer on the way that takes it for content sees other messages.
    if head.content_length > 0 or head.transfer_encoding_count:
        raise RemoteProtocolError("WebSocket handshake with content", 400)
    # Before the key: clients of the drafts that came before version 13 had other ones.
    check_version(head.get_all(b"sec-websocket-version"))
    key = check_key(head.get_all(b"sec-websocket-key"))
    subprotocols = parse_subprotocols(head.get_all(b"sec-websocket-protocol"))
    return Handshake(key, subprotocols, parse_extensions(head.get_all(b"sec-websocket-extensions")))


def check_version(values: list) -> int:
    """Judge Sec-WebSocket-Version. Raises RemoteProtocolError. Returns 0."""
    # RFC 6455 11.3.5: not more than once in a request.
    if len(values) > 1:
        raise RemoteProtocolError("repeated Sec-WebSocket-Version", 400)
    if not values or values[0] != b"13":
        raise RemoteProtocolError("another version of WebSocket than 13", 426, UPGRADE_REQUIRED)
    return 0


def check_key(values: list) -> bytes:
    """The key in Sec-WebSocket-Key. Raises RemoteProtocolError."""
    # RFC 6455 11.3.1: not more than once in a request.
    if len(values) != 1:
        raise RemoteProtocolError("repeated Sec-WebSocket-Key" if values else "missing Sec-WebSocket-Key", 400)
    key: bytes = values[0]
    if _KEY.fullmatch(key) is None:
        raise RemoteProtocolError("malformed Sec-WebSocket-Key", 400)
    return key


def parse_subprotocols(values: list) -> list:
    """The subprotocols that the Sec-WebSocket-Protocol fields with these values list, as str.

    Raises RemoteProtocolError.
    """
    subprotocols = []
    for value in values:
        for member in value.split(b","):
            name = member.strip(b" \t")
            # RFC 9110 5.6.1.2: empty members are ignored.
            if not name:
                continue
            if _SUBPROTOCOL.fullmatch(name) is None:
                raise RemoteProtocolError("malformed Sec-WebSocket-Protocol", 400)
            subprotocols.append(name.decode("ascii"))
    # RFC 6455 4.1: no two the same. That there is at least one is not insisted on: a field without any says none.
    if len(set(subprotocols)) != len(subprotocols):
        raise RemoteProtocolError("malformed Sec-WebSocket-Protocol", 400)
    return subprotocols


def parse_extensions(values: list) -> list:
    """The extensions that the Sec-WebSocket-Extensions fields with these values list (RFC 6455 9.1).

    Each is its name and a tuple of parameters, each of these its name and value: b"" for none, which no value is. All
    are bytes, and names as sent: they are compared with case. Raises RemoteProtocolError.
    """
    extensions = []
    for value in values:
        # A field without any is no error, the `websockets` library sends it.
        position = _NEXT_MEMBER.match(value).end()
        while position < len(value):
            match = _EXTENSION.match(value, position)
            if match is None:
                raise RemoteProtocolError("malformed Sec-WebSocket-Extensions", 400)
            name = match[1]
            position = match.end()
            parameters = []
            match = _PARAMETER.match(value, position)
            while match is not None:
                parameters.append((match[1], match[2] or (match[3] or b"").replace(b"\\", b"")))
                position = match.end()
                match = _PARAMETER.match(value, position)
            extensions.append((name, tuple(parameters)))
            if position < len(value) and value[position : position + 1] != b",":
                raise RemoteProtocolError("malformed Sec-WebSocket-Extensions", 400)
            position = _NEXT_MEMBER.match(value, position).end()
    return extensions


def accept_key(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers a key (RFC 6455 4.2.2)."""
    return b64encode(sha1(key + ACCEPT_GUID, usedforsecurity=False).digest())


def switching_fields(key: bytes) -> bytes:
    """The field lines that a 101 must have in HTTP/1.1 (RFC 6455 4.2.2)."""
    return b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept_key(key) + b"\r\n"


def agreed_fields(handshake: Handshake, subprotocol: object, extensions: bytes) -> bytes:
    """The field lines that tell the client what was agreed.

    `subprotocol` is the application's choice, a str or None. `extensions` is the value of Sec-WebSocket-Extensions, b""
    for none. Raises LocalProtocolError.
    """
    lines = b""
    if subprotocol is not None:
        # RFC 6455 4.2.2: one of the client's. With any other it would fail the connection (4.1), and nobody would know
        # why. The message leaves it out: some clients send credentials as subprotocols.
        if subprotocol not in handshake.subprotocols:
            raise LocalProtocolError("the application chose a subprotocol that the client has not offered")
        lines = b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii") + b"\r\n"
    if extensions:
        lines += b"Sec-WebSocket-Extensions: " + extensions + b"\r\n"
    return lines


def check_accept_fields(block: FieldBlock) -> int:
    """Judge the fields that the application gives with `websocket.accept`. Raises LocalProtocolError. Returns 0."""
    for name, _ in block.fields:
        if name in _RESERVED:
            raise LocalProtocolError(f"{name.decode('ascii')} is the server's to send, and not for the application")
    return 0
