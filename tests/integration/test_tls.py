"""TLS from outside: certificates, client certificates, versions, the handshake's bound, plain requests."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import PROBES
from .harness import Incomplete, Server, request, run_gateway

CERTS = Path(__file__).parent.parent / "certs"
APPS = Path(__file__).parent.parent / "apps"
PAIR = [f"--certfile={CERTS}/server.pem", f"--keyfile={CERTS}/server.key"]
HELLO = request("GET", "/hello")


def trusting(**changes: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(CERTS / "ca.pem"))
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.fixture(scope="module", params=sorted(PROBES))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(PROBES[request.param], *PAIR) as server:
        yield server


def test_requests_over_tls(server: Server) -> None:
    assert server.url.startswith("https://")
    with server.connect(tls=trusting()) as client:
        for _ in range(3):
            client.send(HELLO)
            assert client.response().body == b"hello"


def test_the_application_knows(server: Server) -> None:
    with server.connect(tls=trusting()) as client:
        client.send(request("GET", "/anything"))
        facts = json.loads(client.response().body)
    assert facts["scheme"] == "https"


def test_large_content_both_ways(server: Server) -> None:
    body = bytes(range(256)) * 8192
    with server.connect(tls=trusting()) as client:
        client.send(request("POST", "/echo", body=body))
        assert client.response().body == body


def test_pipelined_requests(server: Server) -> None:
    with server.connect(tls=trusting()) as client:
        client.send(HELLO * 5)
        for _ in range(5):
            assert client.response().body == b"hello"


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl(server: Server) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(CERTS / "ca.pem"), f"{server.url}/hello"],
        capture_output=True,
        timeout=20,
    )
    assert done.stdout == b"hello", done.stderr


def test_plain_request_on_a_tls_port(server: Server) -> None:
    with server.connect() as client:
        client.socket.sendall(HELLO)
        answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"this port speaks HTTPS" in answer
    assert server.process is not None
    assert server.process.poll() is None


@pytest.mark.parametrize("interface", sorted(PROBES))
def test_handshake_has_a_bound(interface: str) -> None:
    with Server(PROBES[interface], *PAIR, "--timeout-handshake=2") as server:
        for begin in (b"", b"\x16\x03\x01\x02\x00\x01"):
            with server.connect() as client:
                if begin:
                    client.socket.sendall(begin)
                try:
                    assert client.rest() == b""
                except ConnectionResetError:
                    pass
        with server.connect(tls=trusting()) as client:
            client.send(HELLO)
            assert client.response().body == b"hello"


def test_idle_connection_is_closed_properly(server: Server) -> None:
    with server.connect(tls=trusting(), timeout=15) as client:
        client.send(request("GET", "/hello", "Connection: close"))
        assert client.response().body == b"hello"
        # Ends with close_notify, or `recv` would raise.
        assert client.rest() == b""


def test_old_versions_are_refused() -> None:
    with Server(PROBES["asgi"], *PAIR, "--ssl-min-version=1.3") as server:
        with server.connect(tls=trusting()) as client:
            client.send(HELLO)
            assert client.response().status == 200
            assert isinstance(client.socket, ssl.SSLSocket)
            assert client.socket.version() == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            server.connect(tls=trusting(maximum_version=ssl.TLSVersion.TLSv1_2))


def test_client_certificates() -> None:
    options = [*PAIR, f"--ca-certs={CERTS}/ca.pem", "--cert-reqs=required"]
    with Server(PROBES["asgi"], *options) as server:
        known = trusting()
        known.load_cert_chain(CERTS / "client.pem", CERTS / "client.key")
        with server.connect(tls=known) as client:
            client.send(HELLO)
            assert client.response().body == b"hello"
        # In TLS 1.3 the client only notices once it reads.
        with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError, Incomplete)):
            with server.connect(tls=trusting()) as client:
                client.send(HELLO)
                client.response()
        assert "Traceback" not in server.log


def test_encrypted_key_with_its_password_from_the_environment() -> None:
    options = [f"--certfile={CERTS}/server.pem", f"--keyfile={CERTS}/server-encrypted.key"]
    with Server(PROBES["asgi"], *options, env={"GATEWAY_KEYFILE_PASSWORD": "secret"}) as server:
        with server.connect(tls=trusting()) as client:
            client.send(HELLO)
            assert client.response().status == 200


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([f"--certfile={CERTS}/nowhere.pem", f"--keyfile={CERTS}/server.key"], "no such file"),
        ([f"--certfile={CERTS}/server.pem", f"--keyfile={CERTS}/other.key"], "does not belong to the certificate"),
        ([f"--certfile={CERTS}/server.pem", f"--keyfile={CERTS}/server-encrypted.key"], "give --keyfile-password"),
    ],
)
def test_mistakes_end_in_one_line(options: list[str], text: str) -> None:
    done = run_gateway(PROBES["asgi"], "--app-dir", str(APPS), "--bind=127.0.0.1:0", *options)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_stopping_with_open_connections_and_handshakes() -> None:
    with Server(PROBES["asgi"], *PAIR, "--graceful-timeout=5") as server:
        with server.connect(tls=trusting()) as idle, socket.create_connection(("127.0.0.1", server.port)):
            idle.send(HELLO)
            idle.response()
            assert server.terminate() == 0
