"""Hosts: who a request is for, as a Host field and the authority of a request target name it (RFC 3986 3.2.2).

Only the form is judged. Userinfo has no place in it (RFC 9110 4.2.4), and what no URI could contain is refused: a
host ends up in links, in cache keys and in the choice of an application.
"""

import re

# RFC 3986 3.2.2: IPv4address, each part a decimal octet without leading zeros.
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rb"(?:" + _OCTET + rb"\.){3}" + _OCTET

# RFC 3986 3.2.2: IPv6address. Line n of its nine says how many groups may stand on either side of the "::".
_H16 = rb"[0-9A-Fa-f]{1,4}"
_LS32 = rb"(?:" + _H16 + rb":" + _H16 + rb"|" + _IPV4 + rb")"
_IPV6 = (
    rb"(?:"
    + rb"|".join(
        [
            rb"(?:" + _H16 + rb":){6}" + _LS32,
            rb"::(?:" + _H16 + rb":){5}" + _LS32,
            rb"(?:" + _H16 + rb")?::(?:" + _H16 + rb":){4}" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,1}" + _H16 + rb")?::(?:" + _H16 + rb":){3}" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,2}" + _H16 + rb")?::(?:" + _H16 + rb":){2}" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,3}" + _H16 + rb")?::" + _H16 + rb":" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,4}" + _H16 + rb")?::" + _LS32,
            rb"(?:(?:" + _H16 + rb":){0,5}" + _H16 + rb")?::" + _H16,
            rb"(?:(?:" + _H16 + rb":){0,6}" + _H16 + rb")?::",
        ]
    )
    + rb")"
)

# RFC 3986 3.2.2: IPvFuture, and reg-name with at least one character (RFC 9110 4.2.1: an empty host is invalid).
_IPVFUTURE = rb"[Vv][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+"
_REG_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"

# RFC 9110 7.2: Host = uri-host [ ":" port ]. RFC 3986 3.2.3 lets the port be empty.
_HOST = re.compile(rb"(?:\[(?:" + _IPV6 + rb"|" + _IPVFUTURE + rb")\]|" + _REG_NAME + rb")(?::([0-9]*))?")


def valid_host(value: bytes, port_required: bool) -> bool:
    """Whether `value` is a non-empty host, optionally with a port, that is at most 65535."""
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    port = match[1]
    if not port:
        # RFC 9110 9.3.6: a CONNECT to an empty port is rejected.
        return not port_required
    digits = port.lstrip(b"0")
    return len(digits) <= 5 and int(digits or b"0") <= 65535
