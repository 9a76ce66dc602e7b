"""Lifespan: every way an application can answer, or not, in each mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.errors import EXIT_BOOT, AppLoadError
from gateway.server.lifespan import Lifespan, Lifespans

from .aio import eventually, run

log = logging.getLogger("tests.lifespan")

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


def lifespan(app: Any, **options: Any) -> Lifespan:
    return Lifespan(app, options.pop("state", {}), log=log, **options)


class Recorder:
    """An application that supports lifespan and remembers what it saw."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.events: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.events.append((await receive())["type"])
        scope["state"]["pool"] = "ready"
        await send({"type": "lifespan.startup.complete"})
        self.events.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


async def refuses(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    raise ValueError("only http")


async def returns(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    pass


async def raises_in_startup(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    raise ValueError("no database")


async def hangs(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    await asyncio.get_running_loop().create_future()


def test_startup_and_shutdown_once_with_state(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        app = Recorder()
        state: dict[str, Any] = {}
        life = lifespan(app, state=state)
        await life.startup()
        assert life.supported
        assert state == {"pool": "ready"}
        assert await life.shutdown()
        assert await life.shutdown()
        assert app.events == ["lifespan.startup", "lifespan.shutdown"]
        assert app.scopes[0]["type"] == "lifespan"
        assert app.scopes[0]["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        assert app.scopes[0]["state"] is state

    run("asyncio", main)
    assert [record.getMessage() for record in caplog.records if record.name == log.name] == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


def test_off_does_not_call_the_application() -> None:
    async def main() -> None:
        app = Recorder()
        life = lifespan(app, mode="off")
        await life.startup()
        assert await life.shutdown()
        assert not app.scopes

    run("asyncio", main)


@pytest.mark.parametrize(
    ("app", "level", "text"),
    [
        (refuses, logging.INFO, "appears unsupported"),
        (returns, logging.INFO, "appears unsupported"),
        (raises_in_startup, logging.WARNING, "raised an exception in its lifespan startup"),
    ],
)
def test_auto_serves_without(app: Any, level: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        life = lifespan(app)
        await life.startup()
        assert not life.supported
        assert await life.shutdown()

    run("asyncio", main)
    assert [record.levelno for record in caplog.records if text in record.getMessage()] == [level]


@pytest.mark.parametrize(("app", "traceback"), [(refuses, True), (returns, False), (raises_in_startup, True)])
def test_on_makes_that_an_error(app: Any, traceback: bool) -> None:
    async def main() -> None:
        with pytest.raises(AppLoadError, match="Application startup failed") as caught:
            await lifespan(app, mode="on").startup()
        assert caught.value.exit_code == EXIT_BOOT
        assert caught.value.show_traceback is traceback
        assert isinstance(caught.value.__cause__, ValueError) is traceback

    run("asyncio", main)


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed_is_an_error_with_the_message(mode: Any) -> None:
    async def fails(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        with pytest.raises(AppLoadError, match=r"Application startup failed: no database") as caught:
            await lifespan(fails, mode=mode).startup()
        assert caught.value.exit_code == EXIT_BOOT

    run("asyncio", main)


def test_startup_that_takes_too_long_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            await hangs(scope, receive, send)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> None:
        with pytest.raises(AppLoadError, match=r"within 0\.05 s") as caught:
            await lifespan(app, startup_timeout=0.05).startup()
        assert caught.value.exit_code == EXIT_BOOT

    run("asyncio", main)
    assert cancelled


def test_shutdown_that_takes_too_long_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    cancelled: list[bool] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(True)

    async def main() -> None:
        life = lifespan(app, shutdown_timeout=0.05)
        await life.startup()
        assert not await life.shutdown()

    run("asyncio", main)
    assert cancelled
    assert "did not complete within 0.05 s" in caplog.text


def test_shutdown_failed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "disk full"})

    async def main() -> None:
        life = lifespan(app)
        await life.startup()
        assert not await life.shutdown()

    run("asyncio", main)
    assert "Application shutdown failed: disk full" in caplog.text


def test_an_application_that_returns_after_startup_is_fine() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async def main() -> None:
        life = lifespan(app)
        await life.startup()
        assert await life.shutdown()

    run("asyncio", main)


def test_an_application_that_asks_for_more_after_its_shutdown_holds_nobody_up() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})

    async def main() -> None:
        life = lifespan(app, shutdown_timeout=60)
        await life.startup()
        async with asyncio.timeout(20):
            assert await life.shutdown()

    run("asyncio", main)


def test_an_application_that_dies_between_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.sleep(0)
        raise ValueError("background task died")

    async def main() -> None:
        life = lifespan(app)
        await life.startup()
        await eventually(lambda: "background task died" in caplog.text)
        assert not await life.shutdown()

    run("asyncio", main)


@pytest.mark.parametrize(
    "messages",
    [
        ["lifespan.shutdown.complete"],
        ["lifespan.startup.complete", "lifespan.startup.complete"],
        ["lifespan.startup.complete", "lifespan.startup.failed"],
        ["http.response.start"],
    ],
)
def test_messages_out_of_order_raise_in_the_application(messages: list[str]) -> None:
    errors: list[RuntimeError] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            for message in messages:
                await send({"type": message})
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        life = lifespan(app)
        await life.startup()
        await life.shutdown()

    run("asyncio", main)
    assert len(errors) == 1


def test_context_of_the_lifespan_is_its_own() -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        variable.set("inside")
        await send({"type": "lifespan.startup.complete"})

    async def main() -> None:
        life = lifespan(app)
        await life.startup()
        assert variable.get() == "outside"
        await life.shutdown()

    run("asyncio", main)


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_an_application_that_exits_in_its_startup_is_not_served(mode: Any, error: BaseException) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        raise error

    async def main() -> None:
        with pytest.raises(AppLoadError, match=type(error).__name__) as caught:
            await lifespan(app, mode=mode).startup()
        assert caught.value.exit_code == EXIT_BOOT
        assert caught.value.__cause__ is error

    run("asyncio", main)


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_application_that_exits_in_its_shutdown_has_failed(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise error

    async def main() -> None:
        subject = lifespan(app)
        await subject.startup()
        assert await subject.shutdown() is False

    run("asyncio", main)
    assert "Application shutdown failed." in caplog.messages


def test_a_cancellation_that_nobody_asked_for_is_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        raise asyncio.CancelledError

    async def main() -> None:
        subject = lifespan(app)
        await subject.startup()
        assert not subject.supported

    run("asyncio", main)
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.WARNING)


# Several


class Named:
    """One of several applications; `fails` is the event it does not like."""

    def __init__(self, name: str, seen: list[str], fails: str = "") -> None:
        self.name = name
        self.seen = seen
        self.fails = fails

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        scope["state"]["name"] = self.name
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            self.seen.append(f"{event} {self.name}")
            if self.fails == event:
                await send({"type": f"lifespan.{event}.failed", "message": "no database"})
                return
            await send({"type": f"lifespan.{event}.complete"})


def several(seen: list[str], **fails: str) -> Lifespans:
    return Lifespans(
        [lifespan(Named(name, seen, fails.get(name, "")), where=f" at /{name}") for name in ("one", "two", "three")]
    )


def test_several_start_in_order_and_shut_down_in_reverse(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        seen: list[str] = []
        lives = several(seen)
        await lives.startup()
        assert [life.state for life in lives.lifespans] == [{"name": name} for name in ("one", "two", "three")]
        assert await lives.shutdown()
        assert seen == [
            *("startup one", "startup two", "startup three"),
            *("shutdown three", "shutdown two", "shutdown one"),
        ]

    asyncio.run(main())
    assert "Waiting for application startup at /two." in caplog.text
    assert "Application shutdown at /one complete." in caplog.text


def test_those_that_have_started_shut_down_when_one_does_not_start() -> None:
    async def main() -> None:
        seen: list[str] = []
        lives = several(seen, two="startup")
        with pytest.raises(AppLoadError, match="Application startup at /two failed: no database") as caught:
            await lives.startup()
        assert caught.value.exit_code == EXIT_BOOT
        assert seen == ["startup one", "startup two", "shutdown one"]
        await lives.cancel()

    asyncio.run(main())


def test_all_of_them_shut_down_whatever_becomes_of_one(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        seen: list[str] = []
        lives = several(seen, three="shutdown")
        await lives.startup()
        assert not await lives.shutdown()
        assert seen[3:] == ["shutdown three", "shutdown two", "shutdown one"]

    asyncio.run(main())
    assert "Application shutdown at /three failed: no database" in caplog.text
