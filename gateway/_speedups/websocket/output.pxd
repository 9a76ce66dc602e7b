from gateway._speedups.http.output cimport Output

cimport cython

cdef Py_ssize_t CORK_SIZE


cdef class FrameOutput(Output):
    cdef bint corked
    cdef list held
    cdef Py_ssize_t held_size

    cdef int send(self, bytes frame) except -1
    cdef int send_parts(self, list parts) except -1
    @cython.locals(held=list)
    cdef int flush(self) except -1
    cdef int uncork(self) except -1
    cdef int drop(self) except -1
