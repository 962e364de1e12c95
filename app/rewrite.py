"""The rewriter: puts a pixel and redirect links into mail and changes no other byte.

    compile_html -> Compiled -> personalise(message token) -> bytes

The scan happens once per mail, a recipient costs one join: every address that goes in carries the
same message token, and the parts are what stands between. Nothing is serialised again, so taking
out what was put in gives back the original, byte for byte.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urljoin

from app import charset as charsets
from app import href, markup
from app.charset import Charset
from app.markup import Attribute, Tag, Unclosed

MAX_LINKS = 65_536  # a link token has 16 bits for its index
LABEL_CHARS = 120
LABEL_BYTES = 4096  # how much of an anchor's content is looked at for its label

# Attributes by which senders opt a link out, and the values that do: the vendors' pages on click
# tracking (SendGrid, Amazon SES, SparkPost, Mailchimp, Mautic, Mailgun, Postmark).
_OFF = (b"off", b"false", b"0", b"no", b"none")
_ON = (None, b"", b"true", b"1", b"on", b"yes")
_OPT_OUT: Mapping[bytes, Sequence[bytes | None]] = {
    b"data-track": _OFF,
    b"clicktracking": _OFF,
    b"data-msys-clicktrack": _OFF,
    b"ses:no-track": _ON,
    b"disable-tracking": _ON,
    b"mautic:disable-tracking": _ON,
    b"data-skip-click": _ON,
    b"data-pm-no-track": _ON,
}
# Hidden, but not so that a client leaves it out: display:none is not loaded everywhere.
_PIXEL = (
    '.gif" alt="" width="1" height="1" border="0" style="height:1px!important;'
    'width:1px!important;border:0!important;margin:0!important;padding:0!important">'
)
_INNER_TAG = re.compile(rb"<[^>]*+>?")
_ALT = re.compile(rb"<img\b[^>]*?[\s\"']alt\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')", re.IGNORECASE)
_TEXT_URL = re.compile(r"https?://[^\s<>\"\x00-\x1f\x7f]++", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """What to track. `own_origins` are addresses of ours, `excluded_domains` hosts to leave alone
    (their subdomains too), `max_url` is the longest target in characters."""

    clicks: bool = True
    opens: bool = True
    utm: Mapping[str, str] = field(default_factory=dict)
    own_origins: tuple[str, ...] = ()
    excluded_domains: tuple[str, ...] = ()
    max_url: int = 2000


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a message. `index` counts from 0 in document order, `offset` in bytes.

    `url` is the address as the recipient's client reads it, `target` where the redirect goes;
    `reason` (a key of href.REASONS) says why it is not tracked. `mso`: for Outlook alone.
    """

    index: int
    url: str
    target: str
    reason: str | None
    label: str
    tags: tuple[str, ...]
    offset: int
    mso: bool

    @property
    def tracked(self) -> bool:
        """Whether it goes through a redirect."""
        return self.reason is None


class Splice(NamedTuple):
    """Bytes `start` to `end` give way to `before` + message token + `after`, or to nothing."""

    start: int
    end: int
    before: bytes | None = None
    after: bytes = b""


