"""Inserts a pixel and redirect links into mail and changes no other byte.

    scan_html, scan_text -> Scanned -> compile -> CompiledBody -> personalise(token) -> bytes

A message is scanned once, a recipient costs one join: every inserted URL carries the same message
token (the pixel's may differ), and the parts are the bytes between tokens. Nothing is serialised
again, so removing the insertions restores the original, byte for byte.

A message's alternatives are scanned before any is compiled: a link that one of
them does not track in the reader's interest (opted out, unsubscribe) is tracked in none.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from app.rewriting import (
    charsets,
    html_scanner,
    iso2022,
    links,
    plain_text,
    preheader,
    urls,
)
from app.rewriting.charsets import Charset
from app.rewriting.compiled_mail import CompiledBody, Merge, Splice, click, join_parts
from app.rewriting.html_scanner import RewriteError, Tag, Unclosed
from app.rewriting.links import Link, Options, Place, Policy
from app.rewriting.urls import SplitUrl

__all__ = [
    "CompiledBody",
    "Link",
    "Options",
    "RewriteError",
    "Scanned",
    "compile_html",
    "refused",
    "rewrite_text",
    "scan_both",
    "scan_html",
    "scan_text",
]

MAX_REDIRECT = 2_083  # characters of a link as sent: Windows does not open longer ones
MESSAGE_TOKEN = 72  # characters at most

# Loaded, since nothing hides it, and without size in any layout: it is taken out of the flow, and
# if a client removes that style, it floats with an outer width and height of zero.
_PIXEL = (
    b'.gif" alt="" width="1" height="1" border="0" style="height:1px!important;'
    b"width:1px!important;border:0!important;padding:0!important;margin:-1px -1px 0 0!important;"
    b'float:left!important;position:absolute!important">'
)
_MARK = rb"/(?:o/[\w-]++\.gif|c/[\w-]++/[\w-]++)[\"'\s>]"
_AMP = re.compile(
    rb"<html(?=[\t\n\f\r /])[^>]{0,1000}?[\t\n\f\r /\"']"
    rb"(?:amp4email|\xe2\x9a\xa1(?:\xef\xb8\x8f)?4email)(?=[\t\n\f\r />=])",
    re.IGNORECASE,
)
_AMP_BYTES = 4096  # of a document in which <html> is searched


class Scanned(Struct, frozen=True):
    """A body, its links and the decision about each.

    `source` is `data` as scanned: UTF-16 as UTF-8, ISO-2022 masked, None if it cannot be read.
    The pixel is inserted at byte `pixel` of it, after `reset` if that is its end.
    """

    data: bytes
    source: bytes | None
    charset: Charset
    html: bool
    notes: tuple[str, ...] = ()
    places: Sequence[Place] = ()
    pixel: int | None = None
    reset: bytes = b""
    policy: Policy | None = None
    base_url: str = ""

    @property
    def reading(self) -> Charset:
        """Returns the charset of `source`."""
        return charsets.UTF8 if self.charset.form == "utf-16" else self.charset

    @property
    def refused(self) -> Mapping[str, str]:
        """Returns the targets not to track in the reader's interest, with reasons."""
        return self.policy.refused if self.policy else {}

    def compile(
        self, link_token: Callable[[Link], str], refused: Mapping[str, str] | None = None
    ) -> CompiledBody:
        """Sign each link once; `refused` is that of all alternatives."""
        source = self.source
        if source is None or self.policy is None:
            return CompiledBody((self.data,), (), self.notes)
        places, clicks = self._signed(source, self.policy, link_token, refused or {})
        splices = list(clicks)
        # Without pixel and redirect nothing would show later that opt-outs were removed.
        if clicks or self.pixel is not None:
            spans = [span for place in places for span in place.opt_outs]
            splices += [Splice(start, source[start:end]) for start, end in spans]
        if self.pixel is not None:
            before = f'<img src="{self.base_url}/o/'.encode("ascii")
            splices.append(Splice(self.pixel, b"", before, _PIXEL, pixel=True))
        splices.sort(key=attrgetter("start"))
        body_links = tuple([place.link for place in places])
        if self.charset.form == "utf-16":
            return self._encoded(source, body_links, splices)
        if self.charset.form == "iso2022":
            splices = [self._unmasked(splice) for splice in splices]
        merge = None
        if self.charset.name == "utf-8":
            fillable = places if self.html else [x for x in places if not x.link.tracked]
            merge = Merge(self.data, self.html, splices, fillable, self.base_url)
        parts = join_parts(self.data, splices)
        return CompiledBody(parts, body_links, self.notes, tuple(splices), merge=merge)

    def _signed(
        self,
        source: bytes,
        policy: Policy,
        link_token: Callable[[Link], str],
        refused: Mapping[str, str],
    ) -> tuple[list[Place], list[Splice]]:
        """Returns the final links, and the redirects of those that are tracked."""
        places: list[Place] = []
        splices: list[Splice] = []
        room = MAX_REDIRECT - MESSAGE_TOKEN
        for place in self.places:
            link, reason = place.link, None
            if link.reason is None:
                reason = refused.get(policy.key(link)) if refused else None
                if reason is None:
                    edit = click(source, place.start, place.end, link, link_token, self.base_url)
                    if len(edit.inserted(b"")) <= room:
                        splices.append(edit)
                    else:
                        reason = "too_long"
            if reason is None:
                places.append(place)
            else:
                link = replace(link, target="", reason=reason, shown_host="")
                places.append(replace(place, link=link))
        return places, splices

    def _unmasked(self, splice: Splice) -> Splice:
        """Returns the splice in raw bytes, with removed designations that later bytes need."""
        removed = self.data[splice.start : splice.end]
        before = splice.before
        if before is not None and splice.start == len(self.data):
            before = self.reset + before
        after = splice.after + iso2022.designations(removed)
        return Splice(splice.start, removed, before, after, splice.pixel)

    def _encoded(
        self, source: bytes, body_links: Sequence[Link], splices: Sequence[Splice]
    ) -> CompiledBody:
        """Returns the body in its own codec, if encoding restores all pieces."""
        codec = self.charset.name

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
            if b"".join((*back, encode(source[position:]))) != self.data:
                raise UnicodeError
        except UnicodeError:
            note = f"{codec} cannot be encoded back byte for byte: left unchanged"
            return CompiledBody((self.data,), (), (*self.notes, note))
        moved = tuple(_moved(source, body_links, codec))
        return CompiledBody(
            join_parts(self.data, encoded), moved, self.notes, tuple(encoded), codec
        )


