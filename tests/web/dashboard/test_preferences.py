"""Time zones and languages of readers, on pages of a real service."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx2
import pytest

from app.web.dashboard.preferences import CHOSEN_ZONE, ZONE
from tests.support.patience import PATIENCE_SECONDS
from tests.support.reader import PERSON
from tests.support.service import Service, paths, tracked_urls

FARTHEST = "Pacific/Kiritimati"  # 14 hours ahead of UTC


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        service.login(client)
        yield client


def zone_shown(page: str) -> str:
    return str(re.findall(r"Times are in ([^.]+)\.", page)[0])


def test_pages_are_in_utc_until_a_zone_is_known(visitor: httpx2.Client) -> None:
    assert zone_shown(visitor.get("/").text) == "UTC"
    for unknown in ("Mars/Base", "x" * 900, "..%2Fetc"):
        visitor.cookies.set(ZONE, unknown, domain="127.0.0.1")
        assert zone_shown(visitor.get("/").text) == "UTC"
    visitor.cookies.set(ZONE, "Europe/Berlin", domain="127.0.0.1")
    assert zone_shown(visitor.get("/").text) == "Europe/Berlin"


def test_a_chosen_zone_wins_until_it_is_dropped(service: Service, visitor: httpx2.Client) -> None:
    visitor.cookies.set(ZONE, "Europe/Berlin", domain="127.0.0.1")
    form = visitor.get("/settings").text
    answer = service.post(visitor, "/settings", form, zone="Asia/Tokyo")
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings")
    assert CHOSEN_ZONE in answer.headers["set-cookie"]
    page = visitor.get("/settings").text
    assert zone_shown(page) == "Asia/Tokyo" and 'value="Asia/Tokyo"' in page
    wrong = service.post(visitor, "/settings", form, zone="Mars/Base")
    assert wrong.status_code == 422 and "zone: must be a time zone" in wrong.text
    service.post(visitor, "/settings", form, zone="")
    assert zone_shown(visitor.get("/settings").text) == "Europe/Berlin"


def test_times_and_days_are_those_of_the_reader(service: Service, visitor: httpx2.Client) -> None:
    answer = service.rewrite({"id": "zoned", "name": "Zoned"}, "<p>x</p>", "zoned@example.com")
    service.drained()
    message = answer["message_id"]
    sent = datetime.fromtimestamp(int(message.replace("-", "")[:12], 16) / 1000, UTC)
    for name in ("UTC", FARTHEST, "America/New_York"):
        visitor.cookies.set(ZONE, name, domain="127.0.0.1")
        local = sent.astimezone(ZoneInfo(name))
        shown = f"{local.day} {local:%b %Y, %H:%M:%S}"
        assert f"Sent {shown} to zoned@example.com." in visitor.get(f"/messages/{message}").text
        day = str(local.date())
        page = visitor.get("/newsletters/zoned", params={"from": day, "to": day}).text
        assert 'id="messages">1<' in page, name
    elsewhere = {"from": str(sent.date()), "to": str(sent.date())}
    visitor.cookies.set(ZONE, FARTHEST, domain="127.0.0.1")
    page = visitor.get("/newsletters/zoned", params=elsewhere).text
    same_day = sent.astimezone(ZoneInfo(FARTHEST)).date() == sent.date()
    assert f'id="messages">{int(same_day)}<' in page


@pytest.mark.parametrize(
    ("accepted", "shown"), [("de,en;q=0.5", "50,0%"), ("en-US", "50.0%"), ("*", "50.0%")]
)
def test_numbers_follow_the_language(
    service: Service, visitor: httpx2.Client, accepted: str, shown: str
) -> None:
    newsletter = f"language-{accepted[:2]}".replace("*", "any")
    link = '<a href="https://example.com/">x</a>'
    for number in range(2):
        answer = service.rewrite(newsletter, link, f"{number}@example.com")
    service.client.get(paths(tracked_urls(answer["html"]))[0], headers=PERSON)
    service.settled()
    page = visitor.get(f"/newsletters/{newsletter}", headers={"accept-language": accepted}).text
    assert shown in page.partition('id="figures"')[2]
