"""WebSocket connections: their limits, timeouts and compression."""

from .. import values
from .option import Option, limit, size, table, timeout

OPTIONS = table(
    "WebSocket",
    Option(
        "ws",
        values.TEXT,
        "auto",
        "auto: ASGI applications get WebSocket connections; none: they get the opening handshake as an ordinary "
        "request, as WSGI applications always do",
        choices=("auto", "none"),
    ),
    size(
        "ws_max_size",
        "websocket_message",
        16777216,
        "one message, after decompression; above it the connection closes with 1009",
    ),
    size(
        "ws_max_frame_size",
        "websocket_frame",
        0,
        "the payload of one frame, as sent; above it the connection closes with 1009. --ws-max-size holds anyway",
    ),
    limit(
        "ws_max_fragments",
        "websocket_fragments",
        131072,
        "frames that one message may come in; above it the connection closes with 1009",
    ),
    size(
        "ws_max_queue_size",
        "websocket_queue",
        65536,
        "messages held for an application that does not receive; one of any size is held",
    ),
    timeout(
        "ws_ping_interval",
        "timeouts.websocket_ping",
        20.0,
        "between two pings to the client",
    ),
    timeout(
        "ws_ping_timeout",
        "timeouts.websocket_pong",
        20.0,
        "from a ping to its pong; after it the client counts as gone",
    ),
    timeout(
        "ws_close_timeout",
        "timeouts.websocket_close",
        5.0,
        "from our Close frame to the client's, at most",
    ),
    Option(
        "ws_per_message_deflate",
        values.SWITCH,
        True,
        "compress messages where the client offers it (permessage-deflate)",
    ),
    Option(
        "ws_deflate_memory",
        values.SIZE,
        65536,
        "most memory for the compression of one connection; the windows, in both directions, follow from it. 64K is "
        "enough for 4 KiB windows, 320K for the largest. Taken with the first compressed message",
        unit="bytes",
        minimum=24576,
    ),
    size(
        "ws_deflate_min_size",
        "",
        128,
        "messages below it are not compressed",
    ),
)
