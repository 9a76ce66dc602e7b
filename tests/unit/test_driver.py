"""Driver: to asyncio it is a coroutine, to the application a task like any other; and the ready awaitables."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import gc
import inspect
import io
import sys
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

NOT_CALLED = object()


@pytest.fixture
def run(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> Callable[..., Any]:
    """Run a coroutine in a fresh loop. Anything reported to the loop's exception handler fails the test."""

    def run(main: Coroutine[Any, Any, Any], debug: bool = False) -> Any:
        reported: list[Any] = []
        with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: reported.append(context))
            try:
                return runner.run(asyncio.wait_for(main, 10))
            finally:
                # What is reported when a task or future goes: they are young.
                gc.collect(1)
                assert reported == []

    return run


@pytest.fixture
def start(driver: types.ModuleType, eager: bool) -> Callable[..., Any]:
    """Start an awaitable with a Driver that keeps what it was told in `ends`."""

    class Recorder(driver.Driver):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.ends: list[BaseException | None] = []
            self.done = asyncio.Event()

        def finished(self, error: BaseException | None) -> int:
            self.ends.append(error)
            self.done.set()
            return 0

    def start(awaitable: Any, context: contextvars.Context | None = None) -> Any:
        recorder = Recorder()
        recorder.handle = recorder.start(awaitable, context, driver.task_options(asyncio.get_running_loop(), eager))
        return recorder

    return start


def is_eager(eager: bool) -> bool:
    return eager and sys.version_info >= (3, 12)


def test_an_application_that_never_waits(run: Any, start: Any, eager: bool, driver: Any) -> None:
    steps = []

    async def app() -> str:
        steps.append(await driver.READY)
        steps.append(await driver.Ready((1, 2)))
        return "ignored"

    async def main() -> None:
        started = start(app())
        if is_eager(eager):
            assert started.ends == [None]
            assert started.handle.done()
        else:
            assert started.ends == []
            assert started.task is started.handle
        assert await started.handle is None
        assert started.ends == [None]
        assert started.task is None

    run(main())
    assert steps == [None, (1, 2)]


def test_an_application_that_waits(run: Any, start: Any, driver: Any) -> None:
    steps: list[Any] = []

    async def app(future: asyncio.Future[str]) -> None:
        await driver.YIELD
        steps.append(1)
        await driver.Yield()
        steps.append(await future)
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        steps.append(await asyncio.to_thread(lambda: 3))

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        started = start(app(future))
        asyncio.get_running_loop().call_later(0.002, future.set_result, 2)
        assert started.task is started.handle
        assert isinstance(started.handle, asyncio.Task)
        await started.handle
        assert (steps, started.ends) == ([1, 2, 3], [None])

    run(main())


def test_it_is_the_current_task(run: Any, start: Any, driver: Any) -> None:
    seen: list[Any] = []

    async def app() -> None:
        seen.append(asyncio.current_task())
        await driver.YIELD
        seen.append(asyncio.current_task())

    async def main() -> None:
        outer = asyncio.current_task()
        started = start(app())
        assert asyncio.current_task() is outer
        await started.handle
        assert seen == [started.handle, started.handle]

    run(main())


def test_yield_lets_the_loop_turn_once(run: Any, start: Any, driver: Any) -> None:
    turns: list[int] = []

    async def app() -> None:
        for _ in range(3):
            before = len(turns)
            await driver.YIELD
            assert len(turns) == before + 1

    async def main() -> None:
        def turn() -> None:
            turns.append(1)
            if started.handle is not None and not started.handle.done():
                asyncio.get_running_loop().call_soon(turn)

        started = types.SimpleNamespace(handle=None)
        asyncio.get_running_loop().call_soon(turn)
        started = start(app())
        await started.handle
        assert started.ends == [None]

    run(main())


def test_contexts_are_isolated(run: Any, start: Any, driver: Any) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def app(value: str) -> None:
        seen.append(variable.get())
        variable.set(value)
        await driver.YIELD
        seen.append(variable.get())

    async def main() -> None:
        fresh = contextvars.Context()
        variable.set("outer")
        drivers = [start(app("a"), fresh), start(app("b"), contextvars.Context()), start(app("c"))]
        assert variable.get() == "outer"
        await asyncio.gather(*[started.handle for started in drivers])
        assert variable.get() == "outer"
        assert fresh[variable] == "a"
        assert [started.ends for started in drivers] == [[None]] * 3

    run(main())
    assert sorted(seen) == ["a", "b", "c", "outer", "unset", "unset"]


