# cython: language_level=3

from gateway._speedups.kernels.buffer cimport InputBuffer

cpdef enum:
    BATCH = 256
    READ_SIZE = 65536
    RELEASE_SIZE = 65536
    PARTS = 64
    READ_MAX = 262144
    # How often that is kept for what is received next.
    BLOCKS = 8

# One end of a connection: `size` bytes of address, 0 where it has none.
cdef struct Address:
    int size
    int port
    unsigned char data[16]


cdef class EventQueue:
    # By descriptor number; a list, so that the collector of cycles sees through it.
    cdef list _sources
    cdef int _epoll
    cdef int _count
    cdef void *_batch[BATCH]
    cdef unsigned int _events[BATCH]

    cpdef int descriptor(self) except -9
    cpdef int watch(self, object source, int number, unsigned int old, unsigned int new) except? -1
    cpdef int wait(self) except? -1
    cpdef unsigned int events(self, int index) except? 0
    cpdef object source(self, int index)
    cpdef int done(self) except -1
    cpdef int close(self) except -1


cdef class Socket:
    cdef readonly int number
    cdef readonly bint sending

    cpdef Py_ssize_t send(self, bytes data, Py_ssize_t offset) except? -1
    cpdef Py_ssize_t send_parts(self, list parts, Py_ssize_t first, Py_ssize_t offset) except? -1
    cpdef Py_ssize_t send_file(self, File file, long long offset, long long size) except? -1
    cpdef int shut_down(self) except? -1
    cpdef int error(self) except -1
    cpdef int close(self) except -1


cdef class ReceiveBuffer:
    cdef unsigned char *_memory
    cdef Py_ssize_t _size
    cdef bytes _data
    # Of READ_MAX bytes each, for what is received next; whether they were asked for since the last tick.
    cdef list _blocks
    cdef bint _wanted

    cpdef Py_ssize_t receive(self, Socket source, Py_ssize_t size) except? -1
    cdef bytes _block(self, Py_ssize_t size)
    cpdef int lend(self, InputBuffer target) except -1
    cpdef int tick(self) except -1


cdef class AcceptQueue:
    cdef object _sock
    cdef readonly int number, code
    cdef readonly object peer
    # The last host, and the last address of ours, which connections share while it is the same.
    cdef Address _peer, _own
    cdef str _host
    cdef object _local

    cpdef Socket accept(self)
    cpdef object local_address(self, Socket accepted)


cdef class File:
    cdef readonly int number

    cpdef bytes read(self, Py_ssize_t size, long long offset)
    cpdef int close(self) except -1
