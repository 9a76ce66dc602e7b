"""The command ``gateway``: options to a `Config`, and the server started with it.

What goes wrong before the server runs ends in one line on stderr, ``gateway: error: ...``, and the exit code that
`gateway.errors` lists; the application's own traceback stands above it where the application's code raised.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import errors, loader
from ._version import __version__
from .config import sources
from .config.folder import enter, resolve, start_folder
from .config.settings import Config
from .errors import AppLoadError, ConfigError, GatewayError
from .tracebacks import describe_cause

if TYPE_CHECKING:
    from .supervisor.daemon import Detached

# Words that are subcommands, or will be. A module of such a name is served by naming its attribute.
RESERVED = frozenset(("check", "ctl", "migrate", "top"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process). Returns the exit code."""
    start = Start()
    code = command(sys.argv[1:] if argv is None else list(argv), start)
    if start.detached is not None:
        start.detached.report(code)
    return code


class Start:
    """How the program was started: in which `folder`; `detached` is the way back, where it went into the background."""

    def __init__(self) -> None:
        self.folder = start_folder()
        self.detached: Detached | None = None


def command(arguments: Sequence[str], start: Start) -> int:
    """As `main`."""
    # Env files add to it; a reload begins with what there was before.
    environ = dict(os.environ)
    try:
        if arguments[:1] == ["migrate"]:
            return migrate(arguments[1:])
        if arguments[:1] == ["ctl"]:
            from .supervisor import ctl

            return ctl.main(arguments[1:])
        if arguments[:1] == ["top"]:
            from .supervisor import top

            return top.main(arguments[1:])
        # A configuration written in Python may print, which is no part of what is asked for.
        printing = any(argument.startswith("--print-config") for argument in arguments)
        with contextlib.redirect_stdout(sys.stderr if printing else sys.stdout):
            config, actions = sources.load(arguments)
        if "version" in actions:
            print(version())
            return errors.EXIT_OK
        for warning in config.warnings:
            print(f"gateway: warning: {warning}", file=sys.stderr, flush=True)
        if "print_config" in actions:
            print(show(config, actions["print_config"]))
            return errors.EXIT_OK
        check_target(config)
        config = enter(config)
        if "check_config" in actions:
            return check(config)
        return serve(config, arguments, environ, start)
    except ConfigError as error:
        return fail(error, errors.EXIT_USAGE)
    except AppLoadError as error:
        if error.show_traceback and error.__cause__ is not None:
            print(describe_cause(error.__cause__), end="", file=sys.stderr)
        return fail(error, error.exit_code)
    except GatewayError as error:
        return fail(error, getattr(error, "exit_code", errors.EXIT_ERROR))
    except KeyboardInterrupt:
        # While the application was being imported, or raised by the application: the server handles the signal.
        return fail("interrupted", errors.EXIT_ERROR)


def serve(config: Config, arguments: Sequence[str], environ: Mapping[str, str], start: Start) -> int:
    """Serve, with a master or in this process. Returns the exit code."""
    from .supervisor.systemd import listening_descriptors

    descriptors = listening_descriptors(environ, os.getpid(), os.getppid())
    config = with_sockets(config, descriptors)
    if not config.supervisor:
        from .server.program import run

        return run(config)
    if not hasattr(os, "fork"):
        from .server.program import run

        if config.reload:
            raise ConfigError("--reload: this platform can't fork; leave it out, and restart by hand")
        if config.daemon:
            raise ConfigError("--daemon: this platform can't fork; leave it out")
        if config.workers > 1:
            print("gateway: one process serves: this platform can't fork, --workers has no effect", file=sys.stderr)
        return run(config.replace(workers=1))

    def reread() -> tuple[Config, dict[str, str]]:
        fresh = dict(environ)
        again = load_again(arguments, fresh, start.folder, config.chdir)
        return with_sockets(again, descriptors), fresh

    from .supervisor.master import run as supervise

    if config.daemon:
        from .supervisor.daemon import detach
        from .supervisor.upgrade import VARIABLE

        # What an upgrade starts is in the background already.
        if VARIABLE not in environ:
            start.detached = detach(config.enable_stdio_inheritance)
    return supervise(config, reread, environ, start.folder, start.detached)


