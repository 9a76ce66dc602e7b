# cython: language_level=3

from gateway._speedups.kernels.buffer cimport InputBuffer, Span
from gateway._speedups.kernels.fieldlines cimport Field, Lines, PreviousFields
from gateway._speedups.kernels.target cimport Target

cpdef enum:
    EXPECT_NONE = 0
    EXPECT_CONTINUE = 1
    EXPECT_OTHER = 2

cpdef enum:
    OPTION_CLOSE = 1
    OPTION_KEEP_ALIVE = 2
    OPTION_UPGRADE = 4


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
    cdef bytes _raw_path(self)
    cdef str _path(self, bint utf8)
