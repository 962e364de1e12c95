"""A message on its way out: rewritten, signed, and entered in the ledger."""

import asyncio
import uuid
from dataclasses import dataclass

from app import events
from app.catalog import Catalog
from app.events import new_id, newsletter_key, now_ms, recipient_key
from app.journal import Journal
from app.rewrite import Link, Options, compile_html, rewrite_text
from app.schemas import LinkOut, RewriteIn, RewriteOut
from app.settings import Settings
from app.tokens import LinkToken, MessageToken, Tokens


@dataclass(frozen=True)
class Prepared:
    """A rewritten message that is not yet recorded."""

    answer: RewriteOut
    newsletter: events.Newsletter
    links: list[events.Link]
    message: events.Message


class Outgoing:
    """Prepares messages of one workspace. `prepare` is pure and thread-safe; `record` is not."""

    def __init__(
        self, settings: Settings, tokens: Tokens, journal: Journal, workspace: str = "default"
    ) -> None:
        self._settings, self._tokens, self._journal = settings, tokens, journal
        self._workspace = workspace
        self._catalog = Catalog()

    def prepare(self, wanted: RewriteIn) -> Prepared:
        """Rewrite HTML (and text, when asked for) for one recipient; nothing is recorded yet."""
        base_url = self._settings.public_url
        newsletter = newsletter_key(self._workspace, wanted.newsletter.id)
        at = now_ms()
        token = MessageToken(
            message=new_id(at),
            newsletter=newsletter,
            recipient=recipient_key(
                self._settings.recipient_key, self._workspace, wanted.recipient
            ),
        )
        signed = self._tokens.message(token).encode("ascii")

        def link_token(link: Link) -> str:
            return self._tokens.link(LinkToken(newsletter, link.index, link.target))

        options = Options(
            clicks=wanted.tracking.clicks,
            opens=wanted.tracking.opens,
            utm={f"utm_{k.removeprefix('utm_')}": v for k, v in wanted.utm.items()},
            own_origins=(base_url,),
        )
        compiled = compile_html(
            wanted.html.encode("utf-8", "surrogatepass"), options, link_token, base_url, "utf-8"
        )
        text = wanted.text
        if text is not None and wanted.tracking.text and wanted.tracking.clicks:
            plain = rewrite_text(text, options, link_token, base_url)
            text = plain.personalise(signed).decode("utf-8", "surrogatepass")
        unsubscribe = f"{base_url}/u/{self._tokens.unsubscribe(token)}"
        message_id = str(uuid.UUID(bytes=token.message))
        answer = RewriteOut(
            message_id=message_id,
            newsletter_id=wanted.newsletter.id,
            html=compiled.personalise(signed).decode("utf-8", "surrogatepass"),
            text=text,
            links=[
                LinkOut(link.index, link.url, link.tracked, link.reason, link.label)
                for link in compiled.links
            ],
            headers={
                "List-Unsubscribe": f"<{unsubscribe}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            notes=list(compiled.notes),
        )
        named = wanted.newsletter
        return Prepared(
            answer,
            events.Newsletter(
                at, self._workspace, newsletter, named.id, named.name, named.subject, named.tags
            ),
            [
                events.Link(
                    at, self._workspace, newsletter, link.index, link.url, link.label, link.tags
                )
                for link in compiled.links
                if link.tracked
            ],
            events.Message(
                at,
                self._workspace,
                newsletter,
                token.message.hex(),
                token.recipient,
                wanted.recipient.strip(),
            ),
        )

    def record(self, prepared: Prepared) -> asyncio.Future[None] | None:
        """Enter the message in the ledger: all of it or, raising JournalError, nothing."""
        changes = list(self._catalog.changes(prepared.newsletter, prepared.links))
        records = [*(record for _, _, record in changes), prepared.message]
        kept = self._journal.write(b"".join(map(events.encode, records)))
        for key, value, _ in changes:
            self._catalog.remember(key, value)
        return kept