@dataclass(frozen=True)
class Compiled:
    """A mail ready for any number of recipients. `notes` says what could not be done.

    `splices` are offsets in `source`: the original, or its UTF-8 where the charset is wide.
    """

    parts: tuple[bytes, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
    splices: tuple[Splice, ...] = ()
    source: bytes = b""
    codec: str = "ascii"  # in which the message token is written

    def personalise(self, message_token: bytes) -> bytes:
        """The mail for one recipient; `message_token` is ASCII."""
        if self.codec != "ascii":
            message_token = message_token.decode("ascii").encode(self.codec)
        return message_token.join(self.parts)


def compile_html(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    charset: str | None = None,
) -> Compiled:
    """Scan `html` once; `link_token` signs a tracked link, `charset` is what the header says.

    Where ASCII's bytes may stand for something else (UTF-16, ISO-2022-JP) the mail is decoded,
    spliced and encoded; if that would change any other byte it is left alone and a note says so.
    """
    known = charsets.find(html, charset)
    if not known.wide:
        return _compile(html, options, link_token, base_url, known)
    try:
        source = html.decode(known.codec).encode("utf-8")
    except UnicodeError:
        return _left_alone(html, f"the mail is not valid {known.codec}: left alone")
    compiled = _compile(source, options, link_token, base_url, Charset("utf-8", False))
    try:
        pieces = _pieces(source, compiled.splices)
        parts = tuple(part.decode("utf-8").encode(known.codec) for part in compiled.parts)
        if b"".join(piece.decode("utf-8").encode(known.codec) for piece in pieces) != html:
            raise UnicodeError
    except UnicodeError:
        return _left_alone(html, f"{known.codec} would not come back byte for byte: left alone")
    return Compiled(parts, compiled.links, compiled.notes, compiled.splices, source, known.codec)


def rewrite_text(
    text: str, options: Options, link_token: Callable[[Link], str], base_url: str
) -> Compiled:
    """The same for text/plain: bare http(s) addresses and no pixel. Bytes are UTF-8.

    An address ends as mail clients end it: before trailing punctuation, and before a closing
    bracket that was not opened inside.
    """
    links: list[Link] = []
    splices: list[Splice] = []
    for match in _TEXT_URL.finditer(text):
        url = _without_trail(match[0])
        start = len(text[: match.start()].encode("utf-8"))
        target, reason = _judge(url, "", "", False, options, "utf-8", len(links))
        link = Link(len(links), url, target, reason, "", (), start, False)
        links.append(link)
        if link.tracked:
            splices.append(
                _click(start, start + len(url.encode("utf-8")), link, link_token, base_url)
            )
    source = text.encode("utf-8")
    return Compiled(_parts(source, splices), tuple(links), (), tuple(splices), source)


def _compile(
    html: bytes,
    options: Options,
    link_token: Callable[[Link], str],
    base_url: str,
    charset: Charset,
) -> Compiled:
    tokens = list(markup.read(html))
    unclosed = tokens[-1] if tokens and isinstance(tokens[-1], Unclosed) else None
    tags = [token for token in tokens if isinstance(token, Tag)]
    notes = []
    if unclosed:
        notes.append(
            f"byte {unclosed.start}: {unclosed.what} never closes, clients show nothing after it"
        )
    # The pixel is the mark of a mail that has been through here: nothing is done to it twice.
    done = re.search(
        rb"\ssrc=\"" + re.escape(base_url.encode("ascii")) + rb"/o/[\w-]++\.gif\"", html
    )
    if done:
        notes.append("the mail has a pixel of Mailwake's already: left alone")
    pixel = options.opens and not done
    links: list[Link] = []
    splices: list[Splice] = []
    for link, attribute, opt_outs in _links(html, tags, options, charset, bool(done)):
        links.append(link)
        edits = [Splice(*opt_out.outer) for opt_out in opt_outs] if pixel else []
        if link.tracked:
            edits.append(_click(attribute.start, attribute.end, link, link_token, base_url))
        splices += sorted(edits)
    if pixel:
        ends = [tag.start for tag in tags if tag.name == b"/body" and not tag.mso]
        at = ends[-1] if ends else unclosed.start if unclosed else len(html)
        splices.append(Splice(at, at, f'<img src="{base_url}/o/'.encode("ascii"), _PIXEL.encode()))
        splices.sort(key=lambda splice: splice.start)
    return Compiled(_parts(html, splices), tuple(links), tuple(notes), tuple(splices), html)


def _links(
    html: bytes, tags: Sequence[Tag], options: Options, charset: Charset, done: bool
) -> Iterator[tuple[Link, Attribute, list[Attribute]]]:
    """Each link with its href and the attributes that opt it out."""

    def text(value: bytes | None) -> str:
        return (value or b"").decode(charset.codec, "replace")

    wanted: tuple[str, str | None]
    base = ""
    for tag in tags:
        if tag.name == b"base" and not base and (found := tag.attributes(html).get(b"href")):
            base = href.read_url(text(found.value))
    base = base if href.is_http(base) else ""
    index = 0
    for place, tag in enumerate(tags):
        if tag.name not in (b"a", b"area") and not tag.name.startswith(b"v:"):
            continue
        attributes = tag.attributes(html)
        found = attributes.get(b"href")
        if found is None:
            continue
        content = b""
        if tag.name == b"a":
            until = tags[place + 1].start if place + 1 < len(tags) else len(html)
            content = html[tag.end : min(until, tag.end + LABEL_BYTES)]
        label = _label(attributes, content, text)
        topics = text(_value(attributes, b"data-track-tag")).replace(",", " ").split()
        opt_outs = [
            attribute
            for name, values in _OPT_OUT.items()
            if (attribute := attributes.get(name)) and _lowered(attribute.value) in values
        ]
        url = href.read_url(text(found.value))
        wanted = ("", "rewritten")
        if not done:
            wanted = _judge(url, base, label, bool(opt_outs), options, charset.codec, index)
        tags_named = tuple(topic[:100] for topic in topics[:20])
        link = Link(index, url, *wanted, label, tags_named, found.start, tag.mso)
        yield link, found, opt_outs
        index += 1


def _judge(
    url: str, base: str, label: str, opted_out: bool, options: Options, codec: str, index: int
) -> tuple[str, str | None]:
    """The target and None, or an empty one and the reason why the link is not tracked."""
    if reason := href.untrackable(url, base, options.own_origins):
        return "", reason
    if not options.clicks:
        return "", "tracking_off"
    if opted_out:
        return "", "opted_out"
    if index >= MAX_LINKS:
        return "", "too_many"
    if href.is_unsubscribe(url, label):
        return "", "unsubscribe"
    try:
        target = href.target(urljoin(base, url) if base else url, options.utm, codec)
        host = href.host(target)
    except ValueError:
        return "", "bad_url"
    if any(host == domain or host.endswith(f".{domain}") for domain in options.excluded_domains):
        return "", "excluded_domain"
    if len(target) > options.max_url:
        return "", "too_long"
    return target, None


def _label(
    attributes: Mapping[bytes, Attribute], content: bytes, text: Callable[[bytes | None], str]
) -> str:
    """data-track-name, else the anchor's text, else its image's alt, else alt or title."""
    alt = _ALT.search(content)
    for found in (
        _value(attributes, b"data-track-name"),
        _INNER_TAG.sub(b" ", content),
        (alt[1] or alt[2]) if alt else None,
        _value(attributes, b"alt"),
        _value(attributes, b"title"),
    ):
        if label := " ".join(href.read_text(text(found)).split()):
            return label[:LABEL_CHARS]
    return ""


def _value(attributes: Mapping[bytes, Attribute], name: bytes) -> bytes | None:
    return attributes[name].value if name in attributes else None


def _lowered(value: bytes | None) -> bytes | None:
    return None if value is None else value.strip().lower()


def _click(
    start: int, end: int, link: Link, link_token: Callable[[Link], str], base_url: str
) -> Splice:
    after = f"/{link_token(link)}"
    return Splice(start, end, f"{base_url}/c/".encode("ascii"), after.encode("ascii"))


def _parts(source: bytes, splices: Sequence[Splice]) -> tuple[bytes, ...]:
    """What stands between the message tokens."""
    parts: list[bytes] = []
    held = [b""]
    position = 0
    for splice in splices:
        held.append(source[position : splice.start])
        if splice.before is not None:
            held.append(splice.before)
            parts.append(b"".join(held))
            held = [splice.after]
        position = splice.end
    held.append(source[position:])
    return (*parts, b"".join(held))


def _pieces(source: bytes, splices: Sequence[Splice]) -> Iterator[bytes]:
    """The source cut at every splice's start and end."""
    position = 0
    for splice in splices:
        yield source[position : splice.start]
        yield source[splice.start : splice.end]
        position = splice.end
    yield source[position:]


def _without_trail(url: str) -> str:
    while url:
        last = url[-1]
        opening = {")": "(", "]": "[", "}": "{"}.get(last)
        if last in ".,;:!?'*_~" or (opening and url.count(last) > url.count(opening)):
            url = url[:-1]
        else:
            break
    return url


def _left_alone(html: bytes, note: str) -> Compiled:
    return Compiled((html,), (), (note,), (), html)
