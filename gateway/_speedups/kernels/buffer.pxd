# cython: language_level=3

# Where a piece of a head, or of another text, is: bytes from the beginning of the whole.
cdef struct Span:
    Py_ssize_t start
    Py_ssize_t size


cdef class InputBuffer:
    # The waiting bytes. They are in `_kept`, in `_storage`, or (neither is set) in memory that was borrowed.
    cdef const unsigned char *_front
    cdef Py_ssize_t _size
    cdef bytes _kept
    cdef unsigned char *_storage
    cdef Py_ssize_t _capacity

    cpdef int feed(self, bytes data) except -1
    cpdef Py_ssize_t available(self) except -1
    cpdef bytes take(self, Py_ssize_t n)
    cpdef Py_ssize_t discard(self, Py_ssize_t n) except -1
    cpdef int clear(self) except -1
    cpdef int starts_with_line_end(self) except -1
    cpdef Py_ssize_t find(self, bytes byte, Py_ssize_t start) except -9
    cpdef bytes peek(self, Py_ssize_t start, Py_ssize_t stop)
    cpdef int keep(self) except -1

    # For other kernels: where the waiting bytes are, until the buffer is changed.
    cdef const unsigned char *pointer(self) noexcept
    cdef Py_ssize_t length(self) noexcept
    # For a transport with one receive buffer for all connections: `borrow` feeds bytes that are not ours, without a
    # copy when nothing is left over; `keep` must be called before their memory is used again.
    cdef int borrow(self, const unsigned char *data, Py_ssize_t size) except -1

    cdef int _append(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef void _advance(self, Py_ssize_t size) noexcept
    cdef void _release(self) noexcept
