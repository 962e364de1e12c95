import asyncio
import os
import random
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from app.model import records
from app.model.tracking_modes import MODES, Mode, Modes
from app.storage.journal import Journal
from app.storage.journal_segments import sealed, without_footer
from app.tracking.middleware import TrackingMiddleware
from app.tracking.recording_policy import refuser, truncated
from app.tracking.tokens import (
    BadTokenError,
    LinkToken,
    MessageToken,
    TokenReaders,
    Tokens,
    read_damaged,
)
from app.tracking.tracker import GIF, Tracker
from tests.support.paths import ROOT

TOKENS = Tokens(["secret-key-0123456789"])
ACME, OTHER = Tokens(["acme-key-0123456789"], "acme"), Tokens(["other-key-0123456789"], "other")
HOSTS: dict[bytes, Tokens | TokenReaders] = {
    b"": TokenReaders([TOKENS, ACME, OTHER]),
    b"click.example": TOKENS,
    b"acme.example": ACME,
}
MESSAGE = MessageToken(os.urandom(16), newsletter=11, recipient=22, variant=3)
URL = "https://example.com/a?b=c&d=%20#e"


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Answer:
    def __init__(self, sent: list[Message]) -> None:
        self.status = sent[0]["status"]
        self.headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        self.body = sent[1]["body"]


