"""What runs an application's coroutine, and the awaitables it is given.

A `Driver` stands between asyncio's Task and the coroutine of the application. To the task it is the
coroutine; it passes every step on, so that the application runs in a real task (`asyncio.current_task()`,
`asyncio.timeout()`, anyio and task groups need one) while its end is noticed here, in the same step. A done
callback would come one turn of the loop later, and cost a turn; a wrapping `async def` would cost a frame.

The awaitables are what `send` and `receive` return when there is nothing to wait for, and that is nearly
always. They count as coroutines, since applications pass `receive()` to `asyncio.create_task`.
"""

import asyncio
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any, Generic, TypeVar

from .base import Responder

T = TypeVar("T")

# What inspect, asyncio (repr, print_stack) and anyio ask of a coroutine; answered by the application's.
_INTROSPECTION = frozenset(
    {
        "__name__",
        "__qualname__",
        "cr_await",
        "cr_code",
        "cr_frame",
        "cr_origin",
        "cr_running",
        "cr_suspended",
    }
)


def task_options(loop: asyncio.AbstractEventLoop, eager: bool) -> dict[str, Any]:
    """What `Driver.start` needs to make tasks of `loop`. For its thread only, and not to be changed.

    `eager`: with the first step made at once, where Python can.
    """
    options: dict[str, Any] = {"loop": loop, "context": None}
    if sys.version_info >= (3, 12) and eager:
        options["eager_start"] = True
    return options


