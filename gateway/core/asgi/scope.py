"""The scope of an HTTP exchange (ASGI HTTP & WebSocket specification 2.5, "HTTP Connection Scope")."""

from ..http.stream import HTTPStream

ASGI_VERSION = "3.0"
SPEC_VERSION = "2.5"


def base_scope() -> dict:
    """What is the same in every HTTP scope of a process. Copied per request."""
    return {
        "type": "http",
        "asgi": {"version": ASGI_VERSION, "spec_version": SPEC_VERSION},
    }


def http_extensions() -> dict:
    """The extensions that HTTP/1.1 responses can use (ASGI specification, "Extensions")."""
    return {
        "http.response.early_hint": {},
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.zerocopysend": {},
    }


def http_scope(stream: HTTPStream, base: dict, extensions: dict, state: object) -> dict:
    """The scope for `stream`. `state` is the lifespan's state, or None where there is no lifespan."""
    scope = stream.head.scope(base)
    method = stream.head.method
    if not method.isupper():
        # RFC 9110 9.1 tells methods apart by case, ASGI does not: "The HTTP method name, uppercased".
        scope["method"] = method.upper()
    scope["scheme"] = stream.scheme
    scope["root_path"] = stream.root_path
    scope["client"] = stream.client
    scope["server"] = stream.server
    scope["extensions"] = extensions.copy()
    if state is not None:
        # Each request gets a copy, whose values are shared (lifespan specification, "Lifespan State").
        scope["state"] = state.copy()
    return scope
