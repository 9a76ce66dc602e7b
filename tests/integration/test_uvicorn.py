"""gateway.integrations.uvicorn, by the patterns that launchers and programs use uvicorn with."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the master forks", allow_module_level=True)

from gateway.integrations import uvicorn, uvicorn_logging

from .harness import WAIT, Client, Server, environment, request
from .test_reload import eventually, reloaded, save

pytestmark = pytest.mark.timeout(120)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        await asyncio.sleep(600)
    body = f"{os.getpid()} {scope['server'][1]}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """As they were: uvicorn's servers set them up for the whole program, and so do these."""
    logger = logging.getLogger("gateway.error")
    before = (logger.handlers[:], logger.propagate, logger.level)
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


def make(application: Any = app, **options: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(application, **{"port": 0, "access_log": False, **options}))


def port_of(server: uvicorn.Server) -> int:
    """As many a test finds out."""
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def get(port: int, target: str = "/") -> str:
    with Client(("127.0.0.1", port)) as client:
        client.send(request("GET", target))
        response = client.response()
        assert response.status == 200
        return response.body.decode()


def run(main: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT):
            await main()

    asyncio.run(bounded())


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.01)


# In a program's own loop


def test_serve_until_told_to_exit() -> None:
    async def main() -> None:
        server = make()
        assert not (server.started or server.should_exit or server.force_exit)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        assert await asyncio.to_thread(get, port_of(server)) == f"{os.getpid()} {port_of(server)}"
        server.should_exit = True
        await serving

    run(main)


def test_startup_main_loop_and_shutdown_apart() -> None:
    """As subclasses call them."""

    class Own(uvicorn.Server):
        seen: list[str]

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            self.seen = ["startup"]

        async def main_loop(self) -> None:
            self.seen.append(await asyncio.to_thread(get, port_of(self)))

        async def shutdown(self, sockets: Any = None) -> None:
            await super().shutdown(sockets)
            self.seen.append("shutdown")

    async def main() -> None:
        server = Own(uvicorn.Config(app, port=0))
        await server.serve()
        assert (server.seen[0], server.seen[-1], len(server.seen)) == ("startup", "shutdown", 3)

    run(main)


def test_exit_before_the_start_ends_it_at_once() -> None:
    server = make()
    server.should_exit = True
    run(server.serve)


def test_cancelling_it_stops_at_once() -> None:
    async def main() -> None:
        server = make()
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = port_of(server)
        with Client(("127.0.0.1", port)) as client:
            client.send(request("GET", "/slow"))
            await until(lambda: server._engine is not None and server._engine.service.requests)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(get, port)

    run(main)


def test_exit_while_the_application_starts() -> None:
    begun = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.sleep(600)

    async def main() -> None:
        server = make(slow)
        serving = asyncio.create_task(server.serve())
        await until(begun.is_set)
        server.should_exit = True
        await serving
        assert not server.started

    run(main)


def test_sockets_of_the_callers() -> None:
    async def main() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = make(host="127.0.0.1", port=1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        assert (await asyncio.to_thread(get, port)).endswith(f" {port}")
        server.should_exit = True
        await serving
        assert listener.fileno() == -1

    run(main)


def test_force_exit_does_not_wait() -> None:
    async def main() -> None:
        server = make()
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        with Client(("127.0.0.1", port_of(server))) as client:
            client.send(request("GET", "/slow"))
            await until(lambda: server._engine is not None and server._engine.service.requests)
            server.should_exit = True
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(serving), 0.5)
            server.force_exit = True
            # Not the 30 s of graceful_timeout.
            await asyncio.wait_for(serving, 20)

    run(main)


def test_so_many_requests() -> None:
    async def main() -> None:
        server = make(limit_max_requests=2)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        await asyncio.to_thread(get, port_of(server))
        await asyncio.to_thread(get, port_of(server))
        await serving

    run(main)


