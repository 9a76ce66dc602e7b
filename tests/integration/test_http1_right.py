"""What HTTP/1.1 asks of a server, beyond refusing what is wrong (RFC 9110, RFC 9112).

Each test runs against an ASGI and a WSGI application that answer the same targets, unless it names one of them.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import time
import uuid

import pytest

from .harness import Incomplete, Server, chunked, request

HELLO = request("GET", "/hello")
CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


def unique() -> str:
    """A name for a gate."""
    return uuid.uuid4().hex


# Persistence (RFC 9112 9.3)


def test_keep_alive_is_the_default(probe: Server) -> None:
    with probe.connect() as client:
        for _ in range(5):
            client.send(HELLO)
            response = client.response()
            assert (response.status, response.body) == (200, b"hello")
            assert "close" not in response.connection
            assert response.get("content-length") == "5"
        client.expect_silence(0.05)


@pytest.mark.parametrize(
    "fields",
    [
        ["Connection: close"],
        ["Connection: Close"],
        ["Connection: CLOSE"],
        ["Connection: x, close"],
        ["Connection: x ,\tclose"],
        ["Connection: ,, close ,,"],
        ["Connection: x", "Connection: close"],
        ["Connection: keep-alive, close"],
    ],
)
def test_close_is_honoured(probe: Server, fields: list[str]) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/hello", *fields) + HELLO)
        response = client.response()
        assert response.body == b"hello"
        assert "close" in response.connection
        client.expect_end()


@pytest.mark.parametrize("value", ["closed", "x-close", "close-x", "keep-alive", '"close"', "", "upgrade"])
def test_what_is_not_close(probe: Server, value: str) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/hello", f"Connection: {value}"))
        assert "close" not in client.response().connection
        client.send(HELLO)
        assert client.response().body == b"hello"


def test_http_1_0_closes(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/hello", version="1.0"))
        response = client.response()
        assert response.body == b"hello"
        assert "keep-alive" not in response.connection
        client.expect_end()


@pytest.mark.parametrize("value", ["keep-alive", "Keep-Alive", "x, keep-alive"])
def test_http_1_0_keep_alive(probe: Server, value: str) -> None:
    """RFC 9112 9.3: an old client must ask for it, and must be told that it got it."""
    with probe.connect() as client:
        for _ in range(3):
            client.send(request("GET", "/hello", f"Connection: {value}", version="1.0"))
            response = client.response()
            assert response.body == b"hello"
            assert "keep-alive" in response.connection
        client.send(request("GET", "/hello", version="1.0"))
        assert client.response().body == b"hello"
        client.expect_end()


def test_http_1_0_keep_alive_and_close(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/hello", "Connection: keep-alive, close", version="1.0"))
        assert "keep-alive" not in client.response().connection
        client.expect_end()


def test_the_application_may_close(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/closing") + HELLO)
        response = client.response()
        assert response.body == b"closing"
        assert response.connection == {"close"}
        client.expect_end()


# Pipelining (RFC 9112 9.3.2)


def test_pipelining_keeps_the_order(probe: Server) -> None:
    with probe.connect() as client:
        targets = [f"/number/{i}" for i in range(200)]
        client.send(b"".join(request("GET", target) for target in targets))
        for target in targets:
            assert client.response().json()["path"] == target


def test_pipelining_with_bodies_of_both_framings(probe: Server) -> None:
    with probe.connect() as client:
        messages = []
        for i in range(40):
            body = b"%d;" % i * (i % 7)
            if i % 2:
                messages.append(request("POST", "/echo", CHUNKED, body=chunked(*[b"%d;" % i] * (i % 7))))
            else:
                messages.append(request("POST", "/echo", f"Content-Length: {len(body)}", body=body))
        client.send(b"".join(messages))
        for i in range(40):
            assert client.response().body == b"%d;" % i * (i % 7)


def test_pipelined_behind_a_slow_one(probe: Server) -> None:
    """The second is ready long before the first: it must wait."""
    name = unique()
    with probe.connect() as client:
        client.send(request("GET", f"/gate/wait?name={name}") + HELLO * 3)
        probe.wait_event("waiting", name=name)
        client.expect_silence(0.05)
        assert probe.get(f"/gate/open?name={name}").body == b"ok"
        assert client.response().body == b"opened"
        for _ in range(3):
            assert client.response().body == b"hello"


def test_pipelined_byte_by_byte(probe: Server) -> None:
    message = HELLO + request("POST", "/echo", CHUNKED, body=chunked(b"ab", b"c")) + HELLO
    with probe.connect() as client:
        client.send_each(message[i : i + 1] for i in range(len(message)))
        assert [client.response().body for _ in range(3)] == [b"hello", b"abc", b"hello"]


def test_close_ends_a_pipeline(probe: Server) -> None:
    """RFC 9112 9.6: nothing behind a request with `close` is served."""
    before = probe.facts("/count?path=/behind")
    with probe.connect() as client:
        client.send(HELLO + request("GET", "/hello", "Connection: close") + request("GET", "/behind"))
        assert client.response().body == b"hello"
        assert client.response().body == b"hello"
        client.expect_end()
    assert probe.facts("/count?path=/behind") == before


def test_head_in_a_pipeline(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("HEAD", "/hello") + request("HEAD", "/parts") + HELLO)
        first = client.response("HEAD")
        assert (first.status, first.get("content-length")) == (200, "5")
        assert client.response("HEAD").status == 200
        assert client.response().body == b"hello"


# Expect: 100-continue (RFC 9110 10.1.1)


def test_continue_is_sent_when_the_application_reads(probe: Server) -> None:
    """Not before: until then, the application may still refuse without the content having been sent."""
    name = unique()
    with probe.connect() as client:
        client.send(request("POST", f"/size?name={name}", EXPECT, "Content-Length: 5"))
        probe.wait_event("waiting", name=name)
        client.expect_silence(0.05)
        probe.get(f"/gate/open?name={name}")
        interim = client.head()
        assert (interim.status, interim.fields) == (100, [])
        client.send(b"12345")
        assert client.response().json()["size"] == 5
        client.send(HELLO)
        assert client.response().body == b"hello"


def test_continue_with_chunks(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("POST", "/echo", "Expect: 100-Continue", CHUNKED))
        assert client.head().status == 100
        client.send(chunked(b"hello"))
        assert client.response().body == b"hello"


def test_no_continue_if_the_application_does_not_read(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("POST", "/unread", EXPECT, "Content-Length: 5"))
        response = client.response()
        assert not response.informational
        assert response.body == b"unread"
        if "close" in response.connection:
            client.expect_end()
        else:
            # RFC 9110 10.1.1: a server that stays open reads and discards the content.
            client.send(b"12345" + HELLO)
            assert client.response().body == b"hello"


def test_no_continue_after_the_final_head(probe: Server) -> None:
    """The application reads after it began to answer: an interim response would stand in the middle of the final one."""
    with probe.connect() as client:
        client.send(request("POST", "/head-then-read", EXPECT, "Content-Length: 5"))
        response = client.response_head()
        assert response.status == 200
        assert not response.informational
        client.send(b"12345")
        client.read_content(response, "POST")
        assert response.body == b"head;12345"


def test_continue_is_sent_once(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("POST", "/echo", EXPECT, "Content-Length: 6"))
        assert client.head().status == 100
        for byte in (b"1", b"2", b"3", b"4", b"5", b"6"):
            client.send(byte)
        response = client.response()
        assert not response.informational
        assert response.body == b"123456"


def test_no_continue_without_content(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/echo", EXPECT) + request("POST", "/echo", EXPECT, "Content-Length: 0"))
        for _ in range(2):
            response = client.response()
            assert (response.status, response.body, response.informational) == (200, b"", [])


def test_content_may_come_before_the_continue(probe: Server) -> None:
    """RFC 9110 10.1.1: a client needn't wait; then the interim response may be left out."""
    with probe.connect() as client:
        client.send(request("POST", "/echo", EXPECT, body=b"hello") + HELLO)
        response = client.response()
        assert response.body == b"hello"
        assert [interim.status for interim in response.informational] in ([], [100])
        assert client.response().body == b"hello"


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "100-continue;q=1", "x=y"])
def test_other_expectations_fail(probe: Server, value: str) -> None:
    """RFC 9110 10.1.1 and 15.5.18."""
    with probe.connect() as client:
        client.send(request("GET", "/hello", f"Expect: {value}"))
        response = client.response()
        assert (response.status, response.informational) == (417, [])


