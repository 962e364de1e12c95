"""Keeps templates and sends them to many recipients: newline-delimited JSON in and out.

A template is a file in DATA_DIR/templates, compiled when it is first used; a variant may have one
of its own. Recipients stream in. Each line's answer goes to a spool first, so that a client which
reads only after it has sent everything neither stalls the stream nor fills the memory.
"""

import asyncio
import os
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from app.experiments.experiments import Choices
from app.experiments.variants import NONE, VariantError
from app.links import masking
from app.messages.prepare import CompiledMail, MessageDraft, MessagePreparer
from app.messages.spool import (
    Spool,
)
from app.model import records
from app.model.errors import NotFoundError, explain
from app.model.ids import newsletter_key
from app.model.tracking_modes import Modes
from app.rewriting.html import CompiledBody
from app.rewriting.html_scanner import RewriteError
from app.rewriting.merge_fields import MissingValueError
from app.schemas.messages import LineError, MessageOut, OwnData, RecipientIn, TemplateIn, TokenOut
from app.storage.journal import JournalError

MAX_CACHED = 64  # compiled templates in memory
MAX_LINE_BYTES = 65_536  # bytes of one recipient's line
SLICE_LINES = 100  # lines between two turns of the event loop
Return = Literal["html", "token"]


class SampleMail(msgspec.Struct, frozen=True):
    """A mail to show; its links are counted from `first_link`.

    `recipient` is the key of the person whose mail it was (0 in samples of version 0.1), so that an
    erasure finds it. The rest is as in NewsletterIn.
    """

    html: str
    first_link: int = 0
    link_families: tuple[str, ...] = ()
    full_urls: bool = False
    recipient: int = 0


class StoredTemplate(TemplateIn, frozen=True):
    """A template as it is stored: earlier versions took any number of UTM parameters."""

    utm: dict[str, str] = {}  # noqa: RUF012  (msgspec copies it)


def _masked(sample: SampleMail) -> SampleMail:
    if sample.full_urls:
        return sample
    return msgspec.structs.replace(sample, html=masking.mask_html(sample.html))


_decode = msgspec.json.Decoder(RecipientIn).decode
_encode = msgspec.json.Encoder().encode


Compile = Callable[[Modes], CompiledMail]
Templates = Mapping[int, "Template"]  # by variant; NONE's is for those that have none of their own


@dataclass(frozen=True)
class Template:
    """A compiled mail of one newsletter, also in versions for recipients without consent."""

    newsletter: int
    modes: Modes
    compile: Compile
    _made: dict[tuple[bool, bool], CompiledMail] = field(default_factory=dict)

    def of(self, modes: Modes) -> CompiledMail:
        """Returns the template compiled for some modes, once for each choice of what is tracked."""
        tracked = modes.opens != "off", modes.clicks != "off"
        if tracked not in self._made:
            self._made[tracked] = self.compile(modes)
        return self._made[tracked]

    @property
    def html(self) -> CompiledBody:
        """Returns the HTML for most recipients."""
        return self.of(self.modes).html

    @property
    def text(self) -> CompiledBody | None:
        """Returns the text/plain for most recipients."""
        return self.of(self.modes).text

    @property
    def fields(self) -> frozenset[str]:
        """Returns the names of its merge fields."""
        return self.of(self.modes).fields


class Addressed(NamedTuple):
    """A message of a stream, its mail, and what is to be recorded of its own links."""

    draft: MessageDraft
    mail: CompiledMail
    links: Sequence[records.Link] = ()


