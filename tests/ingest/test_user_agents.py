import pytest
from device_detector.parser import PIM, Bot, Library
from hypothesis import given
from hypothesis import strategies as st

from app.demo import agents as known
from app.ingest.user_agents import AGENT_BYTES, Agent, agent
from tests.bench.verdicts import hostile

PREVIEW = "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (known.GMAIL_PROXY, Agent("Gmail", "", "", "proxy")),
        (known.YAHOO_PROXY, Agent("Yahoo Mail", "", "", "proxy")),
        (known.OUTLOOK, Agent("Outlook", "Windows", "desktop")),
        (known.OUTLOOK_OFFICE, Agent("Outlook", "Windows", "desktop")),
        (known.OUTLOOK_IOS, Agent("Outlook", "iOS", "phone")),
        (known.THUNDERBIRD, Agent("Thunderbird", "Linux", "desktop")),
        (known.IPHONE_MAIL, Agent("Apple Mail", "iOS", "phone")),
        (known.IPAD_MAIL, Agent("Apple Mail", "iOS", "tablet")),
        (known.MAC_MAIL, Agent("Apple Mail", "Mac OS X", "desktop")),
        (known.SAFARI_PHONE, Agent("Mobile Safari", "iOS", "phone")),
        (known.CHROME_TABLET, Agent("Chrome", "Android", "tablet")),
        (known.EDGE, Agent("Edge", "Windows", "desktop")),
        ("Mozilla/5.0", Agent("", "", "")),
        ("", Agent("", "", "")),
    ],
)
def test_mail_clients_and_browsers_are_named(text: str, expected: Agent) -> None:
    assert agent(text) == expected


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (known.BARRACUDA, "scanner"),
        ("Mozilla/5.0 (compatible; Proofpoint URL Defense)", "scanner"),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "preview"),
        ("WhatsApp/2.23.20.0 A", "preview"),
        ("WhatsApp/2.2587.9 W", "preview"),
        (PREVIEW, "preview"),
        ("python-requests/2.32.5", "library"),
        ("Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/120.0.0.0 Safari/537.36", "headless"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "crawler"),
    ],
)
def test_programs_are_known_by_what_they_call_themselves(text: str, program: str) -> None:
    assert agent(text).program == program


