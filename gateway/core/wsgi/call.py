"""One call of a WSGI application (PEP 3333), in a worker thread, whoever is on the other side.

Here stands what the specification says about `start_response`, `write`, the iterable and its `close`. A
subclass says where output goes and where content comes from: the server's is `task.WSGITask`, that of the
adapter for any ASGI server is in `gateway/adapters`.

Rule 1: nothing is sent before the first non-empty part of the body, so that an error before it can still
become a proper response; after it, an error breaks the response off.
Rule 2: `close` of the iterable is called exactly once, on every path.
Rule 3: all methods run in the worker thread; only `gone` (nobody reads the response any more) and `peer_left`
(the client has closed its sending half, and may be gone) are set by others.
Rule 4: a thread may wait in `deliver`. Who must not wait makes `paused` true, upon which `run` returns with the
iterable half read; `proceed` goes on, `end` gives up.
"""

import os
from typing import Any

from gateway.errors import ClientDisconnected, LocalProtocolError

from ..http.framing import lacks_content, response_length
from ..kernels.base import Task, bind
from ..kernels.fields import FieldBlock
from .filewrapper import FileWrapper
from .start import header_block, reason_phrase, status_code, trailers_block

# Bytes. A body of several parts that is no larger is copied together: cheaper than sending the parts.
MAX_JOIN = 65536


