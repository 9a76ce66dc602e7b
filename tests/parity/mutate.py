"""Where the request heads of a fuzz run come from: the corpus, a grammar of what clients send, and mutations of both.

Everything is drawn from the given `random.Random`, so that a case is known by its seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "corpus" / "requests"

# Bytes that a parser treats in a way of their own, or might.
BYTES = b'\r\n\r\n\r\n\t  ::,;?#%/*@[]"\\_.-0159aZ\x00\x01\x0b\x0c\x1b\x1f\x7f\x80\x85\xa0\xff'

PIECES = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b" ", b"  ", b"\t", b":", b": ", b" :", b",", b", ,", b";",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"GET", b"POST", b"OPTIONS",
    b"chunked", b"Chunked", b"gzip", b"identity", b"close", b"Keep-Alive", b"Upgrade", b"100-continue", b"trailers",
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: example.com", b"Host:", b"Connection: close",
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"00000000000000000000", b"65535", b"65536",
    b"%41", b"%4", b"%zz", b"%C3%A4", b"%ff", b"%00", b"[::1]", b"[1:2:3:4:5:6:7:8]", b"::", b"*", b"http://", b"?",
]  # fmt: skip

METHODS = [b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE",
           b"QUERY", b"get", b"GETS", b"GE", b"M-SEARCH", b"X_Y", b"P@ST", b"", b"PROPFIND"]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.",
                                 b"HTTP/11.1", b"HTTP/1.10", b"http/1.1", b"HTTP/1-1", b""]  # fmt: skip
PATHS = [b"/", b"/", b"/index.html", b"/a/b/c", b"/a%20b", b"/%C3%A4", b"/%ff%FE", b"/a%2fb", b"//x", b"/a%", b"/a%4", b"/a%zz",
         b"/a|b", b"/a#b", b"/%00", b"/" + b"a" * 600, b"/" + b"%41" * 300, b"/%e2%82", b""]  # fmt: skip
QUERIES = [b"", b"", b"", b"?", b"?a=b", b"?a=%zz", b"?a?b", b"?a=b/c:d"]
HOSTS = [
    b"example.com", b"example.com:80", b"localhost", b"a_b.c", b"127.0.0.1", b"256.1.1.1:1", b"[::1]", b"[::1]:8080", b"[::]",
    b"[1:2:3:4:5:6:7:8]", b"[1:2:3:4:5:6:7::]", b"[::2:3:4:5:6:7:8]", b"[1::3:4:5:6:7:8]", b"[1:2:3:4:5:6:7:8:9]", b"[1:2:3:4:5:6:7:8::]",
    b"[1:2:3:4:5:6:1.2.3.4]", b"[1:2:3:4:5:6:7:1.2.3.4]", b"[::1.2.3.4]", b"[::1.2.3.256]", b"[::01.2.3.4]", b"[::1.2.3]",
    b"[1::2::3]", b"[:1]", b"[1:]", b"[12345::]", b"[g::]", b"[::1", b"[]", b"[v1.a]", b"[V1f.a:b]", b"[v.a]", b"[v1.]", b"[v1.a%]",
    b"example.com:", b":80", b"example.com:65535", b"example.com:65536", b"example.com:0000000080", b"example.com:8a",
    b"%41", b"%4", b"a%4", b"a%41:1", b"a,b", b"a b", b"user@host", b"", b"a:1:2", b"[::1]x", b"[::1]:", b"\xe4", b"a/b",
]  # fmt: skip
LENGTHS = [b"0", b"5", b"005", b"", b"+5", b"-1", b"5, 5", b"5 5", b"0x5", b"9223372036854775807", b"9223372036854775808",
           b"9223372036854775809", b"99999999999999999999", b"18446744073709551617", b"0" * 40 + b"7", b"9" * 4500]  # fmt: skip
CODINGS = [b"chunked", b"Chunked", b"gzip, chunked", b"chunked, gzip", b"chunked,chunked", b"identity", b"", b",", b"chunked,",
           b",chunked", b"gzip;q=1, chunked", b"\tchunked \t", b"chunked;a=b", b"x@y", b"chun ked", b"chunked\x0b"]  # fmt: skip
OPTIONS = [b"close", b"CLOSE", b"keep-alive", b"Keep-Alive, close", b"upgrade", b"TE, Upgrade", b"closed", b" close ,", b",,close", b"",
           b"clos\xe9", b"close;x", b"close keep-alive", b"x-foo"]  # fmt: skip
NAMES = [
    b"Accept", b"User-Agent", b"Cookie", b"Cookie", b"Content-Type", b"X-Custom", b"x-custom", b"X_Custom", b"X-Forwarded-For",
    b"X-Forwarded-Server", b"X-Forwarded-", b"X-Forwarded", b"X-FORWARDED-Zzz", b"Forwarded", b"Forwardee", b"X_Forwarded_For",
    b"Content_Length", b"Content_Type", b"Sec-WebSocket-Key", b"Upgrade", b"Sec-Fetch-Site", b"Accept_", b"X-Real-IP", b"x_real_ip",
    b"a", b"T", b"te", b"tee", b"DNT", b"x!y", b"n" * 47, b"n" * 48, b"n" * 49, b"N" * 130, b"Via",
]  # fmt: skip
VALUES = [b"", b"x", b"text/html,*/*;q=0.8", b"a b\tc", b"\xe4\xf6", b"\x7f", b"a\x00b", b"a\rb", b"v" * 15, b"v" * 16, b"v" * 17, b"v" * 40,
          b"\t" * 20 + b"x", b"v" * 15 + b"\x01", b"v" * 31 + b"\t" + b"w" * 20, b"\xff" * 33]  # fmt: skip


def corpus() -> list[bytes]:
    """All requests of the corpus, good and bad, in a fixed order."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*/*.http"))]


