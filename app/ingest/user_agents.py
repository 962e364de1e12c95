"""Parses User-Agent strings: client, operating system, device, and programs that name themselves.

An agent string is the sender's own claim. Each distinct string is parsed once and cached, and cut
to AGENT_BYTES before any pattern is applied. Mail clients, bots and libraries are known by the
patterns of Matomo's device-detector, browsers, systems and devices by those of ua-parser (through
user-agents). Of device-detector only the parsers for names are used, which take some microseconds
for an ordinary browser; all of it would take ten times as long as user-agents.
"""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from device_detector.parser import PIM, Bot, Library
from starlette.requests import Request

AGENT_BYTES = 512

Program = Literal[
    "", "scanner", "preview", "library", "headless", "crawler", "assistant", "proxy", "unknown"
]


class Agent(NamedTuple):
    """A parsed User-Agent; unknown parts are empty.

    `program` is the kind of a machine: `proxy` fetches images for a person who reads, `assistant`
    any page on a person's behalf, and `unknown` is no known browser or mail client. `listed` is set
    if only a list of names says so, of an agent that does not declare itself.
    """

    client: str
    os: str
    device: str  # desktop, phone, tablet or empty
    program: Program = ""
    listed: bool = False


# Image proxies of mailbox providers, by a part of their agent strings; as documented by HEY
# (hey.com/image-proxy), Yahoo (SLN28749) and others, or as seen. The last one is for all others.
_PROXIES = (
    (re.compile(r"googleimageproxy|ggpht\.com"), "Gmail"),
    (re.compile(r"yahoomailproxy|yahoocachesystem"), "Yahoo Mail"),
    (re.compile(r"hey\.com/imageproxy|heyimageproxy"), "HEY"),
    (re.compile(r"fastmailua"), "Fastmail"),
    (re.compile(r"seznamemailproxy"), "Seznam Email"),
    (re.compile(r"ramblermail"), "Rambler Mail"),
    (re.compile(r"mail\.ukr\.net|secureurl\.fwdcdn\.com"), "ukr.net Mail"),
    (re.compile(r"(?:image|mail)[ _-]?proxy|(?<!slack-)img[ _-]?proxy"), ""),
)
_PROXY_NAME = re.compile(
    r"([a-z][a-z.]*?)(?:/[\d.]+)?[ _-]?(?:e?mail|image|img)?[ _-]?proxy", re.IGNORECASE
)

