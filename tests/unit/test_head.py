"""RequestHead, and the kernels it is read with, on both builds; the requests of tests/corpus with their expected outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.backend import Backend, load
from gateway.core.http.codes import FRAMING_CHUNKED
from gateway.core.http.fields import HEAD_ERRORS, check_request
from gateway.core.http.framing import request_framing
from gateway.core.http.service import HEADER_MAP_DROP
from gateway.core.kernels import grammar as codes
from gateway.core.kernels.head import USUAL_HEAD, USUAL_VARIABLES
from gateway.errors import RemoteProtocolError

CORPUS = Path(__file__).parents[1] / "corpus" / "requests"
ACCEPT = sorted((CORPUS / "accept").glob("*.http"))
REJECT = sorted((CORPUS / "reject").glob("*.http"))

# The defaults of core/http/limits.py, which the corpus is written for.
LIMITS = (8190, 100, 8190, 65536)


def expectation(path: Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def parse(build: Backend, raw: bytes, limits: tuple[int, int, int, int] = LIMITS) -> tuple[int, Any, bytes]:
    """Feed `raw` whole: result code, head, what is left in the buffer."""
    buffer = build.module("kernels.buffer").InputBuffer()
    head = build.module("kernels.head").RequestHead()
    buffer.feed(raw)
    code = head.parse(buffer, *limits)
    return code, head, buffer.take(buffer.available())


def parse_pieces(build: Backend, pieces: list[bytes], limits: tuple[int, int, int, int] = LIMITS) -> tuple[int, Any]:
    """Feed `pieces` one after the other until there is a result."""
    buffer = build.module("kernels.buffer").InputBuffer()
    head = build.module("kernels.head").RequestHead()
    code = codes.NEED_DATA
    for piece in pieces:
        buffer.feed(piece)
        code = head.parse(buffer, *limits)
        if code != codes.NEED_DATA:
            break
    return code, head


def accepted(build: Backend, *lines: bytes, line: bytes = b"GET / HTTP/1.1") -> Any:
    """The head with these field lines after a Host."""
    raw = b"\r\n".join((line, b"Host: example.com", *lines)) + b"\r\n\r\n"
    code, head, left = parse(build, raw)
    assert code == codes.DONE
    assert left == b""
    return head


# The corpus.


def test_corpus_is_complete() -> None:
    assert len(ACCEPT) >= 40
    assert len(REJECT) >= 60
    for path in (*ACCEPT, *REJECT):
        assert {"why", "rfc"} <= set(expectation(path)), path


@pytest.mark.parametrize("path", REJECT, ids=lambda path: path.stem)
def test_corpus_reject(build: Backend, path: Path) -> None:
    expected = expectation(path)
    raw = path.read_bytes()
    code, head, left = parse(build, raw)
    assert code == getattr(codes, expected["code"])
    if code == codes.DONE:
        with pytest.raises(RemoteProtocolError) as caught:
            check_request(head, HEADER_MAP_DROP)
            request_framing(head)
        assert caught.value.status == expected["status"]
    else:
        assert HEAD_ERRORS[code][0] == expected["status"]
        # Nothing is consumed, and nothing is said of a head that was refused.
        assert left == raw
        assert head.method == ""
        assert head.fields() == []


@pytest.mark.parametrize("path", ACCEPT, ids=lambda path: path.stem)
def test_corpus_accept(build: Backend, path: Path) -> None:
    expected = expectation(path)
    facts = expected["facts"]
    code, head, left = parse(build, path.read_bytes())
    assert code == codes.DONE
    assert left == expected.get("rest", "").encode("latin-1")
    scope, environ = head.scope(USUAL_HEAD), head.environ(USUAL_VARIABLES)
    found: dict[str, Any] = {}
    for name in facts:
        if name == "path":
            found[name] = scope["path"]
        elif name == "path_info":
            found[name] = environ["PATH_INFO"]
        elif name == "fields":
            found[name] = [[key.decode("latin-1"), value.decode("latin-1")] for key, value in head.fields()]
        elif name == "environ":
            found[name] = {key: environ.get(key) for key in facts["environ"]}
        elif name == "framing":
            found[name] = "chunked" if request_framing(head) == FRAMING_CHUNKED else "length"
        else:
            fact = getattr(head, name)
            found[name] = fact.decode("latin-1") if isinstance(fact, bytes) else fact
    assert found == facts
    check_request(head, HEADER_MAP_DROP)
    request_framing(head)


@pytest.mark.parametrize("path", [*ACCEPT, *REJECT], ids=lambda path: path.stem)
def test_corpus_cut_anywhere(build: Backend, path: Path) -> None:
    """At every split and byte by byte the result is the one for the whole, with other bytes behind it too."""
    raw = path.read_bytes()
    code, whole, _ = parse(build, raw)
    # Long heads differ in nothing but size: some splits, and large pieces.
    step = 1 if len(raw) <= 400 else len(raw) // 40
    size = 1 if len(raw) <= 400 else 97
    ways = [[raw[:index], raw[index:]] for index in range(1, len(raw), step)]
    ways.append([raw[index : index + size] for index in range(0, len(raw), size)])
    ways.append([raw + b"\r\nGET / HTTP/1.1\r\n\n\0"])
    for pieces in ways:
        found, head = parse_pieces(build, pieces)
        assert found == code
        assert head.fields() == whole.fields()
        assert head.target == whole.target


# Length limits. The line end does not count; a line is refused as soon as it is certain to be too long.


@pytest.mark.parametrize("length", [14, 15, 16, 40])
def test_request_line_limit(build: Backend, length: int) -> None:
    line = b"GET /%s HTTP/1.1" % (b"a" * (length - 14))
    assert len(line) == length
    expected = codes.DONE if length <= 15 else codes.REQUEST_LINE_TOO_LONG
    assert parse(build, line + b"\r\n\r\n", (15, 0, 0, 0))[0] == expected


@pytest.mark.parametrize(("size", "expected"), [(15, 0), (16, 0), (17, codes.REQUEST_LINE_TOO_LONG)])
def test_request_line_limit_before_its_end(build: Backend, size: int, expected: int) -> None:
    assert parse(build, b"G" * size, (15, 0, 0, 0))[0] == expected


@pytest.mark.parametrize(("size", "expected"), [(9, codes.DONE), (10, codes.DONE), (11, codes.FIELD_TOO_LARGE)])
def test_field_limit(build: Backend, size: int, expected: int) -> None:
    raw = b"GET / HTTP/1.1\r\n" + b"X:" + b"y" * (size - 2) + b"\r\n\r\n"
    assert parse(build, raw, (0, 0, 10, 0))[0] == expected
    assert parse_pieces(build, [raw[i : i + 1] for i in range(len(raw))], (0, 0, 10, 0))[0] == expected


@pytest.mark.parametrize(
    ("limit", "expected"), [(20, codes.DONE), (19, codes.FIELD_TOO_LARGE), (10, codes.FIELD_TOO_LARGE)]
)
def test_section_limit(build: Backend, limit: int, expected: int) -> None:
    """All field lines with their CRLFs count, the empty line does not."""
    raw = b"GET / HTTP/1.1\r\n" + b"X: 45678\r\n" * 2 + b"\r\n"
    assert parse(build, raw, (0, 0, 0, limit))[0] == expected
    assert parse_pieces(build, [raw[i : i + 1] for i in range(len(raw))], (0, 0, 0, limit))[0] == expected


@pytest.mark.parametrize(("limit", "expected"), [(3, codes.DONE), (2, codes.TOO_MANY_FIELDS), (0, codes.DONE)])
def test_field_count_limit(build: Backend, limit: int, expected: int) -> None:
    assert parse(build, b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", (0, limit, 0, 0))[0] == expected


def test_no_limits(build: Backend) -> None:
    raw = b"GET /%s HTTP/1.1\r\n" % (b"a" * 100_000) + b"X: %s\r\n" % (b"b" * 100_000) * 300 + b"\r\n"
    code, head, _ = parse(build, raw, (0, 0, 0, 0))
    assert code == codes.DONE
    assert head.field_count == 300
    assert head.fields() == [(b"x", b"b" * 100_000)] * 300


def test_lines_are_judged_in_order(build: Backend) -> None:
    """The first error counts, even if a later line is worse, and the length of a line comes before its content."""
    assert parse(build, b"GET / HTTP/1.1\r\n folded\r\nbad\n")[0] == codes.OBSOLETE_FOLDING
    assert parse(build, b"GET / HTTP/1.1\r\nX y: z\r\n" + b"a" * 9000)[0] == codes.BAD_FIELD_NAME
    assert parse(build, b"GET / HTTP/1.1\r\n" + b" " * 9000)[0] == codes.FIELD_TOO_LARGE
    assert parse(build, b"(" * 9000 + b"\n")[0] == codes.REQUEST_LINE_TOO_LONG


# Facts.


def test_fields_are_cached_and_the_scope_has_its_own(build: Backend) -> None:
    head = accepted(build, b"Accept: */*")
    fields = head.fields()
    assert head.fields() is fields
    headers = head.scope({})["headers"]
    headers.clear()
    assert head.fields() == fields == [(b"host", b"example.com"), (b"accept", b"*/*")]
    assert head.scope({})["headers"] == fields


def test_names_and_methods_are_shared(build: Backend) -> None:
    """What every request has is not made anew for each."""
    one, other = accepted(build, b"ACCEPT: 1"), accepted(build, b"accept: 2")
    assert one.method is other.method
    if build.name == "_speedups":
        assert one.fields()[1][0] is other.fields()[1][0]


def test_scope(build: Backend) -> None:
    base = {"type": "http", "asgi": {"version": "3.0"}, **USUAL_HEAD}
    head = accepted(build, b"X-A: b", line=b"PUT /k%C3%A4se?q=%41 HTTP/1.0")
    assert head.scope(base) == {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.0",
        "method": "PUT",
        "path": "/käse",
        "raw_path": b"/k%C3%A4se",
        "query_string": b"q=%41",
        "headers": [(b"host", b"example.com"), (b"x-a", b"b")],
    }
    assert base == {"type": "http", "asgi": {"version": "3.0"}, **USUAL_HEAD}


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET /?q HTTP/1.1", b"GET / HTTP/1.0"])
def test_scope_tells_what_is_unusual(build: Backend, line: bytes) -> None:
    head = accepted(build, line=line)
    scope, environ = head.scope(USUAL_HEAD), head.environ(USUAL_VARIABLES)
    method, target, version = line.decode().split()
    assert scope["method"] == environ["REQUEST_METHOD"] == method
    assert scope["query_string"] == target.partition("?")[2].encode()
    assert environ["QUERY_STRING"] == target.partition("?")[2]
    assert scope["http_version"] == version.removeprefix("HTTP/")
    assert environ["SERVER_PROTOCOL"] == version


def test_environ(build: Backend) -> None:
    base = {"wsgi.version": (1, 0), **USUAL_VARIABLES}
    head = accepted(
        build, b"X-A: \xe4", b"Content-Type: text/plain", b"Content-Length: 0", line=b"POST /k%C3%A4se?q=%41 HTTP/1.0"
    )
    assert head.environ(base) == {
        "wsgi.version": (1, 0),
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/k\xc3\xa4se",
        "QUERY_STRING": "q=%41",
        "RAW_URI": "/k%C3%A4se?q=%41",
        "REQUEST_URI": "/k%C3%A4se?q=%41",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "HTTP_HOST": "example.com",
        "HTTP_X_A": "ä",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "0",
    }
    assert base == {"wsgi.version": (1, 0), **USUAL_VARIABLES}


def test_environ_of_repeated_fields(build: Backend) -> None:
    head = accepted(
        build,
        b"Cookie: a=1",
        b"X-A: 1",
        b"Content-Type: a",
        b"Cookie: b=2",
        b"x-a: 2",
        b"Content-Type: b",
        b"Accept: a",
        b"Accept: b",
    )
    environ = head.environ({})
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_A"] == "1,2"
    assert environ["HTTP_ACCEPT"] == "a,b"
    assert environ["CONTENT_TYPE"] == "a"


def test_environ_never_takes_an_underscored_name_for_content_length(build: Backend) -> None:
    environ = accepted(build, b"Content_Length: 5", b"X_Real_IP: 1", b"X-Real-IP: 2").environ({})
    assert "CONTENT_LENGTH" not in environ
    assert environ["HTTP_CONTENT_LENGTH"] == "5"
    # Policy drops such names; where it is told not to, nothing is lost.
    assert environ["HTTP_X_REAL_IP"] == "1,2"


@pytest.mark.parametrize("size", [1, 511, 512, 513, 5000])
def test_long_encoded_paths(build: Backend, size: int) -> None:
    head = accepted(build, line=b"GET /%s HTTP/1.1" % (b"%e4" * (size // 3) + b"%41" + b"a" * (size % 3)))
    tail = "A" + "a" * (size % 3)
    assert head.environ({})["PATH_INFO"] == "/" + "\xe4" * (size // 3) + tail
    assert head.scope({})["path"] == "/" + "\ufffd" * (size // 3) + tail


def test_get(build: Backend) -> None:
    head = accepted(build, b"X-A: 1", b"Accept: 2", b"x-a: 3")
    assert head.get(b"x-a") == b"1"
    assert head.get(b"accept") == b"2"
    assert head.get(b"host") == b"example.com"
    assert head.get(b"cookie") is None
    assert head.get(b"x-b") is None
    assert head.get(b"") is None
    # Names are asked for in lower case.
    assert head.get(b"X-A") is None
    assert head.get_all(b"x-a") == [b"1", b"3"]
    assert head.get_all(b"x-b") == []


def test_remove(build: Backend) -> None:
    head = accepted(build, b"X-A: 1", b"Accept: 2", b"x-a: 3")
    before = head.fields()
    assert head.remove(frozenset({b"x-a", b"host", b"via"})) == 3
    assert len(before) == 4
    assert head.fields() == head.scope({})["headers"] == [(b"accept", b"2")]
    assert head.get(b"x-a") is None
    assert "HTTP_X_A" not in head.environ({})
    # Facts tell what was received.
    assert head.field_count == 4
    assert head.host == b"example.com"
    assert head.remove(frozenset({b"x-a"})) == 0


def test_drop_underscored(build: Backend) -> None:
    head = accepted(build, b"X_A: 1", b"Accept: 2", b"_: 3", b"Content_Length: 5")
    assert head.underscore_count == 3
    assert head.drop_underscored() == 3
    assert head.fields() == [(b"host", b"example.com"), (b"accept", b"2")]
    assert head.drop_underscored() == 0


def test_set_host_replaces(build: Backend) -> None:
    raw = b"GET / HTTP/1.1\r\nAccept: a\r\nHost: one\r\nX: y\r\nHost: two\r\n\r\n"
    head = parse(build, raw)[1]
    assert head.set_host(b"three:80") == 0
    assert head.fields() == [(b"accept", b"a"), (b"host", b"three:80"), (b"x", b"y")]
    assert head.host == head.get(b"host") == b"three:80"
    assert head.get_all(b"host") == [b"three:80"]
    assert head.environ({})["HTTP_HOST"] == "three:80"
    head.set_host(b"four")
    assert head.get_all(b"host") == [b"four"]


def test_set_host_inserts(build: Backend) -> None:
    head = parse(build, b"GET http://a/ HTTP/1.0\r\nAccept: a\r\n\r\n")[1]
    head.set_host(head.authority)
    assert head.fields() == [(b"host", b"a"), (b"accept", b"a")]
    # Again, after having made room by removing it.
    head.remove(frozenset({b"host"}))
    head.set_host(b"b")
    assert head.fields() == [(b"host", b"b"), (b"accept", b"a")]


def test_a_head_outlives_the_buffer(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    head = build.module("kernels.head").RequestHead()
    # Fed in two pieces: the buffer's own storage, which is reused.
    buffer.feed(b"GET /first HTTP/1.1\r\n")
    assert head.parse(buffer, *LIMITS) == codes.NEED_DATA
    buffer.feed(b"Host: first\r\nX-First: 1\r\n\r\n....")
    assert head.parse(buffer, *LIMITS) == codes.DONE
    buffer.feed(b"#" * 500)
    buffer.clear()
    assert head.raw_path == b"/first"
    assert head.fields() == [(b"host", b"first"), (b"x-first", b"1")]


def test_a_head_can_be_used_again(build: Backend) -> None:
    buffer = build.module("kernels.buffer").InputBuffer()
    head = build.module("kernels.head").RequestHead()
    buffer.feed(
        b"POST http://a/ HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"
    )
    assert head.parse(buffer, *LIMITS) == codes.DONE
    head.set_host(b"b")
    buffer.feed(b"GET /x HTTP/1.1\r\n\r\n")
    assert head.parse(buffer, *LIMITS) == codes.DONE
    assert (head.method, head.target, head.http_version) == ("GET", b"/x", "1.1")
    assert (head.host, head.authority, head.expect, head.content_length) == (None, None, 0, -1)
    assert head.fields() == []
    buffer.feed(b"bad\r\n")
    assert head.parse(buffer, *LIMITS) == codes.BAD_REQUEST_LINE
    assert (head.method, head.target, head.raw_path, head.query) == ("", b"", b"", b"")


def test_a_head_that_was_not_parsed(build: Backend) -> None:
    head = build.module("kernels.head").RequestHead()
    assert head.fields() == head.get_all(b"host") == []
    assert head.host is head.authority is head.get(b"host") is None
    assert head.scope({})["path"] == head.environ({})["PATH_INFO"] == ""
    assert head.remove(frozenset()) == head.drop_underscored() == 0
    head.set_host(b"a")
    assert head.host == b"a"
    assert head.scope({})["headers"] == [(b"host", b"a")]
    assert head.environ({})["HTTP_HOST"] == "a"


CONSTANTS = {
    "grammar": [name for name in vars(codes) if name.isupper() and name not in ("TOKEN", "MAX_CONTENT_LENGTH")],
    "target": ["ORIGIN_FORM", "ABSOLUTE_FORM", "AUTHORITY_FORM", "ASTERISK_FORM"],
    "head": [
        "EXPECT_NONE", "EXPECT_CONTINUE", "EXPECT_OTHER",
        "OPTION_CLOSE", "OPTION_KEEP_ALIVE", "OPTION_UPGRADE",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_the_same(build: Backend, name: str) -> None:
    core, module = load("core").module(f"kernels.{name}"), build.module(f"kernels.{name}")
    found = {constant: int(getattr(module, constant)) for constant in CONSTANTS[name]}
    assert found == {constant: getattr(core, constant) for constant in CONSTANTS[name]}
    assert len(CONSTANTS["grammar"]) == 16


def test_what_is_usual_is_the_same(build: Backend) -> None:
    module = build.module("kernels.head")
    assert (module.USUAL_HEAD, module.USUAL_VARIABLES) == (USUAL_HEAD, USUAL_VARIABLES)
