# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/head.py, where everything is documented.

Two passes. The fast one runs once over the bytes and accepts exactly the lines that are complete and valid. Whatever
it does not accept is looked at again by the slow one, which finds out, in the order of the specification, what is
wrong or missing. Positions are offsets; objects are made from our own copy of the head when they are asked for.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Copy, PyDict_GetItemWithError, PyDict_SetItem
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeLatin1, PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from gateway._speedups.kernels.buffer cimport InputBuffer


cdef extern from *:
    """
    #include <string.h>
    #if (defined(__SSE2__) || defined(_M_X64)) && !defined(GATEWAY_PORTABLE)
    #define GATEWAY_SSE2 1
    #include <emmintrin.h>
    #if defined(_MSC_VER)
    #include <intrin.h>
    #endif
    #endif

    #ifdef GATEWAY_SSE2
    static inline Py_ssize_t gateway_first(unsigned mask)
    {
    #if defined(_MSC_VER)
        unsigned long first;
        _BitScanForward(&first, mask);
        return (Py_ssize_t)first;
    #else
        return __builtin_ctz(mask);
    #endif
    }
    #endif

    /* Copies bytes from `data` to `lower`, A-Z in lower case, and says how many stand before the first ":". There
       must be 48 of them, and room for as many. -1: no ":" among them, or no fast way to tell. */
    static inline Py_ssize_t gateway_name(const unsigned char *data, unsigned char *lower)
    {
    #ifdef GATEWAY_SSE2
        const __m128i colon = _mm_set1_epi8(':'), bit = _mm_set1_epi8(0x20);
        const __m128i before = _mm_set1_epi8('A' - 1), after = _mm_set1_epi8('Z' + 1);
        int at;
        for (at = 0; at < 48; at += 16) {
            const __m128i v = _mm_loadu_si128((const __m128i *)(data + at));
            const __m128i upper = _mm_and_si128(_mm_cmpgt_epi8(v, before), _mm_cmplt_epi8(v, after));
            const unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, colon));
            _mm_storeu_si128((__m128i *)(lower + at), _mm_or_si128(v, _mm_and_si128(upper, bit)));
            if (mask)
                return at + gateway_first(mask);
        }
    #else
        (void)data;
        (void)lower;
    #endif
        return -1;
    }

    /* Offset of the first byte from `at` on that can't stand in a field value (RFC 9110 5.5), or `end`. Sets `ascii`
       to 1 if all bytes before it are known to be ASCII. */
    static inline Py_ssize_t gateway_value_end(const unsigned char *data, Py_ssize_t at, Py_ssize_t end, int *ascii)
    {
    #ifdef GATEWAY_SSE2
        const __m128i tab = _mm_set1_epi8(9), del = _mm_set1_epi8(127), top = _mm_set1_epi8(31);
        __m128i all = _mm_setzero_si128();
        *ascii = 0;
        while (end - at >= 16) {
            const __m128i v = _mm_loadu_si128((const __m128i *)(data + at));
            const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, top), v);
            const __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control),
                                             _mm_cmpeq_epi8(v, del));
            const unsigned mask = (unsigned)_mm_movemask_epi8(bad);
            all = _mm_or_si128(all, v);
            if (mask) {
                *ascii = _mm_movemask_epi8(all) == 0;
                return at + gateway_first(mask);
            }
            at += 16;
        }
    #else
        const unsigned long long ones = 0x0101010101010101ULL, tops = 0x8080808080808080ULL;
        *ascii = 0;
        while (end - at >= 8) {
            unsigned long long v, del;
            memcpy(&v, data + at, 8);
            /* A set top bit: perhaps a byte below 0x20, or 0x7f; HTAB too. The loop below looks closer. */
            del = v ^ (ones * 0x7f);
            if ((((v - ones * 0x20) & ~v) | ((del - ones) & ~del)) & tops)
                break;
            at += 8;
        }
    #endif
        while (at < end && (data[at] >= 0x20 ? data[at] != 0x7f : data[at] == 9))
            at++;
        return at;
    }

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
    Py_ssize_t gateway_name(const unsigned char *data, unsigned char *lower) noexcept
    Py_ssize_t gateway_value_end(const unsigned char *data, Py_ssize_t at, Py_ssize_t end, int *ascii) noexcept
    unsigned gateway_slot(const unsigned char *name, Py_ssize_t size) noexcept


# The same functions as in cpython.*, for objects that are put where they belong and counted there.
cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    PyObject *new_tuple "PyTuple_New"(Py_ssize_t size) except NULL
    void set_in_tuple "PyTuple_SET_ITEM"(PyObject *tuple, Py_ssize_t index, PyObject *item) noexcept
    void set_in_list "PyList_SET_ITEM"(list list, Py_ssize_t index, PyObject *item) noexcept
    void incref "Py_INCREF"(PyObject *item) noexcept
    void xdecref "Py_XDECREF"(PyObject *item)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(str text) noexcept


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

USUAL_HEAD = {"http_version": "1.1", "method": "GET", "query_string": b""}
USUAL_VARIABLES = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}

cdef enum:
    SLOTS = 512
    # A known name is shorter than this.
    KNOWN_SIZE = 48
    # More names than there are.
    KNOWN_COUNT = 128
    # Fields of a head for which no memory is allocated before it is complete.
    USUAL_FIELDS = 64
    # The most that `PreviousFields` keeps: lines, and bytes of their section.
    KEPT_LINES = 32
    KEPT_BYTES = 4096

# Borrowed from the tuples above, which live as long as the module.
cdef PyObject *_name_objects[KNOWN_COUNT]
cdef PyObject *_key_objects[KNOWN_COUNT]
cdef Py_ssize_t _name_sizes[KNOWN_COUNT]
# Index of a known name, or -1.
cdef short _slots[SLOTS]

# Per byte: the lower case of a tchar (RFC 9110 5.6.2), or 0.
cdef unsigned char[256] _LOWER
# Per byte: its properties, bits.
cdef enum:
    IN_TARGET = 1       # of a request target
    IN_REG_NAME = 2     # of a reg-name but "%" (RFC 3986 3.2.2)
    IS_HEX = 4
    IS_DIGIT = 8
cdef unsigned char[256] _CLASS
# Per byte: the value of a hexadecimal digit.
cdef unsigned char[256] _HEX


cdef int _fill_tables() except -1:
    cdef int byte
    cdef Py_ssize_t i
    cdef unsigned slot
    for byte in range(256):
        _LOWER[byte] = 0
        _CLASS[byte] = 0
        _HEX[byte] = 0
        if 0x21 <= byte <= 0x7e and byte != c'#':
            _CLASS[byte] |= IN_TARGET
    for byte in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        _LOWER[byte] = <unsigned char>byte
    for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        _LOWER[byte] = <unsigned char>(byte | 0x20)
    for byte in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,;=":
        _CLASS[byte] |= IN_REG_NAME
    for byte in b"0123456789abcdefABCDEF":
        _CLASS[byte] |= IS_HEX
        _HEX[byte] = <unsigned char>((byte | 0x20) - c'a' + 10 if byte > c'9' else byte - c'0')
    for byte in b"0123456789":
        _CLASS[byte] |= IS_DIGIT
    for i in range(SLOTS):
        _slots[i] = -1
    for i in range(len(_NAMES)):
        _name_objects[i] = <PyObject *>_NAMES[i]
        _key_objects[i] = <PyObject *>_KEYS[i]
        _name_sizes[i] = len(_NAMES[i])
        slot = gateway_slot(<const unsigned char *>PyBytes_AS_STRING(_NAMES[i]), _name_sizes[i])
        while _slots[slot] >= 0:
            slot = (slot + 1) % SLOTS
        _slots[slot] = <short>i
    return 0


_fill_tables()


cdef inline Py_ssize_t _known(const unsigned char *lower, Py_ssize_t size) noexcept:
    """Index of a name (lower case) among the known ones, or -1."""
    cdef unsigned slot
    cdef Py_ssize_t i
    if size >= KNOWN_SIZE:
        return -1
    slot = gateway_slot(lower, size)
    while True:
        i = _slots[slot]
        if i < 0:
            return -1
        if _name_sizes[i] == size and memcmp(PyBytes_AS_STRING(<object>_name_objects[i]), lower, <size_t>size) == 0:
            return i
        slot = (slot + 1) % SLOTS


cdef inline Py_ssize_t _find(const unsigned char *data, Py_ssize_t at, Py_ssize_t end, int byte) noexcept:
    """Offset of the first `byte` between two offsets, or -1."""
    cdef const void *found
    if at >= end:
        return -1
    found = memchr(data + at, byte, <size_t>(end - at))
    return -1 if found == NULL else <const unsigned char *>found - data


cdef inline bint _is_token(const unsigned char *data, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    for i in range(size):
        if _LOWER[data[i]] == 0:
            return False
    return size > 0


cdef inline bint _equals(const unsigned char *data, Py_ssize_t size, const char *lower, Py_ssize_t length) noexcept:
    """Whether `data` is the token `lower`, whatever its case."""
    cdef Py_ssize_t i
    if size != length:
        return False
    for i in range(size):
        if _LOWER[data[i]] != <unsigned char>lower[i]:
            return False
    return True


cdef inline Span _span(Py_ssize_t start, Py_ssize_t end) noexcept:
    cdef Span span
    span.start = start
    span.size = end - start
    return span


# Hosts (RFC 3986 3.2.2).


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
        while i < size and i - start < 3 and _CLASS[data[i]] & IS_DIGIT:
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
        while i < size and i - start < 4 and _CLASS[data[i]] & IS_HEX:
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
    while i < size and _CLASS[data[i]] & IS_HEX:
        i += 1
    if i == 1 or i == size or data[i] != c'.':
        return False
    i += 1
    start = i
    while i < size and (_CLASS[data[i]] & IN_REG_NAME or data[i] == c':'):
        i += 1
    return i > start and i == size


cdef bint _valid_host(const unsigned char *data, Py_ssize_t size, bint port_required) noexcept:
    cdef Py_ssize_t i = 0, start
    cdef int port = 0
    if size == 0:
        return False
    if data[0] == c'[':
        i = _find(data, 1, size, c']')
        if i < 0 or not (_is_ipv6(data + 1, i - 1) or _is_ipvfuture(data + 1, i - 1)):
            return False
        i += 1
    else:
        while i < size:
            if _CLASS[data[i]] & IN_REG_NAME:
                i += 1
            elif data[i] == c'%' and i + 2 < size and _CLASS[data[i + 1]] & _CLASS[data[i + 2]] & IS_HEX:
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
        if not _CLASS[data[i]] & IS_DIGIT:
            return False
        port = 10 * port + data[i] - c'0'
        if port > 65535:
            return False
        i += 1
    return i > start or not port_required


# The request line.


cdef bint _percent_ok(const unsigned char *data, Py_ssize_t start, Py_ssize_t end) noexcept:
    cdef Py_ssize_t i = _find(data, start, end, c'%')
    while i >= 0:
        if i + 2 >= end or not _CLASS[data[i + 1]] & _CLASS[data[i + 2]] & IS_HEX:
            return False
        i = _find(data, i + 3, end, c'%')
    return True


cdef bint _parse_target(const unsigned char *data, Py_ssize_t start, Py_ssize_t end, Target *target) noexcept:
    """Split a request target that has no wrong byte in it. False if it has none of the four forms."""
    cdef Py_ssize_t at, question, host
    target.whole = _span(start, end)
    target.query = _span(end, end)
    target.authority = _span(-1, -1)
    if data[start] == c'/':
        target.form = ORIGIN_FORM
        at = start
    elif end - start == 1 and data[start] == c'*':
        target.form = ASTERISK_FORM
        target.path = target.whole
        return True
    else:
        at = 0
        if end - start >= 7 and _equals(data + start, 4, b"http", 4):
            at = start + 4
            if data[at] | 0x20 == c's':
                at += 1
            if end - at >= 3 and memcmp(data + at, b"://", 3) == 0:
                at += 3
            else:
                at = 0
        if at == 0:
            target.form = AUTHORITY_FORM
            target.path = _span(end, end)
            target.authority = target.whole
            return _valid_host(data + start, end - start, True)
        target.form = ABSOLUTE_FORM
        host = at
        while at < end and data[at] != c'/' and data[at] != c'?':
            at += 1
        target.authority = _span(host, at)
        if not _valid_host(data + host, at - host, False):
            return False
    question = _find(data, at, end, c'?')
    if question < 0:
        target.path = _span(at, end)
    else:
        target.path = _span(at, question)
        target.query = _span(question + 1, end)
    return _percent_ok(data, at, at + target.path.size)


cdef int _refuse_request_line(const unsigned char *data, Py_ssize_t size, long long max_line) noexcept:
    """What is wrong with, or missing from, a request line that was not accepted."""
    cdef Py_ssize_t first, second, end = _find(data, 0, size, c'\n')
    cdef Py_ssize_t measured = size if end < 0 else end
    if max_line and measured - 1 > max_line:
        return REQUEST_LINE_TOO_LONG
    if end < 0:
        return NEED_DATA
    if end == 0 or data[end - 1] != c'\r':
        return BARE_LF
    end -= 1
    first = _find(data, 0, end, c' ')
    second = -1 if first < 0 else _find(data, first + 1, end, c' ')
    if second < 0 or _find(data, second + 1, end, c' ') >= 0:
        return BAD_REQUEST_LINE
    if not _is_token(data, first):
        return BAD_METHOD
    second += 1
    if (end - second != 8 or memcmp(data + second, b"HTTP/", 5) != 0 or data[second + 6] != c'.'
            or not _CLASS[data[second + 5]] & _CLASS[data[second + 7]] & IS_DIGIT):
        return BAD_VERSION
    if data[second + 5] != c'1':
        return UNSUPPORTED_VERSION
    return BAD_TARGET


cdef str _method(const unsigned char *data, Py_ssize_t size):
    if size == 3:
        if memcmp(data, b"GET", 3) == 0:
            return "GET"
        if memcmp(data, b"PUT", 3) == 0:
            return "PUT"
    elif size == 4:
        if memcmp(data, b"POST", 4) == 0:
            return "POST"
        if memcmp(data, b"HEAD", 4) == 0:
            return "HEAD"
    elif size == 5:
        if memcmp(data, b"PATCH", 5) == 0:
            return "PATCH"
        if memcmp(data, b"QUERY", 5) == 0:
            return "QUERY"
        if memcmp(data, b"TRACE", 5) == 0:
            return "TRACE"
    elif size == 6:
        if memcmp(data, b"DELETE", 6) == 0:
            return "DELETE"
    elif size == 7:
        if memcmp(data, b"OPTIONS", 7) == 0:
            return "OPTIONS"
        if memcmp(data, b"CONNECT", 7) == 0:
            return "CONNECT"
    return PyUnicode_DecodeASCII(<const char *>data, size, NULL)


# Field lines.


cdef int _refuse_field_line(
    const unsigned char *data, Py_ssize_t size, Py_ssize_t section, Py_ssize_t start, bint one_more_allowed,
    long long max_field, long long max_section,
) noexcept:
    """What is wrong with, or missing from, the field line at `start`, which was not accepted."""
    cdef Py_ssize_t colon, end = _find(data, start, size, c'\n')
    cdef Py_ssize_t measured = size if end < 0 else end
    if max_field and measured - start - 1 > max_field:
        return FIELD_TOO_LARGE
    if max_section and not (measured == start or (measured == start + 1 and data[start] == c'\r')):
        if measured - section + (end >= 0) > max_section:
            return FIELD_TOO_LARGE
    if end < 0:
        return NEED_DATA
    if end == start or data[end - 1] != c'\r':
        return BARE_LF
    end -= 1
    if not one_more_allowed:
        return TOO_MANY_FIELDS
    if data[start] == c' ' or data[start] == c'\t':
        return OBSOLETE_FOLDING
    colon = _find(data, start, end, c':')
    if colon < 0:
        return NO_COLON
    if colon > start and (data[colon - 1] == c' ' or data[colon - 1] == c'\t'):
        return SPACE_BEFORE_COLON
    if not _is_token(data + start, colon - start):
        return BAD_FIELD_NAME
    return BAD_FIELD_VALUE


cdef int _grow(Lines *lines, Field *usual) except -1:
    cdef Py_ssize_t capacity = 2 * lines.capacity
    cdef Field *items = <Field *>PyMem_Malloc(<size_t>capacity * sizeof(Field))
    if items == NULL:
        raise MemoryError
    memcpy(items, lines.items, <size_t>lines.count * sizeof(Field))
    if lines.items != usual:
        PyMem_Free(lines.items)
    lines.items = items
    lines.capacity = capacity
    return 0


cdef int _parse_fields(
    const unsigned char *data, Py_ssize_t size, Py_ssize_t section, long long max_fields, long long max_field,
    long long max_section, Lines *lines, Field *usual, Py_ssize_t *after, PreviousFields previous,
) except -1:
    """Field lines from offset `section` up to and including the empty line, into `lines`.

    A line that is, byte for byte, the one at its place in `previous` (or None) is not examined again.

    Returns DONE with the offset after the empty line, NEED_DATA or an error.
    """
    cdef unsigned char[KNOWN_SIZE] lower
    cdef Py_ssize_t start = section, at, value, end, limit, known
    cdef unsigned char byte
    cdef int ascii = 0
    cdef Field *field
    cdef Line *line = NULL
    cdef Py_ssize_t before = 0 if previous is None else previous._count
    cdef bint same
    while start < size:
        if data[start] == c'\r':
            if start + 1 < size and data[start + 1] == c'\n':
                after[0] = start + 2
                return DONE
            break
        same = False
        if lines.count < before:
            line = &previous._lines[lines.count]
            if size - start >= line.size:
                same = memcmp(data + start, previous._bytes + line.start, <size_t>line.size) == 0
        if same:
            known = line.known
            ascii = line.ascii
            at = start + line.name_size
            value = start + line.value_start
            end = start + line.size - 2
        else:
            known = -1
            at = gateway_name(data + start, lower) if size - start >= KNOWN_SIZE else -1
            if at >= 0:
                known = _known(lower, at)
                at += start
            # A known name is a token; every other must be shown to be one.
            if known < 0:
                at = start
                limit = size if size - start < KNOWN_SIZE else start + KNOWN_SIZE
                while at < limit:
                    byte = _LOWER[data[at]]
                    if byte == 0:
                        break
                    lower[at - start] = byte
                    at += 1
                if at == limit:
                    while at < size and _LOWER[data[at]] != 0:
                        at += 1
                if at == start or at == size or data[at] != c':':
                    break
                known = _known(lower, at - start)
            value = at + 1
            while value < size and (data[value] == c' ' or data[value] == c'\t'):
                value += 1
            end = gateway_value_end(data, value, size, &ascii)
            if end + 1 >= size or data[end] != c'\r' or data[end + 1] != c'\n':
                break
        if max_field and end - start > max_field:
            return FIELD_TOO_LARGE
        if max_section and end + 2 - section > max_section:
            return FIELD_TOO_LARGE
        if max_fields and lines.count >= max_fields:
            return TOO_MANY_FIELDS
        if lines.count == lines.capacity:
            _grow(lines, usual)
        field = &lines.items[lines.count]
        lines.count += 1
        field.known = <short>known
        field.ascii = <short>ascii
        field.slot = <short>(lines.count - 1 if same else -1)
        field.name = _span(start, at)
        start = end + 2
        while end > value and (data[end - 1] == c' ' or data[end - 1] == c'\t'):
            end -= 1
        field.value = _span(value, end)
    return _refuse_field_line(
        data, size, section, start, max_fields == 0 or lines.count < max_fields, max_field, max_section)


cdef long long _content_length(const unsigned char *data, Py_ssize_t size) noexcept:
    """RFC 9110 8.6: Content-Length = 1*DIGIT. -2 if it is not, or more than 2**63-1."""
    cdef unsigned long long length = 0
    cdef unsigned digit
    cdef Py_ssize_t i
    cdef bint overflow = False
    for i in range(size):
        if not _CLASS[data[i]] & IS_DIGIT:
            return -2
        digit = data[i] - <unsigned>c'0'
        # 2**63-1 is ...5807.
        if length > 922337203685477580 or (length == 922337203685477580 and digit > 7):
            overflow = True
        else:
            length = 10 * length + digit
    return -2 if overflow or size == 0 else <long long>length


cdef inline bint _next_member(const unsigned char *data, Py_ssize_t size, Py_ssize_t *at, Span *member) noexcept:
    """The next member of a comma-separated list, without the whitespace around it. False after the last one."""
    cdef Py_ssize_t start = at[0], end
    if start > size:
        return False
    end = _find(data, start, size, c',')
    if end < 0:
        end = size
    at[0] = end + 1
    while start < end and (data[start] == c' ' or data[start] == c'\t'):
        start += 1
    while end > start and (data[end - 1] == c' ' or data[end - 1] == c'\t'):
        end -= 1
    member.start = start
    member.size = end - start
    return True


cdef inline bytes _bytes(const unsigned char *data, Span span):
    if span.size == 0:
        return b""
    return PyBytes_FromStringAndSize(<const char *>data + span.start, span.size)


cdef inline str _latin1(const unsigned char *data, Span span):
    return PyUnicode_DecodeLatin1(<const char *>data + span.start, span.size, NULL)


cdef inline str _ascii(const unsigned char *data, Py_ssize_t size):
    cdef str text
    # Single characters are shared.
    if size <= 1:
        return PyUnicode_DecodeLatin1(<const char *>data, size, NULL) if size else ""
    text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), data, <size_t>size)
    return text


cdef inline tuple _pair(bytes name, bytes value):
    cdef tuple pair = PyTuple_New(2)
    Py_INCREF(name)
    PyTuple_SET_ITEM(pair, 0, name)
    Py_INCREF(value)
    PyTuple_SET_ITEM(pair, 1, value)
    return pair


cdef class PreviousFields:
    def __dealloc__(self):
        self.clear()

    cpdef int clear(self) except -1:
        cdef Line *lines = self._lines
        cdef Py_ssize_t count = self._count
        if lines != NULL:
            self._lines = NULL
            self._bytes = NULL
            self._count = 0
            self._generation += 1
            _forget(lines, count)
            PyMem_Free(lines)
        return 0

    cdef int keep(self, const unsigned char *section, Py_ssize_t size, Py_ssize_t offset, Lines *lines) except -1:
        """Take the lines of a section, whose first byte is `offset` bytes into the head, and number their fields."""
        cdef Py_ssize_t i, count = lines.count, old_count = self._count
        cdef bint same = count == old_count
        cdef Line *old = self._lines
        cdef Line *kept
        cdef Line *line
        cdef Field *field
        for i in range(count):
            if lines.items[i].slot < 0:
                same = False
                break
        if same:
            return 0
        if count == 0 or count > KEPT_LINES or size > KEPT_BYTES:
            for i in range(count):
                lines.items[i].slot = -1
            return self.clear()
        kept = <Line *>PyMem_Malloc(<size_t>count * sizeof(Line) + <size_t>size)
        if kept == NULL:
            raise MemoryError
        memcpy(<unsigned char *>&kept[count], section, <size_t>size)
        for i in range(count):
            field = &lines.items[i]
            line = &kept[i]
            line.start = field.name.start - offset
            line.size = (lines.items[i + 1].name.start - offset if i + 1 < count else size) - line.start
            line.name_size = field.name.size
            line.value_start = field.value.start - field.name.start
            line.known = field.known
            line.ascii = field.ascii
            line.pair = line.text = line.key = NULL
            if field.slot >= 0:
                # Same place, same line: what was made of it stays.
                line.pair, line.text, line.key = old[i].pair, old[i].text, old[i].key
                old[i].pair = old[i].text = old[i].key = NULL
            field.slot = <short>i
        self._lines = kept
        self._bytes = <const unsigned char *>&kept[count]
        self._count = count
        self._generation += 1
        if old != NULL:
            _forget(old, old_count)
            PyMem_Free(old)
        return 0


cdef int _forget(Line *lines, Py_ssize_t count) except -1:
    cdef Py_ssize_t i
    for i in range(count):
        xdecref(lines[i].pair)
        xdecref(lines[i].text)
        xdecref(lines[i].key)
    return 0


@cython.freelist(64)
cdef class RequestHead:
    def __cinit__(self):
        self._reset()

    def __dealloc__(self):
        PyMem_Free(self._fields)

    cdef void _reset(self) noexcept:
        if self._fields != NULL:
            PyMem_Free(self._fields)
        self._fields = NULL
        self._bytes = NULL
        self._count = 0
        self._cached = None
        self._new_host = None
        self._host.start = -1
        memset(&self._target, 0, sizeof(Target))
        self._target.authority.start = -1
        self.method = ""
        self.form = ORIGIN_FORM
        self.major = 1
        self.minor = 1
        self.http_version = "1.1"
        self.field_count = 0
        self.host_count = 0
        self.host_valid = False
        self.content_length_count = 0
        self.content_length = -1
        self.transfer_encoding_count = 0
        self.coding_count = 0
        self.chunked_count = 0
        self.last_is_chunked = False
        self.coding_malformed = False
        self.connection_options = 0
        self.expect = EXPECT_NONE
        self.has_upgrade = False
        self.te_trailers = False
        self.underscore_count = 0
        self.forwarded_count = 0

    @property
    def target(self):
        return _bytes(self._bytes, self._target.whole)

    @property
    def raw_path(self):
        return self._raw_path()

    @property
    def query(self):
        return _bytes(self._bytes, self._target.query)

    @property
    def authority(self):
        return _bytes(self._bytes, self._target.authority) if self._target.authority.start >= 0 else None

    @property
    def host(self):
        if self._new_host is not None:
            return self._new_host
        return _bytes(self._bytes, self._host) if self._host.start >= 0 else None

    cpdef int reuse(self, PreviousFields previous) except -1:
        self._previous = previous
        return 0

    cpdef int parse(self, InputBuffer input, long long max_line, long long max_fields, long long max_field,
                    long long max_section) except -1:
        cdef const unsigned char *data = input.pointer()
        cdef Py_ssize_t size = input.length()
        cdef Py_ssize_t space, at = 0, end = 0
        cdef Target target
        cdef Field[USUAL_FIELDS] usual
        cdef Lines lines
        cdef int code, minor
        if self._fields != NULL:
            self._reset()
        # method SP request-target SP "HTTP/1." DIGIT CRLF
        while at < size and _LOWER[data[at]] != 0:
            at += 1
        if at == 0 or at == size or data[at] != c' ':
            return _refuse_request_line(data, size, max_line)
        space = at
        at += 1
        while at < size and _CLASS[data[at]] & IN_TARGET:
            at += 1
        if (at == space + 1 or size - at < 11 or memcmp(data + at, b" HTTP/1.", 8) != 0
                or not _CLASS[data[at + 8]] & IS_DIGIT or data[at + 9] != c'\r' or data[at + 10] != c'\n'):
            return _refuse_request_line(data, size, max_line)
        if max_line and at + 9 > max_line:
            return REQUEST_LINE_TOO_LONG
        if not _parse_target(data, space + 1, at, &target):
            return BAD_TARGET
        minor = data[at + 8] != c'0'
        lines.items = usual
        lines.count = 0
        lines.capacity = USUAL_FIELDS
        try:
            code = _parse_fields(
                data, size, at + 11, max_fields, max_field, max_section, &lines, usual, &end, self._previous)
            if code != DONE:
                return code
            if self._previous is not None:
                self._previous.keep(data + at + 11, end - 2 - (at + 11), at + 11, &lines)
                self._generation = self._previous._generation
            self._keep(data, end, &lines, &target)
        finally:
            if lines.items != usual:
                PyMem_Free(lines.items)
        self.method = _method(data, space)
        self.minor = minor
        self.http_version = "1.1" if minor else "1.0"
        self.form = target.form
        self._read_fields()
        input.discard(end)
        return DONE

    cdef int _keep(self, const unsigned char *data, Py_ssize_t size, Lines *lines, Target *target) except -1:
        """Copy what was parsed."""
        cdef size_t table = <size_t>(lines.count + 1) * sizeof(Field)
        cdef Py_ssize_t i, at
        cdef Field *field
        self._fields = <Field *>PyMem_Malloc(table + <size_t>size)
        if self._fields == NULL:
            raise MemoryError
        memcpy(self._fields, lines.items, <size_t>lines.count * sizeof(Field))
        self._bytes = <unsigned char *>self._fields + table
        memcpy(self._bytes, data, <size_t>size)
        self._count = lines.count
        self._target = target[0]
        for i in range(self._count):
            field = &self._fields[i]
            if field.known < 0:
                for at in range(field.name.start, field.name.start + field.name.size):
                    self._bytes[at] = _LOWER[self._bytes[at]]
        return 0

    cdef void _read_fields(self) noexcept:
        """Set the facts that come from fields."""
        cdef Py_ssize_t i, at, known, size, expectations = 0
        cdef Field *field
        cdef const unsigned char *value
        cdef const unsigned char *name
        cdef Span member
        for i in range(self._count):
            field = &self._fields[i]
            known = field.known
            if known > K_X_FORWARDED_SERVER:
                continue
            value = self._bytes + field.value.start
            size = field.value.size
            if known < 0:
                name = self._bytes + field.name.start
                if _find(name, 0, field.name.size, c'_') >= 0:
                    self.underscore_count += 1
                if field.name.size >= 12 and memcmp(name, b"x-forwarded-", 12) == 0:
                    self.forwarded_count += 1
            elif known == K_HOST:
                if self.host_count == 0:
                    self._host = field.value
                    self.host_valid = _valid_host(value, size, False)
                self.host_count += 1
            elif known == K_CONTENT_LENGTH:
                if self.content_length_count == 0:
                    self.content_length = _content_length(value, size)
                self.content_length_count += 1
            elif known == K_TRANSFER_ENCODING:
                self.transfer_encoding_count += 1
                self._read_codings(value, size)
            elif known == K_CONNECTION:
                at = 0
                while _next_member(value, size, &at, &member):
                    if _equals(value + member.start, member.size, b"close", 5):
                        self.connection_options |= OPTION_CLOSE
                    elif _equals(value + member.start, member.size, b"keep-alive", 10):
                        self.connection_options |= OPTION_KEEP_ALIVE
                    elif _equals(value + member.start, member.size, b"upgrade", 7):
                        self.connection_options |= OPTION_UPGRADE
            elif known == K_EXPECT:
                expectations += 1
                if expectations == 1 and _equals(value, size, b"100-continue", 12):
                    self.expect = EXPECT_CONTINUE
                else:
                    self.expect = EXPECT_OTHER
            elif known == K_UPGRADE:
                self.has_upgrade = True
            elif known == K_TE:
                at = 0
                while _next_member(value, size, &at, &member):
                    if _equals(value + member.start, member.size, b"trailers", 8):
                        self.te_trailers = True
            else:
                self.forwarded_count += 1
        self.field_count = self._count

    cdef void _read_codings(self, const unsigned char *value, Py_ssize_t size) noexcept:
        cdef Py_ssize_t at = 0
        cdef Span member
        while _next_member(value, size, &at, &member):
            if member.size:
                self.coding_count += 1
                self.last_is_chunked = _equals(value + member.start, member.size, b"chunked", 7)
                self.chunked_count += self.last_is_chunked
            if not _is_token(value + member.start, member.size):
                self.coding_malformed = True

    cdef inline bytes _name(self, Field *field):
        if field.known >= 0:
            return <bytes>_name_objects[field.known]
        return _bytes(self._bytes, field.name)

    cdef inline bytes _value(self, Field *field):
        if field.value.start < 0:
            return self._new_host
        return _bytes(self._bytes, field.value)

    cdef inline PreviousFields _shared(self):
        """Where this head's objects are shared with the next one, or None."""
        if self._previous is None or self._previous._generation != self._generation:
            return None
        return self._previous

    cdef inline str _text(self, Field *field):
        if field.value.start < 0:
            return self._new_host.decode("latin-1")
        if field.ascii:
            return _ascii(self._bytes + field.value.start, field.value.size)
        return _latin1(self._bytes, field.value)

    cdef list _list(self):
        cdef list result = PyList_New(self._count)
        cdef PreviousFields previous = self._shared()
        cdef PyObject *pair
        cdef PyObject *item
        cdef Py_ssize_t i
        cdef Field *field
        cdef Line *lines = NULL if previous is None else previous._lines
        for i in range(self._count):
            field = &self._fields[i]
            if lines != NULL and field.slot >= 0 and lines[field.slot].pair != NULL:
                incref(lines[field.slot].pair)
                set_in_list(result, i, lines[field.slot].pair)
                continue
            # Into the list at once, and filled there: whatever fails, the list is freed with what it has.
            pair = new_tuple(2)
            set_in_list(result, i, pair)
            if field.known >= 0:
                item = _name_objects[field.known]
                incref(item)
            else:
                item = new_bytes(<const char *>self._bytes + field.name.start, field.name.size)
            set_in_tuple(pair, 0, item)
            if field.value.start >= 0:
                item = new_bytes(<const char *>self._bytes + field.value.start, field.value.size)
            else:
                item = <PyObject *>self._new_host
                incref(item)
            set_in_tuple(pair, 1, item)
            if lines != NULL and field.slot >= 0:
                incref(pair)
                lines[field.slot].pair = pair
        return result

    cdef inline bint _matches(self, Field *field, bytes name, Py_ssize_t known) noexcept:
        if known >= 0 or field.known >= 0:
            return field.known == known
        return field.name.size == len(name) and memcmp(
            self._bytes + field.name.start, PyBytes_AS_STRING(name), <size_t>len(name)) == 0

    cdef const unsigned char *find(self, bytes name, Py_ssize_t *size) noexcept:
        """As `get`, but where the value is. NULL without one; good until the head changes."""
        cdef Py_ssize_t i, length = PyBytes_GET_SIZE(name)
        cdef const void *candidate
        cdef Field *field
        for i in range(self._count):
            field = &self._fields[i]
            # Seldom are two names of one length: no need to look the name up in the table first.
            if field.name.size != length:
                continue
            if field.known >= 0:
                candidate = PyBytes_AS_STRING(<object>_name_objects[field.known])
            else:
                candidate = self._bytes + field.name.start
            if memcmp(candidate, PyBytes_AS_STRING(name), <size_t>length) == 0:
                if field.value.start < 0:
                    size[0] = PyBytes_GET_SIZE(self._new_host)
                    return <const unsigned char *>PyBytes_AS_STRING(self._new_host)
                size[0] = field.value.size
                return self._bytes + field.value.start
        return NULL

    cpdef bytes get(self, bytes name):
        cdef Py_ssize_t size = 0
        cdef const unsigned char *value
        if name is None:
            raise TypeError("name must not be None")
        value = self.find(name, &size)
        return None if value == NULL else PyBytes_FromStringAndSize(<const char *>value, size)

    cpdef list get_all(self, bytes name):
        cdef Py_ssize_t i, known = _known(<const unsigned char *>PyBytes_AS_STRING(name), len(name))
        cdef list values = []
        for i in range(self._count):
            if self._matches(&self._fields[i], name, known):
                values.append(self._value(&self._fields[i]))
        return values

    cpdef list fields(self):
        if self._cached is None:
            self._cached = self._list()
        return self._cached

    cpdef Py_ssize_t remove(self, frozenset names) except -1:
        cdef Py_ssize_t i, kept = 0, removed
        if names is None:
            raise TypeError("names must not be None")
        for i in range(self._count):
            if self._name(&self._fields[i]) not in names:
                self._fields[kept] = self._fields[i]
                kept += 1
        removed = self._count - kept
        self._count = kept
        self._cached = None
        return removed

    cpdef Py_ssize_t drop_underscored(self) except -1:
        cdef Py_ssize_t i, kept = 0, removed
        cdef Field *field
        for i in range(self._count):
            field = &self._fields[i]
            # No known name has one.
            if field.known >= 0 or _find(self._bytes + field.name.start, 0, field.name.size, c'_') < 0:
                self._fields[kept] = field[0]
                kept += 1
        removed = self._count - kept
        self._count = kept
        self._cached = None
        return removed

    cpdef int set_host(self, bytes value) except -1:
        cdef Py_ssize_t i, kept = 0
        cdef bint found = False
        cdef Field host
        if value is None:
            raise TypeError("value must not be None")
        memset(&host, 0, sizeof(Field))
        host.known = K_HOST
        host.name.size = _name_sizes[K_HOST]
        host.slot = -1
        host.value.start = -1
        for i in range(self._count):
            if self._fields[i].known != K_HOST:
                self._fields[kept] = self._fields[i]
            elif not found:
                found = True
                self._fields[kept] = host
            else:
                continue
            kept += 1
        self._count = kept
        self._new_host = value
        self._cached = None
        if not found:
            # `_keep` has left room for one more.
            if self._fields == NULL:
                self._fields = <Field *>PyMem_Malloc(sizeof(Field))
                if self._fields == NULL:
                    raise MemoryError
            memmove(self._fields + 1, self._fields, <size_t>kept * sizeof(Field))
            self._fields[0] = host
            self._count = kept + 1
        return 0

    cdef bytes _raw_path(self):
        if self._target.path.size == 0 and self.form == ABSOLUTE_FORM:
            return b"/"
        return _bytes(self._bytes, self._target.path)

    cdef object _path(self, bint utf8):
        """The percent-decoded path, read as UTF-8 or latin-1."""
        cdef unsigned char[512] room
        cdef unsigned char *decoded = room
        cdef const unsigned char *data
        cdef Py_ssize_t i = 0, size = self._target.path.size, length = 0
        if size == 0:
            return "/" if self.form == ABSOLUTE_FORM else ""
        data = self._bytes + self._target.path.start
        if _find(data, 0, size, c'%') < 0:
            return _ascii(data, size)
        if size > <Py_ssize_t>sizeof(room):
            decoded = <unsigned char *>PyMem_Malloc(<size_t>size)
            if decoded == NULL:
                raise MemoryError
        try:
            while i < size:
                if data[i] == c'%' and i + 2 < size:
                    decoded[length] = <unsigned char>(_HEX[data[i + 1]] << 4 | _HEX[data[i + 2]])
                    i += 3
                else:
                    decoded[length] = data[i]
                    i += 1
                length += 1
            if utf8:
                return PyUnicode_DecodeUTF8(<const char *>decoded, length, b"replace")
            return PyUnicode_DecodeLatin1(<const char *>decoded, length, NULL)
        finally:
            if decoded != room:
                PyMem_Free(decoded)

    cpdef dict scope(self, dict base):
        cdef dict scope = PyDict_Copy(base)
        # Against USUAL_HEAD.
        if not self.minor:
            PyDict_SetItem(scope, "http_version", self.http_version)
        if self.method is not "GET":
            PyDict_SetItem(scope, "method", self.method)
        PyDict_SetItem(scope, "path", self._path(True))
        PyDict_SetItem(scope, "raw_path", self._raw_path())
        if self._target.query.size:
            PyDict_SetItem(scope, "query_string", _bytes(self._bytes, self._target.query))
        PyDict_SetItem(scope, "headers", self._list())
        return scope

    cpdef dict environ(self, dict base):
        cdef dict environ = PyDict_Copy(base)
        cdef bint[KNOWN_COUNT] seen
        cdef Py_ssize_t i
        cdef Field *field
        cdef PyObject *earlier
        cdef PreviousFields previous = self._shared()
        cdef Line *lines = NULL if previous is None else previous._lines
        cdef Line *line
        cdef object name
        cdef str text
        # A request target is ASCII.
        target = _ascii(self._bytes + self._target.whole.start, self._target.whole.size)
        # Against USUAL_VARIABLES.
        if self.method is not "GET":
            PyDict_SetItem(environ, "REQUEST_METHOD", self.method)
        PyDict_SetItem(environ, "PATH_INFO", self._path(False))
        if self._target.query.size:
            PyDict_SetItem(
                environ, "QUERY_STRING", _ascii(self._bytes + self._target.query.start, self._target.query.size))
        PyDict_SetItem(environ, "RAW_URI", target)
        PyDict_SetItem(environ, "REQUEST_URI", target)
        if not self.minor:
            PyDict_SetItem(environ, "SERVER_PROTOCOL", "HTTP/1.0")
        memset(seen, 0, sizeof(seen))
        for i in range(self._count):
            field = &self._fields[i]
            line = NULL if lines == NULL or field.slot < 0 else &lines[field.slot]
            if line != NULL and line.text != NULL:
                text = <str>line.text
            else:
                text = self._text(field)
                if line != NULL:
                    line.text = <PyObject *>text
                    incref(line.text)
            if field.known >= 0:
                name = <object>_key_objects[field.known]
                # With underscores about, an unknown name can have the same key.
                if not seen[field.known] and self.underscore_count == 0:
                    seen[field.known] = True
                    PyDict_SetItem(environ, name, text)
                    continue
            elif line != NULL and line.key != NULL:
                name = <object>line.key
            else:
                name = self._key(field)
                if line != NULL:
                    line.key = <PyObject *>name
                    incref(line.key)
            earlier = PyDict_GetItemWithError(environ, name)
            if earlier != NULL:
                if field.known == K_CONTENT_TYPE or field.known == K_CONTENT_LENGTH:
                    continue
                text = <str>earlier + ("; " if field.known == K_COOKIE else ",") + text
            PyDict_SetItem(environ, name, text)
        return environ

    cdef object _key(self, Field *field):
        """The environ key of an unknown field name."""
        cdef unsigned char[128] room
        cdef unsigned char *key = room
        cdef const unsigned char *name = self._bytes + field.name.start
        cdef Py_ssize_t i, size = field.name.size
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


cdef class TrailerSection:
    def __cinit__(self):
        self._fields = []

    cpdef int parse(self, InputBuffer input, long long max_fields, long long max_field,
                    long long max_section) except -1:
        cdef const unsigned char *data = input.pointer()
        cdef Py_ssize_t size = input.length()
        cdef Py_ssize_t i, end = 0
        cdef Field[USUAL_FIELDS] usual
        cdef Lines lines
        cdef Field *field
        cdef bytes name
        cdef int code
        self._fields = []
        lines.items = usual
        lines.count = 0
        lines.capacity = USUAL_FIELDS
        try:
            code = _parse_fields(data, size, 0, max_fields, max_field, max_section, &lines, usual, &end, None)
            if code == DONE:
                for i in range(lines.count):
                    field = &lines.items[i]
                    if field.known >= 0:
                        name = <bytes>_name_objects[field.known]
                    else:
                        name = _bytes(data, field.name).lower()
                    self._fields.append(_pair(name, _bytes(data, field.value)))
                input.discard(end)
            return code
        finally:
            if lines.items != usual:
                PyMem_Free(lines.items)

    cpdef list fields(self):
        return self._fields
