"""What the server refuses, and how (RFC 9110, RFC 9112).

Each refusal is one request that must not reach the application: it gets its status, `Connection: close`, and then the end
of the connection, although a correct request follows right behind it. The connection is closed in stages (RFC 9112
9.6), so that a client which is still sending reads the status instead of a reset.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from .harness import Client, Response, Server, chunked, request

FOLLOWER = request("GET", "/follower")
"""A correct request: whoever serves it after an error can be made to serve smuggled ones."""


def head(*lines: str | bytes, target: str = "/refused", method: str = "GET", version: str = "1.1") -> bytes:
    """A request head with Host and these lines, which may be anything."""
    start = f"{method} {target} HTTP/{version}\r\nHost: test.example\r\n".encode("latin-1")
    rest = b"".join((line.encode("latin-1") if isinstance(line, str) else line) + b"\r\n" for line in lines)
    return start + rest + b"\r\n"


def raw(text: str) -> bytes:
    return text.encode("latin-1")


def post(*lines: str, body: bytes = b"", version: str = "1.1") -> bytes:
    return head(*lines, method="POST", target="/echo", version=version) + body


CERTIFICATES = Path(__file__).resolve().parent.parent / "certs"

CHUNKED = "Transfer-Encoding: chunked"
LAST = b"0\r\n\r\n"

# name: (request, acceptable statuses). Where two are named, RFC 9112 leaves the choice.
REFUSED: dict[str, tuple[bytes, set[int]]] = {
    # RFC 9112 6.1, 6.3: both framings, which is how requests are smuggled.
    "length-and-coding": (post("Content-Length: 5", CHUNKED, body=LAST), {400}),
    "coding-and-length": (post(CHUNKED, "Content-Length: 5", body=LAST), {400}),
    "length-and-unknown-coding": (post("Content-Length: 5", "Transfer-Encoding: gzip", body=b"hello"), {400, 501}),
    "length-0-and-coding": (post("Content-Length: 0", CHUNKED, body=LAST), {400}),
    # RFC 9110 8.6: Content-Length = 1*DIGIT, once.
    "length-differing": (post("Content-Length: 5", "Content-Length: 6", body=b"hello!"), {400}),
    "length-repeated": (post("Content-Length: 5", "Content-Length: 5", body=b"hello"), {400}),
    "length-list-differing": (post("Content-Length: 5, 6", body=b"hello!"), {400}),
    "length-list-equal": (post("Content-Length: 5, 5", body=b"hello"), {400}),
    "length-plus": (post("Content-Length: +5", body=b"hello"), {400}),
    "length-minus": (post("Content-Length: -5", body=b"hello"), {400}),
    "length-minus-zero": (post("Content-Length: -0"), {400}),
    "length-hex": (post("Content-Length: 0x5", body=b"hello"), {400}),
    "length-float": (post("Content-Length: 5.0", body=b"hello"), {400}),
    "length-underscore": (post("Content-Length: 1_0", body=b"hellohello"), {400}),
    "length-empty": (post("Content-Length:", body=b"hello"), {400}),
    "length-inner-space": (post("Content-Length: 5 5", body=b"hello"), {400}),
    "length-superscript": (post("Content-Length: \xb2", body=b"hello"), {400}),
    "length-huge": (post("Content-Length: 99999999999999999999999", body=b"hello"), {400, 413}),
    "length-2-to-the-63": (post("Content-Length: 9223372036854775808", body=b"hello"), {400, 413}),
    "length-2-to-the-64-and-5": (post("Content-Length: 18446744073709551621", body=b"hello"), {400, 413}),
    # RFC 9112 6.1 and 6.3, RFC 9110 10.1.4: the only transfer coding we know is one final "chunked".
    "coding-unknown": (post("Transfer-Encoding: gzip", body=b"hello"), {400, 501}),
    "coding-unknown-then-chunked": (post("Transfer-Encoding: gzip, chunked", body=LAST), {501}),
    "coding-unknown-line-then-chunked": (post("Transfer-Encoding: gzip", CHUNKED, body=LAST), {501}),
    "coding-not-final": (post("Transfer-Encoding: chunked, gzip", body=LAST), {400, 501}),
    "coding-identity": (post("Transfer-Encoding: identity", body=b"hello"), {400, 501}),
    "coding-identity-chunked": (post("Transfer-Encoding: identity, chunked", body=LAST), {400, 501}),
    "coding-chunked-twice": (post("Transfer-Encoding: chunked, chunked", body=LAST), {400}),
    "coding-chunked-two-lines": (post(CHUNKED, CHUNKED, body=LAST), {400}),
    "coding-with-parameter": (post("Transfer-Encoding: chunked;q=1", body=LAST), {400, 501}),
    "coding-empty": (post("Transfer-Encoding:", body=LAST), {400}),
    "coding-empty-member": (post("Transfer-Encoding: ,chunked", body=LAST), {400, 501}),
    "coding-quoted": (post('Transfer-Encoding: "chunked"', body=LAST), {400, 501}),
    "coding-prefixed": (post("Transfer-Encoding: xchunked", body=LAST), {400, 501}),
    "coding-suffixed": (post("Transfer-Encoding: chunkedx", body=LAST), {400, 501}),
    "coding-no-break-space": (post("Transfer-Encoding: \xa0chunked", body=LAST), {400, 501}),
    "coding-vertical-tab": (post("Transfer-Encoding: \x0bchunked", body=LAST), {400}),
    "coding-in-1.0": (post(CHUNKED, body=LAST, version="1.0"), {400}),
    "coding-in-1.0-keep-alive": (post("Connection: keep-alive", CHUNKED, body=LAST, version="1.0"), {400}),
    # RFC 9112 2.2: lines end in CRLF. We don't take up the permission to see a bare LF as a line end.
    "bare-lf-everywhere": (raw("GET /refused HTTP/1.1\nHost: test.example\n\n"), {400}),
    "bare-lf-request-line": (raw("GET /refused HTTP/1.1\nHost: test.example\r\n\r\n"), {400}),
    "bare-lf-field": (raw("GET /refused HTTP/1.1\r\nHost: test.example\nX: y\r\n\r\n"), {400}),
    "bare-lf-last": (raw("GET /refused HTTP/1.1\r\nHost: test.example\r\n\n"), {400}),
    "bare-lf-before-request-line": (raw("\nGET /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "bare-cr-request-line": (raw("GET /refused\r HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "bare-cr-value": (head("X-A: a\rX-B: b"), {400}),
    "bare-cr-before-crlf": (head("X-A: a\r"), {400}),
    "bare-cr-name": (head("X-\rA: a"), {400}),
    "bare-cr-line": (raw("GET /refused HTTP/1.1\r\nHost: test.example\r\n\rX: y\r\n\r\n"), {400}),
    # RFC 9112 5.2: obsolete line folding; and white space before the first field line (2.2).
    "folded-space": (head("X-A: a", " b"), {400}),
    "folded-tab": (head("X-A: a", "\tb"), {400}),
    "folded-empty": (head("X-A: a", " "), {400}),
    "folded-first-line": (raw("GET /refused HTTP/1.1\r\n Host: test.example\r\n\r\n"), {400}),
    # RFC 9112 5.1: no white space between name and colon.
    "space-before-colon": (head("X-A : a"), {400}),
    "tab-before-colon": (head("X-A\t: a"), {400}),
    "space-before-length-colon": (post("Content-Length : 5", body=b"hello"), {400}),
    "space-before-coding-colon": (post("Transfer-Encoding : chunked", body=LAST), {400}),
    # RFC 9110 5.1: field-name = token.
    "name-empty": (head(": a"), {400}),
    "name-space": (head("X A: a"), {400}),
    "name-high": (head("X-\xe4: a"), {400}),
    "name-nul": (head("X-\0: a"), {400}),
    "name-parenthesis": (head("X(A): a"), {400}),
    "name-slash": (head("X/A: a"), {400}),
    "name-at": (head("X@A: a"), {400}),
    "name-brackets": (head("X[A]: a"), {400}),
    "name-quote": (head('X"A": a'), {400}),
    "name-equals": (head("X=A: a"), {400}),
    "name-comma": (head("X,A: a"), {400}),
    "name-semicolon": (head("X;A: a"), {400}),
    "name-delete": (head("X\x7fA: a"), {400}),
    "no-colon": (head("just words"), {400}),
    # RFC 9110 5.5: control characters in values.
    "value-nul": (head("X-A: a\0b"), {400}),
    "value-control": (head("X-A: a\x01b"), {400}),
    "value-escape": (head("X-A: \x1b[31m"), {400}),
    "value-vertical-tab": (head("X-A: a\x0bb"), {400}),
    "value-delete": (head("X-A: a\x7fb"), {400}),
    # RFC 9112 3.2: Host, once and well-formed, in every HTTP/1.1 request.
    "host-missing": (raw("GET /refused HTTP/1.1\r\nX: y\r\n\r\n"), {400}),
    "host-missing-absolute": (raw("GET http://test.example/refused HTTP/1.1\r\n\r\n"), {400}),
    "host-repeated": (head("Host: test.example"), {400}),
    "host-differing": (head("Host: other.example"), {400}),
    "host-repeated-1.0": (head("Host: other.example", version="1.0"), {400}),
    "host-list": (raw("GET /refused HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n"), {400}),
    "host-userinfo": (raw("GET /refused HTTP/1.1\r\nHost: user@test.example\r\n\r\n"), {400}),
    "host-path": (raw("GET /refused HTTP/1.1\r\nHost: test.example/path\r\n\r\n"), {400}),
    "host-query": (raw("GET /refused HTTP/1.1\r\nHost: test.example?x\r\n\r\n"), {400}),
    "host-fragment": (raw("GET /refused HTTP/1.1\r\nHost: test.example#x\r\n\r\n"), {400}),
    "host-backslash": (raw("GET /refused HTTP/1.1\r\nHost: test.example\\x\r\n\r\n"), {400}),
    "host-space": (raw("GET /refused HTTP/1.1\r\nHost: test example\r\n\r\n"), {400}),
    "host-port-letters": (raw("GET /refused HTTP/1.1\r\nHost: test.example:http\r\n\r\n"), {400}),
    "host-port-large": (raw("GET /refused HTTP/1.1\r\nHost: test.example:65536\r\n\r\n"), {400}),
    "host-port-minus": (raw("GET /refused HTTP/1.1\r\nHost: test.example:-80\r\n\r\n"), {400}),
    "host-port-twice": (raw("GET /refused HTTP/1.1\r\nHost: test.example:80:80\r\n\r\n"), {400}),
    "host-scheme": (raw("GET /refused HTTP/1.1\r\nHost: http://test.example\r\n\r\n"), {400}),
    "host-bracket-open": (raw("GET /refused HTTP/1.1\r\nHost: [::1\r\n\r\n"), {400}),
    "host-bracket-empty": (raw("GET /refused HTTP/1.1\r\nHost: []\r\n\r\n"), {400}),
    "host-bracket-words": (raw("GET /refused HTTP/1.1\r\nHost: [not an address]\r\n\r\n"), {400}),
    "host-v6-bare": (raw("GET /refused HTTP/1.1\r\nHost: ::1\r\n\r\n"), {400}),
    "host-percent": (raw("GET /refused HTTP/1.1\r\nHost: test%zz.example\r\n\r\n"), {400}),
    "host-high": (raw("GET /refused HTTP/1.1\r\nHost: t\xe4st.example\r\n\r\n"), {400}),
    "host-less-than": (raw("GET /refused HTTP/1.1\r\nHost: <test>\r\n\r\n"), {400}),
    # RFC 9112 3: the request line.
    "line-without-version": (raw("GET /refused\r\n\r\n"), {400}),
    "line-words": (raw("hello there, server\r\n\r\n"), {400}),
    "line-one-word": (raw("GET\r\n\r\n"), {400}),
    "line-two-spaces": (raw("GET  /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "line-two-spaces-later": (raw("GET /refused  HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "line-tab": (raw("GET\t/refused\tHTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "line-space-first": (raw(" GET /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "line-space-last": (raw("GET /refused HTTP/1.1 \r\nHost: test.example\r\n\r\n"), {400}),
    "line-vertical-tab": (raw("GET\x0b/refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "method-empty": (raw(" /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "method-brackets": (raw("G[E]T /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "method-high": (raw("G\xcbT /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "method-nul": (raw("GE\0T /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "method-colon": (raw("GET: /refused HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    # RFC 9112 2.3: the version; RFC 9110 15.6.6: another major version is 505.
    "version-2.0": (head(version="2.0"), {505}),
    "version-3.0": (head(version="3.0"), {505}),
    "version-0.9": (head(version="0.9"), {400, 505}),
    "version-2.0-preface": (raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), {400, 505}),
    "version-lower-case": (raw("GET /refused http/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    "version-one-digit": (head(version="1"), {400}),
    "version-three-digits": (head(version="1.10"), {400}),
    "version-leading-zero": (head(version="01.1"), {400}),
    "version-comma": (head(version="1,1"), {400}),
    "version-letters": (head(version="1.x"), {400}),
    "version-high-digit": (head(version="1.\xb9"), {400}),
    "version-other-name": (raw("GET /refused HTCPCP/1.1\r\nHost: test.example\r\n\r\n"), {400}),
    # RFC 9112 3.2: the forms of the target.
    "target-relative": (head(target="refused"), {400}),
    "target-empty-name": (head(target="?refused"), {400}),
    "target-asterisk-get": (head(target="*"), {400}),
    "target-asterisk-more": (head(target="*/refused", method="OPTIONS"), {400}),
    "target-authority-get": (head(target="test.example:80"), {400}),
    "target-host-only": (head(target="test.example"), {400}),
    "target-no-authority": (head(target="http:///refused"), {400}),
    "target-no-slashes": (head(target="http:refused"), {400}),
    "target-other-scheme": (head(target="ftp://test.example/refused"), {400}),
    "target-userinfo": (head(target="http://user:password@test.example/refused"), {400}),
    "target-bad-port": (head(target="http://test.example:x/refused"), {400}),
    "target-bad-host": (head(target="http://test<>example/refused"), {400}),
    "target-fragment": (head(target="/refused#fragment"), {400}),
    "target-control": (head(target="/ref\x01used"), {400}),
    "target-nul": (head(target="/ref\0used"), {400}),
    "target-delete": (head(target="/ref\x7fused"), {400}),
    "target-high": (head(target="/refus\xe9"), {400}),
    "target-percent-short": (head(target="/refused%2"), {400}),
    "target-percent-letters": (head(target="/refused%zz"), {400}),
    # RFC 9110 9.3.6: we are no proxy.
    "connect": (raw("CONNECT test.example:443 HTTP/1.1\r\nHost: test.example:443\r\n\r\n"), {501}),
    "connect-origin-form": (head(method="CONNECT"), {400, 501}),
    "connect-no-port": (raw("CONNECT test.example HTTP/1.1\r\nHost: test.example\r\n\r\n"), {400, 501}),
    # RFC 9112 7.1: the chunked coding.
    "chunk-size-letters": (post(CHUNKED, body=b"xyz\r\nhello\r\n" + LAST), {400}),
    "chunk-size-empty": (post(CHUNKED, body=b"\r\nhello\r\n" + LAST), {400}),
    "chunk-size-minus": (post(CHUNKED, body=b"-5\r\nhello\r\n" + LAST), {400}),
    "chunk-size-plus": (post(CHUNKED, body=b"+5\r\nhello\r\n" + LAST), {400}),
    "chunk-size-prefix": (post(CHUNKED, body=b"0x5\r\nhello\r\n" + LAST), {400}),
    "chunk-size-underscore": (post(CHUNKED, body=b"0_5\r\nhello\r\n" + LAST), {400}),
    "chunk-size-space-first": (post(CHUNKED, body=b" 5\r\nhello\r\n" + LAST), {400}),
    "chunk-size-space-last": (post(CHUNKED, body=b"5 \r\nhello\r\n" + LAST), {400}),
    "chunk-size-tab": (post(CHUNKED, body=b"5\t\r\nhello\r\n" + LAST), {400}),
    "chunk-size-bare-lf": (post(CHUNKED, body=b"5\nhello\r\n" + LAST), {400}),
    "chunk-size-bare-cr": (post(CHUNKED, body=b"5\rX\r\nhello\r\n" + LAST), {400}),
    "chunk-size-nul": (post(CHUNKED, body=b"5\0\r\nhello\r\n" + LAST), {400}),
    "chunk-size-overflow": (post(CHUNKED, body=b"10000000000000005\r\nhello\r\n" + LAST), {400, 413}),
    "chunk-size-overflow-63": (post(CHUNKED, body=b"8000000000000000\r\nhello\r\n" + LAST), {400, 413}),
    "chunk-size-many-zeros": (post(CHUNKED, body=b"0" * 40 + b"5\r\nhello\r\n" + LAST), {400, 413}),
    "chunk-too-short": (post(CHUNKED, body=b"3\r\nhello\r\n" + LAST), {400}),
    "chunk-too-long": (post(CHUNKED, body=b"6\r\nhello\r\n" + LAST), {400}),
    "chunk-end-missing": (post(CHUNKED, body=b"5\r\nhello" + LAST), {400}),
    "chunk-end-lf": (post(CHUNKED, body=b"5\r\nhello\n" + LAST), {400}),
    "chunk-end-cr-only": (post(CHUNKED, body=b"5\r\nhello\rX" + LAST), {400}),
    "chunk-end-two-bytes": (post(CHUNKED, body=b"5\r\nhelloXX" + LAST), {400}),
    "chunk-extension-control": (post(CHUNKED, body=b"5;a=\x01\r\nhello\r\n" + LAST), {400}),
    "chunk-extension-bare-lf": (post(CHUNKED, body=b"5;a=b\nhello\r\n" + LAST), {400}),
    "chunk-extension-bare-cr": (post(CHUNKED, body=b"5;a=\rb\r\nhello\r\n" + LAST), {400}),
    "chunk-extension-unquoted": (post(CHUNKED, body=b'5;a="b\r\nhello\r\n' + LAST), {400}),
    "chunk-extension-nameless": (post(CHUNKED, body=b"5;=b\r\nhello\r\n" + LAST), {400}),
    "chunk-extension-long": (
        post(CHUNKED, body=b"5;a=" + b"b" * 70000 + b"\r\nhello\r\n" + LAST),
        {400, 413, 431},
    ),
    "chunk-extensions-in-sum": (
        post(CHUNKED, body=b"".join(b"1;a=%b\r\nx\r\n" % (b"b" * 1000) for _ in range(200)) + LAST),
        {400, 413, 431},
    ),
    "last-chunk-bare-lf": (post(CHUNKED, body=b"5\r\nhello\r\n0\n\r\n"), {400}),
    # RFC 9112 7.1.2: the trailer section follows the rules of fields.
    "trailer-no-colon": (post(CHUNKED, body=b"0\r\njust words\r\n\r\n"), {400}),
    "trailer-space-before-colon": (post(CHUNKED, body=b"0\r\nX-A : b\r\n\r\n"), {400}),
    "trailer-folded": (post(CHUNKED, body=b"0\r\nX-A: b\r\n c\r\n\r\n"), {400}),
    "trailer-bare-lf": (post(CHUNKED, body=b"0\r\nX-A: b\n\r\n"), {400}),
    "trailer-end-bare-lf": (post(CHUNKED, body=b"0\r\nX-A: b\r\n\n"), {400}),
    "trailer-nul": (post(CHUNKED, body=b"0\r\nX-A: b\0\r\n\r\n"), {400}),
    "trailer-name": (post(CHUNKED, body=b"0\r\nX A: b\r\n\r\n"), {400}),
    "trailer-field-large": (post(CHUNKED, body=b"0\r\nX-A: " + b"b" * 9000 + b"\r\n\r\n"), {400, 431}),
    "trailer-many": (
        post(CHUNKED, body=b"0\r\n" + b"".join(b"X-%d: b\r\n" % i for i in range(101)) + b"\r\n"),
        {400, 431},
    ),
    # Sizes, at their default limits.
    "line-long": (head(target="/" + "x" * 9000), {414}),
    "line-endless": (raw("GET /" + "x" * 20000), {414}),
    "fields-many": (head(*[f"X-{i}: y" for i in range(100)]), {431}),
    "field-large": (head("X-A: " + "b" * 9000), {431}),
    "field-endless": (raw("GET /refused HTTP/1.1\r\nHost: test.example\r\nX-A: " + "b" * 20000), {431}),
    "field-name-large": (head("X" * 9000 + ": b"), {431}),
    "fields-large-in-sum": (head(*[f"X-{i}: {'y' * 8000}" for i in range(20)]), {431}),
    "empty-lines": (b"\r\n" * 5000 + head(), {400}),
}


def read_refusal(client: Client, statuses: set[int]) -> Response:
    """The one answer to a refused request, and then the end."""
    response = client.response()
    assert response.status in statuses, response
    assert "close" in response.connection, response
    assert not response.informational, response
    client.expect_end()
    return response


@pytest.mark.parametrize("name", REFUSED)
def test_refused(probe: Server, name: str) -> None:
    """Whole, in one piece, with a correct request right behind."""
    message, statuses = REFUSED[name]
    before = probe.facts("/count?path=/follower")
    with probe.connect() as client:
        client.send(message + FOLLOWER)
        read_refusal(client, statuses)
    assert probe.facts("/count?path=/follower") == before, "the request behind the refused one was served"
    assert probe.facts("/count?path=/refused") == 0, "the refused request reached the application"


@pytest.mark.parametrize("name", [name for name, (message, _) in REFUSED.items() if len(message) < 400])
def test_refused_byte_by_byte(asgi: Server, name: str) -> None:
    """Where the bytes are split changes nothing."""
    message, statuses = REFUSED[name]
    with asgi.connect() as client:
        client.send_each(message[i : i + 1] for i in range(len(message)))
        read_refusal(client, statuses)


def test_refused_while_the_client_is_still_sending(probe: Server) -> None:
    """RFC 9112 9.6: the status must be readable for a client that sends on without looking."""
    with probe.connect() as client:
        client.send(b"POST /refused HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 600000\r\n\r\n")
        client.wait_readable()
        for _ in range(60):
            client.send(b"x" * 10000)
        read_refusal(client, {400})


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_refused_over_tls_while_the_client_is_still_sending(loop: str) -> None:
    """The same, where the server can't close its sending half alone. The end then comes when the client's does."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    files = [f"--certfile={CERTIFICATES / 'server.pem'}", f"--keyfile={CERTIFICATES / 'server.key'}"]
    with Server("asgi_apps:probe", *files, f"--loop={loop}", "--timeout-linger=4") as server:
        for _ in range(5):
            with server.connect(tls=context) as client:
                client.send(b"POST /refused HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 600000\r\n\r\n")
                client.wait_readable()
                for _ in range(60):
                    client.send(b"x" * 10000)
                response = client.response()
                assert response.status == 400
                assert "close" in response.connection
        with server.connect(tls=context) as client:
            client.send(b"GET /refused HTTP/1.1\r\nbad line\r\n\r\n")
            assert client.response().status == 400
            client.expect_end()