def test_an_application_that_raises(run: Any, start: Any, driver: Any) -> None:
    class Broken(BaseException):
        pass

    async def app(error: BaseException, wait: bool) -> None:
        if wait:
            await driver.YIELD
        raise error

    async def main() -> None:
        # StopIteration can't leave a coroutine: PEP 479.
        for error in (ValueError("a"), Broken("b"), GeneratorExit("c"), StopAsyncIteration("d")):
            for wait in (False, True):
                started = start(app(error, wait))
                # The task's end is an ordinary one: nobody has to retrieve an exception.
                assert await started.handle is None
                assert started.ends == [error]
                # The traceback leads into the application.
                names = [frame.f_code.co_name for frame, _ in _walk(error.__traceback__)]
                assert "app" in names
        started = start(app(StopIteration("e"), False))
        await started.handle
        assert isinstance(started.ends[0], RuntimeError)

    run(main())


def _walk(traceback: Any) -> Iterator[Any]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def test_an_interrupt_passes_through(loop_factory: Any, start: Any, driver: Any, eager: bool) -> None:
    started: Any = None

    async def app() -> None:
        await driver.YIELD
        raise KeyboardInterrupt

    async def main() -> None:
        nonlocal started
        started = start(app())
        await started.done.wait()
        await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    assert [type(error) for error in started.ends] == [KeyboardInterrupt]


def test_an_application_that_exits_ends_alone(run: Any, start: Any, driver: Any) -> None:
    async def app() -> None:
        await driver.YIELD
        raise SystemExit(3)

    async def main() -> None:
        started = start(app())
        await started.done.wait()
        await asyncio.sleep(0)
        assert [type(error) for error in started.ends] == [SystemExit]

    run(main())


def test_cancellation(run: Any, start: Any, driver: Any) -> None:
    async def app(cleaned: list[int]) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await driver.YIELD
            cleaned.append(1)

    async def main() -> None:
        cleaned: list[int] = []
        started = start(app(cleaned))
        await asyncio.sleep(0)
        started.task.cancel("reason")
        with pytest.raises(asyncio.CancelledError, match="reason"):
            await started.handle
        assert started.handle.cancelled()
        assert (cleaned, len(started.ends)) == ([1], 1)
        assert isinstance(started.ends[0], asyncio.CancelledError)
        assert started.task is None

    run(main())


def test_cancellation_before_the_first_step(run: Any, start: Any, eager: bool) -> None:
    async def app() -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        started = start(app())
        started.handle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await started.handle
        assert [type(error) for error in started.ends] == [asyncio.CancelledError]

    run(main())


def test_cancellation_that_is_swallowed(run: Any, start: Any) -> None:
    async def app() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0)

    async def main() -> None:
        started = start(app())
        await asyncio.sleep(0)
        started.handle.cancel()
        await started.handle
        assert started.ends == [None]

    run(main())


def test_cancellation_turned_into_an_error(run: Any, start: Any) -> None:
    async def app() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ValueError("turned") from None

    async def main() -> None:
        started = start(app())
        await asyncio.sleep(0)
        started.handle.cancel()
        await started.handle
        assert [str(error) for error in started.ends] == ["turned"]

    run(main())


def test_cancellation_while_it_yields(run: Any, start: Any, driver: Any) -> None:
    async def app(awaitable: Awaitable[None]) -> None:
        await awaitable

    async def main() -> None:
        for awaitable in (driver.YIELD, driver.Yield()):
            started = start(app(awaitable))
            if started.handle.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await started.handle
            assert [type(error) for error in started.ends] == [asyncio.CancelledError]

    run(main())


def test_timeouts_and_task_groups(run: Any, start: Any) -> None:
    steps: list[Any] = []

    async def child(value: int) -> None:
        await asyncio.sleep(0)
        steps.append(value)

    async def app() -> None:
        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                group.create_task(child(1))
                group.create_task(child(2))
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(10)
        except TimeoutError:
            steps.append("timeout")
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(10))
                raise ValueError("in the group")

    async def main() -> None:
        started = start(app())
        await started.handle
        assert started.ends == [None]

    run(main())
    assert steps == [1, 2, "timeout"]


