"""Own I/O in both builds: a fixed seed, and proof that a difference would be noticed."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from gateway.backend import CORE, Backend

from .faults import faulty_core
from .transports import campaign

if sys.platform != "linux":
    pytest.skip("Linux only", allow_module_level=True)

SEED = 20261121


def test_builds_agree(compiled: Backend) -> None:
    tried, found = campaign(Backend(CORE), compiled, SEED, 250)
    assert tried == 250
    assert not found, "\n".join(found)


TRANSPORT = "io/transport.py"
FAULTS = {
    "output_not_asked_for": (TRANSPORT, "        if self._size or not self._idle():\n            wanted", "        if self._size > 500000:\n            wanted"),
    "offset_lost": (TRANSPORT, "        self._offset = sent\n        if self._first", "        self._offset = 0\n        if self._first"),
    "part_sent_twice": (TRANSPORT, "                self._push(part, taken)\n                taken = 0", "                self._push(part, 0)\n                taken = 0"),
    "queue_not_shortened": (TRANSPORT, "            del queue[: self._first]\n", "            del queue[: self._first + 1]\n"),
    "resumed_too_early": (TRANSPORT, "self._hub.high_water // 4", "self._hub.high_water // 2"),
    "never_paused": (TRANSPORT, "self._size > self._hub.high_water and", "self._size > self._hub.high_water * 50 and"),
    "closed_before_all_is_sent": (TRANSPORT, "            self._closing = True\n            if self._size == 0 and self._idle():", "            self._closing = True\n            if self._size < 5000:"),
    "not_closed_after_the_queue": (TRANSPORT, "                if self._closing:\n                    self._doom(None)", "                if self._closing:\n                    pass"),
    "half_never_closed": (TRANSPORT, "                if self._shut:\n                    self._socket.shut_down()", "                if self._shut:\n                    pass"),
    "read_while_paused": (TRANSPORT, "reading = not (self._paused or self._ended", "reading = not (self._ended"),
    "end_of_input_twice": (TRANSPORT, "            self._ended = True\n", "            self._much = False\n"),
    "file_offset_lost": (TRANSPORT, "        file.offset += count\n", "        file.offset += count - 1\n"),
    "file_before_the_queue": (TRANSPORT, "        if self._size == 0:\n            self._send_file()\n        return", "        self._send_file()\n        return"),
    "file_not_reported": (TRANSPORT, "        file.error = error\n        file.close()\n        return self._unsettle()", "        file.error = error\n        file.close()\n        return 0"),
    "lost_told_at_once": (TRANSPORT, "            self._unsettled = True\n            self._hub.unsettle(self)", "            self.settle()"),
    "lost_without_its_reason": (TRANSPORT, "            self._doomed = True\n            self._error = error", "            self._doomed = True\n            self._error = None"),
    "an_error_ends_others": ("io/transport.py", "        try:\n            self._dispatch(events)\n        except Exception as error:\n            self._fail(error)", "        self._dispatch(events)"),
    "later_forgotten": ("io/hub.py", "        if not self.woken and not self.closed:", "        if self.busy and not self.woken:"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_noticed(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with faulty_core(tmp_path, f"faulty_io_{fault}", *FAULTS[fault]) as faulty:
        tried, found = campaign(Backend(CORE), faulty, SEED, 400, findings=1)
        # Sockets that a fault has left open are closed here, not in the middle of another test.
        gc.collect()
    assert found, f"{tried} scripts did not show it"
