"""Every code block of the documentation works, in the order of its page, as somebody pastes it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.storage.clickhouse import Storage
from tests.support.doc_blocks import LANGUAGES, PAGES, PICTURES, Block, blocks, desk
from tests.support.paths import ROOT
from tests.support.service import LOCAL_RECEIVERS, WITH_HTTP, Service, free_port, tracked_urls
from tests.support.smtp_server import Inbox, inbox

OWN_SERVICE = {"docs/tutorial.md"}  # these start what they need
AGENT = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
# For "sleep 2", which is meant to be long enough for hits to be counted: as long as that takes.
LOADED = """until curl -s $MAILWAKE/healthz/full | grep -q '"bytes":0'; do sleep 0.1; done"""


@pytest.fixture(scope="module")
def box() -> Iterator[Inbox]:
    """The mail server behind everything."""
    with inbox() as found:
        yield found


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, box: Inbox) -> Iterator[Service]:
    """A service with the newsletters and people that the pages speak of."""
    env = {
        **WITH_HTTP,
        "MAILWAKE_SMARTHOST": f"smtp://127.0.0.1:{box.port}",
        "MAILWAKE_REPORT_FROM": "wake@example.com",
    }
    with Service(tmp_path_factory.mktemp("blocks") / "data", LOCAL_RECEIVERS, **env) as running:
        html = '<body><a href="https://example.com/boots" data-track-tag="boots">Boots</a></body>'
        for newsletter in ("spring-sale", "abandoned-cart"):
            mail = running.rewrite(newsletter, html, "ann@example.com")
            for url in tracked_urls(mail["html"]):
                running.client.get(url, headers=AGENT)
        running.drained()
        yield running


def every() -> list[Block]:
    return [block for page in PAGES if page.exists() for block in blocks(page)]


@pytest.mark.parametrize("block", every(), ids=str)
def test_a_block_has_a_language_and_is_run_or_says_why_not(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block}: fence it, as one of {sorted(LANGUAGES)}"
    if block.special == "not run":
        assert len(block.why.split()) > 3, f"{block}: say why it cannot be run"


def _works(block: Block) -> bool:
    return block.special != "not run" and block.language not in PICTURES


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.exists() and any(map(_works, blocks(page)))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_blocks_of_a_page_work_in_their_order(
    page: Path, busy: Service, box: Inbox, storage: Storage, tmp_path: Path
) -> None:
    alone = str(page.relative_to(ROOT)) in OWN_SERVICE
    port = free_port() if alone else busy.port
    places = {
        "http://127.0.0.1:8025": f"http://127.0.0.1:{port}",
        "127.0.0.1:8025": f"127.0.0.1:{port}",
        "127.0.0.1:2525": f"127.0.0.1:{free_port()}",
        "127.0.0.1:25": f"127.0.0.1:{box.port}",
        '"127.0.0.1", 9000': f'"127.0.0.1", {(hook := free_port())}',
        "127.0.0.1:9000": f"127.0.0.1:{hook}",
        "EMAIL_PORT = 25": f"EMAIL_PORT = {box.port}",
        "sleep 2": LOADED,
    }
    env = {
        "MAILWAKE_PORT": str(port),
        "MAILWAKE_SMTP_LISTEN": places["127.0.0.1:2525"],
        "DJANGO_SETTINGS_MODULE": "settings",
    }
    if not alone:
        wanted = ("MAILWAKE_SMARTHOST", "MAILWAKE_REPORT_FROM")
        env |= {name: busy.env[name] for name in wanted} | {
            "MAILWAKE_PUBLIC_URL": busy.url,
            "MAILWAKE": busy.url,
            "MAILWAKE_API_KEY": busy.api_key,
        }
        (tmp_path / "data").symlink_to(busy.data_dir)
    box.clear()
    printed = ""
    with desk(tmp_path, env, places) as work:
        for block in filter(_works, blocks(page)):
            printed += work.do(block, storage)
    CHECKS.get(str(page.relative_to(ROOT)), _nothing)(printed, busy, box)


def _nothing(*_: object) -> None:
    pass


def _stats(printed: str, newsletter: str) -> list[dict[str, Any]]:
    """The figures among what was printed."""
    begin = re.escape(f'{{"newsletter_id":"{newsletter}","messages"')
    read = json.JSONDecoder().raw_decode
    return [read(printed, found.start())[0] for found in re.finditer(begin, printed)]


def _readme(printed: str, busy: Service, _: Inbox) -> None:
    assert "302 https://example.com/?a=1&b=2&utm_source=hello" in printed
    (stats,) = _stats(printed, "hello")
    assert stats["opens"]["human"] == {"total": 1, "unique": 1}
    assert stats["clicks"]["human"] == {"total": 1, "unique": 1}
    assert "other_scheme" in printed
    busy.drained()
    busy.wait_for(lambda: busy.stats("hello")["messages"] == 2, "the shell's message")


def _tutorial(printed: str, _: Service, __: Inbox) -> None:
    people, machine = _stats(printed, "spring-sale")
    assert people["opens"]["human"] == {"total": 1, "unique": 1}
    for stats, machines in ((people, 0), (machine, 1)):
        clicks = stats["clicks"]
        assert clicks["human"]["total"] == 1 and clicks["machine"]["total"] == machines
    assert "3 messages.ndjson" in printed
    assert "message.clicked bob@example.com https://example.com/sandals" in printed
    lines = re.findall(r'\{"recipient":"(\w+)@', printed.rpartition("/sandals\n")[2])
    assert lines == ["ann", "cem", "ann"]


def _smtp(_: str, __: Service, box: Inbox) -> None:
    assert b"https://click.example.com/o/" in box.raw[-1]
    assert b"X-Mailwake" not in box.raw[-1]


def _django(printed: str, busy: Service, box: Inbox) -> None:
    assert printed.startswith("2 copies")
    tracked, plain = box.raw[:2], box.raw[2]
    urls = [set(tracked_urls(raw.decode())) for raw in tracked]
    assert all(len(found) == 2 for found in urls) and not urls[0] & urls[1]
    assert [envelope.rcpt_tos for envelope in box.envelopes[:2]] == [
        ["ann@example.com"],
        ["bob@example.com"],
    ]
    assert not tracked_urls(plain.decode()) and len(box.raw) == 3
    assert b"X-Mailwake" not in b"".join(box.raw)


CHECKS: Mapping[str, Callable[[str, Service, Inbox], None]] = {
    "README.md": _readme,
    "docs/tutorial.md": _tutorial,
    "docs/smtp.md": _smtp,
    "docs/howto/django.md": _django,
}
