from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef int DROP_RESPONSE, DROP_TRAILERS
cdef int HEADER_MAP_DROP, HEADER_MAP_REFUSE, FIELDS_OK
cdef int ABSOLUTE_FORM, ASTERISK_FORM, AUTHORITY_FORM, EXPECT_OTHER
cdef dict HEAD_ERRORS, FIELD_ERRORS

cpdef object head_error(int code)
cpdef int check_request(RequestHead head, int header_map) except -1
@cython.locals(block=FieldBlock, code=int)
cpdef FieldBlock encode_fields(object fields, int drop)
cpdef FieldBlock response_block(object fields)
cpdef FieldBlock trailer_block(object fields)