class ApplicationCall(Task):
    """The application, its `environ`, and the state of its response.

    For subclasses to read: `status`, `reason`, `block` (the head, once `delivered`), `trailers` (a FieldBlock
    or None), `trailers_open` (the response may end in trailers), `ended` (the whole response was delivered),
    `result` (what the application returned, while there is use for it).
    """

    __slots__ = (
        "app",
        "block",
        "delivered",
        "ended",
        "environ",
        "gone",
        "headers",
        "is_head",
        "iterator",
        "length",
        "no_content",
        "peer_left",
        "reason",
        "result",
        "sendfile",
        "sent",
        "single",
        "started",
        "status",
        "trailers",
        "trailers_open",
        "wrapped",
    )

    def prepare(self, app: Any, environ: Any, is_head: bool, trailers_open: bool, sendfile: bool) -> int:
        """Set all attributes. Returns 0.

        `is_head`: the method is HEAD. `trailers_open`: the client takes trailers. `sendfile`: `deliver_file`
        works.
        """
        self.app = app
        self.environ = environ
        self.is_head = is_head
        self.trailers_open = trailers_open
        self.sendfile = sendfile
        # The head as the application last set it.
        self.started = False
        self.status = 0
        self.reason = b""
        self.headers: Any = None
        self.block: Any = None
        self.length = -1
        self.no_content = False
        self.trailers: Any = None
        # What was handed over: the head, bytes of content, the end.
        self.delivered = False
        self.sent = 0
        self.ended = False
        self.gone = False
        self.peer_left = False
        # What the application returned, an iterator over it unless it has one part, and what is known of it: that it
        # has one part, that it is a file.
        self.result: Any = None
        self.iterator: Any = None
        self.single = False
        self.wrapped = False
        return 0

    # What a subclass does.

    def begin(self) -> bool:
        """Whether the application is to be called at all."""
        return True

    def deliver(self, data: bytes, last: bool) -> int:
        """Hand over a part of the body, with the head if it is the first; blocks while too much is under way.

        `last` ends the response. The subclass sets `delivered` and `ended`. Returns 0. Raises
        ClientDisconnected.
        """
        raise NotImplementedError

    def deliver_file(self, descriptor: int, offset: int, count: int) -> int:
        """Hand over the end of the body as `count` bytes of a file. Returns 0.

        Closing the descriptor is the subclass's business from here on.
        """
        raise NotImplementedError

    def deliver_hints(self, block: FieldBlock) -> int:
        """Hand over the fields of a 103 response. Returns 0."""
        raise NotImplementedError

    def receive(self) -> bytes:
        """Content of the request, waited for; b"" at its end. Raises ClientDisconnected if it breaks off."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> int:
        """The application raised `error` or broke a rule. Returns 0."""
        raise NotImplementedError

    def over(self) -> int:
        """The application is done, `close` included. Returns 0."""
        raise NotImplementedError

    def paused(self) -> bool:
        """Whether to produce nothing more before `proceed` is called."""
        return False

    # The call.

    def run(self) -> int:
        """Call the application and send what it returns. Returns 0."""
        if not self.begin():
            return 0
        try:
            self.result = self.app(self.environ, bind(START_RESPONSE, self))
            if not self.respond():
                return 0
        except BaseException as error:
            return self.end(error)
        return self.end(None)

    def proceed(self) -> int:
        """Go on with an iterable that was left because of `paused`. Returns 0."""
        try:
            if not self.send_parts_left():
                return 0
        except BaseException as error:
            return self.end(error)
        return self.end(None)

    def end(self, error: Any) -> int:
        """The iterable is used up, or given up because of `error`: close it. Returns 0."""
        if type(self.result) is not list:
            try:
                close = getattr(self.result, "close", None)
                if close is not None:
                    close()
            except BaseException as raised:
                if error is not None and raised is not error:
                    raised.__context__ = error
                error = raised
        if error is not None:
            self.failed(error)
        # The environ refers to us by its callables; without this only the garbage collector would free
        # either.
        self.environ = None
        self.result = None
        self.iterator = None
        self.over()
        return 0

    def respond(self) -> bool:
        """Send the body that the application returned. False if not all of it could be produced yet."""
        result = self.result
        if isinstance(result, (bytes, str)):
            raise TypeError(f"a WSGI application must return an iterable of bytes, not {type(result).__name__}")
        self.wrapped = type(result) is FileWrapper
        if self.wrapped and self.respond_file(result):
            return self.complete()
        count = item_count(result)
        if count > 1:
            result = joined(result)
            count = len(result) if type(result) is list else -2
        self.single = count == 1
        if self.single and type(result) is list:
            self.send_part(result[0])
            return self.complete()
        self.iterator = iter(result)
        return self.send_parts_left()

    def send_parts_left(self) -> bool:
        """Send what the iterator has left. False if it was left because of `paused`."""
        for data in self.iterator:
            self.send_part(data)
            # What nobody gets need not be produced.
            if self.gone or (self.no_content and self.delivered) or (self.wrapped and self.ended):
                break
            if self.paused():
                return False
        return self.complete()

    def send_part(self, data: Any) -> int:
        """Send a part of the body that the application has produced. Returns 0."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body of a WSGI response must be bytes, not {type(data).__name__}")
        if data:
            if self.wrapped and self.length >= 0:
                # Of a file, only as much as was declared: it may go on.
                data = data[: self.length - self.sent]
            self.send(data, self.single)
        return 0

    def complete(self) -> bool:
        """All was produced: end the response. Returns True."""
        if not self.gone:
            if not self.started:
                raise LocalProtocolError("the application returned without having called start_response()")
            if not self.ended:
                self.deliver(b"", True)
        return True

    def respond_file(self, wrapper: FileWrapper) -> bool:
        """Declare the length of a file, and have it sent without reading it here, if either can be done.

        False when it has to be iterated over.
        """
        # Trailers follow chunked content only (RFC 9112 7.1.2): its length must not be declared.
        if not self.started or self.ended or self.trailers is not None:
            return False
        descriptor = wrapper.locate()
        if descriptor < 0:
            return False
        count = wrapper.count
        if self.length >= 0:
            room = self.length - self.sent
            if count > room:
                count = room
            elif count < room and not self.no_content:
                # It may be growing. If it does not, the response ends too early, as with any other iterable.
                return False
        elif not self.delivered:
            self.declare_length(count)
        if count == 0 or self.no_content:
            self.deliver(b"", True)
            return True
        if not self.sendfile:
            return False
        self.sent += count
        # A descriptor of our own: the application's is closed as soon as this returns.
        self.deliver_file(os.dup(descriptor), wrapper.offset, count)
        return True

    def declare_length(self, size: int) -> int:
        """Add a Content-Length of `size` bytes to a head that was not delivered and has none. Returns 0."""
        # RFC 9110 8.6: also to HEAD, where it tells what GET would get; not where there is none for GET either, nor in
        # a 304 that may stand for a response of another length.
        if self.length < 0 and not lacks_content(False, self.status):
            self.block = header_block([*self.headers, ("Content-Length", str(size))])
            self.length = size
        return 0

    def send(self, data: bytes, last: bool) -> int:
        """Send a part of the body, not empty; `last` if it is known to be the whole of it. Returns 0."""
        if not self.started:
            raise LocalProtocolError("the application sent content before it called start_response()")
        if self.gone:
            raise ClientDisconnected("the client has disconnected")
        if self.no_content:
            # RFC 9110 9.3.2: a response to HEAD has the fields GET would get. One part is all there is only
            # if the application said so; else its size says nothing about the length.
            if not self.delivered:
                self.deliver(data if last else b"", last)
            return 0
        if self.length < 0:
            if self.ended:
                raise LocalProtocolError("content after the end of the response")
            self.sent += len(data)
            self.deliver(data, last)
            return 0
        # PEP 3333, "Handling the Content-Length Header": no byte more than declared, and an error where there
        # are more; the connection notices where there are fewer.
        room = self.length - self.sent
        if len(data) > room:
            if not self.ended:
                self.sent += room
                self.deliver(data[:room], True)
            raise LocalProtocolError("the response's content is longer than its Content-Length")
        self.sent += len(data)
        self.deliver(data, last or len(data) == room)
        return 0

    # What the application calls.

    def start_response(self, status: str, headers: list, exc_info: Any = None) -> Any:
        """PEP 3333, "The start_response() Callable". Returns `write`."""
        if exc_info:
            try:
                if self.delivered:
                    # Too late to tell the client: the application has to be stopped (PEP 3333, "Error
                    # Handling").
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                # The traceback holds this frame, too.
                exc_info = None
        elif self.started:
            raise LocalProtocolError("start_response() was called a second time without exc_info")
        code = status_code(status)
        reason = reason_phrase(status)
        block = header_block(headers)
        self.length = response_length(block)
        self.status = code
        self.reason = reason
        self.headers = headers
        self.block = block
        self.no_content = lacks_content(self.is_head, code)
        self.started = True
        return bind(WRITE, self)

    def write(self, data: bytes) -> None:
        """PEP 3333, "The write() Callable": send `data` now."""
        if not isinstance(data, bytes):
            raise TypeError(f"write() wants bytes, not {type(data).__name__}")
        if data:
            self.send(data, False)

    def early_hints(self, headers: list) -> None:
        """Send a 103 (Early Hints) response with these fields (RFC 8297), unless the final head is out."""
        block = header_block(headers)
        if not self.delivered and not self.gone:
            self.deliver_hints(block)

    def send_trailers(self, headers: list) -> None:
        """End the response with these fields (RFC 9110 6.5), if the client takes them and it is chunked."""
        block = trailers_block(headers)
        if self.trailers_open and not self.ended:
            self.trailers = block

    def client_disconnected(self) -> bool:
        """Whether the client has left, as far as can be known before something is sent to it.

        A client that only closed its sending half would still read: then this is True, and sending works.
        """
        return self.gone or self.peer_left


# What the application gets to call: looking a method up costs more than binding it.
START_RESPONSE: Any = ApplicationCall.start_response
WRITE: Any = ApplicationCall.write
EARLY_HINTS: Any = ApplicationCall.early_hints
SEND_TRAILERS: Any = ApplicationCall.send_trailers
CLIENT_DISCONNECTED: Any = ApplicationCall.client_disconnected


def item_count(result: Any) -> int:
    """How many parts an iterable says it has; -2 if it does not say.

    PEP 3333, "Handling the Content-Length Header": the length of a body of one part is known without
    counting.
    """
    if type(result) is list or type(result) is tuple or hasattr(result, "__len__"):
        try:
            return len(result)
        except Exception:
            return -2
    return -2


def joined(result: Any) -> Any:
    """A short list or tuple of parts as a list of one, which is sent at once and with its length."""
    if type(result) is not list and type(result) is not tuple:
        return result
    size = 0
    for data in result:
        if not isinstance(data, bytes):
            return result
        size += len(data)
        if size > MAX_JOIN:
            return result
    return [b"".join(result)]
