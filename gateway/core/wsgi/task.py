"""WSGITask: one request between the loop, which owns the connection, and a thread that runs the application.

The thread that produces bytes sends them, if the transport lets threads send and nothing is queued: it holds the
task's lock for the length of that send, without which the loop can't disconnect the stream. What the client does
not take at once goes to the loop, and so does everything else, the end of the exchange above all: the thread leaves
what it wants done in the task, under the same lock, and posts the task to the loop, once until `step` has run
there; `step` takes everything at once. A response of one part is one post, or one send and a word about it that does
not wake the loop. What the loop leaves for the thread (content, the client's leaving) it leaves under the lock,
too, and wakes the thread if it waits.

Where requests wait for a thread and the application takes long, the head and the first part go to the loop, too. A
client that has waited sleeps, and a send that wakes it costs several times what another does, most of it in caches
that the application finds cold. The loop gets its turn when the threads have nothing more to do, and at the latest
after the interpreter's switch interval; then it sends what has come together in a row.

With `--threads 0` both sides are the loop's thread. Then nothing may wait: the content has been received before the
application is called, and a response that the client is slow to take is left half produced until it has.

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
from typing import Any

from gateway.errors import ClientDisconnected, caused_by_disconnect

from ..http.limits import Limits
from ..http.service import Service
from ..http.stream import HTTPStream
from ..kernels.base import Executor, Handler, Responder, Stream, bind, monotonic
from ..kernels.fields import FieldBlock
from ..kernels.queue import Mutex
from .call import CLIENT_DISCONNECTED, EARLY_HINTS, SEND_TRAILERS, ApplicationCall
from .environ import base_environ, stream_environ
from .input import WSGIInput
from .spool import Spool

WAITING = 0
QUEUED = 1
RUNNING = 2
OVER = 3

# Seconds between two lines of the log about refused requests.
NOTE_INTERVAL = 10.0

# Seconds after which a client is taken to sleep. A busy one needs less for a response and its next request.
LONG = 20e-6


class WSGIHandler(Handler):
    """Starts a WSGI application for every stream.

    `executor` runs the tasks; `inline` tells that it does so at once, on the loop. `errors` is the
    `ErrorStream` for `wsgi.errors`. `multithread` and `multiprocess` are told to the application.
    `queue_timeout`: seconds a request may wait for a thread, then it is answered with 503; 0 is for ever.
    `sendfile`: files returned in `wsgi.file_wrapper` are sent by the loop.
    """

    __slots__ = ("app", "base", "errors", "executor", "inline", "noted_at", "queue_timeout", "refused", "sendfile")

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
        inline: bool = False,
    ) -> None:
        self.app = app
        self.executor = executor
        self.inline = inline
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
        task = WSGITask.__new__(WSGITask)
        task.assign(self, exchange)
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
    """One request. `lock` guards what stands below it in `assign`; the rest has one owner, or never changes."""

    __slots__ = (
        "began",
        "budget",
        "brimful",
        "closed",
        "content",
        "content_ended",
        "count",
        "deferred",
        "descriptor",
        "executor",
        "failure",
        "file_begun",
        "handler",
        "head",
        "head_sent",
        "hints",
        "inline",
        "lock",
        "log",
        "offset",
        "parts",
        "pending",
        "posted",
        "queued_at",
        "rest",
        "sent_ended",
        "since",
        "spool",
        "state",
        "stepping",
        "stream",
        "suspended",
        "taken",
        "time_limit",
        "unsent",
        "waiters",
        "wants",
    )

    def assign(self, handler: WSGIHandler, stream: HTTPStream) -> int:
        """Set all attributes. Returns 0."""
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
        # Monotonic seconds at which a thread took the task.
        self.began = 0.0
        # Monotonic seconds at which the request's head was there.
        self.since = stream.started
        # Seconds the request may take from there on, 0 for any number.
        self.time_limit = stream.time_limit()
        # On the loop, an application that is left half way, and the request's content.
        self.inline = handler.inline
        self.suspended = False
        self.spool = None
        # The loop's.
        self.stream: Any = stream
        self.queued_at = 0.0
        self.head_sent = False
        self.file_begun = False
        # Both sides'.
        self.lock = Mutex.__new__(Mutex)
        self.waiters: Any = None
        self.state = WAITING
        # In the executor's queue, with the loop woken for it; the same without.
        self.posted = False
        self.stepping = False
        self.deferred = False
        # From the thread: interim responses, parts of the body (the last one if `ended`) and the bytes in
        # them, a file, the status of an error response.
        self.hints: Any = None
        self.parts: list = []
        self.pending = 0
        self.descriptor = -2
        self.offset = 0
        self.count = 0
        self.failure = 0
        # Sent by the thread: how many bytes the client has not taken of it, and whether it was the end.
        self.rest = 0
        self.sent_ended = False
        # From the loop: bytes applied that the transport still holds.
        self.unsent = 0
        # Content: what the loop has left for the thread, whether it receives no more until some of it is taken, and
        # the bytes taken that the loop was not told of.
        self.content: Any = None
        self.content_ended = False
        self.brimful = False
        self.taken = 0
        self.wants = False
        # The response is complete and what is left of the request's content is the connection's to discard.
        self.closed = False
        return 0

    # On the loop.

    def body_available(self) -> int:
        """Content is on the stream, or complete: start the application, or feed it. Returns 0."""
        stream = self.stream
        if stream is None:
            return 0
        if self.state != WAITING:
            return self.supply()
        if self.inline:
            return self.collect()
        limit = stream.service.limits.body_buffer
        if stream.body_complete or stream.expect_continue or (limit and stream.body_size >= limit):
            self.submit()
        return 0

    def collect(self) -> int:
        """Put content aside until it is complete, then start the application. Returns 0."""
        stream = self.stream
        if stream.body_size and (self.spool is not None or not stream.body_complete):
            if self.spool is None:
                self.spool = Spool(stream.service.limits.body_buffer)
            data = stream.take_body()
            try:
                self.spool.write(data)
            except OSError as error:
                self.log_error(error)
                stream.fail(500)
                return self.disconnected()
            stream.consumed(len(data))
        if stream.body_complete:
            self.submit()
        else:
            stream.want_body()
        return 0

    def submit(self) -> int:
        """Queue the application for a thread; 503 if there is no room (RFC 9110 15.6.4). Returns 0."""
        stream = self.stream
        service: Service = stream.service
        environ: dict = stream_environ(stream, self.handler.base)
        content = WSGIInput.__new__(WSGIInput)
        content.assign(self)
        environ["wsgi.input"] = content
        environ["wsgi.early_hints"] = bind(EARLY_HINTS, self)
        environ["gateway.send_trailers"] = bind(SEND_TRAILERS, self)
        environ["gateway.client_disconnected"] = bind(CLIENT_DISCONNECTED, self)
        self.environ = environ
        if service.access_log is not None and service.access_log.keeps_environ:
            stream.environ = environ
        if stream.body_complete and stream.body_size == 0:
            self.content_ended = self.spool is None
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
        """Move content from the stream to the thread. Returns 0."""
        stream = self.stream
        limits: Limits = stream.service.limits
        news = False
        with self.lock:
            self.take_over(stream)
            self.brimful = 0 < limits.body_buffer <= stream.unconsumed
            news = self.content is not None or self.content_ended
        if news:
            self.wake()
        return 0

    def take_over(self, stream: HTTPStream) -> int:
        """Leave the content that has arrived for the thread, with the lock held. Returns 0."""
        if stream.body_size:
            if self.content is None:
                self.content = []
            self.content.append(stream.take_body())
        if stream.body_complete:
            self.content_ended = True
        return 0

    def disconnected(self) -> int:
        """The client is gone, or the exchange was taken back: what is under way is void. Returns 0."""
        stream = self.stream
        with self.lock:
            self.gone = True
            if stream is not None and stream.body_complete:
                # What arrived in full may still be read in full.
                self.take_over(stream)
            if self.state == WAITING or self.state == QUEUED:
                if self.state == QUEUED:
                    self.executor.withdraw(self)
                self.state = OVER
                self.environ = None
                if self.spool is not None:
                    self.spool.close()
            self.parts = []
            self.pending = 0
            self.unsent = 0
            self.rest = 0
        self.wake()
        self.close_file()
        self.stream = None
        if self.suspended:
            self.suspended = False
            self.end(None)
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
        elif self.suspended:
            self.suspended = False
            self.proceed()
        return 0

    def step(self) -> int:
        """Do what the thread has asked for since the last time. Returns 0."""
        self.lock.acquire()
        self.posted = False
        self.deferred = False
        # Until what is taken here has left, the thread must not send past it.
        self.stepping = True
        hints = self.hints
        self.hints = None
        parts = self.parts
        # Even an empty list is left to the thread no longer: it goes on as soon as the lock is free.
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
        rest = self.rest
        self.rest = 0
        sent_ended = self.sent_ended
        self.sent_ended = False
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
            if rest or sent_ended:
                stream.complete_send(sent_ended)
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
        self.stepping = False
        if self.stream is None:
            return 0
        if stream.response_complete:
            return self.finish()
        if taken:
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
            if self.may_have_trailers():
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
                    self.take_over(stream)
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

    # In the thread; `wake` on the loop.

    def begin(self) -> bool:
        self.lock.acquire()
        queued = self.state == QUEUED
        if queued:
            self.state = RUNNING
        self.lock.release()
        self.began = monotonic()
        return queued

    def deliver(self, data: bytes, last: bool) -> int:
        size = len(data)
        if size <= self.budget or self.budget == 0 or self.inline:
            return self.hand_over(data, last)
        # More than may wait for the client with the thread free: the thread stays until it has left. The end is
        # told later, or the response would be over before.
        if last and not self.delivered:
            self.declare_length(size)
        if self.no_content:
            return self.hand_over(b"", last)
        self.hand_over(data, False)
        if last:
            self.wait_for_room()
            self.hand_over(b"", True)
        return 0

    def hand_over(self, data: bytes, last: bool) -> int:
        """Send a part of the body or give it to the loop, as soon as it fits into the budget. Returns 0."""
        size = len(data)
        posted = True
        urgent = True
        gone = False
        self.lock.acquire()
        try:
            # `pending` the loop has not seen yet, `unsent` the transport has not taken yet.
            while self.pending + self.unsent and self.full(size) and not self.gone:
                self.wait()
            gone = self.gone
            if not gone:
                self.delivered = True
                if last:
                    self.ended = True
                if self.send_now(data, last):
                    # The loop has to know of the end, and of what is left; else there is nothing to tell.
                    posted = not (last or self.rest > 0)
                    urgent = self.rest > 0 or self.stream.urgent
                else:
                    self.parts.append(data)
                    self.pending += size
                    posted = self.posted
                if not posted:
                    self.posted = True
        finally:
            self.lock.release()
        if gone:
            raise ClientDisconnected("the client has disconnected")
        if not posted:
            if urgent:
                self.executor.post(self)
            else:
                self.executor.defer(self)
        return 0

    def send_now(self, data: bytes, last: bool) -> bool:
        """Send a part of the body without the loop, with the lock held. False if that can't be done."""
        stream = self.stream
        # What was posted before has to leave before.
        if self.posted or self.stepping or stream is None or not stream.threadsafe or stream.disconnected:
            return False
        if not self.head_sent:
            if self.may_have_trailers():
                return False
            if self.executor.crowded() and monotonic() - self.began > LONG:
                return False
            self.head_sent = True
            stream.send_head(self.status, self.reason, self.block, False)
        left = stream.send_now(data, not last)
        if left < 0:
            return False
        self.rest = left
        self.unsent += left
        self.sent_ended = last
        return True

    def wait_for_room(self) -> int:
        """Wait until what was handed over has left. Returns 0."""
        with self.lock:
            while self.pending + self.unsent and not self.gone:
                self.wait()
        return 0

    def may_have_trailers(self) -> bool:
        """Whether the application may still think of trailers: they have to be announced in the head."""
        return self.trailers_open and self.length < 0 and not self.no_content

    def full(self, size: int) -> bool:
        """Whether `size` bytes more are too many for the budget."""
        return not self.inline and self.budget > 0 and self.pending + self.unsent + size > self.budget

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
        if self.spool is not None:
            return self.spool.read()
        stream = self.stream
        if stream is not None and stream.expect_continue:
            self.ask()
        parts = None
        urgent = False
        deferred = True
        with self.lock:
            while self.content is None and not self.content_ended and not self.gone and not self.closed:
                self.wait()
            parts = self.content
            self.content = None
            if parts is None and not self.content_ended:
                raise ClientDisconnected("the client left before the content of its request was complete")
            if parts is not None and not self.content_ended and not self.closed:
                for data in parts:
                    self.taken += len(data)
                # The loop has to know at once only where it receives nothing before; its next turn will do else.
                if self.brimful:
                    self.brimful = False
                    urgent = not self.posted
                    self.posted = True
                elif not self.posted:
                    deferred = self.deferred
                    self.deferred = True
        if urgent:
            self.executor.post(self)
        elif not deferred:
            self.executor.defer(self)
        if parts is None:
            return b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def ask(self) -> int:
        """Let the loop tell a client that waits for it to send the content. Returns 0."""
        posted = True
        with self.lock:
            if self.content is None and not self.content_ended and not self.gone and not self.closed:
                self.wants = True
                posted = self.posted
                self.posted = True
        if not posted:
            self.executor.post(self)
        return 0

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

    def paused(self) -> bool:
        stream = self.stream
        self.suspended = self.inline and stream is not None and not stream.writable
        return self.suspended

    def over(self) -> int:
        self.state = OVER
        if self.spool is not None:
            self.spool.close()
        errors = self.handler.errors
        if errors.held:
            errors.flush()
        return 0

    def wait(self) -> int:
        """Wait, with the lock held, until the other side has something new. Returns 0."""
        gate = Mutex()
        gate.acquire()
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(gate)
        self.lock.release()
        gate.acquire()
        self.lock.acquire()
        return 0

    def wake(self) -> int:
        """Let the threads that wait look again, after a change that was made with the lock held. Returns 0."""
        # Who has looked before that change is seen here, who has not sees it.
        if self.waiters is None:
            return 0
        self.lock.acquire()
        gates = self.waiters
        self.waiters = None
        self.lock.release()
        if gates is not None:
            for gate in gates:
                gate.open()
        return 0
