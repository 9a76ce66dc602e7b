"""What benchmarks/ computes from its runs, and its tables of servers and workloads. No load here."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks import bars, chart, check, peers, report, soak, websocket, workloads
from benchmarks.apps import plain_asgi


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


def test_chart_has_a_bar_for_each_workload_that_ours_and_a_peer_did() -> None:
    result = make_result(
        make_run("ours", requests_per_second=1500.0),
        make_run("peer"),
        make_run("slow", requests_per_second=10.0),
        make_run("peer", "W2"),
    )
    result["workloads"] = {"W1": "hello", "W2": "only <a peer>"}
    root = ElementTree.fromstring(chart.svg(result))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 1
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[1:] == ["hello", "1.50 x peer"]


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
    assert [workload.key for workload in workloads.select(["W9"])] == ["W9t", "W9b", "W9i"]
    assert [workload.key for workload in workloads.select(["websocket"])] == ["W9t", "W9b", "W9zt", "W9zb", "W9i"]
    with pytest.raises(ValueError, match="no workload is called 'W99'"):
        workloads.select(["W99"])


def judged(bar: bars.Bar, *runs: dict[str, object], failures: tuple[dict[str, str], ...] = ()) -> bars.Verdict:
    """What becomes of one bar."""
    result = make_result(*runs, failures=failures)
    servers = {str(run["server"]) for run in runs} | {failure["server"] for failure in failures}
    result["servers"] = {name: {"role": "peer", "note": ""} for name in servers}
    result["workloads"] = {workload.key: workload.title for workload in workloads.WORKLOADS}
    rows = {(key, row.server): row for key in result["workloads"] for row in report.rows(result, key)}
    return bar.judge(rows)


FASTER = bars.Faster("W1", "gateway-wsgi", ("granian-wsgi",), 1.6)


def test_the_best_peer_decides_a_bar() -> None:
    runs = [
        make_run("gateway-wsgi", requests_per_second=1700.0),
        make_run("granian-wsgi@1", requests_per_second=500.0),
        make_run("granian-wsgi@4", requests_per_second=1000.0),
    ]
    verdict = judged(FASTER, *runs)
    assert (verdict.met, verdict.speed, verdict.remark) == (True, 1.7, "")
    assert verdict.peer.startswith("granian-wsgi@4 ")
    # A faster one that does not do the work is left out, and named.
    verdict = judged(FASTER, *runs[:2], make_run("granian-wsgi@4", requests_per_second=9000.0, counts=False))
    assert (verdict.met, verdict.speed, verdict.remark) == (True, 3.4, "granian-wsgi@4 does not do the work")


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        ({"foreign": 0.5}, "disturbed"),
        ({"client_cpu": 0.99}, "client-bound"),
        ({"requests_per_second": 5000.0}, "rounds differ"),
    ],
)
def test_cpu_decides_a_bar_where_requests_are_not_to_be_compared(noise: dict[str, float], reason: str) -> None:
    ours = [make_run("gateway-wsgi", cpu_us=5.0), make_run("gateway-wsgi", cpu_us=5.0) | noise]
    if "foreign" in noise:
        ours[0] |= noise
    verdict = judged(FASTER, *ours, make_run("granian-wsgi@1", requests_per_second=9000.0))
    assert (verdict.met, verdict.cpu) == (True, 2.0)
    assert verdict.remark == f"by CPU: {reason}; granian-wsgi@4 not measured"


def test_a_bar_without_our_figure_is_neither_met_nor_missed() -> None:
    failure = {"workload": "W1", "server": "gateway-wsgi", "reason": "ended with 2: --threads"}
    verdict = judged(FASTER, make_run("granian-wsgi@1"), failures=(failure,))
    assert (verdict.met, verdict.remark) == (None, "gateway-wsgi fails: ended with 2: --threads")
    assert judged(FASTER, make_run("gateway-wsgi")).met is None


def test_other_kinds_of_bars() -> None:
    ours, limit = make_run("gateway-asgi", "W2", cpu_us=6.0), make_run("limit-c", "W2", cpu_us=3.5)
    above = bars.AtMost(
        "above", ("W2", "gateway-asgi"), lambda row, others: row.cpu - others[0].cpu, 2.6, "us", (("W2", "limit-c"),)
    )
    assert (judged(above, ours, limit).met, judged(above, ours, limit).ours) == (True, "2.5 us")
    assert judged(above, ours).met is None

    alike = bars.Alike("loops", ("W2", "gateway-asgi-stock"), ("W2", "gateway-asgi"), 0.95)
    stock = make_run("gateway-asgi-stock", "W2", requests_per_second=940.0)
    assert judged(alike, ours, stock).met is False

    below = bars.Below("start", "W13a", "gateway-asgi", ("uvicorn",), lambda row: row.p50, "ms", 0.7)
    started = make_run("gateway-asgi", "W13a", p50_ms=69.0)
    assert judged(below, started, make_run("uvicorn", "W13a", p50_ms=100.0)).met is True
    assert judged(below, started, make_run("uvicorn", "W13a", p50_ms=90.0)).met is False
    by_cpu = replace(below, disturbed=lambda row: row.cpu)
    runs = [run | {"foreign": 0.5} for run in (started | {"cpu_us": 6.0}, make_run("uvicorn", "W13a", p50_ms=90.0))]
    assert judged(by_cpu, *runs).met is True


def test_bars_name_what_there_is() -> None:
    known = {peer.name for peer in peers.PEERS}
    keys = {workload.key: workload for workload in workloads.WORKLOADS}
    for key, server in bars.pairs():
        assert server in known
        (peer,) = (peer for peer in peers.PEERS if peer.name == server)
        assert peer.interface in (keys[key].interface, None)
        assert peer.words(websocket=keys[key].websocket, deflate=keys[key].deflate) is not None


def test_what_a_soak_complains_about() -> None:
    own = 'Traceback (most recent call last):\n  File "a", line 1\n    f()\nsoak_asgi.Deliberate\n'
    foreign = own.replace("soak_asgi.Deliberate", "KeyError: 1")
    assert soak.complaints("Invalid HTTP request received. (1.2.3.4)\n" + own) == []
    assert soak.complaints(own + foreign) == ["traceback: KeyError: 1"]
    assert soak.complaints("12:00 [error] Internal error: opening a connection failed\n" + own) != []


def test_what_a_soak_takes_for_growth() -> None:
    def samples(*rss: float, descriptors: int = 9) -> list[soak.Sample]:
        return [soak.Sample(value, descriptors, 2) for value in rss]

    assert soak.growth(samples(20, 25, 30, 31, 30, 31, 31, 30, 31)) == []
    assert soak.growth(samples(20, 25, 30, 31, 31, 31, 34, 34, 34)) == ["rss grew from 31.0 to 34.0"]
    assert soak.growth(samples(1, 1, 1, 1) + samples(1, 1, descriptors=90)) == ["descriptors grew from 9.0 to 90.0"]


def test_the_readme_gets_what_is_between_its_marks() -> None:
    text = "a\n<!-- benchmarks:begin -->\nold\n<!-- benchmarks:end -->\nb\n"
    result = make_result(make_run("gateway-wsgi"), make_run("granian-wsgi@1"))
    result["servers"] = {"gateway-wsgi": {"role": "ours"}, "granian-wsgi@1": {"role": "peer"}}
    made = command.readme(text, result)
    assert made.startswith("a\n<!-- benchmarks:begin -->\n![")
    assert made.endswith("</details>\n<!-- benchmarks:end -->\nb\n")
    assert "old" not in made
    assert command.readme(made, result) == made
    assert command.readme(command.README.read_text(), result) != ""


def test_names_are_unique() -> None:
    assert len({peer.name for peer in peers.PEERS}) == len(peers.PEERS)
    assert len({workload.key for workload in workloads.WORKLOADS}) == len(workloads.WORKLOADS)


def test_servers_get_the_words_for_a_load() -> None:
    (uvicorn,) = peers.select(["uvicorn"])
    assert uvicorn.words() == " --ws none"
    assert uvicorn.words(websocket=True) == uvicorn.words(websocket=True, deflate=True) == " --ws websockets-sansio"
    (granian,) = peers.select(["granian-asgi"])
    assert (granian.words(websocket=True), granian.words(websocket=True, deflate=True)) == (" --ws", None)
    (socketify,) = peers.select(["socketify-asgi"])
    assert socketify.words(websocket=True, deflate=True) == " --ws-per-message-deflate True"
    (wsgi,) = peers.select(["granian-wsgi@1"])
    assert wsgi.words(websocket=True) is None
    assert peers.configured(wsgi, " --more", 16).arguments(bin="b", app="a", port=1)[-3:] == [
        "--blocking-threads",
        "16",
        "--more",
    ]


@pytest.mark.parametrize(
    ("key", "expected"), [("W2", "gateway-asgi uvicorn"), ("W9t", "gateway-asgi uvicorn hypercorn")]
)
def test_a_round_has_the_servers_that_can_do_it(key: str, expected: str) -> None:
    servers = peers.select(["gateway-wsgi-inline", "gateway-asgi", "uvicorn", "hypercorn"])
    servers = [peer for peer in servers if peer.name != "gateway-asgi-stock"]
    found = [peer for _, peer in command.pairs(servers, workloads.select([key]), 0, None)]
    assert [peer.name for peer in found] == expected.split()
    assert found[1].command.endswith("--ws websockets-sansio" if key == "W9t" else "--ws none")


def test_requests_are_well_formed() -> None:
    echo = workloads.select(["W4w"])[0]
    head, _, content = echo.request(close=True).partition(b"\r\n\r\n")
    assert content == echo.content == echo.body
    assert len(content) == 1024
    assert head.splitlines()[0] == b"POST / HTTP/1.1"
    assert b"Connection: close" in head
    browser = workloads.select(["W3a"])[0].request()
    assert len(browser.splitlines()) == 1 + 15 + 1


def test_websocket_messages() -> None:
    for workload in workloads.select(["websocket"]):
        messages = workload.messages()
        assert messages == workload.messages()
        assert messages.isascii()
        parts = [messages[start : start + workload.size] for start in range(0, len(messages), workload.size)]
        assert len(set(parts)) == len(parts) >= 64
        assert len(parts[-1]) == workload.size
        head = workload.request().decode("ascii")
        assert "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " in head
        assert ("permessage-deflate" in head) is workload.deflate is ("z" in workload.key)
    # Neither constant nor noise: a fifth to a half is left of it.
    assert 5 > len(messages) / len(zlib.compress(messages)) > 2


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_of_the_client(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    made = websocket.frame(0x82, payload)
    skip = 2 if size < 126 else 4 if size < 65536 else 10
    assert made[:2] == bytes([0x82, 0x80 | (size if size < 126 else 126 if size < 65536 else 127)])
    assert int.from_bytes(made[2:skip], "big") == (size if skip > 2 else 0)
    key, masked = made[skip : skip + 4], made[skip + 4 :]
    assert bytes(byte ^ key[index % 4] for index, byte in enumerate(masked)) == payload


def unmasked(client: socket.socket) -> bytes:
    """What a server would answer to the next (small) frame, were it to echo it."""
    head = client.recv(2, socket.MSG_WAITALL)
    key = client.recv(4, socket.MSG_WAITALL)
    masked = client.recv(head[1] & 0x7F, socket.MSG_WAITALL)
    return bytes([head[0], head[1] & 0x7F]) + bytes(byte ^ key[index % 4] for index, byte in enumerate(masked))


@contextlib.contextmanager
def server(conversation: Callable[[socket.socket], None], extensions: str = "") -> Iterator[int]:
    """A port where one WebSocket is accepted, and `conversation` then speaks."""

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.settimeout(10)
            received = b""
            while not received.endswith(b"\r\n\r\n"):
                received += client.recv(65536)
            client.sendall(
                f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {workloads.ACCEPT}\r\n{extensions}\r\n".encode()
            )
            # The client hangs up at what it does not like.
            with contextlib.suppress(OSError, IndexError):
                conversation(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


def right(client: socket.socket) -> None:
    """Echo, answer pings and the goodbye."""
    while (answer := unmasked(client))[0] != 0x88:
        client.sendall(b"\x8a" + answer[1:] if answer[0] == 0x89 else answer)
    client.sendall(answer)


def changed(change: Callable[[bytes], bytes]) -> Callable[[socket.socket], None]:
    """Echo, changed."""

    def converse(client: socket.socket) -> None:
        while True:
            client.sendall(change(unmasked(client)))

    return converse


@pytest.mark.parametrize("key", ["W9t", "W9zt"])
def test_a_right_server_passes_the_websocket_check(key: str) -> None:
    (workload,) = workloads.select([key])
    with server(right, "Sec-WebSocket-Extensions: permessage-deflate\r\n" * workload.deflate) as port:
        assert check.check(port, peers.PEERS[0], workload).notes == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda frame: frame[:-1] + b"!", "wrong message: 0x81 and 32 bytes"),
        (lambda frame: b"\x82" + frame[1:], "wrong message: 0x82"),
        (lambda frame: b"\x01" + frame[1:], "begins with 0x01 instead of a message"),
        (lambda frame: b"\xc1" + frame[1:], "a compressed message that was not agreed to"),
        (lambda frame: frame[:1] + b"\xa0" + b"key!" + frame[2:], "a masked frame"),
        (lambda frame: frame if frame[0] == 0x81 else b"\x89" + frame[1:], "a ping is not answered"),
    ],
)
def test_the_websocket_check_notices(change: Callable[[bytes], bytes], complaint: str) -> None:
    (workload,) = workloads.select(["W9t"])
    with server(changed(change)) as port, pytest.raises(check.CheckError, match=complaint):
        check.check(port, peers.PEERS[0], workload)


def test_the_websocket_check_notices_what_was_not_agreed() -> None:
    (workload,) = workloads.select(["W9zt"])
    with server(right) as port, pytest.raises(check.CheckError, match="was not agreed to"):
        check.check(port, peers.PEERS[0], workload)


def test_what_an_idle_websocket_takes_of_its_own() -> None:
    shared = {"version": "3.0"}

    def scope() -> dict[str, object]:
        # Sizes that the allocator does not round up, which tracemalloc does not see.
        headers = [(b"a-field-name-%02d" % number, bytes(95 + 16 * number)) for number in range(10)]
        return {"type": "websocket", "asgi": shared, "headers": headers, "state": {}}

    plain_asgi.SCOPES[:] = [scope()]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [(one := scope(), plain_asgi.websocket_idle(one, None, None)) for _ in range(4000)]
        each = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()
    try:
        assert plain_asgi.weight(kept[0][0]) == pytest.approx(each, rel=0.05)
    finally:
        for _, coroutine in kept:
            coroutine.close()
