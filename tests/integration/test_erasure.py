"""Erasing: no byte of a person is left, no figure moves, whatever is killed or away meanwhile."""

import json
import os
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.auth.api_keys import Keys
from app.auth.workspaces import Workspaces
from app.consent.erasure_requests import Erasures
from app.events.feed import Feed
from app.ingest.corrections import Corrections
from app.ingest.loader import Loader
from app.model.ids import new_id, newsletter_key, recipient_key
from app.model.records import Hit, Message, Newsletter, Record, encode, now_ms
from app.model.tracking_modes import PSEUDONYMOUS, Modes
from app.privacy.erasure import ErasureWorker, request_erasure
from app.privacy.subject_export import SubjectExport
from app.settings.load import load, with_secrets
from app.stats.periods import ALWAYS
from app.stats.queries import Queries
from app.storage.clickhouse import Storage, StorageError
from app.storage.sql import sql
from app.storage.state_db import open_state
from tests.support import programs
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import Load, assert_exact, counted
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import LOCAL_RECEIVERS, Service, tracked_urls
from tests.support.tracked_person import (
    ADDRESS,
    AGENT,
    ENV,
    HASHES,
    HTML,
    MAIL_ID,
    ORDER,
    OTHER,
    SAMPLE,
    VISITOR,
    Search,
    deliveries,
    everything,
    figures,
    hit,
)
from tests.support.webhook_receiver import Receiver, receiver


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    with receiver() as there, receiver() as failing, receiver() as gone:
        yield [there, failing, gone]


def dossier(service: Service, recipient: str) -> dict[str, Any]:
    return service.get(f"/v1/recipients/{recipient}/export")


def told(document: dict[str, Any]) -> dict[str, Any]:
    """What is the same each time it is asked for; deliveries go on being tried."""
    left = {"exported_at", "deliveries", "hits"}
    return {name: value for name, value in document.items() if name not in left}


def run(
    service: Service, *words: str, program: tuple[str, ...] = ("app",), answer: str = ""
) -> subprocess.CompletedProcess[str]:
    return programs.run(service, "-m", *program, *words, answer=answer)


def test_no_byte_of_a_person_is_left_and_no_figure_moves(
    tmp_path: Path, receivers: list[Receiver]
) -> None:
    with Service(tmp_path / "data", LOCAL_RECEIVERS, **ENV) as service:
        everything(service, *receivers)
        before, found = figures(service), Search(service.data_dir).run()
        for place in (
            "chdb/",
            "state.db",
            "state.db segments",
            ".bad",
            "export-killed/",
            ".sample",
        ):
            assert any(place in path for path, _ in found), f"the search misses {place}"
        assert {needle for _, needle in found} >= {
            ADDRESS,
            VISITOR,
            "canaryagent",
            ORDER,
            MAIL_ID,
            *HASHES,
            SAMPLE,
        }
        held, others = dossier(service, ADDRESS), dossier(service, OTHER)
        assert len(held["messages"]) == 7 and {one["type"] for one in held["hits"]} == {
            "open",
            "click",
            "unsubscribe",
        }
        times = re.findall(r'"(?:\w+_)?at": "([^"]*)"', json.dumps(held))
        assert len(times) > 20
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", at) for at in times)
        own = [(one["metadata"], one["rfc_message_id"]) for one in held["messages"]]
        assert own.count(({"order": ORDER}, MAIL_ID)) == 4
        assert any(
            one["body"]["data"].get("metadata") == {"order": ORDER} for one in held["deliveries"]
        )
        assert {one["user_agent"] for one in held["hits"]} == {AGENT}
        assert [one["id_of_report"] for one in held["outcomes"]] == [
            f"{number} {ADDRESS}" for number in range(3)
        ]
        assert {one["newsletter_id"] for one in held["outcomes"]} == {"canary", ""}
        assert {one["visitor_address"] for one in held["hits"]} == {VISITOR}
        assert {one["state"] for one in held["deliveries"]} == {"delivered", "waiting", "dead"}
        assert [one["name"] for one in held["followups"]] == ["Thank"]
        assert [one["newsletter_id"] for one in held["suppressions"]] == ["personal"]
        old = tracked_urls(service.rewrite("canary", HTML, ADDRESS)["html"])
        service.drained()
        before = figures(service)

        answer = service.client.post("/v1/erasures", json={"recipient": f" {ADDRESS.upper()} "})
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "done"
        counts = answer.json()["counts"]
        assert (counts["messages"], counts["hits"], counts["feed"]) == (8, len(held["hits"]), 17)
        assert counts["outcomes"] == 3
        assert counts["deliveries"] == len(held["deliveries"])
        assert (counts["followups"], counts["texts"], counts["files"]) == (1, 12, 5)
        assert service.get(f"/v1/erasures/{answer.json()['id']}") == answer.json()
        assert Search(service.data_dir).run() == set()
        after = figures(service)
        assert after.pop("all") and before.pop("all")
        assert after == before

        kept = service.data_dir / "templates" / f"{newsletter_key('default', 'others'):016x}.sample"
        assert "theirs" in kept.read_text()

        assert service.client.get(f"/v1/recipients/{ADDRESS}").status_code == 404
        gone = dossier(service, ADDRESS)
        assert gone["erased_at"] and not gone["messages"] and not gone["hits"]
        assert not gone["outcomes"]
        assert not gone["deliveries"] and not gone["followups"]
        assert gone["suppressions"] == held["suppressions"]
        left = service.get("/v1/messages", recipient=OTHER, newsletter_id="canary")["messages"]
        assert sorted((one["metadata"] for one in left), key=len) == [{}] + 3 * [{"order": "A-1"}]
        for one in others["messages"]:
            one["metadata"].pop("friend", None)
            one["metadata"].pop("sha256", None)
        assert told(dossier(service, OTHER)) == told(others)
        emptied = [one for one in deliveries(service) if one["state"] == "erased"]
        assert len(emptied) == counts["deliveries"]
        assert {str(one["body"]["data"]) for one in emptied} == {"{}"}
        assert {one["error"] for one in emptied} == {"the recipient was erased"}

        # What old mail still brings counts nothing; new mail is the mailer's own decision.
        assert {one["axis"] for one in gone["withdrawals"]} == {"opens", "clicks"}
        hit(service, old, VISITOR, AGENT)
        service.drained()
        assert figures(service)["stats"] == after["stats"]
        assert Search(service.data_dir).run() == set()
        assert service.rewrite("personal", HTML, ADDRESS)["suppressed"] is True
        service.rewrite("canary", HTML, ADDRESS)
        service.drained()
        assert len(dossier(service, ADDRESS)["messages"]) == 1


