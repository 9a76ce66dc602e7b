# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Compiled twin of gateway/core/kernels/lines.py, where everything is documented."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from gateway._speedups.kernels.head cimport RequestHead

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


cdef inline bint _harmless(uint64_t word, int unsafe) noexcept:
    """Whether none of eight bytes needs an escape: is below 0x20 (or 0x21) or above 0x7e, a quote or a backslash."""
    cdef uint64_t low = word - <uint64_t>(0x2121212121212121 if unsafe & _SPACE else 0x2020202020202020)
    cdef uint64_t quote = (word ^ <uint64_t>0x2222222222222222) - <uint64_t>0x0101010101010101
    cdef uint64_t backslash = (word ^ <uint64_t>0x5c5c5c5c5c5c5c5c) - <uint64_t>0x0101010101010101
    cdef uint64_t delete = (word ^ <uint64_t>0x7f7f7f7f7f7f7f7f) - <uint64_t>0x0101010101010101
    return not (low | quote | backslash | delete | word) & <uint64_t>0x8080808080808080


cdef inline Py_ssize_t _copy_safe(unsigned char *end, const unsigned char *data, Py_ssize_t size, int unsafe) noexcept:
    """Copy the bytes at the beginning of `data` that need no escape. Returns how many they are."""
    cdef Py_ssize_t i = 0
    cdef uint64_t word = 0
    while i + 8 <= size:
        memcpy(&word, data + i, 8)
        if not _harmless(word, unsafe):
            break
        memcpy(end + i, &word, 8)
        i += 8
    while i < size and not _CLASSES[data[i]] & unsafe:
        end[i] = data[i]
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