def grammar_head(rng: random.Random) -> bytes:
    """A head as a client could send it, with oddities in the places where they matter."""
    form = rng.random()
    if form < 0.7:
        target = rng.choice(PATHS) + rng.choice(QUERIES)
    elif form < 0.9:
        target = rng.choice(
            [b"http://", b"https://", b"HTTP://", b"Https://", b"http:/", b"ftp://", b"httpx://", b"httpss://", b""]
        )
        target += rng.choice(HOSTS) + rng.choice(PATHS) + rng.choice(QUERIES)
    else:
        target = rng.choice([b"*", b"**", b"*?", b"", *HOSTS])
    lines = [rng.choice(METHODS) + b" " + target + b" " + rng.choice(VERSIONS)]
    fields = []
    if rng.random() < 0.85:
        fields.append((b"Host", rng.choice(HOSTS)))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9, 14))):
        kind = rng.random()
        if kind < 0.1:
            fields.append((b"Content-Length", rng.choice(LENGTHS)))
        elif kind < 0.2:
            fields.append((b"Transfer-Encoding", rng.choice(CODINGS)))
        elif kind < 0.3:
            fields.append((b"Connection", rng.choice(OPTIONS)))
        elif kind < 0.35:
            fields.append((b"Expect", rng.choice([b"100-continue", b"100-Continue", b"200-ok", b""])))
        elif kind < 0.4:
            fields.append((b"TE", rng.choice([b"trailers", b"gzip, Trailers", b"trailers;q=1", b"", b",trailers,"])))
        elif kind < 0.45:
            fields.append((b"Host", rng.choice(HOSTS)))
        else:
            fields.append((rng.choice(NAMES), rng.choice(VALUES)))
    if rng.random() < 0.02:
        fields += [(b"X-%d" % index, b"y") for index in range(rng.choice((30, 63, 64, 65, 130)))]
    for name, value in fields:
        case = rng.random()
        name = name.lower() if case < 0.3 else name.upper() if case < 0.4 else name
        lines.append(
            name
            + rng.choice([b": ", b": ", b": ", b":", b":\t ", b" :"][: rng.choice((5, 6))])
            + value
            + rng.choice([b"", b"", b" ", b"\t"])
        )
    return b"\r\n".join(lines) + b"\r\n\r\n" + rng.choice([b"", b"", b"hello", b"GET / HTTP/1.1\r\n"])


def mutate(rng: random.Random, raw: bytes, seeds: list[bytes]) -> bytes:
    """`raw` with one to four small changes: bytes set, inserted, deleted; pieces doubled, moved in, cut off."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        # Long values are dull: most changes go where the structure is.
        if rng.random() < 0.4:
            places = [index for index, byte in enumerate(data[:2000]) if byte in b"\r\n :%?,/[]"]
            if places:
                at = rng.choice(places) + rng.randrange(2)
        kind = rng.randrange(8)
        if kind == 0 and at < len(data):
            data[at] = rng.choice(BYTES)
        elif kind == 1:
            data.insert(at, rng.choice(BYTES))
        elif kind == 2:
            del data[at : at + rng.choice((1, 1, 2, 4, 12))]
        elif kind == 3:
            data[at:at] = rng.choice(PIECES)
        elif kind == 4 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 5:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.choice((1, 4, 20))]
        elif kind == 6:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + rng.choice((4, 20, 80))]
        elif kind == 7 and rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def heads(seed: int, count: int) -> Iterator[bytes]:
    """`count` cases: a third of them by the grammar, the rest mutated."""
    rng = random.Random(seed)
    seeds = [raw for raw in corpus() if len(raw) < 2000]
    for _ in range(count):
        kind = rng.random()
        if kind < 0.33:
            yield grammar_head(rng)
        else:
            yield mutate(rng, grammar_head(rng) if kind < 0.66 else rng.choice(seeds), seeds)


def cuts(rng: random.Random, raw: bytes) -> list[bytes]:
    """`raw` cut into pieces, at random or after each CR or LF."""
    if rng.random() < 0.3:
        places = {index + 1 for index, byte in enumerate(raw) if byte in b"\r\n"}
    else:
        places = {rng.randrange(len(raw) + 1) for _ in range(rng.choice((1, 2, 5, 10)))} if raw else set()
    edges = sorted({0, len(raw)} | places)
    return [raw[start:stop] for start, stop in itertools.pairwise(edges)]
