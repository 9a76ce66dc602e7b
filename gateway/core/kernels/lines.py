"""Lines of a log: pieces go in and are made harmless, bytes come out.

This is the specification; `gateway/_speedups/kernels/lines.pyx` does the same in one piece of memory. What a line
consists of is the access log's; here stands how a value is written so that it can end neither its quotes nor its
line (CWE-117).
"""

import re
from json.encoder import encode_basestring_ascii

from .head import RequestHead

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")


class LineBuffer:
    """Bytes that are appended to until they are taken.

    A method that puts a value takes the text that stands before it, too, which is appended as it is. A value is bytes
    or str. Of a str that is not ASCII every character is written as by latin-1 where that has it (PEP 3333 puts bytes
    into strings so), as by UTF-8 where not.
    """

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def size(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def put(self, text: bytes | str) -> int:
        """Append `text` as it is; a str as UTF-8. Returns 0."""
        self._data += text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
        return 0

    def put_number(self, text: bytes, number: int, width: int) -> int:
        """Append `number`, 0 to 2**63 - 1, in decimal with leading zeros to `width` digits (up to 19). Returns 0."""
        self._data += b"%b%0*d" % (text, width, number)
        return 0

    def put_count(self, text: bytes, number: int) -> int:
        """Append `number`, 0 to 2**63 - 1, in decimal; "-" for 0. Returns 0."""
        self._data += b"%b%d" % (text, number) if number else text + b"-"
        return 0

    def put_escaped(self, text: bytes, value: bytes | str | None) -> int:
        """Append `value` with every byte but printable ASCII as \\xNN, quotes and backslashes too. Returns 0.

        "-" for None and for nothing.
        """
        self._data += text + (_escape(value) if value else b"-")
        return 0

    def put_word(self, text: bytes, value: bytes | str | None) -> int:
        """Append `value` as `put_escaped` does, and with its spaces escaped, for a place without quotes. Returns 0."""
        self._data += text + (_escape(value).replace(b" ", b"\\x20") if value else b"-")
        return 0

    def put_json(self, text: bytes, value: bytes | str | None) -> int:
        """Append `value` as a JSON string (RFC 8259 7), in ASCII; bytes that are no UTF-8 as \\xNN. Returns 0.

        For None nothing is appended, and no `text`.
        """
        if value is not None:
            string = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
            self._data += text + encode_basestring_ascii(string).encode("ascii")
        return 0

    # Values that stand in a request's head.

    def put_request_line(self, text: bytes, head: RequestHead) -> int:
        """Append the request line as it was sent, escaped. Returns 0."""
        return self.put_escaped(
            text, b"%b %b HTTP/%b" % (head.method.encode(), head.target, head.http_version.encode())
        )

    def put_field(self, text: bytes, head: RequestHead | None, name: bytes) -> int:
        """Append the first value of the field `name` (lower case) as `put_escaped` does. Returns 0."""
        return self.put_escaped(text, None if head is None else head.get(name))

    def put_json_field(self, text: bytes, head: RequestHead, name: bytes) -> int:
        """Append the first value of the field `name` (lower case) as `put_json` does. Returns 0."""
        return self.put_json(text, head.get(name))

    def put_json_path(self, text: bytes, head: RequestHead) -> int:
        """Append the path as `put_json` does. Returns 0."""
        return self.put_json(text, head.raw_path)

    def put_json_query(self, text: bytes, head: RequestHead) -> int:
        """Append the query as `put_json` does; nothing when it is empty. Returns 0."""
        return self.put_json(text, head.query or None)

    def cut(self, start: int) -> bytes:
        """Take away what comes after the first `start` bytes, and return it."""
        piece = bytes(self._data[start:])
        del self._data[start:]
        return piece

    def take(self) -> bytes:
        """Take away everything, and return it."""
        piece = bytes(self._data)
        self._data.clear()
        return piece


def _escape(value: bytes | str) -> bytes:
    data = _to_bytes(value) if isinstance(value, str) else value
    return _UNSAFE.sub(lambda match: b"\\x%02x" % match[0][0], data)


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return b"".join(
            [
                character.encode("latin-1") if character < "\u0100" else character.encode("utf-8", "surrogatepass")
                for character in text
            ]
        )
