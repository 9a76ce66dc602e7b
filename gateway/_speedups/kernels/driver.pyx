# cython: language_level=3
"""Compiled twin of gateway/core/kernels/driver.py, where everything is documented."""

import sys
from asyncio import CancelledError, Task, current_task, isfuture
from asyncio.tasks import _enter_task as enter_task, _leave_task as leave_task
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
cdef object _enter_task = enter_task
cdef object _leave_task = leave_task
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

    cpdef dict next_event(self):
        raise NotImplementedError

    cpdef int await_event(self, Waiter one) except -1:
        raise NotImplementedError

    cpdef int forget_waiter(self, Waiter one) except -1:
        raise NotImplementedError

    cpdef int drive(self, Waiter one) except -1:
        cdef object task = self.task
        cdef object context = one.context
        cdef object loop = one.loop
        cdef object item = None
        cdef object error = None
        cdef object callback
        cdef bint cancelled
        if one is not self._awaited or one.callback is None or one.is_done or context is None or task is None:
            return one.wake_now()
        if _current_task(loop) is not None:
            return one.wake()
        one.is_done = one.driven = True
        _enter_task(loop, task)
        PyContext_Enter(context)
        try:
            item = self._send(None)
        except BaseException as raised:
            error = raised
        finally:
            PyContext_Exit(context)
            _leave_task(loop, task)
        cancelled = one.cancelled_late
        one.driven = one.cancelled_late = False
        if item is one:
            one._asyncio_future_blocking = False
            if cancelled:
                one.cancel(one.message)
            return 0
        if cancelled and item is None and error is None:
            one.is_cancelled = True
        else:
            self._left = (item, error)
        callback = one.callback
        one.callback = None
        PyContext_Enter(context)
        try:
            callback(one)
        finally:
            PyContext_Exit(context)
        if cancelled and isfuture(item):
            item.cancel(one.message)
        return 0

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
        cdef object item, left
        if self._left is not None:
            item, left = self._left
            self._left = None
            if left is not None:
                raise left
            return item
        self._awaited = None
        try:
            if PyIter_Send(self._coroutine, value, &result) == 1:
                item = <object>result
                Py_DECREF(item)
                if type(item) is Waiter:
                    self._awaited = <Waiter>item
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
        self._awaited = None
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
    result.loop = loop
    return result


cdef class Waiter:
    def __init__(self, loop):
        self.loop = loop

    cpdef int wake(self) except -1:
        if not self.is_done:
            self.is_done = True
            if self.callback is not None:
                self.loop.call_soon(self.callback, self, context=self.context)
                self.callback = None
        return 0

    cpdef int wake_now(self) except -1:
        cdef object callback = self.callback
        if callback is None or self.context is None or _current_task(self.loop) is not None:
            return self.wake()
        if not self.is_done:
            self.is_done = True
            self.callback = None
            PyContext_Enter(self.context)
            try:
                callback(self)
            finally:
                PyContext_Exit(self.context)
        return 0

    def done(self):
        return self.is_done

    def cancelled(self):
        return self.is_cancelled

    def result(self):
        if self.is_cancelled:
            raise _CancelledError(*(() if self.message is None else (self.message,)))

    def cancel(self, msg=None):
        if self.driven:
            self.cancelled_late = True
            self.message = msg
            return True
        if self.is_done:
            return False
        self.is_cancelled = True
        self.message = msg
        self.wake()
        return True

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        self.callback = callback
        self.context = context
        if self.is_done:
            self.is_done = False
            self.wake()

    def remove_done_callback(self, callback):
        cdef bint found = self.callback is not None and self.callback == callback
        if found:
            self.callback = None
        return int(found)

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.is_done:
            raise StopIteration
        self._asyncio_future_blocking = True
        return self


cpdef Receive receive(Driver driver, object loop):
    cdef Receive result = Receive.__new__(Receive)
    result._driver = driver
    result._loop = loop
    result._waiter = waiter(loop)
    result.idle = True
    return result


cdef class Receive:
    def __init__(self, Driver driver not None, loop):
        self._driver = driver
        self._loop = loop
        self._waiter = waiter(loop)
        self.idle = True

    def send(self, value):
        return self.__next__()

    def throw(self, error, value=None, traceback=None):
        self.close()
        raise error if value is None else value

    def close(self):
        self._driver.forget_waiter(self._waiter)
        self._waiter = waiter(self._loop)
        self.idle = True

    def __next__(self):
        cdef dict event = self._driver.next_event()
        cdef Waiter one
        if event is not None:
            self.idle = True
            # Without a traceback, which nobody sees.
            PyErr_SetObject(PyExc_StopIteration, <PyObject *>event)
            raise StopIteration
        one = self._waiter
        one.is_done = one.is_cancelled = False
        one._asyncio_future_blocking = True
        self._driver.await_event(one)
        return one

    def __iter__(self):
        return self

    def __await__(self):
        return self


READY = Ready(None)

YIELD = _SharedYield()

Coroutine.register(Driver)
Coroutine.register(Ready)
Coroutine.register(Receive)
Coroutine.register(Yield)


async def _wait(awaitable):
    await awaitable
