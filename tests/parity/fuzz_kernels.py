"""Differential fuzzing of the kernels `fields`, `chunked` and `masking`: the same input to both twins, the same out of both.

The suite runs a few thousand cases with fixed seeds (test_fields_parity.py and its like). Longer::

    python -m tests.parity.fuzz_kernels --seconds 600 [--seed 1]

A difference is printed with the number of its case, which `--seed` makes the first one.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import random
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from gateway.core.kernels.grammar import DONE

FACTS = (
    "connection_options",
    "content_length",
    "content_length_count",
    "count",
    "data",
    "error_name",
    "fields",
    "seen",
)

NAMES = [
    "content-length",
    "transfer-encoding",
    "connection",
    "date",
    "server",
    "keep-alive",
    "upgrade",
    "trailer",
    "content-type",
    "proxy-connection",
    "te",
    "host",
    "set-cookie",
    "x",
    "x-request-id",
]
VALUES = ["", "0", "5", "close", "keep-alive, Upgrade", "text/html; charset=utf-8", "9223372036854775807", "a" * 40]
SPECIAL = ' \t\r\n\0\x0b\x1f\x7f\x80\x85\xa0\xff:;,="\\-_09azAZ'


def kernel(build: str, name: str) -> ModuleType:
    return importlib.import_module(f"gateway.{build}.kernels.{name}")


# Fields.


class Odd:
    """Something that is no string."""

    def __repr__(self) -> str:
        return "Odd()"


class BytesSubclass(bytes):
    def __bytes__(self) -> bytes:
        return b"forged"


class TextSubclass(str):
    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        return b"forged"


def mutate_text(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2, 5])):
        index = rng.randint(0, len(text))
        what = rng.random()
        if what < 0.5:
            text = text[:index] + rng.choice(SPECIAL) + text[index:]
        elif what < 0.7:
            text = text[:index] + text[index + 1 :]
        elif what < 0.9:
            text = text[:index] + chr(rng.randrange(256)) + text[index + 1 :]
        else:
            text = text[:index] + chr(rng.choice([0x100, 0x10A, 0x20AC, 0xD800, 0x1F600])) + text[index:]
    return text


def random_case(rng: random.Random, text: str) -> str:
    return rng.choice([text, text, text.title(), text.upper()])


def make_string(rng: random.Random, text: str) -> Any:
    """`text` as one of the types an application may use, or something that is none of them."""
    kind = rng.random()
    if kind < 0.02:
        return rng.choice([None, 5, 1.5, True, Odd(), [text], (text,)])
    if kind < 0.4:
        return text
    if kind < 0.43:
        return TextSubclass(text)
    data = text.encode("latin-1", "replace") if rng.random() < 0.9 else text.encode("utf-8", "surrogatepass")
    if kind < 0.48:
        return rng.choice([bytearray, memoryview, BytesSubclass])(data)
    if kind < 0.5:
        return memoryview(data + data)[::2]
    return data


def make_pair(rng: random.Random, names: list[str]) -> Any:
    name = make_string(rng, mutate_text(rng, random_case(rng, rng.choice(names))))
    value = make_string(rng, mutate_text(rng, random_case(rng, rng.choice(VALUES))) * rng.choice([1, 1, 1, 1, 30]))
    kind = rng.random()
    if kind < 0.01:
        return rng.choice([None, 5, "ab", b"ab", bytearray(b"ab"), Odd(), (name,), [name, value, value], {}, ()])
    if kind < 0.7:
        return (name, value)
    if kind < 0.95:
        return [name, value]
    return iter((name, value))


def make_fields(rng: random.Random) -> tuple[Any, int]:
    """The arguments of `FieldBlock.encode`."""
    drop = rng.choice([0, 0, 1 << rng.randrange(12), rng.randrange(4096)])
    # Few names: they repeat.
    names = rng.choice([NAMES, NAMES, rng.sample(NAMES, 2), ["content-length"]])
    pairs = [make_pair(rng, names) for _ in range(rng.choice([0, 1, 1, 2, 3, 8, 30]))]
    kind = rng.random()
    if kind < 0.7:
        return pairs, drop
    if kind < 0.8:
        return tuple(pairs), drop
    if kind < 0.97:
        return iter(pairs), drop
    return rng.choice([None, 5, "abcd", b"abcd", {"ab": "c"}, Odd()]), drop


def observe_fields(module: ModuleType, seed: int) -> dict[str, Any]:
    """Everything that can be seen of one call. Input is made anew for each twin: iterators are good for one."""
    fields, drop = make_fields(random.Random(seed))
    block = module.FieldBlock()
    seen: dict[str, Any] = {}
    try:
        seen["code"] = block.encode(fields, drop)
    except Exception as error:
        seen["raised"] = (type(error), str(error))
    for fact in FACTS:
        value = getattr(block, fact)
        seen[fact] = (type(value), value)
    for name in (*NAMES, "", "x:"):
        seen[f"get {name}"] = block.get(name.encode())
    if seen.get("code") == module.FIELDS_OK:
        body = random.Random(seed).choice([None, b"", b"content"])
        seen["head"] = module.encode_head(b"HTTP/1.1 200 OK\r\n", block.data, b"", block.data, body)
    return seen


def compare_fields(left: ModuleType, right: ModuleType, seed: int) -> str:
    """What `left` and `right` disagree about; "" if nothing."""
    return difference(
        observe_fields(left, seed), observe_fields(right, seed), f"fields {make_fields(random.Random(seed))}"
    )


# Chunked.

EXTENSIONS = [b"", b"", b"", b"", b";a", b" ; a = b", b';a="b c"', b';a="\\"";b', b";a=b;c=d", b"\t;\ta", b';a="']


def make_chunked(rng: random.Random) -> tuple[bytes, int]:
    """A chunked body, most of the time malformed, with something after it; and a limit for its lines."""
    parts = []
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        size = rng.choice([1, 1, 2, 9, 15, 16, 17, 100, 255])
        digits = rng.choice([b"%x", b"%X", b"%04x", b"%016x", b"%020x"]) % size
        quoted = b';a="b\\%cc"' % rng.choice([rng.randrange(256), *b'\0\t"\\\x7f'])
        parts += [
            digits,
            rng.choice([*EXTENSIONS, quoted, b";" + b"long" * 9]),
            b"\r\n",
            bytes(rng.choices(b"ab\r\n0", k=size)),
            b"\r\n",
        ]
    last = rng.choice([b"0", b"0", b"000", b"0" * 17, b"7fffffffffffffff", b"8000000000000000", b"f" * 17])
    parts += [last, rng.choice(EXTENSIONS), b"\r\n"]
    parts.append(rng.choice([b"", b"\r\n", b"a: b\r\n\r\n", b"\r\nGET / HTTP/1.1\r\n"]))
    data = bytearray(b"".join(parts))
    for _ in range(rng.choice([0, 0, 1, 1, 1, 2, 4])):
        index = rng.randint(0, len(data))
        what = rng.random()
        if what < 0.4:
            data[index:index] = rng.choice(SPECIAL).encode("latin-1") * rng.choice([1, 1, 1, 2, 20])
        elif what < 0.7:
            del data[index : index + rng.choice([1, 1, 2])]
        elif what < 0.9:
            data[index : index + 1] = bytes([rng.randrange(256)])
        else:
            del data[index:]
    return bytes(data), rng.choice([0, 64, 64, 64, 16, 5, 1])


def random_splits(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(1, 8)))})
    return [data[start:stop] for start, stop in itertools.pairwise(cuts)]


def observe_chunked(module: ModuleType, buffer: ModuleType, pieces: list[bytes], max_line: int) -> dict[str, Any]:
    """Feed a decoder `pieces` until its end or an error."""
    decoder = module.ChunkedDecoder()
    received = buffer.InputBuffer()
    content = []
    code = module.CHUNK_NEED_DATA
    fed = 0
    for piece in pieces:
        received.feed(piece)
        fed += len(piece)
        while True:
            code = decoder.decode(received, max_line)
            if code != module.CHUNK_DATA:
                break
            content.append(decoder.data)
        if code != module.CHUNK_NEED_DATA:
            break
    # What is not consumed, and what was not even fed, is what whoever reads next gets.
    left = sum(map(len, pieces)) - fed + received.available()
    again = decoder.decode(received, max_line)
    return {
        "code": code,
        "again": again,
        "pieces": content,
        "data": decoder.data,
        "excess": decoder.excess,
        "left": left,
    }


def compare_chunked(
    left: ModuleType, right: ModuleType, seed: int, buffers: tuple[ModuleType, ModuleType] | None = None
) -> str:
    """What `left` and `right`, or one of them for different splits, disagree about; "" if nothing."""
    left_buffer, right_buffer = buffers or (kernel("core", "buffer"), kernel("_speedups", "buffer"))
    rng = random.Random(seed)
    data, max_line = make_chunked(rng)
    whole: dict[str, Any] | None = None
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], random_splits(rng, data)):
        what = f"chunked {pieces} max_line={max_line}"
        one = observe_chunked(left, left_buffer, pieces, max_line)
        found = difference(one, observe_chunked(right, right_buffer, pieces, max_line), what)
        if found:
            return found
        # How much of a chunk comes at a time depends on the splits, and nothing else does.
        one["pieces"] = b"".join(one["pieces"])
        if whole is not None:
            found = difference(whole, one, f"whole and split: {what}")
            if found:
                return found
        whole = one
    size = rng.choice([0, 1, 15, 16, 255, 256, rng.randrange(70000)])
    body = b"x" * size
    return difference(
        {"chunk": left.encode_chunk(body), "head": left.chunk_head(size), "last": left.LAST_CHUNK},
        {"chunk": right.encode_chunk(body), "head": right.chunk_head(size), "last": right.LAST_CHUNK},
        f"encode {size}",
    )


# Masking.

PIECES_OF_TEXT = [
    b"a", b"text ", b"0123456789abcdef" * 9, "\xe9".encode(), "\u20ac".encode(), "\U0001f600".encode(), "\ud7ff\ue000".encode(),
    b"\x80", b"\xbf", b"\xc0", b"\xc2", b"\xe0\x9f", b"\xe2\x82", b"\xed\xa0", b"\xed\x9f", b"\xf0\x8f", b"\xf0\x90", b"\xf4\x90",
    b"\xf4\x8f\xbf", b"\xf5", b"\xff", b"\0",
]  # fmt: skip
SIZES = [0, 0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 63, 64, 65, 124, 125, 126, 127, 255, 256, 257, 1000]


def make_payload(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.2:
        return rng.randbytes(rng.choice(SIZES))
    if kind < 0.5:
        return b"x" * rng.choice(SIZES)
    # The first seven are text.
    choices = PIECES_OF_TEXT[: rng.choice([1, 7, 7, len(PIECES_OF_TEXT)])]
    return b"".join(rng.choices(choices, k=rng.choice([1, 2, 5, 20])))


def make_frames(rng: random.Random) -> bytes:
    """Frames, their lengths now and then given in more bytes than need be, or wrong; and what a mutation makes of them."""
    data = bytearray()
    for _ in range(rng.choice([1, 1, 2, 5])):
        payload = make_payload(rng)
        key = rng.choice([b"", bytes(4), rng.randbytes(4), rng.randbytes(4)])
        least = 0 if len(payload) < 126 else 2 if len(payload) < 65536 else 8
        width = rng.choice([least] * 6 + [8, max(least, 2)])
        length = rng.choice([len(payload)] * 20 + [len(payload) + 1, 2 ** (8 * width) - 1, 2 ** (8 * width) // 2])
        mark = {0: min(length, 125), 2: 126, 8: 127}[width]
        data += bytes((rng.choice([0x81, 0x01, 0x80, 0x82, 0xC1, rng.randrange(256)]), mark | (128 if key else 0)))
        data += length.to_bytes(width + 1, "big")[1:] + key
        data += bytes(byte ^ key[index % 4] for index, byte in enumerate(payload)) if key else payload
    if rng.random() < 0.2:
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def observe_frames(module: ModuleType, buffer: ModuleType, pieces: list[bytes], seed: int) -> dict[str, Any]:
    """Feed `pieces`, and take every payload as it comes, a few bytes at a time."""
    rng = random.Random(seed)
    received, head, check = buffer.InputBuffer(), module.FrameHead(), module.TextCheck()
    frames: list[list[Any]] = []
    checks = []
    remaining = 0
    for piece in pieces:
        received.feed(piece)
        while True:
            if remaining == 0:
                if head.parse(received) != DONE:
                    break
                facts = (head.fin, head.rsv, head.opcode, head.masked, head.length, head.minimal, head.key)
                frames.append([facts, b"", True])
                remaining = max(head.length, 0)
                check.reset()
                continue
            size = min(remaining, rng.choice([1, 2, 3, 5, 8, 100, 2**40, 2**63 - 1]))
            taken = module.take_payload(received, head, len(frames[-1][1]), size)
            if not taken:
                break
            frames[-1][1] += taken
            checks.append(check.feed(taken))
            frames[-1][2] = check.complete()
            remaining -= len(taken)
    return {"frames": frames, "checks": checks, "left": received.available(), "remaining": remaining}


def observe_texts(module: ModuleType, buffer: ModuleType, data: bytes) -> dict[str, Any]:
    """Every whole payload as text; of the last one, what is there."""
    received, head = buffer.InputBuffer(), module.FrameHead()
    received.feed(data)
    texts = []
    while head.parse(received) == DONE:
        texts.append(module.take_text(received, head, head.length))
    return {"texts": texts, "left": received.available()}


def observe_encoded(module: ModuleType, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    data = make_payload(rng) * rng.choice([1, 1, 1, 70])
    text = mutate_text(rng, data.decode(errors="replace"))
    flags = (bool(rng.randrange(2)), bool(rng.randrange(2)))
    length = rng.choice([len(data), rng.getrandbits(rng.randrange(64))])
    seen: dict[str, Any] = {
        "frame": module.encode_frame(rng.randrange(16), data, *flags),
        "head": module.frame_head(rng.randrange(16), length, *flags),
        "masked": module.mask(data, rng.randbytes(4), rng.getrandbits(rng.randrange(64))),
    }
    try:
        seen["text"] = module.encode_text(text)
    except UnicodeEncodeError as error:
        seen["raised"] = str(error)
    return seen


def compare_masking(left: ModuleType, right: ModuleType, seed: int) -> str:
    """What `left` and `right`, or one of them for different splits, disagree about; "" if nothing."""
    left_buffer, right_buffer = kernel("core", "buffer"), kernel("_speedups", "buffer")
    rng = random.Random(seed)
    data = make_frames(rng)
    whole: dict[str, Any] | None = None
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], random_splits(rng, data)):
        what = f"frames {pieces}"
        one = observe_frames(left, left_buffer, pieces, seed)
        found = difference(one, observe_frames(right, right_buffer, pieces, seed), what)
        if found:
            return found
        # How much of a payload comes at a time depends on the splits, and nothing else does.
        del one["checks"]
        found = difference(whole, one, f"whole and split: {what}") if whole is not None else ""
        if found:
            return found
        whole = one
    texts = observe_texts(left, left_buffer, data)
    found = difference(texts, observe_texts(right, right_buffer, data), f"texts {data!r}")
    if found:
        return found
    assert whole is not None
    decoded = [payload.decode() if complete else None for _, payload, complete in whole["frames"]]
    found = difference({"texts": texts["texts"]}, {"texts": decoded}, f"text and payload {data!r}")
    return found or difference(observe_encoded(left, seed), observe_encoded(right, seed), "encoded")


def difference(left: dict[str, Any], right: dict[str, Any], what: str) -> str:
    lines = [f"  {key}: {left.get(key)!r} != {right.get(key)!r}" for key in left if left.get(key) != right.get(key)]
    if left.keys() != right.keys():
        lines.append(f"  {sorted(left)} != {sorted(right)}")
    return "\n".join([what, *lines]) if lines else ""


Compare = Callable[[ModuleType, ModuleType, int], str]
KERNELS: dict[str, Compare] = {"fields": compare_fields, "chunked": compare_chunked, "masking": compare_masking}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="first case; default: by the clock")
    parser.add_argument("--stop-after", type=int, default=10, help="differences")
    options = parser.parse_args()
    seed = first = time.time_ns() // 1000 if options.seed is None else options.seed
    pairs = {name: (kernel("core", name), kernel("_speedups", name)) for name in KERNELS}
    stop = time.monotonic() + options.seconds
    differences = 0
    while time.monotonic() < stop and differences < options.stop_after:
        for name, compare in KERNELS.items():
            found = compare(*pairs[name], seed)
            if found:
                differences += 1
                print(f"case {seed}: {found}")
        seed += 1
    print(f"{seed - first} cases of each kernel, from {first}: {differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
