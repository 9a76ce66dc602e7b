"""Server: an application, or several, on its listeners, in one event loop; from start to drained stop.

::

    NEW ---> STARTING ---> STARTED ---> STOPPING ---> STOPPED
                 |                                       ^
                 +------------- failed ------------------+

Starting: bind, application startup, accept. The sockets are bound first, so that a busy port is noticed before the
application opens its databases, and clients wait in the kernel's queue meanwhile.

Stopping: leave is taken of the clients (`stopping.Drain`), application shutdown, threads, and what else was taken.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gateway import log
from gateway._version import __version__
from gateway.backend import Backend
from gateway.config.settings import Config
from gateway.errors import ConfigError

from .assembly import (
    AccessLog,
    addresses_of,
    choose_backend,
    load_app,
    make_poller,
    make_pool,
    make_service,
    make_tls,
    make_upgrade,
    program_loggers,
)
from .binding import open_listeners
from .hooks import HookWorker, RequestHooks, tell
from .inflight import InFlight
from .lifespan import Lifespans
from .listener import Listener
from .mount import Applications
from .protocol import Acceptor
from .share import Share
from .stopping import CLEANUP, POLL, Drain
from .watching import INTERVAL, LoopWatch
from .worker import (
    Signals,
    Watchdog,
    loop_factory,
    loop_name,
    raise_descriptor_limit,
)

if TYPE_CHECKING:
    import ssl

NEW, STARTING, STARTED, STOPPING, STOPPED = "new", "starting", "started", "stopping", "stopped"

TICK = 0.25
"""Seconds between two looks at the clock and at the connections' deadlines: how late a timeout may be."""

EXIT_TIME = 5.0
"""Seconds from the server's end to the process's; and beyond the timeouts that bound the server's."""

SHORT_EXIT_TIME = 2.0
"""The same where less is given to what is running. Python itself may need that on a busy machine."""


