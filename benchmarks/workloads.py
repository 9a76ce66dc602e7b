"""The loads: which application, which request, how many connections, and the answer that is expected.

A new workload is one `Workload` here and, if need be, a callable in apps/.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from .peers import Interface

Kind = Literal["load", "half", "beside", "idle", "start", "echo", "sockets"]
"""What is measured: all that the server can do; latency at half of that; fast requests beside slow ones; the same as
"load" while idle connections are open; starts; WebSockets with one message in flight on each; WebSockets that say
nothing."""

# What a desktop browser sends along: 15 fields with Host, about 850 bytes.
BROWSER = (
    ("Cache-Control", "max-age=0"),
    ("sec-ch-ua", '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    ),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Referer", "http://127.0.0.1/articles/2026/a-page-that-links-here"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Cookie", "sessionid=k3v9x1m7q5t2w8y4z6a0b1c3d5e7f9g2; csrftoken=Zq8Xw7Vy6Tu5Sr4Qp3On2Ml1; theme=dark"),
)

HELLO = b"Hello, World!"
ECHO = b'{"text": "' + b"x" * 1012 + b'"}'
PART = b"p" * 1023 + b"\n"
PARTS = 20
LARGE = b"l" * (1 << 20)
FILE_SIZE = 10 << 20
"""Bytes of the file that the tool makes and names to the applications in BENCHMARK_FILE."""
FILE_BYTE = b"f"
UPLOAD = b"u" * (10 << 20)
IDLE = 2000
"""Idle connections, each of which has had one request answered."""
STARTS = 7
"""Starts in one run."""
SOCKETS = 10_000
"""Idle WebSockets."""
SOCKETS_BEFORE = 50
"""WebSockets opened and closed before those that are measured."""
# RFC 6455 1.3 has this key, and the answer to it, as its example.
UPGRADE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
"""What browsers offer."""
SLOW_CONNECTIONS = 8
SLOW_PATH = "/slow"
"""What takes 10 ms beside the fast requests."""


@dataclass(frozen=True)
class Workload:
    """One application under one load."""

    key: str
    title: str
    interface: Interface
    app: str
    """"module:attribute" in apps/."""
    kind: Kind = "load"
    body: bytes = HELLO
    """The response's content, exactly."""
    method: str = "GET"
    path: str = "/"
    fields: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    """The request's content."""
    size: int = 0
    """Bytes of a WebSocket message."""
    binary: bool = False
    """Messages are binary, not text."""
    connections: int = 64
    parts: int = 0
    """How many parts the application makes; the first must arrive while later ones are still to come."""
    threads: int = 0
    """Size of the thread pool, for servers that have one; 0: as the server's row says."""
    persistent: bool = True
    """False: every request asks for `Connection: close`."""
    constant: bool = False
    """The hello response is the right answer, so that the limit rows can be measured too."""
    default: bool = True
    """Measured when no workloads are named."""

    @property
    def websocket(self) -> bool:
        """The request is a WebSocket's opening handshake."""
        return UPGRADE[0] in self.fields

    @property
    def deflate(self) -> bool:
        """Messages are compressed both ways."""
        return DEFLATE in self.fields

    def messages(self) -> bytes:
        """What is sent over WebSockets in turn, 32 KiB or 64 messages of it, the same in every run.

        Compressible like JSON, and long enough that a message is not found again in a compression window.
        """
        numbers = random.Random(self.size)
        made = bytearray()
        while len(made) < max(1 << 15, 64 * self.size):
            made += b'{"n":%06d,"v":%.8f},' % (numbers.randrange(10**6), numbers.random())
        return bytes(made[: max(1 << 15, 64 * self.size)])

    def request(self, *, close: bool = False, query: str = "", path: str = "") -> bytes:
        """The request, as the load generator sends it; the arguments are variations of it."""
        lines = [f"{self.method} {path or self.path}{query} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.content)}"]
        if close or not self.persistent:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.content


