"""A Starlette application as people write them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import TypedDict

from report import report
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


class State(TypedDict):
    greeting: str


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    report("startup")
    yield {"greeting": "Hello"}
    report("shutdown")


async def index(request: Request) -> Response:
    return PlainTextResponse(f"{request.state.greeting}, {request.query_params.get('name', 'world')}!")


async def about(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "url": str(request.url),
            "path": request.url.path,
            "client": list(request.client or ()),
            "scheme": request.url.scheme,
            "root": request.scope.get("root_path"),
            "header": request.headers.get("x-custom"),
            "cookies": request.cookies,
            "query": dict(request.query_params),
        }
    )


async def body(request: Request) -> Response:
    digest, size = hashlib.sha256(), 0
    try:
        async for data in request.stream():
            digest.update(data)
            size += len(data)
    except ClientDisconnect:
        report("disconnect", size=size)
        raise
    return JSONResponse({"size": size, "sha256": digest.hexdigest()})


async def upload(request: Request) -> Response:
    async with request.form() as form:
        files, fields = {}, {}
        for name, value in form.items():
            if isinstance(value, str):
                fields[name] = value
            else:
                data = await value.read()
                files[name] = {
                    "name": value.filename,
                    "size": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(),
                }
    return JSONResponse({"files": files, "fields": fields})


async def stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(int(request.query_params.get("n", 5))):
            await asyncio.sleep(0)
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def endless(request: Request) -> Response:
    """Server-sent events until the client leaves; Starlette cancels the generator then."""
    name = request.query_params["name"]

    async def events() -> AsyncIterator[str]:
        number = 0
        try:
            while True:
                yield f"data: {number}\n\n"
                number += 1
                await asyncio.sleep(0.01)
        finally:
            report("stream-ended", name=name)

    return StreamingResponse(events(), media_type="text/event-stream")


async def file(request: Request) -> Response:
    """FileResponse uses `http.response.pathsend` where the server offers it."""
    return FileResponse(request.query_params["path"])


async def background(request: Request) -> Response:
    name = request.query_params["name"]
    return PlainTextResponse("accepted", background=BackgroundTask(report, "background", name=name))


async def thread(request: Request) -> Response:
    return PlainTextResponse(await run_in_threadpool(lambda: "from a thread"))


async def fails(request: Request) -> Response:
    raise RuntimeError("the view failed on purpose")


async def nothing(request: Request) -> Response:
    return Response(status_code=204)


async def compressible(request: Request) -> Response:
    return PlainTextResponse("compress me " * 1000)


# WebSockets


async def ws_echo(websocket: WebSocket) -> None:
    """Texts and bytes; the end is reported."""
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"], message.get("reason"))
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect as left:
        report("ws-left", name=websocket.query_params.get("name"), code=left.code, reason=left.reason)


async def ws_json(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-framework", b"starlette")])
    async for value in websocket.iter_json():
        await websocket.send_json({"got": value, "path": websocket.url.path, "query": dict(websocket.query_params)})


async def ws_chat(websocket: WebSocket) -> None:
    chosen = "chat" if "chat" in websocket.scope["subprotocols"] else None
    await websocket.accept(subprotocol=chosen)
    await websocket.send_text(str(chosen))
    await websocket.close(4000, "enough")


async def ws_private(websocket: WebSocket) -> None:
    if websocket.query_params.get("token") != "secret":
        await websocket.close(4401)
        return
    await websocket.accept()
    await websocket.send_text("welcome")
    await websocket.close()


async def ws_denied(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("pay first", 402, headers={"X-Price": "1"}))


rooms: dict[str, set[WebSocket]] = {}


async def ws_room(websocket: WebSocket) -> None:
    """What one says, all in the room hear."""
    members = rooms.setdefault(websocket.path_params["room"], set())
    await websocket.accept()
    members.add(websocket)
    await websocket.send_text("joined")
    try:
        async for text in websocket.iter_text():
            for member in list(members):
                await member.send_text(text)
    finally:
        members.discard(websocket)


async def ws_fails(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("the socket failed on purpose")


websocket_routes = [
    WebSocketRoute("/ws/echo", ws_echo),
    WebSocketRoute("/ws/json", ws_json),
    WebSocketRoute("/ws/chat", ws_chat),
    WebSocketRoute("/ws/private", ws_private),
    WebSocketRoute("/ws/denied", ws_denied),
    WebSocketRoute("/ws/room/{room}", ws_room),
    WebSocketRoute("/ws/fails", ws_fails),
]

routes = [
    *websocket_routes,
    Route("/", index),
    Route("/about", about, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    Route("/body", body, methods=["POST"]),
    Route("/upload", upload, methods=["POST"]),
    Route("/stream", stream),
    Route("/endless", endless),
    Route("/file", file),
    Route("/background", background),
    Route("/thread", thread),
    Route("/fails", fails),
    Route("/nothing", nothing),
    Mount("/zip", routes=[Route("/text", compressible)], middleware=[Middleware(GZipMiddleware)]),
    Mount("/sub", routes=[Route("/about", about)]),
]

app = Starlette(routes=routes, lifespan=lifespan)
