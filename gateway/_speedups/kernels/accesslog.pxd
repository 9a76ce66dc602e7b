# cython: language_level=3

from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead
from gateway._speedups.kernels.lines cimport LineBuffer

cimport cython

cdef int _REQUEST_LINE, _STATUS, _SIZE, _HOST, _NOTHING, _USER
cdef int _TIME, _REQUEST_FIELD, _RESPONSE_FIELD, _ENVIRON, _SIZE_NUMBER, _STATUS_NUMBER
cdef int _CLIENT, _METHOD, _PATH, _QUERY, _PROTOCOL, _SECONDS
cdef int _MILLISECONDS, _MICROSECONDS, _DECIMAL_SECONDS, _PROCESS
cdef dict NAMED_FORMATS, _ATOMS, _FIELDS, _NUMBERS
cdef object _ATOM, _TOKEN
cdef tuple _MONTHS

cdef class _Atom


cdef class AccessLogger:
    cdef object _write, _waiting
    cdef LineBuffer _lines
    cdef list _atoms
    cdef bytes _end
    cdef str _time
    cdef bint _is_json
    cdef long long _second
    cdef long _process
    cdef Py_ssize_t _limit

    cpdef int log(self, object stream, double now) except -1
    cpdef int log_refusal(self, object client, int status, object request_line, long long size=*) except -1
    @cython.locals(data=bytes)
    cpdef int flush(self) except -1
    @cython.locals(text=str, position="Py_ssize_t")
    cdef int _compile(self, str format) except -1
    @cython.locals(lines=LineBuffer, wall=double, second=cython.longlong, microseconds=cython.longlong, start="Py_ssize_t")
    cdef int _log(self, object record, double duration) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, atom=_Atom, start="Py_ssize_t")
    cdef int _put_text(self, object record, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, kind=int, block=FieldBlock, client=tuple, name=bytes)
    cdef int _put_atom(self, object record, RequestHead head, _Atom atom, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, client=tuple, user=bytes, query=bytes)
    cdef int _put_json(self, object record, int milliseconds, long long microseconds) except -1


cdef class _Atom:
    cdef bytes text
    cdef int kind
    cdef object argument
    cdef str specification


cdef class _Refusal:
    cdef readonly object client, head, block, environ
    cdef readonly bytes line
    cdef readonly int status
    cdef readonly long long body_sent


cdef tuple _find_atom(str name, str conversion)
cdef str _format_time(long long second)
cdef str _format_utc(long long second)
@cython.locals(authorization=bytes)
cdef bytes _user_name(RequestHead head)
cdef int _put_host(LineBuffer lines, tuple client) except -1
cdef int _put_quoted(LineBuffer lines, bytes data) except -1
cdef int _put_count(LineBuffer lines, long long number) except -1
cdef int _put_seconds(LineBuffer lines, long long microseconds) except -1
cdef int _put_member(LineBuffer lines, bytes key, object value) except -1
cdef bytes _encode(str text)
