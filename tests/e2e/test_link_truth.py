"""Every figure and event of links, held against a count that is made beside the service.

Mails of one newsletter differ: receipts have other items in another order, blocks come and go, and
links are the recipient's own.
"""

import json
import os
import random
import secrets
import smtplib
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import httpx2
import pytest

from app.demo import agents
from app.links.masking import mask_url
from mailwake_client import Mailwake, MailwakeError
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, free_port, paths, tracked_urls
from tests.support.smtp_server import Inbox, inbox

LONG = "MAILWAKE_TORTURE" in os.environ
RECEIPTS = 1000 if LONG else 250
pytestmark = [pytest.mark.torture] if LONG else []
PERSON = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
PRODUCTS = [
    f"https://shop.example/products/{name}"
    for name in (
        "red-boots",
        "blue-boots",
        "wool-hat",
        "rain-coat",
        "leather-belt",
        "sun-hat",
        "long-scarf",
        "green-socks",
        "warm-gloves",
        "silk-tie",
        "blue-jeans",
        "white-shirt",
        "black-dress",
        "grey-coat",
        "brown-shoes",
        "yellow-cap",
        "striped-sweater",
        "plain-blouse",
        "swim-shorts",
        "winter-boots",
        "running-shoes",
        "hiking-boots",
        "cotton-shirt",
        "linen-trousers",
    )
]


class Both(Service):
    """The service with its SMTP gateway in front of a smarthost."""

    smtp_port: int
    box: Inbox


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    port = free_port()
    with inbox() as box:
        env = {
            "MAILWAKE_SMTP": "1",
            "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
            "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
        }
        with Both(tmp_path_factory.mktemp("truth") / "data", **env) as running:
            running.smtp_port, running.box = port, box
            running.ready()
            yield running


def anchor(url: str, label: str, **attributes: str) -> str:
    more = "".join(f' data-track-{name}="{value}"' for name, value in attributes.items())
    return f'<p><a href="{url.replace("&", "&amp;")}"{more}>{label}</a></p>'


def receipt(rng: random.Random) -> list[tuple[str, str]]:
    """The links of one mail, as (URL, label)."""
    links = [(url, f"Item {url[-9:]}") for url in rng.sample(PRODUCTS, rng.randint(1, 20))]
    if rng.random() < 0.5:
        links.insert(0, ("https://shop.example/boots", "Boots"))
    if rng.random() < 0.7:
        links.append(("https://shop.example/help?utm_source=mail", "Help"))
    if rng.random() < 0.3:  # the same link at two places
        links.append(links[0])
    key = secrets.token_urlsafe(24)
    parcel = f"https://track.example/parcel/{rng.randint(10**8, 10**9)}?key={key}"
    links.insert(rng.randint(0, len(links)), (parcel, "Follow your parcel"))
    return links


def click(service: Service, path: str) -> str:
    answer = service.client.get(path, headers=PERSON)
    assert answer.status_code == 302
    return str(answer.headers["location"])


def events(service: Service, **query: str) -> list[dict[str, Any]]:
    """The last word on each click."""
    found: dict[str, dict[str, Any]] = {}
    after = ""
    while True:
        answer = service.client.get("/v1/events", params={"after": after, "limit": 100, **query})
        for line in answer.text.splitlines():
            event = json.loads(line)
            if event["link"]:
                found["_".join(event["id"].split("_")[:3])] = event
        if answer.headers["mailwake-cursor"] == after:
            return list(found.values())
        after = answer.headers["mailwake-cursor"]


def bare(url: str) -> str:
    return url.partition("?utm_source")[0]


