"""The corpus of request files (tests/corpus/requests), sent to the real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .harness import CORPUS, Incomplete, Server

ACCEPTED = sorted(path.stem for path in CORPUS.glob("accept/*.http"))
REJECTED = sorted(path.stem for path in CORPUS.glob("reject/*.http"))


def read(folder: str, name: str) -> tuple[bytes, dict[str, Any]]:
    path = CORPUS / folder
    return (path / f"{name}.http").read_bytes(), json.loads((path / f"{name}.json").read_text())


@pytest.fixture(scope="module", params=["asgi_apps:probe", "wsgi_probe:probe"], ids=["asgi", "wsgi"])
def probe(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The corpus is about HTTP: a handshake in it is an ordinary request."""
    with Server(request.param, "--threads", "8", "--ws", "none") as server:
        yield server


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(probe: Server, name: str) -> None:
    """Its status, `Connection: close`, and the end."""
    data, expected = read("reject", name)
    with probe.connect() as client:
        client.send(data)
        # Some are refused for what they lack: only the end of input tells that nothing more comes.
        client.half_close()
        response = client.response()
        assert response.status == expected["status"], expected["why"]
        assert "close" in response.connection
        client.expect_end()


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(probe: Server, name: str) -> None:
    """Served; except for those that announce content and have none, which are not refused either."""
    data, expected = read("accept", name)
    announces_content = re.search(rb"(?i)\r\n(content-length: *0*[1-9]|transfer-encoding:)", data)
    with probe.connect() as client:
        client.send(data)
        client.half_close()
        try:
            response = client.response()
        except Incomplete:
            assert announces_content, expected["why"]
        else:
            # RFC 9112 8: a request cut short is an error, of another kind than those in the folder "reject".
            assert response.status in (200, 204) or (announces_content and response.status == 400), expected["why"]
