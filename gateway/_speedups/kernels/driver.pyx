# cython: language_level=3
"""Compiled twin of gateway/core/kernels/driver.py, where everything is documented."""

import sys
from asyncio import CancelledError, Task, current_task
from collections.abc import Coroutine
from types import CoroutineType

from cpython.dict cimport PyDict_SetItem
from cpython.object cimport PyObject, PyObject_Call
from cpython.ref cimport Py_DECREF, Py_XDECREF

from gateway._speedups.kernels.base cimport Responder

cdef extern from "Python.h":
    PyObject *PyExc_StopIteration
    void PyErr_SetObject(PyObject *kind, PyObject *value) noexcept
    # 1: the coroutine has yielded, 0: it has returned, -1: it has raised.
    int PyIter_Send(object iterator, object value, PyObject **result) except -1
    object PyContext_Copy(object context)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef object _CancelledError = CancelledError
cdef object _Task = Task
cdef object _current_task = current_task
cdef object _CoroutineType = CoroutineType
cdef bint _EAGER = sys.version_info >= (3, 12)


cpdef dict task_options(object loop, bint eager):
    cdef dict options = {"loop": loop, "context": None}
    if eager and _EAGER:
        options["eager_start"] = True
    return options


cdef object _of_python(object coroutine, str name):
    """An attribute of a coroutine; None of one that Cython made: its frame lacks the line number that
    asyncio's `print_stack` relies on."""
    return getattr(coroutine, name) if type(coroutine) is _CoroutineType else None


# What a step gives when it was the last one.
cdef object _ENDED = object()


cdef class Driver(Responder):
    cpdef object start(self, object coroutine, object context, dict options):
        cdef object task
        if type(coroutine) is not _CoroutineType:
            coroutine = _wait(coroutine)
        self._coroutine = coroutine
        # One dictionary for all tasks. A task started by this one's first step may change it: what is taken out of it
        # has been taken by then, and `context` is kept alive by our caller.
        PyDict_SetItem(options, "context", context)
        try:
            task = PyObject_Call(_Task, (self,), options)
        finally:
            PyDict_SetItem(options, "context", None)
        if not self._ended:
            self.task = task
        return task

    cpdef int finished(self, object error) except -1:
        raise NotImplementedError

    def send(self, value):
        cdef object item = self._send(value)
        if item is _ENDED:
            raise StopIteration
        return item

    def throw(self, error, value=None, traceback=None):
        cdef object item = self._throw(error if value is None else value)
        if item is _ENDED:
            raise StopIteration
        return item

    def close(self):
        self._ended = True
        self.task = None
        self._coroutine.close()

    def __next__(self):
        cdef object item = self._send(None)
        if item is _ENDED:
            raise StopIteration
        return item

    def __iter__(self):
        return self

    def __await__(self):
        return self

    @property
    def __name__(self):
        return getattr(self._coroutine, "__name__", None)

    @property
    def __qualname__(self):
        return getattr(self._coroutine, "__qualname__", None)

    @property
    def cr_await(self):
        return getattr(self._coroutine, "cr_await", None)

    @property
    def cr_code(self):
        return _of_python(self._coroutine, "cr_code")

    @property
    def cr_frame(self):
        return _of_python(self._coroutine, "cr_frame")

    @property
    def cr_origin(self):
        return getattr(self._coroutine, "cr_origin", None)

    @property
    def cr_running(self):
        return getattr(self._coroutine, "cr_running", None)

    @property
    def cr_suspended(self):
        return getattr(self._coroutine, "cr_suspended", None)

    cdef object _send(self, object value):
        cdef PyObject *result = NULL
        cdef object item
        try:
            if PyIter_Send(self._coroutine, value, &result) == 1:
                item = <object>result
                Py_DECREF(item)
                return item
        except (_CancelledError, KeyboardInterrupt) as error:
            self._end(error)
            raise
        except BaseException as error:
            self._end(error)
            return _ENDED
        Py_XDECREF(result)
        self._end(None)
        return _ENDED

    cdef object _throw(self, object error):
        try:
            return self._coroutine.throw(error)
        except StopIteration:
            self._end(None)
        except (_CancelledError, KeyboardInterrupt) as raised:
            self._end(raised)
            raise
        except BaseException as raised:
            self._end(raised)
        return _ENDED

    cdef int _end(self, object error) except -1:
        self.task = None
        if not self._ended:
            self._ended = True
            self.finished(error)
        return 0


cpdef object copy_context(object context):
    return PyContext_Copy(context)


cpdef Ready ready(object value):
    cdef Ready result = Ready.__new__(Ready)
    result.value = value
    return result


cdef class Ready:
    def __init__(self, value):
        self.value = value

    def send(self, value):
        raise StopIteration(self.value)

    def throw(self, error, value=None, traceback=None):
        raise error if value is None else value

    def close(self):
        pass

    def __next__(self):
        cdef object stop
        if self.value is not None:
            if type(self.value) is dict:
                stop = self.value
            else:
                # Set as they are, a tuple would become its arguments, an exception would replace it.
                stop = StopIteration(self.value)
            # Without a traceback, which nobody sees.
            PyErr_SetObject(PyExc_StopIteration, <PyObject *>stop)
        raise StopIteration

    def __iter__(self):
        return self

    def __await__(self):
        return self


cdef class Yield:
    def send(self, value):
        if self._resumed:
            raise StopIteration
        self._resumed = True
        return None

    def throw(self, error, value=None, traceback=None):
        raise error if value is None else value

    def close(self):
        pass

    def __next__(self):
        if self._resumed:
            raise StopIteration
        self._resumed = True
        return None

    def __iter__(self):
        return self

    def __await__(self):
        return self


cdef class _SharedYield:
    def __await__(self):
        return Yield.__new__(Yield)


cpdef Waiter waiter(object loop):
    cdef Waiter result = Waiter.__new__(Waiter)
    result._loop = loop
    return result


cdef class Waiter:
    def __init__(self, loop):
        self._loop = loop

    cpdef int wake(self) except -1:
        if not self._done:
            self._done = True
            if self._callback is not None:
                self._loop.call_soon(self._callback, self, context=self._context)
                self._callback = None
        return 0

    cpdef int wake_now(self) except -1:
        cdef object callback = self._callback
        if callback is None or self._context is None or _current_task(self._loop) is not None:
            return self.wake()
        if not self._done:
            self._done = True
            self._callback = None
            PyContext_Enter(self._context)
            try:
                callback(self)
            finally:
                PyContext_Exit(self._context)
        return 0

    def done(self):
        return self._done

    def cancelled(self):
        return self._cancelled

    def result(self):
        if self._cancelled:
            raise _CancelledError(*(() if self._message is None else (self._message,)))

    def cancel(self, msg=None):
        if self._done:
            return False
        self._cancelled = True
        self._message = msg
        self.wake()
        return True

    def get_loop(self):
        return self._loop

    def add_done_callback(self, callback, *, context=None):
        self._callback = callback
        self._context = context
        if self._done:
            self._done = False
            self.wake()

    def remove_done_callback(self, callback):
        cdef bint found = self._callback is not None and self._callback == callback
        if found:
            self._callback = None
        return int(found)

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self._done:
            raise StopIteration
        self._asyncio_future_blocking = True
        return self


READY = Ready(None)

YIELD = _SharedYield()

Coroutine.register(Driver)
Coroutine.register(Ready)
Coroutine.register(Yield)


async def _wait(awaitable):
    await awaitable