def test_http_1_0_gets_no_interim_response(probe: Server) -> None:
    """RFC 9110 15.2: an HTTP/1.0 client would take it for the final one."""
    with probe.connect() as client:
        client.send(request("POST", "/echo", EXPECT, "Content-Length: 5", version="1.0"))
        client.expect_silence(0.05)
        client.send(b"hello")
        response = client.response()
        assert (response.body, response.informational) == (b"hello", [])
    response = probe.exchange(request("GET", "/hints", version="1.0"))
    assert (response.body, response.informational) == (b"hinted", [])


# Early hints (RFC 8297)


def test_early_hints(probe: Server) -> None:
    response = probe.get("/hints?n=2")
    assert response.body == b"hinted"
    assert [interim.status for interim in response.informational] == [103, 103]
    assert [interim.get("link") for interim in response.informational] == [
        f"</{i}.css>; rel=preload; as=style" for i in range(2)
    ]
    assert response.get("link") is None


def test_early_hints_leave_at_once(probe: Server) -> None:
    """Hints that wait for the final head are of no use. In a pipeline they stand in front of their own response."""
    with probe.connect() as client:
        client.send(HELLO + request("GET", "/hints") + HELLO)
        assert not client.response().informational
        assert [interim.status for interim in client.response().informational] == [103]
        assert not client.response().informational


