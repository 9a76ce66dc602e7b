from gateway._speedups.http.limits cimport Limits
from gateway._speedups.http.service cimport Service
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.base cimport Executor, Handler, Responder, Stream, bind, monotonic
from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead
from gateway._speedups.kernels.queue cimport Mutex
from gateway._speedups.wsgi.call cimport ApplicationCall
from gateway._speedups.wsgi.environ cimport stream_environ
from gateway._speedups.wsgi.input cimport WSGIInput
from gateway._speedups.wsgi.spool cimport Spool

cimport cython

cdef int WAITING, QUEUED, RUNNING, OVER
cdef object CLIENT_DISCONNECTED, EARLY_HINTS, SEND_TRAILERS
cdef double LONG, NOTE_INTERVAL


cdef class WSGIHandler(Handler):
    cdef readonly object app, errors
    cdef readonly Executor executor
    cdef readonly double queue_timeout
    cdef readonly bint sendfile, inline
    cdef readonly dict base
    cdef long long refused
    cdef double noted_at

    @cython.locals(exchange=HTTPStream, task=WSGITask)
    cpdef Responder open(self, Stream stream)
    @cython.locals(now=double)
    cdef int note_refusal(self, Service service) except -1


cdef class WSGITask(ApplicationCall):
    cdef WSGIHandler handler
    cdef readonly RequestHead head
    cdef readonly double since, time_limit
    cdef Executor executor
    cdef object log
    cdef Mutex lock
    cdef list waiters
    cdef Spool spool
    cdef readonly HTTPStream stream
    cdef long long budget, pending, unsent, rest, taken, offset, count
    cdef double began, queued_at
    cdef bint head_sent, file_begun, posted, stepping, deferred, sent_ended
    cdef bint content_ended, brimful, wants, closed, inline, suspended
    cdef readonly int state
    cdef int descriptor, failure
    cdef list hints, parts, content

    @cython.locals(head=RequestHead, service=Service, limits=Limits)
    cdef int assign(self, WSGIHandler handler, HTTPStream stream) except -1
    @cython.locals(stream=HTTPStream, limit=cython.longlong)
    cpdef int body_available(self) except -1
    @cython.locals(stream=HTTPStream, data=bytes)
    cdef int collect(self) except -1
    @cython.locals(stream=HTTPStream, service=Service, environ=dict, content=WSGIInput)
    cdef int submit(self) except -1
    cdef int refuse(self) except -1
    @cython.locals(stream=HTTPStream)
    cdef int give_up(self) except -1
    @cython.locals(limit=double)
    cpdef int tick(self, double now) except -1
    @cython.locals(stream=HTTPStream, limits=Limits, news=bint)
    cdef int supply(self) except -1
    cdef int take_over(self, HTTPStream stream) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int disconnected(self) except -1
    cpdef int peer_closed(self) except -1
    cpdef int cancel(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int writable(self) except -1
    @cython.locals(stream=HTTPStream, hints=list, parts=list, ended=bint, failed=int, taken=cython.longlong,
                   wants=bint, count=cython.longlong, block=FieldBlock, rest=cython.longlong, sent_ended=bint)
    cpdef int step(self) except -1
    @cython.locals(trailers=bint, last="Py_ssize_t", index="Py_ssize_t", data=bytes)
    cdef int send_parts(self, HTTPStream stream, list parts, bint ended) except -1
    @cython.locals(stream=HTTPStream)
    cdef int finish(self) except -1
    @cython.locals(descriptor=int)
    cdef int close_file(self) except -1
    @cython.locals(head=RequestHead)
    cdef int log_error(self, object error) except -1

    @cython.locals(queued=bint)
    cpdef bint begin(self) except -1
    @cython.locals(size="Py_ssize_t")
    cpdef int deliver(self, bytes data, bint last) except -1
    @cython.locals(size="Py_ssize_t", posted=bint, urgent=bint, gone=bint)
    cdef int hand_over(self, bytes data, bint last) except -1
    @cython.locals(stream=HTTPStream, left="Py_ssize_t")
    cdef bint send_now(self, bytes data, bint last) except -1
    cdef int wait_for_room(self) except -1
    cdef bint may_have_trailers(self) except -1
    cdef bint full(self, long long size) except -1
    @cython.locals(posted=bint)
    cpdef int deliver_file(self, int descriptor, long long offset, long long count) except -1
    @cython.locals(posted=bint)
    cpdef int deliver_hints(self, FieldBlock block) except -1
    @cython.locals(stream=HTTPStream, parts=list, data=bytes, urgent=bint, deferred=bint)
    cpdef bytes receive(self)
    @cython.locals(posted=bint)
    cdef int ask(self) except -1
    @cython.locals(posted=bint)
    cpdef int failed(self, object error) except -1
    @cython.locals(stream=HTTPStream)
    cpdef bint paused(self) except -1
    cpdef int over(self) except -1
    @cython.locals(gate=Mutex)
    cdef int wait(self) except -1
    @cython.locals(gates=list, gate=Mutex)
    cdef int wake(self) except -1
