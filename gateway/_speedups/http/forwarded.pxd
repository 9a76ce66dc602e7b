cimport cython

cdef object _DEFAULT_PORTS, _HOST, _NODE, _PAIR, _PORT, _PREFIX, _QUOTED_PAIR, _SCHEMES, _SPACE, _TOKEN


@cython.locals(port=int)
cpdef tuple parse_node(str text)
cdef int parse_port(str text) except -1
cpdef object parse_address(str text)
@cython.locals(elements=list, element=dict, position="Py_ssize_t", name=str, end=bint)
cpdef list parse_forwarded(str value)
cdef Py_ssize_t skip_space(str value, Py_ssize_t position) except -1
cpdef list parse_list(list values)
cdef bint is_forwarded(bytes name) except -1
cdef int default_port(str scheme) except -1
cpdef object parse_network(str text)
cpdef str pick(list values, Py_ssize_t hops)


cdef class ForwardedPolicy:
    cdef readonly bint clear, forwarded, host, port, prefix
    cdef bint _everyone, _unix
    cdef dict _known
    cdef frozenset _addresses
    cdef tuple _networks

    cpdef bint trusts(self, object client) except -1
    cdef bint _judge(self, str host) except -1
    @cython.locals(elements=list, element=dict, hops="Py_ssize_t")
    cdef int _apply_forwarded(self, object stream) except -1
    @cython.locals(hops="Py_ssize_t", host=str, port=str, prefix=str)
    cdef int _apply_x_forwarded(self, object stream) except -1
    @cython.locals(hops="Py_ssize_t", client=tuple)
    cdef Py_ssize_t _apply_client(self, object stream, list nodes) except -1
    cdef int _apply_scheme(self, object stream, str scheme) except -1
    @cython.locals(name=str, standard=int, number=int)
    cdef int _apply_host(self, object stream, str host, str port) except -1
