"""What runs requests in a worker: threads, the event loop, input and output."""

from .. import values
from .option import Option, table

OPTIONS = table(
    "Running",
    Option(
        "threads",
        values.INTEGER,
        8,
        "threads that run WSGI requests. One at a time holds the interpreter, the others are there to wait: 8 keep it "
        "busy when a request waits 7/8 of its time. Each may hold a database connection. Slow clients need none. 0 "
        "runs requests on the event loop, one after the other: faster by the hand-over, for applications that never "
        "wait",
        flags=("--blocking-threads",),
        minimum=0,
        maximum=4096,
    ),
    Option(
        "thread_switch_interval",
        values.DURATION,
        0.0005,
        "after which a WSGI thread that computes lets others have the interpreter; 0 leaves Python's own setting, 5 "
        "ms, with which fast requests beside computing ones wait longer. Beside ASGI applications only while WSGI "
        "requests run",
    ),
    Option(
        "worker_class",
        values.TEXT,
        None,
        "accepted for gunicorn's sake: known classes choose the interface, and sync one thread",
        flags=("-k",),
        placeholder="CLASS",
    ),
    Option(
        "loop",
        values.TEXT,
        "auto",
        "event loop; auto takes uvloop when it is installed",
        flags=("--asgi-loop",),
        choices=("auto", "asyncio", "uvloop"),
    ),
    Option(
        "io",
        values.TEXT,
        "auto",
        "what moves the bytes: epoll is gateway's own on Linux, without TLS; auto takes it where it is there",
        choices=("auto", "epoll", "asyncio"),
    ),
    Option(
        "sendfile",
        values.SWITCH,
        True,
        "send files with sendfile(2) where possible",
        env=("SENDFILE",),
    ),
)
