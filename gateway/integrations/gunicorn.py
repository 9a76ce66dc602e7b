"""gunicorn with gateway as its worker: `gunicorn -k gateway.integrations.gunicorn.GatewayWorker app:app`.

gunicorn's master stays what it is: it binds, forks, watches, reloads, and keeps the logs. The worker serves with
gateway's `Server`, by gunicorn's own settings, through the table that reads a gunicorn.conf.py (`config/gunicorn`). Of
gateway's own options those that concern requests are taken from the environment (GATEWAY_TIMEOUT_HEAD=5s), and are
stronger.

Rule 1: the heartbeat comes from the event loop. A worker whose loop is blocked is ended by the master; one without a
master ends by itself.
Rule 2: signal handlers only say what is to be done; the loop does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from ..adapters.environ import scope_environ
from ..config import gunicorn as settings_table
from ..config.options import BY_NAME
from ..config.rules import Source
from ..config.settings import Config, Extras
from ..config.sources import RANK_FILE, RANK_VARIABLE, environment
from ..errors import AppLoadError, ConfigError
from ..log import Loggers, text_of
from ..server.binding import open_listeners
from ..server.server import EXIT_TIME, Server, Stopped
from ..server.worker import Watchdog, loop_factory
from ..tracebacks import describe_cause

if TYPE_CHECKING:
    import ssl

Hooks = Mapping[str, Callable[..., Any]]

# What gunicorn does by itself, whatever the worker is; and what a worker does by the methods of its base class.
GUNICORNS = frozenset(
    """
    config wsgi_app control_socket control_socket_disable control_socket_mode reload reload_engine
    reload_extra_files spew check_config print_config worker_class max_requests max_requests_jitter timeout bind
    backlog reuse_port accesslog errorlog loglevel capture_output logger_class logconfig logconfig_dict
    logconfig_json syslog syslog_addr syslog_prefix syslog_facility disable_redirect_access_to_syslog
    enable_stdio_inheritance statsd_host statsd_prefix dogstatsd_tags enable_backlog_metric preload_app chdir daemon
    raw_env pidfile worker_tmp_dir user group umask initgroups tmp_upload_dir pythonpath paste raw_paste_global_conf
    proc_name default_proc_name ssl_context
    """.split()
)

# Groups of gateway's options that are this worker's, in the environment.
OPTION_GROUPS = frozenset({"Limits", "Timeouts", "WebSocket", "Responses", "Behind a proxy"})
OPTION_NAMES = frozenset({"interface", "lifespan", "root_path", "threads", "thread_switch_interval", "loop", "io"})

# What counts with a certificate only.
TLS_DETAILS = frozenset({"ca_certs", "cert_reqs", "ciphers", "suppress_ragged_eofs", "do_handshake_on_connect"})

HEARTBEAT = 1.0
"""Seconds between two signs of life, at most."""

WHERE = "gunicorn"


class GatewayWorker(Worker):  # type: ignore[misc]
    """A worker of gunicorn that serves WSGI and ASGI applications, whichever it is given."""

    interface = "auto"
    """What the application speaks: auto, wsgi or asgi."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.server: Server | None = None
        self.requests: Callable[[], int] = lambda: 0
        """How many there were, by the server."""
        self._watchdog: Watchdog | None = None
        self._at_once = False

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """In the master: say what has no effect. Raises RuntimeError, which gunicorn ends with, in one line."""
        try:
            _, warnings = make_config(cfg, cls.interface)
        except ConfigError as error:
            raise RuntimeError(str(error)) from error
        for warning in warnings:
            log.warning("%s", warning)

    # In the process of the worker

    def init_signals(self) -> None:
        """As every worker's, but for the descriptor that wakes its loop: ours is woken by the handlers."""
        super().init_signals()
        signal.set_wakeup_fd(-1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """TERM: finish what is running."""
        self.alive = False
        self._stop_soon()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """QUIT and INT: stop at once."""
        self.alive = False
        self._at_once = True
        self.cfg.worker_int(self)
        if self.server is None:
            sys.exit(0)
        self._stop_soon()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """ABRT, from a master that has not heard of us for too long: say where we are, and end."""
        where = "".join(traceback.format_stack(frame))
        self.log.critical("Worker aborted. It was here:\n%s", where.rstrip())
        self.aborted = self._at_once = True
        # An application may catch the SystemExit that follows.
        self._stop_soon()
        super().handle_abort(sig, frame)

    def _stop_soon(self) -> None:
        if self.server is not None:
            if self._at_once:
                if self._watchdog is not None:
                    self._watchdog.arm(EXIT_TIME)
                self.server.hurry()
            self.server.ask_shutdown()

    def run(self) -> None:
        """Serve until told to stop."""
        try:
            interface = "wsgi" if is_fail_app(self.wsgi) else self.interface
            config, _ = make_config(self.cfg, interface, access_hooks(self.log, hooks_of(self.cfg)))
            factory = loop_factory(config.asgi.loop)
            self._watchdog = Watchdog(self.log)
            self.server = Server(
                self.wsgi,
                config,
                listeners=open_listeners((), backlog=self.cfg.backlog, sockets=[each.sock for each in self.sockets]),
                loggers=self._loggers(),
                tls=make_tls(self.cfg) if self.cfg.is_ssl else None,
                recycle=self._recycle,
                last_request=0 if self.max_requests == sys.maxsize else self.max_requests,
                served=self._served,
                hook_worker=self,
            )
            if not self.alive:
                return
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(self._serve(self.server))
        except Stopped:
            pass
        except (AppLoadError, ConfigError) as error:
            self.log.error("%s", error)
            if isinstance(error, AppLoadError) and error.show_traceback and error.__cause__ is not None:
                self.log.error("%s", describe_cause(error.__cause__))
            # The master stops: it would be the same with the next worker.
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        if self.aborted:
            sys.exit(1)

    async def _serve(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        # gunicorn's reloader, in a thread of its own, writes here.
        loop.add_reader(self.PIPE[0], self._woken)
        beating = asyncio.create_task(self._beat(server))
        serving = asyncio.ensure_future(server.serve())
        try:
            with contextlib.suppress(Exception):
                await server.wait_started()
                self.log.info("%s", server.describe())
            await serving
        finally:
            beating.cancel()
            loop.remove_reader(self.PIPE[0])

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)
        self._look()

    def _look(self) -> None:
        """Whether somebody else has decided that we stop."""
        if not self.alive:
            self._stop_soon()

    async def _beat(self, server: Server) -> None:
        """Tell the master that the loop turns, as long as it does; also while requests finish."""
        interval = min(HEARTBEAT, self.timeout / 2) if self.timeout else HEARTBEAT
        while True:
            self.notify()
            self.nr = self.requests()
            self._look()
            if self.alive and self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
                server.ask_shutdown()
            await asyncio.sleep(interval)

    def _served(self) -> None:
        """With the last request that it may have."""
        self.nr = self.requests()
        if self.alive and self.server is not None:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            # The others go on accepting.
            self.server.retire()

    def _recycle(self, reason: str) -> None:
        """The server wants another process in its place: the master starts one when this one is gone."""
        if self.alive and self.server is not None:
            self.log.info("Autorestarting worker: %s", reason)
            self.alive = False
            self.server.retire()

    def _loggers(self) -> Loggers:
        """gunicorn's, with access lines made here."""
        access = None
        if access_log_enabled(self.log) and type(self.log).access is Logger.access:
            write = self.log.access_log.info

            def access(data: bytes) -> None:
                write("%s", text_of(data))

        return Loggers(self.log, access)


class GatewayASGIWorker(GatewayWorker):
    """The same for an application that is ASGI, whatever it looks like."""

    interface = "asgi"


class GatewayWSGIWorker(GatewayWorker):
    """The same for an application that is WSGI, whatever it looks like."""

    interface = "wsgi"


def make_config(cfg: Any, interface: str, hooks: Hooks | None = None) -> tuple[Config, list[str]]:
    """gateway's options by gunicorn's settings and the environment, and warnings. Raises ConfigError."""
    translation = settings_table.Translation(WHERE, RANK_FILE)
    defaults = type(cfg)().settings
    values = {}
    for name, setting in cfg.settings.items():
        value = setting.get()
        if name in GUNICORNS or (name in TLS_DETAILS and not cfg.is_ssl):
            continue
        # What gunicorn would do without being told, and gateway does not do, is nobody's wish.
        if name in settings_table.TAKEN or value != defaults[name].get() or is_option(name):
            values[name] = value
    translation.take(values)
    given: settings_table.Given = dict(translation.given)
    for name, (value, source) in environment(os.environ).items():
        option = BY_NAME[name]
        ours = source.rank == RANK_VARIABLE and (option.group in OPTION_GROUPS or name in OPTION_NAMES)
        # $SCRIPT_NAME is gunicorn's way, too.
        if ours or name == "root_path":
            given[name] = (value, source)
    if interface != "auto":
        given["interface"] = (interface, Source(RANK_FILE, "the worker's class"))
    given["access_log_format"] = (cfg.access_log_format, Source(RANK_FILE, f"{WHERE}: access_log_format"))
    return Config.from_sources(given, Extras(hooks or {})), translation.warnings


def is_option(name: str) -> bool:
    """Whether gunicorn's setting `name` is an option of gateway's."""
    return name in settings_table.SETTINGS and settings_table.option_for(name) is not None


def hooks_of(cfg: Any) -> Hooks:
    """The functions that are called for each request, but for gunicorn's own, which do next to nothing."""
    settings = {name: cfg.settings[name] for name in ("pre_request", "post_request")}
    return {name: setting.get() for name, setting in settings.items() if setting.get() is not type(setting).default}


def access_hooks(log: Any, hooks: Hooks) -> Hooks:
    """`hooks`, and what calls a logger class's own `access`, as statsd's, with what it expects to be given."""
    if type(log).access is Logger.access:
        return hooks

    def pre_request(worker: Any, req: Any) -> None:
        req.began = time.monotonic()
        if "pre_request" in hooks:
            hooks["pre_request"](worker, req)

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        if resp is not None:
            described = scope_environ(environ, {}) if "asgi" in environ else environ
            log.access(resp, req, described, timedelta(seconds=time.monotonic() - req.began))
        if "post_request" in hooks:
            hooks["post_request"](worker, req, environ, resp)

    return {"pre_request": pre_request, "post_request": post_request}


def access_log_enabled(log: Any) -> bool:
    """Whether there is an access log; older versions of gunicorn can't be asked."""
    enabled: bool | None = getattr(log, "access_log_enabled", None)
    return bool(log.cfg.accesslog) if enabled is None else enabled


def make_tls(cfg: Any) -> ssl.SSLContext:
    """gunicorn's context, its hook `ssl_context` included. Raises ConfigError: files that don't go together."""
    try:
        context: ssl.SSLContext = sock.ssl_context(cfg)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(f"TLS with certfile {cfg.certfile} and keyfile {cfg.keyfile}: {error}") from error
    # Whatever `http_protocols` promises.
    context.set_alpn_protocols(["http/1.1"])
    return context


def is_fail_app(app: Any) -> bool:
    """Whether `app` is what gunicorn serves, with reload, in place of one that has a syntax error."""
    return getattr(app, "__module__", None) == "gunicorn.util"
