import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import agents as known
from app.ingest.user_agents import AGENT_BYTES, Agent, agent
from tests.bench.verdicts import hostile

PREVIEW = "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (known.GMAIL_PROXY, Agent("Gmail", "", "")),
        (known.YAHOO_PROXY, Agent("Yahoo Mail", "", "")),
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
