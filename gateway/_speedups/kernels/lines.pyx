# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/lines.py, where everything is documented."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from json.encoder import encode_basestring_ascii

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object text)
    bint PyUnicode_IS_ASCII "PyUnicode_IS_COMPACT_ASCII" (object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    _FIRST_CAPACITY = 1024
    # After a burst of long lines more than this is given back.
    _KEPT_CAPACITY = 131072

# What may not stand in a value as it is; bits.
cdef enum:
    _UNSAFE = 1
    _SPACE = 2

cdef unsigned char[256] _CLASSES
cdef const char *_HEX = b"0123456789abcdef"


cdef void _fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        _CLASSES[byte] = 0
        if byte < 0x20 or byte > 0x7e or byte == c'"' or byte == c'\\':
            _CLASSES[byte] = _UNSAFE
        elif byte == c' ':
            _CLASSES[byte] = _SPACE


_fill_classes()


cdef inline Py_ssize_t _safe(const unsigned char *data, Py_ssize_t size, int unsafe) noexcept:
    """How many bytes at the beginning of `data` need no escape."""
    cdef Py_ssize_t i = 0
    cdef uint64_t word = 0
    cdef uint64_t low, quote, backslash, delete
    # Eight bytes at a time: has one of them a value below 0x20 or above 0x7e, or is it a quote or a backslash?
    if not unsafe & _SPACE:
        while i + 8 <= size:
            memcpy(&word, data + i, 8)
            low = word - <uint64_t>0x2020202020202020
            quote = (word ^ <uint64_t>0x2222222222222222) - <uint64_t>0x0101010101010101
            backslash = (word ^ <uint64_t>0x5c5c5c5c5c5c5c5c) - <uint64_t>0x0101010101010101
            delete = (word ^ <uint64_t>0x7f7f7f7f7f7f7f7f) - <uint64_t>0x0101010101010101
            if (low | quote | backslash | delete | word) & <uint64_t>0x8080808080808080:
                break
            i += 8
    while i < size and not _CLASSES[data[i]] & unsafe:
        i += 1
    return i


cdef inline bint _point(object value, const unsigned char **data, Py_ssize_t *size) noexcept:
    """Whether `value` is bytes, or a str that has its ASCII characters as bytes; then where they are."""
    if PyBytes_CheckExact(value):
        data[0] = <const unsigned char *>PyBytes_AS_STRING(value)
        size[0] = PyBytes_GET_SIZE(value)
        return True
    if PyUnicode_CheckExact(value) and PyUnicode_IS_ASCII(value):
        data[0] = <const unsigned char *>PyUnicode_DATA(value)
        size[0] = PyUnicode_GET_LENGTH(value)
        return True
    return False


cdef bytes _to_bytes(str text):
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return b"".join(
            [
                character.encode("latin-1") if character < "\u0100" else character.encode("utf-8", "surrogatepass")
                for character in text
            ]
        )


cdef bytes _value(object value):
    """What `_point` could not take."""
    return _to_bytes(str(value)) if isinstance(value, str) else memoryview(value).tobytes()


@cython.final
cdef class LineBuffer:
    def __cinit__(self):
        self._data = NULL
        self._size = 0
        self._capacity = 0

    def __dealloc__(self):
        PyMem_Free(self._data)

    cdef int _grow(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t capacity = self._capacity
        cdef void *data
        if capacity < _FIRST_CAPACITY:
            capacity = _FIRST_CAPACITY
        while capacity - self._size <= more:
            capacity *= 2
        data = PyMem_Realloc(self._data, <size_t>capacity)
        if data == NULL:
            raise MemoryError
        self._data = <unsigned char *>data
        self._capacity = capacity
        return 0

    cdef int _put_other(self, object text) except -1:
        if not isinstance(text, str):
            text = memoryview(text).tobytes()
        else:
            text = str(text).encode("utf-8", "backslashreplace")
        return self.put(text)

    cdef int _escape(self, const unsigned char *data, Py_ssize_t size, int unsafe) except -1:
        cdef unsigned char *end
        cdef Py_ssize_t run
        while True:
            run = _safe(data, size, unsafe)
            # Room for an escape after it, too.
            if run + 4 >= self._capacity - self._size:
                self._grow(run + 4)
            end = self._data + self._size
            memcpy(end, data, <size_t>run)
            self._size += run
            if run == size:
                return 0
            end += run
            end[0] = c'\\'
            end[1] = c'x'
            end[2] = <unsigned char>_HEX[data[run] >> 4]
            end[3] = <unsigned char>_HEX[data[run] & 15]
            self._size += 4
            data += run + 1
            size -= run + 1

    cpdef Py_ssize_t size(self) except -1:
        return self._size

    cpdef int put(self, object text) except -1:
        cdef const void *data
        cdef Py_ssize_t size
        if PyBytes_CheckExact(text):
            data = PyBytes_AS_STRING(text)
            size = PyBytes_GET_SIZE(text)
        elif PyUnicode_CheckExact(text) and PyUnicode_IS_ASCII(text):
            data = PyUnicode_DATA(text)
            size = PyUnicode_GET_LENGTH(text)
        else:
            return self._put_other(text)
        if size >= self._capacity - self._size:
            self._grow(size)
        memcpy(self._data + self._size, data, <size_t>size)
        self._size += size
        return 0

    cpdef int put_number(self, long long number, int width) except -1:
        cdef unsigned char[20] digits
        cdef unsigned long long rest = <unsigned long long>number
        cdef int at = 20
        cdef int first = 20 - (width if width <= 19 else 19)
        if number < 0:
            raise ValueError("a number below 0")
        while rest > 0 or at > first or at == 20:
            at -= 1
            digits[at] = <unsigned char>(c'0' + rest % 10)
            rest = rest // 10
        if 20 >= self._capacity - self._size:
            self._grow(20)
        memcpy(self._data + self._size, digits + at, <size_t>(20 - at))
        self._size += 20 - at
        return 0

    cpdef int put_escaped(self, object value) except -1:
        cdef const unsigned char *data = NULL
        cdef Py_ssize_t size = 0
        if not _point(value, &data, &size):
            value = _value(value)
            _point(value, &data, &size)
        self._escape(data, size, _UNSAFE)
        return 0

    cpdef int put_word(self, object value) except -1:
        cdef const unsigned char *data = NULL
        cdef Py_ssize_t size = 0
        if not _point(value, &data, &size):
            value = _value(value)
            _point(value, &data, &size)
        self._escape(data, size, _UNSAFE | _SPACE)
        return 0

    cpdef int put_json(self, object value) except -1:
        cdef const unsigned char *data = NULL
        cdef unsigned char *end
        cdef Py_ssize_t size = 0
        if _point(value, &data, &size) and _safe(data, size, _UNSAFE) == size:
            if size + 2 >= self._capacity - self._size:
                self._grow(size + 2)
            end = self._data + self._size
            end[0] = c'"'
            memcpy(end + 1, data, <size_t>size)
            end[size + 1] = c'"'
            self._size += size + 2
            return 0
        if not isinstance(value, str):
            value = memoryview(value).tobytes().decode("utf-8", "backslashreplace")
        self.put(encode_basestring_ascii(value))
        return 0

    cpdef bytes cut(self, Py_ssize_t start):
        cdef bytes piece
        if start < 0 or start > self._size:
            raise ValueError("not a position in the buffer")
        piece = PyBytes_FromStringAndSize(<const char *>self._data + start, self._size - start)
        self._size = start
        return piece

    cpdef bytes take(self):
        cdef bytes piece = PyBytes_FromStringAndSize(<const char *>self._data, self._size)
        self._size = 0
        if self._capacity > _KEPT_CAPACITY:
            PyMem_Free(self._data)
            self._data = NULL
            self._capacity = 0
        return piece