def compile_html(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    charset: str | None = None,
) -> CompiledBody:
    """Scan `html` once; `link_token` signs a tracked link, `charset` is the declared one.

    Raises RewriteError for more links or tags than `links` and `html_scanner` allow.
    """
    return scan_html(html, options, base_url, charset).compile(link_token)


def rewrite_text(
    text: str | bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    *,
    charset: str | None = None,
    flowed: bool = False,
    delsp: bool = False,
) -> CompiledBody:
    """Rewrite text/plain: bare http(s) URLs and no pixel. Bytes of a `str` are UTF-8.

    `charset`, `flowed` and `delsp` are what the header says (RFC 3676).
    """
    return scan_text(text, options, base_url, charset=charset, flowed=flowed, delsp=delsp).compile(
        link_token
    )


def refused(bodies: Iterable[Scanned]) -> Mapping[str, str]:
    """Returns the targets that any alternative does not track in the reader's interest."""
    together: dict[str, str] = {}
    for body in bodies:
        together |= body.refused
    return together


def scan_both(
    html: bytes, text: str | None, options: Options, base_url: str, charset: str | None
) -> tuple[Scanned, Scanned | None, Mapping[str, str]]:
    """Scan a message's HTML and text; returns also what both refuse. Raises RewriteError."""
    body = scan_html(html, options, base_url, charset)
    if text is None:
        return body, None, body.refused
    in_text = scan_text(text, options, base_url)
    return body, in_text, refused((body, in_text))


def scan_html(html: bytes, options: Options, base_url: str, charset: str | None = None) -> Scanned:
    """Scan an HTML body in the `charset` declared by the header. Raises RewriteError.

    UTF-16 is decoded, spliced and encoded. The body stays unchanged, with a note, if that would
    change any other byte, if its charset is not supported (UTF-7, HZ), or if it is AMP for email,
    which is valid as a whole or not at all.
    """
    body = _read(html, charsets.find(html, charset), charset, True)
    source = body.source
    if source is None:
        return body
    if source.find(b"4email", 0, _AMP_BYTES) >= 0 and _AMP.search(source, 0, _AMP_BYTES):
        return replace(body, notes=(*body.notes, "the document is AMP for email: left unchanged"))
    tokens = list(html_scanner.read(source))
    unclosed = tokens[-1] if tokens and isinstance(tokens[-1], Unclosed) else None
    tags = [token for token in tokens if isinstance(token, Tag)]
    notes = []
    if unclosed:
        notes.append(
            f"byte {unclosed.start}: {unclosed.what} is never closed: mail clients show nothing"
            " after it"
        )
    done = _has_our_mark(source, (base_url, *options.own_origins))
    if done:
        notes.append("the mail already contains Mailwake URLs: left unchanged")
    base = links.base_href(source, tags, body.reading)
    policy = Policy(options, _own(options, base_url), base, body.reading, done)
    places = list(links.find(source, tags, policy, body.reading))
    pixel = None
    if options.opens and not done:
        top = options.pixel_top
        pixel = preheader.end(source) if top else _pixel_place(source, tags, unclosed)
    return replace(
        body,
        notes=(*body.notes, *notes),
        places=places,
        pixel=pixel,
        policy=policy,
        base_url=base_url,
    )


