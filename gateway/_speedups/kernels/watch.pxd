# cython: language_level=3


cdef class Heartbeat:
    cdef Py_buffer _memory
    cdef bint _held
    cdef Py_ssize_t _offset
    cdef int _interval
    # What the thread uses; NULL while there is none.
    cdef void *_beat

    cpdef bint start(self) except -1
    cpdef int stop(self) except -1
    cdef int _end(self) noexcept
