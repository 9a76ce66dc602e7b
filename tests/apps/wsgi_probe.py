"""Raw WSGI applications that exercise every corner of PEP 3333.

`probe` answers the same targets as `asgi_apps:probe`, so that one test can be run against both interfaces; the targets
under "WSGI only" have no such twin.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.validate import validator

from cases import BAD_FIELDS, PART
from report import report

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], Any]]
Fields = list[tuple[str, str]]

TEXT: Fields = [("Content-Type", "text/plain; charset=utf-8")]

calls: Counter[str] = Counter()
calls_lock = threading.Lock()
gates: dict[str, threading.Event] = {}
gates_lock = threading.Lock()


class Exchange:
    """One request: its query, and short ways to read and answer."""

    def __init__(self, environ: Environ, start_response: Start) -> None:
        self.environ = environ
        self.start_response = start_response
        self.query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        self.input = environ["wsgi.input"]

    def number(self, name: str, default: int = 0) -> int:
        return int(self.query.get(name, default))

    def start(self, status: str = "200 OK", fields: Fields | None = None, exc_info: Any = None) -> Any:
        fields = TEXT if fields is None else fields
        if exc_info is not None:
            return self.start_response(status, list(fields), exc_info)
        return self.start_response(status, list(fields))

    def answer(self, body: bytes, status: str = "200 OK", fields: Fields | None = None) -> list[bytes]:
        self.start(status, fields)
        return [body]

    def answer_json(self, value: Any) -> list[bytes]:
        return self.answer(json.dumps(value).encode(), fields=[("Content-Type", "application/json")])


Result = Iterable[bytes]


def gate(name: str) -> threading.Event:
    with gates_lock:
        return gates.setdefault(name, threading.Event())


def wait_at(name: str) -> None:
    report("waiting", name=name)
    if not gate(name).wait(60):
        raise TimeoutError(f"nobody opened gate {name}")


class Closable:
    """An iterable that reports its `close()`, and how often it was called."""

    def __init__(self, name: str, parts: Iterable[bytes]) -> None:
        self.name = name
        self.parts = iter(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.parts)

    def close(self) -> None:
        self.closed += 1
        report("closed", name=self.name, times=self.closed)


class ClosableList(list[bytes]):
    """A list with `close()`: servers that look for lists must still call it."""

    name = ""

    def close(self) -> None:
        report("closed", name=self.name, times=1)


# The targets that the ASGI probe has too


def hello(x: Exchange) -> Result:
    return x.answer(b"hello")


def echo(x: Exchange) -> Result:
    return x.answer(x.input.read())


def size(x: Exchange) -> Result:
    if "name" in x.query:
        wait_at(x.query["name"])
    total, digest = 0, hashlib.sha256()
    try:
        while data := x.input.read(65536):
            total += len(data)
            digest.update(data)
    except OSError:
        report("cut", total=total)
        raise
    return x.answer_json({"size": total, "sha256": digest.hexdigest()})


def unread(x: Exchange) -> Result:
    return x.answer(b"unread")


def parts(x: Exchange) -> Result:
    x.start()
    for i in range(x.number("n", 3)):
        yield b"part%d;" % i


def status(x: Exchange) -> Result:
    fields = [*TEXT, ("Content-Length", "4")] if "length" in x.query else TEXT
    return x.answer(b"body", f"{x.number('code', 200)} {x.query.get('reason', 'Reason')}", fields)


def length(x: Exchange) -> Result:
    declared, count = x.number("declared"), x.number("sent")
    x.start(fields=[*TEXT, ("Content-Length", str(declared))])
    yield b"x" * (count // 2)
    yield b"x" * (count - count // 2)


def request(x: Exchange) -> Result:
    environ = x.environ
    headers = [[k[5:].replace("_", "-").lower(), v] for k, v in environ.items() if k.startswith("HTTP_")]
    headers += [[n.lower().replace("_", "-"), environ[n]] for n in ("CONTENT_TYPE", "CONTENT_LENGTH") if environ.get(n)]
    return x.answer_json(
        {
            "method": environ["REQUEST_METHOD"],
            "path": (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1").decode("utf-8", "replace"),
            "query": environ["QUERY_STRING"],
            "version": environ["SERVER_PROTOCOL"].removeprefix("HTTP/"),
            "scheme": environ["wsgi.url_scheme"],
            "client": [environ.get("REMOTE_ADDR"), int(environ.get("REMOTE_PORT") or 0)],
            "server": [environ["SERVER_NAME"], int(environ["SERVER_PORT"])],
            "headers": headers,
            "content": x.input.read().decode("latin-1"),
        }
    )


def gate_wait(x: Exchange) -> Result:
    wait_at(x.query["name"])
    return x.answer(b"opened")


def gate_open(x: Exchange) -> Result:
    gate(x.query["name"]).set()
    return x.answer(b"ok")


def file_wait(x: Exchange) -> Result:
    """Wait until the file `path` exists: a gate that needs no second request to be opened."""
    report("waiting", name=x.query["path"])
    pause = threading.Event()
    for _ in range(3000):
        if os.path.exists(x.query["path"]):
            return x.answer(b"opened")
        pause.wait(0.02)
    raise TimeoutError("nobody made the file")


def stream_gate(x: Exchange) -> Result:
    x.start()
    yield b"first;"
    wait_at(x.query["name"])
    yield b"second;"


def head_then_read(x: Exchange) -> Result:
    x.start()
    yield b"head;"
    yield x.input.read()


def bad_field(x: Exchange) -> Result:
    name, value = BAD_FIELDS[x.query["case"]]
    return x.answer(b"never", fields=[*TEXT, (name.decode("latin-1"), value.decode("latin-1"))])


def hints(x: Exchange) -> Result:
    for i in range(x.number("n", 1)):
        x.environ["wsgi.early_hints"]([("Link", f"</{i}.css>; rel=preload; as=style")])
    return x.answer(b"hinted")


def bad_hint(x: Exchange) -> Result:
    name, value = BAD_FIELDS[x.query["case"]]
    x.environ["wsgi.early_hints"]([(name.decode("latin-1"), value.decode("latin-1"))])
    return x.answer(b"never")


def fail(x: Exchange) -> Result:
    when = x.query["when"]
    if when == "before":
        raise RuntimeError("the application failed on purpose")

    def body() -> Iterator[bytes]:
        x.start()
        if when == "body":
            yield b"part;"
        raise RuntimeError("the application failed on purpose")

    return body()


def closing(x: Exchange) -> Result:
    # Connection is hop-by-hop: PEP 3333 forbids it to applications, but many set it, and mean it.
    return x.answer(b"closing", fields=[*TEXT, ("Connection", "close")])


def own_fields(x: Exchange) -> Result:
    return x.answer(b"own", fields=[*TEXT, ("Date", "Mon, 05 Jan 2026 10:00:00 GMT"), ("Server", "mine")])


def own_framing(x: Exchange) -> Result:
    return x.answer(b"framed", fields=[*TEXT, ("Transfer-Encoding", "chunked"), ("Keep-Alive", "timeout=99")])


def cookies(x: Exchange) -> Result:
    return x.answer(b"", fields=[*TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])


def count(x: Exchange) -> Result:
    return x.answer_json(calls[x.query["path"]])


def big(x: Exchange) -> Result:
    """`size` bytes in parts of 64 KiB. Reports when a part is not taken for a while, and what was sent then."""
    total, sent = x.number("size"), 0
    x.start(fields=[*TEXT, ("Content-Length", str(total))] if "length" in x.query else TEXT)
    watch = threading.Condition()
    over = False

    def watcher() -> None:
        with watch:
            while not over:
                before = sent
                watch.wait_for(lambda: over or sent != before, 0.4)
                if not over and sent == before:
                    report("blocked", sent=sent, size=total)
                    return

    threading.Thread(target=watcher, daemon=True).start()
    try:
        while sent < total:
            piece = PART[: total - sent]
            yield piece
            with watch:
                sent += len(piece)
                watch.notify()
    finally:
        with watch:
            over = True
            watch.notify()
        if sent < total:
            report("stopped", sent=sent)


# WSGI only


def environ_json(x: Exchange) -> Result:
    """The environ: values that JSON can hold, and the types of all."""
    plain = {key: value for key, value in x.environ.items() if isinstance(value, (str, int, bool, tuple))}
    return x.answer_json(
        {
            "values": plain,
            "types": {key: type(value).__name__ for key, value in x.environ.items()},
            "is_dict": type(x.environ) is dict,
            "leaked": sorted(key for key in os.environ if key in x.environ and key not in ("SERVER_SOFTWARE",)),
        }
    )


def read_pattern(x: Exchange) -> Result:
    """Read the content as the query's `calls` says; answers what each call returned.

    `read`, `read:-1`, `read:5`, `read:None`, `readline`, `readline:3`, `readlines`, `readlines:10`, `iterate`, `next`.
    """
    results: list[Any] = []
    for call in x.query["calls"].split(","):
        name, _, argument = call.partition(":")
        arguments = [None if argument == "None" else int(argument)] if argument else []
        if name == "iterate":
            value: Any = list(x.input)
        elif name == "next":
            value = next(iter(x.input), b"")
        else:
            value = getattr(x.input, name)(*arguments)
        results.append([v.decode("latin-1") for v in value] if isinstance(value, list) else value.decode("latin-1"))
    return x.answer_json(results)


def cut(x: Exchange) -> Result:
    """Read everything; report how a truncated upload shows."""
    got = b""
    try:
        if x.query.get("how") == "lines":
            for line in x.input:
                got += line
        elif x.query.get("how") == "all":
            got = x.input.read()
        else:
            while data := x.input.read(4):
                got += data
    except OSError as error:
        report("cut", name=x.query["name"], got=got.decode(), error=type(error).__name__)
        raise
    report("complete", name=x.query["name"], got=got.decode())
    return x.answer(b"complete")


def write(x: Exchange) -> Result:
    writer = x.start()
    writer(b"written1;")
    writer(b"written2;")
    return [b"returned;"]


def write_only(x: Exchange) -> Result:
    writer = x.start()
    writer(b"written;")
    return []


def write_text(x: Exchange) -> Result:
    writer = x.start()
    writer("text")  # type: ignore[arg-type]
    return []


def generator(x: Exchange) -> Result:
    """start_response runs at the first iteration only."""
    x.start("202 Late", [*TEXT, ("X-Late", "yes")])
    yield b""
    yield b"generated"


def empty(x: Exchange) -> Result:
    x.start()
    return []


def empty_parts(x: Exchange) -> Result:
    """Empty strings among the parts must not end a chunked body."""
    x.start()
    yield b""
    yield b"one;"
    yield b""
    yield b"two;"
    yield b""


def delayed_head(x: Exchange) -> Result:
    """PEP 3333: the head must not be sent before the first non-empty string; until then it may be replaced."""
    x.start("200 OK", [*TEXT, ("X-First", "yes")])
    yield b""
    try:
        raise ValueError("found out late")
    except ValueError:
        x.start("500 Replaced", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    yield b"replaced"


def replace_after_body(x: Exchange) -> Result:
    """exc_info after the head has been sent: start_response must raise the given exception."""
    x.start()
    yield b"part;"
    try:
        raise KeyError("too late")
    except KeyError:
        try:
            x.start("500 Never", TEXT, sys.exc_info())
        except KeyError:
            report("reraised")
            raise
    report("not-reraised")
    yield b"never"


def start_twice(x: Exchange) -> Result:
    x.start()
    try:
        x.start("201 Twice")
    except Exception as error:
        report("refused", case="start_twice", error=type(error).__name__)
        raise
    return [b"never"]


def no_start(x: Exchange) -> Result:
    return [b"never"]


def no_start_empty(x: Exchange) -> Result:
    return []


def text_body(x: Exchange) -> Result:
    x.start()
    return ["text"]  # type: ignore[list-item]


def not_iterable(x: Exchange) -> Result:
    x.start()
    return None  # type: ignore[return-value]


BAD_STARTS: dict[str, tuple[Any, ...]] = {
    "status-bytes": (b"200 OK", []),
    "status-number": (200, []),
    "status-short": ("20 OK", []),
    "status-interim": ("103 Early Hints", []),
    "status-crlf": ("200 OK\r\nX-Injected: 1", []),
    "status-letters": ("abc OK", []),
    "status-empty": ("", []),
    "fields-none": ("200 OK", None),
    "field-bytes": ("200 OK", [(b"X", b"y")]),
    "field-single": ("200 OK", [("X",)]),
    "field-number": ("200 OK", [("X", 1)]),
    "field-wide": ("200 OK", [("X", "\u20ac")]),
}


def bad_start(x: Exchange) -> Result:
    """Arguments that start_response must refuse."""
    case = x.query["case"]
    try:
        x.start_response(*BAD_STARTS[case])
    except Exception as error:
        report("refused", case=case, error=type(error).__name__)
        raise
    return [b"accepted"]


def status_forms(x: Exchange) -> Result:
    """Status strings that are fine: a reason of one's own, or none."""
    return x.answer(b"fine", status=x.query["status"])


