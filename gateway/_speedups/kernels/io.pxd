# cython: language_level=3

from gateway._speedups.kernels.base cimport Connection, Executor, Transport

cpdef enum:
    BATCH = 256
    READ_SIZE = 65536
    READ_MAX = 262144
    FILE_TURN = 1048576
    PARTS = 64


cdef class Poller:
    cdef readonly object loop, context, log
    cdef readonly Py_ssize_t high_water
    cdef readonly bint sendfile
    cdef public Executor executor
    cdef readonly set transports
    cdef set listening
    cdef object scheduled
    cdef char *buffer
    # What keeps a source alive while the kernel has its address, by descriptor.
    cdef dict _sources
    cdef object _unsettled
    cdef int _epoll
    cdef bint _busy, _woken, _closed

    cpdef ListeningSocket listen(self, object sock, object server, object opened, object failed, int limit)
    cpdef int close(self) except -1
    cdef int watch(self, object source, int number, unsigned int old, unsigned int new) except -1
    cdef int unsettle(self, SocketTransport transport) except -1
    cdef int wake(self) except -1
    cdef int _settle(self) except -1


cdef class ListeningSocket:
    cdef Poller _poller
    cdef object _sock, _server, _opened, _failed
    cdef int _number, _limit
    cdef unsigned int _watched

    cpdef int pause(self) except -1
    cpdef int resume(self) except -1
    cpdef int stop(self) except -1
    cpdef bint accept(self, int count) except -1
    cdef int handle(self, unsigned int events) except -1


cdef class SocketTransport(Transport):
    cdef readonly Connection connection
    cdef public double since
    cdef Poller _poller
    cdef int _number
    cdef unsigned int _watched
    cdef Py_ssize_t _read_size
    cdef bint _paused, _ended, _shut, _closing, _doomed, _unsettled, _writing_paused
    # The queue is a list that is only read from `_first` on; None when there is nothing.
    cdef list _queue
    cdef Py_ssize_t _first, _offset, _size
    cdef object _error
    cdef int _file
    cdef bint _file_copied, _file_over
    cdef long long _file_offset, _file_left, _file_sent
    cdef object _file_error

    cpdef int attach(self, Connection connection) except -1

    cdef int handle(self, unsigned int events) except -1
    cdef int step(self, Connection connection) except -1
    cdef int settle(self) except -1
    cdef int _dispatch(self, unsigned int events) except -1
    cdef int _fail(self, object error) except -1
    cdef int _receive(self, unsigned int events) except -1
    cdef int _drain(self) except -1
    cdef int _flush(self) except -1
    cdef Py_ssize_t _send(self, bytes data, Py_ssize_t offset) except -1
    cdef Py_ssize_t _send_parts(self, list parts, Py_ssize_t first, Py_ssize_t offset) except -1
    cdef int _push(self, bytes data, Py_ssize_t sent) except -1
    cdef int _brake(self) except -1
    cdef int _send_file(self) except -1
    cdef int _end_file(self, object error) except -1
    cdef int _close_file(self) except -1
    cdef bint _shut_down(self) except -1
    cdef int _ask(self) except -1
    cdef object _reason(self)
    cdef int _doom(self, object error) except -1
    cdef int _unsettle(self) except -1
