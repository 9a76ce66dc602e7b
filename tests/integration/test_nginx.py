"""nginx in front: as a reverse proxy with kept-alive connections, over TCP and over a Unix socket."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import WAIT, Client, Server, chunked, request

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/local/sbin")

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="nginx is started with an inherited socket"),
]

httpx = pytest.importorskip("httpx")

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 100m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateway {{
        server {upstream};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://gateway;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_next_upstream off;
        }}
        location /buffered/ {{
            proxy_pass http://gateway/;
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[int]:
    """Run nginx in front of `upstream`; gives its port.

    Its listening socket is made here and inherited (by the variable NGINX, as in an upgrade of nginx): so the port is
    the kernel's choice, and clients can connect before nginx is ready.
    """
    assert NGINX is not None
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        descriptor = listener.fileno()
        os.set_inheritable(descriptor, True)
        configuration = folder / "nginx.conf"
        # nginx as root runs its workers as somebody who can't write into a test's folder.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(CONFIGURATION.format(user=user, folder=folder, upstream=upstream, port=port))
        process = subprocess.Popen(
            [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(configuration)],
            env={**os.environ, "NGINX": f"{descriptor};"},
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield port
        finally:
            process.terminate()
            try:
                process.wait(WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(WAIT)


@pytest.fixture(scope="module", params=["asgi_apps:probe", "wsgi_probe:probe"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    folder = tmp_path_factory.mktemp("nginx")
    with Server(request.param) as server, nginx(folder, f"127.0.0.1:{server.port}") as port:
        yield server, port


@pytest.fixture
def client(proxied: tuple[Server, int]) -> Iterator[Any]:
    _, port = proxied
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT, trust_env=False) as result:
        yield result


def test_requests_through_nginx(client: Any) -> None:
    for _ in range(20):
        assert client.get("/hello").text == "hello"
    assert client.head("/hello").status_code == 200
    assert client.get("/parts").text == "part0;part1;part2;"
    assert client.get("/status?code=204").status_code == 204
    assert client.get("/status?code=304").status_code == 304
    assert client.get("/status?code=418").text == "body"


def test_upstream_connections_are_kept(proxied: tuple[Server, int], client: Any) -> None:
    """nginx reuses its connections: all these requests come from few ports."""
    ports = {tuple(client.get("/x", headers={"X-Forwarded-For": ""}).json()["client"]) for _ in range(3)}
    assert ports
    server, _ = proxied
    established = Path(f"/proc/{server.worker_pid}/fd")
    before = len(list(established.iterdir()))
    for _ in range(50):
        assert client.get("/hello").text == "hello"
    assert len(list(established.iterdir())) <= before + 2


def test_forwarded_client(client: Any) -> None:
    """nginx's address is trusted by default: what it says about the client is believed."""
    seen = client.get("/x", headers={"X-Forwarded-For": "203.0.113.7"}).json()
    assert seen["scheme"] == "https"
    # nginx appends the peer it sees; walking from the right, 127.0.0.1 is trusted, the next one isn't.
    assert seen["client"][0] == "203.0.113.7"


def test_client_of_nginx_itself(client: Any) -> None:
    assert client.get("/x").json()["client"][0] == "127.0.0.1"


def test_host_and_target_pass_through(proxied: tuple[Server, int], client: Any) -> None:
    seen = client.get("/a%20b/%C3%A9?c=%20d", headers={"Host": "site.example"}).json()
    assert (seen["path"], seen["query"]) == ("/a b/\u00e9", "c=%20d")
    assert ["host", "site.example"] in seen["headers"]


@pytest.mark.parametrize("size", [0, 1, 10_000, 3_000_000])
@pytest.mark.parametrize("chunks", [False, True])
def test_uploads_through_nginx(client: Any, size: int, chunks: bool) -> None:
    data = random.Random(size).randbytes(size)
    content = (data[i : i + 20_000] for i in range(0, size, 20_000)) if chunks else data
    assert client.post("/echo", content=content).content == data
    if not chunks:
        assert client.post("/buffered/echo", content=data).content == data


def test_large_response_through_nginx(client: Any) -> None:
    for path in ("/big", "/buffered/big"):
        with client.stream("GET", path, params={"size": 5_000_000}) as response:
            assert sum(len(part) for part in response.iter_bytes()) == 5_000_000


def test_expect_through_nginx(proxied: tuple[Server, int]) -> None:
    _, port = proxied
    with Client(("127.0.0.1", port)) as client:
        client.send(request("POST", "/echo", "Expect: 100-continue", "Content-Length: 5"))
        assert client.head().status == 100
        client.send(b"hello")
        assert client.response().body == b"hello"


def test_pipelining_through_nginx(proxied: tuple[Server, int]) -> None:
    _, port = proxied
    with Client(("127.0.0.1", port)) as client:
        client.send(request("GET", "/hello") * 5 + request("POST", "/echo", "Transfer-Encoding: chunked", body=chunked(b"x")))
        assert [client.response().body for _ in range(6)] == [b"hello"] * 5 + [b"x"]


def test_refusals_reach_the_client(client: Any) -> None:
    """A response that the server closes after, in stages, and that nginx must not turn into 502."""
    assert client.get("/unread").text == "unread"
    response = client.post("/unread", content=b"x" * 900_000)
    assert (response.status_code, response.text) == (200, "unread")


def test_client_that_leaves(proxied: tuple[Server, int]) -> None:
    """nginx closes its connection to us; the application is stopped."""
    server, port = proxied
    size = 10**10 + random.randrange(10**6)
    with Client(("127.0.0.1", port)) as client:
        client.send(request("GET", f"/big?size={size}"))
        client.response_head()
    server.wait_event("stopped")
    assert server.alive()


def test_many_clients(proxied: tuple[Server, int]) -> None:
    _, port = proxied

    def visit(number: int) -> bool:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT, trust_env=False) as client:
            return all(client.get(f"/{number}/{i}").json()["path"] == f"/{number}/{i}" for i in range(25))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(visit, range(16)))


@pytest.mark.parametrize("app", ["asgi_apps:probe", "wsgi_probe:probe"])
def test_unix_socket_behind_nginx(app: str, tmp_path: Path) -> None:
    """The usual deployment: a Unix socket, whose peers are trusted."""
    # Kept short: the path of a Unix socket has about a hundred bytes.
    path = Path("/tmp") / f"gw-{uuid.uuid4().hex[:12]}.sock"
    try:
        with (
            Server(app, binds=[f"unix:{path}"]),
            nginx(tmp_path, f"unix:{path}") as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT, trust_env=False) as client,
        ):
            for _ in range(10):
                assert client.get("/hello").text == "hello"
            seen = client.get("/x", headers={"X-Forwarded-For": "203.0.113.7"}).json()
            assert (seen["scheme"], seen["client"][0]) == ("https", "203.0.113.7")
            assert client.post("/echo", content=b"x" * 100_000).content == b"x" * 100_000
    finally:
        path.unlink(missing_ok=True)


def test_untrusted_proxy(tmp_path: Path) -> None:
    """Somebody else's header is somebody's claim."""
    with (
        Server("asgi_apps:probe", "--forwarded-allow-ips=192.0.2.1") as server,
        nginx(tmp_path, f"127.0.0.1:{server.port}") as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT, trust_env=False) as client,
    ):
        seen = client.get("/x", headers={"X-Forwarded-For": "203.0.113.7"}).json()
        assert (seen["scheme"], seen["client"][0]) == ("http", "127.0.0.1")
