"""How an application under test tells what it saw: one JSON line on stderr, which the harness waits for."""

from __future__ import annotations

import json
import os
from typing import Any


def report(event: str, **facts: Any) -> None:
    """Tell of `event`. One write, so that lines of threads don't mix."""
    line = "@event " + json.dumps({"event": event, **facts}) + "\n"
    os.write(2, line.encode("utf-8"))