cdef inline unsigned char *_begin(LineBuffer lines, bytes text, Py_ssize_t more) except NULL:
    """Append `text`. Returns where there is room for `more` bytes after it."""
    cdef Py_ssize_t size
    if text is None:
        raise TypeError("text must not be None")
    size = PyBytes_GET_SIZE(text)
    if size + more >= lines._capacity - lines._size:
        lines._grow(size + more)
    memcpy(lines._data + lines._size, PyBytes_AS_STRING(text), <size_t>size)
    lines._size += size
    return lines._data + lines._size


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

    cdef int _put_dash(self, bytes text) except -1:
        _begin(self, text, 1)[0] = c'-'
        self._size += 1
        return 0

    cdef int _put_bytes(self, bytes text, const unsigned char *data, Py_ssize_t size, int unsafe) except -1:
        cdef unsigned char *end
        cdef Py_ssize_t run
        if size == 0:
            return self._put_dash(text)
        end = _begin(self, text, size)
        while True:
            run = _copy_safe(end, data, size, unsafe)
            self._size += run
            if run == size:
                return 0
            data += run
            size -= run
            # An escape, and what comes after it.
            if size + 4 >= self._capacity - self._size:
                self._grow(size + 4)
            end = self._data + self._size
            end[0] = c'\\'
            end[1] = c'x'
            end[2] = <unsigned char>_HEX[data[0] >> 4]
            end[3] = <unsigned char>_HEX[data[0] & 15]
            self._size += 4
            end += 4
            data += 1
            size -= 1

    cdef int _put_string(self, bytes text, const unsigned char *data, Py_ssize_t size) except -1:
        """As `put_json`."""
        cdef Py_ssize_t start = self._size
        cdef unsigned char *end = _begin(self, text, size + 2)
        end[0] = c'"'
        if _copy_safe(end + 1, data, size, _UNSAFE) == size:
            end[size + 1] = c'"'
            self._size += size + 2
            return 0
        self._size = start
        return self._put_unsafe_string(text, PyBytes_FromStringAndSize(<const char *>data, size))

    cdef int _put_unsafe_string(self, bytes text, object value) except -1:
        if not isinstance(value, str):
            value = memoryview(value).tobytes().decode("utf-8", "backslashreplace")
        return self.put(text + encode_basestring_ascii(value).encode("ascii"))

    cdef int _put_value(self, bytes text, object value, int unsafe) except -1:
        cdef const unsigned char *data = NULL
        cdef Py_ssize_t size = 0
        if value is None:
            return self._put_dash(text)
        if not _point(value, &data, &size):
            value = _value(value)
            _point(value, &data, &size)
        return self._put_bytes(text, data, size, unsafe)

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

    cpdef int put_number(self, bytes text, long long number, int width) except -1:
        cdef unsigned char[20] digits
        cdef unsigned long long rest = <unsigned long long>number
        cdef unsigned char *end
        cdef int at = 20
        cdef int first = 20 - (width if width <= 19 else 19)
        if number < 0:
            raise ValueError("a number below 0")
        while rest >= 10:
            at -= 1
            digits[at] = <unsigned char>(c'0' + rest % 10)
            rest = rest // 10
        at -= 1
        digits[at] = <unsigned char>(c'0' + rest)
        while at > first:
            at -= 1
            digits[at] = c'0'
        end = _begin(self, text, 20)
        self._size += 20 - at
        while at < 20:
            end[0] = digits[at]
            end += 1
            at += 1
        return 0

    cpdef int put_count(self, bytes text, long long number) except -1:
        return self.put_number(text, number, 1) if number else self._put_dash(text)

    cpdef int put_escaped(self, bytes text, object value) except -1:
        return self._put_value(text, value, _UNSAFE)

    cpdef int put_word(self, bytes text, object value) except -1:
        return self._put_value(text, value, _UNSAFE | _SPACE)

    cpdef int put_json(self, bytes text, object value) except -1:
        cdef const unsigned char *data = NULL
        cdef Py_ssize_t size = 0
        if value is None:
            return 0
        if _point(value, &data, &size):
            return self._put_string(text, data, size)
        return self._put_unsafe_string(text, value)

    cpdef int put_request_line(self, bytes text, RequestHead head) except -1:
        cdef const unsigned char *target
        cdef unsigned char *end
        cdef Py_ssize_t size, length
        if head is None:
            raise TypeError("head must not be None")
        target = head._bytes + head._target.whole.start
        size = head._target.whole.size
        length = PyUnicode_GET_LENGTH(head.method)
        end = _begin(self, text, length + 1 + size + 9)
        # A token needs no escape.
        memcpy(end, PyUnicode_DATA(head.method), <size_t>length)
        end += length
        end[0] = c' '
        end += 1
        self._size += length + 1
        if _copy_safe(end, target, size, _UNSAFE) == size:
            self._size += size
            end += size
        else:
            self._put_bytes(b"", target, size, _UNSAFE)
            end = _begin(self, b"", 9)
        memcpy(end, b" HTTP/1.1" if head.minor else b" HTTP/1.0", 9)
        self._size += 9
        return 0

    cpdef int put_field(self, bytes text, RequestHead head, bytes name) except -1:
        cdef Py_ssize_t size = 0
        cdef const unsigned char *value = NULL
        if name is None:
            raise TypeError("name must not be None")
        if head is not None:
            value = head.find(name, &size)
        return self._put_bytes(text, value, size, _UNSAFE)

    cpdef int put_json_field(self, bytes text, RequestHead head, bytes name) except -1:
        cdef Py_ssize_t size = 0
        cdef const unsigned char *value
        if head is None or name is None:
            raise TypeError("head and name must not be None")
        value = head.find(name, &size)
        return 0 if value == NULL else self._put_string(text, value, size)

    cpdef int put_json_path(self, bytes text, RequestHead head) except -1:
        if head is None:
            raise TypeError("head must not be None")
        if head._target.path.size == 0:
            return self.put_json(text, head._raw_path())
        return self._put_string(text, head._bytes + head._target.path.start, head._target.path.size)

    cpdef int put_json_query(self, bytes text, RequestHead head) except -1:
        if head is None:
            raise TypeError("head must not be None")
        if head._target.query.size == 0:
            return 0
        return self._put_string(text, head._bytes + head._target.query.start, head._target.query.size)

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