# Mail clients that device-detector does not know, or whose names here are older than its use: a
# part of the agent string, client, OS (None: as parsed) and device. Order matters: Outlook's agents
# contain "MSIE".
_CLIENTS = (
    ("outlook-ios", "Outlook", "iOS", "phone"),
    ("outlook-android", "Outlook", "Android", "phone"),
    ("macoutlook", "Outlook", "Mac OS X", "desktop"),
    ("outlook-express", "Outlook Express", "Windows", "desktop"),
    ("microsoft outlook", "Outlook", "Windows", "desktop"),
    ("oneoutlook", "Outlook", None, "desktop"),
    ("ms-office", "Outlook", "Windows", "desktop"),
    ("msoffice", "Outlook", "Windows", "desktop"),
    ("microsoft office", "Outlook", "Windows", "desktop"),
    ("windowscommunicationsapps", "Windows Mail", "Windows", "desktop"),
    ("betterbird", "Betterbird", None, "desktop"),
    ("samsungemail", "Samsung Email", "Android", "phone"),
    ("samsung email", "Samsung Email", "Android", "phone"),
    ("k-9 mail", "K-9 Mail", "Android", "phone"),
    ("com.yahoo.mobile.client", "Yahoo Mail", "Android", "phone"),
    ("yahoomobilemail", "Yahoo Mail", "iOS", "phone"),
    ("ymobile", "Yahoo Mail", None, "phone"),
    ("jp.co.yahoo.ymail", "Yahoo Mail", None, "phone"),
    ("com.google.android.gm", "Gmail app", "Android", "phone"),
    ("com.google.gmail", "Gmail app", "iOS", "phone"),
    ("gmail/", "Gmail app", None, ""),
    ("navermailapp", "NAVER Mail", None, "phone"),
    ("bluemail", "BlueMail", None, ""),
    ("mailbird", "Mailbird", "Windows", "desktop"),
    ("mailspring", "Mailspring", None, "desktop"),
    ("foxmail", "Foxmail", None, "desktop"),
    ("emclient", "eM Client", None, "desktop"),
    ("em client", "eM Client", None, "desktop"),
    ("thunderbird", "Thunderbird", None, ""),
    ("postbox", "Postbox", None, "desktop"),
    ("airmail", "Airmail", None, ""),
    ("spark/", "Spark", None, ""),
    ("readdle", "Spark", None, ""),
    ("edison mail", "Edison Mail", None, "phone"),
    ("superhuman", "Superhuman", None, ""),
    ("canary mail", "Canary Mail", None, ""),
    ("mimestream", "Mimestream", "Mac OS X", "desktop"),
    ("mailmate", "MailMate", "Mac OS X", "desktop"),
    ("newton mail", "Newton Mail", None, ""),
    ("protonmail", "Proton Mail", None, ""),
    ("proton mail", "Proton Mail", None, ""),
    ("tutanota", "Tuta Mail", None, ""),
    ("evolution/", "Evolution", "Linux", "desktop"),
    ("kmail", "KMail", "Linux", "desktop"),
    ("geary", "Geary", "Linux", "desktop"),
    ("claws mail", "Claws Mail", None, "desktop"),
    ("sylpheed", "Sylpheed", None, "desktop"),
    ("zimbra", "Zimbra", None, "desktop"),
    ("becky!", "Becky!", "Windows", "desktop"),
    ("incredimail", "IncrediMail", "Windows", "desktop"),
    ("lotus-notes", "Lotus Notes", None, "desktop"),
)
# Names of device-detector and names that are used here for the same client.
_NAMES = {"Microsoft Outlook": "Outlook", "Yahoo! Mail": "Yahoo Mail", "Yahoo Mail": "Yahoo Mail"}

# Assistants that device-detector does not know or counts among crawlers, with their names.
_ASSISTANTS = (
    ("chatgpt-user", "ChatGPT-User"),
    ("claude-user", "Claude-User"),
    ("perplexity-user", "Perplexity-User"),
    ("mistralai-user", "MistralAI-User"),
    ("meta-externalfetcher", "Meta-ExternalFetcher"),
    ("google-agent", "Google-Agent"),
    ("google-notebooklm", "Google-NotebookLM"),
    ("gemini-deep-research", "Gemini-Deep-Research"),
    ("duckassistbot", "DuckAssistBot"),
    ("amzn-user", "Amzn-User"),
    ("manus-user", "Manus-User"),
    ("novaact", "NovaAct"),
)

# Mail on Apple's systems is a web view without any name after "Mobile/..." or the engine; web views
# of other apps add theirs. Requests of the program itself name it before CFNetwork.
_APPLE_MAIL = re.compile(
    r"mozilla/5\.0 \((?:iphone|ipad|ipod|macintosh)[^)]*\)"
    r" applewebkit/[\d.+]+ \(khtml, like gecko\)(?: mobile/\w+)?(?: \(\d+\))?\s*$"
)
_APPLE_MAIL_ITSELF = re.compile(r"^(?:com\.apple\.)?(?:mobile)?mail(?:/[\d.]+)? .*cfnetwork/")

