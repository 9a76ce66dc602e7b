from gateway._speedups.kernels.base cimport Executor
from gateway._speedups.kernels.sockets cimport EventQueue, ReceiveBuffer

cimport cython


cdef class Hub:
    cdef readonly object loop, context, log
    cdef readonly Py_ssize_t high_water
    cdef readonly bint sendfile
    cdef public Executor executor
    cdef EventQueue events
    cdef ReceiveBuffer buffer
    cdef readonly set transports
    cdef set listening
    cdef list unsettled, scheduled
    cdef list held
    cdef double held_since
    cdef bint busy, holding, woken, closed

    @cython.locals(code=int)
    cdef int watch(self, object source, int number, unsigned int old, unsigned int new) except -1
    cdef int unsettle(self, object transport) except -1
    cdef int schedule(self, object transport, object connection) except -1
    cdef int wake(self) except -1
    cpdef int later(self) except -1


cpdef object failure(int code)
