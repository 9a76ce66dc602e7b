"""Every option of gateway, once: name, type, default, flags, environment variables, help.

From this table come the command line, the `GATEWAY_*` variables, the keys of TOML files, the keywords of `Config`, and
the table in the README (`usage.py` makes the first and the last). For an option named `keep_alive`:

- flag: `--keep-alive`, and those listed in `flags`: both families of names that people know are accepted. Switches also
  have a `--no-` form.
- environment: `GATEWAY_KEEP_ALIVE`, and those listed in `env`, which other programs know too.
- TOML key and keyword: `keep_alive` (in TOML `keep-alive` as well), each further long flag in that spelling, and
  `names`. These are variables with GATEWAY_ before them, too.

`part` names what the value is for: "limits.x" and "timeouts.x" are attributes of the request path's `Limits` and
`Timeouts`; everything else is cut into the sections of `settings.py` by the option's own name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ConfigError
from . import values
from .addresses import Address
from .mounts import INTERFACES, MOUNTS
from .values import Kind, suggest


class Option(NamedTuple):
    """One row of the table; see the module's docstring."""

    name: str
    kind: Kind
    default: Any
    help: str
    group: str
    flags: tuple[str, ...] = ()
    """Further flags; `--name-with-dashes` is there by itself."""
    names: tuple[str, ...] = ()
    """Further keywords and TOML keys, those that are no flags."""
    env: tuple[str, ...] = ()
    """Further environment variables, weaker than GATEWAY_<NAME>."""
    repeatable: bool = False
    """The value is a tuple of such values."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    """Of a bare number: "bytes", "s", "bytes/s"; for the help. Empty for counts."""
    off: bool = False
    """0 switches it off."""
    part: str = ""
    default_text: str = ""
    """What the help calls the default when the value would not tell."""
    secret: bool = False
    """The value is not shown."""
    placeholder: str = ""
    """What the help shows in place of a value when the kind's own word says too little."""

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return "--" + self.name.replace("_", "-")

    @property
    def all_flags(self) -> tuple[str, ...]:
        """All flags: short ones, then the main one, then other long ones."""
        short = tuple(flag for flag in self.flags if not flag.startswith("--"))
        long = tuple(flag for flag in self.flags if flag.startswith("--"))
        return (*short, self.flag, *long)

    @property
    def variable(self) -> str:
        """The environment variable of this option."""
        return "GATEWAY_" + self.name.upper()

    @property
    def optional(self) -> bool:
        """None is a value: not set."""
        return self.default is None

    @property
    def is_switch(self) -> bool:
        """Stands on the command line without a value."""
        return not self.kind.metavar

    def read(self, value: object, where: str) -> Any:
        """The value as gateway uses it, from text, TOML or Python.

        `where` says in messages where the value stands. Raises ConfigError.
        """
        if value is None:
            if self.optional:
                return None
            raise ConfigError(f"{where}: expected {self.kind.expected}, not None")
        if self.repeatable:
            return self._read_several(value, where)
        if self.optional and value == "":
            return None
        return self._read_one(value, where)

    def show(self, value: Any) -> Any:
        """The value as TOML and JSON write it; `read` takes it back."""
        if self.secret and value:
            return "***"
        if value is None and self.kind is not values.AUTO_SWITCH:
            return ""
        if self.repeatable:
            return [self.kind.show(item) for item in value]
        return self.kind.show(value)

    def show_default(self) -> str:
        """The default for people, with its unit."""
        if self.default_text:
            return self.default_text
        if self.default in (None, "", ()):
            return "none" if self.repeatable else "not set"
        if self.kind is values.SWITCH:
            return "on" if self.default else "off"
        if self.off and self.default == 0:
            return "off"
        if self.kind is values.DURATION:
            return f"{self.default:g} s"
        shown = self.show(self.default)
        if isinstance(shown, list):
            return ",".join(map(str, shown))
        if self.unit and isinstance(shown, int):
            return f"{shown} {self.unit}"
        return str(shown)

    def _read_several(self, value: object, where: str) -> tuple[Any, ...]:
        if isinstance(value, str) and self.kind.separator:
            items: Any = [item for item in value.split(self.kind.separator) if item.strip()]
        elif isinstance(value, (list, tuple, set, frozenset)) and not isinstance(value, Address):
            # A flag that is given several times, each of which may name several.
            items = []
            for item in value:
                if isinstance(item, str) and self.kind.separator:
                    items += [part for part in item.split(self.kind.separator) if part.strip()]
                else:
                    items.append(item)
        else:
            items = [value]
        return tuple(self._read_one(item, where) for item in items)

    def _read_one(self, value: object, where: str) -> Any:
        try:
            result = self.kind.read(value)
        except ValueError as error:
            shown = "this" if self.secret else repr(value)
            problem = str(error) or f"expected {self.kind.expected}, not {shown}"
            raise ConfigError(f"{where}: {problem}") from None
        if self.choices and result not in self.choices:
            word = str(result).lower()
            if word not in self.choices:
                allowed = ", ".join(self.choices)
                raise ConfigError(f"{where}: {result!r} is not one of {allowed}{suggest(word, self.choices)}")
            result = word
        if result == "" and self.kind.metavar and self.default:
            raise ConfigError(f"{where}: expected {self.kind.expected}, not an empty one")
        if self.minimum is not None and result < self.minimum:
            raise ConfigError(f"{where}: {value} is too small; at least {self.minimum:g} {self.unit}".rstrip())
        if self.maximum is not None and result > self.maximum:
            raise ConfigError(f"{where}: {value} is too large; at most {self.maximum:g} {self.unit}".rstrip())
        return result


