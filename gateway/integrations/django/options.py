"""A configuration file of gateway's: what `GATEWAY = {...}` in Django's settings says.

`manage.py gateway` names it with --config, so that a reload reads the settings anew. The process that reads it is the
master, whose workers load the project themselves: what is imported here on the way is forgotten again, or they would
find it in the state it had at the first start.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from gateway.config.options import BY_NAME, find


def read() -> dict[str, Any]:
    """The setting GATEWAY. Raises what importing the settings raises."""
    before = set(sys.modules)
    try:
        settings = importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"])
        given = dict(getattr(settings, "GATEWAY", {}))
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]
    threads = BY_NAME["threads"]
    # A Python file that says nothing of threads is taken for one of gunicorn's, where that means one.
    return given if any(find(str(name)) is threads for name in given) else {**given, "threads": threads.default}


gateway = read()
