"""A real server for a test: a process of its own for a target, or a thread for an application of the test's.

Ready means that it listens: a server that is returned answers. Every wait has a bound.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from ..config.options import OPTIONS, Option

START_TIMEOUT = 60.0
"""Seconds for a server to listen, the import of the application included."""

STOP_TIMEOUT = 15.0
"""Seconds for it to stop after TERM; then it is killed."""

LINES = 10000
"""Of the log, the last ones are kept."""

_LISTENING = re.compile(r"Listening at: (https?)://(\[[^]]*\]|[^:/\s]+):(\d+)")


class ServerFailed(RuntimeError):
    """The server did not start, or did not stop. The message has the end of its log."""


class RunningServer:
    """What `gateway_server` gives: a server that listens, until `stop`. Also a context manager."""

    process: subprocess.Popen[str] | None = None
    """The process, None for a server in a thread."""

    def __init__(self) -> None:
        self.scheme = "http"
        self.host = ""
        self.port = 0

    @property
    def url(self) -> str:
        """For example "http://127.0.0.1:43210"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def logs(self) -> str:
        """What the server has logged so far."""
        raise NotImplementedError

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop gracefully, within `timeout` seconds. Does nothing the second time."""
        raise NotImplementedError

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class ServerProcess(RunningServer):
    """`python -m gateway TARGET` in a process of its own; without a target, what the option `mount` says.

    `options` are those of `gateway.Config`, by keyword; `env` is added to the environment, less what configures
    gateway there. It listens at 127.0.0.1, at a port that the system chooses, unless `bind`, `host` or `port` say
    otherwise. `returncode` is there after `stop`. Raises ServerFailed when it does not listen within `start_timeout`
    seconds, ConfigError for an option that is not one.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        start_timeout: float = START_TIMEOUT,
        **options: Any,
    ) -> None:
        super().__init__()
        if not {"bind", "host", "port", "uds", "fd"} & set(options):
            options["bind"] = "127.0.0.1:0"
        self.command = [sys.executable, "-m", "gateway", *([target] if target else []), *arguments(options)]
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES)
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            self.command,
            env=environment(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        )
        self._reader = threading.Thread(target=self._read, name="gateway-server-log", daemon=True)
        self._reader.start()
        try:
            self._wait_for_address(start_timeout)
        except BaseException:
            self._kill()
            raise

    @property
    def returncode(self) -> int | None:
        """Of the process, None while it runs."""
        assert self.process is not None
        return self.process.poll()

    @property
    def logs(self) -> str:
        """What it has written so far, both streams."""
        with self._news:
            return "".join(self._lines)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """TERM, and kill it if that does not end it in time, upon which ServerFailed is raised."""
        process = self.process
        assert process is not None
        if process.poll() is None:
            # Where there are no signals this ends it at once.
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._kill()
                raise ServerFailed(f"the server did not stop within {timeout:g} s\n{self._tail()}") from None
        self._reader.join(1.0)

    def send_signal(self, number: int) -> None:
        """For example `signal.SIGHUP`."""
        assert self.process is not None
        self.process.send_signal(number)

    def _kill(self) -> None:
        assert self.process is not None
        if self.process.poll() is None and hasattr(signal, "SIGQUIT"):
            # A master's workers end with it; killed, it could not tell them.
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3.0)
        self.process.kill()
        self.process.wait()
        self._reader.join(1.0)

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line)
                    found = _LISTENING.search(line)
                    if found is not None and not self.port:
                        self.scheme, self.host, self.port = found[1], found[2].strip("[]"), int(found[3])
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _wait_for_address(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        with self._news:
            while not self.port:
                if self._ended:
                    raise ServerFailed(f"the server did not start: {' '.join(self.command)}\n{self._tail()}")
                if not self._news.wait(end - time.monotonic()):
                    raise ServerFailed(f"the server does not listen after {timeout:g} s\n{self._tail()}")

    def _tail(self, count: int = 50) -> str:
        return "".join(list(self._lines)[-count:])


class ServerThread(RunningServer):
    """An application, or the option `mounts`, on a loop of its own in a thread of this process.

    `options` are those of `Config`.

    Raises ConfigError and AppLoadError.
    """

    def __init__(self, app: Any = None, **options: Any) -> None:
        from ..server.server import Server

        super().__init__()
        if not {"bind", "host", "port"} & set(options):
            options["bind"] = "127.0.0.1:0"
        self._records = _Records()
        self._records.attach()
        self._stack = contextlib.ExitStack()
        try:
            self.server = Server(app, **options)
            self._stack.enter_context(self.server.run_in_thread())
        except BaseException:
            self._records.detach()
            raise
        address = self.server.addresses[0]
        if isinstance(address, tuple):
            self.host, self.port = address
        self.scheme = "https" if self.server.tls is not None else "http"

    @property
    def logs(self) -> str:
        """What the logger "gateway.error" was told while it ran; servers in threads share it."""
        return "".join(self._records.lines)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop, with `timeout` seconds for requests that are running."""
        self.server.ask_shutdown(timeout)
        self._stack.close()
        self._records.detach()


class _Records:
    """What is logged while this is attached."""

    def __init__(self) -> None:
        import logging

        lines = self.lines = collections.deque[str](maxlen=LINES)
        formatter = logging.Formatter("[%(asctime)s] [%(levelname)s] %(message)s")

        class Keeper(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(formatter.format(record) + "\n")

        self._handler = Keeper()
        self._logger = logging.getLogger("gateway.error")

    def attach(self) -> None:
        self._logger.addHandler(self._handler)

    def detach(self) -> None:
        self._logger.removeHandler(self._handler)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what configures a server in it, but for the choice of build."""
    known = {"GATEWAY_" + name for name in ("NO_EXTENSIONS", "IO")}
    foreign = {name for option in OPTIONS for name in option.env}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in known or not (name.startswith("GATEWAY_") or name in foreign)
    }
    # What this process imports, the other one finds.
    path = [entry for entry in sys.path if entry]
    return kept | {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"} | dict(extra or {})


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options by keyword as flags of the command line. Raises TypeError for one that there is not."""
    made: list[str] = []
    for name, value in options.items():
        option = _option(name)
        if option.is_switch:
            if value is not None:
                made.append(option.flag if value else "--no-" + option.flag[2:])
        elif option.repeatable and isinstance(value, Iterable) and not isinstance(value, str):
            for item in value:
                made += [option.flag, str(item)]
        elif value is not None:
            made.append(f"{option.flag}={value}")
    return made


def _option(name: str) -> Option:
    for option in OPTIONS:
        long = [flag[2:].replace("-", "_") for flag in option.all_flags if flag.startswith("--")]
        if name in (*long, *option.names):
            return option
    raise TypeError(f"gateway has no option {name!r}")
