from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.base cimport Connection, Responder, Stream

cimport cython

cdef Py_ssize_t MESSAGE_COST


cdef class WebSocketStream(Stream):
    cdef readonly Connection connection
    cdef readonly HTTPStream exchange
    cdef readonly list subprotocols
    cdef public Responder responder
    cdef list messages
    cdef readonly Py_ssize_t queued
    cdef readonly bint accepted, closed, disconnected
    cdef readonly int code
    cdef readonly str reason
    cdef public bint writable

    cpdef int feed_message(self, object message) except -1
    cpdef int disconnect(self, int code, str reason) except -1
    @cython.locals(messages=list)
    cpdef object take_message(self)
    cpdef int accept(self, object subprotocol, object fields) except -1
    cpdef int send_message(self, object message) except -1
    cpdef int close(self, int code, str reason) except -1
