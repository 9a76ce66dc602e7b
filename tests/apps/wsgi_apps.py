"""Plain WSGI applications, one per rule of PEP 3333. The same ones run on the server's own path and on the adapter.

`CASES` has for each: the application, and the status, the body and the Content-Length a client must see (None: not
declared; a status of None: the response must break off, or be an error).
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], None]]

TEXT = [("Content-Type", "text/plain")]


def hello(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    return [b"hello"]


def as_tuple(environ: Environ, start: Start) -> tuple[bytes, ...]:
    start("200 OK", TEXT)
    return (b"hello",)


def several(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    return [b"one ", b"", b"two ", b"three"]


def large_parts(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    return [b"a" * 50000, b"b" * 50000]


def generator(environ: Environ, start: Start) -> Iterator[bytes]:
    start("201 Made", TEXT)
    yield b""
    yield b"one "
    yield b""
    yield b"two"


def declared(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "6")])
    yield b"abc"
    yield b"def"


def empty_list(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    return []


def empty_generator(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    return
    yield b""


class Sized:
    """Says how many parts it has, and is no list."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.parts)


def sized(environ: Environ, start: Start) -> Sized:
    start("200 OK", TEXT)
    return Sized(b"sized")


class LyingSize(Sized):
    def __len__(self) -> int:
        raise NotImplementedError


def no_size(environ: Environ, start: Start) -> Sized:
    start("200 OK", TEXT)
    return LyingSize(b"one", b"two")


def write(environ: Environ, start: Start) -> list[bytes]:
    writer = start("200 OK", TEXT)
    writer(b"written ")
    writer(b"")
    writer(b"twice ")
    return [b"returned"]


def write_only(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)(b"written")
    return []


def write_declared(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Length", "7")])(b"written")
    return []


def too_long(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "4")])
    yield b"abc"
    yield b"def"
    yield b"ghi"


def too_short(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "10")])
    yield b"abc"


def raises(environ: Environ, start: Start) -> list[bytes]:
    raise RuntimeError("secret message")


