"""What can be asked and ordered over the control socket, and how the master sees to it.

=========================== ===========================================================================
``{"command": "status"}``    the master, its workers, and what they are doing
``{"command": "reload"}``    as HUP; answered when the new workers serve, or it has failed
``{"command": "scale"}``     with "workers": how many there are to be
``{"command": "reopen"}``    as USR1: log files are opened anew
``{"command": "stop"}``      as TERM; with "now": true as QUIT
``{"command": "dump"}``      the stacks of all threads and tasks of all workers, in the answer and in the log
=========================== ===========================================================================

Each answer has "ok"; where that is false "error", a line, and perhaps "traceback".
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway._version import __version__
from gateway.server.share import ROWS

from .child import READY, Child
from .inquiry import Answers, Inquiry
from .reload import Generation
from .upgrade import Upgrade

if TYPE_CHECKING:
    from .master import Master

Reply = Callable[[dict[str, Any]], object]

DUMP_TIME = 0.5
"""Seconds for a worker whose loop is blocked to have its stacks written by the signal."""

ACCEPT_TIME = 5.0
"""Seconds that workers have, once a reload is complete, to stop accepting."""

LOOK = 0.02
"""Seconds between two looks at whether they have."""

MOST = ROWS // 4
"""Workers that can be asked for: reloads need room for as many again, and so do those that are ending."""


class Waiting:
    """Somebody waits for the end of a reload: a new generation's, or with --preload a new program's."""

    def __init__(self, reply: Reply, coming: Generation | None, upgrade: Upgrade | None) -> None:
        self.reply = reply
        self.coming = coming
        self.upgrade = upgrade
        self.until = 0.0
        """Until when those before may go on accepting; 0: it is not over yet."""


class Commands:
    """Answers by calling `reply`, at once or later; `tick` has to be called in every turn."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self._number = 0
        self._inquiries: list[Inquiry] = []
        self._reloads: list[Waiting] = []
        self._dumps: list[tuple[float, Callable[[], object]]] = []

    def handle(self, request: dict[str, Any], reply: Reply) -> None:
        """Do what is asked."""
        match request:
            case {"command": "status"}:
                self._ask("report", lambda answers: reply(self._status(answers)))
            case {"command": "dump"}:
                self._log(request)
                self._ask("stacks", lambda answers: self._dump(answers, reply))
            case {"command": "reload"}:
                self._log(request)
                self._reload(reply)
            case {"command": "scale", "workers": int(number)} if number is not True and 1 <= number <= MOST:
                self._log(request)
                before = self._wanted()
                self.master.scale(number - before)
                done = self._wanted() == number
                reply({"ok": True, "workers": number, "before": before} if done else failed("the log says why not"))
            case {"command": "scale"}:
                reply(failed(f"expected a number of workers from 1 to {MOST}"))
            case {"command": "reopen"}:
                self._log(request)
                self.master.orders.usr1()
                reply({"ok": True})
            case {"command": "stop"}:
                self._log(request)
                reply({"ok": True})
                if request.get("now") is True:
                    self.master.orders.quit()
                else:
                    self.master.orders.term()
            case _:
                reply(failed("expected a command: status, reload, scale, reopen, stop or dump"))

    def answered(self, child: Child, answer: dict[str, Any]) -> None:
        """A worker has answered a question."""
        child.questions = 0
        for inquiry in self._inquiries:
            if inquiry.number == answer.get("number"):
                inquiry.answered(child.pid, answer)

    def gone(self, child: Child) -> None:
        """A worker has ended."""
        for inquiry in self._inquiries:
            inquiry.gone(child.pid)

    def tick(self, now: float) -> None:
        """See what is answered, or had its time; `now` is of `time.monotonic`."""
        self._inquiries = [inquiry for inquiry in self._inquiries if not inquiry.over(now)]
        for due in [dump for dump in self._dumps if now >= dump[0]]:
            self._dumps.remove(due)
            due[1]()
        self._reloads = [waiting for waiting in self._reloads if not self._settled(waiting, now)]

    def deadline(self) -> float | None:
        """When `tick` has something to do by itself."""
        times = [inquiry.deadline for inquiry in self._inquiries] + [moment for moment, _ in self._dumps]
        if any(waiting.until for waiting in self._reloads):
            times.append(time.monotonic() + LOOK)
        return min(times, default=None)

    def _log(self, request: dict[str, Any]) -> None:
        self.master.log.info("Handling command: %s", request["command"])

    def _ask(self, question: str, done: Callable[[Answers], object]) -> None:
        self._number += 1
        self._inquiries.append(Inquiry(self._number, question, self.master.children.values(), done))

    def _wanted(self) -> int:
        growing = self.master.generations.growing
        return growing[-1].wanted if growing else 0

    # status

    def _status(self, answers: Answers) -> dict[str, Any]:
        master = self.master
        state = master.state()
        now = time.monotonic()
        scheme = "https" if master.config.tls is not None else "http"
        growing = master.generations.growing
        listeners = growing[0].sockets.listeners if growing and not master.stopping else []
        failure = {"error": master.reload_problem, "traceback": master.reload_trace}
        upgrade = master.succession.upgrade
        return {
            "ok": True,
            "version": __version__,
            "pid": os.getpid(),
            "application": master.titles.name,
            "uptime": round(now - master.since, 3),
            "ready": state.ready,
            "state": state.reason,
            "listeners": [listener.url(scheme) for listener in listeners],
            "wanted": self._wanted(),
            "restarts": master.restarts,
            "reloads": master.reloads,
            "reloading": master.generations.coming is not None and master.generations.current is not None,
            "upgrade": upgrade.pid if upgrade is not None else None,
            "reload_error": failure if master.reload_problem else None,
            "workers": [self._worker(child, answers.get(child.pid), now) for child in master.children.values()],
        }

    def _worker(self, child: Child, answer: dict[str, Any] | None, now: float) -> dict[str, Any]:
        board = self.master.board
        blocked = child.state == READY and answer is None
        return {
            "pid": child.pid,
            "state": child.watching.shown if blocked else child.state,
            "generation": child.generation.number,
            "age": round(now - child.since, 3),
            "silence": round(board.silence(child.row).loop, 3) if blocked else 0.0,
            "connections": max(0, board.connections(child.row)),
            "total": board.requests(child.row),
            "memory": resident(child.pid),
            **{key: answer[key] if answer else None for key in ("threads", "busy", "queued", "in_flight", "requests")},
        }

    # dump

    def _dump(self, answers: Answers, reply: Reply) -> None:
        """Reply once those whose loops are blocked had their stacks written by a signal."""
        children = self.master.children.values()
        blocked = [child for child in children if child.state == READY and child.pid not in answers]
        for child in blocked:
            child.ask_stacks()

        def collect() -> None:
            texts = {pid: str(answer.get("stacks", "")) for pid, answer in answers.items()}
            for child in blocked:
                text = child.read_stacks() or "(no answer, not even to a signal)\n"
                texts[child.pid] = text
                self.master.log.info("What the threads of worker (pid:%d) do, as asked:\n%s", child.pid, text.rstrip())
            workers = [{"pid": pid, "blocked": pid not in answers, "stacks": texts[pid]} for pid in sorted(texts)]
            reply({"ok": True, "workers": workers})

        if blocked:
            self._dumps.append((time.monotonic() + DUMP_TIME, collect))
        else:
            collect()

    # reload

    def _reload(self, reply: Reply) -> None:
        master = self.master
        generations, succession = master.generations, master.succession
        before = generations.coming, succession.upgrade
        refusal = "" if not (master.stopping or master.stop_at is not None) else "the server is stopping"
        if not refusal:
            master.orders.hup()
            if generations.coming is not before[0]:
                self._reloads.append(Waiting(reply, generations.coming, None))
                return
            if succession.upgrade is not before[1]:
                self._reloads.append(Waiting(reply, None, succession.upgrade))
                return
            refusal = "a start, a reload, an upgrade or a stop is on its way; the log says which"
            if master.loaded is None and before[1] is None:
                self._reply_failed(reply)
                return
        reply(failed(refusal))

    def _accepting(self, waiting: Waiting, now: float) -> bool:
        """Whether a worker of another generation still accepts connections: it takes a moment to hear that it goes."""
        master = self.master
        waiting.until = waiting.until or now + ACCEPT_TIME
        if now >= waiting.until:
            return False
        return any(
            child.generation is not waiting.coming and not master.board.left(child.row)
            for child in master.children.values()
        )

    def _settled(self, waiting: Waiting, now: float) -> bool:
        """Whether a reload has come to its end; then whoever waits was told."""
        master = self.master
        if waiting.coming is not None:
            if master.generations.coming is waiting.coming and not master.stopping:
                return False
            taker = master.generations.coming or master.generations.current
            if taker is not None and taker.failure is not None:
                # With --reload something is served in any case.
                self._reply_failed(waiting.reply)
            elif master.generations.current is waiting.coming:
                if self._accepting(waiting, now) and not master.stopping:
                    return False
                waiting.reply({"ok": True, "generation": waiting.coming.number})
            elif master.generations.coming is not None:
                waiting.reply(failed("another reload has taken its place"))
            elif master.stopping:
                waiting.reply(failed("the server is stopping"))
            else:
                self._reply_failed(waiting.reply)
            return True
        if master.succession.complete:
            if self._accepting(waiting, now):
                return False
            waiting.reply({"ok": True, "pid": waiting.upgrade.pid if waiting.upgrade is not None else None})
            return True
        if master.succession.upgrade is waiting.upgrade and not master.stopping:
            return False
        waiting.reply(failed("the new program failed to start; the log says why"))
        return True

    def _reply_failed(self, reply: Reply) -> None:
        reply({**failed(self.master.reload_problem or "the log says why"), "traceback": self.master.reload_trace})


def failed(reason: str) -> dict[str, Any]:
    """The answer to what can't be done."""
    return {"ok": False, "error": reason}


def resident(pid: int) -> int | None:
    """Bytes of memory that a process has, what it shares included; None: unknown."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