class Driver(Responder):
    """Base class of a responder that drives a coroutine.

    `task` is the task while the coroutine runs; None before `start` returns and after the end.
    """

    __slots__ = ("_awaited", "_coroutine", "_ended", "_left", "task")

    _awaited: "Waiter | None"

    def __new__(cls, *arguments: object, **options: object) -> "Driver":
        # Here, so that a subclass may go without `__init__`.
        self: Driver = super().__new__(cls)
        self._coroutine: Any = None
        self._ended = False
        self.task: asyncio.Task[None] | None = None
        # The Waiter that the coroutine waits for; what `drive` has left for the task: (yielded, raised).
        self._awaited = None
        self._left: tuple[Any, BaseException | None] | None = None
        return self

    def start(self, coroutine: Any, context: Context | None, options: dict[str, Any]) -> "asyncio.Task[None]":
        """Run `coroutine`, or any other awaitable, in a new task. Call it once.

        `context` is the task's context (None: a copy of the current one), `options` what `task_options` gave. With
        eager tasks the first step is made before this returns; it may be the last one, with `finished` called.
        """
        if type(coroutine) is not types.CoroutineType:
            # Python's own `await` knows every other kind best, those that are no awaitable included.
            coroutine = _wait(coroutine)
        self._coroutine = coroutine
        task: asyncio.Task[None] = asyncio.Task(self, **options | {"context": context})
        if not self._ended:
            self.task = task
        return task

    def finished(self, error: BaseException | None) -> int:
        """The coroutine has ended: returned (None), raised or was cancelled. Called once. Returns 0."""
        raise NotImplementedError

    def next_event(self) -> dict[str, Any] | None:
        """The next event, or None, for a `Receive`."""
        raise NotImplementedError

    def await_event(self, one: "Waiter") -> int:
        """A `Receive` waits: wake `one` when there is an event. Returns 0."""
        raise NotImplementedError

    def forget_waiter(self, one: "Waiter") -> int:
        """It does not wait any longer. Returns 0."""
        raise NotImplementedError

    def drive(self, one: "Waiter") -> int:
        """Have whoever waits for `one` go on, as `one.wake_now` does, but at less cost. Returns 0.

        Where that is our coroutine, it runs in the name of its task while the task itself goes on waiting for `one`,
        and nearly always that is what the coroutine comes back to. The task makes a step where it does not.
        """
        task = self.task
        context = one.context
        if one is not self._awaited or one.callback is None or one.is_done or context is None or task is None:
            return one.wake_now()
        loop = one.loop
        if asyncio.current_task(loop) is not None:
            return one.wake()
        one.is_done = one.driven = True
        item: Any = None
        error: BaseException | None = None
        asyncio.tasks._enter_task(loop, task)  # noqa: SLF001
        try:
            item = context.run(self.send, None)
        except BaseException as raised:
            # The coroutine has ended.
            error = raised
        finally:
            asyncio.tasks._leave_task(loop, task)  # noqa: SLF001
        cancelled = one.cancelled_late
        one.driven = one.cancelled_late = False
        if item is one:
            one._asyncio_future_blocking = False  # noqa: SLF001
            if cancelled:
                one.cancel(one.message)
            return 0
        if cancelled and item is None and error is None:
            # It gave way to others, and has to hear of it when it goes on.
            one.is_cancelled = True
        else:
            self._left = (item, error)
            error = None
        callback = one.callback
        one.callback = None
        context.run(callback, one)
        if cancelled and asyncio.isfuture(item):
            item.cancel(one.message)
        return 0

    # The coroutine protocol, for asyncio's Task.

    def send(self, value: object) -> object:
        """Make one step. What the coroutine yields is for the task."""
        if self._left is not None:
            item, error = self._left
            self._left = None
            if error is not None:
                try:
                    raise error
                finally:
                    # Its traceback has this frame.
                    error = None
            return item
        self._awaited = None
        try:
            item = self._coroutine.send(value)
            if type(item) is Waiter:
                self._awaited = item
            return item
        except StopIteration:
            self._end(None)
        except (asyncio.CancelledError, KeyboardInterrupt) as error:
            # The task has to know that it is cancelled, the loop that somebody interrupts the program. `sys.exit()`
            # in an application ends that request: a client must not be able to stop the server with it.
            self._end(error)
            raise
        except BaseException as error:
            # Dealt with by `finished`; the task ends without an exception that somebody has to retrieve.
            self._end(error)
        raise StopIteration

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> object:
        """Make one step by raising an exception where the coroutine waits."""
        self._awaited = None
        try:
            return self._coroutine.throw(error if value is None else value)
        except StopIteration:
            self._end(None)
        except (asyncio.CancelledError, KeyboardInterrupt) as error:
            self._end(error)
            raise
        except BaseException as error:
            self._end(error)
        raise StopIteration

    def close(self) -> None:
        """Raise GeneratorExit where the coroutine waits. `finished` is not called: nobody is left to tell."""
        self._ended = True
        self.task = None
        self._coroutine.close()

    def __next__(self) -> object:
        return self.send(None)

    def __iter__(self) -> "Driver":
        return self

    def __await__(self) -> "Driver":
        return self

    def __getattr__(self, name: str) -> object:
        if name in _INTROSPECTION:
            return getattr(self._coroutine, name, None)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _end(self, error: BaseException | None) -> None:
        # Let go of the task, which holds this object: no garbage for the collector.
        self.task = None
        if not self._ended:
            self._ended = True
            self.finished(error)


def copy_context(context: Context) -> Context:
    """`context.copy()`, without a look for the method."""
    return context.copy()


