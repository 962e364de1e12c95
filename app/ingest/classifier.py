"""Decides whether a hit comes from a person or a machine: the verdict.

There are two lists of small rules. RULES, here, apply to one hit and decide as soon as it is
loaded. MESSAGE_RULES, in message_rules.py, apply to all hits of a message in order of time: a burst
shows a scanner where its first hit alone does not. The first rule of RULES that fires and has a
verdict decides; the names of all that fire are the reasons, and are stored. Raise VERSION with any
change; `mailwake reclassify` then recomputes what is stored. docs/counting.md explains each rule by
name and gives its source.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from app.ingest import fetch_metadata
from app.ingest.networks import NOWHERE, Network, Networks
from app.ingest.user_agents import Agent, agent, bare
from app.model.ids import sent_at
from app.model.records import Hit
from app.model.verdicts import (
    Verdict,
)

VERSION = 3


class Classification(NamedTuple):
    """A verdict, the names of the rules that fired (the first decided), agent and network."""

    verdict: Verdict
    reasons: tuple[str, ...]
    agent: Agent
    network: Network = NOWHERE


class Signals(NamedTuple):
    """What a hit shows of its sender.

    `hasty`: a click within a minute of the mail being sent. `https`: its link is https.
    """

    kind: str
    method: str
    purpose: str
    fetch_mode: str
    user_agent: str
    datacentre: bool
    hasty: bool
    https: bool = False


class Rule(NamedTuple):
    """A rule on one hit; with `verdict` None it is a hint, a reason that decides nothing."""

    name: str
    verdict: Verdict | None
    applies: Callable[[Signals, Agent], bool]


# The user agent of images that Gmail fetches before a mail is read ends so (SparkPost, Jan. 2022).
_GMAIL_PREFETCH = "Edge/12.246 Mozilla/5.0"
_HASTE_MS = 60_000  # after sending
NO_METADATA = "no_fetch_metadata"  # a hint that message rules combine with others


def _office(hit: Signals) -> bool:
    lowered = hit.user_agent.lower()
    return "ms-office" in lowered or "microsoft office" in lowered or "msoffice" in lowered


RULES: tuple[Rule, ...] = (
    # Office requests a link itself before it opens the browser, whose request is the person's
    # click (Microsoft, "Office Existence Discovery Protocol").
    Rule("office_discovery", "prefetch", lambda hit, _: hit.kind == "click" and _office(hit)),
    # Sec-Purpose (Fetch standard), Purpose and X-Moz: the browser fetches in advance.
    Rule(
        "prefetch_header",
        "prefetch",
        lambda hit, _: "prefetch" in hit.purpose.lower() or "preview" in hit.purpose.lower(),
    ),
    # HEAD (RFC 9110, 9.3.2) returns no page or image, so a person's client would use GET.
    Rule("head_request", "scanner", lambda hit, _: hit.method == "HEAD"),
    # Programs that request a page because a person has asked them to. They name themselves, or sign
    # their requests with Signature-Agent (draft-meunier-web-bot-auth-architecture).
    Rule(
        "assistant",
        "assistant",
        lambda hit, agent: agent.program == "assistant" or "://" in hit.purpose,
    ),
    Rule("link_scanner", "scanner", lambda _, agent: agent.program == "scanner"),
    Rule("link_preview", "bot", lambda _, agent: agent.program == "preview"),
    Rule("http_library", "bot", lambda _, agent: agent.program == "library"),
    Rule("headless_browser", "bot", lambda _, agent: agent.program == "headless"),
    # A list of names gives way to the browser's own metadata: it has marked phones as bots.
    Rule(
        "known_crawler",
        "bot",
        lambda hit, agent: (
            agent.program == "crawler" and not (agent.listed and hit.fetch_mode == "navigate")
        ),
    ),
    # Apple's Mail Privacy Protection loads every image through relays with this agent, whether or
    # not the mail is read.
    Rule(
        "apple_prefetch",
        "prefetch",
        lambda hit, _: hit.kind == "open" and hit.user_agent.strip() == "Mozilla/5.0",
    ),
    Rule(
        "gmail_prefetch",
        "prefetch",
        lambda hit, _: hit.user_agent.endswith(_GMAIL_PREFETCH),
    ),
    # Browsers follow a link with mode navigate (Fetch standard); scripts use the other modes.
    Rule(
        "script_fetch",
        "bot",
        lambda hit, _: (
            hit.kind == "click"
            and hit.fetch_mode in ("cors", "no-cors", "same-origin", "websocket")
        ),
    ),
    # Every browser sends its name when it follows a link.
    Rule("no_browser", "bot", lambda hit, _: hit.kind == "click" and bare(hit.user_agent)),
    # People follow links with browsers and mail clients; image proxies request images only.
    Rule(
        "unknown_agent",
        "bot",
        lambda hit, agent: (
            hit.kind == "click"
            and agent.program in ("unknown", "proxy")
            and hit.fetch_mode != "navigate"
        ),
    ),
    # A server in a data centre that follows a link as the mail arrives, without a browser's fetch
    # metadata: each alone proves little, together they show a mail gateway's check.
    Rule(
        "delivery_scan",
        "scanner",
        lambda hit, _: hit.kind == "click" and hit.datacentre and hit.hasty and not hit.fetch_mode,
    ),
    # Image proxies of mailbox providers, which request an image when the mail is read.
    Rule(
        "google_image_proxy",
        "privacy_proxy",
        lambda hit, _: hit.kind == "open" and "GoogleImageProxy" in hit.user_agent,
    ),
    Rule(
        "yahoo_mail_proxy",
        "privacy_proxy",
        lambda hit, _: hit.kind == "open" and "YahooMailProxy" in hit.user_agent,
    ),
    Rule(
        "image_proxy",
        "privacy_proxy",
        lambda hit, agent: hit.kind == "open" and agent.program == "proxy",
    ),
    Rule("no_agent", "unknown", lambda hit, _: hit.kind == "open" and bare(hit.user_agent)),
    Rule("datacentre", None, lambda hit, _: hit.datacentre),
    Rule("soon_after_sending", None, lambda hit, _: hit.hasty),
    # Current browsers send Sec-Fetch-* with every request to an https URL (W3C, Fetch Metadata).
    Rule(
        NO_METADATA,
        None,
        lambda hit, _: (
            hit.kind == "click"
            and hit.https
            and not hit.fetch_mode
            and fetch_metadata.is_expected(hit.user_agent)
        ),
    ),
)


def classify(hit: Hit, networks: Networks | None = None, https: bool = False) -> Classification:
    """Classify one hit by itself; `https` says whether its workspace's links are https."""
    network = networks.of(hit.address) if networks else NOWHERE
    hasty = hit.kind == "click" and hit.at - sent_at(hit.message) < _HASTE_MS
    classified = _classify(
        hit.kind,
        hit.method,
        hit.purpose,
        hit.fetch_mode,
        hit.user_agent,
        network.datacentre,
        hasty,
        https,
    )
    return classified if network is NOWHERE else classified._replace(network=network)


@lru_cache(maxsize=65_536)
def _classify(*values: Any) -> Classification:
    signals = Signals(*values)
    parsed = agent(signals.user_agent)
    if signals.kind == "unsubscribe":  # mailbox providers send it for the person (RFC 8058)
        return Classification("human", ("one_click",), parsed)
    fired = [rule for rule in RULES if rule.applies(signals, parsed)]
    verdicts: list[Verdict] = [rule.verdict for rule in fired if rule.verdict]
    return Classification(
        verdicts[0] if verdicts else "human", tuple(rule.name for rule in fired), parsed
    )