def scan_text(
    text: str | bytes,
    options: Options,
    base_url: str,
    *,
    charset: str | None = None,
    flowed: bool = False,
    delsp: bool = False,
) -> Scanned:
    """Scan a text/plain body; a `str` is read as UTF-8. Raises RewriteError.

    `charset`, `flowed` and `delsp` are what the header says (RFC 3676).
    """
    if isinstance(text, str):
        data = text.encode("utf-8", "surrogatepass")
        body = Scanned(data, data, charsets.UTF8, False)
    else:
        body = _read(text, charsets.find(text, charset, html=False), charset, False)
    if body.source is None:
        return body
    policy = Policy(options, _own(options, base_url), "", body.reading)
    places: list[Place] = []
    chars = 0
    for text_url in plain_text.urls(body.source, body.reading, flowed and delsp):
        if len(places) >= links.MAX_LINKS:
            raise RewriteError(f"more than {links.MAX_LINKS:,} links")
        place = links.in_text(len(places), text_url, policy)
        chars += len(place.link.target)
        if chars > links.MAX_TARGET_CHARS:
            raise RewriteError(
                f"byte {place.start}: the URLs of all links in the text have more than"
                f" {links.MAX_TARGET_CHARS:,} characters, UTM parameters included"
            )
        places.append(place)
    return replace(body, places=places, policy=policy, base_url=base_url)


def _read(data: bytes, known: Charset, declared: str | None, html: bool) -> Scanned:
    """Returns the body before it is scanned."""
    notes: tuple[str, ...] = ()
    if declared and not charsets.lookup(declared):
        notes = (f"charset {declared[:40]!r} is unknown: read as {known.name}",)
    source: bytes | None = data
    reset = b""
    if known.form == "iso2022":
        source, reset = iso2022.mask(data)
    elif known.form == "unread":
        source, notes = None, (*notes, f"charset {known.name} is not supported: left unchanged")
    elif known.form == "utf-16":
        try:
            source = data.decode(known.name).encode("utf-8")
        except UnicodeError:
            source, notes = None, (*notes, f"the mail is not valid {known.name}: left unchanged")
    return Scanned(data, source, known, html, notes, reset=reset)


def _pixel_place(html: bytes, tags: Sequence[Tag], unclosed: Unclosed | None) -> int:
    """Returns the byte of the last </body> that clients see, else where they stop reading."""
    ends = [tag.start for tag in tags if tag.name == b"/body" and not tag.mso]
    return ends[-1] if ends else unclosed.start if unclosed else len(html)


def _moved(source: bytes, body_links: Sequence[Link], codec: str) -> Iterator[Link]:
    """Yields the links with offsets in the message instead of its UTF-8."""
    encoder = codecs.getincrementalencoder(codec)()
    position = offset = 0
    for link in body_links:
        offset += len(encoder.encode(source[position : link.offset].decode("utf-8")))
        position = link.offset
        yield replace(link, offset=offset)


def _has_our_mark(html: bytes, origins: Sequence[str]) -> bool:
    """Returns whether the message has a Mailwake pixel or redirect: none is rewritten twice."""
    for origin in (origin.rstrip("/").encode() for origin in origins):
        # The slower search is needed only if the origin occurs at all.
        if origin in html and re.search(
            rb"(?:src|href)\s*+=\s*+[\"']?+\s*+" + re.escape(origin) + _MARK, html, re.IGNORECASE
        ):
            return True
    return False


def _own(options: Options, base_url: str) -> tuple[SplitUrl, ...]:
    return _split_urls((base_url, *options.own_origins))


@lru_cache(64)
def _split_urls(origins: tuple[str, ...]) -> tuple[SplitUrl, ...]:
    return tuple(map(urls.split_url, origins))
