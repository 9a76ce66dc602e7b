"""HTTPStream: one exchange, the same for every version of HTTP.

The connection puts the request's content in, the responder (ASGI cycle or WSGI task) takes it out and sends the
response. Rules that hold for every version of HTTP stand here: the order of head, content and trailers; that
content matches Content-Length; that nothing is sent once nobody reads it. What goes over the wire, and when, is the
connection's.

Rule 1: only the loop's thread calls anything here, but for `send_head` and `send_now`, with which a worker thread
may send a response of its own; whoever lets it sees to it that the loop does not disconnect the stream meanwhile.
Rule 2: `disconnected` is final. After it the application's calls raise ClientDisconnected and change nothing.
"""

from gateway.errors import ClientDisconnected, LocalProtocolError

from ..kernels.base import Connection, Stream
from ..kernels.fields import FieldBlock
from ..kernels.head import RequestHead
from ..kernels.target import ASTERISK_FORM
from .fields import response_block
from .framing import lacks_content, response_length
from .mounts import Mount, begins_with
from .service import Service
from .status import error_text

EVENT_STREAM = b"text/event-stream"


class HTTPStream(Stream):
    """One request and its response.

    For the responder to read: `head`, `client` and `server` ((host, port) tuples, or None on a Unix socket),
    `scheme`, `root_path`, `mount` (which of several applications it is for, or None) and then `received_root` (the part
    of `root_path` that the path begins with, as a proxy may have removed the rest), `request_length` (bytes, -1 when
    not known in advance), `body_complete`, `body_size` (bytes that `take_body` would return), `writable` (False while
    the peer's queue is above its high-water mark), `disconnected`, `peer_closed`, `response_started`,
    `response_complete`.
    """

    __slots__ = (
        "block",
        "body_complete",
        "body_parts",
        "body_sent",
        "body_size",
        "client",
        "connection",
        "content_done",
        "disconnected",
        "due",
        "environ",
        "expect_continue",
        "expect_trailers",
        "finished",
        "head",
        "head_sent",
        "is_head",
        "mount",
        "no_content",
        "peer_closed",
        "reason",
        "received_root",
        "request_length",
        "responder",
        "response_complete",
        "response_length",
        "response_started",
        "root_path",
        "scheme",
        "server",
        "service",
        "started",
        "status",
        "threadsafe",
        "unconsumed",
        "urgent",
        "writable",
    )

    def prepare(
        self,
        service: Service,
        connection: Connection,
        head: RequestHead,
        client: object,
        server: object,
        scheme: str,
    ) -> int:
        """What `__init__` would do, but for the cost of a call through the interpreter. Returns 0."""
        self.service = service
        self.connection = connection
        self.head = head
        self.client = client
        self.server = server
        self.scheme = scheme
        self.root_path = service.root_path
        self.mount: Mount | None = None
        self.received_root = ""
        self.responder = None
        self.environ = None
        # Monotonic seconds: when the head was complete (as of the last tick, where that will do), and, for the access
        # log, when a thread sent the last part.
        self.started = 0.0
        self.finished = 0.0
        # Monotonic seconds at which the response has to be made; 0 until the first tick.
        self.due = 0.0
        # The request's content.
        self.request_length = 0
        self.body_parts = None
        self.body_size = 0
        self.unconsumed = 0
        self.body_complete = True
        self.expect_continue = False
        # The response.
        self.status = 0
        self.reason = b""
        self.block = None
        self.is_head = head.method == "HEAD"
        self.no_content = False
        self.response_length = -1
        self.expect_trailers = False
        self.response_started = False
        self.head_sent = False
        self.content_done = False
        self.response_complete = False
        self.body_sent = 0
        self.writable = True
        self.disconnected = False
        self.peer_closed = False
        # Whether a thread may call `send_now`.
        self.threadsafe = False
        # Whether the loop has something to do as soon as a response is complete that a thread has sent.
        self.urgent = False
        return 0

    # The connection's side.

    def enter_mount(self) -> bool:
        """Find the application among those of the service, once, before anything else happens to the stream.

        The request counts for its mount until the caller takes it off again, at the stream's end. False when it is
        answered here: it belongs to none of them, or to one that has enough to do.
        """
        if self.head.form == ASTERISK_FORM:
            # RFC 9110 9.3.7: it asks about the server, of which no application is the whole.
            self.send_head(204, b"", response_block(()), False)
            self.send_body(b"", False)
            return False
        path = self.head.raw_path
        # Not that of the stream: what a proxy names in X-Forwarded-Prefix it has removed.
        root = self.service.root_path
        mount = self.service.mounts.find(path, root)
        if mount is None:
            self.fail(404)
            return False
        self.mount = mount
        self.root_path += mount.prefix
        self.received_root = root + mount.prefix if root and begins_with(path, root) else mount.prefix
        mount.requests += 1
        if mount.concurrency and mount.requests > mount.concurrency:
            self.fail(503)
            return False
        return True

    def time_limit(self) -> float:
        """Seconds that the application has to make its response, 0 for any number."""
        if self.mount is None:
            return self.service.timeouts.request
        return self.mount.timeout

    def feed_body(self, data: bytes) -> int:
        """Content arrived. Returns 0."""
        if self.body_parts is None:
            self.body_parts = []
        self.body_parts.append(data)
        self.body_size += len(data)
        self.unconsumed += len(data)
        # A client that sends without waiting needs no 100 (RFC 9110 10.1.1).
        self.expect_continue = False
        if self.responder is not None:
            self.responder.body_available()
        return 0

    def end_body(self) -> int:
        """The request's content is complete. Returns 0."""
        self.body_complete = True
        self.expect_continue = False
        if self.responder is not None:
            self.responder.body_available()
        return 0

    def disconnect(self) -> int:
        """Nobody reads this response any more: tell the application, once. Returns 0."""
        if not self.disconnected:
            self.disconnected = True
            self.writable = True
            if self.responder is not None:
                self.responder.disconnected()
        return 0

    # The application's side: the request.

    def take_body(self) -> bytes:
        """All content that has arrived and was not taken. It counts as held until `consumed`."""
        parts = self.body_parts
        if parts is None:
            return b""
        self.body_parts = None
        self.body_size = 0
        if len(parts) == 1:
            return parts[0]
        return b"".join(parts)

    def consumed(self, size: int) -> int:
        """The application has used `size` bytes of what it took: the peer may send as much again. Returns 0."""
        self.unconsumed -= size
        if not self.body_complete and not self.disconnected:
            self.connection.body_consumed(self)
        return 0

    def want_body(self) -> int:
        """The application waits for content: a client that expects 100 gets it now. Returns 0."""
        if self.expect_continue and not self.disconnected:
            self.expect_continue = False
            self.connection.read_body(self)
        return 0

    # The application's side: the response.

    def send_informational(self, status: int, block: FieldBlock) -> int:
        """Send an interim response, before the final head is on the wire (RFC 9110 15.2). Returns 0.

        Raises LocalProtocolError after it, ClientDisconnected when the peer is gone. HTTP/1.0 clients get none.
        """
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if self.head_sent or self.response_complete:
            raise LocalProtocolError("an informational response after the final one has begun")
        if status < 102 or status > 199:
            raise LocalProtocolError("an informational response has a status between 102 and 199")
        if self.head.minor:
            self.connection.send_informational(self, status, block)
        return 0

    def send_head(self, status: int, reason: bytes, block: FieldBlock, trailers: bool) -> int:
        """Set the final head; it leaves with the first part of the content. Returns 0.

        `reason` may be empty for the registered phrase. `trailers` announces that `send_trailers` ends the
        response. Raises LocalProtocolError, or ClientDisconnected when the peer is gone.
        """
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if self.response_started:
            raise LocalProtocolError("the response has already begun")
        if status < 200 or status > 999:
            raise LocalProtocolError("a final response has a status between 200 and 999")
        self.response_length = response_length(block)
        self.status = status
        self.reason = reason
        self.block = block
        self.no_content = lacks_content(self.is_head, status)
        self.expect_trailers = trailers
        self.response_started = True
        return 0

    def send_body(self, data: bytes, more: bool) -> int:
        """Send a part of the content; `more` False ends it. Returns 0.

        Raises LocalProtocolError when the order is wrong or when content does not match Content-Length: bytes
        beyond it are not sent; where bytes are missing the connection is closed, so that the client notices.
        """
        self.check_sending()
        size = len(data)
        if self.no_content:
            data = data if not self.head_sent and not more else b""
        elif self.response_length >= 0:
            room = self.response_length - self.body_sent
            if size > room:
                self.body_sent += room
                self.end_content(data[:room])
                raise LocalProtocolError("the response's content is longer than its Content-Length")
            if not more and size < room:
                self.connection.send_body(self, data, True)
                self.connection.abort_stream(self)
                raise LocalProtocolError("the response's content is shorter than its Content-Length")
            self.body_sent += size
        else:
            self.body_sent += size
        if more:
            self.connection.send_body(self, data, True)
        else:
            self.end_content(data)
        return 0

    def send_now(self, data: bytes, more: bool) -> int:
        """From a worker thread: send a part of the content at once, past the loop.

        Returns how many bytes, encoded, the client did not take, or -1 if nothing was done: then `send_body` has to
        do it, on the loop. Otherwise `complete_send` has to follow, at the latest after the last part.
        """
        if self.disconnected or not self.response_started or self.content_done or self.expect_trailers:
            return -1
        size = len(data)
        if self.no_content:
            if self.head_sent or more:
                return -1
        elif self.response_length >= 0:
            room = self.response_length - self.body_sent
            if size > room or (size < room and not more):
                return -1
        left = self.connection.send_now(self, data, more)
        if left >= 0:
            if not self.no_content:
                self.body_sent += size
            if not more:
                self.content_done = True
        return left

    def complete_send(self, ended: bool) -> int:
        """Send what is left of what `send_now` was given; with `ended` that was the last part. Returns 0."""
        if ended:
            self.response_complete = True
        self.connection.complete_send(self, ended)
        return 0

    def send_file(self, descriptor: int, offset: int, count: int, more: bool) -> int:
        """Send `count` bytes of a file from `offset` as a part of the content. Returns 0.

        The descriptor must stay open until `Responder.writable` is called with `writable` True, or until the stream
        disconnects. Raises as `send_body`.
        """
        self.check_sending()
        if self.no_content or count == 0:
            return self.send_body(b"", more)
        if self.response_length >= 0:
            room = self.response_length - self.body_sent
            if count > room:
                raise LocalProtocolError("the file is longer than the response's Content-Length")
            if not more and count < room:
                self.connection.abort_stream(self)
                raise LocalProtocolError("the file is shorter than the response's Content-Length")
        self.body_sent += count
        if not more:
            self.content_done = True
        self.writable = False
        self.connection.send_file(self, descriptor, offset, count, more)
        return 0

    def send_trailers(self, block: object) -> int:
        """End a response that announced trailers with the fields of `block` (None for none). Returns 0."""
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if not self.expect_trailers or not self.content_done:
            raise LocalProtocolError("trailers were not announced, or come before the end of the content")
        if self.response_complete:
            raise LocalProtocolError("the response is already complete")
        self.response_complete = True
        self.connection.send_trailers(self, block)
        return 0

    def switched(self, block: FieldBlock) -> int:
        """The response was a 101 with the fields of `block`, and all that follows is another protocol's. Returns 0."""
        self.status = 101
        self.block = block
        self.no_content = True
        self.response_started = True
        self.head_sent = True
        self.content_done = True
        self.response_complete = True
        return 0

    def fail(self, status: int) -> int:
        """Answer with an error of our own where nothing was sent yet, else break the response off. Returns 0.

        The application is out of the game afterwards: what it still sends raises ClientDisconnected.
        """
        if self.disconnected or self.response_complete:
            return 0
        if self.threadsafe and self.responder is not None:
            # From here on no thread sends anything.
            self.responder.disconnected()
        if self.head_sent:
            self.connection.abort_stream(self)
            return 0
        fields = [(b"Content-Type", b"text/plain; charset=utf-8")]
        if status == 503:
            # RFC 9110 15.6.4: the shortest wait that is worth a retry.
            fields.append((b"Retry-After", b"1"))
        self.response_started = False
        self.expect_trailers = False
        self.content_done = False
        self.send_head(status, b"", response_block(fields), False)
        self.send_body(error_text(status, ""), False)
        self.disconnect()
        return 0

    def abort(self) -> int:
        """Break the response off so that the client sees it is incomplete. Returns 0."""
        if not self.disconnected and not self.response_complete:
            self.connection.abort_stream(self)
        return 0

    def check_sending(self) -> int:
        """Raise unless content may be sent now. Returns 0."""
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if not self.response_started:
            raise LocalProtocolError("content before the response's head")
        if self.content_done:
            raise LocalProtocolError("the response is already complete")
        return 0

    def end_content(self, data: bytes) -> int:
        """Send the last part of the content. Returns 0."""
        self.content_done = True
        if self.expect_trailers:
            self.connection.send_body(self, data, True)
        else:
            self.response_complete = True
            self.connection.send_body(self, data, False)
        return 0


def has_no_end(stream: HTTPStream) -> bool:
    """Whether the response has begun and goes on until somebody has enough of it: an event stream (HTML, 9.2)."""
    if stream.block is None or stream.response_length >= 0 or stream.response_complete:
        return False
    media = stream.block.get(b"content-type")
    return media is not None and media.lower().startswith(EVENT_STREAM)
