"""Where to listen: how an address is written, and what it means.

===================  ==================================================================
``HOST:PORT``        TCP; port 0 lets the system choose
``:PORT``            TCP on all IPv4 addresses of this machine
``[::1]:PORT``       TCP over IPv6; ``[::]:PORT`` is all addresses
``HOST``, ``PORT``   the other half is that of the default, 127.0.0.1:8000
``unix:PATH``        a Unix socket in the file system
``unix:@NAME``       an abstract Unix socket (Linux: no file, gone with its last user)
``fd://N``           a listening socket that this process inherited as descriptor N
===================  ==================================================================
"""

from __future__ import annotations

import ipaddress
import re
import sys
from typing import Literal, NamedTuple

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
MAX_PORT = 65535

# Bytes that sockaddr_un.sun_path has room for, less the NUL at its end (unix(7)).
MAX_UNIX_PATH = 107 if sys.platform == "linux" else 103

HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}")


class Address(NamedTuple):
    """One address to listen at. `str(address)` is how it is written."""

    kind: Literal["tcp", "unix", "abstract", "fd"]
    host: str = ""
    """TCP: a name or a numeric address, IPv6 without brackets."""
    port: int = 0
    """TCP: 0 to 65535; 0 = the system chooses."""
    path: str = ""
    """Unix: the path; abstract: the name without its "@"."""
    fd: int = -1
    """fd: the descriptor's number."""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "abstract":
            return f"unix:@{self.path}"
        if self.kind == "fd":
            return f"fd://{self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that `text` writes. Raises ValueError with what is wrong and how to write it."""
    text = text.strip()
    if not text:
        raise ValueError("an address is empty; write HOST:PORT, unix:PATH or fd://N")
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "unix":
        return unix_address(rest.removeprefix("//"))
    if colon and scheme == "fd":
        return fd_address(rest.removeprefix("//"), text)
    if "://" in text:
        if scheme != "tcp":
            raise ValueError(f"{text!r} is a URL; write HOST:PORT (TLS comes from --certfile)")
        text = text[len("tcp://") :]
    elif "/" in text:
        raise ValueError(f"{text!r} looks like a path; write unix:{text} for a Unix socket")
    elif text.startswith("@"):
        raise ValueError(f"{text!r}: write unix:{text} for an abstract Unix socket")
    return tcp_address(text)


def tcp_address(text: str) -> Address:
    """The TCP address that `text` writes, see the table above. Raises ValueError."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is no address; write [IPv6]:PORT")
        return Address("tcp", check_ipv6(host), parse_port(rest[1:]) if rest else DEFAULT_PORT)
    if text.count(":") > 1:
        raise ValueError(f"{text!r}: an IPv6 address goes in brackets, as in [::1]:{DEFAULT_PORT}")
    if text.isascii() and text.isdigit():
        return Address("tcp", DEFAULT_HOST, parse_port(text))
    host, colon, port = text.partition(":")
    if not colon:
        return Address("tcp", check_host(host), DEFAULT_PORT)
    return Address("tcp", check_host(host) if host else "0.0.0.0", parse_port(port))


def unix_address(path: str) -> Address:
    """The Unix socket at `path`, or for "@name" the abstract one. Raises ValueError."""
    abstract = path.startswith("@")
    if abstract:
        path = path[1:]
        if sys.platform != "linux":
            raise ValueError("abstract Unix sockets exist on Linux only; write unix:PATH")
    if not path:
        raise ValueError("unix: lacks a path; write unix:/run/gateway.sock or unix:@name")
    if "\0" in path:
        raise ValueError("the path of a Unix socket can't contain NUL")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > MAX_UNIX_PATH:
        raise ValueError(f"the path of a Unix socket can have at most {MAX_UNIX_PATH} bytes, this one has {size}")
    return Address("abstract" if abstract else "unix", path=path)


def fd_address(number: str, text: str) -> Address:
    """The inherited descriptor `number`. Raises ValueError."""
    if not (number.isascii() and number.isdigit()) or int(number) > 2**31 - 1:
        raise ValueError(f"{text!r} is no descriptor; write fd://N, as in fd://3")
    return Address("fd", fd=int(number))


def check_host(host: str) -> str:
    """`host` as it is if it can be a name or an IP address, else ValueError."""
    if host == "*":
        raise ValueError("'*' is no host; write 0.0.0.0 for all IPv4 addresses, [::] for all addresses")
    if ":" in host:
        return check_ipv6(host)
    if not HOST_NAME.fullmatch(host):
        raise ValueError(f"{host!r} is no host name or IP address")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is no IPv4 address") from None
    return host


def check_ipv6(host: str) -> str:
    """`host` as it is if it is an IPv6 address, else ValueError."""
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"{host!r} is no IPv6 address") from None
    return host


def parse_port(text: str) -> int:
    """A port number, 0 to 65535. Raises ValueError."""
    if not (text.isascii() and text.isdigit()) or int(text) > MAX_PORT:
        raise ValueError(f"{text!r} is no port; a port is a number from 0 to {MAX_PORT}")
    return int(text)