def close_paths(x: Exchange) -> Result:
    """`close()` must be called once, whatever happens; `how` says what happens."""
    name, how = x.query["name"], x.query["how"]
    if how == "list":
        result = ClosableList([b"one", b"two"])
        result.name = name
        x.start()
        return result
    if how == "no-start":
        return Closable(name, [b"one"])
    if how == "start-fails":
        x.start_response("200 OK", [("X-Bad", "a\nb")])
    if how == "fail-first":

        def failing_first() -> Iterator[bytes]:
            raise RuntimeError("on purpose")
            yield b""

        x.start()
        return Closable(name, failing_first())
    if how == "fail-later":

        def failing_later() -> Iterator[bytes]:
            yield b"one"
            raise RuntimeError("on purpose")

        x.start()
        return Closable(name, failing_later())
    if how == "text":
        x.start()
        return Closable(name, ["text"])  # type: ignore[list-item]
    if how == "endless":

        def endless() -> Iterator[bytes]:
            while True:
                yield PART

        x.start()
        return Closable(name, endless())
    if how == "too-many":
        x.start(fields=[*TEXT, ("Content-Length", "3")])
        return Closable(name, [b"one", b"two"])
    if how == "too-few":
        x.start(fields=[*TEXT, ("Content-Length", "30")])
        return Closable(name, [b"one", b"two"])
    if how == "body-of-none":
        x.start("204 No Content", [])
        return Closable(name, [b"one"])
    if how == "single":
        x.start()
        return Closable(name, [b"one"])
    assert how == "parts", how
    x.start()
    return Closable(name, [b"one", b"two"])


