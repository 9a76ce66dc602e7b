# cython: language_level=3

from gateway._speedups.kernels.base cimport Responder


cdef class Ready
cdef class Waiter


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
cpdef Waiter waiter(object loop)


cdef class Ready:
    cdef readonly object value


cdef class Yield:
    cdef bint _resumed


cdef class _SharedYield:
    pass


cdef class Waiter:
    cdef object _loop, _callback, _context, _message
    cdef public bint _asyncio_future_blocking
    cdef bint _done, _cancelled

    cpdef int wake(self) except -1
    cpdef int wake_now(self) except -1
