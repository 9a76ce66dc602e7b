"""What a worker under development has loaded, and must not take from the master."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from .changes import Selection, Stamp, stamp_of

PACKAGE = __name__.partition(".")[0]

LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
"""Where Python's own modules are."""

FOREIGN = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
"""Where packages are that were installed, not written here."""


def forget(selection: Selection) -> None:
    """Have modules loaded anew that the master had loaded before the fork: a configuration may import some.

    Only those that are watched; who extends Python in C does not expect to be loaded twice.
    """
    for name, module in list(sys.modules.items()):
        path = file_of(module)
        if path is not None and not is_ours(name) and selection.counts(path):
            del sys.modules[name]
    for path in list(sys.path_importer_cache):
        # What was in a folder when it was last looked at.
        if selection.folder_of(os.path.join(os.path.realpath(path), "x")) is not None:
            del sys.path_importer_cache[path]


def is_ours(name: str) -> bool:
    """Whether the module is in use whatever happens."""
    return name in ("__main__", "__mp_main__") or name.partition(".")[0] == PACKAGE


class LoadedFiles:
    """The files of modules that this process has loaded since this was made, but for those that nobody edits."""

    def __init__(self) -> None:
        self._known = set(sys.modules)

    def fresh(self) -> dict[str, Stamp | None]:
        """Those that were not told of before, as they are now."""
        names = [name for name in tuple(sys.modules) if name not in self._known]
        self._known.update(names)
        paths = {file_of(sys.modules.get(name)) for name in names}
        return stamps_of(path for path in paths if path is not None)


def files_in(error: BaseException) -> dict[str, Stamp | None]:
    """The files in a traceback: where loading a module failed, it is not there to be asked."""
    found: set[str] = set()
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, SyntaxError) and current.filename:
            found.add(current.filename)
        trace = current.__traceback__
        while trace is not None:
            found.add(trace.tb_frame.f_code.co_filename)
            trace = trace.tb_next
        current = current.__cause__ or current.__context__
    return stamps_of(os.path.realpath(path) for path in found if os.path.isabs(path))


def stamps_of(paths: Iterable[str]) -> dict[str, Stamp | None]:
    """The files among these that somebody edits, as they are now."""
    return {path: stamp_of(path) for path in paths if is_edited(path)}


def is_edited(path: str) -> bool:
    """Whether somebody may well edit this file."""
    return not path.startswith(LIBRARY) and not any(folder in path for folder in FOREIGN)


def file_of(module: object) -> str | None:
    """The source file of a module, or None where there is none."""
    path = getattr(module, "__file__", None)
    return os.path.realpath(path) if isinstance(path, str) and path.endswith(".py") else None
