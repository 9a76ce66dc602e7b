"""The scope of an HTTP exchange (ASGI HTTP & WebSocket specification 2.5, "HTTP Connection Scope")."""

from ..http.stream import HTTPStream
from ..kernels.head import USUAL_HEAD

ASGI_VERSION = "3.0"
SPEC_VERSION = "2.5"

# Looking here first is quicker than looking at the letters.
UPPERCASE = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def base_scope(with_state: bool) -> dict:
    """What is the same in every HTTP scope of a process, or in most of them. Copied per request.

    It has places for what every request sets, so that its copies need not grow; `with_state`: for the state as well.
    """
    scope: dict = {
        "type": "http",
        "asgi": {"version": ASGI_VERSION, "spec_version": SPEC_VERSION},
        "scheme": "http",
        "root_path": "",
        **dict.fromkeys(("path", "raw_path", "headers", "client", "server", "extensions")),
        **USUAL_HEAD,
    }
    if with_state:
        scope["state"] = None
    return scope


def http_extensions() -> dict:
    """The extensions that HTTP/1.1 responses can use (ASGI specification, "Extensions")."""
    return {
        "http.response.early_hint": {},
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.zerocopysend": {},
    }


def http_scope(stream: HTTPStream, base: dict, extensions: dict, state: dict | None) -> dict:
    """The scope for `stream`. `state` is the lifespan's state, or None where there is no lifespan."""
    scope = stream.head.scope(base)
    method = stream.head.method
    if method not in UPPERCASE and not method.isupper():
        # RFC 9110 9.1 tells methods apart by case, ASGI does not: "The HTTP method name, uppercased".
        scope["method"] = method.upper()
    if stream.scheme != "http":
        scope["scheme"] = stream.scheme
    if stream.root_path:
        set_root_path(scope, stream)
    scope["client"] = stream.client
    scope["server"] = stream.server
    scope["extensions"] = extensions.copy()
    if state is not None:
        # Each request gets a copy, whose values are shared (lifespan specification, "Lifespan State").
        scope["state"] = state.copy()
    return scope


def set_root_path(scope: dict, stream: HTTPStream) -> int:
    """Set `root_path`, and in a mount see to it that `path` begins with it. Returns 0.

    `path` is the whole path ("HTTP Connection Scope"), of which the application cuts off `root_path`. Where a proxy has
    removed what the server is reached under, the application would not find its own prefix either.
    """
    scope["root_path"] = stream.root_path
    if stream.mount is not None and stream.received_root != stream.root_path:
        path: str = scope["path"]
        scope["path"] = stream.root_path + path[len(stream.received_root) :]
    return 0
