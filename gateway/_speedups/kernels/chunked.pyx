# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/chunked.py, where everything is documented."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, memcpy

from gateway._speedups.kernels.buffer cimport InputBuffer

LAST_CHUNK = b"0\r\n\r\n"

cdef enum:
    _LINE = 0
    _CONTENT = 1
    _CR = 2
    _LF = 3
    _END = 4

# Byte classes of a chunk's extensions; digits have their value in _DIGITS, other bytes 16.
cdef enum:
    _TCHAR = 1
    _QDTEXT = 2
    _QUOTABLE = 4

cdef unsigned char[256] _CLASSES
cdef unsigned char[256] _DIGITS


cdef void _fill_tables() noexcept:
    cdef int byte
    for byte in range(256):
        _CLASSES[byte] = 0
        if byte == 0x09 or 0x20 <= byte <= 0x7e or byte >= 0x80:
            _CLASSES[byte] |= _QUOTABLE
            if byte != c'"' and byte != c'\\':
                _CLASSES[byte] |= _QDTEXT
        if (c'0' <= byte <= c'9' or c'a' <= byte <= c'z' or c'A' <= byte <= c'Z'
                or (byte != 0 and memchr(b"!#$%&'*+-.^_`|~", byte, 15) != NULL)):
            _CLASSES[byte] |= _TCHAR
        _DIGITS[byte] = 16
        if c'0' <= byte <= c'9':
            _DIGITS[byte] = <unsigned char>(byte - c'0')
        elif c'a' <= byte <= c'f':
            _DIGITS[byte] = <unsigned char>(byte - c'a' + 10)
        elif c'A' <= byte <= c'F':
            _DIGITS[byte] = <unsigned char>(byte - c'A' + 10)


_fill_tables()


cdef inline const unsigned char *_skip_space(const unsigned char *at, const unsigned char *stop) noexcept:
    while at < stop and (at[0] == c' ' or at[0] == c'\t'):
        at += 1
    return at


cdef inline const unsigned char *_skip_token(const unsigned char *at, const unsigned char *stop) noexcept:
    while at < stop and _CLASSES[at[0]] & _TCHAR:
        at += 1
    return at


cdef const unsigned char *_skip_quoted(const unsigned char *at, const unsigned char *stop) noexcept:
    """What follows a quoted-string whose first quote is at `at`; NULL if it is malformed."""
    at += 1
    while at < stop:
        if at[0] == c'"':
            return at + 1
        if at[0] == c'\\':
            at += 1
            if at == stop or not _CLASSES[at[0]] & _QUOTABLE:
                return NULL
        elif not _CLASSES[at[0]] & _QDTEXT:
            return NULL
        at += 1
    return NULL


cdef int _check_extensions(const unsigned char *at, const unsigned char *stop) noexcept:
    """CHUNK_DATA if what follows a chunk's size is right, else an error code."""
    cdef const unsigned char *after
    if at == stop:
        return CHUNK_DATA
    after = _skip_space(at, stop)
    if after == stop or after[0] != c';':
        return BAD_CHUNK_SIZE
    while at < stop:
        at = _skip_space(at, stop)
        if at == stop or at[0] != c';':
            return BAD_CHUNK_EXTENSION
        at = _skip_space(at + 1, stop)
        after = _skip_token(at, stop)
        if after == at:
            return BAD_CHUNK_EXTENSION
        at = after
        after = _skip_space(at, stop)
        if after == stop or after[0] != c'=':
            # Space after a name may only be followed by "=" or ";": the next turn finds out.
            continue
        at = _skip_space(after + 1, stop)
        if at == stop:
            return BAD_CHUNK_EXTENSION
        if at[0] == c'"':
            at = _skip_quoted(at, stop)
            if at == NULL:
                return BAD_CHUNK_EXTENSION
        else:
            after = _skip_token(at, stop)
            if after == at:
                return BAD_CHUNK_EXTENSION
            at = after
    return CHUNK_DATA


