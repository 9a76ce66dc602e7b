# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/sockets.py, where everything is documented."""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR, Py_DECREF, Py_INCREF
from libc.string cimport memcmp

cdef extern from "Python.h":
    # With a result that may still be resized.
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    # Borrowed, and not counted: a second reference is what `bytes_unused` looks for.
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t index) noexcept

cdef extern from *:
    """
    /* Whether nobody but one list knows a bytes object, so that its content may change. */
    static int bytes_unused(PyObject *data) {
    #ifdef Py_GIL_DISABLED
        return 0;
    #else
        return Py_REFCNT(data) == 1;
    #endif
    }

    #ifdef __GNUC__
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    #endif

    /* Make it another one of `size` bytes, which is at most what it was made with. Its hash is another, too. */
    static void bytes_renew(PyObject *data, Py_ssize_t size) {
        Py_SET_SIZE((PyVarObject *)data, size);
        PyBytes_AS_STRING(data)[size] = 0;
        ((PyBytesObject *)data)->ob_shash = -1;
    }

    #ifdef __GNUC__
    #pragma GCC diagnostic pop
    #endif
    """
    bint bytes_unused(PyObject *data) noexcept
    void bytes_renew(PyObject *data, Py_ssize_t size) noexcept

cdef extern from *:
    """
    /* Every call returns what the system call does, or a negative errno, which so survives taking the GIL again. */
    #include <errno.h>
    #include <string.h>

    #ifdef __linux__

    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <sys/epoll.h>
    #include <sys/sendfile.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <unistd.h>

    #define IO_RETRY(result, call) do { (result) = (call); } while ((result) < 0 && errno == EINTR)
    #define IO_RESULT(result) ((result) < 0 ? -errno : (result))

    #define IO_EXCLUSIVE (1u << 28)

    typedef struct epoll_event io_event;
    typedef struct iovec io_part;

    static int io_create(void) {
        int result = epoll_create1(EPOLL_CLOEXEC);
        return IO_RESULT(result);
    }

    static int io_watch(int epoll, int number, unsigned int old, unsigned int wanted) {
        struct epoll_event event;
        int result;
        memset(&event, 0, sizeof event);
        event.events = wanted;
        event.data.fd = number;
        result = epoll_ctl(epoll, !old ? EPOLL_CTL_ADD : wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, number, &event);
        return IO_RESULT(result);
    }

    static int io_wait(int epoll, io_event *events, int count) {
        int result;
        IO_RETRY(result, epoll_wait(epoll, events, count, 0));
        return IO_RESULT(result);
    }

    static unsigned int io_events(const io_event *event) { return event->events; }

    static int io_number(const io_event *event) { return event->data.fd; }

    /* The bytes of an address are at most 16; an IPv4 address in IPv6 clothes (RFC 4291 2.5.5.2) is undressed. */
    static void io_address(const struct sockaddr_storage *name, int *size, int *port, unsigned char *data) {
        *size = 0;
        *port = 0;
        if (name->ss_family == AF_INET) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)name;
            *size = 4;
            memcpy(data, &in->sin_addr, 4);
            *port = ntohs(in->sin_port);
        } else if (name->ss_family == AF_INET6) {
            const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)name;
            int mapped = IN6_IS_ADDR_V4MAPPED(&in->sin6_addr);
            *size = mapped ? 4 : 16;
            memcpy(data, in->sin6_addr.s6_addr + (mapped ? 12 : 0), (size_t)*size);
            *port = ntohs(in->sin6_port);
        }
    }

    #define IO_HOST_SIZE INET6_ADDRSTRLEN

    static void io_host(int size, const unsigned char *data, char *host) {
        host[0] = 0;
        inet_ntop(size == 4 ? AF_INET : AF_INET6, data, host, IO_HOST_SIZE);
    }

    static int io_accept(int number, int *size, int *port, unsigned char *data) {
        struct sockaddr_storage name;
        socklen_t length = sizeof name;
        int result;
        memset(&name, 0, sizeof name);
        IO_RETRY(result, accept4(number, (struct sockaddr *)&name, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (result >= 0)
            io_address(&name, size, port, data);
        return IO_RESULT(result);
    }

    static int io_own_address(int number, int *size, int *port, unsigned char *data) {
        struct sockaddr_storage name;
        socklen_t length = sizeof name;
        int result;
        memset(&name, 0, sizeof name);
        result = getsockname(number, (struct sockaddr *)&name, &length);
        if (result >= 0)
            io_address(&name, size, port, data);
        return IO_RESULT(result);
    }

    static int io_error(int number) {
        int code = 0;
        socklen_t size = sizeof code;
        if (getsockopt(number, SOL_SOCKET, SO_ERROR, &code, &size) < 0)
            return errno;
        return code;
    }

    static Py_ssize_t io_receive(int number, void *buffer, Py_ssize_t size) {
        Py_ssize_t result;
        IO_RETRY(result, recv(number, buffer, (size_t)size, MSG_DONTWAIT));
        return IO_RESULT(result);
    }

    static Py_ssize_t io_send(int number, const char *data, Py_ssize_t size) {
        Py_ssize_t result;
        IO_RETRY(result, send(number, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL));
        return IO_RESULT(result);
    }

    static void io_set_part(io_part *part, const char *data, Py_ssize_t size) {
        part->iov_base = (void *)data;
        part->iov_len = (size_t)size;
    }

    static Py_ssize_t io_send_parts(int number, io_part *parts, int count) {
        struct msghdr message;
        Py_ssize_t result;
        memset(&message, 0, sizeof message);
        message.msg_iov = parts;
        message.msg_iovlen = (size_t)count;
        IO_RETRY(result, sendmsg(number, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
        return IO_RESULT(result);
    }

    static Py_ssize_t io_send_file(int number, int file, long long offset, long long size) {
        off_t position = (off_t)offset;
        Py_ssize_t result;
        IO_RETRY(result, sendfile(number, file, &position, (size_t)size));
        return IO_RESULT(result);
    }

    static int io_shut_down(int number) {
        int result = shutdown(number, SHUT_WR);
        return IO_RESULT(result);
    }

    static int io_duplicate(int number) {
        int result = fcntl(number, F_DUPFD_CLOEXEC, 0);
        return IO_RESULT(result);
    }

    static void io_close(int number) { close(number); }

    #else

    /* An EventQueue can't be made, and everything else needs one. */
    #define IO_NONE { return -ENOSYS; }
    #define IO_EXCLUSIVE 0
    #define IO_HOST_SIZE 1
    #define EPOLLIN 1
    #define EPOLLOUT 4
    #define EPOLLERR 8
    #define EPOLLHUP 16

    typedef struct { int none; } io_event;
    typedef struct { int none; } io_part;

    static int io_create(void) IO_NONE
    static int io_watch(int epoll, int number, unsigned int old, unsigned int wanted) IO_NONE
    static int io_wait(int epoll, io_event *events, int count) IO_NONE
    static unsigned int io_events(const io_event *event) { return 0; }
    static int io_number(const io_event *event) { return 0; }
    static void io_host(int size, const unsigned char *data, char *host) { host[0] = 0; }
    static int io_accept(int number, int *size, int *port, unsigned char *data) IO_NONE
    static int io_own_address(int number, int *size, int *port, unsigned char *data) IO_NONE
    static int io_error(int number) { return ENOSYS; }
    static Py_ssize_t io_receive(int number, void *buffer, Py_ssize_t size) IO_NONE
    static Py_ssize_t io_send(int number, const char *data, Py_ssize_t size) IO_NONE
    static void io_set_part(io_part *part, const char *data, Py_ssize_t size) {}
    static Py_ssize_t io_send_parts(int number, io_part *parts, int count) IO_NONE
    static Py_ssize_t io_send_file(int number, int file, long long offset, long long size) IO_NONE
    static int io_shut_down(int number) IO_NONE
    static int io_duplicate(int number) IO_NONE
    static void io_close(int number) {}

    #endif
    """
    ctypedef struct io_event:
        pass
    ctypedef struct io_part:
        pass

    enum: IO_HOST_SIZE
    unsigned int IO_EPOLLIN "EPOLLIN"
    unsigned int IO_EPOLLOUT "EPOLLOUT"
    unsigned int IO_EPOLLERR "EPOLLERR"
    unsigned int IO_EPOLLHUP "EPOLLHUP"
    unsigned int IO_EXCLUSIVE

    int io_create() noexcept
    int io_watch(int epoll, int number, unsigned int old, unsigned int wanted) noexcept
    int io_wait(int epoll, io_event *events, int count) noexcept
    unsigned int io_events(const io_event *event) noexcept
    int io_number(const io_event *event) noexcept
    void io_host(int size, const unsigned char *data, char *host) noexcept
    int io_accept(int number, int *size, int *port, unsigned char *data) noexcept
    int io_own_address(int number, int *size, int *port, unsigned char *data) noexcept
    int io_error(int number) noexcept
    Py_ssize_t io_receive(int number, void *buffer, Py_ssize_t size) noexcept nogil
    Py_ssize_t io_send(int number, const char *data, Py_ssize_t size) noexcept nogil
    void io_set_part(io_part *part, const char *data, Py_ssize_t size) noexcept
    Py_ssize_t io_send_parts(int number, io_part *parts, int count) noexcept nogil
    Py_ssize_t io_send_file(int number, int file, long long offset, long long size) noexcept nogil
    int io_shut_down(int number) noexcept
    int io_duplicate(int number) noexcept
    void io_close(int number) noexcept