def _pair(key: str, title: str, name: str, **values: object) -> tuple[Workload, Workload]:
    """The same load on the WSGI and on the ASGI application called `name`."""
    return (
        Workload(key + "w", "WSGI " + title, "wsgi", "plain_wsgi:" + name, **values),  # type: ignore[arg-type]
        Workload(key + "a", "ASGI " + title, "asgi", "plain_asgi:" + name, **values),  # type: ignore[arg-type]
    )


WORKLOADS = (
    Workload("W1", "WSGI hello, Host only", "wsgi", "plain_wsgi:hello", constant=True),
    Workload("W2", "ASGI hello, Host only", "asgi", "plain_asgi:hello", constant=True),
    *_pair("W3", "hello, browser fields", "hello", fields=BROWSER, constant=True),
    *_pair("W4", "POST echo of 1 KiB", "echo", method="POST", content=ECHO, body=ECHO),
    *_pair("W5", "20 parts of 1 KiB, streamed", "stream", body=PART * PARTS, parts=PARTS),
    *_pair("W6", "1 MiB body", "large", body=LARGE, connections=16, default=False),
    *_pair("W6f", "10 MiB file", "file", body=FILE_BYTE * FILE_SIZE, connections=8, default=False),
    *_pair("W7", "hello, connection per request", "hello", persistent=False, default=False),
    *_pair(
        "W8",
        "10 MiB upload",
        "upload",
        method="POST",
        content=UPLOAD,
        body=b"%d" % len(UPLOAD),
        connections=4,
        default=False,
    ),
    Workload("W10dw", "Django sync view", "wsgi", "django_app:wsgi", path="/sync", default=False),
    Workload("W10da", "Django async view", "asgi", "django_app:asgi", path="/async", default=False),
    Workload("W10fl", "Flask hello", "wsgi", "flask_app:app", default=False),
    Workload("W10fa", "FastAPI JSON", "asgi", "fastapi_app:app", body=b'{"hello":"world"}', default=False),
    Workload("W11w", "WSGI 10 ms sleep, 16 threads", "wsgi", "plain_wsgi:sleep", threads=16, default=False),
    Workload("W11a", "ASGI 10 ms sleep", "asgi", "plain_asgi:sleep", connections=256, default=False),
    *_pair("W12", f"hello beside {IDLE:,} idle connections", "hello", kind="idle", default=False),
    *_pair("W13", "start to first response", "hello", kind="start", default=False),
    *_pair("W14", "hello, one connection", "hello", connections=1, default=False),
    *_pair("W15", "hello at half of peak load", "hello", kind="half", default=False),
    Workload(
        "W16w",
        "WSGI hello beside slow requests, 16 threads",
        "wsgi",
        "plain_wsgi:mixed",
        kind="beside",
        connections=16,
        threads=16,
        default=False,
    ),
    *(
        Workload(
            key + kind,
            f"WebSocket echo of {title}{remark}",
            "asgi",
            "plain_asgi:websocket",
            kind="echo",
            fields=fields,
            size=size,
            binary=kind == "b",
            default=False,
        )
        for key, fields, remark in (("W9", UPGRADE, ""), ("W9z", (*UPGRADE, DEFLATE), ", compressed"))
        for kind, title, size in (("t", "32 B text", 32), ("b", "16 KiB binary", 16384))
    ),
    Workload(
        "W9i",
        f"{SOCKETS:,} idle WebSockets",
        "asgi",
        "plain_asgi:websocket_idle",
        kind="sockets",
        fields=UPGRADE,
        size=32,
        connections=SOCKETS,
        default=False,
    ),
)


def select(words: list[str]) -> list[Workload]:
    """The workloads that `words` name, in the table's order; the default ones for no words, all for "all".

    A word is a key or one without its last letter: W3 is W3w and W3a; "websocket" is all with WebSockets. Raises
    ValueError for one that names nothing.
    """
    if not words:
        return [workload for workload in WORKLOADS if workload.default]
    if words == ["all"]:
        return list(WORKLOADS)
    chosen = set()
    for word in words:
        found = {w.key for w in WORKLOADS if word in (w.key, w.key[:-1]) or (word == "websocket" and w.websocket)}
        if not found:
            raise ValueError(f"no workload is called {word!r}; --list shows them")
        chosen |= found
    return [workload for workload in WORKLOADS if workload.key in chosen]