def test_refused_connection_is_closed_in_the_end(probe: Server) -> None:
    """What is discarded after a refusal is bounded: a client can't send for ever."""
    with probe.connect() as client:
        client.send(b"GET /refused HTTP/1.1\r\nbad line\r\n\r\n")
        read_refusal(client, {400})
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                client.send(b"x" * 100_000)


def test_refused_connection_closes_when_the_client_closes(probe: Server) -> None:
    """Nothing of the server waits for a client that has read the status and left."""
    for _ in range(20):
        with probe.connect() as client:
            client.send(b"GET /refused HTTP/1.1\r\nbad line\r\n\r\n")
            read_refusal(client, {400})
    assert probe.alive()


def test_earlier_pipelined_requests_are_answered_first(probe: Server) -> None:
    """A refusal takes its place in the row of responses (RFC 9112 9.3.2)."""
    with probe.connect() as client:
        client.send(request("GET", "/hello") * 3 + b"GET /refused HTTP/1.1\r\nbad line\r\n\r\n" + FOLLOWER)
        for _ in range(3):
            response = client.response()
            assert (response.status, response.body) == (200, b"hello")
        read_refusal(client, {400})


def test_error_in_a_body_nobody_reads(probe: Server) -> None:
    """The application has answered; what follows isn't HTTP, so nothing behind it is either."""
    with probe.connect() as client:
        client.send(head(CHUNKED, method="POST", target="/unread") + b"xyz\r\nhello\r\n0\r\n\r\n" + FOLLOWER)
        first = client.response()
        assert first.status in (200, 400), first
        client.expect_end()


