"""The Date field that all responses share."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from gateway.backend import Backend


@pytest.mark.parametrize("moment", [0, 784111777, 951827696, 1_000_000_000, 1_735_689_599, 4_102_444_800])
def test_imf_fixdate(build: Backend, moment: int) -> None:
    assert build.http.service.imf_fixdate(moment) == formatdate(moment, usegmt=True).encode("ascii")


def test_imf_fixdate_as_the_rfc_shows_it(build: Backend) -> None:
    assert build.http.service.imf_fixdate(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
