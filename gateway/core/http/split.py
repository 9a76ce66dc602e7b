"""One application with two entry points: a Django project behind WSGI and behind ASGI.

Which of them runs a request is decided by what `split` knows; what it can't know yet, it is asked. Nothing of this
runs Python code for a path that is known: that could cost the loop the GIL, which the threads all want.
"""

from typing import Any

from ..kernels.base import Handler, Responder, Stream
from .mounts import below

_PERCENT = 37


class SplitHandler(Handler):
    """Starts that entry point of a project which a request is for, with the handler `wsgi` or `asgi`.

    `split` has what is known: `urlconfs`, the URLconf of hosts that have one of their own; for the others `tree`, the
    answers by path segments; and `paths`, the answers by path, root and URLconf. `split.decide` finds what these don't
    tell.
    """

    __slots__ = ("asgi", "split", "wsgi")

    def __init__(self, split: object, wsgi: Handler, asgi: Handler) -> None:
        self.split = split
        self.wsgi = wsgi
        self.asgi = asgi

    def open(self, stream: Stream) -> Responder:
        """Start the entry point."""
        exchange = stream
        # Behind WSGI, Django takes content whose length is not known in advance for none.
        if exchange.request_length < 0:
            return self.asgi.open(stream)
        head = exchange.head
        root = exchange.root_path if exchange.mount is None else exchange.received_root
        if is_asynchronous(self.split, head.raw_path, root, head.host):
            return self.asgi.open(stream)
        return self.wsgi.open(stream)

    def open_websocket(self, stream: Stream) -> Responder:
        """Start the ASGI entry point: the other has no WebSockets."""
        return self.asgi.open_websocket(stream)


def is_asynchronous(split: object, path: bytes, root: str, host: bytes | None) -> bool:
    """Whether the ASGI entry point runs a request for `path`, as received.

    `root` is what the project is reached under (SCRIPT_NAME), `host` the Host field as it came.
    """
    urlconf = ""
    urlconfs = split.urlconfs
    if urlconfs:
        urlconf = urlconfs.get(host.decode("latin-1") if host else "", "")
    known: bool | None
    if not urlconf:
        known = look_up(split.tree, below(path, root) if root else path)
        if known is not None:
            return known
    paths = split.paths
    known = paths.get((path, root, urlconf))
    if known is None:
        known = split.decide(path, root, urlconf)
    return known


def look_up(tree: Any, path: bytes) -> Any:
    """What `tree` says of `path`, as received but for the root; None where it doesn't tell.

    A tree is the answer, or a dict by the next segment, with what it says of all others under None.
    """
    if not isinstance(tree, dict):
        return tree
    if _PERCENT in path:
        return None
    start = 1
    while True:
        end = path.find(b"/", start)
        segment = path[start:] if end < 0 else path[start:end]
        node = tree
        tree = node[segment] if segment in node else node[None]
        if not isinstance(tree, dict):
            return tree
        if end < 0:
            return None
        start = end + 1
