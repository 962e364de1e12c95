"""Secrets in links: a redirect leads to its URL; nothing else keeps or shows what is in it."""

import json
import re
import secrets
import subprocess
import sys
import tarfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pytest

from app.model.ids import new_id, newsletter_key
from app.model.records import Hit, encode, now_ms
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.service import LOCAL_RECEIVERS, Service, paths, tracked_urls
from tests.support.smtp_gateway import gateway
from tests.support.smtp_server import inbox
from tests.support.tracked_person import AGENT, ENV, Search, webhook
from tests.support.two_tenants import close, filled, operations, pages, streamed, visitor
from tests.support.webhook_receiver import Receiver, receiver

RECIPIENT = "reader@example.com"


@dataclass
class Links:
    """URLs of one mail with a canary in every part that may hold a secret."""

    channel: str
    needles: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        word, token, other, jwt = self.word, self.token, self.token, self.jwt
        self.urls = [
            f"https://shop.example/reset/{token()}?utm_source=mail",
            f"https://shop.example/verify/email/{self.short()}",
            f"https://shop.example/a;sid={word()}/b",
            f"https://user:{word()}@shop.example/",
            f"https://shop.example/documents/{token()}.pdf",
            f"https://shop.example/orders/{self.uuid()}/track",
            f"https://shop.example/some-readable-article-{token()}",
            f"https://shop.example/?{token()}",
            f"https://shop.example/?{other()}=1&page=2",
            f"https://shop.example/?q={token()}&page=2",
            f"https://shop.example/?h={self.hex()}",
            f"https://shop.example/?j={jwt()}",
            f"https://shop.example/?token={word()}&utm_medium=mail",
            f"https://shop.example/?user%5BresetCode%5D={word()}",
            f"https://shop.example/?email={word()}%40person.example",
            f"https://shop.example/o?se=2030-01-01&sig={word()}%2Fx%3D",
            f"https://shop.example/?X-Amz-Signature={word()}&X-Amz-Expires=60",
            f"https://shop.example/?next=https%3A%2F%2Fx.example%2Freset%2F{token()}%3Fkey%3D{word()}",
            f"https://shop.example/?u=http://x.example/{token()}/a?code={word()}",
            f"https://shop.example/#access_token={word()}&page=2",
            f"https://shop.example/#/invite/{self.short()}",
            f"https://shop.example/#{token()}",
            f"https://shop.example/?d={''.join(f'%{ord(c):02X}' for c in token())}",
        ]

    def _needle(self, text: str) -> str:
        self.needles.append(text)
        return text

    def word(self) -> str:
        """Readable, so that only its name or place makes it a secret."""
        return self._needle(f"canary{self.channel}{len(self.needles)}x")

    def short(self) -> str:
        return self._needle(f"c4{self.channel}{len(self.needles)}z")

    def token(self) -> str:
        return self._needle(secrets.token_urlsafe(24))

    def hex(self) -> str:
        return self._needle(secrets.token_hex(16))

    def uuid(self) -> str:
        return self._needle(str(uuid.uuid4()))

    def jwt(self) -> str:
        body = urlsafe_b64encode(json.dumps({"sub": self.channel}).encode()).rstrip(b"=").decode()
        return f"eyJhbGciOiJIUzI1NiJ9.{body}.{self.token()}"

    @property
    def html(self) -> str:
        """Links whose text is their URL, is not, or is an image that the URL describes."""
        links = []
        for n, url in enumerate(map(escape, self.urls)):
            label = (url, f"Link {n}", f'<img src=x alt="{url}">')[n % 3]
            links.append(f'<a href="{url}">{label}</a>')
        return f"<body><p>Hello</p>{''.join(links)}</body>"


@dataclass
class Told:
    """What a whole service has kept and shown, by place; needles that were there."""

    links: dict[str, Links]
    tokens: list[str]
    places: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def needles(self, *channels: str) -> tuple[str, ...]:
        return tuple(n for name in channels or self.links for n in self.links[name].needles)

    def look(self, place: str, what: str, content: bytes | str) -> None:
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        kept = self.places.setdefault(place, set())
        kept |= {(what, needle) for needle in (*self.needles(), *self.tokens) if needle in text}

    def search(self, place: str, folder: Path) -> None:
        needles = (*self.needles(), *self.tokens)
        self.places.setdefault(place, set()).update(Search(folder, needles).run())


def click(service: Service, links: Links, html: str) -> list[str]:
    """Each redirect leads to exactly its URL; returns the links' tokens, which hold them."""
    urls = [url for url in tracked_urls(html) if "/c/" in url]
    headers = {"user-agent": AGENT, "sec-fetch-mode": "navigate"}
    locations = []
    for path in paths(urls):
        answer = service.client.get(path, headers=headers)
        assert answer.status_code == 302
        locations.append(answer.headers["location"])
    assert locations == links.urls
    return [path.rpartition("/")[2] for path in paths(urls)]


