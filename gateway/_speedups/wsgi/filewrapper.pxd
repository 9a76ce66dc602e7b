cimport cython

cdef object RAW_FILE, TEMPORARY_FILE
cdef tuple BUFFERED_FILES


cdef class FileWrapper:
    cdef readonly object filelike, block_size
    cdef readonly long long offset, count

    @cython.locals(descriptor=int)
    cpdef int locate(self) except -1
