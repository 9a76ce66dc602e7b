from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead

cdef int FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE

cpdef int request_framing(RequestHead head) except -1
cpdef long long response_length(FieldBlock block) except -9
cpdef bint lacks_content(bint is_head, int status) except -1
cpdef int response_framing(bint no_content, int minor, long long length, bint complete) except -1
