"""`wsgi.input`: every call pattern against io.BytesIO, at every way the content may arrive."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gateway.backend import Backend
from gateway.errors import ClientDisconnected

CONTENT = b"first line\nsecond\n\n\nfifth line is longer than the others\nlast, without an end"


def make(build: Backend, chunks: Iterable[bytes], *, cut: bool = False) -> Any:
    """A WSGIInput over `chunks`; with `cut` the client leaves after them."""
    call_class = build.module("wsgi.call").ApplicationCall

    class Source(call_class):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self.chunks = list(chunks)
            self.ended = False

        def receive(self) -> bytes:
            assert not self.ended, "asked again after the end"
            if self.chunks:
                return self.chunks.pop(0)
            if cut:
                raise ClientDisconnected("cut")
            self.ended = True
            return b""

    return build.module("wsgi.input").WSGIInput(Source())


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


PATTERNS: dict[str, Callable[[Any], Any]] = {
    "read()": lambda f: f.read(),
    "read(-1)": lambda f: f.read(-1),
    "read(None)": lambda f: f.read(None),
    "read(0)": lambda f: [f.read(0), f.read()],
    "read(1)": lambda f: list(iter(lambda: f.read(1), b"")),
    "read(7)": lambda f: list(iter(lambda: f.read(7), b"")),
    "read(64)": lambda f: [f.read(64), f.read(64), f.read(64)],
    "read(100000)": lambda f: [f.read(100000), f.read(100000)],
    "read(size=5)": lambda f: f.read(size=5) if not isinstance(f, io.BytesIO) else f.read(5),
    "read(2**70)": lambda f: f.read(2**70) if not isinstance(f, io.BytesIO) else f.read(),
    "readline()": lambda f: list(iter(f.readline, b"")),
    "readline(-1)": lambda f: [f.readline(-1), f.readline(None)],
    "readline(0)": lambda f: [f.readline(0), f.readline()],
    "readline(4)": lambda f: list(iter(lambda: f.readline(4), b"")),
    "readline(7)": lambda f: list(iter(lambda: f.readline(7), b"")),
    "readline(1000)": lambda f: list(iter(lambda: f.readline(1000), b"")),
    "readlines()": lambda f: f.readlines(),
    "readlines(0)": lambda f: f.readlines(0),
    "readlines(None)": lambda f: f.readlines(None),
    "readlines(12)": lambda f: [f.readlines(12), f.readlines(1), f.readlines()],
    "iteration": list,
    "next": lambda f: [next(f), next(f), f.read(3), next(f)],
    "after the end": lambda f: [f.read(), f.read(), f.read(3), f.readline(), f.readlines(), list(f)],
    "mixed": lambda f: [f.read(3), f.readline(), next(f), f.readlines(1), f.read(5), f.readline(2), list(f)],
    "line then rest": lambda f: [f.readline(), f.read()],
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 1000])
@pytest.mark.parametrize("name", PATTERNS)
def test_like_bytes_io(build: Backend, name: str, size: int) -> None:
    pattern = PATTERNS[name]
    assert pattern(make(build, pieces(CONTENT, size))) == pattern(io.BytesIO(CONTENT))


@pytest.mark.parametrize("content", [b"", b"\n", b"x", b"\n\n\n", b"x\n", b"\r\n\r"])
@pytest.mark.parametrize("name", ["read()", "readline()", "readlines()", "iteration", "readline(4)", "read(7)"])
def test_small_contents(build: Backend, name: str, content: bytes) -> None:
    pattern = PATTERNS[name]
    assert pattern(make(build, pieces(content, 1))) == pattern(io.BytesIO(content))


def test_random_calls(build: Backend) -> None:
    rng = random.Random(3333)
    for _ in range(300):
        content = bytes(rng.choice(b"ab\n") for _ in range(rng.randrange(60)))
        chunks = []
        left = content
        while left:
            size = rng.randrange(1, len(left) + 1)
            chunks.append(left[:size])
            left = left[size:]
        ours, reference = make(build, chunks), io.BytesIO(content)
        for _ in range(12):
            method = rng.choice(["read", "readline", "readlines"])
            arguments = rng.choice([(), (rng.randrange(-1, 20),), (None,)])
            assert getattr(ours, method)(*arguments) == getattr(reference, method)(*arguments)


def test_readinto(build: Backend) -> None:
    source = make(build, pieces(CONTENT, 5))
    target = bytearray(12)
    assert source.readinto(target) == 12
    assert bytes(target) == CONTENT[:12]
    assert source.readinto(memoryview(target)[:3]) == 3
    rest = bytearray(1000)
    assert source.readinto(rest) == len(CONTENT) - 15
    assert source.readinto(rest) == 0


@pytest.mark.parametrize("name", [name for name in PATTERNS if "readlines(" not in name or name == "readlines()"])
def test_cut_short(build: Backend, name: str) -> None:
    """Whoever reads to the end learns that it is none."""
    source = make(build, pieces(CONTENT, 7), cut=True)
    with pytest.raises(ClientDisconnected):
        for _ in range(1000):
            PATTERNS[name](source)
    with pytest.raises(OSError):
        source.read()


@pytest.mark.parametrize("argument", ["5", 5.0, object()])
@pytest.mark.parametrize("method", ["read", "readline", "readlines"])
def test_wrong_types(build: Backend, method: str, argument: Any) -> None:
    with pytest.raises(TypeError):
        getattr(make(build, [CONTENT]), method)(argument)


def test_a_chunk_is_not_copied(build: Backend) -> None:
    chunk = b"x" * 65536
    assert make(build, [chunk, b"y"]).read(65536) is chunk
    assert make(build, [chunk]).read() is chunk


@pytest.mark.parametrize(
    "pattern",
    [
        lambda f: f.read(),
        lambda f: f.read(10 * 2**20),
        lambda f: f.readline(),
        lambda f: list(iter(lambda: f.read(8192), b"")),
        lambda f: list(iter(lambda: f.readline(1024), b"")),
    ],
)
@pytest.mark.parametrize("size", [1000, 65536])
def test_large_content_takes_linear_time(build: Backend, pattern: Any, size: int) -> None:
    """10 MiB in at most a second or so; quadratic joining takes minutes."""
    content = b"x" * (10 * 2**20)
    source = make(build, pieces(content, size))
    before = time.perf_counter()
    result = pattern(source)
    assert time.perf_counter() - before < 5
    assert (result if isinstance(result, bytes) else b"".join(result)) == content
