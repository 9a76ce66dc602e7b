# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/queue.py, where everything is documented.

Between two places where a thread sleeps nothing here gives up the GIL, so that each step is whole for all others.
"""

from collections import deque

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from libc.string cimport memset

from gateway._speedups.kernels.base cimport Task


cdef class Mutex:
    def __cinit__(self):
        self._lock = PyThread_allocate_lock()
        if self._lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lock != NULL:
            PyThread_free_lock(self._lock)

    cpdef int acquire(self) except -1:
        if not PyThread_acquire_lock(self._lock, NOWAIT_LOCK):
            with nogil:
                PyThread_acquire_lock(self._lock, WAIT_LOCK)
        self._held = True
        return 0

    cpdef int release(self) except -1:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False
        PyThread_release_lock(self._lock)
        return 0

    cpdef int open(self) except -1:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False
        with nogil:
            PyThread_release_lock(self._lock)
        return 0

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *exception):
        self.release()


cdef class WorkQueue:
    def __cinit__(self, Py_ssize_t threads, Py_ssize_t limit):
        cdef Py_ssize_t number
        if threads < 1:
            raise ValueError("a queue needs at least one thread")
        self.threads = threads
        self.limit = limit
        self._tasks = deque()
        self._sleep = <PyThread_type_lock *>PyMem_Malloc(<size_t>threads * sizeof(PyThread_type_lock))
        self._woken = <bint *>PyMem_Malloc(<size_t>threads * sizeof(bint))
        self._idle = <Py_ssize_t *>PyMem_Malloc(<size_t>threads * sizeof(Py_ssize_t))
        if self._sleep != NULL:
            memset(self._sleep, 0, <size_t>threads * sizeof(PyThread_type_lock))
        if self._sleep == NULL or self._woken == NULL or self._idle == NULL:
            raise MemoryError
        memset(self._woken, 0, <size_t>threads * sizeof(bint))
        for number in range(threads):
            self._sleep[number] = PyThread_allocate_lock()
            if self._sleep[number] == NULL:
                raise MemoryError
            PyThread_acquire_lock(self._sleep[number], WAIT_LOCK)

    def __dealloc__(self):
        cdef Py_ssize_t number
        if self._sleep != NULL:
            for number in range(self.threads):
                if self._sleep[number] != NULL:
                    PyThread_free_lock(self._sleep[number])
        PyMem_Free(self._sleep)
        PyMem_Free(self._woken)
        PyMem_Free(self._idle)

    @property
    def queued(self):
        return len(self._tasks)

    cpdef bint push(self, Task task) except -1:
        cdef Py_ssize_t waiting
        if self._closed:
            return False
        if self.limit:
            waiting = len(self._tasks)
            if waiting >= self.limit and waiting >= self.limit + self.threads - self.busy:
                return False
        self._tasks.append(task)
        if self._idle_count and not self._waking:
            self._wake()
        return True

    cpdef bint remove(self, Task task) except -1:
        try:
            self._tasks.remove(task)
        except ValueError:
            return False
        return True

    cpdef int close(self) except -1:
        self._closed = True
        while self._idle_count:
            self._wake()
        return 0

    cpdef int serve(self, Py_ssize_t number, object log) except -1:
        cdef Task task
        if number < 0 or number >= self.threads:
            raise ValueError("there is no such thread")
        while True:
            task = self._take(number)
            if task is None:
                return 0
            try:
                task.run()
            except BaseException:
                log.exception("Internal error: %r failed in its thread", task)
            task = None
            self.busy -= 1

    cdef Task _take(self, Py_ssize_t number):
        cdef PyThread_type_lock sleep = self._sleep[number]
        cdef Task task
        while True:
            if self._woken[number]:
                self._woken[number] = False
                self._waking -= 1
            if self._tasks:
                task = <Task>self._tasks.popleft()
                self.busy += 1
                if self._idle_count and not self._waking and self._tasks:
                    self._wake()
                return task
            if self._closed:
                return None
            self._idle[self._idle_count] = number
            self._idle_count += 1
            with nogil:
                PyThread_acquire_lock(sleep, WAIT_LOCK)

    cdef int _wake(self) noexcept:
        cdef Py_ssize_t number
        self._idle_count -= 1
        number = self._idle[self._idle_count]
        self._woken[number] = True
        self._waking += 1
        PyThread_release_lock(self._sleep[number])
        return 0
