"""What is kept of the address that a hit came from; it is decided before the hit is written."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache

from app.settings.settings import (
    Addresses,
)

IPV4_BITS, IPV6_BITS = 24, 48
REMEMBERED = 4096


def keeper(addresses: Addresses) -> Callable[[str], str]:
    """Gives what may be kept of an address."""
    if addresses == "truncated":
        return truncated
    return str if addresses == "full" else lambda _: ""


@lru_cache(REMEMBERED)
def truncated(address: str) -> str:
    """The network's first address: /24 of IPv4 (in IPv6's clothes too), /48 of IPv6.

    What is no address, such as a proxy's `unknown`, cannot be cut and becomes empty.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    bits = IPV4_BITS if found.version == 4 else IPV6_BITS
    spare = found.max_prefixlen - bits
    return str(type(found)(int(found) >> spare << spare))
