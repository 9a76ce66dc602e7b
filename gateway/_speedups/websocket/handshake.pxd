from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef int OPTION_UPGRADE
cdef object _KEY, _SUBPROTOCOL, _NEXT_MEMBER, _EXTENSION, _PARAMETER
cdef bytes _TOKEN
cdef frozenset _RESERVED


cdef class Handshake:
    cdef readonly bytes key
    cdef readonly list subprotocols, extensions


@cython.locals(value=bytes, protocol=bytes)
cpdef bint is_websocket(RequestHead head) except -1
@cython.locals(key=bytes, subprotocols=list)
cpdef Handshake check_handshake(RequestHead head)
cpdef int check_version(list values) except -1
@cython.locals(key=bytes)
cpdef bytes check_key(list values)
@cython.locals(subprotocols=list, value=bytes, member=bytes, name=bytes)
cpdef list parse_subprotocols(list values)
@cython.locals(extensions=list, value=bytes, position="Py_ssize_t", parameters=list)
cpdef list parse_extensions(list values)
cpdef bytes accept_key(bytes key)
cpdef bytes switching_fields(bytes key)
@cython.locals(lines=bytes)
cpdef bytes agreed_fields(Handshake handshake, object subprotocol, bytes extensions)
cpdef int check_accept_fields(FieldBlock block) except -1
