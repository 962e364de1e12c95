"""Why a hit must not be counted although its tokens are good. Its answer is as always."""

import ipaddress
from collections.abc import Callable, Mapping
from functools import lru_cache

from app.model.records import Kind
from app.model.tracking_modes import OFF
from app.settings.settings import (
    Addresses,
)
from app.tracking.tokens import MessageToken

# Global Privacy Control (W3C), and the older Do Not Track, which some clients still send.
OBJECTIONS = ((b"sec-gpc", "gpc"), (b"dnt", "dnt"))
Refuser = Callable[[Kind, MessageToken, Mapping[bytes, bytes]], str]


def refuser(withdrawn: Callable[[str, str, int, int], bool], respect_gpc: bool) -> Refuser:
    """Gives the reason, empty where the hit may count.

    `withdrawn` is asked with kind, workspace, recipient and newsletter. Sec-GPC and DNT are about
    opens: whoever follows a link has asked for its page.
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
