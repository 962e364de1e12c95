"""The rewriter: puts a pixel and redirect links into mail and changes no other byte.

    compile_html -> Compiled -> personalise(message token) -> bytes

The scan happens once per mail, a recipient costs one join: every address that goes in carries the
same message token (the pixel's may differ), and the parts are what stands between. Nothing is
serialised again, so taking out what was put in gives back the original, byte for byte.
"""

import codecs
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from operator import attrgetter

from msgspec.structs import replace

from app import charset as charsets
from app import href, iso2022, link, markup, merge_fields, preheader
from app.charset import Charset
from app.compiled import Compiled, Merge, Splice, click, join_parts
from app.href import Address
from app.link import Link, Options, Place, Policy
from app.markup import RewriteError, Tag, Unclosed

__all__ = ["Compiled", "Link", "Options", "RewriteError", "compile_html", "rewrite_text"]

# Loaded, for nothing hides it, and of no size in any layout: it is taken out of the flow, and where
# a client takes that style away, it floats with an outer width and height of nothing.
_PIXEL = (
    b'.gif" alt="" width="1" height="1" border="0" style="height:1px!important;'
    b"width:1px!important;border:0!important;padding:0!important;margin:-1px -1px 0 0!important;"
    b'float:left!important;position:absolute!important">'
)
_MARK = rb"/(?:o/[\w-]++\.gif|c/[\w-]++/[\w-]++)[\"'\s>]"
_TEXT_URL = re.compile(r"https?://[^\s<>\"\x00-\x1f\x7f]++", re.IGNORECASE)
# What ends a sentence or a quotation rather than an address.
_TRAIL = ".,;:!?'*_~\N{HORIZONTAL ELLIPSIS}\u2019\u201d\u00bb\u3001\u3002\uff0c\uff01\uff1f"
_TRAIL_CHARS = 100
_BRACKETS = {")": "(", "]": "[", "}": "{", "\uff09": "\uff08", "\u300d": "\u300c"}
_HINT_CHARS = 200  # how far before an address the words that introduce it are looked for


def compile_html(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    charset: str | None = None,
) -> Compiled:
    """Scan `html` once; `link_token` signs a tracked link, `charset` is what the header says.

    UTF-16 is decoded, spliced and encoded; if that would change any other byte the mail is left
    alone and a note says so, as one in a charset that is not read (UTF-7, HZ).
    Raises RewriteError for a mail with more links or tags than the limits of `link` and `markup`.
    """
    known = charsets.find(html, charset)
    notes: tuple[str, ...] = ()
    if charset and not charsets.lookup(charset):
        notes = (f"charset {charset[:40]!r} is not known: read as {known.name}",)
    if known.form == "unread":
        return Compiled((html,), (), (*notes, f"charset {known.name} is not read: left alone"))
    if known.form == "utf-16":
        return _compile_wide(html, options, link_token, base_url, known.name, notes)
    if known.form == "iso2022":
        return _compile_shifted(html, options, link_token, base_url, known, notes)
    places, splices, found = _scan(html, options, link_token, base_url, known)
    merge = None
    if known.name == "utf-8":
        merge = _merge(html, places, splices, link_token, base_url)
    links = tuple(place.link for place in places)
    return Compiled(join_parts(html, splices), links, notes + found, tuple(splices), merge=merge)


