"""What the frames of a client have to be (RFC 6455 5), and the close codes (RFC 6455 7.4).

The kernel says what stands in a frame; here it is judged. What breaks a rule raises RemoteProtocolError with the close
code for it.
"""

from gateway.errors import LocalProtocolError, RemoteProtocolError

from ..http.codes import INVALID_DATA, NO_STATUS, PROTOCOL_ERROR
from ..kernels.masking import FrameHead
from .opcodes import BINARY, CLOSE, CONTINUATION, PONG, RSV1

# RFC 6455 5.5: bytes of a control frame's payload.
CONTROL_SIZE = 125


def check_frame(head: FrameHead, in_message: bool, compression: bool) -> int:
    """Judge the head of a client's frame. Raises RemoteProtocolError. Returns 0.

    `in_message`: a fragmented message has begun. `compression`: permessage-deflate was agreed on.
    """
    if not head.masked:
        # RFC 6455 5.1
        raise RemoteProtocolError("frame without a mask", PROTOCOL_ERROR)
    if head.length < 0 or not head.minimal:
        # RFC 6455 5.2
        raise RemoteProtocolError("malformed frame length", PROTOCOL_ERROR)
    opcode = head.opcode
    if opcode > BINARY:
        return check_control(head)
    if head.rsv and (head.rsv != RSV1 or not compression or opcode == CONTINUATION):
        # RFC 6455 5.2; RFC 7692 6.1: on the first frame of a message only.
        raise RemoteProtocolError("reserved bits are set", PROTOCOL_ERROR)
    # RFC 6455 5.4
    if opcode == CONTINUATION:
        if not in_message:
            raise RemoteProtocolError("continuation of no message", PROTOCOL_ERROR)
    elif in_message:
        raise RemoteProtocolError("a message inside another", PROTOCOL_ERROR)
    return 0


def check_control(head: FrameHead) -> int:
    """Judge the head of a control frame (RFC 6455 5.5), or of one with an opcode that is none. Returns 0."""
    if head.rsv:
        raise RemoteProtocolError("reserved bits are set", PROTOCOL_ERROR)
    if head.opcode < CLOSE or head.opcode > PONG:
        raise RemoteProtocolError("unknown opcode", PROTOCOL_ERROR)
    if not head.fin:
        raise RemoteProtocolError("fragmented control frame", PROTOCOL_ERROR)
    if head.length < 0 or head.length > CONTROL_SIZE:
        raise RemoteProtocolError("control frame too long", PROTOCOL_ERROR)
    return 0


def may_be_sent(code: int) -> bool:
    """Whether a Close frame may have this close code (RFC 6455 7.4.2, and IANA's registry)."""
    return (1000 <= code <= 1014 and not 1004 <= code <= 1006) or 3000 <= code <= 4999


def read_close(payload: bytes) -> tuple:
    """The code and the reason of a Close frame (RFC 6455 5.5.1); without a code it is 1005 (7.1.5).

    Raises RemoteProtocolError.
    """
    if not payload:
        return NO_STATUS, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not may_be_sent(code):
        raise RemoteProtocolError("malformed close code", PROTOCOL_ERROR)
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        # RFC 6455 8.1
        raise RemoteProtocolError("the reason for closing is not UTF-8", INVALID_DATA) from None


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a Close frame; none for 1005. Raises LocalProtocolError for what may not be sent."""
    if code == NO_STATUS:
        return b""
    if not may_be_sent(code):
        raise LocalProtocolError(f"a WebSocket can't be closed with code {code}")
    payload = code.to_bytes(2, "big") + reason.encode()
    if len(payload) > CONTROL_SIZE:
        raise LocalProtocolError("the reason for closing a WebSocket has at most 123 bytes")
    return payload
