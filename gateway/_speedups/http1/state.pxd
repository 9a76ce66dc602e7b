cdef tuple TRANSITIONS

cpdef bint allowed(int old, int new) except -1