# Programs by the names in their agent strings; few vendors document theirs.
_PROGRAMS: tuple[tuple[Program, tuple[str, ...]], ...] = (
    # Mail gateways and their link checks.
    (
        "scanner",
        (
            "barracuda",
            "mimecast",
            "proofpoint",
            "safelinks",
            "ms-exchange-atp",
            "forefront",
            "msexchange",
            "symantec",
            "messagelabs",
            "trendmicro",
            "trend micro",
            "tmes/",
            "forcepoint",
            "zscaler",
            "sophos",
            "fireeye",
            "fortimail",
            "fortisandbox",
            "ciscosecureemail",
            "ironport",
            "cloudmark",
            "mailguard",
            "spamtitan",
            "hornetsecurity",
            "retarus",
            "checkpoint",
            "urldefense",
            "linkprotect",
            "phishlabs",
            "netcraft",
            "virustotal",
            "urlscan",
            "dmarcian",
        ),
    ),
    # Chats and inboxes that show a preview of a linked page.
    (
        "preview",
        (
            "slackbot",
            "slack-imgproxy",
            "telegrambot",
            "discordbot",
            "facebookexternalhit",
            "facebot",
            "twitterbot",
            "linkedinbot",
            "skypeuripreview",
            "bingpreview",
            "google-pagerenderer",
            "mattermost-bot",
            "rocket.chat",
            "iframely",
            "embedly",
            "redditbot",
            "pinterestbot",
            "viberbot",
            "kakaotalk-scrap",
            "vkshare",
            "bitlybot",
            "outbrain",
            "mastodon/",
            "bluesky",
            "cardyb",
            "zoombot",
            "notionbot",
        ),
    ),
    # HTTP libraries that device-detector does not know.
    (
        "library",
        (
            "undici",
            "winhttp",
            "powershell",
            "rest-client",
            "hyper/",
            "insomnia/",
            "dart:io",
            "dart/",
            "php/",
            "symfony",
            "jakarta commons",
            "http_request",
            "libcurl",
            "lua-resty",
        ),
    ),
    # Browsers controlled by a program.
    (
        "headless",
        (
            "headlesschrome",
            "headless",
            "phantomjs",
            "puppeteer",
            "playwright",
            "selenium",
            "slimerjs",
            "jsdom",
            "cypress",
            "lighthouse",
            "htmlunit",
        ),
    ),
)
_NAMED = re.compile(
    "|".join(
        f"(?P<{kind}>{'|'.join(re.escape(part) for part in patterns)})"
        for kind, patterns in _PROGRAMS
    )
)
_WHATSAPP = re.compile(
    r"whatsapp(/\d[\d.]*( [ainw]|/[ainw])?)?$"
)  # the preview; its in-app browser sends more
# What programs say of themselves and browsers do not: a page or mailbox about them, what they are
# or do, or "compatible" with a name that no browser has. The names of devices are left out first:
# there are phones called Cubot.
_DEVICE = re.compile(r"\((?:linux|x11|windows|macintosh|iphone|ipad|ipod)[^()]*\)")
_SELF_DECLARED = re.compile(
    r"(?:\+|\(|; ?)\+? ?https?://|\+[\w.-]{1,64}@|\b[\w.-]{1,64}@[\w-]{1,64}\.[a-z]"
    r"|bots?(?:\b|[/_-])|robot|crawl|spider|scrap|(?:^|[^a-z])scan|scann|scan/"
    r"|(?:link|url|site|web|page)[ _-]?(?:check|monitor)"
    r"|(?:check|monitor|fetch|validat|archiv|harvest|index|analy[sz])(?:er|or)\b"
    r"|uptime|http[ _-]?client"
    r"|compatible; (?!msie|konqueror|i?browse|abrowse|omniweb|icab|lynx|webpositive|offbyone|u;)"
    r"[a-z][\w .!-]{0,64}(?:/[\w.-]{1,64})?;? ?[);]"
)
# Products of browsers at the beginning (RFC 9110, section 10.1.5), engines anywhere, and the
# profiles of old phones.
_BROWSER = re.compile(
    r"^(?:mozilla ?/ ?[1-5]\.|opera[/ ]|safari/?\d|dalvik/|lynx|links |elinks|w3m|netsurf|dillo)"
    r"|applewebkit|gecko/\d|trident/|ucbrowser|ucweb|up\.browser|profile/midp|cldc-1|blackberry"
    r"|nokia|sonyericsson|docomo|netfront"
)


