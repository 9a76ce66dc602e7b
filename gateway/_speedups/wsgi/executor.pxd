from gateway._speedups.kernels.base cimport Executor, Task
from gateway._speedups.kernels.queue cimport Mailbox, Mutex, WorkQueue

cimport cython

cdef class ThreadExecutor(Executor):
    cdef readonly WorkQueue queue
    cdef readonly object log
    cdef object wake
    cdef Mailbox posted
    cdef public bint woken
    cdef public long long submitted

    cpdef bint submit(self, Task task) except -1
    cpdef int withdraw(self, Task task) except -1
    cpdef int post(self, Task task) except -1
    cpdef int defer(self, Task task) except -1
    cpdef bint crowded(self) except -1
    @cython.locals(posted=Mailbox, task=Task)
    cpdef int drain(self) except -1


cdef class Lane(Task):
    cdef WorkQueue queue
    cdef readonly Py_ssize_t width, limit, running
    cdef object log
    cdef Mailbox _tasks
    cdef dict _current
    cdef Py_ssize_t _taken
    cdef Mutex _lock

    @cython.locals(waiting="Py_ssize_t")
    cpdef bint push(self, Task task) except -1
    cpdef bint remove(self, Task task) except -1
    cpdef Task task_of(self, object thread)
    cpdef bint give_up(self, object thread, Task task) except -1
    cpdef int run(self) except -1
    @cython.locals(task=Task, more=bint)
    cdef bint _run_one(self) except -1


cdef class LaneExecutor(Executor):
    cdef ThreadExecutor executor
    cdef readonly Lane lane

    cpdef bint submit(self, Task task) except -1
    cpdef int withdraw(self, Task task) except -1
    cpdef int post(self, Task task) except -1
    cpdef int defer(self, Task task) except -1
    cpdef bint crowded(self) except -1
    cpdef int drain(self) except -1


cdef class InlineExecutor(Executor):
    cdef object log

    cpdef bint submit(self, Task task) except -1
    cpdef int withdraw(self, Task task) except -1
    cpdef int post(self, Task task) except -1
    cpdef int defer(self, Task task) except -1
    cpdef bint crowded(self) except -1
    cpdef int drain(self) except -1
