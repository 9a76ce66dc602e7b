# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/names.py.

The names that most requests are made of are known by a number: their objects are made once, and a parser need not
compare them again to act on them.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memcpy


# In the order of the enum in names.pxd.
cdef tuple _NAMES = (
    b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"te", b"forwarded",
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix",
    b"x-forwarded-server",
    b"content-type", b"cookie",
    b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"access-control-request-headers",
    b"access-control-request-method", b"access-control-request-private-network", b"alt-used", b"authorization",
    b"baggage", b"cache-control", b"cdn-loop", b"cf-connecting-ip", b"cf-ipcountry", b"cf-ray", b"cf-visitor",
    b"content-disposition", b"content-encoding", b"content-language", b"content-location", b"content-range", b"date",
    b"device-memory", b"dnt", b"downlink", b"dpr", b"early-data", b"ect", b"from", b"http2-settings",
    b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"keep-alive",
    b"max-forwards", b"origin", b"pragma", b"prefer", b"priority", b"proxy-authorization", b"proxy-connection",
    b"range", b"referer", b"rtt", b"save-data", b"sec-ch-ua", b"sec-ch-ua-arch", b"sec-ch-ua-full-version-list",
    b"sec-ch-ua-mobile", b"sec-ch-ua-model", b"sec-ch-ua-platform", b"sec-ch-ua-platform-version",
    b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"sec-gpc", b"sec-purpose",
    b"sec-websocket-extensions", b"sec-websocket-key", b"sec-websocket-protocol", b"sec-websocket-version",
    b"service-worker", b"soapaction", b"traceparent", b"tracestate", b"trailer", b"true-client-ip",
    b"upgrade-insecure-requests", b"user-agent", b"via", b"x-amzn-trace-id", b"x-api-key", b"x-b3-sampled",
    b"x-b3-spanid", b"x-b3-traceid", b"x-client-ip", b"x-cloud-trace-context", b"x-correlation-id", b"x-csrf-token",
    b"x-csrftoken", b"x-http-method-override", b"x-real-ip", b"x-request-id",
    b"x-request-start", b"x-requested-with",
)
cdef tuple _KEYS = tuple([
    "CONTENT_TYPE" if name == b"content-type"
    else "CONTENT_LENGTH" if name == b"content-length"
    else "HTTP_" + name.decode("ascii").upper().replace("-", "_")
    for name in _NAMES
])


cdef int _fill_tables() except -1:
    cdef Py_ssize_t i
    cdef unsigned slot
    for i in range(SLOTS):
        known_slots[i] = -1
    for i in range(len(_NAMES)):
        known_names[i].name = <PyObject *>_NAMES[i]
        known_names[i].key = <PyObject *>_KEYS[i]
        known_names[i].size = len(_NAMES[i])
        slot = gateway_slot(<const unsigned char *>PyBytes_AS_STRING(_NAMES[i]), known_names[i].size)
        while known_slots[slot] >= 0:
            slot = (slot + 1) & (SLOTS - 1)
        known_slots[slot] = <short>i
    return 0


_fill_tables()


cdef str variable(const unsigned char *name, Py_ssize_t size):
    """The key of a name that is not known."""
    cdef unsigned char[128] room
    cdef unsigned char *key = room
    cdef Py_ssize_t i
    cdef unsigned char byte
    if size + 5 > <Py_ssize_t>sizeof(room):
        key = <unsigned char *>PyMem_Malloc(<size_t>size + 5)
        if key == NULL:
            raise MemoryError
    try:
        memcpy(key, b"HTTP_", 5)
        for i in range(size):
            byte = name[i]
            if c'a' <= byte <= c'z':
                byte -= 32
            elif byte == c'-':
                byte = c'_'
            key[5 + i] = byte
        return PyUnicode_DecodeLatin1(<const char *>key, size + 5, NULL)
    finally:
        if key != room:
            PyMem_Free(key)
