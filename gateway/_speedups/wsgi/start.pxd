from gateway._speedups.http.fields cimport response_block, trailer_block
from gateway._speedups.http.status cimport status_line
from gateway._speedups.kernels.fields cimport FieldBlock

cimport cython

cdef dict STATUSES

@cython.locals(code=int, digits=str)
cpdef int status_code(object status) except -1
@cython.locals(reason=str, character=cython.Py_UCS4)
cpdef bytes reason_phrase(str status)
@cython.locals(fields=list, pair=tuple)
cpdef list check_headers(object headers)
cpdef FieldBlock header_block(object headers)
cpdef FieldBlock trailers_block(object headers)
