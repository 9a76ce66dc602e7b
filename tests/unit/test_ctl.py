"""How `gateway ctl` and `gateway top` show what they are told; the commands are tests/integration/test_control.py."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.supervisor import ctl
from gateway.supervisor.top import View


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"), (9.94, "9.9s"), (10, "10s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"),
        (3600, "1h00m"), (86399, "23h59m"), (86400, "1d00h"), (10 * 86400 + 7200, "10d02h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert ctl.duration(seconds) == text


def test_what_a_client_sent_can_not_move_the_cursor() -> None:
    assert ctl.printable("/a\x1b[2J\x9b1mé\n") == "/a\\x1b[2J\\x9b1mé\n"


def test_sizes() -> None:
    assert (ctl.size(None), ctl.size(36 * 1048576)) == ("", "36M")


def worker(pid: int, **facts: Any) -> dict[str, Any]:
    plain = {
        "pid": pid, "state": "ready", "generation": 1, "age": 5.0, "silence": 0.0, "connections": 2, "total": 7,
        "memory": 1048576, "threads": 4, "busy": 1, "queued": 0, "in_flight": 1, "requests": [],
    }  # fmt: skip
    return {**plain, **facts}


def test_rows_of_workers() -> None:
    row = ["3", "1", "ready", "5.0s", "2", "7", "1", "1/4", "0", "1M"]
    assert ctl.worker_row(worker(3)) == row
    assert ctl.worker_row(worker(3, threads=0)) == [*row[:7], "", "", "1M"]
    silent = worker(
        3, state="blocked", silence=12.0, memory=None, **dict.fromkeys(("threads", "in_flight", "requests"))
    )
    assert ctl.worker_row(silent) == ["3", "1", "blocked 12s", "5.0s", "2", "7", "?", "", "", ""]


def test_the_oldest_requests_come_first() -> None:
    request = {"method": "GET", "path": "/", "client": "192.0.2.1:5"}
    old, young, socket = ({**request, "age": age} for age in (70.0, 0.5, None))
    workers = [worker(1, requests=[young, socket]), worker(2, requests=[old]), worker(3, requests=None)]
    assert [row[:2] for row in ctl.request_rows({"workers": workers})] == [["2", "1m10s"], ["1", "0.5s"], ["1", ""]]


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    lines = list(ctl.table(("PID", "STATE", "AGE"), [["7", "ready", "1s"], ["12345", "up", "10m00s"]]))
    assert lines == ["  PID  STATE     AGE", "    7  ready      1s", "12345  up     10m00s"]


def test_requests_per_second() -> None:
    view = View()
    assert view.rate({"workers": [worker(1, total=100)]}, 10.0) is None
    assert view.rate({"workers": [worker(1, total=160), worker(2, total=20)]}, 12.0) == 40.0
    assert view.rate({"workers": [worker(2, total=20)]}, 14.0) == 0.0, "one that is gone takes nothing back"
