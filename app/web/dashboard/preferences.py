"""How a reader wants times and numbers: what the browser says, or what was chosen on a page.

A script (static/app.js) puts the browser's time zone into a cookie. Without JavaScript it is UTC,
unless another one is chosen under Settings.
"""

from datetime import UTC, tzinfo

from starlette.requests import Request

from app.web.dashboard.cookies import cookie
from app.web.views.reader import Reader, languages, zone_of

ZONE = "mailwake_zone"  # cookie: the browser's time zone
CHOSEN_ZONE = "mailwake_chosen_zone"  # cookie: the time zone that the reader chose
CHOSEN_SECONDS = 400 * 86_400  # the longest that browsers keep a cookie (RFC 6265bis)


def browser_zone(request: Request) -> tzinfo:
    """Returns the browser's time zone, UTC where it is unknown."""
    return zone_of(cookie(request, ZONE)) or UTC


def reader_of(request: Request) -> Reader:
    """Returns the reader's time zone and language."""
    accepted = languages(request.headers.get("accept-language", ""))
    zone = zone_of(cookie(request, CHOSEN_ZONE)) or browser_zone(request)
    return Reader(zone, accepted[0] if accepted else "en")
