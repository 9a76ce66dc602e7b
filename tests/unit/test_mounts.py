"""Which application a path belongs to, and what the request path makes of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.backend import Backend
from tests.fakes import Wire

PREFIXES = ("", "/legacy", "/legacy/admin", "/gr\u00fc\u00dfe", "/a", "/a/b")


def table(build: Backend, *prefixes: str, handler: Any = None, **options: Any) -> Any:
    module = build.module("http.mounts")
    return module.MountTable([module.Mount(prefix, handler, **options) for prefix in prefixes])


def found(build: Backend, path: str, root: str = "", prefixes: tuple[str, ...] = PREFIXES) -> str | None:
    mount = table(build, *prefixes).find(path.encode("ascii"), root)
    return None if mount is None else mount.prefix


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("/", ""),
        ("/legacy", "/legacy"),
        ("/legacy/", "/legacy"),
        ("/legacy/x/y", "/legacy"),
        ("/legacyx", ""),
        ("/legac", ""),
        ("/Legacy", ""),
        ("//legacy", ""),
        ("/legacy//admin", "/legacy"),
        ("/legacy/admin", "/legacy/admin"),
        ("/legacy/admin/", "/legacy/admin"),
        ("/legacy/administration", "/legacy"),
        ("/x/legacy", ""),
        ("/a.b/c", ""),
        ("/legacy.html", ""),
        ("/legacy/.well-known/x", "/legacy"),
        ("/legacy/...", "/legacy"),
        # RFC 3986 6.2.2.2: an encoded character that need not be is the character itself.
        ("/%6cegacy/x", "/legacy"),
        ("/leg%61cy", "/legacy"),
        ("/gr%C3%BC%c3%9Fe", "/gr\u00fc\u00dfe"),
        ("/gr%C3%BC%C3%9Fe/x", "/gr\u00fc\u00dfe"),
        ("/gr%FC%DFe", ""),
        ("/legacy%00", ""),
        # An encoded percent sign is one, and nothing more.
        ("/%256cegacy", ""),
        # Beyond the prefix, slashes and dots are the application's.
        ("/legacy/x%2Fy", "/legacy"),
        ("/legacy/x%2fy/../z", "/legacy"),
        ("/legacy/x/./y", "/legacy"),
        ("/x/../y", ""),
        ("/x%2Fy", ""),
        ("/..", ""),
    ],
)
def test_longest_prefix_of_whole_segments(build: Backend, path: str, prefix: str) -> None:
    assert found(build, path) == prefix


@pytest.mark.parametrize(
    "path",
    [
        # An encoded slash, where it would decide.
        "/legacy%2Fx",
        "/legacy%2fadmin",
        "/legacy/admin%2Fx",
        "/%2Flegacy/../legacy/x",
        "/a%2Fb",
        "/a%2Fb/x",
        # Dot segments that lead elsewhere, however they are written.
        "/legacy/..",
        "/legacy/../x",
        "/legacy/x/../../y",
        "/x/../legacy",
        "/./legacy",
        "/legacy/./admin",
        "/legacy/%2e%2e/x",
        "/legacy/.%2E/x",
        "/x/%2e./legacy/admin",
        "/legacy/..%2Fa",
        "/legacy/x%2F../../y",
        # One segment with an encoded slash counts for one, or for two.
        "/a/p%2Fq/../../b",
    ],
)
def test_what_can_be_read_in_two_ways_belongs_to_none(build: Backend, path: str) -> None:
    assert found(build, path) is None


def test_readings_that_agree_on_the_mount_are_no_concern(build: Backend) -> None:
    for path in ("/x/../y", "/x%2F..%2Fy", "/..%2f../x"):
        assert found(build, path, prefixes=("",)) == ""


def test_without_a_root_mount(build: Backend) -> None:
    for path in ("/", "/x", "/legacyx", "/legacy/../x"):
        assert found(build, path, prefixes=("/legacy",)) is None
    assert found(build, "/legacy", prefixes=("/legacy",)) == "/legacy"


@pytest.mark.parametrize(
    ("path", "root", "prefix"),
    [
        # The proxy has passed the root on, or removed it.
        ("/app/legacy/x", "/app", "/legacy"),
        ("/legacy/x", "/app", "/legacy"),
        ("/app", "/app", ""),
        ("/app/", "/app", ""),
        ("/application/legacy", "/app", ""),
        ("/app/a/b", "/app", "/a/b"),
        # Once only.
        ("/app/app/legacy", "/app", ""),
        ("/%61pp/legacy", "/app", "/legacy"),
        ("/%C3%BC/legacy", "/\u00fc", "/legacy"),
        ("/app/../legacy", "/app", None),
        ("/app%2Flegacy", "/app", None),
        ("/x/../app/legacy", "/app", None),
    ],
)
def test_below_a_root(build: Backend, path: str, root: str, prefix: str | None) -> None:
    assert found(build, path, root) == prefix


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/app", "/app", True),
        ("/app/x", "/app", True),
        ("/%61pp/x", "/app", True),
        ("/apple", "/app", False),
        ("/x/app", "/app", False),
        ("/gr%C3%BC", "/gr\u00fc", True),
    ],
)
def test_begins_with(build: Backend, path: str, root: str, expected: bool) -> None:
    assert build.module("http.mounts").begins_with(path.encode(), root) is expected


# An exchange


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """What the scope says of the path; for POST, after all of the content."""
    if scope["type"] == "http" and scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    facts = {name: scope[name] for name in ("type", "root_path", "path")}
    facts["raw_path"] = scope["raw_path"].decode()
    body = json.dumps(facts).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def wired(build: Backend, app: Any, places: dict[str, dict[str, Any]], **more: Any) -> Wire:
    """A connection to `app` under each of the paths, with the options of that mount."""
    module = build.module("http.mounts")
    handler = build.module("asgi.cycle").ASGIHandler(app, asyncio.get_running_loop(), None)
    mounts = [module.Mount(prefix, handler, **options) for prefix, options in places.items()]
    return Wire(build, app, mounts=module.MountTable(mounts), **more)


async def answer(wire: Wire, request: bytes) -> tuple[int, Any]:
    """Status and content."""
    wire.transport.output.clear()
    await wire.feed(request)
    head, _, body = bytes(wire.transport.output).partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, json.loads(body) if status == 200 else body


def get(target: str, method: str = "GET", fields: str = "", body: bytes = b"") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode() + body


@pytest.mark.parametrize(
    ("target", "root", "expected"),
    [
        ("/api", "", ("/api", "/api", "/api")),
        ("/api/x%20y?q=%2F", "", ("/api", "/api/x y", "/api/x%20y")),
        ("/other", "", ("", "/other", "/other")),
        ("/app/api/x", "/app", ("/app/api", "/app/api/x", "/app/api/x")),
        ("/api/x", "/app", ("/app/api", "/app/api/x", "/api/x")),
        ("/x", "/app", ("/app", "/app/x", "/x")),
        ("http://y.example/api/x", "", ("/api", "/api/x", "/api/x")),
        ("http://y.example", "", ("", "/", "/")),
        ("/gr%C3%BC%C3%9Fe/x", "", ("/gr\u00fc\u00dfe", "/gr\u00fc\u00dfe/x", "/gr%C3%BC%C3%9Fe/x")),
    ],
)
def test_scope(build: Backend, target: str, root: str, expected: tuple[str, str, str]) -> None:
    """`path` is the whole path and begins with `root_path`; `raw_path` is as it was sent."""

    async def main() -> None:
        wire = wired(build, tell, {"": {}, "/api": {}, "/gr\u00fc\u00dfe": {}}, root_path=root)
        status, facts = await answer(wire, get(target))
        assert (status, facts["root_path"], facts["path"], facts["raw_path"]) == (200, *expected)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/x", ("/pre/api", "/pre/api/x")),
        ("/x", ("/pre", "/pre/x")),
        # What a proxy names it has removed: the same again is the application's.
        ("/pre/api/x", ("/pre", "/pre/pre/api/x")),
        # What the server itself is reached under may be there or not.
        ("/app/api/x", ("/pre/app/api", "/pre/app/api/x")),
    ],
)
def test_forwarded_prefix(build: Backend, target: str, expected: tuple[str, str]) -> None:
    async def main() -> None:
        policy = build.module("http.forwarded").ForwardedPolicy(["*"], prefix=True)
        own = "/app" if "app" in target else ""
        wire = wired(build, tell, {"": {}, "/api": {}}, forwarded=policy, root_path=own)
        status, facts = await answer(wire, get(target, fields="X-Forwarded-Prefix: /pre\r\n"))
        assert (status, facts["root_path"], facts["path"]) == (200, *expected)

    asyncio.run(main())


@pytest.mark.parametrize("target", ["/", "/apix", "/api%2Fx", "/api/.."])
def test_nothing_there(build: Backend, target: str) -> None:
    """A 404 of our own; the connection goes on, also past content."""

    async def main() -> None:
        wire = wired(build, tell, {"/api": {}})
        for request in (get(target), get(target, "POST", "Content-Length: 3\r\n", b"abc"), get(target)):
            assert await answer(wire, request) == (404, b"Not Found")
        assert (await answer(wire, get("/api")))[0] == 200
        assert wire.service.requests == 0

    asyncio.run(main())


def test_the_asterisk_form_asks_the_server(build: Backend) -> None:
    """RFC 9110 9.3.7: OPTIONS * is about the server in general, which no mount is."""

    async def main() -> None:
        wire = wired(build, tell, {"": {}, "/api": {}})
        assert await answer(wire, get("*", "OPTIONS")) == (204, b"")
        assert b"Content-" not in wire.transport.output
        assert (await answer(wire, get("/api", "OPTIONS")))[1]["root_path"] == "/api"
        assert await answer(wire, get("*", "OPTIONS", "Content-Length: 3\r\n", b"abc")) == (204, b"")
        assert (await answer(wire, get("/")))[0] == 200
        assert (await answer(wire, get("x.example:1", "CONNECT")))[0] == 501

    asyncio.run(main())


@pytest.mark.parametrize("form", ["length", "chunked"])
def test_body_limit_of_one_mount(build: Backend, form: str) -> None:
    def post(target: str, size: int) -> bytes:
        if form == "length":
            return get(target, "POST", f"Content-Length: {size}\r\n", b"x" * size)
        return get(target, "POST", "Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))

    async def main() -> None:
        places: dict[str, dict[str, Any]] = {"": {"request_body": 20}, "/small": {"request_body": 10}, "/any": {}}
        for target, most in (("/", 20), ("/small", 10), ("/any", 10_000)):
            wire = wired(build, tell, places, limits={"request_body": 20})
            assert (await answer(wire, post(target, most)))[0] == 200
            # Each request by its own mount's limit, on one connection.
            assert (await answer(wire, post("/any", 100)))[0] == 200
            assert (await answer(wire, post(target, most)))[0] == 200
            if target != "/any":
                assert (await answer(wire, post(target, most + 1)))[0] == 413

    asyncio.run(main())


def test_concurrency_of_one_mount(build: Backend) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].endswith("wait"):
                await release.wait()
            await tell(scope, receive, send)

        first = wired(build, app, {"": {}, "/few": {"concurrency": 1}})
        await first.feed(get("/few/wait"))
        # Another connection of the same service.
        second = wired(build, app, {"": {}})
        second.service = first.service
        second.open()
        status, _ = await answer(second, get("/few"))
        assert (status, b"Retry-After: 1" in second.transport.output) == (503, True)
        assert (await answer(second, get("/")))[0] == 200
        release.set()
        await first.turns()
        assert first.transport.output.startswith(b"HTTP/1.1 200")
        assert (await answer(second, get("/few")))[0] == 200
        assert first.service.requests == 0

    asyncio.run(main())


def test_one_that_left_is_not_counted_any_more(build: Backend) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        wire = wired(build, app, {"/few": {"concurrency": 1}})
        for _ in range(3):
            await wire.feed(get("/few"))
            assert not wire.transport.output
            await wire.lose()
            wire.open()
        assert wire.service.requests == 0

    asyncio.run(main())


HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
)


def test_websockets_go_to_those_that_take_them(build: Backend) -> None:
    """To the others, the opening handshake is a request like any other."""

    async def main() -> None:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append((scope["type"], scope["root_path"], scope["path"]))
            if scope["type"] == "websocket":
                await send({"type": "websocket.accept"})
            else:
                await tell(scope, receive, send)

        places: dict[str, dict[str, Any]] = {"/ws": {"websockets": True}, "/old": {}}
        for root in ("", "/app"):
            for target, status in (("/ws/chat", 101), ("/old/chat", 200), ("/other", 404)):
                wire = wired(build, app, places, root_path=root)
                upgrade = build.module("websocket.upgrade").WebSocketUpgrade
                wire.service.upgrade = upgrade(wire.service, None)
                await wire.feed(get(target, fields=HANDSHAKE))
                assert int(wire.transport.output.split()[1]) == status
            assert seen == [
                ("websocket", root + "/ws", root + "/ws/chat"),
                ("http", root + "/old", root + "/old/chat"),
            ]
            seen.clear()

    asyncio.run(main())


# WSGI


@pytest.mark.parametrize(
    ("path", "root", "received", "expected"),
    [
        ("/legacy", "/legacy", "/legacy", ("/legacy", "")),
        ("/legacy/", "/legacy", "/legacy", ("/legacy", "/")),
        ("/legacy/x", "/legacy", "/legacy", ("/legacy", "/x")),
        ("/app/legacy/x", "/app/legacy", "/app/legacy", ("/app/legacy", "/x")),
        ("/legacy/x", "/app/legacy", "/legacy", ("/app/legacy", "/x")),
        ("/x", "/app", "", ("/app", "/x")),
        # Known, and not guessed from what it looks like.
        ("/app/x", "/app", "", ("/app", "/app/x")),
        ("/app/x", "/app", "/app", ("/app", "/x")),
        ("/app/x", "/app", None, ("/app", "/x")),
        ("/x", "/app", None, ("/app", "/x")),
        ("/x", "", "", ("", "/x")),
        # PEP 3333, "Unicode Issues": bytes as latin-1.
        ("/gr\xc3\xbc/x", "/gr\u00fc", "/gr\u00fc", ("/gr\xc3\xbc", "/x")),
        ("/gr\xc3\xbc/x", "/\u00e9/gr\u00fc", "/gr\u00fc", ("/\xc3\xa9/gr\xc3\xbc", "/x")),
        ("/gr\xc3\xbc/x", "/gr\u00fc", None, ("/gr\xc3\xbc", "/x")),
    ],
)
def test_script_name(build: Backend, path: str, root: str, received: str | None, expected: tuple[str, str]) -> None:
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path}
    assert build.module("wsgi.environ").set_script_name(environ, root, received) == 0
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected
