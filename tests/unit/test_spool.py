"""Spool: content comes out as it went in, from memory or from a file."""

from __future__ import annotations

import pytest

from gateway.backend import Backend


@pytest.mark.parametrize("limit", [0, 1000, 10_000_000])
@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 600_000])
def test_what_goes_in_comes_out(build: Backend, size: int, limit: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    spool = build.module("wsgi.spool").Spool(limit)
    for start in range(0, size, 70_000):
        assert spool.write(content[start : start + 70_000]) == 0
    read = []
    while piece := spool.read():
        read.append(piece)
    assert b"".join(read) == content
    assert spool.read() == b""
    spool.close()


def test_more_than_the_limit_is_in_a_file(build: Backend) -> None:
    spool = build.module("wsgi.spool").Spool(10)
    spool.write(b"x" * 11)
    assert spool.read() == b"x" * 11
    assert spool.close() == 0
    with pytest.raises(ValueError, match="closed"):
        spool.read()
