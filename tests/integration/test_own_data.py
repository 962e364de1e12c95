"""What a newsletter and a mail are of themselves: on every way in, and wherever it is shown."""

import csv
import io
import json
import re
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mailwake_client import LineError, Mailwake, MailwakeError
from tests.support.clickhouse_server import ClickHouseServer
from tests.support.hit_load import PERSON
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import (
    LOCAL_RECEIVERS,
    WITH_HTTP,
    Service,
    free_port,
    paths,
    tracked_urls,
)
from tests.support.smtp_server import Inbox, inbox
from tests.support.two_tenants import shell
from tests.support.webhook_receiver import receiver

HTML = '<body><a href="https://example.com/a">A</a></body>'


RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def own(box: Inbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes mail by SMTP too."""
    port = free_port()
    env = {
        "MAILWAKE_SMTP": "1",
        "MAILWAKE_SMTP_LISTEN": f"127.0.0.1:{port}",
        "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
        "MAILWAKE_SMTP_MESSAGE_ID": "1",
        **WITH_HTTP,
    }
    with Service(tmp_path_factory.mktemp("own") / "data", LOCAL_RECEIVERS, **env) as running:
        running.ready()
        yield running


def mail(to: str, *headers: tuple[str, str]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "shop@shop.example", to
    for name, value in headers:
        message[name] = value
    message.set_content("Hello")
    message.add_alternative(HTML, subtype="html")
    return message.as_bytes()


def mime(service: Service, message: bytes, **query: str) -> httpx2.Response:
    headers = {"content-type": "message/rfc822"}
    return service.client.post("/v1/rewrite/mime", content=message, headers=headers, params=query)


def by_smtp(service: Service, message: bytes, *to: str) -> str:
    port = int(service.env["MAILWAKE_SMTP_LISTEN"].rpartition(":")[2])
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        client.mail("shop@shop.example")
        for one in to:
            client.rcpt(one)
        code, text = client.data(message.replace(b"\n", b"\r\n"))
        assert code == 250, text
        return text.decode()


def unfolded(body: str) -> str:
    return body.replace("=\r\n", "").replace("=\n", "")


def hit(service: Service, html: str) -> None:
    for path in paths(tracked_urls(unfolded(html))):
        headers = {"user-agent": PERSON, "sec-fetch-mode": "navigate"}
        assert service.client.get(path, headers=headers).status_code in (200, 302)


# --- A newsletter's own data ---


def named(service: Service, newsletter: str) -> tuple[str, str, list[str]]:
    found = service.get(f"/v1/newsletters/{newsletter}")
    return found["name"], found["subject"], found["tags"]


def omitting(service: Service, newsletter: str, way: str) -> None:
    """A message, or template, of a newsletter of which nothing but the id is said."""
    path = f"/v1/newsletters/{newsletter}"
    if way == "api":
        service.rewrite(newsletter, HTML)
    elif way == "null":
        service.rewrite({"id": newsletter, "name": None, "subject": None, "tags": None}, HTML)
    elif way == "cli":
        page = service.data_dir.parent / "mail.html"
        page.write_text(HTML)
        shell(service, "rewrite", str(page), "--newsletter", newsletter)
    elif way == "client":
        with Mailwake(service.url, service.api_key) as client:
            client.rewrite(newsletter, "a@example.com", HTML)
    elif way == "mime":
        message = mail("a@example.com", ("X-Mailwake-Newsletter", newsletter))
        assert mime(service, message).status_code == 200
    elif way == "smtp":
        by_smtp(
            service, mail("a@example.com", ("X-Mailwake-Newsletter", newsletter)), "a@b.example"
        )
    else:
        assert service.client.post(f"{path}/template", json={"html": HTML}).status_code == 200
        line = json.dumps({"recipient": "a@example.com"})
        assert service.client.post(f"{path}/messages", content=line).status_code == 200


WAYS = ("api", "null", "cli", "client", "mime", "smtp", "template")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_omitted_leaves_what_is_stored(way: str, own: Service) -> None:
    newsletter = f"kept-{way}"
    stated = {"id": newsletter, "name": "Spring", "subject": "Hi", "tags": ["a", "b"]}
    own.rewrite(stated, HTML)
    own.drained()
    omitting(own, newsletter, way)
    own.drained()
    assert named(own, newsletter) == ("Spring", "Hi", ["a", "b"])
    own.rewrite({"id": newsletter, "name": "Summer"}, HTML)
    own.drained()
    assert named(own, newsletter) == ("Summer", "Hi", ["a", "b"])


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        service.ready()
        service.rewrite({"id": "n", "name": "Spring", "tags": ["a"]}, HTML)
        service.kill()
        service.start()
        service.rewrite({"id": "n", "subject": "Hi"}, HTML)
        service.drained()
        assert named(service, "n") == ("Spring", "Hi", ["a"])
        service.stop()
        service.start()
        service.ready()
        service.rewrite("n", HTML)
        service.rewrite({"id": "n", "name": ""}, HTML)
        service.drained()
        assert named(service, "n") == ("", "Hi", ["a"])


@pytest.mark.parametrize("way", ["api", "template", "mime", "smtp"])
def test_what_is_empty_clears(way: str, own: Service) -> None:
    newsletter, cleared = f"cleared-{way}", {"name": "", "subject": "", "tags": []}
    own.rewrite({"id": newsletter, "name": "Spring", "subject": "Hi", "tags": ["a"]}, HTML)
    headers = [
        ("X-Mailwake-Newsletter", newsletter),
        ("X-Mailwake-Name", ""),
        ("X-Mailwake-Tags", ""),
    ]
    if way == "api":
        own.rewrite({"id": newsletter, **cleared}, HTML)
    elif way == "template":
        path = f"/v1/newsletters/{newsletter}/template"
        assert own.client.post(path, json={"html": HTML, **cleared}).status_code == 200
    elif way == "mime":
        assert mime(own, mail("a@example.com", *headers)).status_code == 200
    else:
        by_smtp(own, mail("a@example.com", *headers), "a@b.example")
    own.drained()
    subject = "" if way in ("api", "template") else "Hi"  # no header field states it
    assert named(own, newsletter) == ("", subject, [])


FIGURES = ("", "/stats", "/links", "/agents", "/timeline", "/report")


def test_every_process_knows_a_newsletter_that_was_just_accepted(tmp_path: Path) -> None:
    """Two processes of one data folder, as workers are; ClickHouse hears of nothing meanwhile."""
    with ClickHouseServer(tmp_path / "clickhouse") as database:
        shared = {
            "MAILWAKE_CLICKHOUSE_DSN": database.dsn,
            "MAILWAKE_PUBLIC_URL": "http://x.example",
        }
        with Service(tmp_path / "data", **shared) as one:
            one.ready()
            known = {"MAILWAKE_API_KEYS": one.api_key, "MAILWAKE_DASHBOARD_PASSWORD": one.password}
            other = Service(tmp_path / "data", **shared, **known)
            other.api_key, other.password = one.api_key, one.password
            with other:
                other.ready()
                database.fault("read_only")
                one.rewrite({"id": "new/é", "name": "Spring"}, HTML)
                for service in (one, other):
                    figures_are_zero(service)
                dry = {"newsletter": {"id": "dry"}, "recipient": "a", "html": HTML}
                one.client.post("/v1/rewrite?dry_run=1", json=dry)
                assert one.client.get("/v1/newsletters/dry/stats").status_code == 404
                database.clear()
                one.drained()
                assert one.stats("new/é")["messages"] == 1


def figures_are_zero(service: Service) -> None:
    for part in FIGURES:
        url = f"/v1/newsletters/new%2F%C3%A9{part}"
        answer = service.client.get(url)
        assert answer.status_code == 200, f"{part}: {answer.text}"
        if part == "":
            assert answer.json()["name"] == "Spring"
        if part == "/stats":
            stats = answer.json()
            assert stats["messages"] == stats["opens"]["all"]["total"] == 0
            assert stats["tracking"] == {"opens": "full", "clicks": "full"}
        assert service.client.get(url.replace("new", "old")).status_code == 404
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=PATIENCE_SECONDS) as person:
        assert service.login(person).status_code == 303
        for page in ("", "/report", "/recipients", "/export"):
            shown = person.get(f"/newsletters/new%252F%C3%A9{page}")
            assert shown.status_code == 200, f"{page}: {shown}"


# --- A mail's own data ---


@pytest.fixture(scope="module")
def sent(own: Service, box: Inbox) -> dict[str, tuple[str, dict[str, str], str | None]]:
    """Message id, metadata and Message-ID by the way that a mail came; each was opened and clicked.

    Webhooks have heard of all.
    """
    found: dict[str, tuple[str, dict[str, str], str | None]] = {}
    with Mailwake(own.url, own.api_key) as client:
        both = {"order": "A-1", "Kunde.Nr": "Zürich <7> & co"}
        out = client.rewrite(
            "data", "client@example.com", HTML, metadata=both, rfc_message_id="<client@m.example>"
        )
        hit(own, out.html)
        found["client"] = out.message_id, both, "client@m.example"
        client.keep_template("data", HTML)
        people: list[Any] = [
            {
                "recipient": "line@example.com",
                "metadata": {"order": "A-2"},
                "rfc_message_id": "line@m.example",
            },
            "plain@example.com",
        ]
        for way, line in zip(("line", "plain"), client.messages("data", people), strict=True):
            assert not isinstance(line, LineError)
            hit(own, line.html)
            data = ({"order": "A-2"}, "line@m.example") if way == "line" else ({}, None)
            found[way] = line.message_id, *data
    headers = [
        ("X-Mailwake-Newsletter", "data"),
        ("Message-ID", "<mime@m.example>"),
        ("X-Mailwake-Meta-Order", "A-3"),
        ("X-Mailwake-Meta-Shop", "de"),
    ]
    answer = mime(own, mail("mime@example.com", *headers), **{"metadata.shop": "at"})
    assert answer.status_code == 200 and "Meta" not in answer.text
    hit(own, answer.text)
    ids = answer.headers["x-mailwake-message-id"]
    found["mime"] = ids, {"order": "A-3", "shop": "at"}, "mime@m.example"
    text = by_smtp(own, mail("smtp@example.com", *headers), "smtp@example.com", "too@example.com")
    for way, copy in zip(("smtp", "too"), box.mails[-2:], strict=True):
        ours = str(copy["X-Mailwake-Message-ID"])
        assert f"Mailwake {ours} for {way}@example.com" in text
        hit(own, copy.as_string())
        found[way] = ours, {"order": "A-3", "shop": "de"}, "mime@m.example"
    own.drained()
    return found


def test_the_sent(own: Service, sent: dict[str, Any]) -> None:
    for way, (message_id, metadata, rfc_message_id) in sent.items():
        found = own.get(f"/v1/messages/{message_id}")
        assert found["message"]["metadata"] == metadata, way
        assert found["message"]["rfc_message_id"] == rfc_message_id, way
        assert found["message"]["recipient"] == f"{way}@example.com"
        assert found["message"]["newsletter_id"] == "data"
        assert {one["type"] for one in found["events"]} == {"message.opened", "message.clicked"}
        assert {one["verdict"] for one in found["events"]} == {"human"}
        times = [one["occurred_at"] for one in found["events"]]
        assert times == sorted(times) and found["message"]["sent_at"] <= times[0]
        (click,) = [one for one in found["events"] if one["link"]]
        assert click["link"]["url"] == "https://example.com/a" and click["type"].endswith("clicked")


def test_events_carry_it(own: Service, sent: dict[str, Any]) -> None:
    by_id = {one[0]: one[1:] for one in sent.values()}
    lines = own.client.get("/v1/events", params={"newsletter": "data"}).text.splitlines()
    events = [one for one in map(json.loads, lines) if one.get("message_id") in by_id]
    assert len(events) == 2 * len(sent)
    for event in events:
        assert (event["metadata"], event["rfc_message_id"]) == by_id[event["message_id"]]
    with own.client.stream("GET", "/v1/events/stream", params={"after": "0.0"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:") and sent["client"][0] in line:
                assert json.loads(line[5:])["metadata"] == sent["client"][1]
                break


def test_webhooks_and_follow_ups_carry_it(own: Service) -> None:
    with receiver() as there:
        hook = own.client.post("/v1/webhooks", json={"url": there.url}).json()["id"]
        for when in ("clicked", "not_opened"):
            rule = {"name": when, "webhook_id": hook, "when": when, "newsletters": ["told"]}
            rule |= {} if when == "clicked" else {"after_hours": 0.1}
            answer = own.client.post("/v1/followups", json=rule)
            assert answer.status_code == 200, answer.text
        out = own.rewrite(
            "told", HTML, "ann@example.com", metadata={"order": "B-1"}, rfc_message_id="<b@m>"
        )
        hit(own, out["html"])
        own.drained()

        def types() -> set[str]:
            return {one["type"] for one in there.events()}

        own.wait_for(lambda: {"message.clicked", "followup.due"} <= types(), "deliveries")
        for event in there.events():
            assert event["data"]["metadata"] == {"order": "B-1"}, event
            assert event["data"]["rfc_message_id"] == "b@m"
        own.client.delete(f"/v1/webhooks/{hook}")


def ids(service: Service, **query: Any) -> list[str]:
    found = service.get("/v1/messages", **query)["messages"]
    return [str(one["message_id"]) for one in found]


def test_messages_are_found_by_what_is_known_of_them(own: Service, sent: dict[str, Any]) -> None:
    of = {way: one[0] for way, one in sent.items()}
    three = {of["mime"], of["smtp"], of["too"]}
    assert ids(own, **{"metadata.order": "A-1"}) == [of["client"]]
    assert ids(own, **{"metadata.Kunde.Nr": "Zürich <7> & co"}) == [of["client"]]
    assert set(ids(own, **{"metadata.order": "A-3"})) == three
    assert ids(own, **{"metadata.order": "A-3", "metadata.shop": "at"}) == [of["mime"]]
    assert ids(own, **{"metadata.order": "A-3", "recipient": "TOO@example.com"}) == [of["too"]]
    assert ids(own, **{"metadata.order": "at"}) == ids(own, **{"metadata.nothing": ""}) == []
    assert ids(own, **{"metadata.order": "A-1", "metadata.shop": "de"}) == []
    for name in ("message_id", "rfc_message_id"):
        for spelt in ("mime@m.example", "<mime@m.example>"):
            assert set(ids(own, **{name: spelt})) == three
    for spelt in (of["line"], of["line"].upper(), of["line"].replace("-", "")):
        assert ids(own, message_id=spelt) == [of["line"]]
    assert ids(own, message_id=of["line"], newsletter_id="other") == []
    assert set(ids(own, newsletter_id="data")) == set(of.values())
    assert ids(own, recipient="plain@example.com", newsletter_id="data") == [of["plain"]]


def test_a_message_names_its_variant(own: Service) -> None:
    out = own.rewrite("split", HTML, "a@example.com", variant="Long", metadata={"order": "V-1"})
    own.drained()
    assert own.get(f"/v1/messages/{out['message_id']}")["message"]["variant"] == "Long"
    (found,) = own.get("/v1/messages", **{"metadata.order": "V-1"})["messages"]
    assert found["variant"] == "Long"
    with httpx2.Client(base_url=own.url, trust_env=False, timeout=PATIENCE_SECONDS) as person:
        assert own.login(person).status_code == 303
        assert "Variant Long" in person.get(f"/messages/{out['message_id']}").text


def test_pages_of_messages_have_each_once(own: Service) -> None:
    made = [own.rewrite("many", HTML, metadata={"batch": "1"})["message_id"] for _ in range(7)]
    own.drained()
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = own.get("/v1/messages", **{"metadata.batch": "1", "limit": 3, **after})
        found += [one["message_id"] for one in page["messages"]]
        assert len(page["messages"]) <= 3
        if page["next_after"] is None:
            break
        after = {"after": page["next_after"]}
    assert sorted(found) == sorted(made)
    times = [own.get(f"/v1/messages/{one}")["message"]["sent_at"] for one in found]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "query"),
        ({"order": "1"}, "order"),
        ({"limit": "0", "newsletter_id": "n"}, "limit"),
        ({"limit": "1001", "newsletter_id": "n"}, "limit"),
        ({"after": "x", "newsletter_id": "n"}, "after"),
        ({"after": "1.2", "newsletter_id": "n"}, "after"),
        ({"metadata.a b": "1"}, "metadata.a b"),
        ({"metadata.": "1"}, "metadata."),
        ({"metadata.a": "x" * 501}, "metadata.a"),
        ({"metadata.a": ["1", "2"]}, "metadata.a"),
        ({f"metadata.k{n}": "1" for n in range(21)}, "metadata"),
        ({"message_id": "a b"}, "message_id"),
        ({"rfc_message_id": ""}, "rfc_message_id"),
        ({"message_id": "a@b", "rfc_message_id": "c@d"}, "rfc_message_id"),
        ({"recipient": ""}, "recipient"),
        ({"newsletter_id": "\n"}, "newsletter_id"),
    ],
)
def test_a_wrong_search_names_its_field(query: dict[str, Any], field: str, own: Service) -> None:
    answer = own.client.get("/v1/messages", params=query)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


@pytest.mark.parametrize(
    "message_id",
    ["nothing", "0" * 32, "f" * 32, "00000000-0000-4000-8000-000000000000", "%00", "a%2Fb"],
)
def test_an_unknown_message_is_not_found(message_id: str, own: Service) -> None:
    answer = own.client.get(f"/v1/messages/{message_id}")
    assert (answer.status_code, answer.json()["field"]) == (404, "message_id")


def test_a_wrong_key_names_its_field_elsewhere_too(own: Service) -> None:
    body = {"newsletter": {"id": "bad"}, "recipient": "a@example.com", "html": HTML}
    answer = own.client.post("/v1/rewrite", json={**body, "utm": {"a b": "1"}})
    assert (answer.status_code, answer.json()["field"]) == (422, "utm")


BAD = [
    ({"metadata": {"a b": "1"}}, "metadata"),
    ({"metadata": {"": "1"}}, "metadata"),
    ({"metadata": {"k" * 65: "1"}}, "metadata"),
    ({"metadata": {"a\n": "1"}}, "metadata"),
    ({"metadata": {"a": "x" * 501}}, "metadata[...]"),
    ({"metadata": {"a": "x\n"}}, "metadata[...]"),
    ({"metadata": {"a": "\x85"}}, "metadata[...]"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"metadata": {f"k{n}": "1" for n in range(21)}}, "metadata"),
    ({"rfc_message_id": "a b@c"}, "rfc_message_id"),
    ({"rfc_message_id": "<a@c"}, "rfc_message_id"),
    ({"rfc_message_id": "a@c\n"}, "rfc_message_id"),
    ({"rfc_message_id": "x" * 999}, "rfc_message_id"),
]


@pytest.mark.parametrize(("more", "field"), BAD)
def test_what_is_no_metadata_is_refused(more: dict[str, Any], field: str, own: Service) -> None:
    body = {"newsletter": {"id": "bad"}, "recipient": "a@example.com", "html": HTML, **more}
    answer = own.client.post("/v1/rewrite", json=body)
    assert answer.status_code == 422 and answer.json()["field"].startswith(field), answer.text
    own.client.post("/v1/newsletters/bad/template", json={"html": HTML})
    line = json.dumps({"recipient": "a@example.com", **more})
    (told,) = own.client.post("/v1/newsletters/bad/messages", content=line).text.splitlines()
    assert json.loads(told)["status"] == 422 and json.loads(told)["field"].startswith(field)


@pytest.mark.parametrize(
    ("headers", "query", "field"),
    [
        ([("X-Mailwake-Meta-", "1")], {}, "X-Mailwake-Meta-"),
        ([("X-Mailwake-Meta-a!", "1")], {}, "X-Mailwake-Meta-a!"),
        ([("X-Mailwake-Meta-a", "x" * 501)], {}, "X-Mailwake-Meta-a"),
        ([(f"X-Mailwake-Meta-k{n}", "1") for n in range(21)], {}, "X-Mailwake-Meta"),
        ([], {"metadata.a b": "1"}, "metadata.a b"),
        ([], {"metadata.a": "\x00"}, "metadata.a"),
        ([(f"X-Mailwake-Meta-k{n}", "1") for n in range(20)], {"metadata.more": "1"}, "metadata"),
    ],
)
def test_what_is_no_metadata_of_a_mail_is_refused(
    headers: list[tuple[str, str]], query: dict[str, str], field: str, own: Service
) -> None:
    message = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
    whole = b"X-Mailwake-Newsletter: bad\r\nTo: a@example.com\r\n" + message + b"\r\nHello"
    answer = mime(own, whole, **query)
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


def test_the_client_says_what_was_wrong(own: Service) -> None:
    with Mailwake(own.url, own.api_key) as client, pytest.raises(MailwakeError) as caught:
        client.rewrite("bad", "a@example.com", HTML, metadata={"a b": "1"})
    assert caught.value.problem.field.startswith("metadata")


MODES = [
    ({"opens": "pseudonymous", "clicks": "pseudonymous"}, False),
    ({"opens": "aggregate", "clicks": "aggregate"}, False),
    ({"opens": False, "clicks": False}, False),
    ({"opens": "full", "clicks": "off"}, True),
]


@pytest.mark.parametrize(("tracking", "kept"), MODES)
def test_it_is_kept_where_the_address_is(
    tracking: dict[str, Any], kept: bool, own: Service
) -> None:
    out = own.rewrite(
        "modes",
        HTML,
        "secret@example.com",
        tracking=tracking,
        metadata={"order": "M-1"},
        rfc_message_id="m@m",
    )
    own.drained()
    found = own.get(f"/v1/messages/{out['message_id']}")["message"]
    expected = ("secret@example.com", {"order": "M-1"}, "m@m") if kept else (None, {}, None)
    assert (found["recipient"], found["metadata"], found["rfc_message_id"]) == expected


def test_it_is_in_no_url_of_ours(own: Service) -> None:
    data = {"metadata": {"order": "CANARY-77"}, "rfc_message_id": "CANARY-78@m.example"}
    with_it = own.rewrite("urls", HTML, "a@example.com", **data)
    without = own.rewrite("urls", HTML, "a@example.com")
    shown = json.dumps(with_it)
    assert "CANARY" not in shown
    lengths = [[len(url) for url in tracked_urls(one["html"])] for one in (with_it, without)]
    assert lengths[0] == lengths[1]


def test_exports_have_it(own: Service, sent: dict[str, Any]) -> None:
    with httpx2.Client(base_url=own.url, trust_env=False, timeout=PATIENCE_SECONDS) as person:
        assert own.login(person).status_code == 303
        shown = {
            form: person.get("/newsletters/data/export", params={"format": form, "show": "all"})
            for form in ("csv", "json", "parquet")
        }
        rows = list(csv.DictReader(io.StringIO(shown["csv"].text)))
        lines = [json.loads(line) for line in shown["json"].text.splitlines()]
        assert len(rows) == len(lines) == 2 * len(sent)
        for row, line in zip(rows, lines, strict=True):
            message_id, metadata, rfc_message_id = sent[str(line["recipient"]).partition("@")[0]]
            assert row["message"] == line["message"] == message_id
            assert RFC_3339.fullmatch(row["at"]) and RFC_3339.fullmatch(line["at"])
            assert json.loads(row["metadata"]) == json.loads(line["metadata"]) == metadata
            assert row["rfc_message_id"] == line["rfc_message_id"] == (rfc_message_id or "")
        assert shown["parquet"].status_code == 200 and b"metadata" in shown["parquet"].content


def test_the_dashboard_has_a_page_for_each_message(own: Service, sent: dict[str, Any]) -> None:
    message_id = sent["client"][0]
    with httpx2.Client(base_url=own.url, trust_env=False, timeout=PATIENCE_SECONDS) as person:
        assert own.login(person).status_code == 303
        listed = person.get("/recipients").text
        place = re.search(r'href="(/recipients/\d+[^"]*)">client@example\.com', listed)
        assert place
        shown = person.get(place[1]).text
        assert f'href="/messages/{message_id}"' in shown and "client@m.example" in shown
        page = person.get(f"/messages/{message_id}").text
        assert "A-1" in page and "Zürich &lt;7&gt; &amp; co" in page and "<7>" not in page
        assert "client@m.example" in page and place[1].partition("?")[0] in page
        assert "click <span" in page and "open</td>" in page and page.count("<td>person<span") >= 2
        for unknown in ("0" * 32, "nothing", "..%2F"):
            assert person.get(f"/messages/{unknown}").status_code == 404


# --- What a mail says of itself ---
