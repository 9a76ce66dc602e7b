# cython: language_level=3

cdef bint valid_host(const unsigned char *data, Py_ssize_t size, bint port_required) noexcept
