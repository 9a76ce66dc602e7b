"""The built-in demo: `python -m gateway gateway.demo:app`.

A page that tries the server from a browser, written without a framework so that it reads as an introduction to both
interfaces. `app` is two applications on one port: `wsgi` at `/wsgi`, and `asgi`, which has the rest. Each can also be
served alone, and then lacks what is the other's.

====== ========= ==========================================================================
GET    /         the page
GET    /asgi     what the ASGI application was told about the request, as JSON
GET    /wsgi     what the WSGI application was told, as JSON
GET    /live     how many requests each application had, as an event stream
GET    /stream   lines of text, one every STEP seconds, each sent as soon as it is produced
GET    /events   the time, as an event stream (text/event-stream), for COUNT events
       /chat     a WebSocket (ASGI only): what one sends, everyone who is connected receives
POST   /echo     counts and digests a body of any size as it arrives, and returns its beginning
====== ========= ==========================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from . import backend
from ._version import __version__
from .config.mounts import Mount, Mounts

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
StartResponse = Callable[..., Any]

STEP = 0.25
"""Seconds between two parts of /stream and of /events."""
COUNT = 20
"""Parts of /stream, and of /events: both end by themselves, so that a graceful stop need not wait for a browser."""
EXCERPT = 1000
"""Bytes of an upload that are returned."""
UNREAD = 100
"""Chat messages that wait for one who does not read; who misses more misses them."""
LONGEST = 500
"""Characters of a chat message; the rest is cut off."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"
HTML = "text/html; charset=utf-8"
ROUTES = {
    **dict.fromkeys(("/", "/asgi", "/wsgi", "/live", "/stream", "/events"), "GET"),
    "/echo": "POST",
}


