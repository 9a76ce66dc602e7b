"""The hooks of a gunicorn.conf.py: which are called, when, in which process, and with what."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

from .harness import Server, request, run_gateway
from .test_processes import TIME, gone, until, workers, write_app

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(120),
]

CONFIG = """\
import json, os

def note(hook, **facts):
    # One write: lines of several processes stay whole.
    with open({notes!r}, "a", buffering=1) as file:
        file.write(json.dumps({{"hook": hook, "pid": os.getpid(), **facts}}) + "\\n")

def on_starting(server):
    server.made_here = "in on_starting"
    note("on_starting", server=server.pid, workers=server.cfg.workers, bind=server.cfg.bind, name=server.proc_name)

def when_ready(server):
    note("when_ready", address=server.address, listeners=len(server.LISTENERS), children=len(server.WORKERS))

def on_reload(server):
    note("on_reload", workers=server.cfg.workers)

def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed", new=new_value, old=old_value, number=server.num_workers)

def pre_fork(server, worker):
    worker.mine = worker.age * 10
    note("pre_fork", age=worker.age, worker=worker.pid)

def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)
    note("post_fork", age=worker.age, worker=worker.pid, mine=worker.mine, made=server.made_here, server=server.pid)

def post_worker_init(worker):
    note("post_worker_init", worker=worker.pid, app=worker.wsgi.__name__, timeout=worker.cfg.timeout)

def worker_int(worker):
    note("worker_int", worker=worker.pid)

def worker_abort(worker):
    note("worker_abort", worker=worker.pid)

def worker_exit(server, worker):
    note("worker_exit", worker=worker.pid, age=worker.age)

def child_exit(server, worker):
    note("child_exit", worker=worker.pid, age=worker.age, mine=worker.mine)

def pre_exec(server):
    note("pre_exec", server=server.pid)

def on_exit(server):
    note("on_exit", children=len(server.WORKERS))

def pre_request(worker, req):
    worker.log.debug("%s %s", req.method, req.path)
    req.began = True
    note("pre_request", worker=worker.pid, method=req.method, path=req.path, query=req.query, uri=req.uri,
         headers=dict(req.headers), version=req.version, scheme=req.scheme, client=req.remote_addr[0], nr=worker.nr)

def post_request(worker, req, environ, resp):
    note("post_request", worker=worker.pid, path=req.path, began=req.began, status=resp and resp.status,
         code=resp and resp.status_code, headers=resp and dict(resp.headers), sent=resp and resp.sent,
         seen=environ.get("PATH_INFO", environ.get("path")), added=environ.get("added"))
{more}
"""

WSGI = """\
def app(environ, start_response):
    environ["added"] = "by the application"
    if environ["PATH_INFO"] == "/raise":
        raise ValueError("wrong")
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("X-Own", "yes")])
    return [b"hello"]