class FailingClose(Closable):
    def close(self) -> None:
        super().close()
        raise RuntimeError("close failed on purpose")


def close_fails(x: Exchange) -> Result:
    x.start()
    return FailingClose(x.query["name"], [b"body"])


class ClosableFile(io.FileIO):
    """A real file that reports its `close()`."""

    def close(self) -> None:
        if not self.closed:
            report("file-closed", path=self.name)
        super().close()


class Readable:
    """File-like, without a descriptor."""

    def __init__(self, data: bytes, name: str) -> None:
        self.buffer = io.BytesIO(data)
        self.name = name

    def read(self, size: int = -1) -> bytes:
        return self.buffer.read(size)

    def close(self) -> None:
        report("file-closed", path=self.name)


raw_files: list[io.FileIO] = []


def raw_files_open(x: Exchange) -> Result:
    """How many files of `how=raw` are still open."""
    return x.answer_json(sum(1 for source in raw_files if not source.closed))


def file(x: Exchange) -> Result:
    """wsgi.file_wrapper around `path` from `offset` on.

    `how`: raw or buffered (what `open` returns), subclass (which reports its `close`), memory (no descriptor) or late
    (through a generator).
    """
    wrapper = x.environ["wsgi.file_wrapper"]
    path, how, offset = x.query["path"], x.query.get("how", "raw"), x.number("offset")
    fields = list(TEXT)
    if "length" in x.query:
        fields.append(("Content-Length", x.query["length"]))
    if how == "raw":
        source: Any = open(path, "rb", buffering=0)
        source.seek(offset)
        raw_files.append(source)
    elif how == "memory":
        with open(path, "rb") as whole:
            source = Readable(whole.read(), path)
    elif how == "buffered":
        source = open(path, "rb")
        source.read(1)  # Now the descriptor is ahead of the object's own position.
        source.seek(offset)
    else:
        source = ClosableFile(path, "rb")
        source.seek(offset)
    x.start(fields=fields)
    wrapped = wrapper(source, x.number("block", 8192)) if "block" in x.query else wrapper(source)
    if how == "late":
        return (part for part in wrapped)
    return wrapped  # type: ignore[no-any-return]


