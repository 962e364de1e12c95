"""Outcomes over the running service: reported, counted, shown, and acted on."""

import csv
import io
import json
import re
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.demo import agents
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, paths, tracked_urls
from tests.support.two_tenants import shell
from tests.support.webhook_receiver import receiver
from tests.web.api.test_events import events, now

NDJSON = "application/x-ndjson"
MAIL = '<a href="https://example.com/a">A</a>'


def outcome(kind: str, **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"id": f"e-{uuid.uuid4().hex}", "type": kind, "occurred_at": at, **more}


def report(service: Service, *outcomes: dict[str, Any]) -> None:
    answer = service.client.post(
        "/v1/outcomes",
        content="\n".join(map(json.dumps, outcomes)),
        headers={"content-type": NDJSON},
    )
    assert answer.status_code == 200, answer.text
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"id": one["id"]} for one in outcomes
    ]


def refused(service: Service, body: Any) -> tuple[int, str, str]:
    answer = service.client.post("/v1/outcomes", json=body)
    problem = answer.json()
    return answer.status_code, problem.get("field", ""), problem["detail"]


def sent(service: Service, newsletter: str, recipient: str, **more: Any) -> str:
    return str(service.rewrite(newsletter, MAIL, recipient, **more)["message_id"])


def test_an_outcome_is_counted_and_shown_with_its_message(service: Service) -> None:
    message = sent(service, "reported", "ann@reported.example")
    first = outcome("sent", message_id=message, provider="ses")
    answer = service.client.post("/v1/outcomes", json=first)
    assert (answer.status_code, answer.json()) == (200, {"id": first["id"]})
    bounce = outcome(
        "bounced",
        message_id=message,
        permanent=True,
        code="5.1.1",
        text="550 <ann@reported.example> is unknown",
    )
    report(service, bounce)
    service.drained()
    assert service.stats("reported")["outcomes"] == {
        "sent": 0,
        "delivered": 0,
        "bounced": 1,
        "rejected": 0,
        "complained": 0,
    }
    history = service.get(f"/v1/messages/{message}")
    assert history["state"] == "bounced"
    earlier, later = history["outcomes"]
    assert (earlier["type"], earlier["permanent"], earlier["provider"]) == ("sent", None, "ses")
    del later["received_at"]
    assert datetime.fromisoformat(later.pop("occurred_at")).tzinfo
    assert later == {
        "id": bounce["id"],
        "type": "bounced",
        "permanent": True,
        "code": "5.1.1",
        "text": "550 <***@reported.example> is unknown",
        "provider": "",
    }


def test_a_message_without_outcomes_has_no_state(service: Service) -> None:
    message = sent(service, "silent", "ann@silent.example")
    service.drained()
    history = service.get(f"/v1/messages/{message}")
    assert (history["state"], history["outcomes"]) == (None, [])
    assert set(service.stats("silent")["outcomes"].values()) == {0}


def test_every_way_to_name_a_message(service: Service) -> None:
    sent(service, "by-address", "ann@named.example", rfc_message_id="<ann@named.example>")
    sent(service, "by-address", "bob@named.example")
    report(
        service,
        outcome("delivered", rfc_message_id="ann@named.example"),
        outcome("rejected", recipient="BOB@named.example", newsletter="by-address"),
    )
    service.drained()
    counts = service.stats("by-address")["outcomes"]
    assert (counts["delivered"], counts["rejected"]) == (1, 1)


def test_a_repeated_report_counts_once(service: Service) -> None:
    start = now(service)
    message = sent(service, "repeated", "ann@repeated.example")
    one = outcome("delivered", message_id=message)
    for _ in range(3):
        report(service, one, one)
        service.drained()
    history = service.get(f"/v1/messages/{message}")
    assert [shown["id"] for shown in history["outcomes"]] == [one["id"]]
    assert service.stats("repeated")["outcomes"]["delivered"] == 1
    found, _ = events(service, after=start, newsletter="repeated")
    assert [event["type"] for event in found] == ["message.delivered"]


