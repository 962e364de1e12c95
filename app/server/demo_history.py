"""Thirty days of history for a new demo: messages of earlier days, and what came of them.

The demo's own traffic passes through HTTP and happens now. What happened earlier is written to the
journal as the service would have written it then, and loaded like everything else.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import msgspec

from app.auth.workspaces import DEFAULT
from app.demo.audience import Reader, audience
from app.demo.deliveries import Report, reports
from app.demo.mailings import NEWSLETTERS, TRANSACTIONAL, Mailing
from app.demo.reactions import Act, reactions
from app.messages.prepare import MessageDraft, MessagePreparer, PreparedMessage
from app.model.records import Outcome, encode, now_ms
from app.schemas.messages import NewsletterIn, RewriteIn, TrackingIn
from app.server.service import Mailwake
from app.tracking.hit_from_request import hit
from app.tracking.tokens import LinkToken, MessageToken, Tokens
from app.tracking.tracker import NOWHERE

DAYS = 30
DAY_MS = 86_400_000
SUBSCRIBERS = 220  # of an earlier newsletter
TRANSACTIONS = 14  # of each stream a day, fewer at weekends
PACE = 90.0  # times the pace of the demo's traffic, which is faster than life
BATCH = 500  # messages written at once
_TRACKED = re.compile(r"/c/[\w-]+/([\w-]+)")


class _Sent(NamedTuple):
    mailing: Mailing
    reader: Reader
    at: int


async def write_history(service: Mailwake) -> None:
    """Write what was sent in the last 30 days, and the requests that followed.

    Raises JournalError.
    """
    preparer, journal = service.registry.default.preparer, service.journal
    tokens = Tokens(service.settings.secret_keys, DEFAULT)
    rng, readers = Random("history"), audience(1)  # noqa: S311  (lifelike, not secret)
    sent = await asyncio.to_thread(lambda: list(_sent(rng, readers, now_ms())))
    closed: set[str] = set()  # mailboxes that a bounce has shown to accept no mail
    prepared: dict[str, tuple[PreparedMessage, list[LinkToken], list[str]]] = {}
    for start in range(0, len(sent), BATCH):
        drafts: list[MessageDraft] = []
        lines: list[bytes] = []
        for one in sent[start : start + BATCH]:
            if one.reader.address in closed:
                continue
            if one.mailing.id not in prepared:
                ready = await asyncio.to_thread(_prepared, preparer, one)
                await preparer.record_names(ready)
                links = [tokens.read_link(link) for link in _links(ready)]
                labels = [link.label for link in ready.links if link.tracked]
                prepared[one.mailing.id] = ready, links, labels
            ready, links, labels = prepared[one.mailing.id]
            draft = preparer.draft(
                ready.newsletter.newsletter, one.reader.address, ready.draft.modes, one.at
            )
            draft = replace(draft, carried=ready.draft.carried, links=ready.draft.links)
            drafts.append(draft)
            token = tokens.read_message(draft.token)
            became = reports(rng, one.reader)
            lines += _outcomes(token, became, one.at)
            if became[0].permanent:
                closed.add(one.reader.address)
            acts = reactions(rng, one.mailing, one.reader, labels)
            if became[0].kind == "delivered":
                lines += _hits(token, links, acts, one.at)
        await preparer.record_drafts(drafts)
        if lines:
            await journal.write(b"".join(lines))
        await asyncio.sleep(0)


def _sent(rng: Random, readers: Sequence[Reader], now: int) -> Iterator[_Sent]:
    """Yields what was sent, in order of time: newsletters at ten, the rest through the day."""
    sent: list[_Sent] = []
    for number, mailing in enumerate(NEWSLETTERS):
        days = DAYS - 2 - number * 4
        early = replace(mailing, id=f"{mailing.id}-preview", name=f"{mailing.name}, preview")
        at = now - days * DAY_MS + rng.randint(-3, 3) * 1_800_000
        sent += [
            _Sent(early, reader, at + number * 400)
            for number, reader in enumerate(rng.sample(readers, SUBSCRIBERS))
        ]
    for day in range(DAYS, 0, -1):
        for mailing in TRANSACTIONAL:
            weekday = (now // DAY_MS - day) % 7  # 0: a Thursday
            count = round(TRANSACTIONS * mailing.share / 25 * (0.5 if weekday in (2, 3) else 1))
            for reader in rng.sample(readers, count):
                at = now - day * DAY_MS + rng.randrange(DAY_MS)
                sent.append(_Sent(mailing, reader, at))
    yield from sorted((one for one in sent if one.at < now - 3_600_000), key=lambda one: one.at)


def _prepared(preparer: MessagePreparer, one: _Sent) -> PreparedMessage:
    named = NewsletterIn(
        one.mailing.id, one.mailing.name, one.mailing.subject, tuple(one.mailing.tags)
    )
    html = one.mailing.html(one.reader)
    utm = {"source": "email", "campaign": one.mailing.id}
    request = RewriteIn(named, one.reader.address, html, utm=utm, tracking=TrackingIn())
    return preparer.prepare(request, html.encode())


def _links(ready: PreparedMessage) -> list[str]:
    return _TRACKED.findall(ready.html.decode())


def _outcomes(token: MessageToken, became: Sequence[Report], sent: int) -> Iterator[bytes]:
    """Yields the journal's lines of the reports that have come by now."""
    message = token.message.hex()
    for report in became:
        at = sent + int(report.at * 1000)
        if at <= now_ms():
            yield encode(
                Outcome(
                    at=at,
                    received=at,
                    workspace=DEFAULT,
                    event=f"{report.kind} {message}",
                    kind=report.kind,
                    message=message,
                    permanent=report.permanent,
                    code=report.code,
                    text=report.text,
                )
            )


def _hits(
    token: MessageToken, links: Sequence[LinkToken], acts: Sequence[Act], sent: int
) -> Iterator[bytes]:
    """Yields the journal's lines of the requests that have happened by now."""
    for act in acts:
        at = sent + int(act.at * PACE * 1000)
        if act.kind == "unsubscribe" or at > now_ms():
            continue
        headers = {b"user-agent": act.agent.encode()}
        headers |= {name.encode(): value.encode() for name, value in act.headers.items()}
        target = links[act.link] if act.kind == "click" else NOWHERE
        record = hit(act.method, headers, act.address, act.kind, token, target)
        yield encode(msgspec.structs.replace(record, at=at))