def test_receipts_state_no_wrong_fact(service: Both) -> None:
    rng = random.Random(18)
    sent: Counter[str] = Counter()  # messages by link
    clicked: Counter[str] = Counter()
    by: dict[str, set[str]] = {}  # messages that clicked, by link
    places: Counter[tuple[str, int]] = Counter()
    expected: Counter[tuple[str, str, int]] = Counter()  # message, URL, place
    parcels = 0
    for n in range(RECEIPTS):
        links = receipt(rng)
        html = "".join(anchor(*link) for link in links)
        answer = service.rewrite("receipts", f"<body>{html}</body>", f"buyer{n}@example.com")
        message, urls = answer["message_id"], paths(tracked_urls(answer["html"]))
        urls = [url for url in urls if url.startswith("/c/")]
        assert len(urls) == len(links)
        sent.update({"parcel" if "parcel" in url else bare(url) for url, _ in links})
        parcels += 1
        for place in rng.sample(range(len(links)), min(len(links), rng.choice((0, 1, 1, 2)))):
            location = click(service, urls[place])
            assert location == links[place][0]
            link = "parcel" if "parcel" in location else bare(location)
            clicked[link] += 1
            places[link, place] += 1
            by.setdefault(link, set()).add(message)
            expected[message, mask_url(location), place] += 1
    service.settled()
    told = events(service, newsletter="receipts")
    found = Counter(
        (event["message_id"], event["link"]["url"], event["link"]["position"]) for event in told
    )
    assert found == expected
    answer = service.get("/v1/newsletters/receipts/links")["links"]
    shown_links = {("parcel" if "parcel" in link["url"] else link["url"]): link for link in answer}
    assert len(shown_links) == len(answer) == len(sent)
    for url, link in shown_links.items():
        assert link["carried"] == sent[url], url
        assert link["all"] == {"total": clicked[url], "unique": len(by.get(url, ()))}, url
        for count in ("total", "unique"):
            assert link["human"][count] <= link["all"][count]
        assert link["human"]["total"] + link["machine"]["total"] == link["all"]["total"]
        shown = {place["position"]: place["all"]["total"] for place in link["positions"]}
        assert {place: n for place, n in shown.items() if n} == {
            place: n for (of, place), n in places.items() if of == url
        }
    parcel = shown_links["parcel"]
    assert parcel["family"] and parcel["carried"] == parcels == RECEIPTS
    assert parcel["url"] == "https://track.example/parcel/...?key=..."
    labels = {event["link"]["label"] for event in told if "parcel" in event["link"]["url"]}
    assert labels == {"Follow your parcel"}
    ids = {link["id"]: url for url, link in shown_links.items()}
    for event in told:
        if "parcel" not in event["link"]["url"]:
            assert ids[event["link"]["id"]] == bare(event["link"]["url"])
    # A filter by the family's id finds every one of its clicks, whatever their own ids are.
    only = events(service, newsletter="receipts", link=parcel["id"])
    assert len(only) == clicked["parcel"]


BOOTS = anchor("https://shop.example/boots", "Boots", tag="boots")
HELP = anchor("https://shop.example/help", "Help")


def by_api(service: Both, newsletter: str, html: str, recipient: str) -> str:
    return str(service.rewrite(newsletter, html, recipient)["html"])


def written(newsletter: str, html: str, recipient: str) -> bytes:
    head = f"X-Mailwake-Newsletter: {newsletter}\r\nTo: {recipient}\r\n"
    return f"{head}Content-Type: text/html; charset=utf-8\r\n\r\n{html}\r\n".encode()


def by_mime(service: Both, newsletter: str, html: str, recipient: str) -> str:
    mail = written(newsletter, html, recipient)
    answer = service.client.post("/v1/rewrite/mime", content=mail)
    assert answer.status_code == 200, answer.text
    return answer.text


def by_smtp(service: Both, newsletter: str, html: str, recipient: str) -> str:
    with smtplib.SMTP("127.0.0.1", service.smtp_port) as client:
        client.sendmail("shop@shop.example", [recipient], written(newsletter, html, recipient))
    mail = message_from_bytes(service.box.raw[-1])
    content = mail.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


WAYS = {"api": by_api, "mime": by_mime, "smtp": by_smtp}


