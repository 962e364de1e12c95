"""A message on its way out: rewritten, signed, and entered in the ledger."""

import dataclasses
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from app.consent.suppressions import Suppressions
from app.experiments.experiments import NO_CHOICE, Choice, Experiments
from app.messages.link_signer import KnownLinks, LinkRules, LinkSigner
from app.model import records as events
from app.model.ids import new_id, newsletter_key, recipient_key
from app.model.records import now_ms
from app.model.tracking_modes import SHARED, Axis, Mode, Modes, aggregate_id
from app.rewriting import mime, notes, urls
from app.rewriting.html import CompiledBody, Link, Options, Scanned, scan_both, scan_html, scan_text
from app.rewriting.merge_fields import Values
from app.rewriting.mime import Edit, Leaf, Why
from app.rewriting.urls import all_domains
from app.schemas.messages import (
    LinkOut,
    ModesOut,
    NewsletterIn,
    OwnData,
    RewriteIn,
    TemplateIn,
    TrackingIn,
)
from app.settings.settings import Settings
from app.storage.journal import Journal
from app.storage.newsletters import FOLDER, Newsletters, RecordedMetadata
from app.tracking.tokens import MessageToken, Tokens

Withdrawn = Callable[[str, int, int], tuple[Axis, ...]]
NO_DATA = OwnData()


@dataclass(frozen=True)
class MessageDraft:
    """A message that has its id and tokens but is not yet recorded.

    `token` goes into links, `pixel` into the pixel: the same, but where all recipients share one of
    them. `withdrawn` is what the recipient has withdrawn from. `headers` are offered for the mail
    (RFC 8058). `carried` has the keys of its tracked links and their families. A suppressed one
    must not be sent, nor one of the holdout (`choice`, which is the variant too), so neither ever
    enters the ledger.
    """

    message: events.Message
    recipient: str
    token: str
    pixel: str
    headers: dict[str, str]
    modes: Modes
    withdrawn: tuple[Axis, ...] = ()
    suppressed: bool = False
    carried: tuple[int, ...] = ()
    choice: Choice = NO_CHOICE

    @property
    def sent(self) -> bool:
        """Whether it may be, and so enters the ledger."""
        return not (self.suppressed or self.choice.holdout)

    @property
    def variant(self) -> str | None:
        """Its name, None without one."""
        return self.choice.name or None

    @property
    def message_id(self) -> str:
        """The UUIDv7 in its usual form."""
        return str(uuid.UUID(self.message.message))

    @property
    def tracking(self) -> ModesOut:
        """The modes as the API tells them."""
        return ModesOut(*self.modes)

    def personalise(self, compiled: CompiledBody) -> bytes:
        """The recipient's own."""
        return compiled.personalise(self.token.encode("ascii"), self.pixel.encode("ascii"))


@dataclass(frozen=True)
class PreparedMessage:
    """A rewritten message: `html` and `text` are ready to send, `links` says what is tracked.

    `sample` is a whole message's HTML as it was, and the position of the first link in it.
    `records` says what is recorded of the links, `notes` what could not be done, `left` why parts
    of a whole message were left alone, `remarks` what a second reader would say.
    """

    draft: MessageDraft
    newsletter: events.Newsletter
    links: Sequence[Link]
    notes: Sequence[str]
    html: bytes
    text: str | None = None
    sample: tuple[str, int] | None = None
    left: frozenset[Why] = frozenset()
    records: Sequence[events.Link] = ()
    remarks: Sequence[str] = ()

    @property
    def all_notes(self) -> list[str]:
        """Notes and remarks, as the API returns them."""
        return [*self.notes, *self.remarks]

    @property
    def report(self) -> list[LinkOut]:
        """The links as the API tells them."""
        return link_report(self.links)


@dataclass(frozen=True)
class CompiledMail:
    """A template's HTML and text for any number of recipients, and what is recorded of its links.

    `carried` has the keys of its tracked links and their families.
    """

    html: CompiledBody
    text: CompiledBody | None
    records: Sequence[events.Link]
    carried: tuple[int, ...]
    newsletter: int
    rules: LinkRules

    @property
    def fields(self) -> frozenset[str]:
        """The names of the merge fields that values fill."""
        return self.html.fields | (self.text.fields if self.text else frozenset())

    def check(self, values: Values) -> None:
        """Raises MissingValueError or RewriteError where the values cannot fill it."""
        for compiled in (self.html, self.text):
            if compiled:
                compiled.check(values)


