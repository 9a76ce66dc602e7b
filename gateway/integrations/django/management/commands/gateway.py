"""`manage.py gateway`: the project on the production server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, SystemCheckError

from gateway.config.sources import parse_arguments
from gateway.errors import EXIT_USAGE, ConfigError

from ...targets import target_for, told

OPTIONS = "python:gateway.integrations.django.options"

FLAGS = ("--no-color", "--force-color", "--traceback")
"""Django's options that take no value."""


class Command(BaseCommand):  # type: ignore[misc]
    """Runs the system checks, then becomes `python -m gateway`, which knows nothing of manage.py.

    So the options, signals and exit codes are those of that command, and a reload loads all of the project anew.
    """

    help = (
        "Serves this project with gateway. The options are those of `gateway --help`; defaults for them stand in "
        "the setting GATEWAY = {...}, by the names of a gateway.toml. --skip-checks leaves out the system checks."
    )

    def add_arguments(self, parser: Any) -> None:
        """For `manage.py help gateway`, and call_command."""
        parser.add_argument("arguments", nargs="*", metavar="[OPTION ...]", help="see gateway --help")

    def run_from_argv(self, argv: list[str]) -> None:
        """All but Django's own options is gateway's."""
        arguments, checks = own(argv[2:])
        try:
            self.serve(arguments, checks=checks)
        except ConfigError as error:
            self.stderr.write(f"gateway: error: {error}", lambda text: text)
            sys.exit(EXIT_USAGE)
        except SystemCheckError as error:
            self.stderr.write(str(error), lambda text: text)
            sys.exit(error.returncode)
        except CommandError as error:
            self.stderr.write(f"{type(error).__name__}: {error}")
            sys.exit(error.returncode)

    def handle(self, *args: Any, **options: Any) -> None:
        """By call_command."""
        try:
            self.serve(options["arguments"], checks=False)
        except ConfigError as error:
            raise CommandError(str(error), returncode=EXIT_USAGE) from error

    def serve(self, arguments: Sequence[str], *, checks: bool) -> NoReturn:
        """Check, and become the server. Raises ConfigError, CommandError and SystemCheckError."""
        command = server_command(arguments)
        if checks:
            self.check()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if sys.platform == "win32":
            # There, what replaces a process is another one, and the shell does not wait for it.
            sys.exit(subprocess.call(command))
        os.execv(command[0], command)


def own(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """`arguments` without those of Django's, which have had their effect, and whether to check the project."""
    left: list[str] = []
    checks = True
    rest = iter(arguments)
    for argument in rest:
        if argument == "--skip-checks":
            checks = False
        elif argument in ("--settings", "--verbosity", "-v"):
            next(rest, None)
        elif not argument.startswith(("--settings=", "--verbosity=", "-v")) and argument not in FLAGS:
            left.append(argument)
    return left, checks


def server_command(arguments: Sequence[str]) -> list[str]:
    """What to become. Raises ConfigError."""
    # What the interpreter was told, -X dev and the like; of `python -m django` less the -m.
    flags = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    command = [sys.executable, *(flag for flag in flags if flag != "-m"), "-m", "gateway"]
    if any(argument in ("-h", "--help", "--version") for argument in arguments):
        return [*command, *arguments]
    given, _ = parse_arguments(list(arguments))
    if "config" not in given:
        command += ["--config", OPTIONS]
    if told(given, os.environ, "app_dir") is None:
        # Where manage.py is, which is where it imports from.
        command += ["--app-dir", sys.path[0] or os.getcwd()]
    command += arguments
    if told(given, os.environ, "app", "mount") is None:
        command.append(target_for(told(given, os.environ, "interface") or "auto"))
    return command
