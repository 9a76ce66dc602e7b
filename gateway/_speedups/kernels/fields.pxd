# cython: language_level=3

cpdef enum:
    FIELDS_OK = 0
    FIELD_NOT_PAIR = 1
    FIELD_BAD_TYPE = 2
    FIELD_BAD_NAME = 3
    FIELD_BAD_VALUE = 4

cpdef enum:
    F_CONTENT_LENGTH = 1
    F_TRANSFER_ENCODING = 2
    F_CONNECTION = 4
    F_DATE = 8
    F_SERVER = 16
    F_KEEP_ALIVE = 32
    F_UPGRADE = 64
    F_TRAILER = 128
    F_CONTENT_TYPE = 256
    F_PROXY_CONNECTION = 512
    F_TE = 1024
    F_HOST = 2048


# Where the lines are collected: on the caller's stack while they fit, then on the heap.
cdef struct Lines:
    unsigned char *front
    Py_ssize_t size
    Py_ssize_t capacity
    unsigned char *heap


cdef class FieldBlock:
    cdef readonly bytes data, error_name
    cdef readonly Py_ssize_t count
    cdef readonly int seen, content_length_count, connection_options
    cdef readonly long long content_length

    cpdef int encode(self, object fields, int drop) except -1
    cpdef object get(self, bytes name)

    cdef int _encode_all(self, object fields, int drop, Lines *lines) except -1
    cdef int _encode_field(self, object item, int drop, Lines *lines) except -1
    cdef void _reset(self) noexcept


cpdef bytes encode_head(bytes status_line, bytes prefix, bytes data, bytes suffix, bytes body)