class MessagePreparer:
    """Prepares messages of one workspace: `prepare*` in any thread, `record*` on the loop's.

    `unproven` counts whole messages that failed the check after rewriting and stayed as they were.

    `withdrawn` tells the axes of a workspace's recipient that a newsletter must not track.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens,
        journal: Journal,
        suppressions: Suppressions,
        experiments: Experiments,
        workspace: str = "default",
        withdrawn: Withdrawn = lambda *_: (),
    ) -> None:
        self._settings, self._tokens, self._journal = settings, tokens, journal
        self.experiments = experiments
        self._withdrawn = withdrawn
        self._suppressions = suppressions
        self._workspace = workspace
        self._catalog = RecordedMetadata(Newsletters(settings.data_dir / FOLDER))
        self.unproven = 0
        self._known_links = KnownLinks()

    def prepare(
        self, wanted: RewriteIn, html: bytes, charset: str | None = "utf-8", dry: bool = False
    ) -> PreparedMessage:
        """Rewrite HTML (and text, when asked for) for one recipient; nothing is recorded yet.

        `html` takes the place of `wanted.html`; a `dry` run gives no new variant a number. Raises
        RewriteError past the rewriter's limits, VariantError past the number of variants.
        """
        newsletter = self._newsletter(wanted.newsletter)
        data = OwnData.of(wanted)
        choice = self._choice(newsletter.newsletter, wanted.recipient, wanted.variant, dry)
        draft = self._draft(newsletter.newsletter, wanted.recipient, wanted.tracking, choice, data)
        options = self._options(draft.modes, wanted.utm, wanted.tracking, wanted.newsletter)
        signer = self._signer(newsletter.newsletter, wanted.newsletter)
        base_url = self._settings.public_url
        body, in_text, leave = scan_both(html, wanted.text, options, base_url, charset)
        compiled = _compiled(body, signer, leave)
        closed = compiled.merge.closed if compiled.merge and wanted.values else ()
        compiled = compiled.filled(wanted.values, signer) if wanted.values else compiled
        text, in_text_remarks = wanted.text, list[str]()
        if text is not None and in_text and (wanted.tracking.text or wanted.values):
            signer.first = len(compiled.links)
            if not wanted.tracking.text:
                in_text = scan_text(text, Options(clicks=False), base_url)
            plain = _compiled(in_text, signer, leave)
            plain = plain.filled(wanted.values, signer) if wanted.values else plain
            in_text_remarks = self._text_remarks(plain, in_text.data)
            text = draft.personalise(plain).decode("utf-8", "surrogatepass")
        html_out = draft.personalise(compiled)
        remarks = self._remarks(compiled, html, len(html_out), options, closed)
        return PreparedMessage(
            dataclasses.replace(draft, carried=signer.carried),
            newsletter,
            compiled.links,
            compiled.notes,
            html_out,
            text,
            records=signer.records,
            remarks=[*remarks, *in_text_remarks],
        )

    def prepare_mime(
        self,
        message: bytes,
        named: NewsletterIn,
        recipient: str,
        tracking: TrackingIn,
        fold: bool = False,
        variant: str | None = None,
        split: bool = False,
        dry: bool = False,
        data: OwnData = NO_DATA,
    ) -> PreparedMessage:
        """Rewrite a whole message (RFC 5322); `html` of what is returned is that message.

        `fold` is `mime.rewrite`'s, `dry` as above. With `split` an experiment decides on the
        variant where none is named. Raises VariantError.
        """
        newsletter = self._newsletter(named)
        key = newsletter.newsletter
        choose = split or variant is not None
        choice = self._choice(key, recipient, variant, dry) if choose else NO_CHOICE
        draft = self._draft(key, recipient, tracking, choice, data)
        options = self._options(draft.modes, {}, tracking, named)
        signer = self._signer(newsletter.newsletter, named)
        links: list[Link] = []
        found: list[str] = []
        remarks: list[str] = []
        samples: list[tuple[str, int]] = []
        bodies: dict[int, Scanned] = {}

        leave: dict[str, str] = {}

        def scan(leaf: Leaf, body: bytes) -> None:
            base_url = self._settings.public_url
            if leaf.kind == "text/html":
                scanned = scan_html(body, options, base_url, leaf.charset)
            else:
                scanned = scan_text(
                    body,
                    options,
                    base_url,
                    charset=leaf.charset,
                    flowed=leaf.flowed,
                    delsp=leaf.delsp,
                )
            bodies[leaf.start] = scanned
            leave.update(scanned.refused)

        def edits(leaf: Leaf, body: bytes) -> Sequence[Edit]:
            signer.first = len(links)
            scanned = bodies[leaf.start]
            if leaf.kind == "text/html":
                samples.append((scanned.charset.decode(body), len(links)))
            elif not tracking.text:
                return []
            compiled = _compiled(scanned, signer, leave)
            links.extend(compiled.links)
            found.extend(f"byte {leaf.start}: {note}" for note in compiled.notes)
            changes = list(
                _edits(compiled, draft.token.encode("ascii"), draft.pixel.encode("ascii"))
            )
            if leaf.kind == "text/html":
                grown = sum(len(edit.new) - (edit.end - edit.start) for edit in changes)
                about = self._remarks(compiled, body, len(body) + grown, options)
            else:
                about = self._text_remarks(compiled, body)
            remarks.extend(f"body at byte {leaf.start}: {remark}" for remark in about)
            return changes

        done = mime.rewrite(message, edits, fold, scan)
        left = frozenset(note.why for note in done.notes)
        notes = [*found, *(note.text for note in done.notes)]
        if done.left:  # all of it stayed as it was, and no link was tracked
            self.unproven += 1
            return PreparedMessage(draft, newsletter, [], notes, message, left=left)
        numbered = [replace(link, index=index) for index, link in enumerate(links)]
        sample = samples[0] if samples else None
        return PreparedMessage(
            dataclasses.replace(draft, carried=signer.carried),
            newsletter,
            numbered,
            notes,
            done.message,
            sample=sample,
            records=signer.records,
            remarks=remarks,
            left=left,
        )

    def compile(self, newsletter_id: str, template: TemplateIn, modes: Modes) -> CompiledMail:
        """HTML and text of a template, compiled for any number of recipients."""
        key = newsletter_key(self._workspace, newsletter_id)
        options = self._options(modes, template.utm, template.tracking, template)
        signer, base_url = self._signer(key, template), self._settings.public_url
        source = template.html.encode()
        body, in_text, leave = scan_both(source, template.text, options, base_url, "utf-8")
        html, text = _compiled(body, signer, leave), None
        if template.text is not None and in_text:
            signer.first = len(html.links)
            if not template.tracking.text:
                in_text = scan_text(template.text, Options(clicks=False), base_url)
            text = _compiled(in_text, signer, leave)
        rules = LinkRules(template.link_families, template.full_urls)
        return CompiledMail(html, text, signer.records, signer.carried, key, rules)

    def fill(self, mail: CompiledMail, values: Values) -> CompiledMail:
        """A template's mail for one recipient, its merge fields filled.

        `records` are those of the links that the values have made. Raises MissingValueError, or
        RewriteError for too many fields.
        """
        mail.check(values)
        signer = LinkSigner(self._tokens, self._known_links, mail.newsletter, mail.rules)
        html = mail.html.filled(values, signer)
        signer.first = len(html.links)
        text = mail.text.filled(values, signer) if mail.text else None
        carried = tuple(dict.fromkeys((*mail.carried, *signer.carried)))
        return CompiledMail(html, text, signer.records, carried, mail.newsletter, mail.rules)

    def remarks(self, template: TemplateIn, mail: CompiledMail) -> list[str]:
        """What a second reader says of a template, compiled."""
        html = mail.html
        modes = self.modes(template.tracking)
        options = self._options(modes, template.utm, template.tracking, template)
        source = template.html.encode()
        token = self.draft(0, "nobody", modes).token.encode("ascii")
        closed = html.merge.closed if html.merge else ()
        about = self._remarks(html, source, len(html.personalise(token)), options, closed)
        if mail.text and template.text:
            about += self._text_remarks(mail.text, template.text.encode("utf-8", "surrogatepass"))
        return about

    def _remarks(
        self,
        compiled: CompiledBody,
        source: bytes,
        size: int,
        options: Options,
        closed: Sequence[int] = (),
    ) -> list[str]:
        host = urls.address(self._settings.public_url).domain
        return [
            *notes.of_size(len(source), size, options.pixel_top or not options.opens),
            *notes.of_links(compiled.links, source, host, options.placeholders),
            *notes.of_fields(closed),
        ]

    def _text_remarks(self, compiled: CompiledBody, source: bytes) -> list[str]:
        own = self._settings.placeholders
        return [f"text: {note}" for note in notes.of_placeholders(compiled.links, source, own)]

    def modes(self, tracking: TrackingIn) -> Modes:
        """What is asked for, by the settings where that is not said."""
        default = self._settings
        return Modes(_mode(tracking.opens, default.opens), _mode(tracking.clicks, default.clicks))

    def key(self, recipient: str) -> int:
        """The recipient's key."""
        return recipient_key(self._settings.recipient_key, self._workspace, recipient)

    def writes(self, newsletter_id: str, variant: str | None) -> bool:
        """Whether preparing such a message may wait for the disk: then do it in a thread."""
        if variant is None:
            return False
        key = newsletter_key(self._workspace, newsletter_id)
        return not self.experiments.variants.knows(key, variant)

    def draft(
        self,
        newsletter: int,
        recipient: str,
        modes: Modes,
        at: int | None = None,
        choice: Choice = NO_CHOICE,
        data: OwnData = NO_DATA,
    ) -> MessageDraft:
        """A new message to one recipient of a newsletter (by its key).

        Metadata and Message-ID may lead to a person: they are kept where the address is.
        """
        at = now_ms() if at is None else at
        whom = self.key(recipient)
        withdrawn = tuple(
            axis
            for axis in self._withdrawn(self._workspace, whom, newsletter)
            if getattr(modes, axis) != "off"
        )
        modes = modes.without(withdrawn)
        token = MessageToken(
            new_id(at), newsletter, whom, modes.flags, choice.number, workspace=self._workspace
        )
        own = self._tokens.message(token)
        shared = self._shared(newsletter, at) if "aggregate" in modes else own
        # An axis that is off goes with the other: most mails have one token.
        links, pixel = (shared if mode in ("aggregate", "off") else own for mode in modes[::-1])
        url = f"{self._settings.public_url}/u/{self._tokens.unsubscribe(token)}"
        return MessageDraft(
            message=events.Message(
                at=at,
                workspace=self._workspace,
                newsletter=newsletter,
                message=token.message.hex(),
                recipient=whom,
                address=recipient.strip() if modes.personal else "",
                variant=choice.number,
                flags=modes.flags,
                metadata=dict(data.metadata) if modes.personal else {},
                rfc_message_id=data.rfc_message_id if modes.personal else "",
            ),
            recipient=recipient.strip(),
            token=links if modes.clicks != "off" else pixel,
            pixel=pixel if modes.opens != "off" else links,
            headers={
                "List-Unsubscribe": f"<{url}>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            modes=modes,
            withdrawn=withdrawn,
            choice=choice,
        )

    def _shared(self, newsletter: int, at: int) -> str:
        """The token of everybody to whom the newsletter goes that day."""
        message = aggregate_id(newsletter, at)
        return self._tokens.message(
            MessageToken(message, newsletter, 0, SHARED, workspace=self._workspace)
        )

    def _draft(
        self, newsletter: int, recipient: str, tracking: TrackingIn, choice: Choice, data: OwnData
    ) -> MessageDraft:
        modes = self.modes(tracking)
        draft = self.draft(newsletter, recipient, modes, choice=choice, data=data)
        return self.checked([draft])[0]

    def _choice(self, newsletter: int, recipient: str, name: str | None, dry: bool) -> Choice:
        choices = self.experiments.choices(newsletter, name, new=not dry)
        return choices.of(self.key(recipient))

    def checked(self, drafts: Sequence[MessageDraft]) -> Sequence[MessageDraft]:
        """Drafts of one newsletter, those to suppressed recipients marked."""
        if not drafts:
            return drafts
        recipients = {draft.message.recipient for draft in drafts}
        found = self._suppressions.among(recipients, drafts[0].message.newsletter)
        if not found:
            return drafts
        return [
            dataclasses.replace(draft, suppressed=draft.message.recipient in found)
            for draft in drafts
        ]

    async def record(self, prepared: PreparedMessage) -> None:
        """Enter the message in the ledger: all of it or, raising JournalError, nothing."""
        await self._record(prepared.newsletter, prepared.records, [prepared.draft])

    async def record_names(self, prepared: PreparedMessage) -> None:
        """Enter newsletter and links, before the message is sent. Raises JournalError."""
        await self._record(prepared.newsletter, prepared.records, [])

    async def record_template(
        self, newsletter_id: str, template: TemplateIn, links: Sequence[events.Link]
    ) -> None:
        """Enter a newsletter and its links before its messages. Raises JournalError."""
        named = NewsletterIn(newsletter_id, template.name, template.subject, template.tags)
        await self._record(self._newsletter(named), links, [])

    async def record_drafts(
        self, drafts: Iterable[MessageDraft], links: Iterable[events.Link] = ()
    ) -> None:
        """Enter many messages and links of theirs by one write.

        All of them or, raising JournalError, none.
        """
        new_links = list(self._known_links.new(links))
        records = [*new_links, *_ledger(drafts)]
        if records:
            await self._journal.write(b"".join(map(events.encode, records)))
            self._known_links.remember(new_links)

    async def _record(
        self,
        newsletter: events.Newsletter,
        links: Sequence[events.Link],
        drafts: Iterable[MessageDraft],
    ) -> None:
        stated = self._catalog.changed(newsletter)
        new_links = list(self._known_links.new(links))
        records = [*([stated] if stated else ()), *new_links, *_ledger(drafts)]
        if not records:
            return
        await self._journal.write(b"".join(map(events.encode, records)))
        if stated:
            self._catalog.remember(stated)
        self._known_links.remember(new_links)

    def _newsletter(self, named: NewsletterIn) -> events.Newsletter:
        key = newsletter_key(self._workspace, named.id)
        return events.Newsletter(
            at=now_ms(),
            workspace=self._workspace,
            newsletter=key,
            id=named.id,
            name=named.name,
            subject=named.subject,
            tags=named.tags,
        )

    def _options(
        self,
        modes: Modes,
        utm: dict[str, str],
        tracking: TrackingIn,
        of: NewsletterIn | TemplateIn,
    ) -> Options:
        return Options(
            clicks=modes.clicks != "off",
            opens=modes.opens != "off",
            utm={f"utm_{name.removeprefix('utm_')}": value for name, value in utm.items()},
            own_origins=(self._settings.public_url,),
            leave_url_text=tracking.url_text == "leave",
            pixel_top=tracking.pixel == "top",
            placeholders=self._settings.placeholders,
            excluded_domains=self._settings.excluded_domains + all_domains(of.excluded_domains),
        )

    def _signer(self, newsletter: int, of: NewsletterIn | TemplateIn) -> LinkSigner:
        rules = LinkRules(of.link_families, of.full_urls)
        return LinkSigner(self._tokens, self._known_links, newsletter, rules)


def _ledger(drafts: Iterable[MessageDraft]) -> list[events.Record]:
    """The messages that may be sent, and how many of them carried which links."""
    sent = [draft for draft in drafts if draft.sent]
    carried: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
    at: dict[tuple[int, int, tuple[int, ...]], events.Message] = {}
    for draft in sent:
        if draft.carried:
            message = draft.message
            alike = message.newsletter, message.variant, draft.carried
            carried[alike] += 1
            at.setdefault(alike, message)
    return [
        *(draft.message for draft in sent),
        *(
            events.Carried(at[alike].at, at[alike].workspace, alike[0], alike[2], count, alike[1])
            for alike, count in carried.items()
        ),
    ]


def link_report(links: Iterable[Link]) -> list[LinkOut]:
    """Links as the API tells them."""
    return [LinkOut(link.index, link.url, link.tracked, link.reason, link.label) for link in links]


def _mode(wanted: bool | Mode, default: Mode) -> Mode:
    if isinstance(wanted, bool):
        return default if wanted else "off"
    return wanted


def _compiled(body: Scanned, signer: LinkSigner, leave: Mapping[str, str]) -> CompiledBody:
    """A body with its links signed, of which the signer's records are of those that are tracked."""
    compiled = body.compile(signer, leave)
    if any(link.reason == "too_long" for link in compiled.links):
        signer.keep(compiled.links)
    return compiled


def _edits(compiled: CompiledBody, token: bytes, pixel: bytes) -> Iterable[Edit]:
    """What a compiled body changes for one recipient; in its own charset."""
    links, opens = (one.decode().encode(compiled.codec) for one in (token, pixel))
    for splice in compiled.splices:
        own = opens if splice.pixel else links
        yield Edit(splice.start, splice.end, splice.inserted(own))