@pytest.mark.parametrize(
    ("text", "client"),
    [
        (f"{known.EDGE} OneOutlook/1.2025.1023.100", "Outlook"),
        ("Outlook/16.98 CFNetwork/1568.200.51 Darwin/24.1.0 (x86_64)", "Outlook"),
        ("Mail/3826.400.131 CFNetwork/1568.400.7 Darwin/24.4.0", "Apple Mail"),
        ("MobileMail/3826 CFNetwork/1568.100.1 Darwin/24.0.0", "Apple Mail"),
        (f"{known.CHROME} eM Client/10.3.2619.0", "eM Client"),
        (f"{known.CHROME} Mailspring/1.15.1", "Mailspring"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Mailbird/3.0.18", "Mailbird"),
        ("BlueMail/1.140.108 (Android 15; SM-S931B)", "BlueMail"),
        (f"{known.CHROME} Foxmail/7.2.25", "Foxmail"),
        ("NaverMailApp/3.1.2 (Android 15; SM-S928N)", "NAVER Mail"),
        ("YahooMobileMail/1.0 (iPhone; iOS 18.5; Scale/3.00)", "Yahoo Mail"),
        ("com.google.Gmail/6.0.250505 CFNetwork/3826 (iPhone)", "Gmail app"),
        ("WindowsMail/17.5.9600.22013", "Windows Mail"),
        ("microsoft.windowscommunicationsapps/16005.14326", "Windows Mail"),
    ],
)
def test_mail_clients_have_their_names(text: str, client: str) -> None:
    parsed = agent(text)
    assert (parsed.client, parsed.program) == (client, "")


@pytest.mark.parametrize(
    ("text", "client"),
    [
        (f"{known.IPHONE_MAIL} Instagram 390.0.0.28 (iPhone16,1; iOS 18_5; en_GB)", "Instagram"),
        (f"{known.IPHONE_MAIL} [FBAN/FBIOS;FBAV/510.0.0.35.74;FBBV/1]", "Facebook"),
    ],
)
def test_web_views_of_other_apps_are_not_mail(text: str, client: str) -> None:
    assert agent(text).client == client


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("hey.com/imageproxy Mozilla/5.0 (X11; Linux x86_64) Chrome/134.0.0.0", "HEY"),
        (f"{known.CHROME} FastmailUA/1.0", "Fastmail"),
        ("SeznamEmailProxy/3.0.51", "Seznam Email"),
        ("RamblerMail/6.0 (incompatible; ImageProxy/6.0)", "Rambler Mail"),
        (f"{known.CHROME} (via secureurl.fwdcdn.com - mail.ukr.net proxy)", "ukr.net Mail"),
        ("ShortwaveImageProxy/1.0", "Shortwave"),
        ("Shortwave/1.2 image proxy", "Shortwave"),
        ("Mozilla/5.0 (compatible; AnotherMailProxy/1.0)", "Another"),
    ],
)
def test_image_proxies_have_a_name_and_no_device(text: str, client: str) -> None:
    assert agent(text) == Agent(client, "", "", "proxy")


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("Mozilla/5.0 (compatible; ChatGPT-User/1.0; +https://openai.com/bot)", "ChatGPT-User"),
        ("Mozilla/5.0 (compatible; Claude-User/1.0; +Claude-User@anthropic.com)", "Claude-User"),
        ("meta-externalfetcher/1.1", "Meta-ExternalFetcher"),
        ("DuckAssistBot/1.2; (+http://duckduckgo.com/duckassistbot.html)", "DuckAssistBot"),
        (f"{known.CHROME_PHONE} (compatible; Google-Agent)", "Google-Agent"),
    ],
)
def test_assistants_have_their_names(text: str, client: str) -> None:
    parsed = agent(text)
    assert (parsed.client, parsed.program) == (client, "assistant")


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("lua-resty-http/0.17.1 (Lua) ngx_lua/10026", "library"),
        ("dataaccessd/1.0", "unknown"),
        ("Microsoft Exchange/15.20", "unknown"),
        ("GoogleMessages/1.0", "unknown"),
        ("acme-linkbot/1.0 (+https://example.com/bot)", "crawler"),
        ("Mozilla/5.0 (compatible; SecurityScanner)", "crawler"),
        ("Mozilla/5.0 (compatible; PageInspector/2.1)", "crawler"),
        ("undici", "library"),
        ("Slack-ImgProxy 1.106 (+https://api.slack.com/robots)", "preview"),
    ],
)
def test_what_is_no_browser_is_a_program(text: str, program: str) -> None:
    assert agent(text).program == program


@pytest.mark.parametrize(
    "text",
    [
        "Mozilla/5.0 (Linux; Android 15; Pixel 9 Build/AP3A.241005.015) AppleWebKit/537.36"
        " (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
        f"{known.CHROME_PHONE} Viber/25.2.0.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " coc_coc_browser/130.0.126 Chrome/124.0.6367.126 Safari/537.36",
        f"{known.CHROME} SE 2.X MetaSr 1.0",
        "Mozilla/5.0 (Linux; Android 13; CUBOT KINGKONG) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/140.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Linux; Android 8.1.0; XBot Junior) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/87.0.4280.101 Mobile Safari/537.36",
    ],
)
def test_phones_that_lists_have_called_bots_are_none(text: str) -> None:
    assert agent(text).program == ""


def test_the_library_has_the_parsers_that_are_used() -> None:
    """Only they are used, since the whole takes ten times as long; an upgrade fails here first."""
    assert Bot("Googlebot/2.1", None).parse().ua_data["category"] == "Search bot"
    assert Library("curl/8.0", None).parse().ua_data["name"] == "curl"
    assert PIM("The Bat! 4.0.0.22", None).parse().ua_data["name"] == "The Bat!"


@pytest.mark.parametrize("text", known.BROWSERS)
def test_no_browser_is_taken_for_a_program(text: str) -> None:
    assert agent(text).program == ""
    assert agent(text).client


def test_hostile_agents_are_read_like_any_other() -> None:
    for text in hostile(1_000, 3):
        assert isinstance(agent(text), Agent)


@given(st.text(max_size=2000))
def test_nothing_past_the_cut_is_looked_at(text: str) -> None:
    assert agent(text) == agent(text[:AGENT_BYTES] + "python-requests" * (len(text) > AGENT_BYTES))
