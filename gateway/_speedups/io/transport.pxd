from gateway._speedups.io.hub cimport Hub, failure
from gateway._speedups.kernels.base cimport Connection, Transport, monotonic
from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.sockets cimport File, ReceiveBuffer, Socket

cimport cython

cdef int EAGAIN, ECONNRESET, EIO
cdef unsigned int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP
cdef Py_ssize_t READ_MAX, READ_SIZE, RELEASE_SIZE, FILE_TURN, QUEUE_SLACK
cdef bint THREADS_SEND
cdef tuple NO_SENDFILE


cdef class FileOutput:
    cdef File file
    cdef long long offset, left, sent
    cdef bint copied, over
    cdef object error

    cdef int close(self) except -1


cdef class SocketTransport(Transport):
    cdef readonly Connection connection
    cdef Hub _hub
    cdef Socket _socket
    cdef list _queue
    cdef Py_ssize_t _first, _offset, _size
    cdef FileOutput _file
    cdef object _error
    cdef unsigned int _watched
    cdef bint _much, _paused, _ended, _writing_paused, _shut, _closing, _doomed, _unsettled

    cpdef int descriptor(self) except -9
    cpdef int attach(self, Connection connection) except -1
    cpdef int open(self, Connection connection) except -1

    @cython.locals(sent=Py_ssize_t)
    cpdef int write(self, bytes data) except -1
    @cython.locals(hub=Hub)
    cpdef int write_soon(self, bytes data) except -1
    cdef int send_held(self) except -1
    @cython.locals(sent=Py_ssize_t)
    cpdef int write_parts(self, list parts) except -1
    @cython.locals(size=Py_ssize_t, part=bytes)
    cpdef int write_rest(self, list parts, Py_ssize_t taken) except -1
    @cython.locals(sent=Py_ssize_t, socket=Socket)
    cpdef Py_ssize_t send_now(self, bytes data) except -9
    @cython.locals(sent=Py_ssize_t, socket=Socket)
    cpdef Py_ssize_t send_parts_now(self, list parts) except -9

    cpdef int switch(self, Connection connection) except -1

    cdef int handle(self, unsigned int events) except -1
    cdef int step(self, Connection connection) except -1
    @cython.locals(connection=Connection)
    cdef int tick(self, double now) except -1
    @cython.locals(connection=Connection, file=FileOutput, socket=Socket)
    cdef int settle(self) except -1

    cdef bint _idle(self) except -1
    @cython.locals(reading=bint)
    cdef int _dispatch(self, unsigned int events) except -1
    @cython.locals(size=Py_ssize_t, count=Py_ssize_t, buffer=ReceiveBuffer, connection=Connection, source=InputBuffer)
    cdef int _receive(self, unsigned int events) except -1
    cdef int _drain(self) except -1
    @cython.locals(queue=list, sent=Py_ssize_t, size=Py_ssize_t)
    cdef int _flush(self) except -1
    cdef Py_ssize_t _send(self, bytes data, Py_ssize_t offset) except -1
    cdef Py_ssize_t _sent(self, Py_ssize_t count) except -1
    cdef int _push(self, bytes data, Py_ssize_t sent) except -1
    cdef int _brake(self) except -1
    @cython.locals(file=FileOutput, count=Py_ssize_t, sent=Py_ssize_t, data=bytes)
    cdef int _send_file(self) except -1
    @cython.locals(file=FileOutput)
    cdef int _end_file(self, object error) except -1
    @cython.locals(wanted="unsigned int")
    cdef int _ask(self) except -1
    @cython.locals(code=int)
    cdef object _reason(self)
    cdef int _fail(self, object error) except -1
    cdef int _doom(self, object error) except -1
    cdef int _unsettle(self) except -1
