"""Notes of a second reader: what a mailer would want to know of a mail before it is sent.

Nothing here keeps a mail from going out. Each kind of note is limited in number and length.
"""

from collections.abc import Iterable, Iterator, Sequence

from app.rewriting import placeholders
from app.rewriting.links import Link

# Gmail shows the beginning of a longer message and a link to the rest, in which the pixel is. The
# limit is not documented; measurements lie between 99 and 105 KB (github.com/hteumeuleu/email-bugs,
# issue 41), and the figure that is passed on is 102 KB.
CLIPPED_BYTES = 102_000
MAX_NOTES = 10  # of a kind
MAX_PLACES = 5  # bytes that one note names
QUOTED_CHARS = 80


def of_links(
    links: Sequence[Link], source: bytes, redirect_host: str, own: tuple[str, ...] = ()
) -> list[str]:
    """Returns notes on the links of one body; `source` is the body as it came.

    `redirect_host` is where tracked links lead first, `own` the placeholders of the setting.
    """
    tracked = [link for link in links if link.tracked]
    return [
        *of_placeholders(links, source, own),
        *_limited(_shown_urls(tracked, redirect_host), "links whose text is a URL"),
        *_insecure(tracked),
        *_limited(_labels(tracked), "labels with several targets"),
    ]


def of_size(before: int, after: int, pixel_top: bool) -> list[str]:
    """Returns a note on HTML that Gmail clips: bytes as it came and with tracking, decoded."""
    if after <= CLIPPED_BYTES:
        return []
    grown = f" ({before:,} without tracking)" if after != before else ""
    remedy = "" if pixel_top else '; tracking.pixel "top" moves the pixel above the cut'
    return [f"the HTML has {after:,} bytes{grown}: Gmail clips mail of more than 102 KB{remedy}"]


def of_fields(closed: Sequence[int]) -> list[str]:
    """Returns a note on merge fields that cannot be filled where they stand, at bytes `closed`."""
    if not closed:
        return []
    return [
        f"{_places(closed)}: merge fields in scripts, styles, comments, event handlers or tags"
        " are not filled"
    ]


def of_placeholders(
    links: Sequence[Link], source: bytes, own: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yields a note on each link of one body, HTML or text, that has a placeholder."""
    further = placeholders.compile_own(own)
    unfilled = [link for link in links if link.reason == "placeholder"]
    for link in unfilled[:MAX_NOTES]:
        placeholder = placeholders.find(link.url, len(link.url), further)
        if placeholder:
            at = source.find(
                placeholder.text.encode(), link.offset, link.offset + 8 * len(link.url)
            )
            byte = at if at >= 0 else link.offset
            fate = (
                "values turn it into a tracked link" if link.personal else "the link is not tracked"
            )
            yield f"suspected placeholder {_quoted(placeholder.text)} at byte {byte}: {fate}"
    if len(unfilled) > MAX_NOTES:
        yield f"{len(unfilled) - MAX_NOTES} more suspected placeholders"


def _shown_urls(links: Iterable[Link], redirect_host: str) -> Iterable[str]:
    for link in links:
        if link.shown_host:
            yield (
                f"byte {link.offset}: the link's text is a URL of {_quoted(link.shown_host)} and"
                f" the link leads to {redirect_host}: mail clients may warn of phishing; "
                'tracking.url_text "leave" leaves such links'
            )


def _insecure(links: Iterable[Link]) -> Iterable[str]:
    offsets = [link.offset for link in links if link.target[:5].lower() == "http:"]
    if offsets:
        what = "a link leads" if len(offsets) == 1 else "links lead"
        yield f"{_places(offsets)}: {what} to http, not https"


def _labels(links: Iterable[Link]) -> Iterable[str]:
    by_label: dict[str, dict[str, int]] = {}
    for link in links:
        if link.label:
            by_label.setdefault(link.label, {}).setdefault(link.url, link.offset)
    for label, urls in by_label.items():
        if len(urls) > 1:
            yield (
                f"{_places(list(urls.values()))}: the label {_quoted(label)} has {len(urls)}"
                " targets; use data-track-name to tell them apart"
            )


def _limited(notes: Iterable[str], what: str) -> list[str]:
    every = list(notes)
    more = len(every) - MAX_NOTES
    return [*every[:MAX_NOTES], f"{more} more {what}"] if more > 0 else every


def _places(offsets: Sequence[int]) -> str:
    shown = ", ".join(map(str, offsets[:MAX_PLACES]))
    more = len(offsets) - MAX_PLACES
    word = "byte" if len(offsets) == 1 else "bytes"
    return f"{word} {shown}{f' and {more} more' if more > 0 else ''}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= QUOTED_CHARS else f"{text[:QUOTED_CHARS]}...")
