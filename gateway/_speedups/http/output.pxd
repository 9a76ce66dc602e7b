from gateway._speedups.kernels.base cimport Transport

cimport cython


cdef class Output:
    cdef Transport transport
    cdef readonly bint pending
    cdef long long written, acked
    cdef double deadline

    cdef int assign(self, Transport transport) except -1
    cdef int write(self, bytes data) except -1
    cdef int write_parts(self, list parts) except -1
    cdef bint waiting(self) except -1
    @cython.locals(left=cython.longlong)
    cdef bint stalled(self, double now, double timeout) except -1
    cdef bint late(self, long long acked, double now, double timeout) except -1


@cython.locals(size="Py_ssize_t", part=bytes)
cpdef Py_ssize_t total(list parts) except -1
