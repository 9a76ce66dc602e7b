"""Where the server listens, and how."""

from .. import values
from .option import Option, table

OPTIONS = table(
    "Listening",
    Option(
        "bind",
        values.ADDRESSES,
        (),
        "where to listen: HOST:PORT, :PORT, [IPv6]:PORT, unix:PATH, unix:@NAME (abstract) or fd://N",
        flags=("-b",),
        repeatable=True,
        default_text="127.0.0.1:8000",
    ),
    Option(
        "host",
        values.HOST,
        None,
        "listen at this host, with --port",
        default_text="127.0.0.1",
    ),
    Option(
        "port",
        values.INTEGER,
        None,
        "listen at this port, with --host; 0 lets the system choose. $PORT alone binds 0.0.0.0",
        env=("PORT",),
        maximum=65535,
        placeholder="PORT",
        default_text="8000",
    ),
    Option("uds", values.UDS, None, "listen at this Unix socket"),
    Option("fd", values.INTEGER, None, "listen at this inherited socket", maximum=2**31 - 1),
    Option(
        "uds_mode",
        values.MODE,
        0o666,
        "permission bits of Unix sockets; the folder they are in decides who reaches them",
        flags=("--uds-permissions", "--unix-socket-perms", "--chmod-socket"),
    ),
    Option(
        "backlog",
        values.INTEGER,
        2048,
        "connections the system holds until they are accepted",
        minimum=1,
        maximum=2**31 - 1,
    ),
    Option(
        "reuse_port",
        values.SWITCH,
        False,
        "a listening socket for each worker (SO_REUSEPORT), among which the system spreads connections without regard"
        " to how busy they are; connections that wait at one are reset when it is killed or its socket closes",
    ),
)
