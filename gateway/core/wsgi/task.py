"""WSGITask: one request between the loop, which owns the connection, and a thread that runs the application.

The thread never touches the stream. It leaves what it wants done in the task, under the task's lock, and
posts the task to the loop, once until `step` has run there; `step` takes everything at once. A response of
one part is one post: head, content and end. What the loop leaves for the thread (content, the client's
leaving) it leaves under the same lock, and wakes the thread if it waits.

A thread is not spent before the application can work: the head has been read, and the content too unless it
is large or the client waits for 100 (Continue), which only the application's first read may bring about. It
is free again when the response is handed over and at most `Limits.response_buffer` bytes of it wait for the
client. What else a slow client keeps is memory, and the connection's timeouts end that.

::

    WAITING --submit--> QUEUED --begin--> RUNNING --over--> OVER
       |                  |
       +---- refused, timed out, disconnected: the application is never called ----> OVER
"""

import os
from threading import Condition, Lock
from typing import Any

from gateway.errors import ClientDisconnected, caused_by_disconnect

from ..http.limits import Limits
from ..http.service import Service
from ..http.stream import HTTPStream
from ..kernels.base import Executor, Handler, Responder, Stream
from ..kernels.fields import FieldBlock
from .call import ApplicationCall
from .environ import base_environ, stream_environ
from .input import WSGIInput

WAITING = 0
QUEUED = 1
RUNNING = 2
OVER = 3

# Seconds between two lines of the log about refused requests.
NOTE_INTERVAL = 10.0


class WSGIHandler(Handler):
    """Starts a WSGI application for every stream.

    `executor` runs the tasks. `errors` is the `ErrorStream` for `wsgi.errors`. `multithread` and
    `multiprocess` are told to the application. `queue_timeout`: seconds a request may wait for a thread, then
    it is answered with 503; 0 is for ever. `sendfile`: files returned in `wsgi.file_wrapper` are sent by the
    loop.
    """

    __slots__ = ("app", "base", "errors", "executor", "noted_at", "queue_timeout", "refused", "sendfile")

    def __init__(
        self,
        app: Any,
        executor: Executor,
        *,
        errors: Any,
        multithread: bool = True,
        multiprocess: bool = False,
        server_software: str = "gateway",
        queue_timeout: float = 30.0,
        sendfile: bool = True,
    ) -> None:
        self.app = app
        self.executor = executor
        self.errors = errors
        self.queue_timeout = queue_timeout
        self.sendfile = sendfile
        # Refused since the log was last told, and when that was (monotonic seconds).
        self.refused = 0
        self.noted_at = -NOTE_INTERVAL
        self.base = base_environ(
            errors=errors, multithread=multithread, multiprocess=multiprocess, server_software=server_software
        )

    def open(self, stream: Stream) -> Responder:
        """Queue the application, now or when enough of the content is there."""
        exchange: Any = stream
        task = WSGITask(self, exchange)
        exchange.responder = task
        task.body_available()
        return task

    def note_refusal(self, service: Service) -> int:
        """Tell the log of requests that no thread was free for; not of each, or an overload fills the disk.

        Returns 0.
        """
        self.refused += 1
        now = service.clock.time
        if now - self.noted_at >= NOTE_INTERVAL:
            log: Any = service.log
            log.warning("All threads are busy and the queue is full or slow: %d answered with 503", self.refused)
            self.refused = 0
            self.noted_at = now
        return 0