cdef class ChunkedDecoder:
    def __cinit__(self):
        self.data = b""

    cpdef int decode(self, InputBuffer input, long long max_line) except -1:
        cdef int code
        cdef Py_ssize_t size
        self.data = b""
        while True:
            if self._state == _LINE:
                code = self._decode_line(input, max_line)
                if code != CHUNK_DATA:
                    return code
            elif self._state == _CONTENT:
                size = input.length()
                if size == 0:
                    return CHUNK_NEED_DATA
                if size > self._remaining:
                    size = <Py_ssize_t>self._remaining
                self.data = input.take(size)
                self._remaining -= size
                if self._remaining == 0:
                    self._state = _CR
                return CHUNK_DATA
            elif self._state == _END:
                return CHUNK_END
            else:
                if input.length() == 0:
                    return CHUNK_NEED_DATA
                if input.pointer()[0] != (c'\r' if self._state == _CR else c'\n'):
                    return BAD_CHUNK_TERMINATOR
                input.discard(1)
                self._state = _LF if self._state == _CR else _LINE

    cdef int _decode_line(self, InputBuffer input, long long max_line) except -1:
        cdef const unsigned char *front = input.pointer()
        cdef Py_ssize_t available = input.length()
        cdef const unsigned char *at = front
        cdef const unsigned char *stop
        cdef Py_ssize_t measured = available
        cdef long long size = 0
        cdef long long overhead
        cdef int digit, code
        if available == 0:
            return CHUNK_NEED_DATA
        stop = <const unsigned char *>memchr(front, c'\n', <size_t>available)
        if stop != NULL:
            measured = stop - front
        if max_line != 0 and measured - 1 > max_line:
            return CHUNK_LINE_TOO_LONG
        if stop == NULL:
            return CHUNK_NEED_DATA
        if measured == 0 or front[measured - 1] != c'\r':
            return BAD_CHUNK_SIZE
        stop -= 1

        while at < stop:
            digit = _DIGITS[at[0]]
            if digit == 16:
                break
            # Sixteen digits, the first of them below 8: no more than 2**63 - 1.
            if at - front == 16 or size > 0x07ffffffffffffff:
                return CHUNK_SIZE_OVERFLOW
            size = size << 4 | digit
            at += 1
        if at == front:
            return BAD_CHUNK_SIZE
        if at != stop:
            code = _check_extensions(at, stop)
            if code != CHUNK_DATA:
                return code

        input.discard(measured + 1)
        overhead = self.excess + (measured + 1) + 2 - 16
        # Twice the size may be too large a number.
        if size >= overhead or 2 * size >= overhead:
            self.excess = 0
        else:
            self.excess = overhead - 2 * size
        if size == 0:
            self._state = _END
            return CHUNK_END
        self._remaining = size
        self._state = _CONTENT
        return CHUNK_DATA


cdef inline Py_ssize_t _hex_digits(unsigned long long size) noexcept:
    cdef Py_ssize_t count = 1
    while size > 15:
        size >>= 4
        count += 1
    return count


cdef inline char *_write_head(char *end, unsigned long long size, Py_ssize_t digits) noexcept:
    """Write a chunk's first line with its CRLF, and return where it ends."""
    cdef Py_ssize_t i = digits
    while i > 0:
        i -= 1
        end[i] = b"0123456789abcdef"[size & 15]
        size >>= 4
    end[digits] = c'\r'
    end[digits + 1] = c'\n'
    return end + digits + 2


cpdef bytes chunk_head(long long size):
    cdef char[20] line
    if size < 0:
        raise ValueError("negative chunk size")
    return PyBytes_FromStringAndSize(
        line, _write_head(line, <unsigned long long>size, _hex_digits(<unsigned long long>size)) - line)


cpdef bytes encode_chunk(bytes data):
    cdef Py_ssize_t size = len(data)
    cdef Py_ssize_t digits
    cdef bytes chunk
    cdef char *end
    if size == 0:
        return b""
    digits = _hex_digits(<unsigned long long>size)
    chunk = PyBytes_FromStringAndSize(NULL, digits + 2 + size + 2)
    end = _write_head(PyBytes_AS_STRING(chunk), <unsigned long long>size, digits)
    memcpy(end, PyBytes_AS_STRING(data), <size_t>size)
    end += size
    end[0] = c'\r'
    end[1] = c'\n'
    return chunk
