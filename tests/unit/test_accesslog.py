"""AccessLogger: every atom, the named formats, and clients that try to forge lines."""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import string
import time
from types import SimpleNamespace
from typing import Any

import pytest

REQUEST = (
    b"GET /a%20b/c?x=1&y=%0A HTTP/1.1\r\n"
    b"Host: example.com\r\n"
    b"Referer: http://example.com/\r\n"
    b"User-Agent: curl/8.0\r\n"
    b"X-Request-ID: 17\r\n"
    b"\r\n"
)


class Log:
    """One build's AccessLogger, and the lines it wrote."""

    def __init__(self, build: Any) -> None:
        self.build = build
        self.lines: list[str] = []

    def logger(self, format: str) -> Any:
        return self.build.module("http.accesslog").AccessLogger(format, self.take, clock=lambda: time.time())

    def take(self, data: bytes) -> None:
        assert data.endswith(b"\n")
        self.lines.append(data[:-1].decode("ascii"))

    def stream(self, request: bytes = REQUEST, fields: Any = (), status: int = 200, **attributes: Any) -> Any:
        """An exchange; with a status of 0 there was no response."""
        head = self.build.module("kernels.head").RequestHead()
        received = self.build.module("kernels.buffer").InputBuffer()
        received.feed(request)
        assert head.parse(received, 0, 0, 0, 0) == 1
        block = self.build.module("kernels.fields").FieldBlock()
        assert block.encode(fields, 0) == 0
        limits = self.build.module("http.limits")
        service = self.build.module("http.service").Service(
            limits=limits.Limits(),
            timeouts=limits.Timeouts(),
            clock=self.build.module("kernels.base").Clock(0.0),
            handler=None,
            log=None,
        )
        make = self.build.module("http.stream").HTTPStream
        stream = make()
        stream.prepare(service, None, head, ("127.0.0.1", 54321), ("127.0.0.1", 8000), "http")
        if status:
            stream.send_head(status, b"", block, False)
        stream.body_sent = 13
        stream.started = 1000.0
        for name, value in attributes.items():
            setattr(stream, name, value)
        return stream

    def line(self, format: str, stream: Any = None, now: float = 1002.345678, **attributes: Any) -> str:
        if stream is None:
            stream = self.stream(**attributes)
        self.lines.clear()
        assert self.logger(format).log(stream, now) == 0
        (line,) = self.lines
        return line

    def refusal(self, format: str, *arguments: Any) -> str:
        self.lines.clear()
        assert self.logger(format).log_refusal(*arguments) == 0
        (line,) = self.lines
        return line


@pytest.fixture
def log(build: Any) -> Log:
    return Log(build)


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> Any:
    """2026-11-21 12:00:00 UTC; the value returned moves the clock."""
    clock = SimpleNamespace(time=1795262400.25)
    monkeypatch.setattr(time, "time", lambda: clock.time)
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):
        time.tzset()
    yield clock
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("%(h)s", "127.0.0.1"),
        ("%(l)s", "-"),
        ("%(u)s", "-"),
        ("%(r)s", "GET /a%20b/c?x=1&y=%0A HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(s)d", "200"),
        ("%(m)s", "GET"),
        ("%(U)s", "/a b/c"),
        ("%(q)s", "x=1&y=%0A"),
        ("%(H)s", "HTTP/1.1"),
        ("%(b)s", "13"),
        ("%(b)d", "13"),
        ("%(B)s", "13"),
        ("%(f)s", "http://example.com/"),
        ("%(a)s", "curl/8.0"),
        ("%(T)s", "2"),
        ("%(M)s", "2345"),
        ("%(L)s", "2.345678"),
        pytest.param("%(p)s", f"<{os.getpid()}>", id="pid"),
        ("%(client)s", "127.0.0.1:54321"),
        ("%({X-Request-ID}i)s", "17"),
        ("%({x-request-id}i)s %({x-none}i)s", "17 -"),
        ("%({e}e)s", "-"),
        ("%%%(s)s%%", "%200%"),
        ("%(h)-12s|%(m)6s|%(a).4s|%(M)07d", "127.0.0.1   |   GET|curl|0002345"),
        ("(%(s)s) {%(m)s} %%(s)s", "(200) {GET} %(s)s"),
    ],
)
def test_atoms(log: Log, format: str, expected: str) -> None:
    assert log.line(format) == expected


