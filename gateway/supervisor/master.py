"""Master: binds, forks workers, and keeps as many of them serving as were asked for.

Theory of operation. One thread, one selector. Whatever happens (a signal, a message of a worker, a worker's death, a
deadline) only changes what should be there: how many workers, of which generation. At the end of every turn `_settle`
makes what is there what should be there: it forks what is missing and has others leave. So there is no order in which
events could come that some handler has not thought of.

Rule 1: the application is never loaded here, unless asked for (--preload); it can't take the master down.
Rule 2: nobody leaves before whoever takes over is ready.
Rule 3: only a failure at the first boot stops the server. Later ones are tried again, with pauses in between.
Rule 4: every wait for a worker has an end: it is asked, then made to dump its stacks, then killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway._version import __version__
from gateway.backend import choose
from gateway.config.addresses import unix_address
from gateway.config.settings import Config
from gateway.errors import EXIT_OK, AppLoadError, BindError, ConfigError, GatewayError
from gateway.loader import Loaded
from gateway.server.hooks import HookSettings, tell
from gateway.server.share import Board
from gateway.server.worker import Terminated, loop_factory, raise_descriptor_limit
from gateway.tracebacks import describe_cause

from . import watching
from .backoff import Backoff
from .child import BOOTING, READY, Child
from .control import Control
from .crew import Crew
from .daemon import Detached
from .development import Development
from .following import follow, warnings
from .health import Health, State
from .hooks import Arbiter, call
from .identity import Identity
from .logs import Logs
from .orders import Orders
from .parent import ParentDeath
from .pidfile import PidFile
from .preload import preload
from .reload import Generation, Generations, boots_at_once
from .signals import SignalQueue, leave_signal_stack
from .sockets import Sockets, adopted
from .systemd import Notifier
from .titles import Titles, name_of
from .upgrade import VARIABLE, Succession
from .worker import WorkerProcess

TICK = 1.0
"""Seconds between two looks at everything, at most."""

BOOTING_TIME = 1.0
"""Seconds for which those that serve go on at a stop, until those that were booting have gone."""

Reread = Callable[[], tuple[Config, dict[str, str]]]
"""Gives the configuration as it is now, and the environment that goes with it. Raises ConfigError."""


class Master:
    """The process that looks after the workers.

    `reread`, when given, reads the configuration anew for a reload. `environ` and `folder` are the environment and the
    working directory that the program was started with; `detached` is told when it serves, in the background.
    """

    def __init__(
        self,
        config: Config,
        reread: Reread | None = None,
        environ: Mapping[str, str] = os.environ,
        folder: str | None = None,
        detached: Detached | None = None,
    ) -> None:
        # As a new program is to find it.
        self.environ = {name: value for name, value in environ.items() if name not in (VARIABLE, "WATCHDOG_PID")}
        # What the workers would find out one after the other.
        loop_factory(config.asgi.loop)
        self.config = self.started_with = config
        self.reread = reread
        self.folder = folder
        self.detached = detached
        self.identity = Identity.of(config.processes)
        self.logs = Logs(config.log, self.identity)
        self.log = self.logs.loggers.error
        self.signals = SignalQueue()
        self.orders = Orders(self)
        self.selector = selectors.DefaultSelector()
        self.parent_death = ParentDeath()
        self.backoff = Backoff()
        self.board = Board()
        self.generations = Generations()
        self.children: dict[int, Child] = {}
        self.crew = Crew(self)
        self.paused = False
        """No workers, until a reload (WINCH)."""
        self.stopping = False
        self.stop_at: float | None = None
        """When to stop, once a stop was asked for that is to be noticed first (--drain-delay)."""
        self.stop_by: int = signal.SIGTERM
        """The signal that stops workers."""
        self.booting_until = 0.0
        """Until when a stop waits for workers that were booting."""
        self.since = time.monotonic()
        self.restarts = 0
        """Workers that ended although they should not."""
        self.reloads = 0
        """Those that were completed."""
        self.reload_problem = self.reload_trace = ""
        """What the last reload failed by, if it did, and the traceback."""
        self.health: Health | None = None
        self.control: Control | None = None
        self.notifier = Notifier(os.environ)
        self.succession = Succession(self)
        # With NotifyAccess=all, the end of a new program that fails would be taken for the service's.
        self.notifier.silent = self.succession.handover is not None
        self.development = Development(self) if config.development.reload else None
        self.pid_file = PidFile(config.processes.pid) if config.processes.pid else None
        self.loaded: Loaded | None = None
        """The application, with --preload."""
        self.titles = Titles(name_of(config))
        self.arbiter = Arbiter(self)
        self.failure: GatewayError | None = None

    def run(self) -> int:
        """Serve until a signal says stop. Returns the exit code; raises what made the first boot fail.

        In a worker it raises WorkerProcess.
        """
        self.signals.install()
        self.selector.register(self.signals, selectors.EVENT_READ, self.orders.take)
        try:
            self._start()
            while self.children or not self.stopping:
                self._turn()
        except WorkerProcess:
            raise
        except Terminated:
            self.log.info("Stopped while the application was being loaded")
        except BaseException:
            self._clean_up()
            raise
        self._clean_up()
        if self.failure is not None:
            raise self.failure
        self.log.info("Shutdown complete: Master")
        return EXIT_OK

    # Starting and ending

    def _start(self) -> None:
        self.titles.be("master")
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            # To stderr, if there is one: it stays the same when logs move.
            faulthandler.enable()
            leave_signal_stack()
        self.log.info("Starting gateway %s", __version__)
        if self.config.processes.umask is not None:
            os.umask(self.config.processes.umask)
        for notice in self.config.notices:
            self.log.info("%s", notice)
        raise_descriptor_limit(self.log)
        # What each worker will need: loaded once, it is there at once and shared by all.
        backend = choose("http1.connection", "io.poller", "kernels.watch")
        if watching_notice := watching.notice(backend):
            self.log.info("%s", watching_notice)
        if self.development is not None:
            self.development.start()
        handover = self.succession.handover
        if self.pid_file is not None and handover is None:
            self.pid_file.write()
        call(self.config.hooks, "on_starting", self.arbiter)
        handed = handover.sockets if handover is not None else {}
        sockets = Sockets(self.config.listen, handed=handed)
        self.generations.begin(Generation(self.config, sockets))
        for listener in sockets.listeners:
            self.identity.give(listener.unlink)
        self.succession.borrow(sockets.adopted)
        self.logs.give()
        call(self.config.hooks, "when_ready", self.arbiter)
        self._tell_number()
        if self.config.processes.preload:
            self.loaded = preload(self.config, self.log)
        address = self.config.processes.health_bind
        if address is not None:
            passed = [adopted(number, address) for number in handed.get(f"health {address}", ())]
            self.succession.borrow(passed)
            self.health = Health(address, self.selector, self.state, passed)
            self.health.announce(self.log)
        path = self.config.processes.control_socket
        if path is not None:
            address = unix_address(path)
            passed = [adopted(number, address) for number in handed.get(f"control {path}", ())]
            self.control = Control(address, self, passed)
            if handover is None:
                self.control.start()
        self._settle(time.monotonic())

    def _clean_up(self) -> None:
        for child in self.children.values():
            child.signal(signal.SIGKILL)
        for generation in self.generations.growing:
            generation.sockets.close()
        for part in self.parts:
            part.close()
        if self.pid_file is not None:
            self.pid_file.remove()
        tell(self.log, self.config.hooks, "on_exit", self.arbiter)
        self.selector.close()
        self.signals.close()

    @property
    def parts(self) -> list[Health | Control | Development]:
        """What listens or watches in it, as far as it was asked for. A worker leaves these, the master closes them."""
        return [part for part in (self.health, self.control, self.development) if part is not None]

    def state(self) -> State:
        """How the server is, for whoever asks from outside."""
        ready = sum(child.state == READY for child in self.children.values())
        if self.stopping or self.stop_at is not None:
            return State(False, "stopping")
        if self.generations.current is None:
            return State(False, "starting: not all workers are ready yet")
        if self.paused:
            return State(False, "the workers were stopped (WINCH); HUP starts them again")
        if not ready:
            return State(False, "no worker is ready")
        more = ", reload in progress" if self.generations.coming is not None else ""
        if self.reload_problem:
            more += f"; the last reload failed: {self.reload_problem}"
        return State(True, f"{ready} workers ready{more}")

    # The loop

    def _turn(self) -> None:
        for key, _ in self.selector.select(self._wait_time()):
            key.data()
        self.crew.reap()
        now = time.monotonic()
        for child in tuple(self.children.values()):
            child.check_life(self.board.silence(child.row), self.board.finished(child.row), now)
            child.check(now)
            self.crew.recycle(child, now)
        if self.stop_at is not None and now >= self.stop_at:
            self.stop(signal.SIGTERM)
        if self.stopping and not self.succession.complete:
            self._stop_serving(now)
        self.succession.check(now)
        self._settle(now)
        if not self.succession.complete:
            self.notifier.alive(now)
            self.notifier.status(self.state().reason)
        if self.health is not None:
            self.health.tick(now)
        if self.control is not None:
            self.control.tick(now)

    def _wait_time(self) -> float:
        """Seconds until there is something to do by itself."""
        now = time.monotonic()
        times = [child.deadline for child in self.children.values() if child.deadline is not None]
        times += [child.late_from for child in self.children.values() if child.late_from and child.late_from > now]
        if self.backoff.until > now:
            times.append(self.backoff.until)
        if self.stop_at is not None:
            times.append(self.stop_at)
        if self.stopping and self.booting_until > now:
            times.append(self.booting_until)
        if self.development is not None and (moment := self.development.next_look(now)) is not None:
            times.append(moment)
        if self.control is not None and (deadline := self.control.commands.deadline()) is not None:
            times.append(deadline)
        if self.notifier.watchdog_interval:
            times.append(now + self.notifier.watchdog_interval / 2)
        return max(0.0, min([*times, now + TICK]) - now)

    def _settle(self, now: float) -> None:
        """Make what is there what should be there."""
        if self.stopping:
            return
        self._complete_reload()
        for generation in self.generations.growing:
            wanted = 0 if self.paused else generation.wanted
            members = [child for child in self.children.values() if child.generation is generation and child.serving]
            ready = [child for child in members if child.state == READY]
            missing = wanted - len(members)
            if generation is self.generations.coming:
                allowed = boots_at_once(wanted, self.generations, len(ready))
                missing = min(missing, allowed - (len(members) - len(ready)))
                if self.development is not None and self.development.holds(now):
                    missing = 0
            elif now < self.backoff.until:
                missing = 0
            for _ in range(missing):
                if not self.crew.fork(generation):
                    break
            for child in members[: max(0, len(members) - wanted)]:
                child.outgoing = True
            if len(ready) >= wanted:
                self._dismiss(generation)

    def _dismiss(self, generation: Generation) -> None:
        """Have workers leave that are replaced, or too many."""
        for child in self.children.values():
            if child.outgoing and child.generation is generation and child.state in (BOOTING, READY):
                child.retire()

    def _complete_reload(self) -> None:
        """Let the coming generation take over once it is complete."""
        coming = self.generations.coming
        if coming is None:
            return
        ready = [child for child in self.children.values() if child.generation is coming and child.state == READY]
        if len(ready) < coming.wanted:
            return
        previous = self.generations.complete()
        if coming.failure is None:
            self.reload_problem = self.reload_trace = ""
            self.config = coming.config
        if previous is None:
            scheme = "https" if self.config.tls is not None else "http"
            for listener in coming.sockets.listeners:
                self.log.info("Listening at: %s (%d)", listener.url(scheme), os.getpid())
            self.succession.take_over()
            self.notifier.ready(self.state().reason)
            self._go_silent()
            return
        self.reloads += 1
        previous.sockets.close(coming.sockets)
        follow(self, self.config)
        self.notifier.ready(self.state().reason)
        if coming.failure is None:
            self.log.info("Reload complete: %d new workers serve, the others finish what they have", len(ready))
        self.logs.move(self.config.log)
        for child in self.children.values():
            if child.generation is not coming and child.state in (BOOTING, READY):
                child.retire()

    def _go_silent(self) -> None:
        """In the background, the process that was started has nothing to wait for any more (--daemon)."""
        if self.detached is None:
            return
        if self.logs.settings.error_logfile == "-" and not self.detached.keeps_output:
            self.log.warning("In the background (pid:%d), where nothing is logged without --error-logfile", os.getpid())
        else:
            self.log.info("In the background (pid:%d)", os.getpid())
        self.detached.ready()

    def leave_to_successor(self) -> None:
        """Another program has the sockets: end, without a word to clients or systemd."""
        self.stopping = True
        for generation in self.generations.growing:
            generation.sockets.leave()
            generation.sockets.close()
        if self.health is not None:
            self.health.retire()
            self.health = None
        if self.control is not None:
            self.control.retire()
        for child in self.children.values():
            child.retire()

    # What has failed

    def boot_failed(self, generation: Generation, who: str, failure: dict[str, Any]) -> None:
        """A worker of `generation` can't start; `failure` has a code, a message and perhaps a traceback."""
        message, trace = str(failure["message"]), str(failure.get("traceback", ""))
        if self.stopping:
            return
        if generation is not self.generations.coming:
            delay = self.backoff.failed(time.monotonic())
            self.log.error("%s can't start: %s; trying again in %g s", who, message, delay)
            self.logs.show(trace)
            return
        if self.development is not None and generation.failure is None:
            self.development.failed(message, trace)
            return
        if self.generations.current is not None and generation.failure is None:
            self._abandon()
            self._reload_failed(message, trace)
            return
        self.logs.show(trace)
        code = int(failure["code"])
        self.failure = AppLoadError(message, exit_code=code)
        if self.logs.settings.error_logfile != "-":
            # Who starts us reads stderr; who looks for the reason later reads the file.
            self.log.critical("%s", message)
        self.stop(signal.SIGTERM)

    def _reload_failed(self, reason: object, trace: str) -> None:
        if self.development is not None:
            self.development.failed(str(reason), trace)
            return
        self.log.error("Reload failed, the workers there are go on serving: %s", reason)
        self.logs.show(trace)
        self.reload_problem, self.reload_trace = str(reason), trace
        # systemd has to hear of the end of every reload.
        self.notifier.ready(self.state().reason)

    # What operators ask for

    def announce_stop(self) -> None:
        """Stop gracefully, after the time others get to notice."""
        if self.stopping or self.stop_at is not None:
            return
        delay = self.config.processes.drain_delay
        self.stop_at = time.monotonic() + delay
        if delay:
            self.log.info("Not ready any more; stopping in %g s (--drain-delay)", delay)
            for child in self.children.values():
                child.channel.send(leave=True)

    def stop(self, number: int) -> None:
        """Stop all workers by the signal `number`, then end."""
        if self.stopping and number != signal.SIGQUIT:
            return
        if not self.stopping:
            self.log.info("Shutting down: Master")
            self.succession.stop()
            self.notifier.stopping()
            # Clients are refused from the moment the last worker has emptied the queue.
            for generation in self.generations.growing:
                generation.sockets.close()
        self.stopping = True
        self.stop_at = None
        self.stop_by = number
        self.booting_until = time.monotonic() + BOOTING_TIME
        for child in self.children.values():
            if number == signal.SIGQUIT or child.state != READY:
                child.stop(number, at_once=number == signal.SIGQUIT or child.state == BOOTING)
        self._stop_serving(time.monotonic())

    def _stop_serving(self, now: float) -> None:
        """Stop those that serve, once those that don't have gone.

        Who boots has the sockets open: what arrived there after the last that accepts has left would be reset.
        """
        if now < self.booting_until and any(child.lifetime is None for child in self.children.values()):
            return
        for child in self.children.values():
            if child.state == READY:
                child.stop(self.stop_by)

    def scale(self, change: int) -> None:
        """More workers, or fewer, but not none."""
        if self.development is not None:
            self.log.warning("One worker, no more and no less, with --reload")
            return
        for generation in self.generations.growing:
            generation.wanted = max(1, generation.wanted + change)
            self.log.info("Workers wanted: %d", generation.wanted)
        self._tell_number()

    def _tell_number(self) -> None:
        """How many workers there should be has changed."""
        generation = self.generations.growing[-1]
        before, self.arbiter.num_workers = self.arbiter.num_workers, generation.wanted
        tell(self.log, generation.config.hooks, "nworkers_changed", self.arbiter, generation.wanted, before)

    def reload(self) -> None:
        """Begin a new generation; one that was on its way may have seen what has changed since, or not."""
        if self.stopping or self.stop_at is not None:
            return
        if self.succession.upgrade is not None:
            self.log.warning("Not reloading: an upgrade is on its way")
            return
        self.notifier.reloading()
        environ: dict[str, str] | None = None
        config = self.config
        others = [generation.sockets for generation in self.generations.growing]
        try:
            if self.reread is not None:
                config, environ = self.reread()
                for warning in (*config.warnings, *warnings(self.started_with, config)):
                    self.log.warning("%s", warning)
            sockets = Sockets(config.listen, others)
        except (ConfigError, BindError) as error:
            self._reload_failed(error, "")
            return
        cfg, self.arbiter.cfg = self.arbiter.cfg, HookSettings(config)
        try:
            call(config.hooks, "on_reload", self.arbiter)
        except AppLoadError as error:
            self.arbiter.cfg = cfg
            sockets.close(*others)
            self._reload_failed(error, describe_cause(error.__cause__ or error))
            return
        self.replace_coming(Generation(config, sockets, environ))
        if self.development is not None:
            self.development.follow(config.development)
        else:
            self.log.info("Reloading: starting new workers; those there are go on until the new ones are ready")

    def replace_coming(self, generation: Generation) -> None:
        """Have `generation` take over once it is ready, and nothing come of one that was on its way."""
        if self.generations.coming is not None:
            self._abandon(generation.sockets)
        self.paused = False
        self.generations.begin(generation)
        self._tell_number()
        if self.development is not None:
            self.development.make_way()

    def _abandon(self, successor: Sockets | None = None) -> None:
        """Give up the coming generation; sockets that `successor` has stay, too."""
        abandoned = self.generations.abandon()
        if abandoned is None:
            return
        current = self.generations.current
        stay = [] if current is None else [current.sockets]
        abandoned.sockets.close(*stay, *([] if successor is None else [successor]))
        for child in self.children.values():
            if child.generation is abandoned:
                child.retire(at_once=child.state != READY)


def run(
    config: Config,
    reread: Reread | None = None,
    environ: Mapping[str, str] = os.environ,
    folder: str | None = None,
    detached: Detached | None = None,
) -> int:
    """Serve with a master and its workers until a signal says stop. Returns the exit code.

    Raises ConfigError, BindError and AppLoadError; and SystemExit in each worker, where it ends.
    """
    if not hasattr(os, "fork"):
        raise ConfigError("workers: this platform can't fork, so there is one process; say --workers 1")
    master = Master(config, reread, environ, folder, detached)
    try:
        return master.run()
    except WorkerProcess as end:
        raise SystemExit(end.code) from None
    finally:
        master.logs.loggers.close()
