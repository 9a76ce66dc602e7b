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

import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from gateway import log
from gateway._version import __version__
from gateway.backend import choose
from gateway.config.settings import Config
from gateway.errors import EXIT_BOOT, EXIT_ERROR, EXIT_OK, AppLoadError, BindError, ConfigError, GatewayError
from gateway.loader import Loaded
from gateway.server.server import EXIT_TIME
from gateway.server.share import Board, Share
from gateway.server.worker import Terminated, loop_factory, raise_descriptor_limit

from .backoff import Backoff
from .channel import Channel
from .child import BOOTING, READY, Child
from .death import MemoryEvents, describe
from .health import Health, State
from .identity import Identity
from .parent import ParentDeath
from .pidfile import PidFile
from .preload import preload
from .reload import Generation, Generations, boots_at_once
from .signals import SignalQueue, in_foreground
from .sockets import Sockets, adopted
from .systemd import VARIABLES, Notifier
from .titles import Titles
from .upgrade import VARIABLE, Handover, Upgrade
from .worker import Worker, WorkerProcess

TICK = 1.0
"""Seconds between two looks at everything, at most."""

MARGIN = 2.0
"""Seconds a worker gets beyond the time in which it ends itself."""

Reread = Callable[[], tuple[Config, dict[str, str]]]
"""Gives the configuration as it is now, and the environment that goes with it. Raises ConfigError."""


