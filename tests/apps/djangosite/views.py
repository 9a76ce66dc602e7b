"""Views of every kind that a server has to get right."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_required
from django.core.signals import request_finished, request_started
from django.db import connection, transaction
from django.dispatch import receiver
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseForbidden,
    HttpResponseNotAllowed,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie

from .models import Note

counts = {"started": 0, "finished": 0}


@receiver(request_started)
def count_started(**kwargs: Any) -> None:
    counts["started"] += 1


@receiver(request_finished)
def count_finished(**kwargs: Any) -> None:
    counts["finished"] += 1


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"Hello, {request.GET.get('name', 'world')}!")


async def index_async(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse(f"Hello, {request.GET.get('name', 'world')}!")


def about(request: HttpRequest) -> HttpResponse:
    """What Django makes of the request."""
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "path_info": request.path_info,
            "full_path": request.get_full_path(),
            "uri": request.build_absolute_uri(),
            "host": request.get_host(),
            "port": request.get_port(),
            "secure": request.is_secure(),
            "remote": request.META.get("REMOTE_ADDR"),
            "content_type": request.content_type,
            "content_length": request.META.get("CONTENT_LENGTH", ""),
            "header": request.headers.get("X-Custom"),
            "cookies": request.COOKIES,
            "query": request.GET.dict(),
            "kind": type(request).__name__,
        }
    )


async def about_async(request: HttpRequest) -> HttpResponse:
    return about(request)


@csrf_exempt
def notes(request: HttpRequest) -> HttpResponse:
    """The ORM from a synchronous view."""
    if request.method == "POST":
        with transaction.atomic():
            note = Note.objects.create(text=request.POST["text"])
        return JsonResponse({"id": note.pk}, status=201)
    return JsonResponse({"notes": list(Note.objects.values_list("text", flat=True))})


@csrf_exempt
async def notes_async(request: HttpRequest) -> HttpResponse:
    """The ORM from an asynchronous view."""
    if request.method == "POST":
        note = await Note.objects.acreate(text=request.POST["text"])
        return JsonResponse({"id": note.pk}, status=201)
    return JsonResponse({"notes": [note.text async for note in Note.objects.all()]})


@ensure_csrf_cookie
def login_view(request: HttpRequest) -> HttpResponse:
    """A form with a CSRF token; sessions in the database."""
    if request.method == "POST":
        user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
        if user is None:
            return HttpResponseForbidden("wrong")
        login(request, user)
        return HttpResponse(f"welcome {user.get_username()}")
    return HttpResponse(get_token(request))


def logout_view(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("bye")


@login_required
def private(request: HttpRequest) -> HttpResponse:
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return JsonResponse({"user": request.user.get_username(), "visits": visits})


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """multipart/form-data: small files in memory, large ones in a temporary file."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    files = {}
    for name, file in request.FILES.items():
        digest = hashlib.sha256()
        for chunk in file.chunks():
            digest.update(chunk)
        files[name] = {
            "name": file.name,
            "size": file.size,
            "sha256": digest.hexdigest(),
            "kind": type(file).__name__,
        }
    return JsonResponse({"files": files, "fields": request.POST.dict()})


@csrf_exempt
def body(request: HttpRequest) -> HttpResponse:
    """The raw content, read as a stream."""
    digest, size = hashlib.sha256(), 0
    while data := request.read(50_000):
        digest.update(data)
        size += len(data)
    return JsonResponse({"size": size, "sha256": digest.hexdigest()})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(int(request.GET.get("n", 5))):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(int(request.GET.get("n", 5))):
            await asyncio.sleep(0)
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


def stream_mixed(request: HttpRequest) -> StreamingHttpResponse:
    """Asynchronous content of a synchronous view."""

    async def lines() -> AsyncIterator[str]:
        for number in range(int(request.GET.get("n", 5))):
            await asyncio.sleep(0)
            yield f"line {number} of {type(request).__name__}\n"
        while "endless" in request.GET:
            await asyncio.sleep(3600)

    return StreamingHttpResponse(lines(), content_type="text/plain")


def signals(request: HttpRequest) -> JsonResponse:
    """How many requests Django has begun and finished."""
    return JsonResponse(counts)


def file(request: HttpRequest) -> FileResponse:
    """FileResponse: wsgi.file_wrapper, or an asynchronous stream."""
    return FileResponse(open(os.environ["DJANGOSITE_HOME"] + "/file.bin", "rb"))


def redirect(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(status=302)
    response["Location"] = "/about"
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", httponly=True)
    return response


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def fails(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view failed on purpose")


async def fails_async(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view failed on purpose")


def database(request: HttpRequest) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 + 1")
        row: Any = cursor.fetchone()
    return JsonResponse({"sum": row[0]})
