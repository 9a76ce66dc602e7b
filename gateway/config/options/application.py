"""What is served: the application or the mounts, and what it finds when it is loaded."""

from .. import values
from ..mounts import INTERFACES, MOUNTS
from .option import Option, table

OPTIONS = table(
    "Application",
    Option(
        "app",
        values.TEXT,
        None,
        "the application: module:attribute, module:factory() or a module with `application` or `app` in it",
        placeholder="TARGET",
    ),
    Option(
        "mount",
        MOUNTS,
        (),
        "serve this application under this path, and others beside it; the longest path wins, / takes what is left. In "
        "place of TARGET",
        names=("mounts",),
        repeatable=True,
    ),
    Option(
        "interface",
        values.TEXT,
        "auto",
        "what the application speaks; auto finds out, and the start-up line says what it found",
        choices=INTERFACES,
    ),
    Option(
        "django_wsgi",
        values.PATH_PREFIXES,
        (),
        "with --interface django: path prefixes whose views run in threads, whatever they are",
        repeatable=True,
    ),
    Option(
        "django_asgi",
        values.PATH_PREFIXES,
        (),
        "with --interface django: path prefixes whose views run on the event loop, whatever they are",
        repeatable=True,
    ),
    Option("factory", values.SWITCH, False, "the target is called without arguments to get the application"),
    Option(
        "chdir",
        values.FOLDER,
        None,
        "change to this directory before the application is loaded; relative paths are meant from there, except for "
        "that of --config",
        flags=("--working-dir",),
        default_text="the current directory",
    ),
    Option(
        "app_dir",
        values.FOLDER,
        None,
        "put first on the import path; gateway.toml and pyproject.toml are looked for there",
        default_text="the current directory",
    ),
    Option(
        "pythonpath",
        values.FOLDERS,
        (),
        "more directories for the import path, after the app dir",
        repeatable=True,
    ),
    Option(
        "env",
        values.ASSIGNMENTS,
        (),
        "set an environment variable, for the application too; stronger than the environment and than env files",
        flags=("-e",),
        names=("raw_env",),
        repeatable=True,
        secret=True,
    ),
    Option(
        "root_path",
        values.ROOT_PATH,
        "",
        "the prefix the application is reached under (SCRIPT_NAME, root_path)",
        flags=("--url-path-prefix",),
        env=("SCRIPT_NAME",),
    ),
    Option(
        "lifespan",
        values.TEXT,
        "auto",
        "ASGI lifespan: on makes an application without it fail at start, off never asks",
        flags=("--asgi-lifespan",),
        choices=("auto", "on", "off"),
    ),
)
