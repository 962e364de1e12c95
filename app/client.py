"""A client for mailers written in Python.

from app.client import Mailwake

with Mailwake("https://click.example.com", key) as mailwake:
    mail = mailwake.rewrite("spring", "ann@example.com", html, name="Spring sale")
    send(mail.html, mail.headers)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, overload
from urllib.parse import quote

import httpx2
import msgspec

from app.model.tracking_modes import Mode
from app.schemas.experiments import AssignmentList, AssignmentOut, ExperimentOut, Plan
from app.schemas.messages import LineError, MessageOut, RewriteOut, TemplateOut, TokenOut
from app.schemas.problem import Problem

# An email address, one with the variant to get, or the fields of schemas.RecipientIn.
Addressee = str | tuple[str, str] | Mapping[str, Any]


class MailwakeError(Exception):
    """The service refused; `problem` says why and names the field."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.field} {problem.detail}")
        self.problem = problem


class Mailwake:
    """One service. Every method raises MailwakeError, or httpx2.TransportError when it is away."""

    def __init__(self, url: str, key: str, timeout: float = 30) -> None:
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
        """One message with its pixel and links; with `dry_run` nothing is recorded.

        Name, subject and tags that are left out stay as they were stated last. `sample` keeps the
        HTML for the click map: only for a mail that names nobody. `metadata` and the mail's own
        Message-ID come with its events. `variant` names it for A/B; without one the newsletter's
        experiment decides, if it has one. `values` fill its merge fields. `link_families` and
        `full_urls` are those of schemas.NewsletterIn.
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
        return msgspec.json.decode(answer.content, type=RewriteOut)

    def rewrite_mime(self, message: bytes) -> bytes:
        """A whole message whose X-Mailwake-* fields say what it is; they are gone afterwards."""
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

        `more` are the other fields of schemas.TemplateIn.
        """
        path, params = _path(newsletter_id, "template"), {"variant": variant} if variant else {}
        answer = self._post(path, {"html": html, **more}, params)
        return msgspec.json.decode(answer.content, type=TemplateOut)

    def start_experiment(self, newsletter_id: str, plan: Plan) -> ExperimentOut:
        """Let Mailwake split the newsletter's recipients from now on."""
        answer = self._post(_path(newsletter_id, "experiment"), msgspec.to_builtins(plan))
        return msgspec.json.decode(answer.content, type=ExperimentOut)

    def experiment(self, newsletter_id: str) -> ExperimentOut:
        """The newsletter's experiment with its figures as they are now."""
        answer = self._checked(self._client.get(_path(newsletter_id, "experiment")))
        return msgspec.json.decode(answer.content, type=ExperimentOut)

    def end_experiment(self, newsletter_id: str) -> None:
        """Split no more; messages keep their variants."""
        self._checked(self._client.delete(_path(newsletter_id, "experiment")))

    def assign(self, newsletter_id: str, recipients: Sequence[str]) -> list[AssignmentOut]:
        """Which variant each of up to 10,000 recipients gets, in order."""
        path = _path(newsletter_id, "experiment/assignments")
        answer = self._post(path, {"recipients": recipients})
        return msgspec.json.decode(answer.content, type=AssignmentList).assignments

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
        """Messages from the kept templates, in order; recipients may come from a generator.

        A pair is a recipient and the variant to get, a mapping has the fields of
        schemas.RecipientIn, such as `values`.
        """
        path = _path(newsletter_id, "messages")
        lines = (msgspec.json.encode(_line(one)) + b"\n" for one in recipients)
        out: type[MessageOut | TokenOut] = MessageOut if give == "html" else TokenOut
        with self._client.stream("POST", path, content=lines, params={"return": give}) as answer:
            if answer.is_error:
                answer.read()
            self._checked(answer)
            for line in answer.iter_lines():
                if line.startswith('{"line":'):
                    yield msgspec.json.decode(line, type=LineError)
                else:
                    yield msgspec.json.decode(line, type=out)

    def _post(
        self, path: str, body: Mapping[str, Any], params: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        content = msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        return self._checked(
            self._client.post(path, content=content, headers=headers, params=dict(params or {}))
        )

    @staticmethod
    def _checked(answer: httpx2.Response) -> httpx2.Response:
        if answer.is_success:
            return answer
        try:
            problem = msgspec.json.decode(answer.content, type=Problem)
        except msgspec.DecodeError:
            problem = Problem(answer.reason_phrase, answer.status_code)
        raise MailwakeError(problem)


def _path(newsletter_id: str, part: str) -> str:
    return f"/v1/newsletters/{quote(newsletter_id, safe='')}/{part}"


def _line(recipient: Addressee) -> Mapping[str, Any]:
    if isinstance(recipient, str):
        return {"recipient": recipient}
    if isinstance(recipient, tuple):
        return {"recipient": recipient[0], "variant": recipient[1]}
    return recipient
