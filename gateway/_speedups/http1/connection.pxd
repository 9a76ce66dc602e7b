from gateway._speedups.http.fields cimport check_request, head_error, response_block
from gateway._speedups.http.framing cimport request_framing
from gateway._speedups.http.limits cimport Limits, Timeouts
from gateway._speedups.http.mounts cimport Mount
from gateway._speedups.http.output cimport total
from gateway._speedups.http.service cimport Service, peer_name
from gateway._speedups.http.status cimport error_text, status_line
from gateway._speedups.http.stream cimport HTTPStream, has_no_end
from gateway._speedups.http1.content cimport RequestContent
from gateway._speedups.http1.output cimport ResponseOutput
from gateway._speedups.http1.state cimport allowed
from gateway._speedups.kernels.base cimport Clock, Connection, Responder, Stream, Transport, monotonic
from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.fieldlines cimport PreviousFields
from gateway._speedups.kernels.fields cimport FieldBlock, encode_head
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef int FRAMING_CHUNKED, FRAMING_CLOSE
cdef int IDLE, HEAD, EXCHANGE, DRAIN, LINGER, CLOSED, SWITCHED, F_DATE, F_SERVER
cdef int NEED_DATA, DONE, EXPECT_CONTINUE, OPTION_CLOSE, OPTION_KEEP_ALIVE
cdef int PARSE_STEP, SEND_NOW_SIZE
cdef double FRESH


cdef class HTTP1Connection(Connection):
    cdef Service service
    cdef Limits limits
    cdef Timeouts timeouts
    cdef Clock clock
    cdef Transport transport
    cdef object client, server
    cdef str scheme
    cdef readonly int state
    cdef RequestHead head
    cdef PreviousFields previous
    cdef readonly HTTPStream stream
    cdef readonly long long requests
    cdef long long empty_lines, parse_at

    cdef RequestContent content
    cdef ResponseOutput output
    cdef long long draining_left
    cdef bint close_after, refused, ending, last_request

    cdef double deadline, idle_since, last_tick, half_close_at
    cdef bint peer_eof
    cdef long long linger_left

    cdef bint writing_paused, reading_paused
    cdef bint file_ends
    cdef bint running, scheduled

    @cython.locals(limit=cython.longlong)
    cpdef int opened(self) except -1
    @cython.locals(available=Py_ssize_t)
    cpdef int received(self, Py_ssize_t size) except -1
    cpdef int eof(self) except -1
    cpdef int lost(self, object error) except -1
    cpdef int pause_writing(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int resume_writing(self) except -1
    @cython.locals(stream=HTTPStream, ends=bint)
    cpdef int file_sent(self, object error) except -1
    cpdef int resume(self) except -1
    @cython.locals(elapsed=double)
    cpdef int tick(self, double now) except -1
    @cython.locals(stream=HTTPStream, limit=double)
    cdef int check_stream(self, double now) except -1
    @cython.locals(responder=Responder)
    cdef int take_back(self, HTTPStream stream) except -1
    cpdef int shutdown(self) except -1
    @cython.locals(stream=HTTPStream)
    cdef int end_endless(self) except -1
    @cython.locals(stream=HTTPStream)
    cdef int tell_peer_closed(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int abort_requests(self) except -1

    cpdef bint fresh(self) except -1
    cpdef bint lingering(self) except -1
    @cython.locals(stream=HTTPStream)
    cpdef str describe(self)

    @cython.locals(burst=cython.longlong)
    cdef int run(self) except -1
    @cython.locals(head=RequestHead, limits=Limits, code=int, framing=int)
    cdef bint read_head(self) except -1
    @cython.locals(kind=int)
    cdef bint skip_empty_lines(self) except -1
    @cython.locals(service=Service, limits=Limits, stream=HTTPStream, mount=Mount)
    cdef bint open_stream(self, RequestHead head, int framing) except -1
    @cython.locals(stream=HTTPStream, taker=HTTPStream, content=RequestContent, before=cython.longlong)
    cdef bint read_content(self) except -1
    @cython.locals(stream=HTTPStream)
    cdef int content_error(self, int status, str message) except -1
    @cython.locals(stream=HTTPStream)
    cdef int truncated(self) except -1
    cdef int discard(self, Py_ssize_t size) except -1
    @cython.locals(stream=HTTPStream, full=bint)
    cdef int brake(self) except -1
    @cython.locals(limit=cython.longlong)
    cdef bint input_full(self) except -1
    cdef bint receiving(self) except -1
    cdef int set_body_deadline(self) except -1
    @cython.locals(content=RequestContent, spent=double, rate=cython.longlong)
    cdef int check_upload(self, double elapsed) except -1

    @cython.locals(fields=FieldBlock)
    cpdef int send_informational(self, Stream stream, int status, object block) except -1
    @cython.locals(current=HTTPStream)
    cpdef int send_body(self, Stream stream, bytes data, bint more) except -1
    @cython.locals(current=HTTPStream, transport=Transport, output=ResponseOutput, first=bint, close=bint,
                   large=bint, text=bytes, parts=list, size="Py_ssize_t", taken="Py_ssize_t")
    cpdef Py_ssize_t send_now(self, Stream stream, bytes data, bint more) except -9
    cpdef int complete_send(self, Stream stream, bint ended) except -1
    @cython.locals(current=HTTPStream)
    cpdef int send_file(self, Stream stream, int descriptor, long long offset, long long count,
                        bint more) except -1
    @cython.locals(current=HTTPStream)
    cpdef int send_trailers(self, Stream stream, object block) except -1
    @cython.locals(current=HTTPStream)
    cpdef int read_body(self, Stream stream) except -1
    cpdef int body_consumed(self, Stream stream) except -1
    @cython.locals(current=HTTPStream)
    cpdef int abort_stream(self, Stream stream) except -1
    @cython.locals(current=HTTPStream, fields=FieldBlock, service=Service)
    cpdef int switch_protocols(self, Stream stream, bytes lines, object block, Connection successor) except -1
    @cython.locals(close=bint, too_much=bint)
    cdef int begin_response(self, HTTPStream stream, bytes data, bint complete, long long file_size) except -1

    cdef int response_done(self, HTTPStream stream) except -1
    @cython.locals(stream=HTTPStream)
    cdef int revoke(self) except -1
    cdef int end_exchange(self, HTTPStream stream) except -1
    @cython.locals(service=Service)
    cdef int leave(self, HTTPStream stream) except -1
    cdef int finish(self) except -1
    cdef int fail_stream(self, HTTPStream stream, int status) except -1
    @cython.locals(service=Service, fields=list, text=bytes, suffix=bytes, block=FieldBlock)
    cdef int refuse(self, int status, str message, RequestHead head) except -1
    @cython.locals(content=RequestContent, over=bint, sending=bint)
    cdef int begin_close(self) except -1
    cdef int close(self) except -1
    cdef int abort(self) except -1
    cdef int expire(self) except -1
    cdef int start_half_close(self) except -1
    cdef int set_deadline(self, double seconds) except -1
    cdef int schedule(self) except -1
    cdef int enter(self, int state) except -1
    cdef str peer(self)
