"""While the tables are created or migrated, answers say that the service is starting."""

from pathlib import Path

import httpx2

from tests.support.service import FirstStart, Service, paths, tracked_urls

SLOW = """
import time
from app.ingest import loader
prepare = loader.prepare
def slowly(storage):
    while not (storage.settings.data_dir / "go").exists():
        time.sleep(0.05)
    prepare(storage)
loader.prepare = slowly
"""


def test_a_start_is_no_failure(tmp_path: Path) -> None:
    with FirstStart(tmp_path / "data", SLOW) as service:
        answer = service.client.get("/v1/newsletters")
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert answer.json()["title"] == "The service is starting"
        html = service.rewrite("early", '<a href="https://example.com/">x</a>')["html"]
        assert service.client.get(paths(tracked_urls(html))[0]).status_code == 302
        with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as visitor:
            service.login(visitor)
            page = visitor.get("/")
            assert page.status_code == 503 and "Mailwake is starting" in page.text
        (service.data_dir / "go").touch()
        service.ready()
        service.drained()
        assert service.client.get("/v1/newsletters").status_code == 200


def test_a_database_that_does_not_respond_is_not_starting(tmp_path: Path) -> None:
    env = {"MAILWAKE_CLICKHOUSE_DSN": "clickhouse://127.0.0.1:1/x"}
    with Service(tmp_path / "data", **env) as service:
        service.wait_for(
            lambda: (
                service.client.get("/v1/newsletters").json()["title"] == "ClickHouse is unavailable"
            ),
            "the reason",
        )
