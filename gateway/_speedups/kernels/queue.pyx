# cython: language_level=3, boundscheck=False, wraparound=False
"""Compiled twin of gateway/core/kernels/queue.py, where everything is documented.

Between two places where a thread sleeps nothing here gives up the GIL, so that each step is whole for all others.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pythread cimport (
    NOWAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from cpython.ref cimport Py_DECREF, Py_INCREF
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


cdef class Mailbox:
    def __dealloc__(self):
        while self._count:
            self.take()
        PyMem_Free(self._tasks)

    def __len__(self):
        return self._count

    cpdef int put(self, Task task) except -1:
        cdef Py_ssize_t place
        if self._count == self._capacity:
            self._grow()
        place = self._first + self._count
        if place >= self._capacity:
            place -= self._capacity
        Py_INCREF(task)
        self._tasks[place] = <PyObject *>task
        self._count += 1
        return 0

    cpdef Task take(self):
        cdef Task task
        if self._count == 0:
            return None
        task = <Task>self._tasks[self._first]
        Py_DECREF(task)
        self._first += 1
        if self._first == self._capacity:
            self._first = 0
        self._count -= 1
        return task

    cpdef bint remove(self, Task task) except -1:
        cdef Py_ssize_t place, next, at, behind
        for at in range(self._count):
            place = (self._first + at) % self._capacity
            if self._tasks[place] == <PyObject *>task:
                for behind in range(at + 1, self._count):
                    next = (self._first + behind) % self._capacity
                    self._tasks[place] = self._tasks[next]
                    place = next
                self._count -= 1
                Py_DECREF(task)
                return True
        return False

    cdef int _grow(self) except -1:
        cdef Py_ssize_t capacity = 2 * self._capacity if self._capacity else 64, at
        cdef PyObject **tasks = <PyObject **>PyMem_Malloc(<size_t>capacity * sizeof(PyObject *))
        if tasks == NULL:
            raise MemoryError
        for at in range(self._count):
            tasks[at] = self._tasks[(self._first + at) % self._capacity]
        PyMem_Free(self._tasks)
        self._tasks = tasks
        self._capacity = capacity
        self._first = 0
        return 0


cdef class WorkQueue:
    def __cinit__(self, Py_ssize_t threads, Py_ssize_t limit):
        cdef Py_ssize_t number
        if threads < 1:
            raise ValueError("a queue needs at least one thread")
        self.threads = threads
        self.limit = limit
        self._tasks = Mailbox.__new__(Mailbox)
        self._sleep = <PyThread_type_lock *>PyMem_Malloc(<size_t>threads * sizeof(PyThread_type_lock))
        self._woken = <bint *>PyMem_Malloc(<size_t>threads * sizeof(bint))
        self._idle = <Py_ssize_t *>PyMem_Malloc(<size_t>threads * sizeof(Py_ssize_t))
        self._running = <PyObject **>PyMem_Calloc(<size_t>threads, sizeof(PyObject *))
        self._turns = <Py_ssize_t *>PyMem_Calloc(<size_t>threads, sizeof(Py_ssize_t))
        if self._sleep != NULL:
            memset(self._sleep, 0, <size_t>threads * sizeof(PyThread_type_lock))
        if self._sleep == NULL or self._woken == NULL or self._idle == NULL:
            raise MemoryError
        if self._running == NULL or self._turns == NULL:
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
        PyMem_Free(self._running)
        PyMem_Free(self._turns)

    @property
    def queued(self):
        return self._tasks._count

    cpdef bint waiting(self) except -1:
        return self._tasks._count > 0

    cpdef bint push(self, Task task) except -1:
        cdef Py_ssize_t waiting
        if self._closed:
            return False
        if self.limit:
            waiting = self._tasks._count
            if waiting >= self.limit and waiting >= self.limit + self.threads - self.busy:
                return False
        self._tasks.put(task)
        if self._idle_count and not self._waking:
            self._wake()
        return True

    cpdef bint remove(self, Task task) except -1:
        return self._tasks.remove(task)

    cpdef int close(self) except -1:
        self._closed = True
        while self._idle_count:
            self._wake()
        return 0

    cpdef int serve(self, Py_ssize_t number, object log) except -1:
        cdef Task task
        cdef Py_ssize_t turn
        self._check(number)
        turn = self._turns[number]
        while True:
            task = self._take(number)
            if task is None:
                return 0
            self._running[number] = <PyObject *>task
            try:
                task.run()
            except BaseException:
                log.exception("Internal error: %r failed in its thread", task)
            if self._turns[number] != turn:
                return 1
            self._running[number] = NULL
            task = None
            self.busy -= 1

    cpdef Task running(self, Py_ssize_t number):
        self._check(number)
        return None if self._running[number] == NULL else <Task>self._running[number]

    cpdef bint replace(self, Py_ssize_t number) except -1:
        self._check(number)
        if self._running[number] == NULL:
            return False
        self._running[number] = NULL
        self._turns[number] += 1
        self.busy -= 1
        return True

    cdef int _check(self, Py_ssize_t number) except -1:
        if number < 0 or number >= self.threads:
            raise ValueError("there is no such thread")
        return 0

    cdef Task _take(self, Py_ssize_t number):
        cdef PyThread_type_lock sleep = self._sleep[number]
        cdef Task task
        while True:
            if self._woken[number]:
                self._woken[number] = False
                self._waking -= 1
            task = self._tasks.take()
            if task is not None:
                self.busy += 1
                if self._idle_count and not self._waking and self._tasks._count:
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
