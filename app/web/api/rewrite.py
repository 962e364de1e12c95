"""The API for mailers: rewriting one message, whole messages, templates and streams."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from json import dumps
from math import inf
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

from msgspec import Meta, Struct
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.links.url_patterns import check_patterns
from app.messages import mail_headers
from app.messages.prepare import link_report
from app.messages.templates import SampleMail
from app.rewriting import header_fields
from app.rewriting.header_fields import begins_within
from app.rewriting.merge_fields import MissingValueError
from app.rewriting.urls import all_domains
from app.schemas import messages as schemas
from app.schemas.fields import (
    MAX_METADATA,
    Id,
    Metadata,
    VariantName,
)
from app.web.api.operation import MAIL, NDJSON, Call, Content, Operation
from app.web.errors import RequestError
from app.web.requests import body_of, json, offloaded


class LineStream(Response):
    """Answers while the request is still coming in.

    Starlette's own streams listen for the client's leaving and would eat the request's body.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send each part as it comes."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for part in self._lines:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


TWO_TOKENS = (
    "only opens or only clicks are aggregate, so pixel and links have different tokens:"
    " use the HTML"
)
MIME_HEADERS = {
    "X-Mailwake-Message-Id": "ID of the message.",
    "X-Mailwake-Suppressed": "true: do not send the message, the recipient has unsubscribed.",
    "X-Mailwake-Holdout": "true: do not send the message, its recipient has no variant yet.",
    "X-Mailwake-Variant": "Variant of the message, percent-encoded.",
    "X-Mailwake-Withdrawn": "What is not tracked because the recipient has withdrawn consent.",
    "X-Mailwake-Notes": "JSON array of what was left unchanged and why.",
    "X-Mailwake-List-Unsubscribe": "Value for the header field List-Unsubscribe.",
    "X-Mailwake-List-Unsubscribe-Post": "Value for the header field List-Unsubscribe-Post.",
}
MAX_NOTES_BYTES = 4_000  # of a header field; clients take 8,000 of all together
MAX_NOTE_CHARS = 300

DryRun = Annotated[bool, Meta(description="Record nothing.")]


class RewriteQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How to rewrite."""

    dry_run: DryRun = False


class MimeQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How to rewrite, and what the message's own fields do not say."""

    dry_run: DryRun = False
    variant: VariantName | None = None
    metadata: Metadata = {}


class TemplateQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose template."""

    variant: VariantName | None = None


class MessagesQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"give": "return"}):
    """What each line of the response is."""

    give: Annotated[
        Literal["html", "token"],
        Meta(description="html for a MessageOut in each line, token for a TokenOut."),
    ] = "html"


async def rewrite_message(call: Call[RewriteQuery]) -> Response:
    """Rewrite one message: adds a pixel and signed links, and changes nothing else.

    With `dry_run` nothing is recorded, `links` shows what would be tracked or why not, and the
    tokens in the response are not valid: its links lead nowhere.
    """
    api, dry = call.api, call.query.dry_run
    preparer = api.preparer.dry if dry else api.preparer
    limit = int(api.settings.max_html_mb * 1_000_000)
    # JSON may need six bytes for one (\u0000), and the text part comes along.
    body = await call.body(schemas.RewriteIn, 7 * limit)
    html = _sized(body.html, "html", limit)
    _sized(body.text or "", "text", limit)
    _check_links(body.newsletter, "newsletter.")
    size = float(len(html) + len(body.text or ""))
    if api.preparer.writes(body.newsletter.id, body.variant):
        size = inf
    try:
        prepared = await offloaded(size, preparer.prepare, body, html)
    except MissingValueError as error:
        raise RequestError(422, str(error), f"values.{error.name}") from None
    if not dry:
        if body.sample:
            of = body.newsletter
            recipient = api.recipient_key(body.recipient)
            sample = SampleMail(body.html, 0, of.link_families, of.full_urls, recipient)
            await asyncio.to_thread(api.templates.keep_sample, body.newsletter.id, sample)
        await api.preparer.record(prepared)

    def answer() -> Response:
        return json(
            schemas.RewriteOut(
                message_id=prepared.draft.message_id,
                newsletter_id=body.newsletter.id,
                html=prepared.html.decode("utf-8"),
                text=prepared.text,
                links=prepared.report,
                headers=prepared.draft.headers,
                notes=prepared.all_notes,
                suppressed=prepared.draft.suppressed,
                tracking=prepared.draft.tracking,
                withdrawn=prepared.draft.withdrawn,
                variant=prepared.draft.variant,
                holdout=prepared.draft.choice.holdout,
            )
        )

    return await offloaded(size, answer)


async def rewrite_mime(call: Call[MimeQuery]) -> Response:
    """Rewrite a whole message (message/rfc822 in and out). `dry_run` returns a JSON report.

    The header fields X-Mailwake-Newsletter, -Name, -Tags, -Recipient, -Variant (or `variant`) and
    -Track (opens, clicks, text or off; opens=aggregate) describe the message and are removed.
    -Unsubscribe: add adds List-Unsubscribe, -Sample: yes stores the HTML for the click map.
    -Meta-KEY, or `metadata.KEY`, are stored as metadata, together with the Message-ID.

    The response header X-Mailwake-Notes lists what was left unchanged and why, as a JSON array.
    """
    api, query, dry = call.api, call.query, call.query.dry_run
    limit = int(2 * api.settings.max_html_mb * 1_000_000)
    body = await body_of(call.request, limit)
    described = await offloaded(len(body), _described, body)
    message, own, named = described.message, described.own, described.newsletter
    variant = query.variant or described.variant
    data = described.data._replace(metadata=_metadata(query.metadata, described.data.metadata))
    arguments = message, named, described.recipient, described.tracking
    size = inf if api.preparer.writes(named.id, variant) else len(message)
    preparer = api.preparer.dry if dry else api.preparer
    prepared = await offloaded(
        size, preparer.prepare_mime, *arguments, variant=variant, split=True, data=data
    )
    draft = prepared.draft
    if dry:

        def report() -> Response:
            return json(
                schemas.MimeReport(
                    message_id=draft.message_id,
                    newsletter_id=named.id,
                    links=prepared.report,
                    notes=prepared.all_notes,
                    headers=draft.headers,
                    suppressed=draft.suppressed,
                    tracking=draft.tracking,
                    withdrawn=draft.withdrawn,
                    variant=draft.variant,
                    holdout=draft.choice.holdout,
                )
            )

        return await offloaded(size, report)
    if prepared.sample and own.get("sample", "").strip().lower() in ("yes", "true", "1"):
        recipient = api.recipient_key(described.recipient)
        sample = SampleMail(*prepared.sample, named.link_families, named.full_urls, recipient)
        await asyncio.to_thread(api.templates.keep_sample, named.id, sample)
    await api.preparer.record(prepared)
    rewritten = prepared.html
    if mail_headers.wants_unsubscribe(own) and not begins_within(message):
        newline = "\n" if b"\r\n" not in message[:1000] else "\r\n"
        rewritten = mail_headers.header(draft.headers, newline) + rewritten
    header_fields = {"x-mailwake-message-id": draft.message_id}
    header_fields |= {f"x-mailwake-{name.lower()}": value for name, value in draft.headers.items()}
    if draft.suppressed:
        header_fields["x-mailwake-suppressed"] = "true"
    if draft.choice.holdout:
        header_fields["x-mailwake-holdout"] = "true"
    if draft.variant:
        header_fields["x-mailwake-variant"] = quote(draft.variant)
    if draft.withdrawn:
        header_fields["x-mailwake-withdrawn"] = ", ".join(draft.withdrawn)
    if prepared.notes:
        header_fields["x-mailwake-notes"] = _notes(prepared.notes)
    return Response(rewritten, 200, header_fields, "message/rfc822")


async def store_template(call: Call[TemplateQuery]) -> Response:
    """Store a template for this newsletter, replacing the previous one.

    With `variant` it is used for that variant only; the others use the one without.
    """
    api, newsletter_id = call.api, call.path("newsletter_id", Id)
    variant = call.query.variant
    limit = int(api.settings.max_html_mb * 1_000_000)
    body = await call.body(schemas.TemplateIn, 7 * limit)
    _sized(body.html, "html", limit)
    _sized(body.text or "", "text", limit)
    _check_links(body)
    if body.placeholder and api.preparer.modes(body.tracking).two_tokens:
        raise RequestError(422, TWO_TOKENS, "placeholder")
    kept = await offloaded(inf, api.templates.keep, newsletter_id, body, variant)
    await api.preparer.record_template(newsletter_id, body, kept.of(kept.modes).records)

    def answer() -> Response:
        html = text = None
        if body.placeholder:
            mark = body.placeholder.encode("ascii")
            html = kept.html.personalise(mark).decode("utf-8")
            text = kept.text.personalise(mark).decode("utf-8") if kept.text else None
        remarks = api.preparer.remarks(body, kept.of(kept.modes))
        return json(
            schemas.TemplateOut(
                newsletter_id=newsletter_id,
                links=link_report(kept.html.links),
                notes=[*kept.html.notes, *remarks],
                html=html,
                text=text,
                variant=variant,
                fields=sorted(kept.fields),
            )
        )

    return await offloaded(inf, answer)


async def create_messages(call: Call[MessagesQuery]) -> Response:
    """Create messages from the template: NDJSON recipients in, messages out, in the same order.

    A line's `variant`, or the newsletter's experiment, selects the template. With `return=token`
    each line is a TokenOut instead. An invalid line returns a LineError; the others continue.
    """
    api, newsletter_id, give = call.api, call.path("newsletter_id"), call.query.give
    made_from = await asyncio.to_thread(api.templates.templates, newsletter_id)
    if give == "token" and any(mail.modes.two_tokens for mail in made_from.values()):
        raise RequestError(422, TWO_TOKENS, "return")
    api.quota.check_streams()
    lines = api.templates.messages(made_from, call.request.stream(), give)
    return LineStream(lines)


def _sized(text: str, field: str, limit: int) -> bytes:
    """Returns text as UTF-8. Raises RequestError if it has more than `limit` bytes."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > limit:
        raise RequestError(413, f"must have at most {limit:,} bytes, has {len(data):,}", field)
    return data


