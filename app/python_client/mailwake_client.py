"""A client for mailers written in Python; it needs the standard library and httpx2 only.

from mailwake_client import Mailwake

with Mailwake("https://click.example.com", key) as mailwake:
    mail = mailwake.rewrite("spring", "ann@example.com", html, name="Spring sale")
    send(mail.html, mail.headers)

This file imports nothing of the service. Its results restate the API's shapes, field by field.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)
from urllib.parse import quote

if TYPE_CHECKING:
    import httpx2

BATCH_BYTES = 60_000  # so little is taken whole, whatever the service reads meanwhile

Mode = Literal["full", "pseudonymous", "aggregate", "off"]
Axis = Literal["opens", "clicks"]
Figure = Literal["clicks", "opens", "link"]
Result = Literal["winner", "no_difference", "guard"]
ReportedKind = Literal[
    "queued",
    "sent",
    "deferred",
    "delivered",
    "bounced",
    "rejected",
    "complained",
    "autoresponded",
]
ExperimentState = Literal["running", "full", "decided"]

# An email address, one with the variant to get, or the fields of one line of the stream.
Addressee = str | tuple[str, str] | Mapping[str, Any]

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """An error as RFC 9457 says; `field` names what was wrong."""

    title: str
    status: int
    detail: str = ""
    field: str = ""
    type: str = "about:blank"


@dataclass(frozen=True)
class ModesOut:
    """How this message is tracked; off also where there is nothing to track."""

    opens: Mode
    clicks: Mode


@dataclass(frozen=True)
class LinkOut:
    """A link of the message; `reason` says why it is not tracked."""

    index: int
    url: str
    tracked: bool
    reason: str | None
    label: str


@dataclass(frozen=True)
class RewriteOut:
    """The rewritten message. `headers` are offered: add them to the mail.

    `withdrawn` is what is off because the recipient has withdrawn consent.

    Do not send it when `suppressed` is true: the recipient has unsubscribed, bounced or complained,
    and the message is not recorded. Nor when `holdout` is: the newsletter's experiment is not
    decided yet, or keeps the recipient out.
    """

    message_id: str
    newsletter_id: str
    html: str
    text: str | None
    links: list[LinkOut]
    headers: dict[str, str]
    notes: list[str] = field(default_factory=list)
    suppressed: bool = False
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: str | None = None
    holdout: bool = False


@dataclass(frozen=True)
class TemplateOut:
    """A template that is kept. `html` and `text` carry the placeholder, if one was given.

    `fields` are the merge fields that each message's `values` fill.
    """

    newsletter_id: str
    links: list[LinkOut]
    notes: list[str]
    html: str | None = None
    text: str | None = None
    variant: str | None = None
    fields: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class TokenOut:
    """A message whose mailer puts the token into the template itself.

    Hits on what `withdrawn` names are answered and not counted.
    """

    message_id: str
    recipient: str
    token: str
    headers: dict[str, str]
    suppressed: bool = False
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: str | None = None
    holdout: bool = False


@dataclass(frozen=True)
class MessageOut:
    """A message made from the template."""

    message_id: str
    recipient: str
    html: str
    text: str | None
    headers: dict[str, str]
    suppressed: bool = False
    tracking: ModesOut = ModesOut("full", "full")
    withdrawn: tuple[Axis, ...] = ()
    variant: str | None = None
    holdout: bool = False


@dataclass(frozen=True)
class OutcomeIn:
    """What became of a message. `id` is your own ID of this event: a repeated one counts once.

    Name the message by one of `message_id`, `rfc_message_id` (with `recipient` if several
    recipients got copies with the same one), or `recipient` and `newsletter`. `permanent` is
    required for bounced, and only allowed there. `occurred_at` needs a time zone.
    """

    id: str
    type: ReportedKind
    occurred_at: datetime
    message_id: str | None = None
    rfc_message_id: str | None = None
    recipient: str | None = None
    newsletter: str | None = None
    permanent: bool | None = None
    code: str = ""
    text: str = ""
    provider: str = ""


@dataclass(frozen=True)
class OutcomeAccepted:
    """An outcome that is stored. `id` is the reporter's."""

    id: str