def test_anyio(run: Any, start: Any, driver: Any) -> None:
    anyio = pytest.importorskip("anyio")
    steps: list[Any] = []

    async def child(value: int) -> None:
        await anyio.sleep(0)
        steps.append(value)

    async def app() -> None:
        # The first thing an application does, before anything suspends.
        async with anyio.create_task_group() as group:
            group.start_soon(child, 1)
            group.start_soon(child, 2)
            # As an application does with `receive`.
            group.start_soon(driver.Ready, 1)
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(10)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), anyio.fail_after(0.001):
            await asyncio.sleep(10)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 10)
            await driver.YIELD
            group.cancel_scope.cancel()
        assert anyio.get_current_task().id == id(asyncio.current_task())
        assert any(info.id == id(asyncio.current_task()) for info in anyio.get_running_tasks())
        steps.append(await anyio.to_thread.run_sync(lambda: anyio.from_thread.run_sync(lambda: 3)))
        # One that is cancelled from outside while it is in a scope of its own.
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 10)
            await anyio.sleep(10)

    async def main() -> None:
        started = start(app())
        async with asyncio.timeout(5):
            while 3 not in steps:
                await asyncio.sleep(0.001)
        started.handle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await started.handle
        assert [type(error) for error in started.ends] == [asyncio.CancelledError]

    run(main())
    assert sorted(steps) == [1, 2, 3]


def test_sniffio(run: Any, start: Any) -> None:
    sniffio = pytest.importorskip("sniffio")
    seen = []

    async def app() -> None:
        seen.append(sniffio.current_async_library())

    async def main() -> None:
        await start(app()).handle

    run(main())
    assert seen == ["asyncio"]


def test_other_awaitables(run: Any, start: Any, driver: Any) -> None:
    class Iterable:
        def __await__(self) -> Iterator[Any]:
            yield from asyncio.sleep(0).__await__()
            steps.append("class")

    class Unsuspended:
        def __await__(self) -> Iterator[Any]:
            return iter(())

    @types.coroutine
    def generator() -> Iterator[None]:
        yield
        steps.append("generator")

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        awaitables: list[Any] = [Iterable(), Unsuspended(), generator(), future, driver.READY, driver.YIELD]
        for awaitable in awaitables:
            started = start(awaitable)
            await started.handle
            assert started.ends == [None]
        # What `await` refuses is an error of the application.
        for value in (None, 5, "text", iter(())):
            started = start(value)
            await started.handle
            assert [type(error) for error in started.ends] == [TypeError]

    steps: list[str] = []
    run(main())
    assert steps == ["class", "generator"]


def test_other_awaitables_can_be_cancelled(run: Any, start: Any) -> None:
    class Iterable:
        def __await__(self) -> Iterator[Any]:
            return (yield from asyncio.sleep(10).__await__())

    async def main() -> None:
        started = start(Iterable())
        await asyncio.sleep(0)
        started.handle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await started.handle
        assert [type(error) for error in started.ends] == [asyncio.CancelledError]

    run(main())


def test_a_foreign_yield_is_an_error_of_the_application(run: Any, start: Any) -> None:
    """What an application for another event loop would yield; asyncio raises that into the coroutine."""

    class Foreign:
        def __await__(self) -> Iterator[Any]:
            yield "what only trio understands"

    async def app() -> None:
        await Foreign()

    async def main() -> None:
        started = start(app())
        await started.handle
        assert [type(error) for error in started.ends] == [RuntimeError]

    run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_introspection(run: Any, start: Any, driver: Any, debug: bool) -> None:
    async def some_application(release: asyncio.Event) -> None:
        await release.wait()
        task = asyncio.current_task()
        assert task is not None
        assert "some_application" in repr(task)
        coroutine: Any = task.get_coro()
        assert coroutine.cr_running
        output = io.StringIO()
        task.print_stack(file=output)

    async def main() -> None:
        release = asyncio.Event()
        started = start(some_application(release))
        await asyncio.sleep(0)
        assert started.handle in asyncio.all_tasks()
        assert started.handle.get_coro() is started
        assert "some_application" in repr(started.handle)
        assert __file__ in repr(started.handle)
        assert started.handle.get_stack()[0].f_code.co_name == "some_application"
        output = io.StringIO()
        started.handle.print_stack(file=output)
        assert "await release.wait()" in output.getvalue()
        assert inspect.getcoroutinestate(started) == inspect.CORO_SUSPENDED
        assert started.__name__ == "some_application"
        assert started.__qualname__.endswith("some_application")
        assert started.cr_code.co_name == "some_application"
        assert started.cr_frame is not None
        assert not started.cr_running
        assert started.cr_await is not None
        assert bool(started.cr_origin) == debug
        with pytest.raises(AttributeError):
            started.cr_unknown  # noqa: B018
        release.set()
        await started.handle
        assert started.ends == [None]
        assert "some_application" in repr(started.handle) or is_eager_result(started)
        assert inspect.getcoroutinestate(started) == inspect.CORO_CLOSED

    def is_eager_result(started: Any) -> bool:
        return started.handle.get_coro() is None

    run(main(), debug)


