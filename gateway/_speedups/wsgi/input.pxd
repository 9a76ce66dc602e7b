from gateway._speedups.wsgi.call cimport ApplicationCall

cimport cython

cdef long long MANY


cdef class WSGIInput:
    cdef ApplicationCall source
    cdef bytes buffer
    cdef Py_ssize_t position
    cdef bint ended

    cdef int assign(self, ApplicationCall source) except -1
    @cython.locals(left=cython.longlong, available="Py_ssize_t", parts=list)
    cpdef bytes read(self, object size=*)
    @cython.locals(left=cython.longlong, stop="Py_ssize_t", found="Py_ssize_t", parts=list)
    cpdef bytes readline(self, object size=*)
    @cython.locals(left=cython.longlong, line=bytes, lines=list)
    cpdef list readlines(self, object hint=*)
    @cython.locals(data=bytes)
    cdef bint fill(self) except -1
    @cython.locals(data=bytes, start="Py_ssize_t")
    cdef bytes cut(self, Py_ssize_t size)


cpdef long long byte_count(object size) except -1
