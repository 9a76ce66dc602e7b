"""Which files have changed: with watchfiles, whom the kernel tells, or by looking at all of them again and again.

All of it runs in a process of its own, so that the master has no threads when it forks, and nothing to wait for.
A save is often several changes, and several saves are often one thought: changes are told of once there were none for
the delay.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import importlib.util
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, Protocol

from gateway.config.sections import DevelopmentSettings

from .channel import Channel

INCLUDED = ("*.py",)
EXCLUDED = (".*", ".py[cod]", ".sw.*", "~*")

SKIPPED = frozenset(("__pycache__", "node_modules", "site-packages"))
"""Folders that nobody edits."""

ENVIRONMENT = "pyvenv.cfg"
"""The file that makes a folder a virtual environment: nobody edits these either."""

SHORTEST = 0.05
"""Seconds between two looks, at least."""

LONGEST = 3.0
"""Seconds for which changes that do not end are collected."""

SHARE = 0.1
"""The part of its time that looking at files may take."""

MESSAGE_FILES = 200
"""Files named in one message."""

Stamp = tuple[int, int, int]


class Selection:
    """The files that count.

    `folders` are those watched with all below them, by their paths without links, as the kernel tells them. Of the
    files there, those count that match an include and no exclude, and are in no folder that matches one; an include
    that is the plain name of a file is stronger than excludes. What includes name elsewhere, and `files`, counts as
    well.
    """

    def __init__(
        self,
        folders: Sequence[str],
        includes: Sequence[str] = (),
        excludes: Sequence[str] = (),
        files: Sequence[str] = (),
    ) -> None:
        self.files = frozenset(map(os.path.abspath, files))
        self.exact = frozenset(name for name in includes if not glob.has_magic(name) and not os.path.isdir(name))
        self.patterns = tuple(name for name in includes if os.sep in name and not os.path.isdir(name))
        more = [name for name in includes if os.path.isdir(name)]
        self.folders = outermost([*folders, *more])
        self._excluded_folders = frozenset(os.path.realpath(name) for name in excludes if os.path.isdir(name))
        # A plain name is that of every such folder, wherever it is.
        excludes = [name for name in excludes if os.sep not in name or not os.path.isdir(name)]
        # What was asked for is not overruled by what is so by itself.
        self._include = Patterns([*(name for name in INCLUDED if name not in excludes), *includes])
        self._exclude = Patterns([*(name for name in EXCLUDED if name not in includes), *excludes])
        self._environments: dict[str, bool] = {}

    @classmethod
    def of(cls, settings: DevelopmentSettings) -> Selection:
        """What the options say."""
        home = os.path.realpath(settings.app_dir or os.curdir)
        files = [*settings.env_file, os.path.join(home, "gateway.toml"), os.path.join(home, "pyproject.toml")]
        if settings.config is not None and not settings.config.startswith("python:"):
            files.append(settings.config.removeprefix("file:"))
        return cls(settings.reload_dir or [home], settings.reload_include, settings.reload_exclude, files)

    def counts(self, path: str) -> bool:
        """Whether a file, by its absolute path, is one of those in the folders that count."""
        folder = self.folder_of(path)
        if folder is None:
            return False
        parent = os.path.dirname(path)
        below = os.path.relpath(parent, folder).split(os.sep) if parent != folder else []
        for name in below:
            folder = os.path.join(folder, name)
            if self.skips(folder):
                return False
        return self.takes(path)

    def takes(self, path: str) -> bool:
        """Whether a file counts that is in a folder that is looked at."""
        if not self._include.match(path):
            return False
        return any(path.endswith(os.sep + name) for name in self.exact) or not self._exclude.match(path)

    def skips(self, folder: str) -> bool:
        """Whether nothing in this folder below a watched one counts."""
        if os.path.basename(folder) in SKIPPED or folder in self._excluded_folders or self._exclude.match(folder):
            return True
        if folder not in self._environments:
            self._environments[folder] = os.path.exists(os.path.join(folder, ENVIRONMENT))
        return self._environments[folder]

    def folder_of(self, path: str) -> str | None:
        """The watched folder that `path` is in."""
        return next((folder for folder in self.folders if path.startswith(folder.rstrip(os.sep) + os.sep)), None)

    def walk(self) -> Iterator[os.DirEntry[str]]:
        """The files in the folders that count. Links to folders are not followed, as they may lead back."""
        waiting = [folder for folder in self.folders if folder not in self._excluded_folders]
        while waiting:
            try:
                entries = list(os.scandir(waiting.pop()))
            except OSError:
                continue
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        if not self.skips(entry.path):
                            waiting.append(entry.path)
                    elif self.takes(entry.path):
                        yield entry

    def elsewhere(self, more: Iterable[str] = ()) -> set[str]:
        """The files to look at one by one: those named, and of `more` those that are not in the folders anyway."""
        found = {os.path.realpath(path) for pattern in self.patterns for path in glob.glob(pattern, recursive=True)}
        found.update(map(os.path.abspath, self.exact), self.files, more)
        return {path for path in found if not self.counts(path)}


class Patterns:
    """Names, as in ``*.html``, and ends of paths, as in ``templates/*.html``."""

    def __init__(self, patterns: Sequence[str]) -> None:
        names = [fnmatch.translate(pattern) for pattern in patterns if os.sep not in pattern]
        self._names = re.compile("|".join(names) or r"(?!)")
        self._paths = [pattern for pattern in patterns if os.sep in pattern]

    def match(self, path: str) -> bool:
        """Whether one of them matches."""
        if self._names.match(os.path.basename(path)):
            return True
        return any(PurePath(path).match(pattern) for pattern in self._paths)


def outermost(folders: Sequence[str]) -> tuple[str, ...]:
    """`folders` without those that are in another one."""
    found = {os.path.realpath(folder) for folder in folders}
    return tuple(
        sorted(
            folder
            for folder in found
            if not any(folder != other and folder.startswith(other.rstrip(os.sep) + os.sep) for other in found)
        )
    )


class Snapshot:
    """What files looked like. A file seen for the first time has changed when it is newer than `since`."""

    def __init__(self, since: float) -> None:
        self.since = since
        """Seconds of the epoch; math.inf: never."""
        self._stamps: dict[str, Stamp | None] = {}

    def know(self, path: str, stamp: Stamp | None) -> None:
        """Somebody else has seen a file, like this."""
        self._stamps[path] = stamp

    def compare(self, stamps: dict[str, Stamp | None], complete: bool = True) -> set[str]:
        """The files that look different now, are new or gone; `complete`: those that are not in `stamps` are gone."""
        before = self._stamps
        newest = self.since * 1e9
        changed = {
            path
            for path, stamp in stamps.items()
            if (before[path] != stamp if path in before else stamp is not None and stamp[0] > newest)
        }
        if complete:
            changed.update(path for path in before if path not in stamps)
        self._stamps = stamps if complete else {**before, **stamps}
        return changed


def stamp_of(path: str | os.DirEntry[str]) -> Stamp | None:
    """What tells one state of a file from another; None when there is no file."""
    try:
        facts = path.stat() if isinstance(path, os.DirEntry) else os.stat(path)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


class Engine(Protocol):
    """Tells of changes in the folders of a selection."""

    name: str
    """For people."""

    def wait(self) -> set[str]:
        """Wait for a moment. Returns the files that have changed."""


class Polling:
    """Looks at all files, with `delay` seconds from one look to the next, or more where there are many files."""

    name = "StatReload"  # what uvicorn calls its own

    def __init__(self, selection: Selection, delay: float, since: float) -> None:
        self._selection = selection
        self._delay = max(SHORTEST, delay)
        self._snapshot = Snapshot(since)
        self._took = 0.0
        self._found = self._look()
        # From now on all that was not there: it may have been moved there, whatever its age.
        self._snapshot.since = -math.inf

    def wait(self) -> set[str]:
        """The files that have changed since the look before."""
        if self._found:
            found, self._found = self._found, set()
            return found
        time.sleep(max(self._delay, self._took / SHARE))
        return self._look()

    def _look(self) -> set[str]:
        begin = time.monotonic()
        found = self._snapshot.compare({entry.path: stamp_of(entry) for entry in self._selection.walk()})
        self._took = time.monotonic() - begin
        return found


class Notified:
    """Waits for the kernel's word, by watchfiles. Raises ImportError, and what watchfiles raises."""

    name = "WatchFiles"

    def __init__(self, selection: Selection, delay: float, since: float) -> None:
        from watchfiles import watch

        self._selection = selection
        milliseconds = max(1, round(1000 * max(SHORTEST, delay)))
        self._events: Any = watch(
            *selection.folders,
            watch_filter=None,
            debounce=milliseconds,
            step=10,
            rust_timeout=milliseconds,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )
        self._found: set[str] = set()
        # Begins to watch. What has changed until then is seen by its time.
        first = self.wait()
        self._found = first | Snapshot(since).compare({entry.path: stamp_of(entry) for entry in selection.walk()})

    def wait(self) -> set[str]:
        """The files that have changed, after a moment at the latest."""
        if self._found:
            found, self._found = self._found, set()
            return found
        events = next(self._events, None)
        if events is None:
            raise SystemExit
        return {path for _, path in events if self._selection.counts(path)}


def make_engine(choice: str, selection: Selection, delay: float, since: float) -> tuple[Engine, str]:
    """What the option reload_engine asks for, and why it is not that if so."""
    if choice == "poll":
        return Polling(selection, delay, since), ""
    problem = ""
    try:
        return Notified(selection, delay, since), ""
    except ImportError:
        if choice != "auto":
            problem = "watchfiles is not installed; pip install 'gateway[reload]'"
    except Exception as error:
        # The system has a limit of folders that can be watched, for one.
        problem = f"watchfiles can't watch: {error}"
    return Polling(selection, delay, since), problem


def watch(settings: DevelopmentSettings, channel: Channel, since: float) -> None:
    """Tell of changes over `channel` until its other end is gone; `since` is when the first application was started."""
    selection = Selection.of(settings)
    engine, problem = make_engine(settings.reload_engine, selection, settings.reload_delay, since)
    channel.send(watching={"name": engine.name, "problem": problem})
    loaded: set[str] = set()
    single = Snapshot(since)
    changed = single.compare({path: stamp_of(path) for path in selection.elsewhere()})
    first = 0.0
    while (messages := channel.receive()) is not None:
        for message in messages:
            for path, stamp in message.get("files", {}).items():
                if path not in loaded:
                    loaded.add(path)
                    single.know(path, tuple(stamp) if stamp is not None else None)
        found = engine.wait()
        found |= single.compare({path: stamp_of(path) for path in selection.elsewhere(loaded)}, complete=False)
        if found and not changed:
            first = time.monotonic()
        changed |= found
        if changed and (not found or time.monotonic() - first > LONGEST):
            forget_compiled(changed)
            channel.send(changed=sorted(changed)[:MESSAGE_FILES])
            changed = set()


def forget_compiled(paths: Iterable[str]) -> None:
    """Remove what Python has compiled of these files.

    It tells by size and time, in seconds, whether that is still true: of two saves in one second it may miss one.
    """
    for path in paths:
        if path.endswith(".py") and sys.implementation.cache_tag is not None:
            with contextlib.suppress(OSError):
                os.unlink(importlib.util.cache_from_source(path))
