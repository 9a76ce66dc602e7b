"""TLSSettings to SSLContext: what is wrong is said in one line, and nobody is asked for a password."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.tls import TLSSettings, make_ssl_context

CERTS = Path(__file__).parent.parent / "certs"


def settings(**changes: Any) -> TLSSettings:
    values = {"certfile": str(CERTS / "server.pem"), "keyfile": str(CERTS / "server.key"), **changes}
    return TLSSettings(**values)


def test_defaults() -> None:
    context = make_ssl_context(settings())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_minimum_version_and_ciphers() -> None:
    context = make_ssl_context(settings(minimum_version="1.3", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in {cipher["name"] for cipher in context.get_ciphers()}


@pytest.mark.parametrize(("name", "mode"), [("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)])
def test_client_certificates(name: str, mode: ssl.VerifyMode) -> None:
    context = make_ssl_context(settings(ca_certs=str(CERTS / "ca.pem"), cert_reqs=name))
    assert context.verify_mode == mode
    assert len(context.get_ca_certs()) == 1


def test_encrypted_key() -> None:
    make_ssl_context(settings(keyfile=str(CERTS / "server-encrypted.key"), password="secret"))


def test_key_in_the_same_file(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes((CERTS / "server.key").read_bytes() + (CERTS / "server.pem").read_bytes())
    make_ssl_context(settings(certfile=str(both), keyfile=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"certfile": "/nowhere/cert.pem"}, r"/nowhere/cert\.pem: the certificate can't be read: no such file"),
        ({"keyfile": "/nowhere/key.pem"}, r"/nowhere/key\.pem: the private key can't be read: no such file"),
        ({"keyfile": str(CERTS / "other.key")}, r"other\.key: this key does not belong to .*server\.pem"),
        ({"keyfile": str(CERTS / "server.pem")}, r"not a certificate and its key in PEM form"),
        ({"certfile": str(CERTS / "README.md")}, r"not a certificate and its key in PEM form"),
        ({"keyfile": None}, r"server\.pem: not a certificate and its key"),
        ({"keyfile": str(CERTS / "server-encrypted.key")}, r"the key is encrypted: give --keyfile-password"),
        ({"keyfile": str(CERTS / "server-encrypted.key"), "password": "wrong"}, r"the password is wrong"),
        ({"keyfile": str(CERTS / "server-encrypted.key"), "password": "x" * 2000}, r"password|longer"),
        ({"ciphers": "nonsense"}, r"OpenSSL knows none of 'nonsense'"),
        ({"minimum_version": "1.1"}, r"'1\.1' is not one of 1\.2, 1\.3"),
        ({"cert_reqs": "maybe"}, r"'maybe' is not one of"),
        ({"cert_reqs": "required"}, r"give --ca-certs"),
        ({"cert_reqs": "required", "ca_certs": "/nowhere/ca.pem"}, r"/nowhere/ca\.pem: .*can't be read"),
        ({"cert_reqs": "required", "ca_certs": str(CERTS / "README.md")}, r"README\.md: no certificates in PEM form"),
    ],
)
def test_mistakes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_ssl_context(settings(**changes))
    assert "\n" not in str(caught.value)
    assert "wrong" != changes.get("password") or "wrong" in str(caught.value)
