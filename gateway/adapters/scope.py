"""The scope of an ASGI HTTP exchange out of a WSGI environ (PEP 3333, "environ Variables")."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

ASGI = {"version": "3.0", "spec_version": "2.5"}

# What RFC 3986 3.3 allows in a path beside letters, digits and "-._~".
_PATH = "/!$&'()*+,;=:@"


def environ_scope(environ: dict[str, Any], state: dict[str, Any] | None) -> dict[str, Any]:
    """The scope of the request that `environ` describes; `state` is the lifespan's, or None.

    Raises ValueError for an environ that breaks PEP 3333, as with characters that are not latin-1.
    """
    root = environ.get("SCRIPT_NAME", "")
    local = environ.get("PATH_INFO", "")
    path = root + local
    raw = raw_path(environ, path)
    if not path.isascii():
        # PEP 3333, "Unicode Issues": each character stands for a byte. What is no UTF-8 is in `raw_path`.
        path = path.encode("latin-1").decode("utf-8", "replace")
        root = root.encode("latin-1").decode("utf-8", "replace")
    method = environ["REQUEST_METHOD"]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": ASGI.copy(),
        "http_version": http_version(environ.get("SERVER_PROTOCOL", "HTTP/1.1")),
        "method": method if method.isupper() else method.upper(),
        "scheme": environ.get("wsgi.url_scheme", "http"),
        # ASGI 2.5: the path has the root path in front.
        "path": path,
        "raw_path": raw,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": root,
        "headers": headers(environ),
        "client": client(environ),
        "server": server(environ),
        # The server sends a file where it has means of its own to do so (PEP 3333, "Platform-Specific File Handling").
        "extensions": {"http.response.pathsend": {}} if "wsgi.file_wrapper" in environ else {},
        "wsgi_environ": environ,
    }
    if state is not None:
        # Each request gets a copy, whose values are shared (lifespan specification, "Lifespan State").
        scope["state"] = state.copy()
    return scope


def headers(environ: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The request's fields. Those of one name were joined by the server, and stay so."""
    found = []
    for key, value in environ.items():
        name = field_name(key)
        if name is not None and (value or key not in CONTENT_NAMES):
            found.append((name, value.encode("latin-1")))
    return found


CONTENT_NAMES = {"CONTENT_TYPE": b"content-type", "CONTENT_LENGTH": b"content-length"}


@functools.lru_cache(256)
def field_name(key: str) -> bytes | None:
    """The name, in lower case, of the field that the variable `key` holds; None where it holds none.

    CONTENT_TYPE and CONTENT_LENGTH may be empty where there is no such field, and some servers have them twice.
    """
    if key.startswith("HTTP_"):
        if key in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            return None
        try:
            return key[5:].lower().replace("_", "-").encode("latin-1")
        except UnicodeEncodeError:
            return None
    return CONTENT_NAMES.get(key)


def raw_path(environ: dict[str, Any], path: str) -> bytes:
    """The path as it stood in the request target where the server tells and no middleware has moved it."""
    target: str | None = environ.get("REQUEST_URI") or environ.get("RAW_URI")
    if target:
        target = target.partition("?")[0]
        if target == path and "%" not in target:
            return target.encode("latin-1")
        if not target.startswith("/"):
            # RFC 9112 3.2.2: the absolute-form, as sent to a proxy.
            _, separator, rest = target.partition("://")
            target = "/" + rest.partition("/")[2] if separator else target
        given = target.encode("latin-1")
        if unquote_to_bytes(given) == path.encode("latin-1"):
            return given
    return quote_from_bytes(path.encode("latin-1"), _PATH).encode("ascii")


@functools.lru_cache(16)
def http_version(protocol: str) -> str:
    """ "1.1" of "HTTP/1.1"; ASGI calls the second version "2"."""
    version = protocol.rpartition("/")[2]
    return version.removesuffix(".0") if version[:1] in ("2", "3") else version


def client(environ: dict[str, Any]) -> tuple[str, int] | None:
    """Address and port of the client; the port is 0 where the server does not say."""
    address = environ.get("REMOTE_ADDR")
    if not address:
        return None
    port = environ.get("REMOTE_PORT")
    return address, int(port) if port else 0


def server(environ: dict[str, Any]) -> tuple[str, int | None] | None:
    """Name and port that the request came to."""
    name = environ.get("SERVER_NAME")
    if not name:
        return None
    port = environ.get("SERVER_PORT")
    return name, int(port) if port and str(port).isdigit() else None
