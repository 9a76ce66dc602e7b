"""The real server as a subprocess, and a client that speaks bytes and reads strictly.

`Server` starts `python -m gateway TARGET`, on ports the kernel chooses, and knows it is ready from the line it logs.
`Client` is a socket with a deadline: what it reads must be HTTP/1.1 to the letter (RFC 9112), or the test fails.
Nothing here sleeps to wait for something: every wait is for a line, a byte or an exit, and has a deadline.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

APPS = Path(__file__).resolve().parent.parent / "apps"
CORPUS = Path(__file__).resolve().parent.parent / "corpus" / "requests"

WAIT = 30.0
"""Seconds any single wait may take. Generous: it is only ever used up by a failing test, or on a loaded machine."""

START = 3 * WAIT
"""Seconds a server may take to start: the frameworks among the applications are large to import."""

EVENT = "@event "
"""What the lines start with by which the applications in tests/apps tell what they saw; see tests/apps/report.py."""

Address = tuple[str, int] | str
"""(host, port), or the path of a Unix socket; a leading NUL makes it an abstract one."""


def package_path() -> str:
    """The folder to import `gateway` from: the one the tests import it from, whatever the working directory."""
    spec = importlib.util.find_spec("gateway")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("gateway cannot be imported: install it, or run the tests from the checkout")
    return str(Path(next(iter(spec.submodule_search_locations))).resolve().parent)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a server under test: ours without its options, except for the choice of build and I/O."""
    kept = {"GATEWAY_IO", "GATEWAY_NO_EXTENSIONS"}
    unwanted = {"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SCRIPT_NAME", "SERVER_SOFTWARE"}
    result = {
        key: value
        for key, value in os.environ.items()
        if key not in unwanted and (key in kept or not key.startswith("GATEWAY_"))
    }
    result["PYTHONPATH"] = os.pathsep.join(filter(None, [package_path(), os.environ.get("PYTHONPATH", "")]))
    result["PYTHONUNBUFFERED"] = "1"
    # Of an application that a test writes twice within a second, the second may pass for the bytecode of the first.
    result["PYTHONDONTWRITEBYTECODE"] = "1"
    result.update(extra or {})
    return result


