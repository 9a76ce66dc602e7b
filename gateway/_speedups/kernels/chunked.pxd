# cython: language_level=3

from gateway._speedups.kernels.buffer cimport InputBuffer

cpdef enum:
    CHUNK_NEED_DATA = 0
    CHUNK_DATA = 1
    CHUNK_END = 2
    BAD_CHUNK_SIZE = 3
    CHUNK_SIZE_OVERFLOW = 4
    CHUNK_LINE_TOO_LONG = 5
    BAD_CHUNK_EXTENSION = 6
    BAD_CHUNK_TERMINATOR = 7


cdef class ChunkedDecoder:
    cdef readonly bytes data
    cdef readonly long long excess
    cdef long long _remaining
    cdef int _state

    cpdef int decode(self, InputBuffer input, long long max_line) except -1
    cdef int _decode_line(self, InputBuffer input, long long max_line) except -1


cpdef bytes chunk_head(long long size)
cpdef bytes encode_chunk(bytes data)
