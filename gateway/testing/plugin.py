"""The pytest plugin: the fixture `gateway_server`.

Loaded by pytest at every start, in every project that has gateway installed; so it imports nothing before a test asks
for a server.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .process import RunningServer

_SERVERS = pytest.StashKey[list[tuple[str, Any]]]()


@pytest.fixture
def gateway_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningServer]]:
    """A function that starts a server and returns it when it listens; all of them are stopped after the test.

    `gateway_server("module:app", threads=4)` starts `python -m gateway` in a process of its own, on a free port of
    127.0.0.1; `gateway_server(app)` serves an object from a thread of this process. So it is with
    `mount=["/legacy=legacy.wsgi:app"]` and `mounts=[Mount("/legacy", app)]` in place of an application. Options are
    those of `gateway.Config`, by keyword; for a process there are `env`, `cwd` and `start_timeout` (seconds), too. What
    comes back has `url`, `host`, `port`, `process`, `logs` and `stop()`.

    The log of the servers is shown when the test fails.
    """
    started: list[tuple[str, RunningServer]] = []
    request.node.stash[_SERVERS] = started

    def start(app: Any = None, **options: Any) -> RunningServer:
        from .process import ServerProcess, ServerThread

        what = app if app is not None else options.get("mounts", options.get("mount"))
        targets = what if isinstance(what, (list, tuple)) and what else [what]
        make: Any = ServerProcess if all(isinstance(target, str) for target in targets) else ServerThread
        server: RunningServer = make(app, **options)
        started.append((what if isinstance(what, str) else repr(what), server))
        return server

    yield start
    errors = []
    for _, server in reversed(started):
        try:
            server.stop()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Show the servers' logs with a failure."""
    report = yield
    if report.failed:
        for name, server in item.stash.get(_SERVERS, ()):
            report.sections.append((f"gateway_server {name} {server.url}", server.logs))
    return report
