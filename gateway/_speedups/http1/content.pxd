from gateway._speedups.http.fields cimport head_error
from gateway._speedups.http.limits cimport Limits
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.chunked cimport ChunkedDecoder
from gateway._speedups.kernels.fieldlines cimport TrailerSection

cimport cython

cdef int FRAMING_CHUNKED, FRAMING_LENGTH
cdef int CHUNK_DATA, CHUNK_END, CHUNK_NEED_DATA
cdef int DONE, NEED_DATA
cdef dict CHUNK_ERRORS


cdef class RequestContent:
    cdef Limits limits
    cdef int framing
    cdef readonly long long remaining, received
    cdef public double receive_time
    cdef public long long most
    cdef ChunkedDecoder decoder
    cdef readonly TrailerSection trailers

    cdef int expect(self, int framing, long long length) except -1
    cdef bint complete(self) except -1
    @cython.locals(limit=cython.longlong)
    cdef bint full(self, HTTPStream stream) except -1
    @cython.locals(size=cython.longlong)
    cdef int read(self, InputBuffer source, HTTPStream stream) except -1
    @cython.locals(limits=Limits, decoder=ChunkedDecoder, code=int, data=bytes)
    cdef int read_chunks(self, InputBuffer source, HTTPStream stream) except -1
