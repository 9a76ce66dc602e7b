"""What benchmarks/ computes from its runs, and its tables of servers and workloads. No load here."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import chart, peers, report, workloads


def make_run(server: str = "peer", workload: str = "W1", **values: object) -> dict[str, object]:
    run: dict[str, object] = {
        "server": server,
        "workload": workload,
        "requests_per_second": 1000.0,
        "cpu_us": 10.0,
        "cpu_user_us": 4.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "rss_mib": 20.0,
        "client_cpu": 0.5,
        "foreign": 0.0,
        "counts": True,
        "notes": [],
    }
    return run | values


def make_result(*runs: dict[str, object], failures: tuple[dict[str, str], ...] = ()) -> dict[str, object]:
    roles = {"ours": "ours", "peer": "peer", "slow": "peer", "limit": "limit"}
    return {
        "machine": {"cpu": "a CPU", "cores": 2, "system": "Linux"},
        "options": {"rounds": 3, "seconds": 2.0, "warm_up": 1.0, "server_core": 0, "client_core": 1},
        "gateway": "gateway 1.0",
        "versions": {"python": "3.13.0", "uvicorn": "0.54.0"},
        "workloads": {"W1": "hello"},
        "servers": {name: {"role": role, "note": ""} for name, role in roles.items()},
        "runs": list(runs),
        "failures": list(failures),
    }


def test_medians_and_spread() -> None:
    rates = (900.0, 1100.0, 1000.0)
    row = report.summary("peer", "peer", [make_run(requests_per_second=rate, cpu_us=rate / 100) for rate in rates])
    assert (row.requests, row.low, row.high, row.cpu, row.runs) == (1000.0, 900.0, 1100.0, 10.0, 3)


def test_disturbed_runs_are_left_out_while_others_are_left() -> None:
    calm, disturbed = make_run(), make_run(requests_per_second=10.0, foreign=0.5)
    row = report.summary("peer", "peer", [calm, disturbed])
    assert (row.requests, row.runs, row.notes) == (1000.0, 1, [])
    row = report.summary("peer", "peer", [disturbed])
    assert row.requests == 10.0
    assert row.notes == ["disturbed by other load"]


def test_a_client_at_its_limit_is_noted() -> None:
    assert report.summary("peer", "peer", [make_run(client_cpu=0.99)]).notes == ["client-bound"]


def test_best_peer_does_the_work_and_is_a_peer() -> None:
    found = report.rows(
        make_result(
            make_run("limit", requests_per_second=9000.0),
            make_run("ours", requests_per_second=5000.0),
            make_run("peer", requests_per_second=4000.0, counts=False),
            make_run("slow", requests_per_second=100.0),
        ),
        "W1",
    )
    assert [row.server for row in found] == ["limit", "ours", "peer", "slow"]
    best = report.best_peer(found)
    assert best is not None
    assert best.server == "slow"
    assert report.best_peer([]) is None


@pytest.mark.parametrize(("value", "reference", "expected"), [(3.0, 2.0, 1.5), (3.0, 0.0, None)])
def test_ratio(value: float, reference: float, expected: float | None) -> None:
    assert report.ratio(value, reference) == expected


def test_requests_per_second_of_disturbed_rows_are_not_compared() -> None:
    calm = report.summary("ours", "ours", [make_run(requests_per_second=2000.0)])
    disturbed = report.summary("peer", "peer", [make_run(foreign=0.5)])
    assert report.speed_ratio(calm, calm) == 1.0
    assert report.speed_ratio(calm, disturbed) is None


def test_segments_are_one_note() -> None:
    runs = [make_run(segments=count) for count in (7, 5, 11)]
    assert report.summary("peer", "peer", runs).notes == ["content in 5-11 segments"]


def test_markdown_survives_json() -> None:
    result = make_result(
        make_run("ours", requests_per_second=2000.0, cpu_us=5.0),
        make_run("peer"),
        failures=({"workload": "W1", "server": "slow", "reason": "ended | with 1\nand more"},),
    )
    text = report.markdown(json.loads(json.dumps(result)))
    assert "| W1 hello | ours | 2.00 (2.00) | fails |" in text
    assert "| **ours** | 2,000 | 2,000-2,000 | 2.00 | 5.00 (4.00 + 1.00) |" in text
    assert "| slow | FAIL | | | | | | | | ended / with 1 and more |" in text


def test_chart_is_xml_with_a_bar_per_server() -> None:
    result = make_result(make_run("ours", requests_per_second=2000.0), make_run("peer"))
    root = ElementTree.fromstring(chart.svg(result))
    widths = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)


def test_servers_are_selected_by_name_beginning_and_threads() -> None:
    assert [peer.name for peer in peers.select(["uvicorn"])] == ["uvicorn"]
    assert [peer.name for peer in peers.select(["granian-wsgi"])] == ["granian-wsgi@1", "granian-wsgi@4"]
    (granian,) = peers.select(["granian-wsgi@16"])
    assert granian.threads == 16
    assert "16" in granian.arguments(bin="b", app="a", port=1)
    (gateway,) = peers.select(["gateway-wsgi@0"])
    assert gateway.arguments(python="p", app="a", port=1)[-2:] == ["--threads", "0"]
    with pytest.raises(ValueError, match="no server is called 'nothing'"):
        peers.select(["nothing"])


def test_workloads_are_selected_by_key() -> None:
    assert [workload.key for workload in workloads.select(["W3", "W1"])] == ["W1", "W3w", "W3a"]
    with pytest.raises(ValueError, match="no workload is called 'W99'"):
        workloads.select(["W99"])


def test_names_are_unique() -> None:
    assert len({peer.name for peer in peers.PEERS}) == len(peers.PEERS)
    assert len({workload.key for workload in workloads.WORKLOADS}) == len(workloads.WORKLOADS)


def test_requests_are_well_formed() -> None:
    echo = workloads.select(["W4w"])[0]
    head, _, content = echo.request(close=True).partition(b"\r\n\r\n")
    assert content == echo.content == echo.body
    assert len(content) == 1024
    assert head.splitlines()[0] == b"POST / HTTP/1.1"
    assert b"Connection: close" in head
    browser = workloads.select(["W3a"])[0].request()
    assert len(browser.splitlines()) == 1 + 15 + 1
