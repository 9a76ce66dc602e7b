"""Applications of one interface as applications of the other, on any server: WSGIToASGI and ASGIToWSGI."""

from .asgi_to_wsgi import ASGIToWSGI
from .wsgi_to_asgi import WSGIToASGI

__all__ = ["ASGIToWSGI", "WSGIToASGI"]
