"""What a reload changes of the master itself, and what it says that it can't."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from .harness import Client, Server, request, run_gateway
from .test_processes import TIME, name_of, until, write_app

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at processes in /proc"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_app(tmp_path)
    return tmp_path


def configure(folder: Path, **options: Any) -> None:
    lines = [f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for name, value in options.items()]
    (folder / "gateway.toml").write_text("\n".join([*lines, "workers = 1\n"]))


def reload(server: Server, times: int = 1) -> None:
    server.signal(signal.SIGHUP)
    server.wait_for_lines("Reload complete", times, TIME)


def livez(address: str | tuple[str, int]) -> int:
    with Client(address) as client:
        client.send(request("GET", "/livez"))
        return client.response().status


def test_places_follow(folder: Path) -> None:
    def place(number: int) -> dict[str, str]:
        names = {"pid": "pid", "control_socket": "control", "health_bind": "health"}
        found = {name: f"{folder}/{file}-{number}" for name, file in names.items()}
        return {**found, "health_bind": f"unix:{found['health_bind']}", "proc_name": f"site-{number}"}

    def files() -> list[str]:
        return sorted(path.name for path in folder.glob("*-?"))

    configure(folder, **place(1))
    with Server("served:app", app_dir=folder, cwd=folder) as server:
        assert files() == ["control-1", "health-1", "pid-1"]
        configure(folder, **place(2))
        reload(server)
        assert files() == ["control-2", "health-2", "pid-2"]
        assert (folder / "pid-2").read_text() == f"{server.pid}\n"
        assert livez(f"{folder}/health-2") == 200
        done = run_gateway("ctl", "--socket", f"{folder}/control-2", "reload", cwd=folder, timeout=TIME)
        assert done.returncode == 0, done.stderr
        # Whoever has asked hears of it, even where the socket moves meanwhile.
        configure(folder, **place(3))
        done = run_gateway("ctl", "--socket", f"{folder}/control-2", "reload", cwd=folder, timeout=TIME)
        assert done.returncode == 0, done.stderr
        assert files() == ["control-3", "health-3", "pid-3"]
        configure(folder)
        reload(server, 4)
        assert files() == []
        configure(folder, **place(1))
        reload(server, 5)
        assert files() == ["control-1", "health-1", "pid-1"]
        assert server.terminate(TIME) == 0
        assert files() == []


def test_a_place_that_is_not_to_be_had(folder: Path) -> None:
    configure(folder, pid=f"{folder}/pid", control_socket=f"{folder}/control", health_bind=f"unix:{folder}/health")
    with Server("served:app", app_dir=folder, cwd=folder) as server:
        configure(folder, pid=f"{folder}/no/pid", control_socket=f"{folder}/no/c", health_bind=f"unix:{folder}/no/h")
        reload(server)
        assert livez(f"{folder}/health") == 200
        for path in ("pid", "c", "h"):
            server.wait_for_line(rf"ERROR.*/no/{path}\b")
        # The next program has what this one still has, and tries the others anew.
        configure(folder, pid=f"{folder}/pid-2", control_socket=f"{folder}/control", health_bind=f"unix:{folder}/health")
        reload(server, 2)
        server.signal(signal.SIGUSR2)
        server.wait_for_line("Upgrade complete", TIME)
        assert server.process is not None
        assert server.process.wait(TIME) == 0
        new = int((folder / "pid-2").read_text())
        try:
            assert livez(f"{folder}/health") == 200
        finally:
            os.kill(new, signal.SIGTERM)
        until(lambda: not (folder / "pid-2").exists())


def test_the_name_follows(folder: Path) -> None:
    pytest.importorskip("setproctitle")
    configure(folder, proc_name="before")
    with Server("served:app", app_dir=folder, cwd=folder) as server:
        configure(folder, proc_name="after")
        reload(server)
        assert "master [after]" in name_of(server.pid)
        assert "worker [after]" in name_of(server.worker_pid)


def test_what_a_reload_does_not_change_is_told(folder: Path) -> None:
    configure(folder, backlog=100)
    with Server("served:app", app_dir=folder, cwd=folder, binds=(f"unix:{folder}/s",)) as server:
        configure(folder, backlog=200, umask=0o27, preload=True)
        reload(server)
        assert re.search(r"WARNING.* reload does not change --preload, --umask: .*upgrade \(USR2\)", server.log)
        assert re.search(r"WARNING.* reload does not change --backlog: that takes a restart", server.log)
        configure(folder, backlog=100)
        reload(server, 2)
        assert len(re.findall("does not change", server.log)) == 2
