"""The rules over a single hit: each fires where it should and not one step beside it."""

from typing import Any

import pytest

from app.demo import agents
from app.ingest.classifier import RULES, Signals, classify
from app.ingest.networks import Network, Networks
from app.ingest.user_agents import Agent
from app.model.ids import new_id
from app.model.records import Hit
from app.model.verdicts import MACHINE

SENT = 1_780_000_000_000
MESSAGE = new_id(SENT).hex()
LATER = 3_600_000  # milliseconds after sending
EDGE_12 = f"{agents.CHROME} Edge/12.246 Mozilla/5.0"


def hit(kind: Any = "click", agent: str = agents.CHROME, after: int = LATER, **more: str) -> Hit:
    return Hit(kind, SENT + after, "w", 1, MESSAGE, 7, user_agent=agent, **more)  # type: ignore[arg-type]


class Datacentre(Networks):
    """Every address is a rented server's."""

    def __init__(self) -> None:
        super().__init__()
        self.of = lambda address: Network(8075, "", True)  # type: ignore[assignment]


FIRES = {
    "office_discovery": hit(agent="Microsoft Office Existence Discovery"),
    "prefetch_header": hit(purpose="prefetch;prerender"),
    "head_request": hit(method="HEAD"),
    "assistant": hit(purpose='"https://assistant.example"', fetch_mode="navigate"),
    "link_scanner": hit(agent=agents.BARRACUDA),
    "link_preview": hit(agent=agents.PREVIEWS[0]),
    "http_library": hit(agent=agents.LIBRARIES[0]),
    "headless_browser": hit(agent=agents.CHROME.replace("Chrome/", "HeadlessChrome/")),
    "known_crawler": hit(agent=agents.CRAWLERS[0]),
    "apple_prefetch": hit("open", agents.APPLE_PRIVACY),
    "gmail_prefetch": hit("open", EDGE_12),
    "script_fetch": hit(fetch_mode="cors"),
    "no_browser": hit(agent=""),
    "unknown_agent": hit(agent="dataaccessd/1.0"),
    "google_image_proxy": hit("open", agents.GMAIL_PROXY),
    "yahoo_mail_proxy": hit("open", agents.YAHOO_PROXY),
    "image_proxy": hit("open", "SeznamEmailProxy/3.0.51"),
    "no_agent": hit("open", ""),
}
BESIDE = {
    "office_discovery": hit("open", "Microsoft Office Existence Discovery"),
    "prefetch_header": hit(purpose="navigate"),
    "head_request": hit(method="GET"),
    "assistant": hit(purpose="prefetch", agent=agents.EDGE),
    "link_scanner": hit(agent=agents.EDGE),
    "link_preview": hit(agent=agents.CRAWLERS[0]),
    "http_library": hit(agent=agents.FIREFOX),
    "headless_browser": hit(),
    "known_crawler": hit(agent=agents.PREVIEWS[0]),
    "apple_prefetch": hit("open", "Mozilla/5.0 (Macintosh)"),
    "gmail_prefetch": hit("open", agents.EDGE),
    "script_fetch": hit(fetch_mode="navigate"),
    "no_browser": hit("open", ""),
    "unknown_agent": hit(agent="dataaccessd/1.0", fetch_mode="navigate"),
    "google_image_proxy": hit("click", agents.GMAIL_PROXY),
    "yahoo_mail_proxy": hit("click", agents.YAHOO_PROXY),
    "image_proxy": hit("click", "SeznamEmailProxy/3.0.51"),
    "no_agent": hit("click", ""),
}


@pytest.mark.parametrize("name", FIRES)
def test_a_rule_fires_and_not_beside_its_condition(name: str) -> None:
    (rule,) = (rule for rule in RULES if rule.name == name)
    found = classify(FIRES[name])
    assert name in found.reasons
    assert found.verdict == rule.verdict
    assert name not in classify(BESIDE[name]).reasons


@pytest.mark.parametrize("text", [EDGE_12, agents.GMAIL_PROXY, agents.YAHOO_PROXY])
def test_what_only_fetches_images_is_a_machine_on_a_click(text: str) -> None:
    assert classify(hit("click", text)).verdict in MACHINE


@pytest.mark.parametrize(
    "text", ["dataaccessd/1.0", "GoogleMessages/1.0", "an agent that nobody has seen"]
)
def test_an_unknown_agent_may_open_and_not_click(text: str) -> None:
    """Many mail clients have agents that no list knows."""
    assert classify(hit("open", text)).verdict == "human"
    assert classify(hit("click", text)).verdict == "bot"


def test_a_lists_word_alone_gives_way_to_metadata() -> None:
    """A crawler that declares itself stays one, whatever it sends."""
    listed = Agent("Chrome Mobile", "Android", "phone", "crawler", listed=True)
    declared = listed._replace(listed=False)
    (rule,) = (rule for rule in RULES if rule.name == "known_crawler")
    signals = Signals("click", "GET", "", "navigate", "", False, False)
    assert not rule.applies(signals, listed)
    assert rule.applies(signals, declared)
    assert rule.applies(signals._replace(fetch_mode=""), listed)


def test_without_a_reason_a_hit_is_a_persons() -> None:
    for kind in ("open", "click"):
        found = classify(hit(kind))
        assert (found.verdict, found.reasons) == ("human", ())


def test_a_delivery_scan_takes_a_datacentre_haste_and_no_browser_together() -> None:
    networks = Datacentre()
    found = classify(hit(after=59_999), networks)
    assert found.verdict == "scanner"
    assert found.reasons == ("delivery_scan", "datacentre", "soon_after_sending")
    assert found.network.asn == 8075
    for other in (
        classify(hit(after=60_000), networks),
        classify(hit(after=59_999, fetch_mode="navigate"), networks),
        classify(hit(after=59_999)),
        classify(hit("open", after=59_999), networks),
    ):
        assert other.verdict == "human" and "delivery_scan" not in other.reasons


def test_an_unsubscribe_is_a_persons_whatever_sends_it() -> None:
    found = classify(hit("unsubscribe", "", method="POST"))
    assert (found.verdict, found.reasons) == ("human", ("one_click",))


def test_the_first_rule_that_fires_decides() -> None:
    found = classify(hit(agent=agents.BARRACUDA, method="HEAD", purpose="prefetch"))
    assert found.verdict == "prefetch"
    assert found.reasons[:3] == ("prefetch_header", "head_request", "link_scanner")


def test_every_rule_is_tried() -> None:
    # test_fetch_metadata.py tries the last.
    together = {"delivery_scan", "datacentre", "soon_after_sending", "no_fetch_metadata"}
    assert {rule.name for rule in RULES} == {*FIRES, *together}
    assert FIRES.keys() == BESIDE.keys()
