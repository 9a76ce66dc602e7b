from gateway._speedups.kernels.base cimport Executor, Task
from gateway._speedups.kernels.queue cimport Mailbox, WorkQueue

cimport cython

cdef class ThreadExecutor(Executor):
    cdef readonly WorkQueue queue
    cdef object wake, log
    cdef Mailbox posted
    cdef public bint woken

    cpdef bint submit(self, Task task) except -1
    cpdef int withdraw(self, Task task) except -1
    cpdef int post(self, Task task) except -1
    cpdef int defer(self, Task task) except -1
    cpdef bint crowded(self) except -1
    @cython.locals(posted=Mailbox, task=Task)
    cpdef int drain(self) except -1


cdef class InlineExecutor(Executor):
    cdef object log

    cpdef bint submit(self, Task task) except -1
    cpdef int withdraw(self, Task task) except -1
    cpdef int post(self, Task task) except -1
    cpdef int defer(self, Task task) except -1
    cpdef bint crowded(self) except -1
    cpdef int drain(self) except -1
