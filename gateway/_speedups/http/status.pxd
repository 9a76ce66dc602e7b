cdef dict REASONS
cdef dict STATUS_LINES
cdef tuple LINES

cimport cython

@cython.locals(line=bytes)
cpdef bytes status_line(int status, bytes reason)
cpdef bytes error_text(int status, str detail)
