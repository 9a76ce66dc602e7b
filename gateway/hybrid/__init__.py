"""Hybrid Django: for each request, which of a project's two entry points runs it.

A synchronous view is at home behind WSGI: one thread runs the middleware, the view and its queries, without a
hand-over. Behind ASGI each request would pay for several. An asynchronous view is at home behind ASGI, on the event
loop. One project has both, so the server loads both entry points and asks `Split` for every request.

What is certain: Django answers a request the same behind either entry point, since it adapts a view of one kind to the
other. So whatever `Split` says, the response is right, and only its cost is at stake. What it says is what Django will
find: the view that the project's URLconf resolves the path to, and whether that is a coroutine function.

Two things are known only when the request runs, and are then learned for the next ones: a URLconf that middleware sets
for a request (`request.urlconf`), and an asynchronous iterator that a synchronous view returns as its content.
"""

from .content import AsynchronousContent, SynchronousSide
from .split import Split, observe

__all__ = ["AsynchronousContent", "Split", "SynchronousSide", "observe"]
