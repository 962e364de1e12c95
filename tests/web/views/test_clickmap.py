"""The click map shows the mail and nothing of what it might do."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.links import identity
from app.messages.templates import SampleMail
from app.web.views.clickmap import HEADERS, Spot, document
from tests.support.paths import contents_below
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import Service, paths, tracked_urls

OURS = "https://click.example.com"
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><a href=x>",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe src=//evil.example></iframe>",
    "<style><img src=x onerror=alert(1)></style>",
    "</style><script>alert(1)</script>",
    "<form action=//evil.example><input name=a><button>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//evil.example>",
    "<link rel=stylesheet href=//evil.example>",
    "<!--",
    "<math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<template><script>x",
    "<a href='https://map.invalid/c/x/7' onclick=alert(1)>forged</a>",
    "<textarea>",
    "<plaintext>",
    '<a href="https://example.com/">',
    "</a>",
    "<table><tr><td>",
    "<object data=x>",
    "\0",
]


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def read(html: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(html)
    return reader.tags


def test_links_with_merge_fields_have_their_place() -> None:
    html = (
        '<a href="https://x.example/{{id}}">{{name}}</a><a href="{{url}}">b</a><a href="{x}">c</a>'
    )
    places = [Spot(0, 1, 0.5, "0" * 16), Spot(0, 2, 0.25, "1" * 16)]
    page = document(SampleMail(html), places, OURS)
    links = [attributes.get("href") for tag, attributes in read(page) if tag == "a"]
    assert links == ["#link-0", "#link-1", None]
    assert re.findall(r'#link-0"\]::before{content:"(\d)', page) == ["1"]


@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=20), max_size=12))
def test_nothing_hostile_is_left(pieces: list[str]) -> None:
    allowed = {"html", "head", "meta", "title", "body"}
    seen = read(document(SampleMail("".join(pieces)), [], OURS))
    assert [tag for tag, _ in seen].count("meta") == 1
    for tag, attributes in seen:
        assert tag not in {
            "script",
            "iframe",
            "form",
            "input",
            "base",
            "link",
            "object",
            "svg",
            "math",
            "textarea",
            "template",
            "noscript",
            "button",
        }, tag
        assert not any(name.startswith("on") for name in attributes)
        if tag == "a" and "href" in attributes:
            assert re.fullmatch(r"#link-\d+", attributes["href"] or "")
        assert tag in allowed or attributes.get("http-equiv") is None


def test_each_link_carries_its_rank_and_share() -> None:
    mail = (
        '<a href="https://example.com/a">A</a><a href="mailto:a@example.com">M</a>'
        '<a href="https://example.com/a">again</a>'
    )
    a = identity.shown_id(identity.identify("https://example.com/a").link)
    other = identity.shown_id(identity.identify("https://example.com/b").link)
    spots = [Spot(3, 1, 0.5, a), Spot(5, 0, 0, a), Spot(3, 2, 0.25, other), Spot(5, 3, 0.2, other)]
    html = document(SampleMail(mail, first_link=3), spots, OURS)
    links = [attributes.get("href") for tag, attributes in read(html) if tag == "a"]
    assert links == ["#link-3", None, "#link-5"]
    assert 'a[href="#link-3"]::before{content:"1 \\B7  50%"}' in html
    assert 'a[href="#link-5"]{outline:1px dashed' in html
    assert "25%" not in html and "20%" not in html  # what stands there in other mails


@pytest.mark.parametrize(
    "pixel",
    [
        '<img src="https://other.example/p.gif" width="1" height="1">',
        "<img src=https://other.example/p.gif width=1>",
        '<img height=0 src="https://other.example/p">',
        '<img src="https://other.example/p" style="display:block; WIDTH: 1px;">'.replace(
            "WIDTH", "width"
        ),
        f'<img src="{OURS}/o/abc.gif" alt="">',
    ],
)
def test_pixels_are_taken_out_and_pictures_are_not(pixel: str) -> None:
    picture = '<img src="https://shop.example/boots.png" width="100" alt="Boots">'
    sources = [
        attributes.get("src")
        for tag, attributes in read(document(SampleMail(picture + pixel), [], OURS))
        if tag == "img"
    ]
    assert [source for source in sources if source] == ["https://shop.example/boots.png"]


def test_real_mail_keeps_its_words(shared: Path) -> None:
    for path in sorted((shared / "corpus").rglob("*.html"))[:60]:
        html = path.read_bytes().decode("utf-8", "replace")
        if "<a" in html and len(html) < 200_000:
            assert len(document(SampleMail(html), [], OURS)) > 200


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        service.login(client)
        yield client


MAIL = '<p>Dear {}</p><a href="https://example.com/a">A</a><a href="https://example.com/b">B</a>'
PERSON = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


def test_a_personal_mail_is_never_kept(service: Service, visitor: httpx2.Client) -> None:
    secret = "Canary Wharf-Jones"
    service.rewrite("mapped-not", MAIL.format(secret))
    service.drained()
    page = visitor.get("/newsletters/mapped-not/clickmap")
    assert page.status_code == 200 and "No preview yet" in page.text
    assert visitor.get("/newsletters/mapped-not/clickmap/mail").status_code == 404
    kept = list(contents_below(service.data_dir))
    assert len(kept) > 20
    assert not any(secret.encode() in content for content in kept)


def test_sample_and_template_are_shown_the_later_one_wins(
    service: Service, visitor: httpx2.Client
) -> None:
    answer = service.rewrite("mapped", MAIL.format("first"), sample=True)
    second = service.rewrite("mapped", MAIL.format("you"), "b@example.com")
    service.client.get(paths(tracked_urls(answer["html"]))[1], headers=PERSON)
    service.client.get(paths(tracked_urls(second["html"]))[1], headers=PERSON)
    service.client.get(paths(tracked_urls(second["html"]))[0], headers=PERSON)
    service.drained()
    mail = visitor.get("/newsletters/mapped/clickmap/mail")
    for name, value in HEADERS.items():
        assert mail.headers[name] == value
    assert "Dear first" in mail.text and "/o/" not in mail.text
    stats, links = service.stats("mapped"), service.get("/v1/newsletters/mapped/links")["links"]
    assert stats["clicks"]["human"]["unique"] == 2
    for link in links:
        share = link["human"]["unique"] / 2
        (place,) = link["positions"]
        assert place["human"] == link["human"]
        assert f'"#link-{place["position"]}"]::before{{content:"' in mail.text
        assert f"{share:.0%}" in mail.text
    assert (
        "frame-src 'self'"
        in visitor.get("/newsletters/mapped/clickmap").headers["content-security-policy"]
    )
    template = {"html": MAIL.format("reader")}
    assert service.client.post("/v1/newsletters/mapped/template", json=template).status_code == 200
    assert "Dear reader" in visitor.get("/newsletters/mapped/clickmap/mail").text
    assert visitor.get("/newsletters/none/clickmap").status_code == 404


def test_a_whole_message_can_be_the_sample(service: Service, visitor: httpx2.Client) -> None:
    message = (
        "From: a@example.com\r\nTo: b@example.com\r\nX-Mailwake-Newsletter: mapped-mime\r\n"
        "X-Mailwake-Sample: yes\r\nX-Mailwake-Track: clicks, text\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
        "\r\nhttps://example.com/plain\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        '<p>Grüße</p><a href="https://example.com/html">x</a>\r\n--b--\r\n'
    )
    answer = service.client.post("/v1/rewrite/mime", content=message.encode())
    assert answer.status_code == 200, answer.text
    assert b"Sample" not in answer.content
    service.drained()
    mail = visitor.get("/newsletters/mapped-mime/clickmap/mail").text
    assert "Grüße" in mail and 'href="#link-1"' in mail
