"""Outcomes, opens and clicks by the mail provider of the recipient, whatever the domain's case."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from app.demo import agents
from app.model.records import Hit, Message, encode, now_ms
from app.schemas.stats import MailProviderStats
from app.stats.filters import FilterError
from app.stats.mail_providers import (
    DOMAINS,
    MAX_PROVIDERS,
    NAMES,
    NOT_STORED,
    PROVIDERS,
    provider_of,
)
from app.stats.queries import Queries
from app.storage.clickhouse import Storage
from tests.support.reported import WORKSPACE, Mailing, outcome, sent
from tests.support.service import Service, paths, tracked_urls


def test_every_domain_is_listed_once_and_as_the_dns_compares_it() -> None:
    assert [domain for domain, count in Counter(DOMAINS).items() if count > 1] == []
    assert sum(map(len, PROVIDERS.values())) == len(DOMAINS) == len(NAMES)
    assert all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", domain) for domain in DOMAINS)


@pytest.mark.parametrize(
    ("domain", "provider"),
    [
        ("gmail.com", "Gmail"),
        ("GoogleMail.com", "Gmail"),
        ("hotmail.co.uk", "Outlook"),
        ("yahoo.co.jp", "Yahoo Japan"),
        ("Shop.example", "shop.example"),
        ("x.gmail.com", "x.gmail.com"),
    ],
)
def test_a_domain_has_a_provider(domain: str, provider: str) -> None:
    assert provider_of(domain) == provider


def to(mailing: Mailing, address: str, **more: Any) -> Message:
    return replace(sent(mailing, 1 + len(address), **more), address=address)


def hit(mailing: Mailing, message: Message, kind: str) -> bytes:
    return encode(
        Hit(
            kind=kind,  # type: ignore[arg-type]
            at=now_ms(),
            workspace=WORKSPACE,
            newsletter=mailing.key,
            message=message.message,
            recipient=message.recipient,
            url="https://example.com/" if kind == "click" else "",
            position=0 if kind == "click" else -1,
            user_agent=agents.CHROME,
            fetch_mode="navigate",
        )
    )


def test_messages_are_counted_by_provider(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage)
    ann, bob = to(mailing, "ann@gmail.com"), to(mailing, " Bob@GOOGLEMAIL.com ", variant=3)
    cid, dot = to(mailing, "cid@yahoo.com"), to(mailing, "dot@a.example", flags=0b1111)
    nobody, number = to(mailing, ""), to(mailing, "customer 17")
    mailing.load(*map(encode, (ann, bob, cid, dot, nobody, number)))
    mailing.load(
        outcome("delivered", ann),
        outcome("complained", bob),
        outcome("bounced", cid, permanent=True),
        outcome("rejected", dot),
        outcome("delivered", nobody),
        hit(mailing, ann, "open"),
        hit(mailing, ann, "click"),
        hit(mailing, bob, "open"),
    )
    rows = mailing.queries.mail_providers(mailing.id).providers
    assert rows == [  # outcomes are known of five of six messages
        # Equally many are sorted by name: what is not stored comes first.
        MailProviderStats(NOT_STORED, 2, 1, 0, 0, 0, 0, 0, 0.0, 0.0),
        MailProviderStats("Gmail", 2, 2, 0, 0, 1, 2, 1, 1.0, 0.5),
        MailProviderStats("Yahoo", 1, 0, 1, 0, 0, 0, 0, 0.0, 0.0),
        MailProviderStats("a.example", 1, 0, 0, 1, 0, 0, 0, None, None),
    ]
    (alone,) = mailing.queries.mail_providers(mailing.id, {"variant": "3"}).providers
    assert (alone.provider, alone.messages, alone.complained) == ("Gmail", 1, 1)
    delivered = mailing.queries.mail_providers(mailing.id, of="delivered")
    assert delivered.rates_of == "delivered"
    assert {row.provider: (row.open_rate, row.click_rate) for row in delivered.providers} == {
        NOT_STORED: (0.0, 0.0),
        "Gmail": (1.0, 0.5),
        "Yahoo": (None, None),
        "a.example": (None, None),
    }
    mailing.load(outcome("delivered", number))
    later = Queries(storage, WORKSPACE)  # which remembers nothing
    known = later.mail_providers(mailing.id)
    assert known.rates_of == later.stats(mailing.id).rates_of == "delivered"
    assert known.providers[1].open_rate == 1.0
    bots = mailing.queries.mail_providers(mailing.id, show="machine").providers
    assert [row.opened for row in bots] == [0, 0, 0, 0]
    with pytest.raises(FilterError):
        mailing.queries.mail_providers(mailing.id, {"variant": "none"})


def test_small_providers_are_one_row(tmp_path: Path, storage: Storage) -> None:
    mailing = Mailing(tmp_path, storage)
    messages = [
        to(mailing, f"{n}@d{domain:02}.example")
        for domain in range(MAX_PROVIDERS + 5)
        for n in range(1 + (domain < MAX_PROVIDERS))
    ]
    mailing.load(*map(encode, messages))
    rows = mailing.queries.mail_providers(mailing.id).providers
    assert len(rows) == MAX_PROVIDERS + 1
    assert rows[0].provider == "d00.example" and rows[0].messages == 2
    assert (rows[-1].provider, rows[-1].messages) == ("other", 5)
    assert sum(row.messages for row in rows) == len(messages)


def test_the_api_and_the_page_show_them(service: Service) -> None:
    for name in ("ann@gmail.com", "bob@gmail.com", "cid@web.de", "eve@x.example"):
        mail = service.rewrite("by provider", '<a href="https://example.com/">A</a>', name)
        report = {
            "id": f"by provider {name}",
            "type": "delivered",
            "message_id": mail["message_id"],
            "occurred_at": "2026-11-28T08:00:00Z",
        }
        assert service.client.post("/v1/outcomes", json=report).status_code == 200
        if name == "ann@gmail.com":
            for path in paths(tracked_urls(mail["html"])):
                headers = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
                service.client.get(path, headers=headers)
    service.settled()
    answer = service.get("/v1/newsletters/by provider/mail-providers")
    assert [(row["provider"], row["messages"]) for row in answer["providers"]] == [
        ("Gmail", 2),
        ("WEB.DE", 1),
        ("x.example", 1),
    ]
    assert answer["providers"][0]["open_rate"] == answer["providers"][0]["click_rate"] == 0.5
    unknown = service.client.get("/v1/newsletters/none such/mail-providers")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "newsletter_id")
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as visitor:
        service.login(visitor)
        page = visitor.get("/newsletters/by provider").text
        assert "/newsletters/by%20provider/mail-providers" in page
        page = visitor.get("/newsletters/by provider/mail-providers").text
        row = page.partition('<th scope="row">Gmail</th>')[2].partition("</tr>")[0]
        cells = re.findall(r"<td[^>]*>([^<]+)</td>", row)
        assert cells == ["2", "100.0%", "0.0%", "0.0%", "50.0%", "50.0%"]
        assert visitor.get("/newsletters/none such/mail-providers").status_code == 404
