"""Where further options come from."""

from .. import values
from .option import Option, table

OPTIONS = table(
    "Configuration",
    Option(
        "config",
        values.PATH,
        None,
        "read options from this file, in place of gateway.toml or [tool.gateway] in pyproject.toml: TOML, or a "
        "gunicorn.conf.py (NAME.py, file:PATH or python:MODULE)",
        flags=("-c",),
        default_text="./gateway.toml, ./pyproject.toml",
    ),
    Option(
        "gunicorn_cmd_args",
        values.SWITCH,
        False,
        "take options from the environment variable GUNICORN_CMD_ARGS, as gunicorn does",
    ),
    Option(
        "env_file",
        values.PATHS,
        (),
        "environment variables for gateway and the application (python-dotenv); those set already stay",
        flags=("--env-files",),
        repeatable=True,
    ),
)
