# cython: language_level=3

from cpython.object cimport PyObject

from gateway._speedups.kernels.buffer cimport InputBuffer

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

cpdef enum:
    ORIGIN_FORM = 0
    ABSOLUTE_FORM = 1
    AUTHORITY_FORM = 2
    ASTERISK_FORM = 3

cpdef enum:
    EXPECT_NONE = 0
    EXPECT_CONTINUE = 1
    EXPECT_OTHER = 2

cpdef enum:
    OPTION_CLOSE = 1
    OPTION_KEEP_ALIVE = 2
    OPTION_UPGRADE = 4


# Where a piece of the head is: bytes from its beginning.
cdef struct Span:
    Py_ssize_t start
    Py_ssize_t size


# One field line. `known` is an index into the table of known names, or -1; `ascii` is 1 when the value has nothing
# above 0x7f in it, 0 when it may have; `slot` is where `PreviousFields` has the line, or -1.
cdef struct Field:
    Span name
    Span value
    short known
    short ascii
    short slot


cdef struct Lines:
    Field *items
    Py_ssize_t count
    Py_ssize_t capacity


cdef struct Target:
    Span whole
    Span path
    Span query
    Span authority
    int form


# A field line as it was received: offsets from the beginning of the section, the CRLF included in the size; and what
# was made of it, or NULL: the ASGI pair, the value in a WSGI environ, and the key there if the name is not known.
cdef struct Line:
    Py_ssize_t start
    Py_ssize_t size
    Py_ssize_t name_size
    Py_ssize_t value_start
    short known
    short ascii
    PyObject *pair
    PyObject *text
    PyObject *key


cdef class PreviousFields:
    # The lines, and behind them in the same piece of memory the bytes of the section.
    cdef Line *_lines
    cdef Py_ssize_t _count
    cdef const unsigned char *_bytes
    # Changes whenever the lines do.
    cdef unsigned long long _generation

    cpdef int clear(self) except -1
    cdef int keep(self, const unsigned char *section, Py_ssize_t size, Py_ssize_t offset, Lines *lines) except -1


cdef class RequestHead:
    cdef readonly str method, http_version
    cdef readonly int form, major, minor
    cdef readonly Py_ssize_t field_count
    cdef readonly Py_ssize_t host_count
    cdef readonly bint host_valid
    cdef readonly Py_ssize_t content_length_count
    cdef readonly long long content_length
    cdef readonly Py_ssize_t transfer_encoding_count, coding_count, chunked_count
    cdef readonly bint last_is_chunked, coding_malformed
    cdef readonly int connection_options, expect
    cdef readonly bint has_upgrade, te_trailers
    cdef readonly Py_ssize_t underscore_count, forwarded_count

    # Our copy of the head, with the names of unknown fields in lower case; and in the same piece of memory, before
    # it, the fields that were not removed, with room for one more.
    cdef Field *_fields
    cdef Py_ssize_t _count
    cdef unsigned char *_bytes
    cdef Target _target
    # The first Host, or a start of -1; and what `set_host` set. A field with a value that starts at -1 has that one.
    cdef Span _host
    cdef bytes _new_host
    cdef list _cached
    # The connection's, and its generation that has this head's lines.
    cdef PreviousFields _previous
    cdef unsigned long long _generation

    cpdef int reuse(self, PreviousFields previous) except -1
    cpdef int parse(self, InputBuffer input, long long max_line, long long max_fields, long long max_field,
                    long long max_section) except -1
    cpdef bytes get(self, bytes name)
    cpdef list get_all(self, bytes name)
    cpdef list fields(self)
    cpdef Py_ssize_t remove(self, frozenset names) except -1
    cpdef Py_ssize_t drop_underscored(self) except -1
    cpdef int set_host(self, bytes value) except -1
    cpdef dict scope(self, dict base)
    cpdef dict environ(self, dict base)

    cdef void _reset(self) noexcept
    cdef int _keep(self, const unsigned char *data, Py_ssize_t size, Lines *lines, Target *target) except -1
    cdef void _read_fields(self) noexcept
    cdef void _read_codings(self, const unsigned char *value, Py_ssize_t size) noexcept
    cdef bytes _name(self, Field *field)
    cdef bytes _value(self, Field *field)
    cdef str _text(self, Field *field)
    cdef PreviousFields _shared(self)
    cdef list _list(self)
    cdef bint _matches(self, Field *field, bytes name, Py_ssize_t known) noexcept
    cdef const unsigned char *find(self, bytes name, Py_ssize_t *size) noexcept
    cdef object _key(self, Field *field)
    cdef bytes _raw_path(self)
    cdef object _path(self, bint utf8)


cdef class TrailerSection:
    cdef list _fields

    cpdef int parse(self, InputBuffer input, long long max_fields, long long max_field,
                    long long max_section) except -1
    cpdef list fields(self)
