"""Views of both kinds, with no middleware and no database, so that what remains is the way to them."""

import asyncio
import time

from django.http import HttpRequest, HttpResponse
from django.urls import path


def _response() -> HttpResponse:
    return HttpResponse(b"Hello, World!", content_type="text/plain", headers={"Content-Length": "13"})


def sync_view(request: HttpRequest) -> HttpResponse:
    return _response()


def sync_sleep(request: HttpRequest) -> HttpResponse:
    time.sleep(0.01)
    return _response()


async def async_view(request: HttpRequest) -> HttpResponse:
    return _response()


async def async_sleep(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.01)
    return _response()


urlpatterns = [
    path("sync", sync_view),
    path("sync/sleep", sync_sleep),
    path("sync/<int:number>", lambda request, number: sync_view(request)),
    path("async", async_view),
    path("async/sleep", async_sleep),
]