def test_introspection_of_other_awaitables(run: Any, start: Any, driver: Any) -> None:
    async def main() -> None:
        class Iterable:
            def __await__(self) -> Iterator[Any]:
                yield from asyncio.sleep(0).__await__()

        started = start(Iterable())
        await asyncio.sleep(0)
        repr(started.handle)
        started.handle.print_stack(file=io.StringIO())
        await started.handle
        tasks = [asyncio.create_task(awaitable) for awaitable in (driver.READY, driver.Ready(1), driver.Yield())]
        for task in tasks:
            repr(task)
            task.print_stack(file=io.StringIO())
        assert await asyncio.gather(*tasks) == [None, 1, None]
        assert "Ready" in repr(tasks[0])

    run(main(), True)
    # An unused driver can be looked at too.
    assert driver.Driver().cr_frame is None


def test_what_it_is(driver: types.ModuleType) -> None:
    for kind in (driver.Driver, driver.Ready, driver.Yield):
        assert issubclass(kind, collections.abc.Coroutine)
    assert asyncio.iscoroutine(driver.READY)
    assert inspect.isawaitable(driver.READY)
    assert inspect.isawaitable(driver.YIELD)
    assert not asyncio.iscoroutine(driver.YIELD)


def test_the_coroutine_protocol_by_hand(driver: types.ModuleType) -> None:
    class Recorder(driver.Driver):  # type: ignore[name-defined, misc]
        ends: tuple[Any, ...] = ()

        def finished(self, error: BaseException | None) -> int:
            self.ends = (*self.ends, error)
            return 0

    class FakeLoop:
        """Enough of a loop for a task that is never run by it."""

        def call_soon(self, *_: Any, **__: Any) -> None:
            pass

        def get_debug(self) -> bool:
            return False

    async def app(*values: object) -> object:
        for value in values:
            got = await _Value(value)
            assert got == f"answer to {value}"
        return "ignored"

    class _Value:
        def __init__(self, value: object) -> None:
            self.value = value

        def __await__(self) -> Any:
            return (yield self.value)

    def started(coroutine: Any) -> Any:
        recorder = Recorder()
        task = recorder.start(coroutine, None, driver.task_options(FakeLoop(), False))
        # It never runs: don't report it as destroyed.
        task._log_destroy_pending = False
        assert recorder.task is task
        return recorder

    recorder = started(app(1, 2))
    assert recorder.__await__() is recorder
    assert iter(recorder) is recorder
    assert next(recorder) == 1
    assert recorder.send("answer to 1") == 2
    with pytest.raises(StopIteration) as stop:
        recorder.send("answer to 2")
    assert stop.value.value is None
    assert (recorder.ends, recorder.task) == ((None,), None)

    # The end is reported once.
    with pytest.raises(StopIteration):
        recorder.send(None)
    assert recorder.ends == (None,)

    recorder = started(app(1))
    recorder.send(None)
    with pytest.raises(StopIteration):
        recorder.throw(ValueError("thrown"))
    assert [str(error) for error in recorder.ends] == ["thrown"]

    recorder = started(app(1))
    recorder.send(None)
    with pytest.raises(asyncio.CancelledError):
        recorder.throw(asyncio.CancelledError)
    assert [type(error) for error in recorder.ends] == [asyncio.CancelledError]

    recorder = started(app(1))
    recorder.send(None)
    with pytest.raises(StopIteration):
        recorder.throw(ValueError, ValueError("value"), None)
    assert [str(error) for error in recorder.ends] == ["value"]

    recorder = started(app(1))
    recorder.send(None)
    recorder.close()
    assert (recorder.ends, recorder.task) == ((), None)


