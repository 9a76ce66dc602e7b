# cython: language_level=3

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcpy

from gateway._speedups.kernels.buffer cimport Span


cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(str text) noexcept


cpdef enum:
    NEED_DATA = 0
    DONE = 1
    BAD_REQUEST_LINE = 2
    BAD_METHOD = 3
    BAD_TARGET = 4
    BAD_VERSION = 5
    UNSUPPORTED_VERSION = 6
    REQUEST_LINE_TOO_LONG = 7
    BARE_LF = 8
    OBSOLETE_FOLDING = 9
    NO_COLON = 10
    SPACE_BEFORE_COLON = 11
    BAD_FIELD_NAME = 12
    BAD_FIELD_VALUE = 13
    FIELD_TOO_LARGE = 14
    TOO_MANY_FIELDS = 15


# Per byte: the lower case of a tchar (RFC 9110 5.6.2), or 0.
cdef unsigned char[256] LOWER
# Per byte: its properties, bits.
cdef enum:
    IN_TARGET = 1       # of a request target
    IN_REG_NAME = 2     # of a reg-name but "%" (RFC 3986 3.2.2)
    IS_HEX = 4
    IS_DIGIT = 8
cdef unsigned char[256] CLASS
# Per byte: the value of a hexadecimal digit.
cdef unsigned char[256] HEX

cdef long long content_length(const unsigned char *data, Py_ssize_t size) noexcept


# What is called for every line or list member is here, to be inlined.


cdef inline Py_ssize_t find(const unsigned char *data, Py_ssize_t at, Py_ssize_t end, int byte) noexcept:
    """Offset of the first `byte` between two offsets, or -1."""
    cdef const void *found
    if at >= end:
        return -1
    found = memchr(data + at, byte, <size_t>(end - at))
    return -1 if found == NULL else <const unsigned char *>found - data


cdef inline bint is_token(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    for i in range(size):
        if LOWER[data[i]] == 0:
            return False
    return size > 0


cdef inline bint equals(const unsigned char *data, Py_ssize_t size, const char *lower, Py_ssize_t length) noexcept:
    """Whether `data` is the token `lower`, whatever its case."""
    cdef Py_ssize_t i
    if size != length:
        return False
    for i in range(size):
        if LOWER[data[i]] != <unsigned char>lower[i]:
            return False
    return True


cdef inline Span span_of(Py_ssize_t start, Py_ssize_t end) noexcept:
    cdef Span span
    span.start = start
    span.size = end - start
    return span


cdef inline bint next_member(const unsigned char *data, Py_ssize_t size, Py_ssize_t *at, Span *member) noexcept:
    """The next member of a comma-separated list, without the whitespace around it. False after the last one."""
    cdef Py_ssize_t start = at[0], end
    if start > size:
        return False
    end = find(data, start, size, c',')
    if end < 0:
        end = size
    at[0] = end + 1
    while start < end and (data[start] == c' ' or data[start] == c'\t'):
        start += 1
    while end > start and (data[end - 1] == c' ' or data[end - 1] == c'\t'):
        end -= 1
    member.start = start
    member.size = end - start
    return True


cdef inline bytes bytes_at(const unsigned char *data, Span span):
    if span.size == 0:
        return b""
    return PyBytes_FromStringAndSize(<const char *>data + span.start, span.size)


cdef inline str ascii_text(const unsigned char *data, Py_ssize_t size):
    cdef str text
    # Single characters are shared.
    if size <= 1:
        return PyUnicode_DecodeLatin1(<const char *>data, size, NULL) if size else ""
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), data, <size_t>size)
    return text
