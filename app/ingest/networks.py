"""Looks up an IP address's country and network operator in files that the operator supplies.

The files have MaxMind's format (maxmind.github.io/MaxMind-DB): a GeoLite2 or GeoIP2 ASN file, a
Country or City file, or any vendor's file with the same fields. Without them nothing is known, and
the rules work without these hints.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import maxminddb


class Network(NamedTuple):
    """An IP address's network; `asn` is 0 and `country` (ISO 3166-1 alpha-2) empty if unknown."""

    asn: int = 0
    country: str = ""
    datacentre: bool = False


NOWHERE = Network()

# Networks that rent out servers or scan mail and have few human visitors (operators' pages;
# bgp.he.net). Cloudflare, Akamai and Fastly are left out: iCloud Private Relay sends people's
# requests from there.
_DATACENTRES = frozenset(
    {
        16509,
        14618,
        8987,  # Amazon
        15169,
        396982,
        19527,  # Google
        8075,
        8068,
        8069,  # Microsoft
        31898,
        45102,
        37963,
        132203,  # Oracle, Alibaba, Tencent
        14061,
        24940,
        213230,
        16276,
        63949,
        20473,  # DigitalOcean, Hetzner, OVH, Linode, Vultr
        51167,
        12876,
        60781,
        28753,
        36351,
        19871,  # Contabo, Scaleway, Leaseweb, IBM, Network Solutions
        15324,
        30031,
        42427,
        22843,
        26211,
        52129,  # Barracuda, Mimecast, Proofpoint
        16417,
        30238,
        109,
        27471,
        25605,  # IronPort, Cisco, Symantec, Trend Micro
    }
)


class NetworksError(Exception):
    """A file is not a MaxMind DB; the message names it."""


class Networks:
    """Looks up IP addresses. Raises NetworksError or OSError when a file cannot be read."""

    def __init__(self, asn: Path | None = None, country: Path | None = None) -> None:
        self._asn, self._country = _open(asn), _open(country)
        self.of = lru_cache(maxsize=65_536)(self._look_up_network)

    def _look_up_network(self, address: str) -> Network:
        number = _look_up(self._asn, address).get("autonomous_system_number", 0)
        place = _look_up(self._country, address).get("country") or {}
        code = place.get("iso_code", "") if isinstance(place, dict) else ""
        asn = number if isinstance(number, int) else 0
        return Network(asn, str(code)[:2], asn in _DATACENTRES)


def _open(path: Path | None) -> maxminddb.Reader | None:
    if path is None:
        return None
    try:
        return maxminddb.open_database(path)
    except maxminddb.InvalidDatabaseError as error:
        raise NetworksError(f"{path}: {error}") from error


def _look_up(reader: maxminddb.Reader | None, address: str) -> dict[str, Any]:
    if reader is None or not address:
        return {}
    try:
        record = reader.get(address)
    except ValueError:  # not an IP address
        return {}
    return record if isinstance(record, dict) else {}
