"""What all connections of one process share: limits, the application, the clock, and what is counted."""

from time import gmtime
from typing import Any

from ..kernels.base import AccessLog, Clock, Handler, Upgrade
from ..kernels.fields import F_DATE, F_SERVER, FIELDS_OK, FieldBlock
from .limits import Limits, Timeouts
from .mounts import MountTable

# What becomes of a request field whose name has an underscore. Written as an environment variable it can't be told
# from the same name with a hyphen, which is how a client forges a field its proxy has set.
HEADER_MAP_DROP = 0
HEADER_MAP_REFUSE = 1
HEADER_MAP_DANGEROUS = 2

DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class Service:
    """One process's settings and counters, as its connections see them.

    `limits`, `timeouts`: see there. `handler` starts the application; where there are several, it is None, and `mounts`
    has theirs. `log` is a `logging.Logger` for errors,
    `access_log` may be None. `forwarded` has `apply(stream)`, or is None. `server_header` is the value of the Server
    field, empty for none (RFC 9110 10.2.4). `extra_fields` are (name, value) byte pairs that every response gets.
    `root_path` is the path that all of the server is reached under. `upgrade` is set afterwards, where there is another
    protocol to switch to, and `overdue`, where somebody wants to be called with each stream that has had its time,
    before its response is taken back. `reached` is called when there have been `last_request` requests, 0 for never.

    Raises ValueError when `server_header` or `extra_fields` can't be a field.
    """

    __slots__ = (
        "access_log",
        "clock",
        "connections",
        "date_header",
        "draining",
        "extra",
        "forwarded",
        "handler",
        "header_map",
        "last_request",
        "limits",
        "log",
        "mounts",
        "overdue",
        "prefix",
        "reached",
        "requests",
        "root_path",
        "second",
        "server_line",
        "timeouts",
        "total_requests",
        "upgrade",
    )

    def __init__(
        self,
        *,
        limits: Limits,
        timeouts: Timeouts,
        clock: Clock,
        handler: Handler | None,
        log: object,
        access_log: AccessLog | None = None,
        forwarded: object = None,
        server_header: bytes = b"gateway",
        date_header: bool = True,
        extra_fields: object = (),
        header_map: int = HEADER_MAP_DROP,
        root_path: str = "",
        mounts: MountTable | None = None,
    ) -> None:
        self.limits = limits
        self.timeouts = timeouts
        self.clock = clock
        self.handler = handler
        self.mounts = mounts
        self.log = log
        self.access_log = access_log
        self.forwarded = forwarded
        self.date_header = date_header
        self.header_map = header_map
        self.root_path = root_path
        self.upgrade: Upgrade | None = None
        self.overdue: Any = None
        self.server_line = encode_own([(b"Server", server_header)] if server_header else [])
        self.extra = encode_own(extra_fields)
        self.connections = 0
        self.requests = 0
        self.total_requests = 0
        self.last_request = 0
        self.reached: Any = None
        self.draining = False
        self.second = -1
        self.prefix = self.server_line + self.extra

    def refresh(self, monotonic: float, wall: float) -> int:
        """Set the coarse clock, and the Date field once a second (RFC 9110 6.6.1). Called by the server's timer.

        `monotonic` and `wall` are seconds, of `time.monotonic` and `time.time`. Returns 0.
        """
        self.clock.time = monotonic
        second = int(wall)
        if second != self.second:
            self.second = second
            self.prefix = self.own_fields(0)
        return 0

    def own_fields(self, seen: int) -> bytes:
        """The encoded Date and Server fields, less those that the application has set itself (`seen`, F_ bits)."""
        lines = self.extra
        if not (seen & F_SERVER):
            lines = self.server_line + lines
        if self.date_header and self.second >= 0 and not (seen & F_DATE):
            lines = b"Date: " + imf_fixdate(self.second) + b"\r\n" + lines
        return lines


def peer_name(client: Any) -> str:
    """A client's address for the log: `client` is a (host, port) tuple, or None."""
    if client is None:
        return "a Unix socket"
    return f"{client[0]}:{client[1]}"


def imf_fixdate(moment: int) -> bytes:
    """`moment`, seconds since 1970, as an IMF-fixdate (RFC 9110 5.6.7): English, whatever the locale is."""
    year, month, day, hour, minute, second, weekday = gmtime(moment)[:7]
    date = (DAYS[weekday], day, MONTHS[month - 1], year, hour, minute, second)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % date


def encode_own(fields: object) -> bytes:
    """Encode fields of our own. Raises ValueError when one of them can't be a field."""
    block = FieldBlock()
    if block.encode(fields, 0) != FIELDS_OK:
        name = block.error_name.decode("latin-1") or "?"
        raise ValueError(f"not a valid response field: {name}")
    return block.data
