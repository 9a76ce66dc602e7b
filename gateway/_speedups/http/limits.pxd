cdef class Limits:
    cdef readonly long long request_line, request_fields, request_field_size, request_fields_size, request_body
    cdef readonly long long empty_lines, chunk_line, chunk_excess, body_buffer, write_buffer, response_buffer
    cdef readonly long long unread_body, linger, upload_rate, pipeline_buffer, pipeline_burst
    cdef readonly long long connection_requests, connections, concurrency
    cdef readonly long long websocket_message, websocket_frame, websocket_fragments, websocket_queue


cdef class Timeouts:
    cdef readonly double head, body, write, keep_alive, linger, upload_grace, half_close, request
    cdef readonly double websocket_ping, websocket_pong, websocket_close
