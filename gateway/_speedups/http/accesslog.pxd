# cython: language_level=3

from gateway._speedups.http.stream cimport HTTPStream
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
cdef class _Record


cdef class AccessLogger:
    cdef object _write, _waiting, _clock
    cdef LineBuffer _lines
    cdef _Record _record
    cdef list _atoms
    cdef bytes _end
    cdef str _time
    cdef bint _is_json
    cdef long long _second
    cdef long _process
    cdef Py_ssize_t _limit

    @cython.locals(record=_Record)
    cpdef int log(self, HTTPStream stream, double now) except -1
    @cython.locals(record=_Record)
    cpdef int log_refusal(self, object client, int status, object request_line, long long size=*) except -1
    @cython.locals(data=bytes)
    cpdef int flush(self) except -1
    @cython.locals(text=str, position="Py_ssize_t", atom=int, nothing=bint)
    cdef int _compile(self, str format) except -1
    @cython.locals(lines=LineBuffer, record=_Record, wall=double, second=cython.longlong, microseconds=cython.longlong, start="Py_ssize_t")
    cdef int _log(self, double duration) except -1
    @cython.locals(lines=LineBuffer, atom=_Atom, start="Py_ssize_t")
    cdef int _put_text(self, _Record record, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, kind=int, name=bytes)
    cdef int _put_atom(self, _Record record, _Atom atom, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, kind=int, block=FieldBlock, client=tuple)
    cdef int _put_seldom(self, _Record record, _Atom atom, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, client=tuple, user=bytes, query=bytes)
    cdef int _put_json(self, _Record record, int milliseconds, long long microseconds) except -1


cdef class _Atom:
    cdef bytes text
    cdef int kind
    cdef object argument
    cdef str specification


cdef class _Record:
    cdef tuple client
    cdef str scheme
    cdef RequestHead head
    cdef bytes line
    cdef int status
    cdef FieldBlock block
    cdef long long body_sent
    cdef object environ


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