def test_an_event_says_what_the_server_said(service: Service) -> None:
    start = now(service)
    message = sent(service, "told", "ann@told.example", metadata={"order": "7"})
    text = {"code": "4.2.2", "text": "mailbox full", "provider": "postmark"}
    report(
        service,
        outcome("bounced", message_id=message, permanent=False, **text),
        outcome("complained", message_id=message),
    )
    service.drained()
    found, _ = events(service, after=start, newsletter="told")
    by_type = {event["type"]: event for event in found}
    assert set(by_type) == {"message.bounced", "message.complained"}
    bounced = by_type["message.bounced"]
    assert bounced["outcome"] == {"permanent": False, **text}
    assert (bounced["message_id"], bounced["recipient"]) == (message, "ann@told.example")
    assert (bounced["metadata"], bounced["link"], bounced["verdict"]) == ({"order": "7"}, None, "")
    only, _ = events(service, after=start, newsletter="told", type="message.complained")
    assert [event["id"] for event in only] == [by_type["message.complained"]["id"]]
    path = "/v1/events/stream?newsletter=told"
    with service.client.stream("GET", path, headers={"last-event-id": start}) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith("event: "))
        streamed = {next(lines).removeprefix("event: ") for _ in by_type}
    assert streamed == set(by_type)


def test_a_recipient_whose_mail_bounced_is_suppressed_with_the_reason(service: Service) -> None:
    ann, bob, cay = (f"{name}-{uuid.uuid4().hex}@example.com" for name in ("ann", "bob", "cay"))
    report(
        service,
        outcome("bounced", message_id=sent(service, "sup", ann), permanent=True),
        outcome("complained", message_id=sent(service, "sup", bob)),
        outcome("bounced", message_id=sent(service, "sup", cay), permanent=False),
    )
    service.drained()
    reasons: dict[str, str] = {}
    after: int | None = 0
    while after is not None:
        page = service.get("/v1/suppressions", limit=1000, after=after)
        reasons |= {one["recipient"]: one["reason"] for one in page["suppressions"]}
        after = page["next_after"]
    assert (reasons.get(ann), reasons.get(bob), reasons.get(cay)) == ("bounced", "complained", None)
    assert service.rewrite("another", MAIL, ann)["suppressed"]
    assert not service.rewrite("another", MAIL, cay)["suppressed"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 201}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"type": "opened"}, "type"),
        ({"type": 1}, "type"),
        ({"occurred_at": "2026-01-01T00:00:00"}, "occurred_at"),
        ({"occurred_at": "3026-01-01T00:00:00Z"}, "occurred_at"),
        ({"message_id": "none"}, "message_id"),
        ({"message_id": None}, "message_id"),
        ({"rfc_message_id": "a@b"}, "rfc_message_id"),
        ({"message_id": None, "recipient": "a@b"}, "newsletter"),
        ({"message_id": None, "newsletter": "n"}, "recipient"),
        ({"type": "bounced"}, "permanent"),
        ({"permanent": True}, "permanent"),
        ({"code": "x" * 101}, "code"),
        ({"text": "x" * 2001}, "text"),
        ({"provider": "a b"}, "provider"),
    ],
)
def test_an_error_names_the_field(service: Service, change: dict[str, Any], field: str) -> None:
    one = outcome("sent", message_id=str(uuid.uuid4()))
    status, named, detail = refused(service, {**one, **change})
    assert (status, named) == (422, field), detail
    answer = service.client.post(
        "/v1/outcomes",
        content=json.dumps({**one, **change}),
        headers={"content-type": NDJSON},
    )
    line = answer.json()
    assert (answer.status_code, line["line"], line["status"]) == (200, 1, 422)
    assert line["field"] == field


def test_other_bodies_are_refused(service: Service) -> None:
    assert refused(service, {"unknown": 1})[0] == 422
    assert refused(service, [])[0] == 422
    assert service.client.post("/v1/outcomes", content="{").status_code == 400
    large = outcome("sent", message_id=str(uuid.uuid4()), text="x" * 20_000)
    assert service.client.post("/v1/outcomes", json=large).status_code == 413
    batch = b"\n" * 10_000_001
    answer = service.client.post("/v1/outcomes", content=batch, headers={"content-type": NDJSON})
    assert answer.status_code == 413
    many = b"{}\n" * 10_001
    answer = service.client.post("/v1/outcomes", content=many, headers={"content-type": NDJSON})
    assert (answer.status_code, "10,000 lines" in answer.text) == (413, True)


