"""`manage.py gateway` and `manage.py runserver`, in a project as `django-admin startproject` makes it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .harness import WAIT, Program, free_port
from .wsclient import WebSocket

pytest.importorskip("django")

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SETTINGS = """
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "only for tests"
DEBUG = True
INSTALLED_APPS = ["gateway.integrations.django", "django.contrib.staticfiles"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "assets"]
DATABASES = {}
"""
URLS = """
import threading
from django.http import HttpResponse
from django.urls import path

def sync(request):
    return HttpResponse(f"one {type(request).__name__} {threading.current_thread().name}")

async def asynchronous(request):
    return HttpResponse(f"one {type(request).__name__}")

def error(request):
    raise ZeroDivisionError("the view's own")

urlpatterns = [path("sync", sync), path("async", asynchronous), path("error", error)]
"""
ENTRY = """
import os
from django.core.{kind} import get_{kind}_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_{kind}_application()
"""


class Command(Program):
    """`manage.py ...`."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        # Ctrl+C goes to all of them, the reloader's child as well.
        super().__init__([sys.executable, "manage.py", *arguments], folder, env, session=True)

    @property
    def url(self) -> str:
        return self.wait_for(r"(?:Listening at:|development server at) (http://127\.0\.0\.1:\d+)")[-1][1]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=WAIT)

    def until(self, path: str, text: str) -> httpx.Response:
        """Ask until the answer has `text`: a reload takes its time, and so may the server that it begins with."""
        end = time.monotonic() + 2 * WAIT
        while True:
            try:
                answer = self.get(path)
                if text in answer.text:
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, f"no {text!r}"
            time.sleep(0.1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "manage.py").write_text(MANAGE)
    package = tmp_path / "mysite"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "settings.py").write_text(SETTINGS)
    (package / "urls.py").write_text(URLS)
    for kind in ("wsgi", "asgi"):
        (package / f"{kind}.py").write_text(ENTRY.format(kind=kind))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "style.css").write_text("body {}")
    return tmp_path


@pytest.fixture
def manage(project: Path) -> Iterator[Any]:
    started: list[Command] = []

    def start(*arguments: str, **env: str) -> Command:
        command = Command(project, *arguments, **env)
        started.append(command)
        return command

    yield start
    for command in started:
        if command.process.poll() is None:
            os.killpg(command.process.pid, signal.SIGKILL)
        command.code()
        print(command.log)


def test_gateway(manage: Any, project: Path) -> None:
    with (project / "mysite" / "settings.py").open("a") as file:
        file.write('\nGATEWAY = {"threads": 3, "header": ["X-From: settings"], "bind": "127.0.0.1:0"}\n')
    server = manage("gateway", GATEWAY_THREADS="2")
    assert server.get("/sync").text.startswith("one WSGIRequest gateway-thread-")
    answer = server.get("/async")
    assert (answer.text, answer.headers["x-from"]) == ("one ASGIRequest", "settings")
    # The environment is stronger than the settings.
    assert "interface: django" in server.log and "threads 2" in server.log
    assert server.end() == 0


@pytest.mark.parametrize(("interface", "request_class"), [("wsgi", "WSGIRequest"), ("asgi", "ASGIRequest")])
def test_gateway_by_one_entry_point(manage: Any, interface: str, request_class: str) -> None:
    server = manage("gateway", "--bind", "127.0.0.1:0", "--interface", interface)
    assert "as under gunicorn" not in server.url + server.log
    assert request_class in server.get("/sync").text
    assert request_class in server.get("/async").text


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no signals")
def test_gateway_reloads_all_of_it(manage: Any, project: Path) -> None:
    settings = project / "mysite" / "settings.py"
    server = manage("gateway", "--bind", "127.0.0.1:0")
    assert "one" in server.get("/sync").text
    (project / "mysite" / "urls.py").write_text(URLS.replace('f"one', 'f"another'))
    settings.write_text(SETTINGS + '\nGATEWAY = {"header": ["X-From: settings"]}\n')
    server.process.send_signal(signal.SIGHUP)
    assert server.until("/sync", "another").headers["x-from"] == "settings"