def test_ticks_and_notices() -> None:
    """For programs that override `on_tick`, as some do to stop for reasons of their own."""
    counters: list[int] = []
    notices: list[float] = []

    class Ticking(uvicorn.Server):
        async def on_tick(self, counter: int) -> bool:
            counters.append(counter)
            return await super().on_tick(counter) or counter == 2

    async def notify() -> None:
        notices.append(time.time())

    async def main() -> None:
        config = uvicorn.Config(app, port=0, access_log=False, timeout_notify=10_000, callback_notify=notify)
        server = Ticking(config)
        async with asyncio.timeout(WAIT):
            await server.serve()
        assert counters == [0, 1, 2]
        assert server.last_notified <= notices[0] and len(notices) == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


def test_hardly_more_requests_than_that() -> None:
    def ask(port: int) -> int:
        with Client(("127.0.0.1", port)) as client:
            for count in range(1, 1000):
                client.send(request("GET", "/"))
                if "close" in client.response().connection:
                    return count
        raise AssertionError("it goes on and on")

    async def main() -> None:
        server = make(limit_max_requests=5)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        # While the loop gets round to stopping, one or another is answered; in 0.1 s it would be hundreds.
        assert 5 <= await asyncio.to_thread(ask, port_of(server)) <= 20
        await serving

    run(main)


def test_a_failed_startup_exits_as_uvicorn_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        make(fails_to_start).run()
    assert caught.value.code == 3
    assert "no database" in capsys.readouterr().err


def test_a_busy_port_exits_as_uvicorn_does(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(SystemExit) as caught:
        make(port=busy.getsockname()[1]).run()
    assert caught.value.code == 3
    assert "in use" in capsys.readouterr().err


def test_an_application_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        uvicorn.Config("no_such_module_anywhere:app").load()
    assert caught.value.code == 3
    assert "no_such_module_anywhere" in capsys.readouterr().err


def test_an_exception_of_the_application_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raises_on_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        uvicorn.Config("raises_on_import:app").load()


def test_configuration() -> None:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, workers=2, log_level="warning", uds=None)
    assert (config.app, config.host, config.port, config.workers) == (app, "127.0.0.1", 0, 2)
    assert (config.use_subprocess, config.should_reload, config.is_ssl, config.loaded) == (True, False, False, False)
    config.load()
    assert config.loaded and config.loaded_app is app
    with config.bind_socket() as sock:
        assert sock.get_inheritable() and sock.getsockname()[1] > 0
    assert uvicorn.Config(app, uds="/run/x.sock", port=9).options.listen.addresses[0].path == "/run/x.sock"
    with pytest.warns(UserWarning, match="http='h11' has no effect") as caught:
        uvicorn.Config(app, http="h11")
    assert caught[0].filename == __file__


def test_what_is_changed_before_it_serves_counts() -> None:
    async def wrapper(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"wrapped"})

    async def main() -> None:
        config = uvicorn.Config(app, port=1)
        config.port = 0  # type: ignore[attr-defined]
        config.load()
        assert config.loaded_app is app
        config.loaded_app = wrapper
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        assert await asyncio.to_thread(get, port_of(server)) == "wrapped"
        server.should_exit = True
        await serving

    run(main)


def test_variables_that_uvicorn_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    config = uvicorn.Config(app)
    assert (config.workers, config.options.workers, config.options.forwarded_allow_ips) == (3, 3, ("10.0.0.1",))
    assert uvicorn.Config(app, workers=1, forwarded_allow_ips="*").options.forwarded_allow_ips == ("*",)


def test_logs_may_be_the_programs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        server = make(log_config=None)
        server.should_exit = True
        await server.serve()

    run(main)
    assert "Listening at" in caplog.text


# In a thread


