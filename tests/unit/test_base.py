"""What the joints of the request path do themselves."""

from __future__ import annotations

import pytest

from gateway.backend import Backend


class Example:
    def method(self, number: int) -> tuple[object, int]:
        return self, number


def test_bind(build: Backend) -> None:
    bind = build.module("kernels.base").bind
    example = Example()
    bound = bind(Example.method, example)
    assert bound(5) == (example, 5)
    assert bound.__self__ is example
    task = build.module("kernels.base").Task
    responder = task.__new__(task)
    assert bind(vars(task)["run"], responder).__self__ is responder
    with pytest.raises(TypeError):
        bind(5, example)
