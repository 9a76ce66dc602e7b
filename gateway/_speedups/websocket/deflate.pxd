cimport cython

cdef int INVALID_DATA, TOO_BIG, MIN_BITS, MAX_BITS, STATE_SIZE, LEVEL, MAX_STREAMS
cdef bytes EXTENSION, TAIL, LAST_BLOCK
cdef dict WINDOW_BITS


cdef class DeflateSettings:
    cdef readonly long long memory, min_size


cdef class Offer:
    cdef public bint server_no_context_takeover, client_no_context_takeover
    cdef public int server_bits, client_bits


cdef class Deflate:
    cdef readonly bint server_no_context_takeover, client_no_context_takeover
    cdef readonly int server_bits, client_bits
    cdef readonly long long min_size
    cdef object _compressor, _decompressor

    @cython.locals(first=bytes, rest=bytes)
    cpdef bytes compress(self, bytes data)
    @cython.locals(tail=bytes, result=bytes)
    cpdef bytes decompress(self, bytes data, bint final, long long limit)
    @cython.locals(result=bytes, part=bytes, streams=int)
    cdef bytes _inflate(self, bytes data, bytes tail, long long limit)


@cython.locals(offer=Offer)
cpdef tuple negotiate(list extensions, DeflateSettings settings)
@cython.locals(offer=Offer, seen=set, name=bytes, value=bytes)
cpdef Offer read_offer(tuple parameters)
@cython.locals(bits=int, server_bits=int, client_bits=int, deflate=Deflate)
cpdef tuple accept(Offer offer, DeflateSettings settings)
@cython.locals(value=bytes)
cpdef bytes response_value(Deflate deflate, bint client_bits_offered)
cpdef int memory_level(int bits) except -1
cpdef long long memory_needed(int server_bits, int client_bits) except -1
