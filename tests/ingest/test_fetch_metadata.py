import pytest

from app.demo import agents
from app.ingest.classifier import NO_METADATA, classify
from app.ingest.fetch_metadata import is_expected
from app.model.ids import new_id
from app.model.records import Hit

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/{}.0.0.0 Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/{} Safari/605.1.15"
)


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (CHROME.format(142), True),
        (CHROME.format(80), True),
        (CHROME.format(79), False),
        (CHROME.format(142) + " Edg/142.0.0.0", True),
        (CHROME.format(42) + " Edge/12.246", False),
        (CHROME.format(142) + " OPR/110.0.0.0", False),
        (FIREFOX.format(90), True),
        (FIREFOX.format(89), False),
        (SAFARI.format("16.4"), True),
        (SAFARI.format("18.6.1"), True),
        (SAFARI.format("16.3"), False),
        (SAFARI.format("9.1"), False),
        (agents.SAFARI, True),
        # Web views and mail clients have habits of their own.
        (
            "Mozilla/5.0 (Linux; Android 15; SM-A556B; wv) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Version/4.0 Chrome/142.0.0.0 Mobile Safari/537.36",
            False,
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Mobile/15E148", False),
        (agents.MIMECAST, True),  # a scanner with a browser's name
        ("Chrome/" + "9" * 500, False),
        ("", False),
    ],
)
def test_current_browsers_send_fetch_metadata(agent: str, expected: bool) -> None:
    assert is_expected(agent) == expected


@pytest.mark.parametrize(
    ("kind", "fetch_mode", "https", "hinted"),
    [
        ("click", "", True, True),
        ("click", "", False, False),
        ("click", "navigate", True, False),
        ("open", "", True, False),
    ],
)
def test_its_absence_is_a_hint_on_https_and_never_a_verdict(
    kind: str, fetch_mode: str, https: bool, hinted: bool
) -> None:
    hit = Hit(
        kind,  # type: ignore[arg-type]
        1_780_000_900_000,
        "default",
        1,
        new_id(1_780_000_000_000).hex(),
        7,
        user_agent=agents.CHROME,
        fetch_mode=fetch_mode,
    )
    found = classify(hit, https=https)
    assert (found.verdict, NO_METADATA in found.reasons) == ("human", hinted)