def test_a_bad_line_of_a_batch_keeps_the_others(service: Service) -> None:
    messages = [sent(service, "batch", f"{n}@example.com") for n in range(2)]
    good = [outcome("delivered", message_id=message) for message in messages]
    long = json.dumps(outcome("sent", message_id=messages[0], text="x" * 20_000))
    lines = [json.dumps(good[0]), "{", "", long, '{"id": 5}', json.dumps(good[1])]
    answer = service.client.post(
        "/v1/outcomes", content="\n".join(lines), headers={"content-type": f"{NDJSON}; x=y"}
    )
    assert answer.headers["content-type"].startswith(NDJSON)
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert [one.get("id") for one in answers] == [good[0]["id"], None, None, None, good[1]["id"]]
    assert [(one["line"], one["status"]) for one in answers[1:4]] == [(2, 422), (4, 413), (5, 422)]
    assert answers[3]["field"] == "id"
    service.drained()
    assert service.stats("batch")["outcomes"]["delivered"] == 2


def test_a_key_needs_the_scope(service: Service) -> None:
    body = outcome("sent", message_id=str(uuid.uuid4()))
    statuses = {}
    for scope in ("outcomes", "rewrite", "read", "admin"):
        key = shell(service, "keys", "add", f"{scope} only", "--scope", scope)
        with httpx2.Client(base_url=service.url, trust_env=False) as client:
            client.headers["authorization"] = f"Bearer {key}"
            statuses[scope] = client.post("/v1/outcomes", json=body).status_code
            if scope == "outcomes":
                assert client.get("/v1/newsletters").status_code == 403
    assert statuses == {"outcomes": 200, "rewrite": 403, "read": 403, "admin": 200}


def test_kills_while_outcomes_come_in_and_are_loaded_lose_none(tmp_path: Path) -> None:
    """A reporter sends each batch again until it is answered; kills come at any moment of that."""
    with Service(tmp_path / "data") as service:
        service.ready()
        messages = [sent(service, "killed", f"{n}@example.com") for n in range(30)]
        batches = [
            [outcome(kind, message_id=message) for message in messages]
            for kind in ("queued", "sent", "delivered", "autoresponded")
            for _ in range(5)
        ]
        answered = 0

        def send() -> None:
            nonlocal answered
            for batch in batches:
                while True:
                    with suppress(httpx2.HTTPError, AssertionError):
                        report(service, *batch)
                        break
                    time.sleep(0.05)
                answered += 1

        reporter = threading.Thread(target=send, daemon=True)
        reporter.start()
        for least in (4, 12):
            service.wait_for(lambda least=least: answered >= least, "answers")
            service.kill()
            service.start()
            service.ready()
        reporter.join(PATIENCE_SECONDS)
        assert answered == len(batches)
        service.drained()
        assert service.stats("killed")["outcomes"]["delivered"] == 30
        for message in messages:
            history = service.get(f"/v1/messages/{message}")["outcomes"]
            ids = [shown["id"] for shown in history]
            assert len(ids) == len(set(ids)) == len(batches)


def test_a_webhook_gets_each_outcome_once(tmp_path: Path) -> None:
    with (
        receiver() as inbox,
        Service(tmp_path / "data", LOCAL_RECEIVERS, **WITH_HTTP) as service,
    ):
        service.ready()
        hook = {"url": inbox.url, "types": ["message.bounced", "message.complained"]}
        assert service.client.post("/v1/webhooks", json=hook).status_code == 200
        message = sent(service, "hooked", "ann@hooked.example")
        bounce = outcome("bounced", message_id=message, permanent=True, code="5.1.1")
        report(service, bounce, outcome("delivered", message_id=message))
        service.drained()
        report(service, bounce)
        service.drained()
        report(service, outcome("complained", message_id=message))
        service.wait_for(lambda: len(inbox.events()) >= 2, "two webhooks")
        first, second = inbox.events()
        assert (first["type"], second["type"]) == ("message.bounced", "message.complained")
        assert first["data"]["message_id"] == message
        assert first["data"]["recipient"] == "ann@hooked.example"
        assert first["data"]["outcome"] == {
            "permanent": True,
            "code": "5.1.1",
            "text": "",
            "provider": "",
        }


def test_the_dashboard_shows_outcomes(service: Service) -> None:
    messages = [sent(service, "seen", f"p{number}@seen.example") for number in range(4)]
    service.drained()
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as visitor:
        service.login(visitor)
        later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        assert 'id="delivered"' not in visitor.get("/newsletters/seen").text
        report(
            service,
            *(outcome("delivered", message_id=message) for message in messages[:3]),
            outcome("bounced", message_id=messages[3], permanent=True, text="<b>no</b>"),
            outcome("complained", message_id=messages[0], provider="ses", occurred_at=later),
        )
        service.drained()
        page = visitor.get("/newsletters/seen").text
        tile = page.partition('<dd id="delivered">')[2].partition("</div>")[0]
        assert tile.startswith("3</dd>")  # the one that complained received it, too
        assert "75.0% of messages sent, 1 bounced, 1 complained" in tile
        funnel = page.partition('id="funnel"')[2].partition("</table>")[0]
        steps = re.findall(r'scope="row">(\w+)</th><td class="n">(\d+)</td>', funnel)
        assert steps == [
            ("Sent", "4"),
            ("Delivered", "3"),
            ("Opened", "0"),
            ("Clicked", "0"),
            ("Unsubscribed", "0"),
            ("Complained", "1"),
        ]
        assert "Rates are of messages delivered. It is known of 100.0% of the messages" in page
        assert "Rates are of messages sent." in visitor.get("/newsletters/seen?of=sent").text
        page = visitor.get("/newsletters?search=seen").text
        assert (
            "100.0% of the messages whether" in page and "Rates are of messages delivered" in page
        )
        assert 'href="/newsletters?search=seen&amp;of=sent"' in page
        page = visitor.get("/compare?newsletter=seen&of=sent").text
        assert "Rates are of messages sent." in page  # and the links keep it
        assert "newsletters/seen?of=sent" in page and "of=delivered&amp;newsletter=seen" in page
        assert "0.0% of messages sent" in visitor.get("/newsletters/seen/report?of=sent").text
        for path in ("", "/seen", "/seen/report", "/seen/mail-providers"):
            wrong = visitor.get(f"/newsletters{path}?of=nobody")
            assert wrong.status_code == 422 and "URL parameter of must be one of" in wrong.text
        ranking = visitor.get("/newsletters?search=seen").text
        cells = re.findall(r'data-label="(\w+)" title="(\d+) messages">([^<]+)</td>', ranking)
        assert cells == [
            ("Delivered", "3", "75.0%"),
            ("Bounced", "1", "25.0%"),
            ("Complained", "1", "25.0%"),
        ]
        service.rewrite("seen not", MAIL, "a@seen.example")
        service.drained()
        ranking = visitor.get("/newsletters?search=seen").text
        assert ranking.count('data-label="Bounced"') == 2
        assert (
            ranking.count('data-label="Bounced">\u2013</td>') == 1
        )  # nothing is known of the other
        assert ">Bounced</th>" not in visitor.get("/newsletters?search=seen+not").text
        file = visitor.get("/newsletters/seen/outcomes?format=csv")
        assert file.headers["content-disposition"] == 'attachment; filename="seen-outcomes.csv"'
        rows = list(csv.DictReader(io.StringIO(file.text)))
        columns = ("type", "permanent", "state", "recipient", "text", "provider", "message")
        assert sorted(tuple(row[column] for column in columns) for row in rows) == [
            ("bounced", "1", "bounced", "p3@seen.example", "<b>no</b>", "", messages[3]),
            ("complained", "0", "complained", "p0@seen.example", "", "ses", messages[0]),
            ("delivered", "0", "complained", "p0@seen.example", "", "", messages[0]),
            ("delivered", "0", "delivered", "p1@seen.example", "", "", messages[1]),
            ("delivered", "0", "delivered", "p2@seen.example", "", "", messages[2]),
        ]
        assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
        for missing in ("/newsletters/seen/outcomes?format=xml", "/newsletters/none/outcomes"):
            assert visitor.get(missing).status_code in (404, 422)
        document = visitor.get("/newsletters/seen/report").text
        assert "Delivered 3 (75.0% of messages sent), bounced 1, rejected 0" in document
        timeline = visitor.get(f"/messages/{messages[3]}").text
        assert "Bounced permanently" in timeline and "&lt;b&gt;no&lt;/b&gt;" in timeline
        (person,) = set(re.findall(r'href="(/recipients/\d+)"', timeline))
        history = visitor.get(person).text.partition('id="h-history"')[2]
        assert re.search(r"sent [^<]+, bounced, 0 actions", history)
        timeline = visitor.get(f"/messages/{messages[0]}").text
        assert timeline.index("Delivered") < timeline.index("Complained")
        assert "· ses" in timeline


