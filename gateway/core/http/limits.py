"""What one peer may cost: sizes in bytes or items, waits in seconds. 0 switches a limit off.

Three are not limits but allowances, of which 0 means none: `empty_lines`, `unread_body` and `linger`.

The defaults are those a server needs that faces the Internet with nothing in front of it; each names the value its
peers chose, where there is a custom to follow.
"""


class Limits:
    """Sizes and counts; see the comment at each. All integers."""

    __slots__ = (
        "request_line",
        "request_fields",
        "request_field_size",
        "request_fields_size",
        "request_body",
        "empty_lines",
        "chunk_line",
        "chunk_excess",
        "body_buffer",
        "write_buffer",
        "response_buffer",
        "unread_body",
        "linger",
        "upload_rate",
        "pipeline_buffer",
        "pipeline_burst",
        "connection_requests",
        "connections",
        "concurrency",
        "websocket_message",
        "websocket_frame",
        "websocket_fragments",
        "websocket_queue",
    )

    def __init__(
        self,
        *,
        request_line: int = 8190,
        request_fields: int = 100,
        request_field_size: int = 8190,
        request_fields_size: int = 65536,
        request_body: int = 0,
        empty_lines: int = 2,
        chunk_line: int = 4096,
        chunk_excess: int = 16384,
        body_buffer: int = 65536,
        write_buffer: int = 65536,
        response_buffer: int = 262144,
        unread_body: int = 65536,
        linger: int = 16777216,
        upload_rate: int = 240,
        pipeline_buffer: int = 65536,
        pipeline_burst: int = 32,
        connection_requests: int = 1000,
        connections: int = 16384,
        concurrency: int = 4096,
        websocket_message: int = 16777216,
        websocket_frame: int = 0,
        websocket_fragments: int = 131072,
        websocket_queue: int = 65536,
    ) -> None:
        # Bytes of a request line without its line end: Apache's figure, and gunicorn's upper bound.
        self.request_line = request_line
        # Field lines in one head or one trailer section: gunicorn's and Apache's figure.
        self.request_fields = request_fields
        # Bytes of one field line without its line end.
        self.request_field_size = request_field_size
        # Bytes of all field lines of one head, so that 100 large fields do not make 800 kB.
        self.request_fields_size = request_fields_size
        # Bytes of content; above it 413. Off: an upload's size is the application's business.
        self.request_body = request_body
        # Empty lines tolerated before a request line (RFC 9112 2.2 asks for at least one).
        self.empty_lines = empty_lines
        # Bytes of one chunk-size line with its extensions.
        self.chunk_line = chunk_line
        # Bytes by which chunk framing may exceed what honest chunking needs, over one body.
        self.chunk_excess = chunk_excess
        # Bytes of content held for an application that does not read; then the peer is paused. Also what is read
        # of a body before a WSGI thread is spent on it.
        self.body_buffer = body_buffer
        # Bytes queued for a peer that does not read, above which ASGI's `send` waits.
        self.write_buffer = write_buffer
        # Bytes of a WSGI response that may be queued with its thread already free.
        self.response_buffer = response_buffer
        # Bytes of content the application left unread that are discarded to keep the connection.
        self.unread_body = unread_body
        # Bytes discarded from a peer after our last response, so that it gets to read it (RFC 9112 9.6). Many clients
        # send a whole upload before they look at the answer, be it 413. Receiving is cheap; Timeouts.linger ends it.
        self.linger = linger
        # Bytes per second a body must arrive with, after a grace period (Timeouts.upload_grace).
        self.upload_rate = upload_rate
        # Bytes of pipelined requests held while one runs; then the peer is paused.
        self.pipeline_buffer = pipeline_buffer
        # Pipelined requests served in one turn of the loop.
        self.pipeline_burst = pipeline_burst
        # Requests on one connection before it is closed: nginx's figure.
        self.connection_requests = connection_requests
        # Open connections in one process; above it 503.
        self.connections = connections
        # Requests running in one process; above it 503.
        self.concurrency = concurrency
        # Bytes of a WebSocket message, decompressed; above it 1009. uvicorn's figure.
        self.websocket_message = websocket_message
        # Bytes of a frame's payload, as sent; above it 1009. Off: the message's limit holds for its frames too.
        self.websocket_frame = websocket_frame
        # Frames of a message; above it 1009. Each may be empty, so that the message's size is no limit for them. Twice
        # what Autobahn's longest case sends: 4 MiB in frames of 64 bytes.
        self.websocket_fragments = websocket_fragments
        # Bytes of messages held for an application that does not receive; then the peer is paused. One message, of
        # whatever size, can always be held.
        self.websocket_queue = websocket_queue


class Timeouts:
    """Waits, in seconds; see the comment at each. All floats, 0 = no limit."""

    __slots__ = (
        "head",
        "body",
        "write",
        "keep_alive",
        "linger",
        "upload_grace",
        "half_close",
        "request",
        "websocket_ping",
        "websocket_pong",
        "websocket_close",
    )

    def __init__(
        self,
        *,
        head: float = 10.0,
        body: float = 30.0,
        write: float = 30.0,
        keep_alive: float = 5.0,
        linger: float = 5.0,
        upload_grace: float = 5.0,
        half_close: float = 0.5,
        request: float = 0.0,
        websocket_ping: float = 20.0,
        websocket_pong: float = 20.0,
        websocket_close: float = 5.0,
    ) -> None:
        # From the first byte of a head, or from the opening of a connection, to the head's end.
        self.head = head
        # Without a byte of content while we are ready to receive.
        self.body = body
        # Without a byte taken by the peer while output is queued.
        self.write = write
        # Idle between two requests.
        self.keep_alive = keep_alive
        # From our last response to the close, at most (RFC 9112 9.6).
        self.linger = linger
        # Receiving time before `Limits.upload_rate` is judged.
        self.upload_grace = upload_grace
        # From the peer's end of input to `http.disconnect`: a peer that only closed its sending half gets its
        # response, one that left is noticed. No system call tells the two apart before something is sent.
        self.half_close = half_close
        # From a request's head until the application has made all of its response; then it is taken back. Off: how
        # long a request may take only the application knows. Neither a stream of events nor a WebSocket has to end.
        self.request = request
        # Between two pings to a WebSocket peer; 0: none. Shorter than the idle time of the usual proxies (60 s),
        # which would close a connection that is merely quiet.
        self.websocket_ping = websocket_ping
        # From a ping to its pong; after it the peer counts as gone.
        self.websocket_pong = websocket_pong
        # From our Close frame to the peer's, or to its end of input (RFC 6455 7.1.1).
        self.websocket_close = websocket_close