@pytest.mark.parametrize("value", [None, 0, (), (1, 2), ValueError("v"), StopIteration(5), {"type": "x"}, "text"])
def test_ready(driver: types.ModuleType, run: Any, value: object) -> None:
    async def main() -> None:
        ready = driver.Ready(value)
        assert ready.value is value
        assert await ready is value
        assert await asyncio.create_task(driver.Ready(value)) is value
        assert await asyncio.ensure_future(driver.Ready(value)) is value
        assert await asyncio.wait_for(driver.Ready(value), 10) is value
        with pytest.raises(StopIteration) as stop:
            driver.Ready(value).send(None)
        assert stop.value.value is value
        with pytest.raises(StopIteration) as stop:
            next(iter(driver.Ready(value)))
        assert stop.value.value is value
        with pytest.raises(KeyError):
            driver.Ready(value).throw(KeyError("thrown"))
        driver.Ready(value).close()

    run(main())


def test_ready_and_yield_in_tasks(driver: types.ModuleType, run: Any) -> None:
    async def main() -> None:
        assert await asyncio.gather(driver.Ready(1), driver.Yield(), driver.Ready(2)) == [1, None, 2]
        task = asyncio.create_task(driver.Ready(1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task = asyncio.create_task(driver.Yield())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TypeError):
            asyncio.create_task(driver.YIELD)  # noqa: RUF006
        iterator = driver.YIELD.__await__()
        assert next(iterator) is None
        with pytest.raises(StopIteration):
            next(iterator)
        iterator = driver.Yield()
        assert iterator.send(None) is None
        with pytest.raises(StopIteration):
            iterator.send(None)
        iterator.close()
        # Any number of coroutines at a time.
        assert await asyncio.gather(*[_await(driver.YIELD) for _ in range(5)]) == [None] * 5

    async def _await(awaitable: Awaitable[None]) -> None:
        await awaitable

    run(main())


class Ours:
    """Waits for what it is given, in a coroutine; keeps what came of it."""

    def __init__(self, waiter: Any) -> None:
        self.waiter = waiter
        self.log: list[str] = []
        self.task = asyncio.ensure_future(self.wait())

    async def wait(self) -> None:
        try:
            self.log.append(f"got {await self.waiter}")
        except asyncio.CancelledError as error:
            self.log.append(f"cancelled {error.args}")
            raise

    async def ended(self) -> list[str]:
        """What it has logged until its task was done, which it is soon."""
        await asyncio.wait([self.task], timeout=5)
        assert self.task.done()
        return self.log


@pytest.mark.parametrize("debug", [False, True])
def test_a_waiter_wakes_its_task(driver: types.ModuleType, run: Any, debug: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # In the next turn.
        ours = Ours(driver.waiter(loop))
        await asyncio.sleep(0)
        assert asyncio.isfuture(ours.waiter) and ours.waiter.get_loop() is loop and not ours.waiter.done()
        assert "wait_for=" in repr(ours.task)
        ours.waiter.wake()
        assert ours.log == [] and ours.waiter.done() and not ours.waiter.cancelled()
        ours.waiter.wake()
        assert await ours.ended() == ["got None"]
        # At once, where no task runs.
        ours = Ours(driver.Waiter(loop))
        await asyncio.sleep(0)
        seen: list[Any] = []

        def outside() -> None:
            ours.waiter.wake_now()
            seen.extend(ours.log)
            ours.waiter.wake_now()

        loop.call_soon(outside)
        assert await ours.ended() == seen == ["got None"]
        # Else as by `wake`.
        ours = Ours(driver.waiter(loop))
        await asyncio.sleep(0)
        ours.waiter.wake_now()
        assert ours.log == []
        assert await ours.ended() == ["got None"]
        # Before anybody waits.
        for name in ("wake", "wake_now"):
            one = driver.waiter(loop)
            getattr(one, name)()
            ours = Ours(one)
            assert await ours.ended() == ["got None"]

    run(main(), debug)


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_that_waits_for_a_waiter_is_cancelled(driver: types.ModuleType, run: Any, debug: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for message in ((), ("why",)):
            ours = Ours(driver.waiter(loop))
            await asyncio.sleep(0)
            ours.task.cancel(*message)
            assert ours.waiter.done() and ours.waiter.cancelled()
            # Too late.
            loop.call_soon(ours.waiter.wake_now)
            ours.waiter.wake()
            assert await ours.ended() == [f"cancelled {message}"]
            assert ours.task.cancelled()
        # Woken first, it is cancelled all the same.
        ours = Ours(driver.waiter(loop))
        await asyncio.sleep(0)
        ours.waiter.wake()
        assert not ours.waiter.cancel()
        ours.task.cancel()
        assert await ours.ended() == ["cancelled ()"]
        # Before it waits at all.
        ours = Ours(driver.waiter(loop))
        ours.task.cancel()
        await asyncio.wait([ours.task], timeout=5)
        assert ours.task.cancelled() and ours.log == []
        # In time.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await driver.waiter(loop)

    run(main(), debug)


def test_a_waiter_goes_on_in_the_context_of_its_task(driver: types.ModuleType, run: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []

        async def waits(number: int) -> None:
            variable.set(number)
            waiters.append(driver.waiter(loop))
            await waiters[-1]
            seen.append(variable.get())
            variable.set(100)

        waiters: list[Any] = []
        tasks = [asyncio.create_task(waits(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        loop.call_soon(waiters[0].wake_now)
        waiters[1].wake()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert sorted(seen) == [1, 2] and variable.get() == 0

    run(main())


def test_a_task_that_is_woken_may_wake_others(driver: types.ModuleType, run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        order: list[int] = []
        waiters = [driver.waiter(loop) for _ in range(3)]

        async def waits(number: int) -> None:
            await waiters[number]
            # One task at a time: not before this one waits again.
            for one in waiters:
                one.wake_now()
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

        tasks = [asyncio.create_task(waits(number)) for number in range(3)]
        await asyncio.sleep(0)
        loop.call_soon(waiters[0].wake_now)
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert order == [0, 1, 2, 0, 1, 2]

    run(main())


def test_what_a_woken_task_raises(driver: types.ModuleType, run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def raises() -> None:
            await one
            raise ValueError("its own")

        one = driver.waiter(loop)
        task = asyncio.create_task(raises())
        await asyncio.sleep(0)
        loop.call_soon(one.wake_now)
        await asyncio.wait([task], timeout=5)
        assert isinstance(task.exception(), ValueError)

    run(main())


def test_a_waiter_by_hand(driver: types.ModuleType) -> None:
    loop = asyncio.new_event_loop()
    try:
        called: list[Any] = []
        one = driver.waiter(loop)
        assert one.__await__() is one and iter(one) is one
        assert next(one) is one and one._asyncio_future_blocking
        one.add_done_callback(called.append)
        assert one.remove_done_callback(print) == 0 and one.remove_done_callback(called.append) == 1
        # Without a context it can only be called in a later turn.
        one.add_done_callback(called.append)
        one.wake_now()
        assert called == []
        loop.run_until_complete(asyncio.sleep(0))
        assert called == [one] and one.result() is None
        with pytest.raises(StopIteration):
            next(one)
        # It is done, and whoever asks then is told so.
        one.add_done_callback(called.append)
        loop.run_until_complete(asyncio.sleep(0))
        assert called == [one, one]
        other = driver.waiter(loop)
        assert other.cancel("why") and not other.cancel()
        with pytest.raises(asyncio.CancelledError, match="why"):
            other.result()
    finally:
        loop.close()


def test_finished_must_be_overridden(driver: types.ModuleType) -> None:
    with pytest.raises(NotImplementedError):
        driver.Driver().finished(None)
    with pytest.raises(NotImplementedError):
        driver.Driver().disconnected()
    assert driver.Driver().tick(0.0) == 0


def test_nothing_is_left_for_the_garbage_collector(run: Any, driver: Any, eager: bool) -> None:
    class Token:
        pass

    class Counter(driver.Driver):  # type: ignore[name-defined, misc]
        ends = 0

        def finished(self, error: BaseException | None) -> int:
            self.ends += 1
            return 0

    async def app(token: Token, wait: bool, fail: bool) -> None:
        if wait:
            await driver.YIELD
        if fail:
            raise ValueError("a")

    async def main() -> None:
        for wait in (False, True):
            for fail in (False, True):
                token = Token()
                alive = weakref.ref(token)
                counter = Counter()
                counter.token = token
                del token
                options = driver.task_options(asyncio.get_running_loop(), eager)
                await counter.start(app(counter.token, wait, fail), None, options)
                assert counter.ends == 1
                del counter
                # The step that woke us still holds the task.
                await asyncio.sleep(0)
                assert alive() is None

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
