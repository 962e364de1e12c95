"""URLs of the dashboard's pages and static files."""

import hashlib
from collections.abc import Sequence
from functools import cache
from urllib.parse import quote, urlencode

from app.paths import resource
from app.stats.filters import Filters

UNFILTERED = Filters()


@cache
def asset(name: str) -> str:
    """Returns the URL of a static file, with a hash of its content."""
    content = (resource("static") / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


def home_url(filters: Filters, part: str = "") -> str:
    """Returns the URL of the home page, which always names its period."""
    more = {} if filters.period != "all" else {"period": "7d"}
    shown = Filters(show=filters.show, period=filters.period, kind=filters.kind)
    return _with(f"/{part}", shown, **more)


def list_url(filters: Filters, part: str = "") -> str:
    """Returns the URL of the list of newsletters."""
    return _with(f"/{part}" if part else "/newsletters", filters)


def tags_url(filters: Filters, part: str = "") -> str:
    """Returns the URL of all tags."""
    return _with(f"/tags{part and '/' + part}", filters)


def compare_url(ids: Sequence[str], filters: Filters) -> str:
    """Returns the URL of some newsletters side by side."""
    return _with("/compare", filters, newsletter=ids)


def people_url(filters: Filters) -> str:
    """Returns the URL of all recipients."""
    return _with("/recipients", filters)


def person_url(key: int, filters: Filters) -> str:
    """Returns the URL of a recipient's page."""
    return _with(f"/recipients/{key}", filters)


def messages_url(filters: Filters) -> str:
    """Returns the URL of the list of messages, which has its period even if it is `all`."""
    more = {"period": "all"} if filters.period == "all" else {}
    return _with("/messages", filters, **more)


def clicked_url(filters: Filters, url: str) -> str:
    """Returns the URL of the people who clicked a URL in any mailing."""
    return _with("/clicked", filters.over_time().but(url=url))


def message_url(message_id: object) -> str:
    """Returns the URL of a message's page."""
    return f"/messages/{message_id}"


def mail_url(address: str) -> str:
    """Returns the URL that writes a mail to an email address and sets nothing else (RFC 6068)."""
    return f"mailto:{quote(address, safe='@')}"


def _with(path: str, filters: Filters, **more: str | Sequence[str]) -> str:
    query = "&".join(part for part in (filters.query(), urlencode(more, doseq=True)) if part)
    return f"{path}?{query}" if query else path


def page_url(newsletter_id: str, filters: Filters = UNFILTERED, part: str = "", **more: str) -> str:
    """Returns the URL of a newsletter's page; its id may hold any character.

    What servers and browsers would read as path is encoded twice: servers decode once before
    they look for slashes, and browsers resolve `.` and `..`, encoded once as well.
    """
    twice = newsletter_id.replace("%", "%25").replace("/", "%2F")
    if twice in (".", ".."):
        twice = twice.replace(".", "%2E")
    path = f"/newsletters/{quote(twice, safe='')}{part and '/' + part}"
    return _with(path, filters, **more)
