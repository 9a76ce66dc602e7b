"""Crew: the workers there are, from the fork to their end."""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from gateway.errors import EXIT_BOOT, AppLoadError
from gateway.server.hooks import HookWorker, tell
from gateway.tracebacks import describe_cause

from .birth import become_worker
from .channel import Channel
from .child import BOOTING, READY, Child
from .death import MemoryEvents, describe
from .hooks import call
from .logs import flush_streams
from .reload import Generation

if TYPE_CHECKING:
    from .master import Master


class Crew:
    """Starts workers, listens to them, and buries them. How many there should be is the master's to say."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.log = master.log
        self.memory_events = MemoryEvents()

    def fork(self, generation: Generation) -> bool:
        """Start a worker. Returns False when that did not work."""
        self.master.arbiter.worker_age += 1
        hook_worker = HookWorker(generation.config, self.log, self.master.arbiter.worker_age)
        try:
            call(generation.config.hooks, "pre_fork", self.master.arbiter, hook_worker)
        except AppLoadError as error:
            trace = describe_cause(error.__cause__ or error)
            self.master.boot_failed(
                generation, "A worker", {"code": EXIT_BOOT, "message": str(error), "traceback": trace}
            )
            return False
        flush_streams()
        ends: list[Channel] = []
        row = -1
        stacks = None
        with self.master.signals.held():
            try:
                row = self.master.board.take()
                ends += Channel.pair()
                stacks = self.master.control.open_stacks() if self.master.control is not None else None
                pid = os.fork()
            except (OSError, RuntimeError) as error:
                for end in (*ends, *([stacks] if stacks is not None else ())):
                    end.close()
                if row >= 0:
                    self.master.board.free(row)
                delay = self.master.backoff.failed(time.monotonic())
                reason = getattr(error, "strerror", None) or error
                self.log.error("Can't start a worker: %s; trying again in %g s", reason, delay)
                return False
            ours, theirs = ends
            if pid == 0:
                ours.close()
                become_worker(self.master, generation, row, theirs, hook_worker, stacks)
        theirs.close()
        hook_worker.pid = pid
        child = Child(pid, row, generation, ours, hook_worker, self.log)
        child.stacks = stacks
        self.master.children[pid] = child
        self.master.arbiter.WORKERS[pid] = hook_worker
        self.master.selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))
        self.log.info("Booting worker with pid: %d", pid)
        return True

    def recycle(self, child: Child, now: float) -> None:
        """Have a worker replaced that has served for long enough."""
        if child.lifetime is None or child.state != READY or child.outgoing:
            return
        if self.master.board.left(child.row):
            self.log.info("Replacing worker (pid:%d): it is stopping by itself", child.pid)
            child.outgoing = True
            return
        verdict = child.lifetime.judge(child.pid, now)
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
            self.master.selector.unregister(child.channel)
            return
        for message in messages:
            match message:
                case {"ready": str(text)}:
                    self._booted(child, text)
                case {"failed": dict(failure)}:
                    child.failure = failure
                case {"served": int(requests)} if child.serving:
                    self.log.info(
                        "Replacing worker (pid:%d): it has had %d requests (--max-requests)", child.pid, requests
                    )
                    child.outgoing = True
                case {"recycle": str(reason)}:
                    self.log.warning("Replacing worker (pid:%d): %s", child.pid, reason)
                    child.outgoing = True
                case {"answer": dict(answer)} if self.master.control is not None:
                    self.master.control.commands.answered(child, answer)
                case {"files": dict(files)} if self.master.development is not None:
                    self.master.development.watch(files)

    def _booted(self, child: Child, description: str) -> None:
        if child.state != BOOTING:
            return
        first = not any(other.state == READY for other in self.master.children.values())
        child.booted()
        self.master.backoff.succeeded()
        if self.master.stop_at is not None:
            child.channel.send(leave=True)
        current = self.master.generations.current
        if first and child.generation.failure is None and (current is None or current.failure is not None):
            self.log.info("%s", description)
        self.log.debug("Worker (pid:%d) ready after %.3f s", child.pid, time.monotonic() - child.since)

    def reap(self) -> None:
        """Take leave of the processes that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self.master.succession.ended(pid, status):
                continue
            child = self.master.children.pop(pid, None)
            # Else it is one that has lost its parent, and we are process 1.
            if child is not None:
                self.master.board.free(child.row)
                self._hear_last(child)
                self._ended(child, status)
                child.leave()
                if self.master.control is not None:
                    self.master.control.commands.gone(child)
                self.master.arbiter.WORKERS.pop(pid, None)
                tell(self.log, child.generation.config.hooks, "child_exit", self.master.arbiter, child.hook_worker)

    def _hear_last(self, child: Child) -> None:
        channel = child.channel
        if channel in self.master.selector.get_map():
            self._hear(child)
        if channel in self.master.selector.get_map():
            self.master.selector.unregister(channel)
        channel.close()

    def _ended(self, child: Child, status: int) -> None:
        """A worker has ended: as it was told to, or not."""
        what = describe(status, self.memory_events.killed())
        if child.state == READY:
            self.master.restarts += 1
            if not child.killed:
                self.log.error("Worker (pid:%d) %s; replacing it", child.pid, what)
        elif child.state == BOOTING:
            failure = {"code": EXIT_BOOT, "message": f"a worker {what} before it was ready"}
            self.master.boot_failed(child.generation, f"Worker (pid:{child.pid})", child.failure or failure)
        elif status not in (0, signal.SIGTERM, signal.SIGQUIT) and not child.killed:
            # At its very end an interpreter has no handlers any more.
            self.log.warning("Worker (pid:%d) %s while stopping", child.pid, what)
        elif child.killed:
            self.log.error("Worker (pid:%d) killed: it did not stop in time", child.pid)
