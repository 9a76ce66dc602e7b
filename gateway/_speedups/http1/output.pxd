from gateway._speedups.http.fields cimport encode_fields
from gateway._speedups.http.framing cimport response_framing
from gateway._speedups.http.output cimport Output, total
from gateway._speedups.http.service cimport Service
from gateway._speedups.http.status cimport status_line
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.chunked cimport chunk_head, encode_chunk
from gateway._speedups.kernels.fields cimport FieldBlock, encode_head
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef int FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE
cdef int F_CONTENT_LENGTH, F_DATE, F_SERVER, DROP_RESPONSE, OPTION_CLOSE
cdef bytes LAST_CHUNK
cdef Py_ssize_t JOIN_SIZE


cdef class ResponseOutput(Output):
    cdef readonly int framing
    cdef public bint file_active
    cdef readonly bint closes
    cdef bint joined
    cdef list left
    cdef Py_ssize_t left_from
    cdef long long file_size

    @cython.locals(text=bytes)
    cdef bint begin(self, HTTPStream stream, Service service, bytes data, bint complete, long long file_size,
                    bint close) except -1
    @cython.locals(text=bytes)
    cdef bytes compose(self, HTTPStream stream, Service service, bytes data, bint complete, long long file_size,
                       bint close)
    cdef bytes framed(self, bytes data, bint last)
    @cython.locals(head=RequestHead, block=FieldBlock, length=cython.longlong, suffix=bytes, known=bint,
                   framing=int, prefix=bytes, line=bytes)
    cdef bytes encode(self, HTTPStream stream, Service service, bytes data, bint complete, long long file_size,
                      bint close)
    @cython.locals(text=bytes)
    cdef int content(self, bytes data, bint last) except -1
    cdef int frame(self, bytes before, bytes data, bint last) except -1
    cdef list parts(self, bytes before, bytes data, bint last)
    @cython.locals(parts=list)
    cdef int send_left(self) except -1
    cdef int end(self, FieldBlock trailers) except -1
    cdef int file(self, int descriptor, long long offset, long long count) except -1
    cdef int file_sent(self, bint last) except -1
    cdef bint waiting(self) except -1
    cdef bint stalled(self, double now, double timeout) except -1
    cdef int stop(self, HTTPStream stream) except -1
