"""Whole connections in both builds: a fixed seed, and proof that a difference would be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.backend import CORE, SPEEDUPS, Backend
from tests.parity.connections import campaign
from tests.parity.faults import faulty_core

SEED = 20261121


def test_builds_agree(compiled: Backend) -> None:
    tried, found = campaign(Backend(CORE), compiled, SEED, 600)
    assert tried == 600
    assert not found, "\n".join(found)


FAULTS = {
    "content_length_off_by_one": (
        "http1/content.py",
        "if size > self.remaining:",
        "if size > self.remaining + 40:",
    ),
    "http_1_0_kept_alive": (
        "http1/connection.py",
        "elif head.minor == 0 and not (head.connection_options & OPTION_KEEP_ALIVE):",
        "elif head.minor == 9:",
    ),
    "two_lengths_accepted": ("http/framing.py", "if head.content_length_count > 1:", "if False:"),
    "length_beside_chunked_accepted": ("http/framing.py", "        if head.content_length_count:\n            raise", "        if False:\n            raise"),
    "missing_host_accepted": ("http/fields.py", "        if head.minor:", "        if False:"),
    "too_many_bytes_sent": ("http/stream.py", "if size > room:", "if size > room + 100:"),
    "no_content_ignored": ("http/framing.py", "return is_head or status == 204 or status == 205 or status == 304", "return is_head"),
    "keep_alive_twice_as_long": (
        "http1/connection.py",
        "self.enter(IDLE)\n        self.set_deadline(self.timeouts.keep_alive)",
        "self.enter(IDLE)\n        self.set_deadline(self.timeouts.keep_alive * 2)",
    ),
    "request_never_overdue": ("http1/connection.py", "stream.due = now + limit", "stream.due = now + 90 * limit"),
    "events_not_ended": ("http1/connection.py", "not stream.peer_closed and has_no_end(stream)", "False"),
    "disconnect_not_told": ("asgi/cycle.py", 'if stream.disconnected or stream.response_complete:\n            return {"type": "http.disconnect"}', 'if stream.disconnected:\n            return {"type": "http.disconnect"}'),
    "wsgi_parts_not_joined": ("wsgi/call.py", "        if count > 1:", "        if count > 1000:"),
    "wsgi_not_closed": ("wsgi/call.py", "                if close is not None:", "                if self.sent > 5:"),
    "reading_never_paused": (
        "http1/content.py",
        "return limit > 0 and stream.unconsumed >= limit",
        "return False",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_noticed(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with faulty_core(tmp_path, f"faulty_{fault}", *FAULTS[fault]) as faulty:
        tried, found = campaign(Backend(CORE), faulty, SEED, 3000, findings=1)
    assert found, f"{tried} connections did not show it"


def test_compiled_is_available_where_it_was_promised(compiled: Backend) -> None:
    assert compiled.name == SPEEDUPS
