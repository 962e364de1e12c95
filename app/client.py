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

from app.modes import Mode
from app.schemas import LineError, MessageOut, Problem, RewriteOut, TemplateOut, TokenOut


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
        name: str = "",
        subject: str = "",
        tags: Sequence[str] = (),
        opens: bool | Mode = True,
        clicks: bool | Mode = True,
        pixel: Literal["top", "end"] = "end",
        url_text: Literal["leave", "track"] = "track",
        utm: Mapping[str, str] | None = None,
        values: Mapping[str, str | None] | None = None,
        sample: bool = False,
        dry_run: bool = False,
    ) -> RewriteOut:
        """One message with its pixel and links; with `dry_run` nothing is recorded.

        `values` fill its merge fields. `sample` keeps its HTML for the click map: only for a mail
        that names nobody.
        """
        tracking = {"opens": opens, "clicks": clicks, "pixel": pixel, "url_text": url_text}
        body = {
            "newsletter": {"id": newsletter_id, "name": name, "subject": subject, "tags": tags},
            "recipient": recipient,
            "html": html,
            "text": text,
            "tracking": tracking,
            "utm": dict(utm or {}),
            "values": dict(values or {}),
            "sample": sample,
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

    def keep_template(self, newsletter_id: str, html: str, **more: Any) -> TemplateOut:
        """Keep a compiled mail; `more` are the other fields of schemas.TemplateIn."""
        path = f"/v1/newsletters/{quote(newsletter_id, safe='')}/template"
        answer = self._post(path, {"html": html, **more})
        return msgspec.json.decode(answer.content, type=TemplateOut)

    @overload
    def messages(
        self,
        newsletter_id: str,
        recipients: Iterable[str | Mapping[str, Any]],
        give: Literal["html"] = "html",
    ) -> Iterator[MessageOut | LineError]: ...

    @overload
    def messages(
        self,
        newsletter_id: str,
        recipients: Iterable[str | Mapping[str, Any]],
        give: Literal["token"],
    ) -> Iterator[TokenOut | LineError]: ...

    def messages(
        self,
        newsletter_id: str,
        recipients: Iterable[str | Mapping[str, Any]],
        give: Literal["html", "token"] = "html",
    ) -> Iterator[MessageOut | TokenOut | LineError]:
        """Messages from the kept template, in order; recipients may come from a generator.

        Each is an email address, or the fields of schemas.RecipientIn, such as its `values`.
        """
        path = f"/v1/newsletters/{quote(newsletter_id, safe='')}/messages"
        lines = (
            msgspec.json.encode({"recipient": of} if isinstance(of, str) else of) + b"\n"
            for of in recipients
        )
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
