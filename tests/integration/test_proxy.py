"""What proxies say about the client: believed from trusted peers only, and read from the right.

The test itself plays the proxy, at 127.0.0.1 or at a Unix socket. tests/integration/test_nginx.py has a real one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import PROBES
from .harness import Server, request

TRUSTED = [f"--forwarded-allow-ips={peer}" for peer in ("127.0.0.1", "10.0.0.0/8", "2001:db8::/32")]


@pytest.fixture(scope="module", params=sorted(PROBES))
def behind(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Believes X-Forwarded-For and -Proto of this machine and of two networks."""
    with Server(PROBES[request.param], *TRUSTED) as server:
        yield server


def client_of(server: Server, *fields: str) -> str:
    seen = server.facts("/x", *fields)
    return str(seen["client"][0])


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["203.0.113.7, 10.1.2.3, 10.9.9.9"], "203.0.113.7"),
        # Made up by the client: the proxy appended what it saw.
        (["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        (["10.6.6.6, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        # Several lines are one list (RFC 9110 5.3).
        (["6.6.6.6", "203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7", "10.1.2.3"], "203.0.113.7"),
        # With ports, and IPv6.
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db9::1]:80"], "2001:db9::1"),
        (["2001:db9::1"], "2001:db9::1"),
        (["2001:db9::1, 2001:db8::5"], "2001:db9::1"),
        (["  203.0.113.7 ,\t10.1.2.3 "], "203.0.113.7"),
        # All of them trusted: the first is all we have.
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
    ],
)
def test_forwarded_for(behind: Server, values: list[str], client: str) -> None:
    assert client_of(behind, *(f"X-Forwarded-For: {value}" for value in values)) == client


@pytest.mark.parametrize("value", ["", ",", "unknown", "not-an-address", "999.1.1.1", "203.0.113.7.8", "<script>", "\xe4"])
def test_nonsense_is_no_client(behind: Server, value: str) -> None:
    """Whatever a peer says, the application gets an address."""
    assert client_of(behind, f"X-Forwarded-For: {value}") == "127.0.0.1"


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("https", "https"), ("http", "http"), ("HTTPS", "https"), ("ftp", "http"), ("", "http"), ("javascript:", "http")],
)
def test_forwarded_proto(behind: Server, value: str, scheme: str) -> None:
    assert behind.facts("/x", f"X-Forwarded-Proto: {value}")["scheme"] == scheme


def test_no_more_than_asked_for_is_believed(behind: Server) -> None:
    """-Host, -Port and -Prefix are opt-in, and Forwarded is another family."""
    fields = [
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: for=6.6.6.6;proto=https;host=evil.example",
    ]
    seen = behind.facts("/x", *fields)
    assert [value for name, value in seen["headers"] if name == "host"] == ["test.example"]
    assert seen["path"] == "/x"
    assert seen["scheme"] == "http"
    assert seen["client"][0] == "127.0.0.1"
    assert seen["server"] == ["127.0.0.1", behind.port]