@pytest.mark.parametrize(
    ("prefix", "text", "name"),
    [("/legacy", "/legacy", "/legacy"), ("", "/", "/"), ("/\u00fc", r"/\xc3\xbc", "/\u00fc")],
)
def test_mount(log: Log, prefix: str, text: str, name: str) -> None:
    mount = log.build.module("http.mounts").Mount(prefix, None)
    assert log.line("%(mount)s %(s)s", mount=mount) == f"{text} 200"
    assert json.loads(log.line("json", mount=mount))["gateway.mount"] == name


def test_no_mount(log: Log) -> None:
    assert log.line("%(mount)s|%(mount)5s") == "-|    -"
    assert log.refusal("%(mount)s", None, 400, None) == "-"
    assert "gateway.mount" not in log.line("json")


def test_microseconds(log: Log) -> None:
    assert abs(int(log.line("%(D)s")) - 2345678) <= 1
    # The coarse clock of the process may be behind the stream's own.
    assert log.line("%(D)d %(M)s %(T)s %(L)s", now=999.0) == "0 0 0 0.000000"


def test_response_fields(log: Log) -> None:
    fields = [(b"Content-Type", b"text/html"), (b"Content-Type", b"2"), (b"Set-Cookie", b'a="b"')]
    assert log.line("%({content-type}o)s", fields=fields) == "text/html"
    assert log.line("%({Set-Cookie}o)s", fields=fields) == "a=\\x22b\\x22"
    assert log.line("%({x}o)s", fields=fields) == "-"
    assert log.line("%({x}o)s", status=0) == "-"


def test_environ_variables(log: Log) -> None:
    environ = {"REMOTE_USER": "ann", "wsgi.version": (1, 0), "HTTP_X": "\xe9\n", "odd": "\u20ac"}
    assert log.line("%({REMOTE_USER}e)s %({remote_user}e)s", environ=environ) == "ann ann"
    assert log.line("%({wsgi.version}e)s", environ=environ) == "(1, 0)"
    assert log.line("%({HTTP_X}e)s %({odd}e)s %({none}e)s", environ=environ) == "\\xe9\\x0a \\xe2\\x82\\xac -"


def test_the_environ_is_asked_for_where_it_is_shown(log: Log) -> None:
    for form, expected in (
        ("%({x}e)s", True),
        ("%(h)s %({x}e)-5s", True),
        ("%({x}i)s %(h)s", False),
        ("json", False),
    ):
        assert bool(log.logger(form).keeps_environ) is expected, form
    assert log.line("[%({x}e)s]", environ={"x": ""}) == "[]"


def test_clocks(build: Any) -> None:
    """They are those of the time module, whose readings are compared with theirs."""
    base = build.module("kernels.base")
    for clock, standard in ((base.monotonic, time.monotonic), (base.wall, time.time)):
        before = standard()
        now = clock()
        # A float of seconds since 1970 is good to a quarter of a microsecond.
        assert before - 1e-6 <= now <= standard() + 1e-6


def test_the_clock_of_the_system_is_the_default(build: Any) -> None:
    lines: list[bytes] = []
    logger = build.module("http.accesslog").AccessLogger("json", lines.append)
    before = int(time.time())
    logger.log_refusal(None, 400, None)
    shown = datetime.datetime.fromisoformat(json.loads(lines[0])["timestamp"]).timestamp()
    assert before <= shown <= time.time()


def test_nothing_sent(log: Log) -> None:
    assert log.line("%(b)s %(B)s", body_sent=0) == "- 0"
    assert log.line("%(s)s %(s)d", status=0) == "- 0"
    assert log.line("%(B)s", body_sent=2**40) == str(2**40)