def free_port() -> int:
    """A port of 127.0.0.1 for somebody else to bind to, in a while.

    Not one that the kernel chooses: it might give that to others meanwhile, as it gives them to all who don't ask for a
    certain one, clients included.
    """
    while True:
        port = random.randrange(16384, 32768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def children(pid: int) -> set[int]:
    """The processes that one has started and not taken leave of (Linux).

    The list is read twice: while one of them ends, it may lack others (proc_pid_task_children(5)).
    """
    path = Path(f"/proc/{pid}/task/{pid}/children")
    text = path.read_text()
    while (again := path.read_text()) != text:
        text = again
    return set(map(int, text.split()))


def run_gateway(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: str | Path | None = None, timeout: float = WAIT
) -> subprocess.CompletedProcess[str]:
    """Run `python -m gateway` to its end, for what exits by itself."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def pieces(stream: IO[bytes]) -> Iterator[list[str]]:
    """The lines of a pipe, those together that arrive together: who has seen the first of a traceback has all of it."""
    number, rest = stream.fileno(), b""
    while not stream.closed and (data := os.read(number, 1 << 20)):
        *whole, rest = (rest + data).split(b"\n")
        if whole:
            yield [line.decode("utf-8", "backslashreplace") + "\n" for line in whole]
    if rest:
        yield [rest.decode("utf-8", "backslashreplace")]


class ServerFailed(AssertionError):
    """The server did not do what the test waited for; the message holds what it logged."""


class Program:
    """A program other than our own command, from its start to its end, with what it prints and logs."""

    def __init__(
        self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, *, session: bool = False
    ) -> None:
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.ended = False
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=session,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for some in pieces(stream):
                with self.news:
                    self.lines += some
                    self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    @property
    def log(self) -> str:
        with self.news:
            return "".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """All that matches, once there are so many of it."""
        end = time.monotonic() + 2 * WAIT
        with self.news:
            while len(found := list(re.finditer(pattern, "".join(self.lines)))) < count:
                assert not self.ended and self.news.wait(end - time.monotonic()), f"no {pattern!r}"
        return found

    def end(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """The exit code, with the log complete; `group`: all processes of its session get the signal."""
        if self.process.poll() is None:
            (os.killpg if group else os.kill)(self.process.pid, number)
        return self.code()

    def code(self) -> int:
        code = self.process.wait(2 * WAIT)
        self.reader.join(WAIT)
        return code


class Server:
    """One server process; a context manager.

    `options` are passed as they are, `binds` as values of `--bind`; None gives no such option. `listeners` says how many
    addresses it will log, where that isn't the number of binds. `wrapper` is a command that ends by executing the rest.
    """

    def __init__(
        self,
        target: str,
        *options: str,
        binds: Sequence[str] | None = ("127.0.0.1:0",),
        listeners: int | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        cwd: str | Path | None = None,
        app_dir: str | Path | None = APPS,
        wrapper: Sequence[str] = (),
    ) -> None:
        command = [*wrapper, sys.executable, "-m", "gateway", target]
        for bind in binds or ():
            command += ["--bind", bind]
        if app_dir is not None:
            command += ["--app-dir", str(app_dir)]
        self.command = [*command, *options]
        self.env = environment(env)
        self.pass_fds = tuple(pass_fds)
        self.cwd = cwd
        self.listeners = len(binds or ()) if listeners is None else listeners
        self.addresses: list[Address] = []
        self.urls: list[str] = []
        self.lines: list[str] = []
        self.ended = False
        self.news = threading.Condition()
        self.process: subprocess.Popen[bytes] | None = None
        self.reader: threading.Thread | None = None

    # Life

    def start(self) -> Server:
        self.process = subprocess.Popen(
            self.command,
            env=self.env,
            cwd=self.cwd,
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.reader = threading.Thread(target=self._read_log, name="server-log", daemon=True)
        self.reader.start()
        try:
            for match in self.wait_for_lines(r"Listening at: (\S+)", self.listeners, START):
                self.urls.append(match[1])
                self.addresses.append(parse_url(match[1]))
        except BaseException:
            self.stop(grace=0)
            raise
        return self

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def worker_pid(self) -> int:
        """The process that serves: the latest worker, or the only process there is."""
        pids = re.findall(r"Booting worker with pid: (\d+)", self.log)
        return int(pids[-1]) if pids else self.pid

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = WAIT) -> int:
        """Wait for the process to end by itself. Returns its exit code."""
        assert self.process is not None and self.reader is not None
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"still running after {timeout} s; it logged:\n{self.log}") from None
        self.reader.join(WAIT)
        return code

    def terminate(self, timeout: float = WAIT) -> int:
        """End it as an operator would. Returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def stop(self, grace: float = 1.0) -> None:
        """End it, gently for `grace` seconds; tests that care how it ends call `terminate` themselves."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        if self.reader is not None:
            self.reader.join(WAIT)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def kill(self) -> None:
        """End it now."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(WAIT)

    # What it says

    def _read_log(self) -> None:
        assert self.process is not None and self.process.stderr is not None
        for some in pieces(self.process.stderr):
            with self.news:
                self.lines += [line.rstrip("\n") for line in some]
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    @property
    def log(self) -> str:
        """All of stderr so far, without the applications' events."""
        return "\n".join(line for line in list(self.lines) if not line.startswith(EVENT))

    def _wait(self, find: Callable[[], Any], what: str, timeout: float) -> Any:
        end = time.monotonic() + timeout
        with self.news:
            while True:
                found = find()
                if found is not None:
                    return found
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    reason = "the process ended" if self.ended else f"nothing within {timeout} s"
                    shown = "\n".join(self.lines[-200:])
                    raise ServerFailed(f"waiting for {what}: {reason}. stderr:\n{shown}")
                self.news.wait(left)

    def wait_for_lines(self, pattern: str, count: int = 1, timeout: float = WAIT) -> list[re.Match[str]]:
        """The first `count` lines that match `pattern`, waiting for them."""
        expression = re.compile(pattern)

        def find() -> list[re.Match[str]] | None:
            found = [match for line in self.lines if (match := expression.search(line))]
            return found[:count] if len(found) >= count else None

        result: list[re.Match[str]] = self._wait(find, f"{count} lines like {pattern!r}", timeout)
        return result

    def wait_for_line(self, pattern: str, timeout: float = WAIT) -> re.Match[str]:
        """The first line that matches `pattern`, waiting for it."""
        return self.wait_for_lines(pattern, 1, timeout)[0]

    def events(self, kind: str, /, **facts: Any) -> list[dict[str, Any]]:
        """What the application reported under this name so far, with these facts."""
        found = []
        for line in list(self.lines):
            if line.startswith(EVENT):
                event = json.loads(line[len(EVENT) :])
                if event["event"] == kind and all(event.get(key) == value for key, value in facts.items()):
                    found.append(event)
        return found

    def wait_event(self, kind: str, /, timeout: float = WAIT, **facts: Any) -> dict[str, Any]:
        """The first event of this name and with these facts, waiting for it."""
        event: dict[str, Any] = self._wait(
            lambda: next(iter(self.events(kind, **facts)), None), f"event {kind} {facts}", timeout
        )
        return event

    # What it costs

    def reset_peak(self) -> int:
        """Forget the peak of resident memory so far. Returns what is resident now, in bytes (Linux)."""
        Path(f"/proc/{self.worker_pid}/clear_refs").write_text("5")
        return self.memory()[0]

    def memory(self) -> tuple[int, int]:
        """Resident memory now and its peak so far, in bytes (Linux)."""
        status = Path(f"/proc/{self.worker_pid}/status").read_text()
        values = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE))
        return int(values["VmRSS"]) * 1024, int(values["VmHWM"]) * 1024

    def cpu_time(self) -> float:
        """Processor seconds used so far (Linux)."""
        fields = Path(f"/proc/{self.worker_pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # Talking to it

    @property
    def address(self) -> Address:
        return self.addresses[0]

    @property
    def port(self) -> int:
        assert isinstance(self.address, tuple)
        return self.address[1]

    @property
    def url(self) -> str:
        """The first listener's URL, without a slash at the end."""
        return self.urls[0].rstrip("/")

    def connect(self, timeout: float = WAIT, **options: Any) -> Client:
        return Client(self.address, timeout, **options)

    def exchange(self, request: bytes, method: str = "GET") -> Response:
        """One request on its own connection."""
        with self.connect() as client:
            client.send(request)
            return client.response(method)

    def get(self, target: str, *fields: str) -> Response:
        """GET on a connection of its own."""
        return self.exchange(request("GET", target, *fields))

    def facts(self, target: str, *fields: str) -> Any:
        """GET, which must answer 200 and JSON."""
        response = self.get(target, *fields)
        assert response.status == 200, response
        return json.loads(response.body)

    def alive(self) -> bool:
        """Whether a new connection is served, and nothing of ours crashed."""
        assert self.process is not None and self.process.poll() is None, self.log
        return self.get("/hello").body == b"hello"


def parse_url(url: str) -> Address:
    """The address in a `Listening at` line."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        return "\0" + path[1:] if path.startswith("@") else path
    match = re.fullmatch(r"https?://(\[[^]]+\]|[^:/]+):(\d+)/?", url)
    assert match, f"not an address: {url}"
    return match[1].strip("[]"), int(match[2])


def request(
    method: str, target: str, *fields: str, body: bytes = b"", version: str = "1.1", host: str | None = "test.example"
) -> bytes:
    """A request as bytes. Host and, with a body and no framing among `fields`, Content-Length are added."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += fields
    if body and not any(line.lower().startswith(("content-length:", "transfer-encoding:")) for line in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body (RFC 9112 7.1), one chunk per part."""
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"


class Malformed(AssertionError):
    """What the server sent is not HTTP/1.1."""


class Incomplete(AssertionError):
    """The server closed before the message was complete (RFC 9112 8)."""


@dataclass
class Response:
    """One response as it stood on the wire."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] | None = None
    trailers: list[tuple[str, str]] = field(default_factory=list)
    until_close: bool = False
    informational: list[Response] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a field that may stand there once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} repeated: {values}"
        return values[0] if values else None

    @property
    def connection(self) -> set[str]:
        """The options of Connection, in lower case (RFC 9110 7.6.1)."""
        return {option.strip().lower() for value in self.all("connection") for option in value.split(",")}

    def json(self) -> Any:
        return json.loads(self.body)


TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
STATUS_LINE = re.compile(rb"HTTP/(1\.1) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class Client:
    """A connection to the server, with a deadline on every wait, that accepts nothing but correct HTTP/1.1."""

    def __init__(
        self,
        address: Address,
        timeout: float = WAIT,
        *,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        family = socket.AF_INET
        if isinstance(address, str):
            family = socket.AF_UNIX
        elif ":" in address[0]:
            family = socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        # Both must be set before connecting, to have an influence on the window.
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.timeout = timeout
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
            if family != socket.AF_UNIX:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except BaseException:
            self.socket.close()
            raise
        self.buffer = bytearray()
        self.ended = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with RST: how a client looks that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def half_close(self) -> None:
        """Close the sending half."""
        self.socket.shutdown(socket.SHUT_WR)

    # Sending

    def send(self, data: bytes | memoryview) -> None:
        self.socket.sendall(data)

    def send_each(self, parts: Iterable[bytes]) -> None:
        """Send the parts one by one, each in a segment of its own as far as we can tell."""
        for part in parts:
            self.socket.sendall(part)

    def send_until_stuck(self, data: bytes, limit: int, patience: float = 1.0) -> int:
        """Send `data` again and again, `limit` bytes at most, until nothing has been accepted for `patience` seconds.

        Returns how many bytes the kernel and the server took.
        """
        sent = 0
        view = memoryview(data)
        self.socket.settimeout(patience)
        try:
            while sent < limit:
                start = sent % len(data)
                sent += self.socket.send(view[start : start + limit - sent])
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(self.timeout)
        return sent

    # Receiving

    def fill(self) -> bool:
        """Receive something. False at the end."""
        if self.ended:
            return False
        data = self.socket.recv(65536)
        if not data:
            self.ended = True
            return False
        self.buffer += data
        return True

    def wait_readable(self) -> None:
        """Wait until something, or the end, has arrived; it is left there."""
        readable, _, _ = select.select([self.socket], [], [], self.timeout)
        assert readable, "nothing arrived"

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self.buffer) < count:
            if not self.fill():
                raise Incomplete(f"closed after {len(self.buffer)} of {count} bytes: {bytes(self.buffer[-200:])!r}")
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def line(self) -> bytes:
        """One line without its CRLF; nothing else ends a line here."""
        searched = 0
        while (end := self.buffer.find(b"\n", searched)) < 0:
            searched = len(self.buffer)
            if not self.fill():
                raise Incomplete(f"closed inside a line: {bytes(self.buffer[-200:])!r}")
        data = self.take(end + 1)
        if not data.endswith(b"\r\n") or b"\r" in data[:-2]:
            raise Malformed(f"line not ended by CRLF alone: {data!r}")
        return data[:-2]

    def fields(self) -> list[tuple[str, str]]:
        """Field lines up to the empty line (RFC 9112 5)."""
        fields = []
        while line := self.line():
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value):
                raise Malformed(f"bad field line: {line!r}")
            fields.append((name.decode("ascii"), value.decode("latin-1").strip(" \t")))
        return fields

    def head(self) -> Response:
        """A status line and its fields (RFC 9112 4)."""
        line = self.line()
        match = STATUS_LINE.fullmatch(line)
        if not match:
            raise Malformed(f"bad status line: {line!r}")
        return Response(match[1].decode(), int(match[2]), match[3].decode("latin-1"), self.fields())

    def response(self, method: str = "GET") -> Response:
        """One complete response to a request with this method; interim ones are in its `informational`."""
        response = self.response_head()
        self.read_content(response, method)
        return response

    def response_head(self) -> Response:
        """The next final head and the interim responses before it, without the content."""
        informational = []
        while True:
            response = self.head()
            if response.status >= 200:
                break
            # RFC 9112 6.3: no content; RFC 9110 8.6 and RFC 9112 6.1: so no framing either.
            assert not response.all("content-length") and not response.all("transfer-encoding"), response
            informational.append(response)
        response.informational = informational
        return response

    def read_content(self, response: Response, method: str) -> None:
        """The content that follows a head (RFC 9112 6.3), with what the framing must look like."""
        lengths = response.all("content-length")
        codings = response.all("transfer-encoding")
        assert len(lengths) <= 1 and len(codings) <= 1, response
        assert not (lengths and codings), f"both framings: {response}"
        assert len(response.all("date")) == 1, f"Date (RFC 9110 6.6.1): {response}"
        if lengths:
            assert re.fullmatch(r"[0-9]+", lengths[0]), response
        if codings:
            assert codings == ["chunked"], response
        if response.status == 204:
            assert not lengths and not codings, f"framing in 204 (RFC 9110 8.6, RFC 9112 6.1): {response}"
        if method == "HEAD" or response.status in (204, 304):
            return
        if codings:
            response.chunks = list(self.read_chunks())
            response.body = b"".join(response.chunks)
            response.trailers = self.fields()
        elif lengths:
            response.body = self.take(int(lengths[0]))
        else:
            response.until_close = True
            response.body = self.rest()

    def read_chunks(self) -> Iterator[bytes]:
        """The chunks that follow, up to the last (RFC 9112 7.1); the trailer section is left to `fields`."""
        while True:
            line = self.line()
            assert re.fullmatch(rb"[0-9A-Fa-f]+", line), f"bad chunk-size line: {line!r}"
            size = int(line, 16)
            if not size:
                return
            yield self.take(size)
            end = self.take(2)
            assert end == b"\r\n", f"chunk ended by {end!r}"

    def rest(self) -> bytes:
        """Everything up to the end. A reset instead of an orderly end raises ConnectionResetError."""
        while self.fill():
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def expect_end(self) -> None:
        """The server closes, and sent nothing more."""
        data = self.rest()
        assert data == b"", f"more was sent: {data[:400]!r}"

    def expect_silence(self, seconds: float) -> None:
        """The connection stays open and nothing comes for that long."""
        assert not self.buffer, bytes(self.buffer)
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(4096)
        except TimeoutError:
            return
        finally:
            self.socket.settimeout(self.timeout)
        raise AssertionError(f"expected silence, got {data!r}")

    def expect_gone(self) -> None:
        """The connection is closed in both directions: sooner or later, sending fails."""
        end = time.monotonic() + self.timeout
        try:
            while time.monotonic() < end:
                self.socket.sendall(b"x" * 1024)
        except (BrokenPipeError, ConnectionResetError):
            return
        raise AssertionError("the server still reads from the connection")
