# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/head.py, where everything is documented.

As in fieldlines.pyx, a fast pass accepts what is valid, and a slow one finds out what is wrong or missing. Positions
are offsets; objects are made from our own copy of the head when they are asked for.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy, PyDict_GetItemWithError, PyDict_SetItem
from cpython.list cimport PyList_New
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeLatin1
from libc.string cimport memcmp, memcpy, memmove, memset

from gateway._speedups.kernels.buffer cimport InputBuffer, Span
from gateway._speedups.kernels.fieldlines cimport USUAL_FIELDS, Field, Line, Lines, PreviousFields, parse_fields
from gateway._speedups.kernels.grammar cimport (
    BAD_METHOD, BAD_REQUEST_LINE, BAD_TARGET, BAD_VERSION, BARE_LF, CLASS, DONE, IN_TARGET, IS_DIGIT, LOWER, NEED_DATA,
    REQUEST_LINE_TOO_LONG, UNSUPPORTED_VERSION, ascii_text, bytes_at, content_length, equals, find, is_token,
    next_member,
)
from gateway._speedups.kernels.host cimport valid_host
from gateway._speedups.kernels.names cimport (
    K_CONNECTION, K_CONTENT_LENGTH, K_CONTENT_TYPE, K_COOKIE, K_EXPECT, K_HOST, K_TE, K_TRANSFER_ENCODING, K_UPGRADE,
    K_X_FORWARDED_SERVER, KNOWN_COUNT, known_name, known_names, variable,
)
from gateway._speedups.kernels.target cimport ABSOLUTE_FORM, ORIGIN_FORM, Target, decoded, parse_target


# The same functions as in cpython.*, for objects that are put where they belong and counted there.
cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    PyObject *new_tuple "PyTuple_New"(Py_ssize_t size) except NULL
    void set_in_tuple "PyTuple_SET_ITEM"(PyObject *tuple, Py_ssize_t index, PyObject *item) noexcept
    void set_in_list "PyList_SET_ITEM"(list list, Py_ssize_t index, PyObject *item) noexcept
    void incref "Py_INCREF"(PyObject *item) noexcept


USUAL_HEAD = {"http_version": "1.1", "method": "GET", "query_string": b""}
USUAL_VARIABLES = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}


cdef int _refuse_request_line(const unsigned char *data, Py_ssize_t size, long long max_line) noexcept:
    """What is wrong with, or missing from, a request line that was not accepted."""
    cdef Py_ssize_t first, second, end = find(data, 0, size, c'\n')
    cdef Py_ssize_t measured = size if end < 0 else end
    if max_line and measured - 1 > max_line:
        return REQUEST_LINE_TOO_LONG
    if end < 0:
        return NEED_DATA
    if end == 0 or data[end - 1] != c'\r':
        return BARE_LF
    end -= 1
    first = find(data, 0, end, c' ')
    second = -1 if first < 0 else find(data, first + 1, end, c' ')
    if second < 0 or find(data, second + 1, end, c' ') >= 0:
        return BAD_REQUEST_LINE
    if not is_token(data, first):
        return BAD_METHOD
    second += 1
    if (end - second != 8 or memcmp(data + second, b"HTTP/", 5) != 0 or data[second + 6] != c'.'
            or not CLASS[data[second + 5]] & CLASS[data[second + 7]] & IS_DIGIT):
        return BAD_VERSION
    if data[second + 5] != c'1':
        return UNSUPPORTED_VERSION
    return BAD_TARGET


cdef str _method(const unsigned char *data, Py_ssize_t size):
    if size == 3:
        if memcmp(data, b"GET", 3) == 0:
            return "GET"
        if memcmp(data, b"PUT", 3) == 0:
            return "PUT"
    elif size == 4:
        if memcmp(data, b"POST", 4) == 0:
            return "POST"
        if memcmp(data, b"HEAD", 4) == 0:
            return "HEAD"
    elif size == 5:
        if memcmp(data, b"PATCH", 5) == 0:
            return "PATCH"
        if memcmp(data, b"QUERY", 5) == 0:
            return "QUERY"
        if memcmp(data, b"TRACE", 5) == 0:
            return "TRACE"
    elif size == 6:
        if memcmp(data, b"DELETE", 6) == 0:
            return "DELETE"
    elif size == 7:
        if memcmp(data, b"OPTIONS", 7) == 0:
            return "OPTIONS"
        if memcmp(data, b"CONNECT", 7) == 0:
            return "CONNECT"
    return PyUnicode_DecodeASCII(<const char *>data, size, NULL)