def test_unix_socket(log: Log) -> None:
    assert log.line("short", client=None) == '- - "GET /a%20b/c?x=1&y=%0A HTTP/1.1" 200'
    assert log.line("%(h)s", client=None) == "-"


def test_clients(log: Log) -> None:
    assert log.line("%(client)s", client=("::1", 5)) == "::1:5"
    # What a proxy has reported.
    assert log.line("%(client)s", client=("192.0.2.1", 0)) == "192.0.2.1"
    assert log.line("%(client)s", client=("192.0.2.1", None)) == "192.0.2.1"
    assert log.line("%(client)s %(h)s", client=('a "b\n', 1)) == "a\\x20\\x22b\\x0a:1 a\\x20\\x22b\\x0a"


def test_named_formats(log: Log, noon: Any) -> None:
    plain = log.stream(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert log.line("short", plain) == '127.0.0.1:54321 - "GET / HTTP/1.1" 200'
    assert log.line("uvicorn", plain) == log.line("short", plain)
    common = '127.0.0.1 - - [21/Nov/2026:12:00:00 +0000] "GET /a%20b/c?x=1&y=%0A HTTP/1.1" 200 13'
    assert log.line("common") == common
    assert log.line("combined") == common + ' "http://example.com/" "curl/8.0"'
    gunicorn = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    assert log.line(gunicorn) == log.line("combined")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="no tzset")
@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "[21/Nov/2026:12:00:00 +0000]"),
        ("XXX-5:30", "[21/Nov/2026:17:30:00 +0530]"),
        ("XXX+3:30", "[21/Nov/2026:08:30:00 -0330]"),
        ("XXX+13", "[20/Nov/2026:23:00:00 -1300]"),
    ],
)
def test_time_zones(log: Log, noon: Any, monkeypatch: pytest.MonkeyPatch, zone: str, expected: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert log.line("%(t)s") == expected


def test_time_moves(log: Log, noon: Any) -> None:
    logger = log.logger("%(t)s")
    stream = log.stream()
    for step in (0.5, 0.5, 60.0, -3600.0):
        noon.time += step
        logger.log(stream, 1001.0)
    clocks = [line[13:21] for line in log.lines]
    assert clocks == ["12:00:00", "12:00:01", "12:01:01", "11:01:01"]


def authorization(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: " + value + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Basic " + base64.b64encode(b"ann:secret"), "ann"),
        (b"BASIC  " + base64.b64encode(b"ann:secret:more"), "ann"),
        (b"Basic " + base64.b64encode("é:x".encode()), "\\xc3\\xa9"),
        (b"Basic " + base64.b64encode(b'a b\n"c\\:x'), "a\\x20b\\x0a\\x22c\\x5c"),
        (b"Basic " + base64.b64encode(b":x"), "-"),
        (b"Basic " + base64.b64encode(b"secret"), "-"),
        (b"Basic ***", "-"),
        (b"Basic \xe9", "-"),
        (b"Basic", "-"),
        (b"Basic ", "-"),
        (b"Bearer " + base64.b64encode(b"ann:secret"), "-"),
    ],
)
def test_user(log: Log, value: bytes, expected: str) -> None:
    assert log.line("%(u)s", request=authorization(value)) == expected


def test_forged_lines(log: Log, noon: Any) -> None:
    """CWE-117: however a client tries, a line is one line of the same shape."""
    request = (
        b'GET /"%22%0A%5c\\?"\\q HTTP/1.1\r\nHost: a\r\n'
        b'User-Agent: x" 200 5 "-" "\\\xff\t\x80\r\nReferer: "\\\r\nX: \xe2\x80\xa8\r\n\r\n'
    )
    stream = log.stream(request)
    line = log.line("combined", stream)
    assert line == (
        "127.0.0.1 - - [21/Nov/2026:12:00:00 +0000] "
        '"GET /\\x22%22%0A%5c\\x5c?\\x22\\x5cq HTTP/1.1" 200 13 '
        '"\\x22\\x5c" "x\\x22 200 5 \\x22-\\x22 \\x22\\x5c\\xff\\x09\\x80"'
    )
    assert log.line("%(U)s", stream) == "/\\x22\\x22\\x0a\\x5c\\x5c"
    assert log.line("%(q)s", stream) == "\\x22\\x5cq"
    assert log.line("%({x}i)s", stream) == "\\xe2\\x80\\xa8"
    assert log.refusal("%(r)s", None, 400, b'GET "\\\r\n\x00\xff') == "GET \\x22\\x5c\\x0d\\x0a\\x00\\xff"
    # Atoms in what a client sends are only text.
    assert log.line("%({x}i)s", request=b"GET / HTTP/1.1\r\nX: %(h)s %s %d\r\n\r\n") == "%(h)s %s %d"


