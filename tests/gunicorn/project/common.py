"""What several configurations share."""

timeout = 90
limit_request_field_size = 131072
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
_private = 1


def worker_exit(server, worker):
    server.log.info("worker left")
