"""Decides whether a hit with valid tokens may be counted, and what is kept of its IP address.

The request is answered in the same way either way.
"""

import ipaddress
from collections.abc import Callable, Mapping
from functools import lru_cache

from app.model.records import Kind
from app.model.tracking_modes import OFF
from app.settings.settings import Addresses
from app.tracking.tokens import MessageToken

# Global Privacy Control (W3C), and the older Do Not Track, which some clients still send.
OBJECTIONS = ((b"sec-gpc", "gpc"), (b"dnt", "dnt"))
IPV4_BITS, IPV6_BITS = 24, 48  # kept of a truncated IP address
MAX_REMEMBERED = 4096  # truncated IP addresses
Refuser = Callable[[Kind, MessageToken, Mapping[bytes, bytes]], str]


def refuser(withdrawn: Callable[[str, str, int, int], bool], respect_gpc: bool) -> Refuser:
    """Returns a function that returns why a hit must not count, empty if it may.

    `withdrawn` is called with kind, workspace, recipient and newsletter. Sec-GPC and DNT apply to
    opens only: a person who follows a link has requested its page.
    """

    def refused(kind: Kind, token: MessageToken, headers: Mapping[bytes, bytes]) -> str:
        if kind == "open" and respect_gpc:
            for name, reason in OBJECTIONS:
                if headers.get(name) == b"1":
                    return reason
        if withdrawn(kind, token.workspace, token.recipient, token.newsletter):
            return "withdrawn"
        return "off" if token.mode(kind) == OFF else ""

    return refused


def keeper(addresses: Addresses) -> Callable[[str], str]:
    """Returns a function that returns what may be kept of an IP address."""
    if addresses == "truncated":
        return truncated
    return str if addresses == "full" else lambda _: ""


@lru_cache(MAX_REMEMBERED)
def truncated(address: str) -> str:
    """Returns the first IP address of the network: /24 of IPv4 (also IPv4-mapped), /48 of IPv6.

    A text that is not an IP address, such as a proxy's `unknown`, becomes empty.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    kept_bits = IPV4_BITS if ip.version == 4 else IPV6_BITS
    cut_bits = ip.max_prefixlen - kept_bits
    return str(type(ip)(int(ip) >> cut_bits << cut_bits))
