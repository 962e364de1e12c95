"""Databases of every earlier version brought up to date, whatever happens on the way."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.links import identity
from app.model.verdicts import UNKNOWABLE
from app.settings.load import load
from app.storage import state_steps
from app.storage.clickhouse import Storage, StorageError
from app.storage.clickhouse_migrations import files, statements
from app.storage.clickhouse_schema import migrate
from app.storage.state_db import open_state
from app.storage.state_steps import VersionError, steps_missing
from app.storage.tables import metadata
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.first_version import URLS
from tests.support.paths import DATA, ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service
from tests.support.torture import LONG, longer

NAMES = [path.stem for path in files()]
FIRST = (DATA / "upgrades" / "state_0.sql").read_text()


def python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")}
    return subprocess.run(
        [sys.executable, *words],
        env={**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "300", **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def upgrade(*words: str) -> dict[str, Any]:
    done = python("tests/support/first_version.py", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- ClickHouse ---


def test_counts_of_hits_that_are_no_longer_stored_stay(tmp_path: Path) -> None:
    """The roll-up by message is not built anew: hits expire before it does."""
    upgrade("make", str(tmp_path), "0008_assistant_verdict")
    (before,) = (row for row in _ask(tmp_path, "SELECT sum(human) AS n FROM hits_by_message"))
    _ask(tmp_path, "TRUNCATE TABLE hits")
    upgrade("finish", str(tmp_path))
    assert _ask(tmp_path, "SELECT sum(human) AS n FROM hits_by_message") == [before]


def test_hits_whose_count_was_cut_off_are_counted(tmp_path: Path) -> None:
    """A process was killed after an insert into hits, before its part of the roll-up."""
    upgrade("make", str(tmp_path), "0008_assistant_verdict")
    expected = """
        SELECT kind, toInt64(sumIf(sign, verdict IN ('human', 'privacy_proxy'))) AS human,
            toInt64(sumIf(sign, verdict NOT IN ('human', 'privacy_proxy'))) AS machine,
            toInt64(sumIf(sign, kind = 'open' AND verdict IN ('unknown', 'prefetch'))) AS unknowable
        FROM hits GROUP BY kind ORDER BY kind
    """
    stored = _ask(tmp_path, expected)
    _ask(tmp_path, "DELETE FROM hits_by_message WHERE toString(message) LIKE '%3'")
    # Other hits of theirs have expired, and of other messages too.
    _ask(tmp_path, "DELETE FROM hits WHERE toString(message) LIKE '%5' AND verdict = 'human'")
    upgrade("finish", str(tmp_path))
    counted = _ask(
        tmp_path,
        "SELECT kind, toInt64(sum(human)) AS human, toInt64(sum(machine)) AS machine,"
        " toInt64(sum(unknowable)) AS unknowable"
        " FROM hits_by_message GROUP BY kind ORDER BY kind",
    )
    assert counted == stored
    negative = "SELECT count() AS n FROM hits_by_message FINAL WHERE human < 0 OR machine < 0"
    assert _ask(tmp_path, negative) == [{"n": 0}]


def _ask(folder: Path, query: str) -> list[dict[str, Any]]:
    """Returns a query's rows, by a process of its own."""
    program = """
import json, sys
from pathlib import Path
from app.settings.load import load
from app.storage.clickhouse import Storage
storage = Storage(load(data_dir=Path(sys.argv[1])))
rows = []
if "SELECT" in sys.argv[2]:
    rows = storage.query(sys.argv[2], {})
else:
    with storage.reader() as client:
        client.command(sys.argv[2])
print(json.dumps(rows))
storage.close()
"""
    done = python("-c", program, str(folder), query)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_own_data_may_be_cut_off_at_any_statement(tmp_path: Path) -> None:
    (path,) = (path for path in files() if path.stem.startswith("0007"))
    before = upgrade("make", str(tmp_path), "0005_messages_by_id")["figures"]
    earlier = [one for one in files() if "0005" < one.stem < "0007"]
    offset = sum(len(statements(one)) for one in earlier)
    killed = 0
    for number in range(1, len(statements(path)) + 5):  # the client has a few of its own
        # What was applied is noted: each attempt begins with the first statement of 0007 again.
        done = python(
            "tests/support/first_version.py", "finish", str(tmp_path), str(offset + number)
        )
        killed += done.returncode == -signal.SIGKILL
        offset = 0
    assert killed >= len(statements(path))
    assert upgrade("finish", str(tmp_path))["figures"] == before
    assert len(before["newsletters"]) == 10


