# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/buffer.py, where everything is documented."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memchr, memcpy, memmove


cdef class InputBuffer:
    def __dealloc__(self):
        PyMem_Free(self._storage)

    cpdef int feed(self, bytes data) except -1:
        cdef Py_ssize_t size = len(data)
        if self._size == 0:
            if size != 0:
                self._kept = data
                self._front = <const unsigned char *>PyBytes_AS_STRING(data)
                self._size = size
            return 0
        return self._append(<const unsigned char *>PyBytes_AS_STRING(data), size)

    cpdef Py_ssize_t available(self) except -1:
        return self._size

    cpdef bytes take(self, Py_ssize_t n):
        cdef bytes taken
        if n > self._size:
            n = self._size
        if n <= 0:
            return b""
        if self._kept is not None and n == PyBytes_GET_SIZE(self._kept):
            taken = self._kept
        else:
            taken = PyBytes_FromStringAndSize(<const char *>self._front, n)
        self._advance(n)
        return taken

    cpdef Py_ssize_t discard(self, Py_ssize_t n) except -1:
        if n > self._size:
            n = self._size
        if n <= 0:
            return 0
        self._advance(n)
        return n

    cpdef int clear(self) except -1:
        self._release()
        return 0

    cpdef int starts_with_line_end(self) except -1:
        if self._size == 0:
            return 2
        if self._front[0] != c'\r':
            return 0
        if self._size == 1:
            return 2
        return self._front[1] == c'\n'

    cpdef Py_ssize_t find(self, bytes byte, Py_ssize_t start) except -9:
        cdef const unsigned char *found
        if len(byte) != 1:
            raise ValueError("one byte")
        if start < 0 or start >= self._size:
            return -1
        found = <const unsigned char *>memchr(
            self._front + start, <unsigned char>PyBytes_AS_STRING(byte)[0], <size_t>(self._size - start))
        return -1 if found == NULL else found - self._front

    cpdef bytes peek(self, Py_ssize_t start, Py_ssize_t stop):
        if stop > self._size:
            stop = self._size
        if start < 0 or start >= stop:
            return b""
        return PyBytes_FromStringAndSize(<const char *>self._front + start, stop - start)

    cdef const unsigned char *pointer(self) noexcept:
        return self._front

    cdef Py_ssize_t length(self) noexcept:
        return self._size

    cdef int borrow(self, const unsigned char *data, Py_ssize_t size) except -1:
        if self._size == 0:
            self._release()
            self._front = data
            self._size = size
            return 0
        return self._append(data, size)

    cpdef int keep(self) except -1:
        if self._size != 0 and self._kept is None and self._storage == NULL:
            try:
                self._append(NULL, 0)
            except MemoryError:
                # Nothing may be read from that memory any more.
                self._release()
                raise
        return 0

    cdef int _append(self, const unsigned char *data, Py_ssize_t size) except -1:
        """Join what is left over and `data` in storage of our own."""
        cdef Py_ssize_t used, needed, capacity
        cdef unsigned char *storage = self._storage
        if size > <Py_ssize_t>((<size_t>-1) // 4) - self._size:
            raise MemoryError
        needed = self._size + size
        used = 0 if storage == NULL else self._front - storage
        if storage == NULL or used + needed > self._capacity:
            if storage != NULL and needed <= self._capacity and used >= self._size:
                # Moving less than was consumed since the last move: amortised.
                memmove(storage, self._front, <size_t>self._size)
            else:
                capacity = 2 * self._size
                if capacity < needed:
                    capacity = needed
                if capacity < 256:
                    capacity = 256
                storage = <unsigned char *>PyMem_Malloc(<size_t>capacity)
                if storage == NULL:
                    raise MemoryError
                memcpy(storage, self._front, <size_t>self._size)
                PyMem_Free(self._storage)
                self._storage = storage
                self._capacity = capacity
                self._kept = None
            self._front = storage
            used = 0
        if size > 0:
            memcpy(storage + used + self._size, data, <size_t>size)
        self._size = needed
        return 0

    cdef void _advance(self, Py_ssize_t size) noexcept:
        if size == self._size:
            self._release()
        else:
            self._front += size
            self._size -= size

    cdef void _release(self) noexcept:
        self._front = NULL
        self._size = 0
        self._kept = None
        if self._storage != NULL:
            PyMem_Free(self._storage)
            self._storage = NULL
            self._capacity = 0
