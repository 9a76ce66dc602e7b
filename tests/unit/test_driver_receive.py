"""Driver.drive and Receive: an event resumes the application at once, and else it is as if its task had made the step."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import types
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

App = Callable[..., Awaitable[None]]
VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


@pytest.fixture
def mailbox(driver: types.ModuleType) -> Any:
    """A Driver that hands out what is `put` into it."""

    class Mailbox(driver.Driver):  # type: ignore[name-defined, misc]
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            super().__init__()
            self.loop = loop
            self.events: deque[dict[str, int]] = deque()
            self.waiting: list[Any] = []
            # False while it waits only to find that nothing comes.
            self.wants = True
            self.receiving: Any = None
            self.ends: list[BaseException | None] = []

        def next_event(self) -> dict[str, int] | None:
            return self.events.popleft() if self.events else None

        def await_event(self, one: Any) -> int:
            self.waiting.append(one)
            return 0

        def forget_waiter(self, one: Any) -> int:
            if one in self.waiting:
                self.waiting.remove(one)
            return 0

        def finished(self, error: BaseException | None) -> int:
            self.ends.append(error)
            self.receiving = None
            return 0

        def receive(self) -> Any:
            if self.receiving is None or not self.receiving.idle:
                self.receiving = driver.receive(self, self.loop)
            self.receiving.idle = False
            return self.receiving

        def put(self, number: int) -> None:
            self.events.append({"number": number})
            waiting, self.waiting = self.waiting, []
            for one in waiting:
                self.drive(one)

    return Mailbox


async def outside(function: Callable[..., Any], *arguments: object) -> Any:
    """Call `function` where no task runs, as a poller does."""
    loop = asyncio.get_running_loop()
    result = loop.create_future()

    def call() -> None:
        assert asyncio.current_task() is None
        try:
            value = function(*arguments)
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)
        assert asyncio.current_task() is None

    loop.call_soon(call)
    return await result


@pytest.fixture
def run(loop_factory: Any, mailbox: Any, driver: Any, eager: bool) -> Callable[..., list[Any]]:
    """Run `app(mailbox, log)` and put events into its mailbox while it is not done: what it has logged.

    `driven`: from where no task runs, so that it is driven; else from a task, so that its own task is woken.
    """

    def run(app: App, driven: bool = True, events: int = 5) -> list[Any]:
        reported: list[Any] = []
        log: list[Any] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: reported.append(context))
            box = mailbox(loop)
            task = box.start(app(box, log), contextvars.copy_context(), driver.task_options(loop, eager))
            for number in range(events):
                if task.done():
                    break
                # Until it waits for an event, or for something that is not ours.
                async with asyncio.timeout(5):
                    while not task.done() and not (box.waiting and box.wants):
                        await asyncio.sleep(0.001)
                if driven:
                    await outside(box.put, number)
                else:
                    box.put(number)
                log.append("put")
            async with asyncio.timeout(5):
                if not task.done():
                    await asyncio.wait([task])
            log.append(("cancelled" if task.cancelled() else task.exception(), *map(repr, box.ends)))
            assert box.waiting == []

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())
        gc.collect(1)
        assert reported == []
        return log

    return run


def test_an_event_resumes_the_application_at_once(run: Any) -> None:
    async def app(box: Any, log: list[Any]) -> None:
        task = asyncio.current_task()
        assert VARIABLE.get() == 0
        for number in range(5):
            event = await box.receive()
            assert event == {"number": number}
            assert asyncio.current_task() is task is box.task
            # Its context is its own, and the same one every time.
            assert VARIABLE.get() == number
            VARIABLE.set(number + 1)
            log.append(number)

    expected = [item for number in range(5) for item in (number, "put")]
    assert run(app) == [*expected, (None, "None")]
    assert VARIABLE.get() == 0


async def other_waits(box: Any, log: list[Any]) -> None:
    """What is not ours is waited for as ever."""
    loop = asyncio.get_running_loop()
    for number in range(3):
        log.append(await box.receive())
        if number == 0:
            await asyncio.sleep(0)
        elif number == 1:
            await asyncio.sleep(0.001)
        else:
            future = loop.create_future()
            loop.call_soon(future.set_result, "result")
            log.append(await future)
            log.append(await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b")))


async def several_receivers(box: Any, log: list[Any]) -> None:
    """Tasks of the application's own receive too."""
    one, other = asyncio.create_task(box.receive()), asyncio.create_task(box.receive())
    log.append(sorted(event["number"] for event in await asyncio.gather(one, other)))
    log.append(await asyncio.wait_for(box.receive(), 5))
    log.append(await box.receive())


