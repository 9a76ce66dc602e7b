"""`python -m tests.websocket_fuzz`: clients that send damaged WebSocket streams to the real server.

Each round opens a connection and sends a conversation of frames in random pieces: nine times in ten with some of its
bytes changed, else as it should be. Whatever the server answers must be correct HTTP and correct frames, it must end
the connection, and the messages of an undamaged conversation must come back whole. In the end the server must be
alive, with as many descriptors as at the beginning and no more memory, and nothing in its log that is its own fault.

    python -m tests.websocket_fuzz --seconds 60
    python -m tests.websocket_fuzz --seed 7 --round 1234        one round again, with its bytes
    GATEWAY_NO_EXTENSIONS=1 python -m tests.websocket_fuzz --io asyncio
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.integration.harness import Server
from tests.integration.wsclient import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Frame,
    WebSocket,
    close,
    deflate,
    frame,
)

WAIT = 10.0
"""Seconds for the server to end a connection."""
GROWTH = 2 << 20
"""Bytes of resident memory that the second half of the rounds may add to what the first half left."""
SETTLED = 20.0
"""Seconds below which memory is not judged that closely, as the allocator is still warming up."""
UNSETTLED_GROWTH = 16 << 20

OPTIONS = ("--ws-max-size", "20000", "--ws-max-fragments", "50", "--ws-ping-interval", "0", "--ws-close-timeout", "2")
"""Low limits, so that rounds get to them."""

WORDS = [
    "",
    "x",
    "hello",
    "\u20ac",
    "\U0001f600" * 5,
    "a" * 125,
    "b" * 126,
    "\u00e9" * 300,
    "compress me " * 100,
    "z" * 9000,
]


class Wrong(Exception):
    """Something that is the server's fault."""


@dataclass
class Conversation:
    """What a client sends, and what it must get back if none of it is damaged."""

    compressed: bool
    frames: list[bytes] = field(default_factory=list)
    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)


def conversation(chance: random.Random, whole: bool) -> Conversation:
    """A correct one; with a Close at its end when it must be `whole`."""
    made = Conversation(compressed=chance.random() < 0.5)
    for _ in range(chance.randint(1, 12)):
        if chance.random() < 0.2:
            ping(made, chance)
        else:
            message(made, chance)
    if chance.random() < 0.7:
        made.frames.append(
            close(chance.choice([1000, 1001, 3000, 4999]), chance.choice([b"", b"bye", "\u20ac".encode()]))
        )
    return made


def ping(made: Conversation, chance: random.Random) -> None:
    data = chance.randbytes(chance.choice([0, 1, 4, 125]))
    if chance.random() < 0.7:
        made.frames.append(frame(PING, data, key=chance.randbytes(4)))
        made.pongs.append(data)
    else:
        made.frames.append(frame(PONG, data, key=chance.randbytes(4)))


def message(made: Conversation, chance: random.Random) -> None:
    """One message, compressed or not, in one frame or in several with Pings between them."""
    content: str | bytes = chance.choice(WORDS)
    assert isinstance(content, str)
    if chance.random() < 0.5:
        content = content.encode() if chance.random() < 0.5 else chance.randbytes(chance.choice([1, 10, 1000]))
    made.messages.append(content)
    opcode, data = (TEXT, content.encode()) if isinstance(content, str) else (BINARY, content)
    rsv = 0
    if made.compressed and chance.random() < 0.6:
        data, rsv = deflate(data), RSV1
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.choice([0, 0, 1, 2, 6])))
    edges = [0, *cuts, len(data)]
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        made.frames.append(
            frame(
                CONTINUATION if number else opcode,
                data[start:end],
                fin=number == len(edges) - 2,
                rsv=0 if number else rsv,
                key=chance.randbytes(4),
            )
        )
        if number < len(edges) - 2 and chance.random() < 0.2:
            ping(made, chance)


