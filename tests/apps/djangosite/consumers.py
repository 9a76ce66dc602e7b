"""Django Channels: consumers as people write them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from channels.db import database_sync_to_async
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from django.contrib.auth import get_user_model
from django.urls import path
from report import report


class Echo(AsyncWebsocketConsumer):
    """Texts and bytes; the end is reported."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        name = dict(parse_qsl(self.scope["query_string"].decode())).get("name")
        report("ws-left", name=name, code=code, reason=None)


class SyncEcho(WebsocketConsumer):
    """In a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


class JSON(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        query = dict(parse_qsl(self.scope["query_string"].decode()))
        await self.send_json({"got": content, "path": self.scope["path"], "query": query})


class Chat(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        chosen = "chat" if "chat" in self.scope["subprotocols"] else None
        await self.accept(chosen)
        await self.send(str(chosen))
        await self.close(4000, "enough")


class Private(WebsocketConsumer):
    def connect(self) -> None:
        if b"token=secret" not in self.scope["query_string"]:
            self.close(4401)
            return
        self.accept()
        self.send("welcome")
        self.close()


class Room(AsyncWebsocketConsumer):
    """What one says, all in the room hear: a group of the in-memory layer."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send("joined")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(self.room, {"type": "room.said", "text": text_data})

    async def room_said(self, event: dict[str, Any]) -> None:
        await self.send(event["text"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)


class Users(JsonWebsocketConsumer):
    """The ORM from a synchronous consumer, and who is asking (AuthMiddlewareStack)."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"users": get_user_model().objects.count(), "anonymous": self.scope["user"].is_anonymous})


class AsyncUsers(AsyncWebsocketConsumer):
    """The ORM from an asynchronous one."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        count = await database_sync_to_async(get_user_model().objects.count)()
        await self.send(json.dumps({"users": count, "anonymous": self.scope["user"].is_anonymous}))


class Fails(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        raise RuntimeError("the socket failed on purpose")


routes = [
    path("ws/echo", Echo.as_asgi()),
    path("ws/sync-echo", SyncEcho.as_asgi()),
    path("ws/json", JSON.as_asgi()),
    path("ws/chat", Chat.as_asgi()),
    path("ws/private", Private.as_asgi()),
    path("ws/room/<str:room>", Room.as_asgi()),
    path("ws/users", Users.as_asgi()),
    path("ws/async-users", AsyncUsers.as_asgi()),
    path("ws/fails", Fails.as_asgi()),
]
