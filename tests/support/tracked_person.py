"""Creates a person in every part of a service, and searches for them in every byte it keeps."""

import base64
import hashlib
import json
import os
import re
import sqlite3
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lz4.block  # type: ignore[import-untyped]

from app.model.ids import new_id
from tests.support.service import WITH_HTTP, Service, paths, tracked_urls
from tests.support.webhook_receiver import Receiver

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ADDRESS = "canary.7f3a@example.com"
VISITOR = "203.0.113.77"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.3.0 canaryagent"
ORDER, MAIL_ID = "canaryorder-77", "canarymail-78@mailer.example"
HASHES = (
    *(hashlib.new(name, ADDRESS.encode()).hexdigest() for name in ("md5", "sha1", "sha256")),
    base64.urlsafe_b64encode(ADDRESS.encode()).decode().rstrip("="),
)
SAMPLE = "canarysample of a mail without an email address"
NEEDLES = (ADDRESS, quote(ADDRESS), VISITOR, "canaryagent", ORDER, MAIL_ID, *HASHES, SAMPLE)
OTHER = "someone.else@example.com"
LATER = datetime.fromtimestamp(time.time() // 60 * 60 + 3600, UTC).isoformat()
HTML = (
    '<body><a href="https://example.com/a" data-track-tag="boots">Boots</a>'
    '<a href="https://example.com/b">Tents</a></body>'
)
ENV = {
    **WITH_HTTP,
    "MAILWAKE_TRUSTED_PROXIES": "127.0.0.1/32",
    "MAILWAKE_VISITOR_ADDRESSES": "full",
}


def meet(service: Service, address: str, visitor: str, agent: str) -> None:
    """Send mail of every kind to an email address, with hits on all of it."""
    urls: list[str] = []
    own: dict[str, Any] = (
        {
            "metadata": {"order": ORDER},
            "rfc_message_id": MAIL_ID,
        }
        if address == ADDRESS
        else {"metadata": {"friend": f"of {ADDRESS.upper()}", "order": "A-1"}}
    )
    for recipient in (address, address.title()):
        urls += tracked_urls(service.rewrite("canary", HTML, recipient, **own)["html"])
    mail = EmailMessage()
    if address == ADDRESS:
        mail["Message-ID"], mail["X-Mailwake-Meta-Order"] = f"<{MAIL_ID}>", ORDER
    mail["From"], mail["To"], mail["Subject"] = "a@example.com", address, "Parcel"
    mail["X-Mailwake-Newsletter"] = "canary"
    mail.set_content("Hello")
    mail.add_alternative(HTML, subtype="html")
    answer = service.client.post(
        "/v1/rewrite/mime", content=bytes(mail), headers={"content-type": "message/rfc822"}
    )
    assert answer.status_code == 200, answer.text
    urls += tracked_urls(answer.text.replace("=\r\n", "").replace("=\n", ""))
    service.client.post("/v1/newsletters/canary/template", json={"html": HTML})
    answer = service.client.post(
        "/v1/newsletters/canary/messages",
        content=json.dumps({"recipient": address, **own}) + "\n",
    )
    urls += tracked_urls(json.loads(answer.text)["html"])
    hit(service, urls, visitor, agent)
    report_on(service, address, json.loads(answer.text)["message_id"])


def report_on(service: Service, address: str, message_id: str) -> None:
    """Report what became of their mail, in each way that may name them."""
    named: tuple[dict[str, str], ...] = (
        {"message_id": message_id},
        {"recipient": address, "newsletter": "canary"},
        {"recipient": address, "rfc_message_id": MAIL_ID},
        {"rfc_message_id": MAIL_ID},
    )
    for number, names in enumerate(named if address == ADDRESS else named[:1]):
        report = {
            "id": f"{number} {address}",
            "type": "delivered",
            "occurred_at": datetime.now(UTC).isoformat(),
            "text": f"250 accepted for <{address}>, {HASHES[0] if address == ADDRESS else ''}",
            **names,
        }
        answer = service.client.post("/v1/outcomes", json=report)
        assert answer.status_code == 200, answer.text


def hit(service: Service, urls: list[str], visitor: str, agent: str) -> None:
    headers = {"user-agent": agent, "x-forwarded-for": visitor, "sec-fetch-mode": "navigate"}
    for path in paths(urls):
        assert service.client.get(path, headers=headers).status_code in (200, 302)


def webhook(service: Service, url: str, **more: Any) -> str:
    answer = service.client.post("/v1/webhooks", json={"url": url, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def everything(
    service: Service,
    there: Receiver,
    failing: Receiver,
    removed: Receiver,
    *,
    followed_up: bool = True,
) -> None:
    """Put the person, and another, into everything that a service keeps.

    Follow-ups wait five seconds: leave them out where they matter little.
    """
    failing.default, removed.default = 500, 410
    webhook_ids = [webhook(service, entry.url) for entry in (there, failing, removed)]
    followed = {"name": "Thank", "webhook_id": webhook_ids[0], "when": "clicked"}
    assert service.client.post("/v1/followups", json=followed).status_code == 200
    for person in (
        (OTHER, "198.51.100.9", AGENT.replace(" canaryagent", "")),
        (ADDRESS, VISITOR, AGENT),
    ):
        meet(service, *person)
    personal = f'<body><a href="https://example.com/?m={quote(ADDRESS)}">{ADDRESS}</a></body>'
    named = {  # full URLs: else URL and label would be masked
        "id": "personal",
        "name": "Personal",
        "subject": f"For {ADDRESS}",
        "full_urls": True,
    }
    answer = service.rewrite(named, personal, ADDRESS, sample=True)
    hit(service, tracked_urls(answer["html"]), VISITOR, AGENT)
    hashed = "".join(f'<a href="https://example.com/?u={text}">x</a>' for text in HASHES)
    own = {"id": "hashed", "full_urls": True}
    service.rewrite(own, f"<body>{hashed}</body>", ADDRESS, metadata={"md5": HASHES[0].upper()})
    service.rewrite(own, "<body>somebody else's</body>", OTHER, metadata={"sha256": HASHES[2]})
    service.rewrite({"id": "sampled"}, f"<body>{SAMPLE}</body>", ADDRESS, sample=True)
    service.rewrite({"id": "others"}, "<body>theirs</body>", OTHER, sample=True)
    unsubscribe = re.search(r"<([^>]+)>", answer["headers"]["List-Unsubscribe"])
    assert unsubscribe
    response = service.client.post(
        paths([unsubscribe[1]])[0],
        data={"List-Unsubscribe": "One-Click"},
        headers={"x-forwarded-for": VISITOR, "user-agent": AGENT},
    )
    assert response.status_code == 200
    service.drained()
    states = {"delivered", "waiting", "dead"}
    service.wait_for(lambda: states <= {entry["state"] for entry in deliveries(service)}, "states")
    if followed_up:
        service.wait_for(lambda: any("followup" in e["type"] for e in there.events()), "follow-up")
    _damaged(service)
    left_over = service.data_dir / "export-killed"
    left_over.mkdir()
    (left_over / "answer").write_text(f"{ADDRESS}\n")
    old = time.time() - 3600
    os.utime(left_over / "answer", (old, old))


def deliveries(service: Service) -> list[dict[str, Any]]:
    entries = []
    for webhook_of in service.get("/v1/webhooks")["webhooks"]:
        entries += service.get(f"/v1/webhooks/{webhook_of['id']}/deliveries", limit=500)[
            "deliveries"
        ]
    return entries


def _damaged(service: Service) -> None:
    """Add a journal segment with an invalid line, as after a disk error: it is kept as .bad."""
    segment = service.data_dir / "journal" / f"{uuid.UUID(bytes=new_id())}.seg"
    whole = '{"record":"newsletter","at":1,"workspace":"default","newsletter":1,"id":"kept"}'
    torn = f'{{"record":"hit","kind":"open","recipient":12,"address":"{VISITOR}","of":"{ADDRESS}"'
    partial = segment.with_suffix(".tmp")
    partial.write_text(f"{whole}\n{torn}\nneither this\n")
    partial.rename(segment)
    service.wait_for(lambda: segment.with_suffix(".bad").exists(), "the segment's copy")


def figures(service: Service) -> dict[str, Any]:
    """Returns all figures in the API about the newsletter that both got, the same at any time."""
    here = "/v1/newsletters/canary"
    answers = {name: service.get(f"{here}/{name}") for name in ("stats", "links", "agents")}
    answers["timeline"] = service.get(f"{here}/timeline", to=LATER, step="minute")
    answers["all"] = service.get("/v1/newsletters")
    for newsletter in answers["all"]["newsletters"]:
        newsletter.pop("subject")  # the only place of a newsletter that named the person
    return answers


@dataclass
class Search:
    """Searches every byte of a folder, both raw and unpacked."""

    folder: Path
    needles: tuple[str, ...] = NEEDLES
    found: set[tuple[str, str]] = field(default_factory=set)

    def run(self) -> set[tuple[str, str]]:
        """Returns (file, needle) for each file that contains one."""
        for folder, _, names in os.walk(self.folder):  # ignores folders that vanish
            for name in names:
                with suppress(FileNotFoundError):  # merged away; the merged file is searched too
                    self._look(Path(folder, name))
        return self.found

    def _look(self, path: Path) -> None:
        if path.is_socket():  # holds nothing
            return
        content = path.read_bytes()
        self._check(path, content)
        if path.suffix == ".bin":
            for block in blocks(content):
                self._check(path, block)
        if path.name == "state.db":
            with sqlite3.connect(path) as state:
                for (rows,) in state.execute("SELECT rows FROM feed"):
                    self._check(path, zlib.decompress(rows))
                for (rows,) in state.execute("SELECT rows FROM segments WHERE rows != x''"):
                    self._check(path.with_name("state.db segments"), zlib.decompress(rows))
            state.close()

    def _check(self, path: Path, content: bytes) -> None:
        lowered = content.lower()
        for needle in self.needles:
            if needle.lower().encode() in lowered:
                self.found.add((str(path.relative_to(self.folder)), needle))


def blocks(content: bytes) -> Iterator[bytes]:
    """Yields a ClickHouse column file unpacked: checksum, method, sizes, data, and the next."""
    at = 0
    while at + 25 <= len(content):
        method = content[at + 16]
        size = int.from_bytes(content[at + 17 : at + 21], "little")
        whole = int.from_bytes(content[at + 21 : at + 25], "little")
        packed = content[at + 25 : at + 16 + size]
        if method == 0x82:
            yield lz4.block.decompress(packed, uncompressed_size=whole)
        elif method == 0x90:
            yield zstd.decompress(packed)
        elif method != 0x91:  # several codecs: times and numbers only
            assert method == 0x02, f"method {method:#x}"
            yield packed
        at += 16 + size
    assert at == len(content), "not every byte was read"
