"""What is kept of loaded journal segments is what ClickHouse has, and no more of a person."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.model.tracking_modes import MODES
from app.storage.segment_register import SegmentRegister
from app.storage.state_db import open_state
from tests.support.programs import assert_verified, run
from tests.support.service import Service, paths, tracked_urls
from tests.support.torture import LONG, longer

HTML = '<p><a href="https://example.com/a">a</a></p>'
LOSE = """
import sys
from app.settings.load import load
from app.storage.clickhouse import Storage
with Storage(load()).own_client(60) as client:
    for table in ("messages", "newsletters", "newsletter_links", "link_places", "hits"):
        client.command(f"ALTER TABLE {table} DELETE WHERE 1", settings={"mutations_sync": 2})
"""
EMPTY: dict[str, Any] = {"address": "", "metadata": {}, "rfc_message_id": ""}
STORED = """
import json
from app.settings.load import load
from app.storage.clickhouse import Storage
rows = Storage(load()).query("SELECT message, address, metadata, rfc_message_id FROM messages", {})
print(json.dumps([{**row, "message": row["message"].hex} for row in rows]))
"""
LOSE_HITS = """
from app.settings.load import load
from app.storage.clickhouse import Storage
with Storage(load()).own_client(60) as client:
    client.command("ALTER TABLE hits DELETE WHERE 1", settings={"mutations_sync": 2})
"""
HITS = """
import json
from app.settings.load import load
from app.storage.clickhouse import Storage
query = "SELECT toString(message) AS id, kind, sum(sign) FROM hits GROUP BY ALL ORDER BY ALL"
print(json.dumps([list(map(str, row.values())) for row in Storage(load()).query(query, {})]))
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data") as running:
        running.ready()
        yield running


def kept(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the rows that the register keeps, by table."""
    state = open_state(folder)
    register, tables = SegmentRegister(state), dict[str, list[dict[str, Any]]]()
    for segment in register.within(0, 1e12, "", 10_000):
        for table, lines in register.rows(segment.id).items():
            tables.setdefault(table, []).extend(map(json.loads, lines.splitlines()))
    state.dispose()
    return tables


def send(service: Service, who: str, newsletter: str = "kept", **more: Any) -> str:
    """Send a mail, open and click it; returns the message's id in hexadecimal digits."""
    metadata = {"order": f"order of {who}"}
    answer = service.rewrite(newsletter, HTML, f"{who}@example.com", metadata=metadata, **more)
    for path in paths(tracked_urls(answer["html"])):
        service.client.get(path)
    return str(answer["message_id"]).replace("-", "")


def test_each_mode_keeps_of_a_person_what_clickhouse_has(service: Service) -> None:
    for mode in MODES:
        send(service, f"in-{mode}", tracking={"opens": mode, "clicks": mode})
    service.settled()
    rows = kept(service.data_dir)
    service.stop()
    done = run(service, "-c", STORED)
    assert done.returncode == 0, done.stderr
    stored = {row.pop("message"): row for row in json.loads(done.stdout)}
    assert {row["message"] for row in rows["messages"]} == set(stored)
    for row in rows["messages"]:
        values = {name: row.get(name, empty) for name, empty in EMPTY.items()}
        assert values == stored[row["message"]]
    text = json.dumps(rows)
    for mode in MODES:
        assert (f"in-{mode}@example.com" in text) == (mode == "full")
        assert (f"order of in-{mode}" in text) == (mode == "full")


def test_mail_after_a_withdrawal_keeps_nobody(service: Service) -> None:
    send(service, "wendy")
    service.settled()
    before = json.dumps(kept(service.data_dir)).count("wendy@example.com")
    assert before == 1
    answer = service.client.post("/v1/consent", json={"recipient": "wendy@example.com"})
    assert answer.status_code == 200, answer.text
    send(service, "wendy")
    service.settled()
    assert json.dumps(kept(service.data_dir)).count("wendy@example.com") == before


def test_a_repair_brings_nobody_back_who_was_erased(service: Service) -> None:
    send(service, "erin")
    send(service, "frank")
    service.settled()
    answer = service.client.post("/v1/erasures", json={"recipient": "erin@example.com"})
    assert answer.status_code in (200, 202), answer.text
    service.wait_for(
        lambda: service.get(f"/v1/erasures/{answer.json()['id']}")["state"] == "done", "erasure"
    )
    service.stop()
    assert run(service, "-c", LOSE).returncode == 0
    done = run(service, "-m", "app", "verify", "--repair")
    assert "missing" in done.stdout, (done.stdout, done.stderr)
    stored = run(service, "-c", STORED).stdout
    assert "frank@example.com" in stored and "erin@example.com" not in stored
    assert not re.search("erin", json.dumps(kept(service.data_dir)))
    assert_verified(service)


def test_a_backup_has_it_and_a_restored_folder_is_repaired_from_it(
    service: Service, tmp_path: Path
) -> None:
    messages = {send(service, f"{number}") for number in range(3)}
    service.settled()
    assert run(service, "-m", "app", "backup", str(tmp_path / "b.tar")).returncode == 0
    service.stop()
    service.env["MAILWAKE_DATA_DIR"] = str(tmp_path / "restored")
    done = run(service, "-m", "app", "restore", str(tmp_path / "b.tar"))
    assert done.returncode == 0, done.stderr
    assert kept(tmp_path / "restored") == kept(service.data_dir)
    assert_verified(service)
    assert run(service, "-c", LOSE).returncode == 0
    repaired = run(service, "-m", "app", "verify", "--repair")
    assert repaired.stdout.count("repaired") >= 5, repaired.stdout
    assert {row["message"] for row in json.loads(run(service, "-c", STORED).stdout)} == messages
    assert_verified(service)


@longer
@pytest.mark.parametrize("days", ["1", *(["0"] if LONG else [])])
def test_all_hits_of_a_young_database_can_be_lost_and_come_back(
    service: Service, days: str
) -> None:
    """With nothing stored at all, they were taken for expired."""
    service.env["MAILWAKE_KEEP_HITS_DAYS"] = days
    for number in range(3):
        send(service, f"{number}")
    service.settled()
    service.stop()
    before = json.loads(run(service, "-c", HITS).stdout)
    assert len(before) == 6
    assert run(service, "-c", LOSE_HITS).returncode == 0
    assert json.loads(run(service, "-c", HITS).stdout) == []
    done = run(service, "-m", "app", "verify", "--repair")
    assert "hits" in done.stdout and "missing" in done.stdout, (done.stdout, done.stderr)
    assert json.loads(run(service, "-c", HITS).stdout) == before
    assert_verified(service)
