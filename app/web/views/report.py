"""A newsletter's report: one HTML document that prints well and survives mail clients.

It loads nothing, runs nothing, and looks right without its style sheet: colours and widths stand in
the tags (mail clients drop much of CSS: caniemail.com).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache
from hashlib import sha256
from typing import Any

from app.schemas.stats import Stats
from app.stats.filters import Filters
from app.stats.queries import Queries
from app.web.views import newsletters
from app.web.views.reader import UTC_READER, Reader
from app.web.views.templating import period_of, rate_of, rates_of, tally_of, templates

LINKS = 15
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'; sandbox"
    ),
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def figures(
    queries: Queries, newsletter_id: str, filters: Filters, reader: Reader = UTC_READER
) -> dict[str, Any]:
    """Returns the figures of messages sent in a period, people's hits. Raises NotFoundError."""
    people = replace(filters.over_time(), show="human")
    page = newsletters.newsletter(queries, newsletter_id, people, reader)
    page["links"] = page["links"][:LINKS]
    return {**page, "period": period_of(people, reader), "made_at": datetime.now(UTC)}


def html(page: dict[str, Any], url: str) -> str:
    """Returns the document; `url` is where the dashboard is, empty for no link to it."""
    return _templates().env.get_template("report.html").render(page, url=url)


_templates = cache(templates)


def text(page: dict[str, Any], url: str) -> str:
    """Returns the same as plain text, shorter."""
    stats, opens, clicks = page["stats"], page["opens"], page["clicks"]
    newsletter, reader = page["newsletter"], page["reader"]
    lines = [
        f"{newsletter.name or newsletter.id}: {page['period'].lower()}",
        "",
        f"Sent          {reader.number(stats.messages)}",
        *_outcomes(reader, stats),
        f"Opened        {tally_of(reader, opens.unique, stats.opens_tracked, stats.messages)}"
        f" ({rates_of(reader, opens.unique, page['unknowable'], stats.open_rate_messages)})",
        f"Clicked       {tally_of(reader, clicks.unique, stats.clicks_tracked, stats.messages)}"
        f" ({rate_of(reader, clicks.unique, stats.click_rate_messages)})",
        f"Unsubscribed  {reader.number(stats.unsubscribes)}"
        f" ({rate_of(reader, stats.unsubscribes, page['rated'])})",
        "",
        *(
            f"{reader.number(count.unique):>8}  {link.title}"
            for link, count in page["links"]
            if count.unique > 0
        ),
        "",
        url,
    ]
    return "\n".join(lines).strip() + "\n"


def _outcomes(reader: Reader, stats: Stats) -> Iterator[str]:
    """Yields lines about deliveries, none if nothing is known of them."""
    if (outcomes := stats.outcomes).known:
        for name, count in (
            ("Delivered", outcomes.arrived),
            ("Bounced", outcomes.bounced),
            ("Rejected", outcomes.rejected),
            ("Complained", outcomes.complained),
        ):
            yield f"{name:12}  {reader.number(count)} ({rate_of(reader, count, stats.messages)})"
        yield f"Rates of opens, clicks and unsubscribes are of messages {stats.rates_of}:"


def message(page: dict[str, Any], sender: str, to: str, url: str, key: str) -> EmailMessage:
    """Returns the report as a mail with `url` as its link."""
    newsletter = page["newsletter"]
    subject = f"{newsletter.name or newsletter.id}: report for {page['period'].lower()}"
    named = f"{newsletter.id}\0{key}\0{to}"
    return message_of(html(page, url), subject, text(page, url), sender, to, named)


def message_of(
    document: str, subject: str, plain: str, sender: str, to: str, key: str
) -> EmailMessage:
    """Returns a document as a mail. The same `key` gives the same Message-ID, so a repeat shows."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, to
    mail["Subject"] = " ".join(subject.split())
    mail["Date"] = format_datetime(datetime.now(UTC))
    digest = sha256(key.encode()).hexdigest()[:32]
    mail["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday responder answers it
    mail.set_content(plain)
    mail.add_alternative(document, subtype="html")
    return mail
