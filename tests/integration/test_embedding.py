"""gateway inside another program: in its loop, in a thread, several at a time, with its sockets, without its signals."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway.backend import Backend
from gateway.errors import EXIT_BOOT, AppLoadError, BindError, ConfigError
from gateway.server.server import Server

from .harness import WAIT, Client, environment, request

HELLO = request("GET", "/hello")
LOOPS = ["asyncio", "auto"]


async def asgi(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi " + scope["path"].encode()})


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi " + environ["PATH_INFO"].encode("latin-1")]


def make(app: Any = asgi, **options: Any) -> Server:
    options.setdefault("port", 0)
    return Server(app, **options)


def get(address: Any, target: str = "/") -> bytes:
    with Client(address) as client:
        client.send(request("GET", target))
        response = client.response()
        assert response.status == 200
        return response.body


async def fetch(server: Server, target: str = "/", number: int = 0) -> bytes:
    return await asyncio.to_thread(get, server.addresses[number], target)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT):
            await main()

    asyncio.run(bounded())


# In a running loop


@pytest.mark.parametrize("app", [asgi, wsgi])
def test_async_context_manager(app: Any, build: Backend) -> None:
    async def main() -> None:
        server = make(app, backend=build)
        assert server.addresses == []
        assert not server.started
        async with server as entered:
            assert entered is server
            assert server.started
            host, port = server.addresses[0]
            assert host == "127.0.0.1"
            assert int(port) > 0
            assert await fetch(server, "/x") == app.__name__.encode() + b" /x"
        assert not server.started
        with pytest.raises(ConnectionRefusedError):
            await fetch(server)

    run(main)


def test_serve_until_shutdown() -> None:
    async def main() -> None:
        server = make()
        task = asyncio.create_task(server.serve())
        await server.wait_started()
        assert await fetch(server) == b"asgi /"
        await server.shutdown()
        await task
        await server.shutdown()

    run(main)


def test_wait_started_raises_what_went_wrong() -> None:
    async def main() -> None:
        server = make(fails_to_start)
        task = asyncio.create_task(server.serve())
        with pytest.raises(AppLoadError, match="no database") as caught:
            await server.wait_started()
        assert caught.value.exit_code == EXIT_BOOT
        with pytest.raises(AppLoadError):
            await task
        await server.shutdown()

    run(main)


def test_cancelling_serve_stops_at_once() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("http only")
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    async def main() -> None:
        server = make(hangs)
        task = asyncio.create_task(server.serve())
        await server.wait_started()
        _, writer = await asyncio.open_connection(*server.addresses[0])
        writer.write(HELLO)
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cancelled.is_set()
        assert not server.started
        writer.close()

    run(main)


def test_shutdown_with_a_grace_period() -> None:
    begun = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.sleep(0.3)
        await asgi(scope, receive, send)

    async def main() -> None:
        server = make(slow, lifespan="off")
        async with server:
            reader, writer = await asyncio.open_connection(*server.addresses[0])
            writer.write(HELLO)
            await begun.wait()
            await server.shutdown(5)
            assert (await reader.read()).endswith(b"asgi /hello")
            writer.close()
        begun.clear()
        async with make(slow, lifespan="off") as server:
            reader, writer = await asyncio.open_connection(*server.addresses[0])
            writer.write(HELLO)
            await begun.wait()
            await server.shutdown(0)
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
            writer.close()

    run(main)


def test_running_it_again_is_an_error() -> None:
    async def main() -> None:
        server = make()
        async with server:
            with pytest.raises(RuntimeError, match="started; a Server runs once"):
                await server.start()
        with pytest.raises(RuntimeError, match="stopped; a Server runs once"):
            await server.serve()
        with pytest.raises(RuntimeError, match="stopped"), server.run_in_thread():
            pass

    run(main)


def test_shutdown_before_start_prevents_it() -> None:
    async def main() -> None:
        server = make()
        await server.shutdown()
        with pytest.raises(RuntimeError):
            await server.serve()
        with pytest.raises(RuntimeError):
            await server.wait_started()

    run(main)


def test_shutdown_while_the_application_starts() -> None:
    starting = asyncio.Event()

    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        starting.set()
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        server = make(hangs)
        task = asyncio.create_task(server.serve())
        await starting.wait()
        await server.shutdown()
        await task
        with pytest.raises(RuntimeError, match="stopped before it was up"):
            await server.wait_started()

    run(main)


def test_several_servers_in_one_loop() -> None:
    async def main() -> None:
        async with make(asgi) as first, make(wsgi) as second, make(asgi, loop="asyncio") as third:
            assert [await fetch(server) for server in (first, second, third)] == [b"asgi /", b"wsgi /", b"asgi /"]
            await first.shutdown()
            assert await fetch(second) == b"wsgi /"

    run(main)


def test_serve_function() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            task = asyncio.create_task(gateway.serve(asgi, sockets=[sock]))
            # Served as soon as it has started: the kernel queues the connection.
            assert await asyncio.to_thread(get, sock.getsockname()) == b"asgi /"
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


# Sockets and addresses


def test_the_callers_sockets_replace_the_default_address_and_stay_open() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            async with Server(asgi, sockets=[sock]) as server:
                assert server.addresses == [sock.getsockname()]
                assert await fetch(server) == b"asgi /"
            assert sock.fileno() >= 0
            async with Server(wsgi, sockets=[sock]) as server:
                assert await fetch(server) == b"wsgi /"
            async with make(asgi, sockets=[sock]) as server:
                assert len(server.addresses) == 2

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        async with Server(asgi, bind=[f"unix:{tmp_path}/s", "127.0.0.1:0"]) as server:
            assert server.addresses[0] == f"{tmp_path}/s"
            assert await fetch(server) == b"asgi /"
            assert await fetch(server, number=1) == b"asgi /"
        assert not (tmp_path / "s").exists()

    run(main)


def test_busy_port_raises_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            server = make(port=sock.getsockname()[1])
            with pytest.raises(BindError, match="address already in use"):
                await server.serve()
            with pytest.raises(BindError):
                await server.wait_started()

    run(main)


# In a thread


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("app", [asgi, wsgi])
def test_in_a_thread(app: Any, loop: str) -> None:
    before = set(threading.enumerate())
    with make(app, loop=loop).run_in_thread() as server:
        assert server.started
        assert get(server.addresses[0]) == app.__name__.encode() + b" /"
        assert any(thread.name == "gateway-server" for thread in threading.enumerate())
    assert not server.started
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("gateway-")]
    for thread in left:
        # At most at its very end.
        thread.join(WAIT)
        assert not thread.is_alive()


def test_failed_start_in_a_thread_is_raised_here() -> None:
    with pytest.raises(AppLoadError, match="no database"), make(fails_to_start).run_in_thread():
        pytest.fail("must not be entered")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        with pytest.raises(BindError), make(port=sock.getsockname()[1]).run_in_thread():
            pytest.fail("must not be entered")


def test_an_exception_in_the_block_stops_the_server() -> None:
    with pytest.raises(ZeroDivisionError), make().run_in_thread() as server:
        raise ZeroDivisionError
    assert not server.started


def test_several_threads() -> None:
    with make(asgi).run_in_thread() as first, make(wsgi).run_in_thread() as second:
        assert get(first.addresses[0]) == b"asgi /"
        assert get(second.addresses[0]) == b"wsgi /"


def test_waiting_and_stopping_from_another_loop() -> None:
    server = make()

    async def main() -> None:
        await server.wait_started()
        assert await fetch(server) == b"asgi /"
        await server.shutdown()
        assert not server.started

    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    run(main)
    thread.join(WAIT)
    assert not thread.is_alive()


# What stays the program's


def test_signal_handlers_stay_the_programs() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    async def main() -> None:
        inside = {number: signal.getsignal(number) for number in before}
        async with make():
            assert {number: signal.getsignal(number) for number in before} == inside

    run(main)
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_signals_when_asked_for_and_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        server = make(handle_signals=True)
        task = asyncio.create_task(server.serve())
        await server.wait_started()
        signal.raise_signal(signal.SIGTERM)
        await task

    run(main)
    assert signal.getsignal(signal.SIGTERM) is before


def test_logging_stays_the_programs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("gateway.error")
    before = (list(logger.handlers), logger.propagate)
    with make().run_in_thread():
        assert (list(logger.handlers), logger.propagate) == before
    if not before[0]:
        assert "Listening at: http://127.0.0.1:" in caplog.text
        assert "Shutdown complete" in caplog.text


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="did you mean threads"):
        Server(asgi, treads=3)
    with pytest.raises(ConfigError):
        Server()
    with pytest.raises(AppLoadError):
        Server("no_such_module_anywhere:app")


def test_config_and_options() -> None:
    config = gateway.Config(wsgi, port=0, threads=2)
    with Server(config=config, threads=3).run_in_thread() as server:
        assert server.pool.size == 3
        assert get(server.addresses[0]) == b"wsgi /"


# gateway.run, in a process of its own


def run_script(script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WAIT,
        **options,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_run_blocks_until_a_signal_and_returns() -> None:
    done = run_script(
        """
        import os, signal, socket, threading
        import gateway

        def app(environ, start_response):
            os.kill(os.getpid(), signal.SIGTERM)
            start_response("200 OK", [])
            return [b""]

        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        before = signal.getsignal(signal.SIGTERM)
        gateway.run(app, fd=listener.detach())
        assert signal.getsignal(signal.SIGTERM) == before
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        print("and on", [thread.name for thread in threading.enumerate()])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "and on ['MainThread']\n"
    assert "Handling signal: term" in done.stderr