@longer
@pytest.mark.parametrize("name", NAMES[:-1] if LONG else [NAMES[0], NAMES[7], NAMES[-2]])
def test_figures_survive_the_way_from_every_version(name: str, tmp_path: Path) -> None:
    """Killed on the way, too: whatever statement it was, the next start goes on."""
    before = upgrade("make", str(tmp_path), name)
    assert before["applied"][-1] == name
    steps = 1 + sum(len(statements(path)) for path in files() if path.stem > name)
    kills = range(1, steps + 1) if LONG else (steps // 2, steps) if name == NAMES[0] else ()
    for number in kills:
        done = python("tests/support/first_version.py", "finish", str(tmp_path), str(number))
        if done.returncode != -signal.SIGKILL:  # earlier kills had come further than that
            break
    after = upgrade("finish", str(tmp_path))
    assert after["figures"] == before["figures"]
    assert after["roll_ups"]["minutes"] == after["roll_ups"]["agents"] == [{"n": 1000}]
    assert after["roll_ups"]["newsletters"] == [{"n": 1000, "is_equal": 1, "last_at": 1780000999}]
    assert after["roll_ups"]["sent"] == [{"n": 600, "first_at": 1780000000}]
    assert after["roll_ups"]["places"] == before["figures"]["links"]
    if name < "0006":  # links were places
        places = {row["place"]: row["n"] for row in before["figures"]["links"]}
        check_links(after["roll_ups"], places)
    counted: dict[str, dict[str, int]] = {}
    for row in before["figures"]["totals"]:
        columns = counted.setdefault(row["kind"], {"human": 0, "machine": 0, "unknowable": 0})
        columns["human" if row["verdict"] == "human" else "machine"] += row["n"]
        columns["unknowable"] += row["n"] * (row["verdict"] in UNKNOWABLE)
    for row in after["roll_ups"]["messages"]:
        assert {name: row[name] for name in counted[row["kind"]]} == counted[row["kind"]]
    assert counted["open"]["unknowable"] > 20
    assert "migrating" not in after["tables"]
    if kills:
        assert upgrade("finish", str(tmp_path))["applied"] == []


def test_the_lock_of_a_process_killed_after_the_last_step_goes(tmp_path: Path) -> None:
    upgrade("make", str(tmp_path), NAMES[-1])
    owner = (tmp_path / "migrating.lock").read_text()
    _ask(tmp_path, f"CREATE TABLE migrating (x UInt8) ENGINE = Memory COMMENT '{owner} of me'")
    after = upgrade("finish", str(tmp_path))
    assert after["applied"] == [] and "migrating" not in after["tables"]


def check_links(found: dict[str, Any], by_place: dict[int, int]) -> None:
    """Each link has the clicks of its places; two places that lead to the same are one link."""
    keys = {url: identity.identify_shown(url) for url in URLS}
    expected: dict[int, int] = {}
    for place, url in enumerate(URLS):
        for key in {keys[url].link, keys[url].family}:
            expected[key] = expected.get(key, 0) + by_place[place]
    links = {row["link_key"]: row["n"] for row in found["links"]}
    assert {key: links.pop(key) for key in expected} == expected
    assert list(links.values()) == [by_place[6]]  # nothing says what that place led to
    parcels = {identity.identify(url).family for url in URLS if "parcel" in url}
    assert len(parcels) == 1
    recorded = {row["link_key"]: row for row in found["recorded"]}
    assert set(recorded) == set(expected)
    texts = str(found["recorded"])
    assert "Qx7Tz9" not in texts and "Lm3Wv8" not in texts
    assert {key for key, row in recorded.items() if row["is_family"]} == parcels
    shoes = keys[URLS[0]].link
    labels = {row["label"] for row in found["recorded"] if row["link_key"] == shoes}
    assert labels == {"Label 0", "Label 2"}
    places = {row["position"] for row in found["at"] if row["link_key"] == shoes}
    assert places == {0, 2}
    assert {row["n"] for row in found["carried"]} == {600}  # who had which is not known of old mail


def test_hosts_that_start_at_once_do_no_harm(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        storages = [
            Storage(load(data_dir=_folder(tmp_path, n), clickhouse_dsn=database.dsn))
            for n in range(4)
        ]
        told: list[list[str] | str] = []

        def start(storage: Storage) -> None:
            try:
                told.append(migrate(storage))
            except StorageError as error:
                told.append(str(error))

        threads = [threading.Thread(target=start, args=(storage,)) for storage in storages]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told.count(NAMES) == 1
        assert all(
            answer in (NAMES, []) or "another host is migrating" in answer for answer in told
        ), told
        assert [migrate(storage) for storage in storages] == [[]] * 4
        executed = [entry.sql for entry in database.log() if not entry.code]
        for once in ("TRUNCATE TABLE hits\n", "INSERT INTO hits\n"):
            assert sum(f"{sql.strip()}\n".startswith(once) for sql in executed) == 1, once


def test_the_lock_of_a_host_that_has_gone_is_explained_and_its_own_is_found(
    tmp_path: Path,
) -> None:
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        mine, other = (
            Storage(load(data_dir=_folder(tmp_path, n), clickhouse_dsn=database.dsn))
            for n in range(2)
        )
        database.fault("down")
        with pytest.raises(StorageError):
            migrate(mine)
        database.clear()
        owner = (tmp_path / "0" / "migrating.lock").read_text()
        with mine.reader() as client:
            client.command(
                f"CREATE TABLE migrating (x UInt8) ENGINE = Memory COMMENT '{owner} of me'"
            )
        with pytest.raises(
            StorageError, match=r"another host is migrating .* DROP TABLE migrating"
        ):
            migrate(other)
        assert migrate(mine) == NAMES
        assert migrate(other) == []


def _folder(parent: Path, number: int) -> Path:
    folder = parent / str(number)
    folder.mkdir(exist_ok=True)
    return folder


# --- state.db ---


def old_state(folder: Path, text: str = FIRST) -> None:
    with sqlite3.connect(folder / "state.db") as connection:
        connection.executescript(text)


def schema(folder: Path) -> tuple[Any, ...]:
    """Returns version and structure; the text of CREATE TABLE depends on how a column was added."""
    with sqlite3.connect(folder / "state.db") as connection:

        def ask(pragma: str) -> list[Any]:
            return connection.execute(f"PRAGMA {pragma}").fetchall()

        tables = {}
        names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        for (name,) in connection.execute(names).fetchall():
            indexes = {
                (index[1], *index[2:]): ask(f"index_xinfo({index[1]})")
                for index in ask(f"index_list({name})")
            }
            columns = sorted(column[1:] for column in ask(f"table_xinfo({name})"))
            tables[name] = columns, indexes, ask(f"foreign_key_list({name})")
        autoincrement = connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
        ).fetchall()
        return ask("user_version")[0][0], tables, autoincrement


def test_an_old_state_comes_to_the_same_tables_as_a_new_one(tmp_path: Path) -> None:
    old, new = _folder(tmp_path, 0), _folder(tmp_path, 1)
    old_state(old)
    assert steps_missing(old) == len(state_steps.STEPS)
    with sqlite3.connect(old / "state.db") as connection:
        queries = [
            f"SELECT {', '.join(columns)} FROM {name}"
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for columns in [[c[1] for c in connection.execute(f"PRAGMA table_info({name})")]]
        ]
        before = {query: connection.execute(query).fetchall() for query in queries}
    assert len([query for query, rows in before.items() if rows]) >= len(before) - 1
    for folder in (old, new, old):
        open_state(folder).dispose()
    assert schema(old) == schema(new)
    assert schema(new)[0] == len(state_steps.STEPS)
    assert steps_missing(old) == 0
    with sqlite3.connect(old / "state.db") as connection:
        for query, rows in before.items():
            assert connection.execute(query).fetchall() == rows


def test_a_state_that_is_killed_on_the_way_stays_as_it_was(tmp_path: Path) -> None:
    old_state(tmp_path)
    was = schema(tmp_path)
    killing = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from app.storage import state_steps
from app.storage.state_db import open_state
@event.listens_for(Engine, "before_cursor_execute")
def _(connection, cursor, statement, *rest):
    if statement.startswith("PRAGMA user_version ="):
        os.kill(os.getpid(), signal.SIGKILL)
open_state(Path(sys.argv[1]))
"""
    assert python("-c", killing, str(tmp_path)).returncode == -signal.SIGKILL
    assert schema(tmp_path) == was
    open_state(tmp_path).dispose()
    assert steps_missing(tmp_path) == 0


def test_a_step_is_for_tables_that_older_files_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a table that the file lacks is left out: it is made as it is now."""
    step = ("later", ("ALTER TABLE later ADD COLUMN more INTEGER",))
    monkeypatch.setattr(state_steps, "STEPS", (*state_steps.STEPS, step))
    old_state(tmp_path)
    open_state(tmp_path).dispose()
    assert schema(tmp_path)[0] == len(state_steps.STEPS)


# --- the command ---


def test_migrate_lists_applies_and_is_done(tmp_path: Path) -> None:
    old_state(tmp_path)
    folder = ("--data-dir", str(tmp_path))
    check = python("-m", "app", "migrate", "--check", *folder)
    assert check.returncode == 1, check.stderr
    assert f"ClickHouse: {NAMES[0]} is missing" in check.stdout
    assert f"state.db: {len(state_steps.STEPS)} step" in check.stdout
    assert schema(tmp_path)[0] == 0
    done = python("-m", "app", "migrate", *folder)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "ClickHouse" in line] == [
        f"ClickHouse: {name}" for name in NAMES
    ]
    done = python("-m", "app", "migrate", "--check", *folder)
    assert (done.returncode, done.stdout) == (0, "everything is up to date\n"), done.stderr


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    open_state(tmp_path).dispose()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(VersionError, match="newer version of Mailwake"):
        open_state(tmp_path)
    was = schema(tmp_path)
    for command in ("serve", "workspaces list"):
        done = python("-m", "app", *command.split(), "--data-dir", str(tmp_path))
        assert done.returncode == 2
        assert "newer version of Mailwake" in done.stderr and "Traceback" not in done.stderr
    assert schema(tmp_path) == was
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        folder = _folder(tmp_path, 1)
        storage = Storage(load(data_dir=folder, clickhouse_dsn=database.dsn))
        migrate(storage)
        with storage.reader() as client:
            client.insert("migrations", [["9999_later"]], column_names=["name"])
        env = {"MAILWAKE_CLICKHOUSE_DSN": database.dsn}
        with pytest.raises(StorageError, match=r"newer version of Mailwake \(9999_later\)"):
            migrate(storage)
        # Recipients are served all the same, and what they do waits in the journal.
        with Service(folder, **env) as service:
            service.wait_for(
                lambda: "newer version of Mailwake" in service.client.get("/healthz/full").text,
                "the trouble",
            )
            assert service.client.get("/healthz/full").status_code == 503
            assert service.rewrite("n", "<p>x</p>")["html"]


