"""Loading anew when files change."""

from .. import values
from .option import Option, table, timeout

OPTIONS = table(
    "Development",
    Option(
        "reload",
        values.SWITCH,
        False,
        "for development: load the application anew whenever a file changes, with one worker. What can't start is "
        "shown as a page, with its traceback, to whoever connects",
    ),
    Option(
        "reload_dir",
        values.FOLDERS,
        (),
        "watch this directory and all below it",
        names=("reload_dirs",),
        repeatable=True,
        default_text="the app dir",
    ),
    Option(
        "reload_include",
        values.PATTERNS,
        (),
        "watch files of this name or pattern too, beside *.py; a path may lead elsewhere, and a directory is one more "
        "to watch",
        flags=("--reload-extra-file",),
        names=("reload_includes", "reload_extra_files"),
        repeatable=True,
        default_text="*.py",
    ),
    Option(
        "reload_exclude",
        values.PATTERNS,
        (),
        "leave files and directories of this name or pattern alone, beside .*, .py[cod], .sw.* and ~*",
        names=("reload_excludes",),
        repeatable=True,
        default_text=".*, .py[cod], .sw.*, ~*",
    ),
    timeout(
        "reload_delay",
        "",
        0.25,
        "without a further change, before the application is loaded; and from one look to the next when polling",
        off=False,
    ),
    Option(
        "reload_engine",
        values.TEXT,
        "auto",
        "how changes are noticed: watchfiles (or gunicorn's word, inotify) needs the package of that name; poll looks "
        "at every file; auto takes watchfiles when it is installed",
        choices=("auto", "watchfiles", "inotify", "poll"),
    ),
)