def test_every_byte(log: Log) -> None:
    allowed = set(string.printable[:95].encode()) - set(b'"\\')
    for byte in range(256):
        (written,) = [log.refusal("%(r)s", None, 400, b"a" + bytes([byte]))]
        assert written == "a" + (chr(byte) if byte in allowed else f"\\x{byte:02x}")


def test_refusals(log: Log, noon: Any) -> None:
    client = ("127.0.0.1", 5)
    assert log.refusal("combined", client, 400, None) == (
        '127.0.0.1 - - [21/Nov/2026:12:00:00 +0000] "-" 400 - "-" "-"'
    )
    assert log.refusal("short", client, 414, b"GET /x HTTP/1.1") == '127.0.0.1:5 - "GET /x HTTP/1.1" 414'
    assert log.refusal("short", client, 414, "GET /\xe9 HTTP/1.1") == '127.0.0.1:5 - "GET /\\xe9 HTTP/1.1" 414'
    atoms = "%(h)s %(l)s %(u)s %(r)s %(s)s %(m)s %(U)s %(q)s %(H)s %(b)s %(B)s %(f)s %(a)s %({a}i)s %({a}o)s %({a}e)s"
    assert log.refusal(atoms, None, 400, b"") == "- - - - 400 - - - - - 0 - - - - -"
    assert log.refusal("%(T)s %(D)s %(M)s %(L)s %(client)s", None, 400, None) == "0 0 0 0.000000 -"


def test_json(log: Log, noon: Any) -> None:
    request = (
        b"POST /a%20b?q=\\%22 HTTP/1.0\r\nAuthorization: Basic " + base64.b64encode(b"ann:x") + b"\r\n"
        b'User-Agent: "\xc3\xa9\xff\\\tx\r\nReferer: r\r\n\r\n'
    )
    line = log.line("json", request=request, scheme="https")
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line) == {
        "timestamp": "2026-11-21T12:00:00.250Z",
        "client.address": "127.0.0.1",
        "client.port": 54321,
        "user.name": "ann",
        "http.request.method": "POST",
        "url.scheme": "https",
        "url.path": "/a%20b",
        "url.query": "q=\\%22",
        "network.protocol.version": "1.0",
        "http.response.status_code": 200,
        "http.response.body.size": 13,
        "http.server.request.duration": pytest.approx(2.345678, abs=2e-6),
        "user_agent.original": '"\xe9\\xff\\\tx',
        "http.request.header.referer": "r",
        "process.pid": os.getpid(),
    }
    minimal = json.loads(log.line("json", request=b"GET / HTTP/1.1\r\n\r\n", client=None, status=0))
    assert set(minimal) == {
        "timestamp",
        "http.request.method",
        "url.scheme",
        "url.path",
        "network.protocol.version",
        "http.response.body.size",
        "http.server.request.duration",
        "process.pid",
    }
    assert json.loads(log.refusal("json", ("::1", 7), 400, b'GET "\n')) == {
        "timestamp": "2026-11-21T12:00:00.250Z",
        "client.address": "::1",
        "client.port": 7,
        "http.request.line": 'GET "\n',
        "http.response.status_code": 400,
        "http.response.body.size": 0,
        "process.pid": os.getpid(),
    }


