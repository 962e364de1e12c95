"""Backups of a service under traffic come back exact; damaged ones leave nothing behind."""

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.ops.backup import MANIFEST, BackupError, restore
from app.settings.load import load as load_settings
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import Load
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS, wait_for
from tests.support.service import Service
from tests.support.torture import LONG, longer

MAIL = '<p><a href="https://example.com/">Read</a></p>'
COUNT = """
import json, sys
from pathlib import Path
from app.events.feed import Feed
from app.storage.journal_segments import adopt_orphans
from app.ingest.loader import Loader
from app.settings.load import load
from app.storage.state_db import open_state
from app.storage.clickhouse import Storage
from app.storage.clickhouse_schema import prepare
folder = Path(sys.argv[1])
storage = Storage(load(data_dir=folder))
prepare(storage)
adopt_orphans(folder / "journal")
Loader(folder / "journal", storage, feed=Feed(open_state(folder))).load_all()
def number(sql):
    return storage.query(sql, {})[0]["n"]
rows = storage.query(
    "SELECT lower(replaceAll(toString(message), '-', '')) AS message, toInt64(sum(sign)) AS n"
    " FROM hits GROUP BY message", {})
print(json.dumps({
    "hits": {row["message"]: row["n"] for row in rows},
    "sent": number("SELECT count() AS n FROM messages"),
    "distinct": number("SELECT uniqExact(message) AS n FROM messages"),
    "minutes": number("SELECT toInt64(sum(hits)) AS n FROM hits_by_minute"),
    "messages": number("SELECT toInt64(sum(human) + sum(machine)) AS n FROM hits_by_message"),
    "agents": number("SELECT toInt64(sum(hits)) AS n FROM hits_by_agent"),
}))
"""