@dataclass(frozen=True)
class LineError:
    """A line, counted from 1, that made no message or outcome."""

    line: int
    status: int
    error: str
    field: str = ""


@dataclass(frozen=True)
class Share:
    """A variant and its weight: its recipients are this share of the sum of all weights."""

    variant: str
    weight: int = 1


@dataclass(frozen=True)
class Plan:
    """How recipients are split, and how the winner is found.

    `holdout` is the share of recipients who get no variant before the decision. The winner has the
    highest share of recipients with a `figure`: clicks, opens, or clicks on the `link` with this
    id, name, label or URL. With `guard` none wins that makes significantly more recipients
    unsubscribe. Decided at `decide_at`, or once `decide_after_messages` were sent and the last of
    them is `wait_hours` old, whichever is first. With `apply_winner` all get the winner then.
    """

    variants: tuple[Share, ...]
    holdout: float = 0
    figure: Figure = "clicks"
    link: str = ""
    guard: bool = True
    level: float = 0.05
    decide_at: datetime | None = None
    decide_after_messages: int | None = None
    wait_hours: float = 24
    apply_winner: bool = False


@dataclass(frozen=True)
class VariantFigures:
    """A variant's figures: `hits` of `of` recipients, `rate` with its interval `low` to `high`.

    `of` are those of the `recipients` whose hits show one by one (docs/privacy.md).
    """

    variant: str
    messages: int
    recipients: int
    of: int
    hits: int
    rate: float
    low: float
    high: float
    unsubscribed: int
    unknowable: int = 0


@dataclass(frozen=True)
class Comparison:
    """Two variants: the rate of `variant` less that of `against`, with its interval.

    `p_value` is of these two alone, `adjusted` takes into account how many pairs there are.
    """

    variant: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float
    adjusted: float


@dataclass(frozen=True)
class Outcome:
    """What was decided, and from which figures; they do not change any more."""

    id: str
    result: Result
    winner: str | None
    figure: Figure
    link: str
    level: float
    variants: list[VariantFigures]
    comparisons: list[Comparison]


@dataclass(frozen=True)
class AssignmentOut:
    """What a recipient gets; send nothing yet where `holdout` is true."""

    recipient: str
    variant: str | None
    holdout: bool


@dataclass(frozen=True)
class ExperimentOut:
    """A newsletter's experiment; figures are of messages sent since `started_at`.

    `state` is running, full (the sample has its size, hits still come) or decided. The figures of a
    decided one are those that decided. `outcome` is null before.
    """

    id: str
    newsletter_id: str
    state: ExperimentState
    started_at: datetime
    decided_at: datetime | None
    decide_by: datetime | None
    plan: Plan
    variants: list[VariantFigures]
    comparisons: list[Comparison]
    split_chance: float
    outcome: Outcome | None


