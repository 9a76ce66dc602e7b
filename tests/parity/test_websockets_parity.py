"""Whole WebSocket connections in both builds: a fixed seed, and proof that a difference would be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.backend import CORE, Backend
from tests.parity.faults import faulty_core
from tests.parity.websockets import campaign

SEED = 20261121


def test_builds_agree(compiled: Backend) -> None:
    tried, found = campaign(Backend(CORE), compiled, SEED, 500)
    assert not found, "\n".join(found)
    assert tried == 500


CONNECTION, MESSAGE, OUTPUT = "websocket/connection.py", "websocket/message.py", "websocket/output.py"
FAULTS = {
    "unmasked_accepted": ("websocket/frames.py", "if not head.masked:", "if False:"),
    "long_pings_accepted": ("websocket/frames.py", "head.length > CONTROL_SIZE", "head.length > 1000"),
    "reserved_bits_accepted": ("websocket/frames.py", "    if head.rsv and (head.rsv", "    if False and (head.rsv"),
    "wrong_close_code_accepted": ("websocket/frames.py", "len(payload) < 2 or not may_be_sent(code)", "len(payload) < 2"),
    "reason_echoed": (CONNECTION, "encode_frame(CLOSE, payload[:2], True, False)", "encode_frame(CLOSE, payload, True, False)"),
    "text_cut_off": (MESSAGE, " or (last and not self.check.complete())", ""),
    "message_without_bound": (MESSAGE, "if limit and self.raw_size > limit + ", "if limit and self.raw_size > limit + 50 + "),
    "fragments_without_bound": (MESSAGE, "if limits.websocket_fragments and", "if False and"),
    "fragments_not_reset": (CONNECTION, "self.message.clear()", "message = self.message; count = message.fragments; message.clear(); message.fragments = count"),
    "queue_without_bound": (CONNECTION, "return limit > 0 and self.stream.queued >= limit", "return False"),
    "reading_never_resumed": (CONNECTION, "self.transport.resume_reading()", "pass"),
    "never_gives_way": (CONNECTION, "BURST = 256", "BURST = 10**9"),
    "not_corked": (CONNECTION, "        self.output.corked = self.input.available() > 0\n        self.stream.feed", "        self.stream.feed"),
    "cork_without_bound": (OUTPUT, "if self.held_size >= CORK_SIZE:", "if False:"),
    "large_overtakes_small": (OUTPUT, "        self.flush()\n        return self.write_parts", "        return self.write_parts"),
    "data_after_close_read": (CONNECTION, "        if self.state != OPEN:\n            # RFC", "        if False:\n            # RFC"),
    "pings_ignored_when_paused": (CONNECTION, "self.pong = payload", "pass"),
    "silence_for_ever": (CONNECTION, "elif self.pong_deadline and now >= self.pong_deadline:", "elif False:"),
    "stall_for_ever": ("http/output.py", "return timeout > 0 and now >= self.deadline", "return False"),
    "closing_for_ever": (CONNECTION, "self.set_deadline(self.timeouts.websocket_close)\n        if", "if"),
    "cut_off_while_sending": (CONNECTION, "            if self.output.waiting():\n", "            if False:\n"),
    "restart_not_told": (CONNECTION, "if self.close_at and now >= self.close_at:", "if False:"),
    "early_frames_forgotten": (
        CONNECTION,
        "        if self.input.available():\n            self.schedule()",
        "        if False:\n            self.schedule()",
    ),
    "end_of_input_ignored": (CONNECTION, "if self.peer_eof and not self.braked and self.state < LINGER:", "if False:"),
    "context_kept": ("websocket/deflate.py", "if not self.server_no_context_takeover:", "if True:"),
    "bomb": ("websocket/deflate.py", "if limit >= 0 and len(result) > limit:", "if False:"),
    "any_subprotocol": ("websocket/handshake.py", "if subprotocol not in handshake.subprotocols:", "if False:"),
    "not_counted_down": (CONNECTION, "        self.service.connections -= 1\n", ""),
    "messages_in_reverse": ("http/websocket.py", "        message = messages[0]\n", "        message = messages[-1]\n"),
    "first_disconnect_overwritten": ("http/websocket.py", "        if not self.disconnected:\n            self.disconnected = True", "        if True:\n            self.disconnected = True"),
    "sends_without_backpressure": ("asgi/websocket.py", "            return stream.writable or stream.closed\n", "            return True\n"),
    "handshake_unanswered": ("asgi/websocket.py", "            self.unanswered(error)\n", "            pass\n"),
    "sends_after_close": ("asgi/websocket.py", "        if stream.closed:\n            raise LocalProtocolError(f\"Unexpected", "        if False:\n            raise LocalProtocolError(f\"Unexpected"),
    "exceptions_are_normal": ("asgi/websocket.py", "NORMAL_CLOSURE if error is None else INTERNAL_ERROR", "NORMAL_CLOSURE"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_noticed(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with faulty_core(tmp_path, f"faulty_{fault}", *FAULTS[fault]) as faulty:
        tried, found = campaign(Backend(CORE), faulty, SEED, 2000, findings=1)
    assert found, f"{tried} connections did not show it"
