"""Workers that run as somebody else than the master: who they are, what belongs to them, and that all else works."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Server, environment, package_path
from .test_processes import BLOCK, TIME, answer, ask, gone, one_blocked, reloaded, start, until, workers, write_app

if sys.platform == "win32" or os.geteuid() != 0:
    pytest.skip("only root can change to another user", allow_module_level=True)

import grp
import pwd

USER = "nobody"

PURE = {"GATEWAY_NO_EXTENSIONS": "1"}
"""For another Python than the one that the extensions were made for."""

pytestmark = pytest.mark.timeout(120)


def interpreter() -> tuple[str, dict[str, str]] | None:
    """A Python that the user can run, and import gateway with; and the variables that go with it."""
    entry = pwd.getpwnam(USER)
    for python, variables in ((sys.executable, {}), (shutil.which("python3", path="/usr/bin"), PURE)):
        if python is None:
            continue
        try:
            done = subprocess.run(
                [python, "-m", "gateway", "--version"],
                env=environment(variables),
                cwd="/",
                user=entry.pw_uid,
                group=entry.pw_gid,
                extra_groups=[],
                capture_output=True,
                check=False,
                timeout=60,
            )
        except PermissionError:
            continue
        if done.returncode == 0:
            return python, variables
    return None


@pytest.fixture(scope="module")
def python() -> tuple[str, dict[str, str]]:
    found = interpreter()
    if found is None:
        pytest.skip(f"{USER} can run no Python that imports gateway from {package_path()}")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Everybody may enter it, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        write_app(path)
        yield path


def served_by(
    python: tuple[str, dict[str, str]], folder: Path, *options: str, binds: list[str] | None = None
) -> Server:
    server = start(folder, *options, binds=binds or ["127.0.0.1:0"], env={"PYTHONDONTWRITEBYTECODE": "1", **python[1]})
    server.command[0] = python[0]
    return server


def identity(pid: int) -> dict[str, list[int]]:
    """User, group and further groups of a process (proc_pid_status(5))."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.findall(r"^(Uid|Gid|Groups):\s+([\d\s]*?)$", text, re.MULTILINE)
    return {name: sorted(set(map(int, numbers.split()))) for name, numbers in found}


@pytest.mark.parametrize("initgroups", [False, True])
def test_workers_are_the_user(python: tuple[str, dict[str, str]], folder: Path, initgroups: bool) -> None:
    entry = pwd.getpwnam(USER)
    access, error, pid_file = folder / "access.log", folder / "error.log", folder / "pid"
    options = [f"--user={USER}", f"--access-logfile={access}", "--access-log-flush=0", f"--pid={pid_file}"]
    groups = [entry.pw_gid]
    if initgroups:
        options.append("--initgroups")
        groups = sorted(set(os.getgrouplist(USER, entry.pw_gid)))
    with served_by(python, folder, *options, binds=["127.0.0.1:0", f"unix:{folder}/s"]) as server:
        before = workers(server)
        for pid in before:
            assert identity(pid) == {"Uid": [entry.pw_uid], "Gid": [entry.pw_gid], "Groups": groups}
        assert identity(server.pid)["Uid"] == [0]
        assert answer(server)[1] in before
        assert ask(f"{folder}/s", "/")[0] == 200
        for path in (access, folder / "s"):
            assert (path.stat().st_uid, path.stat().st_gid) == (entry.pw_uid, entry.pw_gid), path
        assert pid_file.stat().st_uid == 0
        # What is loaded late is loaded as the user.
        write_app(folder, name="two", before=f"import decimal, sqlite3\nassert os.geteuid() == {entry.pw_uid}")
        server.signal(signal.SIGHUP)
        reloaded(server)
        until(lambda: answer(server)[0] == "two")
        # The folder is root's: only the master can make the new file.
        access.rename(folder / "old")
        server.signal(signal.SIGUSR1)
        until(lambda: answer(server) and access.exists() and access.stat().st_size)
        assert access.stat().st_uid == entry.pw_uid
        after = workers(server)
        assert server.terminate(TIME) == 0
        assert all(map(gone, before | after))
    assert not error.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["access.log", "old", "served.py"]


def test_such_workers_end_with_their_master(python: tuple[str, dict[str, str]], folder: Path) -> None:
    """A change of user undoes the parent-death signal (prctl(2)); it is asked for after that."""
    write_app(folder, within=BLOCK)
    with served_by(python, folder, f"--user={USER}") as server, one_blocked(server) as pids:
        server.kill()
        until(lambda: all(map(gone, pids)))


def test_upgrade_as_another_user(python: tuple[str, dict[str, str]], folder: Path) -> None:
    with served_by(python, folder, f"--user={USER}", binds=[f"unix:{folder}/s"]) as server:
        write_app(folder, name="two")
        server.signal(signal.SIGUSR2)
        pid = int(server.wait_for_line(r"Upgrade complete: process (\d+) serves", TIME)[1])
        try:
            until(lambda: ask(f"{folder}/s", "/")[1].startswith("two"))
        finally:
            os.kill(pid, signal.SIGTERM)
        until(lambda: gone(pid))
        assert not (folder / "s").exists()


def test_group_by_name(python: tuple[str, dict[str, str]], folder: Path) -> None:
    group = grp.getgrgid(pwd.getpwnam(USER).pw_gid)
    with served_by(python, folder, f"--group={group.gr_name}") as server:
        for pid in workers(server):
            assert identity(pid) == {"Uid": [0], "Gid": [group.gr_gid], "Groups": [group.gr_gid]}


@pytest.mark.parametrize(
    ("options", "mode"),
    [([], 0o666), (["--uds-mode=660"], 0o660), (["--umask=077"], 0o666)],
)
def test_mode_of_a_unix_socket(folder: Path, options: list[str], mode: int) -> None:
    path = folder / "s"
    old = os.umask(0o022)
    try:
        server = start(folder, *options, binds=[f"unix:{path}"])
        with server:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            server.signal(signal.SIGHUP)
            reloaded(server)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert server.terminate(TIME) == 0
    finally:
        os.umask(old)
    assert not path.exists()


def test_a_unix_socket_that_was_left_behind(folder: Path) -> None:
    """By a master that was killed: the next one replaces it."""
    path = folder / "s"
    with start(folder, binds=[f"unix:{path}"]) as server:
        pids = workers(server)
        server.kill()
        until(lambda: all(map(gone, pids)))
    assert path.exists()
    with start(folder, binds=[f"unix:{path}"]) as server:
        assert ask(str(path), "/")[0] == 200
        assert server.terminate(TIME) == 0
    assert not path.exists()
