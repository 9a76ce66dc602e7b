# cython: language_level=3

from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_type_lock

from gateway._speedups.kernels.base cimport Task


cdef class Mutex:
    cdef PyThread_type_lock _lock
    cdef bint _held

    cpdef int acquire(self) except -1
    cpdef int release(self) except -1
    cpdef int open(self) except -1


cdef class Mailbox:
    # A ring: `_count` tasks from `_first` on, all of them counted references.
    cdef PyObject **_tasks
    cdef Py_ssize_t _capacity, _first, _count

    cpdef int put(self, Task task) except -1
    cpdef Task take(self)
    cpdef bint remove(self, Task task) except -1
    cdef int _grow(self) except -1


cdef class WorkQueue:
    cdef readonly Py_ssize_t threads, limit, busy
    cdef Mailbox _tasks
    cdef bint _closed
    # One for each thread.
    cdef PyThread_type_lock *_sleep
    cdef bint *_woken
    # The reference is that of the thread, which has the task for as long as it stands here.
    cdef PyObject **_running
    cdef Py_ssize_t *_turns
    # The first `_idle_count` are the numbers of threads that sleep.
    cdef Py_ssize_t *_idle
    cdef Py_ssize_t _idle_count, _waking

    cpdef bint waiting(self) except -1
    cpdef bint push(self, Task task) except -1
    cpdef bint remove(self, Task task) except -1
    cpdef int close(self) except -1
    cpdef int serve(self, Py_ssize_t number, object log) except -1
    cpdef Task running(self, Py_ssize_t number)
    cpdef bint replace(self, Py_ssize_t number) except -1
    cdef Task _take(self, Py_ssize_t number)
    cdef int _check(self, Py_ssize_t number) except -1
    cdef int _wake(self) noexcept
