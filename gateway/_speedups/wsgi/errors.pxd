cdef int MAX_LINE