def test_the_command_works_beside_a_service_and_without_one(tmp_path: Path) -> None:
    with Service(tmp_path / "data", LOCAL_RECEIVERS, **ENV) as service:
        urls = tracked_urls(service.rewrite("shell", HTML, ADDRESS)["html"])
        hit(service, urls, VISITOR, AGENT)
        service.drained()
        before = service.stats("shell")
        asked = run(service, "export-subject", ADDRESS)
        assert asked.returncode == 0, asked.stderr
        held = json.loads(asked.stdout)
        assert (len(held["messages"]), len(held["hits"])) == (1, 3)
        refused = run(service, "erase", ADDRESS, answer="n\n")
        assert refused.returncode == 1 and dossier(service, ADDRESS)["hits"] == held["hits"]
        erased = run(service, "erase", ADDRESS, "--yes")
        assert (erased.returncode, erased.stdout.split()[-1]) == (0, "erased"), erased.stderr
        assert Search(service.data_dir).run() == set() and service.stats("shell") == before
        service.rewrite("shell", HTML, OTHER)
        service.drained()
        unknown = run(service, "erase", OTHER, "--yes", "--workspace", "nobody")
        assert unknown.returncode == 2 and "workspace: 'nobody' is unknown" in unknown.stderr
    assert Search(service.data_dir, (OTHER,)).run()
    assert run(service, "export-subject", OTHER, "--out", str(tmp_path / "out")).returncode == 0
    assert len(json.loads((tmp_path / "out").read_text())["messages"]) == 1
    erased = run(service, "erase", OTHER, "--yes")
    assert erased.returncode == 0 and "1 messages" in erased.stdout, erased.stderr
    assert Search(service.data_dir, (OTHER,)).run() == set()


def test_what_is_wrong_is_named(service: Service) -> None:
    for body, status, field in (
        (b"{", 400, ""),
        (b"{}", 422, "body"),
        (b'{"recipient": 1}', 422, "recipient"),
        (b'{"recipient": "a@example.com", "x": 1}', 422, "body"),
        (b'{"recipient": ""}', 422, "recipient"),
        (b" " * 5000, 413, ""),
    ):
        answer = service.client.post("/v1/erasures", content=body)
        assert (answer.status_code, answer.json().get("field", "")) == (status, field), body
    for number in ("0", "x", "9" * 30, "%C3%A9"):
        answer = service.client.get(f"/v1/erasures/{number}")
        assert (answer.status_code, answer.json()["field"]) == (404, "erasure_id")
    for path in ("/v1/erasures/1", "/v1/recipients/a@example.com/export"):
        assert service.client.get(path, headers={"authorization": "no"}).status_code == 401
    service.drained()
    empty = dossier(service, "never.mailed@example.com")
    assert empty["erased_at"] is None and empty["recipient"] == "never.mailed@example.com"
    assert not any(empty[name] for name in ("messages", "hits", "deliveries", "suppressions"))


