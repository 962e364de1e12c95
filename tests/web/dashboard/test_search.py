"""What finds things: the search of everything, messages, and who clicked."""

import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from app.stats import message_list
from tests.support.patience import PATIENCE_SECONDS
from tests.support.reader import PERSON
from tests.support.service import Service, paths, tracked_urls

MAIL = (
    '<a href="https://shop.example/pricing" data-track-name="Pricing page">Prices</a>'
    ' <a href="https://shop.example/story">A story</a>'
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own: lists of what is wanted most have the clicks of these tests only."""
    with Service(tmp_path_factory.mktemp("search") / "data") as running:
        running.ready()
        yield running


@pytest.fixture(scope="module")
def sent(service: Service) -> dict[str, dict[str, Any]]:
    """Ann and Bob click on prices in two mailings, Cid on the story; Dot does nothing."""
    answers = {}
    for newsletter, names in (("finds-a", "ann bob cid"), ("finds-b", "ann dot")):
        described = {"id": newsletter, "name": f"Findable {newsletter[-1]}", "subject": "Köln & co"}
        for name in names.split():
            body = {
                "newsletter": described,
                "html": MAIL,
                "recipient": f"{name}@finds.example",
                "metadata": {"order": f"{name}-{newsletter}"},
                "rfc_message_id": f"{name}.{newsletter}@mail.example",
            }
            answer = service.client.post("/v1/rewrite", json=body)
            assert answer.status_code == 200, answer.text
            answers[f"{name} {newsletter}"] = answer.json()
    clicks = (("ann finds-a", 0), ("bob finds-a", 0), ("cid finds-a", 1), ("ann finds-b", 0))
    for who, number in clicks:
        url = paths(tracked_urls(answers[who]["html"]))[number]
        service.client.get(url, headers=PERSON)
        time.sleep(0.002)  # times have milliseconds
    service.settled()
    return answers


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        service.login(client)
        yield client


def main(page: str) -> str:
    return page.partition('<main id="main">')[2].partition("</main>")[0]


def people(page: str) -> list[str]:
    return re.findall(r">(\w+)@finds\.example</a>", main(page))


@pytest.mark.usefixtures("sent")
def test_mailings_people_and_links_are_found(service: Service, visitor: httpx2.Client) -> None:
    found = main(visitor.get("/search", params={"q": "findable"}).text)
    assert "Findable a" in found and "Findable b" in found
    assert "Findable a" in main(visitor.get("/search", params={"q": "KÖLN &"}).text)
    assert set(people(visitor.get("/search", params={"q": "FINDS.example"}).text)) == {
        "ann",
        "bob",
        "cid",
        "dot",
    }
    links = main(visitor.get("/search", params={"q": "pricing PAGE"}).text)
    clicked = re.findall(r'href="(/newsletters/finds-a/clicked\?link=[0-9a-f]{16})"', links)
    assert people(visitor.get(clicked[0]).text) == ["bob", "ann"]
    nothing = main(visitor.get("/search", params={"q": "no such <b>thing"}).text)
    assert "Nothing contains “no such &lt;b&gt;thing”" in nothing
    assert "Enter at least 2 characters" in visitor.get("/search", params={"q": "x"}).text
    for text in ("x" * 201, "a\0b"):
        answer = visitor.get("/search", params={"q": text})
        assert answer.status_code == 422 and "The URL parameter q must" in answer.text


def test_links_that_differ_by_recipient_are_found_as_one(
    service: Service, visitor: httpx2.Client
) -> None:
    for number in range(12):
        url = f"https://parcels.example/track/{uuid.uuid4().hex}"
        html = f'<a href="{url}" data-track-name="Your parcel">x</a>'
        answer = service.rewrite({"id": "parcels", "name": "Shipped"}, html, f"{number}@p.example")
        if number < 2:
            service.client.get(paths(tracked_urls(answer["html"]))[0], headers=PERSON)
    service.settled()
    found = main(visitor.get("/search", params={"q": "parcels.example"}).text)
    clicked = re.findall(r'href="(/newsletters/parcels/clicked\?link=[0-9a-f]{16})"', found)
    assert len(clicked) == 1
    assert "2 people" in visitor.get(clicked[0]).text


@pytest.mark.usefixtures("sent")
def test_no_url_contains_an_email_address(service: Service, visitor: httpx2.Client) -> None:
    form = visitor.get("/search").text
    answer = service.post(visitor, "/search", form, q=" findable ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/search?q=findable")
    answer = service.post(visitor, "/search", form, q="Ann@finds.example")
    assert answer.status_code == 303
    assert re.fullmatch(r"/recipients/\d+", answer.headers["location"])
    part = service.post(visitor, "/search", form, q="@finds.ex")
    assert part.status_code == 200 and "dot" in people(part.text)
    form = visitor.get("/messages").text
    answer = service.post(visitor, "/messages?period=7d", form, search="Findable")
    assert answer.headers["location"] == "/messages?period=7d&search=Findable"
    shown = service.post(visitor, "/messages", form, search="bob@finds.example")
    assert people(shown.text) == ["bob"]
    assert "bob%40" not in shown.text and "search=bob" not in shown.text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("finds.example", {"ann", "bob", "cid", "dot"}),
        ("ann@finds.example", {"ann"}),
        ("Findable b", {"ann", "dot"}),
        ("köln", {"ann", "bob", "cid", "dot"}),
        ("order=cid-finds-a", {"cid"}),
        ("bob-finds-a", {"bob"}),
        ("<dot.finds-b@mail.example>", {"dot"}),
        ("dot.finds-b@mail.example", {"dot"}),
        ("{id}", {"cid"}),
        ("order=other", set()),
    ],
)
def test_messages_are_found(
    service: Service,
    visitor: httpx2.Client,
    sent: dict[str, dict[str, Any]],
    text: str,
    names: set[str],
) -> None:
    text = text.replace("{id}", sent["cid finds-a"]["message_id"])
    form = visitor.get("/messages").text
    answer = service.post(visitor, "/messages", form, search=text)
    if answer.status_code == 303:
        answer = visitor.get(answer.headers["location"])
    assert set(people(answer.text)) == names


def test_a_row_says_what_came_of_a_message(
    service: Service, visitor: httpx2.Client, sent: dict[str, dict[str, Any]]
) -> None:
    message = sent["ann finds-a"]["message_id"]
    outcome = {"id": "found-1", "type": "delivered", "occurred_at": "2026-11-24T08:00:00Z"}
    answer = service.client.post("/v1/outcomes", json={**outcome, "message_id": message})
    assert answer.status_code == 200, answer.text
    service.drained()

    def row() -> str:
        page = visitor.get("/messages", params={"search": "Findable a"}).text
        return page.partition(f'id="message-{message}"')[2].partition("</tr>")[0]

    service.wait_for(lambda: "Delivered" in row(), "outcome")
    assert re.findall(r'data-label="(?:Opens|Clicks)">(\d+)<', row()) == ["0", "1"]
    assert "Köln &amp; co" in row() and f"/messages/{message}" in row()


def test_pages_of_messages_have_each_once(service: Service, visitor: httpx2.Client) -> None:
    for number in range(message_list.PAGE + 5):
        service.rewrite({"id": "paged", "name": "Paged thing"}, "<p>x</p>", f"p{number}@x.example")
    service.drained()
    seen, url = [], "/messages?search=Paged+thing"
    for _ in range(3):
        page = visitor.get(url).text
        seen += re.findall(r'id="message-([0-9a-f-]{36})"', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        if not following:
            break
        url = following[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen)) == message_list.PAGE + 5
    for after in ("x", "1.2", "9" * 30 + ".0"):
        answer = visitor.get("/messages", params={"after": after})
        assert answer.status_code == 422 and "after must be a value" in answer.text
    old = visitor.get("/messages?from=2020-01-01&to=2020-02-01").text
    assert "No messages in this period." in old


@pytest.mark.usefixtures("sent")
def test_who_clicked_is_listed_the_latest_first(visitor: httpx2.Client) -> None:
    page = visitor.get("/newsletters/finds-a").text
    pattern = r'href="(/newsletters/finds-a/clicked\?link=\w+)" aria-label="Who clicked ([^"]+)"'
    links = re.findall(pattern, page)
    assert {label for _, label in links} == {"Pricing page: 2", "A story: 1"}
    for url, label in links:
        listed = visitor.get(url).text
        assert people(listed) == (["bob", "ann"] if "Pricing" in label else ["cid"])
        assert f"{label[-1]} {'person' if label[-1] == '1' else 'people'}" in listed
    assert people(visitor.get("/newsletters/finds-a/clicked").text) == ["cid", "bob", "ann"]
    bots = visitor.get("/newsletters/finds-a/clicked?show=machine").text
    assert "Nobody clicked" in bots
    old = visitor.get("/newsletters/finds-a/clicked?to=2020-01-01").text
    assert "Nobody clicked" in old


@pytest.mark.usefixtures("sent")
def test_who_clicked_a_url_anywhere_is_a_click_from_home(
    service: Service, visitor: httpx2.Client
) -> None:
    service.wait_for(lambda: "/clicked?" in visitor.get("/?period=today").text, "new figures")
    home = visitor.get("/?period=today").text
    wanted = home.partition('id="h-wanted"')[2].partition("</section>")[0]
    row = wanted.partition("Pricing page")[0]
    url = re.findall(r'href="(/clicked\?[^"]+)"', row)[-1].replace("&amp;", "&")
    assert "period=today" in url
    page = visitor.get(url).text
    assert people(page) == ["ann", "bob"] and "2 people" in page
    assert re.findall(r">(\d+)</td>", wanted.partition("Pricing page")[2])[0] == "2"
    assert "2 clicks since" in page  # ann's, in two mailings


def test_a_url_and_a_beginning_are_required(visitor: httpx2.Client) -> None:
    for query, message in (
        ("", "url is required"),
        ("?url=https://shop.example/&period=all", "period must be one of"),
        ("?url=https://shop.example/&to=2026-11-24", "from is required"),
        ("?url=https://shop.example/&after=x", "after must be a value"),
        (f"?url=https://shop.example/&after=1.{'9' * 41}", "after must be a value"),
    ):
        answer = visitor.get(f"/clicked{query}")
        assert answer.status_code == 422 and message in answer.text, query
