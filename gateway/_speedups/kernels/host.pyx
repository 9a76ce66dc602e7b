# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/host.py, where everything is documented."""

from gateway._speedups.kernels.grammar cimport CLASS, IN_REG_NAME, IS_DIGIT, IS_HEX, find


cdef bint _is_ipv4(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i = 0, start
    cdef int part, value
    for part in range(4):
        if part:
            if i >= size or data[i] != c'.':
                return False
            i += 1
        start = i
        value = 0
        while i < size and i - start < 3 and CLASS[data[i]] & IS_DIGIT:
            value = 10 * value + data[i] - c'0'
            i += 1
        if i == start or value > 255 or (data[start] == c'0' and i - start > 1):
            return False
    return i == size


cdef bint _is_ipv6(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i = 0, start
    cdef int groups = 0
    cdef bint gap = False
    if size >= 2 and data[0] == c':' and data[1] == c':':
        gap = True
        i = 2
        if size == 2:
            return True
    while True:
        start = i
        while i < size and i - start < 4 and CLASS[data[i]] & IS_HEX:
            i += 1
        if i == start:
            return False
        if i < size and data[i] == c'.':
            if not _is_ipv4(data + start, size - start):
                return False
            groups += 2
            break
        groups += 1
        if i == size:
            break
        if data[i] != c':':
            return False
        i += 1
        if i < size and data[i] == c':':
            if gap:
                return False
            gap = True
            i += 1
            if i == size:
                break
    # "::" stands for at least one group.
    return groups <= 7 if gap else groups == 8


cdef bint _is_ipvfuture(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i = 1, start
    if size == 0 or data[0] | 0x20 != c'v':
        return False
    while i < size and CLASS[data[i]] & IS_HEX:
        i += 1
    if i == 1 or i == size or data[i] != c'.':
        return False
    i += 1
    start = i
    while i < size and (CLASS[data[i]] & IN_REG_NAME or data[i] == c':'):
        i += 1
    return i > start and i == size


cdef bint valid_host(const unsigned char *data, Py_ssize_t size, bint port_required) noexcept:
    cdef Py_ssize_t i = 0, start
    cdef int port = 0
    if size == 0:
        return False
    if data[0] == c'[':
        i = find(data, 1, size, c']')
        if i < 0 or not (_is_ipv6(data + 1, i - 1) or _is_ipvfuture(data + 1, i - 1)):
            return False
        i += 1
    else:
        while i < size:
            if CLASS[data[i]] & IN_REG_NAME:
                i += 1
            elif data[i] == c'%' and i + 2 < size and CLASS[data[i + 1]] & CLASS[data[i + 2]] & IS_HEX:
                i += 3
            else:
                break
        if i == 0:
            return False
    if i == size:
        return not port_required
    if data[i] != c':':
        return False
    i += 1
    start = i
    while i < size:
        if not CLASS[data[i]] & IS_DIGIT:
            return False
        port = 10 * port + data[i] - c'0'
        if port > 65535:
            return False
        i += 1
    return i > start or not port_required
