"""--reload, with real saves: who asks after one gets what was saved, or a page that says what is wrong with it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .chromium import Browser
from .harness import WAIT, Client, Server, ServerFailed, children, environment, free_port, request, run_gateway
from .load import Load
from .test_processes import APP, gone
from .wsclient import SERVICE_RESTART, connect

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the master forks"),
    pytest.mark.timeout(150),
]

HTML = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

ENDLESS = """\
    if scope["path"] == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(0.1)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass
        return
"""


def save(path: Path, text: str, modified: float | None = None) -> None:
    """As an editor does: under another name first. `modified` is the time the file has, if not now."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    if modified is not None:
        os.utime(new, (modified, modified))
    new.rename(path)


def write_app(
    folder: Path, answer: str = "one", before: str = "", within: str = "", modified: float | None = None
) -> None:
    """A module `served` with an application that gives that answer, an expression if it begins with "="."""
    expression = answer[1:] if answer.startswith("=") else repr(answer.encode())
    save(folder / "served.py", APP.format(answer=expression, before=before, within=within), modified)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = tmp_path / "project"
    result.mkdir()
    write_app(result)
    return result


@pytest.fixture(params=["watchfiles", "poll"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "watchfiles":
        pytest.importorskip("watchfiles")
    return str(request.param)


def start(folder: Path, *options: str, target: str = "served:app", **more: Any) -> Server:
    more.setdefault("cwd", folder)
    # As it is elsewhere: bytecode is written, and must be forgotten.
    more.setdefault("env", {"PYTHONDONTWRITEBYTECODE": ""})
    return Server(target, "--reload", "--reload-engine=poll", "--reload-delay=0.1", *options, app_dir=folder, **more)


def detected(server: Server, count: int = 1) -> str:
    """Wait for a reload, the `count`th. Returns the files that the log names."""
    return server.wait_for_lines(r"detected changes in (.+)\. Reloading\.\.\.", count)[-1][1]


def reloaded(server: Server, count: int = 1) -> str:
    """Wait for the `count`th reload to begin, with the worker before gone. Returns the files that the log names."""
    names = detected(server, count)
    eventually(lambda: "Booting worker" in server.log.split("detected changes")[count], "the next worker boots")
    return names


def eventually(condition: Callable[[], Any], what: str, timeout: float = WAIT) -> Any:
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(0.02)
    return value


# What is saved is served


def test_a_save_is_served(folder: Path, engine: str) -> None:
    with start(folder, f"--reload-engine={engine}", "--reload-delay=0.25") as server:
        names = {"watchfiles": "WatchFiles", "poll": "StatReload"}
        server.wait_for_line(rf"Started reloader process \[\d+\] using {names[engine]}")
        assert f"Will watch for changes in these directories: ['{folder}']" in server.log
        assert server.get("/").body == b"one"
        # The same size, and the same second as well: as far as Python sees, what it has compiled is still good.
        second = time.time()
        for count, answer in enumerate(("two", "six", "ten"), 1):
            write_app(folder, answer, modified=second)
            assert reloaded(server, count) == "'served.py'"
            # Not the old one, from here on.
            assert server.get("/").body == answer.encode()
            server.wait_for_lines("Reload complete", count)
        assert server.terminate() == 0
        assert "Nothing watches" not in server.log
        assert "Traceback" not in server.log


def test_who_asks_during_a_reload_waits(folder: Path) -> None:
    with start(folder) as server:
        assert server.get("/").body == b"one"
        go = folder / "go"
        wait = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
        write_app(folder, "two", before=wait)
        reloaded(server)
        with server.connect() as client:
            client.send(request("GET", "/"))
            client.expect_silence(0.3)
            go.touch()
            assert client.response().body == b"two"


def test_nobody_is_refused(folder: Path) -> None:
    say = "    import os\n    if scope['path'] == '/load': os.write(2, b'load got {}\\n')"
    write_app(folder, within=say.format("one"))
    with start(folder) as server, Load(server.port, "/load", rate=100, share=1.0) as load:
        server.wait_for_line("^load got one$")
        for count in range(1, 6):
            write_app(folder, f"{count}", before="import time; time.sleep(0.2)", within=say.format(count))
            reloaded(server, count)
            server.wait_for_line(f"^load got {count}$")
        counts = load.stop()
    assert counts["failed"] == {}, counts
    assert set(counts["bodies"]) == {"one", *map(str, range(1, 6))}


def test_a_request_that_runs_is_finished(folder: Path) -> None:
    go = folder / "go"
    wait = f"    os.write(2, b'runs\\n')\n    while not os.path.exists({str(go)!r}): await asyncio.sleep(0.02)"
    write_app(folder, within=wait, before="import asyncio, os")
    with start(folder, "--graceful-timeout=60") as server, server.connect() as client:
        client.send(request("GET", "/"))
        server.wait_for_line("^runs$")
        server.wait_for_line("Started reloader process")
        write_app(folder, "two")
        reloaded(server)
        assert server.get("/").body == b"two"
        go.touch()
        assert client.response().body == b"one"


def test_an_idle_connection_is_closed_rather_than_answered_by_old_code(folder: Path) -> None:
    with start(folder) as server, server.connect() as client:
        client.send(request("GET", "/"))
        assert client.response().body == b"one"
        write_app(folder, "two")
        reloaded(server)
        with contextlib.suppress(ConnectionError):
            client.send(request("GET", "/"))
            client.expect_end()
        assert server.get("/").body == b"two"


def test_streams_and_websockets_do_not_hold_it_up(folder: Path) -> None:
    write_app(folder, before="import asyncio", within=ENDLESS)
    with start(folder) as server, server.connect() as stream, connect(server, "/ws") as websocket:
        stream.send(request("GET", "/stream"))
        stream.wait_readable()
        begin = time.monotonic()
        write_app(folder, "two")
        reloaded(server)
        assert server.get("/").body == b"two"
        # Not the 30 s that a server in production gives them.
        assert time.monotonic() - begin < 20
        assert websocket.closed().code == SERVICE_RESTART
        server.wait_for_line(r"Stopping after the graceful timeout of 3 s")
        eventually(lambda: len(children(server.pid)) == 2, "one worker and the watcher")


def test_a_request_that_never_ends_does_not_hold_it_up(folder: Path) -> None:
    """The event loop does not turn any more: nobody hears that the next one comes."""
    write_app(folder, before="import os", within="    os.write(2, b'stuck\\n')\n    while True: pass")
    with (
        start(folder, "--graceful-timeout=0.5", "--lifespan-shutdown-timeout=0.5") as server,
        server.connect() as client,
    ):
        client.send(request("GET", "/"))
        server.wait_for_line("^stuck$")
        write_app(folder, "two")
        reloaded(server)
        assert server.get("/").body == b"two"
        server.wait_for_line("did not stop in time; ending it")
        server.wait_for_line("served.py")
        eventually(lambda: len(children(server.pid)) == 2, "one worker and the watcher")


def test_the_next_worker_has_what_the_one_before_held(folder: Path) -> None:
    """A port, for one: an application may open another one for itself."""
    hold = f"import socket\nheld = socket.socket()\nheld.bind(('127.0.0.1', {free_port()}))\nheld.listen()"
    write_app(folder, before=hold)
    server = start(folder)
    # However long it takes.
    patience = "import sys, gateway.cli, gateway.supervisor.development as d; d.PATIENCE = d.ACCEPTING = 60.0; "
    server.command = [sys.executable, "-c", patience + "sys.exit(gateway.cli.main())", *server.command[3:]]
    with server:
        for count in (1, 2):
            write_app(folder, f"{count}", before=hold)
            reloaded(server, count)
            assert server.get("/").body == b"%d" % count
        assert "can't start" not in server.log


def test_saves_in_quick_succession_are_one(folder: Path, engine: str) -> None:
    with start(folder, f"--reload-engine={engine}", "--reload-delay=2") as server:
        server.wait_for_line("Started reloader process")
        for name in ("first", "second", "third"):
            save(folder / f"{name}.py", "")
        write_app(folder, "two")
        assert sorted(re.findall(r"'(\w+)\.py'", reloaded(server))) == ["first", "second", "served"]
        assert " and 1 more" in server.log
        assert server.get("/").body == b"two"
        assert server.log.count("detected changes") == 1


def test_a_save_during_a_boot_restarts_it(folder: Path) -> None:
    with start(folder) as server:
        write_app(folder, "two", before="import time; time.sleep(600)")
        reloaded(server)
        write_app(folder, "three")
        reloaded(server, 2)
        assert server.get("/").body == b"three"


def test_a_save_during_the_first_boot_restarts_it(folder: Path) -> None:
    write_app(folder, "one", before="import time; time.sleep(600)")
    server = start(folder)
    saved = []

    def mend() -> None:
        with contextlib.suppress(ServerFailed):
            server.wait_for_line("Started reloader process")
            write_app(folder, "two")
            saved.append(True)

    import threading

    thread = threading.Thread(target=mend)
    original = server._read_log
    server._read_log = lambda: (thread.start(), original())  # type: ignore[method-assign, func-returns-value]
    with server:
        assert server.get("/").body == b"two"
    thread.join()
    assert saved


# What can't start is shown


BROKEN = {
    "syntax": ("def broken(:\n", "SyntaxError", "def broken(:"),
    "import": ("import not_there_at_all\n", "not_there_at_all", "import not_there_at_all"),
    "exception": ("def fail():\n    raise ValueError('<b>no</b>')\nfail()\n", "ValueError", "in fail"),
    "exit": ("import sys\nsys.exit('enough')\n", "sys.exit", "enough"),
    "death": ("import os\nos._exit(7)\n", "exited with code 7", ""),
    "nothing": ("", "has neither `application` nor `app`", ""),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_save_is_shown(folder: Path, name: str) -> None:
    text, message, trace = BROKEN[name]
    with start(folder, target="served") as server:
        save(folder / "served.py", text)
        reloaded(server)
        plain = server.get("/any/where")
        assert (plain.status, plain.get("content-type")) == (500, "text/plain; charset=utf-8")
        shown = plain.body.decode()
        assert "The application can't start: " in shown and "Waiting for the next save" in shown
        assert message in shown and trace in shown
        page = server.get("/", HTML)
        assert (page.status, page.get("content-type")) == (500, "text/html; charset=utf-8")
        assert page.get("cache-control") == "no-store"
        assert "<b>no</b>" not in page.body.decode()
        assert server.exchange(request("HEAD", "/"), "HEAD").status == 500
        assert server.exchange(request("POST", "/", body=b"x" * 1000)).status == 500
        server.wait_for_line("The application can't start: .*" + re.escape(message))
        server.wait_for_line(re.escape(trace))
        write_app(folder, "mended")
        reloaded(server, 2)
        assert server.get("/").body == b"mended"


def test_what_was_broken_from_the_beginning_is_mended(folder: Path, engine: str) -> None:
    save(folder / "served.py", "import nothing_of_the_kind\n")
    with start(folder, f"--reload-engine={engine}") as server:
        assert "nothing_of_the_kind" in server.get("/").body.decode()
        assert "Using interface" not in server.log
        server.wait_for_line("Started reloader process")
        write_app(folder, "mended")
        reloaded(server)
        assert server.get("/").body == b"mended"
        server.wait_for_line("Using interface: asgi3")
        assert server.terminate() == 0


def test_a_module_that_is_not_there_yet(folder: Path) -> None:
    (folder / "served.py").unlink()
    with start(folder) as server:
        assert "no module served" in server.get("/").body.decode()
        write_app(folder, "there")
        reloaded(server)
        assert server.get("/").body == b"there"


def test_a_failed_startup_is_shown(folder: Path) -> None:
    text = (
        "async def app(scope, receive, send):\n"
        "    await receive()\n"
        "    await send({'type': 'lifespan.startup.failed', 'message': 'no <database>'})\n"
    )
    save(folder / "served.py", text)
    with start(folder) as server:
        assert "Application startup failed: no <database>" in server.get("/").body.decode()
        assert "no &lt;database&gt;" in server.get("/", HTML).body.decode()
        write_app(folder, "mended")
        reloaded(server)
        assert server.get("/").body == b"mended"


def test_wsgi(folder: Path) -> None:
    text = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{}']\n"
    save(folder / "served.py", text.format("one"))
    with start(folder, "--interface=wsgi") as server:
        assert server.get("/").body == b"one"
        save(folder / "served.py", "1 / 0\n")
        reloaded(server)
        assert "ZeroDivisionError" in server.get("/").body.decode()
        save(folder / "served.py", text.format("two"))
        reloaded(server, 2)
        assert server.get("/").body == b"two"


def test_a_websocket_is_refused_with_the_reason(folder: Path) -> None:
    save(folder / "served.py", "1 / 0\n")
    with start(folder) as server:
        fields = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + "A" * 22 + "==",
        )
        response = server.get("/ws", *fields)
        assert response.status == 500
        assert "ZeroDivisionError" in response.body.decode()


def test_a_page_is_told_of_the_save(folder: Path) -> None:
    save(folder / "served.py", "1 / 0\n")
    with start(folder) as server, server.connect() as client:
        page = server.get("/", HTML).body.decode()
        client.send(request("GET", "/", "Accept: text/event-stream"))
        assert client.response_head().get("content-type") == "text/event-stream"
        events = client.read_chunks()
        name = re.search(r'event\.data !== "(\w+)"', page)
        assert name
        assert next(events).decode().endswith(f"event: failure\ndata: {name[1]}\n\n")
        write_app(folder, "two")
        assert next(events) == b"event: saved\ndata: reload\n\n"
        assert list(events) == []
        reloaded(server)
        assert server.get("/").body == b"two"


def test_without_reload_nothing_is_revealed(folder: Path) -> None:
    save(folder / "served.py", "1 / 0\n")
    result = run_gateway("served:app", "--bind=127.0.0.1:0", cwd=folder)
    assert result.returncode == 4
    assert "ZeroDivisionError" in result.stderr


# Configuration


def test_a_changed_configuration_is_read(folder: Path) -> None:
    (folder / ".env").write_text("ANSWER=one\n")
    write_app(folder, "=__import__('os').environ['ANSWER'].encode()")
    with start(folder, "--env-file=.env") as server:
        assert server.get("/").body == b"one"
        save(folder / ".env", "ANSWER=two\n")
        assert reloaded(server) == "'.env'"
        assert server.get("/").body == b"two"
        save(folder / "gateway.toml", 'header = ["X-New: yes"]\n')
        assert reloaded(server, 2) == "'gateway.toml'"
        assert server.get("/").get("x-new") == "yes"
        save(folder / "gateway.toml", "nonsense = true\n")
        reloaded(server, 3)
        response = server.get("/")
        assert response.status == 500
        assert "there is no option 'nonsense'" in response.body.decode()
        save(folder / "gateway.toml", 'header = ["X-New: again"]\n')
        reloaded(server, 4)
        assert server.get("/").get("x-new") == "again"


@pytest.mark.parametrize(
    "hook", ["pre_fork(server, worker)", "post_fork(server, worker)", "post_worker_init(worker)", "on_reload(server)"]
)
def test_a_broken_hook_is_shown(folder: Path, hook: str) -> None:
    save(folder / "gunicorn.conf.py", "threads = 2\n")
    with start(folder, "--config=gunicorn.conf.py") as server:
        assert server.get("/").body == b"one"
        save(folder / "gunicorn.conf.py", f"def {hook}:\n    1 / 0\n")
        reloaded(server)
        response = server.get("/")
        assert response.status == 500
        assert "ZeroDivisionError" in response.body.decode()
        save(folder / "gunicorn.conf.py", "threads = 2\n")
        reloaded(server, 2)
        assert server.get("/").body == b"one"


def test_what_to_watch_may_change(folder: Path) -> None:
    with start(folder) as server:
        save(folder / "gateway.toml", 'reload_include = ["*.html"]\n')
        detected(server)
        server.wait_for_lines("Started reloader process", 2)
        save(folder / "page.html", "")
        assert detected(server, 2) == "'page.html'"
        server.wait_for_line("Reload complete")
        eventually(lambda: len(children(server.pid)) == 2, "one worker and one watcher")


def test_what_counts(folder: Path, tmp_path: Path, engine: str) -> None:
    for name in ("tests", "templates", ".venv/lib", "env/lib", "node_modules"):
        (folder / name).mkdir(parents=True)
    (folder / "env" / "pyvenv.cfg").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = (
        "--reload-include=*.html",
        "--reload-exclude=tests",
        "--reload-exclude=generated_*",
        f"--reload-extra-file={elsewhere}/*.yml",
    )
    with start(folder, f"--reload-engine={engine}", *options) as server:
        server.wait_for_line("Started reloader process")
        for name in (
            "tests/test_a.py",
            ".venv/lib/a.py",
            "env/lib/a.py",
            "node_modules/a.py",
            "generated_a.py",
            "note.txt",
            ".hidden.py",
        ):
            save(folder / name, "")
        save(folder / "templates" / "page.html", "")
        assert detected(server) == "'templates/page.html'"
        server.wait_for_lines("Reload complete", 1)
        save(elsewhere / "a.txt", "")
        save(elsewhere / "a.yml", "")
        assert detected(server, 2) == f"'{elsewhere}/a.yml'"
        server.wait_for_lines("Reload complete", 2)
        (folder / "templates" / "page.html").unlink()
        assert detected(server, 3) == "'templates/page.html'"


def test_modules_from_elsewhere_are_watched(folder: Path, tmp_path: Path, engine: str) -> None:
    library = tmp_path / "library"
    library.mkdir()
    save(library / "shared_thing.py", "ANSWER = b'one'\n")
    write_app(folder, "=ANSWER", before="from shared_thing import ANSWER")
    with start(folder, f"--reload-engine={engine}", f"--pythonpath={library}") as server:
        server.wait_for_line("Started reloader process")
        assert server.get("/").body == b"one"
        save(library / "shared_thing.py", "ANSWER = 1 / 0\n")
        assert reloaded(server) == f"'{library}/shared_thing.py'"
        assert "ZeroDivisionError" in server.get("/").body.decode()
        save(library / "shared_thing.py", "ANSWER = b'two'\n")
        reloaded(server, 2)
        assert server.get("/").body == b"two"


def test_who_orders_a_reload_hears_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    socket_path = tmp_path / "control"

    def order(command: str) -> subprocess.CompletedProcess[str]:
        return run_gateway("ctl", f"--socket={socket_path}", command, timeout=3 * WAIT)

    with start(folder, f"--control-socket={socket_path}", "--reload-delay=1h") as server:
        assert order("reload").stdout == "Reload complete\n"
        write_app(folder, before="1 / 0")
        for _ in range(2):
            answer = order("reload")
            assert answer.returncode == 1
            assert "importing served failed: ZeroDivisionError" in answer.stderr
        assert "The last reload failed: importing served" in order("status").stdout
        save(folder / "gateway.toml", "nonsense = 1\n")
        assert "there is no option 'nonsense'" in order("reload").stderr
        (folder / "gateway.toml").unlink()
        write_app(folder, "mended")
        assert order("reload").stdout == "Reload complete\n"
        assert "failed" not in order("status").stdout
        assert server.get("/").body == b"mended"


def test_one_worker(folder: Path) -> None:
    with start(folder, "--workers=4", "--preload", "--timeout=7") as server:
        assert "--workers: has no effect with --reload" in server.log
        assert "--preload: has no effect with --reload" in server.log
        assert len(children(server.pid)) == 2
        server.signal(signal.SIGTTIN)
        server.wait_for_line("One worker, no more and no less")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload complete")
        eventually(lambda: len(children(server.pid)) == 2, "one worker and the watcher")


def test_nobody_is_left_behind(folder: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with start(folder) as server:
            server.wait_for_line("Started reloader process")
            pids = children(server.pid)
            assert len(pids) == 2
            server.signal(number)
            server.wait()
            eventually(lambda: all(map(gone, pids)), "all have ended")


def test_who_does_not_watch_any_more_is_missed(folder: Path) -> None:
    with start(folder) as server:
        watcher = int(server.wait_for_line(r"Started reloader process \[(\d+)\]")[1])
        os.kill(watcher, signal.SIGKILL)
        server.wait_for_line("Nothing watches for changes any more")
        # Of another size: bytecode that nobody forgets passes for that of a source saved in the same second.
        write_app(folder, "second")
        server.signal(signal.SIGHUP)
        server.wait_for_line("Reload complete")
        assert server.get("/").body == b"second"


def test_requests_are_shown(folder: Path) -> None:
    command = [sys.executable, "-m", "gateway", "served:app", "--reload", "--bind=127.0.0.1:0", "--access-log-flush=0"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        found = (re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)
        port = int(next(filter(None, found))[1])
        with Client(("127.0.0.1", port)) as client:
            client.send(request("GET", "/x"))
            assert client.response().status == 200
        assert re.fullmatch(r'127\.0\.0\.1:\d+ - "GET /x HTTP/1\.1" 200\n', process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=WAIT)


def test_a_debugger_is_given_its_time(folder: Path) -> None:
    """On the terminal that the server was started at, while the event loop stands still."""
    import pty

    write_app(folder, "=b'%d' % number", within="    number = 41\n    breakpoint()")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway", "served:app", "--reload", "--bind=127.0.0.1:0"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment({"TERM": "dumb"}), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    output = b""

    def read(pattern: bytes, seconds: float = WAIT) -> re.Match[bytes] | None:
        nonlocal output
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, output)) and (left := end - time.monotonic()) > 0:
            if select.select([ours], [], [], left)[0]:
                output += os.read(ours, 4096)
        return found

    try:
        found = read(rb"Listening at: http://127\.0\.0\.1:(\d+)\b")
        assert found, output
        with Client(("127.0.0.1", int(found[1]))) as client:
            client.send(request("GET", "/"))
            assert read(rb"\(Pdb\)"), output
            assert not read(rb"blocked", 1.5), output
            os.write(ours, b"number += 2\n")
            os.write(ours, b"continue\n")
            assert client.response().body == b"43"
    finally:
        process.kill()
        process.wait(WAIT)
        os.close(ours)


def test_from_a_program(folder: Path) -> None:
    """What the program has imported itself is loaded anew as well."""
    save(folder / "part.py", "ANSWER = b'one'\n")
    program = (
        "import gateway, part\n"
        "async def app(scope, receive, send):\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': part.ANSWER})\n"
        "if __name__ == '__main__':\n"
        "    gateway.run('main:app', bind='127.0.0.1:0', reload=True, reload_delay=0.1, reload_engine='poll', lifespan='off')\n"
    )
    save(folder / "main.py", program)
    server = Server("unused", cwd=folder, app_dir=None)
    server.command = [sys.executable, "main.py"]
    with server:
        assert server.get("/").body == b"one"
        save(folder / "part.py", "ANSWER = b'two'\n")
        reloaded(server)
        assert server.get("/").body == b"two"


def test_a_program_must_name_its_application(folder: Path) -> None:
    code = "import gateway; gateway.run(lambda scope, receive, send: None, reload=True)"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=WAIT
    )
    assert 'as in gateway.run("main:app", reload=True)' in result.stderr


# In a browser


@pytest.mark.slow
def test_a_browser_sees_what_is_wrong_and_then_the_application(folder: Path, tmp_path: Path) -> None:
    html = "<!doctype html><title>{0}</title><p>{0}</p>"
    headers = (
        "\n    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/html')]})"
    )
    headers += "\n    await send({'type': 'http.response.body', 'body': b'%s'})\n    return" % html.format("mended")
    with start(folder) as server, Browser(tmp_path / "browser") as browser:
        save(folder / "served.py", "def broken(:\n")
        reloaded(server)
        browser.open(server.url + "/some/page")
        browser.wait_for("document.querySelector('h1')?.textContent === \"The application can't start\"")
        assert "SyntaxError" in browser.evaluate("document.querySelector('pre').textContent")
        browser.wait_for("stream.readyState === EventSource.OPEN")
        # Broken in another way.
        save(folder / "served.py", "import nothing_of_the_kind\n")
        browser.wait_for("document.querySelector('pre')?.textContent.includes('nothing_of_the_kind')")
        browser.wait_for("stream.readyState === EventSource.OPEN")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        write_app(folder, "unused", within=headers)
        browser.wait_for("document.title === 'mended'")
        assert browser.evaluate("location.pathname") == "/some/page"
        # Chromium reports the status of the page itself, and that the stream it asked for again is the application now.
        usual = ("500 (Internal Server Error)", "EventSource's response has a MIME type")
        assert [problem for problem in browser.problems if not any(words in problem for words in usual)] == []


@pytest.mark.slow
def test_a_page_waits_for_a_server_that_has_stopped(folder: Path, tmp_path: Path) -> None:
    save(folder / "served.py", "1 / 0\n")
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(Browser(tmp_path / "browser"))
        with start(folder) as server:
            port = server.port
            browser.open(server.url + "/")
            browser.wait_for("stream.readyState === EventSource.OPEN")
            server.signal(signal.SIGTERM)
            server.wait()
        browser.wait_for("state.textContent.startsWith('The server has stopped')")
        write_app(folder, "back again")
        stack.enter_context(start(folder, binds=[f"127.0.0.1:{port}"]))
        browser.wait_for("document.body.textContent === 'back again'")