cdef inline str _latin1(const unsigned char *data, Span span):
    return PyUnicode_DecodeLatin1(<const char *>data + span.start, span.size, NULL)


@cython.freelist(64)
cdef class RequestHead:
    def __cinit__(self):
        self._reset()

    def __dealloc__(self):
        PyMem_Free(self._fields)

    cdef void _reset(self) noexcept:
        if self._fields != NULL:
            PyMem_Free(self._fields)
        self._fields = NULL
        self._bytes = NULL
        self._count = 0
        self._cached = None
        self._new_host = None
        self._host.start = -1
        memset(&self._target, 0, sizeof(Target))
        self._target.authority.start = -1
        self.method = ""
        self.form = ORIGIN_FORM
        self.major = 1
        self.minor = 1
        self.http_version = "1.1"
        self.field_count = 0
        self.host_count = 0
        self.host_valid = False
        self.content_length_count = 0
        self.content_length = -1
        self.transfer_encoding_count = 0
        self.coding_count = 0
        self.chunked_count = 0
        self.last_is_chunked = False
        self.coding_malformed = False
        self.connection_options = 0
        self.expect = EXPECT_NONE
        self.has_upgrade = False
        self.te_trailers = False
        self.underscore_count = 0
        self.forwarded_count = 0

    @property
    def target(self):
        return bytes_at(self._bytes, self._target.whole)

    @property
    def raw_path(self):
        return self._raw_path()

    @property
    def query(self):
        return bytes_at(self._bytes, self._target.query)

    @property
    def authority(self):
        return bytes_at(self._bytes, self._target.authority) if self._target.authority.start >= 0 else None

    @property
    def host(self):
        if self._new_host is not None:
            return self._new_host
        return bytes_at(self._bytes, self._host) if self._host.start >= 0 else None

    cpdef int reuse(self, PreviousFields previous) except -1:
        self._previous = previous
        return 0

    cpdef int parse(self, InputBuffer input, long long max_line, long long max_fields, long long max_field,
                    long long max_section) except -1:
        cdef const unsigned char *data = input.pointer()
        cdef Py_ssize_t size = input.length()
        cdef Py_ssize_t space, at = 0, end = 0
        cdef Target target
        cdef Field[USUAL_FIELDS] usual
        cdef Lines lines
        cdef int code, minor
        if self._fields != NULL:
            self._reset()
        # method SP request-target SP "HTTP/1." DIGIT CRLF
        while at < size and LOWER[data[at]] != 0:
            at += 1
        if at == 0 or at == size or data[at] != c' ':
            return _refuse_request_line(data, size, max_line)
        space = at
        at += 1
        while at < size and CLASS[data[at]] & IN_TARGET:
            at += 1
        if (at == space + 1 or size - at < 11 or memcmp(data + at, b" HTTP/1.", 8) != 0
                or not CLASS[data[at + 8]] & IS_DIGIT or data[at + 9] != c'\r' or data[at + 10] != c'\n'):
            return _refuse_request_line(data, size, max_line)
        if max_line and at + 9 > max_line:
            return REQUEST_LINE_TOO_LONG
        if not parse_target(data, space + 1, at, &target):
            return BAD_TARGET
        minor = data[at + 8] != c'0'
        lines.items = usual
        lines.count = 0
        lines.capacity = USUAL_FIELDS
        try:
            code = parse_fields(
                data, size, at + 11, max_fields, max_field, max_section, &lines, usual, &end, self._previous)
            if code != DONE:
                return code
            if self._previous is not None:
                self._previous.keep(data + at + 11, end - 2 - (at + 11), at + 11, &lines)
                self._generation = self._previous._generation
            self._keep(data, end, &lines, &target)
        finally:
            if lines.items != usual:
                PyMem_Free(lines.items)
        self.method = _method(data, space)
        self.minor = minor
        self.http_version = "1.1" if minor else "1.0"
        self.form = target.form
        self._read_fields()
        input.discard(end)
        return DONE

    cdef int _keep(self, const unsigned char *data, Py_ssize_t size, Lines *lines, Target *target) except -1:
        """Copy what was parsed."""
        cdef size_t table = <size_t>(lines.count + 1) * sizeof(Field)
        cdef Py_ssize_t i, at
        cdef Field *field
        self._fields = <Field *>PyMem_Malloc(table + <size_t>size)
        if self._fields == NULL:
            raise MemoryError
        memcpy(self._fields, lines.items, <size_t>lines.count * sizeof(Field))
        self._bytes = <unsigned char *>self._fields + table
        memcpy(self._bytes, data, <size_t>size)
        self._count = lines.count
        self._target = target[0]
        for i in range(self._count):
            field = &self._fields[i]
            if field.known < 0:
                for at in range(field.name.start, field.name.start + field.name.size):
                    self._bytes[at] = LOWER[self._bytes[at]]
        return 0

    cdef void _read_fields(self) noexcept:
        """Set the facts that come from fields."""
        cdef Py_ssize_t i, at, known, size, expectations = 0
        cdef Field *field
        cdef const unsigned char *value
        cdef const unsigned char *name
        cdef Span member
        for i in range(self._count):
            field = &self._fields[i]
            known = field.known
            if known > K_X_FORWARDED_SERVER:
                continue
            value = self._bytes + field.value.start
            size = field.value.size
            if known < 0:
                name = self._bytes + field.name.start
                if find(name, 0, field.name.size, c'_') >= 0:
                    self.underscore_count += 1
                if field.name.size >= 12 and memcmp(name, b"x-forwarded-", 12) == 0:
                    self.forwarded_count += 1
            elif known == K_HOST:
                if self.host_count == 0:
                    self._host = field.value
                    self.host_valid = valid_host(value, size, False)
                self.host_count += 1
            elif known == K_CONTENT_LENGTH:
                if self.content_length_count == 0:
                    self.content_length = content_length(value, size)
                self.content_length_count += 1
            elif known == K_TRANSFER_ENCODING:
                self.transfer_encoding_count += 1
                self._read_codings(value, size)
            elif known == K_CONNECTION:
                at = 0
                while next_member(value, size, &at, &member):
                    if equals(value + member.start, member.size, b"close", 5):
                        self.connection_options |= OPTION_CLOSE
                    elif equals(value + member.start, member.size, b"keep-alive", 10):
                        self.connection_options |= OPTION_KEEP_ALIVE
                    elif equals(value + member.start, member.size, b"upgrade", 7):
                        self.connection_options |= OPTION_UPGRADE
            elif known == K_EXPECT:
                expectations += 1
                if expectations == 1 and equals(value, size, b"100-continue", 12):
                    self.expect = EXPECT_CONTINUE
                else:
                    self.expect = EXPECT_OTHER
            elif known == K_UPGRADE:
                self.has_upgrade = True
            elif known == K_TE:
                at = 0
                while next_member(value, size, &at, &member):
                    if equals(value + member.start, member.size, b"trailers", 8):
                        self.te_trailers = True
            else:
                self.forwarded_count += 1
        self.field_count = self._count

    cdef void _read_codings(self, const unsigned char *value, Py_ssize_t size) noexcept:
        cdef Py_ssize_t at = 0
        cdef Span member
        while next_member(value, size, &at, &member):
            if member.size:
                self.coding_count += 1
                self.last_is_chunked = equals(value + member.start, member.size, b"chunked", 7)
                self.chunked_count += self.last_is_chunked
            if not is_token(value + member.start, member.size):
                self.coding_malformed = True

    cdef inline bytes _name(self, Field *field):
        if field.known >= 0:
            return <bytes>known_names[field.known].name
        return bytes_at(self._bytes, field.name)

    cdef inline bytes _value(self, Field *field):
        if field.value.start < 0:
            return self._new_host
        return bytes_at(self._bytes, field.value)

    cdef inline PreviousFields _shared(self):
        """Where this head's objects are shared with the next one, or None."""
        if self._previous is None or self._previous._generation != self._generation:
            return None
        return self._previous

    cdef inline str _text(self, Field *field):
        if field.value.start < 0:
            return self._new_host.decode("latin-1")
        if field.ascii:
            return ascii_text(self._bytes + field.value.start, field.value.size)
        return _latin1(self._bytes, field.value)

    cdef list _list(self):
        cdef list result = PyList_New(self._count)
        cdef PreviousFields previous = self._shared()
        cdef PyObject *pair
        cdef PyObject *item
        cdef Py_ssize_t i
        cdef Field *field
        cdef Line *lines = NULL if previous is None else previous._lines
        for i in range(self._count):
            field = &self._fields[i]
            if lines != NULL and field.slot >= 0 and lines[field.slot].pair != NULL:
                incref(lines[field.slot].pair)
                set_in_list(result, i, lines[field.slot].pair)
                continue
            # Into the list at once, and filled there: whatever fails, the list is freed with what it has.
            pair = new_tuple(2)
            set_in_list(result, i, pair)
            if field.known >= 0:
                item = known_names[field.known].name
                incref(item)
            else:
                item = new_bytes(<const char *>self._bytes + field.name.start, field.name.size)
            set_in_tuple(pair, 0, item)
            if field.value.start >= 0:
                item = new_bytes(<const char *>self._bytes + field.value.start, field.value.size)
            else:
                item = <PyObject *>self._new_host
                incref(item)
            set_in_tuple(pair, 1, item)
            if lines != NULL and field.slot >= 0:
                incref(pair)
                lines[field.slot].pair = pair
        return result

    cdef inline bint _matches(self, Field *field, bytes name, Py_ssize_t known) noexcept:
        if known >= 0 or field.known >= 0:
            return field.known == known
        return field.name.size == len(name) and memcmp(
            self._bytes + field.name.start, PyBytes_AS_STRING(name), <size_t>len(name)) == 0

    cdef const unsigned char *find(self, bytes name, Py_ssize_t *size) noexcept:
        """As `get`, but where the value is. NULL without one; good until the head changes."""
        cdef Py_ssize_t i, length = PyBytes_GET_SIZE(name)
        cdef const void *candidate
        cdef Field *field
        for i in range(self._count):
            field = &self._fields[i]
            # Seldom are two names of one length: no need to look the name up in the table first.
            if field.name.size != length:
                continue
            if field.known >= 0:
                candidate = PyBytes_AS_STRING(<object>known_names[field.known].name)
            else:
                candidate = self._bytes + field.name.start
            if memcmp(candidate, PyBytes_AS_STRING(name), <size_t>length) == 0:
                if field.value.start < 0:
                    size[0] = PyBytes_GET_SIZE(self._new_host)
                    return <const unsigned char *>PyBytes_AS_STRING(self._new_host)
                size[0] = field.value.size
                return self._bytes + field.value.start
        return NULL

    cpdef bytes get(self, bytes name):
        cdef Py_ssize_t size = 0
        cdef const unsigned char *value
        if name is None:
            raise TypeError("name must not be None")
        value = self.find(name, &size)
        return None if value == NULL else PyBytes_FromStringAndSize(<const char *>value, size)

    cpdef list get_all(self, bytes name):
        cdef Py_ssize_t i, known = known_name(<const unsigned char *>PyBytes_AS_STRING(name), len(name))
        cdef list values = []
        for i in range(self._count):
            if self._matches(&self._fields[i], name, known):
                values.append(self._value(&self._fields[i]))
        return values

    cpdef list fields(self):
        if self._cached is None:
            self._cached = self._list()
        return self._cached

    cpdef Py_ssize_t remove(self, frozenset names) except -1:
        cdef Py_ssize_t i, kept = 0, removed
        if names is None:
            raise TypeError("names must not be None")
        for i in range(self._count):
            if self._name(&self._fields[i]) not in names:
                self._fields[kept] = self._fields[i]
                kept += 1
        removed = self._count - kept
        self._count = kept
        self._cached = None
        return removed

    cpdef Py_ssize_t drop_underscored(self) except -1:
        cdef Py_ssize_t i, kept = 0, removed
        cdef Field *field
        for i in range(self._count):
            field = &self._fields[i]
            # No known name has one.
            if field.known >= 0 or find(self._bytes + field.name.start, 0, field.name.size, c'_') < 0:
                self._fields[kept] = field[0]
                kept += 1
        removed = self._count - kept
        self._count = kept
        self._cached = None
        return removed

    cpdef int set_host(self, bytes value) except -1:
        cdef Py_ssize_t i, kept = 0
        cdef bint found = False
        cdef Field host
        if value is None:
            raise TypeError("value must not be None")
        memset(&host, 0, sizeof(Field))
        host.known = K_HOST
        host.name.size = known_names[K_HOST].size
        host.slot = -1
        host.value.start = -1
        for i in range(self._count):
            if self._fields[i].known != K_HOST:
                self._fields[kept] = self._fields[i]
            elif not found:
                found = True
                self._fields[kept] = host
            else:
                continue
            kept += 1
        self._count = kept
        self._new_host = value
        self._cached = None
        if not found:
            # `_keep` has left room for one more.
            if self._fields == NULL:
                self._fields = <Field *>PyMem_Malloc(sizeof(Field))
                if self._fields == NULL:
                    raise MemoryError
            memmove(self._fields + 1, self._fields, <size_t>kept * sizeof(Field))
            self._fields[0] = host
            self._count = kept + 1
        return 0

    cdef bytes _raw_path(self):
        if self._target.path.size == 0 and self.form == ABSOLUTE_FORM:
            return b"/"
        return bytes_at(self._bytes, self._target.path)

    cdef str _path(self, bint utf8):
        """The percent-decoded path, read as UTF-8 or latin-1."""
        cdef Span path = self._target.path
        if path.size == 0:
            return "/" if self.form == ABSOLUTE_FORM else ""
        return decoded(self._bytes + path.start, path.size, utf8)

    cpdef dict scope(self, dict base):
        cdef dict scope = PyDict_Copy(base)
        # Against USUAL_HEAD.
        if not self.minor:
            PyDict_SetItem(scope, "http_version", self.http_version)
        if self.method is not "GET":
            PyDict_SetItem(scope, "method", self.method)
        PyDict_SetItem(scope, "path", self._path(True))
        PyDict_SetItem(scope, "raw_path", self._raw_path())
        if self._target.query.size:
            PyDict_SetItem(scope, "query_string", bytes_at(self._bytes, self._target.query))
        PyDict_SetItem(scope, "headers", self._list())
        return scope

    cpdef dict environ(self, dict base):
        cdef dict environ = PyDict_Copy(base)
        cdef bint[KNOWN_COUNT] seen
        cdef Py_ssize_t i
        cdef Field *field
        cdef PyObject *earlier
        cdef PreviousFields previous = self._shared()
        cdef Line *lines = NULL if previous is None else previous._lines
        cdef Line *line
        cdef object name
        cdef str text
        # A request target is ASCII.
        target = ascii_text(self._bytes + self._target.whole.start, self._target.whole.size)
        # Against USUAL_VARIABLES.
        if self.method is not "GET":
            PyDict_SetItem(environ, "REQUEST_METHOD", self.method)
        PyDict_SetItem(environ, "PATH_INFO", self._path(False))
        if self._target.query.size:
            PyDict_SetItem(
                environ, "QUERY_STRING", ascii_text(self._bytes + self._target.query.start, self._target.query.size))
        PyDict_SetItem(environ, "RAW_URI", target)
        PyDict_SetItem(environ, "REQUEST_URI", target)
        if not self.minor:
            PyDict_SetItem(environ, "SERVER_PROTOCOL", "HTTP/1.0")
        memset(seen, 0, sizeof(seen))
        for i in range(self._count):
            field = &self._fields[i]
            line = NULL if lines == NULL or field.slot < 0 else &lines[field.slot]
            if line != NULL and line.text != NULL:
                text = <str>line.text
            else:
                text = self._text(field)
                if line != NULL:
                    line.text = <PyObject *>text
                    incref(line.text)
            if field.known >= 0:
                name = <object>known_names[field.known].key
                # With underscores about, an unknown name can have the same key.
                if not seen[field.known] and self.underscore_count == 0:
                    seen[field.known] = True
                    PyDict_SetItem(environ, name, text)
                    continue
            elif line != NULL and line.key != NULL:
                name = <object>line.key
            else:
                name = variable(self._bytes + field.name.start, field.name.size)
                if line != NULL:
                    line.key = <PyObject *>name
                    incref(line.key)
            earlier = PyDict_GetItemWithError(environ, name)
            if earlier != NULL:
                if field.known == K_CONTENT_TYPE or field.known == K_CONTENT_LENGTH:
                    continue
                text = <str>earlier + ("; " if field.known == K_COOKIE else ",") + text
            PyDict_SetItem(environ, name, text)
        return environ
