from gateway._speedups.http.limits cimport Limits, Timeouts
from gateway._speedups.http.mounts cimport MountTable
from gateway._speedups.kernels.base cimport AccessLog, Clock, Handler, Upgrade
from gateway._speedups.kernels.fields cimport FieldBlock

cimport cython

cdef int F_DATE, F_SERVER, FIELDS_OK
cdef tuple DAYS, MONTHS

cdef class Service:
    cdef readonly Limits limits
    cdef readonly Timeouts timeouts
    cdef readonly Clock clock
    cdef public Handler handler
    cdef readonly MountTable mounts
    cdef public Upgrade upgrade
    cdef public object overdue
    cdef readonly object log, forwarded
    cdef readonly AccessLog access_log
    cdef readonly str root_path
    cdef readonly bytes server_line, extra, prefix
    cdef readonly bint date_header
    cdef readonly int header_map
    cdef readonly long long second
    cdef public long long connections, requests, total_requests
    cdef public bint draining
    cdef public long long last_request
    cdef public object reached

    @cython.locals(second=cython.longlong)
    cpdef int refresh(self, double monotonic, double wall) except -1
    @cython.locals(lines=bytes)
    cpdef bytes own_fields(self, int seen)


cpdef str peer_name(object client)
@cython.locals(date=tuple)
cpdef bytes imf_fixdate(long long moment)
@cython.locals(block=FieldBlock)
cpdef bytes encode_own(object fields)
