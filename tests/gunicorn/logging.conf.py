"""Logging by a dict, hooks of every kind, and a worker class of one's own."""

import logging


class Worker:
    """What gunicorn's workers inherit from, as far as this goes."""


class MyUvicornWorker(Worker):
    CONFIG_KWARGS = {"loop": "asyncio"}


worker_class = MyUvicornWorker
bind = [":8000", "fd://3"]
capture_output = True
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler", "level": logging.DEBUG}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
statsd_host = "localhost:8125"
max_requests = 1000
max_requests_jitter = 50


class Counter:
    """A hook with a state."""

    def __init__(self):
        self.requests = 0

    def __call__(self, worker, req, environ, resp):
        self.requests += 1


post_request = Counter()
pre_request = lambda worker, req: worker.log.debug("%s %s", req.method, req.path)  # noqa: E731


def nworkers_changed(server, new_value, old_value=None):
    pass


def child_exit(*arguments):
    pass


def helper():
    raise AssertionError("nobody asked for this")