GROUPS = (
    "Application",
    "Listening",
    "Running",
    "Processes",
    "Development",
    "Limits",
    "Timeouts",
    "WebSocket",
    "Responses",
    "Behind a proxy",
    "TLS",
    "Logging",
    "Configuration",
)

# Classes that gunicorn users pass to -k, and what they stand for here.
WORKER_CLASSES = {
    "sync": "wsgi",
    "gunicorn.workers.sync.syncworker": "wsgi",
    "gthread": "wsgi",
    "thread": "wsgi",
    "gunicorn.workers.gthread.threadworker": "wsgi",
    "gevent": "wsgi",
    "gevent_wsgi": "wsgi",
    "gevent_pywsgi": "wsgi",
    "gunicorn.workers.ggevent.geventworker": "wsgi",
    "eventlet": "wsgi",
    "gunicorn.workers.geventlet.eventletworker": "wsgi",
    "tornado": "wsgi",
    "gunicorn.workers.gtornado.tornadoworker": "wsgi",
    "meinheld.gmeinheld.meinheldworker": "wsgi",
    "egg:meinheld#gunicorn_worker": "wsgi",
    "asgi": "asgi",
    "gunicorn.workers.gasgi.asgiworker": "asgi",
    "uvicorn.workers.uvicornworker": "asgi",
    "uvicorn.workers.uvicornh11worker": "asgi",
    "uvicorn_worker.uvicornworker": "asgi",
    "uvicorn_worker.uvicornh11worker": "asgi",
    "gateway.integrations.gunicorn.gatewayworker": "auto",
    "gateway.integrations.gunicorn.gatewayasgiworker": "asgi",
    "gateway.integrations.gunicorn.gatewaywsgiworker": "wsgi",
}

# Those that serve one request at a time, which an application may count on.
ONE_AT_A_TIME = frozenset(("sync", "gunicorn.workers.sync.syncworker"))


def worker_interface(name: str) -> str | None:
    """The interface that gunicorn's worker class `name` serves, or None for one that isn't known."""
    name = name.lower()
    # A class of the user's own, made to change how uvicorn is set up.
    if name.endswith(("uvicornworker", "uvicornh11worker")):
        return "asgi"
    return WORKER_CLASSES.get(name)


def limit(name: str, attribute: str, default: int, text: str, *, flags: tuple[str, ...] = (), **more: Any) -> Option:
    """A row for `Limits.<attribute>`, or for a limit that is kept elsewhere; a count unless `kind` says otherwise."""
    more.setdefault("kind", values.INTEGER)
    more.setdefault("group", "Limits")
    part = f"limits.{attribute}" if attribute else ""
    return Option(name, default=default, help=text, flags=flags, part=part, off=True, **more)


