"""Loading the application in the master, before any worker is forked (--preload)."""

from __future__ import annotations

import gc
import signal
import threading
from logging import Logger

from gateway.config.settings import Config
from gateway.loader import Loaded
from gateway.server.assembly import load_app
from gateway.server.worker import STOP_SIGNALS

from .signals import ignore
from .worker import terminate


def preload(config: Config, log: Logger) -> Loaded:
    """The application, ready to be shared. Raises AppLoadError; and Terminated: told to stop meanwhile."""
    for number in STOP_SIGNALS:
        signal.signal(number, terminate)
    try:
        loaded = load_app(None, config)
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, ignore)
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        log.warning(
            "The application has started threads while it was loaded (%s). They do not exist in the workers; start "
            "them in its lifespan startup or at the first request, or leave --preload out.",
            ", ".join(others),
        )
    # The collector would write into each object it looks at, and so copy every page for every worker.
    gc.collect()
    gc.freeze()
    return loaded
