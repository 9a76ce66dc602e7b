"""Applications that are mounted side by side: what each framework makes of its place, and applications to be limited.

The functions are factories, so that a framework is only imported where it is served. Annotations are evaluated, since
frameworks could not look up names that are local to a function.
"""

import asyncio
import os
import threading
from typing import Any

from report import report

from gateway import Mount, Mounts

# What a framework says of where it is: the URL it makes of its own route, and the path of the request.


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route

    async def where(request: Request) -> Response:
        urls = {name: str(request.url_for(name)) for name in ("where", "sub:where")}
        return JSONResponse({**urls, "path": request.url.path, "base": str(request.base_url)})

    inner = Mount("/sub", routes=[Route("/where", where, name="where")], name="sub")
    return Starlette(routes=[Route("/where", where, name="where"), Route("/dir/", where, name="dir"), inner])


def fastapi() -> Any:
    from fastapi import FastAPI, Request, WebSocket

    app = FastAPI()

    @app.get("/where")
    async def where(request: Request) -> dict[str, Any]:
        return {"where": str(request.url_for("where")), "path": request.url.path, "base": str(request.base_url)}

    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json({"url": str(websocket.url), "root": websocket.scope["root_path"]})
        await websocket.close()

    return app


def litestar() -> Any:
    from litestar import Litestar, Request, get

    @get("/where", name="where")
    async def where(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return {"where": request.url_for("where"), "path": request.url.path, "base": str(request.base_url)}

    return Litestar([where])


def flask() -> Any:
    from flask import Flask, request, url_for

    app = Flask("mounted")

    @app.get("/where")
    def where() -> dict[str, Any]:
        return {
            "where": url_for("where", _external=True),
            "path": request.script_root + request.path,
            "base": request.url_root,
        }

    return app


# Applications that tell what they are told


class Lives:
    """ASGI: reports its lifespan, and answers with its own state and what the scope says of the path."""

    def __init__(self, name: str, fails: str = "") -> None:
        self.name = name
        self.fails = fails

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                report(event, name=self.name)
                if self.fails == event:
                    await send({"type": f"lifespan.{event}.failed", "message": "no database"})
                    return
                scope["state"]["name"] = self.name
                await send({"type": f"lifespan.{event}.complete"})
            return
        if scope["path"].endswith("/slow"):
            report("running", name=self.name)
            await hold.wait()
        body = f"{self.name} {scope['state']['name']} {scope['root_path']} {scope['path']}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body})


class Hold:
    """Where requests wait until /open is asked for, or the file $GATE is there."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def is_open(self) -> bool:
        return self.gate.is_set() or os.path.exists(os.environ.get("GATE", os.devnull + "/none"))

    async def wait(self) -> None:
        while not self.is_open():
            await asyncio.sleep(0.01)

    def wait_here(self) -> None:
        while not self.is_open():
            self.gate.wait(0.01)


hold = Hold()
one, two, broken = Lives("one"), Lives("two"), Lives("broken", "startup")


def blocking(environ: Any, start_response: Any) -> list[bytes]:
    """WSGI: /slow waits for /open, which any application of this module may be asked for."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        report("running", name="blocking")
        hold.wait_here()
    elif path == "/open":
        hold.gate.set()
    size = len(environ["wsgi.input"].read())
    body = f"{environ['SCRIPT_NAME']} {path} {environ['wsgi.multithread']} {size}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


app = Mounts([Mount("/one", one), Mount("/two", two), Mount("/", blocking)])
limited = Mounts(
    [
        Mount("/narrow", blocking, threads=1),
        Mount("/few", blocking, limit_concurrency=1),
        Mount("/small", blocking, limit_request_body=10),
        Mount("/any", blocking, limit_request_body=0),
        Mount("/quick", blocking, threads=1, request_timeout="500ms"),
        Mount("/quick/one", one, request_timeout="500ms"),
        Mount("/patient", blocking, request_timeout=0),
        Mount("/", blocking),
    ]
)
failing = Mounts([Mount("/one", one), Mount("/broken", broken), Mount("/two", two)])
