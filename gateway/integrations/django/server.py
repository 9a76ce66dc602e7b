"""The server behind `manage.py runserver`: what Django's own command expects of its `server_cls`."""

from __future__ import annotations

import asyncio
import logging
import socket
import socketserver
from datetime import datetime
from typing import Any

from ...config.settings import Config
from ...log import ERROR_LOGGER, Loggers, text_of
from ...server.server import Server
from ...server.worker import loop_factory

THREADS = 8
"""For synchronous views; one with --nothreading."""

LINE = '"%(r)s" %(s)s %(B)s'
"""An access line, as Django's development server has it."""

logger = logging.getLogger("django.server")


class DevelopmentServer:
    """Listens at `address`, a host and port, as soon as it is made. Raises OSError.

    Django makes a class of this one and ThreadingMixIn, unless it is told --nothreading; here that is but a word.
    """

    def __init__(self, address: tuple[str, int], handler_class: object, ipv6: bool = False) -> None:
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self.socket = socket.create_server(address, family=family, backlog=128)
        self.server_port: int = self.socket.getsockname()[1]
        self.app: Any = None

    def set_app(self, app: Any) -> None:
        """What `Command.get_handler` has made."""
        self.app = app

    def serve_forever(self) -> None:
        """Serve until the process ends, or until Ctrl+C, which is raised."""
        threads = THREADS if isinstance(self, socketserver.ThreadingMixIn) else 1
        # What takes an hour with a debugger in it takes an hour.
        config = Config(threads=threads, access_log_format=LINE, limit_upload_rate=0, graceful_timeout=1)
        loggers = Loggers(logging.getLogger(ERROR_LOGGER), log_line)
        try:
            server = Server(self.app, config, sockets=[self.socket], loggers=loggers)
            with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
                runner.run(server.serve())
        finally:
            self.socket.close()


def log_line(data: bytes) -> None:
    """Hand an access line to Django's logger, which colours it by its status and says when."""
    line = text_of(data).rstrip("\n")
    status = line.rpartition('" ')[2].partition(" ")[0]
    code = int(status) if status.isdigit() else 0
    level = logging.ERROR if code >= 500 else logging.WARNING if code >= 400 else logging.INFO
    now = datetime.now().astimezone().strftime("%d/%b/%Y %H:%M:%S")
    logger.log(level, "%s", line, extra={"status_code": code, "server_time": now})