def test_without_auto_migrate_an_operator_does_it(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        env = {"MAILWAKE_CLICKHOUSE_DSN": database.dsn, "MAILWAKE_AUTO_MIGRATE": "false"}
        with Service(tmp_path / "data", **env) as service:
            service.wait_for(
                lambda: "run `mailwake migrate`" in service.client.get("/healthz/full").text,
                "trouble",
            )
            service.rewrite("n", "<p>x</p>")
            done = python("-m", "app", "migrate", "--data-dir", str(service.data_dir), **env)
            assert done.returncode == 0, done.stderr
            service.drained()
    folder = _folder(tmp_path, 1)
    old_state(folder)
    with pytest.raises(VersionError, match="run `mailwake migrate`"):
        open_state(folder, migrate=False)
    assert schema(folder)[0] == 0
    open_state(folder).dispose()
    assert set(metadata.tables) <= schema(open_again(folder))[1].keys()


def open_again(folder: Path) -> Path:
    open_state(folder, migrate=False).dispose()
    return folder


# --- a whole data folder ---


def test_a_folder_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Links in mail that was sent, the API key, and what waited in the journal: made by it."""
    first = json.loads((DATA / "upgrades" / "first.json").read_text())
    data = tmp_path / "data"
    (data / "journal").mkdir(parents=True)
    old_state(data)
    (data / "secrets.json").write_text(json.dumps(first["secrets"]))
    segment = data / "journal" / "01980000-0000-7000-8000-0000000000aa.seg"
    segment.write_text("".join(f"{line}\n" for line in first["journal"]))
    before = upgrade("make", str(data), "0003_drop_events")["figures"]
    with Service(data, MAILWAKE_API_KEYS="", MAILWAKE_DASHBOARD_PASSWORD="") as service:
        service.wait_for(lambda: not segment.exists(), "the old segment to be loaded")
        service.client.headers["authorization"] = f"Bearer {first['secrets']['api_keys'][0]}"
        stats = service.stats("spring")
        assert (stats["opens"]["all"]["total"], stats["clicks"]["all"]["total"]) == (1, 1)
        assert stats["opens"]["human"]["unique"] == 1
        answer = service.client.get(first["click"])
        assert (answer.status_code, answer.headers["location"]) == (302, first["target"])
        assert len(service.client.get(first["open"]).content) == 43
        assert service.client.get(first["unsubscribe"]).status_code == 200
        service.drained()
        assert service.stats("spring")["clicks"]["all"] == {"total": 2, "unique": 1}
        with httpx2.Client(
            base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS
        ) as visitor:
            password = first["secrets"]["dashboard_password"]
            assert service.login(visitor, password=password).is_redirect
    after = upgrade("finish", str(data))["figures"]
    now = {(row["kind"], row["verdict"]): row["n"] for row in after["totals"]}
    was = {(row["kind"], row["verdict"]): row["n"] for row in before["totals"]}
    assert sum(now.values()) == sum(was.values()) + 4
    assert all(now[what] >= number for what, number in was.items())
    assert after["ledger"][0]["n"] == before["ledger"][0]["n"] + 1
    assert schema(data)[0] == len(state_steps.STEPS)