def test_importing_the_package_is_cheap() -> None:
    done = run_script(
        """
        import sys
        import gateway
        heavy = {"asyncio", "ssl", "argparse", "gateway.backend", "gateway.server"} & set(sys.modules)
        print(sorted(heavy), gateway.__version__, sorted(set(gateway.__all__) - set(dir(gateway))))
        """
    )
    assert done.stdout == f"[] {gateway.__version__} []\n", done.stderr


# What a server needs for some options, errors or responses only, and none to start.
RARELY_NEEDED = frozenset(("difflib", "email", "pathlib", "platform", "shutil", "tempfile", "tomllib", "gateway.tls"))


def test_starting_a_server_loads_no_more_than_it_needs() -> None:
    done = run_script(
        f"""
        import sys
        import asyncio                          # what it loads is not ours to choose
        before = set(sys.modules)
        import gateway

        async def app(scope, receive, send):
            raise RuntimeError("no lifespan")

        with gateway.Server(app, bind="127.0.0.1:0").run_in_thread() as server:
            print(sorted((set(sys.modules) - before) & {set(RARELY_NEEDED)}), server.started)
        """
    )
    assert done.stdout == "[] True\n", done.stderr


def test_public_names() -> None:
    assert gateway.Server is Server
    assert gateway.Config.__name__ == "Config"
    assert gateway.WSGIToASGI.__name__ == "WSGIToASGI"
    assert callable(gateway.run)
    with pytest.raises(AttributeError):
        gateway.nothing  # noqa: B018


def test_stopping_is_quick() -> None:
    times = []
    for _ in range(3):
        with make(wsgi).run_in_thread() as server:
            get(server.addresses[0])
            begin = time.monotonic()
        times.append(time.monotonic() - begin)
    # The quickest tells what it waits for, the others what else this machine does.
    assert min(times) < 1.5


@pytest.mark.parametrize(("options", "client"), [({}, "192.0.2.7"), ({"proxy_headers": False}, "127.0.0.1")])
def test_proxy_options_reach_the_request(options: dict[str, Any], client: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode()]

    with make(app, **options).run_in_thread() as server, Client(server.addresses[0]) as connection:
        connection.send(request("GET", "/", "X-Forwarded-For: 192.0.2.7"))
        assert connection.response().body == client.encode()


def test_access_log_goes_to_its_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with make(wsgi, access_logfile=str(path), access_log_format="short").run_in_thread() as server:
        get(server.addresses[0], "/logged")
    assert '"GET /logged HTTP/1.1" 200' in path.read_text()
