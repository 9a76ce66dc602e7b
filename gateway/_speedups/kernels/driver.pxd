# cython: language_level=3

from gateway._speedups.kernels.base cimport Responder


cdef class Ready


cdef class Driver(Responder):
    cdef object _coroutine
    cdef bint _ended
    cdef readonly object task

    cpdef object start(self, object coroutine, object context, dict options)
    cpdef int finished(self, object error) except -1

    cdef object _send(self, object value)
    cdef object _throw(self, object error)
    cdef int _end(self, object error) except -1


cpdef dict task_options(object loop, bint eager)
cpdef object copy_context(object context)
cpdef Ready ready(object value)


cdef class Ready:
    cdef readonly object value


cdef class Yield:
    cdef bint _resumed


cdef class _SharedYield:
    pass