class TemplateStore:
    """Keeps the templates of one workspace and streams messages created from them."""

    def __init__(self, folder: Path, outgoing: MessagePreparer, workspace: str = "default") -> None:
        self._folder, self._outgoing, self._workspace = folder, outgoing, workspace
        self._compiled: OrderedDict[tuple[str, int], tuple[bytes, Template]] = OrderedDict()

    def keep(
        self, newsletter_id: str, template: TemplateIn, variant: str | None = None
    ) -> Template:
        """Compile and store a template in place of the variant's earlier one. Blocking.

        Raises RewriteError or VariantError, then nothing is stored.
        """
        compiled, number = self._compile(newsletter_id, template), NONE
        if variant is not None:
            variants = self._outgoing.experiments.variants
            number = variants.number(compiled.newsletter, variant)
        self._write(self._path(newsletter_id, _kind(number)), _encode(template))
        return compiled

    def _write(self, path: Path, content: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)

    def templates(self, newsletter_id: str) -> Templates:
        """Returns the stored templates, compiled. Blocking. Raises NotFoundError."""
        numbers = [NONE, *self._outgoing.experiments.variants.names(self._key(newsletter_id))]
        by_number = {number: self._template(newsletter_id, number) for number in numbers}
        kept = {number: template for number, template in by_number.items() if template}
        if not kept:
            raise NotFoundError("newsletter_id", f"newsletter {newsletter_id!r} has no template")
        return kept

    def _template(self, newsletter_id: str, number: int) -> Template | None:
        try:
            content = self._path(newsletter_id, _kind(number)).read_bytes()
        except FileNotFoundError:
            return None
        digest, which = sha256(content).digest(), (newsletter_id, number)
        known = self._compiled.get(which)
        if known is None or known[0] != digest:
            template = msgspec.json.decode(content, type=StoredTemplate)
            known = (digest, self._compile(newsletter_id, template))
        self._compiled[which] = known
        self._compiled.move_to_end(which)
        if len(self._compiled) > MAX_CACHED:
            self._compiled.popitem(last=False)
        return known[1]

    def keep_sample(self, newsletter_id: str, sample: SampleMail) -> None:
        """Store the mail that is shown for this newsletter until a later one. Blocking.

        It was one recipient's: secrets in its links are masked, unless full URLs are enabled.
        """
        self._write(self._path(newsletter_id, "sample"), _encode(_masked(sample)))

    def shown(self, newsletter_id: str, variant: int = NONE) -> SampleMail | None:
        """Returns the mail to show: the variant's template, or a template or sample. Blocking.

        Of several, it is the one stored last. Secrets in its links are masked, unless full URLs are
        enabled.
        """
        numbers = self._outgoing.experiments.variants.names(self._key(newsletter_id))
        own = self._path(newsletter_id, _kind(variant))
        paths = [self._path(newsletter_id, kind) for kind in ("json", "sample")]
        paths += [self._path(newsletter_id, _kind(number)) for number in numbers]
        existing = [own] if variant and own.exists() else [path for path in paths if path.exists()]
        if not existing:
            return None
        # A template has `html` too: its other fields are ignored.
        latest = max(existing, key=lambda path: path.stat().st_mtime_ns)
        return _masked(msgspec.json.decode(latest.read_bytes(), type=SampleMail))

    async def messages(
        self, templates: Templates, body: AsyncIterator[bytes], give: Return
    ) -> AsyncIterator[bytes]:
        """Yields answers to the lines of `body`, in order. An invalid line gets an error."""
        spool = Spool(self._folder)
        feeding = asyncio.create_task(self._feed(templates, body, give, spool))
        try:
            async for part in spool.read():
                yield part
            await feeding
        finally:
            feeding.cancel()
            spool.close()

    async def _feed(
        self, templates: Templates, body: AsyncIterator[bytes], give: Return, spool: "Spool"
    ) -> None:
        try:
            number = 0
            rest = b""
            async for part in body:
                lines = (rest + part).split(b"\n")
                rest = lines.pop()
                if len(rest) > MAX_LINE_BYTES:
                    rest = rest[: MAX_LINE_BYTES + 1]  # it is refused at its end
                for place in range(0, len(lines), SLICE_LINES):
                    some = lines[place : place + SLICE_LINES]
                    await spool.write(await self._answers(templates, some, number, give))
                    number += len(some)
            if rest.strip():
                await spool.write(await self._answers(templates, [rest], number, give))
        finally:
            await spool.end()

    async def _answers(
        self, templates: Templates, lines: list[bytes], number: int, give: Return
    ) -> bytes:
        # Filling takes time, and a variant's new name is written to the disk.
        if any(b'"values"' in line or b'"variant"' in line for line in lines):
            answers = await asyncio.to_thread(self._addressed, templates, lines, number, give)
        else:
            answers = self._addressed(templates, lines, number, give)
        addressed = [answer for answer in answers if isinstance(answer, Addressed)]
        if addressed:
            links = {
                (link.link, link.detail, link.position): link
                for answer in addressed
                for link in answer.links
            }
            try:
                await self._outgoing.record_drafts(
                    [message.draft for message in addressed], links.values()
                )
            except JournalError as error:
                refused = LineError(number + 1, 503, str(error))
                answers = [
                    refused if isinstance(answer, Addressed) else answer for answer in answers
                ]
        out = [_encode(_answer(answer, give)) + b"\n" for answer in answers]
        await asyncio.sleep(0)  # hits come first
        return b"".join(out)

    def _addressed(
        self, templates: Templates, lines: list[bytes], number: int, give: Return
    ) -> list[Addressed | LineError]:
        newsletter = next(iter(templates.values())).newsletter
        choices = self._outgoing.experiments.choices(newsletter, None)
        answers = [
            self._address(templates, choices, line, place, give)
            for place, line in enumerate(lines, number + 1)
            if line.strip()
        ]
        drafts = [answer.draft for answer in answers if isinstance(answer, Addressed)]
        checked = iter(self._outgoing.checked(drafts))
        return [
            answer._replace(draft=next(checked)) if isinstance(answer, Addressed) else answer
            for answer in answers
        ]

    def _address(
        self, templates: Templates, choices: Choices, line: bytes, number: int, give: Return
    ) -> Addressed | LineError:
        if len(line) > MAX_LINE_BYTES:
            return LineError(number, 413, f"the line has more than {MAX_LINE_BYTES:,} bytes")
        try:
            line_in = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return LineError(number, 422, *explain(error))
        if line_in.values and give == "token":
            return LineError(
                number, 422, "merge field values cannot be combined with return=token", "values"
            )
        newsletter = next(iter(templates.values())).newsletter
        try:
            if line_in.variant is not None:
                choices = self._outgoing.experiments.choices(newsletter, line_in.variant)
        except VariantError as error:
            return LineError(number, 422, str(error), "variant")
        choice = choices.of(self._outgoing.key(line_in.recipient))
        template = _of(templates, choice.number)
        if choice.holdout:  # no message is sent
            template = next(iter(templates.values()))
        if template is None:
            what = f"variant {choice.name!r}" if choice.name else "messages that have no variant"
            return LineError(number, 422, f"there is no template for {what}", "variant")
        draft = self._outgoing.draft(
            newsletter, line_in.recipient, template.modes, choice=choice, data=OwnData.of(line_in)
        )
        mail = template.of(draft.modes)
        if not line_in.values or choice.holdout:
            return Addressed(replace(draft, carried=mail.carried, links=len(mail.urls)), mail)
        try:
            mail = self._outgoing.fill(mail, line_in.values)
        except MissingValueError as missing:
            return LineError(number, 422, str(missing), f"values.{missing.name}")
        except RewriteError as error:
            return LineError(number, 422, str(error), "values")
        return Addressed(
            replace(draft, carried=mail.carried, links=len(mail.urls)), mail, mail.records
        )

    def _compile(self, newsletter_id: str, template: TemplateIn) -> Template:
        compile_ = partial(self._outgoing.compile, newsletter_id, template)
        modes = self._outgoing.modes(template.tracking)
        compiled_template = Template(
            newsletter_key(self._workspace, newsletter_id), modes, compile_
        )
        compiled_template.of(modes)  # raises its errors now
        return compiled_template

    def _key(self, newsletter_id: str) -> int:
        return newsletter_key(self._workspace, newsletter_id)

    def _path(self, newsletter_id: str, kind: str) -> Path:
        return self._folder / f"{self._key(newsletter_id):016x}.{kind}"


def _kind(number: int) -> str:
    """Returns the last part of the file name of a variant's template."""
    return f"{number}.json" if number else "json"


def _of(templates: Templates, number: int) -> Template | None:
    return templates.get(number) or templates.get(NONE)


def _answer(answer: Addressed | LineError, give: Return) -> TokenOut | MessageOut | LineError:
    if isinstance(answer, LineError):
        return answer
    draft, mail, _ = answer
    about = (
        draft.headers,
        draft.suppressed,
        draft.tracking,
        draft.withdrawn,
        draft.variant,
        draft.choice.holdout,
    )
    if give == "token":
        return TokenOut(draft.message_id, draft.recipient, draft.token, *about)
    if draft.choice.holdout:
        return MessageOut(draft.message_id, draft.recipient, "", None, *about)
    return MessageOut(
        draft.message_id,
        draft.recipient,
        draft.personalise(mail.html).decode("utf-8"),
        draft.personalise(mail.text).decode("utf-8") if mail.text else None,
        *about,
    )