class Tally:
    """What has been served so far: how much of each kind, and where the last of it ran. For any thread to add to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = {"asgi": 0, "wsgi": 0, "websocket": 0}
        self.places = dict.fromkeys(self.counts, "")

    def add(self, kind: str) -> None:
        with self.lock:
            self.counts[kind] += 1
            self.places[kind] = threading.current_thread().name

    def event(self) -> bytes:
        """All of it, as an event for /live."""
        facts = {"process": os.getpid(), "counts": self.counts, "places": self.places}
        return f"retry: 500\ndata: {json.dumps(facts)}\n\n".encode()


tally = Tally()


class Upload:
    """What /echo keeps of a body: a count and a digest, so that any size will do."""

    def __init__(self) -> None:
        self.size = 0
        self.parts = 0
        self.digest = hashlib.sha256()
        self.excerpt = b""

    def add(self, data: bytes) -> None:
        if data:
            self.size += len(data)
            self.parts += 1
            self.digest.update(data)
            self.excerpt += data[: EXCERPT - len(self.excerpt)]

    def report(self) -> bytes:
        return as_json(
            bytes=self.size,
            parts=self.parts,
            sha256=self.digest.hexdigest(),
            beginning=self.excerpt.decode("utf-8", "replace"),
        )


def as_json(**facts: object) -> bytes:
    """One fact a line; dicts go one level deeper."""
    return (lines(facts) + "\n").encode()


def lines(facts: Mapping[str, object], indent: str = "") -> str:
    inner = indent + "  "
    shown = (
        f"{inner}{json.dumps(key)}: "
        + (lines(value, inner) if isinstance(value, dict) else json.dumps(value, ensure_ascii=False))
        for key, value in facts.items()
    )
    return "{\n" + ",\n".join(shown) + f"\n{indent}}}"


def part(path: str, number: int) -> bytes:
    """Part `number`, from 1, of /stream, /events or /live."""
    if path == "/live":
        return tally.event()
    now = time.strftime("%H:%M:%S")
    if path == "/events":
        return f"id: {number}\ndata: {now}, event {number} of {COUNT}\n\n".encode()
    return f"{now}  line {number} of {COUNT}\n".encode()


def refusal(path: str, method: str) -> tuple[int, str, bytes] | None:
    """Status, value of Allow and text for what is not served; None for what is."""
    if path == "/chat":
        return 404, "", b"/chat is a WebSocket, which gateway.demo:app has.\n"
    if path not in ROUTES:
        return 404, "", b"Not found. The page at / lists what is here.\n"
    allowed = ROUTES[path]
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        return 405, allowed, f"{path} takes {allowed} requests.\n".encode()
    return None


# WSGI


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """The demo in WSGI (PEP 3333)."""
    # Where it is mounted, its own place is what it tells about; alone, that is one of its routes.
    path = environ["PATH_INFO"] or "/wsgi"
    if path != "/live":
        tally.add("wsgi")
    if path == "/asgi":
        return wsgi_text(start_response, "404 Not Found", b"This is gateway.demo:wsgi; gateway.demo:app has it.\n")
    refused = refusal(path, environ["REQUEST_METHOD"])
    if refused:
        status, allowed, text = refused
        line = "404 Not Found" if status == 404 else "405 Method Not Allowed"
        return wsgi_text(start_response, line, text, [("Allow", allowed)] if allowed else [])
    if path == "/":
        return wsgi_text(start_response, "200 OK", PAGE, kind=HTML)
    if path == "/wsgi":
        facts = {key: value for key, value in environ.items() if isinstance(value, (str, bool, int, tuple))}
        return wsgi_text(start_response, "200 OK", as_json(interface="WSGI", environ=facts), kind=JSON)
    if path == "/echo":
        upload = Upload()
        while data := environ["wsgi.input"].read(65536):
            upload.add(data)
        return wsgi_text(start_response, "200 OK", upload.report(), kind=JSON)
    start_response("200 OK", [("Content-Type", TEXT if path == "/stream" else EVENTS), ("Cache-Control", "no-store")])
    return wsgi_parts(path)


def wsgi_parts(path: str) -> Iterator[bytes]:
    for number in range(1, COUNT + 1):
        yield part(path, number)
        time.sleep(STEP)


def wsgi_text(
    start_response: StartResponse,
    status: str,
    text: bytes,
    headers: Iterable[tuple[str, str]] = (),
    kind: str = TEXT,
) -> list[bytes]:
    fields = [("Content-Type", kind), ("Content-Length", str(len(text))), ("Cache-Control", "no-store"), *headers]
    start_response(status, fields)
    return [text]


# ASGI


async def asgi(scope: Message, receive: Receive, send: Send) -> None:
    """The demo in ASGI 3."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["type"] == "websocket":
        await asgi_chat(scope, receive, send)
        return
    if scope["type"] != "http":
        raise ValueError(f"the demo serves no {scope['type']}")
    path = scope["path"].removeprefix(scope["root_path"]) or "/"
    if path != "/live":
        tally.add("asgi")
    refused = refusal(path, scope["method"])
    if refused:
        status, allowed, text = refused
        await asgi_text(send, status, text, [(b"allow", allowed.encode())] if allowed else [])
    elif path == "/":
        await asgi_text(send, 200, PAGE, kind=HTML)
    elif path == "/asgi":
        facts: dict[str, Any] = {key: value for key, value in scope.items() if isinstance(value, (str, tuple, list))}
        facts["extensions"] = sorted(scope.get("extensions") or ())
        facts["headers"] = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        await asgi_text(send, 200, as_json(interface="ASGI", scope=facts), kind=JSON)
    elif path == "/wsgi":
        await asgi_text(send, 404, b"This is gateway.demo:asgi; gateway.demo:app has it.\n")
    elif path == "/echo":
        await asgi_echo(receive, send)
    elif path == "/live":
        await asgi_live(scope["method"] == "HEAD", receive, send)
    else:
        await asgi_parts(path, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def asgi_echo(receive: Receive, send: Send) -> None:
    upload = Upload()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        upload.add(message.get("body", b""))
        more = message.get("more_body", False)
    await asgi_text(send, 200, upload.report(), kind=JSON)


async def asgi_live(is_head: bool, receive: Receive, send: Send) -> None:
    """Events until the browser has left, or the server stops and says so in the same way."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    left = asyncio.create_task(disconnected())
    headers = [(b"content-type", EVENTS.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        while not (is_head or left.done()):
            await send({"type": "http.response.body", "body": tally.event(), "more_body": True})
            await asyncio.wait([left], timeout=STEP)
        await send({"type": "http.response.body", "body": b""})
    except OSError:
        pass  # gone, and nobody misses the rest
    finally:
        left.cancel()


async def asgi_parts(path: str, send: Send) -> None:
    kind = EVENTS if path == "/events" else TEXT
    headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(1, COUNT + 1):
        # Raises OSError once the browser is gone (ASGI 2.4), which ends this.
        await send({"type": "http.response.body", "body": part(path, number), "more_body": True})
        await asyncio.sleep(STEP)
    await send({"type": "http.response.body", "body": b""})


chatting: dict[int, asyncio.Queue[str]] = {}
"""Number of a connection to /chat -> what it is still to be sent."""


async def asgi_chat(scope: Message, receive: Receive, send: Send) -> None:
    if scope["path"].removeprefix(scope["root_path"]) != "/chat":
        await send({"type": "websocket.close"})  # before it is accepted: 403
        return
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    number = max(chatting, default=0) + 1
    chatting[number] = asyncio.Queue(UNREAD)
    sending = asyncio.create_task(send_from(chatting[number], send))
    try:
        tell(number, you=number, here=len(chatting))
        while (message := await receive())["type"] == "websocket.receive":
            tally.add("websocket")
            text = message.get("text") or f"{len(message.get('bytes') or b'')} bytes"
            for other in chatting:
                tell(other, sender=number, text=text[:LONGEST], time=time.strftime("%H:%M:%S"))
    finally:
        del chatting[number]
        sending.cancel()


def tell(number: int, **facts: object) -> None:
    """Queue a message for one connection. Sending is its own task's business, so that nobody waits for the slowest."""
    with contextlib.suppress(asyncio.QueueFull):
        chatting[number].put_nowait(json.dumps(facts, ensure_ascii=False))


async def send_from(queue: asyncio.Queue[str], send: Send) -> None:
    with contextlib.suppress(OSError):  # the client is gone, which `receive` says too
        while True:
            await send({"type": "websocket.send", "text": await queue.get()})


async def asgi_text(
    send: Send,
    status: int,
    text: bytes,
    headers: Iterable[tuple[bytes, bytes]] = (),
    kind: str = TEXT,
) -> None:
    fields = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": text})


# Both, on one port: the longest path that a request's begins with decides.

app = Mounts([Mount("/wsgi", wsgi), Mount("/", asgi)])


# The page: one file, nothing loaded from elsewhere.

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>gateway is running</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
%3Cpath d='M2 15V7a6 6 0 0 1 12 0v8h-3V7a3 3 0 0 0-6 0v8z' fill='%230d7a6f'/%3E%3C/svg%3E">
<style>
:root { --back: #f4f6f5; --card: #fff; --text: #16211f; --soft: #55645f; --line: #d9e1de; --mark: #0d7a6f;
  --code: #eef2f0; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --back: #101715; --card: #18211f; --text: #e4ecea; --soft: #9db0aa; --line: #2b3835; --mark: #4fc3b4;
    --code: #0c1211; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 3rem; }
header { display: flex; gap: 1rem; align-items: center; }
header svg { width: 3rem; flex: none; fill: var(--mark); }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; }
header p { margin: .2rem 0 0; color: var(--soft); }
.cards { display: grid; gap: 1rem; margin-top: 2rem; grid-template-columns: repeat(6, 1fr); }
section { grid-column: span 3; display: flex; flex-direction: column; min-width: 0; padding: 1.1rem 1.2rem 1.2rem;
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
section.wide { grid-column: span 6; }
h2 { margin: 0; font-size: 1.05rem; }
.top { display: flex; justify-content: space-between; align-items: center; gap: .75rem; flex-wrap: wrap; }
section > p { margin: .35rem 0 .8rem; color: var(--soft); font-size: .93rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { flex: none; margin: auto 0 0; padding: .75rem; height: 13rem; overflow: auto; background: var(--code);
  border-radius: .4rem; font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.status { min-height: 1.4rem; margin: .5rem 0 0; font-size: .85rem; color: var(--soft); }
.status.bad { color: var(--bad); }
button { padding: .3rem .8rem; border: 1px solid var(--mark); border-radius: .4rem; background: none;
  color: var(--mark); font: inherit; font-size: .88rem; cursor: pointer; }
button:hover { background: var(--mark); color: var(--card); }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
form { display: grid; gap: .75rem; grid-template-columns: 1fr 1fr; }
textarea { width: 100%; height: 100%; min-height: 7rem; padding: .6rem; border: 1px solid var(--line); resize: vertical;
  border-radius: .4rem; background: var(--card); color: inherit; font: inherit; font-size: .88rem; }
input[type=text] { width: 100%; padding: .45rem .6rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--card); color: inherit; font: inherit; font-size: .88rem; }
input[type=file] { max-width: 100%; font: inherit; font-size: .85rem; }
.left { display: flex; flex-direction: column; gap: .6rem; min-width: 0; }
form pre { margin: 0; height: 12.2rem; }
#chat pre { height: 8rem; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(3, 1fr); margin: .2rem 0 0; }
.tiles > div { padding: .7rem .85rem; min-width: 0; background: var(--code); border-radius: .4rem;
  border-left: .3rem solid var(--line); transition: border-color .6s; }
.tiles > div.now { border-color: var(--mark); transition: none; }
dt { font-weight: 600; font-size: .9rem; }
dd { margin: 0; color: var(--soft); font-size: .82rem; overflow-wrap: anywhere; }
dd.count { color: var(--text); font-size: 1.7rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
footer { margin-top: 1.5rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 44rem) {
  main { padding-top: 1.5rem; }
  h1 { font-size: 1.4rem; }
  .cards { grid-template-columns: 1fr; }
  section, section.wide { grid-column: auto; }
  form { grid-template-columns: 1fr; }
  .tiles { gap: .5rem; grid-template-columns: 1fr; }
  .tiles > div { display: grid; grid-template-columns: 1fr auto; align-items: center; padding: .4rem .7rem; }
  dd.count { grid-area: 1 / 2 / 3 / 3; font-size: 1.5rem; }
  pre { height: 11rem; } }
</style>
</head>
<body>
<main>
<header>
<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 15V7a6 6 0 0 1 12 0v8h-3V7a3 3 0 0 0-6 0v8z"/></svg>
<div><h1>gateway is running</h1><p>Version VERSION, BUILD, on PYTHON</p></div>
</header>
<div class="cards">
<section class="wide">
<div class="top"><h2>Both on one port</h2><button data-live="/live">Send 20 each</button></div>
<p>One process serves both: a WSGI application at <code>/wsgi</code>, and an ASGI application that has the rest. The
numbers come in as an event stream.</p>
<dl class="tiles">
<div data-kind="asgi"><dt>ASGI requests</dt><dd class="count">&ndash;</dd><dd></dd></div>
<div data-kind="wsgi"><dt>WSGI requests</dt><dd class="count">&ndash;</dd><dd></dd></div>
<div data-kind="websocket"><dt>WebSocket messages</dt><dd class="count">&ndash;</dd><dd></dd></div>
</dl><p class="status" role="status"></p>
</section>
<section>
<div class="top"><h2>An ASGI route</h2><button data-get="/asgi">Again</button></div>
<p>A coroutine on the event loop. This is the scope it was called with.</p>
<pre tabindex="0"></pre><p class="status" role="status"></p>
</section>
<section>
<div class="top"><h2>A WSGI route</h2><button data-get="/wsgi">Again</button></div>
<p>A plain function in a thread. This is its environ.</p>
<pre tabindex="0"></pre><p class="status" role="status"></p>
</section>
<section>
<div class="top"><h2>Streaming</h2><button data-stream="/stream">Again</button></div>
<p>Each line is shown when it arrives, not when the response is complete.</p>
<pre tabindex="0"></pre><p class="status" role="status"></p>
</section>
<section>
<div class="top"><h2>An event stream</h2><button data-events="/events">Again</button></div>
<p>The browser's own <code>EventSource</code> reads it.</p>
<pre tabindex="0"></pre><p class="status" role="status"></p>
</section>
<section class="wide">
<div class="top"><h2>A WebSocket</h2><button data-chat="/chat">Again</button></div>
<p>What you send goes to everyone who has this page open. Try it in a second window.</p>
<form id="chat"><div class="left"><input type="text" name="text" maxlength="500" autocomplete="off" \
aria-label="Message to everyone" placeholder="Message" value="Hello!"><div><button>Send</button></div></div>
<pre tabindex="0" aria-live="polite"></pre></form><p class="status" role="status"></p>
</section>
<section class="wide">
<div class="top"><h2>An upload</h2></div>
<p>The body is read as it arrives, whatever its size; the answer has its length and its digest.</p>
<form id="upload"><div class="left"><textarea name="text" aria-label="Text to send">Grüße aus dem Formular</textarea>
<input type="file" name="file" aria-label="File to send in place of the text"><div><button>Send</button></div></div>
<pre tabindex="0"></pre></form><p class="status" role="status"></p>
</section>
</div>
<footer>The source of this page is <code>gateway/demo.py</code>: plain ASGI and WSGI, no framework, and
<code>Mounts([Mount("/wsgi", wsgi), Mount("/", asgi)])</code>.</footer>
</main>
<script>
"use strict";
function card(element) {
  const section = element.closest("section"), status = section.querySelector(".status");
  return { output: section.querySelector("pre"), started: performance.now(), say(text, bad) {
    status.textContent = text + " after " + Math.round(performance.now() - this.started) + " ms";
    status.classList.toggle("bad", Boolean(bad)); } };
}
async function get(button) {
  const here = card(button);
  try {
    const response = await fetch(button.dataset.get);
    here.output.textContent = await response.text();
    here.say(response.status + " " + response.statusText, !response.ok);
  } catch (error) { here.say(String(error), true); }
}
async function stream(button) {
  const here = card(button), decoder = new TextDecoder();
  here.output.textContent = "";
  let chunks = 0;
  try {
    const reader = (await fetch(button.dataset.stream)).body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      here.output.textContent += decoder.decode(part.value, { stream: true });
      here.output.scrollTop = here.output.scrollHeight;
      here.say("part " + ++chunks);
    }
    here.say("complete in " + chunks + " parts");
  } catch (error) { here.say(String(error), true); }
}
function events(button) {
  const here = card(button), source = new EventSource(button.dataset.events);
  if (button.source) button.source.close();
  button.source = source;
  here.output.textContent = "";
  let count = 0;
  source.onmessage = event => {
    here.output.textContent += event.data + "\\n";
    here.output.scrollTop = here.output.scrollHeight;
    here.say("event " + ++count);
  };
  source.onerror = () => { source.close(); here.say(count ? "ended with " + count + " events" : "no events", !count); };
}
function live(button) {
  const section = button.closest("section"), status = section.querySelector(".status");
  const source = new EventSource(button.dataset.live);
  source.onmessage = event => {
    const facts = JSON.parse(event.data);
    for (const tile of section.querySelectorAll("[data-kind]")) {
      const [count, place] = tile.querySelectorAll("dd"), kind = tile.dataset.kind, now = String(facts.counts[kind]);
      tile.classList.toggle("now", count.textContent !== now && count.textContent !== "\u2013");
      count.textContent = now;
      place.textContent = facts.places[kind] === "MainThread" ? "on the event loop" : facts.places[kind];
    }
    status.textContent = "Process " + facts.process + ", since its start";
    status.classList.remove("bad");
  };
  source.onerror = () => {
    status.textContent = "Waiting for the server to come back";
    status.classList.add("bad");
  };
  button.addEventListener("click", () => {
    for (let number = 0; number < 20; number++)
      for (const path of ["/asgi", "/wsgi"]) fetch(path).catch(() => undefined);
  });
}
function chat(button) {
  const here = card(button), url = new URL(button.dataset.chat, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  if (button.socket) button.socket.close();
  const socket = button.socket = new WebSocket(url);
  here.output.textContent = "";
  let you = 0, count = 0;
  socket.onmessage = event => {
    const message = JSON.parse(event.data);
    if (message.you) {
      you = message.you;
      here.say("connected as visitor " + you + ", " + message.here + " here,");
      return;
    }
    const who = message.sender === you ? "you" : "visitor " + message.sender;
    here.output.textContent += message.time + "  " + who + ": " + message.text + "\\n";
    here.output.scrollTop = here.output.scrollHeight;
    if (message.sender === you && socket.sent) here.started = socket.sent;
    here.say("message " + ++count + (message.sender === you ? " came back" : " came"));
  };
  socket.onclose = event => {
    if (button.socket === socket) here.say("closed with " + event.code + (event.reason && " " + event.reason), true); };
}
function send(form) {
  const socket = document.querySelector("[data-chat]").socket, text = form.elements.text.value;
  if (!text || socket.readyState !== WebSocket.OPEN) return;
  socket.sent = performance.now();
  socket.send(text);
  form.elements.text.value = "";
}
async function upload(form) {
  const here = card(form), file = form.elements.file.files[0];
  try {
    const response = await fetch("/echo", { method: "POST", body: file || form.elements.text.value });
    here.output.textContent = await response.text();
    here.say(response.status + " " + response.statusText, !response.ok);
  } catch (error) { here.say(String(error), true); }
}
for (const [kind, action] of [["get", get], ["stream", stream], ["events", events], ["chat", chat]])
  for (const button of document.querySelectorAll("[data-" + kind + "]")) {
    button.addEventListener("click", () => action(button));
    action(button);
  }
for (const [id, action] of [["chat", send], ["upload", upload]])
  document.getElementById(id).addEventListener("submit", event => { event.preventDefault(); action(event.target); });
upload(document.getElementById("upload"));
live(document.querySelector("[data-live]"));
</script>
</body>
</html>
"""

PAGE = (
    TEMPLATE.replace("VERSION", __version__)
    .replace("BUILD", backend.current.describe())
    .replace("PYTHON", f"{platform.python_implementation()} {platform.python_version()}")
    .encode()
)
