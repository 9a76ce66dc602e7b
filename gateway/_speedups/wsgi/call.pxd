from gateway._speedups.http.framing cimport lacks_content, response_length
from gateway._speedups.kernels.base cimport Task, bind
from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.wsgi.filewrapper cimport FileWrapper
from gateway._speedups.wsgi.start cimport header_block, reason_phrase, status_code, trailers_block

cimport cython

cdef Py_ssize_t MAX_JOIN
cdef object START_RESPONSE, WRITE


cdef class ApplicationCall(Task):
    cdef readonly object app
    cdef public object environ
    cdef readonly bint is_head, trailers_open, sendfile
    cdef readonly bint started, no_content
    cdef readonly int status
    cdef readonly bytes reason
    cdef object headers
    cdef readonly FieldBlock block
    cdef readonly long long length, sent
    cdef readonly FieldBlock trailers
    cdef public bint delivered, ended, gone, peer_left
    cdef readonly object result
    cdef object iterator
    cdef bint single, wrapped

    cpdef int prepare(self, object app, object environ, bint is_head, bint trailers_open, bint sendfile) except -1

    cpdef bint begin(self) except -1
    cpdef int deliver(self, bytes data, bint last) except -1
    cpdef int deliver_file(self, int descriptor, long long offset, long long count) except -1
    cpdef int deliver_hints(self, FieldBlock block) except -1
    cpdef bytes receive(self)
    cpdef int failed(self, object error) except -1
    cpdef int over(self) except -1

    cpdef bint paused(self) except -1

    cpdef int run(self) except -1
    cpdef int proceed(self) except -1
    cpdef int end(self, object error) except -1
    @cython.locals(count="Py_ssize_t")
    cdef bint respond(self) except -1
    cdef bint send_parts_left(self) except -1
    cdef int send_part(self, object data) except -1
    cdef bint complete(self) except -1
    @cython.locals(descriptor=int, count=cython.longlong, room=cython.longlong)
    cdef bint respond_file(self, FileWrapper wrapper) except -1
    cpdef int declare_length(self, long long size) except -1
    @cython.locals(room=cython.longlong)
    cdef int send(self, bytes data, bint last) except -1


cpdef Py_ssize_t item_count(object result) except -1
@cython.locals(size="Py_ssize_t")
cpdef object joined(object result)