def mime(links: Links, newsletter: str) -> bytes:
    lines = [
        f"X-Mailwake-Newsletter: {newsletter}",
        "X-Mailwake-Sample: yes",
        "From: Shop <news@shop.example>",
        f"To: {RECIPIENT}",
        "Subject: Hello",
        "MIME-Version: 1.0",
        "Content-Type: text/html; charset=utf-8",
        "",
        links.html.replace("</a>", "</a>\r\n"),
        "",
    ]
    return "\r\n".join(lines).encode()


def by_smtp(service: Service, links: Links) -> str:
    """The mail as a smarthost gets it."""
    with (
        inbox() as box,
        gateway(
            service.data_dir, f"smtp://127.0.0.1:{box.port}", MAILWAKE_PUBLIC_URL=service.url
        ) as running,
    ):
        assert running.send(mime(links, "smtp"), RECIPIENT).startswith("250")
        return box.raw[0].decode()


def clicks(there: Receiver) -> int:
    return sum(event["type"] == "message.clicked" for event in there.events())


def ask_everything(told: Told, service: Service, table: list[tuple[str, str]]) -> None:
    """Every GET of the API, every page, the streams and the command line."""
    hooks = service.get("/v1/webhooks")["webhooks"]
    page = visitor(service)
    for n, channel in enumerate(told.links):
        sent = service.get("/v1/messages", newsletter_id=channel)["messages"]
        ids = {
            "message_id": sent[0]["message_id"],
            "newsletter_id": channel,
            "recipient": RECIPIENT,
            "webhook_id": hooks[0]["id"],
            "followup_id": "none",
            "name": "none",
            "erasure_id": "0",
            "token": "none",
            "key": "1",
            "action": "none",
            "path": "none",
        }
        query = {"newsletter": channel, "recipient": RECIPIENT, "opened": channel}
        for method, path in operations(service):
            if method == "GET" and not path.endswith("/stream") and _differs(path, n):
                answer = service.client.get(filled(path, ids), params=_known(path, query))
                assert answer.status_code < 500, f"{path}: {answer.text}"
                told.look("api", path, answer.content)
        for method, path in table:
            if method != "GET" or path.startswith(("/v1", "/logout")) or not _differs(path, n):
                continue
            if path.endswith("/live"):
                told.look("pages", path, streamed(page, filled(path, ids), {}))
                continue
            answer = page.get(filled(path, ids), params=_known(path, query))
            assert answer.status_code < 500, f"{path}: {answer.text}"
            told.look("pages", path, answer.content)
    told.look("api", "stream", streamed(service.client, "/v1/events/stream", {"after": "0.0"}))


def _differs(path: str, n: int) -> bool:
    """Whether an answer is another for the n-th newsletter."""
    own = "{newsletter_id" in path or "{message_id" in path
    return n == 0 or own or bool(_known(path, dict.fromkeys(KNOWN, "")))


KNOWN = ("newsletter", "recipient", "opened")


def _known(path: str, query: dict[str, str]) -> dict[str, str]:
    """What a GET needs beside its path."""
    if path.endswith("/suppressions/check"):
        return {name: query[name] for name in ("recipient", "newsletter")}
    if path.endswith("/consent"):
        return {"recipient": query["recipient"]}
    if path in ("/compare", "/v1/events"):
        return {name: query[name] for name in ("newsletter",)}
    if path == "/v1/messages":
        return {"recipient": query["recipient"]}
    return {"opened": query["opened"]} if "segments" in path else {}