def follow(service: Service, mail: dict[str, Any]) -> None:
    """Open and click a mail as a person does."""
    for path in paths(tracked_urls(mail["html"])):
        headers = {"user-agent": agents.CHROME, "sec-fetch-mode": "navigate"}
        assert service.client.get(path, headers=headers).status_code in (200, 302)


def rates(service: Service, newsletter: str, **query: str) -> tuple[Any, ...]:
    answer = service.get(f"/v1/newsletters/{newsletter}/stats", **query)
    return tuple(
        answer[name]
        for name in ("rates_of", "open_rate_messages", "open_rate", "open_rate_max", "click_rate")
    )


def test_rates_are_of_delivered_messages_once_nearly_all_outcomes_are_known(
    service: Service,
) -> None:
    mails = [service.rewrite("rated", MAIL, f"p{number}@rated.example") for number in range(20)]
    ids = [mail["message_id"] for mail in mails]
    follow(service, mails[0])
    report(service, *(outcome("delivered", message_id=message) for message in ids[:16]))
    report(service, *(outcome("sent", message_id=message) for message in ids[16:]))
    report(service, outcome("complained", message_id=ids[16]))
    report(service, outcome("rejected", message_id=ids[17]))
    service.settled()
    assert rates(service, "rated") == ("sent", 20, 0.05, 0.05, 0.05)
    assert rates(service, "rated", of="delivered") == ("delivered", 17, 1 / 17, 1 / 17, 1 / 17)
    report(service, outcome("bounced", message_id=ids[18], permanent=False))
    service.drained()  # 19 of 20 are known
    assert rates(service, "rated")[:3] == ("delivered", 17, 1 / 17)
    assert rates(service, "rated", of="sent")[:3] == ("sent", 20, 0.05)
    wrong = service.client.get("/v1/newsletters/rated/stats", params={"of": "auto"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "of")
    path = "/v1/newsletters/rated"
    assert service.get(f"{path}/mail-providers")["rates_of"] == "delivered"
    (row,) = service.get(f"{path}/mail-providers", of="sent")["providers"]
    assert (row["messages"], row["open_rate"]) == (20, 0.05)
    report_page = service.client.get(f"{path}/report", params={"of": "sent"}).text
    assert "5.0% of messages sent" in report_page
    for operation in ("mail-providers", "report"):
        wrong = service.client.get(f"{path}/{operation}", params={"of": "opened"})
        assert (wrong.status_code, wrong.json()["field"]) == (422, "of")


def test_rates_of_delivered_leave_out_what_is_not_tracked(service: Service) -> None:
    tracked = [service.rewrite("partly", MAIL, f"p{number}@partly.example") for number in range(3)]
    off = service.rewrite("partly", MAIL, "off@partly.example", tracking={"opens": False})
    ids = [mail["message_id"] for mail in (*tracked, off)]
    report(service, *(outcome("delivered", message_id=message) for message in ids[1:]))
    report(service, outcome("bounced", message_id=ids[0], permanent=True))
    follow(service, tracked[1])
    service.settled()
    answer = service.stats("partly")
    assert (answer["rates_of"], answer["messages"], answer["opens_tracked"]) == ("delivered", 4, 3)
    assert (answer["open_rate_messages"], answer["click_rate_messages"]) == (2, 3)
    assert (answer["open_rate"], answer["click_rate"]) == (1 / 2, 1 / 3)


def test_a_rate_never_passes_one(service: Service) -> None:
    """Two messages were opened of which only one is known to be delivered."""
    mails = [service.rewrite("beyond", MAIL, f"p{number}@beyond.example") for number in range(2)]
    report(service, outcome("delivered", message_id=mails[0]["message_id"]))
    report(service, outcome("bounced", message_id=mails[1]["message_id"], permanent=True))
    for mail in mails:
        follow(service, mail)
    service.settled()
    assert rates(service, "beyond") == ("sent", 2, 1.0, 1.0, 1.0)
    assert rates(service, "beyond", of="delivered") == ("delivered", 1, None, None, None)
