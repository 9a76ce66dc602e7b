from gateway._speedups.http.limits cimport Limits
from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.masking cimport FrameHead, TextCheck, take_payload, take_text
from gateway._speedups.websocket.deflate cimport Deflate

cimport cython

cdef int CONTINUATION, INVALID_DATA, RSV1, TEXT, TOO_BIG
cdef Py_ssize_t SMALL_PIECE


cdef class IncomingMessage:
    cdef Limits limits
    cdef Deflate deflate
    cdef readonly int opcode
    cdef bint compressed
    cdef list parts
    cdef long long raw_size, size, fragments
    cdef TextCheck check

    cdef int clear(self) except -1
    @cython.locals(limits=Limits, limit=cython.longlong)
    cdef int begin_frame(self, FrameHead head) except -1
    cdef bint plain(self) except -1
    @cython.locals(text=str)
    cdef object whole(self, InputBuffer source, FrameHead head, Py_ssize_t size)
    @cython.locals(limit=cython.longlong, parts=list, message=bytes)
    cdef object add(self, bytes piece, bint last)
