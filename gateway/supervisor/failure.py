"""What clients get while an application under development can't start: why, and its traceback.

A worker serves this in the application's place, as an ASGI application like any other. Browsers get a page that loads
itself anew after the next save, over an event stream from the same address:

======== =======================================================================================
failure  what the stream begins with; its data names the failure that the page should be showing
saved    a file has changed, and the worker makes way for the next one: the next answer is its
======== =======================================================================================

A stream that ends without `saved` means that the server has stopped. It is asked for again until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from gateway.loader import LoadedApp

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RETRY = 1000
"""Milliseconds after which a page asks for its stream again, or for itself."""

POLICY = "default-src 'none'; connect-src 'self'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


class Failure(NamedTuple):
    """Why an application can't start."""

    message: str
    traceback: str = ""
    """As Python writes it; empty where the application's code is not to blame."""

    @property
    def name(self) -> str:
        """What tells it from another."""
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()[:16]


class FailurePage:
    """The ASGI application."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.superseded = asyncio.Event()
        """Set, on the loop, when a file has changed."""

    @property
    def loaded(self) -> LoadedApp:
        """What a server takes."""
        return LoadedApp(self, "asgi", "asgi3", "what can't start")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._refuse(scope, receive, send)
            return
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1").lower()
        if "text/event-stream" in accepted:
            await self._stream(receive, send)
        elif "text/html" in accepted:
            await respond(send, 500, page(self.failure).encode(), "text/html", [(b"content-security-policy", POLICY)])
        else:
            await respond(send, 500, text(self.failure).encode(), "text/plain")

    async def _refuse(self, scope: Message, receive: Receive, send: Send) -> None:
        """A WebSocket can't be had."""
        await receive()
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await respond(send, 500, text(self.failure).encode(), "text/plain", prefix="websocket.")
        else:
            await send({"type": "websocket.close"})

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Tell a page what it should be showing, and when that is over."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        begin = f"retry: {RETRY}\nevent: failure\ndata: {self.failure.name}\n\n"
        await send({"type": "http.response.body", "body": begin.encode(), "more_body": True})
        gone = asyncio.ensure_future(disconnected(receive))
        saved = asyncio.ensure_future(self.superseded.wait())
        try:
            await asyncio.wait([gone, saved], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            saved.cancel()
        with contextlib.suppress(OSError):
            if self.superseded.is_set():
                await send({"type": "http.response.body", "body": b"event: saved\ndata: reload\n\n", "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def disconnected(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(
    send: Send, status: int, body: bytes, kind: str, more: list[tuple[bytes, str]] | None = None, prefix: str = ""
) -> None:
    """Send a whole response of the type `kind` in UTF-8; `prefix` of the messages' types is that of WebSockets."""
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name, value.encode()) for name, value in more or ()),
    ]
    await send({"type": f"{prefix}http.response.start", "status": status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})


def text(failure: Failure) -> str:
    """For whoever does not ask for HTML."""
    trace = f"{failure.traceback.rstrip()}\n\n" if failure.traceback else ""
    return f"The application can't start: {failure.message}\n\n{trace}Waiting for the next save.\n"


def page(failure: Failure) -> str:
    """For browsers."""
    values = {
        "MESSAGE": html.escape(failure.message),
        "TRACE": f'<pre tabindex="0">{marked(failure.traceback)}</pre>' if failure.traceback else "",
        "NAME": failure.name,
        "RETRY": str(RETRY),
    }
    # In one go, so that a traceback with these words in it stays as it is.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], TEMPLATE)


def marked(traceback: str) -> str:
    """A traceback in HTML, with its places and its last line marked."""
    lines = html.escape(traceback.rstrip()).split("\n")
    # The exception's own text may have several lines; what it is stands in the first.
    last = max((index for index, line in enumerate(lines) if line and not line[0].isspace()), default=-1)
    for index, line in enumerate(lines):
        if re.match(r"\s*File &quot;", line):
            lines[index] = f"<i>{line}</i>"
        elif index == last:
            lines[index] = f"<b>{line}</b>"
    return "\n".join(lines)


# One file, nothing loaded from elsewhere.
TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The application can't start</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
%3Cpath d='M2 15V7a6 6 0 0 1 12 0v8h-3V7a3 3 0 0 0-6 0v8z' fill='%23b3261e'/%3E%3C/svg%3E">
<style>
:root { --back: #f4f6f5; --card: #fff; --text: #16211f; --soft: #55645f; --line: #d9e1de; --mark: #0d7a6f;
  --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --back: #101715; --card: #18211f; --text: #e4ecea; --soft: #9db0aa; --line: #2b3835; --mark: #4fc3b4;
    --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); line-height: 1.5; border-top: .3rem solid var(--bad);
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2.2rem 1.25rem 3rem; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; }
h1 + p { margin: .5rem 0 0; color: var(--bad); font-size: 1.05rem; overflow-wrap: anywhere; }
pre { margin: 1.5rem 0 0; padding: 1rem 1.1rem; overflow: auto; max-height: 75vh; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; font-size: .85rem; line-height: 1.55; tab-size: 4;
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre i { color: var(--mark); font-style: normal; }
pre b { color: var(--bad); }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
footer { display: flex; gap: .6rem; align-items: baseline; margin-top: 1.2rem; color: var(--soft);
  font-size: .93rem; }
footer span { flex: none; width: .6rem; height: .6rem; border-radius: 50%; background: var(--mark); }
@media (prefers-reduced-motion: no-preference) {
  footer span { animation: wait 1.6s ease-in-out infinite; }
  @keyframes wait { 50% { opacity: .2; } } }
@media (max-width: 44rem) {
  main { padding: 1.4rem .9rem 2rem; }
  h1 { font-size: 1.25rem; }
  pre { padding: .8rem; font-size: .75rem; } }
</style>
</head>
<body>
<main>
<h1>The application can't start</h1>
<p>{{MESSAGE}}</p>
{{TRACE}}
<footer><span></span><p id="state" role="status">Waiting for the next save.</p></footer>
</main>
<script>
const state = document.getElementById("state");
const stream = new EventSource(location.href);
const again = () => location.reload();
stream.addEventListener("failure", event => {
  if (event.data !== "{{NAME}}") again();
  state.textContent = "Waiting for the next save.";
});
stream.addEventListener("saved", () => {
  stream.close();
  state.textContent = "Saved. Loading …";
  again();
});
stream.onerror = () => {
  state.textContent = "The server has stopped. Waiting until it is back.";
  // What answers now is no such stream, so it is the application.
  if (stream.readyState === EventSource.CLOSED) setTimeout(again, {{RETRY}});
};
</script>
</body>
</html>
"""
