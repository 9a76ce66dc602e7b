"""How much of anything is accepted or held. The defaults are those of core/http/limits.py, which argues them."""

from .. import values
from .option import limit, size, table

OPTIONS = table(
    "Limits",
    size("limit_request_line", "request_line", 8190, "request line; above it 414"),
    limit("limit_request_fields", "request_fields", 100, "field lines in a head or trailer section; above it 431"),
    size(
        "limit_request_field_size",
        "request_field_size",
        8190,
        "one field line; above it 431",
        flags=("--limit-request-field_size",),
    ),
    size("limit_request_fields_size", "request_fields_size", 65536, "all field lines of a head; above it 431"),
    size(
        "limit_request_body",
        "request_body",
        0,
        "content of a request; above it 413",
        flags=("--limit-post", "--max-request-body-size"),
    ),
    limit("limit_empty_lines", "empty_lines", 2, "empty lines tolerated before a request"),
    size("limit_chunk_line", "chunk_line", 4096, "one chunk-size line with its extensions"),
    size("limit_chunk_excess", "chunk_excess", 16384, "chunk framing beyond what honest chunks need, over one body"),
    size(
        "limit_body_buffer",
        "body_buffer",
        65536,
        "content held for an application that does not read; a body up to this size is read before a thread is taken",
    ),
    size("limit_write_buffer", "write_buffer", 65536, "output queued for a slow client before `send` waits"),
    size(
        "limit_response_buffer",
        "response_buffer",
        262144,
        "WSGI response queued for a slow client with its thread already free",
        flags=("--response-buffer",),
    ),
    size(
        "limit_unread_body",
        "unread_body",
        65536,
        "content the application left unread, discarded to keep the connection",
    ),
    size("limit_linger", "linger", 16777216, "discarded after the last response, so that the client gets to read it"),
    limit(
        "limit_upload_rate",
        "upload_rate",
        240,
        "the least a body must arrive with, after --timeout-upload-grace",
        kind=values.SIZE,
        unit="bytes/s",
    ),
    size("limit_pipeline_buffer", "pipeline_buffer", 65536, "pipelined requests held while one runs"),
    limit("limit_pipeline_burst", "pipeline_burst", 32, "pipelined requests served in one turn of the loop"),
    limit(
        "limit_connection_requests",
        "connection_requests",
        1000,
        "requests on one connection, then it closes",
        flags=("--keep-alive-requests",),
    ),
    limit(
        "limit_connections",
        "connections",
        16384,
        "open connections; above it 503",
        flags=("--worker-connections",),
    ),
    limit("limit_concurrency", "concurrency", 4096, "requests running or waiting for a thread; above it 503"),
    limit(
        "limit_thread_queue",
        "",
        1024,
        "WSGI requests waiting for a thread; above it 503",
    ),
)
