"""A Litestar application as people write them."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, WebSocket, get, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, WebSocketDisconnect
from litestar.handlers import BaseRouteHandler, WebsocketListener
from report import report


@get("/")
async def index() -> str:
    return "Hello, world!"


@websocket("/ws/echo")
async def ws_echo(socket: WebSocket[Any, Any, Any]) -> None:
    """Texts and bytes; the end is reported."""
    await socket.accept()
    while True:
        message: Any = await socket.receive()
        if message["type"] == "websocket.disconnect":
            name = socket.query_params.get("name")
            report("ws-left", name=name, code=message["code"], reason=message.get("reason"))
            return
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


class JSONListener(WebsocketListener):
    """Litestar's own way: a class that gets decoded values and returns the answers."""

    path = "/ws/json"

    async def on_receive(self, data: Any, socket: WebSocket[Any, Any, Any]) -> dict[str, Any]:
        return {"got": data, "path": socket.url.path, "query": dict(socket.query_params)}


@websocket("/ws/chat")
async def ws_chat(socket: WebSocket[Any, Any, Any]) -> None:
    chosen = "chat" if "chat" in socket.scope["subprotocols"] else None
    await socket.accept(subprotocols=chosen)
    await socket.send_text(str(chosen))
    await socket.close(4000, "enough")


async def token_guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    if connection.query_params.get("token") != "secret":
        raise NotAuthorizedException


@websocket("/ws/private", guards=[token_guard])
async def ws_private(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("welcome")
    await socket.close()


@websocket("/ws/room/{room:str}")
async def ws_room(socket: WebSocket[Any, Any, Any], room: str, channels: ChannelsPlugin) -> None:
    """What one says, all in the room hear: Litestar's channels, in memory."""
    async with channels.start_subscription([room]) as subscriber:
        await socket.accept()
        await socket.send_text("joined")
        async with subscriber.run_in_background(socket.send_text):
            try:
                while True:
                    channels.publish(await socket.receive_text(), room)
            except WebSocketDisconnect:
                pass


@websocket("/ws/fails")
async def ws_fails(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    raise RuntimeError("the socket failed on purpose")


app = Litestar(
    [index, ws_echo, JSONListener, ws_chat, ws_private, ws_room, ws_fails],
    plugins=[ChannelsPlugin(backend=MemoryChannelsBackend(), arbitrary_channels_allowed=True)],
)
