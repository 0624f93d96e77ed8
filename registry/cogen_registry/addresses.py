"""Whose connection it is: the address of a client, or what a trusted proxy says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from cogen_registry.errors import Refused

#: Networks that are trusted as proxies.
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def networks(proxies: Sequence[str]) -> Networks:
    """:raises Refused: 400, one of them is not an address and no network."""
    try:
        return tuple(ipaddress.ip_network(one) for one in proxies)
    except ValueError as error:
        raise Refused(400, f"proxies: {error}", hint='addresses or networks, such as "10.0.0.0/8"') from None


def is_in(address: str, trusted: Networks) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed.version == one.version and parsed in one for one in trusted)


def group(address: str) -> str:
    """Addresses that one client has: of IPv6 a whole network of 64 bits, as providers hand them out."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network(f"{parsed}/64", strict=False))
