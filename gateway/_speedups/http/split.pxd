from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.base cimport Handler, Responder, Stream
from gateway._speedups.kernels.head cimport RequestHead

cimport cython


cdef class SplitHandler(Handler):
    cdef readonly object split
    cdef readonly Handler wsgi, asgi

    @cython.locals(exchange=HTTPStream, head=RequestHead, root=str)
    cpdef Responder open(self, Stream stream)
    cpdef Responder open_websocket(self, Stream stream)


@cython.locals(urlconf=str, urlconfs=dict, paths=dict)
cpdef bint is_asynchronous(object split, bytes path, str root, bytes host) except -1
