from gateway._speedups.http.mounts cimport under
from gateway._speedups.http.stream cimport HTTPStream
from gateway._speedups.wsgi.filewrapper cimport FileWrapper

cimport cython

cdef tuple EVERY_REQUEST
cdef dict USUAL_VARIABLES

@cython.locals(environ=dict, scheme=str, port=int)
cpdef dict stream_environ(HTTPStream stream, dict base)
@cython.locals(root=str, path=str, script=str)
cpdef int set_script_name(dict environ, str root_path, str received=*) except -1
cdef str as_latin_1(str text)
@cython.locals(text=str, port=str, colon="Py_ssize_t")
cpdef tuple host_and_port(bytes host, str scheme)