class MailwakeError(Exception):
    """The service refused the request; `problem` says why and names the field."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.field} {problem.detail}")
        self.problem = problem


class Mailwake:
    """One service.

    Every method raises MailwakeError, or httpx2.TransportError when the service is unavailable.
    """

    def __init__(self, url: str, key: str, timeout: float = 30) -> None:
        import httpx2  # noqa: PLC0415  (it takes 100 ms, which `import mailwake_client` need not)

        self._client = httpx2.Client(
            base_url=url.rstrip("/"),
            headers={"authorization": f"Bearer {key}"},
            timeout=timeout,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def rewrite(
        self,
        newsletter_id: str,
        recipient: str,
        html: str,
        *,
        text: str | None = None,
        name: str | None = None,
        subject: str | None = None,
        tags: Sequence[str] | None = None,
        link_families: Sequence[str] = (),
        full_urls: bool = False,
        excluded_domains: Sequence[str] = (),
        opens: bool | Mode = True,
        clicks: bool | Mode = True,
        pixel: Literal["top", "end"] = "end",
        url_text: Literal["leave", "track"] = "track",
        utm: Mapping[str, str] | None = None,
        values: Mapping[str, str | None] | None = None,
        sample: bool = False,
        metadata: Mapping[str, str] | None = None,
        rfc_message_id: str | None = None,
        variant: str | None = None,
        dry_run: bool = False,
    ) -> RewriteOut:
        """Rewrite one message with a pixel and links; with `dry_run` nothing is recorded.

        Name, subject and tags that are left out stay as they were stated last. `sample` keeps the
        HTML for the click map: only for a mail that names nobody. `metadata` and the mail's own
        Message-ID come with its events. `variant` names it for A/B; without one the newsletter's
        experiment decides, if it has one. `values` fill its merge fields. `link_families`,
        `full_urls` and `excluded_domains` are described in docs/rewriting.md.
        """
        tracking = {"opens": opens, "clicks": clicks, "pixel": pixel, "url_text": url_text}
        body = {
            "newsletter": {
                "id": newsletter_id,
                "name": name,
                "subject": subject,
                "tags": tags,
                "link_families": link_families,
                "full_urls": full_urls,
                "excluded_domains": excluded_domains,
            },
            "recipient": recipient,
            "html": html,
            "text": text,
            "tracking": tracking,
            "utm": dict(utm or {}),
            "values": dict(values or {}),
            "sample": sample,
            "metadata": dict(metadata or {}),
            "rfc_message_id": rfc_message_id,
            "variant": variant,
        }
        answer = self._post("/v1/rewrite", body, {"dry_run": "1"} if dry_run else {})
        return _read(RewriteOut, answer.json())

    def rewrite_mime(self, message: bytes) -> bytes:
        """Rewrite a whole message, described by X-Mailwake-* fields, which are removed."""
        answer = self._checked(
            self._client.post(
                "/v1/rewrite/mime", content=message, headers={"content-type": "message/rfc822"}
            )
        )
        return answer.content

    def keep_template(
        self, newsletter_id: str, html: str, *, variant: str | None = None, **more: Any
    ) -> TemplateOut:
        """Keep a compiled mail, or that of one variant.

        `more` are the other fields of the request.
        """
        path, params = _path(newsletter_id, "template"), {"variant": variant} if variant else {}
        answer = self._post(path, {"html": html, **more}, params)
        return _read(TemplateOut, answer.json())

    def start_experiment(self, newsletter_id: str, plan: Plan) -> ExperimentOut:
        """Let Mailwake split the newsletter's recipients from now on."""
        answer = self._post(_path(newsletter_id, "experiment"), _plain(plan))
        return _read(ExperimentOut, answer.json())

    def experiment(self, newsletter_id: str) -> ExperimentOut:
        """Returns the newsletter's experiment with its figures as they are now."""
        answer = self._checked(self._client.get(_path(newsletter_id, "experiment")))
        return _read(ExperimentOut, answer.json())

    def end_experiment(self, newsletter_id: str) -> None:
        """Split no more; messages keep their variants."""
        self._checked(self._client.delete(_path(newsletter_id, "experiment")))

    def assign(self, newsletter_id: str, recipients: Sequence[str]) -> list[AssignmentOut]:
        """Returns the variant of each of up to 10,000 recipients, in order."""
        path = _path(newsletter_id, "experiment/assignments")
        answer = self._post(path, {"recipients": recipients})
        return _read(list[AssignmentOut], answer.json()["assignments"])

    @overload
    def messages(
        self,
        newsletter_id: str,
        recipients: Iterable[Addressee],
        give: Literal["html"] = "html",
    ) -> Iterator[MessageOut | LineError]: ...

    @overload
    def messages(
        self,
        newsletter_id: str,
        recipients: Iterable[Addressee],
        give: Literal["token"],
    ) -> Iterator[TokenOut | LineError]: ...

    def messages(
        self,
        newsletter_id: str,
        recipients: Iterable[Addressee],
        give: Literal["html", "token"] = "html",
    ) -> Iterator[MessageOut | TokenOut | LineError]:
        """Yields messages from the kept templates, in order; recipients may come from a generator.

        A pair is a recipient and the variant to get, a mapping has the fields of
        one line of the stream, such as `values`.

        Recipients are sent in batches: this client reads an answer after it has sent the request,
        and the service takes no more recipients while many messages wait to be read.
        """
        path = _path(newsletter_id, "messages")
        out: type[MessageOut | TokenOut] = MessageOut if give == "html" else TokenOut
        before = 0
        for body in _batches(_json(_line(recipient)) + b"\n" for recipient in recipients):
            with self._client.stream("POST", path, content=body, params={"return": give}) as answer:
                if answer.is_error:
                    answer.read()
                self._checked(answer)
                for line in answer.iter_lines():
                    if line.startswith('{"line":'):
                        error = _read(LineError, json.loads(line))
                        yield replace(error, line=before + error.line)
                    else:
                        yield _read(out, json.loads(line))
            before += body.count(b"\n")

    def report_outcomes(self, outcomes: Iterable[OutcomeIn]) -> list[OutcomeAccepted | LineError]:
        """Report what became of messages; returns an answer for each, in order.

        They are sent in batches. After an error, report all of them again: none counts twice.
        """
        headers = {"content-type": "application/x-ndjson"}
        answers: list[OutcomeAccepted | LineError] = []
        before = 0
        for body in _batches(_json(outcome) + b"\n" for outcome in outcomes):
            answer = self._checked(self._client.post("/v1/outcomes", content=body, headers=headers))
            for line in map(json.loads, answer.text.splitlines()):
                if "line" in line:
                    error = _read(LineError, line)
                    answers.append(replace(error, line=before + error.line))
                else:
                    answers.append(_read(OutcomeAccepted, line))
            before += body.count(b"\n")
        return answers

    def _post(
        self, path: str, body: Mapping[str, Any], params: Mapping[str, str] | None = None
    ) -> "httpx2.Response":
        content = _json(body)
        headers = {"content-type": "application/json"}
        return self._checked(
            self._client.post(path, content=content, headers=headers, params=dict(params or {}))
        )

    @staticmethod
    def _checked(answer: "httpx2.Response") -> "httpx2.Response":
        if answer.is_success:
            return answer
        try:
            problem = _read(Problem, answer.json())
        except (ValueError, TypeError):
            problem = Problem(answer.reason_phrase, answer.status_code)
        raise MailwakeError(problem)