class Ready(Generic[T]):
    """An awaitable that never suspends and gives `value`."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def send(self, value: object) -> object:
        raise StopIteration(self.value)

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> object:
        raise error if value is None else value

    def close(self) -> None:
        pass

    def __next__(self) -> object:
        raise StopIteration(self.value)

    def __iter__(self) -> "Iterator[object]":
        return self

    def __await__(self) -> "Iterator[object]":
        return self


def ready(value: T) -> Ready[T]:
    """A `Ready` that gives `value`."""
    return Ready(value)


class Yield:
    """An awaitable that suspends once, for one turn of the loop, and gives None. Good for one `await`."""

    __slots__ = ("_resumed",)

    def __init__(self) -> None:
        self._resumed = False

    def send(self, value: object) -> object:
        return self.__next__()

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> object:
        raise error if value is None else value

    def close(self) -> None:
        pass

    def __next__(self) -> object:
        if self._resumed:
            raise StopIteration
        self._resumed = True
        # A bare yield: the task is scheduled again at once.
        return None

    def __iter__(self) -> "Iterator[object]":
        return self

    def __await__(self) -> "Iterator[object]":
        return self


class _SharedYield:
    """Any number of `Yield`. It has no state, so that it can't be a task's coroutine."""

    __slots__ = ()

    def __await__(self) -> "Iterator[object]":
        return Yield()


class Waiter:
    """What a task waits for when it waits for us: a future with one callback, the task's own.

    `wake_now` goes on with the task at once, where a future takes a turn of the loop. For one `await`, and not to be
    handed out: of what futures do it does what a Task asks for.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "callback",
        "cancelled_late",
        "context",
        "driven",
        "is_cancelled",
        "is_done",
        "loop",
        "message",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._asyncio_future_blocking = False
        self.callback: Callable[[Any], object] | None = None
        self.context: Context | None = None
        self.is_done = False
        self.is_cancelled = False
        self.message: object = None
        # Whether `Driver.drive` is going on from it; whether the task was cancelled meanwhile.
        self.driven = False
        self.cancelled_late = False

    def wake(self) -> int:
        """Have the task go on in the next turn of the loop. Returns 0."""
        if not self.is_done:
            self.is_done = True
            if self.callback is not None:
                self.loop.call_soon(self.callback, self, context=self.context)
                self.callback = None
        return 0

    def wake_now(self) -> int:
        """Have the task make its next step before this returns; in the next turn where another task runs. Returns 0."""
        if self.callback is None or self.context is None or asyncio.current_task(self.loop) is not None:
            return self.wake()
        if not self.is_done:
            self.is_done = True
            callback = self.callback
            self.callback = None
            self.context.run(callback, self)
        return 0

    # What asyncio's Task asks of a future.

    def done(self) -> bool:
        return self.is_done

    def cancelled(self) -> bool:
        return self.is_cancelled

    def result(self) -> None:
        if self.is_cancelled:
            raise asyncio.CancelledError(*(() if self.message is None else (self.message,)))

    def cancel(self, msg: object = None) -> bool:
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

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self.callback = callback
        self.context = context
        if self.is_done:
            self.is_done = False
            self.wake()

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        found = self.callback is not None and self.callback == callback
        if found:
            self.callback = None
        return int(found)

    def __await__(self) -> "Iterator[object]":
        return self

    def __iter__(self) -> "Iterator[object]":
        return self

    def __next__(self) -> object:
        if self.is_done:
            raise StopIteration
        self._asyncio_future_blocking = True
        return self


def waiter(loop: asyncio.AbstractEventLoop) -> Waiter:
    """A `Waiter` for a task of `loop`."""
    return Waiter(loop)


class Receive:
    """What `receive` gives when there is no event yet: it waits for the next one of `driver`.

    Good for one `await` at a time; `idle` afterwards, and then for another.
    """

    __slots__ = ("_driver", "_loop", "_waiter", "idle")

    def __init__(self, driver: Driver, loop: asyncio.AbstractEventLoop) -> None:
        self._driver = driver
        self._loop = loop
        self._waiter = Waiter(loop)
        self.idle = True

    def send(self, value: object) -> object:
        return self.__next__()

    def throw(self, error: Any, value: Any = None, traceback: Any = None) -> object:
        self.close()
        raise error if value is None else value

    def close(self) -> None:
        self._driver.forget_waiter(self._waiter)
        self._waiter = Waiter(self._loop)
        self.idle = True

    def __next__(self) -> object:
        event = self._driver.next_event()
        if event is not None:
            self.idle = True
            raise StopIteration(event)
        one = self._waiter
        one.is_done = one.is_cancelled = False
        one._asyncio_future_blocking = True  # noqa: SLF001
        self._driver.await_event(one)
        return one

    def __iter__(self) -> "Iterator[object]":
        return self

    def __await__(self) -> "Iterator[object]":
        return self


def receive(driver: Driver, loop: asyncio.AbstractEventLoop) -> Receive:
    """A `Receive` of `driver`, whose task is one of `loop`."""
    return Receive(driver, loop)


READY: Ready[None] = Ready(None)
"""Shared: never suspends, gives None."""

YIELD = _SharedYield()
"""Shared: suspends once, for one turn of the loop, and gives None. For `await`; a task needs a `Yield()`."""

Coroutine.register(Driver)
Coroutine.register(Ready)
Coroutine.register(Receive)
Coroutine.register(Yield)


async def _wait(awaitable: Awaitable[object]) -> None:
    await awaitable