def damage(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, few of them, so that what comes after is read too."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        at = chance.randrange(len(changed)) if changed else 0
        kind = chance.randrange(7)
        if kind == 0 and changed:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and changed:
            changed[at] = chance.choice([0, 0x7E, 0x7F, 0x80, 0x81, 0x88, 0xFE, 0xFF, chance.randrange(256)])
        elif kind == 2:
            changed[at:at] = chance.randbytes(chance.choice([1, 2, 4, 50]))
        elif kind == 3:
            del changed[at : at + chance.choice([1, 2, 4, 50])]
        elif kind == 4:
            end = min(at + chance.randint(1, 200), len(changed))
            changed[at:at] = changed[at:end]
        elif kind == 5:
            del changed[at:]
        else:
            changed[at:at] = chance.choice([frame(opcode, b"?") for opcode in range(16)] + [b"\xff" * 14, bytes(14)])
    return bytes(changed)


class Fuzz:
    """The rounds against one server."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.outcomes: Counter[str] = Counter()

    def round(self, number: int, show: bool = False) -> None:
        """One connection. Raises Wrong."""
        chance = random.Random(f"{self.seed} {number}")
        right = chance.random() < 0.1
        made = conversation(chance, right)
        stream = b"".join(made.frames)
        if not right:
            stream = damage(stream, chance)
        fields = ["Sec-WebSocket-Extensions: permessage-deflate"] if made.compressed else []
        with WebSocket(self.server.address, WAIT) as client:
            handshake = client.handshake("/echo", *fields)
            if not right and chance.random() < 0.1:
                handshake = damage(handshake, chance)
            if show:
                print(
                    f"handshake {handshake!r}\nframes    {stream.hex(' ')}\n{'as it should be' if right else 'damaged'}"
                )
            try:
                self.send(client, handshake + stream, chance)
                leaving = chance.random()
                if not right and leaving < 0.1:
                    client.reset()
                    self.outcomes["left with a reset"] += 1
                elif not right and leaving < 0.2:
                    self.outcomes["left without reading"] += 1
                else:
                    client.half_close()
                    self.read(client, made if right else None)
            except (BrokenPipeError, ConnectionResetError) as error:
                # Sent into a connection that the server has closed, or half of it; what it said may be lost with that.
                if right:
                    raise Wrong(f"{type(error).__name__} in an undamaged conversation") from None
                self.outcomes["cut while sending"] += 1

    def send(self, client: WebSocket, data: bytes, chance: random.Random) -> None:
        """In pieces."""
        sizes = chance.choice([[1 << 20], [1 << 20], [500, 1000], [1, 2, 3, 7, 100]])
        at = 0
        while at < len(data):
            size = chance.choice(sizes)
            client.send(data[at : at + size])
            at += size

    def read(self, client: WebSocket, expected: Conversation | None) -> None:
        """Everything up to the end of the connection; strictly."""
        try:
            response = client.head()
            if response.status == 101:
                client.extensions = response.get("sec-websocket-extensions")
                seen = self.frames(client)
            else:
                client.rest()
        except TimeoutError:
            raise Wrong(f"the connection was not ended within {WAIT} s") from None
        except (BrokenPipeError, ConnectionResetError):
            raise
        except AssertionError as error:
            if expected is None and "closed after 0" in str(error):
                self.outcomes["closed without an answer"] += 1
                return
            raise Wrong(str(error)) from None
        if response.status != 101:
            if expected is not None:
                raise Wrong(f"a correct handshake was refused: {response}")
            self.outcomes[f"HTTP {response.status}"] += 1
            return
        last = seen[-1] if seen and seen[-1].opcode == CLOSE else None
        self.outcomes[f"Close {last.code}" if last else "ended without Close"] += 1
        if expected is not None:
            self.compare(client, seen, expected)

    def frames(self, client: WebSocket) -> list[Frame]:
        """All frames up to Close or the end; nothing follows Close but Pongs."""
        seen = []
        while client.buffer or client.fill():
            seen.append(client.frame())
        closes = [number for number, found in enumerate(seen) if found.opcode == CLOSE]
        if len(closes) > 1 or (closes and any(found.opcode != PONG for found in seen[closes[0] + 1 :])):
            raise Wrong(f"frames after Close: {seen[closes[0] :]}")
        return seen[: closes[0] + 1] if closes else seen

    def compare(self, client: WebSocket, seen: list[Frame], expected: Conversation) -> None:
        """What came back of a conversation that was as it should be."""
        messages: list[str | bytes] = []
        for found in seen:
            if found.opcode in (TEXT, BINARY):
                data = client.inflate(found.payload) if found.rsv else found.payload
                messages.append(data.decode() if found.opcode == TEXT else data)
        if messages != expected.messages:
            raise Wrong(f"messages came back otherwise: {messages!r}, not {expected.messages!r}")
        # RFC 6455 5.5.3: only the last of several Pings need be answered.
        pongs = [found.payload for found in seen if found.opcode == PONG]
        if expected.pongs and expected.pongs[-1] not in pongs:
            raise Wrong(f"the last Ping was not answered: {pongs!r}")

    def check(self) -> None:
        """The server lives, and has nothing to complain about."""
        if not self.server.alive():
            raise Wrong("the server answers wrongly")
        found = re.search(r".*(Traceback|Internal error|Error in|never awaited).*", self.server.log)
        if found:
            at = self.server.log.index(found[0])
            raise Wrong(f"in the log: {self.server.log[at : at + 4000]}")

    def descriptors(self, at_most: int | None = None) -> int:
        """How many the server has open, waiting until connections that are over are closed there too."""
        end = time.monotonic() + WAIT
        while True:
            count = len(os.listdir(f"/proc/{self.server.worker_pid}/fd"))
            if at_most is None or count <= at_most or time.monotonic() > end:
                return count
            self.server.get("/hello")


def campaign(server: Server, seconds: float, seed: int, rounds: int = 100) -> Counter[str]:
    """Rounds for that long, and so many at least. Raises Wrong, with the number of the round where it was one."""
    fuzz = Fuzz(server, seed)
    fuzz.check()
    linux = sys.platform == "linux"
    descriptors = fuzz.descriptors() if linux else 0
    start, number, middle = time.monotonic(), 0, 0
    while (spent := time.monotonic() - start) < seconds or number < rounds:
        try:
            fuzz.round(number)
            if number % 500 == 0:
                fuzz.check()
        except Wrong as wrong:
            raise Wrong(f"seed {seed}, round {number}: {wrong}") from None
        number += 1
        if linux and not middle and spent > seconds / 2 and number > rounds / 2:
            middle = server.memory()[0]
    fuzz.check()
    if linux:
        left = fuzz.descriptors(descriptors)
        if left > descriptors:
            raise Wrong(f"{left - descriptors} descriptors are left open")
        grown = server.memory()[0] - (middle or server.memory()[0])
        fuzz.outcomes["bytes of memory gained in the second half"] = max(grown, 0)
        if grown > (GROWTH if seconds >= SETTLED else UNSETTLED_GROWTH):
            raise Wrong(f"memory grew by {grown} bytes in the second half of {number} rounds")
    fuzz.outcomes["rounds"] = number
    return fuzz.outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.websocket_fuzz", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--seconds", type=float, default=30.0, help="how long (default: 30)")
    add("--seed", type=int, default=time.time_ns() % 1_000_000, help="what chance begins with (default: the time)")
    add("--round", type=int, metavar="N", help="only this round, and show what it sends")
    add("--io", default="auto", help="passed on to the server")
    options = parser.parse_args(arguments)
    with Server("ws_apps:probe", *OPTIONS, "--io", options.io) as server:
        try:
            if options.round is not None:
                fuzz = Fuzz(server, options.seed)
                fuzz.round(options.round, show=True)
                fuzz.check()
                outcomes = fuzz.outcomes
            else:
                outcomes = campaign(server, options.seconds, options.seed)
        except Wrong as wrong:
            print(wrong, file=sys.stderr)
            return 1
    print(f"seed {options.seed}")
    for name, count in sorted(outcomes.items()):
        print(f"{count:10,} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