"""


class Notes:
    """What the hooks of a configuration in `folder` have written down."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.path = folder / "notes"
        self.config = folder / "gunicorn.conf.py"
        self.write(more)

    def write(self, more: str) -> None:
        self.config.write_text(CONFIG.format(notes=str(self.path), more=textwrap.dedent(more)))

    def all(self, hook: str = "") -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if hook in ("", line["hook"])]

    def names(self) -> list[str]:
        return [line["hook"] for line in self.all()]

    def wait(self, hook: str, count: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = until(lambda: len(found := self.all(hook)) >= count and found)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


def start(folder: Path, notes: Notes, *options: str, workers: int = 2, target: str = "served:app") -> Server:
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    return Server(target, f"--workers={workers}", "-c", str(notes.config), *options, app_dir=folder, env=env)


def test_the_life_of_a_server(folder: Path) -> None:
    notes = Notes(folder)
    with start(folder, notes) as server:
        pids = workers(server)
        assert "has no effect" not in server.log
        assert server.terminate(TIME) == 0
    (starting,) = notes.all("on_starting")
    assert starting["pid"] == starting["server"] == server.pid
    assert (starting["workers"], starting["bind"], starting["name"]) == (2, ["127.0.0.1:0"], "served:app")
    (ready,) = notes.all("when_ready")
    assert ready == {
        "hook": "when_ready", "pid": server.pid, "address": [["127.0.0.1", 0]], "listeners": 1, "children": 0,
    }  # fmt: skip
    assert [(note["new"], note["old"], note["number"]) for note in notes.all("nworkers_changed")] == [(2, None, 2)]
    assert [(note["pid"], note["age"], note["worker"]) for note in notes.all("pre_fork")] == [
        (server.pid, 1, None),
        (server.pid, 2, None),
    ]
    for name in ("post_fork", "post_worker_init", "worker_exit"):
        found = notes.all(name)
        assert {note["pid"] for note in found} == pids, name
        assert all(note["worker"] == note["pid"] for note in found)
    assert {(note["age"], note["mine"]) for note in notes.all("post_fork")} == {(1, 10), (2, 20)}
    assert all(note["made"] == "in on_starting" and note["server"] == server.pid for note in notes.all("post_fork"))
    assert notes.all("post_worker_init")[0]["app"] == "app"
    gone_by = notes.all("child_exit")
    assert {note["worker"] for note in gone_by} == pids
    assert all(note["pid"] == server.pid and note["mine"] == 10 * note["age"] for note in gone_by)
    assert [note["children"] for note in notes.all("on_exit")] == [0]
    names = notes.names()
    assert names[:3] == ["on_starting", "when_ready", "nworkers_changed"]
    assert names[-1] == "on_exit"
    assert "worker_int" not in names


def test_scaling_and_reloading(folder: Path) -> None:
    notes = Notes(folder)
    with start(folder, notes, workers=1) as server:
        server.signal(signal.SIGTTIN)
        notes.wait("post_worker_init", 2)
        notes.write("def post_worker_init(worker): note('post_worker_init', new=True)")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload complete", TIME)
        assert [note.get("new") for note in notes.all("post_worker_init")] == [None, None, True]
        assert [(note["new"], note["old"]) for note in notes.all("nworkers_changed")] == [(1, None), (2, 1), (1, 2)]
        assert [note["pid"] for note in notes.all("on_reload")] == [server.pid]
        notes.wait("child_exit", 2)
        assert server.terminate(TIME) == 0
    assert len(notes.all("when_ready")) == len(notes.all("on_exit")) == 1


def test_upgrading(folder: Path) -> None:
    notes = Notes(folder)
    with start(folder, notes, workers=1) as server:
        server.signal(signal.SIGUSR2)
        server.wait_for_line("Upgrade complete", TIME)
        (before,) = notes.all("pre_exec")
        assert before["server"] == server.pid
        new = before["pid"]
        assert int(server.wait_for_line(r"started the new program with pid: (\d+)")[1]) == new
        assert [note["pid"] for note in notes.all("on_starting")] == [server.pid, new]
        assert server.process is not None
        assert server.process.wait(TIME) == 0
        os.kill(new, signal.SIGTERM)
        until(lambda: gone(new))
    assert [note["pid"] for note in notes.all("on_exit")] == [server.pid, new]


def test_the_signals_of_a_worker(folder: Path) -> None:
    write_app(folder, within="if scope['path'] == '/block':\n    import time\n    time.sleep(600)")
    notes = Notes(folder)
    with start(folder, notes, "--timeout=2.5", workers=1) as server:
        (victim,) = workers(server)
        os.kill(victim, signal.SIGINT)
        assert [note["pid"] for note in notes.wait("worker_int")] == [victim]
        notes.wait("child_exit")
        with contextlib.ExitStack() as clients:
            ends = []

            def aborted() -> list[dict[str, Any]]:
                # A machine that is very busy may not let a worker finish in the time that it has.
                if len(notes.all("child_exit")) not in ends:
                    ends.append(len(notes.all("child_exit")))
                    clients.enter_context(server.connect()).send(request("GET", "/block"))
                return notes.all("worker_abort")

            victim = until(aborted)[0]["pid"]
            until(lambda: victim in [note["worker"] for note in notes.all("child_exit")])
        assert victim in [note["pid"] for note in notes.all("worker_exit")]
        server.wait_for_line(rf"Worker \(pid:{victim}\) (was sent SIGABRT|killed)")
        assert 'served.py", line' in server.log, "the stack comes all the same"
        server.wait_for_lines("Application startup complete", 3, TIME)
        before = len(notes.all("worker_int"))
        server.signal(signal.SIGQUIT)
        assert server.wait(TIME) == 0
    assert len(notes.all("worker_int")) == before + 1


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "threadless"])
def test_requests(folder: Path, interface: str) -> None:
    if interface != "asgi":
        (folder / "served.py").write_text(WSGI)
    notes = Notes(folder)
    with start(folder, notes, f"--threads={int(interface == 'wsgi')}", workers=1) as server:
        (pid,) = workers(server)
        response = server.get("/some%20where?a=1", "X-Thing: 2")
        (before,) = notes.wait("pre_request")
        (after,) = notes.wait("post_request")
        assert before["pid"] == before["worker"] == after["pid"] == pid
        assert (before["method"], before["path"], before["query"]) == ("GET", "/some%20where", "a=1")
        assert (before["uri"], before["version"], before["scheme"]) == ("/some%20where?a=1", [1, 1], "http")
        assert before["headers"]["X-THING"] == "2"
        assert before["client"] == "127.0.0.1"
        assert before["nr"] == 1
        assert after["began"] is True
        assert after["seen"] == "/some where"
        assert after["sent"] == len(response.body)
        if interface == "asgi":
            assert (after["status"], after["code"]) == ("200 OK", 200)
            return
        assert (after["status"], after["code"]) == ("404 Not Found", 404)
        assert after["headers"]["X-Own"] == "yes"
        assert after["added"] == "by the application"
        assert server.get("/raise").status == 500
        assert notes.wait("post_request", 2)[1]["code"] == 500
        with server.connect() as client:
            client.send(b"GET /bad HTTP/1.1\r\n\r\n")
            assert client.response().status == 400
        assert server.get("/").status == 404
        assert [note["path"] for note in notes.wait("post_request", 3)] == ["/some%20where", "/raise", "/"]


