"""Responses of a project's WSGI entry point whose content turns out to be asynchronous."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from gateway.errors import ClientDisconnected

from .split import Split

LOOK_TIME = 1.0
"""Seconds between two looks at whether the client is still there, while its next part is awaited."""


class SynchronousSide:
    """The project's WSGI entry point, whose responses may turn out to have asynchronous content.

    Behind WSGI alone, Django would collect all of that before the first byte is sent, an endless stream for ever. Here
    there is an event loop to produce it on, part by part.
    """

    def __init__(self, app: Callable[..., Any], split: Split, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.split = split
        self.loop = loop

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        response = self.app(environ, start_response)
        if not (getattr(response, "streaming", False) and getattr(response, "is_async", False)):
            return response
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        self.split.learn_streaming(path, environ.get("HTTP_HOST", ""))
        return AsynchronousContent(response, self.loop, environ.get("gateway.client_disconnected"))


class AsynchronousContent:
    """A response's asynchronous content, as the iterable that WSGI wants: each part is produced on `loop`.

    `disconnected` tells whether the client has gone, where that is known. Called by a thread other than the loop's.
    """

    def __init__(
        self, response: Any, loop: asyncio.AbstractEventLoop, disconnected: Callable[[], bool] | None = None
    ) -> None:
        self._response = response
        self._loop = loop
        self._disconnected = disconnected
        self._context = contextvars.copy_context()
        self._parts: AsyncIterator[bytes] = aiter(response)

    def __iter__(self) -> AsynchronousContent:
        return self

    def __next__(self) -> bytes:
        try:
            return bytes(self._run(anext_of(self._parts)))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """End the content where it is, then the response: as Django's own behind WSGI, in the thread."""
        try:
            close = getattr(self._parts, "aclose", None)
            if close is not None:
                self._run(close())
        finally:
            self._response.close()

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        future = self._context.run(asyncio.run_coroutine_threadsafe, coroutine, self._loop)
        while not concurrent.futures.wait((future,), LOOK_TIME).done:
            if self._disconnected is not None and self._disconnected():
                future.cancel()
                raise ClientDisconnected("the client left while the next part was awaited")
        return future.result()


async def anext_of(parts: AsyncIterator[bytes]) -> bytes:
    """`anext` as a coroutine. StopAsyncIteration passes through a future, as StopIteration would not."""
    return await anext(parts)
