# cython: language_level=3

from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead

cimport cython

cdef int _REQUEST_LINE, _STATUS, _SIZE, _HOST, _NOTHING, _USER
cdef int _TIME, _REQUEST_FIELD, _RESPONSE_FIELD, _ENVIRON, _SIZE_NUMBER, _STATUS_NUMBER
cdef int _CLIENT, _METHOD, _PATH, _QUERY, _PROTOCOL, _SECONDS
cdef int _MILLISECONDS, _MICROSECONDS, _DECIMAL_SECONDS, _PROCESS
cdef dict NAMED_FORMATS, _ATOMS, _FIELDS, _NUMBERS
cdef object _ATOM, _TOKEN, _UNSAFE, _json
cdef tuple _MONTHS


cdef class AccessLogger:
    cdef object _write
    cdef list _atoms
    cdef str _end, _time
    cdef bint _is_json
    cdef long long _second

    cpdef int log(self, object stream, double now) except -1
    cpdef int log_refusal(self, object client, int status, object request_line, int size=*) except -1
    @cython.locals(text=str, position="Py_ssize_t")
    cdef int _compile(self, str format) except -1
    @cython.locals(wall=double, second=cython.longlong, microseconds=cython.longlong, parts=list, atom=int)
    cdef str _line(self, object record, double duration)
    @cython.locals(head=RequestHead, block=FieldBlock, name=bytes)
    cdef object _value(self, object record, int atom, object argument, long long microseconds)


cdef class _Refusal:
    cdef readonly object client, head, block, environ
    cdef readonly bytes line
    cdef readonly int status, body_sent


cdef tuple _find_atom(str name, str conversion)
@cython.locals(head=RequestHead, found=dict)
cdef dict _attributes(object record, str timestamp, long long microseconds)
cdef str _format_time(long long second)
cdef str _format_utc(long long second)
cdef bytes _user_name(bytes authorization)
cdef str _host(object client)
cdef str _escape_bytes(bytes data)
cdef str _escape(str text)
cdef str _decode(bytes data)