@pytest.mark.parametrize(
    ("format", "message"),
    [
        ("%(x)s", r"unknown atom %\(x\)s; there are: .*\bh\b.*\{name\}i"),
        ("%(h)s %(status)s", r"unknown atom %\(status\)s"),
        ("%(Client)s", "unknown atom"),
        ("%()s", "unknown atom"),
        ("%({x}z)s", "stray %|unknown atom"),
        ("%({a b}i)s", "'a b' is no field name"),
        ("%({}o)s", "'' is no field name"),
        ("%(h)s 100%", "stray %"),
        ("%h", "stray %"),
        ("%(h", "stray %"),
        ("%(h)", r"%\(h\) must end in s"),
        ("%(h)r", r"%\(h\)r must end in s"),
        ("%(h)d", r"%\(h\)d is not a number"),
        ("%({x}i)d", "is not a number"),
        ("%(L)f", r"must end in s"),
        ("combnied", "none of combined, common, short, uvicorn, json"),
        ("", "none of"),
        ("JSON", "none of"),
    ],
)
def test_bad_formats(log: Log, format: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        log.logger(format)
    assert "\n" not in str(caught.value)


def test_documented(log: Log) -> None:
    """Each atom and each JSON attribute stands in the module's documentation."""
    module = log.build.module("http.accesslog")
    text = __import__("gateway.core.http.accesslog", fromlist=["x"]).__doc__
    for name in ("h l u t r s m U q H b B f a T D M L p client").split():
        assert re.search(rf"\b{name}  ", text), name
        module.AccessLogger(f"%({name})s", print)
    for name in json.loads(log.line("json")):
        assert name in text


def test_an_error_of_write_is_passed_on(log: Log) -> None:
    def full(_: bytes) -> None:
        raise OSError("disk full")

    logger = log.build.module("http.accesslog").AccessLogger("short", full)
    with pytest.raises(OSError, match="disk full"):
        logger.log(log.stream(), 1001.0)


def collecting(log: Log, limit: int, format: str = "%(s)s") -> tuple[Any, list[bytes], list[None]]:
    """A logger that collects, what it wrote, and how often it has said that a line waits."""
    written: list[bytes] = []
    waits: list[None] = []
    make = log.build.module("http.accesslog").AccessLogger
    return make(format, written.append, limit, lambda: waits.append(None)), written, waits


def test_lines_are_collected(log: Log) -> None:
    logger, written, waits = collecting(log, 13)
    stream = log.stream()
    for count, expected in ((1, []), (2, []), (3, []), (4, [b"200\n" * 4]), (5, [b"200\n" * 4])):
        logger.log(stream, 1001.0)
        assert written == expected
        # Said once, by the first line there is.
        assert len(waits) == (1 if count < 5 else 2)
    logger.flush()
    logger.flush()
    assert written == [b"200\n" * 4, b"200\n"]


def test_nothing_waits_when_each_line_is_written_at_once(log: Log) -> None:
    logger, written, waits = collecting(log, 0)
    logger.log(log.stream(), 1001.0)
    logger.log_refusal(None, 400, None)
    assert (written, waits) == ([b"200\n", b"400\n"], [])


def test_a_line_that_fails_leaves_nothing_of_itself(log: Log) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    logger, written, _ = collecting(log, 1000, "%(s)s %({x}e)s")
    logger.log(log.stream(), 1001.0)
    with pytest.raises(ZeroDivisionError):
        logger.log(log.stream(environ={"x": Broken()}), 1001.0)
    logger.flush()
    assert written == [b"200 -\n"]


def test_text_of_a_format_may_be_any(log: Log) -> None:
    logger, written, _ = collecting(log, 0, "\u20ac\udcff %(s)s \xe9")
    logger.log(log.stream(), 1001.0)
    assert written == ["\u20ac\\udcff 200 \xe9\n".encode()]


def test_a_format_of_what_is_never_known(log: Log) -> None:
    assert log.line("%(l)s [%(l)-3s]%(l)s") == "- [-  ]-"
    assert log.line("%(l)s") == "-"
