# cython: language_level=3

from gateway._speedups.kernels.buffer cimport InputBuffer

cdef class Connection
cdef class Stream
cdef class Responder


cpdef object bind(object function, object instance)
cpdef double monotonic() except -1
cpdef double wall() except -1


cdef class Clock:
    cdef public double time


cdef class Transport:
    cdef public bint threadsafe

    cpdef int write(self, bytes data) except -1
    cpdef int write_parts(self, list parts) except -1
    cpdef Py_ssize_t send_now(self, bytes data) except -9
    cpdef Py_ssize_t send_parts_now(self, list parts) except -9
    cpdef int write_rest(self, list parts, Py_ssize_t taken) except -1
    cpdef Py_ssize_t buffered(self) except -1
    cpdef int pause_reading(self) except -1
    cpdef int resume_reading(self) except -1
    cpdef bint shutdown_write(self) except -1
    cpdef int close(self) except -1
    cpdef int abort(self) except -1
    cpdef int send_file(self, int descriptor, long long offset, long long count) except -1
    cpdef long long file_progress(self) except -1
    cpdef int schedule(self, Connection connection) except -1
    cpdef int switch(self, Connection connection) except -1


cdef class Connection:
    cdef public InputBuffer input

    cpdef int opened(self) except -1
    cpdef int feed(self, bytes data) except -1
    cpdef int received(self, Py_ssize_t size) except -1
    cpdef int eof(self) except -1
    cpdef int lost(self, object error) except -1
    cpdef int pause_writing(self) except -1
    cpdef int resume_writing(self) except -1
    cpdef int file_sent(self, object error) except -1
    cpdef int resume(self) except -1
    cpdef int tick(self, double now) except -1
    cpdef int shutdown(self) except -1
    cpdef int abort_requests(self) except -1
    cpdef bint fresh(self) except -1
    cpdef bint lingering(self) except -1
    cpdef str describe(self)
    cpdef int send_informational(self, Stream stream, int status, object block) except -1
    cpdef int send_body(self, Stream stream, bytes data, bint more) except -1
    cpdef Py_ssize_t send_now(self, Stream stream, bytes data, bint more) except -9
    cpdef int complete_send(self, Stream stream, bint ended) except -1
    cpdef int send_file(self, Stream stream, int descriptor, long long offset, long long count,
                        bint more) except -1
    cpdef int send_trailers(self, Stream stream, object block) except -1
    cpdef int read_body(self, Stream stream) except -1
    cpdef int body_consumed(self, Stream stream) except -1
    cpdef int abort_stream(self, Stream stream) except -1
    cpdef int switch_protocols(self, Stream stream, bytes lines, object block, Connection successor) except -1
    cpdef int take_over(self, Transport transport) except -1
    cpdef int accept_websocket(self, Stream stream, object subprotocol, object fields) except -1
    cpdef int send_message(self, Stream stream, object message) except -1
    cpdef int close_websocket(self, Stream stream, int code, str reason) except -1
    cpdef int messages_taken(self, Stream stream) except -1


cdef class Stream:
    pass


cdef class Responder:
    cpdef int body_available(self) except -1
    cpdef int disconnected(self) except -1
    cpdef int peer_closed(self) except -1
    cpdef int writable(self) except -1
    cpdef int tick(self, double now) except -1
    cpdef int cancel(self) except -1


cdef class AccessLog:
    cdef public bint keeps_environ

    cpdef int log(self, Stream stream, double now) except -1
    cpdef int log_refusal(self, object client, int status, object request_line, long long size=*) except -1


cdef class Handler:
    cpdef Responder open(self, Stream stream)
    cpdef Responder open_websocket(self, Stream stream)


cdef class Upgrade:
    cpdef bint wanted(self, Stream stream) except -1
    cpdef int open(self, Stream stream) except -1


cdef class Task(Responder):
    cpdef int run(self) except -1
    cpdef int step(self) except -1


cdef class Executor:
    cpdef bint submit(self, Task task) except -1
    cpdef int withdraw(self, Task task) except -1
    cpdef int post(self, Task task) except -1
    cpdef int defer(self, Task task) except -1
    cpdef bint crowded(self) except -1
    cpdef int drain(self) except -1