# Content that nobody reads


def test_unread_body_is_drained(probe: Server) -> None:
    """A small one is thrown away, and the connection goes on behind it."""
    with probe.connect() as client:
        for _ in range(3):
            client.send(request("POST", "/unread", body=b"x" * 10000) + HELLO)
            response = client.response()
            assert response.body == b"unread"
            assert "close" not in response.connection
            assert client.response().body == b"hello"


def test_unread_chunked_body_is_drained(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("POST", "/unread", CHUNKED, body=chunked(b"GET /x HTTP/1.1\r\n\r\n" * 9)) + HELLO)
        assert client.response().body == b"unread"
        assert client.response().body == b"hello"


def test_unread_body_that_comes_later(asgi: Server) -> None:
    """It is not a request, however much it looks like one. (A WSGI application isn't started before it is there.)"""
    body = request("GET", "/smuggled")
    with asgi.connect() as client:
        client.send(request("POST", "/unread", f"Content-Length: {len(body)}"))
        response = client.response()
        assert response.body == b"unread"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(body + HELLO)
        if "close" in response.connection:
            client.expect_end()
        else:
            assert client.response().body == b"hello"
    assert asgi.facts("/count?path=/smuggled") == 0


def test_large_unread_body_closes(probe: Server) -> None:
    """Beyond the bound the connection is closed, in stages: the client must be able to read the response."""
    with probe.connect() as client:
        client.send(request("POST", "/unread", "Content-Length: 900000"))
        for _ in range(90):
            client.send(b"x" * 10000)
        response = client.response()
        assert response.body == b"unread"
        assert "close" in response.connection
        client.expect_end()


# Half-closed clients


def test_half_closed_client_gets_its_response(probe: Server) -> None:
    with probe.connect() as client:
        client.send(HELLO)
        client.half_close()
        assert client.response().body == b"hello"
        client.expect_end()


def test_half_closed_client_gets_all_its_responses(probe: Server) -> None:
    with probe.connect() as client:
        client.send(HELLO * 20 + request("POST", "/echo", body=b"x" * 50000))
        client.half_close()
        for _ in range(20):
            assert client.response().body == b"hello"
        assert client.response().body == b"x" * 50000
        client.expect_end()


def test_half_closed_client_waits_for_a_slow_response(probe: Server) -> None:
    """The end of the client's input comes first, the response later."""
    name = unique()
    with probe.connect() as client:
        client.send(request("GET", f"/gate/wait?name={name}"))
        probe.wait_event("waiting", name=name)
        client.half_close()
        client.expect_silence(0.1)
        probe.get(f"/gate/open?name={name}")
        assert client.response().body == b"opened"
        client.expect_end()


