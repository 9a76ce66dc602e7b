"""What both probe applications do alike: response fields that must be refused, by name."""

from __future__ import annotations

SECRET = "s3cr3t-in-the-value"
"""Part of every bad value: it must never reach the log."""

BAD_FIELDS: dict[str, tuple[bytes, bytes]] = {
    "lf-value": (b"x-bad", SECRET.encode() + b"\nx-injected: 1"),
    "crlf-value": (b"x-bad", SECRET.encode() + b"\r\nx-injected: 1"),
    "cr-value": (b"x-bad", SECRET.encode() + b"\rx-injected: 1"),
    "nul-value": (b"x-bad", SECRET.encode() + b"\0"),
    "control-value": (b"x-bad", SECRET.encode() + b"\x01"),
    "delete-value": (b"x-bad", SECRET.encode() + b"\x7f"),
    "lf-end-value": (b"x-bad", SECRET.encode() + b"\n"),
    "crlf-name": (b"x-bad\r\nx-injected", SECRET.encode()),
    "lf-name": (b"x-bad\nx-injected", SECRET.encode()),
    "nul-name": (b"x-bad\0", SECRET.encode()),
    "space-name": (b"x bad", SECRET.encode()),
    "colon-name": (b"x-bad:", SECRET.encode()),
    "empty-name": (b"", SECRET.encode()),
    "high-name": (b"x-b\xe4d", SECRET.encode()),
}

PART = b"0123456789abcdef" * 4096
"""64 KiB: the piece in which large bodies are made."""
