"""Prepares a message for sending: rewrites, signs and records it."""

import copy
import dataclasses
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec.structs import replace

from app.consent.suppressions import Suppressions
from app.experiments.experiments import NO_CHOICE, Choice, Experiments
from app.messages.link_signer import KnownLinks, LinkRules, LinkSigner
from app.model import records as journal_records
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
from app.threads import offloaded
from app.tracking.tokens import MessageToken, Tokens

RECORD_COST_BYTES = 50  # a record takes as much time as rewriting so many bytes
Withdrawn = Callable[[str, int, int], tuple[Axis, ...]]
NO_DATA = OwnData()
NOT_SENT = Modes("off", "off")  # rates leave out what is not tracked


@dataclass(frozen=True)
class MessageDraft:
    """A message that has its id and tokens but is not yet recorded.

    `token` goes into links, `pixel` into the pixel: both are the same, unless all recipients share
    one of them. `withdrawn` has the axes from which the recipient has withdrawn consent. `headers`
    are offered for the mail (RFC 8058). `carried` has the keys of its tracked links and their
    families, `links` is the number of distinct URLs. A message to a suppressed recipient or to the
    holdout (`choice`, which is also the variant) must not be sent, so neither is ever recorded.
    """

    message: journal_records.Message
    recipient: str
    token: str
    pixel: str
    headers: dict[str, str]
    modes: Modes
    withdrawn: tuple[Axis, ...] = ()
    suppressed: bool = False
    carried: tuple[int, ...] = ()
    links: int = 0
    choice: Choice = NO_CHOICE

    @property
    def sent(self) -> bool:
        """Returns whether it may be sent, and so is recorded."""
        return not (self.suppressed or self.choice.holdout)

    @property
    def variant(self) -> str | None:
        """Returns the variant's name, or None."""
        return self.choice.name or None

    @property
    def rejected(self) -> "MessageDraft":
        """Returns the draft of a mail that was not accepted for sending, so nothing can be hit."""
        message = replace(self.message, flags=NOT_SENT.flags)
        return dataclasses.replace(self, message=message, modes=NOT_SENT, carried=(), links=0)

    @property
    def message_id(self) -> str:
        """Returns the UUIDv7 in its usual form."""
        return str(uuid.UUID(self.message.message))

    @property
    def tracking(self) -> ModesOut:
        """Returns the modes as the API shows them."""
        return ModesOut(*self.modes)

    def personalise(self, compiled: CompiledBody) -> bytes:
        """Returns the body with the recipient's own tokens."""
        return compiled.personalise(self.token.encode("ascii"), self.pixel.encode("ascii"))


@dataclass(frozen=True)
class PreparedMessage:
    """A rewritten message: `html` and `text` are ready to send, `links` has what is tracked.

    `sample` is a whole message's original HTML, and the position of the first link in it. `records`
    has what is recorded of the links, `notes` what could not be done, `unchanged_reasons` why parts
    of a whole message were not rewritten, `remarks` advice about its content.
    """

    draft: MessageDraft
    newsletter: journal_records.Newsletter
    links: Sequence[Link]
    notes: Sequence[str]
    html: bytes
    text: str | None = None
    sample: tuple[str, int] | None = None
    unchanged_reasons: frozenset[Why] = frozenset()
    records: Sequence[journal_records.Link] = ()
    remarks: Sequence[str] = ()

    @property
    def all_notes(self) -> list[str]:
        """Returns notes and remarks, as the API returns them."""
        return [*self.notes, *self.remarks]

    @property
    def report(self) -> list[LinkOut]:
        """Returns the links as the API shows them."""
        return link_report(self.links)


@dataclass(frozen=True)
class CompiledMail:
    """A compiled template for any number of recipients, and what is recorded of its links.

    `carried` has the keys of its tracked links and their families, `urls` the URLs of these links.
    """

    html: CompiledBody
    text: CompiledBody | None
    records: Sequence[journal_records.Link]
    carried: tuple[int, ...]
    urls: frozenset[str]
    newsletter: int
    rules: LinkRules

    @property
    def fields(self) -> frozenset[str]:
        """Returns the names of the merge fields that values fill."""
        return self.html.fields | (self.text.fields if self.text else frozenset())

    def check(self, values: Values) -> None:
        """Raises MissingValueError or RewriteError if the values cannot fill it."""
        for compiled in (self.html, self.text):
            if compiled:
                compiled.check(values)