def test_half_closed_inside_a_head(probe: Server) -> None:
    """RFC 9112 8: an incomplete request; nothing runs, the connection ends."""
    with probe.connect() as client:
        client.send(b"GET /incomplete HTTP/1.1\r\nHost: x\r\n")
        client.half_close()
        data = client.rest()
        assert data == b"" or data.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 ")), data
    assert probe.facts("/count?path=/incomplete") == 0


def test_half_closed_inside_a_body(probe: Server) -> None:
    """RFC 9112 8: the application must not take it for complete, and the client no success."""
    with probe.connect() as client:
        client.send(request("POST", "/echo", "Content-Length: 10", body=b"12345"))
        client.half_close()
        data = client.rest()
        assert b" 200 " not in data.split(b"\r\n")[0], data


def test_client_that_says_nothing(probe: Server) -> None:
    with probe.connect() as client:
        client.half_close()
        client.expect_end()


# Targets


def test_absolute_form_overrides_host(probe: Server) -> None:
    """RFC 9112 3.2.2: what the target says goes, whatever Host says."""
    seen = probe.facts("http://other.example:81/path/x?y=1")
    assert (seen["path"], seen["query"]) == ("/path/x", "y=1")
    assert [value for name, value in seen["headers"] if name == "host"] == ["other.example:81"]


def test_absolute_form_without_path(probe: Server) -> None:
    seen = probe.facts("HTTP://other.example?y")
    assert (seen["path"], seen["query"]) == ("/", "y")


def test_absolute_form_in_http_1_0(probe: Server) -> None:
    seen = json.loads(probe.exchange(request("GET", "http://other.example/p", version="1.0", host=None)).body)
    assert seen["path"] == "/p"
    assert ["host", "other.example"] in seen["headers"]


def test_path_is_decoded_and_nothing_more(probe: Server) -> None:
    seen = probe.facts("/a%20b/%C3%A9/../c//d;e=f/%2F?g=%20h%zz")
    assert seen["path"] == "/a b/\u00e9/../c//d;e=f//"
    assert seen["query"] == "g=%20h%zz"


def test_empty_lines_before_a_request(probe: Server) -> None:
    """RFC 9112 2.2: at least one is ignored, at the start and between requests."""
    with probe.connect() as client:
        client.send(b"\r\n" + HELLO + b"\r\n" + request("POST", "/echo", body=b"x") + b"\r\n" + HELLO)
        assert [client.response().body for _ in range(3)] == [b"hello", b"x", b"hello"]


def test_fields_reach_the_application(probe: Server) -> None:
    seen = probe.facts("/x", "X-One: 1", "x-two:\t two\twords  ", "X-Empty:", "X-High: \xe4")
    headers = dict(map(tuple, seen["headers"]))
    assert headers["x-one"] == "1"
    assert headers["x-two"] == "two\twords"
    assert headers["x-empty"] == ""
    assert headers["x-high"] == "\xe4"


def test_underscored_names_are_dropped(probe: Server) -> None:
    """In an environ, X_Real_IP and X-Real-IP would be the same; a proxy filters only one of them."""
    seen = probe.facts("/x", "X_Real_IP: 6.6.6.6", "X-Real-IP: 1.1.1.1", "Content_Length: 5")
    values = [value for name, value in seen["headers"] if name.replace("_", "-") == "x-real-ip"]
    assert values == ["1.1.1.1"]
    assert not any(name.replace("_", "-") == "content-length" for name, _ in seen["headers"])


def test_chunked_request_trailers_are_not_fields(probe: Server) -> None:
    """RFC 9110 6.5.1: a trailer must not be merged into the head."""
    message = request("POST", "/x", CHUNKED, body=chunked(b"hello", trailers=b"X-Late: 1\r\nHost: evil\r\n"))
    seen = probe.exchange(message).json()
    assert seen["content"] == "hello"
    names = [name for name, _ in seen["headers"]]
    assert "x-late" not in names
    assert names.count("host") == 1


# Responses without content (RFC 9112 6.3)