def test_error_in_a_body_after_the_head_was_sent(probe: Server) -> None:
    """The response can't be replaced any more: it must end visibly cut (RFC 9112 8)."""
    with probe.connect() as client:
        # With Expect, a WSGI application too is started before the content is there.
        client.send(head(CHUNKED, "Expect: 100-continue", method="POST", target="/head-then-read"))
        response = client.response_head()
        assert response.status == 200, response
        client.send(b"5\r\nhello\r\nxyz\r\nhello\r\n0\r\n\r\n" + FOLLOWER)
        data = client.rest()
        assert b"HTTP/1.1 200" not in data
        assert not data.endswith(b"0\r\n\r\n"), data


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(request("GET", "/plain", "X-Tab: a\tb"), id="tab in a value"),
        pytest.param(request("GET", "/plain", "X-High: \xe4\xff"), id="obs-text in a value"),
        pytest.param(request("GET", "/plain", "X-Empty:"), id="empty value"),
        pytest.param(request("GET", "/plain", "X-Tight:a"), id="no space after the colon"),
        pytest.param(request("GET", "/plain", "X-Wide: \t a \t "), id="white space around a value"),
        pytest.param(request("GET", "/plain", "!#$%&'*+-.^_`|~09azAZ: a"), id="every token character"),
        pytest.param(request("get", "/plain"), id="lower-case method"),
        pytest.param(request("M-SEARCH!", "/plain"), id="unknown method"),
        pytest.param(request("GET", "/plain", version="1.2"), id="HTTP/1.2"),
        pytest.param(request("GET", "/plain", version="1.0", host=None), id="HTTP/1.0 without Host"),
        pytest.param(request("GET", "/plain", host="test.example:8000"), id="Host with port"),
        pytest.param(request("GET", "/plain", host="[::1]:8000"), id="Host with IPv6 address"),
        pytest.param(request("GET", "/plain", host="127.0.0.1"), id="Host with IPv4 address"),
        pytest.param(request("GET", "/plain", host="TEST.example."), id="Host with a dot at its end"),
        pytest.param(request("GET", "/plain", host="under_score.example"), id="Host with an underscore"),
        pytest.param(request("GET", "/plain?a=[b]|c\\^`{}%zz"), id="odd characters in the query"),
        pytest.param(request("GET", "//plain//x"), id="double slashes"),
        pytest.param(request("GET", "/a/../plain/%2e%2e/b%00"), id="dots and escapes are left alone"),
        pytest.param(request("POST", "/plain", "Content-Length: 0"), id="no content"),
        pytest.param(request("POST", "/plain", "Content-Length: 0000000005", body=b"hello"), id="zeros in front"),
        pytest.param(request("POST", "/plain", "Transfer-Encoding:  Chunked\t", body=LAST), id="Chunked"),
        pytest.param(request("POST", "/plain", CHUNKED, body=chunked(b"a", b"b" * 999)), id="chunks"),
        pytest.param(request("POST", "/plain", CHUNKED, body=b"00005\r\nhello\r\n000\r\n\r\n"), id="zeros in sizes"),
        pytest.param(
            request("POST", "/plain", CHUNKED, body=b'5;a;b=c;d="e f\\""\r\nhello\r\n0;z\r\n\r\n'), id="extensions"
        ),
        pytest.param(
            request("POST", "/plain", CHUNKED, body=b"1 ; a = b\r\nx\r\n0\r\n\r\n"), id="bad white space in extensions"
        ),
        pytest.param(
            request("POST", "/plain", CHUNKED, body=chunked(b"hello", trailers=b"X-A: b\r\n")), id="trailers"
        ),
        pytest.param(request("GET", "/" + "x" * 8000), id="long target"),
        pytest.param(request("GET", "/plain", "X-A: " + "b" * 8000), id="large field"),
        pytest.param(request("GET", "/plain", *[f"X-{i}: y" for i in range(99)]), id="100 fields"),
        pytest.param(b"\r\n" + request("GET", "/plain"), id="empty line in front"),
    ],
)
def test_accepted(probe: Server, message: bytes) -> None:
    """The other side of strictness: what the standard allows is served, and the connection goes on."""
    with probe.connect() as client:
        client.send(message)
        assert client.response().status == 200
        if b"HTTP/1.0" not in message:
            client.send(request("GET", "/hello"))
            assert client.response().body == b"hello"


def test_options_asterisk(probe: Server) -> None:
    """RFC 9112 3.2.4: the only target of that form, and only for OPTIONS."""
    response = probe.exchange(request("OPTIONS", "*"))
    assert response.status in (200, 204), response


def test_http_0_9_gets_an_answer(probe: Server) -> None:
    """A simple request of HTTP/0.9 is refused, with a status that a reader understands."""
    with probe.connect() as client:
        client.send(b"GET /refused\r\n")
        client.half_close()
        read_refusal(client, {400, 505})


def test_tls_on_a_plain_port(probe: Server) -> None:
    """A TLS handshake is no request; whatever the answer, the connection ends at once."""
    with probe.connect() as client:
        client.send(bytes.fromhex("16030100a5010000a10303") + bytes(range(160)) + b"\n")
        response = client.response()
        assert response.status == 400
        client.expect_end()


def test_refusals_say_nothing_about_the_request(probe: Server) -> None:
    """An error page that repeats what the client sent is a way to inject script."""
    with probe.connect() as client:
        client.send(b"GET /<script>alert(1)</script> HTTP/1.1\r\nbad <script> line\r\n\r\n")
        response = read_refusal(client, {400})
        assert b"script" not in response.body
