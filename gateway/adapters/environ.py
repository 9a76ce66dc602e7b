"""The environ of a WSGI call (PEP 3333, "environ Variables") out of the scope of an ASGI HTTP exchange."""

from __future__ import annotations

import functools
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from .. import backend

Scope = MutableMapping[str, Any]


def scope_environ(scope: Scope, base: dict[str, Any]) -> dict[str, Any]:
    """The environ (PEP 3333, "environ Variables") of an ASGI HTTP scope, without what belongs to the call."""
    environ = base.copy()
    environ["REQUEST_METHOD"] = scope["method"]
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    data = path.encode("utf-8", "surrogateescape")
    if raw is not None and raw != data:
        given = unquote_to_bytes(raw.partition(b"?")[0])
        # It may not be what the path is of: some middleware changes the one without the other.
        if given.decode("utf-8", "replace") == path:
            data = given
    environ["PATH_INFO"] = data.decode("latin-1")
    root = scope.get("root_path") or ""
    if root:
        backend.current.module("wsgi.environ").set_script_name(environ, root)
    query = (scope.get("query_string") or b"").decode("latin-1")
    environ["QUERY_STRING"] = query
    target = path_text(raw, data) + ("?" + query if query else "")
    environ["RAW_URI"] = environ["REQUEST_URI"] = target
    environ["SERVER_PROTOCOL"] = "HTTP/" + scope.get("http_version", "1.1")
    scheme = scope.get("scheme", "http")
    environ["wsgi.url_scheme"] = scheme
    host = None
    for name, value in scope["headers"]:
        key = variable(name)
        if not key:
            continue
        text = value.decode("latin-1")
        if key == "HTTP_HOST" and host is None:
            host = value
        if key in environ:
            if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                continue
            # RFC 9110 5.3; RFC 9113 8.2.3 for Cookie, whose value is no comma-separated list.
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    server = scope.get("server")
    if server is None or server[1] is None:
        host_and_port = backend.current.module("wsgi.environ").host_and_port
        environ["SERVER_NAME"], environ["SERVER_PORT"] = host_and_port(host, scheme)
    else:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
    client = scope.get("client")
    environ["REMOTE_ADDR"] = client[0] if client else ""
    if client and client[1]:
        environ["REMOTE_PORT"] = str(client[1])
    return environ


@functools.lru_cache(256)
def variable(name: bytes) -> str:
    """The variable for the field `name`; "" for none.

    In an environ names with "_" can't be told from those with "-", which is how a client forges a field that its proxy
    has set.
    """
    if b"_" in name:
        return ""
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def path_text(raw: bytes | None, data: bytes) -> str:
    """The path as it stood in the request target, as far as that is known."""
    if raw is not None:
        return raw.partition(b"?")[0].decode("latin-1")
    return quote(data)


def takes_trailers(environ: dict[str, Any]) -> bool:
    """Whether the client said that it reads trailers (RFC 9110 10.1.4)."""
    options = environ.get("HTTP_TE", "").lower().split(",")
    return environ["SERVER_PROTOCOL"] != "HTTP/1.0" and "trailers" in [option.strip() for option in options]