def size(name: str, attribute: str, default: int, text: str, *, flags: tuple[str, ...] = (), **more: Any) -> Option:
    """A row for `Limits.<attribute>` in bytes."""
    return limit(name, attribute, default, text, flags=flags, kind=values.SIZE, unit="bytes", **more)


def timeout(name: str, part: str, default: float, text: str, *, flags: tuple[str, ...] = (), **more: Any) -> Option:
    """A row for a wait in seconds."""
    more.setdefault("off", True)
    more.setdefault("group", "Timeouts")
    return Option(name, values.DURATION, default, text, flags=flags, part=part, unit="s", **more)


OPTIONS: tuple[Option, ...] = (
    # -- Application
    Option(
        "app",
        values.TEXT,
        None,
        "the application: module:attribute, module:factory() or a module with `application` or `app` in it",
        "Application",
        placeholder="TARGET",
    ),
    Option(
        "mount",
        MOUNTS,
        (),
        "serve this application under this path, and others beside it; the longest path wins, / takes what is left. In "
        "place of TARGET",
        "Application",
        names=("mounts",),
        repeatable=True,
    ),
    Option(
        "interface",
        values.TEXT,
        "auto",
        "what the application speaks; auto finds out, and the start-up line says what it found",
        "Application",
        choices=INTERFACES,
    ),
    Option(
        "django_wsgi",
        values.PATH_PREFIXES,
        (),
        "with --interface django: path prefixes whose views run in threads, whatever they are",
        "Application",
        repeatable=True,
    ),
    Option(
        "django_asgi",
        values.PATH_PREFIXES,
        (),
        "with --interface django: path prefixes whose views run on the event loop, whatever they are",
        "Application",
        repeatable=True,
    ),
    Option(
        "factory", values.SWITCH, False, "the target is called without arguments to get the application", "Application"
    ),
    Option(
        "chdir",
        values.FOLDER,
        None,
        "change to this directory before the application is loaded; relative paths are meant from there, except for "
        "that of --config",
        "Application",
        flags=("--working-dir",),
        default_text="the current directory",
    ),
    Option(
        "app_dir",
        values.FOLDER,
        None,
        "put first on the import path; gateway.toml and pyproject.toml are looked for there",
        "Application",
        default_text="the current directory",
    ),
    Option(
        "pythonpath",
        values.FOLDERS,
        (),
        "more directories for the import path, after the app dir",
        "Application",
        repeatable=True,
    ),
    Option(
        "env",
        values.ASSIGNMENTS,
        (),
        "set an environment variable, for the application too; stronger than the environment and than env files",
        "Application",
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
        "Application",
        flags=("--url-path-prefix",),
        env=("SCRIPT_NAME",),
    ),
    Option(
        "lifespan",
        values.TEXT,
        "auto",
        "ASGI lifespan: on makes an application without it fail at start, off never asks",
        "Application",
        flags=("--asgi-lifespan",),
        choices=("auto", "on", "off"),
    ),
    # -- Listening
    Option(
        "bind",
        values.ADDRESSES,
        (),
        "where to listen: HOST:PORT, :PORT, [IPv6]:PORT, unix:PATH, unix:@NAME (abstract) or fd://N",
        "Listening",
        flags=("-b",),
        repeatable=True,
        default_text="127.0.0.1:8000",
    ),
    Option(
        "host",
        values.HOST,
        None,
        "listen at this host, with --port",
        "Listening",
        default_text="127.0.0.1",
    ),
    Option(
        "port",
        values.INTEGER,
        None,
        "listen at this port, with --host; 0 lets the system choose. $PORT alone binds 0.0.0.0",
        "Listening",
        env=("PORT",),
        maximum=65535,
        placeholder="PORT",
        default_text="8000",
    ),
    Option("uds", values.UDS, None, "listen at this Unix socket", "Listening"),
    Option("fd", values.INTEGER, None, "listen at this inherited socket", "Listening", maximum=2**31 - 1),
    Option(
        "uds_mode",
        values.MODE,
        0o666,
        "permission bits of Unix sockets; the folder they are in decides who reaches them",
        "Listening",
        flags=("--uds-permissions", "--unix-socket-perms", "--chmod-socket"),
    ),
    Option(
        "backlog",
        values.INTEGER,
        2048,
        "connections the system holds until they are accepted",
        "Listening",
        minimum=1,
        maximum=2**31 - 1,
    ),
    Option(
        "reuse_port",
        values.SWITCH,
        False,
        "a listening socket for each worker (SO_REUSEPORT), among which the system spreads connections without regard"
        " to how busy they are; connections that wait at one are reset when it is killed or its socket closes",
        "Listening",
    ),
    # -- Running
    Option(
        "threads",
        values.INTEGER,
        8,
        "threads that run WSGI requests. One at a time holds the interpreter, the others are there to wait: 8 keep it "
        "busy when a request waits 7/8 of its time. Each may hold a database connection. Slow clients need none. 0 "
        "runs requests on the event loop, one after the other: faster by the hand-over, for applications that never "
        "wait",
        "Running",
        flags=("--blocking-threads",),
        minimum=0,
        maximum=4096,
    ),
    Option(
        "thread_switch_interval",
        values.DURATION,
        0.0005,
        "after which a WSGI thread that computes lets others have the interpreter; 0 leaves Python's own setting, 5 "
        "ms, with which fast requests beside computing ones wait longer",
        "Running",
    ),
    Option(
        "worker_class",
        values.TEXT,
        None,
        "accepted for gunicorn's sake: known classes choose the interface, and sync one thread",
        "Running",
        flags=("-k",),
        placeholder="CLASS",
    ),
    Option(
        "loop",
        values.TEXT,
        "auto",
        "event loop; auto takes uvloop when it is installed",
        "Running",
        flags=("--asgi-loop",),
        choices=("auto", "asyncio", "uvloop"),
    ),
    Option(
        "io",
        values.TEXT,
        "auto",
        "what moves the bytes: epoll is gateway's own on Linux, without TLS; auto takes it where it is there",
        "Running",
        choices=("auto", "epoll", "asyncio"),
    ),
    Option(
        "sendfile",
        values.SWITCH,
        True,
        "send files with sendfile(2) where possible",
        "Running",
        env=("SENDFILE",),
    ),
    # -- Processes
    Option(
        "workers",
        values.INTEGER,
        1,
        "worker processes, each with its own copy of the application; for one that computes, as many as processors",
        "Processes",
        flags=("-w",),
        env=("WEB_CONCURRENCY",),
        minimum=1,
        maximum=4096,
    ),
    Option(
        "supervisor",
        values.SWITCH,
        True,
        "a master process binds, and starts, replaces and reloads the workers; without it everything is one process",
        "Processes",
    ),
    timeout(
        "timeout_boot",
        "",
        300.0,
        "for a worker to load the application and be ready; then it is ended, with its stacks in the log",
        group="Processes",
        flags=("--timeout-worker-boot",),
    ),
    Option(
        "preload",
        values.SWITCH,
        False,
        "load the application in the master, so that workers share its memory and start at once; HUP then starts the "
        "whole program anew, as USR2 does",
        "Processes",
        flags=("--preload-app",),
    ),
    Option(
        "user",
        values.TEXT,
        None,
        "the user, by name or number, that workers change to when the master is root",
        "Processes",
        flags=("-u", "--uid"),
        placeholder="USER",
    ),
    Option(
        "group",
        values.TEXT,
        None,
        "the group, by name or number, that workers change to",
        "Processes",
        flags=("-g", "--gid"),
        placeholder="GROUP",
        default_text="that of the user",
    ),
    Option("initgroups", values.SWITCH, False, "workers get all groups of the user", "Processes"),
    Option(
        "umask",
        values.MODE,
        None,
        "permission bits that files of the server and the application do not get",
        "Processes",
        flags=("-m",),
        default_text="as it is",
    ),
    Option(
        "proc_name",
        values.TEXT,
        None,
        "what the processes are called, with setproctitle installed",
        "Processes",
        flags=("-n", "--name", "--process-name"),
        placeholder="NAME",
        default_text="the target",
    ),
    Option(
        "daemon",
        values.SWITCH,
        False,
        "go into the background: the command returns when the first workers serve, or with the exit code if they can't",
        "Processes",
        flags=("-D",),
    ),
    Option(
        "enable_stdio_inheritance",
        values.SWITCH,
        False,
        "with --daemon, write on where output went before, in place of /dev/null",
        "Processes",
        flags=("-R",),
    ),
    Option(
        "pid",
        values.PATH,
        None,
        "file for the process number of the master",
        "Processes",
        flags=("-p", "--pid-file", "--pidfile"),
    ),
    Option(
        "health_bind",
        values.ADDRESS,
        None,
        "where the master answers /livez and /readyz, however busy the workers are: HOST:PORT or unix:PATH",
        "Processes",
    ),
    Option(
        "control_socket",
        values.UDS,
        None,
        "Unix socket at which `gateway ctl` and `gateway top` find the master; its user only may open it",
        "Processes",
    ),
    timeout(
        "drain_delay",
        "",
        0.0,
        "from the signal to stop, when /readyz turns to 503, until connections are no longer accepted: for load "
        "balancers to notice",
        group="Processes",
    ),
    timeout(
        "timeout",
        "",
        30.0,
        "in which the event loop of a worker does not turn; then it is ended, with its stacks in the log, and "
        "replaced. WSGI threads do not block the loop; a request may take longer than this",
        group="Processes",
        flags=("-t", "--timeout-worker-healthcheck"),
    ),
    timeout(
        "blocked_loop_time",
        "",
        0.5,
        "in which the event loop does not turn, after which the log shows what blocks it, with its stack; nothing is "
        "ended",
        group="Processes",
    ),
    Option(
        "max_requests",
        values.INTEGER,
        0,
        "requests after which a worker is replaced",
        "Processes",
        flags=("--limit-max-requests",),
        off=True,
    ),
    Option(
        "max_requests_jitter",
        values.INTEGER,
        0,
        "up to so many requests more, so that not all workers go at once",
        "Processes",
        flags=("--limit-max-requests-jitter", "--max-requests-delta"),
    ),
    timeout(
        "max_worker_age",
        "",
        0.0,
        "after which a worker is replaced, up to a tenth later",
        group="Processes",
        flags=("--workers-lifetime", "--max-worker-lifetime"),
    ),
    Option(
        "max_worker_memory",
        values.SIZE,
        0,
        "of its own, after which a worker is replaced (Linux)",
        "Processes",
        flags=("--workers-max-rss", "--reload-on-rss"),
        unit="bytes",
        off=True,
    ),
    Option(
        "max_worker_memory_hard",
        values.SIZE,
        0,
        "of its own, after which a worker is killed (Linux)",
        "Processes",
        flags=("--evil-reload-on-rss",),
        unit="bytes",
        off=True,
    ),
    # -- Development
    Option(
        "reload",
        values.SWITCH,
        False,
        "for development: load the application anew whenever a file changes, with one worker. What can't start is "
        "shown as a page, with its traceback, to whoever connects",
        "Development",
    ),
    Option(
        "reload_dir",
        values.FOLDERS,
        (),
        "watch this directory and all below it",
        "Development",
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
        "Development",
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
        "Development",
        names=("reload_excludes",),
        repeatable=True,
        default_text=".*, .py[cod], .sw.*, ~*",
    ),
    timeout(
        "reload_delay",
        "",
        0.25,
        "without a further change, before the application is loaded; and from one look to the next when polling",
        group="Development",
        off=False,
    ),
    Option(
        "reload_engine",
        values.TEXT,
        "auto",
        "how changes are noticed: watchfiles (or gunicorn's word, inotify) needs the package of that name; poll looks "
        "at every file; auto takes watchfiles when it is installed",
        "Development",
        choices=("auto", "watchfiles", "inotify", "poll"),
    ),
    # -- Limits. Defaults are those of core/http/limits.py, which argues them.
    size("limit_request_line", "request_line", 8190, "request line; above it 414"),
    limit("limit_request_fields", "request_fields", 100, "field lines in a head or trailer section; above it 431"),
    size(
        "limit_request_field_size",
        "request_field_size",
        8190,
        "one field line; above it 431",
        flags=("--limit-request-field_size",),
    ),
    size("limit_request_fields_size", "request_fields_size", 65536, "all field lines of a head; above it 431"),
    size(
        "limit_request_body",
        "request_body",
        0,
        "content of a request; above it 413",
        flags=("--limit-post", "--max-request-body-size"),
    ),
    limit("limit_empty_lines", "empty_lines", 2, "empty lines tolerated before a request"),
    size("limit_chunk_line", "chunk_line", 4096, "one chunk-size line with its extensions"),
    size("limit_chunk_excess", "chunk_excess", 16384, "chunk framing beyond what honest chunks need, over one body"),
    size(
        "limit_body_buffer",
        "body_buffer",
        65536,
        "content held for an application that does not read; a body up to this size is read before a thread is taken",
    ),
    size("limit_write_buffer", "write_buffer", 65536, "output queued for a slow client before `send` waits"),
    size(
        "limit_response_buffer",
        "response_buffer",
        262144,
        "WSGI response queued for a slow client with its thread already free",
        flags=("--response-buffer",),
    ),
    size(
        "limit_unread_body",
        "unread_body",
        65536,
        "content the application left unread, discarded to keep the connection",
    ),
    size("limit_linger", "linger", 16777216, "discarded after the last response, so that the client gets to read it"),
    limit(
        "limit_upload_rate",
        "upload_rate",
        240,
        "the least a body must arrive with, after --timeout-upload-grace",
        kind=values.SIZE,
        unit="bytes/s",
    ),
    size("limit_pipeline_buffer", "pipeline_buffer", 65536, "pipelined requests held while one runs"),
    limit("limit_pipeline_burst", "pipeline_burst", 32, "pipelined requests served in one turn of the loop"),
    limit(
        "limit_connection_requests",
        "connection_requests",
        1000,
        "requests on one connection, then it closes",
        flags=("--keep-alive-requests",),
    ),
    limit(
        "limit_connections",
        "connections",
        16384,
        "open connections; above it 503",
        flags=("--worker-connections",),
    ),
    limit("limit_concurrency", "concurrency", 4096, "requests running or waiting for a thread; above it 503"),
    limit(
        "limit_thread_queue",
        "",
        1024,
        "WSGI requests waiting for a thread; above it 503",
    ),
    # -- Timeouts
    timeout(
        "timeout_head",
        "timeouts.head",
        10.0,
        "from the first byte of a request, or the opening of a connection, to the end of the head",
    ),
    timeout("timeout_body", "timeouts.body", 30.0, "without a byte of content from the client"),
    timeout("timeout_write", "timeouts.write", 30.0, "without a byte of output taken by the client"),
    timeout(
        "keep_alive",
        "timeouts.keep_alive",
        5.0,
        "idle between two requests. Behind a load balancer: longer than its own idle time, for example 75",
        flags=("--timeout-keep-alive",),
        names=("keepalive",),
    ),
    timeout("timeout_linger", "timeouts.linger", 5.0, "from the last response to the close, at most"),
    timeout(
        "timeout_upload_grace", "timeouts.upload_grace", 5.0, "receiving time before --limit-upload-rate is judged"
    ),
    timeout(
        "timeout_half_close",
        "timeouts.half_close",
        0.5,
        "from the client's end of input until the application is told that it left",
    ),
    timeout(
        "timeout_handshake",
        "",
        10.0,
        "TLS handshake",
        flags=("--handshake-timeout", "--ssl-handshake-timeout"),
    ),
    timeout(
        "request_timeout",
        "timeouts.request",
        0.0,
        "from a request's head until the application has made its response, waiting for a thread included; then 504, "
        "or the connection is closed where the response has begun. WebSockets and streams of events "
        "(text/event-stream) may go on",
        flags=("--harakiri", "--http-timeout"),
    ),
    timeout("timeout_thread_queue", "", 30.0, "waiting for a thread; after it 503"),
    timeout(
        "graceful_timeout",
        "",
        30.0,
        "for running requests to finish when stopping; 0 stops at once",
        flags=("--timeout-graceful-shutdown",),
        off=False,
    ),
    timeout("lifespan_startup_timeout", "", 60.0, "ASGI lifespan startup", flags=("--timeout-lifespan-startup",)),
    timeout("lifespan_shutdown_timeout", "", 30.0, "ASGI lifespan shutdown", flags=("--timeout-lifespan-shutdown",)),
    # -- WebSocket
    Option(
        "ws",
        values.TEXT,
        "auto",
        "auto: ASGI applications get WebSocket connections; none: they get the opening handshake as an ordinary "
        "request, as WSGI applications always do",
        "WebSocket",
        choices=("auto", "none"),
    ),
    size(
        "ws_max_size",
        "websocket_message",
        16777216,
        "one message, after decompression; above it the connection closes with 1009",
        group="WebSocket",
    ),
    size(
        "ws_max_frame_size",
        "websocket_frame",
        0,
        "the payload of one frame, as sent; above it the connection closes with 1009. --ws-max-size holds anyway",
        group="WebSocket",
    ),
    limit(
        "ws_max_fragments",
        "websocket_fragments",
        131072,
        "frames that one message may come in; above it the connection closes with 1009",
        group="WebSocket",
    ),
    size(
        "ws_max_queue_size",
        "websocket_queue",
        65536,
        "messages held for an application that does not receive; one of any size is held",
        group="WebSocket",
    ),
    timeout(
        "ws_ping_interval",
        "timeouts.websocket_ping",
        20.0,
        "between two pings to the client",
        group="WebSocket",
    ),
    timeout(
        "ws_ping_timeout",
        "timeouts.websocket_pong",
        20.0,
        "from a ping to its pong; after it the client counts as gone",
        group="WebSocket",
    ),
    timeout(
        "ws_close_timeout",
        "timeouts.websocket_close",
        5.0,
        "from our Close frame to the client's, at most",
        group="WebSocket",
    ),
    Option(
        "ws_per_message_deflate",
        values.SWITCH,
        True,
        "compress messages where the client offers it (permessage-deflate)",
        "WebSocket",
    ),
    Option(
        "ws_deflate_memory",
        values.SIZE,
        65536,
        "most memory for the compression of one connection; the windows, in both directions, follow from it. 64K is "
        "enough for 4 KiB windows, 320K for the largest. Taken with the first compressed message",
        "WebSocket",
        unit="bytes",
        minimum=24576,
    ),
    size(
        "ws_deflate_min_size",
        "",
        128,
        "messages below it are not compressed",
        group="WebSocket",
    ),
    # -- Responses
    Option("server_header", values.SWITCH, True, "send a Server field", "Responses"),
    Option("date_header", values.SWITCH, True, "send a Date field", "Responses"),
    Option(
        "header",
        values.HEADERS,
        (),
        "a field for every response",
        "Responses",
        flags=("--add-header",),
        names=("headers",),
        repeatable=True,
    ),
    # -- Behind a proxy
    Option(
        "proxy_headers",
        values.SWITCH,
        True,
        "believe what --forwarded-allow-ips say about the client",
        "Behind a proxy",
    ),
    Option(
        "forwarded_allow_ips",
        values.TRUSTED,
        ("127.0.0.1", "::1", "unix"),
        "peers that are believed: addresses, networks, unix (Unix sockets) or * (anyone)",
        "Behind a proxy",
        env=("FORWARDED_ALLOW_IPS",),
        repeatable=True,
    ),
    Option(
        "forwarded_style",
        values.TEXT,
        "x-forwarded",
        "the fields the proxy sets: X-Forwarded-For and -Proto, or Forwarded (RFC 7239). Only one can be believed, "
        "as the proxy passes the other on from the client",
        "Behind a proxy",
        choices=("x-forwarded", "forwarded"),
    ),
    Option("forwarded_host", values.SWITCH, False, "believe X-Forwarded-Host too", "Behind a proxy"),
    Option("forwarded_port", values.SWITCH, False, "believe X-Forwarded-Port too", "Behind a proxy"),
    Option("forwarded_prefix", values.SWITCH, False, "believe X-Forwarded-Prefix too", "Behind a proxy"),
    Option(
        "forwarded_clear",
        values.SWITCH,
        False,
        "remove these fields from requests of peers that are not believed",
        "Behind a proxy",
    ),
    Option(
        "header_map",
        values.TEXT,
        "drop",
        "request fields with an underscore in their name, which can pass for those a proxy sets: drop them, refuse "
        "the request, or (dangerous) let them through",
        "Behind a proxy",
        choices=("drop", "refuse", "dangerous"),
    ),
    # -- TLS
    Option(
        "certfile",
        values.PATH,
        None,
        "certificate chain, PEM; switches TLS on",
        "TLS",
        flags=("--ssl-certfile", "--ssl-certificate"),
    ),
    Option(
        "keyfile",
        values.PATH,
        None,
        "private key, PEM, unless the certificate's file has it",
        "TLS",
        flags=("--ssl-keyfile",),
    ),
    Option(
        "keyfile_password",
        values.TEXT,
        None,
        "password of the private key; better given as GATEWAY_KEYFILE_PASSWORD, as others can see a command line",
        "TLS",
        flags=("--ssl-keyfile-password",),
        secret=True,
    ),
    Option(
        "ca_certs",
        values.PATH,
        None,
        "certificates that client certificates are checked against, PEM",
        "TLS",
        flags=("--ssl-ca-certs", "--ssl-ca"),
    ),
    Option(
        "cert_reqs",
        values.CERT_REQS,
        "none",
        "client certificates: none (0), optional (1) or required (2)",
        "TLS",
        flags=("--ssl-cert-reqs",),
        choices=("none", "optional", "required"),
    ),
    Option(
        "ciphers",
        values.TEXT,
        None,
        "OpenSSL cipher list for TLS 1.2",
        "TLS",
        flags=("--ssl-ciphers",),
        default_text="Python's",
    ),
    Option(
        "ssl_min_version",
        values.TEXT,
        "1.2",
        "lowest TLS version",
        "TLS",
        flags=("--tls-min-version",),
        choices=("1.2", "1.3"),
    ),
    # -- Logging
    Option(
        "log_level",
        values.TEXT,
        "info",
        "least severe messages in the error log",
        "Logging",
        names=("loglevel",),
        choices=("critical", "error", "warning", "info", "debug", "trace"),
    ),
    Option(
        "error_logfile",
        values.PATH,
        "-",
        "error log; - is stderr",
        "Logging",
        flags=("--log-file",),
        names=("errorlog",),
        default_text="stderr",
    ),
    Option(
        "access_logfile",
        values.PATH,
        None,
        "access log; - is stdout",
        "Logging",
        names=("accesslog",),
        default_text="off",
    ),
    Option(
        "access_log_format",
        values.TEXT,
        "combined",
        "combined, common, short (uvicorn's), json, or a format of gunicorn's atoms such as '%%(h)s %%(s)s %%(M)s'",
        "Logging",
        flags=("--access-logformat", "--access-log-fmt"),
        placeholder="FORMAT",
    ),
    timeout(
        "access_log_flush",
        "",
        0.5,
        "most time for which access lines are collected, to be written together; 0: each at once, as on a terminal",
        group="Logging",
        off=False,
    ),
    Option(
        "use_colors",
        values.AUTO_SWITCH,
        None,
        "colours in the error log; auto: on a terminal, unless NO_COLOR is set",
        "Logging",
        default_text="auto",
    ),
    # -- Configuration
    Option(
        "config",
        values.PATH,
        None,
        "read options from this file, in place of gateway.toml or [tool.gateway] in pyproject.toml: TOML, or a "
        "gunicorn.conf.py (NAME.py, file:PATH or python:MODULE)",
        "Configuration",
        flags=("-c",),
        default_text="./gateway.toml, ./pyproject.toml",
    ),
    Option(
        "gunicorn_cmd_args",
        values.SWITCH,
        False,
        "take options from the environment variable GUNICORN_CMD_ARGS, as gunicorn does",
        "Configuration",
    ),
    Option(
        "env_file",
        values.PATHS,
        (),
        "environment variables for gateway and the application (python-dotenv); those set already stay",
        "Configuration",
        flags=("--env-files",),
        repeatable=True,
    ),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def _names() -> dict[str, Option]:
    names: dict[str, Option] = {}
    for option in OPTIONS:
        for flag in option.all_flags:
            if flag.startswith("--"):
                names[flag[2:].replace("-", "_")] = option
        for name in option.names:
            names[name] = option
    return names


NAMES: dict[str, Option] = _names()
"""Option by each of its names: its own, its long flags with underscores, and `names`."""


def find(name: str) -> Option | None:
    """The option a keyword or TOML key names, or None."""
    return NAMES.get(name.replace("-", "_"))
