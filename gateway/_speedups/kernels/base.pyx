# cython: language_level=3
"""Compiled twin of gateway/core/kernels/base.py, where everything is documented."""

import time

from cpython.object cimport PyObject

cdef extern from "Python.h":
    ctypedef struct DescriptorType "PyTypeObject":
        object (*tp_descr_get)(object, object, PyObject *)
    PyObject *Py_TYPE(object item)

cdef extern from *:
    """
    #ifdef __linux__
    #include <time.h>
    /* The clocks of `time.monotonic` and `time.time`. */
    static double gateway_clock(int monotonic)
    {
        struct timespec now;
        if (clock_gettime(monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME, &now) != 0)
            return -1.0;
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    #else
    #define gateway_clock(monotonic) (-1.0)
    #endif
    """
    double gateway_clock(bint monotonic) noexcept


cpdef object bind(object function, object instance):
    cdef DescriptorType *kind = <DescriptorType *>Py_TYPE(function)
    if kind.tp_descr_get == NULL:
        raise TypeError("a function of a class is needed")
    return kind.tp_descr_get(function, instance, NULL)


cpdef double monotonic() except -1:
    cdef double now = gateway_clock(True)
    return now if now >= 0.0 else <double>time.monotonic()


cpdef double wall() except -1:
    cdef double now = gateway_clock(False)
    return now if now >= 0.0 else <double>time.time()


cdef class Clock:
    def __init__(self, double time=0.0):
        self.time = time


cdef class Transport:
    cpdef int write(self, bytes data) except -1:
        raise NotImplementedError

    cpdef int write_parts(self, list parts) except -1:
        raise NotImplementedError

    cpdef Py_ssize_t send_now(self, bytes data) except -9:
        return -1

    cpdef Py_ssize_t send_parts_now(self, list parts) except -9:
        return -1

    cpdef int write_rest(self, list parts, Py_ssize_t taken) except -1:
        raise NotImplementedError

    cpdef Py_ssize_t buffered(self) except -1:
        raise NotImplementedError

    cpdef int pause_reading(self) except -1:
        raise NotImplementedError

    cpdef int resume_reading(self) except -1:
        raise NotImplementedError

    cpdef bint shutdown_write(self) except -1:
        raise NotImplementedError

    cpdef int close(self) except -1:
        raise NotImplementedError

    cpdef int abort(self) except -1:
        raise NotImplementedError

    cpdef int send_file(self, int descriptor, long long offset, long long count) except -1:
        raise NotImplementedError

    cpdef long long file_progress(self) except -1:
        raise NotImplementedError

    cpdef int schedule(self, Connection connection) except -1:
        raise NotImplementedError

    cpdef int switch(self, Connection connection) except -1:
        raise NotImplementedError


cdef class Connection:
    cpdef int opened(self) except -1:
        raise NotImplementedError

    cpdef int feed(self, bytes data) except -1:
        self.input.feed(data)
        return self.received(len(data))

    cpdef int received(self, Py_ssize_t size) except -1:
        raise NotImplementedError

    cpdef int eof(self) except -1:
        raise NotImplementedError

    cpdef int lost(self, object error) except -1:
        raise NotImplementedError

    cpdef int pause_writing(self) except -1:
        raise NotImplementedError

    cpdef int resume_writing(self) except -1:
        raise NotImplementedError

    cpdef int file_sent(self, object error) except -1:
        raise NotImplementedError

    cpdef int resume(self) except -1:
        raise NotImplementedError

    cpdef int tick(self, double now) except -1:
        raise NotImplementedError

    cpdef int shutdown(self) except -1:
        raise NotImplementedError

    cpdef int abort_requests(self) except -1:
        raise NotImplementedError

    cpdef bint fresh(self) except -1:
        raise NotImplementedError

    cpdef bint lingering(self) except -1:
        raise NotImplementedError

    cpdef str describe(self):
        raise NotImplementedError

    cpdef int send_informational(self, Stream stream, int status, object block) except -1:
        raise NotImplementedError

    cpdef int send_body(self, Stream stream, bytes data, bint more) except -1:
        raise NotImplementedError

    cpdef Py_ssize_t send_now(self, Stream stream, bytes data, bint more) except -9:
        return -1

    cpdef int complete_send(self, Stream stream, bint ended) except -1:
        raise NotImplementedError

    cpdef int send_file(self, Stream stream, int descriptor, long long offset, long long count,
                        bint more) except -1:
        raise NotImplementedError

    cpdef int send_trailers(self, Stream stream, object block) except -1:
        raise NotImplementedError

    cpdef int read_body(self, Stream stream) except -1:
        raise NotImplementedError

    cpdef int body_consumed(self, Stream stream) except -1:
        raise NotImplementedError

    cpdef int abort_stream(self, Stream stream) except -1:
        raise NotImplementedError

    cpdef int switch_protocols(self, Stream stream, bytes lines, object block, Connection successor) except -1:
        raise NotImplementedError

    cpdef int take_over(self, Transport transport) except -1:
        raise NotImplementedError

    cpdef int accept_websocket(self, Stream stream, object subprotocol, object fields) except -1:
        raise NotImplementedError

    cpdef int send_message(self, Stream stream, object message) except -1:
        raise NotImplementedError

    cpdef int close_websocket(self, Stream stream, int code, str reason) except -1:
        raise NotImplementedError

    cpdef int messages_taken(self, Stream stream) except -1:
        raise NotImplementedError


cdef class Stream:
    pass


cdef class Responder:
    cpdef int body_available(self) except -1:
        raise NotImplementedError

    cpdef int disconnected(self) except -1:
        raise NotImplementedError

    cpdef int peer_closed(self) except -1:
        return 0

    cpdef int writable(self) except -1:
        raise NotImplementedError

    cpdef int tick(self, double now) except -1:
        return 0

    cpdef int cancel(self) except -1:
        raise NotImplementedError


cdef class AccessLog:
    cpdef int log(self, Stream stream, double now) except -1:
        raise NotImplementedError

    cpdef int log_refusal(self, object client, int status, object request_line, long long size=0) except -1:
        raise NotImplementedError


cdef class Handler:
    cpdef Responder open(self, Stream stream):
        raise NotImplementedError

    cpdef Responder open_websocket(self, Stream stream):
        raise NotImplementedError


cdef class Upgrade:
    cpdef bint wanted(self, Stream stream) except -1:
        raise NotImplementedError

    cpdef int open(self, Stream stream) except -1:
        raise NotImplementedError


cdef class Task(Responder):
    cpdef int run(self) except -1:
        raise NotImplementedError

    cpdef int step(self) except -1:
        raise NotImplementedError


cdef class Executor:
    cpdef bint submit(self, Task task) except -1:
        raise NotImplementedError

    cpdef int withdraw(self, Task task) except -1:
        raise NotImplementedError

    cpdef int post(self, Task task) except -1:
        raise NotImplementedError

    cpdef int defer(self, Task task) except -1:
        raise NotImplementedError

    cpdef bint crowded(self) except -1:
        raise NotImplementedError

    cpdef int drain(self) except -1:
        raise NotImplementedError