class Server:
    """Serves an application, or several, each under its path. Can be used once::

        server = Server(app, threads=4, bind="127.0.0.1:0")
        await server.serve()                    # until shutdown() or, with handle_signals, a signal

        async with Server(app) as server: ...   # started inside, stopped after

        with Server(app).run_in_thread() as server: ...  # the same, with a loop of its own in a thread

    `app` is an application, a target such as "module:app", `Mounts`, or one of these loaded; None takes that of
    `config`.
    `options` are those of `Config`, on top of `config`. `sockets` are listened at too, or instead of the default
    address where no other is given; they stay the caller's to close. `listeners` are those of a supervisor, in place
    of any other, and `share` which part of their connections is this server's; it says itself what there is to say at
    the start. `handle_signals`: TERM and INT stop gracefully, a second INT at once. `recycle` is called with the reason
    why this process should be replaced, and sees to it; `accepting` when connections are accepted, before the first one
    is; `served` when there have been `last_request` requests, 0 for never.
    `loggers` is what `gateway.log.configure` gives; without it, the logger "gateway.error" is used as the program has
    set it up. `backend` is one of `gateway.backend`. `hook_worker` is what hooks know this process as. `tls` stands in
    for what the options would make.

    Raises ConfigError and AppLoadError.
    """

    def __init__(
        self,
        app: Any = None,
        config: Config | None = None,
        *,
        backend: Backend | None = None,
        sockets: Sequence[socket.socket] = (),
        listeners: Sequence[Listener] = (),
        share: Share | None = None,
        handle_signals: bool = False,
        loggers: log.Loggers | None = None,
        watchdog: Watchdog | None = None,
        recycle: Callable[[str], object] | None = None,
        accepting: Callable[[], object] | None = None,
        hook_worker: HookWorker | None = None,
        last_request: int = 0,
        served: Callable[[], object] | None = None,
        tls: ssl.SSLContext | None = None,
        **options: Any,
    ) -> None:
        if config is None:
            config = Config(**options)
        elif options:
            config = config.replace(**options)
        if config.workers > 1 and not listeners:
            raise ConfigError("workers: a Server is one process; gateway.run and the command line start several")
        if config.reload and not listeners:
            raise ConfigError("reload: a Server serves what it was given; gateway.run and the command line reload")
        self.config = config
        self.sockets = tuple(sockets)
        self.supervised = bool(listeners)
        self.handle_signals = handle_signals
        self.loaded = load_app(app, config)
        self.tls = tls or make_tls(config)
        self.loggers = loggers or program_loggers(config.log)
        self.log = self.loggers.error
        self.applications = Applications(self.loaded, config, self.log)
        self.backend = backend or choose_backend(config, self.loaded, self.loggers)
        self.share = share
        self.hook_worker = hook_worker or HookWorker(config, self.log, pid=os.getpid())
        self.hook_worker.wsgi = self.loaded.app
        self.hooks = RequestHooks.of(config, self.hook_worker, self.log)
        self.service: Any = None
        self.poller: Any = None
        self.acceptor: Acceptor | None = None
        self.listeners: list[Listener] = list(listeners)
        self.pool: Any = None
        self.state = NEW
        self._owns_loggers = loggers is None
        self._watchdog = watchdog
        self._recycle = recycle
        self._accepting = accepting
        self._last_request = last_request
        self._served = served
        self._watch: LoopWatch | None = None
        self._heartbeat: Any = None
        self._inflight: InFlight | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: Drain | None = None
        self._lifespans: Lifespans | None = None
        self._access_log: AccessLog | None = None
        self._signals: Signals | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._addresses: list[tuple[str, int] | str] = []
        # Thread-safe, and for any loop to wait on: an exception, or None once started.
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._finished: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._grace: float | None = None
        self._asked = asyncio.Event()
        self._at_once = asyncio.Event()
        self._leave_queue = False
        self._keep_idle = False
        self._make_way = False
        self._stop_task: asyncio.Task[None] | None = None

    # For the program around it

    @property
    def addresses(self) -> list[tuple[str, int] | str]:
        """Where it listens: (host, port) with the real port, or a Unix socket's path. Empty before the start."""
        return list(self._addresses)

    @property
    def started(self) -> bool:
        """Whether it accepts connections."""
        return self.state == STARTED

    async def wait_started(self) -> None:
        """Wait until it accepts connections, from any loop. Raises what made the start fail."""
        await asyncio.shield(asyncio.wrap_future(self._ready))

    async def serve(self) -> None:
        """Start, and run until told to stop. Cancelling it stops at once. Raises what `start` raises."""
        try:
            await self.start()
        except Stopped:
            return
        try:
            await self._asked.wait()
        except asyncio.CancelledError:
            await self._end(0.0)
            raise
        await self._end(None)

    async def start(self) -> None:
        """Listen, start the application, accept connections.

        Raises BindError, AppLoadError (the application's startup failed) and RuntimeError (used before, or told to
        stop meanwhile).
        """
        if self.state != NEW:
            raise RuntimeError(f"this server is {self.state}; a Server runs once, make another one")
        self.state = STARTING
        self._loop = asyncio.get_running_loop()
        try:
            await self._start(self._loop)
        except BaseException as error:
            await self._clean_up()
            self.state = STOPPED
            self._ready.set_exception(error if isinstance(error, Exception) else Stopped("stopped before it was up"))
            self._finished.set_result(None)
            raise
        self.state = STARTED
        self._ready.set_result(None)

    async def shutdown(self, grace: float | None = None) -> None:
        """Stop, and wait until everything is stopped; from any loop.

        `grace` is seconds for what is running to finish (default: the option graceful_timeout).
        """
        if self.state == NEW:
            self.state = STOPPED
            self._ready.set_exception(Stopped("stopped before it was started"))
            return
        self.ask_shutdown(grace)
        await asyncio.shield(asyncio.wrap_future(self._finished))

    def ask_shutdown(self, grace: float | None = None) -> None:
        """Have it stop, from any thread; `grace` as for `shutdown`. Returns at once."""
        loop = self._loop
        if loop is None or self._finished.done():
            return
        try:
            loop.call_soon_threadsafe(self._ask, grace)
        except RuntimeError:
            # The loop was closed in between.
            pass

    def hurry(self) -> None:
        """Have a stop, now or later, not wait for what is running, from any thread. Returns at once."""
        loop = self._loop
        if loop is not None and not self._finished.done():
            with contextlib.suppress(RuntimeError):
                # Else the loop was closed in between.
                loop.call_soon_threadsafe(self._at_once.set)

    def announce_end(self) -> None:
        """Go on serving, but have every response say that its connection closes."""
        if self.service is not None:
            self.service.draining = True

    def retire(self, keep_idle: bool = True) -> None:
        """Have it stop, on its loop; other processes accept at the same sockets and go on doing so.

        They get what waits to be accepted, and clients of idle connections are not surprised: these get one more
        response, which says that the connection closes, or stay until they have been idle for too long. Not so without
        `keep_idle`: they are closed.
        """
        self._leave_queue = True
        self._keep_idle = keep_idle
        self._make_way = not keep_idle
        self._ask(None)

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    @contextlib.contextmanager
    def run_in_thread(self) -> Iterator[Server]:
        """A loop of its own, in a thread: ready inside the block, stopped after it. Raises what `start` raises."""
        if self.state != NEW:
            raise RuntimeError(f"this server is {self.state}; a Server runs once, make another one")
        failure: list[BaseException] = []

        def main() -> None:
            try:
                with asyncio.Runner(loop_factory=loop_factory(self.config.asgi.loop)) as runner:
                    runner.run(self.serve())
            except BaseException as error:
                failure.append(error)
                if not self._ready.done():
                    self._ready.set_exception(error)

        thread = threading.Thread(target=main, name="gateway-server", daemon=True)
        thread.start()
        try:
            self._ready.result()
        except BaseException:
            thread.join()
            raise
        try:
            yield self
        finally:
            self.ask_shutdown()
            thread.join()
        if failure:
            raise failure[0]

    # Starting

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        config = self.config
        raise_descriptor_limit(self.log)
        if self.handle_signals:
            more: tuple[int, ...] = (signal.SIGUSR1,) if self._owns_logs() else ()
            if not self.supervised and self._watchdog is not None and hasattr(signal, "SIGHUP"):
                # The process is ours alone. A master would obey them; they end a process that does not know them.
                more += (signal.SIGHUP, signal.SIGUSR2)
            self._signals = Signals(loop, self._signal, early=self._signal_early, more=more)
            self._signals.install()
        if not self.supervised:
            self.log.info("Starting gateway %s", __version__)
            for notice in config.notices:
                self.log.info("%s", notice)
            self.listeners = open_listeners(
                addresses_of(config, bool(self.sockets)),
                backlog=config.listen.backlog,
                reuse_port=config.listen.reuse_port,
                unix_mode=config.listen.uds_mode,
                sockets=self.sockets,
            )
        self._addresses = [listener.address for listener in self.listeners]
        applications = self.applications
        if applications.has_asgi:
            await self._start_applications()
        if applications.has_wsgi:
            self.pool = make_pool(self.backend, config, loop, self.log, self._worn, applications.has_asgi)
            self.pool.start()
        applications.start(self.backend, loop, self.pool, self.hooks)
        self._access_log = AccessLog(self.backend, config.log, self.loggers, loop)
        access_log = self._access_log.logger
        if self.hooks is not None:
            access_log = self.hooks.around_log(self.backend, access_log)
        self.service = make_service(
            self.backend, config, applications.handler, applications.table, self.log, access_log
        )
        self.hook_worker.requests = lambda: self.service.total_requests
        if self._last_request and self._served is not None:
            # Not from within a connection that is reading.
            self.service.reached = functools.partial(loop.call_soon, self._served)
            self.service.last_request = self._last_request
        if applications.has_asgi:
            self.service.upgrade = make_upgrade(self.backend, config, self.service)
        self.poller = make_poller(self.backend, config, loop, self.service, self.log)
        if self.poller is not None and self.pool is not None:
            self.poller.executor = self.pool.executor
        self.acceptor = Acceptor(
            loop,
            self.backend,
            self.service,
            self.backend.module("http1.connection").HTTP1Connection,
            tls=self.tls,
            handshake_timeout=config.tls.handshake_timeout if config.tls is not None else 0.0,
            sendfile=config.wsgi.sendfile,
            poller=self.poller,
            log=self.log,
        )
        self._inflight = InFlight(
            self.acceptor, self.pool, applications.on_loop, loop, applications.limits_time(), self.log
        )
        self.service.overdue = self._inflight.overdue
        if self.share is not None:
            self.share.connections = lambda: self.service.connections
            self.share.requests = lambda: self.service.total_requests
        self._begin_watch()
        self._tick()
        await self._accept(loop)

    def _begin_watch(self) -> None:
        """Show signs of life to the master, and have a thread look at the loop."""
        assert self._inflight is not None
        limit = self.config.processes.blocked_loop_time
        if self.share is not None:
            board, row = self.share.board, self.share.row
            make = self.backend.module("kernels.watch").Heartbeat
            self._heartbeat = make(board.memory, board.place(row), INTERVAL)
            self._heartbeat.start()
        if limit or self.share is not None:
            self._watch = LoopWatch(limit, TICK, self._inflight.blocking, self.log, self.share)
            self._watch.start()

    def _worn(self, reason: str) -> None:
        """Too much of this process is lost."""
        if self._recycle is None:
            self.log.error("%s. No supervisor replaces this process (pid:%d): restart it", reason, os.getpid())
        else:
            self._recycle(reason)

    async def _start_applications(self) -> None:
        """Lifespan startup; given up when asked to stop meanwhile."""
        self._lifespans = self.applications.lifespans()
        startup = asyncio.ensure_future(self._lifespans.startup())
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait([startup, asked], return_when=asyncio.FIRST_COMPLETED)
            if not startup.done():
                raise Stopped("stopped before it was up")
            startup.result()
        finally:
            asked.cancel()
            if not startup.done():
                startup.cancel()
                await asyncio.wait([startup])

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to accept connections, and say so."""
        acceptor = self.acceptor
        assert acceptor is not None
        for listener in self.listeners:
            if self.poller is not None:
                listener.start_polling(self.poller, acceptor.accepted_by_poller, self.log, self.share)
                continue
            try:
                listener.start(loop, acceptor.accepted, self.log, self.share)
            except NotImplementedError:
                timeout = acceptor.handshake_timeout or None
                await listener.start_server(loop, acceptor.late_protocol, self.tls, timeout)
        if self._accepting is not None:
            # Now, and not in the loop's next turn: its first request may be one that never lets it turn again.
            self._accepting()
        if not self.supervised:
            self.log.info("%s", self.describe())
            for listener in self.listeners:
                self.log.info("Listening at: %s (%d)", listener.url(acceptor.scheme), os.getpid())

    def describe(self) -> str:
        """What serves, for people: interface, build, loop, I/O, threads."""
        assert self._loop is not None
        return (
            f"{self.applications.describe()},"
            f" backend {self.backend.describe()}, loop {loop_name(self._loop)},"
            f" I/O {'epoll' if self.poller is not None else 'asyncio'}"
            + (f", threads {self.pool.size}" if self.pool is not None else "")
        )

    def _tick(self) -> None:
        """The one timer: clock, Date, deadlines."""
        now = time.monotonic()
        if self._watch is not None:
            self._watch.turned(now)
        self.service.refresh(now, time.time())
        if self.pool is not None:
            self.pool.tick()
        if self.acceptor is not None:
            self.acceptor.tick(now)
        if self._inflight is not None:
            self._inflight.tick(now)
        if self.share is not None:
            if self.state == STOPPING:
                self.share.leave()
            else:
                self.share.show()
                for listener in self.listeners:
                    listener.look()
        assert self._loop is not None
        self._timer = self._loop.call_later(TICK, self._tick)

    # Stopping

    def _signal_early(self, number: int) -> None:
        """In the signal handler: see to it that the process ends even when the loop does not turn any more."""
        if number in (signal.SIGINT, signal.SIGQUIT):
            tell(self.log, self.config.hooks, "worker_int", self.hook_worker)
        watchdog = self._watchdog
        if watchdog is None or number not in (signal.SIGINT, signal.SIGTERM):
            return
        # Once the clients have left, the lifespans get a time of their own.
        grace = self.config.graceful_timeout
        watchdog.arm(grace + CLEANUP + exit_time(grace))

    def _signal(self, number: int) -> None:
        """On the loop: a signal has arrived."""
        name = signal.Signals(number).name.removeprefix("SIG").lower()
        self.log.info("Handling signal: %s", name)
        if name == "usr1":
            self.loggers.reopen()
            return
        if name in ("hup", "usr2"):
            self.log.warning("Neither reload nor upgrade without a master (--no-supervisor): serving as before")
            return
        if name == "quit" or (name == "int" and self._asked.is_set()):
            self._at_once.set()
            if self._watchdog is not None:
                self._watchdog.arm(exit_time(self.config.graceful_timeout))
        if self._drain is not None:
            # Nobody takes over any more.
            self._drain.keep_idle = False
        self._ask(None)

    def _ask(self, grace: float | None) -> None:
        if not self._asked.is_set():
            self._grace = grace
            self._asked.set()
        if self.state == STARTED:
            self._begin_stop()

    def _begin_stop(self) -> asyncio.Task[None]:
        if self._stop_task is None:
            self.state = STOPPING
            self._stop_task = asyncio.create_task(self._stop(), name="gateway-stop")
        return self._stop_task

    async def _end(self, grace: float | None) -> None:
        """Stop, and wait for it."""
        if grace is not None and not self._asked.is_set():
            self._ask(grace)
        elif self.state == STARTED:
            self._begin_stop()
        assert self._stop_task is not None
        await asyncio.shield(self._stop_task)

    async def _stop(self) -> None:
        grace = self.config.graceful_timeout if self._grace is None else self._grace
        self.log.info("Shutting down")
        if self.share is not None:
            self.share.leave()
        try:
            await self._begin_drain().run(grace)
            self._clients_left()
            if self._lifespans is not None and not self._at_once.is_set():
                await self._unless_at_once(self._lifespans.shutdown())
        except Exception:
            self.log.exception("Internal error: stopping failed")
        finally:
            await self._clean_up()
            self.state = STOPPED
            self.log.info("Shutdown complete")
            if self._owns_loggers:
                self.loggers.close()
            self._finished.set_result(None)

    def _clients_left(self) -> None:
        """The grace period is over, or was not needed: from here on other times count."""
        if self.share is not None:
            self.share.finish()
        if self._watchdog is not None and not self._at_once.is_set():
            self._watchdog.prolong(self.applications.shutdown_time() + exit_time(self.config.graceful_timeout))

    def _begin_drain(self) -> Drain:
        assert self.acceptor is not None and self._inflight is not None
        self._drain = Drain(
            self.listeners,
            self.acceptor,
            self.service,
            self.pool,
            self.applications.on_loop,
            self._at_once,
            report=self._inflight.report,
            leave_queue=self._leave_queue,
            keep_idle=self._keep_idle,
            make_way=self._make_way,
            log=self.log,
        )
        return self._drain

    async def _unless_at_once(self, coroutine: Any) -> None:
        """Run `coroutine`, and cancel it when it has to go fast."""
        task = asyncio.ensure_future(coroutine)
        hurry = asyncio.ensure_future(self._at_once.wait())
        await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        elif not task.cancelled():
            task.result()

    async def _clean_up(self) -> None:
        """Give back whatever was taken, after a failed start as well."""
        for listener in self.listeners:
            listener.stop()
            listener.close()
        if self.acceptor is not None:
            self.acceptor.close()
        if self.poller is not None:
            self.poller.close()
        if self._lifespans is not None:
            await self._lifespans.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.stop()
        # A thread that is still busy was given its time before.
        if self.pool is not None and not await self.pool.stop(POLL if self.pool.busy else CLEANUP):
            self.log.warning("%d threads still run application code; they end with the process", self.pool.busy)
        if self.pool is not None and self.pool.lost:
            self.log.warning("%d lost threads still run application code; they end with the process", self.pool.lost)
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._access_log is not None:
            self._access_log.close()
        if self._signals is not None:
            self._signals.remove()

    def _owns_logs(self) -> bool:
        return hasattr(signal, "SIGUSR1") and (
            self.loggers.access_file is not None or self.loggers.error_handler is not None
        )


class Stopped(RuntimeError):
    """Told to stop before the start was complete."""


def exit_time(grace: float) -> float:
    """Seconds a process may take to end, where running requests get `grace` seconds: no longer, if that is possible."""
    return min(EXIT_TIME, max(SHORT_EXIT_TIME, grace))
