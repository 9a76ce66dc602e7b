# cython: language_level=3

from gateway._speedups.kernels.buffer cimport Span

cpdef enum:
    ORIGIN_FORM = 0
    ABSOLUTE_FORM = 1
    AUTHORITY_FORM = 2
    ASTERISK_FORM = 3


# An authority that is not there starts at -1.
cdef struct Target:
    Span whole
    Span path
    Span query
    Span authority
    int form


cdef bint parse_target(const unsigned char *data, Py_ssize_t start, Py_ssize_t end, Target *target) noexcept
cdef str decoded(const unsigned char *data, Py_ssize_t size, bint utf8)