EPOLLIN = IO_EPOLLIN
EPOLLOUT = IO_EPOLLOUT
EPOLLERR = IO_EPOLLERR
EPOLLHUP = IO_EPOLLHUP
EPOLLEXCLUSIVE = IO_EXCLUSIVE
THREADS_SEND = True


cdef object failure(int code):
    """The exception for an errno."""
    return OSError(code, os.strerror(code))


cdef class EventQueue:
    def __cinit__(self):
        self._epoll = -1

    def __init__(self):
        cdef int number
        if self._epoll >= 0:
            raise RuntimeError("an EventQueue is made once")
        self._sources = []
        number = io_create()
        if number < 0:
            raise failure(-number)
        self._epoll = number

    def __dealloc__(self):
        cdef int index
        for index in range(self._count):
            Py_DECREF(<object>self._batch[index])
        if self._epoll >= 0:
            io_close(self._epoll)

    cpdef int descriptor(self) except -9:
        return self._epoll

    cpdef int watch(self, object source, int number, unsigned int old, unsigned int new) except? -1:
        cdef Py_ssize_t room = len(self._sources)
        cdef int code
        if number < 0 or (old and number >= room):
            raise ValueError("no such descriptor")
        if number >= room:
            self._sources.extend([None] * (number + 1 + room // 2 - room))
        code = io_watch(self._epoll, number, old, new)
        if new == 0:
            self._sources[number] = None
        elif old == 0 and code >= 0:
            self._sources[number] = source
        return code

    cpdef int wait(self) except? -1:
        cdef io_event[BATCH] events
        cdef Py_ssize_t room = len(self._sources)
        cdef int ready, index, number, count = 0
        cdef object source
        self.done()
        ready = io_wait(self._epoll, events, BATCH)
        for index in range(ready):
            number = io_number(&events[index])
            if number < room:
                source = self._sources[number]
                if source is not None:
                    Py_INCREF(source)
                    self._batch[count] = <void *>source
                    self._events[count] = io_events(&events[index])
                    count += 1
        self._count = count
        return ready if ready < 0 else count

    cpdef unsigned int events(self, int index) except? 0:
        if index < 0 or index >= self._count:
            raise IndexError(index)
        return self._events[index]

    cpdef object source(self, int index):
        if index < 0 or index >= self._count:
            raise IndexError(index)
        return <object>self._batch[index]

    cpdef int done(self) except -1:
        cdef int index, count = self._count
        # Letting go of one may run code that comes back here.
        self._count = 0
        for index in range(count):
            Py_DECREF(<object>self._batch[index])
        return 0

    cpdef int close(self) except -1:
        if self._epoll >= 0:
            io_close(self._epoll)
            self._epoll = -1
        self._sources = []
        return self.done()


cdef class Socket:
    def __cinit__(self):
        self.number = -1

    def __init__(self, object sock):
        if self.number >= 0:
            raise RuntimeError("a Socket is made once")
        self.number = sock.detach()

    def __dealloc__(self):
        # Only for what was never closed: a server that was dropped in the middle.
        if self.number >= 0:
            io_close(self.number)

    cpdef Py_ssize_t send(self, bytes data, Py_ssize_t offset) except? -1:
        cdef const char *start = PyBytes_AS_STRING(data) + offset
        cdef Py_ssize_t size = len(data) - offset, count
        cdef int number = self.number
        if size <= RELEASE_SIZE:
            return io_send(number, start, size)
        self.sending = True
        with nogil:
            count = io_send(number, start, size)
        self.sending = False
        return count

    cpdef Py_ssize_t send_parts(self, list parts, Py_ssize_t first, Py_ssize_t offset) except? -1:
        cdef io_part[PARTS] vector
        cdef Py_ssize_t total = 0, size, sent
        cdef int count = 0, number = self.number
        cdef bytes part
        while count < PARTS and first + count < len(parts):
            part = <bytes?>parts[first + count]
            size = len(part) - offset
            io_set_part(&vector[count], PyBytes_AS_STRING(part) + offset, size)
            total += size
            offset = 0
            count += 1
        if total <= RELEASE_SIZE:
            return io_send_parts(number, vector, count)
        # What is sent can't go away meanwhile: nobody else changes the list.
        self.sending = True
        with nogil:
            sent = io_send_parts(number, vector, count)
        self.sending = False
        return sent

    cpdef Py_ssize_t send_file(self, File file, long long offset, long long size) except? -1:
        cdef int number = self.number, descriptor = file.number
        cdef Py_ssize_t count
        if size <= RELEASE_SIZE:
            return io_send_file(number, descriptor, offset, size)
        self.sending = True
        with nogil:
            count = io_send_file(number, descriptor, offset, size)
        self.sending = False
        return count

    cpdef int shut_down(self) except? -1:
        return io_shut_down(self.number)

    cpdef int error(self) except -1:
        return io_error(self.number)

    cpdef int close(self) except -1:
        if self.number >= 0:
            io_close(self.number)
            self.number = -1
        return 0


cdef class ReceiveBuffer:
    def __cinit__(self):
        self._blocks = []
        self._memory = <unsigned char *>PyMem_Malloc(READ_SIZE)
        if self._memory == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self._memory)

    cpdef Py_ssize_t receive(self, Socket source, Py_ssize_t size) except? -1:
        cdef PyObject *data
        cdef bytes block
        cdef Py_ssize_t count
        cdef int number = source.number
        if size <= READ_SIZE:
            count = io_receive(number, self._memory, size)
            self._size = count if count > 0 else 0
            return count
        # Much at once, most likely: received where it is to stay. The GIL is kept: taking it again from a thread that
        # computes costs more than the copy.
        block = self._block(size)
        if block is not None:
            count = io_receive(number, PyBytes_AS_STRING(block), size)
            if count > 0:
                bytes_renew(<PyObject *>block, count)
                self._data = block
            return count
        data = PyBytes_FromStringAndSize(NULL, size)
        count = io_receive(number, PyBytes_AS_STRING(<object>data), size)
        if count > 0:
            _PyBytes_Resize(&data, count)
            self._data = <bytes><object>data
            Py_DECREF(self._data)
        else:
            Py_CLEAR(data)
        return count

    cdef bytes _block(self, Py_ssize_t size):
        """Memory for `size` bytes that was received into before and is used by nobody any more, or may be then.

        Memory fresh from the system costs as much as the copy that it is for.
        """
        cdef PyObject *block
        cdef Py_ssize_t index
        self._wanted = True
        if size != READ_MAX:
            return None
        for index in range(len(self._blocks)):
            block = PyList_GET_ITEM(self._blocks, index)
            if bytes_unused(block):
                return <bytes><object>block
        if len(self._blocks) == BLOCKS:
            return None
        block = PyBytes_FromStringAndSize(NULL, size)
        self._blocks.append(<object>block)
        Py_DECREF(<object>block)
        return <bytes><object>block

    cpdef int tick(self) except -1:
        if not self._wanted:
            self._blocks.clear()
        self._wanted = False
        return 0

    cpdef int lend(self, InputBuffer target) except -1:
        cdef bytes data = self._data
        if data is None:
            return target.borrow(self._memory, self._size)
        self._data = None
        return target.feed(data)


cdef class AcceptQueue:
    def __init__(self, object sock):
        self._sock = sock
        self.number = sock.fileno()

    cpdef Socket accept(self):
        cdef Address address
        cdef Socket accepted
        cdef char[IO_HOST_SIZE] host
        cdef int number = io_accept(self.number, &address.size, &address.port, address.data)
        if number < 0:
            self.code = -number
            return None
        accepted = Socket.__new__(Socket)
        accepted.number = number
        if address.size == 0:
            self.peer = None
            return accepted
        if self._host is None or address.size != self._peer.size or memcmp(
                address.data, self._peer.data, <size_t>address.size) != 0:
            io_host(address.size, address.data, host)
            self._host = (<bytes>host).decode("ascii")
            self._peer = address
        self.peer = (self._host, address.port)
        return accepted

    cpdef object local_address(self, Socket accepted):
        cdef Address address
        cdef char[IO_HOST_SIZE] host
        cdef int code = io_own_address(accepted.number, &address.size, &address.port, address.data)
        if code < 0:
            raise failure(-code)
        if address.size == 0:
            return None
        if self._local is None or address.port != self._own.port or address.size != self._own.size or memcmp(
                address.data, self._own.data, <size_t>address.size) != 0:
            io_host(address.size, address.data, host)
            self._local = ((<bytes>host).decode("ascii"), address.port)
            self._own = address
        return self._local


cdef class File:
    def __cinit__(self):
        self.number = -1

    def __init__(self, int descriptor):
        cdef int number
        if self.number >= 0:
            raise RuntimeError("a File is made once")
        number = io_duplicate(descriptor)
        if number < 0:
            raise failure(-number)
        self.number = number

    def __dealloc__(self):
        if self.number >= 0:
            io_close(self.number)

    cpdef bytes read(self, Py_ssize_t size, long long offset):
        return os.pread(self.number, size, offset)

    cpdef int close(self) except -1:
        if self.number >= 0:
            io_close(self.number)
            self.number = -1
        return 0
