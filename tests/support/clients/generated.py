"""Uses the client that openapi-python-client has generated: `generated.py URL KEY`.

It runs in an environment of its own (`make clients`), and prints what it found as JSON.
"""

import io
import json
import sys
from datetime import UTC, datetime, timedelta

from mailwake_api import AuthenticatedClient
from mailwake_api.api.events import list_events
from mailwake_api.api.messages import find_messages, get_message
from mailwake_api.api.newsletters import (
    get_newsletter,
    get_newsletter_report,
    get_newsletter_stats,
    get_newsletter_timeline,
    list_newsletters,
)
from mailwake_api.api.recipients import find_recipients
from mailwake_api.api.rewriting import (
    create_messages,
    rewrite_message,
    rewrite_mime,
    store_template,
)
from mailwake_api.api.suppressions import (
    check_suppression_by_url,
    suppress_recipient,
    unsuppress_recipient,
)
from mailwake_api.models import (
    EventOut,
    ListEventsTypeItem,
    ListEventsVerdictItem,
    MessageOut,
    NewsletterIn,
    Problem,
    RewriteIn,
    RewriteInMetadata,
    SuppressionIn,
    TemplateIn,
)
from mailwake_api.types import File

NEWSLETTER = "generated/python ü"  # a slash and a space, which belong to the id
HTML = '<a href="https://shop.example/boots" data-track-tag="boots">Boots</a>'
LINES = [{"recipient": f"{name}@example.com"} for name in ("bob", "cem")]
MAIL = (
    f"To: dora@example.com\r\nX-Mailwake-Newsletter: plain\r\nContent-Type: text/html\r\n\r\n{HTML}"
)


def lines(file: File) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.payload.read().splitlines()]


def sent(client: AuthenticatedClient) -> dict[str, object]:
    rewritten = rewrite_message.sync(
        client=client,
        body=RewriteIn(
            newsletter=NewsletterIn(id=NEWSLETTER, name="Python"),
            recipient="ann@example.com",
            html=HTML,
            metadata=RewriteInMetadata.from_dict({"order": "A:1"}),
        ),
    )
    store_template.sync(NEWSLETTER, client=client, body=TemplateIn(html=HTML))
    body = File(payload=io.BytesIO(b"".join(json.dumps(one).encode() + b"\n" for one in LINES)))
    streamed = create_messages.sync(NEWSLETTER, client=client, body=body)
    messages = [MessageOut.from_dict(line) for line in lines(streamed)]
    mail = rewrite_mime.sync_detailed(client=client, body=File(payload=io.BytesIO(MAIL.encode())))
    return {
        "message": rewritten.message_id,
        "html": rewritten.html,
        "streamed": [message.recipient for message in messages],
        "mail": mail.parsed.payload.read().decode(),
        "mail id": mail.headers["x-mailwake-message-id"],
    }


def seen(client: AuthenticatedClient, message_id: str) -> dict[str, object]:
    now = datetime.now(UTC)
    found = find_messages.sync(
        client=client, metadata=["order:A:1"], recipient="ann@example.com", limit=5
    )
    history = get_message.sync(message_id, client=client)
    line = get_newsletter_timeline.sync(
        NEWSLETTER, client=client, from_=now - timedelta(hours=1), to=now, step="minute"
    )
    events = list_events.sync(
        client=client,
        type_=[ListEventsTypeItem.MESSAGE_CLICKED],
        verdict=[ListEventsVerdictItem.HUMAN],
    )
    people = find_recipients.sync(
        client=client, clicked_tag=["boots"], newsletter=NEWSLETTER, since=now - timedelta(hours=1)
    )
    pages, after = [], ""
    while after is not None:
        page = list_newsletters.sync(client=client, limit=1, after=after)
        pages += [newsletter.id for newsletter in page.newsletters]
        after = page.next_after
    entry = SuppressionIn(recipient="bob@example.com")
    suppressed = [
        suppress_recipient.sync(client=client, body=entry).suppressed,
        check_suppression_by_url.sync(client=client, recipient="bob@example.com").suppressed,
        unsuppress_recipient.sync(client=client, body=entry).suppressed,
    ]
    problem = get_newsletter.sync("unknown", client=client)
    refused = find_messages.sync(client=client, recipient="Ann <ann@example.com>")
    assert isinstance(problem, Problem) and isinstance(refused, Problem)
    return {
        "found": [message.message_id for message in found.messages],
        "sent after": (history.message.sent_at - now).total_seconds(),
        "history": [event.type_ for event in history.events],
        "clicks": get_newsletter_stats.sync(NEWSLETTER, client=client).clicks.human.total,
        "timeline": sum(point.clicks.human for point in line.points),
        "events": [EventOut.from_dict(event).recipient for event in lines(events)],
        "people": [person["recipient"] for person in lines(people)],
        "pages": pages,
        "report": get_newsletter_report.sync(NEWSLETTER, client=client)[:15],
        "suppressed": suppressed,
        "problem": [problem.status, problem.field],
        "refused": [refused.status, refused.field],
    }


def main() -> None:
    url, key, message_id = sys.argv[1:]
    with AuthenticatedClient(base_url=url, token=key) as client:
        print(json.dumps(seen(client, message_id) if message_id else sent(client)))


main()
