"""One example of each operation: what is sent, and what the service answers.

tests/web/api/test_examples.py sends them to a service and compares the answers' fields.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from app.schemas import experiments, followups, messages, privacy, segments, stats, webhooks
from app.schemas.events import EventLink, EventOut
from app.schemas.outcomes import MessageOutcome, OutcomeAccepted
from app.schemas.problem import Problem
from app.schemas.recipients import Counted, RecipientOut
from app.schemas.reclassify import ReclassifyOut
from app.schemas.suppressions import (
    SuppressedOut,
    SuppressionList,
    SuppressionOut,
    SuppressionRulesOut,
)
from app.web.api.messages import MessageEvent, MessageHistory, MessageList, MessageRecord

NOTHING: Mapping[str, Any] = MappingProxyType({})

NEWSLETTER, RECIPIENT = "spring-sale", "ann@example.com"
WEBHOOK, FOLLOWUP = "wh_5fM2x8", "fu_9kT4c1"
MESSAGE = "019a8f3c-7d21-7c4e-9b1a-52f0c3e6a871"
SEGMENT, LINK, ORDER = "boots", "7c1f0a9be4d25368", "A-10293"
PATH: Mapping[str, str] = {
    "newsletter_id": NEWSLETTER,
    "recipient": RECIPIENT,
    "message_id": MESSAGE,
    "webhook_id": WEBHOOK,
    "followup_id": FOLLOWUP,
    "erasure_id": "17",
    "name": SEGMENT,
}


class Example(NamedTuple):
    """An example: query parameters, body and answer. A body of several lines is a sequence."""

    answer: Any
    query: Mapping[str, str] = NOTHING
    body: Any = None


SENT_AT, OPENED_AT, CLICKED_AT = (
    "2026-11-24T08:00:00.000Z",
    "2026-11-24T08:12:31.204Z",
    "2026-11-24T08:13:05.872Z",
)
HTML = (
    "<p>Hello Ann, "
    '<a href="https://shop.example/boots" data-track-tag="boots">our new boots</a></p>'
)
TRACKED = (
    '<p>Hello Ann, <a href="https://click.example.com/c/AgEu.../AQJk...">our new boots</a></p>'
    '<img src="https://click.example.com/o/AgEu....gif" width="1" height="1" alt="">'
)
MAIL = (
    "From: Shop <news@shop.example>\r\nTo: Ann <ann@example.com>\r\nSubject: New boots\r\n"
    "Content-Type: text/html; charset=utf-8\r\n\r\n"
)
NAMED = f"X-Mailwake-Newsletter: {NEWSLETTER}\r\n"
UNSUBSCRIBE = {
    "List-Unsubscribe": "<https://click.example.com/u/AgEu...>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}
LINKS = [messages.LinkOut(0, "https://shop.example/boots", True, None, "our new boots")]
FULL = messages.ModesOut("full", "full")
CLICKED = EventLink(LINK, "", "our new boots", "https://shop.example/boots", 0, ["boots"])
EVENT = EventOut(
    id="evt_019a8f49_1",
    type="message.clicked",
    newsletter_id=NEWSLETTER,
    message_id=MESSAGE,
    recipient=RECIPIENT,
    occurred_at=CLICKED_AT,
    verdict="human",
    reasons=[],
    link=CLICKED,
    metadata={"order": ORDER},
    rfc_message_id="1764000000.1@shop.example",
    cursor="1842.3",
)
NEWSLETTER_OUT = stats.NewsletterOut(
    NEWSLETTER, "Spring sale", "New boots", ["sale"], 1200, SENT_AT, "2026-11-24T08:04:12.480Z"
)
COUNTS = stats.Count(640, 512), stats.Count(601, 488), stats.Count(39, 31)
CLICK_COUNTS = stats.Count(214, 160), stats.Count(171, 143), stats.Count(43, 20)
STATS = stats.StatsOut(
    newsletter_id=NEWSLETTER,
    messages=1200,
    opens=stats.Split(*COUNTS),
    clicks=stats.Split(*CLICK_COUNTS),
    unsubscribes=3,
    tracking={"opens": "full", "clicks": "full"},
    opens_tracked=1200,
    clicks_tracked=1200,
    unknowable=96,
    open_rate=0.4067,
    open_rate_max=0.4867,
    click_rate=0.1192,
    click_to_open_rate=0.293,
    rates_of="sent",
    open_rate_messages=1200,
    click_rate_messages=1200,
    updated_at="2026-11-24T09:41:07.310Z",
)
RECORD = MessageRecord(
    message_id=MESSAGE,
    newsletter_id=NEWSLETTER,
    recipient=RECIPIENT,
    sent_at=SENT_AT,
    variant=None,
    tracking=FULL,
    metadata={"order": ORDER},
    rfc_message_id="1764000000.1@shop.example",
)
HISTORY = MessageHistory(
    RECORD,
    [
        MessageEvent(
            type="message.clicked",
            occurred_at=CLICKED_AT,
            verdict="human",
            reasons=[],
            explanation="No bot signals",
            link=CLICKED,
            client="Firefox",
            os="Windows",
            device="desktop",
            country="DE",
        )
    ],
    "delivered",
    [
        MessageOutcome(
            id="delivered-1",
            type="delivered",
            permanent=None,
            occurred_at=OPENED_AT,
            received_at=OPENED_AT,
            code="250",
            text="",
            provider="postfix",
        )
    ],
)
PERSON = RecipientOut(
    recipient=RECIPIENT,
    messages=14,
    opened=9,
    clicked=4,
    last_seen_at=CLICKED_AT,
    topics=[Counted("boots", 3)],
    sites=[Counted("shop.example", 4)],
    clients=[Counted("Firefox", 6)],
    hours=[Counted("08", 5)],
    suppressed_everywhere=False,
    suppressed_for=[],
)
WEBHOOK_OUT = webhooks.WebhookOut(
    id=WEBHOOK,
    url="https://hooks.shop.example/mailwake",
    newsletters=(),
    types=("message.clicked",),
    verdicts=("human",),
    links=(),
    labels=(),
    tags=("boots",),
    names=(),
    urls=(),
    hosts=(),
    paths=(),
    first=True,
    when="settled",
    created_at="2026-11-20T10:00:00.000Z",
    failing_since=None,
    disabled="",
)
WEBHOOK_CREATED = msgspec.structs.replace(
    WEBHOOK_OUT,
    secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # noqa: S106  (the standard's example)
)
DELIVERY = webhooks.DeliveryOut(
    id=381,
    event_id=EVENT.id,
    state="delivered",
    attempts=1,
    created_at="2026-11-24T08:13:08.101Z",
    next_at=None,
    status=204,
    error="",
    body=msgspec.Raw(
        msgspec.json.encode({"type": EVENT.type, "timestamp": CLICKED_AT, "data": EVENT})
    ),
)
TEST_DELIVERY = msgspec.structs.replace(
    DELIVERY,
    event_id="evt_test_4f1c",
    state="waiting",
    attempts=0,
    next_at="2026-11-24T08:13:08.101Z",
    status=None,
    body=msgspec.Raw(
        msgspec.json.encode(
            {"type": "webhook.test", "timestamp": CLICKED_AT, "data": {"id": "evt_test_4f1c"}}
        )
    ),
)
FOLLOWUP_OUT = followups.FollowUpOut(
    id=FOLLOWUP,
    name="Reminder",
    webhook_id=WEBHOOK,
    when="not_clicked",
    after_hours=48,
    newsletters=(NEWSLETTER,),
    links=(),
    labels=(),
    tags=(),
    names=(),
    urls=(),
    hosts=(),
    paths=(),
    created_at="2026-11-24T07:30:00.000Z",
    made=0,
)
PLAN = {
    "variants": [{"variant": "A"}, {"variant": "B"}],
    "figure": "clicks",
    "decide_after_messages": 1000,
}
ARMS = [
    experiments.VariantFigures("A", 500, 500, 500, 58, 0.116, 0.0908, 0.147, 1),
    experiments.VariantFigures("B", 500, 500, 500, 71, 0.142, 0.1141, 0.1753, 0),
]
EXPERIMENT = experiments.ExperimentOut(
    id="ex_2hR7d5",
    newsletter_id=NEWSLETTER,
    state="running",
    started_at="2026-11-24T07:45:00.000Z",
    decided_at=None,
    decide_by=None,
    plan=experiments.PlanOut.of(msgspec.convert(PLAN, experiments.Plan)),
    variants=ARMS,
    comparisons=[
        experiments.Comparison("B", "A", 0.026, -0.0156, 0.0676, 0.2203, 0.2203),
    ],
    split_chance=1.0,
    outcome=None,
)
SEGMENT_IN = {"clicked_tag": ["boots"], "newsletter": NEWSLETTER}
SAVED = segments.SavedOut(
    SEGMENT, segments.SegmentOut.of(msgspec.convert(SEGMENT_IN, segments.Segment))
)
SEGMENT_LINES = [segments.SegmentLine(RECIPIENT, 14, SENT_AT)]
NOBODY = {"recipient": "bob@example.com"}
SUPPRESSED = SuppressedOut("bob@example.com", None, True)
CONSENT_IN = {"recipient": "bob@example.com", "axes": ["opens"]}
WITHDRAWN = privacy.ConsentOut(
    "bob@example.com",
    [privacy.WithdrawalOut("opens", None, True, "2026-11-22T17:20:44.915Z")],
)
SUBJECT = privacy.SubjectOut(
    workspace="default",
    recipient=RECIPIENT,
    recipient_key="9f31c0d27ab84e65",
    exported_at="2026-11-25T12:00:00.000Z",
    erased_at=None,
    messages=[
        {
            "newsletter_id": NEWSLETTER,
            "newsletter_name": "Spring sale",
            "message_id": MESSAGE,
            "sent_at": SENT_AT,
            "recipient": RECIPIENT,
            "variant": None,
            "metadata": {"order": ORDER},
            "rfc_message_id": "1764000000.1@shop.example",
        }
    ],
    hits=[],
    outcomes=[],
    followups=[],
    suppressions=[],
    withdrawals=[],
    deliveries=[],
)
ERASURE = privacy.ErasureOut(17, "done", "2026-11-25T12:10:00.000Z", {"messages": 14, "hits": 31})
REWRITE_IN = {
    "newsletter": {"id": NEWSLETTER, "name": "Spring sale", "subject": "New boots"},
    "recipient": RECIPIENT,
    "html": HTML,
    "metadata": {"order": ORDER},
}

EXAMPLES: Mapping[str, Example] = {
    "rewrite_message": Example(
        messages.RewriteOut(MESSAGE, NEWSLETTER, TRACKED, None, LINKS, UNSUBSCRIBE),
        body=REWRITE_IN,
    ),
    "rewrite_mime": Example(MAIL + TRACKED, body=NAMED + MAIL + HTML),
    "store_template": Example(
        messages.TemplateOut(NEWSLETTER, LINKS, [], fields=["name"]),
        body={
            "subject": "New boots",
            "html": HTML.replace("Ann", "{{ name }}"),
        },
    ),
    "create_messages": Example(
        [messages.MessageOut(MESSAGE, RECIPIENT, TRACKED, None, UNSUBSCRIBE)],
        body=[
            {"recipient": RECIPIENT, "values": {"name": "Ann"}},
        ],
    ),
    "list_newsletters": Example(
        stats.NewsletterList([NEWSLETTER_OUT], "1795507452480.spring-sale", 1),
        query={"limit": "1"},
    ),
    "get_newsletter": Example(NEWSLETTER_OUT),
    "get_newsletter_stats": Example(STATS),
    "get_newsletter_links": Example(
        stats.LinkList(
            NEWSLETTER,
            [
                stats.LinkStats(
                    LINK,
                    "",
                    "our new boots",
                    "https://shop.example/boots",
                    ("boots",),
                    False,
                    1200,
                    *CLICK_COUNTS,
                    (stats.PlaceStats(0, *CLICK_COUNTS),),
                )
            ],
        )
    ),
    "get_newsletter_mail_providers": Example(
        stats.MailProviderList(
            NEWSLETTER,
            "delivered",
            [
                stats.MailProviderStats("Gmail", 480, 471, 6, 0, 1, 201, 64, 0.4268, 0.1359),
                stats.MailProviderStats("shop.example", 12, 12, 0, 0, 0, 7, 2, 0.5833, 0.1667),
            ],
        )
    ),
    "get_newsletter_agents": Example(
        stats.AgentList(
            NEWSLETTER,
            stats.Agents(
                clients=[stats.AgentStats("Firefox", 312, 312, 0)],
                systems=[stats.AgentStats("Windows", 287, 287, 0)],
                devices=[stats.AgentStats("desktop", 401, 401, 0)],
                countries=[stats.AgentStats("DE", 350, 341, 9)],
                families=[stats.AgentStats("Gmail", 203, 203, 0)],
            ),
        )
    ),
    "get_newsletter_timeline": Example(
        stats.TimelineOut(
            NEWSLETTER,
            SENT_AT,
            "2026-11-24T10:00:00.000Z",
            3600,
            [stats.StepOut(SENT_AT, stats.Totals(412, 390, 22), stats.Totals(150, 121, 29))],
        ),
        query={"from": "2026-11-24T08:00:00Z", "to": "2026-11-24T10:00:00Z", "step": "hour"},
    ),
    "get_newsletter_report": Example(
        '<!doctype html>\n<html lang="en">...</html>', query={"period": "7d"}
    ),
    "search_messages": Example(
        MessageList([RECORD], None), body={"recipient": RECIPIENT, "metadata": {"order": ORDER}}
    ),
    "find_messages": Example(MessageList([RECORD], None), query={"metadata": f"order:{ORDER}"}),
    "get_message": Example(HISTORY),
    "look_up_recipient": Example(PERSON, body={"recipient": RECIPIENT}),
    "get_recipient": Example(PERSON),
    "find_recipients": Example(SEGMENT_LINES, query={"clicked_tag": "boots"}),
    "list_segments": Example(segments.SavedList([SAVED])),
    "list_segment_recipients": Example(SEGMENT_LINES),
    "save_segment": Example(SAVED, body=SEGMENT_IN),
    "delete_segment": Example(SAVED),
    "list_events": Example(
        [EVENT], query={"type": "message.clicked", "verdict": "human", "limit": "100"}
    ),
    "stream_events": Example([EVENT], query={"type": "message.clicked", "settled": "true"}),
    "list_webhooks": Example(webhooks.WebhookList([WEBHOOK_OUT])),
    "create_webhook": Example(
        WEBHOOK_CREATED,
        body={
            "url": "https://hooks.shop.example/mailwake",
            "types": ["message.clicked"],
            "verdicts": ["human"],
            "tags": ["boots"],
            "first": True,
        },
    ),
    "get_webhook": Example(WEBHOOK_OUT),
    "delete_webhook": Example(WEBHOOK_OUT),
    "enable_webhook": Example(WEBHOOK_OUT),
    "test_webhook": Example(TEST_DELIVERY),
    "list_deliveries": Example(
        webhooks.DeliveryList([DELIVERY], "381", 381), query={"state": "delivered", "limit": "1"}
    ),
    "retry_deliveries": Example(webhooks.Replayed(2)),
    "list_followups": Example(followups.FollowUpList([FOLLOWUP_OUT])),
    "create_followup": Example(
        FOLLOWUP_OUT,
        body={
            "name": "Reminder",
            "webhook_id": WEBHOOK,
            "when": "not_clicked",
            "after_hours": 48,
            "newsletters": [NEWSLETTER],
        },
    ),
    "get_followup": Example(FOLLOWUP_OUT),
    "delete_followup": Example(FOLLOWUP_OUT),
    "get_experiment": Example(EXPERIMENT),
    "start_experiment": Example(EXPERIMENT, body=PLAN),
    "end_experiment": Example(EXPERIMENT),
    "assign_variants": Example(
        experiments.AssignmentList([experiments.AssignmentOut(RECIPIENT, "B", False)]),
        body={"recipients": [RECIPIENT]},
    ),
    "list_suppressions": Example(
        SuppressionList(
            [SuppressionOut(52, "bob@example.com", None, True, "api", "2026-11-22T17:20:44.915Z")],
            "52",
        ),
        query={"limit": "1"},
    ),
    "get_suppression_rules": Example(SuppressionRulesOut(True, True, 5, True)),
    "save_suppression_rules": Example(
        SuppressionRulesOut(True, True, 3, False),
        body={"bounces": True, "complaints": True, "soft_bounces": 3},
    ),
    "reset_suppression_rules": Example(SuppressionRulesOut(True, True, 5, True)),
    "report_outcomes": Example(
        OutcomeAccepted("delivered-1"),
        body={
            "id": "delivered-1",
            "type": "delivered",
            "message_id": MESSAGE,
            "occurred_at": OPENED_AT,
            "code": "250",
            "provider": "postfix",
        },
    ),
    "suppress_recipient": Example(SUPPRESSED, body=NOBODY),
    "unsuppress_recipient": Example(SuppressedOut("bob@example.com", None, False), body=NOBODY),
    "check_suppression": Example(SUPPRESSED, body=NOBODY),
    "check_suppression_by_url": Example(SUPPRESSED, query=NOBODY),
    "look_up_consent": Example(WITHDRAWN, body=NOBODY),
    "get_consent": Example(WITHDRAWN, query=NOBODY),
    "withdraw_consent": Example(WITHDRAWN, body=CONSENT_IN),
    "restore_consent": Example(privacy.ConsentOut("bob@example.com", []), body=CONSENT_IN),
    "export_recipient": Example(SUBJECT, body={"recipient": RECIPIENT}),
    "export_recipient_by_url": Example(SUBJECT),
    "erase_recipient": Example(ERASURE, body=NOBODY),
    "get_erasure": Example(ERASURE),
    "reclassify_hits": Example(
        [ReclassifyOut(5000, 12_431, 3), ReclassifyOut(12_431, 12_431, 8)],
        body={"from": "2026-11-01T00:00:00Z", "to": "2026-11-24T00:00:00Z"},
    ),
}

# What an error's answer contains, by status.
PROBLEMS: Mapping[int, Problem] = {
    problem.status: problem
    for problem in (
        Problem("Bad request", 400, "the body is not valid JSON: trailing characters (byte 17)"),
        Problem("Unauthorized", 401, "no API key: send `Authorization: Bearer KEY`"),
        Problem("Forbidden", 403, "the API key 'reports' does not have the scope 'admin'"),
        Problem("Not found", 404, "there is no newsletter 'spring'", "newsletter_id"),
        Problem("Conflict", 409, "the newsletter already has an experiment. Remove it first."),
        Problem("Gone", 410, "the events after this cursor are no longer kept", "after"),
        Problem("Too large", 413, "the body must have at most 16,384 bytes"),
        Problem("Invalid value", 422, "must be between 1 and 1000", "limit"),
        Problem("Quota used up", 429, "the workspace may make 600 requests a minute"),
        Problem("ClickHouse is unavailable", 503, "Hits are still stored. Try again in a moment."),
        Problem("The disk is nearly full", 507, "412 MB are free, less than the reserve of 500 MB"),
    )
}


def lines(values: Sequence[Any]) -> str:
    """Returns values as NDJSON."""
    return "".join(f"{msgspec.json.encode(value).decode()}\n" for value in values)


def server_sent(values: Sequence[EventOut]) -> str:
    """Returns events as server-sent events."""
    return "".join(
        f"id: {value.cursor}\nevent: {value.type}\ndata: {msgspec.json.encode(value).decode()}\n\n"
        for value in values
    )