@lru_cache(maxsize=65_536)
def agent(user_agent: str) -> Agent:
    """Parse the value of a User-Agent header. Never raises, not even for a hostile one."""
    text = user_agent[:AGENT_BYTES]
    lowered = text.lower()
    if (proxy := _proxy(text, lowered)) is not None:
        return Agent(proxy, "", "", "proxy")
    program, name, listed = _program(text, lowered)
    if bare(text):
        return Agent("", "", "", program)
    import user_agents  # noqa: PLC0415  (its patterns load slowly; commands need none)

    parsed = user_agents.parse(text)
    os = _family_name(parsed.os.family)
    device = (
        "tablet"
        if parsed.is_tablet
        else "phone"
        if parsed.is_mobile
        else "desktop"
        if parsed.is_pc
        else ""
    )
    if program == "assistant":
        return Agent(name, os, device, program)
    named: Program = "" if program in ("crawler", "library") else program
    for part, client, client_os, client_device in _CLIENTS:
        if part in lowered:
            return Agent(
                client, os if client_os is None else client_os, client_device or device, named
            )
    if _APPLE_MAIL.match(lowered) or _APPLE_MAIL_ITSELF.match(lowered):
        return Agent("Apple Mail", os, device, named)
    if client := _mail_client(text):
        return Agent(client, os, device, named)
    if not program and parsed.is_bot:
        program = "crawler"
    family = _family_name(parsed.browser.family)
    if not program and not (family and _BROWSER.search(lowered)):
        program = "unknown"
    return Agent(family, os, device, program, listed)


def _proxy(text: str, lowered: str) -> str | None:
    """Returns the mail service whose image proxy this is, or None."""
    for pattern, name in _PROXIES:
        if pattern.search(lowered):
            match = None if name else _PROXY_NAME.search(text)
            return name or (match[1].strip(". ") if match else "")
    return None


def _program(text: str, lowered: str) -> tuple[Program, str, bool]:
    """Returns the kind of a program, its name, and whether only a list says that it is one."""
    for part, name in _ASSISTANTS:
        if part in lowered:
            return "assistant", name, False
    declared = _SELF_DECLARED.search(_DEVICE.sub("", lowered))
    match = _NAMED.search(lowered)
    named: Program = match.lastgroup if match else ""  # type: ignore[assignment]  # a kind
    if named in ("scanner", "headless"):
        return named, "", False
    if (bot := Bot(text, None).parse()).ua_data:
        assistant = str(bot.ua_data.get("category", "")) in ("AI Agent", "AI Assistant")
        name = str(bot.ua_data.get("name", ""))
        listed = not (declared or named)
        return ("assistant" if assistant else named or "crawler"), name, listed
    if named:
        return named, "", False
    if _WHATSAPP.match(lowered):
        return "preview", "", False
    if Library(text, None).parse().ua_data:
        return "library", "", False
    if declared:
        return "crawler", "", False
    return "", "", False


def _mail_client(text: str) -> str:
    """Returns the name of a mail client, or an empty string."""
    data = PIM(text, None).parse().ua_data
    name = str(data.get("name", "")) if data else ""
    return _NAMES.get(name, name)


def bare(user_agent: str) -> bool:
    """Returns whether the agent string says nothing: it is empty or `Mozilla/5.0` alone."""
    return user_agent.strip().lower() in ("", "mozilla/5.0")


def _family_name(family: str | None) -> str:
    return "" if family in (None, "Other") else str(family)


def browser(request: Request) -> str:
    """Returns a short name of the visitor's browser, such as Firefox on Linux."""
    parsed = agent(request.headers.get("user-agent", ""))
    return f"{parsed.client or 'A browser'}{f' on {parsed.os}' if parsed.os else ''}"
