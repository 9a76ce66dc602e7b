"""Django with no middleware and no database: a sync view through WSGI, an async view through ASGI."""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(DEBUG=False, SECRET_KEY="benchmark", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)


def _response() -> HttpResponse:
    response = HttpResponse(b"Hello, World!", content_type="text/plain; charset=utf-8")
    response["Content-Length"] = "13"
    return response


def sync_view(request: HttpRequest) -> HttpResponse:
    return _response()


async def async_view(request: HttpRequest) -> HttpResponse:
    return _response()


urlpatterns = [path("sync", sync_view), path("async", async_view)]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
