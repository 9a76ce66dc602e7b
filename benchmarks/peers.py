"""The servers under test: how each is started in its fastest documented configuration, with one worker.

A new server is one `Peer` here and one line in requirements-peers.txt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Interface = Literal["wsgi", "asgi"]
Role = Literal["ours", "peer", "limit"]


@dataclass(frozen=True)
class Peer:
    """One server in one configuration.

    `command` is split at spaces before its words are filled in: {bin} the environment's programs, {python}
    its interpreter, {launch} benchmarks/launch.py, {limit} the compiled limit.c, {app} "module:attribute",
    {port}, {threads}, {scratch} a folder for what it writes.
    """

    name: str
    interface: Interface | None
    """None: answers every request with the hello response and runs no application."""
    command: str
    role: Role = "peer"
    threads: int = 0
    """Size of the thread pool, where the command has one."""
    environment: Mapping[str, str] = field(default_factory=dict)
    close_probe: bool = True
    """False where a `Connection: close` request is known to break the server for those that follow."""
    http: str | None = ""
    """What is added to the command for HTTP loads; None: it is measured with WebSockets alone."""
    websocket: str | None = None
    """The same for WebSockets; None: it has none."""
    deflate: str | None = None
    """The same, beside that, for WebSockets with permessage-deflate."""
    note: str = ""
    """Said beside every figure of this server."""
    default: bool = True
    """Measured when workloads are named, but no servers."""

    def words(self, *, websocket: bool = False, deflate: bool = False) -> str | None:
        """What is added to the command for such a load, or None where the server can't do it."""
        if not websocket:
            return self.http
        if self.websocket is None or not deflate:
            return self.websocket
        return None if self.deflate is None else self.websocket + self.deflate

    def arguments(self, **values: object) -> list[str]:
        """The command line, with `values` filled in."""
        return [word.format(threads=self.threads, **values) for word in self.command.split()]


_GATEWAY = "{python} -m gateway {app} --no-supervisor -b 127.0.0.1:{port} --log-level error --keep-alive 75"
# Small messages too, as the peers do.
_DEFLATE_ALL = " --ws-deflate-min-size 0"
_LOGGED = " --access-logfile {scratch}/access.log"
_GRANIAN = (
    "{bin}/granian {app} --host 127.0.0.1 --port {port} --workers 1 --no-access-log --log-level error"
    " --backlog 8192 --http 1"
)
_NO_WEBSOCKETS = " --no-ws"
_GUNICORN = (
    "{bin}/gunicorn {app} -b 127.0.0.1:{port} -w 1 --log-level error --backlog 4096 --keep-alive 75"
    " --worker-connections 20000"
)
_UVICORN = (
    "{bin}/uvicorn {app} --host 127.0.0.1 --port {port} --loop uvloop --no-access-log --log-level error"
    " --timeout-keep-alive 75 --backlog 4096 --http httptools"
)
_SOCKETIFY = "{python} -m socketify {app} --host 127.0.0.1 --port {port} --disable-listen-log True"

