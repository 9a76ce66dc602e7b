"""Lifespan: the startup and shutdown events of an ASGI application (ASGI lifespan specification 2.0).

The application is called once with a scope of its own, in a task of its own. It is asked to start before the first
connection is accepted, and to shut down after the last one is gone::

    startup() ----> lifespan.startup ----> lifespan.startup.complete | .failed
    shutdown() ---> lifespan.shutdown ---> lifespan.shutdown.complete | .failed

Where several applications are mounted, each has a lifespan and a state of its own. They start one after the other and
shut down in reverse order; if one does not start, those before it shut down again.

Rule 1: with mode "auto" an application that raises on the scope does not support lifespan, and is served without.
One that raises SystemExit or KeyboardInterrupt does not want to be served.
Rule 2: both waits have a bound, and shutdown is asked for once, and only where startup was completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from logging import Logger
from typing import Any, Literal

from gateway.errors import EXIT_BOOT, AppLoadError

Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Lifespan:
    """One application's lifespan.

    `state` is the dictionary the application fills at startup; requests get shallow copies. `mode` is "auto", "on"
    (an application without lifespan is an error) or "off" (the application is not asked). The timeouts are seconds,
    0 for none. `where` is said in messages, as in " at /legacy", where there are several.
    """

    def __init__(
        self,
        app: ASGIApp,
        state: dict[str, Any],
        *,
        mode: Literal["auto", "on", "off"] = "auto",
        startup_timeout: float = 60.0,
        shutdown_timeout: float = 30.0,
        where: str = "",
        log: Logger,
    ) -> None:
        self.app = app
        self.state = state
        self.mode = mode
        self.startup_timeout = startup_timeout
        self.shutdown_timeout = shutdown_timeout
        self.where = where
        self.log = log
        self.supported = False
        """Whether the application completed its startup event."""
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._failure: str | None = None
        # What was asked of the application, and what it answered.
        self._received = 0
        self._startup_answered = asyncio.Event()
        self._shutdown_asked = asyncio.Event()
        self._shutdown_answered = asyncio.Event()

    async def startup(self) -> None:
        """Send lifespan.startup and wait for the answer.

        Raises AppLoadError when the application says it failed, does not answer in time, or, with mode "on", does
        not support lifespan.
        """
        if self.mode == "off":
            return
        self.log.info("Waiting for application startup%s.", self.where)
        self._task = asyncio.create_task(self._run(), name="gateway-lifespan")
        try:
            async with asyncio.timeout(self.startup_timeout or None):
                await self._startup_answered.wait()
        except TimeoutError:
            await self.cancel()
            raise AppLoadError(
                f"Application startup{self.where} did not complete within {self.startup_timeout:g} s. Exiting.",
                exit_code=EXIT_BOOT,
            )
        except asyncio.CancelledError:
            await self.cancel()
            raise
        if self._failure is not None:
            await self.cancel()
            reason = f": {self._failure}" if self._failure else ""
            raise AppLoadError(f"Application startup{self.where} failed{reason}", exit_code=EXIT_BOOT)
        if not self.supported:
            self._judge_unsupported()
            return
        self.log.info("Application startup%s complete.", self.where)

    def _judge_unsupported(self) -> None:
        """The application ended without an answer to lifespan.startup."""
        error = self._error
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise AppLoadError(
                f"Application startup{self.where} failed: the application raised {type(error).__name__}",
                exit_code=EXIT_BOOT,
                show_traceback=True,
            ) from error
        if self.mode == "on":
            what = "raised an exception" if error else "returned before lifespan.startup.complete"
            raise AppLoadError(
                f"Application startup{self.where} failed: the application {what} (--lifespan is on)",
                exit_code=EXIT_BOOT,
                show_traceback=error is not None,
            ) from error
        if error is not None and self._received:
            # It took the event, so it knows lifespan; the specification still wants the server to continue.
            self.log.warning(
                "The application%s raised an exception in its lifespan startup; serving without lifespan events. "
                "Use --lifespan on to make this an error.",
                self.where,
                exc_info=error,
            )
        else:
            self.log.info("ASGI 'lifespan' protocol appears unsupported%s.", self.where)

    async def shutdown(self) -> bool:
        """Send lifespan.shutdown, once, and wait for the answer. Returns False when the application failed.

        An application that does not answer in time is cancelled.
        """
        task = self._task
        if task is None or self._shutdown_asked.is_set():
            return True
        self._shutdown_asked.set()
        if not self.supported:
            return True
        if task.done():
            # It returned after its startup: there is nobody to ask.
            return self._error is None
        self.log.info("Waiting for application shutdown%s.", self.where)
        try:
            async with asyncio.timeout(self.shutdown_timeout or None):
                await self._shutdown_answered.wait()
                if self._failure is None:
                    await asyncio.wait([task])
        except TimeoutError:
            self.log.error("Application shutdown%s did not complete within %g s.", self.where, self.shutdown_timeout)
            await self.cancel()
            return False
        except asyncio.CancelledError:
            await self.cancel()
            raise
        if self._failure is not None:
            await self.cancel()
            self.log.error("Application shutdown%s failed: %s", self.where, self._failure or "no reason given")
            return False
        if self._error is not None:
            self.log.error("Application shutdown%s failed.", self.where)
            return False
        self.log.info("Application shutdown%s complete.", self.where)
        return True

    async def cancel(self) -> None:
        """End the application's task, without asking it. It gets a second to clean up."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.app(scope, self._receive, self._send)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled it: it is an exception like any other.
            self._failed(error)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            # Those two would end the loop, and with it every other request, wherever it stands.
            self._failed(error)
        finally:
            self._startup_answered.set()
            self._shutdown_answered.set()

    def _failed(self, error: BaseException) -> None:
        """The application has raised."""
        self._error = error
        if self.supported:
            self.log.error("Exception in the application's lifespan%s", self.where, exc_info=error)

    async def _receive(self) -> Message:
        self._received += 1
        if self._received == 1:
            return {"type": "lifespan.startup"}
        if self._received > 2:
            # Nothing follows lifespan.shutdown: what a loop around `receive` waits for is its end.
            if self._shutdown_answered.is_set() and self._task is not None:
                self._task.cancel()
            await asyncio.get_running_loop().create_future()
        await self._shutdown_asked.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            if self._startup_answered.is_set():
                raise RuntimeError(f"{kind} after the startup was answered")
            if kind.endswith("failed"):
                self._failure = str(message.get("message", ""))
            else:
                self.supported = True
            self._startup_answered.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if not self._shutdown_asked.is_set() or self._shutdown_answered.is_set():
                raise RuntimeError(f"{kind} before lifespan.shutdown, or a second time")
            if kind.endswith("failed"):
                self._failure = str(message.get("message", ""))
            self._shutdown_answered.set()
        else:
            raise RuntimeError(f"not a lifespan message: {kind!r}")


class Lifespans:
    """The lifespans of one server, in the order in which the applications were given."""

    def __init__(self, lifespans: Sequence[Lifespan]) -> None:
        self.lifespans = tuple(lifespans)

    async def startup(self) -> None:
        """Start one after the other. Raises as `Lifespan.startup`, after those that were started have shut down."""
        try:
            for lifespan in self.lifespans:
                await lifespan.startup()
        except BaseException:
            await self.shutdown()
            raise

    async def shutdown(self) -> bool:
        """Shut down what was started, in reverse order, each whatever became of the others. False when one failed."""
        results = [await lifespan.shutdown() for lifespan in reversed(self.lifespans)]
        return all(results)

    async def cancel(self) -> None:
        """End all of them, without asking."""
        for lifespan in reversed(self.lifespans):
            await lifespan.cancel()
