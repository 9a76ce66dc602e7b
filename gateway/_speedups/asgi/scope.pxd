from gateway._speedups.http.stream cimport HTTPStream

cimport cython

cdef frozenset UPPERCASE
cdef dict USUAL_HEAD

cpdef dict base_scope(bint with_state)
cpdef dict http_extensions()
@cython.locals(scope=dict, method=str)
cpdef dict http_scope(HTTPStream stream, dict base, dict extensions, dict state)
@cython.locals(path=str)
cpdef int set_root_path(dict scope, HTTPStream stream) except -1