PEERS = (
    Peer("gateway-wsgi", "wsgi", _GATEWAY + " --interface wsgi --threads {threads}", "ours", threads=4),
    Peer("gateway-wsgi-inline", "wsgi", _GATEWAY + " --interface wsgi --threads 0", "ours"),
    Peer(
        "gateway-asgi", "asgi", _GATEWAY + " --interface asgi --loop uvloop", "ours", websocket="", deflate=_DEFLATE_ALL
    ),
    Peer(
        "gateway-asgi-stock",
        "asgi",
        _GATEWAY + " --interface asgi --loop asyncio",
        "ours",
        websocket="",
        deflate=_DEFLATE_ALL,
    ),
    Peer(
        "gateway-wsgi-log",
        "wsgi",
        _GATEWAY + _LOGGED + " --interface wsgi --threads {threads}",
        "ours",
        threads=4,
        note="access log to a file",
        default=False,
    ),
    Peer(
        "gateway-asgi-log",
        "asgi",
        _GATEWAY + _LOGGED + " --interface asgi --loop uvloop",
        "ours",
        note="access log to a file",
        default=False,
    ),
    Peer(
        "gateway-wsgi-pure",
        "wsgi",
        _GATEWAY + " --interface wsgi --threads {threads}",
        "ours",
        threads=4,
        environment={"GATEWAY_NO_EXTENSIONS": "1"},
        default=False,
    ),
    Peer(
        "gateway-asgi-pure",
        "asgi",
        _GATEWAY + " --interface asgi --loop uvloop",
        "ours",
        environment={"GATEWAY_NO_EXTENSIONS": "1"},
        websocket="",
        deflate=_DEFLATE_ALL,
        default=False,
    ),
    Peer("bjoern", "wsgi", "{python} {launch} bjoern {app} {port}"),
    Peer("fastpysgi-wsgi", "wsgi", "{python} {launch} fastpysgi {app} {port}"),
    *(
        Peer(
            f"granian-wsgi@{threads}",
            "wsgi",
            _GRANIAN + " --interface wsgi --blocking-threads {threads}",
            threads=threads,
            http=_NO_WEBSOCKETS,
        )
        for threads in (1, 4)
    ),
    Peer("gunicorn-gthread@4", "wsgi", _GUNICORN + " -k gthread --threads {threads}", threads=4),
    Peer("socketify-wsgi", "wsgi", _SOCKETIFY + " --interface wsgi"),
    # After a `Connection: close` request fastpysgi 0.6 crashes or hangs in its ASGI mode.
    Peer("fastpysgi-asgi", "asgi", "{python} {launch} fastpysgi {app} {port}", close_probe=False),
    Peer(
        "granian-asgi",
        "asgi",
        _GRANIAN + " --interface asgi --loop uvloop",
        http=_NO_WEBSOCKETS,
        websocket=" --ws",
    ),
    Peer("gunicorn-asgi", "asgi", _GUNICORN + " -k asgi --asgi-loop uvloop", websocket=""),
    Peer(
        "socketify-asgi",
        "asgi",
        _SOCKETIFY + " --interface asgi",
        websocket="",
        deflate=" --ws-per-message-deflate True",
    ),
    Peer("uvicorn", "asgi", _UVICORN, http=" --ws none", websocket=" --ws websockets-sansio", deflate=""),
    Peer(
        "hypercorn",
        "asgi",
        "{bin}/hypercorn {app} -b 127.0.0.1:{port} -w 1 -k uvloop --keep-alive 75 --backlog 4096 --log-level error",
        http=None,
        websocket="",
        deflate="",
    ),
    Peer(
        "daphne",
        "asgi",
        "{bin}/daphne -b 127.0.0.1 -p {port} -v 0 {app}",
        http=None,
        websocket="",
        default=False,
    ),
    Peer("limit-c", None, "{limit} {port}", "limit", note="constant answer, no application"),
    Peer(
        "limit-uvloop",
        None,
        "{python} {launch} uvloop - {port}",
        "limit",
        note="constant answer, no application",
        default=False,
    ),
)


def select(words: list[str]) -> list[Peer]:
    """The servers that `words` name, in the table's order; all default ones for no words.

    A word is a name or the beginning of one; `NAME@N` is the server of that name with N threads.
    Raises ValueError for a word that names nothing.
    """
    if not words:
        return [peer for peer in PEERS if peer.default]
    chosen: dict[str, Peer] = {}
    for word in words:
        found = [peer for peer in PEERS if peer.name == word] or matching(word)
        if not found and "@" in word:
            base, _, threads = word.rpartition("@")
            threaded = [p for p in PEERS if p.threads and p.name.split("@")[0] == base and threads.isdigit()]
            found = [replace(peer, name=word, threads=int(threads)) for peer in threaded[:1]]
        if not found:
            raise ValueError(f"no server is called {word!r}; --list shows them")
        chosen.update((peer.name, peer) for peer in found)
    return list(chosen.values())


def matching(word: str) -> list[Peer]:
    """The servers whose names begin with `word`."""
    return [peer for peer in PEERS if peer.name.startswith(word)]


def configured(peer: Peer, words: str, threads: int = 0) -> Peer:
    """`peer` with `words` added to its command, and `threads` threads where that is not 0 and it has a choice."""
    return replace(peer, command=peer.command + words, threads=threads if threads and peer.threads else peer.threads)
