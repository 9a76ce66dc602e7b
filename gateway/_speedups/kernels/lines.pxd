# cython: language_level=3


cdef class LineBuffer:
    cdef unsigned char *_data
    cdef Py_ssize_t _size, _capacity

    cpdef Py_ssize_t size(self) except -1
    cpdef int put(self, object text) except -1
    cpdef int put_number(self, long long number, int width) except -1
    cpdef int put_escaped(self, object value) except -1
    cpdef int put_word(self, object value) except -1
    cpdef int put_json(self, object value) except -1
    cpdef bytes cut(self, Py_ssize_t start)
    cpdef bytes take(self)

    cdef int _grow(self, Py_ssize_t more) except -1
    cdef int _put_other(self, object text) except -1
    cdef int _escape(self, const unsigned char *data, Py_ssize_t size, int unsafe) except -1
