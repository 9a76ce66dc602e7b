"""Certificates and what of TLS is spoken."""

from .. import values
from .option import Option, table

OPTIONS = table(
    "TLS",
    Option(
        "certfile",
        values.PATH,
        None,
        "certificate chain, PEM; switches TLS on",
        flags=("--ssl-certfile", "--ssl-certificate"),
    ),
    Option(
        "keyfile",
        values.PATH,
        None,
        "private key, PEM, unless the certificate's file has it",
        flags=("--ssl-keyfile",),
    ),
    Option(
        "keyfile_password",
        values.TEXT,
        None,
        "password of the private key; better given as GATEWAY_KEYFILE_PASSWORD, as others can see a command line",
        flags=("--ssl-keyfile-password",),
        secret=True,
    ),
    Option(
        "ca_certs",
        values.PATH,
        None,
        "certificates that client certificates are checked against, PEM",
        flags=("--ssl-ca-certs", "--ssl-ca"),
    ),
    Option(
        "cert_reqs",
        values.CERT_REQS,
        "none",
        "client certificates: none (0), optional (1) or required (2)",
        flags=("--ssl-cert-reqs",),
        choices=("none", "optional", "required"),
    ),
    Option(
        "ciphers",
        values.TEXT,
        None,
        "OpenSSL cipher list for TLS 1.2",
        flags=("--ssl-ciphers",),
        default_text="Python's",
    ),
    Option(
        "ssl_min_version",
        values.TEXT,
        "1.2",
        "lowest TLS version",
        flags=("--tls-min-version",),
        choices=("1.2", "1.3"),
    ),
)