def linked(service: Service, newsletter: str) -> dict[str, dict[str, Any]]:
    found = service.get(f"/v1/newsletters/{newsletter}/links")["links"]
    return {link["label"]: link for link in found}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_block_that_only_some_have_keeps_its_clicks(service: Both, way: str) -> None:
    name = f"boots-{way}"
    for who in ("ann", "bob"):
        html = WAYS[way](service, name, f"<body>{BOOTS}{HELP}</body>", f"{who}-{way}@example.com")
        click(service, paths(tracked_urls(html))[0])
    html = WAYS[way](service, name, f"<body>{HELP}</body>", f"cy-{way}@example.com")
    click(service, paths(tracked_urls(html))[0])
    service.settled()
    found = linked(service, name)
    assert {label: link["human"]["unique"] for label, link in found.items()} == {
        "Boots": 2,
        "Help": 1,
    }
    assert {label: link["carried"] for label, link in found.items()} == {"Boots": 2, "Help": 3}
    assert [place["position"] for place in found["Help"]["positions"]] == [0, 1]
    answer = service.client.get("/v1/segments", params={"clicked_tag": "boots", "newsletter": name})
    people = {json.loads(line)["recipient"] for line in answer.text.splitlines()}
    assert people == {f"ann-{way}@example.com", f"bob-{way}@example.com"}


def test_a_stated_family_is_one_link_from_the_first_mail_on(service: Both) -> None:
    with Mailwake(service.url, service.api_key) as client:
        for who in ("ann", "bob"):
            link = anchor(f"https://shop.example/for/{who}/cart", "Your cart")
            families = ["shop.example/for/*/cart"]
            html = client.rewrite("carts", f"{who}@example.com", link, link_families=families).html
            click(service, next(path for path in paths(tracked_urls(html)) if "/c/" in path))
        service.settled()
        (family,) = service.get("/v1/newsletters/carts/links")["links"]
        assert family["family"] and family["url"] == "https://shop.example/for/.../cart"
        assert (family["carried"], family["human"]["unique"]) == (2, 2)
        (first, second) = events(service, newsletter="carts")
        assert first["link"]["id"] == second["link"]["id"] == family["id"]
        assert {first["link"]["url"], second["link"]["url"]} == {
            "https://shop.example/for/ann/cart",
            "https://shop.example/for/bob/cart",
        }
        with pytest.raises(MailwakeError) as wrong:
            client.rewrite("carts", "a@example.com", "<p>", link_families=["/a", "?a=1"])
        assert wrong.value.problem.field == "newsletter.link_families"


SECRETS = {"ann": "k7Qp2ZxV9sLw4TnB8dRf", "bob": "Y3hJ6mGc1UoE5aWi0qNt"}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_personal_link_is_its_recipients_own(service: Both, way: str) -> None:
    name, urls = f"parcels-{way}", {}
    for n, (who, key) in enumerate(SECRETS.items(), 1):
        link = anchor(f"https://track.example/parcel/{n}?key={key}", f"Parcel of {who}")
        html = WAYS[way](service, name, f"<body>{link}</body>", f"{who}-{way}@example.com")
        urls[who] = paths(tracked_urls(html))[0]
    assert SECRETS["ann"] in click(service, urls["ann"])  # bob's was rewritten last
    service.settled()
    (event,) = events(service, newsletter=name)
    assert event["recipient"] == f"ann-{way}@example.com"
    assert event["link"]["url"] == "https://track.example/parcel/1?key=***"
    assert event["link"]["label"] == "Parcel of ann"
    (family,) = service.get(f"/v1/newsletters/{name}/links")["links"]
    assert family["url"] == "https://track.example/parcel/...?key=..."
    assert (family["carried"], family["all"]["unique"]) == (2, 1)
    assert family["label"] == "", "nobody's own label is everybody's"
    with httpx2.Client(
        base_url=service.url, trust_env=False, verify=False, timeout=PATIENCE_SECONDS
    ) as visitor:
        service.login(visitor)
        page = visitor.get(f"/newsletters/{name}").text
        assert "parcel/..." in page and SECRETS["ann"] not in page
    history = service.client.get(f"/v1/recipients/ann-{way}@example.com").json()
    assert {"name": "track.example", "hits": 1} in history["sites"]
