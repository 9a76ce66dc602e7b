"""Status codes: their reason phrases and encoded status lines (RFC 9110 15, RFC 9112 4)."""

from http import HTTPStatus

REASONS = {int(status): status.phrase for status in HTTPStatus}
# RFC 9110 renamed these three; older interpreters still carry the names of RFC 7231.
REASONS[413] = "Content Too Large"
REASONS[414] = "URI Too Long"
REASONS[422] = "Unprocessable Content"
REASONS[416] = "Range Not Satisfiable"

STATUS_LINES = {code: f"HTTP/1.1 {code} {phrase}\r\n".encode("ascii") for code, phrase in REASONS.items()}


# The same by index, with None where there is no registered phrase.
LINES = tuple(STATUS_LINES.get(code) for code in range(600))


def status_line(status: int, reason: bytes) -> bytes:
    """The status line for `status`; an empty `reason` takes the registered phrase.

    It always says HTTP/1.1: a server answers with the highest version it conforms to (RFC 9110 2.5).
    """
    if not reason and 0 <= status < 600:
        line = LINES[status]
        if line is not None:
            return line
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def error_text(status: int, detail: str) -> bytes:
    """The body of an error response of our own: the reason phrase, and what was wrong where that helps."""
    phrase = REASONS.get(status, "Error")
    if detail:
        return f"{phrase}: {detail}\n".encode("latin-1", "replace")
    return phrase.encode("latin-1")
