"""Several processes, metrics, logs, and a disk that is full."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from prometheus_client.parser import text_string_to_metric_families

from app.demo import agents
from app.model.ids import new_id
from app.model.records import Hit, encode, now_ms
from app.server.rewriting_process import LARGE_BYTES
from app.storage.journal_segments import without_footer
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import Load, assert_exact, counted
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.programs import hits_by_message, run
from tests.support.service import Service, free_port, tracked_urls

MAIL = '<p><a href="https://example.com/">Read</a></p>'


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def serving(pid: int) -> list[int]:
    """The workers, without what multiprocessing starts beside them."""
    return [
        child
        for child in children(pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@contextmanager
def database(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """Yields the settings of a service on a server, or on the embedded engine."""
    if kind == "embedded":
        yield {}
        return
    with ClickHouseServer(folder / "clickhouse") as server:
        yield {"MAILWAKE_CLICKHOUSE_DSN": server.dsn}


def assert_counted(service: Service, load: Load) -> None:
    if dsn := service.env.get("MAILWAKE_CLICKHOUSE_DSN"):
        assert_exact(counted(dsn, service.data_dir.parent, load), load)
    else:
        assert_exact(hits_by_message(service), load)


@pytest.mark.parametrize("kind", ["server", "embedded"])
def test_workers_share_the_load_and_one_that_dies_is_replaced(tmp_path: Path, kind: str) -> None:
    with (
        database(kind, tmp_path) as env,
        Service(tmp_path / "data", **env, MAILWAKE_WORKERS="2") as service,
    ):
        assert service.process
        pid = service.process.pid
        service.wait_for(lambda: len(serving(pid)) == 2, "workers")
        service.ready()
        assert service.rewrite("workers", MAIL)["html"]
        large = MAIL + "<p>" + "x" * LARGE_BYTES
        service.wait_for(
            lambda: (
                service.rewrite("large", large)["html"]
                and [*service.data_dir.glob("rewriting-*.sock")]
            ),
            "a worker's process for large mails",
        )
        load = Load(service, "workers")
        for _ in range(2):  # the second time, it may be the other one that has the engine
            with load.running():
                load.more(20)
                os.kill(serving(pid)[0], signal.SIGKILL)
                time.sleep(0.5)
            with load.running():
                load.more(20)
            service.wait_for(lambda: len(serving(pid)) == 2, "a new worker")
        service.drained()
        service.wait_for(
            lambda: not list((service.data_dir / "journal").glob("*.seg")), "empty journal"
        )
        if kind == "embedded":
            verify = run(service, "-m", "app", "verify")  # by the engine that the workers have
            assert "everything is equal" in verify.stdout, verify
        assert service.stop() in (0, -signal.SIGTERM)
        assert_counted(service, load)


@pytest.mark.parametrize("kind", ["server", "embedded"])
def test_the_loader_as_its_own_process(tmp_path: Path, kind: str) -> None:
    with (
        database(kind, tmp_path) as env,
        Service(tmp_path / "data", **env, MAILWAKE_LOAD="false") as service,
    ):
        load = Load(service, "apart")
        with load.running():
            load.more(20)
        journal = service.data_dir / "journal"
        service.wait_for(lambda: list(journal.glob("*.seg")), "a sealed segment")
        loader = subprocess.Popen([sys.executable, "-m", "app", "load"], env=service.env)
        waiting = (".open", ".seg", ".done", ".fix")  # loaded, and settled

        def loaded() -> bool:
            return not [path for path in journal.iterdir() if path.suffix in waiting]

        service.wait_for(loaded, "an empty journal")
        service.stop()  # where it had the engine, the loader's takes over
        if kind == "embedded":
            message = new_id()
            hit = Hit("open", now_ms(), "default", load.newsletter, message.hex(), 7)
            (journal / f"{uuid.UUID(bytes=message)}.seg").write_bytes(encode(hit))
            load.answered.append(message.hex())
            service.wait_for(loaded, "an empty journal")
        loader.terminate()
        assert loader.wait(PATIENCE_SECONDS) == 0
        assert_counted(service, load)


def test_metrics_are_for_key_holders_and_agree_with_what_happened(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        load = Load(service, "metrics", clicks=0)
        with load.running():
            service.wait_for(lambda: len(load.answered) > 10, "answers")
        service.client.get("/o/forged.gif")
        service.client.get("/c/forged/forged")
        service.drained()
        # A journal segment is gone a moment before its loading is counted.
        hits = f"mailwake_loaded_total {len(load.answered)}.0\n"
        service.wait_for(lambda: hits in service.client.get("/metrics").text, "counts")
        text = service.client.get("/metrics").text
        figures = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert figures["mailwake_hits_total", "open"] == len(load.answered)
        assert figures["mailwake_loaded_total",] == len(load.answered)
        assert figures["mailwake_dropped_total", "bad_message"] == 1
        assert figures["mailwake_dropped_total", "bad_link"] == 1
        for name in ("segments", "bytes", "events", "seconds", "trouble"):
            assert figures[f"mailwake_journal_{name}",] == 0
        assert figures["mailwake_load_seconds_count",] >= 1
        assert figures["mailwake_loop_delay_seconds_count",] >= 1
        answer = service.client.get("/metrics", headers={"authorization": "Bearer wrong"})
        assert answer.status_code == 401
        page = (ROOT / "docs" / "operations.md").read_text()
        documented = set(re.findall(r"`(mailwake_\w+?)(?:\{\w+\})?`", page.partition("Worth")[0]))
        shown = {name for name, *_ in figures if name.startswith("mailwake_")}
        shown = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in shown}
        # Only where mail comes by SMTP, and once a quota has refused something.
    assert shown == documented - {"mailwake_smtp_total", "mailwake_quota_refused_total"}


def test_logs_are_json_and_name_nobody(tmp_path: Path) -> None:
    env = {"MAILWAKE_LOG_FORMAT": "json", "MAILWAKE_LOG_LEVEL": "debug"}
    with Service(tmp_path / "data", **env) as service:
        service.rewrite("logs", MAIL, "canary@example.com")
        load = Load(service, "logs")
        with load.running(1):
            load.more(20)
        service.client.post("/v1/rewrite", content=b"{canary")
        service.client.get("/c/canary/canary")
        service.drained()
        segment = service.data_dir / "journal" / "01890000-0000-7000-8000-000000000009.seg"
        segment.write_bytes(b"canary, no record\n")
        service.wait_for(lambda: segment.with_suffix(".bad").exists(), "the segment's copy")
        service.stop()
        text = service.log.read_text()
        # What stands before the first object is the greeting, for people.
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        assert any("not valid records" in line["message"] for line in lines)
        assert all(set(line) >= {"at", "level", "logger", "message"} for line in lines)
        logged = "\n".join(line for line in text.splitlines() if line.startswith("{"))
        assert "canary" not in logged
        kept = json.loads((service.data_dir / "secrets.json").read_text())
        own = (*kept["secret_keys"], kept["recipient_key"], service.api_key, service.password)
        assert not any(secret in logged for secret in own)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if not mounted or mounted.returncode:
        pytest.skip("no right to mount a small file system")
    return disk


def test_a_full_disk_stops_no_redirect_and_is_told(small_disk: Path, tmp_path: Path) -> None:
    try:
        # A database that is not there, so that the journal keeps everything.
        dsn = f"clickhouse://127.0.0.1:{free_port()}/default"
        with Service(small_disk / "data", MAILWAKE_CLICKHOUSE_DSN=dsn) as service:
            filler = small_disk / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 100_000))
            load = Load(service, "full")
            with load.running():
                service.wait_for(
                    lambda: service.client.get("/healthz/full").json()["dropped"].get("disk_full"),
                    "a full disk",
                )
            assert not load.wrong and not load.cut
            kept = sum(
                without_footer(path.read_bytes())[0].count(b"\n")
                for path in (small_disk / "data/journal").iterdir()
            )
            answer = service.client.get("/healthz/full")
            assert answer.status_code == 503
            assert service.client.get("/readyz").status_code == 503
            assert "No space left" in " ".join(answer.json()["trouble"])
            dropped = answer.json()["dropped"]["disk_full"]
            assert kept + dropped == len(load.answered)
            metrics = service.client.get("/metrics").text
            assert f'mailwake_dropped_total{{reason="disk_full"}} {dropped}.0' in metrics
            filler.unlink()
            with Load(service, "full").running(1):  # what is kept again ends the trouble
                service.wait_for(
                    lambda: "mailwake_journal_trouble 0.0" in service.client.get("/metrics").text,
                    "room",
                )
    finally:
        subprocess.run(["umount", str(small_disk)], check=False)


SWEEP_SECONDS = 8  # docs/counting.md: six links within them are a scanner's


def visited(url: str) -> None:
    """By a connection of its own, so that both workers are met."""
    with httpx2.Client(trust_env=False, timeout=PATIENCE_SECONDS) as browser:
        browser.get(url, headers={"user-agent": agents.CHROME})


def test_with_a_server_verdicts_countries_and_exports_are_the_same(tmp_path: Path) -> None:
    places = tmp_path / "country.mmdb"
    writer = MMDBWriter(6, "GeoLite2-Country", ipv4_compatible=True)
    writer.insert_network(IPSet(["127.0.0.0/8"]), {"country": {"iso_code": "NL"}})
    writer.to_db_file(str(places))
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        env = {
            "MAILWAKE_CLICKHOUSE_DSN": database.dsn,
            "MAILWAKE_COUNTRY_FILE": str(places),
            "MAILWAKE_WORKERS": "2",
        }
        with Service(tmp_path / "data", **env) as service:
            html = "".join(f'<a href="https://example.com/{n}">Link {n}</a>' for n in range(6))
            attempts = 0
            while True:
                attempts += 1
                name, began = f"served-{attempts}", time.monotonic()
                clicks = tracked_urls(service.rewrite(name, html)["html"])
                for number, url in enumerate(url for url in clicks if "/c/" in url):
                    visited(url)
                    if number % 2:
                        time.sleep(0.1)
                if time.monotonic() - began < SWEEP_SECONDS:
                    break  # else a machine this busy made a person's pace of it: once more
                assert attempts < 20

            def settled() -> bool:
                asked = service.client.get(f"/v1/newsletters/{name}/stats")
                if asked.status_code != 200:
                    return False
                found = asked.json()["clicks"]
                return bool(found["machine"]["total"] == 6 and found["human"]["total"] == 0)

            service.wait_for(settled, "verdicts")

            def countries() -> object:
                return service.get(f"/v1/newsletters/{name}/agents")["agents"]["countries"]

            # ClickHouse fills the roll-ups of one insert one after the other.
            expected = [{"name": "NL", "all": 6, "human": 0, "machine": 6}]
            service.wait_for(lambda: countries() == expected, "countries")
            done = service.client.post("/v1/reclassify")
            assert json.loads(done.text.splitlines()[-1])["changed"] == 0
            assert service.login(service.client).is_redirect
            for wanted, lines in (("csv", 7), ("json", 6)):
                asked = service.client.get(
                    f"/newsletters/{name}/export?show=machine&format={wanted}"
                )
                assert asked.status_code == 200
                assert len(asked.text.splitlines()) == lines
