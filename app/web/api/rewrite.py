"""The API for mailers: rewriting one message, whole messages, templates and streams."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from json import dumps
from math import inf
from typing import NamedTuple
from urllib.parse import quote

import msgspec
from spectree import Response as Responses
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.experiments.variants import VariantError
from app.links.url_patterns import check_patterns
from app.messages import mail_headers
from app.messages.templates import SampleMail
from app.rewriting import header_fields as headers
from app.rewriting.header_fields import begins_within
from app.rewriting.merge_fields import MissingValueError
from app.schemas import messages as schemas
from app.schemas.fields import (
    MOST_METADATA,
    Id,
    Metadata,
    VariantName,
)
from app.schemas.problem import (
    Problem,
)
from app.web.requests import (
    METADATA,
    PROBLEMS,
    REWRITE,
    RequestError,
    authorized,
    body_of,
    invalid,
    json,
    newsletter_id_of,
    offloaded,
    spec,
)


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
MAX_NOTES_BYTES = 4_000  # of a header field; clients take 8,000 of all together
MAX_NOTE_CHARS = 300
TOO_LARGE = {"HTTP_413": Problem, "HTTP_422": Problem}


@spec.validate(
    json=schemas.RewriteIn,
    resp=Responses(HTTP_200=schemas.RewriteOut, **TOO_LARGE, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def rewrite(request: Request) -> Response:
    """Rewrite one message: adds a pixel and signed links, and changes nothing else.

    With ?dry_run=1 nothing is recorded, and `links` shows what would be tracked or why not.
    """
    api = authorized(request, "rewrite")
    limit = int(api.settings.max_html_mb * 1_000_000)
    # JSON may need six bytes for one (\u0000), and the text part comes along.
    body = await body_of(request, 7 * limit)
    try:
        wanted = msgspec.json.decode(body, type=schemas.RewriteIn)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(error) from None
    html = _html(wanted.html, limit)
    _check_families(wanted.newsletter.link_families, "newsletter.link_families")
    dry = _dry(request)
    size = inf if api.preparer.writes(wanted.newsletter.id, wanted.variant) else len(html)
    try:
        prepared = await offloaded(size, api.preparer.prepare, wanted, html, dry=dry)
    except MissingValueError as error:
        raise RequestError(422, str(error), f"values.{error.name}") from None
    if not dry:
        await api.preparer.record(prepared)
        if wanted.sample:
            of = wanted.newsletter
            sample = SampleMail(wanted.html, 0, of.link_families, of.full_urls)
            await asyncio.to_thread(api.templates.keep_sample, wanted.newsletter.id, sample)
    return json(
        schemas.RewriteOut(
            prepared.draft.message_id,
            wanted.newsletter.id,
            prepared.html.decode("utf-8"),
            prepared.text,
            prepared.report,
            prepared.draft.headers,
            prepared.all_notes,
            prepared.draft.suppressed,
            prepared.draft.tracking,
            prepared.draft.withdrawn,
            prepared.draft.variant,
            prepared.draft.choice.holdout,
        )
    )


@spec.validate(
    resp=Responses(HTTP_200=schemas.MimeReport, **TOO_LARGE, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def rewrite_mime(request: Request) -> Response:
    """Rewrite a whole message (message/rfc822 in and out). ?dry_run=1 returns a JSON report.

    The header fields X-Mailwake-Newsletter, -Name, -Tags, -Recipient, -Variant (or ?variant=) and
    -Track (opens, clicks, text or off; opens=aggregate) describe the message and are removed.
    -Unsubscribe: add adds List-Unsubscribe, -Sample: yes stores the HTML for the click map.
    -Meta-KEY, or ?metadata.KEY=, are stored as metadata, together with the Message-ID.

    The response header X-Mailwake-Notes lists what was left unchanged and why, as a JSON array.
    """
    api = authorized(request, "rewrite")
    limit = int(2 * api.settings.max_html_mb * 1_000_000)
    body = await body_of(request, limit)
    described = await offloaded(len(body), _described, body)
    message, own, named = described.message, described.own, described.newsletter
    variant = _variant(request) or described.variant
    data = described.data._replace(metadata=_metadata(request, described.data.metadata))
    dry, arguments = _dry(request), (message, named, described.recipient, described.tracking)
    size = inf if api.preparer.writes(named.id, variant) else len(message)
    prepared = await offloaded(
        size,
        api.preparer.prepare_mime,
        *arguments,
        variant=variant,
        split=True,
        dry=dry,
        data=data,
    )
    draft = prepared.draft
    if dry:
        return json(
            schemas.MimeReport(
                draft.message_id,
                named.id,
                prepared.report,
                prepared.all_notes,
                draft.headers,
                draft.suppressed,
                draft.tracking,
                draft.withdrawn,
                draft.variant,
                draft.choice.holdout,
            )
        )
    await api.preparer.record(prepared)
    if prepared.sample and own.get("sample", "").strip().lower() in ("yes", "true", "1"):
        sample = SampleMail(*prepared.sample, named.link_families, named.full_urls)
        await asyncio.to_thread(api.templates.keep_sample, named.id, sample)
    rewritten = prepared.html
    if mail_headers.wants_unsubscribe(own) and not begins_within(message):
        newline = "\n" if b"\r\n" not in message[:1000] else "\r\n"
        rewritten = mail_headers.header(draft.headers, newline) + rewritten
    headers = {"x-mailwake-message-id": draft.message_id}
    headers |= {f"x-mailwake-{name.lower()}": value for name, value in draft.headers.items()}
    if draft.suppressed:
        headers["x-mailwake-suppressed"] = "true"
    if draft.choice.holdout:
        headers["x-mailwake-holdout"] = "true"
    if draft.variant:
        headers["x-mailwake-variant"] = quote(draft.variant)
    if draft.withdrawn:
        headers["x-mailwake-withdrawn"] = ", ".join(draft.withdrawn)
    if prepared.notes:
        headers["x-mailwake-notes"] = _notes(prepared.notes)
    return Response(rewritten, 200, headers, "message/rfc822")


@spec.validate(
    json=schemas.TemplateIn,
    resp=Responses(
        HTTP_200=schemas.TemplateOut,
        HTTP_413=Problem,
        HTTP_422=Problem,
        **PROBLEMS,
    ),
    skip_validation=True,
    security=REWRITE,
)
async def template(request: Request) -> Response:
    """Store a template for this newsletter, replacing the previous one.

    With ?variant= it is used for that variant only; the others use the one without.
    """
    api, newsletter_id = authorized(request, "rewrite"), newsletter_id_of(request)
    variant = _variant(request)
    limit = int(api.settings.max_html_mb * 1_000_000)
    try:
        msgspec.convert(newsletter_id, Id)
        wanted = msgspec.json.decode(await body_of(request, 7 * limit), type=schemas.TemplateIn)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(error) from None
    _html(wanted.html, limit)
    _check_families(wanted.link_families, "link_families")
    if wanted.placeholder and api.preparer.modes(wanted.tracking).two_tokens:
        raise RequestError(422, TWO_TOKENS, "placeholder")
    try:
        kept = await asyncio.to_thread(api.templates.keep, newsletter_id, wanted, variant)
    except VariantError as error:
        raise RequestError(422, str(error), "variant") from None
    await api.preparer.record_template(newsletter_id, wanted, kept.of(kept.modes).records)
    report = [
        schemas.LinkOut(x.index, x.url, x.tracked, x.reason, x.label) for x in kept.html.links
    ]
    html = text = None
    if wanted.placeholder:
        mark = wanted.placeholder.encode("ascii")
        html = kept.html.personalise(mark).decode("utf-8")
        text = kept.text.personalise(mark).decode("utf-8") if kept.text else None
    remarks = await asyncio.to_thread(api.preparer.remarks, wanted, kept.of(kept.modes))
    notes = [*kept.html.notes, *remarks]
    return json(
        schemas.TemplateOut(newsletter_id, report, notes, html, text, variant, sorted(kept.fields))
    )


@spec.validate(
    json=schemas.RecipientIn,
    resp=Responses(HTTP_200=schemas.MessageOut, HTTP_422=Problem, **PROBLEMS),
    skip_validation=True,
    security=REWRITE,
)
async def messages(request: Request) -> Response:
    """Create messages from the template: NDJSON recipients in, messages out, in the same order.

    A line's `variant`, or the newsletter's experiment, selects the template. With ?return=token
    each line is a TokenOut instead. An invalid line returns a LineError; the others continue.
    """
    api, newsletter_id = authorized(request, "rewrite"), newsletter_id_of(request)
    give = request.query_params.get("return", "html")
    if give not in ("html", "token"):
        raise RequestError(422, "must be html or token", "return")
    made_from = await asyncio.to_thread(api.templates.templates, newsletter_id)
    if give == "token" and any(one.modes.two_tokens for one in made_from.values()):
        raise RequestError(422, TWO_TOKENS, "return")
    lines = api.templates.messages(
        made_from, request.stream(), "token" if give == "token" else "html"
    )
    return LineStream(lines)


ROUTES: Sequence[Route] = (
    Route("/v1/rewrite", rewrite, methods=["POST"]),
    Route("/v1/rewrite/mime", rewrite_mime, methods=["POST"]),
    Route("/v1/newsletters/{newsletter_id}/template", template, methods=["POST"]),
    Route("/v1/newsletters/{newsletter_id}/messages", messages, methods=["POST"]),
)


def _html(html: str, limit: int) -> bytes:
    data = html.encode("utf-8")
    if len(data) > limit:
        raise RequestError(413, f"must have at most {limit:,} bytes, has {len(data):,}", "html")
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
    """A whole message without its own fields, and what they say. Raises RequestError."""
    try:
        message, own = headers.without_own(body)
        newsletter = mail_headers.newsletter_of(own)
        tracking = mail_headers.tracking_of(own)
        recipient = mail_headers.recipient_of(message, own)
        variant = mail_headers.variant_of(own)
        data = mail_headers.own_data(headers.fields(message)[0], own)
    except mail_headers.DescriptionError as error:
        raise RequestError(422, str(error), error.field) from None
    except headers.HeaderError as error:
        raise RequestError(422, str(error), "body") from None
    return _Described(message, own, newsletter, tracking, recipient, variant, data)


def _notes(notes: Sequence[str]) -> str:
    """Notes as ASCII for a header field, as many as fit into it."""
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


def _metadata(request: Request, own: Mapping[str, str]) -> Mapping[str, str]:
    """What ?metadata.KEY= says, and the mail itself of other keys. Raises RequestError."""
    metadata = {
        name.removeprefix(METADATA): value
        for name, value in request.query_params.items()
        if name.startswith(METADATA)
    }
    for key, value in metadata.items():
        try:
            msgspec.convert({key: value}, Metadata)
        except msgspec.ValidationError as error:
            message = str(error).partition(" - at ")[0]
            raise RequestError(422, message, f"{METADATA}{key}"[:100]) from None
    metadata = {**own, **metadata}
    if len(metadata) > MOST_METADATA:
        raise RequestError(422, f"must have at most {MOST_METADATA} keys", "metadata")
    return metadata


def _variant(request: Request) -> str | None:
    """Of the query; None where there is none. Raises RequestError."""
    text = request.query_params.get("variant")
    if text is None:
        return None
    try:
        return msgspec.convert(text, VariantName)
    except msgspec.ValidationError as error:
        raise RequestError(422, str(error), "variant") from None


def _check_families(patterns: Sequence[str], field: str) -> None:
    try:
        check_patterns(patterns)
    except ValueError as error:
        raise RequestError(422, str(error).removeprefix("patterns"), field) from None


def _dry(request: Request) -> bool:
    return request.query_params.get("dry_run", "0").lower() in ("1", "true", "yes")