# Where a process that erases is killed, each time one that goes on from there.
DEATHS = (
    "app.storage.clickhouse:Storage.insert 2 after",  # what waits in the journal is half loaded
    "app.storage.clickhouse:Storage.change 1 before",
    "app.storage.clickhouse:Storage.change 1 after",  # messages are nobody's, hits are not
    "app.consent.erasure_requests:Erasures.change 1 before",  # all is rewritten, and not noted
    "app.privacy.scrub:scrub_feed 1 before",
    "app.privacy.scrub:scrub_deliveries 1 after",
    "app.privacy.scrub:scrub_files 1 after",
    "app.privacy.scrub:compact 1 before",
    "app.privacy.scrub:compact 1 after",
    "app.storage.clickhouse:Storage.replaced 1 before",
)


def test_killed_here_and_there_it_ends_complete(tmp_path: Path, receivers: list[Receiver]) -> None:
    _killed(tmp_path, receivers, DEATHS[0::4])


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_killed_anywhere_it_ends_complete(tmp_path: Path, receivers: list[Receiver]) -> None:
    _killed(tmp_path, receivers, DEATHS)


def _killed(tmp_path: Path, receivers: list[Receiver], deaths: Sequence[str]) -> None:
    with Service(tmp_path / "data", LOCAL_RECEIVERS, **ENV) as service:
        everything(service, *receivers, followed_up=False)
        before = figures(service)
        service.stop()
        key = with_secrets(load(data_dir=service.data_dir)).recipient_key
        who, late = recipient_key(key, "default", ADDRESS), newsletter_key("default", "late")
        message = new_id().hex()
        lines: list[Record] = [
            Newsletter(now_ms(), "default", late, "late"),
            Message(now_ms(), "default", late, message, who, ADDRESS),
            Hit("open", now_ms(), "default", late, message, who, address=VISITOR, user_agent=AGENT),
        ]
        segment = service.data_dir / "journal" / f"{uuid.UUID(bytes=new_id())}.seg"
        segment.write_bytes(b"".join(encode(line) for line in lines))
        for number, death in enumerate(deaths):
            words = ("tests.support.kill_at_call", *death.split(), "--")
            killed = run(service, "erase", "resume" if number else ADDRESS, "--yes", program=words)
            assert killed.returncode == -9, (death, killed.stdout, killed.stderr)
            assert Search(service.data_dir).run() or death == deaths[-1]
        service.start()
        erasures = Erasures(open_state(service.data_dir))
        service.wait_for(lambda: not erasures.open(), "end")
        assert Search(service.data_dir).run() == set()
        after = figures(service)
        del before["all"], after["all"]
        assert after == before
        stats = service.stats("late")
        assert (stats["messages"], stats["opens"]["all"]["total"]) == (1, 1)