def test_gateway_says_what_is_wrong(manage: Any, project: Path) -> None:
    command = manage("gateway", "--wrokers", "2")
    assert command.code() == 2
    assert command.log == "gateway: error: there is no option --wrokers; did you mean --workers?\n"
    settings = project / "mysite" / "settings.py"
    settings.write_text(SETTINGS + '\nGATEWAY = {"wrokers": 2}\n')
    command = manage("gateway")
    assert command.code() == 2
    assert command.log.startswith("gateway: error: mysite.settings: GATEWAY: there is no option 'wrokers'")
    for value, words in (
        ('{"workers": "two"}', "GATEWAY: workers: expected a whole number, not 'two'\n"),
        ('["workers"]', "GATEWAY: expected a dict of options, as in {\"workers\": 4}, not ['workers']\n"),
        ("None", 'GATEWAY: expected a dict of options, as in {"workers": 4}, not None\n'),
    ):
        settings.write_text(SETTINGS + f"\nGATEWAY = {value}\n")
        command = manage("gateway")
        assert command.code() == 2
        assert command.log == f"gateway: error: mysite.settings: {words}"
    # What Django's system checks find is found before anything is served.
    settings.write_text(SETTINGS + '\nSTATICFILES_DIRS = "x"\n')
    command = manage("gateway")
    assert command.code() == 1
    assert "staticfiles.E001" in command.log
    command = manage("gateway", "--skip-checks", "--check-config", "-v", "2", "--settings=mysite.settings")
    assert command.code() == 0


def test_runserver(manage: Any, project: Path) -> None:
    server = manage("runserver", "0", "--noreload")
    assert server.get("/sync").text.startswith("one WSGIRequest gateway-thread-")
    assert server.get("/async").text == "one ASGIRequest"
    assert server.get("/static/style.css").text == "body {}"
    assert "ZeroDivisionError" in server.get("/error").text
    server.wait_for(r'\] "GET /static/style.css HTTP/1.1" 200 7\n')
    server.wait_for(r'\] "GET /error HTTP/1.1" 500 \d+\n')
    assert "Performing system checks..." in server.log
    assert "Starting gateway WSGI and ASGI development server at" in server.log
    assert "Quit the server with CONTROL-C" in server.log
    # As Django's own does it.
    assert server.end(signal.SIGINT) == 0
    assert "Traceback (most recent call last):\n" not in server.log.rpartition('"GET /error')[2]


def test_runserver_options(manage: Any) -> None:
    server = manage("runserver", "0", "--noreload", "--nostatic", "--nothreading", "--interface", "wsgi")
    assert server.get("/static/style.css").status_code == 404
    assert server.get("/async").text == "one WSGIRequest"
    assert server.get("/sync").text.endswith("gateway-thread-1")
    assert "Starting gateway WSGI development server" in server.log


def test_runserver_where_the_port_is_taken(manage: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = manage("runserver", str(taken.getsockname()[1]), "--noreload")
        assert command.code() == 1
    assert "Error: That port is already in use." in command.log


def test_runserver_reloads(manage: Any, project: Path) -> None:
    server = manage("runserver", str(free_port()))
    assert "one" in server.until("/sync", "WSGIRequest").text
    urls = project / "mysite" / "urls.py"
    urls.write_text(URLS.replace('f"one', 'f"another'))
    # The reloader compares times of modification.
    os.utime(urls, (time.time() + 10, time.time() + 10))
    assert "another" in server.until("/sync", "another").text
    assert "changed, reloading" in server.log
    assert server.end(signal.SIGINT, group=True) == 0


def test_runserver_websocket(manage: Any, project: Path) -> None:
    settings = project / "mysite" / "settings.py"
    settings.write_text(SETTINGS + '\nASGI_APPLICATION = "mysite.routing.application"\n')
    (project / "mysite" / "routing.py").write_text(
        "from mysite.asgi import application as django\n"
        "async def application(scope, receive, send):\n"
        "    if scope['type'] != 'websocket':\n"
        "        return await django(scope, receive, send)\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    await send({'type': 'websocket.send', 'text': 'hi'})\n"
        "    await receive()\n"
    )
    server = manage("runserver", "0", "--noreload")
    host, _, port = server.url.removeprefix("http://").partition(":")
    with WebSocket((host, int(port))) as client:
        client.open("/ws")
        assert client.message() == "hi"
    assert server.get("/async").text == "one ASGIRequest"