def file_after_write(x: Exchange) -> Result:
    writer = x.start()
    writer(b"before;")
    return x.environ["wsgi.file_wrapper"](ClosableFile(x.query["path"], "rb"))  # type: ignore[no-any-return]


def errors(x: Exchange) -> Result:
    stream = x.environ["wsgi.errors"]
    stream.write("first line\n")
    stream.writelines(["second ", "line\n", "unfinished"])
    stream.flush()
    print("by print \u20ac \r\x1b[31m", file=stream)
    return x.answer(b"told")


def spool(x: Exchange) -> Result:
    """A response larger than any buffer; reports when its thread is through with it."""
    total = x.number("size")

    def body() -> Iterator[bytes]:
        left = total
        while left:
            piece = PART[:left]
            left -= len(piece)
            yield piece
        report("produced", name=x.query["name"])

    x.start(fields=[*TEXT, ("Content-Length", str(total))])
    return body()


def threads(x: Exchange) -> Result:
    return x.answer_json(
        {
            "ident": threading.get_ident(),
            "main": threading.current_thread() is threading.main_thread(),
            "multithread": x.environ["wsgi.multithread"],
            "multiprocess": x.environ["wsgi.multiprocess"],
            "run_once": x.environ["wsgi.run_once"],
        }
    )


