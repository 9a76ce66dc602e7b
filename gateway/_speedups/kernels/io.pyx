# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/io.py, where everything is documented."""

import errno
import os
from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR, Py_DECREF, Py_INCREF

cdef extern from "Python.h":
    # With a result that may still be resized.
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1

cdef extern from *:
    """
    /* Every call returns what the system call does, or a negative errno, which so survives taking the GIL again. */
    #include <errno.h>
    #include <string.h>

    #ifdef __linux__

    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <sys/epoll.h>
    #include <sys/sendfile.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <unistd.h>

    #define IO_RETRY(result, call) do { (result) = (call); } while ((result) < 0 && errno == EINTR)
    #define IO_RESULT(result) ((result) < 0 ? -errno : (result))

    typedef struct epoll_event io_event;
    typedef struct iovec io_part;

    typedef struct {
        int port;  /* below 0 where an address has none */
        char host[INET6_ADDRSTRLEN];
    } io_address;

    static int io_create(void) {
        int result = epoll_create1(EPOLL_CLOEXEC);
        return IO_RESULT(result);
    }

    static int io_watch(int epoll, int number, unsigned int old, unsigned int wanted, void *source) {
        struct epoll_event event;
        int result;
        memset(&event, 0, sizeof event);
        event.events = wanted;
        event.data.ptr = source;
        result = epoll_ctl(epoll, !old ? EPOLL_CTL_ADD : wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, number, &event);
        return IO_RESULT(result);
    }

    static int io_wait(int epoll, io_event *events, int count) {
        int result;
        IO_RETRY(result, epoll_wait(epoll, events, count, 0));
        return IO_RESULT(result);
    }

    static unsigned int io_events(const io_event *event) { return event->events; }

    static void *io_source(const io_event *event) { return event->data.ptr; }

    static void io_format(const struct sockaddr_storage *name, io_address *address) {
        address->port = -1;
        address->host[0] = 0;
        if (name->ss_family == AF_INET) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)name;
            inet_ntop(AF_INET, &in->sin_addr, address->host, sizeof address->host);
            address->port = ntohs(in->sin_port);
        } else if (name->ss_family == AF_INET6) {
            const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)name;
            if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr))
                inet_ntop(AF_INET, in->sin6_addr.s6_addr + 12, address->host, sizeof address->host);
            else
                inet_ntop(AF_INET6, &in->sin6_addr, address->host, sizeof address->host);
            address->port = ntohs(in->sin6_port);
        }
    }

    static int io_accept(int number, io_address *address) {
        struct sockaddr_storage name;
        socklen_t size = sizeof name;
        int result;
        memset(&name, 0, sizeof name);
        IO_RETRY(result, accept4(number, (struct sockaddr *)&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (result >= 0)
            io_format(&name, address);
        return IO_RESULT(result);
    }

    static int io_own_address(int number, io_address *address) {
        struct sockaddr_storage name;
        socklen_t size = sizeof name;
        int result;
        memset(&name, 0, sizeof name);
        result = getsockname(number, (struct sockaddr *)&name, &size);
        if (result >= 0)
            io_format(&name, address);
        return IO_RESULT(result);
    }

    static int io_error(int number) {
        int code = 0;
        socklen_t size = sizeof code;
        if (getsockopt(number, SOL_SOCKET, SO_ERROR, &code, &size) < 0)
            return errno;
        return code;
    }

    static Py_ssize_t io_receive(int number, char *buffer, Py_ssize_t size) {
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

    static void io_close(int number) { close(number); }

    #else

    /* A Poller can't be made, and everything else needs one. */
    #define IO_NONE { return -ENOSYS; }
    #define EPOLLIN 1
    #define EPOLLOUT 4
    #define EPOLLERR 8
    #define EPOLLHUP 16

    typedef struct { int none; } io_event;
    typedef struct { int none; } io_part;
    typedef struct { int port; char host[1]; } io_address;

    static int io_create(void) IO_NONE
    static int io_watch(int epoll, int number, unsigned int old, unsigned int wanted, void *source) IO_NONE
    static int io_wait(int epoll, io_event *events, int count) IO_NONE
    static unsigned int io_events(const io_event *event) { return 0; }
    static void *io_source(const io_event *event) { return NULL; }
    static int io_accept(int number, io_address *address) IO_NONE
    static int io_own_address(int number, io_address *address) IO_NONE
    static int io_error(int number) { return ENOSYS; }
    static Py_ssize_t io_receive(int number, char *buffer, Py_ssize_t size) IO_NONE
    static Py_ssize_t io_send(int number, const char *data, Py_ssize_t size) IO_NONE
    static void io_set_part(io_part *part, const char *data, Py_ssize_t size) {}
    static Py_ssize_t io_send_parts(int number, io_part *parts, int count) IO_NONE
    static Py_ssize_t io_send_file(int number, int file, long long offset, long long size) IO_NONE
    static int io_shut_down(int number) IO_NONE
    static void io_close(int number) {}

    #endif
    """
    ctypedef struct io_event:
        pass
    ctypedef struct io_part:
        pass
    ctypedef struct io_address:
        int port
        char *host

    int IO_EAGAIN "EAGAIN"
    int IO_ECONNRESET "ECONNRESET"
    int IO_EIO "EIO"
    unsigned int EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP

    int io_create() noexcept
    int io_watch(int epoll, int number, unsigned int old, unsigned int wanted, void *source) noexcept
    int io_wait(int epoll, io_event *events, int count) noexcept
    unsigned int io_events(const io_event *event) noexcept
    void *io_source(const io_event *event) noexcept
    int io_accept(int number, io_address *address) noexcept
    int io_own_address(int number, io_address *address) noexcept
    int io_error(int number) noexcept
    Py_ssize_t io_receive(int number, char *buffer, Py_ssize_t size) noexcept nogil
    Py_ssize_t io_send(int number, const char *data, Py_ssize_t size) noexcept nogil
    void io_set_part(io_part *part, const char *data, Py_ssize_t size) noexcept
    Py_ssize_t io_send_parts(int number, io_part *parts, int count) noexcept nogil
    Py_ssize_t io_send_file(int number, int file, long long offset, long long size) noexcept nogil
    int io_shut_down(int number) noexcept
    void io_close(int number) noexcept

