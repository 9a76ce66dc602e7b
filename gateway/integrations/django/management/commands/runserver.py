"""`manage.py runserver`, served by gateway: everything else is Django's own command."""

from __future__ import annotations

import io
import re
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management.base import OutputWrapper
from django.utils.module_loading import import_string

from gateway.loader import LoadedApp, LoadedProject

from ...server import DevelopmentServer

if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
    from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
else:
    from django.core.management.commands.runserver import Command as RunserverCommand


class Command(RunserverCommand):  # type: ignore[misc]
    """Serves both of the project's entry points: synchronous views in threads, others and WebSockets on a loop."""

    server_cls = DevelopmentServer
    stdout: Any

    def add_arguments(self, parser: Any) -> None:
        """Django's, and which entry point to serve."""
        super().add_arguments(parser)
        parser.add_argument(
            "--interface",
            choices=["auto", "wsgi", "asgi"],
            default="auto",
            help="Which entry point serves; auto takes WSGI for synchronous views and ASGI for everything else.",
        )

    def get_handler(self, *args: Any, **options: Any) -> LoadedApp | LoadedProject:
        """The entry points that are served, with static files in front of them where Django would have them there."""
        interface = options.get("interface", "auto")
        self.kind = {"wsgi": "WSGI", "asgi": "ASGI"}.get(interface, "WSGI and ASGI")
        handler = super().get_handler(*args, **options)
        wsgi = LoadedApp(handler, "wsgi", "wsgi", settings.WSGI_APPLICATION or "get_wsgi_application")
        if interface == "wsgi":
            return wsgi
        name = getattr(settings, "ASGI_APPLICATION", None)
        application = import_string(name) if name else get_asgi_application()
        if getattr(handler, "handles_files", False):
            application = ASGIStaticFilesHandler(application)
        asgi = LoadedApp(application, "asgi", "asgi3", name or "get_asgi_application")
        return asgi if interface == "asgi" else LoadedProject(wsgi, asgi, settings.ROOT_URLCONF)

    def on_bind(self, server_port: int) -> None:
        """Django's words, but for those that are not so."""
        stdout, text = self.stdout, io.StringIO()
        self.stdout = OutputWrapper(text)
        try:
            super().on_bind(server_port)
        finally:
            self.stdout = stdout
        words = r"Starting (?:\w+ )?development server"
        stdout.write(re.sub(words, f"Starting gateway {self.kind} development server", text.getvalue()), ending="")
