"""TLSSettings to `ssl.SSLContext`: certificates, client certificates, ciphers, versions.

Whatever is wrong with the files ends in a ConfigError of one line that names the file and what to do. Nothing here
ever asks for a password on the terminal, which OpenSSL does when left alone: a server has nobody to answer.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field

from gateway.errors import ConfigError

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
"""Protocol versions that may be the lowest one accepted (RFC 8996 retires what is older)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings:
    """What a TLS listener needs.

    `certfile` is a PEM file with the certificate and its chain, `keyfile` one with the private key (None: it is in
    `certfile`), `password` the key's. `ca_certs` is a PEM file of the authorities that sign client certificates;
    `cert_reqs` says whether clients must have one: "none", "optional" or "required". `ciphers` is an OpenSSL list for
    TLS 1.2. `minimum_version` is "1.2" or "1.3". `handshake_timeout` is seconds from accept to the handshake's end.
    """

    certfile: str
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = None
    cert_reqs: str = "none"
    ciphers: str | None = None
    minimum_version: str = "1.2"
    handshake_timeout: float = 10.0


VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def make_ssl_context(settings: TLSSettings) -> ssl.SSLContext:
    """The server's context for `settings`. Raises ConfigError."""
    if settings.minimum_version not in VERSIONS:
        raise ConfigError(f"minimum TLS version: {settings.minimum_version!r} is not one of 1.2, 1.3")
    if settings.cert_reqs not in VERIFY:
        raise ConfigError(f"client certificates: {settings.cert_reqs!r} is not one of none, optional, required")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[settings.minimum_version]
    # Compressing secrets together with what an attacker chose tells them apart (CRIME).
    context.options |= ssl.OP_NO_COMPRESSION
    # Renegotiation costs the server far more than the client, and TLS 1.3 is without it (RFC 8446 4.1.2).
    context.options |= ssl.OP_NO_RENEGOTIATION
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise ConfigError(f"TLS ciphers: OpenSSL knows none of {settings.ciphers!r}")
    load_certificate(context, settings)
    if settings.ca_certs:
        check_readable(settings.ca_certs, "the file of certificate authorities")
        try:
            context.load_verify_locations(settings.ca_certs)
        except ssl.SSLError as error:
            raise ConfigError(f"{settings.ca_certs}: no certificates in PEM form in it ({reason(error)})")
    elif VERIFY[settings.cert_reqs] != ssl.CERT_NONE:
        raise ConfigError("client certificates are asked for, but no authorities to check them: give --ca-certs")
    context.verify_mode = VERIFY[settings.cert_reqs]
    return context


def load_certificate(context: ssl.SSLContext, settings: TLSSettings) -> None:
    """Load certificate and key into `context`. Raises ConfigError."""
    keyfile = settings.keyfile or settings.certfile
    check_readable(settings.certfile, "the certificate")
    check_readable(keyfile, "the private key")
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return settings.password or ""

    try:
        context.load_cert_chain(settings.certfile, settings.keyfile, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{keyfile}: this key does not belong to the certificate in {settings.certfile}")
        if asked:
            what = "the password is wrong" if settings.password else "the key is encrypted: give --keyfile-password"
            raise ConfigError(f"{keyfile}: {what}")
        where = settings.certfile if settings.keyfile is None else f"{settings.certfile} or {keyfile}"
        raise ConfigError(f"{where}: not a certificate and its key in PEM form ({reason(error)})")
    except ValueError as error:
        raise ConfigError(f"{keyfile}: {error}")


def check_readable(path: str, what: str) -> None:
    """Raise ConfigError unless the file can be opened: OpenSSL's own error does not name it."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        cause = os.strerror(error.errno).lower() if error.errno else str(error)
        raise ConfigError(f"{path}: {what} can't be read: {cause}")


def reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason, in words."""
    return (error.reason or "unknown reason").replace("_", " ").lower()