# Bytes above which a send lets go of the GIL: below, taking it again costs more than the send, and may take as long as
# another thread's whole turn.
cdef Py_ssize_t RELEASE_SIZE = 65536

# Where the socket or the file is of a kind that sendfile(2) does not do.
cdef tuple NO_SENDFILE = tuple(
    getattr(errno, name)
    for name in ("EINVAL", "ENOSYS", "ENOTSOCK", "EOPNOTSUPP", "EOVERFLOW", "ESPIPE")
    if hasattr(errno, name)
)


cdef object failure(int code):
    """The exception for an errno: ConnectionResetError and its like, where there is one."""
    return OSError(code, os.strerror(code))


cdef object plain_address(const io_address *address):
    if address.port < 0:
        return None
    return (<object>(<bytes>address.host).decode("ascii"), address.port)


cdef class Poller:
    def __cinit__(self):
        self._epoll = -1

    def __init__(self, object loop, object context, object log, Py_ssize_t high_water, bint sendfile):
        if self._epoll >= 0 or self.buffer != NULL:
            raise RuntimeError("a Poller is made once")
        self.loop = loop
        self.context = context
        self.log = log
        self.high_water = high_water
        self.sendfile = sendfile
        self.transports = set()
        self.listening = set()
        self.scheduled = deque()
        self._sources = {}
        self._unsettled = deque()
        cdef int number = io_create()
        if number < 0:
            raise failure(-number)
        self._epoll = number
        self.buffer = <char *>PyMem_Malloc(READ_SIZE)
        if self.buffer == NULL:
            raise MemoryError
        loop.add_reader(number, self._ready)

    def __dealloc__(self):
        if self._epoll >= 0:
            io_close(self._epoll)
        PyMem_Free(self.buffer)

    cpdef ListeningSocket listen(self, object sock, object server, object opened, object failed, int limit):
        return ListeningSocket(self, sock, server, opened, failed, limit)

    cpdef int close(self) except -1:
        cdef SocketTransport transport
        cdef ListeningSocket listening
        if self._closed:
            return 0
        for listening in tuple(self.listening):
            listening.stop()
        for transport in tuple(self.transports):
            transport.abort()
        self.scheduled.clear()
        while self._unsettled:
            self._settle()
        self._closed = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self._epoll)
        io_close(self._epoll)
        self._epoll = -1
        return 0

    def _ready(self):
        cdef io_event[BATCH] events
        cdef PyObject *source
        cdef int count, index
        if self._closed:
            return
        count = io_wait(self._epoll, events, BATCH)
        if count < 0:
            raise failure(-count)
        for index in range(count):
            Py_INCREF(<object>io_source(&events[index]))
        self._busy = True
        try:
            if self.executor is not None:
                self.executor.drain()
            for index in range(count):
                source = <PyObject *>io_source(&events[index])
                if isinstance(<object>source, SocketTransport):
                    (<SocketTransport>source).handle(io_events(&events[index]))
                else:
                    (<ListeningSocket?><object>source).handle(io_events(&events[index]))
        finally:
            for index in range(count):
                Py_DECREF(<object>io_source(&events[index]))
            if self.executor is not None:
                self.executor.drain()
            self._busy = False
            self._settle()

    cdef int watch(self, object source, int number, unsigned int old, unsigned int new) except -1:
        cdef int code
        if old == 0:
            self._sources[number] = source
        code = io_watch(self._epoll, number, old, new, <void *>source)
        if new == 0 or (code < 0 and old == 0):
            self._sources.pop(number, None)
        if code < 0 and new:
            raise failure(-code)
        return 0

    cdef int unsettle(self, SocketTransport transport) except -1:
        self._unsettled.append(transport)
        if not self._busy:
            self.wake()
        return 0

    cdef int wake(self) except -1:
        if not self._woken and not self._closed:
            self._woken = True
            self.loop.call_soon(self._later, context=self.context)
        return 0

    def _later(self):
        cdef SocketTransport transport
        cdef Connection connection
        self._woken = False
        try:
            for _ in range(len(self.scheduled)):
                transport, connection = self.scheduled.popleft()
                transport.step(connection)
        finally:
            if self.scheduled:
                self.wake()
            self._settle()

    cdef int _settle(self) except -1:
        cdef SocketTransport transport
        if not self._unsettled:
            return 0
        try:
            for _ in range(len(self._unsettled)):
                transport = self._unsettled.popleft()
                transport.settle()
        finally:
            if self._unsettled:
                self.wake()
        return 0


