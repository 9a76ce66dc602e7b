"""What of a new configuration concerns the master itself, at a reload: where it can be reached, and what it is called.

Pid file, health address, control socket and name follow once the reload is complete: one that fails leaves them as they
are. What can't follow is told of when the reload begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.addresses import unix_address
from gateway.config.settings import Config
from gateway.errors import BindError, ConfigError

from .control import Control
from .health import Health
from .pidfile import PidFile
from .titles import name_of

if TYPE_CHECKING:
    from .master import Master

UPGRADE = ("preload", "user", "group", "initgroups", "umask", "reload")
"""Options that only a new program takes."""

RESTART = ("supervisor", "daemon", "enable_stdio_inheritance")
"""Options that count where it is started by hand."""

SOCKETS = ("uds_mode", "backlog", "reuse_port")
"""Options of sockets, which are kept where the address stays; and handed over to a new program."""


def warnings(start: Config, now: Config) -> list[str]:
    """What of `now` does not count, in a program that was started with `start`: one line for each way to change it."""

    def changed(names: tuple[str, ...]) -> str:
        return ", ".join(f"--{name.replace('_', '-')}" for name in names if start.values[name] != now.values[name])

    lines = []
    if names := changed(UPGRADE):
        lines.append(f"A reload does not change {names}: that takes an upgrade (USR2), or a restart")
    kept = not set(start.listen.addresses).isdisjoint(now.listen.addresses)
    if names := changed((*RESTART, *SOCKETS) if kept else RESTART):
        lines.append(f"A reload does not change {names}: that takes a restart")
    return lines


def follow(master: Master, config: Config) -> None:
    """Be where and what `config` says; what does not work stays as it was, and the log says why."""
    master.titles.name = name_of(config)
    master.titles.be("master")
    for move in (follow_pid, follow_health, follow_control):
        try:
            move(master, config)
        except (BindError, ConfigError) as error:
            master.log.error("%s", error)


def follow_pid(master: Master, config: Config) -> None:
    """The file for the master's number. Raises ConfigError."""
    old = master.pid_file
    new = PidFile(config.processes.pid) if config.processes.pid else None
    if (old and old.path) == (new and new.path):
        return
    if new is not None:
        new.write()
    if old is not None:
        old.remove()
    master.pid_file = new


def follow_health(master: Master, config: Config) -> None:
    """Where /livez and /readyz are answered. Raises BindError."""
    address, old = config.processes.health_bind, master.health
    if address == (old and old.address):
        return
    master.health = None if address is None else Health(address, master.selector, master.state)
    if old is not None:
        old.end()
    if master.health is not None:
        master.health.announce(master.log)


def follow_control(master: Master, config: Config) -> None:
    """Where operators find the master; those that are connected stay so. Raises BindError."""
    path, control = config.processes.control_socket, master.control
    address = None if path is None else unix_address(path)
    if control is None:
        if address is not None:
            master.control = Control(address, master)
            master.control.start()
    elif control.address != address:
        control.move(address)
