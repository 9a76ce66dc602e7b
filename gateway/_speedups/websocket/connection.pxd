from gateway._speedups.http.fields cimport encode_fields
from gateway._speedups.http.limits cimport Limits, Timeouts
from gateway._speedups.http.service cimport Service, peer_name
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.http.websocket cimport WebSocketStream
from gateway._speedups.kernels.base cimport Clock, Connection, Stream, Transport, monotonic
from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.masking cimport FrameHead, encode_frame, encode_text, frame_head, take_payload
from gateway._speedups.websocket.deflate cimport Deflate
from gateway._speedups.websocket.frames cimport check_control, check_frame, close_payload, read_close
from gateway._speedups.websocket.handshake cimport Handshake, agreed_fields, check_accept_fields, switching_fields
from gateway._speedups.websocket.message cimport IncomingMessage
from gateway._speedups.websocket.output cimport FrameOutput

cimport cython

cdef int ABNORMAL_CLOSURE, DROP_SWITCHING, INTERNAL_ERROR, SERVICE_RESTART
cdef int BINARY, CLOSE, DONE, PING, PONG, TEXT
cdef int OPENING, OPEN, CLOSING, LINGER, CLOSED
cdef Py_ssize_t JOIN_SIZE
cdef int BURST
cdef double RESTART_SPREAD


cdef class WebSocketConnection(Connection):
    cdef Service service
    cdef Limits limits
    cdef Timeouts timeouts
    cdef Clock clock
    cdef Transport transport
    cdef Handshake handshake
    cdef Deflate deflate
    cdef bytes extension, path
    cdef object client
    cdef readonly WebSocketStream stream
    cdef readonly int state
    cdef readonly double started

    cdef FrameHead head
    cdef bint in_payload
    cdef long long taken
    cdef IncomingMessage message

    cdef bint running, scheduled, braked, reading_paused, peer_eof, heard
    cdef long long linger_left

    cdef FrameOutput output
    cdef bint writing_paused
    cdef bytes pong
    cdef long long ping_number
    cdef double deadline, ping_at, ping_sent, pong_deadline, close_at

    @cython.locals(handshake=Handshake, block=FieldBlock, lines=bytes, exchange=HTTPStream)
    cpdef int accept_websocket(self, Stream stream, object subprotocol, object fields) except -1
    @cython.locals(interval=double)
    cpdef int take_over(self, Transport transport) except -1

    cpdef int received(self, Py_ssize_t size) except -1
    cpdef int eof(self) except -1
    cpdef int lost(self, object error) except -1
    cpdef int pause_writing(self) except -1
    @cython.locals(pong=bytes, stream=WebSocketStream)
    cpdef int resume_writing(self) except -1
    cpdef int file_sent(self, object error) except -1
    cpdef int resume(self) except -1
    cpdef int tick(self, double now) except -1
    cpdef int shutdown(self) except -1
    cpdef int abort_requests(self) except -1
    cpdef bint fresh(self) except -1
    cpdef bint lingering(self) except -1
    cpdef str describe(self)

    @cython.locals(burst=int)
    cdef int run(self) except -1
    @cython.locals(limit=cython.longlong)
    cdef bint full(self) except -1
    cdef int brake(self) except -1
    @cython.locals(head=FrameHead, message=IncomingMessage, left=cython.longlong, available=Py_ssize_t, size=Py_ssize_t,
                   piece=bytes, complete=object)
    cdef bint read_frame(self) except -1
    cdef int deliver(self, object message) except -1
    @cython.locals(code=int, reason=str)
    cdef int control(self, int opcode, bytes payload) except -1
    cpdef int messages_taken(self, Stream stream) except -1

    @cython.locals(text=bint, compress=bint, opcode=int, data=bytes)
    cpdef int send_message(self, Stream stream, object message) except -1
    @cython.locals(payload=bytes)
    cpdef int close_websocket(self, Stream stream, int code, str reason) except -1
    cdef int send_close(self, bytes payload) except -1
    cdef int end(self, int code, str reason) except -1
    cdef int fail(self, int code, str reason) except -1
    cdef int ping(self, double now) except -1
    cdef bytes ping_payload(self)
    cdef int miss_pong(self, double now) except -1
    cdef int forget(self) except -1
    @cython.locals(sending=bint)
    cdef int linger(self) except -1
    cdef int close(self) except -1
    cdef int abort(self) except -1
    cdef int set_deadline(self, double seconds) except -1
    cdef int schedule(self) except -1
