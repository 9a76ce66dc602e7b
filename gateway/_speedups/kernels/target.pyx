# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/target.py, where everything is documented."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.string cimport memcmp

from gateway._speedups.kernels.grammar cimport CLASS, HEX, IS_HEX, ascii_text, equals, find, span_of
from gateway._speedups.kernels.host cimport valid_host


cdef bint _percent_ok(const unsigned char *data, Py_ssize_t start, Py_ssize_t end) noexcept:
    cdef Py_ssize_t i = find(data, start, end, c'%')
    while i >= 0:
        if i + 2 >= end or not CLASS[data[i + 1]] & CLASS[data[i + 2]] & IS_HEX:
            return False
        i = find(data, i + 3, end, c'%')
    return True


cdef bint parse_target(const unsigned char *data, Py_ssize_t start, Py_ssize_t end, Target *target) noexcept:
    """Split a request target that has no wrong byte in it. False if it has none of the four forms."""
    cdef Py_ssize_t at, question, host
    target.whole = span_of(start, end)
    target.query = span_of(end, end)
    target.authority = span_of(-1, -1)
    if data[start] == c'/':
        target.form = ORIGIN_FORM
        at = start
    elif end - start == 1 and data[start] == c'*':
        target.form = ASTERISK_FORM
        target.path = target.whole
        return True
    else:
        at = 0
        if end - start >= 7 and equals(data + start, 4, b"http", 4):
            at = start + 4
            if data[at] | 0x20 == c's':
                at += 1
            if end - at >= 3 and memcmp(data + at, b"://", 3) == 0:
                at += 3
            else:
                at = 0
        if at == 0:
            target.form = AUTHORITY_FORM
            target.path = span_of(end, end)
            target.authority = target.whole
            return valid_host(data + start, end - start, True)
        target.form = ABSOLUTE_FORM
        host = at
        while at < end and data[at] != c'/' and data[at] != c'?':
            at += 1
        target.authority = span_of(host, at)
        if not valid_host(data + host, at - host, False):
            return False
    question = find(data, at, end, c'?')
    if question < 0:
        target.path = span_of(at, end)
    else:
        target.path = span_of(at, question)
        target.query = span_of(question + 1, end)
    return _percent_ok(data, at, at + target.path.size)


cdef str decoded(const unsigned char *data, Py_ssize_t size, bint utf8):
    cdef unsigned char[512] room
    cdef unsigned char *plain = room
    cdef Py_ssize_t i = 0, length = 0
    if find(data, 0, size, c'%') < 0:
        return ascii_text(data, size)
    if size > <Py_ssize_t>sizeof(room):
        plain = <unsigned char *>PyMem_Malloc(<size_t>size)
        if plain == NULL:
            raise MemoryError
    try:
        while i < size:
            if data[i] == c'%' and i + 2 < size:
                plain[length] = <unsigned char>(HEX[data[i + 1]] << 4 | HEX[data[i + 2]])
                i += 3
            else:
                plain[length] = data[i]
                i += 1
            length += 1
        if utf8:
            return PyUnicode_DecodeUTF8(<const char *>plain, length, b"replace")
        return PyUnicode_DecodeLatin1(<const char *>plain, length, NULL)
    finally:
        if plain != room:
            PyMem_Free(plain)
