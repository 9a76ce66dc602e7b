"""Several applications on one port: which of them a path belongs to.

An application has a place, its prefix; the longest prefix of whole segments wins: "/legacy" has "/legacy" and
"/legacy/x", not "/legacyx". What is compared is the path that applications get to see, percent-decoded, so that what
one finds in `path` or `PATH_INFO` always begins with its own prefix and never with another's.

Rule: a path belongs to a mount only if everybody who reads it takes it there. RFC 3986 2.2 and 6.2.2.3 leave two
things open, on which a proxy that guards one mount and this table could differ: whether an encoded slash divides
segments, and whether dot segments are resolved. A path that belongs to one mount in one reading and to another in the
next belongs to none. Inside a mount, both are the application's.

The table is a list that is walked: it has as many entries as the server has applications. Nothing is remembered of
what clients send.
"""

from urllib.parse import unquote_to_bytes

from ..kernels.base import Handler

_PERCENT = 37
_DOT = 46
_SLASH = 47


class Mount:
    """One application's place.

    `prefix` is empty for the root, else "/" and more without a slash at its end, decoded. `handler` starts the
    application. `websockets`: it takes WebSocket connections. `request_body` is the most bytes of a request's content,
    `concurrency` the most requests that run or wait at a time, `timeout` the seconds that one may take as
    `Timeouts.request` has it; 0 for no limit.

    `requests` is how many there are now.
    """

    __slots__ = (
        "concurrency",
        "handler",
        "name",
        "path",
        "prefix",
        "request_body",
        "requests",
        "timeout",
        "websockets",
    )

    def __init__(
        self,
        prefix: str,
        handler: Handler,
        *,
        websockets: bool = False,
        request_body: int = 0,
        concurrency: int = 0,
        timeout: float = 0.0,
    ) -> None:
        self.prefix = prefix
        self.path = prefix.encode("utf-8")
        # For the access log.
        self.name = prefix or "/"
        self.handler = handler
        self.websockets = websockets
        self.request_body = request_body
        self.concurrency = concurrency
        self.timeout = timeout
        self.requests = 0


class MountTable:
    """The applications of one server, by their prefixes, of which no two are the same."""

    __slots__ = ("_mounts",)

    def __init__(self, mounts: list) -> None:
        self._mounts = sorted(mounts, key=_length, reverse=True)

    def find(self, path: bytes, root: str) -> Mount | None:
        """The mount that `path`, as received, belongs to; None for none.

        `root` is the path that all of the server is reached under, which a proxy may have removed or not.
        """
        if _PERCENT in path or (_DOT in path and b"/." in path):
            return self._find_unplain(path, root)
        if root:
            path = below(path, root)
        return self._longest(path)

    def _longest(self, path: bytes) -> Mount | None:
        mount: Mount
        for mount in self._mounts:
            prefix = mount.path
            size = len(prefix)
            if path.startswith(prefix) and (len(path) == size or path[size] == _SLASH):
                return mount
        return None

    def _find_unplain(self, path: bytes, root: str) -> Mount | None:
        """The mount of a path with encoded characters or dot segments, if all readings of it agree."""
        readings = [unquote_to_bytes(path)]
        if b"%2f" in path or b"%2F" in path:
            # Not divided there: by a byte that is in no prefix.
            readings.append(unquote_to_bytes(path.replace(b"%2f", b"%00").replace(b"%2F", b"%00")))
        for reading in readings.copy():
            if b"/." in reading:
                readings.append(_without_dots(reading))
        found = None
        for index, reading in enumerate(readings):
            mount = self._longest(below(reading, root) if root else reading)
            if mount is None or (index and mount is not found):
                return None
            found = mount
        return found


def under(path: str, root: str) -> bool:
    """Whether `path` is `root`, without a slash at its end, or below it."""
    return path.startswith(root) and (len(path) == len(root) or path[len(root)] == "/")


def begins_with(path: bytes, root: str) -> bool:
    """Whether `path`, as received, begins with `root`."""
    if _PERCENT in path:
        path = unquote_to_bytes(path)
    return len(below(path, root)) < len(path)


def below(path: bytes, root: str) -> bytes:
    """`path` without `root`, if it begins with that; both in the same encoding."""
    prefix = root.encode("utf-8", "surrogateescape")
    size = len(prefix)
    if path.startswith(prefix) and (len(path) == size or path[size] == _SLASH):
        return path[size:]
    return path


def _without_dots(path: bytes) -> bytes:
    """`path` with its dot segments resolved (RFC 3986 5.2.4), but for a slash at its end."""
    segments = []
    for segment in path.split(b"/"):
        if segment == b"..":
            if len(segments) > 1:
                segments.pop()
        elif segment != b".":
            segments.append(segment)
    return b"/".join(segments)


def _length(mount: Mount) -> int:
    return len(mount.path)
