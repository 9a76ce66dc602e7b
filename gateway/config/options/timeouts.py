"""How long anything may take. The defaults of the request path are those of core/http/limits.py, which argues them."""

from .option import table, timeout

OPTIONS = table(
    "Timeouts",
    timeout(
        "timeout_head",
        "timeouts.head",
        10.0,
        "from the first byte of a request, or the opening of a connection, to the end of the head",
    ),
    timeout("timeout_body", "timeouts.body", 30.0, "without a byte of content from the client"),
    timeout("timeout_write", "timeouts.write", 30.0, "without a byte of output taken by the client"),
    timeout(
        "keep_alive",
        "timeouts.keep_alive",
        5.0,
        "idle between two requests. Behind a load balancer: longer than its own idle time, for example 75",
        flags=("--timeout-keep-alive",),
        names=("keepalive",),
    ),
    timeout("timeout_linger", "timeouts.linger", 5.0, "from the last response to the close, at most"),
    timeout(
        "timeout_upload_grace", "timeouts.upload_grace", 5.0, "receiving time before --limit-upload-rate is judged"
    ),
    timeout(
        "timeout_half_close",
        "timeouts.half_close",
        0.5,
        "from the client's end of input until the application is told that it left",
    ),
    timeout(
        "timeout_handshake",
        "",
        10.0,
        "TLS handshake",
        flags=("--handshake-timeout", "--ssl-handshake-timeout"),
    ),
    timeout(
        "request_timeout",
        "timeouts.request",
        0.0,
        "from a request's head until the application has made its response, waiting for a thread included; then 504, "
        "or the connection is closed where the response has begun. WebSockets and streams of events "
        "(text/event-stream) may go on",
        flags=("--harakiri", "--http-timeout"),
    ),
    timeout("timeout_thread_queue", "", 30.0, "waiting for a thread; after it 503"),
    timeout(
        "graceful_timeout",
        "",
        30.0,
        "for running requests to finish when stopping; 0 stops at once",
        flags=("--timeout-graceful-shutdown",),
        off=False,
    ),
    timeout("lifespan_startup_timeout", "", 60.0, "ASGI lifespan startup", flags=("--timeout-lifespan-startup",)),
    timeout("lifespan_shutdown_timeout", "", 30.0, "ASGI lifespan shutdown", flags=("--timeout-lifespan-shutdown",)),
)