@pytest.mark.parametrize("interface", sorted(PROBES))
@pytest.mark.parametrize(
    "option", ["--forwarded-allow-ips=192.0.2.1", "--forwarded-allow-ips=", "--no-proxy-headers"]
)
def test_untrusted_peers_are_not_believed(interface: str, option: str) -> None:
    with Server(PROBES[interface], option) as server:
        seen = server.facts("/x", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https")
        assert (seen["client"][0], seen["scheme"]) == ("127.0.0.1", "http")


def test_peers_in_one_list() -> None:
    """As gunicorn and uvicorn take them, on the command line and in the variable that they share."""
    value = "10.0.0.0/8,127.0.0.1, ::1"
    with Server(PROBES["asgi"], f"--forwarded-allow-ips={value}") as server:
        assert client_of(server, "X-Forwarded-For: 203.0.113.7, 10.1.1.1") == "203.0.113.7"
    with Server(PROBES["asgi"], env={"FORWARDED_ALLOW_IPS": value}) as server:
        assert client_of(server, "X-Forwarded-For: 203.0.113.7, 10.1.1.1") == "203.0.113.7"


@pytest.mark.parametrize("interface", sorted(PROBES))
def test_claims_of_untrusted_peers_can_be_removed(interface: str) -> None:
    with Server(PROBES[interface], "--forwarded-allow-ips=192.0.2.1", "--forwarded-clear") as server:
        seen = server.facts("/x", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Forwarded-Xyz: 1", "X-Kept: 1")
        names = [name for name, _ in seen["headers"]]
        assert "x-kept" in names
        assert not any("forwarded" in name for name in names)


@pytest.mark.parametrize("interface", sorted(PROBES))
def test_star_believes_everybody(interface: str) -> None:
    """Then the leftmost address is the client: nobody in the list is distrusted."""
    with Server(PROBES[interface], "--forwarded-allow-ips=*") as server:
        assert client_of(server, "X-Forwarded-For: 203.0.113.7, 198.51.100.1") == "203.0.113.7"


@pytest.mark.parametrize("interface", sorted(PROBES))
def test_unix_peers_are_believed_by_default(interface: str) -> None:
    path = Path("/tmp") / f"gw-{uuid.uuid4().hex[:12]}.sock"
    try:
        with Server(PROBES[interface], binds=[f"unix:{path}"]) as server:
            seen = server.facts("/x" if interface == "asgi" else "/environ", "X-Forwarded-For: 203.0.113.7")
            client = seen["client"][0] if interface == "asgi" else seen["values"]["REMOTE_ADDR"]
            assert client == "203.0.113.7"
        with Server(PROBES[interface], "--forwarded-allow-ips=127.0.0.1", binds=[f"unix:{path}"]) as server:
            seen = server.facts("/scope" if interface == "asgi" else "/environ", "X-Forwarded-For: 203.0.113.7")
            client = seen["client"] if interface == "asgi" else seen["values"]["REMOTE_ADDR"]
            assert "203.0.113.7" not in str(client)
    finally:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module", params=sorted(PROBES))
def generous(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Believes everything that can be believed."""
    options = ["--forwarded-host", "--forwarded-port", "--forwarded-prefix"]
    with Server(PROBES[request.param], *TRUSTED, *options) as server:
        yield server


def host_of(seen: dict[str, Any]) -> list[str]:
    return [value for name, value in seen["headers"] if name == "host"]


def test_forwarded_host_and_port(generous: Server) -> None:
    seen = generous.facts("/x", "X-Forwarded-Host: shop.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443")
    assert host_of(seen) == ["shop.example:8443"]
    assert host_of(generous.facts("/x", "X-Forwarded-Host: shop.example")) == ["shop.example"]


@pytest.mark.parametrize("value", ["a b", "a/b", "user@a", "a\\b", "", "a:b", "[::1", "a,b c"])
def test_bad_forwarded_host(generous: Server, value: str) -> None:
    assert host_of(generous.facts("/x", f"X-Forwarded-Host: {value}")) == ["test.example"]


@pytest.mark.parametrize("value", ["/", "//evil", "no-slash", "/a b", "/a?b", "/a\\b", "http://x"])
def test_bad_forwarded_prefix(generous: Server, value: str) -> None:
    assert root_of(generous, f"X-Forwarded-Prefix: {value}") == ""


def root_of(server: Server, *fields: str) -> str:
    if "asgi_apps:probe" in server.command:
        return str(server.facts("/scope", *fields)["root_path"])
    return str(server.facts("/environ", *fields)["values"]["SCRIPT_NAME"])


def test_forwarded_prefix(generous: Server) -> None:
    assert root_of(generous, "X-Forwarded-Prefix: /shop") == "/shop"
    assert root_of(generous, "X-Forwarded-Prefix: /shop/") in ("/shop", "/shop/")
    assert root_of(generous) == ""


@pytest.fixture(scope="module", params=sorted(PROBES))
def standard(request: pytest.FixtureRequest) -> Iterator[Server]:
    """RFC 7239."""
    with Server(PROBES[request.param], *TRUSTED, "--forwarded-style=forwarded", "--forwarded-host") as server:
        yield server


@pytest.mark.parametrize(
    ("values", "client", "scheme", "host"),
    [
        (["for=203.0.113.7"], "203.0.113.7", "http", "test.example"),
        (["for=203.0.113.7;proto=https;host=shop.example"], "203.0.113.7", "https", "shop.example"),
        (["For=203.0.113.7;Proto=HTTPS"], "203.0.113.7", "https", "test.example"),
        (['for="203.0.113.7:80"'], "203.0.113.7", "http", "test.example"),
        (['for="[2001:db9::1]:80"'], "2001:db9::1", "http", "test.example"),
        (["for=6.6.6.6, for=203.0.113.7, for=10.1.2.3"], "203.0.113.7", "http", "test.example"),
        (["for=6.6.6.6", "for=203.0.113.7"], "203.0.113.7", "http", "test.example"),
        (["for=unknown"], "127.0.0.1", "http", "test.example"),
        (["for=_hidden"], "127.0.0.1", "http", "test.example"),
        (["for=203.0.113.7;;"], None, None, None),
        (['for="203.0.113.7'], "127.0.0.1", "http", "test.example"),
        (["nonsense"], "127.0.0.1", "http", "test.example"),
    ],
)
def test_forwarded(
    standard: Server, values: list[str], client: str | None, scheme: str | None, host: str | None
) -> None:
    fields = [f"Forwarded: {value}" for value in values]
    seen = standard.facts("/x", *fields, "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https")
    if client is not None:
        assert seen["client"][0] == client
        # X-Forwarded-Proto is the other family.
        assert seen["scheme"] == scheme
        assert host_of(seen) == [host]


def test_a_request_through_a_proxy_keeps_its_own_connection(behind: Server) -> None:
    """Each request on a connection speaks for itself."""
    with behind.connect() as client:
        client.send(
            request("GET", "/x", "X-Forwarded-For: 203.0.113.1", "X-Forwarded-Proto: https")
            + request("GET", "/x")
            + request("GET", "/x", "X-Forwarded-For: 203.0.113.2")
        )
        seen = [client.response().json() for _ in range(3)]
    assert [(one["client"][0], one["scheme"]) for one in seen] == [
        ("203.0.113.1", "https"),
        ("127.0.0.1", "http"),
        ("203.0.113.2", "http"),
    ]
