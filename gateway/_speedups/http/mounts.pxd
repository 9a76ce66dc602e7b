from gateway._speedups.kernels.base cimport Handler

cimport cython

cdef char _PERCENT, _DOT
cdef int _SLASH


cdef class Mount:
    cdef readonly str prefix, name
    cdef readonly bytes path
    cdef readonly Handler handler
    cdef readonly bint websockets
    cdef readonly long long request_body, concurrency
    cdef readonly double timeout
    cdef public long long requests


cdef class MountTable:
    cdef list _mounts

    cpdef Mount find(self, bytes path, str root)
    @cython.locals(mount=Mount, prefix=bytes, size="Py_ssize_t")
    cdef Mount _longest(self, bytes path)
    @cython.locals(readings=list, reading=bytes, found=Mount, mount=Mount, index="Py_ssize_t")
    cdef Mount _find_unplain(self, bytes path, str root)


cpdef bint under(str path, str root) except -1
cpdef bint begins_with(bytes path, str root) except -1
@cython.locals(prefix=bytes, size="Py_ssize_t")
cpdef bytes below(bytes path, str root)
@cython.locals(segments=list, segment=bytes)
cdef bytes _without_dots(bytes path)
