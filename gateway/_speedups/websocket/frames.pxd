from gateway._speedups.kernels.masking cimport FrameHead

cimport cython

cdef int INVALID_DATA, NO_STATUS, PROTOCOL_ERROR
cdef int BINARY, CLOSE, CONTINUATION, PONG, RSV1, CONTROL_SIZE


@cython.locals(opcode=int)
cpdef int check_frame(FrameHead head, bint in_message, bint compression) except -1
cpdef int check_control(FrameHead head) except -1
cpdef bint may_be_sent(int code) except -1
@cython.locals(code=int)
cpdef tuple read_close(bytes payload)
@cython.locals(payload=bytes)
cpdef bytes close_payload(int code, str reason)
