# cython: language_level=3

from gateway._speedups.kernels.buffer cimport InputBuffer


cdef class FrameHead:
    cdef readonly bint fin
    cdef readonly int rsv
    cdef readonly int opcode
    cdef readonly bint masked
    cdef readonly bint minimal
    cdef readonly long long length
    # To be read as `key`.
    cdef unsigned char[4] _key

    cpdef int parse(self, InputBuffer buffer) except -1


cpdef bytes take_payload(InputBuffer buffer, FrameHead head, long long offset, Py_ssize_t size)
cpdef str take_text(InputBuffer buffer, FrameHead head, Py_ssize_t size)


cdef class TextCheck:
    cdef int _state

    cpdef bint feed(self, bytes data) except -1
    cpdef bint complete(self) except -1
    cpdef int reset(self) except -1


cpdef bytes frame_head(int opcode, long long length, bint fin, bint rsv1)
cpdef bytes encode_frame(int opcode, bytes data, bint fin, bint rsv1)
cpdef bytes encode_text(object text)
cpdef bytes mask(bytes data, bytes key, long long offset)
