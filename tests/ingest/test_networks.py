from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from app.demo import agents
from app.ingest.classifier import classify
from app.ingest.networks import NOWHERE, Network, Networks, NetworksError
from app.model.ids import new_id
from app.model.records import Hit

SENT = 1_780_000_000_000


@pytest.fixture
def networks(tmp_path: Path) -> Networks:
    asn, country = tmp_path / "asn.mmdb", tmp_path / "country.mmdb"
    writer = MMDBWriter(6, "GeoLite2-ASN", ipv4_compatible=True)
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"autonomous_system_number": 16509})
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"autonomous_system_number": 64500})
    writer.to_db_file(str(asn))
    writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True)
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "IE"}})
    writer.insert_network(IPSet(["2001:db8::/32"]), {"country": {"iso_code": "DE"}})
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"continent": {"code": "EU"}})
    writer.to_db_file(str(country))
    return Networks(asn, country)


def test_addresses_are_looked_up(networks: Networks) -> None:
    assert networks.of("192.0.2.7") == Network(16509, "IE", True)
    assert networks.of("198.51.100.7") == Network(64500, "", False)
    assert networks.of("2001:db8::5") == Network(0, "DE", False)
    for unknown in ("203.0.113.1", "", "unix", "8.8.8.8", "999.1.1.1"):
        assert networks.of(unknown) == NOWHERE


def test_without_files_nothing_is_known() -> None:
    assert Networks().of("192.0.2.7") == NOWHERE


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "asn.mmdb"
    path.write_text("not a database")
    with pytest.raises(NetworksError, match=r"asn\.mmdb"):
        Networks(path)


def test_a_datacentre_is_a_hint_and_with_haste_a_scanner(networks: Networks) -> None:
    message = new_id(SENT).hex()

    def found(at: int, address: str, mode: str = "") -> tuple[str, tuple[str, ...]]:
        hit = Hit(
            "click",
            SENT + at,
            "default",
            1,
            message,
            7,
            0,
            address=address,
            user_agent=agents.CHROME,
            fetch_mode=mode,
        )
        return classify(hit, networks)[:2]

    assert found(5_000, "192.0.2.1") == (
        "scanner",
        ("delivery_scan", "datacentre", "soon_after_sending"),
    )
    assert found(5_000, "192.0.2.1", "navigate")[0] == "human"
    assert found(90_000, "192.0.2.1") == ("human", ("datacentre",))
    assert found(5_000, "198.51.100.1") == ("human", ("soon_after_sending",))
