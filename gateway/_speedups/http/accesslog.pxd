# cython: language_level=3

from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.kernels.base cimport AccessLog, Stream, wall
from gateway._speedups.kernels.fields cimport FieldBlock
from gateway._speedups.kernels.head cimport RequestHead
from gateway._speedups.kernels.lines cimport LineBuffer

cimport cython

cdef int _REQUEST_LINE, _STATUS, _SIZE, _HOST, _NOTHING, _USER
cdef int _TIME, _REQUEST_FIELD, _RESPONSE_FIELD, _ENVIRON, _SIZE_NUMBER, _STATUS_NUMBER
cdef int _CLIENT, _METHOD, _PATH, _QUERY, _PROTOCOL, _SECONDS
cdef int _MILLISECONDS, _MICROSECONDS, _DECIMAL_SECONDS, _PROCESS, _MOUNT, _FORMATTED
cdef dict NAMED_FORMATS, _ATOMS, _FIELDS, _NUMBERS
cdef object _ATOM, _TOKEN
cdef tuple _MONTHS

cdef class _Atom


cdef class AccessLogger(AccessLog):
    cdef object _write, _waiting, _clock
    cdef LineBuffer _lines
    cdef list _atoms
    cdef bytes _time, _end
    cdef bint _is_json
    cdef long long _second
    cdef long _process
    cdef Py_ssize_t _limit

    @cython.locals(exchange=HTTPStream)
    cpdef int log(self, Stream stream, double now) except -1
    @cython.locals(stream=HTTPStream)
    cpdef int log_refusal(self, object client, int status, object request_line, long long size=*) except -1
    @cython.locals(data=bytes)
    cpdef int flush(self) except -1
    @cython.locals(text=str, position="Py_ssize_t", atom=int, nothing=bint)
    cdef int _compile(self, str format) except -1
    @cython.locals(lines=LineBuffer, now=double, second=cython.longlong, microseconds=cython.longlong,
                   milliseconds=int, start="Py_ssize_t")
    cdef int _log(self, HTTPStream stream, bytes line, double duration) except -1
    cdef int _turn(self, long long second) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, atom=_Atom, kind=int)
    cdef int _put_atoms(self, list atoms, HTTPStream stream, bytes line, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, text=bytes, kind=int, plain=list, specification=str,
                   start="Py_ssize_t", value=object)
    cdef int _put_seldom(self, _Atom atom, HTTPStream stream, bytes line, long long microseconds) except -1
    @cython.locals(lines=LineBuffer, head=RequestHead, client=tuple)
    cdef int _put_json(self, HTTPStream stream, bytes line, int milliseconds, long long microseconds) except -1


cdef class _Atom:
    cdef bytes text
    cdef int kind
    cdef object argument


cdef tuple _find_atom(str name, str conversion)
cdef str _format_time(long long second)
cdef str _format_utc(long long second)
cdef object _host(tuple client)
@cython.locals(authorization=bytes)
cdef bytes _user_name(RequestHead head)
cdef int _put_seconds(LineBuffer lines, bytes text, long long microseconds) except -1
cdef bytes _encode(str text)