class _Described(NamedTuple):
    message: bytes
    own: dict[str, str]
    newsletter: schemas.NewsletterIn
    tracking: schemas.TrackingIn
    recipient: str
    variant: str | None
    data: schemas.OwnData


def _described(body: bytes) -> _Described:
    """Returns a whole message without its own fields, and what they say. Raises RequestError."""
    try:
        message, own = header_fields.without_own(body)
        newsletter = mail_headers.newsletter_of(own)
        tracking = mail_headers.tracking_of(own)
        recipient = mail_headers.recipient_of(message, own)
        variant = mail_headers.variant_of(own)
        data = mail_headers.own_data(header_fields.fields(message)[0], own)
    except mail_headers.DescriptionError as error:
        raise RequestError(422, str(error), error.field) from None
    except header_fields.HeaderError as error:
        raise RequestError(422, str(error), "body") from None
    return _Described(message, own, newsletter, tracking, recipient, variant, data)


def _notes(notes: Sequence[str]) -> str:
    """Returns notes as ASCII for a header field, as many as fit into it."""
    written: list[str] = []
    size = 2
    for note in notes:
        encoded = dumps(note[:MAX_NOTE_CHARS])
        size += len(encoded) + 2
        if size > MAX_NOTES_BYTES:
            written.append(dumps(f"{len(notes) - len(written)} more"))
            break
        written.append(encoded)
    return f"[{', '.join(written)}]"


def _metadata(query: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the query's metadata, and the mail's own for other keys. Raises RequestError."""
    metadata = {**own, **query}
    if len(metadata) > MAX_METADATA:
        raise RequestError(422, f"must have at most {MAX_METADATA} keys", "metadata")
    return metadata


def _check_links(of: schemas.NewsletterIn | schemas.TemplateIn, path: str = "") -> None:
    try:
        check_patterns(of.link_families)
    except ValueError as error:
        detail = str(error).removeprefix("patterns")
        raise RequestError(422, detail, f"{path}link_families") from None
    try:
        all_domains(of.excluded_domains)
    except ValueError as error:
        raise RequestError(422, str(error), f"{path}excluded_domains") from None


OPERATIONS = (
    Operation(
        "POST",
        "/v1/rewrite",
        rewrite_message,
        scope="rewrite",
        query=RewriteQuery,
        takes=schemas.RewriteIn,
        gives=schemas.RewriteOut,
        forwards=True,
    ),
    Operation(
        "POST",
        "/v1/rewrite/mime",
        rewrite_mime,
        scope="rewrite",
        query=MimeQuery,
        takes=Content(MAIL),
        gives=(Content(MAIL), schemas.MimeReport),
        problems=(413,),
        headers=MIME_HEADERS,
        forwards=True,
    ),
    Operation(
        "POST",
        "/v1/newsletters/{newsletter_id}/template",
        store_template,
        scope="rewrite",
        query=TemplateQuery,
        takes=schemas.TemplateIn,
        gives=schemas.TemplateOut,
        forwards=True,
    ),
    Operation(
        "POST",
        "/v1/newsletters/{newsletter_id}/messages",
        create_messages,
        scope="rewrite",
        query=MessagesQuery,
        takes=Content(NDJSON, schemas.RecipientIn),
        gives=Content(NDJSON, schemas.MessageOut, schemas.TokenOut, schemas.LineError),
    ),
)