def start(*words: str, **env: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")}
    return subprocess.Popen(
        [sys.executable, *words],
        env={**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "300", **env},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def mailwake(*words: str, **env: str) -> tuple[int, str]:
    """The exit code, and what it said."""
    process = start("-m", "app", *words, **env)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, out + err


def counted(folder: Path) -> dict[str, Any]:
    process = start("-c", COUNT, str(folder))
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def assert_consistent(found: dict[str, Any], before: set[str], after: set[str]) -> None:
    """Every hit answered before the backup began counts once; later ones may, but once."""
    assert set(found["hits"].values()) <= {1}, "a hit was doubled"
    assert not before - set(found["hits"]), "a hit was lost"
    assert set(found["hits"]) <= after
    total = len(found["hits"])
    assert (found["minutes"], found["messages"], found["agents"]) == (total, total, total)
    assert found["sent"] == found["distinct"]


@pytest.mark.parametrize("times", [1])
def test_a_backup_under_traffic_comes_back_exact(tmp_path: Path, times: int) -> None:
    moments: list[tuple[Path, set[str]]] = []
    with Service(tmp_path / "data") as service:
        load = Load(service, "busy")
        port = ("--port", str(service.port))
        with load.running(2):
            for number in range(times):
                time.sleep(random.uniform(0.3, 0.8))
                for _ in range(3):
                    service.rewrite("busy", MAIL)
                moments.append((tmp_path / f"{number}.tar", set(load.answered)))
                code, said = mailwake(
                    "backup", str(moments[-1][0]), "--data-dir", str(service.data_dir), *port
                )
                assert code == 0, said
        everything = {*load.answered, *load.cut}
        assert not load.wrong
        assert not list(service.data_dir.glob("backup-*"))
        assert contents(service.data_dir / "chdb" / "shadow") <= {"increment.txt"}
    for number, (file, before) in enumerate(moments):
        folder = tmp_path / f"again-{number}"
        code, said = mailwake("restore", str(file), "--data-dir", str(folder))
        assert code == 0, said
        assert "restor" not in " ".join(contents(folder))
        found = counted(folder)
        assert_consistent(found, before, everything)
        assert found["sent"] == 3 * (number + 1)
    assert len(found["hits"]) >= len(moments[0][1])


def test_outcomes_come_back_with_it(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        service.ready()
        message = service.rewrite("reported", MAIL, "ann@example.com")["message_id"]
        for kind in ("sent", "delivered"):
            body = {"id": kind, "type": kind, "message_id": message}
            body["occurred_at"] = "2026-11-28T08:00:00Z"
            assert service.client.post("/v1/outcomes", json=body).status_code == 200
        service.drained()
        before = service.get(f"/v1/messages/{message}")
        assert (before["state"], len(before["outcomes"])) == ("delivered", 2)
        port = ("--port", str(service.port))
        file, folder = str(tmp_path / "b.tar"), tmp_path / "again"
        code, said = mailwake("backup", file, "--data-dir", str(service.data_dir), *port)
        assert code == 0, said
    code, said = mailwake("restore", file, "--data-dir", str(folder))
    assert code == 0, said
    with Service(folder) as restored:
        restored.ready()
        assert restored.get(f"/v1/messages/{message}") == before
        assert restored.stats("reported")["outcomes"]["delivered"] == 1
        # The backup knows the report: it counts no second time.
        assert restored.client.post("/v1/outcomes", json=body).status_code == 200
        restored.drained()
        assert len(restored.get(f"/v1/messages/{message}")["outcomes"]) == 2


@pytest.mark.torture
@pytest.mark.skipif("MAILWAKE_TORTURE" not in os.environ, reason="make torture")
def test_twenty_backups_under_traffic_come_back_exact(tmp_path: Path) -> None:
    test_a_backup_under_traffic_comes_back_exact(tmp_path, 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backup without a service, of a folder whose service was killed."""
    folder = tmp_path_factory.mktemp("backup")
    with Service(folder / "data") as service:
        service.rewrite("kept", MAIL)
        for path, body in (
            ("/v1/newsletters/kept/template", {"html": MAIL}),
            ("/v1/suppressions", {"recipient": "b@example.com"}),
        ):
            answer = service.client.post(path, json=body)
            assert answer.status_code == 200, answer.text
        load = Load(service, "kept")
        with load.running(2):
            time.sleep(0.5)
            service.kill()
    (folder / "data" / "demo").mkdir()
    (folder / "data" / "demo" / "secrets.json").write_text("{}")
    (folder / "answered").write_text(json.dumps(load.answered))
    (folder / "cut").write_text(json.dumps(load.cut))
    code, said = mailwake("backup", str(folder), "--data-dir", str(folder / "data"), "--port", "1")
    assert code == 0, said
    assert "contains secrets" in said
    yield next(folder.glob("mailwake-*.tar"))


def test_everything_is_in_it_and_only_its_owner_reads_it(made: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    old, new = made.parent / "data", tmp_path / "new"
    code, said = mailwake("restore", str(made), "--data-dir", str(new))
    assert code == 0, said
    assert (new / "secrets.json").read_bytes() == (old / "secrets.json").read_bytes()
    assert stat.S_IMODE((new / "secrets.json").stat().st_mode) == 0o600
    assert contents(new / "templates") == contents(old / "templates") != set()
    assert (new / "journal" / "origin").read_text() == (old / "journal" / "origin").read_text()
    assert "demo" not in contents(new)
    with sqlite3.connect(new / "state.db") as connection:
        assert connection.execute("SELECT count(*) FROM suppressions").fetchone() == (1,)
    answered, cut = (set(json.loads((made.parent / n).read_text())) for n in ("answered", "cut"))
    assert_consistent(counted(new), answered, answered | cut)
    assert counted(new)["sent"] == 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("flip", "is damaged"),
        ("cut", "cut off|damaged"),
        ("more", "is not in the manifest"),
        ("other", "not a Mailwake backup"),
        ("newer", "newer version of Mailwake"),
        ("missing", "No such file"),
    ],
)
def test_what_is_damaged_leaves_nothing_behind(
    made: Path, tmp_path: Path, damage: str, says: str
) -> None:
    bad = tmp_path / "bad.tar"
    content = made.read_bytes()
    if damage == "flip":
        with tarfile.open(made) as tar:
            member = max(tar.getmembers(), key=lambda one: one.size)
        position = member.offset_data + member.size // 2
        bad.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
    elif damage == "cut":
        bad.write_bytes(content[: len(content) // 2])
    elif damage == "more":
        bad.write_bytes(content)
        (tmp_path / "more").write_text("more")
        with tarfile.open(bad, "a") as tar:
            tar.add(tmp_path / "more", "../outside")
    elif damage == "other":
        bad.write_bytes(b"x" * 2000)
    elif damage == "newer":
        with tarfile.open(made) as tar:
            member = tar.getmember(MANIFEST)
        text = content[member.offset_data : member.offset_data + member.size]
        assert b'"0001_start"' in text
        bad.write_bytes(content.replace(b'"0001_start"', b'"9001_later"', 1))
    for folder in (tmp_path / "fresh", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        with pytest.raises(BackupError, match=says):
            restore(bad, load_settings(data_dir=folder), lambda _: None)
        assert folder.exists() == (folder.name == "empty")
        assert contents(folder) == set()
    assert not (tmp_path / "outside").exists()


def test_it_may_go_to_standard_output_but_not_into_itself(made: Path, tmp_path: Path) -> None:
    old = made.parent / "data"
    process = start("-m", "app", "backup", "-", "--data-dir", str(old), "--port", "1")
    assert process.stdout and process.stderr
    (tmp_path / "out.tar").write_bytes(process.stdout.buffer.read())  # type: ignore[attr-defined]
    said = process.stderr.read()
    process.communicate()
    assert process.returncode == 0 and "contains secrets" in said
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert {"secrets.json", "state.db", MANIFEST} <= set(tar.getnames())
    code, said = mailwake("backup", str(old / "x.tar"), "--data-dir", str(old), "--port", "1")
    assert code == 2 and "The next backup would contain this one" in said


def test_a_folder_that_is_used_is_left_alone(made: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    code, said = mailwake("restore", str(made), "--data-dir", str(tmp_path))
    assert code == 2
    assert f"{tmp_path} is not empty (it contains secrets.json)" in said
    assert contents(tmp_path) == {"secrets.json"}


@longer
def test_a_restore_that_was_killed_is_repeated(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    kills = 0
    for _ in range(20 if LONG else 2):
        process = start("-m", "app", "restore", str(made), "--data-dir", str(folder))
        wait_for(lambda: contents(folder), "restore")
        time.sleep(random.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not {"restoring", "restored"} & contents(folder):
            break  # it was done already
        kills += 1
        code, said = mailwake("migrate", "--data-dir", str(folder))
        assert code == 2 and "a restore was interrupted" in said
    if kills:
        code, said = mailwake("restore", str(made), "--data-dir", str(folder))
        assert code == 0, said
    answered, cut = (set(json.loads((made.parent / n).read_text())) for n in ("answered", "cut"))
    assert_consistent(counted(folder), answered, answered | cut)


def test_moving_to_its_place_may_be_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    (folder / "restored" / "journal").mkdir(parents=True)
    (folder / "restored" / "state.db").touch()
    (folder / "secrets.json").touch()  # was moved already
    code, said = mailwake("migrate", "--data-dir", str(folder))
    assert code == 2 and "a restore was interrupted" in said
    none = tmp_path / "is not needed any more.tar"
    assert restore(none, load_settings(data_dir=folder), lambda _: None) is None
    assert contents(folder) == {"state.db", "secrets.json", "journal"}


def test_snapshots_are_only_for_who_can_write_to_the_folder(service: Service) -> None:
    def ask(body: Any) -> tuple[int, str]:
        answer = service.client.post("/v1/snapshot", json=body)
        return answer.status_code, answer.json().get("field", "")

    assert ask({"folder": "backup-none"}) == (422, "folder")
    for name in ("../backup-x", "backup-x/..", "journal", "", 7):
        assert ask({"folder": name}) == (422, "folder")
    assert ask({})[0] == 422
    (service.data_dir / "backup-full").mkdir()
    (service.data_dir / "backup-full" / "x").touch()
    assert ask({"folder": "backup-full"}) == (422, "folder")
    answer = service.client.post("/v1/snapshot", headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_with_a_server_its_own_backup_is_asked_for(tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    (tmp_path / "kept").mkdir()
    config.write_text(
        f"<clickhouse><backups><allowed_path>{tmp_path / 'kept'}</allowed_path></backups>"
        "</clickhouse>"
    )
    with ClickHouseServer(tmp_path / f"clickhouse?config-file={config}") as database:
        env = {"MAILWAKE_CLICKHOUSE_DSN": database.dsn}
        folder = ("--data-dir", str(tmp_path / "data"))
        with Service(tmp_path / "data", **env) as service:
            service.rewrite("served", MAIL)
            code, said = mailwake("backup", str(tmp_path / "first.tar"), *folder, **env)
            assert code == 0, said
            assert "BACKUP DATABASE `default` TO" in said
            to = "File('second')"
            code, said = mailwake(
                "backup", str(tmp_path / "second.tar"), "--clickhouse", to, *folder, **env
            )
            assert code == 0 and f"RESTORE DATABASE `default` FROM {to}" in said, said
            assert (tmp_path / "kept" / "second").exists()
            code, said = mailwake(
                "backup",
                str(tmp_path / "third.tar"),
                "--clickhouse",
                "Disk('none', 'x')",
                *folder,
                **env,
            )
            assert code == 2 and "Disk" in said
            assert not (tmp_path / "third.tar").exists()
        again = tmp_path / "again"
        with pytest.raises(BackupError, match="MAILWAKE_CLICKHOUSE_DSN"):
            restore(tmp_path / "second.tar", load_settings(data_dir=again), lambda _: None)
        assert not again.exists()
        chosen = load_settings(data_dir=again, clickhouse_dsn=database.dsn)
        restore(tmp_path / "second.tar", chosen, lambda _: None)
        assert {"secrets.json", "state.db", "journal"} <= contents(again)
        assert "chdb" not in contents(again)
