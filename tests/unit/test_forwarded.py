"""What is believed of X-Forwarded-* and Forwarded, and whose word it is."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.backend import Backend

PROXY = ("10.0.0.1", 40000)
STRANGER = ("203.0.113.9", 40000)
TRUSTED = ("10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48", "unix")


class FakeStream:
    """As much of an HTTPStream as the policy touches."""

    def __init__(self, build: Backend, lines: Iterable[bytes], client: object = PROXY) -> None:
        buffer = build.module("kernels.buffer").InputBuffer()
        self.head = build.module("kernels.head").RequestHead()
        buffer.feed(b"GET / HTTP/1.1\r\nHost: internal:8000\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
        assert self.head.parse(buffer, 0, 0, 0, 0) == 1
        self.client = client
        self.server: object = ("10.0.0.2", 8000)
        self.scheme = "http"
        self.root_path = "/mount"

    def facts(self) -> dict[str, Any]:
        """What differs from what it was made with."""
        found = {
            "client": self.client,
            "scheme": self.scheme,
            "server": self.server,
            "root_path": self.root_path,
            "host": self.head.get(b"host"),
        }
        unchanged = {
            "client": PROXY,
            "scheme": "http",
            "server": ("10.0.0.2", 8000),
            "root_path": "/mount",
            "host": b"internal:8000",
        }
        return {name: fact for name, fact in found.items() if fact != unchanged[name]}


def policy(build: Backend, allow: Iterable[str] = TRUSTED, **options: bool) -> Any:
    return build.module("http.forwarded").ForwardedPolicy(allow, **options)


def applied(
    build: Backend, *lines: bytes, client: object = PROXY, allow: Iterable[str] = TRUSTED, **options: bool
) -> dict[str, Any]:
    stream = FakeStream(build, lines, client)
    assert policy(build, allow, **options).apply(stream) == 0
    return stream.facts()


# Whom to believe.


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("10.0.0.1", 1), True),
        (("10.255.255.255", 1), True),
        (("11.0.0.0", 1), False),
        (("192.0.2.7", 1), True),
        (("192.0.2.8", 1), False),
        (("::ffff:192.0.2.7", 1), True),
        (("::ffff:c000:208", 1), False),
        (("2001:db8:1::5", 1, 0, 0), True),
        (("2001:db8:2::5", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), False),
        (("", 0), False),
        (("testclient", 0), False),
        (None, True),
    ],
)
def test_trusts(build: Backend, client: object, expected: bool) -> None:
    judge = policy(build)
    assert judge.trusts(client) is expected
    assert judge.trusts(client) is expected


def test_trusts_nobody_or_everybody(build: Backend) -> None:
    for client in (PROXY, ("::1", 1), None, ("strange", 0)):
        assert policy(build, ()).trusts(client) is False
        assert policy(build, ["*"]).trusts(client) is True


def test_trusts_mapped_networks_and_link_local(build: Backend) -> None:
    judge = policy(build, ["::ffff:10.0.0.0/104", "fe80::1", "172.16.0.9/12"])
    assert judge.trusts(("10.1.2.3", 1))
    assert judge.trusts(("::ffff:10.1.2.3", 1))
    assert judge.trusts(("fe80::1%eth0", 1))
    assert judge.trusts(("172.31.0.1", 1))
    assert not judge.trusts(("172.32.0.1", 1))


@pytest.mark.parametrize("member", ["localhost", "10.0.0.0/33", "", "1.2.3", "10.0.0.1:80"])
def test_what_is_no_address_is_refused(build: Backend, member: str) -> None:
    with pytest.raises(ValueError):
        policy(build, [member])


def test_many_addresses_do_not_change_the_answers(build: Backend) -> None:
    """More than are remembered."""
    judge = policy(build)
    for number in range(3000):
        assert not judge.trusts((f"203.0.{number % 256}.{number // 256}", 1))
        assert judge.trusts((f"10.0.{number % 256}.{number // 256}", 1))


# X-Forwarded-For.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"198.51.100.1", ("198.51.100.1", 0)),
        (b"198.51.100.1:5678", ("198.51.100.1", 5678)),
        (b"2001:db8::1", ("2001:db8::1", 0)),
        (b"[2001:db8::1]", ("2001:db8::1", 0)),
        (b"[2001:DB8:0::1]:80", ("2001:db8::1", 80)),
        (b"::ffff:198.51.100.1", ("198.51.100.1", 0)),
        (b"[::ffff:198.51.100.1]:81", ("198.51.100.1", 81)),
        # The rightmost address that is not trusted.
        (b"1.1.1.1, 198.51.100.1", ("198.51.100.1", 0)),
        (b"1.1.1.1, 198.51.100.1, 10.9.9.9", ("198.51.100.1", 0)),
        (b"1.1.1.1, 198.51.100.1:5,10.9.9.9:6 ,\t::ffff:10.1.1.1", ("198.51.100.1", 5)),
        (b", 198.51.100.1 ,,", ("198.51.100.1", 0)),
        # All trusted: the first of them has sent the request.
        (b"10.3.3.3, 10.2.2.2", ("10.3.3.3", 0)),
        # Not told, or no address: the last one that is known.
        (b"198.51.100.1, unknown", PROXY),
        (b"198.51.100.1, unknown, 10.2.2.2", ("10.2.2.2", 0)),
        (b"198.51.100.1, _hidden, 10.2.2.2:7", ("10.2.2.2", 7)),
        (b"garbage", PROXY),
        (b"198.51.100.1:port", PROXY),
        (b"198.51.100.1:65536", PROXY),
        (b"198.51.100.1:", PROXY),
        (b"198.51.100.256", PROXY),
        (b"198.51.100.01", PROXY),
        (b"[2001:db8::1", PROXY),
        (b"2001:db8::1]:80", PROXY),
        (b"fe80::1%eth0", PROXY),
        (b"\xff\xfe", PROXY),
        (b"'; DROP TABLE", PROXY),
        (b"", PROXY),
        (b",,,", PROXY),
    ],
)
def test_x_forwarded_for(build: Backend, value: bytes, expected: tuple[str, int]) -> None:
    stream = FakeStream(build, [b"X-Forwarded-For: " + value])
    policy(build).apply(stream)
    assert stream.client == expected


def test_x_forwarded_for_on_several_lines(build: Backend) -> None:
    lines = (b"X-Forwarded-For: 198.51.100.1", b"X-Forwarded-For: 198.51.100.2, 10.2.2.2")
    assert applied(build, *lines) == {"client": ("198.51.100.2", 0)}


def test_x_forwarded_for_with_more_hops_than_honest_chains_have(build: Backend) -> None:
    lines = [b"X-Forwarded-For: 198.51.100.1", *[b"X-Forwarded-For: 10.0.3.%d" % number for number in range(100)]]
    assert applied(build, *lines) == {"client": ("10.0.3.36", 0)}


def test_strangers_are_not_believed(build: Backend) -> None:
    lines = (b"X-Forwarded-For: 198.51.100.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil")
    assert applied(build, *lines, client=STRANGER, host=True) == {"client": STRANGER}
    assert applied(build, *lines, allow=()) == {}


def test_unix_sockets(build: Backend) -> None:
    line = b"X-Forwarded-For: 198.51.100.1"
    assert applied(build, line, client=None) == {"client": ("198.51.100.1", 0)}
    assert applied(build, line, client=None, allow=["10.0.0.0/8"]) == {"client": None}


def test_everyone(build: Backend) -> None:
    """The leftmost address, as uvicorn has it."""
    line = b"X-Forwarded-For: 198.51.100.1, 203.0.113.2"
    assert applied(build, line, client=STRANGER, allow=["*"]) == {"client": ("198.51.100.1", 0)}


def test_nothing_is_set_without_such_fields(build: Backend) -> None:
    assert applied(build, b"Accept: */*", host=True, port=True, prefix=True, clear=True) == {}
    assert applied(build, b"X-Forwarded-Server: a", host=True, port=True, prefix=True, clear=True) == {}


# X-Forwarded-Proto.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"https", "https"),
        (b"HTTPS", "https"),
        (b"http", "http"),
        (b"wss", "https"),
        (b"ws", "http"),
        (b"ftp", "http"),
        (b"https://", "http"),
        (b"", "http"),
        (b"http, https", "https"),
        (b"https, http", "http"),
        (b"https, ftp", "http"),
    ],
)
def test_x_forwarded_proto(build: Backend, value: bytes, expected: str) -> None:
    stream = FakeStream(build, [b"X-Forwarded-Proto: " + value])
    policy(build).apply(stream)
    assert (stream.scheme, stream.client) == (expected, PROXY)


@pytest.mark.parametrize(
    ("addresses", "schemes", "expected"),
    [
        # One value: whichever proxy has set it.
        (b"198.51.100.1, 10.2.2.2", b"https", "https"),
        # One for each proxy: that of the proxy the client has talked to.
        (b"198.51.100.1, 10.2.2.2", b"https, http", "https"),
        (b"198.51.100.1, 198.51.100.2", b"https, http", "http"),
        # The client has made up the first.
        (b"198.51.100.1", b"https, http", "http"),
        (b"198.51.100.1, unknown", b"https, http", "http"),
    ],
)
def test_x_forwarded_proto_of_several_proxies(build: Backend, addresses: bytes, schemes: bytes, expected: str) -> None:
    stream = FakeStream(build, [b"X-Forwarded-For: " + addresses, b"X-Forwarded-Proto: " + schemes])
    policy(build).apply(stream)
    assert stream.scheme == expected


# X-Forwarded-Host, -Port, -Prefix.


def test_on_request_only(build: Backend) -> None:
    lines = (b"X-Forwarded-Host: example.com", b"X-Forwarded-Port: 8443", b"X-Forwarded-Prefix: /app")
    assert applied(build, *lines) == {}
    assert applied(build, *lines, prefix=True) == {"root_path": "/app/mount"}


@pytest.mark.parametrize(
    ("host", "server", "field"),
    [
        (b"example.com", ("example.com", 443), b"example.com"),
        (b"example.com:443", ("example.com", 443), b"example.com"),
        (b"example.com:80", ("example.com", 80), b"example.com:80"),
        (b"example.com:8443", ("example.com", 8443), b"example.com:8443"),
        (b"[2001:db8::1]:8443", ("2001:db8::1", 8443), b"[2001:db8::1]:8443"),
        (b"evil.example, example.com", ("example.com", 443), b"example.com"),
    ],
)
def test_x_forwarded_host(build: Backend, host: bytes, server: tuple[str, int], field: bytes) -> None:
    found = applied(build, b"X-Forwarded-Proto: https", b"X-Forwarded-Host: " + host, host=True)
    assert found == {"scheme": "https", "server": server, "host": field}


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"user@example.com",
        b"example.com/path",
        b"ex\xe4mple",
        b"[::1",
        b"[1::2::3]",
        b":80",
        b"a:b",
        b"a:1:2",
        b"<script>",
    ],
)
def test_x_forwarded_host_malformed(build: Backend, host: bytes) -> None:
    assert applied(build, b"X-Forwarded-Host: " + host, host=True) == {}


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (b"8443", {"server": ("internal", 8443), "host": b"internal:8443"}),
        (b"80", {"server": ("internal", 80), "host": b"internal"}),
        (b"0", {}),
        (b"65536", {}),
        (b"999999", {}),
        (b"-1", {}),
        (b"http", {}),
        (b"\xb2", {}),
        (b"", {}),
    ],
)
def test_x_forwarded_port(build: Backend, port: bytes, expected: dict[str, Any]) -> None:
    assert applied(build, b"X-Forwarded-Port: " + port, port=True) == expected


def test_x_forwarded_host_with_port(build: Backend) -> None:
    lines = (b"X-Forwarded-Host: example.com:1", b"X-Forwarded-Port: 8443")
    expected = {"server": ("example.com", 8443), "host": b"example.com:8443"}
    assert applied(build, *lines, host=True, port=True) == expected


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (b"/app", "/app/mount"),
        (b"/app/", "/app/mount"),
        (b"/a/b-c.d", "/a/b-c.d/mount"),
        (b"/", "/mount"),
        (b"", "/mount"),
        (b"app", "/mount"),
        (b"//evil.example", "/mount"),
        (b"/a//b", "/mount"),
        (b"/a b", "/mount"),
        (b"/a?b", "/mount"),
        (b"/%2e", "/mount"),
        (b"/\xe4", "/mount"),
        (b"/a\\b", "/mount"),
        (b"https://evil.example", "/mount"),
        (b"/one, /two", "/two/mount"),
    ],
)
def test_x_forwarded_prefix(build: Backend, prefix: bytes, expected: str) -> None:
    stream = FakeStream(build, [b"X-Forwarded-Prefix: " + prefix])
    policy(build, prefix=True).apply(stream)
    assert stream.root_path == expected


# Forwarded.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # The examples of RFC 7239 4.
        (b'for="_gazonk"', {}),
        (b'For="[2001:db8:cafe::17]:4711"', {"client": ("2001:db8:cafe::17", 4711)}),
        (b"for=198.51.100.60;proto=https;by=203.0.113.43", {"client": ("198.51.100.60", 0), "scheme": "https"}),
        (b"for=198.51.100.43, for=198.51.100.17", {"client": ("198.51.100.17", 0)}),
        # The rightmost element that is not about a trusted proxy, and the scheme from the same element.
        (
            b"for=1.1.1.1;proto=http, for=198.51.100.1;proto=https, for=10.2.2.2;proto=http",
            {"client": ("198.51.100.1", 0), "scheme": "https"},
        ),
        (b"for=198.51.100.1, for=10.2.2.2;proto=https", {"client": ("198.51.100.1", 0)}),
        (b"for=10.3.3.3;proto=https,for=10.2.2.2", {"client": ("10.3.3.3", 0), "scheme": "https"}),
        # Quoting, case, whitespace, obfuscated ports, empty elements.
        (b'FOR="198.51.100.1:80";PROTO="HTTPS"', {"client": ("198.51.100.1", 80), "scheme": "https"}),
        (b'for="198.51.100.1:_port"', {"client": ("198.51.100.1", 0)}),
        (b'for="198.\\51.100.1"', {"client": ("198.51.100.1", 0)}),
        (b", ;for=198.51.100.1 ; ;\tproto=https; ,", {"client": ("198.51.100.1", 0), "scheme": "https"}),
        (b'for=198.51.100.1;ext="a,b;c=\\"d"', {"client": ("198.51.100.1", 0)}),
        # Not told: the last address that is known, but the element is the proxy's.
        (b"for=unknown;proto=https", {"scheme": "https"}),
        (
            b"for=198.51.100.1;proto=http, for=_hidden;proto=https, for=10.2.2.2",
            {"client": ("10.2.2.2", 0), "scheme": "https"},
        ),
        (b"proto=https", {"scheme": "https"}),
        # Malformed: none of it counts.
        (b"for=198.51.100.1;proto=https, for", {}),
        (b"for=198.51.100.1;for=198.51.100.2", {}),
        (b"for=[2001:db8::1]", {}),
        (b'for="198.51.100.1', {}),
        (b"for = 198.51.100.1", {}),
        (b"for=198.51.100.1 proto=https", {}),
        (b'for="198.51.100.1\\', {}),
        (b"=198.51.100.1", {}),
        (b"for=", {}),
        (b"\xff", {}),
        (b"", {}),
        (b",;,", {}),
    ],
)
def test_forwarded(build: Backend, value: bytes, expected: dict[str, Any]) -> None:
    assert applied(build, b"Forwarded: " + value, forwarded=True) == expected


def test_forwarded_host(build: Backend) -> None:
    line = b'Forwarded: for=198.51.100.1;host="example.com:8443";proto=https'
    expected = {"client": ("198.51.100.1", 0), "scheme": "https"}
    assert applied(build, line, forwarded=True) == expected
    expected |= {"server": ("example.com", 8443), "host": b"example.com:8443"}
    assert applied(build, line, forwarded=True, host=True) == expected


def test_forwarded_on_several_lines(build: Backend) -> None:
    lines = (b"Forwarded: for=198.51.100.1", b"Forwarded: for=198.51.100.2", b"Forwarded: for=10.1.1.1")
    assert applied(build, *lines, forwarded=True) == {"client": ("198.51.100.2", 0)}


def test_only_the_configured_family_counts(build: Backend) -> None:
    lines = (b"Forwarded: for=198.51.100.1;proto=https", b"X-Forwarded-For: 198.51.100.2", b"X-Forwarded-Host: evil")
    assert applied(build, *lines, host=True) == {"client": ("198.51.100.2", 0), "server": ("evil", 80), "host": b"evil"}
    assert applied(build, *lines, host=True, forwarded=True) == {"client": ("198.51.100.1", 0), "scheme": "https"}
    # Nor does the other one step in.
    assert applied(build, lines[0]) == {}
    assert applied(build, *lines[1:], forwarded=True, host=True) == {}


# Clearing.


def test_clear(build: Backend) -> None:
    lines = (
        b"X-Forwarded-For: 1.1.1.1",
        b"Accept: a",
        b"X-FORWARDED-Anything: b",
        b"Forwarded: for=1.1.1.1",
        b"X-Real-IP: c",
    )
    for clear, client, left in ((True, STRANGER, 3), (False, STRANGER, 6), (True, PROXY, 6)):
        stream = FakeStream(build, lines, client)
        policy(build, clear=clear).apply(stream)
        names = [name for name, _ in stream.head.fields()]
        assert len(names) == left
    assert b"x-real-ip" in names


# Whatever a proxy sends, a request goes on.


def test_garbage_never_raises(build: Backend) -> None:
    rng = random.Random(11)
    pieces = [b"for", b"=", b'"', b"\\", b";", b",", b" ", b"198.51.100.1", b"10.0.0.1", b"[", b"]", b"::1", b":", b"80", b"_x", b"unknown",
              b"proto=https", b"host=", b"%", b"\xff", b"/", b"a" * 50, b"9" * 30]  # fmt: skip
    names = [
        b"Forwarded",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"X-Forwarded-Port",
        b"X-Forwarded-Prefix",
    ]
    policies = [policy(build, host=True, port=True, prefix=True, forwarded=forwarded) for forwarded in (False, True)]
    for _ in range(2000):
        lines = [
            rng.choice(names) + b":" + b"".join(rng.choices(pieces, k=rng.randrange(8)))
            for _ in range(rng.randrange(1, 5))
        ]
        for judge in policies:
            stream = FakeStream(build, lines)
            assert judge.apply(stream) == 0
            host, port = stream.client
            assert isinstance(host, str)
            assert 0 <= port <= 65535
            assert stream.scheme in ("http", "https")
            assert stream.root_path.startswith("/")
            assert not stream.root_path.startswith("//")