@contextlib.contextmanager
def running(server: uvicorn.Server) -> Iterator[None]:
    """As many a test suite does."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started, "started")
        yield
    finally:
        server.should_exit = True
        thread.join(WAIT)
        assert not thread.is_alive()


def test_in_a_thread_of_a_test() -> None:
    before = {number: signal.getsignal(number) for number in uvicorn.HANDLED_SIGNALS}
    with running(server := make()):
        assert get(port_of(server)).startswith(str(os.getpid()))
    assert before == {number: signal.getsignal(number) for number in uvicorn.HANDLED_SIGNALS}


def test_in_a_thread_beside_a_loop_of_tk() -> None:
    tkinter = pytest.importorskip("tkinter")
    with running(server := make()):
        interpreter = tkinter.Tcl()
        answers: list[str] = []
        interpreter.after(10, lambda: answers.append(get(port_of(server))))
        end = time.monotonic() + WAIT
        while not answers and time.monotonic() < end:
            interpreter.dooneevent()
        assert answers and answers[0].startswith(str(os.getpid()))


# Under a supervisor of one's own


def serve_in_process(sockets: list[socket.socket]) -> None:
    make().run(sockets=sockets)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_under_a_supervisor(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    sock = uvicorn.Config(app, port=0).bind_socket()
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=serve_in_process, args=([sock],), daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        port = sock.getsockname()[1]
        pids = {str(process.pid) for process in processes}
        eventually(lambda: {get(port).split()[0] for _ in range(20)} == pids, "both serve", timeout=3 * WAIT)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(WAIT)
            # As uvicorn's: the signal is raised again at the end.
            assert process.exitcode == -signal.SIGTERM
    finally:
        for process in processes:
            process.kill()
        sock.close()


# Whole programs


PRELUDE = """\
import gateway.integrations.uvicorn as uvicorn

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"v1"})
"""


class Program(Server):
    """A program in a file `main.py` in `folder`, whose log is that of a server; see `Server`."""

    def __init__(self, folder: Path, text: str, *arguments: str, listeners: int = 1, prelude: str = PRELUDE) -> None:
        (folder / "main.py").write_text(prelude + textwrap.dedent(text))
        super().__init__("unused", app_dir=None, cwd=folder, listeners=listeners)
        self.command = [sys.executable, "main.py", *arguments]


def test_run_with_an_application(tmp_path: Path) -> None:
    text = """
    if __name__ == "__main__":
        uvicorn.run(app, host="127.0.0.1", port=0, log_level="info")
        import sys
        print("and on", file=sys.stderr, flush=True)
    """
    # As under uvicorn: INT is a KeyboardInterrupt that `run` takes, TERM nobody's but the process's.
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)):
        with Program(tmp_path, text) as server:
            assert server.get("/").body == b"v1"
            server.signal(number)
            assert server.wait() == code
            assert "Shutdown complete" in server.log
            assert ("and on" in server.log) == (code == 0)
            assert "Traceback" not in server.log


def test_run_with_workers(tmp_path: Path) -> None:
    text = """
    if __name__ == "__main__":
        uvicorn.run("main:app", host="127.0.0.1", port=0, workers=2)
    """
    with Program(tmp_path, text) as server:
        assert server.get("/").body == b"v1"
        assert server.log.count("Booting worker") == 2
        assert server.terminate() == 0


def test_run_with_reload(tmp_path: Path) -> None:
    text = """
    if __name__ == "__main__":
        uvicorn.run("main:app", host="127.0.0.1", port=0, reload=True, reload_delay=0.1)
    """
    with Program(tmp_path, text) as server:
        server.wait_for_line("Started reloader process")
        assert server.get("/").body == b"v1"
        save(tmp_path / "main.py", (tmp_path / "main.py").read_text().replace("v1", "v2"))
        reloaded(server)
        assert server.get("/").body == b"v2"
        assert server.terminate() == 0


def test_two_servers_beside_other_tasks(tmp_path: Path) -> None:
    """One of them ends before the other; then Ctrl+C ends the program, with all there is in it."""
    text = """
    import asyncio, sys

    async def other():
        try:
            await asyncio.sleep(600)
        finally:
            print("other task ended", file=sys.stderr, flush=True)

    async def main():
        servers = [uvicorn.Server(uvicorn.Config(app, port=0)) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            for server in servers:
                task = group.create_task(server.serve())
                while not server.started:
                    await asyncio.sleep(0.01)
            servers[0].should_exit = True

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
    """
    with Program(tmp_path, text, listeners=3) as server:
        server.wait_for_lines("Shutdown complete", 1)
        for address in server.addresses[1:]:
            assert get(address[1]) == "v1"  # type: ignore[arg-type]
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert server.log.count("Shutdown complete") == 3
        assert "other task ended" in server.log and "interrupted" in server.log


def test_the_access_log_is_uvicorns(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(PRELUDE + "uvicorn.run(app, port=0)\n")
    process = subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stderr is not None
    try:
        found = next(
            filter(None, (re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line) for line in process.stderr))
        )
        get(int(found[1]), "/x?y")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=WAIT)
    finally:
        process.kill()
        process.wait()
    assert re.fullmatch(r'127\.0\.0\.1:\d+ - "GET /x\?y HTTP/1\.1" 200\n', out)


def test_reload_needs_a_name(tmp_path: Path) -> None:
    code = "import gateway.integrations.uvicorn as uvicorn; uvicorn.run(print, reload=True)"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=WAIT
    )
    assert result.returncode == 3
    assert "You must pass the application as an import string" in result.stderr


# Logging

LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "E|%(name)s|%(levelname)s|%(message)s"},
        "access": {"format": "A|%(name)s|%(message)s"},
    },
    "handlers": {
        "plain": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"},
        "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stderr"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["plain"], "level": "INFO", "propagate": False},
        "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}

LOGS_INI = """\
[loggers]
keys=root,uvicorn,access
[handlers]
keys=plain,access
[formatters]
keys=plain,access
[logger_root]
handlers=
[logger_uvicorn]
qualname=uvicorn
level=INFO
handlers=plain
propagate=0
[logger_access]
qualname=uvicorn.access
level=INFO
handlers=access
propagate=0
[handler_plain]
class=StreamHandler
formatter=plain
args=(sys.stderr,)
[handler_access]
class=StreamHandler
formatter=access
args=(sys.stderr,)
[formatter_plain]
format=E|%(name)s|%(levelname)s|%(message)s
[formatter_access]
format=A|%(name)s|%(message)s
"""

RUN = """
if __name__ == "__main__":
    uvicorn.run("main:app", host="127.0.0.1", port=0, {})
"""


@pytest.mark.parametrize(
    ("form", "options"),
    [("dict", ""), ("dict", ", workers=2"), ("dict", ", reload=True"), ("json", ""), ("yaml", ""), ("ini", "")],
)
def test_log_config(tmp_path: Path, form: str, options: str) -> None:
    if form == "yaml":
        pytest.importorskip("yaml")
    value = repr(LOGS) if form == "dict" else repr(f"logs.{form}")
    # What is JSON is YAML, too.
    (tmp_path / f"logs.{form}").write_text(LOGS_INI if form == "ini" else json.dumps(LOGS))
    with Program(tmp_path, RUN.format(f"log_config={value}{options}")) as server:
        assert server.get("/x?y=1").status == 200
        server.wait_for_line(r"^E\|uvicorn\.error\|INFO\|Listening at: ")
        server.wait_for_line(r'^A\|uvicorn\.access\|127\.0\.0\.1:\d+ - "GET /x\?y=1 HTTP/1\.1" 200$')
        server.terminate()
        assert all(re.match(r"[EA]\|uvicorn\.", line) for line in server.log.splitlines()), server.log


def test_log_config_with_uvicorns_own_formatters(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    text = """
    import copy
    from uvicorn.config import LOGGING_CONFIG
    logs = copy.deepcopy(LOGGING_CONFIG)
    logs["formatters"]["access"]["fmt"] = "%(client_addr)s|%(request_line)s|%(status_code)s"
    logs["handlers"]["access"]["stream"] = "ext://sys.stderr"
    if __name__ == "__main__":
        uvicorn.run(app, host="127.0.0.1", port=0, log_config=logs, use_colors=False)
    """
    with Program(tmp_path, text) as server:
        assert server.get("/x").status == 200
        server.wait_for_line(r"^INFO: +Listening at")
        server.wait_for_line(r"^127\.0\.0\.1:\d+\|GET /x HTTP/1\.1\|200 OK$")
        server.terminate()


def test_log_config_without_an_access_log(tmp_path: Path) -> None:
    with Program(tmp_path, RUN.format(f"log_config={LOGS!r}, access_log=False")) as server:
        assert server.get("/x").status == 200
        server.terminate()
        assert "E|uvicorn.error|INFO|Shutdown complete" in server.log
        assert "A|" not in server.log and "/x" not in server.log


def test_log_config_without_handlers_loses_nothing(tmp_path: Path) -> None:
    value = "log_config={'version': 1, 'disable_existing_loggers': True}"
    with Program(tmp_path, RUN.format(value)) as server:
        assert server.get("/").status == 200
        assert "[INFO] Listening at" in server.log
        server.terminate()


def test_the_next_config_is_without_it() -> None:
    uvicorn.Config(app, log_config=copy.deepcopy(LOGS))
    assert [type(each) for each in logging.getLogger("gateway.error").handlers] == [uvicorn_logging.Forward]
    uvicorn.Config(app)
    assert not any(isinstance(each, uvicorn_logging.Forward) for each in logging.getLogger("gateway.error").handlers)
    for name in ("uvicorn", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


# Frameworks' launchers

INSTEAD = """\
import sys
import gateway.integrations.uvicorn
sys.modules["uvicorn"] = gateway.integrations.uvicorn
"""


def test_fastapis_launch(tmp_path: Path) -> None:
    """The keywords of `fastapi dev` and `fastapi run`."""
    pytest.importorskip("fastapi")
    text = """
    from fastapi import FastAPI
    import uvicorn

    api = FastAPI()

    @api.get("/")
    def read() -> dict[str, str]:
        return {"answer": "v1"}

    if __name__ == "__main__":
        uvicorn.run(
            app="main:api", host="127.0.0.1", port=0, reload=False, reload_dirs=None, workers=None, root_path="",
            proxy_headers=True, forwarded_allow_ips=None, log_config={"version": 1, "disable_existing_loggers": False},
        )
    """
    with Program(tmp_path, text, prelude=INSTEAD) as server:
        assert server.facts("/") == {"answer": "v1"}
        assert "log_config" not in server.log
        assert server.terminate() == -signal.SIGTERM


def test_fastapis_command(tmp_path: Path) -> None:
    """`fastapi dev`, which imports the application itself before it has it served."""
    pytest.importorskip("fastapi_cli")
    pytest.importorskip("uvicorn")
    application = """
    from fastapi import FastAPI

    api = FastAPI()

    @api.get("/")
    def read() -> dict[str, str]:
        return {"answer": "v1"}
    """
    (tmp_path / "served.py").write_text(textwrap.dedent(application))
    text = """
    import gateway.integrations.uvicorn
    import uvicorn
    from fastapi_cli.cli import main

    uvicorn.run = gateway.integrations.uvicorn.run
    main()
    """
    with Program(tmp_path, text, "dev", "served.py", "--port", "0", prelude="") as server:
        server.wait_for_line("Started reloader process")
        assert server.facts("/") == {"answer": "v1"}
        save(tmp_path / "served.py", textwrap.dedent(application).replace("v1", "v2"))
        reloaded(server)
        assert server.facts("/") == {"answer": "v2"}
        assert server.terminate() == 0


def test_litestars_launch(tmp_path: Path) -> None:
    """`litestar run`, as it is."""
    pytest.importorskip("litestar")
    (tmp_path / "served.py").write_text(
        textwrap.dedent(
            """
            from litestar import Litestar, get

            @get("/")
            async def read() -> dict[str, str]:
                return {"answer": "v1"}

            app = Litestar([read])
            """
        )
    )
    text = """
    from litestar.cli.main import litestar_group
    litestar_group()
    """
    with Program(tmp_path, text, "--app", "served:app", "run", "--port", "0", prelude=INSTEAD) as server:
        assert server.facts("/") == {"answer": "v1"}
        assert server.terminate() == -signal.SIGTERM