def test_request_hooks_that_raise(folder: Path) -> None:
    more = """
    def pre_request(worker, req):
        if req.path == "/before":
            raise ValueError("wrong before")

    def post_request(worker, req):
        raise ValueError("wrong after " + req.path)
    """
    notes = Notes(folder, more)
    with start(folder, notes, "--access-logfile=-", workers=1) as server:
        assert server.get("/before").status == 500
        server.wait_for_line("Exception in pre_request hook")
        server.wait_for_line("wrong before")
        assert server.get("/after").status == 200
        server.wait_for_line("Exception in post_request hook")
        server.wait_for_line("ValueError: wrong after /after")
        assert "wrong after /before" not in server.log
        assert server.get("/").status == 200


def test_without_a_supervisor_there_are_the_hooks_of_requests(folder: Path) -> None:
    notes = Notes(folder)
    with start(folder, notes, "--no-supervisor", workers=1) as server:
        server.get("/")
        assert notes.wait("post_request")[0]["pid"] == server.pid
        assert "not called, there is none: on_starting, " in server.log
        assert server.terminate(TIME) == 0
    assert set(notes.names()) == {"pre_request", "post_request"}


@pytest.mark.parametrize("hook", ["on_starting(server)", "when_ready(server)", "pre_fork(server, worker)",
                                  "post_fork(server, worker)", "post_worker_init(worker)"])  # fmt: skip
def test_a_hook_that_raises_at_first_stops_the_server(folder: Path, hook: str) -> None:
    notes = Notes(folder, f"def {hook}: raise ValueError('wrong here')")
    options = ("--app-dir", str(folder), "--bind=127.0.0.1:0", "-w", "2", "-c", str(notes.config))
    done = run_gateway("served:app", *options, timeout=TIME)
    assert done.returncode == 3, done.stderr
    name = hook.partition("(")[0]
    assert f"gateway: error: {name} hook: ValueError: wrong here" in done.stderr
    assert done.stderr.count('gunicorn.conf.py", line') == 1, done.stderr
    assert [note["children"] for note in notes.all("on_exit")] == [0]


@pytest.mark.parametrize("hook", ["on_reload(server)", "pre_fork(server, worker)", "post_fork(server, worker)",
                                  "post_worker_init(worker)"])  # fmt: skip
def test_a_hook_that_raises_later_leaves_those_that_serve_alone(folder: Path, hook: str) -> None:
    notes = Notes(folder)
    with start(folder, notes) as server:
        before = workers(server)
        notes.write(f"def {hook}: raise ValueError('wrong here')")
        server.signal(signal.SIGHUP)
        name = hook.partition("(")[0]
        server.wait_for_line(f"Reload failed, .* {name} hook: ValueError: wrong here", TIME)
        server.wait_for_line('gunicorn.conf.py", line')
        until(lambda: workers(server) == before)
        notes.write("")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload complete", TIME)
        assert server.terminate(TIME) == 0


def test_hooks_whose_errors_change_nothing(folder: Path) -> None:
    names = ("nworkers_changed(server, new_value, old_value)", "child_exit(server, worker)",
             "worker_exit(server, worker)", "on_exit(server)", "worker_int(worker)")  # fmt: skip
    notes = Notes(folder, "".join(f"def {hook}: raise SystemExit('wrong here')\n" for hook in names))
    with start(folder, notes) as server:
        server.signal(signal.SIGQUIT)
        assert server.wait(TIME) == 0
        for hook in names:
            assert f"Exception in {hook.partition('(')[0]} hook" in server.log


def test_pre_exec_that_raises_stops_the_upgrade(folder: Path) -> None:
    notes = Notes(folder, "def pre_exec(server): raise ValueError('wrong here')")
    with start(folder, notes, workers=1) as server:
        server.signal(signal.SIGUSR2)
        server.wait_for_line("Upgrade failed, this program goes on: the pre_exec hook failed", TIME)
        server.wait_for_line("ValueError: wrong here")
        assert server.get("/").status == 200
        assert server.terminate(TIME) == 0