def rewrite_text(
    text: str, options: Options, link_token: Callable[[Link], str], base_url: str
) -> Compiled:
    """The same for text/plain: bare http(s) addresses and no pixel. Bytes are UTF-8.

    An address ends as mail clients end it: before trailing punctuation, and before a closing
    bracket that was not opened inside. What introduces it on its line, or alone on the line before,
    tells an unsubscribe link.
    """
    source = text.encode("utf-8", "surrogatepass")
    policy = Policy(options, _own(options, base_url))
    links: list[Link] = []
    splices: list[Splice] = []
    merged: list[Place] = []
    chars = at = 0
    for match in _TEXT_URL.finditer(merge_fields.mask(text)):
        if len(links) >= link.MAX_LINKS:
            raise RewriteError(f"more than {link.MAX_LINKS:,} links")
        url = _without_trail(match[0])
        url = text[match.start() : match.start() + len(url)]
        at += len(text[chars : match.start()].encode("utf-8", "surrogatepass"))
        chars = match.start()
        judge = partial(policy.judge, labels=[_hint(text, chars)], opted_out=False)
        target, reason = judge(url)
        personal = reason == "placeholder" and link.is_personal(url, judge)
        found = Link(len(links), url, target, reason, "", (), at, False, personal)
        links.append(found)
        end = at + len(url.encode("utf-8", "surrogatepass"))
        if found.tracked:
            splices.append(click(source, at, end, found, link_token, base_url))
        elif merge_fields.fillable(url):
            merged.append(Place(found, at, end, [], judge))
    fields = merge_fields.in_text(source, [(place.start, place.end) for place in merged])
    merge = (
        Merge(source, fields, merged, (), False, link_token, base_url) if fields or merged else None
    )
    return Compiled(join_parts(source, splices), tuple(links), (), tuple(splices), merge=merge)


def _scan(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    charset: Charset,
) -> tuple[list[Place], list[Splice], tuple[str, ...]]:
    """The links where they stand, what to splice (in order), and notes."""
    tokens = list(markup.read(html))
    unclosed = tokens[-1] if tokens and isinstance(tokens[-1], Unclosed) else None
    tags = [token for token in tokens if isinstance(token, Tag)]
    notes = []
    if unclosed:
        notes.append(
            f"byte {unclosed.start}: {unclosed.what} never closes, clients show nothing after it"
        )
    own = _own(options, base_url)
    done = _has_our_mark(html, (base_url, *options.own_origins))
    if done:
        notes.append("the mail has addresses of Mailwake's already: left alone")
    base = link.base_address(html, tags, charset)
    policy = Policy(options, own, base, charset, done)
    places = list(link.find(html, tags, policy, charset))
    pixel = options.opens and not done
    splices: list[Splice] = []
    # Without pixel and redirect nothing would tell later that opt-outs have been here: they stay.
    if pixel or any(place.link.tracked for place in places):
        for place in places:
            splices += [Splice(start, html[start:end]) for start, end in place.opt_outs]
            if place.link.tracked:
                edit = click(html, place.start, place.end, place.link, link_token, base_url)
                splices.append(edit)
    if pixel:
        at = preheader.end(html) if options.pixel_top else _pixel_place(html, tags, unclosed)
        before = f'<img src="{base_url}/o/'.encode("ascii")
        splices.append(Splice(at, b"", before, _PIXEL, pixel=True))
    splices.sort(key=attrgetter("start"))
    return places, splices, tuple(notes)


def _pixel_place(html: bytes, tags: Sequence[Tag], unclosed: Unclosed | None) -> int:
    """Before the last </body> that clients see, else where they stop reading."""
    ends = [tag.start for tag in tags if tag.name == b"/body" and not tag.mso]
    return ends[-1] if ends else unclosed.start if unclosed else len(html)


def _compile_wide(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    codec: str,
    notes: tuple[str, ...],
) -> Compiled:
    """Scans the mail's UTF-8 and encodes each piece, if all pieces come back as they were."""
    try:
        source = html.decode(codec).encode("utf-8")
    except UnicodeError:
        return Compiled((html,), (), (*notes, f"the mail is not valid {codec}: left alone"))
    # Queries of UTF-16 go out in UTF-8 too (URL standard, 4.4, query state).
    places, splices, found = _scan(source, options, link_token, base_url, charsets.UTF8)

    def encode(piece: bytes) -> bytes:
        return piece.decode("utf-8").encode(codec)

    try:
        back: list[bytes] = []
        encoded: list[Splice] = []
        position = at = 0
        for splice in splices:
            kept, removed = encode(source[position : splice.start]), encode(splice.removed)
            before = None if splice.before is None else encode(splice.before)
            after = encode(splice.after)
            encoded.append(Splice(at + len(kept), removed, before, after, splice.pixel))
            back += kept, removed
            at += len(kept) + len(removed)
            position = splice.end
        if b"".join((*back, encode(source[position:]))) != html:
            raise UnicodeError
    except UnicodeError:
        note = f"{codec} would not come back byte for byte: left alone"
        return Compiled((html,), (), (*notes, note))
    moved = tuple(_moved(source, [place.link for place in places], codec))
    return Compiled(join_parts(html, encoded), moved, notes + found, tuple(encoded), codec)


