"""The click map: the mail itself, unable to do anything, with rank and share next to each link.

Three locks, since the mail is somebody else's HTML: it is sanitised (nh3), its document's policy
forbids everything but images and styles, and it is shown in a sandboxed frame. Links lead nowhere,
and pixels, ours or another's, are taken out.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import nh3

from app.experiments.variants import NONE
from app.links import identity
from app.messages.templates import SampleMail, TemplateStore
from app.model.errors import NotFoundError
from app.rewriting.html import compile_html
from app.rewriting.links import Link, Options
from app.schemas.stats import LinkStats
from app.stats.filters import Filters
from app.stats.queries import Queries

HEADERS = {
    "content-security-policy": (
        "sandbox; default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
LISTED = 500  # places
MARK = "https://map.invalid"  # RFC 2606: replaces links while they are numbered
_MARKED = re.compile(re.escape(MARK) + r"/c/x/(\d{1,5})")
_TAGS = nh3.ALLOWED_TAGS | {"big", "font", "main", "section", "style"}
_LOOKS = (
    "align background bgcolor border cellpadding cellspacing class color colspan dir face height id"
    " lang rowspan size style title valign width"
)
_ATTRIBUTES = {"*": set(_LOOKS.split()), "a": {"href"}, "img": {"src", "alt"}}
_IMAGE = re.compile(r'<img(?: [^\s=>]+="[^"]*")*>')  # as nh3 writes it
_PIXEL = re.compile(
    r' (?:width|height)="[01](?:px)?"| style="[^"]*\b(?:width|height)\s*:\s*[01](?:px)?\s*[;"]'
)
_BASE = """body{margin:0;background:#fff;color:#000;font:16px/1.4 sans-serif}
img{max-width:100%}
a[href^="#link-"]{position:relative;outline:2px solid #0b7a86;outline-offset:1px}
a[href^="#link-"]::before{position:absolute;z-index:9;left:0;top:0;transform:translateY(-70%);
padding:1px 6px;border-radius:9px;background:#0b5f68;color:#fff;white-space:nowrap;
font:600 11px/1.5 sans-serif;letter-spacing:0;text-transform:none;text-decoration:none}
"""


class Spot(NamedTuple):
    """A place of the mail, counted from 0: its rank from 1 (0: no clicks) and its share of all
    clicked messages. `link` is the id of the link that has it."""

    position: int
    rank: int
    share: float
    link: str


def page(
    queries: Queries, mailing: TemplateStore, newsletter_id: str, filters: Filters
) -> dict[str, Any]:
    """Returns the click map's page. Raises NotFoundError."""
    links = queries.links(newsletter_id, filters.hit_filters)
    named = {link.id: link for link in links}
    placed = {(link.id, place.position): place for link in links for place in link.positions}
    rows = [
        (named[spot.link], getattr(placed[spot.link, spot.position], filters.show), spot)
        for spot in spots(queries, newsletter_id, filters, links)
    ]
    rows.sort(key=lambda row: (-row[1].unique, row[2].position))
    return {
        "newsletter": queries.newsletter(newsletter_id),
        "filters": filters,
        "links": rows[:LISTED],
        "shown": _sample(queries, mailing, newsletter_id, filters) is not None,
    }


def mail(
    queries: Queries, mailing: TemplateStore, newsletter_id: str, filters: Filters, public_url: str
) -> str:
    """Returns the frame's document. Raises NotFoundError where no mail is kept."""
    sample = _sample(queries, mailing, newsletter_id, filters)
    if sample is None:
        raise NotFoundError("newsletter_id", f"newsletter {newsletter_id!r} has no preview")
    links = queries.links(newsletter_id, filters.hit_filters)
    return document(sample, spots(queries, newsletter_id, filters, links), public_url)


def _sample(
    queries: Queries, mailing: TemplateStore, newsletter_id: str, filters: Filters
) -> SampleMail | None:
    """Returns the mail of the variant that the filters ask for, where it has one of its own."""
    bound = queries.filtered(queries.key(newsletter_id), filters.hit_filters)
    return mailing.shown(newsletter_id, int(bound["variant"] or NONE))


def spots(
    queries: Queries, newsletter_id: str, filters: Filters, links: Sequence[LinkStats]
) -> list[Spot]:
    """Returns every place's rank and share among the messages that clicked."""
    clicks = getattr(queries.stats(newsletter_id, filters.hit_filters).clicks, filters.show).unique
    counted = [
        (getattr(place, filters.show).unique, place.position, link.id)
        for link in links
        for place in link.positions
    ]
    ordered = sorted({unique for unique, _, _ in counted if unique > 0}, reverse=True)
    ranks = {unique: rank for rank, unique in enumerate(ordered, 1)}
    return [
        Spot(position, ranks.get(unique, 0), unique / (clicks or 1), link)
        for unique, position, link in counted
    ]


def document(sample: SampleMail, places: list[Spot], public_url: str) -> str:
    """Returns the mail as an inert document. A place counts for the link that has it here.

    Where merge fields make a link another one for each recipient, it counts for the first of them.
    """
    here: dict[int, set[str]] = {}
    first = {spot.position: spot.link for spot in reversed(places)}

    def marked_as(link: Link) -> str:
        position = link.index + sample.first_link
        keys = identity.identify(link.target, link.name, sample.link_families, sample.full_urls)
        here[position] = {identity.shown_id(key) for key in (keys.link, keys.family)}
        if link.personal:
            here[position] = {first.get(position, "")}
        return str(position)

    compiled = compile_html(
        sample.html.encode("utf-8", "replace"),
        Options(opens=False, own_origins=(public_url,), samples=True),
        marked_as,
        MARK,
        "utf-8",
    )
    marked = compiled.personalise(b"x").decode("utf-8", "replace")

    def kept(tag: str, attribute: str, value: str) -> str | None:
        if tag == "a" and attribute == "href":
            marked = _MARKED.fullmatch(value)
            return f"#link-{marked[1]}" if marked else None
        if tag == "img" and attribute == "src" and value.startswith(f"{public_url}/o/"):
            return None
        return value

    inert = nh3.clean(
        marked,
        tags=_TAGS,
        clean_content_tags={"script", "title"},
        attributes=_ATTRIBUTES,
        attribute_filter=kept,
        url_schemes={"http", "https", "data"},
        link_rel=None,
    )
    inert = _IMAGE.sub(lambda image: "" if _PIXEL.search(image[0]) else image[0], inert)
    labels = "".join(
        f'a[href="#link-{spot.position}"]::before{{content:"{spot.rank} \\B7  {spot.share:.0%}"}}\n'
        if spot.rank
        else f'a[href="#link-{spot.position}"]{{outline:1px dashed #8a97a3}}\n'
        for spot in places
        if spot.link in here.get(spot.position, ())
    )
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The mail</title>'
    # The mail's own styles come first, so that they cannot hide what is said of its links.
    return f"{head}</head><body>{inert}<style>{_BASE}{labels}</style></body></html>"
