from gateway._speedups.http.fields cimport response_block
from gateway._speedups.http.framing cimport lacks_content, response_length
from gateway._speedups.http.mounts cimport Mount, begins_with
from gateway._speedups.http.service cimport Service
from gateway._speedups.http.status cimport error_text
from gateway._speedups.kernels.base cimport Connection, Responder, Stream
from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef int ASTERISK_FORM

cdef class HTTPStream(Stream):
    cdef readonly Service service
    cdef readonly Connection connection
    cdef readonly RequestHead head
    cdef public object client, server
    cdef public str scheme, root_path, received_root
    cdef public Mount mount
    cdef public Responder responder
    cdef public object environ
    cdef public double started, finished, due

    cdef public long long request_length
    cdef list body_parts
    cdef readonly long long body_size, unconsumed
    cdef public bint body_complete, expect_continue

    cdef readonly int status
    cdef readonly bytes reason
    cdef readonly FieldBlock block
    cdef readonly bint is_head, no_content, expect_trailers, response_started, content_done
    cdef readonly long long response_length
    cdef public bint head_sent, response_complete, writable, disconnected, peer_closed, threadsafe, urgent
    cdef public long long body_sent

    cpdef int prepare(self, Service service, Connection connection, RequestHead head, object client, object server,
                      str scheme) except -1

    @cython.locals(mount=Mount, path=bytes, root=str)
    cdef bint enter_mount(self) except -1
    cpdef double time_limit(self) except -1.0
    cpdef int feed_body(self, bytes data) except -1
    cpdef int end_body(self) except -1
    cpdef int disconnect(self) except -1

    @cython.locals(parts=list)
    cpdef bytes take_body(self)
    cpdef int consumed(self, long long size) except -1
    cpdef int want_body(self) except -1

    cpdef int send_informational(self, int status, FieldBlock block) except -1
    cpdef int send_head(self, int status, bytes reason, FieldBlock block, bint trailers) except -1
    @cython.locals(size="Py_ssize_t", room=cython.longlong)
    cpdef int send_body(self, bytes data, bint more) except -1
    @cython.locals(size="Py_ssize_t", room=cython.longlong, left="Py_ssize_t")
    cpdef Py_ssize_t send_now(self, bytes data, bint more) except -9
    cpdef int complete_send(self, bint ended) except -1
    @cython.locals(room=cython.longlong)
    cpdef int send_file(self, int descriptor, long long offset, long long count, bint more) except -1
    cpdef int send_trailers(self, object block) except -1
    cpdef int switched(self, FieldBlock block) except -1
    @cython.locals(fields=list)
    cpdef int fail(self, int status) except -1
    cpdef int abort(self) except -1
    cdef int check_sending(self) except -1
    cdef int end_content(self, bytes data) except -1


@cython.locals(media=bytes)
cpdef bint has_no_end(HTTPStream stream) except -1