cdef class ListeningSocket:
    def __init__(self, Poller poller not None, object sock, object server, object opened, object failed, int limit):
        self._poller = poller
        self._sock = sock
        self._number = sock.fileno()
        self._server = server
        self._opened = opened
        self._failed = failed
        self._limit = limit
        poller.listening.add(self)
        self.resume()

    cpdef int pause(self) except -1:
        if self._watched:
            self._poller.watch(self, self._number, self._watched, 0)
            self._watched = 0
        return 0

    cpdef int resume(self) except -1:
        if not self._watched:
            self._poller.watch(self, self._number, 0, EPOLLIN)
            self._watched = EPOLLIN
        return 0

    cpdef int stop(self) except -1:
        self.pause()
        self._poller.listening.discard(self)
        return 0

    cpdef bint accept(self, int count) except -1:
        cdef io_address address, own
        cdef SocketTransport transport
        cdef object server
        cdef int number, code
        for _ in range(count):
            number = io_accept(self._number, &address)
            if number < 0:
                if number == -IO_EAGAIN:
                    return False
                if self._failed(failure(-number)):
                    continue
                return False
            transport = SocketTransport.__new__(SocketTransport)
            transport._poller = self._poller
            transport._number = number
            try:
                server = self._server
                if server is None:
                    code = io_own_address(number, &own)
                    if code < 0:
                        raise failure(-code)
                    server = plain_address(&own)
                self._opened(transport, plain_address(&address), server)
            except OSError as error:
                transport.abort()
                if not self._failed(error):
                    return False
            except Exception:
                self._poller.log.exception("Internal error: opening a connection failed")
                transport.abort()
        return True

    cdef int handle(self, unsigned int events) except -1:
        if self._watched:
            try:
                self.accept(self._limit)
            except Exception:
                self._poller.log.exception("Internal error: accepting connections failed")
        return 0


