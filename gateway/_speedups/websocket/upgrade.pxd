from gateway._speedups.http.fields cimport encode_fields
from gateway._speedups.http.service cimport Service, peer_name
from gateway._speedups.http.status cimport error_text
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.base cimport Handler, Stream, Upgrade
from gateway._speedups.websocket.connection cimport WebSocketConnection
from gateway._speedups.websocket.deflate cimport Deflate, DeflateSettings, negotiate
from gateway._speedups.websocket.handshake cimport Handshake, check_handshake, is_websocket

cimport cython


cdef class WebSocketUpgrade(Upgrade):
    cdef Service service
    cdef DeflateSettings deflate

    @cython.locals(exchange=HTTPStream)
    cpdef bint wanted(self, Stream stream) except -1
    @cython.locals(exchange=HTTPStream, handshake=Handshake, deflate=Deflate, extension=bytes,
                   connection=WebSocketConnection, handler=Handler)
    cpdef int open(self, Stream stream) except -1
    cdef int refuse(self, HTTPStream exchange, int status, str message, tuple fields) except -1
