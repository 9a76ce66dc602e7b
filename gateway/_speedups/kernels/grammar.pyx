# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/grammar.py: tables by byte, and in grammar.pxd what reads them."""


cdef int _fill_tables() except -1:
    cdef int byte
    for byte in range(256):
        LOWER[byte] = 0
        CLASS[byte] = 0
        HEX[byte] = 0
        if 0x21 <= byte <= 0x7e and byte != c'#':
            CLASS[byte] |= IN_TARGET
    for byte in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        LOWER[byte] = <unsigned char>byte
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        LOWER[byte] = <unsigned char>(byte | 0x20)
    for byte in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,;=":
        CLASS[byte] |= IN_REG_NAME
    for byte in b"0123456789abcdefABCDEF":
        CLASS[byte] |= IS_HEX
        HEX[byte] = <unsigned char>((byte | 0x20) - c'a' + 10 if byte > c'9' else byte - c'0')
    for byte in b"0123456789":
        CLASS[byte] |= IS_DIGIT
    return 0


_fill_tables()


cdef long long content_length(const unsigned char *data, Py_ssize_t size) noexcept:
    """RFC 9110 8.6: Content-Length = 1*DIGIT. -2 if it is not, or more than 2**63-1."""
    cdef unsigned long long length = 0
    cdef unsigned digit
    cdef Py_ssize_t i
    cdef bint overflow = False
    for i in range(size):
        if not CLASS[data[i]] & IS_DIGIT:
            return -2
        digit = data[i] - <unsigned>c'0'
        # 2**63-1 is ...5807.
        if length > 922337203685477580 or (length == 922337203685477580 and digit > 7):
            overflow = True
        else:
            length = 10 * length + digit
    return -2 if overflow or size == 0 else <long long>length
