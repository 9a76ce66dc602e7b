cimport cython



cdef class FileWrapper:
    cdef readonly object filelike, block_size
    cdef readonly long long offset, count

    @cython.locals(descriptor=int)
    cpdef int locate(self) except -1


cpdef bint reads_as(object file, object kind) except -1
