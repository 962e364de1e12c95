"""Keeps templates and sends them to many recipients: newline-delimited JSON in and out.

A template is a file in DATA_DIR/templates, compiled when it is first used; a variant may have one
of its own. Workspaces other than the first have a folder of their own in it. Recipients stream in.
Each line's answer goes to a spool first, so that a client may read later than it sends.
"""

import asyncio
import os
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from app.auth.quotas import Quota
from app.auth.workspaces import DEFAULT
from app.experiments.experiments import Choices
from app.experiments.variants import NONE, VariantError
from app.links import masking
from app.messages.prepare import CompiledMail, MessageDraft, MessagePreparer
from app.messages.spool import Spool
from app.model import records
from app.model.errors import UNREADABLE, NotFoundError, explain
from app.model.ids import newsletter_key
from app.model.tracking_modes import Modes
from app.rewriting.html import CompiledBody
from app.rewriting.html_scanner import RewriteError
from app.rewriting.merge_fields import MissingValueError
from app.schemas.messages import LineError, MessageOut, OwnData, RecipientIn, TemplateIn, TokenOut
from app.storage.disk import DiskReserve, ReserveError
from app.storage.journal import JournalError
from app.threads import offloaded

MAX_CACHED = 64  # compiled templates in memory
MAX_CACHED_BYTES = 64 * 2**20  # of their files; compiled they take several times as much
MAX_LINE_BYTES = 65_536  # bytes of one recipient's line
SLICE_LINES = 100  # lines that are answered at once, and recorded by one write
SLICE_BYTES = 1_000_000  # of their mails
LINE_COST_BYTES = 500  # a token takes as much time as rewriting so many bytes
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

    @property
    def size(self) -> int:
        """Returns about how many bytes a message has."""
        bodies = [body for body in (self.html, self.text) if body]
        return sum(len(part) for body in bodies for part in body.parts)


class Addressed(NamedTuple):
    """A message of a stream, its mail, and what is to be recorded of its own links."""

    draft: MessageDraft
    mail: CompiledMail
    links: Sequence[records.Link] = ()


class TemplateStore:
    """Keeps the templates of one workspace and streams messages created from them."""

    def __init__(
        self,
        folder: Path,
        outgoing: MessagePreparer,
        workspace: str = DEFAULT,
        quota: Quota | None = None,
        disk: DiskReserve | None = None,
    ) -> None:
        self._shared = folder  # with the files of all workspaces of earlier versions
        self._folder = folder if workspace == DEFAULT else folder / workspace
        self._outgoing, self._workspace = outgoing, workspace
        self._quota, self._disk = quota or Quota(), disk or DiskReserve(folder, 0)
        self._compiled: OrderedDict[tuple[str, int], tuple[bytes, Template, int]] = OrderedDict()

    def keep(
        self, newsletter_id: str, template: TemplateIn, variant: str | None = None
    ) -> Template:
        """Compile and store a template in place of the variant's earlier one. Blocking.

        Raises RewriteError, VariantError or QuotaError, then nothing is stored.
        """
        compiled, number = self._compile(newsletter_id, template), NONE
        if variant is not None:
            variants = self._outgoing.experiments.variants
            number = variants.number(compiled.newsletter, variant)
        self._write(newsletter_id, _kind(number), _encode(template))
        return compiled

    def _write(self, newsletter_id: str, kind: str, content: bytes) -> None:
        path = self._folder / self._name(newsletter_id, kind)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(self._folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        sizes[path.name] = len(content)
        self._quota.check_templates(len(sizes), sum(sizes.values()))
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
        if self._folder != self._shared:
            (self._shared / path.name).unlink(missing_ok=True)

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
            known = (digest, self._compile(newsletter_id, template), len(content))
        self._compiled[which] = known
        self._compiled.move_to_end(which)
        while len(self._compiled) > 1 and (
            len(self._compiled) > MAX_CACHED
            or sum(size for _, _, size in self._compiled.values()) > MAX_CACHED_BYTES
        ):
            self._compiled.popitem(last=False)
        return known[1]

    def keep_sample(self, newsletter_id: str, sample: SampleMail) -> None:
        """Store the mail that is shown for this newsletter until a later one. Blocking.

        It was one recipient's: secrets in its links are masked, unless full URLs are enabled.
        Raises QuotaError.
        """
        self._write(newsletter_id, "sample", _encode(_masked(sample)))

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
        spool = Spool(self._folder, self._quota.room)
        with self._quota.stream():
            feeding = asyncio.create_task(self._feed(templates, body, give, spool))
            try:
                async for part in spool.read():
                    yield part
                await feeding
            finally:
                feeding.cancel()
                spool.close()

    async def _feed(
        self, templates: Templates, body: AsyncIterator[bytes], give: Return, spool: Spool
    ) -> None:
        size = max(template.size for template in templates.values()) if give == "html" else 0
        step = max(1, min(SLICE_LINES, SLICE_BYTES // (size or 1)))
        number = received = 0
        rest = b""
        try:
            async for part in body:
                received += len(part)
                lines = (rest + part).split(b"\n")
                rest = lines.pop()
                if len(rest) > MAX_LINE_BYTES:
                    rest = rest[: MAX_LINE_BYTES + 1]  # it is refused at its end
                for place in range(0, len(lines), step):
                    some = lines[place : place + step]
                    answers = await self._answers(templates, some, number, give, size)
                    await spool.write(answers, received)
                    number += len(some)
            if rest.strip():
                answers = await self._answers(templates, [rest], number, give, size)
                await spool.write(answers, received)
        finally:
            spool.end()

    async def _answers(
        self, templates: Templates, lines: list[bytes], number: int, give: Return, size: int
    ) -> bytes:
        cost: float = len(lines) * (LINE_COST_BYTES + size)
        # Filling takes time, and a variant's new name is written to the disk.
        if any(b'"values"' in line or b'"variant"' in line for line in lines):
            cost = inf
        answers = await offloaded(cost, self._addressed, templates, lines, number, give)
        addressed = [answer for answer in answers if isinstance(answer, Addressed)]
        if addressed:
            links = {
                (link.link, link.detail, link.position): link
                for answer in addressed
                for link in answer.links
            }
            try:
                self._disk.check()
                await self._outgoing.record_drafts(
                    [message.draft for message in addressed], links.values()
                )
            except (JournalError, ReserveError) as error:
                status = 507 if isinstance(error, ReserveError) else 503
                refused = LineError(number + 1, status, str(error))
                answers = [
                    refused if isinstance(answer, Addressed) else answer for answer in answers
                ]
        out = await offloaded(cost, _lines, answers, give)
        await asyncio.sleep(0)  # hits come first
        return out

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
        except UNREADABLE as error:
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
        """Returns where the file is, or would be if there is none."""
        name = self._name(newsletter_id, kind)
        own = self._folder / name
        return own if own.exists() else self._shared / name

    def _name(self, newsletter_id: str, kind: str) -> str:
        return f"{self._key(newsletter_id):016x}.{kind}"


def _kind(number: int) -> str:
    """Returns the last part of the file name of a variant's template."""
    return f"{number}.json" if number else "json"


def _of(templates: Templates, number: int) -> Template | None:
    return templates.get(number) or templates.get(NONE)


def _lines(answers: Sequence[Addressed | LineError], give: Return) -> bytes:
    return b"".join(_encode(_answer(answer, give)) + b"\n" for answer in answers)


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
