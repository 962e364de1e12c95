"""Several hosts with one state in PostgreSQL and one ClickHouse server."""

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.auth import api_keys
from app.consent import withdrawals
from app.outcomes import return_path
from app.server import workspaces
from app.web.dashboard.forms import SESSION
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.empty_database import copy_empty_database
from tests.support.paths import ROOT
from tests.support.patience import wait_for
from tests.support.postgres import PASSWORD, Postgres
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.webhook_receiver import Receiver, receiver

SHARED = {
    "MAILWAKE_SECRET_KEYS": "of all hosts: uT3rPq8Lz1Vw5Xn2",
    "MAILWAKE_RECIPIENT_KEY": "of all hosts: Yb7Kc4Jd9Mf6Hs0G",
    **WITH_HTTP,
}
# Takes over in seconds.
QUICK = f"""{LOCAL_RECEIVERS}
from app.storage import leases
leases.LEASE_SECONDS, leases.RENEW_SECONDS, leases.MARGIN_SECONDS = 4.0, 0.5, 1.0
"""


class Hosts:
    """Two services of one state, and their databases."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.state = stack.enter_context(Postgres())
        self.database = stack.enter_context(ClickHouseServer(folder / "clickhouse"))
        own = {
            "MAILWAKE_STATE_DSN": self.state.database(empty=True),
            "MAILWAKE_CLICKHOUSE_DSN": self.database.dsn,
        }
        self.a, self.b = (Service(folder / name, QUICK, **SHARED, **own) for name in "ab")
        self.b.api_key, self.b.password = self.a.api_key, self.a.password
        for name in ("API_KEYS", "DASHBOARD_PASSWORD"):
            self.b.env[f"MAILWAKE_{name}"] = self.a.env[f"MAILWAKE_{name}"]
        for service in (self.a, self.b):
            stack.enter_context(service)
            service.ready()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(tmp_path_factory.mktemp("hosts"), stack)


def browser(service: Service) -> httpx2.Client:
    return httpx2.Client(base_url=service.url, trust_env=False)


def test_what_a_host_remembers_of_the_state_is_a_second_old_at_most() -> None:
    """How long others take to honour an answer: as this, on a machine that is not busy."""
    remembered = (api_keys, withdrawals, workspaces, return_path)
    assert {module.POLL_SECONDS for module in remembered} == {1.0}


def test_who_unsubscribes_at_one_host_is_suppressed_at_the_other(hosts: Hosts) -> None:
    body = '<a href="https://example.com/">x</a>'
    sent = hosts.a.rewrite("shared", body, "leaver@example.com")
    assert not hosts.b.rewrite("shared", body, "leaver@example.com")["suppressed"]
    url = sent["headers"]["List-Unsubscribe"].strip("<>")
    answer = hosts.a.client.post(paths([url])[0], data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    wait_for(
        lambda: hosts.b.rewrite("shared", body, "leaver@example.com")["suppressed"],
        "the other host",
    )
    assert not hosts.b.rewrite("shared", body, "stayer@example.com")["suppressed"]


def test_a_key_that_is_revoked_at_one_host_ends_at_the_other(hosts: Hosts) -> None:
    with browser(hosts.a) as admin, browser(hosts.b) as mailer:
        hosts.a.login(admin)
        page = admin.get("/access").text
        made = hosts.a.post(admin, "/access/keys", page, name="shared", scopes="rewrite").text
        secret = re.search(r"mw_[\w-]{32}", made)
        key = re.search(r'name="key" value="(key_\w+)"', admin.get("/access").text)
        assert secret, made
        assert key, made
        mailer.headers["authorization"] = f"Bearer {secret[0]}"
        message = {"newsletter": {"id": "keys"}, "recipient": "a@example.com", "html": "<p>x"}
        assert mailer.post("/v1/rewrite", json=message).status_code == 200
        hosts.a.post(admin, "/access/keys/revoke", page, key=key[1])
        wait_for(
            lambda: mailer.post("/v1/rewrite", json=message).status_code == 401, "the other host"
        )


def test_a_user_logs_in_at_one_host_and_is_logged_out_at_both(hosts: Hosts) -> None:
    with browser(hosts.a) as at_a, browser(hosts.b) as at_b:
        hosts.a.login(at_a)
        page = at_a.get("/").text
        at_b.cookies = at_a.cookies
        assert at_b.get("/").status_code == 200
        cookies = dict(at_b.cookies)
        hosts.a.post(at_a, "/logout", page)
        with browser(hosts.b) as same_user:
            same_user.cookies.update(cookies)
            assert same_user.get("/").status_code != 200  # at once


def click(service: Service, newsletter: str) -> None:
    html = service.rewrite(newsletter, '<a href="https://example.com/">x</a>')["html"]
    link = next(path for path in paths(tracked_urls(html)) if path.startswith("/c/"))
    assert service.client.get(link).status_code == 302


def test_events_of_both_hosts_reach_a_webhook_also_when_one_dies(hosts: Hosts) -> None:
    with receiver() as received:
        webhook = {"url": received.url, "when": "immediate", "types": ["message.clicked"]}
        added = hosts.b.client.post("/v1/webhooks", json=webhook)
        assert added.status_code == 200, added.text
        expected = 0
        for killed, left in ((None, hosts.a), (hosts.a, hosts.b), (hosts.b, hosts.a)):
            for service in (hosts.a, hosts.b):
                click(service, "hooked")
                service.drained()
            expected += 2
            wait_for(lambda: len(set(ids(received))) >= expected, "events of both hosts")  # noqa: B023
            if not killed:
                assert len(ids(received)) == expected
            else:
                killed.kill()
                click(left, "hooked")
                expected += 1
                wait_for(lambda: len(set(ids(received))) >= expected, "events from the one left")  # noqa: B023
                killed.start()
        # A host that dies between an answer and its note of it leaves that delivery to be repeated.
        assert len(set(ids(received))) == expected and len(ids(received)) <= expected + 2
    hosts.a.client.delete(f"/v1/webhooks/{added.json()['id']}")


def ids(received: Receiver) -> list[str]:
    return [event["data"]["id"] for event in received.events()]


def rewrites(service: Service, message: dict[str, Any]) -> bool:
    return service.client.post("/v1/rewrite", json=message).status_code == 200


def counted(service: Service) -> tuple[int, int]:
    stats = service.stats("down")
    return stats["opens"]["all"]["total"], stats["clicks"]["all"]["total"]


def test_redirects_and_pixels_work_while_postgresql_is_down(hosts: Hosts) -> None:
    body = '<a href="https://example.com/where">x</a>'
    urls = paths(tracked_urls(hosts.a.rewrite("down", body)["html"]))
    click = next(path for path in urls if path.startswith("/c/"))
    pixel = next(path for path in urls if path.startswith("/o/"))
    hosts.state.stop()
    try:
        for service in (hosts.a, hosts.b):
            with httpx2.Client(base_url=service.url, trust_env=False) as reader:
                for _ in range(20):
                    answer = reader.get(click)
                    assert answer.status_code == 302
                    assert answer.headers["location"] == "https://example.com/where"
                    assert reader.get(pixel).headers["content-type"] == "image/gif"
            message = {"newsletter": {"id": "down"}, "recipient": "a@example.com", "html": body}
            refused = service.client.post("/v1/rewrite", json=message)
            assert refused.status_code == 503
            assert "state" in refused.json()["title"]
            page = service.client.get("/login", headers={"accept": "text/html"})
            assert page.status_code in (200, 503)
    finally:
        hosts.state.start()
    for service in (hosts.a, hosts.b):
        wait_for(partial(rewrites, service, message), "rewriting after the restart")
        service.drained()
    wait_for(lambda: counted(hosts.a) == (40, 40), "the hits of the outage")
    for service in (hosts.a, hosts.b):
        assert PASSWORD not in service.log.read_text()


def test_commands_say_what_is_in_postgresql(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = postgres.database(empty=True)
    folder = tmp_path / "data"
    copy_empty_database(folder)
    monkeypatch.setenv("MAILWAKE_DATA_DIR", str(folder))
    monkeypatch.setenv("COLUMNS", "300")

    def output(*arguments: str, code: int | None = 0) -> str:
        command = [sys.executable, "-m", "app", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert code in (None, done.returncode), done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    output("keys", "add", "copied")
    assert "STATE_DSN: is required" in output("migrate", "--copy-state", "sqlite", code=2)
    monkeypatch.setenv("MAILWAKE_STATE_DSN", dsn)
    assert "api_keys: 1 rows" in output("migrate", "--copy-state", "sqlite")
    assert "copied" in output("keys", "list")
    assert "not empty" in output("migrate", "--copy-state", "sqlite", code=2)
    assert "PostgreSQL answers" in output("doctor", code=None)
    archive = tmp_path / "backup.tar"
    assert "pg_dump" in output("backup", str(archive))
    with tarfile.open(archive) as packed:
        assert not [name for name in packed.getnames() if "state.db" in name]
    wrong = dsn.replace(PASSWORD, "of-somebody-else-7")
    monkeypatch.setenv("MAILWAKE_STATE_DSN", wrong)
    assert "MAILWAKE_STATE_DSN" in output("keys", "list", code=2)
    found = output("doctor", code=None)
    assert "password authentication failed" in found
    assert "of-somebody-else-7" not in found
    for bad in ("mysql://a/b", "postgresql://host", "postgresql://host:port/db"):
        monkeypatch.setenv("MAILWAKE_STATE_DSN", bad)
        assert "MAILWAKE_STATE_DSN" in output("serve", code=2)
    monkeypatch.setenv("MAILWAKE_STATE_DSN", dsn)
    monkeypatch.setenv("MAILWAKE_SMARTHOST", "smtp://127.0.0.1:1")
    assert "run `mailwake smtp` instead" in output("serve", "--smtp", code=2)


def test_a_postgresql_that_hangs_keeps_no_recipient_waiting(
    tmp_path: Path, postgres: Postgres
) -> None:
    """Strangers' keys, mailers and readers of pages wait for it; hits wait for the disk alone."""
    env = {"MAILWAKE_STATE_DSN": postgres.database(), "MAILWAKE_JOURNAL_SYNC_MS": "0"}
    with Service(tmp_path / "data", **env) as service:
        service.ready()
        body = {"newsletter": {"id": "hung"}, "recipient": "a@example.com", "html": "<p>x"}
        urls = paths(tracked_urls(service.client.post("/v1/rewrite", json=body).json()["html"]))

        def ask(method: str, path: str, **more: Any) -> int:
            with httpx2.Client(base_url=service.url, trust_env=False, timeout=None) as client:
                return client.request(method, path, **more).status_code

        def bearer(key: str) -> dict[str, Any]:
            return {"headers": {"authorization": f"Bearer {key}"}}

        with ThreadPoolExecutor(30) as threads:
            postgres.pause()
            try:
                waiting = [
                    threads.submit(ask, *asked, **more)
                    for _ in range(10)  # more than the pool of threads that they share has
                    for asked, more in (
                        (("GET", "/v1/newsletters"), bearer("mw_of_nobody")),
                        (("POST", "/v1/rewrite"), {**bearer(service.api_key), "json": body}),
                        (("GET", "/newsletters"), {"headers": {"cookie": f"{SESSION}=x"}}),
                    )
                ]
                with httpx2.Client(base_url=service.url, trust_env=False) as reader:
                    for _ in range(50):
                        assert reader.get(urls[0]).status_code == 200
                assert not all(one.done() for one in waiting)  # they really waited meanwhile
            finally:
                postgres.resume()
            assert {one.result() for one in waiting} <= {200, 303, 401, 503}
