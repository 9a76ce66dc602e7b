"""What a proxy says about the client: X-Forwarded-* or Forwarded (RFC 7239), and whom to believe.

Rule 1: nothing is believed but what a trusted peer has written. Every proxy appends what it saw to what it was
sent, so a list is read from its right end: the last address is the peer's word; if that address is trusted too, the
one before it is its word; and so on, to the first address that is not trusted. That is the client. What stands
further to the left the client has made up, or might have.
Rule 2: one family of fields counts, the configured one. A proxy that sets X-Forwarded-* passes on a Forwarded field
as the client sent it, and the other way round; reading both would believe the client.
Rule 3: what is malformed is ignored, as if it were not there. It is never an error of the request.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

# Addresses read from one list; more proxies than that are no honest chain.
MAX_HOPS = 64
# Addresses whose trust is remembered.
MAX_KNOWN = 1024

# "ws" and "wss": what some proxies say of a WebSocket. Its opening handshake is a request like any other, and the
# application's interface makes its scheme of http and https.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}

# [ IPv6 address ] or IPv4 address, with or without a port; RFC 7239 6.2 has obfuscated ports too.
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}|_[A-Za-z0-9._\-]+))?")

# A host with or without a port (RFC 9110 7.2), without the characters that no host in use has.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~\-]+)(?::([0-9]{1,5}))?")

_PORT = re.compile(r"[0-9]{1,5}")

# A path of plain segments (RFC 3986 3.3). Encoded characters are left out, as ASGI and WSGI would decode them
# differently; and "//" in front, which in a redirect is the beginning of another host.
_PREFIX = re.compile(r"/|(?:/[A-Za-z0-9._~!$&'()*+,;=:@\-]+)+/?")

# RFC 7239 4: forwarded-pair = token "=" ( token / quoted-string ).
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR = re.compile(rf'({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")')
_QUOTED_PAIR = re.compile(r"\\(.)")
_SPACE = re.compile(r"[ \t]*")


def parse_node(text: str) -> tuple | None:
    """Host and port (0 when there is none) of one address in a list; None if it is not an IP address.

    Takes "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". The host comes in its usual
    form; an IPv4 address mapped into IPv6 (RFC 4291 2.5.5.2) as IPv4.
    """
    port = 0
    host = text
    match = _NODE.fullmatch(text)
    if match is not None:
        host = match[1] or match[2]
        if match[3] and match[3][0] != "_":
            port = int(match[3])
            if port > 65535:
                return None
    address = parse_address(host)
    if address is None:
        return None
    return str(address), port


def parse_port(text: str) -> int:
    """A port of a URI (RFC 3986 3.2.3) from 1 to 65535, or 0."""
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        return 0
    return int(text)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, or None. One that is mapped into IPv6 comes as IPv4."""
    # A zone (RFC 4007 11) says something about another machine's interfaces.
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_forwarded(value: str) -> list | None:
    """The elements of a Forwarded field (RFC 7239 4), as dicts with lower-case names; None if it is malformed.

    Lenient in one place: whitespace is allowed around ";", as it is around ",".
    """
    elements = []
    element: dict = {}
    position = 0
    while True:
        position = skip_space(value, position)
        match = _PAIR.match(value, position)
        if match is not None:
            name = match[1].lower()
            # RFC 7239 4: each parameter at most once per element.
            if name in element:
                return None
            element[name] = match[2] if match[2] is not None else _QUOTED_PAIR.sub(r"\1", match[3])
            position = skip_space(value, match.end())
        end = position == len(value)
        if end or value[position] == ",":
            if element:
                elements.append(element)
            if end:
                return elements
            element = {}
        elif value[position] != ";":
            return None
        position += 1


def skip_space(value: str, position: int) -> int:
    """The position of the first character that is no whitespace (RFC 9110 5.6.3)."""
    match: Any = _SPACE.match(value, position)
    end: int = match.end()
    return end


def parse_list(values: list) -> list:
    """The members of a comma-separated list (RFC 9110 5.6.1) over all its field lines, empty ones left out."""
    members = b",".join(values).decode("latin-1").split(",")
    return [member.strip(" \t") for member in members if member.strip(" \t")]


def is_forwarded(name: bytes) -> bool:
    """Whether the field `name` (lower case) is one of those that proxies set about the client."""
    return name == b"forwarded" or name.startswith(b"x-forwarded-")


def default_port(scheme: str) -> int:
    """The port of a URI without one (RFC 9110 4.2)."""
    port: int = _DEFAULT_PORTS[scheme]
    return port


