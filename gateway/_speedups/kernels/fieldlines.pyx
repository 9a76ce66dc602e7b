# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Compiled twin of gateway/core/kernels/fieldlines.py, where everything is documented.

Two passes. The fast one runs once over the bytes and accepts exactly the lines that are complete and valid. Whatever
it does not accept is looked at again by the slow one, which finds out, in the order of the specification, what is
wrong or missing.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memcmp, memcpy

from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.grammar cimport (
    BAD_FIELD_NAME, BAD_FIELD_VALUE, BARE_LF, DONE, FIELD_TOO_LARGE, LOWER, NEED_DATA, NO_COLON, OBSOLETE_FOLDING,
    SPACE_BEFORE_COLON, TOO_MANY_FIELDS, bytes_at, find, is_token, span_of,
)
from gateway._speedups.kernels.names cimport KNOWN_SIZE, known_name, known_names


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
    """
    Py_ssize_t gateway_name(const unsigned char *data, unsigned char *lower) noexcept
    Py_ssize_t gateway_value_end(const unsigned char *data, Py_ssize_t at, Py_ssize_t end, int *ascii) noexcept


cdef extern from "Python.h":
    void xdecref "Py_XDECREF"(PyObject *item)


cdef enum:
    # The most that `PreviousFields` keeps: lines, and bytes of their section.
    KEPT_LINES = 32
    KEPT_BYTES = 4096


cdef int _refuse_field_line(
    const unsigned char *data, Py_ssize_t size, Py_ssize_t section, Py_ssize_t start, bint one_more_allowed,
    long long max_field, long long max_section,
) noexcept:
    """What is wrong with, or missing from, the field line at `start`, which was not accepted."""
    cdef Py_ssize_t colon, end = find(data, start, size, c'\n')
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
    colon = find(data, start, end, c':')
    if colon < 0:
        return NO_COLON
    if colon > start and (data[colon - 1] == c' ' or data[colon - 1] == c'\t'):
        return SPACE_BEFORE_COLON
    if not is_token(data + start, colon - start):
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


cdef int parse_fields(
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
                known = known_name(lower, at)
                at += start
            # A known name is a token; every other must be shown to be one.
            if known < 0:
                at = start
                limit = size if size - start < KNOWN_SIZE else start + KNOWN_SIZE
                while at < limit:
                    byte = LOWER[data[at]]
                    if byte == 0:
                        break
                    lower[at - start] = byte
                    at += 1
                if at == limit:
                    while at < size and LOWER[data[at]] != 0:
                        at += 1
                if at == start or at == size or data[at] != c':':
                    break
                known = known_name(lower, at - start)
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
        field.name = span_of(start, at)
        start = end + 2
        while end > value and (data[end - 1] == c' ' or data[end - 1] == c'\t'):
            end -= 1
        field.value = span_of(value, end)
    return _refuse_field_line(
        data, size, section, start, max_fields == 0 or lines.count < max_fields, max_field, max_section)


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


cdef inline tuple _pair(bytes name, bytes value):
    cdef tuple pair = PyTuple_New(2)
    Py_INCREF(name)
    PyTuple_SET_ITEM(pair, 0, name)
    Py_INCREF(value)
    PyTuple_SET_ITEM(pair, 1, value)
    return pair


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
            code = parse_fields(data, size, 0, max_fields, max_field, max_section, &lines, usual, &end, None)
            if code == DONE:
                for i in range(lines.count):
                    field = &lines.items[i]
                    if field.known >= 0:
                        name = <bytes>known_names[field.known].name
                    else:
                        name = bytes_at(data, field.name).lower()
                    self._fields.append(_pair(name, bytes_at(data, field.value)))
                input.discard(end)
            return code
        finally:
            if lines.items != usual:
                PyMem_Free(lines.items)

    cpdef list fields(self):
        return self._fields
