from gateway._speedups.http.fields cimport check_request, encode_fields, head_error, response_block
from gateway._speedups.http.framing cimport request_framing, response_framing
from gateway._speedups.http.limits cimport Limits, Timeouts
from gateway._speedups.http.service cimport Service
from gateway._speedups.http.status cimport error_text, status_line
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.http1.state cimport allowed
from gateway._speedups.kernels.base cimport Clock, Connection, Stream, Transport
from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.chunked cimport ChunkedDecoder, chunk_head, encode_chunk
from gateway._speedups.kernels.fields cimport FieldBlock, encode_head
from gateway._speedups.kernels.head cimport RequestHead, TrailerSection

cimport cython

cdef int FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE
cdef int IDLE, HEAD, EXCHANGE, DRAIN, LINGER, CLOSED
cdef int CHUNK_DATA, CHUNK_END, CHUNK_NEED_DATA
cdef int NEED_DATA, DONE, EXPECT_CONTINUE, OPTION_CLOSE, OPTION_KEEP_ALIVE
cdef int F_CONTENT_LENGTH, F_DATE, F_SERVER, DROP_RESPONSE
cdef bytes LAST_CHUNK

cdef int PARSE_STEP
cdef Py_ssize_t JOIN_SIZE
cdef dict CHUNK_ERRORS


cdef class HTTP1Connection(Connection):
    cdef Service service
    cdef Limits limits
    cdef Timeouts timeouts
    cdef Clock clock
    cdef Transport transport
    cdef object client, server
    cdef str scheme
    cdef readonly int state
    cdef InputBuffer input
    cdef RequestHead head
    cdef readonly HTTPStream stream
    cdef readonly long long requests
    cdef long long empty_lines, parse_at

    cdef int framing
    cdef long long remaining, received, draining_left
    cdef double receive_time
    cdef ChunkedDecoder decoder
    cdef TrailerSection trailers

    cdef int response_framing
    cdef bint close_after

    cdef double deadline, last_tick, half_close_at
    cdef bint peer_eof
    cdef long long linger_left

    cdef long long written, acked
    cdef bint write_pending, writing_paused, reading_paused
    cdef double write_deadline
    cdef bint file_active, file_ends
    cdef bint running, scheduled

    @cython.locals(limit=cython.longlong)
    cpdef int opened(self) except -1
    cpdef int feed(self, bytes data) except -1
    cpdef int eof(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int lost(self, object error) except -1
    cpdef int pause_writing(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int resume_writing(self) except -1
    @cython.locals(stream=HTTPStream, ends=bint)
    cpdef int file_sent(self, object error) except -1
    cpdef int resume(self) except -1
    @cython.locals(stream=HTTPStream, elapsed=double)
    cpdef int tick(self, double now) except -1
    cpdef int shutdown(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int abort_requests(self) except -1

    @cython.locals(burst=cython.longlong)
    cdef int run(self) except -1
    cdef bint content_complete(self) except -1
    @cython.locals(head=RequestHead, limits=Limits, code=int)
    cdef bint read_head(self) except -1
    @cython.locals(kind=int)
    cdef bint skip_empty_lines(self) except -1
    @cython.locals(service=Service, limits=Limits, stream=HTTPStream)
    cdef bint open_stream(self, RequestHead head) except -1
    @cython.locals(stream=HTTPStream, discarding=bint, before=cython.longlong, size=cython.longlong)
    cdef bint read_content(self) except -1
    @cython.locals(limits=Limits, decoder=ChunkedDecoder, code=int, data=bytes)
    cdef bint read_chunks(self, HTTPStream stream, bint discarding) except -1
    @cython.locals(stream=HTTPStream)
    cdef int content_error(self, int status, str message) except -1
    @cython.locals(stream=HTTPStream)
    cdef int truncated(self) except -1
    cdef int discard(self, Py_ssize_t size) except -1
    @cython.locals(stream=HTTPStream, full=bint)
    cdef int brake(self) except -1
    @cython.locals(limit=cython.longlong)
    cdef bint body_full(self, HTTPStream stream) except -1
    @cython.locals(limit=cython.longlong)
    cdef bint input_full(self) except -1
    cdef bint receiving(self) except -1
    cdef int set_body_deadline(self) except -1
    @cython.locals(rate=cython.longlong)
    cdef int check_upload(self, double elapsed) except -1

    @cython.locals(fields=FieldBlock)
    cpdef int send_informational(self, Stream stream, int status, object block) except -1
    @cython.locals(current=HTTPStream)
    cpdef int send_body(self, Stream stream, bytes data, bint more) except -1
    @cython.locals(current=HTTPStream)
    cpdef int send_file(self, Stream stream, int descriptor, long long offset, long long count,
                        bint more) except -1
    @cython.locals(current=HTTPStream, fields=FieldBlock)
    cpdef int send_trailers(self, Stream stream, object block) except -1
    @cython.locals(current=HTTPStream)
    cpdef int read_body(self, Stream stream) except -1
    cpdef int body_consumed(self, Stream stream) except -1
    @cython.locals(current=HTTPStream)
    cpdef int abort_stream(self, Stream stream) except -1
    @cython.locals(head=RequestHead, block=FieldBlock, length=cython.longlong, suffix=bytes, complete=bint,
                   trailers=bint, framing=int, prefix=bytes, line=bytes, text=bytes)
    cdef int start_response(self, HTTPStream stream, bytes data, bint more, long long file_size) except -1
    @cython.locals(size=Py_ssize_t, after=bytes)
    cdef int write_content(self, bytes before, bytes data, bint last) except -1
    cdef int write(self, bytes data) except -1
    @cython.locals(left=cython.longlong, acked=cython.longlong)
    cdef int check_output(self, double now) except -1

    cdef int response_done(self, HTTPStream stream) except -1
    cdef int end_exchange(self, HTTPStream stream) except -1
    @cython.locals(service=Service)
    cdef int leave(self, HTTPStream stream) except -1
    cdef int finish(self) except -1
    cdef int fail_stream(self, HTTPStream stream, int status) except -1
    @cython.locals(service=Service, fields=list, text=bytes, suffix=bytes, block=FieldBlock)
    cdef int refuse(self, int status, str message, RequestHead head) except -1
    cdef int begin_close(self) except -1
    cdef int close(self) except -1
    cdef int abort(self) except -1
    cdef int expire(self) except -1
    cdef int start_half_close(self) except -1
    cdef int set_deadline(self, double seconds) except -1
    cdef int schedule(self) except -1
    cdef int enter(self, int state) except -1
    cdef str peer(self)