class WSGITask(ApplicationCall):
    """One request. `lock` guards what stands below it in `__init__`; the rest has one owner, or never changes."""

    __slots__ = (
        "budget",
        "closed",
        "condition",
        "content",
        "content_ended",
        "count",
        "descriptor",
        "executor",
        "failure",
        "file_begun",
        "handler",
        "head",
        "head_sent",
        "hints",
        "lock",
        "log",
        "offset",
        "parts",
        "pending",
        "posted",
        "queued_at",
        "state",
        "stream",
        "taken",
        "unsent",
        "waiting",
        "wants",
    )

    def __init__(self, handler: WSGIHandler, stream: HTTPStream) -> None:
        head = stream.head
        self.prepare(handler.app, None, stream.is_head, head.te_trailers and head.minor > 0, handler.sendfile)
        self.handler = handler
        self.head = head
        self.executor = handler.executor
        service: Service = stream.service
        limits: Limits = service.limits
        self.log: Any = service.log
        # Bytes that may be under way to the client while the thread goes on.
        self.budget = limits.response_buffer
        # The loop's.
        self.stream: Any = stream
        self.queued_at = 0.0
        self.head_sent = False
        self.file_begun = False
        # Both sides'.
        self.lock = Lock()
        self.condition: Any = None
        self.waiting = False
        self.state = WAITING
        self.posted = False
        # From the thread: interim responses, parts of the body (the last one if `ended`) and the bytes in
        # them, a file, the status of an error response.
        self.hints: Any = None
        self.parts: list = []
        self.pending = 0
        self.descriptor = -2
        self.offset = 0
        self.count = 0
        self.failure = 0
        # From the loop: bytes applied that the transport still holds.
        self.unsent = 0
        # Content: what the loop has left for the thread, and bytes it took that the loop was not told of.
        self.content = b""
        self.content_ended = False
        self.taken = 0
        self.wants = False
        # The response is complete and what is left of the request's content is the connection's to discard.
        self.closed = False

    # On the loop.

    def body_available(self) -> int:
        """Content is on the stream, or complete: start the application, or feed it. Returns 0."""
        stream = self.stream
        if stream is None:
            return 0
        if self.state != WAITING:
            return self.supply()
        limit = stream.service.limits.body_buffer
        if stream.body_complete or stream.expect_continue or (limit and stream.body_size >= limit):
            self.submit()
        return 0

    def submit(self) -> int:
        """Queue the application for a thread; 503 if there is no room (RFC 9110 15.6.4). Returns 0."""
        stream = self.stream
        service: Service = stream.service
        environ: dict = stream_environ(stream, self.handler.base)
        environ["wsgi.input"] = WSGIInput(self)
        environ["wsgi.early_hints"] = self.early_hints
        environ["gateway.send_trailers"] = self.send_trailers
        environ["gateway.client_disconnected"] = self.client_disconnected
        self.environ = environ
        if service.access_log is not None:
            stream.environ = environ
        if stream.body_complete and stream.body_size == 0:
            self.content_ended = True
        else:
            self.supply()
        self.queued_at = service.clock.time
        self.state = QUEUED
        if not self.executor.submit(self):
            self.state = OVER
            self.give_up()
        return 0

    def refuse(self) -> int:
        """Answer 503 in place of the application, unless a thread has begun to run it. Returns 0."""
        with self.lock:
            if self.state != QUEUED:
                return 0
            self.state = OVER
            self.executor.withdraw(self)
        return self.give_up()

    def give_up(self) -> int:
        """Answer 503; no thread has this task, or will run it. Returns 0."""
        stream = self.stream
        self.stream = None
        self.environ = None
        self.handler.note_refusal(stream.service)
        stream.fail(503)
        return 0

    def tick(self, now: float) -> int:
        """Give up on a request that no thread has taken in time. Returns 0."""
        limit = self.handler.queue_timeout
        if self.state == QUEUED and limit > 0 and now - self.queued_at > limit and self.stream is not None:
            self.refuse()
        return 0

    def supply(self) -> int:
        """Move content from the stream to the thread, one piece ahead of what it reads. Returns 0."""
        stream = self.stream
        with self.lock:
            if not self.content and stream.body_size:
                self.content = stream.take_body()
            if stream.body_complete and stream.body_size == 0:
                self.content_ended = True
            if self.waiting and (self.content or self.content_ended):
                self.wake()
        return 0

    def disconnected(self) -> int:
        """The client is gone, or the exchange was taken back: what is under way is void. Returns 0."""
        stream = self.stream
        with self.lock:
            self.gone = True
            if stream is not None and stream.body_complete:
                # What arrived in full may still be read in full.
                self.content += stream.take_body()
                self.content_ended = True
            if self.state == WAITING or self.state == QUEUED:
                if self.state == QUEUED:
                    self.executor.withdraw(self)
                self.state = OVER
                self.environ = None
            self.parts = []
            self.pending = 0
            self.unsent = 0
            self.wake()
        self.close_file()
        self.stream = None
        return 0

    def peer_closed(self) -> int:
        """The client has closed its sending half, and may be gone. Returns 0."""
        self.peer_left = True
        return 0

    def cancel(self) -> int:
        """The grace period is over: let the thread's next use of the stream fail. Returns 0."""
        return self.disconnected()

    def writable(self) -> int:
        """The transport has taken what it was given. Returns 0."""
        stream = self.stream
        if stream is None or not (stream.writable or stream.response_complete):
            return 0
        with self.lock:
            self.unsent = 0
            self.wake()
        # A file ends its response: with it on its way out, nothing is left to do here.
        if self.file_begun or stream.response_complete:
            self.finish()
        return 0

    def step(self) -> int:
        """Do what the thread has asked for since the last time. Returns 0."""
        self.lock.acquire()
        self.posted = False
        hints = self.hints
        self.hints = None
        parts = self.parts
        if parts:
            self.parts = []
            self.unsent += self.pending
            self.pending = 0
        failed = self.failure
        ended = self.ended and not failed
        taken = self.taken
        self.taken = 0
        wants = self.wants
        self.wants = False
        count = self.count
        self.count = 0
        self.lock.release()
        stream = self.stream
        if stream is None:
            return 0
        try:
            if taken:
                stream.consumed(taken)
            if hints is not None and not stream.head_sent:
                for block in hints:
                    stream.send_informational(103, block)
            if parts or count:
                self.send_parts(stream, parts, ended and not count)
            if count:
                self.file_begun = True
                stream.send_file(self.descriptor, self.offset, count, False)
            if wants:
                # After the output: what the application sent before it read must not be overtaken by a 100.
                stream.want_body()
            if failed:
                stream.fail(failed)
        except ClientDisconnected:
            self.disconnected()
        except Exception as error:
            self.log_error(error)
            stream.fail(500)
            self.disconnected()
        if self.stream is None:
            return 0
        if stream.response_complete:
            return self.finish()
        if taken or wants:
            self.supply()
        if stream.writable and self.unsent:
            with self.lock:
                self.unsent = 0
                self.wake()
        return 0

    def send_parts(self, stream: HTTPStream, parts: list, ended: bool) -> int:
        """Send the head, if it is still here, and parts of the body, the last of which ends it if `ended`.

        Returns 0.
        """
        trailers = False
        if not self.head_sent:
            self.head_sent = True
            # Trailers have to be announced while the head is being made; where the application may still
            # think of some, the connection is prepared for them.
            if self.trailers_open and self.length < 0 and not self.no_content:
                trailers = not ended or self.trailers is not None
            stream.send_head(self.status, self.reason, self.block, trailers)
        last = len(parts) - 1
        for index, data in enumerate(parts):
            stream.send_body(data, not ended or index < last)
        if ended and stream.expect_trailers:
            stream.send_trailers(self.trailers)
        return 0

    def finish(self) -> int:
        """The response is complete: let go of the stream. Returns 0."""
        stream = self.stream
        if not self.content_ended:
            with self.lock:
                # An application that reads on finds the end, if the client has sent it.
                if stream.body_complete:
                    self.content += stream.take_body()
                    self.content_ended = True
                self.closed = True
                self.wake()
        self.close_file()
        self.stream = None
        return 0

    def close_file(self) -> int:
        """Close our descriptor of a file that was, or will not be, sent. Returns 0."""
        descriptor = self.descriptor
        if descriptor >= 0:
            self.descriptor = -2
            os.close(descriptor)
        return 0

    def log_error(self, error: BaseException) -> int:
        """Log what the application did wrong. Returns 0.

        The query may hold secrets and is left out; the path is printable ASCII, or there would be no request.
        """
        head = self.head
        self.log.error("Error handling request %s %s", head.method, head.raw_path.decode("latin-1"), exc_info=error)
        return 0

    # In the thread; `wake` and `wait` also elsewhere, with the lock held.

    def begin(self) -> bool:
        self.lock.acquire()
        queued = self.state == QUEUED
        if queued:
            self.state = RUNNING
        self.lock.release()
        return queued

    def deliver(self, data: bytes, last: bool) -> int:
        budget = self.budget
        size = len(data)
        if size <= budget or budget == 0:
            return self.hand_over(data, last)
        if last and not self.delivered:
            self.declare_length(size)
        if self.no_content:
            return self.hand_over(b"", last)
        # In pieces that fit, so that what is queued for a slow client is bounded by the number of threads.
        start = 0
        while start < size:
            stop = start + budget
            if stop > size:
                stop = size
            self.hand_over(data[start:stop], last and stop == size)
            start = stop
        return 0

    def hand_over(self, data: bytes, last: bool) -> int:
        """Give a part of the body to the loop, as soon as it fits into the budget. Returns 0."""
        size = len(data)
        posted = True
        self.lock.acquire()
        # `pending` the loop has not seen yet, `unsent` the transport has not taken yet.
        while self.pending + self.unsent and self.full(size) and not self.gone:
            self.wait()
        gone = self.gone
        if not gone:
            self.delivered = True
            self.parts.append(data)
            self.pending += size
            if last:
                self.ended = True
            posted = self.posted
            self.posted = True
        self.lock.release()
        if gone:
            raise ClientDisconnected("the client has disconnected")
        if not posted:
            self.executor.post(self)
        return 0

    def full(self, size: int) -> bool:
        """Whether `size` bytes more are too many for the budget."""
        return self.budget > 0 and self.pending + self.unsent + size > self.budget

    def deliver_file(self, descriptor: int, offset: int, count: int) -> int:
        posted = True
        with self.lock:
            if self.gone:
                os.close(descriptor)
                raise ClientDisconnected("the client has disconnected")
            self.delivered = True
            self.ended = True
            self.descriptor = descriptor
            self.offset = offset
            self.count = count
            posted = self.posted
            self.posted = True
        if not posted:
            self.executor.post(self)
        return 0

    def deliver_hints(self, block: FieldBlock) -> int:
        posted = True
        with self.lock:
            if self.hints is None:
                self.hints = []
            self.hints.append(block)
            posted = self.posted
            self.posted = True
        if not posted:
            self.executor.post(self)
        return 0

    def receive(self) -> bytes:
        data = b""
        posted = True
        with self.lock:
            wants = not self.content and not self.content_ended and not self.gone and not self.closed
            if wants:
                self.wants = True
                posted = self.posted
                self.posted = True
        if not posted:
            self.executor.post(self)
        posted = True
        with self.lock:
            while not self.content and not self.content_ended and not self.gone and not self.closed:
                self.wait()
            data = self.content
            self.content = b""
            if not data and not self.content_ended:
                raise ClientDisconnected("the client left before the content of its request was complete")
            if data and not self.content_ended and not self.closed:
                self.taken += len(data)
                posted = self.posted
                self.posted = True
        if not posted:
            self.executor.post(self)
        return data

    def failed(self, error: BaseException) -> int:
        if not (self.gone or self.closed) or not caused_by_disconnect(error):
            self.log_error(error)
        posted = True
        with self.lock:
            if self.ended or self.gone:
                # The client has, or gets, the whole response.
                return 0
            self.ended = True
            self.failure = 500
            posted = self.posted
            self.posted = True
        if not posted:
            self.executor.post(self)
        return 0

    def over(self) -> int:
        self.state = OVER
        errors = self.handler.errors
        if errors.held:
            errors.flush()
        return 0

    def wait(self) -> int:
        """Wait, with the lock held, until the other side calls `wake`. Returns 0."""
        if self.condition is None:
            self.condition = Condition(self.lock)
        self.waiting = True
        self.condition.wait()
        return 0

    def wake(self) -> int:
        """Wake the threads that wait, with the lock held. Returns 0."""
        if self.waiting:
            self.waiting = False
            self.condition.notify_all()
        return 0
