"""A service that starts without PostgreSQL: recipients notice nothing, and nothing is lost."""

import re
import signal
import stat
from pathlib import Path
from typing import Any

import httpx2

from app.auth.workspaces import Workspaces
from app.model.ids import newsletter_key
from app.server.recipients_only import FILE, LastKnown
from app.settings.load import load, with_secrets
from app.storage.state_db import open_state
from app.tracking.tokens import LinkToken, MessageToken, Tokens
from tests.support.hit_load import Load, assert_exact
from tests.support.patience import wait_for
from tests.support.postgres import PASSWORD, Postgres
from tests.support.programs import hits_by_message
from tests.support.service import Service, paths, tracked_urls

TARGET = "https://example.com/where"
HTML = f'<a href="{TARGET}">x</a>'


def known(folder: Path) -> LastKnown:
    return LastKnown.read(folder) or LastKnown((), ())


def shop_link(folder: Path, dsn: str) -> str:
    """Returns the path of a link of another workspace, which it creates."""
    state = open_state(folder, dsn=dsn)
    shop = Workspaces(state, with_secrets(load(data_dir=folder))).add("shop", "http://shop.example")
    state.dispose()
    tokens, newsletter = Tokens(shop.secret_keys, "shop"), newsletter_key("shop", "n")
    message = tokens.message(MessageToken(b"m" * 16, newsletter, 1))
    return f"/c/{message}/{tokens.link(LinkToken(newsletter, 0, TARGET))}"


def served(service: Service, mails: dict[str, dict[str, Any]], of_shop: str) -> None:
    """Open, click and unsubscribe as recipients do."""
    with httpx2.Client(base_url=service.url, trust_env=False) as reader:
        for mail in mails.values():
            pixel = next(path for path in paths(tracked_urls(mail["html"])) if "/o/" in path)
            assert reader.get(pixel).headers["content-type"] == "image/gif"
        link = next(path for path in paths(tracked_urls(mails["a"]["html"])) if "/c/" in path)
        assert reader.get(link).headers["location"] == TARGET
        assert reader.get(link[:-8] + "AAAAAAAA").status_code == 404
        at_shop = {"host": "shop.example"}
        assert reader.get(of_shop, headers=at_shop).headers["location"] == TARGET
        assert reader.get("/login", headers=at_shop).status_code == 404
        leave = paths([mails["c"]["headers"]["List-Unsubscribe"].strip("<>")])[0]
        page = reader.get(leave)
        style = re.search(r'href="(/static/[^"]+)"', page.text)
        assert style and reader.get(style[1]).status_code == 200
        assert reader.post(leave, data={"List-Unsubscribe": "One-Click"}).status_code == 200
        for health in ("/healthz", "/readyz"):
            assert reader.get(health).status_code == 200


def test_a_start_without_postgresql_serves_recipients(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with Postgres() as postgres:
        dsn = postgres.database()
        with Service(folder, MAILWAKE_STATE_DSN=dsn) as service:
            service.ready()
            mails = {name: service.rewrite("n", HTML, f"{name}@example.com") for name in "abc"}
            of_shop = shop_link(folder, dsn)
            wait_for(lambda: known(folder).workspaces, "the file")
            assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
            withdrawal = {"recipient": "b@example.com"}
            assert service.client.post("/v1/consent", json=withdrawal).status_code == 200
            service.stop()  # at once: it is written at the end, too
            assert known(folder).withdrawals
            postgres.stop()
            service.start()
            hits = Load(service, "n", pause=0.005)
            with hits.running(2):
                hits.more(20)
                served(service, mails, of_shop)
                for path in ("/", "/login", "/v1/newsletters", "/metrics", "/healthz/full"):
                    refused = service.client.get(path)
                    assert refused.status_code == 503 and "PostgreSQL" in refused.text, path
                assert service.client.post("/v1/rewrite", json={}).status_code == 503
            assert service.stop() == -signal.SIGTERM
            service.start()
            with hits.running(2):
                hits.more(20)
                postgres.start()
                service.ready()
            wait_for(
                lambda: service.rewrite("n", HTML, "c@example.com")["suppressed"], "suppressed"
            )
            service.drained()
            service.stop()
            counts = hits_by_message(service)
            assert "are served" in service.log.read_text()
            assert PASSWORD not in service.log.read_text()
    of_mails = {
        name: counts.pop(mail["message_id"].replace("-", ""), 0) for name, mail in mails.items()
    }
    assert of_mails == {"a": 2, "b": 0, "c": 2}
    assert counts.pop((b"m" * 16).hex()) == 1
    assert_exact(counts, hits)


def test_a_first_start_needs_postgresql(tmp_path: Path) -> None:
    """Nothing is known of withdrawals and workspaces."""
    dsn = "postgresql://mailwake:x@127.0.0.1:1/state"
    service = Service(tmp_path / "data", MAILWAKE_STATE_DSN=dsn)
    service.process = service._forked()
    assert service.process.wait(60) == 2
    assert "MAILWAKE_STATE_DSN: cannot use postgresql" in service.log.read_text()