def _path(newsletter_id: str, part: str) -> str:
    return f"/v1/newsletters/{quote(newsletter_id, safe='')}/{part}"


def _batches(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yields lines in bodies of BATCH_BYTES at most, or of one longer line; at least one body."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > BATCH_BYTES:
            yield b"".join(batch)
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    yield b"".join(batch)


def _line(recipient: Addressee) -> Mapping[str, Any]:
    if isinstance(recipient, str):
        return {"recipient": recipient}
    if isinstance(recipient, tuple):
        return {"recipient": recipient[0], "variant": recipient[1]}
    return recipient


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Returns what the JSON module cannot write itself as something it can."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


_hints = cache(get_type_hints)


def _read(kind: type[T], value: Any) -> T:
    """Returns decoded JSON as the type; fields that a later version adds are ignored.

    Raises TypeError for another shape, and ValueError for what is no date.
    """
    result: Any = value
    origin, args = get_origin(kind), get_args(kind)
    if origin is UnionType:
        inner = next(arg for arg in args if arg is not NoneType)
        result = None if value is None else _read(inner, value)
    elif origin in (list, tuple):
        if not isinstance(value, list):
            raise TypeError(f"a list was expected, not {type(value).__name__}")
        result = origin(_read(args[0], item) for item in value)
    elif kind is datetime:
        result = datetime.fromisoformat(value)
    elif is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"an object was expected, not {type(value).__name__}")
        hints = _hints(kind)
        result = kind(**{name: _read(hints[name], value[name]) for name in hints if name in value})
    elif kind in (str, int, float, bool) and not isinstance(
        value, (int, float) if kind is float else kind
    ):
        raise TypeError(f"{kind.__name__} was expected, not {type(value).__name__}")
    return cast(T, result)