async def timeouts(box: Any, log: list[Any]) -> None:
    """A wait is given up, and another begun."""
    for number in range(3):
        box.wants = False
        for _ in range(2):
            try:
                async with asyncio.timeout(0.001):
                    await box.receive()
            except TimeoutError:
                log.append("timeout")
        log.append((number, len(box.waiting)))
        box.wants = True
        log.append(await box.receive())
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def raising(box: Any, log: list[Any]) -> None:
    await box.receive()
    log.append(await box.receive())
    raise ValueError("its own")


async def exiting(box: Any, log: list[Any]) -> None:
    await box.receive()
    raise SystemExit(1)


async def cancelling_by_error(box: Any, log: list[Any]) -> None:
    await box.receive()
    raise asyncio.CancelledError


async def cancelling_itself_and_receiving(box: Any, log: list[Any]) -> None:
    await box.receive()
    asyncio.current_task().cancel("why")  # type: ignore[union-attr]
    try:
        await box.receive()
    except asyncio.CancelledError as error:
        log.append(error.args)
    # It does not have to end: there are no more of them.
    log.append(await box.receive())


async def cancelling_itself_and_waiting(box: Any, log: list[Any]) -> None:
    await box.receive()
    future = asyncio.get_running_loop().create_future()
    asyncio.current_task().cancel("why")  # type: ignore[union-attr]
    try:
        await future
    finally:
        log.append(future.cancelled())


async def cancelling_itself_and_yielding(box: Any, log: list[Any]) -> None:
    await box.receive()
    asyncio.current_task().cancel("why")  # type: ignore[union-attr]
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        log.append(error.args)
    log.append(await box.receive())


async def cancelling_itself_and_thinking_better_of_it(box: Any, log: list[Any]) -> None:
    log.append(await box.receive())
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    task.uncancel()
    if sys.version_info < (3, 13):
        # It is told all the same.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            log.append("cancelled")
    else:
        log.append("cancelled")
    log.append(await box.receive())


