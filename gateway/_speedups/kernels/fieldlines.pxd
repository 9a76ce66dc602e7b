# cython: language_level=3

from cpython.object cimport PyObject

from gateway._speedups.kernels.buffer cimport InputBuffer, Span


cdef enum:
    # Fields of a section for which no memory is allocated before it is complete.
    USUAL_FIELDS = 64


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


cdef class TrailerSection:
    cdef list _fields

    cpdef int parse(self, InputBuffer input, long long max_fields, long long max_field,
                    long long max_section) except -1
    cpdef list fields(self)


cdef int parse_fields(
    const unsigned char *data, Py_ssize_t size, Py_ssize_t section, long long max_fields, long long max_field,
    long long max_section, Lines *lines, Field *usual, Py_ssize_t *after, PreviousFields previous,
) except -1
