# cython: language_level=3

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.string cimport memcmp


cdef extern from *:
    """
    #include <string.h>

    /* Which slot of the table of known names to look in first, by the outer bytes of a name and its length. */
    static inline unsigned gateway_slot(const unsigned char *name, Py_ssize_t size)
    {
        unsigned first = 0, last = 0;
        if (size >= 4) {
            memcpy(&first, name, 4);
            memcpy(&last, name + size - 4, 4);
        } else {
            memcpy(&first, name, (size_t)size);
        }
        return ((first * 0x9E3779B1u) ^ (last * 0x85EBCA77u) ^ ((unsigned)size * 0xC2B2AE3Du)) >> 23;
    }
    """
    unsigned gateway_slot(const unsigned char *name, Py_ssize_t size) noexcept


# Known names. Those that the parser acts on come first, in the order of this enum.
cdef enum:
    K_HOST
    K_CONTENT_LENGTH
    K_TRANSFER_ENCODING
    K_CONNECTION
    K_EXPECT
    K_UPGRADE
    K_TE
    K_FORWARDED
    K_X_FORWARDED_FOR
    K_X_FORWARDED_PROTO
    K_X_FORWARDED_HOST
    K_X_FORWARDED_PORT
    K_X_FORWARDED_PREFIX
    K_X_FORWARDED_SERVER
    K_CONTENT_TYPE
    K_COOKIE

cdef enum:
    # Slots of the table, a power of two.
    SLOTS = 512
    # A known name is shorter than this.
    KNOWN_SIZE = 48
    # More names than there are.
    KNOWN_COUNT = 128

# What is made of a known name: itself, and its key in a WSGI environ. Borrowed from tuples that live as long as the
# module.
cdef struct Known:
    PyObject *name
    PyObject *key
    Py_ssize_t size


cdef Known[KNOWN_COUNT] known_names
# Index of a known name, or -1.
cdef short[SLOTS] known_slots

cdef str variable(const unsigned char *name, Py_ssize_t size)


cdef inline Py_ssize_t known_name(const unsigned char *lower, Py_ssize_t size) noexcept:
    """Index of a name (lower case) among the known ones, or -1."""
    cdef unsigned slot
    cdef Py_ssize_t i
    if size >= KNOWN_SIZE:
        return -1
    slot = gateway_slot(lower, size)
    while True:
        i = known_slots[slot]
        if i < 0:
            return -1
        if known_names[i].size == size and memcmp(PyBytes_AS_STRING(<object>known_names[i].name), lower, <size_t>size) == 0:
            return i
        slot = (slot + 1) & (SLOTS - 1)
