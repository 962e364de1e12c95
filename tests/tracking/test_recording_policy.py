import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tracking.recording_policy import keeper, truncated


@given(st.ip_addresses(v=4))
def test_a_network_of_256_is_left_of_ipv4(address: ipaddress.IPv4Address) -> None:
    expected = ipaddress.ip_network(f"{address}/24", strict=False).network_address
    assert truncated(str(address)) == str(expected)
    assert truncated(f"::ffff:{address}") == str(expected)
    assert truncated(truncated(str(address))) == str(expected)


@given(st.integers(2**64, 2**128 - 1).map(ipaddress.IPv6Address))
def test_a_site_is_left_of_ipv6(address: ipaddress.IPv6Address) -> None:
    expected = str(ipaddress.ip_network(f"{address}/48", strict=False).network_address)
    assert truncated(str(address)) == expected
    assert truncated(address.exploded.upper()) == expected
    assert truncated(f"{address}%eth0") == expected


@pytest.mark.parametrize("text", ["", "unknown", "testclient", "1.2.3", "1.2.3.4:80", "ann@x.y"])
def test_what_cannot_be_cut_is_dropped(text: str) -> None:
    assert truncated(text) == ""


def test_keepers() -> None:
    assert [keeper(of)("192.0.2.77") for of in ("full", "truncated", "dropped")] == [
        "192.0.2.77",
        "192.0.2.0",
        "",
    ]
