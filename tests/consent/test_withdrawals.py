"""Consent that is withdrawn: at hit time, in mail sent before and after, across processes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy.exc import SQLAlchemyError

from app.consent.withdrawals import ALL, Withdrawals
from app.model.ids import recipient_key
from app.settings.load import load, with_secrets
from app.storage.state_db import open_state
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0"
HTML = '<body><a href="https://example.com/?a=1&amp;b=2">One</a></body>'


def test_withdrawals_are_by_axis_newsletter_and_workspace(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    known, other = Withdrawals(engine), Withdrawals(engine)
    known.withdraw("default", 2**64 - 1, ["opens"])
    known.withdraw("default", 7, ["clicks"], 11)
    assert known.refuses("open", "default", 2**64 - 1, 3)
    assert not known.refuses("click", "default", 2**64 - 1, 3)
    assert not known.refuses("open", "acme", 2**64 - 1, 3)
    assert known.refuses("click", "default", 7, 11)
    assert not known.refuses("click", "default", 7, 12)
    assert not other.refuses("click", "default", 7, 11)
    other.refresh()
    assert other.refuses("click", "default", 7, 11)
    assert other.axes("default", 2**64 - 1, 5) == ("opens",)
    first = known.of("default", 7)
    known.withdraw("default", 7, ["clicks"], 11)
    assert known.of("default", 7) == first, "withdrawn once, at its time"
    known.restore("default", 7, ["clicks", "opens"], ALL)
    assert known.refuses("click", "default", 7, 11), "one newsletter's stands apart"
    known.restore("default", 7, ["clicks"], 11)
    assert not known.refuses("click", "default", 7, 11)
    other.refresh()
    assert not other.refuses("click", "default", 7, 11)
    assert Withdrawals(engine).refuses("open", "default", 2**64 - 1, 3), "over a restart"


def test_while_state_is_away_what_was_known_holds(tmp_path: Path) -> None:
    engine = open_state(tmp_path)
    known = Withdrawals(engine)
    known.withdraw("default", 7, ["opens"])
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE withdrawals RENAME TO gone")
    with pytest.raises(SQLAlchemyError):
        known.refresh()
    known._looked = -10.0
    assert known.axes("default", 7, 1) == ("opens",)
    assert known.refuses("open", "default", 7, 1)


def change(service: Service, method: str, **body: Any) -> Any:
    answer = service.client.request(method, "/v1/consent", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["withdrawn"]


def dropped(service: Service) -> int:
    return int(service.client.get("/healthz/full").json()["dropped"].get("withdrawn", 0))


def test_mail_of_before_counts_nothing_more_and_new_mail_is_left_alone(service: Service) -> None:
    before = service.rewrite("withdrawn", HTML, "wendy@example.com")
    click, pixel = sorted(paths(tracked_urls(before["html"])))
    seen = dropped(service)
    (entry,) = change(service, "POST", recipient="Wendy@Example.com ", axes=["opens"])
    assert (entry["axis"], entry["all_newsletters"]) == ("opens", True)
    assert service.client.get(pixel).headers["content-type"] == "image/gif"
    assert service.client.get(click).status_code == 302
    assert dropped(service) == seen + 1
    after = service.rewrite("withdrawn", HTML, "wendy@example.com")
    assert after["tracking"] == {"opens": "off", "clicks": "full"}
    assert after["withdrawn"] == ["opens"]
    assert len(tracked_urls(after["html"])) == 1
    change(service, "POST", recipient="wendy@example.com")
    assert service.rewrite("withdrawn", HTML, "wendy@example.com")["html"] == HTML
    service.client.get(click)
    service.drained()
    stats = service.stats("withdrawn")
    assert (stats["opens"]["all"]["total"], stats["clicks"]["all"]["total"]) == (0, 1)
    assert change(service, "DELETE", recipient="wendy@example.com") == []
    assert len(tracked_urls(service.rewrite("withdrawn", HTML, "wendy@example.com")["html"])) == 2


def test_a_template_leaves_out_what_its_recipient_has_withdrawn(service: Service) -> None:
    change(service, "POST", recipient="tom@example.com", axes=["clicks"])
    kept = service.client.post(
        "/v1/newsletters/consenting/template",
        json={"html": HTML, "tracking": {"opens": "aggregate", "clicks": "pseudonymous"}},
    )
    assert kept.status_code == 200, kept.text
    lines = b'{"recipient": "tom@example.com"}\n{"recipient": "una@example.com"}\n'
    where = "/v1/newsletters/consenting/messages"
    tom, una = map(json.loads, service.client.post(where, content=lines).text.splitlines())
    assert (tom["withdrawn"], una["withdrawn"]) == (["clicks"], [])
    assert 'href="https://example.com/?a=1&amp;b=2"' in tom["html"]
    (toms,), (unas, link) = tracked_urls(tom["html"]), sorted(tracked_urls(una["html"]))[::-1]
    assert toms == unas, "an aggregate pixel is everybody's"
    assert "/c/" in link
    answer = service.client.post(where, params={"return": "token"}, content=lines)
    assert (answer.status_code, answer.json()["field"]) == (422, "return")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"recipient": "a@example.com", "axes": []}, 422, "axes"),
        ({"recipient": "a@example.com", "axes": ["open"]}, 422, "axes[0]"),
        ({"recipient": ""}, 422, "recipient"),
        ({"recipient": "a@example.com", "axis": "opens"}, 422, "body"),
    ],
)
def test_what_is_wrong_is_named(
    service: Service, body: dict[str, Any], status: int, field: str
) -> None:
    answer = service.client.post("/v1/consent", json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_the_command_line_reaches_a_running_service(service: Service) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "app", "consent", *words],
            env=service.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    pixel = next(
        path
        for path in paths(tracked_urls(service.rewrite("cli", HTML, "cleo@x.example")["html"]))
        if path.startswith("/o/")
    )
    assert "opens in all newsletters" in run("withdraw", "cleo@x.example", "--axis", "opens")
    seen = dropped(service)
    service.wait_for(lambda: service.client.get(pixel) and dropped(service) != seen, "refusal")
    assert run("restore", "cleo@x.example") == run("show", "cleo@x.example")


def test_rates_are_of_what_is_tracked(service: Service) -> None:
    """Two of five said yes to opens and one of those opened: half, wherever it stands."""
    name, off = "who said yes", {"opens": "off"}
    for n in range(5):
        newsletter = {"id": name, "tags": ["consent"]}
        mail = service.rewrite(newsletter, HTML, f"{n}@yes.example", tracking={} if n < 2 else off)
        if not n:
            pixel = next(p for p in paths(tracked_urls(mail["html"])) if p.startswith("/o/"))
            service.client.get(pixel, headers={"user-agent": AGENT})
    service.drained()
    stats = service.stats(name)
    assert (stats["messages"], stats["opens_tracked"], stats["clicks_tracked"]) == (5, 2, 5)
    assert stats["opens"]["human"] == {"total": 1, "unique": 1}
    url = quote(name)
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as visitor:
        service.login(visitor)
        page = visitor.get(f"/newsletters/{url}").text
        assert "50.0% of 2 tracked messages" in page
        assert "0.0% of messages" in page  # clicks
        for there in (
            f"/newsletters?search={url}",
            "/tags?search=consent",
            f"/compare?newsletter={url}",
        ):
            assert '<td class="n rate">50.0%' in re.sub(
                r'role="cell" | data-label="[^"]*"', "", visitor.get(there).text
            ), there
        assert "50.0% of 2 tracked messages" in visitor.get(f"/newsletters/{url}/report").text


def test_the_pages_say_it_and_a_button_changes_it(service: Service) -> None:
    told = {"opens": "aggregate", "clicks": "off"}
    mail = service.rewrite("in aggregate", HTML, "dora@x.example", tracking=told)
    (pixel,) = paths(tracked_urls(mail["html"]))
    for _ in range(2):
        service.client.get(pixel, headers={"user-agent": "Thunderbird"})
    service.rewrite("in full", HTML, "dora@x.example")
    service.drained()
    stats = service.stats("in aggregate")
    assert stats["tracking"] == told
    assert (stats["opens"]["all"]["total"], stats["opens"]["all"]["unique"]) == (2, 0)
    secret = with_secrets(load(data_dir=service.data_dir)).recipient_key
    where = f"/recipients/{recipient_key(secret, 'default', 'dora@x.example')}"
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as visitor:
        service.login(visitor)
        page = visitor.get("/newsletters/in%20aggregate?show=all").text
        assert '<dd id="opens">\u2013</dd>' in page and ">2</span> opens in total" in page
        assert "counted in aggregate" in page and "Clicks are not tracked" in page
        page = visitor.get(where).text
        assert "Withdraw consent to opens" in page
        done = service.post(visitor, f"{where}/consent", page, axis="opens")
        assert (done.status_code, done.headers["location"]) == (303, where)
        page = visitor.get(where).text
        assert "Consent withdrawn" in page and "Restore consent to opens" in page
        assert service.rewrite("in full", HTML, "dora@x.example")["withdrawn"] == ["opens"]
        service.post(visitor, f"{where}/consent", page, axis="opens", restore="1")
        assert service.rewrite("in full", HTML, "dora@x.example")["withdrawn"] == []
        assert service.post(visitor, f"{where}/consent", page, axis="x").status_code == 404
