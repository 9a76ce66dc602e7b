# cython: language_level=3

from gateway._speedups.kernels.base cimport Responder


cdef class Ready
cdef class Receive
cdef class Waiter


cdef class Driver(Responder):
    cdef object _coroutine
    cdef bint _ended
    cdef readonly object task
    cdef Waiter _awaited
    cdef tuple _left

    cpdef object start(self, object coroutine, object context, dict options)
    cpdef int finished(self, object error) except -1
    cpdef dict next_event(self)
    cpdef int await_event(self, Waiter one) except -1
    cpdef int forget_waiter(self, Waiter one) except -1
    cpdef int drive(self, Waiter one) except -1

    cdef object _send(self, object value)
    cdef object _throw(self, object error)
    cdef int _end(self, object error) except -1


cpdef dict task_options(object loop, bint eager)
cpdef object copy_context(object context)
cpdef Ready ready(object value)
cpdef Waiter waiter(object loop)
cpdef Receive receive(Driver driver, object loop)


cdef class Ready:
    cdef readonly object value


cdef class Yield:
    cdef bint _resumed


cdef class _SharedYield:
    pass


cdef class Waiter:
    cdef object loop, callback, context, message
    cdef public bint _asyncio_future_blocking
    cdef bint is_done, is_cancelled, driven, cancelled_late

    cpdef int wake(self) except -1
    cpdef int wake_now(self) except -1


cdef class Receive:
    cdef Driver _driver
    cdef object _loop
    cdef Waiter _waiter
    cdef public bint idle