class ForwardedPolicy:
    """Whom to believe, and in what.

    `allow`: IP addresses, networks ("10.0.0.0/8"), "unix" (any peer on a Unix socket) or "*" (anyone: only for a
    server that nobody but the proxy can reach; then the leftmost address counts, which is the client's to choose if
    the proxy appends to what it is sent). `forwarded`: read Forwarded instead of X-Forwarded-*. Address and scheme
    are always read. On request only, because a proxy that does not set them passes on the client's: `host`
    (X-Forwarded-Host, or the host parameter of Forwarded), `port` (X-Forwarded-Port), `prefix` (X-Forwarded-Prefix:
    the path that the proxy has removed). `clear`: remove all these fields from requests of other peers, so that
    applications that read them themselves are not deceived.

    Raises ValueError when a member of `allow` is none of these.
    """

    __slots__ = (
        "_addresses",
        "_everyone",
        "_known",
        "_networks",
        "_unix",
        "clear",
        "forwarded",
        "host",
        "port",
        "prefix",
    )

    def __init__(
        self,
        allow: Iterable[str],
        *,
        host: bool = False,
        port: bool = False,
        prefix: bool = False,
        clear: bool = False,
        forwarded: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.prefix = prefix
        self.clear = clear
        self.forwarded = forwarded
        self._everyone = False
        self._unix = False
        self._known: dict = {}
        addresses = set()
        networks = []
        for member in allow:
            if member == "*":
                self._everyone = True
            elif member == "unix":
                self._unix = True
            else:
                network = parse_network(member)
                if network.num_addresses == 1:
                    addresses.add(network.network_address)
                else:
                    networks.append(network)
        self._addresses = frozenset(addresses)
        self._networks = tuple(networks)

    def trusts(self, client: object) -> bool:
        """Whether a peer is believed. `client`: (host, port), or None on a Unix socket."""
        if self._everyone:
            return True
        if client is None:
            return self._unix
        peer: Any = client
        host = peer[0]
        known = self._known.get(host)
        if known is None:
            # A list of addresses is the client's to fill: what is remembered has a bound.
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._judge(host)
            self._known[host] = known
        trusted: bool = known
        return trusted

    def _judge(self, host: str) -> bool:
        # Without the zone, which our own sockets have on link-local addresses.
        address: Any = parse_address(host.partition("%")[0])
        if address is None:
            return False
        if address in self._addresses:
            return True
        for network in self._networks:
            if network.version == address.version and address in network:
                return True
        return False

    def apply(self, stream: Any) -> int:
        """Set `client`, `scheme`, `server`, `root_path` and the head's Host to what a trusted peer says. Returns 0.

        Does nothing when the head has none of these fields.
        """
        head = stream.head
        if head.forwarded_count == 0:
            return 0
        if not self.trusts(stream.client):
            if self.clear:
                head.remove(frozenset([name for name, _ in head.fields() if is_forwarded(name)]))
            return 0
        if self.forwarded:
            self._apply_forwarded(stream)
        else:
            self._apply_x_forwarded(stream)
        return 0

    def _apply_forwarded(self, stream: Any) -> int:
        elements = parse_forwarded(b",".join(stream.head.get_all(b"forwarded")).decode("latin-1"))
        if not elements:
            return 0
        hops = self._apply_client(stream, [element.get("for", "unknown") for element in elements])
        # An element is one proxy's account of one request: its parameters belong together.
        element = elements[-hops]
        self._apply_scheme(stream, element.get("proto", ""))
        if self.host:
            self._apply_host(stream, element.get("host", ""), "")
        return 0

    def _apply_x_forwarded(self, stream: Any) -> int:
        head = stream.head
        hops = self._apply_client(stream, parse_list(head.get_all(b"x-forwarded-for")))
        self._apply_scheme(stream, pick(head.get_all(b"x-forwarded-proto"), hops))
        host = pick(head.get_all(b"x-forwarded-host"), hops) if self.host else ""
        port = pick(head.get_all(b"x-forwarded-port"), hops) if self.port else ""
        if host or port:
            self._apply_host(stream, host, port)
        if self.prefix:
            prefix = pick(head.get_all(b"x-forwarded-prefix"), hops)
            if _PREFIX.fullmatch(prefix) is not None:
                stream.root_path = prefix.rstrip("/") + stream.root_path
        return 0

    def _apply_client(self, stream: Any, nodes: list) -> int:
        """Walk the addresses that proxies saw, from the right. Returns how many there were up to the client.

        An address that is not told (RFC 7239 6: "unknown" and obfuscated identifiers), or is none, ends the walk at the
        last one that is known: it is the nearest to the client that anybody vouches for, and applications that count
        or limit by address keep one to do it by.
        """
        hops = 0
        for node in reversed(nodes[-MAX_HOPS:]):
            hops += 1
            client = parse_node(node)
            if client is None:
                break
            stream.client = client
            if not self.trusts(client):
                break
        return hops

    def _apply_scheme(self, stream: Any, scheme: str) -> int:
        known = _SCHEMES.get(scheme.lower())
        if known is not None:
            stream.scheme = known
        return 0

    def _apply_host(self, stream: Any, host: str, port: str) -> int:
        """Set the host that the client has asked for, its port, or both, in the head and as `stream.server`."""
        match = _HOST.fullmatch(host)
        number = parse_port(port)
        if match is None and number:
            # Another port of the host that was received.
            received = stream.head.host
            match = _HOST.fullmatch(received.decode("latin-1")) if received else None
        if match is None:
            return 0
        name = match[1]
        if name[0] == "[" and parse_address(name[1:-1]) is None:
            return 0
        standard = default_port(stream.scheme)
        number = number or parse_port(match[2] or "") or standard
        stream.server = (name.strip("[]"), number)
        # As a browser writes it. Frameworks compare Host with Origin, which never has the scheme's own port.
        if number != standard:
            name = f"{name}:{number}"
        stream.head.set_host(name.encode("ascii"))
        return 0


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """A network, or an address as a network of one. Raises ValueError."""
    network = ip_network(text, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def pick(values: list, hops: int) -> str:
    """Of a list to which every proxy has appended, the member of the proxy `hops` places from the right; "" for none.

    Most proxies replace these fields instead of appending: a shorter list has nothing further to the left.
    """
    members = parse_list(values)
    if not members:
        return ""
    member: str = members[-min(max(hops, 1), len(members))]
    return member