cdef class SocketTransport(Transport):
    def __cinit__(self):
        self._number = -1
        self._file = -1
        self._read_size = READ_SIZE
        self.threadsafe = True

    def __init__(self, Poller poller not None, object sock):
        if self._number >= 0:
            raise RuntimeError("a SocketTransport is made once")
        self._poller = poller
        self._number = sock.detach()

    def __dealloc__(self):
        # Only for what was never settled: a server that was dropped in the middle.
        if self._file >= 0:
            io_close(self._file)
        if self._number >= 0:
            io_close(self._number)

    @property
    def transport(self):
        return self

    cpdef int attach(self, Connection connection) except -1:
        self._poller.watch(self, self._number, 0, EPOLLIN | EPOLLERR)
        self._watched = EPOLLIN | EPOLLERR
        self.connection = connection
        self._poller.transports.add(self)
        return 0

    # Output.

    cpdef Py_ssize_t send_now(self, bytes data) except -9:
        cdef Py_ssize_t sent
        if self._doomed or self._closing or self._shut or self._size or self._file >= 0:
            return -1
        if PyBytes_GET_SIZE(data) > RELEASE_SIZE:
            return -1
        sent = io_send(self._number, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        # What is wrong with the socket is for the loop to find out.
        return sent if sent > 0 else 0

    cpdef int write(self, bytes data) except -1:
        cdef Py_ssize_t sent = 0
        if self._doomed or self._closing or self._shut:
            return 0
        if self._size == 0 and self._file < 0:
            sent = self._send(data, 0)
            if sent < 0 or sent == PyBytes_GET_SIZE(data):
                return 0
        self._push(data, sent)
        return self._brake()

    cpdef int write_parts(self, list parts) except -1:
        cdef Py_ssize_t sent = 0, size
        cdef bytes part
        if self._doomed or self._closing or self._shut:
            return 0
        if self._size == 0 and self._file < 0:
            sent = self._send_parts(parts, 0, 0)
            if sent < 0:
                return 0
        for part in parts:
            size = len(part)
            if sent >= size:
                sent -= size
            else:
                self._push(part, sent)
                sent = 0
        return self._brake() if self._size else 0

    cpdef Py_ssize_t buffered(self) except -1:
        return self._size

    cpdef bint shutdown_write(self) except -1:
        if self._doomed or self._closing:
            return False
        if not self._shut:
            self._shut = True
            if self._size == 0 and self._file < 0:
                return self._shut_down()
        return True

    cpdef int close(self) except -1:
        if not self._closing:
            self._closing = True
            if self._size == 0 and self._file < 0:
                self._doom(None)
        return 0

    cpdef int abort(self) except -1:
        self._doom(None)
        return 0

    cpdef int send_file(self, int descriptor, long long offset, long long count) except -1:
        if self._doomed or self._closing or self._shut:
            return 0
        self._file_offset = offset
        self._file_left = count
        self._file_sent = 0
        self._file_copied = not self._poller.sendfile
        try:
            self._file = os.dup(descriptor)
        except OSError as error:
            self._end_file(error)
            return 0
        if self._size == 0:
            self._send_file()
        self._ask()
        return 0

    cpdef long long file_progress(self) except -1:
        return self._file_sent

    # Input.

    cpdef int pause_reading(self) except -1:
        self._paused = True
        return 0

    cpdef int resume_reading(self) except -1:
        if self._paused:
            self._paused = False
            self._ask()
        return 0

    cpdef int schedule(self, Connection connection) except -1:
        self._poller.scheduled.append((self, connection))
        return self._poller.wake()

    # Called by the poller.

    cdef int handle(self, unsigned int events) except -1:
        try:
            self._dispatch(events)
        except Exception as error:
            self._fail(error)
        return 0

    cdef int _dispatch(self, unsigned int events) except -1:
        cdef bint reading
        if self._doomed:
            return 0
        reading = not (self._paused or self._ended or self._closing)
        if not reading:
            if events & (EPOLLERR | EPOLLHUP):
                return self._doom(self._reason())
            if events & EPOLLIN:
                self._ask()
        if events & EPOLLOUT:
            self._drain()
        if reading and events & (EPOLLIN | EPOLLERR | EPOLLHUP) and not self._doomed:
            self._receive(events)
        return 0

    cdef int step(self, Connection connection) except -1:
        if self.connection is None:
            return 0
        try:
            connection.resume()
        except Exception as error:
            self._fail(error)
        return 0

    cdef int settle(self) except -1:
        cdef Connection connection
        cdef object error
        self._unsettled = False
        if not self._doomed:
            if self._file_over:
                self._file_over = False
                error = self._file_error
                self._file_error = None
                try:
                    self.connection.file_sent(error)
                except Exception as error:
                    self._fail(error)
            return 0
        if self._number < 0:
            return 0
        if self._watched:
            self._poller.watch(self, self._number, self._watched, 0)
            self._watched = 0
        io_close(self._number)
        self._number = -1
        self._poller.transports.discard(self)
        connection = self.connection
        self.connection = None
        error = self._error
        self._error = None
        if connection is not None:
            try:
                connection.lost(error)
            except Exception:
                self._poller.log.exception("Internal error: ending a connection failed")
        return 0

    cdef int _fail(self, object error) except -1:
        self._poller.log.error("Internal error: a connection failed", exc_info=error)
        return self._doom(None)

    # Parts of the above.

    cdef int _receive(self, unsigned int events) except -1:
        cdef Py_ssize_t size = self._read_size, count
        cdef int number = self._number
        cdef PyObject *data = NULL
        cdef char *target
        cdef bytes received
        if size > READ_SIZE:
            # Much at once, most likely: received where it is to stay.
            data = PyBytes_FromStringAndSize(NULL, size)
            target = PyBytes_AS_STRING(<object>data)
            with nogil:
                count = io_receive(number, target, size)
            if count > 0:
                _PyBytes_Resize(&data, count)
            else:
                Py_CLEAR(data)
        else:
            count = io_receive(number, self._poller.buffer, size)
            if count > 0:
                data = PyBytes_FromStringAndSize(self._poller.buffer, count)
        if count > 0:
            if count == size:
                self._read_size = READ_MAX
            elif count < READ_SIZE:
                self._read_size = READ_SIZE
            received = <bytes>data
            Py_DECREF(received)
            return self.connection.feed(received)
        if count == 0:
            self._ended = True
            return self.connection.eof()
        if count != -IO_EAGAIN:
            return self._doom(failure(<int>-count))
        if events & EPOLLERR:
            return self._doom(self._reason())
        return 0

    cdef int _drain(self) except -1:
        if self._size:
            self._flush()
            if self._doomed:
                return 0
            if self._writing_paused and self._size <= self._poller.high_water // 4:
                self._writing_paused = False
                self.connection.resume_writing()
                if self._doomed:
                    return 0
        elif self._file < 0:
            return self._ask()
        if self._size == 0:
            if self._file >= 0:
                self._send_file()
            if self._file < 0 and self._size == 0 and not self._doomed:
                if self._shut:
                    self._shut_down()
                if self._closing:
                    self._doom(None)
        return 0

    cdef int _flush(self) except -1:
        cdef Py_ssize_t sent, size
        cdef list queue = self._queue
        if len(queue) - self._first == 1:
            sent = self._send(<bytes>queue[self._first], self._offset)
        else:
            sent = self._send_parts(queue, self._first, self._offset)
        if sent <= 0:
            return 0
        self._size -= sent
        sent += self._offset
        while self._first < len(queue):
            size = PyBytes_GET_SIZE(<bytes>queue[self._first])
            if sent < size:
                break
            sent -= size
            queue[self._first] = None
            self._first += 1
        self._offset = sent
        if self._first == len(queue):
            self._queue = None
            self._first = 0
        elif self._first >= 1024 and self._first * 2 > len(queue):
            # Moving less than was sent since the last move: amortised.
            del queue[:self._first]
            self._first = 0
        return 0

    cdef Py_ssize_t _send(self, bytes data, Py_ssize_t offset) except -1:
        cdef const char *start = PyBytes_AS_STRING(data) + offset
        cdef Py_ssize_t size = len(data) - offset, sent
        cdef int number = self._number
        if size > RELEASE_SIZE:
            with nogil:
                sent = io_send(number, start, size)
        else:
            sent = io_send(number, start, size)
        if sent >= 0:
            return sent
        if sent == -IO_EAGAIN:
            return 0
        self._doom(failure(<int>-sent))
        return -2

    cdef Py_ssize_t _send_parts(self, list parts, Py_ssize_t first, Py_ssize_t offset) except -1:
        cdef io_part[PARTS] vector
        cdef Py_ssize_t total = 0, size, sent
        cdef int count = 0, number = self._number
        cdef bytes part
        while count < PARTS and first + count < len(parts):
            part = <bytes?>parts[first + count]
            size = len(part) - offset
            io_set_part(&vector[count], PyBytes_AS_STRING(part) + offset, size)
            total += size
            offset = 0
            count += 1
        if total > RELEASE_SIZE:
            # What is sent can't go away meanwhile: the loop's thread is here, and nobody else changes the list.
            with nogil:
                sent = io_send_parts(number, vector, count)
        else:
            sent = io_send_parts(number, vector, count)
        if sent >= 0:
            return sent
        if sent == -IO_EAGAIN:
            return 0
        self._doom(failure(<int>-sent))
        return -2

    cdef int _push(self, bytes data, Py_ssize_t sent) except -1:
        cdef Py_ssize_t size = len(data)
        if size > sent:
            if self._queue is None:
                self._queue = []
            self._queue.append(data)
            self._size += size - sent
            if sent:
                self._offset = sent
        return 0

    cdef int _brake(self) except -1:
        self._ask()
        if self._size > self._poller.high_water and not self._writing_paused:
            self._writing_paused = True
            self.connection.pause_writing()
        return 0

    cdef int _send_file(self) except -1:
        cdef long long size = self._file_left
        cdef Py_ssize_t count = 0, sent
        cdef int number = self._number, file = self._file
        cdef long long offset = self._file_offset
        cdef bytes data
        if not self._file_copied:
            if size > FILE_TURN:
                size = FILE_TURN
            if size > RELEASE_SIZE:
                with nogil:
                    count = io_send_file(number, file, offset, size)
            else:
                count = io_send_file(number, file, offset, size)
            if count == -IO_EAGAIN:
                return 0
            if count < 0:
                error = failure(<int>-count)
                if isinstance(error, ConnectionError):
                    return self._doom(error)
                if -count not in NO_SENDFILE:
                    return self._end_file(error)
                self._file_copied = True
        if self._file_copied:
            if size > READ_MAX:
                size = READ_MAX
            try:
                data = os.pread(file, size, offset)
            except OSError as error:
                return self._end_file(error)
            count = len(data)
            if count:
                sent = self._send(data, 0)
                if sent < 0:
                    return 0
                self._push(data, sent)
        if count == 0:
            return self._end_file(OSError(IO_EIO, "the file is shorter than was promised"))
        self._file_offset += count
        self._file_sent += count
        self._file_left -= count
        if self._file_left == 0:
            self._end_file(None)
        return 0

    cdef int _end_file(self, object error) except -1:
        self._close_file()
        self._file_over = True
        self._file_error = error
        return self._unsettle()

    cdef int _close_file(self) except -1:
        if self._file >= 0:
            io_close(self._file)
            self._file = -1
        return 0

    cdef bint _shut_down(self) except -1:
        return io_shut_down(self._number) >= 0

    cdef int _ask(self) except -1:
        cdef unsigned int wanted = EPOLLERR
        if not (self._paused or self._ended or self._closing):
            wanted |= EPOLLIN
        if self._size or self._file >= 0:
            wanted |= EPOLLOUT
        if wanted != self._watched and not self._doomed:
            self._poller.watch(self, self._number, self._watched, wanted)
            self._watched = wanted
        return 0

    cdef object _reason(self):
        cdef int code = io_error(self._number)
        if code == 0:
            if self._shut and self._size == 0:
                return None
            code = IO_ECONNRESET
        return failure(code)

    cdef int _doom(self, object error) except -1:
        if not self._doomed:
            self._doomed = True
            self._error = error
            self._queue = None
            self._first = 0
            self._offset = 0
            self._size = 0
            self._close_file()
            self._unsettle()
        return 0

    cdef int _unsettle(self) except -1:
        if not self._unsettled:
            self._unsettled = True
            self._poller.unsettle(self)
        return 0
