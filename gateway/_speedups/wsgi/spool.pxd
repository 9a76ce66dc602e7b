cdef class Spool:
    cdef object file
    cdef bint written

    cpdef int write(self, bytes data) except -1
    cpdef bytes read(self)
    cpdef int close(self) except -1
