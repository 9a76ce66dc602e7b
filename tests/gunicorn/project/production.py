"""Named as python:project.production."""

import ssl
from dataclasses import dataclass

from .common import *  # noqa: F403


@dataclass
class Size:
    """Dataclasses look their own module up."""

    workers: int
    threads: int


size = Size(1, 4)
workers, threads = size.workers, size.threads
wsgi_app = "wsgi_probe:probe"
chdir = "."
pythonpath = "lib,more"
umask = 0o007
bind = ["unix:/tmp/gw-production.sock", "[::1]:8443"]
cert_reqs = ssl.CERT_REQUIRED
header_map = "refuse"
preload_app = True
proxy_protocol = False
logger_class = "gunicorn.glogging.Logger"
strip_header_spaces = True