@pytest.mark.parametrize("target", ["/hello", "/parts", "/length?declared=10&sent=10", "/echo"])
def test_head_has_the_fields_of_get_and_no_content(probe: Server, target: str) -> None:
    get = probe.get(target)
    with probe.connect() as client:
        client.send(request("HEAD", target))
        head = client.response("HEAD")
        client.send(HELLO)
        assert client.response().body == b"hello"
    assert head.status == get.status
    if get.get("content-length") is not None and head.get("content-length") is not None:
        assert head.get("content-length") == get.get("content-length")
    assert head.get("content-type") == get.get("content-type")


@pytest.mark.parametrize("length", ["", "&length=1"])
@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_status_without_content(probe: Server, code: int, method: str, length: str) -> None:
    """The application's content is left out, and in 204 its length too (RFC 9110 8.6; checked by the client)."""
    with probe.connect() as client:
        client.send(request(method, f"/status?code={code}{length}", *(["Content-Length: 0"] if method == "POST" else [])))
        response = client.response(method)
        assert response.status == code
        client.send(HELLO)
        assert client.response().body == b"hello"


@pytest.mark.parametrize("code", [200, 201, 299, 301, 400, 404, 418, 500, 503, 599])
def test_status_with_content(probe: Server, code: int) -> None:
    response = probe.get(f"/status?code={code}")
    assert (response.status, response.body) == (code, b"body")


def test_http_1_0_never_gets_chunks(probe: Server) -> None:
    """RFC 9112 6.1 and 6.3: content of unknown length ends with the connection."""
    for fields in ([], ["Connection: keep-alive"]):
        with probe.connect() as client:
            client.send(request("GET", "/parts", *fields, version="1.0"))
            response = client.response()
            assert response.until_close
            assert response.body == b"part0;part1;part2;"
            assert "keep-alive" not in response.connection


def test_unknown_length_is_chunked(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/parts?n=5") + HELLO)
        response = client.response()
        assert response.chunks is not None
        assert response.body == b"part0;part1;part2;part3;part4;"
        assert client.response().body == b"hello"


def test_parts_are_not_held_back(probe: Server) -> None:
    """What the application sent must arrive before it sends more: server-sent events live by it."""
    name = unique()
    with probe.connect() as client:
        client.send(request("GET", f"/gate/stream?name={name}"))
        response = client.response_head()
        assert response.status == 200
        assert client.line() == b"6"
        assert client.take(8) == b"first;\r\n"
        probe.get(f"/gate/open?name={name}")
        assert b"".join(client.read_chunks()) == b"second;"
        assert client.fields() == []


# The application's Content-Length (RFC 9110 8.6, RFC 9112 6.3)


def test_content_length_of_the_application(probe: Server) -> None:
    with probe.connect() as client:
        client.send(request("GET", "/length?declared=10&sent=10") + HELLO)
        response = client.response()
        assert (response.get("content-length"), response.body) == ("10", b"x" * 10)
        assert client.response().body == b"hello"


def test_too_many_bytes_are_never_sent(probe: Server) -> None:
    """The bytes beyond Content-Length would be the start of the next response."""
    with probe.connect() as client:
        client.send(request("GET", "/length?declared=10&sent=30"))
        try:
            response = client.response()
        except Incomplete:
            return
        assert response.status == 500 or response.body == b"x" * 10, response
        client.half_close()
        client.expect_end()


def test_too_few_bytes_close_the_connection(probe: Server) -> None:
    """The client must notice; with a live connection it would take the next response for the rest."""
    with probe.connect() as client:
        client.send(request("GET", "/length?declared=30&sent=10") + HELLO)
        with pytest.raises((Incomplete, ConnectionResetError)):
            response = client.response()
            assert response.status == 500, response
            client.expect_end()
            raise Incomplete


def test_too_few_bytes_for_head_are_fine(probe: Server) -> None:
    """RFC 9110 9.3.2: the application needn't produce the content of a HEAD."""
    with probe.connect() as client:
        client.send(request("HEAD", "/length?declared=30&sent=0") + HELLO)
        assert client.response("HEAD").get("content-length") == "30"
        assert client.response().body == b"hello"


# Fields of the server


def test_date(probe: Server) -> None:
    """RFC 9110 6.6.1 and 5.6.7: IMF-fixdate, and right."""
    date = probe.get("/hello").get("date")
    assert date is not None
    moment = email.utils.parsedate_to_datetime(date)
    assert abs(moment.timestamp() - time.time()) < 3
    assert email.utils.format_datetime(moment, usegmt=True) == date


def test_server_field(probe: Server) -> None:
    value = probe.get("/hello").get("server")
    assert value
    assert "gateway" in value.lower()


def test_the_application_may_set_date_and_server(probe: Server) -> None:
    response = probe.get("/own-fields")
    assert response.all("date") == ["Mon, 05 Jan 2026 10:00:00 GMT"]
    assert response.all("server") == ["mine"]


def test_hop_by_hop_fields_are_the_servers(probe: Server) -> None:
    """Transfer-Encoding from the application is no reason to frame twice (RFC 9112 6.1; ASGI and PEP 3333 forbid it)."""
    response = probe.get("/own-framing")
    assert response.status in (200, 500), response
    if response.status == 200:
        assert response.body == b"framed"
    assert response.get("keep-alive") is None


def test_repeated_fields_stay_apart(probe: Server) -> None:
    """RFC 9110 5.3: Set-Cookie can't be joined."""
    assert probe.get("/cookies").all("set-cookie") == ["a=1", "b=2"]


# Response fields that must never leave

CASES = [
    "lf-value",
    "crlf-value",
    "cr-value",
    "nul-value",
    "control-value",
    "delete-value",
    "lf-end-value",
    "crlf-name",
    "lf-name",
    "nul-name",
    "space-name",
    "colon-name",
    "empty-name",
    "high-name",
]


@pytest.mark.parametrize("case", CASES)
def test_bad_response_fields_are_refused(probe: Server, case: str) -> None:
    """RFC 9110 5.5: 500, nothing injected, and the value isn't in the log."""
    with probe.connect() as client:
        client.send(request("GET", f"/bad-field?case={case}"))
        response = client.response()
        assert response.status == 500
        assert response.get("x-injected") is None
        assert b"s3cr3t" not in response.body
    assert probe.alive()
    assert "s3cr3t" not in probe.log


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("-value")])
def test_bad_early_hints_are_refused(probe: Server, case: str) -> None:
    response = probe.get(f"/bad-hint?case={case}")
    assert response.status == 500
    assert not response.informational
    assert "s3cr3t" not in probe.log


