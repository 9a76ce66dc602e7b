from gateway._speedups.io.hub cimport Hub, failure
from gateway._speedups.io.transport cimport SocketTransport
from gateway._speedups.kernels.base cimport Connection, monotonic
from gateway._speedups.kernels.sockets cimport AcceptQueue, EventQueue, Socket

cimport cython

cdef int EAGAIN
cdef double HOLD
cdef unsigned int EPOLLIN, EPOLLEXCLUSIVE


cdef class Poller(Hub):
    cpdef ListeningSocket listen(self, object sock, object server, object opened, object failed, int limit, object share=*)
    cpdef SocketTransport adopt(self, object sock)
    @cython.locals(transport=SocketTransport)
    cpdef int tick(self, double now) except -1
    @cython.locals(transport=SocketTransport, listening=ListeningSocket)
    cpdef int close(self) except -1
    @cython.locals(queue=EventQueue, count=int, index=int, transport=SocketTransport, listening=ListeningSocket)
    cdef int _handle(self) except -1
    cpdef int visit(self, ListeningSocket listening) except -1
    @cython.locals(batch=list, transport=SocketTransport)
    cdef int _send_held(self) except -1
    @cython.locals(batch=list, done=Py_ssize_t, entry=tuple, transport=SocketTransport, connection=Connection)
    cpdef int later(self) except -1
    @cython.locals(batch=list, done=Py_ssize_t, transport=SocketTransport)
    cdef int _settle(self) except -1


cdef class ListeningSocket:
    cdef Poller _poller
    cdef AcceptQueue _queue
    cdef object _server, _opened, _failed, _share
    cdef int _limit
    cdef unsigned int _watched

    cpdef int pause(self) except -1
    cpdef int resume(self) except -1
    cpdef int stop(self) except -1
    @cython.locals(queue=AcceptQueue, accepted=Socket, transport=SocketTransport)
    cpdef bint accept(self, int count) except -1
    cdef int handle(self, unsigned int events) except -1
    cdef int accept_some(self) except -1
