"""Jinja templates with the filters that figures need."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from jinja2_fragments.starlette import Jinja2Blocks

from app.paths import ROOT
from app.schemas.stats import RatesOf
from app.stats import rates
from app.stats.filters import KINDS, MAX_TEXT_CHARS, SHOWN, STEPS, Filters
from app.stats.mail_providers import EVERYTHING_ELSE, NOT_STORED
from app.stats.periods import PERIODS, read_day
from app.stats.queries import utc
from app.stats.rates import NotShown
from app.web.views import charts, compare, urls
from app.web.views.icons import icon
from app.web.views.reader import UTC_READER, Reader


def templates() -> Jinja2Blocks:
    """Returns a new environment."""
    templates_of = Jinja2Blocks(ROOT / "templates")
    templates_of.env.trim_blocks = templates_of.env.lstrip_blocks = True
    filters: dict[str, Any] = {
        "number": _reading(Reader.number),
        "decimal": _reading(Reader.decimal),
        "rate": _reading(rate_of),
        "percent": _reading(percent_of),
        "provider": provider,
        "rates": _reading(rates_of),
        "tally": _reading(tally_of),
        "of_tracked": _reading(of_tracked_of),
        "points": _reading(points_of),
        "since": compare.since,
        "when": _reading(Reader.when),
        "moment": _reading(moment_of),
        "ago": ago,
        "datetime": datetime.fromisoformat,
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
        "messages_url": urls.messages_url,
        "clicked_url": urls.clicked_url,
        "MAX_TEXT_CHARS": MAX_TEXT_CHARS,
        "mail_url": urls.mail_url,
        "share": charts.share,
        "interval": charts.interval,
        "KINDS": KINDS,
        "PERIODS": PERIODS,
        "period_of": period_of,
        "sent_in": sent_in,
        "time_of": time_of,
        "STEPS": STEPS,
        "SHOWN": SHOWN,
        "NO_CLICK_TO_OPEN": NO_CLICK_TO_OPEN,
        "MIN_KNOWN_SHARE": rates.MIN_KNOWN_SHARE,
    }
    return templates_of


NO_CLICK_TO_OPEN: Mapping[NotShown, str] = {
    "no_opens": "No opens to compare with",
    "other_messages": "Opens and clicks are tracked for different messages",
    "more_clicks": "More messages were clicked than opened",
    "unknowable": "Too many opens are unknown",
}


def rate_of(reader: Reader, part: float, whole: float) -> str:
    """Returns a share in percent, a dash of nothing and of less than the part."""
    value = rates.bounded_share(part, whole)
    return "\u2013" if value is None else f"{reader.decimal(100 * value)}%"


def percent_of(reader: Reader, value: float | None) -> str:
    """Returns a rate from 0 to 1 in percent, a dash for none."""
    return "\u2013" if value is None else rate_of(reader, value, 1)


def provider(name: str) -> str:
    """Returns a recipients' mail provider as pages show it."""
    return {NOT_STORED: "No email address stored", EVERYTHING_ELSE: "Other domains"}.get(name, name)


def rates_of(reader: Reader, part: int, unknowable: int, whole: int) -> str:
    """Returns a share in percent or, with unknowable parts, the range in which it lies."""
    if not unknowable or not part <= whole > 0:
        return rate_of(reader, part, whole)
    most = min(part + unknowable, whole)
    return f"{reader.decimal(100 * part / whole)}\u2013{reader.decimal(100 * most / whole)}%"


def tally_of(reader: Reader, value: int, tracked: int, messages: int) -> str:
    """Returns the messages that opened or clicked, a dash if none of those sent is tracked."""
    return reader.number(value) if value or tracked or not messages else "\u2013"


def of_tracked_of(reader: Reader, tracked: int, messages: int, of: RatesOf = "sent") -> str:
    """Returns what a rate refers to: all messages that were sent or delivered, or those tracked."""
    if tracked == messages:
        return f"of messages {of}"
    delivered = " delivered" if of == "delivered" else ""
    return f"of {reader.number(tracked)} tracked messages{delivered}"


def period_of(filters: Filters, reader: Reader) -> str:
    """Returns what a period is called: a custom one by its days."""
    if filters.period != "custom":
        return PERIODS[filters.period]
    first, last = (read_day(day) for day in (filters.first_day, filters.last_day))
    if first and last:
        return reader.day(first) if first == last else f"{reader.day(first)} to {reader.day(last)}"
    return f"since {reader.day(first)}" if first else f"until {reader.day(last or date.max)}"


def time_of(filters: Filters, reader: Reader) -> str:
    """Returns a period as the end of a sentence; empty if it is all time."""
    name = period_of(filters, reader)
    match filters.period:
        case "all":
            return ""
        case "today":
            return "today"
        case "custom":
            if not filters.first_day or not filters.last_day:
                return name
            return f"on {name}" if filters.first_day == filters.last_day else f"from {name}"
    return f"in the last {name}"


def sent_in(filters: Filters, reader: Reader) -> str:
    """Returns which messages a page is about."""
    at = time_of(filters, reader)
    return f"Messages sent {at}" if at else "All messages"


def moment_of(reader: Reader, seconds: float) -> str:
    """Returns seconds since 1970 UTC as people read a time."""
    return reader.when(datetime.fromtimestamp(seconds, UTC))


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


def points_of(reader: Reader, value: float) -> str:
    """Returns a difference of two rates, in points, with its sign."""
    sign = "\u2212" if value < 0 else "+"
    return f"{sign}{reader.decimal(abs(value))}"


def _reading(show: Callable[..., str]) -> Callable[..., str]:
    """Returns a filter of templates that shows a value as the page's reader wants it."""

    @pass_context
    def filtered(context: Context, *values: Any) -> str:
        return show(context.get("reader", UTC_READER), *values)

    return filtered
