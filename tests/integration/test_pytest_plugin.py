"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.harness import package_path

pytest_plugins = ["pytester"]

TIMEOUT = 120

APP = """
    import os

    async def app(scope, receive, send):
        if scope["type"] == "http":
            if scope["path"] == "/fail":
                raise ZeroDivisionError("the app's own")
            body = f"{os.getpid()} {os.environ.get('GREETING')} {scope['root_path']}".encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run the tests given, with the plugin named: it may be installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([package_path(), str(pytester.path)]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(serving=APP)

    def start(code: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=code)
        return pytester.runpytest_subprocess("-p", "gateway.testing.plugin", "-q", timeout=TIMEOUT)

    return start


def test_process(run: object) -> None:
    result = run(  # type: ignore[operator]
        """
        import os, urllib.request

        def read(server, path="/"):
            with urllib.request.urlopen(server.url + path, timeout=30) as answer:
                return answer.read().decode()

        def test_it(gateway_server):
            server = gateway_server("serving:app", threads=4, root_path="/r", env={"GREETING": "hi"})
            assert server.url == f"http://127.0.0.1:{server.port}" and server.host == "127.0.0.1"
            pid, greeting, root = read(server).split()
            assert (greeting, root) == ("hi", "/r")
            assert int(pid) != os.getpid()
            assert server.process.poll() is None
            assert "Listening at" in server.logs
            server.stop()
            assert server.returncode == 0
            server.stop()

        def test_two(gateway_server):
            first, second = gateway_server("serving:app"), gateway_server("serving:app", supervisor=False)
            assert first.port != second.port
            assert read(first) != read(second)
            keep.extend([first, second])

        keep = []

        def test_stopped():
            assert [server.returncode for server in keep] == [0, 0]
        """
    )
    result.assert_outcomes(passed=3)


def test_thread(run: object) -> None:
    result = run(  # type: ignore[operator]
        """
        import urllib.request

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"an object"]

        def test_it(gateway_server):
            server = gateway_server(application, threads=2)
            assert server.process is None
            with urllib.request.urlopen(server.url, timeout=30) as answer:
                assert answer.read() == b"an object"
        """
    )
    result.assert_outcomes(passed=1)


def test_mounts(run: object) -> None:
    """By target in a process, as objects in a thread."""
    result = run(  # type: ignore[operator]
        """
        import os, urllib.request
        import gateway
        from serving import app

        def read(server):
            with urllib.request.urlopen(server.url + "/in", timeout=30) as answer:
                pid, _, root = answer.read().decode().split()
            return int(pid) == os.getpid(), root

        def test_it(gateway_server):
            assert read(gateway_server(mount=["/in=serving:app", "/=serving:app"])) == (False, "/in")
            assert read(gateway_server(mount="/in=serving:app")) == (False, "/in")
            assert read(gateway_server(mounts=[gateway.Mount("/in", app)])) == (True, "/in")
            assert read(gateway_server([gateway.Mount("/in", app)])) == (True, "/in")
        """
    )
    result.assert_outcomes(passed=1)


def test_ipv6(run: object) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    result = run(  # type: ignore[operator]
        """
        import urllib.request
        from serving import app

        def test_it(gateway_server):
            for server in gateway_server(app, bind="[::1]:0"), gateway_server("serving:app", bind="[::1]:0"):
                assert (server.host, server.url) == ("::1", f"http://[::1]:{server.port}")
                urllib.request.urlopen(server.url, timeout=30).close()
        """
    )
    result.assert_outcomes(passed=1)


def test_log_of_a_failure(run: object) -> None:
    result = run(  # type: ignore[operator]
        """
        import urllib.request, urllib.error
        import pytest

        def test_it(gateway_server):
            server = gateway_server("serving:app")
            with urllib.request.urlopen(server.url + "/fail", timeout=30) as answer:
                pass

        def test_passes(gateway_server):
            server = gateway_server("serving:app")
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(server.url + "/fail", timeout=30)
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*gateway_server serving:app http://127.0.0.1:*", "*the app's own*"])
    assert result.stdout.str().count("Listening at") == 1


def test_server_that_does_not_start(run: object) -> None:
    result = run(  # type: ignore[operator]
        """
        import pytest
        from gateway.testing import ServerFailed

        def test_missing(gateway_server):
            with pytest.raises(ServerFailed, match="nowhere"):
                gateway_server("nowhere:app")

        def test_slow(gateway_server, tmp_path):
            (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
            with pytest.raises(ServerFailed, match="does not listen"):
                gateway_server("slow:app", cwd=tmp_path, start_timeout=1)

        def test_option(gateway_server):
            with pytest.raises(TypeError, match="thread"):
                gateway_server("serving:app", thread=4)
        """
    )
    result.assert_outcomes(passed=3)


def test_plugin_loads_nothing() -> None:
    """Every project that has gateway installed imports it at each start of pytest."""
    code = (
        "import sys, pytest; before = set(sys.modules); import gateway.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(package_path())
    )
    assert result.stdout.split() == ["gateway", "gateway._version", "gateway.testing", "gateway.testing.plugin"]
