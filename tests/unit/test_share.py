"""The board on which workers show how many connections they have."""

from __future__ import annotations

import os

import pytest

from gateway.server import share
from gateway.server.share import EMPTY, Board, Share


@pytest.fixture
def board() -> Board:
    return Board()


def shares(board: Board, *connections: int) -> list[Share]:
    result = []
    for number in connections:
        one = Share(board, board.take())
        one.connections = lambda number=number: number
        one.show()
        result.append(one)
    return result


def test_alone_there_is_nothing_to_share(board: Board) -> None:
    (one,) = shares(board, 1000)
    assert one.allowance(64) == 64


@pytest.mark.parametrize(
    ("own", "other", "allowed"), [(0, 0, 2), (1, 0, 1), (2, 0, 0), (9, 0, 0), (0, 9, 11), (0, 100, 64), (100, 100, 25)]
)
def test_nobody_gets_far_ahead(board: Board, own: int, other: int, allowed: int) -> None:
    one, _ = shares(board, own, other)
    assert one.allowance(64) == allowed


def test_who_does_not_accept_or_turn_does_not_count(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = shares(board, 10, 0, 4)
    assert one.allowance(64) == 0
    two.leave()
    assert board.least(one.row) == 4
    now = share.time.monotonic()
    monkeypatch.setattr(share.time, "monotonic", lambda: now + 2 * share.STALE)
    assert board.least(one.row) == EMPTY
    three.show()
    assert board.least(one.row) == 4
    board.free(three.row)
    assert board.least(one.row) == EMPTY


def test_who_has_finished_stays_so(board: Board) -> None:
    (one,) = shares(board, 1)
    assert not board.left(one.row) and not board.finished(one.row)
    one.leave()
    assert board.left(one.row) and not board.finished(one.row)
    one.finish()
    one.leave()
    assert board.left(one.row) and board.finished(one.row)


def test_rows_are_used_again(board: Board) -> None:
    rows = [board.take() for _ in range(3)]
    board.free(rows[1])
    assert board.take() == rows[1]
    assert board.take() == 3


def test_rows_have_an_end(board: Board) -> None:
    for _ in range(share.ROWS):
        board.take()
    with pytest.raises(RuntimeError, match="no more than 4096 workers"):
        board.take()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_other_processes_see_it(board: Board) -> None:
    one, two = shares(board, 0, 0)
    pid = os.fork()
    if pid == 0:
        two.connections = lambda: 7
        two.show()
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.least(one.row) == 7
