"""A headless Chromium, driven through its DevTools protocol; needs nothing but the `websockets` client."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from .harness import WAIT

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PATIENCE = 3 * WAIT
"""Seconds until the browser runs; it is a large program."""


class Navigated(AssertionError):
    """The page was replaced while it was asked."""


class Browser:
    """One browser with one page; a context manager. Skips the test where there is no Chromium."""

    def __init__(self, folder: Path) -> None:
        if PROGRAM is None:
            pytest.skip("Chromium is not installed")
        pytest.importorskip("websockets")
        self.command = [
            PROGRAM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
        ]
        self.stack = contextlib.ExitStack()
        self.session: str | None = None
        self.numbers = itertools.count(1)
        self.problems: list[str] = []
        """Uncaught exceptions of the page, and errors in its console."""

    def __enter__(self) -> Browser:
        from websockets.sync.client import connect

        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            address = self._address()
            self.devtools = self.stack.enter_context(
                connect(address, max_size=None, proxy=None, open_timeout=WAIT, compression=None)
            )
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.stack.close()
        self.process.kill()
        self.process.wait(WAIT)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _address(self) -> str:
        """Where it listens, which it says on stderr."""
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                return found[1]
        raise AssertionError(f"Chromium ended: {''.join(said[-20:])}")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and wait for its answer; events on the way are looked at."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.devtools.send(json.dumps(message))
        while True:
            answer = json.loads(self.devtools.recv(PATIENCE))
            if answer.get("id") == number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise Navigated(answer)
                assert "error" not in answer, answer
                return answer["result"]
            self._event(answer)

    def _event(self, event: dict[str, Any]) -> None:
        facts = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(facts["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.problems.append(json.dumps(facts["entry"]))

    def open(self, url: str, width: int = 1200, height: int = 1600) -> None:
        """Load a page in a window of that size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, by way of JSON."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, timeout: float = WAIT) -> Any:
        """Wait until the expression is true, on this page or on one that follows it. Returns its value."""
        end = time.monotonic() + timeout
        while True:
            with contextlib.suppress(Navigated):
                if value := self.evaluate(expression):
                    return value
                assert time.monotonic() < end, f"not within {timeout} s: {expression}; {self.problems}"
                self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)))")

    def screenshot(self, path: Path) -> None:
        """Of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
