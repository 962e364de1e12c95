"""Verdicts: is a hit a person's or a machine's.

Two lists of small rules. RULES look at one hit; what they say is known as soon as it is loaded.
TOGETHER look at all hits of one message in order of time: what a burst gives away, its first hit
alone could not. The first rule of a list that fires gives the verdict, the names of all that fire
are the reasons. Raise VERSION with any change; `mailwake reclassify` then recomputes what is
stored. docs/counting.md explains each rule by name and gives its source.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from app.ingest.networks import NOWHERE, Network, Networks
from app.ingest.user_agents import Agent, agent, bare
from app.model.ids import sent_at
from app.model.records import Hit
from app.model.verdicts import (
    Verdict,
)

VERSION = 2


class Classification(NamedTuple):
    """A verdict, the names of the rules that fired (the first decided), agent and network."""

    verdict: Verdict
    reasons: tuple[str, ...]
    agent: Agent
    network: Network = NOWHERE


class Signals(NamedTuple):
    """What one hit tells about whoever made it. `hasty`: within a minute of being sent."""

    kind: str
    method: str
    purpose: str
    fetch_mode: str
    user_agent: str
    datacentre: bool
    hasty: bool


class Rule(NamedTuple):
    """`verdict` None makes it a hint: a reason that decides nothing by itself."""

    name: str
    verdict: Verdict | None
    applies: Callable[[Signals, Agent], bool]


# Opens that Gmail fetches before it shows a mail come with this end (SparkPost, January 2022).
_GMAIL_PREFETCH = "Edge/12.246 Mozilla/5.0"
_HASTE_MS = 60_000  # milliseconds after sending


def _office(hit: Signals) -> bool:
    lowered = hit.user_agent.lower()
    return "ms-office" in lowered or "microsoft office" in lowered or "msoffice" in lowered


RULES: tuple[Rule, ...] = (
    # Office asks a link's server itself before it hands the link to the browser, whose own request
    # is the person's (Microsoft, "Office Existence Discovery Protocol").
    Rule("office_discovery", "prefetch", lambda hit, _: hit.kind == "click" and _office(hit)),
    # Sec-Purpose (Fetch standard), Purpose and X-Moz: the browser looks ahead.
    Rule(
        "prefetch_header",
        "prefetch",
        lambda hit, _: "prefetch" in hit.purpose.lower() or "preview" in hit.purpose.lower(),
    ),
    # HEAD (RFC 9110, 9.3.2) asks about a page or an image; people's clients show it.
    Rule("head_request", "scanner", lambda hit, _: hit.method == "HEAD"),
    Rule("link_scanner", "scanner", lambda _, agent: agent.program == "scanner"),
    Rule("link_preview", "bot", lambda _, agent: agent.program == "preview"),
    Rule("http_library", "bot", lambda _, agent: agent.program == "library"),
    Rule("headless_browser", "bot", lambda _, agent: agent.program == "headless"),
    Rule("known_crawler", "bot", lambda _, agent: agent.program == "crawler"),
    # Mail Privacy Protection loads every image from Apple's relays with this agent, read or not.
    Rule(
        "apple_prefetch",
        "prefetch",
        lambda hit, _: hit.kind == "open" and hit.user_agent.strip() == "Mozilla/5.0",
    ),
    Rule(
        "gmail_prefetch",
        "prefetch",
        lambda hit, _: hit.kind == "open" and hit.user_agent.endswith(_GMAIL_PREFETCH),
    ),
    # Browsers follow a link with mode navigate (Fetch standard); scripts fetch with the others.
    Rule(
        "script_fetch",
        "bot",
        lambda hit, _: (
            hit.kind == "click"
            and hit.fetch_mode in ("cors", "no-cors", "same-origin", "websocket")
        ),
    ),
    # Every browser names itself when it follows a link.
    Rule("no_browser", "bot", lambda hit, _: hit.kind == "click" and bare(hit.user_agent)),
    # A rented server that follows a link as the mail comes in, without a browser's fetch metadata:
    # each alone proves little, together they are a gateway's check.
    Rule(
        "delivery_scan",
        "scanner",
        lambda hit, _: hit.kind == "click" and hit.datacentre and hit.hasty and not hit.fetch_mode,
    ),
    # The image proxies of Gmail and Yahoo fetch when the mail is read.
    Rule(
        "google_image_proxy", "privacy_proxy", lambda hit, _: "GoogleImageProxy" in hit.user_agent
    ),
    Rule("yahoo_mail_proxy", "privacy_proxy", lambda hit, _: "YahooMailProxy" in hit.user_agent),
    Rule("no_agent", "unknown", lambda hit, _: hit.kind == "open" and bare(hit.user_agent)),
    Rule("datacentre", None, lambda hit, _: hit.datacentre),
    Rule("soon_after_sending", None, lambda hit, _: hit.hasty),
)


def classify(hit: Hit, networks: Networks | None = None) -> Classification:
    """The verdict on one hit by itself."""
    network = networks.of(hit.address) if networks else NOWHERE
    hasty = hit.kind == "click" and hit.at - sent_at(hit.message) < _HASTE_MS
    found = _classify(
        hit.kind, hit.method, hit.purpose, hit.fetch_mode, hit.user_agent, network.datacentre, hasty
    )
    return found if network is NOWHERE else found._replace(network=network)


@lru_cache(maxsize=65_536)
def _classify(*told: Any) -> Classification:
    signals = Signals(*told)
    parts = agent(signals.user_agent)
    if signals.kind == "unsubscribe":  # mailbox providers send it for the person (RFC 8058)
        return Classification("human", ("one_click",), parts)
    fired = [rule for rule in RULES if rule.applies(signals, parts)]
    verdicts: list[Verdict] = [rule.verdict for rule in fired if rule.verdict]
    return Classification(
        verdicts[0] if verdicts else "human", tuple(rule.name for rule in fired), parts
    )


# --- All hits of one message ---------------------------------------------------------------------

_BURST_LINKS, _BURST = 3, 1_000  # distinct links, milliseconds
_SWEEP_LINKS, _SWEEP = 6, 8_000
