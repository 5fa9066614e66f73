"""Which addresses are on the internet, and which are this machine or one of its network."""

from __future__ import annotations

import ipaddress
import socket

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, given up; some systems still connect
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_local(host: str) -> bool:
    """Whether a host is this machine, one of its network, or nothing that a file can come from.

    Loopback, private, link-local, reserved, multicast and unspecified addresses, also inside of IPv6 ones.
    """
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # unknown here, as behind a proxy; the connection will tell
        return False
    return any(not is_public(ipaddress.ip_address(str(address).partition("%")[0])) for address in found)


def is_public(address: Address) -> bool:
    """Whether an address is one machine of the internet; an IPv4 address inside of an IPv6 one decides for it."""
    inner = _inner(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