# Trailers (RFC 9110 6.5)


def test_trailers_are_sent_to_those_who_ask(asgi: Server) -> None:
    with asgi.connect() as client:
        client.send(request("GET", "/trailers", "TE: trailers", "Connection: TE") + HELLO)
        response = client.response()
        assert response.body == b"content"
        assert response.get("x-offered") == "yes"
        assert response.trailers == [("x-checksum", "abc"), ("x-last", "1")]
        assert client.response().body == b"hello"


@pytest.mark.parametrize("fields", [[], ["TE: deflate"], ["TE: trailersx"], ["TE: trailers;q=0"]])
def test_trailers_are_not_sent_unasked(asgi: Server, fields: list[str]) -> None:
    with asgi.connect() as client:
        client.send(request("GET", "/trailers", *fields) + HELLO)
        response = client.response()
        assert (response.body, response.trailers) == (b"content", [])
        assert client.response().body == b"hello"


@pytest.mark.parametrize("value", ["trailers", "deflate, trailers", "Trailers", "gzip;q=0.5 , trailers"])
def test_ways_to_ask_for_trailers(asgi: Server, value: str) -> None:
    response = asgi.get("/trailers", f"TE: {value}", "Connection: TE")
    assert response.trailers


def test_no_trailers_for_http_1_0(asgi: Server) -> None:
    response = asgi.exchange(request("GET", "/trailers", "TE: trailers", version="1.0"))
    assert (response.body, response.trailers) == (b"content", [])


@pytest.mark.parametrize("case", CASES)
def test_bad_trailers_are_refused(asgi: Server, case: str) -> None:
    """The response had begun: it ends visibly incomplete, with nothing of the bad field."""
    with asgi.connect() as client:
        client.send(request("GET", f"/bad-trailer?case={case}", "TE: trailers", "Connection: TE"))
        try:
            response = client.response()
        except (Incomplete, ConnectionResetError):
            pass
        else:
            assert response.status == 500
            assert not response.trailers
    assert "s3cr3t" not in asgi.log
    assert asgi.alive()