def gone(x: Exchange) -> Result:
    """The test for a client that left, by whatever key the server offers it under."""
    test = x.environ["gateway.client_disconnected"]
    before = bool(test())
    wait_at(x.query["name"])
    end = threading.Event()
    for _ in range(400):
        if test():
            break
        end.wait(0.025)
    report("gone", name=x.query["name"], before=before, after=bool(test()))
    return x.answer(b"too late")


def interrupt(x: Exchange) -> Result:
    """SystemExit in an application must not end the server."""
    raise SystemExit(7)


def spooled_upload(x: Exchange) -> Result:
    """Copy the content to a file, as frameworks do."""
    with tempfile.TemporaryFile() as store:
        while data := x.input.read(16384):
            store.write(data)
        return x.answer(str(store.tell()).encode())


TARGETS: dict[str, Callable[[Exchange], Result]] = {
    "/hello": hello,
    "/echo": echo,
    "/size": size,
    "/unread": unread,
    "/parts": parts,
    "/status": status,
    "/length": length,
    "/gate/wait": gate_wait,
    "/gate/open": gate_open,
    "/gate/stream": stream_gate,
    "/file-wait": file_wait,
    "/head-then-read": head_then_read,
    "/bad-field": bad_field,
    "/hints": hints,
    "/bad-hint": bad_hint,
    "/fail": fail,
    "/closing": closing,
    "/own-fields": own_fields,
    "/own-framing": own_framing,
    "/cookies": cookies,
    "/count": count,
    "/big": big,
    "/environ": environ_json,
    "/read": read_pattern,
    "/cut": cut,
    "/write": write,
    "/write-only": write_only,
    "/write-text": write_text,
    "/generator": generator,
    "/empty": empty,
    "/empty-parts": empty_parts,
    "/delayed-head": delayed_head,
    "/replace-after-body": replace_after_body,
    "/start-twice": start_twice,
    "/no-start": no_start,
    "/no-start-empty": no_start_empty,
    "/text-body": text_body,
    "/not-iterable": not_iterable,
    "/bad-start": bad_start,
    "/status-forms": status_forms,
    "/close": close_paths,
    "/close-fails": close_fails,
    "/file": file,
    "/raw-files-open": raw_files_open,
    "/file-after-write": file_after_write,
    "/errors": errors,
    "/spool": spool,
    "/threads": threads,
    "/gone": gone,
    "/interrupt": interrupt,
    "/spooled-upload": spooled_upload,
}


def probe(environ: Environ, start_response: Start) -> Result:
    """Answer the targets above; what is not among them is answered with the request as JSON."""
    path = environ["PATH_INFO"]
    with calls_lock:
        calls[path] += 1
    target = TARGETS.get(path)
    if target is None and path.startswith("/environ/"):
        target = environ_json
    return (target or request)(Exchange(environ, start_response))


# wsgiref.validate between the server and the application: every assertion of it is a failed request


def _checked(environ: Environ, start_response: Start) -> Result:
    """Read in all the ways the validator allows, answer in parts."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    source = environ["wsgi.input"]
    body = b""
    if length or environ.get("wsgi.input_terminated"):
        body += source.readline()
        body += source.readline(5)
        body += source.read(3)
        for line in source:
            body += line
        body += b"".join(source.readlines())
        body += source.read(10)
    environ["wsgi.errors"].write("checked\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Length", str(len(body)))])
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    return [body, b"|end"]


validated = validator(_checked)


class Instance:
    """An instance is the application."""

    def __call__(self, environ: Environ, start_response: Start) -> Result:
        return probe(environ, start_response)


instance = Instance()


class ClassApplication:
    """The class itself is the application: calling it makes the iterable (PEP 3333's AppClass)."""

    def __init__(self, environ: Environ, start_response: Start) -> None:
        self.start = start_response

    def __iter__(self) -> Iterator[bytes]:
        self.start("200 OK", TEXT)
        yield b"class application"


def create() -> Instance:
    """A factory, for --factory and for `module:create()`."""
    return Instance()
