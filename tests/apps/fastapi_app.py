"""A FastAPI application as people write them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    File,
    Form,
    HTTPException,
    Request,
    Response,
    UploadFile,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from report import report


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    report("startup")
    yield {"items": {1: "first"}, "served": []}
    report("shutdown")


app = FastAPI(lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=["https://page.example"], allow_methods=["*"], allow_headers=["*"])


@app.middleware("http")
async def timing(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """A BaseHTTPMiddleware, which wraps receive and send."""
    start = time.perf_counter()
    response = await call_next(request)
    response.headers["X-Process-Time"] = f"{time.perf_counter() - start:.6f}"
    return response


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


def counter(request: Request) -> int:
    """A synchronous dependency: FastAPI runs it in a thread."""
    request.state.served.append(1)
    return len(request.state.served)


@app.get("/")
async def index(name: str = "world") -> dict[str, str]:
    return {"message": f"Hello, {name}!"}


@app.get("/sync")
def synchronous(number: Annotated[int, Depends(counter)]) -> dict[str, int]:
    return {"served": number}


@app.get("/items/{number}")
async def item(number: int, request: Request) -> dict[str, str]:
    if number not in request.state.items:
        raise HTTPException(404, "no such item")
    return {"name": request.state.items[number]}


@app.post("/items", status_code=201)
async def create(item: Item) -> Item:
    return item


@app.get("/about")
async def about(request: Request) -> dict[str, Any]:
    return {
        "url": str(request.url),
        "client": list(request.client or ()),
        "scheme": request.url.scheme,
        "root": request.scope.get("root_path"),
    }


@app.get("/events")
async def events(n: int = 5) -> StreamingResponse:
    """Server-sent events."""

    async def produce() -> AsyncIterator[str]:
        for number in range(n):
            yield f"id: {number}\ndata: event {number}\n\n"
            await asyncio.sleep(0.001)

    return StreamingResponse(produce(), media_type="text/event-stream")


@app.get("/endless")
async def endless(name: str) -> StreamingResponse:
    """Server-sent events until the client leaves."""

    async def produce() -> AsyncIterator[str]:
        try:
            while True:
                yield "data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            report("stream-ended", name=name)

    return StreamingResponse(produce(), media_type="text/event-stream")


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()], note: Annotated[str, Form()] = "") -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    while data := await file.read(64 * 1024):
        digest.update(data)
        size += len(data)
    return {"name": file.filename, "size": size, "sha256": digest.hexdigest(), "note": note}


@app.post("/background")
async def background(name: str, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(report, "background", name=name)
    return {"status": "accepted"}


@app.get("/fails")
async def fails() -> None:
    raise RuntimeError("the view failed on purpose")


# WebSockets


@app.websocket("/ws/echo")
async def ws_echo(websocket: WebSocket, name: str | None = None) -> None:
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
        report("ws-left", name=name, code=left.code, reason=left.reason)


@app.websocket("/ws/json")
async def ws_json(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-framework", b"fastapi")])
    try:
        while True:
            value = await websocket.receive_json()
            await websocket.send_json({"got": value, "path": websocket.url.path, "query": dict(websocket.query_params)})
    except WebSocketDisconnect:
        pass


@app.websocket("/ws/chat")
async def ws_chat(websocket: WebSocket) -> None:
    chosen = "chat" if "chat" in websocket.scope["subprotocols"] else None
    await websocket.accept(subprotocol=chosen)
    await websocket.send_text(str(chosen))
    await websocket.close(4000, "enough")


async def token(token: str = "") -> str:
    """A dependency that refuses."""
    if token != "secret":
        raise WebSocketException(code=4401, reason="who are you?")
    return token


@app.websocket("/ws/private")
async def ws_private(websocket: WebSocket, token: Annotated[str, Depends(token)]) -> None:
    await websocket.accept()
    await websocket.send_text("welcome")
    await websocket.close()


@app.websocket("/ws/denied")
async def ws_denied(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("pay first", 402, headers={"X-Price": "1"}))


class Rooms:
    """The connection manager of FastAPI's documentation, one room each."""

    def __init__(self) -> None:
        self.members: dict[str, list[WebSocket]] = {}

    async def broadcast(self, room: str, text: str) -> None:
        for member in list(self.members.get(room, ())):
            await member.send_text(text)


rooms = Rooms()


@app.websocket("/ws/room/{room}")
async def ws_room(websocket: WebSocket, room: str) -> None:
    await websocket.accept()
    rooms.members.setdefault(room, []).append(websocket)
    await websocket.send_text("joined")
    try:
        while True:
            await rooms.broadcast(room, await websocket.receive_text())
    except WebSocketDisconnect:
        rooms.members[room].remove(websocket)


@app.websocket("/ws/fails")
async def ws_fails(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("the socket failed on purpose")