def test_one_workspace_forgets_what_another_goes_on_knowing(
    storage: Storage, tmp_path: Path
) -> None:
    chosen = with_secrets(load(data_dir=tmp_path))
    state = open_state(tmp_path)
    feed, spaces = Feed(state), Workspaces(state, chosen)
    spaces.add("forgets", "https://forgets.example")
    people = {
        (space.name, person): recipient_key(space.recipient_key, space.name, person)
        for space in spaces.all()
        for person in ("one@example.com", "two@example.com", "three@example.com")
    }
    folder = tmp_path / "journal"
    folder.mkdir()
    lines: list[Record] = [
        Message(now_ms(), name, 7, new_id().hex(), key, person)
        for (name, person), key in people.items()
    ]
    hidden = people["forgets", "two@example.com"]  # with a hit under a pseudonym
    pseudonymous, message = Modes("pseudonymous", "pseudonymous").flags, new_id().hex()
    lines += [
        Message(now_ms(), "forgets", 8, message, hidden, "", flags=pseudonymous),
        Hit("click", now_ms(), "forgets", 8, message, hidden, 1, mode=PSEUDONYMOUS),
    ]
    (folder / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(
        b"".join(encode(line) for line in lines)
    )
    loader = Loader(folder, storage, None, feed, chosen.recipient_key)
    corrections = Corrections(folder, storage)
    loader.load_all()
    secret = spaces.get("forgets").recipient_key
    dossiers = SubjectExport(state, Queries(storage, "forgets"), secret, chosen.recipient_key)

    def held() -> int:
        return len(json.loads(b"".join(dossiers.of("two@example.com")))["hits"])

    assert held() == 1
    eraser = ErasureWorker(tmp_path, state, storage, loader, corrections, spaces, feed.erasures)
    for person in ("one@example.com", "two@example.com"):
        request_erasure(feed.erasures, spaces, "forgets", person)

    def done() -> bool:
        eraser.finish()  # again as `run` does, while a query still reads files that were replaced
        return not feed.erasures.open()

    wait_for(done, "erasures")
    assert held() == 0
    for name, known in (("default", 3), ("forgets", 1)):
        queries = Queries(storage, name)
        rows = queries.run("newsletter_sent", newsletter=7, variant="")
        assert rows[0]["messages"] == 3
        found = [
            queries.run("recipient_messages", recipient=key, limit=9, **ALWAYS.parameters)
            for (space, _), key in people.items()
            if space == name
        ]
        assert len(list(filter(None, found))) == known


@pytest.mark.parametrize("table", ["messages", "hits", "outcomes", "links", "newsletters"])
def test_a_cluster_is_told_as_a_whole(table: str, storage: Storage) -> None:
    text = sql(f"erase_{table}").replace("{cluster}", "ON CLUSTER `c`")
    given = {name: [1] for name in ("recipients", "names", "subjects")}
    pairs = {name: [(1, 1)] for name in ("urls", "labels", "link_names")}
    asked = {"workspace": "default", **given, **pairs, "events": ["0" * 32]}
    assert "ON CLUSTER" in text and storage.query(f"EXPLAIN AST {text}", asked)


def test_a_dossier_begins_once_every_table_is_there(storage: Storage, tmp_path: Path) -> None:
    dossiers = SubjectExport(open_state(tmp_path), Queries(storage), "secret", "service")
    assert json.loads(b"".join(dossiers.of("nobody@example.com")))["hits"] == []
    storage.query("DETACH TABLE hits", {})
    try:
        with pytest.raises(StorageError):
            next(dossiers.of("nobody@example.com"))
    finally:
        storage.query("ATTACH TABLE hits", {})


@pytest.mark.parametrize("path", ["/v1/erasures", "/v1/recipients/a@example.com/export"])
def test_it_takes_an_admins_key(path: str, service: Service) -> None:
    chosen = with_secrets(load(data_dir=service.data_dir))
    keys = Keys(open_state(service.data_dir), chosen)
    _, key = keys.add("default", path, ("read", "rewrite"), "a test")
    with httpx2.Client(
        base_url=service.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE_SECONDS
    ) as client:
        ask = client.post if path.endswith("erasures") else client.get
        assert ask(path).status_code == 403


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, receivers: list[Receiver]) -> None:
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        env = {**ENV, "MAILWAKE_CLICKHOUSE_DSN": database.dsn, "MAILWAKE_WORKERS": "2"}
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(LOCAL_RECEIVERS)  # in workers, too
        env["PYTHONPATH"] = f"{tmp_path / 'site'}:{ROOT}"
        with Service(tmp_path / "data", **env) as service:
            everything(service, *receivers, followed_up=False)
            before = figures(service)
            held = len(dossier(service, ADDRESS)["hits"])
            urls = tracked_urls(service.rewrite("other", HTML, ADDRESS)["html"])
            service.drained()
            database.fault("down")
            hit(service, urls, VISITOR, AGENT)
            assert any(
                ".seg" in path or ".open" in path for path, _ in Search(service.data_dir).run()
            )
            answer = run(service, "erase", ADDRESS, "--yes")
            assert answer.returncode == 2, answer.stdout
            database.clear()
            traffic, clicks = Load(service, "busy"), [url for url in urls if "/c/" in url] * 20
            meanwhile = threading.Thread(target=hit, args=(service, clicks, VISITOR, AGENT))
            with traffic.running():
                meanwhile.start()
                erased = run(service, "erase", ADDRESS, "--yes")
                meanwhile.join()
            assert erased.returncode == 0, erased.stderr
            service.drained()
            assert figures(service)["stats"] == before["stats"]
            # Hits count until every worker has heard of it.
            assert 2 <= service.stats("other")["clicks"]["all"]["total"] <= 2 + len(clicks)
            assert_exact(counted(database.dsn, tmp_path, traffic), traffic)
            assert held and not dossier(service, ADDRESS)["hits"]
            assert Search(service.data_dir).run() == set()
            service.wait_for(lambda: not Search(database.path).run(), "files that were replaced")
