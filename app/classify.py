"""Verdicts: is a hit a person's or a machine's, and with what client, OS and device.

Pure functions of one hit. Each rule is small, named, and says where it comes from; the first that
fires gives the verdict, all that fire give the reasons. Changing a rule raises RULES.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import crawleruseragents
import user_agents

from app.events import Hit

Verdict = Literal["unknown", "human", "privacy_proxy", "prefetch", "scanner", "bot"]
RULES = 1  # version of the rules below, stored with every verdict
AGENT_BYTES = 512  # longer agents are cut before any pattern sees them

# Counted as people: a proxied open is a person's with an unknown device.
HUMAN: tuple[Verdict, ...] = ("human", "privacy_proxy", "unknown")


class Agent(NamedTuple):
    """What a User-Agent tells. Empty strings where it tells nothing."""

    client: str
    os: str
    device: str  # desktop, phone, tablet or empty
    crawler: bool
    library: bool
    blank: bool


class Classified(NamedTuple):
    """A verdict, the names of the rules that fired (first decided) and the agent's parts."""

    verdict: Verdict
    reasons: tuple[str, ...]
    agent: Agent


# Mail clients and proxies that user-agents takes for a browser or for nothing, by a part of the
# agent string. Order matters: Outlook's agents carry "MSIE", Thunderbird's carry "Firefox"-like
# parts.
_CLIENTS = (
    ("GoogleImageProxy", "Gmail", "", ""),
    ("YahooMailProxy", "Yahoo Mail", "", ""),
    ("Microsoft Outlook", "Outlook", "Windows", "desktop"),
    ("MSOffice", "Outlook", "Windows", "desktop"),
    ("ms-office", "Outlook", "Windows", "desktop"),
    ("Outlook-iOS", "Outlook", "iOS", "phone"),
    ("Outlook-Android", "Outlook", "Android", "phone"),
    ("Thunderbird", "Thunderbird", None, "desktop"),
    ("Airmail", "Airmail", None, "desktop"),
    ("SamsungEmail", "Samsung Email", "Android", "phone"),
)

# HTTP libraries and headless browsers: no mail client fetches images with one.
_LIBRARIES = (
    "curl/", "wget/", "python-requests", "python-urllib", "python-httpx", "aiohttp/",
    "go-http-client", "okhttp/", "apache-httpclient", "java/", "libwww-perl", "node-fetch",
    "axios/", "headlesschrome", "phantomjs", "puppeteer", "playwright", "scrapy", "guzzlehttp",
    "powershell",
)  # fmt: skip

# Link scanners that name themselves: vendors' pages on SafeLinks, Mimecast URL Protect,
# Proofpoint URL Defense, Barracuda Link Protection.
_SCANNERS = (
    "safelinks", "mimecast", "proofpoint", "barracuda", "bingpreview", "msexchange", "symantec",
    "trendmicro", "forcepoint", "zscaler", "sophos", "fireeye", "messagelabs",
)  # fmt: skip


@lru_cache(maxsize=65_536)
def agent(user_agent: str) -> Agent:
    """Client, OS and device of a User-Agent, parsed once per distinct string."""
    text = user_agent[:AGENT_BYTES]
    lowered = text.lower()
    library = any(part in lowered for part in _LIBRARIES)
    for part, client, os, device in _CLIENTS:
        if part.lower() in lowered:
            parsed_os = user_agents.parse(text).os.family if os is None else os
            return Agent(client, _known(parsed_os), device, False, library, False)
    if lowered.strip() in ("", "mozilla/5.0"):
        return Agent("", "", "", False, library, True)
    parsed = user_agents.parse(text)
    kind = (
        "tablet" if parsed.is_tablet
        else "phone" if parsed.is_mobile
        else "desktop" if parsed.is_pc
        else ""
    )  # fmt: skip
    client = _known(parsed.browser.family)
    os = _known(parsed.os.family)
    if "applewebkit" in lowered and "safari" not in lowered and "mobile" in lowered:
        client = "Apple Mail"  # a web view without Safari's name: Mail on iPhone and iPad
    elif client == "Apple Mail" or (
        "macintosh" in lowered
        and "safari" not in lowered
        and "applewebkit" in lowered
        and "chrome" not in lowered
    ):
        client = "Apple Mail"  # fmt: skip
    crawler = parsed.is_bot or bool(crawleruseragents.is_crawler(text))
    return Agent(client, os, kind, crawler, library, False)


def _known(family: str | None) -> str:
    return "" if family in (None, "Other") else str(family)


class Signals(NamedTuple):
    """What a hit tells about whoever made it."""

    kind: str
    method: str
    purpose: str
    user_agent: str


Rule = tuple[str, Verdict, Callable[[Signals, Agent], bool]]

_RULES: tuple[Rule, ...] = (
    # A mail client shows an image or follows a link with GET; HEAD only asks about it.
    ("head_request", "scanner", lambda hit, _: hit.method == "HEAD"),
    # Sec-Purpose and Purpose: prefetch (Fetch standard; WebKit's and Chromium's speculation).
    ("prefetch_header", "prefetch", lambda hit, _: "prefetch" in hit.purpose.lower()
     or "preview" in hit.purpose.lower()),
    # developers.google.com/gmail/markup/reference: images are fetched when the mail is read.
    ("google_image_proxy", "privacy_proxy", lambda hit, _: "GoogleImageProxy" in hit.user_agent),
    ("yahoo_mail_proxy", "privacy_proxy", lambda hit, _: "YahooMailProxy" in hit.user_agent),
    ("link_scanner", "scanner", lambda hit, _: any(s in hit.user_agent.lower() for s in _SCANNERS)),
    ("http_library", "bot", lambda _, agent: agent.library),
    ("known_crawler", "bot", lambda _, agent: agent.crawler),
    # Mail Privacy Protection loads every image from Apple's relays with this agent, read or not.
    ("apple_prefetch", "prefetch", lambda hit, _: hit.kind == "open"
     and hit.user_agent.strip() == "Mozilla/5.0"),
    ("no_agent", "unknown", lambda _, agent: agent.blank),
)  # fmt: skip


def classify(hit: Hit) -> Classified:
    """The verdict on one hit by the rules above."""
    return _classify(Signals(hit.kind, hit.method, hit.purpose, hit.user_agent))


@lru_cache(maxsize=65_536)
def _classify(signals: Signals) -> Classified:
    parts = agent(signals.user_agent)
    if (
        signals.kind == "unsubscribe"
    ):  # a POST that mailbox providers send for the person (RFC 8058)
        return Classified("human", ("one_click",), parts)
    fired = [(name, verdict) for name, verdict, applies in _RULES if applies(signals, parts)]
    if not fired:
        return Classified("human", (), parts)
    return Classified(fired[0][1], tuple(name for name, _ in fired), parts)
