"""What is believed about a client whose requests a proxy passes on."""

from .. import values
from .option import Option, table

OPTIONS = table(
    "Behind a proxy",
    Option(
        "proxy_headers",
        values.SWITCH,
        True,
        "believe what --forwarded-allow-ips say about the client",
    ),
    Option(
        "forwarded_allow_ips",
        values.TRUSTED,
        ("127.0.0.1", "::1", "unix"),
        "peers that are believed: addresses, networks, unix (Unix sockets) or * (anyone)",
        env=("FORWARDED_ALLOW_IPS",),
        repeatable=True,
    ),
    Option(
        "forwarded_style",
        values.TEXT,
        "x-forwarded",
        "the fields the proxy sets: X-Forwarded-For and -Proto, or Forwarded (RFC 7239). Only one can be believed, "
        "as the proxy passes the other on from the client",
        choices=("x-forwarded", "forwarded"),
    ),
    Option("forwarded_host", values.SWITCH, False, "believe X-Forwarded-Host too"),
    Option("forwarded_port", values.SWITCH, False, "believe X-Forwarded-Port too"),
    Option("forwarded_prefix", values.SWITCH, False, "believe X-Forwarded-Prefix too"),
    Option(
        "forwarded_clear",
        values.SWITCH,
        False,
        "remove these fields from requests of peers that are not believed",
    ),
    Option(
        "header_map",
        values.TEXT,
        "drop",
        "request fields with an underscore in their name, which can pass for those a proxy sets: drop them, refuse "
        "the request, or (dangerous) let them through",
        choices=("drop", "refuse", "dangerous"),
    ),
)
