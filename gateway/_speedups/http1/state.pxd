cdef long long PACKED

cpdef bint allowed(int old, int new) except -1
