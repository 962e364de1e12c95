"""The demo's traffic, against a stub that fails on purpose and against the real service."""

import asyncio
import ipaddress
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.demo import agents, run_traffic, waves
from app.demo import traffic as traffic_module
from app.demo.audience import DATACENTRES, MAILBOXES, Reader, audience
from app.demo.mailings import NEWSLETTERS, TRANSACTIONAL, Mailing
from app.demo.reactions import FOR_OUTLOOK, LATEST, Act, attraction, reactions
from app.rewriting.html import CompiledBody, Options, compile_html
from tests.support.patience import PATIENCE_SECONDS, until
from tests.support.service import Service, free_port

MAILINGS = (*NEWSLETTERS, *TRANSACTIONAL)
READERS = audience(1, 3000)
DOCUMENTATION = [  # RFC 5737
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
]
HREF = re.compile(r'href="(https://[^"]+)"((?:\s[^>]*)?)>')


class Stub:
    """The service's contract in little. `failing` answers at first are 503."""

    def __init__(self, failing: int = 0, refuse: int = 0) -> None:
        self.failing, self.refuse = failing, refuse
        self.seen: list[Request] = []
        self.mails: list[tuple[str, str]] = []
        self.forms: list[bytes] = []
        self.reported: Counter[str] = Counter()  # outcomes by their id
        self.failing_reports = failing
        self.app = Starlette(
            routes=[
                Route("/v1/rewrite", self.rewrite, methods=["POST"]),
                Route("/v1/outcomes", self.report, methods=["POST"]),
                Route("/o/{message}", self.hit),
                Route("/c/{message}/{link}", self.hit),
                Route("/u/{message}", self.hit, methods=["GET", "POST"]),
            ]
        )

    async def rewrite(self, request: Request) -> Response:
        if self.refuse:
            return JSONResponse({"title": "Unauthorized"}, self.refuse)
        if self.failing:
            self.failing -= 1
            return Response("away", 503)
        assert request.headers["authorization"] == "Bearer key"
        body = await request.json()
        self.mails.append((body["newsletter"]["id"], body["recipient"]))
        message = f"m{len(self.mails)}"
        links: list[dict[str, object]] = []

        def track(match: re.Match[str]) -> str:
            name = re.search(r'data-track-name="([^"]*)"', match[2])
            tracked = name is not None
            label = name[1] if name else ""
            links.append({"index": len(links), "url": match[1], "tracked": tracked, "label": label})
            url = f"https://click.example/c/{message}/{len(links)}" if tracked else match[1]
            return f'href="{url}"{match[2]}>'

        html = HREF.sub(track, body["html"])
        html = html.replace("</body>", f'<img src="https://click.example/o/{message}.gif"></body>')
        headers = {"List-Unsubscribe": f"<https://click.example/u/{message}>"}
        answer = {"html": html, "links": links, "headers": headers, "suppressed": False}
        return JSONResponse({**answer, "message_id": message})

    async def report(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer key"
        assert request.headers["content-type"] == "application/x-ndjson"
        if not self.reported and self.failing_reports:
            self.failing_reports -= 1
            return Response("away", 503)
        for line in (await request.body()).splitlines():
            outcome = json.loads(line)
            assert datetime.fromisoformat(outcome["occurred_at"]) <= datetime.now(UTC)
            self.reported[outcome["id"]] += 1
        return JSONResponse({})

    async def hit(self, request: Request) -> Response:
        self.seen.append(request)
        if len(self.seen) % 10 == 0:
            return Response("away", 500)
        if request.method == "POST":
            self.forms.append(await request.body())
        return RedirectResponse("https://larchandloam.example/")

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        config = uvicorn.Config(self.app, port=port, log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        try:
            yield
        finally:
            server.should_exit = True
            await running


def test_traffic_waits_for_the_service_and_survives_its_faults(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_module, "REPORT_SECONDS", 0.5)
    stub, port = Stub(failing=3), free_port()

    def kinds() -> Counter[str]:
        return Counter(f"{seen.method} {seen.url.path[:2]}" for seen in stub.seen)

    def seen() -> set[str]:
        return {request.headers["user-agent"] for request in stub.seen}

    async def test() -> None:
        stop = asyncio.Event()
        traffic = asyncio.create_task(
            run_traffic(f"http://127.0.0.1:{port}", lambda: "key", stop=stop, seed=3, speed=20)
        )
        await asyncio.sleep(0.2)  # nothing listens yet
        assert not traffic.done()
        async with stub.serving(port):
            wanted = {"GET /o", "HEAD /o", "GET /c", "HEAD /c", "POST /u"}
            readers = {agents.GMAIL_PROXY, agents.APPLE_PRIVACY, agents.OUTLOOK}
            await until(lambda: wanted <= kinds().keys() and readers <= seen() and stub.forms)
            await until(lambda: len(stub.reported) > 20)
        mails = len(stub.mails)
        async with stub.serving(port):  # gone for a moment, and back
            await until(lambda: len(stub.mails) > mails + 20)
            stop.set()
            await asyncio.wait_for(traffic, PATIENCE_SECONDS)

    caplog.set_level(logging.INFO)
    asyncio.run(test())
    assert [r for r in caplog.records if r.name.startswith(("app", "httpx2", "asyncio"))] == []
    assert stub.failing == stub.failing_reports == 0
    assert {kind.split()[0] for kind in stub.reported} <= {"delivered", "bounced", "complained"}
    assert set(stub.forms) == {b"List-Unsubscribe=One-Click"}
    for request in stub.seen:
        address = ipaddress.ip_address(request.headers["x-forwarded-for"])
        assert any(address in network for network in DOCUMENTATION)
        assert "authorization" not in request.headers
    assert not any("httpx" in agent for agent in seen())


def test_stopping_ends_traffic_that_never_found_its_service() -> None:
    async def test() -> None:
        stop = asyncio.Event()
        url = f"http://127.0.0.1:{free_port()}"
        traffic = asyncio.create_task(run_traffic(url, lambda: "key", stop=stop))
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.wait_for(traffic, PATIENCE_SECONDS)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(test())


def test_cancelling_leaves_no_task_behind() -> None:
    stub, port = Stub(), free_port()

    async def test() -> None:
        async with stub.serving(port):
            before = asyncio.all_tasks()
            traffic = asyncio.create_task(
                run_traffic(f"http://127.0.0.1:{port}", lambda: "key", stop=asyncio.Event())
            )
            await until(lambda: len(stub.mails) > 10)
            traffic.cancel()
            await asyncio.wait((traffic,), timeout=PATIENCE_SECONDS)
            assert traffic.cancelled()
            left = {task.get_name() for task in asyncio.all_tasks() - before}
            assert not any("demo" in name for name in left)

    asyncio.run(test())


def test_a_refused_key_ends_the_traffic_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    stub, port = Stub(refuse=401), free_port()

    async def test() -> None:
        async with stub.serving(port):
            traffic = run_traffic(f"http://127.0.0.1:{port}", lambda: "wrong", stop=asyncio.Event())
            await asyncio.wait_for(traffic, PATIENCE_SECONDS)

    asyncio.run(test())
    (record,) = [record for record in caplog.records if record.name == "app.demo.traffic"]
    assert "401" in record.getMessage()
    assert record.exc_info is None


def test_the_real_service_counts_people_and_machines(tmp_path: Path) -> None:
    env = {"MAILWAKE_TRUSTED_PROXIES": "127.0.0.1/32"}
    with Service(tmp_path / "data", **env) as service:

        async def test() -> None:
            stop = asyncio.Event()
            traffic = asyncio.create_task(
                run_traffic(service.url, lambda: service.api_key, stop=stop, speed=5)
            )
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await asyncio.to_thread(enough):
                    await asyncio.sleep(0.2)
            stop.set()
            await asyncio.wait_for(traffic, PATIENCE_SECONDS)

        def enough() -> bool:
            if service.client.get("/healthz/full").status_code != 200:
                return False
            listed = service.get("/v1/newsletters", limit=100)["newsletters"]
            stats = [service.stats(newsletter["id"]) for newsletter in listed]
            return (
                {newsletter["id"] for newsletter in listed} >= {each.id for each in MAILINGS}
                and sum(each["messages"] for each in stats) > 300
                and all(
                    sum(each[kind][group]["total"] for each in stats) > 20
                    for kind in ("opens", "clicks")
                    for group in ("human", "machine")
                )
            )

        asyncio.run(test())
        service.drained()
        links = service.get("/v1/newsletters/spring-sale/links")["links"]
        assert {"Shop the sale", "Everything under €30"} <= {link["label"] for link in links}


# --- Who does what -------------------------------------------------------------------------------


def acts_of(seed: int, mailing: Mailing, count: int = 200) -> list[list[Act]]:
    links = list(mailing.topics)
    return [
        reactions(Random(f"{seed} {reader.address}"), mailing, reader, links)
        for reader in audience(seed, count)
    ]


def test_a_seed_decides_everything() -> None:
    assert audience(7, 500) == audience(7, 500)
    assert audience(7, 500) != audience(8, 500)
    for plan in (waves.burst, waves.newsletters, waves.transactions):
        first, again, other = (list(islice(plan(seed, READERS), 300)) for seed in (7, 7, 8))
        assert first == again
        assert first != other
    assert acts_of(7, NEWSLETTERS[0]) == acts_of(7, NEWSLETTERS[0])
    assert acts_of(7, NEWSLETTERS[0]) != acts_of(8, NEWSLETTERS[0])


def test_thousands_of_readers_each_with_an_address_of_their_own() -> None:
    readers = audience(1)
    addresses = [reader.address for reader in readers]
    assert len(readers) >= 5000
    assert len(set(addresses)) == len(readers)
    assert all(a.isascii() and re.fullmatch(r"[a-z0-9.]+@[a-z.-]+", a) for a in addresses)
    reserved = re.compile(r"@(example\.(com|net|org)|[a-z-]+\.example)$")
    assert all(reserved.search(address) for address in addresses)


@settings(max_examples=300)
@given(
    st.integers(),
    st.sampled_from(MAILINGS),
    st.sampled_from(READERS),
    st.integers(0, 20),
)
def test_acts_can_be_played(seed: int, mailing: Mailing, reader: Reader, links: int) -> None:
    acts = reactions(Random(seed), mailing, reader, list(mailing.topics)[:links])
    shown = min(links, len(mailing.topics))
    assert [act.at for act in acts] == sorted(act.at for act in acts)
    for act in acts:
        assert 0 <= act.at <= LATEST
        assert (act.kind == "click") == (0 <= act.link < shown)
        assert (act.kind == "unsubscribe") == (act.method == "POST")
        assert act.kind != "unsubscribe" or mailing in NEWSLETTERS


def test_scanners_follow_every_link_within_a_second_before_anybody_reads() -> None:
    mailing = NEWSLETTERS[0]
    links = list(mailing.topics)
    scanned = [reader for reader in READERS if reader.scanner]
    assert {reader.scanner for reader in scanned} == {"safe links", "mimecast", "barracuda", "bing"}
    for reader in scanned:
        acts = reactions(Random(reader.address), mailing, reader, links)
        clicks = [act for act in acts if act.kind == "click" and act.at < 3]
        times = [act.at for act in clicks if act.address.startswith(DATACENTRES)]
        assert len(times) >= len(links)
        assert sorted(times)[len(links) - 1] - min(times) < 1


def test_apples_privacy_protection_opens_and_its_people_click() -> None:
    links = list(NEWSLETTERS[0].topics)
    private = [reader for reader in READERS if reader.mailbox.private]
    acts = [
        act
        for reader in private
        for act in reactions(Random(reader.address), NEWSLETTERS[0], reader, links)
    ]
    prefetched = [act for act in acts if act.agent == agents.APPLE_PRIVACY]
    assert 0.85 * len(private) < len(prefetched) <= len(private)
    assert all(act.kind == "open" for act in prefetched)
    assert any(act.kind == "click" and act.agent == agents.SAFARI_PHONE for act in acts)


def test_readers_follow_what_they_care_about() -> None:
    dispatch = next(mailing for mailing in NEWSLETTERS if mailing.id == "dispatch-47")
    links = list(dispatch.topics)
    favourite = {}
    for reader in READERS:
        if reader.interests:
            weights = attraction(reader, dispatch, links)
            pairs = zip(weights, links, strict=True)
            _, favourite[reader.segment] = max(p for p in pairs if "Cover" not in p[1])
    assert favourite["hikers"] == "Nine boots under €200"
    assert favourite["campers"] == "Two-person tents, weighed"
    assert favourite["runners"] == "Trail shoes on wet rock"
    assert favourite["armchair explorers"] == dispatch.subject


def test_outlook_alone_follows_the_buttons_made_for_it() -> None:
    mailing = NEWSLETTERS[0]
    links = list(mailing.topics)
    vml = next(n for n, label in enumerate(links) if label.endswith(FOR_OUTLOOK))
    plain = links.index(links[vml].removesuffix(FOR_OUTLOOK))
    for reader in READERS:
        weights = attraction(reader, mailing, links)
        desktop = reader.app in (agents.OUTLOOK, agents.OUTLOOK_OFFICE)
        assert (weights[vml] > 0, weights[plain] > 0) == (desktop, not desktop)


# --- What is sent --------------------------------------------------------------------------------


def compiled(mailing: Mailing) -> CompiledBody:
    html = mailing.html(READERS[0]).encode()
    base = "https://click.example"
    return compile_html(html, Options(own_origins=(base,)), lambda link: f"l{link.index}", base)


@pytest.mark.parametrize("mailing", MAILINGS, ids=lambda mailing: mailing.id)
def test_every_mail_is_one_that_the_rewriter_understands(mailing: Mailing) -> None:
    found = compiled(mailing)
    assert found.notes == ()
    assert "$" not in mailing.html(READERS[0])
    tracked = [link for link in found.links if link.tracked]
    assert {link.label for link in tracked} == set(mailing.topics)
    assert all(link.tags for link in tracked)
    reasons = {link.reason for link in found.links if not link.tracked}
    if mailing in NEWSLETTERS:
        assert "unsubscribe" in reasons
    for image in re.findall(r"<img [^>]*>", mailing.html(READERS[0])):
        assert re.search(r'alt="[^"]+"', image)


def test_the_mails_show_what_the_rewriter_can_do() -> None:
    by_id = {mailing.id: compiled(mailing) for mailing in MAILINGS}
    sale = {link.label: link for link in by_id["spring-sale"].links}
    assert sale["Shop the sale (Outlook)"].mso
    assert sale["Everything under €30"].target.endswith("?sort=price&copy=2")
    assert "opted_out" in {link.reason for link in by_id["password-reset"].links}
    assert "other_scheme" in {link.reason for link in by_id["launch-ridgeline-mid"].links}


def test_names_are_escaped() -> None:
    html = NEWSLETTERS[0].html(replace(READERS[0], name="<b>"))
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_every_newsletter_reaches_its_readers_and_then_comes_again() -> None:
    sendings = list(islice(waves.newsletters(1, READERS[:300]), 2500))
    ids = Counter(sending.mailing.id for sending in sendings)
    assert {mailing.id for mailing in NEWSLETTERS} <= ids.keys()
    assert "spring-sale-2" in ids
    pairs = {(sending.mailing.id, sending.reader.address) for sending in sendings}
    assert len(pairs) == len(sendings)


def test_every_kind_of_mailbox_has_readers() -> None:
    kinds = Counter(reader.mailbox for reader in READERS)
    assert set(kinds) == set(MAILBOXES)