def _merge(
    html: bytes,
    places: Sequence[Place],
    splices: Sequence[Splice],
    link_token: Callable[[Link], str],
    base_url: str,
) -> Merge | None:
    """What filling the merge fields of HTML needs, None where there are none."""
    if not merge_fields.may_have_fields(html):
        return None
    links = [place for place in places if merge_fields.fillable(place.link.url)]
    fields, closed = merge_fields.in_html(html, {place.start for place in places})
    taken = [(splice.start, splice.end) for splice in splices]
    taken += [(place.start, place.end) for place in places]
    taken.sort()
    starts = [start for start, _ in taken]
    free = []
    for field in fields:
        before = bisect_left(starts, field.end) - 1
        if before < 0 or taken[before][1] <= field.start:
            free.append(field)
    return Merge(html, free, links, closed, True, link_token, base_url)


def _compile_shifted(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    charset: Charset,
    notes: tuple[str, ...],
) -> Compiled:
    """Scans a mail of ISO-2022 with escape sequences and what they shift masked."""
    masked, reset = iso2022.mask(html)
    places, found_splices, found = _scan(masked, options, link_token, base_url, charset)
    splices = []
    for splice in found_splices:
        removed = html[splice.start : splice.end]
        before = splice.before
        if before is not None and splice.start == len(html):
            before = reset + before
        after = splice.after + iso2022.designations(removed)
        splices.append(Splice(splice.start, removed, before, after, splice.pixel))
    links = tuple(place.link for place in places)
    return Compiled(join_parts(html, splices), links, notes + found, tuple(splices))


def _moved(source: bytes, links: Sequence[Link], codec: str) -> Iterator[Link]:
    """The links with their offsets in the mail instead of its UTF-8."""
    encoder = codecs.getincrementalencoder(codec)()
    position = offset = 0
    for one in links:
        offset += len(encoder.encode(source[position : one.offset].decode("utf-8")))
        position = one.offset
        yield replace(one, offset=offset)


def _has_our_mark(html: bytes, origins: Sequence[str]) -> bool:
    """Whether a pixel or a redirect of ours is in the mail: nothing is done to it twice."""
    for origin in (origin.rstrip("/").encode() for origin in origins):
        # The search within is worth its time only where the address is found at all.
        if origin in html and re.search(
            rb"(?:src|href)\s*+=\s*+[\"']?+\s*+" + re.escape(origin) + _MARK, html, re.IGNORECASE
        ):
            return True
    return False


def _own(options: Options, base_url: str) -> tuple[Address, ...]:
    return _addresses((base_url, *options.own_origins))


@lru_cache(64)
def _addresses(urls: tuple[str, ...]) -> tuple[Address, ...]:
    return tuple(map(href.address, urls))


def _without_trail(url: str) -> str:
    surplus = {close: url.count(close) - url.count(open_) for close, open_ in _BRACKETS.items()}
    end = len(url)
    while end > len(url) - _TRAIL_CHARS and (
        url[end - 1] in _TRAIL or surplus.get(url[end - 1], 0) > 0
    ):
        end -= 1
        if url[end] in surplus:
            surplus[url[end]] -= 1
    return url[:end]


def _hint(text: str, start: int) -> str:
    """The words before an address on its line, or those of the line before if it starts its own."""
    lines = text[max(0, start - _HINT_CHARS) : start].splitlines() or [""]
    here = lines[-1].strip() if text[start - 1 : start] not in ("\n", "\r") else ""
    if not here:
        above = [line.strip() for line in lines if line.strip()]
        here = above[-1] if above and not _TEXT_URL.search(above[-1]) else ""
    return here
