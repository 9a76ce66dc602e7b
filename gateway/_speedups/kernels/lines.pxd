# cython: language_level=3

from gateway._speedups.kernels.head cimport RequestHead


cdef class LineBuffer:
    cdef unsigned char *_data
    cdef Py_ssize_t _size, _capacity

    cpdef Py_ssize_t size(self) except -1
    cpdef int put(self, object text) except -1
    cpdef int put_number(self, bytes text, long long number, int width) except -1
    cpdef int put_count(self, bytes text, long long number) except -1
    cpdef int put_escaped(self, bytes text, object value) except -1
    cpdef int put_word(self, bytes text, object value) except -1
    cpdef int put_json(self, bytes text, object value) except -1
    cpdef int put_request_line(self, bytes text, RequestHead head) except -1
    cpdef int put_field(self, bytes text, RequestHead head, bytes name) except -1
    cpdef int put_json_field(self, bytes text, RequestHead head, bytes name) except -1
    cpdef int put_json_path(self, bytes text, RequestHead head) except -1
    cpdef int put_json_query(self, bytes text, RequestHead head) except -1
    cpdef bytes cut(self, Py_ssize_t start)
    cpdef bytes take(self)

    cdef int _grow(self, Py_ssize_t more) except -1
    cdef int _put_other(self, object text) except -1
    cdef int _put_dash(self, bytes text) except -1
    cdef int _put_value(self, bytes text, object value, int unsafe) except -1
    cdef int _put_bytes(self, bytes text, const unsigned char *data, Py_ssize_t size, int unsafe) except -1
    cdef int _put_string(self, bytes text, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _put_unsafe_string(self, bytes text, object value) except -1
