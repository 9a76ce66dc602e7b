"""The `environ` dictionary (PEP 3333, "environ Variables"): built on the loop, before a thread is spent.

Three layers: what one server has for all requests (`base_environ`), what the request head says
(`RequestHead.environ`) and what is known about this exchange (`stream_environ`). The process's environment is
not in it: applications read `os.environ` themselves, and a request must not be able to be mistaken for it.

Every str holds bytes as latin-1 (PEP 3333, "Unicode Issues").
"""

from typing import Any

from ..http.mounts import under
from ..http.stream import HTTPStream
from ..kernels.head import USUAL_VARIABLES
from .filewrapper import FileWrapper

# What every request sets. The base has places for it, so that its copies need not grow.
EVERY_REQUEST = (
    "PATH_INFO",
    "RAW_URI",
    "REQUEST_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "REMOTE_ADDR",
    "wsgi.input",
    "wsgi.early_hints",
    "gateway.send_trailers",
    "gateway.client_disconnected",
)


def base_environ(*, errors: object, multithread: bool, multiprocess: bool, server_software: str) -> dict:
    """What is the same for all requests, or for most of them. `errors` is the text stream for `wsgi.errors`."""
    return {
        **dict.fromkeys(EVERY_REQUEST, ""),
        **USUAL_VARIABLES,
        "wsgi.url_scheme": "http",
        "SERVER_SOFTWARE": server_software,
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        # The input ends where the content ends, also when it is chunked: an application may read to the end.
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }


def stream_environ(stream: HTTPStream, base: dict) -> dict:
    """The environ of one request, but for what belongs to the running call (input and callables)."""
    environ: dict = stream.head.environ(base)
    scheme = stream.scheme
    if scheme != "http":
        environ["wsgi.url_scheme"] = scheme
    server: Any = stream.server
    if server is None or server[1] is None:
        # A Unix socket has no name a client could use; PEP 3333 requires both variables.
        environ["SERVER_NAME"], environ["SERVER_PORT"] = host_and_port(stream.head.host, scheme)
    else:
        port = server[1]
        environ["SERVER_NAME"] = server[0]
        environ["SERVER_PORT"] = f"{port}"
    client: Any = stream.client
    if client is None:
        # RFC 3875 4.1.8 wants the variable; on a Unix socket there is no address.
        environ["REMOTE_ADDR"] = ""
    else:
        environ["REMOTE_ADDR"] = client[0]
        # A proxy that names the client by address only leaves no port.
        port = client[1] or 0
        if port:
            environ["REMOTE_PORT"] = f"{port}"
    if stream.root_path:
        set_script_name(environ, stream.root_path, None if stream.mount is None else stream.received_root)
    return environ


def set_script_name(environ: dict, root_path: str, received: str | None = None) -> int:
    """Split the path into SCRIPT_NAME, the application's root, and PATH_INFO, the place in it. Returns 0.

    `received` is the part of the root that the path is known to begin with. Without it, a path that does not begin with
    the root is left as it is: a proxy has removed the root already.
    """
    root = root_path.rstrip("/")
    if not root:
        return 0
    environ["SCRIPT_NAME"] = script = as_latin_1(root)
    path: str = environ["PATH_INFO"]
    if received is not None:
        environ["PATH_INFO"] = path[len(as_latin_1(received)) :]
    elif under(path, script):
        environ["PATH_INFO"] = path[len(script) :]
    return 0


def as_latin_1(text: str) -> str:
    """The bytes of `text` in UTF-8, each as one character."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def host_and_port(host: bytes | None, scheme: str) -> tuple:
    """Name and port, both str, out of a Host field that has been validated; the scheme's port for none."""
    port = "443" if scheme == "https" else "80"
    if not host:
        return "localhost", port
    text = host.decode("latin-1")
    # RFC 3986 3.2.2: colons inside an IP-literal are in brackets.
    colon = text.rfind(":")
    if colon > text.rfind("]"):
        return text[:colon], text[colon + 1 :] or port
    return text, port
