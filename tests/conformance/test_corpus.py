"""The corpus of request files through a whole connection: all at once, byte by byte, and cut in two everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Wire, run

CORPUS = Path(__file__).parent.parent / "corpus" / "requests"
ACCEPTED = sorted(path.stem for path in CORPUS.glob("accept/*.http"))
REJECTED = sorted(path.stem for path in CORPUS.glob("reject/*.http"))

# Cutting a long file in two everywhere takes as many connections as it has bytes; beyond this size, at every step.
CUTS = 400


async def app(scope: Any, receive: Any, send: Any) -> None:
    more = True
    while more:
        event = await receive()
        more = event.get("more_body", False)
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


def read(folder: str, name: str) -> tuple[bytes, dict[str, Any]]:
    path = CORPUS / folder
    return (path / f"{name}.http").read_bytes(), json.loads((path / f"{name}.json").read_text())


async def outcome(build: Any, pieces: list[bytes], ends: bool) -> tuple[bytes, list[str], int]:
    """What a connection answers to `pieces`, and to the end of input, the calls on its transport, the requests served."""
    wire = Wire(build, app)
    for piece in pieces:
        wire.connection.feed(piece)
    await wire.turns()
    if ends:
        await wire.eof()
    output = wire.take()
    await wire.lose()
    return output, wire.events, wire.service.total_requests


def ways(data: bytes) -> list[list[bytes]]:
    """The ways in which `data` can arrive."""
    step = max(1, len(data) // CUTS)
    cuts = range(1, len(data), step)
    return [[data], [data[index : index + 1] for index in range(len(data))], *([data[:n], data[n:]] for n in cuts)]


def first_status(output: bytes) -> int:
    assert output.startswith(b"HTTP/1.1 "), output
    return int(output[9:12])


def test_the_corpus_is_there() -> None:
    assert len(ACCEPTED) >= 40 and len(REJECTED) >= 60


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(build: Any, name: str) -> None:
    data, expected = read("reject", name)

    async def main() -> None:
        for pieces in ways(data):
            output, events, requests = await outcome(build, pieces, True)
            assert first_status(output) == expected["status"], (expected["why"], len(pieces[0]))
            assert output.count(b"\r\n\r\n") == 1 and b"Connection: close\r\n" in output
            assert events[-1] == "close" and requests == 0

    run(main, timeout=60)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(build: Any, name: str) -> None:
    data, expected = read("accept", name)

    async def main() -> None:
        for pieces in ways(data):
            output, _, requests = await outcome(build, pieces, False)
            # Some of the files announce content and have none: their request is running.
            assert requests >= 1, (expected["why"], len(pieces[0]))
            assert not output or first_status(output) in (100, 299), (expected["why"], len(pieces[0]))

    run(main, timeout=60)
