"""Jinja templates with the filters that figures need."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2_fragments.starlette import Jinja2Blocks

from app.paths import ROOT
from app.schemas.stats import RatesOf
from app.stats.filters import KINDS, PERIODS, SHOWN, STEPS
from app.stats.mail_providers import EVERYTHING_ELSE, NOT_STORED
from app.stats.queries import utc
from app.stats.rates import NotShown
from app.web.views import charts, compare, urls
from app.web.views.icons import icon
from app.web.views.newsletters import when


def templates() -> Jinja2Blocks:
    """Returns a new environment."""
    templates_of = Jinja2Blocks(ROOT / "templates")
    templates_of.env.trim_blocks = templates_of.env.lstrip_blocks = True
    filters: dict[str, Any] = {
        "number": number,
        "rate": rate,
        "rates": rates,
        "percent": percent,
        "provider": provider,
        "tally": tally,
        "of_tracked": of_tracked,
        "points": points,
        "since": compare.since,
        "when": when,
        "moment": moment,
        "ago": ago,
        "ms": milliseconds,
    }
    templates_of.env.filters |= filters
    templates_of.env.globals |= {
        "csrf": str,  # pages behind the login have a field of their own
        "asset": urls.asset,
        "icon": icon,
        "compare_url": urls.compare_url,
        "home_url": urls.home_url,
        "list_url": urls.list_url,
        "tags_url": urls.tags_url,
        "page_url": urls.page_url,
        "people_url": urls.people_url,
        "person_url": urls.person_url,
        "message_url": urls.message_url,
        "mail_url": urls.mail_url,
        "share": charts.share,
        "interval": charts.interval,
        "KINDS": KINDS,
        "PERIODS": PERIODS,
        "STEPS": STEPS,
        "SHOWN": SHOWN,
        "NO_CLICK_TO_OPEN": NO_CLICK_TO_OPEN,
    }
    return templates_of


NO_CLICK_TO_OPEN: Mapping[NotShown, str] = {
    "no_opens": "No opens to compare with",
    "other_messages": "Opens and clicks are tracked for different messages",
    "more_clicks": "More messages were clicked than opened",
    "unknowable": "Too many opens are unknown",
}


def number(value: int) -> str:
    """Returns a number with commas between thousands."""
    return f"{value:,}"


def rate(part: float, whole: int) -> str:
    """Returns a share in percent, a dash where there is nothing to share."""
    return f"{100 * part / whole:.1f}%" if whole else "\u2013"


def percent(value: float | None) -> str:
    """Returns a rate from 0 to 1 in percent, a dash for none."""
    return "\u2013" if value is None else rate(value, 1)


def provider(name: str) -> str:
    """Returns a recipients' mail provider as pages show it."""
    return {NOT_STORED: "No email address stored", EVERYTHING_ELSE: "Other domains"}.get(name, name)


def rates(part: int, unknowable: int, whole: int) -> str:
    """Returns a share in percent or, with unknowable parts, the range in which it lies."""
    if not whole or not unknowable:
        return rate(part, whole)
    most = min(part + unknowable, whole)
    return f"{100 * part / whole:.1f}\u2013{100 * most / whole:.1f}%"


def tally(value: int, tracked: int, messages: int) -> str:
    """Returns the messages that opened or clicked, a dash if none of those sent is tracked."""
    return number(value) if value or tracked or not messages else "\u2013"


def of_tracked(tracked: int, messages: int, of: RatesOf = "sent") -> str:
    """Returns what a rate refers to: all messages that were sent or delivered, or those tracked."""
    if tracked == messages:
        return f"of messages {of}"
    return f"of {number(tracked)} tracked messages" + (" delivered" if of == "delivered" else "")


def moment(seconds: float) -> str:
    """Returns seconds since 1970 UTC as people read a time."""
    return when(datetime.fromtimestamp(seconds, UTC))


def ago(at: datetime) -> str:
    """Returns how long ago a time was, as people say it."""
    seconds = max(0, int((datetime.now(UTC) - utc(at)).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def milliseconds(at: datetime) -> int:
    """Returns a time in milliseconds since 1970 UTC."""
    return round(utc(at).timestamp() * 1000)


def points(value: float) -> str:
    """Returns a difference of two rates, in points."""
    return f"{value:+.1f}".replace("-", "\u2212")
