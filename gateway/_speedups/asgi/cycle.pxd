from gateway._speedups.asgi.scope cimport base_scope, http_extensions, http_scope
from gateway._speedups.asgi.websocket cimport WebSocketCycle, websocket_scope
from gateway._speedups.http.fields cimport response_block, trailer_block
from gateway._speedups.http.stream cimport HTTPStream, has_no_end
from gateway._speedups.http.websocket cimport WebSocketStream
from gateway._speedups.kernels.base cimport Handler, Responder, Stream, bind
from gateway._speedups.kernels.driver cimport Driver, Yield, copy_context, ready, task_options
from gateway._speedups.kernels.fields cimport FieldBlock

cimport cython

cdef long long BURST, MESSAGE_COST
cdef object READY, YIELD, RECEIVE, SEND, WEBSOCKET_RECEIVE, WEBSOCKET_SEND


cdef class ASGIHandler(Handler):
    cdef readonly object app, loop, log
    cdef readonly dict state
    cdef readonly bint asgi2, plain
    cdef dict base, extensions, options
    cdef object context
    cdef readonly set cycles

    @cython.locals(exchange=HTTPStream, cycle=ASGICycle, scope=dict)
    cpdef Responder open(self, Stream stream)
    @cython.locals(socket=WebSocketStream, cycle=WebSocketCycle, scope=dict)
    cpdef Responder open_websocket(self, Stream stream)
    cpdef Py_ssize_t active(self) except -1
    cpdef int cancel_all(self) except -1


cdef class ASGICycle(Driver):
    cdef readonly ASGIHandler handler
    cdef readonly HTTPStream stream
    cdef bint body_done
    cdef long long burst
    cdef list waiters, trailers

    cdef int prepare(self, ASGIHandler handler, HTTPStream stream) except -1

    @cython.locals(event=dict, stream=HTTPStream)
    cpdef object send_event(self, message)
    @cython.locals(message=dict)
    cpdef object receive_event(self)

    cpdef int body_available(self) except -1
    cpdef int disconnected(self) except -1
    cpdef int peer_closed(self) except -1
    cpdef int writable(self) except -1
    cpdef int cancel(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int finished(self, object error) except -1

    @cython.locals(stream=HTTPStream, complete=bint, data=bytes)
    cpdef dict next_event(self)
    cdef object wait(self)
    @cython.locals(waiters=list)
    cdef int wake(self) except -1
    @cython.locals(stream=HTTPStream)
    cdef int check_complete(self, str kind) except -1
    @cython.locals(stream=HTTPStream, block=FieldBlock)
    cdef int start_response(self, dict message) except -1
    cdef int send_trailers(self, dict message) except -1
    cdef int early_hint(self, dict message) except -1
    cdef object send_path(self, dict message)
    cdef object send_zero_copy(self, dict message)


cpdef bytes as_bytes(object body)
