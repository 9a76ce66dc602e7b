# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/masking.py, where everything is documented."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from gateway._speedups.kernels.buffer cimport InputBuffer
from gateway._speedups.kernels.grammar cimport DONE, NEED_DATA, PyUnicode_DATA, PyUnicode_New, ascii_text

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Vectors as compilers make them of the machine's, or words. memcpy reads and writes them at any address. */
    #if defined(__GNUC__) && !defined(GATEWAY_PORTABLE)
    typedef uint64_t gateway_lane __attribute__((vector_size(16)));
    #else
    typedef uint64_t gateway_lane;
    #endif

    enum { GATEWAY_LANE = sizeof(gateway_lane) };

    static inline int gateway_high_bits(const gateway_lane *lane)
    {
        uint64_t words[GATEWAY_LANE / 8], seen = 0;
        size_t i;
        memcpy(words, lane, sizeof words);
        for (i = 0; i < GATEWAY_LANE / 8; i++)
            seen |= words[i];
        return (seen & 0x8080808080808080u) != 0;
    }

    /* Writes `size` bytes of `data` to `to`, masked. Returns whether what was written is ASCII. */
    static int gateway_mask(unsigned char *to, const unsigned char *data, Py_ssize_t size, const unsigned char *key)
    {
        gateway_lane keys, seen = {0}, a, b, c, d;
        unsigned char rest = 0;
        Py_ssize_t i;
        for (i = 0; i < GATEWAY_LANE; i += 4)
            memcpy((unsigned char *)&keys + i, key, 4);
        for (; size >= 4 * GATEWAY_LANE; size -= 4 * GATEWAY_LANE) {
            memcpy(&a, data, GATEWAY_LANE);
            memcpy(&b, data + GATEWAY_LANE, GATEWAY_LANE);
            memcpy(&c, data + 2 * GATEWAY_LANE, GATEWAY_LANE);
            memcpy(&d, data + 3 * GATEWAY_LANE, GATEWAY_LANE);
            a ^= keys;
            b ^= keys;
            c ^= keys;
            d ^= keys;
            seen |= (a | b) | (c | d);
            memcpy(to, &a, GATEWAY_LANE);
            memcpy(to + GATEWAY_LANE, &b, GATEWAY_LANE);
            memcpy(to + 2 * GATEWAY_LANE, &c, GATEWAY_LANE);
            memcpy(to + 3 * GATEWAY_LANE, &d, GATEWAY_LANE);
            data += 4 * GATEWAY_LANE;
            to += 4 * GATEWAY_LANE;
        }
        for (; size >= GATEWAY_LANE; size -= GATEWAY_LANE) {
            memcpy(&a, data, GATEWAY_LANE);
            a ^= keys;
            seen |= a;
            memcpy(to, &a, GATEWAY_LANE);
            data += GATEWAY_LANE;
            to += GATEWAY_LANE;
        }
        if (size >= 8) {
            uint64_t word, wide;
            memcpy(&word, data, 8);
            memcpy(&wide, &keys, 8);
            word ^= wide;
            rest |= (word & 0x8080808080808080u) != 0 ? 0x80 : 0;
            memcpy(to, &word, 8);
            data += 8;
            to += 8;
            size -= 8;
        }
        for (i = 0; i < size; i++) {
            to[i] = data[i] ^ key[i & 3];
            rest |= to[i];
        }
        return !(gateway_high_bits(&seen) || rest & 0x80);
    }

    /* How many bytes at the beginning of `data` were found to be ASCII; there may be a few more. */
    static inline Py_ssize_t gateway_ascii(const unsigned char *data, Py_ssize_t size)
    {
        gateway_lane a, b;
        Py_ssize_t at;
        for (at = 0; size - at >= 2 * GATEWAY_LANE; at += 2 * GATEWAY_LANE) {
            memcpy(&a, data + at, GATEWAY_LANE);
            memcpy(&b, data + at + GATEWAY_LANE, GATEWAY_LANE);
            a |= b;
            if (gateway_high_bits(&a))
                break;
        }
        return at;
    }
    """
    bint gateway_mask(unsigned char *to, const unsigned char *data, Py_ssize_t size, const unsigned char *key) noexcept
    Py_ssize_t gateway_ascii(const unsigned char *data, Py_ssize_t size) noexcept

cdef enum:
    _KEY_SIZE = 4
    _MAX_HEAD = 10      # of an unmasked frame
    _MAX_SHORT = 125
    _MAX_16_BITS = 65535
    # Text up to this many bytes is unmasked on the stack.
    _SCRATCH = 256


cdef inline void _rotate(unsigned char *rotated, const unsigned char *key, long long offset) noexcept:
    """`key` as it stands `offset` bytes into a payload."""
    cdef int i
    for i in range(_KEY_SIZE):
        rotated[i] = key[(i + (offset & 3)) & 3]


cdef class FrameHead:
    @property
    def key(self):
        return PyBytes_FromStringAndSize(<const char *>self._key, _KEY_SIZE)

    cpdef int parse(self, InputBuffer buffer) except -1:
        cdef const unsigned char *front = buffer.pointer()
        cdef Py_ssize_t available = buffer.length()
        cdef Py_ssize_t size = 2
        cdef uint64_t length
        cdef uint64_t least = 0
        cdef int i
        if available < 2:
            return NEED_DATA
        length = front[1] & 0x7f
        if length == 126:
            size = 4
        elif length == 127:
            size = 10
        if front[1] & 0x80:
            size += _KEY_SIZE
        if available < size:
            return NEED_DATA
        if length == 126:
            length = <uint64_t>front[2] << 8 | front[3]
            least = _MAX_SHORT + 1
        elif length == 127:
            length = 0
            for i in range(2, 10):
                length = length << 8 | front[i]
            least = _MAX_16_BITS + 1
        self.fin = front[0] >> 7
        self.rsv = front[0] >> 4 & 7
        self.opcode = front[0] & 15
        self.masked = front[1] >> 7
        self.minimal = length >= least
        self.length = -1 if length >> 63 else <long long>length
        if self.masked:
            memcpy(self._key, front + size - _KEY_SIZE, _KEY_SIZE)
        else:
            memcpy(self._key, b"\0\0\0\0", _KEY_SIZE)
        buffer.discard(size)
        return DONE


cpdef bytes take_payload(InputBuffer buffer, FrameHead head, long long offset, Py_ssize_t size):
    cdef unsigned char[_KEY_SIZE] key
    cdef bytes payload
    if size > buffer.length():
        size = buffer.length()
    if size <= 0:
        return b""
    if not head.masked:
        return buffer.take(size)
    _rotate(key, head._key, offset)
    payload = PyBytes_FromStringAndSize(NULL, size)
    gateway_mask(<unsigned char *>PyBytes_AS_STRING(payload), buffer.pointer(), size, key)
    buffer.discard(size)
    return payload


cpdef str take_text(InputBuffer buffer, FrameHead head, Py_ssize_t size):
    cdef unsigned char[_SCRATCH] scratch
    cdef unsigned char *data = scratch
    cdef str text = None
    cdef bint is_ascii
    if size > buffer.length():
        size = buffer.length()
    if size <= 0:
        return ""
    if size > _SCRATCH:
        # Most text is ASCII, and then this is it; else it is memory as good as any.
        text = PyUnicode_New(size, 127)
        data = <unsigned char *>PyUnicode_DATA(text)
    is_ascii = gateway_mask(data, buffer.pointer(), size, head._key)
    buffer.discard(size)
    if is_ascii:
        return ascii_text(data, size) if text is None else text
    try:
        return PyUnicode_DecodeUTF8(<const char *>data, size, NULL)
    except UnicodeDecodeError:
        return None


# States of `TextCheck`: what has to follow. Each is a number of bits, for `_STEPS`.
cdef enum:
    _CHARACTER = 0      # or the end
    _NOTHING = 6        # the text is wrong
    _ONE_BYTE = 12
    _TWO_BYTES = 18
    _THREE_BYTES = 24
    # After these first bytes the next one has bounds of its own.
    _AFTER_E0 = 30
    _AFTER_ED = 36
    _AFTER_F0 = 42
    _AFTER_F4 = 48
    _STATES_END = 54
    # Bytes gone through one by one before ASCII is looked for again.
    _STRIDE = 32

# Per byte: the state after it, at the place in the number that the state before it says. Such a step is a shift, and
# no text can make the processor guess wrong.
cdef uint64_t[256] _STEPS


cdef int _step(int state, int byte) noexcept:
    """RFC 3629 4."""
    if state == _CHARACTER:
        if byte < 0x80:
            return _CHARACTER
        if 0xc2 <= byte <= 0xdf:
            return _ONE_BYTE
        if 0xe0 <= byte <= 0xef:
            return _AFTER_E0 if byte == 0xe0 else _AFTER_ED if byte == 0xed else _TWO_BYTES
        if 0xf0 <= byte <= 0xf4:
            return _AFTER_F0 if byte == 0xf0 else _AFTER_F4 if byte == 0xf4 else _THREE_BYTES
    elif state == _ONE_BYTE and 0x80 <= byte <= 0xbf:
        return _CHARACTER
    elif state == _TWO_BYTES and 0x80 <= byte <= 0xbf:
        return _ONE_BYTE
    elif state == _THREE_BYTES and 0x80 <= byte <= 0xbf:
        return _TWO_BYTES
    elif state == _AFTER_E0 and 0xa0 <= byte <= 0xbf:
        return _ONE_BYTE
    elif state == _AFTER_ED and 0x80 <= byte <= 0x9f:
        return _ONE_BYTE
    elif state == _AFTER_F0 and 0x90 <= byte <= 0xbf:
        return _TWO_BYTES
    elif state == _AFTER_F4 and 0x80 <= byte <= 0x8f:
        return _TWO_BYTES
    return _NOTHING


cdef void _fill_steps() noexcept:
    cdef int byte, state
    for byte in range(256):
        _STEPS[byte] = 0
        for state in range(0, _STATES_END, 6):
            _STEPS[byte] |= <uint64_t>_step(state, byte) << state


_fill_steps()


cdef class TextCheck:
    cpdef bint feed(self, bytes data) except -1:
        cdef Py_ssize_t size = len(data)
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef const unsigned char *stop = at + size
        cdef const unsigned char *pause
        cdef uint64_t state = <uint64_t>self._state
        while at < stop:
            if state & 63 == _CHARACTER:
                at += gateway_ascii(at, stop - at)
            pause = at + _STRIDE if stop - at > _STRIDE else stop
            while at < pause:
                state = _STEPS[at[0]] >> (state & 63)
                at += 1
        self._state = <int>(state & 63)
        return self._state != _NOTHING

    cpdef bint complete(self) except -1:
        return self._state == _CHARACTER

    cpdef int reset(self) except -1:
        self._state = _CHARACTER
        return 0


cdef inline Py_ssize_t _head_size(uint64_t length) noexcept:
    return 2 if length <= _MAX_SHORT else 4 if length <= _MAX_16_BITS else 10


cdef inline unsigned char *_write_head(unsigned char *end, int opcode, uint64_t length, bint fin, bint rsv1) noexcept:
    """Write the head of a frame, and return where it ends."""
    cdef int i
    end[0] = <unsigned char>((0x80 if fin else 0) | (0x40 if rsv1 else 0) | (opcode & 15))
    if length <= _MAX_SHORT:
        end[1] = <unsigned char>length
        return end + 2
    if length <= _MAX_16_BITS:
        end[1] = 126
        end[2] = <unsigned char>(length >> 8)
        end[3] = <unsigned char>(length & 0xff)
        return end + 4
    end[1] = 127
    for i in range(8):
        end[9 - i] = <unsigned char>(length & 0xff)
        length >>= 8
    return end + 10


cdef bytes _frame(int opcode, const void *data, Py_ssize_t size, bint fin, bint rsv1):
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, _head_size(<uint64_t>size) + size)
    cdef unsigned char *start = <unsigned char *>PyBytes_AS_STRING(frame)
    memcpy(_write_head(start, opcode, <uint64_t>size, fin, rsv1), data, <size_t>size)
    return frame


cpdef bytes frame_head(int opcode, long long length, bint fin, bint rsv1):
    cdef unsigned char[_MAX_HEAD] head
    if length < 0:
        raise ValueError("negative payload length")
    return PyBytes_FromStringAndSize(
        <const char *>head, _write_head(head, opcode, <uint64_t>length, fin, rsv1) - head)


cpdef bytes encode_frame(int opcode, bytes data, bint fin, bint rsv1):
    # `len` and not the macro: it refuses None.
    cdef Py_ssize_t size = len(data)
    return _frame(opcode, PyBytes_AS_STRING(data), size, fin, rsv1)


cpdef bytes encode_text(object text):
    # Text that is not ASCII keeps its UTF-8: a message to many is encoded once.
    cdef Py_ssize_t size = 0
    cdef const char *data = PyUnicode_AsUTF8AndSize(text, &size)
    return _frame(1, data, size, True, False)


cpdef bytes mask(bytes data, bytes key, long long offset):
    cdef unsigned char[_KEY_SIZE] rotated
    cdef bytes masked
    cdef Py_ssize_t size = len(data)
    if len(key) != _KEY_SIZE:
        raise ValueError("a masking key has four bytes")
    if size == 0:
        return b""
    _rotate(rotated, <const unsigned char *>PyBytes_AS_STRING(key), offset)
    masked = PyBytes_FromStringAndSize(NULL, size)
    gateway_mask(
        <unsigned char *>PyBytes_AS_STRING(masked), <const unsigned char *>PyBytes_AS_STRING(data), size, rotated)
    return masked