class MessagePreparer:
    """Prepares messages of one workspace: `prepare*` in any thread, `record*` on the event loop.

    `unproven` counts whole messages that failed the check after rewriting and stayed as they were.
    `withdrawn` returns the axes of a workspace's recipient that a newsletter must not track.
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
        self._dry = False

    @cached_property
    def dry(self) -> "MessagePreparer":
        """Returns the same for dry runs: their tokens are signed with a key that nobody accepts.

        What is not recorded must not redirect, and no new variant gets a number.
        """
        dry = copy.copy(self)
        dry._tokens = Tokens([secrets.token_urlsafe(32)], self._workspace)
        dry._known_links, dry._dry = KnownLinks(), True
        return dry

    def prepare(
        self, request: RewriteIn, html: bytes, charset: str | None = "utf-8"
    ) -> PreparedMessage:
        """Rewrite HTML, and text if requested, for one recipient, without recording it.

        `html` replaces that of the request. Raises RewriteError past the rewriter's limits,
        VariantError past the number of variants.
        """
        newsletter = self._newsletter(request.newsletter)
        data = OwnData.of(request)
        choice = self._choice(newsletter.newsletter, request.recipient, request.variant)
        draft = self._draft(
            newsletter.newsletter, request.recipient, request.tracking, choice, data
        )
        options = self._options(draft.modes, request.utm, request.tracking, request.newsletter)
        signer = self._signer(newsletter.newsletter, request.newsletter)
        base_url = self._settings.public_url
        body, in_text, leave = scan_both(html, request.text, options, base_url, charset)
        compiled = _compiled(body, signer, leave)
        closed = compiled.merge.closed if compiled.merge and request.values else ()
        compiled = compiled.filled(request.values, signer) if request.values else compiled
        text, in_text_remarks = request.text, list[str]()
        if text is not None and in_text and (request.tracking.text or request.values):
            signer.first = len(compiled.links)
            if not request.tracking.text:
                in_text = scan_text(text, Options(clicks=False), base_url)
            plain = _compiled(in_text, signer, leave)
            plain = plain.filled(request.values, signer) if request.values else plain
            in_text_remarks = self._text_remarks(plain, in_text.data)
            text = draft.personalise(plain).decode("utf-8", "surrogatepass")
        html_out = draft.personalise(compiled)
        remarks = self._remarks(compiled, html, len(html_out), options, closed)
        return PreparedMessage(
            dataclasses.replace(draft, carried=signer.carried, links=len(signer.urls)),
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
        data: OwnData = NO_DATA,
    ) -> PreparedMessage:
        """Rewrite a whole message (RFC 5322), returned as `html`, without recording it.

        `fold` is `mime.rewrite`'s. With `split` an experiment decides on the variant if none is
        named. Raises VariantError.
        """
        newsletter = self._newsletter(named)
        key = newsletter.newsletter
        choose = split or variant is not None
        choice = self._choice(key, recipient, variant) if choose else NO_CHOICE
        draft = self._draft(key, recipient, tracking, choice, data)
        options = self._options(draft.modes, {}, tracking, named)
        signer = self._signer(newsletter.newsletter, named)
        links: list[Link] = []
        body_notes: list[str] = []
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
            body_notes.extend(f"byte {leaf.start}: {note}" for note in compiled.notes)
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
        reasons = frozenset(note.why for note in done.notes)
        notes = [*body_notes, *(note.text for note in done.notes)]
        if done.unchanged:  # all of it stayed unchanged, and no link was tracked
            self.unproven += 1
            return PreparedMessage(draft, newsletter, [], notes, message, unchanged_reasons=reasons)
        numbered = [replace(link, index=index) for index, link in enumerate(links)]
        sample = samples[0] if samples else None
        return PreparedMessage(
            dataclasses.replace(draft, carried=signer.carried, links=len(signer.urls)),
            newsletter,
            numbered,
            notes,
            done.message,
            sample=sample,
            records=signer.records,
            remarks=remarks,
            unchanged_reasons=reasons,
        )

    def compile(self, newsletter_id: str, template: TemplateIn, modes: Modes) -> CompiledMail:
        """Compile HTML and text of a template for any number of recipients."""
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
        return CompiledMail(html, text, signer.records, signer.carried, signer.urls, key, rules)

    def fill(self, mail: CompiledMail, values: Values) -> CompiledMail:
        """Fill the merge fields of a template's mail for one recipient.

        `records` has the links that the values created. Raises MissingValueError, or RewriteError
        for too many fields.
        """
        mail.check(values)
        signer = LinkSigner(self._tokens, self._known_links, mail.newsletter, mail.rules)
        html = mail.html.filled(values, signer)
        signer.first = len(html.links)
        text = mail.text.filled(values, signer) if mail.text else None
        carried = tuple(dict.fromkeys((*mail.carried, *signer.carried)))
        keys = mail.urls | signer.urls
        return CompiledMail(html, text, signer.records, carried, keys, mail.newsletter, mail.rules)

    def remarks(self, template: TemplateIn, mail: CompiledMail) -> list[str]:
        """Returns advice about the content of a compiled template."""
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
        host = urls.split_url(self._settings.public_url).domain
        return [
            *notes.of_size(len(source), size, options.pixel_top or not options.opens),
            *notes.of_links(compiled.links, source, host, options.placeholders),
            *notes.of_fields(closed),
        ]

    def _text_remarks(self, compiled: CompiledBody, source: bytes) -> list[str]:
        own = self._settings.placeholders
        return [f"text: {note}" for note in notes.of_placeholders(compiled.links, source, own)]

    def modes(self, tracking: TrackingIn) -> Modes:
        """Returns the requested modes, with the settings as defaults."""
        default = self._settings
        return Modes(_mode(tracking.opens, default.opens), _mode(tracking.clicks, default.clicks))

    def key(self, recipient: str) -> int:
        """Returns the recipient's key."""
        return recipient_key(self._settings.recipient_key, self._workspace, recipient)

    def writes(self, newsletter_id: str, variant: str | None) -> bool:
        """Returns whether preparing may wait for the disk: then do it in a thread."""
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
        """Create a message to one recipient (by its key) of a newsletter.

        Metadata and Message-ID may identify a person: they are kept only where the email address
        is.
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
        # An axis that is off gets the token of the other, so that most mails have one token.
        links, pixel = (shared if mode in ("aggregate", "off") else own for mode in modes[::-1])
        url = f"{self._settings.public_url}/u/{self._tokens.unsubscribe(token)}"
        return MessageDraft(
            message=journal_records.Message(
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
        """Returns the token shared by all recipients of the newsletter on that day."""
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

    def _choice(self, newsletter: int, recipient: str, name: str | None) -> Choice:
        choices = self.experiments.choices(newsletter, name, new=not self._dry)
        return choices.of(self.key(recipient))

    def checked(self, drafts: Sequence[MessageDraft]) -> Sequence[MessageDraft]:
        """Returns drafts of one newsletter, with those to suppressed recipients marked."""
        if not drafts:
            return drafts
        recipients = {draft.message.recipient for draft in drafts}
        suppressed = self._suppressions.among(recipients, drafts[0].message.newsletter)
        if not suppressed:
            return drafts
        return [
            dataclasses.replace(draft, suppressed=draft.message.recipient in suppressed)
            for draft in drafts
        ]

    async def record(self, prepared: PreparedMessage) -> None:
        """Record the message: all of it or, raising JournalError, nothing."""
        await self._record(prepared.newsletter, prepared.records, [prepared.draft])

    async def record_names(self, prepared: PreparedMessage) -> None:
        """Record newsletter and links, before the message is sent. Raises JournalError."""
        await self._record(prepared.newsletter, prepared.records, [])

    async def record_template(
        self, newsletter_id: str, template: TemplateIn, links: Sequence[journal_records.Link]
    ) -> None:
        """Record a newsletter and its links, before its messages. Raises JournalError."""
        named = NewsletterIn(newsletter_id, template.name, template.subject, template.tags)
        await self._record(self._newsletter(named), links, [])

    async def record_drafts(
        self,
        drafts: Iterable[MessageDraft],
        links: Iterable[journal_records.Link] = (),
        outcomes: Iterable[journal_records.Outcome] = (),
    ) -> None:
        """Record many messages, their links and what is known to have become of them by one write.

        All of them or, raising JournalError, none.
        """
        await self._write(None, links, list(drafts), outcomes)

    async def _record(
        self,
        newsletter: journal_records.Newsletter,
        links: Sequence[journal_records.Link],
        drafts: Sequence[MessageDraft],
    ) -> None:
        stated = self._catalog.changed(newsletter)
        await self._write(stated, links, drafts)
        if stated:
            self._catalog.remember(stated)

    async def _write(
        self,
        stated: journal_records.Newsletter | None,
        links: Iterable[journal_records.Link],
        drafts: Sequence[MessageDraft],
        outcomes: Iterable[journal_records.Outcome] = (),
    ) -> None:
        """Write all that is new by one write; many links are encoded in a thread."""
        links = list(links)

        def lines() -> tuple[bytes, Sequence[journal_records.Link]]:
            new_links = list(self._known_links.new(links))
            records = [*([stated] if stated else ()), *new_links, *_ledger(drafts), *outcomes]
            return b"".join(map(journal_records.encode, records)), new_links

        cost = RECORD_COST_BYTES * (len(links) + len(drafts))
        written, new_links = await offloaded(cost, lines)
        if written:
            self._journal.check_room()
            await self._journal.write(written)
            cost = RECORD_COST_BYTES * len(new_links)
            await offloaded(cost, self._known_links.remember, new_links)

    def _newsletter(self, named: NewsletterIn) -> journal_records.Newsletter:
        key = newsletter_key(self._workspace, named.id)
        return journal_records.Newsletter(
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
        utm: Mapping[str, str],
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


def _ledger(drafts: Iterable[MessageDraft]) -> list[journal_records.Record]:
    """Returns the messages that may be sent, and how many of them carried which links."""
    sent = [draft for draft in drafts if draft.sent]
    carried: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
    at: dict[tuple[int, int, tuple[int, ...]], journal_records.Message] = {}
    for draft in sent:
        if draft.carried:
            message = draft.message
            alike = message.newsletter, message.variant, draft.carried
            carried[alike] += 1
            at.setdefault(alike, message)
    return [
        *(replace(draft.message, links=draft.links) for draft in sent),
        *(
            journal_records.Carried(
                at[alike].at, at[alike].workspace, alike[0], alike[2], count, alike[1]
            )
            for alike, count in carried.items()
        ),
    ]


def link_report(links: Iterable[Link]) -> list[LinkOut]:
    """Returns links as the API shows them."""
    return [LinkOut(link.index, link.url, link.tracked, link.reason, link.label) for link in links]


def _mode(requested: bool | Mode, default: Mode) -> Mode:
    if isinstance(requested, bool):
        return default if requested else "off"
    return requested


def _compiled(body: Scanned, signer: LinkSigner, leave: Mapping[str, str]) -> CompiledBody:
    """Compile a body and sign its links; afterwards the signer's records are of tracked links."""
    compiled = body.compile(signer, leave)
    if any(link.reason == "too_long" for link in compiled.links):
        signer.keep(compiled.links)
    return compiled


def _edits(compiled: CompiledBody, token: bytes, pixel: bytes) -> Iterable[Edit]:
    """Yields what a compiled body changes for one recipient, in the body's charset."""
    links, opens = (value.decode().encode(compiled.codec) for value in (token, pixel))
    for splice in compiled.splices:
        own = opens if splice.pixel else links
        yield Edit(splice.start, splice.end, splice.inserted(own))
