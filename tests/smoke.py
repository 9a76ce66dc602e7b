"""Is an installed gateway whole? `python tests/smoke.py [_speedups|core]`

Starts the installed server on the demo application, fetches one ASGI and one WSGI route and stops it. Needs nothing
but gateway and the standard library, so that it can try a wheel in an empty environment. The argument is the build
that must be in use. Exit code 0 when all is well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request

WAIT = 30.0
"""Seconds to start, and to answer."""


def fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=WAIT) as response:
        return f"{response.status} {response.headers['content-type']}"


def main(expected: str | None) -> int:
    from gateway import __version__, backend

    print(f"gateway {__version__}, {backend.current.describe()}, from {os.path.dirname(backend.__file__)}")
    if expected and backend.current.name != expected:
        print(f"FAILED: {backend.current.name} is in use, not {expected}")
        return 1
    command = [sys.executable, "-m", "gateway", "gateway.demo:app", "--bind", "127.0.0.1:0"]
    # Elsewhere than in a checkout, whose `gateway` folder would be imported in place of the installed package.
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        watchdog = threading.Timer(WAIT, process.kill)
        watchdog.start()
        try:
            assert process.stderr is not None
            for line in process.stderr:
                print(line, end="")
                if found := re.search(r"Listening at: (http://\S+)", line):
                    for path in ("/", "/asgi", "/wsgi"):
                        print(path, fetch(found[1] + path))
                    return 0
            print(f"FAILED: it ended with exit code {process.wait()}")
            return 1
        finally:
            watchdog.cancel()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd(), os.path.dirname(__file__))]
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