def load_again(arguments: Sequence[str], environ: dict[str, str], folder: str, chdir: str | None) -> Config:
    """The configuration as it is now, seen from the `folder` of the start; `chdir` is where we are now, if elsewhere.

    Raises ConfigError.
    """
    try:
        with contextlib.nullcontext() if chdir is None else contextlib.chdir(folder):
            config, _ = sources.load(arguments, environ)
            check_target(config)
            config = resolve(config)
            # Workers have to leave where the first configuration has led us.
            return config.replace(chdir=folder) if chdir is not None and config.chdir is None else config
    except OSError as error:
        raise ConfigError(f"the folder that the program was started in is gone: {error}") from None


def with_sockets(config: Config, descriptors: Sequence[int]) -> Config:
    """`config`, listening at the sockets that systemd has opened for us, if it has."""
    return config.replace(bind=[f"fd://{number}" for number in descriptors]) if descriptors else config


def fail(problem: object, code: int) -> int:
    """Say what went wrong, in one line. Returns `code`."""
    print(f"gateway: error: {problem}", file=sys.stderr, flush=True)
    return code


def check_target(config: Config) -> None:
    """Raise ConfigError when there is nothing to serve, or a target that is no module."""
    app = config.application.app
    if app is None and config.application.mount:
        return
    if app is None:
        raise ConfigError("no application given; say which, as in: gateway app:app")
    if app in RESERVED:
        raise ConfigError(
            f"{app!r} is the name of a subcommand, or kept for one; subcommands come first, and if it is your module,"
            f" name the attribute too: {app}:app"
        )


def migrate(arguments: Sequence[str]) -> int:
    """The subcommand ``migrate``: print a gunicorn.conf.py as gateway.toml."""
    from .config.migrate import migrate as translate

    if arguments in (["-h"], ["--help"]):
        print("usage: gateway migrate FILE\n")
        print("Print a configuration file of gunicorn, NAME.py, file:PATH or python:MODULE, as gateway.toml:")
        print("the same options, and comments for what has no equivalent.")
        return errors.EXIT_OK
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise ConfigError(
            "migrate takes one argument, a configuration file of gunicorn, as in: gateway migrate gunicorn.conf.py"
            " > gateway.toml; if it is your module, name the attribute too: migrate:app"
        )
    with contextlib.redirect_stdout(sys.stderr):
        text = translate(arguments[0])
    print(text, end="")
    return errors.EXIT_OK


def check(config: Config) -> int:
    """Do what can be done without serving: load the applications, the certificate and the log format."""
    from .backend import current
    from .server.assembly import load_app
    from .tls import make_ssl_context

    if config.tls is not None:
        make_ssl_context(config.tls)
    check_log_format(current, config.log.access_log_format)
    loaded = load_app(None, config)
    for notice in config.notices:
        print(notice)
    places = loaded.mounts if isinstance(loaded, loader.LoadedMounts) else [(None, loaded)]
    found = [f"{app.name} speaks {KINDS[app.kind]}" + (f" at {mount.path}" if mount else "") for mount, app in places]
    addresses = ", ".join(map(str, config.listen.addresses))
    print(f"OK: {', '.join(found)}; would listen at {addresses}")
    return errors.EXIT_OK


KINDS = {"wsgi": "WSGI", "asgi3": "ASGI 3", "asgi2": "ASGI 2", "django": "WSGI and ASGI"}
"""What people call the kinds of `loader`."""


def check_log_format(backend: Any, text: str) -> None:
    """Raise ConfigError when `text` is no access log format."""
    try:
        backend.http.AccessLogger(text, len)
    except ValueError as error:
        raise ConfigError(f"--access-log-format: {error}") from None


def show(config: Config, form: str) -> str:
    """All options with their values and sources, as "toml" or "json"."""
    if form == "json":
        import json

        return json.dumps(config.describe(), indent=2)
    return sources.to_toml(config)


def version() -> str:
    """What to name in a bug report: gateway, its build, Python, event loop, platform."""
    import platform

    from .backend import current

    try:
        import uvloop

        loop = f"uvloop {getattr(uvloop, '__version__', '?')}"
    except ImportError:
        loop = "asyncio"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"gateway {__version__} ({current.describe()}), {python}, {loop}, {platform.platform(terse=True)}"
