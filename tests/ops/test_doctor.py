"""Each thing that the doctor looks at, made wrong."""

import datetime
import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.model.ids import new_id
from app.ops.doctor import clickhouse, data_dir
from app.ops.doctor import settings as configured
from app.ops.doctor.checks import CHECKS, Finding, examine
from app.settings.load import load, with_secrets
from app.storage.clickhouse import Storage
from app.storage.clickhouse_migrations import files
from app.storage.clickhouse_schema import migrate
from app.storage.state_db import open_state
from tests.integration.test_backup import mailwake
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, free_port

PUBLIC = {
    "public_url": "https://click.example.com",
    "dashboard_url": "https://mailwake.example.com",
    "trusted_proxies": "10.0.0.0/8",
}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A data folder with nothing wrong."""
    data = tmp_path / "data"
    with_secrets(load(data_dir=data))
    open_state(data).dispose()
    (data / "journal").mkdir(mode=0o700)
    return data


def found(data: Path, **settings: Any) -> list[Finding]:
    chosen = load(data_dir=data, **{"port": free_port(), **PUBLIC, **settings})
    return list(examine(chosen))


def bad(data: Path, **settings: Any) -> list[tuple[str, str, str]]:
    """All that is not fine, but for the service, which does not run."""
    return [
        (one.status, one.about, f"{one.what}: {one.fix}")
        for one in found(data, **settings)
        if one.status != "ok" and one.about != "service"
    ]


def test_a_sound_folder_has_nothing(sound: Path) -> None:
    assert bad(sound) == []
    assert {"address", "secrets", "folder", "disk", "state.db", "journal"} <= {
        one.about for one in found(sound)
    }
    assert all(one.fix for one in found(sound) if one.status != "ok")


@pytest.mark.parametrize(
    ("settings", "about", "says"),
    [
        ({"public_url": ""}, "address", "only work on this machine"),
        ({"public_url": "http://127.0.0.1:80"}, "address", "only work on this machine"),
        ({"public_url": "http://click.example.com"}, "address", "without TLS"),
        (
            {"trusted_proxies": ""},
            "proxy",
            "from the proxy's IP address: set MAILWAKE_TRUSTED_PROXIES",
        ),
        ({"dashboard_url": ""}, "dashboard", "MAILWAKE_DASHBOARD_URL"),
        ({"dashboard_url": "https://click.example.com"}, "dashboard", "MAILWAKE_DASHBOARD_URL"),
    ],
)
def test_settings_that_work_but_should_not_stay(
    sound: Path, settings: dict[str, str], about: str, says: str
) -> None:
    [(state, named, told)] = bad(sound, **settings)
    assert (state, named) == ("warning", about)
    assert says in told


def test_a_misspelt_variable(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILWAKE_PROT", "80")
    assert bad(sound) == [
        ("warning", "settings", "unknown setting MAILWAKE_PROT: did you mean MAILWAKE_PORT?")
    ]


def _other_owner(data: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    os.chown(data, 12345, 12345)


def _sql(statement: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        with sqlite3.connect(data / "state.db") as connection:
            connection.execute(statement)

    return change


def _damage(data: Path) -> None:
    with sqlite3.connect(data / "state.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (data / "state.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)


def _segment(age: float, suffix: str) -> Callable[[Path], None]:
    def write(data: Path) -> None:
        name = uuid.UUID(bytes=new_id(int((time.time() - age) * 1000)))
        (data / "journal" / f"{name}{suffix}").write_bytes(b"{}\n")

    return write


def _ahead(data: Path) -> None:
    later = time.time() + 3600
    os.utime(data / "secrets.json", (later, later))


HOOK = (
    "INSERT INTO webhooks (id, workspace, url, secret, wanted, first, at, seq, line, disabled)"
    " VALUES ('w', 'default', 'https://hooks.example/secret-path', 's', '{}', 0, 0, 0, 0, '410')"
)


@pytest.mark.parametrize(
    ("change", "state", "about", "says"),
    [
        (lambda data: data.rename(data.with_name("gone")), "error", "folder", "does not exist"),
        (_other_owner, "error", "folder", "belongs to user 12345"),
        (lambda data: data.chmod(0o755), "error", "folder", "chmod 700"),
        (
            lambda data: (data / "restoring").mkdir(),
            "error",
            "folder",
            "run `mailwake restore` again",
        ),
        (lambda data: (data / "secrets.json").chmod(0o644), "error", "secrets", "chmod 600"),
        (lambda data: (data / "secrets.json").write_text("{"), "error", "secrets", "from a backup"),
        (lambda data: (data / "secrets.json").unlink(), "warning", "secrets", "`mailwake serve`"),
        (_ahead, "error", "clock", "secrets.json has a time in the future"),
        (_damage, "error", "state.db", "damaged"),
        (_sql("PRAGMA user_version = 0"), "error", "state.db", "run `mailwake migrate`"),
        (_sql("PRAGMA user_version = 99"), "error", "state.db", "newer version of Mailwake"),
        (_sql(HOOK), "warning", "webhooks", "https://hooks.example is disabled: 410"),
        (_segment(5, ".bad"), "warning", "journal", "had invalid lines"),
        (
            _segment(300, ".seg"),
            "error",
            "journal",
            "1 journal segments are waiting, the oldest for 30",
        ),
        (_segment(5, ".open"), "warning", "journal", "segments of killed processes"),
    ],
)
def test_a_data_folder_that_is_not_sound(
    sound: Path, change: Callable[[Path], Any], state: str, about: str, says: str
) -> None:
    change(sound)
    told = bad(sound)
    assert [one for one in told if one[:2] == (state, about) and says in one[2]], told
    assert "secret-path" not in str(told)


def test_deliveries_that_were_given_up_and_many_suppressed(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sql(HOOK)(sound)
    _sql(
        "INSERT INTO deliveries (webhook, event, body, at, state, attempts, error)"
        " VALUES ('w', 'e', '{}', 0, 'dead', 9, '')"
    )(sound)
    _sql(
        "INSERT INTO suppressions (workspace, recipient, newsletter, reason, at)"
        " VALUES ('default', 1, 0, 'manual', 0)"
    )(sound)
    monkeypatch.setattr(data_dir, "MANY", 0)
    told = str(bad(sound))
    assert "1 deliveries have failed for good" in told and "1 recipients are suppressed" in told


def test_too_little_room(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_dir, "ROOM", 2**60)
    assert [one[:2] for one in bad(sound)] == [("warning", "disk")]
    monkeypatch.setattr(data_dir, "NO_ROOM", 2**60)
    assert [one[:2] for one in bad(sound)] == [("error", "disk")]


def test_file_systems_that_cannot_be_relied_on(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = f"disk / ext4 rw 0 0\nserver:/x {sound.parent} nfs4 rw 0 0\nnone /proc proc rw 0 0\n"
    assert data_dir.filesystem(sound, mounts) == "nfs4"
    assert data_dir.filesystem(Path("/usr/lib"), mounts) == "ext4"
    here = data_dir.filesystem(sound, Path("/proc/mounts").read_text())
    assert here
    for kind, says in (("DISTANT", "are not reliable"), ("MEMORY", "in memory")):
        with monkeypatch.context() as patch:
            patch.setattr(data_dir, kind, {here})
            [(state, about, told)] = bad(sound)
            assert (state, about) == ("error", "disk") and says in told


def test_the_gateways_certificate(sound: Path, tmp_path: Path) -> None:
    authority = trustme.CA()

    def issued(days: float) -> dict[str, Path]:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        made = authority.issue_cert("mail.example.com", not_after=until)
        made.private_key_pem.write_to_path(tmp_path / "key.pem")
        chain = b"".join(one.bytes() for one in made.cert_chain_pems)
        (tmp_path / "cert.pem").write_bytes(chain)
        return {"smtp_cert": tmp_path / "cert.pem", "smtp_key": tmp_path / "key.pem"}

    assert bad(sound, **issued(90)) == []
    [(state, about, told)] = bad(sound, **issued(5.5))
    assert (state, about) == ("warning", "certificate") and "only 5 days" in told
    [(state, _, told)] = bad(sound, **issued(-1))
    assert state == "error" and "expired" in told
    pair = issued(90)
    trustme.CA().issue_cert("x.example.com").private_key_pem.write_to_path(tmp_path / "key.pem")
    [(state, _, told)] = bad(sound, **pair)
    assert state == "error" and "mismatch" in told.lower()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


def test_a_servers_tables_and_clock(
    sound: Path, server: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = {"clickhouse_dsn": server.dsn}
    [(state, about, told)] = bad(sound, **dsn)
    assert (state, about) == ("error", "ClickHouse") and files()[0].stem in told
    storage = Storage(load(data_dir=sound, **dsn))
    migrate(storage)
    assert bad(sound, **dsn) == []
    with storage.reader() as client:
        client.command("ALTER TABLE hits MODIFY SETTING non_replicated_deduplication_window = 0")
    [(state, about, told)] = bad(sound, **dsn)
    assert (state, about) == ("error", "ClickHouse") and told.startswith("hits: repeated inserts")
    with storage.reader() as client:
        client.command(
            "ALTER TABLE hits MODIFY SETTING non_replicated_deduplication_window = 10000"
        )
        client.insert("migrations", [["9999_later"]], column_names=["name"])
    assert "newer version of Mailwake" in str(bad(sound, **dsn))
    with storage.reader() as client:
        client.command("ALTER TABLE migrations DELETE WHERE name = '9999_later'")
    monkeypatch.setattr(clickhouse, "OLDEST", (99, 1))
    monkeypatch.setattr(clickhouse, "SKEW_SECONDS", -1.0)
    told = str(bad(sound, **dsn))
    assert "is too old" in told and "ClickHouse's clock" in told
    server.fault("wrong_password")
    assert "check MAILWAKE_CLICKHOUSE_DSN" in str(bad(sound, **dsn))
    server.fault("down")
    [(state, about, told)] = bad(sound, **dsn)
    assert (state, about) == ("error", "ClickHouse") and "no connection" in told
    server.clear()


def test_the_running_service_speaks_for_itself(sound: Path) -> None:
    def of(service: Service, **more: Any) -> list[Finding]:
        chosen = {"data_dir": service.data_dir, "port": service.port, **more}
        return [one for one in examine(load(**chosen)) if one.about in ("service", "ClickHouse")]

    away = f"clickhouse://127.0.0.1:{free_port()}/default"
    with Service(sound, MAILWAKE_CLICKHOUSE_DSN=away) as service:
        service.wait_for(
            lambda: "no connection" in service.client.get("/healthz/full").text, "the trouble"
        )
        told = of(service, clickhouse_dsn=away)
        assert [(one.status, one.about) for one in told] == [
            ("error", "service"),
            ("error", "ClickHouse"),
        ]
        code, said = mailwake(
            "doctor",
            "--json",
            "--data-dir",
            str(sound),
            "--port",
            str(service.port),
            MAILWAKE_CLICKHOUSE_DSN=away,
        )
        assert code == 1
        lines = [json.loads(line) for line in said.splitlines()]
        assert {line["status"] for line in lines} >= {"error", "warning", "ok"}
        assert {line["state"] for line in lines} >= {"wrong", "mind", "fine"}  # as before
    with Service(sound) as service:
        service.drained()
        assert [one.status for one in of(service)] == ["ok"]
        code, said = mailwake("doctor", "--data-dir", str(sound), "--port", str(service.port))
        assert code == 0, said
        assert "ok      service: hits are stored" in said and "warning address" in said
        # It listens elsewhere: its engine is asked all the same.
        one, database = of(service, port=free_port())
        assert (one.status, one.about) == ("warning", "service") and "no response" in one.what
        assert database.status == "ok" and "has all tables" in database.what
    holding = (
        "import sys\nfrom app.settings.load import load\n"
        "from app.storage.clickhouse import Storage\n"
        "storage = Storage(load(data_dir=sys.argv[1]))\nstorage.query('SELECT 1', {})\n"
        "print(flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(  # a command has it open
        [sys.executable, "-c", holding, str(sound)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as command:
        assert command.stdin and command.stdout
        command.stdout.readline()
        told = [one for one in found(sound, port=free_port()) if one.about == "ClickHouse"]
        assert [one.status for one in told] == ["warning"]
        assert "open in another process" in told[0].what
        command.stdin.close()


def test_what_listens_there_is_something_else(sound: Path) -> None:
    port = free_port()
    with subprocess.Popen(
        ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=sound / "journal",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        end = time.monotonic() + PATIENCE_SECONDS
        told: list[Finding] = []
        while not any("is not Mailwake" in one.what for one in told) and time.monotonic() < end:
            told = found(sound, port=port)
        other.terminate()
    assert any(one.status == "error" and "is not Mailwake" in one.what for one in told)


def test_a_check_that_breaks_is_a_finding(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Iterator[Finding]:
        raise RuntimeError("no such thing")
        yield

    monkeypatch.setattr("app.ops.doctor.checks.CHECKS", (*CHECKS, broken))
    assert bad(sound) == [("error", "broken", "check failed: no such thing: ")]
    assert configured.CHECKS