def raises_after_start(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    raise RuntimeError("secret message")


def raises_late(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    yield b"begun"
    raise RuntimeError("secret message")


def exits(environ: Environ, start: Start) -> list[bytes]:
    raise SystemExit(1)


def no_start(environ: Environ, start: Start) -> list[bytes]:
    return [b"hello"]


def no_start_empty(environ: Environ, start: Start) -> list[bytes]:
    return []


def text_body(environ: Environ, start: Start) -> list[Any]:
    start("200 OK", TEXT)
    return ["text"]


def text_result(environ: Environ, start: Start) -> Any:
    start("200 OK", TEXT)
    return "text"


def bytes_result(environ: Environ, start: Start) -> Any:
    start("200 OK", TEXT)
    return b"bytes"


def number_result(environ: Environ, start: Start) -> Any:
    start("200 OK", TEXT)
    return 7


def nothing(environ: Environ, start: Start) -> Any:
    start("200 OK", TEXT)


def start_twice(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", TEXT)
    start("200 OK", TEXT)
    return [b"never"]


def replaced(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("X-Old", "1"), ("Content-Length", "3")])
    try:
        raise ValueError("late")
    except ValueError:
        start("503 Sorry", [*TEXT, ("X-New", "1")], sys.exc_info())
    return [b"replaced"]


def replaced_too_late(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    yield b"begun"
    try:
        raise ValueError("late")
    except ValueError:
        start("503 Sorry", TEXT, sys.exc_info())
    yield b"never"


def bad_value(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("X-Bad", "secret\r\nX-Forged: 1")])
    return [b"never"]


def bad_name(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("X Bad", "1")])
    return [b"never"]


def bad_reason(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK\r\nX-Forged: 1", TEXT)
    return [b"never"]


def bad_status(environ: Environ, start: Start) -> list[bytes]:
    start("200", TEXT)
    return [b"never"]


def informational(environ: Environ, start: Start) -> list[bytes]:
    start("101 Switching Protocols", TEXT)
    return [b"never"]


def bad_length(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Length", "five")])
    return [b"never"]


def bytes_fields(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [(b"X-Bytes", b"1")])
    return [b"never"]


def tuple_of_fields(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", tuple(TEXT))
    return [b"never"]


def list_field(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [["X-List", "1"]])
    return [b"never"]


def recovers(environ: Environ, start: Start) -> list[bytes]:
    """What start_response refuses is an exception the application can handle."""
    try:
        start("200 OK", [("X-Bad", "\n")])
    except Exception:
        start("200 OK", TEXT)
    return [b"recovered"]


def own_connection(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [*TEXT, ("Transfer-Encoding", "chunked"), ("Keep-Alive", "timeout=9"), ("TE", "trailers")])
    return [b"mine"]


def latin(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("X-Latin", "caf\xe9")])
    return [b"latin"]


def teapot(environ: Environ, start: Start) -> list[bytes]:
    start("418 Short and stout", TEXT)
    return [b"tea"]


def no_content(environ: Environ, start: Start) -> list[bytes]:
    start("204 No Content", [])
    return [b"dropped"]


def not_modified(environ: Environ, start: Start) -> list[bytes]:
    start("304 Not Modified", [("ETag", '"1"')])
    return []


def memory_file(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory"), 4)


def real_file(environ: Environ, start: Start) -> Iterable[bytes]:
    file = tempfile.TemporaryFile()
    file.write(b"skipped|from a file")
    file.seek(8)
    start("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](file)


def part_of_file(environ: Environ, start: Start) -> Iterable[bytes]:
    file = tempfile.TemporaryFile()
    file.write(b"0123456789")
    file.seek(2)
    start("200 OK", [*TEXT, ("Content-Length", "5")])
    return environ["wsgi.file_wrapper"](file)


def echo(environ: Environ, start: Start) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start("200 OK", TEXT)
    return [body]


def echo_lines(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", TEXT)
    for line in environ["wsgi.input"]:
        yield line.upper()


class Case(NamedTuple):
    app: Callable[..., Any]
    status: int | None
    body: bytes = b""
    length: int | None = None


ERROR = 500

CASES: dict[str, Case] = {
    "hello": Case(hello, 200, b"hello", 5),
    "as_tuple": Case(as_tuple, 200, b"hello", 5),
    "several": Case(several, 200, b"one two three", 13),
    "large_parts": Case(large_parts, 200, b"a" * 50000 + b"b" * 50000),
    "generator": Case(generator, 201, b"one two"),
    "declared": Case(declared, 200, b"abcdef", 6),
    "empty_list": Case(empty_list, 200, b"", 0),
    "empty_generator": Case(empty_generator, 200, b"", 0),
    "sized": Case(sized, 200, b"sized", 5),
    "no_size": Case(no_size, 200, b"onetwo"),
    "write": Case(write, 200, b"written twice returned"),
    "write_only": Case(write_only, 200, b"written"),
    "write_declared": Case(write_declared, 200, b"written", 7),
    "too_long": Case(too_long, 200, b"abcd", 4),
    "too_short": Case(too_short, None),
    "raises": Case(raises, ERROR),
    "raises_after_start": Case(raises_after_start, ERROR),
    "raises_late": Case(raises_late, None),
    "exits": Case(exits, ERROR),
    "no_start": Case(no_start, ERROR),
    "no_start_empty": Case(no_start_empty, ERROR),
    "text_body": Case(text_body, ERROR),
    "text_result": Case(text_result, ERROR),
    "bytes_result": Case(bytes_result, ERROR),
    "number_result": Case(number_result, ERROR),
    "nothing": Case(nothing, ERROR),
    "start_twice": Case(start_twice, ERROR),
    "replaced": Case(replaced, 503, b"replaced", 8),
    "replaced_too_late": Case(replaced_too_late, None),
    "bad_value": Case(bad_value, ERROR),
    "bad_name": Case(bad_name, ERROR),
    "bad_reason": Case(bad_reason, ERROR),
    "bad_status": Case(bad_status, ERROR),
    "informational": Case(informational, ERROR),
    "bad_length": Case(bad_length, ERROR),
    "bytes_fields": Case(bytes_fields, ERROR),
    "tuple_of_fields": Case(tuple_of_fields, ERROR),
    "list_field": Case(list_field, ERROR),
    "recovers": Case(recovers, 200, b"recovered", 9),
    "own_connection": Case(own_connection, 200, b"mine", 4),
    "latin": Case(latin, 200, b"latin", 5),
    "teapot": Case(teapot, 418, b"tea", 3),
    "no_content": Case(no_content, 204, b""),
    "not_modified": Case(not_modified, 304, b""),
    "memory_file": Case(memory_file, 200, b"in memory"),
    "real_file": Case(real_file, 200, b"from a file", 11),
    "part_of_file": Case(part_of_file, 200, b"23456", 5),
}
