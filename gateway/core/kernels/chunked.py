"""The chunked transfer coding (RFC 9112 7.1).

::

    chunked-body   = *chunk last-chunk trailer-section CRLF
    chunk          = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
    chunk-size     = 1*HEXDIG
    last-chunk     = 1*("0") [ chunk-ext ] CRLF

This is the specification; `gateway/_speedups/kernels/chunked.pyx` does the same with pointers. The decoder
ends with the line of the last chunk: the trailer section after it is made of field lines, and the head kernel
reads those.

The decoder is as strict as the head's parser, for the same reason: where two parties in a row disagree about
one byte of this framing, the rest of one message becomes a request of its own (RFC 9112 11.2). Of a line that
has not ended yet only the length is judged, so that the result does not depend on how the bytes were cut up
on the way.
"""

import re

from .buffer import InputBuffer

# Result codes of `ChunkedDecoder.decode`.
CHUNK_NEED_DATA = 0
CHUNK_DATA = 1
CHUNK_END = 2
BAD_CHUNK_SIZE = 3
CHUNK_SIZE_OVERFLOW = 4
CHUNK_LINE_TOO_LONG = 5
BAD_CHUNK_EXTENSION = 6
BAD_CHUNK_TERMINATOR = 7

# RFC 9112 7.1: the last chunk, and an empty trailer section.
LAST_CHUNK = b"0\r\n\r\n"

_MAX_CHUNK_SIZE = 2**63 - 1
_MAX_SIZE_DIGITS = 16

# RFC 9112 7.1: chunk-size = 1*HEXDIG.
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+")

# RFC 9110 5.6.2: token = 1*tchar.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"

# RFC 9110 5.6.4: quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE.
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'

# RFC 9112 7.1.1: chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ). Ignored, but
# validated: a control character in here is how one parser is made to see a line end where another sees none.
_CHUNK_EXTENSIONS = re.compile(
    rb"(?:[ \t]*;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*"
)

# What the decoder expects next.
_LINE = 0
_CONTENT = 1
_CR = 2
_LF = 3
_END = 4


class ChunkedDecoder:
    """Decodes one chunked message body.

    `data` is the piece of content that `decode` has found when it returns CHUNK_DATA, else b"".

    `excess` is how many bytes of framing, beyond what is reasonable, the peer has sent so far: each chunk
    costs the bytes of its line and CRLFs, and earns 16 and twice its content. A body in chunks of one byte
    with long extensions costs the server much and the peer little; the caller refuses it beyond a limit (RFC
    9112 7.1.1).
    """

    __slots__ = ("_remaining", "_state", "data", "excess")

    def __init__(self) -> None:
        self.data = b""
        self.excess = 0
        self._state = _LINE
        self._remaining = 0

    def decode(self, input: InputBuffer, max_line: int) -> int:
        """Decode the next piece of `input`.

        Returns CHUNK_DATA with `data` set to what there is of the current chunk; CHUNK_END once the line of
        the last chunk is consumed, and from then on; CHUNK_NEED_DATA; or an error code, and the same one
        again if called again. `max_line` limits a chunk's first line in bytes, without its CRLF; 0 =
        unlimited.
        """
        self.data = b""
        while True:
            if self._state == _LINE:
                code = self._decode_line(input, max_line)
                if code != CHUNK_DATA:
                    return code
            elif self._state == _CONTENT:
                self.data = input.take(self._remaining)
                if not self.data:
                    return CHUNK_NEED_DATA
                self._remaining -= len(self.data)
                if self._remaining == 0:
                    self._state = _CR
                return CHUNK_DATA
            elif self._state == _END:
                return CHUNK_END
            else:
                # RFC 9112 7.1: content is followed by exactly CRLF. Each byte is judged when it is there.
                byte = input.peek(0, 1)
                if not byte:
                    return CHUNK_NEED_DATA
                if byte != (b"\r" if self._state == _CR else b"\n"):
                    return BAD_CHUNK_TERMINATOR
                input.discard(1)
                self._state = _LF if self._state == _CR else _LINE

    def _decode_line(self, input: InputBuffer, max_line: int) -> int:
        """Read a chunk's first line. Returns CHUNK_DATA when content follows, or what `decode` returns."""
        end = input.find(b"\n", 0)
        measured = input.available() if end < 0 else end
        # One more than the limit, for the CR.
        if max_line and measured > max_line + 1:
            return CHUNK_LINE_TOO_LONG
        if end < 0:
            return CHUNK_NEED_DATA
        line = input.peek(0, end)
        # RFC 9112 2.2 lets a recipient take a bare LF for a line end; this one doesn't.
        if line[-1:] != b"\r":
            return BAD_CHUNK_SIZE
        line = line[:-1]

        match = _CHUNK_SIZE.match(line)
        if match is None:
            return BAD_CHUNK_SIZE
        digits = match[0]
        # RFC 9112 7.1: "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing
        # errors due to integer conversion overflows".
        if len(digits) > _MAX_SIZE_DIGITS or int(digits, 16) > _MAX_CHUNK_SIZE:
            return CHUNK_SIZE_OVERFLOW
        size = int(digits, 16)
        extensions = line[len(digits) :]
        if extensions:
            if extensions.lstrip(b" \t")[:1] != b";":
                return BAD_CHUNK_SIZE
            if _CHUNK_EXTENSIONS.fullmatch(extensions) is None:
                return BAD_CHUNK_EXTENSION

        input.discard(end + 1)
        self.excess = max(0, self.excess + (end + 1) + 2 - 16 - 2 * size)
        if size == 0:
            self._state = _END
            return CHUNK_END
        self._remaining = size
        self._state = _CONTENT
        return CHUNK_DATA


def chunk_head(size: int) -> bytes:
    """The first line of a chunk with `size` bytes of content, which CRLF must follow."""
    return b"%x\r\n" % size


def encode_chunk(data: bytes) -> bytes:
    """`data` as one chunk. b"" gives b"": a chunk of no bytes would be the last one."""
    if not data:
        return b""
    return b"%x\r\n%b\r\n" % (len(data), data)
