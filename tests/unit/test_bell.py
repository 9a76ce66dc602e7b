"""Who is woken for a connection."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys
from collections.abc import Awaitable, Callable

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux", allow_module_level=True)

from gateway.server.bell import Bell
from gateway.server.worker import loop_factory

LOOPS = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") else [])


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0.001)


def run(main: Callable[[], Awaitable[None]], loop: str) -> None:
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(asyncio.wait_for(main(), 20))  # type: ignore[arg-type]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_bell_rings_while_it_is_hung_up(loop: str, alone: bool) -> None:
    async def main() -> None:
        rung = []

        def ring() -> None:
            rung.append(1)
            listener.accept()[0].close()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            bell = Bell(asyncio.get_running_loop(), listener.fileno(), ring)
            await turns()
            assert bell.found()
            with socket.create_connection(listener.getsockname()):
                await turns()
                assert not rung
                # What waits already counts.
                assert bell.hang(alone)
                await turns()
                assert len(rung) == 1
            assert bell.hang(not alone)
            with socket.create_connection(listener.getsockname()):
                await turns()
                assert len(rung) == 2
            bell.take_down()
            with socket.create_connection(listener.getsockname()):
                await turns()
            bell.close()
            await turns()
            assert len(rung) == 2

    run(main, loop)


def test_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr("os.listdir", lambda path: [])
        with socket.create_server(("127.0.0.1", 0)) as listener:
            bell = Bell(asyncio.get_running_loop(), listener.fileno(), lambda: None)
            await turns()
            assert not bell.found()
            bell.close()

    run(main, "asyncio")
