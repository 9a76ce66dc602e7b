from gateway._speedups.http.stream cimport HTTPStream

cimport cython

cpdef dict base_scope()
cpdef dict http_extensions()
@cython.locals(scope=dict, method=str)
cpdef dict http_scope(HTTPStream stream, dict base, dict extensions, object state)
