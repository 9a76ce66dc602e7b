"""``python -m gateway``, and the command ``gateway``.

A server that is told to stop while it is still being imported stops as asked, with exit code 0.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

OTHERS = frozenset(("ctl", "migrate", "top", "--check-config", "--daemon", "--help", "--version", "-D", "-h", "-v"))
"""What else the command may be told to do: an end before that is done is no success."""


def main() -> int:
    """Run the command line of the process. Returns the exit code."""
    if OTHERS.isdisjoint(sys.argv[1:]) and not any(text.startswith("--print-config") for text in sys.argv[1:]):
        signal.signal(signal.SIGTERM, stop)
    from gateway.cli import main

    return main()


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Until whoever serves has handlers of its own."""
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
