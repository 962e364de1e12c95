"""A row has each value of its hit in the column of that name."""

import uuid

import msgspec

from app.ingest.rows import rows
from app.model.records import Hit, encode

MESSAGE = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057").hex


def test_every_column_has_its_own_value() -> None:
    hit = Hit(
        kind="click",
        at=1_700_000_000_123,
        workspace="acme",
        newsletter=101,
        message=MESSAGE,
        recipient=102,
        position=5,
        url="https://example.com/x",
        variant=7,
        method="GET",
        address="192.0.2.1",
        user_agent="curl/8.5.0",
        purpose="preview",
        fetch_mode="navigate",
        mode=0,
        link=103,
        detail=104,
    )
    made = rows(encode(hit) + b"\n", str(uuid.UUID(int=9)), 77, None, None, "secret")
    (line,) = made.tables["hits"].splitlines()
    row = msgspec.json.decode(line)
    for name in (
        "kind",
        "workspace",
        "newsletter",
        "recipient",
        "position",
        "url",
        "variant",
        "address",
        "user_agent",
        "purpose",
        "fetch_mode",
        "detail",
    ):
        assert row[name] == getattr(hit, name), name
    assert row["at"] == hit.at / 1000
    assert uuid.UUID(row["message"]).hex == MESSAGE
    assert (row["segment"], row["line"], row["origin"]) == (str(uuid.UUID(int=9)), 0, 77)
    assert (row["verdict"], row["link_key"]) == ("prefetch", 103)
    assert row["client"] == "curl"
