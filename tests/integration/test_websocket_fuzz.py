"""A short run of the fuzz; `python -m tests.websocket_fuzz` runs it for longer, and with other seeds."""

from __future__ import annotations

import pytest

from tests.websocket_fuzz import OPTIONS, campaign

from .harness import Server


@pytest.mark.parametrize("io", ["auto", "asyncio"])
def test_damaged_streams(io: str) -> None:
    with Server("ws_apps:probe", *OPTIONS, "--io", io) as server:
        outcomes = campaign(server, seconds=2, seed=20261121)
    assert sum(count for name, count in outcomes.items() if name.startswith("Close")) > 10