async def cancelled_from_outside(box: Any, log: list[Any]) -> None:
    log.append(await box.receive())
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)  # type: ignore[union-attr]
    await box.receive()


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (
            other_waits,
            [{"number": 0}, "put", {"number": 1}, "put", {"number": 2}, "put", "result", ["a", "b"], (None, "None")],
        ),
        (
            several_receivers,
            ["put", "put", [0, 1], {"number": 2}, "put", {"number": 3}, "put", (None, "None")],
        ),
        (
            timeouts,
            [item for number in range(3) for item in ("timeout", "timeout", (number, 0), {"number": number}, "put")]
            + [(None, "None")],
        ),
        (raising, ["put", {"number": 1}, "put", (None, "ValueError('its own')")]),
        (exiting, ["put", (None, "SystemExit(1)")]),
        (cancelling_by_error, ["put", ("cancelled", "CancelledError()")]),
        (cancelling_itself_and_receiving, ["put", ("why",), {"number": 1}, "put", (None, "None")]),
        (cancelling_itself_and_waiting, ["put", True, ("cancelled", "CancelledError('why')")]),
        (cancelling_itself_and_yielding, ["put", ("why",), {"number": 1}, "put", (None, "None")]),
        (
            cancelling_itself_and_thinking_better_of_it,
            [{"number": 0}, "put", "cancelled", {"number": 1}, "put", (None, "None")],
        ),
        (cancelled_from_outside, [{"number": 0}, "put", ("cancelled", "CancelledError()")]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("driven", [True, False], ids=["driven", "woken"])
def test_it_is_as_if_the_task_had_made_the_step(run: Any, app: App, expected: list[Any], driven: bool) -> None:
    # When "put" is logged depends on who made the step, and of no interest here.
    assert [item for item in run(app, driven) if item != "put"] == [item for item in expected if item != "put"]


def test_anyio(run: Any) -> None:
    anyio = pytest.importorskip("anyio")

    async def app(box: Any, log: list[Any]) -> None:
        for _ in range(3):
            box.wants = False
            with anyio.move_on_after(0.001) as scope:
                await box.receive()
            log.append(scope.cancelled_caught)
            box.wants = True
            log.append(await box.receive())
        async with anyio.create_task_group() as group:

            async def child() -> None:
                log.append(await box.receive())
                group.cancel_scope.cancel()

            group.start_soon(child)
            await anyio.sleep(10)

    found = [item for item in run(app) if item != "put"]
    events = [item for number in range(3) for item in (True, {"number": number})]
    assert found == [*events, {"number": 3}, (None, "None")]


def test_an_interrupt_passes_through(loop_factory: Any, mailbox: Any, driver: Any, eager: bool) -> None:
    async def app(box: Any) -> None:
        await box.receive()
        raise KeyboardInterrupt

    loop = loop_factory()
    try:
        box = mailbox(loop)

        async def begin() -> Any:
            task = box.start(app(box), contextvars.copy_context(), driver.task_options(loop, eager))
            await asyncio.sleep(0)
            return task

        task = loop.run_until_complete(begin())
        loop.call_soon(box.put, 0)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert task.done()
        assert [type(error) for error in box.ends] == [KeyboardInterrupt]
        assert asyncio.current_task(loop) is None
        with pytest.raises(KeyboardInterrupt):
            task.result()
    finally:
        loop.close()


def test_receive_by_hand(driver: types.ModuleType, mailbox: Any) -> None:
    loop = asyncio.new_event_loop()
    try:
        box = mailbox(loop)
        one, other = box.receive(), box.receive()
        assert one is not other
        assert asyncio.iscoroutine(one)
        assert not asyncio.isfuture(one)
        waits = other.send(None)
        assert asyncio.isfuture(waits)
        assert box.waiting == [waits]
        with pytest.raises(ValueError, match="thrown"):
            other.throw(ValueError("thrown"))
        assert box.waiting == []
        assert other.idle
        # What was given up is not used again: a task may still hold it.
        assert box.receive() is other
        assert other.send(None) is not waits
        other.close()
        assert box.waiting == []
        box.put(7)
        with pytest.raises(StopIteration) as ended:
            next(iter(one.__await__()))
        assert ended.value.value == {"number": 7}
        assert one.idle
    finally:
        loop.close()


def test_hooks_must_be_overridden(driver: types.ModuleType) -> None:
    loop = asyncio.new_event_loop()
    try:
        one = driver.waiter(loop)
        for call in (
            lambda: driver.Driver().next_event(),
            lambda: driver.Driver().await_event(one),
            lambda: driver.Driver().forget_waiter(one),
        ):
            with pytest.raises(NotImplementedError):
                call()
    finally:
        loop.close()


def test_nothing_is_left_for_the_garbage_collector(loop_factory: Any, mailbox: Any, driver: Any, eager: bool) -> None:
    class Token:
        pass

    async def app(box: Any, fail: bool) -> None:
        await box.receive()
        await box.receive()
        if fail:
            raise ValueError("a")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for fail in (False, True):
            box = mailbox(loop)
            box.token = Token()
            alive = weakref.ref(box.token)
            task = box.start(app(box, fail), contextvars.copy_context(), driver.task_options(loop, eager))
            await asyncio.sleep(0)
            for number in range(2):
                await outside(box.put, number)
            await task
            assert len(box.ends) == 1
            box.ends.clear()
            del box, task
            await asyncio.sleep(0)
            assert alive() is None

    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(main(), 10))
    finally:
        gc.enable()
