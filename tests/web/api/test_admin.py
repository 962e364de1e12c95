"""`mailwake reclassify`, through a running service and without one, and the API behind it."""

import fcntl
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from app.demo import agents
from app.local_socket import LOCAL_SOCKET
from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, encode, now_ms
from app.storage.engine import SOCKET
from tests.support.journal_hits import click_at
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, tracked_urls

OLD = 1_700_000_000_000
KEPT = {"MAILWAKE_KEEP_VISITORS_DAYS": "0"}  # verdicts of forgotten agents would stay


def reclassify(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAILWAKE_")}
    return subprocess.run(
        [sys.executable, "-m", "app", "reclassify", "--data-dir", str(data_dir), *words],
        env={**env, **KEPT, "COLUMNS": "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def test_the_running_service_does_the_work(service: Service) -> None:
    service.drained()
    done = reclassify(
        service.data_dir, "--port", str(service.port), "--from", "2001-01-01", "--to", "2002-01-01"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0 hits checked, 0 verdicts changed"
    assert "Reclassifying" in done.stderr  # the progress bar


def test_another_folders_service_is_not_asked(service: Service, tmp_path: Path) -> None:
    """A command works on its own folder, whatever listens on the port."""
    done = reclassify(tmp_path / "other", "--port", str(service.port))
    assert done.returncode == 0 and done.stdout.startswith("0 hits checked")


def test_the_service_is_found_whatever_its_port(service: Service) -> None:
    assert reclassify(service.data_dir, "--port", "1").returncode == 0


def test_a_locked_database_is_explained(service: Service) -> None:
    """Where the service's socket is gone, its engine is asked; where that is gone, too, nothing."""
    paths = [service.data_dir / name for name in (LOCAL_SOCKET, SOCKET)]
    hidden = []
    try:
        for path in paths:
            done = reclassify(service.data_dir)
            assert done.returncode == 0, done.stderr
            hidden.append(path.rename(f"{path}.hidden"))
        done = reclassify(service.data_dir)
    finally:
        for path, other in zip(paths, hidden, strict=True):
            other.rename(path)
    assert done.returncode == 2
    assert "is open in another process" in done.stderr and LOCAL_SOCKET in done.stderr


def test_without_a_service_the_command_does_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = newsletter_key("default", "old")
    with Service(folder, **KEPT) as service:
        message = new_id(OLD).hex()
        lines = [
            Hit(
                "click",
                OLD + n * 100,
                "default",
                key,
                message,
                7,
                n,
                user_agent=agents.CHROME,
                address="192.0.2.1",
            )
            for n in range(2)
        ]
        for hit in lines:
            (folder / "journal" / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(encode(hit))
        service.drained()
    # A third click, which nobody settles.
    (folder / "journal" / f"{uuid.UUID(bytes=new_id())}.seg").write_bytes(
        encode(Hit("click", OLD + 300, "default", key, message, 7, 9, user_agent=agents.CHROME))
    )
    with (folder / "journal" / "corrections.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Service(folder, **KEPT) as service:
            service.drained()
            service.kill()
    first = reclassify(folder, "--port", "1")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == "3 hits checked, 3 verdicts changed"
    again = reclassify(folder, "--port", "1", "--from", "2020-01-01")
    assert again.stdout.strip() == "3 hits checked, 0 verdicts changed"


def test_a_wrong_stretch_is_refused(service: Service) -> None:
    done = reclassify(service.data_dir, "--from", "2026-02-02", "--to", "2026-01-01")
    assert done.returncode == 2 and "--from" in done.stderr


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"from": "2026-02-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}', 422, "from"),
        (b'{"from": "yesterday"}', 422, "from"),
        (b'{"from": "2026-02-02T00:00:00"}', 422, "from"),
        (b'{"until": null}', 422, "body"),
        (b"{", 400, ""),
        (b" " * 5000, 413, ""),
    ],
)
def test_bad_requests_name_the_field(
    service: Service, body: bytes, status: int, field: str
) -> None:
    answer = service.client.post("/v1/reclassify", content=body)
    assert (answer.status_code, answer.json().get("field", "")) == (status, field), answer.text


def test_progress_comes_as_lines(service: Service) -> None:
    service.drained()
    answer = service.client.post("/v1/reclassify", content=b"")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0]["done"] == 0
    assert lines[-1]["done"] == lines[-1]["total"]


def test_no_key_no_work(service: Service) -> None:
    answer = service.client.post("/v1/reclassify", headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_the_page_on_counting_is_served(service: Service) -> None:
    page = service.client.get("/docs/counting")
    assert '.md"' not in page.text
    assert page.status_code == 200
    assert (
        "<h1>How Mailwake counts</h1>" in page.text and "<td><code>burst</code></td>" in page.text
    )


def test_a_scanners_burst_is_told_from_a_person(service: Service) -> None:
    html = "".join(f'<a href="https://example.com/{n}">Link {n}</a> ' for n in range(5))
    scanned, read = (service.rewrite("burst", html) for _ in range(2))
    chrome = {"user-agent": agents.CHROME}
    urls = [url for url in dict.fromkeys(tracked_urls(scanned["html"])) if "/c/" in url]
    now = now_ms()
    click_at(service, urls[:2], now, agents.CHROME)  # two segments
    click_at(service, urls[2:], now + 200, agents.CHROME)
    person = next(url for url in tracked_urls(read["html"]) if "/c/" in url)
    service.client.get(person, headers=chrome)

    def told_apart() -> bool:
        clicks = service.stats("burst")["clicks"]
        return bool(
            clicks["human"] == {"total": 1, "unique": 1}
            and clicks["machine"] == {"total": 5, "unique": 1}
            and clicks["all"] == {"total": 6, "unique": 2}
        )

    service.drained()
    service.wait_for(told_apart, "verdicts")
    links = service.get("/v1/newsletters/burst/links")["links"]
    assert sum(link["human"]["total"] for link in links) == 1
    assert sum(link["machine"]["total"] for link in links) == 5
    found = service.get("/v1/newsletters/burst/agents")["agents"]
    assert found["clients"] == [{"name": "Chrome", "all": 6, "human": 1, "machine": 5}]
    points = service.get("/v1/newsletters/burst/timeline")["points"]
    assert sum(point["clicks"]["machine"] for point in points) == 5