def run(service: Service, *words: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "app", *words, "--data-dir", str(service.data_dir)],
        env=service.env,
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("secrets")
    table = pages(tmp_path_factory.mktemp("table") / "data")
    links = {name: Links(name) for name in ("api", "sample", "mime", "smtp", "template")}
    links["one"] = Links("one")
    del links["one"].urls[1:]  # so that a person clicks, who is followed up
    told = Told(links, [])
    with receiver() as there, Service(folder / "data", LOCAL_RECEIVERS, **ENV) as service:
        service.ready()
        hook = webhook(service, there.url)
        rule = {"name": "Thank", "webhook_id": hook, "when": "clicked"}
        assert service.client.post("/v1/followups", json=rule).status_code == 200
        text = {"text": "\r\n".join(links["api"].urls), "tracking": {"text": True}}
        rewritten = service.rewrite("api", links["api"].html, RECIPIENT, **text)
        told.tokens += click(service, links["api"], rewritten["text"])
        html = {"api": rewritten["html"]}
        for name in ("sample", "one"):
            sample = name == "sample"
            html[name] = service.rewrite(name, links[name].html, RECIPIENT, sample=sample)["html"]
        answer = service.client.post(
            "/v1/rewrite/mime",
            content=mime(links["mime"], "mime"),
            headers={"content-type": "message/rfc822"},
        )
        html["mime"] = answer.text
        html["smtp"] = by_smtp(service, links["smtp"])
        template = {"html": links["template"].html}
        service.client.post("/v1/newsletters/template/template", json=template)
        answer = service.client.post(
            "/v1/newsletters/template/messages", content=json.dumps({"recipient": RECIPIENT})
        )
        html["template"] = json.loads(answer.text)["html"]
        for name, sent in html.items():
            told.tokens += click(service, links[name], sent)
        service.drained()
        service.wait_for(lambda: any("followup" in e["type"] for e in there.events()), "follow-up")
        service.wait_for(lambda: clicks(there) == len(told.tokens), "deliveries")
        for _, headers, body in there.requests:
            told.look("webhooks", "delivery", body + json.dumps(headers).encode())
        ask_everything(told, service, table)
        port = ("--port", str(service.port))
        told.look("command line", "report", run(service, "report", "api"))
        told.look("command line", "subject", run(service, "export-subject", RECIPIENT))
        run(service, "backup", str(folder / "backup.tar"), *port)
        with tarfile.open(folder / "backup.tar") as tar:
            tar.extractall(folder / "unpacked", filter="data")
        close()
        service.stop()
        told.search("data folder", folder / "data")
        told.search("backup", folder / "unpacked")
        for log in folder.glob("*.log"):
            told.look("logs", log.name, log.read_bytes())
    yield told


def kept(told: Told, place: str) -> set[tuple[str, str]]:
    """What stands there, but for the mailer's own template: the same for all, and to be sent."""
    own = set(told.needles("template"))
    return {
        (what, needle)
        for what, needle in told.places[place]
        if not (needle in own and re.search(r"(?:^|/)templates/[^/]+\.json$", what))
    }


@pytest.mark.parametrize(
    "place",
    ["data folder", "backup", "api", "pages", "webhooks", "command line", "logs"],
)
def test_no_secret_of_a_link_is_kept_or_shown(told: Told, place: str) -> None:
    assert not kept(told, place)


def test_the_search_looks_everywhere(told: Told) -> None:
    """The template is kept as it is: it stands in the folder and in the backup, and is seen."""
    for place in ("data folder", "backup"):
        seen = {needle for what, needle in told.places[place] if "templates/" in what}
        assert seen >= {n for n in told.needles("template") if n.startswith("canary")}
    assert set(told.places) == {
        "data folder",
        "backup",
        "api",
        "pages",
        "webhooks",
        "command line",
        "logs",
    }


def test_full_urls_are_kept_where_the_newsletter_wants_them(tmp_path: Path) -> None:
    links, masked = Links("full"), Links("masked")
    with Service(tmp_path / "data") as service:
        service.ready()
        for own, named in ((links, {"id": "full", "full_urls": True}), (masked, {"id": "masked"})):
            click(service, own, service.rewrite(named, own.html, RECIPIENT)["html"])
        service.drained()
        answer = service.client.get("/v1/events", params={"type": "message.clicked"})
        events = [json.loads(line) for line in answer.text.splitlines()]
    urls = [event["link"]["url"] for event in events if event["newsletter_id"] == "full"]
    assert sorted(urls) == sorted(links.urls)
    assert len(events) == len(links.urls) + len(masked.urls)
    assert not any(needle in answer.text for needle in masked.needles)


def test_a_segment_that_was_damaged_keeps_no_secret(tmp_path: Path) -> None:
    """Lines that are no record are kept for whoever looks into it, without what is in links."""
    links = Links("bad")
    with Service(tmp_path / "data") as service:
        service.ready()
        segment = service.data_dir / "journal" / f"{uuid.UUID(bytes=new_id())}.seg"
        hits = [
            encode(
                Hit(
                    "click",
                    now_ms(),
                    "default",
                    newsletter_key("default", "bad"),
                    new_id().hex(),
                    1,
                    n,
                    url,
                )
            )
            for n, url in enumerate(links.urls)
        ]
        partial = segment.with_suffix(".tmp")
        partial.write_bytes(b"".join(line + line[: len(line) - 9] + b"\n" for line in hits))
        partial.rename(segment)
        service.wait_for(lambda: segment.with_suffix(".bad").exists(), "the segment's copy")
        time.sleep(0.1)
        service.drained()
    assert Search(tmp_path, tuple(links.needles)).run() == set()
