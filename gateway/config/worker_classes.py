"""The worker classes that gunicorn users pass to -k, and what they stand for here."""

from __future__ import annotations

# The interface of each, by its name in lower case.
WORKER_CLASSES = {
    "sync": "wsgi",
    "gunicorn.workers.sync.syncworker": "wsgi",
    "gthread": "wsgi",
    "thread": "wsgi",
    "gunicorn.workers.gthread.threadworker": "wsgi",
    "gevent": "wsgi",
    "gevent_wsgi": "wsgi",
    "gevent_pywsgi": "wsgi",
    "gunicorn.workers.ggevent.geventworker": "wsgi",
    "eventlet": "wsgi",
    "gunicorn.workers.geventlet.eventletworker": "wsgi",
    "tornado": "wsgi",
    "gunicorn.workers.gtornado.tornadoworker": "wsgi",
    "meinheld.gmeinheld.meinheldworker": "wsgi",
    "egg:meinheld#gunicorn_worker": "wsgi",
    "asgi": "asgi",
    "gunicorn.workers.gasgi.asgiworker": "asgi",
    "uvicorn.workers.uvicornworker": "asgi",
    "uvicorn.workers.uvicornh11worker": "asgi",
    "uvicorn_worker.uvicornworker": "asgi",
    "uvicorn_worker.uvicornh11worker": "asgi",
    "gateway.integrations.gunicorn.gatewayworker": "auto",
    "gateway.integrations.gunicorn.gatewayasgiworker": "asgi",
    "gateway.integrations.gunicorn.gatewaywsgiworker": "wsgi",
}

# Those that serve one request at a time, which an application may count on.
ONE_AT_A_TIME = frozenset(("sync", "gunicorn.workers.sync.syncworker"))


def worker_interface(name: str) -> str | None:
    """The interface that gunicorn's worker class `name` serves, or None for one that isn't known."""
    name = name.lower()
    # A class of the user's own, made to change how uvicorn is set up.
    if name.endswith(("uvicornworker", "uvicornh11worker")):
        return "asgi"
    return WORKER_CLASSES.get(name)
