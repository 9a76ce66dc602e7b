from gateway._speedups.kernels.masking cimport FrameHead

cimport cython


@cython.locals(opcode=int)
cpdef int check_frame(FrameHead head, bint in_message, bint compression) except -1
cpdef int check_control(FrameHead head) except -1
cpdef bint may_be_sent(int code) except -1
cpdef tuple read_close(bytes payload)
cpdef bytes close_payload(int code, str reason)