class Bench:
    """The middleware on a real journal in `folder`, without a server."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder)
        self.folder = folder
        self.withdrawn: set[tuple[str, int]] = set()
        refused = refuser(lambda kind, _, who, __: (kind, who) in self.withdrawn, True)
        self.tracking = Tracker(HOSTS, truncated, refused)
        self.asgi = TrackingMiddleware(elsewhere, self.tracking, self.journal)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "client": ("192.0.2.7", 4711),
            "headers": [
                (k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()
            ],
        }
        await self.asgi(scope, receive, send)
        return Answer(sent)

    async def hits(self) -> list[records.Record]:
        await self.journal.close()
        return [
            records.decode(line)
            for path in sealed(self.folder)
            for line in without_footer(path.read_bytes())[0].splitlines()
        ]


def ask(folder: Path, path: str, method: str = "GET", **headers: str) -> tuple[Any, ...]:
    """The answer, what the journal holds, and the drop reasons."""

    async def test() -> tuple[Any, ...]:
        bench = Bench(folder)
        answer = await bench.ask(path, method, **headers)
        return answer, await bench.hits(), dict(bench.tracking.dropped)

    return asyncio.run(test())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_pixel_is_a_gif_and_an_open(tmp_path: Path, method: str) -> None:
    path = f"/o/{TOKENS.message(MESSAGE)}.gif"
    answer, (hit,), dropped = ask(
        tmp_path, path, method, user_agent="Agent/1", sec_purpose="prefetch"
    )
    assert (answer.status, answer.body) == (200, GIF)
    assert len(GIF) == 43
    assert answer.headers["content-type"] == "image/gif"
    assert "no-store" in answer.headers["cache-control"]
    assert hit.kind == "open"
    assert hit.message == MESSAGE.message.hex()
    assert (hit.newsletter, hit.recipient, hit.variant, hit.position) == (11, 22, 3, -1)
    assert (hit.method, hit.user_agent, hit.purpose) == (method, "Agent/1", "prefetch")
    assert hit.address == "192.0.2.0", "cut before it is written"
    assert not dropped


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_click_redirects_to_exactly_the_url(tmp_path: Path, method: str) -> None:
    path = f"/c/{TOKENS.message(MESSAGE)}/{TOKENS.link(LinkToken(11, 5, URL))}"
    answer, (hit,), dropped = ask(tmp_path, path, method)
    assert answer.status == 302
    assert answer.headers["location"] == URL
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in answer.headers["x-robots-tag"]
    assert (hit.kind, hit.position, hit.url, hit.method) == ("click", 5, URL, method)
    assert not dropped


@pytest.mark.parametrize("token", ["", "x", "A" * 71, "..%2f", "\x00", "ä", "a" * 10_000])
def test_a_pixel_is_answered_whatever_the_token(tmp_path: Path, token: str) -> None:
    answer, hits, dropped = ask(tmp_path, f"/o/{token}.gif")
    assert (answer.status, answer.body) == (200, GIF)
    assert hits == []
    assert dropped == {"bad_message": 1}
    assert not list(tmp_path.iterdir())


def test_a_damaged_message_token_still_redirects_and_counts_nothing(tmp_path: Path) -> None:
    link = TOKENS.link(LinkToken(11, 5, URL))
    answer, hits, dropped = ask(tmp_path, f"/c/{TOKENS.message(MESSAGE)[:-1]}/{link}")
    assert (answer.status, answer.headers["location"]) == (302, URL)
    assert hits == []
    assert dropped == {"bad_message": 1}


def test_another_newsletters_message_still_redirects_and_counts_nothing(tmp_path: Path) -> None:
    link = TOKENS.link(LinkToken(12, 5, URL))
    answer, hits, dropped = ask(tmp_path, f"/c/{TOKENS.message(MESSAGE)}/{link}")
    assert (answer.status, answer.headers["location"]) == (302, URL)
    assert hits == []
    assert dropped == {"other_newsletter": 1}


@pytest.mark.parametrize("link", ["", "https://evil.example/", "A" * 60, "x/y"])
def test_no_redirect_without_a_valid_link(tmp_path: Path, link: str) -> None:
    answer, hits, dropped = ask(tmp_path, f"/c/{TOKENS.message(MESSAGE)}/{link}")
    assert answer.status == 404
    assert "location" not in answer.headers
    assert hits == []
    assert dropped == {"bad_link": 1}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/o/x.gif", "/c/x/y"])
def test_other_methods_are_refused(tmp_path: Path, path: str, method: str) -> None:
    answer, hits, _ = ask(tmp_path, path, method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert hits == []


def test_everything_else_is_the_applications(tmp_path: Path) -> None:
    for path in ("/", "/o", "/click", "/v1/rewrite"):
        assert ask(tmp_path, path)[0].status == 418


def test_a_full_disk_stops_no_redirect(tmp_path: Path) -> None:
    async def test() -> None:
        bench = Bench(tmp_path)
        bench.journal.max_bytes = 0
        link = TOKENS.link(LinkToken(11, 5, URL))
        answer = await bench.ask(f"/c/{TOKENS.message(MESSAGE)}/{link}")
        assert (answer.status, answer.headers["location"]) == (302, URL)
        assert (await bench.ask(f"/o/{TOKENS.message(MESSAGE)}.gif")).body == GIF
        assert bench.tracking.dropped == {"disk_cap": 2}
        assert await bench.hits() == []

    asyncio.run(test())


def test_a_user_agent_is_cut_and_any_bytes_are_kept(tmp_path: Path) -> None:
    path = f"/o/{TOKENS.message(MESSAGE)}.gif"
    _, (hit,), _ = ask(tmp_path, path, user_agent="\xff\x00" + "A" * 5000)
    assert hit.user_agent == "\xff\x00" + "A" * 510


def test_forged_tokens_touch_no_disk(tmp_path: Path) -> None:
    message, link = TOKENS.message(MESSAGE), TOKENS.link(LinkToken(11, 4, URL))
    chance = random.Random(1)

    def forged(token: str) -> str:
        at = chance.randrange(len(token))
        other = chance.choice([c for c in string.ascii_letters + string.digits if c != token[at]])
        return token[:at] + other + token[at + 1 :]

    async def test() -> None:
        bench = Bench(tmp_path)
        for _ in range(20_000):
            assert (await bench.ask(f"/o/{forged(message)}.gif")).status == 200
            assert (await bench.ask(f"/c/{message}/{forged(link)}")).status == 404
        assert bench.tracking.hits.total() == 0
        assert bench.tracking.dropped == {"bad_message": 20_000, "bad_link": 20_000}

    asyncio.run(test())
    assert list(tmp_path.iterdir()) == []


def test_the_hot_path_is_one_screen_and_imports_no_database_or_parser() -> None:
    source = (ROOT / "app" / "tracking" / "tracker.py").read_text()
    assert len(source.splitlines()) <= 160
    imported = [line for line in source.splitlines() if line.startswith(("from app", "import app"))]
    assert [line.split()[1] for line in imported] == [
        "app.model.hosts",
        "app.model.records",
        "app.tracking.hit_from_request",
        "app.tracking.tokens",
    ]


@pytest.mark.parametrize("host", ["acme.example", "ACME.example.", "", "10.0.0.7:8025"])
def test_a_hit_is_of_the_workspace_that_signed(tmp_path: Path, host: str) -> None:
    message, link = ACME.message(MESSAGE), ACME.link(LinkToken(11, 0, URL))
    answer, (click,), _ = ask(tmp_path / "c", f"/c/{message}/{link}", host=host)
    assert answer.headers["location"] == URL
    answer, (opened,), _ = ask(tmp_path / "o", f"/o/{message}.gif", host=host)
    assert answer.body == GIF
    assert (click.workspace, opened.workspace) == ("acme", "acme")


@pytest.mark.parametrize(
    "host",
    ["click.example", "Click.Example", "click.example.", "click.example:8443", "click.example.:80"],
)
def test_no_workspace_leads_from_the_host_of_another(tmp_path: Path, host: str) -> None:
    message, link = ACME.message(MESSAGE), ACME.link(LinkToken(11, 0, URL))
    answer, hits, dropped = ask(tmp_path / "c", f"/c/{message}/{link}", host=host)
    assert answer.status == 404 and "location" not in answer.headers
    assert (hits, dropped) == ([], {"bad_link": 1})
    answer, hits, dropped = ask(tmp_path / "o", f"/o/{message}.gif", host=host)
    assert answer.body == GIF
    assert (hits, dropped) == ([], {"bad_message": 1})


def test_a_message_of_another_workspace_is_redirected_and_not_counted(tmp_path: Path) -> None:
    message = OTHER.message(MESSAGE._replace(newsletter=12))
    path = f"/c/{message}/{ACME.link(LinkToken(11, 0, URL))}"
    answer, hits, dropped = ask(tmp_path, path)
    assert answer.headers["location"] == URL
    assert (hits, dropped) == ([], {"other_newsletter": 1})


@pytest.mark.parametrize(("name", "reason"), [("sec_gpc", "gpc"), ("dnt", "dnt")])
def test_who_objects_is_not_counted_for_opening_but_for_clicking(
    tmp_path: Path, name: str, reason: str
) -> None:
    message = TOKENS.message(MESSAGE)
    answer, hits, dropped = ask(tmp_path / "o", f"/o/{message}.gif", **{name: "1"})
    assert (answer.status, answer.body, hits, dropped) == (200, GIF, [], {reason: 1})
    assert len(ask(tmp_path / "0", f"/o/{message}.gif", **{name: "0"})[1]) == 1
    path = f"/c/{message}/{TOKENS.link(LinkToken(11, 5, URL))}"
    answer, hits, dropped = ask(tmp_path / "c", path, **{name: "1"})
    assert (answer.headers["location"], len(hits), dropped) == (URL, 1, {})


def test_who_has_withdrawn_is_answered_and_not_counted(tmp_path: Path) -> None:
    message, link = TOKENS.message(MESSAGE), TOKENS.link(LinkToken(11, 5, URL))

    async def test() -> None:
        bench = Bench(tmp_path)
        bench.withdrawn = {("open", 22), ("click", 22), ("open", 23)}
        assert (await bench.ask(f"/o/{message}.gif")).body == GIF
        assert (await bench.ask(f"/c/{message}/{link}")).headers["location"] == URL
        other = TOKENS.message(MESSAGE._replace(recipient=23))
        await bench.ask(f"/c/{other}/{link}")
        assert bench.tracking.dropped == {"withdrawn": 2}
        assert bench.tracking.hits == {"click": 1}
        assert len(await bench.hits()) == 1

    asyncio.run(test())


@pytest.mark.parametrize("opens", MODES)
@pytest.mark.parametrize("clicks", MODES)
def test_each_axis_is_written_by_its_own_mode(tmp_path: Path, opens: Mode, clicks: Mode) -> None:
    message = TOKENS.message(MESSAGE._replace(flags=Modes(opens, clicks).flags))
    paths = {
        opens: f"/o/{message}.gif",
        clicks: f"/c/{message}/{TOKENS.link(LinkToken(11, 0, URL))}",
    }
    for mode, path in paths.items():
        _, hits, dropped = ask(tmp_path / mode, path)
        if mode == "off":
            assert (hits, dropped) == ([], {"off": 1})
        else:
            (hit,) = hits
            assert hit.mode == MODES.index(mode)
            assert hit.address == ("192.0.2.0" if mode == "full" else "")


DAMAGE = [
    ")",
    "]",
    "}",
    ">",
    ".",
    ",",
    ";",
    ":",
    "!",
    "...",
    "\u2026",
    "/",
    "//",
    "=",
    "=0D",
    "=0d=0a",
    "=20",
    "=3D",
    "= ",
    " ",
    "\r\n",
    "\xa0",
    '"',
    "'",
    "\u201d",
    "\u2019",
    "\u00bb",
    "\u3002",
    "\u300d",
    "*",
    "**",
    "&gt;",
    "&quot;",
    "&#39;",
    "&#x27;",
    "&amp;gt;",
    "&gt",
    "&rdquo;",
    "&",
    ").",
    '>"',
    ">,",
    "&quot;&gt;",
    "</",
    "|",
    "\ufffd",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_stands_behind_a_link_is_passed_over(tmp_path: Path, damage: str) -> None:
    message, link = TOKENS.message(MESSAGE), TOKENS.link(LinkToken(11, 5, URL))
    for n, behind in enumerate((damage, quote(damage, safe=""))):
        folder = tmp_path / str(n)
        answer, hits, dropped = ask(folder / "c", f"/c/{message}/{link}{behind}")
        assert (answer.status, answer.headers["location"]) == (302, URL)
        assert [(hit.kind, hit.url) for hit in hits] == [("click", URL)] and not dropped
        for gif in (".gif", ""):
            _, hits, dropped = ask(folder / f"o{gif}", f"/o/{message}{gif}{behind}")
            assert [hit.kind for hit in hits] == ["open"] and not dropped


@pytest.mark.parametrize(
    "behind", ["x", ".x", "/x", "%20x", "%", "\u3042", "&copy;", "=ZZ", "-", "_", "\u3042.", ".gif"]
)
def test_anything_else_behind_a_link_is_no_damage(tmp_path: Path, behind: str) -> None:
    link = TOKENS.link(LinkToken(11, 5, URL))
    for damaged in (f"{link}{behind}", f"{link}){behind}", f"{link[:-1]}{behind}.", f" {link}"):
        answer, hits, dropped = ask(tmp_path, f"/c/{TOKENS.message(MESSAGE)}/{damaged}")
        assert answer.status == 404 and "location" not in answer.headers
        assert (hits, dropped) == ([], {"bad_link": 1})


def test_tokens_that_were_encoded_once_more_are_read(tmp_path: Path) -> None:
    message, link = TOKENS.message(MESSAGE), TOKENS.link(LinkToken(11, 5, URL))

    def encoded(text: str) -> str:
        return "".join(f"%{ord(c):02x}" if c in "-_A" else c for c in text)

    answer, (hit,), _ = ask(tmp_path / "c", f"/c/{encoded(message)}/{encoded(link)}%29")
    assert (answer.headers["location"], hit.message) == (URL, MESSAGE.message.hex())
    _, (hit,), _ = ask(tmp_path / "o", f"/o/{encoded(message)}.gif%3E")
    assert hit.kind == "open"


SIGNED = [TOKENS.link(LinkToken(11, n, f"{URL}{n}")) for n in range(3)]


@given(st.sampled_from(SIGNED), st.data())
def test_no_damage_makes_a_token_that_was_not_signed(token: str, data: st.DataObject) -> None:
    behind = st.lists(st.sampled_from([*DAMAGE, "x", "0", "-", "%", "A=", SIGNED[0]]), max_size=4)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(token)))
        cut = data.draw(st.sampled_from([0, 0, 1, 5]))
        part = data.draw(st.text(max_size=3) | behind.map("".join))
        token = token[:at] + part + token[at + cut :]
    token = quote(token) if data.draw(st.booleans()) else token
    try:
        read = read_damaged(TOKENS.read_link, token)
    except BadTokenError:
        return
    assert TOKENS.link(read) in SIGNED
    assert unquote(token).startswith(TOKENS.link(read)), "one of ours, whole and at the beginning"