class Master:
    """The process that looks after the workers.

    `reread`, when given, reads the configuration anew for a reload. `environ` is the environment that the process was
    started with.
    """

    def __init__(self, config: Config, reread: Reread | None = None, environ: Mapping[str, str] = os.environ) -> None:
        # As a new program is to find it.
        self.environ = {name: value for name, value in environ.items() if name not in (VARIABLE, "WATCHDOG_PID")}
        # What the workers would find out one after the other.
        loop_factory(config.asgi.loop)
        self.config = config
        self.reread = reread
        self.loggers = log.configure(config.log)
        self.logged = config.log
        self.log = self.loggers.error
        self.signals = SignalQueue()
        self.selector = selectors.DefaultSelector()
        self.parent_death = ParentDeath()
        self.memory_events = MemoryEvents()
        self.backoff = Backoff()
        self.board = Board()
        self.generations = Generations()
        self.children: dict[int, Child] = {}
        self.paused = False
        """No workers, until a reload (WINCH)."""
        self.stopping = False
        self.succeeded = False
        """Another program serves; this one only ends."""
        self.stop_at: float | None = None
        """When to stop, once a stop was asked for that is to be noticed first (--drain-delay)."""
        self.reload_problem = ""
        """What the last reload failed by, if it did."""
        self.health: Health | None = None
        self.notifier = Notifier(os.environ)
        self.handover = Handover.take(os.environ)
        """From the program that this one is to replace."""
        self.upgrade: Upgrade | None = None
        """The program that is to replace this one."""
        self.pid_file = PidFile(config.processes.pid) if config.processes.pid else None
        self.identity = Identity.of(config.processes)
        self.loaded: Loaded | None = None
        """The application, with --preload."""
        self.titles = Titles(config.proc_name or config.application.name)
        self.failure: GatewayError | None = None

    def run(self) -> int:
        """Serve until a signal says stop. Returns the exit code; raises what made the first boot fail.

        In a worker it raises WorkerProcess.
        """
        self.signals.install()
        self.selector.register(self.signals, selectors.EVENT_READ, self._handle_signals)
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
        self.log.info("Starting gateway %s", __version__)
        if self.config.processes.umask is not None:
            os.umask(self.config.processes.umask)
        for notice in self.config.notices:
            self.log.info("%s", notice)
        raise_descriptor_limit(self.log)
        # What each worker will need: loaded once, it is there at once and shared by all.
        choose("http1.connection", "io.poller")
        if self.pid_file is not None and self.handover is None:
            self.pid_file.write()
        handed = self.handover.sockets if self.handover is not None else {}
        sockets = Sockets(self.config.listen, handed=handed)
        self.generations.begin(Generation(self.config, sockets))
        for path in [listener.unlink for listener in sockets.listeners] + self._log_files():
            self.identity.give(path)
        if self.config.processes.preload:
            self.loaded = preload(self.config, self.log)
        address = self.config.processes.health_bind
        if address is not None:
            passed = [adopted(number, address) for number in handed.get(f"health {address}", ())]
            self.health = Health(address, self.selector, self.state, passed)
            for listener in self.health.listeners:
                self.log.info("Health at: %s", listener.url("http"))
        self._settle(time.monotonic())

    def _clean_up(self) -> None:
        for child in self.children.values():
            child.signal(signal.SIGKILL)
        for generation in self.generations.growing:
            generation.sockets.close()
        if self.health is not None:
            self.health.close()
        if self.pid_file is not None:
            self.pid_file.remove()
        self.selector.close()
        self.signals.close()

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
        self._reap()
        now = time.monotonic()
        for child in tuple(self.children.values()):
            child.check_loop(self.board.silence(child.row))
            child.check(now)
            self._recycle(child, now)
        if self.stop_at is not None and now >= self.stop_at:
            self._stop(signal.SIGTERM)
        upgrade = self.upgrade
        if upgrade is not None and not self.succeeded and upgrade.deadline is not None and now >= upgrade.deadline:
            self.log.error("The new program (pid:%d) is not ready in time; ending it", upgrade.pid)
            os.kill(upgrade.pid, signal.SIGKILL)
            upgrade.deadline = None
        self._settle(now)
        if not self.succeeded:
            self.notifier.alive(now)
            self.notifier.status(self.state().reason)
        if self.health is not None:
            self.health.tick(now)

    def _wait_time(self) -> float:
        """Seconds until there is something to do by itself."""
        now = time.monotonic()
        times = [child.deadline for child in self.children.values() if child.deadline is not None]
        if self.backoff.until > now:
            times.append(self.backoff.until)
        if self.stop_at is not None:
            times.append(self.stop_at)
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
            elif now < self.backoff.until:
                missing = 0
            for _ in range(missing):
                self._fork(generation)
            for child in members[: max(0, len(members) - wanted)]:
                child.outgoing = True
            if len(ready) >= wanted:
                self._dismiss(generation)

    def _dismiss(self, generation: Generation) -> None:
        """Have workers leave that are replaced, or too many."""
        for child in self.children.values():
            if child.outgoing and child.generation is generation and child.state in (BOOTING, READY):
                child.retire(self._leave_time(generation.config))

    def _complete_reload(self) -> None:
        """Let the coming generation take over once it is complete."""
        coming = self.generations.coming
        if coming is None:
            return
        ready = [child for child in self.children.values() if child.generation is coming and child.state == READY]
        if len(ready) < coming.wanted:
            return
        previous = self.generations.complete()
        self.reload_problem = ""
        self.config = coming.config
        if previous is None:
            scheme = "https" if self.config.tls is not None else "http"
            for listener in coming.sockets.listeners:
                self.log.info("Listening at: %s (%d)", listener.url(scheme), os.getpid())
            self.notifier.ready(self.state().reason)
            self._take_over()
            return
        previous.sockets.close(coming.sockets)
        self.notifier.ready(self.state().reason)
        self.log.info("Reload complete: %d new workers serve, the others finish what they have", len(ready))
        self._move_logs()
        for child in self.children.values():
            if child.generation is not coming and child.state in (BOOTING, READY):
                child.retire(self._leave_time(child.generation.config))

    def _leave_time(self, config: Config) -> float:
        """Seconds after which a worker that was told to leave has ended, or never will."""
        lifespan: float = config.asgi.lifespan_shutdown_timeout
        return config.processes.graceful_timeout + lifespan + EXIT_TIME + MARGIN

    # Upgrade in place

    def _begin_upgrade(self) -> None:
        """Start the program anew, to take over."""
        if self.upgrade is not None or self.stopping or self.generations.current is None or self.generations.coming:
            self.log.warning("Not upgrading: a start, a reload, another upgrade or a stop is on its way")
            return
        if os.getpid() == 1:
            self.log.error("Not upgrading: process 1 of a container can't hand over; replace the container instead")
            return
        sockets = self.generations.current.sockets.descriptors()
        if self.health is not None:
            name = f"health {self.config.processes.health_bind}"
            sockets[name] = [listener.sock.fileno() for listener in self.health.listeners]
        try:
            limit = self.config.processes.timeout_boot
            self.upgrade = Upgrade(sockets, self.environ, limit + MARGIN if limit else 0.0)
        except OSError as error:
            self.log.error("Upgrade failed, this program goes on: %s", error.strerror)
            return
        self.selector.register(self.upgrade.channel, selectors.EVENT_READ, self._hear_upgrade)
        self.log.info("Upgrading: started the new program with pid: %d", self.upgrade.pid)

    def _hear_upgrade(self) -> None:
        """The new program is ready, or about to end."""
        upgrade = self.upgrade
        assert upgrade is not None
        if not upgrade.ready():
            self.selector.unregister(upgrade.channel)
            return
        self.log.info("Upgrade complete: process %d serves, this one finishes what it has", upgrade.pid)
        self.notifier.succeeded_by(upgrade.pid)
        self._leave_to_successor()

    def _leave_to_successor(self) -> None:
        """Another program has the sockets: end, without a word to clients or systemd."""
        self.succeeded = True
        self.stopping = True
        for generation in self.generations.growing:
            generation.sockets.leave()
            generation.sockets.close()
        if self.health is not None:
            self.health.retire()
            self.health = None
        for child in self.children.values():
            child.retire(self._leave_time(child.generation.config))

    def _upgrade_ended(self, status: int) -> None:
        upgrade, self.upgrade = self.upgrade, None
        assert upgrade is not None
        if upgrade.channel in self.selector.get_map():
            self.selector.unregister(upgrade.channel)
        upgrade.channel.close()
        if not self.succeeded:
            self.log.error("Upgrade failed, this program goes on: the new one %s", describe(status))

    def _take_over(self) -> None:
        """Tell the program before this one, if there is one, that it may go."""
        if self.handover is None:
            return
        self.handover.channel.send(ready="")
        self.handover.channel.close()
        self.handover = None
        if self.pid_file is not None:
            self.pid_file.write(force=True)

    # Workers

    def _fork(self, generation: Generation) -> None:
        row = self.board.take()
        ours, theirs = Channel.pair()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with self.signals.held():
            try:
                pid = os.fork()
            except OSError as error:
                ours.close()
                theirs.close()
                self.board.free(row)
                delay = self.backoff.failed(time.monotonic())
                self.log.error("Can't start a worker: %s; trying again in %g s", error.strerror, delay)
                return
            if pid == 0:
                ours.close()
                self._be_worker(generation, row, theirs)
        theirs.close()
        child = Child(pid, row, generation, ours, self.log)
        self.children[pid] = child
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))
        self.log.info("Booting worker with pid: %d", pid)

    def _be_worker(self, generation: Generation, row: int, channel: Channel) -> None:
        """In the new process: let go of what is the master's, and serve. Does not return."""
        code = EXIT_ERROR
        try:
            self.titles.be("worker")
            self.identity.take()
            self.parent_death.follow()
            self.signals.leave()
            self.selector.close()
            if self.health is not None:
                self.health.leave()
            if self.upgrade is not None:
                self.upgrade.channel.close()
            if self.handover is not None:
                self.handover.channel.close()
            for child in self.children.values():
                child.channel.close()
            listeners = generation.sockets.leave()
            for other in self.generations.growing:
                other.sockets.leave()
                other.sockets.close(generation.sockets)
            if generation.environ is not None:
                os.environ.clear()
                os.environ.update(generation.environ)
            for name in (*VARIABLES, VARIABLE):
                os.environ.pop(name, None)
            loggers = self.loggers if generation.config.log == self.logged else None
            code = Worker(generation.config, listeners, Share(self.board, row), channel, loggers, self.loaded).run()
        except Terminated:
            code = EXIT_OK
        except SystemExit as end:
            # The application's own, from the loop's thread.
            code = end.code if isinstance(end.code, int) else EXIT_OK if end.code is None else EXIT_ERROR
        except BaseException:
            traceback.print_exc()
        raise WorkerProcess(code)

    def _recycle(self, child: Child, now: float) -> None:
        """Have a worker replaced that has served for long enough."""
        if child.lifetime is None or child.state != READY or child.outgoing:
            return
        if self.board.left(child.row):
            self.log.info("Replacing worker (pid:%d): it is stopping by itself", child.pid)
            child.outgoing = True
            return
        verdict = child.lifetime.judge(child.pid, self.board.requests(child.row), now)
        if verdict is None:
            return
        if verdict.action == "kill":
            self.log.error("Killing worker (pid:%d): %s", child.pid, verdict.reason)
            child.killed = True
            child.signal(signal.SIGKILL)
            return
        self.log.info("Replacing worker (pid:%d): %s", child.pid, verdict.reason)
        child.outgoing = True

    def _hear(self, child: Child) -> None:
        """A worker says something."""
        messages = child.channel.receive()
        if messages is None:
            # It is ending; what follows is SIGCHLD.
            self.selector.unregister(child.channel)
            return
        for message in messages:
            match message:
                case {"ready": str(text)}:
                    self._booted(child, text)
                case {"failed": dict(failure)}:
                    child.failure = failure

    def _booted(self, child: Child, description: str) -> None:
        if child.state != BOOTING:
            return
        first = not any(other.state == READY for other in self.children.values())
        child.booted()
        self.backoff.succeeded()
        if first and self.generations.current is None:
            self.log.info("%s", description)
        self.log.debug("Worker (pid:%d) ready after %.3f s", child.pid, time.monotonic() - child.since)

    def _reap(self) -> None:
        """Take leave of the processes that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.upgrade is not None and pid == self.upgrade.pid:
                self._upgrade_ended(status)
                continue
            child = self.children.pop(pid, None)
            # Else it is one that has lost its parent, and we are process 1.
            if child is not None:
                self.board.free(child.row)
                self._hear_last(child)
                self._ended(child, status)

    def _hear_last(self, child: Child) -> None:
        channel = child.channel
        if channel in self.selector.get_map():
            self._hear(child)
        if channel in self.selector.get_map():
            self.selector.unregister(channel)
        channel.close()

    def _ended(self, child: Child, status: int) -> None:
        """A worker has ended: as it was told to, or not."""
        what = describe(status, self.memory_events.killed())
        if child.state == READY:
            if not child.killed:
                self.log.error("Worker (pid:%d) %s; replacing it", child.pid, what)
        elif child.state == BOOTING:
            self._boot_failed(child, what)
        elif status not in (0, signal.SIGTERM, signal.SIGQUIT) and not child.killed:
            # At its very end an interpreter has no handlers any more.
            self.log.warning("Worker (pid:%d) %s while stopping", child.pid, what)
        elif child.killed:
            self.log.error("Worker (pid:%d) killed: it did not stop in time", child.pid)

    def _boot_failed(self, child: Child, what: str) -> None:
        failure = child.failure or {"code": EXIT_BOOT, "message": f"a worker {what} before it was ready"}
        message, trace = str(failure["message"]), str(failure.get("traceback", ""))
        if self.stopping:
            return
        if child.generation is not self.generations.coming:
            delay = self.backoff.failed(time.monotonic())
            self.log.error("Worker (pid:%d) can't start: %s; trying again in %g s", child.pid, message, delay)
            self._show(trace)
            return
        if self.generations.current is not None:
            self._abandon()
            self._reload_failed(message, trace)
            return
        self._show(trace)
        code = int(failure["code"])
        self.failure = AppLoadError(message, exit_code=code)
        if self.config.log.error_logfile != "-":
            # Who starts us reads stderr; who looks for the reason later reads the file.
            self.log.critical("%s", message)
        self._stop(signal.SIGTERM)

    def _reload_failed(self, reason: object, trace: str) -> None:
        self.log.error("Reload failed, the workers there are go on serving: %s", reason)
        self._show(trace)
        self.reload_problem = str(reason)
        # systemd has to hear of the end of every reload.
        self.notifier.ready(self.state().reason)

    def _show(self, trace: str) -> None:
        """Write the application's traceback where the error log goes."""
        if not trace:
            return
        if self.config.log.error_logfile != "-" or self.loggers.error_handler is None:
            self.log.error("Traceback of the application:\n%s", trace.rstrip("\n"))
        else:
            sys.stderr.write(trace)
            sys.stderr.flush()

    # Signals

    def _handle_signals(self) -> None:
        for name in self.signals.take():
            if name != "chld":
                self.log.info("Handling signal: %s", name)
            getattr(self, f"_on_{name}")()

    def _on_chld(self) -> None:
        """Whoever has ended is reaped in every turn."""

    def _on_term(self) -> None:
        self._announce_stop()

    def _on_int(self) -> None:
        if self.stopping or self.stop_at is not None:
            self._stop(signal.SIGQUIT)
        else:
            self._announce_stop()

    def _on_quit(self) -> None:
        self._stop(signal.SIGQUIT)

    def _on_hup(self) -> None:
        if self.loaded is not None:
            # Only a new process can load it anew.
            self._begin_upgrade()
        else:
            self._reload()

    def _on_ttin(self) -> None:
        self._scale(1)

    def _on_ttou(self) -> None:
        self._scale(-1)

    def _on_usr1(self) -> None:
        self.loggers.reopen()
        for path in self._log_files():
            self.identity.give(path)
        for child in self.children.values():
            child.signal(signal.SIGUSR1)

    def _on_usr2(self) -> None:
        self._begin_upgrade()

    def _on_winch(self) -> None:
        if in_foreground():
            self.log.debug("A window has changed its size; not taken for the signal to stop the workers")
            return
        self.paused = True

    # What they ask for

    def _announce_stop(self) -> None:
        """Stop gracefully, after the time others get to notice."""
        if self.stopping or self.stop_at is not None:
            return
        delay = self.config.processes.drain_delay
        self.stop_at = time.monotonic() + delay
        if delay:
            self.log.info("Not ready any more; stopping in %g s (--drain-delay)", delay)
            for child in self.children.values():
                child.channel.send(leave=True)

    def _stop(self, number: int) -> None:
        """Stop all workers by the signal `number`, then end."""
        if self.stopping and number != signal.SIGQUIT:
            return
        if not self.stopping:
            self.log.info("Shutting down: Master")
            if self.upgrade is not None:
                os.kill(self.upgrade.pid, signal.SIGTERM)
            self.notifier.stopping()
            # Clients are refused from the moment the last worker has emptied the queue.
            for generation in self.generations.growing:
                generation.sockets.close()
        self.stopping = True
        self.stop_at = None
        for child in self.children.values():
            seconds = self._leave_time(child.generation.config)
            if number == signal.SIGQUIT or child.state == BOOTING:
                seconds = EXIT_TIME + MARGIN
            child.stop(number, seconds)

    def _scale(self, change: int) -> None:
        """More workers, or fewer, but not none."""
        for generation in self.generations.growing:
            generation.wanted = max(1, generation.wanted + change)
            self.log.info("Workers wanted: %d", generation.wanted)

    def _reload(self) -> None:
        """Begin a new generation; one that was on its way may have seen what has changed since, or not."""
        if self.stopping or self.stop_at is not None:
            return
        if self.upgrade is not None:
            self.log.warning("Not reloading: an upgrade is on its way")
            return
        self.notifier.reloading()
        environ: dict[str, str] | None = None
        config = self.config
        current = self.generations.current or self.generations.coming
        try:
            if self.reread is not None:
                config, environ = self.reread()
                for warning in config.warnings:
                    self.log.warning("%s", warning)
            sockets = Sockets(config.listen, current.sockets if current is not None else None)
        except (ConfigError, BindError) as error:
            self._reload_failed(error, "")
            return
        if self.generations.coming is not None:
            self._abandon(sockets)
        self.paused = False
        self.generations.begin(Generation(config, sockets, environ))
        self.log.info("Reloading: starting new workers; those there are go on until the new ones are ready")

    def _abandon(self, successor: Sockets | None = None) -> None:
        """Give up the coming generation; `successor` has the sockets that stay."""
        abandoned = self.generations.abandon()
        if abandoned is None:
            return
        current = self.generations.current
        keep = successor or (current.sockets if current is not None else None)
        abandoned.sockets.close(keep)
        for child in self.children.values():
            if child.generation is abandoned:
                child.retire(self._leave_time(abandoned.config) if child.state == READY else EXIT_TIME + MARGIN)

    def _log_files(self) -> list[str | None]:
        return [self.logged.error_logfile, self.logged.access_logfile]

    def _move_logs(self) -> None:
        """After a reload: logs where the configuration now says."""
        if self.config.log == self.logged:
            return
        access = self.loggers.access_file
        try:
            self.loggers = log.configure(self.config.log)
        except ConfigError as error:
            self.log.error("%s; the master's log stays where it is", error)
            return
        self.logged = self.config.log
        if access is not None:
            access.close()


def run(config: Config, reread: Reread | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve with a master and its workers until a signal says stop. Returns the exit code.

    Raises ConfigError, BindError and AppLoadError; and SystemExit in each worker, where it ends.
    """
    if not hasattr(os, "fork"):
        raise ConfigError("workers: this platform can't fork, so there is one process; say --workers 1")
    master = Master(config, reread, environ)
    try:
        return master.run()
    except WorkerProcess as end:
        raise SystemExit(end.code) from None
    finally:
        master.loggers.close()
