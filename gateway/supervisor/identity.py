"""Who the workers are: the user and group they change to, and what has to belong to them for that."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from gateway.config.sections import ProcessSettings
from gateway.errors import ConfigError


class Identity(NamedTuple):
    """User and group of the workers; None: as the master."""

    uid: int | None
    gid: int | None
    groups_of: str | None = None
    """The user whose further groups they get (initgroups(3)); None: they keep the master's."""

    @classmethod
    def of(cls, settings: ProcessSettings) -> Identity:
        """What the options say. Raises ConfigError: there is no such user or group, or the master may not change."""
        uid = gid = None
        name: str | None = None
        if settings.user is not None:
            uid, gid, name = find_user(settings.user)
        if settings.group is not None:
            gid = find_group(settings.group)
        identity = cls(uid, gid, name if settings.initgroups else None)
        if identity.differs() and os.geteuid() != 0:
            raise ConfigError("--user, --group: only root can change to another user or group; leave them out")
        return identity

    def differs(self) -> bool:
        """Whether it is another user or group than the process's own."""
        return self.uid not in (None, os.geteuid()) or self.gid not in (None, os.getegid())

    def take(self) -> None:
        """Change to it, for good. Raises OSError."""
        if not self.differs():
            return
        if self.gid is not None:
            # Groups first: the user may not change them any more.
            if self.groups_of is not None:
                os.initgroups(self.groups_of, self.gid)
            else:
                os.setgroups([self.gid])
            os.setgid(self.gid)
        if self.uid is not None:
            os.setuid(self.uid)

    def give(self, path: str | None) -> None:
        """Have a file that the master has made belong to it, so that workers can open it anew."""
        if path and path != "-" and self.differs():
            try:
                os.chown(path, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
            except OSError:
                # A device, or gone: whoever opens it will say so.
                pass


def find_user(name: str) -> tuple[int, int | None, str | None]:
    """Number, group and name of a user, who may be given as a number that has no name. Raises ConfigError."""
    if sys.platform == "win32":
        raise ConfigError("--user: this platform has no such users")
    import pwd

    try:
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        if name.isdigit():
            return int(name), None, None
        raise ConfigError(f"--user: there is no user {name!r}") from None
    return entry.pw_uid, entry.pw_gid, entry.pw_name


def find_group(name: str) -> int:
    """The number of a group. Raises ConfigError."""
    if sys.platform == "win32":
        raise ConfigError("--group: this platform has no such groups")
    import grp

    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"--group: there is no group {name!r}") from None
