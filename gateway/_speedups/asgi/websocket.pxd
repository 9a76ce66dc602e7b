from gateway._speedups.asgi.scope cimport set_root_path
from gateway._speedups.http.fields cimport response_block
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.http.websocket cimport WebSocketStream
from gateway._speedups.kernels.base cimport Responder
from gateway._speedups.kernels.driver cimport Driver, Receive, Waiter, Yield, receive, waiter

cimport cython

cdef long long BURST, MESSAGE_COST
cdef object READY, YIELD
cdef int ABNORMAL_CLOSURE, INTERNAL_ERROR, NORMAL_CLOSURE
cdef tuple FORBIDDEN_FIELDS


cdef class WebSocketCycle(Driver):
    cdef object loop, log
    cdef set cycles
    cdef readonly WebSocketStream stream
    cdef bint connected, denied
    cdef long long burst
    cdef Receive receiving
    cdef Waiter receiver
    cdef list receivers, senders

    @cython.locals(receiving=Receive)
    cpdef object receive_event(self)
    @cython.locals(event=dict, stream=WebSocketStream)
    cpdef object send_event(self, message)

    cpdef int body_available(self) except -1
    @cython.locals(stream=WebSocketStream)
    cpdef int disconnected(self) except -1
    cpdef int peer_closed(self) except -1
    cpdef int writable(self) except -1
    cpdef int cancel(self) except -1
    @cython.locals(stream=WebSocketStream, cancelled=bint, code=int)
    cpdef int finished(self, object error) except -1
    @cython.locals(stream=WebSocketStream, exchange=HTTPStream)
    cdef int unanswered(self, object error) except -1

    @cython.locals(stream=WebSocketStream)
    cpdef dict next_event(self)
    cpdef int await_event(self, Waiter one) except -1
    cpdef int forget_waiter(self, Waiter one) except -1
    @cython.locals(first=Waiter, waiters=list, one=Waiter)
    cdef int wake_receivers(self) except -1
    @cython.locals(stream=WebSocketStream)
    cdef int accept(self, dict event) except -1
    @cython.locals(stream=WebSocketStream)
    cdef int close_websocket(self, dict event) except -1
    @cython.locals(stream=WebSocketStream, exchange=HTTPStream, body=bytes)
    cdef int deny(self, str kind, dict event) except -1
    @cython.locals(stream=WebSocketStream)
    cdef int check_open(self, str kind) except -1
    @cython.locals(stream=WebSocketStream, exchange=HTTPStream)
    cdef bint can_send(self) except -1
    @cython.locals(waiters=list, one=Waiter)
    cdef int wake_senders(self) except -1


@cython.locals(exchange=HTTPStream, scope=dict)
cpdef dict websocket_scope(WebSocketStream stream, dict base, dict state)
@cython.locals(left=list)
cdef list with_waiter(list waiters, Waiter one)
cdef bytes as_bytes(object data)
cdef str as_text(object data, str kind)
cdef int as_code(object code) except -1
