# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/fields.py, where everything is documented."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_AsLatin1String
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    enum: PyUnicode_1BYTE_KIND

cdef enum:
    _STACK_SIZE = 1024
    _OPTION_CLOSE = 1
    _OPTION_KEEP_ALIVE = 2
    _OPTION_UPGRADE = 4

# Byte classes.
cdef enum:
    _TCHAR = 1
    _VALUE = 2

cdef unsigned char[256] _CLASSES


cdef void _fill_classes() noexcept:
    cdef int byte
    for byte in range(256):
        _CLASSES[byte] = 0
        if byte == 0x09 or 0x20 <= byte <= 0x7e or byte >= 0x80:
            _CLASSES[byte] |= _VALUE
        if (c'0' <= byte <= c'9' or c'a' <= byte <= c'z' or c'A' <= byte <= c'Z'
                or (byte != 0 and memchr(b"!#$%&'*+-.^_`|~", byte, 15) != NULL)):
            _CLASSES[byte] |= _TCHAR


_fill_classes()


cdef inline bint _is_token(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    for i in range(size):
        if not _CLASSES[data[i]] & _TCHAR:
            return False
    return size > 0


cdef inline bint _is_value(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i = 0
    cdef uint64_t word = 0
    cdef uint64_t low, delete
    # Eight bytes at a time: has one of them a value below 0x20, or 0x7f? (HTAB has, and is looked at again.)
    while i + 8 <= size:
        memcpy(&word, data + i, 8)
        low = (word - <uint64_t>0x2020202020202020) & ~word
        delete = word ^ <uint64_t>0x7f7f7f7f7f7f7f7f
        delete = (delete - <uint64_t>0x0101010101010101) & ~delete
        if (low | delete) & <uint64_t>0x8080808080808080:
            break
        i += 8
    while i < size:
        if not _CLASSES[data[i]] & _VALUE:
            return False
        i += 1
    return True


cdef inline bint _equals(const unsigned char *token, const char *name, Py_ssize_t size) noexcept:
    """Whether a token is `name` (lower-case letters and hyphens). Only a hyphen has a hyphen's other bits."""
    cdef Py_ssize_t i
    for i in range(size):
        if (token[i] | 0x20) != <unsigned char>name[i]:
            return False
    return True


cdef inline bint _same(const unsigned char *name, const char *lower, const char *title, Py_ssize_t size) noexcept:
    return memcmp(name, lower, <size_t>size) == 0 or memcmp(name, title, <size_t>size) == 0


cdef inline int _usual(const unsigned char *name, Py_ssize_t size) noexcept:
    """`_known` of names that most responses have, in the two ways to write them; 0 for all others."""
    if size == 12:
        return F_CONTENT_TYPE if _same(name, b"content-type", b"Content-Type", 12) else 0
    if size == 14:
        return F_CONTENT_LENGTH if _same(name, b"content-length", b"Content-Length", 14) else 0
    return 0


cdef inline int _known(const unsigned char *name, Py_ssize_t size) noexcept:
    if size == 4:
        if _equals(name, b"date", 4):
            return F_DATE
        if _equals(name, b"host", 4):
            return F_HOST
    elif size == 6:
        if _equals(name, b"server", 6):
            return F_SERVER
    elif size == 7:
        if _equals(name, b"upgrade", 7):
            return F_UPGRADE
        if _equals(name, b"trailer", 7):
            return F_TRAILER
    elif size == 10:
        if _equals(name, b"connection", 10):
            return F_CONNECTION
        if _equals(name, b"keep-alive", 10):
            return F_KEEP_ALIVE
    elif size == 12:
        if _equals(name, b"content-type", 12):
            return F_CONTENT_TYPE
    elif size == 14:
        if _equals(name, b"content-length", 14):
            return F_CONTENT_LENGTH
    elif size == 16:
        if _equals(name, b"proxy-connection", 16):
            return F_PROXY_CONNECTION
    elif size == 17:
        if _equals(name, b"transfer-encoding", 17):
            return F_TRANSFER_ENCODING
    elif size == 2:
        if _equals(name, b"te", 2):
            return F_TE
    return 0


cdef long long _parse_length(const unsigned char *value, Py_ssize_t size) noexcept:
    cdef uint64_t length = 0
    cdef uint64_t digit
    cdef Py_ssize_t i
    if size == 0:
        return -2
    for i in range(size):
        if value[i] < c'0' or value[i] > c'9':
            return -2
        digit = value[i] - c'0'
        if length > (<uint64_t>0x7fffffffffffffff - digit) // 10:
            return -2
        length = length * 10 + digit
    return <long long>length


cdef inline bint _option_is(
    const unsigned char *member, Py_ssize_t size, const char *name, Py_ssize_t length
) noexcept:
    cdef Py_ssize_t i
    cdef unsigned char byte
    if size != length:
        return False
    for i in range(size):
        byte = member[i]
        if c'A' <= byte <= c'Z':
            byte |= 0x20
        if byte != <unsigned char>name[i]:
            return False
    return True


cdef int _parse_options(const unsigned char *value, Py_ssize_t size) noexcept:
    cdef int options = 0
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t stop, front, back
    while start <= size:
        stop = start
        while stop < size and value[stop] != c',':
            stop += 1
        front = start
        back = stop
        while front < back and (value[front] == c' ' or value[front] == c'\t'):
            front += 1
        while front < back and (value[back - 1] == c' ' or value[back - 1] == c'\t'):
            back -= 1
        if _option_is(value + front, back - front, b"close", 5):
            options |= _OPTION_CLOSE
        elif _option_is(value + front, back - front, b"keep-alive", 10):
            options |= _OPTION_KEEP_ALIVE
        elif _option_is(value + front, back - front, b"upgrade", 7):
            options |= _OPTION_UPGRADE
        start = stop + 1
    return options


cdef int _grow(Lines *lines, Py_ssize_t needed) except -1:
    cdef Py_ssize_t capacity
    cdef unsigned char *storage
    if needed > <Py_ssize_t>((<size_t>-1) // 4):
        raise MemoryError
    capacity = 2 * lines.capacity
    if capacity < needed:
        capacity = needed
    storage = <unsigned char *>PyMem_Malloc(<size_t>capacity)
    if storage == NULL:
        raise MemoryError
    memcpy(storage, lines.front, <size_t>lines.size)
    PyMem_Free(lines.heap)
    lines.heap = storage
    lines.front = storage
    lines.capacity = capacity
    return 0


cdef object _convert(object value):
    """`value` as bytes, or the code of what is wrong with it, when it has no bytes to point at."""
    if isinstance(value, str):
        try:
            return PyUnicode_AsLatin1String(value)
        except UnicodeEncodeError:
            return FIELD_BAD_VALUE
    if isinstance(value, (bytes, bytearray, memoryview)):
        return memoryview(value).tobytes()
    return FIELD_BAD_TYPE


cdef inline bint _point(object value, const unsigned char **data, Py_ssize_t *size):
    """Where the bytes of `value` are, as long as it lives. False when it must be converted first."""
    if PyBytes_CheckExact(value):
        data[0] = <const unsigned char *>PyBytes_AS_STRING(value)
        size[0] = PyBytes_GET_SIZE(value)
        return True
    if isinstance(value, str) and PyUnicode_KIND(value) == PyUnicode_1BYTE_KIND:
        data[0] = <const unsigned char *>PyUnicode_DATA(value)
        size[0] = PyUnicode_GET_LENGTH(value)
        return True
    return False


@cython.freelist(16)
cdef class FieldBlock:
    def __cinit__(self):
        self._reset()

    cdef void _reset(self) noexcept:
        self.data = b""
        self.error_name = b""
        self.count = 0
        self.seen = 0
        self.content_length = -1
        self.content_length_count = 0
        self.connection_options = 0

    cpdef int encode(self, object fields, int drop) except -1:
        cdef unsigned char[_STACK_SIZE] stack
        cdef Lines lines
        cdef int code
        self._reset()
        lines.front = stack
        lines.size = 0
        lines.capacity = _STACK_SIZE
        lines.heap = NULL
        try:
            code = self._encode_all(fields, drop, &lines)
            if code == FIELDS_OK:
                if lines.size > 0:
                    self.data = PyBytes_FromStringAndSize(<char *>lines.front, lines.size)
            else:
                self.count = 0
        except BaseException:
            self.count = 0
            raise
        finally:
            PyMem_Free(lines.heap)
        return code

    cdef int _encode_all(self, object fields, int drop, Lines *lines) except -1:
        cdef int code
        cdef object item, iterator
        if PyList_CheckExact(fields):
            for item in <list>fields:
                code = self._encode_field(item, drop, lines)
                if code != FIELDS_OK:
                    return code
            return FIELDS_OK
        try:
            iterator = iter(fields)
        except TypeError:
            return FIELD_NOT_PAIR
        for item in iterator:
            code = self._encode_field(item, drop, lines)
            if code != FIELDS_OK:
                return code
        return FIELDS_OK

    cdef int _encode_field(self, object item, int drop, Lines *lines) except -1:
        cdef object name, value
        cdef tuple pair
        cdef const unsigned char *name_data = NULL
        cdef const unsigned char *value_data = NULL
        cdef Py_ssize_t name_size = 0
        cdef Py_ssize_t value_size = 0
        cdef Py_ssize_t needed
        cdef unsigned char *end
        cdef int known

        if PyTuple_CheckExact(item) and PyTuple_GET_SIZE(item) == 2:
            name = (<tuple>item)[0]
            value = (<tuple>item)[1]
        elif PyList_CheckExact(item) and PyList_GET_SIZE(item) == 2:
            name = (<list>item)[0]
            value = (<list>item)[1]
        else:
            if isinstance(item, (str, bytes, bytearray, memoryview)):
                return FIELD_NOT_PAIR
            try:
                pair = tuple(item)
            except TypeError:
                return FIELD_NOT_PAIR
            if PyTuple_GET_SIZE(pair) != 2:
                return FIELD_NOT_PAIR
            name = pair[0]
            value = pair[1]

        if not _point(name, &name_data, &name_size):
            name = _convert(name)
            if not PyBytes_CheckExact(name):
                return FIELD_BAD_NAME if name == FIELD_BAD_VALUE else <int>name
            _point(name, &name_data, &name_size)
        known = _usual(name_data, name_size)
        if known == 0 and not _is_token(name_data, name_size):
            return FIELD_BAD_NAME
        if not _point(value, &value_data, &value_size):
            value = _convert(value)
            if not PyBytes_CheckExact(value):
                self.error_name = PyBytes_FromStringAndSize(<const char *>name_data, name_size)
                return <int>value
            _point(value, &value_data, &value_size)
        while value_size > 0 and (value_data[0] == c' ' or value_data[0] == c'\t'):
            value_data += 1
            value_size -= 1
        while value_size > 0 and (value_data[value_size - 1] == c' ' or value_data[value_size - 1] == c'\t'):
            value_size -= 1
        if not _is_value(value_data, value_size):
            self.error_name = PyBytes_FromStringAndSize(<const char *>name_data, name_size)
            return FIELD_BAD_VALUE

        if known == 0:
            known = _known(name_data, name_size)
        if known != 0:
            self.seen |= known
            if known == F_CONTENT_LENGTH:
                if self.content_length_count == 0:
                    self.content_length = _parse_length(value_data, value_size)
                self.content_length_count += 1
            elif known == F_CONNECTION:
                self.connection_options |= _parse_options(value_data, value_size)
            if known & drop:
                return FIELDS_OK

        needed = lines.size + name_size + value_size + 4
        if needed > lines.capacity:
            _grow(lines, needed)
        end = lines.front + lines.size
        memcpy(end, name_data, <size_t>name_size)
        end += name_size
        end[0] = c':'
        end[1] = c' '
        end += 2
        memcpy(end, value_data, <size_t>value_size)
        end += value_size
        end[0] = c'\r'
        end[1] = c'\n'
        lines.size = needed
        self.count += 1
        return FIELDS_OK

    @property
    def fields(self):
        cdef list pairs = []
        cdef bytes line, name, value
        for line in self.data.split(b"\r\n")[:self.count]:
            name, _, value = line.partition(b": ")
            pairs.append((name.lower(), value))
        return pairs

    cpdef object get(self, bytes name):
        cdef const unsigned char *line = <const unsigned char *>PyBytes_AS_STRING(self.data)
        cdef const unsigned char *stop = line + PyBytes_GET_SIZE(self.data)
        cdef const unsigned char *end
        cdef Py_ssize_t size = len(name)
        while line < stop:
            # A value holds no LF, and a name no colon.
            end = <const unsigned char *>memchr(line, c'\n', <size_t>(stop - line))
            if end - line >= size + 3 and line[size] == c':' and _option_is(
                    line, size, PyBytes_AS_STRING(name), size):
                return PyBytes_FromStringAndSize(<const char *>line + size + 2, end - 1 - (line + size + 2))
            line = end + 1
        return None


cpdef bytes encode_head(bytes status_line, bytes prefix, bytes data, bytes suffix, bytes body):
    cdef Py_ssize_t status_size = len(status_line)
    cdef Py_ssize_t prefix_size = len(prefix)
    cdef Py_ssize_t data_size = len(data)
    cdef Py_ssize_t suffix_size = len(suffix)
    cdef Py_ssize_t body_size = 0 if body is None else len(body)
    cdef Py_ssize_t head_size = status_size + prefix_size + data_size + suffix_size + 2
    cdef bytes head = PyBytes_FromStringAndSize(NULL, head_size + body_size)
    cdef char *end = PyBytes_AS_STRING(head)
    memcpy(end, PyBytes_AS_STRING(status_line), <size_t>status_size)
    end += status_size
    memcpy(end, PyBytes_AS_STRING(prefix), <size_t>prefix_size)
    end += prefix_size
    memcpy(end, PyBytes_AS_STRING(data), <size_t>data_size)
    end += data_size
    memcpy(end, PyBytes_AS_STRING(suffix), <size_t>suffix_size)
    end += suffix_size
    end[0] = c'\r'
    end[1] = c'\n'
    if body_size > 0:
        memcpy(end + 2, PyBytes_AS_STRING(body), <size_t>body_size)
    return head
