"""Scanners and people over HTTP: from the rewritten mail to verdict and explanation."""

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx2
import pytest

from app.demo import agents
from app.model.records import now_ms
from tests.support.journal_hits import click_at
from tests.support.service import Service
from tests.support.torture import LONG, longer


@pytest.fixture(scope="module", params=["http", "https"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    public = {"MAILWAKE_PUBLIC_URL": "https://mail.example.com"} if request.param == "https" else {}
    with Service(tmp_path_factory.mktemp("scanners") / "data", **public) as running:
        running.ready()
        yield running


def mail(service: Service, newsletter: str, links: int) -> tuple[str, list[str]]:
    """Returns the message's id and its tracked links."""
    html = "".join(f'<a href="https://example.com/{n}">{n}</a> ' for n in range(links))
    out = service.rewrite(newsletter, html, tracking={"opens": False})
    urls = re.findall(r'href="(https?://[^"]+/c/[^"]+)"', out["html"])
    assert len(urls) == links
    return out["message_id"], urls


def follow(
    service: Service, urls: list[str], pace: int, after: int = 5_000, fetch_mode: str = ""
) -> None:
    """Follow links `after` milliseconds from now, each in a journal segment of its own."""
    at = now_ms() + after
    for number, url in enumerate(urls):
        click_at(service, [url], at + number * pace, agents.CHROME, fetch_mode)


def settled(service: Service, message: str, verdicts: list[str]) -> list[dict[str, Any]]:
    """Wait until the message's events have these verdicts, in order of time; returns the events."""
    service.drained()  # the message itself must be known
    events: list[dict[str, Any]] = []

    def right() -> bool:
        events[:] = service.get(f"/v1/messages/{message}")["events"]
        return [event["verdict"] for event in events] == verdicts

    service.wait_for(right, f"verdicts {verdicts}")
    return events


@longer
@pytest.mark.parametrize(
    ("pace", "links"),
    list(product((50, 400, 2_000), (2, 6))) if LONG else [(50, 6), (400, 2), (2_000, 6)],
)
def test_a_sweep_of_every_link_is_a_scanner(service: Service, links: int, pace: int) -> None:
    message, urls = mail(service, f"sweep {links} {pace}", links)
    follow(service, urls, pace)
    events = settled(service, message, ["scanner"] * links)
    for event in events:
        assert event["reasons"][0] == "every_link"
        assert event["explanation"].startswith("Every link of this message was followed within ")
        assert event["explanation"].endswith("after sending: a mail scanner.")
    if (links, pace) == (6, 2_000):
        assert " within 10 s, " in events[0]["explanation"]


def test_people_stay_people(service: Service) -> None:
    both, urls = mail(service, "both links", 2)
    follow(service, urls, 9_000, fetch_mode="navigate")
    tabs, many = mail(service, "tabs", 30)
    follow(service, many[3:28:5], 150, fetch_mode="navigate")
    swept, marker = mail(service, "marker", 3)
    follow(service, marker, 50)
    settled(service, swept, ["scanner"] * 3)  # loaded last, so the others are settled too
    for message, clicks in ((both, 2), (tabs, 5)):
        for event in settled(service, message, ["human"] * clicks):
            assert "That alone does not make it a machine." in event["explanation"]


def test_the_page_explains_a_verdict(service: Service) -> None:
    message, urls = mail(service, "explained", 4)
    follow(service, urls, 1_000)
    settled(service, message, ["scanner"] * 4)
    with httpx2.Client(base_url=service.url, trust_env=False, follow_redirects=True) as visitor:
        service.login(visitor)
        page = visitor.get(f"/messages/{message}").text
    if "h-timeline" in page:  # cookies of a service with TLS are for TLS only
        assert "Every link of this message was followed within 3 s, " in page
    else:
        assert service.env.get("MAILWAKE_PUBLIC_URL", "").startswith("https://")
