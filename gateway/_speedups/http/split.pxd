from gateway._speedups.http.mounts cimport below
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.base cimport Handler, Responder, Stream
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef char _PERCENT


cdef class SplitHandler(Handler):
    cdef readonly object split
    cdef readonly Handler wsgi, asgi

    @cython.locals(exchange=HTTPStream, head=RequestHead, root=str)
    cpdef Responder open(self, Stream stream)
    cpdef Responder open_websocket(self, Stream stream)


@cython.locals(urlconf=str, urlconfs=dict, paths=dict)
cpdef bint is_asynchronous(object split, bytes path, str root, bytes host) except -1
@cython.locals(start="Py_ssize_t", end="Py_ssize_t", segment=bytes, node=dict)
cpdef object look_up(object tree, bytes path)
